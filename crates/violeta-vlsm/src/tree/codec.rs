//! Records of the top tree's nodes in the node files.
//!
//! ```text
//!  at (64 bits)   offset in the node files (48) │ length of the record (16)
//!
//!  full record    1 │ bitmap u16 │ leaves u16 │ slot …            every filled slot
//!  delta record   2 │ bitmap u16 │ leaves u16 │ changed u16 │ chain u8 │ base u64 │ slot …
//!                                                                 the changed slots that are filled; the others are
//!                                                                 those of the record at `base`
//!  slot           digest 32 │ leaf: its encoding
//!                           │ node: its link
//!  tree           0 │ or 1 │ slot of a leaf │ or 2 │ slot of a node
//! ```
//!
//! The link of a node of the top tree is where its record lies (u64); that of the root of a space's tree, which is part
//! of the space's leaf, is `seq u64 │ page u32`.
//!
//! Numbers are little-endian. `leaves` says which of the slots in the record hold leaves. A chain of deltas ends at a
//! full record after at most [`CHAIN_MAX`] steps. A crc32 follows every record, and is part of its length: a node's
//! digests are checked against its parent's all the same, but paths and places in the log aren't bound by them.

use violeta_types::Digest;

use super::node::{Child, Content, Place, SharedNode, Tree, bits};
use super::{Leaf, TreeLink, take};

/// Deltas between a record and the full one that it builds on.
pub(crate) const CHAIN_MAX: u8 = 16;
/// Bytes of a record.
pub(crate) const NODE_RECORD_BYTES_MAX: usize = u16::MAX as usize;

const FULL: u8 = 1;
const DELTA: u8 = 2;

/// Where a record lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct At(pub(crate) u64);

impl At {
    /// None for zero, where no record is.
    pub(crate) fn from_word(word: u64) -> Option<Self> {
        (word != 0).then_some(At(word))
    }

    /// # Panics
    /// If the record is longer than 64 KiB, or the node files than 256 TiB: neither is reached by what is written.
    pub(crate) fn new(offset: u64, len: usize) -> Self {
        assert!(offset < 1 << 48, "node files end at 256 TiB");
        assert!(len <= NODE_RECORD_BYTES_MAX, "a record of {len} bytes");
        At(offset << 16 | len as u64)
    }

    pub(crate) fn offset(self) -> u64 {
        self.0 >> 16
    }

    pub(crate) fn len(self) -> usize {
        (self.0 & 0xffff) as usize
    }
}

impl TreeLink for At {
    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.0.to_le_bytes());
    }

    fn decode(bytes: &mut &[u8]) -> Option<Self> {
        Some(At(u64::from_le_bytes(take(bytes)?)))
    }
}

/// What a node that has a record knows of itself.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Recorded {
    /// Where its record lies.
    pub(crate) at: At,
    /// How many records before its own are needed to read it.
    pub(crate) chain: u8,
}

/// Takes the records of new nodes: they will lie in the node files from `start` on.
#[derive(Debug)]
pub(crate) struct NodeSink {
    start: u64,
    segment_bytes: u64,
    bytes: Vec<u8>,
}

impl NodeSink {
    /// A sink whose first record may lie at `start`, and which fills `buffer`. No record crosses a multiple of
    /// `segment_bytes`.
    pub(crate) fn new(start: u64, segment_bytes: u64, buffer: Vec<u8>) -> Self {
        assert!(buffer.is_empty(), "nothing lies before the first record");
        assert!(segment_bytes >= NODE_RECORD_BYTES_MAX as u64);
        NodeSink {
            start,
            segment_bytes,
            bytes: buffer,
        }
    }

    /// Appends what `encode` writes, as one record.
    pub(crate) fn record<T>(&mut self, encode: impl FnOnce(&mut Vec<u8>) -> T) -> (At, T) {
        let mut from = self.bytes.len();
        let result = encode(&mut self.bytes);
        let crc = crc32fast::hash(&self.bytes[from..]);
        self.bytes.extend_from_slice(&crc.to_le_bytes());
        let len = self.bytes.len() - from;
        let room = self.segment_bytes - (self.start + from as u64) % self.segment_bytes;
        if len as u64 > room {
            let gap = room as usize;
            self.bytes.splice(from..from, std::iter::repeat_n(0, gap));
            from += gap;
        }
        (At::new(self.start + from as u64, len), result)
    }

    /// How many bytes there are.
    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// The records.
    pub(crate) fn finish(self) -> Vec<u8> {
        self.bytes
    }
}

/// Appends a node's record: a delta to the one before if that is shorter by half and the chain isn't too long. Returns
/// how many records it builds on.
pub(super) fn encode_node<L: Leaf<Note = Recorded>>(
    node: &Content<'_, L, SharedNode<L>>,
    out: &mut Vec<u8>,
) -> u8 {
    let (bitmap, changed) = (node.bitmap(), node.changed());
    if let Some(base) = node.old().map(|old| old.header.header.note)
        && base.chain < CHAIN_MAX
        && 2 * (changed & bitmap).count_ones() <= bitmap.count_ones()
    {
        let chain = base.chain + 1;
        out.push(DELTA);
        out.extend_from_slice(&bitmap.to_le_bytes());
        let leaves_at = out.len();
        out.extend_from_slice(&[0; 2]);
        out.extend_from_slice(&changed.to_le_bytes());
        out.push(chain);
        out.extend_from_slice(&base.at.0.to_le_bytes());
        encode_slots(node, changed, leaves_at, out);
        return chain;
    }
    out.push(FULL);
    out.extend_from_slice(&bitmap.to_le_bytes());
    let leaves_at = out.len();
    out.extend_from_slice(&[0; 2]);
    encode_slots(node, u16::MAX, leaves_at, out);
    0
}

/// Appends the slots in `mask`, and says at `leaves_at` which of them hold leaves.
fn encode_slots<L: Leaf<Note = Recorded>>(
    node: &Content<'_, L, SharedNode<L>>,
    mask: u16,
    leaves_at: usize,
    out: &mut Vec<u8>,
) {
    let mut leaves = 0u16;
    for (slot, digest, child) in node.slots(mask) {
        leaves |= u16::from(matches!(child, Child::Leaf(_))) << slot;
        encode_slot(&digest, &child, out);
    }
    out[leaves_at..leaves_at + 2].copy_from_slice(&leaves.to_le_bytes());
}

fn encode_slot<L: Leaf>(digest: &Digest, child: &Child<L>, out: &mut Vec<u8>) {
    out.extend_from_slice(&digest.0);
    match child {
        Child::Leaf(leaf) => leaf.encode(out),
        Child::Node(link) => link.encode(out),
    }
}

fn decode_slot<L: Leaf>(is_leaf: bool, bytes: &mut &[u8]) -> Option<(Digest, Child<L>)> {
    let digest = Digest(take(bytes)?);
    let child = match is_leaf {
        true => Child::Leaf(L::decode(bytes)?),
        false => Child::Node(L::Link::decode(bytes)?),
    };
    Some((digest, child))
}

/// Appends a tree's root: of a space within its leaf, or of the top tree in a root record.
pub(crate) fn encode_tree<L: Leaf>(tree: &Tree<L>, out: &mut Vec<u8>) {
    match &tree.root {
        None => out.push(0),
        Some((digest, child)) => {
            out.push(match child {
                Child::Leaf(_) => 1,
                Child::Node(_) => 2,
            });
            encode_slot(digest, child, out);
        }
    }
}

/// Reads a tree's root and moves past it; none if it isn't one.
pub(crate) fn decode_tree<L: Leaf>(bytes: &mut &[u8]) -> Option<Tree<L>> {
    let root = match take::<1>(bytes)? {
        [0] => None,
        [kind @ (1 | 2)] => Some(decode_slot(kind == 1, bytes)?),
        _ => return None,
    };
    Some(Tree { root })
}

/// A record as it was read.
pub(crate) struct Record<L: Leaf> {
    bitmap: u16,
    changed: u16,
    slots: Vec<(Digest, Child<L>)>,
    base: Option<(At, u8)>,
}

impl<L: Leaf<Note = Recorded>> Record<L> {
    /// Reads a whole record; none if it isn't one.
    pub(crate) fn decode(mut bytes: &[u8]) -> Option<Self> {
        let bytes = &mut bytes;
        let [kind] = take(bytes)?;
        let bitmap = u16::from_le_bytes(take(bytes)?);
        let leaves = u16::from_le_bytes(take(bytes)?);
        let (changed, base) = match kind {
            FULL => (u16::MAX, None),
            DELTA => {
                let changed = u16::from_le_bytes(take(bytes)?);
                let [chain] = take(bytes)?;
                let base = At(u64::from_le_bytes(take(bytes)?));
                (1..=CHAIN_MAX).contains(&chain).then_some(())?;
                (changed, Some((base, chain)))
            }
            _ => return None,
        };
        let mut slots = Vec::with_capacity((bitmap & changed).count_ones() as usize);
        for slot in bits(bitmap & changed) {
            slots.push(decode_slot(leaves >> slot & 1 == 1, bytes)?);
        }
        (bytes.is_empty() && bitmap != 0).then_some(Record {
            bitmap,
            changed,
            slots,
            base,
        })
    }

    /// The record that this one builds on.
    pub(crate) fn base(&self) -> Option<At> {
        self.base.map(|(at, _)| at)
    }

    /// Lays `newer`, which builds on this one, over it; none if slots that should be here aren't.
    pub(crate) fn lay_over(self, newer: Record<L>) -> Option<Record<L>> {
        let mut below = [const { None }; 16];
        for (slot, content) in bits(self.bitmap & self.changed).zip(self.slots) {
            below[slot] = Some(content);
        }
        let mut above = newer.slots.into_iter();
        let mut slots = Vec::with_capacity(newer.bitmap.count_ones() as usize);
        for slot in bits(newer.bitmap) {
            slots.push(match newer.changed >> slot & 1 {
                1 => above.next()?,
                _ => below[slot].take()?,
            });
        }
        Some(Record {
            bitmap: newer.bitmap,
            changed: u16::MAX,
            slots,
            base: newer.base,
        })
    }

    /// The node of a record that was laid over all that it builds on, and its digest.
    pub(crate) fn into_node(self, at: At) -> (SharedNode<L>, Digest) {
        assert_eq!(self.changed, u16::MAX, "all slots are here");
        let mut places: [Place<L>; 16] = [const { None }; 16];
        for (slot, content) in bits(self.bitmap).zip(self.slots) {
            places[slot] = Some(content);
        }
        let chain = self.base.map_or(0, |(_, chain)| chain);
        Content::<L, SharedNode<L>>::new(&places, None).make(Recorded { at, chain })
    }
}
