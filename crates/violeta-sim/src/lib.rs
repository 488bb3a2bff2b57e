//! The simulated world: whole validators, a network, disks and clocks that fail, liars, and checkers that see it.
//!
//! ```text
//!   seed ──▶ plan ──▶ world ┬ validators: replica + Database machine + store + journal, as they ship
//!   (every range             ├ network, scheduler: delay, loss, duplicates, reordering, partitions, starvation
//!    drawn once)             ├ faults: losses of power with torn writes, skewed clocks, slow disks
//!                            ├ liars, at most f: silent, withholding, equivocating, stuffing, …
//!                            └ clients: over a small key space, insisting where they aren't heard
//!                                  │
//!                                  ▼ everything that honest validators do
//!                               checkers ──▶ Report: clean, or the property that broke and how to see it again
//! ```
//!
//! A world is a function of its seed and its [`Options`]: it runs in virtual time, without a clock, a thread or an
//! unordered map, and ends with a digest of everything that happened. First anything may fail, and safety must hold;
//! then all heals, and everything that honest validators were given must be committed, everywhere, in bounded time;
//! then nothing is wanted any more, and it must fall quiet. (The idea of one seed a world, of drawing every range once a
//! seed, and of safety before healing and liveness after it is that of FoundationDB's and TigerBeetle's simulators.)
//!
//! ```
//! use violeta_sim::{Options, run_seed};
//!
//! let report = run_seed(7, &Options { virtual_seconds: 1, ..Options::default() });
//! assert!(report.is_clean(), "{}", report.failure.unwrap());
//! ```
//!
//! Many seeds: `cargo run --release -p violeta-sim --example seeds -- 0..2000`. One of them, line by line:
//! `… -- 17 --trace`.
//!
//! **What is mocked.** Coin and seal are a hash with the threshold's arithmetic (`MockThreshold`); vertices are judged once a
//! world, since judging is pure. All else is what ships.
//!
//! **What isn't simulated.** Bytes changed on the way (TLS is the shell's), the shell itself, disks that lose what was
//! synced (bit rot is the journal's and store's own to test; a whole disk is lost by the amnesiac, which counts among the
//! liars), changes of committee.

mod adversaries;
mod cast;
mod checkers;
mod clock;
mod content;
mod dice;
mod event;
mod faults;
mod marks;
mod memo;
mod network;
mod options;
mod plan;
mod process;
mod run;
mod scheduler;
mod storage;
mod trace;
mod workload;
mod world;

pub use adversaries::Lie;
pub use checkers::{Property, Violation};
pub use dice::Dice;
pub use marks::{Mark, Marks};
pub use network::{LINK_BYTES_MAX, LINK_MESSAGES_MAX, NetworkStats};
pub use options::{BadOptions, Options};
pub use run::{Failure, Report, Stats, Summary, run_seed, run_seeds, trace_seed};
pub use trace::Sink;
