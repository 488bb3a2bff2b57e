//! A world: whole validators under one seed, in virtual time.
//!
//! ```text
//!            ┌──────────── queue of events, by virtual time ◀───────────────┐
//!            ▼                                                              │
//!   message · job done · sync done · machine step · fault · client          │ later
//!            │                                                              │
//!            ▼                                                              │
//!   replica.handle(now, input) ──▶ outputs ──▶ carried out: journal, jobs, machine, network
//!                                     └──────▶ observed: the checkers
//! ```
//!
//! The same seed and options give the same world, event for event: no clock, thread, or unordered map, and all chance
//! from the seed.

mod carry;
mod clients;
mod end;
mod observe;

use std::sync::Arc;

use violeta_db::DbRules;
use violeta_replica::{Input, Workshop};
use violeta_types::ValidatorIndex;

use crate::adversaries::{self, LyingSigner, Puppet};
use crate::cast::Cast;
use crate::checkers::{Checkers, Model, Property, Verdict, Violation, ensure};
use crate::clock::{GENESIS, Micros, ms};
use crate::dice::Dice;
use crate::event::{Event, Queue, Who};
use crate::faults::Fault;
use crate::marks::{Mark, Marks};
use crate::memo::Memo;
use crate::network::{Cut, Network, Shape};
use crate::plan::Plan;
use crate::process::{Makings, Process};
use crate::scheduler::Scheduler;
use crate::trace::Trace;
use crate::workload::{self, Errand};

use end::Phase;
use observe::Observed;

/// Events of a world, at most: more means that something runs wild.
const EVENTS_MAX: u64 = 5_000_000;
/// How long a refused validator isn't connected to: from … to.
const REFUSED: (Micros, Micros) = (ms(300), ms(1_500));
/// How long connecting takes: from … to.
const CONNECTING: (Micros, Micros) = (ms(1), ms(40));

/// See the module.
pub(crate) struct World<'a> {
    plan: Plan,
    cast: Cast,
    now: Micros,
    queue: Queue,
    network: Network,
    scheduler: Scheduler,
    processes: Vec<Process>,
    /// For two of a pair, until when they refuse each other: a square, by rows.
    refused: Vec<Micros>,
    checkers: Checkers,
    observed: Vec<Observed>,
    errands: Vec<Errand>,
    tickets: u64,
    memo: Memo,
    marks: Marks,
    dice: Dice,
    trace: Trace<'a>,
    phase: Phase,
}

impl<'a> World<'a> {
    pub(crate) fn new(seed: u64, plan: Plan, trace: Trace<'a>) -> Self {
        let n = plan.validators;
        let part = |name: &str| Dice::fork(seed, name);
        let cast = Cast::new(n, plan.parameters, plan.workload.clients, part("cast"));
        let errands = workload::draw(&cast, &plan.workload, plan.heals, &mut part("errands"));
        let model = Model::new(plan.parameters.gc_depth);
        let processes = processes(seed, &plan, &cast);
        World {
            network: Network::new(n, plan.network.clone(), part("links")),
            scheduler: Scheduler::new(plan.scheduler.clone(), n, part("schedule")),
            checkers: Checkers::new(n, plan.honest(), GENESIS, model),
            observed: vec![Observed::default(); n],
            refused: vec![0; n * n],
            now: 0,
            queue: Queue::default(),
            tickets: 0,
            memo: Memo::default(),
            marks: Marks::default(),
            dice: part("world"),
            phase: Phase::Chaos,
            plan,
            cast,
            processes,
            errands,
            trace,
        }
    }

    /// Lets the world run until it has come to rest.
    ///
    /// # Errors
    /// The first property that doesn't hold.
    pub(crate) fn run(&mut self) -> Verdict {
        self.begin()?;
        while self.phase != Phase::Over {
            let Some((at, event)) = self.queue.pop() else {
                return Err(Violation::new(
                    Property::Progress,
                    "nothing happens any more",
                ));
            };
            assert!(at >= self.now, "time doesn't go back");
            self.now = at;
            self.step(event)?;
            if self.trace.events() > EVENTS_MAX {
                let what = format!(
                    "{EVENTS_MAX} events in {} ms: something runs wild",
                    at / 1_000
                );
                return Err(Violation::new(Property::Progress, what));
            }
        }
        self.finish()
    }

    fn begin(&mut self) -> Verdict {
        for process in 0..self.n() {
            self.start(process)?;
        }
        for (at, fault) in self.plan.faults.clone() {
            self.queue.push(at, Event::Fault(fault));
        }
        for (number, errand) in self.errands.iter().enumerate() {
            self.queue.push(errand.begins, Event::Errand(number));
        }
        Ok(())
    }

    fn n(&self) -> usize {
        self.plan.validators
    }

    fn is_honest(&self, process: usize) -> bool {
        self.checkers.is_honest(ValidatorIndex(process as u16))
    }

    /// Whether a validator never contradicts itself: honest, or nothing but forgetful.
    fn is_consistent(&self, process: usize) -> bool {
        self.is_honest(process) || self.plan.only_forgets(ValidatorIndex(process as u16))
    }

    fn honest(&self) -> impl Iterator<Item = usize> + use<> {
        let mask = self.plan.honest();
        (0..self.n()).filter(move |process| mask >> process & 1 == 1)
    }

    /// A life of now, for events that are meant for it.
    fn who(&self, process: usize) -> Who {
        let life = self.processes[process].life_number;
        Who { process, life }
    }

    fn is_alive(&self, who: Who) -> bool {
        let process = &self.processes[who.process];
        process.life.is_some() && process.life_number == who.life
    }

    fn line(&mut self, who: Option<usize>, what: std::fmt::Arguments<'_>) {
        self.trace.line(self.now, who, what);
    }

    // ── Events ──────────────────────────────────────────────────────────────────────────────────────────────────

    fn step(&mut self, event: Event) -> Verdict {
        match event {
            Event::Deliver {
                from,
                to,
                generation,
                bytes,
            } => {
                self.trace.event(self.now, "deliver", to, &bytes);
                match self.network.arrive(from, to, bytes.len(), generation) {
                    true => self.deliver(from, to, bytes),
                    false => Ok(()),
                }
            }
            Event::Connect(a, b) => self.connect(a, b),
            Event::Fault(fault) => self.fault(fault),
            Event::Errand(number) => self.errand(number),
            Event::Submit(process, bytes) => self.submit(process, bytes),
            Event::Survey => self.survey(),
            Event::Job(who, ..)
            | Event::Synced(who, ..)
            | Event::Machine(who)
            | Event::Load(who, ..)
            | Event::Wake(who)
                if !self.is_alive(who) =>
            {
                Ok(())
            }
            Event::Job(who, job) => self.job(who.process, job),
            Event::Synced(who, mark) => self.synced(who.process, mark),
            Event::Machine(who) => self.machine(who.process),
            Event::Load(who, request) => self.load(who.process, request),
            Event::Wake(who) => self.wake(who.process),
        }
    }

    fn deliver(&mut self, from: usize, to: usize, bytes: bytes::Bytes) -> Verdict {
        let from = ValidatorIndex(from as u16);
        let process = &mut self.processes[to];
        if let Some(puppet) = &mut process.puppet {
            let wall = crate::clock::wall(self.now);
            for (to_whom, bytes) in puppet.receive(from, &bytes, wall) {
                self.transmit(to, to_whom.as_usize(), bytes);
            }
            return Ok(());
        }
        match process.life {
            Some(_) => self.give(to, Input::Message { from, bytes }),
            None => Ok(()),
        }
    }

    fn wake(&mut self, process: usize) -> Verdict {
        let now = self.now;
        let Some(life) = &mut self.processes[process].life else {
            return Ok(());
        };
        if life.wake != Some(now) {
            // An earlier one took its place.
            return Ok(());
        }
        life.wake = None;
        self.trace.event(now, "wake", process, &[]);
        self.give(process, Input::Tick)
    }

    // ── Lives ───────────────────────────────────────────────────────────────────────────────────────────────────

    fn start(&mut self, process: usize) -> Verdict {
        if self.processes[process].puppet.is_some() {
            self.connect_all(process);
        }
        if self.processes[process].is_up() {
            return Ok(());
        }
        let makings = Makings {
            cast: &self.cast,
            tuning: self.plan.tuning,
            part_bytes_max: self.plan.part_bytes_max,
        };
        let who = ValidatorIndex(process as u16);
        let first = self.processes[process].life_number == 0;
        let started = match self.processes[process].start(self.now, &makings) {
            Ok(started) => started,
            Err(reason) => {
                let what = format!("validator {who} can't start again: {reason}");
                return Err(Violation::new(Property::Recovery, what));
            }
        };
        let height = started.position.height;
        self.trace
            .event(self.now, "start", process, &height.0.to_le_bytes());
        self.line(
            Some(process),
            format_args!(
                "starts with {} records, {} commits, height {height}",
                started.recovered.records, started.recovered.commits
            ),
        );
        if !first {
            self.marks.note(Mark::Restart);
        }
        if started.went_back {
            self.marks.note(Mark::StoreWentBack);
        }
        if started.cut_short {
            self.marks.note(Mark::SyncCutShort);
        }
        if started.rebuilds_store {
            self.marks.note(Mark::StoreRebuilt);
        }
        self.observed[process].restart();
        self.check_memory(process, started.recovered.rejoined)?;
        if self.is_honest(process) {
            let recovered = &started.recovered;
            self.checkers
                .restarted(who, &recovered.own, recovered.commits, height)?;
        }
        self.drain(process)?;
        self.connect_all(process);
        Ok(())
    }

    /// Who lost its disk knows it from the first moment, and nobody else believes it of itself. Only a quorum's word that
    /// is in the journal makes it good.
    fn check_memory(&mut self, process: usize, rejoined: bool) -> Verdict {
        let it = &self.processes[process];
        let Some(life) = &it.life else { return Ok(()) };
        let (forgot, status) = (it.forgot && !rejoined, life.replica.status());
        ensure!(
            status.amnesia == forgot && !(forgot && status.accepts),
            Property::Amnesia,
            "validator {process} starts, its journal lost: {forgot}; it believes {}, and takes transactions: {}",
            status.amnesia,
            status.accepts
        );
        if forgot {
            self.marks.note(Mark::Amnesia);
        }
        Ok(())
    }

    fn crash(&mut self, process: usize) -> Verdict {
        if self.processes[process].life.is_none() {
            return Ok(());
        }
        self.observe_decisions(process);
        self.marks.note(Mark::Crash);
        self.trace.event(self.now, "crash", process, &[]);
        self.line(Some(process), format_args!("loses power"));
        self.processes[process].crash();
        self.remove_lost_store(process)?;
        for other in 0..self.n() {
            if other != process {
                self.disconnect(process, other)?;
            }
        }
        Ok(())
    }

    // ── Connections ─────────────────────────────────────────────────────────────────────────────────────────────

    fn connect_all(&mut self, process: usize) {
        for other in 0..self.n() {
            if other != process {
                self.connect_soon(process, other);
            }
        }
    }

    fn connect_soon(&mut self, a: usize, b: usize) {
        let refused = self.refused[a * self.n() + b];
        let at = refused.max(self.now) + self.dice.within(CONNECTING.0..=CONNECTING.1);
        self.queue.push(at, Event::Connect(a, b));
    }

    fn connect(&mut self, a: usize, b: usize) -> Verdict {
        let both_up = self.processes[a].is_up() && self.processes[b].is_up();
        // Whatever keeps them apart now (a cut, a crash) has them connected when it ends.
        if !both_up || self.network.is_broken(a, b) || self.refused[a * self.n() + b] > self.now {
            return Ok(());
        }
        if !self.network.set_up(a, b, true) {
            return Ok(());
        }
        self.trace.event(self.now, "connect", a, &[b as u8]);
        self.tell_link(a, b, true)
    }

    fn disconnect(&mut self, a: usize, b: usize) -> Verdict {
        if !self.network.set_up(a, b, false) {
            return Ok(());
        }
        self.trace.event(self.now, "disconnect", a, &[b as u8]);
        self.tell_link(a, b, false)
    }

    fn tell_link(&mut self, a: usize, b: usize, up: bool) -> Verdict {
        for (process, peer) in [(a, b), (b, a)] {
            if self.processes[process].life.is_some() {
                let peer = ValidatorIndex(peer as u16);
                let input = match up {
                    true => Input::PeerUp(peer),
                    false => Input::PeerDown(peer),
                };
                self.give(process, input)?;
            }
        }
        Ok(())
    }

    /// Two part, one of them for the other's fault; they connect again later.
    fn part(&mut self, a: usize, b: usize) -> Verdict {
        let until = self.now + self.dice.within(REFUSED.0..=REFUSED.1);
        let n = self.n();
        for (from, to) in [(a, b), (b, a)] {
            self.refused[from * n + to] = until;
        }
        self.disconnect(a, b)?;
        self.connect_soon(a, b);
        Ok(())
    }

    // ── Faults ──────────────────────────────────────────────────────────────────────────────────────────────────

    fn fault(&mut self, fault: Fault) -> Verdict {
        self.trace
            .event(self.now, "fault", 0, format!("{fault:?}").as_bytes());
        self.line(None, format_args!("{fault:?}"));
        match fault {
            Fault::Partition(shape) => self.partition(shape),
            Fault::Mend => self.mend(),
            Fault::Crash { who, in_sync, down } => self.power_off(who, in_sync, down),
            Fault::Restart(who) => self.start(who.as_usize()),
            Fault::Blackout => {
                self.marks.note(Mark::Blackout);
                (0..self.n()).try_for_each(|process| self.crash(process))
            }
            Fault::PowerBack => self.start_all(),
            Fault::Skew(who, skew) => {
                self.processes[who.as_usize()].clock.set_skew(skew);
                Ok(())
            }
            Fault::SlowDisk(who, takes) => {
                self.processes[who.as_usize()].slow_disk = Some(takes);
                Ok(())
            }
            Fault::StoreLost(who) => self.lose_store(who),
            Fault::Heal => self.heal(),
        }
    }

    fn power_off(&mut self, who: ValidatorIndex, in_sync: bool, down: Micros) -> Verdict {
        let process = &mut self.processes[who.as_usize()];
        if in_sync {
            process.doomed = Some(down);
            return Ok(());
        }
        process.doomed = None;
        self.queue
            .push(self.now + down, Event::Fault(Fault::Restart(who)));
        self.crash(who.as_usize())
    }

    fn lose_store(&mut self, who: ValidatorIndex) -> Verdict {
        let process = &mut self.processes[who.as_usize()];
        process.loses_store = true;
        if process.life.is_none() {
            return self.remove_lost_store(who.as_usize());
        }
        Ok(())
    }

    /// A validator is down: if it is to lose its store, it does.
    fn remove_lost_store(&mut self, process: usize) -> Verdict {
        let it = &mut self.processes[process];
        if it.puppet.is_some() || !std::mem::take(&mut it.loses_store) {
            return Ok(());
        }
        let removed = it.remove_store();
        self.line(Some(process), format_args!("loses its store"));
        self.checkers.store_lost(ValidatorIndex(process as u16));
        self.storage_verdict(process, removed)
    }

    fn start_all(&mut self) -> Verdict {
        (0..self.n())
            .filter(|&process| !self.processes[process].is_up())
            .collect::<Vec<_>>()
            .into_iter()
            .try_for_each(|process| self.start(process))
    }

    fn partition(&mut self, shape: Shape) -> Verdict {
        self.marks.note(Mark::Partition);
        self.mend()?;
        self.network.cut(Cut::of(shape, self.n()));
        for (a, b) in self.pairs() {
            if self.network.is_broken(a, b) {
                self.disconnect(a, b)?;
            }
        }
        Ok(())
    }

    fn mend(&mut self) -> Verdict {
        self.network.cut(Cut::none(self.n()));
        for (a, b) in self.pairs() {
            self.connect_soon(a, b);
        }
        Ok(())
    }

    fn pairs(&self) -> Vec<(usize, usize)> {
        let n = self.n();
        (0..n)
            .flat_map(|a| (a + 1..n).map(move |b| (a, b)))
            .collect()
    }

    fn heal(&mut self) -> Verdict {
        self.network.heal();
        self.scheduler.heal();
        for process in &mut self.processes {
            process.clock.set_skew(0);
            process.slow_disk = None;
            process.doomed = None;
            process.loses_store = false;
        }
        self.start_all()?;
        self.mend()?;
        self.settle();
        Ok(())
    }

    pub(crate) fn trace(&self) -> &Trace<'a> {
        &self.trace
    }

    pub(crate) fn marks(&self) -> &Marks {
        &self.marks
    }
}

/// The validators, with what makes liars of some.
fn processes(seed: u64, plan: &Plan, cast: &Cast) -> Vec<Process> {
    let rules = Arc::new(DbRules::new(cast.genesis.chain_id()));
    let threshold = Arc::new(cast.threshold.clone());
    let make = |process: usize| {
        let index = ValidatorIndex(process as u16);
        let mut dice = Dice::fork(seed, &format!("validator {process}"));
        let liar = plan.liars.iter().find(|liar| liar.who == index);
        let lies = liar.map_or(&[][..], |liar| &liar.lies);
        let honest = cast.threshold.signer(index);
        let signer: Arc<dyn violeta_crypto::ShareSigner> =
            match lies.contains(&adversaries::Lie::WrongShares) {
                true => Arc::new(LyingSigner::draw(honest, &mut dice)),
                false => Arc::new(honest),
            };
        let workshop = Workshop::new(
            cast.epoch.clone(),
            rules.clone(),
            Some(threshold.clone()),
            Some(signer),
        );
        let adversaries = (lies.iter())
            .filter_map(|lie| adversaries::adversary(*lie, plan.validators, &mut dice))
            .collect();
        let puppeteer = lies
            .iter()
            .find_map(|lie| adversaries::puppeteer(*lie, &mut dice));
        let puppet = puppeteer.map(|puppeteer| {
            let (key, epoch) = (cast.validator_key(index), cast.epoch.clone());
            let dice = Dice::fork(seed, &format!("puppet {process}"));
            Puppet::new(index, key, epoch, cast.threshold.clone(), puppeteer, dice)
        });
        let mut process = Process::new(index, workshop, dice);
        process.adversaries = adversaries;
        process.forgets = lies.contains(&adversaries::Lie::Amnesiac);
        process.rejoins = process.forgets && plan.rejoin;
        process.puppet = puppet;
        process
    };
    (0..plan.validators).map(make).collect()
}

impl World<'_> {
    /// Numbers, for people.
    pub(crate) fn stats(&self) -> crate::run::Stats {
        crate::run::Stats {
            validators: self.n(),
            liars: self.plan.liars.len(),
            virtual_ms: self.now / 1_000,
            events: self.trace.events(),
            commits: self.checkers.log.len(),
            height: self.checkers.height().0,
            transactions: self.checkers.blocks.outcomes_count(),
            acknowledged: self.checkers.acknowledged.count(),
            vertices: self.checkers.sent.vertices_count(),
            network: self.network.stats(),
        }
    }
}
