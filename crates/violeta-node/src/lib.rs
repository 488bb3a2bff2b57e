//! The shell of a Violeta validator: sockets, TLS, files, LMDB, clock, metrics, HTTP
