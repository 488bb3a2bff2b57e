//! Making one's own vertices (consensus.md §3).
//!
//! Upon anything, with r the next own round:
//! - *may*: no proposal is outstanding, the own vertex before is durable; A1: vertices of r − 1 that may be linked
//!   are here from Q authors; A2: r follows the own vertex before, unless catching up took gc past it.
//! - *due* (quiet rule): own payload waits; or payload in linkable vertices or their cones is uncommitted; or the
//!   machine has pending work; or, rate-limited, somebody else is in round r or above (follow), or one that lost its
//!   journal needs a round more (`rejoin`).
//! - *when*: at once if others are above r. Else not before the pause between own vertices (a burst of them needs
//!   none; it is short while hardly any payload is under way, since there is no batch to fill), the short wait for responsive authors, and, with known leaders and waves of three, the wait for the
//!   leader of r − 1 and for a quorum's word on the leader of r − 2. Each ends by the clock; none counts for
//!   correctness. While certificates lag by more than G rounds: not before a heartbeat after the one before, and
//!   without client payload (§6).

use violeta_types::{Election, Round, StakeTally, ValidatorIndex, VertexRef};

use super::{Core, Own};
use crate::io::{Effect, Now, Proposal};
use crate::leaders::leaders;
use crate::message::Message;
use crate::vertex::ValidVertex;

/// Whether a vertex is due, and how urgently.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Due {
    No,
    /// Others are above the round: at once.
    Lagging,
    Yes,
    /// Nothing but to follow: rate-limited.
    Follow,
}

impl Core {
    /// Proposes the next own vertex if it may be made and is due, or notes when to look again.
    pub(super) fn produce(&mut self, now: Now) {
        let Some(own) = self.own.as_mut() else {
            return;
        };
        own.wakeup_us = None;
        if own.outstanding.is_some() || !own.durable || own.amnesia {
            return;
        }
        let (newest, floor) = (own.newest, own.floor);
        let round = self.next_round(newest.round.max(floor));
        if !self.may_enter(newest, round) {
            return;
        }
        let due = self.due(round);
        if due == Due::No {
            return;
        }
        let pause_us = self.pause_us(round);
        let at_us = self.not_before(round, due, pause_us, now);
        let Some(own) = self.own.as_mut() else {
            return;
        };
        if at_us > now.monotonic_us {
            own.wakeup_us = Some(at_us);
            return;
        }
        own.pace.spend_up_to(pause_us, now.monotonic_us);
        if due == Due::Follow {
            own.follow.spend_up_to(1, now.monotonic_us);
        }
        own.made_us = Some(now.monotonic_us);
        let parents = self.graph.choose_parents(newest, round);
        let proposal = Proposal {
            round,
            parents,
            coin_share: self.epoch.coin_due(round),
            end_mark: false,
            timestamp: now.wall,
            payload: !self.certificates_lag(round),
        };
        if let Some(own) = self.own.as_mut() {
            own.outstanding = Some(proposal.clone());
        }
        self.effects.push_back(Effect::Propose(proposal));
    }

    /// A2: every round in turn. Once gc has passed the round before, nothing there may be linked: one that caught up
    /// resumes at the last committed leader's round, less than G above any certified leader it came from.
    ///
    /// Whoever lost its journal has nothing to say of the rounds up to its floor: it is as if it had been down (§9).
    fn next_round(&self, reached: Round) -> Round {
        let next = reached.next();
        if self.graph.gc() > Round(0) && reached <= self.graph.gc() {
            return next.max(self.last.leader_round);
        }
        next
    }

    /// A1.
    fn may_enter(&mut self, newest: VertexRef, round: Round) -> bool {
        let before = round.back(1);
        if !self.graph.has_quorum(before) {
            return false;
        }
        let mut tally = self.graph.linkable_authors(before, round);
        if newest.round == before {
            tally.add(self.epoch.committee(), newest.author);
        }
        tally.is_quorum(self.epoch.committee())
    }

    fn due(&self, round: Round) -> Due {
        let ahead = self.highest_of_others();
        let waiting = self.wants_payload || self.pending || self.graph.has_open_payload(round);
        match (waiting, ahead) {
            (_, ahead) if ahead > round => Due::Lagging,
            (true, _) => Due::Yes,
            (false, ahead) if ahead == round || self.is_lifted(round) => Due::Follow,
            (false, _) => Due::No,
        }
    }

    /// Somebody who lost its journal needs a vertex of this round to go on (§9).
    fn is_lifted(&self, round: Round) -> bool {
        self.own.as_ref().is_some_and(|own| round <= own.lift)
    }

    fn highest_of_others(&self) -> Round {
        let me = self.me();
        (self.epoch.committee().indices().zip(self.graph.newest()))
            .filter(|(author, _)| Some(*author) != me)
            .map(|(_, newest)| *newest)
            .max()
            .unwrap_or(Round(0))
    }

    /// §6: the newest certified leader is more than G rounds back.
    fn certificates_lag(&self, round: Round) -> bool {
        round > self.certified.round.forward(self.epoch.gc_depth())
    }

    /// The earliest time for a vertex that may be made and is due.
    fn not_before(&mut self, round: Round, due: Due, pause_us: u64, now: Now) -> u64 {
        let now_us = now.monotonic_us;
        let lags = self.certificates_lag(round);
        let waits_us = self.waits_until(round, now_us);
        let heartbeat = self.tuning.heartbeat_us;
        let Some(own) = self.own.as_mut() else {
            return u64::MAX;
        };
        let after = |pause: u64| own.made_us.map_or(0, |made| made.saturating_add(pause));
        if due == Due::Lagging && !lags {
            return now_us;
        }
        let mut at_us = waits_us.max(own.pace.ready_us(pause_us, now_us));
        if due == Due::Follow {
            at_us = at_us.max(own.follow.ready_us(1, now_us));
        }
        if lags {
            at_us = at_us.max(after(heartbeat));
        }
        at_us
    }

    /// The pause that a vertex of this round spends: short if those of the round before carry next to nothing.
    fn pause_us(&self, round: Round) -> u64 {
        let full = self.tuning.round_interval_us_min;
        let carried: u64 = (self.epoch.committee().indices())
            .flat_map(|author| self.graph.variants(round.back(1), author))
            .map(|entry| u64::from(entry.head().header().payload.bytes))
            .sum();
        match carried <= self.tuning.light_payload_bytes {
            true => full.min(self.tuning.light_interval_us_min),
            false => full,
        }
    }

    /// Until when to wait for vertices of the round before that may still come.
    fn waits_until(&mut self, round: Round, now_us: u64) -> u64 {
        let since = match self.own.as_ref().and_then(|own| own.quorum_since) {
            Some((at, since)) if at == round => since,
            _ => now_us,
        };
        if let Some(own) = self.own.as_mut() {
            own.quorum_since = Some((round, since));
        }
        let mut until = 0;
        if self.tuning.author_wait_us > 0 && self.lacks_responsive_author(round) {
            until = since.saturating_add(self.tuning.author_wait_us);
        }
        if self.is_partially_synchronous() && self.lacks_leader(round) {
            until = until.max(since.saturating_add(self.tuning.leader_wait_us));
        }
        until
    }

    /// Who has been silent for some rounds isn't waited for, nor who is exposed.
    fn is_responsive(&self, author: ValidatorIndex, round: Round) -> bool {
        let newest = self.graph.newest()[author.as_usize()];
        newest.forward(self.tuning.responsive_rounds) >= round.back(1)
            && !self.graph.is_exposed(author)
    }

    fn lacks_responsive_author(&self, round: Round) -> bool {
        let before = round.back(1);
        before > Round(0)
            && (self.epoch.committee().indices())
                .filter(|&author| self.is_responsive(author, round))
                .any(|author| self.graph.newest()[author.as_usize()] < before)
    }

    /// Known leaders and waves of three: the partially synchronous mode.
    fn is_partially_synchronous(&self) -> bool {
        let parameters = self.epoch.parameters();
        parameters.election != Election::Coin && parameters.wave_length == 3
    }

    /// Whether the leaders' vertices of the round before, or a quorum's word on those of the round before that,
    /// aren't here.
    fn lacks_leader(&self, round: Round) -> bool {
        let known = |round: Round| leaders(&self.epoch, round, None).unwrap_or_default();
        let before = round.back(1);
        if before == Round(0) {
            return false;
        }
        let absent = (known(before).into_iter())
            .filter(|&leader| self.is_responsive(leader, round))
            .any(|leader| self.graph.variants(before, leader).next().is_none());
        let voted_on = round.back(2);
        let torn = voted_on > Round(0)
            && (known(voted_on).into_iter()).any(|leader| !self.is_settled(voted_on, leader));
        absent || torn
    }

    /// Q votes for the leader's vertex, or Q blames, among the vertices of the round after it.
    fn is_settled(&self, round: Round, leader: ValidatorIndex) -> bool {
        let committee = self.epoch.committee();
        let (mut votes, mut blames) = (StakeTally::default(), StakeTally::default());
        for author in committee.indices() {
            for entry in self.graph.variants(round.next(), author) {
                let mut parents = entry.head().header().parents.iter();
                let voted = parents.any(|p| p.round == round && p.author == leader);
                if voted { &mut votes } else { &mut blames }.add(committee, author);
            }
        }
        votes.is_quorum(committee) || blames.is_quorum(committee)
    }

    /// The answer to a proposal.
    pub(super) fn on_own_vertex(&mut self, vertex: ValidVertex, now: Now) {
        let reference = *vertex.reference();
        let proposal = self.own.as_mut().and_then(|own| own.outstanding.take());
        let header = vertex.header();
        assert!(
            proposal
                .is_some_and(|p| p.round == header.round && p.parents[..] == header.parents[..])
                && Some(header.author) == self.me(),
            "the own vertex is the one that was proposed"
        );
        if self.has_forgotten() {
            // Noticed while it was being made: it goes nowhere, as its round may have been used before (§9).
            return;
        }
        if let Some(own) = self.own.as_mut() {
            own.newest = reference;
            own.durable = false;
            own.sent_us = None;
        }
        if reference.round <= self.graph.gc() {
            // Catching up overtook it while it was being made: it isn't sent. Who lacks it as a parent asks for it.
            self.withdraw(reference, vertex);
            return;
        }
        self.accept(vertex, now);
        self.graph.link(reference);
        self.advance(now);
    }

    /// gc passed the own vertex before it was made: it is journaled all the same, so that its round isn't used twice.
    fn withdraw(&mut self, reference: VertexRef, vertex: ValidVertex) {
        self.effects.push_back(Effect::Persist(vertex.clone()));
        if reference.round >= self.graph.bottom() {
            self.graph.insert(vertex.clone());
        }
        self.effects.push_back(Effect::Returned(vec![vertex]));
    }

    /// Sign, persist, send: in this order (§3).
    pub(super) fn on_own_durable(&mut self, reference: VertexRef, now: Now) {
        let newest = |own: &&mut Own| own.newest == reference && !own.amnesia;
        let Some(own) = self.own.as_mut().filter(newest) else {
            return;
        };
        own.durable = true;
        own.sent_us = Some(now.monotonic_us);
        if reference.round <= self.graph.gc() {
            // No later commit can hold it, and its payload has been returned.
            return;
        }
        let whole = self.graph.get(&reference).and_then(|entry| entry.whole());
        if let Some(bytes) = whole.map(|vertex| vertex.bytes().clone()) {
            let message = Message::Vertices(vec![bytes]);
            self.effects.push_back(Effect::Broadcast(message));
        }
    }
}
