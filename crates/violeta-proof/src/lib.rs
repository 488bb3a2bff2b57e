//! All that convinces a Violeta client: tree proofs, heads, certificates, seals, history proofs; verification only
