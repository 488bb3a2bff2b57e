//! What a moving window costs: `cargo run --release -p violeta-vlsm --example pruning_costs [keys] [window] [dir]`.
//!
//! A million keys (16 bytes each, values of 100), then durable versions of 1,000 random updates: without pruning, and with a
//! window of 2,000 versions that moves on by an eighth at a time, while another thread takes the room back: as fast as the
//! writer can, and at 50,000 updates a second. Says how much slower the writer is, and how large the directory is: next to
//! one that holds the same keys and the same number of versions, and never held any others.

#![allow(
    clippy::print_stdout,
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "measures"
)]

use std::cell::Cell;
use std::error::Error;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use violeta_journal::RealDisk;
use violeta_types::Height;
use violeta_vlsm::{Batch, Options, Retention, Store, StoreError, Writer};

/// As in the binary.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const BATCH: u64 = 1_000;
const SPACE: &[u8] = b"accounts";
/// Updates a second, where not as many as can be.
const PACE: f64 = 50_000.0;
/// By which part of itself the window moves on.
const MOVES: u64 = 8;

/// splitmix64.
struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ z >> 31) % n
    }
}

struct World {
    writer: Writer,
    version: u64,
    random: Random,
    keys: u64,
}

impl World {
    /// A durable version.
    fn step(&mut self, keys: impl Iterator<Item = u64>) -> Result<(), StoreError> {
        let mut batch = Batch::new();
        self.version += 1;
        if self.version == 1 {
            batch.create_space(SPACE);
        }
        for i in keys {
            let mut key = *b"key 00000000____";
            key[4..12].copy_from_slice(&i.to_be_bytes());
            let mut value = [7; 100];
            value[..8].copy_from_slice(&self.version.to_le_bytes());
            batch.put(SPACE, &key, value.to_vec());
        }
        let staged = self.writer.stage(&batch)?;
        self.writer.commit(Height(self.version), staged)?;
        while self.writer.maintain()? {}
        Ok(())
    }

    /// Durable versions of random updates, of which so many a second at most; calls `each` after each. Returns how many
    /// there were a second.
    fn update(
        &mut self,
        (versions, pace): (u64, f64),
        mut each: impl FnMut(&mut Self) -> Result<(), StoreError>,
    ) -> Result<f64, StoreError> {
        let (start, mut done) = (Instant::now(), 0);
        for _ in 0..versions {
            let keys: Vec<_> = (0..BATCH).map(|_| self.random.below(self.keys)).collect();
            self.step(keys.into_iter())?;
            each(self)?;
            done += BATCH;
            let due = Duration::from_secs_f64(done as f64 / pace);
            std::thread::sleep(due.saturating_sub(start.elapsed()));
        }
        Ok((versions * BATCH) as f64 / start.elapsed().as_secs_f64())
    }

    fn prune(&mut self, window: u64) -> Result<(), StoreError> {
        let oldest = self.version.saturating_sub(window).max(1);
        self.writer.prune(&Retention::from(Height(oldest)))
    }
}

/// Compacts until told to stop. Returns how much was freed, and the time that it took on the processor, in seconds.
fn compact(store: &Store, stop: &AtomicBool) -> Result<(u64, f64), StoreError> {
    let mut freed = 0;
    while !stop.load(Ordering::Relaxed) {
        match store.compaction()? {
            Some(mut compaction) => {
                while compaction.step()? {}
                freed += compaction.freed_bytes();
            }
            None => std::thread::sleep(Duration::from_millis(20)),
        }
    }
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let ns = text.split_whitespace().next().and_then(|n| n.parse().ok());
    Ok((freed, ns.unwrap_or(0.0) / 1e9))
}

/// Bytes that the files take.
fn disk_bytes(dir: &Path) -> u64 {
    let files = std::fs::read_dir(dir.join("store")).into_iter().flatten();
    let sizes = files
        .flatten()
        .map(|file| file.metadata().map_or(0, |data| data.len()));
    sizes.sum()
}

const MIB: f64 = 1024.0 * 1024.0;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let keys: u64 = arguments.next().map_or(Ok(1_000_000), |n| n.parse())?;
    let window: u64 = arguments.next().map_or(Ok(2_000), |n| n.parse())?;
    let dir = match arguments.next() {
        Some(dir) => std::path::PathBuf::from(dir),
        None => std::env::temp_dir().join(format!("pruning_costs-{}", std::process::id())),
    };
    std::fs::create_dir_all(&dir)?;
    let disk = Arc::new(RealDisk::new(dir.clone()));
    let store = Store::open(disk, "store", Options::default())?;
    let mut world = World {
        writer: store.writer()?,
        version: 0,
        random: Random(1),
        keys,
    };
    for first in (0..keys).step_by(10_000) {
        world.step(first..keys.min(first + 10_000))?;
    }
    world.update((window, f64::INFINITY), |_| Ok(()))?;
    world.writer.checkpoint()?;
    let live = disk_bytes(&dir);
    println!(
        "{keys} keys and {window} versions: {:.0} MiB",
        live as f64 / MIB
    );

    let timed = 2 * window;
    let before = world.update((timed, f64::INFINITY), |_| Ok(()))?;
    world.writer.checkpoint()?;
    let grown = disk_bytes(&dir) as f64 / MIB;
    println!("without pruning: {before:.0} updates/s; after {timed} more versions {grown:.0} MiB");

    let start = Instant::now();
    world.prune(window)?;
    world.writer.checkpoint()?;
    let mut compaction = store.compaction()?.ok_or("nothing to compact")?;
    while compaction.step()? {}
    drop(compaction);
    let size = disk_bytes(&dir) as f64;
    println!(
        "compacted at once in {:.1} s: {:.0} MiB, {:.2} of what the window takes",
        start.elapsed().as_secs_f64(),
        size / MIB,
        size / live as f64
    );

    let stop = Arc::new(AtomicBool::new(false));
    let compactor = {
        let (store, stop) = (store.clone(), Arc::clone(&stop));
        std::thread::spawn(move || compact(&store, &stop))
    };
    for (what, pace) in [
        ("as fast as it goes", f64::INFINITY),
        ("at a steady pace", PACE),
    ] {
        let largest = Cell::new(0);
        let step = |world: &mut World| {
            if world.version.is_multiple_of(10) {
                largest.set(largest.get().max(disk_bytes(&dir)));
            }
            match world.version % (window / MOVES) {
                0 => world.prune(window),
                _ => Ok(()),
            }
        };
        // Until the window has moved on as a whole, it doesn't count.
        world.update((window, pace), step)?;
        largest.set(0);
        let rate = world.update((timed, pace), step)?;
        let largest = largest.get() as f64;
        println!(
            "a window that moves on, {what}: {rate:.0} updates/s, {:.2} of those without; at most {:.0} MiB, {:.2} of what \
             the window takes",
            rate / before,
            largest / MIB,
            largest / live as f64,
        );
    }
    stop.store(true, Ordering::Relaxed);
    let (freed, seconds) = compactor.join().map_err(|_| "the compactor failed")??;
    let freed = freed as f64 / MIB;
    println!("{freed:.0} MiB freed in {seconds:.1} s of another thread's on the processor");
    world.writer.checkpoint()?;
    drop(world);
    store.verify()?;
    std::fs::remove_dir_all(&dir)?;
    Ok(())
}
