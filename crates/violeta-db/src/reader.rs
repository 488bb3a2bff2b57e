//! Reads of the Database machine's state: wait-free, from immutable snapshots, on any thread (replica.md §7).
//!
//! A reader never waits for the machine, nor the machine for a reader. What it can say of a height: values, absence
//! and proofs in any space; the height's head, rebuilt from its state; accounts, namespaces, the keys of a space page
//! by page; a key's history. Certificates are the node's: they aren't part of the state.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use violeta_proof::StoredValue;
use violeta_proof::tree::TreeProof;
use violeta_types::{ChainId, ClientId, ClientPublicKey, Head, Height, Nonce};
use violeta_vlsm::{PageCursor, Snapshot, Store};

use crate::error::DbError;
use crate::genesis::GenesisState;
use crate::overlay::{Actor, Overlay};
use crate::records::{Account, NAMESPACES, Namespace, read_record, read_stored};
use crate::state::State;
use crate::view::{View, block_record};

/// Most entries of one page of keys or namespaces, and of one history.
pub const PAGE_MAX: usize = 1_000;

/// Which version a read is of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum At {
    /// The newest height that has a certificate, as far as this machine has got.
    #[default]
    Certified,
    /// The newest block executed here; its certificate may not have come yet, nor its sync to disk.
    Latest,
    /// This height.
    Height(Height),
}

/// A value as of a height, with the path that proves it.
#[derive(Clone, Debug)]
pub struct ProvedRead {
    /// The head of the version: what the path leads to, and what a certificate must vouch for.
    pub head: Head,
    /// The value, or none.
    pub value: Option<StoredValue>,
    /// From the value or its absence to the head's state root.
    pub tree: TreeProof,
}

/// One version of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistoryEntry {
    /// The block that changed it.
    pub height: Height,
    /// What it has been since; none if it was deleted.
    pub value: Option<Bytes>,
}

/// A part of a key's history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistoryPage {
    /// Newest first.
    pub versions: Vec<HistoryEntry>,
    /// The height from which to ask on; none if that was all.
    pub next: Option<Height>,
}

/// Some of a space's keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyPage {
    /// The height that was read.
    pub height: Height,
    /// The keys, in the order of their digests.
    pub keys: Vec<Bytes>,
    /// The key after which to ask on; none if that was all.
    pub next: Option<Bytes>,
}

/// An account as a client needs to know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountInfo {
    /// The client.
    pub client: ClientId,
    /// The key that acts for it now.
    pub key: ClientPublicKey,
    /// Whether it may register clients on a closed chain.
    pub administrator: bool,
    /// The highest nonce spent.
    pub highest_nonce: Nonce,
    /// The lowest nonce above all spent ones.
    pub next_nonce: Nonce,
}

impl AccountInfo {
    fn new(client: ClientId, account: &Account) -> Self {
        AccountInfo {
            client,
            key: account.key,
            administrator: account.administrator,
            highest_nonce: account.nonces.highest(),
            next_nonce: account.nonces.next(),
        }
    }
}

/// A namespace with the number of its keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamespaceInfo {
    /// Owner and grants.
    pub namespace: Namespace,
    /// Number of keys.
    pub keys: u64,
}

/// Reads the state. Cheap to clone.
#[derive(Clone)]
pub struct DbReader {
    chain: ChainId,
    store: Store,
    genesis: Arc<GenesisState>,
    certified: Arc<AtomicU64>,
}

impl DbReader {
    pub(crate) fn new(
        chain: ChainId,
        store: Store,
        genesis: Arc<GenesisState>,
        certified: Arc<AtomicU64>,
    ) -> Self {
        DbReader {
            chain,
            store,
            genesis,
            certified,
        }
    }

    /// The newest height executed here; 0 before the first block.
    pub fn latest_height(&self) -> Height {
        self.store.latest().version()
    }

    /// The newest height that has a certificate and was executed here.
    pub fn certified_height(&self) -> Height {
        let certified = Height(self.certified.load(Ordering::Acquire));
        certified.min(self.latest_height())
    }

    /// What a key of a namespace (or of a space of the machine's own) holds; none if there is no such key or space.
    ///
    /// # Errors
    /// If the height isn't there, or the store can't be read.
    pub fn get(
        &self,
        namespace: &[u8],
        key: &[u8],
        at: At,
    ) -> Result<(Height, Option<StoredValue>), DbError> {
        let view = self.view(at)?;
        let found = view.get(namespace, key)?;
        let value = found.map(|bytes| read_stored(namespace, key, &bytes));
        Ok((view.height(), value.transpose()?))
    }

    /// What a key holds, proved. The state of height 0 has no head, so nothing in it can be proved.
    ///
    /// # Errors
    /// If the height isn't there or is 0, or the store can't be read.
    pub fn prove(&self, namespace: &[u8], key: &[u8], at: At) -> Result<ProvedRead, DbError> {
        let snapshot = self.proving(at)?;
        let head = self.head_of(&snapshot)?;
        let (found, tree) = snapshot.prove(namespace, key)?;
        let value = found.map(|bytes| read_stored(namespace, key, &bytes));
        Ok(ProvedRead {
            head,
            value: value.transpose()?,
            tree,
        })
    }

    /// The head of a height, from 1, rebuilt from its state.
    ///
    /// # Errors
    /// If the height isn't there or is 0, or the store can't be read.
    pub fn head(&self, height: Height) -> Result<Head, DbError> {
        self.head_of(&self.proving(At::Height(height))?)
    }

    /// The versions of a key up to `from` (none: the newest), newest first: at most `limit` and [`PAGE_MAX`], and as
    /// many as a bounded search finds.
    ///
    /// # Errors
    /// If the store can't be read.
    pub fn history(
        &self,
        namespace: &[u8],
        key: &[u8],
        from: Option<Height>,
        limit: usize,
    ) -> Result<HistoryPage, DbError> {
        let limit = limit.min(PAGE_MAX);
        let history = self.store.history(namespace, key, from, limit)?;
        let mut versions = Vec::with_capacity(history.changes.len());
        for (height, bytes) in history.changes {
            let stored = bytes.map(|bytes| read_stored(namespace, key, &bytes));
            let value = stored.transpose()?.map(|stored| stored.value.into_inner());
            versions.push(HistoryEntry { height, value });
        }
        let next = history.next;
        Ok(HistoryPage { versions, next })
    }

    /// A client's account, after the newest block executed here.
    ///
    /// # Errors
    /// If the store can't be read.
    pub fn account(&self, client: &ClientId) -> Result<Option<AccountInfo>, DbError> {
        let view = self.view(At::Latest)?;
        let mut overlay = Overlay::new(&view, view.height());
        let account = overlay.account(client)?;
        Ok(account.map(|account| AccountInfo::new(*client, account)))
    }

    /// The account that a key acts for now, after the newest block executed here.
    ///
    /// # Errors
    /// If the store can't be read.
    pub fn account_of_key(&self, key: &ClientPublicKey) -> Result<Option<AccountInfo>, DbError> {
        let view = self.view(At::Latest)?;
        Ok(match Overlay::new(&view, view.height()).actor(key)? {
            Actor::Client(client, account) => Some(AccountInfo::new(client, &account)),
            Actor::Stranger(_) | Actor::Retired => None,
        })
    }

    /// A namespace's owner, grants and number of keys.
    ///
    /// # Errors
    /// If the height isn't there, or the store can't be read.
    pub fn namespace(&self, name: &[u8], at: At) -> Result<Option<NamespaceInfo>, DbError> {
        let view = self.view(at)?;
        let Some(bytes) = view.get(NAMESPACES, name)? else {
            return Ok(None);
        };
        Ok(Some(NamespaceInfo {
            namespace: read_record(NAMESPACES, name, &bytes)?,
            keys: match view.snapshot() {
                Some(snapshot) => snapshot.count(name)?.unwrap_or(0),
                None => 0,
            },
        }))
    }

    /// The keys of a space, in the order of their digests, from the one after `after` on: at most `limit` and
    /// [`PAGE_MAX`]. None if there is no such space.
    ///
    /// # Errors
    /// If the height isn't there, or the store can't be read.
    pub fn keys(
        &self,
        namespace: &[u8],
        after: Option<&[u8]>,
        limit: usize,
        at: At,
    ) -> Result<Option<KeyPage>, DbError> {
        let view = self.view(at)?;
        let Some(snapshot) = view.snapshot() else {
            return Ok(None);
        };
        if snapshot.space(namespace)?.is_none() {
            return Ok(None);
        }
        let after = after.map(PageCursor::after);
        let page = snapshot.entries(namespace, after, limit.min(PAGE_MAX))?;
        let keys: Vec<Bytes> = page.items.into_iter().map(|(key, _)| key).collect();
        let next = keys.last().filter(|_| page.next.is_some()).cloned();
        Ok(Some(KeyPage {
            height: view.height(),
            keys,
            next,
        }))
    }

    pub(crate) fn head_of(&self, snapshot: &Snapshot) -> Result<Head, DbError> {
        let record = block_record(snapshot)?;
        Ok(record.head(self.chain, snapshot.version(), snapshot.root()))
    }

    fn view(&self, at: At) -> Result<View<'_>, DbError> {
        let latest = self.store.latest();
        let height = match at {
            At::Latest => return Ok(View::new(latest, &self.genesis)),
            At::Certified => self.certified_height(),
            At::Height(height) => height,
        };
        if height > latest.version() {
            return Err(DbError::Future {
                asked: height,
                latest: latest.version(),
            });
        }
        match height {
            Height(0) => Ok(View::genesis(&self.genesis)),
            _ => Ok(View::new(self.store.snapshot(height)?, &self.genesis)),
        }
    }

    pub(crate) fn proving(&self, at: At) -> Result<Snapshot, DbError> {
        let view = self.view(at)?;
        view.snapshot().cloned().ok_or(DbError::NoHead)
    }
}
