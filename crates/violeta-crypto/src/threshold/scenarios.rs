//! What members and liars may do with shares, played with the real scheme and with the mock; then the bytes that a
//! liar may send as points.

use std::collections::BTreeSet;

use blst::min_sig::{AggregateSignature, PublicKey, SecretKey, Signature};
use proptest::prelude::*;

use super::*;
use violeta_types::{GroupPublicKey, SharePublicKey};

type Shares = Vec<(ValidatorIndex, ThresholdShare)>;

struct Group {
    public: Box<dyn Threshold>,
    signers: Vec<Box<dyn ShareSigner>>,
}

impl Group {
    fn bls(n: usize, threshold: usize) -> Self {
        let dealing = deal(n, threshold, [n as u8; 32]).unwrap();
        let public = BlsThreshold::new(&dealing.group_key, &dealing.share_keys, threshold).unwrap();
        let mut signers: Vec<Box<dyn ShareSigner>> = Vec::new();
        for secret in dealing.secret_shares {
            signers.push(Box::new(secret));
        }
        Group {
            public: Box::new(public),
            signers,
        }
    }

    fn mock(n: usize, threshold: usize) -> Self {
        let mock = MockThreshold::insecure(n, threshold, [n as u8; 32]).unwrap();
        let mut signers: Vec<Box<dyn ShareSigner>> = Vec::new();
        for i in 0..n as u16 {
            signers.push(Box::new(mock.signer(ValidatorIndex(i))));
        }
        Group {
            public: Box::new(mock),
            signers,
        }
    }

    /// Four members, a threshold of three: real and mock.
    fn both() -> [Group; 2] {
        [Group::bls(4, 3), Group::mock(4, 3)]
    }

    fn share(&self, holder: u16, message: &ThresholdMessage) -> (ValidatorIndex, ThresholdShare) {
        let share = self.signers[usize::from(holder)].share(message);
        (ValidatorIndex(holder), share)
    }

    fn shares(&self, holders: &[u16], message: &ThresholdMessage) -> Shares {
        holders.iter().map(|&i| self.share(i, message)).collect()
    }

    /// Combines shares that must suffice; says who was found bad.
    fn combined(
        &self,
        shares: &Shares,
        message: &ThresholdMessage,
    ) -> (ThresholdSignature, Vec<u16>) {
        let Combined { signature, bad } = self.public.combine(message, shares);
        let signature = signature.expect("enough good shares");
        assert!(self.public.verify(message, &signature));
        (signature, bad.into_iter().map(|i| i.0).collect())
    }
}

fn coin(round: u64) -> ThresholdMessage {
    ThresholdMessage::coin(&ChainId::default(), Epoch(0), Round(round))
}

/// Q of n, worked out here once more: the least number that is more than two thirds and leaves f < n/3 out.
fn quorum(n: usize) -> usize {
    (1..=n).find(|q| n - q < n.div_ceil(3)).unwrap()
}

#[test]
fn any_quorum_makes_the_same_signature_and_a_share_less_makes_none() {
    for group in Group::both() {
        let (expected, _) = group.combined(&group.shares(&[0, 1, 2], &coin(1)), &coin(1));
        for holders in [[3, 2, 1], [0, 2, 3], [1, 0, 3]] {
            let shares = group.shares(&holders, &coin(1));
            assert_eq!(group.combined(&shares, &coin(1)), (expected, vec![]));
            let few = group.public.combine(&coin(1), &shares[..2]);
            assert_eq!(few, Combined::default());
        }
        let (other, _) = group.combined(&group.shares(&[0, 1, 2], &coin(2)), &coin(2));
        assert_ne!(expected, other);
        assert!(!group.public.verify(&coin(2), &expected));
    }
}

#[test]
fn a_member_who_repeats_itself_counts_once() {
    for group in Group::both() {
        let shares = group.shares(&[0, 0, 1, 1, 0], &coin(1));
        assert_eq!(group.public.combine(&coin(1), &shares), Combined::default());
        let shares = group.shares(&[0, 0, 1, 1, 0, 2], &coin(1));
        assert!(group.combined(&shares, &coin(1)).1.is_empty());
    }
}

#[test]
fn a_liar_is_blamed_and_the_others_still_make_the_signature() {
    for group in Group::both() {
        let (expected, _) = group.combined(&group.shares(&[0, 1, 2], &coin(1)), &coin(1));
        let lies = [
            group.share(2, &coin(9)).1, // its share of another round
            group.share(3, &coin(1)).1, // another member's share
            ThresholdShare([0; 48]),
            ThresholdShare([0xff; 48]),
        ];
        for lie in lies {
            let mut shares = group.shares(&[1, 0, 3], &coin(1));
            shares.insert(0, (ValidatorIndex(2), lie));
            assert_eq!(group.combined(&shares, &coin(1)), (expected, vec![2]));
            let few = group.public.combine(&coin(1), &shares[..3]);
            assert_eq!(few.signature, None);
            assert_eq!(few.bad, [ValidatorIndex(2)]);
            assert!(!group.public.verify_share(&coin(1), ValidatorIndex(2), &lie));
        }
    }
}

#[test]
fn a_bad_and_a_good_share_under_one_name_blame_it_and_count_it() {
    // An equivocator sends a bad share in one vertex and a good one in its twin.
    for group in Group::both() {
        let mut shares = group.shares(&[2, 0, 1], &coin(1));
        shares.insert(0, (ValidatorIndex(2), group.share(2, &coin(9)).1));
        assert_eq!(group.combined(&shares, &coin(1)).1, [2]);
    }
}

#[test]
fn a_share_under_an_index_outside_the_committee_is_refused() {
    for group in Group::both() {
        let mut shares = group.shares(&[0, 1], &coin(1));
        for stranger in [4, u16::MAX] {
            shares.push((ValidatorIndex(stranger), group.share(2, &coin(1)).1));
        }
        let few = group.public.combine(&coin(1), &shares);
        assert_eq!(few.signature, None);
        assert_eq!(few.bad, [ValidatorIndex(4), ValidatorIndex(u16::MAX)]);
        let (stranger, share) = shares[2];
        assert!(!group.public.verify_share(&coin(1), stranger, &share));
    }
}

#[test]
fn a_coin_share_is_never_a_seal_share() {
    // Even for a head id with the very digest that the coin has.
    let seal = ThresholdMessage::seal(&HeadId(*coin(1).digest()));
    for group in Group::both() {
        let (holder, share) = group.share(0, &coin(1));
        assert!(group.public.verify_share(&coin(1), holder, &share));
        assert!(!group.public.verify_share(&seal, holder, &share));
        let combined = group
            .public
            .combine(&seal, &group.shares(&[0, 1, 2], &coin(1)));
        assert_eq!(combined.signature, None);
        assert_eq!(combined.bad.len(), 3);
    }
}

#[test]
fn a_third_of_a_hundred_lying_are_all_found() {
    let n = 100;
    let group = Group::bls(n, quorum(n));
    assert_eq!(group.public.threshold(), 67);
    let everybody: Vec<u16> = (0..n as u16).collect();
    let mut shares = group.shares(&everybody, &coin(1));
    let (expected, _) = group.combined(&shares, &coin(1));
    let liars: Vec<u16> = (0..33).map(|i| 3 * i).collect();
    for &liar in &liars {
        shares[usize::from(liar)].1 = group.share(liar, &coin(2)).1;
    }
    assert_eq!(group.combined(&shares, &coin(1)), (expected, liars));
    shares.pop();
    let few = group.public.combine(&coin(1), &shares);
    assert_eq!(
        (few.signature, few.bad.len()),
        (None, 33),
        "66 good shares of 67"
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn whoever_sends_whatever_good_shares_combine_exactly_from_a_quorum_on(
        n in 1usize..=10,
        sent in proptest::collection::vec((0u16..12, any::<bool>()), 0..24),
    ) {
        for group in [Group::bls(n, quorum(n)), Group::mock(n, quorum(n))] {
            let all: Vec<u16> = (0..n as u16).collect();
            let (expected, _) = group.combined(&group.shares(&all, &coin(1)), &coin(1));
            let (mut good, mut bad) = (BTreeSet::new(), BTreeSet::new());
            let mut shares = Vec::new();
            for &(holder, honest) in &sent {
                let round = if honest { 1 } else { 2 };
                let share = group.share(holder % n as u16, &coin(round)).1;
                shares.push((ValidatorIndex(holder), share));
                let member = usize::from(holder) < n;
                let set = if honest && member { &mut good } else { &mut bad };
                set.insert(ValidatorIndex(holder));
            }
            let combined = group.public.combine(&coin(1), &shares);
            let signature = (good.len() >= quorum(n)).then_some(expected);
            prop_assert_eq!(combined.signature, signature);
            prop_assert!(combined.bad.iter().all(|i| bad.contains(i)), "nobody honest is blamed");
            prop_assert!(combined.bad.is_sorted());
        }
    }

    #[test]
    fn garbage_is_no_key_no_share_and_no_signature(
        head in any::<[u8; 32]>(), tail in any::<[u8; 16]>(), flags in 0u8..8,
    ) {
        let group = Group::bls(1, 1);
        let mut bytes = [0; 48];
        bytes[..32].copy_from_slice(&head);
        bytes[32..].copy_from_slice(&tail);
        bytes[0] = flags << 5 | bytes[0] & 0x1f;
        let share = ThresholdShare(bytes);
        prop_assert!(!group.public.verify(&coin(1), &ThresholdSignature(bytes)));
        prop_assert!(!group.public.verify_share(&coin(1), ValidatorIndex(0), &share));
        let combined = group.public.combine(&coin(1), &[(ValidatorIndex(0), share)]);
        prop_assert_eq!(combined.bad, [ValidatorIndex(0)]);
        let mut key = [0; 96];
        key[..48].copy_from_slice(&bytes);
        key[48..80].copy_from_slice(&head);
        prop_assert!(BlsThreshold::new(&GroupPublicKey(key), &[SharePublicKey(key)], 1).is_err());
    }
}

// From here on: the real scheme alone, and what its points are made of.

/// The field's prime, big-endian: coordinates are below it.
const PRIME: &str = "1a0111ea397fe69a4b1ba7b6434bacd764774b84f38512bf6730d2a0f6b0f6241eabfffeb153ffffb9feffffffffaaab";

/// The first point on the curve, by its x, outside the group: the group is one in 2¹²⁵ of the curve.
fn stray_point() -> ([u8; 48], Signature) {
    let candidates = (1u8..).map(|x| {
        let mut bytes = [0; 48];
        (bytes[0], bytes[47]) = (0x80, x);
        bytes
    });
    let stray = candidates
        .filter_map(|bytes| Some((bytes, Signature::uncompress(&bytes).ok()?)))
        .find(|(_, point)| point.validate(true).is_err());
    stray.unwrap()
}

fn refused_as_share_and_signature(bytes: [u8; 48]) {
    let group = Group::bls(1, 1);
    let share = ThresholdShare(bytes);
    assert!(!group.public.verify(&coin(1), &ThresholdSignature(bytes)));
    assert!(
        !group
            .public
            .verify_share(&coin(1), ValidatorIndex(0), &share)
    );
    let combined = group
        .public
        .combine(&coin(1), &[(ValidatorIndex(0), share)]);
    assert_eq!(combined.signature, None);
    assert_eq!(combined.bad, [ValidatorIndex(0)]);
}

#[test]
fn the_group_signs_what_a_holder_of_the_whole_secret_would() {
    // The whole secret is the polynomial's first coefficient, drawn and used here without any sharing.
    let info = [b"violeta v1 dealing coefficient ".as_slice(), &[0; 8]].concat();
    let whole = SecretKey::key_gen(&[7; 32], &info).unwrap();
    let tag = b"VIOLETA-V01-CS01-with-BLS12381G1_XMD:SHA-256_SSWU_RO_";
    let expected = whole.sign(&coin(1).digest().0, tag, &[]).to_bytes();

    let group = Group::bls(7, 5);
    for holders in [[0, 1, 2, 3, 4], [6, 4, 3, 1, 0]] {
        let (signature, _) = group.combined(&group.shares(&holders, &coin(1)), &coin(1));
        assert_eq!(signature, ThresholdSignature(expected));
    }
    let dealing = deal(7, 5, [7; 32]).unwrap();
    assert_eq!(dealing.group_key.0, whole.sk_to_pk().to_bytes());
}

#[test]
fn infinity_in_any_encoding_is_refused() {
    for first in [0xc0, 0xe0, 0x40, 0x00] {
        let mut bytes = [0; 48];
        bytes[0] = first;
        refused_as_share_and_signature(bytes);
        bytes[47] = 1;
        refused_as_share_and_signature(bytes);
        let mut key = [0; 96];
        key[0] = first;
        let error = BlsThreshold::new(&GroupPublicKey(key), &[SharePublicKey(key)], 1);
        assert_eq!(error.unwrap_err(), ThresholdError::GroupKey);
    }
}

#[test]
fn a_point_of_the_curve_outside_the_group_is_refused() {
    refused_as_share_and_signature(stray_point().0);
}

#[test]
fn a_good_share_in_another_encoding_is_refused() {
    let prime = hex::decode(PRIME).unwrap();
    let (mut bytes, _) = stray_point();
    let mut carry = 0;
    for i in (0..48).rev() {
        let digit = if i == 0 { bytes[0] & 0x1f } else { bytes[i] };
        let sum = u16::from(digit) + u16::from(prime[i]) + carry;
        (bytes[i], carry) = (sum as u8, sum >> 8);
    }
    assert!(bytes[0] < 0x20, "x + p still fits");
    bytes[0] |= 0x80;
    assert!(Signature::uncompress(&bytes).is_err(), "x isn't below p");
    refused_as_share_and_signature(bytes);

    let group = Group::bls(1, 1);
    let good = group.share(0, &coin(1)).1.0;
    for flag in [0x80, 0x40, 0x20] {
        let mut bytes = good;
        bytes[0] ^= flag;
        refused_as_share_and_signature(bytes);
    }
}

#[test]
fn a_key_outside_the_group_is_refused() {
    let stray = (1u8..)
        .map(|x| {
            let mut bytes = [0; 96];
            (bytes[0], bytes[95]) = (0x80, x);
            bytes
        })
        .find(|bytes| PublicKey::uncompress(bytes).is_ok())
        .unwrap();
    let dealing = deal(4, 3, [1; 32]).unwrap();
    let error = BlsThreshold::new(&GroupPublicKey(stray), &dealing.share_keys, 3).unwrap_err();
    assert_eq!(error, ThresholdError::GroupKey);
    let mut share_keys = dealing.share_keys;
    share_keys[2] = SharePublicKey(stray);
    let error = BlsThreshold::new(&dealing.group_key, &share_keys, 3).unwrap_err();
    assert_eq!(error, ThresholdError::ShareKey(ValidatorIndex(2)));
}

#[test]
fn keys_that_are_not_of_one_dealing_are_refused() {
    let dealing = deal(7, 5, [1; 32]).unwrap();
    let other = deal(7, 5, [2; 32]).unwrap();
    let refused = |group: &GroupPublicKey, keys: &[SharePublicKey], threshold: usize| {
        let error = BlsThreshold::new(group, keys, threshold).unwrap_err();
        assert_eq!(error, ThresholdError::NotOneSharing(threshold));
    };
    refused(&other.group_key, &dealing.share_keys, 5);
    refused(&dealing.group_key, &dealing.share_keys, 4);
    refused(&dealing.group_key, &dealing.share_keys[1..], 5);
    let mut swapped = dealing.share_keys.clone();
    swapped.swap(0, 6);
    refused(&dealing.group_key, &swapped, 5);
    let mut foreign = dealing.share_keys.clone();
    foreign[3] = other.share_keys[3];
    refused(&dealing.group_key, &foreign, 5);
    // One member less is still the same sharing, as is a threshold that is higher than need be.
    assert!(BlsThreshold::new(&dealing.group_key, &dealing.share_keys[..6], 5).is_ok());
    assert!(BlsThreshold::new(&dealing.group_key, &dealing.share_keys, 6).is_ok());
}

fn add(a: &Signature, b: &Signature) -> Signature {
    let mut sum = AggregateSignature::from_signature(a);
    sum.add_signature(b, false).unwrap();
    sum.to_signature()
}

#[test]
fn shares_that_cancel_out_make_no_signature_and_errors_that_cancel_make_the_one() {
    // Two of two: the coefficients are 2 and −1.
    let group = Group::bls(2, 2);
    let (expected, _) = group.combined(&group.shares(&[0, 1], &coin(1)), &coin(1));
    let point = |i: u16| Signature::uncompress(&group.share(i, &coin(1)).1.0).unwrap();
    let send = |a: &Signature, b: &Signature| {
        let shares = [a, b].map(|p| ThresholdShare(p.to_bytes()));
        let shares = [
            (ValidatorIndex(0), shares[0]),
            (ValidatorIndex(1), shares[1]),
        ];
        group.public.combine(&coin(1), &shares)
    };
    // 2a − 2a: infinity. Member 0 was honest.
    let combined = send(&point(0), &add(&point(0), &point(0)));
    assert_eq!(combined.signature, None);
    assert_eq!(combined.bad, [ValidatorIndex(1)]);
    // 2(a + d) − (b + 2d): the one signature all the same, so there is nobody to blame.
    let error = Signature::uncompress(&group.share(0, &coin(2)).1.0).unwrap();
    let combined = send(
        &add(&point(0), &error),
        &add(&add(&point(1), &error), &error),
    );
    assert_eq!(combined.signature, Some(expected));
    assert_eq!(combined.bad, []);
    // With a point outside the group for d, which no multiple of the group's order takes away, both are blamed.
    let stray = stray_point().1;
    let combined = send(
        &add(&point(0), &stray),
        &add(&add(&point(1), &stray), &stray),
    );
    assert_eq!(combined.signature, None);
    assert_eq!(combined.bad, [ValidatorIndex(0), ValidatorIndex(1)]);
    // With d on one side only, it is blamed.
    let combined = send(&add(&point(0), &stray), &point(1));
    assert_eq!(combined.signature, None);
    assert_eq!(combined.bad, [ValidatorIndex(0)]);
}

#[test]
fn a_secret_share_comes_back_from_its_bytes_and_shows_no_secret() {
    let dealing = deal(4, 3, [1; 32]).unwrap();
    let secret = &dealing.secret_shares[0];
    let again = ShareSecretKey::from_bytes(&secret.to_bytes()).unwrap();
    assert_eq!(again.public_key(), dealing.share_keys[0]);
    assert_eq!(again.share(&coin(1)), secret.share(&coin(1)));
    let shown = format!("{secret:?}");
    assert!(
        !shown.contains(&hex::encode(&secret.to_bytes()[..4])),
        "{shown}"
    );
    for bad in [[0; 32], [0xff; 32]] {
        let error = ShareSecretKey::from_bytes(&bad).unwrap_err();
        assert_eq!(error, ThresholdError::SecretShare);
    }
}

#[test]
fn a_committee_without_a_group_key_has_no_threshold_key() {
    use violeta_types::{
        Committee, Member, NodePublicKey, OperatorPublicKey, Stake, ValidatorPublicKey,
    };

    let dealing = deal(4, 3, [1; 32]).unwrap();
    let committee = |group_key, share_keys: &[SharePublicKey]| {
        let members = share_keys.iter().zip(0u8..).map(|(&share_key, i)| Member {
            stake: Stake(1),
            validator_key: ValidatorPublicKey([i; 32]),
            share_key: Some(share_key),
            node_key: NodePublicKey([i; 32]),
            operator_key: OperatorPublicKey([i; 32]),
        });
        Committee::new(Epoch(0), members.collect(), group_key).unwrap()
    };
    let without = committee(None, &dealing.share_keys);
    assert!(BlsThreshold::for_committee(&without).unwrap().is_none());
    let with = committee(Some(dealing.group_key), &dealing.share_keys);
    assert_eq!(
        BlsThreshold::for_committee(&with)
            .unwrap()
            .unwrap()
            .threshold(),
        3
    );
    let three_of_four = committee(Some(dealing.group_key), &dealing.share_keys[..3]);
    assert!(
        BlsThreshold::for_committee(&three_of_four).is_ok(),
        "3 of 3, of the same dealing"
    );
    let group_key = deal(4, 3, [2; 32]).unwrap().group_key;
    let foreign = committee(Some(group_key), &dealing.share_keys);
    assert!(BlsThreshold::for_committee(&foreign).is_err());
}

#[test]
fn the_coin_of_a_known_dealing_is_pinned() {
    // Changing this changes every coin and seal: a break of the format.
    let group = Group::bls(4, 3);
    let (signature, _) = group.combined(&group.shares(&[0, 1, 2], &coin(1)), &coin(1));
    assert_eq!(
        signature.to_string(),
        "8c394f870b8a6f4809f38940cea23bcfadccf7cead4928c6c6c5429297ef0e8a65c178b87069857204bcea3d98568a4d"
    );
}

// ── several messages together ───────────────────────────────────────────────────────────────────────────────────────

fn batch_of<'a>(
    messages: &[ThresholdMessage],
    shares: &'a [Shares],
) -> Vec<(ThresholdMessage, &'a [(ValidatorIndex, ThresholdShare)])> {
    (messages.iter().zip(shares))
        .map(|(message, shares)| (*message, &shares[..]))
        .collect()
}

fn coins_of_rounds(rounds: std::ops::Range<u64>) -> Vec<ThresholdMessage> {
    rounds
        .map(|round| ThresholdMessage::coin(&ChainId::default(), Epoch(0), Round(round)))
        .collect()
}

#[test]
fn messages_combined_together_give_what_each_gives_alone() {
    for group in Group::both() {
        let messages = coins_of_rounds(1..6);
        let mut shares: Vec<Shares> = messages
            .iter()
            .map(|m| group.shares(&[3, 0, 2], m))
            .collect();
        for several in [0, 1, 2, 5] {
            let batch = batch_of(&messages[..several], &shares);
            let alone: Vec<_> = batch
                .iter()
                .map(|(m, s)| group.public.combine(m, s))
                .collect();
            assert!(
                alone
                    .iter()
                    .all(|c| c.signature.is_some() && c.bad.is_empty())
            );
            assert_eq!(group.public.combine_all(&batch), alone);
        }
        // One bad share with another to spare, one without, and too few.
        let other = coins_of_rounds(99..100)[0];
        shares[1].insert(0, group.share(1, &other));
        shares[3][1] = group.share(0, &other);
        shares[4].pop();
        let combined = group.public.combine_all(&batch_of(&messages, &shares));
        let good: Vec<bool> = combined.iter().map(|c| c.signature.is_some()).collect();
        assert_eq!(good, [true, true, true, false, false]);
        let bad: Vec<_> = combined.iter().map(|c| c.bad.clone()).collect();
        let (none, one, zero) = (Vec::new(), vec![ValidatorIndex(1)], vec![ValidatorIndex(0)]);
        assert_eq!(bad, [none.clone(), one, none.clone(), zero, none]);
        for (message, combined) in messages.iter().zip(&combined) {
            let verified = |s| group.public.verify(message, s);
            assert!(combined.signature.as_ref().is_none_or(verified));
        }
    }
}

/// What a liar adds to its share of one message it takes from that of another: in the plain sum of the two it cancels.
#[test]
fn errors_that_cancel_out_between_messages_are_found() {
    let group = Group::bls(4, 3);
    let messages = coins_of_rounds(1..3);
    let mut shares: Vec<Shares> = messages
        .iter()
        .map(|m| group.shares(&[0, 1, 2], m))
        .collect();
    let error = group.share(3, &messages[0]).1;
    let mut minus = error;
    minus.0[0] ^= 0x20;
    for (shares, error) in shares.iter_mut().zip([error, minus]) {
        let point = |share: &ThresholdShare| Signature::uncompress(&share.0).unwrap();
        let (share, error) = (point(&shares[1].1), point(&error));
        let sum = AggregateSignature::aggregate(&[&share, &error], true).unwrap();
        shares[1].1 = ThresholdShare(sum.to_signature().compress());
    }
    for combined in group.public.combine_all(&batch_of(&messages, &shares)) {
        assert_eq!(combined.signature, None);
        assert_eq!(combined.bad, [ValidatorIndex(1)]);
    }
}
