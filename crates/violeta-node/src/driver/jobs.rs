//! Jobs on their way from the replica to the workers, and whose is next.
//!
//! ```text
//!   coins, seals ───────────────▶ first
//!   checks of what peer a sent ─▶ ┐
//!   checks of what peer b sent ─▶ ├─ in turn, one job each ─▶ then
//!   checks of what peer c sent ─▶ ┘
//!   items of clients ───────────▶ when nothing else waits
//! ```
//!
//! Each peer has a lane of its own. So what a flooding peer has under way (`CHECK_BYTES_PER_PEER_MAX` bounds it) stands
//! in its own way only: another peer's vertex waits for one job of each peer, not for all of one's (consensus.md §8). A
//! flood of submissions fills the time that is left, no more.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use violeta_replica::Job;
use violeta_types::ValidatorIndex;

use crate::lock::lock;

/// Where the replica's thread puts jobs. When it is dropped, the workers finish what waits, and end.
pub(super) struct JobSender(Arc<Queue>);

/// Where a worker takes them.
#[derive(Clone)]
pub(super) struct JobReceiver(Arc<Queue>);

/// An empty queue. What waits in it is bounded by what the replica has under way.
pub(super) fn queue() -> (JobSender, JobReceiver) {
    let queue = Arc::new(Queue::default());
    (JobSender(queue.clone()), JobReceiver(queue))
}

impl JobSender {
    pub(super) fn send(&self, job: Job) {
        self.0.lock().lanes.push(job);
        self.0.changed.notify_one();
    }
}

impl Drop for JobSender {
    fn drop(&mut self) {
        self.0.lock().closed = true;
        self.0.changed.notify_all();
    }
}

impl JobReceiver {
    /// The next job, as soon as there is one; none when there will be no more.
    pub(super) fn next(&self) -> Option<Job> {
        let mut state = self.0.lock();
        loop {
            if let Some(job) = state.lanes.pop() {
                return Some(job);
            }
            if state.closed {
                return None;
            }
            let woken = self.0.changed.wait(state);
            state = woken.unwrap_or_else(PoisonError::into_inner);
        }
    }
}

#[derive(Default)]
struct Queue {
    state: Mutex<State>,
    changed: Condvar,
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

#[derive(Default)]
struct State {
    lanes: Lanes,
    closed: bool,
}

/// Who waits. A peer is in `turn` exactly while its lane holds something.
#[derive(Default)]
struct Lanes {
    own: VecDeque<Job>,
    peers: BTreeMap<ValidatorIndex, VecDeque<Job>>,
    turn: VecDeque<ValidatorIndex>,
    clients: VecDeque<Job>,
}

impl Lanes {
    fn push(&mut self, job: Job) {
        match &job {
            Job::CheckVertex { from, .. } | Job::CheckCommitted { from, .. } => {
                let lane = self.peers.entry(*from).or_default();
                if lane.is_empty() {
                    self.turn.push_back(*from);
                }
                lane.push_back(job);
            }
            Job::CheckItems { .. } => self.clients.push_back(job),
            Job::CombineCoins(_) | Job::CombineSeal { .. } | Job::SignCoin { .. } => {
                self.own.push_back(job);
            }
        }
    }

    fn pop(&mut self) -> Option<Job> {
        let own = self.own.pop_front();
        own.or_else(|| self.pop_peer())
            .or_else(|| self.clients.pop_front())
    }

    fn pop_peer(&mut self) -> Option<Job> {
        let peer = self.turn.pop_front()?;
        let lane = self.peers.get_mut(&peer)?;
        let job = lane.pop_front();
        if lane.is_empty() {
            self.peers.remove(&peer);
        } else {
            self.turn.push_back(peer);
        }
        job
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use violeta_types::Round;

    use super::*;

    fn vertex(from: u16) -> Job {
        Job::CheckVertex {
            from: ValidatorIndex(from),
            bytes: Bytes::new(),
        }
    }

    fn coin(round: u64) -> Job {
        Job::SignCoin {
            round: Round(round),
        }
    }

    fn items(ticket: u64) -> Job {
        Job::CheckItems {
            ticket,
            items: Vec::new(),
        }
    }

    fn order(lanes: &mut Lanes) -> Vec<String> {
        let name = |job| match job {
            Job::CheckVertex { from, .. } => format!("vertex of {}", from.0),
            Job::SignCoin { round } => format!("coin {}", round.0),
            Job::CheckItems { ticket, .. } => format!("items {ticket}"),
            other => format!("{other:?}"),
        };
        std::iter::from_fn(|| lanes.pop()).map(name).collect()
    }

    #[test]
    fn a_peer_that_floods_stands_in_its_own_way_only() {
        let mut lanes = Lanes::default();
        for _ in 0..4 {
            lanes.push(vertex(3));
        }
        lanes.push(vertex(1));
        lanes.push(vertex(0));
        lanes.push(vertex(1));
        let expected = [3, 1, 0, 3, 1, 3, 3].map(|from| format!("vertex of {from}"));
        assert_eq!(order(&mut lanes), expected);
        assert!(lanes.peers.is_empty() && lanes.turn.is_empty());
    }

    #[test]
    fn coins_go_before_vertices_and_vertices_before_what_clients_send() {
        let mut lanes = Lanes::default();
        lanes.push(items(7));
        lanes.push(vertex(2));
        lanes.push(coin(9));
        lanes.push(items(8));
        assert_eq!(
            order(&mut lanes),
            ["coin 9", "vertex of 2", "items 7", "items 8"]
        );
    }

    #[test]
    fn whoever_waits_is_woken_by_a_job_and_by_the_end() {
        let (sender, receiver) = queue();
        let worker = std::thread::spawn(move || std::iter::from_fn(|| receiver.next()).count());
        sender.send(vertex(1));
        sender.send(items(1));
        drop(sender);
        assert_eq!(worker.join().unwrap(), 2, "what waits is finished first");
    }
}
