//! `violeta sim`: seeds of the simulated world, many at once, and one again with its story.
//!
//! ```text
//!  seeds ─▶ as many threads as jobs, each takes the next seed ─▶ summary: marks, failures, how to see them again
//! ```

use std::ops::{Range, RangeInclusive};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use clap::Args;
use indicatif::ProgressBar;
use serde::Serialize;

use violeta_sim::{Mark, Options, Report, Summary, run_seed, trace_seed};

use crate::error::{CliError, CliResult};
use crate::terminal::{Terminal, Tone, count, shortened, table, thousands};

const HASH_DIGITS: usize = 16;
/// After so many failures a run ends: they are likely to be the same.
const FAILURES_MAX: usize = 20;

/// Arguments of `violeta sim`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  violeta sim --seeds 0..200 --validators 4..10
  violeta sim --seeds 0..2000 --jobs 8
  violeta sim --seed 17 --trace

The first runs the seeds 0 to 199, with 4 to 10 validators each: the end of seeds is excluded, that of validators \
isn't. Each seed is a world: validators on simulated networks, disks and clocks that fail as the seed says, up to a third \
of them lying; clients; and checkers that compute from the outside what must be true. With the same \
--validators (and the other options of the world) the same seed is the same world, event for event. Exit code 1 if a property didn't hold; the command that shows the world again is printed.")]
pub(crate) struct SimArgs {
    /// Which seeds: FIRST..END, without END; or FIRST..=LAST, with LAST.
    #[arg(long, default_value = "0..50", value_name = "RANGE", value_parser = parse_seeds)]
    seeds: Range<u64>,
    /// One seed alone.
    #[arg(long, value_name = "SEED", conflicts_with = "seeds",
          value_parser = clap::value_parser!(u64).range(..u64::MAX))]
    seed: Option<u64>,
    /// How many validators: LEAST..MOST, with MOST, also written LEAST..=MOST; or one number.
    #[arg(long, default_value = "4..7", value_name = "RANGE", value_parser = parse_validators)]
    validators: RangeInclusive<usize>,
    /// Virtual seconds until all faults heal.
    #[arg(long, default_value_t = Options::default().virtual_seconds, value_name = "S")]
    virtual_seconds: u64,
    /// Networks, disks and power don't fail.
    #[arg(long)]
    no_faults: bool,
    /// Nobody lies.
    #[arg(long)]
    no_adversaries: bool,
    /// Threads; by default one for each core.
    #[arg(long, short, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    jobs: Option<u16>,
    /// Tell what happens, event by event; with --seed.
    #[arg(long, requires = "seed", conflicts_with_all = ["seeds", "jobs", "check_determinism"])]
    trace: bool,
    /// Run each seed twice and compare.
    #[arg(long)]
    check_determinism: bool,
}

/// Begin and end, and whether it is said that the end belongs to it.
fn parse_range(text: &str) -> Option<(u64, u64, bool)> {
    let (from, to) = text.split_once("..")?;
    let (to, closed) = match to.strip_prefix('=') {
        Some(to) => (to, true),
        None => (to, false),
    };
    Some((from.parse().ok()?, to.parse().ok()?, closed))
}

fn parse_seeds(text: &str) -> Result<Range<u64>, String> {
    match parse_range(text) {
        Some((from, to, false)) if from < to => Ok(from..to),
        Some((from, to, true)) if from <= to && to < u64::MAX => Ok(from..to + 1),
        _ => Err("FIRST..END, such as 0..200 for 0 to 199, or FIRST..=LAST".into()),
    }
}

fn parse_validators(text: &str) -> Result<RangeInclusive<usize>, String> {
    let range = match text.parse::<u64>() {
        Ok(n) => Some((n, n, true)),
        Err(_) => parse_range(text),
    };
    match range {
        Some((from, to, _)) if from <= to => Ok(from as usize..=to as usize),
        _ => Err("LEAST..MOST, such as 4..10 for 4 to 10, or one number".into()),
    }
}

impl SimArgs {
    fn options(&self) -> CliResult<Options> {
        let options = Options {
            validators: self.validators.clone(),
            faults: !self.no_faults,
            adversaries: !self.no_adversaries,
            virtual_seconds: self.virtual_seconds,
        };
        options.check().map_err(CliError::usage)?;
        Ok(options)
    }

    fn seeds(&self) -> Range<u64> {
        match self.seed {
            Some(seed) => seed..seed + 1,
            None => self.seeds.clone(),
        }
    }

    fn jobs(&self) -> usize {
        match self.jobs {
            Some(jobs) => usize::from(jobs),
            None => std::thread::available_parallelism().map_or(1, usize::from),
        }
    }
}

/// What came of one seed, for programs.
#[derive(Serialize)]
struct ReportView<'a> {
    seed: u64,
    clean: bool,
    trace_hash: String,
    validators: usize,
    liars: usize,
    virtual_ms: u64,
    commits: u64,
    height: u64,
    transactions: u64,
    acknowledged: u64,
    violation: Option<String>,
    replay: Option<&'a str>,
}

impl<'a> From<&'a Report> for ReportView<'a> {
    fn from(report: &'a Report) -> Self {
        let stats = &report.stats;
        ReportView {
            seed: report.seed,
            clean: report.is_clean(),
            trace_hash: report.trace_hash.to_string(),
            validators: stats.validators,
            liars: stats.liars,
            virtual_ms: stats.virtual_ms,
            commits: stats.commits,
            height: stats.height,
            transactions: stats.transactions,
            acknowledged: stats.acknowledged,
            violation: report.failure.as_ref().map(|f| f.violation.to_string()),
            replay: report.failure.as_ref().map(|f| f.replay.as_str()),
        }
    }
}

/// Runs the seeds.
///
/// # Errors
/// If a property didn't hold, or the options name no world.
pub(crate) fn run(args: &SimArgs, terminal: &Terminal) -> CliResult {
    let options = args.options()?;
    let begun = Instant::now();
    let summary = match (args.trace, args.seed) {
        (true, Some(seed)) => tell(seed, &options, terminal)?,
        _ => run_all(args, &options, terminal)?,
    };
    show(&summary, begun.elapsed().as_secs_f64(), terminal)?;
    match summary.failures.len() {
        0 => Ok(()),
        n => Err(CliError::failed(format!(
            "{n} of {} broke a property",
            count(summary.seeds, "world")
        ))
        .help("run the printed command to see such a world again, event by event")),
    }
}

/// One world with its story.
fn tell(seed: u64, options: &Options, terminal: &Terminal) -> CliResult<Summary> {
    let mut written = Ok(());
    let mut sink = |line: &str| {
        if written.is_ok() {
            let object = || terminal.object(&serde_json::json!({ "event": line }));
            written = terminal.line(line).and_then(|()| object());
        }
    };
    let report = trace_seed(seed, options, &mut sink);
    written?;
    let mut summary = Summary::default();
    summary.add(&report);
    terminal.object(&ReportView::from(&report))?;
    terminal.line("")?;
    Ok(summary)
}

struct Run<'a> {
    options: &'a Options,
    twice: bool,
    next: AtomicU64,
    end: u64,
    stop: AtomicBool,
    summary: Mutex<Summary>,
    problem: Mutex<Option<CliError>>,
    bar: ProgressBar,
    terminal: &'a Terminal,
}

fn run_all(args: &SimArgs, options: &Options, terminal: &Terminal) -> CliResult<Summary> {
    let seeds = args.seeds();
    let run = Run {
        options,
        twice: args.check_determinism,
        next: AtomicU64::new(seeds.start),
        end: seeds.end,
        stop: AtomicBool::new(false),
        summary: Mutex::default(),
        problem: Mutex::default(),
        bar: terminal.progress(seeds.end - seeds.start, "worlds"),
        terminal,
    };
    std::thread::scope(|scope| {
        let jobs = args.jobs().min((seeds.end - seeds.start) as usize).max(1);
        let threads: Vec<_> = (0..jobs).map(|_| scope.spawn(|| run.work())).collect();
        for thread in threads {
            // A panic in the code under simulation is a finding too, and the message has been printed.
            if thread.join().is_err() {
                let problem = CliError::failed("the code under simulation panicked").help(
                    "the seed is the one without a result: run it alone with --seed N --trace",
                );
                run.give_up(problem);
            }
        }
    });
    run.bar.finish_and_clear();
    match run
        .problem
        .into_inner()
        .unwrap_or_else(PoisonError::into_inner)
    {
        Some(problem) => Err(problem),
        None => Ok(run
            .summary
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner)),
    }
}

impl Run<'_> {
    fn work(&self) {
        while !self.stop.load(Ordering::Relaxed) {
            let seed = self.next.fetch_add(1, Ordering::Relaxed);
            if seed >= self.end {
                return;
            }
            let report = run_seed(seed, self.options);
            if self.twice {
                let again = run_seed(seed, self.options);
                if again.trace_hash != report.trace_hash {
                    let message = format!("seed {seed} went two different ways");
                    self.give_up(CliError::failed(message).help(
                        "something in the world isn't decided by the seed: a clock, a thread, an unordered map",
                    ));
                }
            }
            self.add(&report);
        }
    }

    fn add(&self, report: &Report) {
        let mut summary = self.summary.lock().unwrap_or_else(PoisonError::into_inner);
        summary.add(report);
        self.bar.inc(1);
        if !summary.failures.is_empty() {
            self.bar
                .set_message(format!("{} failed", summary.failures.len()));
        }
        if summary.failures.len() >= FAILURES_MAX {
            self.stop.store(true, Ordering::Relaxed);
        }
        if let Err(problem) = self.terminal.object(&ReportView::from(report)) {
            self.give_up(problem);
        }
    }

    fn give_up(&self, problem: CliError) {
        self.stop.store(true, Ordering::Relaxed);
        let mut kept = self.problem.lock().unwrap_or_else(PoisonError::into_inner);
        kept.get_or_insert(problem);
    }
}

fn show(summary: &Summary, seconds: f64, terminal: &Terminal) -> CliResult {
    let clean = summary.seeds - summary.failures.len() as u64;
    terminal.line(format!(
        "{} in {seconds:.1} s: {} clean, {} failed; {}, {}, {}",
        count(summary.seeds, "world"),
        terminal.paint(Tone::Good, thousands(clean)),
        failed(summary, terminal),
        count(summary.commits, "commit"),
        count(summary.transactions, "transaction"),
        count(summary.events, "event"),
    ))?;
    let mut marks = table(&["what must happen sometimes", "times"], &[1]);
    for &mark in Mark::ALL {
        let count = match summary.marks.count(mark) {
            0 => terminal.paint(Tone::Warn, "never"),
            n => thousands(n),
        };
        marks.add_row([mark.to_string(), count]);
    }
    terminal.line("")?;
    terminal.table(&marks)?;
    for report in &summary.failures {
        let Some(failure) = &report.failure else {
            continue;
        };
        terminal.line("")?;
        terminal.line(format!(
            "{} {} (trace {})",
            terminal.paint(Tone::Bad, format!("seed {}:", report.seed)),
            failure.violation,
            shortened(&report.trace_hash.to_string(), HASH_DIGITS),
        ))?;
        terminal.line(format!(
            "  see it again: {}",
            terminal.paint(Tone::Accent, &failure.replay)
        ))?;
    }
    Ok(())
}

fn failed(summary: &Summary, terminal: &Terminal) -> String {
    let count = summary.failures.len() as u64;
    let tone = if count == 0 { Tone::Faint } else { Tone::Bad };
    terminal.paint(tone, thousands(count))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: SimArgs,
    }

    fn parse(text: &str) -> Result<SimArgs, clap::Error> {
        let words = std::iter::once("sim").chain(text.split_whitespace());
        Line::try_parse_from(words).map(|line| line.args)
    }

    #[test]
    fn the_command_that_replays_a_seed_is_understood_and_names_the_same_world() {
        let options = Options {
            validators: 5..=9,
            faults: false,
            adversaries: false,
            virtual_seconds: 3,
        };
        let command = options.replay_command(17);
        let args = parse(command.strip_prefix("violeta sim ").unwrap()).unwrap();
        assert_eq!(args.options().unwrap(), options);
        assert_eq!(args.seeds(), 17..18);
        assert!(args.trace);
    }

    #[test]
    fn ranges_that_arent_are_wrong_usage() {
        for bad in [
            "--seeds 5",
            "--seeds 5..5",
            "--seeds a..b",
            "--validators 7..4",
            "--trace",
            "--trace --seeds 0..2",
            "--trace --seeds 0..2 --seed 1",
            // A story is that of one run, by one thread.
            "--trace --seed 1 --check-determinism",
            "--trace --seed 1 --jobs 2",
            // Behind the last seed there is no end.
            "--seed 18446744073709551615",
            "--seeds 0..=18446744073709551615",
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
        let none = parse("--validators 0..4").unwrap().options().unwrap_err();
        assert_eq!(none.cause, crate::error::Cause::Usage);
        let last = parse("--seed 18446744073709551614").unwrap().seeds();
        assert_eq!(last.count(), 1);
        assert_eq!(
            *parse("--validators 4")
                .unwrap()
                .options()
                .unwrap()
                .validators
                .end(),
            4
        );
    }
}
