//! Commits on their way from the log to the machine: each once, in order, over restarts (replica.md §3, §6).
//!
//! ```text
//!   log:  1 … applied … given ┊ given+1 … live tail … log end
//!                   └ window ┘└──────── held in memory, or read back from the journal ───────┘
//! ```
//!
//! At most [`HANDOVER_COMMITS_MAX`] commits are with the machine at once. What comes while the window is full is held
//! up to a bound; beyond it, it is let go of, as the journal has it, and read back when its turn comes. A restarted
//! replica, or one whose machine is far behind, begins with reading back. A machine that is ahead of the log (the
//! power went between two syncs) waits until the log gets there, and its digest is compared then.

use std::collections::VecDeque;
use std::sync::Arc;

use violeta_types::{Commit, CommitIndex, Digest, Item};

use crate::limits::{HANDOVER_BYTES_MAX, HANDOVER_COMMITS_MAX};
use crate::machine::{OrderedCommit, Position};

/// What is to be done next.
#[derive(Clone, Debug)]
pub enum Step {
    /// Give this to the machine.
    Give(Arc<OrderedCommit>),
    /// Read commits after this one back from the journal, then call [`Handover::loaded`].
    Load {
        /// The last commit that isn't wanted.
        after: CommitIndex,
    },
}

/// The machine has executed another history than this log's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the store has executed another commit {index} than the log holds: they don't belong together; remove the store's directory and start again: it is rebuilt from the journal"
)]
pub struct ForeignStore {
    /// The commit.
    pub index: CommitIndex,
}

/// See the module.
#[derive(Debug)]
pub struct Handover {
    /// The machine's word at the start, until the log has reached it.
    unconfirmed: Option<Position>,
    /// The last commit given to the machine.
    given: CommitIndex,
    /// The last commit of the log.
    log_end: CommitIndex,
    /// Given and not yet applied: index and bytes.
    window: VecDeque<(CommitIndex, usize)>,
    window_bytes: usize,
    /// The commits after `given`, without gaps, as far as they are held.
    held: VecDeque<(Arc<OrderedCommit>, usize)>,
    held_bytes: usize,
    loading: bool,
}

impl Handover {
    /// A handover to a machine at `position`, from a log that ends at `log_end`.
    pub fn new(position: Position, log_end: CommitIndex) -> Self {
        Handover {
            unconfirmed: (position.commit_index > CommitIndex(0)).then_some(position),
            given: position.commit_index,
            log_end,
            window: VecDeque::new(),
            window_bytes: 0,
            held: VecDeque::new(),
            held_bytes: 0,
            loading: false,
        }
    }

    /// Confirms the machine's position against a commit that was in the log before the start.
    ///
    /// # Errors
    /// If the machine has executed another commit of this index.
    pub fn confirm(&mut self, index: CommitIndex, digest: Digest) -> Result<(), ForeignStore> {
        match self.unconfirmed {
            Some(position) if position.commit_index == index => {
                if position.commit_digest != digest {
                    return Err(ForeignStore { index });
                }
                self.unconfirmed = None;
            }
            _ => {}
        }
        Ok(())
    }

    /// Takes the machine's position as confirmed by other means than its digest.
    pub fn trust(&mut self) {
        self.unconfirmed = None;
    }

    /// Takes the log's next commit. `items` is called only if the commit is held.
    ///
    /// # Errors
    /// If the machine has executed another commit of this index.
    pub fn committed(
        &mut self,
        commit: &Commit,
        digest: Digest,
        items: impl FnOnce() -> Vec<Item>,
    ) -> Result<(), ForeignStore> {
        self.confirm(commit.index, digest)?;
        assert_eq!(commit.index, self.log_end.next(), "the log has no gaps");
        let continues = self.held_end().max(self.given) == self.log_end;
        self.log_end = commit.index;
        let room = self.held_bytes < HANDOVER_BYTES_MAX && self.held.len() < HANDOVER_COMMITS_MAX;
        if commit.index > self.given && continues && room && !self.loading {
            let commit = commit.clone();
            let items = items();
            self.hold(OrderedCommit {
                commit,
                digest,
                items,
            });
        }
        Ok(())
    }

    /// Takes what was read back. Commits that aren't wanted any more are passed over.
    pub fn loaded(&mut self, commits: Vec<OrderedCommit>) {
        self.loading = false;
        for commit in commits {
            if commit.commit.index == self.held_end().max(self.given).next()
                && commit.commit.index <= self.log_end
            {
                self.hold(commit);
            }
        }
    }

    fn hold(&mut self, commit: OrderedCommit) {
        let bytes = commit.items.iter().map(Item::encoded_len).sum();
        self.held_bytes += bytes;
        self.held.push_back((Arc::new(commit), bytes));
    }

    fn held_end(&self) -> CommitIndex {
        let last = self.held.back();
        last.map_or(CommitIndex(0), |(commit, _)| commit.commit.index)
    }

    /// The machine has applied a commit.
    pub fn applied(&mut self, index: CommitIndex) {
        while let Some(&(front, bytes)) = self.window.front() {
            if front > index {
                break;
            }
            self.window_bytes -= bytes;
            self.window.pop_front();
        }
    }

    /// Commits that the log has and the machine hasn't applied.
    pub fn lag(&self) -> u64 {
        let with_machine = self.window.len() as u64;
        self.log_end.0.saturating_sub(self.given.0) + with_machine
    }

    /// What is to be done next; none until something changes.
    pub fn step(&mut self) -> Option<Step> {
        if self.given >= self.log_end || self.unconfirmed.is_some() {
            return None;
        }
        let full = self.window.len() >= HANDOVER_COMMITS_MAX
            || (self.window_bytes >= HANDOVER_BYTES_MAX && !self.window.is_empty());
        if full {
            return None;
        }
        if let Some((commit, bytes)) = self.held.pop_front() {
            self.held_bytes -= bytes;
            assert_eq!(
                commit.commit.index,
                self.given.next(),
                "in order, each once"
            );
            self.given = commit.commit.index;
            self.window.push_back((self.given, bytes));
            self.window_bytes += bytes;
            return Some(Step::Give(commit));
        }
        if self.loading {
            return None;
        }
        self.loading = true;
        Some(Step::Load { after: self.given })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use violeta_types::{
        Epoch, HeadId, Height, Round, TimeMs, ValidatorIndex, VertexId, VertexRef,
    };

    fn commit(index: u64) -> Commit {
        Commit {
            epoch: Epoch(0),
            index: CommitIndex(index),
            previous: Digest::ZERO,
            leader: VertexRef {
                round: Round(index),
                author: ValidatorIndex(0),
                id: VertexId(Digest::ZERO),
            },
            vertices: Vec::new().try_into().unwrap(),
            time: TimeMs(0),
            coin: None,
        }
    }

    fn digest(index: u64) -> Digest {
        Digest([index as u8; 32])
    }

    fn ordered(index: u64) -> OrderedCommit {
        OrderedCommit {
            commit: commit(index),
            digest: digest(index),
            items: Vec::new(),
        }
    }

    fn position(index: u64) -> Position {
        Position {
            commit_index: CommitIndex(index),
            commit_digest: digest(index),
            height: Height(index),
            head: HeadId::default(),
        }
    }

    #[test]
    fn a_machine_ahead_of_the_log_waits_and_is_compared() {
        let mut handover = Handover::new(position(3), CommitIndex(1));
        handover.committed(&commit(2), digest(2), Vec::new).unwrap();
        assert!(handover.step().is_none());
        let mut other = Handover::new(position(3), CommitIndex(2));
        assert!(other.committed(&commit(3), digest(9), Vec::new).is_err());
        handover.committed(&commit(3), digest(3), Vec::new).unwrap();
        assert!(handover.step().is_none(), "executed already");
        handover.committed(&commit(4), digest(4), Vec::new).unwrap();
        assert!(matches!(handover.step(), Some(Step::Give(c)) if c.commit.index.0 == 4));
    }

    #[test]
    fn an_empty_answer_is_asked_again() {
        let mut handover = Handover::new(Position::default(), CommitIndex(5));
        assert!(matches!(
            handover.step(),
            Some(Step::Load {
                after: CommitIndex(0)
            })
        ));
        assert!(handover.step().is_none(), "one question at a time");
        handover.loaded(Vec::new());
        assert!(matches!(
            handover.step(),
            Some(Step::Load {
                after: CommitIndex(0)
            })
        ));
    }

    proptest! {
        /// However commits arrive, are applied and read back, the machine gets each once and in order.
        #[test]
        fn each_commit_is_given_once_in_order(
            start in 0u64..50,
            steps in proptest::collection::vec((0u8..4, 1usize..40), 1..200),
        ) {
            let mut log_end = start + 20;
            let mut handover = Handover::new(position(start), CommitIndex(log_end));
            if start > 0 { handover.confirm(CommitIndex(start), digest(start)).unwrap(); }
            let (mut next, mut applied, mut question) = (start + 1, start, None);
            let drain = |handover: &mut Handover, next: &mut u64, question: &mut Option<u64>| {
                while let Some(step) = handover.step() {
                    match step {
                        Step::Give(commit) => { assert_eq!(commit.commit.index.0, *next); *next += 1; }
                        Step::Load { after } => *question = Some(after.0),
                    }
                }
            };
            for (kind, n) in steps {
                match kind {
                    0 | 1 => for _ in 0..n {
                        log_end += 1;
                        handover.committed(&commit(log_end), digest(log_end), Vec::new).unwrap();
                    },
                    2 => if let Some(after) = question.take() {
                        let end = log_end.min(after + n as u64);
                        handover.loaded((after + 1..=end).map(ordered).collect());
                    },
                    _ => { applied = (applied + n as u64).min(next - 1); handover.applied(CommitIndex(applied)); }
                }
                drain(&mut handover, &mut next, &mut question);
                prop_assert!(next - 1 - applied <= HANDOVER_COMMITS_MAX as u64);
            }
            for _ in 0..10_000 {
                if applied == log_end { break; }
                handover.applied(CommitIndex(next - 1));
                applied = next - 1;
                if let Some(after) = question.take() {
                    handover.loaded((after + 1..=log_end.min(after + 30)).map(ordered).collect());
                }
                drain(&mut handover, &mut next, &mut question);
            }
            prop_assert_eq!(next, log_end + 1, "all are given in the end");
            prop_assert_eq!(handover.lag(), log_end + 1 - next);
        }
    }
}
