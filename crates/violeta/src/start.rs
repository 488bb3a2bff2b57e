//! `violeta start`: one validator, in the foreground, until it is told to stop.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use nix::sys::prctl::{set_pdeathsig, set_thp_disable};
use nix::sys::signal::Signal;
use nix::unistd::getppid;
use tracing_subscriber::EnvFilter;
use violeta_node::Config;
use violeta_node::node::{Node, Overrides};

use crate::adversary::Adversary;
use crate::error::{CliError, CliResult};
use crate::signals::Ending;

const LOG_DEFAULT: &str = "info";

/// How the log is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// Lines for people.
    #[default]
    Text,
    /// Lines for people, short.
    Compact,
    /// A JSON object on each line.
    Json,
}

/// Arguments of `violeta start`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  violeta start --config net/v0/violeta.toml
  VIOLETA_LOG=violeta_node=debug violeta start --config net/v0/violeta.toml --log-format json

The log goes to standard error. SIGTERM, Ctrl-C or a terminal that closes ends it cleanly; after SIGKILL or a power cut it goes on where its \
journal ends.")]
pub(crate) struct StartArgs {
    /// The validator's configuration; `violeta testnet init` writes one for each.
    #[arg(long, short, value_name = "FILE", default_value = "violeta.toml")]
    config: PathBuf,
    /// How the log is written.
    #[arg(long, default_value = "text", value_name = "FORMAT")]
    log_format: LogFormat,
    /// What is logged: error, warn, info, debug, trace, or by module.
    #[arg(long, value_name = "FILTER", env = "VIOLETA_LOG", hide_env_values = true, default_value = LOG_DEFAULT)]
    log: String,
    /// End when this process does.
    #[arg(long, value_name = "PID", hide = true)]
    die_with: Option<i32>,
    /// Lie: for the demonstration and tests of what lies come to, which start it and end with it.
    #[arg(long, value_name = "WHAT", hide = true, requires = "die_with")]
    adversary: Option<Adversary>,
}

/// Runs a validator until it is told to stop.
///
/// # Errors
/// If it can't start, or stops by itself.
pub(crate) fn run(args: &StartArgs) -> CliResult {
    begin_log(args)?;
    keep_pages_small();
    if let Some(parent) = args.die_with {
        die_with(parent)?;
    }
    // Before anything else listens for them: a signal while the node starts ends it, too.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let signals = runtime.block_on(async { Signals::new() })?;
    let config = Config::load(&args.config)?;
    let overrides = match &args.adversary {
        Some(adversary) => adversary.overrides(),
        None => Overrides::default(),
    };
    let node = Node::start(&config, overrides)
        .map_err(|e| CliError::failed(e).during("the validator can't start"))?;
    let handle = node.handle().clone();
    let reason = runtime.block_on(async {
        tokio::select! {
            signal = signals.received() => Ok(signal),
            reason = handle.stopped() => Err(reason),
        }
    });
    for complaint in node.stop() {
        tracing::warn!(%complaint, "while the validator stopped");
    }
    match reason {
        Ok(_) => Ok(()),
        Err(reason) => Err(CliError::failed(format!("the validator stopped: {reason}"))),
    }
}

struct Signals {
    ending: Ending,
    /// Never received: with it, a file that may not grow further is an error of the write, which says what to do.
    /// Without, it kills the process.
    _file_too_large: tokio::signal::unix::Signal,
}

impl Signals {
    fn new() -> CliResult<Signals> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Signals {
            ending: Ending::listen()?,
            _file_too_large: signal(SignalKind::from_raw(Signal::SIGXFSZ as i32))?,
        })
    }

    async fn received(mut self) -> &'static str {
        let name = self.ending.asked().await;
        tracing::info!(signal = name, "stopping");
        name
    }
}

/// Does without huge pages. The allocator asks for them, and then a piece of memory that is used for a moment is two
/// megabytes for the kernel to clear, and to count as the validator's: a third more memory, and not less time.
fn keep_pages_small() {
    if let Err(error) = set_thp_disable(true) {
        tracing::warn!(%error, "huge pages can't be turned off: the validator may take more memory than it needs");
    }
}

/// Asks the kernel for SIGTERM when the parent dies.
fn die_with(parent: i32) -> CliResult {
    set_pdeathsig(Signal::SIGTERM).map_err(CliError::failed)?;
    // It may have died before we asked.
    match getppid().as_raw() == parent {
        true => Ok(()),
        false => Err(CliError::failed("whoever started this validator has ended")),
    }
}

fn begin_log(args: &StartArgs) -> CliResult {
    let filter = EnvFilter::try_new(&args.log)
        .map_err(|e| CliError::usage(format!("--log {:?}: {e}", args.log)))?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()));
    match args.log_format {
        LogFormat::Text => builder.init(),
        LogFormat::Compact => builder.compact().init(),
        LogFormat::Json => builder.json().init(),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_outlives_its_starter_ends() {
        // Not our parent: as if it had died before the kernel was asked.
        assert!(die_with(0).is_err());
    }
}
