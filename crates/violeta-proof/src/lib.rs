//! All that convinces a Violeta client: tree proofs, heads, certificates, seals, history proofs. It
//! verifies them, and makes proofs of many keys from trees that others hold and show.
//!
//! ```text
//!   key, value or absence ── tree ──▶ state root ┐         of one key, of many, of a range, of what changed
//!   transaction's result ── path ─▶ results root ┼── head ──▶ certificate or seal ──▶ trust: a committee,
//!   older head ──────────── path ─▶ history root ┘                                     or a group's key
//! ```
//!
//! A proof is a plain value with one canonical encoding (borsh) and a JSON form for people. Verifying one needs no
//! store, no network and no clock, allocates no more than the proof's own length, and doesn't panic, whatever the bytes
//! (replica.md §7, vlsm.md §6). What was verified has a type of its own ([`TrustedHead`], …) that nothing else makes.
//! What fails is named: see [`ProofError`].

pub mod changes_proof;
pub mod entries_proof;
pub mod error;
pub mod head;
pub mod head_proof;
pub mod history;
mod json;
pub mod key_proof;
pub mod outcome_proof;
pub mod stored_value;
#[cfg(test)]
mod testing;
pub mod tree;
pub mod trust;
pub mod values_proof;

pub use changes_proof::{ChangedEntry, ChangesProof, VerifiedChanges};
pub use entries_proof::{EntriesProof, Entry, VerifiedEntries};
pub use error::ProofError;
pub use head::{
    TrustedHead, Vouch, Vouchers, check_attestation, check_certificate, check_seal,
    check_seal_with_key,
};
pub use head_proof::{HeadProof, Vouched};
pub use history::{HistoryPath, Successor, Word};
pub use key_proof::{KeyProof, VerifiedAnswer};
pub use outcome_proof::{OutcomeProof, VerifiedOutcome};
pub use stored_value::StoredValue;
pub use tree::{
    ChangeProof, Chunk, MultiProof, PartialTreeError, RangeProof, TreeProof, TreeProofError,
    VerifiedChunk,
};
pub use trust::Trust;
pub use values_proof::{KeyClaim, ValuesProof};
