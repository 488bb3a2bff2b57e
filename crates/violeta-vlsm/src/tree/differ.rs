//! Going through the leaves in which two trees differ, by path, from any path on.
//!
//! ```text
//!            old     new
//!  digests    =       =     nothing differs below, whatever there is: not looked at
//!             node    node  slot by slot
//!             leaf    node  slot by slot too, the leaf in the slot that its path goes through
//!             leaf    leaf  told
//! ```
//!
//! So what is read are the nodes above what differs, and no others. The two trees may be of different stores.

use violeta_proof::tree::{FANOUT, KeyPath, Sides};
use violeta_types::Digest;

use super::node::{Child, Place, Tree};
use super::visit::{Next, set_nibble};
use super::{Leaf, Load, Spot};
use crate::error::StoreError;

/// A leaf with its digest, if there is one.
pub(crate) type Sighting<'a, L> = Option<(&'a Digest, &'a L)>;

/// Shows `visit` each path above `after` (none: all) at which the trees have different leaves, or one of them has none,
/// by rising path, until it wants no more.
pub(crate) fn differ<L: Leaf, F: Load<L>>(
    trees: Sides<&Tree<L>>,
    loads: Sides<&F>,
    after: Option<&KeyPath>,
    visit: impl FnMut(&KeyPath, Sides<Sighting<'_, L>>) -> Result<Next, StoreError>,
) -> Result<(), StoreError> {
    let part = |tree: &Tree<L>| Part {
        place: tree.root.clone(),
        way: F::Way::default(),
    };
    let roots = Sides {
        old: part(trees.old),
        new: part(trees.new),
    };
    let mut walk = Walk {
        loads,
        visit,
        prefix: KeyPath([0; 32]),
    };
    walk.place(&roots, 0, after)?;
    Ok(())
}

/// What one tree has in a place, and how the walk came there.
struct Part<L: Leaf, W> {
    place: Place<L>,
    way: W,
}

impl<L: Leaf, W> Part<L, W> {
    fn digest(&self) -> Option<Digest> {
        self.place.as_ref().map(|(digest, _)| *digest)
    }

    fn is_node(&self) -> bool {
        matches!(self.place, Some((_, Child::Node(_))))
    }

    fn leaf(&self) -> Sighting<'_, L> {
        match &self.place {
            Some((digest, Child::Leaf(leaf))) => Some((digest, leaf)),
            _ => None,
        }
    }
}

/// The slots of a place, and how one goes on from them.
struct Slots<L: Leaf, W> {
    places: [Place<L>; FANOUT],
    way: W,
}

struct Walk<'a, F, V> {
    loads: Sides<&'a F>,
    visit: V,
    /// The nibbles of the way to where the walk is; what follows them is left over from before.
    prefix: KeyPath,
}

impl<F, V> Walk<'_, F, V> {
    fn place<L: Leaf>(
        &mut self,
        parts: &Sides<Part<L, F::Way>>,
        depth: usize,
        after: Option<&KeyPath>,
    ) -> Result<Next, StoreError>
    where
        F: Load<L>,
        V: FnMut(&KeyPath, Sides<Sighting<'_, L>>) -> Result<Next, StoreError>,
    {
        let Sides { old, new } = parts;
        if old.digest() == new.digest() {
            return Ok(Next::Leaf);
        }
        if !old.is_node() && !new.is_node() {
            return self.leaves(old.leaf(), new.leaf(), after);
        }
        let mut old = self.open(self.loads.old, old, depth)?;
        let mut new = self.open(self.loads.new, new, depth)?;
        let first = after.map_or(0, |after| after.slot(depth));
        for slot in first..FANOUT {
            // Only the first slot shares the nibbles of `after` so far; all that is in the others is above it.
            let after = after.filter(|_| slot == first);
            set_nibble(&mut self.prefix, depth, slot as u8);
            let part = |slots: &mut Slots<L, F::Way>| Part {
                place: slots.places[slot].take(),
                way: slots.way.clone(),
            };
            let parts = Sides {
                old: part(&mut old),
                new: part(&mut new),
            };
            if self.place(&parts, depth + 1, after)? == Next::Stop {
                return Ok(Next::Stop);
            }
        }
        Ok(Next::Leaf)
    }

    fn open<L: Leaf>(
        &self,
        load: &F,
        part: &Part<L, F::Way>,
        depth: usize,
    ) -> Result<Slots<L, F::Way>, StoreError>
    where
        F: Load<L>,
    {
        let mut way = part.way.clone();
        let places = match &part.place {
            None => std::array::from_fn(|_| None),
            Some((digest, Child::Leaf(leaf))) => {
                let here = leaf.path().slot(depth);
                std::array::from_fn(|slot| {
                    (slot == here).then(|| (*digest, Child::Leaf(leaf.clone())))
                })
            }
            Some((digest, Child::Node(link))) => {
                let path = &self.prefix;
                load.look(&mut way, link, digest, Spot { path, depth }, |node| {
                    std::array::from_fn(|slot| node.slot(slot))
                })?
            }
        };
        Ok(Slots { places, way })
    }

    /// A place where each tree has a leaf at most, and not the same.
    fn leaves<L: Leaf>(
        &mut self,
        old: Sighting<'_, L>,
        new: Sighting<'_, L>,
        after: Option<&KeyPath>,
    ) -> Result<Next, StoreError>
    where
        V: FnMut(&KeyPath, Sides<Sighting<'_, L>>) -> Result<Next, StoreError>,
    {
        let mut told = [Sides { old, new: None }, Sides { old: None, new }];
        let [Some(gone), Some(came)] = [old, new].map(|leaf| leaf.map(|(_, leaf)| leaf.path()))
        else {
            return self.leaf(Sides { old, new }, after);
        };
        if gone == came {
            return self.leaf(Sides { old, new }, after);
        }
        if came < gone {
            told.reverse();
        }
        for leaf in told {
            if self.leaf(leaf, after)? == Next::Stop {
                return Ok(Next::Stop);
            }
        }
        Ok(Next::Leaf)
    }

    fn leaf<L: Leaf>(
        &mut self,
        leaf: Sides<Sighting<'_, L>>,
        after: Option<&KeyPath>,
    ) -> Result<Next, StoreError>
    where
        V: FnMut(&KeyPath, Sides<Sighting<'_, L>>) -> Result<Next, StoreError>,
    {
        let Some(path) = leaf.old.or(leaf.new).map(|(_, leaf)| *leaf.path()) else {
            return Ok(Next::Leaf);
        };
        match after.is_some_and(|after| path <= *after) {
            true => Ok(Next::Leaf),
            false => (self.visit)(&path, leaf),
        }
    }
}
