//! What can go wrong in the Database machine, apart from refusals, which are results.

use violeta_journal::DiskError;
use violeta_proof::tree::prove::ProveError;
use violeta_types::{ChainId, CommitIndex, Height};
use violeta_vlsm::StoreError;

/// What stops the machine, or keeps a read from being answered.
#[derive(Debug, thiserror::Error)]
pub enum DbError {
    /// The store failed, or hasn't what was asked for.
    #[error("{0}{advice}", advice = advice(.0))]
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
    /// No proof is made of what was asked for.
    #[error("this can't be proved: {0}")]
    Question(String),
    /// A height above the newest block.
    #[error("height {asked} hasn't been reached; the newest block is {latest}")]
    Future {
        /// What was asked for.
        asked: Height,
        /// The newest.
        latest: Height,
    },
}

/// What to do when the store can't be read: the state follows from the commit log, which the store doesn't know.
fn advice(error: &StoreError) -> &'static str {
    match error {
        StoreError::Corrupt { .. } | StoreError::Format { .. } => {
            ". Remove the store's directory and start again: it is rebuilt from the journal"
        }
        _ => "",
    }
}

impl From<ProveError<StoreError>> for DbError {
    fn from(error: ProveError<StoreError>) -> Self {
        match error {
            ProveError::Subject(error) => DbError::Store(error),
            ProveError::Question(_) | ProveError::TooLarge { .. } => {
                DbError::Question(error.to_string())
            }
        }
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_has_a_store_that_cant_be_read_is_told_how_to_get_another() {
        let (file, what) = ("store/log-1".to_owned(), "not a record".to_owned());
        let offset = 7;
        let corrupt = StoreError::Corrupt { file, offset, what };
        let (file, what) = ("store/super-a".to_owned(), "it is of format 2".to_owned());
        let other = StoreError::Format { file, what };
        for (error, begins) in [
            (corrupt, "store/log-1 is corrupt at byte 7: not a record. "),
            (
                other,
                "store/super-a isn't a store that this software can read: it is of format 2. ",
            ),
        ] {
            let text = DbError::from(error).to_string();
            let advice = text.strip_prefix(begins);
            let expected =
                "Remove the store's directory and start again: it is rebuilt from the journal";
            assert_eq!(advice, Some(expected), "{text}");
        }
        let text = DbError::from(StoreError::Stale).to_string();
        assert_eq!(text, StoreError::Stale.to_string());
    }
}
