//! The shell of a Violeta validator: sockets, TLS, LMDB, files, clock, threads, metrics, gateways.

mod assembly;
pub mod chain;
pub mod config;
pub mod directory;
pub mod driver;
pub mod events;
pub mod files;
#[cfg(test)]
mod fixture;
pub mod genesis;
pub mod handle;
pub mod http;
pub mod index;
pub mod journal;
pub mod keys;
mod lock;
pub mod metrics;
pub mod node;
mod open;
pub mod testnet;
pub mod tracker;
pub mod transport;

pub use config::Config;
pub use handle::Handle;
pub use node::{Node, NodeError, Overrides};
