//! A head, and what convinces of it: with its roots, whatever else the chain says of a height can be proved.

use borsh::{BorshDeserialize, BorshSerialize};
use serde::{Deserialize, Serialize};
use violeta_types::{Head, Height};

use crate::error::ProofError;
use crate::head::{TrustedHead, Vouch, Vouchers};
use crate::trust::Trust;

/// A head with somebody's word for it.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HeadProof {
    /// The head.
    pub head: Head,
    /// Who vouches for it.
    pub vouch: Vouch,
}

/// A head that was proved, and by whose word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vouched {
    /// The head.
    pub head: TrustedHead,
    /// Whose word was taken for it.
    pub vouchers: Vouchers,
    /// The height that their word was given for: the head's own, or a newer one whose history leads to it.
    pub vouched_height: Height,
}

impl HeadProof {
    /// Checks the whole proof; says whose word was taken, and at which height it was given.
    ///
    /// # Errors
    /// The part that failed.
    pub fn vouched(&self, trust: &Trust) -> Result<Vouched, ProofError> {
        let (head, vouchers) = self.verify(trust)?;
        let vouched_height = self.vouch.height(&self.head);
        Ok(Vouched {
            head,
            vouchers,
            vouched_height,
        })
    }

    /// Checks the whole proof; says whose word was taken.
    ///
    /// # Errors
    /// The part that failed.
    pub fn verify(&self, trust: &Trust) -> Result<(TrustedHead, Vouchers), ProofError> {
        trust.head(&self.head, &self.vouch)
    }

    /// Decodes a whole proof.
    ///
    /// # Errors
    /// If the bytes aren't the canonical encoding of one.
    pub fn decode(bytes: &[u8]) -> Result<Self, ProofError> {
        Ok(violeta_types::decode(bytes)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{certificate, chain, committee, head};

    #[test]
    fn a_head_is_proved_by_a_quorum_and_by_no_bit_less() {
        let committee = committee(&[1, 1, 1, 1]);
        let head = head(3, &committee);
        let vouch = Vouch::Certificate(certificate(&head, &[0, 1, 2]));
        let proof = HeadProof { head, vouch };
        let trust = Trust::in_committee(chain(), committee);
        let bytes = violeta_types::encode(&proof);
        let decoded = HeadProof::decode(&bytes).unwrap();
        assert_eq!(decoded.verify(&trust).unwrap().0.head(), &proof.head);
        for bit in 0..bytes.len() * 8 {
            let mut changed = bytes.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            let refused = HeadProof::decode(&changed)
                .and_then(|proof| proof.verify(&trust))
                .is_err();
            assert!(refused, "bit {bit}");
        }
    }
}
