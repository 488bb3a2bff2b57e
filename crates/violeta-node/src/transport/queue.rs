//! What waits to be sent to one validator.
//!
//! Bounded in bytes. Full means that what is new is dropped: the replicas repair by heartbeat what is lost
//! (consensus.md §3), and what waits already is older, so that others build on it. Without a connection nothing waits.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::Notify;

/// Bytes that a message costs beyond its own.
const MESSAGE_COST: usize = 64;

/// A queue from the replica's thread to one connection.
#[derive(Debug)]
pub struct SendQueue {
    state: Mutex<State>,
    filled: Notify,
    bytes_max: usize,
}

#[derive(Debug, Default)]
struct State {
    open: bool,
    messages: VecDeque<Bytes>,
    cost: usize,
}

/// What became of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pushed {
    /// It waits.
    Queued,
    /// The queue is full; it was dropped.
    Full,
    /// There is no connection; it was dropped.
    Closed,
}

impl SendQueue {
    /// A closed queue for up to `bytes_max` bytes.
    pub fn new(bytes_max: usize) -> Self {
        SendQueue {
            state: Mutex::default(),
            filled: Notify::new(),
            bytes_max,
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // No step under the lock can panic half-way; a poisoned state is as good as any.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a message, from any thread, without waiting.
    pub fn push(&self, message: Bytes) -> Pushed {
        let mut state = self.state();
        if !state.open {
            return Pushed::Closed;
        }
        let cost = message.len() + MESSAGE_COST;
        if state.cost + cost > self.bytes_max {
            return Pushed::Full;
        }
        state.cost += cost;
        state.messages.push_back(message);
        drop(state);
        self.filled.notify_one();
        Pushed::Queued
    }

    /// Takes messages of about `bytes_max` bytes, at least one; waits for it.
    pub async fn pop(&self, bytes_max: usize) -> Vec<Bytes> {
        loop {
            let batch = self.take(bytes_max);
            if !batch.is_empty() {
                return batch;
            }
            // A push between the look and the wait leaves a permit: no wake-up is lost.
            self.filled.notified().await;
        }
    }

    fn take(&self, bytes_max: usize) -> Vec<Bytes> {
        let mut state = self.state();
        let (mut batch, mut bytes) = (Vec::new(), 0);
        while bytes < bytes_max {
            let Some(message) = state.messages.pop_front() else {
                break;
            };
            state.cost -= message.len() + MESSAGE_COST;
            bytes += message.len();
            batch.push(message);
        }
        batch
    }

    /// A connection is up: messages are taken, none from before.
    pub fn open(&self) {
        *self.state() = State {
            open: true,
            ..State::default()
        };
    }

    /// The connection is down: what waits is dropped.
    pub fn close(&self) {
        *self.state() = State::default();
    }

    /// Bytes that wait.
    pub fn bytes(&self) -> usize {
        self.state().cost
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(n: usize) -> Bytes {
        vec![0; n].into()
    }

    #[test]
    fn without_a_connection_nothing_waits() {
        let queue = SendQueue::new(1_000);
        assert_eq!(queue.push(message(1)), Pushed::Closed);
        queue.open();
        assert_eq!(queue.push(message(1)), Pushed::Queued);
        queue.close();
        assert_eq!(queue.bytes(), 0);
        queue.open();
        assert!(queue.take(100).is_empty());
    }

    #[test]
    fn a_full_queue_drops_what_is_new_and_keeps_what_is_old() {
        let queue = SendQueue::new(1_000);
        queue.open();
        assert_eq!(queue.push(message(900)), Pushed::Queued);
        assert_eq!(queue.push(message(100)), Pushed::Full);
        assert_eq!(queue.take(1).len(), 1);
        assert_eq!(queue.push(message(100)), Pushed::Queued);
    }

    #[test]
    fn empty_messages_do_not_fill_memory() {
        let queue = SendQueue::new(10 * MESSAGE_COST);
        queue.open();
        let taken = (0..100).filter(|_| queue.push(Bytes::new()) == Pushed::Queued);
        assert_eq!(taken.count(), 10);
    }

    #[test]
    fn a_waiter_wakes_up_and_small_messages_come_in_one_batch() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        runtime.block_on(async {
            let queue = SendQueue::new(10_000);
            queue.open();
            let push = async {
                tokio::task::yield_now().await;
                queue.push(message(10));
                queue.push(message(20));
                queue.push(message(3_000));
                queue.push(message(5));
            };
            let (batch, ()) = tokio::join!(queue.pop(100), push);
            assert_eq!(batch.len(), 3, "stops at the first beyond the bound");
            assert_eq!(queue.pop(100).await.len(), 1);
        });
    }
}
