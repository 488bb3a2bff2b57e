//! The end of the commit log: a hash chain of commits (consensus.md §6).
//!
//! The log itself is in the journal. What stays here is its last link, and of the newest commits what certificates and
//! catch-up ask: digest, leader's round, and whether the record is durable.

use std::collections::BTreeMap;

use violeta_types::{ChainId, Commit, CommitIndex, Digest, Round, TimeMs};

/// Commits that stay in memory for look-ups by index.
pub const RECENT_COMMITS_MAX: usize = 8_192;

/// A commit that doesn't continue the log.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BrokenChain {
    /// Its index isn't the next one.
    #[error("commit {found} doesn't follow commit {last}")]
    Index {
        /// The log's last.
        last: CommitIndex,
        /// The commit's.
        found: CommitIndex,
    },
    /// It names another predecessor.
    #[error("commit {index} names another predecessor than the log's last commit")]
    Previous {
        /// The commit's index.
        index: CommitIndex,
    },
    /// Its time is before its predecessor's.
    #[error("commit {index} is dated before its predecessor")]
    Time {
        /// The commit's index.
        index: CommitIndex,
    },
}

/// What is remembered of a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    /// Its digest.
    pub digest: Digest,
    /// Its leader's round.
    pub leader_round: Round,
}

/// See the module.
#[derive(Clone, Debug)]
pub struct CommitLog {
    chain: ChainId,
    last_index: CommitIndex,
    last_digest: Digest,
    last_time: TimeMs,
    recent: BTreeMap<CommitIndex, Link>,
}

impl CommitLog {
    /// The empty log of a chain that began at `time`.
    pub fn new(chain: ChainId, time: TimeMs) -> Self {
        CommitLog {
            chain,
            last_index: CommitIndex(0),
            last_digest: Digest::ZERO,
            last_time: time,
            recent: BTreeMap::new(),
        }
    }

    /// The last commit's index; 0 for none.
    pub fn last_index(&self) -> CommitIndex {
        self.last_index
    }

    /// The last commit's digest; zero for none.
    pub fn last_digest(&self) -> Digest {
        self.last_digest
    }

    /// The last commit's time; the chain's beginning for none.
    pub fn last_time(&self) -> TimeMs {
        self.last_time
    }

    /// What is remembered of a commit: of the newest, nothing of older ones.
    pub fn recent(&self, index: CommitIndex) -> Option<&Link> {
        self.recent.get(&index)
    }

    /// Whether `commit` is the next link.
    ///
    /// # Errors
    /// Says what doesn't fit.
    pub fn check_next(&self, commit: &Commit) -> Result<(), BrokenChain> {
        if commit.index != self.last_index.next() {
            return Err(BrokenChain::Index {
                last: self.last_index,
                found: commit.index,
            });
        }
        let index = commit.index;
        if commit.previous != self.last_digest {
            return Err(BrokenChain::Previous { index });
        }
        if commit.time < self.last_time {
            return Err(BrokenChain::Time { index });
        }
        Ok(())
    }

    /// Adds the next link; returns its digest.
    ///
    /// # Errors
    /// If it isn't the next link. Nothing has changed then.
    pub fn append(&mut self, commit: &Commit) -> Result<Digest, BrokenChain> {
        self.check_next(commit)?;
        let digest = commit.digest(&self.chain);
        self.last_index = commit.index;
        self.last_digest = digest;
        self.last_time = commit.time;
        let leader_round = commit.leader.round;
        let link = Link {
            digest,
            leader_round,
        };
        self.recent.insert(commit.index, link);
        while self.recent.len() > RECENT_COMMITS_MAX {
            self.recent.pop_first();
        }
        Ok(digest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;

    fn commit(index: u64, previous: Digest, time: u64) -> Commit {
        Commit {
            time: TimeMs(time),
            ..fixture::commit(index, previous)
        }
    }

    #[test]
    fn only_the_next_link_of_the_same_chain_is_taken() {
        let mut log = CommitLog::new(ChainId(Digest([1; 32])), TimeMs(100));
        let first = log.append(&commit(1, Digest::ZERO, 100)).unwrap();
        let index = CommitIndex(2);
        assert_eq!(
            log.append(&commit(3, first, 100)),
            Err(BrokenChain::Index {
                last: CommitIndex(1),
                found: CommitIndex(3)
            })
        );
        assert_eq!(
            log.append(&commit(2, Digest::ZERO, 100)),
            Err(BrokenChain::Previous { index })
        );
        assert_eq!(
            log.append(&commit(2, first, 99)),
            Err(BrokenChain::Time { index })
        );
        assert_eq!(log.last_index(), CommitIndex(1), "nothing has changed");
        log.append(&commit(2, first, 100)).unwrap();
        assert_eq!(log.recent(CommitIndex(2)).unwrap().leader_round, Round(6));
    }

    #[test]
    fn another_chain_gives_other_digests() {
        let digest = |chain: u8| {
            let mut log = CommitLog::new(ChainId(Digest([chain; 32])), TimeMs(0));
            log.append(&commit(1, Digest::ZERO, 0)).unwrap()
        };
        assert_ne!(digest(1), digest(2));
    }
}
