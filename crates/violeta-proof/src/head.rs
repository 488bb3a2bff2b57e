//! Who vouches for a head: attestations, certificates and seals (consensus.md §10).
//!
//! ```text
//!   validator i ── signs HeadId ──▶ attestation ┬─ Q of stake ──▶ certificate: names who vouched
//!                └─ its share ────▶             └─ Q combine  ──▶ seal: 48 bytes, one key for all
//! ```
//!
//! What is checked of a certificate, in this order, each failure named: it is for this head, at this head's height;
//! the head names the committee that is asked to vouch; signers are in the committee and strictly rising (so nobody
//! counts twice); their stake is a quorum's; each signature is good. Cheap checks come first: a certificate without
//! enough stake costs no curve arithmetic.
//!
//! A certificate trusts the committee of its epoch only. A seal trusts that no quorum of any committee that ever held
//! shares of the group's key pooled them (consensus.md §10).
//!
//! [`TrustedHead`] can be made by these checks alone (and by [`TrustedHead::ancestor`], from another one): a function
//! that takes one needs no checks of its own.

use borsh::{BorshDeserialize, BorshSerialize};
use serde::{Deserialize, Serialize};
use violeta_crypto::signing::{verify_attestation, verify_attestations};
use violeta_crypto::threshold::{BlsThreshold, Threshold, ThresholdMessage};
use violeta_types::{
    Attestation, Certificate, Committee, GroupPublicKey, Head, HeadId, Height, Seal,
    SharePublicKey, Stake, StakeTally, ValidatorIndex,
};

use crate::error::ProofError;
use crate::history::Successor;

/// A head that a committee or a group vouched for. Only a check can make one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrustedHead {
    head: Head,
    id: HeadId,
}

impl TrustedHead {
    /// To be called only after the check that justifies it.
    pub(crate) fn new_checked(head: Head, id: HeadId) -> Self {
        debug_assert_eq!(head.id(), id);
        TrustedHead { head, id }
    }

    /// The head.
    pub fn head(&self) -> &Head {
        &self.head
    }

    /// Its id.
    pub fn id(&self) -> HeadId {
        self.id
    }

    /// The head, without the mark that it was checked.
    pub fn into_head(self) -> Head {
        self.head
    }
}

/// What makes a client trust a head: any of them is enough.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Vouch {
    /// A quorum's signatures.
    Certificate(Certificate),
    /// The group's threshold signature.
    Seal(Seal),
    /// A newer head, and the path from it to this one: not every height has a word of its own.
    Successor(Box<Successor>),
}

impl Vouch {
    /// The height of the head that the word was given for: that of `head` itself, or of a newer one.
    pub fn height(&self, head: &Head) -> Height {
        match self {
            Vouch::Certificate(_) | Vouch::Seal(_) => head.height,
            Vouch::Successor(successor) => successor.head.height,
        }
    }
}

/// Whose word was taken for a head.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Vouchers {
    /// These validators signed; together they have this stake.
    Validators {
        /// Who, by index.
        signers: Vec<ValidatorIndex>,
        /// Their stake.
        stake: Stake,
    },
    /// The group of validators, by threshold signature.
    Group,
}

/// Checks an attestation on its own: its author is in the committee and signed the head that it names. The seal share
/// isn't judged here; combining finds bad ones.
///
/// The height isn't signed but bound by the head: whoever knows the head compares.
///
/// # Errors
/// [`ProofError::UnknownValidator`] or [`ProofError::BadSignature`].
pub fn check_attestation(
    attestation: &Attestation,
    committee: &Committee,
) -> Result<(), ProofError> {
    let validator = attestation.validator;
    let member = committee
        .member(validator)
        .ok_or(ProofError::UnknownValidator(validator))?;
    verify_attestation(
        &member.validator_key,
        &attestation.head,
        &attestation.signature,
    )
    .map_err(|_| ProofError::BadSignature(validator))
}

/// Checks that `certificate` is a quorum's word of `committee` for `head`; says whose word it is.
///
/// # Errors
/// The first thing that is wrong, see the module's text.
pub fn check_certificate(
    certificate: &Certificate,
    head: &Head,
    committee: &Committee,
) -> Result<(TrustedHead, Vouchers), ProofError> {
    let id = check_names(&certificate.head, certificate.height, head)?;
    let digest = committee.digest();
    if head.committee != digest {
        return Err(ProofError::UnknownCommittee {
            known: digest,
            named: head.committee,
        });
    }
    let tally = tally_signers(certificate, committee)?;
    check_signatures(certificate, id, committee)?;
    let vouchers = Vouchers::Validators {
        signers: tally.iter().collect(),
        stake: tally.stake(),
    };
    Ok((TrustedHead::new_checked(head.clone(), id), vouchers))
}

/// Checks that `seal` is the signature over `head` of the group that `threshold` is the public side of.
///
/// # Errors
/// [`ProofError::OtherHead`], [`ProofError::OtherHeight`] or [`ProofError::BadSeal`].
pub fn check_seal(
    seal: &Seal,
    head: &Head,
    threshold: &dyn Threshold,
) -> Result<TrustedHead, ProofError> {
    let id = check_names(&seal.head, seal.height, head)?;
    if !threshold.verify(&ThresholdMessage::seal(&id), &seal.signature) {
        return Err(ProofError::BadSeal);
    }
    Ok(TrustedHead::new_checked(head.clone(), id))
}

/// Checks that `seal` is the signature over `head` of the group with this key, of which nothing else is known.
///
/// # Errors
/// As [`check_seal`]; a key that is none makes no good seal.
pub fn check_seal_with_key(
    seal: &Seal,
    head: &Head,
    group_key: &GroupPublicKey,
) -> Result<TrustedHead, ProofError> {
    // To who only checks, a group is a member with the whole secret: its one share is the signature.
    let whole = SharePublicKey(group_key.0);
    let group = BlsThreshold::new(group_key, &[whole], 1).map_err(|_| ProofError::BadSeal)?;
    check_seal(seal, head, &group)
}

/// That a vouch names this head and its height.
fn check_names(named: &HeadId, height: Height, head: &Head) -> Result<HeadId, ProofError> {
    let id = head.id();
    if *named != id {
        return Err(ProofError::OtherHead {
            named: *named,
            given: id,
        });
    }
    if height != head.height {
        return Err(ProofError::OtherHeight {
            named: height,
            given: head.height,
        });
    }
    Ok(id)
}

/// That each signature is its signer's, in one batch.
fn check_signatures(
    certificate: &Certificate,
    id: HeadId,
    committee: &Committee,
) -> Result<(), ProofError> {
    let mut signed = Vec::with_capacity(certificate.signatures.len());
    for (validator, signature) in &certificate.signatures {
        let member = committee
            .member(*validator)
            .ok_or(ProofError::UnknownValidator(*validator))?;
        signed.push((member.validator_key, id, *signature));
    }
    let verdicts = verify_attestations(&signed);
    assert_eq!(verdicts.len(), signed.len(), "a verdict for each signature");
    match verdicts.iter().position(|good| !good) {
        Some(i) => Err(ProofError::BadSignature(certificate.signatures[i].0)),
        None => Ok(()),
    }
}

/// The stake of a certificate's signers: strictly rising, all in the committee, a quorum together.
fn tally_signers(
    certificate: &Certificate,
    committee: &Committee,
) -> Result<StakeTally, ProofError> {
    let mut tally = StakeTally::default();
    let mut last = None;
    for (validator, _) in &certificate.signatures {
        if last >= Some(*validator) {
            return Err(ProofError::SignersOutOfOrder(*validator));
        }
        if !tally.add(committee, *validator) {
            return Err(ProofError::UnknownValidator(*validator));
        }
        last = Some(*validator);
    }
    if !tally.is_quorum(committee) {
        return Err(ProofError::TooLittleStake {
            have: tally.stake(),
            need: committee.quorum_stake(),
        });
    }
    Ok(tally)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{certificate, committee, damaged, digest, head, secret};
    use violeta_types::{TimeMs, ValidatorSignature};

    #[test]
    fn a_quorum_of_good_signatures_makes_a_head_trusted() {
        let committee = committee(&[1, 1, 1, 1]);
        let head = head(7, &committee);
        for signers in [&[0, 1, 2][..], &[1, 2, 3], &[0, 1, 2, 3]] {
            let certificate = certificate(&head, signers);
            let (trusted, vouchers) = check_certificate(&certificate, &head, &committee).unwrap();
            assert_eq!(trusted.head(), &head);
            assert_eq!(trusted.id(), head.id());
            let expected = Vouchers::Validators {
                signers: signers.iter().map(|&i| ValidatorIndex(i.into())).collect(),
                stake: Stake(signers.len() as u64),
            };
            assert_eq!(vouchers, expected);
        }
    }

    #[test]
    fn too_little_stake_is_refused_whatever_the_number_of_signers() {
        // Total 10, f = 3, Q = 7: worked out by hand.
        let committee = committee(&[1, 1, 1, 7]);
        let head = head(7, &committee);
        let check = |signers: &[u8]| {
            check_certificate(&certificate(&head, signers), &head, &committee).map(|_| ())
        };
        let too_little = |have| {
            let (have, need) = (Stake(have), Stake(7));
            Err(ProofError::TooLittleStake { have, need })
        };
        assert_eq!(check(&[]), too_little(0));
        assert_eq!(check(&[0, 1, 2]), too_little(3));
        assert_eq!(check(&[3]), Ok(()));
    }

    #[test]
    fn a_signer_twice_out_of_order_or_out_of_range_is_refused() {
        let committee = committee(&[1, 1, 1, 1]);
        let head = head(7, &committee);
        let check = |signers: &[u8]| {
            check_certificate(&certificate(&head, signers), &head, &committee).unwrap_err()
        };
        let order = |i| ProofError::SignersOutOfOrder(ValidatorIndex(i));
        assert_eq!(check(&[0, 0, 0]), order(0));
        assert_eq!(check(&[0, 1, 1]), order(1));
        assert_eq!(check(&[2, 1, 0]), order(1));
        let stranger = ProofError::UnknownValidator(ValidatorIndex(4));
        assert_eq!(check(&[0, 1, 4]), stranger);
    }

    #[test]
    fn one_bad_signature_among_many_is_refused_and_named() {
        let committee = committee(&[1, 1, 1, 1]);
        let head = head(7, &committee);
        let good = certificate(&head, &[0, 1, 2, 3]);
        for i in 0..4 {
            let mut signatures = good.signatures.clone().into_inner();
            signatures[i].1 = ValidatorSignature([7; 64]);
            let certificate = Certificate {
                signatures: signatures.try_into().unwrap(),
                ..good.clone()
            };
            let error = check_certificate(&certificate, &head, &committee).unwrap_err();
            assert_eq!(error, ProofError::BadSignature(ValidatorIndex(i as u16)));
        }
    }

    #[test]
    fn a_vertex_signature_is_no_attestation() {
        let committee = committee(&[1]);
        let head = head(7, &committee);
        let vertex = violeta_types::VertexId(head.id().0);
        let signature = secret(0).sign_vertex(&vertex);
        let mut attestation = Attestation {
            height: head.height,
            head: head.id(),
            validator: ValidatorIndex(0),
            signature,
            seal_share: None,
        };
        assert_eq!(
            check_attestation(&attestation, &committee),
            Err(ProofError::BadSignature(ValidatorIndex(0)))
        );
        attestation.signature = secret(0).sign_attestation(&head.id());
        assert_eq!(check_attestation(&attestation, &committee), Ok(()));
        attestation.validator = ValidatorIndex(1);
        assert_eq!(
            check_attestation(&attestation, &committee),
            Err(ProofError::UnknownValidator(ValidatorIndex(1)))
        );
    }

    #[test]
    fn another_head_height_or_committee_is_refused_by_name() {
        let ours = committee(&[1, 1, 1, 1]);
        let head = head(7, &ours);
        let certificate = certificate(&head, &[0, 1, 2]);
        let other = Head {
            time: TimeMs(1),
            ..head.clone()
        };
        assert!(matches!(
            check_certificate(&certificate, &other, &ours),
            Err(ProofError::OtherHead { .. })
        ));
        let moved = Certificate {
            height: Height(8),
            ..certificate.clone()
        };
        assert!(matches!(
            check_certificate(&moved, &head, &ours),
            Err(ProofError::OtherHeight { .. })
        ));
        // The same keys, other stakes: another committee, though the signatures are good.
        let theirs = committee(&[1, 1, 1, 2]);
        assert!(matches!(
            check_certificate(&certificate, &head, &theirs),
            Err(ProofError::UnknownCommittee { .. })
        ));
    }

    fn dealt() -> violeta_crypto::Dealing {
        violeta_crypto::deal(4, 3, [9; 32]).unwrap()
    }

    fn seal(head: &Head, message: &ThresholdMessage) -> Seal {
        use violeta_crypto::ShareSigner;
        let dealing = dealt();
        let shares: Vec<_> = (0..3)
            .map(|i| {
                let share = dealing.secret_shares[i].share(message);
                (ValidatorIndex(i as u16), share)
            })
            .collect();
        let public = BlsThreshold::new(&dealing.group_key, &dealing.share_keys, 3).unwrap();
        Seal {
            height: head.height,
            head: head.id(),
            signature: public.combine(message, &shares).signature.unwrap(),
        }
    }

    #[test]
    fn the_groups_seal_makes_a_head_trusted_by_the_key_alone() {
        let head = head(7, &committee(&[1, 1, 1, 1]));
        let key = dealt().group_key;
        let seal = seal(&head, &ThresholdMessage::seal(&head.id()));
        let trusted = check_seal_with_key(&seal, &head, &key).unwrap();
        assert_eq!(trusted.head(), &head);

        let other = Head {
            time: TimeMs(1),
            ..head.clone()
        };
        assert!(matches!(
            check_seal_with_key(&seal, &other, &key),
            Err(ProofError::OtherHead { .. })
        ));
        let renamed = Seal {
            head: other.id(),
            ..seal.clone()
        };
        let error = check_seal_with_key(&renamed, &other, &key).unwrap_err();
        assert_eq!(error, ProofError::BadSeal);
        let moved = Seal {
            height: Height(8),
            ..seal.clone()
        };
        assert!(matches!(
            check_seal_with_key(&moved, &head, &key),
            Err(ProofError::OtherHeight { .. })
        ));
        let stranger = violeta_crypto::deal(4, 3, [8; 32]).unwrap().group_key;
        let error = check_seal_with_key(&seal, &head, &stranger).unwrap_err();
        assert_eq!(error, ProofError::BadSeal);
    }

    #[test]
    fn a_coin_is_no_seal_and_no_bit_of_a_seal_can_change() {
        use violeta_types::{Epoch, Round};
        let head = head(7, &committee(&[1, 1, 1, 1]));
        let key = dealt().group_key;
        let coin = ThresholdMessage::coin(&head.chain, Epoch(0), Round(1));
        let error = check_seal_with_key(&seal(&head, &coin), &head, &key).unwrap_err();
        assert_eq!(error, ProofError::BadSeal);
        let good = seal(&head, &ThresholdMessage::seal(&head.id()));
        for bit in (0..48 * 8).step_by(7) {
            let mut bent = good.clone();
            bent.signature.0[bit / 8] ^= 1 << (bit % 8);
            assert!(check_seal_with_key(&bent, &head, &key).is_err(), "{bit}");
        }
    }

    #[test]
    fn every_field_of_the_head_is_bound() {
        let committee = committee(&[1]);
        let head = head(7, &committee);
        let certificate = certificate(&head, &[0]);
        let bytes = violeta_types::encode(&head);
        for damaged in damaged(&bytes) {
            if let Ok(other) = violeta_types::decode::<Head>(&damaged) {
                assert!(check_certificate(&certificate, &other, &committee).is_err());
            }
        }
        assert_ne!(head.history_root, digest("another"));
    }
}
