//! Going through a tree's leaves by path, from any path on.

use violeta_proof::tree::{FANOUT, KeyPath};
use violeta_types::Digest;

use super::node::{Child, Place, Tree};
use super::{Leaf, Load};
use crate::error::StoreError;

/// What a visitor wants next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    Leaf,
    Stop,
}

impl<L: Leaf> Tree<L> {
    /// Shows `visit` the leaves whose path is above `after` (none: all), by rising path, until it wants no more.
    pub(crate) fn visit(
        &self,
        after: Option<&KeyPath>,
        load: &impl Load<L>,
        visit: &mut impl FnMut(&Digest, &L) -> Result<Next, StoreError>,
    ) -> Result<Next, StoreError> {
        match &self.root {
            None => Ok(Next::Leaf),
            Some((digest, child)) => place(digest, child, 0, after, load, visit),
        }
    }
}

fn place<L: Leaf>(
    digest: &Digest,
    child: &Child<L>,
    depth: usize,
    after: Option<&KeyPath>,
    load: &impl Load<L>,
    visit: &mut impl FnMut(&Digest, &L) -> Result<Next, StoreError>,
) -> Result<Next, StoreError> {
    match child {
        Child::Leaf(leaf) if after.is_some_and(|after| leaf.path() <= after) => Ok(Next::Leaf),
        Child::Leaf(leaf) => visit(digest, leaf),
        Child::Node(link) => {
            let places = load.look(link, digest, |node| {
                std::array::from_fn(|slot| node.slot(slot))
            })?;
            slots(&places, depth, after, load, visit)
        }
    }
}

fn slots<L: Leaf>(
    places: &[Place<L>; FANOUT],
    depth: usize,
    after: Option<&KeyPath>,
    load: &impl Load<L>,
    visit: &mut impl FnMut(&Digest, &L) -> Result<Next, StoreError>,
) -> Result<Next, StoreError> {
    let first = after.map_or(0, |after| after.slot(depth));
    for (slot, content) in places.iter().enumerate().skip(first) {
        // Only the first slot shares the nibbles of `after` so far; all that is in the others is above it.
        let after = after.filter(|_| slot == first);
        if let Some((digest, child)) = content
            && place(digest, child, depth + 1, after, load, visit)? == Next::Stop
        {
            return Ok(Next::Stop);
        }
    }
    Ok(Next::Leaf)
}
