//! `violeta completions`: what the shell needs to complete commands.

use clap::{Args, CommandFactory, ValueEnum};
use clap_complete::Shell;

use crate::cli::Cli;
use crate::error::{CliError, CliResult};

/// Arguments of `violeta completions`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  violeta completions bash > ~/.local/share/bash-completion/completions/violeta")]
pub(crate) struct CompletionsArgs {
    /// For which shell; without, they are listed.
    shell: Option<Shell>,
}

/// Writes the completions to standard output.
///
/// # Errors
/// If no shell is named, or standard output can't be written to.
pub(crate) fn run(args: &CompletionsArgs) -> CliResult {
    let Some(shell) = args.shell else {
        let names: Vec<String> = Shell::value_variants()
            .iter()
            .map(ToString::to_string)
            .collect();
        let message = format!("for which shell? One of: {}", names.join(", "));
        return Err(CliError::usage(message).help("violeta completions bash"));
    };
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "violeta", &mut script);
    std::io::Write::write_all(&mut std::io::stdout(), &script)?;
    Ok(())
}
