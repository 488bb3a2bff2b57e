//! The journal's one writer.
//!
//! ```text
//!   append ──▶ buffer ──(full, or sync)──▶ segment's file ──sync_data──▶ durable ──▶ readers
//!                                             │ full: synced, sealed
//!                                             └─▶ next segment
//! ```
//!
//! - Nothing is durable, or visible to readers, before [`Journal::sync`] has returned `Ok`.
//! - All that isn't synced lies in one segment: a segment is synced whole before the next one is made.
//! - A write or sync that failed is final: this journal writes no more (vlsm.md §5). Readers go on.

use std::sync::Arc;

use violeta_types::Digest;

use crate::disk::{DirLock, Disk, DiskError, create_dirs, join};
use crate::error::JournalError;
use crate::format::{
    FRAME_HEADER_BYTES, Framer, RECORD_BYTES_MAX, SEGMENT_HEADER_BYTES, SegmentHeader,
};
use crate::position::{Position, Record};
use crate::reader::{Extent, Reader, Replay, Shared};
use crate::recovery::{Recovered, recover};
use crate::segment::{Segment, file_name};

/// Bytes of a segment's file unless options say otherwise.
pub const SEGMENT_BYTES_DEFAULT: u64 = 64 << 20;
/// The least that a segment can be.
pub const SEGMENT_BYTES_MIN: u64 = 256;
/// The most that a segment can be.
pub const SEGMENT_BYTES_MAX: u64 = 1 << 30;
/// Bytes that wait in memory; with these or more, they are written (not synced).
pub const BUFFER_BYTES: usize = 4 << 20;

const _: () = assert!(SEGMENT_BYTES_MIN > (SEGMENT_HEADER_BYTES + FRAME_HEADER_BYTES) as u64);
// What isn't synced lies in one segment: its length fits the field that says how long it is.
const _: () = assert!(SEGMENT_BYTES_MAX <= u32::MAX as u64);

/// How a journal is kept.
#[derive(Clone, Debug)]
pub struct Options {
    /// Whose journal it is: opening it as another's is an error.
    pub directory: Digest,
    /// Bytes of a segment's file, preallocated. A record that needs more has a larger one to itself.
    pub segment_bytes: u64,
}

impl Options {
    /// The defaults, for the journal of this chain, or of whatever `directory` names.
    pub fn for_directory(directory: Digest) -> Self {
        Options {
            directory,
            segment_bytes: SEGMENT_BYTES_DEFAULT,
        }
    }

    fn check(&self) -> Result<(), JournalError> {
        if (SEGMENT_BYTES_MIN..=SEGMENT_BYTES_MAX).contains(&self.segment_bytes) {
            return Ok(());
        }
        Err(JournalError::Option {
            option: "segment_bytes",
            value: self.segment_bytes,
            min: SEGMENT_BYTES_MIN,
            max: SEGMENT_BYTES_MAX,
        })
    }
}

/// A journal's numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stats {
    /// The first record that is kept.
    pub start: Position,
    /// Everything before is durable.
    pub synced: Position,
    /// Where the next record will begin.
    pub end: Position,
    /// Segments that are kept.
    pub segments: usize,
    /// Records appended since the journal was opened.
    pub records: u64,
    /// Syncs since the journal was opened.
    pub syncs: u64,
}

/// The journal, open for appending. There is one at a time for a directory.
#[derive(Debug)]
pub struct Journal {
    disk: Arc<dyn Disk>,
    dir: String,
    options: Options,
    framer: Framer,
    shared: Arc<Shared>,
    last: Segment,
    /// Where the last segment's file ends, as a position.
    limit: u64,
    /// Records that aren't written yet.
    buffer: Vec<u8>,
    /// Everything before is written.
    written: u64,
    /// Everything before is durable.
    synced: u64,
    /// Where the next record begins.
    end: u64,
    failed: Option<String>,
    records: u64,
    syncs: u64,
    _lock: DirLock,
}

impl Journal {
    /// Opens the journal in `dir`, or makes it. Gives it together with all its records.
    ///
    /// # Errors
    /// If another holds it, the disk fails, or what is there isn't, or no longer, a journal of this directory's.
    pub fn open(
        disk: Arc<dyn Disk>,
        dir: &str,
        options: Options,
    ) -> Result<(Self, Replay), JournalError> {
        options.check()?;
        create_dirs(&*disk, dir)?;
        let lock = disk.lock(dir)?;
        let Recovered {
            segments,
            last,
            end,
        } = recover(&*disk, dir, &options)?;
        let extent = Extent {
            segments,
            synced: end,
        };
        let shared = Shared::new(
            Arc::clone(&disk),
            dir,
            options.directory,
            extent,
            last.clone(),
        );
        let journal = Journal {
            framer: Framer::new(&options.directory),
            limit: last.first + (options.segment_bytes - SEGMENT_HEADER_BYTES as u64),
            disk,
            dir: dir.to_owned(),
            options,
            shared: Arc::new(shared),
            last,
            buffer: Vec::new(),
            written: end,
            synced: end,
            end,
            failed: None,
            records: 0,
            syncs: 0,
            _lock: lock,
        };
        let replay = journal.replay(Position::ZERO);
        Ok((journal, replay))
    }

    /// Appends a record; durable with the next [`Journal::sync`]. Says where it lies.
    ///
    /// # Errors
    /// If it is too large or its kind is 0: then nothing has changed. If the journal failed, now or earlier.
    pub fn append(&mut self, kind: u8, bytes: &[u8]) -> Result<Position, JournalError> {
        self.append_parts(kind, &[bytes])
    }

    /// Appends a record made of these parts, one after another; see [`Journal::append`].
    ///
    /// # Errors
    /// As for [`Journal::append`].
    pub fn append_parts(&mut self, kind: u8, parts: &[&[u8]]) -> Result<Position, JournalError> {
        self.check_alive()?;
        let len = parts
            .iter()
            .fold(0, |sum: usize, part| sum.saturating_add(part.len()));
        if len > RECORD_BYTES_MAX {
            return Err(JournalError::RecordTooLarge { len });
        }
        if kind == 0 {
            return Err(JournalError::ReservedKind);
        }
        let frame = (FRAME_HEADER_BYTES + len) as u64;
        if self.end + frame > self.limit {
            let rolled = self.roll_over(frame);
            self.keep_failure(rolled)?;
        }
        let position = self.end;
        self.framer
            .encode(position, self.synced, kind, parts, &mut self.buffer);
        self.end += frame;
        self.records += 1;
        assert!(self.end <= self.limit, "a record beyond its segment");
        assert_eq!(self.written + self.buffer.len() as u64, self.end);
        if self.buffer.len() >= BUFFER_BYTES {
            let written = self.write_buffer();
            self.keep_failure(written)?;
        }
        Ok(Position(position))
    }

    /// Makes durable all that was appended, and lets readers see it. Says where it ends.
    ///
    /// # Errors
    /// If the disk fails, now or at an earlier write or sync.
    pub fn sync(&mut self) -> Result<Position, JournalError> {
        self.check_alive()?;
        let synced = self.write_and_sync();
        self.keep_failure(synced)?;
        assert_eq!(self.synced, self.end);
        Ok(Position(self.synced))
    }

    /// Removes the segments that hold nothing at or above `position`. Records below may stay: segments go as wholes.
    ///
    /// # Errors
    /// If the disk fails, now or at an earlier write or sync.
    pub fn drop_below(&mut self, position: Position) -> Result<(), JournalError> {
        self.check_alive()?;
        let dropped = self.remove_segments(position.0);
        self.keep_failure(dropped)
    }

    /// The durable record at a position; see [`Reader::read`].
    ///
    /// # Errors
    /// As for [`Reader::read`].
    pub fn read(&self, position: Position) -> Result<Record, JournalError> {
        self.reader().read(position)
    }

    /// The durable records from `from` on; see [`Reader::replay`].
    pub fn replay(&self, from: Position) -> Replay {
        self.reader().replay(from)
    }

    /// Something that reads what is durable, on any thread, also after this journal failed or was closed.
    pub fn reader(&self) -> Reader {
        Reader::new(Arc::clone(&self.shared))
    }

    /// The journal's numbers.
    pub fn stats(&self) -> Stats {
        let segments = self.shared.extent().segments;
        Stats {
            start: Position(segments.first().map_or(0, |(_, first)| *first)),
            synced: Position(self.synced),
            end: Position(self.end),
            segments: segments.len(),
            records: self.records,
            syncs: self.syncs,
        }
    }
}

impl Journal {
    #[cfg(test)]
    pub(crate) fn buffered_bytes(&self) -> usize {
        self.buffer.len()
    }

    fn check_alive(&self) -> Result<(), JournalError> {
        match &self.failed {
            Some(reason) => Err(JournalError::Failed {
                reason: reason.clone(),
            }),
            None => Ok(()),
        }
    }

    fn keep_failure<T>(&mut self, result: Result<T, DiskError>) -> Result<T, JournalError> {
        if let Err(error) = &result {
            self.failed = Some(error.to_string());
        }
        Ok(result?)
    }

    fn write_buffer(&mut self) -> Result<(), DiskError> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let offset = self.last.offset(self.written);
        self.last.file.write_at(offset, &self.buffer)?;
        self.written = self.end;
        self.buffer.clear();
        // One great record shouldn't hold its memory for ever.
        self.buffer.shrink_to(BUFFER_BYTES);
        Ok(())
    }

    fn write_and_sync(&mut self) -> Result<(), DiskError> {
        if self.synced == self.end {
            return Ok(());
        }
        self.write_buffer()?;
        self.last.file.sync_data()?;
        self.syncs += 1;
        self.synced = self.end;
        let synced = self.synced;
        self.shared.change(|extent| extent.synced = synced);
        Ok(())
    }

    /// Seals the last segment and makes the next, large enough for a frame of this many bytes.
    fn roll_over(&mut self, frame: u64) -> Result<(), DiskError> {
        self.write_and_sync()?;
        let header = SegmentHeader {
            directory: self.options.directory,
            number: self.last.number + 1,
            first: self.end,
        };
        let bytes = (self.options.segment_bytes).max(SEGMENT_HEADER_BYTES as u64 + frame);
        let segment = Segment::create(&*self.disk, &self.dir, header, bytes)?;
        self.limit = segment.first + (bytes - SEGMENT_HEADER_BYTES as u64);
        self.shared.remember(segment.clone());
        self.shared
            .change(|extent| extent.segments.push((segment.number, segment.first)));
        self.last = segment;
        Ok(())
    }

    /// Oldest first, each removal durable before the next: whatever a crash undoes, no gap is left.
    fn remove_segments(&mut self, position: u64) -> Result<(), DiskError> {
        let segments = self.shared.extent().segments;
        for pair in segments.windows(2) {
            let ((number, _), (_, end)) = (pair[0], pair[1]);
            if end > position {
                break;
            }
            self.shared.change(|extent| {
                extent.segments.remove(0);
            });
            self.shared.forget(number);
            self.disk.remove(&join(&self.dir, &file_name(number)))?;
            self.disk.sync_dir(&self.dir)?;
        }
        Ok(())
    }
}
