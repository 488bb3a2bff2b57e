//! The shell of a Violeta validator: sockets, TLS, LMDB, files, clock, threads, metrics, gateways.
//!
//! ```text
//!  config, keys, genesis ──▶ open ──▶ Node ─┬─ transport   TLS between validators, pinned to their keys
//!                                           ├─ driver      threads around the replica, journal, machine
//!                                           ├─ index       LMDB: where in the journal to find things
//!                                           └─ Handle ───▶ http and other gateways
//! ```
//!
//! Everything that decides lies in the crates below; here is only what they must not know. Secrets and limits come from
//! files ([`config`], [`keys`]); what a client may see goes through [`Handle`]. The index knows nothing that the journal
//! doesn't; the gateways know neither replica nor journal.

mod address;
mod assembly;
pub mod chain;
pub mod config;
pub mod descriptors;
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
pub mod provision;
pub mod testnet;
pub mod tracker;
pub mod transport;

pub use config::Config;
pub use handle::Handle;
pub use node::{Node, NodeError, Overrides};
