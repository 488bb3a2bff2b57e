//! Selective: talks to some validators and not to others, and changes its mind about whom.

use violeta_replica::Message;
use violeta_types::ValidatorIndex;

use super::{Adversary, Means};
use crate::clock::{Micros, ms};
use crate::dice::Dice;

pub(super) struct Selective {
    n: usize,
    friends: u128,
    turn: Micros,
    until: Micros,
}

impl Selective {
    pub(super) fn draw(dice: &mut Dice, n: usize) -> Self {
        Selective {
            n,
            friends: dice.side(n),
            turn: dice.within(ms(100)..=ms(3_000)),
            until: 0,
        }
    }
}

impl Adversary for Selective {
    fn send(
        &mut self,
        means: &mut Means<'_>,
        to: ValidatorIndex,
        message: Message,
    ) -> Vec<Message> {
        if means.now >= self.until {
            self.until = means.now + self.turn;
            self.friends = means.dice.side(self.n);
        }
        match self.friends >> to.0 & 1 == 1 {
            true => vec![message],
            false => Vec::new(),
        }
    }
}
