//! How proofs of many keys are made: one walk over a tree that somebody else holds.
//!
//! ```text
//!   Subject                                   what is asked of whoever has the tree
//!     root            ─▶ leaf or node
//!     bitmap, half    ─▶ of a node: what is filled, the digest of a group of slots
//!     child           ─▶ of a filled slot: leaf or node
//!
//!   [MultiProof::prove]   the window of some keys' points
//!   [RangeProof::prove]   one range, which may end after any leaf
//! ```
//!
//! A prover goes down where the window is and nowhere else, from left to right, and writes down what a verifier will
//! ask for, in the order in which it will ask. It reads each opened node once, holds one node a level, and keeps nothing
//! but the proof. It trusts its subject: what a subject says wrongly makes a proof that fails.

use std::ops::ControlFlow;

use violeta_types::Digest;

use super::error::PartialTreeError;
use super::multi::{MultiProof, check_count};
use super::partial::{
    Leaf, OpenNode, PROOF_DIGESTS_MAX, PROOF_LEAVES_MAX, PROOF_NODES_MAX, PartialTree, TreeLeaf,
};
use super::range::RangeProof;
use super::rules::{DEPTH_MAX, FANOUT, KeyPath};
use super::slots::{group, widest_without};
use super::space::SpaceProof;
use super::window::{self, PathRange, Prefix, Window, holds, meeting};

/// A tree of one version, as whoever has it shows it to a prover, with leaves as the proof has them.
pub trait Subject<L = Leaf> {
    /// A node, opened.
    type Node;
    /// Why it can't be shown.
    type Error;

    /// What the tree begins with; nothing if it has no key.
    ///
    /// # Errors
    /// If it can't be read.
    fn root(&self) -> Result<Option<Shown<Self::Node, L>>, Self::Error>;

    /// Which slots of the node are filled.
    fn bitmap(&self, node: &Self::Node) -> u16;

    /// The compressed digest of `width` slots of the node from `first` on: an aligned group of 1, 2, 4, 8 or 16, at
    /// least one of them filled. That of one slot is the digest of what it holds.
    ///
    /// # Errors
    /// If it can't be read.
    fn half(&self, node: &Self::Node, first: usize, width: usize) -> Result<Digest, Self::Error>;

    /// What a filled slot of the node holds.
    ///
    /// # Errors
    /// If it can't be read.
    fn child(&self, node: &Self::Node, slot: usize) -> Result<Shown<Self::Node, L>, Self::Error>;
}

/// What is in a place of a tree that isn't empty.
#[derive(Clone, Debug)]
pub enum Shown<N, L = Leaf> {
    /// A single leaf.
    Leaf(L),
    /// A node, of two leaves or more.
    Node(N),
}

/// Why there is no proof.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProveError<E> {
    /// The tree couldn't be read.
    #[error("the tree can't be read: {0}")]
    Subject(E),
    /// There is no such question.
    #[error("no proof of that is made: {0}")]
    Question(PartialTreeError),
    /// The proof would be over the limits.
    #[error("the proof has more than {limit} {what}: ask for less at a time")]
    TooLarge {
        /// Of what.
        what: &'static str,
        /// The limit.
        limit: usize,
    },
}

impl MultiProof {
    /// Proves all of `keys`, in any order, there or not, in the tree of a space, or without one if there is no space.
    ///
    /// # Errors
    /// If the tree can't be read, or the keys are none or too many.
    pub fn prove<S: Subject, K: AsRef<[u8]>>(
        space: SpaceProof,
        tree: Option<&S>,
        keys: &[K],
    ) -> Result<MultiProof, ProveError<S::Error>> {
        check_count(keys.len()).map_err(ProveError::Question)?;
        let paths = keys.iter().map(|key| KeyPath::of(key.as_ref())).collect();
        let window = window::points(paths);
        let tree = prove(tree, &window, |_, _, _| ControlFlow::Continue(()))?;
        Ok(MultiProof { space, tree })
    }
}

impl<L: TreeLeaf> RangeProof<L> {
    /// Proves all that is in the range in the tree of a space, or without one if there is no space, in order up to the
    /// first leaf after which `visit` wants no more; the proof ends there in any case when it is as large as may be.
    ///
    /// # Errors
    /// If the tree can't be read, or the range ends before it begins.
    pub fn prove<S: Subject<L>>(
        space: SpaceProof,
        tree: Option<&S>,
        range: &PathRange,
        visit: impl FnMut(&L) -> ControlFlow<()>,
    ) -> Result<RangeProof<L>, ProveError<S::Error>> {
        let (through, tree) = prove_range(tree, range, visit)?;
        Ok(RangeProof {
            space,
            through,
            tree,
        })
    }
}

/// The partial tree of a range, or of its part up to a leaf: then that leaf's path too.
pub(super) type Cut<L> = (Option<KeyPath>, PartialTree<L>);

/// The partial tree of a range, or of its part up to the leaf at which `visit` breaks off or the proof is full.
pub(super) fn prove_range<S: Subject<L>, L: TreeLeaf>(
    tree: Option<&S>,
    range: &PathRange,
    mut visit: impl FnMut(&L) -> ControlFlow<()>,
) -> Result<Cut<L>, ProveError<S::Error>> {
    if range.is_empty() {
        return Err(ProveError::Question(PartialTreeError::NothingAsked));
    }
    let mut through = None;
    let tree = prove(tree, &[*range], |path, leaf, parts| {
        if visit(leaf).is_continue() && !parts.are_nearly_full() {
            return ControlFlow::Continue(());
        }
        // A range that ends with the one that was asked for isn't cut.
        through = range.after(path).map(|_| *path);
        ControlFlow::Break(())
    })?;
    Ok((through, tree))
}

/// The arrays of a partial tree, so far.
struct Parts<L> {
    nodes: Vec<OpenNode>,
    leaves: Vec<L>,
    digests: Vec<Digest>,
}

impl<L> Default for Parts<L> {
    fn default() -> Self {
        let (nodes, leaves, digests) = (Vec::new(), Vec::new(), Vec::new());
        Parts {
            nodes,
            leaves,
            digests,
        }
    }
}

impl<L> Parts<L> {
    /// Whether one more leaf, however deep, may be too much.
    fn are_nearly_full(&self) -> bool {
        // On the way to a leaf there are at most four digests a level on its left, and four on its right.
        self.leaves.len() >= PROOF_LEAVES_MAX - 1
            || self.nodes.len() + DEPTH_MAX > PROOF_NODES_MAX
            || self.digests.len() + 8 * DEPTH_MAX > PROOF_DIGESTS_MAX
    }

    fn finish<E>(self) -> Result<PartialTree<L>, ProveError<E>> {
        Ok(PartialTree {
            nodes: bounded(self.nodes, "nodes")?,
            leaves: bounded(self.leaves, "leaves")?,
            digests: bounded(self.digests, "digests")?,
        })
    }
}

/// A sequence as a proof holds it.
pub(super) fn bounded<T, E, const MAX: usize>(
    items: Vec<T>,
    what: &'static str,
) -> Result<violeta_types::Bounded<T, MAX>, ProveError<E>> {
    let limit = MAX;
    violeta_types::Bounded::try_from(items).map_err(|_| ProveError::TooLarge { what, limit })
}

/// Below the end of every path there is no node: a subject that shows one is broken.
pub(super) fn check_depth<E>(prefix: &Prefix) -> Result<(), ProveError<E>> {
    let (what, limit) = ("levels", DEPTH_MAX);
    match prefix.depth() < DEPTH_MAX {
        true => Ok(()),
        false => Err(ProveError::TooLarge { what, limit }),
    }
}

/// A node whose slots are being written down.
struct Frame<'w, N> {
    node: N,
    /// Its place in the array of nodes.
    index: usize,
    bitmap: u16,
    prefix: Prefix,
    window: Window<'w>,
    open: u16,
    at: usize,
}

/// Writes down the partial tree of a window, or of its part up to the leaf at which `visit` breaks off.
fn prove<S: Subject<L>, L: TreeLeaf>(
    tree: Option<&S>,
    window: Window<'_>,
    visit: impl FnMut(&KeyPath, &L, &Parts<L>) -> ControlFlow<()>,
) -> Result<PartialTree<L>, ProveError<S::Error>> {
    let mut prover = Prover {
        parts: Parts::default(),
        is_cut: false,
        visit,
    };
    if let Some(tree) = tree {
        match tree.root().map_err(ProveError::Subject)? {
            None => {}
            Some(Shown::Leaf(leaf)) => prover.leaf(leaf, window),
            Some(Shown::Node(root)) => prover.tree(tree, root, window)?,
        }
    }
    prover.parts.finish()
}

struct Prover<L, V> {
    parts: Parts<L>,
    /// Whether `visit` has broken off: all that is to the right is outside of the window.
    is_cut: bool,
    visit: V,
}

impl<L: TreeLeaf, V: FnMut(&KeyPath, &L, &Parts<L>) -> ControlFlow<()>> Prover<L, V> {
    fn tree<S: Subject<L>>(
        &mut self,
        tree: &S,
        root: S::Node,
        window: Window<'_>,
    ) -> Result<(), ProveError<S::Error>> {
        let mut stack: Vec<Frame<'_, S::Node>> = Vec::new();
        let mut frame = self.open(tree, root, Prefix::ROOT, window)?;
        loop {
            let at = frame.at;
            let open = if self.is_cut { 0 } else { frame.open };
            if at == FANOUT {
                let Some(parent) = stack.pop() else {
                    return Ok(());
                };
                frame = parent;
            } else if open >> at & 1 == 0 {
                let width = widest_without(open, at);
                if frame.bitmap & group(at, width) != 0 {
                    let digest = tree.half(&frame.node, at, width);
                    self.parts
                        .digests
                        .push(digest.map_err(ProveError::Subject)?);
                }
                frame.at += width;
            } else {
                frame.at += 1;
                match tree.child(&frame.node, at).map_err(ProveError::Subject)? {
                    Shown::Leaf(leaf) => {
                        self.parts.nodes[frame.index].leaves |= 1 << at;
                        self.leaf(leaf, frame.window);
                    }
                    Shown::Node(node) => {
                        let prefix = frame.prefix.child(at);
                        let child = self.open(tree, node, prefix, frame.window)?;
                        stack.push(std::mem::replace(&mut frame, child));
                    }
                }
            }
        }
    }

    fn open<'w, S: Subject<L>>(
        &mut self,
        tree: &S,
        node: S::Node,
        prefix: Prefix,
        window: Window<'w>,
    ) -> Result<Frame<'w, S::Node>, ProveError<S::Error>> {
        check_depth(&prefix)?;
        let bitmap = tree.bitmap(&node);
        let window = meeting(window, &prefix.span());
        let index = self.parts.nodes.len();
        self.parts.nodes.push(OpenNode { bitmap, leaves: 0 });
        Ok(Frame {
            node,
            index,
            bitmap,
            prefix,
            window,
            open: bitmap & prefix.slots_meeting(window),
            at: 0,
        })
    }

    fn leaf(&mut self, leaf: L, window: Window<'_>) {
        let path = KeyPath::of(leaf.key());
        let is_inside = holds(window, &path);
        let leaf = if is_inside { leaf } else { leaf.outside() };
        self.parts.leaves.push(leaf);
        if let Some(leaf) = self.parts.leaves.last().filter(|_| is_inside) {
            self.is_cut |= (self.visit)(&path, leaf, &self.parts).is_break();
        }
    }
}
