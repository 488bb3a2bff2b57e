//! The sans-I/O whole of a validator: mempool, consensus, commit log, machine, attestations, catch-up.
//!
//! ```text
//!   Input                          ┌────────────────── Replica ──────────────────┐                     Output
//!   Submit ──────▶ check (job) ──▶ │ mempool ──▶ proposal ─┐                     │
//!   Message ─────▶ check (job) ──▶ │             consensus core ──▶ commit log ──│──▶ Append, Sync ──▶ journal
//!   Synced  ─────────────────────▶ │                ▲          handover ─────────│──▶ Machine(Commit)
//!   Machine ─────────────────────▶ │ attestations ──┘ certified heads            │──▶ Send, Notice
//!                                  └─────────────────────────────────────────────┘
//! ```
//!
//! The shell (or the simulator) owns sockets, files, threads and the clock. It feeds [`Input`]s with the time to
//! [`Replica::handle`] and carries out each [`Output`] that [`Replica::poll`] gives, in order. Expensive pure work
//! leaves as a [`Job`] and comes back as [`JobDone`]: any thread may run it.
//!
//! **Order of persistence** (replica.md §3). The journal is one sequence; [`Output::Append`] and [`Output::Sync`]
//! follow it. An own vertex is appended after every vertex that it references, and leaves only once a sync has covered
//! it. An attestation leaves only when the machine's version is durable, and a sync has covered the commit's record.

pub mod attestations;
pub mod catch_up;
pub mod commit_log;
#[cfg(test)]
mod fixture;
pub mod handover;
pub mod io;
pub mod job;
pub mod limits;
pub mod machine;
pub mod mempool;
pub mod message;
pub mod provision;
pub mod record;
pub mod replica;
mod restart;
pub mod submissions;

pub use io::{Input, LoadRequest, Loaded, LoadedCommit, Notice, Output, SubmitError};
pub use job::{Job, JobDone, Workshop};
pub use machine::{Block, Effect, Event, Machine, NotAdmitted, OrderedCommit, Position, Ticket};
pub use message::Message;
pub use provision::{Provision, Rejoin};
pub use record::{Record, RecordKind};
pub use replica::{Identity, Replica, ReplicaError, Setup, Status};
pub use violeta_consensus::{ItemMeta, Now, Rejection, RejoinNonce, Rejoining, Rules};
