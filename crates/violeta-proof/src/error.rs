//! What can be wrong with a proof, part by part: clients tell people.

use violeta_types::{ChainId, DecodeError, Digest, HeadId, Height, Stake, ValidatorIndex};

use crate::tree::{PartialTreeError, TreeProofError};

/// The part of a proof that failed. Nothing that such a proof says may be believed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    /// Not the encoding of a proof.
    #[error("the proof can't be read: {0}")]
    Encoding(#[from] DecodeError),
    /// Not the JSON form of a proof.
    #[error("the file can't be read: {0}")]
    Json(String),
    /// The head is one of another chain.
    #[error("the head is of chain {found}, not of the trusted chain {expected}")]
    OtherChain {
        /// The chain that is trusted.
        expected: ChainId,
        /// The head's.
        found: ChainId,
    },
    /// The head names a committee that the verifier doesn't know.
    #[error("the head names committee {named}; the trusted committee is {known}")]
    UnknownCommittee {
        /// Digest of the committee that is trusted.
        known: Digest,
        /// Digest in the head.
        named: Digest,
    },
    /// A certificate came, but the verifier knows only a group key.
    #[error("the proof has a certificate, but only a group key is trusted: ask for a sealed proof")]
    NoCommittee,
    /// A seal came, but the verifier knows no group key.
    #[error(
        "the proof has a seal, but no group key is trusted: ask for a proof with a certificate"
    )]
    NoGroupKey,
    /// The certificate or seal is for another head.
    #[error("the vouch is for head {named}, the proof holds head {given}")]
    OtherHead {
        /// What the certificate or seal names.
        named: HeadId,
        /// The id of the head in the proof.
        given: HeadId,
    },
    /// The certificate or seal is for another height.
    #[error("the vouch says height {named}, the head {given}")]
    OtherHeight {
        /// What the certificate or seal says.
        named: Height,
        /// The head's.
        given: Height,
    },
    /// Signers must have strictly rising indices, so that none counts twice.
    #[error("validator {0} is out of order in the certificate, or there twice")]
    SignersOutOfOrder(ValidatorIndex),
    /// There is no such validator in the committee.
    #[error("the committee has no validator {0}")]
    UnknownValidator(ValidatorIndex),
    /// A signature is wrong.
    #[error("the signature of validator {0} is wrong")]
    BadSignature(ValidatorIndex),
    /// The signers are no quorum.
    #[error("the signers have a stake of {have}, a quorum needs {need}")]
    TooLittleStake {
        /// Stake of the signers.
        have: Stake,
        /// Stake of a quorum.
        need: Stake,
    },
    /// The seal isn't the group's.
    #[error("the seal is wrong")]
    BadSeal,
    /// The path doesn't lead from the older head to the newer one's history.
    #[error(
        "the path doesn't lead from the head at height {older} into the history of the head at {newer}"
    )]
    History {
        /// Height of the older head.
        older: Height,
        /// Height of the head that is trusted.
        newer: Height,
    },
    /// The path in the tree is wrong.
    #[error("the path in the state tree is wrong: {0}")]
    Tree(#[from] TreeProofError),
    /// The part of the tree that shows many keys is wrong, or isn't what is claimed.
    #[error("the proof of many keys in the state tree is wrong: {0}")]
    Many(#[from] PartialTreeError),
    /// The tree has a key that no namespace can have.
    #[error("the tree has a key of {bytes} bytes: no namespace has such a key")]
    LongKey {
        /// Its length.
        bytes: usize,
    },
    /// A proof of what changed must be about two heights in their order.
    #[error("the older head is of height {older}, the newer one of height {newer}")]
    HeadsOutOfOrder {
        /// Of the head that is said to be older.
        older: Height,
        /// Of the other one.
        newer: Height,
    },
    /// The stored value can't have been written by this chain.
    #[error(
        "the value says that it was written at height {written_at}, after the head's height {height}"
    )]
    WrittenLater {
        /// What the value says.
        written_at: Height,
        /// The head's height.
        height: Height,
    },
    /// The result is said to be of another block.
    #[error("the result is of height {outcome}, the head of height {head}")]
    OutcomeHeight {
        /// The outcome's height.
        outcome: Height,
        /// The head's height.
        head: Height,
    },
    /// The path doesn't lead from the result to the head's results.
    #[error("the path doesn't lead from the result to the head's results root")]
    Results,
    /// A trust file that contradicts itself.
    #[error("the trust file is no ground for trust: {0}")]
    Trust(&'static str),
}

impl ProofError {
    /// Whether nothing was found wrong: the verifier lacks the key for this word, and whoever gave the proof is no liar.
    pub fn lacks_trust(&self) -> bool {
        matches!(self, ProofError::NoCommittee | ProofError::NoGroupKey)
    }
}
