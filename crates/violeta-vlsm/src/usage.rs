//! What a store takes on the disk, and whether there is one.

use std::io;

use violeta_journal::{Disk, OpenMode};
use violeta_types::Height;

use crate::error::StoreError;
use crate::files::in_dir;
use crate::store::Store;

/// Files of one kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FileUsage {
    /// How many there are.
    pub files: u64,
    /// How long they are together.
    pub bytes: u64,
}

/// What a store takes on the disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// The log: keys and values. Its last segment was allocated whole, so it is longer than what was written, until the
    /// store is opened again.
    pub log: FileUsage,
    /// Pages of the spaces' trees, and their directory.
    pub pages: FileUsage,
    /// Nodes of the top trees.
    pub nodes: FileUsage,
    /// The index of versions.
    pub index: FileUsage,
    /// Superblocks, and whatever else is in the directory.
    pub other: FileUsage,
}

impl Usage {
    /// What the files in `dir` take, whether or not the store there is open.
    ///
    /// # Errors
    /// If the disk fails.
    pub fn of(disk: &dyn Disk, dir: &str) -> Result<Usage, StoreError> {
        let mut usage = Usage::default();
        for name in disk.list(dir)? {
            let bytes = match disk.open(&in_dir(dir, &name), OpenMode::Existing) {
                Ok(file) => file.len()?,
                // A directory of somebody's, or removed since.
                Err(error) if is_no_file(error.kind()) => continue,
                Err(error) => return Err(error.into()),
            };
            let kind = usage.of_kind(&name);
            kind.files += 1;
            kind.bytes += bytes;
        }
        Ok(usage)
    }

    /// All files together.
    pub fn total(&self) -> FileUsage {
        let kinds = [self.log, self.pages, self.nodes, self.index, self.other];
        FileUsage {
            files: kinds.iter().map(|kind| kind.files).sum(),
            bytes: kinds.iter().map(|kind| kind.bytes).sum(),
        }
    }

    fn of_kind(&mut self, name: &str) -> &mut FileUsage {
        match name.split_once('-').map_or(name, |(kind, _)| kind) {
            // Not finished: of no use.
            _ if name.ends_with(".part") => &mut self.other,
            "log" => &mut self.log,
            "pages" => &mut self.pages,
            "nodes" => &mut self.nodes,
            "versions" => &mut self.index,
            _ => &mut self.other,
        }
    }
}

impl Store {
    /// Whether a store was made in `dir`. [`Self::open`] makes one where there is none; who wants none made asks first.
    ///
    /// # Errors
    /// If the directory can't be read, or there is none.
    pub fn is_in(disk: &dyn Disk, dir: &str) -> Result<bool, StoreError> {
        for name in disk.list(dir)? {
            // Both superblocks are written before anything else is.
            if name.starts_with("super-")
                && disk.open(&in_dir(dir, &name), OpenMode::Existing)?.len()? > 0
            {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The oldest version that can be read, pinned or not; none if there is no version yet.
    ///
    /// # Errors
    /// If the disk fails, or doesn't hold what was written.
    pub fn oldest_version(&self) -> Result<Option<Height>, StoreError> {
        let state = self.shared.state.load_full();
        match state.count() {
            0 => Ok(None),
            _ => self
                .shared
                .number_at(&state, state.retained.oldest())
                .map(Some),
        }
    }
}

fn is_no_file(kind: io::ErrorKind) -> bool {
    matches!(kind, io::ErrorKind::NotFound | io::ErrorKind::IsADirectory)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use violeta_journal::MemoryDisk;

    use super::*;
    use crate::batch::Batch;
    use crate::limits::Options;

    #[test]
    fn every_byte_is_of_one_kind_and_a_store_is_told_from_none() {
        let disk = MemoryDisk::new();
        assert!(!Store::is_in(&disk, "").unwrap());
        assert!(Store::is_in(&disk, "nowhere").is_err());
        // A start that power cut off before it wrote anything.
        disk.open("super-a", OpenMode::New).unwrap();
        assert!(!Store::is_in(&disk, "").unwrap());

        let store = Store::open(Arc::new(disk.clone()), "", Options::default()).unwrap();
        assert!(Store::is_in(&disk, "").unwrap());
        assert_eq!(store.oldest_version().unwrap(), None);
        let mut writer = store.writer().unwrap();
        for version in [3, 5] {
            let mut batch = Batch::new();
            if version == 3 {
                batch.create_space(b"s");
            }
            batch.put(b"s", &[version as u8], vec![version as u8; 1_000]);
            let staged = writer.stage(&batch).unwrap();
            writer.commit(Height(version), staged).unwrap();
        }
        writer.checkpoint().unwrap();
        assert_eq!(store.oldest_version().unwrap(), Some(Height(3)));
        let usage = Usage::of(&disk, "").unwrap();
        assert_eq!(usage.total().bytes, disk.used_bytes());
        assert_eq!(usage.total().files, disk.list("").unwrap().len() as u64);
        assert_eq!(usage.log.bytes, Options::default().log_segment_bytes);
        assert_eq!((usage.index.files, usage.other.files), (1, 2));
        assert_eq!(usage.index.bytes, 2 * 72);
        assert!(usage.pages.bytes > 0 && usage.nodes.bytes > 0, "{usage:?}");
        drop((writer, store));
        Store::open(Arc::new(disk.clone()), "", Options::default()).unwrap();
        let written = Usage::of(&disk, "").unwrap().log.bytes;
        assert!((2_000..3_000).contains(&written), "{written}");
        disk.open("log-sparse-0-0-0.part", OpenMode::New).unwrap();
        assert_eq!(Usage::of(&disk, "").unwrap().other.files, 3);
    }
}
