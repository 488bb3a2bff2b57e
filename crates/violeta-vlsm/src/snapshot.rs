//! Snapshots: one version, readable and provable, whatever the writer does (vlsm.md §1.2, §1.4).

use std::ops::ControlFlow;
use std::sync::Arc;

use bytes::Bytes;
use violeta_proof::tree::prove::ProveError;
use violeta_proof::tree::{
    Branch, ChangeProof, Chunk, ChunkPlace, End, KeyPath, MultiProof, PathRange, Place, RangeProof,
    Sides, SpacePlace, SpaceProof, SpaceRecord, TreeProof, value_hash,
};
use violeta_types::{Digest, Height};

use crate::error::StoreError;
use crate::limits::{PAGE_BYTES, PAGE_ENTRIES_MAX};
use crate::space::Space;
use crate::store::{Shared, State, Version};
use crate::subject::TreeSubject;
use crate::tree::{Entry, Found, Next};

/// One version. Cheap to clone, and wait-free: the writer never blocks it, nor it the writer. A snapshot of a version
/// that was rolled back may find its values gone.
#[derive(Clone, Debug)]
pub struct Snapshot {
    pub(crate) shared: Arc<Shared>,
    pub(crate) version: Arc<Version>,
    /// The log's era then.
    era: u64,
}

/// Where a page of a listing ended, so where the next one begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageCursor(KeyPath);

/// A part of a listing, in the order of paths: neither that of keys nor of time, but the same for equal stores.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page<T> {
    /// What is listed.
    pub items: Vec<T>,
    /// Where to go on; none if that is all.
    pub next: Option<PageCursor>,
}

impl PageCursor {
    /// The place right after a key (or a space's name), whether or not it is there: who goes on with a listing need
    /// remember nothing but the last key.
    pub fn after(key: &[u8]) -> Self {
        PageCursor(KeyPath::of(key))
    }

    pub(crate) fn path(&self) -> &KeyPath {
        &self.0
    }
}

impl Snapshot {
    /// Of a version that `state` has.
    pub(crate) fn new(shared: Arc<Shared>, state: &State, version: Arc<Version>) -> Self {
        Snapshot {
            shared,
            version,
            era: state.era,
        }
    }

    /// The version.
    pub fn version(&self) -> Height {
        self.version.version
    }

    /// The root that binds everything in it.
    pub fn root(&self) -> Digest {
        self.version.root
    }

    /// The value of a key; none if the key, or the space, isn't there.
    ///
    /// # Errors
    /// If the disk fails, or doesn't hold what was written.
    pub fn get(&self, space: &[u8], key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        if let Some(value) = self.get_by_log(space, key) {
            return Ok(Some(value));
        }
        match self.entry(space, key)? {
            Some((digest, entry)) => Ok(Some(self.shared.key_value(&digest, &entry)?.1)),
            None => Ok(None),
        }
    }

    /// The value of a key, if that can be told by going back from what it has in the newest version, which is in memory:
    /// an older version's nodes mostly aren't. Where it can't, or something is wrong, the version's own tree tells.
    fn get_by_log(&self, space: &[u8], key: &[u8]) -> Option<Bytes> {
        let state = self.shared.state.load();
        if state.era != self.era || Arc::ptr_eq(&state.latest, &self.version) {
            return None;
        }
        let (digest, entry) = state.latest.entry(&self.shared, space, key).ok()??;
        let end = self.version.log_end;
        let value = match entry.position < end {
            // It hasn't been written since.
            true => self.shared.key_value(&digest, &entry).ok()?.1,
            false => self.shared.log.value_before(end, key, entry.at())?,
        };
        // A rollback may have given the log's positions to others meanwhile.
        (self.shared.state.load().era == self.era).then_some(value)
    }

    /// Whether a key has a value.
    ///
    /// # Errors
    /// If the disk fails, or doesn't hold what was written.
    pub fn contains(&self, space: &[u8], key: &[u8]) -> Result<bool, StoreError> {
        Ok(self.entry(space, key)?.is_some())
    }

    /// The value of a key, or that it has none, and the proof.
    ///
    /// # Errors
    /// If the disk fails, or doesn't hold what was written.
    pub fn prove(
        &self,
        space: &[u8],
        key: &[u8],
    ) -> Result<(Option<Bytes>, TreeProof), StoreError> {
        let top = &self.version.top;
        let (found, top) = top.prove(&KeyPath::of(space), &self.shared.nodes)?;
        let (value, place) = match found {
            Found::Empty => (None, Place::Empty),
            Found::Other(_, other) => (None, other_space(&other)?),
            Found::Leaf(_, space) => {
                let (value, branch, end) = self.prove_key(&space, key)?;
                let record = space.record();
                (
                    value,
                    Place::Present {
                        record,
                        branch,
                        end,
                    },
                )
            }
        };
        Ok((value, TreeProof { top, place }))
    }

    fn prove_key(
        &self,
        space: &Space,
        key: &[u8],
    ) -> Result<(Option<Bytes>, Branch, End), StoreError> {
        let tree = space.tree();
        let (found, branch) = tree.prove(&KeyPath::of(key), &self.shared.nodes)?;
        let (value, end) = match found {
            Found::Empty => (None, End::Empty),
            Found::Leaf(digest, entry) => {
                let (_, value) = self.shared.key_value(&digest, &entry)?;
                (Some(value), End::Leaf)
            }
            Found::Other(digest, entry) => {
                let (key, value) = self.shared.key_value(&digest, &entry)?;
                let end = End::Other {
                    key: key.try_into().map_err(StoreError::from_bound)?,
                    value_hash: value_hash(&value),
                };
                (None, end)
            }
        };
        Ok((value, branch, end))
    }

    /// The proof of what values all of `keys` have, or that they have none: one for all, which is smaller than one for
    /// each. All of these values are read, however long they are. The values themselves: [`Self::get`].
    ///
    /// # Errors
    /// If the keys are none or too many, or the disk fails, or doesn't hold what was written.
    pub fn prove_many<K: AsRef<[u8]>>(
        &self,
        space: &[u8],
        keys: &[K],
    ) -> Result<MultiProof, ProveError<StoreError>> {
        let (proof, space) = self.prove_space(space).map_err(ProveError::Subject)?;
        let tree = space.as_ref().map(|space| self.subject(space));
        MultiProof::prove(proof, tree.as_ref(), keys)
    }

    /// The proof of what keys a space has in a range of paths, and of the digests of their values: of `limit` keys, of
    /// about [`PAGE_BYTES`] bytes of keys and values (which are read for their digests), and of what fits a proof; of one
    /// key at least. What is left then, whoever reads the proof is told
    /// ([`Proved::rest`](violeta_proof::tree::Proved)).
    ///
    /// # Errors
    /// If the range ends before it begins, or the disk fails, or doesn't hold what was written.
    pub fn prove_range(
        &self,
        space: &[u8],
        range: &PathRange,
        limit: usize,
    ) -> Result<RangeProof, ProveError<StoreError>> {
        let (proof, space) = self.prove_space(space).map_err(ProveError::Subject)?;
        let tree = space.as_ref().map(|space| self.subject(space));
        let mut more = up_to(limit, [tree.as_ref(), None]);
        RangeProof::prove(proof, tree.as_ref(), range, |_| more())
    }

    /// The proof of which keys of a space, in a range of paths, have other values here than in `older`, and of the
    /// digests of both: of `limit` keys, and of as much as with [`Self::prove_range`]. It is as large as what differs,
    /// whatever else there is.
    ///
    /// # Errors
    /// If the range ends before it begins, or the disk fails, or doesn't hold what was written.
    pub fn prove_changes(
        &self,
        older: &Snapshot,
        space: &[u8],
        range: &PathRange,
        limit: usize,
    ) -> Result<ChangeProof, ProveError<StoreError>> {
        let (old, new) = (older.prove_space(space), self.prove_space(space));
        let (old, old_space) = old.map_err(ProveError::Subject)?;
        let (new, new_space) = new.map_err(ProveError::Subject)?;
        let old_tree = old_space.as_ref().map(|space| older.subject(space));
        let new_tree = new_space.as_ref().map(|space| self.subject(space));
        let trees = Sides {
            old: old_tree.as_ref(),
            new: new_tree.as_ref(),
        };
        let mut more = up_to(limit, [trees.old, trees.new]);
        ChangeProof::prove(Sides { old, new }, trees, range, |_| more())
    }

    /// The chunk that is asked for, of this version: all spaces, or all keys and values of a space, in a range of paths,
    /// up to the one that takes it to `bytes` ([`CHUNK_BYTES`] is good, [`CHUNK_BYTES_MAX`] the most); of one at least.
    /// What is left then, whoever verifies it is told
    /// ([`VerifiedChunk::rest`](violeta_proof::VerifiedChunk::rest)).
    ///
    /// Nothing is kept from one question to the next, and equal versions give equal chunks: any replica answers any.
    ///
    /// [`CHUNK_BYTES`]: crate::limits::CHUNK_BYTES
    /// [`CHUNK_BYTES_MAX`]: violeta_proof::tree::CHUNK_BYTES_MAX
    ///
    /// # Errors
    /// If the range ends before it begins, or the disk fails, or doesn't hold what was written.
    pub fn chunk(&self, place: &ChunkPlace, bytes: usize) -> Result<Chunk, ProveError<StoreError>> {
        let Some(name) = &place.space else {
            let top = TreeSubject::new(&self.shared, &self.version.top);
            return Chunk::of_spaces(&top, &place.range, bytes);
        };
        let (proof, space) = self.prove_space(name).map_err(ProveError::Subject)?;
        let tree = space.as_ref().map(|space| self.subject(space));
        Chunk::of_keys(name.clone(), proof, tree.as_ref(), &place.range, bytes)
    }

    fn subject<'a>(&'a self, space: &'a Space) -> TreeSubject<'a> {
        TreeSubject::new(&self.shared, space.tree())
    }

    /// What the top tree says of a space, its proof, and the space, if it is there.
    fn prove_space(&self, name: &[u8]) -> Result<(SpaceProof, Option<Space>), StoreError> {
        let top = &self.version.top;
        let (found, top) = top.prove(&KeyPath::of(name), &self.shared.nodes)?;
        let (place, space) = match found {
            Found::Empty => (SpacePlace::Empty, None),
            Found::Leaf(_, space) => {
                let record = space.record();
                (SpacePlace::Present { record }, Some(space))
            }
            Found::Other(_, other) => {
                let name = other.name().clone();
                let name = name.try_into().map_err(StoreError::from_bound)?;
                let record = other.record();
                (SpacePlace::Other { name, record }, None)
            }
        };
        Ok((SpaceProof { top, place }, space))
    }

    /// What the root says of a space; none if there is no such space.
    ///
    /// # Errors
    /// If the disk fails, or doesn't hold what was written.
    pub fn space(&self, name: &[u8]) -> Result<Option<SpaceRecord>, StoreError> {
        Ok(self.find_space(name)?.map(|space| space.record()))
    }

    /// How many keys a space has; none if there is no such space.
    ///
    /// # Errors
    /// If the disk fails, or doesn't hold what was written.
    pub fn count(&self, space: &[u8]) -> Result<Option<u64>, StoreError> {
        Ok(self.find_space(space)?.map(|space| space.count()))
    }

    /// Names and records of the spaces: at most `limit` of them, and of [`PAGE_ENTRIES_MAX`], from `after` on.
    ///
    /// # Errors
    /// If the disk fails, or doesn't hold what was written.
    pub fn spaces(
        &self,
        after: Option<PageCursor>,
        limit: usize,
    ) -> Result<Page<(Bytes, SpaceRecord)>, StoreError> {
        let mut page = Paging::new(limit);
        let after = after.map(|cursor| cursor.0);
        self.version.top.visit(
            after.as_ref(),
            &self.shared.nodes,
            &mut |_, space: &Space| {
                let path = KeyPath::of(space.name());
                page.take(path, space.name().len(), || {
                    Ok((space.name().clone(), space.record()))
                })
            },
        )?;
        Ok(page.finish())
    }

    /// Keys and values of a space: at most `limit` of them, and of [`PAGE_ENTRIES_MAX`], about [`PAGE_BYTES`] bytes
    /// at most, from `after` on. Nothing if there is no such space.
    ///
    /// # Errors
    /// If the disk fails, or doesn't hold what was written.
    pub fn entries(
        &self,
        space: &[u8],
        after: Option<PageCursor>,
        limit: usize,
    ) -> Result<Page<(Bytes, Bytes)>, StoreError> {
        let mut page = Paging::new(limit);
        let after = after.map(|cursor| cursor.0);
        if let Some(space) = self.find_space(space)? {
            space.tree().visit(
                after.as_ref(),
                &self.shared.nodes,
                &mut |digest, entry: &Entry| {
                    page.take(entry.path, entry.len as usize, || {
                        self.shared.key_value(digest, entry)
                    })
                },
            )?;
        }
        Ok(page.finish())
    }

    pub(crate) fn find_space(&self, name: &[u8]) -> Result<Option<Space>, StoreError> {
        self.version.find_space(&self.shared, name)
    }

    /// The leaf of a key, and its digest.
    pub(crate) fn entry(
        &self,
        space: &[u8],
        key: &[u8],
    ) -> Result<Option<(Digest, Entry)>, StoreError> {
        self.version.entry(&self.shared, space, key)
    }
}

impl Version {
    pub(crate) fn find_space(
        &self,
        shared: &Shared,
        name: &[u8],
    ) -> Result<Option<Space>, StoreError> {
        match self.top.find(&KeyPath::of(name), &shared.nodes)? {
            Found::Leaf(_, space) => Ok(Some(space)),
            Found::Other(..) | Found::Empty => Ok(None),
        }
    }

    pub(crate) fn entry(
        &self,
        shared: &Shared,
        space: &[u8],
        key: &[u8],
    ) -> Result<Option<(Digest, Entry)>, StoreError> {
        let Some(space) = self.find_space(shared, space)? else {
            return Ok(None);
        };
        match space.tree().find(&KeyPath::of(key), &shared.nodes)? {
            Found::Leaf(digest, entry) => Ok(Some((digest, entry))),
            Found::Other(..) | Found::Empty => Ok(None),
        }
    }
}

/// Whether there may be another, when there has been one: of `limit`, and of one at least, while not too much was read
/// of the trees.
fn up_to(limit: usize, trees: [Option<&TreeSubject<'_>>; 2]) -> impl FnMut() -> ControlFlow<()> {
    let mut left = limit;
    move || {
        left = left.saturating_sub(1);
        let read = trees.iter().flatten().map(|tree| tree.read());
        match left > 0 && read.sum::<usize>() < PAGE_BYTES {
            true => ControlFlow::Continue(()),
            false => ControlFlow::Break(()),
        }
    }
}

fn other_space(other: &Space) -> Result<Place, StoreError> {
    let name = other.name().clone();
    Ok(Place::Other {
        name: name.try_into().map_err(StoreError::from_bound)?,
        record: other.record(),
    })
}

/// A page while it fills.
pub(crate) struct Paging<T> {
    items: Vec<T>,
    limit: usize,
    bytes: usize,
    last: Option<KeyPath>,
    more: bool,
}

impl<T> Paging<T> {
    pub(crate) fn new(limit: usize) -> Self {
        Paging {
            items: Vec::new(),
            limit: limit.clamp(1, PAGE_ENTRIES_MAX),
            bytes: 0,
            last: None,
            more: false,
        }
    }

    pub(crate) fn take(
        &mut self,
        path: KeyPath,
        bytes: usize,
        item: impl FnOnce() -> Result<T, StoreError>,
    ) -> Result<Next, StoreError> {
        if self.items.len() == self.limit || self.bytes >= PAGE_BYTES {
            self.more = true;
            return Ok(Next::Stop);
        }
        self.items.push(item()?);
        self.bytes += bytes;
        self.last = Some(path);
        Ok(Next::Leaf)
    }

    pub(crate) fn finish(self) -> Page<T> {
        Page {
            items: self.items,
            next: self.last.filter(|_| self.more).map(PageCursor),
        }
    }
}
