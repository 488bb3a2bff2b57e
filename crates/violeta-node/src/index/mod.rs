//! The index: where in the journal to find what is asked for by name.
//!
//! ```text
//!  journal ──▶ entries, in order ──▶ writer (own thread) ──▶ LMDB ──▶ loader, gateways
//!                                        │
//!                                        └──▶ events (with their cursors)
//!
//!  vertices      vertex id (16 bytes)           ─▶ position
//!  commits       commit index                   ─▶ position
//!  blocks        height                         ─▶ position ‖ head
//!  certified     height                         ─▶ position
//!  vouched       commit index of a certified head ─▶ height
//!  seals         height                         ─▶ position
//!  transactions  transaction id (16 bytes)      ─▶ height ‖ position in the block
//!  events        height ‖ sequence              ─▶ event (JSON)
//!  history       level (1 byte) ‖ place         ─▶ root of that perfect subtree of the tree over all heads
//!  meta          "high": complete up to this journal position · "event": cursor of the newest event · "chain" · "format"
//! ```
//!
//! Numbers are big-endian, so that they sort. An id is cut to 16 bytes: what is found is compared with what was asked.
//!
//! **It holds nothing of its own** (replica.md §3): each transaction moves "high" along with what it adds, so what it
//! lacks is read from the journal; one that is lost, damaged, of another chain or ahead of the journal is made
//! anew. Writes aren't synced: LMDB stays whole if the process dies, but not if the machine does, so an index that wasn't
//! closed is only trusted within the boot that wrote it. A full disk stops the index and not the validator: what it
//! lacks, it reads later.

mod damage;
pub mod entry;
mod store;
pub mod writer;

pub use entry::Entry;
pub use store::{Index, IndexError, Meta, Opened};
