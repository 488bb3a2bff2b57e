//! Whether those validators that answer are a quorum: without one nothing can be committed, and whoever waits is told.
//!
//! ```text
//!   asked and answered ───────────────────────┐
//!   not asked, but a peer of one that answers ─┼─▶ has a voice ─▶ enough stake for a quorum?
//!   answered, but has amnesia ─▶ no voice      │
//! ```
//!
//! Who is a peer, and who has amnesia, is what validators say of themselves: it serves to explain, and decides nothing.

use std::collections::BTreeSet;
use std::future::Future;
use std::pin::pin;
use std::time::Duration;

use serde::Serialize;
use violeta_client::{Client, ClientError};
use violeta_types::api::StatusAnswer;
use violeta_types::{Committee, ValidatorIndex};

use crate::error::{CliError, CliResult};
use crate::terminal::{Terminal, count};

/// After so long without an outcome a person is told what it waits for.
pub(crate) const PATIENCE: Duration = Duration::from_secs(3);
/// How long all validators together have to say how they are.
const ASK_TIMEOUT: Duration = Duration::from_secs(1);

/// How many validators have a voice, and how many it takes: in validators where all have the same stake, else in stake.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Quorum {
    unit: Unit,
    /// All there are.
    total: u64,
    /// Those that answer, or are connected to one that does, and may vote.
    present: u64,
    /// Those that it takes to commit.
    needed: u64,
    /// Whether they are enough.
    reached: bool,
    /// Who doesn't answer.
    silent: Vec<ValidatorIndex>,
    /// Who answers, but has amnesia.
    amnesiac: Vec<ValidatorIndex>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Unit {
    Validators,
    Stake,
}

/// One that was asked how it is: which one, where that is known, and what it said, if anything.
pub(crate) type Asked<'a> = (Option<ValidatorIndex>, Option<&'a StatusAnswer>);

impl Quorum {
    /// From what those say that were asked. None if it isn't known how many validators there are. Without a committee,
    /// which whoever trusts the group's key alone doesn't have, all are taken to have the same stake.
    pub(crate) fn of(asked: &[Asked<'_>], committee: Option<&Committee>) -> Option<Quorum> {
        let answers = || asked.iter().filter_map(|(_, answer)| *answer);
        let count = match committee {
            Some(committee) => committee.len() as u64,
            None => answers().map(|a| u64::from(a.validators)).max()?,
        };
        let who = |(configured, answer): &Asked<'_>| match answer {
            Some(answer) => answer.validator.or(*configured),
            None => *configured,
        };
        let known: BTreeSet<_> = asked.iter().filter_map(who).collect();
        let answered = asked.iter().filter(|(_, answer)| answer.is_some());
        let peers = answers().flat_map(|a| a.peers.iter().copied());
        let heard: BTreeSet<_> = (answered.filter_map(who))
            .chain(peers.filter(|peer| !known.contains(peer)))
            .collect();
        let forgetful = asked
            .iter()
            .filter(|(_, a)| a.is_some_and(|a| a.amnesia.is_some()));
        let amnesiac: BTreeSet<_> = forgetful.filter_map(who).collect();
        let indices = || (0..count.min(u64::from(u16::MAX)) as u16).map(ValidatorIndex);
        let voices = indices().filter(|i| heard.contains(i) && !amnesiac.contains(i));
        let stake = |i: ValidatorIndex| committee.map_or(1, |c| c.stake(i).0);
        let equal = indices().all(|i| stake(i) == stake(ValidatorIndex(0)));
        let (unit, total, present, needed) = match committee {
            Some(committee) if !equal => (
                Unit::Stake,
                committee.total_stake().0,
                voices.map(stake).sum(),
                committee.quorum_stake().0,
            ),
            _ => {
                let needed = count - count.saturating_sub(1) / 3;
                (Unit::Validators, count, voices.count() as u64, needed)
            }
        };
        Some(Quorum {
            unit,
            total,
            present,
            needed,
            reached: present >= needed,
            silent: indices().filter(|i| !heard.contains(i)).collect(),
            amnesiac: amnesiac.into_iter().collect(),
        })
    }

    /// Asks all that the client knows.
    pub(crate) async fn ask(client: &Client) -> Option<Quorum> {
        let answers = client.status_within(ASK_TIMEOUT).await;
        let asked: Vec<Asked<'_>> = (answers.iter())
            .map(|(endpoint, answer)| (endpoint.validator, answer.as_ref().ok()))
            .collect();
        Quorum::of(&asked, client.trust().committee())
    }

    /// Who is missing: "2 of 4 validators don't answer (v2, v3); 3 are needed to commit".
    pub(crate) fn lack(&self) -> String {
        let Quorum { total, needed, .. } = self;
        let missing = total - self.present;
        let mut reasons = Vec::new();
        if !self.silent.is_empty() {
            let verb = if missing == 1 { "doesn't" } else { "don't" };
            reasons.push(format!("{verb} answer ({})", names(&self.silent)));
        }
        if !self.amnesiac.is_empty() {
            let verb = if missing == 1 { "has" } else { "have" };
            let names = names(&self.amnesiac);
            reasons.push(format!("{verb} amnesia and may not vote ({names})"));
        }
        let reasons = reasons.join(" or ");
        let are = if *needed == 1 { "is" } else { "are" };
        match self.unit {
            Unit::Validators => {
                let total = count(*total, "validator");
                format!("{missing} of {total} {reasons}; {needed} {are} needed to commit")
            }
            Unit::Stake => format!(
                "validators of {missing} of {total} stake {reasons}; {needed} {are} needed to commit"
            ),
        }
    }

    /// For `status`: "only 2 of 4 answer: nothing can be committed until 3 do".
    pub(crate) fn warning(&self) -> Option<String> {
        let (present, total, needed) = (self.present, self.total, self.needed);
        let what = match (self.unit, self.amnesiac.is_empty()) {
            (Unit::Validators, true) => format!("only {present} of {total} answer"),
            (Unit::Validators, false) => {
                format!("only {present} of {total} answer and have no amnesia")
            }
            (Unit::Stake, _) => format!("only {present} of {total} stake can vote"),
        };
        let verb = if needed == 1 { "does" } else { "do" };
        (!self.reached).then(|| format!("{what}: nothing can be committed until {needed} {verb}"))
    }

    /// What somebody is told who waits.
    fn note(&self) -> String {
        match self.reached {
            false => format!("Waiting: {}.", self.lack()),
            true => format!(
                "Waiting: a quorum answers ({} of {}), but there is no outcome yet.",
                self.present, self.total
            ),
        }
    }
}

fn names(validators: &[ValidatorIndex]) -> String {
    let names: Vec<String> = validators.iter().map(|i| format!("v{i}")).collect();
    names.join(", ")
}

/// What a client's work comes to. If it takes long, whoever waits is told once what it waits for; if it ends without a
/// quorum, the error says so.
///
/// # Errors
/// What the work ends with.
pub(crate) async fn watched<T>(
    client: &Client,
    terminal: &Terminal,
    work: impl Future<Output = Result<T, ClientError>>,
) -> CliResult<T> {
    match noted(client, terminal, work).await {
        Ok(done) => Ok(done),
        Err(error) => Err(explain(client, error).await),
    }
}

/// As [`watched`], with the client's own error.
///
/// # Errors
/// What the work ends with.
pub(crate) async fn noted<T>(
    client: &Client,
    terminal: &Terminal,
    work: impl Future<Output = Result<T, ClientError>>,
) -> Result<T, ClientError> {
    let mut work = pin!(work);
    let note = async {
        tokio::time::sleep(PATIENCE).await;
        lack_note(client).await
    };
    tokio::select! {
        biased;
        result = &mut work => return result,
        note = note => terminal.note(note),
    }
    work.await
}

/// What whoever waits waits for.
pub(crate) async fn lack_note(client: &Client) -> String {
    match Quorum::ask(client).await {
        Some(quorum) => quorum.note(),
        None => "Waiting: no validator answers.".into(),
    }
}

/// An error of the client, with who is missing where that is the reason.
pub(crate) async fn explain(client: &Client, error: ClientError) -> CliError {
    let quorum = match is_of_a_lost_quorum(&error) {
        true => Quorum::ask(client).await,
        false => None,
    };
    with_lack(error.into(), quorum.as_ref())
}

/// Whether it may come of too few validators.
fn is_of_a_lost_quorum(error: &ClientError) -> bool {
    matches!(
        error,
        ClientError::Unresolved { .. }
            | ClientError::Expired { .. }
            | ClientError::Behind { .. }
            | ClientError::Overloaded { .. }
            | ClientError::NoBeginning { .. }
    )
}

fn with_lack(error: CliError, quorum: Option<&Quorum>) -> CliError {
    let Some(quorum) = quorum.filter(|quorum| !quorum.reached) else {
        return error;
    };
    let start = "start those that are missing (of a testnet: violeta testnet up)";
    let help = match &error.help {
        Some(help) => format!("{start}; then {help}"),
        None => start.to_owned(),
    };
    error.during(quorum.lack()).help(help)
}

#[cfg(test)]
pub(crate) fn status_answer(
    validator: u16,
    validators: u32,
    peers: &[u16],
    amnesia: bool,
) -> StatusAnswer {
    use violeta_types::*;
    StatusAnswer {
        version: "0".into(),
        name: "n".into(),
        chain: ChainId::default(),
        validator: Some(ValidatorIndex(validator)),
        validators,
        epoch: Epoch(0),
        round: Round(1),
        commit_index: CommitIndex(1),
        height: Height(1),
        certified_height: Height(1),
        sealed_height: Height(0),
        mempool_count: 0,
        mempool_bytes: 0,
        peers: peers.iter().copied().map(ValidatorIndex).collect(),
        amnesia: amnesia.then_some(violeta_types::api::Amnesia::Lost),
        rejoining: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use violeta_types::{Epoch, Member, NodePublicKey, OperatorPublicKey, Stake, TxId};

    fn v(index: u16) -> ValidatorIndex {
        ValidatorIndex(index)
    }

    fn committee(stakes: &[u64]) -> Committee {
        let member = |(i, stake): (u8, &u64)| {
            let secret = violeta_crypto::ValidatorSecretKey::from_seed([i + 1; 32]);
            Member {
                stake: Stake(*stake),
                validator_key: secret.public_key(),
                share_key: None,
                node_key: NodePublicKey([i; 32]),
                operator_key: OperatorPublicKey([i; 32]),
            }
        };
        let members = (0..).zip(stakes).map(member).collect();
        Committee::new(Epoch(0), members, None).unwrap()
    }

    #[test]
    fn with_two_of_four_silent_it_is_said_who_and_how_many_are_needed() {
        let answers = [0, 1].map(|i| status_answer(i, 4, &[0, 1], false));
        let asked = [
            (Some(v(0)), Some(&answers[0])),
            (Some(v(1)), Some(&answers[1])),
            (Some(v(2)), None),
            (Some(v(3)), None),
        ];
        for committee in [None, Some(&committee(&[1, 1, 1, 1]))] {
            let quorum = Quorum::of(&asked, committee).unwrap();
            assert!(!quorum.reached);
            assert_eq!(
                quorum.note(),
                "Waiting: 2 of 4 validators don't answer (v2, v3); 3 are needed to commit."
            );
            assert_eq!(
                quorum.warning().unwrap(),
                "only 2 of 4 answer: nothing can be committed until 3 do"
            );
        }
    }

    #[test]
    fn who_wasnt_asked_counts_if_one_that_answers_is_connected_to_it() {
        let answer = status_answer(2, 4, &[0, 1], false);
        let quorum = Quorum::of(&[(None, Some(&answer))], None).unwrap();
        assert!(quorum.reached, "{quorum:?}");
        assert_eq!(quorum.silent, [v(3)]);
        // Who was asked, and was silent, isn't made present by others.
        let asked = [(None, Some(&answer)), (Some(v(1)), None)];
        assert!(!Quorum::of(&asked, None).unwrap().reached);
        assert_eq!(Quorum::of(&[(Some(v(0)), None)], None), None);
    }

    #[test]
    fn an_amnesiac_answers_and_has_no_voice() {
        let answers = [0, 1, 2].map(|i| status_answer(i, 4, &[], i == 1));
        let asked = [0, 1, 2].map(|i| (Some(v(i)), Some(&answers[usize::from(i)])));
        let asked: Vec<_> = asked.into_iter().chain([(Some(v(3)), None)]).collect();
        let quorum = Quorum::of(&asked, None).unwrap();
        assert_eq!(
            quorum.lack(),
            "2 of 4 validators don't answer (v3) or have amnesia and may not vote (v1); 3 are needed to commit"
        );
        assert_eq!(
            quorum.warning().unwrap(),
            "only 2 of 4 answer and have no amnesia: nothing can be committed until 3 do"
        );
    }

    #[test]
    fn where_stakes_differ_stake_is_counted() {
        let committee = committee(&[50, 20, 20, 10]);
        let answers = [1, 2, 3].map(|i| status_answer(i, 4, &[], false));
        let mut asked: Vec<_> = (answers.iter())
            .map(|answer| (answer.validator, Some(answer)))
            .collect();
        asked.push((Some(v(0)), None));
        let quorum = Quorum::of(&asked, Some(&committee)).unwrap();
        // A third of 100 is 33 and a bit: 100 - 33 are needed.
        assert_eq!(
            quorum.lack(),
            "validators of 50 of 100 stake don't answer (v0); 67 are needed to commit"
        );
    }

    #[test]
    fn an_error_for_want_of_a_quorum_says_who_is_missing_and_what_to_do() {
        let error = ClientError::Unresolved {
            transaction: TxId::default(),
            expires: violeta_types::TimeMs(0),
        };
        assert!(is_of_a_lost_quorum(&error));
        let answer = status_answer(0, 4, &[], false);
        let quorum = Quorum::of(&[(None, Some(&answer))], None).unwrap();
        let error = with_lack(error.into(), Some(&quorum));
        let begins =
            "3 of 4 validators don't answer (v1, v2, v3); 3 are needed to commit: it isn't known";
        assert!(error.message.starts_with(begins), "{error}");
        let help = error.help.unwrap();
        assert!(help.starts_with("start those that are missing"), "{help}");
        assert!(help.contains("violeta outcome 0000"), "{help}");
    }
}
