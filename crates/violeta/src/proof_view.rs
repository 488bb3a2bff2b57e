//! What a verified answer says, and against what it was verified, in words.

use serde::Serialize;
use violeta_client::Receipt;
use violeta_proof::{StoredValue, VerifiedAnswer, VerifiedOutcome, Vouchers};
use violeta_types::api::Readable;
use violeta_types::{Committee, Head, HeadId, Height, Outcome, TxId, ValidatorIndex};

use crate::error::CliResult;
use crate::terminal::{Terminal, Tone, shortened};

const DIGITS: usize = 16;

/// Whose word was taken for the head.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum VouchersView {
    /// These validators signed it.
    Validators {
        /// Who.
        signers: Vec<ValidatorIndex>,
        /// Their stake.
        stake: u64,
    },
    /// The group, by its threshold signature.
    Group,
}

impl From<&Vouchers> for VouchersView {
    fn from(vouchers: &Vouchers) -> Self {
        match vouchers {
            Vouchers::Validators { signers, stake } => VouchersView::Validators {
                signers: signers.clone(),
                stake: stake.0,
            },
            Vouchers::Group => VouchersView::Group,
        }
    }
}

impl VouchersView {
    /// In words, with the arithmetic if the committee is known.
    pub(crate) fn sentence(&self, committee: Option<&Committee>) -> String {
        match self {
            VouchersView::Group => "sealed by the group's threshold signature".into(),
            VouchersView::Validators { signers, stake } => {
                let names: Vec<String> = signers.iter().map(|i| format!("v{i}")).collect();
                let quorum = match committee {
                    Some(c) => format!(
                        ", {stake} of {} stake; {} is a quorum",
                        c.total_stake(),
                        c.quorum_stake()
                    ),
                    None => String::new(),
                };
                format!("signed by {}{quorum}", names.join(" "))
            }
        }
    }
}

/// A proved value, or absence, for programs.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct AnswerView {
    /// The namespace.
    pub(crate) namespace: Readable,
    /// The key.
    pub(crate) key: Readable,
    /// The value; none if the key is proved to have none.
    pub(crate) value: Option<Readable>,
    /// When it was written.
    pub(crate) written_at: Option<Height>,
    /// The height that it was proved at.
    pub(crate) height: Height,
    /// The root that the path led to.
    pub(crate) state_root: String,
    /// The head that was vouched for.
    pub(crate) head: HeadId,
    /// By whom.
    pub(crate) vouched_by: VouchersView,
    /// The height that they vouched for: the head's own, or a newer one whose history leads to it.
    pub(crate) vouched_height: Height,
}

impl From<&VerifiedAnswer> for AnswerView {
    fn from(answer: &VerifiedAnswer) -> Self {
        let head = answer.head.head();
        AnswerView {
            namespace: Readable(answer.namespace.to_vec()),
            key: Readable(answer.key.to_vec()),
            value: answer.value.as_ref().map(readable_value),
            written_at: answer.value.as_ref().map(|v| v.written_at),
            height: head.height,
            state_root: head.state_root.to_string(),
            head: answer.head.id(),
            vouched_by: VouchersView::from(&answer.vouchers),
            vouched_height: answer.vouched_height,
        }
    }
}

fn readable_value(stored: &StoredValue) -> Readable {
    Readable(stored.value.to_vec())
}

impl AnswerView {
    /// The steps from the answer to what is trusted, each of which was checked.
    pub(crate) fn steps(&self, committee: Option<&Committee>) -> Vec<String> {
        let claim = match self.written_at {
            Some(height) => format!("the value, written at height {height},"),
            None => "that there is no such key".into(),
        };
        let root = shortened(&self.state_root, DIGITS);
        let head = shortened(&self.head.to_string(), DIGITS);
        let mut steps = vec![
            format!("{claim} lies under state root {root}"),
            format!(
                "that is the state root of head {head} at height {}",
                self.height
            ),
        ];
        let word = self.vouched_by.sentence(committee);
        steps.extend(word_steps(self.height, self.vouched_height, &word));
        steps
    }

    /// Shows what was checked.
    ///
    /// # Errors
    /// If standard output can't be written to.
    pub(crate) fn show_steps(
        &self,
        committee: Option<&Committee>,
        terminal: &Terminal,
    ) -> CliResult {
        show_steps(&self.steps(committee), terminal)
    }
}

/// From a head to whose word was taken for it.
fn word_steps(height: Height, vouched: Height, word: &str) -> Vec<String> {
    match vouched == height {
        true => vec![format!("that head is {word}")],
        false => vec![
            format!("that head lies in the history of the one at height {vouched}"),
            format!("which is {word}"),
        ],
    }
}

/// A proved result, for programs.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct OutcomeView {
    /// The transaction.
    pub(crate) transaction: TxId,
    /// What became of it.
    pub(crate) outcome: Outcome,
    /// The head that was vouched for.
    pub(crate) head: HeadId,
    /// By whom.
    pub(crate) vouched_by: VouchersView,
    /// The height that they vouched for: the head's own, or a newer one whose history leads to it.
    pub(crate) vouched_height: Height,
    results_root: String,
}

impl From<&VerifiedOutcome> for OutcomeView {
    fn from(verified: &VerifiedOutcome) -> Self {
        let head: &Head = verified.head.head();
        OutcomeView {
            transaction: verified.outcome.transaction,
            outcome: verified.outcome.clone(),
            head: verified.head.id(),
            vouched_by: VouchersView::from(&verified.vouchers),
            vouched_height: verified.vouched_height,
            results_root: head.results_root.to_string(),
        }
    }
}

impl From<&Receipt> for OutcomeView {
    fn from(receipt: &Receipt) -> Self {
        OutcomeView {
            transaction: receipt.outcome.transaction,
            outcome: receipt.outcome.clone(),
            head: receipt.head.id(),
            vouched_by: VouchersView::from(&receipt.vouchers),
            vouched_height: receipt.vouched_height,
            results_root: receipt.head.head().results_root.to_string(),
        }
    }
}

impl OutcomeView {
    /// What became of the transaction, in a sentence.
    pub(crate) fn sentence(&self) -> String {
        let Outcome {
            height,
            index,
            refused,
            ..
        } = &self.outcome;
        let place = format!("at height {height}, transaction {index} of its block");
        match refused {
            None => format!("executed {place}"),
            Some((None, why)) => format!("refused {place}: {why}"),
            Some((Some(operation), why)) => {
                format!("refused {place}: operation {operation}: {why}")
            }
        }
    }

    /// Shows what was checked.
    ///
    /// # Errors
    /// If standard output can't be written to.
    pub(crate) fn show_steps(
        &self,
        committee: Option<&Committee>,
        terminal: &Terminal,
    ) -> CliResult {
        let root = shortened(&self.results_root, DIGITS);
        let head = shortened(&self.head.to_string(), DIGITS);
        let mut steps = vec![
            format!("the result lies under results root {root}"),
            format!(
                "that is the results root of head {head} at height {}",
                self.outcome.height
            ),
        ];
        let word = self.vouched_by.sentence(committee);
        steps.extend(word_steps(self.outcome.height, self.vouched_height, &word));
        show_steps(&steps, terminal)
    }
}

fn show_steps(steps: &[String], terminal: &Terminal) -> CliResult {
    for step in steps {
        terminal.line(format!("  {} {step}", terminal.paint(Tone::Good, "✓")))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use violeta_types::{Digest, Refusal};

    #[test]
    fn a_refusal_says_which_operation_and_why() {
        let view = OutcomeView {
            transaction: TxId::default(),
            outcome: Outcome {
                height: Height(7),
                index: 2,
                transaction: TxId::default(),
                refused: Some((Some(1), Refusal::ConditionFailed)),
            },
            head: HeadId::default(),
            vouched_by: VouchersView::Group,
            vouched_height: Height(9),
            results_root: Digest::ZERO.to_string(),
        };
        let expected = "refused at height 7, transaction 2 of its block: operation 1: the condition doesn't hold";
        assert_eq!(view.sentence(), expected);
    }

    #[test]
    fn a_word_for_a_newer_head_is_said_to_be_one() {
        let steps = word_steps(Height(7), Height(9), "signed by v0");
        assert_eq!(
            steps,
            [
                "that head lies in the history of the one at height 9",
                "which is signed by v0"
            ]
        );
        assert_eq!(word_steps(Height(7), Height(7), "signed by v0").len(), 1);
    }

    #[test]
    fn the_vouchers_are_named() {
        let vouchers = VouchersView::Validators {
            signers: vec![ValidatorIndex(0), ValidatorIndex(2), ValidatorIndex(3)],
            stake: 3,
        };
        assert_eq!(vouchers.sentence(None), "signed by v0 v2 v3");
    }
}
