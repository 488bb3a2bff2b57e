//! The journal as its user sees it, and what is done to it.

mod crashes;
mod damage;
mod faults;
mod use_cases;

use std::sync::Arc;

use violeta_types::Digest;

use crate::{Disk, FaultyDisk, Journal, JournalError, MemoryDisk, Options, Record};

const DIR: &str = "data/journal";

fn options(segment_bytes: u64) -> Options {
    Options {
        segment_bytes,
        ..Options::for_directory(Digest([7; 32]))
    }
}

fn open(disk: &(impl Disk + Clone + 'static), segment_bytes: u64) -> Journal {
    let disk = Arc::new(disk.clone());
    Journal::open(disk, DIR, options(segment_bytes)).unwrap().0
}

/// Kinds and bytes of all records, as a journal that is opened gives them.
fn contents(
    disk: &(impl Disk + Clone + 'static),
    segment_bytes: u64,
) -> Result<Vec<(u8, Vec<u8>)>, JournalError> {
    let (_journal, replay) = Journal::open(Arc::new(disk.clone()), DIR, options(segment_bytes))?;
    let pair = |record: Record| (record.kind, record.bytes);
    replay.map(|record| record.map(pair)).collect()
}

/// The record that tests append as number `n`: its length varies, its bytes say which it is.
fn record(n: usize) -> (u8, Vec<u8>) {
    let kind = (n % 255 + 1) as u8;
    (kind, (0..n * 37 % 101).map(|i| (n + i) as u8).collect())
}

fn records(count: usize) -> Vec<(u8, Vec<u8>)> {
    (0..count).map(record).collect()
}

/// Random numbers of a seed (SplitMix64).
fn random(mut seed: u64) -> impl FnMut() -> u64 {
    move || {
        seed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (seed ^ (seed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

/// A disk that can be told to fail, over one in memory that can crash.
fn faulty() -> (MemoryDisk, FaultyDisk) {
    let memory = MemoryDisk::new();
    let faulty = FaultyDisk::new(Arc::new(memory.clone()));
    (memory, faulty)
}
