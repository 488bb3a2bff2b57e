//! What gateways see of a node.
//!
//! ```text
//!  gateway ──▶ Handle ─┬─ submit ─────────▶ driver ─▶ replica            (answered by its verdicts)
//!                      ├─ status, wait ───▶ tracker · chain              (the way of a transaction)
//!                      ├─ block, head, … ─▶ chain ─▶ index ─▶ journal
//!                      ├─ events ─────────▶ hub ─▶ index                 (resumable)
//!                      └─ reader ─────────▶ the machine's snapshots
//! ```
//!
//! Cheap to clone; outlives the node (then everything says that it has stopped). What may touch the disk says so: call
//! it on a blocking thread, or through [`Handle::blocking`]. What is `async` sees to that itself.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use bytes::Bytes;
use crossbeam_channel::Sender;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot, watch};
use violeta_db::DbReader;
use violeta_proof::HistoryPath;
use violeta_replica::{Block, Status, SubmitError};
use violeta_types::api::{BlockSummary, ChainEvent, Cursor, TransactionStatus, Wait};
use violeta_types::{
    CertifiedHead, ChainId, Committee, Genesis, Head, Height, Outcome, Seal, TimeMs, TxId,
    ValidatorIndex,
};

use crate::chain::{Chain, ChainError, Recorded, Tip};
use crate::events::{EventError, EventHub, EventStream};
use crate::index::{Index, IndexError};
use crate::lock::lock;
use crate::metrics::Metrics;
use crate::tracker::{Progress, Tracker};

/// Bytes that a submission costs beyond its items.
const SUBMISSION_COST: usize = 4 << 10;
/// Items that are checked in one piece.
const SUBMISSION_ITEMS: usize = 512;
/// When who is told to come back should.
const RETRY_MS: u64 = 100;

/// The node isn't there any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the node has stopped")]
pub struct Stopped;

/// What the demo's liar does to answers. An honest node has none.
pub trait Forge: Send + Sync {
    /// What to say instead of this value of this key. The proof beside it stays what it was.
    fn value(&self, namespace: &[u8], key: &[u8], value: Option<Bytes>) -> Option<Bytes>;
}

/// A submission on its way to the replica.
pub(crate) struct Submission {
    pub(crate) ticket: u64,
    pub(crate) items: Vec<Bytes>,
}

type Verdicts = Vec<Result<TxId, SubmitError>>;

struct Waiting {
    answer: oneshot::Sender<Verdicts>,
    /// Given back with the answer: submissions under way are bounded in bytes.
    _quota: OwnedSemaphorePermit,
}

impl Shared {
    /// The node stops, for this reason; the first reason counts.
    pub(crate) fn halt(&self, reason: &str) {
        self.stop.send_if_modified(|stop| {
            let first = stop.is_none();
            stop.get_or_insert_with(|| reason.to_owned());
            first
        });
    }
}

/// What all handles of a node share.
pub(crate) struct Shared {
    pub(crate) genesis: Genesis,
    pub(crate) chain_id: ChainId,
    pub(crate) me: Option<ValidatorIndex>,
    pub(crate) chain: Chain,
    pub(crate) tracker: Mutex<Tracker>,
    pub(crate) index: Arc<Index>,
    pub(crate) hub: Arc<EventHub>,
    pub(crate) metrics: Arc<Metrics>,
    /// Taken away when the node stops: who reads holds the store open.
    pub(crate) reader: ArcSwapOption<DbReader>,
    pub(crate) status: watch::Receiver<Status>,
    pub(crate) forge: Option<Arc<dyn Forge>>,
    pub(crate) submissions: Submissions,
    pub(crate) stop: watch::Sender<Option<String>>,
}

/// Submissions that wait for the replica's verdict.
pub(crate) struct Submissions {
    waiting: Mutex<BTreeMap<u64, Waiting>>,
    next: AtomicU64,
    quota: Arc<Semaphore>,
    sender: Sender<Submission>,
}

impl Submissions {
    /// Submissions of up to `bytes_max` bytes in all. The channel needs no bound of its own: this is it.
    pub(crate) fn new(bytes_max: usize, sender: Sender<Submission>) -> Self {
        Submissions {
            waiting: Mutex::default(),
            next: AtomicU64::new(1),
            quota: Arc::new(Semaphore::new(bytes_max.min(u32::MAX as usize))),
            sender,
        }
    }

    fn submit(&self, items: Vec<Bytes>) -> Result<Option<oneshot::Receiver<Verdicts>>, Stopped> {
        let bytes = SUBMISSION_COST + items.iter().map(Bytes::len).sum::<usize>();
        let cost = u32::try_from(bytes).unwrap_or(u32::MAX);
        let Ok(quota) = self.quota.clone().try_acquire_many_owned(cost) else {
            return Ok(None);
        };
        let ticket = self.next.fetch_add(1, Ordering::Relaxed);
        let (answer, receiver) = oneshot::channel();
        let waiting = Waiting {
            answer,
            _quota: quota,
        };
        lock(&self.waiting).insert(ticket, waiting);
        if self.sender.send(Submission { ticket, items }).is_err() {
            lock(&self.waiting).remove(&ticket);
            return Err(Stopped);
        }
        Ok(Some(receiver))
    }

    #[cfg(test)]
    pub(crate) fn submit_for_test(&self) {
        let submitted = self.submit(vec![Bytes::from_static(b"x")]);
        // Nobody waits for the answer; the quota is held until there is one.
        drop(submitted.unwrap().unwrap());
    }

    /// The replica has judged.
    pub(crate) fn answer(&self, ticket: u64, verdicts: Verdicts) {
        if let Some(waiting) = lock(&self.waiting).remove(&ticket) {
            // Who has gone doesn't need to know.
            let _ = waiting.answer.send(verdicts);
        }
    }

    /// Nobody will be answered any more.
    pub(crate) fn close(&self) {
        lock(&self.waiting).clear();
    }
}

fn overloaded() -> SubmitError {
    SubmitError::Overloaded {
        what: "submissions under way",
        retry_ms: RETRY_MS,
    }
}

/// Who knows what became of a transaction.
enum Followed {
    /// The tracker, in memory.
    Here(TransactionStatus),
    /// The chain, on disk; this if it doesn't record the transaction.
    Elsewhere { if_not_recorded: TransactionStatus },
}

/// See the module.
#[derive(Clone)]
pub struct Handle {
    pub(crate) shared: Arc<Shared>,
}

impl Handle {
    // ── Who and what ────────────────────────────────────────────────────────────────────────────────────────────

    /// What the chain began with.
    pub fn genesis(&self) -> &Genesis {
        &self.shared.genesis
    }

    /// The chain.
    pub fn chain_id(&self) -> ChainId {
        self.shared.chain_id
    }

    /// The committee of now.
    pub fn committee(&self) -> &Committee {
        &self.shared.genesis.committee
    }

    /// Which validator this is; none if it only follows.
    pub fn validator(&self) -> Option<ValidatorIndex> {
        self.shared.me
    }

    /// The node's metrics; gateways may register their own.
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.shared.metrics
    }

    /// Reads the state; none where the node runs no database, or has stopped. Not to be kept: who holds it holds the
    /// store open.
    pub fn reader(&self) -> Option<Arc<DbReader>> {
        self.shared.reader.load_full()
    }

    /// Where the replica stood a moment ago.
    pub fn replica_status(&self) -> Status {
        self.shared.status.borrow().clone()
    }

    /// Follows where the replica stands: told at most ten times a second, and only when it moves.
    pub fn watch_replica(&self) -> watch::Receiver<Status> {
        self.shared.status.clone()
    }

    /// What a liar says instead of the truth. None on an honest node.
    pub fn forge(&self) -> Option<&Arc<dyn Forge>> {
        self.shared.forge.as_ref()
    }

    /// Runs what may touch the disk on a thread made for it.
    ///
    /// # Errors
    /// If the node has stopped, or `f` panicked.
    pub async fn blocking<T: Send + 'static>(
        &self,
        f: impl FnOnce(&Handle) -> T + Send + 'static,
    ) -> Result<T, Stopped> {
        let handle = self.clone();
        tokio::task::spawn_blocking(move || f(&handle))
            .await
            .map_err(|_| Stopped)
    }

    // ── Writing ─────────────────────────────────────────────────────────────────────────────────────────────────

    /// Wants these items ordered; says of each whether the mempool has it. To the Database machine they are encoded
    /// transactions.
    ///
    /// # Errors
    /// If the node has stopped.
    pub async fn submit(&self, items: Vec<Bytes>) -> Result<Verdicts, Stopped> {
        let count = items.len();
        let mut under_way = Vec::with_capacity(count.div_ceil(SUBMISSION_ITEMS));
        // In pieces: several threads check a large batch, and a vertex that comes meanwhile waits for none of it.
        for piece in items.chunks(SUBMISSION_ITEMS) {
            let submitted = self.shared.submissions.submit(piece.to_vec())?;
            under_way.push((piece.len(), submitted));
        }
        let mut verdicts = Vec::with_capacity(count);
        for (len, submitted) in under_way {
            match submitted {
                Some(answer) => verdicts.extend(answer.await.map_err(|_| Stopped)?),
                None => verdicts.extend(vec![Err(overloaded()); len]),
            }
        }
        assert_eq!(verdicts.len(), count, "a verdict for each item");
        Ok(verdicts)
    }

    /// What became of a transaction so far. May touch the disk.
    ///
    /// # Errors
    /// If it can't be read.
    pub fn status(&self, id: &TxId) -> Result<TransactionStatus, ChainError> {
        match self.followed(id) {
            Followed::Here(status) => Ok(status),
            Followed::Elsewhere { if_not_recorded } => self.recorded_status(id, if_not_recorded),
        }
    }

    /// The same, for who carries connections: goes to another thread if the disk may be touched.
    async fn look(&self, id: TxId) -> Result<TransactionStatus, ChainError> {
        match self.followed(&id) {
            Followed::Here(status) => Ok(status),
            Followed::Elsewhere { if_not_recorded } => self
                .blocking(move |handle| handle.recorded_status(&id, if_not_recorded))
                .await
                .map_err(|Stopped| IndexError::Closed)?,
        }
    }

    /// What is known of a transaction that is followed here, in memory.
    fn followed(&self, id: &TxId) -> Followed {
        let progress = lock(&self.shared.tracker).progress(id).cloned();
        let if_not_recorded = match progress {
            Some(Progress::Executed(outcome)) => return Followed::Here(self.executed(outcome)),
            Some(Progress::Queued) => return Followed::Here(TransactionStatus::Queued),
            Some(Progress::Proposed(round)) => {
                return Followed::Here(TransactionStatus::Proposed { round });
            }
            // Expired here; another validator may have brought it into a block before.
            Some(Progress::Expired) => TransactionStatus::Expired,
            Some(Progress::Awaited) | None => TransactionStatus::Unknown,
        };
        Followed::Elsewhere { if_not_recorded }
    }

    /// What the chain records of a transaction. Touches the disk, and may decode a whole block.
    fn recorded_status(
        &self,
        id: &TxId,
        if_not_recorded: TransactionStatus,
    ) -> Result<TransactionStatus, ChainError> {
        let found = self.shared.chain.outcome(id)?;
        Ok(found.map_or(if_not_recorded, |outcome| self.executed(outcome)))
    }

    fn executed(&self, outcome: Outcome) -> TransactionStatus {
        match outcome.height <= self.tip().certified {
            true => TransactionStatus::Certified { outcome },
            false => TransactionStatus::Executed { outcome },
        }
    }

    /// Waits until a transaction's status satisfies `wait`, `at_most` so long; gives the status then, whatever it is.
    ///
    /// # Errors
    /// If the status can't be read.
    pub async fn wait(
        &self,
        id: TxId,
        wait: Wait,
        at_most: Duration,
    ) -> Result<TransactionStatus, ChainError> {
        let satisfied = async {
            loop {
                // Registered before the look: what happens between the two isn't missed.
                let woken = lock(&self.shared.tracker).wait(id);
                let status = self.look(id).await?;
                if status.satisfies(wait) {
                    return Ok(status);
                }
                if let Some(outcome) = status.outcome() {
                    if self.wait_certified(outcome.height).await.is_err() {
                        return Ok(status);
                    }
                    continue;
                }
                match woken {
                    // Dropped or told: either way it's time to look again.
                    Some(woken) => drop(woken.await),
                    // A crowd waits for it: look now and then.
                    None => tokio::time::sleep(Duration::from_millis(RETRY_MS)).await,
                }
            }
        };
        match tokio::time::timeout(at_most, satisfied).await {
            Ok(status) => status,
            Err(_) => self.look(id).await,
        }
    }

    /// Waits until a certificate vouches for this height.
    ///
    /// # Errors
    /// If the node stops first.
    pub async fn wait_certified(&self, height: Height) -> Result<Tip, Stopped> {
        let mut tip = self.watch();
        let mut stop = self.shared.stop.subscribe();
        tokio::select! {
            reached = tip.wait_for(|tip| tip.certified >= height) => {
                reached.map(|tip| *tip).map_err(|_| Stopped)
            }
            _ = stop.wait_for(Option::is_some) => Err(Stopped),
        }
    }

    // ── The chain ───────────────────────────────────────────────────────────────────────────────────────────────

    /// How far the chain has got here.
    pub fn tip(&self) -> Tip {
        self.shared.chain.tip()
    }

    /// The time of the newest block in memory; 0 if none was executed since the start.
    pub fn block_time(&self) -> TimeMs {
        self.shared.chain.block_time()
    }

    /// Follows it.
    pub fn watch(&self) -> watch::Receiver<Tip> {
        self.shared.chain.watch()
    }

    /// The block at a height. May touch the disk.
    ///
    /// # Errors
    /// If it can't be read.
    pub fn block(&self, height: Height) -> Result<Option<Arc<Block>>, ChainError> {
        self.shared.chain.block(height)
    }

    /// Summaries of up to `count` blocks from a height on; of fewer where they are large. May touch the disk.
    ///
    /// # Errors
    /// If they can't be read.
    pub fn blocks(&self, from: Height, count: usize) -> Result<Vec<BlockSummary>, ChainError> {
        self.shared.chain.blocks(from, count)
    }

    /// The head at a height. May touch the disk.
    ///
    /// # Errors
    /// If it can't be read.
    pub fn head(&self, height: Height) -> Result<Option<Head>, ChainError> {
        self.shared.chain.head(height)
    }

    /// The certified head at exactly this height. May touch the disk.
    ///
    /// # Errors
    /// If it can't be read.
    pub fn certified_head(&self, height: Height) -> Result<Option<Arc<CertifiedHead>>, ChainError> {
        self.shared.chain.certified_head(height)
    }

    /// The lowest certified head at or above this height. May touch the disk.
    ///
    /// # Errors
    /// If it can't be read.
    pub fn certified_from(&self, height: Height) -> Result<Option<Arc<CertifiedHead>>, ChainError> {
        self.shared.chain.certified_from(height)
    }

    /// The seal of the lowest sealed height at or above this one. May touch the disk.
    ///
    /// # Errors
    /// If it can't be read.
    pub fn sealed_from(&self, height: Height) -> Result<Option<Seal>, ChainError> {
        self.shared.chain.sealed_from(height)
    }

    /// The way from an older head to a newer one's history root. May touch the disk.
    ///
    /// # Errors
    /// If it can't be read.
    pub fn history_path(
        &self,
        older: Height,
        newer: Height,
    ) -> Result<Option<HistoryPath>, ChainError> {
        self.shared.chain.history_path(older, newer)
    }

    /// The newest certified head.
    ///
    /// # Errors
    /// If it can't be read.
    pub fn newest_certified(&self) -> Result<Option<Arc<CertifiedHead>>, ChainError> {
        self.shared.chain.newest_certified()
    }

    /// The seal of exactly this height. May touch the disk.
    ///
    /// # Errors
    /// If it can't be read.
    pub fn seal(&self, height: Height) -> Result<Option<Seal>, ChainError> {
        self.shared.chain.seal(height)
    }

    /// What became of a transaction, with the block that records it: what an outcome's proof is made from. May touch
    /// the disk.
    ///
    /// # Errors
    /// If it can't be read.
    pub fn outcome(&self, id: &TxId) -> Result<Option<(Outcome, Arc<Block>)>, ChainError> {
        // What was followed here is known without an index.
        let followed = match lock(&self.shared.tracker).progress(id) {
            Some(Progress::Executed(outcome)) => Some(outcome.clone()),
            _ => None,
        };
        let outcome = match followed {
            None => self.shared.chain.outcome(id)?,
            followed => followed,
        };
        let Some(outcome) = outcome else {
            return Ok(None);
        };
        let block = self.block(outcome.height)?;
        Ok(block.map(|block| (outcome, block)))
    }

    /// Of each of these transactions whether a block records it. May touch the disk, once for all of them.
    ///
    /// # Errors
    /// If the index can't be read.
    pub fn recorded(&self, ids: &[TxId]) -> Result<Vec<Recorded>, ChainError> {
        let mut recorded = self.shared.chain.recorded(ids)?;
        let tracker = lock(&self.shared.tracker);
        for (id, recorded) in ids.iter().zip(&mut recorded) {
            if let Some(Progress::Executed(_)) = tracker.progress(id) {
                *recorded = Recorded::Yes;
            }
        }
        Ok(recorded)
    }

    /// Whether every transaction that a block records can be found here: not without `tuning.index_transactions`.
    pub fn finds_all(&self) -> bool {
        self.shared.chain.finds_all()
    }

    // ── Events ──────────────────────────────────────────────────────────────────────────────────────────────────

    /// What happens after `from`; from now on, if none is given.
    ///
    /// # Errors
    /// If too many streams are open.
    pub fn events(&self, from: Option<Cursor>) -> Result<EventStream, EventError> {
        self.shared.hub.subscribe(from, self.shared.index.clone())
    }

    /// Up to `count` events after `after` that have happened already. May touch the disk.
    ///
    /// # Errors
    /// If they can't be read.
    pub fn past_events(&self, after: Cursor, count: usize) -> Result<Vec<ChainEvent>, ChainError> {
        Ok(self.shared.index.events(after, count)?)
    }

    // ── Life ────────────────────────────────────────────────────────────────────────────────────────────────────

    /// Asks the node to stop; says at once that it will. [`Handle::stopped`] waits for it.
    pub fn shutdown(&self, reason: &str) {
        self.shared.halt(reason);
    }

    /// Waits until the node is asked to stop, or stops itself; says why.
    pub async fn stopped(&self) -> String {
        let mut stop = self.shared.stop.subscribe();
        match stop.wait_for(Option::is_some).await {
            Ok(reason) => reason.clone().unwrap_or_default(),
            Err(_) => Stopped.to_string(),
        }
    }

    /// What keeps the node from serving well, for people. Empty: nothing.
    pub fn complaints(&self) -> Vec<String> {
        let mut complaints = Vec::new();
        if let Some(reason) = &*self.shared.stop.borrow() {
            complaints.push(format!("the node is stopping: {reason}"));
        }
        if self.shared.metrics.index_healthy.get() == 0 {
            complaints.push("the index can't be written: is the disk full?".into());
        }
        complaints
    }
}
