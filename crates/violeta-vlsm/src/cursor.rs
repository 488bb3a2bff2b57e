//! The version cursor: all that changes when a version is made. One holder at a time, the only one that writes.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use violeta_proof::tree::{leaf_hash, top_hash};
use violeta_types::{Digest, Height};

use crate::batch::{Action, SpaceChanges};
use crate::error::StoreError;
use crate::limits::{RELEASE_STEPS, UNSYNCED_NODE_BYTES, UNWRITTEN_VERSIONS_MAX};
use crate::log::{Draft, LogWriter, NO_PREVIOUS};
use crate::nodes::NodeWriter;
use crate::space::Space;
use crate::store::{Shared, State, Version};
use crate::superblock::{Superblock, Superblocks};
use crate::tree::{
    At, Change, Child, Entry, Heap, Made, NodeSink, Seating, Tree, Usher, encode_tree, update,
};
use crate::versions::VersionEntry;

/// What the writer has and nobody else.
#[derive(Debug)]
pub(crate) struct Cursor {
    pub(crate) log: LogWriter,
    pub(crate) nodes: NodeWriter,
    pub(crate) superblocks: Superblocks,
    /// The one that counts now.
    pub(crate) superblock: Superblock,
    /// Entries that the index on the disk doesn't have yet.
    pub(crate) unindexed: Vec<VersionEntry>,
    /// What the superblock will say once what it says is durable: a checkpoint is under way.
    pub(crate) pending: Option<Superblock>,
    /// Who sits where in memory.
    pub(crate) seating: Seating,
    /// Whether a sync failed.
    pub(crate) broken: bool,
}

/// A batch applied to the newest version, in memory only: what the next version will be. Dropping it costs nothing.
#[derive(Debug)]
pub struct Staged {
    base: Arc<Version>,
    draft: Draft,
    top: Tree<Space>,
    root: Digest,
    /// Where the root record lies among `nodes`.
    at: At,
    nodes: Vec<u8>,
    entries: Made,
    spaces: Heap<Space>,
}

impl Staged {
    /// The root that the version will have.
    pub fn root(&self) -> Digest {
        self.root
    }

    /// The root of the version that it was staged on.
    pub fn base_root(&self) -> Digest {
        self.base.root
    }
}

impl Cursor {
    pub(crate) fn check(&self) -> Result<(), StoreError> {
        match self.broken {
            true => Err(StoreError::Broken),
            false => Ok(()),
        }
    }

    /// Applies changes to the newest version, in memory.
    pub(crate) fn stage(
        &self,
        shared: &Shared,
        changes: &[SpaceChanges<'_>],
    ) -> Result<Staged, StoreError> {
        let base = Arc::clone(&shared.state.load().latest);
        let mut draft = Draft::new(self.log.end(), self.log.spare.take());
        let mut sink = self.nodes.sink();
        let (mut entries, mut spaces) = (self.seating.usher(), Heap::new());
        let mut top = Vec::with_capacity(changes.len());
        for changes in changes {
            let old = base.find_space(shared, &changes.name)?;
            let old = old.as_ref();
            let new = stage_space(shared, old, changes, &mut draft, &mut sink, &mut entries)?;
            let leaf = new.map(|space| (space.digest(), space));
            top.push(Change::new(changes.path, leaf));
        }
        let top = update(&base.top, &mut top, &shared.nodes, &mut sink, &mut spaces)?;
        let (at, ()) = sink.record(|out| encode_tree(&top, out));
        Ok(Staged {
            base,
            draft,
            root: top_hash(&top.digest()),
            top,
            at,
            nodes: sink.finish(),
            entries: entries.finish(),
            spaces,
        })
    }

    /// Makes the staged version the newest: logged and readable, not yet durable. If that fails, nothing has changed.
    pub(crate) fn append(
        &mut self,
        shared: &Shared,
        version: Height,
        mut staged: Staged,
    ) -> Result<(), StoreError> {
        self.check()?;
        let state = shared.state.load_full();
        if !Arc::ptr_eq(&state.latest, &staged.base) {
            return Err(StoreError::Stale);
        }
        if state.count() > 0 && version <= state.latest.version {
            let newest = state.latest.version;
            return Err(StoreError::VersionNotAbove {
                given: version,
                newest,
            });
        }
        self.make_room(shared)?;
        let (era, durable, link) = (self.log.era(), self.log.durable(), self.log.link());
        let draft = std::mem::take(&mut staged.draft);
        let (record, checksum) = draft.finish(era, version, durable, link, &staged.root);
        let appended = self.log.append(&record, checksum);
        self.log.spare.keep(record);
        appended?;
        self.publish(shared, version, staged);
        Ok(())
    }

    /// Makes a version of the log the newest, while the store is being opened. `log` goes on after it.
    pub(crate) fn adopt(
        &mut self,
        shared: &Shared,
        version: Height,
        log: LogWriter,
        staged: Staged,
    ) -> Result<(), StoreError> {
        if self.nodes.is_full() || self.unindexed.len() >= UNWRITTEN_VERSIONS_MAX {
            self.write_nodes(shared)?;
        }
        self.log = log;
        self.publish(shared, version, staged);
        Ok(())
    }

    fn publish(&mut self, shared: &Shared, version: Height, staged: Staged) {
        // Records are found before the nodes whose seats others take.
        self.nodes.append(&shared.nodes, staged.nodes);
        self.seating.seat(&shared.nodes.arena, staged.entries);
        for (digest, node) in staged.spaces.nodes() {
            shared.nodes.keep_space_node(digest, node);
        }
        let (root, top) = (staged.root, staged.top);
        self.unindexed.push(VersionEntry {
            version,
            at: staged.at,
            log_end: self.log.end(),
            root,
        });
        let version = Version { version, root, top };
        let latest = Arc::new(version);
        let state = shared.state.load();
        let mut recent = state.recent.clone();
        recent.push(Arc::clone(&latest));
        shared.state.store(Arc::new(State {
            latest,
            indexed: state.indexed,
            recent,
        }));
    }

    /// Keeps what is in memory, and what a recovery would replay, within bounds.
    fn make_room(&mut self, shared: &Shared) -> Result<(), StoreError> {
        if self.log_since_checkpoint() >= shared.options.checkpoint_bytes {
            self.checkpoint(shared)?;
        } else if self.nodes.is_full() || self.unindexed.len() >= UNWRITTEN_VERSIONS_MAX {
            self.write_nodes(shared)?;
        }
        Ok(())
    }

    pub(crate) fn log_since_checkpoint(&self) -> u64 {
        self.log.end() - self.superblock.log_position
    }

    /// Makes all versions durable.
    pub(crate) fn sync(&mut self, shared: &Shared) -> Result<Height, StoreError> {
        self.check()?;
        let latest = shared.state.load().latest.version;
        self.fatal(|cursor| cursor.log.sync())?;
        shared.durable.store(latest.0, Ordering::Release);
        Ok(latest)
    }

    /// Writes the nodes and index entries that are only in memory, without making them durable.
    pub(crate) fn write_nodes(&mut self, shared: &Shared) -> Result<(), StoreError> {
        self.nodes.write(&shared.nodes)?;
        let state = shared.state.load();
        shared.versions.write(state.indexed, &self.unindexed)?;
        shared.state.store(Arc::new(State {
            latest: Arc::clone(&state.latest),
            indexed: state.count(),
            recent: Vec::new(),
        }));
        self.unindexed.clear();
        Ok(())
    }

    /// Makes nodes and index durable and says so in the superblock: recovery goes on from here.
    pub(crate) fn checkpoint(&mut self, shared: &Shared) -> Result<(), StoreError> {
        self.sync(shared)?;
        self.write_nodes(shared)?;
        let superblock = self.checkpoint_here(shared);
        self.finish_checkpoint(shared, superblock)
    }

    /// Does a part of a checkpoint, if one is due or under way: versions may be appended between the parts. Returns
    /// whether it did something.
    pub(crate) fn checkpoint_step(&mut self, shared: &Shared) -> Result<bool, StoreError> {
        match self.pending {
            None if self.log_since_checkpoint() < shared.options.checkpoint_bytes / 2 => {
                return Ok(false);
            }
            None => {
                self.write_nodes(shared)?;
                self.pending = Some(self.checkpoint_here(shared));
            }
            Some(pending) if self.log.durable() < pending.log_position => {
                self.sync(shared)?;
            }
            Some(pending) => self.finish_checkpoint(shared, pending)?,
        }
        Ok(true)
    }

    /// What the superblock says once everything so far is durable. All of it is written.
    fn checkpoint_here(&self, shared: &Shared) -> Superblock {
        assert!(self.unindexed.is_empty(), "written before");
        assert_eq!(self.nodes.written(), self.nodes.end(), "written before");
        Superblock {
            generation: self.superblock.generation,
            era: self.log.era(),
            versions: shared.state.load().indexed,
            nodes_end: self.nodes.end(),
            log_position: self.log.end(),
            link: self.log.link(),
        }
    }

    fn finish_checkpoint(
        &mut self,
        shared: &Shared,
        superblock: Superblock,
    ) -> Result<(), StoreError> {
        assert!(
            superblock.log_position <= self.log.durable(),
            "synced before"
        );
        assert!(
            superblock.nodes_end <= self.nodes.written(),
            "written before"
        );
        self.pending = None;
        self.fatal(|cursor| {
            cursor.sync_nodes(shared)?;
            cursor.write_superblock(superblock)
        })
    }

    /// Makes written nodes durable ahead of a checkpoint, if there are many that aren't: so that a checkpoint never
    /// waits for a lot at once.
    pub(crate) fn sync_some_nodes(&mut self) -> Result<bool, StoreError> {
        if self.nodes.unsynced_bytes() < UNSYNCED_NODE_BYTES {
            return Ok(false);
        }
        self.fatal(|cursor| cursor.nodes.sync())?;
        Ok(true)
    }

    /// Lets a few nodes go that nobody needs in memory. Returns whether there were any.
    pub(crate) fn release_nodes(&mut self, shared: &Shared) -> bool {
        self.seating.release(&shared.nodes.arena, RELEASE_STEPS)
    }

    /// Returns to the version with this entry of the index, durably; to the empty store for none.
    pub(crate) fn rollback(
        &mut self,
        shared: &Shared,
        target: Option<(u64, VersionEntry)>,
    ) -> Result<(), StoreError> {
        assert!(self.unindexed.is_empty(), "written before");
        self.pending = None;
        let (latest, versions, log_end, link) = match target {
            None => (Version::empty(), 0, 0, Digest::ZERO),
            Some((index, entry)) => {
                let top = shared.top_tree(entry.at, &entry.root)?;
                let link = shared.log.read(entry.log_end - 32, 32)?;
                let link = Digest(crate::tree::take(&mut &link[..]).unwrap_or_default());
                let latest = Version {
                    version: entry.version,
                    root: entry.root,
                    top,
                };
                (latest, index + 1, entry.log_end, link)
            }
        };
        let superblock = Superblock {
            generation: self.superblock.generation,
            era: self.log.era() + 1,
            versions,
            nodes_end: self.nodes.end(),
            log_position: log_end,
            link,
        };
        self.fatal(|cursor| {
            cursor.log.sync()?;
            cursor.sync_nodes(shared)?;
            // Both: the older one's log is about to be cut.
            cursor.write_superblock(superblock)?;
            cursor.write_superblock(superblock)?;
            cursor.log.cut(log_end, superblock.era, link)
        })?;
        shared.durable.store(latest.version.0, Ordering::Release);
        shared.state.store(Arc::new(State {
            latest: Arc::new(latest),
            indexed: versions,
            recent: Vec::new(),
        }));
        self.seating.clear(&shared.nodes.arena);
        Ok(())
    }

    fn sync_nodes(&mut self, shared: &Shared) -> Result<(), StoreError> {
        self.nodes.sync()?;
        shared.versions.sync()?;
        Ok(shared.disk.sync_dir(&shared.dir)?)
    }

    fn write_superblock(&mut self, superblock: Superblock) -> Result<(), StoreError> {
        let generation = self.superblock.generation + 1;
        let superblock = Superblock {
            generation,
            ..superblock
        };
        self.superblocks.write(&superblock)?;
        self.superblock = superblock;
        Ok(())
    }

    /// Runs what leaves the disk in an unknown state if it fails.
    fn fatal(
        &mut self,
        run: impl FnOnce(&mut Self) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let result = run(self);
        self.broken |= result.is_err();
        result
    }
}

/// Applies the changes of one space; none if the space goes.
fn stage_space(
    shared: &Shared,
    old: Option<&Space>,
    changes: &SpaceChanges<'_>,
    draft: &mut Draft,
    sink: &mut NodeSink,
    usher: &mut Usher<'_>,
) -> Result<Option<Space>, StoreError> {
    let entries = draft.space(changes);
    if changes.action != Action::Keep
        && let Some((_, Child::Node(root))) = old.and_then(|old| old.tree().root.as_ref())
    {
        usher.dropped(*root);
    }
    let old = match changes.action {
        Action::Keep => old,
        Action::Reset => None,
        Action::Drop => return Ok(None),
    };
    let empty = Tree::default();
    let (tree, count) = old.map_or((&empty, 0), |space| (space.tree(), space.count()));
    let mut leaves: Vec<Change<Entry>> = changes
        .keys
        .iter()
        .zip(&entries)
        .map(|(change, entry)| {
            let leaf = change
                .value
                .map(|value| (leaf_hash(change.key, value), *entry));
            Change::new(change.path, leaf)
        })
        .collect();
    let tree = update(tree, &mut leaves, &shared.nodes, sink, usher)?;
    let mut count = count;
    for (change, entry) in leaves.iter().zip(&entries) {
        let previous = change.previous.map_or(NO_PREVIOUS, |p| p.position);
        draft.set_previous(entry, previous);
        count += u64::from(change.leaf.is_some());
        count -= u64::from(change.previous.is_some());
    }
    Ok(Some(Space::new(changes.name.clone(), count, tree)))
}
