//! Liars: what corrupted validators do, at most f of them.
//!
//! ```text
//!   wrapped   a real replica, with a real journal ──▶ adversary ──▶ adversary ──▶ network
//!             (what it sends is withheld, multiplied, replaced; or its keys sign something else)
//!   puppet    no replica at all: it follows the graph and makes whatever vertices its puppeteer wants
//! ```
//!
//! A liar has its own keys and no one else's, sees what it is sent, and may do anything with both. Wrapped ones lie
//! where a replica wouldn't; puppets lie in the graph itself, where a replica would stumble over its own twins.
//! Each liar is one small file; wrapped ones compose.

mod denying;
mod equivocating;
mod puppet;
mod selective;
mod silent;
mod stuffing;
mod withholding;
mod wrong_attestations;
mod wrong_parts;
mod wrong_shares;

use violeta_crypto::ValidatorSecretKey;
use violeta_replica::Message;
use violeta_types::ValidatorIndex;

pub(crate) use puppet::Puppet;
pub(crate) use wrong_shares::LyingSigner;

use crate::clock::Micros;
use crate::dice::Dice;

/// The ways to lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lie {
    /// Says nothing, or falls silent for a while now and then.
    Silent,
    /// Makes vertices and shows them to few.
    Withholding,
    /// Talks to some and not to others.
    Selective,
    /// Gives wrong shares of coins and seals.
    WrongShares,
    /// Attests heads that there aren't, one to some, another to others.
    WrongAttestations,
    /// Makes several vertices a round, each for some.
    Equivocating,
    /// Loses its disk when it loses power: faulty without meaning it (consensus.md §9). In some worlds it comes back by
    /// a quorum's word, and then makes no twin either.
    Amnesiac,
    /// Fills vertices with what was ordered before, and with rubbish.
    Stuffing,
    /// Gives whoever catches up by commits other parts than it asked for. Told besides the others, as it would seldom
    /// be noticed alone.
    WrongParts,
    /// Tells whoever lost its journal that nothing was ever made. Told besides the others, too.
    Denying,
}

impl Lie {
    /// All that are told alone or in twos.
    pub const ALL: &'static [Lie] = &[
        Lie::Silent,
        Lie::Withholding,
        Lie::Selective,
        Lie::WrongShares,
        Lie::WrongAttestations,
        Lie::Amnesiac,
        Lie::Equivocating,
        Lie::Stuffing,
    ];

    /// Whether it needs a puppet in place of a replica.
    pub(crate) fn is_puppet(self) -> bool {
        matches!(self, Lie::Equivocating | Lie::Stuffing)
    }
}

/// A corrupted validator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Liar {
    pub(crate) who: ValidatorIndex,
    /// Its ways, each once: one that needs a puppet stands alone.
    pub(crate) lies: Vec<Lie>,
}

/// Draws the liars among `n`: none in some worlds, f of them in most others.
pub(crate) fn draw(dice: &mut Dice, n: usize) -> Vec<Liar> {
    let f = (n as u64 - 1) / 3;
    if f == 0 || dice.chance(300) {
        return Vec::new();
    }
    let count = if dice.coin() { f } else { dice.within(1..=f) };
    let all: Vec<ValidatorIndex> = (0..n as u16).map(ValidatorIndex).collect();
    let mut chosen = dice.sample(&all, count as usize);
    chosen.sort_unstable();
    let liar = |who| {
        let mut lies = dice.sample(Lie::ALL, 2);
        if let Some(&puppet) = lies.iter().find(|lie| lie.is_puppet()) {
            lies = vec![puppet];
        } else if dice.coin() {
            lies.truncate(1);
        }
        lies.sort_unstable();
        Liar { who, lies }
    };
    chosen.into_iter().map(liar).collect()
}

/// Lets one in two liars over a real replica also lie to whoever catches up.
pub(crate) fn serve_wrongly(dice: &mut Dice, liars: &mut [Liar]) {
    for liar in liars {
        let is_puppet = liar.lies.iter().any(|lie| lie.is_puppet());
        if dice.coin() && !is_puppet {
            liar.lies.push(Lie::WrongParts);
        }
    }
}

/// Lets one in two liars over a real replica also deny what others ask them for who lost their journal.
pub(crate) fn deny(dice: &mut Dice, liars: &mut [Liar]) {
    for liar in liars {
        let is_puppet = liar.lies.iter().any(|lie| lie.is_puppet());
        if dice.coin() && !is_puppet && !liar.lies.contains(&Lie::Amnesiac) {
            liar.lies.push(Lie::Denying);
        }
    }
}

/// What a liar has at hand.
pub(crate) struct Means<'a> {
    pub(crate) key: &'a ValidatorSecretKey,
    pub(crate) now: Micros,
    pub(crate) dice: &'a mut Dice,
}

/// A liar over a real replica.
pub(crate) trait Adversary {
    /// The replica wants to send this: what leaves instead.
    fn send(&mut self, means: &mut Means<'_>, to: ValidatorIndex, message: Message)
    -> Vec<Message>;
}

/// The adversary of a way to lie; none if that takes more than replacing messages.
pub(crate) fn adversary(lie: Lie, n: usize, dice: &mut Dice) -> Option<Box<dyn Adversary>> {
    Some(match lie {
        Lie::Silent => Box::new(silent::Silent::draw(dice)),
        Lie::Withholding => Box::new(withholding::Withholding::draw(dice, n)),
        Lie::Selective => Box::new(selective::Selective::draw(dice, n)),
        Lie::WrongAttestations => Box::new(wrong_attestations::WrongAttestations),
        Lie::WrongParts => Box::new(wrong_parts::WrongParts),
        Lie::Denying => Box::new(denying::Denying),
        Lie::WrongShares | Lie::Amnesiac | Lie::Equivocating | Lie::Stuffing => return None,
    })
}

/// Who pulls a puppet's strings.
pub(crate) fn puppeteer(lie: Lie, dice: &mut Dice) -> Option<Box<dyn puppet::Puppeteer>> {
    Some(match lie {
        Lie::Equivocating => Box::new(equivocating::Equivocating::draw(dice)),
        Lie::Stuffing => Box::new(stuffing::Stuffing),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_never_more_than_f_liars_and_every_lie_is_told() {
        let mut told = std::collections::BTreeSet::new();
        let mut honest_worlds = 0;
        for seed in 0..300 {
            for n in [4, 7, 10] {
                let mut liars = draw(&mut Dice::new(seed), n);
                serve_wrongly(&mut Dice::new(seed), &mut liars);
                deny(&mut Dice::new(seed), &mut liars);
                assert!(liars.len() <= (n - 1) / 3);
                assert!(liars.windows(2).all(|pair| pair[0].who < pair[1].who));
                honest_worlds += usize::from(liars.is_empty());
                for liar in liars {
                    assert!(!liar.lies.is_empty());
                    let puppets = liar.lies.iter().filter(|lie| lie.is_puppet()).count();
                    assert!(puppets == 0 || liar.lies.len() == 1);
                    told.extend(liar.lies);
                }
            }
        }
        assert_eq!(told.len(), Lie::ALL.len() + 2);
        assert!(honest_worlds > 100, "{honest_worlds}");
    }
}
