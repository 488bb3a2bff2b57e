//! `violeta diff`: all that changed in a namespace between two heights, verified, and verified to be all.

use clap::Args;
use serde::Serialize;
use violeta_client::{At, Client, ClientError, ProvedChanges};
use violeta_proof::StoredValue;
use violeta_proof::changes_proof::ChangedEntry;
use violeta_types::api::{PAGE_MAX, Readable, WrittenValue};
use violeta_types::{Domain, Height};

use crate::connect::{namespace_help, parse_height, reader, show_incidents, version};
use crate::context::ContextArgs;
use crate::error::{CliError, CliResult};
use crate::gateway::block_on;
use crate::list::CELL_CHARACTERS;
use crate::quorum::watched;
use crate::terminal::{Terminal, Tone, count, shortened, table};

/// Arguments of `violeta diff`.
#[derive(Debug, Args)]
#[command(mut_arg("key_file", |key| key.hide(true)))]
#[command(after_help = "Examples:
  violeta diff packages 3
  violeta diff packages 3 7 --json

Every change is verified before it is shown, and that none was left out. A value that was written again is a change, \
though it be the same; a key that was written and deleted in between is none.")]
pub(crate) struct DiffArgs {
    /// The namespace.
    namespace: Readable,
    /// The older height.
    #[arg(value_parser = parse_height)]
    from: u64,
    /// The newer height; by default the newest certified one.
    #[arg(value_parser = parse_height)]
    to: Option<u64>,
    /// Show keys and values in full.
    #[arg(long)]
    full: bool,
    #[command(flatten)]
    context: ContextArgs,
}

/// One change, for programs.
#[derive(Debug, Serialize)]
struct ChangeView {
    key: Readable,
    /// What it was; none if it wasn't there.
    old: Option<WrittenValue>,
    /// What it is; none if it isn't there any more.
    new: Option<WrittenValue>,
    /// Always: what isn't proved isn't shown.
    proved: bool,
}

impl From<&ChangedEntry> for ChangeView {
    fn from(change: &ChangedEntry) -> Self {
        let written = |value: &StoredValue| WrittenValue {
            written_at: value.written_at,
            value: Readable::from(&value.value[..]),
        };
        ChangeView {
            key: Readable::from(&change.key[..]),
            old: change.values.old.as_ref().map(written),
            new: change.values.new.as_ref().map(written),
            proved: true,
        }
    }
}

/// Shows what changed.
///
/// # Errors
/// If nobody answers truthfully.
pub(crate) fn run(args: &DiffArgs, terminal: &Terminal) -> CliResult {
    let client = reader(&args.context)?;
    let read = block_on(watched(&client, terminal, all_changes(&client, args)));
    show_incidents(&client, terminal);
    let (changes, to) = read?;
    if changes.is_empty() {
        require_namespace(&client, args, to)?;
    }
    let (from, characters) = (
        args.from,
        if args.full {
            usize::MAX
        } else {
            CELL_CHARACTERS
        },
    );
    let (before, after) = (format!("at {from}"), format!("at {to}"));
    let mut shown = table(&["key", &before, &after], &[]);
    for change in &changes {
        let view = ChangeView::from(change);
        let value = |value: &Option<WrittenValue>| match value {
            Some(written) => shortened(&written.value.to_string(), characters),
            None => terminal.paint(Tone::Faint, "(none)"),
        };
        let key = shortened(&view.key.to_string(), characters);
        let (mut old, mut new) = (value(&view.old), value(&view.new));
        if let (Some(before), Some(after)) = (&change.values.old, &change.values.new)
            && old == new
        {
            old += &distinction(before, after);
            new += &distinction(after, before);
        }
        shown.add_row([key, old, new]);
        terminal.object(&view)?;
    }
    if !changes.is_empty() {
        terminal.table(&shown)?;
    }
    let changed = count(changes.len(), "change");
    terminal.note(format!(
        "✓ {changed} between heights {from} and {to}, proved to be all"
    ));
    Ok(())
}

/// Where nothing changed, tells a namespace from one that isn't there.
fn require_namespace(client: &Client, args: &DiffArgs, to: Height) -> CliResult {
    let (namespace, at) = (&args.namespace.0, At::Height(to));
    let entries = async { Ok(client.entries(namespace, None, 1, at).await?) };
    match block_on(entries)?.part.count {
        Some(_) => Ok(()),
        None => {
            let (name, from) = (&args.namespace, args.from);
            let message = format!("there is no namespace {name} at height {to}, nor was at {from}");
            Err(CliError::failed(message).help(namespace_help(name)))
        }
    }
}

/// What tells a value from another that is shown alike: where it was written, or its digest if it is another.
fn distinction(value: &StoredValue, other: &StoredValue) -> String {
    match value.value == other.value {
        true => format!(" (written at {})", value.written_at),
        false => {
            let (bytes, digest) = (value.value.len(), Domain::TreeValue.hash(&value.value));
            format!(" ({bytes} bytes, digest {digest})")
        }
    }
}

/// All parts, of the same two heights; and the newer of them.
async fn all_changes(
    client: &Client,
    args: &DiffArgs,
) -> Result<(Vec<ChangedEntry>, Height), ClientError> {
    let (mut changes, mut after) = (Vec::new(), None::<Vec<u8>>);
    let mut to = version(args.to, false);
    loop {
        let heights = (Height(args.from), to);
        let namespace = &args.namespace.0;
        let part = client.changes(namespace, heights, after.as_deref(), PAGE_MAX);
        let ProvedChanges { part, .. } = part.await?;
        let height = part.vouched.new.head.head().height;
        to = At::Height(height);
        changes.extend(part.changes);
        match part.next {
            Some(key) => after = Some(key.to_vec()),
            None => return Ok((changes, height)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored(height: u64, value: &str) -> StoredValue {
        StoredValue {
            written_at: Height(height),
            value: value.as_bytes().to_vec().try_into().unwrap(),
        }
    }

    #[test]
    fn values_that_are_shown_alike_are_told_apart() {
        let (first, again) = (stored(3, "2"), stored(5, "2"));
        assert_eq!(distinction(&first, &again), " (written at 3)");
        assert_eq!(distinction(&again, &first), " (written at 5)");
        let long = |end: &str| stored(3, &format!("{}{end}", "x".repeat(40)));
        let (a, b) = (long("a"), long("b"));
        assert!(distinction(&a, &b).starts_with(" (41 bytes, digest "));
        assert_ne!(distinction(&a, &b), distinction(&b, &a));
    }
}
