//! A tree as the maker of a proof of many keys, or of a chunk, looks at it (vlsm.md §1.2, §6).
//!
//! ```text
//!  violeta_proof ── root, half, child ──▶ TreeSubject ── look ──▶ nodes in memory, or pages
//!                ◀── Opened: a copy ─────              └ leaf ──▶ log: key, and value or its digest
//! ```
//!
//! | the tree of | a leaf is shown as | for |
//! | --- | --- | --- |
//! | a space | key, digest of the value | proofs of many keys, ranges, changes |
//! | a space | key and value | chunks |
//! | the store: the top tree | name and record | chunks |
//!
//! A node is copied when it is opened: what sits in memory may be changed by the next version while the proof is made.
//! A proof has the digests of values, which are not kept: the values are read for them. How much that is, is counted.

use std::cell::Cell;

use violeta_proof::tree::prove::{Shown, Subject};
use violeta_proof::tree::{ChunkLeaf, FANOUT, KeyPath, Leaf, ListedSpace, TreeLeaf, value_hash};
use violeta_types::Digest;

use crate::error::StoreError;
use crate::nodes::Nodes;
use crate::space::Space;
use crate::store::Shared;
use crate::tree::{self, Child, Entry, Load, Place, Spot, Tree, slots_of};

/// A tree of a version: a space's, or the top tree.
pub(crate) struct TreeSubject<'a, T: tree::Leaf = Entry> {
    shared: &'a Shared,
    tree: &'a Tree<T>,
    /// Bytes of the keys and values that were read.
    read: Cell<usize>,
}

/// A node as it was when it was opened, and how one goes on from it.
pub(crate) struct Opened<T: tree::Leaf>
where
    Nodes: Load<T>,
{
    bitmap: u16,
    slots: Box<[Place<T>; FANOUT]>,
    /// The digests of the halves, by their numbers; of those that are empty, zero.
    halves: Box<[Digest; FANOUT]>,
    path: KeyPath,
    depth: usize,
    way: <Nodes as Load<T>>::Way,
}

/// A leaf of the store that can be shown as one of a proof.
pub(crate) trait Show<L>: tree::Leaf {
    /// The proof's leaf for the one with this digest, and how many bytes were read for it.
    fn show(&self, digest: &Digest, shared: &Shared) -> Result<(L, usize), StoreError>;
}

impl Show<Leaf> for Entry {
    fn show(&self, digest: &Digest, shared: &Shared) -> Result<(Leaf, usize), StoreError> {
        let (key, value) = shared.key_value(digest, self)?;
        let bytes = key.len() + value.len();
        let key = key.try_into().map_err(StoreError::from_bound)?;
        let value_hash = value_hash(&value);
        Ok((Leaf { key, value_hash }, bytes))
    }
}

impl Show<ChunkLeaf> for Entry {
    fn show(&self, digest: &Digest, shared: &Shared) -> Result<(ChunkLeaf, usize), StoreError> {
        let (key, value) = shared.key_value(digest, self)?;
        let bytes = key.len() + value.len();
        let key = key.try_into().map_err(StoreError::from_bound)?;
        let value = value.try_into().map_err(StoreError::from_bound)?;
        Ok((ChunkLeaf::Entry { key, value }, bytes))
    }
}

impl Show<ListedSpace> for Space {
    fn show(&self, _: &Digest, _: &Shared) -> Result<(ListedSpace, usize), StoreError> {
        let name = self.name().clone();
        let name = name.try_into().map_err(StoreError::from_bound)?;
        let record = self.record();
        Ok((ListedSpace { name, record }, 0))
    }
}

impl<'a, T: tree::Leaf> TreeSubject<'a, T> {
    pub(crate) fn new(shared: &'a Shared, tree: &'a Tree<T>) -> Self {
        let read = Cell::new(0);
        TreeSubject { shared, tree, read }
    }

    /// Bytes of the keys and values that were read.
    pub(crate) fn read(&self) -> usize {
        self.read.get()
    }
}

impl<T: tree::Leaf> TreeSubject<'_, T>
where
    Nodes: Load<T>,
{
    fn show<L>(
        &self,
        (digest, child): &(Digest, Child<T>),
        (path, depth): (KeyPath, usize),
        way: <Nodes as Load<T>>::Way,
    ) -> Result<Shown<Opened<T>, L>, StoreError>
    where
        T: Show<L>,
    {
        Ok(match child {
            Child::Leaf(leaf) => {
                let (leaf, bytes) = leaf.show(digest, self.shared)?;
                self.read.set(self.read.get().saturating_add(bytes));
                Shown::Leaf(leaf)
            }
            Child::Node(link) => Shown::Node(self.open(digest, link, (path, depth), way)?),
        })
    }

    fn open(
        &self,
        digest: &Digest,
        link: &T::Link,
        (path, depth): (KeyPath, usize),
        mut way: <Nodes as Load<T>>::Way,
    ) -> Result<Opened<T>, StoreError> {
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

impl<T: Show<L>, L: TreeLeaf> Subject<L> for TreeSubject<'_, T>
where
    Nodes: Load<T>,
{
    type Node = Opened<T>;
    type Error = StoreError;

    fn root(&self) -> Result<Option<Shown<Opened<T>, L>>, StoreError> {
        let (root, top) = (self.tree.root.as_ref(), (KeyPath([0; 32]), 0));
        root.map(|root| self.show(root, top, Default::default()))
            .transpose()
    }

    fn bitmap(&self, node: &Opened<T>) -> u16 {
        node.bitmap
    }

    fn half(&self, node: &Opened<T>, first: usize, width: usize) -> Result<Digest, StoreError> {
        // Halves are numbered like a heap: those of `width` slots begin with the number 16 / width.
        let half = (FANOUT + first) / width.max(1);
        let digest = match half.checked_sub(FANOUT) {
            Some(slot) => node.slots.get(slot).and_then(Option::as_ref).map(|s| s.0),
            None => node.halves.get(half).copied(),
        };
        digest.ok_or_else(|| nothing_there(node.depth))
    }

    fn child(&self, node: &Opened<T>, slot: usize) -> Result<Shown<Opened<T>, L>, StoreError> {
        let place = node.slots.get(slot).and_then(Option::as_ref);
        let place = place.ok_or_else(|| nothing_there(node.depth))?;
        let at = (below(node.path, node.depth, slot), node.depth + 1);
        self.show(place, at, node.way.clone())
    }
}

/// Provers ask for what the bitmap says is there.
fn nothing_there(depth: usize) -> StoreError {
    let what = format!("a node at depth {depth} lacks what it says it has");
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
