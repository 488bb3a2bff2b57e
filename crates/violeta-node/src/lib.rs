//! The shell of a Violeta validator: sockets, TLS, LMDB, files, clock, threads, metrics, gateways.

pub mod config;
pub mod files;
pub mod metrics;
pub mod transport;
