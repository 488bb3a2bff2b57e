//! Looking up a path, with or without the proof of what is there.

use violeta_proof::tree::{Branch, KeyPath};
use violeta_types::Digest;

use super::node::{Child, Place, Tree};
use super::{Leaf, Load, Spot};
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

/// A node on the way: what a proof has of it.
struct Level {
    bitmap: u16,
    /// The filled halves beside the way, nearest first.
    siblings: [Option<Digest>; 4],
}

impl<L: Leaf> Tree<L> {
    /// What lies at `path`.
    pub(crate) fn find<F: Load<L>>(
        &self,
        path: &KeyPath,
        load: &F,
    ) -> Result<Found<L>, StoreError> {
        let mut place = self.root.clone();
        let (mut way, mut depth) = (F::Way::default(), 0);
        while let Some((digest, Child::Node(link))) = &place {
            let slot = path.slot(depth);
            let spot = Spot { path, depth };
            place = load.look(&mut way, link, digest, spot, |node| node.slot(slot))?;
            depth += 1;
        }
        Ok(found(place, path))
    }

    /// What lies at `path`, and the branch that proves it.
    pub(crate) fn prove<F: Load<L>>(
        &self,
        path: &KeyPath,
        load: &F,
    ) -> Result<(Found<L>, Branch), StoreError> {
        let mut place = self.root.clone();
        let (mut way, mut levels) = (F::Way::default(), Vec::new());
        while let Some((digest, Child::Node(link))) = &place {
            let depth = levels.len();
            let (slot, spot) = (path.slot(depth), Spot { path, depth });
            let (level, below) = load.look(&mut way, link, digest, spot, |node| {
                let level = Level {
                    bitmap: node.bitmap(),
                    siblings: node.siblings(slot),
                };
                (level, node.slot(slot))
            })?;
            levels.push(level);
            place = below;
        }
        // A branch has the deepest level first. A level gives one bitmap and at most four siblings, and there are at
        // most 64 levels: the bounds hold.
        let (bitmaps, siblings): (Vec<_>, Vec<_>) = levels
            .iter()
            .rev()
            .map(|level| (level.bitmap, level.siblings))
            .unzip();
        let siblings: Vec<Digest> = siblings.into_iter().flatten().flatten().collect();
        let branch = Branch {
            bitmaps: bitmaps.try_into().map_err(StoreError::from_bound)?,
            siblings: siblings.try_into().map_err(StoreError::from_bound)?,
        };
        Ok((found(place, path), branch))
    }
}

fn found<L: Leaf>(place: Place<L>, path: &KeyPath) -> Found<L> {
    match place {
        Some((digest, Child::Leaf(leaf))) if leaf.path() == path => Found::Leaf(digest, leaf),
        Some((digest, Child::Leaf(leaf))) => Found::Other(digest, leaf),
        // The way ends at a leaf or at nothing.
        Some((_, Child::Node(_))) | None => Found::Empty,
    }
}
