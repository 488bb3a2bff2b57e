//! Exactly once: which nonces of an account are spent (replica.md §1).
//!
//! ```text
//!                   highest − 1,023          highest          highest + 1,024
//!   ── always spent ──┤■□■■□ … bitmap … ■□■■■├── still free ──────┤── too far ahead ──
//!                      bit 1,023        bit 0 (set)
//! ```
//!
//! Nonce n may be spent iff highest − 1,024 < n ≤ highest + 1,024 and its bit is clear. What fell below the window
//! counts as spent for ever. A new account has highest 0 and nonce 0 spent: nonces count from 1.

use borsh::{BorshDeserialize, BorshSerialize};
use violeta_types::Nonce;
use violeta_types::limits::NONCE_WINDOW;
use violeta_types::seeded::{self, Bug};

const WORD_BITS: u64 = 64;
const WORDS: usize = (NONCE_WINDOW / WORD_BITS) as usize;
const _: () = assert!(NONCE_WINDOW.is_multiple_of(WORD_BITS));

/// Why a nonce can't be spent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NonceError {
    /// It has been spent.
    #[error("nonce {0} was used already")]
    Used(Nonce),
    /// It fell out of the window: whether it was spent is forgotten, so it counts as spent.
    #[error("nonce {0} is too far below the highest one used, {1}")]
    Below(Nonce, Nonce),
    /// It is above the window.
    #[error("nonce {0} is too far above the highest one used, {1}")]
    Above(Nonce, Nonce),
}

/// The spent nonces of an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct NonceWindow {
    highest: Nonce,
    /// Bit i (least significant first): whether nonce highest − i is spent.
    spent: [u64; WORDS],
}

impl Default for NonceWindow {
    fn default() -> Self {
        let mut spent = [0; WORDS];
        spent[0] = 1;
        NonceWindow {
            highest: Nonce(0),
            spent,
        }
    }
}

impl NonceWindow {
    /// The highest nonce spent; 0 for none.
    pub fn highest(&self) -> Nonce {
        self.highest
    }

    /// Whether `nonce` can be spent.
    ///
    /// # Errors
    /// Why not.
    pub fn judge(&self, nonce: Nonce) -> Result<(), NonceError> {
        if nonce > self.highest {
            return match nonce.0 - self.highest.0 <= NONCE_WINDOW {
                true => Ok(()),
                false => Err(NonceError::Above(nonce, self.highest)),
            };
        }
        let below = self.highest.0 - nonce.0;
        if below >= NONCE_WINDOW {
            return Err(NonceError::Below(nonce, self.highest));
        }
        if below >= 100 && seeded::is(Bug::NonceWindowTooShort) {
            return Ok(());
        }
        match self.bit(below) {
            true => Err(NonceError::Used(nonce)),
            false => Ok(()),
        }
    }

    /// Spends `nonce`, if it can be.
    ///
    /// # Errors
    /// Why it can't; nothing changed then.
    pub fn spend(&mut self, nonce: Nonce) -> Result<(), NonceError> {
        self.judge(nonce)?;
        if nonce > self.highest {
            self.shift(nonce.0 - self.highest.0);
            self.highest = nonce;
        }
        let below = self.highest.0 - nonce.0;
        self.spent[(below / WORD_BITS) as usize] |= 1 << (below % WORD_BITS);
        assert!(self.bit(0), "the highest nonce is spent");
        Ok(())
    }

    /// The lowest nonce that is free and has no spent one above it: what a client that signs one after the other uses
    /// next.
    pub fn next(&self) -> Nonce {
        self.highest.next()
    }

    fn bit(&self, below: u64) -> bool {
        self.spent[(below / WORD_BITS) as usize] >> (below % WORD_BITS) & 1 == 1
    }

    /// Moves every bit up by `n`, away from the highest nonce; what leaves the window is forgotten.
    fn shift(&mut self, n: u64) {
        let (words, bits) = ((n / WORD_BITS) as usize, n % WORD_BITS);
        for i in (0..WORDS).rev() {
            let word = |back: usize| i.checked_sub(back).map_or(0, |j| self.spent[j]);
            let carried = match bits {
                0 => 0,
                _ => word(words + 1) >> (WORD_BITS - bits),
            };
            self.spent[i] = word(words) << bits | carried;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn spent(nonces: &[u64]) -> NonceWindow {
        let mut window = NonceWindow::default();
        for &n in nonces {
            window.spend(Nonce(n)).unwrap();
        }
        window
    }

    #[test]
    fn the_edges_of_the_window() {
        let high = Nonce(5_000);
        let window = spent(&[1_000, 2_000, 3_000, 4_000, 5_000]);
        assert_eq!(window.judge(Nonce(5_000)), Err(NonceError::Used(high)));
        assert_eq!(window.judge(Nonce(5_000 - 1_023)), Ok(()));
        assert_eq!(
            window.judge(Nonce(5_000 - 1_024)),
            Err(NonceError::Below(Nonce(3_976), high))
        );
        assert_eq!(window.judge(Nonce(5_000 + 1_024)), Ok(()));
        assert_eq!(
            window.judge(Nonce(5_000 + 1_025)),
            Err(NonceError::Above(Nonce(6_025), high))
        );
        assert_eq!(
            window.judge(Nonce(4_000)),
            Err(NonceError::Used(Nonce(4_000)))
        );
    }

    #[test]
    fn nonces_count_from_one() {
        let mut window = NonceWindow::default();
        assert_eq!(window.next(), Nonce(1));
        assert_eq!(window.judge(Nonce(0)), Err(NonceError::Used(Nonce(0))));
        window.spend(Nonce(700)).unwrap();
        assert_eq!(window.judge(Nonce(0)), Err(NonceError::Used(Nonce(0))));
        assert_eq!(window.next(), Nonce(701));
    }

    #[test]
    fn the_last_nonces_of_all_can_be_spent_once() {
        let mut window = NonceWindow {
            highest: Nonce(u64::MAX - 1_000),
            ..NonceWindow::default()
        };
        window.spend(Nonce(u64::MAX)).unwrap();
        assert!(window.judge(Nonce(u64::MAX)).is_err());
        assert!(window.judge(Nonce(u64::MAX - 1_000)).is_err());
        window.spend(Nonce(u64::MAX - 1_001)).unwrap();
        assert_eq!(window.next(), Nonce(u64::MAX), "saturates, never wraps");
    }

    proptest! {
        /// Against the rule itself, with a set that forgets nothing.
        #[test]
        fn each_nonce_is_spent_at_most_once_and_as_the_rule_says(
            steps in proptest::collection::vec((any::<bool>(), 0u64..1_100), 1..300),
        ) {
            let mut window = NonceWindow::default();
            let mut all = BTreeSet::from([0u64]);
            for (up, distance) in steps {
                let highest = *all.last().unwrap();
                let nonce = match up {
                    true => highest + distance,
                    false => highest.saturating_sub(distance),
                };
                let admitted = nonce + 1_024 > highest
                    && nonce <= highest + 1_024
                    && !all.contains(&nonce);
                let before = window;
                prop_assert_eq!(window.spend(Nonce(nonce)).is_ok(), admitted, "{}", nonce);
                if admitted {
                    all.insert(nonce);
                } else {
                    prop_assert_eq!(window, before);
                }
            }
        }
    }
}
