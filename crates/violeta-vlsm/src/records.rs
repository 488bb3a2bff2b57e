//! Files of records, append-only and written off the commit path: those of the top tree's nodes, and those of pages.
//!
//! ```text
//!  offsets   0 ───────────▶ 64 M ───────────▶ 128 M … written │ unwritten: in memory, in pieces
//!            nodes-00000000 │ nodes-00000001 │
//! ```
//!
//! Of files that hold little which is needed any more, [sparse ones](crate::sparse) take the place.
//!
//! A record lies in one file. Nothing here is needed to survive a crash: what isn't below the superblock's end is made
//! again from the log. Nothing here is trusted either: a record is read only if its checksum is right, and what follows
//! from it is served only if it has the digest that whoever led there says.

use std::sync::Arc;

use arc_swap::ArcSwap;
use bytes::Bytes;
use violeta_journal::{Disk, DiskFile, OpenMode};

use crate::compaction::Sealed;
use crate::error::StoreError;
use crate::files::{Files, in_dir};
use crate::limits::UNWRITTEN_BYTES;
use crate::spare::Spare;
use crate::sparse::{self, Sparse};
use crate::tree::{At, NodeSink};

/// Pieces of fewer bytes are written several at a time.
const SMALL_BYTES: usize = 64 << 10;

/// What is in the files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stream {
    /// The top tree's nodes.
    Nodes,
    /// Pages of the spaces' trees.
    Pages,
}

impl Stream {
    /// What the names of its files begin with.
    pub(crate) fn kind(self) -> &'static str {
        match self {
            Stream::Nodes => "nodes",
            Stream::Pages => "pages",
        }
    }

    fn name(self, number: u64) -> String {
        format!("{}-{number:08x}", self.kind())
    }

    fn number(self, name: &str) -> Option<u64> {
        let number = name.strip_prefix(self.kind())?.strip_prefix('-')?;
        let number = u64::from_str_radix(number, 16).ok()?;
        (self.name(number) == name).then_some(number)
    }

    fn path(self, dir: &str, number: u64) -> String {
        in_dir(dir, &self.name(number))
    }
}

/// The files as readers see them.
#[derive(Debug)]
pub(crate) struct RecordFiles {
    pub(crate) stream: Stream,
    disk: Arc<dyn Disk>,
    dir: String,
    files: Files,
    /// Bytes of a file.
    pub(crate) file_bytes: u64,
    /// What is left of files that aren't there any more.
    sparse: ArcSwap<Vec<Arc<Sparse>>>,
    /// Records that aren't in the files yet.
    unwritten: ArcSwap<Vec<Piece>>,
}

/// Records that were appended at once.
#[derive(Clone, Debug)]
struct Piece {
    /// Where they will begin.
    start: u64,
    bytes: Arc<Vec<u8>>,
}

impl RecordFiles {
    pub(crate) fn new(
        disk: Arc<dyn Disk>,
        dir: &str,
        stream: Stream,
        file_bytes: u64,
        sparse: Vec<Arc<Sparse>>,
    ) -> Self {
        RecordFiles {
            stream,
            files: Files::new(Arc::clone(&disk)),
            disk,
            dir: dir.to_owned(),
            file_bytes,
            sparse: ArcSwap::from_pointee(sparse),
            unwritten: ArcSwap::default(),
        }
    }

    /// The files that end before `offset`, by rising start.
    pub(crate) fn sealed(&self, offset: u64) -> Result<Vec<Sealed>, StoreError> {
        let (mut files, mut from) = (Vec::new(), 0);
        let sparse = self.sparse.load();
        while from < offset {
            let file = match sparse::stretch_of(&sparse, from) {
                Some(sparse) => sparse.sealed(),
                None => {
                    let path = self.stream.path(&self.dir, from / self.file_bytes);
                    Sealed {
                        from,
                        to: from + self.file_bytes,
                        file_bytes: self.disk.open(&path, OpenMode::Existing)?.len()?,
                        useful: None,
                    }
                }
            };
            from = file.to;
            files.push(file);
        }
        files.retain(|file| file.to <= offset);
        Ok(files)
    }

    /// Puts a sparse file in the place of what it was made of, and takes that away.
    pub(crate) fn make_sparse(&self, new: Arc<Sparse>) -> Result<(), StoreError> {
        let before = self.sparse.rcu(|list| sparse::with(list, &new).0);
        let gone = sparse::with(&before, &new).1;
        // All that can go goes; what doesn't does so when the store is opened again.
        let mut removed = Ok(());
        for number in new.id.from / self.file_bytes..new.id.to / self.file_bytes {
            let from = number * self.file_bytes;
            if sparse::stretch_of(&gone, from).is_none() {
                self.files.forget((number, 0));
                removed = removed.and(self.disk.remove(&self.stream.path(&self.dir, number)));
            }
        }
        for old in gone {
            removed = removed.and(old.remove(&*self.disk, &self.files));
        }
        Ok(removed?)
    }

    /// Bytes of a sealed file or a sparse one, at an offset.
    fn fill(&self, offset: u64, buffer: &mut [u8]) -> Result<(), StoreError> {
        loop {
            let sparse = self.sparse.load();
            let changed = || !Arc::ptr_eq(&sparse, &self.sparse.load());
            if let Some(sparse) = sparse::stretch_of(&sparse, offset) {
                return match sparse.read_at(&self.files, offset, buffer) {
                    Err(error) if error.is_no_file() && changed() => continue,
                    read => read?.ok_or_else(|| sparse.missing(offset)),
                };
            }
            let number = offset / self.file_bytes;
            let path = || self.stream.path(&self.dir, number);
            let read = (self.files).read_at((number, 0), path, offset % self.file_bytes, buffer);
            let Err(error) = read else {
                return Ok(());
            };
            return Err(match error.kind() {
                // The file went as a sparse one took its place.
                std::io::ErrorKind::NotFound if changed() => continue,
                std::io::ErrorKind::UnexpectedEof | std::io::ErrorKind::NotFound => {
                    self.corrupt_at(offset, error.to_string())
                }
                _ => StoreError::Disk(error),
            });
        }
    }

    /// The record at `at`, without its checksum.
    pub(crate) fn read(&self, at: At) -> Result<Vec<u8>, StoreError> {
        let mut bytes = match self.unwritten(at) {
            Some(bytes) => bytes,
            None => self.read_file(at)?,
        };
        let record = self.check(at, &bytes)?.len();
        bytes.truncate(record);
        Ok(bytes)
    }

    /// The record at `at` without its checksum, if that is right.
    pub(crate) fn check<'a>(&self, at: At, bytes: &'a [u8]) -> Result<&'a [u8], StoreError> {
        match bytes.split_last_chunk::<4>() {
            Some((record, crc)) if crc32fast::hash(record).to_le_bytes() == *crc => Ok(record),
            _ => Err(self.corrupt(at, "the record's checksum is wrong")),
        }
    }

    /// Bytes of the files, whatever they are.
    pub(crate) fn bytes(&self, offset: u64, len: usize) -> Result<Bytes, StoreError> {
        let mut bytes = vec![0; len];
        self.fill(offset, &mut bytes)?;
        Ok(bytes.into())
    }

    /// A record that isn't in the files yet.
    fn unwritten(&self, at: At) -> Option<Vec<u8>> {
        let pieces = self.unwritten.load();
        let after = pieces.partition_point(|piece| piece.start <= at.offset());
        let piece = pieces.get(after.checked_sub(1)?)?;
        let start = usize::try_from(at.offset() - piece.start).ok()?;
        let end = start.checked_add(at.len())?;
        piece.bytes.get(start..end).map(<[u8]>::to_vec)
    }

    fn read_file(&self, at: At) -> Result<Vec<u8>, StoreError> {
        let mut bytes = vec![0; at.len()];
        self.fill(at.offset(), &mut bytes)?;
        Ok(bytes)
    }

    pub(crate) fn corrupt(&self, at: At, what: impl Into<String>) -> StoreError {
        self.corrupt_at(at.offset(), what)
    }

    fn corrupt_at(&self, offset: u64, what: impl Into<String>) -> StoreError {
        let number = offset / self.file_bytes;
        StoreError::corrupt(
            self.stream.path(&self.dir, number),
            offset % self.file_bytes,
            what,
        )
    }
}

/// Opens the sparse files of a stream, and takes away the files that they were made of, if a crash left these.
///
/// # Errors
/// If the disk fails, or a sparse file isn't whole.
pub(crate) fn open_sparse(
    disk: &dyn Disk,
    dir: &str,
    (stream, file_bytes): (Stream, u64),
    names: &[String],
) -> Result<Vec<Arc<Sparse>>, StoreError> {
    let list = sparse::open_all(disk, dir, stream.kind(), names)?;
    for name in names {
        let from = stream
            .number(name)
            .and_then(|number| number.checked_mul(file_bytes));
        if from.is_some_and(|from| sparse::stretch_of(&list, from).is_some()) {
            disk.remove(&in_dir(dir, name))?;
        }
    }
    Ok(list)
}

/// The files as the writer sees them.
#[derive(Debug)]
pub(crate) struct RecordWriter {
    disk: Arc<dyn Disk>,
    stream: Stream,
    dir: String,
    file_bytes: u64,
    /// All before it is in the files.
    written: u64,
    /// How much comes after it.
    unwritten_bytes: usize,
    spare: Spare<u8>,
    /// Files with writes that aren't synced.
    unsynced: Vec<(u64, Arc<dyn DiskFile>)>,
    /// How much that was.
    unsynced_bytes: u64,
}

impl RecordWriter {
    /// A writer that goes on at `end`.
    pub(crate) fn new(files: &RecordFiles, end: u64) -> Self {
        RecordWriter {
            disk: Arc::clone(&files.disk),
            stream: files.stream,
            dir: files.dir.clone(),
            file_bytes: files.file_bytes,
            written: end,
            unwritten_bytes: 0,
            spare: Spare::default(),
            unsynced: Vec::new(),
            unsynced_bytes: 0,
        }
    }

    /// Where the next record goes.
    pub(crate) fn end(&self) -> u64 {
        self.written + self.unwritten_bytes as u64
    }

    /// A sink for the next records.
    pub(crate) fn sink(&self) -> NodeSink {
        NodeSink::new(self.end(), self.file_bytes, self.spare.take())
    }

    /// All before it can be read.
    pub(crate) fn written(&self) -> u64 {
        self.written
    }

    /// Takes the records of a sink; readers find them from now on.
    pub(crate) fn append(&mut self, files: &RecordFiles, records: Vec<u8>) {
        let piece = Piece {
            start: self.end(),
            bytes: Arc::new(records),
        };
        self.unwritten_bytes += piece.bytes.len();
        let mut pieces = files.unwritten.load().to_vec();
        pieces.push(piece);
        files.unwritten.store(Arc::new(pieces));
    }

    /// What was written and isn't durable.
    pub(crate) fn unsynced_bytes(&self) -> u64 {
        self.unsynced_bytes
    }

    /// Whether it's time to write.
    pub(crate) fn is_full(&self) -> bool {
        self.unwritten_bytes >= UNWRITTEN_BYTES
    }

    /// Writes what is in memory, without making it durable. If that fails, it is still in memory.
    pub(crate) fn write(&mut self, files: &RecordFiles) -> Result<(), StoreError> {
        let pieces = files.unwritten.load_full();
        let mut at = self.written;
        let mut joined = self.spare.take();
        for (i, piece) in pieces.iter().enumerate() {
            // Large pieces are written as they are, small ones several at a time.
            let small = |piece: &Piece| piece.bytes.len() < SMALL_BYTES;
            let next = pieces.get(i + 1);
            if joined.is_empty() && !small(piece) {
                self.write_at(at, &piece.bytes)?;
                at += piece.bytes.len() as u64;
                continue;
            }
            joined.extend_from_slice(&piece.bytes);
            if joined.len() >= SMALL_BYTES || !next.is_some_and(small) {
                self.write_at(at, &joined)?;
                at += joined.len() as u64;
                joined.clear();
            }
        }
        assert_eq!(at, self.end(), "the pieces are all");
        self.unsynced_bytes += at - self.written;
        self.written = at;
        self.unwritten_bytes = 0;
        files.unwritten.store(Arc::default());
        // Unless a reader has them, the buffers serve versions to come.
        self.spare.keep(joined);
        for piece in Arc::into_inner(pieces).unwrap_or_default() {
            if let Some(bytes) = Arc::into_inner(piece.bytes) {
                self.spare.keep(bytes);
            }
        }
        Ok(())
    }

    /// Writes bytes, which may belong to more than one file.
    fn write_at(&mut self, mut at: u64, mut bytes: &[u8]) -> Result<(), StoreError> {
        while !bytes.is_empty() {
            let (number, offset) = (at / self.file_bytes, at % self.file_bytes);
            let room = usize::try_from(self.file_bytes - offset).unwrap_or(usize::MAX);
            let (part, rest) = bytes.split_at(bytes.len().min(room));
            self.file(number)?.write_at(offset, part)?;
            at += part.len() as u64;
            bytes = rest;
        }
        Ok(())
    }

    fn file(&mut self, number: u64) -> Result<Arc<dyn DiskFile>, StoreError> {
        if let Some((_, file)) = self.unsynced.iter().find(|(n, _)| *n == number) {
            return Ok(Arc::clone(file));
        }
        let file = self
            .disk
            .open(&self.stream.path(&self.dir, number), OpenMode::Any)?;
        self.unsynced.push((number, Arc::clone(&file)));
        Ok(file)
    }

    /// Makes what was written durable, names of files aside.
    pub(crate) fn sync(&mut self) -> Result<(), StoreError> {
        for (_, file) in self.unsynced.drain(..) {
            file.sync_data()?;
        }
        self.unsynced_bytes = 0;
        Ok(())
    }
}
