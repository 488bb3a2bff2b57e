//! Asynchronous Byzantine agreement over a hash graph of signed vertices, sans I/O.
//!
//! ```text
//!   bytes from peers                      [`Event`]                                [`Effect`]
//!        │                                    │                                        ▲
//!        ▼                                    ▼                                        │
//!   check_vertex ──▶ ValidVertex ──▶ ┌────────────────────── Core ─────────────────────┴──┐
//!   (pure, any                       │ suspended ─▶ graph ─▶ decision ─▶ lineariser ─▶ commits
//!    thread)                         │     ▲          │                                   │
//!                                    │ synchroniser   └─▶ producer ─▶ proposals           │
//!                                    └────────────────────────────────────────────────────┘
//! ```
//!
//! The protocol is specified in consensus.md; each module's head says which sections it implements and how. No clock,
//! socket, thread or random source: events come in with the time, effects go out, and the same events give the same
//! effects, bit for bit.

mod bucket;
mod coin;
pub mod core;
pub mod decision;
pub mod epoch;
pub mod evidence;
mod fetch;
mod graph;
pub mod io;
mod layers;
pub mod leaders;
pub mod limits;
mod lineariser;
pub mod message;
pub mod rules;
mod suspended;
pub mod tuning;
pub mod vertex;

#[cfg(test)]
mod fixture;

pub use self::core::{Core, LastCommit, Rejoining, RestoreError};
pub use decision::DecisionCounts;
pub use epoch::EpochData;
pub use evidence::{Evidence, UncheckedEvidence};
pub use io::{
    BehindReason, CoinShares, CombinedCoin, CommittedCone, Effect, Event, Misbehaviour, Now,
    Proposal,
};
pub use message::{Frontier, Message, RejoinAnswer, RejoinNonce, Request};
pub use rules::{ItemMeta, Rejection, Rules};
pub use tuning::Tuning;
pub use vertex::{Invalid, ValidVertex, check_vertex, trust_vertex};
