//! The data directory: one process's, one chain's, one machine's.
//!
//! ```text
//!  data/node.json     format, chain, machine: what everything in here belongs to
//!  data/journal/      vertices, commits, blocks, certificates            the truth: never put a copy back
//!  data/store/        the machine's state                                the truth, with the journal
//!  data/index/        LMDB                                               made anew if lost
//! ```
//!
//! Formats: 1 had journals that don't say how they began; 2 has ([`provision`](crate::provision)).

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use violeta_journal::{DirLock, Disk, DiskError};
use violeta_types::ChainId;

use crate::config::MachineKind;
use crate::files::{self, FileError, PUBLIC_MODE};

/// The format of the directory. Another is refused, and upgraded by the release that knows both.
pub const FORMAT: u32 = 2;
/// The file that says what the directory belongs to.
pub const MARKER_FILE: &str = "node.json";
/// The journal's directory.
pub const JOURNAL: &str = "journal";
/// The machine's directory.
pub const STORE: &str = "store";
/// The index's directory.
pub const INDEX: &str = "index";

/// Why a directory can't be used.
#[derive(Debug, thiserror::Error)]
pub enum DirectoryError {
    /// It can't be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// It can't be had.
    #[error("can't use {}: {source}", path.display())]
    Lock {
        /// Which directory.
        path: PathBuf,
        /// Who holds it, or what is wrong with the disk.
        source: DiskError,
    },
    /// The marker isn't one.
    #[error("{} isn't what it should be ({reason}): is this a data directory of Violeta?", path.display())]
    Malformed {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// It holds another chain's data.
    #[error(
        "{} holds the data of chain {found}, but the genesis is that of chain {wanted}: \
         set node.data_dir to another directory, or node.genesis to that chain's file", path.display()
    )]
    OtherChain {
        /// Which directory.
        path: PathBuf,
        /// Whose data it holds.
        found: ChainId,
        /// Whose it should hold.
        wanted: ChainId,
    },
    /// It holds another machine's data.
    #[error(
        "{} holds the data of the {found:?} machine, but node.machine is {wanted:?}: \
         set node.machine back, or node.data_dir to another directory", path.display()
    )]
    OtherMachine {
        /// Which directory.
        path: PathBuf,
        /// Whose data it holds.
        found: MachineKind,
        /// Whose it should hold.
        wanted: MachineKind,
    },
    /// It was written by another release.
    #[error("{} has format {found}, this release reads {FORMAT}: run the release that wrote it", path.display())]
    OtherFormat {
        /// Which directory.
        path: PathBuf,
        /// Its format.
        found: u32,
    },
}

#[derive(Serialize, Deserialize)]
struct Marker {
    format: u32,
    chain: ChainId,
    machine: MachineKind,
}

/// Makes a directory this process's, this chain's and this machine's, as long as the lock is held. It is made if it
/// isn't there; `disk` has its files.
///
/// # Errors
/// If it is another's, or can't be used.
pub(crate) fn take(
    path: &Path,
    disk: &dyn Disk,
    chain: ChainId,
    machine: MachineKind,
) -> Result<DirLock, DirectoryError> {
    files::create_directory(path, 0o700)?;
    let lock = disk.lock("").map_err(|source| DirectoryError::Lock {
        path: path.to_owned(),
        source,
    })?;
    claim(path, chain, machine)?;
    Ok(lock)
}

/// Makes sure that a directory is this chain's and this machine's; a new one becomes so.
fn claim(path: &Path, chain: ChainId, machine: MachineKind) -> Result<(), DirectoryError> {
    let marker = path.join(MARKER_FILE);
    if !marker.exists() {
        let new = Marker {
            format: FORMAT,
            chain,
            machine,
        };
        let text = serde_json::to_string_pretty(&new).map_err(|e| malformed(&marker, &e))?;
        return Ok(files::write_atomic(&marker, text.as_bytes(), PUBLIC_MODE)?);
    }
    let text = files::read_text(&marker, "it was there a moment ago")?;
    let found: Marker = serde_json::from_str(&text).map_err(|e| malformed(&marker, &e))?;
    let path = path.to_owned();
    if found.format != FORMAT {
        let found = found.format;
        return Err(DirectoryError::OtherFormat { path, found });
    }
    if found.chain != chain {
        return Err(DirectoryError::OtherChain {
            path,
            found: found.chain,
            wanted: chain,
        });
    }
    if found.machine != machine {
        return Err(DirectoryError::OtherMachine {
            path,
            found: found.machine,
            wanted: machine,
        });
    }
    Ok(())
}

fn malformed(path: &Path, error: &serde_json::Error) -> DirectoryError {
    DirectoryError::Malformed {
        path: path.to_owned(),
        reason: error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use violeta_types::Digest;

    #[test]
    fn a_directory_belongs_to_one_chain_and_one_machine() {
        let dir = tempfile::tempdir().unwrap();
        let [ours, theirs] = [1, 2].map(|i| ChainId(Digest([i; 32])));
        let claim = |chain, machine| claim(dir.path(), chain, machine);
        claim(ours, MachineKind::Database).unwrap();
        claim(ours, MachineKind::Database).unwrap();
        let error = claim(theirs, MachineKind::Database).unwrap_err();
        assert!(matches!(error, DirectoryError::OtherChain { .. }));
        let error = claim(ours, MachineKind::Null).unwrap_err();
        assert!(matches!(error, DirectoryError::OtherMachine { .. }));
    }

    #[test]
    fn another_format_and_another_file_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let chain = ChainId(Digest([1; 32]));
        claim(dir.path(), chain, MachineKind::Database).unwrap();
        let path = dir.path().join(MARKER_FILE);
        let newer = std::fs::read_to_string(&path)
            .unwrap()
            .replace("\"format\": 2", "\"format\": 3");
        std::fs::write(&path, newer).unwrap();
        let error = claim(dir.path(), chain, MachineKind::Database).unwrap_err();
        assert!(matches!(
            error,
            DirectoryError::OtherFormat { found: 3, .. }
        ));
        std::fs::write(&path, "{}").unwrap();
        let error = claim(dir.path(), chain, MachineKind::Database).unwrap_err();
        assert!(matches!(error, DirectoryError::Malformed { .. }));
    }
}
