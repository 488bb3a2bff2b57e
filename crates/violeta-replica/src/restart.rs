//! From a journal back to a replica (replica.md §3, consensus.md §9).
//!
//! The shell reads the journal from its beginning and gives each record to [`Replica::restore`], in order; vertices
//! that have fallen under gc leave memory again on the way, so memory stays bounded however long the journal is. Then
//! the store is opened, no further than the journal's last block ([`Replica::recorded_height`]), and
//! [`Replica::start`] is told where it stands.
//!
//! What came from one's own journal was judged before it was written, and the journal's checksums vouch for it: no
//! signature is checked again.

use std::sync::Arc;

use bytes::Bytes;
use violeta_consensus::{Now, UncheckedEvidence, trust_vertex};
use violeta_types::seeded::{self, Bug};
use violeta_types::{Attestation, CertifiedHead, Commit, Epoch, Height, Seal, decode};

use crate::attestations::{ConflictingAttestations, Divergence};
use crate::handover::Handover;
use crate::limits::REATTESTED_HEIGHTS_MAX;
use crate::machine::{Block, Position};
use crate::provision::{Past, Provision, Rejoin};
use crate::record::{Record, RecordKind};
use crate::replica::{Replica, ReplicaError};

fn broken(error: impl std::fmt::Display) -> ReplicaError {
    ReplicaError::Record(error.to_string())
}

impl Replica {
    /// Takes the journal's next record.
    ///
    /// # Errors
    /// If the record isn't what its kind says, or doesn't follow those before.
    pub fn restore(&mut self, kind: RecordKind, bytes: Bytes) -> Result<(), ReplicaError> {
        assert!(!self.started, "restoring comes before the start");
        let before = self.past;
        if before == Past::Unread {
            self.past = Past::Untold;
        }
        match kind {
            RecordKind::Provision => {
                let provision: Provision = decode(&bytes).map_err(broken)?;
                if before != Past::Unread {
                    return Err(broken("it says in its midst that it begins"));
                }
                self.check_provision(&provision)?;
                self.past = Past::Whole;
            }
            RecordKind::Amnesia => {
                let epoch: Epoch = decode(&bytes).map_err(broken)?;
                self.past = match epoch == self.epoch.epoch() {
                    true => before.with_amnesia(),
                    // What was signed in an epoch that is over can't be signed again.
                    false if before == Past::Unread => Past::Whole,
                    false => before,
                };
            }
            RecordKind::Rejoin => {
                let Rejoin { epoch, floor } = decode(&bytes).map_err(broken)?;
                if epoch == self.epoch.epoch() {
                    let told = before.with_floor(floor);
                    self.past = told.ok_or_else(|| broken("it was told what it hadn't lost"))?;
                }
            }
            RecordKind::Vertex => {
                let vertex = trust_vertex(&bytes, &self.epoch).map_err(broken)?;
                self.core.restore_vertex(vertex);
            }
            RecordKind::Commit => {
                let commit: Commit = decode(&bytes).map_err(broken)?;
                self.log.append(&commit).map_err(broken)?;
                self.core.restore_commit(&commit).map_err(broken)?;
            }
            RecordKind::Attestation => {
                let attestation: Attestation = decode(&bytes).map_err(broken)?;
                self.attestations.restore_own(attestation);
            }
            RecordKind::Block => {
                let block: Block = decode(&bytes).map_err(broken)?;
                self.recorded.insert(block.head.height, block.head.id());
                self.journaled = self.journaled.max(block.head.height);
                self.attestations.restore_block(block.head);
                while self.recorded.len() > REATTESTED_HEIGHTS_MAX {
                    self.recorded.pop_first();
                }
            }
            RecordKind::Certified => {
                let certified: CertifiedHead = decode(&bytes).map_err(broken)?;
                self.attestations.restore_certified(Arc::new(certified));
            }
            RecordKind::Evidence => {
                let unchecked: UncheckedEvidence = decode(&bytes).map_err(broken)?;
                let evidence = unchecked.check(&self.epoch).map_err(broken)?;
                self.core.restore_evidence(evidence);
            }
            RecordKind::Conflict => {
                let conflict: ConflictingAttestations = decode(&bytes).map_err(broken)?;
                if !self.attestations.restore_conflict(conflict) {
                    return Err(broken("two attestations that don't conflict"));
                }
            }
            RecordKind::Divergence => {
                let divergence: Divergence = decode(&bytes).map_err(broken)?;
                self.attestations.restore_divergence(divergence);
            }
            RecordKind::Seal => {
                let seal: Seal = decode(&bytes).map_err(broken)?;
                self.attestations.sealed(&seal);
            }
        }
        Ok(())
    }

    /// A journal is one validator's: with another's, this one would make again what it has made before.
    fn check_provision(&self, provision: &Provision) -> Result<(), ReplicaError> {
        let wanted = self.identity.as_ref().map(|me| me.key.public_key());
        let (found, chain) = (provision.validator, *self.epoch.chain());
        match wanted {
            Some(wanted) if wanted != found => Err(ReplicaError::OtherValidator { found, wanted }),
            _ if provision.chain != chain => Err(broken("it was begun for another chain")),
            _ => Ok(()),
        }
    }

    /// A validator whose journal doesn't say how it began may have sent more than the journal holds (consensus.md §9).
    fn judge_past(&mut self) {
        if self.identity.is_none() {
            return;
        }
        let is_told = !matches!(self.past, Past::Unread | Past::Untold);
        if !is_told && !seeded::is(Bug::LostJournalNotNoticed) {
            self.append(Record::Amnesia(self.epoch.epoch()));
            self.past = self.past.with_amnesia();
        }
        if self.past.is_amnesia() {
            self.core.forget();
        }
        match (self.past, self.rejoin) {
            (Past::Lost, Some(nonce)) => self.core.ask_to_rejoin(nonce),
            (Past::Rejoined(floor), _) => self.core.restore_floor(floor),
            _ => {}
        }
    }

    /// The height of the journal's last block: the store may be no further. One that is (the power went between two
    /// syncs) is rolled back before the start; what is rolled back is executed again.
    pub fn recorded_height(&self) -> Height {
        self.journaled
    }

    /// Begins to work, with a machine that stands at `position`.
    ///
    /// # Errors
    /// If machine and journal don't belong together.
    pub fn start(&mut self, now: Now, position: Position) -> Result<(), ReplicaError> {
        assert!(!self.started, "a replica is started once");
        let journal = self.recorded_height();
        if position.height > journal {
            let store = position.height;
            return Err(ReplicaError::StoreAhead { store, journal });
        }
        let mut handover = Handover::new(position, self.log.last_index());
        if let Some(link) = self.log.recent(position.commit_index) {
            handover.confirm(position.commit_index, link.digest)?;
        } else if position.commit_index <= self.log.last_index() {
            // Too far back to compare by memory: the heads that follow bind the commits, and are compared.
            handover.trust();
        }
        self.handover = handover;
        self.durable = position.height;
        // Blocks above the store's height are executed again; until then they can't be attested.
        self.attestations.start_at(position.height);
        self.recorded.retain(|height, _| *height > position.height);
        self.judge_past();
        self.started = true;
        self.core.start(now);
        self.begin(now);
        Ok(())
    }
}
