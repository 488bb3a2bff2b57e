//! What a record of the journal means to the index.

use std::sync::Arc;

use bytes::Bytes;
use violeta_consensus::UncheckedEvidence;
use violeta_replica::attestations::ConflictingAttestations;
use violeta_replica::{Block, Record, RecordKind};
use violeta_types::api::ChainEvent;
use violeta_types::codec::decode_prefix;
use violeta_types::{
    Attestation, CertifiedHead, ChainId, Commit, CommitIndex, DecodeError, Seal, SignedHeader,
    ValidatorIndex, VertexId, decode,
};

/// What is to be found by name.
#[derive(Clone, Debug)]
pub enum Entry {
    /// A vertex.
    Vertex(VertexId),
    /// A commit.
    Commit(CommitIndex),
    /// A block, and with it its head and transactions.
    Block(Arc<Block>),
    /// A head with its certificate.
    Certified(Arc<CertifiedHead>),
    /// A seal.
    Seal(Seal),
    /// Proof of a lie: only an event.
    Evidence {
        /// Whose.
        validator: ValidatorIndex,
        /// What, for people.
        what: String,
    },
    /// An event that follows from the record before.
    Event(ChainEvent),
    /// Nothing that anybody asks for by name.
    Nothing,
}

impl Entry {
    /// What a record that is being appended means.
    pub fn of_record(record: &Record) -> Entry {
        match record {
            Record::Vertex(vertex) => Entry::Vertex(vertex.reference().id),
            Record::Commit { commit, .. } => Entry::Commit(commit.index),
            Record::Attestation(_)
            | Record::Provision(_)
            | Record::Amnesia(_)
            | Record::Rejoin(_)
            | Record::Divergence(_) => Entry::Nothing,
            Record::Conflict(conflict) => conflict_entry(&conflict.first),
            Record::Block(block) => Entry::Block(block.clone()),
            Record::Certified(certified) => Entry::Certified(certified.clone()),
            Record::Evidence(evidence) => evidence_entry(&evidence.first().header),
            Record::Seal(seal) => Entry::Seal(seal.clone()),
        }
    }

    /// What a record that was read back means: the same.
    ///
    /// # Errors
    /// If the bytes aren't what their kind says.
    pub fn of_bytes(
        kind: RecordKind,
        bytes: &Bytes,
        chain: &ChainId,
    ) -> Result<Entry, DecodeError> {
        Ok(match kind {
            RecordKind::Vertex => {
                let signed: SignedHeader = decode_prefix(&mut &bytes[..])?;
                Entry::Vertex(signed.header.id(chain))
            }
            RecordKind::Commit => Entry::Commit(decode::<Commit>(bytes)?.index),
            RecordKind::Attestation
            | RecordKind::Provision
            | RecordKind::Amnesia
            | RecordKind::Rejoin
            | RecordKind::Divergence => Entry::Nothing,
            RecordKind::Conflict => {
                let conflict: ConflictingAttestations = decode(bytes)?;
                conflict_entry(&conflict.first)
            }
            RecordKind::Block => Entry::Block(Arc::new(decode(bytes)?)),
            RecordKind::Certified => Entry::Certified(Arc::new(decode(bytes)?)),
            RecordKind::Evidence => {
                let evidence: UncheckedEvidence = decode(bytes)?;
                evidence_entry(&evidence.first.header)
            }
            RecordKind::Seal => Entry::Seal(decode(bytes)?),
        })
    }

    /// The block, if it is one.
    pub fn block(&self) -> Option<&Arc<Block>> {
        match self {
            Entry::Block(block) => Some(block),
            _ => None,
        }
    }
}

fn conflict_entry(first: &Attestation) -> Entry {
    Entry::Evidence {
        validator: first.validator,
        what: format!("two heads attested at height {}", first.height),
    }
}

fn evidence_entry(header: &violeta_types::VertexHeader) -> Entry {
    Entry::Evidence {
        validator: header.author,
        what: format!("two vertices in round {}", header.round),
    }
}
