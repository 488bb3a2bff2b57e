//! A world's parameters: every range is drawn once, from the seed, before anything happens (swarm testing, after Groce
//! et al., ISSTA 2012: worlds that lack a fault find what worlds with all faults hide).

use violeta_consensus::Tuning;
use violeta_replica::limits::PART_BYTES_MAX;
use violeta_types::{Election, Parameters, ValidatorIndex};

use crate::adversaries::{self, Liar, Lie};
use crate::clock::{Micros, ms, seconds};
use crate::dice::Dice;
use crate::faults::{self, Fault};
use crate::network::NetworkPlan;
use crate::options::Options;
use crate::scheduler::SchedulerPlan;
use crate::workload::WorkloadPlan;

/// Everything about a world that is decided beforehand.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) validators: usize,
    pub(crate) parameters: Parameters,
    pub(crate) tuning: Tuning,
    pub(crate) network: NetworkPlan,
    pub(crate) scheduler: SchedulerPlan,
    pub(crate) faults: Vec<(Micros, Fault)>,
    pub(crate) liars: Vec<Liar>,
    pub(crate) workload: WorkloadPlan,
    pub(crate) disk: DiskPlan,
    /// Bytes that a validator asks for at once when it catches up by commits.
    pub(crate) part_bytes_max: usize,
    /// Whether those that lose their journal ask the others, and go on.
    pub(crate) rejoin: bool,
    /// When all heals.
    pub(crate) heals: Micros,
}

/// How long things take inside a validator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DiskPlan {
    /// A sync: from … to.
    pub(crate) sync: (Micros, Micros),
    /// A step of the machine: from … to.
    pub(crate) machine: (Micros, Micros),
    /// A job: from … to.
    pub(crate) job: (Micros, Micros),
    /// A read from the journal: from … to.
    pub(crate) load: (Micros, Micros),
}

/// Worlds in a thousand that are quick and busy while one validator is away for long: it has more to catch up with
/// than the graph remembers. By chance alone that would hardly come together.
const LONG_OUTAGE_PERMILLE: u64 = 80;

impl Plan {
    /// Draws a world.
    pub(crate) fn draw(seed: u64, options: &Options) -> Self {
        let part = |name: &str| Dice::fork(seed, name);
        let (low, high) = options.validators.clone().into_inner();
        let validators = part("size").within(low as u64..=high as u64) as usize;
        let heals = seconds(options.virtual_seconds);
        let (network, scheduler, faults) = if options.faults {
            (
                NetworkPlan::draw(&mut part("network")),
                SchedulerPlan::draw(&mut part("scheduler"), validators),
                faults::draw(&mut part("faults"), validators, heals),
            )
        } else {
            let heal = vec![(heals, Fault::Heal)];
            (NetworkPlan::healthy(), SchedulerPlan::Fair, heal)
        };
        let (mut network, mut scheduler, mut faults) = (network, scheduler, faults);
        let mut parameters = parameters(&mut part("parameters"), validators);
        let mut workload = WorkloadPlan::draw(&mut part("workload"));
        let mut tuning = tuning(&mut part("tuning"));
        let mut disk = DiskPlan::draw(&mut part("disk"));
        let mut story = part("story");
        if options.faults && story.chance(LONG_OUTAGE_PERMILLE) {
            (network, scheduler) = (NetworkPlan::healthy(), SchedulerPlan::Fair);
            faults = faults::long_outage(&mut story, validators, heals);
            workload.steady(&mut story);
            parameters.gc_depth = 32;
            parameters.leaders = 3.min(validators as u32);
            tuning = Tuning {
                round_interval_us_min: ms(5),
                ..Tuning::default()
            };
            disk.sync = (50, ms(1));
        }
        let mut liars = match options.adversaries {
            true => adversaries::draw(&mut part("liars"), validators),
            false => Vec::new(),
        };
        adversaries::serve_wrongly(&mut part("wrong parts"), &mut liars);
        adversaries::deny(&mut part("denying"), &mut liars);
        faults::forgetting(&mut part("forgetting"), &liars, heals, &mut faults);
        Plan {
            validators,
            parameters,
            tuning,
            network,
            scheduler,
            faults,
            liars,
            workload,
            disk,
            part_bytes_max: part_bytes_max(&mut part("parts")),
            rejoin: part("rejoin").chance(700),
            heals,
        }
    }

    /// Who loses its disk and does nothing else that is wrong: it counts among the faulty, but never contradicts itself.
    pub(crate) fn only_forgets(&self, who: ValidatorIndex) -> bool {
        let only = |liar: &Liar| liar.who == who && liar.lies == [Lie::Amnesiac];
        self.liars.iter().any(only)
    }

    /// Whether a validator is honest, as a bit mask.
    pub(crate) fn honest(&self) -> u128 {
        let all = (1u128 << self.validators) - 1;
        self.liars
            .iter()
            .fold(all, |mask, liar| mask & !(1 << liar.who.0))
    }
}

impl DiskPlan {
    fn draw(dice: &mut Dice) -> Self {
        let mut range = |high: u64| {
            let low = dice.within(10..=200);
            (low, low + dice.within(1..=high))
        };
        DiskPlan {
            sync: range(ms(15)),
            machine: range(ms(3)),
            job: range(ms(2)),
            load: range(ms(5)),
        }
    }
}

/// Wave length, leaders, election, gc depth: mostly the default kind, with a short gc depth so that it is felt.
fn parameters(dice: &mut Dice, n: usize) -> Parameters {
    let (wave_length, election) = match dice.below(10) {
        0 => (3, Election::Seeded),
        1 => (3, Election::RoundRobin),
        2 => (4, Election::Seeded),
        3 | 4 => (5, Election::Coin),
        _ => (4, Election::Coin),
    };
    Parameters {
        wave_length,
        leaders: dice.within(1..=3.min(n as u64)) as u32,
        election,
        gc_depth: if dice.coin() {
            32
        } else {
            dice.within(33..=96)
        },
    }
}

/// Mostly so few that a range, and often one commit, takes many parts; a single vertex or record each at the least.
fn part_bytes_max(dice: &mut Dice) -> usize {
    match dice.below(4) {
        0 => PART_BYTES_MAX,
        1 => dice.within(1..=1_000) as usize,
        _ => dice.within(1_000..=64_000) as usize,
    }
}

fn tuning(dice: &mut Dice) -> Tuning {
    let usual = Tuning::default();
    if dice.coin() {
        return usual;
    }
    Tuning {
        round_interval_us_min: dice.within(ms(1)..=ms(50)),
        round_burst: dice.within(1..=20),
        light_payload_bytes: dice.below(8 << 10),
        light_interval_us_min: dice.within(ms(1)..=ms(20)),
        author_wait_us: dice.below(ms(10)),
        responsive_rounds: dice.within(1..=5),
        leader_wait_us: dice.within(ms(20)..=ms(400)),
        follow_burst: dice.within(1..=20),
        follow_interval_us: dice.within(ms(20)..=ms(400)),
        heartbeat_us: dice.within(ms(200)..=ms(1_500)),
        request_timeout_us: dice.within(ms(30)..=ms(400)),
        // Sometimes so little that old payload is always served from the journal.
        served_bytes_max: if dice.coin() {
            4 << 10
        } else {
            usual.served_bytes_max
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_world_that_is_drawn_is_a_possible_one() {
        let options = Options::default();
        for seed in 0..200 {
            let plan = Plan::draw(seed, &options);
            assert!(options.validators.contains(&plan.validators));
            assert!((3..=5).contains(&plan.parameters.wave_length));
            assert!(plan.parameters.leaders as usize <= plan.validators);
            let honest = plan.honest().count_ones() as usize;
            assert!(honest + (plan.validators - 1) / 3 >= plan.validators);
        }
    }

    #[test]
    fn without_faults_and_adversaries_there_are_none() {
        let options = Options {
            faults: false,
            adversaries: false,
            ..Options::default()
        };
        let plan = Plan::draw(3, &options);
        assert_eq!(plan.faults.len(), 1, "the healing, which heals nothing");
        assert_eq!(plan.network, NetworkPlan::healthy());
        assert!(plan.liars.is_empty());
    }
}
