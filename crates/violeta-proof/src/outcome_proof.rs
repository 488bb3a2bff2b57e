//! That a transaction had this result at this height.
//!
//! ```text
//!   Outcome {height, index, transaction, refused} ── path ──▶ results_root ─┐
//!                                                     head at that height ◀─┘── vouched for
//! ```
//!
//! All of the claim is in the leaf: the outcome's digest binds height, position, transaction and result. The path must
//! have the outcome's index. Its `count`, the number of results in the block, shapes the path but isn't bound by the
//! root (`violeta_types::merkle`): so this proves nothing about how many transactions the block held, and says nothing
//! about it either.

use borsh::{BorshDeserialize, BorshSerialize};
use serde::{Deserialize, Serialize};
use violeta_types::merkle::{self, Path};
use violeta_types::{Head, Height, Outcome};

use crate::error::ProofError;
use crate::head::{TrustedHead, Vouch, Vouchers};
use crate::trust::Trust;

/// Bytes of an outcome proof, as JSON with room for white space.
pub const OUTCOME_PROOF_JSON_BYTES_MAX: usize = 1 << 20;

/// A result, and what convinces of it.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OutcomeProof {
    /// The claim.
    pub outcome: Outcome,
    /// From the outcome to the head's results root.
    pub path: Path,
    /// The head of the block.
    pub head: Head,
    /// Who vouches for the head.
    pub vouch: Vouch,
}

/// A result that was proved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedOutcome {
    /// What became of the transaction.
    pub outcome: Outcome,
    /// The head of its block.
    pub head: TrustedHead,
    /// Whose word was taken.
    pub vouchers: Vouchers,
    /// The height that their word was given for: the head's own, or a newer one whose history leads to it.
    pub vouched_height: Height,
}

impl OutcomeProof {
    /// Checks the whole proof.
    ///
    /// # Errors
    /// The part that failed.
    pub fn verify(&self, trust: &Trust) -> Result<VerifiedOutcome, ProofError> {
        let (head, vouchers) = trust.head(&self.head, &self.vouch)?;
        if self.outcome.height != self.head.height {
            return Err(ProofError::OutcomeHeight {
                outcome: self.outcome.height,
                head: self.head.height,
            });
        }
        let root = self.path.root(merkle::RESULTS, &self.outcome.digest());
        let same_index = self.path.index == u64::from(self.outcome.index);
        if !same_index || root != Some(self.head.results_root) {
            return Err(ProofError::Results);
        }
        Ok(VerifiedOutcome {
            outcome: self.outcome.clone(),
            head,
            vouchers,
            vouched_height: self.vouch.height(&self.head),
        })
    }

    /// Decodes a whole proof.
    ///
    /// # Errors
    /// If the bytes aren't the canonical encoding of one.
    pub fn decode(bytes: &[u8]) -> Result<Self, ProofError> {
        Ok(violeta_types::decode(bytes)?)
    }

    /// Reads the JSON form.
    ///
    /// # Errors
    /// If it isn't one.
    pub fn from_json(text: &str) -> Result<Self, ProofError> {
        crate::json::read(text, OUTCOME_PROOF_JSON_BYTES_MAX)
    }

    /// The JSON form.
    pub fn to_json(&self) -> String {
        crate::json::write(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{certificate, chain, committee, damaged, digest, head};
    use violeta_types::merkle::RESULTS;
    use violeta_types::{Refusal, TxId};

    fn trust() -> Trust {
        Trust::in_committee(chain(), committee(&[1, 1, 1, 1]))
    }

    fn outcome(index: u32) -> Outcome {
        Outcome {
            height: Height(7),
            index,
            transaction: TxId(digest(&format!("transaction {index}"))),
            refused: (index % 2 == 1).then_some((Some(index), Refusal::Unauthorised)),
        }
    }

    fn proof(count: u32, index: u32) -> OutcomeProof {
        let leaves: Vec<_> = (0..count).map(|i| outcome(i).digest()).collect();
        let head = Head {
            results_root: RESULTS.root(leaves.iter().copied()),
            ..head(7, &committee(&[1, 1, 1, 1]))
        };
        OutcomeProof {
            outcome: outcome(index),
            path: RESULTS.path(&leaves, index as usize).unwrap(),
            vouch: Vouch::Certificate(certificate(&head, &[0, 2, 3])),
            head,
        }
    }

    #[test]
    fn every_result_of_a_block_is_proved() {
        for count in 1..10 {
            for index in 0..count {
                let proof = proof(count, index);
                let verified = proof.verify(&trust()).unwrap();
                assert_eq!(verified.outcome, outcome(index));
                assert_eq!(verified.head.head(), &proof.head);
            }
        }
    }

    #[test]
    fn a_damaged_proof_never_proves_another_result() {
        let good = proof(5, 3);
        let bytes = violeta_types::encode(&good);
        assert_eq!(OutcomeProof::decode(&bytes).unwrap(), good);
        for damaged in damaged(&bytes) {
            let Ok(proof) = OutcomeProof::decode(&damaged) else {
                continue;
            };
            if let Ok(verified) = proof.verify(&trust()) {
                assert_eq!(verified.outcome, good.outcome);
                assert_eq!(verified.head.head(), &good.head);
            }
        }
    }

    #[test]
    fn a_result_of_another_block_or_position_is_refused() {
        let good = proof(5, 2);
        let mut other = good.clone();
        other.outcome.height = Height(8);
        assert!(matches!(
            other.verify(&trust()),
            Err(ProofError::OutcomeHeight { .. })
        ));
        let mut other = good.clone();
        other.outcome.index = 3;
        assert_eq!(other.verify(&trust()), Err(ProofError::Results));
        let mut other = good.clone();
        other.path.index = 3;
        assert_eq!(other.verify(&trust()), Err(ProofError::Results));
        let mut other = good.clone();
        other.outcome.refused = Some((None, Refusal::Expired));
        assert_eq!(other.verify(&trust()), Err(ProofError::Results));
    }

    #[test]
    fn the_json_form_says_the_same() {
        let good = proof(5, 1);
        let json = good.to_json();
        assert!(json.contains("\"unauthorised\""), "{json}");
        assert_eq!(OutcomeProof::from_json(&json).unwrap(), good);
        assert!(OutcomeProof::from_json(&json[..json.len() - 2]).is_err());
        let huge = " ".repeat(OUTCOME_PROOF_JSON_BYTES_MAX + 1);
        let error = OutcomeProof::from_json(&huge).unwrap_err();
        assert!(error.to_string().contains("at most"), "{error}");
    }
}
