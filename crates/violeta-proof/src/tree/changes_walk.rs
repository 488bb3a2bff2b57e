//! The verifier's walk over what differs between two trees: both roots at once (the picture is in `changes.rs`).

use violeta_types::Digest;

use super::changes::{ChangedLeaf, ChangedTree, Kind, LeafChange, OpenPair, Sides};
use super::error::{PartialTreeError, Piece, Side};
use super::partial::OpenNode;
use super::rules::{DEPTH_MAX, FANOUT, KeyPath, leaf_hash_of, node_hash};
use super::slots::{Halves, group, widest_closed};
use super::window::{Prefix, Window, holds, meeting};

impl ChangedTree {
    /// The roots that this leads to, if the two trees differ. `visit` is told the leaves within the window that differ,
    /// in order; none of that may be believed before the roots were compared.
    pub(super) fn walk(
        &self,
        window: Window<'_>,
        visit: impl FnMut(&KeyPath, &ChangedLeaf),
    ) -> Result<Sides<Digest>, PartialTreeError> {
        let walk = Walk {
            nodes: self.nodes.iter(),
            leaves: self.leaves.iter(),
            digests: self.digests.iter(),
            last: None,
            part: None,
            window,
            visit,
        };
        walk.roots(self.roots)
    }
}

/// The digests of what is in a place.
type Digests = Sides<Option<Digest>>;

/// The rest of the three arrays, and whoever wants to know of leaves.
struct Walk<'a, 'w, V> {
    nodes: std::slice::Iter<'a, OpenPair>,
    leaves: std::slice::Iter<'a, ChangedLeaf>,
    digests: std::slice::Iter<'a, Digest>,
    /// The path of the last leaf.
    last: Option<KeyPath>,
    /// The one-sided part that is being walked. There is none within another.
    part: Option<OneSided>,
    window: Window<'w>,
    visit: V,
}

/// A part of the trees where one version has nodes and the other at most a leaf.
struct OneSided {
    /// The version that has nodes.
    side: Side,
    /// Where it begins.
    prefix: Prefix,
    /// What the other version has: a leaf, or nothing.
    other: Kind,
    /// That leaf's digest, once it was told.
    found: Option<Digest>,
}

/// A place whose slots are being walked.
struct Frame<'w> {
    nodes: Sides<Option<OpenNode>>,
    prefix: Prefix,
    window: Window<'w>,
    /// The slots that meet the window.
    inside: u16,
    open: u16,
    halves: Sides<Halves>,
}

/// What became of a place: it was done at once, or has slots to be walked.
enum Entered<'w> {
    Done(Digests),
    Node(Frame<'w>),
}

impl Frame<'_> {
    fn at(&self) -> usize {
        self.halves.old.at()
    }

    fn push(&mut self, width: usize, digests: Digests) {
        self.halves.old.push(width, digests.old);
        self.halves.new.push(width, digests.new);
    }

    /// Which slots are filled on each side.
    fn bitmaps(&self) -> Sides<u16> {
        let bitmap = |node: &Option<OpenNode>| node.map_or(0, |node| node.bitmap);
        Sides {
            old: bitmap(&self.nodes.old),
            new: bitmap(&self.nodes.new),
        }
    }

    /// What an open slot holds on each side.
    fn kinds(&self, slot: usize) -> Sides<Kind> {
        let kind = |node: &Option<OpenNode>| match node {
            Some(node) if node.leaves >> slot & 1 == 1 => Kind::Leaf,
            Some(node) if node.bitmap >> slot & 1 == 1 => Kind::Node,
            _ => Kind::Empty,
        };
        Sides {
            old: kind(&self.nodes.old),
            new: kind(&self.nodes.new),
        }
    }

    fn digests(&self) -> Result<Digests, PartialTreeError> {
        let depth = self.prefix.depth();
        let digest = |node: &Option<OpenNode>, halves: &Halves| {
            let Some(node) = node else {
                return Ok(None);
            };
            let compressed = halves.root();
            let compressed = compressed.ok_or(PartialTreeError::EmptyNode { depth })?;
            Ok(Some(node_hash(node.bitmap, &compressed)))
        };
        Ok(Sides {
            old: digest(&self.nodes.old, &self.halves.old)?,
            new: digest(&self.nodes.new, &self.halves.new)?,
        })
    }

    /// The group of closed slots that comes next: how wide it is, and whether it is inside of the window.
    fn closed(&self) -> (usize, bool) {
        let bitmaps = self.bitmaps();
        widest_closed(bitmaps.old | bitmaps.new, self.inside, self.open, self.at())
    }
}

impl<V: FnMut(&KeyPath, &ChangedLeaf)> Walk<'_, '_, V> {
    fn roots(mut self, kinds: Sides<Kind>) -> Result<Sides<Digest>, PartialTreeError> {
        let window = self.window;
        let digests = match self.enter(Prefix::ROOT, window, kinds)? {
            Entered::Done(digests) => digests,
            Entered::Node(root) => self.node(root)?,
        };
        self.finish()?;
        Ok(Sides {
            old: digests.old.unwrap_or_default(),
            new: digests.new.unwrap_or_default(),
        })
    }

    /// Walks the slots of the roots and all that is open below.
    fn node(&mut self, root: Frame<'_>) -> Result<Digests, PartialTreeError> {
        let mut stack: Vec<Frame<'_>> = Vec::new();
        let mut frame = root;
        loop {
            assert!(stack.len() < DEPTH_MAX, "no node is opened below");
            let at = frame.at();
            if at == FANOUT {
                let digests = self.leave(&frame)?;
                let Some(parent) = stack.pop() else {
                    return Ok(digests);
                };
                frame = parent;
                frame.push(1, digests);
            } else if frame.open >> at & 1 == 0 {
                let (width, is_inside) = frame.closed();
                let digests = self.closed(&frame, width, is_inside)?;
                frame.push(width, digests);
            } else {
                let (prefix, kinds) = (frame.prefix.child(at), frame.kinds(at));
                match self.enter(prefix, frame.window, kinds)? {
                    Entered::Done(digests) => frame.push(1, digests),
                    Entered::Node(child) => stack.push(std::mem::replace(&mut frame, child)),
                }
            }
        }
    }

    /// Goes on in an open place with what each version has there.
    fn enter<'w>(
        &mut self,
        prefix: Prefix,
        window: Window<'w>,
        kinds: Sides<Kind>,
    ) -> Result<Entered<'w>, PartialTreeError> {
        let side = match (kinds.old, kinds.new) {
            (Kind::Node, Kind::Node) => return self.open(prefix, window, None),
            (Kind::Node, _) => Side::Old,
            (_, Kind::Node) => Side::New,
            _ if self.part.is_some() => {
                let side = if kinds.old == Kind::Leaf {
                    Side::Old
                } else {
                    Side::New
                };
                return Ok(Entered::Done(self.leaf_in_part(side, &prefix)?));
            }
            _ => return Ok(Entered::Done(self.leaves(&prefix, kinds)?)),
        };
        if self.part.is_none() {
            self.part = Some(OneSided {
                side,
                prefix,
                other: *kinds.get(side.other()),
                found: None,
            });
        }
        self.open(prefix, window, Some(side))
    }

    /// Opens the nodes of both versions, or the one of `only`.
    fn open<'w>(
        &mut self,
        prefix: Prefix,
        window: Window<'w>,
        only: Option<Side>,
    ) -> Result<Entered<'w>, PartialTreeError> {
        let depth = prefix.depth();
        let missing = PartialTreeError::Missing(Piece::Node);
        let pair = *self.nodes.next().ok_or(missing)?;
        if depth == DEPTH_MAX {
            return Err(PartialTreeError::TooDeep);
        }
        let (nodes, differ) = match (pair, only) {
            (OpenPair::Old(node), Some(Side::Old)) => (Sides::put(Side::Old, Some(node), None), !0),
            (OpenPair::New(node), Some(Side::New)) => (Sides::put(Side::New, Some(node), None), !0),
            (OpenPair::Both { old, new, differ }, None) => {
                let (old, new) = (Some(old), Some(new));
                (Sides { old, new }, differ)
            }
            _ => return Err(PartialTreeError::Slots { depth }),
        };
        let window = meeting(window, &prefix.span());
        let mut frame = Frame {
            nodes,
            prefix,
            window,
            inside: prefix.slots_meeting(window),
            open: 0,
            halves: Sides::default(),
        };
        let bitmaps = frame.bitmaps();
        let may_be_open = (bitmaps.old | bitmaps.new) & frame.inside;
        frame.open = match only {
            Some(_) => may_be_open,
            None => differ,
        };
        let is_sound = |node: &OpenNode| node.leaves & !(node.bitmap & frame.open) == 0;
        let nodes = [nodes.old, nodes.new];
        if frame.open & !may_be_open != 0 || !nodes.iter().flatten().all(is_sound) {
            return Err(PartialTreeError::Slots { depth });
        }
        Ok(Entered::Node(frame))
    }

    /// The digests of a place all slots of which were walked.
    fn leave(&mut self, frame: &Frame<'_>) -> Result<Digests, PartialTreeError> {
        let mut digests = frame.digests()?;
        let depth = frame.prefix.depth();
        if let Some(part) = self.part.take_if(|part| part.prefix == frame.prefix) {
            let other = self.other_of(part)?;
            match digests.old.is_none() {
                true => digests.old = other,
                false => digests.new = other,
            }
        }
        match digests.old == digests.new {
            true => Err(PartialTreeError::OpenedInVain { depth }),
            false => Ok(digests),
        }
    }

    /// The digest of what the other version has in a one-sided part's place, all of which was walked.
    fn other_of(&mut self, part: OneSided) -> Result<Option<Digest>, PartialTreeError> {
        let depth = part.prefix.depth();
        let mut found = part.found;
        if part.other == Kind::Leaf && found.is_none() {
            let digests = self.take(&part.prefix)?;
            found = *digests.get(part.side.other());
            if digests.get(part.side).is_some() {
                return Err(PartialTreeError::LeafSides { depth });
            }
        }
        match (part.other == Kind::Leaf) == found.is_some() {
            true => Ok(found),
            false => Err(PartialTreeError::LeafSides { depth }),
        }
    }

    /// A group of closed slots: if it is inside of the window, it is the same in both versions.
    fn closed(
        &mut self,
        frame: &Frame<'_>,
        width: usize,
        is_inside: bool,
    ) -> Result<Digests, PartialTreeError> {
        let slots = group(frame.at(), width);
        let bitmaps = frame.bitmaps();
        let (old, new) = (bitmaps.old & slots, bitmaps.new & slots);
        if !is_inside {
            return Ok(Sides {
                old: self.digest_if(old != 0)?,
                new: self.digest_if(new != 0)?,
            });
        }
        if old != new {
            let depth = frame.prefix.depth();
            return Err(PartialTreeError::ClosedTooMuch { depth });
        }
        let digest = self.digest_if(old != 0)?;
        Ok(Sides {
            old: digest,
            new: digest,
        })
    }

    fn digest_if(&mut self, is_filled: bool) -> Result<Option<Digest>, PartialTreeError> {
        if !is_filled {
            return Ok(None);
        }
        let missing = PartialTreeError::Missing(Piece::Digest);
        self.digests.next().copied().map(Some).ok_or(missing)
    }

    /// A place where each version has nothing or a leaf: the same key's, or each its own.
    fn leaves(&mut self, prefix: &Prefix, kinds: Sides<Kind>) -> Result<Digests, PartialTreeError> {
        let depth = prefix.depth();
        let add = |had: Option<Digest>, came: Option<Digest>, kind: Kind| match (had, came) {
            (had, None) => Ok(had),
            (None, came) if kind == Kind::Leaf => Ok(came),
            _ => Err(PartialTreeError::LeafSides { depth }),
        };
        let is_whole =
            |digest: Option<Digest>, kind: Kind| digest.is_some() == (kind == Kind::Leaf);
        let mut digests = Digests::default();
        while !is_whole(digests.old, kinds.old) || !is_whole(digests.new, kinds.new) {
            let taken = self.take(prefix)?;
            digests.old = add(digests.old, taken.old, kinds.old)?;
            digests.new = add(digests.new, taken.new, kinds.new)?;
        }
        match digests.old.is_some() && digests.old == digests.new {
            true => Err(PartialTreeError::OpenedInVain { depth }),
            false => Ok(digests),
        }
    }

    /// A leaf of the version that has nodes, in a one-sided part; before it, perhaps, the other version's leaf.
    fn leaf_in_part(&mut self, side: Side, prefix: &Prefix) -> Result<Digests, PartialTreeError> {
        let depth = prefix.depth();
        let fail = PartialTreeError::LeafSides { depth };
        let Some(OneSided {
            prefix: begin,
            found,
            ..
        }) = self.part
        else {
            return Err(fail);
        };
        let mut found = found;
        let is_alone = |leaf: &ChangedLeaf| leaf.change.value_hashes().get(side).is_none();
        if found.is_none() && self.leaves.as_slice().first().is_some_and(is_alone) {
            found = *self.take(&begin)?.get(side.other());
        }
        let digests = self.take(prefix)?;
        let here = digests.get(side).ok_or(fail)?;
        match (found, *digests.get(side.other())) {
            (Some(_), Some(_)) => return Err(fail),
            (None, other) => found = other,
            (Some(_), None) => {}
        }
        if let Some(part) = &mut self.part {
            part.found = found;
        }
        Ok(Sides::put(side, Some(here), None))
    }

    /// The next leaf, which must be below `prefix`: its digests in both versions.
    fn take(&mut self, prefix: &Prefix) -> Result<Digests, PartialTreeError> {
        let depth = prefix.depth();
        let missing = PartialTreeError::Missing(Piece::Leaf);
        let leaf = self.leaves.next().ok_or(missing)?;
        let path = KeyPath::of(&leaf.key);
        if !prefix.span().holds(&path) {
            return Err(PartialTreeError::LeafElsewhere { depth });
        }
        if self.last.is_some_and(|last| path <= last) {
            return Err(PartialTreeError::LeafOrder { depth });
        }
        self.last = Some(path);
        let values = leaf.change.value_hashes();
        match leaf.change {
            LeafChange::Replaced { old, new } if old == new => {
                return Err(PartialTreeError::OpenedInVain { depth });
            }
            LeafChange::Kept { .. } => {}
            _ if holds(self.window, &path) => (self.visit)(&path, leaf),
            _ => {}
        }
        Ok(Sides {
            old: values.old.map(|value| leaf_hash_of(&leaf.key, &value)),
            new: values.new.map(|value| leaf_hash_of(&leaf.key, &value)),
        })
    }

    /// Nothing may be left over.
    fn finish(self) -> Result<(), PartialTreeError> {
        let rests = [
            (Piece::Node, self.nodes.len()),
            (Piece::Leaf, self.leaves.len()),
            (Piece::Digest, self.digests.len()),
        ];
        match rests.into_iter().find(|(_, rest)| *rest > 0) {
            Some((piece, _)) => Err(PartialTreeError::Surplus(piece)),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::rules::value_hash;
    use crate::tree::window::PathRange;
    use violeta_types::Bounded;

    /// A key in slot 3 and one in slot 12 of the root.
    fn two_keys() -> [Vec<u8>; 2] {
        [3, 12].map(|slot| {
            let keys = (0u32..).map(|i| i.to_le_bytes().to_vec());
            let mut there = keys.filter(|key| KeyPath::of(key).slot(0) == slot);
            there.next().unwrap()
        })
    }

    fn leaf(key: &[u8], change: LeafChange) -> ChangedLeaf {
        let key = key.try_into().unwrap();
        ChangedLeaf { key, change }
    }

    fn node(bitmap: u16, leaves: u16) -> OpenNode {
        OpenNode { bitmap, leaves }
    }

    fn walk(
        roots: (Kind, Kind),
        nodes: &[OpenPair],
        leaves: &[ChangedLeaf],
        digests: usize,
    ) -> Result<Sides<Digest>, PartialTreeError> {
        let tree = ChangedTree {
            roots: Sides {
                old: roots.0,
                new: roots.1,
            },
            nodes: nodes.to_vec().try_into().unwrap(),
            leaves: leaves.to_vec().try_into().unwrap(),
            digests: Bounded::try_from(vec![Digest::ZERO; digests]).unwrap(),
        };
        tree.walk(&[PathRange::ALL], |_, _| {})
    }

    #[test]
    fn one_leaf_becomes_two() {
        let [a, b] = two_keys();
        let (old, new) = (value_hash(b"1"), value_hash(b"2"));
        let bitmap = 1 << 3 | 1 << 12;
        let leaves = [
            leaf(&a, LeafChange::Replaced { old, new }),
            leaf(&b, LeafChange::Added { new }),
        ];
        let nodes = [OpenPair::New(node(bitmap, bitmap))];
        let roots = walk((Kind::Leaf, Kind::Node), &nodes, &leaves, 0).unwrap();
        let [a, b] = [&a, &b].map(|key| leaf_hash_of(key, &new));
        let compressed = crate::tree::rules::inner_hash(&a, &b);
        assert_eq!(roots.old, leaf_hash_of(&leaves[0].key, &old));
        assert_eq!(roots.new, node_hash(bitmap, &compressed));
    }

    #[test]
    fn leaves_that_do_not_fit_the_shapes_are_refused() {
        let [a, b] = two_keys();
        let (old, new) = (value_hash(b"1"), value_hash(b"2"));
        let (added, removed) = (LeafChange::Added { new }, LeafChange::Removed { old });
        let refused = |kinds, leaves: &[ChangedLeaf]| walk(kinds, &[], leaves, 0).unwrap_err();
        let depth = 0;
        let sides = PartialTreeError::LeafSides { depth };
        let both = (Kind::Leaf, Kind::Leaf);
        let (a, b) = (|change| leaf(&a, change), |change| leaf(&b, change));
        assert_eq!(refused(both, &[a(added), b(added)]), sides);
        assert_eq!(refused((Kind::Leaf, Kind::Empty), &[a(added)]), sides);
        let missing = PartialTreeError::Missing(Piece::Leaf);
        assert_eq!(refused(both, &[a(added)]), missing);
        let order = PartialTreeError::LeafOrder { depth };
        assert_eq!(refused(both, &[b(removed), a(added)]), order);
        assert_eq!(refused(both, &[a(removed), a(added)]), order, "told twice");
        let vain = PartialTreeError::OpenedInVain { depth };
        let same = LeafChange::Replaced { old, new: old };
        assert_eq!(refused(both, &[a(same)]), vain);
        let kept = LeafChange::Kept { value_hash: old };
        assert_eq!(refused(both, &[a(kept)]), vain);

        let bitmap = 1 << 3 | 1 << 12;
        let nodes = [OpenPair::New(node(bitmap, bitmap))];
        let one_sided = |kind, leaves: &[ChangedLeaf]| {
            let walked = walk((kind, Kind::Node), &nodes, leaves, 0);
            walked.unwrap_err()
        };
        let found_none = one_sided(Kind::Leaf, &[a(added), b(added)]);
        assert_eq!(found_none, missing, "the older leaf isn't told");
        let found_one = one_sided(Kind::Empty, &[a(added), b(kept)]);
        assert_eq!(found_one, sides, "there is no older leaf");
        let depth = 1;
        let sides = PartialTreeError::LeafSides { depth };
        let found_two = one_sided(Kind::Leaf, &[a(kept), b(kept)]);
        assert_eq!(found_two, sides, "there are two older leaves");
    }

    #[test]
    fn what_is_said_to_be_the_same_has_the_same_slots() {
        let refused = |old, new, differ| {
            let (old, new) = (node(old, 0), node(new, 0));
            let nodes = [OpenPair::Both { old, new, differ }];
            walk((Kind::Node, Kind::Node), &nodes, &[], 1).unwrap_err()
        };
        let depth = 0;
        let closed = PartialTreeError::ClosedTooMuch { depth };
        assert_eq!(refused(3, 5, 0), closed);
        assert_eq!(refused(3, 3, 0), PartialTreeError::OpenedInVain { depth });
        let slots = PartialTreeError::Slots { depth };
        assert_eq!(refused(3, 5, 8), slots, "an empty slot differs");
        assert_eq!(refused(0, 0, 0), PartialTreeError::EmptyNode { depth });
        let (old, new) = (node(1, 2), node(2, 0));
        let differ = 3;
        let nodes = [OpenPair::Both { old, new, differ }];
        let marked = walk((Kind::Node, Kind::Node), &nodes, &[], 1);
        assert_eq!(marked, Err(slots), "a leaf in an empty slot");
        let other = walk((Kind::Node, Kind::Empty), &nodes, &[], 1);
        assert_eq!(other, Err(slots), "two nodes where there is one");
    }

    #[test]
    fn a_way_ends_where_its_path_does() {
        let both = OpenPair::Both {
            old: node(1, 0),
            new: node(1, 0),
            differ: 1,
        };
        let way = vec![both; DEPTH_MAX + 1];
        let refused = walk((Kind::Node, Kind::Node), &way, &[], 0);
        assert_eq!(refused, Err(PartialTreeError::TooDeep));
        let way = vec![OpenPair::Old(node(1, 0)); DEPTH_MAX + 1];
        let refused = walk((Kind::Node, Kind::Empty), &way, &[], 0);
        assert_eq!(refused, Err(PartialTreeError::TooDeep));
    }
}
