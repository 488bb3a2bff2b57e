//! The superblock: from where recovery goes on (vlsm.md §5).
//!
//! ```text
//!  files "super-a" and "super-b", written in turn: a torn write leaves the other
//!
//!  magic 8 │ generation │ era │ versions │ nodes end │ log position │ last record's checksum 32 │ checksum 32
//! ```
//!
//! Numbers are little-endian and of 64 bits; `checksum = H_file(all before it)`. The newer of the two that are whole
//! counts. It says: the first `versions` entries of the index, the node files below `nodes end` and the log below
//! `log position` are durable and belong together.

use std::sync::Arc;

use violeta_journal::{Disk, DiskFile, OpenMode};
use violeta_types::{Digest, Domain};

use crate::error::StoreError;
use crate::files::in_dir;
use crate::tree::take;

const MAGIC: [u8; 8] = *b"vlsmsup2";
const CHECKED_BYTES: usize = 80;
const SUPERBLOCK_BYTES: usize = CHECKED_BYTES + 32;

/// What is durable.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Superblock {
    /// Rises with every one that is written.
    pub(crate) generation: u64,
    /// Rises with every rollback.
    pub(crate) era: u64,
    /// Entries of the index of versions.
    pub(crate) versions: u64,
    /// Bytes of the node files.
    pub(crate) nodes_end: u64,
    /// Bytes of the log.
    pub(crate) log_position: u64,
    /// Checksum of the last record before that position, zero if there is none.
    pub(crate) link: Digest,
}

impl Superblock {
    fn encode(&self) -> [u8; SUPERBLOCK_BYTES] {
        let mut out = [0; SUPERBLOCK_BYTES];
        out[..8].copy_from_slice(&MAGIC);
        let (generation, versions) = (self.generation, self.versions);
        let numbers = [
            generation,
            self.era,
            versions,
            self.nodes_end,
            self.log_position,
        ];
        for (to, number) in out[8..48].chunks_exact_mut(8).zip(numbers) {
            to.copy_from_slice(&number.to_le_bytes());
        }
        out[48..CHECKED_BYTES].copy_from_slice(&self.link.0);
        let checksum = Domain::File.hash(&out[..CHECKED_BYTES]);
        out[CHECKED_BYTES..].copy_from_slice(&checksum.0);
        out
    }

    fn decode(bytes: &[u8; SUPERBLOCK_BYTES]) -> Option<Self> {
        let rest = &mut &bytes[8..];
        let mut number = || Some(u64::from_le_bytes(take(rest)?));
        let (generation, era, versions) = (number()?, number()?, number()?);
        let (nodes_end, log_position) = (number()?, number()?);
        let superblock = Superblock {
            generation,
            era,
            versions,
            nodes_end,
            log_position,
            link: Digest(take(rest)?),
        };
        (superblock.encode() == *bytes).then_some(superblock)
    }
}

/// The two files.
#[derive(Debug)]
pub(crate) struct Superblocks {
    files: [Arc<dyn DiskFile>; 2],
}

impl Superblocks {
    /// Opens the files, and makes them if they aren't there; the names aren't durable yet.
    pub(crate) fn open(disk: &dyn Disk, dir: &str) -> Result<Self, StoreError> {
        let open = |name| disk.open(&in_dir(dir, name), OpenMode::Any);
        Ok(Superblocks {
            files: [open("super-a")?, open("super-b")?],
        })
    }

    /// The newer one that is whole; none if neither is.
    pub(crate) fn read(&self) -> Result<Option<Superblock>, StoreError> {
        let mut newest: Option<Superblock> = None;
        for file in &self.files {
            if file.len()? < SUPERBLOCK_BYTES as u64 {
                continue;
            }
            let mut bytes = [0; SUPERBLOCK_BYTES];
            file.read_at(0, &mut bytes)?;
            if let Some(found) = Superblock::decode(&bytes)
                && newest.is_none_or(|newest| newest.generation < found.generation)
            {
                newest = Some(found);
            }
        }
        Ok(newest)
    }

    /// Writes `superblock` over the older one, durably.
    pub(crate) fn write(&self, superblock: &Superblock) -> Result<(), StoreError> {
        let file = &self.files[(superblock.generation % 2) as usize];
        file.write_at(0, &superblock.encode())?;
        file.sync_data()?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use violeta_journal::MemoryDisk;

    fn numbered(generation: u64) -> Superblock {
        Superblock {
            generation,
            era: 1,
            versions: 2,
            nodes_end: 3,
            log_position: 4,
            link: Digest([5; 32]),
        }
    }

    #[test]
    fn the_newer_whole_one_counts() {
        let disk = MemoryDisk::new();
        let blocks = Superblocks::open(&disk, "").unwrap();
        assert_eq!(blocks.read().unwrap(), None);
        for generation in 1..5 {
            blocks.write(&numbered(generation)).unwrap();
            assert_eq!(blocks.read().unwrap(), Some(numbered(generation)));
        }
        disk.flip_bit("super-a", 90, 0).unwrap();
        assert_eq!(blocks.read().unwrap(), Some(numbered(3)));
        disk.flip_bit("super-b", 20, 7).unwrap();
        assert_eq!(blocks.read().unwrap(), None);
    }
}
