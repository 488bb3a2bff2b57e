//! Bounds of the gateway. Those of what it is told to keep come with the configuration.

use violeta_proof::values_proof::VALUES_MAX;
use violeta_types::api::{BATCH_BYTES_MAX, PAGE_MAX};
use violeta_types::limits::{KEY_BYTES_MAX, TRANSACTION_BYTES_MAX};

/// Bytes of a request's first line and headers.
pub const HEAD_BYTES_MAX: usize = 16 << 10;
/// How long a connection may take to send a request's head; also how long it may be idle between two.
pub const HEAD_READ_MS_MAX: u64 = 30_000;
/// How long a request may take to send its body.
pub const BODY_READ_MS_MAX: u64 = 20_000;
/// How long what was sent may stay unacknowledged before the connection is cut: a reader that stopped reading.
pub const WRITE_STALL_MS_MAX: u64 = 30_000;
/// Bytes that the kernel takes for a connection before it has sent what it was given before: what more there is stays in
/// this process, where it is counted, and events that nobody reads aren't even fetched.
pub const UNSENT_BYTES_MAX: u32 = 128 << 10;
/// How long a large answer may take to be written, all of it: a reader that reads a byte now and then.
pub const ANSWER_WRITE_MS_MAX: u64 = 120_000;
/// How long open connections may go on once the gateway stops.
pub const SHUTDOWN_MS_MAX: u64 = 2_000;
/// How often a stream with nothing to say says so, that neither end takes the other for dead.
pub const KEEP_ALIVE_MS: u64 = 15_000;

/// Open connections, however many descriptors there are.
pub const CONNECTIONS_MAX: usize = 4_096;
/// Open connections for which there must be descriptors: a gateway with fewer isn't started.
pub const CONNECTIONS_MIN: usize = 64;
/// KiB of bodies that are being received or submitted, all requests together, counted as they come.
pub const BODIES_KIB_MAX: usize = 64 << 10;
/// KiB of large answers that wait to be written, all together.
pub const ANSWERS_KIB_MAX: usize = 128 << 10;
/// Bytes of an answer that are handed to the connection at once. An answer that isn't longer isn't counted.
pub const ANSWER_PIECE_BYTES: usize = 16 << 10;
/// Bytes of a body that names keys: as many as one proof is about, each as long as it may be.
pub const KEYS_BODY_BYTES_MAX: usize = 4 + VALUES_MAX * (4 + KEY_BYTES_MAX);
/// Bytes of a body where the route takes none to speak of.
pub const NO_BODY_BYTES_MAX: usize = 1 << 10;
/// The share of connections and requests that one address may hold: the others are for others.
pub const ADDRESS_SHARE: usize = 2;
/// Reads that cost much, running or in line, all together.
pub const COSTLY_LINE_MAX: usize = 64;
/// How long such a read waits for its turn.
pub const COSTLY_WAIT_MS_MAX: u64 = 5_000;
/// How long a linearizable read waits for its barrier.
pub const BARRIER_MS_MAX: u64 = 10_000;
/// How much further ahead than the protocol admits an expiry may be by this node's clock: clocks differ.
pub const EXPIRY_SLACK_MS: u64 = 2_000;
/// What a client that came at a bad time is told to wait.
pub const RETRY_MS: u64 = 250;

const _: () = assert!(BATCH_BYTES_MAX <= (BODIES_KIB_MAX << 10) / ADDRESS_SHARE);
const _: () = assert!(
    2 * BATCH_BYTES_MAX <= (ANSWERS_KIB_MAX << 10) / ADDRESS_SHARE,
    "in hexadecimal"
);
const _: () = assert!(KEYS_BODY_BYTES_MAX <= (BODIES_KIB_MAX << 10) / ADDRESS_SHARE);
const _: () = assert!(TRANSACTION_BYTES_MAX <= BATCH_BYTES_MAX);
const _: () = assert!(HEAD_BYTES_MAX >= 8 << 10, "hyper's smallest buffer");
const _: () = assert!(PAGE_MAX >= 1);
const _: () = assert!(CONNECTIONS_MIN < CONNECTIONS_MAX);
