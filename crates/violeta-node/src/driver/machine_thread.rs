//! The machine's thread: events in, effects out, in order.
//!
//! A flush waits until what has queued before it came to be handled is executed too (up to a bound): so several commits
//! share one sync of the store. Effects leave after each event: heads are known long before they are durable.

use crossbeam_channel::{Receiver, Sender};
use violeta_replica::{Event, Machine};

use super::Answer;

/// Events executed before a flush that has been asked for.
const EVENTS_BEFORE_FLUSH_MAX: usize = 64;

/// Runs until the events end; makes durable what was executed.
pub(super) fn run(
    mut machine: Box<dyn Machine>,
    events: &Receiver<Event>,
    answers: &Sender<Answer>,
) {
    while let Ok(event) = events.recv() {
        let mut flush = step(&mut *machine, event, answers);
        if flush {
            for event in events.try_iter().take(EVENTS_BEFORE_FLUSH_MAX) {
                flush |= step(&mut *machine, event, answers);
            }
            tell(&mut *machine, Event::Flush, answers);
        }
    }
    tell(&mut *machine, Event::Flush, answers);
}

/// Handles an event, but for a flush; says whether it is one.
fn step(machine: &mut dyn Machine, event: Event, answers: &Sender<Answer>) -> bool {
    match event {
        Event::Flush => true,
        event => {
            tell(machine, event, answers);
            false
        }
    }
}

fn tell(machine: &mut dyn Machine, event: Event, answers: &Sender<Answer>) {
    machine.handle(event);
    while let Some(effect) = machine.poll() {
        // The replica's thread has gone only when the node stops; then nobody needs to know.
        let _ = answers.send(Answer::Machine(effect));
    }
}
