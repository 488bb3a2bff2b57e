//! `violeta key`: the keys that clients sign with.
//!
//! ```text
//!  violeta-client-key-v1:<64 hexadecimal digits>       a file of mode 0600
//! ```

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use violeta_client::keys;
use violeta_crypto::signing::ClientSecretKey;

use crate::error::CliResult;
use crate::terminal::{Terminal, Tone};

/// Arguments of `violeta key`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  violeta key new alice.key
  violeta put greetings hello world --key alice.key

What signs is the key file that --key names, else VIOLETA_KEY, else the file violeta-client.toml in this directory or \
one above, else the administrator's of a network's directory around here. violeta-client.toml says whom to talk to:
  endpoints = [\"http://127.0.0.1:26700\"]   # validators, as with --endpoint
  trust = \"trust.json\"                     # the trust file, as with --trust
  key = \"alice.key\"                        # the key file, as with --key
Each may be left out; paths are relative to the file.")]
pub(crate) struct KeyArgs {
    #[command(subcommand)]
    command: KeyCommand,
}

#[derive(Debug, Subcommand)]
enum KeyCommand {
    /// Make a new client key.
    #[command(after_help = "Examples:
  violeta key new alice.key
  violeta --json key show alice.key")]
    New {
        /// Where to write it; never over a file that exists.
        #[arg(default_value = "client.key")]
        file: PathBuf,
    },
    /// Show whose key a file holds: the client's id and public key.
    #[command(after_help = "Examples:
  violeta key show alice.key")]
    Show {
        /// The key file.
        #[arg(default_value = "client.key")]
        file: PathBuf,
    },
}

/// Makes or shows a key.
///
/// # Errors
/// If the file exists already, or can't be read or written.
pub(crate) fn run(args: &KeyArgs, terminal: &Terminal) -> CliResult {
    match &args.command {
        KeyCommand::New { file } => {
            let key = keys::generate()?;
            keys::save(file, &key)?;
            show(file, &key, terminal)
        }
        KeyCommand::Show { file } => show(file, &keys::load(file)?, terminal),
    }
}

fn show(file: &Path, key: &ClientSecretKey, terminal: &Terminal) -> CliResult {
    let public = key.public_key();
    let client = public.client_id();
    terminal.object(&serde_json::json!({
        "file": file, "client": client, "public_key": public,
    }))?;
    let row = |name, value: &dyn std::fmt::Display| {
        format!(
            "{}{value}",
            terminal.paint(Tone::Faint, format!("{name:<12}"))
        )
    };
    terminal.line(row("file", &file.display()))?;
    terminal.line(row("client", &client))?;
    terminal.line(row("public key", &public))
}
