//! Updating a tree: new nodes from the changed leaves up to the root, everything else shared.
//!
//! The result is a function of the set of leaves alone (vlsm.md §1.1): a subtree of one leaf is that leaf, so a delete
//! that leaves one passes it up.

use std::marker::PhantomData;

use violeta_proof::tree::{FANOUT, KeyPath};
use violeta_types::Digest;

use super::arena::Seat;
use super::codec::{At, NODE_RECORD_BYTES_MAX, encode_node};
use super::node::{Child, Content, Link, Place, SharedNode, Tree, View};
use super::{Leaf, Load};
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

impl<L> Change<L> {
    pub(crate) fn new(path: KeyPath, leaf: Option<(Digest, L)>) -> Self {
        Change {
            path,
            leaf,
            previous: None,
        }
    }

    fn place(&self) -> Place<L>
    where
        L: Clone,
    {
        let (digest, leaf) = self.leaf.clone()?;
        Some((digest, Child::Leaf(leaf)))
    }
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

    /// The records.
    pub(crate) fn finish(self) -> Vec<u8> {
        self.bytes
    }
}

/// Changes whose nodes are fetched at once: what they touch fits the processor's second cache.
pub(super) const WARMED_MAX: usize = 128;

/// Makes the nodes of a version, in memory.
pub(crate) trait Maker<L, N> {
    /// Makes a node whose record lies at `at`. Returns where it will sit, and its digest.
    fn make(&mut self, content: &Content<'_, L, N>, at: At, chain: u8) -> (Seat, Digest);

    /// Takes note of a node of the version before that has none in its place.
    fn gone(&mut self, node: &N);
}

/// Makes nodes on the heap: those of the top tree.
#[derive(Debug)]
pub(crate) struct Heap<L> {
    nodes: Vec<(Digest, SharedNode<L>)>,
}

impl<L> Heap<L> {
    pub(crate) fn new() -> Self {
        Heap { nodes: Vec::new() }
    }

    /// The nodes that were made, with their digests.
    pub(crate) fn nodes(&self) -> &[(Digest, SharedNode<L>)] {
        &self.nodes
    }
}

impl<L: Leaf> Maker<L, SharedNode<L>> for Heap<L> {
    fn make(
        &mut self,
        content: &Content<'_, L, SharedNode<L>>,
        at: At,
        chain: u8,
    ) -> (Seat, Digest) {
        let (node, digest) = content.make(at, chain);
        self.nodes.push((digest, node));
        (Seat::NONE, digest)
    }

    fn gone(&mut self, _: &SharedNode<L>) {}
}

/// Applies `changes`, sorted by path and each path once, to `tree`.
pub(crate) fn update<'f, L: Leaf, F: Load<L>>(
    tree: &Tree<L>,
    changes: &mut [Change<L>],
    load: &'f F,
    sink: &mut NodeSink,
    maker: &mut impl Maker<L, F::Node<'f>>,
) -> Result<Tree<L>, StoreError> {
    assert!(
        changes.windows(2).all(|pair| pair[0].path < pair[1].path),
        "changes are sorted, one a path"
    );
    if changes.is_empty() {
        return Ok(tree.clone());
    }
    let mut update = Update {
        load,
        sink,
        maker,
        warm: false,
        leaf: PhantomData,
    };
    let root = update.place(tree.root.clone(), 0, changes)?;
    Ok(Tree { root })
}

struct Update<'f, 'a, L, F, M> {
    load: &'f F,
    sink: &'a mut NodeSink,
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
    ) -> Result<Place<L>, StoreError> {
        assert!(!changes.is_empty(), "only changed places are visited");
        match (old, changes) {
            (None, [only]) => Ok(only.place()),
            (None, changes) => Ok(self.build(depth, &leaves_of(changes))),
            (Some((_, Child::Leaf(leaf))), [own]) if own.path == *leaf.path() => {
                own.previous = Some(leaf);
                Ok(own.place())
            }
            (Some((digest, Child::Leaf(leaf))), changes) => {
                Ok(self.beside(digest, leaf, depth, changes))
            }
            (Some((digest, Child::Node(link))), changes) => {
                let warms = !self.warm && changes.len() <= WARMED_MAX;
                if warms {
                    self.load.warm_up(&link, depth, changes);
                    self.warm = true;
                }
                let node = self.load.load(&link, &digest)?;
                let place = self.node(&node, depth, changes);
                self.warm &= !warms;
                place
            }
        }
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
                self.build(depth, &leaves_of(changes))
            }
            Err(between) => {
                let mut leaves = leaves_of(&changes[..between]);
                leaves.push((digest, leaf));
                leaves.extend(leaves_of(&changes[between..]));
                self.build(depth, &leaves)
            }
        }
    }

    fn node(
        &mut self,
        node: &F::Node<'f>,
        depth: usize,
        changes: &mut [Change<L>],
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
            slots[slot] = self.place(node.slot(slot), depth + 1, group)?;
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
        let (at, chain) = self.sink.record(|out| encode_node(content, out));
        let (seat, digest) = self.maker.make(content, at, chain);
        Some((digest, Child::Node(Link { at, seat })))
    }
}

fn leaves_of<L: Leaf>(changes: &[Change<L>]) -> Vec<(Digest, L)> {
    changes.iter().filter_map(|c| c.leaf.clone()).collect()
}
