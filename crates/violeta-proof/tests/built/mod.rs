//! A tree in memory that can be shown to the provers, and a state's spaces made into such trees.

#![allow(dead_code, reason = "each test that includes this uses a part of it")]

use std::collections::BTreeMap;
use std::convert::Infallible;

use violeta_proof::tree::prove::{Shown, Subject};
use violeta_proof::tree::{
    Branch, ChunkLeaf, FANOUT, KeyPath, Leaf, ListedSpace, SpaceKind, SpacePlace, SpaceProof,
    SpaceRecord, TreeLeaf, node_hash, slots_root, value_hash,
};
use violeta_types::Digest;

use crate::naive::{self, State};

/// What is in a place.
#[derive(Clone)]
pub(crate) enum Place<L> {
    Leaf(L),
    Node(Box<Node<L>>),
}

#[derive(Clone)]
pub(crate) struct Node<L> {
    slots: [Option<Digest>; FANOUT],
    children: BTreeMap<usize, Place<L>>,
}

impl<L> Node<L> {
    fn bitmap(&self) -> u16 {
        self.children.keys().map(|slot| 1 << slot).sum()
    }
}

impl<L: TreeLeaf + Clone> Place<L> {
    fn digest(&self) -> Digest {
        match self {
            Place::Leaf(leaf) => leaf.hash(),
            Place::Node(node) => node_hash(node.bitmap(), &slots_root(&node.slots).unwrap()),
        }
    }

    fn show(&self) -> Shown<&Node<L>, L> {
        match self {
            Place::Leaf(leaf) => Shown::Leaf(leaf.clone()),
            Place::Node(node) => Shown::Node(node),
        }
    }
}

/// A tree, or none.
pub(crate) struct Tree<L = Leaf>(Option<Place<L>>);

impl<L: TreeLeaf + Clone> Tree<L> {
    pub(crate) fn of_leaves(leaves: impl IntoIterator<Item = L>) -> Tree<L> {
        let leaves = leaves.into_iter();
        let mut leaves: Vec<_> = leaves.map(|leaf| (KeyPath::of(leaf.key()), leaf)).collect();
        leaves.sort_by_key(|(path, _)| *path);
        Tree(build(&leaves, 0))
    }

    pub(crate) fn root_digest(&self) -> Digest {
        self.0.as_ref().map_or(Digest::ZERO, Place::digest)
    }
}

impl Tree {
    pub(crate) fn of(keys: &BTreeMap<Vec<u8>, Vec<u8>>) -> Tree {
        Tree::of_leaves(keys.iter().map(|(key, value)| Leaf {
            key: key.clone().try_into().unwrap(),
            value_hash: value_hash(value),
        }))
    }
}

fn build<L: TreeLeaf + Clone>(leaves: &[(KeyPath, L)], depth: usize) -> Option<Place<L>> {
    match leaves {
        [] => return None,
        [(_, leaf)] => return Some(Place::Leaf(leaf.clone())),
        _ => {}
    }
    let mut node = Node {
        slots: [None; FANOUT],
        children: BTreeMap::new(),
    };
    for below in leaves.chunk_by(|(a, _), (b, _)| a.slot(depth) == b.slot(depth)) {
        let slot = below[0].0.slot(depth);
        let child = build(below, depth + 1).unwrap();
        node.slots[slot] = Some(child.digest());
        node.children.insert(slot, child);
    }
    Some(Place::Node(Box::new(node)))
}

/// Shows a tree. Its nodes are references into it.
pub(crate) struct Shower<'a, L = Leaf>(pub(crate) &'a Tree<L>);

impl<'a, L: TreeLeaf + Clone> Subject<L> for Shower<'a, L> {
    type Node = &'a Node<L>;
    type Error = Infallible;

    fn root(&self) -> Result<Option<Shown<&'a Node<L>, L>>, Infallible> {
        Ok(self.0.0.as_ref().map(Place::show))
    }

    fn bitmap(&self, node: &&'a Node<L>) -> u16 {
        node.bitmap()
    }

    fn half(&self, node: &&'a Node<L>, first: usize, width: usize) -> Result<Digest, Infallible> {
        let mut alone = [None; FANOUT];
        alone[first..first + width].copy_from_slice(&node.slots[first..first + width]);
        Ok(slots_root(&alone).unwrap())
    }

    fn child(&self, node: &&'a Node<L>, slot: usize) -> Result<Shown<&'a Node<L>, L>, Infallible> {
        Ok(node.children[&slot].show())
    }
}

/// A space's tree, with the values.
pub(crate) fn entries_of(keys: &BTreeMap<Vec<u8>, Vec<u8>>) -> Tree<ChunkLeaf> {
    Tree::of_leaves(keys.iter().map(|(key, value)| ChunkLeaf::Entry {
        key: key.clone().try_into().unwrap(),
        value: value.clone().try_into().unwrap(),
    }))
}

/// The top tree.
pub(crate) fn top_of(state: &State) -> Tree<ListedSpace> {
    Tree::of_leaves(state.iter().map(|(name, keys)| ListedSpace {
        name: name.clone().try_into().unwrap(),
        record: SpaceRecord {
            kind: SpaceKind::Hashed,
            count: keys.len() as u64,
            root: naive::space_root(keys),
        },
    }))
}

/// The proof of a space in the top tree, by the naive implementation.
pub(crate) fn space_proof(state: &State, space: &[u8]) -> SpaceProof {
    let path = naive::path(space);
    let record = |keys: &BTreeMap<Vec<u8>, Vec<u8>>| SpaceRecord {
        kind: SpaceKind::Hashed,
        count: keys.len() as u64,
        root: naive::space_root(keys),
    };
    let place = match (state.get(space), naive::alone(state.keys(), &path)) {
        (Some(keys), _) => SpacePlace::Present {
            record: record(keys),
        },
        (None, None) => SpacePlace::Empty,
        (None, Some(name)) => SpacePlace::Other {
            name: name.clone().try_into().unwrap(),
            record: record(&state[name]),
        },
    };
    let branch = naive::branch(&naive::top_leaves(state), &path);
    let top = Branch {
        bitmaps: branch.bitmaps.try_into().unwrap(),
        siblings: branch.siblings.try_into().unwrap(),
    };
    SpaceProof { top, place }
}

/// Keys of all kinds: such whose paths have as many nibbles in common as 20,000 keys give, and some of no kind.
pub(crate) fn pool() -> Vec<Vec<u8>> {
    let keys = (0..20_000u32).map(|i| format!("key {i}").into_bytes());
    let mut by_path: Vec<_> = keys.map(|key| (KeyPath::of(&key), key)).collect();
    by_path.sort();
    let mut near: Vec<_> = by_path
        .windows(2)
        .map(|pair| (pair[0].0.common_nibbles(&pair[1].0), pair))
        .collect();
    near.sort_by_key(|(common, _)| std::cmp::Reverse(*common));
    assert!(near[0].0 >= 6, "some lie deep");
    let mut pool: Vec<_> = near[..12]
        .iter()
        .flat_map(|(_, pair)| pair.iter().map(|(_, key)| key.clone()))
        .collect();
    pool.extend((0..26u8).map(|i| vec![b'a' + i]));
    pool.sort();
    pool.dedup();
    pool
}
