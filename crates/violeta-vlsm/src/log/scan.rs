//! Reading the log record by record, and telling a torn tail from corruption (vlsm.md §5).

use std::ops::ControlFlow;
use std::sync::Arc;

use bytes::Bytes;
use violeta_journal::{DiskFile, OpenMode};
use violeta_types::Digest;

use super::record::{HEADER_BYTES, Header, MAGIC, RECORD_BYTES_MIN, Record};
use super::{Log, Segment};
use crate::error::StoreError;

/// Bytes read at once while looking for records behind a bad one.
const WINDOW_BYTES: usize = 1 << 20;
/// Of what looks like a record and isn't one, how many times the tail's length is read. A power cut leaves each torn
/// record once, so that all together are no longer than the tail; only a client who guesses positions could lay many
/// over each other.
const TAIL_READS_MAX: u64 = 2;

/// Goes through the log from some position on.
pub(crate) struct Scan<'a> {
    log: &'a Log,
    position: u64,
    link: Digest,
    /// Records of any other era end the scan; none: eras may only rise.
    era: Option<u64>,
}

impl<'a> Scan<'a> {
    /// A scan that begins with the record at `position`, which follows one with checksum `link`.
    pub(crate) fn new(log: &'a Log, position: u64, link: Digest, era: Option<u64>) -> Self {
        Scan {
            log,
            position,
            link,
            era,
        }
    }

    /// Where the next record would begin.
    pub(crate) fn position(&self) -> u64 {
        self.position
    }

    /// The checksum of the last record.
    pub(crate) fn link(&self) -> Digest {
        self.link
    }

    /// The next record; none if there is no good one there.
    pub(crate) fn next(&mut self) -> Result<Option<Record>, StoreError> {
        let Some(record) = self.log.record_at(self.position)? else {
            return Ok(None);
        };
        let known_era = self.era.is_none_or(|era| record.header.era == era);
        if !known_era || record.header.link != self.link {
            return Ok(None);
        }
        self.position += record.header.record_bytes() as u64;
        self.link = record.checksum;
        Ok(Some(record))
    }

    /// Judges the place where the scan ended: a record further on which says that this place was durable proves that
    /// a good record was here.
    ///
    /// Keys and values are whatever clients chose, and may look like records. So where the bad record still says how
    /// long it is, nothing within is taken for one, nor within those that follow it one upon the other; and of what
    /// looks like a record and isn't one, only so much is read.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] if so. Else what follows was never acknowledged, and may be cut.
    pub(crate) fn require_tail(&self) -> Result<(), StoreError> {
        let from = self.behind()?;
        let mut budget = self.budget()?;
        for segment in self.segments_from(from) {
            let from = from.saturating_sub(segment.start);
            if let Some(witness) = self.witness(segment, from, &mut budget)? {
                let what = format!(
                    "a record that was durable is damaged: version {} was written after it",
                    witness.version
                );
                return Err(self.log.corrupt(self.position, what));
            }
        }
        Ok(())
    }

    /// The segment that a position lies in, and those after it.
    fn segments_from(&self, position: u64) -> Vec<Segment> {
        let segments = self.log.segments();
        let after = segments.partition_point(|segment| segment.start <= position);
        segments[after.saturating_sub(1)..].to_vec()
    }

    /// How many bytes are read of what only looks like a record.
    fn budget(&self) -> Result<u64, StoreError> {
        let mut bytes = 0;
        for segment in self.segments_from(self.position) {
            let len = self.log.open(segment)?.len()?;
            bytes += len.saturating_sub(self.position.saturating_sub(segment.start));
        }
        Ok(TAIL_READS_MAX * bytes)
    }

    /// Whether a header may be one of this log: records of any other era are none.
    fn is_of_era(&self, header: &Header) -> bool {
        self.era.is_none_or(|era| header.era == era)
    }

    /// Behind the bad record, if its header is that of the record that should be here, and behind those that follow it
    /// one upon the other; else where it begins.
    ///
    /// A power cut that spares the header may take anything behind it, and the file's end with it: the file grows with
    /// its records after the log was cut. So the record may reach beyond.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] if the header's length is all that is wrong with it.
    fn behind(&self) -> Result<u64, StoreError> {
        let Some(rest) = Rest::at(self.log, self.position)? else {
            return Ok(self.position);
        };
        let header = rest.header_at(self.position)?;
        let header = header.filter(|header| self.is_of_era(header) && header.link == self.link);
        let Some(header) = header else {
            return Ok(self.position);
        };
        if self.is_whole_but_for_its_length(&header, &rest)? {
            let what = "the length of a record that was whole is damaged";
            return Err(self.log.corrupt(self.position, what));
        }
        let end = self.position + header.record_bytes() as u64;
        match rest.may_end(&header, end)? {
            true => self.behind_others(rest, end),
            // It isn't where the record ended, so this is no tear, and the record's length says nothing.
            false => Ok(self.position),
        }
    }

    /// Where the first record begins that may say something of the bad one: from `position` on, where one that was
    /// believed ends, past those that can't. They were torn too, or written when the bad one wasn't durable.
    ///
    /// No client had them begin here, so nothing within is looked at, as with the bad one itself.
    fn behind_others(&self, mut rest: Rest, mut position: u64) -> Result<u64, StoreError> {
        loop {
            if position >= rest.end && !rest.is_last {
                let Some(next) = Rest::at(self.log, position)? else {
                    return Ok(position);
                };
                rest = next;
            }
            let header = rest.header_at(position)?;
            let Some(header) = header.filter(|header| self.is_of_era(header)) else {
                return Ok(position.min(rest.end));
            };
            let end = position + header.record_bytes() as u64;
            let passed = match rest.record(&header)? {
                Some(_) => header.durable <= self.position,
                None => rest.may_end(&header, end)?,
            };
            if !passed {
                return Ok(position);
            }
            position = end;
        }
    }

    /// Whether there would be a good record here, with the next one behind it, if its header gave another length.
    ///
    /// Who wanted to make that of a value would have to know the checksum of the record before.
    fn is_whole_but_for_its_length(
        &self,
        header: &Header,
        rest: &Rest,
    ) -> Result<bool, StoreError> {
        let (from, said) = (self.position, header.record_bytes() as u64);
        let checksum = |end: u64| -> Result<Option<Digest>, StoreError> {
            let body = (end - from).checked_sub(RECORD_BYTES_MIN as u64);
            let Some(body_bytes) = body.filter(|_| end - from != said) else {
                return Ok(None);
            };
            let other = Header {
                body_bytes,
                ..*header
            };
            Ok(rest.record(&other)?.map(|record| record.checksum))
        };
        if !rest.is_last && checksum(rest.end)?.is_some() {
            return Ok(true);
        }
        // Where one bit is wrong there are few lengths to try, however much looks like a header.
        for bit in 0..u64::BITS {
            let body_bytes = header.body_bytes ^ (1 << bit);
            let end = from.saturating_add(body_bytes.saturating_add(RECORD_BYTES_MIN as u64));
            if let Some(next) = rest.header_at(end)?
                && checksum(end)? == Some(next.link)
            {
                return Ok(true);
            }
        }
        let mut budget = self.budget()?;
        let found = self.look_through(rest.segment, from + 1 - rest.segment.start, |next| {
            let position = next.header.position;
            if checksum(position)? == Some(next.header.link) {
                return Ok(ControlFlow::Break(true));
            }
            // Of what clients laid there only so much is tried: then the record counts as torn.
            budget = budget.saturating_sub(position - from);
            Ok(match budget {
                0 => ControlFlow::Break(false),
                _ => ControlFlow::Continue(1),
            })
        })?;
        Ok(found.unwrap_or(false))
    }

    /// A good record in a segment, from an offset on, which was written when this position was durable.
    fn witness(
        &self,
        segment: Segment,
        from: u64,
        budget: &mut u64,
    ) -> Result<Option<Header>, StoreError> {
        self.look_through(segment, from, |seen| {
            let bytes = seen.header.record_bytes() as u64;
            if bytes > seen.room {
                return Ok(ControlFlow::Continue(1));
            }
            if seen.record()?.is_some() {
                return Ok(match seen.header.durable > self.position {
                    true => ControlFlow::Break(seen.header),
                    false => ControlFlow::Continue(bytes),
                });
            }
            *budget = budget.saturating_sub(bytes);
            if *budget == 0 {
                let what = "too many damaged records behind it to tell whether it was durable";
                return Err(self.log.corrupt(self.position, what));
            }
            Ok(ControlFlow::Continue(1))
        })
    }

    /// Shows `judge` what looks like a header of this log in a segment, from an offset on, until it breaks off; else
    /// it says how many bytes further the next one may begin. The disk is read once, whatever is there, but for what
    /// `judge` reads.
    fn look_through<T>(
        &self,
        segment: Segment,
        from: u64,
        mut judge: impl FnMut(Seen<'_>) -> Result<ControlFlow<T, u64>, StoreError>,
    ) -> Result<Option<T>, StoreError> {
        let file = self.log.open(segment)?;
        let (mut at, mut next, end) = (from, from, file.len()?);
        let mut window = Vec::new();
        while at + (HEADER_BYTES as u64) <= end {
            window.resize((end - at).min(WINDOW_BYTES as u64) as usize, 0);
            file.read_at(at, &mut window)?;
            for place in occurrences(&window) {
                let (offset, bytes) = (at + place as u64, &window[place..]);
                let is_here = |header: &Header| {
                    header.position == segment.start + offset && self.is_of_era(header)
                };
                let Some(header) = Header::decode(bytes).filter(is_here) else {
                    continue;
                };
                if offset < next {
                    continue;
                }
                let (file, room) = (&*file, end - offset);
                let seen = Seen {
                    header,
                    file,
                    offset,
                    room,
                    bytes,
                };
                match judge(seen)? {
                    ControlFlow::Break(found) => return Ok(Some(found)),
                    ControlFlow::Continue(bytes) => next = offset + bytes,
                }
            }
            // A header may lie across the border of two windows.
            at = next.max(at + (window.len() - HEADER_BYTES + 1) as u64);
        }
        Ok(None)
    }
}

/// What looks like a record's header, at the position that it gives.
struct Seen<'a> {
    header: Header,
    file: &'a dyn DiskFile,
    offset: u64,
    /// How much there is from there to the file's end.
    room: u64,
    /// What was read from there on.
    bytes: &'a [u8],
}

impl Seen<'_> {
    /// The record, if it is a good one.
    fn record(&self) -> Result<Option<Record>, StoreError> {
        let len = self.header.record_bytes();
        let bytes = match self.bytes.get(..len) {
            Some(bytes) => Bytes::copy_from_slice(bytes),
            None => {
                let mut bytes = vec![0; len];
                self.file.read_at(self.offset, &mut bytes)?;
                bytes.into()
            }
        };
        Ok(Record::decode(bytes))
    }
}

/// The segment that a bad record lies in.
struct Rest {
    segment: Segment,
    file: Arc<dyn DiskFile>,
    file_bytes: u64,
    /// Where the next segment begins, and so the last record of this one ends; of the last segment, the file's end.
    end: u64,
    is_last: bool,
}

impl Rest {
    /// The rest of the segment that a position lies in; none if there is none.
    fn at(log: &Log, position: u64) -> Result<Option<Self>, StoreError> {
        let Some(segment) = log.segment_of(position) else {
            return Ok(None);
        };
        let file = log.open(segment)?;
        let file_bytes = file.len()?;
        let segments = log.segments();
        let next = segments.iter().find(|other| other.start > segment.start);
        Ok(Some(Rest {
            segment,
            file,
            file_bytes,
            end: next.map_or(segment.start + file_bytes, |next| next.start),
            is_last: next.is_none(),
        }))
    }

    /// Bytes from `position` on; none if the file has fewer.
    fn read(&self, position: u64, len: usize) -> Result<Option<Vec<u8>>, StoreError> {
        let offset = position - self.segment.start;
        if self.file_bytes.saturating_sub(offset) < len as u64 {
            return Ok(None);
        }
        let mut bytes = vec![0; len];
        self.file.read_at(offset, &mut bytes)?;
        Ok(Some(bytes))
    }

    /// The header at `position`, whether or not the file has all of the record; none if there is no header of a record
    /// that would lie here.
    fn header_at(&self, position: u64) -> Result<Option<Header>, StoreError> {
        let bytes = self.read(position, HEADER_BYTES)?;
        let header = bytes.and_then(|bytes| Header::decode(&bytes));
        Ok(header.filter(|header| header.position == position))
    }

    /// The record that this header is put before, where it says; none if that isn't a good one.
    fn record(&self, header: &Header) -> Result<Option<Record>, StoreError> {
        let bytes = self.read(header.position, header.record_bytes())?;
        Ok(bytes.and_then(|bytes| Record::decode(header.put_before(&bytes))))
    }

    /// Whether the record with this header may end at `end`, if it was torn: another begins there, or what a power cut
    /// left of one, which is zeros wherever nothing arrived; or there is nothing more.
    fn may_end(&self, header: &Header, end: u64) -> Result<bool, StoreError> {
        if end >= self.end {
            return Ok(end == self.end || self.is_last);
        }
        let offset = end - self.segment.start;
        let mut expected = &header.begins_next(end)[..];
        let room = self.file_bytes.saturating_sub(offset);
        expected = &expected[..expected.len().min(room as usize)];
        if expected.is_empty() {
            // The file ends before.
            return Ok(true);
        }
        let mut found = vec![0; expected.len()];
        self.file.read_at(offset, &mut found)?;
        let mut pairs = found.iter().zip(expected);
        Ok(pairs.all(|(found, expected)| *found == 0 || found == expected))
    }
}

/// Where the magic begins in `window`. It has no end that is its beginning, so no two overlap.
fn occurrences(window: &[u8]) -> impl Iterator<Item = usize> {
    memchr::memmem::find_iter(window, &MAGIC)
}

impl Log {
    /// The record at `position`; none if there is no good one.
    pub(crate) fn record_at(&self, position: u64) -> Result<Option<Record>, StoreError> {
        let Some(header) = self.header_at(position)? else {
            return Ok(None);
        };
        let bytes = self.bytes_at(position, header.record_bytes())?;
        Ok(bytes.and_then(|bytes| Record::decode(Bytes::from(bytes))))
    }

    /// What the record at `position` says that the checksum of the record before is.
    ///
    /// # Errors
    /// If there is no record, or the disk fails.
    pub(crate) fn link_at(&self, position: u64) -> Result<Digest, StoreError> {
        let header = self.header_at(position)?;
        let header = header.ok_or_else(|| self.corrupt(position, "not a record"))?;
        Ok(header.link)
    }

    /// The header at `position`, whether or not its segment has all of the record; none if there is no header of a
    /// record that would lie here.
    fn header_at(&self, position: u64) -> Result<Option<Header>, StoreError> {
        let Some(bytes) = self.bytes_at(position, HEADER_BYTES)? else {
            return Ok(None);
        };
        Ok(Header::decode(&bytes).filter(|header| header.position == position))
    }

    /// Bytes from `position` on; none if its segment has fewer, or there is none.
    fn bytes_at(&self, position: u64, len: usize) -> Result<Option<Vec<u8>>, StoreError> {
        let Some(segment) = self.segment_of(position) else {
            return Ok(None);
        };
        let (file, offset) = (self.open(segment)?, position - segment.start);
        if file.len()?.saturating_sub(offset) < len as u64 {
            return Ok(None);
        }
        let mut bytes = vec![0; len];
        file.read_at(offset, &mut bytes)?;
        Ok(Some(bytes))
    }

    pub(super) fn open(&self, segment: Segment) -> Result<Arc<dyn DiskFile>, StoreError> {
        Ok(self.disk.open(&self.path(segment), OpenMode::Existing)?)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Draft, LogWriter};
    use super::*;
    use crate::batch::Batch;
    use violeta_journal::{Disk, FaultyDisk, MemoryDisk};
    use violeta_types::Height;

    const SEGMENT_BYTES: u64 = 256 << 10;
    const FILE: &str = "log-00000000-0000000000000000";
    /// Where a record's only value begins: behind the header, a space with a name of one byte, an operation's header, and
    /// a key of one byte.
    const VALUE_AT: u64 = 80 + 2 + 1 + 4 + 28 + 1;

    fn record(position: u64, durable: u64, link: Digest, value: Vec<u8>) -> (Vec<u8>, Digest) {
        let mut batch = Batch::new();
        batch.put(b"s", b"k", value);
        let changes = batch.normalise(|_| Ok(true)).unwrap();
        let mut draft = Draft::new(position, Vec::new());
        let mut entries = Vec::new();
        (changes.iter()).for_each(|changes| draft.space(changes, &mut entries));
        draft.finish(0, Height(1 + position), durable, link, &Digest::ZERO)
    }

    /// A log, and where its records begin.
    struct Written {
        disk: MemoryDisk,
        log: Arc<Log>,
        writer: LogWriter,
        starts: Vec<u64>,
    }

    impl Written {
        fn new() -> Self {
            Self::with_segments_of(SEGMENT_BYTES)
        }

        fn with_segments_of(bytes: u64) -> Self {
            let disk = MemoryDisk::new();
            let log = Arc::new(Log::new(Arc::new(disk.clone()), "", Vec::new(), Vec::new()));
            Written {
                writer: LogWriter::new(Arc::clone(&log), bytes, 0, 0, Digest::ZERO),
                log,
                disk,
                starts: Vec::new(),
            }
        }

        /// Appends a record; all before it is durable.
        fn append(&mut self, value: Vec<u8>) {
            self.writer.sync().unwrap();
            let (start, link) = (self.writer.end(), self.writer.link());
            let (bytes, checksum) = record(start, start, link, value);
            self.writer.append(&bytes, checksum).unwrap();
            self.starts.push(start);
        }

        /// How many good records a scan finds, what it says of the place where it ends, and what it asked of the disk
        /// for that.
        fn judged(&self) -> (usize, Result<(), StoreError>, u64) {
            let faulty = FaultyDisk::new(Arc::new(self.disk.clone()));
            let segments = self.log.segments();
            let log = Log::new(Arc::new(faulty.clone()), "", segments, Vec::new());
            let mut scan = Scan::new(&log, 0, Digest::ZERO, Some(0));
            let mut count = 0;
            while scan.next().unwrap().is_some() {
                count += 1;
            }
            let before = faulty.operations();
            let result = scan.require_tail();
            (count, result, faulty.operations() - before)
        }

        fn flip(&self, position: u64, bit: u8) {
            let segment = self.log.segment_of(position).unwrap();
            let offset = position - segment.start;
            self.disk.flip_bit(&segment.name(), offset, bit).unwrap();
        }

        /// The first segment's file.
        fn file(&self) -> Arc<dyn DiskFile> {
            self.disk.open(FILE, OpenMode::Existing).unwrap()
        }
    }

    /// Headers one after the other, from `position` on, each of a record of `len` bytes that isn't there.
    fn fakes(position: u64, count: u64, len: usize) -> Vec<u8> {
        let fake = |i: u64| {
            let (bytes, _) = record(position + 80 * i, 1 << 40, Digest::ZERO, vec![0; len]);
            bytes[..HEADER_BYTES].to_vec()
        };
        (0..count).flat_map(fake).collect()
    }

    #[test]
    fn nothing_within_a_torn_record_is_taken_for_another() {
        let mut written = Written::new();
        written.append(vec![1; 100]);
        let start = written.writer.end();
        // A value of headers, and a whole record that says that everything is durable.
        let mut value = fakes(start + VALUE_AT, 1_000, 30_000);
        let within = start + VALUE_AT + value.len() as u64;
        value.extend(record(within, 1 << 40, Digest::ZERO, vec![2; 50]).0);
        let last = start + VALUE_AT + value.len() as u64;
        written.append([value, vec![3; 40_000]].concat());
        written.flip(last, 0);
        let (count, result, operations) = written.judged();
        assert_eq!(count, 1);
        result.unwrap();
        assert!(operations < 300, "{operations} operations");
    }

    #[test]
    fn nothing_within_a_torn_record_is_taken_for_another_though_the_file_ends_there() {
        // Of two records that begin whole: a whole one within the first, and headers that lie over each other.
        for (fake, headers) in [(true, 0), (false, 1_000)] {
            let mut written = Written::new();
            written.append(vec![1; 100]);
            let start = written.writer.end();
            let mut value = fakes(start + VALUE_AT, headers, 60_000);
            if fake {
                value = record(start + VALUE_AT, 1 << 40, Digest::ZERO, vec![2; 50]).0;
            }
            let there = start + VALUE_AT + value.len() as u64 + 70_000;
            written.append([value, vec![3; 90_000]].concat());
            written.file().truncate(there).unwrap();
            let (count, result, operations) = written.judged();
            assert_eq!(count, 1);
            result.unwrap();
            assert!(operations < 100, "{operations} operations");
        }
    }

    #[test]
    fn a_torn_record_may_end_where_the_next_one_was_torn_too() {
        for torn in [0..0, 0..8, 0..20, 4..80, 16..80] {
            let mut written = Written::new();
            written.append(vec![1; 100]);
            let start = written.writer.end();
            let fake = record(start + VALUE_AT, 1 << 40, Digest::ZERO, vec![2; 50]).0;
            written.append([fake, vec![3; 40_000]].concat());
            written.append(vec![4; 1_000]);
            let next = written.starts[2];
            written.flip(next - 100, 0);
            let zeros = vec![0; torn.end - torn.start];
            let file = written.file();
            file.write_at(next + torn.start as u64, &zeros).unwrap();
            // It wasn't written when the torn one was durable.
            file.write_at(next + 32, &[0; 8]).unwrap();
            let (count, result, _) = written.judged();
            assert_eq!(count, 1);
            result.unwrap();
        }
    }

    #[test]
    fn nothing_within_torn_records_behind_a_torn_one_is_taken_for_another() {
        let fake = |position| record(position, 1 << 40, Digest::ZERO, vec![2; 50]).0;
        // Which of the records are torn, in a file that goes on behind the last, ends with it, or within it; and in
        // several files.
        for torn in [&[0, 1][..], &[0, 1, 2], &[0, 2]] {
            for (segment_bytes, cut) in [(SEGMENT_BYTES, None), (SEGMENT_BYTES, Some(0))]
                .into_iter()
                .chain([(SEGMENT_BYTES, Some(1_000)), (50_000, None)])
            {
                let mut written = Written::with_segments_of(segment_bytes);
                written.append(vec![1; 100]);
                let durable = written.writer.end();
                // None of these was synced.
                let mut damaged = Vec::new();
                for i in 0..3 {
                    let (start, link) = (written.writer.end(), written.writer.link());
                    let value = [fake(start + VALUE_AT), vec![3; 40_000]].concat();
                    let (bytes, checksum) = record(start, durable, link, value);
                    written.writer.append(&bytes, checksum).unwrap();
                    if torn.contains(&i) {
                        damaged.push(written.writer.end() - 100);
                    }
                }
                damaged.into_iter().for_each(|at| written.flip(at, 0));
                if let Some(cut) = cut {
                    let end = written.writer.end();
                    written.file().truncate(end - cut).unwrap();
                }
                let (count, result, operations) = written.judged();
                assert_eq!(count, 1);
                assert!(
                    result.is_ok(),
                    "{torn:?}, {segment_bytes}, {cut:?}: {result:?}"
                );
                assert!(operations < 200, "{operations} operations");
            }
        }
    }

    #[test]
    fn a_durable_record_is_missed_though_the_ones_behind_it_are_damaged_too() {
        let mut written = Written::new();
        for value in 0..5 {
            written.append(vec![value; 1_000]);
        }
        for damaged in [1, 2, 3] {
            written.flip(written.starts[damaged] + VALUE_AT, 0);
            let (count, result, _) = written.judged();
            assert_eq!(count, 1);
            assert!(
                matches!(result, Err(StoreError::Corrupt { .. })),
                "{damaged}: {result:?}"
            );
        }
    }

    #[test]
    fn a_wrong_bit_of_a_length_is_found_whatever_the_record_holds() {
        // 150 KB of headers, and two bits of the length that leads behind the file's end.
        for bit in [18, 20] {
            let mut written = Written::new();
            written.append(vec![1; 100]);
            let value = fakes(written.writer.end() + VALUE_AT, 1_900, 60_000);
            written.append(value);
            written.append(vec![3; 100]);
            written.append(vec![4; 100]);
            written.flip(written.starts[1] + 40 + bit / 8, (bit % 8) as u8);
            let (count, result, operations) = written.judged();
            assert_eq!(count, 1);
            let Err(StoreError::Corrupt { what, .. }) = &result else {
                panic!("{bit}: {result:?}");
            };
            assert!(what.contains("length"), "{what}");
            assert!(operations < 100, "{operations} operations");
        }
    }

    #[test]
    fn what_begins_like_a_record_costs_no_more_than_to_read_it() {
        let mut written = Written::new();
        written.append(vec![1; 100]);
        written.append(MAGIC.repeat(30_000));
        written.flip(written.starts[1], 0);
        let (count, result, operations) = written.judged();
        assert_eq!(count, 1);
        result.unwrap();
        assert!(operations < 20, "{operations} operations");
    }

    #[test]
    fn a_durable_record_is_missed_however_many_bits_of_its_length_are_wrong() {
        // The body has 1,028 bytes, 0x404. So it seems to end a little later, amid the record behind, where zeros are,
        // behind the file's end, and where it begins.
        for wrong in [0x3, 0x300, 0x6000, 0xc0000, 0x404] {
            for is_last in [false, true] {
                let mut written = Written::new();
                for value in 0..4 {
                    written.append(vec![value; 1_000]);
                }
                let damaged = written.starts[if is_last { 2 } else { 1 }] + 40;
                let bits = (0..64).filter(|bit| wrong & (1u64 << bit) != 0);
                bits.for_each(|bit| written.flip(damaged + bit / 8, (bit % 8) as u8));
                let (count, result, _) = written.judged();
                assert_eq!(count, if is_last { 2 } else { 1 });
                assert!(
                    matches!(result, Err(StoreError::Corrupt { .. })),
                    "{wrong:x}: {result:?}"
                );
            }
        }
    }

    #[test]
    fn a_segment_that_was_torn_before_its_records_end_has_no_more_of_them() {
        let mut written = Written::with_segments_of(3_000);
        for value in 0..4 {
            written.append(vec![value; 1_000]);
        }
        assert_eq!(written.log.segments().len(), 2);
        // Amid the first of two records that were never synced; nothing of the next segment arrived.
        written.file().truncate(written.starts[0] + 500).unwrap();
        written.flip(written.starts[2], 0);
        written.flip(written.starts[3], 0);
        let (count, result, _) = written.judged();
        assert_eq!(count, 0);
        result.unwrap();
    }

    #[test]
    fn a_length_that_leads_amid_another_record_is_not_believed() {
        let mut written = Written::new();
        for value in 0..4 {
            written.append(vec![value; 1_000]);
        }
        // Two bits of the length, and one of the version: no other length makes it whole.
        for (at, bit) in [(41, 0), (41, 1), (24, 5)] {
            written.flip(written.starts[2] + at, bit);
        }
        let (count, result, _) = written.judged();
        assert_eq!(count, 2);
        assert!(
            matches!(result, Err(StoreError::Corrupt { .. })),
            "{result:?}"
        );
    }

    #[test]
    fn records_laid_over_each_other_are_refused_and_not_read_for_ever() {
        for (headers, refused) in [(8, false), (1_000, true)] {
            let mut written = Written::new();
            written.append(vec![1; 100]);
            let value = fakes(written.writer.end() + VALUE_AT, headers, 60_000);
            written.append([value, vec![3; 90_000]].concat());
            // Nobody knows any more where the record ends.
            written.flip(written.starts[1], 0);
            let (count, result, operations) = written.judged();
            assert_eq!((count, result.is_err()), (1, refused), "{result:?}");
            assert!(operations < 200, "{operations} operations");
        }
    }

    #[test]
    fn whole_records_behind_a_torn_one_are_cut_with_all_that_they_hold() {
        let mut written = Written::new();
        written.append(vec![1; 100]);
        let durable = written.writer.end();
        for i in 0..40 {
            let (start, link) = (written.writer.end(), written.writer.link());
            let value = fakes(start + VALUE_AT, 40, 3_000);
            // None of these was synced.
            let (bytes, checksum) = record(start, durable, link, value);
            written.writer.append(&bytes, checksum).unwrap();
            if i == 0 {
                written.flip(start, 0);
            }
        }
        let (count, result, _) = written.judged();
        assert_eq!(count, 1);
        // What the torn one holds is read, once.
        result.unwrap();
    }

    #[test]
    fn a_durable_record_is_missed_whichever_bit_of_its_header_is_wrong() {
        let mut written = Written::new();
        for value in 0..3 {
            written.append(vec![value; 1_000]);
        }
        for bit in 0..8 * HEADER_BYTES as u64 {
            written.flip(written.starts[1] + bit / 8, (bit % 8) as u8);
            let (count, result, _) = written.judged();
            assert_eq!(count, 1);
            assert!(
                matches!(result, Err(StoreError::Corrupt { .. })),
                "bit {bit}: {result:?}"
            );
            written.flip(written.starts[1] + bit / 8, (bit % 8) as u8);
        }
        let (count, result, _) = written.judged();
        assert_eq!(count, 3);
        result.unwrap();
    }
}
