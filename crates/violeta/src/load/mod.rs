//! `violeta load`: a file of rows into a namespace.

pub(crate) mod loader;
mod progress;
mod row_set;
pub(crate) mod rows;

use std::fs::File;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use clap::Args;
use violeta_client::{Client, ClientError};
use violeta_types::api::Readable;
use violeta_types::limits::OPERATIONS_MAX;

use self::loader::{OPERATIONS_DEFAULT, Pace, WINDOW_DEFAULT, WINDOW_MAX, load, make_namespace};
use self::progress::{Progress, Task, digest};
use self::row_set::RowSet;
use self::rows::{BadRow, Columns, Format, Row, Rows};
use crate::connect::{show_incidents, writer};
use crate::context::ContextArgs;
use crate::error::{CliError, CliResult};
use crate::gateway::block_on;
use crate::terminal::{Terminal, Tone, thousands};

/// Refused rows that are shown; all are counted.
const BAD_ROWS_SHOWN: usize = 10;

/// Arguments of `violeta load`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  violeta load packages.tsv --namespace packages --key-column package --create
  violeta load events.jsonl --namespace events --key-column day --key-column id
  violeta load prices.csv --namespace prices --key-column item --value-column price

A row's value is an object of all columns that aren't the key's, unless --value-column names one. Rows that can't be \
loaded are counted and shown, and the exit code is 1. If the load ends early, run the same command again: it goes on \
where it ended, and no row is loaded twice.")]
pub(crate) struct LoadArgs {
    /// The file: tab- or comma-separated with a header, or a JSON object on each line.
    file: PathBuf,
    /// The namespace.
    #[arg(long, short)]
    namespace: Readable,
    /// The column that is the key; several are joined with /.
    #[arg(long, short, required = true, value_name = "COLUMN")]
    key_column: Vec<String>,
    /// The column that alone is the value.
    #[arg(long, value_name = "COLUMN")]
    value_column: Option<String>,
    /// How the file is written; by default what its name ends in.
    #[arg(long)]
    format: Option<Format>,
    /// Make the namespace if it isn't there.
    #[arg(long)]
    create: bool,
    /// Puts in a transaction, at most.
    #[arg(long, value_name = "N", default_value_t = OPERATIONS_DEFAULT as u32,
          value_parser = clap::value_parser!(u32).range(1..=OPERATIONS_MAX as i64))]
    operations: u32,
    /// Transactions under way at once.
    #[arg(long, value_name = "N", default_value_t = WINDOW_DEFAULT as u32,
          value_parser = clap::value_parser!(u32).range(1..=WINDOW_MAX as i64))]
    window: u32,
    /// Where to keep how far it has got; by default beside the file.
    #[arg(long, value_name = "FILE")]
    progress: Option<PathBuf>,
    #[command(flatten)]
    context: ContextArgs,
}

/// Rows that couldn't be loaded.
#[derive(Clone, Debug, Default)]
struct Refused {
    count: u64,
    shown: Vec<BadRow>,
}

impl LoadArgs {
    fn format(&self) -> CliResult<Format> {
        self.format
            .or_else(|| Format::of_name(&self.file))
            .ok_or_else(|| {
                CliError::usage(format!(
                    "{} doesn't say how it is written",
                    self.file.display()
                ))
                .help("say it with --format tsv, csv or jsonl")
            })
    }

    fn columns(&self) -> Columns {
        Columns {
            key: self.key_column.clone(),
            value: self.value_column.clone(),
        }
    }

    fn rows(&self) -> CliResult<Rows> {
        let file = File::open(&self.file)
            .map_err(|e| CliError::failed(format!("can't open {}: {e}", self.file.display())))?;
        rows::read(file, self.format()?, &self.columns())
    }

    fn progress(&self, client: &Client) -> CliResult<Progress> {
        let path = self.progress.clone().unwrap_or_else(|| {
            let mut name = self.file.clone().into_os_string();
            name.push(".progress");
            name.into()
        });
        let task = Task {
            chain: client.chain(),
            namespace: self.namespace.to_string(),
            source: digest(&self.file)?,
            columns: format!("{:?}", self.columns()),
        };
        Progress::open(path, task)
    }
}

/// Loads the file.
///
/// # Errors
/// If rows had to be left out, or a transaction isn't executed.
pub(crate) fn run(args: &LoadArgs, terminal: &Terminal) -> CliResult {
    // Once to the end before anything is sent: a wrong column is found now, and the bar knows its length.
    let total = args.rows()?.filter(Result::is_ok).count() as u64;
    let client = writer(&args.context)?;
    let mut progress = args.progress(&client)?;
    let refused = Arc::new(Mutex::new(Refused::default()));
    let loaded = Arc::new(AtomicU64::new(0));
    let result = block_on(async {
        if args.create {
            make_namespace(&client, &args.namespace.0).await?;
        }
        settle(&client, &mut progress, terminal).await?;
        let resumed = progress.done().len();
        if resumed > 0 {
            terminal.note(format!("{} rows are loaded already", thousands(resumed)));
        }
        let bar = terminal.progress(total, "rows");
        bar.set_position(resumed);
        let count = loaded.clone();
        let advance = bar.clone();
        progress.watch(move |rows| {
            advance.inc(rows);
            count.fetch_add(rows, Ordering::Relaxed);
        });
        let done = progress.done().clone();
        let mut rows = without_loaded(good(args.rows()?, refused.clone()), done);
        let pace = Pace {
            operations: args.operations as usize,
            window: args.window as usize,
        };
        let result = load(&client, &args.namespace.0, &mut rows, pace, &mut progress).await;
        bar.finish_and_clear();
        result
    });
    show_incidents(&client, terminal);
    result.map_err(|e| {
        let help = e
            .help
            .clone()
            .map(|h| format!("{h}; then "))
            .unwrap_or_default();
        e.help(format!(
            "{help}run the same command again: it goes on where it ended"
        ))
    })?;
    progress.finish()?;
    let refused = refused
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .clone();
    summary(
        args,
        loaded.load(Ordering::Relaxed),
        total,
        &refused,
        terminal,
    )
}

/// The good rows; the bad ones are counted.
fn good(rows: Rows, refused: Arc<Mutex<Refused>>) -> impl Iterator<Item = Row> + Send {
    rows.filter_map(move |row| match row {
        Ok(row) => Some(row),
        Err(bad) => {
            let mut refused = refused.lock().unwrap_or_else(PoisonError::into_inner);
            refused.count += 1;
            if refused.shown.len() < BAD_ROWS_SHOWN {
                refused.shown.push(bad);
            }
            None
        }
    })
}

/// Numbers the rows and leaves out those that are loaded already.
fn without_loaded(
    rows: impl Iterator<Item = Row> + Send,
    done: RowSet,
) -> impl Iterator<Item = (u64, Row)> + Send {
    (0..)
        .zip(rows)
        .filter(move |(number, _)| !done.contains(*number))
}

/// Finds out what became of the transactions that were under way when an earlier run ended.
async fn settle(client: &Client, progress: &mut Progress, terminal: &Terminal) -> CliResult {
    let unknown = progress.unknown();
    if let Some(last) = unknown.iter().map(|(_, _, expires)| expires.0).max() {
        let seconds = last.saturating_sub(unix_ms()) / 1_000;
        terminal.note(format!(
            "an earlier run left {} transactions under way; their fate is known some {seconds} s from now at the latest",
            unknown.len()
        ));
    }
    for (transaction, nonce, expires) in unknown {
        match client.fate(transaction, nonce, expires).await {
            Ok(receipt) if receipt.outcome.refused.is_none() => {
                progress.learn_executed(transaction);
            }
            Ok(_) | Err(ClientError::Expired { .. }) => progress.learn_void(transaction),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |t| t.as_millis() as u64)
}

fn summary(
    args: &LoadArgs,
    loaded: u64,
    total: u64,
    refused: &Refused,
    terminal: &Terminal,
) -> CliResult {
    let bad: Vec<String> = refused
        .shown
        .iter()
        .map(|b| format!("line {}: {}", b.line, b.reason))
        .collect();
    terminal.object(&serde_json::json!({
        "namespace": args.namespace, "loaded": loaded, "rows": total,
        "refused": refused.count, "refused_because": bad,
    }))?;
    terminal.line(format!(
        "{} {} rows loaded into {}",
        terminal.paint(Tone::Good, "✓"),
        thousands(loaded),
        args.namespace
    ))?;
    if refused.count == 0 {
        return Ok(());
    }
    for line in &bad {
        terminal.note(format!("  {line}"));
    }
    Err(
        CliError::failed(format!("{} rows were left out", thousands(refused.count)))
            .help("mend them and load the file again, or load them from a file of their own"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resuming_leaves_out_what_is_loaded_and_nothing_else() {
        let rows = (0..8).map(|i| Row {
            key: vec![i],
            value: Vec::new(),
        });
        let mut done = RowSet::default();
        done.add(0, 2);
        done.add(4, 7);
        let left: Vec<(u64, u8)> = without_loaded(rows, done)
            .map(|(number, row)| (number, row.key[0]))
            .collect();
        assert_eq!(left, [(2, 2), (3, 3), (7, 7)]);
    }

    #[test]
    fn bad_rows_are_counted_and_only_so_many_kept() {
        let bad = |line| {
            Err(BadRow {
                line,
                reason: "x".into(),
            })
        };
        let refused = Arc::new(Mutex::new(Refused::default()));
        let rows: Rows = Box::new((0..100).map(bad));
        assert_eq!(good(rows, refused.clone()).count(), 0);
        let refused = refused.lock().unwrap();
        assert_eq!((refused.count, refused.shown.len()), (100, BAD_ROWS_SHOWN));
    }
}
