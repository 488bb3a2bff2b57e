//! A machine that remembers which items it has seen: each once.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use violeta_consensus::EpochData;
use violeta_replica::{
    Block, Effect, Event, ItemMeta, Machine, NotAdmitted, OrderedCommit, Position, Rejection, Rules,
};
use violeta_types::{
    Digest, Head, HeadId, Height, Item, Nonce, Outcome, Round, TimeMs, TxId, merkle,
};

pub(crate) struct AnyItem;

impl Rules for AnyItem {
    fn check(&self, items: &[Item]) -> Vec<Result<ItemMeta, Rejection>> {
        items.iter().map(judge).collect()
    }
}

fn judge(item: &Item) -> Result<ItemMeta, Rejection> {
    if item.bytes().starts_with(b"bad") {
        return Err(Rejection("begins with bad".to_owned()));
    }
    Ok(ItemMeta {
        id: TxId(item.digest()),
        client: None,
        nonce: Nonce(0),
        expires: TimeMs(u64::MAX),
    })
}

/// What survives a crash once it was flushed.
#[derive(Clone, Default)]
pub(crate) struct State {
    pub(crate) seen: BTreeSet<TxId>,
    pub(crate) heads: Vec<HeadId>,
    peaks: merkle::Peaks,
    position: Position,
    last_block_round: Round,
    /// Whether its blocks are wrong.
    faulty: bool,
}

pub(crate) struct Counter {
    epoch: Arc<EpochData>,
    pub(crate) state: State,
    pub(crate) durable: State,
    effects: VecDeque<Effect>,
}

impl Counter {
    pub(crate) fn new(epoch: Arc<EpochData>, durable: State) -> Self {
        Counter {
            epoch,
            state: durable.clone(),
            durable,
            effects: VecDeque::new(),
        }
    }

    pub(crate) fn spoil(&mut self) {
        self.state.faulty = true;
    }

    pub(crate) fn is_faulty(&self) -> bool {
        self.state.faulty
    }

    fn execute(&mut self, commit: &OrderedCommit) {
        let state = &mut self.state;
        let mut ids = Vec::new();
        // Some leave no trace: no outcome tells that they were ordered.
        let traced = commit
            .items
            .iter()
            .filter(|item| !item.bytes().starts_with(b"traceless"));
        for item in traced {
            let id = TxId(item.digest());
            if state.seen.insert(id) {
                ids.push(id);
            }
        }
        let round = commit.commit.leader.round;
        let due = round.0 >= state.last_block_round.0 + self.epoch.gc_depth() / 4;
        if !ids.is_empty() || due {
            state.last_block_round = round;
            let block = block(&self.epoch, state, commit, &ids);
            self.effects.push_back(Effect::Block(Arc::new(block)));
        }
        state.position.commit_index = commit.commit.index;
        state.position.commit_digest = commit.digest;
        let commit_index = commit.commit.index;
        self.effects.push_back(Effect::Applied { commit_index });
    }
}

fn block(epoch: &EpochData, state: &mut State, commit: &OrderedCommit, ids: &[TxId]) -> Block {
    let height = state.position.height.next();
    let outcome = |(index, &transaction): (usize, &TxId)| Outcome {
        height,
        index: index as u32,
        transaction,
        refused: None,
    };
    let outcomes: Vec<Outcome> = ids.iter().enumerate().map(outcome).collect();
    let committee = epoch.committee().digest();
    let head = Head {
        chain: *epoch.chain(),
        epoch: epoch.epoch(),
        height,
        previous: state.position.head,
        commit_index: commit.commit.index,
        commit_digest: commit.digest,
        time: commit.commit.time,
        transactions_root: merkle::TRANSACTIONS.root(ids.iter().map(|id| id.0)),
        results_root: merkle::RESULTS.root(outcomes.iter().map(Outcome::digest)),
        state_root: state
            .seen
            .iter()
            .fold(Digest([u8::from(state.faulty); 32]), |sum, id| {
                let mut sum = sum;
                sum.0.iter_mut().zip(id.0.0).for_each(|(a, b)| *a ^= b);
                sum
            }),
        history_root: state.peaks.root(merkle::HISTORY),
        committee,
        next_committee: committee,
    };
    let id = head.id();
    state.peaks.push(merkle::HISTORY, id.0);
    state.heads.push(id);
    state.position.height = height;
    state.position.head = id;
    Block {
        head,
        outcomes: outcomes.try_into().unwrap(),
    }
}

impl Machine for Counter {
    fn rules(&self) -> Arc<dyn Rules> {
        Arc::new(AnyItem)
    }

    fn position(&self) -> Position {
        self.durable.position
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Check { ticket, items } => {
                let seen = |id: &TxId| self.state.seen.contains(id);
                let verdict = |meta: &ItemMeta| match seen(&meta.id) {
                    true => Err(NotAdmitted("seen".to_owned())),
                    false => Ok(()),
                };
                let verdicts = items.iter().map(|(_, meta)| verdict(meta)).collect();
                self.effects.push_back(Effect::Checked { ticket, verdicts });
            }
            Event::Commit(commit) => self.execute(&commit),
            Event::Certified { .. } => {}
            Event::Flush => {
                self.durable = self.state.clone();
                let position = self.durable.position;
                self.effects.push_back(Effect::Durable(position));
            }
        }
    }

    fn poll(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }
}

impl State {
    /// Back to an earlier height is never needed here: the journal's blocks are synced before the flush.
    pub(crate) fn height(&self) -> Height {
        self.position.height
    }
}
