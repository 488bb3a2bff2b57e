//! What can go wrong with an import, by what to do about it.

use violeta_types::{Digest, Height};

use crate::error::StoreError;

/// Why an import didn't do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The store that is being made, or its disk. If the disk is full, make room and call
    /// [`sync`](super::Importer::sync): what was added is still in memory.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// There is a store already.
    #[error("\"{dir}\" holds a store already: open that, or import into an empty directory")]
    HoldsStore {
        /// The directory.
        dir: String,
    },
    /// Another import was begun there.
    #[error(
        "the import of version {version} with root {root} was begun in \"{dir}\": go on with that, or remove the \
         directory"
    )]
    OtherTarget {
        /// The directory.
        dir: String,
        /// The version that is being imported.
        version: Height,
        /// Its root.
        root: Digest,
    },
    /// The chunk was verified with another root.
    #[error(
        "the chunk is of the version with root {found}, the import of the one with root {expected}"
    )]
    OtherRoot {
        /// The chunk's.
        found: Digest,
        /// The import's.
        expected: Digest,
    },
    /// So much is begun that there is no room to remember what of it is done.
    #[error("too many parts of the snapshot are begun: get what is missing first")]
    TooMuchBegun,
    /// Not all chunks are there yet.
    #[error("the import isn't whole: get what is missing first")]
    Unfinished,
    /// All chunks are there, and make another version: what was kept rotted.
    #[error(
        "what was imported into \"{dir}\" has root {found}, not {expected}: the disk doesn't keep what is written; \
         remove the directory and begin again, on another disk"
    )]
    OtherContent {
        /// The directory.
        dir: String,
        /// The root that was found.
        found: Digest,
        /// The root that was to be.
        expected: Digest,
    },
}
