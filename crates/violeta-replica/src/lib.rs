//! The sans-I/O whole of a Violeta validator: mempool, consensus, commit log, machine, attestations, catch-up
