//! Local tuning: when to try. None of it counts for correctness, every wait ends, and validators may differ.

/// When this validator makes vertices, asks, and repeats itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tuning {
    /// Under steady load, the time between two own vertices: batches fill, and the coin's arithmetic is paid less
    /// often.
    pub round_interval_us_min: u64,
    /// How many own vertices may follow one another without that pause. They come back one an interval.
    pub round_burst: u64,
    /// A round whose vertices carry no more payload than this between them is *light*: there is no batch to wait for.
    pub light_payload_bytes: u64,
    /// The time between two own vertices of light rounds: far below what a lone transaction's rounds take over any
    /// network, and a bound on what a trickle of transactions can make the cluster spend. At most
    /// `round_interval_us_min` is waited.
    pub light_interval_us_min: u64,
    /// How long, once a quorum's vertices of the round before are here, to wait for those of other authors that
    /// have lately been heard of. 0: not at all.
    pub author_wait_us: u64,
    /// An author whose newest vertex is this many rounds back isn't waited for.
    pub responsive_rounds: u64,
    /// Partially synchronous mode (wave length 3, known leaders): how long to wait for the leader.
    pub leader_wait_us: u64,
    /// Time between two vertices that only follow another's, when nothing else is due (quiet rule).
    pub follow_interval_us: u64,
    /// How many of those may follow one another without that pause: enough for others to end the wave that they are
    /// one vertex short of.
    pub follow_burst: u64,
    /// Time between heartbeats. Also the pace of vertices while certificates lag.
    pub heartbeat_us: u64,
    /// How long to wait for an answer before another peer is asked.
    pub request_timeout_us: u64,
    /// Bytes of payload that is decided, or under gc, and is kept in memory to serve others: some seconds of it, which
    /// is what a validator that fell a little behind asks for. Older payload is served from the journal ([`Effect::SendStored`](crate::Effect::SendStored)).
    pub served_bytes_max: usize,
}

impl Default for Tuning {
    fn default() -> Self {
        Tuning {
            round_interval_us_min: 20_000,
            round_burst: 12,
            light_payload_bytes: 4 << 10,
            light_interval_us_min: 4_000,
            author_wait_us: 3_000,
            responsive_rounds: 3,
            leader_wait_us: 250_000,
            follow_interval_us: 200_000,
            follow_burst: 6,
            heartbeat_us: 1_000_000,
            request_timeout_us: 150_000,
            served_bytes_max: 24 << 20,
        }
    }
}
