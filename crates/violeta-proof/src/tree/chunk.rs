//! A snapshot in parts that are verified one by one, in any order, from anyone (vlsm.md §6).
//!
//! ```text
//!   a snapshot     root ── top tree ───┬── chunk ──┬── chunk ──┐     names and records of all spaces
//!                                      a           b           c
//!                                      ├─ chunk ─┬─ chunk ─┐         keys and values of each
//!
//!   a chunk        asked    from ├──────────────────────────────────────┤ to
//!                  shown         ├──●────●─●─────●──┤ whole: these leaves, no fewer
//!                  proved        the partial tree of that range: with all it shows, it leads to the root
//! ```
//!
//! A chunk says itself what it is about, so whoever takes chunks needs to remember no question, nor trust whoever sent
//! it: [`Chunk::verify`] with the root of the snapshot is all. It is a range proof ([`RangeProof`]) whose leaves have
//! values where those of another have digests. A leaf that merely stands where the range looks, beside it, still has
//! the digest: its value, which may be large, is part of another chunk.
//!
//! The list of spaces is a range of the top tree, proved in the same way: so an importer that knows a root and nothing
//! else learns which spaces there are, how many keys each has and what its root is, and that there are no more.

use std::ops::ControlFlow;

use borsh::{BorshDeserialize, BorshSerialize};
use bytes::Bytes;
use violeta_types::limits::{STORE_KEY_BYTES_MAX, STORE_SPACE_BYTES_MAX, STORE_VALUE_BYTES_MAX};
use violeta_types::{Blob, DecodeError, Digest};

use super::error::{PartialTreeError, Side};
use super::partial::{Leaf, PROOF_NODES_MAX, PartialTree, TreeLeaf};
use super::proof::{TreePart, require_root};
use super::prove::{ProveError, Subject, prove_range};
use super::range::{Proved, RangeProof, walk_range};
use super::rules::{DEPTH_MAX, KeyPath, SpaceRecord, leaf_hash, top_hash};
use super::space::SpaceProof;
use super::window::PathRange;

/// A chunk ends after the leaf that takes its leaves to this size, at the latest.
pub const CHUNK_BYTES_MAX: usize = 4 << 20;
/// Bytes of an encoded chunk: those, one leaf more, however large, and the proof.
pub const CHUNK_ENCODED_BYTES_MAX: usize = CHUNK_BYTES_MAX + STORE_VALUE_BYTES_MAX + (2 << 20);

// The proof: nodes, digests at both ends of the range, the way to the space, two leaves beside; the last leaf's key.
const _: () =
    assert!(4 * PROOF_NODES_MAX + 16 * DEPTH_MAX * 32 + 4 * STORE_KEY_BYTES_MAX < 2 << 20);

/// What a chunk is asked for.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct ChunkPlace {
    /// The space whose keys and values are wanted; none for the list of spaces.
    pub space: Option<Blob<STORE_SPACE_BYTES_MAX>>,
    /// The paths.
    pub range: PathRange,
}

impl ChunkPlace {
    /// The whole list of spaces: what is asked for first.
    pub const SPACES: ChunkPlace = ChunkPlace {
        space: None,
        range: PathRange::ALL,
    };
}

/// A part of a snapshot, as anyone may have made it. Nothing in it may be believed before [`Chunk::verify`].
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum Chunk {
    /// Spaces.
    Spaces(SpacesChunk),
    /// Keys and values of a space.
    Keys(KeysChunk),
}

/// All spaces whose paths are in a range.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct SpacesChunk {
    /// The range that was asked for.
    pub range: PathRange,
    /// If it is shown in part only: the path of the last space.
    pub through: Option<KeyPath>,
    /// The range in the top tree.
    pub tree: PartialTree<ListedSpace>,
}

/// All keys and values of a space whose paths are in a range.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct KeysChunk {
    /// The space's name.
    pub name: Blob<STORE_SPACE_BYTES_MAX>,
    /// The range that was asked for.
    pub range: PathRange,
    /// What it holds, and the way to the root.
    pub proof: RangeProof<ChunkLeaf>,
}

/// A leaf of the top tree.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct ListedSpace {
    /// The space's name.
    pub name: Blob<STORE_SPACE_BYTES_MAX>,
    /// What the top tree says of it.
    pub record: SpaceRecord,
}

/// A leaf of a space's tree.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum ChunkLeaf {
    /// In the range.
    Entry {
        /// The key.
        key: Blob<STORE_KEY_BYTES_MAX>,
        /// Its value.
        value: Blob<STORE_VALUE_BYTES_MAX>,
    },
    /// Beside the range: it stands where the range looks.
    Beside(Leaf),
}

impl TreeLeaf for ListedSpace {
    fn key(&self) -> &[u8] {
        &self.name
    }

    fn hash(&self) -> Digest {
        self.record.leaf_hash(&self.name)
    }
}

impl ListedSpace {
    /// Length, kind, count, root; name.
    fn encoded_bytes(&self) -> usize {
        4 + 1 + 8 + 32 + self.name.len()
    }
}

impl TreeLeaf for ChunkLeaf {
    fn key(&self) -> &[u8] {
        match self {
            ChunkLeaf::Entry { key, .. } => key,
            ChunkLeaf::Beside(leaf) => &leaf.key,
        }
    }

    fn hash(&self) -> Digest {
        match self {
            ChunkLeaf::Entry { key, value } => leaf_hash(key, value),
            ChunkLeaf::Beside(leaf) => leaf.hash(),
        }
    }

    fn fits(&self, is_inside: bool) -> bool {
        matches!(self, ChunkLeaf::Entry { .. }) == is_inside
    }

    fn outside(self) -> Self {
        match self {
            ChunkLeaf::Entry { key, value } => {
                let value_hash = super::rules::value_hash(&value);
                ChunkLeaf::Beside(Leaf { key, value_hash })
            }
            beside @ ChunkLeaf::Beside(_) => beside,
        }
    }
}

impl ChunkLeaf {
    /// Which form; of an entry two lengths, key and value; otherwise a length, the key and a digest.
    fn encoded_bytes(&self) -> usize {
        match self {
            ChunkLeaf::Entry { key, value } => 1 + 4 + 4 + key.len() + value.len(),
            ChunkLeaf::Beside(leaf) => 1 + 4 + 32 + leaf.key.len(),
        }
    }
}

impl Chunk {
    /// Makes the chunk of all spaces in a range, or of its part up to the one that takes it to `bytes`, of the top tree
    /// that `tree` shows.
    ///
    /// # Errors
    /// If the tree can't be read, or the range ends before it begins.
    pub fn of_spaces<S: Subject<ListedSpace>>(
        tree: &S,
        range: &PathRange,
        bytes: usize,
    ) -> Result<Chunk, ProveError<S::Error>> {
        let visit = up_to(bytes, ListedSpace::encoded_bytes);
        let (through, tree) = prove_range(Some(tree), range, visit)?;
        let range = *range;
        Ok(Chunk::Spaces(SpacesChunk {
            range,
            through,
            tree,
        }))
    }

    /// Makes the chunk of what a space has in a range, or of its part up to the key that takes it to `bytes`, of the
    /// tree that `tree` shows, or without one if there is no space.
    ///
    /// # Errors
    /// If the tree can't be read, or the range ends before it begins.
    pub fn of_keys<S: Subject<ChunkLeaf>>(
        name: Blob<STORE_SPACE_BYTES_MAX>,
        space: SpaceProof,
        tree: Option<&S>,
        range: &PathRange,
        bytes: usize,
    ) -> Result<Chunk, ProveError<S::Error>> {
        let visit = up_to(bytes, ChunkLeaf::encoded_bytes);
        let proof = RangeProof::prove(space, tree, range, visit)?;
        let range = *range;
        Ok(Chunk::Keys(KeysChunk { name, range, proof }))
    }

    /// What was asked.
    pub fn place(&self) -> ChunkPlace {
        match self {
            Chunk::Spaces(chunk) => ChunkPlace {
                space: None,
                range: chunk.range,
            },
            Chunk::Keys(chunk) => ChunkPlace {
                space: Some(chunk.name.clone()),
                range: chunk.range,
            },
        }
    }

    /// Checks that in the version whose root is `root` this is all that there is in the part of the range that it shows.
    ///
    /// # Errors
    /// If it isn't: says what fails. Whoever sent it lies, or sent a part of another version: ask another replica.
    pub fn verify(self, root: &Digest) -> Result<VerifiedChunk, PartialTreeError> {
        match self {
            Chunk::Spaces(chunk) => Ok(VerifiedChunk::Spaces(chunk.verify(root)?)),
            Chunk::Keys(chunk) => Ok(VerifiedChunk::Keys(chunk.verify(root)?)),
        }
    }

    /// The canonical encoding.
    pub fn encode(&self) -> Vec<u8> {
        violeta_types::encode(self)
    }

    /// Decodes a whole chunk.
    ///
    /// # Errors
    /// If the bytes aren't the canonical encoding of one, or are more than [`CHUNK_ENCODED_BYTES_MAX`].
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        if bytes.len() > CHUNK_ENCODED_BYTES_MAX {
            let len = bytes.len();
            let reason = format!("{len} bytes, at most {CHUNK_ENCODED_BYTES_MAX}");
            return Err(DecodeError::new("Chunk", reason));
        }
        violeta_types::decode(bytes)
    }
}

/// Whether there may be another leaf: until the leaves have so many bytes.
fn up_to<L>(bytes: usize, size: impl Fn(&L) -> usize) -> impl FnMut(&L) -> ControlFlow<()> {
    let mut left = bytes.min(CHUNK_BYTES_MAX);
    move |leaf| {
        left = left.saturating_sub(size(leaf));
        match left > 0 {
            true => ControlFlow::Continue(()),
            false => ControlFlow::Break(()),
        }
    }
}

/// What a chunk was verified to hold, in the version with a root that is named. Nothing but [`Chunk::verify`] makes it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "it was verified to be used"]
pub enum VerifiedChunk {
    /// Spaces.
    Spaces(VerifiedSpaces),
    /// Keys and values of a space.
    Keys(VerifiedKeys),
}

/// All spaces whose paths are in a range.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedSpaces {
    root: Digest,
    proved: Proved,
    spaces: Vec<ListedSpace>,
}

/// All keys and values of a space whose paths are in a range.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedKeys {
    root: Digest,
    name: Blob<STORE_SPACE_BYTES_MAX>,
    record: Option<SpaceRecord>,
    proved: Proved,
    entries: Vec<(Bytes, Bytes)>,
}

impl VerifiedChunk {
    /// The root of the version that it is a part of.
    pub fn root(&self) -> &Digest {
        match self {
            VerifiedChunk::Spaces(chunk) => &chunk.root,
            VerifiedChunk::Keys(chunk) => &chunk.root,
        }
    }

    /// What of the range that was asked for it doesn't show: what to ask for next.
    pub fn rest(&self) -> Option<ChunkPlace> {
        let (space, rest) = match self {
            VerifiedChunk::Spaces(chunk) => (None, chunk.proved.rest),
            VerifiedChunk::Keys(chunk) => (Some(chunk.name.clone()), chunk.proved.rest),
        };
        rest.map(|range| ChunkPlace { space, range })
    }
}

impl VerifiedSpaces {
    /// The paths of which all spaces are here.
    pub fn range(&self) -> &PathRange {
        &self.proved.range
    }

    /// The spaces, in the order of paths.
    pub fn spaces(&self) -> &[ListedSpace] {
        &self.spaces
    }
}

impl VerifiedKeys {
    /// The space's name.
    pub fn name(&self) -> &Blob<STORE_SPACE_BYTES_MAX> {
        &self.name
    }

    /// What the top tree says of the space; none if there is no such space.
    pub fn record(&self) -> Option<&SpaceRecord> {
        self.record.as_ref()
    }

    /// The paths of which all keys are here.
    pub fn range(&self) -> &PathRange {
        &self.proved.range
    }

    /// Keys and values, in the order of paths.
    pub fn entries(&self) -> &[(Bytes, Bytes)] {
        &self.entries
    }
}

impl SpacesChunk {
    fn verify(self, root: &Digest) -> Result<VerifiedSpaces, PartialTreeError> {
        let (tree, through) = (&self.tree, self.through.as_ref());
        let (proved, found) = walk_range(tree, through, &self.range, |_| {})?;
        let same = require_root(TreePart::Top, top_hash(&found), root);
        same.map_err(PartialTreeError::space(Side::New))?;
        let inside = |leaf: &ListedSpace| proved.range.holds(&KeyPath::of(&leaf.name));
        let spaces = self.tree.leaves.into_iter().filter(inside).collect();
        let root = *root;
        Ok(VerifiedSpaces {
            root,
            proved,
            spaces,
        })
    }
}

impl KeysChunk {
    fn verify(self, root: &Digest) -> Result<VerifiedKeys, PartialTreeError> {
        let proved = self.proof.read(root, &self.name, &self.range, |_| {})?;
        let record = self.proof.space.verify(root, &self.name);
        let record = record.map_err(PartialTreeError::space(Side::New))?.copied();
        // Which leaves are in the range, their form says: that was checked with them.
        let leaves = self.proof.tree.leaves.into_iter();
        let entries = leaves.filter_map(|leaf| match leaf {
            ChunkLeaf::Entry { key, value } => Some((key.into_inner(), value.into_inner())),
            ChunkLeaf::Beside(_) => None,
        });
        Ok(VerifiedKeys {
            root: *root,
            name: self.name,
            record,
            proved,
            entries: entries.collect(),
        })
    }
}
