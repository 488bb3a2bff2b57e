//! The tree: persistent nodes, shared by every version that has them (vlsm.md §2).
//!
//! ```text
//!  Tree ─ root: nothing, a leaf, or a link to a node
//!
//!  Node ┬ at        which it is: its record in the node files
//!       ├ bitmap    which of 16 slots are filled
//!       └ slots     of the filled ones: digest, and leaf or link to a node
//!                   and the digests of the halves that have a hash of their own (violeta_proof::tree)
//! ```
//!
//! A node never changes: an update makes new nodes from the changed leaves up to the root and goes on to use the rest
//! (redirect on write). That is so in the records, which all versions share. In memory there is the newest version, and
//! there a new node takes the place of the one that it comes from ([`arena`]): whoever wants the old one finds that it
//! isn't there any more, and reads its record.
//!
//! The same code serves both trees: leaves of a space's tree are [`Entry`]s, leaves of the top tree are `Space`s. The
//! top tree is small, and its nodes are kept on the heap.

mod arena;
mod codec;
mod find;
mod node;
mod page;
mod seating;
mod update;

pub(crate) use arena::Arena;
pub(crate) use codec::{At, CHAIN_MAX, Record, decode_tree, encode_tree};
pub(crate) use find::Found;
pub(crate) use node::{Child, Link, SharedNode, Tree, View};
pub(crate) use page::Next;
pub(crate) use seating::{Made, Resident, Seating, Usher};
pub(crate) use update::{Change, Heap, NodeSink, update};

use violeta_proof::tree::KeyPath;
use violeta_types::Digest;

use crate::error::StoreError;

/// What hangs at the end of a path.
pub(crate) trait Leaf: Clone {
    /// Its path in its tree.
    fn path(&self) -> &KeyPath;
    /// Appends its encoding.
    fn encode(&self, out: &mut Vec<u8>);
    /// Reads an encoding and moves past it; none if it isn't one.
    fn decode(bytes: &mut &[u8]) -> Option<Self>;
}

/// Brings nodes, from wherever they are.
pub(crate) trait Load<L> {
    /// A node in memory.
    type Node<'a>: View<L>
    where
        Self: 'a;

    /// The node that `link` leads to. It is the one with the digest `expected`, or an error. For the holder of the
    /// version cursor alone: the node may be changed as soon as a version is appended.
    fn load(&self, link: &Link, expected: &Digest) -> Result<Self::Node<'_>, StoreError>;

    /// Fetches into the processor's cache what an update of `changes` will find in memory from `link` down, whose node
    /// is at `depth`.
    fn warm_up(&self, link: &Link, depth: usize, changes: &[Change<L>]) {
        let _ = (link, depth, changes);
    }

    /// What `look` sees of the node that `link` leads to. It may look more than once, the last time counts: before,
    /// the node may have been changed while it looked.
    fn look<R>(
        &self,
        link: &Link,
        expected: &Digest,
        look: impl Fn(&dyn View<L>) -> R,
    ) -> Result<R, StoreError>;
}

/// A key's leaf: where key and value are in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) path: KeyPath,
    /// Log position of the operation that wrote it.
    pub(crate) position: u64,
    /// Bytes of that operation.
    pub(crate) len: u32,
}

impl Leaf for Entry {
    fn path(&self) -> &KeyPath {
        &self.path
    }

    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.path.0);
        out.extend_from_slice(&self.position.to_le_bytes());
        out.extend_from_slice(&self.len.to_le_bytes());
    }

    fn decode(bytes: &mut &[u8]) -> Option<Self> {
        Some(Entry {
            path: KeyPath(take(bytes)?),
            position: u64::from_le_bytes(take(bytes)?),
            len: u32::from_le_bytes(take(bytes)?),
        })
    }
}

/// Reads `N` bytes and moves past them.
pub(crate) fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (head, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(*head)
}
