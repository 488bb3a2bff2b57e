//! Files as Violeta sees them: one small trait, so that the simulator can lie to everything above (replica.md §3).
//!
//! ```text
//!            journal · store
//!                  │  paths relative to a root, whole buffers
//!   ┌──────────────▼──────────────┐
//!   │ Disk          DiskFile      │
//!   └──┬───────────┬───────────┬──┘
//!   RealDisk   MemoryDisk   FaultyDisk ──▶ any other Disk
//!   std::fs    crashes,     fails the n-th
//!              torn writes  operation
//! ```
//!
//! **What survives a power loss** is what this contract says, and not a byte more:
//!
//! - What a file holds (and how long it is) is durable once [`DiskFile::sync_data`], called after the change and
//!   through the handle that made it, has returned `Ok`. Until then any part of it may be lost or torn, in any order.
//! - Names (created, renamed, removed) are durable once [`Disk::sync_dir`] of the directory that holds them has
//!   returned `Ok`. A file whose data is synced but whose name isn't may be gone.
//! - A rename is atomic: after a crash a file that had a durable name has that one or the new one, never neither.
//! - After a failed sync nobody knows what is durable: whoever called it stops writing (vlsm.md §5).

mod faulty;
mod memory;
mod real;

use std::any::Any;
use std::fmt;
use std::io;
use std::sync::Arc;

pub use faulty::{FaultyDisk, Operation};
pub use memory::MemoryDisk;
pub use real::RealDisk;

/// The file that a directory's lock is held on. Never listed.
pub(crate) const LOCK_FILE: &str = "LOCK";

/// Bytes of a path, at most.
pub const PATH_BYTES_MAX: usize = 255;

/// What a disk couldn't do, to which path, and why.
#[derive(Debug, thiserror::Error)]
pub enum DiskError {
    /// The operation failed.
    #[error("can't {action} {path}: {source}{}", advice(.source.kind()))]
    Io {
        /// What was tried.
        action: &'static str,
        /// To what.
        path: String,
        /// Why it failed.
        source: io::Error,
    },
    /// Someone else holds the directory.
    #[error(
        "{dir} is in use by {}: stop it first, or choose another directory",
        match .holder { Some(pid) => format!("process {pid}"), None => "another process".to_owned() }
    )]
    Locked {
        /// The directory.
        dir: String,
        /// The process that holds it, where it is known.
        holder: Option<u32>,
    },
}

/// What to do about a failure, where there is something to do.
fn advice(kind: io::ErrorKind) -> &'static str {
    match kind {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
            "; make room (or raise the quota or limit) and start again: nothing that was acknowledged is lost"
        }
        io::ErrorKind::PermissionDenied => "; look at the owner and mode of the data directory",
        io::ErrorKind::ReadOnlyFilesystem => {
            "; the file system is mounted read-only, maybe after an error: look at the system's log"
        }
        _ => "",
    }
}

impl DiskError {
    /// An error of the given kind.
    pub fn new(action: &'static str, path: &str, source: impl Into<io::Error>) -> Self {
        DiskError::Io {
            action,
            path: path.to_owned(),
            source: source.into(),
        }
    }

    /// What kind of failure it is: `NotFound`, `AlreadyExists`, `StorageFull`, …
    pub fn kind(&self) -> io::ErrorKind {
        match self {
            DiskError::Io { source, .. } => source.kind(),
            DiskError::Locked { .. } => io::ErrorKind::ResourceBusy,
        }
    }
}

/// How a file is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenMode {
    /// It must exist.
    Existing,
    /// It must not exist; it is created, empty.
    New,
    /// It is created if it doesn't exist.
    Any,
}

/// A tree of files and directories. Paths are relative to its root: names joined by `/`, no `.` or `..`; the root
/// itself is `""`.
pub trait Disk: fmt::Debug + Send + Sync {
    /// Opens a file for reading and writing.
    fn open(&self, path: &str, mode: OpenMode) -> Result<Arc<dyn DiskFile>, DiskError>;

    /// Names in a directory, files and directories, sorted. The lock is not among them.
    fn list(&self, dir: &str) -> Result<Vec<String>, DiskError>;

    /// Makes a directory whose parent exists; one that exists already is fine.
    fn create_dir(&self, dir: &str) -> Result<(), DiskError>;

    /// Renames a file; a file that has the new name is replaced.
    fn rename(&self, from: &str, to: &str) -> Result<(), DiskError>;

    /// Removes a file. Whoever has it open can go on reading it.
    fn remove(&self, path: &str) -> Result<(), DiskError>;

    /// Makes the names in a directory durable.
    fn sync_dir(&self, dir: &str) -> Result<(), DiskError>;

    /// Takes a directory for this process alone, until the lock is dropped.
    ///
    /// # Errors
    /// [`DiskError::Locked`] if another process, or another part of this one, holds it.
    fn lock(&self, dir: &str) -> Result<DirLock, DiskError>;
}

/// An open file. Threads may share it; what overlapping concurrent writes leave is unspecified.
#[expect(clippy::len_without_is_empty, reason = "a length that may fail")]
pub trait DiskFile: fmt::Debug + Send + Sync {
    /// The path that the file was opened by, for messages.
    fn path(&self) -> &str;

    /// Fills the whole buffer from `offset` on; `UnexpectedEof` if the file ends before.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), DiskError>;

    /// Writes the whole buffer at `offset`, or fails with any part of it written. A gap before `offset` is zeros.
    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<(), DiskError>;

    /// Makes content and length durable.
    fn sync_data(&self) -> Result<(), DiskError>;

    /// Makes the file at least `len` bytes long, with room on the disk for all of them; what is new reads as zeros.
    fn allocate(&self, len: u64) -> Result<(), DiskError>;

    /// Cuts or extends the file to `len` bytes; what is new reads as zeros.
    fn truncate(&self, len: u64) -> Result<(), DiskError>;

    /// Length in bytes.
    fn len(&self) -> Result<u64, DiskError>;
}

/// A directory, held for one owner until this is dropped.
pub struct DirLock {
    // Held only to be dropped.
    _guard: Box<dyn Any + Send + Sync>,
}

impl DirLock {
    /// A lock that lasts as long as `guard`.
    pub fn new(guard: impl Any + Send + Sync) -> Self {
        DirLock {
            _guard: Box::new(guard),
        }
    }
}

impl fmt::Debug for DirLock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DirLock")
    }
}

/// Makes a directory and all above it, durably.
///
/// # Errors
/// If the disk does.
pub fn create_dirs(disk: &dyn Disk, dir: &str) -> Result<(), DiskError> {
    disk.create_dir("")?;
    let ends = dir.match_indices('/').map(|(i, _)| i).chain([dir.len()]);
    for end in ends.filter(|&end| end > 0) {
        let path = &dir[..end];
        disk.create_dir(path)?;
        disk.sync_dir(parent(path))?;
    }
    Ok(())
}

/// `name` in `dir`.
pub fn join(dir: &str, name: &str) -> String {
    if dir.is_empty() {
        return name.to_owned();
    }
    format!("{dir}/{name}")
}

/// The directory that holds `path`; the root for a name without one.
pub fn parent(path: &str) -> &str {
    path.rfind('/').map_or("", |i| &path[..i])
}

/// Refuses what isn't a path below the root: absolute, with `.` or `..` or empty names, or too long.
fn check_path(action: &'static str, path: &str) -> Result<(), DiskError> {
    let bad_name = |name: &str| name.is_empty() || name == "." || name == "..";
    let bad_byte = |byte: u8| byte == 0 || byte == b'\\';
    let is_root = path.is_empty();
    if path.len() <= PATH_BYTES_MAX
        && (is_root || !path.split('/').any(bad_name))
        && !path.bytes().any(bad_byte)
    {
        return Ok(());
    }
    let reason = "not a path relative to the root";
    Err(DiskError::new(
        action,
        path,
        io::Error::new(io::ErrorKind::InvalidInput, reason),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_says_what_to_do() {
        for kind in [
            io::ErrorKind::StorageFull,
            io::ErrorKind::QuotaExceeded,
            io::ErrorKind::FileTooLarge,
        ] {
            let error = DiskError::new("write", "journal/1", kind).to_string();
            assert!(
                error.contains("make room") && error.contains("start again"),
                "{error}"
            );
        }
        let error = DiskError::new("write", "journal/1", io::ErrorKind::Other).to_string();
        assert_eq!(error, "can't write journal/1: other error");
    }

    /// What every disk must do, checked on each.
    fn check_contract(disk: &dyn Disk) {
        create_dirs(disk, "a/b").unwrap();
        create_dirs(disk, "a/b").unwrap();
        let missing = disk.open("a/b/x", OpenMode::Existing).unwrap_err();
        assert_eq!(missing.kind(), io::ErrorKind::NotFound, "{missing}");
        assert!(missing.to_string().contains("a/b/x"), "{missing}");
        let file = disk.open("a/b/x", OpenMode::New).unwrap();
        let twice = disk.open("a/b/x", OpenMode::New).unwrap_err();
        assert_eq!(twice.kind(), io::ErrorKind::AlreadyExists);

        file.write_at(3, b"abc").unwrap();
        assert_eq!(file.len().unwrap(), 6);
        let mut six = [9; 6];
        file.read_at(0, &mut six).unwrap();
        assert_eq!(&six, b"\0\0\0abc");
        let past = file.read_at(1, &mut six).unwrap_err();
        assert_eq!(past.kind(), io::ErrorKind::UnexpectedEof, "{past}");

        file.allocate(10_000).unwrap();
        file.allocate(10).unwrap();
        assert_eq!(file.len().unwrap(), 10_000);
        file.write_at(4_090, b"0123456789").unwrap();
        file.truncate(4_095).unwrap();
        file.truncate(4_097).unwrap();
        let mut tail = [9; 7];
        file.read_at(4_090, &mut tail).unwrap();
        assert_eq!(&tail, b"01234\0\0", "what a cut removed is gone for good");
        file.sync_data().unwrap();

        disk.open("a/y", OpenMode::Any).unwrap();
        disk.rename("a/b/x", "a/y").unwrap();
        disk.sync_dir("a").unwrap();
        assert_eq!(disk.list("a").unwrap(), ["b", "y"]);
        assert_eq!(disk.list("a/b").unwrap(), [""; 0]);
        disk.remove("a/y").unwrap();
        assert_eq!(disk.list("a").unwrap(), ["b"]);
        file.read_at(4_090, &mut tail).unwrap();
        let gone = disk.remove("a/y").unwrap_err();
        assert_eq!(gone.kind(), io::ErrorKind::NotFound);
        for nowhere in [disk.list("nowhere").unwrap_err(), {
            disk.open("nowhere/x", OpenMode::Any).unwrap_err()
        }] {
            assert_eq!(nowhere.kind(), io::ErrorKind::NotFound, "{nowhere}");
        }

        let lock = disk.lock("a").unwrap();
        let second = disk.lock("a").unwrap_err();
        let holder = Some(std::process::id());
        assert!(
            matches!(&second, DiskError::Locked { dir, holder: h } if dir.ends_with("a") && *h == holder)
        );
        assert!(second.to_string().contains("stop it first"), "{second}");
        assert_eq!(disk.list("a").unwrap(), ["b"], "the lock is not listed");
        let _other = disk.lock("a/b").unwrap();
        drop(lock);
        disk.lock("a").unwrap();

        for bad in [
            "/etc",
            "..",
            "a/../..",
            "a//b",
            "a/",
            "./a",
            "a\0b",
            &"x".repeat(256),
        ] {
            let error = disk.open(bad, OpenMode::Any).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "{bad}");
            assert!(disk.create_dir(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn every_disk_keeps_the_contract() {
        let dir = tempfile::tempdir().unwrap();
        check_contract(&RealDisk::new(dir.path().join("new")));
        check_contract(&MemoryDisk::new());
        check_contract(&FaultyDisk::new(Arc::new(MemoryDisk::new())));
    }

    #[test]
    fn paths_are_joined_and_taken_apart() {
        assert_eq!(join("", "x"), "x");
        assert_eq!(join("a/b", "x"), "a/b/x");
        assert_eq!(parent("a/b/x"), "a/b");
        assert_eq!(parent("x"), "");
    }
}
