//! Files as Violeta sees them, and the checksummed, segmented journal

pub mod disk;

pub use disk::{
    DirLock, Disk, DiskError, DiskFile, FaultyDisk, MemoryDisk, OpenMode, Operation, RealDisk,
};
