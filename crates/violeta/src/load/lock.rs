//! Who keeps a load's progress: one process at a time.
//!
//! The progress file is replaced whole whenever it is written, so its lock is a file of its own, FILE.progress.lock. It is
//! there as long as the load runs; one that a killed process left behind is locked by nobody, and does no harm.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::error::{CliError, CliResult};

/// Nobody else keeps this progress until it is dropped.
#[derive(Debug)]
pub(crate) struct Lock {
    path: PathBuf,
    _file: File,
}

impl Lock {
    /// Locks a progress file, which needn't be there.
    ///
    /// # Errors
    /// If another process has it, or it can't be locked.
    pub(crate) fn of(progress: &Path) -> CliResult<Lock> {
        let mut path = progress.as_os_str().to_owned();
        path.push(".lock");
        let path = PathBuf::from(path);
        loop {
            let found = lock(&path).map_err(|error| match error {
                TryLockError::WouldBlock => CliError::failed(format!(
                    "another load keeps its progress in {} now",
                    progress.display()
                ))
                .help("wait until it has ended; the same command then goes on where that ended"),
                TryLockError::Error(e) => {
                    CliError::failed(format!("can't lock {}: {e}", path.display()))
                }
            })?;
            // None if who had it removed it in between: the next one finds another file there.
            if let Some(file) = found {
                return Ok(Lock { path, _file: file });
            }
        }
    }
}

/// The file, locked; none if it isn't the one that others find under this name any more.
fn lock(path: &Path) -> Result<Option<File>, TryLockError> {
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .open(path)
        .map_err(TryLockError::Error)?;
    file.try_lock()?;
    let is_there = is_at(&file, path).map_err(TryLockError::Error)?;
    Ok(is_there.then_some(file))
}

fn is_at(file: &File, path: &Path) -> io::Result<bool> {
    let there = match std::fs::metadata(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(false),
        there => there?,
    };
    let file = file.metadata()?;
    Ok((file.dev(), file.ino()) == (there.dev(), there.ino()))
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Still locked, so nobody else's is removed. If it can't be, the next one takes it.
        let _ = std::fs::remove_file(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_at_a_time_has_it_and_nothing_is_left_of_it() {
        let dir = tempfile::tempdir().unwrap();
        let progress = dir.path().join("rows.tsv.progress");
        let first = Lock::of(&progress).unwrap();
        let error = Lock::of(&progress).unwrap_err();
        assert!(error.message.contains("rows.tsv.progress now"), "{error}");
        assert!(first.path.exists(), "who was refused removes nothing");
        drop(first);
        drop(Lock::of(&progress).unwrap());
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn what_a_killed_process_left_is_taken() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("p.lock"), "").unwrap();
        Lock::of(&dir.path().join("p")).unwrap();
    }

    #[test]
    fn a_lock_of_a_file_that_was_removed_or_replaced_is_none() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("p.lock");
        let file = lock(&path).unwrap().unwrap();
        assert!(is_at(&file, &path).unwrap());
        std::fs::remove_file(&path).unwrap();
        assert!(!is_at(&file, &path).unwrap());
        std::fs::write(&path, "").unwrap();
        assert!(!is_at(&file, &path).unwrap());
    }

    #[test]
    fn threads_that_want_it_at_once_never_have_it_together() {
        let dir = tempfile::tempdir().unwrap();
        let progress = dir.path().join("p");
        let held = std::sync::atomic::AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..200 {
                        let Ok(lock) = Lock::of(&progress) else {
                            continue;
                        };
                        let others = held.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                        assert_eq!(others, 0);
                        held.fetch_sub(1, std::sync::atomic::Ordering::SeqCst);
                        drop(lock);
                    }
                });
            }
        });
    }
}
