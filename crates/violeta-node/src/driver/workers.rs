//! Threads that do the replica's jobs: signatures, coins, seals.
//!
//! Consensus's jobs go before clients': a flood of submissions fills the time that is left, no more.

use std::sync::atomic::{AtomicBool, Ordering};

use crossbeam_channel::{Receiver, RecvError, Sender, select_biased};
use violeta_replica::{Job, Workshop};

use super::Answer;

/// Works until both channels are closed, or the node stops.
pub(super) fn run(
    workshop: &Workshop,
    urgent: &Receiver<Job>,
    from_clients: &Receiver<Job>,
    answers: &Sender<Answer>,
    stopping: &AtomicBool,
) {
    while let Ok(job) = next(urgent, from_clients) {
        if stopping.load(Ordering::Relaxed) {
            return;
        }
        if let Some(done) = workshop.run(job) {
            let _ = answers.send(Answer::JobDone(done));
        }
    }
}

fn next(urgent: &Receiver<Job>, from_clients: &Receiver<Job>) -> Result<Job, RecvError> {
    select_biased! {
        recv(urgent) -> job => job,
        recv(from_clients) -> job => job,
    }
}
