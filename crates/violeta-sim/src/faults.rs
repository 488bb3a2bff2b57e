//! What goes wrong, and when: drawn before the world begins, so that it can be read.
//!
//! ```text
//!   0 ───────────── chaos ───────────── healing ──── settling ──── rest ──▶
//!     partitions, crashes, clock jumps   all ends    all commits   quiet
//! ```
//!
//! A crash is a loss of power: of what wasn't synced, any part may be lost or torn (`MemoryDisk::crash`). What was
//! synced is never lost here, but for the store, which may be lost with the power, at any validator: it can be rebuilt
//! from the journal (replica.md §3). A lost journal is amnesia, and counts among the f faulty (consensus.md §9).

use violeta_types::ValidatorIndex;

use crate::adversaries::{Liar, Lie};
use crate::clock::{Micros, ms};
use crate::dice::Dice;
use crate::network::Shape;

/// How far a wall clock may be off, in ms: more than a vertex's timestamp may be ahead.
const SKEW_MS_MAX: u64 = 3_000;

/// One thing that goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// A partition begins. It replaces the one before.
    Partition(Shape),
    /// It ends.
    Mend,
    /// A validator loses power: now, or in the midst of the next sync of its disk.
    Crash {
        who: ValidatorIndex,
        in_sync: bool,
        /// How long it stays down.
        down: Micros,
    },
    /// It starts again.
    Restart(ValidatorIndex),
    /// A validator loses its store, and not its journal, while it is down the next time, or now if it is.
    StoreLost(ValidatorIndex),
    /// All lose power at once.
    Blackout,
    /// All that are down start again.
    PowerBack,
    /// A wall clock jumps.
    Skew(ValidatorIndex, i64),
    /// A disk takes this long for a sync, from now on.
    SlowDisk(ValidatorIndex, Micros),
    /// All ends: connections are made, who is down starts, clocks are right again.
    Heal,
}

/// Draws what goes wrong among `n` validators until `until`, when all heals; in order of time.
pub(crate) fn draw(dice: &mut Dice, n: usize, until: Micros) -> Vec<(Micros, Fault)> {
    let mut faults = Vec::new();
    if dice.coin() {
        partitions(dice, n, until, &mut faults);
    }
    if dice.coin() {
        crashes(dice, n, until, &mut faults);
    }
    if dice.chance(300) {
        outage(dice, n, until, &mut faults);
    }
    if dice.chance(250) {
        blackouts(dice, until, &mut faults);
    }
    if dice.coin() {
        skews(dice, n, until, &mut faults);
    }
    if dice.chance(300) {
        let slow = dice.validator(n);
        let takes = dice.within(ms(20)..=ms(400));
        faults.push((dice.below(until), Fault::SlowDisk(slow, takes)));
    }
    if dice.chance(250) {
        stores_lost(dice, n, until, &mut faults);
    }
    faults.retain(|(at, _)| *at < until);
    faults.push((until, Fault::Heal));
    // Stable: what was drawn first happens first.
    faults.sort_by_key(|(at, _)| *at);
    faults
}

/// Who loses its memory with the power must lose power.
pub(crate) fn forgetting(
    dice: &mut Dice,
    liars: &[Liar],
    until: Micros,
    faults: &mut Vec<(Micros, Fault)>,
) {
    for liar in liars
        .iter()
        .filter(|liar| liar.lies.contains(&Lie::Amnesiac))
    {
        let (who, in_sync, down) = (liar.who, dice.coin(), dice.within(1..=ms(2_000)));
        faults.push((dice.below(until), Fault::Crash { who, in_sync, down }));
    }
    faults.sort_by_key(|(at, _)| *at);
}

fn partitions(dice: &mut Dice, n: usize, until: Micros, faults: &mut Vec<(Micros, Fault)>) {
    let pause = dice.within(ms(200)..=ms(3_000));
    let length = dice.within(ms(200)..=ms(4_000));
    let mut at = dice.below(pause);
    while at < until {
        faults.push((at, Fault::Partition(Shape::draw(dice, n))));
        at += dice.within(length / 4..=length);
        faults.push((at, Fault::Mend));
        at += dice.within(1..=pause);
    }
}

fn crashes(dice: &mut Dice, n: usize, until: Micros, faults: &mut Vec<(Micros, Fault)>) {
    let pause = dice.within(ms(100)..=ms(3_000));
    let down = dice.within(ms(5)..=ms(3_000));
    let mut at = dice.below(pause);
    while at < until {
        faults.push((at, crash(dice, n, down)));
        at += dice.within(1..=pause);
    }
}

fn crash(dice: &mut Dice, n: usize, down: Micros) -> Fault {
    Fault::Crash {
        who: dice.validator(n),
        in_sync: dice.coin(),
        down: dice.within(1..=down),
    }
}

/// Nothing goes wrong but that one validator is away.
pub(crate) fn long_outage(dice: &mut Dice, n: usize, until: Micros) -> Vec<(Micros, Fault)> {
    let mut faults = Vec::new();
    outage(dice, n, until, &mut faults);
    faults.push((until, Fault::Heal));
    faults
}

/// One validator is away for most of the time: it has much to catch up with.
fn outage(dice: &mut Dice, n: usize, until: Micros, faults: &mut Vec<(Micros, Fault)>) {
    let at = dice.below(until / 4);
    let down = until / 2 + dice.below(until / 4);
    let (who, in_sync) = (dice.validator(n), false);
    faults.push((at, Fault::Crash { who, in_sync, down }));
}

fn blackouts(dice: &mut Dice, until: Micros, faults: &mut Vec<(Micros, Fault)>) {
    for _ in 0..dice.within(1..=3) {
        let at = dice.below(until);
        faults.push((at, Fault::Blackout));
        faults.push((at + dice.within(ms(1)..=ms(500)), Fault::PowerBack));
    }
}

/// A store is missed at the next start. Up to two losses of power come with it: the second may fall into its being
/// rebuilt.
fn stores_lost(dice: &mut Dice, n: usize, until: Micros, faults: &mut Vec<(Micros, Fault)>) {
    for _ in 0..dice.within(1..=4) {
        let (who, at) = (dice.validator(n), dice.below(until));
        faults.push((at, Fault::StoreLost(who)));
        for _ in 0..dice.below(3) {
            let (in_sync, down) = (dice.coin(), dice.within(1..=ms(500)));
            let at = at + dice.below(ms(1_000));
            faults.push((at, Fault::Crash { who, in_sync, down }));
        }
    }
}

fn skews(dice: &mut Dice, n: usize, until: Micros, faults: &mut Vec<(Micros, Fault)>) {
    for _ in 0..dice.within(1..=4) {
        let skew = dice.below(2 * SKEW_MS_MAX) as i64 - SKEW_MS_MAX as i64;
        faults.push((dice.below(until), Fault::Skew(dice.validator(n), skew)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::seconds;

    #[test]
    fn all_that_is_drawn_lies_in_order_before_the_healing() {
        for seed in 0..300 {
            let faults = draw(&mut Dice::new(seed), 7, seconds(5));
            assert!(faults.windows(2).all(|pair| pair[0].0 <= pair[1].0));
            assert_eq!(faults.last(), Some(&(seconds(5), Fault::Heal)));
        }
    }

    #[test]
    fn each_class_of_fault_is_there_in_some_worlds_and_not_in_others() {
        let worlds: Vec<_> = (0..100)
            .map(|seed| draw(&mut Dice::new(seed), 4, seconds(5)))
            .collect();
        type Test = fn(&Fault) -> bool;
        let classes: [(&str, Test); 5] = [
            ("partition", |f| matches!(f, Fault::Partition(_))),
            ("crash", |f| matches!(f, Fault::Crash { .. })),
            ("blackout", |f| matches!(f, Fault::Blackout)),
            ("skew", |f| matches!(f, Fault::Skew(..))),
            ("store lost", |f| matches!(f, Fault::StoreLost(_))),
        ];
        for (name, is) in classes {
            let with = worlds
                .iter()
                .filter(|w| w.iter().any(|(_, f)| is(f)))
                .count();
            assert!((10..=85).contains(&with), "{name}: in {with} of 100 worlds");
        }
    }
}
