//! One segment: a file with a header and the records that follow it.

use std::io;
use std::sync::Arc;

use violeta_types::Digest;

use crate::disk::{Disk, DiskError, DiskFile, OpenMode, join};
use crate::error::JournalError;
use crate::format::{
    BadHeader, FRAME_HEADER_BYTES, FRAME_KIND_OFFSET, FrameHeader, Framer, SEGMENT_HEADER_BYTES,
    SegmentHeader,
};
use crate::position::{Position, Record};

const SUFFIX: &str = ".journal";
const UNFINISHED_SUFFIX: &str = ".new";
/// What a cursor reads at once, first and at most.
const CHUNK_BYTES_MIN: usize = 4 << 10;
const CHUNK_BYTES_MAX: usize = 1 << 20;

/// The name of a segment's file.
pub(crate) fn file_name(number: u64) -> String {
    format!("{number:010}{SUFFIX}")
}

/// The number in a segment's file name; none for other files.
pub(crate) fn number_in(name: &str) -> Option<u64> {
    let number = name.strip_suffix(SUFFIX)?.parse().ok()?;
    // "+1", "01": names that this code never gives.
    (file_name(number) == name).then_some(number)
}

/// Whether a crash left this file while a segment was being made.
pub(crate) fn is_unfinished(name: &str) -> bool {
    name.strip_suffix(UNFINISHED_SUFFIX)
        .is_some_and(|name| number_in(name).is_some())
}

/// An open segment.
#[derive(Clone, Debug)]
pub(crate) struct Segment {
    pub(crate) number: u64,
    /// Position of its first record.
    pub(crate) first: u64,
    pub(crate) file: Arc<dyn DiskFile>,
}

impl Segment {
    /// Makes a segment with room for `bytes`, durable before it has its name: whatever has a segment's name has had
    /// a good header.
    pub(crate) fn create(
        disk: &dyn Disk,
        dir: &str,
        header: SegmentHeader,
        bytes: u64,
    ) -> Result<Self, DiskError> {
        let path = join(dir, &file_name(header.number));
        let unfinished = format!("{path}{UNFINISHED_SUFFIX}");
        let file = disk.open(&unfinished, OpenMode::New)?;
        file.allocate(bytes)?;
        file.write_at(0, &header.encode())?;
        file.sync_data()?;
        disk.rename(&unfinished, &path)?;
        disk.sync_dir(dir)?;
        drop(file);
        Ok(Segment {
            number: header.number,
            first: header.first,
            file: disk.open(&path, OpenMode::Existing)?,
        })
    }

    /// Opens a segment and checks that it is what its name and place say.
    pub(crate) fn open(
        disk: &dyn Disk,
        dir: &str,
        number: u64,
        directory: &Digest,
    ) -> Result<Self, JournalError> {
        let file = disk.open(&join(dir, &file_name(number)), OpenMode::Existing)?;
        let path = || file.path().to_owned();
        let damaged = |reason: &str| JournalError::Damaged {
            file: path(),
            offset: 0,
            position: Position::ZERO,
            reason: reason.to_owned(),
        };
        let mut bytes = [0; SEGMENT_HEADER_BYTES];
        match file.read_at(0, &mut bytes) {
            Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => {
                return Err(damaged("it ends within the segment's header"));
            }
            read => read?,
        }
        let header = SegmentHeader::decode(&bytes).map_err(|bad| match bad {
            BadHeader::NotASegment => JournalError::NotASegment { file: path() },
            BadHeader::Damaged => damaged("the segment's header fails its checksum"),
            BadHeader::OtherFormat(found) => JournalError::OtherFormat {
                file: path(),
                found,
            },
        })?;
        if header.directory != *directory {
            return Err(JournalError::Foreign {
                file: path(),
                expected: *directory,
                found: header.directory,
            });
        }
        if header.number != number {
            let found = header.number;
            return Err(damaged(&format!(
                "it is segment {found} under another name"
            )));
        }
        Ok(Segment {
            number,
            first: header.first,
            file,
        })
    }

    /// Where in the file a position lies.
    pub(crate) fn offset(&self, position: u64) -> u64 {
        assert!(position >= self.first, "a position of an earlier segment");
        SEGMENT_HEADER_BYTES as u64 + (position - self.first)
    }

    /// The position at which the file ends.
    pub(crate) fn limit(&self) -> Result<u64, DiskError> {
        let header = SEGMENT_HEADER_BYTES as u64;
        Ok(self.first + self.file.len()?.saturating_sub(header))
    }

    pub(crate) fn damaged(&self, position: u64, reason: &str) -> JournalError {
        JournalError::Damaged {
            file: self.file.path().to_owned(),
            offset: self.offset(position),
            position: Position(position),
            reason: reason.to_owned(),
        }
    }
}

/// What lies at a cursor.
#[derive(Debug)]
pub(crate) enum Step {
    /// A good record; the cursor has moved past it.
    Record(Record),
    /// Nothing: the cursor is at its limit.
    End,
    /// No good record.
    Bad(Bad),
}

/// Why there is no good record.
#[derive(Debug)]
pub(crate) enum Bad {
    /// No record's header.
    Header,
    /// A header, but not the bytes that belong to it; where the next record would begin.
    Body { end: u64 },
}

impl Bad {
    pub(crate) fn reason(&self) -> &'static str {
        match self {
            Bad::Header => "no record begins here, or its header fails its checksum",
            Bad::Body { .. } => "the record's bytes fail their checksum",
        }
    }
}

/// Reads a segment's records one after another, in chunks that grow.
#[derive(Debug)]
pub(crate) struct Cursor {
    segment: Segment,
    next: u64,
    limit: u64,
    chunk: Vec<u8>,
    chunk_start: u64,
    chunk_size: usize,
}

impl Cursor {
    /// From `next` on, up to `limit`.
    pub(crate) fn new(segment: Segment, next: u64, limit: u64) -> Self {
        assert!(segment.first <= next && next <= limit, "a cursor backwards");
        Cursor {
            segment,
            next,
            limit,
            chunk: Vec::new(),
            chunk_start: next,
            chunk_size: CHUNK_BYTES_MIN,
        }
    }

    pub(crate) fn segment(&self) -> &Segment {
        &self.segment
    }

    /// Where the next record begins.
    pub(crate) fn position(&self) -> u64 {
        self.next
    }

    /// The next record, or why there is none. Stays where it is unless there is one.
    pub(crate) fn step(&mut self, framer: &Framer) -> Result<Step, DiskError> {
        let position = self.next;
        if position == self.limit {
            return Ok(Step::End);
        }
        let Some(header) = self.header_at(position, framer)? else {
            return Ok(Step::Bad(Bad::Header));
        };
        let Some(body) = self.body(position, &header)? else {
            return Ok(Step::Bad(Bad::Body { end: header.end }));
        };
        self.next = header.end;
        Ok(Step::Record(Record {
            position: Position(position),
            end: Position(header.end),
            kind: header.kind,
            bytes: body,
        }))
    }

    /// Where the records end at the latest.
    pub(crate) fn limit(&self) -> u64 {
        self.limit
    }

    /// Looks for the first good record at `from` or behind, byte by byte, and moves past it; says up to where the
    /// journal was durable when it was made. `budget` bounds how many bytes are read of records whose header is good and
    /// whose bytes aren't; at 0 the search has been given up.
    pub(crate) fn find(
        &mut self,
        from: u64,
        framer: &Framer,
        budget: &mut u64,
    ) -> Result<Option<u64>, DiskError> {
        let mut position = from;
        while position < self.limit {
            let Some(header) = self.header_at(position, framer)? else {
                position += self.hopeless(position);
                continue;
            };
            if self.body(position, &header)?.is_some() {
                self.next = header.end;
                return Ok(Some(header.synced));
            }
            // One that would end behind the limit wasn't read.
            if header.end <= self.limit {
                *budget = budget.saturating_sub(header.end - position);
            }
            if *budget == 0 {
                break;
            }
            position += 1;
        }
        Ok(None)
    }

    /// How many positions from this one on, at which no header is, can't be a record's: as far as the chunk tells, all
    /// whose kind is 0. Most of a tail is zeros.
    fn hopeless(&self, position: u64) -> u64 {
        let start = position.checked_sub(self.chunk_start);
        let chunk = start.and_then(|start| self.chunk.get(start as usize..));
        let chunk = chunk.unwrap_or_default();
        let zeros = chunk.iter().position(|b| *b != 0).unwrap_or(chunk.len());
        (zeros.saturating_sub(FRAME_KIND_OFFSET) as u64).max(1)
    }

    fn header_at(
        &mut self,
        position: u64,
        framer: &Framer,
    ) -> Result<Option<FrameHeader>, DiskError> {
        let Some(bytes) = self.bytes(position, FRAME_HEADER_BYTES)? else {
            return Ok(None);
        };
        let mut header = [0; FRAME_HEADER_BYTES];
        header.copy_from_slice(bytes);
        Ok(framer.decode(position, &header))
    }

    fn body(&mut self, at: u64, header: &FrameHeader) -> Result<Option<Vec<u8>>, DiskError> {
        let body = self.bytes(at + FRAME_HEADER_BYTES as u64, header.len)?;
        Ok(body.filter(|body| header.covers(body)).map(<[u8]>::to_vec))
    }

    /// `len` bytes at a position; none if the limit is before their end.
    fn bytes(&mut self, position: u64, len: usize) -> Result<Option<&[u8]>, DiskError> {
        let left = self.limit.saturating_sub(position);
        if (len as u64) > left {
            return Ok(None);
        }
        let chunk_end = self.chunk_start + self.chunk.len() as u64;
        if position < self.chunk_start || position + len as u64 > chunk_end {
            let size = (self.chunk_size.max(len) as u64).min(left) as usize;
            self.chunk_size = (2 * self.chunk_size).min(CHUNK_BYTES_MAX);
            self.chunk.clear();
            self.chunk.resize(size, 0);
            self.chunk_start = position;
            let offset = self.segment.offset(position);
            self.segment.file.read_at(offset, &mut self.chunk)?;
        }
        let start = (position - self.chunk_start) as usize;
        Ok(Some(&self.chunk[start..start + len]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_that_segments_are_given_are_segments() {
        assert_eq!(file_name(7), "0000000007.journal");
        for number in [0, 7, u64::MAX] {
            assert_eq!(number_in(&file_name(number)), Some(number));
            assert!(is_unfinished(&format!("{}.new", file_name(number))));
        }
        for other in [
            "7.journal",
            "+000000007.journal",
            "0000000007",
            "x.new",
            ".journal",
        ] {
            assert_eq!(number_in(other), None, "{other}");
            assert!(!is_unfinished(other), "{other}");
        }
    }
}
