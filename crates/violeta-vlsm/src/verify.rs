//! The full check of a store: everything that can be checked without its peers.

use std::sync::Arc;

use violeta_proof::tree::{FANOUT, inner_hash, node_hash, top_hash};
use violeta_types::Digest;

use crate::error::StoreError;
use crate::log::Scan;
use crate::nodes::{Anew, Nodes};
use crate::space::Space;
use crate::store::{Shared, State, Store, Version};
use crate::tree::{Entry, Link, Load, Next, Spot, View};

/// What a full check went through.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Verified {
    /// Versions, but for those that are pinned: of each the record in the log, its checksum and its place in the chain, the index entry, the root.
    pub versions: u64,
    /// Bytes of the log.
    pub log_bytes: u64,
    /// Spaces of the newest version.
    pub spaces: u64,
    /// Keys of the newest version: of each every node above, as it was written and as it is in memory, key and value.
    pub keys: u64,
}

impl Store {
    /// Checks the whole log with its chain of checksums, every version's root, and of the newest version every key and
    /// value, every page and record, from which all nodes are made anew, and every node that is in memory. Takes as long
    /// as reading all of the log does, and as hashing the newest version's tree twice. What pages held at older versions
    /// is checked when it is read.
    ///
    /// # Errors
    /// The first thing that is wrong, with its file and offset.
    pub fn verify(&self) -> Result<Verified, StoreError> {
        self.verify_watched(|_| ())
    }

    /// [`Self::verify`], telling `watch` how far it is after each version and each key.
    ///
    /// # Errors
    /// As that.
    pub fn verify_watched(&self, watch: impl FnMut(&Verified)) -> Result<Verified, StoreError> {
        // A compaction of what is pruned from now on would take what is looked at.
        let _check = self.shared.turns.check();
        let state = self.shared.state.load_full();
        let mut progress = Progress {
            verified: Verified::default(),
            watch,
        };
        verify_log(&self.shared, &state, &mut progress)?;
        verify_newest(&self.shared, &state, &mut progress)?;
        Ok(progress.verified)
    }
}

/// How far a check is, and who wants to know.
struct Progress<W> {
    verified: Verified,
    watch: W,
}

impl<W: FnMut(&Verified)> Progress<W> {
    fn made(&mut self, progress: impl FnOnce(&mut Verified)) {
        progress(&mut self.verified);
        (self.watch)(&self.verified);
    }
}

fn verify_log(
    shared: &Shared,
    state: &State,
    progress: &mut Progress<impl FnMut(&Verified)>,
) -> Result<(), StoreError> {
    let first = state.retained.first;
    // What was pruned may be gone, and with it what the first record follows.
    let (start, link) = match first.checked_sub(1) {
        None => (0, Digest::ZERO),
        Some(before) => {
            let start = shared.version_end(state, before)?;
            (start, shared.log.link_at(start)?)
        }
    };
    let mut scan = Scan::new(&shared.log, start, link, None);
    for index in first..state.count() {
        let version = version_anew(shared, state, index)?;
        // A version that was imported has several records: parts, with its number, and the last one has its root.
        loop {
            let start = scan.position();
            let record = scan.next()?;
            let record = record.ok_or_else(|| shared.log.corrupt(start, "not a record"))?;
            let is_last = scan.position() >= version.log_end;
            let is_root = !is_last || record.root == version.root;
            if record.header.version != version.version || !is_root {
                let (found, expected) = (record.header.version, version.version);
                let what =
                    format!("version {found}, where the index says {expected}, or another root");
                return Err(shared.log.corrupt(start, what));
            }
            if is_last {
                break;
            }
        }
        progress.made(|verified| {
            verified.versions += 1;
            verified.log_bytes = scan.position() - start;
        });
    }
    Ok(())
}

/// A version: as the index says, if it has the version, with the root's record read.
fn version_anew(shared: &Shared, state: &State, index: u64) -> Result<Arc<Version>, StoreError> {
    if index >= state.indexed {
        return shared.version_at(state, index);
    }
    let entry = shared.versions.get(index)?;
    Ok(Arc::new(Version {
        version: entry.version,
        root: entry.root,
        top: shared.top_tree(entry.at, &entry.root)?,
        log_end: entry.log_end,
    }))
}

/// Goes through the newest version twice: as it was written, and as it is in memory.
fn verify_newest(
    shared: &Shared,
    state: &State,
    progress: &mut Progress<impl FnMut(&Verified)>,
) -> Result<(), StoreError> {
    let top = &state.latest.top;
    if top_hash(&top.digest()) != state.latest.root {
        return Err(unlike("the newest version's root"));
    }
    top.visit(None, &Anew(&shared.nodes), &mut |digest, space: &Space| {
        if space.digest() != *digest {
            return Err(unlike("a space's record"));
        }
        let mut keys = 0;
        space
            .tree()
            .visit(None, &Anew(&shared.nodes), &mut |digest, entry: &Entry| {
                shared.key_value(digest, entry)?;
                keys += 1;
                progress.made(|verified| verified.keys += 1);
                Ok(Next::Leaf)
            })?;
        if keys != space.count() {
            let what = format!("a space of {} keys has {keys}", space.count());
            return Err(StoreError::corrupt("the tree", 0, what));
        }
        space
            .tree()
            .visit(None, &Hashed(&shared.nodes), &mut |_, _: &Entry| {
                Ok(Next::Leaf)
            })?;
        progress.made(|verified| verified.spaces += 1);
        Ok(Next::Leaf)
    })?;
    Ok(())
}

fn unlike(what: &str) -> StoreError {
    let what = format!("{what} isn't the one that was named");
    StoreError::corrupt("the tree", 0, what)
}

/// The nodes as they are in memory, each of which is hashed when it is looked at.
struct Hashed<'a>(&'a Nodes);

impl Load<Entry> for Hashed<'_> {
    type Node<'a>
        = <Nodes as Load<Entry>>::Node<'a>
    where
        Self: 'a;
    type Way = <Nodes as Load<Entry>>::Way;

    fn load(
        &self,
        way: &mut Self::Way,
        link: &Link,
        expected: &Digest,
        spot: Spot<'_>,
    ) -> Result<Self::Node<'_>, StoreError> {
        let node = Load::<Entry>::load(self.0, way, link, expected, spot)?;
        match is_node(&node, expected) {
            true => Ok(node),
            false => Err(unlike("a node in memory")),
        }
    }

    fn look<R>(
        &self,
        way: &mut Self::Way,
        link: &Link,
        expected: &Digest,
        spot: Spot<'_>,
        look: impl Fn(&dyn View<Entry>) -> R,
    ) -> Result<R, StoreError> {
        let seen = self.0.look(way, link, expected, spot, |node| {
            (is_node(node, expected), look(node))
        })?;
        match seen {
            (true, seen) => Ok(seen),
            (false, _) => Err(unlike("a node in memory")),
        }
    }
}

/// Whether what fills the node's slots makes the halves that it has, and `digest`.
fn is_node(node: &dyn View<Entry>, digest: &Digest) -> bool {
    let mut halves = [None; 2 * FANOUT];
    for slot in 0..FANOUT {
        halves[FANOUT + slot] = node.slot(slot).map(|(digest, _)| digest);
    }
    for half in (1..FANOUT).rev() {
        halves[half] = match (halves[2 * half], halves[2 * half + 1]) {
            (Some(left), Some(right)) => Some(inner_hash(&left, &right)),
            (one, other) => one.or(other),
        };
    }
    let same = (1..2 * FANOUT).all(|half| halves[half].is_none_or(|h| node.half(half) == h));
    same && halves[1].is_some_and(|root| node_hash(node.bitmap(), &root) == *digest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::Batch;
    use crate::limits::Options;
    use crate::tree::Child;
    use violeta_journal::MemoryDisk;
    use violeta_types::Height;

    const KEYS: u16 = 200;

    fn store(disk: &MemoryDisk) -> Store {
        let store = Store::open(Arc::new(disk.clone()), "", Options::default()).unwrap();
        let mut writer = store.writer().unwrap();
        let mut batch = Batch::new();
        batch.create_space(b"s");
        (0..KEYS).for_each(|key| batch.put(b"s", &key.to_le_bytes(), vec![7; 40]));
        let staged = writer.stage(&batch).unwrap();
        writer.commit(Height(1), staged).unwrap();
        writer.checkpoint().unwrap();
        drop(writer);
        store
    }

    fn corrupt_file(store: &Store) -> String {
        match store.verify() {
            Err(StoreError::Corrupt { file, .. }) => file,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_sound_store_is_gone_through_whole() {
        let store = store(&MemoryDisk::new());
        let mut told = Vec::new();
        let verified = store.verify_watched(|so_far| told.push(*so_far)).unwrap();
        assert_eq!((verified.versions, verified.spaces), (1, 1));
        assert_eq!(verified.keys, u64::from(KEYS));
        assert_eq!(told.last(), Some(&verified));
        assert_eq!(told.len(), 1 + usize::from(KEYS) + 1);
    }

    #[test]
    fn a_page_that_rotted_is_found_though_its_nodes_are_in_memory() {
        let disk = MemoryDisk::new();
        let store = store(&disk);
        for (file, offset) in [("pages-00000000", 300), ("nodes-00000000", 20)] {
            disk.flip_bit(file, offset, 2).unwrap();
            assert_eq!(corrupt_file(&store), file);
            disk.flip_bit(file, offset, 2).unwrap();
        }
        store.verify().unwrap();
    }

    #[test]
    fn a_node_that_changed_in_memory_is_found() {
        let store = store(&MemoryDisk::new());
        let state = store.shared.state.load_full();
        let space = state.latest.find_space(&store.shared, b"s").unwrap();
        let tree = space.as_ref().unwrap().tree();
        let Some((_, Child::Node(root))) = &tree.root else {
            panic!("{tree:?}")
        };
        let arena = &store.shared.nodes.arena;
        let node = arena.get(root).unwrap();
        let below = (0..FANOUT).find_map(|slot| match node.slot(slot) {
            Some((_, Child::Node(link))) => arena.get(&link),
            _ => None,
        });
        for node in [node, below.unwrap()] {
            node.spoil();
            assert_eq!(corrupt_file(&store), "the tree");
            node.spoil();
        }
        store.verify().unwrap();
    }
}
