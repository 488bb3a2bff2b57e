//! Taking vertices in: acceptance, suspension, equivocation (consensus.md §2, §7, §8).

use std::collections::BTreeSet;

use bytes::Bytes;
use violeta_types::{SignedHeader, TimeMs, ValidatorIndex, VertexRef};

use super::Core;
use crate::evidence::{Evidence, UncheckedEvidence};
use crate::io::{Effect, Misbehaviour, Now};
use crate::limits::{NOVELTY_ROUNDS_MAX, TIMESTAMP_AHEAD_MS_MAX, VARIANTS_PUSHED_MAX};
use crate::message::Message;
use crate::suspended::Hold;
use crate::vertex::{ValidVertex, claimed_reference};

/// How often held vertices are looked at.
const HELD_INTERVAL_US: u64 = 50_000;

impl Core {
    /// Bytes of a vertex came from a peer and aren't judged yet. Says whether the vertex that they claim to be is here:
    /// then they needn't be, and whoever repeats itself costs a hash and no signatures (§8).
    ///
    /// An id doesn't bind the signature, so a known vertex's copy may be a spoilt one. It is dropped all the same, and
    /// says nothing about the vertex that is here.
    pub fn is_repeated(&mut self, from: ValidatorIndex, bytes: &Bytes) -> bool {
        let Some(reference) = claimed_reference(bytes, &self.epoch) else {
            return false;
        };
        let here = self.is_here(&reference);
        if here && self.epoch.committee().member(from).is_some() {
            self.fetch.arrived(&reference, from);
        }
        here
    }

    fn is_here(&self, reference: &VertexRef) -> bool {
        self.graph.contains(reference) || self.suspended.contains(reference)
    }

    /// A valid vertex came from a peer.
    pub(super) fn on_vertex(&mut self, from: ValidatorIndex, vertex: ValidVertex, now: Now) {
        let reference = *vertex.reference();
        let foreign = vertex.header().epoch != self.epoch.epoch();
        if foreign || self.epoch.committee().member(from).is_none() {
            return;
        }
        let asked = self.fetch.arrived(&reference, from);
        if self.is_here(&reference) {
            return;
        }
        if reference.round <= self.graph.gc() {
            if asked && reference.round >= self.graph.bottom() {
                self.take_old(from, vertex);
            }
            return;
        }
        self.notice_own(&reference);
        self.notice_twins(vertex.signed_header(), &reference);
        let wanted = asked || self.suspended.is_wanted(&reference);
        if !wanted && self.variants_here(&reference) >= VARIANTS_PUSHED_MAX {
            return;
        }
        let reach = self.graph.quorum_round().forward(NOVELTY_ROUNDS_MAX);
        if !wanted && reference.round > reach {
            // Deferred: what lies between comes first, lowest round first (§8, novelty budget).
            let frontier = self.graph.newest().to_vec();
            let ask = self.fetch.open_range(from, &frontier, now.monotonic_us);
            self.send_asks(ask);
            return;
        }
        self.fetch.progress(from, now.monotonic_us);
        self.admit(from, vertex, now);
        self.advance(now);
    }

    /// Accepts a vertex, or suspends it.
    pub(super) fn admit(&mut self, from: ValidatorIndex, vertex: ValidVertex, now: Now) {
        let missing = self.graph.missing_parents(&vertex);
        let hold = self.hold(&vertex, now);
        if missing.is_empty() && hold == Hold::No {
            self.accept(vertex, now);
            return;
        }
        self.held_us = (self.held_us).or(Some(now.monotonic_us.saturating_add(HELD_INTERVAL_US)));
        let here = *vertex.reference();
        let gone = self.suspended.insert(from, vertex, missing.clone(), hold);
        if !gone.contains(&here) {
            for parent in missing {
                if !self.suspended.contains(&parent) {
                    self.fetch.want(parent, from);
                }
            }
        }
        for reference in gone {
            if self.suspended.is_wanted(&reference) {
                self.fetch.want(reference, from);
            }
        }
    }

    /// Timestamps aren't a validity matter: too far ahead means later (§2). Nor are further variants: their author's
    /// quota says when (§7).
    fn hold(&mut self, vertex: &ValidVertex, now: Now) -> Hold {
        let reference = vertex.reference();
        let here = self.graph.variants(reference.round, reference.author);
        if here.count() >= VARIANTS_PUSHED_MAX {
            return Hold::Quota;
        }
        let until = TimeMs((vertex.header().timestamp.0).saturating_sub(TIMESTAMP_AHEAD_MS_MAX));
        if until > now.wall {
            return Hold::Early(until);
        }
        Hold::No
    }

    /// Looks again at what was held.
    pub(super) fn release_held(&mut self, now: Now) {
        if self.held_us.is_none_or(|due| due > now.monotonic_us) {
            return;
        }
        let variants = &mut self.variants;
        let ready = self.suspended.release(now.wall, |author| {
            variants[author.as_usize()].spend(1, now.monotonic_us)
        });
        self.held_us = None;
        if self.suspended.holds() {
            self.held_us = Some(now.monotonic_us.saturating_add(HELD_INTERVAL_US));
        }
        for (_, vertex) in ready {
            if !self.graph.contains(vertex.reference()) {
                self.accept(vertex, now);
            }
        }
        self.advance(now);
    }

    /// Accepts a vertex whose parents above gc are accepted, and then whoever waited for it.
    pub(super) fn accept(&mut self, vertex: ValidVertex, now: Now) {
        let mut ready = vec![vertex];
        while let Some(vertex) = ready.pop() {
            let reference = *vertex.reference();
            if self.graph.contains(&reference) || reference.round <= self.graph.gc() {
                continue;
            }
            assert!(self.graph.missing_parents(&vertex).is_empty());
            self.effects.push_back(Effect::Persist(vertex.clone()));
            self.graph.insert(vertex);
            self.decide_with(&reference);
            for (from, child) in self.suspended.resolve(&reference) {
                match self.hold(&child, now) {
                    Hold::No => ready.push(child),
                    _ => self.admit(from, child, now),
                }
            }
        }
    }

    /// Takes a vertex at or below gc that a cone lacks, so that what lies above may be linked (L1).
    fn take_old(&mut self, from: ValidatorIndex, vertex: ValidVertex) {
        let reference = *vertex.reference();
        self.effects.push_back(Effect::Persist(vertex.clone()));
        self.graph.insert(vertex);
        // Its own parents come next. All cones are gone over once nothing old is on its way any more (and with each
        // heartbeat): there may be thousands of vertices above, and as many to come.
        for parent in self.graph.lacking(&reference) {
            self.fetch.want(parent, from);
        }
        if !self.fetch.wants_upto(self.graph.gc()) {
            self.complete_cones();
        }
    }

    /// Asks again for what is waited for and was crowded out.
    pub(super) fn want_again(&mut self) {
        let lost: Vec<(VertexRef, ValidatorIndex)> = (self.suspended.wanted())
            .filter(|(parent, _)| !self.suspended.contains(parent) && !self.fetch.wants(parent))
            .collect();
        for (parent, source) in lost {
            self.fetch.want(parent, source);
        }
    }

    /// Asks for what L1 lacks of cones that begin above gc.
    pub(super) fn complete_cones(&mut self) {
        if !self.graph.is_incomplete() {
            return;
        }
        let before = self.graph.newest().to_vec();
        for missing in self.graph.complete() {
            // Whoever reaches furthest has what others built on; its author is asked next.
            let source = (0..before.len()).max_by_key(|&i| before[i]).unwrap_or(0);
            if !self.suspended.contains(&missing) {
                self.fetch.want(missing, ValidatorIndex(source as u16));
            }
        }
    }

    fn variants_here(&self, reference: &VertexRef) -> usize {
        let (round, author) = (reference.round, reference.author);
        self.graph.variants(round, author).count() + self.suspended.variants(round, author).count()
    }

    /// An own vertex above gc that isn't in the graph was made before a loss of the store, or by a thief (§9). One up to
    /// the floor is what the loss that is known of took.
    pub(super) fn notice_own(&mut self, reference: &VertexRef) {
        if let Some(own) = self.own.as_mut().filter(|own| own.me == reference.author)
            && !own.amnesia
            && reference.round > own.floor
        {
            own.amnesia = true;
            self.effects.push_back(Effect::Amnesia(*reference));
        }
    }

    /// Two valid vertices in one slot are proof (§7).
    fn notice_twins(&mut self, signed: &SignedHeader, reference: &VertexRef) {
        if self.graph.is_exposed(reference.author) {
            return;
        }
        let (round, author) = (reference.round, reference.author);
        let accepted = self.graph.variants(round, author);
        let accepted = accepted.map(|entry| entry.head().signed());
        let suspended = self.suspended.variants(round, author);
        let evidence = accepted
            .chain(suspended.map(ValidVertex::signed_header))
            .find_map(|other| Evidence::of(&self.epoch, signed, other));
        if let Some(evidence) = evidence {
            self.expose(evidence);
        }
    }

    /// Keeps a proof and spreads it once.
    pub(super) fn expose(&mut self, evidence: Evidence) {
        if self.graph.is_exposed(evidence.author()) {
            return;
        }
        self.graph.expose(evidence.author());
        self.evidence.push(evidence.clone());
        self.effects
            .push_back(Effect::PersistEvidence(evidence.clone()));
        let message = Message::Evidence(evidence.clone().into());
        self.effects.push_back(Effect::Broadcast(message));
        self.effects.push_back(Effect::Equivocation(evidence));
    }

    /// Evidence came from a peer. One proof an author is enough: further ones aren't looked at.
    pub(super) fn on_evidence(&mut self, peer: ValidatorIndex, evidence: &UncheckedEvidence) {
        if self.graph.is_exposed(evidence.first.header.author) {
            return;
        }
        match evidence.check(&self.epoch) {
            Ok(evidence) => self.expose(evidence),
            Err(_) => self.effects.push_back(Effect::Misbehaved {
                peer,
                reason: Misbehaviour::BadEvidence,
            }),
        }
    }

    /// gc rose: who waited for what lies below it waits no more.
    pub(super) fn after_gc(&mut self, now: Now) {
        let gc = self.graph.gc();
        let ready: Vec<ValidVertex> = (self.suspended.raise_gc(gc))
            .into_iter()
            .map(|(_, vertex)| vertex)
            .collect();
        let oldest = gc.back(self.epoch.gc_depth());
        let suspended = &self.suspended;
        let wanted_old: BTreeSet<VertexRef> = if self.graph.is_incomplete() {
            self.graph.complete().into_iter().collect()
        } else {
            BTreeSet::new()
        };
        self.fetch.retain(|reference| {
            suspended.is_wanted(reference)
                || (reference.round > oldest && wanted_old.contains(reference))
        });
        for vertex in ready {
            if self.graph.missing_parents(&vertex).is_empty() {
                self.accept(vertex, now);
            }
        }
    }
}
