//! `violeta prove`: a proof in a file, for whoever doubts.

use std::path::{Path, PathBuf};

use clap::Args;
use violeta_node::files::{PUBLIC_MODE, write_atomic};
use violeta_types::api::Readable;

use crate::connect::{
    answer_view, namespace_help, parse_height, read, reader, show_incidents, version,
};
use crate::context::ContextArgs;
use crate::error::{CliError, CliResult};
use crate::gateway::block_on;
use crate::put::parse_key;
use crate::quorum::watched;
use crate::terminal::{Terminal, Tone, count};

/// Arguments of `violeta prove`.
#[derive(Debug, Args)]
#[command(mut_arg("key_file", |key| key.hide(true)))]
#[command(after_help = "Examples:
  violeta prove packages openssl -o openssl.proof
  violeta verify openssl.proof --trust trust.json

The file holds the value (or that there is none), the path to the state root, the head of that state and its \
certificate: all that somebody needs who has the trust file, and no network.")]
pub(crate) struct ProveArgs {
    /// The namespace.
    namespace: Readable,
    /// The key.
    #[arg(value_parser = parse_key)]
    key: Readable,
    /// Where to write the proof.
    #[arg(long, short, value_name = "FILE")]
    output: PathBuf,
    /// Prove the version of this height; by default the newest certified one.
    #[arg(long, value_name = "HEIGHT", value_parser = parse_height)]
    at: Option<u64>,
    /// Write the binary form, a third of the size.
    #[arg(long)]
    binary: bool,
    #[command(flatten)]
    context: ContextArgs,
}

/// Looks whether a file can be made here, before anybody is asked for what comes into it.
///
/// # Errors
/// If there isn't the directory, or the name is that of one.
pub(crate) fn check_place(path: &Path) -> CliResult {
    let parent = path.parent().filter(|dir| !dir.as_os_str().is_empty());
    if let Some(dir) = parent
        && !dir.is_dir()
    {
        let message = format!("there is no directory {}", dir.display());
        return Err(CliError::failed(message).help("make it, or choose another --output"));
    }
    match path.is_dir() {
        true => Err(
            CliError::failed(format!("{} is a directory", path.display()))
                .help("--output is the name of a file"),
        ),
        false => Ok(()),
    }
}

/// Writes a proof, verified, to a file.
///
/// # Errors
/// If nobody gives one that verifies, or the file can't be written.
pub(crate) fn run(args: &ProveArgs, terminal: &Terminal) -> CliResult {
    check_place(&args.output)?;
    let client = reader(&args.context)?;
    let at = version(args.at, false);
    let reading = read(&client, &args.namespace, &args.key, at);
    let proved = block_on(watched(&client, terminal, reading));
    show_incidents(&client, terminal);
    let (proved, lacks_namespace) = proved?;
    let bytes = match args.binary {
        true => violeta_types::encode(&proved.proof),
        false => proved.proof.to_json().into_bytes(),
    };
    write_atomic(&args.output, &bytes, PUBLIC_MODE)?;
    let view = answer_view(&args.namespace, &args.key, &proved);
    terminal.object(&serde_json::json!({
        "file": args.output, "bytes": bytes.len(), "proves": view,
    }))?;
    let name = args.output.display();
    terminal.line(format!(
        "{} in {}",
        count(bytes.len(), "byte"),
        terminal.paint(Tone::Accent, &name)
    ))?;
    view.show_steps(client.trust().committee(), terminal)?;
    if lacks_namespace {
        let (namespace, help) = (&args.namespace, namespace_help(&args.namespace));
        terminal.note(format!(
            "note: the key has no value because there is no namespace {namespace}; {help}"
        ));
    }
    terminal.line(format!(
        "next: {}",
        terminal.paint(
            Tone::Accent,
            format!("violeta verify {name} --trust trust.json")
        )
    ))
}
