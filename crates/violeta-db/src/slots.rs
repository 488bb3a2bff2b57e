//! A small record on disk that is replaced as a whole: a crash leaves the old one or the new one.
//!
//! ```text
//!   slot 0 (4,096 bytes)                     slot 1
//!   ┌──────────┬────────────┬─────┬───────┐  ┌──────────────────┐
//!   │ checksum │ generation │ len │ bytes │  │ …                │
//!   │ 32       │ u64 LE     │ u32 │       │  │                  │
//!   └──────────┴────────────┴─────┴───────┘  └──────────────────┘
//!     generations of even number               and of odd
//! ```
//!
//! A write goes to the slot of the older generation and is synced; a torn one harms that slot alone. The checksum binds
//! the rest of the slot's record. Two slots that were both written and are both bad are corruption: no crash does that.

use std::sync::Arc;

use violeta_journal::disk::{create_dirs, join};
use violeta_journal::{DirLock, Disk, DiskFile, OpenMode};
use violeta_types::{Digest, Domain};

use crate::error::DbError;

const SLOT_BYTES: usize = 4_096;
const CHECKSUM_BYTES: usize = 32;
const HEADER_BYTES: usize = CHECKSUM_BYTES + 8 + 4;
/// Bytes of a record.
pub(crate) const RECORD_BYTES_MAX: usize = SLOT_BYTES - HEADER_BYTES;
const FILE: &str = "position";

/// The record's file. A write or sync that fails is final: the owner must not write again.
#[derive(Debug)]
pub(crate) struct Slots {
    file: Arc<dyn DiskFile>,
    generation: u64,
    _lock: DirLock,
}

/// What a slot holds.
enum Slot {
    Blank,
    Good(u64, Vec<u8>),
    Bad,
}

impl Slots {
    /// Opens the file in `dir`, or makes it, and gives the record that it holds.
    pub(crate) fn open(disk: &dyn Disk, dir: &str) -> Result<(Self, Option<Vec<u8>>), DbError> {
        create_dirs(disk, dir)?;
        let lock = disk.lock(dir)?;
        let path = join(dir, FILE);
        let file = disk.open(&path, OpenMode::Any)?;
        if file.len()? < 2 * SLOT_BYTES as u64 {
            // New, or its making was cut off: nothing has been kept in it yet.
            file.write_at(0, &[0; 2 * SLOT_BYTES])?;
            file.sync_data()?;
        }
        // Also where another process made it: its name may not be durable.
        disk.sync_dir(dir)?;
        let (generation, record) = match (read(&*file, 0)?, read(&*file, 1)?) {
            (Slot::Good(a, record), Slot::Good(b, _)) if a > b => (a, Some(record)),
            (_, Slot::Good(b, record)) => (b, Some(record)),
            (Slot::Good(a, record), _) => (a, Some(record)),
            (Slot::Bad, Slot::Bad) => {
                return Err(DbError::corrupt(path.as_bytes(), b"", "both slots are bad"));
            }
            _ => (0, None),
        };
        let slots = Slots {
            file,
            generation,
            _lock: lock,
        };
        Ok((slots, record))
    }

    /// Replaces the record, durably.
    pub(crate) fn replace(&mut self, record: &[u8]) -> Result<(), DbError> {
        assert!(record.len() <= RECORD_BYTES_MAX, "a record fits its slot");
        let generation = self.generation + 1;
        let mut rest = Vec::with_capacity(HEADER_BYTES + record.len());
        rest.extend_from_slice(&generation.to_le_bytes());
        rest.extend_from_slice(&(record.len() as u32).to_le_bytes());
        rest.extend_from_slice(record);
        let slot = [&Domain::File.hash(&rest).0[..], &rest].concat();
        let offset = (generation % 2) * SLOT_BYTES as u64;
        self.file.write_at(offset, &slot)?;
        self.file.sync_data()?;
        self.generation = generation;
        Ok(())
    }
}

fn read(file: &dyn DiskFile, index: u64) -> Result<Slot, DbError> {
    let mut bytes = [0; SLOT_BYTES];
    file.read_at(index * SLOT_BYTES as u64, &mut bytes)?;
    if bytes.iter().all(|&byte| byte == 0) {
        return Ok(Slot::Blank);
    }
    Ok(parse(&bytes, index).unwrap_or(Slot::Bad))
}

fn parse(bytes: &[u8; SLOT_BYTES], index: u64) -> Option<Slot> {
    let (checksum, rest) = bytes.split_first_chunk::<CHECKSUM_BYTES>()?;
    let (generation, after) = rest.split_first_chunk::<8>()?;
    let (len, after) = after.split_first_chunk::<4>()?;
    let generation = u64::from_le_bytes(*generation);
    let len = u32::from_le_bytes(*len) as usize;
    let record = after.get(..len)?;
    let good = Domain::File.hash(&rest[..12 + len]) == Digest(*checksum);
    (good && generation % 2 == index).then(|| Slot::Good(generation, record.to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::ErrorKind;
    use violeta_journal::{FaultyDisk, MemoryDisk};

    fn open(disk: &MemoryDisk) -> (Slots, Option<Vec<u8>>) {
        Slots::open(disk, "null").unwrap()
    }

    #[test]
    fn the_last_record_is_read_back() {
        let disk = MemoryDisk::new();
        assert_eq!(open(&disk).1, None);
        for i in 0..5u8 {
            let record = vec![i; 100 * usize::from(i)];
            open(&disk).0.replace(&record).unwrap();
            assert_eq!(open(&disk).1, Some(record));
        }
        let largest = vec![7; RECORD_BYTES_MAX];
        open(&disk).0.replace(&largest).unwrap();
        assert_eq!(open(&disk).1, Some(largest));
    }

    #[test]
    fn a_second_owner_is_refused() {
        let disk = MemoryDisk::new();
        let first = open(&disk);
        assert!(Slots::open(&disk, "null").is_err());
        drop(first);
        open(&disk);
    }

    #[test]
    fn a_crash_at_any_operation_leaves_the_old_record_or_the_new_one() {
        for at in 0..30 {
            for seed in 0..8u64 {
                let memory = MemoryDisk::new();
                let faulty = FaultyDisk::new(Arc::new(memory.clone()));
                faulty.fail_from(at, ErrorKind::Other);
                let mut kept = 0u8;
                if let Ok((mut slots, _)) = Slots::open(&faulty, "null") {
                    while kept < 5 && slots.replace(&[kept + 1; 2_000]).is_ok() {
                        kept += 1;
                    }
                }
                let mut state = seed;
                memory.crash(&mut || {
                    state = state
                        .wrapping_mul(6_364_136_223_846_793_005)
                        .wrapping_add(seed + 1);
                    state >> 11
                });
                let record = open(&memory).1.map_or(0, |record| {
                    assert_eq!(record, [record[0]; 2_000]);
                    record[0]
                });
                assert!((kept..=kept + 1).contains(&record), "{at} {seed}: {record}");
            }
        }
    }

    #[test]
    fn a_flipped_bit_never_makes_a_record_that_was_not_written() {
        for offset in (0..2 * SLOT_BYTES as u64).step_by(37) {
            let disk = MemoryDisk::new();
            let (mut slots, _) = open(&disk);
            slots.replace(b"one").unwrap();
            slots.replace(b"two").unwrap();
            drop(slots);
            disk.flip_bit("null/position", offset, 3).unwrap();
            let record = open(&disk).1.unwrap();
            assert!(record == b"one" || record == b"two");
        }
    }

    #[test]
    fn two_bad_slots_are_corruption() {
        let disk = MemoryDisk::new();
        let (mut slots, _) = open(&disk);
        slots.replace(b"one").unwrap();
        slots.replace(b"two").unwrap();
        drop(slots);
        for slot in 0..2 {
            disk.flip_bit("null/position", slot * SLOT_BYTES as u64, 0)
                .unwrap();
        }
        let error = Slots::open(&disk, "null").unwrap_err();
        assert!(matches!(error, DbError::Corrupt { .. }));
    }
}
