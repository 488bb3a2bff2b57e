//! Changes of a part of a tree, few enough to have them all in the processor's cache: in three passes.
//!
//! ```text
//!  1 go down   ● ─▶ ●●● ─▶ ●●●●●●        level by level, so that many nodes are waited for at once: which nodes change
//!  2 hash      ● ◀─ ●●● ◀─ ●●●●●●        level by level, so that many halves are hashed at once (lanes)
//!  3 make      ●(●(●●)●(●)●(●●●))        in order of the paths: the maker gets each node with its digests
//! ```
//!
//! A [`Draft`] is a place where there may be a node in the end. What it has new, slot by slot, is a leaf or another
//! draft. Whether it becomes a node, is known on the way back: a subtree of one leaf is that leaf.

use std::ops::Range;

use violeta_proof::tree::FANOUT;
use violeta_types::Digest;

use super::lanes::{Lane, Lanes};
use super::node::{Child, Content, Place, View};
use super::update::{Change, Maker};
use super::{Leaf, Load, Spot};
use crate::error::StoreError;

/// Changes that are made in one go: what they touch fits the processor's second cache.
pub(super) const GROUP_MAX: usize = 128;

/// What is at a place before it changes.
#[derive(Clone, Debug)]
pub(super) enum Before<L: Leaf> {
    Nothing,
    /// A leaf; and its depth, unless it is on its way down from a place that others need, too.
    Leaf(Digest, L, Option<usize>),
    Node(Digest, L::Link),
}

impl<L: Leaf> Before<L> {
    /// What is at a place of this depth.
    pub(super) fn of(place: Place<L>, depth: usize) -> Self {
        match place {
            None => Before::Nothing,
            Some((digest, Child::Leaf(leaf))) => Before::Leaf(digest, leaf, Some(depth)),
            Some((digest, Child::Node(link))) => Before::Node(digest, link),
        }
    }

    /// What is in a slot of this, which is at `depth`; with its node, if it is one.
    pub(super) fn below(&self, node: Option<&impl View<L>>, depth: usize, slot: usize) -> Self {
        match self {
            Before::Leaf(digest, leaf, _) if leaf.path().slot(depth) == slot => {
                Before::Leaf(*digest, leaf.clone(), None)
            }
            _ => Before::of(node.and_then(|node| node.slot(slot)), depth + 1),
        }
    }

    /// The slot of this, which is at `depth`, to which the leaf that is here has to go, unless it is among `changed`.
    pub(super) fn moved(&self, depth: usize, changed: u16) -> Option<usize> {
        let Before::Leaf(_, leaf, _) = self else {
            return None;
        };
        let slot = leaf.path().slot(depth);
        (changed >> slot & 1 == 0).then_some(slot)
    }

    /// The leaf that is here.
    pub(super) fn leaf(&self) -> Place<L> {
        match self {
            Before::Leaf(digest, leaf, _) => Some((*digest, Child::Leaf(leaf.clone()))),
            _ => None,
        }
    }

    /// Whether the changes are one of what is here, or where nothing is: then takes note of what was here, and says at
    /// which depth.
    pub(super) fn is_changed_by(&self, changes: &mut [Change<L>]) -> Option<Option<usize>> {
        match (self, changes) {
            (Before::Nothing, [_]) => Some(None),
            (Before::Leaf(_, leaf, sat), [own]) if own.path == *leaf.path() => {
                own.previous = Some(leaf.clone());
                Some(*sat)
            }
            _ => None,
        }
    }
}

/// A place where there may be a node in the end.
#[derive(Debug)]
struct Draft<L: Leaf, N, W> {
    before: Before<L>,
    /// The node that was there.
    node: Option<N>,
    way: W,
    depth: usize,
    /// Which of the changes are at or below it.
    changes: Range<usize>,
    /// What it has new.
    fresh: Range<usize>,
    /// In which slots.
    changed: u16,
    after: After<L>,
}

/// What a slot gets.
#[derive(Clone, Copy, Debug)]
struct Fresh {
    slot: usize,
    what: What,
}

#[derive(Clone, Copy, Debug)]
enum What {
    /// What a change says, where a leaf sat at a depth, or not.
    Change(usize, Option<usize>),
    /// The leaf that was where there is a node now.
    Moved,
    Draft(usize),
}

/// What is at a place after it changed.
#[derive(Clone, Debug)]
enum After<L: Leaf> {
    Nothing,
    Leaf(Digest, L),
    Node(Lane, Digest),
}

/// The drafts of some changes.
#[derive(Debug)]
pub(super) struct Group<L: Leaf, N, W> {
    /// Level by level, from the highest down.
    drafts: Vec<Draft<L, N, W>>,
    levels: Vec<Range<usize>>,
    fresh: Vec<Fresh>,
    lanes: Lanes,
}

impl<L: Leaf, N: View<L>, W: Clone + Default> Group<L, N, W> {
    pub(super) fn new() -> Self {
        Group {
            drafts: Vec::new(),
            levels: Vec::new(),
            fresh: Vec::new(),
            lanes: Lanes::default(),
        }
    }

    /// Makes changes at a place. Returns what is there then.
    pub(super) fn apply<'f, F>(
        &mut self,
        load: &'f F,
        maker: &mut impl Maker<L, N>,
        (before, depth, way): (Before<L>, usize, &W),
        changes: &mut [Change<L>],
    ) -> Result<Place<L>, StoreError>
    where
        F: Load<L, Node<'f> = N, Way = W> + 'f,
    {
        self.go_down(load, (before, depth, way), changes)?;
        self.hash(changes);
        self.make(maker, changes, 0)
    }

    fn go_down<'f, F>(
        &mut self,
        load: &'f F,
        (before, depth, way): (Before<L>, usize, &W),
        changes: &mut [Change<L>],
    ) -> Result<(), StoreError>
    where
        F: Load<L, Node<'f> = N, Way = W> + 'f,
    {
        self.drafts.clear();
        self.levels.clear();
        self.fresh.clear();
        self.draft(before, depth, way.clone(), 0..changes.len());
        let mut level = 0..1;
        while !level.is_empty() {
            self.touch(load, level.clone(), changes);
            for index in level.clone() {
                self.open(load, index, changes)?;
            }
            let end = level.end;
            self.levels.push(level);
            level = end..self.drafts.len();
        }
        Ok(())
    }

    fn draft(&mut self, before: Before<L>, depth: usize, way: W, changes: Range<usize>) {
        self.drafts.push(Draft {
            before,
            node: None,
            way,
            depth,
            changes,
            fresh: 0..0,
            changed: 0,
            after: After::Nothing,
        });
    }

    /// Reads what opening a level's drafts needs, so that it is in the processor's cache by then: between two reads
    /// there is little else to do here, and so many are waited for at once.
    fn touch<'f, F>(&self, load: &'f F, level: Range<usize>, changes: &[Change<L>])
    where
        F: Load<L, Node<'f> = N> + 'f,
    {
        for draft in &self.drafts[level] {
            if let Before::Node(_, link) = &draft.before {
                let own = &changes[draft.changes.clone()];
                let slots = own.iter().map(|change| change.path.slot(draft.depth));
                load.touch(link, slots.fold(0, |slots, slot| slots | 1 << slot));
            }
        }
    }

    /// Looks at what is there, and says what each slot gets.
    fn open<'f, F>(
        &mut self,
        load: &'f F,
        index: usize,
        changes: &mut [Change<L>],
    ) -> Result<(), StoreError>
    where
        F: Load<L, Node<'f> = N, Way = W> + 'f,
    {
        let draft = &mut self.drafts[index];
        let (depth, own) = (draft.depth, draft.changes.clone());
        if let Before::Node(digest, link) = &draft.before {
            let path = &changes[own.start].path;
            let spot = Spot { path, depth };
            draft.node = Some(load.load(&mut draft.way, link, digest, spot)?);
        }
        let (mut changed, first) = (0, self.fresh.len());
        let mut start = own.start;
        while start < own.end {
            let slot = changes[start].path.slot(depth);
            let same = |change: &&Change<L>| change.path.slot(depth) == slot;
            let count = changes[start..own.end].iter().take_while(same).count();
            let here = start..start + count;
            start = here.end;
            changed |= 1 << slot;
            let draft = &self.drafts[index];
            let before = draft.before.below(draft.node.as_ref(), depth, slot);
            let what = match before.is_changed_by(&mut changes[here.clone()]) {
                Some(sat) => What::Change(here.start, sat),
                None => {
                    let way = match before {
                        Before::Node(..) => draft.way.clone(),
                        _ => W::default(),
                    };
                    self.draft(before, depth + 1, way, here);
                    What::Draft(self.drafts.len() - 1)
                }
            };
            self.fresh.push(Fresh { slot, what });
        }
        let draft = &mut self.drafts[index];
        if let Some(slot) = draft.before.moved(depth, changed) {
            changed |= 1 << slot;
            let what = What::Moved;
            self.fresh.push(Fresh { slot, what });
        }
        draft.changed = changed;
        draft.fresh = first..self.fresh.len();
        Ok(())
    }

    /// Says of each draft what is there in the end, from the lowest up.
    fn hash(&mut self, changes: &[Change<L>]) {
        self.lanes.clear();
        while let Some(level) = self.levels.pop() {
            for index in level.clone() {
                self.settle(index, changes);
            }
            let drafts = &mut self.drafts[level];
            self.lanes
                .hash(drafts.iter().filter_map(|draft| match &draft.after {
                    After::Node(lane, _) => Some((*lane, draft.node.as_ref())),
                    _ => None,
                }));
            for draft in drafts {
                if let After::Node(lane, digest) = &mut draft.after {
                    *digest = self.lanes.node(lane, draft.node.as_ref());
                }
            }
        }
    }

    /// Says what is there in the end: if it is a node, it isn't hashed yet, but those below it are.
    fn settle(&mut self, index: usize, changes: &[Change<L>]) {
        let draft = &self.drafts[index];
        let fresh = &self.fresh[draft.fresh.clone()];
        let new = |fresh: &Fresh| draft.gets(fresh.what, changes, &self.drafts);
        let kept = match &draft.node {
            Some(node) => node.bitmap() & !draft.changed,
            None => 0,
        };
        let filled = fresh.iter().filter(|fresh| new(fresh).is_some());
        let bitmap = filled.fold(kept, |bitmap, fresh| bitmap | 1 << fresh.slot);
        // What is in the one slot, if it is a leaf.
        let only = || match &draft.node {
            Some(node) if kept != 0 => match node.slot(kept.trailing_zeros() as usize)? {
                (digest, Child::Leaf(leaf)) => Some((digest, leaf)),
                _ => None,
            },
            _ => {
                let (digest, leaf) = fresh.iter().find_map(new)?;
                Some((digest, leaf?.clone()))
            }
        };
        let after = match (bitmap, bitmap.is_power_of_two().then(only).flatten()) {
            (0, _) => After::Nothing,
            (_, Some((digest, leaf))) => After::Leaf(digest, leaf),
            _ => {
                let changed = draft.node.as_ref().map_or(bitmap, |_| draft.changed);
                let lane = self.lanes.add(bitmap, changed);
                for fresh in fresh {
                    if let Some((digest, _)) = new(fresh) {
                        self.lanes.set(&lane, fresh.slot, &digest);
                    }
                }
                After::Node(lane, Digest::ZERO)
            }
        };
        self.drafts[index].after = after;
    }

    /// Has the nodes made, those below first, and tells of what goes.
    fn make(
        &self,
        maker: &mut impl Maker<L, N>,
        changes: &[Change<L>],
        index: usize,
    ) -> Result<Place<L>, StoreError> {
        let draft = &self.drafts[index];
        let spot = Spot {
            path: &changes[draft.changes.start].path,
            depth: draft.depth,
        };
        if let Before::Node(digest, link) = &draft.before {
            maker.enter(link, digest, spot)?;
        }
        let mut slots = [const { None }; FANOUT];
        for fresh in &self.fresh[draft.fresh.clone()] {
            slots[fresh.slot] = match fresh.what {
                What::Change(change, sat) => {
                    maker.leaf(&changes[change], sat);
                    changes[change].place()
                }
                What::Moved => draft.before.leaf(),
                What::Draft(below) => self.make(maker, changes, below)?,
            };
        }
        let mut place = match &draft.after {
            After::Nothing => None,
            After::Leaf(digest, leaf) => Some((*digest, Child::Leaf(leaf.clone()))),
            After::Node(lane, digest) => {
                let old = draft.node.as_ref().map(|node| (node, draft.changed));
                let content = Content::new(&slots, old);
                let link = maker.make(&content, &self.lanes.hashed(lane, *digest));
                Some((*digest, Child::Node(link)))
            }
        };
        if let (Before::Node(_, link), Some(node)) = (&draft.before, &draft.node) {
            if !matches!(draft.after, After::Node(..)) {
                maker.gone(node);
            }
            maker.leave(link, spot, &mut place);
        }
        Ok(place)
    }
}

impl<L: Leaf, N, W> Draft<L, N, W> {
    /// What a slot gets: its digest, and the leaf if it is one.
    fn gets<'a>(
        &'a self,
        what: What,
        changes: &'a [Change<L>],
        drafts: &'a [Self],
    ) -> Option<(Digest, Option<&'a L>)> {
        match what {
            What::Change(change, _) => {
                let (digest, leaf) = changes[change].leaf.as_ref()?;
                Some((*digest, Some(leaf)))
            }
            What::Moved => match &self.before {
                Before::Leaf(digest, leaf, _) => Some((*digest, Some(leaf))),
                _ => None,
            },
            What::Draft(below) => match &drafts[below].after {
                After::Nothing => None,
                After::Leaf(digest, leaf) => Some((*digest, Some(leaf))),
                After::Node(_, digest) => Some((*digest, None)),
            },
        }
    }
}
