//! Transactions of the Database machine: signed, atomic lists of operations (replica.md §1).

use borsh::{BorshDeserialize, BorshSerialize};
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::codec::{Blob, Bounded, DecodeError};
use crate::digest::{Digest, Domain};
use crate::ids::{ChainId, ClientId, Height, Nonce, TimeMs, TxId};
use crate::keys::{ClientPublicKey, ClientSignature};
use crate::limits::{
    KEY_BYTES_MAX, NAMESPACE_BYTES_MAX, OPERATIONS_MAX, TRANSACTION_BYTES_MAX, VALUE_BYTES_MAX,
};

/// A namespace's name: 1 to 64 of `a–z 0–9 . - _`, not beginning with `_` (those are the system's).
pub type NamespaceName = Blob<NAMESPACE_BYTES_MAX>;
/// A key within a namespace.
pub type Key = Blob<KEY_BYTES_MAX>;
/// A value.
pub type Value = Blob<VALUE_BYTES_MAX>;

/// What a client may do in a namespace that it doesn't own.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    BorshSerialize,
    BorshDeserialize,
    Serialize,
    Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Right {
    /// Put and delete keys.
    Write,
    /// Write, and grant and revoke `Write`.
    Admin,
}

/// What must be true of a key.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum Condition {
    /// The key has no value.
    Absent,
    /// The key has this value.
    Value(Value),
    /// The key was last written at this height.
    WrittenAt(Height),
}

/// One step of a transaction.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum Operation {
    /// Gives a key a value.
    Put {
        /// Where.
        namespace: NamespaceName,
        /// Which key.
        key: Key,
        /// Its new value.
        value: Value,
    },
    /// Takes a key's value away; refused if it has none.
    Delete {
        /// Where.
        namespace: NamespaceName,
        /// Which key.
        key: Key,
    },
    /// Gives a key a new value (or none) if what is expected holds.
    CompareAndSet {
        /// Where.
        namespace: NamespaceName,
        /// Which key.
        key: Key,
        /// What must hold.
        expected: Condition,
        /// The new value; none deletes.
        value: Option<Value>,
    },
    /// Refuses the transaction unless a condition holds.
    Require {
        /// Where.
        namespace: NamespaceName,
        /// Which key.
        key: Key,
        /// What must hold.
        condition: Condition,
    },
    /// Makes a namespace, owned by the client.
    CreateNamespace {
        /// Its name.
        namespace: NamespaceName,
    },
    /// Drops a namespace with all keys. The owner may.
    DropNamespace {
        /// Its name.
        namespace: NamespaceName,
    },
    /// Gives a client a right. The owner may; an admin may grant `Write`.
    Grant {
        /// Where.
        namespace: NamespaceName,
        /// To whom.
        client: ClientId,
        /// Which right; it replaces the one that the client had.
        right: Right,
    },
    /// Takes a client's rights away. The owner may; an admin may from who has `Write`.
    Revoke {
        /// Where.
        namespace: NamespaceName,
        /// From whom.
        client: ClientId,
    },
    /// Makes an account for a key. On a closed chain only administrators may.
    RegisterClient {
        /// The key; it names the client.
        key: ClientPublicKey,
    },
    /// Gives one's own account another key. Later transactions carry the new one.
    RotateKey {
        /// The new key.
        key: ClientPublicKey,
        /// The new key's signature over [`rotation_digest`]: who rotates holds it.
        proof: ClientSignature,
    },
}

/// What the new key signs when an account's key is rotated.
pub fn rotation_digest(chain: &ChainId, client: &ClientId, new_key: &ClientPublicKey) -> Digest {
    Domain::Client.hash_parts(&[b"rotate", chain.as_ref(), client.as_ref(), &new_key.0])
}

/// All of a transaction but the signature.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct TransactionBody {
    /// The chain it is for.
    pub chain: ChainId,
    /// The key that signs it; the account that it acts for now is the client.
    pub key: ClientPublicKey,
    /// The client's number for it: no two transactions of a client share one.
    pub nonce: Nonce,
    /// After this time, as commits count it, it does nothing.
    pub expires: TimeMs,
    /// What to do, all or nothing.
    pub operations: Bounded<Operation, OPERATIONS_MAX>,
}

impl TransactionBody {
    /// The transaction's id: what the client signs.
    pub fn id(&self) -> TxId {
        TxId(Domain::Transaction.hash_encoded(self))
    }
}

/// A client's signed list of operations. Nothing about it has been checked but its form.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Transaction {
    /// What is signed.
    pub body: TransactionBody,
    /// The signature over the id.
    pub signature: ClientSignature,
}

impl Transaction {
    /// Decodes a whole transaction.
    ///
    /// # Errors
    /// If the bytes aren't the canonical encoding of a transaction within the limits.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        if bytes.len() > TRANSACTION_BYTES_MAX {
            let reason = format!("{} bytes, at most {TRANSACTION_BYTES_MAX}", bytes.len());
            return Err(DecodeError::new("transaction", reason));
        }
        crate::codec::decode(bytes)
    }

    /// The transaction's id.
    pub fn id(&self) -> TxId {
        self.body.id()
    }

    /// The id of an encoded transaction, without decoding it: the signature is the last 64 bytes.
    /// None if the bytes are too short to be one.
    pub fn id_of_encoded(bytes: &[u8]) -> Option<TxId> {
        let body = bytes.len().checked_sub(64)?;
        Some(TxId(Domain::Transaction.hash(&bytes[..body])))
    }

    /// The encoding, as a payload item carries it.
    pub fn to_bytes(&self) -> Bytes {
        crate::codec::encode(self).into()
    }
}

/// Why a transaction that spent its nonce did nothing.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    BorshSerialize,
    BorshDeserialize,
    Serialize,
    Deserialize,
    thiserror::Error,
)]
#[serde(rename_all = "snake_case")]
pub enum Refusal {
    /// `expires` is before the commit's time.
    #[error("it expired before it was ordered")]
    Expired,
    /// `expires` is more than ten minutes after the commit's time.
    #[error("its expiry is too far ahead")]
    ExpiresTooLate,
    /// The client hasn't the right that the operation needs.
    #[error("the client hasn't the right to do this")]
    Unauthorised,
    /// The condition of a `compare_and_set` or `require` doesn't hold.
    #[error("the condition doesn't hold")]
    ConditionFailed,
    /// There is no such key.
    #[error("there is no such key")]
    NoSuchKey,
    /// There is no such namespace.
    #[error("there is no such namespace")]
    NoSuchNamespace,
    /// The namespace exists already.
    #[error("the namespace exists already")]
    NamespaceExists,
    /// The name isn't one that a client may use.
    #[error("not a name for a namespace: 1 to 64 of a-z 0-9 . - _, not beginning with _")]
    BadName,
    /// The client is registered already, or the key belongs to an account.
    #[error("the key belongs to an account already")]
    KeyInUse,
    /// There is no such client.
    #[error("there is no such client")]
    NoSuchClient,
    /// The new key didn't sign the rotation.
    #[error("the new key's signature is wrong")]
    BadRotation,
    /// A namespace has all the grants that it may have.
    #[error("the namespace has too many grants")]
    TooManyGrants,
    /// The values that the operations look at are larger together than a transaction may read.
    #[error("the transaction reads more than it may: split it")]
    ReadsTooMuch,
}

/// What became of a transaction: one leaf of a block's results.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct Outcome {
    /// The block's height.
    pub height: Height,
    /// Position in the block, from 0.
    pub index: u32,
    /// The transaction.
    pub transaction: TxId,
    /// None: executed. Else why not, and at which operation (none: the transaction as a whole).
    pub refused: Option<(Option<u32>, Refusal)>,
}

impl Outcome {
    /// The digest that the results root is built over.
    pub fn digest(&self) -> Digest {
        Domain::ResultsLeaf.hash_encoded(self)
    }
}
