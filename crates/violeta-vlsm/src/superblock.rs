//! The superblock: from where recovery goes on (vlsm.md §5).
//!
//! ```text
//!  files "super-a" and "super-b", written in turn: a torn write leaves the other
//!
//!  magic 8 │ generation │ era │ versions │ nodes end │ pages end │ log position │ next seq │ next page │ directory │
//!     file bytes │ first │ pins │ pin × 200 │ last record's checksum 32 │ checksum 32
//! ```
//!
//! Numbers are little-endian and of 64 bits; `checksum = H_file(all before it)`. The newer of the two that are whole
//! counts. It says: the first `versions` entries of the index, the node files below `nodes end`, the page files below
//! `pages end` and the log below `log position` are durable and belong together. `directory` is where the root of the
//! page directory lies, 0 if there are no pages; `file bytes` how large files of records are. Of the versions, those from
//! entry `first` on are kept, and so many before it as there are `pins` (zeros fill the room of the others).

use std::sync::Arc;

use violeta_journal::{Disk, DiskFile, OpenMode};
use violeta_types::{Digest, Domain};

use crate::error::StoreError;
use crate::files::in_dir;
use crate::limits::PINNED_VERSIONS_MAX;
use crate::page::Seq;
use crate::retention::Retained;
use crate::tree::{At, take};

const MAGIC: [u8; 8] = *b"vlsmsup4";
/// What all formats begin with.
const MAGIC_START: &[u8] = b"vlsmsup";
const NUMBERS: usize = 12;
const NUMBERS_END: usize = 8 + (NUMBERS + PINNED_VERSIONS_MAX) * 8;
const CHECKED_BYTES: usize = NUMBERS_END + 32;
const SUPERBLOCK_BYTES: usize = CHECKED_BYTES + 32;

/// What is durable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Superblock {
    /// Rises with every one that is written.
    pub(crate) generation: u64,
    /// Rises with every rollback.
    pub(crate) era: u64,
    /// Entries of the index of versions.
    pub(crate) versions: u64,
    /// Bytes of the node files.
    pub(crate) nodes_end: u64,
    /// Bytes of the page files.
    pub(crate) pages_end: u64,
    /// Bytes of the log.
    pub(crate) log_position: u64,
    /// The number of the next version, in the order in which they are made.
    pub(crate) next_seq: Seq,
    /// The number of the next page, 0 if there are no more.
    pub(crate) next_page: u32,
    /// Where the root of the page directory lies; none if there are no pages.
    pub(crate) directory: Option<At>,
    /// Bytes of a file of records: the same as long as the store is there.
    pub(crate) file_bytes: u64,
    /// Which versions are kept.
    pub(crate) retained: Arc<Retained>,
    /// Checksum of the last record before that position, zero if there is none.
    pub(crate) link: Digest,
}

impl Superblock {
    /// Of a store that nothing was ever written to, with files of records of so many bytes.
    pub(crate) fn empty(file_bytes: u64) -> Self {
        Superblock {
            generation: 0,
            era: 0,
            versions: 0,
            nodes_end: 0,
            // No record lies at 0, which stands for none.
            pages_end: 1,
            log_position: 0,
            next_seq: Seq::FIRST,
            next_page: 1,
            directory: None,
            file_bytes,
            retained: Arc::default(),
            link: Digest::ZERO,
        }
    }

    fn encode(&self) -> [u8; SUPERBLOCK_BYTES] {
        let mut out = [0; SUPERBLOCK_BYTES];
        out[..8].copy_from_slice(&MAGIC);
        let numbers = [
            self.generation,
            self.era,
            self.versions,
            self.nodes_end,
            self.pages_end,
            self.log_position,
            self.next_seq.0,
            u64::from(self.next_page),
            self.directory.map_or(0, |at| at.0),
            self.file_bytes,
            self.retained.first,
            self.retained.pins.len() as u64,
        ];
        const { assert!(NUMBERS == 12, "as many as here") };
        let numbers = numbers.iter().chain(&self.retained.pins);
        for (to, number) in out[8..NUMBERS_END].chunks_exact_mut(8).zip(numbers) {
            to.copy_from_slice(&number.to_le_bytes());
        }
        out[NUMBERS_END..CHECKED_BYTES].copy_from_slice(&self.link.0);
        let checksum = Domain::File.hash(&out[..CHECKED_BYTES]);
        out[CHECKED_BYTES..].copy_from_slice(&checksum.0);
        out
    }

    fn decode(bytes: &[u8; SUPERBLOCK_BYTES]) -> Option<Self> {
        let rest = &mut &bytes[8..];
        let mut number = || Some(u64::from_le_bytes(take(rest)?));
        let superblock = Superblock {
            generation: number()?,
            era: number()?,
            versions: number()?,
            nodes_end: number()?,
            pages_end: number()?,
            log_position: number()?,
            next_seq: Seq(number()?),
            next_page: u32::try_from(number()?).ok()?,
            directory: At::from_word(number()?),
            file_bytes: number()?,
            retained: Arc::new(Retained {
                first: number()?,
                pins: {
                    let count = usize::try_from(number()?).ok()?;
                    (count <= PINNED_VERSIONS_MAX).then_some(())?;
                    (0..count).map(|_| number()).collect::<Option<_>>()?
                },
            }),
            link: Digest(bytes[NUMBERS_END..CHECKED_BYTES].try_into().ok()?),
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
    ///
    /// # Errors
    /// [`StoreError::Format`] if one was written by another version of this software.
    pub(crate) fn read(&self) -> Result<Option<Superblock>, StoreError> {
        let mut newest: Option<Superblock> = None;
        for file in &self.files {
            refuse_other_formats(&**file)?;
            if file.len()? < SUPERBLOCK_BYTES as u64 {
                continue;
            }
            let mut bytes = [0; SUPERBLOCK_BYTES];
            file.read_at(0, &mut bytes)?;
            if let Some(found) = Superblock::decode(&bytes)
                && (newest.as_ref()).is_none_or(|newest| newest.generation < found.generation)
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

fn refuse_other_formats(file: &dyn DiskFile) -> Result<(), StoreError> {
    let mut magic = [0; 8];
    if file.len()? < magic.len() as u64 {
        return Ok(());
    }
    file.read_at(0, &mut magic)?;
    let (start, format) = magic.split_at(MAGIC_START.len());
    if start != MAGIC_START || magic == MAGIC || !format[0].is_ascii_digit() {
        return Ok(());
    }
    let what = format!(
        "it is of format {}, and this software reads format {}",
        char::from(format[0]),
        char::from(MAGIC[MAGIC_START.len()]),
    );
    let file = file.path().to_owned();
    Err(StoreError::Format { file, what })
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
            pages_end: 6,
            log_position: 4,
            next_seq: Seq(7),
            next_page: 8,
            directory: Some(At::new(5, 6)),
            file_bytes: 9,
            retained: Arc::new(Retained {
                first: 10,
                pins: vec![3, generation],
            }),
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

    #[test]
    fn a_store_of_another_format_is_refused_by_name() {
        let disk = MemoryDisk::new();
        let blocks = Superblocks::open(&disk, "").unwrap();
        blocks.write(&numbered(1)).unwrap();
        let file = disk.open("super-a", OpenMode::Any).unwrap();
        file.write_at(0, b"vlsmsup3").unwrap();
        let error = blocks.read().unwrap_err().to_string();
        assert!(error.starts_with("super-a isn't a store"), "{error}");
        assert!(
            error.contains("of format 3, and this software reads format 4"),
            "{error}"
        );
    }
}
