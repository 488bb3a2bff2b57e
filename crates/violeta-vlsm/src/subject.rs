//! A space's tree as the maker of a proof of many keys looks at it (vlsm.md §1.2).
//!
//! ```text
//!  violeta_proof ── root, half, child ──▶ SpaceTree ── look ──▶ nodes in memory, or pages
//!                ◀── Opened: a copy ─────            └ leaf ──▶ log: key, and the value's digest
//! ```
//!
//! A node is copied when it is opened: what sits in memory may be changed by the next version while the proof is made.
//! A proof has the digests of values, which are not kept: the values are read for them. How much that is, is counted.

use std::cell::Cell;

use violeta_proof::tree::prove::{Shown, Subject};
use violeta_proof::tree::{FANOUT, KeyPath, Leaf, value_hash};
use violeta_types::Digest;

use crate::error::StoreError;
use crate::nodes::Way;
use crate::store::Shared;
use crate::tree::{Child, Entry, Link, Load, Place, Spot, Tree, slots_of};

/// The tree of a space at a version.
pub(crate) struct SpaceTree<'a> {
    shared: &'a Shared,
    tree: &'a Tree<Entry>,
    /// Bytes of the keys and values that were read.
    read: Cell<usize>,
}

/// A node as it was when it was opened, and how one goes on from it.
pub(crate) struct Opened {
    bitmap: u16,
    slots: Box<[Place<Entry>; FANOUT]>,
    /// The digests of the halves, by their numbers; of those that are empty, zero.
    halves: Box<[Digest; FANOUT]>,
    path: KeyPath,
    depth: usize,
    way: Way,
}

impl<'a> SpaceTree<'a> {
    pub(crate) fn new(shared: &'a Shared, tree: &'a Tree<Entry>) -> Self {
        let read = Cell::new(0);
        SpaceTree { shared, tree, read }
    }

    /// Bytes of the keys and values that were read.
    pub(crate) fn read(&self) -> usize {
        self.read.get()
    }

    fn show(
        &self,
        (digest, child): &(Digest, Child<Entry>),
        (path, depth): (KeyPath, usize),
        way: Way,
    ) -> Result<Shown<Opened>, StoreError> {
        Ok(match child {
            Child::Leaf(entry) => Shown::Leaf(self.leaf(digest, entry)?),
            Child::Node(link) => Shown::Node(self.open(digest, link, (path, depth), way)?),
        })
    }

    fn leaf(&self, digest: &Digest, entry: &Entry) -> Result<Leaf, StoreError> {
        let (key, value) = self.shared.key_value(digest, entry)?;
        let bytes = key.len() + value.len();
        self.read.set(self.read.get().saturating_add(bytes));
        Ok(Leaf {
            key: key.try_into().map_err(StoreError::from_bound)?,
            value_hash: value_hash(&value),
        })
    }

    fn open(
        &self,
        digest: &Digest,
        link: &Link,
        (path, depth): (KeyPath, usize),
        mut way: Way,
    ) -> Result<Opened, StoreError> {
        let (nodes, spot) = (&self.shared.nodes, Spot { path: &path, depth });
        let (bitmap, slots, halves) = nodes.look(&mut way, link, digest, spot, |node| {
            let bitmap = node.bitmap();
            let half = |half| match half > 0 && bitmap & slots_of(half) != 0 {
                true => node.half(half),
                false => Digest::ZERO,
            };
            let slots = Box::new(std::array::from_fn(|slot| node.slot(slot)));
            (bitmap, slots, Box::new(std::array::from_fn(half)))
        })?;
        Ok(Opened {
            bitmap,
            slots,
            halves,
            path,
            depth,
            way,
        })
    }
}

impl Subject for SpaceTree<'_> {
    type Node = Opened;
    type Error = StoreError;

    fn root(&self) -> Result<Option<Shown<Opened>>, StoreError> {
        let root = self.tree.root.as_ref();
        root.map(|root| self.show(root, (KeyPath([0; 32]), 0), Way::default()))
            .transpose()
    }

    fn bitmap(&self, node: &Opened) -> u16 {
        node.bitmap
    }

    fn half(&self, node: &Opened, first: usize, width: usize) -> Result<Digest, StoreError> {
        // Halves are numbered like a heap: those of `width` slots begin with the number 16 / width.
        let half = (FANOUT + first) / width.max(1);
        let digest = match half.checked_sub(FANOUT) {
            Some(slot) => node.slots.get(slot).and_then(Option::as_ref).map(|s| s.0),
            None => node.halves.get(half).copied(),
        };
        digest.ok_or_else(|| nothing_there(node))
    }

    fn child(&self, node: &Opened, slot: usize) -> Result<Shown<Opened>, StoreError> {
        let place = node.slots.get(slot).and_then(Option::as_ref);
        let place = place.ok_or_else(|| nothing_there(node))?;
        let at = (below(node.path, node.depth, slot), node.depth + 1);
        self.show(place, at, node.way.clone())
    }
}

/// Provers ask for what the bitmap says is there.
fn nothing_there(node: &Opened) -> StoreError {
    let what = format!("a node at depth {} lacks what it says it has", node.depth);
    StoreError::corrupt("the tree", 0, what)
}

/// The path of what is below a slot of the node at `depth` on `path`; zeros follow.
fn below(mut path: KeyPath, depth: usize, slot: usize) -> KeyPath {
    if let Some(byte) = path.0.get_mut(depth / 2) {
        *byte |= (slot as u8) << (4 * (1 - depth % 2));
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_way_down_is_the_beginning_of_the_path() {
        let path = KeyPath::of(b"k");
        let mut way = KeyPath([0; 32]);
        for depth in 0..64 {
            way = below(way, depth, path.slot(depth));
        }
        assert_eq!(way, path);
        assert_eq!(below(KeyPath([0; 32]), 2, 0xa).0[1], 0xa0);
        assert_eq!(below(KeyPath([0; 32]), 3, 0xa).0[1], 0x0a);
    }
}
