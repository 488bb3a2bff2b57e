//! Sparse files: what is left of a stretch of the log, or of the record files, once most of it isn't needed any more.
//!
//! ```text
//!  before   log-0-0 │ log-0-64M │ log-0-128M         positions never change: who looks for one in the stretch
//!               ╲        │         ╱                 finds it by the index
//!  after    log-sparse-7-0-192M
//!
//!  file       extent │ extent │ … ┊ index page │ index page … ┊ directory ┊ footer
//!  index page from u64 │ place u64 │ (gap │ length) … │ crc32          of up to 256 extents: where the first one began
//!                                                                    and lies now; of each how far behind the one
//!                                                                    before, and how long (varints)
//!  directory  (from u64 │ end u64 │ place u64 │ bytes u32) …          of each index page: kept in memory
//!  footer     magic 8 │ from u64 │ to u64 │ useful u64 │ pages u64 │ crc32 of all of directory and footer before it
//! ```
//!
//! `useful` is how many bytes were needed when the file was made: what else is in it comes with these.
//!
//! A file is written under another name, made durable and renamed; only then may what it stands for go. So a file that has
//! its name is whole, and one that isn't has rotted. Extents aren't checked here: what they hold has checksums of its own.
//!
//! The number in its name tells files apart that hold parts of the same stretch: the higher one was made of the lower.

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use violeta_journal::{Disk, DiskError, DiskFile, OpenMode};

use crate::compaction::Sealed;
use crate::error::StoreError;
use crate::files::{Files, in_dir};
use crate::tree::take;
use crate::varint::{put_varint, take_varint};

const MAGIC: [u8; 8] = *b"vlsmspr1";
/// Extents of one index page.
const PAGE_EXTENTS: usize = 256;
/// Bytes of an index page at most: what comes first, two varints for each extent, and the checksum.
const PAGE_BYTES_MAX: usize = 16 + PAGE_EXTENTS * 20 + 4;
const ENTRY_BYTES: usize = 28;
const FOOTER_BYTES: usize = 8 + 4 * 8 + 4;
/// Bytes that come together before they are written.
const BUFFER_BYTES: usize = 1 << 20;

/// Which file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SparseId {
    /// Rises with every file that is made.
    pub(crate) number: u64,
    /// Where the stretch begins.
    pub(crate) from: u64,
    /// Where it ends.
    pub(crate) to: u64,
}

impl SparseId {
    fn name(self, kind: &str) -> String {
        let SparseId { number, from, to } = self;
        format!("{kind}{MARK}{number:08x}-{from:016x}-{to:016x}")
    }

    fn from_name(kind: &str, name: &str) -> Option<Self> {
        let rest = name.strip_prefix(kind)?.strip_prefix(MARK)?;
        let mut numbers = rest.split('-').map(|n| u64::from_str_radix(n, 16));
        let mut number = || numbers.next()?.ok();
        let (number, from, to) = (number()?, number()?, number()?);
        let id = SparseId { number, from, to };
        (id.name(kind) == name && from < to).then_some(id)
    }

    /// Whether all of `other`'s stretch is in this one's.
    fn covers(&self, from: u64, to: u64) -> bool {
        self.from <= from && to <= self.to
    }
}

/// What the directory says of an index page.
#[derive(Clone, Copy, Debug)]
struct Entry {
    /// Where its first extent begins in the stretch, and its last one ends.
    from: u64,
    end: u64,
    /// Where the page lies in the file.
    place: u64,
    bytes: u32,
}

/// A file that can be read.
#[derive(Debug)]
pub(crate) struct Sparse {
    pub(crate) id: SparseId,
    path: String,
    directory: Vec<Entry>,
    /// Bytes of the whole file.
    pub(crate) file_bytes: u64,
    /// How many of them were needed when it was made.
    pub(crate) useful: u64,
    /// The index page that was read last.
    last: ArcSwapOption<IndexPage>,
}

/// An index page as it was read.
#[derive(Debug)]
struct IndexPage {
    place: u64,
    /// The extents, and where they lie in the file.
    extents: Vec<(Extent, u64)>,
}

/// A part of a stretch that was kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Extent {
    pub(crate) from: u64,
    pub(crate) len: u64,
}

impl Extent {
    pub(crate) fn end(self) -> u64 {
        self.from + self.len
    }
}

impl Sparse {
    /// Opens a file.
    ///
    /// # Errors
    /// If the disk fails, or the file isn't whole.
    fn open(disk: &dyn Disk, dir: &str, kind: &str, id: SparseId) -> Result<Self, StoreError> {
        let path = in_dir(dir, &id.name(kind));
        let file = disk.open(&path, OpenMode::Existing)?;
        let file_bytes = file.len()?;
        let corrupt = || StoreError::corrupt(&*path, file_bytes, "no directory of a sparse file");
        let footer_at = file_bytes.checked_sub(FOOTER_BYTES as u64);
        let footer_at = footer_at.ok_or_else(corrupt)?;
        let mut footer = [0; FOOTER_BYTES];
        file.read_at(footer_at, &mut footer)?;
        let (useful, entries) = read_footer(&footer, id).ok_or_else(corrupt)?;
        let bytes = entries.checked_mul(ENTRY_BYTES as u64);
        let at = bytes.and_then(|bytes| footer_at.checked_sub(bytes));
        let at = at.ok_or_else(corrupt)?;
        let mut directory = vec![0; (footer_at - at) as usize];
        file.read_at(at, &mut directory)?;
        let directory = read_directory(&directory, &footer, at).ok_or_else(corrupt)?;
        Ok(Sparse {
            id,
            path,
            directory,
            file_bytes,
            useful,
            last: ArcSwapOption::empty(),
        })
    }

    /// Fills `buffer` with what was at `from`. None if not all of it was kept.
    pub(crate) fn read_at(
        &self,
        files: &Files,
        from: u64,
        buffer: &mut [u8],
    ) -> Result<Option<()>, StoreError> {
        let end = from + buffer.len() as u64;
        let page = self.directory.partition_point(|entry| entry.end <= from);
        let Some(entry) = self.directory.get(page).filter(|entry| entry.from <= from) else {
            return Ok(None);
        };
        let page = self.index_page(files, entry)?;
        let after = page
            .extents
            .partition_point(|(extent, _)| extent.end() <= from);
        match page.extents.get(after) {
            Some((extent, place)) if extent.from <= from && end <= extent.end() => {
                self.read_file(files, place + (from - extent.from), buffer)?;
                Ok(Some(()))
            }
            _ => Ok(None),
        }
    }

    fn index_page(&self, files: &Files, entry: &Entry) -> Result<Arc<IndexPage>, StoreError> {
        if let Some(page) = &*self.last.load()
            && page.place == entry.place
        {
            return Ok(Arc::clone(page));
        }
        let mut bytes = vec![0; entry.bytes as usize];
        self.read_file(files, entry.place, &mut bytes)?;
        let extents = read_page(&bytes, entry);
        let extents = extents
            .ok_or_else(|| StoreError::corrupt(&*self.path, entry.place, "not an index page"))?;
        let place = entry.place;
        let page = Arc::new(IndexPage { place, extents });
        self.last.store(Some(Arc::clone(&page)));
        Ok(page)
    }

    /// Takes the file away.
    pub(crate) fn remove(&self, disk: &dyn Disk, files: &Files) -> Result<(), DiskError> {
        files.forget(self.file_id());
        disk.remove(&self.path)
    }

    /// No other file of the kind has an odd second number.
    fn file_id(&self) -> (u64, u64) {
        (self.id.from, self.id.number << 1 | 1)
    }

    fn read_file(&self, files: &Files, at: u64, buffer: &mut [u8]) -> Result<(), StoreError> {
        let read = files.read_at(self.file_id(), || self.path.clone(), at, buffer);
        read.map_err(|error| match error.kind() {
            std::io::ErrorKind::UnexpectedEof => {
                StoreError::corrupt(&*self.path, at, error.to_string())
            }
            _ => StoreError::Disk(error),
        })
    }

    /// The error of what should have been kept and wasn't.
    pub(crate) fn missing(&self, from: u64) -> StoreError {
        StoreError::Pruned {
            file: self.path.clone(),
            offset: from - self.id.from,
        }
    }
}

/// How many bytes are useful, and how many index pages there are; none if this is no footer of the file.
fn read_footer(mut bytes: &[u8], id: SparseId) -> Option<(u64, u64)> {
    let bytes = &mut bytes;
    (take(bytes)? == MAGIC).then_some(())?;
    let mut number = || Some(u64::from_le_bytes(take(bytes)?));
    let (from, to, useful, pages) = (number()?, number()?, number()?, number()?);
    (from == id.from && to == id.to).then_some((useful, pages))
}

/// The directory, if it, the footer and the checksum over both are right.
fn read_directory(bytes: &[u8], footer: &[u8; FOOTER_BYTES], at: u64) -> Option<Vec<Entry>> {
    let mut crc = crc32fast::Hasher::new();
    crc.update(bytes);
    let (checked, sum) = footer.split_last_chunk::<4>()?;
    crc.update(checked);
    (crc.finalize().to_le_bytes() == *sum).then_some(())?;
    let mut entries = Vec::with_capacity(bytes.len() / ENTRY_BYTES);
    for mut entry in bytes.chunks_exact(ENTRY_BYTES) {
        let entry = &mut entry;
        let mut number = || Some(u64::from_le_bytes(take(entry)?));
        let (from, end, place) = (number()?, number()?, number()?);
        let bytes = u32::from_le_bytes(take(entry)?);
        let fits = place.checked_add(bytes.into())? <= at && bytes as usize <= PAGE_BYTES_MAX;
        fits.then_some(())?;
        entries.push(Entry {
            from,
            end,
            place,
            bytes,
        });
    }
    Some(entries)
}

fn read_page(bytes: &[u8], entry: &Entry) -> Option<Vec<(Extent, u64)>> {
    let (mut rest, crc) = bytes.split_last_chunk::<4>()?;
    (crc32fast::hash(rest).to_le_bytes() == *crc).then_some(())?;
    let rest = &mut rest;
    let mut from = u64::from_le_bytes(take(rest)?);
    let mut place = u64::from_le_bytes(take(rest)?);
    let mut extents = Vec::new();
    while !rest.is_empty() {
        from = from.checked_add(take_varint(rest)?)?;
        let len = take_varint(rest)?;
        extents.push((Extent { from, len }, place));
        from = from.checked_add(len)?;
        place = place.checked_add(len)?;
    }
    (from == entry.end).then_some(extents)
}

impl Sparse {
    /// As a file to which nothing is written.
    pub(crate) fn sealed(&self) -> Sealed {
        Sealed {
            from: self.id.from,
            to: self.id.to,
            file_bytes: self.file_bytes,
            useful: Some(self.useful),
        }
    }
}

/// The file of a sorted list in whose stretch `position` lies.
pub(crate) fn stretch_of(list: &[Arc<Sparse>], position: u64) -> Option<&Arc<Sparse>> {
    let after = list.partition_point(|sparse| sparse.id.from <= position);
    let sparse = list.get(after.checked_sub(1)?)?;
    (position < sparse.id.to).then_some(sparse)
}

/// A sorted list with `new`, without what that takes the place of; and this.
pub(crate) fn with(
    list: &[Arc<Sparse>],
    new: &Arc<Sparse>,
) -> (Vec<Arc<Sparse>>, Vec<Arc<Sparse>>) {
    let gone = |old: &&Arc<Sparse>| new.id.covers(old.id.from, old.id.to);
    let (gone, mut kept): (Vec<_>, Vec<_>) = list.iter().cloned().partition(|old| gone(&old));
    kept.push(Arc::clone(new));
    kept.sort_by_key(|sparse| sparse.id.from);
    (kept, gone)
}

/// Opens the files of a kind in a directory that has these names, and takes away what a crash left: those that aren't
/// complete, and those that others were made of. Returns them sorted.
///
/// # Errors
/// If the disk fails, one of them isn't whole, or two say that they are the same stretch's.
pub(crate) fn open_all(
    disk: &dyn Disk,
    dir: &str,
    kind: &str,
    names: &[String],
) -> Result<Vec<Arc<Sparse>>, StoreError> {
    let mut ids = Vec::new();
    for name in names {
        if let Some(id) = SparseId::from_name(kind, name) {
            ids.push(id);
        } else if let Some(whole) = name.strip_suffix(".part")
            && SparseId::from_name(kind, whole).is_some()
        {
            disk.remove(&in_dir(dir, name))?;
        }
    }
    // The newest first: older ones in its stretch are what it was made of.
    ids.sort_by_key(|id| std::cmp::Reverse(id.number));
    let mut kept: Vec<SparseId> = Vec::new();
    for id in ids {
        if kept.iter().any(|newer| newer.covers(id.from, id.to)) {
            disk.remove(&in_dir(dir, &id.name(kind)))?;
            continue;
        }
        if kept
            .iter()
            .any(|other| other.from < id.to && id.from < other.to)
        {
            let what = "it overlaps another sparse file, and isn't part of it";
            return Err(StoreError::corrupt(in_dir(dir, &id.name(kind)), 0, what));
        }
        kept.push(id);
    }
    kept.sort_by_key(|id| id.from);
    let open = |id| Ok(Arc::new(Sparse::open(disk, dir, kind, id)?));
    kept.into_iter().map(open).collect()
}

/// What the names of sparse files have in them.
const MARK: &str = "-sparse-";

/// Whether there are sparse files among those with these names.
pub(crate) fn is_any(names: &[String]) -> bool {
    names.iter().any(|name| name.contains(MARK))
}

/// The highest number of a sparse file among those with these names, of whatever kind; 0 if there is none.
pub(crate) fn highest_number(names: &[String]) -> u64 {
    let ids = names.iter().filter_map(|name| {
        let (kind, _) = name.split_once(MARK)?;
        SparseId::from_name(kind, name)
    });
    ids.map(|id| id.number).max().unwrap_or(0)
}

/// Makes a file. If it isn't finished, there is none.
#[derive(Debug)]
pub(crate) struct SparseWriter {
    disk: Arc<dyn Disk>,
    dir: String,
    kind: &'static str,
    id: SparseId,
    path: String,
    file: Arc<dyn DiskFile>,
    /// How much was written.
    written: u64,
    buffer: Vec<u8>,
    /// The extents, neighbours joined.
    extents: Vec<Extent>,
    finished: bool,
}

impl Drop for SparseWriter {
    fn drop(&mut self) {
        if !self.finished {
            // If it can't be removed, the next opening of the store does it.
            let _ = self.disk.remove(&self.path);
        }
    }
}

impl SparseWriter {
    /// Begins a file.
    pub(crate) fn new(
        disk: Arc<dyn Disk>,
        dir: &str,
        kind: &'static str,
        id: SparseId,
    ) -> Result<Self, StoreError> {
        let path = in_dir(dir, &format!("{}.part", id.name(kind)));
        let file = disk.open(&path, OpenMode::Any)?;
        file.truncate(0)?;
        Ok(SparseWriter {
            disk,
            dir: dir.to_owned(),
            kind,
            id,
            path,
            file,
            written: 0,
            buffer: Vec::new(),
            extents: Vec::new(),
            finished: false,
        })
    }

    /// Keeps `bytes`, which were at `from`: behind all that was kept so far.
    ///
    /// # Errors
    /// If they weren't, or the disk fails.
    pub(crate) fn push(&mut self, from: u64, bytes: &[u8]) -> Result<(), StoreError> {
        let (len, end) = (bytes.len() as u64, from + bytes.len() as u64);
        let behind = self.extents.last().map_or(self.id.from, |last| last.end());
        if from < behind || end > self.id.to {
            // Only where pages name what lies one upon the other, which no version made.
            let what = format!("what is to be kept from {from} to {end} lies elsewhere, or twice");
            return Err(StoreError::corrupt("the tree", 0, what));
        }
        match self.extents.last_mut() {
            Some(last) if last.end() == from => last.len += len,
            _ => self.extents.push(Extent { from, len }),
        }
        self.write(bytes)
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= BUFFER_BYTES {
            self.flush()?;
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), StoreError> {
        self.file.write_at(self.written, &self.buffer)?;
        self.written += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }

    /// Completes the file, so many bytes of which are needed, durably. It doesn't have its name yet.
    pub(crate) fn complete(&mut self, useful: u64) -> Result<(), StoreError> {
        let extents = std::mem::take(&mut self.extents);
        let (mut place, mut directory) = (0, Vec::new());
        for page in extents.chunks(PAGE_EXTENTS) {
            let bytes = encode_page(page, &mut place);
            let at = self.written + self.buffer.len() as u64;
            let first = page.first().map_or(0, |extent| extent.from);
            let end = page.last().map_or(0, |extent| extent.end());
            for number in [first, end, at] {
                directory.extend_from_slice(&u64::to_le_bytes(number));
            }
            directory.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
            self.write(&bytes)?;
        }
        let pages = extents.len().div_ceil(PAGE_EXTENTS) as u64;
        directory.extend_from_slice(&MAGIC);
        for number in [self.id.from, self.id.to, useful, pages] {
            directory.extend_from_slice(&number.to_le_bytes());
        }
        let crc = crc32fast::hash(&directory);
        directory.extend_from_slice(&crc.to_le_bytes());
        self.write(&directory)?;
        self.flush()?;
        self.file.sync_data()?;
        Ok(())
    }

    /// Gives the file, which is complete, its name. If that fails it may have it, and nobody knows of it before the store
    /// is opened again.
    pub(crate) fn publish(mut self) -> Result<Sparse, StoreError> {
        let path = in_dir(&self.dir, &self.id.name(self.kind));
        self.disk.rename(&self.path, &path)?;
        self.finished = true;
        self.disk.sync_dir(&self.dir)?;
        Sparse::open(&*self.disk, &self.dir, self.kind, self.id)
    }
}

fn encode_page(extents: &[Extent], place: &mut u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut at = extents.first().map_or(0, |extent| extent.from);
    bytes.extend_from_slice(&at.to_le_bytes());
    bytes.extend_from_slice(&place.to_le_bytes());
    for extent in extents {
        put_varint(extent.from - at, &mut bytes);
        put_varint(extent.len, &mut bytes);
        at = extent.end();
        *place += extent.len;
    }
    let crc = crc32fast::hash(&bytes);
    bytes.extend_from_slice(&crc.to_le_bytes());
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use violeta_journal::MemoryDisk;

    const KIND: &str = "log";

    fn id(number: u64, from: u64, to: u64) -> SparseId {
        SparseId { number, from, to }
    }

    /// A file of these extents, each of whose bytes is the lowest of its position.
    fn write(disk: &MemoryDisk, id: SparseId, extents: &[(u64, u64)]) -> Sparse {
        let mut writer = SparseWriter::new(Arc::new(disk.clone()), "", KIND, id).unwrap();
        for (from, len) in extents {
            let bytes: Vec<_> = (*from..from + len).map(|at| at as u8).collect();
            writer.push(*from, &bytes).unwrap();
        }
        writer.complete(7).unwrap();
        writer.publish().unwrap()
    }

    fn names(disk: &MemoryDisk) -> Vec<String> {
        disk.list("").unwrap()
    }

    fn open(disk: &MemoryDisk) -> Result<Vec<SparseId>, StoreError> {
        let list = open_all(disk, "", KIND, &names(disk))?;
        Ok(list.iter().map(|sparse| sparse.id).collect())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn what_was_kept_is_read_and_nothing_else(
            gaps in proptest::collection::vec((0u64..40, 1u64..60), 0..700),
            reads in proptest::collection::vec((0u64..70_000, 1u64..100), 60),
        ) {
            let (mut extents, mut at) = (Vec::new(), 1_000);
            let mut kept = std::collections::BTreeSet::new();
            for (gap, len) in gaps {
                extents.push((at + gap, len));
                kept.extend(at + gap..at + gap + len);
                at += gap + len;
            }
            let disk = MemoryDisk::new();
            let id = id(1, 1_000, 80_000);
            write(&disk, id, &extents);
            let list = open_all(&disk, "", KIND, &names(&disk)).unwrap();
            prop_assert_eq!(list[0].useful, 7);
            let files = Files::new(Arc::new(disk.clone()));
            for (from, len) in extents.into_iter().chain(reads) {
                let from = from.max(1_000);
                let mut buffer = vec![0; len as usize];
                let read = list[0].read_at(&files, from, &mut buffer).unwrap();
                let all = (from..from + len).all(|at| kept.contains(&at));
                prop_assert_eq!(read.is_some(), all, "{} bytes at {}", len, from);
                if all {
                    prop_assert!(buffer.iter().zip(from..).all(|(byte, at)| *byte == at as u8));
                }
            }
        }
    }

    #[test]
    fn a_file_that_was_made_of_others_takes_their_place() {
        let disk = MemoryDisk::new();
        let first = Arc::new(write(&disk, id(1, 0, 100), &[(10, 5)]));
        let second = Arc::new(write(&disk, id(2, 100, 200), &[]));
        let third = Arc::new(write(&disk, id(3, 300, 400), &[]));
        let both = Arc::new(write(&disk, id(4, 0, 200), &[(11, 3)]));
        let list = [&first, &second, &third].map(Arc::clone);
        let (kept, gone) = with(&list, &both);
        let ids = |list: &[Arc<Sparse>]| list.iter().map(|s| s.id.number).collect::<Vec<_>>();
        assert_eq!((ids(&kept), ids(&gone)), (vec![4, 3], vec![1, 2]));
        assert_eq!((highest_number(&names(&disk)), highest_number(&[])), (4, 0));
        assert!(is_any(&names(&disk)) && !is_any(&["log-0".to_owned()]));
        let found = |position| stretch_of(&kept, position).map(|sparse| sparse.id.number);
        let positions = [0, 199, 200, 299, 300, 399, 400];
        let expected = [Some(4), Some(4), None, None, Some(3), Some(3), None];
        assert_eq!(positions.map(found), expected);
        // After a crash before the others were taken away.
        assert_eq!(open(&disk).unwrap(), [both.id, third.id]);
        assert_eq!(names(&disk).len(), 2);
    }

    #[test]
    fn a_file_that_isnt_complete_goes_and_one_that_isnt_whole_is_named() {
        let disk = MemoryDisk::new();
        let path = "log-sparse-00000001-0000000000000000-0000000000000064";
        drop(SparseWriter::new(Arc::new(disk.clone()), "", KIND, id(1, 0, 100)).unwrap());
        assert!(names(&disk).is_empty(), "one that was given up");
        disk.open(&format!("{path}.part"), OpenMode::New).unwrap();
        assert!(open(&disk).unwrap().is_empty() && names(&disk).is_empty());
        let whole = write(&disk, id(1, 0, 100), &[(10, 50)]);
        let file = disk.open(path, OpenMode::Existing).unwrap();
        for len in [whole.file_bytes - 1, 20, 0] {
            file.truncate(len).unwrap();
            let error = open(&disk).unwrap_err();
            assert!(
                matches!(&error, StoreError::Corrupt { file, .. } if file == path),
                "{error}"
            );
        }
    }

    #[test]
    fn two_files_of_one_stretch_are_refused() {
        let disk = MemoryDisk::new();
        write(&disk, id(1, 0, 100), &[]);
        write(&disk, id(2, 50, 200), &[]);
        let error = open(&disk).unwrap_err().to_string();
        assert!(error.contains("overlaps another"), "{error}");
    }
}
