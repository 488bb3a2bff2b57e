//! `violeta provision`: sets a validator up, once.

use std::path::PathBuf;

use clap::Args;
use violeta_node::Config;

use crate::error::{CliError, CliResult};
use crate::terminal::{Terminal, Tone};

/// Arguments of `violeta provision`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  violeta provision --config violeta.toml
  violeta start --config violeta.toml

Once for each validator's key, before its first start; `violeta testnet init` does it for its validators. What it \
writes says that nothing was signed with this key yet. Never run it again for a validator that has run and lost its \
data: it would sign a second time what it has signed, and be found out as a liar. Such a validator is just started: it \
follows until the next epoch.")]
pub(crate) struct ProvisionArgs {
    /// The validator's configuration.
    #[arg(long, short, value_name = "FILE", default_value = "violeta.toml")]
    config: PathBuf,
}

/// Sets a validator up.
///
/// # Errors
/// If it was before, or can't be.
pub(crate) fn run(args: &ProvisionArgs, terminal: &Terminal) -> CliResult {
    let config = Config::load(&args.config)?;
    violeta_node::provision::provision(&config)
        .map_err(|e| CliError::failed(e).during("the validator can't be set up"))?;
    let dir = config.node.data_dir.display().to_string();
    terminal.object(&serde_json::json!({ "data_dir": dir }))?;
    terminal.line(format!("set up in {dir}"))?;
    terminal.line("")?;
    let next = format!("violeta start --config {}", args.config.display());
    terminal.line(format!("next: {}", terminal.paint(Tone::Accent, next)))
}
