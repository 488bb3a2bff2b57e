//! Running seeds: one, many, and one again.

use std::fmt;
use std::ops::{ControlFlow, Range};
use std::panic::{AssertUnwindSafe, catch_unwind};

use violeta_types::Digest;

use crate::checkers::{Property, Verdict, Violation};
use crate::marks::Marks;
use crate::network::NetworkStats;
use crate::options::Options;
use crate::plan::Plan;
use crate::trace::{Sink, Trace};
use crate::world::World;

/// What happened in a world.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The seed.
    pub seed: u64,
    /// Digest of everything that happened: equal for two runs of one seed with the same options.
    pub trace_hash: Digest,
    /// Numbers, for people.
    pub stats: Stats,
    /// What happened of that which must happen sometimes.
    pub marks: Marks,
    /// What went wrong, if anything did.
    pub failure: Option<Failure>,
}

impl Report {
    /// Whether every property held.
    pub fn is_clean(&self) -> bool {
        self.failure.is_none()
    }
}

/// Numbers of a world.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Validators.
    pub validators: usize,
    /// How many of them lie.
    pub liars: usize,
    /// Virtual time that passed, in ms.
    pub virtual_ms: u64,
    /// Events.
    pub events: u64,
    /// Commits.
    pub commits: u64,
    /// Blocks.
    pub height: u64,
    /// Transactions with an outcome.
    pub transactions: u64,
    /// Transactions that clients had an answer for, with a certificate.
    pub acknowledged: u64,
    /// Vertices of honest validators.
    pub vertices: u64,
    /// What the network did.
    pub network: NetworkStats,
}

/// A property that didn't hold, and how to see it again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The property, and how it was broken.
    pub violation: Violation,
    /// The command that runs this world again.
    pub replay: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\n  replay: {}", self.violation, self.replay)
    }
}

/// Runs the world of a seed.
///
/// A panic of the code under simulation is a failure of the world, not of the caller.
///
/// # Panics
/// If the options are out of bounds ([`Options::check`]).
pub fn run_seed(seed: u64, options: &Options) -> Report {
    run(seed, options, None)
}

/// Runs the world of a seed, with a line to `sink` for whatever matters to people.
///
/// # Panics
/// As [`run_seed`].
pub fn trace_seed(seed: u64, options: &Options, sink: Sink<'_>) -> Report {
    run(seed, options, Some(sink))
}

fn run(seed: u64, options: &Options, sink: Option<Sink<'_>>) -> Report {
    assert!(options.check().is_ok(), "the caller checks the options");
    let plan = Plan::draw(seed, options);
    let mut trace = Trace::new(sink);
    trace.line(0, None, format_args!("{plan:?}"));
    let mut world = World::new(seed, plan, trace);
    let verdict = contained(|| world.run());
    Report {
        seed,
        trace_hash: world.trace().digest(),
        stats: world.stats(),
        marks: world.marks().clone(),
        failure: verdict.err().map(|violation| Failure {
            violation,
            replay: options.replay_command(seed),
        }),
    }
}

/// Makes a panic a violation. The world isn't run on; its counters stay readable.
fn contained(run: impl FnOnce() -> Verdict) -> Verdict {
    match catch_unwind(AssertUnwindSafe(run)) {
        Ok(verdict) => verdict,
        Err(payload) => {
            let text = payload.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| payload.downcast_ref::<&str>().copied());
            let what = text.unwrap_or("a panic without words");
            Err(Violation::new(Property::NoPanic, what))
        }
    }
}

/// What came of many seeds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Worlds that were run.
    pub seeds: u64,
    /// The reports of those that failed.
    pub failures: Vec<Report>,
    /// How often each mark was seen.
    pub marks: Marks,
    /// Commits in all.
    pub commits: u64,
    /// Transactions in all.
    pub transactions: u64,
    /// Events in all.
    pub events: u64,
}

impl Summary {
    /// Adds a world.
    pub fn add(&mut self, report: &Report) {
        self.seeds += 1;
        self.marks.add(&report.marks);
        self.commits += report.stats.commits;
        self.transactions += report.stats.transactions;
        self.events += report.stats.events;
        if report.failure.is_some() {
            self.failures.push(report.clone());
        }
    }
}

/// Runs seeds one after another; `progress` sees each report and may stop the run. (Who has several cores runs several
/// ranges.)
pub fn run_seeds(
    seeds: Range<u64>,
    options: &Options,
    progress: &mut dyn FnMut(&Report) -> ControlFlow<()>,
) -> Summary {
    let mut summary = Summary::default();
    for seed in seeds {
        let report = run_seed(seed, options);
        summary.add(&report);
        if progress(&report).is_break() {
            break;
        }
    }
    summary
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_under_simulation_is_a_violation_with_its_words() {
        let verdict = contained(|| panic!("round {} is missing", 7));
        let expected = Violation::new(Property::NoPanic, "round 7 is missing");
        assert_eq!(verdict, Err(expected));
        assert_eq!(contained(|| Ok(())), Ok(()));
    }

    #[test]
    fn a_summary_keeps_the_reports_of_failures_only() {
        let mut report = Report {
            seed: 3,
            trace_hash: Digest::ZERO,
            stats: Stats::default(),
            marks: Marks::default(),
            failure: None,
        };
        let mut summary = Summary::default();
        summary.add(&report);
        let violation = Violation::new(Property::Progress, "nothing moves");
        let replay = Options::default().replay_command(3);
        report.failure = Some(Failure { violation, replay });
        summary.add(&report);
        assert_eq!((summary.seeds, summary.failures.len()), (2, 1));
        let text = summary.failures[0].failure.as_ref().unwrap().to_string();
        assert!(
            text.contains("nothing moves") && text.contains("--seed 3"),
            "{text}"
        );
    }
}
