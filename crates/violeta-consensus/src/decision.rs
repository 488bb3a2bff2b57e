//! The decision rule (consensus.md §5), and nothing else: it is fed with vertices, as references and edges, and with
//! the leaders of rounds; it says which slots are committed and which skipped. No signatures, payloads, coin, gc.
//!
//! ```text
//!   r          r+1 … v=r+w−2        c=r+w−1               ≥ r+w
//!   X  ◀────── votes for X ◀─────── certificates of X ◀── anchor
//!  slot        a vertex's vote:     Q of its parents      the first slot in order, of round ≥ r+w,
//!  (r, i)      the first hit among  in v vote X           that isn't skipped
//!              its parents
//! ```
//!
//! Upon a vertex V of round ρ (and, for what was here before, upon the leaders of a round):
//! - for each slot of rounds ρ−(w−2) … ρ−1, V's *vote* is taken from its parents' and kept with V;
//! - ρ = r: V at (r, leader) is a further variant: everyone in v so far has voted for something else;
//! - ρ = v: V's author blames every variant that V doesn't vote for;
//! - ρ = c: if Q of V's parents in v vote X, V's author certifies X.
//!
//! Direct commit: Q authors certify X. Direct skip: Q authors are in v, and each variant is blamed by Q. When a slot
//! was decided directly or leaders became known, the undecided slots whose anchor that may have changed are gone through
//! from the highest down (*indirect*): an anchor that is committed decides by its cone, an undecided one leaves the slot
//! undecided. So at rest, no undecided slot has a committed anchor.
//!
//! Work: V's parents are looked at once for each of the (w−1)·L slots that V votes on or certifies, and once more
//! when a cone is walked. A slot is looked at when it may be decided, and when an anchor is sought: w rounds and a run of
//! skipped slots for each slot that changes, however many have been undecided for long. [`Decider::steps`] counts both.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use violeta_types::seeded::{self, Bug};
use violeta_types::{Committee, Round, StakeTally, ValidatorIndex, VertexRef};

use crate::layers::Layers;

/// Position of a slot: its round, and its place among the round's leaders.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SlotKey {
    /// The round.
    pub round: Round,
    /// From 0; below the number of leaders.
    pub place: usize,
}

/// What became of a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The leader's vertex is committed.
    Commit(VertexRef),
    /// Nothing of it is.
    Skip,
}

/// How a slot was decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// By certificates or blames of a quorum.
    Direct,
    /// By the cone of a later committed leader.
    Indirect,
}

/// A decided slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision {
    /// The slot.
    pub slot: SlotKey,
    /// Whose slot it is.
    pub leader: ValidatorIndex,
    /// What became of it.
    pub outcome: Outcome,
    /// How.
    pub how: How,
}

/// How slots were decided, counted: for metrics, and for tests that ask whether each way was taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DecisionCounts {
    /// Committed by certificates of a quorum.
    pub direct_commits: u64,
    /// Skipped by blames of a quorum.
    pub direct_skips: u64,
    /// Committed by a later committed leader.
    pub indirect_commits: u64,
    /// Skipped by a later committed leader.
    pub indirect_skips: u64,
}

impl DecisionCounts {
    /// Counts a decision.
    pub(crate) fn count(&mut self, decision: &Decision) {
        let is_commit = matches!(decision.outcome, Outcome::Commit(_));
        let counter = match (decision.how, is_commit) {
            (How::Direct, true) => &mut self.direct_commits,
            (How::Direct, false) => &mut self.direct_skips,
            (How::Indirect, true) => &mut self.indirect_commits,
            (How::Indirect, false) => &mut self.indirect_skips,
        };
        *counter += 1;
    }
}

/// A vertex among those of this module: its position within the slot instead of its id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Node {
    round: Round,
    author: ValidatorIndex,
    variant: u32,
}

/// What is kept of a vertex.
#[derive(Clone, Debug)]
struct Vertex {
    reference: VertexRef,
    /// In vote order.
    parents: Vec<Node>,
    /// The variant voted for, for each slot that it has been asked about.
    votes: Vec<(SlotKey, Option<u32>)>,
    /// The variant certified.
    certified: Vec<(SlotKey, u32)>,
}

impl Vertex {
    fn vote(&self, slot: SlotKey) -> Option<u32> {
        (self.votes.iter())
            .find(|(at, _)| *at == slot)
            .and_then(|(_, vote)| *vote)
    }

    fn certificate(&self, slot: SlotKey) -> Option<u32> {
        (self.certified.iter())
            .find(|(at, _)| *at == slot)
            .map(|(_, variant)| *variant)
    }
}

/// Authors for and against a variant of a slot.
#[derive(Clone, Debug, Default)]
struct Variant {
    certifiers: StakeTally,
    blamers: StakeTally,
}

#[derive(Clone, Debug)]
struct Slot {
    leader: ValidatorIndex,
    voters: StakeTally,
    variants: Vec<Variant>,
    decided: Option<(Option<u32>, How)>,
}

impl Slot {
    /// Direct commit, direct skip, or neither yet.
    fn direct(&self, committee: &Committee) -> Option<Option<u32>> {
        let committed =
            (self.variants.iter()).position(|variant| variant.certifiers.is_quorum(committee));
        if let Some(variant) = committed {
            return Some(Some(variant as u32));
        }
        // For every accepted variant, never for some: a twin nobody votes for must not skip its sibling.
        let mut blamed = (self.variants.iter()).all(|variant| variant.blamers.is_quorum(committee));
        if seeded::is(Bug::SkipOnAnyTwin) {
            blamed |= (self.variants.iter()).any(|variant| variant.blamers.is_quorum(committee));
        }
        (self.voters.is_quorum(committee) && blamed).then_some(None)
    }
}

/// The decision rule's state: slots of rounds from the first undecided one up.
#[derive(Clone, Debug)]
pub struct Decider {
    committee: Arc<Committee>,
    wave: u64,
    vertices: Layers<Vertex>,
    /// By round; a round that isn't here has unknown leaders.
    slots: BTreeMap<Round, Vec<Slot>>,
    /// The first slot not yet given out.
    cursor: SlotKey,
    /// No vertex below this round is kept.
    floor: Round,
    steps: u64,
}

impl Decider {
    /// A decider for waves of `wave` rounds (3, 4 or 5), before the slots of round 1.
    pub fn new(committee: Arc<Committee>, wave: u64) -> Self {
        assert!((3..=5).contains(&wave));
        let first = SlotKey {
            round: Round(1),
            place: 0,
        };
        Decider {
            vertices: Layers::new(committee.len()),
            committee,
            wave,
            slots: BTreeMap::new(),
            cursor: first,
            floor: Round(1),
            steps: 0,
        }
    }

    /// The first slot not yet given out by [`next_decision`](Self::next_decision).
    pub fn cursor(&self) -> SlotKey {
        self.cursor
    }

    /// Parents and slots looked at so far: the measure of work.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    fn vote_round(&self, round: Round) -> Round {
        round.forward(self.wave - 2)
    }

    fn certificate_round(&self, round: Round) -> Round {
        round.forward(self.wave - 1)
    }

    /// Takes a vertex, after those of its parents that will ever be taken. `parents` is in vote order, without edges
    /// that nobody walks. One that is here already, or below the floor, is ignored.
    pub fn insert(&mut self, reference: VertexRef, parents: impl IntoIterator<Item = VertexRef>) {
        if reference.round < self.floor || self.vertices.contains(&reference) {
            return;
        }
        let parents = (parents.into_iter())
            .filter_map(|parent| {
                assert!(parent.round < reference.round);
                let variant = self.vertices.position(&parent)? as u32;
                let (round, author) = (parent.round, parent.author);
                Some(Node {
                    round,
                    author,
                    variant,
                })
            })
            .collect();
        let vertex = Vertex {
            reference,
            parents,
            votes: Vec::new(),
            certified: Vec::new(),
        };
        let node = Node {
            round: reference.round,
            author: reference.author,
            variant: self.vertices.insert(reference, vertex) as u32,
        };
        let lowest = reference.round.back(self.wave - 1);
        let mut changed = Vec::new();
        // Lowest round first; each slot that this vertex can change, and no other.
        let affected: Vec<(Round, usize)> = (self.slots.range(lowest..=reference.round))
            .map(|(round, slots)| (*round, slots.len()))
            .collect();
        for (round, places) in affected {
            for place in 0..places {
                let key = SlotKey { round, place };
                if self.count(node, key) {
                    changed.push(key);
                }
            }
        }
        let mut cone = None;
        for key in changed.into_iter().rev() {
            self.settle(key, &mut cone);
        }
    }

    /// Makes known who leads `round`. Known once is known for good: a second word is ignored.
    pub fn set_leaders(&mut self, round: Round, leaders: Vec<ValidatorIndex>) {
        if round < self.cursor.round || self.slots.contains_key(&round) {
            return;
        }
        let slots = (leaders.into_iter())
            .map(|leader| Slot {
                leader,
                voters: StakeTally::default(),
                variants: Vec::new(),
                decided: None,
            })
            .collect::<Vec<_>>();
        let places = slots.len();
        self.slots.insert(round, slots);
        for at in round.0..=self.certificate_round(round).0 {
            let nodes: Vec<Node> = self.nodes(Round(at));
            for node in nodes {
                for place in 0..places {
                    self.count(node, SlotKey { round, place });
                }
            }
        }
        let mut cone = None;
        let anchor = self.first_open(round.forward(self.wave));
        self.decide_round(round, anchor, &mut cone);
        // All of them were undecided to those below.
        self.settle(SlotKey { round, place: 0 }, &mut cone);
    }

    /// Whether the leaders of `round` are known, or not needed any more.
    pub fn knows_leaders(&self, round: Round) -> bool {
        round < self.cursor.round || self.slots.contains_key(&round)
    }

    fn nodes(&self, round: Round) -> Vec<Node> {
        let mut nodes = Vec::new();
        for author in self.committee.indices() {
            let variants = self.vertices.variants(round, author).len() as u32;
            nodes.extend((0..variants).map(|variant| Node {
                round,
                author,
                variant,
            }));
        }
        nodes
    }

    fn vertex(&self, node: Node) -> &Vertex {
        &self.vertices.variants(node.round, node.author)[node.variant as usize].1
    }

    fn vertex_mut(&mut self, node: Node) -> Option<&mut Vertex> {
        self.vertices
            .at_mut(node.round, node.author, node.variant as usize)
    }

    fn slot_mut(&mut self, key: SlotKey) -> Option<&mut Slot> {
        (self.slots.get_mut(&key.round)).and_then(|slots| slots.get_mut(key.place))
    }

    fn slot(&self, key: SlotKey) -> Option<&Slot> {
        (self.slots.get(&key.round)).and_then(|slots| slots.get(key.place))
    }

    /// Counts a vertex for a slot of its own or a lower round; says whether that decided the slot directly.
    fn count(&mut self, node: Node, key: SlotKey) -> bool {
        let vote_round = self.vote_round(key.round);
        let Some(leader) = self.slot(key).map(|slot| slot.leader) else {
            return false;
        };
        if node.round == key.round {
            return node.author == leader && self.count_variant(node, key);
        }
        if node.round <= vote_round {
            let vote = self.find_vote(node, key, leader);
            if let Some(vertex) = self.vertex_mut(node) {
                vertex.votes.push((key, vote));
            }
            return node.round == vote_round && self.count_vote(node.author, vote, key);
        }
        if node.round == self.certificate_round(key.round) {
            return self.count_certificate(node, key);
        }
        false
    }

    /// A further variant: whoever has a vertex in the vote round already doesn't vote for it.
    fn count_variant(&mut self, node: Node, key: SlotKey) -> bool {
        if let Some(slot) = self.slot_mut(key) {
            assert_eq!(slot.variants.len(), node.variant as usize);
            let blamers = slot.voters;
            slot.variants.push(Variant {
                certifiers: StakeTally::default(),
                blamers,
            });
        }
        self.decide_directly(key)
    }

    /// `vote(V, (a, r))`: V's parents in listed order; the first that is at (a, r), or has a vote itself.
    fn find_vote(&mut self, node: Node, key: SlotKey, leader: ValidatorIndex) -> Option<u32> {
        let mut steps = 0;
        let mut found = None;
        for &parent in &self.vertex(node).parents {
            steps += 1;
            if parent.round == key.round && parent.author == leader {
                found = Some(parent.variant);
            } else if parent.round > key.round && !seeded::is(Bug::VoteNotInherited) {
                found = self.vertex(parent).vote(key);
            }
            if found.is_some() {
                break;
            }
        }
        self.steps += steps;
        found
    }

    fn count_vote(&mut self, author: ValidatorIndex, vote: Option<u32>, key: SlotKey) -> bool {
        let committee = self.committee.clone();
        if let Some(slot) = self.slot_mut(key) {
            slot.voters.add(&committee, author);
            for (variant, tallies) in slot.variants.iter_mut().enumerate() {
                if vote != Some(variant as u32) {
                    tallies.blamers.add(&committee, author);
                }
            }
        }
        self.decide_directly(key)
    }

    /// `certifies(C, X)`: among C's parents of the vote round, Q authors vote X.
    fn count_certificate(&mut self, node: Node, key: SlotKey) -> bool {
        let committee = self.committee.clone();
        let vote_round = self.vote_round(key.round);
        let mut tallies: Vec<(u32, StakeTally)> = Vec::new();
        let mut steps = 0;
        for &parent in &self.vertex(node).parents {
            steps += 1;
            if parent.round != vote_round {
                continue;
            }
            let Some(vote) = self.vertex(parent).vote(key) else {
                continue;
            };
            match tallies.iter_mut().find(|(variant, _)| *variant == vote) {
                Some((_, tally)) => drop(tally.add(&committee, parent.author)),
                None => {
                    let mut tally = StakeTally::default();
                    tally.add(&committee, parent.author);
                    tallies.push((vote, tally));
                }
            }
        }
        self.steps += steps;
        let Some((variant, _)) = (tallies.into_iter()).find(|(_, t)| t.is_quorum(&committee))
        else {
            return false;
        };
        if let Some(vertex) = self.vertex_mut(node) {
            vertex.certified.push((key, variant));
        }
        if let Some(slot) = self.slot_mut(key) {
            slot.variants[variant as usize]
                .certifiers
                .add(&committee, node.author);
        }
        self.decide_directly(key)
    }

    fn decide_directly(&mut self, key: SlotKey) -> bool {
        let committee = self.committee.clone();
        let Some(slot) = self.slot_mut(key) else {
            return false;
        };
        let Some(direct) = slot.direct(&committee) else {
            return false;
        };
        match slot.decided {
            None => {
                slot.decided = Some((direct, How::Direct));
                return true;
            }
            // Safety (§5): what decided the slot before agrees, as long as at most f are faulty.
            Some((before, _)) if before == direct => slot.decided = Some((direct, How::Direct)),
            Some(_) => {}
        }
        false
    }

    /// The indirect rule for slots whose anchor is `changed` or one that changes with it: from the highest down, as far
    /// as it reaches.
    fn settle(&mut self, changed: SlotKey, cone: &mut Option<Cone>) {
        let mut lowest_changed = changed;
        let rounds = self.cursor.round.0..(changed.round.0 + 1).saturating_sub(self.wave);
        for round in rounds.rev().map(Round) {
            let anchor = self.first_open(round.forward(self.wave));
            if anchor.is_some_and(|anchor| anchor < lowest_changed) {
                // Nothing below it has changed, and whoever is further down has this anchor or a lower one.
                return;
            }
            if let Some(lowest) = self.decide_round(round, anchor, cone) {
                lowest_changed = lowest;
            }
        }
    }

    /// The indirect rule for the undecided slots of a round, whose anchor is given; the lowest that it decided.
    fn decide_round(
        &mut self,
        round: Round,
        anchor: Option<SlotKey>,
        cone: &mut Option<Cone>,
    ) -> Option<SlotKey> {
        let anchor = self.committed(anchor?)?;
        let mut lowest = None;
        for place in (0..self.slots.get(&round).map_or(0, Vec::len)).rev() {
            self.steps += 1;
            let key = SlotKey { round, place };
            if key < self.cursor || !self.is_undecided(key) {
                continue;
            }
            let walked = cone.take().filter(|cone| cone.anchor == anchor);
            let cone = cone.insert(walked.unwrap_or_else(|| Cone::new(anchor)));
            let outcome = self.certified_in(cone, key);
            if let Some(slot) = self.slot_mut(key) {
                slot.decided = Some((outcome, How::Indirect));
            }
            lowest = Some(key);
        }
        lowest
    }

    /// The first slot from a round up that isn't skipped. A round whose leaders aren't known stands in as one slot, which
    /// is undecided; above the highest known one there is none.
    fn first_open(&mut self, from: Round) -> Option<SlotKey> {
        let (&Round(last), _) = self.slots.last_key_value()?;
        for round in (from.0..=last).map(Round) {
            let Some(slots) = self.slots.get(&round) else {
                return Some(SlotKey { round, place: 0 });
            };
            let skipped = |slot: &Slot| matches!(slot.decided, Some((None, _)));
            let run = slots.iter().take_while(|slot| skipped(slot)).count();
            self.steps += 1 + run as u64;
            if run < slots.len() {
                return Some(SlotKey { round, place: run });
            }
        }
        None
    }

    fn is_undecided(&self, key: SlotKey) -> bool {
        self.slot(key).is_some_and(|slot| slot.decided.is_none())
    }

    fn committed(&self, key: SlotKey) -> Option<Node> {
        let slot = self.slot(key)?;
        let (Some(variant), _) = slot.decided? else {
            return None;
        };
        Some(Node {
            round: key.round,
            author: slot.leader,
            variant,
        })
    }

    /// The variant that some vertex of the certificate round in the cone certifies.
    fn certified_in(&mut self, cone: &mut Cone, key: SlotKey) -> Option<u32> {
        let round = self.certificate_round(key.round);
        self.steps += cone.descend(round, &self.vertices);
        let layer = cone.layers.get(&round)?;
        layer
            .iter()
            .find_map(|node| self.vertex(*node).certificate(key))
    }

    /// What is known of a slot now, given out or not; none if undecided or forgotten.
    pub fn decision(&self, key: SlotKey) -> Option<Decision> {
        let slot = self.slot(key)?;
        let (variant, how) = slot.decided?;
        let outcome = match variant {
            None => Outcome::Skip,
            Some(variant) => {
                let node = Node {
                    round: key.round,
                    author: slot.leader,
                    variant,
                };
                Outcome::Commit(self.vertex(node).reference)
            }
        };
        Some(Decision {
            slot: key,
            leader: slot.leader,
            outcome,
            how,
        })
    }

    /// The next slot in order, if it is decided.
    pub fn next_decision(&mut self) -> Option<Decision> {
        loop {
            let slots = self.slots.get(&self.cursor.round)?;
            if self.cursor.place < slots.len() {
                break;
            }
            self.cursor = SlotKey {
                round: self.cursor.round.next(),
                place: 0,
            };
        }
        let decision = self.decision(self.cursor)?;
        self.cursor.place += 1;
        Some(decision)
    }

    /// Goes on after `slot`, which a certified commit has decided, without the rule's own word on it and on what lies
    /// before. The leaders of the slot's round must be known. Never goes back.
    pub fn resume_after(&mut self, slot: SlotKey) {
        let next = SlotKey {
            place: slot.place + 1,
            ..slot
        };
        self.cursor = self.cursor.max(next);
    }

    /// Forgets what lies below `floor`, and never above the cursor: no undecided slot depends on it.
    pub fn forget_below(&mut self, floor: Round) {
        let floor = floor.min(self.cursor.round);
        self.floor = self.floor.max(floor);
        self.vertices.drop_below(floor);
        self.slots = self.slots.split_off(&floor);
    }
}

/// The light cone of an anchor, walked down layer by layer as far as has been asked.
struct Cone {
    anchor: Node,
    /// Layers above `reached` are whole and their parents entered; that of `reached` is whole.
    layers: BTreeMap<Round, BTreeSet<Node>>,
    reached: Round,
}

impl Cone {
    fn new(anchor: Node) -> Self {
        Cone {
            anchor,
            layers: BTreeMap::from([(anchor.round, BTreeSet::from([anchor]))]),
            reached: anchor.round,
        }
    }

    /// Walks down until the layer of `round` is whole; the number of parents looked at.
    fn descend(&mut self, round: Round, vertices: &Layers<Vertex>) -> u64 {
        let mut steps = 0;
        while self.reached > round {
            let layer = self.layers.get(&self.reached).cloned().unwrap_or_default();
            for node in layer {
                let slot = vertices.variants(node.round, node.author);
                for &parent in &slot[node.variant as usize].1.parents {
                    steps += 1;
                    self.layers.entry(parent.round).or_default().insert(parent);
                }
            }
            self.reached = self.reached.back(1);
        }
        steps
    }
}

#[cfg(test)]
mod tests {
    use violeta_types::{Domain, VertexId};

    use super::*;
    use crate::fixture;

    fn at(round: u64, author: u16) -> VertexRef {
        let name = [&round.to_le_bytes()[..], &author.to_le_bytes()].concat();
        VertexRef {
            round: Round(round),
            author: ValidatorIndex(author),
            id: VertexId(Domain::Vertex.hash(&name)),
        }
    }

    fn decider(n: usize, wave: u64) -> Decider {
        Decider::new(Arc::new(fixture::epoch(n, wave).committee().clone()), wave)
    }

    /// A whole round: everyone links everyone.
    fn layer(decider: &mut Decider, n: u16, round: u64) {
        for author in 0..n {
            let others = (0..n).filter(|&i| i != author);
            let parents = [author].into_iter().chain(others);
            decider.insert(at(round, author), parents.map(|i| at(round - 1, i)));
        }
    }

    fn leaders(decider: &mut Decider, round: u64, leaders: &[u16]) {
        let leaders = leaders.iter().copied().map(ValidatorIndex);
        decider.set_leaders(Round(round), leaders.collect());
    }

    #[test]
    fn work_is_linear_with_fifty_validators_and_waves_of_five() {
        let (n, wave) = (50, 5);
        let mut decider = decider(n, wave);
        let mut before = 0;
        for round in 1..=40 {
            layer(&mut decider, n as u16, round);
            if let Some(r) = round.checked_sub(wave - 1).filter(|&r| r > 0) {
                leaders(
                    &mut decider,
                    r,
                    &[(r % 50) as u16, (r % 50 + 1) as u16 % 50],
                );
            }
            while decider.next_decision().is_some() {}
            decider.forget_below(decider.cursor().round);
            // Each vertex: once for each slot of w − 1 rounds, two a round; each time its 50 parents at most.
            let most = (n * n * 2 * (wave as usize - 1)) as u64;
            let steps = decider.steps() - before;
            assert!(
                steps <= most,
                "{steps} steps in round {round}, at most {most}"
            );
            before = decider.steps();
        }
        assert!(decider.cursor().round >= Round(36));
    }

    #[test]
    fn work_is_linear_when_slots_were_undecided_for_long() {
        let (n, wave, rounds) = (10, 4, 60);
        let mut decider = decider(n, wave);
        for round in 1..=rounds {
            layer(&mut decider, n as u16, round);
        }
        let mut expected = 0;
        for round in (1..=rounds - 3).rev() {
            leaders(&mut decider, round, &[0, 1]);
            expected += n * n * 2 * 3;
        }
        assert!(decider.steps() <= expected as u64);
        let decided = std::iter::from_fn(|| decider.next_decision()).count();
        assert_eq!(decided, 2 * (rounds as usize - 3));
    }

    #[test]
    fn work_is_linear_while_an_unknown_coin_holds_the_first_slot_up() {
        let (n, wave, rounds) = (4, 4, 300);
        let mut decider = decider(n, wave);
        for round in 1..=rounds {
            let before = decider.steps();
            layer(&mut decider, n as u16, round);
            if let Some(r) = round.checked_sub(wave - 1).filter(|&r| r > 1) {
                leaders(&mut decider, r, &[0, 1]);
            }
            // The parents as above; and some slots, not all those since round 1.
            let most = (n * n * 2 * (wave as usize - 1)) as u64 + 8 * wave;
            let steps = decider.steps() - before;
            assert!(steps <= most, "{steps} steps in round {round}");
        }
        assert_eq!(decider.next_decision(), None);
        leaders(&mut decider, 1, &[0, 1]);
        let decided = std::iter::from_fn(|| decider.next_decision()).count();
        assert_eq!(decided, 2 * (rounds as usize - 3));
    }

    #[test]
    fn each_way_to_decide_is_counted_apart() {
        let mut counts = DecisionCounts::default();
        let decision = |how, outcome| Decision {
            slot: SlotKey {
                round: Round(1),
                place: 0,
            },
            leader: ValidatorIndex(0),
            outcome,
            how,
        };
        let commit = Outcome::Commit(at(1, 0));
        counts.count(&decision(How::Direct, commit));
        for _ in 0..2 {
            counts.count(&decision(How::Direct, Outcome::Skip));
        }
        for _ in 0..3 {
            counts.count(&decision(How::Indirect, commit));
        }
        for _ in 0..4 {
            counts.count(&decision(How::Indirect, Outcome::Skip));
        }
        let expected = DecisionCounts {
            direct_commits: 1,
            direct_skips: 2,
            indirect_commits: 3,
            indirect_skips: 4,
        };
        assert_eq!(counts, expected);
    }

    #[test]
    fn a_round_whose_leaders_are_unknown_blocks_and_one_without_slots_does_not() {
        let mut decider = decider(4, 4);
        for round in 1..=8 {
            layer(&mut decider, 4, round);
        }
        leaders(&mut decider, 2, &[]);
        leaders(&mut decider, 3, &[1]);
        assert_eq!(decider.next_decision(), None);
        leaders(&mut decider, 1, &[2]);
        let rounds: Vec<_> = std::iter::from_fn(|| decider.next_decision())
            .map(|decision| decision.slot.round.0)
            .collect();
        assert_eq!(rounds, [1, 3]);
        assert_eq!(decider.cursor().round, Round(4));
    }

    #[test]
    fn leaders_known_once_are_known_for_good() {
        let mut decider = decider(4, 4);
        leaders(&mut decider, 1, &[2]);
        leaders(&mut decider, 1, &[3]);
        for round in 1..=4 {
            layer(&mut decider, 4, round);
        }
        assert_eq!(decider.next_decision().unwrap().leader, ValidatorIndex(2));
    }

    #[test]
    fn a_certified_commit_moves_the_cursor_past_what_the_rule_left_open() {
        let mut decider = decider(4, 4);
        for round in 1..=8 {
            layer(&mut decider, 4, round);
        }
        leaders(&mut decider, 4, &[0, 1]);
        leaders(&mut decider, 5, &[3]);
        let slot = SlotKey {
            round: Round(4),
            place: 0,
        };
        decider.resume_after(slot);
        decider.forget_below(Round(4));
        let next = decider.next_decision().unwrap();
        assert_eq!((next.slot.round, next.slot.place), (Round(4), 1));
        assert_eq!(decider.next_decision().unwrap().slot.round, Round(5));
    }

    #[test]
    fn late_vertices_below_the_floor_are_ignored() {
        let mut decider = decider(4, 4);
        for round in 1..=8 {
            layer(&mut decider, 4, round);
            leaders(&mut decider, round, &[0]);
        }
        while decider.next_decision().is_some() {}
        decider.forget_below(Round(99));
        assert_eq!(decider.floor, decider.cursor().round);
        let steps = decider.steps();
        decider.insert(at(1, 3), []);
        assert_eq!(decider.steps(), steps);
    }
}
