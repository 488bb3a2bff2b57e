//! Updating a tree: new nodes from the changed leaves up to the root, everything else shared.
//!
//! The result is a function of the set of leaves alone (vlsm.md §1.1): a subtree of one leaf is that leaf, so a delete
//! that leaves one passes it up.
//!
//! Who makes the nodes ([`Maker`]) is told what happens on the way: which nodes' subtrees change, and which leaves.

use std::marker::PhantomData;

use violeta_proof::tree::{FANOUT, KeyPath};
use violeta_types::Digest;

use super::codec::{At, NodeSink, Recorded, encode_node};
use super::node::{Child, Content, Place, SharedNode, Tree, View};
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

    fn place(&self) -> Place<L> {
        let (digest, leaf) = self.leaf.clone()?;
        Some((digest, Child::Leaf(leaf)))
    }
}

/// Changes whose nodes are fetched at once: what they touch fits the processor's second cache.
pub(super) const WARMED_MAX: usize = 128;

/// Makes the nodes of a version, in memory, and takes note of what changes.
pub(crate) trait Maker<L: Leaf, N> {
    /// Makes a node. Returns the way to it, and its digest.
    fn make(&mut self, content: &Content<'_, L, N>) -> (L::Link, Digest);

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
    fn make(&mut self, content: &Content<'_, L, SharedNode<L>>) -> (At, Digest) {
        let (at, chain) = self.sink.record(|out| encode_node(content, out));
        let (node, digest) = content.make(Recorded { at, chain });
        self.nodes.push((digest, node));
        (at, digest)
    }
}

/// Applies `changes`, sorted by path and each path once, to `tree`.
pub(crate) fn update<'f, L: Leaf, F: Load<L>>(
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
        warm: false,
        leaf: PhantomData,
    };
    let way = F::Way::default();
    let mut root = update.place(tree.root.clone(), 0, changes, &way)?;
    maker.finish(&mut root);
    Ok(Tree { root })
}

struct Update<'f, 'a, L, F, M> {
    load: &'f F,
    maker: &'a mut M,
    /// Whether what is visited now is in the processor's cache.
    warm: bool,
    leaf: PhantomData<L>,
}

impl<'f, L: Leaf, F: Load<L>, M: Maker<L, F::Node<'f>>> Update<'f, '_, L, F, M> {
    fn place(
        &mut self,
        old: Place<L>,
        depth: usize,
        changes: &mut [Change<L>],
        way: &F::Way,
    ) -> Result<Place<L>, StoreError> {
        assert!(!changes.is_empty(), "only changed places are visited");
        match (old, changes) {
            (None, [only]) => {
                self.maker.leaf(only, None);
                Ok(only.place())
            }
            (None, changes) => Ok({
                let leaves = self.leaves_of(changes);
                self.build(depth, &leaves)
            }),
            (Some((_, Child::Leaf(leaf))), [own]) if own.path == *leaf.path() => {
                own.previous = Some(leaf);
                self.maker.leaf(own, Some(depth));
                Ok(own.place())
            }
            (Some((digest, Child::Leaf(leaf))), changes) => {
                Ok(self.beside(digest, leaf, depth, changes))
            }
            (Some((digest, Child::Node(link))), changes) => {
                self.below(&digest, &link, depth, changes, way)
            }
        }
    }

    /// Changes below a node.
    fn below(
        &mut self,
        digest: &Digest,
        link: &L::Link,
        depth: usize,
        changes: &mut [Change<L>],
        way: &F::Way,
    ) -> Result<Place<L>, StoreError> {
        let warms = !self.warm && changes.len() <= WARMED_MAX;
        if warms {
            self.load.warm_up(link, depth, changes);
            self.warm = true;
        }
        let path = changes[0].path;
        let spot = Spot { path: &path, depth };
        self.maker.enter(link, digest, spot)?;
        let mut way = way.clone();
        let node = self.load.load(&mut way, link, digest, spot)?;
        let mut place = self.node(&node, depth, changes, &way)?;
        self.maker.leave(link, spot, &mut place);
        self.warm &= !warms;
        Ok(place)
    }

    /// Changes where a leaf is: it stays unless one of the changes is its own.
    fn beside(
        &mut self,
        digest: Digest,
        leaf: L,
        depth: usize,
        changes: &mut [Change<L>],
    ) -> Place<L> {
        match changes.binary_search_by(|change| change.path.cmp(leaf.path())) {
            Ok(own) => {
                changes[own].previous = Some(leaf);
                {
                    let leaves = self.leaves_of(changes);
                    self.build(depth, &leaves)
                }
            }
            Err(between) => {
                let mut leaves = self.leaves_of(&changes[..between]);
                leaves.push((digest, leaf));
                leaves.extend(self.leaves_of(&changes[between..]));
                self.build(depth, &leaves)
            }
        }
    }

    fn node(
        &mut self,
        node: &F::Node<'f>,
        depth: usize,
        changes: &mut [Change<L>],
        way: &F::Way,
    ) -> Result<Place<L>, StoreError> {
        let mut slots = [const { None }; FANOUT];
        let mut changed = 0u16;
        let mut rest = changes;
        while let Some(first) = rest.first() {
            let slot = first.path.slot(depth);
            let end = rest
                .iter()
                .take_while(|change| change.path.slot(depth) == slot);
            let (group, others) = rest.split_at_mut(end.count());
            slots[slot] = self.place(node.slot(slot), depth + 1, group, way)?;
            changed |= 1 << slot;
            rest = others;
        }
        let content = Content::new(&slots, Some((node, changed)));
        let place = self.finish(&content);
        if !matches!(place, Some((_, Child::Node(_)))) {
            self.maker.gone(node);
        }
        Ok(place)
    }

    /// The subtree of `leaves`, sorted by path.
    fn build(&mut self, depth: usize, leaves: &[(Digest, L)]) -> Place<L> {
        if let [] | [_] = leaves {
            let (digest, leaf) = leaves.first()?;
            return Some((*digest, Child::Leaf(leaf.clone())));
        }
        let mut slots = [const { None }; FANOUT];
        let same_slot =
            |a: &(Digest, L), b: &(Digest, L)| a.1.path().slot(depth) == b.1.path().slot(depth);
        for group in leaves.chunk_by(same_slot) {
            if let Some((_, first)) = group.first() {
                slots[first.path().slot(depth)] = self.build(depth + 1, group);
            }
        }
        self.finish(&Content::new(&slots, None))
    }

    /// What becomes of a node: nothing, its one leaf, or a node.
    fn finish(&mut self, content: &Content<'_, L, F::Node<'f>>) -> Place<L> {
        if content.bitmap().count_ones() < 2 {
            let (_, digest, child) = content.slots(u16::MAX).next()?;
            if let Child::Leaf(_) = child {
                return Some((digest, child));
            }
        }
        let (link, digest) = self.maker.make(content);
        Some((digest, Child::Node(link)))
    }

    /// The leaves that there will be after changes at one place.
    fn leaves_of(&mut self, changes: &[Change<L>]) -> Vec<(Digest, L)> {
        changes
            .iter()
            .inspect(|change| self.maker.leaf(change, None))
            .filter_map(|change| change.leaf.clone())
            .collect()
    }
}
