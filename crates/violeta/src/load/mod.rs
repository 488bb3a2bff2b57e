//! `violeta load`: a file of rows into a namespace.

mod followed;
pub(crate) mod loader;
mod lock;
mod progress;
mod row_set;
pub(crate) mod rows;

use std::cell::Cell;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use clap::Args;
use indicatif::ProgressBar;
use violeta_client::{Client, ClientError};
use violeta_types::api::Readable;
use violeta_types::limits::OPERATIONS_MAX;

use self::loader::{OPERATIONS_DEFAULT, Pace, WINDOW_DEFAULT, WINDOW_MAX, load, make_namespace};
use self::progress::{Progress, Task, digest};
use self::row_set::RowSet;
use self::rows::{BadRow, Columns, Format, Loadable, Row, Rows, Unread};
use crate::connect::{show_incidents, writer};
use crate::context::ContextArgs;
use crate::error::{CliError, CliResult};
use crate::gateway::block_on;
use crate::put::check_name;
use crate::quorum::{PATIENCE, explain, lack_note};
use crate::signals::asked_to_end;
use crate::terminal::{Terminal, Tone, count, thousands};

/// Refused rows that are shown; all are counted.
const BAD_ROWS_SHOWN: usize = 10;
/// How often it is looked how the load gets on.
const TICK: Duration = Duration::from_secs(1);
/// How often that is told where nobody sees the bar.
const LINE_INTERVAL: Duration = Duration::from_secs(5);

/// Arguments of `violeta load`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  violeta load packages.tsv --namespace packages --key-column package --create
  violeta load events.jsonl --namespace events --key-column day --key-column id
  violeta load prices.csv --namespace prices --key-column item --value-column price

A row's value is an object of all columns that aren't the key's, unless --value-column names one. Rows that can't be \
loaded are counted and shown, and the exit code is 1. A file that can't be read to its end, or whose quotes may have \
swallowed rows, isn't loaded at all. The namespace must be there; --create makes it.

If the load ends early, by Ctrl-C too, run the same command again: it goes on where it ended, and no row is loaded \
twice. How far it has got lies in FILE.progress. When all is loaded the file stays there and says so: the same command \
then does nothing, unless the rows have changed or --again is given.")]
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
    /// Write all rows again once they have all been loaded; a load that ended early goes on where it ended.
    #[arg(long)]
    again: bool,
    /// Where to keep how far it has got; by default beside the file.
    #[arg(long, value_name = "FILE")]
    progress: Option<PathBuf>,
    #[command(flatten)]
    context: ContextArgs,
}

/// What a file holds: rows that can be loaded, and those that can't.
#[derive(Clone, Debug, Default)]
struct Survey {
    good: u64,
    refused: u64,
    /// The first of those refused.
    shown: Vec<BadRow>,
}

impl Survey {
    /// Of all rows; or where reading ended before the file did.
    fn of(rows: Rows) -> Result<Survey, BadRow> {
        let mut survey = Survey::default();
        for row in rows {
            match row {
                Ok(_) => survey.good += 1,
                Err(Unread::Row(bad)) => {
                    survey.refused += 1;
                    if survey.shown.len() < BAD_ROWS_SHOWN {
                        survey.shown.push(bad);
                    }
                }
                Err(Unread::Rest(bad)) => return Err(bad),
            }
        }
        Ok(survey)
    }

    /// Whether there is any row to load, if there are rows.
    fn has_some(&self, file: &Path) -> CliResult {
        let Some(BadRow { line, reason }) = self.shown.first().filter(|_| self.good == 0) else {
            return Ok(());
        };
        let file = file.display();
        Err(CliError::failed(format!(
            "no row of {file} can be loaded; line {line}, the first of {}: {reason}",
            thousands(self.refused)
        ))
        .help("are --key-column and --value-column right, and --format?"))
    }

    /// Whether a load of `loaded` rows, of what could be read the second time, is all of it.
    fn is_met(&self, loaded: u64, ended: Option<&BadRow>, file: &Path) -> CliResult {
        match ended {
            Some(bad) => Err(unreadable(bad, file)),
            None if loaded == self.good => Ok(()),
            None => Err(CliError::failed(format!(
                "{} changed while it was loaded: it had {} that could be loaded, and has {} now",
                file.display(),
                count(self.good, "row"),
                thousands(loaded)
            ))
            .help("let it come to rest")),
        }
    }
}

fn unreadable(bad: &BadRow, file: &Path) -> CliError {
    let (file, BadRow { line, reason }) = (file.display(), bad);
    CliError::failed(format!(
        "{file} can't be read from line {line} on: {reason}"
    ))
    .help("mend the file, or what it lies on")
}

/// When the rows were loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Loaded {
    /// By this run: so many, and so many by earlier ones.
    Now { rows: u64, before: u64 },
    /// All of them, by an earlier run.
    Before,
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
            reading: format!("{:?} {:?}", self.format()?, self.columns()),
        };
        let key = client
            .public_key()
            .ok_or_else(|| CliError::failed("a load needs a key to sign with"))?;
        Progress::open(path, task, key)
    }
}

/// Loads the file.
///
/// # Errors
/// If rows had to be left out, or a transaction isn't executed.
pub(crate) fn run(args: &LoadArgs, terminal: &Terminal) -> CliResult {
    check_name(&args.namespace)?;
    // Once to the end before anything is sent: a wrong column is found now, and the bar knows its length.
    let survey = Survey::of(args.rows()?).map_err(|bad| unreadable(&bad, &args.file))?;
    survey.has_some(&args.file)?;
    // First the key's nonces are this process's alone: whoever else signs with them writes to no progress now.
    let client = writer(&args.context, terminal)?;
    let mut progress = args.progress(&client)?;
    if args.again {
        progress.begin_again();
    }
    if progress.is_finished() {
        return summary(args, Loaded::Before, &survey, terminal);
    }
    let before = Cell::new(0);
    let bar = terminal.progress(survey.good, "rows");
    let ended = block_on(async {
        tokio::select! {
            biased;
            result = carry_out(args, &client, &mut progress, &survey, (&bar, &before), terminal) => result.map(|()| true),
            () = asked_to_end() => Ok(false),
            () = report(&client, &bar, &before, terminal) => Ok(false),
        }
    });
    bar.finish_and_clear();
    show_incidents(&client, terminal);
    match ended {
        Ok(true) => {
            progress.finish()?;
            let before = before.get();
            let rows = progress.done().len() - before;
            summary(args, Loaded::Now { rows, before }, &survey, terminal)
        }
        Ok(false) => {
            progress.close()?;
            Err(interruption(&progress, survey.good))
        }
        Err(error) => {
            // The error that ended the load matters more; what had begun was written down before it left.
            if let Err(also) = progress.close() {
                terminal.note(format!("warning: {also}"));
            }
            Err(go_on(error, &progress))
        }
    }
}

/// Loads what isn't loaded yet; `before` learns how many rows an earlier run has loaded.
async fn carry_out(
    args: &LoadArgs,
    client: &Client,
    progress: &mut Progress,
    survey: &Survey,
    (bar, before): (&ProgressBar, &Cell<u64>),
    terminal: &Terminal,
) -> CliResult {
    if args.create {
        make_namespace(client, &args.namespace.0).await?;
    }
    let known = progress.done().len();
    settle(client, progress, terminal).await?;
    before.set(progress.done().len());
    if let Some(line) = resumption(known, before.get()) {
        terminal.note(line);
    }
    begin_at(bar, before.get());
    let advance = bar.clone();
    progress.watch(move |rows| advance.inc(rows));
    let done = progress.done().clone();
    let mut ended = None;
    let mut rows = without_loaded(Loadable::of(args.rows()?, &mut ended), done);
    let pace = Pace {
        operations: args.operations as usize,
        window: args.window as usize,
    };
    load(client, &args.namespace.0, &mut rows, pace, progress).await?;
    drop(rows);
    survey.is_met(progress.done().len(), ended.as_ref(), &args.file)
}

/// What an earlier run has loaded: what it knew of, and what turns out only now to be.
fn resumption(known: u64, now: u64) -> Option<String> {
    let learned = now - known;
    let mut line = format!("loaded already: {}", count(now, "row"));
    if learned > 0 {
        line += &format!(
            ", {} of them by transactions that were under way",
            thousands(learned)
        );
    }
    (now > 0).then_some(line)
}

/// Puts the bar where an earlier run has got to: its rate is that of the rows that follow.
fn begin_at(bar: &ProgressBar, position: u64) {
    bar.set_position(position);
    // Now it takes the leap for a rate; then it forgets that.
    bar.tick();
    bar.reset_eta();
}

/// Tells how the load gets on, for as long as it lasts: now and then a line where nobody sees the bar; and, once for each
/// time that it stands still, what it waits for.
async fn report(client: &Client, bar: &ProgressBar, before: &Cell<u64>, terminal: &Terminal) {
    let mut ticks = tokio::time::interval(TICK);
    let (mut position, mut moved_at, mut told) = (0, Instant::now(), false);
    let (mut line_position, mut line_at) = (0, Instant::now());
    loop {
        ticks.tick().await;
        if bar.position() != position {
            (position, moved_at, told) = (bar.position(), Instant::now(), false);
        } else if !told && moved_at.elapsed() >= PATIENCE {
            told = true;
            let note = lack_note(client).await;
            bar.suspend(|| terminal.note(note));
        }
        if !terminal.is_interactive() && line_at.elapsed() >= LINE_INTERVAL {
            let position = bar.position();
            // What an earlier run has loaded isn't this one's speed.
            let loaded = position.saturating_sub(before.get().max(line_position));
            let rate = loaded as f64 / line_at.elapsed().as_secs_f64();
            let rows = bar
                .length()
                .map_or(String::new(), |len| format!(" of {}", count(len, "row")));
            terminal.note(format!("{}{rows}, {rate:.0}/s", thousands(position)));
            (line_position, line_at) = (position, Instant::now());
        }
    }
}

/// What Ctrl-C leaves behind.
fn interruption(progress: &Progress, rows: u64) -> CliError {
    let (under_way, their_rows) = progress.under_way();
    let done = progress.done().len();
    if done == 0 && under_way == 0 {
        return CliError::failed("interrupted: nothing has been loaded");
    }
    let mut message = format!(
        "interrupted: {} of {} committed",
        thousands(done),
        count(rows, "row")
    );
    let mut help = "run the same command again: it goes on where it ended".to_owned();
    if under_way > 0 {
        message += &format!(
            ", and {} of {} under way",
            count(under_way, "transaction"),
            count(their_rows, "row")
        );
        help += ", once it knows what became of those under way";
    }
    CliError::failed(message).help(help)
}

/// Says how to go on after an error, if anything was loaded or may have been.
fn go_on(error: CliError, progress: &Progress) -> CliError {
    if progress.done().len() == 0 && progress.under_way().0 == 0 {
        return error;
    }
    let go_on = "run the same command again: it goes on where it ended";
    let help = match &error.help {
        Some(help) => format!("{help}; then {go_on}"),
        None => go_on.to_owned(),
    };
    error.help(help)
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
            "an earlier run left {} under way; what became of that is known some {seconds} s from now at the latest",
            count(unknown.len(), "transaction")
        ));
    }
    for (transaction, nonce, expires) in unknown {
        match client.fate(transaction, nonce, expires).await {
            Ok(receipt) if receipt.outcome.refused.is_none() => {
                progress.learn_executed(transaction);
            }
            Ok(_) | Err(ClientError::Expired { .. }) => progress.learn_void(transaction),
            Err(error) => return Err(explain(client, error).await),
        }
    }
    Ok(())
}

fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |t| t.as_millis() as u64)
}

/// What is there now: an earlier run may have had a part in it.
fn loaded_line(now: u64, before: u64, namespace: &Readable) -> String {
    match before {
        0 => format!("{} loaded into {namespace}", count(now, "row")),
        _ => format!(
            "all {} are in {namespace} ({} of them now)",
            count(now + before, "row"),
            thousands(now)
        ),
    }
}

fn summary(args: &LoadArgs, loaded: Loaded, survey: &Survey, terminal: &Terminal) -> CliResult {
    let bad: Vec<String> = survey
        .shown
        .iter()
        .map(|b| format!("line {}: {}", b.line, b.reason))
        .collect();
    let (now, before, line) = match loaded {
        Loaded::Now { rows, before } => (rows, before, loaded_line(rows, before, &args.namespace)),
        Loaded::Before => (
            0,
            survey.good,
            format!(
                "nothing to do: {} of {} loaded into {} before; --again writes all again",
                count(survey.good, "row"),
                args.file.display(),
                args.namespace
            ),
        ),
    };
    terminal.object(&serde_json::json!({
        "namespace": args.namespace, "loaded": now, "rows": survey.good,
        "loaded_before": loaded == Loaded::Before, "rows_loaded_before": before,
        "refused": survey.refused, "refused_because": bad,
    }))?;
    terminal.line(format!("{} {line}", terminal.paint(Tone::Good, "✓")))?;
    if survey.refused == 0 {
        return Ok(());
    }
    for line in &bad {
        terminal.note(format!("  {line}"));
    }
    Err(
        CliError::failed(format!("{} left out", count(survey.refused, "row"))).help(
            "mend them and load them from a file of their own; a file that has changed is loaded whole",
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::loader::{Entry, Ledger};
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
    fn what_an_earlier_run_has_loaded_is_told_once_and_is_no_rate() {
        assert_eq!(resumption(0, 0), None);
        assert_eq!(
            resumption(21_600, 21_600).unwrap(),
            "loaded already: 21,600 rows"
        );
        assert_eq!(
            resumption(21_600, 23_000).unwrap(),
            "loaded already: 23,000 rows, 1,400 of them by transactions that were under way"
        );
        let namespace = Readable(b"big".to_vec());
        assert_eq!(loaded_line(1, 0, &namespace), "1 row loaded into big");
        assert_eq!(
            loaded_line(545_800, 54_200, &namespace),
            "all 600,000 rows are in big (545,800 of them now)"
        );
        let bar = ProgressBar::hidden();
        bar.set_length(40_000);
        std::thread::sleep(Duration::from_millis(5));
        begin_at(&bar, 23_000);
        std::thread::sleep(Duration::from_millis(5));
        assert_eq!(bar.position(), 23_000);
        assert_eq!(bar.per_sec(), 0.0, "nothing has been loaded by this run");
    }

    #[test]
    fn bad_rows_are_counted_and_only_so_many_kept() {
        let rows = (0..100).map(|line| Err(Unread::Row(bad(line))));
        let survey = Survey::of(Box::new(rows)).unwrap();
        assert_eq!((survey.good, survey.refused), (0, 100));
        assert_eq!(survey.shown.len(), BAD_ROWS_SHOWN);
    }

    fn bad(line: u64) -> BadRow {
        BadRow {
            line,
            reason: "x".into(),
        }
    }

    #[test]
    fn rows_of_which_none_can_be_loaded_are_an_error_and_no_rows_are_none() {
        let survey = |good: usize, refused: u64| {
            let row = Row {
                key: vec![1],
                value: Vec::new(),
            };
            let rows = (1..=refused).map(|line| Err(Unread::Row(bad(line))));
            Survey::of(Box::new(rows.chain(vec![Ok(row); good]))).unwrap()
        };
        let file = Path::new("f.jsonl");
        let error = survey(0, 1_200).has_some(file).unwrap_err();
        assert_eq!(
            error.message,
            "no row of f.jsonl can be loaded; line 1, the first of 1,200: x"
        );
        assert!(error.help.unwrap().contains("--key-column"));
        for (good, refused) in [(0, 0), (1, 0), (1, 9)] {
            assert_eq!(survey(good, refused).has_some(file), Ok(()));
        }
    }

    #[test]
    fn a_file_that_cant_be_read_to_its_end_isnt_loaded() {
        let rows = [Err(Unread::Row(bad(2))), Err(Unread::Rest(bad(3)))];
        assert_eq!(Survey::of(Box::new(rows.into_iter())).unwrap_err(), bad(3));
    }

    #[test]
    fn a_load_is_complete_once_all_rows_are_done_that_were_there_to_begin_with() {
        let survey = Survey {
            good: 5_000,
            ..Survey::default()
        };
        let met = |loaded, ended: Option<BadRow>| {
            survey.is_met(loaded, ended.as_ref(), Path::new("f.csv"))
        };
        assert_eq!(met(5_000, None), Ok(()));
        let error = met(4_000, Some(bad(4_002))).unwrap_err();
        assert_eq!(error.message, "f.csv can't be read from line 4002 on: x");
        // Cut short, or longer, than when it was looked through.
        for now in [4_000, 5_001] {
            let error = met(now, None).unwrap_err();
            assert!(error.message.starts_with("f.csv changed"), "{error}");
        }
        assert!(
            met(5_000, Some(bad(9_000))).is_err(),
            "what is behind that isn't known"
        );
    }

    #[test]
    fn what_ctrl_c_leaves_is_told_and_how_to_go_on() {
        let dir = tempfile::tempdir().unwrap();
        let task = Task {
            chain: violeta_types::ChainId::default(),
            namespace: "n".into(),
            source: violeta_types::Digest::ZERO,
            reading: "k".into(),
        };
        let key = violeta_types::ClientPublicKey([1; 32]);
        let mut progress = Progress::open(dir.path().join("p"), task, key).unwrap();
        let error = interruption(&progress, 5_000);
        assert_eq!(error.to_string(), "interrupted: nothing has been loaded");
        assert_eq!(error.help, None);
        let refused = || CliError::failed("refused").help("mend it");
        assert_eq!(
            go_on(refused(), &progress),
            refused(),
            "there is nothing to go on with"
        );

        for (n, begin) in [(1, 0), (2, 2_000)] {
            let mut rows = RowSet::default();
            rows.add(begin, begin + 1_200);
            let entry = Entry {
                transaction: violeta_types::TxId(violeta_types::Digest([n; 32])),
                nonce: violeta_types::Nonce(u64::from(n)),
                expires: violeta_types::TimeMs(0),
                rows,
            };
            progress.begun(&entry).unwrap();
            if n == 1 {
                progress.learn_executed(entry.transaction);
            }
        }
        let error = interruption(&progress, 5_000);
        assert_eq!(
            error.to_string(),
            "interrupted: 1,200 of 5,000 rows committed, and 1 transaction of 1,200 rows under way"
        );
        assert!(
            error
                .help
                .unwrap()
                .starts_with("run the same command again")
        );
        let help = go_on(refused(), &progress).help.unwrap();
        assert!(
            help.starts_with("mend it; then run the same command again"),
            "{help}"
        );
    }
}
