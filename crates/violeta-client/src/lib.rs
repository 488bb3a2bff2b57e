//! The Violeta client: submits, intervenes, reads, verifies (replica.md §8).
//!
//! ```text
//!              ┌─ nonces: file locked and synced before a signature leaves
//!   put, … ─▶ sign ─▶ nearest validator ──── silence ───▶ more validators, same bytes, until their stake exceeds f
//!                          │                                        │
//!                          ▼                                        ▼
//!                     outcome proof ─▶ Trust::verify ─▶ Receipt     a lie: Incident, and on to the next
//!
//!   get ─────▶ nearest validator ─▶ key proof ─▶ Trust::verify ─▶ asked for? new enough? ─▶ value
//! ```
//!
//! What the client believes is what verifies against its [`Trust`]: a committee's keys, or the group's. A gateway can
//! refuse, stall or lie; it can't make this client take a wrong answer. An answer that doesn't verify names the
//! validator and the part that failed, and is kept as an [`Incident`]; the client goes on with the next validator.
//!
//! **Exactly once.** A transaction is sent as the same bytes to however many validators; nonces see to it that it is
//! executed once at the most (replica.md §1). No nonce is signed twice, whatever crashes ([`nonces`]). When a
//! transaction comes to nothing, that is *proved* before the client says so: [`ClientError::Expired`] means that a
//! certified state after its expiry shows its nonce unspent; [`ClientError::Unresolved`] that it isn't known yet.
//!
//! **What is not proved.** Statuses, events and [`Client::keys`] are a validator's word; the module and method docs say
//! which answers are proved. [`Client::entries`] lists a namespace with proof.

mod account;
mod asks;
mod beginning;
mod client;
mod error;
mod events;
mod history;
mod http;
mod incident;
pub mod keys;
mod latency;
pub mod limits;
mod many;
pub mod nonces;
mod read;
mod roster;
mod submit;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod transaction;

pub use client::{Client, ClientConfig, Endpoint};
pub use error::{Attempt, ClientError};
pub use events::EventStream;
pub use history::Entry;
pub use incident::{Incident, Part};
pub use many::{ProvedChanges, ProvedEntries, ProvedValues};
pub use read::{At, Proved};
pub use submit::{Pending, Receipt};
pub use transaction::Operations;

pub use violeta_proof::Trust;
