//! The journal's thread: appends and syncs, so that the replica needn't wait for the disk.
//!
//! - upon a batch of commands: takes all that has queued too, appends every record, syncs once if any sync was asked for, and
//!   answers the highest mark (group commit).
//! - upon a load: what was appended is synced first, so that the index and the loader can read it.
//! - upon 100 ms of rest with records that no sync has covered: syncs, so that the index and events don't stay behind.
//! - upon a failure: says so and takes nothing more. A failed write or sync is final (replica.md §3): what the disk holds
//!   is known only after a restart.

use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, TrySendError};
use std::sync::Arc;
use violeta_replica::{LoadRequest, Record};

use super::Answer;
use crate::index::Entry;
use crate::index::writer::{LoadAt, Written};
use crate::journal::{Appender, JournalError};
use crate::metrics::Metrics;

/// How long records may rest without a sync that anybody asked for.
const REST: Duration = Duration::from_millis(100);
/// Batches taken together at most, before their sync.
const BATCHES_MAX: usize = 64;

/// What the journal's thread is told.
#[derive(Debug)]
pub(super) enum Command {
    /// Append.
    Append(Record),
    /// Sync, and answer with this mark.
    Sync {
        /// The mark.
        mark: u64,
    },
    /// Sync, and pass this on.
    Load(LoadRequest),
}

pub(super) struct JournalThread<A> {
    pub(super) journal: A,
    pub(super) answers: Sender<Answer>,
    pub(super) index: Sender<Written>,
    pub(super) loads: Sender<LoadAt<LoadRequest>>,
    pub(super) metrics: Arc<Metrics>,
}

/// What was appended since the last sync.
struct Dirty {
    from: u64,
    entries: Vec<(u64, Entry)>,
}

impl<A: Appender> JournalThread<A> {
    pub(super) fn run(mut self, commands: &Receiver<Vec<Command>>) {
        if let Err(error) = self.work(commands) {
            let reason = format!(
                "{error}; nothing that was acknowledged is lost: start the node again once the disk is well"
            );
            // The replica's thread has gone only when the node stops anyway.
            let _ = self.answers.send(Answer::Failed(reason));
        }
    }

    fn work(&mut self, commands: &Receiver<Vec<Command>>) -> Result<(), JournalError> {
        let mut dirty = self.clean();
        loop {
            let first = match dirty.entries.is_empty() {
                true => commands.recv().map_err(|_| RecvTimeoutError::Disconnected),
                false => commands.recv_timeout(REST),
            };
            match first {
                Ok(first) => {
                    let more = commands.try_iter().take(BATCHES_MAX);
                    let all: Vec<Command> = std::iter::once(first).chain(more).flatten().collect();
                    self.carry_out(all, &mut dirty)?;
                }
                Err(RecvTimeoutError::Timeout) => self.sync(&mut dirty)?,
                Err(RecvTimeoutError::Disconnected) => {
                    return self.sync(&mut dirty);
                }
            }
        }
    }

    fn clean(&self) -> Dirty {
        Dirty {
            from: self.journal.end(),
            entries: Vec::new(),
        }
    }

    fn carry_out(&mut self, all: Vec<Command>, dirty: &mut Dirty) -> Result<(), JournalError> {
        let mut highest = None;
        let mut loads = Vec::new();
        for command in all {
            match command {
                Command::Append(record) => {
                    let bytes = record.to_bytes();
                    let position = self.journal.append(record.kind() as u8, &bytes)?;
                    self.metrics.journal_records.inc();
                    self.metrics.journal_bytes.inc_by(bytes.len() as u64);
                    dirty.entries.push((position, Entry::of_record(&record)));
                }
                Command::Sync { mark } => {
                    assert!(highest.is_none_or(|before| before < mark), "marks rise");
                    highest = Some(mark);
                }
                Command::Load(request) => loads.push(request),
            }
        }
        if highest.is_some() || !loads.is_empty() {
            self.sync(dirty)?;
        }
        if let Some(mark) = highest {
            let _ = self.answers.send(Answer::Synced { mark });
        }
        for load in loads {
            let up_to = self.journal.end();
            let _ = self.loads.send(LoadAt { up_to, load });
        }
        Ok(())
    }

    fn sync(&mut self, dirty: &mut Dirty) -> Result<(), JournalError> {
        if dirty.entries.is_empty() {
            return Ok(());
        }
        let begin = Instant::now();
        self.journal.sync()?;
        self.metrics
            .journal_sync_seconds
            .observe(begin.elapsed().as_secs_f64());
        let Dirty { from, entries } = std::mem::replace(dirty, self.clean());
        let to = self.journal.end();
        let written = Written { from, to, entries };
        match self.index.try_send(written) {
            // Full: the index reads what it missed from the journal. Gone: the node stops.
            Ok(()) | Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => Ok(()),
        }
    }
}
