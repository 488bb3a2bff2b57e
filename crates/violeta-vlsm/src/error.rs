//! What can go wrong, by what the caller can do about it.

use bytes::Bytes;
use violeta_journal::DiskError;
use violeta_types::Height;
use violeta_types::codec::TooLong;

use crate::limits::{
    BATCH_BYTES_MAX, PINNED_VERSIONS_MAX, STORE_KEY_BYTES_MAX, STORE_SPACE_BYTES_MAX,
    STORE_VALUE_BYTES_MAX, VOID_RANGES_MAX,
};

/// Names of spaces and keys in messages: as text where they are, shortened.
fn show(name: &[u8]) -> String {
    let text = name.escape_ascii().to_string();
    match text.char_indices().nth(64) {
        Some((end, _)) => format!("\"{}…\"", &text[..end]),
        None => format!("\"{text}\""),
    }
}

/// Why the store didn't do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The disk refused. If it is full, make room and try again: the store is as it was before, and readable.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// What is on the disk isn't what was written there. It isn't served.
    #[error("{file} is corrupt at byte {offset}: {what}")]
    Corrupt {
        /// Which file.
        file: String,
        /// Where in it.
        offset: u64,
        /// What is wrong.
        what: String,
    },
    /// The directory holds something else, or was written by another version of this software.
    #[error("{file} isn't a store that this software can read: {what}")]
    Format {
        /// Which file.
        file: String,
        /// What was found.
        what: String,
    },
    /// The directory holds what of a snapshot was imported so far.
    #[error(
        "the import of a snapshot into \"{dir}\" isn't finished: go on with it, or remove the directory and begin again"
    )]
    Importing {
        /// The directory.
        dir: String,
    },
    /// The snapshot is of a version that was rolled back since. Nothing is damaged.
    #[error("the version that this snapshot shows was rolled back: take another one")]
    RolledBack,
    /// The version that the snapshot shows was pruned since, and what it wants with it. Nothing is damaged.
    #[error(
        "the version that this snapshot shows was pruned, and what it wants isn't kept any more ({file} from byte \
         {offset} of its stretch on): take a newer one"
    )]
    Pruned {
        /// The file that has what was kept there.
        file: String,
        /// Where in the stretch that it stands for.
        offset: u64,
    },
    /// A sync failed before. Nobody knows what of the last writes is durable.
    #[error(
        "an earlier sync failed, so nobody knows what is durable: close the store, check the disk, open it again"
    )]
    Broken,
    /// There is a writer already.
    #[error("the store has a writer already: drop it first")]
    WriterTaken,
    /// No such space at the newest version.
    #[error("there is no space {}: create it first", show(.0))]
    NoSuchSpace(Bytes),
    /// The space to be created is there.
    #[error("the space {} exists already", show(.0))]
    SpaceExists(Bytes),
    /// No such version.
    #[error("there is no version {asked}: the store has {oldest} to {newest}")]
    NoSuchVersion {
        /// What was asked for.
        asked: Height,
        /// The oldest that there is.
        oldest: Height,
        /// The newest that there is.
        newest: Height,
    },
    /// Versions rise.
    #[error("version {given} isn't above {newest}, the newest that the store has")]
    VersionNotAbove {
        /// What was given.
        given: Height,
        /// The newest that there is.
        newest: Height,
    },
    /// The batch was staged before the newest version was appended.
    #[error("the batch was staged on another version than the newest: stage it again")]
    Stale,
    /// The savepoint is of another overlay, and not of a fork either.
    #[error(
        "the savepoint is of an overlay over another version: an overlay goes back to its own, or a fork's"
    )]
    OtherBase,
    /// A space's name is too long.
    #[error("a space's name has at most {STORE_SPACE_BYTES_MAX} bytes, this one has {0}")]
    SpaceNameTooLong(usize),
    /// A key is too long.
    #[error("a key has at most {STORE_KEY_BYTES_MAX} bytes, this one has {0}")]
    KeyTooLong(usize),
    /// A value is too long.
    #[error("a value has at most {STORE_VALUE_BYTES_MAX} bytes, this one has {0}")]
    ValueTooLong(usize),
    /// All numbers of pages are used.
    #[error("the store has used all numbers of pages: start again in an empty directory")]
    NoPageLeft,
    /// Too many rollbacks, each behind the other.
    #[error(
        "the store keeps at most {VOID_RANGES_MAX} ranges of versions that were rolled back, and has that many: roll \
         back further, or start again in an empty directory"
    )]
    TooManyRollbacks,
    /// Too many versions below the window are to be kept.
    #[error("a store pins at most {PINNED_VERSIONS_MAX} versions, {0} were given: pin fewer")]
    TooManyPins(usize),
    /// A batch is too large.
    #[error("a batch has at most {BATCH_BYTES_MAX} bytes, this one has more: split it")]
    BatchTooLarge,
}

impl StoreError {
    /// Whether a file wasn't there.
    pub(crate) fn is_no_file(&self) -> bool {
        matches!(self, StoreError::Disk(error) if error.kind() == std::io::ErrorKind::NotFound)
    }

    pub(crate) fn corrupt(file: impl Into<String>, offset: u64, what: impl Into<String>) -> Self {
        StoreError::Corrupt {
            file: file.into(),
            offset,
            what: what.into(),
        }
    }

    /// A branch longer than a path: only a tree that isn't one has it.
    pub(crate) fn from_bound(error: TooLong) -> Self {
        StoreError::corrupt("the tree", 0, format!("a branch has {error}"))
    }
}
