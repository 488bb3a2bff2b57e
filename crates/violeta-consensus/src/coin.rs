//! The coin (consensus.md §12): shares are collected here, combined and checked outside.
//!
//! ```text
//!  share in an accepted vertex of round c ─▶ pool of round r ─ threshold ─▶ Effect::CombineCoin
//!                                               ▲                              │
//!                                               └── CoinBad: others are tried ─┤
//!                                 leaders(r) ◀──────────── Coin ◀──────────────┘
//! ```
//!
//! Lazy: shares aren't checked one by one unless combining fails. A bad one doesn't make its vertex invalid.

use std::collections::BTreeMap;

use violeta_types::{Round, ThresholdShare, ThresholdSignature, ValidatorIndex};

/// Shares of one author for one coin that are remembered: twins may carry different ones.
const SHARES_PER_AUTHOR_MAX: usize = 2;

#[derive(Clone, Debug, Default)]
struct Pool {
    shares: BTreeMap<ValidatorIndex, Vec<ThresholdShare>>,
    /// Given out and not answered yet.
    asked: bool,
}

/// Shares of coins that aren't known, and coins that are, of rounds not yet decided.
#[derive(Clone, Debug)]
pub(crate) struct Coins {
    threshold: usize,
    pools: BTreeMap<Round, Pool>,
    known: BTreeMap<Round, ThresholdSignature>,
}

impl Coins {
    /// Coins that take `threshold` shares.
    pub(crate) fn new(threshold: usize) -> Self {
        assert!(threshold > 0);
        Coins {
            threshold,
            pools: BTreeMap::new(),
            known: BTreeMap::new(),
        }
    }

    /// The coin of a round, if it is known.
    pub(crate) fn get(&self, round: Round) -> Option<&ThresholdSignature> {
        self.known.get(&round)
    }

    /// A share out of an accepted vertex.
    pub(crate) fn add(&mut self, round: Round, author: ValidatorIndex, share: ThresholdShare) {
        if self.known.contains_key(&round) {
            return;
        }
        let shares = (self.pools.entry(round).or_default().shares)
            .entry(author)
            .or_default();
        if shares.len() < SHARES_PER_AUTHOR_MAX && !shares.contains(&share) {
            shares.push(share);
        }
    }

    /// Shares to combine, if there are enough that haven't been given out.
    pub(crate) fn ready(&mut self, round: Round) -> Option<Vec<(ValidatorIndex, ThresholdShare)>> {
        let pool = self.pools.get_mut(&round)?;
        let usable = pool
            .shares
            .iter()
            .filter_map(|(a, s)| Some((*a, *s.first()?)));
        let shares: Vec<_> = usable.take(self.threshold).collect();
        if pool.asked || shares.len() < self.threshold {
            return None;
        }
        pool.asked = true;
        Some(shares)
    }

    /// The first share of each of these authors was bad. An empty word would ask for the same again: it is ignored.
    pub(crate) fn bad(&mut self, round: Round, bad: &[ValidatorIndex]) {
        let Some(pool) = self.pools.get_mut(&round) else {
            return;
        };
        for author in bad {
            // The share stays out by staying known as the author's: only what follows it is tried.
            if let Some(shares) = pool.shares.get_mut(author)
                && !shares.is_empty()
            {
                shares.remove(0);
            }
        }
        pool.asked = bad.is_empty();
    }

    /// A coin is known.
    pub(crate) fn set(&mut self, round: Round, coin: ThresholdSignature) {
        self.pools.remove(&round);
        self.known.insert(round, coin);
    }

    /// Known coins of rounds in `from..`.
    pub(crate) fn since(&self, from: Round) -> Vec<(Round, ThresholdSignature)> {
        (self.known.range(from..))
            .map(|(round, coin)| (*round, *coin))
            .collect()
    }

    /// Forgets rounds below `floor`.
    pub(crate) fn forget_below(&mut self, floor: Round) {
        self.pools = self.pools.split_off(&floor);
        self.known = self.known.split_off(&floor);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const R: Round = Round(9);

    fn share(n: u8) -> ThresholdShare {
        ThresholdShare([n; 48])
    }

    fn who(shares: Option<Vec<(ValidatorIndex, ThresholdShare)>>) -> Option<Vec<u16>> {
        shares.map(|shares| shares.into_iter().map(|(author, _)| author.0).collect())
    }

    #[test]
    fn a_threshold_of_authors_is_given_out_once() {
        let mut coins = Coins::new(3);
        for author in [3, 1] {
            coins.add(R, ValidatorIndex(author), share(1));
            coins.add(R, ValidatorIndex(author), share(1));
            assert_eq!(coins.ready(R), None);
        }
        coins.add(R, ValidatorIndex(2), share(1));
        assert_eq!(who(coins.ready(R)), Some(vec![1, 2, 3]));
        coins.add(R, ValidatorIndex(0), share(1));
        assert_eq!(coins.ready(R), None, "asked already");
        coins.set(R, ThresholdSignature([1; 48]));
        assert!(coins.get(R).is_some());
        coins.forget_below(Round(10));
        assert!(coins.get(R).is_none());
    }

    #[test]
    fn bad_shares_wait_for_others() {
        let mut coins = Coins::new(3);
        for author in 0..3 {
            coins.add(R, ValidatorIndex(author), share(1));
        }
        assert!(coins.ready(R).is_some());
        coins.bad(R, &[]);
        assert_eq!(coins.ready(R), None, "the same again would be no use");
        coins.bad(R, &[ValidatorIndex(1), ValidatorIndex(7)]);
        assert_eq!(coins.ready(R), None);
        coins.add(R, ValidatorIndex(3), share(1));
        assert_eq!(who(coins.ready(R)), Some(vec![0, 2, 3]));
    }

    #[test]
    fn a_twins_share_stands_in_for_a_bad_one_and_no_more_are_kept() {
        let mut coins = Coins::new(1);
        for n in 1..=5 {
            coins.add(R, ValidatorIndex(1), share(n));
        }
        assert_eq!(coins.ready(R), Some(vec![(ValidatorIndex(1), share(1))]));
        coins.bad(R, &[ValidatorIndex(1)]);
        assert_eq!(coins.ready(R), Some(vec![(ValidatorIndex(1), share(2))]));
        coins.bad(R, &[ValidatorIndex(1)]);
        assert_eq!(coins.ready(R), None);
    }
}
