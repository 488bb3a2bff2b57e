//! `violeta store dump`: the spaces of a version, or the keys and values of one.

use std::path::PathBuf;

use bytes::Bytes;
use clap::Args;
use serde::Serialize;
use violeta_types::api::Readable;
use violeta_vlsm::Snapshot;
use violeta_vlsm::limits::PAGE_ENTRIES_MAX;

use super::text::{Stream, ValueView, Values};
use super::{Opened, each};
use crate::error::{CliError, CliResult};
use crate::terminal::Terminal;

/// Arguments of `violeta store dump`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  violeta store dump net/v0
  violeta store dump net/v0 --space greetings
  violeta store dump net/v0 --space greetings --at 7 --json | jq -r .value

Without --space the spaces are listed, each with how many keys it has: of a validator, the namespaces, and the machine's \
own, which begin with _. With it a line is a key, a tab and the value, in the order in which the tree has them. What isn't \
plain text is written in hexadecimal, after hex:. Of a validator's values the height that wrote them is taken off; --json \
tells it too.")]
pub(super) struct DumpArgs {
    /// The store's directory, or a validator's.
    dir: PathBuf,
    /// Whose keys and values to list.
    #[arg(long, value_name = "NAME")]
    space: Option<Readable>,
    /// List the version of this number, or the one before it; by default the newest.
    #[arg(long, value_name = "VERSION", visible_alias = "version")]
    at: Option<u64>,
    /// Show values as they are stored: a validator's begin with the height that wrote them.
    #[arg(long, requires = "space")]
    raw: bool,
}

/// A space, for programs.
#[derive(Debug, Serialize)]
struct SpaceView {
    space: Readable,
    keys: u64,
    root: String,
}

/// A key, for programs.
#[derive(Debug, Serialize)]
struct EntryView {
    key: Readable,
    #[serde(flatten)]
    value: ValueView,
}

/// Lists spaces, or keys and values.
///
/// # Errors
/// If there is no such store, version or space, or it is damaged.
pub(super) fn run(args: &DumpArgs, terminal: &Terminal) -> CliResult {
    let opened = Opened::open(&args.dir)?;
    let snapshot = opened.snapshot(args.at)?;
    let mut stream = Stream::new(terminal);
    match &args.space {
        None => tell_spaces(&opened, &snapshot, &mut stream)?,
        Some(space) => tell_entries(&opened, &snapshot, space, args.raw, &mut stream)?,
    }
    stream.flush()
}

/// Lists the spaces of a version.
pub(super) fn tell_spaces(
    opened: &Opened,
    snapshot: &Snapshot,
    stream: &mut Stream<'_>,
) -> CliResult {
    opened.each_space(snapshot, |name, record| {
        let view = SpaceView {
            space: Readable(name.to_vec()),
            keys: record.count,
            root: record.root.to_string(),
        };
        stream.tell(format_args!("{}\t{}", view.space, view.keys), &view)
    })
}

fn tell_entries(
    opened: &Opened,
    snapshot: &Snapshot,
    space: &Readable,
    raw: bool,
    stream: &mut Stream<'_>,
) -> CliResult {
    if opened.tell(snapshot.space(&space.0))?.is_none() {
        let version = snapshot.version();
        return Err(
            CliError::failed(format!("there is no space {space} at version {version}"))
                .help("the same command without --space lists them"),
        );
    }
    let values = Values::of(opened, snapshot, raw)?;
    each(
        opened.path.display(),
        |after| snapshot.entries(&space.0, after, PAGE_ENTRIES_MAX),
        |(key, value): (Bytes, Bytes)| {
            let view = EntryView {
                key: Readable(key.to_vec()),
                value: values.read(value),
            };
            stream.tell(format_args!("{}\t{}", view.key, view.value.value), &view)
        },
    )
}
