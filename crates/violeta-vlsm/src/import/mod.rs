//! A store from a snapshot's chunks (vlsm.md §6).
//!
//! ```text
//!  any peer ── bytes ─▶ Chunk ── verify(root) ─▶ VerifiedChunk ── add ─▶ batch ── sync ─▶ store to be, then marker
//!      ▲                                                                                        │
//!      └───────────────────────────── missing: what to ask for, side by side ◀───── progress ◀──┘
//!                                                                   nothing missing: finish ─▶ Store
//! ```
//!
//! Whoever imports trusts a version's number and root, and nothing else. Only what was verified can be added; in any
//! order, from anyone, more than once. What [`Importer::sync`] acknowledged is kept: after a crash at any moment
//! [`Importer::open`] goes on, and doesn't ask for it again.
//!
//! The ordinary writer makes tree, pages and log, batch by batch, so memory is bounded whatever the snapshot's size.
//! All batches are *parts* of one version: their records in the log carry its number, and each comes in the place of the
//! part before. So an import of version 1 may have any number of batches; and whoever looks later for when a key was
//! written is told: at the snapshot's version, which is as much as a snapshot says. When all is there, its root is
//! compared, and the index is made to have the last part alone.
//!
//! | a crash | leaves |
//! | --- | --- |
//! | before the marker is durable | nothing, or a directory with no more than `import.new`, which the next attempt writes over |
//! | until it is taken away | an import, which [`Store::open`] refuses and [`Importer::open`] goes on with |
//! | after | a store |

mod error;
mod marker;
mod progress;
mod ranges;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::sync::Arc;

use bytes::Bytes;
use violeta_journal::Disk;
use violeta_proof::VerifiedChunk;
use violeta_proof::tree::{ChunkPlace, VerifiedKeys, VerifiedSpaces};
use violeta_types::{Digest, Height};

use crate::batch::Batch;
use crate::error::StoreError;
use crate::limits::{IMPORT_BATCH_BYTES, IMPORT_KEY_BYTES, Options};
use crate::recovery::{self, Purpose};
use crate::store::Store;
use crate::writer::Writer;
use marker::Marker;
use progress::{Fit, Progress};

pub use error::ImportError;
pub(crate) use marker::MARKER;

/// What the names of a store's files begin with.
const STORE_FILES: [&str; 5] = ["super-", "versions", "log-", "nodes-", "pages-"];

/// Makes a store of one version from chunks of a snapshot.
#[derive(Debug)]
pub struct Importer {
    disk: Arc<dyn Disk>,
    dir: String,
    options: Options,
    marker: Marker,
    state: marker::State,
    /// Whether the marker on the disk says less.
    is_ahead: bool,
    pending: Pending,
    store: Store,
    writer: Writer,
}

/// What was added since the last part was committed.
#[derive(Debug, Default)]
struct Pending {
    batch: Batch,
    /// What it takes, roughly.
    bytes: usize,
    /// Spaces that it creates.
    created: BTreeSet<Bytes>,
}

impl Importer {
    /// Begins to import the version with this number and root into `dir`, or goes on with that. Takes the directory, as
    /// a store does.
    ///
    /// # Errors
    /// If the directory holds a store, or the import of another version; if the disk fails, or is damaged.
    pub fn open(
        disk: Arc<dyn Disk>,
        dir: &str,
        options: Options,
        version: Height,
        root: Digest,
    ) -> Result<Importer, ImportError> {
        let lock = recovery::lock(&*disk, dir)?;
        let names = disk.list(dir).map_err(StoreError::from)?;
        let marker = Marker::new(Arc::clone(&disk), dir);
        let state = match marker.read(&names)? {
            Some(state) if (state.version, state.root) == (version, root) => state,
            Some(marker::State { version, root, .. }) => {
                let dir = dir.to_owned();
                return Err(ImportError::OtherTarget { dir, version, root });
            }
            None if names.iter().any(|name| is_of_store(name)) => {
                let dir = dir.to_owned();
                return Err(ImportError::HoldsStore { dir });
            }
            None => {
                let progress = Progress::default();
                let state = marker::State {
                    version,
                    root,
                    progress,
                };
                marker.write(&state)?;
                state
            }
        };
        let shared = Arc::clone(&disk);
        let shared = recovery::open_locked(shared, dir, options.clone(), lock, Purpose::Import)?;
        let shared = Arc::new(shared);
        let store = Store { shared };
        Ok(Importer {
            disk,
            dir: dir.to_owned(),
            options,
            marker,
            state,
            is_ahead: false,
            pending: Pending::default(),
            writer: store.writer()?,
            store,
        })
    }

    /// The version and the root that are being imported into `dir`; none if nothing is, or there is no such directory.
    ///
    /// # Errors
    /// If the disk fails, or is damaged.
    pub fn unfinished(
        disk: Arc<dyn Disk>,
        dir: &str,
    ) -> Result<Option<(Height, Digest)>, StoreError> {
        let names = match disk.list(dir) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            names => names?,
        };
        let state = Marker::new(disk, dir).read(&names)?;
        Ok(state.map(|state| (state.version, state.root)))
    }

    /// What to ask for next: at most `max` places, no two of which meet, so that as many chunks can be fetched side by
    /// side. A place that was asked for stays until all of it was added, and then changes only where it begins. None if
    /// all is there: [`Importer::finish`].
    pub fn missing(&self, max: usize) -> Vec<ChunkPlace> {
        self.state.progress.missing(max)
    }

    /// How many keys were added.
    pub fn keys(&self) -> u64 {
        self.state.progress.keys()
    }

    /// Adds a chunk, whether or not it was asked for, or is there already. It stays in memory until enough has come
    /// together, or until [`Importer::sync`].
    ///
    /// A chunk can't lie, but it can be of no use, or of little: of one key, say, somewhere. Whoever fetches from peers
    /// that it doesn't trust compares [`Chunk::place`](violeta_proof::Chunk::place) with what it asked for, and asks
    /// others if one gives little.
    ///
    /// # Errors
    /// If the chunk is of another version, or nothing of it can be kept yet; if the disk fails as what has come together
    /// is written: then this chunk is added nevertheless, and [`Importer::sync`] tries again. So does the next `add`,
    /// which takes nothing for as long as that fails: what is in memory stays bounded.
    pub fn add(&mut self, chunk: VerifiedChunk) -> Result<(), ImportError> {
        let (found, expected) = (*chunk.root(), self.state.root);
        if found != expected {
            return Err(ImportError::OtherRoot { found, expected });
        }
        if self.pending.bytes >= IMPORT_BATCH_BYTES {
            self.sync()?;
        }
        match chunk {
            VerifiedChunk::Spaces(chunk) => self.add_spaces(&chunk)?,
            VerifiedChunk::Keys(chunk) => self.add_keys(&chunk)?,
        }
        match self.pending.bytes >= IMPORT_BATCH_BYTES {
            true => self.sync(),
            false => Ok(()),
        }
    }

    fn add_spaces(&mut self, chunk: &VerifiedSpaces) -> Result<(), ImportError> {
        let names = chunk.spaces().iter().map(|space| space.name.bytes());
        let absent = self.absent(names)?;
        if !is_new(self.state.progress.list(chunk))? {
            return Ok(());
        }
        self.is_ahead = true;
        absent.iter().for_each(|name| self.pending.create(name));
        Ok(())
    }

    fn add_keys(&mut self, chunk: &VerifiedKeys) -> Result<(), ImportError> {
        let Some(record) = chunk.record() else {
            // That there is no such space is true, and nothing to keep.
            return Ok(());
        };
        let name = chunk.name().bytes();
        let absent = self.absent([name])?;
        let (fit, entries) = self.state.progress.add(chunk, record);
        if !is_new(fit)? {
            return Ok(());
        }
        self.is_ahead = true;
        absent.iter().for_each(|name| self.pending.create(name));
        for (key, value) in entries {
            self.pending.put(name, key, value);
        }
        Ok(())
    }

    /// Those of the spaces that neither the store nor the next batch has.
    fn absent<'a>(
        &self,
        names: impl IntoIterator<Item = &'a Bytes>,
    ) -> Result<Vec<Bytes>, StoreError> {
        let latest = self.store.latest();
        let mut absent = Vec::new();
        for name in names {
            if !self.pending.created.contains(name) && latest.space(name)?.is_none() {
                absent.push(name.clone());
            }
        }
        Ok(absent)
    }

    /// Makes all that was added durable. What is acknowledged here is never missing again.
    ///
    /// # Errors
    /// If the disk fails. If it is full, this can be tried again once there is room; after [`StoreError::Broken`] the
    /// importer is to be opened again.
    pub fn sync(&mut self) -> Result<(), ImportError> {
        if !self.pending.batch.is_empty() {
            self.commit()?;
        }
        if self.is_ahead {
            self.marker.write(&self.state)?;
            self.is_ahead = false;
        }
        Ok(())
    }

    /// Commits what has come together as the next part.
    fn commit(&mut self) -> Result<(), StoreError> {
        let staged = self.writer.stage(&self.pending.batch)?;
        self.writer.commit_part(self.state.version, staged)?;
        self.pending = Pending::default();
        // What is kept off the commit path otherwise: nobody waits for commits here.
        while self.writer.maintain()? {}
        Ok(())
    }

    /// Compares the root, and makes the directory a store, which has the one version.
    ///
    /// # Errors
    /// If something is missing, the root is another one, or the disk fails: then the import can be opened again, unless
    /// the root is another one. If the disk fails as late as when the store is opened, the import is over, and there is
    /// a store: [`Importer::open`] says [`ImportError::HoldsStore`], and [`Store::open`] opens it.
    pub fn finish(mut self) -> Result<Store, ImportError> {
        if !self.state.progress.is_whole() {
            return Err(ImportError::Unfinished);
        }
        self.sync()?;
        if self.store.stats().versions == 0 {
            // Of a store without spaces nothing was added.
            self.commit()?;
        }
        let (found, expected) = (self.store.latest().root(), self.state.root);
        if found != expected {
            let dir = self.dir;
            return Err(ImportError::OtherContent {
                dir,
                found,
                expected,
            });
        }
        self.writer.join_parts()?;
        self.marker.remove()?;
        let Importer {
            disk,
            dir,
            options,
            writer,
            store,
            ..
        } = self;
        drop((writer, store));
        Ok(Store::open(disk, &dir, options)?)
    }
}

impl Pending {
    fn create(&mut self, name: &Bytes) {
        self.batch.create_space(name);
        self.bytes += name.len() + IMPORT_KEY_BYTES;
        self.created.insert(name.clone());
    }

    fn put(&mut self, space: &Bytes, key: &Bytes, value: &Bytes) {
        self.batch.put(space, key, value.clone());
        self.bytes += key.len() + value.len() + IMPORT_KEY_BYTES;
    }
}

fn is_new(fit: Fit) -> Result<bool, ImportError> {
    match fit {
        Fit::New => Ok(true),
        Fit::Known => Ok(false),
        Fit::NotYet => Err(ImportError::TooMuchBegun),
    }
}

fn is_of_store(name: &str) -> bool {
    STORE_FILES.iter().any(|start| name.starts_with(start))
}
