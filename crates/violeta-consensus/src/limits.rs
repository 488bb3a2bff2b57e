//! Every bound of this crate, in one place (consensus.md §8: "each is a constant with a name and a test").
//!
//! None of them counts for safety; each keeps one peer from making another hold or do more than its share.

use violeta_types::limits::{MESSAGE_BYTES_MAX, VALIDATORS_MAX, VERTEX_BYTES_MAX};

/// Vertices in one message.
pub const MESSAGE_VERTICES_MAX: usize = 256;
/// Bytes of vertices that an answer may hold beyond its first vertex.
pub const ANSWER_BYTES_MAX: usize = 2 << 20;
/// Vertices asked for by name in one request.
pub const REQUEST_REFS_MAX: usize = 128;
/// Vertices that one peer has been asked for by name and hasn't sent yet.
pub const REQUESTED_PER_PEER_MAX: usize = 512;
/// Missing vertices that are asked for because of what one peer sent.
pub const MISSING_PER_SOURCE_MAX: usize = 512;
/// Vertices of one author that wait for parents.
pub const SUSPENDED_PER_AUTHOR_MAX: usize = 512;
/// Bytes of one author's vertices that wait for parents.
pub const SUSPENDED_BYTES_PER_AUTHOR_MAX: usize = 16 << 20;
/// Bytes of vertices that wait for parents in all: shared between the authors, but never less than one vertex each.
pub const SUSPENDED_BYTES_MAX: usize = 256 << 20;
/// How far above the highest round with accepted vertices of a quorum a vertex may be and still be kept until its
/// parents are here. One further up is deferred: what lies between is fetched from its lowest round upwards, and it
/// comes again with it. This is the novelty budget: its cone can't be larger than what these rounds hold.
pub const NOVELTY_ROUNDS_MAX: u64 = 32;
/// Variants of one slot that are accepted without being asked for.
pub const VARIANTS_PUSHED_MAX: usize = 2;
/// Further variants of an author that may be accepted within a second because a vertex needs them.
pub const EXTRA_VARIANTS_PER_SECOND: u64 = 32;
/// Further variants of an author that may be accepted at once.
pub const EXTRA_VARIANTS_BURST: u64 = 64;
/// How far ahead of the local clock a timestamp may be; beyond that the vertex is accepted later.
pub const TIMESTAMP_AHEAD_MS_MAX: u64 = 1_000;
/// What serving a request costs at least, in bytes of the peer's quota.
pub const SERVED_BYTES_MIN: u64 = 64 << 10;
/// Bytes that one peer is served within a second. An answer that goes beyond what is left is paid back before the next.
pub const SERVED_BYTES_PER_SECOND: u64 = 32 << 20;
/// Bytes that one peer may be served at once.
pub const SERVED_BYTES_BURST: u64 = 64 << 20;

const _: () = assert!(ANSWER_BYTES_MAX + VERTEX_BYTES_MAX + (64 << 10) <= MESSAGE_BYTES_MAX);
const _: () = assert!(VARIANTS_PUSHED_MAX >= 2, "two variants are the proof");
const _: () = assert!(NOVELTY_ROUNDS_MAX as usize * 2 <= SUSPENDED_PER_AUTHOR_MAX);
const _: () = assert!(
    VALIDATORS_MAX <= MISSING_PER_SOURCE_MAX,
    "all parents of a vertex"
);
const _: () = assert!(EXTRA_VARIANTS_PER_SECOND <= EXTRA_VARIANTS_BURST);
const _: () = assert!(SERVED_BYTES_BURST >= (VERTEX_BYTES_MAX + ANSWER_BYTES_MAX) as u64);
const _: () = assert!(SUSPENDED_BYTES_PER_AUTHOR_MAX >= VERTEX_BYTES_MAX);
