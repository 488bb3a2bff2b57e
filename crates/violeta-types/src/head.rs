//! Heads, and what makes a client trust one (replica.md §2, consensus.md §10).

use borsh::{BorshDeserialize, BorshSerialize};
use serde::{Deserialize, Serialize};

use crate::codec::Bounded;
use crate::digest::{Digest, Domain};
use crate::ids::{ChainId, CommitIndex, Epoch, Height, TimeMs, ValidatorIndex, name};
use crate::keys::{ThresholdShare, ThresholdSignature, ValidatorSignature};
use crate::limits::VALIDATORS_MAX;

name! {
    /// A head: the digest that attestations and seals sign.
    HeadId
}

/// The small record that describes a block.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct Head {
    /// The chain.
    pub chain: ChainId,
    /// The epoch of the commit.
    pub epoch: Epoch,
    /// The block's height, from 1; also the store's version.
    pub height: Height,
    /// The head before; zero for the first.
    pub previous: HeadId,
    /// The commit that this block executed.
    pub commit_index: CommitIndex,
    /// That commit's digest.
    pub commit_digest: Digest,
    /// That commit's time.
    pub time: TimeMs,
    /// Merkle root over the ids of the block's transactions.
    pub transactions_root: Digest,
    /// Merkle root over the block's results.
    pub results_root: Digest,
    /// The store's root after this block.
    pub state_root: Digest,
    /// Merkle root over all heads before this one.
    pub history_root: Digest,
    /// Digest of the committee that attests this head.
    pub committee: Digest,
    /// Digest of the committee that attests the next one.
    pub next_committee: Digest,
}

impl Head {
    /// What attestations and seals sign.
    pub fn id(&self) -> HeadId {
        HeadId(Domain::Head.hash_encoded(self))
    }
}

/// One validator's word for a head, and its share of the seal.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct Attestation {
    /// The height.
    pub height: Height,
    /// The head.
    pub head: HeadId,
    /// Who attests it.
    pub validator: ValidatorIndex,
    /// Its signature over the head's id.
    pub signature: ValidatorSignature,
    /// Its share of the seal, where the committee has a group key.
    pub seal_share: Option<ThresholdShare>,
}

/// A quorum's signatures over a head. Names who vouched.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct Certificate {
    /// The height.
    pub height: Height,
    /// The head.
    pub head: HeadId,
    /// Signatures, by rising index, each validator once.
    pub signatures: Bounded<(ValidatorIndex, ValidatorSignature), VALIDATORS_MAX>,
}

/// The group's signature over a head: one key checks it.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct Seal {
    /// The height.
    pub height: Height,
    /// The head.
    pub head: HeadId,
    /// The signature.
    pub signature: ThresholdSignature,
}

/// A head and its certificate. That they fit is checked by `violeta-proof`.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct CertifiedHead {
    /// The head.
    pub head: Head,
    /// A quorum's word for it.
    pub certificate: Certificate,
}
