//! The part of a tree that shows all that a window of paths holds: what proofs of many keys are made of (vlsm.md §1.2).
//!
//! ```text
//!   window                   [════════]
//!   ┌───────────────── node ─┼────────┼─────────────────┐
//!   0   1   2   3       4        5      6   7   8 … f           open: what is filled and meets the window
//!   (─────d₀────)     node     leaf     (─d₂─)  (─d₃─)          the rest: the digests of the largest closed halves
//!                    ╱    ╲
//!                 (d₁)    leaf                                  an open slot holds a node or a leaf
//!
//!   nodes    (bitmap, which open slots are leaves)  preorder
//!   leaves   (key, digest of the value)             in the order of paths
//!   digests  d₀, d₁, d₂, d₃                         in the order of slots, those of a node below in between
//! ```
//!
//! The window alone decides what is open, so there is one partial tree for a tree and a window: of a node that the
//! window meets, the slots that it meets, if filled, are open, and each largest half of the sixteen slots in which none
//! is open goes by its digest, unless it is empty. A verifier walks it once from left to right, what it takes from the
//! three arrays decided by what it took before, and four digests a level at most as its state; so nothing in it can be
//! left out, added or moved without leading to another root. A tree without keys has nothing, a tree of one key its
//! leaf alone. The leaf of another key may stand where the window looks for something: it is part of the tree, and
//! shows that nothing else is there.
//!
//! Keys stand beside the digests of their values, so what large values a proof is about is for the answer to carry. A
//! [`Chunk`](super::Chunk) has the values in their place, or the spaces of the top tree: its leaves are another
//! [`TreeLeaf`], and all else is the same.

use borsh::{BorshDeserialize, BorshSerialize};
use serde::{Deserialize, Serialize};
use violeta_types::limits::STORE_KEY_BYTES_MAX;
use violeta_types::{Blob, Bounded, Digest};

use super::error::{PartialTreeError, Piece};
use super::rules::{DEPTH_MAX, FANOUT, KeyPath, leaf_hash_of, node_hash};
use super::slots::{Halves, group, widest_without};
use super::window::{Prefix, Window, holds, meeting};

/// Leaves of a partial tree: a range with more goes on in the next proof.
pub const PROOF_LEAVES_MAX: usize = 1 << 16;
/// Nodes of a partial tree: with hashed paths there are fewer than twice as many as leaves, and those of the way down.
pub const PROOF_NODES_MAX: usize = 4 * PROOF_LEAVES_MAX;
/// Digests of a partial tree: a point in a large tree costs up to four a level.
pub const PROOF_DIGESTS_MAX: usize = 16 * PROOF_LEAVES_MAX;

// The shortest proof of one leaf fits, however deep it is.
const _: () = assert!(PROOF_NODES_MAX > DEPTH_MAX && PROOF_DIGESTS_MAX > 8 * DEPTH_MAX);

/// A node that is opened.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    BorshSerialize,
    BorshDeserialize,
    Serialize,
    Deserialize,
)]
#[serde(deny_unknown_fields)]
pub struct OpenNode {
    /// Bit *i* is set if slot *i* is filled.
    pub bitmap: u16,
    /// Which of the open slots hold a leaf; the others hold a node.
    pub leaves: u16,
}

/// A leaf that is opened.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Leaf {
    /// The key.
    pub key: Blob<STORE_KEY_BYTES_MAX>,
    /// The digest of its value.
    pub value_hash: Digest,
}

/// What an opened leaf of a partial tree says.
pub trait TreeLeaf: Sized {
    /// What its path is made of: a key, or the name of a space.
    fn key(&self) -> &[u8];

    /// The digest of the leaf.
    fn hash(&self) -> Digest;

    /// Whether it says as much as it has to: a leaf that merely stands where the window looks needn't be told whole.
    fn fits(&self, is_inside: bool) -> bool {
        let _ = is_inside;
        true
    }

    /// It, as it stands where it isn't inside of the window.
    #[must_use]
    fn outside(self) -> Self {
        self
    }
}

impl TreeLeaf for Leaf {
    fn key(&self) -> &[u8] {
        &self.key
    }

    fn hash(&self) -> Digest {
        leaf_hash_of(&self.key, &self.value_hash)
    }
}

/// As much of a tree as shows all that a window of paths holds.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PartialTree<L = Leaf> {
    /// The opened nodes, in preorder.
    pub nodes: Bounded<OpenNode, PROOF_NODES_MAX>,
    /// The opened leaves, in the order of their paths.
    pub leaves: Bounded<L, PROOF_LEAVES_MAX>,
    /// The digests of closed halves, in the order of their slots.
    pub digests: Bounded<Digest, PROOF_DIGESTS_MAX>,
}

impl<L> Default for PartialTree<L> {
    fn default() -> Self {
        PartialTree {
            nodes: Bounded::default(),
            leaves: Bounded::default(),
            digests: Bounded::default(),
        }
    }
}

impl<L: TreeLeaf> PartialTree<L> {
    /// The root that this leads to, if it is the partial tree of `window`. `visit` is told the leaves within it, in
    /// order; none of that may be believed before the root was compared.
    pub(super) fn walk(
        &self,
        window: Window<'_>,
        visit: impl FnMut(&KeyPath, &L),
    ) -> Result<Digest, PartialTreeError> {
        let walk = Walk {
            nodes: self.nodes.iter(),
            leaves: self.leaves.iter(),
            digests: self.digests.iter(),
            visit,
        };
        walk.root(window)
    }
}

/// The rest of the three arrays, and whoever wants to know of leaves.
struct Walk<'a, L, V> {
    nodes: std::slice::Iter<'a, OpenNode>,
    leaves: std::slice::Iter<'a, L>,
    digests: std::slice::Iter<'a, Digest>,
    visit: V,
}

/// A node whose slots are being walked.
struct Frame<'w> {
    node: OpenNode,
    prefix: Prefix,
    window: Window<'w>,
    open: u16,
    halves: Halves,
}

impl Frame<'_> {
    fn digest(&self) -> Result<Digest, PartialTreeError> {
        let compressed = self.halves.root().ok_or(PartialTreeError::EmptyNode {
            depth: self.prefix.depth(),
        })?;
        Ok(node_hash(self.node.bitmap, &compressed))
    }
}

impl<L: TreeLeaf, V: FnMut(&KeyPath, &L)> Walk<'_, L, V> {
    fn root(mut self, window: Window<'_>) -> Result<Digest, PartialTreeError> {
        let root = if self.nodes.as_slice().is_empty() {
            match self.leaves.as_slice().is_empty() {
                true => Digest::ZERO,
                false => self.leaf(&Prefix::ROOT, window)?,
            }
        } else {
            self.node(window)?
        };
        self.finish(root)
    }

    /// Walks the tree whose root is a node.
    fn node(&mut self, window: Window<'_>) -> Result<Digest, PartialTreeError> {
        let mut stack: Vec<Frame<'_>> = Vec::new();
        let mut frame = self.open(Prefix::ROOT, window)?;
        loop {
            assert!(stack.len() < DEPTH_MAX, "no node is opened below");
            let at = frame.halves.at();
            if at == FANOUT {
                let digest = frame.digest()?;
                let Some(parent) = stack.pop() else {
                    return Ok(digest);
                };
                frame = parent;
                frame.halves.push(1, Some(digest));
            } else if frame.open >> at & 1 == 0 {
                let width = widest_without(frame.open, at);
                let is_filled = frame.node.bitmap & group(at, width) != 0;
                let digest = is_filled.then(|| self.digest()).transpose()?;
                frame.halves.push(width, digest);
            } else if frame.node.leaves >> at & 1 == 1 {
                let digest = self.leaf(&frame.prefix.child(at), frame.window)?;
                frame.halves.push(1, Some(digest));
            } else {
                let child = self.open(frame.prefix.child(at), frame.window)?;
                stack.push(std::mem::replace(&mut frame, child));
            }
        }
    }

    fn open<'w>(
        &mut self,
        prefix: Prefix,
        window: Window<'w>,
    ) -> Result<Frame<'w>, PartialTreeError> {
        let depth = prefix.depth();
        let missing = PartialTreeError::Missing(Piece::Node);
        let node = *self.nodes.next().ok_or(missing)?;
        if depth == DEPTH_MAX {
            return Err(PartialTreeError::TooDeep);
        }
        let window = meeting(window, &prefix.span());
        let open = node.bitmap & prefix.slots_meeting(window);
        if node.leaves & !open != 0 {
            return Err(PartialTreeError::Slots { depth });
        }
        Ok(Frame {
            node,
            prefix,
            window,
            open,
            halves: Halves::default(),
        })
    }

    fn leaf(&mut self, prefix: &Prefix, window: Window<'_>) -> Result<Digest, PartialTreeError> {
        let missing = PartialTreeError::Missing(Piece::Leaf);
        let leaf = self.leaves.next().ok_or(missing)?;
        let path = KeyPath::of(leaf.key());
        let depth = prefix.depth();
        if !prefix.span().holds(&path) {
            return Err(PartialTreeError::LeafElsewhere { depth });
        }
        let is_inside = holds(window, &path);
        if !leaf.fits(is_inside) {
            return Err(PartialTreeError::LeafForm { depth });
        }
        if is_inside {
            (self.visit)(&path, leaf);
        }
        Ok(leaf.hash())
    }

    fn digest(&mut self) -> Result<Digest, PartialTreeError> {
        let missing = PartialTreeError::Missing(Piece::Digest);
        self.digests.next().copied().ok_or(missing)
    }

    /// Nothing may be left over.
    fn finish(self, root: Digest) -> Result<Digest, PartialTreeError> {
        let rests = [
            (Piece::Node, self.nodes.len()),
            (Piece::Leaf, self.leaves.len()),
            (Piece::Digest, self.digests.len()),
        ];
        match rests.into_iter().find(|(_, rest)| *rest > 0) {
            Some((piece, _)) => Err(PartialTreeError::Surplus(piece)),
            None => Ok(root),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::rules::{inner_hash, value_hash};
    use crate::tree::window::PathRange;

    fn tree(nodes: &[(u16, u16)], leaves: &[&[u8]], digests: &[Digest]) -> PartialTree {
        let nodes = nodes.iter();
        let nodes = nodes.map(|&(bitmap, leaves)| OpenNode { bitmap, leaves });
        let leaf = |key: &&[u8]| Leaf {
            key: (*key).try_into().unwrap(),
            value_hash: value_hash(b"v"),
        };
        PartialTree {
            nodes: nodes.collect::<Vec<_>>().try_into().unwrap(),
            leaves: (leaves.iter().map(leaf).collect::<Vec<_>>())
                .try_into()
                .unwrap(),
            digests: digests.to_vec().try_into().unwrap(),
        }
    }

    fn root_of(tree: &PartialTree, window: &[PathRange]) -> Result<Digest, PartialTreeError> {
        tree.walk(window, |_, _| {})
    }

    /// Of three filled slots, one is asked for; one is beside it, one in the other half.
    #[test]
    fn closed_halves_go_by_one_digest_each() {
        let slot = KeyPath::of(b"k").slot(0);
        let neighbour = slot ^ 1;
        let far = slot ^ 8;
        let bitmap = 1 << slot | 1 << neighbour | 1 << far;
        let (d, e) = (value_hash(b"d"), value_hash(b"e"));
        let digests = if far < slot { [e, d] } else { [d, e] };
        let partial = tree(&[(bitmap, 1 << slot)], &[b"k"], &digests);
        let window = [PathRange::point(KeyPath::of(b"k"))];
        let leaf = leaf_hash_of(b"k", &value_hash(b"v"));
        let ordered = |is_left: bool, a: Digest, b: Digest| match is_left {
            true => inner_hash(&a, &b),
            false => inner_hash(&b, &a),
        };
        let near = ordered(slot < neighbour, leaf, d);
        let compressed = ordered(slot < far, near, e);
        let expected = node_hash(bitmap, &compressed);
        assert_eq!(root_of(&partial, &window), Ok(expected));
    }

    #[test]
    fn a_node_with_nothing_open_goes_by_its_compressed_root() {
        let path = KeyPath::of(b"k");
        let bitmap = !(1 << path.slot(0));
        let digest = value_hash(b"the rest");
        let partial = tree(&[(bitmap, 0)], &[], &[digest]);
        let window = [PathRange::point(path)];
        let root = node_hash(bitmap, &digest);
        assert_eq!(root_of(&partial, &window), Ok(root));
    }

    #[test]
    fn a_shape_that_contradicts_itself_is_refused() {
        let path = KeyPath::of(b"k");
        let (here, there) = (1 << path.slot(0), 1 << (path.slot(0) ^ 1));
        let window = [PathRange::point(path)];
        let verdict = |nodes: &[(u16, u16)], leaves: &[&[u8]], digests: usize| {
            let digests = vec![Digest::ZERO; digests];
            root_of(&tree(nodes, leaves, &digests), &window).unwrap_err()
        };
        let depth = 0;
        let slots = PartialTreeError::Slots { depth };
        assert_eq!(verdict(&[(here, there)], &[b"k"], 0), slots);
        assert_eq!(
            verdict(&[(here | there, there)], &[b"k"], 0),
            slots,
            "a leaf outside of the window"
        );
        let empty = PartialTreeError::EmptyNode { depth };
        assert_eq!(verdict(&[(0, 0)], &[], 0), empty);
        let missing = PartialTreeError::Missing;
        assert_eq!(verdict(&[(here, 0)], &[], 0), missing(Piece::Node));
        assert_eq!(verdict(&[(here, here)], &[], 0), missing(Piece::Leaf));
        let both = here | there;
        let lacks = verdict(&[(both, here)], &[b"k"], 0);
        assert_eq!(lacks, missing(Piece::Digest));
        let surplus = PartialTreeError::Surplus;
        let (leaf, node) = ((here, here), (1, 0));
        assert_eq!(verdict(&[leaf, node], &[b"k"], 0), surplus(Piece::Node));
        assert_eq!(verdict(&[leaf], &[b"k", b"l"], 0), surplus(Piece::Leaf));
        assert_eq!(verdict(&[leaf], &[b"k"], 1), surplus(Piece::Digest));
        assert_eq!(verdict(&[], &[], 1), surplus(Piece::Digest));
        let stranger = (0..).map(|i: u32| i.to_le_bytes());
        let stranger = stranger.map(|key| key.to_vec());
        let mut strangers = stranger.filter(|k| KeyPath::of(k).slot(0) != path.slot(0));
        let stranger = strangers.next().unwrap();
        let depth = 1;
        assert_eq!(
            verdict(&[(here, here)], &[&stranger], 0),
            PartialTreeError::LeafElsewhere { depth }
        );
    }

    #[test]
    fn a_way_ends_where_its_path_does() {
        let path = KeyPath::of(b"k");
        let window = [PathRange::point(path)];
        let mut way: Vec<_> = (0..DEPTH_MAX).map(|d| (1 << path.slot(d), 0)).collect();
        way.push((1, 0));
        let refused = root_of(&tree(&way, &[], &[]), &window);
        assert_eq!(refused, Err(PartialTreeError::TooDeep));
        way.pop();
        way[DEPTH_MAX - 1].1 = way[DEPTH_MAX - 1].0;
        let mut visited = 0;
        let walked = tree(&way, &[b"k"], &[]).walk(&window, |_, _| visited += 1);
        assert!(walked.is_ok());
        assert_eq!(visited, 1);
    }

    #[test]
    fn lengths_over_the_limits_are_refused_before_anything_is_read() {
        for max in [PROOF_NODES_MAX, PROOF_LEAVES_MAX, PROOF_DIGESTS_MAX] {
            assert!(u32::try_from(max).is_ok());
        }
        let bytes = |counts: &[usize]| -> Vec<u8> {
            let counts = counts.iter();
            counts.flat_map(|c| (*c as u32).to_le_bytes()).collect()
        };
        for counts in [
            vec![PROOF_NODES_MAX + 1],
            vec![0, PROOF_LEAVES_MAX + 1],
            vec![0, 0, PROOF_DIGESTS_MAX + 1],
        ] {
            let error = violeta_types::decode::<PartialTree>(&bytes(&counts)).unwrap_err();
            assert!(error.to_string().contains("at most"), "{error}");
        }
    }
}
