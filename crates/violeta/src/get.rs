//! `violeta get`: a value that was verified before it is shown.

use clap::Args;
use violeta_types::api::Readable;

use crate::connect::{
    answer_view, namespace_help, parse_height, read, reader, show_incidents, version, writer,
};
use crate::context::ContextArgs;
use crate::error::{CliError, CliResult};
use crate::gateway::block_on;
use crate::proof_view::AnswerView;
use crate::put::parse_key;
use crate::quorum::watched;
use crate::terminal::Terminal;

/// Arguments of `violeta get`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  violeta get greetings hello
  violeta get greetings hello --proof
  violeta get greetings hello --at 7
  violeta get pictures logo --raw > logo.png

Every answer is verified before it is shown, with --proof or without; one that is false is reported and the next \
validator asked. Exit code 1 if the key has no value, 4 if nobody gave an answer that verifies.")]
pub(crate) struct GetArgs {
    /// The namespace.
    namespace: Readable,
    /// The key.
    #[arg(value_parser = parse_key)]
    key: Readable,
    /// Show against what it was verified.
    #[arg(long)]
    proof: bool,
    /// Write the value's bytes as they are, and nothing else.
    #[arg(long, conflicts_with = "proof")]
    raw: bool,
    /// Read the version of this height; by default the newest certified one.
    #[arg(long, value_name = "HEIGHT", conflicts_with = "linearizable", value_parser = parse_height)]
    at: Option<u64>,
    /// See every write that was done before: orders a barrier first, which takes a commit.
    #[arg(long)]
    linearizable: bool,
    #[command(flatten)]
    context: ContextArgs,
}

/// Reads a value.
///
/// # Errors
/// If there is none, or none that verifies.
pub(crate) fn run(args: &GetArgs, terminal: &Terminal) -> CliResult {
    // Not by the parser: what all commands have it hands down once it has looked for conflicts.
    if args.raw && terminal.is_json() {
        return Err(CliError::usage("--raw and --json exclude one another")
            .help("--raw writes the value's bytes, --json an object: leave one of them out"));
    }
    let client = match args.linearizable {
        true => writer(&args.context, terminal)?,
        false => reader(&args.context)?,
    };
    let at = version(args.at, args.linearizable);
    let reading = read(&client, &args.namespace, &args.key, at);
    let proved = block_on(watched(&client, terminal, reading));
    show_incidents(&client, terminal);
    let (proved, lacks_namespace) = proved?;
    let view = answer_view(&args.namespace, &args.key, &proved);
    if args.raw {
        return match &proved.value {
            Some(stored) => terminal.bytes(&stored.value),
            None => Err(absent(&view, lacks_namespace)),
        };
    }
    match args.proof {
        true => terminal.object_with_proof(&view, &proved.proof.to_json())?,
        false => terminal.object(&view)?,
    }
    if let Some(value) = &view.value {
        terminal.line(value)?;
    }
    if args.proof {
        view.show_steps(client.trust().committee(), terminal)?;
    }
    match view.value {
        Some(_) => Ok(()),
        None => Err(absent(&view, lacks_namespace)),
    }
}

fn absent(view: &AnswerView, lacks_namespace: bool) -> CliError {
    let AnswerView {
        namespace,
        key,
        height,
        ..
    } = view;
    match lacks_namespace {
        true => CliError::failed(format!(
            "there is no namespace {namespace} at height {height}; that is proved"
        ))
        .help(namespace_help(namespace)),
        false => CliError::failed(format!(
            "{namespace} / {key} has no value at height {height}; that is proved"
        )),
    }
}
