//! Looking up a path, with or without the proof of what is there.

use violeta_proof::tree::{Branch, KeyPath};
use violeta_types::Digest;

use super::node::{Child, Node, Tree};
use super::{Leaf, Load};
use crate::error::StoreError;

/// What lies where a path leads.
#[derive(Clone, Debug)]
pub(crate) enum Found<L> {
    /// The path's own leaf, with its digest.
    Leaf(Digest, L),
    /// Another leaf, which shares the way.
    Other(Digest, L),
    /// Nothing.
    Empty,
}

/// The branch while it grows, deepest level first.
#[derive(Default)]
struct Growing {
    bitmaps: Vec<u16>,
    siblings: Vec<Digest>,
}

impl<L: Leaf> Tree<L> {
    /// What lies at `path`.
    pub(crate) fn find(&self, path: &KeyPath, load: &impl Load<L>) -> Result<Found<L>, StoreError> {
        let root = self.root.as_ref().map(|(digest, child)| (digest, child));
        descend(root, path, 0, load, None)
    }

    /// What lies at `path`, and the branch that proves it.
    pub(crate) fn prove(
        &self,
        path: &KeyPath,
        load: &impl Load<L>,
    ) -> Result<(Found<L>, Branch), StoreError> {
        let root = self.root.as_ref().map(|(digest, child)| (digest, child));
        let mut growing = Growing::default();
        let found = descend(root, path, 0, load, Some(&mut growing))?;
        // A level gives one bitmap and at most four siblings, and there are at most 64 levels: the bounds hold.
        let branch = Branch {
            bitmaps: growing.bitmaps.try_into().map_err(StoreError::from_bound)?,
            siblings: growing
                .siblings
                .try_into()
                .map_err(StoreError::from_bound)?,
        };
        Ok((found, branch))
    }
}

fn descend<L: Leaf>(
    place: Option<(&Digest, &Child<L>)>,
    path: &KeyPath,
    depth: usize,
    load: &impl Load<L>,
    growing: Option<&mut Growing>,
) -> Result<Found<L>, StoreError> {
    match place {
        None => Ok(Found::Empty),
        Some((digest, Child::Leaf(leaf))) if leaf.path() == path => {
            Ok(Found::Leaf(*digest, leaf.clone()))
        }
        Some((digest, Child::Leaf(leaf))) => Ok(Found::Other(*digest, leaf.clone())),
        Some((digest, Child::Node(link))) => {
            let node = load.load(link, digest)?;
            pass(node.node(), path, depth, load, growing)
        }
    }
}

fn pass<L: Leaf>(
    node: Node<'_, L>,
    path: &KeyPath,
    depth: usize,
    load: &impl Load<L>,
    mut growing: Option<&mut Growing>,
) -> Result<Found<L>, StoreError> {
    let slot = path.slot(depth);
    let place = node.slot(slot);
    let found = descend(place, path, depth + 1, load, growing.as_deref_mut())?;
    if let Some(growing) = growing {
        growing.bitmaps.push(node.bitmap());
        growing.siblings.extend(node.siblings(slot));
    }
    Ok(found)
}
