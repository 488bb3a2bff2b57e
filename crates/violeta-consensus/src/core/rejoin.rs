//! Going on in the same epoch although the journal was lost (consensus.md §9).
//!
//! ```text
//!   who lost its journal                         every other validator
//!   nonce, fresh for this life ──── question ──▶ remembers all that it made itself?
//!                              ◀──── answer ────  nonce · its own newest vertex · the asker's newest vertex
//!   accepts both vertices: the answer counts      … and makes one vertex more, so that a quiet cluster
//!   answers of Q others: floor = highest own        reaches the floor
//!        round among them + 1
//!   floor durable ─▶ makes vertices again, of rounds above the floor
//! ```
//!
//! **Why Q answers leave no room for a twin.** Let `X`, of round r, be any vertex that a lost life of the asker made:
//! seen by all, by one, or still under way. A1 let it enter r only when it held vertices of round r − 1 from Q authors;
//! one of them may have been the asker. The answers come from Q *others*. Of all stake but the asker's, the two sets
//! share at least (Q − asker) + Q − (total − asker) = 2Q − total = total − 2f > f: so an honest validator H is in both.
//! H had made its vertex of r − 1 before `X` was made, hence before the lost life ended, hence before this life drew its
//! nonce and H answered: H names a round of r − 1 at least, the floor is r at least, and what is made above it is no
//! twin. It doesn't matter whether anybody who answers has seen `X`, nor when it arrives: no vertex that is under way
//! can be above the floor. So up to f liars *besides* the asker do no harm. With f + 1 answers the two sets may share
//! nobody but a liar.
//!
//! **What a liar can do.** Name too low a round, or silence: that is what Q is for. Too high a round: an answer counts
//! once both vertices that it names are accepted here (or lie at or below gc), so its signature was checked and its
//! parents are here: nobody gets a floor above what the graph has reached. Another's answer: the channel shows who
//! speaks (each side of a connection proves its key), and answers aren't passed on, so that they need no signature of
//! their own. An answer to an earlier life, left in some queue: it has another nonce.
//!
//! **Who answers.** Whoever remembers: a validator that has lost its journal itself doesn't, until it has made a vertex
//! above its own floor, which is then above all that its lost lives made. So two that lost theirs never vouch for each
//! other's past.
//!
//! **What else it might have signed.** Attestations, shares of coins and of seals: each is a function of the agreed log
//! or of the round alone, so signing again says the same ([`Core::forget`]).
//!
//! **What is left.** The argument needs the lost life to be over, and the key in no other hands. An own vertex *above*
//! the floor that this life didn't make shows that one of these is wrong; then it is amnesia for good
//! ([`Effect::Amnesia`]). One at or below the floor is the lost life's, and welcome.

use std::collections::BTreeMap;

use violeta_types::seeded::{self, Bug};
use violeta_types::{Round, Stake, StakeTally, ValidatorIndex, VertexRef};

use super::Core;
use crate::io::{Effect, Misbehaviour, Now};
use crate::limits::SERVED_BYTES_MIN;
use crate::message::{Message, RejoinAnswer, RejoinNonce};

/// How far a validator that lost its journal is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rejoining {
    /// The stake whose answers count.
    pub heard: Stake,
    /// The stake that is needed.
    pub needed: Stake,
}

/// The question of a life that lost its journal.
#[derive(Clone, Debug)]
pub(super) struct Asking {
    nonce: RejoinNonce,
    /// The last word of each; one that counts stays.
    answers: BTreeMap<ValidatorIndex, RejoinAnswer>,
    /// When those are asked again that haven't answered.
    again_us: u64,
    /// What came out; on its way to the disk.
    floor: Option<Round>,
}

impl Core {
    /// Whoever [has forgotten](Self::forget) asks the others, and goes on once Q of them have answered.
    ///
    /// # Panics
    /// If this validator hasn't forgotten, or has started.
    pub fn ask_to_rejoin(&mut self, nonce: RejoinNonce) {
        assert!(!self.started && self.has_forgotten(), "asks who forgot");
        if let Some(own) = self.own.as_mut() {
            own.asking = Some(Asking {
                nonce,
                answers: BTreeMap::new(),
                again_us: 0,
                floor: None,
            });
        }
    }

    /// From the journal: a quorum has told this floor.
    ///
    /// # Panics
    /// If this validator has started.
    pub fn restore_floor(&mut self, floor: Round) {
        assert!(!self.started, "before start");
        if let Some(own) = self.own.as_mut() {
            own.floor = own.floor.max(floor);
            own.lift = own.floor.next();
        }
    }

    /// How far the asking is; none if nothing is asked.
    pub fn rejoining(&self) -> Option<Rejoining> {
        let committee = self.epoch.committee();
        let asking = self.own.as_ref()?.asking.as_ref()?;
        Some(Rejoining {
            heard: self.heard(asking).stake(),
            needed: committee.quorum_stake(),
        })
    }

    /// Asks those that haven't answered, and looks whether enough has been heard.
    pub(super) fn rejoin(&mut self, now: Now) {
        let again_us = (now.monotonic_us).saturating_add(self.tuning.heartbeat_us.max(1));
        let Some(asking) = self.asking().filter(|asking| asking.floor.is_none()) else {
            return;
        };
        if now.monotonic_us >= asking.again_us {
            asking.again_us = again_us;
            let (nonce, heard) = (asking.nonce, asking.answers.clone());
            let me = self.me();
            let silent = (self.epoch.committee().indices())
                .filter(|peer| Some(*peer) != me && !heard.contains_key(peer));
            for peer in silent.collect::<Vec<_>>() {
                self.send(peer, Message::RejoinQuestion(nonce));
            }
        }
        if let Some(floor) = self.floor_told() {
            if let Some(asking) = self.asking() {
                asking.floor = Some(floor);
            }
            self.effects.push_back(Effect::Rejoin { floor });
        }
    }

    fn asking(&mut self) -> Option<&mut Asking> {
        self.own.as_mut()?.asking.as_mut()
    }

    /// The stake of those whose answers count.
    fn heard(&self, asking: &Asking) -> StakeTally {
        let mut tally = StakeTally::default();
        for (peer, answer) in &asking.answers {
            if self.is_borne_out(answer) {
                tally.add(self.epoch.committee(), *peer);
            }
        }
        tally
    }

    /// Both vertices that an answer names exist, as far as that can still matter.
    fn is_borne_out(&self, answer: &RejoinAnswer) -> bool {
        let seen = |r: &VertexRef| r.round <= self.graph.gc() || self.graph.contains(r);
        seen(&answer.newest) && answer.of_asker.as_ref().is_none_or(seen)
    }

    /// The floor, once Q others have answered.
    fn floor_told(&self) -> Option<Round> {
        let committee = self.epoch.committee();
        let asking = self.own.as_ref()?.asking.as_ref()?;
        let heard = self.heard(asking);
        let enough = match seeded::is(Bug::RejoinAtTooFewAnswers) {
            true => heard.exceeds_faults(committee),
            false => heard.is_quorum(committee),
        };
        let told = (asking.answers.values()).filter(|answer| self.is_borne_out(answer));
        // By the argument above nothing of one's own lies above the first; the second costs nothing.
        let rounds = told.flat_map(|answer| {
            let of_asker = answer.of_asker.map_or(Round(0), |own| own.round);
            [answer.newest.round.next(), of_asker]
        });
        rounds.max().filter(|_| enough)
    }

    /// The floor is durable: from here on vertices are made, of rounds above it.
    pub(super) fn on_rejoined(&mut self, floor: Round) {
        let Some(own) = self.own.as_mut() else {
            return;
        };
        let asked = own.asking.take();
        assert!(
            own.amnesia && asked.is_some_and(|asking| asking.floor == Some(floor)),
            "the floor is the one that was given out"
        );
        assert!(own.outstanding.is_none(), "nothing was made meanwhile");
        own.amnesia = false;
        own.floor = floor;
        own.lift = floor.next();
        let me = own.me;
        let newest = self.newest_of(me);
        if let Some(newest) = newest {
            if let Some(own) = self.own.as_mut() {
                own.newest = newest;
            }
            self.graph.link(newest);
        }
    }

    fn newest_of(&self, author: ValidatorIndex) -> Option<VertexRef> {
        let round = self.graph.newest()[author.as_usize()];
        let mut variants = self.graph.variants(round, author);
        variants.next().map(|entry| *entry.head().reference())
    }

    /// One that lost its journal asks.
    pub(super) fn on_rejoin_question(
        &mut self,
        from: ValidatorIndex,
        nonce: RejoinNonce,
        now: Now,
    ) {
        if !self.served[from.as_usize()].spend(SERVED_BYTES_MIN, now.monotonic_us) {
            return;
        }
        let of_asker = self.newest_of(from);
        // One that has a floor and nothing above it doesn't know what its lost lives made.
        let remembers = |own: &&mut super::Own| {
            !own.amnesia && (own.floor == Round(0) || own.newest.round > own.floor)
        };
        let Some(own) = self.own.as_mut().filter(remembers) else {
            return;
        };
        let answer = RejoinAnswer {
            nonce,
            newest: own.newest,
            of_asker,
        };
        // The asker may enter the round above the floor once Q are at the floor: whoever named the highest round goes
        // there, and the others follow.
        own.lift = own.lift.max(own.newest.round.next());
        self.send(from, Message::RejoinAnswer(answer));
    }

    pub(super) fn on_rejoin_answer(&mut self, from: ValidatorIndex, answer: RejoinAnswer) {
        let Some(me) = self.me() else {
            return;
        };
        let Some(asking) = self.asking().filter(|asking| asking.nonce == answer.nonce) else {
            return;
        };
        let of_others = answer.of_asker.is_some_and(|own| own.author != me);
        if answer.newest.author != from || of_others {
            self.effects.push_back(Effect::Misbehaved {
                peer: from,
                reason: Misbehaviour::BadRejoinAnswer,
            });
            return;
        }
        asking.answers.entry(from).or_insert(answer);
    }

    /// A peer that was lost may have lost what it named: what doesn't count yet is asked for again.
    pub(super) fn ask_anew(&mut self, peer: ValidatorIndex) {
        let told = self.own.as_ref().and_then(|own| own.asking.as_ref());
        let told = told.and_then(|asking| asking.answers.get(&peer)).copied();
        if told.is_some_and(|answer| self.is_borne_out(&answer)) {
            return;
        }
        if let Some(asking) = self.asking() {
            asking.answers.remove(&peer);
            let nonce = asking.nonce;
            self.send(peer, Message::RejoinQuestion(nonce));
        }
    }
}
