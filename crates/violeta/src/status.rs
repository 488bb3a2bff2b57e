//! `violeta status`: every validator, side by side.

use std::collections::BTreeMap;
use std::time::Duration;

use clap::Args;
use serde::Serialize;
use violeta_node::provision::amnesia;
use violeta_types::api::StatusAnswer;
use violeta_types::{ChainId, Committee, Height, ValidatorIndex};

use crate::context::ContextArgs;
use crate::error::{CliError, CliResult};
use crate::gateway::{Gateway, block_on};
use crate::quorum::Quorum;
use crate::terminal::{Terminal, Tone, shortened, table, thousands};
use crate::testnet::directory::Unreadable;

const WATCH_INTERVAL: Duration = Duration::from_secs(1);
const STATE_ROOT_DIGITS: usize = 12;
const CHAIN_DIGITS: usize = 12;
const OTHER_CHAIN_HELP: &str = "two networks have the same ports: stop the other one, with `violeta testnet down` and its \
    directory, or make this one anew without --base-port, which finds free ones";

/// Arguments of `violeta status`.
#[derive(Debug, Args)]
#[command(mut_arg("key_file", |key| key.hide(true)))]
#[command(after_help = "Examples:
  violeta status
  violeta status --watch
  violeta status --endpoint http://127.0.0.1:26700 --json

Without a quorum of validators nothing can be committed: it is said if fewer answer, or if they have different states. \
What each validator says of itself isn't proved. Exit code 3 if no validator answers.")]
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
    /// Which one was asked; where that isn't known, which one it says that it is.
    pub(crate) validator: Option<ValidatorIndex>,
    /// Where it was asked; none if its configuration, which says where, can't be read.
    pub(crate) endpoint: Option<String>,
    /// What it said.
    #[serde(rename = "status")]
    pub(crate) answer: Option<StatusAnswer>,
    /// Why it said nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) problem: Option<String>,
    /// The chain that is served there, if it is another than was asked for: then nothing it says counts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) other_chain: Option<ChainId>,
    /// The state root of the newest height that all have certified who answered and have certified any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) state_root: Option<String>,
    /// Whether all of them together can commit; the same for each.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) quorum: Option<QuorumView>,
}

/// Whether a quorum answers, and whether one agrees.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct QuorumView {
    #[serde(flatten)]
    present: Quorum,
    /// Most of those that have one state at the newest height that all have certified who have certified any.
    agreeing: u64,
}

/// A status as a table shows it.
pub(crate) struct Cells {
    /// Where it was asked.
    pub(crate) endpoint: String,
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
    /// The newest height that it says is certified; 0 for none.
    fn certified(&self) -> Option<Height> {
        self.answer.as_ref().map(|answer| answer.certified_height)
    }

    /// Where another chain is served than was asked for, and which.
    fn elsewhere(&self) -> Option<String> {
        let found = self.other_chain?;
        let endpoint = self.endpoint.as_deref().unwrap_or("?");
        Some(format!("{}: {}", name(self), served_by(endpoint, found)))
    }

    /// Whether it lost its journal, and only follows.
    pub(crate) fn has_amnesia(&self) -> bool {
        let answer = self.answer.as_ref();
        answer.is_some_and(|answer| answer.amnesia.is_some())
    }

    /// Another one that it says it is, than was asked.
    fn claims_to_be(&self) -> Option<ValidatorIndex> {
        let claimed = self.answer.as_ref()?.validator;
        claimed.filter(|_| claimed != self.validator)
    }

    /// As a table shows it.
    pub(crate) fn cells(&self) -> Cells {
        let of = |number: fn(&StatusAnswer) -> u64| match &self.answer {
            Some(answer) => thousands(number(answer)),
            None => "-".into(),
        };
        Cells {
            endpoint: self.endpoint.clone().unwrap_or_else(|| "-".into()),
            height: of(|a| a.height.0),
            certified: of(|a| a.certified_height.0),
            round: of(|a| a.round.0),
            peers: of(|a| a.peers.len() as u64),
            mempool: of(|a| a.mempool_count),
        }
    }
}

/// Asks all at once how they are; who serves another chain than `chain`, where that is known, has said nothing.
///
/// # Errors
/// If an address can't be one.
pub(crate) async fn ask_all(
    endpoints: &[(Option<ValidatorIndex>, String)],
    chain: Option<ChainId>,
) -> CliResult<Vec<ValidatorStatus>> {
    let gateways = endpoints
        .iter()
        .map(|(index, url)| Ok((*index, Gateway::new(url)?)))
        .collect::<CliResult<Vec<_>>>()?;
    let asked = gateways.iter().map(|(index, gateway)| async move {
        let answer = gateway.status().await;
        let other_chain = found_chain(answer.as_ref().ok(), chain);
        let answer = match other_chain {
            Some(found) => Err(CliError::failed(served_by(gateway.url(), found))),
            None => answer,
        };
        ValidatorStatus {
            validator: index.or_else(|| answer.as_ref().ok()?.validator),
            endpoint: Some(gateway.url().to_owned()),
            problem: answer.as_ref().err().map(|e| e.message.clone()),
            answer: answer.ok(),
            other_chain,
            state_root: None,
            quorum: None,
        }
    });
    let mut statuses = futures::future::join_all(asked).await;
    let Some(common) = common_height(&statuses) else {
        return Ok(statuses);
    };
    for (status, (_, gateway)) in statuses.iter_mut().zip(&gateways) {
        if status.certified().is_some_and(|height| height >= common) {
            let head = gateway.head(common).await.ok();
            status.state_root = head.map(|h| h.head.state_root.to_string());
        }
    }
    Ok(statuses)
}

/// The chain of an answer, if it is another than was asked for.
fn found_chain(answer: Option<&StatusAnswer>, asked: Option<ChainId>) -> Option<ChainId> {
    let (found, asked) = (answer?.chain, asked?);
    (found != asked).then_some(found)
}

/// That an address answers for another chain than was asked for.
fn served_by(endpoint: &str, found: ChainId) -> String {
    let url = reqwest::Url::parse(endpoint).ok();
    let place = match url.and_then(|url| url.port_or_known_default()) {
        Some(port) => format!("port {port}"),
        None => endpoint.to_owned(),
    };
    let digits = shortened(&found.to_string(), CHAIN_DIGITS);
    format!("{place} is served by another chain, {digits}")
}

/// Refuses to take another chain's validator for one of this network's: it has the port that the own one needs.
///
/// # Errors
/// If one answers there. That nobody does is none.
pub(crate) async fn check_chain(
    gateway: &Gateway,
    index: ValidatorIndex,
    chain: ChainId,
) -> CliResult {
    let answer = gateway.status().await.ok();
    match found_chain(answer.as_ref(), Some(chain)) {
        None => Ok(()),
        Some(found) => {
            let place = served_by(gateway.url(), found);
            Err(CliError::failed(format!("v{index} can't come up: {place}")).help(OTHER_CHAIN_HELP))
        }
    }
}

/// Those that were asked and those that couldn't be, by index.
pub(crate) fn with_unreadable(
    mut statuses: Vec<ValidatorStatus>,
    unreadable: &[Unreadable],
) -> Vec<ValidatorStatus> {
    statuses.extend(unreadable.iter().map(|(index, error)| ValidatorStatus {
        validator: Some(*index),
        endpoint: None,
        answer: None,
        problem: Some(error.message.clone()),
        other_chain: None,
        state_root: None,
        quorum: None,
    }));
    if !unreadable.is_empty() {
        statuses.sort_by_key(|status| status.validator);
    }
    statuses
}

/// Who answers as another than was asked.
fn impostors(statuses: &[ValidatorStatus]) -> Vec<String> {
    let line = |status: &ValidatorStatus| {
        let claimed = status.claims_to_be()?;
        Some(format!(
            "{} answers as v{claimed}: either its address is that of v{claimed}, or it lies",
            name(status)
        ))
    };
    statuses.iter().filter_map(line).collect()
}

/// The newest height that all have certified who have certified any: one that begins with nothing has nothing to
/// compare. None if nobody has.
fn common_height(statuses: &[ValidatorStatus]) -> Option<Height> {
    let certified = statuses.iter().filter_map(ValidatorStatus::certified);
    certified.filter(|height| height.0 > 0).min()
}

/// Shows how all validators are.
///
/// # Errors
/// If none answers, or it isn't known whom to ask.
pub(crate) fn run(args: &StatusArgs, terminal: &Terminal) -> CliResult {
    let (endpoints, unreadable) = args.context.endpoints_and_unreadable()?;
    // Without it all are taken to have the same stake: it isn't needed to ask.
    let trust = args.context.trust().ok();
    let committee = trust.as_ref().and_then(|trust| trust.committee());
    let chain = trust.as_ref().map(|trust| trust.chain());
    block_on(async {
        loop {
            let asked = ask_all(&endpoints, chain).await?;
            let mut statuses = with_unreadable(asked, &unreadable);
            let quorum = quorum(&statuses, committee);
            for status in &mut statuses {
                status.quorum.clone_from(&quorum);
            }
            if args.watch && !terminal.is_json() {
                // Clear the screen, begin at its top.
                terminal.line("\u{1b}[2J\u{1b}[H")?;
            }
            show(&statuses, quorum.as_ref(), terminal)?;
            for (index, error) in &unreadable {
                terminal.note(format!("warning: v{index}: {error}"));
            }
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
    if statuses.iter().any(|s| s.answer.is_some()) {
        return Ok(());
    }
    let error = CliError::unreachable("no validator of this chain answers");
    Err(match statuses.iter().any(|s| s.other_chain.is_some()) {
        true => error.help(
            "is it the right network, and the right --trust? Two networks with the same ports can't run at once",
        ),
        false => error.help(
            "`violeta testnet ps` shows what runs, `violeta testnet up` starts what doesn't",
        ),
    })
}

/// Whether those that were asked are a quorum, and agree.
fn quorum(statuses: &[ValidatorStatus], committee: Option<&Committee>) -> Option<QuorumView> {
    let asked: Vec<_> = statuses
        .iter()
        .map(|s| (s.validator, s.answer.as_ref()))
        .collect();
    let mut by_root: BTreeMap<&str, u64> = BTreeMap::new();
    for root in statuses.iter().filter_map(|s| s.state_root.as_deref()) {
        *by_root.entry(root).or_default() += 1;
    }
    Some(QuorumView {
        present: Quorum::of(&asked, committee)?,
        agreeing: by_root.into_values().max().unwrap_or(0),
    })
}

fn show(
    statuses: &[ValidatorStatus],
    quorum: Option<&QuorumView>,
    terminal: &Terminal,
) -> CliResult {
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
    )
    // Mempool, round, peers, certified.
    .giving_way(&[5, 4, 6, 3]);
    for status in statuses {
        let cells = status.cells();
        let root = match (&status.answer, &status.state_root) {
            (None, _) if status.endpoint.is_none() => terminal.paint(Tone::Bad, "unreadable"),
            (None, _) if status.other_chain.is_some() => terminal.paint(Tone::Bad, "another chain"),
            (None, _) => terminal.paint(Tone::Bad, "doesn't answer"),
            (_, Some(root)) => shortened(root, STATE_ROOT_DIGITS),
            (_, None) => "-".into(),
        };
        shown.add_row([
            name(status),
            cells.endpoint,
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
    for line in complaints(statuses) {
        terminal.line(terminal.paint(Tone::Bad, line))?;
    }
    if let Some(line) = agreement(statuses) {
        terminal.line(terminal.paint(line.0, line.1))?;
    }
    if let Some(line) = quorum.and_then(|quorum| quorum.present.warning()) {
        terminal.line(terminal.paint(Tone::Bad, line))?;
    }
    Ok(())
}

/// What is wrong with whom, one line each.
pub(crate) fn complaints(statuses: &[ValidatorStatus]) -> Vec<String> {
    let elsewhere = statuses.iter().filter_map(ValidatorStatus::elsewhere);
    [
        elsewhere.collect(),
        impostors(statuses),
        amnesiacs(statuses),
    ]
    .concat()
}

/// Who says that it may have signed what it doesn't know of any more, and what that means.
fn amnesiacs(statuses: &[ValidatorStatus]) -> Vec<String> {
    let line = |status: &ValidatorStatus| {
        let answer = status.answer.as_ref()?;
        let what = amnesia(answer.amnesia?, answer.rejoining);
        Some(format!("{} has amnesia: {what}", name(status)))
    };
    statuses.iter().filter_map(line).collect()
}

/// Whether those who answered say the same of their common height.
fn agreement(statuses: &[ValidatorStatus]) -> Option<(Tone, String)> {
    let empty: Vec<String> = (statuses.iter())
        .filter(|status| status.certified() == Some(Height(0)))
        .map(name)
        .collect();
    let Some(common) = common_height(statuses) else {
        let nothing = (Tone::Faint, "nothing has been written yet".into());
        return (!empty.is_empty()).then_some(nothing);
    };
    let mut by_root: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for status in statuses {
        if let Some(root) = &status.state_root {
            by_root.entry(root).or_default().push(name(status));
        }
    }
    let sides: Vec<String> = by_root.values().map(|names| names.join(" ")).collect();
    let (tone, mut text) = match &sides[..] {
        [] => {
            let text =
                format!("the heads of height {common} couldn't be read: nothing is compared");
            (Tone::Bad, text)
        }
        [side] => {
            let agreeing: usize = by_root.values().map(Vec::len).sum();
            let text = match agreeing {
                1 => format!("{side} alone tells of a state, at height {common}"),
                _ => format!("{agreeing} agree on the state of height {common}"),
            };
            (Tone::Good, text)
        }
        sides => {
            let (count, sides) = (sides.len(), sides.join(" against "));
            let text =
                format!("{count} different states of height {common} ({sides}): somebody lies");
            (Tone::Bad, text)
        }
    };
    if !empty.is_empty() {
        text += &format!("; without any certified state: {}", empty.join(" "));
    }
    Some((tone, text))
}

/// What a validator is called.
fn name(status: &ValidatorStatus) -> String {
    status
        .validator
        .map_or("?".into(), |index| format!("v{index}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quorum::status_answer;
    use violeta_types::api::{Amnesia, RejoinProgress};

    fn status(height: u64, root: &str) -> ValidatorStatus {
        let answer = StatusAnswer {
            certified_height: Height(height),
            ..status_answer(0, 4, &[1, 2], false)
        };
        ValidatorStatus {
            validator: Some(ValidatorIndex(0)),
            endpoint: Some("http://x".into()),
            answer: Some(answer),
            problem: None,
            other_chain: None,
            state_root: Some(root.into()),
            quorum: None,
        }
    }

    #[test]
    fn a_quorum_that_answers_but_doesnt_agree_is_counted_by_its_largest_side() {
        let statuses = [status(7, "aa"), status(7, "bb"), status(7, "aa")];
        let found = quorum(&statuses, None).unwrap();
        assert_eq!(found.agreeing, 2);
        let json = serde_json::to_value(&found).unwrap();
        assert_eq!(json["unit"], "validators");
        assert_eq!((&json["total"], &json["needed"]), (&4.into(), &3.into()));
        assert_eq!(json["reached"], true, "v1 and v2 are peers of v0: {json}");
    }

    #[test]
    fn equal_roots_agree_and_different_ones_are_a_lie() {
        let (tone, text) = agreement(&[status(7, "aa"), status(9, "aa")]).unwrap();
        assert_eq!(
            (tone, text.as_str()),
            (Tone::Good, "2 agree on the state of height 7")
        );
        let (tone, text) = agreement(&[status(7, "aa"), status(7, "bb")]).unwrap();
        assert_eq!(tone, Tone::Bad);
        assert!(text.contains("(v0 against v0)"), "{text}");
        assert!(agreement(&[]).is_none());
        let (_, text) = agreement(&[status(7, "aa")]).unwrap();
        assert_eq!(text, "v0 alone tells of a state, at height 7");
    }

    #[test]
    fn one_who_begins_with_nothing_is_named_and_hides_nothing_of_the_others() {
        let unread = |height| ValidatorStatus {
            state_root: None,
            ..status(height, "")
        };
        let empty = ValidatorStatus {
            validator: Some(ValidatorIndex(3)),
            ..unread(0)
        };
        let statuses = [status(7, "aa"), status(9, "aa"), empty.clone()];
        assert_eq!(common_height(&statuses), Some(Height(7)));
        let (tone, text) = agreement(&statuses).unwrap();
        assert_eq!(tone, Tone::Good);
        assert_eq!(
            text,
            "2 agree on the state of height 7; without any certified state: v3"
        );
        let all_empty = [empty.clone(), empty.clone()];
        assert_eq!(common_height(&all_empty), None);
        let (_, text) = agreement(&all_empty).unwrap();
        assert_eq!(text, "nothing has been written yet");
        let (tone, text) = agreement(&[unread(7), empty]).unwrap();
        assert_eq!(tone, Tone::Bad);
        assert!(
            text.starts_with("the heads of height 7 couldn't be read"),
            "{text}"
        );
    }

    #[test]
    fn who_was_asked_stays_in_its_place_whatever_it_says_that_it_is() {
        let asked = |index: u16, claims: u16| {
            let mut status = status(7, "aa");
            status.validator = Some(ValidatorIndex(index));
            status.answer.as_mut().unwrap().validator = Some(ValidatorIndex(claims));
            status
        };
        let unreadable = (ValidatorIndex(0), CliError::failed("no configuration"));
        let statuses = with_unreadable(vec![asked(1, 1), asked(2, 2), asked(3, 1)], &[unreadable]);
        let names: Vec<_> = statuses.iter().map(name).collect();
        assert_eq!(names, ["v0", "v1", "v2", "v3"]);
        assert!(statuses[0].endpoint.is_none());
        let lines = impostors(&statuses);
        assert_eq!(lines.len(), 1);
        assert!(lines[0].starts_with("v3 answers as v1"), "{}", lines[0]);
    }

    #[test]
    fn who_lost_its_journal_is_named_with_what_to_do() {
        let (mut lost, fine) = (status(7, "aa"), status(7, "aa"));
        lost.answer.as_mut().unwrap().amnesia = Some(Amnesia::Lost);
        let lines = amnesiacs(&[fine.clone(), lost]);
        assert_eq!(lines.len(), 1);
        assert!(lines[0].starts_with("v0 has amnesia: its journal was lost"));
        assert!(lines[0].contains("violeta provision"));
        assert!(lines[0].contains("rejoin_after_lost_journal"));
        let mut broken = fine;
        broken.answer.as_mut().unwrap().amnesia = Some(Amnesia::Broken);
        let lines = amnesiacs(&[broken]);
        assert!(lines[0].starts_with("v0 has amnesia: its journal lacks a vertex"));
    }

    #[test]
    fn who_asks_what_it_lost_is_named_with_how_far_it_is() {
        let mut asks = status(7, "aa");
        let answer = asks.answer.as_mut().unwrap();
        (answer.amnesia, answer.rejoining) = (
            Some(Amnesia::Lost),
            Some(RejoinProgress {
                heard: 2,
                needed: 3,
            }),
        );
        let lines = amnesiacs(&[asks]);
        assert!(
            lines[0].contains("a stake of 2 of 3 has so far"),
            "{}",
            lines[0]
        );
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
