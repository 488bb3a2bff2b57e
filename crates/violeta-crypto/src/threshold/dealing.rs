//! Sharing a threshold key: by a dealer who knows the whole of it.
//!
//! ```text
//!  p(x) = a_0 + a_1 x + … + a_{Q−1} x^{Q−1}      over Fr, the a_i drawn from a seed
//!
//!  group key    a_0 · G₂          nobody holds a_0 once the dealer has forgotten it
//!  share i      p(i + 1)          the secret of member i
//!  share key i  p(i + 1) · G₂     checks what member i makes of it
//! ```
//!
//! Q values determine `p`, and so `p(0) = a_0`; fewer say nothing about it (Shamir, *How to share a secret*, 1979).
//! Whoever knows the seed knows every share: a dealing is for test networks, and for committees that trust whoever
//! sets them up. The seed is wiped here, and must be by the caller.

use blst::min_sig::SecretKey;
use violeta_types::{GroupPublicKey, SharePublicKey};
use zeroize::{Zeroize, Zeroizing};

use super::bls::ShareSecretKey;
use super::field::{Fr, evaluate};
use super::{ThresholdError, check_size};

/// Binds the coefficients to their purpose: a seed used elsewhere too would give other secrets there.
const COEFFICIENT_INFO: &[u8] = b"violeta v1 dealing coefficient ";

/// A threshold key, shared.
#[derive(Debug)]
pub struct Dealing {
    /// The group's key.
    pub group_key: GroupPublicKey,
    /// The members' public keys, by index.
    pub share_keys: Vec<SharePublicKey>,
    /// The members' secrets, by index. Each is for its member alone.
    pub secret_shares: Vec<ShareSecretKey>,
}

/// Shares a key among `members`, any `threshold` of whom can sign: `Committee::share_threshold()` of them, for a
/// committee. The same seed gives the same dealing.
///
/// # Errors
/// If there can't be such a sharing.
pub fn deal(
    members: usize,
    threshold: usize,
    mut seed: [u8; 32],
) -> Result<Dealing, ThresholdError> {
    check_size(members, threshold)?;
    let coefficients = draw_coefficients(threshold, &seed);
    seed.zeroize();
    let coefficients = coefficients?;
    let group = share_at(&coefficients, 0)?;
    let secret_shares = (1..=members as u64)
        .map(|x| share_at(&coefficients, x))
        .collect::<Result<Vec<_>, _>>()?;
    Ok(Dealing {
        group_key: GroupPublicKey(group.public_key().0),
        share_keys: secret_shares
            .iter()
            .map(ShareSecretKey::public_key)
            .collect(),
        secret_shares,
    })
}

fn draw_coefficients(count: usize, seed: &[u8; 32]) -> Result<Zeroizing<Vec<Fr>>, ThresholdError> {
    let mut coefficients = Zeroizing::new(Vec::with_capacity(count));
    for i in 0..count as u64 {
        let info = [COEFFICIENT_INFO, &i.to_le_bytes()].concat();
        // The key generation of the BLS drafts: HKDF-SHA-256, uniform below the order, never zero.
        let key = SecretKey::key_gen(seed, &info).map_err(|_| ThresholdError::SecretShare)?;
        let bytes = Zeroizing::new(key.to_bytes());
        coefficients.push(Fr::from_be_bytes(&bytes).ok_or(ThresholdError::SecretShare)?);
    }
    Ok(coefficients)
}

/// The value at `x`, as a key. It is zero, and refused, once in 2²⁵⁵ dealings.
fn share_at(coefficients: &[Fr], x: u64) -> Result<ShareSecretKey, ThresholdError> {
    let mut value = evaluate(coefficients, Fr::from_u64(x));
    let mut bytes = Zeroizing::new(value.to_le_bytes());
    value.zeroize();
    bytes.reverse();
    ShareSecretKey::from_bytes(&bytes)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn one_seed_one_dealing() {
        let first = deal(4, 3, [1; 32]).unwrap();
        let again = deal(4, 3, [1; 32]).unwrap();
        assert_eq!(first.group_key, again.group_key);
        assert_eq!(first.share_keys, again.share_keys);
        assert_ne!(first.group_key, deal(4, 3, [2; 32]).unwrap().group_key);
    }

    #[test]
    fn all_keys_of_a_dealing_differ() {
        let dealing = deal(10, 7, [1; 32]).unwrap();
        let mut keys: BTreeSet<_> = dealing.share_keys.iter().map(|key| key.0).collect();
        keys.insert(dealing.group_key.0);
        assert_eq!(keys.len(), 11);
        let keys = dealing.secret_shares.iter().map(ShareSecretKey::public_key);
        assert!(keys.eq(dealing.share_keys.iter().copied()));
    }

    #[test]
    fn with_threshold_one_every_share_is_the_key_itself() {
        let dealing = deal(2, 1, [1; 32]).unwrap();
        assert_eq!(dealing.share_keys[0].0, dealing.group_key.0);
        assert_eq!(dealing.share_keys[1].0, dealing.group_key.0);
    }

    #[test]
    fn impossible_numbers_are_refused() {
        assert!(deal(0, 0, [1; 32]).is_err());
        assert!(deal(4, 5, [1; 32]).is_err());
        assert!(deal(4, 0, [1; 32]).is_err());
        assert!(deal(100_000, 3, [1; 32]).is_err());
    }
}
