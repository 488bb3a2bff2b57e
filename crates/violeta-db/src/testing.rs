//! A small world for the tests of this crate: a genesis, clients by name, and transactions in few words.

use bytes::Bytes;
use violeta_crypto::{ClientSecretKey, ValidatorSecretKey};
use violeta_types::transaction::{Condition, Right, rotation_digest};
use violeta_types::{
    Admission, ClientId, ClientPublicKey, Committee, Election, Epoch, Genesis, Height, Member,
    NodePublicKey, Nonce, Operation, OperatorPublicKey, Parameters, Stake, TimeMs, Transaction,
    TransactionBody,
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
