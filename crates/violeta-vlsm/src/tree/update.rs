//! Updating a tree: new nodes from the changed leaves up to the root, everything else shared.
//!
//! The result is a function of the set of leaves alone (vlsm.md §1.1): a subtree of one leaf is that leaf, so a delete
//! that leaves one passes it up.
//!
//! Who makes the nodes ([`Maker`]) is told what happens on the way: which nodes' subtrees change, and which leaves.

use violeta_proof::tree::{FANOUT, KeyPath};
use violeta_types::Digest;

use super::codec::{At, NodeSink, Recorded, encode_node};
use super::group::{Before, GROUP_MAX, Group};
use super::node::{Child, Content, Hashed, Place, SharedNode, Tree};
use super::{Leaf, Load, Spot};
use crate::error::StoreError;

/// What a path shall hold.
#[derive(Clone, Debug)]
pub(crate) struct Change<L> {
    pub(crate) path: KeyPath,
    /// The new leaf and its digest, or nothing.
    pub(crate) leaf: Option<(Digest, L)>,
    /// Out: the leaf that was there.
    pub(crate) previous: Option<L>,
}

impl<L: Leaf> Change<L> {
    pub(crate) fn new(path: KeyPath, leaf: Option<(Digest, L)>) -> Self {
        Change {
            path,
            leaf,
            previous: None,
        }
    }

    /// What is at the path then.
    pub(super) fn place(&self) -> Place<L> {
        let (digest, leaf) = self.leaf.clone()?;
        Some((digest, Child::Leaf(leaf)))
    }
}

/// Makes the nodes of a version, in memory, and takes note of what changes.
pub(crate) trait Maker<L: Leaf, N> {
    /// Makes a node, which is hashed already. Returns the way to it.
    fn make(&mut self, content: &Content<'_, L, N>, hashed: &Hashed<'_>) -> L::Link;

    /// Takes note of a node of the version before that has none in its place.
    fn gone(&mut self, node: &N) {
        let _ = node;
    }

    /// The tree changes, whose root was `root`.
    ///
    /// # Errors
    /// If what is needed to take note of it can't be read, or a limit is reached.
    fn begin(&mut self, root: &Place<L>) -> Result<(), StoreError> {
        let _ = root;
        Ok(())
    }

    /// The tree's root is `root` now; it may be given another link.
    fn finish(&mut self, root: &mut Place<L>) {
        let _ = root;
    }

    /// The subtree of the node at `spot`, below the root, changes.
    ///
    /// # Errors
    /// As [`Self::begin`].
    fn enter(&mut self, link: &L::Link, digest: &Digest, spot: Spot<'_>) -> Result<(), StoreError> {
        let _ = (link, digest, spot);
        Ok(())
    }

    /// In place of the node that was at `spot` there is `place` now; it may be given another link.
    fn leave(&mut self, link: &L::Link, spot: Spot<'_>, place: &mut Place<L>) {
        let _ = (link, spot, place);
    }

    /// A leaf changed: where there was one, at the depth `sat` (none: it may be anywhere on its path).
    fn leaf(&mut self, change: &Change<L>, sat: Option<usize>) {
        let _ = (change, sat);
    }
}

/// Makes nodes on the heap, and their records: those of the top tree.
#[derive(Debug)]
pub(crate) struct Heap<L: Leaf> {
    pub(crate) sink: NodeSink,
    /// The nodes that were made, with their digests.
    pub(crate) nodes: Vec<(Digest, SharedNode<L>)>,
}

impl<L: Leaf> Heap<L> {
    pub(crate) fn new(sink: NodeSink) -> Self {
        Heap {
            sink,
            nodes: Vec::new(),
        }
    }
}

impl<L: Leaf<Link = At, Note = Recorded>> Maker<L, SharedNode<L>> for Heap<L> {
    fn make(&mut self, content: &Content<'_, L, SharedNode<L>>, hashed: &Hashed<'_>) -> At {
        let (at, chain) = self.sink.record(|out| encode_node(content, out));
        let node = content.make_hashed(hashed, Recorded { at, chain });
        self.nodes.push((hashed.node, node));
        at
    }
}

/// Applies `changes`, sorted by path and each path once, to `tree`.
pub(crate) fn update<'f, L: Leaf, F: Load<L>>(
    tree: &Tree<L>,
    changes: &mut [Change<L>],
    load: &'f F,
    maker: &mut impl Maker<L, F::Node<'f>>,
) -> Result<Tree<L>, StoreError> {
    update_by(GROUP_MAX, tree, changes, load, maker)
}

/// The same, in groups of so many changes.
fn update_by<'f, L: Leaf, F: Load<L>>(
    group_max: usize,
    tree: &Tree<L>,
    changes: &mut [Change<L>],
    load: &'f F,
    maker: &mut impl Maker<L, F::Node<'f>>,
) -> Result<Tree<L>, StoreError> {
    assert!(
        changes.windows(2).all(|pair| pair[0].path < pair[1].path),
        "changes are sorted, one a path"
    );
    if changes.is_empty() {
        return Ok(tree.clone());
    }
    maker.begin(&tree.root)?;
    let mut update = Update {
        load,
        maker,
        group_max,
        group: Group::new(),
    };
    let (before, way) = (Before::of(tree.root.clone(), 0), F::Way::default());
    let mut root = update.place(before, 0, changes, &way)?;
    maker.finish(&mut root);
    Ok(Tree { root })
}

struct Update<'f, 'a, L: Leaf, F: Load<L>, M> {
    load: &'f F,
    maker: &'a mut M,
    group_max: usize,
    group: Group<L, F::Node<'f>, F::Way>,
}

impl<'f, L: Leaf, F: Load<L>, M: Maker<L, F::Node<'f>>> Update<'f, '_, L, F, M> {
    fn place(
        &mut self,
        before: Before<L>,
        depth: usize,
        changes: &mut [Change<L>],
        way: &F::Way,
    ) -> Result<Place<L>, StoreError> {
        if let Some(sat) = before.is_changed_by(changes) {
            self.maker.leaf(&changes[0], sat);
            return Ok(changes[0].place());
        }
        if changes.len() <= self.group_max {
            let place = (before, depth, way);
            return self.group.apply(self.load, self.maker, place, changes);
        }
        self.slot_by_slot(&before, depth, changes, way)
    }

    /// More changes than a group has: one slot after the other.
    fn slot_by_slot(
        &mut self,
        before: &Before<L>,
        depth: usize,
        changes: &mut [Change<L>],
        way: &F::Way,
    ) -> Result<Place<L>, StoreError> {
        let (path, mut way) = (changes[0].path, way.clone());
        let spot = Spot { path: &path, depth };
        let node = match before {
            Before::Node(digest, link) => {
                self.maker.enter(link, digest, spot)?;
                Some(self.load.load(&mut way, link, digest, spot)?)
            }
            _ => None,
        };
        let mut slots = [const { None }; FANOUT];
        let mut changed = 0;
        for group in changes.chunk_by_mut(|a, b| a.path.slot(depth) == b.path.slot(depth)) {
            let slot = group[0].path.slot(depth);
            let below = before.below(node.as_ref(), depth, slot);
            slots[slot] = self.place(below, depth + 1, group, &way)?;
            changed |= 1 << slot;
        }
        if let Some(slot) = before.moved(depth, changed) {
            slots[slot] = before.leaf();
        }
        let content = Content::new(&slots, node.as_ref().map(|node| (node, changed)));
        let mut place = self.finish(&content);
        if let (Before::Node(_, link), Some(node)) = (before, &node) {
            if !matches!(place, Some((_, Child::Node(_)))) {
                self.maker.gone(node);
            }
            self.maker.leave(link, spot, &mut place);
        }
        Ok(place)
    }

    /// What becomes of a node: nothing, its one leaf, or a node.
    fn finish(&mut self, content: &Content<'_, L, F::Node<'f>>) -> Place<L> {
        if content.bitmap().count_ones() < 2 {
            let (_, digest, child) = content.slots(u16::MAX).next()?;
            if let Child::Leaf(_) = child {
                return Some((digest, child));
            }
        }
        let mut room = [Digest::ZERO; 2 * FANOUT];
        let hashed = content.hash(&mut room);
        let link = self.maker.make(content, &hashed);
        Some((hashed.node, Child::Node(link)))
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::collections::BTreeMap;

    use super::*;
    use crate::tree::node::{SharedNode, View};
    use proptest::prelude::*;
    use violeta_proof::tree::{node_hash, slots_root, value_hash};

    /// A path and a number.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    struct Mark(KeyPath, u8);

    impl Leaf for Mark {
        type Link = At;
        type Note = ();

        fn path(&self) -> &KeyPath {
            &self.0
        }

        fn encode(&self, _: &mut Vec<u8>) {
            unreachable!("nothing is written here")
        }

        fn decode(_: &mut &[u8]) -> Option<Self> {
            unreachable!("nothing is read here")
        }
    }

    impl Mark {
        fn digest(&self) -> Digest {
            value_hash(&[&self.0.0[..], &[self.1]].concat())
        }
    }

    /// All nodes that there ever were, by number.
    #[derive(Default)]
    struct Nodes(RefCell<Vec<SharedNode<Mark>>>);

    impl Load<Mark> for Nodes {
        type Node<'a> = SharedNode<Mark>;
        type Way = ();

        fn load(
            &self,
            (): &mut (),
            link: &At,
            _: &Digest,
            _: Spot<'_>,
        ) -> Result<SharedNode<Mark>, StoreError> {
            Ok(self.0.borrow()[link.0 as usize].clone())
        }

        fn look<R>(
            &self,
            way: &mut (),
            link: &At,
            expected: &Digest,
            spot: Spot<'_>,
            look: impl Fn(&dyn View<Mark>) -> R,
        ) -> Result<R, StoreError> {
            Ok(look(&self.load(way, link, expected, spot)?))
        }
    }

    /// What a maker is told.
    #[derive(Clone, Debug, PartialEq, Eq)]
    enum Told {
        Enter(KeyPath, usize),
        Leave(KeyPath, usize, Digest),
        Gone,
        Leaf(KeyPath, Option<usize>),
    }

    struct Listener<'a> {
        nodes: &'a Nodes,
        told: Vec<Told>,
    }

    impl Maker<Mark, SharedNode<Mark>> for Listener<'_> {
        fn make(
            &mut self,
            content: &Content<'_, Mark, SharedNode<Mark>>,
            hashed: &Hashed<'_>,
        ) -> At {
            let (mut nodes, (anew, digest)) = (self.nodes.0.borrow_mut(), content.make(()));
            assert_eq!(hashed.node, digest);
            let node = content.make_hashed(hashed, ());
            for slot in super::super::bits(node.bitmap()) {
                assert_eq!(node.siblings(slot), anew.siblings(slot));
            }
            nodes.push(node);
            At(nodes.len() as u64 - 1)
        }

        fn gone(&mut self, _: &SharedNode<Mark>) {
            self.told.push(Told::Gone);
        }

        fn enter(&mut self, _: &At, _: &Digest, spot: Spot<'_>) -> Result<(), StoreError> {
            self.told.push(Told::Enter(*spot.path, spot.depth));
            Ok(())
        }

        fn leave(&mut self, _: &At, spot: Spot<'_>, place: &mut Place<Mark>) {
            let digest = place.as_ref().map_or(Digest::ZERO, |(digest, _)| *digest);
            self.told.push(Told::Leave(*spot.path, spot.depth, digest));
        }

        fn leaf(&mut self, change: &Change<Mark>, sat: Option<usize>) {
            self.told.push(Told::Leaf(change.path, sat));
        }
    }

    /// The digest of the subtree of some leaves at a depth, as the rules say.
    fn naive(marks: &[Mark], depth: usize) -> Option<Digest> {
        if let [] | [_] = marks {
            return marks.first().map(Mark::digest);
        }
        let slots: [_; FANOUT] = std::array::from_fn(|slot| {
            let here = marks.iter().filter(|mark| mark.0.slot(depth) == slot);
            naive(&here.copied().collect::<Vec<_>>(), depth + 1)
        });
        let filled = (0..FANOUT).filter(|slot| slots[*slot].is_some());
        let bitmap = filled.fold(0, |bitmap, slot| bitmap | 1 << slot);
        Some(node_hash(bitmap, &slots_root(&slots)?))
    }

    /// Paths that have much in common, so that there are long ways with one slot each.
    fn path() -> impl Strategy<Value = KeyPath> {
        let nibbles = (
            0u8..5,
            0u8..4,
            any::<u8>(),
            prop::sample::select(vec![0, 3, 29, 31]),
        );
        nibbles.prop_map(|(first, second, byte, at)| {
            let mut path = [0; 32];
            path[0] = first << 4 | second;
            path[at] ^= byte;
            KeyPath(path)
        })
    }

    type Batch = BTreeMap<KeyPath, Option<u8>>;

    fn batch() -> impl Strategy<Value = Batch> {
        prop::collection::btree_map(path(), any::<Option<u8>>(), 1..60)
    }

    /// Applies batches one after the other, and checks everything that can be known of each. Returns what was told.
    fn apply(group_max: usize, batches: &[Batch]) -> Vec<Vec<Told>> {
        let (nodes, mut tree, mut model) = (Nodes::default(), Tree::default(), BTreeMap::new());
        let apply = |batch: &Batch| {
            let mut changes: Vec<_> = (batch.iter())
                .map(|(path, number)| {
                    let mark = number.map(|number| Mark(*path, number));
                    Change::new(*path, mark.map(|mark| (mark.digest(), mark)))
                })
                .collect();
            let mut listener = Listener {
                nodes: &nodes,
                told: Vec::new(),
            };
            tree = update_by(group_max, &tree, &mut changes, &nodes, &mut listener).unwrap();
            for change in &changes {
                let before = match batch[&change.path] {
                    Some(number) => model.insert(change.path, Mark(change.path, number)),
                    None => model.remove(&change.path),
                };
                assert_eq!(change.previous, before);
            }
            let marks: Vec<_> = model.values().copied().collect();
            assert_eq!(tree.digest(), naive(&marks, 0).unwrap_or_default());
            let leaves = listener.told.iter().filter_map(|told| match told {
                Told::Leaf(path, _) => Some(path),
                _ => None,
            });
            assert!(leaves.eq(batch.keys()), "each change once, in order");
            listener.told
        };
        batches.iter().map(apply).collect()
    }

    proptest! {
        #[test]
        fn in_groups_or_slot_by_slot_trees_are_what_their_leaves_say(
            batches in prop::collection::vec(batch(), 1..6),
        ) {
            let told = apply(GROUP_MAX, &batches);
            for group_max in [0, 1, 2, 7] {
                prop_assert_eq!(&apply(group_max, &batches), &told);
            }
        }
    }

    #[test]
    fn where_a_leaf_sat_is_told_unless_others_moved_it() {
        let at = |byte| KeyPath([byte; 32]);
        let batches = [
            Batch::from([(at(0x11), Some(0)), (at(0x22), Some(0))]),
            Batch::from([(at(0x11), Some(1))]),
            Batch::from([(at(0x12), Some(0)), (at(0x22), None)]),
            Batch::from([(at(0x12), None)]),
        ];
        let root = |told: &[Told]| {
            let mut all = vec![Told::Enter(told_path(told), 0)];
            all.extend(told.to_vec());
            all
        };
        for group_max in [0, GROUP_MAX] {
            let told = apply(group_max, &batches);
            assert_eq!(
                told[0],
                [Told::Leaf(at(0x11), None), Told::Leaf(at(0x22), None)]
            );
            let (last, rest) = told[1].split_last().unwrap();
            assert_eq!(rest, root(&[Told::Leaf(at(0x11), Some(1))]));
            assert!(matches!(last, Told::Leave(_, 0, _)));
            let (_, rest) = told[2].split_last().unwrap();
            let leaves = [Told::Leaf(at(0x12), None), Told::Leaf(at(0x22), Some(1))];
            assert_eq!(rest, root(&leaves));
            // The root has one node below, with two leaves; one of them is left, and becomes the tree.
            let path = at(0x12);
            let left = Mark(at(0x11), 1).digest();
            let all = [
                Told::Enter(path, 0),
                Told::Enter(path, 1),
                Told::Leaf(path, Some(2)),
                Told::Gone,
                Told::Leave(path, 1, left),
                Told::Gone,
                Told::Leave(path, 0, left),
            ];
            assert_eq!(told[3], all);
        }
    }

    fn told_path(told: &[Told]) -> KeyPath {
        match told.first() {
            Some(Told::Leaf(path, _) | Told::Enter(path, _)) => *path,
            other => panic!("{other:?} comes first"),
        }
    }
}
