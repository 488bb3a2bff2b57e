//! Nodes and their digests.
//!
//! ```text
//!  halves of 16 slots, numbered like a heap:            1
//!  p has the halves 2p and 2p + 1;                 2         3
//!  16 + i is slot i                             4    5     6    7
//!                                              8 9 10 11 12 13 14 15
//! ```
//!
//! A half has a hash of its own only if both of its halves are filled: `inner` says which of 1..16 have. What a half
//! with one filled side hashes to is whatever is on that side. Keeping these digests makes an update of one slot cost
//! at most four inner hashes and one node hash, and makes proofs free of hashing.

use std::sync::Arc;

use violeta_proof::tree::{FANOUT, inner_hash, node_hash};
use violeta_types::Digest;

use super::codec::At;

/// What fills a slot.
#[derive(Clone, Debug)]
pub(crate) enum Child<L> {
    /// The only leaf below.
    Leaf(L),
    /// The node of the two or more leaves below.
    Node(Link<L>),
}

/// The way to a node.
#[derive(Clone, Debug)]
pub(crate) enum Link<L> {
    /// It is in memory.
    Loaded(Arc<Node<L>>),
    /// It is in the node files.
    Stored(At),
}

impl<L> Link<L> {
    /// Where the node's record lies.
    pub(crate) fn at(&self) -> At {
        match self {
            Link::Loaded(node) => node.at,
            Link::Stored(at) => *at,
        }
    }
}

/// A tree: nothing, or its root and that root's digest.
#[derive(Clone, Debug)]
pub(crate) struct Tree<L> {
    pub(crate) root: Option<(Digest, Child<L>)>,
}

impl<L> Default for Tree<L> {
    fn default() -> Self {
        Tree { root: None }
    }
}

impl<L> Tree<L> {
    /// The root's digest, zero if there is no leaf.
    pub(crate) fn digest(&self) -> Digest {
        self.root
            .as_ref()
            .map_or(Digest::ZERO, |(digest, _)| *digest)
    }
}

/// A subtree of two or more leaves.
#[derive(Debug)]
pub(crate) struct Node<L> {
    /// Where its record lies.
    pub(crate) at: At,
    /// How many records before that one are needed to read it.
    pub(crate) chain: u8,
    /// Which slots are filled.
    bitmap: u16,
    /// Which halves have a hash of their own: bit p for half p.
    inner: u16,
    /// The filled slots' digests by slot, then the halves' digests by number.
    digests: Box<[Digest]>,
    /// What fills the slots, by slot.
    children: Box<[Child<L>]>,
}

impl<L> Node<L> {
    /// A node with these slots. Digests of halves that `old` has and in which no slot of `changed` lies are taken
    /// over. The record's place is the caller's to set.
    pub(crate) fn new(
        bitmap: u16,
        slots: Vec<Digest>,
        children: Vec<Child<L>>,
        old: Option<(&Node<L>, u16)>,
    ) -> Self {
        let filled = bitmap.count_ones() as usize;
        assert!(filled > 0, "a node has children");
        assert_eq!(filled, children.len(), "one child a filled slot");
        assert_eq!(filled, slots.len(), "one digest a filled slot");
        let inner = inner_halves(bitmap);
        assert_eq!(inner.count_ones() as usize, filled - 1);
        let mut digests = slots;
        digests.resize(2 * filled - 1, Digest::ZERO);
        let mut node = Node {
            at: At::NONE,
            chain: 0,
            bitmap,
            inner,
            digests: digests.into_boxed_slice(),
            children: children.into_boxed_slice(),
        };
        // Halves of a half have greater numbers than itself, so they are done first.
        for half in (1..FANOUT).rev().filter(|half| inner >> half & 1 == 1) {
            let digest = match old {
                Some((old, changed)) if changed & slots_of(half) == 0 => old.half(half),
                _ => inner_hash(&node.half(2 * half), &node.half(2 * half + 1)),
            };
            let index = node.inner_index(half);
            node.digests[index] = digest;
        }
        node
    }

    /// The same node, with other links to the same children.
    pub(crate) fn with_children(&self, children: Vec<Child<L>>) -> Self {
        assert_eq!(children.len(), self.children.len());
        Node {
            at: self.at,
            chain: self.chain,
            bitmap: self.bitmap,
            inner: self.inner,
            digests: self.digests.clone(),
            children: children.into_boxed_slice(),
        }
    }

    /// The node's own digest.
    pub(crate) fn digest(&self) -> Digest {
        node_hash(self.bitmap, &self.half(1))
    }

    /// Which slots are filled.
    pub(crate) fn bitmap(&self) -> u16 {
        self.bitmap
    }

    /// What fills a slot, and its digest.
    pub(crate) fn slot(&self, slot: usize) -> Option<(&Digest, &Child<L>)> {
        if self.bitmap >> slot & 1 == 0 {
            return None;
        }
        let index = rank(self.bitmap, slot);
        Some((&self.digests[index], &self.children[index]))
    }

    /// The filled slots, with what fills them.
    pub(crate) fn slots(&self) -> impl Iterator<Item = (usize, &Digest, &Child<L>)> {
        let filled = (0..FANOUT).filter(|slot| self.bitmap >> slot & 1 == 1);
        filled
            .zip(self.digests.iter())
            .zip(self.children.iter())
            .map(|((slot, digest), child)| (slot, digest, child))
    }

    /// The digests of the filled halves beside the way from `slot` up, nearest first: what a proof carries.
    pub(crate) fn siblings(&self, slot: usize) -> impl Iterator<Item = Digest> {
        let at = FANOUT + slot;
        [at, at / 2, at / 4, at / 8]
            .into_iter()
            .map(|half| half ^ 1)
            .filter(|half| self.bitmap & slots_of(*half) != 0)
            .map(|half| self.half(half))
    }

    /// The digest of a half that isn't empty.
    fn half(&self, mut half: usize) -> Digest {
        while half < FANOUT && self.inner >> half & 1 == 0 {
            let left_filled = self.bitmap & slots_of(2 * half) != 0;
            half = 2 * half + usize::from(!left_filled);
        }
        match half.checked_sub(FANOUT) {
            Some(slot) => self.digests[rank(self.bitmap, slot)],
            None => self.digests[self.inner_index(half)],
        }
    }

    fn inner_index(&self, half: usize) -> usize {
        self.children.len() + rank(self.inner, half)
    }
}

/// How many bits below `bit` are set.
fn rank(bits: u16, bit: usize) -> usize {
    (u32::from(bits) & ((1u32 << bit) - 1)).count_ones() as usize
}

/// The slots of a half, by the half's number.
fn slots_of(half: usize) -> u16 {
    debug_assert!((1..2 * FANOUT).contains(&half));
    let level = half.ilog2();
    let width = FANOUT >> level;
    let start = (half - (1 << level)) * width;
    (((1u32 << width) - 1) << start) as u16
}

/// Which halves have two filled halves.
fn inner_halves(bitmap: u16) -> u16 {
    // Bit p of `filled`: half p (of 1..32) isn't empty. One level is folded out of the one below at a time.
    let mut filled = u32::from(bitmap) << FANOUT;
    let mut inner = 0;
    for half in (1..FANOUT).rev() {
        let pair = filled >> (2 * half) & 3;
        filled |= u32::from(pair != 0) << half;
        inner |= u16::from(pair == 3) << half;
    }
    inner
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use violeta_proof::tree::{slots_root, value_hash};

    fn node(bitmap: u16, salt: u8) -> Node<()> {
        let digests: Vec<_> = (0..16u8)
            .filter(|i| bitmap >> i & 1 == 1)
            .map(|i| value_hash(&[i, salt]))
            .collect();
        let children = vec![Child::Leaf(()); digests.len()];
        Node::new(bitmap, digests, children, None)
    }

    fn naive(node: &Node<()>) -> Digest {
        let mut slots = [None; FANOUT];
        for (slot, digest, _) in node.slots() {
            slots[slot] = Some(*digest);
        }
        node_hash(node.bitmap, &slots_root(&slots).unwrap())
    }

    #[test]
    fn halves_cover_their_slots() {
        assert_eq!(slots_of(1), 0xffff);
        assert_eq!(slots_of(2), 0x00ff);
        assert_eq!(slots_of(3), 0xff00);
        assert_eq!(slots_of(15), 0xc000);
        assert_eq!(slots_of(16), 1);
        assert_eq!(slots_of(31), 1 << 15);
    }

    #[test]
    fn every_bitmap_hashes_as_the_rules_say() {
        for bitmap in (1..=u16::MAX).step_by(37) {
            let node = node(bitmap, 0);
            assert_eq!(node.digest(), naive(&node), "{bitmap:016b}");
        }
    }

    proptest! {
        #[test]
        fn digests_taken_over_from_the_node_before_are_right(
            before in 1u16.., after in 1u16.., changed: u16,
        ) {
            // A slot whose being filled changes has changed.
            let changed = changed | (before ^ after);
            let old = node(before, 0);
            let (fresh, mut digests) = (node(after, 1), Vec::new());
            for slot in (0..16).filter(|slot| after >> slot & 1 == 1) {
                let from = if changed >> slot & 1 == 1 { &fresh } else { &old };
                digests.push(*from.slot(slot).unwrap().0);
            }
            let children = vec![Child::Leaf(()); digests.len()];
            let new = Node::new(after, digests, children, Some((&old, changed)));
            prop_assert_eq!(new.digest(), naive(&new));
        }
    }
}
