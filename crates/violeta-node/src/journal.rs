//! Reading the journal back: what the index, the loader and the gateways need of it.

use bytes::Bytes;
use violeta_replica::RecordKind;

/// Why a record can't be read.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The journal says so.
    #[error("journal: {0}")]
    Journal(String),
    /// A record isn't what it should be.
    #[error(
        "the journal's record at {position} is damaged: {reason}; restore the data directory from a backup, or \
             remove it and let the validator catch up from the others"
    )]
    Damaged {
        /// Where.
        position: u64,
        /// What is wrong with it.
        reason: String,
    },
}

impl JournalError {
    /// A damaged record.
    pub fn damaged(position: u64, reason: impl Into<String>) -> Self {
        let reason = reason.into();
        JournalError::Damaged { position, reason }
    }
}

/// A record that was read back.
#[derive(Clone, Debug)]
pub struct StoredRecord {
    /// Where it begins.
    pub position: u64,
    /// Where the next one begins.
    pub end: u64,
    /// What it is.
    pub kind: RecordKind,
    /// Its content.
    pub bytes: Bytes,
}

/// A journal that can be appended to.
pub trait Appender: Send {
    /// Where the next record begins.
    fn end(&self) -> u64;

    /// Appends a record; gives its position. It is durable after the next [`sync`](Self::sync).
    ///
    /// # Errors
    /// If the disk fails. Then, and from then on, nothing is taken any more.
    fn append(&mut self, kind: u8, bytes: &[u8]) -> Result<u64, JournalError>;

    /// Makes durable, and readable, all that was appended.
    ///
    /// # Errors
    /// As [`append`](Self::append).
    fn sync(&mut self) -> Result<(), JournalError>;
}

/// A journal that can be read while it is written.
pub trait Records: Send + Sync {
    /// The record at a position.
    ///
    /// # Errors
    /// If there is none, or it is damaged.
    fn read(&self, position: u64) -> Result<StoredRecord, JournalError>;

    /// Records from `from` on, to `end` at most, about `bytes_max` bytes of them; at least one if there is one.
    ///
    /// # Errors
    /// If one is damaged.
    fn range(
        &self,
        from: u64,
        end: u64,
        bytes_max: usize,
    ) -> Result<Vec<StoredRecord>, JournalError>;
}

impl<R: Records + ?Sized> Records for std::sync::Arc<R> {
    fn read(&self, position: u64) -> Result<StoredRecord, JournalError> {
        (**self).read(position)
    }

    fn range(
        &self,
        from: u64,
        end: u64,
        bytes_max: usize,
    ) -> Result<Vec<StoredRecord>, JournalError> {
        (**self).range(from, end, bytes_max)
    }
}
