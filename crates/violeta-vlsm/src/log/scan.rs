//! Reading the log record by record, and telling a torn tail from corruption (vlsm.md §5).

use bytes::Bytes;
use violeta_journal::OpenMode;
use violeta_types::Digest;

use super::record::{HEADER_BYTES, Header, MAGIC, Record};
use super::{Log, Segment};
use crate::error::StoreError;

/// Bytes read at once while looking for records behind a bad one.
const WINDOW_BYTES: usize = 1 << 20;

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
    /// # Errors
    /// [`StoreError::Corrupt`] if so. Else what follows was never acknowledged, and may be cut.
    pub(crate) fn require_tail(&self) -> Result<(), StoreError> {
        let segments = self.log.segments();
        let first = segments.partition_point(|segment| segment.start <= self.position);
        for segment in &segments[first.saturating_sub(1)..] {
            let from = self.position.saturating_sub(segment.start);
            if let Some(witness) = self.witness(*segment, from)? {
                let what = format!(
                    "a record that was durable is damaged: version {} was written after it",
                    witness.version
                );
                return Err(self.log.corrupt(self.position, what));
            }
        }
        Ok(())
    }

    /// A good record in a segment, from an offset on, which was written when this position was durable.
    fn witness(&self, segment: Segment, from: u64) -> Result<Option<Header>, StoreError> {
        let path = self.log.path(segment);
        let file = self.log.disk.open(&path, OpenMode::Existing)?;
        let end = file.len()?;
        let mut at = from;
        while at + (HEADER_BYTES as u64) <= end {
            let len = (end - at).min(WINDOW_BYTES as u64) as usize;
            let mut window = vec![0; len];
            file.read_at(at, &mut window)?;
            for offset in occurrences(&window) {
                let position = segment.start + at + offset as u64;
                if let Some(record) = self.log.record_at(position)?
                    && self.era.is_none_or(|era| record.header.era == era)
                    && record.header.durable > self.position
                {
                    return Ok(Some(record.header));
                }
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

impl Log {
    /// The record at `position`; none if there is no good one.
    pub(crate) fn record_at(&self, position: u64) -> Result<Option<Record>, StoreError> {
        let Some(segment) = self.segment_of(position) else {
            return Ok(None);
        };
        let file = self.disk.open(&self.path(segment), OpenMode::Existing)?;
        let (offset, end) = (position - segment.start, file.len()?);
        if end.saturating_sub(offset) < HEADER_BYTES as u64 {
            return Ok(None);
        }
        let mut header = [0; HEADER_BYTES];
        file.read_at(offset, &mut header)?;
        let Some(header) = Header::decode(&header) else {
            return Ok(None);
        };
        let len = header.record_bytes();
        if header.position != position || (len as u64) > end - offset {
            return Ok(None);
        }
        let mut bytes = vec![0; len];
        file.read_at(offset, &mut bytes)?;
        Ok(Record::decode(Bytes::from(bytes)))
    }
}
