//! From blocks to heads, and back from a store to its newest head.
//!
//! ```text
//!   state of block h = …changes… ‖ _history/"block": BlockRecord ─────┐ all of head h
//!                        │                                            │ but its state root
//!                        ▼                                            ▼
//!                   state_root(h) ───────────────────────────────▶ Head h ──▶ HeadId h
//!                                                                              │ leaf h−1
//!   BlockRecord of h+1: peaks over heads 1 … h  ◀──────────────────────────────┘
//! ```
//!
//! There is no circle: the record in the state of block h holds the peaks over the heads *before* h (h − 1 of them,
//! whose root is head h's `history_root`), and a head holds the state root, never the other way round. So a store at
//! version h says all of head h by itself: the record, and the version's own root. That makes the machine's position
//! atomic with its state (one version, one record in the log) and lets a joiner go on from a snapshot.
//!
//! The position is that of the last commit that made a block. Commits since then made none, so they changed nothing;
//! after a restart they are executed again, with the same result: nothing (replica.md §3).

use borsh::{BorshDeserialize, BorshSerialize};
use violeta_replica::limits::BLOCK_OUTCOMES_MAX;
use violeta_replica::{Block, OrderedCommit, Position};
use violeta_types::codec::Bounded;
use violeta_types::merkle::{HISTORY as HISTORY_TREE, Peaks, RESULTS, TRANSACTIONS};
use violeta_types::{
    ChainId, CommitIndex, Digest, Epoch, Head, HeadId, Height, Outcome, Round, TimeMs,
};

/// The key of the newest block's record in `_history`.
pub const BLOCK: &[u8] = b"block";

/// All of a head but its state root, and what the next block needs beside it. Stored with the block's state.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct BlockRecord {
    /// The epoch of the commit.
    pub epoch: Epoch,
    /// The head before; zero for the first.
    pub previous: HeadId,
    /// The commit that the block executed.
    pub commit_index: CommitIndex,
    /// Its digest.
    pub commit_digest: Digest,
    /// Its time.
    pub time: TimeMs,
    /// The round of its leader.
    pub leader_round: Round,
    /// As in the head.
    pub transactions_root: Digest,
    /// As in the head.
    pub results_root: Digest,
    /// As in the head.
    pub committee: Digest,
    /// As in the head.
    pub next_committee: Digest,
    /// Over the ids of all heads before: the root is the head's history root.
    pub peaks: Peaks,
}

impl BlockRecord {
    /// The head of the block at `height` whose state has this root.
    pub fn head(&self, chain: ChainId, height: Height, state_root: Digest) -> Head {
        Head {
            chain,
            epoch: self.epoch,
            height,
            previous: self.previous,
            commit_index: self.commit_index,
            commit_digest: self.commit_digest,
            time: self.time,
            transactions_root: self.transactions_root,
            results_root: self.results_root,
            state_root,
            history_root: self.peaks.root(HISTORY_TREE),
            committee: self.committee,
            next_committee: self.next_committee,
        }
    }
}

/// The newest block, as the next one needs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Tip {
    pub(crate) position: Position,
    pub(crate) time: TimeMs,
    epoch: Epoch,
    leader_round: Round,
    /// Over the heads up to this one.
    peaks: Peaks,
}

impl Tip {
    /// Before the first block.
    pub(crate) fn genesis(time: TimeMs) -> Self {
        Tip {
            position: Position::default(),
            time,
            epoch: Epoch(0),
            leader_round: Round(0),
            peaks: Peaks::default(),
        }
    }

    /// After the block with this record and head.
    pub(crate) fn after(record: BlockRecord, head: &Head) -> Self {
        let BlockRecord {
            mut peaks,
            leader_round,
            ..
        } = record;
        assert_eq!(peaks.count() + 1, head.height.0, "one head for each height");
        let id = head.id();
        peaks.push(HISTORY_TREE, id.0);
        Tip {
            position: Position {
                commit_index: head.commit_index,
                commit_digest: head.commit_digest,
                height: head.height,
                head: id,
            },
            time: head.time,
            epoch: head.epoch,
            leader_round,
            peaks,
        }
    }

    /// After the block with this record, read from disk; none if no machine can have written it at this height.
    pub(crate) fn recover(
        chain: ChainId,
        height: Height,
        record: BlockRecord,
        state_root: Digest,
    ) -> Option<Self> {
        let peaks = &record.peaks;
        if peaks.count().checked_add(1) != Some(height.0) || !peaks.is_well_formed() {
            return None;
        }
        let head = record.head(chain, height, state_root);
        Some(Tip::after(record, &head))
    }

    /// Whether the commit makes a block though it holds nothing to record: its leader is G/4 rounds or more above the
    /// last block's, so that the log always has fresh certified heads (replica.md §2).
    pub(crate) fn is_due(&self, epoch: Epoch, leader: Round, gc_depth: u64) -> bool {
        let last = match epoch == self.epoch {
            true => self.leader_round,
            false => Round(0),
        };
        leader >= last.forward(gc_depth / 4)
    }

    /// The record of the block that `commit` makes on top of this one.
    pub(crate) fn next_record(
        &self,
        ordered: &OrderedCommit,
        outcomes: &[Outcome],
        committee: Digest,
    ) -> BlockRecord {
        let ids = outcomes.iter().map(|outcome| outcome.transaction.0);
        BlockRecord {
            epoch: ordered.commit.epoch,
            previous: self.position.head,
            commit_index: ordered.commit.index,
            commit_digest: ordered.digest,
            time: ordered.commit.time,
            leader_round: ordered.commit.leader.round,
            transactions_root: TRANSACTIONS.root(ids),
            results_root: RESULTS.root(outcomes.iter().map(Outcome::digest)),
            committee,
            // No committee change takes effect in this version.
            next_committee: committee,
            peaks: self.peaks.clone(),
        }
    }

    /// The block with this record, and moves on to it.
    pub(crate) fn advance(
        &mut self,
        chain: ChainId,
        record: BlockRecord,
        state_root: Digest,
        outcomes: Bounded<Outcome, BLOCK_OUTCOMES_MAX>,
    ) -> Block {
        let head = record.head(chain, self.position.height.next(), state_root);
        *self = Tip::after(record, &head);
        Block { head, outcomes }
    }
}
