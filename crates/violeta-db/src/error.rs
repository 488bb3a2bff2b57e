//! What can go wrong in the Database machine, apart from refusals, which are results.

use violeta_journal::DiskError;
use violeta_types::{ChainId, CommitIndex, Height};
use violeta_vlsm::StoreError;

/// What stops the machine, or keeps a read from being answered.
#[derive(Debug, thiserror::Error)]
pub enum DbError {
    /// The store failed, or hasn't what was asked for.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The disk failed.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// The directory holds the state of another chain.
    #[error(
        "the store holds chain {found}, the genesis file is of chain {expected}: check the directory"
    )]
    OtherChain {
        /// The chain of the genesis file.
        expected: ChainId,
        /// The chain of the store.
        found: ChainId,
    },
    /// A commit came that doesn't follow on the last one executed.
    #[error(
        "commit {found} doesn't follow on commit {executed} that this machine executed last: its store and the \
         commit log belong to different histories; restore one of them from a peer"
    )]
    OtherLog {
        /// The last commit executed.
        executed: CommitIndex,
        /// The one that came.
        found: CommitIndex,
    },
    /// A record isn't what the machine writes.
    #[error(
        "the record of {key} in space {space} is corrupt: {reason}; restore the store from a peer"
    )]
    Corrupt {
        /// The space.
        space: String,
        /// The key, hexadecimal.
        key: String,
        /// What is wrong.
        reason: String,
    },
    /// The state of height 0 has no head, so nothing in it can be proved.
    #[error("there is no block yet: the state of height 0 has no head to prove anything with")]
    NoHead,
    /// A height above the newest block.
    #[error("height {asked} hasn't been reached; the newest block is {latest}")]
    Future {
        /// What was asked for.
        asked: Height,
        /// The newest.
        latest: Height,
    },
}

impl DbError {
    /// A record that can't be read.
    pub(crate) fn corrupt(space: &[u8], key: &[u8], reason: impl Into<String>) -> Self {
        DbError::Corrupt {
            space: String::from_utf8_lossy(space).into_owned(),
            key: hex::encode(key),
            reason: reason.into(),
        }
    }
}
