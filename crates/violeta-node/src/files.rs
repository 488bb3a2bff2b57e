//! Files that must be whole or absent, and files that must be nobody else's business.
//!
//! ```text
//!  write ── .name.violeta-new ──▶ fsync ──▶ rename over name ──▶ fsync directory
//! ```
//!
//! A crash at any instruction leaves the old file or the new one, never a part.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Permissions of a file that holds a secret.
pub const SECRET_MODE: u32 = 0o600;
/// Permissions of a file that anybody may read.
pub const PUBLIC_MODE: u32 = 0o644;
/// Bytes of the largest file that is read whole: keys, genesis, configuration.
pub const FILE_BYTES_MAX: u64 = 4 << 20;

/// What is wrong with a file.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// There is none.
    #[error("{} is missing; {advice}", path.display())]
    Missing {
        /// Which file.
        path: PathBuf,
        /// Where such a file comes from.
        advice: &'static str,
    },
    /// Others may read a secret.
    #[error(
        "{} can be read by others than its owner (mode {mode:04o}); run: chmod 600 {}",
        path.display(), path.display()
    )]
    Exposed {
        /// Which file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// It is larger than any such file can be.
    #[error("{} is {bytes} bytes long, at most {FILE_BYTES_MAX} make sense: it isn't what it should be", path.display())]
    TooLarge {
        /// Which file.
        path: PathBuf,
        /// Its length.
        bytes: u64,
    },
    /// It isn't text.
    #[error("{} isn't UTF-8 text", path.display())]
    NotText {
        /// Which file.
        path: PathBuf,
    },
    /// The operating system said no.
    #[error("can't {action} {}: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// Why it failed.
        source: std::io::Error,
    },
}

impl FileError {
    /// Wraps an error of the operating system.
    pub fn io(action: &'static str, path: &Path, source: std::io::Error) -> Self {
        let path = path.to_owned();
        FileError::Io {
            action,
            path,
            source,
        }
    }
}

/// Makes `path` hold `bytes`, atomically and durably.
///
/// # Errors
/// If a step fails; the old file, if there was one, is then still there.
pub fn write_atomic(path: &Path, bytes: &[u8], mode: u32) -> Result<(), FileError> {
    let temporary = temporary_name(path);
    let written = write_new(&temporary, bytes, mode);
    let renamed = written.and_then(|()| {
        fs::rename(&temporary, path).map_err(|e| FileError::io("rename to", path, e))
    });
    if let Err(error) = renamed {
        // The first error is the one to tell; a leftover is overwritten by the next try.
        let _ = fs::remove_file(&temporary);
        return Err(error);
    }
    sync_directory(parent(path))
}

fn temporary_name(path: &Path) -> PathBuf {
    // No name that anybody would give to a file of theirs: what is there is overwritten.
    let mut name = std::ffi::OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(".violeta-new");
    path.with_file_name(name)
}

fn write_new(path: &Path, bytes: &[u8], mode: u32) -> Result<(), FileError> {
    match fs::remove_file(path) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
            return Err(FileError::io("replace", path, e));
        }
        _ => {}
    }
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path)
        .map_err(|e| FileError::io("create", path, e))?;
    file.write_all(bytes)
        .and_then(|()| file.sync_all())
        .map_err(|e| FileError::io("write", path, e))
}

fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// Makes the names in a directory durable.
///
/// # Errors
/// If the operating system says no.
pub fn sync_directory(path: &Path) -> Result<(), FileError> {
    File::open(path)
        .and_then(|directory| directory.sync_all())
        .map_err(|e| FileError::io("sync", path, e))
}

/// Makes a directory with all above it; one that is there already is fine.
///
/// # Errors
/// If the operating system says no.
pub fn create_directory(path: &Path, mode: u32) -> Result<(), FileError> {
    use std::os::unix::fs::DirBuilderExt;
    fs::DirBuilder::new()
        .recursive(true)
        .mode(mode)
        .create(path)
        .map_err(|e| FileError::io("create", path, e))
}

/// Reads a text file.
///
/// # Errors
/// If it is missing, too large, not text, or can't be read.
pub fn read_text(path: &Path, advice: &'static str) -> Result<String, FileError> {
    let file = open(path, advice)?;
    read(file, path)
}

/// Reads a text file that holds a secret.
///
/// # Errors
/// As [`read_text`]; also if anybody but its owner could read it.
pub fn read_secret(path: &Path, advice: &'static str) -> Result<String, FileError> {
    let file = open(path, advice)?;
    // The mode of what was opened, not of what the name means a moment later.
    let metadata = file
        .metadata()
        .map_err(|e| FileError::io("look at", path, e))?;
    let mode = metadata.permissions().mode() & 0o7777;
    if mode & 0o077 != 0 {
        let path = path.to_owned();
        return Err(FileError::Exposed { path, mode });
    }
    read(file, path)
}

fn open(path: &Path, advice: &'static str) -> Result<File, FileError> {
    File::open(path).map_err(|e| match e.kind() {
        std::io::ErrorKind::NotFound => FileError::Missing {
            path: path.to_owned(),
            advice,
        },
        _ => FileError::io("open", path, e),
    })
}

fn read(file: File, path: &Path) -> Result<String, FileError> {
    let mut bytes = Vec::new();
    file.take(FILE_BYTES_MAX + 1)
        .read_to_end(&mut bytes)
        .map_err(|e| FileError::io("read", path, e))?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(FileError::TooLarge {
            path: path.to_owned(),
            bytes: bytes.len() as u64,
        });
    }
    String::from_utf8(bytes).map_err(|_| FileError::NotText {
        path: path.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_whole_and_leaves_no_temporary() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        write_atomic(&path, b"one", PUBLIC_MODE).unwrap();
        fs::write(temporary_name(&path), b"left by a crash").unwrap();
        write_atomic(&path, b"two", PUBLIC_MODE).unwrap();
        assert_eq!(read_text(&path, "").unwrap(), "two");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_failed_write_keeps_the_old_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        write_atomic(&path, b"one", PUBLIC_MODE).unwrap();
        fs::create_dir(temporary_name(&path)).unwrap();
        assert!(write_atomic(&path, b"two", PUBLIC_MODE).is_err());
        assert_eq!(read_text(&path, "").unwrap(), "one");
    }

    #[test]
    fn a_secret_that_others_may_read_is_refused_with_the_command_to_run() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret");
        write_atomic(&path, b"s", SECRET_MODE).unwrap();
        assert_eq!(read_secret(&path, "").unwrap(), "s");
        for mode in [0o640, 0o604, 0o610, 0o666] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            let error = read_secret(&path, "").unwrap_err();
            assert!(error.to_string().contains("chmod 600"), "{error}");
        }
    }

    #[test]
    fn a_missing_file_says_where_it_comes_from() {
        let error = read_text(Path::new("/nowhere/x"), "make one").unwrap_err();
        assert_eq!(error.to_string(), "/nowhere/x is missing; make one");
    }

    #[test]
    fn a_huge_file_is_not_read_into_memory() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("huge");
        let file = File::create(&path).unwrap();
        file.set_len(FILE_BYTES_MAX + 1).unwrap();
        let error = read_text(&path, "").unwrap_err();
        assert!(matches!(error, FileError::TooLarge { .. }), "{error}");
    }
}
