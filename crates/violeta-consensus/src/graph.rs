//! The graph: what has been accepted, and what may be linked (consensus.md §2, §3).
//!
//! ```text
//!        dropped      kept to serve and to link      live: votes, commits, links
//!   ───────────────┼───────────────────────────────┼──────────────────────────────▶ rounds
//!                bottom                           gc
//!            = min(gc − 2G, newest certified leader − 3G)
//! ```
//!
//! Kept with each accepted vertex:
//! - *floor*: its cone is here down to this round. L1 asks for a floor at or below its round − G.
//! - *vouched*: it lies in the cone of a vertex of a later round, by an author without an equivocation proof, that
//!   satisfies L1. That is the second half of L2.
//! - *linked*: it lies in the cone of one's own newest vertex, so no further link to it is needed.
//!
//! Each of the last two is spread by a walk that stops where it has been before: over the life of the graph every
//! vertex's parents are looked at once.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use violeta_types::{Item, Round, StakeTally, ValidatorIndex, VertexId, VertexRef};

use crate::epoch::EpochData;
use crate::layers::Layers;
use crate::rules::ItemMeta;
use crate::vertex::{ValidHead, ValidVertex};

/// An accepted vertex.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    head: ValidHead,
    /// The whole of it; none once it is decided and its payload has left memory.
    whole: Option<ValidVertex>,
    floor: Round,
    vouched: bool,
    linked: bool,
}

impl Entry {
    pub(crate) fn head(&self) -> &ValidHead {
        &self.head
    }

    pub(crate) fn whole(&self) -> Option<&ValidVertex> {
        self.whole.as_ref()
    }

    /// Bytes of the encoding, nearly.
    pub(crate) fn size(&self) -> usize {
        let header = self.head.header();
        256 + header.parents.len() * 42 + header.payload.bytes as usize
    }

    /// Bytes that it takes in memory, nearly: beside the encoding there is an [`Item`] and an [`ItemMeta`] for each item.
    fn resident_bytes(&self) -> usize {
        const ITEM_BYTES: usize = size_of::<Item>() + size_of::<ItemMeta>();
        self.size() + self.head.header().payload.count as usize * ITEM_BYTES
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Graph {
    epoch: Arc<EpochData>,
    entries: Layers<Entry>,
    gc: Round,
    bottom: Round,
    /// The highest accepted round of each author.
    newest: Vec<Round>,
    /// The highest round in which a quorum has accepted vertices.
    quorum_round: Round,
    /// Authors in each round above gc.
    authors: BTreeMap<Round, StakeTally>,
    /// Vertices above gc that aren't linked, of each author.
    unlinked: Vec<BTreeSet<VertexRef>>,
    /// Uncommitted vertices above gc that carry payload, twins of committed ones aside.
    open: BTreeSet<VertexRef>,
    /// What is committed above gc: one of a slot.
    committed: BTreeMap<Round, BTreeMap<ValidatorIndex, VertexId>>,
    exposed: BTreeSet<ValidatorIndex>,
    /// Vertices whose cone isn't all here.
    incomplete: BTreeSet<VertexRef>,
    /// Decided vertices whose payload is still in memory, oldest decision first.
    decided: VecDeque<VertexRef>,
    decided_bytes: usize,
    /// How often all incomplete vertices were looked at.
    #[cfg(test)]
    pub(crate) walks: usize,
}

impl Graph {
    pub(crate) fn new(epoch: Arc<EpochData>) -> Self {
        let n = epoch.committee().len();
        Graph {
            entries: Layers::new(n),
            gc: Round(0),
            bottom: Round(1),
            newest: vec![Round(0); n],
            quorum_round: Round(0),
            authors: BTreeMap::new(),
            unlinked: vec![BTreeSet::new(); n],
            open: BTreeSet::new(),
            committed: BTreeMap::new(),
            exposed: BTreeSet::new(),
            incomplete: BTreeSet::new(),
            decided: VecDeque::new(),
            decided_bytes: 0,
            #[cfg(test)]
            walks: 0,
            epoch,
        }
    }

    pub(crate) fn gc(&self) -> Round {
        self.gc
    }

    pub(crate) fn bottom(&self) -> Round {
        self.bottom
    }

    pub(crate) fn newest(&self) -> &[Round] {
        &self.newest
    }

    pub(crate) fn quorum_round(&self) -> Round {
        self.quorum_round
    }

    pub(crate) fn get(&self, reference: &VertexRef) -> Option<&Entry> {
        self.entries.get(reference)
    }

    /// Whether it is here: accepted, or virtual.
    pub(crate) fn contains(&self, reference: &VertexRef) -> bool {
        match reference.round {
            Round(0) => self.epoch.is_virtual(reference),
            _ => self.entries.contains(reference),
        }
    }

    /// The accepted variants of a slot.
    pub(crate) fn variants(
        &self,
        round: Round,
        author: ValidatorIndex,
    ) -> impl Iterator<Item = &Entry> {
        self.entries
            .variants(round, author)
            .iter()
            .map(|(_, entry)| entry)
    }

    /// All accepted vertices of rounds in `from..`, by rising round.
    pub(crate) fn since(&self, from: Round) -> impl Iterator<Item = &Entry> {
        self.entries.since(from).map(|(_, entry)| entry)
    }

    /// A vertex's parents along edges that are walked: not a detached own previous, not round 0.
    pub(crate) fn edges(&self, head: &ValidHead) -> impl Iterator<Item = VertexRef> {
        let round = head.reference().round;
        (head.header().parents.iter())
            .filter(move |parent| parent.round > Round(0))
            .filter(move |parent| !self.epoch.is_detached(round, parent))
            .copied()
    }

    /// The parents without which a vertex isn't accepted (§2): above gc, a detached one aside, and not here.
    pub(crate) fn missing_parents(&self, vertex: &ValidVertex) -> BTreeSet<VertexRef> {
        self.edges(vertex.head())
            .filter(|parent| parent.round > self.gc && !self.contains(parent))
            .collect()
    }

    /// Takes in a vertex that isn't here: accepted, or, at or below gc, wanted for L1 only.
    pub(crate) fn insert(&mut self, vertex: ValidVertex) {
        let reference = *vertex.reference();
        assert!(reference.round >= self.bottom);
        let head = vertex.head().clone();
        let floor = self.find_floor(&head);
        let entry = Entry {
            head,
            whole: Some(vertex),
            floor,
            vouched: false,
            linked: false,
        };
        let carries_payload = entry.head.header().payload.count > 0;
        self.entries.insert(reference, entry);
        if floor > lowest_needed(&self.epoch, reference.round) {
            self.incomplete.insert(reference);
        }
        if reference.round <= self.gc {
            self.retire(reference);
            return;
        }
        let author = reference.author;
        let newest = &mut self.newest[author.as_usize()];
        *newest = (*newest).max(reference.round);
        let tally = self.authors.entry(reference.round).or_default();
        tally.add(self.epoch.committee(), author);
        if tally.is_quorum(self.epoch.committee()) {
            self.quorum_round = self.quorum_round.max(reference.round);
        }
        if self.committed_at(&reference).is_none() {
            self.unlinked[author.as_usize()].insert(reference);
            if carries_payload {
                self.open.insert(reference);
            }
        } else {
            self.unlinked[author.as_usize()].insert(reference);
            self.retire(reference);
        }
        self.vouch(reference);
    }

    /// Down to which round the cone is here, from what its parents say.
    fn find_floor(&self, head: &ValidHead) -> Round {
        self.edges(head)
            .map(|parent| match self.entries.get(&parent) {
                Some(entry) => entry.floor,
                None => parent.round.next(),
            })
            .max()
            .unwrap_or(Round(0))
    }

    /// L1, its second half: all of the cone in rounds ≥ its round − G is here.
    fn is_complete(&self, entry: &Entry) -> bool {
        entry.floor <= lowest_needed(&self.epoch, entry.head.reference().round)
    }

    /// L1 for whoever makes round `next`.
    fn satisfies_l1(&self, entry: &Entry, next: Round) -> bool {
        let round = entry.head.reference().round;
        round > self.gc && round >= next.back(self.epoch.gc_depth()) && self.is_complete(entry)
    }

    /// The link rule (§3) for whoever makes round `next`: L1 and L2.
    pub(crate) fn may_link(&self, entry: &Entry, next: Round) -> bool {
        let suspect = self.exposed.contains(&entry.head.reference().author);
        self.satisfies_l1(entry, next) && (!suspect || entry.vouched)
    }

    /// Authors with a vertex of `round` that may be linked by whoever makes `next`.
    pub(crate) fn linkable_authors(&self, round: Round, next: Round) -> StakeTally {
        let mut tally = StakeTally::default();
        let committee = self.epoch.committee();
        if round == Round(0) {
            for author in committee.indices() {
                tally.add(committee, author);
            }
            return tally;
        }
        for author in committee.indices() {
            let mut variants = self.variants(round, author);
            if variants.any(|entry| self.may_link(entry, next)) {
                tally.add(committee, author);
            }
        }
        tally
    }

    /// Whether a quorum has accepted vertices in `round`, linkable or not: a quick no for A1.
    pub(crate) fn has_quorum(&self, round: Round) -> bool {
        let committee = self.epoch.committee();
        round == Round(0)
            || (self.authors.get(&round)).is_some_and(|tally| tally.is_quorum(committee))
    }

    /// L2, second half: spreads the word of a vertex that may be linked over its cone.
    fn vouch(&mut self, from: VertexRef) {
        let Some(entry) = self.entries.get(&from) else {
            return;
        };
        let suspect = self.exposed.contains(&from.author) && !entry.vouched;
        if suspect || !self.is_complete(entry) || from.round <= self.gc {
            return;
        }
        self.spread(from, |entry| std::mem::replace(&mut entry.vouched, true));
    }

    /// Notes that all of an own vertex's cone, and itself, needs no further link.
    pub(crate) fn link(&mut self, own: VertexRef) {
        self.spread(own, |entry| std::mem::replace(&mut entry.linked, true));
        if let Some(entry) = self.entries.get_mut(&own) {
            entry.linked = true;
        }
        // What is linked leaves the candidates lazily: `newest_candidate` skips it, and gc takes it.
        self.unlinked[own.author.as_usize()].remove(&own);
    }

    /// Walks the cone above gc below `from`; `mark` says whether it has been at an entry before.
    fn spread(&mut self, from: VertexRef, mut mark: impl FnMut(&mut Entry) -> bool) {
        let mut stack = vec![from];
        while let Some(at) = stack.pop() {
            let Some(entry) = self.entries.get(&at) else {
                continue;
            };
            let parents: Vec<VertexRef> = self
                .edges(&entry.head)
                .filter(|parent| parent.round > self.gc)
                .collect();
            for parent in parents {
                if let Some(entry) = self.entries.get_mut(&parent)
                    && !mark(entry)
                {
                    if entry.linked {
                        self.unlinked[parent.author.as_usize()].remove(&parent);
                    }
                    stack.push(parent);
                }
            }
        }
    }

    pub(crate) fn is_exposed(&self, author: ValidatorIndex) -> bool {
        self.exposed.contains(&author)
    }

    /// An equivocation proof against `author` is held: L2 from now on.
    pub(crate) fn expose(&mut self, author: ValidatorIndex) {
        if !self.exposed.insert(author) {
            return;
        }
        // Its word vouches for nothing any more: begin anew, from the top.
        let live: Vec<VertexRef> = (self.entries.since(self.gc.next()))
            .map(|(reference, _)| reference)
            .collect();
        for reference in &live {
            if let Some(entry) = self.entries.get_mut(reference) {
                entry.vouched = false;
            }
        }
        for reference in live.into_iter().rev() {
            self.vouch(reference);
        }
    }

    /// Parents for one's own vertex of round `next` after `own` (§3): own previous first; then, highest round first,
    /// of every other author its newest vertex that may be linked and isn't in the cone of a parent listed before.
    pub(crate) fn choose_parents(&self, own: VertexRef, next: Round) -> Vec<VertexRef> {
        assert!(own.round < next);
        if next == Round(1) {
            let others = self.epoch.virtual_vertices().iter();
            let others = others.filter(|parent| parent.author != own.author);
            return [own].into_iter().chain(others.copied()).collect();
        }
        let mut parents = vec![own];
        let mut covered = BTreeSet::new();
        // By round from above; within a round by author.
        let mut candidates: BTreeSet<(std::cmp::Reverse<Round>, VertexRef)> = BTreeSet::new();
        for author in self.epoch.committee().indices() {
            if author != own.author {
                let newest = self.newest_candidate(author, next, next, &covered);
                candidates.extend(newest.map(|c| (std::cmp::Reverse(c.round), c)));
            }
        }
        while let Some((_, candidate)) = candidates.pop_first() {
            if covered.contains(&candidate) {
                let round = candidate.round;
                let older = self.newest_candidate(candidate.author, round, next, &covered);
                candidates.extend(older.map(|c| (std::cmp::Reverse(c.round), c)));
                continue;
            }
            self.cover(candidate, &mut covered);
            parents.push(candidate);
        }
        parents
    }

    /// The newest vertex of `author` below round `below` that may be linked, isn't linked, and isn't covered.
    fn newest_candidate(
        &self,
        author: ValidatorIndex,
        below: Round,
        next: Round,
        covered: &BTreeSet<VertexRef>,
    ) -> Option<VertexRef> {
        self.unlinked[author.as_usize()]
            .iter()
            .rev()
            .skip_while(|reference| reference.round >= below)
            .take_while(|reference| reference.round >= next.back(self.epoch.gc_depth()))
            .find(|reference| {
                !covered.contains(reference)
                    && (self.entries.get(reference))
                        .is_some_and(|entry| !entry.linked && self.may_link(entry, next))
            })
            .copied()
    }

    /// Adds a vertex and its unlinked cone above gc.
    fn cover(&self, from: VertexRef, covered: &mut BTreeSet<VertexRef>) {
        let mut stack = vec![from];
        while let Some(at) = stack.pop() {
            let Some(entry) = self.entries.get(&at) else {
                continue;
            };
            if entry.linked || at.round <= self.gc || !covered.insert(at) {
                continue;
            }
            stack.extend(self.edges(&entry.head));
        }
    }

    /// Whether payload in linkable vertices, or in their cones above gc, is uncommitted (quiet rule).
    pub(crate) fn has_open_payload(&self, next: Round) -> bool {
        self.open.iter().any(|reference| {
            (self.entries.get(reference))
                .is_some_and(|entry| entry.linked || entry.vouched || self.may_link(entry, next))
        })
    }

    /// The lowest round with payload that is neither committed nor under gc, linkable or not.
    pub(crate) fn lowest_open_payload(&self) -> Option<Round> {
        self.open.first().map(|reference| reference.round)
    }

    /// What is committed of a vertex's slot.
    pub(crate) fn committed_at(&self, reference: &VertexRef) -> Option<VertexId> {
        (self.committed.get(&reference.round))
            .and_then(|slots| slots.get(&reference.author))
            .copied()
    }

    pub(crate) fn is_committed(&self, reference: &VertexRef) -> bool {
        self.committed_at(reference) == Some(reference.id)
    }

    /// Notes what a commit holds, here or not. Twins of it are settled with it.
    pub(crate) fn commit(&mut self, vertices: &[VertexRef]) {
        for reference in vertices {
            if reference.round <= self.gc {
                continue;
            }
            let slots = self.committed.entry(reference.round).or_default();
            slots.insert(reference.author, reference.id);
            let variants: Vec<VertexRef> = (self.variants(reference.round, reference.author))
                .map(|entry| *entry.head.reference())
                .collect();
            for variant in variants {
                self.retire(variant);
            }
        }
    }

    /// Its payload isn't needed for commits any more.
    fn retire(&mut self, reference: VertexRef) {
        self.open.remove(&reference);
        if let Some(entry) = self.entries.get(&reference)
            && entry.whole.is_some()
        {
            self.decided_bytes += entry.resident_bytes();
            self.decided.push_back(reference);
        }
    }

    /// Lets payload that is decided leave memory, oldest first, until `bytes` are left.
    pub(crate) fn shed(&mut self, bytes: usize) {
        while self.decided_bytes > bytes
            && let Some(reference) = self.decided.pop_front()
        {
            if let Some(entry) = self.entries.get_mut(&reference) {
                self.decided_bytes = self.decided_bytes.saturating_sub(entry.resident_bytes());
                entry.whole = None;
            }
        }
    }

    /// Raises gc. What of `me` falls under it uncommitted, payload and all, is returned.
    pub(crate) fn raise_gc(&mut self, gc: Round, me: Option<ValidatorIndex>) -> Vec<ValidVertex> {
        if gc <= self.gc {
            return Vec::new();
        }
        let under = |reference: &VertexRef| reference.round <= gc;
        let fallen: Vec<VertexRef> = self.open.iter().copied().take_while(under).collect();
        let returned = (fallen.iter())
            .filter(|reference| Some(reference.author) == me)
            .filter_map(|reference| self.entries.get(reference)?.whole.clone())
            .collect();
        let uncommitted: Vec<VertexRef> = (self.entries.since(self.gc.next()))
            .map(|(reference, _)| reference)
            .take_while(under)
            .filter(|reference| self.committed_at(reference).is_none())
            .collect();
        for reference in uncommitted {
            self.retire(reference);
        }
        self.gc = gc;
        self.committed = self.committed.split_off(&gc.next());
        self.authors = self.authors.split_off(&gc.next());
        for unlinked in &mut self.unlinked {
            while unlinked.first().is_some_and(under) {
                unlinked.pop_first();
            }
        }
        returned
    }

    /// Forgets what lies below `bottom`, which never lies above gc.
    pub(crate) fn drop_below(&mut self, bottom: Round) {
        let bottom = bottom.min(self.gc.next());
        if bottom <= self.bottom {
            return;
        }
        self.bottom = bottom;
        let dropped = self.entries.drop_below(bottom);
        let sizes = (dropped.values().flatten().flatten())
            .filter(|(_, entry)| entry.whole.is_some())
            .map(|(_, entry)| entry.resident_bytes());
        self.decided_bytes = self.decided_bytes.saturating_sub(sizes.sum());
        while (self.incomplete.first()).is_some_and(|reference| reference.round < bottom) {
            self.incomplete.pop_first();
        }
        // Decisions come in about the order of rounds: what has gone is mostly in front.
        while (self.decided.front()).is_some_and(|reference| reference.round < bottom) {
            self.decided.pop_front();
        }
    }

    /// Whether some vertex above gc can't be linked because part of its cone isn't here.
    pub(crate) fn is_incomplete(&self) -> bool {
        self.incomplete
            .last()
            .is_some_and(|last| last.round > self.gc)
    }

    /// What a vertex whose cone isn't all here lacks among its own parents, in rounds that L1 asks for.
    pub(crate) fn lacking(&self, reference: &VertexRef) -> Vec<VertexRef> {
        let oldest = self.gc.back(self.epoch.gc_depth());
        let incomplete = self.incomplete.contains(reference);
        let entry = self.entries.get(reference).filter(|_| incomplete);
        let edges = entry.into_iter().flat_map(|entry| self.edges(&entry.head));
        edges
            .filter(|parent| parent.round > oldest && !self.entries.contains(parent))
            .collect()
    }

    /// Finds anew down to where cones are here, and what is missing of them in rounds that L1 asks for. Looks at every
    /// vertex whose cone isn't all here: not to be done for each that comes.
    pub(crate) fn complete(&mut self) -> Vec<VertexRef> {
        #[cfg(test)]
        {
            self.walks += 1;
        }
        let mut missing = BTreeSet::new();
        let incomplete: Vec<VertexRef> = self.incomplete.iter().copied().collect();
        for reference in incomplete {
            missing.extend(self.lacking(&reference));
            let Some(entry) = self.entries.get(&reference) else {
                self.incomplete.remove(&reference);
                continue;
            };
            let floor = self.find_floor(&entry.head);
            if let Some(entry) = self.entries.get_mut(&reference) {
                entry.floor = floor;
            }
            if floor <= lowest_needed(&self.epoch, reference.round) {
                self.incomplete.remove(&reference);
                self.vouch(reference);
            }
        }
        missing.into_iter().collect()
    }
}

/// The lowest round that L1 asks for of the cone of a vertex of `round`. Round 0 is always here.
fn lowest_needed(epoch: &EpochData, round: Round) -> Round {
    round.back(epoch.gc_depth()).max(Round(1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{self, layers, own_first, vertex, vertex_of};

    const G: u64 = 64;

    fn graph() -> (Arc<EpochData>, Graph) {
        let epoch = Arc::new(fixture::epoch(4, 4));
        (epoch.clone(), Graph::new(epoch))
    }

    fn refs(layer: &[ValidVertex]) -> Vec<VertexRef> {
        layer.iter().map(|vertex| *vertex.reference()).collect()
    }

    fn insert_all(graph: &mut Graph, layers: &[Vec<ValidVertex>]) {
        for vertex in layers.iter().flatten() {
            graph.insert(vertex.clone());
        }
    }

    /// Who is linked, as (round, author), by validator 0.
    fn parents(graph: &Graph, own: VertexRef, next: u64) -> Vec<(u64, u16)> {
        let parents = graph.choose_parents(own, Round(next));
        parents.iter().map(|p| (p.round.0, p.author.0)).collect()
    }

    fn accept_own(graph: &mut Graph, own: &ValidVertex) {
        graph.insert(own.clone());
        graph.link(*own.reference());
    }

    #[test]
    fn own_previous_first_then_everyones_newest() {
        let (epoch, mut graph) = graph();
        let virtual_own = epoch.virtual_vertices()[0];
        assert_eq!(
            parents(&graph, virtual_own, 1),
            [(0, 0), (0, 1), (0, 2), (0, 3)]
        );
        let layers = layers(&epoch, &[0, 1, 2, 3], 2);
        insert_all(&mut graph, &layers);
        let own = *layers[1][0].reference();
        graph.link(own);
        assert_eq!(parents(&graph, own, 3), [(2, 0), (2, 1), (2, 2), (2, 3)]);
    }

    #[test]
    fn a_late_vertex_is_linked_weakly_unless_a_parent_before_has_it_in_its_cone() {
        let (epoch, mut graph) = graph();
        // Validator 3 has a vertex in round 1 only, which nobody has linked.
        let others = layers(&epoch, &[0, 1, 2], 3);
        insert_all(&mut graph, &others);
        let late = vertex(&epoch, 1, 3, &own_first(3, epoch.virtual_vertices()));
        graph.insert(late.clone());
        let own = *others[2][0].reference();
        graph.link(own);
        assert_eq!(parents(&graph, own, 4), [(3, 0), (3, 1), (3, 2), (1, 3)]);
        // Another one linked it: its vertex brings it along.
        let mut with_late = own_first(1, &refs(&others[2]));
        with_late.push(*late.reference());
        let next: Vec<ValidVertex> = vec![
            vertex(&epoch, 4, 0, &own_first(0, &refs(&others[2]))),
            vertex(&epoch, 4, 1, &with_late),
            vertex(&epoch, 4, 2, &own_first(2, &refs(&others[2]))),
        ];
        accept_own(&mut graph, &next[0]);
        graph.insert(next[1].clone());
        graph.insert(next[2].clone());
        let own = *next[0].reference();
        assert_eq!(parents(&graph, own, 5), [(4, 0), (4, 1), (4, 2)]);
        // Once in the own cone, it is never linked again.
        let five = vertex(&epoch, 5, 0, &own_first(0, &refs(&next)));
        accept_own(&mut graph, &five);
        assert!(graph.get(late.reference()).unwrap().linked);
    }

    #[test]
    fn l2_an_exposed_author_is_not_linked() {
        let (epoch, mut graph) = graph();
        let layers = layers(&epoch, &[0, 1, 2, 3], 1);
        insert_all(&mut graph, &layers);
        let own = *layers[0][0].reference();
        graph.link(own);
        graph.expose(ValidatorIndex(3));
        assert_eq!(parents(&graph, own, 2), [(1, 0), (1, 1), (1, 2)]);
        let tally = graph.linkable_authors(Round(1), Round(2));
        assert!(!tally.contains(ValidatorIndex(3)));
    }

    #[test]
    fn l2_who_returns_after_a_liars_exposure_links_what_an_honest_vertex_took() {
        // Only 1, 2 and 3 made round 1; 3 was exposed later. Round 2 of an honest validator took it.
        let (epoch, mut graph) = graph();
        let first = layers(&epoch, &[1, 2, 3], 1);
        insert_all(&mut graph, &first);
        graph.expose(ValidatorIndex(3));
        let before = graph.linkable_authors(Round(1), Round(2));
        assert!(!before.is_quorum(epoch.committee()), "no Q it may link");
        let honest = vertex(&epoch, 2, 1, &own_first(1, &refs(&first[0])));
        graph.insert(honest);
        let after = graph.linkable_authors(Round(1), Round(2));
        assert!(after.is_quorum(epoch.committee()));
        let own = epoch.virtual_vertices()[0];
        assert_eq!(parents(&graph, own, 2), [(0, 0), (1, 1), (1, 2), (1, 3)]);
    }

    #[test]
    fn l2_an_exposed_authors_word_vouches_for_nothing_any_more() {
        let (epoch, mut graph) = graph();
        let first = layers(&epoch, &[1, 2, 3], 1);
        insert_all(&mut graph, &first);
        let liar = vertex(&epoch, 2, 3, &own_first(3, &refs(&first[0])));
        graph.insert(liar);
        graph.expose(ValidatorIndex(3));
        let entry = graph.get(first[0][2].reference()).unwrap();
        assert!(!graph.may_link(entry, Round(2)));
        assert!(
            graph
                .get(first[0][0].reference())
                .is_some_and(|e| graph.may_link(e, Round(2)))
        );
    }

    #[test]
    fn l1_a_cone_that_is_not_all_here_is_not_linked_until_it_is() {
        // A joiner knows commits up to round 80, so gc is 16. A vertex of round 81 links an old one of round 18 that
        // links round 16 and below: opaque, so it is accepted; but L1 asks for its cone down to 81 − 64 = 17.
        let (epoch, mut graph) = graph();
        let all = layers(&epoch, &[0, 1, 2], 80);
        let old: Vec<Vec<ValidVertex>> = old_line(&epoch, &all);
        graph.raise_gc(Round(80 - G), None);
        for vertex in all[16..].iter().flatten() {
            graph.insert(vertex.clone());
        }
        // Validator 3's vertex of round 17 is above gc, its parents at or below it aren't here.
        let late = &old[16][0];
        assert_eq!(late.reference().round, Round(17));
        assert!(graph.missing_parents(late).is_empty(), "opaque: accepted");
        graph.insert(late.clone());
        let entry = graph.get(late.reference()).unwrap();
        assert!(!graph.may_link(entry, Round(81)), "its cone isn't here");
        assert!(graph.is_incomplete());
        let missing = graph.complete();
        assert!(missing.contains(old[15][0].reference()));
        // What L1 asks for comes, from the top down; rounds at or below gc are kept for this alone.
        for round in (1..=16).rev() {
            graph.insert(old[round - 1][0].clone());
            for vertex in &all[round - 1] {
                graph.insert(vertex.clone());
            }
            graph.complete();
        }
        let entry = graph.get(late.reference()).unwrap();
        assert!(graph.may_link(entry, Round(81)));
        assert!(!graph.is_incomplete());
    }

    /// Validator 3's vertices, each on its own and on the others' of the round before.
    fn old_line(epoch: &EpochData, others: &[Vec<ValidVertex>]) -> Vec<Vec<ValidVertex>> {
        let mut own = epoch.virtual_vertices()[3];
        let mut before = epoch.virtual_vertices()[..3].to_vec();
        let mut line = Vec::new();
        for (round, layer) in (1..).zip(others) {
            let mut parents = vec![own];
            parents.extend(&before);
            let next = vertex(epoch, round, 3, &parents);
            own = *next.reference();
            before = refs(layer);
            line.push(vec![next]);
        }
        line
    }

    #[test]
    fn l1_what_is_older_than_g_is_not_linked() {
        let (epoch, mut graph) = graph();
        let layers = layers(&epoch, &[0, 1, 2], G + 2);
        let late = vertex(&epoch, 1, 3, &own_first(3, epoch.virtual_vertices()));
        insert_all(&mut graph, &layers);
        graph.insert(late.clone());
        let entry = graph.get(late.reference()).unwrap();
        assert!(graph.may_link(entry, Round(G + 1)));
        assert!(!graph.may_link(entry, Round(G + 2)));
    }

    #[test]
    fn a_detached_own_previous_need_not_be_here_and_is_never_walked() {
        let (epoch, mut graph) = graph();
        let others = layers(&epoch, &[0, 1, 2], G + 1);
        insert_all(&mut graph, &others);
        let mut parents = vec![fixture::reference(&epoch, 1, 3)];
        parents.extend(refs(&others[G as usize]));
        let back = vertex(&epoch, G + 2, 3, &parents);
        assert!(graph.missing_parents(&back).is_empty());
        assert!(graph.edges(back.head()).all(|edge| edge.round > Round(1)));
        graph.insert(back.clone());
        let entry = graph.get(back.reference()).unwrap();
        assert!(graph.may_link(entry, Round(G + 3)));
    }

    #[test]
    fn open_payload_counts_until_it_or_its_twin_is_committed() {
        let (epoch, mut graph) = graph();
        let parents = own_first(1, epoch.virtual_vertices());
        let header = fixture::header_on(&epoch, 1, 1, parents);
        let payload = vertex_of(&epoch, header.clone(), &["a"]);
        let twin = vertex_of(&epoch, header, &["b"]);
        graph.insert(payload.clone());
        assert!(graph.has_open_payload(Round(2)));
        graph.insert(twin.clone());
        graph.commit(&[*twin.reference()]);
        assert!(
            !graph.has_open_payload(Round(2)),
            "twins of what is committed aside"
        );
        assert!(graph.is_committed(twin.reference()) && !graph.is_committed(payload.reference()));
    }

    #[test]
    fn payload_of_an_exposed_author_that_nobody_links_keeps_nobody_awake() {
        let (epoch, mut graph) = graph();
        let header = fixture::header_on(&epoch, 1, 3, own_first(3, epoch.virtual_vertices()));
        graph.insert(vertex_of(&epoch, header, &["a"]));
        assert!(graph.has_open_payload(Round(2)));
        graph.expose(ValidatorIndex(3));
        assert!(!graph.has_open_payload(Round(2)));
    }

    #[test]
    fn own_payload_under_gc_is_returned_and_memory_shrinks() {
        let (epoch, mut graph) = graph();
        let header = fixture::header_on(&epoch, 1, 0, own_first(0, epoch.virtual_vertices()));
        let own = vertex_of(&epoch, header, &["mine"]);
        graph.insert(own.clone());
        insert_all(&mut graph, &layers(&epoch, &[1, 2, 3], 10));
        let returned = graph.raise_gc(Round(3), Some(ValidatorIndex(0)));
        assert_eq!(returned.len(), 1);
        assert_eq!(returned[0].reference(), own.reference());
        assert!(!graph.has_open_payload(Round(4)));
        assert!(
            graph.raise_gc(Round(2), Some(ValidatorIndex(0))).is_empty(),
            "never back"
        );
        assert!(graph.decided_bytes > 0);
        graph.shed(0);
        assert_eq!(graph.decided_bytes, 0);
        let entry = graph.get(own.reference()).unwrap();
        assert!(entry.whole().is_none(), "served from the journal");
        graph.drop_below(Round(99));
        assert_eq!(graph.bottom(), Round(4), "never above gc");
        assert!(graph.get(own.reference()).is_none());
    }

    #[test]
    fn bytes_of_what_is_dropped_are_counted_out() {
        let (epoch, mut graph) = graph();
        let layers = layers(&epoch, &[0, 1, 2, 3], 20);
        insert_all(&mut graph, &layers);
        for layer in &layers[..10] {
            graph.commit(&refs(layer));
        }
        graph.raise_gc(Round(15), None);
        graph.drop_below(Round(16));
        assert_eq!(graph.decided_bytes, 0);
        assert!(graph.decided.is_empty());
    }
}
