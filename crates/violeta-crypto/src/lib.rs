//! Signatures, the coin and the seal of Violeta.
//!
//! ```text
//!  validator key ──▶ vertices, attestations ┐
//!  client key ─────▶ transactions, rotation ├─ signing ── ed25519 (ZIP-215): single, or in batches
//!  operator key ───▶ committee changes      ┘
//! ```
//!
//! What is signed always begins with what it is signed *for*: a signature made for one purpose verifies for no other,
//! and keys of different kinds have different types (replica.md §2). `violeta-types` has the bytes of keys and
//! signatures; whether they are points on a curve, and whether a signature is good, is said here and only here.
//!
//! Sans-I/O and deterministic: no clock, no thread and no source of randomness. Seeds of keys come from the caller;
//! the coefficients of batched checks are derived from what is checked (`ed25519` says why that is sound).
//! Nothing is cached.

mod ed25519;
pub mod signing;

pub use signing::{BadSignature, ClientSecretKey, OperatorSecretKey, ValidatorSecretKey};
