//! How a change proof is made: one walk over two trees at once, down to where they differ and no further.
//!
//! The walk is that of [`prove`](super::prove), with a pair of nodes in place of one. In a one-sided part the other
//! version's single leaf waits for its place: among the leaves that are opened, or before the first place that is opened
//! to the right of its path. It is told there and not later, so that a proof which ends with it leaves the rest closed.

use std::ops::ControlFlow;

use violeta_types::Digest;

use super::change_proof::{Change, ChangeProof};
use super::changes::{ChangedLeaf, ChangedTree, Kind, LeafChange, OpenPair, Sides};
use super::error::{PartialTreeError, Side};
use super::partial::{
    Leaf, OpenNode, PROOF_DIGESTS_MAX, PROOF_LEAVES_MAX, PROOF_NODES_MAX, TreeLeaf,
};
use super::prove::{ProveError, Shown, Subject, bounded, check_depth};
use super::rules::{DEPTH_MAX, FANOUT, KeyPath, node_hash};
use super::slots::{group, widest_closed};
use super::space::SpaceProof;
use super::window::{PathRange, Prefix};

impl ChangeProof {
    /// Proves all that differs in the range between the trees of two versions of a space (of a version in which there is
    /// no such space, none), in order up to the first change after which `visit` wants no more; the proof ends there in
    /// any case when it is as large as may be.
    ///
    /// # Errors
    /// If a tree can't be read, or the range ends before it begins.
    pub fn prove<S: Subject>(
        spaces: Sides<SpaceProof>,
        trees: Sides<Option<&S>>,
        range: &PathRange,
        visit: impl FnMut(Change<'_>) -> ControlFlow<()>,
    ) -> Result<ChangeProof, ProveError<S::Error>> {
        if range.is_empty() {
            return Err(ProveError::Question(PartialTreeError::NothingAsked));
        }
        let mut prover = Prover {
            trees,
            range: *range,
            parts: Parts::default(),
            part: None,
            through: None,
            is_cut: false,
            visit,
        };
        let roots = prover.roots()?;
        Ok(ChangeProof {
            spaces,
            through: prover.through,
            tree: ChangedTree {
                roots,
                nodes: bounded(prover.parts.nodes, "nodes")?,
                leaves: bounded(prover.parts.leaves, "leaves")?,
                digests: bounded(prover.parts.digests, "digests")?,
            },
        })
    }
}

/// The arrays of a changed tree, so far.
#[derive(Default)]
struct Parts {
    nodes: Vec<OpenPair>,
    leaves: Vec<ChangedLeaf>,
    digests: Vec<Digest>,
}

impl Parts {
    /// Whether one more change, however deep, may be too much: two leaves, and eight digests a level for each version.
    fn are_nearly_full(&self) -> bool {
        self.leaves.len() + 4 > PROOF_LEAVES_MAX
            || self.nodes.len() + DEPTH_MAX > PROOF_NODES_MAX
            || self.digests.len() + 16 * DEPTH_MAX > PROOF_DIGESTS_MAX
    }
}

/// A node with the tree that it is of.
struct View<'a, S: Subject> {
    tree: &'a S,
    node: S::Node,
}

/// What a version has in a place.
type Place<'a, S> = Option<Shown<View<'a, S>>>;

/// What a tree has shown, with the tree.
fn place<'a, S: Subject>(tree: &'a S, shown: Option<Shown<S::Node>>) -> Place<'a, S> {
    Some(match shown? {
        Shown::Leaf(leaf) => Shown::Leaf(leaf),
        Shown::Node(node) => Shown::Node(View { tree, node }),
    })
}

impl<'a, S: Subject> View<'a, S> {
    fn bitmap(&self) -> u16 {
        self.tree.bitmap(&self.node)
    }

    /// The digest of a group of slots, at least one of them filled.
    fn half(&self, first: usize, width: usize) -> Result<Digest, ProveError<S::Error>> {
        let half = self.tree.half(&self.node, first, width);
        half.map_err(ProveError::Subject)
    }

    fn child(&self, slot: usize) -> Result<Place<'a, S>, ProveError<S::Error>> {
        let shown = self.tree.child(&self.node, slot);
        Ok(place(self.tree, Some(shown.map_err(ProveError::Subject)?)))
    }
}

/// A part where one version has nodes and the other at most a leaf.
struct OneSided {
    prefix: Prefix,
    /// The version that has nodes.
    side: Side,
    /// The other version's leaf, until it is told.
    waiting: Option<(KeyPath, Leaf)>,
}

/// A place whose slots are being written down.
struct Frame<'a, S: Subject> {
    nodes: Sides<Option<View<'a, S>>>,
    bitmaps: Sides<u16>,
    prefix: Prefix,
    /// Its place in the array of nodes.
    index: usize,
    /// The slots that meet the window, and of these those to be opened, unless the proof ends before.
    inside: u16,
    open: u16,
    at: usize,
}

impl<S: Subject> Frame<'_, S> {
    /// The digests of a group of slots; none on a side where they are empty.
    fn halves(
        &self,
        first: usize,
        width: usize,
    ) -> Result<Sides<Option<Digest>>, ProveError<S::Error>> {
        let half = |side: Side| match self.nodes.get(side) {
            Some(node) if self.bitmaps.get(side) & group(first, width) != 0 => {
                node.half(first, width).map(Some)
            }
            _ => Ok(None),
        };
        Ok(Sides {
            old: half(Side::Old)?,
            new: half(Side::New)?,
        })
    }
}

struct Prover<'a, S, V> {
    trees: Sides<Option<&'a S>>,
    range: PathRange,
    parts: Parts,
    part: Option<OneSided>,
    through: Option<KeyPath>,
    /// Whether the proof ends here: all that is to the right is outside of the window.
    is_cut: bool,
    visit: V,
}

impl<'a, S: Subject, V: FnMut(Change<'_>) -> ControlFlow<()>> Prover<'a, S, V> {
    fn roots(&mut self) -> Result<Sides<Kind>, ProveError<S::Error>> {
        let root = |tree: Option<&'a S>| match tree {
            Some(tree) => Ok(place(tree, tree.root().map_err(ProveError::Subject)?)),
            None => Ok(None),
        };
        let places = Sides {
            old: root(self.trees.old)?,
            new: root(self.trees.new)?,
        };
        if digest(&places.old)? == digest(&places.new)? {
            return Ok(Sides::default());
        }
        let kinds = Sides {
            old: kind(&places.old),
            new: kind(&places.new),
        };
        if let Some(root) = self.enter(Prefix::ROOT, places)? {
            self.node(root)?;
        }
        Ok(kinds)
    }

    fn node(&mut self, root: Frame<'a, S>) -> Result<(), ProveError<S::Error>> {
        let mut stack: Vec<Frame<'a, S>> = Vec::new();
        let mut frame = root;
        loop {
            self.tell_waiting(&frame);
            let open = if self.is_cut { 0 } else { frame.open };
            if frame.at == FANOUT {
                self.leave(&frame);
                let Some(parent) = stack.pop() else {
                    return Ok(());
                };
                frame = parent;
            } else if open >> frame.at & 1 == 0 {
                self.closed(&mut frame, open)?;
            } else {
                let places = self.children(&mut frame)?;
                let prefix = frame.prefix.child(frame.at - 1);
                if let Some(child) = self.enter(prefix, places)? {
                    stack.push(std::mem::replace(&mut frame, child));
                }
            }
        }
    }

    /// Goes on in an open place: tells its leaves, or opens its nodes.
    fn enter(
        &mut self,
        prefix: Prefix,
        places: Sides<Place<'a, S>>,
    ) -> Result<Option<Frame<'a, S>>, ProveError<S::Error>> {
        let (side, node, other) = match (places.old, places.new) {
            (Some(Shown::Node(old)), Some(Shown::Node(new))) => {
                let nodes = Sides {
                    old: Some(old),
                    new: Some(new),
                };
                return self.open(prefix, nodes).map(Some);
            }
            (Some(Shown::Node(node)), other) => (Side::Old, node, other),
            (other, Some(Shown::Node(node))) => (Side::New, node, other),
            (old, new) => {
                self.leaves(leaf(old), leaf(new));
                return Ok(None);
            }
        };
        if self.part.is_none() {
            self.part = Some(OneSided {
                prefix,
                side,
                waiting: leaf(other).map(|leaf| (KeyPath::of(&leaf.key), leaf)),
            });
        }
        self.open(prefix, Sides::put(side, Some(node), None))
            .map(Some)
    }

    fn open(
        &mut self,
        prefix: Prefix,
        nodes: Sides<Option<View<'a, S>>>,
    ) -> Result<Frame<'a, S>, ProveError<S::Error>> {
        check_depth(&prefix)?;
        let bitmap = |node: &Option<View<'a, S>>| node.as_ref().map_or(0, View::bitmap);
        let bitmaps = Sides {
            old: bitmap(&nodes.old),
            new: bitmap(&nodes.new),
        };
        let opened = |bitmap| OpenNode { bitmap, leaves: 0 };
        self.parts.nodes.push(match (&nodes.old, &nodes.new) {
            (Some(_), Some(_)) => OpenPair::Both {
                old: opened(bitmaps.old),
                new: opened(bitmaps.new),
                differ: 0,
            },
            (Some(_), None) => OpenPair::Old(opened(bitmaps.old)),
            (None, _) => OpenPair::New(opened(bitmaps.new)),
        });
        let inside = prefix.slots_meeting(&[self.range]);
        let mut frame = Frame {
            nodes,
            bitmaps,
            prefix,
            index: self.parts.nodes.len() - 1,
            inside,
            open: 0,
            at: 0,
        };
        // What is filled on one side only differs; what is filled on both may.
        frame.open = inside & (bitmaps.old ^ bitmaps.new);
        let both = inside & bitmaps.old & bitmaps.new;
        for slot in (0..FANOUT).filter(|slot| both >> slot & 1 == 1) {
            let Sides { old, new } = frame.halves(slot, 1)?;
            frame.open |= u16::from(old != new) << slot;
        }
        Ok(frame)
    }

    /// Writes down the group of closed slots that comes next.
    fn closed(&mut self, frame: &mut Frame<'a, S>, open: u16) -> Result<(), ProveError<S::Error>> {
        let filled = frame.bitmaps.old | frame.bitmaps.new;
        let inside = if self.is_cut { 0 } else { frame.inside };
        let (width, is_inside) = widest_closed(filled, inside, open, frame.at);
        let Sides { old, new } = frame.halves(frame.at, width)?;
        self.parts.digests.extend(old);
        if !is_inside {
            self.parts.digests.extend(new);
        }
        frame.at += width;
        Ok(())
    }

    /// What the open slot that comes next holds on both sides, which is noted in the opened nodes.
    fn children(
        &mut self,
        frame: &mut Frame<'a, S>,
    ) -> Result<Sides<Place<'a, S>>, ProveError<S::Error>> {
        let slot = frame.at;
        frame.at += 1;
        let child = |side: Side| match frame.nodes.get(side) {
            Some(node) if frame.bitmaps.get(side) >> slot & 1 == 1 => node.child(slot),
            _ => Ok(None),
        };
        let places = Sides {
            old: child(Side::Old)?,
            new: child(Side::New)?,
        };
        let bit = |place: &Place<'a, S>| u16::from(kind(place) == Kind::Leaf) << slot;
        match &mut self.parts.nodes[frame.index] {
            OpenPair::Old(node) => node.leaves |= bit(&places.old),
            OpenPair::New(node) => node.leaves |= bit(&places.new),
            OpenPair::Both { old, new, differ } => {
                old.leaves |= bit(&places.old);
                new.leaves |= bit(&places.new);
                *differ |= 1 << slot;
            }
        }
        Ok(places)
    }

    /// A place where each version has at most a leaf, and not the same.
    fn leaves(&mut self, old: Option<Leaf>, new: Option<Leaf>) {
        let Some(part) = &mut self.part else {
            return self.pair(old, new);
        };
        let Some(here) = old.or(new) else { return };
        let side = part.side;
        let path = KeyPath::of(&here.key);
        let waiting = part.waiting.take_if(|(waiting, _)| *waiting <= path);
        let other = waiting.map(|(_, leaf)| leaf);
        let Sides { old, new } = Sides::put(side, Some(here), other);
        self.pair(old, new);
    }

    /// Tells of two leaves in the order of their paths, and of the same key's together.
    fn pair(&mut self, old: Option<Leaf>, new: Option<Leaf>) {
        let (old, new) = match (old, new) {
            (Some(old), Some(new)) if old.key == new.key => {
                let (before, after) = (old.value_hash, new.value_hash);
                let change = match before == after {
                    true => LeafChange::Kept { value_hash: after },
                    false => LeafChange::Replaced {
                        old: before,
                        new: after,
                    },
                };
                let key = new.key;
                return self.tell(ChangedLeaf { key, change });
            }
            sides => sides,
        };
        let removed = old.map(|leaf| ChangedLeaf {
            change: LeafChange::Removed {
                old: leaf.value_hash,
            },
            key: leaf.key,
        });
        let added = new.map(|leaf| ChangedLeaf {
            change: LeafChange::Added {
                new: leaf.value_hash,
            },
            key: leaf.key,
        });
        let mut told: Vec<_> = removed.into_iter().chain(added).collect();
        told.sort_by_key(|leaf| KeyPath::of(&leaf.key));
        for leaf in told {
            self.tell(leaf);
        }
    }

    /// Tells of the waiting leaf if its path lies before all that is still to be opened.
    fn tell_waiting(&mut self, frame: &Frame<'a, S>) {
        let rest = !group(0, frame.at) & if self.is_cut { 0 } else { frame.open };
        let next = frame.prefix.next_open(rest);
        let Some(part) = &mut self.part else { return };
        let is_due = |path: &KeyPath| {
            frame.prefix.span().holds(path) && next.is_none_or(|next| *path < next.from)
        };
        if let Some((_, leaf)) = part.waiting.take_if(|(path, _)| is_due(path)) {
            let Sides { old, new } = Sides::put(part.side, None, Some(leaf));
            self.pair(old, new);
        }
    }

    /// A place all slots of which were written down.
    fn leave(&mut self, frame: &Frame<'a, S>) {
        if self
            .part
            .as_ref()
            .is_some_and(|part| part.prefix == frame.prefix)
        {
            self.part = None;
        }
    }

    fn tell(&mut self, leaf: ChangedLeaf) {
        let path = KeyPath::of(&leaf.key);
        let Sides { old, new } = leaf.change.value_hashes();
        self.parts.leaves.push(leaf);
        let Some(leaf) = self.parts.leaves.last() else {
            return;
        };
        if self.is_cut || old == new || !self.range.holds(&path) {
            return;
        }
        let key = &leaf.key;
        if (self.visit)(Change { key, old, new }).is_break() || self.parts.are_nearly_full() {
            // A range that ends with the one that was asked for isn't cut.
            self.through = self.range.after(&path).map(|_| path);
            self.is_cut = true;
        }
    }
}

fn kind<S: Subject>(place: &Place<'_, S>) -> Kind {
    match place {
        None => Kind::Empty,
        Some(Shown::Leaf(_)) => Kind::Leaf,
        Some(Shown::Node(_)) => Kind::Node,
    }
}

fn leaf<S: Subject>(place: Place<'_, S>) -> Option<Leaf> {
    match place {
        Some(Shown::Leaf(leaf)) => Some(leaf),
        Some(Shown::Node(_)) | None => None,
    }
}

fn digest<S: Subject>(place: &Place<'_, S>) -> Result<Option<Digest>, ProveError<S::Error>> {
    Ok(match place {
        None => None,
        Some(Shown::Leaf(leaf)) => Some(leaf.hash()),
        Some(Shown::Node(node)) => Some(node_hash(node.bitmap(), &node.half(0, FANOUT)?)),
    })
}
