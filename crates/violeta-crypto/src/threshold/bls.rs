//! The real thing: threshold BLS over BLS12-381 (consensus.md §12).
//!
//! ```text
//!  share_i    = sk_i · H(m)                 in G1, 48 bytes compressed
//!  signature  = Σ λ_i · share_i = a_0 · H(m)            likewise
//!  good       iff  e(signature, G₂) = e(H(m), group key)
//! ```
//!
//! `H` is `hash_to_curve` of RFC 9380 for G1, with a tag of our own ([`DST`]). Boldyreva, *Threshold signatures … based
//! on the gap-Diffie-Hellman-group signature scheme* (PKC 2003), is the scheme.
//!
//! **Bytes from outside.** A key is checked once, when [`BlsThreshold`] is made: canonical, on the curve, in the group,
//! not infinity; and all keys of a committee against one another: they must be values of one polynomial of a degree
//! below Q, or different shares would combine to different signatures. A signature is checked in the same way each
//! time. A share that is only combined is decoded strictly, but whether it is *in the group* is asked of the result:
//! if that is in the group and passes the pairing, it is the one signature, whatever it was made of. Where a share
//! itself is judged, its membership is checked too.
//!
//! **Finding the bad ones.** When the combined signature fails, the shares are checked by one equation with 128-bit
//! coefficients (derived as in batches of Ed25519, for the same reasons), and halved until the bad ones are alone: one
//! liar among a hundred costs some fifteen pairing checks, not a hundred.
//!
//! **Cost** (ms, one core of an AMD EPYC, 3 of 4 / 67 of 100 members; `examples/signature_costs.rs` measures this):
//!
//! | make a share | combine | check the signature | with one bad share, in all | check the keys, once |
//! | --- | --- | --- | --- | --- |
//! | 0.16 | 0.24 / 2.3 | 0.97 | 6.8 / 35 | 1.1 / 16 |

use std::collections::BTreeSet;
use std::fmt;

use blst::min_sig::{AggregatePublicKey, AggregateSignature, PublicKey, SecretKey, Signature};
use blst::{BLST_ERROR, MultiPoint, blst_fp12, blst_p1_affine, blst_p2, blst_p2_affine};
use violeta_types::{
    Committee, Domain, GroupPublicKey, SharePublicKey, ThresholdShare, ThresholdSignature,
    ValidatorIndex,
};
use zeroize::Zeroizing;

use super::field::{Fr, SCALAR_BITS, evaluate, inverse_differences, lagrange_at_zero};
use super::{Combined, ShareSigner, Threshold, ThresholdError, ThresholdMessage, check_size};

/// Tag of hashing to the curve (RFC 9380 §3.1). Part of every share and signature: never change it.
const DST: &[u8] = b"VIOLETA-V01-CS01-with-BLS12381G1_XMD:SHA-256_SSWU_RO_";

/// In the first byte of a compressed point: it is infinity.
const INFINITY_FLAG: u8 = 0x40;

/// Bits of the coefficients that shares are checked together with.
const COEFFICIENT_BITS: usize = 128;

/// One member's share of the group's secret. Wiped when dropped; `Debug` shows the public key only.
pub struct ShareSecretKey(SecretKey);

impl ShareSecretKey {
    /// The secret of 32 big-endian bytes.
    ///
    /// # Errors
    /// If it is zero, or not below the order of the group.
    pub fn from_bytes(bytes: &[u8; 32]) -> Result<Self, ThresholdError> {
        let key = SecretKey::from_bytes(bytes).map_err(|_| ThresholdError::SecretShare)?;
        Ok(ShareSecretKey(key))
    }

    /// The secret's 32 big-endian bytes, for key files and nothing else.
    pub fn to_bytes(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(self.0.to_bytes())
    }

    /// The key that checks the shares of this one.
    pub fn public_key(&self) -> SharePublicKey {
        SharePublicKey(self.0.sk_to_pk().to_bytes())
    }
}

impl fmt::Debug for ShareSecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ShareSecretKey(of {:?})", self.public_key())
    }
}

impl ShareSigner for ShareSecretKey {
    fn share(&self, message: &ThresholdMessage) -> ThresholdShare {
        ThresholdShare(self.0.sign(&message.digest().0, DST, &[]).to_bytes())
    }
}

/// The public keys of one sharing, checked.
pub struct BlsThreshold {
    threshold: usize,
    /// G₂.
    generator: PublicKey,
    group_key: PublicKey,
    share_keys: Vec<PublicKey>,
}

/// A message and the shares that came for it.
type Batched<'a> = (ThresholdMessage, &'a [(ValidatorIndex, ThresholdShare)]);

impl fmt::Debug for BlsThreshold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let group_key = GroupPublicKey(self.group_key.to_bytes());
        let (q, n) = (self.threshold, self.share_keys.len());
        write!(f, "BlsThreshold({q} of {n}, {group_key:?})")
    }
}

impl BlsThreshold {
    /// The threshold key of `group_key`, of which each member holds the share of its key in `share_keys`.
    ///
    /// # Errors
    /// If a key is no key, or they aren't of one dealing with this threshold.
    pub fn new(
        group_key: &GroupPublicKey,
        share_keys: &[SharePublicKey],
        threshold: usize,
    ) -> Result<Self, ThresholdError> {
        check_size(share_keys.len(), threshold)?;
        let group_key = decode_key(&group_key.0).ok_or(ThresholdError::GroupKey)?;
        let share_keys = (0..)
            .map(ValidatorIndex)
            .zip(share_keys)
            .map(|(i, key)| decode_key(&key.0).ok_or(ThresholdError::ShareKey(i)))
            .collect::<Result<Vec<_>, _>>()?;
        let mut one = [0; 32];
        one[31] = 1;
        let one = SecretKey::from_bytes(&one).map_err(|_| ThresholdError::SecretShare)?;
        let key = BlsThreshold {
            threshold,
            generator: one.sk_to_pk(),
            group_key,
            share_keys,
        };
        if key.is_one_sharing() {
            Ok(key)
        } else {
            Err(ThresholdError::NotOneSharing(threshold))
        }
    }

    /// The threshold key of a committee; none if it has none (unequal stakes, §12).
    ///
    /// # Errors
    /// If a key is no key, or they aren't of one dealing with the committee's threshold.
    pub fn for_committee(committee: &Committee) -> Result<Option<Self>, ThresholdError> {
        let Some(group_key) = committee.group_key() else {
            return Ok(None);
        };
        let share_keys = (committee.indices())
            .map(|i| {
                let member = committee.member(i);
                let key = member.and_then(|member| member.share_key);
                key.ok_or(ThresholdError::ShareKey(i))
            })
            .collect::<Result<Vec<_>, _>>()?;
        Self::new(group_key, &share_keys, committee.share_threshold()).map(Some)
    }

    /// Whether the keys are values of one polynomial of a degree below the threshold: the group's at 0, member i's
    /// at i + 1.
    ///
    /// Such values are a Reed–Solomon code word, so they are orthogonal to its dual: Σ f(x_i) · v_i · key_i is
    /// infinity for every polynomial f of a degree up to n − Q, v_i being 1 / Π_{j≠i} (x_i − x_j). Other keys pass with
    /// one f in 2¹²⁸, and f is drawn from a hash of the keys. (Cascudo, David, *SCRAPE*, 2017.)
    fn is_one_sharing(&self) -> bool {
        let members = self.share_keys.len();
        let keys: Vec<&PublicKey> = std::iter::once(&self.group_key)
            .chain(&self.share_keys)
            .collect();
        let mut hasher = Domain::BatchCoefficients.hasher();
        hasher.update(&(self.threshold as u64).to_le_bytes());
        for key in &keys {
            hasher.update(&key.to_bytes());
        }
        let mut stream = hasher.finalize_xof();
        let f: Vec<Fr> = (self.threshold..=members)
            .map(|_| Fr::from_u128(next_u128(&mut stream)))
            .collect();
        let points: Vec<Fr> = (0..=members as u64).map(Fr::from_u64).collect();
        // The differences come with the sign turned, the same for all points: it doesn't matter for the sum.
        let scalars: Vec<u8> = inverse_differences(&points)
            .into_iter()
            .zip(&points)
            .flat_map(|(v, &x)| (v * evaluate(&f, x)).to_le_bytes())
            .collect();
        sum_keys(&keys, &scalars, SCALAR_BITS) == blst_p2::default()
    }

    /// The shares that were sent, as points. Distinct pairs only; what is no share goes to `bad`.
    fn decode(
        &self,
        (holder, share): &(ValidatorIndex, ThresholdShare),
        candidates: &mut Vec<Candidate>,
        bad: &mut BTreeSet<ValidatorIndex>,
    ) {
        let known = candidates
            .iter()
            .any(|c| c.holder == *holder && c.share == *share);
        if known {
            return;
        }
        let key = self.share_keys.get(holder.as_usize());
        match key.and_then(|_| decode_point(&share.0)) {
            Some(point) => candidates.push(Candidate {
                holder: *holder,
                share: *share,
                point,
            }),
            None => {
                bad.insert(*holder);
            }
        }
    }

    /// Combines the first Q holders' candidates and checks the result. None if there are fewer, or it is bad.
    fn interpolate(
        &self,
        message: &ThresholdMessage,
        candidates: &[Candidate],
    ) -> Option<ThresholdSignature> {
        let signature = self.interpolate_unchecked(candidates)?;
        let good =
            signature.validate(true).is_ok() && pairing_holds(&self.group_key, message, &signature);
        good.then(|| ThresholdSignature(signature.to_bytes()))
    }

    /// What the first Q holders' candidates combine to. None if there are fewer.
    fn interpolate_unchecked(&self, candidates: &[Candidate]) -> Option<Signature> {
        let chosen = self.first_of_each(candidates)?;
        let points: Vec<u64> = chosen.iter().map(|c| u64::from(c.holder.0) + 1).collect();
        let scalars: Vec<u8> = lagrange_at_zero(&points)
            .into_iter()
            .flat_map(Fr::to_le_bytes)
            .collect();
        Some(sum_shares(&chosen, &scalars, SCALAR_BITS))
    }

    /// Decodes shares until Q holders have one. Says how many were looked at; none if there are too few holders.
    fn gather(
        &self,
        shares: &[(ValidatorIndex, ThresholdShare)],
        bad: &mut BTreeSet<ValidatorIndex>,
    ) -> Option<(Vec<Candidate>, usize)> {
        let mut candidates = Vec::with_capacity(self.threshold);
        let mut holders = BTreeSet::new();
        for (looked_at, pair) in (1..).zip(shares) {
            self.decode(pair, &mut candidates, bad);
            holders.extend(candidates.last().map(|candidate| candidate.holder));
            if holders.len() == self.threshold {
                return Some((candidates, looked_at));
            }
        }
        None
    }

    /// The signatures of all messages, if each one's first shares are good: Σ r_i · signature_i is checked against
    /// Σ r_i · H(m_i) with one pairing. r_0 may be 1; the others are drawn from a hash of everything.
    fn combine_together(&self, batch: &[Batched<'_>]) -> Option<Vec<ThresholdSignature>> {
        let signatures = (batch.iter())
            .map(|(_, shares)| {
                // Whoever's share is no point is named when the messages are looked at one by one.
                let mut bad = BTreeSet::new();
                let (candidates, _) = self.gather(shares, &mut bad)?;
                let signature = self.interpolate_unchecked(&candidates)?;
                (bad.is_empty() && signature.validate(true).is_ok()).then_some(signature)
            })
            .collect::<Option<Vec<_>>>()?;
        let encoded: Vec<_> = (signatures.iter())
            .map(|signature| ThresholdSignature(signature.to_bytes()))
            .collect();
        let mut hasher = Domain::BatchCoefficients.hasher();
        hasher.update(&self.group_key.to_bytes());
        for ((message, _), signature) in batch.iter().zip(&encoded) {
            hasher.update(&message.digest().0);
            hasher.update(&signature.0);
        }
        let mut stream = hasher.finalize_xof();
        let coefficients: Vec<u128> = std::iter::once(1)
            .chain(std::iter::repeat_with(|| next_u128(&mut stream)))
            .take(batch.len())
            .collect();
        let scalars: Vec<u8> = coefficients.iter().flat_map(|r| r.to_le_bytes()).collect();
        let points: Vec<blst_p1_affine> = signatures.iter().map(|&point| point.into()).collect();
        let sum = AggregateSignature::from(points[..].mult(&scalars, COEFFICIENT_BITS));
        let hashed = (batch.iter().zip(coefficients))
            .map(|((message, _), coefficient)| scaled_hash(message, coefficient))
            .collect::<Option<Vec<_>>>()?;
        let hashed =
            AggregateSignature::aggregate(&hashed.iter().collect::<Vec<_>>(), false).ok()?;
        let left = miller_loop(&self.generator, &sum.to_signature());
        let right = miller_loop(&self.group_key, &hashed.to_signature());
        blst_fp12::finalverify(&left, &right).then_some(encoded)
    }

    /// The first candidate of each of the first Q holders; none if there are fewer holders.
    fn first_of_each<'a>(&self, candidates: &'a [Candidate]) -> Option<Vec<&'a Candidate>> {
        let mut holders = BTreeSet::new();
        let chosen: Vec<_> = candidates
            .iter()
            .filter(|candidate| holders.insert(candidate.holder))
            .take(self.threshold)
            .collect();
        (chosen.len() == self.threshold).then_some(chosen)
    }

    /// Parts the good from the bad.
    fn sift(
        &self,
        message: &ThresholdMessage,
        candidates: Vec<Candidate>,
        bad: &mut BTreeSet<ValidatorIndex>,
    ) -> Vec<Candidate> {
        let (members, strangers): (Vec<_>, Vec<_>) = candidates
            .into_iter()
            .partition(|candidate| candidate.point.validate(true).is_ok());
        bad.extend(strangers.iter().map(|stranger| stranger.holder));
        let mut verdicts = Vec::with_capacity(members.len());
        // The combination failed; if nobody's point is at fault for that, somebody's share is.
        let known_bad = strangers.is_empty();
        self.judge(message, &members, known_bad, &mut verdicts);
        assert_eq!(verdicts.len(), members.len(), "one verdict for each");
        let mut good = Vec::with_capacity(members.len());
        for (candidate, verdict) in members.into_iter().zip(verdicts) {
            if verdict {
                good.push(candidate);
            } else {
                bad.insert(candidate.holder);
            }
        }
        good
    }

    /// Appends the verdicts on shares that are in the group: together if all are good, else by halves. Says whether all
    /// are. `known_bad`: one of them must be, so checking them together would only cost time.
    fn judge(
        &self,
        message: &ThresholdMessage,
        shares: &[Candidate],
        known_bad: bool,
        verdicts: &mut Vec<bool>,
    ) -> bool {
        if let [share] = shares {
            let good = self.is_good(message, share);
            verdicts.push(good);
            return good;
        }
        if shares.is_empty() || (!known_bad && self.all_good(message, shares)) {
            verdicts.extend(shares.iter().map(|_| true));
            return true;
        }
        let (front, back) = shares.split_at(shares.len() / 2);
        let front_good = self.judge(message, front, false, verdicts);
        let back_good = self.judge(message, back, front_good, verdicts);
        front_good && back_good
    }

    /// Whether a share that is in the group is its holder's.
    fn is_good(&self, message: &ThresholdMessage, candidate: &Candidate) -> bool {
        let key = self.share_keys.get(candidate.holder.as_usize());
        key.is_some_and(|key| pairing_holds(key, message, &candidate.point))
    }

    /// Whether shares that are in the group are all their holders': Σ r_i · share_i under Σ r_i · key_i.
    fn all_good(&self, message: &ThresholdMessage, candidates: &[Candidate]) -> bool {
        let mut hasher = Domain::BatchCoefficients.hasher();
        hasher.update(&message.digest().0);
        hasher.update(&self.group_key.to_bytes());
        for candidate in candidates {
            hasher.update(&candidate.holder.0.to_le_bytes());
            hasher.update(&candidate.share.0);
        }
        let mut scalars = vec![0; candidates.len() * COEFFICIENT_BITS / 8];
        hasher.finalize_xof().fill(&mut scalars);
        let keys: Vec<&PublicKey> = candidates
            .iter()
            .map(|candidate| &self.share_keys[candidate.holder.as_usize()])
            .collect();
        let shares: Vec<&Candidate> = candidates.iter().collect();
        let key = AggregatePublicKey::from(sum_keys(&keys, &scalars, COEFFICIENT_BITS));
        let signature = sum_shares(&shares, &scalars, COEFFICIENT_BITS);
        pairing_holds(&key.to_public_key(), message, &signature)
    }
}

impl Threshold for BlsThreshold {
    fn threshold(&self) -> usize {
        self.threshold
    }

    fn combine(
        &self,
        message: &ThresholdMessage,
        shares: &[(ValidatorIndex, ThresholdShare)],
    ) -> Combined {
        let mut bad = BTreeSet::new();
        // §12: the first Q shares, one pairing check.
        let Some((mut candidates, looked_at)) = self.gather(shares, &mut bad) else {
            return Combined {
                signature: None,
                bad: bad.into_iter().collect(),
            };
        };
        let mut signature = self.interpolate(message, &candidates);
        if signature.is_none() {
            // §12: only if it fails, all shares one by one, and again with the good ones.
            let rest = shares.iter().skip(looked_at);
            rest.for_each(|pair| self.decode(pair, &mut candidates, &mut bad));
            let good = self.sift(message, candidates, &mut bad);
            signature = self.interpolate(message, &good);
        }
        Combined {
            signature,
            bad: bad.into_iter().collect(),
        }
    }

    fn combine_all(&self, batch: &[Batched<'_>]) -> Vec<Combined> {
        let together = match batch.len() {
            0 | 1 => None,
            _ => self.combine_together(batch),
        };
        let Some(signatures) = together else {
            let each = batch.iter();
            return each
                .map(|(message, shares)| self.combine(message, shares))
                .collect();
        };
        let combined = signatures.into_iter().map(|signature| Combined {
            signature: Some(signature),
            bad: Vec::new(),
        });
        combined.collect()
    }

    fn verify(&self, message: &ThresholdMessage, signature: &ThresholdSignature) -> bool {
        decode_point(&signature.0).is_some_and(|point| {
            point.validate(true).is_ok() && pairing_holds(&self.group_key, message, &point)
        })
    }

    fn verify_share(
        &self,
        message: &ThresholdMessage,
        holder: ValidatorIndex,
        share: &ThresholdShare,
    ) -> bool {
        let key = self.share_keys.get(holder.as_usize());
        key.zip(decode_point(&share.0)).is_some_and(|(key, point)| {
            point.validate(true).is_ok() && pairing_holds(key, message, &point)
        })
    }
}

/// A share that decodes to a point of the curve; whether it is in the group, or good, isn't known.
struct Candidate {
    holder: ValidatorIndex,
    share: ThresholdShare,
    point: Signature,
}

/// `coefficient · H(message)`: what a secret key of that value would sign. None for 0.
fn scaled_hash(message: &ThresholdMessage, coefficient: u128) -> Option<Signature> {
    let mut scalar = [0; 32];
    scalar[16..].copy_from_slice(&coefficient.to_be_bytes());
    let key = SecretKey::from_bytes(&scalar).ok()?;
    Some(key.sign(&message.digest().0, DST, &[]))
}

/// One half of a pairing.
fn miller_loop(key: &PublicKey, signature: &Signature) -> blst_fp12 {
    blst_fp12::miller_loop(&(*key).into(), &(*signature).into())
}

/// A key of canonical encoding, in the group, not infinity.
fn decode_key(bytes: &[u8; 96]) -> Option<PublicKey> {
    let key = PublicKey::uncompress(bytes).ok()?;
    key.validate().ok()?;
    Some(key)
}

/// A point of the curve of canonical encoding, not infinity. Not known to be in the group.
fn decode_point(bytes: &[u8; 48]) -> Option<Signature> {
    if bytes[0] & INFINITY_FLAG != 0 {
        return None;
    }
    Signature::uncompress(bytes).ok()
}

/// Whether `e(signature, G₂) = e(H(message), key)`, for points that were checked.
fn pairing_holds(key: &PublicKey, message: &ThresholdMessage, signature: &Signature) -> bool {
    signature.verify(false, &message.digest().0, DST, &[], key, false) == BLST_ERROR::BLST_SUCCESS
}

/// Σ scalar_i · share_i.
fn sum_shares(shares: &[&Candidate], scalars: &[u8], bits: usize) -> Signature {
    assert!(!shares.is_empty() && scalars.len() == shares.len() * bits.div_ceil(8));
    let points: Vec<blst_p1_affine> = shares.iter().map(|share| share.point.into()).collect();
    AggregateSignature::from(points[..].mult(scalars, bits)).to_signature()
}

/// Σ scalar_i · key_i.
fn sum_keys(keys: &[&PublicKey], scalars: &[u8], bits: usize) -> blst_p2 {
    assert!(!keys.is_empty() && scalars.len() == keys.len() * bits.div_ceil(8));
    let points: Vec<blst_p2_affine> = keys.iter().map(|&&key| key.into()).collect();
    points[..].mult(scalars, bits)
}

fn next_u128(stream: &mut blake3::OutputReader) -> u128 {
    let mut bytes = [0; 16];
    stream.fill(&mut bytes);
    u128::from_le_bytes(bytes)
}
