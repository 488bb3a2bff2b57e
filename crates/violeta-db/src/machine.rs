//! The Database machine: commits in, blocks out (replica.md §2).
//!
//! - Upon `Check`: each item is judged against the state after the last commit executed: no account, a nonce that
//!   can't be spent, expired. A courtesy; execution judges again.
//! - Upon `Commit`: it must follow on the last one executed. Its client items are executed in order. If anything is to
//!   be recorded, or the block is due (see `chain`), the changes and the block's record become the next version of the
//!   store, and a head is made from its root: `Block`. Then `Applied`.
//! - Upon `Flush`: the store is synced, if it has anything to sync: `Durable`, with the position of the last block. The
//!   commits after it changed nothing and are executed again after a restart.
//! - Upon `Certified`: reads may call that height certified.
//! - Upon a fault (the store's, or a commit out of sequence): `Halt`, once. From then on nothing is executed, synced or
//!   answered: what is on disk is a whole block, and stays.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use violeta_journal::{Disk, RECORD_BYTES_MAX};
use violeta_replica::limits::BLOCK_OUTCOMES_MAX;
use violeta_replica::{
    Effect, Event, ItemMeta, Machine, NotAdmitted, OrderedCommit, Position, Rules,
};
use violeta_types::limits::{OPERATIONS_MAX, TRANSACTION_BYTES_MAX};
use violeta_types::{Admission, ChainId, CommitIndex, Digest, Genesis, Height, Item, TimeMs};
use violeta_vlsm::{Batch, Options, Snapshot, Store, Writer};

use crate::chain::{BLOCK, Tip};
use crate::error::DbError;
use crate::execution::{BlockContext, Execution};
use crate::genesis::GenesisState;
use crate::overlay::{Actor, CHANGE_BYTES, Overlay};
use crate::reader::DbReader;
use crate::records::{HISTORY, stored_record};
use crate::rules::DbRules;
use crate::state::ChangeSink;
use crate::view::{View, block_record};

/// Bytes that a block may write before it records no more, its last transaction aside.
pub const BLOCK_WRITTEN_BYTES_MAX: usize = 512 << 20;

/// Bytes that a block may read before it records no more, its last transaction aside: what every replica must read, hash
/// and hold before it can attest. Accounts and namespaces count as well as values, and what isn't there as well as what is.
pub const BLOCK_READ_BYTES_MAX: usize = 256 << 20;

/// The encoding of an outcome, at most: height, index, transaction, refusal with its operation.
const OUTCOME_BYTES_MAX: usize = 8 + 4 + 32 + (1 + (1 + 4) + 1);

/// No less than one transaction writes: each operation a namespace's record, and all bytes that it carries.
const TRANSACTION_WRITTEN_BYTES_MAX: usize =
    OPERATIONS_MAX * (CHANGE_BYTES + 4_096) + TRANSACTION_BYTES_MAX;
// Whatever a commit holds, its block fits one batch of the store: the machine never halts on size. (Room for the block's
// own record and for genesis is left over.)
const _: () = assert!(
    BLOCK_WRITTEN_BYTES_MAX + TRANSACTION_WRITTEN_BYTES_MAX + (64 << 20)
        < violeta_vlsm::limits::BATCH_BYTES_MAX
);
const _: () = assert!(
    BLOCK_WRITTEN_BYTES_MAX / CHANGE_BYTES + (1 << 20) < violeta_vlsm::limits::BATCH_OPERATIONS_MAX
);

// It fits one record of the journal too, with its head.
const _: () = assert!(BLOCK_OUTCOMES_MAX * OUTCOME_BYTES_MAX + 4_096 < RECORD_BYTES_MAX);

/// The Database machine.
pub struct DbMachine {
    chain: ChainId,
    admission: Admission,
    committee: Digest,
    gc_depth: u64,
    rules: Arc<DbRules>,
    genesis: Arc<GenesisState>,
    store: Store,
    writer: Writer,
    /// The last block.
    tip: Tip,
    /// The last commit executed, block or not, and its time.
    executed: (CommitIndex, Digest),
    time: TimeMs,
    durable: Position,
    certified: Arc<AtomicU64>,
    effects: VecDeque<Effect>,
    /// Whether versions were synced since the store last had a step of maintenance.
    maintenance_due: bool,
    halted: bool,
}

impl DbMachine {
    /// Opens the machine's store in `dir`, or makes it, and goes on where it ended.
    ///
    /// # Errors
    /// If the store can't be opened, or is another chain's.
    pub fn open(
        genesis: &Genesis,
        disk: Arc<dyn Disk>,
        dir: &str,
        options: Options,
    ) -> Result<Self, DbError> {
        let store = Store::open(disk, dir, options)?;
        let writer = store.writer()?;
        let chain = genesis.chain_id();
        let state = GenesisState::new(genesis);
        let tip = recover(genesis, &state, &store.latest())?;
        Ok(DbMachine {
            chain,
            admission: genesis.admission,
            committee: genesis.committee.digest(),
            gc_depth: genesis.parameters.gc_depth,
            rules: Arc::new(DbRules::new(chain)),
            genesis: Arc::new(state),
            store,
            writer,
            executed: (tip.position.commit_index, tip.position.commit_digest),
            time: tip.time,
            durable: tip.position,
            tip,
            certified: Arc::new(AtomicU64::new(0)),
            effects: VecDeque::new(),
            maintenance_due: false,
            halted: false,
        })
    }

    /// Goes back to `height`, durably, if the store has got further: what came after will be executed again. A shell
    /// does so before the first event, when its journal doesn't hold the newest blocks (the power went, or the process
    /// was killed, between the writes of the two).
    ///
    /// # Errors
    /// If the store can't go back, or nothing is left of `height`.
    pub fn roll_back(&mut self, genesis: &Genesis, height: Height) -> Result<(), DbError> {
        if self.tip.position.height <= height {
            return Ok(());
        }
        self.writer.rollback(height)?;
        let tip = recover(genesis, &self.genesis, &self.store.latest())?;
        assert_eq!(tip.position.height, height, "each block is a version");
        self.executed = (tip.position.commit_index, tip.position.commit_digest);
        self.time = tip.time;
        self.durable = tip.position;
        self.tip = tip;
        self.effects.clear();
        Ok(())
    }

    /// A reader of this machine's state; any number, on any thread.
    pub fn reader(&self) -> DbReader {
        DbReader::new(
            self.chain,
            self.store.clone(),
            Arc::clone(&self.genesis),
            Arc::clone(&self.certified),
        )
    }

    fn check(&self, items: &[(Bytes, ItemMeta)]) -> Result<Vec<Result<(), NotAdmitted>>, DbError> {
        let view = View::new(self.store.latest(), &self.genesis);
        let mut overlay = Overlay::new(&view, self.tip.position.height);
        let mut verdicts = Vec::with_capacity(items.len());
        for (_, meta) in items {
            verdicts.push(self.admit(&mut overlay, meta)?);
        }
        Ok(verdicts)
    }

    fn admit(
        &self,
        overlay: &mut Overlay<'_, View<'_>>,
        meta: &ItemMeta,
    ) -> Result<Result<(), NotAdmitted>, DbError> {
        let refuse = |reason: String| Ok(Err(NotAdmitted(reason)));
        let Some(key) = &meta.client else {
            return refuse("the Database machine takes no system items".to_owned());
        };
        if meta.expires < self.time {
            return refuse(format!(
                "it expired {} ms before the last commit",
                self.time.0 - meta.expires.0
            ));
        }
        let nonces = match overlay.actor(key)? {
            Actor::Client(_, account) => account.nonces,
            Actor::Stranger(_) if self.admission == Admission::Open => Default::default(),
            Actor::Stranger(client) => {
                return refuse(format!(
                    "no account for key {key}: an administrator must register it (client {client})"
                ));
            }
            Actor::Retired => {
                return refuse(format!(
                    "key {key} was rotated away: sign with the account's new key"
                ));
            }
        };
        Ok(nonces
            .judge(meta.nonce)
            .map_err(|e| NotAdmitted(e.to_string())))
    }

    fn commit(&mut self, ordered: &OrderedCommit) -> Result<(), DbError> {
        let commit = &ordered.commit;
        let (index, digest) = self.executed;
        if commit.index != index.next() || commit.previous != digest {
            return Err(DbError::OtherLog {
                executed: index,
                found: commit.index,
            });
        }
        let genesis = Arc::clone(&self.genesis);
        let view = View::new(self.store.latest(), &genesis);
        let context = BlockContext {
            chain: self.chain,
            admission: self.admission,
            height: self.tip.position.height.next(),
            time: commit.time,
            outcomes_max: BLOCK_OUTCOMES_MAX,
            written_bytes_max: BLOCK_WRITTEN_BYTES_MAX,
            read_bytes_max: BLOCK_READ_BYTES_MAX,
        };
        let mut execution = Execution::new(context, &view);
        for item in &ordered.items {
            // A system item can't be in a vertex that `Rules` let pass.
            if let Item::Client(bytes) = item {
                execution.execute(bytes)?;
            }
        }
        let due = (self.tip).is_due(commit.epoch, commit.leader.round, self.gc_depth);
        if due || !execution.outcomes().is_empty() {
            self.make_block(ordered, execution)?;
        }
        self.executed = (commit.index, ordered.digest);
        self.time = commit.time;
        self.effects.push_back(Effect::Applied {
            commit_index: commit.index,
        });
        Ok(())
    }

    /// Writes the next version, and makes the head from its root.
    fn make_block(
        &mut self,
        ordered: &OrderedCommit,
        execution: Execution<'_, View<'_>>,
    ) -> Result<(), DbError> {
        let height = self.tip.position.height.next();
        let mut batch = Batch::new();
        if height == Height(1) {
            self.genesis.write(&mut batch);
        }
        let outcomes = execution.finish(&mut batch);
        let record = (self.tip).next_record(ordered, &outcomes, self.committee);
        ChangeSink::put(&mut batch, HISTORY, BLOCK, stored_record(height, &record));
        let staged = self.writer.stage(&batch)?;
        let root = staged.root();
        self.writer.append(height, staged)?;
        #[expect(
            clippy::expect_used,
            reason = "execution records no more than it was told"
        )]
        let outcomes = outcomes.try_into().expect("within outcomes_max");
        let block = self.tip.advance(self.chain, record, root, outcomes);
        assert_eq!(
            block.head.height, height,
            "height and version are one number"
        );
        self.effects.push_back(Effect::Block(Arc::new(block)));
        Ok(())
    }

    fn flush(&mut self) -> Result<(), DbError> {
        if self.durable != self.tip.position {
            self.writer.sync()?;
            self.durable = self.tip.position;
            self.maintenance_due = true;
        }
        self.effects.push_back(Effect::Durable(self.durable));
        Ok(())
    }

    /// A bounded step of the store's housekeeping (checkpoints), when nobody waits for an answer any more.
    fn maintain(&mut self) {
        self.maintenance_due = false;
        if let Err(fault) = self.writer.maintain() {
            self.halt(&fault.into());
        }
    }

    fn halt(&mut self, fault: &DbError) {
        assert!(!self.halted, "a machine halts once");
        self.halted = true;
        self.effects.push_back(Effect::Halt(fault.to_string()));
    }

    fn dispatch(&mut self, event: Event) -> Result<(), DbError> {
        match event {
            Event::Check { ticket, items } => {
                let verdicts = self.check(&items)?;
                self.effects.push_back(Effect::Checked { ticket, verdicts });
            }
            Event::Commit(ordered) => self.commit(&ordered)?,
            Event::Certified { height } => {
                self.certified.fetch_max(height.0, Ordering::Release);
            }
            Event::Flush => self.flush()?,
        }
        Ok(())
    }
}

impl Machine for DbMachine {
    fn rules(&self) -> Arc<dyn Rules> {
        Arc::clone(&self.rules) as Arc<dyn Rules>
    }

    fn position(&self) -> Position {
        self.durable
    }

    fn handle(&mut self, event: Event) {
        if self.halted {
            return;
        }
        if let Err(fault) = self.dispatch(event) {
            self.halt(&fault);
        }
    }

    fn poll(&mut self) -> Option<Effect> {
        let effect = self.effects.pop_front();
        if effect.is_none() && self.maintenance_due && !self.halted {
            self.maintain();
            return self.effects.pop_front();
        }
        effect
    }
}

/// Where the store ended: its newest version says all of its head but the root, and the root it has.
fn recover(genesis: &Genesis, state: &GenesisState, latest: &Snapshot) -> Result<Tip, DbError> {
    let height = latest.version();
    if height == Height(0) {
        return Ok(Tip::genesis(genesis.time));
    }
    let view = View::new(latest.clone(), state);
    state.check_chain(genesis, &view)?;
    let record = block_record(latest)?;
    Tip::recover(genesis.chain_id(), height, record, latest.root())
        .ok_or_else(|| DbError::corrupt(HISTORY, BLOCK, "not one peak set for each height"))
}

#[cfg(test)]
mod tests;
