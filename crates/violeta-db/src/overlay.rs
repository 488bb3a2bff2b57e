//! A block's changes over the state before it, and how a transaction's are taken back.
//!
//! ```text
//!   execution ── reads, writes ──▶ overlay: accounts · keys · namespaces {record, writes}
//!                                     │  miss                       ▲
//!                                     ▼                             │ rollback
//!                            state before the block          undo log of the transaction
//! ```
//!
//! Each record is read and decoded once a block, however many transactions touch it, and encoded once, when the block
//! ends. A transaction writes straight into the overlay and logs how to undo it; a refused one undoes its own steps,
//! last first, and leaves the overlay bit for bit as it was (a record that was touched and restored isn't written: its
//! "written at" must not move).
//!
//! Everything is ordered: the changes of a block come out in one order on every replica.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use borsh::BorshDeserialize;
use bytes::Bytes;
use violeta_proof::StoredValue;
use violeta_types::limits::{GRANTS_MAX, NAMESPACE_BYTES_MAX};
use violeta_types::transaction::{Right, Value};
use violeta_types::{ClientId, ClientPublicKey, Height};

use crate::error::DbError;
use crate::records::{
    ACCOUNTS, Account, KEYS, NAMESPACES, Namespace, read_record, read_stored, stored_record,
};
use crate::state::{ChangeSink, State};

/// A record as the block has it now.
#[derive(Clone)]
struct Slot<T> {
    value: Option<T>,
    /// Whether the block changed it.
    changed: bool,
}

/// What a block did to a key of a namespace.
enum Write {
    Put(Value),
    Gone,
}

/// A namespace as the block has it now.
struct NamespaceBody {
    record: Slot<Namespace>,
    /// Whether the keys of the state before are out of sight: it was dropped, or never there.
    fresh: bool,
    writes: BTreeMap<Bytes, Write>,
}

struct NamespaceState {
    /// Whether the state before has it.
    existed: bool,
    body: NamespaceBody,
}

/// Names a namespace that the overlay has loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct NamespaceIndex(usize);

enum Undo {
    Account(ClientId, Slot<Account>),
    Key(ClientPublicKey, Slot<ClientId>),
    Write(NamespaceIndex, Bytes, Option<Write>),
    Grant(NamespaceIndex, ClientId, Option<Right>, bool),
    Namespace(NamespaceIndex, NamespaceBody),
}

/// A block's changes so far.
pub(crate) struct Overlay<'a, S> {
    base: &'a S,
    height: Height,
    accounts: BTreeMap<ClientId, Slot<Account>>,
    keys: BTreeMap<ClientPublicKey, Slot<ClientId>>,
    names: BTreeMap<Bytes, NamespaceIndex>,
    namespaces: Vec<NamespaceState>,
    /// What was found below of keys that the block looked at: each is read once, however often it is looked at.
    found: BTreeMap<(NamespaceIndex, Bytes), Option<StoredValue>>,
    undo: Vec<Undo>,
    /// Bytes of values from below that the transaction looked at.
    read_bytes: usize,
    /// What the block read from below, the machine's own records too; never taken back.
    block_read_bytes: usize,
    /// No less than the bytes that the block will give out, keys and values; never taken back.
    written_bytes: usize,
}

/// What each change counts at least, however small: so that bytes bound the number of changes too.
pub(crate) const CHANGE_BYTES: usize = 64;
/// What each key that is looked up below counts at least, there or not.
pub(crate) const READ_BYTES: usize = 256;
/// No less than an account or the holder of a key takes.
const ACCOUNT_BYTES: usize = 256;
/// No less than a namespace's record and name take.
const NAMESPACE_BYTES: usize = NAMESPACE_BYTES_MAX + 64 + GRANTS_MAX * 33;

/// Who acts with a key.
pub(crate) enum Actor {
    /// The key acts for this client.
    Client(ClientId, Account),
    /// No account has ever had the key; it would found this client's.
    Stranger(ClientId),
    /// The key acted once, before it was rotated away.
    Retired,
}

impl<'a, S: State> Overlay<'a, S> {
    /// No changes yet to `base`, in the block of this height.
    pub(crate) fn new(base: &'a S, height: Height) -> Self {
        Overlay {
            base,
            height,
            accounts: BTreeMap::new(),
            keys: BTreeMap::new(),
            names: BTreeMap::new(),
            namespaces: Vec::new(),
            found: BTreeMap::new(),
            undo: Vec::new(),
            read_bytes: 0,
            block_read_bytes: 0,
            written_bytes: 0,
        }
    }

    // Transactions.

    /// Keeps what was done so far; what follows can be undone.
    pub(crate) fn begin(&mut self) {
        self.undo.clear();
        self.read_bytes = 0;
    }

    /// Undoes all since [`Overlay::begin`].
    pub(crate) fn rollback(&mut self) {
        while let Some(step) = self.undo.pop() {
            match step {
                Undo::Account(client, slot) => {
                    self.accounts.insert(client, slot);
                }
                Undo::Key(key, slot) => {
                    self.keys.insert(key, slot);
                }
                Undo::Write(at, key, before) => {
                    let writes = &mut self.namespaces[at.0].body.writes;
                    match before {
                        Some(write) => writes.insert(key, write),
                        None => writes.remove(&key),
                    };
                }
                Undo::Grant(at, client, before, changed) => {
                    let record = &mut self.namespaces[at.0].body.record;
                    record.changed = changed;
                    if let Some(namespace) = &mut record.value {
                        set_grant(namespace, client, before);
                    }
                }
                Undo::Namespace(at, body) => self.namespaces[at.0].body = body,
            }
        }
    }

    /// Bytes of values from below that the transaction looked at: each look counts, as if it were the first.
    pub(crate) fn read_bytes(&self) -> usize {
        self.read_bytes
    }

    /// A bound on the bytes that the block made the store read: values, accounts, keys that came by rotation, namespaces,
    /// each with its name, there or not. Of transactions that were undone or left no trace too. The overlay asks for each
    /// once a block, whatever is cached below: so all replicas count the same.
    pub(crate) fn block_read_bytes(&self) -> usize {
        self.block_read_bytes
    }

    /// A bound on the bytes that the block will give out. What was undone counts as well: cheap, and the same
    /// everywhere.
    pub(crate) fn written_bytes(&self) -> usize {
        self.written_bytes
    }

    // Accounts.

    /// The account of a client.
    pub(crate) fn account(&mut self, client: &ClientId) -> Result<Option<&Account>, DbError> {
        let slot = load(&mut self.accounts, *client, || {
            let read_bytes = &mut self.block_read_bytes;
            record_below(self.base, ACCOUNTS, client.as_ref(), read_bytes)
        })?;
        Ok(slot.value.as_ref())
    }

    /// Who acts with `key` now. A client's first key names it by digest; keys that came later are in `_keys`, for
    /// ever: so a key serves one client, and once it is rotated away nobody.
    pub(crate) fn actor(&mut self, key: &ClientPublicKey) -> Result<Actor, DbError> {
        let founder = key.client_id();
        let client = match self.account(&founder)? {
            Some(_) => Some(founder),
            None => self.holder(key)?,
        };
        let Some(client) = client else {
            return Ok(Actor::Stranger(founder));
        };
        Ok(match self.account(&client)? {
            Some(account) if account.key == *key => Actor::Client(client, account.clone()),
            _ => Actor::Retired,
        })
    }

    fn holder(&mut self, key: &ClientPublicKey) -> Result<Option<ClientId>, DbError> {
        let slot = load(&mut self.keys, *key, || {
            record_below(self.base, KEYS, &key.0, &mut self.block_read_bytes)
        })?;
        Ok(slot.value)
    }

    /// Sets a client's account.
    pub(crate) fn set_account(&mut self, client: ClientId, account: Account) {
        let slot = Slot {
            value: Some(account),
            changed: true,
        };
        self.written_bytes += ACCOUNT_BYTES;
        let before = self.accounts.insert(client, slot);
        assert!(before.is_some(), "an account is looked up before it is set");
        self.undo
            .extend(before.map(|slot| Undo::Account(client, slot)));
    }

    /// Notes that `key` came to `client` by rotation.
    pub(crate) fn set_holder(&mut self, key: ClientPublicKey, client: ClientId) {
        let slot = Slot {
            value: Some(client),
            changed: true,
        };
        self.written_bytes += ACCOUNT_BYTES;
        let before = self.keys.insert(key, slot);
        assert!(
            before.as_ref().is_some_and(|slot| slot.value.is_none()),
            "a key is looked up before it is set, and serves one client"
        );
        self.undo.extend(before.map(|slot| Undo::Key(key, slot)));
    }

    // Namespaces.

    /// The place of a namespace, there or not.
    pub(crate) fn find(&mut self, name: &Bytes) -> Result<NamespaceIndex, DbError> {
        if let Some(at) = self.names.get(name) {
            return Ok(*at);
        }
        let read_bytes = &mut self.block_read_bytes;
        let value: Option<Namespace> = record_below(self.base, NAMESPACES, name, read_bytes)?;
        let existed = value.is_some();
        let at = NamespaceIndex(self.namespaces.len());
        self.namespaces.push(NamespaceState {
            existed,
            body: NamespaceBody {
                record: Slot {
                    value,
                    changed: false,
                },
                fresh: !existed,
                writes: BTreeMap::new(),
            },
        });
        self.names.insert(name.clone(), at);
        Ok(at)
    }

    /// The namespace's record; none if there is no such namespace now.
    pub(crate) fn namespace(&self, at: NamespaceIndex) -> Option<&Namespace> {
        self.namespaces[at.0].body.record.value.as_ref()
    }

    /// Makes a namespace, empty; or, with none, drops it with all keys.
    pub(crate) fn set_namespace(&mut self, at: NamespaceIndex, record: Option<Namespace>) {
        let state = &mut self.namespaces[at.0];
        assert_ne!(
            state.body.record.value.is_some(),
            record.is_some(),
            "what is made wasn't there, what is dropped was"
        );
        let body = NamespaceBody {
            record: Slot {
                value: record,
                changed: true,
            },
            fresh: true,
            writes: BTreeMap::new(),
        };
        self.written_bytes += NAMESPACE_BYTES;
        let before = std::mem::replace(&mut state.body, body);
        self.undo.push(Undo::Namespace(at, before));
    }

    /// Sets or takes away a client's right in a namespace that is there. Without effect if that is what it has.
    pub(crate) fn set_right(&mut self, at: NamespaceIndex, client: ClientId, right: Option<Right>) {
        let slot = &mut self.namespaces[at.0].body.record;
        let Some(namespace) = &mut slot.value else {
            return;
        };
        let before = namespace.grants.get(&client).copied();
        if before == right {
            return;
        }
        set_grant(namespace, client, right);
        let undo = Undo::Grant(at, client, before, slot.changed);
        slot.changed = true;
        self.written_bytes += NAMESPACE_BYTES;
        self.undo.push(undo);
    }

    // Keys and values.

    /// What a key holds now.
    pub(crate) fn get(
        &mut self,
        at: NamespaceIndex,
        name: &[u8],
        key: &[u8],
    ) -> Result<Option<StoredValue>, DbError> {
        let body = &self.namespaces[at.0].body;
        match body.writes.get(key) {
            Some(Write::Put(value)) => {
                return Ok(Some(StoredValue {
                    written_at: self.height,
                    value: value.clone(),
                }));
            }
            Some(Write::Gone) => return Ok(None),
            None if body.fresh => return Ok(None),
            None => {}
        }
        let place = (at, Bytes::copy_from_slice(key));
        let found = match self.found.entry(place) {
            Entry::Occupied(found) => found.into_mut(),
            Entry::Vacant(place) => {
                let bytes = bytes_below(self.base, name, key, &mut self.block_read_bytes)?;
                let stored = bytes.map(|bytes| read_stored(name, key, &bytes));
                place.insert(stored.transpose()?)
            }
        };
        if let Some(stored) = found {
            self.read_bytes += StoredValue::HEADER_BYTES + stored.value.len();
        }
        Ok(found.clone())
    }

    /// Gives a key a value.
    pub(crate) fn put(&mut self, at: NamespaceIndex, key: Bytes, value: Value) {
        self.write(at, key, Write::Put(value));
    }

    /// Takes a key's value away.
    pub(crate) fn delete(&mut self, at: NamespaceIndex, key: Bytes) {
        self.write(at, key, Write::Gone);
    }

    fn write(&mut self, at: NamespaceIndex, key: Bytes, write: Write) {
        let body = &mut self.namespaces[at.0].body;
        debug_assert!(body.record.value.is_some(), "no such namespace");
        let value_bytes = match &write {
            Write::Put(value) => value.len(),
            Write::Gone => 0,
        };
        self.written_bytes += CHANGE_BYTES + key.len() + value_bytes;
        let before = body.writes.insert(key.clone(), write);
        self.undo.push(Undo::Write(at, key, before));
    }

    // The end of the block.

    /// Gives the block's changes out: records of the machine's own first, then the namespaces by name.
    pub(crate) fn finish(self, sink: &mut impl ChangeSink) {
        let height = self.height;
        for (client, slot) in changed(&self.accounts) {
            put_record(sink, ACCOUNTS, client.as_ref(), height, slot);
        }
        for (key, slot) in changed(&self.keys) {
            put_record(sink, KEYS, &key.0, height, slot);
        }
        for (name, at) in &self.names {
            let state = &self.namespaces[at.0];
            let made = state.body.record.value.is_some();
            if state.body.record.changed && (made || state.existed) {
                put_record(sink, NAMESPACES, name, height, &state.body.record);
            }
        }
        for (name, at) in &self.names {
            finish_namespace(name, &self.namespaces[at.0], height, sink);
        }
    }
}

fn finish_namespace(
    name: &[u8],
    state: &NamespaceState,
    height: Height,
    sink: &mut impl ChangeSink,
) {
    let NamespaceState { existed, body } = state;
    if *existed && body.fresh {
        sink.drop_space(name);
    }
    if body.record.value.is_none() {
        return;
    }
    if body.fresh {
        sink.create_space(name);
    }
    for (key, write) in &body.writes {
        match write {
            Write::Put(value) => sink.put(name, key, StoredValue::stored(height, value)),
            // In a fresh space there is nothing below to delete.
            Write::Gone if !body.fresh => sink.delete(name, key),
            Write::Gone => {}
        }
    }
}

fn set_grant(namespace: &mut Namespace, client: ClientId, right: Option<Right>) {
    match right {
        Some(right) => namespace.grants.insert(client, right),
        None => namespace.grants.remove(&client),
    };
}

fn changed<K, T>(slots: &BTreeMap<K, Slot<T>>) -> impl Iterator<Item = (&K, &Slot<T>)> {
    slots.iter().filter(|(_, slot)| slot.changed)
}

fn put_record<T: borsh::BorshSerialize>(
    sink: &mut impl ChangeSink,
    space: &[u8],
    key: &[u8],
    height: Height,
    slot: &Slot<T>,
) {
    match &slot.value {
        Some(record) => sink.put(space, key, stored_record(height, record)),
        None => sink.delete(space, key),
    }
}

fn load<K: Ord, T>(
    slots: &mut BTreeMap<K, Slot<T>>,
    key: K,
    below: impl FnOnce() -> Result<Option<T>, DbError>,
) -> Result<&mut Slot<T>, DbError> {
    Ok(match slots.entry(key) {
        Entry::Occupied(entry) => entry.into_mut(),
        Entry::Vacant(entry) => entry.insert(Slot {
            value: below()?,
            changed: false,
        }),
    })
}

/// Looks a key up in the state before the block. That costs, there or not: it is counted in `read_bytes`.
fn bytes_below<S: State>(
    base: &S,
    space: &[u8],
    key: &[u8],
    read_bytes: &mut usize,
) -> Result<Option<Bytes>, DbError> {
    let found = base.get(space, key)?;
    *read_bytes += READ_BYTES + key.len() + found.as_ref().map_or(0, Bytes::len);
    Ok(found)
}

fn record_below<S: State, T: BorshDeserialize>(
    base: &S,
    space: &[u8],
    key: &[u8],
    read_bytes: &mut usize,
) -> Result<Option<T>, DbError> {
    match bytes_below(base, space, key, read_bytes)? {
        Some(bytes) => read_record(space, key, &bytes).map(Some),
        None => Ok(None),
    }
}
