//! Violeta: a replicated database that can prove what it tells you.
//!
//! ```text
//!  main ─▶ cli (what is asked) ─┬─ start                          one validator, in this process
//!                               ├─ testnet, demo, bench           validators as processes of their own
//!                               ├─ put get list diff prove load … a client: context ─▶ violeta-client
//!                               ├─ verify, key, store             files only, no network
//!                               └─ sim                            the simulated world
//!            terminal (what is said) · error (how it ends) · signals (when it is to end)
//! ```

mod adversary;
mod bench;
mod cli;
mod completions;
mod connect;
mod context;
mod demo;
mod diff;
mod error;
mod gateway;
mod get;
mod history;
mod key;
mod list;
mod load;
mod outcome;
mod proof_view;
mod prove;
mod provision;
mod put;
mod quorum;
mod signals;
mod simulate;
mod start;
mod status;
mod store;
mod table;
mod terminal;
mod testnet;
mod verify;

use std::process::ExitCode;

use crate::cli::Cli;

/// Transactions are many small pieces, which are made by one thread and dropped by another.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let (terminal, done) = match Cli::understand() {
        Ok(cli) => {
            let terminal = cli.terminal();
            (terminal, cli.run(&terminal))
        }
        Err((terminal, error)) => (terminal, Err(error)),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            terminal.error(&error);
            ExitCode::from(error.cause.exit_code())
        }
    }
}
