//! What an update, a read and a proof cost: `cargo run --release -p violeta-vlsm --example update_costs [keys] [dir]`.
//!
//! Grows a space by batches of 3,000 random new keys, fills another with a million keys (16 bytes each, values of 100),
//! then measures random updates in batches of 1,000 and of 10,000 without syncs, durable commits, reads, proofs,
//! historical reads, and the time to open the store again.

#![allow(
    clippy::print_stdout,
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "measures"
)]

use std::error::Error;
use std::sync::Arc;
use std::time::Instant;

use violeta_journal::RealDisk;
use violeta_types::Height;
use violeta_vlsm::{Batch, Options, Store, Writer};

/// As in the binary.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const BATCH: u64 = 1_000;
const VALUE_BYTES: usize = 100;
const SPACE: &[u8] = b"accounts";

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

fn key(i: u64) -> [u8; 16] {
    let mut key = *b"key 00000000____";
    key[4..12].copy_from_slice(&i.to_be_bytes());
    key
}

fn step(
    writer: &mut Writer,
    version: &mut u64,
    keys: impl Iterator<Item = u64>,
) -> Result<(), Box<dyn Error>> {
    let mut batch = Batch::new();
    *version += 1;
    if *version == 1 {
        batch.create_space(SPACE);
    }
    for i in keys {
        let mut value = [7; VALUE_BYTES];
        value[..8].copy_from_slice(&version.to_le_bytes());
        batch.put(SPACE, &key(i), value.to_vec());
    }
    let staged = writer.stage(&batch)?;
    writer.append(Height(*version), staged)?;
    while writer.maintain()? {}
    Ok(())
}

/// The clock, and the time that this thread was on a processor: on a busy machine only the latter says something.
struct Stopwatch {
    clock: Instant,
    processor_ns: u64,
}

impl Stopwatch {
    fn start() -> Self {
        Stopwatch {
            clock: Instant::now(),
            processor_ns: processor_ns(),
        }
    }
}

fn processor_ns() -> u64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let first = text.split_whitespace().next();
    first.and_then(|n| n.parse().ok()).unwrap_or(0)
}

fn report(what: &str, start: Stopwatch, n: u64) {
    let clock = start.clock.elapsed().as_secs_f64() * 1e6 / n as f64;
    let processor = (processor_ns() - start.processor_ns) as f64 / 1e3 / n as f64;
    println!("{what:<40} {clock:>11.2} µs, on the processor {processor:>11.2} µs ({n} times)");
}

/// Bytes that files below `dir` take on the disk, but for what is allocated ahead of use.
fn disk_bytes(dir: &std::path::Path) -> u64 {
    let files = std::fs::read_dir(dir.join("store")).into_iter().flatten();
    let written = files.flatten().map(|file| {
        let log = file.file_name().to_string_lossy().starts_with("log-");
        let len = file.metadata().map_or(0, |data| data.len());
        if log { 0 } else { len }
    });
    written.sum()
}

/// Bytes that the process has given to the disk so far.
fn written_bytes() -> u64 {
    let text = std::fs::read_to_string("/proc/self/io").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("wchar: "));
    line.and_then(|n| n.parse().ok()).unwrap_or(0)
}

/// Memory that the process holds, in MiB.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmRSS"));
    let number = line.and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok());
    number.unwrap_or(0) / 1024
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let keys: u64 = arguments.next().map_or(Ok(1_000_000), |n| n.parse())?;
    let dir = match arguments.next() {
        Some(dir) => std::path::PathBuf::from(dir),
        None => std::env::temp_dir().join(format!("update_costs-{}", std::process::id())),
    };
    std::fs::create_dir_all(&dir)?;
    let disk = Arc::new(RealDisk::new(dir.clone()));
    let store = Store::open(disk.clone(), "store", Options::default())?;
    let mut writer = store.writer()?;
    let (mut version, mut random) = (0, Random(1));

    // Keys of their own: above all others, in an order that is random once they are hashed.
    let grown = keys.min(600_000);
    for first in (0..grown).step_by(100_000) {
        let start = Stopwatch::start();
        let last = grown.min(first + 100_000);
        for i in (first..last).step_by(3_000) {
            let new = i..last.min(i + 3_000);
            step(&mut writer, &mut version, new.map(|i| i + (1 << 40)))?;
        }
        report(
            &format!("new key, 3,000 a batch, from {first}"),
            start,
            last - first,
        );
    }
    println!("resident {} MiB", resident());
    let mut batch = Batch::new();
    batch.drop_space(SPACE);
    batch.create_space(SPACE);
    let staged = writer.stage(&batch)?;
    version += 1;
    writer.append(Height(version), staged)?;
    drop(batch);
    writer.checkpoint()?;

    let start = Stopwatch::start();
    for first in (0..keys).step_by(10_000) {
        step(&mut writer, &mut version, first..keys.min(first + 10_000))?;
    }
    report("insert, 10,000 a batch", start, keys);
    writer.checkpoint()?;
    println!("resident {} MiB", resident());

    // The first are warm-up; whole generations of what is written off the commit path come together.
    let (warm, n) = (50, 500);
    for _ in 0..warm {
        step(
            &mut writer,
            &mut version,
            (0..BATCH).map(|_| random.below(keys)),
        )?;
    }
    writer.checkpoint()?;
    let (kept, written) = (disk_bytes(&dir), written_bytes());
    let start = Stopwatch::start();
    for _ in 0..n {
        step(
            &mut writer,
            &mut version,
            (0..BATCH).map(|_| random.below(keys)),
        )?;
    }
    report("random update, 1,000 a batch, no sync", start, n * BATCH);
    writer.checkpoint()?;
    println!(
        "an update: {} bytes given to the disk, {} kept besides the log",
        (written_bytes() - written) / (n * BATCH),
        (disk_bytes(&dir) - kept) / (n * BATCH)
    );
    let n = 200;
    let start = Stopwatch::start();
    for _ in 0..n / 4 {
        step(
            &mut writer,
            &mut version,
            (0..10 * BATCH).map(|_| random.below(keys)),
        )?;
    }
    report(
        "random update, 10,000 a batch, no sync",
        start,
        n / 4 * 10 * BATCH,
    );
    writer.sync()?;
    let start = Stopwatch::start();
    for _ in 0..n {
        step(
            &mut writer,
            &mut version,
            (0..BATCH).map(|_| random.below(keys)),
        )?;
        writer.sync()?;
    }
    report("durable commit of 1,000 random updates", start, n);
    println!("resident {} MiB", resident());

    let (n, latest, old) = (
        200_000,
        store.latest(),
        store.snapshot(Height(version / 2))?,
    );
    let start = Stopwatch::start();
    for _ in 0..n {
        latest.get(SPACE, &key(random.below(keys)))?;
    }
    report("read, newest version", start, n);
    let start = Stopwatch::start();
    for _ in 0..n / 10 {
        old.get(SPACE, &key(random.below(keys)))?;
    }
    report("read, version in the middle", start, n / 10);
    let (start, mut bytes) = (Stopwatch::start(), 0);
    for _ in 0..n / 10 {
        let (_, proof) = latest.prove(SPACE, &key(random.below(keys)))?;
        bytes += borsh::to_vec(&proof)?.len();
    }
    report("proof, newest version, encoded", start, n / 10);
    println!("proof: {} bytes on average", bytes as u64 / (n / 10));

    writer.checkpoint()?;
    drop((writer, latest, old, store));
    let start = Stopwatch::start();
    let store = Store::open(disk, "store", Options::default())?;
    report("open after a checkpoint", start, 1);
    let start = Stopwatch::start();
    let verified = store.verify()?;
    report("full check", start, 1);
    println!("{verified:?}, resident {} MiB", resident());
    std::fs::remove_dir_all(&dir)?;
    Ok(())
}
