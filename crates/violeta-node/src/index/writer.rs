//! The index's writer: takes what the journal was given, in order, and writes it down now and then.
//!
//! - upon *records* (after the journal's write): if they begin where the last ended, they wait for the next
//!   transaction; if some were dropped between (its queue was full), what is missing is read from the journal.
//! - upon `interval`, or many entries: one transaction for all that wait.
//! - upon a *load*: all up to the position that it names is written first; then it goes on to the loader, which so finds
//!   everything that the replica had appended when it asked.
//! - upon a failed write: what waits is dropped, and nothing is written for [`RETRY`]. Then the journal is read again, up
//!   to where it is known to reach, whether or not anything new came. Nothing is lost: the index is behind for a while.
//!
//! Events get their cursors here, in the order of the journal: the same after a restart, or when the index is made
//! anew.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, at, select};
use tracing::{info, warn};
use violeta_types::ChainId;
use violeta_types::api::{ChainEvent, Cursor, EventKind};

use super::entry::Entry;
use super::store::{Index, IndexError, Meta};
use crate::events::EventHub;
use crate::journal::{JournalError, Records};
use crate::metrics::Metrics;

/// Entries that make a transaction, even before its time.
pub const ENTRIES_MAX: usize = 16_384;
/// Transaction ids that make a transaction, even before its time.
pub const TRANSACTIONS_MAX: usize = 65_536;
/// Batches of records taken before a load is served.
const RECORDS_BEFORE_LOAD_MAX: usize = 64;
/// How long to wait after a failed write.
pub const RETRY: Duration = Duration::from_secs(5);
/// How often progress is told while the journal is read.
const PROGRESS: Duration = Duration::from_secs(5);

/// Records that the journal has written.
#[derive(Debug)]
pub struct Written {
    /// Where the first begins.
    pub from: u64,
    /// Where the last ends.
    pub to: u64,
    /// What they mean, with their positions.
    pub entries: Vec<(u64, Entry)>,
}

/// Something to be passed on once the index has got so far.
pub struct LoadAt<L> {
    /// The position.
    pub up_to: u64,
    /// What to pass on.
    pub load: L,
}

/// See the module.
pub struct Writer<R> {
    index: Arc<Index>,
    records: R,
    chain: ChainId,
    hub: Arc<EventHub>,
    metrics: Arc<Metrics>,
    interval: Duration,
    retry: Duration,
    /// What the index will have got to when what waits is written.
    ahead: Meta,
    /// How far the journal is known to reach.
    journal_end: u64,
    waiting: Vec<(u64, Entry)>,
    waiting_transactions: usize,
    /// When what waits is due.
    due: Option<Instant>,
    /// Until when nothing is written, after a failure.
    broken_until: Option<Instant>,
}

impl<R: Records> Writer<R> {
    /// A writer that goes on where the index has got to.
    ///
    /// # Errors
    /// If the index can't be read.
    pub fn new(
        index: Arc<Index>,
        records: R,
        chain: ChainId,
        hub: Arc<EventHub>,
        metrics: Arc<Metrics>,
        interval: Duration,
    ) -> Result<Self, IndexError> {
        let ahead = index.meta()?;
        metrics.index_healthy.set(1);
        Ok(Writer {
            index,
            records,
            chain,
            hub,
            metrics,
            interval,
            retry: RETRY,
            journal_end: ahead.high,
            ahead,
            waiting: Vec::new(),
            waiting_transactions: 0,
            due: None,
            broken_until: None,
        })
    }

    /// Reads what the index lacks, up to `end`, and writes it. Tells how far it is.
    ///
    /// # Errors
    /// If the journal can't be read, or the index not be written.
    pub fn catch_up(&mut self, end: u64) -> Result<(), CatchUpError> {
        let mut told = Instant::now();
        let begin = self.ahead.high;
        while self.ahead.high < end {
            let before = self.ahead.high;
            let records = self.records.range(before, end, 4 << 20)?;
            for record in &records {
                let entry = Entry::of_bytes(record.kind, &record.bytes, &self.chain)
                    .map_err(|e| JournalError::damaged(record.position, e.to_string()))?;
                self.take(record.position, entry);
            }
            let reached = records.last().map_or(end, |record| record.end);
            self.ahead.high = reached.max(before);
            self.flush()?;
            if told.elapsed() > PROGRESS {
                told = Instant::now();
                let percent = 100 * (self.ahead.high - begin) / (end - begin).max(1);
                info!(percent, "reading the journal into the index");
            }
        }
        Ok(())
    }

    /// Works until the channels are closed. `pass_on` takes the loads.
    pub fn run<L>(
        mut self,
        records: &Receiver<Written>,
        loads: &Receiver<LoadAt<L>>,
        mut pass_on: impl FnMut(L),
    ) {
        loop {
            let due = self.due.map_or_else(crossbeam_channel::never, at);
            select! {
                recv(records) -> written => match written {
                    Ok(written) => self.written(written),
                    Err(_) => break,
                },
                recv(loads) -> load => if let Ok(LoadAt { up_to, load }) = load {
                    for written in records.try_iter().take(RECORDS_BEFORE_LOAD_MAX) {
                        self.written(written);
                    }
                    self.reach(up_to);
                    pass_on(load);
                },
                recv(due) -> _ => self.due(),
            }
        }
        self.write();
    }

    /// It is time to write; after a failure, to read again what was dropped first.
    fn due(&mut self) {
        if self.broken_until.take().is_some() {
            let end = self.journal_end;
            self.try_to(|writer| writer.catch_up(end));
        }
        self.write();
    }

    fn written(&mut self, written: Written) {
        self.journal_end = self.journal_end.max(written.to);
        if self.broken() {
            return;
        }
        if written.from > self.ahead.high {
            self.try_to(|writer| writer.catch_up(written.from));
        }
        // After a failure the journal may have been read beyond these already.
        if written.from != self.ahead.high {
            return;
        }
        for (position, entry) in written.entries {
            self.take(position, entry);
        }
        self.ahead.high = written.to;
        if self.waiting.len() >= ENTRIES_MAX || self.waiting_transactions >= TRANSACTIONS_MAX {
            self.write();
        } else if self.due.is_none() {
            self.due = Some(Instant::now() + self.interval);
        }
    }

    /// Whether a failure is too recent to try again: [`due`](Self::due) will.
    fn broken(&self) -> bool {
        self.broken_until.is_some()
    }

    fn reach(&mut self, up_to: u64) {
        self.journal_end = self.journal_end.max(up_to);
        if self.broken() {
            return;
        }
        if self.ahead.high < up_to {
            self.try_to(|writer| writer.catch_up(up_to));
        }
        self.write();
    }

    fn write(&mut self) {
        if !self.broken() {
            self.try_to(|writer| writer.flush().map_err(CatchUpError::from));
        }
        // After a failure nothing waits; what is due is the next try.
        self.due = self.broken_until;
        if !self.broken() && self.metrics.index_healthy.get() == 0 {
            self.metrics.index_healthy.set(1);
            info!("the index can be written again");
        }
    }

    fn try_to(&mut self, what: impl FnOnce(&mut Self) -> Result<(), CatchUpError>) {
        let Err(error) = what(self) else {
            return;
        };
        warn!(%error, "the index can't be written; the validator goes on without, and tries again");
        self.metrics.index_healthy.set(0);
        self.waiting.clear();
        self.waiting_transactions = 0;
        // What was taken but not written is read again from here.
        if let Ok(meta) = self.index.meta() {
            self.ahead = meta;
        }
        let until = Instant::now() + self.retry;
        self.broken_until = Some(until);
        self.due = Some(until);
    }

    fn flush(&mut self) -> Result<(), IndexError> {
        self.index.apply(&self.waiting, &self.ahead)?;
        self.waiting.clear();
        self.waiting_transactions = 0;
        Ok(())
    }

    fn take(&mut self, position: u64, entry: Entry) {
        let event = self.event_of(&entry);
        self.waiting_transactions += entry.block().map_or(0, |block| block.outcomes.len());
        self.waiting.push((position, entry));
        if let Some(kind) = event {
            let event = ChainEvent {
                cursor: self.ahead.event,
                kind,
            };
            self.waiting.push((position, Entry::Event(event.clone())));
            self.hub.publish(event);
        }
    }

    /// The event that an entry is, if it is one; moves the cursor.
    fn event_of(&mut self, entry: &Entry) -> Option<EventKind> {
        let kind = match entry {
            Entry::Block(block) => {
                let head = &block.head;
                self.ahead.height = self.ahead.height.max(head.height);
                EventKind::Block {
                    height: head.height,
                    head: head.id(),
                    time: head.time,
                    transactions: block.outcomes.len() as u32,
                }
            }
            Entry::Certified(certified) => {
                let height = certified.head.height;
                self.ahead.certified = self.ahead.certified.max(height);
                let head = certified.certificate.head;
                EventKind::Certified { height, head }
            }
            Entry::Seal(seal) => {
                self.ahead.sealed = self.ahead.sealed.max(seal.height);
                EventKind::Sealed {
                    height: seal.height,
                    head: seal.head,
                }
            }
            Entry::Evidence { validator, what } => EventKind::Evidence {
                validator: *validator,
                what: what.clone(),
            },
            Entry::Vertex(_) | Entry::Commit(_) | Entry::Event(_) | Entry::Nothing => return None,
        };
        self.ahead.event = next_cursor(self.ahead.event, &kind);
        Some(kind)
    }
}

/// The cursor of an event after one at `last`: a block above begins a height, all else follows on.
fn next_cursor(last: Cursor, kind: &EventKind) -> Cursor {
    match kind {
        EventKind::Block { height, .. } if *height > last.height => Cursor {
            height: *height,
            sequence: 0,
        },
        _ => Cursor {
            height: last.height,
            sequence: last.sequence + 1,
        },
    }
}

/// Why the index couldn't be brought up to the journal.
#[derive(Debug, thiserror::Error)]
pub enum CatchUpError {
    /// The index.
    #[error(transparent)]
    Index(#[from] IndexError),
    /// The journal.
    #[error(transparent)]
    Journal(#[from] JournalError),
}

#[cfg(test)]
mod tests;
