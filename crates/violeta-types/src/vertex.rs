//! A vertex: one validator's signed proposal for one round (consensus.md §1).
//!
//! ```text
//!  Vertex ┬ header ┬ epoch, round, author
//!         │        ├ parents: own previous first, then others      ─┐
//!         │        ├ payload: {root, count, bytes}  ◀── binds ──┐   │ id = digest of chain ‖ header
//!         │        ├ coin share, end mark, timestamp            │  ─┘
//!         ├ signature over the id                               │
//!         └ payload: the items ─────────────────────────────────┘
//! ```

use borsh::{BorshDeserialize, BorshSerialize};
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::codec::{Bounded, DecodeError, decode_prefix};
use crate::digest::{Digest, Domain};
use crate::ids::{ChainId, Epoch, Round, TimeMs, ValidatorIndex, name};
use crate::keys::{ThresholdShare, ValidatorSignature};
use crate::limits::{VALIDATORS_MAX, VERTEX_BYTES_MAX};
use crate::payload::{Payload, PayloadCommitment};

name! {
    /// A vertex: the digest of the chain id and the header, without the signature.
    VertexId
}

/// Names a vertex. Ordered by round, author, id: the order inside a commit.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    BorshSerialize,
    BorshDeserialize,
    Serialize,
    Deserialize,
)]
pub struct VertexRef {
    /// The vertex's round.
    pub round: Round,
    /// Who made it.
    pub author: ValidatorIndex,
    /// Its id.
    pub id: VertexId,
}

impl VertexRef {
    /// The virtual vertex of round 0 of an epoch: it exists without anybody having sent it.
    pub fn virtual_vertex(epoch_seed: &Digest, epoch: Epoch, author: ValidatorIndex) -> Self {
        let id = Domain::GenesisVertex.hash_parts(&[
            &epoch_seed.0,
            &epoch.0.to_le_bytes(),
            &author.0.to_le_bytes(),
        ]);
        VertexRef {
            round: Round(0),
            author,
            id: VertexId(id),
        }
    }
}

/// All of a vertex but signature and items.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct VertexHeader {
    /// The epoch.
    pub epoch: Epoch,
    /// The round, from 1.
    pub round: Round,
    /// Who made it.
    pub author: ValidatorIndex,
    /// Parents: own previous first, then others in vote order.
    pub parents: Bounded<VertexRef, VALIDATORS_MAX>,
    /// What the payload is.
    pub payload: PayloadCommitment,
    /// Share of the coin of this round, exactly when due (V7).
    pub coin_share: Option<ThresholdShare>,
    /// Whether its author is ready to end the epoch (§11).
    pub end_mark: bool,
    /// Its author's clock.
    pub timestamp: TimeMs,
}

impl VertexHeader {
    /// The vertex's id: what its author signs.
    pub fn id(&self, chain: &ChainId) -> VertexId {
        let mut hasher = Domain::Vertex.hasher();
        hasher.update(chain.as_ref());
        crate::codec::encode_into(self, &mut hasher);
        VertexId(Digest(*hasher.finalize().as_bytes()))
    }

    /// The reference that names this vertex.
    pub fn vertex_ref(&self, chain: &ChainId) -> VertexRef {
        VertexRef {
            round: self.round,
            author: self.author,
            id: self.id(chain),
        }
    }
}

/// A header and its author's signature: enough for evidence, and for light catch-up.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct SignedHeader {
    /// The header.
    pub header: VertexHeader,
    /// Its author's signature over the id.
    pub signature: ValidatorSignature,
}

/// A whole vertex as it travels. Nothing about it has been checked but its form.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize)]
pub struct Vertex {
    /// Header and signature.
    pub signed: SignedHeader,
    /// The items.
    pub payload: Payload,
}

impl Vertex {
    /// Decodes a whole vertex; items share `bytes`.
    ///
    /// # Errors
    /// If the bytes aren't the canonical encoding of a vertex within the limits.
    pub fn decode(bytes: &Bytes) -> Result<Self, DecodeError> {
        if bytes.len() > VERTEX_BYTES_MAX {
            let reason = format!("{} bytes, at most {VERTEX_BYTES_MAX}", bytes.len());
            return Err(DecodeError::new("vertex", reason));
        }
        let mut rest = &bytes[..];
        let signed = decode_prefix(&mut rest)?;
        let payload = Payload::decode(bytes.slice(bytes.len() - rest.len()..))?;
        Ok(Vertex { signed, payload })
    }
}
