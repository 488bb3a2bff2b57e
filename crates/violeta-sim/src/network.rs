//! The network between validators: what happens to each message on its way.
//!
//! ```text
//!   send ──▶ connected? ──▶ cut? ──▶ lost? ──▶ room in the queue? ──▶ delay (+ bandwidth, + scheduler) ──▶ arrives,
//!              no: drop     drop     drop       no: drop               order kept, or not                   maybe twice
//! ```
//!
//! Authenticated: who sent a message is never in doubt, and no byte changes on the way (the shell's TLS sees to both).
//! All else may happen. Links are directed; a cut may be seen by the validators (the connection breaks) or not (bytes
//! vanish). Every queue is bounded.

use violeta_types::ValidatorIndex;

use crate::clock::{Micros, ms};
use crate::dice::Dice;

/// Messages under way on one link at a time.
pub const LINK_MESSAGES_MAX: usize = 4_096;
/// Bytes under way on one link at a time.
pub const LINK_BYTES_MAX: usize = 64 << 20;

/// How the network of a world behaves until it heals. Drawn once a seed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NetworkPlan {
    /// The usual delay of a message: from … to.
    pub(crate) delay: (Micros, Micros),
    /// How many messages in a thousand take the long way.
    pub(crate) tail_permille: u64,
    /// How much longer that is, at most.
    pub(crate) tail: Micros,
    /// Lost messages in a thousand: 300 at most.
    pub(crate) loss_permille: u64,
    /// Messages in a thousand that arrive twice.
    pub(crate) duplicate_permille: u64,
    /// Whether a message may overtake another on the same link.
    pub(crate) reorders: bool,
    /// Bytes a link carries in a millisecond.
    pub(crate) bytes_per_ms: u64,
    /// Whether a cut breaks connections for all to see.
    pub(crate) cuts_are_seen: bool,
}

impl NetworkPlan {
    /// A network without faults.
    pub(crate) fn healthy() -> Self {
        NetworkPlan {
            delay: (500, ms(2)),
            tail_permille: 0,
            tail: 0,
            loss_permille: 0,
            duplicate_permille: 0,
            reorders: false,
            bytes_per_ms: 100_000,
            cuts_are_seen: true,
        }
    }

    /// A network drawn from the seed: each class of fault is there half of the time.
    pub(crate) fn draw(dice: &mut Dice) -> Self {
        let low = dice.within(200..=ms(20));
        let spread = dice.within(100..=ms(60));
        let tails = dice.coin();
        let loses = dice.coin();
        let doubles = dice.coin();
        NetworkPlan {
            delay: (low, low + spread),
            tail_permille: if tails { dice.within(1..=100) } else { 0 },
            tail: dice.within(ms(50)..=ms(1_500)),
            loss_permille: if loses { dice.within(1..=300) } else { 0 },
            duplicate_permille: if doubles { dice.within(1..=200) } else { 0 },
            reorders: dice.coin(),
            bytes_per_ms: dice.within(1_000..=100_000),
            cuts_are_seen: dice.coin(),
        }
    }
}

/// The links that are cut: a bit for each (from, to).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Cut {
    /// For each sender, the receivers that it can't reach.
    blocked: Vec<u128>,
}

/// The forms a partition takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// One validator is alone.
    One(ValidatorIndex),
    /// Two sides that don't reach one another.
    Sides(u128),
    /// Each reaches its two neighbours only.
    Ring,
    /// Those of the mask hear all and aren't heard.
    Mute(u128),
    /// Those of the mask are heard and hear nothing.
    Deaf(u128),
}

impl Shape {
    /// A form drawn for `n` validators.
    pub(crate) fn draw(dice: &mut Dice, n: usize) -> Self {
        match dice.below(5) {
            0 => Shape::One(dice.validator(n)),
            1 => Shape::Sides(dice.side(n)),
            2 => Shape::Ring,
            3 => Shape::Mute(dice.side(n)),
            _ => Shape::Deaf(dice.side(n)),
        }
    }

    fn blocks(self, from: usize, to: usize, n: usize) -> bool {
        let has = |mask: u128, i: usize| mask >> i & 1 == 1;
        match self {
            Shape::One(one) => (from == one.as_usize()) != (to == one.as_usize()),
            Shape::Sides(side) => has(side, from) != has(side, to),
            Shape::Ring => to != (from + 1) % n && from != (to + 1) % n,
            Shape::Mute(mask) => has(mask, from),
            Shape::Deaf(mask) => has(mask, to),
        }
    }
}

impl Cut {
    /// Nothing is cut.
    pub(crate) fn none(n: usize) -> Self {
        Cut {
            blocked: vec![0; n],
        }
    }

    /// The links that a partition of this form cuts.
    pub(crate) fn of(shape: Shape, n: usize) -> Self {
        let row = |from: usize| {
            let blocked = (0..n).filter(|&to| to != from && shape.blocks(from, to, n));
            blocked.fold(0u128, |mask, to| mask | 1 << to)
        };
        Cut {
            blocked: (0..n).map(row).collect(),
        }
    }

    /// Whether nothing passes from one to the other.
    pub(crate) fn blocks(&self, from: usize, to: usize) -> bool {
        self.blocked[from] >> to & 1 == 1
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct Link {
    /// The connection is up, as both ends see it.
    up: bool,
    /// Goes up with every break: what was under way then doesn't arrive.
    generation: u64,
    messages: usize,
    bytes: usize,
    /// When the last message that keeps its order arrives.
    last: Micros,
    /// When the link has sent what it was given.
    free: Micros,
}

/// One arrival of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Arrival {
    pub(crate) at: Micros,
    pub(crate) generation: u64,
}

/// Counts for the report.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NetworkStats {
    /// Messages given to the network.
    pub sent: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// Messages that didn't arrive.
    pub dropped: u64,
    /// Messages that arrived twice.
    pub duplicated: u64,
}

/// The links between `n` validators.
pub(crate) struct Network {
    n: usize,
    plan: NetworkPlan,
    dice: Dice,
    links: Vec<Link>,
    cut: Cut,
    stats: NetworkStats,
}

impl Network {
    pub(crate) fn new(n: usize, plan: NetworkPlan, dice: Dice) -> Self {
        Network {
            n,
            plan,
            dice,
            links: vec![Link::default(); n * n],
            cut: Cut::none(n),
            stats: NetworkStats::default(),
        }
    }

    fn link(&mut self, from: usize, to: usize) -> &mut Link {
        &mut self.links[from * self.n + to]
    }

    pub(crate) fn stats(&self) -> NetworkStats {
        self.stats
    }

    /// From now on nothing is lost, and delays are short. Connections are made again by the world.
    pub(crate) fn heal(&mut self) {
        self.plan = NetworkPlan::healthy();
        self.cut = Cut::none(self.n);
    }

    /// Cuts these links, and no others.
    pub(crate) fn cut(&mut self, cut: Cut) {
        self.cut = cut;
    }

    /// Whether a cut of now breaks the connection between two, for both to see.
    pub(crate) fn is_broken(&self, a: usize, b: usize) -> bool {
        self.plan.cuts_are_seen && (self.cut.blocks(a, b) || self.cut.blocks(b, a))
    }

    /// Whether the connection is up.
    pub(crate) fn is_up(&self, a: usize, b: usize) -> bool {
        self.links[a * self.n + b].up
    }

    /// Connects two or breaks their connection: what is under way is lost. Says whether that changed anything.
    pub(crate) fn set_up(&mut self, a: usize, b: usize, up: bool) -> bool {
        assert_ne!(a, b, "nobody connects to itself");
        if self.is_up(a, b) == up {
            return false;
        }
        for (from, to) in [(a, b), (b, a)] {
            let link = self.link(from, to);
            link.up = up;
            link.generation += 1;
            (link.messages, link.bytes) = (0, 0);
        }
        true
    }

    /// Takes a message of `size` bytes; says when it arrives: not at all, once or twice. `extra` is what the
    /// scheduler adds.
    pub(crate) fn send(
        &mut self,
        now: Micros,
        from: usize,
        to: usize,
        size: usize,
        extra: Micros,
    ) -> Vec<Arrival> {
        self.stats.sent += 1;
        self.stats.bytes += size as u64;
        let lost = self.dice.chance(self.plan.loss_permille);
        let blocked = self.cut.blocks(from, to);
        let link = *self.link(from, to);
        let full = link.messages >= LINK_MESSAGES_MAX || link.bytes + size > LINK_BYTES_MAX;
        if !link.up || blocked || lost || full {
            self.stats.dropped += 1;
            return Vec::new();
        }
        let copies = 1 + usize::from(self.dice.chance(self.plan.duplicate_permille));
        self.stats.duplicated += copies as u64 - 1;
        (0..copies)
            .map(|_| self.arrival(now, from, to, size, extra))
            .collect()
    }

    fn arrival(
        &mut self,
        now: Micros,
        from: usize,
        to: usize,
        size: usize,
        extra: Micros,
    ) -> Arrival {
        let (low, high) = self.plan.delay;
        let mut delay = self.dice.within(low..=high) + extra;
        if self.dice.chance(self.plan.tail_permille) {
            delay += self.dice.below(self.plan.tail.max(1));
        }
        let reorders = self.plan.reorders;
        let transfer = size as u64 * 1_000 / self.plan.bytes_per_ms;
        let link = self.link(from, to);
        link.free = link.free.max(now) + transfer;
        let mut at = link.free + delay;
        if !reorders {
            at = at.max(link.last);
            link.last = at;
        }
        link.messages += 1;
        link.bytes += size;
        Arrival {
            at,
            generation: link.generation,
        }
    }

    /// A message arrives. Says whether it still does: not if the connection broke meanwhile.
    pub(crate) fn arrive(&mut self, from: usize, to: usize, size: usize, generation: u64) -> bool {
        let link = self.link(from, to);
        if link.generation != generation {
            self.stats.dropped += 1;
            return false;
        }
        assert!(link.messages > 0 && link.bytes >= size);
        link.messages -= 1;
        link.bytes -= size;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(plan: NetworkPlan) -> Network {
        let mut network = Network::new(4, plan, Dice::new(1));
        network.set_up(0, 1, true);
        network
    }

    #[test]
    fn a_healthy_link_carries_every_message_once_and_in_order() {
        let mut network = network(NetworkPlan::healthy());
        let mut last = 0;
        for now in 0..100 {
            let arrivals = network.send(now * 10, 0, 1, 100, 0);
            assert_eq!(arrivals.len(), 1);
            assert!(arrivals[0].at >= last && arrivals[0].at > now * 10);
            last = arrivals[0].at;
            assert!(network.arrive(0, 1, 100, arrivals[0].generation));
        }
        assert_eq!(network.stats().dropped, 0);
    }

    #[test]
    fn loss_and_duplicates_come_as_often_as_they_should() {
        let plan = NetworkPlan {
            loss_permille: 300,
            duplicate_permille: 200,
            ..NetworkPlan::healthy()
        };
        let mut network = network(plan);
        for now in 0..2_000 {
            for arrival in network.send(now, 0, 1, 1, 0) {
                assert!(network.arrive(0, 1, 1, arrival.generation));
            }
        }
        let stats = network.stats();
        assert!((500..700).contains(&stats.dropped), "{stats:?}");
        assert!((200..370).contains(&stats.duplicated), "{stats:?}");
    }

    #[test]
    fn a_break_loses_what_is_under_way_and_what_is_sent_until_it_is_mended() {
        let mut network = network(NetworkPlan::healthy());
        let under_way = network.send(0, 0, 1, 1, 0)[0];
        assert!(network.set_up(1, 0, false));
        assert!(!network.set_up(0, 1, false), "it is down already");
        assert!(network.send(1, 0, 1, 1, 0).is_empty());
        network.set_up(0, 1, true);
        assert!(!network.arrive(0, 1, 1, under_way.generation));
        let again = network.send(2, 0, 1, 1, 0)[0];
        assert!(network.arrive(0, 1, 1, again.generation));
    }

    #[test]
    fn a_full_link_drops_what_is_too_much() {
        let mut network = network(NetworkPlan::healthy());
        for _ in 0..LINK_MESSAGES_MAX {
            assert_eq!(network.send(0, 0, 1, 1, 0).len(), 1);
        }
        assert!(network.send(0, 0, 1, 1, 0).is_empty());
        network.set_up(0, 1, false);
        network.set_up(0, 1, true);
        assert!(network.send(0, 0, 1, LINK_BYTES_MAX + 1, 0).is_empty());
    }

    #[test]
    fn each_shape_cuts_the_links_that_its_name_says() {
        let open = |shape| -> Vec<(usize, usize)> {
            let cut = Cut::of(shape, 4);
            let pairs = (0..4).flat_map(|a| (0..4).map(move |b| (a, b)));
            pairs.filter(|&(a, b)| a < b && !cut.blocks(a, b)).collect()
        };
        assert_eq!(
            open(Shape::One(ValidatorIndex(2))),
            [(0, 1), (0, 3), (1, 3)]
        );
        assert_eq!(open(Shape::Sides(0b0011)), [(0, 1), (2, 3)]);
        assert_eq!(open(Shape::Ring), [(0, 1), (0, 3), (1, 2), (2, 3)]);
        let mute = Cut::of(Shape::Mute(0b0001), 4);
        assert!(mute.blocks(0, 3) && !mute.blocks(3, 0));
        let deaf = Cut::of(Shape::Deaf(0b0001), 4);
        assert!(deaf.blocks(3, 0) && !deaf.blocks(0, 3));
    }

    #[test]
    fn drawn_networks_keep_the_stated_bounds() {
        for seed in 0..200 {
            let plan = NetworkPlan::draw(&mut Dice::new(seed));
            assert!(plan.loss_permille <= 300 && plan.duplicate_permille <= 200);
            assert!(plan.delay.0 <= plan.delay.1 && plan.bytes_per_ms > 0);
        }
    }
}
