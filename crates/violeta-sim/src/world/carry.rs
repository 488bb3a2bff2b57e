//! Carrying out what replicas ask for, with modelled delays.

use std::ops::RangeInclusive;

use bytes::Bytes;
use violeta_replica::machine::{Event as MachineEvent, Machine};
use violeta_replica::{Input, Job, LoadRequest, Message, Output};
use violeta_types::ValidatorIndex;

use super::World;
use crate::adversaries::Means;
use crate::checkers::{Property, Verdict, Violation};
use crate::clock::Micros;
use crate::content;
use crate::event::Event;
use crate::faults::Fault;
use crate::marks::Mark;

fn range((low, high): (Micros, Micros)) -> RangeInclusive<u64> {
    low..=high
}

impl World<'_> {
    /// Gives a replica an input, and carries out what it leads to.
    pub(super) fn give(&mut self, process: usize, input: Input) -> Verdict {
        let it = &mut self.processes[process];
        let now = it.clock.read(self.now);
        let Some(life) = &mut it.life else {
            return Ok(());
        };
        life.replica.handle(now, input);
        self.drain(process)
    }

    /// Carries out what a replica asks for.
    pub(super) fn drain(&mut self, process: usize) -> Verdict {
        let mut outputs = Vec::new();
        if let Some(life) = &mut self.processes[process].life {
            while let Some(output) = life.replica.poll() {
                outputs.push(output);
            }
        }
        for output in outputs {
            self.carry_out(process, output)?;
        }
        self.plan_wake(process);
        Ok(())
    }

    fn carry_out(&mut self, process: usize, output: Output) -> Verdict {
        match output {
            Output::Send { to, bytes } => self.send(process, to.as_usize(), bytes),
            Output::Append(record) => {
                self.observe_record(process, &record);
                let Some(life) = &mut self.processes[process].life else {
                    return Ok(());
                };
                let appended = life.storage.append(&record);
                self.storage_verdict(process, appended)
            }
            Output::Sync { mark } => {
                self.begin_sync(process, mark);
                Ok(())
            }
            Output::Job(job) => {
                let at = self.now + self.dice.within(range(self.plan.disk.job));
                self.queue.push(at, Event::Job(self.who(process), job));
                Ok(())
            }
            Output::Machine(event) => {
                if let Some(life) = &mut self.processes[process].life {
                    life.queue.push_back(event);
                }
                self.plan_machine(process);
                Ok(())
            }
            Output::Load(request) => {
                let at = self.now + self.dice.within(range(self.plan.disk.load));
                self.queue.push(at, Event::Load(self.who(process), request));
                Ok(())
            }
            Output::Refuse { peer, reason } => self.refuse(process, peer, &reason),
            Output::Notice(notice) => self.observe_notice(process, notice),
            Output::Halt(reason) => self.halt(process, &reason),
        }
    }

    fn plan_wake(&mut self, process: usize) {
        let who = self.who(process);
        let it = &mut self.processes[process];
        let Some(life) = &mut it.life else { return };
        let Some(due) = life.replica.next_wakeup() else {
            return;
        };
        // Never in the same instant: a replica that always wants to be woken must not stop time.
        let at = it.clock.when(due).max(self.now + 1);
        if life.wake.is_none_or(|planned| at < planned) {
            life.wake = Some(at);
            self.queue.push(at, Event::Wake(who));
        }
    }

    // ── The network ─────────────────────────────────────────────────────────────────────────────────────────────

    fn send(&mut self, process: usize, to: usize, bytes: Bytes) -> Verdict {
        if self.is_consistent(process) {
            self.observe_send(process, &bytes)?;
            self.transmit(process, to, bytes);
            return Ok(());
        }
        if self.processes[process].adversaries.is_empty() {
            self.transmit(process, to, bytes);
            return Ok(());
        }
        let Ok(message) = Message::decode(&bytes) else {
            let what = format!("validator {process} sent what can't be decoded");
            return Err(Violation::new(Property::NoHalt, what));
        };
        for message in self.lie(process, ValidatorIndex(to as u16), message) {
            self.transmit(process, to, message.to_bytes());
        }
        Ok(())
    }

    /// What a liar's adversaries make of a message.
    fn lie(&mut self, process: usize, to: ValidatorIndex, message: Message) -> Vec<Message> {
        let key = self.cast.validator_key(ValidatorIndex(process as u16));
        let it = &mut self.processes[process];
        let mut messages = vec![message];
        for adversary in &mut it.adversaries {
            let mut means = Means {
                key: &key,
                now: self.now,
                dice: &mut it.dice,
            };
            let sent = std::mem::take(&mut messages);
            messages = sent
                .into_iter()
                .flat_map(|m| adversary.send(&mut means, to, m))
                .collect();
        }
        messages
    }

    /// Gives bytes to the network.
    pub(super) fn transmit(&mut self, from: usize, to: usize, bytes: Bytes) {
        let extra = self.scheduler.extra(self.now, from, to);
        for arrival in self.network.send(self.now, from, to, bytes.len(), extra) {
            let event = Event::Deliver {
                from,
                to,
                generation: arrival.generation,
                bytes: bytes.clone(),
            };
            self.queue.push(arrival.at, event);
        }
    }

    fn refuse(&mut self, process: usize, peer: ValidatorIndex, reason: &str) -> Verdict {
        self.line(Some(process), format_args!("refuses {peer}: {reason}"));
        let both_honest = self.is_honest(process) && self.checkers.is_honest(peer);
        if both_honest {
            let what =
                format!("validator {process} refuses validator {peer}, which is honest: {reason}");
            return Err(Violation::new(Property::NoFalseBlame, what));
        }
        self.marks.note(Mark::Refusal);
        self.part(process, peer.as_usize())
    }

    fn halt(&mut self, process: usize, reason: &str) -> Verdict {
        self.line(Some(process), format_args!("stops: {reason}"));
        if self.is_honest(process) {
            let what = format!("validator {process} stops: {reason}");
            return Err(Violation::new(Property::NoHalt, what));
        }
        Ok(())
    }

    // ── Jobs and the journal ────────────────────────────────────────────────────────────────────────────────────

    pub(super) fn job(&mut self, process: usize, job: Job) -> Verdict {
        self.trace
            .event(self.now, "job", process, &content::of_job(&job));
        let done = self.memo.run(&self.processes[process].workshop, job);
        match done {
            Some(done) => self.give(process, Input::JobDone(done)),
            None => Ok(()),
        }
    }

    fn sync_takes(&mut self, process: usize) -> Micros {
        let usual = self.dice.within(range(self.plan.disk.sync));
        self.processes[process].slow_disk.unwrap_or(0) + usual
    }

    fn begin_sync(&mut self, process: usize, mark: u64) {
        let takes = self.sync_takes(process);
        let who = self.who(process);
        let Some(life) = &mut self.processes[process].life else {
            return;
        };
        if life.syncing.is_some() {
            life.sync_wanted = life.sync_wanted.max(Some(mark));
            return;
        }
        life.syncing = Some(mark);
        life.storage.begin_sync();
        self.queue.push(self.now + takes, Event::Synced(who, mark));
        self.meet_doom(process, takes);
    }

    /// A disk is at work for this long: a validator that is to lose power in the midst of it does.
    fn meet_doom(&mut self, process: usize, takes: Micros) {
        let it = &mut self.processes[process];
        if let Some(down) = it.doomed.take() {
            let (who, in_sync) = (it.index, false);
            let at = self.now + self.dice.below(takes.max(1));
            self.queue
                .push(at, Event::Fault(Fault::Crash { who, in_sync, down }));
        }
    }

    pub(super) fn synced(&mut self, process: usize, mark: u64) -> Verdict {
        self.trace
            .event(self.now, "synced", process, &mark.to_le_bytes());
        let Some(life) = &mut self.processes[process].life else {
            return Ok(());
        };
        let synced = life.storage.end_sync();
        life.syncing = None;
        let wanted = life.sync_wanted.take();
        self.storage_verdict(process, synced)?;
        if let Some(next) = wanted {
            self.begin_sync(process, next);
        }
        self.give(process, Input::Synced { mark })
    }

    pub(super) fn load(&mut self, process: usize, request: LoadRequest) -> Verdict {
        self.trace
            .event(self.now, "load", process, &content::of_load(&request));
        let Some(life) = &self.processes[process].life else {
            return Ok(());
        };
        let is_vertices = matches!(request, LoadRequest::Vertices { .. });
        match life.storage.load(request) {
            Ok(loaded) => {
                if is_vertices && !loaded.vertices.is_empty() {
                    self.marks.note(Mark::VerticesServed);
                }
                self.give(process, Input::Loaded(loaded))
            }
            Err(error) => self.storage_verdict(process, Err(error)),
        }
    }

    pub(super) fn storage_verdict(&self, process: usize, result: Result<(), String>) -> Verdict {
        result.map_err(|error| {
            let what = format!("the journal of validator {process}: {error}");
            Violation::new(Property::Recovery, what)
        })
    }

    // ── The machine ─────────────────────────────────────────────────────────────────────────────────────────────

    fn plan_machine(&mut self, process: usize) {
        let takes = self.dice.within(range(self.plan.disk.machine));
        let flush = self.sync_takes(process);
        let who = self.who(process);
        let Some(life) = &mut self.processes[process].life else {
            return;
        };
        let Some(next) = life.queue.front() else {
            return;
        };
        if life.machine_busy {
            return;
        }
        life.machine_busy = true;
        let is_flush = matches!(next, MachineEvent::Flush);
        let takes = takes + if is_flush { flush } else { 0 };
        self.queue.push(self.now + takes, Event::Machine(who));
        if is_flush {
            self.meet_doom(process, takes);
        }
    }

    pub(super) fn machine(&mut self, process: usize) -> Verdict {
        let mut effects = Vec::new();
        if let Some(life) = &mut self.processes[process].life {
            life.machine_busy = false;
            if let Some(event) = life.queue.pop_front() {
                let content = content::of_machine_event(&event);
                self.trace.event(self.now, "machine", process, &content);
                life.machine.handle(event);
            }
            while let Some(effect) = life.machine.poll() {
                effects.push(effect);
            }
        }
        for effect in effects {
            self.trace
                .event(self.now, "effect", process, &content::of_effect(&effect));
            self.give(process, Input::Machine(effect))?;
        }
        self.plan_machine(process);
        Ok(())
    }
}
