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
    /// How unevenly keys are updated: the exponent of Zipf's law (YCSB's is 0.99); 0: all alike
    #[arg(long, default_value_t = 0.0)]
    pub zipf: f64,
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
        let popular = (self.zipf > 0.0).then(|| Zipf::new(self.keys, self.zipf));
        (1..=self.versions).map(move |round| {
            let keys = (0..self.batch).map(|_| match &popular {
                Some(popular) => popular.rank(random.fraction()),
                None => random.below(self.keys),
            });
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

    /// From 0 to below 1.
    fn fraction(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }

    fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }
}

/// Zipf's law: the key of rank r is chosen as often as 1 / r^exponent says. Ranks say nothing of where a key lies, since
/// keys are random.
struct Zipf {
    /// How often one of the first keys is chosen, for each key.
    up_to: Vec<f64>,
}

impl Zipf {
    fn new(keys: u64, exponent: f64) -> Self {
        let mut sum = 0.0;
        let up_to = (1..=keys).map(|rank| {
            sum += (rank as f64).powf(-exponent);
            sum
        });
        Zipf {
            up_to: up_to.collect(),
        }
    }

    /// The key to which so large a part of all choices leads.
    fn rank(&self, fraction: f64) -> u64 {
        let sum = self.up_to.last().copied().unwrap_or(0.0);
        let rank = self.up_to.partition_point(|up_to| *up_to <= fraction * sum);
        rank.min(self.up_to.len().saturating_sub(1)) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_a_million_keys_has_a_fifteenth_of_all_updates() {
        // 1 / H(10^6, 0.99), by itself: 1 / 15.39.
        let (zipf, mut random) = (Zipf::new(1_000_000, 0.99), Random(3));
        let first = (0..100_000).filter(|_| zipf.rank(random.fraction()) == 0);
        let first = first.count();
        assert!((6_200..6_800).contains(&first), "{first}");
        assert_eq!((zipf.rank(0.0), zipf.rank(1.0)), (0, 999_999));
    }
}
