//! News from the replica: who asked is answered, and what gateways see is brought up to date.

use crossbeam_channel::Receiver;
use tracing::{info, warn};
use violeta_replica::Notice;

use crate::handle::Shared;
use crate::lock::lock;

/// Works until the channel is closed.
pub(super) fn run(shared: &Shared, notices: &Receiver<Notice>) {
    for notice in notices {
        tell(shared, notice);
    }
    shared.submissions.close();
}

fn tell(shared: &Shared, notice: Notice) {
    let metrics = &shared.metrics;
    match notice {
        Notice::Submitted { ticket, verdicts } => {
            let mut tracker = lock(&shared.tracker);
            let mut taken = 0;
            for id in verdicts.iter().flatten() {
                tracker.queued(*id);
                taken += 1;
            }
            drop(tracker);
            metrics.transactions_queued.inc_by(taken);
            metrics
                .transactions_refused
                .inc_by(verdicts.len() as u64 - taken);
            shared.submissions.answer(ticket, verdicts);
        }
        Notice::Proposed {
            vertex,
            transactions,
        } => {
            let mut tracker = lock(&shared.tracker);
            for id in &transactions {
                tracker.proposed(id, vertex.round);
            }
        }
        Notice::Expired(transactions) => {
            let mut tracker = lock(&shared.tracker);
            for id in &transactions {
                tracker.expired(id);
            }
        }
        Notice::Committed { commit, .. } => {
            metrics.commit_index.set(commit.index.0 as i64);
            shared.chain.committed(commit.index);
        }
        Notice::Executed(block) => {
            metrics.height_executed.set(block.head.height.0 as i64);
            metrics
                .transactions_executed
                .inc_by(block.outcomes.len() as u64);
            // First where it is looked up, then whoever waits for it.
            shared.chain.executed(block.clone());
            lock(&shared.tracker).executed(&block);
        }
        Notice::Certified(certified) => {
            metrics.height_certified.set(certified.head.height.0 as i64);
            shared.chain.certified(certified);
        }
        Notice::Sealed(seal) => shared.chain.sealed(seal),
        Notice::Rejoined { floor } => {
            info!(%floor, "a quorum has told how far the lost journal had got: vertices are made again, above that round");
        }
        Notice::Evidence { validator, what } => {
            metrics.evidence.inc();
            warn!(%validator, %what, "a validator was caught lying");
        }
    }
}
