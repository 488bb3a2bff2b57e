//! One version in the log.
//!
//! ```text
//!  record     header 80 │ space … │ root 32 │ checksum 32         checksum = H_file(all before it)
//!
//!  header     magic 8 │ position │ era │ version │ durable │ body bytes │ checksum of the record before 32
//!  space      action u8 │ name length u8 │ name │ operations u32 │ operation …
//!  operation  crc32 u32 │ previous: position u64, bytes u32 │ back u32 │ key length u32 │ value length u32 │ key │ value
//! ```
//!
//! Numbers are little-endian, 64 bits where nothing else is said. `durable` is the position up to which the log was
//! synced when the record was made. `previous` is the operation that wrote the key's last value, its position all ones if
//! the key had none; `back` is how far before the operation its record begins; a value length of all ones deletes.
//!
//! An operation's own checksum, of its position and all that follows, is for those who come by `previous`: no digest of a
//! tree tells them what they should find.

use bytes::Bytes;
use violeta_proof::tree::KeyPath;
use violeta_types::{Digest, Domain, Height};

use crate::batch::{Action, KeyChange, SpaceChanges};
use crate::limits::{BATCH_BYTES_MAX, BATCH_OPERATIONS_MAX, STORE_KEY_BYTES_MAX};
use crate::tree::{Entry, take};

pub(crate) const MAGIC: [u8; 8] = *b"vlsmlog1";
pub(crate) const HEADER_BYTES: usize = 80;
const TRAILER_BYTES: usize = 64;
/// Bytes of a record of nothing.
pub(crate) const RECORD_BYTES_MIN: usize = HEADER_BYTES + TRAILER_BYTES;
const OPERATION_HEADER_BYTES: usize = 28;
const CRC_BYTES: usize = 4;
/// Bytes between header and trailer, at most: a name for every operation would be within it.
const BODY_BYTES_MAX: usize = BATCH_BYTES_MAX + 40 * BATCH_OPERATIONS_MAX;
const DELETED: u32 = u32::MAX;
/// The position of `previous` of an operation on a key that had no value.
const NO_PREVIOUS: u64 = u64::MAX;

/// A record's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) position: u64,
    pub(crate) era: u64,
    pub(crate) version: Height,
    pub(crate) durable: u64,
    pub(crate) body_bytes: u64,
    pub(crate) link: Digest,
}

impl Header {
    /// None if the bytes are no header of a record within the limits.
    pub(crate) fn decode(mut bytes: &[u8]) -> Option<Self> {
        let bytes = &mut bytes;
        let mut number = || Some(u64::from_le_bytes(take(bytes)?));
        (number()?.to_le_bytes() == MAGIC).then_some(())?;
        let (position, era, version) = (number()?, number()?, Height(number()?));
        let (durable, body_bytes) = (number()?, number()?);
        let link = Digest(take(bytes)?);
        (body_bytes <= BODY_BYTES_MAX as u64).then_some(Header {
            position,
            era,
            version,
            durable,
            body_bytes,
            link,
        })
    }

    fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut out = [0; HEADER_BYTES];
        out[..8].copy_from_slice(&MAGIC);
        let (position, era, version) = (self.position, self.era, self.version.0);
        let numbers = [position, era, version, self.durable, self.body_bytes];
        for (to, number) in out[8..48].chunks_exact_mut(8).zip(numbers) {
            to.copy_from_slice(&number.to_le_bytes());
        }
        out[48..].copy_from_slice(&self.link.0);
        out
    }

    /// What the next record's header begins with, if it begins at `position`.
    pub(crate) fn begins_next(&self, position: u64) -> [u8; 24] {
        let mut out = [0; 24];
        out[..8].copy_from_slice(&MAGIC);
        out[8..16].copy_from_slice(&position.to_le_bytes());
        out[16..].copy_from_slice(&self.era.to_le_bytes());
        out
    }

    /// The record whose bytes are `record`, with this header instead of its own.
    pub(crate) fn put_before(&self, record: &[u8]) -> Bytes {
        let rest = record.get(HEADER_BYTES..).unwrap_or_default();
        [&self.encode()[..], rest].concat().into()
    }

    /// Bytes of the whole record.
    pub(crate) fn record_bytes(&self) -> usize {
        RECORD_BYTES_MIN + self.body_bytes as usize
    }
}

/// A record in the making: all but the header and the trailer.
#[derive(Debug, Default)]
pub(crate) struct Draft {
    position: u64,
    bytes: Vec<u8>,
}

impl Draft {
    /// A record that will begin at `position`, in `buffer`.
    pub(crate) fn new(position: u64, mut buffer: Vec<u8>) -> Self {
        buffer.clear();
        buffer.resize(HEADER_BYTES, 0);
        Draft {
            position,
            bytes: buffer,
        }
    }

    /// Appends a space's changes, and to `entries`, for each operation, where it is: each has to be completed
    /// ([`Self::complete`]).
    pub(crate) fn space(&mut self, changes: &SpaceChanges<'_>, entries: &mut Vec<Entry>) {
        self.bytes.push(changes.action as u8);
        // Both lengths were checked when the batch was brought to this form.
        self.bytes.push(changes.name.len() as u8);
        self.bytes.extend_from_slice(&changes.name);
        let sizes = changes.keys.iter().map(|change| {
            OPERATION_HEADER_BYTES + change.key.len() + change.value.map_or(0, <[u8]>::len)
        });
        self.bytes.reserve(sizes.sum::<usize>() + TRAILER_BYTES + 4);
        let count = changes.keys.len() as u32;
        self.bytes.extend_from_slice(&count.to_le_bytes());
        entries.extend(changes.keys.iter().map(|change| self.operation(change)));
    }

    fn operation(&mut self, change: &KeyChange<'_>) -> Entry {
        let back = self.bytes.len();
        let value_len = change.value.map_or(DELETED, |v| v.len() as u32);
        self.bytes.extend_from_slice(&[0; CRC_BYTES]);
        self.bytes.extend_from_slice(&NO_PREVIOUS.to_le_bytes());
        self.bytes.extend_from_slice(&0u32.to_le_bytes());
        self.bytes.extend_from_slice(&(back as u32).to_le_bytes());
        let key_len = change.key.len() as u32;
        self.bytes.extend_from_slice(&key_len.to_le_bytes());
        self.bytes.extend_from_slice(&value_len.to_le_bytes());
        self.bytes.extend_from_slice(change.key);
        if let Some(value) = change.value {
            self.bytes.extend_from_slice(value);
        }
        Entry {
            path: change.path,
            position: self.position + back as u64,
            len: (self.bytes.len() - back) as u32,
        }
    }

    /// Completes the operation `entry`: says which one its key had its value from before, and sums it up.
    pub(crate) fn complete(&mut self, entry: &Entry, previous: Option<&Entry>) {
        let at = (entry.position - self.position) as usize;
        let operation = &mut self.bytes[at..at + entry.len as usize];
        if let Some(previous) = previous {
            operation[4..12].copy_from_slice(&previous.position.to_le_bytes());
            operation[12..16].copy_from_slice(&previous.len.to_le_bytes());
        }
        let crc = crc_at(entry.position, &operation[CRC_BYTES..]);
        operation[..CRC_BYTES].copy_from_slice(&crc.to_le_bytes());
    }

    /// The whole record, and its checksum.
    pub(crate) fn finish(
        mut self,
        era: u64,
        version: Height,
        durable: u64,
        link: Digest,
        root: &Digest,
    ) -> (Vec<u8>, Digest) {
        let header = Header {
            position: self.position,
            era,
            version,
            durable,
            body_bytes: (self.bytes.len() - HEADER_BYTES) as u64,
            link,
        };
        assert!(
            header.body_bytes <= BODY_BYTES_MAX as u64,
            "batches are bounded"
        );
        self.bytes[..HEADER_BYTES].copy_from_slice(&header.encode());
        self.bytes.extend_from_slice(&root.0);
        let checksum = Domain::File.hash(&self.bytes);
        self.bytes.extend_from_slice(&checksum.0);
        assert_eq!(self.bytes.len(), header.record_bytes());
        (self.bytes, checksum)
    }
}

/// A whole record whose checksum is right.
#[derive(Debug)]
pub(crate) struct Record {
    pub(crate) header: Header,
    pub(crate) root: Digest,
    pub(crate) checksum: Digest,
    body: Bytes,
}

impl Record {
    /// None if the bytes aren't exactly one record with the right checksum.
    pub(crate) fn decode(bytes: Bytes) -> Option<Self> {
        let header = Header::decode(&bytes)?;
        (bytes.len() == header.record_bytes()).then_some(())?;
        let checksum_at = bytes.len() - 32;
        let checksum = Domain::File.hash(&bytes[..checksum_at]);
        (bytes[checksum_at..] == checksum.0).then_some(())?;
        let mut root = &bytes[checksum_at - 32..checksum_at];
        Some(Record {
            header,
            root: Digest(take(&mut root)?),
            checksum,
            body: bytes.slice(HEADER_BYTES..checksum_at - 32),
        })
    }

    /// What the version changed, and where each operation says that its key had its value before; none if the body
    /// isn't what [`Draft`] writes.
    pub(crate) fn changes(&self) -> Option<(Vec<SpaceChanges<'_>>, Vec<Option<OperationAt>>)> {
        let (mut spaces, mut previous) = (Vec::new(), Vec::new());
        let mut at = 0;
        while at < self.body.len() {
            let head = &mut &self.body[at..];
            let [action, name_len] = take(head)?;
            let action = match action {
                0 => Action::Keep,
                1 => Action::Reset,
                2 => Action::Drop,
                _ => return None,
            };
            let name = checked_slice(&self.body, at + 2, usize::from(name_len))?;
            at += 2 + name.len();
            let count = u32::from_le_bytes(take(&mut &self.body[at..])?);
            at += 4;
            let mut keys = Vec::new();
            for _ in 0..count {
                let operation = Operation::decode(self.body.slice(at..))?;
                let bytes = &self.body[at..at + operation.len()];
                let (key, value) = bytes[OPERATION_HEADER_BYTES..].split_at(operation.key.len());
                at += bytes.len();
                previous.push(operation.previous);
                keys.push(KeyChange {
                    path: KeyPath::of(key),
                    key,
                    value: operation.value.map(|_| value),
                });
            }
            let sorted = keys.windows(2).all(|pair| pair[0].path < pair[1].path);
            (sorted && (action != Action::Drop || keys.is_empty())).then_some(())?;
            spaces.push(SpaceChanges {
                path: KeyPath::of(&name),
                name,
                action,
                keys,
            });
        }
        let sorted = spaces.windows(2).all(|pair| pair[0].path < pair[1].path);
        sorted.then_some((spaces, previous))
    }
}

/// The checksum of an operation at a position, from all of it but the checksum.
fn crc_at(position: u64, rest: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&position.to_le_bytes());
    hasher.update(rest);
    hasher.finalize()
}

/// Where an operation is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OperationAt {
    pub(crate) position: u64,
    pub(crate) len: u32,
}

/// One operation as it is read.
#[derive(Debug)]
pub(crate) struct Operation {
    /// Of position and all that follows.
    crc: u32,
    /// Which operation the key had its value from before, if it had one.
    pub(crate) previous: Option<OperationAt>,
    /// How far before it its record begins.
    pub(crate) back: u32,
    pub(crate) key: Bytes,
    pub(crate) value: Option<Bytes>,
}

impl Operation {
    /// Reads the operation that is `bytes` and was written at `position`, if it says so itself.
    pub(crate) fn decode_at(position: u64, bytes: Bytes) -> Option<Self> {
        let crc = crc_at(position, bytes.get(CRC_BYTES..)?);
        let operation = Operation::decode(bytes.clone())?;
        (operation.len() == bytes.len() && operation.crc == crc).then_some(operation)
    }

    /// Reads the operation that `bytes` begin with; none if they begin with something else.
    pub(crate) fn decode(bytes: Bytes) -> Option<Self> {
        let head = &mut &bytes[..];
        let crc = u32::from_le_bytes(take(head)?);
        let (position, len) = (
            u64::from_le_bytes(take(head)?),
            u32::from_le_bytes(take(head)?),
        );
        let back = u32::from_le_bytes(take(head)?);
        let key_len = u32::from_le_bytes(take(head)?) as usize;
        let value_len = u32::from_le_bytes(take(head)?);
        (key_len <= STORE_KEY_BYTES_MAX).then_some(())?;
        let key = checked_slice(&bytes, OPERATION_HEADER_BYTES, key_len)?;
        let value = match value_len {
            DELETED => None,
            len => {
                let start = OPERATION_HEADER_BYTES + key_len;
                Some(checked_slice(&bytes, start, len as usize)?)
            }
        };
        Some(Operation {
            crc,
            previous: (position != NO_PREVIOUS).then_some(OperationAt { position, len }),
            back,
            key,
            value,
        })
    }

    /// Bytes of its encoding.
    pub(crate) fn len(&self) -> usize {
        OPERATION_HEADER_BYTES + self.key.len() + self.value.as_ref().map_or(0, Bytes::len)
    }
}

fn checked_slice(bytes: &Bytes, start: usize, len: usize) -> Option<Bytes> {
    let end = start.checked_add(len)?;
    (end <= bytes.len()).then(|| bytes.slice(start..end))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::Batch;

    fn record() -> (Vec<u8>, Vec<Entry>) {
        let mut batch = Batch::new();
        batch.create_space(b"made");
        batch.put(b"made", b"k", "value");
        batch.drop_space(b"dropped");
        batch.put(b"kept", b"", "");
        batch.delete(b"kept", b"gone");
        let changes = batch.normalise(|name| Ok(name != b"made")).unwrap();
        let mut draft = Draft::new(1_000, Vec::new());
        let mut entries = Vec::new();
        (changes.iter()).for_each(|changes| draft.space(changes, &mut entries));
        let first = Entry {
            position: 77,
            len: 30,
            ..entries[0]
        };
        draft.complete(&entries[0], Some(&first));
        entries[1..]
            .iter()
            .for_each(|entry| draft.complete(entry, None));
        let (bytes, _) = draft.finish(3, Height(9), 500, Digest([5; 32]), &Digest([6; 32]));
        (bytes, entries)
    }

    #[test]
    fn an_operation_is_known_by_itself_at_its_place_and_nowhere_else() {
        let (bytes, entries) = record();
        for entry in entries {
            let start = (entry.position - 1_000) as usize;
            let bytes = &bytes[start..start + entry.len as usize];
            let decode = |position, bytes: &[u8]| {
                Operation::decode_at(position, Bytes::copy_from_slice(bytes)).is_some()
            };
            assert!(decode(entry.position, bytes));
            assert!(!decode(entry.position + 1, bytes));
            assert!(!decode(entry.position, &bytes[..bytes.len() - 1]));
            assert!(!decode(entry.position, &[bytes, &[0]].concat()));
            for bit in 0..8 * bytes.len() {
                let mut bytes = bytes.to_vec();
                bytes[bit / 8] ^= 1 << (bit % 8);
                assert!(!decode(entry.position, &bytes), "{bit}");
            }
        }
    }

    #[test]
    fn a_record_reads_as_it_was_written() {
        let (bytes, entries) = record();
        let record = Record::decode(bytes.clone().into()).unwrap();
        assert_eq!(record.header.version, Height(9));
        assert_eq!((record.header.era, record.header.durable), (3, 500));
        assert_eq!(record.root, Digest([6; 32]));
        let (spaces, previous) = record.changes().unwrap();
        assert_eq!(spaces.len(), 3);
        let first = OperationAt {
            position: 77,
            len: 30,
        };
        assert_eq!(previous, [Some(first), None, None]);
        for (entry, change) in entries.iter().zip(spaces.iter().flat_map(|s| &s.keys)) {
            let at = (entry.position - 1_000) as usize;
            let operation = &bytes[at..at + entry.len as usize];
            let operation = Operation::decode(Bytes::copy_from_slice(operation)).unwrap();
            assert_eq!(operation.len(), entry.len as usize);
            assert_eq!(operation.back as usize, at);
            assert_eq!(
                (&operation.key[..], operation.value.as_deref()),
                (change.key, change.value)
            );
        }
    }

    #[test]
    fn a_flipped_bit_anywhere_and_any_other_length_are_refused() {
        let (bytes, _) = record();
        for bit in 0..bytes.len() * 8 {
            let mut bad = bytes.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(Record::decode(bad.into()).is_none(), "bit {bit}");
        }
        for len in 0..bytes.len() {
            assert!(Record::decode(Bytes::copy_from_slice(&bytes[..len])).is_none());
        }
        let longer = [&bytes[..], &[0]].concat();
        assert!(Record::decode(longer.into()).is_none());
    }

    #[test]
    fn an_operation_cut_short_is_refused() {
        let (bytes, entries) = record();
        let at = (entries[0].position - 1_000) as usize;
        let whole = &bytes[at..at + entries[0].len as usize];
        for len in 0..whole.len() {
            assert!(Operation::decode(Bytes::copy_from_slice(&whole[..len])).is_none());
        }
    }
}
