//! A small world for the tests of this crate: a genesis, clients by name, and transactions in few words.

use std::sync::Arc;

use bytes::Bytes;
use violeta_crypto::{ClientSecretKey, ValidatorSecretKey};
use violeta_replica::{Block, Effect, Event, Machine, OrderedCommit, Position};
use violeta_types::transaction::{Condition, Right, rotation_digest};
use violeta_types::{
    Admission, ClientId, ClientPublicKey, Commit, CommitIndex, Committee, Digest, Domain, Election,
    Epoch, Genesis, Height, Item, Member, NodePublicKey, Nonce, Operation, OperatorPublicKey,
    Parameters, Round, Stake, TimeMs, Transaction, TransactionBody, ValidatorIndex, VertexId,
    VertexRef,
};

/// When the chain began.
pub(crate) const START: u64 = 1_700_000_000_000;

/// The administrator of [`genesis`].
pub(crate) const ADMIN: Client = Client(0);

/// A client, named by a number that its first key is made from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Client(pub(crate) u8);

impl Client {
    pub(crate) fn secret(self) -> ClientSecretKey {
        ClientSecretKey::from_seed([self.0.wrapping_add(100); 32])
    }

    pub(crate) fn key(self) -> ClientPublicKey {
        self.secret().public_key()
    }

    pub(crate) fn id(self) -> ClientId {
        self.key().client_id()
    }
}

pub(crate) fn genesis(admission: Admission) -> Genesis {
    let members = (0..4u8)
        .map(|i| Member {
            stake: Stake(1),
            validator_key: ValidatorSecretKey::from_seed([i + 1; 32]).public_key(),
            share_key: None,
            node_key: NodePublicKey([i; 32]),
            operator_key: OperatorPublicKey([i; 32]),
        })
        .collect();
    let genesis = Genesis {
        name: "test".to_owned(),
        time: TimeMs(START),
        committee: Committee::new(Epoch(0), members, None).unwrap(),
        parameters: Parameters {
            wave_length: 3,
            leaders: 1,
            election: Election::Seeded,
            gc_depth: 64,
        },
        admission,
        administrators: vec![ADMIN.key()].try_into().unwrap(),
    };
    genesis.check().unwrap();
    genesis
}

/// A signed transaction on the chain of [`genesis`] (`Closed`), good for a minute from the start.
pub(crate) fn transaction(client: Client, nonce: u64, operations: Vec<Operation>) -> Bytes {
    sign(client, body(client, nonce, operations))
}

pub(crate) fn body(client: Client, nonce: u64, operations: Vec<Operation>) -> TransactionBody {
    TransactionBody {
        chain: genesis(Admission::Closed).chain_id(),
        key: client.key(),
        nonce: Nonce(nonce),
        expires: TimeMs(START + 60_000),
        operations: operations.try_into().unwrap(),
    }
}

pub(crate) fn sign(client: Client, body: TransactionBody) -> Bytes {
    let signature = client.secret().sign_transaction(&body.id());
    Transaction { body, signature }.to_bytes()
}

// Operations.

pub(crate) fn name(text: &str) -> violeta_types::transaction::NamespaceName {
    text.as_bytes().try_into().unwrap()
}

pub(crate) fn key(text: &str) -> violeta_types::transaction::Key {
    text.as_bytes().try_into().unwrap()
}

pub(crate) fn value(text: &str) -> violeta_types::transaction::Value {
    text.as_bytes().try_into().unwrap()
}

pub(crate) fn put(namespace: &str, k: &str, v: &str) -> Operation {
    Operation::Put {
        namespace: name(namespace),
        key: key(k),
        value: value(v),
    }
}

pub(crate) fn delete(namespace: &str, k: &str) -> Operation {
    Operation::Delete {
        namespace: name(namespace),
        key: key(k),
    }
}

pub(crate) fn swap(namespace: &str, k: &str, expected: Condition, v: Option<&str>) -> Operation {
    Operation::CompareAndSet {
        namespace: name(namespace),
        key: key(k),
        expected,
        value: v.map(value),
    }
}

pub(crate) fn require(namespace: &str, k: &str, condition: Condition) -> Operation {
    Operation::Require {
        namespace: name(namespace),
        key: key(k),
        condition,
    }
}

pub(crate) fn has(v: &str) -> Condition {
    Condition::Value(value(v))
}

pub(crate) fn written_at(height: u64) -> Condition {
    Condition::WrittenAt(Height(height))
}

pub(crate) fn create(namespace: &str) -> Operation {
    Operation::CreateNamespace {
        namespace: name(namespace),
    }
}

pub(crate) fn drop_namespace(namespace: &str) -> Operation {
    Operation::DropNamespace {
        namespace: name(namespace),
    }
}

pub(crate) fn grant(namespace: &str, to: Client, right: Right) -> Operation {
    Operation::Grant {
        namespace: name(namespace),
        client: to.id(),
        right,
    }
}

pub(crate) fn revoke(namespace: &str, from: Client) -> Operation {
    Operation::Revoke {
        namespace: name(namespace),
        client: from.id(),
    }
}

pub(crate) fn register(client: Client) -> Operation {
    Operation::RegisterClient { key: client.key() }
}

/// `client` takes the first key of `new` for its own.
pub(crate) fn rotate(client: Client, new: Client) -> Operation {
    let chain = genesis(Admission::Closed).chain_id();
    let digest = rotation_digest(&chain, &client.id(), &new.key());
    Operation::RotateKey {
        key: new.key(),
        proof: new.secret().sign_rotation(&digest),
    }
}

/// A commit log as consensus would hand it over: indices and digests chain, time doesn't go back.
#[derive(Clone, Debug, Default)]
pub(crate) struct Log {
    pub(crate) commits: Vec<Arc<OrderedCommit>>,
}

impl Log {
    /// Appends a commit of these client items, led from `round`; its time is one second a commit from the start.
    pub(crate) fn push(&mut self, round: u64, items: &[Bytes]) -> Arc<OrderedCommit> {
        let last = self.commits.last();
        let index = CommitIndex(self.commits.len() as u64 + 1);
        let leader = VertexRef {
            round: Round(round),
            author: ValidatorIndex(0),
            id: VertexId(Domain::File.hash(&round.to_le_bytes())),
        };
        let commit = Commit {
            epoch: Epoch(0),
            index,
            previous: last.map_or(Digest::ZERO, |last| last.digest),
            leader,
            vertices: vec![leader].try_into().unwrap(),
            time: TimeMs(START + 1_000 * index.0),
            coin: None,
        };
        let ordered = Arc::new(OrderedCommit {
            digest: commit.digest(&genesis(Admission::Closed).chain_id()),
            commit,
            items: items.iter().cloned().map(Item::Client).collect(),
        });
        self.commits.push(Arc::clone(&ordered));
        ordered
    }

    /// A log of one commit for each list of items, led from rounds 1, 2, ….
    pub(crate) fn of(commits: &[Vec<Bytes>]) -> Self {
        let mut log = Log::default();
        for (round, items) in (1..).zip(commits) {
            log.push(round, items);
        }
        log
    }
}

/// Has a machine execute a commit; the block that it made.
pub(crate) fn execute(machine: &mut impl Machine, ordered: &Arc<OrderedCommit>) -> Option<Block> {
    machine.handle(Event::Commit(Arc::clone(ordered)));
    let mut block = None;
    loop {
        match machine.poll() {
            Some(Effect::Block(made)) => block = Some(Arc::unwrap_or_clone(made)),
            Some(Effect::Applied { commit_index }) => {
                assert_eq!(commit_index, ordered.commit.index);
                assert!(machine.poll().is_none());
                return block;
            }
            other => panic!("instead of a block or the commit's end: {other:?}"),
        }
    }
}

/// Has a machine make durable what it has executed.
pub(crate) fn flush(machine: &mut impl Machine) -> Position {
    machine.handle(Event::Flush);
    match machine.poll() {
        Some(Effect::Durable(position)) => {
            assert_eq!(machine.position(), position);
            position
        }
        other => panic!("instead of a position: {other:?}"),
    }
}
