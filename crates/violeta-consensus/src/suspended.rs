//! Valid vertices that can't be accepted yet (consensus.md §2, §8).
//!
//! ```text
//!   V ── waits for ──▶ parents above gc that aren't here       (until they come, or gc reaches their round)
//!     ── held ───────▶ its timestamp is too far ahead, or its author's quota of variants is spent
//! ```
//!
//! Bounded for each author: [`SUSPENDED_PER_AUTHOR_MAX`] vertices and a share of [`SUSPENDED_BYTES_MAX`]. When a
//! bound is hit, the author's vertex of the highest round goes (it can be asked for again): a flood pushes out only
//! its own author's.

use std::collections::{BTreeMap, BTreeSet};

use violeta_types::limits::VERTEX_BYTES_MAX;
use violeta_types::{Round, TimeMs, ValidatorIndex, VertexRef};

use crate::limits::{
    SUSPENDED_BYTES_MAX, SUSPENDED_BYTES_PER_AUTHOR_MAX, SUSPENDED_PER_AUTHOR_MAX,
};
use crate::vertex::ValidVertex;

/// Why a vertex whose parents are here waits all the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hold {
    /// Nothing holds it.
    No,
    /// Its timestamp lies ahead: until this time.
    Early(TimeMs),
    /// It is a further variant of its slot.
    Quota,
}

#[derive(Clone, Debug)]
struct Waiting {
    from: ValidatorIndex,
    vertex: ValidVertex,
    missing: BTreeSet<VertexRef>,
    hold: Hold,
}

#[derive(Clone, Debug, Default)]
struct Load {
    vertices: BTreeSet<VertexRef>,
    bytes: usize,
}

#[derive(Clone, Debug)]
pub(crate) struct Suspended {
    waiting: BTreeMap<VertexRef, Waiting>,
    /// Who waits for a vertex that isn't here.
    children: BTreeMap<VertexRef, BTreeSet<VertexRef>>,
    held: BTreeSet<VertexRef>,
    loads: Vec<Load>,
    bytes_per_author_max: usize,
}

impl Suspended {
    pub(crate) fn new(validators: usize) -> Self {
        let share = SUSPENDED_BYTES_MAX / validators.max(1);
        Suspended {
            waiting: BTreeMap::new(),
            children: BTreeMap::new(),
            held: BTreeSet::new(),
            loads: vec![Load::default(); validators],
            bytes_per_author_max: share.clamp(VERTEX_BYTES_MAX, SUSPENDED_BYTES_PER_AUTHOR_MAX),
        }
    }

    pub(crate) fn contains(&self, reference: &VertexRef) -> bool {
        self.waiting.contains_key(reference)
    }

    pub(crate) fn get(&self, reference: &VertexRef) -> Option<&ValidVertex> {
        self.waiting.get(reference).map(|waiting| &waiting.vertex)
    }

    /// Whether some vertex waits for this one.
    pub(crate) fn is_wanted(&self, reference: &VertexRef) -> bool {
        self.children.contains_key(reference)
    }

    /// All that is waited for, and who sent what waits.
    pub(crate) fn wanted(&self) -> impl Iterator<Item = (VertexRef, ValidatorIndex)> {
        self.children.iter().filter_map(|(parent, children)| {
            let child = children.first()?;
            Some((*parent, self.waiting.get(child)?.from))
        })
    }

    /// The suspended variants of a slot.
    pub(crate) fn variants(
        &self,
        round: Round,
        author: ValidatorIndex,
    ) -> impl Iterator<Item = &ValidVertex> {
        (self.loads.get(author.as_usize()).into_iter())
            .flat_map(|load| load.vertices.iter())
            .filter(move |reference| reference.round == round)
            .filter_map(|reference| self.get(reference))
    }

    /// Suspends a vertex; what had to go for it (itself, maybe).
    pub(crate) fn insert(
        &mut self,
        from: ValidatorIndex,
        vertex: ValidVertex,
        missing: BTreeSet<VertexRef>,
        hold: Hold,
    ) -> Vec<VertexRef> {
        assert!(!missing.is_empty() || hold != Hold::No);
        let reference = *vertex.reference();
        assert!(!self.contains(&reference));
        for parent in &missing {
            self.children.entry(*parent).or_default().insert(reference);
        }
        if hold != Hold::No {
            self.held.insert(reference);
        }
        let load = &mut self.loads[reference.author.as_usize()];
        load.vertices.insert(reference);
        load.bytes += vertex.bytes().len();
        let waiting = Waiting {
            from,
            vertex,
            missing,
            hold,
        };
        self.waiting.insert(reference, waiting);
        self.evict(reference.author)
    }

    fn evict(&mut self, author: ValidatorIndex) -> Vec<VertexRef> {
        let mut gone = Vec::new();
        loop {
            let load = &self.loads[author.as_usize()];
            let over = load.vertices.len() > SUSPENDED_PER_AUTHOR_MAX
                || load.bytes > self.bytes_per_author_max;
            let Some(&highest) = load.vertices.last().filter(|_| over) else {
                return gone;
            };
            self.remove(&highest);
            gone.push(highest);
        }
    }

    /// Takes a vertex out.
    pub(crate) fn remove(
        &mut self,
        reference: &VertexRef,
    ) -> Option<(ValidatorIndex, ValidVertex)> {
        let waiting = self.waiting.remove(reference)?;
        for parent in &waiting.missing {
            self.forget_child(parent, reference);
        }
        self.held.remove(reference);
        let load = &mut self.loads[reference.author.as_usize()];
        load.vertices.remove(reference);
        load.bytes -= waiting.vertex.bytes().len();
        Some((waiting.from, waiting.vertex))
    }

    fn forget_child(&mut self, parent: &VertexRef, child: &VertexRef) {
        if let Some(children) = self.children.get_mut(parent) {
            children.remove(child);
            if children.is_empty() {
                self.children.remove(parent);
            }
        }
    }

    /// A vertex is here, or gc reached it: takes out who waited for nothing else.
    pub(crate) fn resolve(&mut self, parent: &VertexRef) -> Vec<(ValidatorIndex, ValidVertex)> {
        let mut ready = Vec::new();
        for child in self.children.remove(parent).unwrap_or_default() {
            let Some(waiting) = self.waiting.get_mut(&child) else {
                continue;
            };
            waiting.missing.remove(parent);
            if waiting.missing.is_empty() && waiting.hold == Hold::No {
                ready.extend(self.remove(&child));
            }
        }
        ready
    }

    /// gc rose: vertices at or below it are dropped, and nobody waits for such any more.
    pub(crate) fn raise_gc(&mut self, gc: Round) -> Vec<(ValidatorIndex, ValidVertex)> {
        let under: Vec<VertexRef> = (self.waiting.keys())
            .take_while(|reference| reference.round <= gc)
            .copied()
            .collect();
        for reference in under {
            self.remove(&reference);
        }
        let mut ready = Vec::new();
        while let Some((&parent, _)) = self.children.first_key_value()
            && parent.round <= gc
        {
            ready.extend(self.resolve(&parent));
        }
        ready
    }

    /// Takes out what was held and isn't any more: whose time has come (`wall` is the latest timestamp accepted), and
    /// whose author `grants` a variant. What still misses parents waits on for them alone.
    pub(crate) fn release(
        &mut self,
        wall: TimeMs,
        mut grants: impl FnMut(ValidatorIndex) -> bool,
    ) -> Vec<(ValidatorIndex, ValidVertex)> {
        let mut ready = Vec::new();
        for reference in self.held.clone() {
            let Some(waiting) = self.waiting.get_mut(&reference) else {
                continue;
            };
            let free = match waiting.hold {
                Hold::No => true,
                Hold::Early(until) => until <= wall,
                Hold::Quota => waiting.missing.is_empty() && grants(reference.author),
            };
            if !free {
                continue;
            }
            waiting.hold = Hold::No;
            self.held.remove(&reference);
            if waiting.missing.is_empty() {
                ready.extend(self.remove(&reference));
            }
        }
        ready
    }

    /// Whether anything is held.
    pub(crate) fn holds(&self) -> bool {
        !self.held.is_empty()
    }

    /// Drops what `peer` sent.
    pub(crate) fn drop_from(&mut self, peer: ValidatorIndex) {
        let sent: Vec<VertexRef> = (self.waiting.iter())
            .filter(|(_, waiting)| waiting.from == peer)
            .map(|(reference, _)| *reference)
            .collect();
        for reference in sent {
            self.remove(&reference);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::epoch::EpochData;
    use crate::fixture;

    const FROM: ValidatorIndex = ValidatorIndex(2);

    fn vertex(epoch: &EpochData, round: u64, author: u16) -> ValidVertex {
        fixture::vertex_of(epoch, fixture::header(epoch, round, author), &[])
    }

    fn missing(vertex: &ValidVertex) -> BTreeSet<VertexRef> {
        vertex.header().parents.iter().copied().collect()
    }

    fn count(suspended: &Suspended) -> usize {
        suspended.waiting.len()
    }

    #[test]
    fn the_last_missing_parent_sets_a_vertex_free() {
        let epoch = fixture::epoch(4, 4);
        let mut suspended = Suspended::new(4);
        let waits = vertex(&epoch, 5, 1);
        let parents = missing(&waits);
        suspended.insert(FROM, waits.clone(), parents.clone(), Hold::No);
        assert_eq!(suspended.wanted().count(), 4);
        let mut ready = Vec::new();
        for parent in &parents {
            assert!(ready.is_empty());
            assert!(suspended.is_wanted(parent));
            ready = suspended.resolve(parent);
        }
        assert_eq!(ready[0].1.reference(), waits.reference());
        assert_eq!((count(&suspended), suspended.wanted().count()), (0, 0));
        assert_eq!(suspended.loads[1].bytes, 0);
    }

    #[test]
    fn gc_sets_free_and_drops() {
        let epoch = fixture::epoch(4, 4);
        let mut suspended = Suspended::new(4);
        for round in 5..=7 {
            let waits = vertex(&epoch, round, 1);
            let parents = missing(&waits);
            suspended.insert(FROM, waits, parents, Hold::No);
        }
        let ready = suspended.raise_gc(Round(5));
        let rounds: Vec<_> = ready.iter().map(|(_, v)| v.reference().round.0).collect();
        assert_eq!(
            rounds,
            [6],
            "5 is dropped, 6 waits for round 5 no more, 7 waits on"
        );
        assert_eq!(count(&suspended), 1);
    }

    #[test]
    fn a_flood_pushes_out_its_own_authors_highest_only() {
        let epoch = fixture::epoch(4, 4);
        let mut suspended = Suspended::new(4);
        let other = vertex(&epoch, 9_999, 3);
        let parents = missing(&other);
        suspended.insert(FROM, other.clone(), parents, Hold::No);
        let flood = SUSPENDED_PER_AUTHOR_MAX as u64 + 10;
        let mut gone = Vec::new();
        for round in 2..2 + flood {
            let waits = vertex(&epoch, round, 1);
            let parents = missing(&waits);
            gone.extend(suspended.insert(FROM, waits, parents, Hold::No));
        }
        assert_eq!(gone.len(), 10);
        assert!(
            gone.iter()
                .all(|reference| reference.round.0 > SUSPENDED_PER_AUTHOR_MAX as u64)
        );
        assert!(suspended.contains(other.reference()));
        assert_eq!(count(&suspended), SUSPENDED_PER_AUTHOR_MAX + 1);
    }

    #[test]
    fn bytes_are_bounded_for_each_author() {
        let epoch = fixture::epoch(4, 4);
        let mut suspended = Suspended::new(4);
        let big = "x".repeat(1 << 20);
        for round in 2..40 {
            let items = [big.as_str(), big.as_str(), big.as_str()];
            let waits = fixture::vertex_of(&epoch, fixture::header(&epoch, round, 1), &items);
            let parents = missing(&waits);
            suspended.insert(FROM, waits, parents, Hold::No);
            assert!(suspended.loads[1].bytes <= suspended.bytes_per_author_max);
        }
        assert_eq!(count(&suspended), 5);
        assert!(Suspended::new(128).bytes_per_author_max >= VERTEX_BYTES_MAX);
    }

    #[test]
    fn held_vertices_are_released_by_time_and_quota() {
        let epoch = fixture::epoch(4, 4);
        let mut suspended = Suspended::new(4);
        let early = vertex(&epoch, 5, 1);
        let variant = vertex(&epoch, 6, 3);
        let both = vertex(&epoch, 7, 2);
        let none = BTreeSet::new;
        suspended.insert(FROM, early.clone(), none(), Hold::Early(TimeMs(100)));
        suspended.insert(FROM, variant, none(), Hold::Quota);
        let parents = missing(&both);
        suspended.insert(FROM, both, parents, Hold::Early(TimeMs(100)));
        assert!(suspended.release(TimeMs(99), |_| false).is_empty());
        let ready = suspended.release(TimeMs(100), |_| false);
        assert_eq!(ready[0].1.reference(), early.reference());
        assert_eq!(ready.len(), 1, "the third still misses parents");
        assert_eq!(
            suspended.release(TimeMs(100), |author| author.0 == 3).len(),
            1
        );
        assert!(!suspended.holds());
        assert_eq!(count(&suspended), 1);
    }

    #[test]
    fn what_a_peer_sent_is_dropped_with_it() {
        let epoch = fixture::epoch(4, 4);
        let mut suspended = Suspended::new(4);
        for (round, from) in [(5, 2), (6, 3)] {
            let waits = vertex(&epoch, round, 1);
            let parents = missing(&waits);
            suspended.insert(ValidatorIndex(from), waits, parents, Hold::No);
        }
        suspended.drop_from(FROM);
        assert_eq!(count(&suspended), 1);
        assert!(
            suspended
                .wanted()
                .all(|(_, from)| from == ValidatorIndex(3))
        );
    }
}
