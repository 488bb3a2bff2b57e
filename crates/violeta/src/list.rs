//! `violeta list`: all that is in a namespace, verified, and verified to be all.

use clap::Args;
use serde::Serialize;
use violeta_client::{At, Client, ProvedEntries};
use violeta_proof::entries_proof::Entry;
use violeta_types::Height;
use violeta_types::api::{PAGE_MAX, Readable};

use crate::connect::{namespace_help, parse_height, reader, show_incidents, version};
use crate::context::ContextArgs;
use crate::error::{CliError, CliResult};
use crate::gateway::block_on;
use crate::put::parse_key;
use crate::quorum::watched;
use crate::terminal::{Terminal, count, shortened, table};

/// Characters of a key, or of a value, in a table.
pub(crate) const CELL_CHARACTERS: usize = 32;

/// Arguments of `violeta list`.
#[derive(Debug, Args)]
#[command(mut_arg("key_file", |key| key.hide(true)))]
#[command(after_help = "Examples:
  violeta list packages
  violeta list packages --at 7 --json
  violeta list packages --limit 100 --after openssl

Every entry is verified before it is shown, and that none was left out. Keys come in the order of their digests, which \
is the same for everybody and says nothing else. All are of one height, whatever is written meanwhile.")]
pub(crate) struct ListArgs {
    /// The namespace.
    namespace: Readable,
    /// List the version of this height; by default the newest certified one.
    #[arg(long, value_name = "HEIGHT", value_parser = parse_height)]
    at: Option<u64>,
    /// At most so many; by default all.
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u64).range(1..))]
    limit: Option<u64>,
    /// Only what comes after this key.
    #[arg(long, value_name = "KEY", value_parser = parse_key)]
    after: Option<Readable>,
    /// Show keys and values in full.
    #[arg(long)]
    full: bool,
    #[command(flatten)]
    context: ContextArgs,
}

/// One entry, for programs.
#[derive(Debug, Serialize)]
struct EntryView {
    key: Readable,
    value: Readable,
    written_at: Height,
    /// The height that was listed.
    height: Height,
    /// Always: what isn't proved isn't listed.
    proved: bool,
}

impl EntryView {
    fn new(entry: &Entry, height: Height) -> Self {
        EntryView {
            key: Readable::from(&entry.key[..]),
            value: Readable::from(&entry.value.value[..]),
            written_at: entry.value.written_at,
            height,
            proved: true,
        }
    }
}

/// Lists a namespace.
///
/// # Errors
/// If there is no such namespace, or nobody answers truthfully.
pub(crate) fn run(args: &ListArgs, terminal: &Terminal) -> CliResult {
    let client = reader(&args.context)?;
    let mut parts = Parts::new(args);
    let mut shown = table(&["key", "value", "written at"], &[2]);
    let characters = if args.full {
        usize::MAX
    } else {
        CELL_CHARACTERS
    };
    let mut listed = 0;
    let last = loop {
        let part = block_on(watched(&client, terminal, parts.next(&client)));
        show_incidents_of(&part, &client, terminal);
        let part = part?;
        let height = part.part.vouched.head.head().height;
        for entry in &part.part.entries {
            let view = EntryView::new(entry, height);
            terminal.object(&view)?;
            if !terminal.is_json() {
                let cell = |text: &Readable| shortened(&text.to_string(), characters);
                shown.add_row([
                    cell(&view.key),
                    cell(&view.value),
                    view.written_at.to_string(),
                ]);
            }
        }
        listed += part.part.entries.len() as u64;
        if parts.are_done() {
            break part;
        }
    };
    show_incidents(&client, terminal);
    let height = last.part.vouched.head.head().height;
    let Some(all) = last.part.count else {
        let message = format!(
            "there is no namespace {} at height {height}; that is proved",
            args.namespace
        );
        return Err(CliError::failed(message).help(namespace_help(&args.namespace)));
    };
    if listed > 0 {
        terminal.table(&shown)?;
    }
    let of = count(all, "key");
    terminal.note(match &last.part.next {
        None if args.after.is_none() => format!("✓ all {of} at height {height}, proved"),
        None => format!("✓ {listed} of {of} at height {height}, to the end, proved"),
        Some(next) => {
            let next = Readable::from(&next[..]);
            format!("✓ {listed} of {of} at height {height}, proved; go on with --after {next} --at {height}")
        }
    });
    Ok(())
}

/// What was refused is told at once where nothing else comes.
fn show_incidents_of<T, E>(part: &Result<T, E>, client: &Client, terminal: &Terminal) {
    if part.is_err() {
        show_incidents(client, terminal);
    }
}

/// The parts of a listing, one after another, all of one height.
struct Parts<'a> {
    namespace: &'a [u8],
    at: At,
    after: Option<Vec<u8>>,
    left: u64,
    done: bool,
}

impl<'a> Parts<'a> {
    fn new(args: &'a ListArgs) -> Self {
        Parts {
            namespace: &args.namespace.0,
            at: version(args.at, false),
            after: args.after.as_ref().map(|key| key.0.clone()),
            left: args.limit.unwrap_or(u64::MAX),
            done: false,
        }
    }

    fn are_done(&self) -> bool {
        self.done
    }

    async fn next(
        &mut self,
        client: &Client,
    ) -> Result<ProvedEntries, violeta_client::ClientError> {
        let limit = u32::try_from(self.left).map_or(PAGE_MAX, |left| left.min(PAGE_MAX));
        let after = self.after.as_deref();
        let part = client
            .entries(self.namespace, after, limit, self.at)
            .await?;
        self.at = At::Height(part.part.vouched.head.head().height);
        self.left = self.left.saturating_sub(part.part.entries.len() as u64);
        self.after = part.part.next.as_ref().map(|key| key.to_vec());
        self.done = self.after.is_none() || self.left == 0;
        Ok(part)
    }
}
