//! Reading what is durable, from any thread, while the journal is being written.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use violeta_types::Digest;

use crate::disk::Disk;
use crate::error::JournalError;
use crate::format::Framer;
use crate::position::{Position, Record};
use crate::segment::{Cursor, Segment, Step};

/// Segments that readers keep open, at most.
pub const OPEN_SEGMENTS_MAX: usize = 32;

/// What writer and readers share.
#[derive(Debug)]
pub(crate) struct Shared {
    disk: Arc<dyn Disk>,
    dir: String,
    directory: Digest,
    framer: Framer,
    extent: RwLock<Extent>,
    /// Open segments, the least recently used first.
    open: Mutex<Vec<Segment>>,
}

/// Which positions can be read, and where they lie.
#[derive(Clone, Debug)]
pub(crate) struct Extent {
    /// Number and first position of each segment, in order; at least one.
    pub(crate) segments: Vec<(u64, u64)>,
    /// Everything before is durable.
    pub(crate) synced: u64,
}

impl Extent {
    fn start(&self) -> u64 {
        self.segments.first().map_or(0, |(_, first)| *first)
    }

    /// The segment that holds a position: its number, and where its records end.
    fn locate(&self, position: u64) -> Option<(u64, u64)> {
        if position >= self.synced {
            return None;
        }
        let after = self.segments.partition_point(|(_, f)| *f <= position);
        let (number, _) = self.segments.get(after.checked_sub(1)?)?;
        let end = self.segments.get(after).map_or(self.synced, |(_, f)| *f);
        Some((*number, end))
    }
}

impl Shared {
    pub(crate) fn new(
        disk: Arc<dyn Disk>,
        dir: &str,
        directory: Digest,
        extent: Extent,
        last: Segment,
    ) -> Self {
        Shared {
            disk,
            dir: dir.to_owned(),
            directory,
            framer: Framer::new(&directory),
            extent: RwLock::new(extent),
            open: Mutex::new(vec![last]),
        }
    }

    pub(crate) fn extent(&self) -> Extent {
        let extent = self.extent.read().unwrap_or_else(PoisonError::into_inner);
        extent.clone()
    }

    pub(crate) fn change(&self, change: impl FnOnce(&mut Extent)) {
        let mut extent = self.extent.write().unwrap_or_else(PoisonError::into_inner);
        change(&mut extent);
        assert!(!extent.segments.is_empty(), "a journal has a last segment");
        assert!(extent.start() <= extent.synced, "a journal backwards");
    }

    fn bounds_and_place(&self, position: u64) -> (Position, Position, Option<(u64, u64)>) {
        let extent = self.extent.read().unwrap_or_else(PoisonError::into_inner);
        let (start, end) = (Position(extent.start()), Position(extent.synced));
        (start, end, extent.locate(position))
    }

    /// Closes segments that are no longer there.
    pub(crate) fn forget(&self, number: u64) {
        self.open_segments().retain(|open| open.number != number);
    }

    pub(crate) fn remember(&self, segment: Segment) {
        let mut open = self.open_segments();
        open.retain(|other| other.number != segment.number);
        open.push(segment);
        if open.len() > OPEN_SEGMENTS_MAX {
            open.remove(0);
        }
        assert!(open.len() <= OPEN_SEGMENTS_MAX);
    }

    fn open_segments(&self) -> MutexGuard<'_, Vec<Segment>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn segment(&self, number: u64) -> Result<Segment, JournalError> {
        let found = {
            let open = self.open_segments();
            open.iter().find(|open| open.number == number).cloned()
        };
        let segment = match found {
            Some(segment) => segment,
            None => Segment::open(&*self.disk, &self.dir, number, &self.directory)?,
        };
        self.remember(segment.clone());
        Ok(segment)
    }

    /// A cursor at `position`, up to the end of its segment.
    fn cursor(&self, position: u64) -> Result<Cursor, JournalError> {
        let out_of_range = |start, end| JournalError::OutOfRange {
            position: Position(position),
            start,
            end,
        };
        let (start, end, place) = self.bounds_and_place(position);
        let Some((number, limit)) = place else {
            return Err(out_of_range(start, end));
        };
        match self.segment(number) {
            Ok(segment) if segment.first <= position => Ok(Cursor::new(segment, position, limit)),
            Ok(segment) => Err(segment.damaged(segment.first, "it begins at another position")),
            Err(JournalError::Disk(error)) if error.kind() == io::ErrorKind::NotFound => {
                // Dropped since its place was looked up?
                let (start, end, place) = self.bounds_and_place(position);
                Err(match place {
                    Some(_) => error.into(),
                    None => out_of_range(start, end),
                })
            }
            Err(error) => Err(error),
        }
    }
}

/// Reads durable records, from any thread. Clones are cheap and share open files.
#[derive(Clone, Debug)]
pub struct Reader {
    shared: Arc<Shared>,
}

impl Reader {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Reader { shared }
    }

    /// The first record that can be read.
    pub fn start(&self) -> Position {
        self.shared.bounds_and_place(0).0
    }

    /// Where the durable records end.
    pub fn end(&self) -> Position {
        self.shared.bounds_and_place(0).1
    }

    /// The durable record at a position.
    ///
    /// # Errors
    /// [`JournalError::OutOfRange`] if it isn't durable yet or was dropped, [`JournalError::Damaged`] if no good record
    /// begins there.
    pub fn read(&self, position: Position) -> Result<Record, JournalError> {
        let mut cursor = self.shared.cursor(position.0)?;
        match cursor.step(&self.shared.framer)? {
            Step::Record(record) => Ok(record),
            Step::Bad(bad) => Err(cursor.segment().damaged(position.0, bad.reason())),
            Step::End => Err(cursor
                .segment()
                .damaged(position.0, "the segment ends here")),
        }
    }

    /// The records from `from` on, up to what is durable now. From before the first: from the first.
    pub fn replay(&self, from: Position) -> Replay {
        let (start, end, _) = self.shared.bounds_and_place(0);
        Replay {
            shared: Arc::clone(&self.shared),
            next: from.max(start).0,
            end: end.0,
            cursor: None,
            failed: false,
        }
    }
}

/// Records one after another, read as they are asked for. Ends after the first error.
#[derive(Debug)]
pub struct Replay {
    shared: Arc<Shared>,
    next: u64,
    end: u64,
    cursor: Option<Cursor>,
    failed: bool,
}

impl Replay {
    /// Where the next record begins.
    pub fn position(&self) -> Position {
        Position(self.next)
    }

    /// Where the records end.
    pub fn end(&self) -> Position {
        Position(self.end)
    }

    fn read_next(&mut self) -> Result<Record, JournalError> {
        loop {
            let mut cursor = match self.cursor.take() {
                Some(cursor) => cursor,
                None => self.shared.cursor(self.next)?,
            };
            match cursor.step(&self.shared.framer)? {
                Step::Record(record) => {
                    self.next = record.end.0;
                    self.cursor = Some(cursor);
                    return Ok(record);
                }
                // The next segment's turn; or, in the last one, records that became durable since.
                Step::End => {}
                Step::Bad(bad) => return Err(cursor.segment().damaged(self.next, bad.reason())),
            }
        }
    }
}

impl Iterator for Replay {
    type Item = Result<Record, JournalError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed || self.next >= self.end {
            return None;
        }
        let record = self.read_next();
        self.failed = record.is_err();
        Some(record)
    }
}
