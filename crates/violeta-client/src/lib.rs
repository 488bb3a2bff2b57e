//! The Violeta client: submits, intervenes, reads, verifies
