//! Talking with peers: pushing, asking, answering, heartbeat (consensus.md §3, §8).

use bytes::Bytes;
use violeta_types::{Bounded, Round, ValidatorIndex, VertexRef};

use super::Core;
use crate::fetch::Ask;
use crate::graph::Entry;
use crate::io::{BehindReason, Effect, Misbehaviour, Now};
use crate::limits::{
    ANSWER_BYTES_MAX, MESSAGE_VERTICES_MAX, SERVED_BYTES_MIN, VARIANTS_PUSHED_MAX,
};
use crate::message::{Frontier, Message, Request};

impl Core {
    pub(super) fn on_message(&mut self, from: ValidatorIndex, message: Message, now: Now) {
        if self.epoch.committee().member(from).is_none() || Some(from) == self.me() {
            return;
        }
        match message {
            // Unchecked bytes: they come as `Event::Vertex` once they are judged.
            Message::Vertices(_) => {}
            Message::Request(request) => self.on_request(from, &request, now),
            Message::Frontier(frontier) => self.on_frontier(from, &frontier, now),
            Message::Evidence(evidence) => self.on_evidence(from, &evidence),
            Message::Pruned(floor) => self.on_pruned(from, floor, now),
            Message::RejoinQuestion(nonce) => self.on_rejoin_question(from, nonce, now),
            Message::RejoinAnswer(answer) => self.on_rejoin_answer(from, answer),
        }
    }

    fn frontier(&self) -> Frontier {
        let exposed = self.evidence.iter().map(|e| 1u128 << e.author().0);
        Frontier {
            rounds: self.frontier_rounds(),
            exposed: exposed.fold(0, |all, bit| all | bit),
        }
    }

    fn frontier_rounds(&self) -> Bounded<Round, { violeta_types::limits::VALIDATORS_MAX }> {
        #[expect(clippy::expect_used, reason = "one a validator")]
        let rounds = (self.graph.newest().to_vec())
            .try_into()
            .expect("a committee is bounded");
        rounds
    }

    /// Says at a slow pace how far one reaches, so that whatever was sent once and lost is repaired (§3).
    pub(super) fn heartbeat(&mut self, now: Now) {
        if now.monotonic_us < self.heartbeat_us {
            return;
        }
        self.heartbeat_us = (now.monotonic_us).saturating_add(self.tuning.heartbeat_us.max(1));
        let message = Message::Frontier(self.frontier());
        self.effects.push_back(Effect::Broadcast(message));
        self.combine_coins(Some(Round(0)), 1);
        self.complete_cones();
        self.want_again();
    }

    /// On every reconnect: the frontier, and the own newest vertex.
    pub(super) fn on_peer_up(&mut self, peer: ValidatorIndex) {
        if self.epoch.committee().member(peer).is_none() || Some(peer) == self.me() {
            return;
        }
        self.fetch.set_up(peer, true);
        self.ask_anew(peer);
        self.send(peer, Message::Frontier(self.frontier()));
        let own = (self.own.as_ref())
            .filter(|own| own.durable)
            .and_then(|own| self.graph.get(&own.newest)?.whole())
            .map(|vertex| vertex.bytes().clone());
        if let Some(bytes) = own {
            self.send(peer, Message::Vertices(vec![bytes]));
        }
    }

    fn on_frontier(&mut self, from: ValidatorIndex, frontier: &Frontier, now: Now) {
        if frontier.rounds.len() != self.epoch.committee().len() {
            self.effects.push_back(Effect::Misbehaved {
                peer: from,
                reason: Misbehaviour::BadFrontier,
            });
            return;
        }
        self.fetch.set_reach(from, &frontier.rounds);
        let lacking = (self.evidence.iter())
            .filter(|evidence| frontier.exposed >> evidence.author().0 & 1 == 0)
            .map(|evidence| Message::Evidence(evidence.clone().into()));
        for message in lacking.collect::<Vec<_>>() {
            if self.may_be_served(from, now) {
                self.send(from, message);
            }
        }
        self.push_own(from, frontier, now);
        let ours = self.graph.newest().to_vec();
        let ask = self.fetch.open_range(from, &ours, now.monotonic_us);
        self.send_asks(ask);
    }

    /// Sends a peer the own vertices that it lacks, if they have had time to arrive.
    fn push_own(&mut self, to: ValidatorIndex, frontier: &Frontier, now: Now) {
        let Some(own) = &self.own else {
            return;
        };
        let settled = own.durable
            && (own.sent_us).is_some_and(|sent| {
                now.monotonic_us >= sent.saturating_add(self.tuning.request_timeout_us)
            });
        let (me, reached) = (own.me, frontier.rounds[own.me.as_usize()]);
        let newest = own.newest.round;
        if !settled || reached >= newest {
            return;
        }
        if !self.may_be_served(to, now) {
            return;
        }
        let lowest = reached.next().max(self.graph.bottom());
        let lacking = (lowest.0..=newest.0)
            .flat_map(|round| self.graph.variants(Round(round), me))
            .map(|entry| *entry.head().reference())
            .take(MESSAGE_VERTICES_MAX)
            .collect();
        self.serve(to, lacking, now);
    }

    /// Takes from a peer's quota what serving costs at least: before any work is done for it. Whoever still owes for an
    /// answer isn't served: so the debt is one answer at most.
    fn may_be_served(&mut self, peer: ValidatorIndex, now: Now) -> bool {
        self.served[peer.as_usize()].spend(SERVED_BYTES_MIN, now.monotonic_us)
    }

    fn on_request(&mut self, from: ValidatorIndex, request: &Request, now: Now) {
        if !self.may_be_served(from, now) {
            return;
        }
        let mut references: Vec<VertexRef> = (request.wanted.iter())
            .filter(|reference| reference.round > Round(0))
            .copied()
            .collect();
        references.sort_unstable();
        references.dedup();
        if let Some(above) = &request.above {
            if above.len() != self.epoch.committee().len() {
                self.effects.push_back(Effect::Misbehaved {
                    peer: from,
                    reason: Misbehaviour::BadFrontier,
                });
                return;
            }
            self.note_reach(from, above);
            let highest = above.iter().max().copied().unwrap_or(Round(0));
            if highest.next() < self.graph.bottom() {
                self.send(from, Message::Pruned(self.graph.bottom()));
                return;
            }
            references.extend(self.above(above));
        }
        self.serve(from, references, now);
    }

    fn note_reach(&mut self, peer: ValidatorIndex, rounds: &[Round]) {
        for (author, round) in self.epoch.committee().indices().zip(rounds) {
            self.fetch.reaches(peer, author, *round);
        }
    }

    /// What lies above a frontier, lowest round first: as much as one message may hold. The walk keeps to the rounds of
    /// authors whose newest vertices lie above it: a frontier that lags where nothing is to be had costs nothing.
    pub(super) fn above(&self, rounds: &[Round]) -> Vec<VertexRef> {
        let newest = self.graph.newest().iter();
        let lagging: Vec<(Round, Round)> = (rounds.iter().copied().zip(newest.copied()))
            .filter(|(reached, newest)| reached < newest)
            .collect();
        let lowest = lagging.iter().map(|(reached, _)| *reached).min();
        let highest = lagging.iter().map(|(_, newest)| *newest).max();
        let (Some(lowest), Some(highest)) = (lowest, highest) else {
            return Vec::new();
        };
        let mut slot = (Round(0), ValidatorIndex(0), 0);
        (self.graph.since(lowest.next()))
            .map(|entry| *entry.head().reference())
            .take_while(|reference| reference.round <= highest)
            .filter(|reference| reference.round > rounds[reference.author.as_usize()])
            .filter(move |reference| {
                let same = (slot.0, slot.1) == (reference.round, reference.author);
                slot = (
                    reference.round,
                    reference.author,
                    if same { slot.2 + 1 } else { 1 },
                );
                slot.2 <= VARIANTS_PUSHED_MAX
            })
            .take(MESSAGE_VERTICES_MAX)
            .collect()
    }

    /// Sends vertices, whole or from the journal, within the message's bounds, at the cost of the peer's quota: all of
    /// it, whether it was there or not.
    fn serve(&mut self, to: ValidatorIndex, references: Vec<VertexRef>, now: Now) {
        let (mut whole, mut stored): (Vec<Bytes>, Vec<VertexRef>) = (Vec::new(), Vec::new());
        let mut bytes = 0;
        for reference in references.into_iter().take(MESSAGE_VERTICES_MAX) {
            let Some(entry) = self.graph.get(&reference) else {
                continue;
            };
            if self.is_own_volatile(entry) {
                continue;
            }
            bytes += entry.size();
            match entry.whole() {
                Some(vertex) => whole.push(vertex.bytes().clone()),
                None => stored.push(reference),
            }
            if bytes >= ANSWER_BYTES_MAX {
                break;
            }
        }
        self.served[to.as_usize()].spend_on_credit(bytes as u64, now.monotonic_us);
        if !stored.is_empty() {
            let references = stored;
            self.effects
                .push_back(Effect::SendStored { to, references });
        }
        if !whole.is_empty() {
            self.send(to, Message::Vertices(whole));
        }
    }

    /// Nothing leaves before it is durable (§3): not even as an answer.
    fn is_own_volatile(&self, entry: &Entry) -> bool {
        (self.own.as_ref())
            .is_some_and(|own| !own.durable && own.newest == *entry.head().reference())
    }

    fn on_pruned(&mut self, from: ValidatorIndex, floor: Round, now: Now) {
        let highest = self.graph.newest().iter().max().copied();
        let believed = highest.is_some_and(|highest| highest.next() < floor);
        if self.fetch.range_peer() == Some(from) && believed {
            self.fetch.forget(from);
            self.ask_for_commits(BehindReason::Pruned, now);
        }
    }

    /// Sends what requests are due.
    pub(super) fn ask(&mut self, now: Now) {
        let due = self.fetch.next_wakeup();
        if due.is_none_or(|due| due > now.monotonic_us) {
            return;
        }
        let ours = self.graph.newest().to_vec();
        let asks = self.fetch.poll(&ours, now.monotonic_us);
        self.send_asks(asks);
    }

    pub(super) fn send_asks(&mut self, asks: impl IntoIterator<Item = Ask>) {
        for ask in asks {
            #[expect(clippy::expect_used, reason = "asks are split at the bound")]
            let wanted = ask.wanted.try_into().expect("a bounded request");
            let above = ask.range.then(|| self.frontier_rounds());
            self.send(ask.to, Message::Request(Request { wanted, above }));
        }
    }
}
