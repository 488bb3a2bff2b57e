//! What goes into the core and what comes out of it.

use violeta_types::{
    Commit, CommitIndex, Digest, Round, ThresholdShare, ThresholdSignature, TimeMs, ValidatorIndex,
    VertexRef,
};

use crate::evidence::Evidence;
use crate::message::Message;
use crate::vertex::ValidVertex;

/// The time, as it comes in. Nothing here reads a clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// Of a clock that never goes back.
    pub monotonic_us: u64,
    /// Of the wall clock: for timestamps only.
    pub wall: TimeMs,
}

/// Something happened.
#[derive(Clone, Debug)]
pub enum Event {
    /// A valid vertex came from a peer.
    Vertex {
        /// Who sent it (its author or not).
        from: ValidatorIndex,
        /// The vertex.
        vertex: ValidVertex,
    },
    /// A message came from a peer. [`Message::Vertices`] never comes here: its vertices are judged outside, and each
    /// comes as [`Event::Vertex`].
    Message {
        /// Who sent it.
        from: ValidatorIndex,
        /// The message.
        message: Message,
    },
    /// A peer can be reached (again).
    PeerUp(ValidatorIndex),
    /// A peer can't be reached any more.
    PeerDown(ValidatorIndex),
    /// A peer sent bytes that aren't valid: what it said is forgotten, what waits because of it is dropped.
    PeerInvalid(ValidatorIndex),
    /// What waits to be ordered. Says how it is now; the last word counts.
    Wants {
        /// Own payload or system items wait.
        payload: bool,
        /// The machine has pending work (a cut, an epoch change).
        pending: bool,
    },
    /// The answer to [`Effect::Propose`]: the vertex, signed.
    OwnVertex {
        /// The vertex.
        vertex: ValidVertex,
    },
    /// The own vertex and all that was to be persisted before it are durable: it may leave.
    OwnDurable {
        /// The vertex.
        reference: VertexRef,
    },
    /// What came of an [`Effect::CombineCoins`]: all of it at once, so that the rounds whose shares were bad go together
    /// again.
    Coins(Vec<CombinedCoin>),
    /// The newest certified head. Also right after a restart: until it is known, certificates are taken to lag.
    Certified {
        /// The round of its commit's leader.
        leader_round: Round,
        /// Its commit.
        commit_index: CommitIndex,
    },
    /// Commits up to a certified head, consecutive, the hash chain checked by the caller, each with those of its
    /// vertices that the caller has. They are taken without the decision rule, and answered with [`Effect::Persist`]
    /// for each vertex that is new, not with [`Effect::Commit`]. They may leave out commits after the last own one
    /// only if their first leader lies at or below gc as their last leader sets it, or is the epoch's first: what is
    /// committed above gc must be known.
    Adopt {
        /// The commits, by rising index.
        commits: Vec<(Commit, Vec<ValidVertex>)>,
    },
    /// The floor that [`Effect::Rejoin`] gave out is durable.
    Rejoined {
        /// The floor.
        floor: Round,
    },
    /// Time passed.
    Tick,
}

/// Something is to be done, in the order given out.
#[derive(Clone, Debug)]
pub enum Effect {
    /// Make this vertex, sign it, and answer with [`Event::OwnVertex`]. At most one is outstanding; it is never
    /// withdrawn, and may be answered at any later time.
    Propose(Proposal),
    /// Send to one peer.
    Send {
        /// The peer.
        to: ValidatorIndex,
        /// The message.
        message: Message,
    },
    /// Send to every peer that can be reached.
    Broadcast(Message),
    /// Send these vertices, which the core no longer holds whole, from the journal, as [`Message::Vertices`].
    SendStored {
        /// The peer.
        to: ValidatorIndex,
        /// The vertices, lowest round first.
        references: Vec<VertexRef>,
    },
    /// A vertex was accepted: append it to the journal before anything that builds on it.
    Persist(ValidVertex),
    /// An equivocation was proved: append it to the journal.
    PersistEvidence(Evidence),
    /// Combine these shares to the coins of their rounds, lowest first; answer with one [`Event::Coins`].
    CombineCoins(Vec<CoinShares>),
    /// A commit.
    Commit(CommittedCone),
    /// A validator equivocated: for the machine. Given out once for each author and epoch.
    Equivocation(Evidence),
    /// Own vertices that fell under gc uncommitted: their items go back to the mempool.
    Returned(Vec<ValidVertex>),
    /// A peer broke the protocol.
    Misbehaved {
        /// The peer.
        peer: ValidatorIndex,
        /// How.
        reason: Misbehaviour,
    },
    /// The graph alone doesn't lead on from here: catch up by commits (replica.md §4b).
    Behind {
        /// The last commit of one's own.
        commit: CommitIndex,
        /// Why.
        reason: BehindReason,
    },
    /// A certified commit isn't the one that this validator made at the same place: more than f are faulty, or there
    /// is a bug. Nothing of what was offered was taken; stop, and keep what there is.
    Forked(CommitIndex),
    /// A valid own vertex came back that the journal doesn't know: the store has been lost or torn, or the key is in
    /// other hands. No vertex is made any more in this epoch (consensus.md §9).
    Amnesia(VertexRef),
    /// A quorum has told how far the lives may have got that the journal has lost. Append it to the journal, sync, and
    /// answer with [`Event::Rejoined`]: until then nothing is made.
    Rejoin {
        /// No round above it has been used.
        floor: Round,
    },
}

/// What came of combining a coin's shares.
#[derive(Clone, Debug)]
pub struct CombinedCoin {
    /// The round whose leaders it elects.
    pub round: Round,
    /// The coin, verified; without it other shares are tried.
    pub signature: Option<ThresholdSignature>,
    /// Whose share, out of those given out, was bad.
    pub bad: Vec<ValidatorIndex>,
}

/// Shares that may make the coin of a round.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CoinShares {
    /// The round whose leaders the coin elects.
    pub round: Round,
    /// A threshold of shares, unchecked, one an author.
    pub shares: Vec<(ValidatorIndex, ThresholdShare)>,
}

/// A vertex to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proposal {
    /// Its round.
    pub round: Round,
    /// Its parents, in this order.
    pub parents: Vec<VertexRef>,
    /// The round whose coin it holds a share of; none if no share is due.
    pub coin_share: Option<Round>,
    /// Whether the author is ready to end the epoch.
    pub end_mark: bool,
    /// Its timestamp.
    pub timestamp: TimeMs,
    /// Whether it may carry client payload: not while certificates lag by more than `G` rounds (consensus.md §6).
    pub payload: bool,
}

/// A commit with its vertices.
#[derive(Clone, Debug)]
pub struct CommittedCone {
    /// The commit.
    pub commit: Commit,
    /// Its digest.
    pub digest: Digest,
    /// Its vertices, in commit order.
    pub vertices: Vec<ValidVertex>,
}

/// How a peer broke the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Misbehaviour {
    /// See the message.
    #[error("it sent evidence that proves nothing")]
    BadEvidence,
    /// See the message.
    #[error("it sent a frontier of another committee's size")]
    BadFrontier,
    /// See the message.
    #[error(
        "it answered, to who had lost its journal, with vertices of others than the two of them"
    )]
    BadRejoinAnswer,
}

/// Why the graph doesn't lead on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BehindReason {
    /// See the message.
    #[error("peers no longer hold the vertices that are missing")]
    Pruned,
    /// See the message.
    #[error("the commits offered leave a gap behind them")]
    Gap,
}
