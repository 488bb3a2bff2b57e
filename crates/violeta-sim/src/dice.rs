//! The one source of chance: every choice of a simulated world comes from its seed through here.
//!
//! Each part of the world has dice of its own ([`Dice::fork`]), so that a change in one part (one more message, one
//! more draw) leaves the others' choices as they were, and a failing seed stays recognisable while it is looked into.

use std::ops::RangeInclusive;

use rand_chacha::ChaCha8Rng;
use rand_core::{RngCore, SeedableRng};
use violeta_types::ValidatorIndex;

/// Reproducible chance.
#[derive(Clone, Debug)]
pub struct Dice {
    rng: ChaCha8Rng,
}

impl Dice {
    /// The dice of a seed.
    pub fn new(seed: u64) -> Self {
        Dice {
            rng: ChaCha8Rng::seed_from_u64(seed),
        }
    }

    /// Dice for a part of the world, by name: what they show depends on the seed and the name alone, not on what was
    /// drawn before.
    #[must_use]
    pub fn fork(seed: u64, part: &str) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key("violeta simulation dice");
        hasher.update(&seed.to_le_bytes());
        hasher.update(part.as_bytes());
        Dice {
            rng: ChaCha8Rng::from_seed(*hasher.finalize().as_bytes()),
        }
    }

    /// Any number.
    pub fn number(&mut self) -> u64 {
        self.rng.next_u64()
    }

    /// Thirty-two bytes.
    pub fn bytes(&mut self) -> [u8; 32] {
        let mut bytes = [0; 32];
        self.rng.fill_bytes(&mut bytes);
        bytes
    }

    /// A number below `bound`.
    pub fn below(&mut self, bound: u64) -> u64 {
        assert!(bound > 0, "there is no number below 0");
        // The bias of the remainder is below bound / 2⁶⁴: nothing here could ever show it.
        self.number() % bound
    }

    /// A number of a range.
    pub fn within(&mut self, range: RangeInclusive<u64>) -> u64 {
        let (low, high) = range.into_inner();
        assert!(low <= high, "an empty range");
        low + self.below((high - low).saturating_add(1))
    }

    /// True `permille` times in a thousand.
    pub fn chance(&mut self, permille: u64) -> bool {
        permille > 0 && self.below(1_000) < permille
    }

    /// Heads or tails.
    pub fn coin(&mut self) -> bool {
        self.number() & 1 == 1
    }

    /// One of them.
    pub fn pick<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        assert!(!of.is_empty(), "nothing to pick from");
        &of[self.below(of.len() as u64) as usize]
    }

    /// `count` different ones of `of`, in random order; all of them if there are fewer.
    pub fn sample<T: Copy>(&mut self, of: &[T], count: usize) -> Vec<T> {
        let mut rest = of.to_vec();
        let mut drawn = Vec::new();
        while drawn.len() < count && !rest.is_empty() {
            let at = self.below(rest.len() as u64) as usize;
            drawn.push(rest.swap_remove(at));
        }
        drawn
    }

    /// One of `n` validators.
    pub fn validator(&mut self, n: usize) -> ValidatorIndex {
        ValidatorIndex(self.below(n as u64) as u16)
    }

    /// A set of validators out of `n`, neither empty nor all (for n ≥ 2), as a bit mask.
    pub fn side(&mut self, n: usize) -> u128 {
        assert!((2..=64).contains(&n));
        let full = (1u128 << n) - 1;
        loop {
            let mask = u128::from(self.number()) & full;
            if mask != 0 && mask != full {
                return mask;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_and_part_show_the_same_numbers_and_others_dont() {
        let draw = |seed, part: &str| Dice::fork(seed, part).bytes();
        assert_eq!(draw(1, "network"), draw(1, "network"));
        assert_ne!(draw(1, "network"), draw(2, "network"));
        assert_ne!(draw(1, "network"), draw(1, "faults"));
        assert_eq!(Dice::new(7).number(), Dice::new(7).number());
    }

    #[test]
    fn ranges_and_chances_keep_their_bounds() {
        let mut dice = Dice::new(3);
        for _ in 0..1_000 {
            assert!((5..=9).contains(&dice.within(5..=9)));
            assert!(!dice.chance(0));
            assert!(dice.chance(1_000));
            let side = dice.side(4);
            assert!(side > 0 && side < 15);
        }
        assert_eq!(dice.within(4..=4), 4);
        let sampled = dice.sample(&[1, 2, 3], 5);
        assert_eq!(sampled.len(), 3, "no more than there are: {sampled:?}");
        let heads = (0..10_000).filter(|_| dice.chance(300)).count();
        assert!((2_700..3_300).contains(&heads), "{heads} of 10,000 at 30 %");
    }
}
