//! The stream of events: resumable, and bounded for each who listens.
//!
//! ```text
//!  index writer ──publish──▶ hub: the newest events ──┐
//!                                                     ├──▶ stream.next(): pulls, from where its cursor is
//!                            index: all events ───────┘
//! ```
//!
//! Nobody is pushed to: a stream holds a cursor and asks for what comes after it, from memory if it is near the end, from
//! the index if it isn't. So a slow listener costs nothing, loses nothing, and is never cut; its memory is one batch.
//! (replica.md §6: statuses are resumable events.)

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;
use violeta_types::Height;
use violeta_types::api::{ChainEvent, Cursor};

use crate::index::{Index, IndexError};

/// Events kept in memory.
pub const RECENT_EVENTS_MAX: usize = 4_096;
/// Events that a stream fetches at once.
pub const BATCH_EVENTS_MAX: usize = 256;

/// Why a stream ends.
#[derive(Debug, thiserror::Error)]
pub enum EventError {
    /// Too many streams are open.
    #[error(
        "{0} event streams are open, no more are served; close one, or raise limits.subscribers_max"
    )]
    TooMany(usize),
    /// The index can't be read.
    #[error(transparent)]
    Index(#[from] IndexError),
    /// The node has stopped.
    #[error("the node has stopped; go on with the last cursor at another one, or later")]
    Stopped,
}

/// Where events come together.
pub struct EventHub {
    recent: Mutex<Recent>,
    newest: watch::Sender<Cursor>,
    closed: watch::Sender<bool>,
    open: AtomicUsize,
    open_max: usize,
}

#[derive(Default)]
struct Recent {
    events: VecDeque<ChainEvent>,
    /// The newest event that isn't in memory any more, or never was: after it, memory is complete.
    complete_after: Cursor,
}

impl EventHub {
    /// A hub that goes on after `last`, for up to `open_max` streams.
    pub fn new(last: Cursor, open_max: usize) -> Arc<Self> {
        let recent = Recent {
            events: VecDeque::new(),
            complete_after: last,
        };
        Arc::new(EventHub {
            recent: Mutex::new(recent),
            newest: watch::Sender::new(last),
            closed: watch::Sender::new(false),
            open: AtomicUsize::new(0),
            open_max,
        })
    }

    /// Adds an event. One that was published before (the journal was read again) is left out.
    pub fn publish(&self, event: ChainEvent) {
        let cursor = event.cursor;
        if cursor <= *self.newest.borrow() {
            return;
        }
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        recent.events.push_back(event);
        if recent.events.len() > RECENT_EVENTS_MAX
            && let Some(oldest) = recent.events.pop_front()
        {
            recent.complete_after = oldest.cursor;
        }
        drop(recent);
        self.newest.send_replace(cursor);
    }

    /// The node stops: streams end once they have told what there is.
    pub fn close(&self) {
        self.closed.send_replace(true);
    }

    /// The newest event's cursor.
    pub fn newest(&self) -> Cursor {
        *self.newest.borrow()
    }

    /// Up to `BATCH_EVENTS_MAX` events after `after`; none if they aren't all in memory.
    fn recent_after(&self, after: Cursor) -> Option<Vec<ChainEvent>> {
        let recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        if after < recent.complete_after {
            return None;
        }
        let first = recent.events.partition_point(|e| e.cursor <= after);
        let events = recent.events.range(first..).take(BATCH_EVENTS_MAX);
        Some(events.cloned().collect())
    }

    /// A stream of what comes after `from`; of what comes from now on, if none is given. A cursor ahead of the newest
    /// event waits for it: another node may be further.
    ///
    /// # Errors
    /// If too many are open.
    pub fn subscribe(
        self: &Arc<Self>,
        from: Option<Cursor>,
        index: Arc<Index>,
    ) -> Result<EventStream, EventError> {
        let open = self.open.fetch_add(1, Ordering::Relaxed);
        let stream = EventStream {
            newest: self.newest.subscribe(),
            closed: self.closed.subscribe(),
            hub: self.clone(),
            index,
            cursor: from.unwrap_or_else(|| self.newest()),
            batch: VecDeque::new(),
        };
        if open >= self.open_max {
            // Dropping the stream counts it out again.
            return Err(EventError::TooMany(self.open_max));
        }
        Ok(stream)
    }
}

/// Events in order, each once.
pub struct EventStream {
    hub: Arc<EventHub>,
    index: Arc<Index>,
    newest: watch::Receiver<Cursor>,
    closed: watch::Receiver<bool>,
    cursor: Cursor,
    batch: VecDeque<ChainEvent>,
}

impl EventStream {
    /// The cursor to go on with: that of the last event taken.
    pub fn cursor(&self) -> Cursor {
        self.cursor
    }

    /// The next event; waits for it.
    ///
    /// # Errors
    /// If the index can't be read, or the node stops.
    pub async fn next(&mut self) -> Result<ChainEvent, EventError> {
        loop {
            if let Some(event) = self.batch.pop_front() {
                self.cursor = event.cursor;
                return Ok(event);
            }
            self.newest.borrow_and_update();
            self.batch = self.fetch().await?.into();
            if self.batch.is_empty() {
                tokio::select! {
                    biased;
                    _ = self.newest.changed() => {}
                    _ = self.closed.wait_for(|closed| *closed) => return Err(EventError::Stopped),
                }
            }
        }
    }

    async fn fetch(&self) -> Result<Vec<ChainEvent>, EventError> {
        if let Some(events) = self.hub.recent_after(self.cursor) {
            return Ok(events);
        }
        let (index, cursor) = (self.index.clone(), self.cursor);
        let read = tokio::task::spawn_blocking(move || index.events(cursor, BATCH_EVENTS_MAX));
        let events = read.await.map_err(|_| EventError::Stopped)??;
        Ok(events)
    }

    /// This stream as a [`futures::Stream`]; it ends with the first error.
    pub fn into_stream(self) -> impl futures::Stream<Item = Result<ChainEvent, EventError>> {
        futures::stream::unfold(Some(self), |stream| async {
            let mut stream = stream?;
            match stream.next().await {
                Ok(event) => Some((Ok(event), Some(stream))),
                Err(error) => Some((Err(error), None)),
            }
        })
    }
}

impl Drop for EventStream {
    fn drop(&mut self) {
        self.hub.open.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The cursor after which the first event is the block at `height`.
pub fn before_block(height: Height) -> Cursor {
    Cursor {
        height: height.checked_previous().unwrap_or_default(),
        sequence: u64::MAX,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;
    use violeta_types::api::EventKind;
    use violeta_types::{ChainId, Digest, HeadId, TimeMs};

    fn event(height: u64) -> ChainEvent {
        ChainEvent {
            cursor: Cursor {
                height: Height(height),
                sequence: 0,
            },
            kind: EventKind::Block {
                height: Height(height),
                head: HeadId::default(),
                time: TimeMs(0),
                transactions: 0,
            },
        }
    }

    fn index() -> (tempfile::TempDir, Arc<Index>) {
        let dir = tempfile::tempdir().unwrap();
        let chain = ChainId(Digest([1; 32]));
        let opened = Index::open(&dir.path().join("index"), &chain, 0, true).unwrap();
        (dir, Arc::new(opened.index))
    }

    #[tokio::test]
    async fn a_stream_goes_on_after_its_cursor_and_waits_for_more() {
        let (_dir, index) = index();
        let hub = EventHub::new(Cursor::default(), 10);
        for height in 1..=3 {
            hub.publish(event(height));
        }
        let mut stream = hub.subscribe(Some(event(1).cursor), index).unwrap();
        assert_eq!(stream.next().await.unwrap(), event(2));
        assert_eq!(stream.next().await.unwrap(), event(3));
        let waits = tokio::time::timeout(Duration::from_millis(50), stream.next()).await;
        assert!(waits.is_err());
        hub.publish(event(4));
        assert_eq!(stream.next().await.unwrap(), event(4));
        assert_eq!(stream.cursor(), event(4).cursor);
    }

    #[tokio::test]
    async fn a_listener_slower_than_memory_reads_the_rest_from_the_index() {
        use crate::index::{Entry, Meta};
        let (_dir, index) = index();
        let hub = EventHub::new(Cursor::default(), 10);
        let count = RECENT_EVENTS_MAX as u64 + 500;
        let entries: Vec<_> = (1..=count).map(|h| (h, Entry::Event(event(h)))).collect();
        index.apply(&entries, &Meta::default()).unwrap();
        for height in 1..=count {
            hub.publish(event(height));
        }
        let mut stream = hub.subscribe(Some(Cursor::default()), index).unwrap();
        for height in 1..=count {
            assert_eq!(stream.next().await.unwrap(), event(height));
        }
    }

    #[tokio::test]
    async fn what_is_published_again_is_not_told_again() {
        let (_dir, index) = index();
        let hub = EventHub::new(event(5).cursor, 10);
        let mut stream = hub.subscribe(None, index).unwrap();
        for height in 3..=6 {
            hub.publish(event(height));
        }
        assert_eq!(stream.next().await.unwrap(), event(6));
    }

    #[tokio::test]
    async fn a_stream_ends_with_the_node_after_what_there_is() {
        let (_dir, index) = index();
        let hub = EventHub::new(Cursor::default(), 10);
        let mut stream = hub.subscribe(Some(Cursor::default()), index).unwrap();
        hub.publish(event(1));
        hub.close();
        assert_eq!(stream.next().await.unwrap(), event(1));
        assert!(matches!(stream.next().await, Err(EventError::Stopped)));
    }

    #[tokio::test]
    async fn one_stream_too_many_is_refused_until_another_ends() {
        let (_dir, index) = index();
        let hub = EventHub::new(Cursor::default(), 1);
        let first = hub.subscribe(None, index.clone()).unwrap();
        assert!(hub.subscribe(None, index.clone()).is_err());
        drop(first);
        assert!(hub.subscribe(None, index).is_ok());
    }
}
