//! Nodes and their digests.
//!
//! ```text
//!  one allocation:  count │ header │ slot │ slot │ …             of each filled slot: digest, half, child
//!
//!  halves of 16 slots, numbered like a heap:            1
//!  p has the halves 2p and 2p + 1;                 2         3
//!  16 + i is slot i                             4    5     6    7
//!                                              8 9 10 11 12 13 14 15
//! ```
//!
//! A half has a hash of its own only if both of its halves are filled: `inner` says which of 1..16 have. What a half
//! with one filled side hashes to is whatever is on that side. Keeping these digests makes an update of one slot cost
//! at most four inner hashes and one node hash, and makes proofs free of hashing. `n` filled slots have `n - 1` such
//! halves: the digest of the `i`th lies in the `i`th slot, for want of a better place.

use triomphe::ThinArc;
use violeta_proof::tree::{FANOUT, inner_hash, node_hash};
use violeta_types::Digest;

use super::codec::At;
use super::seats::Seat;

/// What fills a slot.
#[derive(Clone, Debug)]
pub(crate) enum Child<L> {
    /// The only leaf below.
    Leaf(L),
    /// The node of the two or more leaves below.
    Node(Link),
}

/// The way to a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Link {
    /// Where its record lies: no two nodes ever have the same.
    pub(crate) at: At,
    /// Where it is in memory, if it is.
    pub(crate) seat: Seat,
}

/// A place in a tree: nothing, or what is there and its digest.
pub(crate) type Place<L> = Option<(Digest, Child<L>)>;

/// A tree: nothing, or its root and that root's digest.
#[derive(Clone, Debug)]
pub(crate) struct Tree<L> {
    pub(crate) root: Place<L>,
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

/// A node in memory, shared.
pub(crate) type SharedNode<L> = ThinArc<Header, Slot<L>>;

/// What a node is but for its slots.
#[derive(Debug)]
pub(crate) struct Header {
    link: Link,
    /// How many records before its own are needed to read it.
    chain: u8,
    /// Which slots are filled.
    bitmap: u16,
    /// Which halves have a hash of their own: bit p for half p.
    inner: u16,
}

/// A filled slot.
#[derive(Debug)]
pub(crate) struct Slot<L> {
    digest: Digest,
    /// The digest of a half, not of this slot: see above.
    half: Digest,
    child: Child<L>,
}

/// A node that is nowhere and has nothing.
pub(crate) fn vacant<L>() -> SharedNode<L> {
    let link = Link {
        at: At::NONE,
        seat: Seat::NONE,
    };
    let header = Header {
        link,
        chain: 0,
        bitmap: 0,
        inner: 0,
    };
    ThinArc::from_header_and_iter(header, std::iter::empty())
}

/// A subtree of two or more leaves, as one looks at it.
#[derive(Debug)]
pub(crate) struct Node<'a, L> {
    header: &'a Header,
    slots: &'a [Slot<L>],
}

impl<L> Clone for Node<'_, L> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<L> Copy for Node<'_, L> {}

impl<'a, L> Node<'a, L> {
    pub(crate) fn of(node: &'a SharedNode<L>) -> Self {
        Node {
            header: &node.header.header,
            slots: &node.slice,
        }
    }

    /// Where it is.
    pub(crate) fn link(self) -> Link {
        self.header.link
    }

    /// How many records before its own are needed to read it.
    pub(crate) fn chain(self) -> u8 {
        self.header.chain
    }

    /// The node's own digest.
    #[cfg(test)]
    pub(crate) fn digest(self) -> Digest {
        node_hash(self.header.bitmap, &self.half(1))
    }

    /// Which slots are filled.
    pub(crate) fn bitmap(self) -> u16 {
        self.header.bitmap
    }

    /// What fills a slot, and its digest.
    pub(crate) fn slot(self, slot: usize) -> Option<(&'a Digest, &'a Child<L>)> {
        if self.header.bitmap >> slot & 1 == 0 {
            return None;
        }
        let slot = &self.slots[rank(self.header.bitmap, slot)];
        Some((&slot.digest, &slot.child))
    }

    /// What fills the slots, by slot.
    pub(crate) fn children(self) -> impl Iterator<Item = &'a Child<L>> {
        self.slots.iter().map(|slot| &slot.child)
    }

    /// The digests of the filled halves beside the way from `slot` up, nearest first: what a proof carries.
    pub(crate) fn siblings(self, slot: usize) -> impl Iterator<Item = Digest> {
        let at = FANOUT + slot;
        [at, at / 2, at / 4, at / 8]
            .into_iter()
            .map(|half| half ^ 1)
            .filter(move |half| self.header.bitmap & slots_of(*half) != 0)
            .map(move |half| self.half(half))
    }

    /// The digest of a half that isn't empty.
    fn half(self, mut half: usize) -> Digest {
        while half < FANOUT && self.header.inner >> half & 1 == 0 {
            let left_filled = self.header.bitmap & slots_of(2 * half) != 0;
            half = 2 * half + usize::from(!left_filled);
        }
        match half.checked_sub(FANOUT) {
            Some(slot) => self.slots[rank(self.header.bitmap, slot)].digest,
            None => self.slots[rank(self.header.inner, half)].half,
        }
    }
}

/// What a node is going to hold: of the changed slots what is new, of the others what the node before has.
#[derive(Debug)]
pub(crate) struct Content<'a, L> {
    bitmap: u16,
    changed: u16,
    new: &'a [Place<L>; FANOUT],
    old: Option<Node<'a, L>>,
}

impl<'a, L> Content<'a, L> {
    /// `new` is looked at where `changed` says so; without a node before, everywhere.
    pub(crate) fn new(new: &'a [Place<L>; FANOUT], old: Option<(Node<'a, L>, u16)>) -> Self {
        let (old, changed) = match old {
            Some((old, changed)) => (Some(old), changed),
            None => (None, u16::MAX),
        };
        let kept = old.map_or(0, |old| old.bitmap() & !changed);
        let filled = bits(changed).filter(|slot| new[*slot].is_some());
        Content {
            bitmap: filled.fold(kept, |bitmap, slot| bitmap | 1 << slot),
            changed,
            new,
            old,
        }
    }

    pub(crate) fn bitmap(&self) -> u16 {
        self.bitmap
    }

    /// The node before, and which slots changed.
    pub(crate) fn old(&self) -> Option<(Node<'a, L>, u16)> {
        self.old.map(|old| (old, self.changed))
    }

    /// What fills a slot, and its digest.
    pub(crate) fn slot(&self, slot: usize) -> Option<(&'a Digest, &'a Child<L>)> {
        match self.changed >> slot & 1 {
            1 => self.new[slot]
                .as_ref()
                .map(|(digest, child)| (digest, child)),
            _ => self.old.and_then(|old| old.slot(slot)),
        }
    }

    /// The filled slots in `mask`, with what fills them.
    pub(crate) fn slots(
        &self,
        mask: u16,
    ) -> impl Iterator<Item = (usize, &'a Digest, &'a Child<L>)> {
        bits(self.bitmap & mask).filter_map(|slot| {
            let (digest, child) = self.slot(slot)?;
            Some((slot, digest, child))
        })
    }

    /// The node, and its digest. Digests of halves in which nothing changed are taken over.
    pub(crate) fn make(&self, link: Link, chain: u8) -> (SharedNode<L>, Digest)
    where
        L: Clone,
    {
        let count = self.bitmap.count_ones() as usize;
        assert!(count > 0, "a node has children");
        let inner = inner_halves(self.bitmap);
        assert_eq!(inner.count_ones() as usize, count - 1);
        let mut digests = [Digest::ZERO; 2 * FANOUT];
        let mut filled = u32::from(self.bitmap) << FANOUT;
        for (slot, digest, _) in self.slots(u16::MAX) {
            digests[FANOUT + slot] = *digest;
        }
        // Halves of a half have greater numbers than itself, so they are done first.
        for half in (1..FANOUT).rev() {
            let (left, right) = (2 * half, 2 * half + 1);
            digests[half] = match filled >> left & 3 {
                0 => continue,
                1 => digests[left],
                2 => digests[right],
                _ => match self.old {
                    Some(old) if self.changed & slots_of(half) == 0 => old.half(half),
                    _ => inner_hash(&digests[left], &digests[right]),
                },
            };
            filled |= 1 << half;
        }
        let header = Header {
            link,
            chain,
            bitmap: self.bitmap,
            inner,
        };
        let (mut slots, mut halves) = (bits(self.bitmap), bits(inner));
        let slots = (0..count).map(|_| {
            let slot = slots.next().unwrap_or_default();
            let half = halves.next().map(|half| digests[half]);
            #[expect(clippy::expect_used, reason = "the bitmap is made from what is filled")]
            let (_, child) = self.slot(slot).expect("a filled slot");
            Slot {
                digest: digests[FANOUT + slot],
                half: half.unwrap_or(Digest::ZERO),
                child: child.clone(),
            }
        });
        let node = ThinArc::from_header_and_iter(header, slots);
        (node, node_hash(self.bitmap, &digests[1]))
    }
}

/// The numbers of the bits that are set, rising.
pub(super) fn bits(mut bits: u16) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let bit = bits.trailing_zeros() as usize;
        (bits != 0).then(|| {
            bits &= bits - 1;
            bit
        })
    })
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

    const NOWHERE: Link = Link {
        at: At::NONE,
        seat: Seat::NONE,
    };

    fn places(bitmap: u16, salt: u8) -> [Place<()>; FANOUT] {
        std::array::from_fn(|i| {
            let digest = value_hash(&[i as u8, salt]);
            (bitmap >> i & 1 == 1).then_some((digest, Child::Leaf(())))
        })
    }

    fn naive(node: Node<'_, ()>) -> Digest {
        let slots = std::array::from_fn(|slot| node.slot(slot).map(|(digest, _)| *digest));
        node_hash(node.bitmap(), &slots_root(&slots).unwrap())
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
    fn bits_are_numbered_from_the_lowest() {
        assert_eq!(bits(0).count(), 0);
        assert!(bits(0b1000_0000_0010_0001).eq([0, 5, 15]));
        assert!(bits(u16::MAX).eq(0..16));
    }

    #[test]
    fn every_bitmap_hashes_as_the_rules_say() {
        for bitmap in (1..=u16::MAX).step_by(37) {
            let (node, digest) = Content::new(&places(bitmap, 0), None).make(NOWHERE, 0);
            let node = Node::of(&node);
            assert_eq!(node.bitmap(), bitmap);
            assert_eq!(digest, naive(node), "{bitmap:016b}");
            assert_eq!(node.digest(), digest, "{bitmap:016b}");
        }
    }

    proptest! {
        #[test]
        fn digests_taken_over_from_the_node_before_are_right(
            before in 1u16.., after in 1u16.., changed: u16,
        ) {
            // A slot whose being filled changes has changed.
            let changed = changed | (before ^ after);
            let (old, _) = Content::new(&places(before, 0), None).make(NOWHERE, 0);
            let fresh = places(after, 1);
            let content = Content::new(&fresh, Some((Node::of(&old), changed)));
            let (new, digest) = content.make(NOWHERE, 0);
            let new = Node::of(&new);
            prop_assert_eq!(new.bitmap(), after);
            prop_assert_eq!(digest, naive(new));
            prop_assert_eq!(new.digest(), digest);
            for slot in bits(after) {
                let salt = (changed >> slot & 1) as u8;
                prop_assert_eq!(*new.slot(slot).unwrap().0, value_hash(&[slot as u8, salt]));
            }
        }
    }
}
