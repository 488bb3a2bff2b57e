//! `violeta status`: every validator, side by side.

use std::time::Duration;

use clap::Args;
use serde::Serialize;
use violeta_node::provision::AMNESIA;
use violeta_types::ValidatorIndex;
use violeta_types::api::StatusAnswer;

use crate::context::ContextArgs;
use crate::error::{CliError, CliResult};
use crate::gateway::{Gateway, block_on};
use crate::terminal::{Terminal, Tone, shortened, table, thousands};

const WATCH_INTERVAL: Duration = Duration::from_secs(1);
const STATE_ROOT_DIGITS: usize = 12;

/// Arguments of `violeta status`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  violeta status
  violeta status --watch
  violeta status --endpoint http://127.0.0.1:26700 --json

Exit code 3 if no validator answers.")]
pub(crate) struct StatusArgs {
    /// Show it anew every second, until Ctrl-C.
    #[arg(long, short)]
    watch: bool,
    #[command(flatten)]
    context: ContextArgs,
}

/// What one validator says of itself, or why it says nothing.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct ValidatorStatus {
    /// Which one was asked, where that is known.
    pub(crate) validator: Option<ValidatorIndex>,
    /// Where it was asked.
    pub(crate) endpoint: String,
    /// What it said.
    #[serde(rename = "status")]
    pub(crate) answer: Option<StatusAnswer>,
    /// Why it said nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) problem: Option<String>,
    /// The state root of the newest height that all who answered have certified.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) state_root: Option<String>,
}

/// A status as a table shows it.
pub(crate) struct Cells {
    /// The newest height executed.
    pub(crate) height: String,
    /// The newest height certified.
    pub(crate) certified: String,
    /// The round of the newest own vertex.
    pub(crate) round: String,
    /// How many it is connected to.
    pub(crate) peers: String,
    /// Transactions in the mempool.
    pub(crate) mempool: String,
}

impl ValidatorStatus {
    /// As a table shows it.
    pub(crate) fn cells(&self) -> Cells {
        let of = |number: fn(&StatusAnswer) -> u64| match &self.answer {
            Some(answer) => thousands(number(answer)),
            None => "-".into(),
        };
        Cells {
            height: of(|a| a.height.0),
            certified: of(|a| a.certified_height.0),
            round: of(|a| a.round.0),
            peers: of(|a| a.peers.len() as u64),
            mempool: of(|a| a.mempool_count),
        }
    }
}

/// Asks all at once how they are.
///
/// # Errors
/// If an address can't be one.
pub(crate) async fn ask_all(
    endpoints: &[(Option<ValidatorIndex>, String)],
) -> CliResult<Vec<ValidatorStatus>> {
    let gateways = endpoints
        .iter()
        .map(|(index, url)| Ok((*index, Gateway::new(url)?)))
        .collect::<CliResult<Vec<_>>>()?;
    let asked = gateways.iter().map(|(index, gateway)| async move {
        let answer = gateway.status().await;
        ValidatorStatus {
            validator: answer.as_ref().ok().and_then(|a| a.validator).or(*index),
            endpoint: gateway.url().to_owned(),
            problem: answer.as_ref().err().map(|e| e.message.clone()),
            answer: answer.ok(),
            state_root: None,
        }
    });
    let mut statuses = futures::future::join_all(asked).await;
    let answered = statuses.iter().filter_map(|s| s.answer.as_ref());
    let Some(common) = answered.map(|a| a.certified_height).min() else {
        return Ok(statuses);
    };
    if common.0 == 0 {
        return Ok(statuses);
    }
    for (status, (_, gateway)) in statuses.iter_mut().zip(&gateways) {
        if status.answer.is_some() {
            let head = gateway.head(common).await.ok();
            status.state_root = head.map(|h| h.head.state_root.to_string());
        }
    }
    Ok(statuses)
}

/// Shows how all validators are.
///
/// # Errors
/// If none answers, or it isn't known whom to ask.
pub(crate) fn run(args: &StatusArgs, terminal: &Terminal) -> CliResult {
    let endpoints = args.context.endpoints()?;
    block_on(async {
        loop {
            let statuses = ask_all(&endpoints).await?;
            if args.watch && !terminal.is_json() {
                // Clear the screen, begin at its top.
                terminal.line("\u{1b}[2J\u{1b}[H")?;
            }
            show(&statuses, terminal)?;
            if !args.watch {
                return verdict(&statuses);
            }
            tokio::select! {
                _ = tokio::signal::ctrl_c() => return Ok(()),
                () = tokio::time::sleep(WATCH_INTERVAL) => {}
            }
        }
    })
}

fn verdict(statuses: &[ValidatorStatus]) -> CliResult {
    match statuses.iter().any(|s| s.answer.is_some()) {
        true => Ok(()),
        false => Err(CliError::unreachable("no validator answers").help(
            "`violeta testnet ps` shows what runs, `violeta testnet up` starts what doesn't",
        )),
    }
}

fn show(statuses: &[ValidatorStatus], terminal: &Terminal) -> CliResult {
    let mut shown = table(
        &[
            "validator",
            "endpoint",
            "height",
            "certified",
            "round",
            "mempool",
            "peers",
            "state root",
        ],
        &[2, 3, 4, 5, 6],
    );
    for status in statuses {
        let cells = status.cells();
        let root = match (&status.answer, &status.state_root) {
            (None, _) => terminal.paint(Tone::Bad, "doesn't answer"),
            (_, Some(root)) => shortened(root, STATE_ROOT_DIGITS),
            (_, None) => "-".into(),
        };
        shown.add_row([
            status
                .validator
                .map_or("?".into(), |index| format!("v{index}")),
            status.endpoint.clone(),
            cells.height,
            cells.certified,
            cells.round,
            cells.mempool,
            cells.peers,
            root,
        ]);
        terminal.object(status)?;
    }
    terminal.table(&shown)?;
    for line in amnesiacs(statuses) {
        terminal.line(terminal.paint(Tone::Bad, line))?;
    }
    if let Some(line) = agreement(statuses) {
        terminal.line(terminal.paint(line.0, line.1))?;
    }
    Ok(())
}

/// Who says that its journal was lost, and what that means.
fn amnesiacs(statuses: &[ValidatorStatus]) -> Vec<String> {
    let forgetful = |status: &&ValidatorStatus| status.answer.as_ref().is_some_and(|a| a.amnesia);
    let line = |status: &ValidatorStatus| {
        let who = status.validator.map_or("?".into(), |i| format!("v{i}"));
        format!("{who} has amnesia: {AMNESIA}")
    };
    statuses.iter().filter(forgetful).map(line).collect()
}

/// Whether those who answered say the same of their common height.
fn agreement(statuses: &[ValidatorStatus]) -> Option<(Tone, String)> {
    let common = statuses
        .iter()
        .filter_map(|s| s.answer.as_ref().map(|a| a.certified_height))
        .min()?;
    let mut roots: Vec<_> = statuses
        .iter()
        .filter_map(|s| s.state_root.as_ref())
        .collect();
    let asked = roots.len();
    roots.sort();
    roots.dedup();
    Some(match roots.len() {
        0 => (Tone::Faint, "nothing has been written yet".into()),
        1 => (
            Tone::Good,
            format!("{asked} agree on the state of height {common}"),
        ),
        n => (
            Tone::Bad,
            format!("{n} different states of height {common}: somebody lies"),
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use violeta_types::Height;

    fn status(height: u64, root: &str) -> ValidatorStatus {
        let answer = serde_json::from_value(serde_json::json!({
            "version": "0", "name": "n", "chain": "00".repeat(32), "validator": 0, "validators": 4,
            "epoch": 0, "round": 1, "commit_index": 1, "height": height,
            "certified_height": Height(height), "sealed_height": 0, "mempool_count": 0,
            "mempool_bytes": 0, "peers": [1, 2],
        }))
        .unwrap();
        ValidatorStatus {
            validator: Some(ValidatorIndex(0)),
            endpoint: "http://x".into(),
            answer: Some(answer),
            problem: None,
            state_root: Some(root.into()),
        }
    }

    #[test]
    fn equal_roots_agree_and_different_ones_are_a_lie() {
        let (tone, text) = agreement(&[status(7, "aa"), status(9, "aa")]).unwrap();
        assert_eq!(
            (tone, text.as_str()),
            (Tone::Good, "2 agree on the state of height 7")
        );
        let (tone, _) = agreement(&[status(7, "aa"), status(7, "bb")]).unwrap();
        assert_eq!(tone, Tone::Bad);
        assert!(agreement(&[]).is_none());
    }

    #[test]
    fn who_lost_its_journal_is_named_with_what_to_do() {
        let (mut lost, fine) = (status(7, "aa"), status(7, "aa"));
        lost.answer.as_mut().unwrap().amnesia = true;
        let lines = amnesiacs(&[fine, lost]);
        assert_eq!(lines.len(), 1);
        assert!(lines[0].starts_with("v0 has amnesia: its journal was lost"));
        assert!(lines[0].contains("violeta provision"));
    }

    #[test]
    fn nobody_answering_is_an_error_of_its_own() {
        let silent = ValidatorStatus {
            answer: None,
            state_root: None,
            ..status(1, "")
        };
        let error = verdict(std::slice::from_ref(&silent)).unwrap_err();
        assert_eq!(error.cause, crate::error::Cause::Unreachable);
        assert!(verdict(&[silent.clone(), status(1, "aa")]).is_ok());
        assert_eq!(silent.cells().height, "-");
    }
}
