//! What this node knows of the chain: blocks, heads, certificates, seals, outcomes.
//!
//! ```text
//!  notices ──▶ recent: the newest blocks and certificates, in memory ──┐
//!                                                                      ├──▶ block(h), head(h), outcome(tx), …
//!  index ──▶ journal: all of them ─────────────────────────────────────┘
//! ```
//!
//! Recent things are here as soon as they happen; older ones are read from the journal, through the index. Reading may
//! touch the disk: gateways call it on a blocking thread, or accept that.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, RwLock};

use tokio::sync::watch;
use violeta_proof::HistoryPath;
use violeta_replica::{Block, RecordKind};
use violeta_types::api::BlockSummary;
use violeta_types::merkle::{HISTORY, Perfect};
use violeta_types::{
    CertifiedHead, CommitIndex, Digest, Head, Height, Outcome, Seal, TimeMs, TxId, decode,
};

use crate::index::{Index, IndexError, Meta};
use crate::journal::{JournalError, Records};
use crate::lock;

/// Certified heads and seals kept in memory.
pub const RECENT_HEADS_MAX: usize = 1_024;

/// Outcomes after which a page of blocks ends, however few blocks it has: what one request may have read and decoded.
pub const SUMMARIZED_OUTCOMES_MAX: usize = 1 << 16;

/// Why something can't be read.
#[derive(Debug, thiserror::Error)]
pub enum ChainError {
    /// The index.
    #[error(transparent)]
    Index(#[from] IndexError),
    /// The journal.
    #[error(transparent)]
    Journal(#[from] JournalError),
}

/// Whether a transaction is recorded in a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recorded {
    /// It is.
    Yes,
    /// It isn't, as far as this node has executed.
    No,
    /// Memory doesn't have it, and transactions aren't indexed here (`tuning.index_transactions`).
    Unknown,
}

/// How far the chain has got, as this node knows it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tip {
    /// The newest commit.
    pub commit_index: CommitIndex,
    /// The newest block that was executed here.
    pub executed: Height,
    /// The newest block with a certificate.
    pub certified: Height,
    /// The newest block with a seal.
    pub sealed: Height,
}

/// See the module.
pub struct Chain {
    recent: RwLock<Recent>,
    tip: watch::Sender<Tip>,
    index: Arc<Index>,
    records: Arc<dyn Records>,
}

#[derive(Default)]
struct Recent {
    /// Rising heights without gaps.
    blocks: VecDeque<Arc<Block>>,
    bytes: usize,
    bytes_max: usize,
    certified: BTreeMap<Height, Arc<CertifiedHead>>,
    seals: BTreeMap<Height, Seal>,
}

fn block_bytes(block: &Block) -> usize {
    size_of::<Block>() + block.outcomes.len() * size_of::<Outcome>()
}

impl Recent {
    fn push(&mut self, block: Arc<Block>) {
        let follows = self
            .blocks
            .back()
            .is_none_or(|last| last.head.height.next() == block.head.height);
        if !follows {
            // Blocks that a snapshot or a replay skipped are in the index.
            self.blocks.clear();
            self.bytes = 0;
        }
        self.bytes += block_bytes(&block);
        self.blocks.push_back(block);
        // The newest stays, however large.
        while self.bytes > self.bytes_max && self.blocks.len() > 1 {
            if let Some(oldest) = self.blocks.pop_front() {
                self.bytes -= block_bytes(&oldest);
            }
        }
    }

    fn block(&self, height: Height) -> Option<&Arc<Block>> {
        let first = self.blocks.front()?.head.height.0;
        self.blocks.get(height.0.checked_sub(first)? as usize)
    }
}

fn keep_newest<T>(map: &mut BTreeMap<Height, T>) {
    while map.len() > RECENT_HEADS_MAX {
        map.pop_first();
    }
}

impl Chain {
    /// What the index knows, to begin with; up to `recent_bytes_max` bytes of blocks will be kept in memory.
    pub fn new(
        index: Arc<Index>,
        records: Arc<dyn Records>,
        meta: &Meta,
        recent_bytes_max: usize,
    ) -> Self {
        let tip = Tip {
            commit_index: CommitIndex(0),
            executed: meta.height,
            certified: meta.certified,
            sealed: meta.sealed,
        };
        let recent = Recent {
            bytes_max: recent_bytes_max,
            ..Recent::default()
        };
        Chain {
            recent: RwLock::new(recent),
            tip: watch::Sender::new(tip),
            index,
            records,
        }
    }

    // ── News ────────────────────────────────────────────────────────────────────────────────────────────────────

    /// The log has grown.
    pub(crate) fn committed(&self, index: CommitIndex) {
        self.tip
            .send_if_modified(|tip| raise(&mut tip.commit_index, index));
    }

    /// A block was executed.
    pub(crate) fn executed(&self, block: Arc<Block>) {
        let height = block.head.height;
        lock::write(&self.recent).push(block);
        self.tip
            .send_if_modified(|tip| raise(&mut tip.executed, height));
    }

    /// A head has its certificate.
    pub(crate) fn certified(&self, certified: Arc<CertifiedHead>) {
        let height = certified.head.height;
        let mut recent = lock::write(&self.recent);
        recent.certified.insert(height, certified);
        keep_newest(&mut recent.certified);
        drop(recent);
        self.tip
            .send_if_modified(|tip| raise(&mut tip.certified, height));
    }

    /// A head has its seal.
    pub(crate) fn sealed(&self, seal: Seal) {
        let height = seal.height;
        let mut recent = lock::write(&self.recent);
        recent.seals.insert(height, seal);
        keep_newest(&mut recent.seals);
        drop(recent);
        self.tip
            .send_if_modified(|tip| raise(&mut tip.sealed, height));
    }

    // ── Questions ───────────────────────────────────────────────────────────────────────────────────────────────

    /// How far the chain has got.
    pub fn tip(&self) -> Tip {
        *self.tip.borrow()
    }

    /// The time of the newest block in memory; 0 for none.
    pub fn block_time(&self) -> TimeMs {
        let recent = lock::read(&self.recent);
        recent.blocks.back().map_or(TimeMs(0), |b| b.head.time)
    }

    /// Follows the tip. Its end is the node's.
    pub fn watch(&self) -> watch::Receiver<Tip> {
        self.tip.subscribe()
    }

    fn record(&self, position: u64, kind: RecordKind) -> Result<bytes::Bytes, ChainError> {
        let record = self.records.read(position)?;
        if record.kind != kind {
            let reason = format!("a {:?} where the index says {kind:?}", record.kind);
            return Err(JournalError::damaged(position, reason).into());
        }
        Ok(record.bytes)
    }

    fn decoded<T: borsh::BorshDeserialize>(
        &self,
        position: Option<u64>,
        kind: RecordKind,
    ) -> Result<Option<T>, ChainError> {
        let Some(position) = position else {
            return Ok(None);
        };
        let bytes = self.record(position, kind)?;
        let value = decode(&bytes).map_err(|e| JournalError::damaged(position, e.to_string()))?;
        Ok(Some(value))
    }

    /// The block at a height.
    ///
    /// # Errors
    /// If it can't be read.
    pub fn block(&self, height: Height) -> Result<Option<Arc<Block>>, ChainError> {
        if let Some(block) = lock::read(&self.recent).block(height) {
            return Ok(Some(block.clone()));
        }
        let position = self.index.block(height)?;
        let block = self.decoded(position, RecordKind::Block)?;
        Ok(block.map(Arc::new))
    }

    /// The head at a height, without reading the block.
    ///
    /// # Errors
    /// If it can't be read.
    pub fn head(&self, height: Height) -> Result<Option<Head>, ChainError> {
        if let Some(block) = lock::read(&self.recent).block(height) {
            return Ok(Some(block.head.clone()));
        }
        Ok(self.index.head(height)?)
    }

    /// The certified head at exactly this height. Not every height has a certificate of its own.
    ///
    /// # Errors
    /// If it can't be read.
    pub fn certified_head(&self, height: Height) -> Result<Option<Arc<CertifiedHead>>, ChainError> {
        if let Some(certified) = lock::read(&self.recent).certified.get(&height) {
            return Ok(Some(certified.clone()));
        }
        let position = self.index.certified(height)?;
        let certified = self.decoded(position, RecordKind::Certified)?;
        Ok(certified.map(Arc::new))
    }

    /// The lowest certified head at or above this height: it vouches for it.
    ///
    /// # Errors
    /// If it can't be read.
    pub fn certified_from(&self, height: Height) -> Result<Option<Arc<CertifiedHead>>, ChainError> {
        if let Some((found, position)) = self.index.certified_from(height)? {
            // Those in memory that the index lacks are higher.
            if let Some(certified) = lock::read(&self.recent).certified.get(&found) {
                return Ok(Some(certified.clone()));
            }
            let certified = self.decoded(Some(position), RecordKind::Certified)?;
            return Ok(certified.map(Arc::new));
        }
        let recent = lock::read(&self.recent);
        let (_, found) = recent.certified.range(height..).next().unzip();
        Ok(found.cloned())
    }

    /// The newest certified head.
    ///
    /// # Errors
    /// If it can't be read.
    pub fn newest_certified(&self) -> Result<Option<Arc<CertifiedHead>>, ChainError> {
        if let Some((_, newest)) = lock::read(&self.recent).certified.last_key_value() {
            return Ok(Some(newest.clone()));
        }
        self.certified_head(self.tip().certified)
    }

    /// The seal of exactly this height. Few heights have one.
    ///
    /// # Errors
    /// If it can't be read.
    pub fn seal(&self, height: Height) -> Result<Option<Seal>, ChainError> {
        if let Some(seal) = lock::read(&self.recent).seals.get(&height) {
            return Ok(Some(seal.clone()));
        }
        self.decoded(self.index.seal(height)?, RecordKind::Seal)
    }

    /// The seal of the lowest sealed height at or above this one: it vouches for it.
    ///
    /// # Errors
    /// If it can't be read.
    pub fn sealed_from(&self, height: Height) -> Result<Option<Seal>, ChainError> {
        if let Some((_, position)) = self.index.sealed_from(height)? {
            return self.decoded(Some(position), RecordKind::Seal);
        }
        // Those in memory that the index lacks are higher.
        let recent = lock::read(&self.recent);
        let (_, found) = recent.seals.range(height..).next().unzip();
        Ok(found.cloned())
    }

    /// The way from an older head to a newer one's history root (replica.md §7); none if heads between aren't known
    /// here.
    ///
    /// # Errors
    /// If it can't be read.
    pub fn history_path(
        &self,
        older: Height,
        newer: Height,
    ) -> Result<Option<HistoryPath>, ChainError> {
        let (Some(index), Some(count)) = (older.checked_previous(), newer.checked_previous())
        else {
            return Ok(None);
        };
        let node = |node| self.history_node(node);
        let path = HISTORY.path_from(index.0, count.0, node)?;
        Ok(path.map(HistoryPath::new))
    }

    /// A perfect subtree of the history. The index may be some blocks behind: what it lacks is made of its halves, down
    /// to heads in memory. That is deep only where many are missing, which is where nothing is found.
    fn history_node(&self, node: Perfect) -> Result<Option<Digest>, ChainError> {
        if let Some(digest) = self.index.history(node)? {
            return Ok(Some(digest));
        }
        let Some([left, right]) = node.halves() else {
            let height = Height(node.index).next();
            let head = lock::read(&self.recent).block(height).map(|b| b.head.id());
            return Ok(head.map(|id| HISTORY.leaf(&id.0)));
        };
        // The right half first: if the index lacks so much that memory doesn't have it, that is soon known.
        let Some(right) = self.history_node(right)? else {
            return Ok(None);
        };
        let left = self.history_node(left)?;
        Ok(left.map(|left| HISTORY.inner(&left, &right)))
    }

    /// What became of a transaction, if it was recorded in a block.
    ///
    /// # Errors
    /// If it can't be read.
    pub fn outcome(&self, id: &TxId) -> Result<Option<Outcome>, ChainError> {
        if let Some(outcome) = self.recent_outcome(id) {
            return Ok(Some(outcome));
        }
        let Some((height, place)) = self.index.transaction(id)? else {
            return Ok(None);
        };
        let block = self.block(height)?;
        // The index knows half of the id only: the other half is compared here.
        let outcome = block.and_then(|block| block.outcomes.get(place as usize).cloned());
        Ok(outcome.filter(|outcome| outcome.transaction == *id))
    }

    /// Summaries of up to `count` blocks from a height on; of fewer where they are large
    /// ([`SUMMARIZED_OUTCOMES_MAX`]). One block is in memory at a time.
    ///
    /// # Errors
    /// If they can't be read.
    pub fn blocks(&self, from: Height, count: usize) -> Result<Vec<BlockSummary>, ChainError> {
        let last = self.tip().executed;
        let heights = (from.0.max(1)..=last.0).take(count).map(Height);
        let blocks = heights.map_while(|height| self.block(height).transpose());
        summaries(blocks, SUMMARIZED_OUTCOMES_MAX)
    }

    /// Of each of these transactions whether a block records it. Reads the index once, and no block: by the prefix of an
    /// id that the index keeps.
    ///
    /// # Errors
    /// If the index can't be read.
    pub fn recorded(&self, ids: &[TxId]) -> Result<Vec<Recorded>, ChainError> {
        // Memory first: what the index takes over meanwhile is found there.
        let new = self.not_indexed();
        let indexed = self.index.has_transactions(ids)?;
        let outcomes = new.iter().flat_map(|block| block.outcomes.iter());
        let wanted: BTreeSet<&TxId> = ids.iter().collect();
        let recent: BTreeSet<&TxId> = outcomes
            .map(|outcome| &outcome.transaction)
            .filter(|id| wanted.contains(id))
            .collect();
        let of = |(id, indexed)| match indexed || recent.contains(id) {
            true => Recorded::Yes,
            false if self.finds_all() => Recorded::No,
            false => Recorded::Unknown,
        };
        Ok(ids.iter().zip(indexed).map(of).collect())
    }

    /// Whether every transaction that a block records can be found: whether the index has them.
    pub fn finds_all(&self) -> bool {
        self.index.indexes_transactions()
    }

    /// The blocks that the index doesn't have yet.
    fn not_indexed(&self) -> Vec<Arc<Block>> {
        let indexed = self.index.height();
        let recent = lock::read(&self.recent);
        let new = recent.blocks.iter().rev();
        new.take_while(|block| block.head.height > indexed)
            .cloned()
            .collect()
    }

    /// Looks through the blocks that the index doesn't have yet.
    fn recent_outcome(&self, id: &TxId) -> Option<Outcome> {
        self.not_indexed()
            .iter()
            .flat_map(|block| block.outcomes.iter())
            .find(|outcome| outcome.transaction == *id)
            .cloned()
    }
}

/// A block without its outcomes.
pub(crate) fn summary(block: &Block) -> BlockSummary {
    let refused = block.outcomes.iter().filter(|o| o.refused.is_some());
    BlockSummary {
        height: block.head.height,
        head: block.head.id(),
        commit_index: block.head.commit_index,
        time: block.head.time,
        transactions: block.outcomes.len() as u32,
        refused: refused.count() as u32,
    }
}

/// Summaries of these blocks, until they have `outcomes_max` outcomes together; of one at least. What comes after isn't
/// asked for.
pub(crate) fn summaries<E>(
    mut blocks: impl Iterator<Item = Result<Arc<Block>, E>>,
    outcomes_max: usize,
) -> Result<Vec<BlockSummary>, E> {
    let (mut summaries, mut outcomes) = (Vec::new(), 0);
    while outcomes < outcomes_max
        && let Some(block) = blocks.next().transpose()?
    {
        outcomes += block.outcomes.len();
        summaries.push(summary(&block));
    }
    Ok(summaries)
}

fn raise<T: Ord>(current: &mut T, new: T) -> bool {
    let higher = new > *current;
    if higher {
        *current = new;
    }
    higher
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{MemoryJournal, block, chain, tx};
    use crate::index::entry::Entry;

    /// A chain of 20 blocks, of which the index has nine, and memory as many as fit.
    fn behind(dir: &tempfile::TempDir, recent_bytes_max: usize) -> Chain {
        let index = Index::open(&dir.path().join("index"), &chain(), 0, true).unwrap();
        let entry = |h: u64| (h, Entry::Block(Arc::new(block(h, &[]))));
        let entries: Vec<_> = (1..=9).map(entry).collect();
        let meta = Meta::default();
        index.index.apply(&entries, &meta).unwrap();
        let records = Arc::new(MemoryJournal::default());
        let chain = Chain::new(Arc::new(index.index), records, &meta, recent_bytes_max);
        for height in 1..=20 {
            chain.executed(Arc::new(block(height, &[])));
        }
        chain
    }

    #[test]
    fn what_the_index_lacks_of_the_history_is_made_of_blocks_in_memory() {
        let dir = tempfile::tempdir().unwrap();
        let chain = behind(&dir, 1 << 20);
        let ids: Vec<Digest> = (1..=20).map(|h| block(h, &[]).head.id().0).collect();
        for newer in 2..=21 {
            for older in 1..newer {
                let path = chain.history_path(Height(older), Height(newer)).unwrap();
                let all = &ids[..newer as usize - 1];
                let expected = HISTORY.path(all, older as usize - 1).map(HistoryPath::new);
                assert_eq!(path, expected, "{older} under {newer}");
            }
        }
        for (older, newer) in [(0, 5), (5, 5), (6, 5), (5, 0), (5, 22), (20, 22)] {
            let path = chain.history_path(Height(older), Height(newer)).unwrap();
            assert_eq!(path, None, "{older} under {newer}");
        }
    }

    #[test]
    fn a_page_of_large_blocks_ends_early_and_reads_nothing_beyond() {
        let mut asked = Vec::new();
        let blocks = (1..=100).map(|height| {
            asked.push(height);
            Ok::<_, ChainError>(Arc::new(block(height, &[1, 2, 3])))
        });
        let page = summaries(blocks, 7).unwrap();
        let heights: Vec<u64> = page.iter().map(|summary| summary.height.0).collect();
        assert_eq!(heights, [1, 2, 3], "three outcomes each");
        assert_eq!(asked, heights);
        let huge = [7u64, 8].map(|h| Ok::<_, ChainError>(Arc::new(block(h, &[1, 2, 3]))));
        assert_eq!(summaries(huge.into_iter(), 1).unwrap().len(), 1);
    }

    #[test]
    fn a_page_of_a_chains_blocks_has_no_more_outcomes_than_one_request_may_read() {
        let dir = tempfile::tempdir().unwrap();
        let index = Index::open(&dir.path().join("index"), &chain(), 0, true).unwrap();
        let records = Arc::new(MemoryJournal::default());
        let meta = Meta::default();
        let chain = Chain::new(Arc::new(index.index), records, &meta, 1 << 30);
        // Two of these are more than 65,536.
        let ids: Vec<u64> = (0..40_000).collect();
        for height in 1..=5 {
            chain.executed(Arc::new(block(height, &ids)));
        }
        let heights = |from, count| -> Vec<u64> {
            let page = chain.blocks(Height(from), count).unwrap();
            page.iter().map(|summary| summary.height.0).collect()
        };
        assert_eq!(heights(1, 1_000), [1, 2]);
        assert_eq!(heights(3, 1), [3]);
        assert_eq!(heights(5, 1_000), [5]);
        assert!(heights(6, 1_000).is_empty());
    }

    #[test]
    fn what_is_recorded_is_known_without_reading_a_block() {
        for indexes in [true, false] {
            let dir = tempfile::tempdir().unwrap();
            let index = Index::open(&dir.path().join("i"), &chain(), 0, indexes).unwrap();
            // The index says where block 1 is; the journal doesn't have it: reading it would fail.
            let meta = Meta {
                height: Height(1),
                ..Meta::default()
            };
            let old = Arc::new(block(1, &[10, 11]));
            index.index.apply(&[(5, Entry::Block(old))], &meta).unwrap();
            let records = Arc::new(MemoryJournal::default());
            let chain = Chain::new(Arc::new(index.index), records, &meta, 1 << 20);
            chain.executed(Arc::new(block(2, &[20])));
            let recorded = chain.recorded(&[tx(10), tx(20), tx(11), tx(30)]).unwrap();
            use Recorded::{No, Unknown, Yes};
            let expected = match indexes {
                true => [Yes, Yes, Yes, No],
                false => [Unknown, Yes, Unknown, Unknown],
            };
            assert_eq!(recorded, expected);
        }
    }

    #[test]
    fn a_history_with_a_gap_between_index_and_memory_gives_no_path_across_it() {
        let dir = tempfile::tempdir().unwrap();
        let chain = behind(&dir, 0);
        let path = |older, newer| chain.history_path(Height(older), Height(newer)).unwrap();
        assert_eq!(path(3, 21), None);
        assert!(path(3, 10).is_some());
    }
}
