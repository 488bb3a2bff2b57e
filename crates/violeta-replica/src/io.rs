//! What goes into a replica, and what comes out.

use std::sync::Arc;

use bytes::Bytes;
use violeta_types::{
    CertifiedHead, Commit, CommitIndex, Digest, Round, Seal, TxId, ValidatorIndex, VertexRef,
};

use crate::job::{Job, JobDone};
use crate::machine::{Block, Effect, Event, Ticket};
use crate::message::{Answer, Question};
use crate::record::Record;

/// What a replica is told.
#[derive(Clone, Debug)]
pub enum Input {
    /// A connection to this validator is up: messages may be sent.
    PeerUp(ValidatorIndex),
    /// It is down; what was sent may be lost.
    PeerDown(ValidatorIndex),
    /// A message came. The shell has made sure who sent it, and that it is within `limits::MESSAGE_BYTES_MAX`.
    Message {
        /// Who sent it.
        from: ValidatorIndex,
        /// The encoded [`Message`](crate::Message).
        bytes: Bytes,
    },
    /// A client wants these items ordered. Answered by [`Notice::Submitted`].
    Submit {
        /// Names the request.
        ticket: Ticket,
        /// The items' contents: to the Database machine, encoded transactions.
        items: Vec<Bytes>,
    },
    /// A job has run.
    JobDone(JobDone),
    /// The journal is durable up to and with this mark ([`Output::Sync`]).
    Synced {
        /// The mark.
        mark: u64,
    },
    /// The machine says something.
    Machine(Effect),
    /// What was asked with [`Output::Load`].
    Loaded(Loaded),
    /// Time has passed: given when `Replica::next_wakeup` has come.
    Tick,
}

/// What a replica asks of the shell. To be carried out in order.
#[derive(Clone, Debug)]
pub enum Output {
    /// Send these bytes to a validator; drop them if there is no connection or its queue is full.
    Send {
        /// To whom.
        to: ValidatorIndex,
        /// The encoded message.
        bytes: Bytes,
    },
    /// Append to the journal, after all that was appended before.
    Append(Record),
    /// Sync the journal and answer with [`Input::Synced`]. A later mark covers earlier ones: several may be answered
    /// as one, by the highest.
    Sync {
        /// Names the place; marks rise.
        mark: u64,
    },
    /// Run this somewhere and answer with [`Input::JobDone`].
    Job(Job),
    /// Give this to the machine.
    Machine(Event),
    /// Read from the journal and answer with [`Input::Loaded`].
    Load(LoadRequest),
    /// Close the connection to this validator and refuse it for a while: it sent what no honest one sends.
    Refuse {
        /// Whom.
        peer: ValidatorIndex,
        /// Why, for the log.
        reason: String,
    },
    /// Something that clients and operators may want to know.
    Notice(Notice),
    /// The replica can't go on. Stop the process; the reason says what to do.
    Halt(String),
}

/// What is to be read back from the journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LoadRequest {
    /// For the machine: commits after `after`, about `bytes_max` bytes of them, at least one if there is one.
    ForMachine {
        /// The last commit that isn't wanted.
        after: CommitIndex,
        /// When to stop.
        bytes_max: usize,
    },
    /// For a validator that catches up: what [`answer`](crate::catch_up::serve::answer) says.
    ForPeer {
        /// Who asked.
        peer: ValidatorIndex,
        /// What.
        question: Question,
    },
    /// Accepted vertices, for a peer, that the core no longer holds whole. What isn't found is left out.
    Vertices {
        /// Which.
        references: Vec<VertexRef>,
        /// For whom.
        peer: ValidatorIndex,
    },
}

/// A commit read back from the journal.
#[derive(Clone, Debug)]
pub struct LoadedCommit {
    /// The record.
    pub commit: Commit,
    /// Its vertices, encoded, in the record's order.
    pub vertices: Vec<Bytes>,
}

/// The answer to a [`LoadRequest`].
#[derive(Clone, Debug)]
pub struct Loaded {
    /// What was asked.
    pub request: LoadRequest,
    /// The commits, in order, without gaps, the first after `after`.
    pub commits: Vec<LoadedCommit>,
    /// For a peer that catches up: the answer; none if the journal can't be read.
    pub answer: Option<Answer>,
    /// The vertices that were asked for by name, encoded.
    pub vertices: Vec<Bytes>,
}

/// Why an item wasn't taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SubmitError {
    /// It is not well formed, or its signature is wrong: it will never be taken.
    #[error("not a valid transaction: {0}")]
    Invalid(String),
    /// The machine says that it would have no effect now.
    #[error("{0}")]
    NotAdmitted(String),
    /// The mempool is full, or the replica lags.
    #[error("overloaded: {what}; try again in {retry_ms} ms")]
    Overloaded {
        /// What is full.
        what: &'static str,
        /// When trying again makes sense.
        retry_ms: u64,
    },
    /// This replica takes no transactions: it isn't a validator, or lost its memory.
    #[error("this replica only follows; submit to a validator")]
    OnlyFollows,
}

/// News from a replica.
#[derive(Clone, Debug)]
pub enum Notice {
    /// Answers [`Input::Submit`], item by item. A taken item is queued; resubmitting one that is queued is no error.
    Submitted {
        /// The request.
        ticket: Ticket,
        /// The verdicts, in the request's order.
        verdicts: Vec<Result<TxId, SubmitError>>,
    },
    /// An own vertex carries these.
    Proposed {
        /// The vertex.
        vertex: VertexRef,
        /// The transactions in it.
        transactions: Vec<TxId>,
    },
    /// These left the mempool without being ordered: they have expired.
    Expired(Vec<TxId>),
    /// The log has grown.
    Committed {
        /// The record.
        commit: Arc<Commit>,
        /// Its digest.
        digest: Digest,
    },
    /// A block was executed here. Not certified yet.
    Executed(Arc<Block>),
    /// A head has its certificate. May skip heights: a certificate vouches for all before.
    Certified(Arc<CertifiedHead>),
    /// A head has its seal. Skips heights.
    Sealed(Seal),
    /// This validator had lost its journal; a quorum has told it how far it may have got, and it makes vertices again.
    Rejoined {
        /// Only of rounds above this one.
        floor: Round,
    },
    /// A validator was caught lying: two vertices in one slot, or two heads at one height.
    Evidence {
        /// Who.
        validator: ValidatorIndex,
        /// What, for people.
        what: String,
    },
}
