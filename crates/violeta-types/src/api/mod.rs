//! What gateway and client say to each other over HTTP: pure data, known to both, so that neither knows the other.
//!
//! ```text
//!   client ── Transaction (borsh) · Batch ────────────────▶ gateway
//!          ◀─ answers (JSON, proofs also as borsh) · events ─
//!          ◀─ ErrorBody {error: {code, message, help}} ──────
//! ```
//!
//! **Nothing here is proved.** What convinces a client is a `KeyProof` or an `OutcomeProof` (`violeta-proof`); these
//! answers are for people, for monitoring, and for knowing what to ask a proof of.
//!
//! Bytes that mean something to people (names, keys, values) are [`Readable`]; digests, keys and signatures are
//! hexadecimal; heights and nonces are numbers.

mod batch;
mod error;
mod event;
mod readable;

pub use batch::{BATCH_BYTES_MAX, BATCH_COUNT_MAX, BatchVerdict, decode_batch, encode_batch};
pub use error::{ErrorBody, ErrorCode, ErrorDetail};
pub use event::{ChainEvent, Cursor, EventKind};
pub use readable::{HEX_MARK, Readable};

use serde::{Deserialize, Serialize};

use crate::transaction::Right;
use crate::{
    Certificate, ChainId, ClientId, ClientPublicKey, CommitIndex, Committee, Digest, Epoch, Head,
    HeadId, Height, Nonce, Outcome, Round, Seal, Stake, TimeMs, TxId, ValidatorIndex,
};

/// The media type of everything encoded in borsh.
pub const BINARY: &str = "application/octet-stream";
/// Header in which every answer names the validator that gave it, by index.
pub const VALIDATOR_HEADER: &str = "violeta-validator";
/// Entries of a page (keys, versions, blocks, outcomes), at most.
pub const PAGE_MAX: u32 = 1_000;
/// Entries of a page where none are asked for.
pub const PAGE_DEFAULT: u32 = 100;
/// How long a gateway waits for a transaction where the client doesn't say.
pub const WAIT_MS_DEFAULT: u64 = 10_000;
/// How long a gateway waits for a transaction at most.
pub const WAIT_MS_MAX: u64 = 60_000;

const _: () = assert!(PAGE_DEFAULT <= PAGE_MAX);
const _: () = assert!(WAIT_MS_DEFAULT <= WAIT_MS_MAX);

/// How far a submission waits before it is answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Wait {
    /// Until the mempool has it.
    #[default]
    None,
    /// Until this validator has executed it.
    Executed,
    /// Until a quorum has vouched for the block that holds it.
    Certified,
}

/// Which version a read is of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Consistency {
    /// The newest certified one.
    #[default]
    Certified,
    /// One that holds every write that was certified anywhere before the read began: a barrier is ordered first.
    Linearizable,
}

/// Whose word a proof is to carry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum VouchKind {
    /// A certificate, or a seal where there is none: for who knows the committee.
    #[default]
    Any,
    /// A seal: for who knows the group's key alone. It comes some time after the certificate.
    Seal,
}

/// What became of a transaction so far, as this validator knows it (replica.md §6).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(tag = "status", rename_all = "snake_case")]
pub enum TransactionStatus {
    /// This validator hasn't seen it.
    Unknown,
    /// In the mempool.
    Queued,
    /// In a vertex of this validator's.
    Proposed {
        /// The vertex's round.
        round: Round,
    },
    /// Executed here; not certified yet.
    Executed {
        /// The result.
        outcome: Outcome,
    },
    /// Executed, and a quorum vouched for the block.
    Certified {
        /// The result.
        outcome: Outcome,
    },
    /// It left the mempool without having been ordered, and can't be any more.
    Expired,
}

impl TransactionStatus {
    /// The result, once there is one.
    pub fn outcome(&self) -> Option<&Outcome> {
        match self {
            TransactionStatus::Executed { outcome } | TransactionStatus::Certified { outcome } => {
                Some(outcome)
            }
            _ => None,
        }
    }

    /// Whether a submission that waits for `wait` is answered by this.
    pub fn satisfies(&self, wait: Wait) -> bool {
        match wait {
            Wait::None => true,
            Wait::Executed => self.outcome().is_some() || *self == TransactionStatus::Expired,
            Wait::Certified => matches!(
                self,
                TransactionStatus::Certified { .. } | TransactionStatus::Expired
            ),
        }
    }
}

/// Answers a submission, and a question for a transaction's status.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TransactionAnswer {
    /// The transaction.
    pub transaction: TxId,
    /// What became of it so far.
    #[serde(flatten)]
    pub status: TransactionStatus,
}

/// A value, and when it was written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct WrittenValue {
    /// The height of the block that wrote it.
    pub written_at: Height,
    /// The value.
    pub value: Readable,
}

/// Answers a read without a proof.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct KeyAnswer {
    /// The namespace.
    pub namespace: Readable,
    /// The key.
    pub key: Readable,
    /// The version that was read.
    pub height: Height,
    /// The value at that height, or none.
    pub value: Option<WrittenValue>,
}

/// One version of a key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct KeyVersion {
    /// The height at which the key got this value, or lost it.
    pub height: Height,
    /// The value; none if the key was deleted.
    pub value: Option<Readable>,
}

/// A key's versions, newest first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct HistoryAnswer {
    /// The namespace.
    pub namespace: Readable,
    /// The key.
    pub key: Readable,
    /// As of this height.
    pub height: Height,
    /// The versions.
    pub versions: Vec<KeyVersion>,
    /// Where older ones begin: ask again with `at` of this height. None if these are all that are retained.
    pub next: Option<Height>,
}

/// One client's rights in a namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct GrantEntry {
    /// The client.
    pub client: ClientId,
    /// What it may do.
    pub right: Right,
}

/// A namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct NamespaceAnswer {
    /// Its name.
    pub namespace: Readable,
    /// As of this height.
    pub height: Height,
    /// Who made it; none for a system space, which nobody owns.
    pub owner: Option<ClientId>,
    /// Who else may do what.
    pub grants: Vec<GrantEntry>,
    /// How many keys it holds.
    pub keys: Option<u64>,
}

/// A page of a namespace's keys.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct KeysAnswer {
    /// The namespace.
    pub namespace: Readable,
    /// As of this height.
    pub height: Height,
    /// Keys, in the store's order.
    pub keys: Vec<Readable>,
    /// Ask again with `after` of this key; none if the page is the last.
    pub next: Option<Readable>,
}

/// A client's account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AccountAnswer {
    /// The client.
    pub client: ClientId,
    /// As of this height.
    pub height: Height,
    /// The key that acts for it now; none if there is no such account (yet).
    pub key: Option<ClientPublicKey>,
    /// Whether it may register clients on a closed chain.
    pub administrator: bool,
    /// The highest nonce executed; 0 for none.
    pub highest_nonce: Nonce,
    /// A nonce above all executed ones. Only a hint: what the client has in flight only the client knows.
    pub next_nonce: Nonce,
}

/// A head, and whose word there is for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct HeadAnswer {
    /// Its id.
    pub id: HeadId,
    /// The head.
    pub head: Head,
    /// A quorum's signatures over it. Not every height has one: a later certificate vouches for all before.
    pub certificate: Option<Certificate>,
    /// The group's signature over it, where there is one.
    pub seal: Option<Seal>,
}

/// A block in a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct BlockSummary {
    /// Its height.
    pub height: Height,
    /// Its head.
    pub head: HeadId,
    /// The commit that it executed.
    pub commit_index: CommitIndex,
    /// That commit's time.
    pub time: TimeMs,
    /// How many transactions it records.
    pub transactions: u32,
    /// How many of them were refused.
    pub refused: u32,
}

/// Blocks, by rising height.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct BlocksAnswer {
    /// The blocks.
    pub blocks: Vec<BlockSummary>,
    /// Ask again with `from` of this height; none if there are no more yet.
    pub next: Option<Height>,
}

/// A block with a page of its outcomes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct BlockAnswer {
    /// Its head.
    pub head: Head,
    /// The head's id.
    pub id: HeadId,
    /// Whether a quorum vouched for this height or one above.
    pub certified: bool,
    /// How many transactions it records.
    pub transactions: u32,
    /// What became of them: a page, in order.
    pub outcomes: Vec<Outcome>,
    /// Ask again with `from` of this index; none if the page is the last.
    pub next: Option<u32>,
}

/// The committee, with its arithmetic done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CommitteeAnswer {
    /// The digest that heads name it by.
    pub digest: Digest,
    /// The stake of all.
    pub total_stake: Stake,
    /// The stake of a quorum.
    pub quorum_stake: Stake,
    /// `f`: the most stake that may be faulty.
    pub fault_stake: Stake,
    /// The members and their keys.
    pub committee: Committee,
}

/// How a node is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct HealthAnswer {
    /// Whether it can take transactions and answer reads.
    pub healthy: bool,
    /// What keeps it from that.
    pub reasons: Vec<String>,
}

/// What a node is doing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct StatusAnswer {
    /// The version of the software.
    pub version: String,
    /// The chain's name.
    pub name: String,
    /// The chain.
    pub chain: ChainId,
    /// Which validator this is; none if it only follows.
    pub validator: Option<ValidatorIndex>,
    /// How many validators there are.
    pub validators: u32,
    /// The epoch.
    pub epoch: Epoch,
    /// The round of the newest own vertex.
    pub round: Round,
    /// Length of the commit log.
    pub commit_index: CommitIndex,
    /// The newest height executed here.
    pub height: Height,
    /// The newest height with a certificate.
    pub certified_height: Height,
    /// The newest height with a seal.
    pub sealed_height: Height,
    /// Transactions in the mempool.
    pub mempool_count: u64,
    /// Bytes of them.
    pub mempool_bytes: u64,
    /// Validators that this one is connected to.
    pub peers: Vec<ValidatorIndex>,
    /// Why it may have signed what it doesn't know of any more, if it may: it follows and serves, and makes no vertices
    /// until the next epoch, or until the others have told it enough.
    #[serde(default)]
    pub amnesia: Option<Amnesia>,
    /// If it asks the others what it lost: how much of them has told.
    #[serde(default)]
    pub rejoining: Option<RejoinProgress>,
}

/// Why a validator may have signed what it doesn't know of any more (consensus.md §9).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Amnesia {
    /// Its journal was gone when it started. If it is configured to, it asks the others, and comes back by a quorum's
    /// word.
    Lost,
    /// Its journal turned out to lack a vertex made with its key: it was put back from a copy, or lost its end, or
    /// another process uses the key. No quorum's word helps: whatever the cause is may go on.
    Broken,
}

/// How far a validator that lost its journal is with asking the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RejoinProgress {
    /// The stake of those whose answers count.
    pub heard: u64,
    /// The stake that is needed.
    pub needed: u64,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Refusal;

    fn outcome() -> Outcome {
        Outcome {
            height: Height(7),
            index: 2,
            transaction: TxId(Digest([1; 32])),
            refused: Some((Some(0), Refusal::ConditionFailed)),
        }
    }

    #[test]
    fn the_json_of_a_status_is_flat() {
        let answer = TransactionAnswer {
            transaction: TxId(Digest([1; 32])),
            status: TransactionStatus::Certified { outcome: outcome() },
        };
        let id = "01".repeat(32);
        let json = serde_json::to_value(&answer).unwrap();
        let expected = serde_json::json!({
            "transaction": id,
            "status": "certified",
            "outcome": {
                "height": 7, "index": 2, "transaction": id,
                "refused": [0, "condition_failed"],
            },
        });
        assert_eq!(json, expected);
        assert_eq!(
            serde_json::from_value::<TransactionAnswer>(json).unwrap(),
            answer
        );
    }

    #[test]
    fn a_submission_waits_for_as_much_as_it_asked_for_and_no_longer_than_expiry() {
        use TransactionStatus::*;
        let executed = Executed { outcome: outcome() };
        let certified = Certified { outcome: outcome() };
        let table = [
            (Unknown, [true, false, false]),
            (Queued, [true, false, false]),
            (Proposed { round: Round(1) }, [true, false, false]),
            (executed, [true, true, false]),
            (certified, [true, true, true]),
            (Expired, [true, true, true]),
        ];
        for (status, expected) in table {
            let found =
                [Wait::None, Wait::Executed, Wait::Certified].map(|wait| status.satisfies(wait));
            assert_eq!(found, expected, "{status:?}");
        }
    }
}
