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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cast::Cast;
    use violeta_types::{Parameters, Round};

    #[test]
    fn friends_hear_everything_others_nothing_until_it_changes_its_mind() {
        let cast = Cast::new(4, Parameters::for_validators(4), 1, Dice::new(1));
        let key = cast.validator_key(ValidatorIndex(0));
        let mut dice = Dice::new(9);
        let mut liar = Selective::draw(&mut Dice::new(1), 4);
        let mut heard = |now| -> Vec<bool> {
            let hears = |to| {
                let mut means = Means {
                    key: &key,
                    now,
                    dice: &mut dice,
                };
                let message = Message::Consensus(violeta_consensus::Message::Pruned(Round(1)));
                !liar
                    .send(&mut means, ValidatorIndex(to), message)
                    .is_empty()
            };
            (0..4).map(hears).collect()
        };
        let first = heard(0);
        assert_eq!(heard(1), first);
        assert!(first.contains(&true) && first.contains(&false));
        assert!((1..20).any(|turn| heard(turn * ms(4_000)) != first));
    }
}
