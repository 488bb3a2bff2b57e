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

impl Kind {
    fn leaf(self, digest: &Digest) -> Digest {
        self.leaf.hash(&digest.0)
    }

    fn inner(self, left: &Digest, right: &Digest) -> Digest {
        self.inner.hash_parts(&[&left.0, &right.0])
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
