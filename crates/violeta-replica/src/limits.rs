//! Bounds of one replica. Those of the protocol are in `violeta_types::limits`.

use violeta_types::limits::{MESSAGE_BYTES_MAX, VALIDATORS_MAX, VERTEX_BYTES_MAX};

/// Outcomes in a block.
pub const BLOCK_OUTCOMES_MAX: usize = 1 << 22;

/// Commits in one range for a validator that catches up: more than its bytes hold, however small they are.
pub const RANGE_COMMITS_MAX: usize = 16 << 10;
/// Vertices of one commit in a range.
pub const RANGE_VERTICES_MAX: usize = 64 << 10;
/// Bytes of vertices in one range: leaves room in a message for the records.
pub const RANGE_BYTES_MAX: usize = 2 << 20;

/// Transactions in the mempool.
pub const MEMPOOL_COUNT_MAX: usize = 200_000;
/// Bytes of transactions in the mempool.
pub const MEMPOOL_BYTES_MAX: usize = 64 << 20;
/// Transactions of one client in the mempool. A client signs no nonce further ahead than half of its window, so more
/// would not help it.
pub const MEMPOOL_CLIENT_COUNT_MAX: usize = 1_024;
/// Bytes of one client's transactions in the mempool.
pub const MEMPOOL_CLIENT_BYTES_MAX: usize = 16 << 20;

/// Bytes of payload that one vertex takes from the mempool.
pub const PROPOSAL_BYTES_MAX: usize = 1 << 20;
/// Items that one vertex takes from the mempool.
pub const PROPOSAL_ITEMS_MAX: usize = 8 << 10;

/// Commits given to the machine and not yet applied.
pub const HANDOVER_COMMITS_MAX: usize = 64;
/// Bytes of commits given to the machine and not yet applied.
pub const HANDOVER_BYTES_MAX: usize = 32 << 20;
/// Commits that may wait for the machine before new payload waits (replica.md §6).
pub const LAG_COMMITS_MAX: u64 = 64;

/// Checks of one peer's vertices under way at once; more are dropped, and asked for again by the synchroniser.
pub const CHECKS_PER_PEER_MAX: usize = 256;
/// Bytes of one peer's vertices under check at once.
pub const CHECK_BYTES_PER_PEER_MAX: usize = 64 << 20;
/// Items of clients under check at once.
pub const CHECK_ITEMS_MAX: usize = 64 << 10;

/// Heights above the newest certified one for which attestations are kept.
pub const ATTESTED_HEIGHTS_MAX: u64 = 1_024;

/// Heights that are attested again after a restart, at most.
pub const REATTESTED_HEIGHTS_MAX: usize = 1_024;

const _: () = assert!(RANGE_BYTES_MAX + VERTEX_BYTES_MAX < MESSAGE_BYTES_MAX);
const _: () = assert!(PROPOSAL_BYTES_MAX < violeta_types::limits::PAYLOAD_BYTES_MAX);
const _: () = assert!(PROPOSAL_ITEMS_MAX <= violeta_types::limits::VERTEX_ITEMS_MAX);
const _: () = assert!(MEMPOOL_CLIENT_BYTES_MAX < MEMPOOL_BYTES_MAX);
const _: () = assert!(VALIDATORS_MAX <= 128);
