//! Ed25519 under the rules of ZIP-215, over bytes. `signing` gives it types.
//!
//! **Rules.** RFC 8032 leaves open which keys and signatures at the edges are good, and implementations differ.
//! A replicated log can't have that: *valid* must mean the same to all honest validators (consensus.md §2, V2), one
//! by one or in batches. ZIP-215 (<https://zips.z.cash/zip-0215>) closes the gaps:
//!
//! ```text
//!  signature = R (32) ‖ s (32)          k = SHA-512(R ‖ A ‖ message)
//!
//!  A, R   any encoding of a point on the curve: small order and y ≥ p are fine
//!  s      below the group's order: no second signature by adding the order
//!  good   iff  [8][s]B = [8]R + [8][k]A          (with the cofactor, always)
//! ```
//!
//! **Batches.** Σ zᵢ of the equations of a batch is one multi-scalar multiplication: half the work or less. If it
//! fails, the batch is taken in pieces, and the pieces that fail one by one:
//!
//! ```text
//!  ≤ 256 ──✓── all good
//!    └──✗──▶ pieces of ≤ 16 ──✓── all good
//!                     └──✗──▶ one by one
//! ```
//!
//! Halving all the way would find a lone liar no sooner (a batch is only two to three times as fast as singles), and
//! let many of them cost four times what singles do. Like this the worst is twice.
//!
//! **Why the coefficients zᵢ need no randomness.** They are 128 bits each of a BLAKE3 output seeded by all that is in
//! the batch: keys, messages, signatures. Whoever makes the batch fixes every error term before the coefficients
//! exist, and each change gives fresh ones; so a batch that passes with a bad signature in it costs about 2¹²⁸ tries
//! (Fiat–Shamir). With secret coefficients a liar would have the same chance in each try, only fewer tries.
//!
//! **Cost** (µs a signature, one core of an AMD EPYC, distinct keys): single 43, in batches of 16 / 256: 21 / 19.
//! `ed25519-consensus` 2.1, measured beside it: 57, 29 / 24; so `ed25519-zebra` 5 (curve25519-dalek 5) it is.
//! A batch of 256 with one bad signature costs 45 µs each, with all bad 84; to sign costs 18.
//! `examples/signature_costs.rs` measures this.

use std::convert::Infallible;

use ed25519_zebra::{Signature, VerificationKey, VerificationKeyBytes, batch};
use rand_core_0_10::{TryCryptoRng, TryRng};
use violeta_types::Domain;
use zeroize::Zeroize;

/// Signatures checked by one equation. More gain little, and cost more when one of them is bad.
const BATCH_MAX: usize = 256;
/// Signatures that a failed batch is checked in pieces of, before they are checked one by one.
const PIECE_MAX: usize = 16;

const _: () = assert!(1 < PIECE_MAX && PIECE_MAX < BATCH_MAX);

/// A secret key. Wiped when dropped.
pub(crate) struct SecretKey {
    // Boxed: a key that is moved about leaves copies behind that nobody wipes.
    expanded: Box<ed25519_zebra::SigningKey>,
}

impl SecretKey {
    pub(crate) fn from_seed(mut seed: [u8; 32]) -> Self {
        let expanded = Box::new(ed25519_zebra::SigningKey::from(seed));
        seed.zeroize();
        SecretKey { expanded }
    }

    pub(crate) fn seed(&self) -> &[u8; 32] {
        self.expanded.as_bytes()
    }

    pub(crate) fn public_key(&self) -> [u8; 32] {
        VerificationKeyBytes::from(&*self.expanded).into()
    }

    pub(crate) fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.expanded.sign(message).to_bytes()
    }
}

impl Drop for SecretKey {
    fn drop(&mut self) {
        self.expanded.zeroize();
    }
}

/// One signature to check. Nothing about it is known yet.
pub(crate) struct Check<M> {
    pub(crate) key: [u8; 32],
    pub(crate) message: M,
    pub(crate) signature: [u8; 64],
}

impl<M: AsRef<[u8]>> Check<M> {
    /// Whether the signature is good, by the equation of one.
    pub(crate) fn is_good(&self) -> bool {
        VerificationKey::try_from(self.key)
            .and_then(|key| key.verify(&Signature::from(self.signature), self.message.as_ref()))
            .is_ok()
    }
}

/// Whether each signature is good: the verdicts of [`Check::is_good`], sooner.
pub(crate) fn verify_each<M: AsRef<[u8]>>(checks: &[Check<M>]) -> Vec<bool> {
    let mut verdicts = Vec::with_capacity(checks.len());
    for batch in checks.chunks(BATCH_MAX) {
        if all_good(batch) {
            verdicts.extend(batch.iter().map(|_| true));
        } else if batch.len() <= PIECE_MAX {
            verdicts.extend(batch.iter().map(Check::is_good));
        } else {
            judge_in_pieces(batch, &mut verdicts);
        }
    }
    assert_eq!(verdicts.len(), checks.len(), "one verdict for each");
    verdicts
}

/// Appends the verdicts of a batch that failed.
fn judge_in_pieces<M: AsRef<[u8]>>(batch: &[Check<M>], verdicts: &mut Vec<bool>) {
    for piece in batch.chunks(PIECE_MAX) {
        if all_good(piece) {
            verdicts.extend(piece.iter().map(|_| true));
        } else {
            verdicts.extend(piece.iter().map(Check::is_good));
        }
    }
}

/// Whether all signatures are good, by one equation.
fn all_good<M: AsRef<[u8]>>(checks: &[Check<M>]) -> bool {
    if let [check] = checks {
        return check.is_good();
    }
    let mut batch = batch::Verifier::new();
    for check in checks {
        let signature = Signature::from(check.signature);
        batch.queue((check.key.into(), signature, check.message.as_ref()));
    }
    batch.verify(Coefficients::of(checks)).is_ok()
}

/// The coefficients of a batch: a BLAKE3 output stream seeded by all that is in it.
struct Coefficients(blake3::OutputReader);

impl Coefficients {
    fn of<M: AsRef<[u8]>>(checks: &[Check<M>]) -> Self {
        let mut hasher = Domain::BatchCoefficients.hasher();
        for check in checks {
            let message = check.message.as_ref();
            hasher.update(&check.key);
            hasher.update(&check.signature);
            hasher.update(&(message.len() as u64).to_le_bytes());
            hasher.update(message);
        }
        Coefficients(hasher.finalize_xof())
    }

    fn array<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        self.0.fill(&mut bytes);
        bytes
    }
}

impl TryRng for Coefficients {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        Ok(u32::from_le_bytes(self.array()))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        Ok(u64::from_le_bytes(self.array()))
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        self.0.fill(bytes);
        Ok(())
    }
}

// Not secret, and needn't be: see the head of this module.
impl TryCryptoRng for Coefficients {}

#[cfg(test)]
mod vectors;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What the tests check against: every signature by itself.
    fn one_by_one(checks: &[Check<Vec<u8>>]) -> Vec<bool> {
        checks.iter().map(Check::is_good).collect()
    }

    fn signed(signer: u8, number: u32) -> Check<Vec<u8>> {
        let key = SecretKey::from_seed([signer; 32]);
        let message = number.to_le_bytes().to_vec();
        Check {
            key: key.public_key(),
            signature: key.sign(&message),
            message,
        }
    }

    #[test]
    fn a_single_liar_is_found_wherever_he_stands() {
        for len in [1, 2, 16, 17, 64, 257] {
            for liar in [0, len / 2, len - 1] {
                let mut checks: Vec<_> = (0..len).map(|i| signed(i as u8, i as u32)).collect();
                checks[liar].message.push(0);
                let expected: Vec<_> = (0..len).map(|i| i != liar).collect();
                assert_eq!(verify_each(&checks), expected, "{liar} of {len}");
            }
        }
    }

    #[test]
    fn nothing_to_check_is_no_verdicts() {
        assert!(verify_each::<Vec<u8>>(&[]).is_empty());
    }

    #[test]
    fn two_errors_that_cancel_in_a_plain_sum_are_both_found() {
        // Moving d from one s to another leaves Σ s as it was: only the coefficients tell.
        let mut checks: Vec<_> = (0..16).map(|i| signed(1, i)).collect();
        let from = checks.iter().position(|c| c.signature[32] > 0).unwrap();
        let to = checks.iter().rposition(|c| c.signature[32] < 255).unwrap();
        assert_ne!(from, to);
        checks[from].signature[32] -= 1;
        checks[to].signature[32] += 1;
        let expected: Vec<_> = (0..16).map(|i| i != from && i != to).collect();
        assert_eq!(verify_each(&checks), expected);
    }

    #[test]
    fn coefficients_depend_on_every_byte_of_the_batch() {
        let batch = || vec![signed(1, 1), signed(2, 2)];
        let first = Coefficients::of(&batch()).array::<32>();
        assert_eq!(first, Coefficients::of(&batch()).array::<32>());
        let mut others = Vec::new();
        let mut change = |alter: fn(&mut Vec<Check<Vec<u8>>>)| {
            let mut checks = batch();
            alter(&mut checks);
            others.push(Coefficients::of(&checks).array::<32>());
        };
        change(|c| c[1].key[31] ^= 1);
        change(|c| c[1].signature[63] ^= 1);
        change(|c| c[1].message[3] ^= 1);
        change(|c| c.swap(0, 1));
        change(|c| c.truncate(1));
        assert!(!others.contains(&first));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        #[test]
        fn batches_judge_like_singles(
            signers in proptest::collection::vec((0u8..6, 0u8..12), 0..40),
        ) {
            let mut checks = Vec::new();
            for ((signer, damage), number) in signers.into_iter().zip(0..) {
                let mut check = signed(signer, number);
                match damage {
                    0 => check.key[0] ^= 1,
                    1 => check.signature[0] ^= 1,
                    2 => check.signature[32] ^= 1,
                    3 => check.signature[63] = 0xff,
                    4 => check.message.clear(),
                    _ => {}
                }
                checks.push(check);
            }
            prop_assert_eq!(verify_each(&checks), one_by_one(&checks));
        }

        #[test]
        fn garbage_is_refused_without_a_panic(
            key in any::<[u8; 32]>(), r in any::<[u8; 32]>(), s in any::<[u8; 32]>(),
        ) {
            let mut signature = [0; 64];
            signature[..32].copy_from_slice(&r);
            signature[32..].copy_from_slice(&s);
            let check = Check { key, message: b"m".to_vec(), signature };
            prop_assert!(!check.is_good());
            let mut checks: Vec<_> = (0..9).map(|i| signed(i, 0)).collect();
            checks.push(check);
            let verdicts = verify_each(&checks);
            prop_assert_eq!(verdicts.last(), Some(&false));
        }
    }
}
