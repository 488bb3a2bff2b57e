//! Building transactions: a list of operations, within the protocol's limits.

use violeta_crypto::ClientSecretKey;
use violeta_types::limits::OPERATIONS_MAX;
use violeta_types::transaction::{Condition, Right, rotation_digest};
use violeta_types::{
    Blob, Bounded, ChainId, ClientId, ClientPublicKey, Nonce, Operation, TimeMs, Transaction,
    TransactionBody, TxId,
};

use crate::error::ClientError;

/// The operations of one transaction: all happen, or none.
///
/// ```
/// # use violeta_client::Operations;
/// let transfer = Operations::new()
///     .require("bank", "alice", violeta_types::transaction::Condition::Absent)?
///     .put("bank", "alice", "1000")?;
/// assert_eq!(transfer.len(), 2);
/// # Ok::<(), violeta_client::ClientError>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Operations(Vec<Operation>);

fn blob<const MAX: usize>(
    what: &'static str,
    bytes: impl AsRef<[u8]>,
) -> Result<Blob<MAX>, ClientError> {
    Blob::try_from(bytes.as_ref()).map_err(|e| {
        let (len, max) = (e.len, e.max);
        ClientError::Invalid(format!(
            "a {what} of {len} bytes, at most {max} are allowed"
        ))
    })
}

impl Operations {
    /// None. A transaction without operations is a barrier: it changes nothing and has its place in the order.
    pub fn new() -> Self {
        Self::default()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds any operation.
    ///
    /// # Errors
    /// If there are as many as may be.
    pub fn with(mut self, operation: Operation) -> Result<Self, ClientError> {
        if self.0.len() == OPERATIONS_MAX {
            let message = format!("more than {OPERATIONS_MAX} operations: split the transaction");
            return Err(ClientError::Invalid(message));
        }
        self.0.push(operation);
        Ok(self)
    }

    /// Gives a key a value.
    ///
    /// # Errors
    /// If a limit is exceeded.
    pub fn put(
        self,
        namespace: impl AsRef<[u8]>,
        key: impl AsRef<[u8]>,
        value: impl AsRef<[u8]>,
    ) -> Result<Self, ClientError> {
        self.with(Operation::Put {
            namespace: blob("namespace", namespace)?,
            key: blob("key", key)?,
            value: blob("value", value)?,
        })
    }

    /// Takes a key's value away; the transaction is refused if it has none.
    ///
    /// # Errors
    /// If a limit is exceeded.
    pub fn delete(
        self,
        namespace: impl AsRef<[u8]>,
        key: impl AsRef<[u8]>,
    ) -> Result<Self, ClientError> {
        self.with(Operation::Delete {
            namespace: blob("namespace", namespace)?,
            key: blob("key", key)?,
        })
    }

    /// Gives a key a value, or takes it away, if what is expected holds.
    ///
    /// # Errors
    /// If a limit is exceeded.
    pub fn compare_and_set(
        self,
        namespace: impl AsRef<[u8]>,
        key: impl AsRef<[u8]>,
        expected: Condition,
        value: Option<&[u8]>,
    ) -> Result<Self, ClientError> {
        self.with(Operation::CompareAndSet {
            namespace: blob("namespace", namespace)?,
            key: blob("key", key)?,
            expected,
            value: value.map(|value| blob("value", value)).transpose()?,
        })
    }

    /// Refuses the transaction unless a condition holds.
    ///
    /// # Errors
    /// If a limit is exceeded.
    pub fn require(
        self,
        namespace: impl AsRef<[u8]>,
        key: impl AsRef<[u8]>,
        condition: Condition,
    ) -> Result<Self, ClientError> {
        self.with(Operation::Require {
            namespace: blob("namespace", namespace)?,
            key: blob("key", key)?,
            condition,
        })
    }

    /// Makes a namespace that the client owns.
    ///
    /// # Errors
    /// If a limit is exceeded.
    pub fn create_namespace(self, namespace: impl AsRef<[u8]>) -> Result<Self, ClientError> {
        self.with(Operation::CreateNamespace {
            namespace: blob("namespace", namespace)?,
        })
    }

    /// Drops a namespace with all its keys.
    ///
    /// # Errors
    /// If a limit is exceeded.
    pub fn drop_namespace(self, namespace: impl AsRef<[u8]>) -> Result<Self, ClientError> {
        self.with(Operation::DropNamespace {
            namespace: blob("namespace", namespace)?,
        })
    }

    /// Gives a client a right in a namespace.
    ///
    /// # Errors
    /// If a limit is exceeded.
    pub fn grant(
        self,
        namespace: impl AsRef<[u8]>,
        client: ClientId,
        right: Right,
    ) -> Result<Self, ClientError> {
        self.with(Operation::Grant {
            namespace: blob("namespace", namespace)?,
            client,
            right,
        })
    }

    /// Takes a client's rights in a namespace away.
    ///
    /// # Errors
    /// If a limit is exceeded.
    pub fn revoke(
        self,
        namespace: impl AsRef<[u8]>,
        client: ClientId,
    ) -> Result<Self, ClientError> {
        self.with(Operation::Revoke {
            namespace: blob("namespace", namespace)?,
            client,
        })
    }

    /// Makes an account for a key.
    ///
    /// # Errors
    /// If a limit is exceeded.
    pub fn register_client(self, key: ClientPublicKey) -> Result<Self, ClientError> {
        self.with(Operation::RegisterClient { key })
    }

    /// Gives the account of `client` another key, which signs that it agrees.
    ///
    /// # Errors
    /// If a limit is exceeded.
    pub fn rotate_key(
        self,
        chain: &ChainId,
        client: &ClientId,
        key: &ClientSecretKey,
    ) -> Result<Self, ClientError> {
        let public = key.public_key();
        let proof = key.sign_rotation(&rotation_digest(chain, client, &public));
        self.with(Operation::RotateKey { key: public, proof })
    }

    pub(crate) fn bounded(self) -> Result<Bounded<Operation, OPERATIONS_MAX>, ClientError> {
        Bounded::try_from(self.0).map_err(|e| ClientError::Invalid(e.to_string()))
    }
}

/// A transaction that may leave: its nonce is durable.
#[derive(Clone, Debug)]
pub(crate) struct Signed {
    pub(crate) id: TxId,
    pub(crate) nonce: Nonce,
    pub(crate) expires: TimeMs,
    pub(crate) bytes: bytes::Bytes,
}

pub(crate) fn sign(
    key: &ClientSecretKey,
    chain: ChainId,
    nonce: Nonce,
    expires: TimeMs,
    operations: Bounded<Operation, OPERATIONS_MAX>,
) -> Signed {
    let body = TransactionBody {
        chain,
        key: key.public_key(),
        nonce,
        expires,
        operations,
    };
    let id = body.id();
    let signature = key.sign_transaction(&id);
    Signed {
        id,
        nonce,
        expires,
        bytes: Transaction { body, signature }.to_bytes(),
    }
}

/// Bytes of the transaction that these operations make.
pub(crate) fn encoded_len(operations: &Bounded<Operation, OPERATIONS_MAX>) -> usize {
    // Chain, key, nonce, expiry and signature have fixed lengths.
    32 + 32 + 8 + 8 + 64 + violeta_types::encode(operations).len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use violeta_types::limits::{KEY_BYTES_MAX, VALUE_BYTES_MAX};

    #[test]
    fn limits_are_told_before_anything_is_signed() {
        let key = vec![0; KEY_BYTES_MAX + 1];
        let error = Operations::new().put("n", key, "v").unwrap_err();
        assert!(error.to_string().contains("a key of 1025 bytes"), "{error}");
        let value = vec![0; VALUE_BYTES_MAX + 1];
        assert!(Operations::new().put("n", "k", value).is_err());
        let mut operations = Operations::new();
        for _ in 0..OPERATIONS_MAX {
            operations = operations.delete("n", "k").unwrap();
        }
        assert!(operations.delete("n", "k").is_err());
    }

    #[test]
    fn the_length_is_known_before_the_signature() {
        let key = ClientSecretKey::from_seed([1; 32]);
        let operations = Operations::new().put("n", "k", "v").unwrap();
        let operations = operations.delete("n", "l").unwrap().bounded().unwrap();
        let len = encoded_len(&operations);
        let signed = sign(&key, ChainId::default(), Nonce(1), TimeMs(2), operations);
        assert_eq!(signed.bytes.len(), len);
        let transaction = Transaction::decode(&signed.bytes).unwrap();
        assert_eq!(transaction.id(), signed.id);
        let key = key.public_key();
        violeta_crypto::signing::verify_transaction(&key, &signed.id, &transaction.signature)
            .unwrap();
    }
}
