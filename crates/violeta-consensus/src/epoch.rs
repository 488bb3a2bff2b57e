//! What an epoch fixes: who the validators are, and every number that the protocol's rules need.

use violeta_types::{
    ChainId, CommitIndex, Committee, Digest, Election, Epoch, Genesis, Parameters, Round, TimeMs,
    ValidatorIndex, VertexRef,
};

/// An epoch's data. All rules of consensus.md are functions of it and of vertices' bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EpochData {
    chain: ChainId,
    epoch: Epoch,
    committee: Committee,
    parameters: Parameters,
    seed: Digest,
    start: TimeMs,
    base: (CommitIndex, Digest),
    virtual_vertices: Vec<VertexRef>,
}

impl EpochData {
    /// Epoch 0 of the chain that begins with `genesis`, which its caller has checked ([`Genesis::check`]).
    pub fn genesis(genesis: &Genesis) -> Self {
        let base = (CommitIndex(0), Digest::ZERO);
        EpochData::new(
            genesis.chain_id(),
            genesis.committee.clone(),
            genesis.parameters,
            genesis.seed(),
            genesis.time,
            base,
        )
    }

    /// The epoch that `committee` serves. It begins at `start`, after the commit `base` (index and digest).
    ///
    /// # Panics
    /// If the wave length isn't 3, 4 or 5, or the gc depth under 32 rounds: [`Genesis::check`] refuses such a chain.
    pub fn new(
        chain: ChainId,
        committee: Committee,
        parameters: Parameters,
        seed: Digest,
        start: TimeMs,
        base: (CommitIndex, Digest),
    ) -> Self {
        assert!((3..=5).contains(&parameters.wave_length));
        assert!(parameters.gc_depth >= 32);
        let epoch = committee.epoch();
        let virtual_vertices = committee
            .indices()
            .map(|author| VertexRef::virtual_vertex(&seed, epoch, author))
            .collect();
        EpochData {
            chain,
            epoch,
            committee,
            parameters,
            seed,
            start,
            base,
            virtual_vertices,
        }
    }

    /// The chain.
    pub fn chain(&self) -> &ChainId {
        &self.chain
    }

    /// The epoch's number.
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// The validators.
    pub fn committee(&self) -> &Committee {
        &self.committee
    }

    /// Wave length, leaders, election, gc depth.
    pub fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    /// What leaders are sampled from without a coin, and virtual vertices derived from.
    pub fn seed(&self) -> &Digest {
        &self.seed
    }

    /// When the epoch began: the timestamp of round 0.
    pub fn start(&self) -> TimeMs {
        self.start
    }

    /// Index and digest of the commit before the epoch's first.
    pub fn base(&self) -> (CommitIndex, Digest) {
        self.base
    }

    /// The wave length `w` of the slots of `round` (consensus.md §4: a function of the round, today constant).
    pub fn wave(&self, _round: Round) -> u64 {
        self.parameters.wave_length
    }

    /// `G`, in rounds.
    pub fn gc_depth(&self) -> u64 {
        self.parameters.gc_depth
    }

    /// The round whose vertices vote on the slots of `round`: `v = r + w − 2`.
    pub fn vote_round(&self, round: Round) -> Round {
        round.forward(self.wave(round) - 2)
    }

    /// The round whose vertices certify the votes on the slots of `round`: `c = r + w − 1`. The coin of `round` lies
    /// in the same vertices.
    pub fn certificate_round(&self, round: Round) -> Round {
        round.forward(self.wave(round) - 1)
    }

    /// The round whose coin a vertex of `round` holds a share of; none if no share is due (V7).
    pub fn coin_due(&self, round: Round) -> Option<Round> {
        match self.parameters.election {
            Election::Coin => (round.0.checked_sub(self.parameters.wave_length - 1))
                .filter(|&r| r >= 1)
                .map(Round),
            Election::Seeded | Election::RoundRobin => None,
        }
    }

    /// The virtual vertices of round 0, by author.
    pub fn virtual_vertices(&self) -> &[VertexRef] {
        &self.virtual_vertices
    }

    /// The virtual vertex of `author`, if it is in the committee.
    pub fn virtual_vertex(&self, author: ValidatorIndex) -> Option<&VertexRef> {
        self.virtual_vertices.get(author.as_usize())
    }

    /// Whether `reference` is one of the epoch's virtual vertices.
    pub fn is_virtual(&self, reference: &VertexRef) -> bool {
        self.virtual_vertex(reference.author) == Some(reference)
    }

    /// Whether the edge from a vertex of `round` to its parent `own` is *detached* (consensus.md §2): nobody ever
    /// walks it. Only an own previous can be that old in a valid vertex.
    pub fn is_detached(&self, round: Round, parent: &VertexRef) -> bool {
        parent.round < round.back(self.gc_depth())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;

    #[test]
    fn rounds_of_a_wave() {
        for w in 3..=5 {
            let epoch = fixture::epoch(4, w);
            assert_eq!(epoch.vote_round(Round(10)), Round(10 + w - 2));
            assert_eq!(epoch.certificate_round(Round(10)), Round(10 + w - 1));
        }
    }

    #[test]
    fn a_share_is_due_from_round_w_on_for_the_slots_that_the_round_certifies() {
        let epoch = fixture::epoch(4, 4);
        assert_eq!(epoch.coin_due(Round(3)), None);
        assert_eq!(epoch.coin_due(Round(4)), Some(Round(1)));
        assert_eq!(
            epoch.coin_due(epoch.certificate_round(Round(9))),
            Some(Round(9))
        );
    }

    #[test]
    fn virtual_vertices_are_known_by_reference_only() {
        let epoch = fixture::epoch(4, 4);
        let mut reference = epoch.virtual_vertices()[2];
        assert!(epoch.is_virtual(&reference));
        reference.author = ValidatorIndex(1);
        assert!(!epoch.is_virtual(&reference));
        reference.author = ValidatorIndex(99);
        assert!(!epoch.is_virtual(&reference));
    }

    #[test]
    fn an_own_previous_is_detached_once_it_is_more_than_g_rounds_back() {
        let epoch = fixture::epoch(4, 4);
        let g = epoch.gc_depth();
        let at = |round| VertexRef {
            round: Round(round),
            ..epoch.virtual_vertices()[0]
        };
        assert!(!epoch.is_detached(Round(g + 5), &at(5)));
        assert!(epoch.is_detached(Round(g + 6), &at(5)));
        assert!(!epoch.is_detached(Round(g), &at(0)));
        assert!(epoch.is_detached(Round(g + 1), &at(0)));
    }
}
