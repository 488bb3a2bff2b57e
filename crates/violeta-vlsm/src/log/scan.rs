//! Reading the log record by record, and telling a torn tail from corruption (vlsm.md §5).

use std::sync::Arc;

use bytes::Bytes;
use violeta_journal::{DiskFile, OpenMode};
use violeta_types::Digest;

use super::record::{HEADER_BYTES, Header, MAGIC, Record};
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
    /// long it is, nothing within is looked at; and of what looks like a record and isn't one, only so much is read.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] if so. Else what follows was never acknowledged, and may be cut.
    pub(crate) fn require_tail(&self) -> Result<(), StoreError> {
        let from = self.behind()?;
        let mut budget = TAIL_READS_MAX * self.tail_bytes()?;
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

    /// How much there is from where the scan ended on.
    fn tail_bytes(&self) -> Result<u64, StoreError> {
        let mut bytes = 0;
        for segment in self.segments_from(self.position) {
            let path = self.log.path(segment);
            let len = self.log.disk.open(&path, OpenMode::Existing)?.len()?;
            bytes += len.saturating_sub(self.position.saturating_sub(segment.start));
        }
        Ok(bytes)
    }

    /// Behind the bad record, if its header is that of the record that should be here; else where it begins.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] if the header's length is what is wrong with it, in one bit.
    fn behind(&self) -> Result<u64, StoreError> {
        let Some((header, room)) = self.log.header_at(self.position)? else {
            return Ok(self.position);
        };
        let known_era = self.era.is_none_or(|era| header.era == era);
        if !known_era || header.link != self.link {
            return Ok(self.position);
        }
        for bit in 0..u64::BITS {
            let body_bytes = header.body_bytes ^ 1 << bit;
            let other = Header {
                body_bytes,
                ..header
            };
            if body_bytes <= room && self.is_whole(&other)? {
                let what = "the length of a record that was durable is damaged";
                return Err(self.log.corrupt(self.position, what));
            }
        }
        Ok(self.position + header.record_bytes() as u64)
    }

    /// Whether there would be a good record here, with the next one behind it, if the header were `header`.
    fn is_whole(&self, header: &Header) -> Result<bool, StoreError> {
        let end = self.position + header.record_bytes() as u64;
        let next = self.log.header_at(end)?;
        let is_last = self.log.segments().iter().any(|next| next.start == end);
        if next.is_none() && !is_last {
            return Ok(false);
        }
        let Some(bytes) = self.log.bytes_at(self.position, header.record_bytes())? else {
            return Ok(false);
        };
        Ok(Record::decode(header.put_before(&bytes)).is_some())
    }

    /// A good record in a segment, from an offset on, which was written when this position was durable.
    fn witness(
        &self,
        segment: Segment,
        from: u64,
        budget: &mut u64,
    ) -> Result<Option<Header>, StoreError> {
        let path = self.log.path(segment);
        let file = self.log.disk.open(&path, OpenMode::Existing)?;
        let (mut at, end) = (from, file.len()?);
        'windows: while at + (HEADER_BYTES as u64) <= end {
            let len = (end - at).min(WINDOW_BYTES as u64) as usize;
            let mut window = vec![0; len];
            file.read_at(at, &mut window)?;
            for offset in occurrences(&window) {
                let position = segment.start + at + offset as u64;
                let Some((header, _)) = self.log.header_at(position)? else {
                    continue;
                };
                if self.era.is_some_and(|era| header.era != era) {
                    continue;
                }
                let bytes = header.record_bytes() as u64;
                if self.log.record_at(position)?.is_none() {
                    *budget = budget.saturating_sub(bytes);
                    if *budget == 0 {
                        let what =
                            "too many damaged records behind it to tell whether it was durable";
                        return Err(self.log.corrupt(self.position, what));
                    }
                    continue;
                }
                if header.durable > self.position {
                    return Ok(Some(header));
                }
                at += offset as u64 + bytes;
                continue 'windows;
            }
            // The magic may lie across the border of two windows.
            at += (len - MAGIC.len() + 1) as u64;
        }
        Ok(None)
    }
}

/// Where the magic begins in `window`.
fn occurrences(window: &[u8]) -> impl Iterator<Item = usize> {
    window
        .windows(MAGIC.len())
        .enumerate()
        .filter(|(_, bytes)| *bytes == MAGIC)
        .map(|(offset, _)| offset)
}

/// A place in a file, and how much there is from there on.
struct FilePlace {
    file: Arc<dyn DiskFile>,
    offset: u64,
    room: u64,
}

impl Log {
    /// The record at `position`; none if there is no good one.
    pub(crate) fn record_at(&self, position: u64) -> Result<Option<Record>, StoreError> {
        let Some((header, _)) = self.header_at(position)? else {
            return Ok(None);
        };
        let bytes = self.bytes_at(position, header.record_bytes())?;
        Ok(bytes.and_then(|bytes| Record::decode(Bytes::from(bytes))))
    }

    /// The header at `position`, and how much there is from there to its segment's end; none if there is no header of
    /// a record that would lie here and be no longer than that.
    fn header_at(&self, position: u64) -> Result<Option<(Header, u64)>, StoreError> {
        let Some(FilePlace { file, offset, room }) = self.place(position)? else {
            return Ok(None);
        };
        if room < HEADER_BYTES as u64 {
            return Ok(None);
        }
        let mut header = [0; HEADER_BYTES];
        file.read_at(offset, &mut header)?;
        let fits =
            |header: &Header| header.position == position && header.record_bytes() as u64 <= room;
        let header = Header::decode(&header).filter(fits);
        Ok(header.map(|header| (header, room)))
    }

    /// Bytes from `position` on; none if its segment has fewer.
    fn bytes_at(&self, position: u64, len: usize) -> Result<Option<Vec<u8>>, StoreError> {
        let Some(FilePlace { file, offset, room }) = self.place(position)? else {
            return Ok(None);
        };
        if room < len as u64 {
            return Ok(None);
        }
        let mut bytes = vec![0; len];
        file.read_at(offset, &mut bytes)?;
        Ok(Some(bytes))
    }

    /// The place of a position; none if no segment has it.
    fn place(&self, position: u64) -> Result<Option<FilePlace>, StoreError> {
        let Some(segment) = self.segment_of(position) else {
            return Ok(None);
        };
        let file = self.disk.open(&self.path(segment), OpenMode::Existing)?;
        let offset = position - segment.start;
        let room = file.len()?.saturating_sub(offset);
        Ok(Some(FilePlace { file, offset, room }))
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Draft, LogWriter};
    use super::*;
    use crate::batch::Batch;
    use violeta_journal::{FaultyDisk, MemoryDisk};
    use violeta_types::Height;

    const SEGMENT_BYTES: u64 = 256 << 10;
    const FILE: &str = "log-00000000-0000000000000000";
    /// Where a record's only value begins: behind the header, a space with a name of one byte, an operation's header, and
    /// a key of one byte.
    const VALUE_AT: u64 = 80 + 2 + 1 + 4 + 20 + 1;

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
        writer: LogWriter,
        starts: Vec<u64>,
    }

    impl Written {
        fn new() -> Self {
            let disk = MemoryDisk::new();
            let log = Arc::new(Log::new(Arc::new(disk.clone()), "", Vec::new()));
            Written {
                writer: LogWriter::new(log, SEGMENT_BYTES, 0, 0, Digest::ZERO),
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
            let segments = vec![Segment { start: 0, era: 0 }];
            let log = Log::new(Arc::new(faulty.clone()), "", segments);
            let mut scan = Scan::new(&log, 0, Digest::ZERO, Some(0));
            let mut count = 0;
            while scan.next().unwrap().is_some() {
                count += 1;
            }
            let before = faulty.operations();
            let result = scan.require_tail();
            (count, result, faulty.operations() - before)
        }

        fn flip(&self, offset: u64, bit: u8) {
            self.disk.flip_bit(FILE, offset, bit).unwrap();
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
