//! `violeta store`: a look into a store that nobody uses, and letting go of what is old in it.
//!
//! ```text
//!  DIR ── place ──▶ the store's directory ── disk (untouched) ──▶ Store ─┬─ check   is all of it as it was written?
//!                                                                        ├─ stats   how much of what is there?
//!                                                                        ├─ dump    which keys, with which values?
//!                                                                        └─ diff    what differs between two versions?
//!
//!  DIR ── place ──▶ the store's directory ── disk ─────────────▶ Store ─┬─ prune   let old versions go
//!                                                                       └─ compact take back what room is left of them
//! ```
//!
//! A store has one process at a time: the writer keeps the newest version's nodes in its own memory, and any other would
//! have to replay the log. Of a running validator the gateways answer readers.

mod check;
mod diff;
mod disk;
mod dump;
mod place;
mod prune;
mod stats;
mod text;

use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use clap::{Args, Subcommand};
use violeta_journal::{DiskError, RealDisk};
use violeta_proof::tree::SpaceRecord;
use violeta_types::Height;
use violeta_vlsm::limits::PAGE_ENTRIES_MAX;
use violeta_vlsm::{Options, Page, PageCursor, Snapshot, Store, StoreError};

use crate::error::{CliError, CliResult};
use crate::terminal::Terminal;
use disk::UntouchedDisk;

/// Arguments of `violeta store`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  violeta store check net/v0
  violeta store stats net/v0
  violeta store dump net/v0 --space greetings
  violeta store diff net/v0 7 9
  violeta store prune books --keep 10000

DIR is a store's directory, or a validator's, or its data directory. The store must not be in use: stop the validator \
first, or ask it, as violeta get and violeta history do. Only prune and compact change the store; what a start would \
repair, as a write that was cut off, the others repair in memory only.")]
pub(crate) struct StoreArgs {
    #[command(subcommand)]
    command: StoreCommand,
}

#[derive(Debug, Subcommand)]
enum StoreCommand {
    /// Check everything that can be checked without other validators.
    Check(check::CheckArgs),
    /// Show versions, spaces, and what they take on the disk.
    Stats(stats::StatsArgs),
    /// List spaces, or the keys and values of one.
    Dump(dump::DumpArgs),
    /// List what differs between two versions, or two stores.
    Diff(diff::DiffArgs),
    /// Let old versions go, and take back the room that they took.
    Prune(prune::PruneArgs),
    /// Take back the room of versions that were let go before.
    Compact(prune::CompactArgs),
}

/// Looks into a store.
///
/// # Errors
/// If there is none, somebody uses it, or it is damaged.
pub(crate) fn run(args: &StoreArgs, terminal: &Terminal) -> CliResult {
    match &args.command {
        StoreCommand::Check(args) => check::run(args, terminal),
        StoreCommand::Stats(args) => stats::run(args, terminal),
        StoreCommand::Dump(args) => dump::run(args, terminal),
        StoreCommand::Diff(args) => diff::run(args, terminal),
        StoreCommand::Prune(args) => prune::prune(args, terminal),
        StoreCommand::Compact(args) => prune::compact(args, terminal),
    }
}

/// A store, open for nobody else.
struct Opened {
    /// Its directory.
    path: PathBuf,
    /// Its files as they are once it is open.
    disk: Arc<UntouchedDisk>,
    store: Store,
}

impl Opened {
    /// Opens the store that `dir` leads to.
    fn open(dir: &Path) -> CliResult<Opened> {
        let path = place::find(dir)?;
        let disk = Arc::new(UntouchedDisk::new(Arc::new(RealDisk::new(path.clone()))));
        let opened = Store::open(disk.clone(), "", Options::default());
        let store = opened.map_err(|error| explain(path.display(), error))?;
        Ok(Opened { path, disk, store })
    }

    /// Whether `dir` leads to this store too, however it is spelled.
    fn is_at(&self, dir: &Path) -> CliResult<bool> {
        let real = |path: &Path| {
            let found = path.canonicalize();
            found.map_err(|error| CliError::failed(error).during(path.display()))
        };
        Ok(real(&self.path)? == real(&place::find(dir)?)?)
    }

    /// What an operation gave, or why it failed in words.
    fn tell<T>(&self, done: Result<T, StoreError>) -> CliResult<T> {
        done.map_err(|error| explain(self.path.display(), error))
    }

    /// Shows `visit` the spaces of a version.
    fn each_space(
        &self,
        snapshot: &Snapshot,
        mut visit: impl FnMut(&Bytes, &SpaceRecord) -> CliResult,
    ) -> CliResult {
        each(
            self.path.display(),
            |after| snapshot.spaces(after, PAGE_ENTRIES_MAX),
            |(name, record)| visit(&name, &record),
        )
    }

    /// A version; none: the newest.
    fn snapshot(&self, version: Option<u64>) -> CliResult<Snapshot> {
        match version {
            None => Ok(self.store.latest()),
            Some(version) => self.tell(self.store.snapshot(Height(version))),
        }
    }
}

/// Shows `visit` all of a listing, of which a page at a time is in memory. `path`: whose.
fn each<T>(
    path: impl Display,
    mut page: impl FnMut(Option<PageCursor>) -> Result<Page<T>, StoreError>,
    mut visit: impl FnMut(T) -> CliResult,
) -> CliResult {
    let mut after = None;
    loop {
        let listed = page(after).map_err(|error| explain(&path, error))?;
        listed.items.into_iter().try_for_each(&mut visit)?;
        after = listed.next;
        if after.is_none() {
            return Ok(());
        }
    }
}

/// What went wrong with the store at `path`, and what to do about it.
fn explain(path: impl Display, error: StoreError) -> CliError {
    match error {
        StoreError::Disk(DiskError::Locked { dir, holder }) => {
            let holder = holder.map_or("another process".to_owned(), |pid| format!("process {pid}"));
            CliError::failed(format!("{dir} is in use by {holder}")).help(
                "a store has one process at a time: stop that one first, or ask it: a validator that runs answers \
                 violeta get, violeta history and violeta status",
            )
        }
        error @ StoreError::Corrupt { .. } => CliError::unverified(error).during(path).help(
            "what is damaged is never served. Keep a copy if you want to know why, and check the disk. A validator's store \
             can be removed, and is rebuilt from its journal at the next start; any other comes from a copy of its own",
        ),
        error @ StoreError::Format { .. } => CliError::failed(error).during(path).help(
            "is it a store, and was it written by this release? A validator's can be removed, and is rebuilt from its \
             journal at the next start",
        ),
        StoreError::Importing { .. } => CliError::failed(format!(
            "{path} holds a part of a snapshot: its import isn't finished"
        ))
        .help("go on with the import, or remove the directory and begin it again"),
        error => CliError::failed(error).during(path),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Cause;

    #[test]
    fn damage_is_named_with_file_and_offset_and_has_an_exit_code_of_its_own() {
        let (file, what) = ("log-7".to_owned(), "not a record".to_owned());
        let offset = 12;
        let corrupt = StoreError::Corrupt { file, offset, what };
        let said = explain("net/v0/data/store", corrupt);
        assert_eq!(said.cause, Cause::Unverified);
        let message = "net/v0/data/store: log-7 is corrupt at byte 12: not a record";
        assert_eq!(said.message, message);
        assert!(said.help.unwrap().contains("rebuilt from its journal"));
    }

    #[test]
    fn whoever_holds_the_store_is_named() {
        let locked = |holder| {
            let dir = "store".to_owned();
            explain("store", DiskError::Locked { dir, holder }.into())
        };
        let said = locked(Some(7));
        assert_eq!(said.cause, Cause::Failed);
        assert_eq!(said.message, "store is in use by process 7");
        assert!(said.help.unwrap().contains("stop that one first"));
        assert!(locked(None).message.ends_with("another process"));
    }
}
