//! The seam between the replica and what it replicates.
//!
//! ```text
//!              Check · Commit · Certified · Flush
//!   replica ───────────────────────────────────────▶ machine ──▶ store (through `Disk`)
//!           ◀───────────────────────────────────────
//!              Checked · Block · Applied · Durable · Order · Pending · Halt
//! ```
//!
//! The replica doesn't own the machine: it emits events for it and takes its effects as inputs. The shell runs the
//! machine on a thread of its own behind a bounded queue; the simulator runs it with modelled delay. Reads go through
//! the machine's own snapshots, not through this trait.
//!
//! What the replica promises: commits come in order of index, without gaps, each once after
//! [`Position::commit_index`], over restarts too. What a machine promises: the same commits give the same effects,
//! bit for bit, on every replica.

use std::fmt;
use std::sync::Arc;

use borsh::{BorshDeserialize, BorshSerialize};
use bytes::Bytes;
use violeta_consensus::{ItemMeta, Rules};
use violeta_types::{Bounded, Commit, CommitIndex, Digest, Head, HeadId, Height, Item, Outcome};

use crate::limits::BLOCK_OUTCOMES_MAX;

/// How far a machine has got, durably: what it needs no commit for any more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Position {
    /// The last commit executed; 0 for none.
    pub commit_index: CommitIndex,
    /// Its digest; zero for none. Compared with the log's: a machine fed from another log is refused.
    pub commit_digest: Digest,
    /// The last block's height; 0 for none.
    pub height: Height,
    /// The last block's head; zero for none.
    pub head: HeadId,
}

/// One commit, ready to execute.
#[derive(Clone, Debug)]
pub struct OrderedCommit {
    /// The record in the log.
    pub commit: Commit,
    /// The record's digest.
    pub digest: Digest,
    /// The payload items of all its vertices, in order. Each was judged well formed by [`Rules`].
    pub items: Vec<Item>,
}

/// Names a request of the replica's, so that the answer finds it.
pub type Ticket = u64;

/// Why a machine won't take an item now, though it is well formed: for the client's eyes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotAdmitted(pub String);

impl fmt::Display for NotAdmitted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a machine is told.
#[derive(Clone, Debug)]
pub enum Event {
    /// Would these items, well formed and not yet ordered, have an effect as far as the machine has got? Answered by
    /// [`Effect::Checked`]. A courtesy to clients: execution judges again.
    Check {
        /// Names the request.
        ticket: Ticket,
        /// The items with what [`Rules`] said of them.
        items: Vec<(Bytes, ItemMeta)>,
    },
    /// Execute this commit: answered by [`Effect::Block`] if it makes a block, and always by [`Effect::Applied`].
    Commit(Arc<OrderedCommit>),
    /// The head at this height has a certificate: reads of it may be called certified.
    Certified {
        /// The height.
        height: Height,
    },
    /// Make durable what has been executed: answered by [`Effect::Durable`]. One is outstanding at a time, so several
    /// commits share one sync.
    Flush,
}

/// A block: what the machine made of a commit.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Block {
    /// The head, the same on every replica.
    pub head: Head,
    /// What became of each recorded transaction, in order.
    pub outcomes: Bounded<Outcome, BLOCK_OUTCOMES_MAX>,
}

/// What a machine says.
#[derive(Clone, Debug)]
pub enum Effect {
    /// Answers [`Event::Check`], item by item.
    Checked {
        /// The request.
        ticket: Ticket,
        /// The verdicts, in the request's order.
        verdicts: Vec<Result<(), NotAdmitted>>,
    },
    /// A commit made a block. Its root is known; it isn't durable yet.
    Block(Arc<Block>),
    /// A commit was executed, block or not.
    Applied {
        /// Which.
        commit_index: CommitIndex,
    },
    /// All up to here is durable: attestations may leave.
    Durable(Position),
    /// A system item that the machine wants ordered.
    Order(Bytes),
    /// Whether the machine waits for further commits though no payload waits (a cut, an epoch's change).
    Pending(bool),
    /// The machine can't go on; the replica stops. Says what happened and what to do.
    Halt(String),
}

/// A deterministic state machine driven by the commit log. It computes, and writes through `Disk`; it never waits.
pub trait Machine: Send {
    /// Judges items by their bytes and the genesis data alone.
    fn rules(&self) -> Arc<dyn Rules>;

    /// How far it has got, durably.
    fn position(&self) -> Position;

    /// Takes an event. What it leads to is polled.
    fn handle(&mut self, event: Event);

    /// The next effect, in order; none when all have been taken.
    fn poll(&mut self) -> Option<Effect>;
}
