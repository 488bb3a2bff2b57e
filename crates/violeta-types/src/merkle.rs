//! Binary Merkle trees over lists of digests, and their growing form.
//!
//! ```text
//!            root                 5 leaves: the shape of RFC 6962 (§2.1): the left subtree is the
//!          ┌───┴───┐              largest power of two below the count. The perfect subtrees,
//!        ┌─┴─┐     │              left to right, are the *peaks* (here two: of 4 and of 1), which
//!      ┌─┴┐ ┌┴─┐   │              is all that appending needs: a Merkle mountain range.
//!      0  1 2  3   4
//! ```
//!
//! Leaves and inner nodes have domains of their own, one pair a purpose. The root of no leaves is zero. The count
//! isn't bound by the root: whoever relies on it binds it beside the root.

use borsh::{BorshDeserialize, BorshSerialize};
use serde::{Deserialize, Serialize};

use crate::codec::Bounded;
use crate::digest::{Digest, Domain};

/// A purpose of Merkle trees: the domains of its leaves and inner nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kind {
    leaf: Domain,
    inner: Domain,
}

/// Over a vertex's payload items.
pub const PAYLOAD: Kind = Kind {
    leaf: Domain::PayloadLeaf,
    inner: Domain::PayloadInner,
};
/// Over a block's transaction ids.
pub const TRANSACTIONS: Kind = Kind {
    leaf: Domain::TransactionsLeaf,
    inner: Domain::TransactionsInner,
};
/// Over a block's results.
pub const RESULTS: Kind = Kind {
    leaf: Domain::ResultsLeaf,
    inner: Domain::ResultsInner,
};
/// Over all heads.
pub const HISTORY: Kind = Kind {
    leaf: Domain::HistoryLeaf,
    inner: Domain::HistoryInner,
};

/// A perfect subtree: the one over the leaves `index · 2^level` to below `(index + 1) · 2^level`. It never changes
/// once its last leaf is there, so a growing tree is kept by keeping these.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Perfect {
    /// Its height: a leaf's is 0.
    pub level: u32,
    /// Its place among those of its level, from the left.
    pub index: u64,
}

impl Perfect {
    /// The two that it consists of; none for a leaf.
    pub fn halves(self) -> Option<[Perfect; 2]> {
        let level = self.level.checked_sub(1)?;
        let left = self.index.checked_mul(2)?;
        Some([left, left + 1].map(|index| Perfect { level, index }))
    }

    /// The one that this one completes, as its right half; none if it is a left half.
    pub fn completes(self) -> Option<Perfect> {
        (self.index % 2 == 1).then(|| Perfect {
            level: self.level + 1,
            index: self.index / 2,
        })
    }

    /// The other half of the one that this is a half of.
    pub fn sibling(self) -> Perfect {
        Perfect {
            index: self.index ^ 1,
            ..self
        }
    }
}

impl Kind {
    /// A leaf as the tree above it sees it.
    pub fn leaf(self, digest: &Digest) -> Digest {
        self.leaf.hash(&digest.0)
    }

    /// A node over two.
    pub fn inner(self, left: &Digest, right: &Digest) -> Digest {
        self.inner.hash_parts(&[&left.0, &right.0])
    }

    /// The path that proves leaf `index` of the first `count`, from the perfect subtrees among them: about
    /// log2(`count`) are asked for, twice as many at most. None if there is no such leaf, or `node` knows one of them not.
    ///
    /// # Errors
    /// What `node` says.
    pub fn path_from<E>(
        self,
        index: u64,
        count: u64,
        mut node: impl FnMut(Perfect) -> Result<Option<Digest>, E>,
    ) -> Result<Option<Path>, E> {
        if index >= count {
            return Ok(None);
        }
        let mut siblings = Vec::new();
        let (mut at, mut width, mut level) = (index, count, 0);
        while width > 1 {
            let beside = at ^ 1;
            if beside < width {
                // Only the last of a level may be ragged: a subtree whose last leaves aren't there.
                let found = match beside < count >> level {
                    true => node(Perfect {
                        level,
                        index: beside,
                    })?,
                    false => self.ragged(beside << level, count, &mut node)?,
                };
                match found {
                    Some(digest) => siblings.push(digest),
                    None => return Ok(None),
                }
            }
            at /= 2;
            width = width.div_ceil(2);
            level += 1;
        }
        let siblings = siblings.try_into().ok();
        Ok(siblings.map(|siblings| Path {
            index,
            count,
            siblings,
        }))
    }

    /// The root over the leaves from `start` to below `end`: of its perfect subtrees, larger ones left of smaller ones.
    fn ragged<E>(
        self,
        start: u64,
        end: u64,
        node: &mut impl FnMut(Perfect) -> Result<Option<Digest>, E>,
    ) -> Result<Option<Digest>, E> {
        let (mut at, mut root) = (end, None);
        // Right to left: the number of leaves, in binary, says how large they are.
        for level in 0..u64::BITS {
            if (end - start) >> level & 1 == 0 {
                continue;
            }
            at -= 1 << level;
            let index = at >> level;
            let Some(left) = node(Perfect { level, index })? else {
                return Ok(None);
            };
            root = Some(match root {
                Some(right) => self.inner(&left, &right),
                None => left,
            });
        }
        Ok(root)
    }

    /// The root over `leaves`.
    pub fn root(self, leaves: impl IntoIterator<Item = Digest>) -> Digest {
        let mut peaks = Peaks::default();
        for leaf in leaves {
            peaks.push(self, leaf);
        }
        peaks.root(self)
    }

    /// The path that proves leaf `index` of `leaves`; none if there is no such leaf.
    pub fn path(self, leaves: &[Digest], index: usize) -> Option<Path> {
        if index >= leaves.len() {
            return None;
        }
        let mut siblings = Vec::new();
        let mut level: Vec<Digest> = leaves.iter().map(|leaf| self.leaf(leaf)).collect();
        let mut at = index;
        // Pairing each level from the left and carrying an odd last node up gives the shape of RFC 6962.
        while level.len() > 1 {
            if let Some(sibling) = level.get(at ^ 1) {
                siblings.push(*sibling);
            }
            level = level
                .chunks(2)
                .map(|pair| match pair {
                    [left, right] => self.inner(left, right),
                    [single] => *single,
                    _ => Digest::ZERO,
                })
                .collect();
            at /= 2;
        }
        Some(Path {
            index: index as u64,
            count: leaves.len() as u64,
            siblings: siblings.try_into().ok()?,
        })
    }
}

/// Levels of the tallest tree: counts are 64-bit.
pub const PATH_MAX: usize = 64;

/// Proof that a digest is leaf `index` of `count`.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct Path {
    /// Position of the leaf.
    pub index: u64,
    /// Number of leaves.
    pub count: u64,
    /// Digests beside the way from the leaf to the root, bottom up.
    pub siblings: Bounded<Digest, PATH_MAX>,
}

impl Path {
    /// The root that this path leads to from `leaf`; none if the path hasn't the shape that its index and count ask.
    pub fn root(&self, kind: Kind, leaf: &Digest) -> Option<Digest> {
        if self.index >= self.count {
            return None;
        }
        let mut siblings = self.siblings.iter();
        let (mut at, mut width) = (self.index, self.count);
        let mut digest = kind.leaf(leaf);
        while width > 1 {
            if at % 2 == 1 {
                digest = kind.inner(siblings.next()?, &digest);
            } else if at + 1 < width {
                digest = kind.inner(&digest, siblings.next()?);
            }
            at /= 2;
            width = width.div_ceil(2);
        }
        siblings.next().is_none().then_some(digest)
    }
}

/// The perfect subtrees of a growing tree, left to right.
#[derive(
    Clone, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize,
)]
pub struct Peaks {
    count: u64,
    peaks: Bounded<Digest, PATH_MAX>,
}

impl Peaks {
    /// Number of leaves so far.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Whether the number of peaks is the one that the count asks for; holds for all that this module made.
    pub fn is_well_formed(&self) -> bool {
        self.peaks.len() == self.count.count_ones() as usize
    }

    /// Adds a leaf.
    pub fn push(&mut self, kind: Kind, leaf: Digest) {
        let mut peaks = std::mem::take(&mut self.peaks).into_inner();
        let mut digest = kind.leaf(&leaf);
        let mut height = 0;
        while self.count >> height & 1 == 1 {
            let Some(left) = peaks.pop() else { break };
            digest = kind.inner(&left, &digest);
            height += 1;
        }
        peaks.push(digest);
        self.count += 1;
        debug_assert_eq!(peaks.len(), self.count.count_ones() as usize);
        self.peaks = peaks.try_into().unwrap_or_default();
    }

    /// The root over all leaves so far.
    pub fn root(&self, kind: Kind) -> Digest {
        let mut peaks = self.peaks.iter().rev();
        let Some(&last) = peaks.next() else {
            return Digest::ZERO;
        };
        peaks.fold(last, |right, left| kind.inner(left, &right))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;
    use std::convert::Infallible;

    /// RFC 6962 §2.1, word for word.
    fn naive(kind: Kind, leaves: &[Digest]) -> Digest {
        match leaves {
            [] => Digest::ZERO,
            [leaf] => kind.leaf.hash(&leaf.0),
            _ => {
                let split = 1 << (usize::BITS - 1 - (leaves.len() - 1).leading_zeros());
                let (left, right) = leaves.split_at(split);
                kind.inner
                    .hash_parts(&[&naive(kind, left).0, &naive(kind, right).0])
            }
        }
    }

    fn leaves(n: usize) -> Vec<Digest> {
        (0..n)
            .map(|i| Domain::File.hash(&i.to_le_bytes()))
            .collect()
    }

    /// All perfect subtrees over these leaves, kept as the leaves came.
    fn kept(leaves: &[Digest]) -> BTreeMap<Perfect, Digest> {
        let mut nodes = BTreeMap::new();
        for (index, leaf) in (0..).zip(leaves) {
            let mut at = Perfect { level: 0, index };
            let mut digest = HISTORY.leaf(leaf);
            nodes.insert(at, digest);
            while let Some(whole) = at.completes() {
                digest = HISTORY.inner(&nodes[&at.sibling()], &digest);
                at = whole;
                nodes.insert(at, digest);
            }
        }
        nodes
    }

    #[test]
    fn paths_from_kept_subtrees_are_those_from_all_leaves_at_every_count() {
        let leaves: Vec<Digest> = (0..70).map(|i| Digest([i; 32])).collect();
        let nodes = kept(&leaves);
        for count in 1..=leaves.len() {
            for index in 0..count {
                let expected = HISTORY.path(&leaves[..count], index);
                let mut asked = 0;
                let made = HISTORY.path_from(index as u64, count as u64, |node| {
                    asked += 1;
                    // What the first `count` leaves don't complete isn't there yet.
                    assert!((node.index + 1) << node.level <= count as u64, "{node:?}");
                    Ok::<_, Infallible>(nodes.get(&node).copied())
                });
                assert_eq!(made, Ok(expected), "{index} of {count}");
                assert!(asked <= 2 * 7, "{asked} for {index} of {count}");
            }
        }
        let nothing = HISTORY.path_from(3, 3, |_| Ok::<_, Infallible>(None));
        assert_eq!(nothing, Ok(None));
        let unknown = HISTORY.path_from(2, 3, |_| Ok::<_, Infallible>(None));
        assert_eq!(unknown, Ok(None));
        assert_eq!(HISTORY.path_from(0, 9, |_| Err("disk")), Err("disk"));
    }

    #[test]
    fn a_perfect_subtree_is_its_two_halves() {
        let leaves: Vec<Digest> = (0..32).map(|i| Digest([i; 32])).collect();
        let nodes = kept(&leaves);
        for (node, digest) in &nodes {
            if let Some([left, right]) = node.halves() {
                assert_eq!((left.sibling(), right.completes()), (right, Some(*node)));
                assert_eq!(*digest, HISTORY.inner(&nodes[&left], &nodes[&right]));
            }
        }
        let last = u64::MAX;
        assert_eq!(
            Perfect {
                level: 1,
                index: last
            }
            .halves(),
            None,
            "beyond all counts"
        );
    }

    #[test]
    fn roots_and_paths_agree_with_the_recursive_definition() {
        for n in 0..70 {
            let leaves = leaves(n);
            let root = naive(HISTORY, &leaves);
            assert_eq!(HISTORY.root(leaves.iter().copied()), root, "{n} leaves");
            for (i, leaf) in leaves.iter().enumerate() {
                let path = HISTORY.path(&leaves, i).unwrap();
                assert_eq!(path.root(HISTORY, leaf), Some(root), "leaf {i} of {n}");
                assert_ne!(path.root(RESULTS, leaf), Some(root), "another domain");
            }
            assert!(HISTORY.path(&leaves, n).is_none());
        }
    }

    #[test]
    fn a_path_of_another_leaf_index_or_length_leads_elsewhere() {
        let leaves = leaves(13);
        let root = HISTORY.root(leaves.iter().copied());
        let path = HISTORY.path(&leaves, 6).unwrap();
        assert_ne!(path.root(HISTORY, &leaves[7]), Some(root));
        for index in (0..20).filter(|&i| i != 6) {
            let moved = Path {
                index,
                ..path.clone()
            };
            assert_ne!(moved.root(HISTORY, &leaves[6]), Some(root), "{index}");
        }
        let mut longer = path.siblings.clone().into_inner();
        longer.push(root);
        let longer = Path {
            siblings: longer.try_into().unwrap(),
            ..path
        };
        assert_eq!(longer.root(HISTORY, &leaves[6]), None);
    }
}
