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
//! at most four inner hashes and one node hash, and makes proofs free of hashing. `n` filled slots have `n - 1` such
//! halves.
//!
//! A node is kept in one of two ways, and [`View`] is what both show: for itself on the heap ([`SharedNode`], here), or
//! among the nodes of the newest version ([`arena`](super::arena)).

use triomphe::ThinArc;
use violeta_proof::tree::{FANOUT, inner_hash, node_hash};
use violeta_types::Digest;

use super::arena::Seat;
use super::{Leaf, TreeLink, take};
use crate::page::{PageId, Seq};

/// What fills a slot.
#[derive(Clone, Debug)]
pub(crate) enum Child<L: Leaf> {
    /// The only leaf below.
    Leaf(L),
    /// The node of the two or more leaves below.
    Node(L::Link),
}

/// The way to a node of a space's tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Link {
    /// The version of its last change. A seat changes hands once a version at most, so that seat and version name one
    /// node.
    pub(crate) seq: Seq,
    /// Where it is in memory, if it is.
    pub(crate) seat: Seat,
    /// The page that begins with this node, if one does; else it is on the page of the node above.
    pub(crate) page: Option<PageId>,
}

/// In records: without the seat.
impl TreeLink for Link {
    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.seq.0.to_le_bytes());
        let page = self.page.map_or(0, PageId::number);
        out.extend_from_slice(&page.to_le_bytes());
    }

    fn decode(bytes: &mut &[u8]) -> Option<Self> {
        Some(Link {
            seq: Seq(u64::from_le_bytes(take(bytes)?)),
            seat: Seat::NONE,
            page: PageId::new(u32::from_le_bytes(take(bytes)?)),
        })
    }
}

/// A place in a tree: nothing, or what is there and its digest.
pub(crate) type Place<L> = Option<(Digest, Child<L>)>;

/// A tree: nothing, or its root and that root's digest.
#[derive(Clone, Debug)]
pub(crate) struct Tree<L: Leaf> {
    pub(crate) root: Place<L>,
}

impl<L: Leaf> Default for Tree<L> {
    fn default() -> Self {
        Tree { root: None }
    }
}

impl<L: Leaf> Tree<L> {
    /// The root's digest, zero if there is no leaf.
    pub(crate) fn digest(&self) -> Digest {
        self.root
            .as_ref()
            .map_or(Digest::ZERO, |(digest, _)| *digest)
    }
}

/// A subtree of two or more leaves, as one looks at it.
///
/// A node that sits in the arena may be changed while a reader looks at it: then any of these may return anything, and
/// the reader finds out afterwards ([`Load::look`](super::Load::look)). None may panic or go on for ever.
pub(crate) trait View<L: Leaf> {
    /// Which slots are filled.
    fn bitmap(&self) -> u16;

    /// What fills a slot, and its digest.
    fn slot(&self, slot: usize) -> Place<L>;

    /// The digest of a half that isn't empty.
    fn half(&self, half: usize) -> Digest;

    /// The digests of the filled halves beside the way from `slot` up, nearest first: what a proof carries.
    fn siblings(&self, slot: usize) -> [Option<Digest>; 4] {
        let (at, bitmap) = (FANOUT + slot, self.bitmap());
        [at, at / 2, at / 4, at / 8].map(|half| {
            let beside = half ^ 1;
            (bitmap & slots_of(beside) != 0).then(|| self.half(beside))
        })
    }
}

/// The half, or the half or slot below it whose digest it passes up: of the halves in `inner`, or a slot.
pub(super) fn resolve(mut half: usize, bitmap: u16, inner: u16) -> usize {
    while half < FANOUT && inner >> half & 1 == 0 {
        let left_filled = bitmap & slots_of(2 * half) != 0;
        half = 2 * half + usize::from(!left_filled);
    }
    half
}

/// A node on the heap, shared. The digest of its `i`th half lies in its `i`th slot, for want of a better place.
///
/// ```text
///  one allocation:  count │ header │ slot │ slot │ …             of each filled slot: digest, half, child
/// ```
pub(crate) type SharedNode<L> = ThinArc<Header<<L as Leaf>::Note>, Slot<L>>;

/// What a node is but for its slots.
#[derive(Debug)]
pub(crate) struct Header<N> {
    /// What it knows of itself.
    pub(crate) note: N,
    /// Which slots are filled.
    bitmap: u16,
    /// Which halves have a hash of their own: bit p for half p.
    inner: u16,
}

/// A filled slot.
#[derive(Debug)]
pub(crate) struct Slot<L: Leaf> {
    digest: Digest,
    /// The digest of a half, not of this slot: see above.
    half: Digest,
    child: Child<L>,
}

impl<L: Leaf> View<L> for SharedNode<L> {
    fn bitmap(&self) -> u16 {
        self.header.header.bitmap
    }

    fn slot(&self, slot: usize) -> Place<L> {
        let bitmap = self.bitmap();
        (bitmap >> slot & 1 == 1).then(|| {
            let slot = &self.slice[rank(bitmap, slot)];
            (slot.digest, slot.child.clone())
        })
    }

    fn half(&self, half: usize) -> Digest {
        let header = &self.header.header;
        let half = resolve(half, header.bitmap, header.inner);
        match half.checked_sub(FANOUT) {
            Some(slot) => self.slice[rank(header.bitmap, slot)].digest,
            None => self.slice[rank(header.inner, half)].half,
        }
    }
}

/// What a node is going to hold: of the changed slots what is new, of the others what the node before has.
#[derive(Debug)]
pub(crate) struct Content<'a, L: Leaf, N> {
    bitmap: u16,
    changed: u16,
    new: &'a [Place<L>; FANOUT],
    old: Option<&'a N>,
}

impl<'a, L: Leaf, N: View<L>> Content<'a, L, N> {
    /// `new` is looked at where `changed` says so; without a node before, everywhere.
    pub(crate) fn new(new: &'a [Place<L>; FANOUT], old: Option<(&'a N, u16)>) -> Self {
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

    /// Which slots changed: all, without a node before.
    pub(crate) fn changed(&self) -> u16 {
        self.changed
    }

    /// The node before.
    pub(crate) fn old(&self) -> Option<&'a N> {
        self.old
    }

    /// What fills a slot, and its digest.
    pub(crate) fn slot(&self, slot: usize) -> Place<L> {
        match self.changed >> slot & 1 {
            1 => self.new[slot].clone(),
            _ => self.old.and_then(|old| old.slot(slot)),
        }
    }

    /// The filled slots in `mask`, with what fills them.
    pub(crate) fn slots(&self, mask: u16) -> impl Iterator<Item = (usize, Digest, Child<L>)> {
        bits(self.bitmap & mask).filter_map(|slot| {
            let (digest, child) = self.slot(slot)?;
            Some((slot, digest, child))
        })
    }

    /// The digests of the halves in which something changed, in `room`, and the node's. Those of the other halves stay,
    /// and are only looked up where one is needed.
    pub(crate) fn hash<'d>(&self, room: &'d mut [Digest; 2 * FANOUT]) -> Hashed<'d> {
        assert_ne!(self.bitmap, 0, "a node has children");
        let halves = Halves::of(self.bitmap, self.changed);
        for slot in bits(self.changed) {
            if let Some((digest, _)) = &self.new[slot] {
                room[halves.rank(FANOUT + slot)] = *digest;
            }
        }
        // Halves of a half have greater numbers than itself, so they are done first.
        for half in (1..FANOUT).rev().filter(|half| halves.is_touched(*half)) {
            let side = |half| halves.digest(room, self.old, half);
            let digest = match halves.sides(half) {
                Sides::None => continue,
                Sides::One(side_half) => side(side_half),
                Sides::Both => inner_hash(&side(2 * half), &side(2 * half + 1)),
            };
            room[halves.rank(half)] = digest;
        }
        let compressed = halves.digest(room, self.old, 1);
        Hashed {
            halves,
            digests: room,
            node: node_hash(self.bitmap, &compressed),
        }
    }

    /// The digest of a half that isn't empty.
    pub(crate) fn half(&self, hashed: &Hashed<'_>, half: usize) -> Digest {
        hashed.halves.digest(hashed.digests, self.old, half)
    }

    /// The node on the heap, and its digest.
    pub(crate) fn make(&self, note: L::Note) -> (SharedNode<L>, Digest) {
        let mut room = [Digest::ZERO; 2 * FANOUT];
        let hashed = self.hash(&mut room);
        (self.make_hashed(&hashed, note), hashed.node)
    }

    /// The node on the heap.
    pub(crate) fn make_hashed(&self, hashed: &Hashed<'_>, note: L::Note) -> SharedNode<L> {
        let inner = hashed.halves.inner;
        let header = Header {
            note,
            bitmap: self.bitmap,
            inner,
        };
        let (mut slots, mut halves) = (bits(self.bitmap), bits(inner));
        let slots = (0..self.bitmap.count_ones() as usize).map(|_| {
            let slot = slots.next().unwrap_or_default();
            let half = halves.next().map(|half| self.half(hashed, half));
            #[expect(clippy::expect_used, reason = "the bitmap is made from what is filled")]
            let (digest, child) = self.slot(slot).expect("a filled slot");
            Slot {
                digest,
                half: half.unwrap_or(Digest::ZERO),
                child,
            }
        });
        ThinArc::from_header_and_iter(header, slots)
    }
}

/// The digests of a new node: its own, and those of its halves and slots in which something changed.
#[derive(Debug)]
pub(crate) struct Hashed<'a> {
    pub(super) halves: Halves,
    /// Of the halves and slots in which something changed, by their numbers.
    pub(super) digests: &'a [Digest],
    pub(super) node: Digest,
}

/// Which halves of a new node have which kind of digest. Slots are counted among them: bit p for half p of 1..32.
#[derive(Clone, Copy, Debug)]
pub(super) struct Halves {
    /// Which aren't empty.
    filled: u32,
    /// In which something changed.
    touched: u32,
    /// Which have a hash of their own.
    pub(super) inner: u16,
}

/// Which of the two sides of a half are filled.
pub(super) enum Sides {
    None,
    One(usize),
    Both,
}

impl Halves {
    /// Of a node with these slots filled, of which (or of those that were filled) some changed.
    pub(super) fn of(bitmap: u16, changed: u16) -> Self {
        let (filled, inner) = halves(bitmap);
        let (touched, _) = halves(changed);
        debug_assert_eq!(inner.count_ones() + 1, bitmap.count_ones());
        Halves {
            filled,
            touched,
            inner,
        }
    }

    /// In how many halves and slots something changed.
    pub(super) fn touched(self) -> usize {
        self.touched.count_ones() as usize
    }

    /// In which halves something changed, slots apart.
    pub(super) fn touched_halves(self) -> u16 {
        self.touched as u16
    }

    pub(super) fn is_touched(self, half: usize) -> bool {
        self.touched >> half & 1 == 1
    }

    /// The place of a half among those in which something changed.
    pub(super) fn rank(self, half: usize) -> usize {
        (self.touched & ((1 << half) - 1)).count_ones() as usize
    }

    pub(super) fn sides(self, half: usize) -> Sides {
        match self.filled >> (2 * half) & 3 {
            0 => Sides::None,
            1 => Sides::One(2 * half),
            2 => Sides::One(2 * half + 1),
            _ => Sides::Both,
        }
    }

    /// The digest of a half that isn't empty: among `digests` if something changed there, else as in the node before.
    pub(super) fn digest<L: Leaf>(
        self,
        digests: &[Digest],
        old: Option<&impl View<L>>,
        half: usize,
    ) -> Digest {
        match old {
            Some(old) if !self.is_touched(half) => old.half(half),
            _ => digests[self.rank(half)],
        }
    }
}

/// The numbers of the bits that are set, rising.
pub(crate) fn bits(mut bits: u16) -> impl Iterator<Item = usize> {
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
pub(crate) fn slots_of(half: usize) -> u16 {
    debug_assert!((1..2 * FANOUT).contains(&half));
    let level = half.ilog2();
    let width = FANOUT >> level;
    let start = (half - (1 << level)) * width;
    (((1u32 << width) - 1) << start) as u16
}

/// Which halves and slots aren't empty, and which halves have two filled halves.
fn halves(bitmap: u16) -> (u32, u16) {
    // Bit p of `filled`: half p (of 1..32) isn't empty. One level is folded out of the one below at a time.
    let mut filled = u32::from(bitmap) << FANOUT;
    let mut inner = 0;
    for half in (1..FANOUT).rev() {
        let pair = filled >> (2 * half) & 3;
        filled |= u32::from(pair != 0) << half;
        inner |= u16::from(pair == 3) << half;
    }
    (filled, inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use violeta_proof::tree::{slots_root, value_hash};

    /// A leaf that says nothing.
    #[derive(Clone, Debug)]
    struct Blank;

    impl Leaf for Blank {
        type Link = Link;
        type Note = ();

        fn path(&self) -> &violeta_proof::tree::KeyPath {
            unreachable!("nobody asks")
        }

        fn encode(&self, _: &mut Vec<u8>) {}

        fn decode(_: &mut &[u8]) -> Option<Self> {
            None
        }
    }

    fn places(bitmap: u16, salt: u8) -> [Place<Blank>; FANOUT] {
        std::array::from_fn(|i| {
            let digest = value_hash(&[i as u8, salt]);
            (bitmap >> i & 1 == 1).then_some((digest, Child::Leaf(Blank)))
        })
    }

    fn make(places: &[Place<Blank>; FANOUT]) -> (SharedNode<Blank>, Digest) {
        Content::<Blank, SharedNode<Blank>>::new(places, None).make(())
    }

    fn naive(node: &impl View<Blank>) -> Digest {
        let slots = std::array::from_fn(|slot| node.slot(slot).map(|(digest, _)| digest));
        node_hash(node.bitmap(), &slots_root(&slots).unwrap())
    }

    fn digest(node: &impl View<Blank>) -> Digest {
        node_hash(node.bitmap(), &node.half(1))
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
            let (node, made) = make(&places(bitmap, 0));
            assert_eq!(node.bitmap(), bitmap);
            assert_eq!(made, naive(&node), "{bitmap:016b}");
            assert_eq!(digest(&node), made, "{bitmap:016b}");
        }
    }

    proptest! {
        #[test]
        fn digests_taken_over_from_the_node_before_are_right(
            before in 1u16.., after in 1u16.., changed: u16,
        ) {
            // A slot whose being filled changes has changed.
            let changed = changed | (before ^ after);
            let (old, _) = make(&places(before, 0));
            let fresh = places(after, 1);
            let (new, made) = Content::new(&fresh, Some((&old, changed))).make(());
            prop_assert_eq!(new.bitmap(), after);
            prop_assert_eq!(made, naive(&new));
            prop_assert_eq!(digest(&new), made);
            for slot in bits(after) {
                let salt = (changed >> slot & 1) as u8;
                prop_assert_eq!(new.slot(slot).unwrap().0, value_hash(&[slot as u8, salt]));
            }
        }
    }
}
