//! `violeta store stats`: how much of what a store holds, and what that takes on the disk.

use std::cmp::Reverse;
use std::path::PathBuf;

use clap::Args;
use serde::Serialize;
use violeta_journal::RealDisk;
use violeta_types::Height;
use violeta_types::api::Readable;
use violeta_vlsm::{FileUsage, Usage};

use super::Opened;
use super::dump::tell_spaces;
use super::text::{Stream, bytes_text};
use crate::error::CliResult;
use crate::terminal::{Terminal, Tone, count, table, thousands};

/// Spaces that people are shown: those with the most keys.
const SPACES_SHOWN: usize = 20;

/// Arguments of `violeta store stats`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  violeta store stats net/v0
  violeta store stats net/v0/data/store --json

Spaces are those of the newest version. The log is allocated ahead: what of it was written is shown apart. With --json the \
first object is about the store, each that follows about a space.")]
pub(super) struct StatsArgs {
    /// The store's directory, or a validator's.
    dir: PathBuf,
}

/// The store in numbers, for programs.
#[derive(Debug, Serialize)]
struct StatsView {
    store: PathBuf,
    versions: u64,
    oldest: Option<Height>,
    newest: Height,
    durable: Height,
    root: String,
    spaces: u64,
    keys: u64,
    files: Vec<FilesView>,
    bytes: u64,
    /// Of what was written, for each key of the newest version.
    bytes_per_key: Option<f64>,
}

/// Files of one kind.
#[derive(Debug, Serialize)]
struct FilesView {
    kind: &'static str,
    files: u64,
    /// How long they are.
    bytes: u64,
    /// What of that was written.
    written: u64,
}

impl FilesView {
    fn whole(kind: &'static str, usage: FileUsage) -> Self {
        FilesView {
            kind,
            files: usage.files,
            bytes: usage.bytes,
            written: usage.bytes,
        }
    }
}

/// Measures a store.
///
/// # Errors
/// If there is none, somebody uses it, or it is damaged.
pub(super) fn run(args: &StatsArgs, terminal: &Terminal) -> CliResult {
    let opened = Opened::open(&args.dir)?;
    let view = view(&opened)?;
    if !terminal.is_json() {
        show(&view, terminal)?;
        return show_spaces(&opened, &view, terminal);
    }
    terminal.object(&view)?;
    let mut stream = Stream::new(terminal);
    tell_spaces(&opened, &opened.store.latest(), &mut stream)?;
    stream.flush()
}

fn view(opened: &Opened) -> CliResult<StatsView> {
    let usage = opened.tell(Usage::of(&RealDisk::new(opened.path.clone()), ""))?;
    // Opening cuts off what of the log was allocated and not written.
    let written = opened.tell(Usage::of(&*opened.disk, ""))?.log.bytes;
    let (stats, latest) = (opened.store.stats(), opened.store.latest());
    let (mut spaces, mut keys) = (0, 0);
    opened.each_space(&latest, |_, space| {
        spaces += 1;
        keys += space.count;
        Ok(())
    })?;
    let log = FilesView {
        written: written.min(usage.log.bytes),
        ..FilesView::whole("log", usage.log)
    };
    let files = vec![
        log,
        FilesView::whole("pages", usage.pages),
        FilesView::whole("nodes", usage.nodes),
        FilesView::whole("index", usage.index),
        FilesView::whole("other", usage.other),
    ];
    let written: u64 = files.iter().map(|files| files.written).sum();
    Ok(StatsView {
        store: opened.path.clone(),
        versions: stats.versions,
        oldest: opened.tell(opened.store.oldest_version())?,
        newest: stats.latest,
        durable: stats.durable,
        root: latest.root().to_string(),
        spaces,
        keys,
        files,
        bytes: usage.total().bytes,
        bytes_per_key: (keys > 0).then(|| written as f64 / keys as f64),
    })
}

fn show(view: &StatsView, terminal: &Terminal) -> CliResult {
    let row = |name: &str, value: String| {
        let name = terminal.paint(Tone::Faint, format!("{name:<10}"));
        terminal.line(format!("{name}{value}"))
    };
    row("store", view.store.display().to_string())?;
    row("versions", versions_text(view))?;
    row("root", view.root.clone())?;
    let (keys, spaces) = (count(view.keys, "key"), count(view.spaces, "space"));
    row("keys", format!("{keys} in {spaces}"))?;
    terminal.line("")?;
    let mut files = table(
        &["files", "number", "long", "written", "a key"],
        &[1, 2, 3, 4],
    );
    for kind in &view.files {
        let a_key = match view.keys {
            0 => String::new(),
            keys => format!("{:.1} B", kind.written as f64 / keys as f64),
        };
        files.add_row([
            kind.kind.to_owned(),
            thousands(kind.files),
            bytes_text(kind.bytes),
            bytes_text(kind.written),
            a_key,
        ]);
    }
    terminal.table(&files)?;
    terminal.line("")
}

fn versions_text(view: &StatsView) -> String {
    let Some(oldest) = view.oldest else {
        return "none yet".into();
    };
    let durable = match view.durable == view.newest {
        true => "all durable".to_owned(),
        false => format!("durable to {}", view.durable),
    };
    let (versions, newest) = (thousands(view.versions), view.newest);
    format!("{versions}, from {oldest} to {newest}, {durable}")
}

/// The spaces that have the most keys.
fn show_spaces(opened: &Opened, view: &StatsView, terminal: &Terminal) -> CliResult {
    let mut largest = Vec::new();
    opened.each_space(&opened.store.latest(), |name, space| {
        largest.push((Reverse(space.count), name.clone()));
        if largest.len() > 2 * SPACES_SHOWN {
            largest.sort();
            largest.truncate(SPACES_SHOWN);
        }
        Ok(())
    })?;
    largest.sort();
    largest.truncate(SPACES_SHOWN);
    let mut spaces = table(&["space", "keys"], &[1]);
    for (Reverse(keys), name) in &largest {
        let name = Readable(name.to_vec()).to_string();
        spaces.add_row([name, thousands(*keys)]);
    }
    terminal.table(&spaces)?;
    match view.spaces.saturating_sub(largest.len() as u64) {
        0 => Ok(()),
        more => terminal.line(format!(
            " and {} with fewer keys: violeta store dump {} lists all",
            count(more, "space"),
            view.store.display(),
        )),
    }
}
