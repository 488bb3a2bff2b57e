//! Decisions, commits, adoption, restart (consensus.md §5, §6, §9; replica.md §4b).

use std::sync::Arc;

use violeta_types::seeded::{self, Bug};
use violeta_types::{
    Commit, CommitIndex, Digest, Election, Round, ThresholdSignature, TimeMs, ValidatorIndex,
    VertexRef,
};

use super::{CertifiedLeader, Core, LastCommit};
use crate::coin::together;
use crate::decision::{Decider, Decision, Outcome, SlotKey};
use crate::evidence::Evidence;
use crate::io::{BehindReason, CombinedCoin, CommittedCone, Effect, Now};
use crate::leaders::leaders;
use crate::lineariser;
use crate::vertex::ValidVertex;

/// What the journal holds doesn't follow from what it held before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RestoreError {
    /// See the message.
    #[error("commit {found} follows commit {last} in the journal, or doesn't name its digest")]
    Chain {
        /// The commit before.
        last: CommitIndex,
        /// The commit that doesn't follow.
        found: CommitIndex,
    },
    /// See the message.
    #[error("commit {0} of the journal belongs to another epoch, or its leader can't lead")]
    Epoch(CommitIndex),
}

impl Core {
    /// Feeds an accepted vertex to the decision rule.
    pub(super) fn decide_with(&mut self, reference: &VertexRef) {
        let Some(entry) = self.graph.get(reference) else {
            return;
        };
        let parents: Vec<VertexRef> = self.graph.edges(entry.head()).collect();
        let share = entry.head().header().coin_share;
        self.decider.insert(*reference, parents);
        self.know_leaders(reference.round);
        if let Some(round) = self.epoch.coin_due(reference.round)
            && let Some(share) = share
            && !self.decider.knows_leaders(round)
        {
            self.coins.add(round, reference.author, share);
        }
        self.combine_wanted_coins();
    }

    /// Leaders that hang on no coin are known as soon as somebody is in their round.
    fn know_leaders(&mut self, upto: Round) {
        if self.epoch.parameters().election == Election::Coin {
            return;
        }
        for round in (self.decider.cursor().round.0..=upto.0).map(Round).rev() {
            if self.decider.knows_leaders(round) {
                break;
            }
            if let Some(leaders) = leaders(&self.epoch, round, None) {
                self.decider.set_leaders(round, leaders);
            }
        }
    }

    /// Asks for the coins that uncommitted payload hangs on. Payload of round r is in no cone of a leader below r, so
    /// those leaders can wait.
    pub(super) fn combine_wanted_coins(&mut self) {
        let wanted = match self.pending {
            true => Some(Round(0)),
            false => self.graph.lowest_open_payload(),
        };
        // What isn't ordered yet is no work that is left to do: to order it later would only delay it.
        let (ordered, certified) = (self.last.leader_round, self.certified.round);
        self.combine_coins(wanted, together(ordered.0.saturating_sub(certified.0)));
    }

    /// Asks for all coins that can be made, if there are `together` and one of them is at or above `wanted`.
    pub(super) fn combine_coins(&mut self, wanted: Option<Round>, together: usize) {
        let ready = self.coins.ready(wanted, together);
        if !ready.is_empty() {
            self.effects.push_back(Effect::CombineCoins(ready));
        }
    }

    pub(super) fn on_coins(&mut self, combined: Vec<CombinedCoin>, now: Now) {
        let any_bad = combined.iter().any(|of| !of.bad.is_empty());
        for CombinedCoin {
            round,
            signature,
            bad,
        } in combined
        {
            self.coins.bad(round, &bad);
            let undecided = round >= self.decider.cursor().round;
            if let Some(coin) = signature.filter(|_| undecided) {
                self.set_coin(round, coin);
            }
        }
        self.advance(now);
        if any_bad {
            self.combine_wanted_coins();
        }
    }

    fn set_coin(&mut self, round: Round, coin: ThresholdSignature) {
        self.coins.set(round, coin);
        if let Some(leaders) = leaders(&self.epoch, round, Some(&coin)) {
            self.decider.set_leaders(round, leaders);
        }
    }

    /// Turns decided slots into commits (§5: the longest decided prefix; §6).
    pub(super) fn advance(&mut self, now: Now) {
        let mut committed = false;
        while let Some(decision) = self.decider.next_decision() {
            self.decisions.count(&decision);
            if let Outcome::Commit(leader) = decision.outcome {
                self.commit(decision, leader);
                self.after_gc(now);
                committed = true;
            }
        }
        if committed {
            self.prune();
        }
    }

    fn commit(&mut self, decision: Decision, leader: VertexRef) {
        assert!(leader.round >= self.last.leader_round);
        let coin = self.coins.get(decision.slot.round).copied();
        let vertices = lineariser::cone(&self.graph, leader);
        let time = lineariser::time(&self.graph, &self.epoch, leader, self.last.time);
        let whole: Vec<ValidVertex> = (vertices.iter())
            .filter_map(|reference| self.graph.get(reference)?.whole().cloned())
            .collect();
        assert_eq!(whole.len(), vertices.len(), "what is uncommitted is whole");
        #[expect(clippy::expect_used, reason = "the cone is cut to the bound")]
        let vertices = vertices.try_into().expect("a commit within its bound");
        let commit = Commit {
            epoch: self.epoch.epoch(),
            index: self.last.index.next(),
            previous: self.last.digest,
            leader,
            vertices,
            time,
            coin,
        };
        let digest = commit.digest(self.epoch.chain());
        let cone = CommittedCone {
            commit: commit.clone(),
            digest,
            vertices: whole,
        };
        self.effects.push_back(Effect::Commit(cone));
        self.note_commit(&commit, digest);
    }

    /// Moves the end of the log, the committed set and gc. `gc(k)` comes from committed leaders alone (§6).
    fn note_commit(&mut self, commit: &Commit, digest: Digest) {
        assert!(commit.time >= self.last.time);
        if self.started || !seeded::is(Bug::DeduplicationLostAtRestart) {
            self.graph.commit(&commit.vertices);
        }
        self.last = LastCommit {
            index: commit.index,
            digest,
            leader_round: commit.leader.round,
            time: commit.time,
        };
        let mut gc = commit.leader.round.back(self.epoch.gc_depth());
        if seeded::is(Bug::GcByLocalState) {
            gc = self.round().back(self.epoch.gc_depth());
        }
        let returned = self.graph.raise_gc(gc, self.me());
        if !returned.is_empty() {
            self.effects.push_back(Effect::Returned(returned));
        }
    }

    /// Forgets what nothing depends on: what is decided, and what lies below gc − 2G and the newest certified
    /// leader − 3G (§3 L1, §6).
    pub(super) fn prune(&mut self) {
        let g = self.epoch.gc_depth();
        let cursor = self.decider.cursor().round;
        self.decider.forget_below(cursor);
        self.coins.forget_below(cursor);
        let bottom = self.graph.gc().back(2 * g);
        self.graph
            .drop_below(bottom.min(self.certified.round.back(3 * g)));
        self.graph.shed(self.tuning.served_bytes_max);
    }

    pub(super) fn on_certified(&mut self, round: Round, index: CommitIndex) {
        if index > self.certified.index {
            self.certified = CertifiedLeader { round, index };
            self.prune();
            // Fewer may have to go together now.
            self.combine_wanted_coins();
        }
    }

    /// Asks the replica to catch up by commits, once a heartbeat at most.
    pub(super) fn ask_for_commits(&mut self, reason: BehindReason, now: Now) {
        let pause = self.tuning.heartbeat_us;
        let lately = |at: u64| now.monotonic_us < at.saturating_add(pause);
        if self.behind_us.is_some_and(lately) {
            return;
        }
        self.behind_us = Some(now.monotonic_us);
        let commit = self.last.index;
        self.effects.push_back(Effect::Behind { commit, reason });
    }

    /// Commits up to a certified head (replica.md §4b): taken without the decision rule.
    pub(super) fn on_adopt(&mut self, commits: Vec<(Commit, Vec<ValidVertex>)>, now: Now) {
        let next = self.last.index.next();
        let mut fresh: Vec<(Commit, Vec<ValidVertex>)> = commits;
        let skips = fresh.first().is_some_and(|(first, _)| first.index > next);
        if skips && !self.covers(&fresh) {
            self.ask_for_commits(BehindReason::Gap, now);
            return;
        }
        fresh.retain(|(commit, _)| commit.index >= next);
        let Some((first, _)) = fresh.first() else {
            return;
        };
        if !skips && first.previous != self.last.digest {
            self.effects.push_back(Effect::Forked(first.index));
            return;
        }
        if let Some(index) = self.first_impossible(&fresh) {
            self.effects.push_back(Effect::Forked(index));
            return;
        }
        let Some(slot) = fresh.last().and_then(|(commit, _)| self.slot_of(commit)) else {
            return;
        };
        let mut ready = Vec::new();
        for (commit, vertices) in fresh {
            ready.extend(self.adopt(&commit, vertices));
        }
        self.rebuild_decider(slot);
        self.after_gc(now);
        for (from, vertex) in ready {
            let reference = vertex.reference();
            if reference.round > self.graph.gc() && !self.graph.contains(reference) {
                self.admit(from, vertex, now);
            }
        }
        self.complete_cones();
        self.advance(now);
        self.prune();
    }

    /// The first commit that no honest validator can have made after the one before. A quorum vouched for the last.
    fn first_impossible(&self, commits: &[(Commit, Vec<ValidVertex>)]) -> Option<CommitIndex> {
        let mut before: Option<(CommitIndex, TimeMs, Round)> = None;
        for (commit, _) in commits {
            let (time, round) =
                before.map_or((self.last.time, self.last.leader_round), |b| (b.1, b.2));
            let in_turn = before.is_none_or(|(index, _, _)| commit.index == index.next());
            let forward = commit.time >= time && commit.leader.round >= round;
            let ours = commit.epoch == self.epoch.epoch() && self.slot_of(commit).is_some();
            if !(in_turn && forward && ours) {
                return Some(commit.index);
            }
            before = Some((commit.index, commit.time, commit.leader.round));
        }
        None
    }

    /// Whether commits that don't follow the own log say all that is committed above gc.
    fn covers(&self, commits: &[(Commit, Vec<ValidVertex>)]) -> bool {
        let (Some((first, _)), Some((last, _))) = (commits.first(), commits.last()) else {
            return false;
        };
        let gc = last.leader.round.back(self.epoch.gc_depth());
        first.index == self.epoch.base().0.next() || first.leader.round <= gc
    }

    /// Takes one commit; who waited for nothing but its vertices.
    fn adopt(
        &mut self,
        commit: &Commit,
        mut vertices: Vec<ValidVertex>,
    ) -> Vec<(ValidatorIndex, ValidVertex)> {
        let mut ready = Vec::new();
        vertices.sort_by_key(|vertex| *vertex.reference());
        for vertex in vertices {
            let reference = *vertex.reference();
            self.suspended.remove(&reference);
            if !self.graph.contains(&reference) && reference.round > self.graph.gc() {
                self.notice_own(&reference);
            }
            if !self.graph.contains(&reference) && reference.round >= self.graph.bottom() {
                self.effects.push_back(Effect::Persist(vertex.clone()));
                self.graph.insert(vertex);
            }
            ready.extend(self.suspended.resolve(&reference));
        }
        if let Some(coin) = commit.coin {
            self.coins.set(commit.leader.round, coin);
        }
        let digest = commit.digest(self.epoch.chain());
        self.note_commit(commit, digest);
        ready
    }

    /// The slot that a certified commit's leader has.
    fn slot_of(&self, commit: &Commit) -> Option<SlotKey> {
        let round = commit.leader.round;
        let leaders = leaders(&self.epoch, round, commit.coin.as_ref())?;
        let place = leaders.iter().position(|&l| l == commit.leader.author)?;
        Some(SlotKey { round, place })
    }

    /// A fresh decision rule that goes on after `slot`, fed with what is here.
    fn rebuild_decider(&mut self, slot: SlotKey) {
        let committee = Arc::new(self.epoch.committee().clone());
        self.decider = Decider::new(committee, self.epoch.parameters().wave_length);
        self.decider.resume_after(slot);
        self.decider.forget_below(slot.round);
        let coins: Vec<(Round, ThresholdSignature)> = self.coins.since(slot.round);
        for (round, coin) in coins {
            self.set_coin(round, coin);
        }
        let live: Vec<VertexRef> = (self.graph.since(slot.round))
            .map(|entry| *entry.head().reference())
            .collect();
        for reference in live {
            self.decide_with(&reference);
        }
    }

    /// A vertex from one's own journal (§9), in the order in which it was persisted.
    pub fn restore_vertex(&mut self, vertex: ValidVertex) {
        assert!(!self.started, "before start");
        let reference = *vertex.reference();
        let foreign = vertex.header().epoch != self.epoch.epoch();
        if foreign || self.graph.contains(&reference) || reference.round < self.graph.bottom() {
            return;
        }
        if let Some(own) = self.own.as_mut().filter(|own| own.me == reference.author)
            && reference.round > own.newest.round
        {
            own.newest = reference;
        }
        self.graph.insert(vertex);
    }

    /// A commit from one's own journal, made or adopted. The first may be any of the epoch (the log before it may
    /// have been pruned), the others follow.
    ///
    /// # Errors
    /// If the journal can't have been written by this validator; nothing has changed then.
    pub fn restore_commit(&mut self, commit: &Commit) -> Result<(), RestoreError> {
        assert!(!self.started, "before start");
        let (last, found) = (self.last.index, commit.index);
        if commit.epoch != self.epoch.epoch() || self.slot_of(commit).is_none() {
            return Err(RestoreError::Epoch(found));
        }
        let follows = found == last.next() && commit.previous == self.last.digest;
        let later = commit.time >= self.last.time && commit.leader.round >= self.last.leader_round;
        if (self.restored && !follows) || found <= last || !later {
            return Err(RestoreError::Chain { last, found });
        }
        self.restored = true;
        if let Some(coin) = commit.coin {
            self.coins.set(commit.leader.round, coin);
        }
        self.restored_slot = self.slot_of(commit);
        self.note_commit(commit, commit.digest(self.epoch.chain()));
        // Certificates lag by little more than G (they pace the vertices), so this is below what has to be kept.
        let kept = 4 * self.epoch.gc_depth();
        self.graph.drop_below(self.graph.gc().back(kept));
        self.graph.shed(self.tuning.served_bytes_max);
        Ok(())
    }

    /// An equivocation proof from one's own journal.
    pub fn restore_evidence(&mut self, evidence: Evidence) {
        assert!(!self.started, "before start");
        if !self.graph.is_exposed(evidence.author()) {
            self.graph.expose(evidence.author());
            self.evidence.push(evidence);
        }
    }

    /// All of the journal has been restored: begin.
    pub fn start(&mut self, now: Now) {
        assert!(!self.started, "once");
        self.started = true;
        debug_assert!(
            self.effects
                .iter()
                .all(|e| matches!(e, Effect::Returned(_)))
        );
        self.find_restored_twins();
        match self.restored_slot {
            Some(slot) => self.rebuild_decider(slot),
            None => {
                let live: Vec<VertexRef> = (self.graph.since(Round(1)))
                    .map(|entry| *entry.head().reference())
                    .collect();
                for reference in live {
                    self.decide_with(&reference);
                }
            }
        }
        if let Some(newest) = self.own_newest().filter(|newest| newest.round > Round(0)) {
            self.graph.link(newest);
            self.on_own_durable(newest, now);
        }
        self.complete_cones();
        self.advance(now);
        self.prune();
        self.produce(now);
        self.ask(now);
        self.heartbeat(now);
    }

    /// Proofs that were in the graph but not in the journal yet.
    fn find_restored_twins(&mut self) {
        let mut found = Vec::new();
        let mut before: Option<(VertexRef, violeta_types::SignedHeader)> = None;
        let mut entries: Vec<_> = (self.graph.since(Round(1)))
            .map(|entry| (*entry.head().reference(), entry.head().signed().clone()))
            .collect();
        entries.sort_by_key(|(reference, _)| *reference);
        for (reference, signed) in entries {
            if let Some((other, twin)) = &before
                && (other.round, other.author) == (reference.round, reference.author)
            {
                found.extend(Evidence::of(&self.epoch, twin, &signed));
            }
            before = Some((reference, signed));
        }
        for evidence in found {
            self.expose(evidence);
        }
    }
}
