//! Clients at work: submit, ask, insist.

use bytes::Bytes;
use violeta_replica::Input;

use super::World;
use super::end::Phase;
use crate::checkers::Verdict;
use crate::clock::{Micros, ms, wall};
use crate::event::Event;
use crate::marks::Mark;

/// How long a client's bytes take to a validator: from … to.
const CLIENT_DELAY: (Micros, Micros) = (ms(1), ms(30));
/// How long a client waits before it insists, once all is healed.
const PATIENCE_HEALED: Micros = ms(700);
/// How often a client asks.
const ASKS: Micros = ms(150);
/// How long after its expiry a client gives a transaction up, in ms: later than any clock of a validator is off.
const GIVES_UP_MS: u64 = 5_000;

impl World<'_> {
    /// A client looks after one of its transactions.
    pub(super) fn errand(&mut self, number: usize) -> Verdict {
        if self.errands[number].closed {
            return Ok(());
        }
        if let Some(outcome) = self.answer(number) {
            self.trace
                .event(self.now, "acknowledged", 0, outcome.transaction.as_ref());
            self.errands[number].closed = true;
            return self.checkers.acknowledged(outcome.transaction, &outcome);
        }
        let errand = &self.errands[number];
        if wall(self.now).0 > errand.expires.0 + GIVES_UP_MS {
            // It can't be executed any more. It may have been, unseen; that is for the model to say.
            self.errands[number].closed = true;
            return Ok(());
        }
        if self.now >= errand.insists {
            self.insist(number);
        }
        let errand = &self.errands[number];
        let again = errand.insists.min(self.now + ASKS).max(self.now + 1);
        self.queue.push(again, Event::Errand(number));
        Ok(())
    }

    /// What an honest validator that the client turned to says became of the transaction, with a certificate. (What a
    /// liar says, a client checks: `violeta-proof`.)
    fn answer(&self, number: usize) -> Option<violeta_types::Outcome> {
        let errand = &self.errands[number];
        let asked = &errand.gateways[..errand.tried];
        asked.iter().find_map(|gateway| {
            let process = gateway.as_usize();
            let life = self.processes[process].life.as_ref()?;
            let honest = self.is_honest(process);
            let outcome = life
                .storage
                .certified_outcome(&errand.id)
                .filter(|_| honest)?;
            Some(outcome.clone())
        })
    }

    /// Sends the transaction to all that were tried, and, from the second time on, to one more.
    fn insist(&mut self, number: usize) {
        // f + 1: one of them is honest.
        let enough = self.cast.epoch.committee().fault_stake().0 as usize + 1;
        let healed = self.phase != Phase::Chaos;
        let errand = &mut self.errands[number];
        if errand.submitted && errand.tried < enough {
            errand.tried += 1;
            self.marks.note(Mark::Intervention);
        }
        if healed {
            errand.tried = errand.tried.max(enough);
        }
        errand.submitted = true;
        let patience = match healed {
            true => PATIENCE_HEALED,
            false => self.plan.workload.patience,
        };
        errand.insists = self.now + patience;
        let gateways = errand.gateways[..errand.tried].to_vec();
        let bytes = errand.bytes.clone();
        for gateway in gateways {
            let at = self.now + self.dice.within(CLIENT_DELAY.0..=CLIENT_DELAY.1);
            self.queue
                .push(at, Event::Submit(gateway.as_usize(), bytes.clone()));
        }
    }

    /// A client's transaction arrives.
    pub(super) fn submit(&mut self, process: usize, bytes: Bytes) -> Verdict {
        self.trace.event(self.now, "submit", process, &bytes);
        if self.processes[process].life.is_none() {
            return Ok(());
        }
        self.tickets += 1;
        let (ticket, items) = (self.tickets, vec![bytes]);
        self.give(process, Input::Submit { ticket, items })
    }
}
