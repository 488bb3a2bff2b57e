//! A small chain in memory, and a gateway in front of it.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::{Arc, Mutex};
use std::thread::ThreadId;
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt};
use reqwest::Response;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;
use violeta_crypto::signing::ClientSecretKey;
use violeta_proof::tree::{Place, Sides, SpacePlace, SpaceProof};
use violeta_proof::{
    ChangeProof, ChangesProof, EntriesProof, HeadProof, KeyClaim, KeyProof, MultiProof,
    OutcomeProof, RangeProof, StoredValue, TreeProof, ValuesProof, Vouch,
};
use violeta_types::api::*;
use violeta_types::merkle;
use violeta_types::transaction::{Key, NamespaceName};
use violeta_types::*;

use super::source::{Block, Events, Recorded, Source, SourceError};
use super::{Gateway, GatewayConfig};
use crate::chain::summaries;

/// What one client's transaction is refused for here.
pub(super) const FULL: &[u8] = b"full";

/// Outcomes after which a page of this chain's blocks ends. Each of its blocks has one.
pub(super) const PAGE_OUTCOMES_MAX: usize = 7;

/// How far above the highest nonce that was executed another may be.
pub(super) const WINDOW: u64 = 64;

/// A value and when it was written.
type Written = (Height, Vec<u8>);

#[derive(Default)]
struct State {
    blocks: Vec<Arc<Block>>,
    values: BTreeMap<(Vec<u8>, Vec<u8>), Written>,
    outcomes: BTreeMap<TxId, Outcome>,
    queued: Vec<TxId>,
    events: Vec<ChainEvent>,
    nonce: u64,
    submissions: usize,
    lookups: usize,
    reads: usize,
    told: usize,
    accounts_asked_on: Vec<ThreadId>,
}

/// Executes each submission in a block of its own, at once unless it is told to stall, and certifies it.
pub(super) struct Chain {
    genesis: Arc<Genesis>,
    /// When all its clients' transactions expire.
    expires: TimeMs,
    state: Mutex<State>,
    grown: watch::Sender<u64>,
    pub(super) stalls: std::sync::atomic::AtomicBool,
    /// It takes nothing.
    pub(super) overloaded: std::sync::atomic::AtomicBool,
    /// Whether it can say of a transaction that it was never recorded.
    pub(super) indexes: std::sync::atomic::AtomicBool,
    /// The newest sealed height.
    pub(super) sealed: std::sync::atomic::AtomicU64,
}

pub(super) fn client_key() -> ClientSecretKey {
    ClientSecretKey::from_seed([9; 32])
}

fn genesis() -> Genesis {
    let member = |i: u8| Member {
        stake: Stake(1),
        validator_key: ValidatorPublicKey([i + 1; 32]),
        share_key: None,
        node_key: NodePublicKey([i + 1; 32]),
        operator_key: OperatorPublicKey([i + 1; 32]),
    };
    let parameters = Parameters {
        election: Election::Seeded,
        ..Parameters::for_validators(4)
    };
    Genesis {
        name: "test <chain>".into(),
        time: TimeMs(1),
        committee: Committee::new(Epoch(0), (0..4).map(member).collect(), None).unwrap(),
        parameters,
        admission: Admission::Open,
        administrators: Bounded::default(),
    }
}

impl Chain {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Chain {
            genesis: Arc::new(genesis()),
            expires: TimeMs(super::expiry::now().0 + limits::EXPIRY_AHEAD_MS_MAX / 2),
            state: Mutex::default(),
            grown: watch::Sender::new(0),
            stalls: false.into(),
            overloaded: false.into(),
            indexes: true.into(),
            sealed: 0.into(),
        })
    }

    pub(super) fn transaction(&self, nonce: u64, operations: Vec<Operation>) -> Transaction {
        self.expiring(self.expires, nonce, operations)
    }

    pub(super) fn expiring(
        &self,
        expires: TimeMs,
        nonce: u64,
        operations: Vec<Operation>,
    ) -> Transaction {
        let body = TransactionBody {
            chain: self.genesis.chain_id(),
            key: client_key().public_key(),
            nonce: Nonce(nonce),
            expires,
            operations: operations.try_into().unwrap(),
        };
        let signature = client_key().sign_transaction(&body.id());
        Transaction { body, signature }
    }

    pub(super) fn put(&self, nonce: u64, key: &[u8], value: &[u8]) -> Transaction {
        let operation = Operation::Put {
            namespace: b"bank"[..].try_into().unwrap(),
            key: key.try_into().unwrap(),
            value: value.try_into().unwrap(),
        };
        self.transaction(nonce, vec![operation])
    }

    /// How often it was asked what it has recorded.
    pub(super) fn lookups(&self) -> usize {
        self.state.lock().unwrap().lookups
    }

    /// How many values were read.
    pub(super) fn reads(&self) -> usize {
        self.state.lock().unwrap().reads
    }

    fn tell(&self, event: usize) -> Option<ChainEvent> {
        let mut state = self.state.lock().unwrap();
        let event = state.events.get(event).cloned();
        state.told += usize::from(event.is_some());
        event
    }

    /// How many events were taken by subscribers, all together.
    pub(super) fn told(&self) -> usize {
        self.state.lock().unwrap().told
    }

    /// Executes so many blocks, as if others had submitted to them.
    pub(super) fn grow(&self, blocks: u64) {
        let mut state = self.state.lock().unwrap();
        for _ in 0..blocks {
            state.nonce += 1;
            let transaction = self.put(state.nonce, b"k", b"v");
            self.execute(&mut state, &transaction);
        }
        drop(state);
        self.grown.send_modify(|n| *n += blocks);
    }

    /// The threads on which it was asked for accounts.
    pub(super) fn accounts_asked_on(&self) -> Vec<ThreadId> {
        self.state.lock().unwrap().accounts_asked_on.clone()
    }

    pub(super) fn submissions(&self) -> usize {
        self.state.lock().unwrap().submissions
    }

    fn take(&self, bytes: &[u8]) -> BatchVerdict {
        let refuse = |code, message: &str, retry_ms| {
            BatchVerdict::Refused(ErrorDetail {
                code,
                message: message.into(),
                help: "help".into(),
                retry_ms,
            })
        };
        if bytes == FULL || self.overloaded.load(SeqCst) {
            return refuse(ErrorCode::Overloaded, "the mempool is full", Some(1_500));
        }
        let Ok(transaction) = Transaction::decode(bytes) else {
            return refuse(ErrorCode::InvalidTransaction, "no transaction", None);
        };
        let mut state = self.state.lock().unwrap();
        state.submissions += 1;
        let id = transaction.id();
        if transaction.body.nonce.0 <= state.nonce {
            return refuse(ErrorCode::NotAdmitted, "the nonce was used", None);
        }
        if transaction.body.nonce.0 > state.nonce + WINDOW {
            return refuse(
                ErrorCode::NotAdmitted,
                "the nonce is beyond the window",
                None,
            );
        }
        if self.stalls.load(std::sync::atomic::Ordering::SeqCst) {
            state.queued.push(id);
            return BatchVerdict::Taken(id);
        }
        state.nonce = transaction.body.nonce.0;
        self.execute(&mut state, &transaction);
        drop(state);
        self.grown.send_modify(|n| *n += 1);
        BatchVerdict::Taken(id)
    }

    fn execute(&self, state: &mut State, transaction: &Transaction) {
        let height = Height(state.blocks.len() as u64 + 1);
        for operation in &transaction.body.operations {
            if let Operation::Put {
                namespace,
                key,
                value,
            } = operation
            {
                let place = (namespace.to_vec(), key.to_vec());
                state.values.insert(place, (height, value.to_vec()));
            }
        }
        let outcome = Outcome {
            height,
            index: 0,
            transaction: transaction.id(),
            refused: None,
        };
        let committee = self.genesis.committee.digest();
        let head = Head {
            chain: self.genesis.chain_id(),
            epoch: Epoch(0),
            height,
            previous: HeadId::default(),
            commit_index: CommitIndex(height.0),
            commit_digest: Digest::ZERO,
            time: TimeMs(1_000 * height.0),
            transactions_root: Digest::ZERO,
            results_root: merkle::RESULTS.root([outcome.digest()]),
            state_root: Digest::ZERO,
            history_root: Digest::ZERO,
            committee,
            next_committee: committee,
        };
        state.outcomes.insert(outcome.transaction, outcome.clone());
        for (sequence, kind) in [
            EventKind::Block {
                height,
                head: head.id(),
                time: head.time,
                transactions: 1,
            },
            EventKind::Certified {
                height,
                head: head.id(),
            },
        ]
        .into_iter()
        .enumerate()
        {
            let sequence = sequence as u64;
            state.events.push(ChainEvent {
                cursor: Cursor { height, sequence },
                kind,
            });
        }
        state.blocks.push(Arc::new(Block {
            head,
            outcomes: vec![outcome].try_into().unwrap(),
        }));
    }

    fn certificate(head: &Head) -> Certificate {
        Certificate {
            height: head.height,
            head: head.id(),
            signatures: Bounded::default(),
        }
    }

    /// The gateway passes it on: whether it is good is judged by clients.
    fn vouch(&self, head: &Head, kind: VouchKind) -> Result<Vouch, SourceError> {
        let (height, newest) = (head.height, Height(self.sealed.load(SeqCst)));
        match kind {
            VouchKind::Any => Ok(Vouch::Certificate(Chain::certificate(head))),
            VouchKind::Seal if height > newest => Err(SourceError::NotYetSealed { height, newest }),
            VouchKind::Seal => Ok(Vouch::Seal(Seal {
                height,
                head: head.id(),
                signature: ThresholdSignature([7; 48]),
            })),
        }
    }

    fn head_at(self: &Arc<Self>, height: Height) -> Result<Head, SourceError> {
        self.block(height).map(|block| block.head.clone())
    }
}

impl Source for Arc<Chain> {
    fn genesis(&self) -> Arc<Genesis> {
        self.genesis.clone()
    }

    fn committee(&self) -> Arc<Committee> {
        Arc::new(self.genesis.committee.clone())
    }

    fn validator(&self) -> Option<ValidatorIndex> {
        Some(ValidatorIndex(2))
    }

    fn status(&self) -> StatusAnswer {
        let height = self.certified_height();
        StatusAnswer {
            version: "0".into(),
            name: self.genesis.name.clone(),
            chain: self.genesis.chain_id(),
            validator: self.validator(),
            validators: 4,
            epoch: Epoch(0),
            round: Round(5),
            commit_index: CommitIndex(height.0),
            height,
            certified_height: height,
            sealed_height: self.sealed_height(),
            mempool_count: 0,
            mempool_bytes: 0,
            peers: vec![ValidatorIndex(0), ValidatorIndex(1)],
            amnesia: None,
            rejoining: None,
        }
    }

    fn health(&self) -> HealthAnswer {
        let healthy = !self.stalls.load(std::sync::atomic::Ordering::SeqCst);
        let reasons = match healthy {
            true => vec![],
            false => vec!["it stalls".into()],
        };
        HealthAnswer { healthy, reasons }
    }

    fn metrics(&self) -> String {
        "# TYPE violeta_height gauge\nvioleta_height 1\n".into()
    }

    fn certified_height(&self) -> Height {
        Height(self.state.lock().unwrap().blocks.len() as u64)
    }

    fn block_time(&self) -> TimeMs {
        let state = self.state.lock().unwrap();
        state.blocks.last().map_or(TimeMs(0), |b| b.head.time)
    }

    fn sealed_height(&self) -> Height {
        Height(self.sealed.load(SeqCst))
    }

    fn submit(
        &self,
        items: Vec<Bytes>,
    ) -> BoxFuture<'static, Result<Vec<BatchVerdict>, SourceError>> {
        let verdicts = items.iter().map(|item| self.take(item)).collect();
        async { Ok(verdicts) }.boxed()
    }

    fn transaction(&self, id: TxId) -> Result<TransactionStatus, SourceError> {
        let state = self.state.lock().unwrap();
        Ok(match state.outcomes.get(&id) {
            Some(outcome) => TransactionStatus::Certified {
                outcome: outcome.clone(),
            },
            None if state.queued.contains(&id) => TransactionStatus::Queued,
            None => TransactionStatus::Unknown,
        })
    }

    fn recorded(&self, ids: &[TxId]) -> Result<Vec<Recorded>, SourceError> {
        let mut state = self.state.lock().unwrap();
        state.lookups += 1;
        let of = |id| match state.outcomes.contains_key(id) {
            true => Recorded::Yes,
            false if self.indexes.load(SeqCst) => Recorded::No,
            false => Recorded::Unknown,
        };
        Ok(ids.iter().map(of).collect())
    }

    fn wait(
        &self,
        id: TxId,
        wait: Wait,
        at_most: Duration,
    ) -> BoxFuture<'static, Result<TransactionStatus, SourceError>> {
        let chain = self.clone();
        async move {
            let mut grown = chain.grown.subscribe();
            let satisfied = async {
                while !chain.transaction(id).unwrap().satisfies(wait) {
                    grown.changed().await.unwrap();
                }
            };
            let _ = tokio::time::timeout(at_most, satisfied).await;
            chain.transaction(id)
        }
        .boxed()
    }

    fn outcome_proof(&self, id: TxId, kind: VouchKind) -> Result<OutcomeProof, SourceError> {
        let state = self.state.lock().unwrap();
        let outcome = state.outcomes.get(&id).cloned();
        let outcome = outcome.ok_or_else(|| SourceError::NotFound(format!("transaction {id}")))?;
        let head = state.blocks[outcome.height.0 as usize - 1].head.clone();
        Ok(OutcomeProof {
            path: merkle::RESULTS.path(&[outcome.digest()], 0).unwrap(),
            vouch: self.vouch(&head, kind)?,
            outcome,
            head,
        })
    }

    fn head(&self, height: Height) -> Result<HeadAnswer, SourceError> {
        let head = self.head_at(height)?;
        Ok(HeadAnswer {
            id: head.id(),
            certificate: Some(Chain::certificate(&head)),
            head,
            seal: None,
        })
    }

    fn head_proof(&self, height: Height, kind: VouchKind) -> Result<HeadProof, SourceError> {
        let head = self.head_at(height)?;
        let vouch = self.vouch(&head, kind)?;
        Ok(HeadProof { head, vouch })
    }

    fn block(&self, height: Height) -> Result<Arc<Block>, SourceError> {
        let state = self.state.lock().unwrap();
        let index = (height.0 as usize).checked_sub(1);
        index
            .and_then(|i| state.blocks.get(i).cloned())
            .ok_or_else(|| SourceError::NotFound(format!("block {height}")))
    }

    fn blocks(&self, from: Height, limit: usize) -> Result<Vec<BlockSummary>, SourceError> {
        let state = self.state.lock().unwrap();
        let blocks = state.blocks.iter().skip(from.0 as usize - 1).take(limit);
        summaries(blocks.cloned().map(Ok), PAGE_OUTCOMES_MAX)
    }

    fn events(&self, after: Option<Cursor>) -> Result<Events, SourceError> {
        let chain = self.clone();
        let mut at = match after {
            Some(cursor) => {
                let state = self.state.lock().unwrap();
                state.events.partition_point(|e| e.cursor <= cursor)
            }
            None => self.state.lock().unwrap().events.len(),
        };
        let grown = self.grown.subscribe();
        let stream = futures::stream::unfold(grown, move |mut grown| {
            let chain = chain.clone();
            let next = at;
            at += 1;
            async move {
                loop {
                    if let Some(event) = chain.tell(next) {
                        return Some((Ok(event), grown));
                    }
                    grown.changed().await.ok()?;
                }
            }
        });
        Ok(stream.boxed())
    }

    fn read(
        &self,
        namespace: &NamespaceName,
        key: &Key,
        _at: Height,
    ) -> Result<Option<WrittenValue>, SourceError> {
        let mut state = self.state.lock().unwrap();
        state.reads += 1;
        let found = state.values.get(&(namespace.to_vec(), key.to_vec()));
        Ok(found.map(|(height, value)| WrittenValue {
            written_at: *height,
            value: Readable(value.clone()),
        }))
    }

    fn prove(
        &self,
        namespace: &NamespaceName,
        key: &Key,
        at: Height,
        kind: VouchKind,
    ) -> Result<KeyProof, SourceError> {
        let head = self.head_at(at)?;
        let value = self.read(namespace, key, at)?;
        Ok(KeyProof {
            namespace: namespace.clone(),
            key: key.clone(),
            value: value.map(|v| StoredValue {
                written_at: v.written_at,
                value: v.value.0.try_into().unwrap(),
            }),
            // The gateway passes it on: whether it proves anything is judged by clients.
            tree: TreeProof {
                place: Place::Empty,
                ..no_tree()
            },
            vouch: self.vouch(&head, kind)?,
            head,
        })
    }

    fn prove_values(
        &self,
        namespace: &NamespaceName,
        keys: &[Key],
        at: Height,
        kind: VouchKind,
    ) -> Result<ValuesProof, SourceError> {
        let head = self.head_at(at)?;
        let claim = |key: &Key| {
            let value = self.prove(namespace, key, at, kind)?.value;
            let key = key.clone();
            Ok(KeyClaim { key, value })
        };
        let claims: Result<Vec<_>, SourceError> = keys.iter().map(claim).collect();
        Ok(ValuesProof {
            namespace: namespace.clone(),
            claims: claims?.try_into().unwrap(),
            tree: MultiProof {
                space: no_space(),
                tree: Default::default(),
            },
            head: HeadProof {
                vouch: self.vouch(&head, kind)?,
                head,
            },
        })
    }

    fn prove_entries(
        &self,
        namespace: &NamespaceName,
        after: Option<Key>,
        limit: usize,
        at: Height,
        kind: VouchKind,
    ) -> Result<EntriesProof, SourceError> {
        let keys = self.keys(namespace, after.as_ref(), limit, at)?;
        let value = |key: &Readable| {
            let key = key.0.clone().try_into().unwrap();
            self.prove(namespace, &key, at, kind)
                .unwrap()
                .value
                .unwrap()
        };
        let head = self.head_at(at)?;
        Ok(EntriesProof {
            namespace: namespace.clone(),
            values: keys
                .keys
                .iter()
                .map(value)
                .collect::<Vec<_>>()
                .try_into()
                .unwrap(),
            after,
            tree: RangeProof {
                space: no_space(),
                through: None,
                tree: Default::default(),
            },
            head: HeadProof {
                vouch: self.vouch(&head, kind)?,
                head,
            },
        })
    }

    fn prove_changes(
        &self,
        namespace: &NamespaceName,
        after: Option<Key>,
        _: usize,
        heights: Sides<Height>,
        kind: VouchKind,
    ) -> Result<ChangesProof, SourceError> {
        Ok(ChangesProof {
            namespace: namespace.clone(),
            after,
            values: Default::default(),
            tree: ChangeProof {
                spaces: Sides {
                    old: no_space(),
                    new: no_space(),
                },
                through: None,
                tree: Default::default(),
            },
            heads: Sides {
                old: self.head_proof(heights.old, kind)?,
                new: self.head_proof(heights.new, kind)?,
            },
        })
    }

    fn history(
        &self,
        namespace: &NamespaceName,
        key: &Key,
        at: Height,
        limit: usize,
    ) -> Result<HistoryAnswer, SourceError> {
        let value = self.read(namespace, key, at)?;
        let versions = value.map(|v| KeyVersion {
            height: v.written_at,
            value: Some(v.value),
        });
        Ok(HistoryAnswer {
            namespace: Readable::from(&namespace[..]),
            key: Readable::from(&key[..]),
            height: at,
            versions: versions.into_iter().take(limit).collect(),
            next: None,
        })
    }

    fn namespace(
        &self,
        namespace: &NamespaceName,
        at: Height,
    ) -> Result<NamespaceAnswer, SourceError> {
        match &namespace[..] {
            b"bank" => Ok(NamespaceAnswer {
                namespace: Readable::from(&namespace[..]),
                height: at,
                owner: Some(client_key().public_key().client_id()),
                grants: vec![],
                keys: Some(self.state.lock().unwrap().values.len() as u64),
            }),
            _ => Err(SourceError::NotFound("namespace of that name".into())),
        }
    }

    fn keys(
        &self,
        namespace: &NamespaceName,
        after: Option<&Key>,
        limit: usize,
        at: Height,
    ) -> Result<KeysAnswer, SourceError> {
        let state = self.state.lock().unwrap();
        let all = state.values.keys().map(|(_, key)| key);
        let left = all.filter(|key| after.is_none_or(|after| key[..] > after[..]));
        let mut keys: Vec<_> = left.take(limit + 1).cloned().map(Readable).collect();
        let more = keys.len() > limit;
        keys.truncate(limit);
        Ok(KeysAnswer {
            namespace: Readable::from(&namespace[..]),
            height: at,
            next: keys.last().filter(|_| more).cloned(),
            keys,
        })
    }

    fn account(&self, client: &ClientId) -> Result<AccountAnswer, SourceError> {
        let at = self.certified_height();
        let mut state = self.state.lock().unwrap();
        state.accounts_asked_on.push(std::thread::current().id());
        let nonce = state.nonce;
        Ok(AccountAnswer {
            client: *client,
            height: at,
            key: Some(client_key().public_key()),
            administrator: false,
            highest_nonce: Nonce(nonce),
            next_nonce: Nonce(nonce + 1),
        })
    }
}

fn no_space() -> SpaceProof {
    SpaceProof {
        top: Default::default(),
        place: SpacePlace::Empty,
    }
}

fn no_tree() -> TreeProof {
    TreeProof {
        top: Default::default(),
        place: Place::Empty,
    }
}

/// A gateway on a port of its own, and a client of it.
pub(super) struct Fixture {
    pub(super) chain: Arc<Chain>,
    pub(super) gateway: Gateway,
    pub(super) http: reqwest::Client,
}

impl Fixture {
    pub(super) async fn new() -> Self {
        Self::with(GatewayConfig::default()).await
    }

    pub(super) async fn with(config: GatewayConfig) -> Self {
        let chain = Chain::new();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let source: Arc<dyn Source> = Arc::new(chain.clone());
        Fixture {
            gateway: Gateway::start(listener, config, source).unwrap(),
            chain,
            http: reqwest::Client::new(),
        }
    }

    pub(super) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.gateway.address())
    }

    pub(super) async fn get(&self, path: &str) -> Response {
        self.http.get(self.url(path)).send().await.unwrap()
    }

    pub(super) async fn json<T: serde::de::DeserializeOwned>(&self, path: &str) -> T {
        let response = self.get(path).await;
        assert!(response.status().is_success(), "{path}: {response:?}");
        response.json().await.unwrap()
    }

    /// An answer in borsh.
    pub(super) async fn binary(&self, path: &str) -> Bytes {
        let request = self.http.get(self.url(path)).header("accept", BINARY);
        request.send().await.unwrap().bytes().await.unwrap()
    }

    pub(super) async fn post(&self, path: &str, body: impl Into<reqwest::Body>) -> Response {
        let request = self.http.post(self.url(path)).body(body);
        request.header("content-type", BINARY).send().await.unwrap()
    }

    /// Somebody who asks, with a small buffer for what comes, and doesn't read.
    pub(super) async fn silent(&self, requests: &str) -> TcpStream {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(4 << 10).unwrap();
        let mut stream = socket.connect(self.gateway.address()).await.unwrap();
        stream.write_all(requests.as_bytes()).await.unwrap();
        stream
    }

    /// The status and the error of a request that fails.
    pub(super) async fn error(response: Response) -> (u16, ErrorDetail) {
        let status = response.status().as_u16();
        let body: ErrorBody = response.json().await.unwrap();
        assert_eq!(body.error.code.status(), status);
        assert!(!body.error.help.is_empty());
        (status, body.error)
    }

    /// Puts a value and waits for its certificate.
    pub(super) async fn put(&self, nonce: u64, key: &[u8], value: &[u8]) -> TransactionAnswer {
        let transaction = self.chain.put(nonce, key, value);
        let path = "/v1/transactions?wait=certified";
        let response = self.post(path, transaction.to_bytes()).await;
        assert_eq!(response.status(), 200);
        response.json().await.unwrap()
    }
}
