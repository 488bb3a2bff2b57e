//! What can happen in a world, and the queue of what will.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use bytes::Bytes;
use violeta_replica::{Job, LoadRequest};

use crate::clock::Micros;
use crate::faults::Fault;

/// A life of a process: what was meant for an earlier one finds nobody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Who {
    pub(crate) process: usize,
    pub(crate) life: u64,
}

/// Something that happens at its time.
#[derive(Debug)]
pub(crate) enum Event {
    /// A message arrives.
    Deliver {
        from: usize,
        to: usize,
        generation: u64,
        bytes: Bytes,
    },
    /// A job is done.
    Job(Who, Job),
    /// The journal's sync is done.
    Synced(Who, u64),
    /// The machine has taken the first event of its queue.
    Machine(Who),
    /// The journal was read.
    Load(Who, LoadRequest),
    /// A replica wants to be told that time has passed.
    Wake(Who),
    /// Two validators try to connect.
    Connect(usize, usize),
    /// Something goes wrong.
    Fault(Fault),
    /// A client looks after a transaction.
    Errand(usize),
    /// A client's transaction arrives at a validator.
    Submit(usize, Bytes),
    /// The world is looked over: has it settled, has it come to rest?
    Survey,
}

struct Entry {
    at: Micros,
    /// Of two at one time, what was scheduled first comes first.
    number: u64,
    event: Event,
}

impl Entry {
    fn key(&self) -> (Micros, u64) {
        (self.at, self.number)
    }
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl Eq for Entry {}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Entry {
    fn cmp(&self, other: &Self) -> Ordering {
        // The heap gives the greatest first: the earliest must be the greatest.
        other.key().cmp(&self.key())
    }
}

/// What will happen, in order.
#[derive(Default)]
pub(crate) struct Queue {
    heap: BinaryHeap<Entry>,
    numbers: u64,
}

impl Queue {
    /// Something will happen.
    pub(crate) fn push(&mut self, at: Micros, event: Event) {
        self.numbers += 1;
        let number = self.numbers;
        self.heap.push(Entry { at, number, event });
    }

    /// The next thing that happens.
    pub(crate) fn pop(&mut self) -> Option<(Micros, Event)> {
        let entry = self.heap.pop()?;
        Some((entry.at, entry.event))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn things_happen_in_order_of_time_and_then_as_they_were_scheduled() {
        let mut queue = Queue::default();
        for (at, errand) in [(5, 0), (3, 1), (5, 2), (1, 3)] {
            queue.push(at, Event::Errand(errand));
        }
        let mut order = Vec::new();
        while let Some((at, Event::Errand(errand))) = queue.pop() {
            order.push((at, errand));
        }
        assert_eq!(order, [(1, 3), (3, 1), (5, 0), (5, 2)]);
    }
}
