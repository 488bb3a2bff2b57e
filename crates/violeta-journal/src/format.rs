//! The journal's bytes: what a segment's file begins with, and how a record is framed.
//!
//! ```text
//!  segment file   ┌──────────────── 64 bytes ─────────────────┬─────────┬─────────┬─ ─ ─┬───────────────┐
//!  0000000003.    │ magic  format  directory  number  first  crc │ record  │ record  │     │ zeros, to the │
//!  journal        │   8      4        32        8       8     4  │         │         │     │ segment's end │
//!                 └───────────────────────────────────────────┴─────────┴─────────┴─ ─ ─┴───────────────┘
//!  record         ┌─ len ─┬─ unsynced ─┬─ kind ─┬─ header crc ─┬─ body crc ─┬─ bytes ─ ─ ─┐
//!                 │   4   │     4      │   1    │      4       │     4      │     len     │
//!                 └───────┴────────────┴────────┴──────────────┴────────────┴─ ─ ─ ─ ─ ─ ─┘
//! ```
//!
//! Numbers are little-endian. A **position** counts the bytes of records from the journal's beginning, headers of
//! segments left out: the record at position `p` begins at byte `64 + p − first` of the segment that holds it.
//!
//! - The header's checksum covers the directory's id and the record's position too: a record of another journal, or one
//!   that lies where it doesn't belong, is no record. The body's continues from the header's.
//! - `unsynced` is the distance back to where the journal was synced up to when the record was made. So a good record
//!   testifies that everything before that point had been durable: what is bad there isn't a torn write but damage.
//! - Kind 0 is no record's: the zeros after the last record can't be read as one.

use crc32fast::Hasher;
use violeta_types::Digest;

/// Bytes of a record, at most.
pub const RECORD_BYTES_MAX: usize = 16 << 20;
/// The format that this code writes; it reads no other.
pub const FORMAT_VERSION: u32 = 1;
/// Bytes before a segment's first record.
pub(crate) const SEGMENT_HEADER_BYTES: usize = 64;
/// Bytes before a record's own.
pub(crate) const FRAME_HEADER_BYTES: usize = 17;
/// Where in it the kind is.
pub(crate) const FRAME_KIND_OFFSET: usize = 8;

const MAGIC: [u8; 8] = *b"VIOLETAJ";
const CHECKED_BYTES: usize = SEGMENT_HEADER_BYTES - 4;

const _: () = assert!(CHECKED_BYTES == 8 + 4 + 32 + 8 + 8);
const _: () = assert!(RECORD_BYTES_MAX + FRAME_HEADER_BYTES < u32::MAX as usize);

/// What a segment's file says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SegmentHeader {
    pub(crate) directory: Digest,
    pub(crate) number: u64,
    /// Position of its first record.
    pub(crate) first: u64,
}

/// Why a segment's header can't be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BadHeader {
    NotASegment,
    Damaged,
    OtherFormat(u32),
}

impl SegmentHeader {
    pub(crate) fn encode(&self) -> [u8; SEGMENT_HEADER_BYTES] {
        let mut bytes = [0; SEGMENT_HEADER_BYTES];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..12].copy_from_slice(&FORMAT_VERSION.to_le_bytes());
        bytes[12..44].copy_from_slice(self.directory.as_ref());
        bytes[44..52].copy_from_slice(&self.number.to_le_bytes());
        bytes[52..60].copy_from_slice(&self.first.to_le_bytes());
        let crc = crc32fast::hash(&bytes[..CHECKED_BYTES]);
        bytes[CHECKED_BYTES..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// Magic, checksum and format lie at the same place in every format to come.
    pub(crate) fn decode(bytes: &[u8; SEGMENT_HEADER_BYTES]) -> Result<Self, BadHeader> {
        if bytes[..8] != MAGIC {
            return Err(BadHeader::NotASegment);
        }
        if crc32fast::hash(&bytes[..CHECKED_BYTES]) != u32_at(bytes, CHECKED_BYTES) {
            return Err(BadHeader::Damaged);
        }
        let format = u32_at(bytes, 8);
        if format != FORMAT_VERSION {
            return Err(BadHeader::OtherFormat(format));
        }
        Ok(SegmentHeader {
            directory: Digest(array_at(bytes, 12)),
            number: u64::from_le_bytes(array_at(bytes, 44)),
            first: u64::from_le_bytes(array_at(bytes, 52)),
        })
    }
}

/// A record's header that was checked: it belongs to this journal and to this position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FrameHeader {
    pub(crate) kind: u8,
    /// Bytes of the record's own; at most [`RECORD_BYTES_MAX`].
    pub(crate) len: usize,
    /// The journal was durable up to here when the record was made.
    pub(crate) synced: u64,
    /// Where the next record begins.
    pub(crate) end: u64,
    header_crc: u32,
    body_crc: u32,
}

impl FrameHeader {
    /// Whether these are the bytes that the header was made for.
    pub(crate) fn covers(&self, body: &[u8]) -> bool {
        let mut hasher = Hasher::new_with_initial(self.header_crc);
        hasher.update(body);
        body.len() == self.len && hasher.finalize() == self.body_crc
    }
}

/// Makes and checks the frames of one journal.
#[derive(Clone, Debug)]
pub(crate) struct Framer {
    /// Has seen the directory's id.
    seed: Hasher,
}

impl Framer {
    pub(crate) fn new(directory: &Digest) -> Self {
        let mut seed = Hasher::new();
        seed.update(directory.as_ref());
        Framer { seed }
    }

    /// Appends a record at `position` to `out`, the journal being durable up to `synced`.
    pub(crate) fn encode(
        &self,
        position: u64,
        synced: u64,
        kind: u8,
        parts: &[&[u8]],
        out: &mut Vec<u8>,
    ) {
        let len: usize = parts.iter().map(|part| part.len()).sum();
        assert!(kind != 0, "kind 0 is no record's");
        assert!(len <= RECORD_BYTES_MAX, "a record of {len} bytes");
        assert!(synced <= position, "durable beyond what was written");
        assert!(
            position - synced <= u64::from(u32::MAX),
            "unsynced for too long"
        );
        let start = out.len();
        out.extend_from_slice(&(len as u32).to_le_bytes());
        out.extend_from_slice(&((position - synced) as u32).to_le_bytes());
        out.push(kind);
        let header_crc = self.header_crc(position, &out[start..]);
        out.extend_from_slice(&header_crc.to_le_bytes());
        let mut hasher = Hasher::new_with_initial(header_crc);
        parts.iter().for_each(|part| hasher.update(part));
        out.extend_from_slice(&hasher.finalize().to_le_bytes());
        parts.iter().for_each(|part| out.extend_from_slice(part));
        assert_eq!(out.len(), start + FRAME_HEADER_BYTES + len);
    }

    /// The header of a record at `position`; none if these bytes aren't one.
    pub(crate) fn decode(
        &self,
        position: u64,
        bytes: &[u8; FRAME_HEADER_BYTES],
    ) -> Option<FrameHeader> {
        let len = u32_at(bytes, 0) as usize;
        let kind = bytes[FRAME_KIND_OFFSET];
        // The cheap checks first: recovery tries this at every byte of a tail.
        if kind == 0 || len > RECORD_BYTES_MAX {
            return None;
        }
        let synced = position.checked_sub(u64::from(u32_at(bytes, 4)))?;
        let end = position.checked_add((FRAME_HEADER_BYTES + len) as u64)?;
        let header_crc = u32_at(bytes, 9);
        if self.header_crc(position, &bytes[..9]) != header_crc {
            return None;
        }
        Some(FrameHeader {
            kind,
            len,
            synced,
            end,
            header_crc,
            body_crc: u32_at(bytes, 13),
        })
    }

    fn header_crc(&self, position: u64, fields: &[u8]) -> u32 {
        debug_assert_eq!(fields.len(), 9);
        let mut hasher = self.seed.clone();
        hasher.update(&position.to_le_bytes());
        hasher.update(fields);
        hasher.finalize()
    }
}

fn array_at<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut array = [0; N];
    array.copy_from_slice(&bytes[at..at + N]);
    array
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(array_at(bytes, at))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> SegmentHeader {
        SegmentHeader {
            directory: Digest([7; 32]),
            number: 3,
            first: 1_000,
        }
    }

    #[test]
    fn a_segment_header_has_these_bytes() {
        let bytes = header().encode();
        assert_eq!(&bytes[..12], b"VIOLETAJ\x01\0\0\0");
        assert_eq!(bytes[12..44], [7; 32]);
        assert_eq!(
            bytes[44..60],
            [3, 0, 0, 0, 0, 0, 0, 0, 0xe8, 3, 0, 0, 0, 0, 0, 0]
        );
        assert_eq!(bytes[60..], crc32(&bytes[..60], 0).to_le_bytes());
        assert_eq!(SegmentHeader::decode(&bytes), Ok(header()));
    }

    #[test]
    fn a_record_has_these_bytes() {
        let mut bytes = vec![];
        let framer = Framer::new(&Digest([7; 32]));
        framer.encode(0x0102, 0x0100, 9, &[b"ab", b"", b"c"], &mut bytes);
        assert_eq!(bytes[..9], [3, 0, 0, 0, 2, 0, 0, 0, 9]);
        let mut bound = vec![7; 32];
        bound.extend_from_slice(&[2, 1, 0, 0, 0, 0, 0, 0]);
        bound.extend_from_slice(&bytes[..9]);
        let header_crc = crc32(&bound, 0);
        assert_eq!(bytes[9..13], header_crc.to_le_bytes());
        assert_eq!(bytes[13..17], crc32(b"abc", header_crc).to_le_bytes());
        assert_eq!(&bytes[17..], b"abc");
    }

    /// CRC-32 (IEEE) by the bit, from its definition.
    fn crc32(bytes: &[u8], initial: u32) -> u32 {
        let mut crc = !initial;
        for &byte in bytes {
            crc ^= u32::from(byte);
            for _ in 0..8 {
                crc = (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg());
            }
        }
        !crc
    }

    #[test]
    fn any_flipped_bit_of_a_segment_header_is_seen() {
        for bit in 0..SEGMENT_HEADER_BYTES * 8 {
            let mut bytes = header().encode();
            bytes[bit / 8] ^= 1 << (bit % 8);
            let expected = if bit < 64 {
                BadHeader::NotASegment
            } else {
                BadHeader::Damaged
            };
            assert_eq!(SegmentHeader::decode(&bytes), Err(expected), "bit {bit}");
        }
    }

    #[test]
    fn a_newer_format_is_named() {
        let mut bytes = header().encode();
        bytes[8] = 2;
        let crc = crc32fast::hash(&bytes[..60]);
        bytes[60..].copy_from_slice(&crc.to_le_bytes());
        let error = SegmentHeader::decode(&bytes).unwrap_err();
        assert_eq!(error, BadHeader::OtherFormat(2));
    }

    #[test]
    fn a_record_elsewhere_or_of_another_journal_is_none() {
        let framer = Framer::new(&Digest([7; 32]));
        let mut bytes = vec![];
        framer.encode(500, 400, 1, &[b"body"], &mut bytes);
        let frame: [u8; FRAME_HEADER_BYTES] = array_at(&bytes, 0);
        let good = framer.decode(500, &frame).unwrap();
        assert_eq!(
            (good.kind, good.len, good.synced, good.end),
            (1, 4, 400, 521)
        );
        assert!(good.covers(b"body"));
        assert!(!good.covers(b"bodz") && !good.covers(b"bod") && !good.covers(b"body\0"));
        for position in (100..1_000).filter(|p| *p != 500) {
            assert_eq!(framer.decode(position, &frame), None);
        }
        assert_eq!(Framer::new(&Digest([8; 32])).decode(500, &frame), None);
    }

    #[test]
    fn zeros_are_no_record() {
        let framer = Framer::new(&Digest::ZERO);
        assert!((0..10_000).all(|p| framer.decode(p, &[0; FRAME_HEADER_BYTES]).is_none()));
    }
}
