//! The model: what the commits make of a plain map, worked out from replica.md §1 and §2 alone.
//!
//! It sees the commits in order and the items of their vertices, and says for each commit what its block must hold.
//! It knows what the workload does (put, delete, compare and set, require, create a namespace, grant to write) on an
//! open chain; another operation in a committed transaction is a violation of the model itself, so that the workload
//! can't outgrow it unseen.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use violeta_types::transaction::{Condition, Right};
use violeta_types::{
    ClientPublicKey, Commit, CommitIndex, Head, Height, Item, Operation, Outcome, Refusal, Round,
    Transaction, TransactionBody, TxId, VertexRef,
};

use super::{Property, Verdict, ensure};

/// An expiry at most this far ahead of the commit's time is executed, in ms (replica.md §1: ten minutes).
const EXPIRY_AHEAD_MS: u64 = 600_000;
/// The nonces below the highest that are remembered, and above it that are taken (replica.md §1).
const NONCES: u64 = 1_024;

/// What was refused, at which operation (none: as a whole); none: executed.
type Refused = Option<(Option<u32>, Refusal)>;

/// What a commit must have made.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Predicted {
    height: Height,
    outcomes: Vec<(TxId, Refused)>,
}

#[derive(Clone, Debug, Default)]
struct Account {
    spent: BTreeSet<u64>,
    highest: u64,
}

#[derive(Clone, Debug)]
struct Namespace {
    owner: ClientPublicKey,
    writers: BTreeSet<ClientPublicKey>,
}

type Place = (Bytes, Bytes);

#[derive(Clone, Debug, Default)]
struct State {
    accounts: BTreeMap<ClientPublicKey, Account>,
    namespaces: BTreeMap<Bytes, Namespace>,
    values: BTreeMap<Place, (Height, Bytes)>,
}

/// The model.
pub(crate) struct Model {
    /// Items of vertices that honest validators accepted, until they are committed.
    items: BTreeMap<VertexRef, Vec<Item>>,
    state: State,
    height: Height,
    /// The round of the last block's leader.
    block_round: Round,
    /// A block is due when the leader is this many rounds above the last block's (replica.md §2: G/4).
    due: u64,
    predicted: BTreeMap<CommitIndex, Option<Predicted>>,
    /// Transactions that were committed and left no trace: duplicates, mostly.
    skipped: u64,
}

impl Model {
    /// The model of a chain with this gc depth, at height 0.
    pub(crate) fn new(gc_depth: u64) -> Self {
        Model {
            items: BTreeMap::new(),
            state: State::default(),
            height: Height(0),
            block_round: Round(0),
            due: gc_depth / 4,
            predicted: BTreeMap::new(),
            skipped: 0,
        }
    }

    /// A vertex that may be committed.
    pub(crate) fn accepted(&mut self, reference: VertexRef, items: &[Item]) {
        self.items
            .entry(reference)
            .or_insert_with(|| items.to_vec());
    }

    /// Applies the next commit.
    pub(crate) fn commit(&mut self, commit: &Commit) -> Verdict {
        let height = self.height.next();
        let mut outcomes = Vec::new();
        for vertex in &commit.vertices {
            let Some(items) = self.items.get(vertex).cloned() else {
                ensure!(
                    false,
                    Property::Agreement,
                    "commit {} holds {vertex:?}, which no honest validator accepted",
                    commit.index
                );
                return Ok(());
            };
            for item in items {
                let Item::Client(bytes) = item else { continue };
                let Ok(transaction) = Transaction::decode(&bytes) else {
                    continue;
                };
                match self.state.execute(&transaction.body, height, commit)? {
                    Some(refused) => outcomes.push((transaction.id(), refused.0)),
                    None => self.skipped += 1,
                }
            }
        }
        let due = commit.leader.round.0 >= self.block_round.0 + self.due;
        let block = (due || !outcomes.is_empty()).then_some(Predicted { height, outcomes });
        if block.is_some() {
            self.height = height;
            self.block_round = commit.leader.round;
        }
        self.predicted.insert(commit.index, block);
        Ok(())
    }

    /// Compares a block with what its commit must have made.
    pub(crate) fn compare(&self, head: &Head, outcomes: &[Outcome]) -> Verdict {
        let Some(Some(predicted)) = self.predicted.get(&head.commit_index) else {
            ensure!(
                false,
                Property::Model,
                "commit {} makes no block, but there is one at height {}",
                head.commit_index,
                head.height
            );
            return Ok(());
        };
        let found = Predicted {
            height: head.height,
            outcomes: outcomes
                .iter()
                .map(|o| (o.transaction, o.refused))
                .collect(),
        };
        ensure!(
            *predicted == found,
            Property::Model,
            "commit {} should make {predicted:?}, but made {found:?}",
            head.commit_index
        );
        Ok(())
    }

    /// How high the log's blocks reach.
    pub(crate) fn height(&self) -> Height {
        self.height
    }

    /// What a key holds, with the height it was written at.
    pub(crate) fn get(&self, namespace: &Bytes, key: &Bytes) -> Option<&(Height, Bytes)> {
        self.state.values.get(&(namespace.clone(), key.clone()))
    }

    /// The namespaces that there are.
    pub(crate) fn namespaces(&self) -> impl Iterator<Item = &Bytes> {
        self.state.namespaces.keys()
    }

    /// How many committed transactions left no trace.
    pub(crate) fn skipped(&self) -> u64 {
        self.skipped
    }
}

/// What was refused, if anything: the inner none is "executed".
struct Recorded(Refused);

impl State {
    /// None: it leaves no trace.
    fn execute(
        &mut self,
        body: &TransactionBody,
        height: Height,
        commit: &Commit,
    ) -> Result<Option<Recorded>, super::Violation> {
        if !self.spend(&body.key, body.nonce.0) {
            return Ok(None);
        }
        if body.expires.0 < commit.time.0 {
            return Ok(Some(Recorded(Some((None, Refusal::Expired)))));
        }
        if body.expires.0 > commit.time.0 + EXPIRY_AHEAD_MS {
            return Ok(Some(Recorded(Some((None, Refusal::ExpiresTooLate)))));
        }
        let before = (self.namespaces.clone(), self.values.clone());
        for (index, operation) in (0..).zip(&body.operations) {
            if let Err(refusal) = self.operate(&body.key, operation, height)? {
                (self.namespaces, self.values) = before;
                return Ok(Some(Recorded(Some((Some(index), refusal)))));
            }
        }
        Ok(Some(Recorded(None)))
    }

    fn spend(&mut self, key: &ClientPublicKey, nonce: u64) -> bool {
        let mut account = self.accounts.get(key).cloned().unwrap_or_default();
        let fits = nonce + NONCES > account.highest && nonce <= account.highest + NONCES;
        if nonce == 0 || !fits || !account.spent.insert(nonce) {
            return false;
        }
        account.highest = account.highest.max(nonce);
        self.accounts.insert(*key, account);
        true
    }

    fn operate(
        &mut self,
        who: &ClientPublicKey,
        operation: &Operation,
        height: Height,
    ) -> Result<Result<(), Refusal>, super::Violation> {
        Ok(match operation {
            Operation::CreateNamespace { namespace } => self.create(who, namespace.bytes()),
            Operation::Put {
                namespace,
                key,
                value,
            } => self.writable(who, namespace.bytes()).map(|()| {
                let place = (namespace.bytes().clone(), key.bytes().clone());
                self.values.insert(place, (height, value.bytes().clone()));
            }),
            Operation::Delete { namespace, key } => {
                self.writable(who, namespace.bytes()).and_then(|()| {
                    let place = (namespace.bytes().clone(), key.bytes().clone());
                    self.values
                        .remove(&place)
                        .map(|_| ())
                        .ok_or(Refusal::NoSuchKey)
                })
            }
            Operation::CompareAndSet {
                namespace,
                key,
                expected,
                value,
            } => self.writable(who, namespace.bytes()).and_then(|()| {
                let place = (namespace.bytes().clone(), key.bytes().clone());
                self.require(&place, expected)?;
                match value {
                    Some(value) => self.values.insert(place, (height, value.bytes().clone())),
                    None => self.values.remove(&place),
                };
                Ok(())
            }),
            Operation::Require {
                namespace,
                key,
                condition,
            } => match self.namespaces.contains_key(namespace.bytes()) {
                true => self.require(&(namespace.bytes().clone(), key.bytes().clone()), condition),
                false => Err(Refusal::NoSuchNamespace),
            },
            Operation::Grant {
                namespace,
                client,
                right: Right::Write,
            } => self.grant(who, namespace.bytes(), client),
            other => {
                ensure!(
                    false,
                    Property::Model,
                    "the model doesn't know {other:?}: teach it before the workload uses it"
                );
                Ok(())
            }
        })
    }

    fn create(&mut self, who: &ClientPublicKey, name: &Bytes) -> Result<(), Refusal> {
        if self.namespaces.contains_key(name) {
            return Err(Refusal::NamespaceExists);
        }
        let namespace = Namespace {
            owner: *who,
            writers: BTreeSet::new(),
        };
        self.namespaces.insert(name.clone(), namespace);
        Ok(())
    }

    fn writable(&self, who: &ClientPublicKey, name: &Bytes) -> Result<(), Refusal> {
        let namespace = self.namespaces.get(name).ok_or(Refusal::NoSuchNamespace)?;
        match namespace.owner == *who || namespace.writers.contains(who) {
            true => Ok(()),
            false => Err(Refusal::Unauthorised),
        }
    }

    fn grant(
        &mut self,
        who: &ClientPublicKey,
        name: &Bytes,
        to: &violeta_types::ClientId,
    ) -> Result<(), Refusal> {
        let holder = self
            .accounts
            .keys()
            .find(|key| key.client_id() == *to)
            .copied();
        let namespace = self
            .namespaces
            .get_mut(name)
            .ok_or(Refusal::NoSuchNamespace)?;
        if namespace.owner != *who {
            return Err(Refusal::Unauthorised);
        }
        let holder = holder.ok_or(Refusal::NoSuchClient)?;
        namespace.writers.insert(holder);
        Ok(())
    }

    fn require(&self, place: &Place, condition: &Condition) -> Result<(), Refusal> {
        let found = self.values.get(place);
        let holds = match condition {
            Condition::Absent => found.is_none(),
            Condition::Value(value) => found.is_some_and(|(_, v)| v == value.bytes()),
            Condition::WrittenAt(height) => found.is_some_and(|(at, _)| at == height),
        };
        holds.then_some(()).ok_or(Refusal::ConditionFailed)
    }
}

#[cfg(test)]
mod tests;
