//! The index of versions: where the root of each lies.
//!
//! ```text
//!  file "versions"   entry 0 │ entry 1 │ …                                          one a version, by rising version
//!
//!  entry (72 bytes)  version u64 │ seq u64 │ root record u64 │ log end u64 │ root 32 │ next page u32 │ crc32
//! ```
//!
//! Numbers are little-endian. `seq` is the version's number in the order in which versions were made, `log end` where its
//! record in the log ends, `next page` the number that the next page had then, 0 if there were no more.

use std::sync::Arc;

use violeta_journal::DiskFile;
use violeta_types::{Digest, Height};

use crate::error::StoreError;
use crate::page::Seq;
use crate::tree::{At, take};

const ENTRY_BYTES: usize = 72;
const CHECKED_BYTES: usize = 68;

/// What the index says of a version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct VersionEntry {
    pub(crate) version: Height,
    /// Its number in the order in which versions were made.
    pub(crate) seq: Seq,
    /// Where the root of its top tree is written.
    pub(crate) at: At,
    /// Where its record in the log ends.
    pub(crate) log_end: u64,
    pub(crate) root: Digest,
    /// The number that the next page had, 0 if there were no more.
    pub(crate) next_page: u32,
}

impl VersionEntry {
    fn encode(&self) -> [u8; ENTRY_BYTES] {
        let mut out = [0; ENTRY_BYTES];
        out[..8].copy_from_slice(&self.version.0.to_le_bytes());
        out[8..16].copy_from_slice(&self.seq.0.to_le_bytes());
        out[16..24].copy_from_slice(&self.at.0.to_le_bytes());
        out[24..32].copy_from_slice(&self.log_end.to_le_bytes());
        out[32..64].copy_from_slice(&self.root.0);
        out[64..CHECKED_BYTES].copy_from_slice(&self.next_page.to_le_bytes());
        let crc = crc32fast::hash(&out[..CHECKED_BYTES]);
        out[CHECKED_BYTES..].copy_from_slice(&crc.to_le_bytes());
        out
    }

    fn decode(bytes: &[u8; ENTRY_BYTES]) -> Option<Self> {
        let rest = &mut &bytes[..];
        let entry = VersionEntry {
            version: Height(u64::from_le_bytes(take(rest)?)),
            seq: Seq(u64::from_le_bytes(take(rest)?)),
            at: At(u64::from_le_bytes(take(rest)?)),
            log_end: u64::from_le_bytes(take(rest)?),
            root: Digest(take(rest)?),
            next_page: u32::from_le_bytes(take(rest)?),
        };
        (entry.encode() == *bytes).then_some(entry)
    }
}

/// The index on the disk.
#[derive(Debug)]
pub(crate) struct Versions {
    file: Arc<dyn DiskFile>,
}

impl Versions {
    pub(crate) fn new(file: Arc<dyn DiskFile>) -> Self {
        Versions { file }
    }

    /// Entry `index`, which is known to be there.
    pub(crate) fn get(&self, index: u64) -> Result<VersionEntry, StoreError> {
        let offset = index * ENTRY_BYTES as u64;
        let mut bytes = [0; ENTRY_BYTES];
        let corrupt = |what: &str| StoreError::corrupt(self.file.path(), offset, what);
        let read = self.file.read_at(offset, &mut bytes);
        read.map_err(|error| match error.kind() {
            std::io::ErrorKind::UnexpectedEof => corrupt("the file ends before the entry does"),
            _ => StoreError::Disk(error),
        })?;
        VersionEntry::decode(&bytes).ok_or_else(|| corrupt("not an entry"))
    }

    /// Of the first `count` entries, the index of the last one whose version isn't above `version`.
    pub(crate) fn find(&self, count: u64, version: Height) -> Result<Option<u64>, StoreError> {
        let (mut low, mut high) = (0, count);
        while low < high {
            let middle = low + (high - low) / 2;
            match self.get(middle)?.version <= version {
                true => low = middle + 1,
                false => high = middle,
            }
        }
        Ok(low.checked_sub(1))
    }

    /// Writes entries from `index` on, without making them durable.
    pub(crate) fn write(&self, index: u64, entries: &[VersionEntry]) -> Result<(), StoreError> {
        let bytes: Vec<u8> = entries.iter().flat_map(VersionEntry::encode).collect();
        Ok(self.file.write_at(index * ENTRY_BYTES as u64, &bytes)?)
    }

    /// Makes what was written durable.
    pub(crate) fn sync(&self) -> Result<(), StoreError> {
        Ok(self.file.sync_data()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use violeta_journal::{Disk, MemoryDisk, OpenMode};

    fn entry(version: u64) -> VersionEntry {
        VersionEntry {
            version: Height(version),
            seq: Seq(version + 7),
            at: At::new(version, 9),
            log_end: 100 * version,
            root: Digest([version as u8; 32]),
            next_page: 5,
        }
    }

    #[test]
    fn versions_are_found_and_between_two_the_lower() {
        let file = MemoryDisk::new().open("versions", OpenMode::Any).unwrap();
        let versions = Versions::new(file);
        versions.write(0, &[3, 5, 9].map(entry)).unwrap();
        assert_eq!(versions.get(1).unwrap(), entry(5));
        let found = |version| versions.find(3, Height(version)).unwrap();
        assert_eq!(
            [0, 2, 3, 4, 5, 8, 9, 100].map(found),
            [
                None,
                None,
                Some(0),
                Some(0),
                Some(1),
                Some(1),
                Some(2),
                Some(2)
            ]
        );
    }

    #[test]
    fn an_entry_that_isnt_whole_is_corruption_and_no_failure_of_the_disk() {
        for len in [72 + 71, 72, 10, 0] {
            let file = MemoryDisk::new().open("versions", OpenMode::Any).unwrap();
            let versions = Versions::new(Arc::clone(&file));
            versions.write(0, &[3, 5].map(entry)).unwrap();
            file.truncate(len).unwrap();
            let error = versions.get(1).unwrap_err();
            let StoreError::Corrupt { file, offset, .. } = error else {
                panic!("{error}")
            };
            assert_eq!((&file[..], offset), ("versions", 72));
        }
    }
}
