//! Opening a journal after a crash: what is there, where it ends, and what must not be cut.
//!
//! ```text
//!   earlier segments      sealed: synced before the next one was made. Their records are checked when they are read.
//!   last segment          good good good │ bad …
//!                                        └─ a later good record says that this was durable ──▶ damage: refuse
//!                                           otherwise ──▶ a torn tail: zeros over it, synced before reuse
//! ```
//!
//! Upon opening (vlsm.md §5, replica.md §3):
//! 1. Files of segments that were never finished are removed.
//! 2. Every segment's header is checked; numbers must follow one another, and so must positions.
//! 3. The last segment is read to its end. What was written but not synced before a crash may be there in any part;
//!    that is no damage, and it was never acknowledged. Each record carries the position that was durable when it was
//!    made, so the two can be told apart, but for the writes of the very last sync: nothing after testifies to those.
//! 4. What was found good is synced: a process that was killed leaves records that only the kernel's memory holds.

use crate::disk::{Disk, DiskError, join};
use crate::error::JournalError;
use crate::format::{Framer, SegmentHeader};
use crate::journal::Options;
use crate::segment::{self, Bad, Cursor, Segment, Step};

/// Of records with a good header but other bytes, how many times the tail's length is read. A power cut leaves each torn
/// record once, so that all together are no longer than the tail; a writer who guesses positions could lay many over
/// each other.
const TAIL_READS_MAX: u64 = 2;
/// What is read or cut of a tail at once.
const TAIL_CHUNK_BYTES: usize = 1 << 20;

/// What is there.
#[derive(Debug)]
pub(crate) struct Recovered {
    /// Number and first position of each segment, in order; at least one.
    pub(crate) segments: Vec<(u64, u64)>,
    pub(crate) last: Segment,
    /// Where the last good record ends. Everything before is durable.
    pub(crate) end: u64,
}

/// Finds out what `dir` holds; makes the first segment if it holds none.
pub(crate) fn recover(
    disk: &dyn Disk,
    dir: &str,
    options: &Options,
) -> Result<Recovered, JournalError> {
    let numbers = segment_numbers(disk, dir)?;
    let Some((&newest, earlier)) = numbers.split_last() else {
        return Ok(create_first(disk, dir, options)?);
    };
    let mut segments: Vec<(u64, u64)> = Vec::with_capacity(numbers.len());
    let mut previous: Option<Segment> = None;
    for &number in earlier {
        let segment = Segment::open(disk, dir, number, &options.directory)?;
        check_follows(previous.as_ref(), &segment)?;
        segments.push((number, segment.first));
        previous = Some(segment);
    }
    let last = Segment::open(disk, dir, newest, &options.directory)?;
    check_follows(previous.as_ref(), &last)?;
    segments.push((newest, last.first));
    let end = recover_last(&last, &Framer::new(&options.directory))?;
    disk.sync_dir(dir)?;
    Ok(Recovered {
        segments,
        last,
        end,
    })
}

fn create_first(disk: &dyn Disk, dir: &str, options: &Options) -> Result<Recovered, DiskError> {
    let header = SegmentHeader {
        directory: options.directory,
        number: 0,
        first: 0,
    };
    let last = Segment::create(disk, dir, header, options.segment_bytes)?;
    Ok(Recovered {
        segments: vec![(0, 0)],
        last,
        end: 0,
    })
}

/// The segments' numbers, one after another; unfinished ones are removed.
fn segment_numbers(disk: &dyn Disk, dir: &str) -> Result<Vec<u64>, JournalError> {
    let mut numbers = Vec::new();
    for name in disk.list(dir)? {
        if segment::is_unfinished(&name) {
            disk.remove(&join(dir, &name))?;
        }
        numbers.extend(segment::number_in(&name));
    }
    numbers.sort_unstable();
    for pair in numbers.windows(2) {
        if pair[1] != pair[0] + 1 {
            return Err(JournalError::SegmentMissing {
                dir: dir.to_owned(),
                missing: pair[0] + 1,
            });
        }
    }
    Ok(numbers)
}

/// A sealed segment holds every position up to the next one's first.
fn check_follows(previous: Option<&Segment>, segment: &Segment) -> Result<(), JournalError> {
    let Some(previous) = previous else {
        return Ok(());
    };
    if segment.first < previous.first {
        let reason = "its first position lies before the previous segment's";
        return Err(segment.damaged(segment.first, reason));
    }
    let limit = previous.limit()?;
    if limit < segment.first {
        return Err(previous.damaged(limit, "the file ends before the segment does"));
    }
    Ok(())
}

/// Reads the last segment to its end, cuts what is torn, and makes the rest durable. Says where it ends.
fn recover_last(last: &Segment, framer: &Framer) -> Result<u64, JournalError> {
    let limit = last.limit()?;
    let mut cursor = Cursor::new(last.clone(), last.first, limit);
    let bad = loop {
        match cursor.step(framer)? {
            Step::Record(_) => {}
            Step::End => break None,
            Step::Bad(bad) => break Some(bad),
        }
    };
    let end = cursor.position();
    if let Some(bad) = bad {
        check_never_durable(&mut cursor, end, &bad, framer)?;
        cut(last, end, limit)?;
    }
    last.file.sync_data()?;
    Ok(end)
}

/// Refuses to cut at `end` if a good record behind says that what was there had been durable.
fn check_never_durable(
    cursor: &mut Cursor,
    end: u64,
    bad: &Bad,
    framer: &Framer,
) -> Result<(), JournalError> {
    let mut budget = TAIL_READS_MAX * (cursor.limit() - end);
    let mut from = match bad {
        Bad::Header => end + 1,
        Bad::Body { end } => *end,
    };
    while let Some(synced) = cursor.find(from, framer, &mut budget)? {
        if synced > end {
            return Err(cursor.segment().damaged(end, bad.reason()));
        }
        from = cursor.position();
    }
    if budget == 0 {
        let reason = "too many damaged records to tell what was durable";
        return Err(cursor.segment().damaged(end, reason));
    }
    Ok(())
}

/// Writes zeros over what follows `end`. That needs no room on the disk, and leaves the file its length.
fn cut(last: &Segment, end: u64, limit: u64) -> Result<(), DiskError> {
    let zeros = vec![0; TAIL_CHUNK_BYTES];
    let mut chunk = vec![0; TAIL_CHUNK_BYTES];
    let mut position = end;
    while position < limit {
        let size = (limit - position).min(TAIL_CHUNK_BYTES as u64) as usize;
        let offset = last.offset(position);
        last.file.read_at(offset, &mut chunk[..size])?;
        if let Some(nonzero) = chunk[..size].iter().rposition(|byte| *byte != 0) {
            last.file.write_at(offset, &zeros[..=nonzero])?;
        }
        position += size as u64;
    }
    Ok(())
}
