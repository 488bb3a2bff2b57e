//! Bounds of one replica. Those of the protocol are in `violeta_types::limits`.

use violeta_consensus::limits::{REQUEST_REFS_MAX, REQUESTED_PER_PEER_MAX};
use violeta_types::limits::{
    COMMIT_BYTES_MAX, MESSAGE_BYTES_MAX, VALIDATORS_MAX, VERTEX_BYTES_MAX,
};

/// Outcomes in a block. What a commit holds beyond that leaves no trace: a block must fit one record of the journal.
pub const BLOCK_OUTCOMES_MAX: usize = 1 << 18;

/// Bytes of records or vertices in one part of what a validator catches up with: the part ends with the one that
/// reaches this. A part may so hold one more, of any size, and still fits a message.
pub const PART_BYTES_MAX: usize = 2 << 20;
/// Bytes that are asked for at least, however slow the answers come.
pub const PART_BYTES_MIN: usize = 64 << 10;
/// Commit records in one part: more than its bytes hold, however small they are.
pub const PART_RECORDS_MAX: usize = 16 << 10;
/// Vertices in one part: more than its bytes hold, however small they are.
pub const PART_VERTICES_MAX: usize = 16 << 10;
/// How many commits ahead a certified head is that one goes for, if there is one as near.
pub const HOP_COMMITS: u64 = 1_024;
/// Bytes of memory for the records of commits whose vertices are still to come. A record more is always kept.
pub const STAGED_BYTES_MAX: usize = 16 << 20;

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
/// Commits that may wait for the machine before no more are asked for to catch up with: a few gc depths. The graph
/// keeps what lies above the newest head that was executed and certified, so whoever adopted faster than it executes
/// would hold all between. A part that is on its way may come on top.
pub const ADOPTED_AHEAD_COMMITS_MAX: u64 = 256;

/// Checks of one peer's vertices under way at once; more are dropped, and asked for again by the synchroniser.
pub const CHECKS_PER_PEER_MAX: usize = 256;
/// Bytes of one peer's vertices under check at once.
pub const CHECK_BYTES_PER_PEER_MAX: usize = 64 << 20;
/// Requests of one peer for vertices in the journal that wait while one is read: as many as an honest one has under way
/// to one peer. More are dropped; the peer asks somebody else.
pub const STORED_WAITING_MAX: usize = 4;
/// Items of clients under check at once.
pub const CHECK_ITEMS_MAX: usize = 64 << 10;

/// Bytes of own items that were returned and wait to be judged anew.
pub const PUT_OFF_BYTES_MAX: usize = 64 << 20;

/// Heights above the newest certified one for which attestations are kept.
pub const ATTESTED_HEIGHTS_MAX: u64 = 1_024;

/// Heights that are attested again after a restart, at most.
pub const REATTESTED_HEIGHTS_MAX: usize = 1_024;

/// Divergences that the journal keeps the evidence of. Whoever starts again and again without mending the fault finds
/// one each time.
pub const DIVERGENCES_MAX: usize = 16;

// A part's envelope: the question, four bytes a vertex, a certified head of the largest committee.
const PART_ENVELOPE_BYTES_MAX: usize = 1_024 + 4 * PART_VERTICES_MAX + 128 * VALIDATORS_MAX;
const _: () =
    assert!(PART_BYTES_MAX + VERTEX_BYTES_MAX + PART_ENVELOPE_BYTES_MAX < MESSAGE_BYTES_MAX);
const _: () =
    assert!(PART_BYTES_MAX + COMMIT_BYTES_MAX + PART_ENVELOPE_BYTES_MAX < MESSAGE_BYTES_MAX);
const _: () = assert!(PART_BYTES_MIN <= PART_BYTES_MAX && PART_BYTES_MAX <= u32::MAX as usize);
// The machine is never kept waiting, and new payload waits long before.
const _: () = assert!(ADOPTED_AHEAD_COMMITS_MAX >= 2 * HANDOVER_COMMITS_MAX as u64);
const _: () = assert!(ADOPTED_AHEAD_COMMITS_MAX > LAG_COMMITS_MAX);
const _: () = assert!(PART_BYTES_MAX < STAGED_BYTES_MAX);
const _: () = assert!(STORED_WAITING_MAX * REQUEST_REFS_MAX >= REQUESTED_PER_PEER_MAX);
const _: () = assert!(PROPOSAL_BYTES_MAX < violeta_types::limits::PAYLOAD_BYTES_MAX);
const _: () = assert!(PROPOSAL_ITEMS_MAX <= violeta_types::limits::VERTEX_ITEMS_MAX);
const _: () = assert!(MEMPOOL_CLIENT_BYTES_MAX < MEMPOOL_BYTES_MAX);
const _: () = assert!(violeta_types::limits::VERTEX_ITEMS_MAX <= CHECK_ITEMS_MAX);
const _: () = assert!(violeta_types::limits::PAYLOAD_BYTES_MAX <= PUT_OFF_BYTES_MAX);
const _: () = assert!(VALIDATORS_MAX <= 128);
