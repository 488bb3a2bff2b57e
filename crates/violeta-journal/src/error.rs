//! What can go wrong with a journal, and what to do about it.

use violeta_types::Digest;

use crate::disk::DiskError;
use crate::format::{FORMAT_VERSION, RECORD_BYTES_MAX};
use crate::position::Position;

/// What can go wrong with a journal.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The disk failed. For a journal that was writing this is final: see [`JournalError::Failed`].
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// An earlier write or sync failed, so that nobody knows what is durable: this instance writes no more. What was
    /// synced before stays readable.
    #[error(
        "the journal has stopped writing since this failed: {reason}; repair the disk and open the journal again"
    )]
    Failed {
        /// What failed then.
        reason: String,
    },
    /// Something that was durable is no longer what it was.
    #[error(
        "{file} is damaged at byte {offset} (position {position}): {reason}; what follows was acknowledged, so don't \
         cut it, nor put an older copy back: set the data directory aside and start with an empty one; a validator then \
         catches up from its peers, and follows until the next epoch"
    )]
    Damaged {
        /// The segment's file.
        file: String,
        /// Where in it.
        offset: u64,
        /// Which position of the journal that is.
        position: Position,
        /// What is wrong there.
        reason: String,
    },
    /// A segment between others isn't there.
    #[error(
        "{dir} has no segment {missing}, but later ones: put that file back where it was, or set the data directory aside \
         and start with an empty one; a validator then catches up from its peers, and follows until the next epoch"
    )]
    SegmentMissing {
        /// The directory.
        dir: String,
        /// The number of the first that is missing.
        missing: u64,
    },
    /// A file has a segment's name, but isn't one.
    #[error("{file} is not a segment of a journal: it doesn't begin like one; move it elsewhere")]
    NotASegment {
        /// The file.
        file: String,
    },
    /// The directory belongs to another chain, or to another use on the same.
    #[error(
        "{file} belongs to {found}, not to {expected}: choose the data directory of this chain, or an empty one"
    )]
    Foreign {
        /// The file.
        file: String,
        /// Whose it should be.
        expected: Digest,
        /// Whose it is.
        found: Digest,
    },
    /// Another version of the program wrote this.
    #[error(
        "{file} has format {found}, this version reads format {}: use the version that wrote it",
        FORMAT_VERSION
    )]
    OtherFormat {
        /// The file.
        file: String,
        /// Its format.
        found: u32,
    },
    /// The record is larger than records may be.
    #[error(
        "a record of {len} bytes: at most {} can be appended",
        RECORD_BYTES_MAX
    )]
    RecordTooLarge {
        /// Bytes of the record.
        len: usize,
    },
    /// Kind 0 marks the end of what was written.
    #[error("records can't have kind 0: use 1 to 255")]
    ReservedKind,
    /// The position isn't, or no longer, or not yet, that of a durable record.
    #[error("position {position} can't be read: durable records lie from {start} to below {end}")]
    OutOfRange {
        /// What was asked for.
        position: Position,
        /// The first that can be read.
        start: Position,
        /// Where the next sync will begin.
        end: Position,
    },
    /// An option is out of its bounds.
    #[error("{option} is {value}: it must be {min} to {max}")]
    Option {
        /// The option.
        option: &'static str,
        /// What it was set to.
        value: u64,
        /// The least that it can be.
        min: u64,
        /// The most that it can be.
        max: u64,
    },
}
