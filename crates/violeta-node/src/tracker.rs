//! The way of transactions that were submitted here, and who waits for them.
//!
//! ```text
//!  Queued ──▶ Proposed ──▶ Executed (certified once a certificate of its height or above is here)
//!     └─────────────────▶ Expired
//! ```
//!
//! Bounded: the oldest make room for the newest. What was forgotten, or submitted elsewhere, is found in recent blocks or in
//! the index once it is executed.

use std::collections::{HashMap, VecDeque};

use tokio::sync::oneshot;
use violeta_replica::Block;
use violeta_types::{Outcome, Round, TxId};

/// Who may wait for one transaction, at once.
const WAITERS_MAX: usize = 64;

/// Where a transaction is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Nothing is known of it; somebody waits for it.
    Awaited,
    /// In the mempool.
    Queued,
    /// In an own vertex of this round.
    Proposed(Round),
    /// Executed.
    Executed(Outcome),
    /// It left the mempool without having been ordered.
    Expired,
}

struct Entry {
    progress: Progress,
    waiters: Vec<oneshot::Sender<()>>,
}

/// See the module.
pub struct Tracker {
    entries: HashMap<TxId, Entry>,
    /// The order in which they came; each entry's id once.
    order: VecDeque<TxId>,
    entries_max: usize,
}

impl Tracker {
    /// A tracker of up to `entries_max` transactions.
    pub fn new(entries_max: usize) -> Self {
        assert!(entries_max > 0, "the configuration has a minimum");
        Tracker {
            entries: HashMap::new(),
            order: VecDeque::new(),
            entries_max,
        }
    }

    /// What is known of a transaction.
    pub fn progress(&self, id: &TxId) -> Option<&Progress> {
        self.entries.get(id).map(|entry| &entry.progress)
    }

    /// The mempool took it. One that was executed stays so.
    pub fn queued(&mut self, id: TxId) {
        let entry = self.entry(id);
        if matches!(entry.progress, Progress::Awaited | Progress::Expired) {
            entry.progress = Progress::Queued;
        }
    }

    /// An own vertex carries it.
    pub fn proposed(&mut self, id: &TxId, round: Round) {
        if let Some(entry) = self.entries.get_mut(id)
            && !matches!(entry.progress, Progress::Executed(_))
        {
            entry.progress = Progress::Proposed(round);
        }
    }

    /// It left the mempool without having been ordered.
    pub fn expired(&mut self, id: &TxId) {
        if let Some(entry) = self.entries.get_mut(id)
            && !matches!(entry.progress, Progress::Executed(_))
        {
            entry.progress = Progress::Expired;
            entry.wake();
        }
    }

    /// A block was executed.
    pub fn executed(&mut self, block: &Block) {
        if self.entries.is_empty() {
            return;
        }
        for outcome in block.outcomes.iter() {
            if let Some(entry) = self.entries.get_mut(&outcome.transaction) {
                entry.progress = Progress::Executed(outcome.clone());
                entry.wake();
            }
        }
    }

    /// Wakes up when the transaction is executed or expires. None: too many wait for it already.
    pub fn wait(&mut self, id: TxId) -> Option<oneshot::Receiver<()>> {
        let entry = self.entry(id);
        entry.waiters.retain(|waiter| !waiter.is_closed());
        if entry.waiters.len() >= WAITERS_MAX {
            return None;
        }
        let (sender, receiver) = oneshot::channel();
        match entry.progress {
            Progress::Executed(_) | Progress::Expired => drop(sender),
            _ => entry.waiters.push(sender),
        }
        Some(receiver)
    }

    fn entry(&mut self, id: TxId) -> &mut Entry {
        if !self.entries.contains_key(&id) {
            if self.order.len() >= self.entries_max
                && let Some(oldest) = self.order.pop_front()
            {
                // Who waits for it is woken up by the drop, and looks again.
                self.entries.remove(&oldest);
            }
            self.order.push_back(id);
        }
        self.entries.entry(id).or_insert(Entry {
            progress: Progress::Awaited,
            waiters: Vec::new(),
        })
    }
}

impl Entry {
    fn wake(&mut self) {
        for waiter in self.waiters.drain(..) {
            // Who has given up waiting needs no waking.
            let _ = waiter.send(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{self, tx as id};
    use violeta_types::Height;

    fn outcome(i: u64) -> Outcome {
        Outcome {
            height: Height(1),
            index: i as u32,
            transaction: id(i),
            refused: None,
        }
    }

    fn block(ids: &[u64]) -> Block {
        fixture::block(1, ids)
    }

    #[test]
    fn the_way_of_a_transaction() {
        let mut tracker = Tracker::new(10);
        assert_eq!(tracker.progress(&id(1)), None);
        tracker.queued(id(1));
        assert_eq!(tracker.progress(&id(1)), Some(&Progress::Queued));
        tracker.proposed(&id(1), Round(7));
        assert_eq!(
            tracker.progress(&id(1)),
            Some(&Progress::Proposed(Round(7)))
        );
        tracker.executed(&block(&[0, 1]));
        let executed = Progress::Executed(outcome(1));
        assert_eq!(tracker.progress(&id(1)), Some(&executed));
        // News that come late change nothing.
        tracker.proposed(&id(1), Round(8));
        tracker.expired(&id(1));
        tracker.queued(id(1));
        assert_eq!(tracker.progress(&id(1)), Some(&executed));
        assert_eq!(tracker.progress(&id(0)), None, "not submitted here");
    }

    #[test]
    fn the_oldest_make_room() {
        let mut tracker = Tracker::new(3);
        for i in 0..100 {
            tracker.queued(id(i));
            tracker.queued(id(i));
        }
        assert_eq!(tracker.entries.len(), 3);
        assert_eq!(tracker.order.len(), 3);
        assert!(tracker.progress(&id(97)).is_some());
        assert!(tracker.progress(&id(96)).is_none());
    }

    #[test]
    fn who_waits_is_woken_by_execution_expiry_and_forgetting() {
        let mut tracker = Tracker::new(3);
        let mut executed = tracker.wait(id(1)).unwrap();
        let mut expired = tracker.wait(id(2)).unwrap();
        let mut forgotten = tracker.wait(id(3)).unwrap();
        assert!(
            executed
                .try_recv()
                .is_err_and(|e| e == oneshot::error::TryRecvError::Empty)
        );
        tracker.executed(&block(&[1]));
        assert!(executed.try_recv().is_ok());
        tracker.expired(&id(2));
        assert!(expired.try_recv().is_ok());
        for i in 10..20 {
            tracker.queued(id(i));
        }
        let closed = || oneshot::error::TryRecvError::Closed;
        assert_eq!(forgotten.try_recv(), Err(closed()));
        // What is over already wakes at once.
        tracker.wait(id(50)).unwrap();
        tracker.executed(&block(&[50]));
        assert_eq!(tracker.wait(id(50)).unwrap().try_recv(), Err(closed()));
    }

    #[test]
    fn a_crowd_that_waits_for_one_transaction_is_bounded() {
        let mut tracker = Tracker::new(3);
        let waiting: Vec<_> = (0..1_000).filter_map(|_| tracker.wait(id(1))).collect();
        assert_eq!(waiting.len(), WAITERS_MAX);
        drop(waiting);
        assert!(tracker.wait(id(1)).is_some());
    }
}
