//! Executing transactions: who may act, exactly once, all or nothing (replica.md §1).
//!
//! ```text
//!   item ─▶ decode ─▶ whose key? ─▶ nonce free? ─▶ spend it ─▶ expiry ─▶ operations ─▶ outcome
//!             │           │             │                        │           │
//!             └───────────┴─────────────┘                        └───────────┘
//!                  leaves no trace                          recorded refusal: nothing else of
//!                                                           the transaction happens
//! ```
//!
//! - *What can't spend a nonce leaves no trace*: a key without an account (on a closed chain), a key that was rotated
//!   away, a nonce used or outside the window. Nothing is written, the block doesn't hold it.
//! - *Everything else spends it and is recorded once*, refused or not. The nonce stays spent when the rest is undone.
//! - On an open chain a key without an account founds one with its first transaction that lies in a new account's
//!   window, whatever becomes of that transaction: else its refusal could be recorded twice.
//! - A block records a bounded number of transactions, and reads and writes a bounded number of bytes. What a commit holds beyond
//!   that leaves no trace and spends no nonce: it can be submitted again.
//! - Operations run in order, each seeing what those before it did; the first that fails names itself.
//!
//! Pure: the same items over the same state give the same outcomes and changes on every replica. What the store can't
//! read is a fault, never a refusal: replicas must not differ because a disk does.

use bytes::Bytes;
use violeta_crypto::signing::verify_rotation;
use violeta_types::limits::{EXPIRY_AHEAD_MS_MAX, GRANTS_MAX, TRANSACTION_READ_BYTES_MAX};
use violeta_types::transaction::{Condition, Key, NamespaceName, Value, rotation_digest};
use violeta_types::{
    Admission, ChainId, ClientId, ClientPublicKey, ClientSignature, Height, Operation, Outcome,
    Refusal, TimeMs, Transaction, TransactionBody,
};

use crate::error::DbError;
use crate::overlay::{Actor, NamespaceIndex, Overlay};
use crate::records::{Account, Namespace, is_client_name};
use crate::state::{ChangeSink, State};

/// What a block's transactions are executed under.
#[derive(Clone, Copy, Debug)]
pub struct BlockContext {
    /// The chain.
    pub chain: ChainId,
    /// Who may become a client.
    pub admission: Admission,
    /// The block's height.
    pub height: Height,
    /// The commit's time.
    pub time: TimeMs,
    /// Most transactions that the block may record.
    pub outcomes_max: usize,
    /// Bytes that a block may write before it records no more, its last transaction aside.
    pub written_bytes_max: usize,
    /// Bytes that a block may read before it records no more, its last transaction aside.
    pub read_bytes_max: usize,
}

/// The execution of one block.
pub struct Execution<'a, S> {
    context: BlockContext,
    overlay: Overlay<'a, S>,
    outcomes: Vec<Outcome>,
}

/// Why an operation ended without having been done.
enum Stop {
    /// As any replica would have it.
    Refused(Refusal),
    /// This replica can't go on.
    Fault(DbError),
}

impl From<Refusal> for Stop {
    fn from(refusal: Refusal) -> Self {
        Stop::Refused(refusal)
    }
}

impl From<DbError> for Stop {
    fn from(fault: DbError) -> Self {
        Stop::Fault(fault)
    }
}

type Done = Result<(), Stop>;

fn ensure(holds: bool, refusal: Refusal) -> Done {
    match holds {
        true => Ok(()),
        false => Err(Stop::Refused(refusal)),
    }
}

impl<'a, S: State> Execution<'a, S> {
    /// Begins a block over `state`.
    pub fn new(context: BlockContext, state: &'a S) -> Self {
        Execution {
            context,
            overlay: Overlay::new(state, context.height),
            outcomes: Vec::new(),
        }
    }

    /// What became of the recorded transactions so far, in order.
    pub fn outcomes(&self) -> &[Outcome] {
        &self.outcomes
    }

    /// Executes one client item.
    ///
    /// # Errors
    /// If the state can't be read: the block must be given up.
    pub fn execute(&mut self, item: &Bytes) -> Result<(), DbError> {
        if self.is_full() {
            return Ok(());
        }
        // An item that `Rules` would refuse can only come with commits that a quorum vouched for; nothing is done.
        let (Ok(transaction), Some(id)) =
            (Transaction::decode(item), Transaction::id_of_encoded(item))
        else {
            return Ok(());
        };
        if transaction.body.chain != self.context.chain {
            return Ok(());
        }
        let Some(client) = self.spend_nonce(&transaction.body)? else {
            return Ok(());
        };
        self.overlay.begin();
        let refused = self.perform(&client, transaction.body)?;
        if refused.is_some() {
            self.overlay.rollback();
        }
        self.outcomes.push(Outcome {
            height: self.context.height,
            index: self.outcomes.len() as u32,
            transaction: id,
            refused,
        });
        Ok(())
    }

    /// Whether the block has no room for another transaction.
    fn is_full(&self) -> bool {
        self.outcomes.len() >= self.context.outcomes_max
            || self.overlay.written_bytes() > self.context.written_bytes_max
            || self.overlay.block_read_bytes() > self.context.read_bytes_max
    }

    /// Ends the block: its outcomes, and its changes into `sink`.
    pub fn finish(self, sink: &mut impl ChangeSink) -> Vec<Outcome> {
        self.overlay.finish(sink);
        self.outcomes
    }

    /// Spends the transaction's nonce and says which client acts; none if it can't be spent.
    fn spend_nonce(&mut self, body: &TransactionBody) -> Result<Option<ClientId>, DbError> {
        let (client, mut account) = match self.overlay.actor(&body.key)? {
            Actor::Client(client, account) => (client, account),
            Actor::Stranger(client) if self.context.admission == Admission::Open => {
                (client, Account::new(body.key))
            }
            Actor::Stranger(_) | Actor::Retired => return Ok(None),
        };
        if account.nonces.spend(body.nonce).is_err() {
            return Ok(None);
        }
        self.overlay.set_account(client, account);
        Ok(Some(client))
    }

    /// Does all of it, or says what was refused.
    fn perform(
        &mut self,
        client: &ClientId,
        body: TransactionBody,
    ) -> Result<Option<(Option<u32>, Refusal)>, DbError> {
        if body.expires < self.context.time {
            return Ok(Some((None, Refusal::Expired)));
        }
        if body.expires.0 > self.context.time.0.saturating_add(EXPIRY_AHEAD_MS_MAX) {
            return Ok(Some((None, Refusal::ExpiresTooLate)));
        }
        for (index, operation) in (0..).zip(body.operations) {
            match self.operation(client, operation) {
                Ok(()) => {}
                Err(Stop::Refused(refusal)) => return Ok(Some((Some(index), refusal))),
                Err(Stop::Fault(fault)) => return Err(fault),
            }
        }
        Ok(None)
    }

    fn operation(&mut self, client: &ClientId, operation: Operation) -> Done {
        match operation {
            Operation::Put {
                namespace,
                key,
                value,
            } => {
                let at = self.writable(client, &namespace)?;
                self.overlay.put(at, key.into_inner(), value);
                Ok(())
            }
            Operation::Delete { namespace, key } => {
                let at = self.writable(client, &namespace)?;
                let there = self.get(at, &namespace, &key)?.is_some();
                ensure(there, Refusal::NoSuchKey)?;
                self.overlay.delete(at, key.into_inner());
                Ok(())
            }
            Operation::CompareAndSet {
                namespace,
                key,
                expected,
                value,
            } => {
                let at = self.writable(client, &namespace)?;
                self.compare_and_set(at, &namespace, key, &expected, value)
            }
            Operation::Require {
                namespace,
                key,
                condition,
            } => {
                // Reading is public: no right is needed.
                let at = self.existing(&namespace)?;
                let found = self.get(at, &namespace, &key)?;
                ensure(holds(&condition, found.as_ref()), Refusal::ConditionFailed)
            }
            Operation::CreateNamespace { namespace } => self.create(client, &namespace),
            Operation::DropNamespace { namespace } => {
                let at = self.existing(&namespace)?;
                self.authorise(at, |n| n.may_drop(client))?;
                self.overlay.set_namespace(at, None);
                Ok(())
            }
            Operation::Grant {
                namespace,
                client: to,
                right,
            } => {
                let at = self.existing(&namespace)?;
                self.authorise(at, |n| n.may_grant(client, &to, right))?;
                self.registered(&to)?;
                let grants = self.overlay.namespace(at).map(|n| &n.grants);
                let room = grants.is_some_and(|g| g.len() < GRANTS_MAX || g.contains_key(&to));
                ensure(room, Refusal::TooManyGrants)?;
                self.overlay.set_right(at, to, Some(right));
                Ok(())
            }
            Operation::Revoke {
                namespace,
                client: from,
            } => {
                let at = self.existing(&namespace)?;
                self.authorise(at, |n| n.may_revoke(client, &from))?;
                self.registered(&from)?;
                self.overlay.set_right(at, from, None);
                Ok(())
            }
            Operation::RegisterClient { key } => self.register(client, key),
            Operation::RotateKey { key, proof } => self.rotate(client, key, &proof),
        }
    }

    // Namespaces.

    /// The place of a namespace that is there.
    fn existing(&mut self, name: &NamespaceName) -> Result<NamespaceIndex, Stop> {
        let at = self.overlay.find(name.bytes())?;
        if self.overlay.namespace(at).is_none() {
            ensure(is_client_name(name), Refusal::BadName)?;
            return Err(Refusal::NoSuchNamespace.into());
        }
        Ok(at)
    }

    /// The place of a namespace that the client may write to.
    fn writable(
        &mut self,
        client: &ClientId,
        name: &NamespaceName,
    ) -> Result<NamespaceIndex, Stop> {
        let at = self.existing(name)?;
        self.authorise(at, |n| n.may_write(client))?;
        Ok(at)
    }

    fn authorise(&self, at: NamespaceIndex, may: impl Fn(&Namespace) -> bool) -> Done {
        let may = self.overlay.namespace(at).is_some_and(may);
        ensure(may, Refusal::Unauthorised)
    }

    fn create(&mut self, client: &ClientId, name: &NamespaceName) -> Done {
        ensure(is_client_name(name), Refusal::BadName)?;
        let at = self.overlay.find(name.bytes())?;
        ensure(
            self.overlay.namespace(at).is_none(),
            Refusal::NamespaceExists,
        )?;
        self.overlay
            .set_namespace(at, Some(Namespace::new(*client)));
        Ok(())
    }

    // Keys and values.

    fn get(
        &mut self,
        at: NamespaceIndex,
        namespace: &NamespaceName,
        key: &Key,
    ) -> Result<Option<violeta_proof::StoredValue>, Stop> {
        // Judged before reading: the value that goes over the limit is the last one.
        let within = self.overlay.read_bytes() <= TRANSACTION_READ_BYTES_MAX;
        ensure(within, Refusal::ReadsTooMuch)?;
        Ok(self.overlay.get(at, namespace, key)?)
    }

    fn compare_and_set(
        &mut self,
        at: NamespaceIndex,
        namespace: &NamespaceName,
        key: Key,
        expected: &Condition,
        value: Option<Value>,
    ) -> Done {
        let found = self.get(at, namespace, &key)?;
        ensure(holds(expected, found.as_ref()), Refusal::ConditionFailed)?;
        match value {
            Some(value) => self.overlay.put(at, key.into_inner(), value),
            None if found.is_some() => self.overlay.delete(at, key.into_inner()),
            // Expected absent, and to be absent: so it is.
            None => {}
        }
        Ok(())
    }

    // Accounts.

    fn registered(&mut self, client: &ClientId) -> Done {
        let there = self.overlay.account(client)?.is_some();
        ensure(there, Refusal::NoSuchClient)
    }

    /// The client that a key which never acted would found.
    fn unused(&mut self, key: &ClientPublicKey) -> Result<ClientId, Stop> {
        match self.overlay.actor(key)? {
            Actor::Stranger(client) => Ok(client),
            Actor::Client(..) | Actor::Retired => Err(Refusal::KeyInUse.into()),
        }
    }

    fn register(&mut self, client: &ClientId, key: ClientPublicKey) -> Done {
        if self.context.admission == Admission::Closed {
            let account = self.overlay.account(client)?;
            let may = account.is_some_and(|account| account.administrator);
            ensure(may, Refusal::Unauthorised)?;
        }
        let registered = self.unused(&key)?;
        self.overlay.set_account(registered, Account::new(key));
        Ok(())
    }

    fn rotate(&mut self, client: &ClientId, key: ClientPublicKey, proof: &ClientSignature) -> Done {
        self.unused(&key)?;
        let digest = rotation_digest(&self.context.chain, client, &key);
        ensure(
            verify_rotation(&key, &digest, proof).is_ok(),
            Refusal::BadRotation,
        )?;
        let account = self.overlay.account(client)?.cloned();
        let account = account.ok_or(Refusal::NoSuchClient)?;
        self.overlay
            .set_account(*client, Account { key, ..account });
        self.overlay.set_holder(key, *client);
        Ok(())
    }
}

/// Whether a condition holds of what a key has.
fn holds(condition: &Condition, found: Option<&violeta_proof::StoredValue>) -> bool {
    match (condition, found) {
        (Condition::Absent, found) => found.is_none(),
        (Condition::Value(value), Some(found)) => *value == found.value,
        (Condition::WrittenAt(height), Some(found)) => *height == found.written_at,
        (Condition::Value(_) | Condition::WrittenAt(_), None) => false,
    }
}

#[cfg(test)]
mod tests;
