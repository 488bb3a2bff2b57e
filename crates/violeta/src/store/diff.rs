//! `violeta store diff`: what differs between two versions, of one store or of two.

use std::path::PathBuf;

use clap::Args;
use serde::Serialize;
use violeta_proof::tree::SpaceRecord;
use violeta_types::Domain;
use violeta_types::api::Readable;
use violeta_vlsm::limits::PAGE_ENTRIES_MAX;
use violeta_vlsm::{Change, Snapshot, SpaceChange};

use super::text::{Stream, ValueView, Values};
use super::{Opened, each, explain};
use crate::error::{CliError, CliResult};
use crate::terminal::{Terminal, Tone, count, shortened};

const VALUE_CHARACTERS: usize = 60;

/// Arguments of `violeta store diff`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  violeta store diff net/v0 7 9
  violeta store diff net/v0 7 9 --space greetings --json
  violeta store diff net/v0 9 9 --with net/v1

A line begins with + for a key that came, - for one that went, ~ for one whose value changed. It takes as long as what \
differs is much, however much else there is: what has the same digest in both isn't read. With --with the second version \
is another store's: two validators' stores differ in nothing at the same height.")]
pub(super) struct DiffArgs {
    /// The store's directory, or a validator's.
    dir: PathBuf,
    /// The older version: this one, or the one before it.
    #[arg(value_name = "V1")]
    old: u64,
    /// The newer version.
    #[arg(value_name = "V2")]
    new: u64,
    /// Only what differs in this space.
    #[arg(long, value_name = "NAME")]
    space: Option<Readable>,
    /// The store, or validator, that the newer version is of; by default the same.
    #[arg(long, value_name = "DIR")]
    with: Option<PathBuf>,
    /// Show values in full.
    #[arg(long)]
    full: bool,
    /// Show values as they are stored: a validator's begin with the height that wrote them.
    #[arg(long)]
    raw: bool,
}

/// A space that differs, for programs.
#[derive(Debug, Serialize)]
struct SpaceView {
    space: Readable,
    old: Option<RecordView>,
    new: Option<RecordView>,
}

#[derive(Debug, Serialize)]
struct RecordView {
    keys: u64,
    root: String,
}

impl From<SpaceRecord> for RecordView {
    fn from(record: SpaceRecord) -> Self {
        RecordView {
            keys: record.count,
            root: record.root.to_string(),
        }
    }
}

/// A key that differs, for programs.
#[derive(Debug, Serialize)]
struct ChangeView {
    space: Readable,
    key: Readable,
    old: Option<ValueView>,
    new: Option<ValueView>,
}

/// What is compared, and how it is shown.
struct Comparison<'a> {
    args: &'a DiffArgs,
    terminal: &'a Terminal,
    /// Whose versions.
    name: String,
    old: Snapshot,
    new: Snapshot,
    values: Values,
}

/// Lists what differs.
///
/// # Errors
/// If there is no such store or version, or it is damaged.
pub(super) fn run(args: &DiffArgs, terminal: &Terminal) -> CliResult {
    let opened = Opened::open(&args.dir)?;
    let other = match &args.with {
        Some(dir) if !opened.is_at(dir)? => Some(Opened::open(dir)?),
        _ => None,
    };
    let other = other.as_ref().unwrap_or(&opened);
    let (old, new) = (
        opened.snapshot(Some(args.old))?,
        other.snapshot(Some(args.new))?,
    );
    let comparison = Comparison {
        args,
        terminal,
        name: match other.path == opened.path {
            true => opened.path.display().to_string(),
            false => format!("{} or {}", opened.path.display(), other.path.display()),
        },
        values: Values::of(other, &new, args.raw)?,
        old,
        new,
    };
    let mut stream = Stream::new(terminal);
    let found = comparison.tell(&mut stream)?;
    stream.flush()?;
    match found {
        0 => terminal.line("nothing differs"),
        _ => Ok(()),
    }
}

impl Comparison<'_> {
    /// Tells what differs, and in how many spaces something does.
    fn tell(&self, stream: &mut Stream<'_>) -> CliResult<u64> {
        if let Some(name) = &self.args.space {
            return self.tell_only(name, stream);
        }
        let mut found = 0;
        each(
            &self.name,
            |after| self.new.changed_spaces(&self.old, after, PAGE_ENTRIES_MAX),
            |space| {
                found += 1;
                let name = Readable(space.name.to_vec());
                self.tell_space(&name, &space, stream)
            },
        )?;
        Ok(found)
    }

    /// The same of one space, which the others aren't looked at for.
    fn tell_only(&self, name: &Readable, stream: &mut Stream<'_>) -> CliResult<u64> {
        let record = |snapshot: &Snapshot| {
            let found = snapshot.space(&name.0);
            found.map_err(|error| explain(&self.name, error))
        };
        let (old, new) = (record(&self.old)?, record(&self.new)?);
        if old.is_none() && new.is_none() {
            let (old, new) = (self.old.version(), self.new.version());
            let message = format!("no space {name} at version {old}, nor at {new}");
            let list = "violeta store dump DIR lists a version's spaces";
            return Err(CliError::failed(message).during(&self.name).help(list));
        }
        if old == new {
            return Ok(0);
        }
        let space = SpaceChange {
            name: name.0.clone().into(),
            old,
            new,
        };
        self.tell_space(name, &space, stream)?;
        Ok(1)
    }

    fn tell_space(
        &self,
        name: &Readable,
        space: &SpaceChange,
        stream: &mut Stream<'_>,
    ) -> CliResult {
        let record = |record: &Option<SpaceRecord>| record.map(RecordView::from);
        let view = SpaceView {
            space: name.clone(),
            old: record(&space.old),
            new: record(&space.new),
        };
        let headline = self.terminal.paint(Tone::Strong, headline(&view));
        stream.tell(headline, &view)?;
        each(
            &self.name,
            |after| {
                self.new
                    .changes(&self.old, &space.name, after, PAGE_ENTRIES_MAX)
            },
            |change| self.tell_key(name, change, stream),
        )
    }

    fn tell_key(&self, space: &Readable, change: Change, stream: &mut Stream<'_>) -> CliResult {
        let view = ChangeView {
            space: space.clone(),
            key: Readable(change.key.to_vec()),
            old: change.old.map(|value| self.values.read(value)),
            new: change.new.map(|value| self.values.read(value)),
        };
        let value = |value: &ValueView| match self.args.full {
            true => value.value.to_string(),
            false => shortened(&value.value.to_string(), VALUE_CHARACTERS),
        };
        let (mark, tone, values) = match (&view.old, &view.new) {
            (Some(old), Some(new)) => {
                let (mut shown, mut also) = (value(old), value(new));
                if shown == also {
                    shown += &distinction(old);
                    also += &distinction(new);
                }
                ("~", Tone::Warn, format!("{shown} → {also}"))
            }
            (Some(old), None) => ("-", Tone::Bad, value(old)),
            (None, new) => ("+", Tone::Good, new.as_ref().map(value).unwrap_or_default()),
        };
        let mark = self.terminal.paint(tone, mark);
        stream.tell(format_args!("{mark} {}\t{values}", view.key), &view)
    }
}

/// What tells a value from one that is shown alike: its digest if not all of it is shown, and where it was written.
fn distinction(value: &ValueView) -> String {
    let bytes = &value.value.0;
    let digest = Domain::TreeValue.hash(bytes);
    match value.written_at {
        Some(height) => format!(
            " ({} bytes, digest {digest}, written at {height})",
            bytes.len()
        ),
        None => format!(" ({} bytes, digest {digest})", bytes.len()),
    }
}

fn headline(view: &SpaceView) -> String {
    let keys = |record: &RecordView| count(record.keys, "key");
    match (&view.old, &view.new) {
        (Some(old), Some(new)) if old.keys == new.keys => format!("{}: {}", view.space, keys(new)),
        (Some(old), Some(new)) => format!("{}: {} → {}", view.space, keys(old), keys(new)),
        (Some(old), None) => format!("{}: gone, had {}", view.space, keys(old)),
        (None, Some(new)) => format!("{}: new, {}", view.space, keys(new)),
        (None, None) => view.space.to_string(),
    }
}
