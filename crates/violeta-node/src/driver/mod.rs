//! The driver: threads around a replica that does nothing itself.
//!
//! ```text
//!   transport ──messages (quota each)──▶┌─────────┐──Append, Sync, Load──▶ journal ─┬─Synced──▶ (back)
//!   gateways ───submissions (quota)────▶│ replica │                                 ├─written──▶ index ─▶ events
//!                                       │ thread  │                                 └─loads──▶ index ─▶ loader ─Loaded─▶ (back)
//!   clock ───────ticks─────────────────▶│         │──Job──▶ workers ──JobDone──▶ (back)
//!                                       │         │──Machine──▶ machine ──effects──▶ (back)
//!   (back) ───answers──────────────────▶│         │──Send──▶ transport
//!                                       └─────────┘──Notice──▶ news ─▶ tracker, chain, answers
//! ```
//!
//! - The replica's thread never waits for a disk or a socket; it waits only while the journal's or the news' queue is full.
//! - Workers take what peers sent in turn, a job each: whoever floods waits for itself (`jobs`).
//! - *Answers* come first, then peers' messages, then clients' submissions, a few of each a turn: whoever floods from
//!   outside can't keep the replica from what it is waiting for, nor clients keep out peers.
//! - Nothing waits in a circle: answers go into a channel without a bound of its own. What bounds it is that each
//!   answers something that was asked, and the replica bounds what it asks (`violeta_replica::limits`).
//! - Without work all threads sleep: there is no polling, only [`ReplicaLike::next_wakeup`].
//! - A thread that panics, a journal that fails, and an index that finds itself damaged stop the node with a reason.

pub mod clock;
mod jobs;
mod journal_thread;
mod loader;
mod machine_thread;
mod news;
mod replica_thread;
mod threads;
mod workers;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded, unbounded};
use tokio::sync::watch;
use tracing::error;
use violeta_replica::{Effect, Input, JobDone, Loaded, Machine, Now, Output, Workshop};

use crate::handle::{Shared, Submission};
use crate::index::Index;
use crate::index::writer::Writer;
use crate::journal::{Appender, Records};
use crate::transport::{PeerEvent, Transport};
use threads::Threads;

pub use violeta_replica::Status;

/// Batches of outputs that may wait for the journal's thread.
const JOURNAL_QUEUE: usize = 64;
/// Notices that may wait to be told.
const NEWS_QUEUE: usize = 1_024;
/// Batches of written records that may wait for the index. Beyond that they are dropped, and read from the journal.
const INDEX_QUEUE: usize = 64;
/// How long threads may take to end.
pub const STOP_TIMEOUT: Duration = Duration::from_secs(20);

/// What the driver drives: a replica, or something that behaves like one towards the shell. (An adversary runs as a
/// process this way.)
pub trait ReplicaLike: Send {
    /// Takes an input. What it leads to is polled.
    fn handle(&mut self, now: Now, input: Input);
    /// The next thing to be done; none when all has been taken.
    fn poll(&mut self) -> Option<Output>;
    /// When a tick is due, on the clock of [`Now::monotonic_us`].
    fn next_wakeup(&self) -> Option<u64>;
    /// Where it stands.
    fn status(&self) -> Status;
}

impl ReplicaLike for violeta_replica::Replica {
    fn handle(&mut self, now: Now, input: Input) {
        violeta_replica::Replica::handle(self, now, input);
    }

    fn poll(&mut self) -> Option<Output> {
        violeta_replica::Replica::poll(self)
    }

    fn next_wakeup(&self) -> Option<u64> {
        violeta_replica::Replica::next_wakeup(self)
    }

    fn status(&self) -> Status {
        violeta_replica::Replica::status(self)
    }
}

/// What comes back to the replica's thread.
#[derive(Debug)]
pub(crate) enum Answer {
    /// A job has run.
    JobDone(JobDone),
    /// The journal is durable up to this mark.
    Synced {
        /// The mark.
        mark: u64,
    },
    /// The machine says something.
    Machine(Effect),
    /// What was asked of the journal.
    Loaded(Loaded),
    /// Something that the node needs has failed.
    Failed(String),
    /// Stop.
    Stop,
}

/// What the driver is built from.
pub(crate) struct Parts<A, R> {
    pub(crate) replica: Box<dyn ReplicaLike>,
    pub(crate) clock: clock::Clock,
    pub(crate) machine: Box<dyn Machine>,
    pub(crate) workshop: Workshop,
    pub(crate) workers: usize,
    pub(crate) journal: A,
    pub(crate) records: Arc<dyn Records>,
    pub(crate) index_writer: Writer<R>,
    pub(crate) transport: Option<Transport>,
    pub(crate) peers: Receiver<PeerEvent>,
    pub(crate) submissions: Receiver<Submission>,
    pub(crate) shared: Arc<Shared>,
    pub(crate) status: watch::Sender<Status>,
}

/// A running driver.
pub(crate) struct Driver {
    answers: Sender<Answer>,
    threads: Threads,
    stopping: Arc<AtomicBool>,
}

impl Driver {
    /// Starts all threads.
    ///
    /// # Errors
    /// If the operating system gives no thread.
    pub(crate) fn start<A, R>(parts: Parts<A, R>) -> std::io::Result<Driver>
    where
        A: Appender + 'static,
        R: Records + 'static,
    {
        let (answers, from_all) = unbounded();
        let (to_journal, journal_queue) = bounded(JOURNAL_QUEUE);
        let (to_index, index_queue) = bounded(INDEX_QUEUE);
        // At most one load for each peer and kind, and one for the machine, is under way: the replica sees to it
        // (`violeta_replica`, `replica/serving.rs`).
        let (to_index_loads, index_loads) = unbounded();
        let (to_loader, loads) = unbounded();
        // Bounded by the checks and combinations that the replica has under way.
        let (jobs, for_workers) = jobs::queue();
        // Bounded by what the replica hands over before it is applied, and the submissions under check.
        let (to_machine, events) = unbounded();
        let (to_news, notices) = bounded(NEWS_QUEUE);
        let stopping = Arc::new(AtomicBool::new(false));
        let mut threads = Threads::new(answers.clone());

        let index = parts.shared.index.clone();
        stop_on_damage(&index, &parts.shared);
        let chain = parts.shared.chain_id;
        let metrics = parts.shared.metrics.clone();
        let writer = parts.index_writer;
        threads.start("index", move || {
            writer.run(&index_queue, &index_loads, |load| {
                // The loader has gone only when the node stops.
                let _ = to_loader.send(load);
            });
        })?;
        let loader = loader::Loader::new(index, parts.records, chain);
        let back = answers.clone();
        threads.start("loader", move || loader.run(&loads, &back))?;
        let journal = journal_thread::JournalThread {
            journal: parts.journal,
            answers: answers.clone(),
            index: to_index,
            loads: to_index_loads,
            metrics,
        };
        threads.start("journal", move || journal.run(&journal_queue))?;
        let (machine, back) = (parts.machine, answers.clone());
        threads.start("machine", move || {
            machine_thread::run(machine, &events, &back);
        })?;
        for _ in 0..parts.workers {
            let (workshop, back) = (parts.workshop.clone(), answers.clone());
            let (jobs, stopping) = (for_workers.clone(), stopping.clone());
            threads.start("worker", move || {
                workers::run(&workshop, &jobs, &back, &stopping);
            })?;
        }
        let shared = parts.shared.clone();
        threads.start("news", move || news::run(&shared, &notices))?;

        let replica = replica_thread::ReplicaThread {
            replica: parts.replica,
            clock: parts.clock,
            answers: from_all,
            peers: parts.peers,
            submissions: parts.submissions,
            journal: to_journal,
            jobs,
            machine: to_machine,
            news: to_news,
            transport: parts.transport,
            status: parts.status,
        };
        let shared = parts.shared;
        threads.start("replica", move || {
            let reason = replica_thread::run(replica);
            replica_thread::tell(&shared, reason);
        })?;
        Ok(Driver {
            answers,
            threads,
            stopping,
        })
    }

    /// Stops the replica, lets the journal, the machine and the index finish what they have, and waits for them.
    /// Says which threads didn't end in time, or panicked.
    pub(crate) fn stop(self) -> Vec<String> {
        self.stopping.store(true, Ordering::Relaxed);
        // The thread has gone already if the replica halted.
        let _ = self.answers.send(Answer::Stop);
        drop(self.answers);
        self.threads.join(Instant::now() + STOP_TIMEOUT)
    }
}

/// What a damaged index lacks is never found again, whoever asks: the node stops, and starts with a new one.
fn stop_on_damage(index: &Index, shared: &Arc<Shared>) {
    // The index is shared's.
    let shared = Arc::downgrade(shared);
    index.on_damage(move |reason| {
        error!(%reason, "the node stops");
        if let Some(shared) = shared.upgrade() {
            shared.halt(reason);
        }
    });
}

#[cfg(test)]
mod tests;
