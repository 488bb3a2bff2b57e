//! The journal as this crate uses it: appended to by one thread, read by others.
//!
//! Two small traits, so that tests can put a journal in memory in its place; and the real one behind them.

use std::sync::Arc;

use bytes::Bytes;
use violeta_journal::{Disk, Journal, Options, Position, Reader, Record};
use violeta_replica::RecordKind;
use violeta_types::ChainId;

/// Why a record can't be read.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The journal says so.
    #[error("journal: {0}")]
    Journal(#[from] violeta_journal::JournalError),
    /// A record isn't what it should be.
    #[error(
        "the journal's record at {position} is damaged: {reason}; move the data directory aside and start with an empty \
         one: the validator catches up, and only follows until the next epoch, or, with \
         recovery.rejoin_after_lost_journal, until a quorum has told it how far it had got"
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

impl<R: Records + ?Sized> Records for Arc<R> {
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

/// The journal in files, to append to.
pub struct JournalFiles(Journal);

impl JournalFiles {
    /// Opens the journal of a chain in a directory of `disk`, or makes it.
    ///
    /// # Errors
    /// If it can't be opened, is damaged, or another chain's.
    pub fn open(disk: Arc<dyn Disk>, dir: &str, chain: ChainId) -> Result<Self, JournalError> {
        // The records are read through a reader of their own.
        let (journal, _replay) = Journal::open(disk, dir, Options::for_directory(chain.0))?;
        Ok(JournalFiles(journal))
    }

    /// What reads it.
    pub fn reader(&self) -> JournalReader {
        JournalReader(self.0.reader())
    }
}

impl Appender for JournalFiles {
    fn end(&self) -> u64 {
        self.0.stats().end.0
    }

    fn append(&mut self, kind: u8, bytes: &[u8]) -> Result<u64, JournalError> {
        Ok(self.0.append(kind, bytes)?.0)
    }

    fn sync(&mut self) -> Result<(), JournalError> {
        self.0.sync()?;
        Ok(())
    }
}

/// The journal in files, to read.
#[derive(Clone)]
pub struct JournalReader(Reader);

impl JournalReader {
    /// All records, one after another.
    pub fn all(&self) -> impl Iterator<Item = Result<StoredRecord, JournalError>> + use<> {
        self.0.replay(Position::ZERO).map(|record| stored(record?))
    }
}

impl Records for JournalReader {
    fn read(&self, position: u64) -> Result<StoredRecord, JournalError> {
        stored(self.0.read(Position(position))?)
    }

    fn range(
        &self,
        from: u64,
        end: u64,
        bytes_max: usize,
    ) -> Result<Vec<StoredRecord>, JournalError> {
        let mut records = Vec::new();
        let mut bytes = 0;
        for record in self.0.replay(Position(from)) {
            let record = stored(record?)?;
            if record.end > end || bytes >= bytes_max {
                break;
            }
            bytes += record.bytes.len();
            records.push(record);
        }
        Ok(records)
    }
}

fn stored(record: Record) -> Result<StoredRecord, JournalError> {
    let position = record.position.0;
    let kind = RecordKind::from_number(record.kind).ok_or_else(|| {
        let reason = format!("kind {} is unknown to this release", record.kind);
        JournalError::damaged(position, reason)
    })?;
    Ok(StoredRecord {
        position,
        end: record.end.0,
        kind,
        bytes: record.bytes.into(),
    })
}
