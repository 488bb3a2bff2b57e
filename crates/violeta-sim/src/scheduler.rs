//! Who decides the order of messages: chance, or an adversary that knows the protocol (consensus.md §4, "strict
//! adversarial asynchrony").
//!
//! The adversarial one delays what it likes, but everything arrives in the end: it starves some validators at a time,
//! and takes others when it has starved them long enough. It may also hold back one link direction only, which is what
//! keeps two validators from hearing of each other's vertices in the round where it matters.

use crate::clock::{Micros, ms};
use crate::dice::Dice;

/// How the order of messages is decided. Drawn once a seed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum SchedulerPlan {
    /// By the network's delays alone.
    Fair,
    /// Messages from (and perhaps to) some validators are held back.
    Starving {
        /// How many validators are starved at a time.
        victims: usize,
        /// By how much, at most.
        delay: Micros,
        /// After how long others are starved.
        shift: Micros,
        /// Whether they are also kept from hearing.
        both_ways: bool,
    },
}

impl SchedulerPlan {
    /// A plan drawn for `n` validators.
    pub(crate) fn draw(dice: &mut Dice, n: usize) -> Self {
        if dice.coin() {
            return SchedulerPlan::Fair;
        }
        SchedulerPlan::Starving {
            victims: dice.within(1..=(n as u64).div_ceil(2)) as usize,
            delay: dice.within(ms(20)..=ms(800)),
            shift: dice.within(ms(50)..=ms(2_000)),
            both_ways: dice.coin(),
        }
    }
}

/// Decides by how much a message is held back.
pub(crate) struct Scheduler {
    plan: SchedulerPlan,
    n: usize,
    dice: Dice,
    victims: Vec<usize>,
    next_shift: Micros,
}

impl Scheduler {
    pub(crate) fn new(plan: SchedulerPlan, n: usize, dice: Dice) -> Self {
        Scheduler {
            plan,
            n,
            dice,
            victims: Vec::new(),
            next_shift: 0,
        }
    }

    /// From now on it is fair.
    pub(crate) fn heal(&mut self) {
        self.plan = SchedulerPlan::Fair;
    }

    /// What a message is held back by.
    pub(crate) fn extra(&mut self, now: Micros, from: usize, to: usize) -> Micros {
        let SchedulerPlan::Starving {
            victims,
            delay,
            shift,
            both_ways,
        } = self.plan
        else {
            return 0;
        };
        if now >= self.next_shift {
            self.next_shift = now + shift;
            let all: Vec<usize> = (0..self.n).collect();
            self.victims = self.dice.sample(&all, victims);
        }
        if self.victims.contains(&from) || (both_ways && self.victims.contains(&to)) {
            // Never before the delay's half: starved is starved.
            self.dice.within(delay / 2..=delay)
        } else {
            0
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_starving_scheduler_holds_back_some_for_a_while_and_then_others() {
        let plan = SchedulerPlan::Starving {
            victims: 1,
            delay: ms(100),
            shift: ms(500),
            both_ways: false,
        };
        let mut scheduler = Scheduler::new(plan, 4, Dice::new(5));
        let mut starved_ever = [false; 4];
        for step in 0..40 {
            let now = step * ms(500);
            let starved: Vec<usize> = (0..4)
                .filter(|&v| scheduler.extra(now, v, (v + 1) % 4) > 0)
                .collect();
            assert_eq!(starved.len(), 1, "one at a time");
            starved_ever[starved[0]] = true;
            assert!(
                scheduler.extra(now, starved[0], 0) <= ms(100),
                "and never for ever"
            );
        }
        assert_eq!(starved_ever, [true; 4]);
        scheduler.heal();
        assert!((0..4).all(|v| scheduler.extra(seconds_60(), v, 0) == 0));
    }

    fn seconds_60() -> Micros {
        crate::clock::seconds(60)
    }
}
