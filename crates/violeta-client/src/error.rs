//! What can go wrong, such that the caller can act on it.

use std::fmt;

use violeta_proof::ProofError;
use violeta_types::api::ErrorDetail;
use violeta_types::{Height, Outcome, Refusal, TimeMs, TxId};

use crate::incident::Incident;
use crate::keys::KeyError;
use crate::nonces::NonceError;

/// One validator that gave no answer, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// Who was asked.
    pub validator: String,
    /// What happened.
    pub why: String,
}

impl fmt::Display for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.validator, self.why)
    }
}

fn list(attempts: &[Attempt]) -> String {
    let shown: Vec<String> = attempts.iter().map(Attempt::to_string).collect();
    shown.join("; ")
}

/// Why a client couldn't do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// No validator gave an answer.
    #[error(
        "no validator could be reached ({}); check the addresses, and that the cluster runs",
        list(attempts)
    )]
    Unreachable {
        /// Whom the client asked, and what happened.
        attempts: Vec<Attempt>,
    },
    /// The answers that came don't verify, and no validator gave one that does.
    #[error("no answer could be verified: {incident}")]
    Unverified {
        /// The last of them: which validator, and which part.
        incident: Box<Incident>,
    },
    /// Answers came that may be true, but this client's trust lacks the key to judge them with.
    #[error("{validator} answers, but what this client trusts can't judge it: {reason}")]
    NotJudged {
        /// Who gave the last of them.
        validator: String,
        /// The key that is lacking.
        reason: ProofError,
    },
    /// Nobody who answers has reached what this client has seen certified. They lag: that is no lie.
    #[error(
        "{asked}: no validator that answers has proofs of height {height}, which this client has seen certified; try \
         again, or give it more validators to ask"
    )]
    Behind {
        /// What was asked.
        asked: String,
        /// The height that is wanted.
        height: Height,
    },
    /// Some have no proof of what became of a transaction, but they may all be faulty, and nobody else could say more.
    #[error(
        "{} no proof of what became of transaction {transaction}, but so few may all be faulty{}",
        have(validators), and_others(others.as_deref())
    )]
    TooFewSay {
        /// The transaction.
        transaction: TxId,
        /// Who says so.
        validators: Vec<String>,
        /// Why the others gave no answer; none if nobody else was asked.
        others: Option<Box<ClientError>>,
    },
    /// The nonces' file is new, and too few validators answer to learn where to begin: nothing is signed.
    #[error(
        "this key's nonces are used here for the first time: {} must say which of them are spent, and {} did{}; nothing \
         is signed{}",
        must_answer(*needed, *asked), answered.len(), named(answered), and_others(others.as_deref())
    )]
    NoBeginning {
        /// How many must answer: a quorum, or all that are asked where they are fewer. None where it depends on who,
        /// since stakes differ.
        needed: Option<usize>,
        /// How many were asked.
        asked: usize,
        /// Who answered.
        answered: Vec<String>,
        /// Why the others gave no answer.
        others: Option<Box<ClientError>>,
    },
    /// The transaction was ordered and refused. This is proved, and final.
    #[error("the transaction was refused at height {}: {refusal}{}", outcome.height, at_operation(outcome))]
    Refused {
        /// Why.
        refusal: Refusal,
        /// The whole result.
        outcome: Outcome,
    },
    /// Validators of more than f of the stake (so an honest one among them), or all that answered, won't take the
    /// transaction. One that lied about this could still bring it into a block before it expires: its nonce stays taken.
    #[error("the transaction isn't taken: {detail}")]
    NotTaken {
        /// What one of them said.
        detail: ErrorDetail,
    },
    /// No validator has room for it.
    #[error("all validators are overloaded; try again in {retry_ms} ms")]
    Overloaded {
        /// When trying again makes sense.
        retry_ms: u64,
    },
    /// The transaction expired without having been executed. This is proved, and final: it is safe to try anew.
    #[error(
        "transaction {transaction} expired and will never be executed; it is safe to submit it anew"
    )]
    Expired {
        /// The transaction.
        transaction: TxId,
    },
    /// It isn't known what became of the transaction: it may still be executed, or have been.
    #[error(
        "it isn't known what became of transaction {transaction}: it may still be executed until it expires{}, by the \
         network's time, which stands still while nothing commits; ask for its outcome before you submit it anew",
        in_seconds(*expires)
    )]
    Unresolved {
        /// The transaction.
        transaction: TxId,
        /// In a block of a later time than this, by the chain's time, it can't be executed any more.
        expires: TimeMs,
    },
    /// A validator says why it can't answer; more validators said so, or none other could be asked.
    #[error("{validator} says: {detail}")]
    Answer {
        /// Who.
        validator: String,
        /// What it said.
        detail: ErrorDetail,
    },
    /// What was asked for exceeds a limit of the protocol.
    #[error("this can't be asked for: {0}")]
    Invalid(String),
    /// The nonces' file.
    #[error(transparent)]
    Nonces(#[from] NonceError),
    /// A key file.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The configuration makes no client.
    #[error("the client can't be made: {0}")]
    Config(String),
}

fn must_answer(needed: Option<usize>, asked: usize) -> String {
    match needed {
        Some(needed) => format!("{needed} of the {asked} validators that are asked"),
        None => format!("a quorum of the stake, of the {asked} validators that are asked,"),
    }
}

fn named(validators: &[String]) -> String {
    format!(" ({})", validators.join(", "))
}

/// The subject of a sentence, and its verb.
fn have(validators: &[String]) -> String {
    let verb = if validators.len() == 1 { "has" } else { "have" };
    format!("{} {verb}", validators.join(" and "))
}

fn and_others(error: Option<&ClientError>) -> String {
    match error {
        None => "; ask more validators".into(),
        Some(error) => format!("; of the others: {error}"),
    }
}

/// How long until then, from now on.
fn in_seconds(expires: TimeMs) -> String {
    match expires.0.saturating_sub(crate::client::now_ms().0) {
        0 => String::new(),
        left => format!(", in {} s", left.div_ceil(1_000)),
    }
}

fn at_operation(outcome: &Outcome) -> String {
    match outcome.refused {
        Some((Some(operation), _)) => format!(" (operation {operation})"),
        _ => String::new(),
    }
}
