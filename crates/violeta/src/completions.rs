//! `violeta completions`: what the shell needs to complete commands.

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use crate::cli::Cli;
use crate::error::CliResult;

/// Arguments of `violeta completions`.
#[derive(Debug, Args)]
#[command(after_help = "Example:
  violeta completions bash > ~/.local/share/bash-completion/completions/violeta")]
pub(crate) struct CompletionsArgs {
    /// For which shell.
    shell: Shell,
}

/// Writes the completions to standard output.
///
/// # Errors
/// If it can't be written to.
pub(crate) fn run(args: &CompletionsArgs) -> CliResult {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "violeta", &mut script);
    std::io::Write::write_all(&mut std::io::stdout(), &script)?;
    Ok(())
}
