//! The VLSM tree: an authenticated key-value store with every version readable and provable (vlsm.md).
//!
//! ```text
//!   Batch ─ stage ─▶ Staged (root) ─ append ─▶ newest version ─ sync ─▶ durable version
//!             │                         │
//!             │ new nodes, items        │ keys and values
//!             ▼                         ▼
//!   ┌── tree (16-way Merkle trie) ──┐  ┌── log: value store and write-ahead log in one ──┐
//!   │ newest: nodes in memory       │─▶│ version 1 │ version 2 │ version 4 │ …            │
//!   │ all:    pages, in files       │  └──────────────────────────────────────────────────┘
//!   └───────────────────────────────┘      leaves say where in the log key and value are
//! ```
//!
//! The trees of spaces are kept in pages: a base, and deltas of what happened since, frozen off the commit path
//! from what comes together in memory. The top tree, whose leaves are the spaces, is small and kept node by node.
//!
//! | who asks | what is read |
//! | --- | --- |
//! | a reader of the newest version | nodes in memory, one read of the log |
//! | a reader of an older one | the index of versions, pages through a cache, one read of the log |
//! | a commit | nothing; one write and one sync of the log |
//! | recovery | the superblock, the index, the page directory, the log from the checkpoint on |
//! | a peer's new store | chunks of one version: made by a reader, verified, and committed part by part ([`Importer`]) |
//!
//! Versions that aren't wanted any more can be let go, all before a window but some that are pinned: what room they took
//! is taken back beside writer and readers, and nothing that is left changes its place ([`Compaction`]).
//!
//! Every value, node and root that is served was checked against the digest that binds it: what rots on the disk is
//! found and named, never served (vlsm.md §1.5).
//!
//! The store knows nothing of blocks, graphs or networks: versions, batches and roots are all there is. It starts no
//! thread, reads no clock, and reaches files through [`Disk`](violeta_journal::Disk) alone.

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

mod batch;
mod changes;
mod compaction;
mod cursor;
mod error;
mod files;
mod history;
mod import;
pub mod limits;
mod log;
mod nodes;
mod overlay;
mod page;
mod records;
mod recovery;
mod retention;
mod snapshot;
mod space;
mod spare;
mod sparse;
mod store;
mod subject;
mod superblock;
mod tree;
mod usage;
mod varint;
mod verify;
mod versions;
mod writer;

pub use batch::Batch;
pub use changes::{Change, SpaceChange};
pub use compaction::Compaction;
pub use cursor::Staged;
pub use error::StoreError;
pub use history::History;
pub use import::{ImportError, Importer};
pub use limits::Options;
pub use overlay::{Overlay, Savepoint};
pub use retention::Retention;
pub use snapshot::{Page, PageCursor, Snapshot};
pub use store::{Stats, Store};
pub use usage::{FileUsage, Usage};
pub use verify::Verified;
pub use writer::Writer;
