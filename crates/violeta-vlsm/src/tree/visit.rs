//! Going through a tree's leaves by path, from any path on.

use violeta_proof::tree::{FANOUT, KeyPath};
use violeta_types::Digest;

use super::node::{Child, Place, Tree};
use super::{Leaf, Load, Spot};
use crate::error::StoreError;

/// What a visitor wants next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    Leaf,
    Stop,
}

impl<L: Leaf> Tree<L> {
    /// Shows `visit` the leaves whose path is above `after` (none: all), by rising path, until it wants no more.
    pub(crate) fn visit<F: Load<L>>(
        &self,
        after: Option<&KeyPath>,
        load: &F,
        visit: &mut impl FnMut(&Digest, &L) -> Result<Next, StoreError>,
    ) -> Result<Next, StoreError> {
        let mut walk = Walk {
            load,
            visit,
            prefix: KeyPath([0; 32]),
        };
        match &self.root {
            None => Ok(Next::Leaf),
            Some((digest, child)) => walk.place(digest, child, 0, after, &F::Way::default()),
        }
    }
}

struct Walk<'a, F, V> {
    load: &'a F,
    visit: &'a mut V,
    /// The nibbles of the way to where the walk is; what follows them is left over from before.
    prefix: KeyPath,
}

impl<F, V> Walk<'_, F, V> {
    fn place<L: Leaf>(
        &mut self,
        digest: &Digest,
        child: &Child<L>,
        depth: usize,
        after: Option<&KeyPath>,
        way: &F::Way,
    ) -> Result<Next, StoreError>
    where
        F: Load<L>,
        V: FnMut(&Digest, &L) -> Result<Next, StoreError>,
    {
        match child {
            Child::Leaf(leaf) if after.is_some_and(|after| leaf.path() <= after) => Ok(Next::Leaf),
            Child::Leaf(leaf) => (self.visit)(digest, leaf),
            Child::Node(link) => {
                let (mut way, path) = (way.clone(), &self.prefix);
                let spot = Spot { path, depth };
                let places = self.load.look(&mut way, link, digest, spot, |node| {
                    std::array::from_fn(|slot| node.slot(slot))
                })?;
                self.slots(&places, depth, after, &way)
            }
        }
    }

    fn slots<L: Leaf>(
        &mut self,
        places: &[Place<L>; FANOUT],
        depth: usize,
        after: Option<&KeyPath>,
        way: &F::Way,
    ) -> Result<Next, StoreError>
    where
        F: Load<L>,
        V: FnMut(&Digest, &L) -> Result<Next, StoreError>,
    {
        let first = after.map_or(0, |after| after.slot(depth));
        for (slot, content) in places.iter().enumerate().skip(first) {
            // Only the first slot shares the nibbles of `after` so far; all that is in the others is above it.
            let after = after.filter(|_| slot == first);
            set_nibble(&mut self.prefix, depth, slot as u8);
            if let Some((digest, child)) = content
                && self.place(digest, child, depth + 1, after, way)? == Next::Stop
            {
                return Ok(Next::Stop);
            }
        }
        Ok(Next::Leaf)
    }
}

pub(super) fn set_nibble(path: &mut KeyPath, depth: usize, nibble: u8) {
    let byte = &mut path.0[depth / 2];
    *byte = match depth % 2 {
        0 => *byte & 0x0f | nibble << 4,
        _ => *byte & 0xf0 | nibble,
    };
}
