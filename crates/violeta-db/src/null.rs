//! The Null machine: orders opaque payloads, for measuring what ordering alone costs.
//!
//! ```text
//!   client item (any bytes within the limit) ── id = the item's digest
//!   commit with items ──▶ block: a result "executed" for each distinct item, no state (state root zero)
//!   Flush ──▶ chain ‖ height ‖ BlockRecord, replaced as a whole on disk ──▶ Durable
//! ```
//!
//! - It knows no accounts: an item that comes again in the same commit is recorded once, in a later commit again. Over
//!   commits the replica's own duplicate check is what is measured.
//! - Its heads chain as the Database machine's do (see `chain`), so certificates, catch-up and clients see no
//!   difference. Its position is all that it keeps: one small record (see `slots`).
//! - A fault halts it, once, for good.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use borsh::{BorshDeserialize, BorshSerialize};
use violeta_journal::Disk;
use violeta_replica::limits::BLOCK_OUTCOMES_MAX;
use violeta_replica::{
    Effect, Event, ItemMeta, Machine, OrderedCommit, Position, Rejection, Rules,
};
use violeta_types::codec::Bounded;
use violeta_types::limits::CLIENT_ITEM_BYTES_MAX;
use violeta_types::{
    ChainId, CommitIndex, Digest, Genesis, Height, Item, Nonce, Outcome, TimeMs, TxId,
};

use crate::chain::{BlockRecord, Tip};
use crate::error::DbError;
use crate::slots::Slots;

/// Takes any client item within the limit.
#[derive(Clone, Copy, Debug, Default)]
pub struct NullRules;

impl Rules for NullRules {
    fn check(&self, items: &[Item]) -> Vec<Result<ItemMeta, Rejection>> {
        items.iter().map(judge).collect()
    }
}

fn judge(item: &Item) -> Result<ItemMeta, Rejection> {
    match item {
        Item::System(_) => Err(Rejection("the Null machine takes no system items".into())),
        Item::Client(bytes) if bytes.len() > CLIENT_ITEM_BYTES_MAX => Err(Rejection(format!(
            "{} bytes, at most {CLIENT_ITEM_BYTES_MAX}",
            bytes.len()
        ))),
        Item::Client(_) => Ok(ItemMeta {
            id: TxId(item.digest()),
            client: None,
            nonce: Nonce(0),
            expires: TimeMs(u64::MAX),
        }),
    }
}

/// What is kept of the newest block.
#[derive(BorshSerialize, BorshDeserialize)]
struct PositionRecord {
    chain: ChainId,
    height: Height,
    block: BlockRecord,
}

/// The Null machine.
pub struct NullMachine {
    chain: ChainId,
    committee: Digest,
    gc_depth: u64,
    slots: Slots,
    tip: Tip,
    /// The record of the newest block, until it is written.
    unwritten: Option<PositionRecord>,
    executed: (CommitIndex, Digest),
    durable: Position,
    effects: VecDeque<Effect>,
    halted: bool,
}

impl NullMachine {
    /// Opens the machine's record in `dir`, or makes it, and goes on where it ended.
    ///
    /// # Errors
    /// If the record can't be read, or is another chain's.
    pub fn open(genesis: &Genesis, disk: Arc<dyn Disk>, dir: &str) -> Result<Self, DbError> {
        let chain = genesis.chain_id();
        let (slots, last) = Slots::open(&*disk, dir)?;
        let tip = match last {
            Some(bytes) => recover(chain, &bytes)?,
            None => Tip::genesis(genesis.time),
        };
        Ok(NullMachine {
            chain,
            committee: genesis.committee.digest(),
            gc_depth: genesis.parameters.gc_depth,
            slots,
            executed: (tip.position.commit_index, tip.position.commit_digest),
            durable: tip.position,
            tip,
            unwritten: None,
            effects: VecDeque::new(),
            halted: false,
        })
    }
}

impl NullMachine {
    fn commit(&mut self, ordered: &OrderedCommit) -> Result<(), DbError> {
        let commit = &ordered.commit;
        let (index, digest) = self.executed;
        if commit.index != index.next() || commit.previous != digest {
            return Err(DbError::OtherLog {
                executed: index,
                found: commit.index,
            });
        }
        let outcomes = outcomes(self.tip.position.height.next(), &ordered.items);
        let due = (self.tip).is_due(commit.epoch, commit.leader.round, self.gc_depth);
        if due || !outcomes.is_empty() {
            let record = (self.tip).next_record(ordered, &outcomes, self.committee);
            self.unwritten = Some(PositionRecord {
                chain: self.chain,
                height: self.tip.position.height.next(),
                block: record.clone(),
            });
            let block = (self.tip).advance(self.chain, record, Digest::ZERO, outcomes);
            self.effects.push_back(Effect::Block(Arc::new(block)));
        }
        self.executed = (commit.index, ordered.digest);
        self.effects.push_back(Effect::Applied {
            commit_index: commit.index,
        });
        Ok(())
    }

    fn flush(&mut self) -> Result<(), DbError> {
        if let Some(record) = self.unwritten.take() {
            self.slots.replace(&violeta_types::encode(&record))?;
            self.durable = self.tip.position;
        }
        self.effects.push_back(Effect::Durable(self.durable));
        Ok(())
    }

    fn dispatch(&mut self, event: Event) -> Result<(), DbError> {
        match event {
            Event::Check { ticket, items } => {
                let verdicts = items.iter().map(|_| Ok(())).collect();
                self.effects.push_back(Effect::Checked { ticket, verdicts });
            }
            Event::Commit(ordered) => self.commit(&ordered)?,
            // There is nothing to read.
            Event::Certified { .. } => {}
            Event::Flush => self.flush()?,
        }
        Ok(())
    }
}

impl Machine for NullMachine {
    fn rules(&self) -> Arc<dyn Rules> {
        Arc::new(NullRules)
    }

    fn position(&self) -> Position {
        self.durable
    }

    fn handle(&mut self, event: Event) {
        if self.halted {
            return;
        }
        if let Err(fault) = self.dispatch(event) {
            self.halted = true;
            self.effects.push_back(Effect::Halt(fault.to_string()));
        }
    }

    fn poll(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }
}

/// A result for each distinct client item, in order, as many as a block may record.
fn outcomes(height: Height, items: &[Item]) -> Bounded<Outcome, BLOCK_OUTCOMES_MAX> {
    let mut seen = BTreeSet::new();
    let mut outcomes = Vec::new();
    for item in items.iter().filter(|item| matches!(item, Item::Client(_))) {
        if outcomes.len() == BLOCK_OUTCOMES_MAX {
            break;
        }
        let transaction = TxId(item.digest());
        if seen.insert(transaction) {
            outcomes.push(Outcome {
                height,
                index: outcomes.len() as u32,
                transaction,
                refused: None,
            });
        }
    }
    #[expect(clippy::expect_used, reason = "no more were taken than may be")]
    outcomes.try_into().expect("within the bound")
}

/// The tip that the record says.
fn recover(chain: ChainId, bytes: &[u8]) -> Result<Tip, DbError> {
    let corrupt = |reason: String| DbError::corrupt(b"position", b"", reason);
    let record: PositionRecord =
        violeta_types::decode(bytes).map_err(|e| corrupt(e.to_string()))?;
    if record.chain != chain {
        return Err(DbError::OtherChain {
            expected: chain,
            found: record.chain,
        });
    }
    Tip::recover(chain, record.height, record.block, Digest::ZERO)
        .ok_or_else(|| corrupt("not one peak set for each height".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Log, execute, flush, genesis};
    use bytes::Bytes;
    use violeta_journal::MemoryDisk;
    use violeta_replica::Block;
    use violeta_types::Admission;
    use violeta_types::merkle::{HISTORY, RESULTS, TRANSACTIONS};

    fn open(disk: &MemoryDisk) -> NullMachine {
        let genesis = genesis(Admission::Closed);
        NullMachine::open(&genesis, Arc::new(disk.clone()), "null").unwrap()
    }

    fn item(i: u8) -> Bytes {
        Bytes::from(vec![i; 100])
    }

    fn log() -> Log {
        let commits: Vec<Vec<Bytes>> = (0..12u8)
            .map(|i| (0..i % 4).map(|j| item(10 * i + j)).collect())
            .collect();
        Log::of(&commits)
    }

    #[test]
    fn any_bytes_within_the_limit_pass() {
        let item = |len: usize| Item::Client(vec![7; len].into());
        let items = [
            item(0),
            item(CLIENT_ITEM_BYTES_MAX),
            item(CLIENT_ITEM_BYTES_MAX + 1),
            Item::System(Bytes::new()),
        ];
        let verdicts = NullRules.check(&items);
        let good: Vec<_> = verdicts.iter().map(Result::is_ok).collect();
        assert_eq!(good, [true, true, false, false]);
        assert_eq!(
            verdicts[1].as_ref().unwrap().id,
            TxId(items[1].digest()),
            "named by all its bytes"
        );
    }

    #[test]
    fn a_block_binds_the_items_in_order_each_once() {
        let mut machine = open(&MemoryDisk::new());
        let mut log = Log::default();
        let commit = log.push(1, &[item(2), item(1), item(2)]);
        let block = execute(&mut machine, &commit).unwrap();
        let ids = [item(2), item(1)].map(|bytes| Item::Client(bytes).digest());
        assert_eq!(block.head.transactions_root, TRANSACTIONS.root(ids));
        let outcomes = block.outcomes.iter().map(Outcome::digest);
        assert_eq!(block.head.results_root, RESULTS.root(outcomes));
        assert_eq!(block.head.state_root, Digest::ZERO);
        assert_eq!(execute(&mut machine, &log.push(2, &[])), None);
        let due = execute(&mut machine, &log.push(17, &[])).unwrap();
        assert_eq!(due.head.history_root, HISTORY.root([block.head.id().0]));
    }

    #[test]
    fn a_restart_after_any_commit_changes_no_head() {
        let log = log();
        let mut steady = open(&MemoryDisk::new());
        let commits = log.commits.iter();
        let expected: Vec<Block> = commits.filter_map(|c| execute(&mut steady, c)).collect();
        for stop in 0..=log.commits.len() {
            let disk = MemoryDisk::new();
            let mut machine = open(&disk);
            for commit in &log.commits[..stop] {
                execute(&mut machine, commit);
                if stop % 2 == 0 {
                    flush(&mut machine);
                }
            }
            let position = flush(&mut machine);
            drop(machine);
            let mut machine = open(&disk);
            assert_eq!(machine.position(), position);
            let rest = &log.commits[position.commit_index.0 as usize..];
            let again: Vec<_> = rest
                .iter()
                .filter_map(|c| execute(&mut machine, c))
                .collect();
            assert_eq!(again, expected[position.height.0 as usize..]);
        }
    }

    #[test]
    fn what_was_not_flushed_is_executed_again() {
        let log = log();
        let disk = MemoryDisk::new();
        let mut machine = open(&disk);
        for commit in &log.commits {
            execute(&mut machine, commit);
        }
        assert_eq!(machine.position(), Position::default());
        drop(machine);
        assert_eq!(open(&disk).position(), Position::default());
    }

    #[test]
    fn the_record_of_the_last_possible_block_fits_its_slot() {
        use violeta_types::merkle::Peaks;
        // The most peaks that a count of 64 bits has, after the fields of fixed size.
        let peaks = violeta_types::merkle::PATH_MAX * 32 + 4 + 8;
        let fixed = violeta_types::encode(&Peaks::default()).len();
        let block = Tip::genesis(TimeMs(0)).next_record(&log().commits[0], &[], Digest::ZERO);
        let record = PositionRecord {
            chain: ChainId::default(),
            height: Height(1),
            block,
        };
        let most = violeta_types::encode(&record).len() - fixed + peaks;
        assert!(most <= crate::slots::RECORD_BYTES_MAX, "{most}");
    }

    #[test]
    fn another_chains_record_is_refused() {
        let disk = MemoryDisk::new();
        let mut machine = open(&disk);
        execute(&mut machine, &log().commits[0]);
        execute(&mut machine, &log().commits[1]);
        flush(&mut machine);
        drop(machine);
        let mut other = genesis(Admission::Closed);
        other.name = "other".to_owned();
        let error = NullMachine::open(&other, Arc::new(disk), "null").err();
        assert!(matches!(error, Some(DbError::OtherChain { .. })));
    }

    #[test]
    fn a_commit_of_another_log_halts_the_machine() {
        let mut machine = open(&MemoryDisk::new());
        machine.handle(Event::Commit(Arc::clone(&log().commits[1])));
        assert!(matches!(machine.poll(), Some(Effect::Halt(_))));
        machine.handle(Event::Flush);
        assert!(machine.poll().is_none());
    }
}
