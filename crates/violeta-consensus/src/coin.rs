//! The coin (consensus.md §12): shares are collected here, combined and checked outside.
//!
//! ```text
//!  share in an accepted vertex of round c ─▶ pool of round r ─ threshold, and wanted ─▶ Effect::CombineCoins
//!                                               ▲                                          │
//!                                               └───── bad shares: others are tried ───────┤
//!                                 leaders(r) ◀──────────────── coin ◀──────────────────────┘
//! ```
//!
//! Lazy three times. Shares aren't checked one by one unless combining fails; a bad one doesn't make its vertex invalid.
//! Coins of rounds that no uncommitted payload can hang on wait, up to [`WAITING_COINS_MAX`] of them, until a later one
//! is wanted or a heartbeat is due. And while certificates are behind what is ordered, those that are wanted wait for a few
//! others, up to [`TOGETHER_MAX`]: several checked together cost little more than one, and what is ordered earlier isn't
//! executed earlier then. Those that had a bad share have waited enough: others that went with them, being known by then,
//! wait for them. So that a liar's share costs that once, whoever gave a bad one isn't taken again unless others are too few
//! when a share came of a round that is [`LATE_ROUNDS`] above: it may have been mended since, and others may be away.

use std::collections::{BTreeMap, BTreeSet};

use violeta_types::{Round, ThresholdShare, ThresholdSignature, ValidatorIndex};

use crate::io::CoinShares;

/// Coins that could be made and are put off: few enough that certificates don't lag for want of commits (G ≥ 32).
pub(crate) const WAITING_COINS_MAX: usize = 8;

/// Coins that are made together when certificates are far behind.
pub(crate) const TOGETHER_MAX: u64 = 4;

/// Another coin is waited for each time that so many rounds more are ordered and not certified. With nothing to hold
/// certificates up they are two or so, which execution and attestation take.
const LAG_ROUNDS: u64 = 6;

/// How many coins are made together when `lag` rounds are ordered and not certified.
pub(crate) fn together(lag: u64) -> usize {
    (1 + lag.saturating_sub(1) / LAG_ROUNDS).min(TOGETHER_MAX) as usize
}

/// Shares that haven't come when one came of a round so far above are waited for no more.
const LATE_ROUNDS: u64 = 2;

/// Shares of one author for one coin that are remembered: twins may carry different ones.
const SHARES_PER_AUTHOR_MAX: usize = 2;

/// One author's shares for one coin. Bad ones stay, and count: so none of them comes in again, nor ever more of others.
#[derive(Clone, Debug, Default)]
struct Shares {
    seen: Vec<ThresholdShare>,
    /// How many of them, from the first on, were bad.
    bad: usize,
}

#[derive(Clone, Debug, Default)]
struct Pool {
    shares: BTreeMap<ValidatorIndex, Shares>,
    /// Given out and not answered yet.
    asked: bool,
}

impl Pool {
    /// `count` shares of as many authors, by rising index, or fewer if there aren't so many: the lowest, and of
    /// `liars` only as many as it takes.
    fn choose(
        &self,
        count: usize,
        liars: &BTreeSet<ValidatorIndex>,
    ) -> Vec<(ValidatorIndex, ThresholdShare)> {
        let mut chosen: Vec<_> = self.usable().collect();
        chosen.sort_by_key(|(author, _)| (liars.contains(author), *author));
        chosen.truncate(count);
        chosen.sort_by_key(|(author, _)| *author);
        chosen
    }

    /// One share of each author that has one left.
    fn usable(&self) -> impl Iterator<Item = (ValidatorIndex, ThresholdShare)> {
        (self.shares.iter())
            .filter_map(|(author, shares)| Some((*author, *shares.seen.get(shares.bad)?)))
    }

    /// Whether it was given out before, and a share was bad.
    fn is_again(&self) -> bool {
        self.shares.values().any(|shares| shares.bad > 0)
    }
}

/// Shares of coins that aren't known, and coins that are, of rounds not yet decided.
#[derive(Clone, Debug)]
pub(crate) struct Coins {
    threshold: usize,
    pools: BTreeMap<Round, Pool>,
    known: BTreeMap<Round, ThresholdSignature>,
    /// Who gave a bad share in this epoch.
    liars: BTreeSet<ValidatorIndex>,
}

impl Coins {
    /// Coins that take `threshold` shares.
    pub(crate) fn new(threshold: usize) -> Self {
        assert!(threshold > 0);
        Coins {
            threshold,
            pools: BTreeMap::new(),
            known: BTreeMap::new(),
            liars: BTreeSet::new(),
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
        if shares.seen.len() < SHARES_PER_AUTHOR_MAX && !shares.seen.contains(&share) {
            shares.seen.push(share);
        }
    }

    /// Shares to combine, lowest round first: of every round that has enough which haven't been given out, if there are
    /// `together` such rounds and the highest of them is at or above `wanted`, or they are too many; else of those that
    /// were given out before.
    pub(crate) fn ready(&mut self, wanted: Option<Round>, together: usize) -> Vec<CoinShares> {
        let (threshold, liars) = (self.threshold, &self.liars);
        let (pooled, known) = (self.pools.keys().next_back(), self.known.keys().next_back());
        let newest = pooled.max(known).map_or(0, |round| round.0);
        let ready = |round: Round, pool: &Pool| {
            let all = pool.is_again() || round.0.saturating_add(LATE_ROUNDS) <= newest;
            let counted = pool.usable().filter(|of| all || !liars.contains(&of.0));
            !pool.asked && counted.count() >= threshold
        };
        let waiting = || (self.pools.iter()).filter(|(round, pool)| ready(**round, pool));
        let Some((&highest, _)) = waiting().next_back() else {
            return Vec::new();
        };
        let count = waiting().count();
        let is_wanted = wanted.is_some_and(|wanted| wanted <= highest);
        let all = (is_wanted && count >= together) || count > WAITING_COINS_MAX;
        let given = (self.pools.iter_mut())
            .filter(|(round, pool)| ready(**round, pool) && (all || pool.is_again()));
        given
            .map(|(&round, pool)| {
                pool.asked = true;
                let shares = pool.choose(threshold, liars);
                CoinShares { round, shares }
            })
            .collect()
    }

    /// The share of each of these authors that was given out was bad. An empty word would ask for the same again: it is
    /// ignored.
    pub(crate) fn bad(&mut self, round: Round, bad: &[ValidatorIndex]) {
        let Some(pool) = self.pools.get_mut(&round) else {
            return;
        };
        for author in bad {
            // It stays out by staying known as the author's: only what follows it is tried.
            if let Some(shares) = pool.shares.get_mut(author) {
                self.liars.insert(*author);
                shares.bad = (shares.bad + 1).min(shares.seen.len());
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

    /// Whose shares are given out, for each round.
    fn who(coins: &mut Coins, wanted: u64) -> Vec<(u64, Vec<u16>)> {
        let ready = coins.ready(Some(Round(wanted)), 1);
        let authors = |of: &CoinShares| of.shares.iter().map(|(author, _)| author.0).collect();
        ready.iter().map(|of| (of.round.0, authors(of))).collect()
    }

    #[test]
    fn a_threshold_of_authors_is_given_out_once() {
        let mut coins = Coins::new(3);
        for author in [3, 1] {
            coins.add(R, ValidatorIndex(author), share(1));
            coins.add(R, ValidatorIndex(author), share(1));
            assert!(who(&mut coins, 9).is_empty());
        }
        coins.add(R, ValidatorIndex(2), share(1));
        assert_eq!(who(&mut coins, 9), [(9, vec![1, 2, 3])]);
        coins.add(R, ValidatorIndex(0), share(1));
        assert!(who(&mut coins, 9).is_empty(), "asked already");
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
        assert_eq!(who(&mut coins, 9), [(9, vec![0, 1, 2])]);
        coins.bad(R, &[]);
        assert!(
            who(&mut coins, 9).is_empty(),
            "the same again would be no use"
        );
        coins.bad(R, &[ValidatorIndex(1), ValidatorIndex(7)]);
        assert!(who(&mut coins, 9).is_empty());
        coins.add(R, ValidatorIndex(3), share(1));
        assert_eq!(who(&mut coins, 9), [(9, vec![0, 2, 3])]);
    }

    #[test]
    fn a_twins_share_stands_in_for_a_bad_one_and_no_more_are_kept() {
        let mut coins = Coins::new(1);
        for n in 1..=5 {
            coins.add(R, ValidatorIndex(1), share(n));
        }
        let ready = coins.ready(Some(R), 1);
        assert_eq!(ready[0].shares, [(ValidatorIndex(1), share(1))]);
        coins.bad(R, &[ValidatorIndex(1)]);
        let ready = coins.ready(Some(R), 1);
        assert_eq!(ready[0].shares, [(ValidatorIndex(1), share(2))]);
        coins.bad(R, &[ValidatorIndex(1)]);
        assert!(who(&mut coins, 9).is_empty());
    }

    #[test]
    fn a_bad_share_stays_out_however_often_its_author_repeats_it() {
        let mut coins = Coins::new(1);
        let liar = ValidatorIndex(1);
        coins.add(R, liar, share(1));
        assert_eq!(who(&mut coins, 9), [(9, vec![1])]);
        coins.bad(R, &[liar]);
        coins.add(R, liar, share(1));
        assert!(who(&mut coins, 9).is_empty(), "known to be bad");
        coins.add(R, liar, share(2));
        assert_eq!(who(&mut coins, 9), [(9, vec![1])], "another may be good");
        coins.bad(R, &[liar]);
        for n in 1..=5 {
            coins.add(R, liar, share(n));
            assert!(who(&mut coins, 9).is_empty(), "two were bad: no more of it");
        }
        coins.add(R, ValidatorIndex(2), share(1));
        assert_eq!(who(&mut coins, 9), [(9, vec![2])]);
    }

    #[test]
    fn coins_wait_until_one_is_wanted_and_are_given_out_together() {
        let mut coins = Coins::new(1);
        let put = |coins: &mut Coins, round| coins.add(Round(round), ValidatorIndex(2), share(1));
        for round in [3, 4, 5] {
            put(&mut coins, round);
        }
        assert!(coins.ready(None, 1).is_empty());
        assert!(who(&mut coins, 6).is_empty());
        put(&mut coins, 6);
        let rounds: Vec<u64> = who(&mut coins, 6).iter().map(|of| of.0).collect();
        assert_eq!(rounds, [3, 4, 5, 6]);
        put(&mut coins, 7);
        assert_eq!(who(&mut coins, 2), [(7, vec![2])], "wanted from below");
    }

    #[test]
    fn the_further_behind_certificates_are_the_more_coins_are_made_together() {
        let lags = [0, 2, 6, 7, 12, 13, 18, 19, 1_000];
        assert_eq!(lags.map(together), [1, 1, 1, 2, 2, 3, 3, 4, 4]);
        let mut coins = Coins::new(1);
        for (round, given) in [(3, 0), (4, 0), (5, 3), (6, 0)] {
            coins.add(Round(round), ValidatorIndex(2), share(1));
            assert_eq!(coins.ready(Some(Round(1)), 3).len(), given, "{round}");
        }
        assert_eq!(coins.ready(Some(Round(1)), 1).len(), 1);
    }

    #[test]
    fn a_coin_that_had_a_bad_share_goes_out_as_soon_as_there_is_another() {
        let mut coins = Coins::new(2);
        for round in [3, 4, 5] {
            for author in [0, 1] {
                coins.add(Round(round), ValidatorIndex(author), share(1));
            }
        }
        assert_eq!(coins.ready(Some(Round(4)), 3).len(), 3);
        coins.bad(Round(3), &[ValidatorIndex(0)]);
        assert!(coins.ready(Some(Round(4)), 3).is_empty(), "one share left");
        coins.add(Round(3), ValidatorIndex(2), share(1));
        let rounds = |ready: Vec<CoinShares>| ready.iter().map(|of| of.round.0).collect::<Vec<_>>();
        // None is wanted, or one that is higher: what is ordered before that hangs on this one.
        let (mut unwanted, mut wanted) = (coins.clone(), coins);
        assert_eq!(rounds(unwanted.ready(None, 3)), [3]);
        assert_eq!(rounds(wanted.ready(Some(Round(4)), 3)), [3]);
        assert!(wanted.ready(Some(Round(4)), 1).is_empty(), "asked");
    }

    #[test]
    fn coins_that_had_bad_shares_go_together_and_take_no_new_ones_along() {
        let mut coins = Coins::new(2);
        let put = |coins: &mut Coins, round| {
            for author in 0..3 {
                coins.add(Round(round), ValidatorIndex(author), share(1));
            }
        };
        let given = |coins: &mut Coins, together| {
            let authors = |of: &CoinShares| of.shares.iter().map(|(author, _)| author.0).collect();
            let ready = coins.ready(Some(Round(1)), together);
            let of_each = ready.iter().map(|of| (of.round.0, authors(of)));
            of_each.collect::<Vec<(u64, Vec<u16>)>>()
        };
        (3..6).for_each(|round| put(&mut coins, round));
        assert_eq!(given(&mut coins, 3).len(), 3);
        put(&mut coins, 6);
        for round in [3, 5] {
            coins.bad(Round(round), &[ValidatorIndex(0)]);
        }
        assert_eq!(given(&mut coins, 4), [(3, vec![1, 2]), (5, vec![1, 2])]);
        assert!(given(&mut coins, 2).is_empty(), "6 waits for others");
        put(&mut coins, 7);
        assert_eq!(given(&mut coins, 2), [(6, vec![1, 2]), (7, vec![1, 2])]);
    }

    #[test]
    fn a_share_of_a_known_liar_is_taken_where_others_dont_come() {
        let mut coins = Coins::new(2);
        let (liar, other) = (ValidatorIndex(0), ValidatorIndex(2));
        coins.add(Round(3), liar, share(1));
        coins.add(Round(3), other, share(1));
        assert_eq!(who(&mut coins, 3), [(3, vec![0, 2])]);
        coins.bad(Round(3), &[liar]);
        coins.add(Round(7), liar, share(1));
        coins.add(Round(7), other, share(1));
        coins.add(Round(8), other, share(1));
        assert!(who(&mut coins, 3).is_empty(), "one more may come");
        coins.add(Round(9), other, share(1));
        assert_eq!(who(&mut coins, 3), [(7, vec![0, 2])]);
        coins.add(Round(8), liar, share(1));
        coins.add(Round(8), ValidatorIndex(1), share(1));
        assert_eq!(who(&mut coins, 3), [(8, vec![1, 2])]);
    }

    #[test]
    fn no_more_coins_wait_than_may() {
        let mut coins = Coins::new(1);
        let most = WAITING_COINS_MAX as u64;
        for round in 1..=most {
            coins.add(Round(round), ValidatorIndex(0), share(1));
        }
        assert!(coins.ready(None, 1).is_empty());
        coins.add(Round(most + 1), ValidatorIndex(0), share(1));
        assert_eq!(coins.ready(None, 1).len(), WAITING_COINS_MAX + 1);
    }
}
