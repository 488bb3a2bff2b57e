//! What a client trusts, and all that it trusts: a chain, and who speaks for it (replica.md §8).
//!
//! ```json
//! { "chain": "<hex>", "committee": { … } | null, "group_key": "<hex>" | null }
//! ```
//!
//! One of committee and group key at least. With a committee, certificates are accepted of heads that name it (of the
//! genesis committee for now). With a group key (the committee's own, if there is a committee), seals are.

use serde::{Deserialize, Serialize};
use violeta_types::{Certificate, ChainId, Committee, Genesis, GroupPublicKey, Head, Seal};

use crate::error::ProofError;
use crate::head::{TrustedHead, Vouch, Vouchers, check_certificate, check_seal_with_key};
use crate::history::Word;

/// Bytes of a trust file: a committee of the most members, as JSON with room for white space.
pub const TRUST_FILE_BYTES_MAX: usize = 1 << 20;

/// A ground for trust. Made once, from genesis or a file whose origin the user vouches for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "TrustFile")]
pub struct Trust {
    chain: ChainId,
    committee: Option<Committee>,
    group_key: Option<GroupPublicKey>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TrustFile {
    chain: ChainId,
    #[serde(default)]
    committee: Option<Committee>,
    #[serde(default)]
    group_key: Option<GroupPublicKey>,
}

impl TryFrom<TrustFile> for Trust {
    type Error = ProofError;

    fn try_from(file: TrustFile) -> Result<Self, ProofError> {
        let TrustFile {
            chain,
            committee,
            group_key,
        } = file;
        match (committee, group_key) {
            (None, None) => Err(ProofError::Trust("neither a committee nor a group key")),
            (None, Some(key)) => Ok(Trust::in_group(chain, key)),
            (Some(committee), key) => {
                if key.is_some() && key.as_ref() != committee.group_key() {
                    return Err(ProofError::Trust("the group key isn't the committee's"));
                }
                Ok(Trust::in_committee(chain, committee))
            }
        }
    }
}

impl Trust {
    /// Trust in a committee, and in its group key if it has one.
    pub fn in_committee(chain: ChainId, committee: Committee) -> Self {
        Trust {
            chain,
            group_key: committee.group_key().copied(),
            committee: Some(committee),
        }
    }

    /// Trust in a group key alone: what the smallest clients hold.
    pub fn in_group(chain: ChainId, group_key: GroupPublicKey) -> Self {
        Trust {
            chain,
            committee: None,
            group_key: Some(group_key),
        }
    }

    /// Trust in the chain that begins with `genesis`.
    pub fn in_genesis(genesis: &Genesis) -> Self {
        Trust::in_committee(genesis.chain_id(), genesis.committee.clone())
    }

    /// The chain.
    pub fn chain(&self) -> ChainId {
        self.chain
    }

    /// The committee, if one is known.
    pub fn committee(&self) -> Option<&Committee> {
        self.committee.as_ref()
    }

    /// The group key, if one is known.
    pub fn group_key(&self) -> Option<&GroupPublicKey> {
        self.group_key.as_ref()
    }

    /// Trusts a head, if `vouch` is good.
    ///
    /// # Errors
    /// What is wrong with head or vouch.
    pub fn head(&self, head: &Head, vouch: &Vouch) -> Result<(TrustedHead, Vouchers), ProofError> {
        if head.chain != self.chain {
            return Err(ProofError::OtherChain {
                expected: self.chain,
                found: head.chain,
            });
        }
        match vouch {
            Vouch::Certificate(certificate) => self.certified(head, certificate),
            Vouch::Seal(seal) => self.sealed(head, seal),
            Vouch::Successor(successor) => {
                let newer = &successor.head;
                let (newer, vouchers) = match &successor.word {
                    Word::Certificate(certificate) => self.certified(newer, certificate)?,
                    Word::Seal(seal) => self.sealed(newer, seal)?,
                };
                // It is of the same chain as `head`, or it isn't its successor.
                Ok((newer.ancestor(head, &successor.path)?, vouchers))
            }
        }
    }

    fn certified(
        &self,
        head: &Head,
        certificate: &Certificate,
    ) -> Result<(TrustedHead, Vouchers), ProofError> {
        let committee = self.committee.as_ref().ok_or(ProofError::NoCommittee)?;
        check_certificate(certificate, head, committee)
    }

    fn sealed(&self, head: &Head, seal: &Seal) -> Result<(TrustedHead, Vouchers), ProofError> {
        let key = self.group_key.as_ref().ok_or(ProofError::NoGroupKey)?;
        Ok((check_seal_with_key(seal, head, key)?, Vouchers::Group))
    }

    /// Reads a trust file.
    ///
    /// # Errors
    /// If it isn't one, or is no ground for trust.
    pub fn from_json(text: &str) -> Result<Self, ProofError> {
        crate::json::read(text, TRUST_FILE_BYTES_MAX)
    }

    /// The trust file.
    pub fn to_json(&self) -> String {
        crate::json::write(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{certificate, chain, committee, digest, head};
    use violeta_types::ThresholdSignature;

    #[test]
    fn a_head_of_another_chain_is_refused_though_it_is_vouched_for() {
        let committee = committee(&[1, 1, 1, 1]);
        let head = head(3, &committee);
        let vouch = Vouch::Certificate(certificate(&head, &[0, 1, 2]));
        let trust = Trust::in_committee(chain(), committee.clone());
        assert_eq!(trust.head(&head, &vouch).unwrap().0.head(), &head);
        let other = Trust::in_committee(ChainId(digest("other")), committee);
        assert!(matches!(
            other.head(&head, &vouch),
            Err(ProofError::OtherChain { .. })
        ));
    }

    #[test]
    fn who_knows_only_a_group_key_takes_no_certificate_and_the_reverse() {
        let committee = committee(&[1]);
        let head = head(3, &committee);
        let certificate = Vouch::Certificate(certificate(&head, &[0]));
        let in_group = Trust::in_group(chain(), GroupPublicKey([1; 96]));
        assert_eq!(
            in_group.head(&head, &certificate).unwrap_err(),
            ProofError::NoCommittee
        );
        let seal = Vouch::Seal(Seal {
            height: head.height,
            head: head.id(),
            signature: ThresholdSignature([0; 48]),
        });
        let in_committee = Trust::in_committee(chain(), committee);
        assert_eq!(
            in_committee.head(&head, &seal).unwrap_err(),
            ProofError::NoGroupKey
        );
        // A key and a signature that are no points of the curve: refused, without a panic.
        assert_eq!(
            in_group.head(&head, &seal).unwrap_err(),
            ProofError::BadSeal
        );
    }

    #[test]
    fn the_trust_file_reads_back_and_contradictions_are_refused() {
        let trusts = [
            Trust::in_committee(chain(), committee(&[1, 2, 3])),
            Trust::in_group(chain(), GroupPublicKey([5; 96])),
        ];
        for trust in &trusts {
            assert_eq!(&Trust::from_json(&trust.to_json()).unwrap(), trust);
        }
        let key = GroupPublicKey([5; 96]);
        let committee = serde_json::to_string(&committee(&[1])).unwrap();
        let chain = chain();
        for (bad, says) in [
            (format!(r#"{{"chain":"{chain}"}}"#), "neither"),
            (
                format!(r#"{{"chain":"{chain}","committee":{committee},"group_key":"{key}"}}"#),
                "isn't the committee's",
            ),
            (
                format!(r#"{{"chain":"{chain}","group":"{key}"}}"#),
                "unknown field",
            ),
            (" ".repeat(TRUST_FILE_BYTES_MAX + 1), "at most"),
        ] {
            let error = Trust::from_json(&bad).unwrap_err().to_string();
            assert!(error.contains(says), "{error}");
        }
    }

    #[test]
    fn the_largest_committee_fits_a_trust_file() {
        let trust = Trust::in_committee(chain(), committee(&[u64::MAX / 256; 128]));
        // A share key adds 192 digits and a name to each member.
        let bytes = trust.to_json().len() + 128 * 256;
        assert!(bytes < TRUST_FILE_BYTES_MAX, "{bytes}");
    }
}
