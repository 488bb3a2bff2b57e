//! Records of nodes in the node files.
//!
//! ```text
//!  at (64 bits)   offset in the node files (48) │ length of the record (16)
//!
//!  full record    1 │ bitmap u16 │ leaves u16 │ slot …            every filled slot
//!  delta record   2 │ bitmap u16 │ leaves u16 │ changed u16 │ chain u8 │ base u64 │ slot …
//!                                                                 the changed slots that are filled; the others are
//!                                                                 those of the record at `base`
//!  slot           digest 32 │ leaf: its encoding
//!                           │ node: at u64 │ seat u32
//!  tree           0 │ or 1 │ slot of a leaf │ or 2 │ slot of a node
//! ```
//!
//! `seat` says where the node sits in memory, for as long as the process lives that wrote it: a hint, which is checked
//! when it is followed. It makes the way short from an older version to the nodes that it shares with the newest.
//!
//! Numbers are little-endian. `leaves` says which of the slots in the record hold leaves. A chain of deltas ends at a
//! full record after at most [`CHAIN_MAX`] steps. A crc32 follows every record, and is part of its length: a node's
//! digests are checked against its parent's all the same, but paths and places in the log aren't bound by them.

use violeta_types::Digest;

use super::arena::Seat;
use super::node::{Child, Content, Link, Place, SharedNode, Tree, View, bits};
use super::{Leaf, take};

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
    /// Nowhere: of a node that isn't written yet.
    pub(crate) const NONE: At = At(u64::MAX);

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

/// Appends a node's record: a delta to the one before if that is shorter by half and the chain isn't too long. Returns
/// how many records it builds on.
pub(crate) fn encode_node<L: Leaf, N: View<L>>(node: &Content<'_, L, N>, out: &mut Vec<u8>) -> u8 {
    let (bitmap, changed) = (node.bitmap(), node.changed());
    if let Some(base) = node.old()
        && base.chain() < CHAIN_MAX
        && 2 * (changed & bitmap).count_ones() <= bitmap.count_ones()
    {
        let chain = base.chain() + 1;
        out.push(DELTA);
        out.extend_from_slice(&bitmap.to_le_bytes());
        let leaves_at = out.len();
        out.extend_from_slice(&[0; 2]);
        out.extend_from_slice(&changed.to_le_bytes());
        out.push(chain);
        out.extend_from_slice(&base.at().0.to_le_bytes());
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
fn encode_slots<L: Leaf, N: View<L>>(
    node: &Content<'_, L, N>,
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
        Child::Node(link) => {
            assert_ne!(link.at, At::NONE, "children are written first");
            out.extend_from_slice(&link.at.0.to_le_bytes());
            out.extend_from_slice(&link.seat.0.to_le_bytes());
        }
    }
}

fn decode_slot<L: Leaf>(is_leaf: bool, bytes: &mut &[u8]) -> Option<(Digest, Child<L>)> {
    let digest = Digest(take(bytes)?);
    let child = match is_leaf {
        true => Child::Leaf(L::decode(bytes)?),
        false => Child::Node(Link {
            at: At(u64::from_le_bytes(take(bytes)?)),
            seat: Seat(u32::from_le_bytes(take(bytes)?)),
        }),
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
pub(crate) struct Record<L> {
    bitmap: u16,
    changed: u16,
    slots: Vec<(Digest, Child<L>)>,
    base: Option<(At, u8)>,
}

impl<L: Leaf> Record<L> {
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
        Content::<L, SharedNode<L>>::new(&places, None).make(at, chain)
    }
}
