//! The version cursor: all that changes when a version is made. One holder at a time, the only one that writes.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use violeta_proof::tree::{leaf_hash, top_hash};
use violeta_types::{Digest, Height};

use crate::batch::{Action, SpaceChanges};
use crate::error::StoreError;
use crate::limits::{FREEZE_BYTES, RELEASE_STEPS, UNSYNCED_NODE_BYTES, UNWRITTEN_VERSIONS_MAX};
use crate::log::{Draft, LogWriter};
use crate::page::{Noted, Pages, Scribe, Seq, TailWriter, freeze, split};
use crate::records::RecordWriter;
use crate::retention::{Floor, Retained};
use crate::space::Space;
use crate::spare::Spare;
use crate::store::{Shared, State, Version};
use crate::superblock::{Superblock, Superblocks};
use crate::tree::{
    At, Change, Child, Entry, Heap, Made, Seating, SharedNode, Tree, encode_tree, update,
};
use crate::versions::VersionEntry;

/// How much sooner a checkpoint is due that says which versions are kept.
const RETENTION_SHARE: u64 = 4;

/// What the writer has and nobody else.
#[derive(Debug)]
pub(crate) struct Cursor {
    pub(crate) log: LogWriter,
    /// Records of the top tree's nodes.
    pub(crate) tops: RecordWriter,
    /// Records of pages.
    pub(crate) records: RecordWriter,
    /// What pages' newest versions changed.
    pub(crate) tail: TailWriter,
    pub(crate) pages: Pages,
    /// The number of the next version.
    pub(crate) next_seq: Seq,
    pub(crate) superblocks: Superblocks,
    /// The one that counts now.
    pub(crate) superblock: Superblock,
    /// Which versions are kept, from the next superblock on.
    pub(crate) retained: Arc<Retained>,
    /// Where the records of the page directory began to be made anew, since that was said, and the number of the next page
    /// then; none if both superblocks say it.
    pub(crate) pages_floor: Option<(u64, u32)>,
    /// Entries that the index on the disk doesn't have yet.
    pub(crate) unindexed: Vec<VersionEntry>,
    /// How far the checkpoint is that is under way, if one is.
    pub(crate) checkpoint: Option<Checkpoint>,
    /// Who sits where in memory.
    pub(crate) seating: Seating,
    /// For the changes of versions to come.
    pub(crate) scratch: Scratch,
    /// Whether a sync failed.
    pub(crate) broken: bool,
}

/// Buffers for what a version changes, while it is being staged.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    entries: Spare<Entry>,
    changes: Spare<Change<Entry>>,
}

/// A checkpoint that is under way.
///
/// ```text
///  turn ──▶ Freezing ─ pages of the older generation, step by step ─▶ Listed ─ all written ─▶ Written ─ log, records,
///                                                                                               index synced ─▶ done
/// ```
#[derive(Clone, Debug)]
pub(crate) enum Checkpoint {
    /// Pages are being frozen. What the superblock will say of the version up to which they are.
    Freezing(Superblock),
    /// The page directory is among the records that are to be written: once, however often that fails.
    Listed(Superblock),
    /// All is written, and will be said once it is durable.
    Written(Superblock),
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
    noted: Noted,
    spaces: Vec<(Digest, SharedNode<Space>)>,
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
        let usher = self.seating.usher(self.next_seq);
        let (nodes, seq) = (&shared.nodes, self.next_seq);
        let count = changes.iter().map(|changes| changes.keys.len()).sum();
        let mut scribe = Scribe::new(nodes, &self.pages, &self.tail, usher, (seq, count));
        let mut heap = Heap::new(self.tops.sink());
        let mut top = Vec::with_capacity(changes.len());
        for changes in changes {
            let old = base.find_space(shared, &changes.name)?;
            let new = stage_space(
                &self.scratch,
                shared,
                old.as_ref(),
                changes,
                &mut draft,
                &mut scribe,
            )?;
            let leaf = new.map(|space| (space.digest(), space));
            top.push(Change::new(changes.path, leaf));
        }
        let top = update(&base.top, &mut top, nodes, &mut heap)?;
        let (at, ()) = heap.sink.record(|out| encode_tree(&top, out));
        let (entries, noted) = scribe.finish();
        Ok(Staged {
            base,
            draft,
            root: top_hash(&top.digest()),
            top,
            at,
            nodes: heap.sink.finish(),
            entries,
            noted,
            spaces: heap.nodes,
        })
    }

    /// Makes the staged version the newest: logged and readable, not yet durable. If that fails, nothing has changed.
    pub(crate) fn append(
        &mut self,
        shared: &Shared,
        version: Height,
        staged: Staged,
    ) -> Result<(), StoreError> {
        self.check()?;
        let state = shared.state.load();
        if state.count() > 0 && version <= state.latest.version {
            let newest = state.latest.version;
            return Err(StoreError::VersionNotAbove {
                given: version,
                newest,
            });
        }
        self.append_part(shared, version, staged)
    }

    /// [`Cursor::append`], or another part of the newest version itself, which comes in its place.
    pub(crate) fn append_part(
        &mut self,
        shared: &Shared,
        version: Height,
        mut staged: Staged,
    ) -> Result<(), StoreError> {
        self.check()?;
        if !Arc::ptr_eq(&shared.state.load().latest, &staged.base) {
            return Err(StoreError::Stale);
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
        if self.tail.young_bytes() >= shared.options.tail_bytes as u64 {
            // Without a checkpoint: what is replayed isn't durable yet.
            self.turn(shared)?;
            while self.freeze_some(shared)? {}
            self.drop_frozen(shared);
        }
        if self.is_full() {
            self.write_nodes(shared)?;
        }
        self.log = log;
        self.publish(shared, version, staged);
        Ok(())
    }

    fn publish(&mut self, shared: &Shared, version: Height, staged: Staged) {
        let (nodes, seq) = (&shared.nodes, self.next_seq);
        // What the version changed is found before the nodes whose seats others take; and a page is split once the nodes
        // sit that have to be told.
        self.tops.append(&nodes.tops, staged.nodes);
        let noted = self.pages.publish(nodes, &mut self.tail, staged.noted);
        self.seating.seat(&nodes.arena, staged.entries);
        let items_max = shared.options.page_items;
        split(nodes, &mut self.tail, &mut self.pages, &noted, items_max);
        self.pages.spare.keep(noted);
        for (digest, node) in &staged.spaces {
            nodes.keep_space_node(digest, node);
        }
        self.next_seq = seq.next();
        let (root, top) = (staged.root, staged.top);
        self.unindexed.push(VersionEntry {
            version,
            seq,
            at: staged.at,
            log_end: self.log.end(),
            root,
            next_page: self.pages.next(),
        });
        let latest = Arc::new(Version {
            version,
            root,
            top,
            log_end: self.log.end(),
        });
        let state = shared.state.load();
        let mut recent = state.recent.clone();
        recent.push(Arc::clone(&latest));
        shared.state.store(Arc::new(State {
            era: state.era,
            latest,
            indexed: state.indexed,
            recent,
            retained: Arc::clone(&state.retained),
        }));
    }

    /// Keeps what is in memory, and what a recovery would replay, within bounds.
    fn make_room(&mut self, shared: &Shared) -> Result<(), StoreError> {
        if self.log_since_checkpoint() >= shared.options.checkpoint_bytes {
            return self.checkpoint(shared);
        }
        let (young, full) = (self.tail.young_bytes(), shared.options.tail_bytes as u64);
        if young >= full {
            // The older generation has to make room for the younger.
            while self.checkpoint.is_some() {
                self.checkpoint_step(shared)?;
            }
            self.turn(shared)?;
        } else if young >= full / 2 && self.pages.unfrozen() > 0 {
            // Nobody found time for it: a step a version, and there is next to nothing left by then.
            self.freeze_some(shared)?;
        }
        if self.is_full() {
            self.write_nodes(shared)?;
        }
        Ok(())
    }

    /// Whether it's time to write what is in memory.
    pub(crate) fn is_full(&self) -> bool {
        let versions = self.unindexed.len() >= UNWRITTEN_VERSIONS_MAX;
        self.tops.is_full() || self.records.is_full() || versions
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

    /// Writes the records and index entries that are only in memory, without making them durable.
    pub(crate) fn write_nodes(&mut self, shared: &Shared) -> Result<(), StoreError> {
        self.records.write(&shared.nodes.pages)?;
        self.tops.write(&shared.nodes.tops)?;
        let state = shared.state.load();
        shared.versions.write(state.indexed, &self.unindexed)?;
        shared.state.store(Arc::new(State {
            era: state.era,
            latest: Arc::clone(&state.latest),
            indexed: state.count(),
            recent: Vec::new(),
            retained: Arc::clone(&state.retained),
        }));
        self.unindexed.clear();
        Ok(())
    }

    /// Freezes all pages, makes records and index durable, and says so in the superblock: recovery goes on from here.
    pub(crate) fn checkpoint(&mut self, shared: &Shared) -> Result<(), StoreError> {
        self.sync(shared)?;
        while self.checkpoint.is_some() {
            self.checkpoint_step(shared)?;
        }
        self.turn(shared)?;
        while self.checkpoint.is_some() {
            self.checkpoint_step(shared)?;
        }
        Ok(())
    }

    /// Whether a checkpoint is due, if there is time.
    fn is_due(&self, shared: &Shared) -> bool {
        let (tail, log) = (self.tail.young_bytes(), self.log_since_checkpoint());
        let log_due = shared.options.checkpoint_bytes / 2;
        // Each checkpoint that comes early makes records of fewer items.
        let says_more =
            self.pages_floor.is_some() && (log == 0 || log >= log_due / RETENTION_SHARE);
        tail >= shared.options.tail_bytes as u64 || log >= log_due || says_more
    }

    /// Does a part of a checkpoint, if one is due or under way: versions may be appended between the parts. Returns
    /// whether it did something.
    pub(crate) fn checkpoint_step(&mut self, shared: &Shared) -> Result<bool, StoreError> {
        match self.checkpoint.clone() {
            None if !self.is_due(shared) => return Ok(false),
            None => self.turn(shared)?,
            Some(Checkpoint::Freezing(then)) => {
                if self.freeze_some(shared)? {
                    if self.records.is_full() {
                        self.write_nodes(shared)?;
                    }
                } else {
                    let directory = self.write_directory(shared);
                    let listed = Superblock { directory, ..then };
                    self.checkpoint = Some(Checkpoint::Listed(listed.clone()));
                    self.write_checkpoint(shared, listed)?;
                }
            }
            Some(Checkpoint::Listed(then)) => self.write_checkpoint(shared, then)?,
            Some(Checkpoint::Written(then)) if self.log.durable() < then.log_position => {
                self.sync(shared)?;
            }
            Some(Checkpoint::Written(then)) => self.finish_checkpoint(shared, then)?,
        }
        Ok(true)
    }

    /// Begins a checkpoint of all there is now.
    fn turn(&mut self, shared: &Shared) -> Result<(), StoreError> {
        assert!(self.checkpoint.is_none(), "one at a time");
        assert_eq!(self.pages.unfrozen(), 0, "one at a time");
        self.pages.turn(&mut self.tail);
        self.checkpoint = Some(Checkpoint::Freezing(Superblock {
            generation: self.superblock.generation,
            era: self.log.era(),
            versions: shared.state.load().count(),
            log_position: self.log.end(),
            link: self.log.link(),
            next_seq: self.next_seq,
            next_page: self.pages.next(),
            file_bytes: self.superblock.file_bytes,
            retained: Arc::clone(&self.retained),
            // Known when all is written.
            nodes_end: 0,
            pages_end: 0,
            directory: None,
        }));
        Ok(())
    }

    /// Freezes a few pages of the older generation. Returns whether there were any.
    fn freeze_some(&mut self, shared: &Shared) -> Result<bool, StoreError> {
        if self.pages.unfrozen() == 0 {
            return Ok(false);
        }
        let (nodes, sink) = (&shared.nodes, self.records.sink());
        let (frozen, sink) = freeze(nodes, &self.tail, &self.pages, sink, FREEZE_BYTES)?;
        self.records.append(&nodes.pages, sink.finish());
        frozen.publish(nodes, &mut self.pages);
        Ok(true)
    }

    /// Lets go of the older generation, all of which is in the page files.
    fn drop_frozen(&mut self, shared: &Shared) {
        assert_eq!(self.pages.unfrozen(), 0, "all of it");
        self.tail.drop_old(&shared.nodes.tail);
        self.checkpoint = None;
    }

    /// Writes what is left of a checkpoint.
    fn write_checkpoint(&mut self, shared: &Shared, then: Superblock) -> Result<(), StoreError> {
        self.write_nodes(shared)?;
        self.drop_frozen(shared);
        self.checkpoint = Some(Checkpoint::Written(Superblock {
            nodes_end: self.tops.written(),
            pages_end: self.records.written(),
            ..then
        }));
        Ok(())
    }

    /// Makes the records of the directory of the pages, all of which are frozen.
    fn write_directory(&mut self, shared: &Shared) -> Option<At> {
        let (nodes, mut sink) = (&shared.nodes, self.records.sink());
        let at = self
            .pages
            .write(&nodes.directory, &nodes.void.load(), &mut sink);
        self.records.append(&nodes.pages, sink.finish());
        at
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
            superblock.pages_end <= self.records.written(),
            "written before"
        );
        self.checkpoint = None;
        self.fatal(|cursor| {
            cursor.sync_nodes(shared)?;
            cursor.say_checkpoint(shared, superblock)
        })
    }

    /// Makes written nodes durable ahead of a checkpoint, if there are many that aren't: so that a checkpoint never
    /// waits for a lot at once.
    pub(crate) fn sync_some_nodes(&mut self) -> Result<bool, StoreError> {
        let unsynced = self.tops.unsynced_bytes() + self.records.unsynced_bytes();
        if unsynced < UNSYNCED_NODE_BYTES {
            return Ok(false);
        }
        self.fatal(|cursor| {
            cursor.tops.sync()?;
            cursor.records.sync()
        })?;
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
        assert!(self.checkpoint.is_none(), "a checkpoint was made");
        assert_eq!(self.tail.young_bytes(), 0, "a checkpoint was made");
        let seq = target.map_or(Seq::default(), |(_, entry)| entry.seq);
        let void = shared.nodes.void.load().and_above(seq, self.next_seq);
        let void = Arc::new(void.ok_or(StoreError::TooManyRollbacks)?);
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
                    log_end: entry.log_end,
                };
                (latest, index + 1, entry.log_end, link)
            }
        };
        let before = shared.nodes.void.swap(void);
        self.fatal(|cursor| {
            let directory = cursor.write_directory(shared);
            cursor.records.write(&shared.nodes.pages)?;
            let superblock = Superblock {
                generation: cursor.superblock.generation,
                era: cursor.log.era() + 1,
                versions,
                nodes_end: cursor.tops.written(),
                pages_end: cursor.records.written(),
                log_position: log_end,
                next_seq: cursor.next_seq,
                next_page: cursor.pages.next(),
                directory,
                file_bytes: cursor.superblock.file_bytes,
                retained: Arc::clone(&cursor.retained),
                link,
            };
            cursor.sync_nodes(shared)?;
            // Both: the older one's log is about to be cut.
            cursor.write_superblock(superblock.clone())?;
            let era = superblock.era;
            cursor.write_superblock(superblock)?;
            cursor.log.cut(log_end, era, link)
        })
        .inspect_err(|_| shared.nodes.void.store(before))?;
        shared.durable.store(latest.version.0, Ordering::Release);
        shared.state.store(Arc::new(State {
            era: self.log.era(),
            latest: Arc::new(latest),
            indexed: versions,
            recent: Vec::new(),
            retained: Arc::clone(&self.retained),
        }));
        if versions == 0 {
            shared.floor.store(None);
        }
        self.seating.clear(&shared.nodes.arena);
        shared.nodes.directory.forget_counts();
        Ok(())
    }

    /// Makes the newest version the only one: what is before are parts of it. A checkpoint was made just before.
    ///
    /// ```text
    ///  index  part 0 │ part 1 │ … │ last part          ─▶  last part │ whatever
    /// ```
    pub(crate) fn join_parts(&mut self, shared: &Shared) -> Result<(), StoreError> {
        let state = shared.state.load_full();
        assert!(self.unindexed.is_empty(), "a checkpoint was made");
        assert_eq!(state.indexed, self.superblock.versions, "and says so");
        let Some(last) = state.indexed.checked_sub(1) else {
            return Ok(());
        };
        let last = shared.versions.get(last)?;
        self.fatal(|cursor| {
            shared.versions.write(0, &[last])?;
            shared.versions.sync()?;
            let superblock = Superblock {
                versions: 1,
                ..cursor.superblock.clone()
            };
            // Both: the older one counts on entries of the index that aren't what they were.
            cursor.write_superblock(superblock.clone())?;
            cursor.write_superblock(superblock)
        })?;
        shared.state.store(Arc::new(State {
            era: state.era,
            latest: Arc::clone(&state.latest),
            indexed: 1,
            recent: Vec::new(),
            retained: Arc::clone(&state.retained),
        }));
        Ok(())
    }

    fn sync_nodes(&mut self, shared: &Shared) -> Result<(), StoreError> {
        self.tops.sync()?;
        self.records.sync()?;
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

    /// Writes a superblock; over both, if it is the first to say which versions are kept: what others needed may go then.
    fn say_checkpoint(
        &mut self,
        shared: &Shared,
        superblock: Superblock,
    ) -> Result<(), StoreError> {
        let says_more = Arc::ptr_eq(&superblock.retained, &self.retained);
        let Some((pages, next_page)) = self.pages_floor.filter(|_| says_more) else {
            return self.write_superblock(superblock);
        };
        self.write_superblock(superblock.clone())?;
        self.write_superblock(superblock)?;
        self.pages_floor = None;
        let retained = Arc::clone(&self.retained);
        let floor = Floor {
            retained,
            pages,
            next_page,
        };
        shared.floor.store(Some(Arc::new(floor)));
        Ok(())
    }

    /// Keeps these versions from now on, and no others. It isn't durable before the next checkpoint that begins.
    pub(crate) fn retain(&mut self, shared: &Shared, retained: Retained) {
        self.retained = Arc::new(retained);
        // What superblocks lead to of the page directory lies behind here by then.
        self.pages_floor = Some((self.records.end(), self.pages.next()));
        self.pages.forget_chunks();
        shared.state.rcu(|state| State {
            era: state.era,
            latest: Arc::clone(&state.latest),
            indexed: state.indexed,
            recent: state.recent.clone(),
            retained: Arc::clone(&self.retained),
        });
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
    scratch: &Scratch,
    shared: &Shared,
    old: Option<&Space>,
    changes: &SpaceChanges<'_>,
    draft: &mut Draft,
    scribe: &mut Scribe<'_>,
) -> Result<Option<Space>, StoreError> {
    let mut entries = scratch.entries.take();
    draft.space(changes, &mut entries);
    if changes.action != Action::Keep
        && let Some((_, Child::Node(root))) = old.and_then(|old| old.tree().root.as_ref())
    {
        scribe.dropped(*root);
    }
    let old = match changes.action {
        Action::Keep => old,
        Action::Reset => None,
        Action::Drop => return Ok(None),
    };
    let empty = Tree::default();
    let (tree, count) = old.map_or((&empty, 0), |space| (space.tree(), space.count()));
    let mut leaves = scratch.changes.take();
    leaves.extend(changes.keys.iter().zip(&entries).map(|(change, entry)| {
        let leaf = change
            .value
            .map(|value| (leaf_hash(change.key, value), *entry));
        Change::new(change.path, leaf)
    }));
    let tree = update(tree, &mut leaves, &shared.nodes, scribe)?;
    let mut count = count;
    for (change, entry) in leaves.iter().zip(&entries) {
        draft.complete(entry, change.previous.as_ref());
        count += u64::from(change.leaf.is_some());
        count -= u64::from(change.previous.is_some());
    }
    scratch.entries.keep(entries);
    scratch.changes.keep(leaves);
    Ok(Some(Space::new(changes.name.clone(), count, tree)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::Batch;
    use crate::limits::Options;
    use crate::store::Store;
    use violeta_journal::MemoryDisk;

    #[test]
    fn a_checkpoint_on_a_full_disk_takes_no_more_memory_each_time_it_is_tried() {
        let disk = MemoryDisk::new();
        let store = Store::open(Arc::new(disk.clone()), "", Options::default()).unwrap();
        let mut batch = Batch::new();
        batch.create_space(b"s");
        (0..2_000u32).for_each(|key| batch.put(b"s", &key.to_le_bytes(), vec![7; 40]));
        let mut writer = store.writer().unwrap();
        let staged = writer.stage(&batch).unwrap();
        writer.commit(Height(1), staged).unwrap();
        drop(writer);
        disk.set_capacity(Some(disk.used_bytes()));
        let tried = |_| {
            let error = store.writer().unwrap().checkpoint().unwrap_err();
            assert!(matches!(error, StoreError::Disk(_)), "{error}");
            store
                .shared
                .cursor()
                .as_ref()
                .map(|cursor| cursor.records.end())
        };
        let ends: Vec<_> = (0..5).map(tried).collect();
        assert_eq!(ends, [ends[0]; 5]);
        disk.set_capacity(None);
        store.writer().unwrap().checkpoint().unwrap();
        drop(store);
        let store = Store::open(Arc::new(disk), "", Options::default()).unwrap();
        assert_eq!(store.verify().unwrap().keys, 2_000);
    }
}
