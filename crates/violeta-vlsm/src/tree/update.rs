//! Updating a tree: new nodes from the changed leaves up to the root, everything else shared.
//!
//! The result is a function of the set of leaves alone (vlsm.md §1.1): a subtree of one leaf is that leaf, so a delete
//! that leaves one passes it up.

use std::sync::Arc;

use violeta_proof::tree::{FANOUT, KeyPath};
use violeta_types::Digest;

use super::codec::{At, NODE_RECORD_BYTES_MAX, encode_node};
use super::node::{Child, Link, Node, Tree};
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
}

/// Takes the records of new nodes: they will lie in the node files from `start` on.
#[derive(Debug)]
pub(crate) struct NodeSink {
    start: u64,
    segment_bytes: u64,
    bytes: Vec<u8>,
    records: usize,
}

impl NodeSink {
    /// A sink whose first record may lie at `start`. No record crosses a multiple of `segment_bytes`.
    pub(crate) fn new(start: u64, segment_bytes: u64) -> Self {
        assert!(segment_bytes >= NODE_RECORD_BYTES_MAX as u64);
        NodeSink {
            start,
            segment_bytes,
            bytes: Vec::new(),
            records: 0,
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
        self.records += 1;
        (At::new(self.start + from as u64, len), result)
    }

    /// The records, and how many there are.
    pub(crate) fn finish(self) -> (Vec<u8>, usize) {
        (self.bytes, self.records)
    }
}

/// A place in a tree: nothing, or what is there and its digest.
type Place<L> = Option<(Digest, Child<L>)>;

/// Applies `changes`, sorted by path and each path once, to `tree`.
pub(crate) fn update<L: Leaf>(
    tree: &Tree<L>,
    changes: &mut [Change<L>],
    load: &impl Load<L>,
    sink: &mut NodeSink,
) -> Result<Tree<L>, StoreError> {
    assert!(
        changes.windows(2).all(|pair| pair[0].path < pair[1].path),
        "changes are sorted, one a path"
    );
    if changes.is_empty() {
        return Ok(tree.clone());
    }
    let mut update = Update { load, sink };
    let root = tree.root.as_ref().map(|(digest, child)| (digest, child));
    let root = update.place(root, 0, changes)?;
    Ok(Tree { root })
}

struct Update<'a, F> {
    load: &'a F,
    sink: &'a mut NodeSink,
}

impl<F> Update<'_, F> {
    fn place<L: Leaf>(
        &mut self,
        old: Option<(&Digest, &Child<L>)>,
        depth: usize,
        changes: &mut [Change<L>],
    ) -> Result<Place<L>, StoreError>
    where
        F: Load<L>,
    {
        assert!(!changes.is_empty(), "only changed places are visited");
        match old {
            None => Ok(self.build(depth, leaves_of(changes))),
            Some((digest, Child::Leaf(leaf))) => Ok(self.beside(digest, leaf, depth, changes)),
            Some((_, Child::Node(Link::Loaded(node)))) => self.node(node, depth, changes),
            Some((digest, Child::Node(Link::Stored(at)))) => {
                let node = self.load.load(*at, digest)?;
                self.node(&node, depth, changes)
            }
        }
    }

    /// Changes where a leaf is: it stays unless one of the changes is its own.
    fn beside<L: Leaf>(
        &mut self,
        digest: &Digest,
        leaf: &L,
        depth: usize,
        changes: &mut [Change<L>],
    ) -> Place<L> {
        match changes.binary_search_by(|change| change.path.cmp(leaf.path())) {
            Ok(own) => {
                changes[own].previous = Some(leaf.clone());
                self.build(depth, leaves_of(changes))
            }
            Err(between) => {
                let mut leaves = leaves_of(&changes[..between]);
                leaves.push((*digest, leaf.clone()));
                leaves.extend(leaves_of(&changes[between..]));
                self.build(depth, leaves)
            }
        }
    }

    fn node<L: Leaf>(
        &mut self,
        node: &Node<L>,
        depth: usize,
        changes: &mut [Change<L>],
    ) -> Result<Place<L>, StoreError>
    where
        F: Load<L>,
    {
        let mut slots = [const { None }; FANOUT];
        let mut changed = 0u16;
        let mut rest = changes;
        while let Some(first) = rest.first() {
            let slot = first.path.slot(depth);
            let end = rest.partition_point(|change| change.path.slot(depth) == slot);
            let (group, others) = rest.split_at_mut(end);
            slots[slot] = self.place(node.slot(slot), depth + 1, group)?;
            changed |= 1 << slot;
            rest = others;
        }
        Ok(self.finish(slots, Some((node, changed))))
    }

    /// The subtree of `leaves`, sorted by path.
    fn build<L: Leaf>(&mut self, depth: usize, mut leaves: Vec<(Digest, L)>) -> Place<L> {
        if leaves.len() < 2 {
            let (digest, leaf) = leaves.pop()?;
            return Some((digest, Child::Leaf(leaf)));
        }
        let mut slots = [const { None }; FANOUT];
        while let Some((_, last)) = leaves.last() {
            let slot = last.path().slot(depth);
            let start = leaves.partition_point(|(_, leaf)| leaf.path().slot(depth) < slot);
            let group = leaves.split_off(start);
            slots[slot] = self.build(depth + 1, group);
        }
        self.finish(slots, None)
    }

    /// What becomes of a node: nothing, its one leaf, or a node. `slots` holds the changed slots; the others are
    /// those of `old`.
    fn finish<L: Leaf>(
        &mut self,
        mut slots: [Place<L>; FANOUT],
        old: Option<(&Node<L>, u16)>,
    ) -> Place<L> {
        let kept = old.map_or(0, |(node, changed)| node.bitmap() & !changed);
        let filled = slots.iter().enumerate();
        let bitmap = filled.fold(kept, |bits, (slot, place)| {
            bits | u16::from(place.is_some()) << slot
        });
        let count = bitmap.count_ones() as usize;
        let mut digests = Vec::with_capacity((2 * count).saturating_sub(1));
        let mut children = Vec::with_capacity(count);
        for (slot, place) in slots.iter_mut().enumerate() {
            if let Some((digest, child)) = place.take() {
                digests.push(digest);
                children.push(child);
            } else if kept >> slot & 1 == 1
                && let Some((digest, child)) = old.and_then(|(node, _)| node.slot(slot))
            {
                digests.push(*digest);
                children.push(child.clone());
            }
        }
        if let [Child::Leaf(_)] | [] = children.as_slice() {
            return digests.pop().zip(children.pop());
        }
        let mut node = Node::new(bitmap, digests, children, old);
        let (at, chain) = self.sink.record(|out| encode_node(&node, old, out));
        (node.at, node.chain) = (at, chain);
        Some((node.digest(), Child::Node(Link::Loaded(Arc::new(node)))))
    }
}

fn leaves_of<L: Leaf>(changes: &[Change<L>]) -> Vec<(Digest, L)> {
    changes.iter().filter_map(|c| c.leaf.clone()).collect()
}
