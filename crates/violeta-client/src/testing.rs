//! A cluster for the tests of this crate: one true chain, and gateways that serve it honestly or not.
//!
//! The chain's state is one space whose few keys all hang from one node of the tree, so that proofs can be put together
//! by hand from the tree's hash rules: no code of a server is needed to have its true answers.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use violeta_crypto::{
    BlsThreshold, Dealing, ShareSigner, Threshold, ThresholdMessage, ValidatorSecretKey,
};
use violeta_proof::entries_proof::range_after;
use violeta_proof::tree::prove::{self, Subject};
use violeta_proof::tree::{
    Branch, End, FANOUT, KeyPath, Leaf, Place, Sides, SpacePlace, SpaceProof, SpaceRecord,
    leaf_hash, node_hash, slots_root, top_hash, value_hash,
};
use violeta_proof::{
    ChangeProof, ChangesProof, EntriesProof, HeadProof, KeyClaim, KeyProof, MultiProof,
    OutcomeProof, RangeProof, StoredValue, TreeProof, Trust, ValuesProof, Vouch,
};
use violeta_types::api::*;
use violeta_types::merkle::RESULTS;
use violeta_types::transaction::Key;
use violeta_types::*;

pub(crate) const SPACE: &[u8] = b"bank";

pub(crate) fn secret(i: u8) -> ValidatorSecretKey {
    ValidatorSecretKey::from_seed([i + 1; 32])
}

pub(crate) fn committee(n: u8) -> Committee {
    let members = (0..n).map(|i| Member {
        stake: Stake(1),
        validator_key: secret(i).public_key(),
        share_key: None,
        node_key: NodePublicKey([i; 32]),
        operator_key: OperatorPublicKey([i; 32]),
    });
    Committee::new(Epoch(0), members.collect(), None).unwrap()
}

/// How a gateway treats its clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Manner {
    Honest,
    /// Another value than the true one, with the true proof of that.
    ForgesValue,
    /// An honest proof, of height 1.
    ServesOldHeads,
    /// A chain of its own, properly certified by keys of its own.
    ServesAnotherChain,
    /// Cuts its answers short.
    Truncates,
    /// A head of its own making, with a certificate of signatures that nobody made.
    FabricatesCertificates,
    /// The true proof of another key.
    ProvesAnotherKey,
    /// Says of every key that there is none.
    DeniesKeys,
    /// Of many keys, leaves the last one out, with its leaf.
    LeavesOut,
    /// Says of keys that have no value that they lost one just now.
    InventsDeletions,
    /// Says that a key has a version that lies far ahead.
    InventsVersions,
    /// Says that no key was ever there.
    ForgetsHistory,
    /// Answers everything but what became of a transaction.
    HidesOutcomes,
    /// Says of every executed transaction that it was refused.
    ForgesOutcomes,
    /// Takes requests, and never answers submissions.
    Stalls,
    /// Takes requests, and never answers any.
    Hangs,
    /// Says that it is full.
    IsBusy,
    /// Says that it will never take this.
    Rejects,
    /// Takes transactions and does nothing with them.
    Swallows,
    /// Takes transactions that it can give to nobody, and hears of no block after the first.
    CutOff,
    /// Lost its disk: it passes on what it takes, and knows of no block yet.
    HasNoBlock,
}

type State_ = BTreeMap<Vec<u8>, StoredValue>;

struct Block {
    head: Head,
    outcome: Outcome,
    state: State_,
}

/// What time the blocks to come have.
#[derive(Clone, Copy)]
enum Clock {
    StandsAt(TimeMs),
    OfDay { behind_ms: u64 },
}

/// The one true chain.
pub(crate) struct Chain {
    blocks: Mutex<Vec<Block>>,
    clock: Mutex<Clock>,
    /// The one space that there is.
    pub(crate) space: Mutex<&'static [u8]>,
    /// Transactions are refused instead of executed.
    pub(crate) refuses: Mutex<Option<Refusal>>,
    /// The nonces that were spent, on a chain whose one space is that of accounts: they are all that its state says.
    spent: Mutex<Option<Vec<u64>>>,
    /// Heads have a seal, for whoever asks for one; else all get certificates.
    has_seals: Mutex<bool>,
}

pub(crate) fn chain_id() -> ChainId {
    ChainId(Domain::File.hash(b"chain"))
}

impl Chain {
    fn new() -> Arc<Self> {
        Arc::new(Chain {
            blocks: Mutex::default(),
            clock: Mutex::new(Clock::StandsAt(crate::client::now_ms())),
            space: Mutex::new(SPACE),
            refuses: Mutex::default(),
            spent: Mutex::default(),
            has_seals: Mutex::default(),
        })
    }

    /// From now on the state says which nonces are spent, and nothing else.
    pub(crate) fn keep_accounts(&self) {
        *self.space.lock().unwrap() = crate::account::ACCOUNTS;
        *self.spent.lock().unwrap() = Some(Vec::new());
    }

    /// The account of who signed a transaction, that being executed. None if the chain keeps no accounts.
    fn account_after(&self, transaction: &Transaction) -> Option<(Vec<u8>, Vec<u8>)> {
        let TransactionBody { key, nonce, .. } = transaction.body;
        let mut spent = self.spent.lock().unwrap();
        let spent = spent.as_mut()?;
        spent.push(nonce.0);
        let highest = spent.iter().copied().max()?;
        let account = crate::account::encoded(key, highest, spent);
        Some((key.client_id().as_ref().to_vec(), account))
    }

    fn space(&self) -> &'static [u8] {
        *self.space.lock().unwrap()
    }

    /// Whoever asks for a head's seal gets it from now on.
    pub(crate) fn seal_heads(&self) {
        *self.has_seals.lock().unwrap() = true;
    }

    /// The word for a head that a question asks for.
    fn vouch(&self, head: &Head, query: &BTreeMap<String, String>) -> Vouch {
        let wants_seal = query.get("vouch").is_some_and(|vouch| vouch == "seal");
        match wants_seal && *self.has_seals.lock().unwrap() {
            true => Vouch::Seal(seal(head)),
            false => Vouch::Certificate(certificate(head, secret)),
        }
    }

    /// Time of the blocks to come.
    pub(crate) fn set_time(&self, time: TimeMs) {
        *self.clock.lock().unwrap() = Clock::StandsAt(time);
    }

    /// Blocks to come have the time of day at which they are made: between them the chain's time stands still.
    pub(crate) fn go_by_the_time_of_day(&self) {
        self.go_behind_the_time_of_day(0);
    }

    /// As [`go_by_the_time_of_day`](Self::go_by_the_time_of_day), by clocks that are behind this machine's.
    pub(crate) fn go_behind_the_time_of_day(&self, behind_ms: u64) {
        *self.clock.lock().unwrap() = Clock::OfDay { behind_ms };
    }

    pub(crate) fn height(&self) -> u64 {
        self.blocks.lock().unwrap().len() as u64
    }

    /// Executes a transaction, once.
    pub(crate) fn execute(&self, transaction: &Transaction) -> Outcome {
        let mut blocks = self.blocks.lock().unwrap();
        let id = transaction.id();
        if let Some(block) = blocks.iter().find(|b| b.outcome.transaction == id) {
            return block.outcome.clone();
        }
        let height = Height(blocks.len() as u64 + 1);
        let mut state = blocks.last().map_or_else(State_::new, |b| b.state.clone());
        let refused = self
            .refuses
            .lock()
            .unwrap()
            .map(|refusal| (Some(0), refusal));
        let account = self.account_after(transaction);
        let keeps_accounts = account.is_some();
        if let Some((client, account)) = account {
            let value = StoredValue {
                written_at: height,
                value: account[..].try_into().unwrap(),
            };
            state.insert(client, value);
        }
        for operation in &transaction.body.operations {
            match operation {
                _ if refused.is_some() || keeps_accounts => {}
                Operation::Put { key, value, .. } => {
                    let value = StoredValue {
                        written_at: height,
                        value: value.clone(),
                    };
                    state.insert(key.to_vec(), value);
                }
                Operation::Delete { key, .. } => {
                    state.remove(&key[..]);
                }
                _ => {}
            }
        }
        let outcome = Outcome {
            height,
            index: 0,
            transaction: id,
            refused,
        };
        let time = match *self.clock.lock().unwrap() {
            Clock::StandsAt(time) => time,
            Clock::OfDay { behind_ms } => TimeMs(crate::client::now_ms().0 - behind_ms),
        };
        let head = Head {
            state_root: top_hash(&record(&state).leaf_hash(self.space())),
            results_root: RESULTS.root([outcome.digest()]),
            ..head(height, chain_id(), &committee(4), time)
        };
        blocks.push(Block {
            head,
            outcome: outcome.clone(),
            state,
        });
        outcome
    }

    fn outcome_proof(&self, id: &TxId) -> Option<OutcomeProof> {
        let blocks = self.blocks.lock().unwrap();
        let block = blocks.iter().find(|b| b.outcome.transaction == *id)?;
        Some(OutcomeProof {
            path: RESULTS.path(&[block.outcome.digest()], 0)?,
            outcome: block.outcome.clone(),
            vouch: Vouch::Certificate(certificate(&block.head, secret)),
            head: block.head.clone(),
        })
    }

    fn key_proof(&self, namespace: &[u8], key: &[u8], height: u64) -> Option<KeyProof> {
        let blocks = self.blocks.lock().unwrap();
        let block = blocks.get(height.checked_sub(1)? as usize)?;
        let record = record(&block.state);
        let (value, place) = match namespace == self.space() {
            true => place(&block.state, key),
            // The one space is alone in the top tree: its leaf is in every other one's place.
            false => (
                None,
                Place::Other {
                    name: self.space().try_into().unwrap(),
                    record,
                },
            ),
        };
        Some(KeyProof {
            namespace: namespace.try_into().unwrap(),
            key: key.try_into().unwrap(),
            value,
            tree: TreeProof {
                top: Branch::default(),
                place,
            },
            vouch: Vouch::Certificate(certificate(&block.head, secret)),
            head: block.head.clone(),
        })
    }
}

/// The tree of the one space, as a prover is shown it.
struct Shown<'a>(&'a State_);

impl Shown<'_> {
    fn leaf(&self, (key, value): (&Vec<u8>, &StoredValue)) -> Leaf {
        Leaf {
            key: key[..].try_into().unwrap(),
            value_hash: value_hash(&value.to_stored()),
        }
    }
}

impl Subject for Shown<'_> {
    type Node = ();
    type Error = Infallible;

    fn root(&self) -> Result<Option<prove::Shown<()>>, Infallible> {
        Ok(match self.0.len() {
            0 | 1 => self
                .0
                .iter()
                .next()
                .map(|entry| prove::Shown::Leaf(self.leaf(entry))),
            _ => Some(prove::Shown::Node(())),
        })
    }

    fn bitmap(&self, (): &()) -> u16 {
        bitmap(self.0)
    }

    fn half(&self, (): &(), first: usize, width: usize) -> Result<Digest, Infallible> {
        let (mut half, slots) = ([None; FANOUT], slots(self.0));
        half[first..first + width].copy_from_slice(&slots[first..first + width]);
        Ok(slots_root(&half).unwrap())
    }

    fn child(&self, (): &(), slot: usize) -> Result<prove::Shown<()>, Infallible> {
        let mut entries = self.0.iter();
        let entry = entries.find(|(key, _)| KeyPath::of(key).slot(0) == slot);
        Ok(prove::Shown::Leaf(self.leaf(entry.unwrap())))
    }
}

/// Says yes so many times less one.
fn up_to(limit: usize) -> impl FnMut() -> ControlFlow<()> {
    let mut left = limit;
    move || {
        left -= 1;
        match left {
            0 => ControlFlow::Break(()),
            _ => ControlFlow::Continue(()),
        }
    }
}

/// True proofs of many keys.
impl Chain {
    /// The state of a height, its head with a certificate, and the place of the one space.
    fn version(&self, height: u64) -> Option<(State_, HeadProof, SpaceProof)> {
        let blocks = self.blocks.lock().unwrap();
        let block = blocks.get(height.checked_sub(1)? as usize)?;
        let head = HeadProof {
            vouch: Vouch::Certificate(certificate(&block.head, secret)),
            head: block.head.clone(),
        };
        let record = record(&block.state);
        let place = SpacePlace::Present { record };
        let top = Branch::default();
        Some((block.state.clone(), head, SpaceProof { top, place }))
    }

    fn entries(&self, height: u64, after: Option<Key>, limit: usize) -> Option<EntriesProof> {
        let (state, head, space) = self.version(height)?;
        let range = range_after(after.as_ref()).unwrap();
        let (mut values, mut more) = (Vec::new(), up_to(limit));
        let tree = RangeProof::prove(space, Some(&Shown(&state)), &range, |leaf: &Leaf| {
            values.push(state[&leaf.key[..]].clone());
            more()
        });
        Some(EntriesProof {
            namespace: SPACE.try_into().unwrap(),
            after,
            values: values.try_into().unwrap(),
            tree: tree.unwrap(),
            head,
        })
    }

    fn changes(&self, heights: [u64; 2], after: Option<Key>, limit: usize) -> Option<ChangesProof> {
        let [old, new] = heights.map(|height| self.version(height));
        let ((old, old_head, old_space), (new, new_head, new_space)) = (old?, new?);
        let range = range_after(after.as_ref()).unwrap();
        let (mut values, mut more) = (Vec::new(), up_to(limit));
        let spaces = Sides {
            old: old_space,
            new: new_space,
        };
        let trees = Sides {
            old: Some(&Shown(&old)),
            new: Some(&Shown(&new)),
        };
        let tree = ChangeProof::prove(spaces, trees, &range, |change| {
            values.push(Sides {
                old: old.get(change.key).cloned(),
                new: new.get(change.key).cloned(),
            });
            more()
        });
        Some(ChangesProof {
            namespace: SPACE.try_into().unwrap(),
            after,
            values: values.try_into().unwrap(),
            tree: tree.unwrap(),
            heads: Sides {
                old: old_head,
                new: new_head,
            },
        })
    }

    fn values(&self, height: u64, keys: &[Key]) -> Option<ValuesProof> {
        let (state, head, space) = self.version(height)?;
        let claim = |key: &Key| KeyClaim {
            key: key.clone(),
            value: state.get(&key[..]).cloned(),
        };
        let claims: Vec<_> = keys.iter().map(claim).collect();
        let keys: Vec<_> = keys.iter().map(|key| &key[..]).collect();
        Some(ValuesProof {
            namespace: SPACE.try_into().unwrap(),
            claims: claims.try_into().unwrap(),
            tree: MultiProof::prove(space, Some(&Shown(&state)), &keys).unwrap(),
            head,
        })
    }
}

/// So many keys that all hang from the one node.
pub(crate) fn keys_of_one_node(count: usize) -> Vec<String> {
    let mut slots = std::collections::BTreeSet::new();
    let keys = (0..).map(|i| format!("key {i}"));
    let apart = keys.filter(|key| slots.insert(KeyPath::of(key.as_bytes()).slot(0)));
    apart.take(count).collect()
}

fn head(height: Height, chain: ChainId, committee: &Committee, time: TimeMs) -> Head {
    Head {
        chain,
        epoch: Epoch(0),
        height,
        previous: HeadId::default(),
        commit_index: CommitIndex(height.0),
        commit_digest: Digest::ZERO,
        time,
        transactions_root: Digest::ZERO,
        results_root: Digest::ZERO,
        state_root: Digest::ZERO,
        history_root: Digest::ZERO,
        committee: committee.digest(),
        next_committee: committee.digest(),
    }
}

fn certificate(head: &Head, secret: impl Fn(u8) -> ValidatorSecretKey) -> Certificate {
    let id = head.id();
    let sign = |i: u8| (ValidatorIndex(i.into()), secret(i).sign_attestation(&id));
    Certificate {
        height: head.height,
        head: id,
        signatures: (0..3).map(sign).collect::<Vec<_>>().try_into().unwrap(),
    }
}

/// The secret of a group of one, and its public side.
fn group() -> (Dealing, BlsThreshold) {
    let dealing = violeta_crypto::deal(1, 1, [9; 32]).unwrap();
    let public = BlsThreshold::new(&dealing.group_key, &dealing.share_keys, 1).unwrap();
    (dealing, public)
}

/// What a client trusts that knows the group's key and no committee.
pub(crate) fn group_trust() -> Trust {
    Trust::in_group(chain_id(), group().0.group_key)
}

fn seal(head: &Head) -> Seal {
    let (dealing, public) = group();
    let id = head.id();
    let message = ThresholdMessage::seal(&id);
    let share = dealing.secret_shares[0].share(&message);
    let combined = public.combine(&message, &[(ValidatorIndex(0), share)]);
    Seal {
        height: head.height,
        head: id,
        signature: combined.signature.unwrap(),
    }
}

fn slots(state: &State_) -> [Option<Digest>; FANOUT] {
    let mut slots = [None; FANOUT];
    for (key, value) in state {
        let slot = &mut slots[KeyPath::of(key).slot(0)];
        assert!(
            slot.is_none(),
            "these keys need more than one node: choose others"
        );
        *slot = Some(leaf_hash(key, &value.to_stored()));
    }
    slots
}

fn bitmap(state: &State_) -> u16 {
    let filled = slots(state).into_iter().zip(0..);
    filled.map(|(slot, i)| u16::from(slot.is_some()) << i).sum()
}

/// A tree of one leaf is that leaf; a tree of several here is one node.
fn record(state: &State_) -> SpaceRecord {
    let root = match (state.len(), slots_root(&slots(state))) {
        (_, None) => return SpaceRecord::EMPTY,
        (1, Some(leaf)) => leaf,
        (_, Some(root)) => node_hash(bitmap(state), &root),
    };
    SpaceRecord {
        count: state.len() as u64,
        root,
        ..SpaceRecord::EMPTY
    }
}

fn place(state: &State_, key: &[u8]) -> (Option<StoredValue>, Place) {
    let (slots, slot) = (slots(state), KeyPath::of(key).slot(0));
    let beside = |width: usize| {
        let start = (slot ^ width) & !(width - 1);
        let mut half = [None; FANOUT];
        half[start..start + width].copy_from_slice(&slots[start..start + width]);
        slots_root(&half)
    };
    let branch = match state.len() {
        0 | 1 => Branch::default(),
        _ => Branch {
            bitmaps: vec![bitmap(state)].try_into().unwrap(),
            siblings: [1, 2, 4, 8]
                .into_iter()
                .filter_map(beside)
                .collect::<Vec<_>>()
                .try_into()
                .unwrap(),
        },
    };
    let value = state.get(key).cloned();
    // Whose leaf ends the way: its own, another's, or nobody's.
    let there = state
        .iter()
        .find(|(k, _)| state.len() == 1 || KeyPath::of(k).slot(0) == slot);
    let end = match there {
        Some((found, _)) if found == key => End::Leaf,
        Some((found, other)) => End::Other {
            key: found[..].try_into().unwrap(),
            value_hash: violeta_proof::tree::value_hash(&other.to_stored()),
        },
        None => End::Empty,
    };
    let record = record(state);
    (
        value,
        Place::Present {
            record,
            branch,
            end,
        },
    )
}

/// One gateway, and what it was sent.
pub(crate) struct Gateway {
    index: u16,
    manner: Mutex<Manner>,
    /// How long it takes before it does anything.
    delay: Mutex<Duration>,
    chain: Arc<Chain>,
    received: Mutex<Vec<Bytes>>,
    pub(crate) address: SocketAddr,
}

impl Gateway {
    /// The bodies of all submissions.
    pub(crate) fn received(&self) -> Vec<Bytes> {
        self.received.lock().unwrap().clone()
    }

    pub(crate) fn becomes(&self, manner: Manner) {
        *self.manner.lock().unwrap() = manner;
    }

    pub(crate) fn takes_its_time(&self, delay: Duration) {
        *self.delay.lock().unwrap() = delay;
    }

    fn manner(&self) -> Manner {
        *self.manner.lock().unwrap()
    }
}

type Shared = State<Arc<Gateway>>;

fn detail(code: ErrorCode) -> ErrorDetail {
    ErrorDetail {
        code,
        message: format!("{code:?}"),
        help: "wait".into(),
        retry_ms: Some(20),
    }
}

fn error(code: ErrorCode) -> Response {
    let status = StatusCode::from_u16(code.status()).unwrap();
    let error = detail(code);
    (status, axum::Json(ErrorBody { error })).into_response()
}

async fn take(State(gateway): Shared, body: Bytes) -> Response {
    gateway.received.lock().unwrap().push(body.clone());
    let transaction = Transaction::decode(&body).unwrap();
    let id = transaction.id();
    let status = match gateway.manner() {
        Manner::Stalls => {
            tokio::time::sleep(Duration::from_secs(3_600)).await;
            TransactionStatus::Unknown
        }
        Manner::IsBusy => return error(ErrorCode::Overloaded),
        Manner::Rejects => return error(ErrorCode::NotAdmitted),
        Manner::Swallows | Manner::CutOff => {
            tokio::time::sleep(Duration::from_millis(50)).await;
            TransactionStatus::Queued
        }
        _ => TransactionStatus::Certified {
            outcome: gateway.chain.execute(&transaction),
        },
    };
    axum::Json(TransactionAnswer {
        transaction: id,
        status,
    })
    .into_response()
}

async fn take_batch(State(gateway): Shared, body: Bytes) -> Response {
    let manner = gateway.manner();
    if manner == Manner::IsBusy {
        return error(ErrorCode::Overloaded);
    }
    let verdicts: Vec<_> = decode_batch(body)
        .unwrap()
        .iter()
        .map(|bytes| {
            gateway.received.lock().unwrap().push(bytes.clone());
            let transaction = Transaction::decode(bytes).unwrap();
            match manner {
                Manner::Swallows | Manner::CutOff | Manner::Stalls => {}
                Manner::Rejects => return BatchVerdict::Refused(detail(ErrorCode::NotAdmitted)),
                _ => drop(gateway.chain.execute(&transaction)),
            }
            BatchVerdict::Taken(transaction.id())
        })
        .collect();
    violeta_types::encode(&verdicts).into_response()
}

async fn outcome(
    State(gateway): Shared,
    Path(id): Path<String>,
    Query(query): Query<BTreeMap<String, String>>,
) -> Response {
    if gateway.manner() == Manner::HidesOutcomes {
        tokio::time::sleep(Duration::from_secs(3_600)).await;
    }
    let proof = gateway.chain.outcome_proof(&id.parse().unwrap());
    let knows = |proof: &OutcomeProof| match gateway.manner() {
        Manner::CutOff => proof.outcome.height <= Height(1),
        Manner::HasNoBlock => false,
        _ => true,
    };
    let Some(mut proof) = proof.filter(knows) else {
        return error(ErrorCode::NotFound);
    };
    proof.vouch = gateway.chain.vouch(&proof.head, &query);
    if gateway.manner() == Manner::ForgesOutcomes {
        proof.outcome.refused = Some((None, Refusal::Unauthorised));
    }
    violeta_types::encode(&proof).into_response()
}

async fn key(
    State(gateway): Shared,
    Path((namespace, key)): Path<(String, String)>,
    Query(query): Query<BTreeMap<String, String>>,
) -> Response {
    let namespace = namespace.parse::<Readable>().unwrap().0;
    let key = key.parse::<Readable>().unwrap().0;
    let newest = gateway.chain.height();
    let asked = query.get("at").map(|at| at.parse().unwrap());
    let manner = gateway.manner();
    let height = match manner {
        Manner::ServesOldHeads => 1,
        Manner::CutOff if asked.is_some_and(|at| at > 1) => {
            return error(ErrorCode::NotYetCertified);
        }
        Manner::CutOff => 1,
        Manner::HasNoBlock => return error(ErrorCode::NotYetCertified),
        _ => asked.unwrap_or(newest),
    };
    let about = match manner {
        Manner::ProvesAnotherKey if namespace == SPACE => b"bob".to_vec(),
        _ => key.clone(),
    };
    let Some(mut proof) = gateway.chain.key_proof(&namespace, &about, height) else {
        return error(ErrorCode::NotYetCertified);
    };
    proof.vouch = gateway.chain.vouch(&proof.head, &query);
    match manner {
        Manner::ForgesValue => {
            proof.value = Some(StoredValue {
                written_at: proof.head.height,
                value: b"9999"[..].try_into().unwrap(),
            });
        }
        Manner::DeniesKeys => proof.value = None,
        Manner::ServesAnotherChain => {
            proof.head.chain = ChainId::default();
            proof.vouch = Vouch::Certificate(certificate(&proof.head, secret));
        }
        Manner::FabricatesCertificates => {
            proof.head.state_root = Digest::ZERO;
            let nobody = |i: u8| ValidatorSecretKey::from_seed([i + 100; 32]);
            proof.vouch = Vouch::Certificate(certificate(&proof.head, nobody));
        }
        _ => {}
    }
    let mut bytes = violeta_types::encode(&proof);
    if manner == Manner::Truncates {
        bytes.truncate(bytes.len() / 2);
    }
    bytes.into_response()
}

/// The part that a question about many keys is about, and its newest height.
fn part(gateway: &Gateway, query: &Asked) -> (Option<Key>, usize, u64) {
    let limit = query
        .get("limit")
        .map_or(100, |limit| limit.parse().unwrap());
    let key = |text: &String| text.parse::<Readable>().unwrap().0.try_into().unwrap();
    let after = match gateway.manner() {
        Manner::ProvesAnotherKey => Some(b"another"[..].try_into().unwrap()),
        _ => query.get("after").map(key),
    };
    let at = query.get("at").or(query.get("to"));
    let newest = gateway.chain.height();
    let height = at.map_or(newest, |at| at.parse().unwrap());
    match gateway.manner() {
        Manner::ServesOldHeads => (after, limit, height.min(newest - 1)),
        _ => (after, limit, height),
    }
}

fn without_last<T: Clone, const MAX: usize>(items: &Bounded<T, MAX>) -> Bounded<T, MAX> {
    items[..items.len() - 1].to_vec().try_into().unwrap()
}

fn lie() -> StoredValue {
    StoredValue {
        written_at: Height(1),
        value: b"9999"[..].try_into().unwrap(),
    }
}

type Asked = BTreeMap<String, String>;

async fn entries(State(gateway): Shared, Query(query): Query<Asked>) -> Response {
    let (after, limit, height) = part(&gateway, &query);
    let Some(mut proof) = gateway.chain.entries(height, after, limit) else {
        return error(ErrorCode::NotYetCertified);
    };
    match gateway.manner() {
        Manner::LeavesOut => {
            proof.values = without_last(&proof.values);
            proof.tree.tree.leaves = without_last(&proof.tree.tree.leaves);
        }
        Manner::ForgesValue => {
            let mut values = proof.values.into_inner();
            values[0] = lie();
            proof.values = values.try_into().unwrap();
        }
        _ => {}
    }
    violeta_types::encode(&proof).into_response()
}

async fn changes(State(gateway): Shared, Query(query): Query<Asked>) -> Response {
    let (after, limit, height) = part(&gateway, &query);
    let from = query["from"].parse().unwrap();
    let Some(mut proof) = gateway.chain.changes([from, height], after, limit) else {
        return error(ErrorCode::NotYetCertified);
    };
    match gateway.manner() {
        Manner::LeavesOut => {
            proof.values = without_last(&proof.values);
            proof.tree.tree.leaves = without_last(&proof.tree.tree.leaves);
        }
        Manner::ForgesValue => {
            let mut values = proof.values.into_inner();
            values[0].new = Some(lie());
            proof.values = values.try_into().unwrap();
        }
        _ => {}
    }
    violeta_types::encode(&proof).into_response()
}

async fn values(State(gateway): Shared, Query(query): Query<Asked>, body: Bytes) -> Response {
    let mut keys: Vec<Key> = violeta_types::decode(&body).unwrap();
    let (_, _, height) = part(&gateway, &query);
    match gateway.manner() {
        Manner::ProvesAnotherKey => keys.reverse(),
        // Answers are about two keys at most, and that is no lie.
        _ => keys.truncate(2),
    }
    let Some(mut proof) = gateway.chain.values(height, &keys) else {
        return error(ErrorCode::NotYetCertified);
    };
    let mut claims = proof.claims.into_inner();
    match gateway.manner() {
        Manner::LeavesOut => claims.clear(),
        Manner::ForgesValue => claims[0].value = Some(lie()),
        Manner::DeniesKeys => claims[0].value = None,
        _ => {}
    }
    proof.claims = claims.try_into().unwrap();
    violeta_types::encode(&proof).into_response()
}

/// Where a key got or lost a value, from a height down.
async fn history(
    State(gateway): Shared,
    Path((namespace, key)): Path<(String, String)>,
    Query(query): Query<BTreeMap<String, String>>,
) -> Response {
    let (namespace, key) = (namespace.parse::<Readable>(), key.parse::<Readable>());
    let (namespace, key) = (namespace.unwrap(), key.unwrap());
    let [at, limit] = ["at", "limit"].map(|name| query[name].parse::<u64>().unwrap());
    let blocks = gateway.chain.blocks.lock().unwrap();
    let value = |height: u64| {
        let block = blocks.get(height.checked_sub(1)? as usize)?;
        block.state.get(&key.0).map(|v| Readable(v.value.to_vec()))
    };
    let version = |height, value| KeyVersion {
        height: Height(height),
        value,
    };
    let changes = (1..=at).rev().filter(|&h| value(h) != value(h - 1));
    let versions = match gateway.manner() {
        Manner::InventsDeletions => vec![version(at, None)],
        Manner::InventsVersions => vec![version(1_000_000_000, Some(key.clone()))],
        Manner::ForgetsHistory => vec![],
        _ => changes
            .take(limit as usize)
            .map(|h| version(h, value(h)))
            .collect(),
    };
    axum::Json(HistoryAnswer {
        namespace,
        key,
        height: Height(at),
        versions,
        next: None,
    })
    .into_response()
}

async fn newest_head(gateway: Shared) -> Response {
    let newest = match gateway.manner() {
        Manner::ServesOldHeads | Manner::CutOff => 1,
        _ => gateway.chain.height(),
    };
    head_at(gateway, Path(newest)).await
}

async fn head_at(State(gateway): Shared, Path(height): Path<u64>) -> Response {
    let blocks = gateway.chain.blocks.lock().unwrap();
    let block = height.checked_sub(1).and_then(|i| blocks.get(i as usize));
    let Some(block) = block else {
        return error(ErrorCode::NotYetCertified);
    };
    let mut head = block.head.clone();
    if gateway.manner() == Manner::FabricatesCertificates {
        head.time = TimeMs(7);
    }
    violeta_types::encode(&HeadProof {
        vouch: Vouch::Certificate(certificate(&block.head, secret)),
        head,
    })
    .into_response()
}

async fn status(State(gateway): Shared) -> Response {
    axum::Json(StatusAnswer {
        version: "0".into(),
        name: "test".into(),
        chain: chain_id(),
        validator: Some(ValidatorIndex(gateway.index)),
        validators: 4,
        epoch: Epoch(0),
        round: Round(0),
        commit_index: CommitIndex(0),
        height: Height(gateway.chain.height()),
        certified_height: Height(gateway.chain.height()),
        sealed_height: Height(0),
        mempool_count: 0,
        mempool_bytes: 0,
        peers: vec![],
        amnesia: None,
        rejoining: None,
    })
    .into_response()
}

async fn say_who(
    State(gateway): Shared,
    request: axum::extract::Request,
    next: axum::middleware::Next,
) -> Response {
    if gateway.manner() == Manner::Hangs {
        tokio::time::sleep(Duration::from_secs(3_600)).await;
    }
    let delay = *gateway.delay.lock().unwrap();
    tokio::time::sleep(delay).await;
    let mut response = next.run(request).await;
    let mut headers = HeaderMap::new();
    headers.insert(VALIDATOR_HEADER, gateway.index.into());
    response.headers_mut().extend(headers);
    response
}

/// A chain and a gateway for each of four validators.
pub(crate) struct Cluster {
    pub(crate) chain: Arc<Chain>,
    pub(crate) gateways: Vec<Arc<Gateway>>,
    servers: Vec<tokio::task::JoinHandle<()>>,
    dir: tempfile::TempDir,
}

impl Cluster {
    pub(crate) async fn new(manners: [Manner; 4]) -> Self {
        let chain = Chain::new();
        let (mut gateways, mut servers) = (Vec::new(), Vec::new());
        for (index, manner) in (0..).zip(manners) {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            let gateway = Arc::new(Gateway {
                index,
                manner: Mutex::new(manner),
                delay: Mutex::default(),
                chain: chain.clone(),
                received: Mutex::default(),
                address: listener.local_addr().unwrap(),
            });
            let router = Router::new()
                .route("/v1/status", get(status))
                .route("/v1/head", get(newest_head))
                .route("/v1/heads/{height}", get(head_at))
                .route("/v1/transactions", post(take))
                .route("/v1/batch", post(take_batch))
                .route("/v1/transactions/{id}", get(outcome))
                .route("/v1/namespaces/{namespace}/keys/{key}", get(key))
                .route("/v1/namespaces/{namespace}/entries", get(entries))
                .route("/v1/namespaces/{namespace}/changes", get(changes))
                .route("/v1/namespaces/{namespace}/values", post(values))
                .route(
                    "/v1/namespaces/{namespace}/keys/{key}/history",
                    get(history),
                )
                .layer(axum::middleware::from_fn_with_state(
                    gateway.clone(),
                    say_who,
                ))
                .with_state(gateway.clone());
            gateways.push(gateway);
            servers.push(tokio::spawn(async move {
                axum::serve(listener, router).await.unwrap();
            }));
        }
        Cluster {
            chain,
            gateways,
            servers,
            dir: tempfile::tempdir().unwrap(),
        }
    }

    pub(crate) async fn honest() -> Self {
        Cluster::new([Manner::Honest; 4]).await
    }

    /// Nobody listens there any more.
    pub(crate) fn kill(&mut self, at: usize) {
        self.servers[at].abort();
    }

    pub(crate) fn config(&self) -> crate::ClientConfig {
        let endpoints = self.gateways.iter().map(|gateway| crate::Endpoint {
            validator: Some(ValidatorIndex(gateway.index)),
            url: format!("http://{}", gateway.address).parse().unwrap(),
        });
        crate::ClientConfig {
            endpoints: endpoints.collect(),
            trust: Trust::in_committee(chain_id(), committee(4)),
            key: Some(violeta_crypto::ClientSecretKey::from_seed([9; 32])),
            account: None,
            state_path: Some(self.dir.path().join("nonces")),
            expiry: Duration::from_secs(20),
        }
    }

    /// A client that asks the gateways in their order.
    pub(crate) async fn client(&self) -> crate::Client {
        self.client_with(self.config()).await
    }

    pub(crate) async fn client_with(&self, config: crate::ClientConfig) -> crate::Client {
        let client = crate::Client::new(config).unwrap();
        client.order().await;
        // On one machine all are equally near: the tests say which is nearest.
        let mut roster = client.roster();
        for at in 0..self.gateways.len() {
            let near = Duration::from_millis(1_000 * (at as u64 + 1));
            for _ in 0..60 {
                roster.answered(at, Some(near));
            }
        }
        drop(roster);
        client
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.servers.iter().for_each(|server| server.abort());
    }
}
