//! Files as Violeta sees them, and the checksummed, segmented journal.
//!
//! ```text
//!   Journal ── append · sync · drop_below            Reader ── read · replay, from any thread
//!      │                                                │
//!      ├── recovery    what a crash left                │
//!      ├── segment     one file, read record by record ◀┘
//!      ├── format      the bytes
//!      └── disk        Disk, DiskFile: real, in memory, faulty
//! ```
//!
//! The journal keeps opaque records, each of a kind, in the order in which they were appended. What [`Journal::sync`]
//! acknowledged is there after any crash; what it didn't may be there or not, but never in part and never without what
//! was appended before it. Damage to what was acknowledged is found, named, and never served (replica.md §3, vlsm.md §5).
//!
//! It doesn't know what a record means, starts no threads and reads no clock.

pub mod disk;
mod error;
mod format;
mod journal;
mod position;
mod reader;
mod recovery;
mod segment;

pub use disk::{
    DirLock, Disk, DiskError, DiskFile, FaultyDisk, MemoryDisk, OpenMode, Operation, RealDisk,
};
pub use error::JournalError;
pub use format::{FORMAT_VERSION, RECORD_BYTES_MAX};
pub use journal::{
    BUFFER_BYTES, Journal, Options, SEGMENT_BYTES_DEFAULT, SEGMENT_BYTES_MAX, SEGMENT_BYTES_MIN,
    Stats,
};
pub use position::{Position, Record};
pub use reader::{OPEN_SEGMENTS_MAX, Reader, Replay};

#[cfg(test)]
mod tests;
