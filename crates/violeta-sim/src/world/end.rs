//! How a world ends: it heals, settles, comes to rest, and is looked over.
//!
//! ```text
//!   Chaos ── all heals ──▶ Settling ── every transaction has its answer ──▶ Resting ── quiet, all equal ──▶ Over
//!                             │ too long: no progress                         │ too long: not quiet
//! ```

use violeta_db::At;
use violeta_types::ValidatorIndex;

use super::World;
use crate::checkers::{Property, Verdict, Violation, ensure};
use crate::clock::{Micros, ms, seconds};
use crate::event::Event;
use crate::marks::Mark;
use crate::workload;

/// How long settling may take.
const SETTLING_MAX: Micros = seconds(60);
/// How long coming to rest may take while nobody who is behind gets on.
const RESTING_MAX: Micros = seconds(30);
/// How long coming to rest may take in all. Who catches up by parts of one vertex each needs its time.
const RESTING_IN_ALL_MAX: Micros = seconds(300);
/// How long nothing may be made, for a world to be at rest: longer than any pause that is drawn, and two heartbeats.
const QUIET: Micros = seconds(3);
/// How often the world is looked over.
const SURVEY: Micros = ms(100);

/// How far a world is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Chaos,
    Settling { since: Micros },
    Resting(Rest),
    Over,
}

/// Coming to rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rest {
    began: Micros,
    /// Since when nobody who catches up has got on.
    since: Micros,
    /// The commits that those who catch up had then, in all.
    caught_up: u64,
    /// Since when no vertex was made.
    quiet: Micros,
    /// How many there were then.
    vertices: u64,
}

impl World<'_> {
    /// All has healed.
    pub(super) fn settle(&mut self) {
        self.phase = Phase::Settling { since: self.now };
        for errand in &mut self.errands {
            errand.insists = errand.insists.min(self.now);
        }
        self.queue.push(self.now + SURVEY, Event::Survey);
    }

    /// Looks the world over.
    pub(super) fn survey(&mut self) -> Verdict {
        self.queue.push(self.now + SURVEY, Event::Survey);
        match self.phase {
            Phase::Chaos | Phase::Over => {}
            Phase::Settling { since } if self.has_settled() => {
                self.line(
                    None,
                    format_args!("settled after {} ms", (self.now - since) / 1_000),
                );
                for process in &mut self.processes {
                    if let Some(puppet) = &mut process.puppet {
                        puppet.rest();
                    }
                }
                self.phase = Phase::Resting(Rest {
                    began: self.now,
                    since: self.now,
                    caught_up: 0,
                    quiet: self.now,
                    vertices: self.checkers.sent.vertices_count(),
                });
            }
            Phase::Settling { since } => {
                ensure!(
                    self.now < since + SETTLING_MAX,
                    Property::Progress,
                    "{} ms after all healed: {}",
                    (self.now - since) / 1_000,
                    self.where_all_stand()
                );
            }
            Phase::Resting(rest) => self.rest(rest)?,
        }
        Ok(())
    }

    fn has_settled(&self) -> bool {
        self.errands.iter().all(|errand| errand.closed)
    }

    fn rest(&mut self, mut rest: Rest) -> Verdict {
        let (made, caught_up) = (self.checkers.sent.vertices_count(), self.caught_up());
        if caught_up != rest.caught_up {
            (rest.since, rest.caught_up) = (self.now, caught_up);
        }
        if made != rest.vertices {
            (rest.quiet, rest.vertices) = (self.now, made);
        }
        self.phase = Phase::Resting(rest);
        let is_quiet = self.now >= rest.quiet + QUIET;
        if is_quiet && self.are_all_equal() {
            self.line(None, format_args!("at rest"));
            self.phase = Phase::Over;
            return Ok(());
        }
        let property = match is_quiet {
            true => Property::Progress,
            false => Property::Quiescence,
        };
        let in_time =
            self.now < rest.since + RESTING_MAX && self.now < rest.began + RESTING_IN_ALL_MAX;
        ensure!(
            in_time,
            property,
            "{} ms after the last transaction was answered, and {} ms after anybody got on with catching up, vertices \
             are made or validators differ: {}",
            (self.now - rest.began) / 1_000,
            (self.now - rest.since) / 1_000,
            self.where_all_stand()
        );
        Ok(())
    }

    /// The commits that those have, in all, who are catching up.
    fn caught_up(&self) -> u64 {
        let behind = self.honest().filter(|&process| {
            let life = self.processes[process].life.as_ref();
            life.is_some_and(|life| life.replica.status().catching_up)
        });
        behind
            .map(|process| self.checkers.log.length(ValidatorIndex(process as u16)))
            .sum()
    }

    /// Whether all honest validators have the whole log, have executed it, and know its last head certified; and those
    /// that only forget have followed, and come back where they may.
    fn are_all_equal(&self) -> bool {
        let (commits, height) = (self.checkers.log.len(), self.checkers.height());
        let follows = |process: &usize| {
            let life = self.processes[*process].life.as_ref();
            let back = |amnesia: bool| !(amnesia && self.plan.rejoin);
            life.is_some_and(|life| {
                let status = life.replica.status();
                status.executed == height && back(status.amnesia)
            })
        };
        let forgetful = (0..self.n()).filter(|process| self.is_consistent(*process));
        if !forgetful.into_iter().all(|process| follows(&process)) {
            return false;
        }
        self.honest().all(|process| {
            let who = ValidatorIndex(process as u16);
            let Some(life) = &self.processes[process].life else {
                return false;
            };
            let status = life.replica.status();
            self.checkers.log.length(who) == commits
                && status.executed == height
                && status.certified == height
                && life.storage.certified_height() == height
        })
    }

    /// For people: how far each honest validator is, and what is open.
    fn where_all_stand(&self) -> String {
        let open = self.errands.iter().filter(|errand| !errand.closed).count();
        let mut text = format!(
            "{open} transactions open; log {}, height {}, certified {}",
            self.checkers.log.len(),
            self.checkers.height(),
            self.checkers.blocks.certified_height()
        );
        for process in self.honest() {
            let who = ValidatorIndex(process as u16);
            let status = self.processes[process]
                .life
                .as_ref()
                .map(|life| life.replica.status());
            let Some(status) = status else {
                text.push_str(&format!("; v{process} is down"));
                continue;
            };
            text.push_str(&format!(
                "; v{process} round {} log {} executed {} certified {} lag {} pool {} {}",
                status.round,
                self.checkers.log.length(who),
                status.executed,
                status.certified,
                status.lag,
                status.mempool_count,
                if status.catching_up {
                    " catching up"
                } else {
                    ""
                },
            ));
        }
        text
    }

    /// The last look: what was acknowledged is there, every state is the model's, and every validator starts again.
    pub(super) fn finish(&mut self) -> Verdict {
        self.checkers.finish()?;
        for process in self.honest() {
            self.compare_state(process)?;
        }
        self.marks
            .note_times(Mark::Duplicate, self.checkers.model.skipped());
        for process in 0..self.n() {
            self.crash(process)?;
        }
        self.honest().try_for_each(|process| self.start(process))
    }

    fn compare_state(&self, process: usize) -> Verdict {
        let Some(life) = &self.processes[process].life else {
            return Ok(());
        };
        let reader = life.machine.reader();
        let model = &self.checkers.model;
        let height = reader.latest_height();
        ensure!(
            height == model.height(),
            Property::Model,
            "validator {process} is at height {height}, the model at {}",
            model.height()
        );
        for namespace in model.namespaces() {
            for number in 0..self.plan.workload.keys {
                let key = workload::key(number);
                let found = reader.get(namespace, &key, At::Latest).map_err(|error| {
                    let what = format!("validator {process} can't read its store: {error}");
                    Violation::new(Property::Recovery, what)
                })?;
                let found = found
                    .1
                    .map(|stored| (stored.written_at, stored.value.into_inner()));
                let expected = model.get(namespace, key.bytes()).cloned();
                ensure!(
                    found == expected,
                    Property::Model,
                    "validator {process} has {found:?} under {namespace:?} {key:?}, the model {expected:?}"
                );
            }
        }
        Ok(())
    }
}
