//! The LMDB environment behind the index.

use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{PoisonError, RwLock};

use heed::types::Bytes as Raw;
use heed::{Database, Env, EnvFlags, EnvOpenOptions, MdbError, RoTxn, RwTxn, WithoutTls};
use violeta_types::api::{ChainEvent, Cursor};
use violeta_types::merkle::{HISTORY, Perfect};
use violeta_types::{ChainId, CommitIndex, Digest, Head, Height, TxId, VertexId, decode};

use super::damage::{self, Damage};
use super::entry::Entry;
use crate::files::{self, FileError};

/// Bytes of the map at first; sparse.
const MAP_BYTES_MIN: usize = 1 << 30;
/// Bytes that the map never exceeds: the address space isn't endless.
const MAP_BYTES_MAX: usize = 1 << 44;
/// Changing what the tables mean changes this: an index of another format is made anew.
const FORMAT: u64 = 2;
/// Readers at once: gateways read on the runtime's blocking threads.
const READERS_MAX: u32 = 1_024;
/// Bytes of an id that the tables keep.
const PREFIX: usize = 16;

/// Why the index can't answer, or be written.
#[derive(Debug, thiserror::Error)]
pub enum IndexError {
    /// LMDB failed.
    #[error("the index at {}: {source}; if this goes on, stop the node and remove this directory: it is made anew", path.display())]
    Lmdb {
        /// Its directory.
        path: PathBuf,
        /// What LMDB says.
        source: heed::Error,
    },
    /// Its files can't be used.
    #[error(transparent)]
    File(#[from] FileError),
    /// What it holds isn't what it should be.
    #[error("the index at {} is damaged: {what}; start the node again: the index is made anew from the journal", path.display())]
    Damaged {
        /// Its directory.
        path: PathBuf,
        /// What was found.
        what: String,
    },
    /// The node has stopped.
    #[error("the node has stopped")]
    Closed,
}

/// How far an index has got.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Meta {
    /// Complete up to this position of the journal.
    pub high: u64,
    /// The newest event.
    pub event: Cursor,
    /// The newest block.
    pub height: Height,
    /// The newest certified head's height.
    pub certified: Height,
    /// The newest seal's height.
    pub sealed: Height,
}

/// An index that was opened.
pub struct Opened {
    /// The index.
    pub index: Index,
    /// Why it was made anew, if it was.
    pub made_anew: Option<&'static str>,
}

/// See the [module](super).
pub struct Index {
    path: PathBuf,
    damage: Damage,
    index_transactions: bool,
    /// Held for reading by every transaction, for writing to resize or to close.
    tables: RwLock<Option<Tables>>,
    /// The newest block that readers can find here.
    height: AtomicU64,
}

type Table = Database<Raw, Raw>;

struct Tables {
    env: Env<WithoutTls>,
    meta: Table,
    vertices: Table,
    commits: Table,
    blocks: Table,
    certified: Table,
    vouched: Table,
    seals: Table,
    transactions: Table,
    events: Table,
    /// Perfect subtrees of the tree over all heads.
    history: Table,
}

impl Index {
    /// Opens the index in `path`, or makes it anew: if it isn't this chain's, was left by a machine that died, or knows of
    /// more than the journal, which ends at `journal_end`.
    ///
    /// # Errors
    /// If it can't be made anew either.
    pub fn open(
        path: &Path,
        chain: &ChainId,
        journal_end: u64,
        index_transactions: bool,
    ) -> Result<Opened, IndexError> {
        files::create_directory(path, 0o700)?;
        let boot = damage::boot_id();
        let made_anew = match Self::try_open(path, chain, journal_end, index_transactions, &boot) {
            Ok(index) => {
                return Ok(Opened {
                    index,
                    made_anew: None,
                });
            }
            Err(reason) => reason,
        };
        std::fs::remove_dir_all(path).map_err(|e| FileError::io("remove", path, e))?;
        files::create_directory(path, 0o700)?;
        let tables = Tables::open(path).map_err(|e| lmdb(path, e))?;
        let index = Index::new(path, tables, index_transactions);
        index.write(|tables, txn| {
            tables.meta.put(txn, b"format", &FORMAT.to_be_bytes())?;
            tables.meta.put(txn, b"chain", chain.as_ref())?;
            let switch = [u8::from(index_transactions)];
            tables.meta.put(txn, b"transactions", &switch)
        })?;
        damage::mark(path, &boot)?;
        Ok(Opened {
            index,
            made_anew: Some(made_anew),
        })
    }

    fn try_open(
        path: &Path,
        chain: &ChainId,
        journal_end: u64,
        index_transactions: bool,
        boot: &str,
    ) -> Result<Index, &'static str> {
        if !path.join("data.mdb").exists() {
            return Err("there is none");
        }
        damage::trusted(path, boot)?;
        let tables = Tables::open(path).map_err(|_| "it can't be opened")?;
        let index = Index::new(path, tables, index_transactions);
        let check = |tables: &Tables, txn: &RoTxn<'_, WithoutTls>| {
            let get = |key: &[u8]| tables.meta.get(txn, key);
            let format = get(b"format")? == Some(&FORMAT.to_be_bytes()[..]);
            let same_chain = get(b"chain")? == Some(chain.as_ref());
            let same_tables = get(b"transactions")? == Some(&[u8::from(index_transactions)][..]);
            Ok((format, same_chain, same_tables))
        };
        let checked = index.read(check).map_err(|_| "it can't be read");
        let meta = index.meta().map_err(|_| "it is damaged");
        let verdict = match (checked, meta) {
            (Err(reason), _) | (_, Err(reason)) => Err(reason),
            (Ok((false, ..)), _) => Err("it is of another format"),
            (Ok((_, false, _)), _) => Err("it is of another chain"),
            (Ok((.., false)), _) => Err("tuning.index_transactions was changed"),
            (_, Ok(meta)) if meta.high > journal_end => Err("it knows of more than the journal"),
            (_, Ok(meta)) => Ok(meta),
        };
        let marked = verdict.and_then(|meta| {
            damage::mark(path, boot)
                .map(|()| meta)
                .map_err(|_| "it can't be marked as open")
        });
        match marked {
            Ok(meta) => {
                index.height.store(meta.height.0, Ordering::Release);
                Ok(index)
            }
            Err(reason) => {
                index.shut();
                Err(reason)
            }
        }
    }

    fn new(path: &Path, tables: Tables, index_transactions: bool) -> Self {
        Index {
            path: path.to_owned(),
            damage: Damage::none(path),
            index_transactions,
            tables: RwLock::new(Some(tables)),
            height: AtomicU64::new(0),
        }
    }

    /// Calls this when the index finds itself damaged: once, with the reason. It is of no use then.
    pub fn on_damage(&self, alarm: impl Fn(&str) + Send + Sync + 'static) {
        self.damage.on_damage(Box::new(alarm));
    }

    /// Syncs and closes the index. What is asked of it afterwards is an error.
    ///
    /// # Errors
    /// If it can't be synced; it is closed all the same, and made anew when it is opened next.
    pub fn close(&self) -> Result<(), IndexError> {
        let synced = self.with(|tables| tables.env.force_sync());
        if self.shut() && synced.is_ok() {
            self.damage.closed()?;
        }
        synced
    }

    /// Waits for readers and closes; says whether it was open.
    fn shut(&self) -> bool {
        let tables = self
            .tables
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        match tables {
            Some(tables) => {
                tables.env.prepare_for_closing().wait();
                true
            }
            None => false,
        }
    }

    fn with<T>(&self, f: impl FnOnce(&Tables) -> heed::Result<T>) -> Result<T, IndexError> {
        let tables = self.tables.read().unwrap_or_else(PoisonError::into_inner);
        let tables = tables.as_ref().ok_or(IndexError::Closed)?;
        f(tables).map_err(|e| match damage::is_damage(&e) {
            true => self.damage.found(&e.to_string()),
            false => lmdb(&self.path, e),
        })
    }

    fn read<T>(
        &self,
        f: impl FnOnce(&Tables, &RoTxn<'_, WithoutTls>) -> heed::Result<T>,
    ) -> Result<T, IndexError> {
        self.with(|tables| {
            let txn = tables.env.read_txn()?;
            f(tables, &txn)
        })
    }

    /// Runs a write transaction; grows the map and runs it again if it is full.
    fn write<T>(
        &self,
        f: impl Fn(&Tables, &mut RwTxn<'_>) -> heed::Result<T>,
    ) -> Result<T, IndexError> {
        loop {
            let written = self.with(|tables| {
                let mut txn = tables.env.write_txn()?;
                let value = f(tables, &mut txn)?;
                txn.commit()?;
                Ok(value)
            });
            match written {
                Err(IndexError::Lmdb {
                    source: heed::Error::Mdb(MdbError::MapFull),
                    ..
                }) => self.grow()?,
                other => return other,
            }
        }
    }

    fn grow(&self) -> Result<(), IndexError> {
        let guard = self.tables.write().unwrap_or_else(PoisonError::into_inner);
        let tables = guard.as_ref().ok_or(IndexError::Closed)?;
        let size = tables.env.info().map_size.saturating_mul(2);
        if size > MAP_BYTES_MAX {
            let source = heed::Error::Mdb(MdbError::MapFull);
            return Err(lmdb(&self.path, source));
        }
        tables.resize(size).map_err(|e| lmdb(&self.path, e))
    }

    /// Adds what `entries` say, and moves "high" to `high`: in one transaction.
    ///
    /// # Errors
    /// If LMDB says no; then nothing was added.
    pub fn apply(&self, entries: &[(u64, Entry)], meta: &Meta) -> Result<(), IndexError> {
        // Sorted, so that neighbours land in one page.
        let mut transactions = Vec::new();
        if self.index_transactions {
            for block in entries.iter().filter_map(|(_, entry)| entry.block()) {
                transactions.extend(block.outcomes.iter().map(|outcome| {
                    let key = prefix(&outcome.transaction.0.0);
                    (key, pair(outcome.height.0, outcome.index))
                }));
            }
            transactions.sort_unstable();
        }
        self.write(|tables, txn| {
            for (position, entry) in entries {
                tables.put(txn, *position, entry)?;
            }
            for (key, place) in &transactions {
                tables.transactions.put(txn, key, place)?;
            }
            tables.put_meta(txn, meta)
        })?;
        self.height.store(meta.height.0, Ordering::Release);
        Ok(())
    }

    /// The newest block that can be found here.
    pub fn height(&self) -> Height {
        Height(self.height.load(Ordering::Acquire))
    }

    /// How far the index has got.
    ///
    /// # Errors
    /// If LMDB says no.
    pub fn meta(&self) -> Result<Meta, IndexError> {
        self.read(|tables, txn| {
            let number = |key: &[u8]| -> heed::Result<u64> {
                Ok(tables.meta.get(txn, key)?.and_then(number).unwrap_or(0))
            };
            Ok(Meta {
                high: number(b"high")?,
                event: Cursor {
                    height: Height(number(b"event height")?),
                    sequence: number(b"event sequence")?,
                },
                height: Height(number(b"height")?),
                certified: Height(number(b"certified")?),
                sealed: Height(number(b"sealed")?),
            })
        })
    }

    fn position(
        &self,
        table: impl FnOnce(&Tables) -> &Table,
        key: &[u8],
    ) -> Result<Option<u64>, IndexError> {
        self.read(|tables, txn| {
            let value = table(tables).get(txn, key)?;
            Ok(value.and_then(|v| number(v.get(..8)?)))
        })
    }

    /// Where a vertex is. The id was cut: compare it with what is there.
    ///
    /// # Errors
    /// If LMDB says no.
    pub fn vertex(&self, id: &VertexId) -> Result<Option<u64>, IndexError> {
        self.position(|t| &t.vertices, &prefix(&id.0.0))
    }

    /// Where a commit's record is.
    ///
    /// # Errors
    /// If LMDB says no.
    pub fn commit(&self, index: CommitIndex) -> Result<Option<u64>, IndexError> {
        self.position(|t| &t.commits, &index.0.to_be_bytes())
    }

    /// Where a block's record is.
    ///
    /// # Errors
    /// If LMDB says no.
    pub fn block(&self, height: Height) -> Result<Option<u64>, IndexError> {
        self.position(|t| &t.blocks, &height.0.to_be_bytes())
    }

    /// A block's head.
    ///
    /// # Errors
    /// If LMDB says no, or what is there isn't a head.
    pub fn head(&self, height: Height) -> Result<Option<Head>, IndexError> {
        let found = self.read(|tables, txn| {
            let value = tables.blocks.get(txn, &height.0.to_be_bytes())?;
            Ok(value.and_then(|v| v.get(8..)).map(decode::<Head>))
        })?;
        found
            .transpose()
            .map_err(|_| self.damage.found("a head that isn't one"))
    }

    /// Where the certified head at a height is.
    ///
    /// # Errors
    /// If LMDB says no.
    pub fn certified(&self, height: Height) -> Result<Option<u64>, IndexError> {
        self.position(|t| &t.certified, &height.0.to_be_bytes())
    }

    /// Where the lowest certified head at or above a height is.
    ///
    /// # Errors
    /// If LMDB says no.
    pub fn certified_from(&self, height: Height) -> Result<Option<(Height, u64)>, IndexError> {
        self.first_from(|t| &t.certified, height.0)
            .map(|found| found.map(|(height, position)| (Height(height), position)))
    }

    /// The lowest commit at or after `index` whose block has a certificate here, and the block's height.
    ///
    /// # Errors
    /// If LMDB says no.
    pub fn vouched_from(
        &self,
        index: CommitIndex,
    ) -> Result<Option<(CommitIndex, Height)>, IndexError> {
        self.first_from(|t| &t.vouched, index.0)
            .map(|found| found.map(|(index, height)| (CommitIndex(index), Height(height))))
    }

    /// The highest commit at or before `index` whose block has a certificate here, and the block's height.
    ///
    /// # Errors
    /// If LMDB says no.
    pub fn vouched_upto(
        &self,
        index: CommitIndex,
    ) -> Result<Option<(CommitIndex, Height)>, IndexError> {
        self.read(|tables, txn| {
            let found = (tables.vouched).get_lower_than_or_equal_to(txn, &index.0.to_be_bytes())?;
            Ok(found.and_then(|(key, value)| {
                let height = Height(number(value.get(..8)?)?);
                Some((CommitIndex(number(key)?), height))
            }))
        })
    }

    fn first_from(
        &self,
        table: impl FnOnce(&Tables) -> &Table,
        from: u64,
    ) -> Result<Option<(u64, u64)>, IndexError> {
        self.read(|tables, txn| {
            let found = table(tables).get_greater_than_or_equal_to(txn, &from.to_be_bytes())?;
            Ok(found.and_then(|(key, value)| Some((number(key)?, number(value.get(..8)?)?))))
        })
    }

    /// Where the seal of a height is.
    ///
    /// # Errors
    /// If LMDB says no.
    pub fn seal(&self, height: Height) -> Result<Option<u64>, IndexError> {
        self.position(|t| &t.seals, &height.0.to_be_bytes())
    }

    /// Where the seal of the lowest sealed height at or above a height is.
    ///
    /// # Errors
    /// If LMDB says no.
    pub fn sealed_from(&self, height: Height) -> Result<Option<(Height, u64)>, IndexError> {
        self.first_from(|t| &t.seals, height.0)
            .map(|found| found.map(|(height, position)| (Height(height), position)))
    }

    /// A perfect subtree of the history, if all its heads were here when this was asked.
    ///
    /// # Errors
    /// If LMDB says no.
    pub fn history(&self, node: Perfect) -> Result<Option<Digest>, IndexError> {
        self.read(|tables, txn| {
            let value = tables.history.get(txn, &perfect_key(node))?;
            Ok(value.and_then(digest_of))
        })
    }

    /// Where a transaction was recorded: height and position in the block. The id was cut: compare it with what is
    /// there.
    ///
    /// # Errors
    /// If LMDB says no.
    pub fn transaction(&self, id: &TxId) -> Result<Option<(Height, u32)>, IndexError> {
        self.read(|tables, txn| {
            let value = tables.transactions.get(txn, &prefix(&id.0.0))?;
            Ok(value.and_then(|v| {
                let place = u32::from_be_bytes(v.get(8..12)?.try_into().ok()?);
                Some((Height(number(v.get(..8)?)?), place))
            }))
        })
    }

    /// Of each of these transactions whether it is here; always no if transactions aren't indexed. The first
    /// `PREFIX` bytes of an id decide: two transactions that share them are made by nobody but who searches for them.
    ///
    /// # Errors
    /// If LMDB says no.
    pub fn has_transactions(&self, ids: &[TxId]) -> Result<Vec<bool>, IndexError> {
        self.read(|tables, txn| {
            let has = |id: &TxId| Ok(tables.transactions.get(txn, &prefix(&id.0.0))?.is_some());
            ids.iter().map(has).collect()
        })
    }

    /// Damages the entry of a block.
    #[cfg(test)]
    pub(crate) fn spoil_head(&self, height: Height) {
        let key = height.0.to_be_bytes();
        self.write(|tables, txn| tables.blocks.put(txn, &key, b"position and rubbish"))
            .unwrap();
    }

    /// Whether transactions are indexed.
    pub fn indexes_transactions(&self) -> bool {
        self.index_transactions
    }

    /// Up to `count` events after `after`, in order.
    ///
    /// # Errors
    /// If LMDB says no, or what is there isn't an event.
    pub fn events(&self, after: Cursor, count: usize) -> Result<Vec<ChainEvent>, IndexError> {
        let texts: Vec<Vec<u8>> = self.read(|tables, txn| {
            let from = event_key(after);
            let range = (Bound::Excluded(&from[..]), Bound::Unbounded);
            tables
                .events
                .range(txn, &range)?
                .take(count)
                .map(|entry| entry.map(|(_, text)| text.to_vec()))
                .collect()
        })?;
        texts
            .iter()
            .map(|text| serde_json::from_slice(text))
            .collect::<Result<_, _>>()
            .map_err(|_| self.damage.found("an event that isn't one"))
    }
}

impl Tables {
    #[expect(
        unsafe_code,
        reason = "LMDB maps files: sound as long as nobody else writes them. The data directory is locked for this \
                  process, and one process opens an environment once (heed refuses a second)."
    )]
    fn open(path: &Path) -> heed::Result<Tables> {
        let mut options = EnvOpenOptions::new().read_txn_without_tls();
        options
            .map_size(MAP_BYTES_MIN)
            .max_dbs(16)
            .max_readers(READERS_MAX);
        // Never WRITE_MAP: with it a full disk is a signal that kills the process, without it an error.
        let env = unsafe {
            options.flags(EnvFlags::NO_SYNC | EnvFlags::NO_META_SYNC | EnvFlags::NO_READ_AHEAD);
            options.open(path)?
        };
        refuse_cut_off(&env)?;
        let mut txn = env.write_txn()?;
        let mut table = |name| env.create_database::<Raw, Raw>(&mut txn, Some(name));
        let tables = Tables {
            meta: table("meta")?,
            vertices: table("vertices")?,
            commits: table("commits")?,
            blocks: table("blocks")?,
            certified: table("certified")?,
            vouched: table("vouched")?,
            seals: table("seals")?,
            transactions: table("transactions")?,
            events: table("events")?,
            history: table("history")?,
            env: env.clone(),
        };
        txn.commit()?;
        Ok(tables)
    }

    #[expect(
        unsafe_code,
        reason = "resizing is sound while no transaction is open: every one holds the lock of `Index::tables` for \
                  reading, and the caller holds it for writing"
    )]
    fn resize(&self, size: usize) -> heed::Result<()> {
        unsafe { self.env.resize(size) }
    }

    fn put(&self, txn: &mut RwTxn<'_>, position: u64, entry: &Entry) -> heed::Result<()> {
        let at = position.to_be_bytes();
        match entry {
            Entry::Vertex(id) => self.vertices.put(txn, &prefix(&id.0.0), &at),
            Entry::Commit(index) => self.commits.put(txn, &index.0.to_be_bytes(), &at),
            Entry::Block(block) => {
                let mut value = at.to_vec();
                violeta_types::codec::encode_into(&block.head, &mut value);
                let key = block.head.height.0.to_be_bytes();
                self.blocks.put(txn, &key, &value)?;
                self.put_head(txn, &block.head)
            }
            Entry::Certified(certified) => {
                let height = certified.head.height.0.to_be_bytes();
                let commit = certified.head.commit_index.0.to_be_bytes();
                self.certified.put(txn, &height, &at)?;
                self.vouched.put(txn, &commit, &height)
            }
            Entry::Seal(seal) => self.seals.put(txn, &seal.height.0.to_be_bytes(), &at),
            Entry::Event(event) => {
                let text =
                    serde_json::to_vec(event).map_err(|e| heed::Error::Encoding(Box::new(e)))?;
                self.events.put(txn, &event_key(event.cursor), &text)
            }
            Entry::Evidence { .. } | Entry::Nothing => Ok(()),
        }
    }

    /// Adds a head to the history: itself, and the subtrees that it completes.
    fn put_head(&self, txn: &mut RwTxn<'_>, head: &Head) -> heed::Result<()> {
        let Some(before) = head.height.checked_previous() else {
            return Ok(());
        };
        let mut at = Perfect {
            level: 0,
            index: before.0,
        };
        let mut digest = HISTORY.leaf(&head.id().0);
        self.history.put(txn, &perfect_key(at), &digest.0)?;
        while let Some(whole) = at.completes() {
            let left = self.history.get(txn, &perfect_key(at.sibling()))?;
            let Some(left) = left.and_then(digest_of) else {
                // The heads before aren't here: what they belong to isn't either.
                return Ok(());
            };
            digest = HISTORY.inner(&left, &digest);
            at = whole;
            self.history.put(txn, &perfect_key(at), &digest.0)?;
        }
        Ok(())
    }

    fn put_meta(&self, txn: &mut RwTxn<'_>, meta: &Meta) -> heed::Result<()> {
        for (key, value) in [
            (&b"high"[..], meta.high),
            (b"event height", meta.event.height.0),
            (b"event sequence", meta.event.sequence),
            (b"height", meta.height.0),
            (b"certified", meta.certified.0),
            (b"sealed", meta.sealed.0),
        ] {
            self.meta.put(txn, key, &value.to_be_bytes())?;
        }
        Ok(())
    }
}

/// LMDB maps its file, and looking at a page beyond the file's end is a signal that kills the process. What says how many
/// pages there are is in the first two, which opening has read.
fn refuse_cut_off(env: &Env<WithoutTls>) -> heed::Result<()> {
    let pages = env.info().last_page_number as u64 + 1;
    let needed = pages.saturating_mul(u64::from(env.stat().page_size));
    match env.real_disk_size()? < needed {
        true => Err(heed::Error::Mdb(MdbError::PageNotFound)),
        false => Ok(()),
    }
}

fn lmdb(path: &Path, source: heed::Error) -> IndexError {
    let path = path.to_owned();
    IndexError::Lmdb { path, source }
}

fn prefix(id: &[u8; 32]) -> [u8; PREFIX] {
    let mut key = [0; PREFIX];
    key.copy_from_slice(&id[..PREFIX]);
    key
}

fn number(bytes: &[u8]) -> Option<u64> {
    Some(u64::from_be_bytes(bytes.try_into().ok()?))
}

fn perfect_key(node: Perfect) -> [u8; 9] {
    let mut key = [0; 9];
    // Levels are below 64.
    key[0] = node.level as u8;
    key[1..].copy_from_slice(&node.index.to_be_bytes());
    key
}

fn digest_of(bytes: &[u8]) -> Option<Digest> {
    Some(Digest(bytes.try_into().ok()?))
}

fn pair(height: u64, index: u32) -> [u8; 12] {
    let mut value = [0; 12];
    value[..8].copy_from_slice(&height.to_be_bytes());
    value[8..].copy_from_slice(&index.to_be_bytes());
    value
}

fn event_key(cursor: Cursor) -> [u8; 16] {
    let mut key = [0; 16];
    key[..8].copy_from_slice(&cursor.height.0.to_be_bytes());
    key[8..].copy_from_slice(&cursor.sequence.to_be_bytes());
    key
}

#[cfg(test)]
mod tests;
