//! Signatures, the coin and the seal of Violeta.
//!
//! ```text
//!  validator key ──▶ vertices, attestations ┐
//!  client key ─────▶ transactions, rotation ├─ signing ── ed25519 (ZIP-215): single, or in batches
//!  operator key ───▶ committee changes      ┘
//!
//!  share keys ──┬──▶ coin of a round ┐
//!  (one for     │                    ├─ threshold ── BLS12-381, or a hash mock for simulations
//!   each member)└──▶ seal of a head  ┘
//! ```
//!
//! What is signed always begins with what it is signed *for*: a signature made for one purpose verifies for no other,
//! and keys of different kinds have different types (replica.md §2). `violeta-types` has the bytes of keys and
//! signatures; whether they are points on a curve, and whether a signature is good, is said here and only here.
//!
//! Sans-I/O and deterministic: no clock, no thread and no source of randomness. Seeds of keys come from the caller;
//! the coefficients of batched checks are derived from what is checked (the head of `ed25519.rs` says why that is
//! sound). Nothing is cached.

mod ed25519;
pub mod signing;
pub mod threshold;

pub use signing::{BadSignature, ClientSecretKey, OperatorSecretKey, ValidatorSecretKey};
pub use threshold::{
    BlsThreshold, Combined, Dealing, MockThreshold, ShareSecretKey, ShareSigner, Threshold,
    ThresholdError, ThresholdMessage, deal,
};
