//! Setting a validator up: its data directory, with a journal that says that nothing was signed before it.
//!
//! Done once in the life of a validator's key, by whoever sets it up. `start` never does it by itself: an empty
//! directory may as well be what a lost disk left (consensus.md §9, [`violeta_replica::provision`]).

use std::path::PathBuf;
use std::sync::Arc;

use violeta_journal::disk::create_dirs;
use violeta_journal::{Disk, RealDisk};
use violeta_replica::{Provision, Record, Status};
use violeta_types::api::{Amnesia, RejoinProgress};

use crate::config::{Config, MachineKind};
use crate::directory::{self, DirectoryError, JOURNAL, STORE};
use crate::genesis::{self, GenesisFileError};
use crate::journal::{Appender, JournalError, JournalFiles};
use crate::keys::{KeyError, NodeKeys};

/// Why a validator can't be set up.
#[derive(Debug, thiserror::Error)]
pub enum ProvisionError {
    /// The genesis.
    #[error(transparent)]
    Genesis(#[from] GenesisFileError),
    /// The keys.
    #[error(transparent)]
    Keys(#[from] KeyError),
    /// The directory can't be had, or is another's.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    /// The journal.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// It was done before.
    #[error(
        "{} has a validator's data already: start it. A validator is set up once; if its journal was lost, start it all \
         the same: it follows until the next epoch, or, with recovery.rejoin_after_lost_journal, until the others have \
         told it how far it had got", .0.display()
    )]
    Used(PathBuf),
}

/// Sets up the validator of a configuration.
///
/// # Errors
/// If it was set up before, or its directory can't be made.
pub fn provision(config: &Config) -> Result<(), ProvisionError> {
    let genesis = genesis::load(&config.node.genesis)?;
    let (keys, _) = NodeKeys::load(&config.node.keys_dir, &genesis.committee)?;
    let provision = Provision {
        chain: genesis.chain_id(),
        validator: keys.validator.public_key(),
    };
    let dir = config.node.data_dir.clone();
    make_directory(dir, config.node.machine, provision)
}

/// Makes the data directory of a validator that has signed nothing yet.
///
/// # Errors
/// As for [`provision`].
pub(crate) fn make_directory(
    path: PathBuf,
    machine: MachineKind,
    provision: Provision,
) -> Result<(), ProvisionError> {
    let disk = Arc::new(RealDisk::new(path.clone()));
    let _lock = directory::take(&path, &*disk, provision.chain, machine)?;
    match begin_journal(disk, provision)? {
        true => Ok(()),
        false => Err(ProvisionError::Used(path)),
    }
}

/// Writes the first record of a journal, durably. Says whether there was room for a first one: a journal that has been
/// used, or whose store has, is left as it is.
pub(crate) fn begin_journal(
    disk: Arc<dyn Disk>,
    provision: Provision,
) -> Result<bool, JournalError> {
    let store = create_dirs(&*disk, STORE).and_then(|()| disk.list(STORE));
    if !store
        .map_err(violeta_journal::JournalError::from)?
        .is_empty()
    {
        return Ok(false);
    }
    let mut journal = JournalFiles::open(disk, JOURNAL, provision.chain)?;
    if journal.end() > 0 {
        return Ok(false);
    }
    let record = Record::Provision(provision);
    journal.append(record.kind() as u8, &record.to_bytes())?;
    journal.sync()?;
    Ok(true)
}

/// Why a replica may have signed what it doesn't know of any more, if it may.
pub fn why_amnesia(status: &Status) -> Option<Amnesia> {
    match (status.amnesia, status.broken) {
        (false, _) => None,
        (true, false) => Some(Amnesia::Lost),
        (true, true) => Some(Amnesia::Broken),
    }
}

/// How far a replica is with asking the others what its journal lost.
pub fn progress(status: &Status) -> Option<RejoinProgress> {
    let rejoining = status.rejoining?;
    Some(RejoinProgress {
        heard: rejoining.heard.0,
        needed: rejoining.needed.0,
    })
}

/// What an operator is told of a validator that may have signed what it doesn't know of any more; of one whose journal
/// was lost, also whether it asks the others.
pub fn amnesia(kind: Amnesia, rejoining: Option<RejoinProgress>) -> String {
    match (kind, rejoining) {
        (Amnesia::Broken, _) => BROKEN.into(),
        (Amnesia::Lost, None) => AMNESIA.into(),
        (Amnesia::Lost, Some(RejoinProgress { heard, needed })) => format!(
            "{LOST}, until the others have told it how far it had got: a stake of {heard} of {needed} has so far, each \
             whose newest vertex is here. Keep the others up. Find out why the journal is gone, and make sure that no \
             other process runs with its keys"
        ),
    }
}

const LOST: &str = "its journal was lost, so it may have signed what it doesn't know of any more: it follows, serves and \
    attests, but makes no vertex and takes no transactions";

/// What an operator is told of a validator whose journal was lost.
const AMNESIA: &str = "its journal was lost, so it may have signed what it doesn't know of any more: it follows, \
    serves and attests, but makes no vertex and takes no transactions until the next epoch, and counts among the f that \
    may be faulty. Leave it running, keep the others up, and find out why the journal is gone. If what ran with its keys \
    is gone for good, recovery.rejoin_after_lost_journal lets it go on once the others have told it how far it had got. \
    If this validator has never run before: stop it, remove its data directory, and run `violeta provision` once";

/// What an operator is told of a validator whose journal isn't all that was made with its key.
const BROKEN: &str = "its journal lacks a vertex that was made with its key: it was put back from a copy, or lost its \
    end on the disk, or another process runs with this validator's keys. It follows, serves and attests, but makes no \
    vertex and takes no transactions until the next epoch, and counts among the f that may be faulty. Nothing brings it \
    back before that, recovery.rejoin_after_lost_journal neither: whatever the cause is may go on. Leave it running, \
    keep the others up, stop whatever else runs with its keys, and never start on a copy of a journal";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_owner_of_a_broken_past_isnt_told_to_ask_a_quorum_nor_to_begin_anew() {
        let progress = RejoinProgress {
            heard: 2,
            needed: 3,
        };
        for rejoining in [None, Some(progress)] {
            let text = amnesia(Amnesia::Broken, rejoining);
            assert!(text.contains("put back from a copy") && !text.contains("was lost"));
            assert!(!text.contains("violeta provision"), "{text}");
        }
        let lost = amnesia(Amnesia::Lost, None);
        assert!(lost.contains("its journal was lost") && lost.contains("violeta provision"));
        assert!(amnesia(Amnesia::Lost, Some(progress)).contains("2 of 3"));
    }
}
