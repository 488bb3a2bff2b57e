//! The node files: every node of every version, append-only, written off the commit path.
//!
//! ```text
//!  offsets   0 ───────────▶ 256 M ──────────▶ 512 M … written │ unwritten: in memory, one piece a version
//!            nodes-00000000 │ nodes-00000001 │
//! ```
//!
//! A record lies in one file. Nothing here is needed to survive a crash: what isn't below the superblock's end is made
//! again from the log. Nothing here is trusted either: a node is served only if its record's checksum is right and it
//! has the digest that its parent says.

use std::sync::Arc;

use arc_swap::{ArcSwap, ArcSwapOption};
use violeta_journal::{Disk, DiskFile, OpenMode};
use violeta_types::Digest;

use crate::error::StoreError;
use crate::files::{Files, in_dir};
use crate::limits::{NODE_FILE_BYTES, Options, UNWRITTEN_BYTES};
use crate::space::Space;
use crate::spare::Spare;
use crate::tree::{
    Arena, At, CHAIN_MAX, Change, Entry, Leaf, Link, Load, NodeSink, Record, Resident, SharedNode,
    Tree, View, decode_tree,
};

fn path(dir: &str, number: u64) -> String {
    in_dir(dir, &format!("nodes-{number:08x}"))
}

/// The node files as readers see them.
#[derive(Debug)]
pub(crate) struct NodeFiles {
    dir: String,
    files: Files,
    /// Records that aren't in the files yet.
    unwritten: ArcSwap<Vec<Piece>>,
    /// Nodes of the newest version.
    pub(crate) arena: Arena,
    /// Others.
    entries: Cache<Entry>,
    spaces: Cache<Space>,
}

/// The records of one version.
#[derive(Clone, Debug)]
struct Piece {
    /// Where they will begin.
    start: u64,
    bytes: Arc<Vec<u8>>,
}

impl NodeFiles {
    pub(crate) fn new(disk: Arc<dyn Disk>, dir: &str, options: &Options) -> Self {
        NodeFiles {
            dir: dir.to_owned(),
            files: Files::new(disk),
            unwritten: ArcSwap::default(),
            arena: Arena::new(options.resident_bytes),
            entries: Cache::new(options.cache_nodes),
            spaces: Cache::new(options.cache_nodes / 8),
        }
    }

    /// Puts a node of the top tree where it is found without being read.
    pub(crate) fn keep_space_node(&self, digest: &Digest, node: &SharedNode<Space>) {
        self.spaces.put(node.at(), digest, node);
    }

    /// The top tree whose root record lies at `at`.
    pub(crate) fn top_tree(&self, at: At) -> Result<Tree<Space>, StoreError> {
        let bytes = self.read(at)?;
        let rest = &mut &bytes[..];
        decode_tree(rest)
            .filter(|_| rest.is_empty())
            .ok_or_else(|| self.corrupt(at, "not the root of a version"))
    }

    fn read(&self, at: At) -> Result<Vec<u8>, StoreError> {
        let mut bytes = match self.unwritten(at) {
            Some(bytes) => bytes,
            None => self.read_file(at)?,
        };
        let record = match bytes.split_last_chunk::<4>() {
            Some((record, crc)) if crc32fast::hash(record).to_le_bytes() == *crc => record.len(),
            _ => return Err(self.corrupt(at, "the record's checksum is wrong")),
        };
        bytes.truncate(record);
        Ok(bytes)
    }

    /// A record that isn't in the files yet.
    fn unwritten(&self, at: At) -> Option<Vec<u8>> {
        let pieces = self.unwritten.load();
        let after = pieces.partition_point(|piece| piece.start <= at.offset());
        let piece = pieces.get(after.checked_sub(1)?)?;
        let start = usize::try_from(at.offset() - piece.start).ok()?;
        let end = start.checked_add(at.len())?;
        piece.bytes.get(start..end).map(<[u8]>::to_vec)
    }

    fn read_file(&self, at: At) -> Result<Vec<u8>, StoreError> {
        let number = at.offset() / NODE_FILE_BYTES;
        let mut bytes = vec![0; at.len()];
        let path = || path(&self.dir, number);
        self.files
            .read_at((number, 0), path, at.offset() % NODE_FILE_BYTES, &mut bytes)
            .map_err(|error| match error.kind() {
                std::io::ErrorKind::UnexpectedEof | std::io::ErrorKind::NotFound => {
                    self.corrupt(at, error.to_string())
                }
                _ => StoreError::Disk(error),
            })?;
        Ok(bytes)
    }

    /// Reads a node: the newest record and all that it builds on.
    fn node<L: Leaf>(&self, at: At) -> Result<(SharedNode<L>, Digest), StoreError> {
        let mut newer: Vec<Record<L>> = Vec::new();
        let mut next = at;
        let mut record = loop {
            let record = Record::<L>::decode(&self.read(next)?);
            let record = record.ok_or_else(|| self.corrupt(next, "not a node"))?;
            match record.base() {
                None => break record,
                Some(_) if newer.len() >= usize::from(CHAIN_MAX) => {
                    return Err(self.corrupt(at, "the chain of deltas doesn't end"));
                }
                Some(base) => next = base,
            }
            newer.push(record);
        };
        while let Some(over) = newer.pop() {
            let merged = record.lay_over(over);
            record = merged.ok_or_else(|| self.corrupt(at, "a delta doesn't fit its base"))?;
        }
        Ok(record.into_node(at))
    }

    /// The node that `link` leads to, from the cache or the files.
    fn held<L: Leaf>(
        &self,
        cache: &Cache<L>,
        link: &Link,
        expected: &Digest,
    ) -> Result<SharedNode<L>, StoreError> {
        if let Some(node) = cache.get(link.at, expected) {
            return Ok(node);
        }
        let (node, digest) = self.node(link.at)?;
        if digest != *expected {
            return Err(self.corrupt(link.at, "the node isn't the one that its parent names"));
        }
        cache.put(link.at, expected, &node);
        Ok(node)
    }

    pub(crate) fn corrupt(&self, at: At, what: impl Into<String>) -> StoreError {
        let number = at.offset() / NODE_FILE_BYTES;
        StoreError::corrupt(path(&self.dir, number), at.offset() % NODE_FILE_BYTES, what)
    }
}

impl Load<Entry> for NodeFiles {
    type Node<'a> = Resident<'a, SharedNode<Entry>>;

    fn load(&self, link: &Link, expected: &Digest) -> Result<Self::Node<'_>, StoreError> {
        if let Some(node) = self.arena.get(link) {
            return Ok(Resident::Seated(*link, node));
        }
        Ok(Resident::Held(self.held(&self.entries, link, expected)?))
    }

    fn warm_up(&self, link: &Link, depth: usize, changes: &[Change<Entry>]) {
        self.arena.warm_up(link, depth, changes);
    }

    fn look<R>(
        &self,
        link: &Link,
        expected: &Digest,
        look: impl Fn(&dyn View<Entry>) -> R,
    ) -> Result<R, StoreError> {
        if let Some(node) = self.arena.get(link) {
            let seen = look(&node);
            if node.is_still(link.at) {
                return Ok(seen);
            }
        }
        Ok(look(&self.held(&self.entries, link, expected)?))
    }
}

impl Load<Space> for NodeFiles {
    type Node<'a> = SharedNode<Space>;

    fn load(&self, link: &Link, expected: &Digest) -> Result<Self::Node<'_>, StoreError> {
        self.held(&self.spaces, link, expected)
    }

    fn look<R>(
        &self,
        link: &Link,
        expected: &Digest,
        look: impl Fn(&dyn View<Space>) -> R,
    ) -> Result<R, StoreError> {
        Ok(look(&self.held(&self.spaces, link, expected)?))
    }
}

/// A cache with one place for each address: bounded, and nobody waits.
#[derive(Debug)]
struct Cache<L> {
    slots: Box<[ArcSwapOption<Cached<L>>]>,
}

#[derive(Debug)]
struct Cached<L> {
    at: At,
    digest: Digest,
    node: SharedNode<L>,
}

impl<L> Cache<L> {
    fn new(slots: usize) -> Self {
        Cache {
            slots: (0..slots.max(1)).map(|_| ArcSwapOption::empty()).collect(),
        }
    }

    fn slot(&self, at: At) -> &ArcSwapOption<Cached<L>> {
        // Fibonacci hashing spreads neighbours.
        let spread = at.offset().wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
        &self.slots[spread as usize % self.slots.len()]
    }

    fn get(&self, at: At, digest: &Digest) -> Option<SharedNode<L>> {
        let cached = self.slot(at).load();
        let cached = cached.as_ref()?;
        (cached.at == at && cached.digest == *digest).then(|| cached.node.clone())
    }

    fn put(&self, at: At, digest: &Digest, node: &SharedNode<L>) {
        self.slot(at).store(Some(Arc::new(Cached {
            at,
            digest: *digest,
            node: node.clone(),
        })));
    }
}

/// The node files as the writer sees them.
#[derive(Debug)]
pub(crate) struct NodeWriter {
    disk: Arc<dyn Disk>,
    dir: String,
    /// All before it is in the files.
    written: u64,
    /// How much comes after it.
    unwritten_bytes: usize,
    spare: Spare<u8>,
    /// Files with writes that aren't synced.
    unsynced: Vec<(u64, Arc<dyn DiskFile>)>,
    /// How much that was.
    unsynced_bytes: u64,
}

impl NodeWriter {
    pub(crate) fn new(disk: Arc<dyn Disk>, dir: &str, end: u64) -> Self {
        NodeWriter {
            disk,
            dir: dir.to_owned(),
            written: end,
            unwritten_bytes: 0,
            spare: Spare::default(),
            unsynced: Vec::new(),
            unsynced_bytes: 0,
        }
    }

    /// Where the next record goes.
    pub(crate) fn end(&self) -> u64 {
        self.written + self.unwritten_bytes as u64
    }

    /// A sink for the records of the next version.
    pub(crate) fn sink(&self) -> NodeSink {
        NodeSink::new(self.end(), NODE_FILE_BYTES, self.spare.take())
    }

    /// All before it can be read.
    pub(crate) fn written(&self) -> u64 {
        self.written
    }

    /// Takes the records of a version; readers find them from now on.
    pub(crate) fn append(&mut self, files: &NodeFiles, records: Vec<u8>) {
        let piece = Piece {
            start: self.end(),
            bytes: Arc::new(records),
        };
        self.unwritten_bytes += piece.bytes.len();
        let mut pieces = files.unwritten.load().to_vec();
        pieces.push(piece);
        files.unwritten.store(Arc::new(pieces));
    }

    /// What was written and isn't durable.
    pub(crate) fn unsynced_bytes(&self) -> u64 {
        self.unsynced_bytes
    }

    /// Whether it's time to write.
    pub(crate) fn is_full(&self) -> bool {
        self.unwritten_bytes >= UNWRITTEN_BYTES
    }

    /// Writes what is in memory, without making it durable. If that fails, it is still in memory.
    pub(crate) fn write(&mut self, files: &NodeFiles) -> Result<(), StoreError> {
        let pieces = files.unwritten.load_full();
        let mut joined = Vec::new();
        let bytes = match &pieces[..] {
            [piece] => &piece.bytes[..],
            pieces => {
                joined = self.spare.take();
                (pieces.iter()).for_each(|piece| joined.extend_from_slice(&piece.bytes));
                &joined[..]
            }
        };
        assert_eq!(bytes.len(), self.unwritten_bytes, "the pieces are all");
        let mut done = 0;
        while done < bytes.len() {
            let at = self.written + done as u64;
            let (number, offset) = (at / NODE_FILE_BYTES, at % NODE_FILE_BYTES);
            let room = usize::try_from(NODE_FILE_BYTES - offset).unwrap_or(usize::MAX);
            let part = (bytes.len() - done).min(room);
            let file = self.file(number)?;
            file.write_at(offset, &bytes[done..done + part])?;
            done += part;
        }
        self.written += done as u64;
        self.unsynced_bytes += done as u64;
        self.unwritten_bytes = 0;
        files.unwritten.store(Arc::default());
        // Unless a reader has them, the buffers serve versions to come.
        self.spare.keep(joined);
        for piece in Arc::into_inner(pieces).unwrap_or_default() {
            if let Some(bytes) = Arc::into_inner(piece.bytes) {
                self.spare.keep(bytes);
            }
        }
        Ok(())
    }

    fn file(&mut self, number: u64) -> Result<Arc<dyn DiskFile>, StoreError> {
        if let Some((_, file)) = self.unsynced.iter().find(|(n, _)| *n == number) {
            return Ok(Arc::clone(file));
        }
        let file = self.disk.open(&path(&self.dir, number), OpenMode::Any)?;
        self.unsynced.push((number, Arc::clone(&file)));
        Ok(file)
    }

    /// Makes what was written durable, names of files aside.
    pub(crate) fn sync(&mut self) -> Result<(), StoreError> {
        for (_, file) in self.unsynced.drain(..) {
            file.sync_data()?;
        }
        self.unsynced_bytes = 0;
        Ok(())
    }
}
