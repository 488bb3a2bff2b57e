//! Spaces: the leaves of the top tree.
//!
//! ```text
//!  encoding   kind u8 │ count u64 │ tree (see tree::codec) │ name length u8 │ name
//! ```

use std::sync::Arc;

use bytes::Bytes;
use violeta_proof::tree::{KeyPath, SpaceKind, SpaceRecord};
use violeta_types::Digest;

use crate::tree::{At, Entry, Leaf, Recorded, Tree, decode_tree, encode_tree, take};

/// A space at one version. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Space(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    name: Bytes,
    path: KeyPath,
    count: u64,
    tree: Tree<Entry>,
}

impl Space {
    pub(crate) fn new(name: Bytes, count: u64, tree: Tree<Entry>) -> Self {
        assert_eq!(count == 0, tree.root.is_none(), "no key, no root");
        let path = KeyPath::of(&name);
        Space(Arc::new(Inner {
            name,
            path,
            count,
            tree,
        }))
    }

    pub(crate) fn name(&self) -> &Bytes {
        &self.0.name
    }

    pub(crate) fn count(&self) -> u64 {
        self.0.count
    }

    pub(crate) fn tree(&self) -> &Tree<Entry> {
        &self.0.tree
    }

    pub(crate) fn record(&self) -> SpaceRecord {
        SpaceRecord {
            kind: SpaceKind::Hashed,
            count: self.0.count,
            root: self.0.tree.digest(),
        }
    }

    /// The digest of its leaf in the top tree.
    pub(crate) fn digest(&self) -> Digest {
        self.record().leaf_hash(&self.0.name)
    }
}

impl Leaf for Space {
    type Link = At;
    type Note = Recorded;

    fn path(&self) -> &KeyPath {
        &self.0.path
    }

    fn encode(&self, out: &mut Vec<u8>) {
        out.push(SpaceKind::Hashed as u8);
        out.extend_from_slice(&self.0.count.to_le_bytes());
        encode_tree(&self.0.tree, out);
        // At most 255 bytes: checked when the batch that made the space was staged.
        out.push(self.0.name.len() as u8);
        out.extend_from_slice(&self.0.name);
    }

    fn decode(bytes: &mut &[u8]) -> Option<Self> {
        (take(bytes)? == [SpaceKind::Hashed as u8]).then_some(())?;
        let count = u64::from_le_bytes(take(bytes)?);
        let tree = decode_tree(bytes)?;
        let [len] = take(bytes)?;
        let (name, rest) = bytes.split_at_checked(usize::from(len))?;
        *bytes = rest;
        ((count == 0) == tree.root.is_none()).then_some(())?;
        Some(Space::new(Bytes::copy_from_slice(name), count, tree))
    }
}
