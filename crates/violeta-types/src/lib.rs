//! What every message and every proof of Violeta is made of.
//!
//! ```text
//!  digest ── hashing with one domain a purpose          ids ── numbers that can't be mixed up
//!     │                                                  │
//!  codec ── one strict encoding (borsh, bounded)        keys ── public keys and signatures by purpose
//!     │                                                  │
//!     ├── transaction ─▶ payload ─▶ vertex ─▶ commit ─▶ head ─▶ certificate
//!     │                      (merkle roots bind each to the next)
//!     └── committee, genesis, limits          api ── what gateway and client say to each other
//! ```
//!
//! No I/O, no clock, no keys that sign: this crate says what bytes mean and what is hashed or signed, never whether
//! a signature is good (`violeta-crypto`) or a proof convinces (`violeta-proof`).
//!
//! **Encoding.** Everything signed, hashed, stored or sent between validators is [borsh](https://borsh.io) with these
//! additions: every sequence has a bound that is checked before anything is allocated ([`Bounded`], [`Blob`]), and
//! [`codec::decode`] refuses trailing bytes. Each value has exactly one encoding.

pub mod api;
pub mod codec;
pub mod commit;
pub mod committee;
pub mod digest;
pub mod genesis;
pub mod head;
pub mod ids;
pub mod keys;
mod lanes;
pub mod limits;
pub mod merkle;
#[cfg(feature = "openapi")]
mod openapi;
pub mod payload;
pub mod seeded;
pub mod transaction;
pub mod vertex;

pub use codec::{Blob, Bounded, DecodeError, decode, encode};
pub use commit::Commit;
pub use committee::{Committee, CommitteeError, Member, StakeTally};
pub use digest::{Digest, Domain};
pub use genesis::{Admission, Election, Genesis, Parameters};
pub use head::{Attestation, Certificate, CertifiedHead, Head, HeadId, Seal};
pub use ids::{
    ChainId, ClientId, CommitIndex, Epoch, Height, Nonce, Round, Stake, TimeMs, TxId,
    ValidatorIndex,
};
pub use keys::{
    ClientPublicKey, ClientSignature, GroupPublicKey, NodePublicKey, OperatorPublicKey,
    OperatorSignature, SharePublicKey, ThresholdShare, ThresholdSignature, ValidatorPublicKey,
    ValidatorSignature,
};
pub use payload::{Item, Payload, PayloadCommitment};
pub use transaction::{Operation, Outcome, Refusal, Transaction, TransactionBody};
pub use vertex::{SignedHeader, Vertex, VertexHeader, VertexId, VertexRef};
