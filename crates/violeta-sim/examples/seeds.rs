//! Runs a range of seeds and says what came of them.
//!
//! ```text
//! cargo run --release -p violeta-sim --example seeds -- 0..2000            many worlds
//! cargo run --release -p violeta-sim --example seeds -- 17 --trace         one of them, line by line
//! ```
//!
//! Further words: `--validators 4..10`, `--virtual-seconds 6`, `--no-faults`, `--no-adversaries`,
//! `--check-determinism` (each seed twice).

#![expect(clippy::print_stdout, reason = "a program for people")]

use std::ops::{ControlFlow, Range};
use std::process::ExitCode;

use violeta_sim::{Mark, Options, Report, run_seed, run_seeds, trace_seed};

struct Arguments {
    seeds: Range<u64>,
    options: Options,
    trace: bool,
    twice: bool,
}

fn parse(words: &[String]) -> Option<Arguments> {
    let mut arguments = Arguments {
        seeds: 0..100,
        options: Options::default(),
        trace: false,
        twice: false,
    };
    let mut words = words.iter();
    while let Some(word) = words.next() {
        match word.as_str() {
            "--trace" => arguments.trace = true,
            "--check-determinism" => arguments.twice = true,
            "--no-faults" => arguments.options.faults = false,
            "--no-adversaries" => arguments.options.adversaries = false,
            "--virtual-seconds" => {
                arguments.options.virtual_seconds = words.next()?.parse().ok()?;
            }
            "--validators" => {
                let (low, high) = words.next()?.split_once("..")?;
                arguments.options.validators = low.parse().ok()?..=high.parse().ok()?;
            }
            seeds => match seeds.split_once("..") {
                Some((low, high)) => arguments.seeds = low.parse().ok()?..high.parse().ok()?,
                None => {
                    let seed: u64 = seeds.parse().ok()?;
                    arguments.seeds = seed..seed + 1;
                }
            },
        }
    }
    arguments.options.check().ok()?;
    Some(arguments)
}

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let Some(arguments) = parse(&words) else {
        println!(
            "not an option or a range of seeds: {words:?} (see the head of examples/seeds.rs)"
        );
        return ExitCode::from(2);
    };
    if arguments.trace {
        let report = trace_seed(arguments.seeds.start, &arguments.options, &mut |line| {
            println!("{line}");
        });
        println!("{:?}", report.stats);
        println!("trace hash {}", report.trace_hash);
        return say(&report);
    }
    let mut failed = false;
    let summary = run_seeds(arguments.seeds.clone(), &arguments.options, &mut |report| {
        if arguments.twice && run_seed(report.seed, &arguments.options) != *report {
            println!("seed {} isn't deterministic", report.seed);
            failed = true;
        }
        if !report.is_clean() {
            println!(
                "seed {} ({} validators):",
                report.seed, report.stats.validators
            );
            say(report);
        }
        ControlFlow::Continue(())
    });
    println!(
        "{} seeds, {} failed; {} commits, {} transactions, {} events",
        summary.seeds,
        summary.failures.len(),
        summary.commits,
        summary.transactions,
        summary.events
    );
    for mark in Mark::ALL {
        println!("{:>10}  {mark}", summary.marks.count(*mark));
    }
    match failed || !summary.failures.is_empty() {
        true => ExitCode::FAILURE,
        false => ExitCode::SUCCESS,
    }
}

fn say(report: &Report) -> ExitCode {
    match &report.failure {
        Some(failure) => {
            println!("{failure}");
            ExitCode::FAILURE
        }
        None => ExitCode::SUCCESS,
    }
}
