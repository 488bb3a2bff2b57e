//! What a replica keeps in its journal, in the order in which it happened.
//!
//! A journal that is read back from its beginning gives the replica as it was: vertices (parents before children),
//! commits, own attestations, blocks, certified heads, evidence of lies and of own faults. What comes first says what it is worth
//! ([`provision`](crate::provision)). The shell's indexes are rebuilt from the same.

use std::sync::Arc;

use bytes::Bytes;
use violeta_consensus::{Evidence, ValidVertex};
use violeta_types::{Attestation, CertifiedHead, Commit, Digest, Epoch, Seal, encode};

use crate::attestations::{ConflictingAttestations, Divergence};
use crate::machine::Block;
use crate::provision::{Provision, Rejoin};

/// A record's kind, as the journal stores it. Numbers are part of the format: never change one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum RecordKind {
    /// An accepted vertex, encoded.
    Vertex = 1,
    /// A commit.
    Commit = 2,
    /// An own attestation.
    Attestation = 3,
    /// A block: head and outcomes.
    Block = 4,
    /// A head and its certificate.
    Certified = 5,
    /// Proof of an equivocation.
    Evidence = 6,
    /// A seal.
    Seal = 7,
    /// The journal's first record: made when the validator was set up.
    Provision = 8,
    /// The validator may have signed more than the journal holds: it makes no vertex in this epoch,
    /// unless a [`RecordKind::Rejoin`] follows.
    Amnesia = 9,
    /// After that: a quorum has told above which round it may make vertices again.
    Rejoin = 10,
    /// Proof that a validator attested two heads of one height.
    Conflict = 11,
    /// A quorum's word against a block that was made here. The replica stops with it.
    Divergence = 12,
}

impl RecordKind {
    /// The kind with this number.
    pub fn from_number(number: u8) -> Option<Self> {
        Some(match number {
            1 => RecordKind::Vertex,
            2 => RecordKind::Commit,
            3 => RecordKind::Attestation,
            4 => RecordKind::Block,
            5 => RecordKind::Certified,
            6 => RecordKind::Evidence,
            7 => RecordKind::Seal,
            8 => RecordKind::Provision,
            9 => RecordKind::Amnesia,
            10 => RecordKind::Rejoin,
            11 => RecordKind::Conflict,
            12 => RecordKind::Divergence,
            _ => return None,
        })
    }
}

/// One record.
#[derive(Clone, Debug)]
pub enum Record {
    /// See [`RecordKind::Vertex`].
    Vertex(ValidVertex),
    /// See [`RecordKind::Commit`].
    Commit {
        /// The record.
        commit: Arc<Commit>,
        /// Its digest.
        digest: Digest,
    },
    /// See [`RecordKind::Attestation`].
    Attestation(Attestation),
    /// See [`RecordKind::Block`].
    Block(Arc<Block>),
    /// See [`RecordKind::Certified`].
    Certified(Arc<CertifiedHead>),
    /// See [`RecordKind::Evidence`].
    Evidence(Evidence),
    /// See [`RecordKind::Seal`].
    Seal(Seal),
    /// See [`RecordKind::Provision`].
    Provision(Provision),
    /// See [`RecordKind::Amnesia`]: in which epoch.
    Amnesia(Epoch),
    /// See [`RecordKind::Rejoin`].
    Rejoin(Rejoin),
    /// See [`RecordKind::Conflict`].
    Conflict(Box<ConflictingAttestations>),
    /// See [`RecordKind::Divergence`].
    Divergence(Box<Divergence>),
}

impl Record {
    /// The record's kind.
    pub fn kind(&self) -> RecordKind {
        match self {
            Record::Vertex(_) => RecordKind::Vertex,
            Record::Commit { .. } => RecordKind::Commit,
            Record::Attestation(_) => RecordKind::Attestation,
            Record::Block(_) => RecordKind::Block,
            Record::Certified(_) => RecordKind::Certified,
            Record::Evidence(_) => RecordKind::Evidence,
            Record::Seal(_) => RecordKind::Seal,
            Record::Provision(_) => RecordKind::Provision,
            Record::Amnesia(_) => RecordKind::Amnesia,
            Record::Rejoin(_) => RecordKind::Rejoin,
            Record::Conflict(_) => RecordKind::Conflict,
            Record::Divergence(_) => RecordKind::Divergence,
        }
    }

    /// The bytes that the journal stores.
    pub fn to_bytes(&self) -> Bytes {
        match self {
            Record::Vertex(vertex) => vertex.bytes().clone(),
            Record::Commit { commit, .. } => encode(&**commit).into(),
            Record::Attestation(attestation) => encode(attestation).into(),
            Record::Block(block) => encode(&**block).into(),
            Record::Certified(certified) => encode(&**certified).into(),
            Record::Evidence(evidence) => encode(evidence).into(),
            Record::Seal(seal) => encode(seal).into(),
            Record::Provision(provision) => encode(provision).into(),
            Record::Amnesia(epoch) => encode(epoch).into(),
            Record::Rejoin(rejoin) => encode(rejoin).into(),
            Record::Conflict(conflict) => encode(&**conflict).into(),
            Record::Divergence(divergence) => encode(&**divergence).into(),
        }
    }
}
