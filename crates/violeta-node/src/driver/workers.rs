//! Threads that do the replica's jobs: signatures, coins, seals.

use std::sync::atomic::{AtomicBool, Ordering};

use crossbeam_channel::Sender;
use violeta_replica::Workshop;

use super::Answer;
use super::jobs::JobReceiver;

/// Works until there are no more jobs, or the node stops.
pub(super) fn run(
    workshop: &Workshop,
    jobs: &JobReceiver,
    answers: &Sender<Answer>,
    stopping: &AtomicBool,
) {
    while let Some(job) = jobs.next() {
        if stopping.load(Ordering::Relaxed) {
            return;
        }
        if let Some(done) = workshop.run(job) {
            // Where nobody listens any more, the node is stopping.
            let _ = answers.send(Answer::JobDone(done));
        }
    }
}
