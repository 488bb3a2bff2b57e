//! The store: what readers and the writer share.
//!
//! ```text
//!              ┌── readers ──▶ State (swapped whole, never changed) ── latest ─▶ root ─▶ nodes in memory
//!  Store ─ Shared                        └ recent: versions that the index in the files hasn't yet
//!              │                 older versions: index of versions ─▶ records and pages (through caches)
//!              │                 values: log
//!              └── writer ───▶ Cursor (one; lent to the Writer, and given back)
//! ```

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::{ArcSwap, ArcSwapOption};
use bytes::Bytes;
use violeta_journal::{DirLock, Disk};
use violeta_proof::tree::{empty_root, leaf_hash};
use violeta_types::{Digest, Height};

use crate::compaction::Turns;
use crate::cursor::Cursor;
use crate::error::StoreError;
use crate::limits::Options;
use crate::log::Log;
use crate::nodes::Nodes;
use crate::retention::{Floor, Retained, Retention};
use crate::snapshot::Snapshot;
use crate::space::Space;
use crate::tree::{At, Entry, Tree};
use crate::versions::Versions;
use crate::writer::Writer;

/// An authenticated key-value store with every version readable and provable. Clones are the same store; its
/// directory is locked until the last clone, snapshot and writer is gone.
#[derive(Clone, Debug)]
pub struct Store {
    pub(crate) shared: Arc<Shared>,
}

/// One version: its root, and the tree below it.
#[derive(Debug)]
pub(crate) struct Version {
    pub(crate) version: Height,
    pub(crate) root: Digest,
    pub(crate) top: Tree<Space>,
    /// Where its record ends in the log.
    pub(crate) log_end: u64,
}

impl Version {
    /// A store that nothing was ever written to.
    pub(crate) fn empty() -> Self {
        Version {
            version: Height(0),
            root: empty_root(),
            top: Tree::default(),
            log_end: 0,
        }
    }
}

/// What readers see at one moment.
#[derive(Debug)]
pub(crate) struct State {
    /// The log's era: a rollback begins another.
    pub(crate) era: u64,
    /// The newest version.
    pub(crate) latest: Arc<Version>,
    /// How many versions the index on the disk has.
    pub(crate) indexed: u64,
    /// The versions after those.
    pub(crate) recent: Vec<Arc<Version>>,
    /// Which versions are kept.
    pub(crate) retained: Arc<Retained>,
}

impl State {
    /// How many versions there are.
    pub(crate) fn count(&self) -> u64 {
        self.indexed + self.recent.len() as u64
    }
}

#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) dir: String,
    pub(crate) options: Options,
    pub(crate) log: Arc<Log>,
    pub(crate) nodes: Nodes,
    pub(crate) versions: Versions,
    pub(crate) state: ArcSwap<State>,
    /// What room may be taken back of; none before anything was pruned.
    pub(crate) floor: ArcSwapOption<Floor>,
    /// Who takes it back.
    pub(crate) turns: Arc<Turns>,
    /// The newest version that is durable.
    pub(crate) durable: AtomicU64,
    /// What the writer needs, while there is no writer.
    pub(crate) cursor: Mutex<Option<Cursor>>,
    pub(crate) _lock: DirLock,
}

impl Shared {
    pub(crate) fn cursor(&self) -> MutexGuard<'_, Option<Cursor>> {
        self.cursor.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The version of an index, which is below the state's count.
    pub(crate) fn version_at(&self, state: &State, index: u64) -> Result<Arc<Version>, StoreError> {
        assert!(index < state.count(), "of the versions that there are");
        if let Some(recent) = index.checked_sub(state.indexed) {
            return Ok(Arc::clone(&state.recent[recent as usize]));
        }
        if index + 1 == state.count() {
            return Ok(Arc::clone(&state.latest));
        }
        let entry = self.versions.get(index)?;
        Ok(Arc::new(Version {
            version: entry.version,
            root: entry.root,
            top: self.top_tree(entry.at, &entry.root)?,
            log_end: entry.log_end,
        }))
    }

    /// The number of a version, without loading its tree.
    pub(crate) fn number_at(&self, state: &State, index: u64) -> Result<Height, StoreError> {
        match index.checked_sub(state.indexed) {
            Some(recent) => Ok(state.recent[recent as usize].version),
            None => Ok(self.versions.get(index)?.version),
        }
    }

    /// Where the record of a version ends in the log, whether or not the version is kept.
    pub(crate) fn version_end(&self, state: &State, index: u64) -> Result<u64, StoreError> {
        match index.checked_sub(state.indexed) {
            Some(recent) => Ok(state.recent[recent as usize].log_end),
            None => Ok(self.versions.get(index)?.log_end),
        }
    }

    /// The error that there is no version `asked`.
    pub(crate) fn no_such_version(
        &self,
        state: &State,
        asked: Height,
    ) -> Result<StoreError, StoreError> {
        let newest = state.latest.version;
        let oldest = match state.count() {
            0 => newest,
            _ => self.number_at(state, state.retained.first)?,
        };
        Ok(StoreError::NoSuchVersion {
            asked,
            oldest,
            newest,
        })
    }

    /// The top tree at `at`, if it is the one that `root` binds.
    pub(crate) fn top_tree(&self, at: At, root: &Digest) -> Result<Tree<Space>, StoreError> {
        let top = self.nodes.top_tree(at)?;
        if violeta_proof::tree::top_hash(&top.digest()) != *root {
            return Err(self
                .nodes
                .tops
                .corrupt(at, "not the root that the index names"));
        }
        Ok(top)
    }

    /// The index of the newest version that isn't above `version`.
    pub(crate) fn index_of(
        &self,
        state: &State,
        version: Height,
    ) -> Result<Option<u64>, StoreError> {
        let recent = state.recent.partition_point(|v| v.version <= version) as u64;
        match recent {
            0 => self.versions.find(state.indexed, version),
            _ => Ok(Some(state.indexed + recent - 1)),
        }
    }

    /// Key and value of a leaf, checked against its digest.
    pub(crate) fn key_value(
        &self,
        digest: &Digest,
        entry: &Entry,
    ) -> Result<(Bytes, Bytes), StoreError> {
        let operation = self.log.operation(entry.position, entry.len)?;
        match operation.value {
            Some(value) if leaf_hash(&operation.key, &value) == *digest => {
                Ok((operation.key, value))
            }
            _ => Err(self.log.corrupt(
                entry.position,
                "key and value aren't those that the tree names",
            )),
        }
    }
}

/// What a store holds, in numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stats {
    /// How many versions there are that can be read.
    pub versions: u64,
    /// The newest version.
    pub latest: Height,
    /// The newest version that is durable.
    pub durable: Height,
    /// Versions whose index entries and nodes of the top tree are only in memory.
    pub versions_unwritten: usize,
    /// Segments of the log.
    pub log_segments: usize,
}

impl Store {
    /// Opens the store in `dir`, and makes one if there is none. Recovers to the newest version that was
    /// acknowledged, or a later one (vlsm.md §5).
    ///
    /// # Errors
    /// If the directory is in use, the disk fails, or something that was acknowledged is damaged.
    pub fn open(disk: Arc<dyn Disk>, dir: &str, options: Options) -> Result<Store, StoreError> {
        let shared = crate::recovery::open(disk, dir, options)?;
        Ok(Store {
            shared: Arc::new(shared),
        })
    }

    /// The writer.
    ///
    /// # Errors
    /// [`StoreError::WriterTaken`] if there is one already.
    pub fn writer(&self) -> Result<Writer, StoreError> {
        let cursor = self.shared.cursor().take();
        let cursor = cursor.ok_or(StoreError::WriterTaken)?;
        Ok(Writer::new(Arc::clone(&self.shared), cursor))
    }

    /// The newest version: what was appended last, durable or not. Of a store that nothing was ever written to:
    /// version 0 with no spaces.
    pub fn latest(&self) -> Snapshot {
        let state = self.shared.state.load();
        Snapshot::new(Arc::clone(&self.shared), &state, Arc::clone(&state.latest))
    }

    /// The store as it was at `version`: between two versions, as at the lower of them.
    ///
    /// # Errors
    /// [`StoreError::NoSuchVersion`] if `version` is below the oldest version that is kept and not pinned, or above the
    /// newest.
    pub fn snapshot(&self, version: Height) -> Result<Snapshot, StoreError> {
        let state = self.shared.state.load_full();
        let newest = state.latest.version;
        let index = match version <= newest {
            true => self.shared.index_of(&state, version)?,
            false => None,
        };
        let index = index.filter(|index| state.retained.keeps(*index));
        let Some(index) = index else {
            return Err(self.shared.no_such_version(&state, version)?);
        };
        let version = self.shared.version_at(&state, index)?;
        Ok(Snapshot::new(Arc::clone(&self.shared), &state, version))
    }

    /// Which versions are kept: the oldest of the window, and those before it that are pinned. None of a store that nothing
    /// was ever written to.
    ///
    /// # Errors
    /// If the disk fails, or doesn't hold what was written.
    pub fn retention(&self) -> Result<Option<Retention>, StoreError> {
        let state = self.shared.state.load_full();
        if state.count() == 0 {
            return Ok(None);
        }
        let number = |index: u64| self.shared.number_at(&state, index);
        let pins = state.retained.pins.iter();
        Ok(Some(Retention {
            oldest: number(state.retained.first)?,
            pinned: pins.map(|pin| number(*pin)).collect::<Result<_, _>>()?,
        }))
    }

    /// The newest version that is durable; 0 if there is none.
    pub fn durable_version(&self) -> Height {
        Height(self.shared.durable.load(Ordering::Acquire))
    }

    /// The store in numbers.
    pub fn stats(&self) -> Stats {
        let state = self.shared.state.load();
        Stats {
            versions: (state.count() - state.retained.first) + state.retained.pins.len() as u64,
            latest: state.latest.version,
            durable: self.durable_version(),
            versions_unwritten: state.recent.len(),
            log_segments: self.shared.log.segments().len(),
        }
    }
}
