//! `violeta store prune` and `violeta store compact`: letting old versions go, and taking back their room.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::{ArgGroup, Args};
use serde::Serialize;
use violeta_db::records::PARAMETERS;
use violeta_journal::RealDisk;
use violeta_types::Height;
use violeta_vlsm::{Options, Retention, Store, StoreError};

use super::text::bytes_text;
use super::{explain, place};
use crate::error::{CliError, CliResult};
use crate::terminal::{Terminal, Tone, count};

/// Versions of a validator's store that are kept at least: after a power cut it goes back to where its journal ends.
const VALIDATOR_KEEP_MIN: u64 = 1_000;

/// Arguments of `violeta store prune`.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("window").required(true))]
#[command(after_help = "Examples:
  violeta store prune books --keep 10000
  violeta store prune books --oldest 52000 --pin 1 --pin 40000

Versions before the window can't be read any more, nor proved; those that are pinned stay, and so do those that were \
pinned before, unless --unpin is given. What a version needs that stays is kept, whenever it was written. Nothing that \
stays changes: neither roots nor proofs. There is no way back. Of a validator's store 1,000 versions stay at least.")]
pub(super) struct PruneArgs {
    /// The store's directory, or a validator's.
    dir: PathBuf,
    /// Keep so many numbers of versions, the newest one's among them.
    #[arg(long, value_name = "COUNT", group = "window", value_parser = clap::value_parser!(u64).range(1..))]
    keep: Option<u64>,
    /// Keep all from this version on.
    #[arg(long, value_name = "VERSION", group = "window")]
    oldest: Option<u64>,
    /// Keep this version too; may be given several times.
    #[arg(long, value_name = "VERSION")]
    pin: Vec<u64>,
    /// Let go of versions that were pinned before.
    #[arg(long)]
    unpin: bool,
}

/// Arguments of `violeta store compact`.
#[derive(Debug, Args)]
#[command(after_help = "Example:
  violeta store compact books

Needed only where violeta store prune, or a program that prunes, was interrupted. It takes nothing that can be read.")]
pub(super) struct CompactArgs {
    /// The store's directory, or a validator's.
    dir: PathBuf,
}

/// What was done, for programs.
#[derive(Debug, Serialize)]
struct PrunedView {
    store: PathBuf,
    oldest: Height,
    newest: Height,
    pinned: Vec<Height>,
    versions_gone: u64,
    freed_bytes: u64,
}

/// Lets versions go.
///
/// # Errors
/// If there are no such versions, or the store is damaged, or the disk fails.
pub(super) fn prune(args: &PruneArgs, terminal: &Terminal) -> CliResult {
    let open = Open::at(&args.dir)?;
    let newest = open.store.latest().version();
    let kept = open.kept()?;
    let oldest = match (args.keep, args.oldest) {
        (Some(keep), _) => Height(newest.0.saturating_sub(keep - 1)).max(kept.oldest),
        (None, Some(oldest)) => Height(oldest),
        (None, None) => kept.oldest,
    };
    let least = Height(newest.0.saturating_sub(VALIDATOR_KEEP_MIN - 1)).max(kept.oldest);
    if oldest > least && open.is_validators()? {
        let message = format!(
            "{} is a validator's: versions from {least} on stay",
            open.shown()
        );
        return Err(CliError::usage(message).help(format!(
            "after a power cut a validator goes back to where its journal ends: keep {} at least",
            count(VALIDATOR_KEEP_MIN, "version")
        )));
    }
    let mut pinned: Vec<_> = args.pin.iter().copied().map(Height).collect();
    if !args.unpin {
        pinned.extend(kept.pinned);
    }
    pinned.sort_unstable();
    pinned.dedup();
    open.keep(&Retention { oldest, pinned }, terminal)
}

/// Takes back room.
///
/// # Errors
/// If the store is damaged, or the disk fails.
pub(super) fn compact(args: &CompactArgs, terminal: &Terminal) -> CliResult {
    let open = Open::at(&args.dir)?;
    let kept = open.kept()?;
    open.keep(&kept, terminal)
}

/// A store that may be changed.
struct Open {
    path: PathBuf,
    store: Store,
}

impl Open {
    fn at(dir: &Path) -> CliResult<Open> {
        let path = place::find(dir)?;
        let disk = Arc::new(RealDisk::new(path.clone()));
        let opened = Store::open(disk, "", Options::default());
        let store = opened.map_err(|error| explain(path.display(), error))?;
        Ok(Open { path, store })
    }

    fn shown(&self) -> impl std::fmt::Display {
        self.path.display()
    }

    fn tell<T>(&self, done: Result<T, StoreError>) -> CliResult<T> {
        done.map_err(|error| explain(self.path.display(), error))
    }

    fn kept(&self) -> CliResult<Retention> {
        let kept = self.tell(self.store.retention())?;
        kept.ok_or_else(|| CliError::failed(format!("{} has no version", self.shown())))
    }

    fn is_validators(&self) -> CliResult<bool> {
        self.tell(self.store.latest().contains(PARAMETERS, b"chain"))
    }

    /// Keeps these versions, and takes back the room of all others.
    fn keep(&self, retention: &Retention, terminal: &Terminal) -> CliResult {
        let before = self.store.stats().versions;
        let mut writer = self.tell(self.store.writer())?;
        self.tell(writer.prune(retention))?;
        self.tell(writer.checkpoint())?;
        let mut freed_bytes = 0;
        if let Some(mut compaction) = self.tell(self.store.compaction())? {
            let bar = terminal.progress(0, "");
            bar.set_message("looking for what is still needed, and copying it");
            while self.tell(compaction.step())? {
                bar.tick();
            }
            bar.finish_and_clear();
            freed_bytes = compaction.freed_bytes();
        }
        let kept = self.kept()?;
        let view = PrunedView {
            store: self.path.clone(),
            oldest: kept.oldest,
            newest: self.store.latest().version(),
            pinned: kept.pinned,
            versions_gone: before - self.store.stats().versions,
            freed_bytes,
        };
        terminal.object(&view)?;
        show(&view, terminal)
    }
}

fn show(view: &PrunedView, terminal: &Terminal) -> CliResult {
    let mark = terminal.paint(Tone::Good, "✓");
    let gone = count(view.versions_gone, "version");
    let freed = bytes_text(view.freed_bytes);
    terminal.line(format!("{mark} {gone} gone, {freed} free"))?;
    let pinned: Vec<_> = view.pinned.iter().map(Height::to_string).collect();
    let pinned = match pinned.is_empty() {
        true => String::new(),
        false => format!(", and pinned {}", pinned.join(", ")),
    };
    terminal.line(format!(
        "{} has versions {} to {}{pinned}",
        view.store.display(),
        view.oldest,
        view.newest
    ))
}
