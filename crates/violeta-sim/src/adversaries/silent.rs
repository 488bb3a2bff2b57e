//! Silent: says nothing from some time on, or in turns: the cheapest lie, and the one that costs waiting.

use violeta_replica::Message;
use violeta_types::ValidatorIndex;

use super::{Adversary, Means};
use crate::clock::{Micros, ms};
use crate::dice::Dice;

pub(super) struct Silent {
    from: Micros,
    /// Length of a turn; none: for ever.
    turn: Option<Micros>,
}

impl Silent {
    pub(super) fn draw(dice: &mut Dice) -> Self {
        Silent {
            from: dice.below(ms(3_000)),
            turn: dice.coin().then(|| dice.within(ms(50)..=ms(2_000))),
        }
    }

    fn is_silent(&self, now: Micros) -> bool {
        match (now.checked_sub(self.from), self.turn) {
            (None, _) => false,
            (Some(_), None) => true,
            (Some(since), Some(turn)) => since / turn % 2 == 0,
        }
    }
}

impl Adversary for Silent {
    fn send(
        &mut self,
        means: &mut Means<'_>,
        _to: ValidatorIndex,
        message: Message,
    ) -> Vec<Message> {
        match self.is_silent(means.now) {
            true => Vec::new(),
            false => vec![message],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silence_begins_in_time_and_ends_if_it_comes_in_turns() {
        let (from, turn) = (100, Some(10));
        let in_turns = Silent { from, turn };
        let silent: Vec<bool> = [0, 99, 100, 109, 110, 119, 120]
            .map(|t| in_turns.is_silent(t))
            .into();
        assert_eq!(silent, [false, false, true, true, false, false, true]);
        let for_ever = Silent { from, turn: None };
        assert!(!for_ever.is_silent(99) && for_ever.is_silent(1_000_000));
    }
}
