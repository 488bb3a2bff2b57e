//! A client's account as the chain keeps it: what a proof of it says of nonces (replica.md §1).
//!
//! ```text
//!   space _accounts, key: client id (32) ──▶ key (32) ‖ administrator (1) ‖ highest: u64 LE ‖ spent: 16 × u64 LE
//!
//!   nonce n is spent iff n = 0, or n ≤ highest − 1,024, or bit highest − n of spent is set
//! ```
//!
//! So a proved account tells of every nonce whether it was spent, at a height whose time is certified too: that is how
//! a client knows that an expired transaction will never be executed.

use borsh::BorshDeserialize;
use violeta_proof::TrustedHead;
use violeta_types::limits::NONCE_WINDOW;
use violeta_types::{ClientPublicKey, Nonce};

/// The space that holds accounts.
pub(crate) const ACCOUNTS: &[u8] = b"_accounts";

/// The space that says of a key that came by rotation whom it acts for.
pub(crate) const KEYS: &[u8] = b"_keys";

const WORDS: usize = (NONCE_WINDOW / 64) as usize;

/// A proved account.
#[derive(Clone, Debug, PartialEq, Eq, BorshDeserialize)]
pub(crate) struct Account {
    /// The key that acts for the client.
    pub(crate) key: ClientPublicKey,
    /// Whether it may register clients.
    pub(crate) administrator: bool,
    /// The highest nonce spent; 0 for none.
    pub(crate) highest: Nonce,
    spent: [u64; WORDS],
}

/// What a certified state says of a client: its account, if it has one; and the state's head.
pub(crate) type Standing = (Option<Account>, TrustedHead);

impl Account {
    /// Whether this nonce was spent, or is too old to be.
    pub(crate) fn is_spent(&self, nonce: Nonce) -> bool {
        match self.highest.0.checked_sub(nonce.0) {
            None => false,
            Some(below) if below >= NONCE_WINDOW => true,
            Some(below) => self.spent[(below / 64) as usize] >> (below % 64) & 1 == 1,
        }
    }
}

#[cfg(test)]
pub(crate) fn encoded(key: ClientPublicKey, highest: u64, spent: &[u64]) -> Vec<u8> {
    let mut words = [0u64; WORDS];
    for nonce in spent {
        let below = highest - nonce;
        words[(below / 64) as usize] |= 1 << (below % 64);
    }
    violeta_types::encode(&(key, false, highest, words))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nonce_is_spent_if_its_bit_is_set_or_it_is_forgotten() {
        let bytes = encoded(ClientPublicKey([1; 32]), 2_000, &[2_000, 1_990, 977]);
        assert_eq!(bytes.len(), 32 + 1 + 8 + 128);
        let account: Account = violeta_types::decode(&bytes).unwrap();
        let spent = |n| account.is_spent(Nonce(n));
        assert!(spent(2_000) && spent(1_990) && spent(977));
        assert!(!spent(1_999) && !spent(978) && !spent(2_001) && !spent(u64::MAX));
        assert!(spent(976) && spent(0), "below the window");
    }
}
