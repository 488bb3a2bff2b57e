//! A disk whose files stay as they are: whoever opens a store to look at it changes nothing.
//!
//! ```text
//!  read    memory, where something was written ── else ──▶ the file, as far as it wasn't cut
//!  write   memory, in blocks of 4 KiB
//! ```
//!
//! A store that is opened is recovered: what was never acknowledged is cut, what was is replayed, pages are written. All
//! of that happens here in memory, and is gone afterwards. It is little: what lies behind the last checkpoint.
//!
//! Only what a store in an existing directory needs is here: no directory is made, and nothing is renamed.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use violeta_journal::{DirLock, Disk, DiskError, DiskFile, OpenMode};

const BLOCK_BYTES: u64 = 4 << 10;

/// The files of another disk, and what became of them in memory.
#[derive(Debug)]
pub(crate) struct UntouchedDisk {
    below: Arc<dyn Disk>,
    /// What became of files that were opened or made; none once removed. Whoever opened one has the file below open, not
    /// this: a store may have far more files than a process has descriptors.
    contents: Mutex<BTreeMap<String, Option<Arc<Mutex<Content>>>>>,
}

fn hold<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl UntouchedDisk {
    /// The files of `below`, which is only read, and locked.
    pub(crate) fn new(below: Arc<dyn Disk>) -> Self {
        UntouchedDisk {
            below,
            contents: Mutex::default(),
        }
    }

    /// The file that has this name now. `known`: what became of it, if it was opened before.
    fn find(
        &self,
        path: &str,
        known: Option<&Option<Arc<Mutex<Content>>>>,
    ) -> Result<Option<UntouchedFile>, DiskError> {
        let content = match known {
            Some(None) => return Ok(None),
            Some(Some(content)) if hold(content).below_len == 0 => {
                return Ok(Some(UntouchedFile::made(path, Arc::clone(content))));
            }
            Some(Some(content)) => Some(Arc::clone(content)),
            None => None,
        };
        match (self.below.open(path, OpenMode::Existing), content) {
            (Ok(below), None) => Ok(Some(UntouchedFile::over(below)?)),
            (Ok(below), Some(content)) => Ok(Some(UntouchedFile {
                below: Some(below),
                ..UntouchedFile::made(path, content)
            })),
            (Err(error), None) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            (Err(error), _) => Err(error),
        }
    }
}

impl Disk for UntouchedDisk {
    fn open(&self, path: &str, mode: OpenMode) -> Result<Arc<dyn DiskFile>, DiskError> {
        let fail = |kind: io::ErrorKind| Err(DiskError::new("open", path, kind));
        let mut contents = hold(&self.contents);
        let file = match (self.find(path, contents.get(path))?, mode) {
            (None, OpenMode::Existing) => return fail(io::ErrorKind::NotFound),
            (Some(_), OpenMode::New) => return fail(io::ErrorKind::AlreadyExists),
            (Some(file), _) => file,
            (None, _) => UntouchedFile::made(path, Arc::default()),
        };
        contents.insert(path.to_owned(), Some(Arc::clone(&file.content)));
        Ok(Arc::new(file))
    }

    fn list(&self, dir: &str) -> Result<Vec<String>, DiskError> {
        let mut names = self.below.list(dir)?;
        for (path, content) in hold(&self.contents).iter() {
            let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
            if parent == dir {
                names.retain(|listed| listed != name);
                names.extend(content.iter().map(|_| name.to_owned()));
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    fn create_dir(&self, dir: &str) -> Result<(), DiskError> {
        self.below.list(dir).map(|_| ())
    }

    fn rename(&self, from: &str, _to: &str) -> Result<(), DiskError> {
        Err(DiskError::new("rename", from, io::ErrorKind::Unsupported))
    }

    fn remove(&self, path: &str) -> Result<(), DiskError> {
        let mut contents = hold(&self.contents);
        match self.find(path, contents.get(path))? {
            Some(_) => contents.insert(path.to_owned(), None),
            None => return Err(DiskError::new("remove", path, io::ErrorKind::NotFound)),
        };
        Ok(())
    }

    fn sync_dir(&self, _dir: &str) -> Result<(), DiskError> {
        Ok(())
    }

    fn lock(&self, dir: &str) -> Result<DirLock, DiskError> {
        self.below.lock(dir)
    }
}

#[derive(Debug)]
struct UntouchedFile {
    path: String,
    below: Option<Arc<dyn DiskFile>>,
    content: Arc<Mutex<Content>>,
}

#[derive(Debug, Default)]
struct Content {
    len: u64,
    /// Bytes of the file below that are still there.
    below_len: u64,
    /// What was written, by the number of the block.
    blocks: BTreeMap<u64, Box<[u8]>>,
}

impl UntouchedFile {
    fn over(below: Arc<dyn DiskFile>) -> Result<Self, DiskError> {
        let len = below.len()?;
        Ok(UntouchedFile {
            path: below.path().to_owned(),
            below: Some(below),
            content: Arc::new(Mutex::new(Content {
                len,
                below_len: len,
                blocks: BTreeMap::new(),
            })),
        })
    }

    fn made(path: &str, content: Arc<Mutex<Content>>) -> Self {
        UntouchedFile {
            path: path.to_owned(),
            below: None,
            content,
        }
    }

    /// Reads what there is; zeros beyond.
    fn fill(&self, content: &Content, offset: u64, buffer: &mut [u8]) -> Result<(), DiskError> {
        buffer.fill(0);
        let end = offset + buffer.len() as u64;
        let visible = content.below_len.min(end).saturating_sub(offset) as usize;
        if let Some(below) = self.below.as_ref().filter(|_| visible > 0) {
            below.read_at(offset, &mut buffer[..visible])?;
        }
        for (number, block) in content.blocks.range(offset / BLOCK_BYTES..) {
            let start = number * BLOCK_BYTES;
            if start >= end {
                break;
            }
            let from = offset.max(start);
            let len = (end.min(start + BLOCK_BYTES) - from) as usize;
            let (to, from) = ((from - offset) as usize, (from - start) as usize);
            buffer[to..to + len].copy_from_slice(&block[from..from + len]);
        }
        Ok(())
    }
}

impl DiskFile for UntouchedFile {
    fn path(&self) -> &str {
        &self.path
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), DiskError> {
        let content = hold(&self.content);
        let end = offset.checked_add(buffer.len() as u64);
        if end.is_none_or(|end| end > content.len) {
            let kind = io::ErrorKind::UnexpectedEof;
            return Err(DiskError::new("read", &self.path, kind));
        }
        self.fill(&content, offset, buffer)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<(), DiskError> {
        let mut content = hold(&self.content);
        let (mut at, mut rest) = (offset, bytes);
        while !rest.is_empty() {
            let (number, from) = (at / BLOCK_BYTES, (at % BLOCK_BYTES) as usize);
            let len = rest.len().min(BLOCK_BYTES as usize - from);
            let mut block = vec![0; BLOCK_BYTES as usize];
            self.fill(&content, number * BLOCK_BYTES, &mut block)?;
            block[from..from + len].copy_from_slice(&rest[..len]);
            content.blocks.insert(number, block.into());
            (at, rest) = (at + len as u64, &rest[len..]);
        }
        content.len = content.len.max(at);
        Ok(())
    }

    fn sync_data(&self) -> Result<(), DiskError> {
        Ok(())
    }

    fn allocate(&self, len: u64) -> Result<(), DiskError> {
        let mut content = hold(&self.content);
        content.len = content.len.max(len);
        Ok(())
    }

    fn truncate(&self, len: u64) -> Result<(), DiskError> {
        let mut content = hold(&self.content);
        content.len = len;
        content.below_len = content.below_len.min(len);
        content.blocks.split_off(&len.div_ceil(BLOCK_BYTES));
        if let Some(last) = content.blocks.get_mut(&(len / BLOCK_BYTES)) {
            last[(len % BLOCK_BYTES) as usize..].fill(0);
        }
        Ok(())
    }

    fn len(&self) -> Result<u64, DiskError> {
        Ok(hold(&self.content).len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use violeta_journal::MemoryDisk;

    const FILE_BYTES: usize = 20_000;

    #[derive(Clone, Debug)]
    enum Op {
        Write(u64, Vec<u8>),
        Truncate(u64),
        Allocate(u64),
    }

    fn op() -> impl Strategy<Value = Op> {
        let offset = || 0..2 * FILE_BYTES as u64;
        let bytes = (1..10_000usize, 1u8..).prop_map(|(len, byte)| vec![byte; len]);
        prop_oneof![
            3 => (offset(), bytes).prop_map(|(offset, bytes)| Op::Write(offset, bytes)),
            1 => offset().prop_map(Op::Truncate),
            1 => offset().prop_map(Op::Allocate),
        ]
    }

    fn whole(disk: &dyn Disk, path: &str) -> Vec<u8> {
        let file = disk.open(path, OpenMode::Existing).unwrap();
        let mut bytes = vec![9; file.len().unwrap() as usize];
        file.read_at(0, &mut bytes).unwrap();
        bytes
    }

    fn filled() -> (Arc<MemoryDisk>, Vec<u8>) {
        let below = Arc::new(MemoryDisk::new());
        let bytes: Vec<u8> = (0..FILE_BYTES).map(|i| (i % 251) as u8).collect();
        let file = below.open("f", OpenMode::New).unwrap();
        file.write_at(0, &bytes).unwrap();
        (below, bytes)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn a_file_reads_as_if_it_had_been_written_and_hasnt_been(
            ops in proptest::collection::vec(op(), 1..8),
            from in 0..FILE_BYTES,
        ) {
            let (below, bytes) = filled();
            let disk = UntouchedDisk::new(below.clone());
            let mut model = bytes.clone();
            for op in &ops {
                let file = disk.open("f", OpenMode::Any).unwrap();
                match op {
                    Op::Write(offset, written) => {
                        file.write_at(*offset, written).unwrap();
                        let (start, end) = (*offset as usize, *offset as usize + written.len());
                        model.resize(model.len().max(end), 0);
                        model[start..end].copy_from_slice(written);
                    }
                    Op::Truncate(len) => {
                        file.truncate(*len).unwrap();
                        model.resize(*len as usize, 0);
                    }
                    Op::Allocate(len) => {
                        file.allocate(*len).unwrap();
                        model.resize(model.len().max(*len as usize), 0);
                    }
                }
                file.sync_data().unwrap();
                prop_assert_eq!(&whole(&disk, "f"), &model);
            }
            let mut part = vec![9; model.len().saturating_sub(from)];
            let file = disk.open("f", OpenMode::Existing).unwrap();
            file.read_at(from as u64, &mut part).unwrap_or_default();
            prop_assert_eq!(part.as_slice(), model.get(from..).unwrap_or_default());
            let beyond = file.read_at(model.len() as u64, &mut [0]).unwrap_err();
            prop_assert_eq!(beyond.kind(), io::ErrorKind::UnexpectedEof);
            prop_assert_eq!(whole(&*below, "f"), bytes);
        }
    }

    #[test]
    fn names_that_come_and_go_do_so_in_memory() {
        let (below, _) = filled();
        let disk = UntouchedDisk::new(below.clone());
        let kind = |opened: Result<Arc<dyn DiskFile>, DiskError>| opened.unwrap_err().kind();
        assert_eq!(
            kind(disk.open("f", OpenMode::New)),
            io::ErrorKind::AlreadyExists
        );
        assert_eq!(
            kind(disk.open("g", OpenMode::Existing)),
            io::ErrorKind::NotFound
        );
        let made = disk.open("g", OpenMode::New).unwrap();
        made.write_at(2, b"x").unwrap();
        assert_eq!(whole(&disk, "g"), b"\0\0x");
        assert_eq!(disk.list("").unwrap(), ["f", "g"]);
        disk.remove("f").unwrap();
        assert_eq!(disk.list("").unwrap(), ["g"]);
        assert_eq!(
            kind(disk.open("f", OpenMode::Existing)),
            io::ErrorKind::NotFound
        );
        assert_eq!(
            disk.remove("f").unwrap_err().kind(),
            io::ErrorKind::NotFound
        );
        disk.open("f", OpenMode::Any).unwrap();
        assert_eq!(whole(&disk, "f"), b"", "another of that name");
        assert_eq!(below.list("").unwrap(), ["f"]);
        assert_eq!(
            disk.create_dir("d").unwrap_err().kind(),
            io::ErrorKind::NotFound
        );
        assert!(disk.lock("").is_ok());
    }

    /// Descriptors that this process has open on files in `dir`.
    #[cfg(target_os = "linux")]
    fn descriptors_in(dir: &std::path::Path) -> usize {
        let open = std::fs::read_dir("/proc/self/fd").unwrap();
        let links = open.filter_map(|fd| std::fs::read_link(fd.unwrap().path()).ok());
        links.filter(|link| link.starts_with(dir)).count()
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_store_may_have_more_files_than_a_process_has_descriptors() {
        let dir = tempfile::tempdir().unwrap();
        let names: Vec<String> = (0..50).map(|i| format!("log-{i}")).collect();
        for name in &names {
            std::fs::write(dir.path().join(name), b"below").unwrap();
        }
        let below = Arc::new(violeta_journal::RealDisk::new(dir.path().to_owned()));
        let disk = UntouchedDisk::new(below);
        for name in &names {
            assert_eq!(whole(&disk, name), b"below");
        }
        assert_eq!(descriptors_in(dir.path()), 0, "all were closed again");
        let file = disk.open("log-7", OpenMode::Any).unwrap();
        file.write_at(0, b"a").unwrap();
        file.truncate(3).unwrap();
        drop(file);
        assert_eq!(whole(&disk, "log-7"), b"ael", "what was written stays");
        assert_eq!(descriptors_in(dir.path()), 0);
    }
}
