//! The log: value store and write-ahead log in one (vlsm.md §4).
//!
//! ```text
//!  positions   0 ─────────────────▶ 64 M ──────────────────▶ 128 M ──────▶ end
//!  segments    │ record │ record … ┊ │ record │ record … ┊   │ record …    ┊ (allocated, zeros)
//!              └ log-<era>-<start>   └ begins where the last record of the segment before ended
//! ```
//!
//! A position is a number of bytes from the beginning of time: it never changes, whatever segments there are. A record
//! lies in one segment; one that is larger than a segment has a segment of its own. Of segments before the oldest version
//! that is kept, [sparse files](crate::sparse) hold what newer versions still need.
//!
//! The *era* rises with every rollback. It keeps what a rollback cut away from ever being taken for the log again,
//! and names of files from being used twice.

mod record;
mod scan;

pub(crate) use record::{Draft, HEADER_BYTES, Header, Operation, OperationAt, Record};
pub(crate) use scan::Scan;

use std::sync::Arc;

use arc_swap::ArcSwap;
use bytes::Bytes;
use violeta_journal::{Disk, DiskFile, OpenMode};
use violeta_types::Digest;

use crate::compaction::Sealed;
use crate::error::StoreError;
use crate::files::{Files, in_dir};
use crate::limits::{STEP_BACK_BYTES_MAX, STEPS_BACK_MAX};
use crate::spare::Spare;
use crate::sparse::{self, Sparse};

/// What the names of sparse files of the log begin with.
pub(crate) const SPARSE_KIND: &str = "log";

/// One file of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Segment {
    /// The position of its first byte.
    pub(crate) start: u64,
    /// The era in which it was made.
    pub(crate) era: u64,
}

impl Segment {
    pub(crate) fn name(self) -> String {
        format!("log-{:08x}-{:016x}", self.era, self.start)
    }

    pub(crate) fn from_name(name: &str) -> Option<Self> {
        let (era, start) = name.strip_prefix("log-")?.split_once('-')?;
        let segment = Segment {
            start: u64::from_str_radix(start, 16).ok()?,
            era: u64::from_str_radix(era, 16).ok()?,
        };
        (segment.name() == name).then_some(segment)
    }
}

/// The log as readers see it.
#[derive(Debug)]
pub(crate) struct Log {
    disk: Arc<dyn Disk>,
    dir: String,
    files: Files,
    layout: ArcSwap<Layout>,
}

/// Which files there are.
#[derive(Clone, Debug, Default)]
struct Layout {
    /// By rising start.
    segments: Vec<Segment>,
    /// What is left of others, in whose stretches no segment begins.
    sparse: Vec<Arc<Sparse>>,
}

impl Layout {
    /// The segment that a position lies in, unless it lies in a sparse file's stretch.
    fn segment_of(&self, position: u64) -> Option<Segment> {
        if sparse::stretch_of(&self.sparse, position).is_some() {
            return None;
        }
        let after = (self.segments).partition_point(|segment| segment.start <= position);
        self.segments.get(after.checked_sub(1)?).copied()
    }
}

impl Log {
    pub(crate) fn new(
        disk: Arc<dyn Disk>,
        dir: &str,
        segments: Vec<Segment>,
        sparse: Vec<Arc<Sparse>>,
    ) -> Self {
        assert!(segments.is_sorted(), "segments are found by bisection");
        Log {
            files: Files::new(Arc::clone(&disk)),
            disk,
            dir: dir.to_owned(),
            layout: ArcSwap::from_pointee(Layout { segments, sparse }),
        }
    }

    /// The segments, by rising start.
    pub(crate) fn segments(&self) -> Vec<Segment> {
        self.layout.load().segments.clone()
    }

    /// The files that end where `position` is, or before, by rising start.
    pub(crate) fn sealed(&self, position: u64) -> Result<Vec<Sealed>, StoreError> {
        let layout = self.layout.load_full();
        let mut files = Vec::new();
        for segment in &layout.segments {
            files.push(Sealed {
                from: segment.start,
                // The last one goes on.
                to: u64::MAX,
                file_bytes: self.open(*segment)?.len()?,
                useful: None,
            });
        }
        files.extend(layout.sparse.iter().map(|sparse| sparse.sealed()));
        files.sort_unstable_by_key(|file| file.from);
        // Each ends where the next one begins.
        let ends: Vec<_> = files.iter().skip(1).map(|file| file.from).collect();
        for (file, end) in files.iter_mut().zip(ends) {
            file.to = end;
        }
        files.retain(|file| file.to <= position);
        Ok(files)
    }

    /// Puts a sparse file in the place of what it was made of, and takes that away.
    pub(crate) fn make_sparse(&self, new: Arc<Sparse>) -> Result<(), StoreError> {
        let before = self.layout.rcu(|layout| {
            let stretch = new.id.from..new.id.to;
            let segments = layout.segments.iter().copied();
            Layout {
                segments: segments.filter(|s| !stretch.contains(&s.start)).collect(),
                sparse: sparse::with(&layout.sparse, &new).0,
            }
        });
        // All that can go goes; what doesn't does so when the store is opened again.
        let mut removed = Ok(());
        for segment in &before.segments {
            if (new.id.from..new.id.to).contains(&segment.start) {
                self.files.forget((segment.start, segment.era << 1));
                removed = removed.and(self.disk.remove(&self.path(*segment)));
            }
        }
        for old in sparse::with(&before.sparse, &new).1 {
            removed = removed.and(old.remove(&*self.disk, &self.files));
        }
        Ok(removed?)
    }

    pub(crate) fn path(&self, segment: Segment) -> String {
        in_dir(&self.dir, &segment.name())
    }

    /// The segment that a position lies in, if it is one of the log's.
    pub(crate) fn segment_of(&self, position: u64) -> Option<Segment> {
        self.layout.load().segment_of(position)
    }

    /// The bytes from `position` on.
    pub(crate) fn read(&self, position: u64, len: usize) -> Result<Bytes, StoreError> {
        let mut buffer = vec![0; len];
        loop {
            let layout = self.layout.load();
            let changed = || !Arc::ptr_eq(&layout, &self.layout.load());
            if let Some(sparse) = sparse::stretch_of(&layout.sparse, position) {
                return match sparse.read_at(&self.files, position, &mut buffer) {
                    Err(error) if error.is_no_file() && changed() => continue,
                    Err(error) => Err(error),
                    Ok(Some(())) => Ok(buffer.into()),
                    Ok(None) => Err(sparse.missing(position)),
                };
            }
            let Some(segment) = layout.segment_of(position) else {
                return Err(self.corrupt(position, "no segment of the log has this position"));
            };
            let read = self.files.read_at(
                // Even, where that of a sparse file is odd.
                (segment.start, segment.era << 1),
                || self.path(segment),
                position - segment.start,
                &mut buffer,
            );
            let Err(error) = read else {
                return Ok(buffer.into());
            };
            return Err(match error.kind() {
                // Its file went as a sparse one took its place.
                std::io::ErrorKind::NotFound if changed() => continue,
                std::io::ErrorKind::UnexpectedEof | std::io::ErrorKind::NotFound => {
                    self.corrupt(position, error.to_string())
                }
                _ => StoreError::Disk(error),
            });
        }
    }

    /// The operation at `position`. Whether it is the one asked for, the caller's digest says.
    pub(crate) fn operation(&self, position: u64, len: u32) -> Result<Operation, StoreError> {
        let operation = Operation::decode(self.read(position, len as usize)?);
        operation
            .filter(|operation| operation.len() == len as usize)
            .ok_or_else(|| self.corrupt(position, "not an operation"))
    }

    /// The value that `key` had when the log ended at `end`, going back from the newest operation on it. None if that
    /// can't be told so: it had no value then, or some time since, or was written too often, or something is damaged.
    pub(crate) fn value_before(&self, end: u64, key: &[u8], newest: OperationAt) -> Option<Bytes> {
        let mut next = newest;
        for _ in 0..=STEPS_BACK_MAX {
            if next.len > STEP_BACK_BYTES_MAX {
                return None;
            }
            let bytes = self.read(next.position, next.len as usize).ok()?;
            let operation = Operation::decode_at(next.position, bytes)?;
            if operation.key != key {
                return None;
            }
            if next.position < end {
                return operation.value;
            }
            next = operation.previous?;
        }
        None
    }

    /// The error that names the file and the place in it of a position where something is wrong.
    pub(crate) fn corrupt(&self, position: u64, what: impl Into<String>) -> StoreError {
        match self.segment_of(position) {
            Some(segment) => {
                StoreError::corrupt(self.path(segment), position - segment.start, what)
            }
            None => StoreError::corrupt(in_dir(&self.dir, "log"), position, what),
        }
    }

    /// Takes a segment that begins where the others end.
    fn adopt(&self, segment: Segment) {
        self.layout.rcu(|layout| {
            let mut layout = Layout::clone(layout);
            layout.segments.push(segment);
            assert!(layout.segments.is_sorted(), "found by bisection");
            layout
        });
    }
}

/// The log as the writer sees it.
#[derive(Debug)]
pub(crate) struct LogWriter {
    log: Arc<Log>,
    segment_bytes: u64,
    /// Where the next record goes.
    end: u64,
    /// All before it is durable.
    durable: u64,
    era: u64,
    /// Checksum of the last record.
    link: Digest,
    /// The last segment, open.
    open: Option<(Segment, Arc<dyn DiskFile>)>,
    /// A segment whose file is there though making it failed: the log goes on in it and nowhere else. A recovery
    /// takes it for the place of what comes next, and would cut what went into the segment before.
    begun: Option<Segment>,
    /// Files with writes that aren't synced.
    unsynced: Vec<Arc<dyn DiskFile>>,
    /// Whether a segment was made whose name isn't durable.
    unsynced_names: bool,
    /// For the next record.
    pub(crate) spare: Spare<u8>,
}

impl LogWriter {
    /// A writer that goes on at `end`, all before which is durable.
    pub(crate) fn new(log: Arc<Log>, segment_bytes: u64, end: u64, era: u64, link: Digest) -> Self {
        LogWriter {
            log,
            segment_bytes: segment_bytes.max(1),
            end,
            durable: end,
            era,
            link,
            open: None,
            begun: None,
            unsynced: Vec::new(),
            unsynced_names: false,
            spare: Spare::default(),
        }
    }

    pub(crate) fn end(&self) -> u64 {
        self.end
    }

    pub(crate) fn durable(&self) -> u64 {
        self.durable
    }

    pub(crate) fn era(&self) -> u64 {
        self.era
    }

    pub(crate) fn link(&self) -> Digest {
        self.link
    }

    /// Writes a record at the end. If that fails, the log is as before.
    pub(crate) fn append(&mut self, record: &[u8], checksum: Digest) -> Result<(), StoreError> {
        let (segment, file) = self.segment_for(record.len() as u64)?;
        file.write_at(self.end - segment.start, record)?;
        if !self.unsynced.iter().any(|f| Arc::ptr_eq(f, &file)) {
            self.unsynced.push(file);
        }
        self.end += record.len() as u64;
        self.link = checksum;
        Ok(())
    }

    fn segment_for(&mut self, len: u64) -> Result<(Segment, Arc<dyn DiskFile>), StoreError> {
        if self.open.is_none()
            && let Some(segment) = self.log.segment_of(self.end)
        {
            let path = self.log.path(segment);
            let file = self.log.disk.open(&path, OpenMode::Existing)?;
            self.open = Some((segment, file));
        }
        if self.begun.is_none()
            && let Some((segment, file)) = &self.open
        {
            let used = self.end - segment.start;
            if used == 0 || used + len <= self.segment_bytes {
                return Ok((*segment, Arc::clone(file)));
            }
        }
        self.new_segment(len)
    }

    fn new_segment(&mut self, len: u64) -> Result<(Segment, Arc<dyn DiskFile>), StoreError> {
        let segment = Segment {
            start: self.end,
            era: self.era,
        };
        assert!(
            self.begun.is_none_or(|begun| begun == segment),
            "no record since"
        );
        // An attempt that failed for want of room may have left the file.
        let file = self.log.disk.open(&self.log.path(segment), OpenMode::Any)?;
        self.begun = Some(segment);
        self.unsynced_names = true;
        file.allocate(self.segment_bytes.max(len))?;
        self.begun = None;
        self.log.adopt(segment);
        self.open = Some((segment, Arc::clone(&file)));
        Ok((segment, file))
    }

    /// Makes all records durable. If that fails nobody knows which are.
    pub(crate) fn sync(&mut self) -> Result<(), StoreError> {
        if self.unsynced_names {
            self.log.disk.sync_dir(&self.log.dir)?;
            self.unsynced_names = false;
        }
        for file in self.unsynced.drain(..) {
            file.sync_data()?;
        }
        self.durable = self.end;
        Ok(())
    }

    /// Takes away everything from `end` on, durably, and goes on in a new era, which must be durable already.
    pub(crate) fn cut(&mut self, end: u64, era: u64, link: Digest) -> Result<(), StoreError> {
        assert!(end <= self.end && era >= self.era);
        if let Some(begun) = self.begun {
            self.log.adopt(begun);
        }
        self.log.cut(end)?;
        *self = LogWriter::new(Arc::clone(&self.log), self.segment_bytes, end, era, link);
        Ok(())
    }
}

impl Log {
    /// Takes away everything from `end` on, durably.
    pub(crate) fn cut(&self, end: u64) -> Result<(), StoreError> {
        let segments = self.segments();
        let kept = segments.partition_point(|segment| segment.start < end);
        self.layout.rcu(|layout| {
            let mut layout = Layout::clone(layout);
            layout.segments.retain(|segment| segment.start < end);
            layout
        });
        for segment in &segments[kept..] {
            self.disk.remove(&self.path(*segment))?;
        }
        if let Some(last) = segments[..kept].last() {
            let file = self.disk.open(&self.path(*last), OpenMode::Existing)?;
            if file.len()? > end - last.start {
                file.truncate(end - last.start)?;
                file.sync_data()?;
            }
        }
        if kept < segments.len() {
            self.disk.sync_dir(&self.dir)?;
        }
        Ok(())
    }
}
