//! Bounds and waits of a client.

use violeta_types::limits::{EXPIRY_AHEAD_MS_MAX, VALUE_BYTES_MAX};

/// How many observed commit latencies the client waits before it goes to more validators (client intervention).
pub const PATIENCE_LATENCIES: u32 = 4;
/// The least that it waits.
pub const PATIENCE_MS_MIN: u64 = 300;
/// The most that it waits, and what it waits before it has observed any latency.
pub const PATIENCE_MS_MAX: u64 = 3_000;
/// How long a read may take before the next validator is asked.
pub const READ_MS_MAX: u64 = 5_000;
/// How long a connection may take to be made.
pub const CONNECT_MS_MAX: u64 = 2_000;
/// How long an idle connection is kept: less than gateways keep theirs.
pub const IDLE_MS_MAX: u64 = 20_000;
/// How long one wait at a gateway is.
pub const WAIT_MS: u64 = 10_000;
/// How long the client waits between two rounds of asking when nobody has an answer yet.
pub const PAUSE_MS: u64 = 100;
/// How long a validator that couldn't be reached is left alone while another holds the same transaction.
pub const RETRY_MS: u64 = 1_000;
/// How long a transaction stays valid if the caller doesn't say.
pub const EXPIRY_MS_DEFAULT: u64 = 60_000;
/// How long after its expiry a transaction's fate is asked for, before it is left unresolved.
pub const SETTLE_MS_MAX: u64 = 10_000;
/// How long between two barriers that make an idle chain's time go on; and how long those are waited for who hang when
/// others have answered.
pub const NUDGE_MS: u64 = 1_000;
/// How often a read looks for a version that is new enough.
pub const FRESHNESS_TRIES_MAX: usize = 20;
/// Pages of a key's history that one validator is asked for to find where the key lost its value.
pub const HISTORY_PAGES_MAX: usize = 16;
/// Incidents kept.
pub const INCIDENTS_MAX: usize = 256;
/// Endpoints of a client.
pub const ENDPOINTS_MAX: usize = violeta_types::limits::VALIDATORS_MAX;
/// Bytes of an answer, JSON and proofs alike.
pub const ANSWER_BYTES_MAX: usize = 4 * VALUE_BYTES_MAX + (6 << 20);
/// Bytes of an event.
pub const EVENT_BYTES_MAX: usize = 64 << 10;
/// Weight of a new observation in the latency's moving average, in eighths.
pub const LATENCY_WEIGHT_EIGHTHS: u64 = 2;

const _: () = assert!(PATIENCE_MS_MIN <= PATIENCE_MS_MAX);
const _: () = assert!(EXPIRY_MS_DEFAULT < EXPIRY_AHEAD_MS_MAX);
const _: () = assert!(PATIENCE_MS_MAX < EXPIRY_MS_DEFAULT);
// Who hangs leaves time enough to learn, to send a barrier, to learn again, and to ask for an outcome.
const _: () = assert!(4 * (NUDGE_MS + PAUSE_MS) < SETTLE_MS_MAX);
const _: () = assert!(LATENCY_WEIGHT_EIGHTHS <= 8);
