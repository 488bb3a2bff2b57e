//! `violeta outcome`: what became of a transaction.

use std::path::PathBuf;

use clap::Args;
use violeta_client::{Client, Receipt};
use violeta_node::files::{PUBLIC_MODE, write_atomic};
use violeta_types::TxId;

use crate::connect::{reader, show_incidents};
use crate::context::ContextArgs;
use crate::error::{CliError, CliResult};
use crate::gateway::block_on;
use crate::proof_view::OutcomeView;
use crate::prove::check_place;
use crate::quorum::watched;
use crate::terminal::{Terminal, Tone};

/// Arguments of `violeta outcome`.
#[derive(Debug, Args)]
#[command(mut_arg("key_file", |key| key.hide(true)))]
#[command(after_help = "Examples:
  violeta outcome 9c1185a5c5e9fc54612808977ee8f548b2258d31a1c0e5c0a0a1f5bfb5c5ef6d
  violeta outcome 9c1185a5c5e9fc54612808977ee8f548b2258d31a1c0e5c0a0a1f5bfb5c5ef6d --proof
  violeta outcome 9c1185a5c5e9fc54612808977ee8f548b2258d31a1c0e5c0a0a1f5bfb5c5ef6d -o outcome.proof

violeta put and violeta delete print the transaction's id. What is shown was verified, with --proof or without. Exit \
code 1 if the transaction was refused, or if there is no proof of what became of it.")]
pub(crate) struct OutcomeArgs {
    /// The transaction's id: 64 hexadecimal digits.
    #[arg(value_name = "TRANSACTION")]
    transaction: TxId,
    /// Show against what it was verified.
    #[arg(long)]
    proof: bool,
    /// Write the proof to a file, for violeta verify.
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    #[command(flatten)]
    context: ContextArgs,
}

/// Says what became of a transaction.
///
/// # Errors
/// If it was refused, or nobody has a proof of what became of it.
pub(crate) fn run(args: &OutcomeArgs, terminal: &Terminal) -> CliResult {
    if let Some(path) = &args.output {
        check_place(path)?;
    }
    let client = reader(&args.context)?;
    let asking = client.outcome(args.transaction);
    let found = block_on(watched(&client, terminal, asking));
    show_incidents(&client, terminal);
    let receipt = found?.ok_or_else(|| unknown(args.transaction))?;
    show(args, &client, &receipt, terminal)?;
    match receipt.outcome.refused {
        None => Ok(()),
        Some(_) => Err(
            CliError::failed("the transaction was refused; that is proved").help(
                "it changed nothing and never will; what it was to do takes a new transaction",
            ),
        ),
    }
}

fn show(args: &OutcomeArgs, client: &Client, receipt: &Receipt, terminal: &Terminal) -> CliResult {
    let view = OutcomeView::from(receipt);
    if let Some(path) = &args.output {
        write_atomic(path, receipt.proof.to_json().as_bytes(), PUBLIC_MODE)?;
    }
    match args.proof {
        true => terminal.object_with_proof(&view, &receipt.proof.to_json())?,
        false => terminal.object(&view)?,
    }
    let tone = match receipt.outcome.refused {
        None => Tone::Good,
        Some(_) => Tone::Bad,
    };
    terminal.line(terminal.paint(tone, view.sentence()))?;
    if args.proof {
        view.show_steps(client.trust().committee(), terminal)?;
    }
    let Some(path) = &args.output else {
        return Ok(());
    };
    let verify = format!("violeta verify {} --trust trust.json", path.display());
    terminal.line(format!("next: {}", terminal.paint(Tone::Accent, verify)))
}

fn unknown(transaction: TxId) -> CliError {
    CliError::failed(format!(
        "there is no proof of what became of transaction {transaction}: validators that can't all be faulty have none"
    ))
    .help(
        "is it the right id, and the right network? A transaction of the command line expires 30 s after it is \
         signed, by the network's time, which stands still while nothing commits: one that waited through an outage may \
         be executed after it. So ask again once the network commits again and its time is past that, before you write \
         anew; who was asked may lag behind, too",
    )
}
