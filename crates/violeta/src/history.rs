//! `violeta history`: every version of a key.

use clap::Args;
use serde::Serialize;
use violeta_client::{At, Entry};
use violeta_types::Height;
use violeta_types::api::{PAGE_DEFAULT, PAGE_MAX, Readable};

use crate::connect::{namespace_help, reader, show_incidents};
use crate::context::ContextArgs;
use crate::error::{CliError, CliResult};
use crate::gateway::block_on;
use crate::put::parse_key;
use crate::quorum::watched;
use crate::terminal::{Terminal, Tone, shortened, table};

const VALUE_CHARACTERS: usize = 60;
/// Columns of the others, with heights up to ten digits and the widest verdict.
const OTHERS_WIDTH: usize = 27;
const VALUE_CHARACTERS_MIN: usize = 12;

/// Arguments of `violeta history`.
#[derive(Debug, Args)]
#[command(mut_arg("key_file", |key| key.hide(true)))]
#[command(after_help = "Examples:
  violeta history packages openssl

Each version is proved, and that between two values none was left out. That there was nothing while the key had no \
value, and before its first one, is what validators of more than f of the stake say.")]
pub(crate) struct HistoryArgs {
    /// The namespace.
    namespace: Readable,
    /// The key.
    #[arg(value_parser = parse_key)]
    key: Readable,
    /// At most so many, the newest first.
    #[arg(long, default_value_t = PAGE_DEFAULT, value_parser = clap::value_parser!(u32).range(1..=PAGE_MAX as i64))]
    limit: u32,
    /// Show values in full.
    #[arg(long)]
    full: bool,
    #[command(flatten)]
    context: ContextArgs,
}

/// One version, for programs.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct VersionView {
    /// The height that wrote it.
    pub(crate) height: Height,
    /// The value; none if it was deleted.
    pub(crate) value: Option<Readable>,
    /// Always: what isn't proved isn't listed.
    pub(crate) proved: bool,
}

impl From<&Entry> for VersionView {
    fn from(entry: &Entry) -> Self {
        VersionView {
            height: entry.height,
            value: entry.value.as_ref().map(|v| Readable(v.to_vec())),
            proved: true,
        }
    }
}

/// Lists the versions.
///
/// # Errors
/// If there are none, or nobody answers truthfully.
pub(crate) fn run(args: &HistoryArgs, terminal: &Terminal) -> CliResult {
    let client = reader(&args.context)?;
    let reading = async {
        let (namespace, key) = (&args.namespace.0, &args.key.0);
        let entries = client.history(namespace, key, args.limit).await?;
        let exists = match entries.is_empty() {
            true => client.has_namespace(namespace, At::Certified).await?,
            false => true,
        };
        Ok((entries, exists))
    };
    let read = block_on(watched(&client, terminal, reading));
    show_incidents(&client, terminal);
    let (entries, has_namespace) = read?;
    let versions: Vec<_> = entries.iter().map(VersionView::from).collect();
    let characters = if args.full {
        usize::MAX
    } else {
        value_characters(terminal.width())
    };
    show(&versions, characters, terminal)?;
    match versions.is_empty() {
        false => Ok(()),
        true => Err(none(args, has_namespace)),
    }
}

/// Characters of a value for which there is room.
fn value_characters(width: Option<usize>) -> usize {
    match width {
        Some(width) => width
            .saturating_sub(OTHERS_WIDTH)
            .clamp(VALUE_CHARACTERS_MIN, VALUE_CHARACTERS),
        None => VALUE_CHARACTERS,
    }
}

fn none(args: &HistoryArgs, has_namespace: bool) -> CliError {
    let HistoryArgs { namespace, key, .. } = args;
    match has_namespace {
        true => CliError::failed(format!("{namespace} / {key} has never had a value")),
        false => CliError::failed(format!("there is no namespace {namespace}; that is proved"))
            .help(namespace_help(namespace)),
    }
}

/// Shows versions as a table.
///
/// # Errors
/// If standard output can't be written to.
pub(crate) fn show(versions: &[VersionView], characters: usize, terminal: &Terminal) -> CliResult {
    if versions.is_empty() {
        return Ok(());
    }
    let mut shown = table(&["height", "value", "verified"], &[0]);
    for version in versions {
        let value = match &version.value {
            Some(value) => shortened(&value.to_string(), characters),
            None => terminal.paint(Tone::Faint, "(deleted)"),
        };
        let verified = terminal.paint(Tone::Good, "✓ proved");
        shown.add_row([version.height.to_string(), value, verified]);
        terminal.object(version)?;
    }
    terminal.table(&shown)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_value_has_room_in_a_narrow_terminal() {
        let value = "v".repeat(200);
        let characters = value_characters(Some(80));
        let mut shown = table(&["height", "value", "verified"], &[0]);
        let height = 1_234_567_890.to_string();
        shown.add_row([height, shortened(&value, characters), "✓ proved".into()]);
        let widest = shown
            .lines(Some(80))
            .iter()
            .map(|l| l.chars().count())
            .max();
        assert_eq!(widest, Some(80));
        assert_eq!(value_characters(None), VALUE_CHARACTERS);
        assert_eq!(value_characters(Some(20)), VALUE_CHARACTERS_MIN);
        assert_eq!(value_characters(Some(300)), VALUE_CHARACTERS);
    }
}
