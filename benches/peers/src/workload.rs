//! What every store is asked to do: keys, values, and the order in which they are touched.
//!
//! ```text
//!  preload 0..keys in batches ─▶ versions × batch random updates, each version durable ─▶ reads ─▶ proofs
//! ```
//!
//! All of it follows from the settings: each store sees the same bytes in the same order.

/// A key: random to a tree that hashes its keys as well as to one that doesn't.
pub type Key = [u8; 32];

/// How much of everything.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct Settings {
    /// Keys that are there before anything is measured
    #[arg(long, default_value_t = 1_000_000)]
    pub keys: u64,
    /// Bytes of a value
    #[arg(long, default_value_t = 100)]
    pub value_bytes: usize,
    /// Updates in a version
    #[arg(long, default_value_t = 1_000)]
    pub batch: u64,
    /// Versions that are measured, each durable before the next begins
    #[arg(long, default_value_t = 500)]
    pub versions: u64,
    /// Reads, and proofs, of each kind
    #[arg(long, default_value_t = 20_000)]
    pub reads: u64,
}

/// Updates in a version of the preload.
const PRELOAD_BATCH: u64 = 20_000;

impl Settings {
    /// The versions that fill the store.
    pub fn preload(self) -> impl Iterator<Item = Vec<(Key, Vec<u8>)>> {
        (0..self.keys)
            .step_by(PRELOAD_BATCH as usize)
            .map(move |first| {
                let last = self.keys.min(first + PRELOAD_BATCH);
                sorted((first..last).map(|i| (key(i), self.value(i, 0))).collect())
            })
    }

    /// The versions that are measured.
    pub fn updates(self) -> impl Iterator<Item = Vec<(Key, Vec<u8>)>> {
        let mut random = Random(7);
        (1..=self.versions).map(move |round| {
            let keys = (0..self.batch).map(|_| random.below(self.keys));
            sorted(keys.map(|i| (key(i), self.value(i, round))).collect())
        })
    }

    /// The keys that are read.
    pub fn read_keys(self) -> impl Iterator<Item = Key> {
        let mut random = Random(11);
        (0..self.reads).map(move |_| key(random.below(self.keys)))
    }

    fn value(self, i: u64, round: u64) -> Vec<u8> {
        let mut random = Random(i ^ round << 40);
        let words = std::iter::repeat_with(|| random.next().to_le_bytes());
        words.flatten().take(self.value_bytes).collect()
    }
}

/// By key, each once: what some of the stores demand.
fn sorted(mut writes: Vec<(Key, Vec<u8>)>) -> Vec<(Key, Vec<u8>)> {
    writes.sort();
    writes.dedup_by(|a, b| a.0 == b.0);
    writes
}

fn key(i: u64) -> Key {
    let mut random = Random(i.wrapping_mul(0x2545_f491_4f6c_dd1d) ^ 0x5851_f42d);
    let mut key = [0; 32];
    for word in key.chunks_exact_mut(8) {
        word.copy_from_slice(&random.next().to_be_bytes());
    }
    key
}

/// splitmix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }
}
