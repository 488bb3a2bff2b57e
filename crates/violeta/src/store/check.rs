//! `violeta store check`: whether all of a store is as it was written.

use std::path::PathBuf;

use clap::Args;
use indicatif::ProgressBar;
use serde::Serialize;
use violeta_types::Height;
use violeta_vlsm::Verified;

use super::Opened;
use super::text::bytes_text;
use crate::error::CliResult;
use crate::terminal::{Terminal, Tone, count};

/// Arguments of `violeta store check`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  violeta store check net/v0
  violeta store check net/v0/data/store --json

Reads the whole log, with the chain of checksums and each version's root, and of the newest version every page, node, \
key and value. Not checked here, but \
whenever it is read: what pages held at older versions, and pinned versions. Exit code 4 if something is damaged; \
it says which file, and where in it.")]
pub(super) struct CheckArgs {
    /// The store's directory, or a validator's.
    dir: PathBuf,
}

/// What was checked, for programs.
#[derive(Debug, Serialize)]
struct CheckView {
    store: PathBuf,
    sound: bool,
    newest: Height,
    root: String,
    versions: u64,
    log_bytes: u64,
    spaces: u64,
    keys: u64,
}

/// Checks a store.
///
/// # Errors
/// The first thing that is damaged.
pub(super) fn run(args: &CheckArgs, terminal: &Terminal) -> CliResult {
    let opened = Opened::open(&args.dir)?;
    let latest = opened.store.latest();
    let mut keys = 0;
    opened.each_space(&latest, |_, space| {
        keys += space.count;
        Ok(())
    })?;
    let bars = Bars {
        versions: terminal.progress(opened.store.stats().versions, "versions"),
        keys: terminal.progress(keys, "keys"),
    };
    let checked = opened.store.verify_watched(|so_far| bars.show(so_far));
    bars.clear();
    let verified = opened.tell(checked)?;
    let view = CheckView {
        store: opened.path,
        sound: true,
        newest: latest.version(),
        root: latest.root().to_string(),
        versions: verified.versions,
        log_bytes: verified.log_bytes,
        spaces: verified.spaces,
        keys: verified.keys,
    };
    terminal.object(&view)?;
    show(&view, terminal)
}

fn show(view: &CheckView, terminal: &Terminal) -> CliResult {
    let mark = terminal.paint(Tone::Good, "✓");
    terminal.line(format!(
        "{mark} {} in {} of log: every record, the chain of checksums, every root",
        count(view.versions, "version"),
        bytes_text(view.log_bytes),
    ))?;
    terminal.line(format!(
        "{mark} {} in {} at version {}: every page and node, every key and value",
        count(view.keys, "key"),
        count(view.spaces, "space"),
        view.newest,
    ))?;
    let sound = format!("{} is sound", view.store.display());
    terminal.line(terminal.paint(Tone::Strong, sound))
}

/// First the log, then the tree.
struct Bars {
    versions: ProgressBar,
    keys: ProgressBar,
}

impl Bars {
    fn show(&self, so_far: &Verified) {
        match so_far.keys {
            0 => self.versions.set_position(so_far.versions),
            keys => {
                self.versions.finish_and_clear();
                self.keys.set_position(keys);
            }
        }
    }

    fn clear(&self) {
        self.versions.finish_and_clear();
        self.keys.finish_and_clear();
    }
}
