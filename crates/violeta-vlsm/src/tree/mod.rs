//! The tree: persistent nodes, shared by every version that has them (vlsm.md §2).
//!
//! ```text
//!  Tree ─ root: nothing, a leaf, or a link to a node
//!
//!  Node ┬ bitmap    which of 16 slots are filled
//!       └ slots     of the filled ones: digest, and leaf or link to a node
//!                   and the digests of the halves that have a hash of their own (violeta_proof::tree)
//! ```
//!
//! A node never changes: an update makes new nodes from the changed leaves up to the root and goes on to use the rest
//! (redirect on write). In memory there is the newest version, and there a new node takes the place of the one that it
//! comes from ([`arena`]): whoever wants the old one finds that it isn't there any more, and makes it again.
//!
//! The same code serves both trees:
//!
//! | | leaves | links | nodes |
//! | --- | --- | --- | --- |
//! | a space's tree | [`Entry`] | [`Link`]: version of the last change, seat, page | seats, and [pages](crate::page) |
//! | the top tree | `Space` | [`At`]: where the record is | records ([`codec`]), on the heap |

mod arena;
mod codec;
mod differ;
mod find;
mod group;
mod lanes;
mod node;
mod seating;
mod update;
mod visit;

pub(crate) use arena::{Arena, Seat, Seated};
pub(crate) use codec::{
    At, CHAIN_MAX, NODE_RECORD_BYTES_MAX, NodeSink, Record, Recorded, decode_tree, encode_tree,
};
pub(crate) use differ::{Sighting, differ};
pub(crate) use find::Found;
pub(crate) use node::{
    Child, Content, Hashed, Link, Place, SharedNode, Tree, View, bits, slots_of,
};
pub(crate) use seating::{Made, Resident, Seating, Usher};
pub(crate) use update::{Change, Heap, Maker, update};
pub(crate) use visit::Next;

use std::fmt::Debug;

use violeta_proof::tree::KeyPath;
use violeta_types::Digest;

use crate::error::StoreError;
use crate::log::OperationAt;

/// What hangs at the end of a path.
pub(crate) trait Leaf: Clone + Debug {
    /// The way from one node of its tree to another.
    type Link: TreeLink;
    /// What a node on the heap knows of itself.
    type Note: Copy + Debug;

    /// Its path in its tree.
    fn path(&self) -> &KeyPath;
    /// Appends its encoding.
    fn encode(&self, out: &mut Vec<u8>);
    /// Reads an encoding and moves past it; none if it isn't one.
    fn decode(bytes: &mut &[u8]) -> Option<Self>;
}

/// The way to a node, in memory and in records.
pub(crate) trait TreeLink: Copy + Debug + PartialEq {
    /// Appends its encoding.
    fn encode(&self, out: &mut Vec<u8>);
    /// Reads an encoding and moves past it; none if it isn't one.
    fn decode(bytes: &mut &[u8]) -> Option<Self>;
}

/// A place in a tree: the node on a path at a depth.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spot<'a> {
    /// Any path through it.
    pub(crate) path: &'a KeyPath,
    pub(crate) depth: usize,
}

/// Brings nodes, from wherever they are.
pub(crate) trait Load<L: Leaf> {
    /// A node in memory.
    type Node<'a>: View<L>
    where
        Self: 'a;

    /// What a walk from the root down takes along: it helps to find nodes that aren't in memory. Walks begin with the
    /// default, and who goes more than one way from a node goes each with a copy.
    type Way: Clone + Default;

    /// The node that `link` leads to, which is at `spot`. It is the one with the digest `expected`, or an error. For
    /// the holder of the version cursor alone: the node may be changed as soon as a version is appended.
    fn load(
        &self,
        way: &mut Self::Way,
        link: &L::Link,
        expected: &Digest,
        spot: Spot<'_>,
    ) -> Result<Self::Node<'_>, StoreError>;

    /// Fetches into the processor's cache what changes in these slots will read of the node that `link` leads to, if
    /// that is in memory.
    fn touch(&self, link: &L::Link, slots: u16) {
        let _ = (link, slots);
    }

    /// What `look` sees of the node that `link` leads to. It may look more than once, the last time counts: before,
    /// the node may have been changed while it looked.
    fn look<R>(
        &self,
        way: &mut Self::Way,
        link: &L::Link,
        expected: &Digest,
        spot: Spot<'_>,
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

impl Entry {
    /// Where key and value are.
    pub(crate) fn at(&self) -> OperationAt {
        OperationAt {
            position: self.position,
            len: self.len,
        }
    }
}

impl Leaf for Entry {
    type Link = Link;
    type Note = ();

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
