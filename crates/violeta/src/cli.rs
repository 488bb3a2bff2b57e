//! What can be asked: the tree of commands, and who carries each out.

use std::ffi::OsString;

use clap::error::ErrorKind;
use clap::{Args, Parser, Subcommand};

use crate::error::{CliError, CliResult};
use crate::terminal::{ColorChoice, Terminal, WIDTH_MAX};
use crate::{
    bench, completions, demo, diff, get, history, key, list, load, outcome, prove, provision, put,
    simulate, start, status, store, testnet, verify,
};

const ABOUT: &str = "A replicated database that can prove what it tells you.

Its validators are run by parties that need not trust one another: up to a third of them may crash, lie or be \
taken over, and still every client gets the same history in the same order, with a proof of every answer.";

const AFTER: &str = "Begin with:
  violeta demo                         see it work: four validators, a crash, a liar
  violeta testnet init net && violeta testnet up net
  cd net && violeta put greetings hello world --create && violeta get greetings hello --proof

Exit codes: 0 done, 1 failed, 2 wrong usage, 3 nobody could be reached, 4 something didn't verify.";

/// The command line.
#[derive(Debug, Parser)]
#[command(
    name = "violeta",
    version,
    about = "A replicated database that can prove what it tells you",
    long_about = ABOUT,
    after_help = AFTER,
    max_term_width = WIDTH_MAX,
    subcommand_required = true,
    arg_required_else_help = true
)]
pub(crate) struct Cli {
    #[command(flatten)]
    look: LookArgs,
    #[command(subcommand)]
    command: Command,
}

/// What every command has.
#[derive(Debug, Args)]
#[command(next_help_heading = "Output")]
struct LookArgs {
    /// Print JSON for programs, one object a line.
    #[arg(long, global = true)]
    json: bool,
    /// When to use colours; NO_COLOR turns them off too.
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto")]
    color: ColorChoice,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// See it work: four validators, real data, a crash, a liar.
    Demo(demo::DemoArgs),
    /// Make, run and break a network of validators on this machine.
    Testnet(testnet::TestnetArgs),
    /// Set one validator up, once, before its first start.
    Provision(provision::ProvisionArgs),
    /// Run one validator in the foreground.
    Start(start::StartArgs),
    /// Write a value.
    Put(put::PutArgs),
    /// Take a key's value away.
    Delete(put::DeleteArgs),
    /// Read a value, verified.
    Get(get::GetArgs),
    /// List all versions of a key.
    History(history::HistoryArgs),
    /// List all keys and values of a namespace, verified.
    List(list::ListArgs),
    /// Show what changed in a namespace between two heights, verified.
    Diff(diff::DiffArgs),
    /// Fetch the proof of a value, or of its absence, into a file.
    Prove(prove::ProveArgs),
    /// Tell what became of a transaction, verified.
    Outcome(outcome::OutcomeArgs),
    /// Check a proof file, without any network.
    Verify(verify::VerifyArgs),
    /// Load a file of rows into a namespace.
    Load(load::LoadArgs),
    /// Show how all validators are.
    Status(status::StatusArgs),
    /// Make and show client keys.
    Key(key::KeyArgs),
    /// Look into a store's directory: check, measure, list, compare.
    Store(store::StoreArgs),
    /// Run seeds of the simulated world: faults, liars, a checker of everything.
    Sim(simulate::SimArgs),
    /// Measure throughput, latency and cost.
    Bench(bench::BenchArgs),
    /// Write the shell's completions to standard output.
    Completions(completions::CompletionsArgs),
}

impl Cli {
    /// What is asked by the process's arguments. Where that can't be understood, or is a question for help, the process
    /// ends here, with clap's words.
    ///
    /// # Errors
    /// If it can't be understood and a program reads: then the error has the form that all have.
    pub(crate) fn understand() -> Result<Cli, (Terminal, CliError)> {
        Cli::try_parse().map_err(|error| match in_words(&error) {
            Some(words) if wants_json(std::env::args_os()) => {
                (Terminal::new(true, ColorChoice::Never), words)
            }
            _ => error.exit(),
        })
    }

    /// How the output is to look.
    pub(crate) fn terminal(&self) -> Terminal {
        Terminal::new(self.look.json, self.look.color)
    }

    /// Does what is asked.
    ///
    /// # Errors
    /// What went wrong, with its exit code.
    pub(crate) fn run(&self, terminal: &Terminal) -> CliResult {
        match &self.command {
            Command::Demo(args) => demo::run(args, terminal),
            Command::Testnet(args) => testnet::run(args, terminal),
            Command::Provision(args) => provision::run(args, terminal),
            Command::Start(args) => start::run(args),
            Command::Put(args) => put::run(args, terminal),
            Command::Delete(args) => put::delete(args, terminal),
            Command::Get(args) => get::run(args, terminal),
            Command::History(args) => history::run(args, terminal),
            Command::List(args) => list::run(args, terminal),
            Command::Diff(args) => diff::run(args, terminal),
            Command::Prove(args) => prove::run(args, terminal),
            Command::Outcome(args) => outcome::run(args, terminal),
            Command::Verify(args) => verify::run(args, terminal),
            Command::Load(args) => load::run(args, terminal),
            Command::Status(args) => status::run(args, terminal),
            Command::Key(args) => key::run(args, terminal),
            Command::Store(args) => store::run(args, terminal),
            Command::Sim(args) => simulate::run(args, terminal),
            Command::Bench(args) => bench::run(args, terminal),
            Command::Completions(args) => completions::run(args),
        }
    }
}

/// Whether these arguments, which may be wrong, ask for JSON: a program must be able to read what is wrong with them.
fn wants_json(args: impl Iterator<Item = OsString>) -> bool {
    // Behind -- there are only values.
    args.take_while(|arg| arg != "--")
        .any(|arg| arg == "--json")
}

/// An error of clap's in one of ours. None if it is none: help, or the version.
fn in_words(error: &clap::Error) -> Option<CliError> {
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => return None,
        // It consists of the help alone.
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            let error = CliError::usage("a subcommand is missing");
            return Some(error.help("the same command with --help lists them"));
        }
        _ => {}
    }
    let text = error.render().to_string();
    let mut paragraphs = text.trim().split("\n\n").map(|paragraph| {
        let lines: Vec<&str> = paragraph.lines().map(str::trim).collect();
        lines.join(" ")
    });
    let first = paragraphs.next().unwrap_or_default();
    let message = first.strip_prefix("error: ").unwrap_or(&first);
    let rest: Vec<String> = paragraphs.collect();
    Some(CliError::usage(message).help(rest.join("; ")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn json_is_wanted_wherever_the_flag_stands_but_not_where_it_is_a_value() {
        let wants = |line: &str| wants_json(line.split(' ').map(OsString::from));
        assert!(wants("violeta --json get"));
        assert!(wants("violeta get n --bogus --json"));
        assert!(!wants("violeta put n k -- --json"));
        assert!(!wants("violeta put n --jsonl"));
    }

    #[test]
    fn the_tree_of_commands_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_visible_command_has_an_example() {
        fn check(command: &clap::Command, path: &str) {
            for sub in command
                .get_subcommands()
                .filter(|sub| sub.get_name() != "help")
            {
                let path = format!("{path} {}", sub.get_name());
                check(sub, &path);
                let after = sub
                    .get_after_help()
                    .map(ToString::to_string)
                    .unwrap_or_default();
                assert!(after.contains(&path), "{path}: no example in its help");
            }
        }
        check(&Cli::command(), "violeta");
    }
}
