//! The Database machine: transactions, accounts, namespaces, key and value.
//!
//! ```text
//!   vertices ── DbRules ──▶ is it well formed? (bytes and genesis alone)
//!   commits ─── DbMachine ┬ execution ── overlay ── state before (store's snapshot)
//!                         ├ chain ────── record, head
//!                         └ store ────── a version for each block, synced when asked
//!   clients ─── DbReader ──▶ values, proofs, heads, accounts, namespaces, history
//! ```
//!
//! The machine is the deterministic part of a replica that gives the commit log its meaning (replica.md §1, §2, §7):
//! it executes each commit's transactions exactly once, makes a block of each commit that holds any, and keeps the
//! state as versions of a VLSM store, where height and version are one number. It knows nothing of graphs, networks or
//! time: the time of a block is the commit's.
//!
//! Who opened it sees [`DbMachine`] through the replica's `Machine`, and reads through [`DbReader`].
//! [`NullMachine`] has the same seam and no state: it measures what ordering alone costs.

pub mod chain;
pub mod error;
pub mod execution;
mod genesis;
pub mod machine;
pub mod nonce;
pub mod null;
mod overlay;
pub mod proved;
pub mod reader;
pub mod records;
pub mod rules;
mod slots;
pub mod state;
#[cfg(test)]
mod testing;
mod view;

pub use error::DbError;
pub use machine::DbMachine;
pub use null::{NullMachine, NullRules};
pub use reader::{
    AccountInfo, At, DbReader, HistoryEntry, HistoryPage, KeyPage, NamespaceInfo, ProvedRead,
};
pub use rules::DbRules;
