//! Equivocating: several vertices a round, shown to different sides; each side hears of the others through those who
//! build on them (consensus.md §7).

use violeta_types::{Item, ValidatorIndex};

use super::puppet::Puppeteer;
use crate::dice::Dice;

pub(super) struct Equivocating {
    /// Vertices a round, at most.
    variants: u64,
    /// How often a listener is shown all of them, in a thousand.
    open_permille: u64,
    /// How often a round is an honest one, in a thousand: a liar that is never trusted can do little.
    honest_permille: u64,
}

impl Equivocating {
    pub(super) fn draw(dice: &mut Dice) -> Self {
        Equivocating {
            variants: dice.within(2..=4),
            open_permille: if dice.coin() { 0 } else { dice.within(1..=300) },
            honest_permille: dice.below(900),
        }
    }
}

impl Puppeteer for Equivocating {
    fn variants(&mut self, dice: &mut Dice) -> usize {
        match dice.chance(self.honest_permille) {
            true => 1,
            false => dice.within(2..=self.variants) as usize,
        }
    }

    fn shows(
        &mut self,
        dice: &mut Dice,
        variant: usize,
        variants: usize,
        to: ValidatorIndex,
    ) -> bool {
        variants == 1
            || dice.chance(self.open_permille)
            || (usize::from(to.0) + dice.below(2) as usize) % variants == variant
    }

    fn items(&mut self, dice: &mut Dice, seen: &[Item]) -> Vec<Item> {
        // Twins that carry the same transactions: they may be committed through either, once.
        let count = dice.below(3) as usize;
        dice.sample(&(0..seen.len()).collect::<Vec<_>>(), count)
            .into_iter()
            .map(|i| seen[i].clone())
            .collect()
    }
}
