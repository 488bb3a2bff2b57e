//! Who leads a round (consensus.md §4): leader sampling, byte by byte.
//!
//! ```text
//!  H(x, y, …)  BLAKE3 in the domain "violeta v1 leaders" over the concatenation; numbers little-endian
//!
//!  coin         s = H(epoch: u64, r: u64, σ_r: 48 bytes)            64 bytes hashed
//!  seeded       s = H(epoch seed: 32 bytes, r: u64)                 40 bytes hashed
//!  draw j       u = first 8 bytes of H(s, j: u8, attempt: u32), little-endian     37 bytes hashed
//!               attempt = 0, 1, … until u < ⌊2⁶⁴ / T⌋ · T, T the stake not drawn yet
//!               leader j is whoever holds unit u mod T of the stake not drawn yet, laid out by rising index
//!  round-robin  leader j of round r is validator (r + j) mod n
//! ```
//!
//! The three lengths hashed differ, so no use can stand in for another. A validator is drawn with the probability of
//! its share of the stake left, and at most once a round.

use violeta_types::{Digest, Domain, Election, Round, Stake, ThresholdSignature, ValidatorIndex};

use crate::epoch::EpochData;

/// The leaders of `round`, in slot order; none if they hang on a coin that isn't known yet.
pub fn leaders(
    epoch: &EpochData,
    round: Round,
    coin: Option<&ThresholdSignature>,
) -> Option<Vec<ValidatorIndex>> {
    let n = epoch.committee().len() as u64;
    let count = (epoch.parameters().leaders as usize).min(epoch.committee().len());
    match epoch.parameters().election {
        Election::Coin => coin.map(|coin| sample(epoch, &coin_seed(epoch, round, coin), count)),
        Election::Seeded => {
            let seed = Domain::Leaders.hash_parts(&[&epoch.seed().0, &round.0.to_le_bytes()]);
            Some(sample(epoch, &seed, count))
        }
        Election::RoundRobin => Some(
            (0..count as u64)
                .map(|j| ValidatorIndex((round.0.wrapping_add(j) % n) as u16))
                .collect(),
        ),
    }
}

fn coin_seed(epoch: &EpochData, round: Round, coin: &ThresholdSignature) -> Digest {
    let epoch = epoch.epoch().0.to_le_bytes();
    Domain::Leaders.hash_parts(&[&epoch, &round.0.to_le_bytes(), coin.as_ref()])
}

/// The first `count` of a stake-weighted sample without replacement.
fn sample(epoch: &EpochData, seed: &Digest, count: usize) -> Vec<ValidatorIndex> {
    let mut left: Vec<(ValidatorIndex, Stake)> = (epoch.committee().indices())
        .map(|index| (index, epoch.committee().stake(index)))
        .collect();
    let mut total = epoch.committee().total_stake().0;
    let mut drawn = Vec::with_capacity(count);
    for j in 0..count.min(left.len()) {
        let mut unit = draw(seed, j as u8, total);
        let mut at = 0;
        while unit >= left[at].1.0 {
            unit -= left[at].1.0;
            at += 1;
        }
        let (leader, stake) = left.remove(at);
        total -= stake.0;
        drawn.push(leader);
    }
    drawn
}

/// A uniform number below `total`.
fn draw(seed: &Digest, j: u8, total: u64) -> u64 {
    assert!(total > 0, "a committee's stakes are positive");
    let bound = u64::MAX - (u64::MAX % total + 1) % total; // the last of ⌊2⁶⁴ / total⌋ whole ranges
    let mut attempt = 0u32;
    loop {
        let digest = Domain::Leaders.hash_parts(&[&seed.0, &[j], &attempt.to_le_bytes()]);
        let mut first = [0; 8];
        first.copy_from_slice(&digest.0[..8]);
        let number = u64::from_le_bytes(first);
        if number <= bound {
            return number % total;
        }
        attempt = attempt.wrapping_add(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;

    fn elect(epoch: &EpochData, round: u64, coin: u8) -> Vec<u16> {
        let coin = ThresholdSignature([coin; 48]);
        leaders(epoch, Round(round), Some(&coin))
            .unwrap()
            .into_iter()
            .map(|index| index.0)
            .collect()
    }

    /// Computed from the module's head by an independent program. Part of the protocol: never changes.
    #[test]
    fn pinned_leaders() {
        let coin: Vec<_> = (1..=6)
            .map(|r| elect(&fixture::epoch(7, 4), r, 9))
            .collect();
        assert_eq!(coin, [[3, 1], [1, 6], [3, 5], [6, 3], [0, 1], [5, 2]]);
        let weighted = fixture::epoch_with_stakes(&[3, 1, 4, 1, 5], 4, Election::Seeded);
        let seeded: Vec<_> = (1..=6).map(|r| elect(&weighted, r, 0)).collect();
        assert_eq!(seeded, [[2, 4], [4, 0], [2, 4], [2, 4], [4, 0], [4, 2]]);
    }

    #[test]
    fn without_its_coin_a_round_has_no_leaders_yet() {
        let epoch = fixture::epoch(4, 4);
        assert_eq!(leaders(&epoch, Round(1), None), None);
    }

    #[test]
    fn leaders_differ_within_a_round_and_change_with_coin_and_round() {
        let epoch = fixture::epoch(7, 4);
        let mut seen = std::collections::BTreeSet::new();
        for round in 1..40 {
            let leaders = elect(&epoch, round, 9);
            assert_eq!(leaders.len(), 2);
            assert_ne!(leaders[0], leaders[1]);
            seen.insert(leaders);
        }
        assert!(seen.len() > 10);
    }

    #[test]
    fn stake_decides_how_often_one_leads() {
        let epoch = fixture::epoch_with_stakes(&[1, 1, 1, 7], 4, Election::Seeded);
        let firsts = (1..=1_000).filter(|&r| {
            let leaders = leaders(&epoch, Round(r), None).unwrap();
            leaders[0] == ValidatorIndex(3)
        });
        let share = firsts.count();
        assert!((640..760).contains(&share), "{share} of 1000, 700 expected");
    }

    #[test]
    fn round_robin_goes_round() {
        let epoch = fixture::epoch_with_stakes(&[1; 4], 3, Election::RoundRobin);
        let at = |r| leaders(&epoch, Round(r), None).unwrap();
        assert_eq!(at(3), [ValidatorIndex(3), ValidatorIndex(0)]);
        assert_eq!(at(4), [ValidatorIndex(0), ValidatorIndex(1)]);
    }

    #[test]
    fn a_uniform_draw_covers_its_range_and_never_leaves_it() {
        let seed = Domain::Leaders.hash(b"test");
        for total in [1, 2, 3, 7, u64::MAX / 2 + 2] {
            for j in 0..20 {
                assert!(draw(&seed, j, total) < total);
            }
        }
    }
}
