//! Proofs of one key, present or absent, in one version (vlsm.md §1.2, §6).
//!
//! ```text
//!  TreeProof ┬ top: Branch    from the space's place in the top tree up to the top tree's root
//!            └ place ┬ Absent    the space isn't there: its slot is empty, or another space's leaf is in its place
//!                    └ Present   the space's record, and in its tree ┬ branch: from the key's place up
//!                                                                    └ end: the key's leaf, nothing, or another's
//!
//!  A branch, leaf first:  bitmaps   b₂  b₁  b₀          one a level
//!                         siblings  s s s s s s …       of each level those that its bitmap asks for, up to four,
//!                                                       nearest first
//! ```
//!
//! A proof is checked bottom up in one pass, with one digest as the only state. It has one form for each claim and
//! tree: bitmaps decide how many siblings there are, and one too many or too few is an error.

use borsh::{BorshDeserialize, BorshSerialize};
use serde::{Deserialize, Serialize};
use violeta_types::limits::{STORE_KEY_BYTES_MAX, STORE_SPACE_BYTES_MAX};
use violeta_types::seeded::{self, Bug};
use violeta_types::{Blob, Bounded, Digest};

use super::rules::{
    DEPTH_MAX, KeyPath, SpaceRecord, join, leaf_hash, leaf_hash_of, node_hash, top_hash,
};

/// Siblings of the longest branch: four a level.
pub const BRANCH_SIBLINGS_MAX: usize = 4 * DEPTH_MAX;

/// The way from a place in a tree up to its root.
#[derive(
    Clone, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize,
)]
pub struct Branch {
    /// The bitmaps of the nodes passed, deepest first.
    pub bitmaps: Bounded<u16, DEPTH_MAX>,
    /// The digests of the filled halves beside the way, deepest first.
    pub siblings: Bounded<Digest, BRANCH_SIBLINGS_MAX>,
}

/// What is in the key's place.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum End {
    /// The key's own leaf: it has the claimed value.
    Leaf,
    /// Nothing: an empty slot, or an empty tree.
    Empty,
    /// The leaf of another key that shares the way down: were the key there, there would be a node.
    Other {
        /// That key.
        key: Blob<STORE_KEY_BYTES_MAX>,
        /// The digest of its value.
        value_hash: Digest,
    },
}

/// What is in the space's place in the top tree.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Place {
    /// The space, and the key's place in it.
    Present {
        /// What the top tree says of the space.
        record: SpaceRecord,
        /// From the key's place up to the space's root.
        branch: Branch,
        /// What is in the key's place.
        end: End,
    },
    /// Nothing: no such space.
    Empty,
    /// Another space, which shares the way down: no such space.
    Other {
        /// That space's name.
        name: Blob<STORE_SPACE_BYTES_MAX>,
        /// What the top tree says of it.
        record: SpaceRecord,
    },
}

/// Proof that a key of a space has a value, or none, in the version with a certain root.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct TreeProof {
    /// From the space's place up to the root of the top tree.
    pub top: Branch,
    /// What is in the space's place.
    pub place: Place,
}

/// One of the two trees that a proof leads through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TreePart {
    /// The top tree, where a space is looked up.
    Top,
    /// The space's own tree, where the key is looked up.
    Space,
}

impl std::fmt::Display for TreePart {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            TreePart::Top => "the top tree",
            TreePart::Space => "the space's tree",
        })
    }
}

/// Why a proof doesn't convince. Whoever sent it lies, or answers another question: ask another replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TreeProofError {
    /// The key is claimed to have a value, and the proof is one of absence.
    #[error("the proof is of a key's absence, the claim is a value")]
    ProvesAbsence,
    /// The key is claimed to be absent, and the proof is one of a value.
    #[error("the proof is of a key's value, the claim is that there is none")]
    ProvesPresence,
    /// A bitmap contradicts the way that the proof goes.
    #[error("the bitmap at depth {depth} in {part} contradicts the proof")]
    Bitmap {
        /// In which tree.
        part: TreePart,
        /// Of the node at this depth.
        depth: usize,
    },
    /// The bitmaps ask for more or fewer siblings than there are.
    #[error("the bitmaps of {part} ask for another number of siblings than there are")]
    Siblings {
        /// In which tree.
        part: TreePart,
    },
    /// What is said to be in the key's place doesn't belong there.
    #[error("the other leaf in {part} doesn't lie on the way of what it should show absent")]
    OtherElsewhere {
        /// In which tree.
        part: TreePart,
    },
    /// The leaf that should show absence is the key's (or the space's) own.
    #[error("the leaf that should show absence in {part} is the one in question")]
    OtherIsSame {
        /// In which tree.
        part: TreePart,
    },
    /// The proof is sound in itself but leads to another root.
    #[error("{part} leads to the root {found}, not to {expected}")]
    Root {
        /// In which tree.
        part: TreePart,
        /// Where it leads.
        found: Digest,
        /// Where it should.
        expected: Digest,
    },
}

impl TreeProof {
    /// Checks that in the version whose root is `root`, `key` of `space` has the claimed value, or none. A key of a
    /// space that isn't there has no value.
    ///
    /// # Errors
    /// If the proof isn't one of the claim: says which part fails.
    pub fn verify(
        &self,
        root: &Digest,
        space: &[u8],
        key: &[u8],
        claim: Option<&[u8]>,
    ) -> Result<(), TreeProofError> {
        let path = KeyPath::of(space);
        let place = match &self.place {
            Place::Present {
                record,
                branch,
                end,
            } => {
                verify_key(branch, end, &record.root, key, claim)?;
                Some(record.leaf_hash(space))
            }
            Place::Empty => {
                require_absence(claim)?;
                None
            }
            Place::Other { name, record } => {
                require_absence(claim)?;
                check_other(TreePart::Top, &path, name, self.top.bitmaps.len())?;
                Some(record.leaf_hash(name))
            }
        };
        let found = top_hash(&self.top.root(TreePart::Top, &path, place)?);
        require_root(TreePart::Top, found, root)
    }

    /// The record of the space, if the proof shows that there is one. Bound by the root that the proof verifies to.
    pub fn record(&self) -> Option<&SpaceRecord> {
        match &self.place {
            Place::Present { record, .. } => Some(record),
            Place::Empty | Place::Other { .. } => None,
        }
    }
}

/// The part of the proof within the space.
fn verify_key(
    branch: &Branch,
    end: &End,
    root: &Digest,
    key: &[u8],
    claim: Option<&[u8]>,
) -> Result<(), TreeProofError> {
    let mut path = KeyPath::of(key);
    let leaf = match (end, claim) {
        (End::Leaf, Some(value)) => Some(leaf_hash(key, value)),
        (End::Leaf, None) => return Err(TreeProofError::ProvesPresence),
        (End::Empty | End::Other { .. }, Some(_)) => return Err(TreeProofError::ProvesAbsence),
        (End::Empty, None) => None,
        (
            End::Other {
                key: other,
                value_hash,
            },
            None,
        ) => {
            check_other(TreePart::Space, &path, other, branch.bitmaps.len())?;
            if seeded::is(Bug::ExclusionWithoutPathCheck) {
                path = KeyPath::of(other);
            }
            Some(leaf_hash_of(other, value_hash))
        }
    };
    let found = branch.root(TreePart::Space, &path, leaf)?;
    require_root(TreePart::Space, found, root)
}

/// Another leaf shows absence only if it lies where the key would, and isn't the key's.
pub(super) fn check_other(
    part: TreePart,
    path: &KeyPath,
    other: &[u8],
    depth: usize,
) -> Result<(), TreeProofError> {
    match path.common_nibbles(&KeyPath::of(other)) {
        DEPTH_MAX => Err(TreeProofError::OtherIsSame { part }),
        common if common < depth && !seeded::is(Bug::ExclusionWithoutPathCheck) => {
            Err(TreeProofError::OtherElsewhere { part })
        }
        _ => Ok(()),
    }
}

fn require_absence(claim: Option<&[u8]>) -> Result<(), TreeProofError> {
    match claim {
        Some(_) => Err(TreeProofError::ProvesAbsence),
        None => Ok(()),
    }
}

pub(super) fn require_root(
    part: TreePart,
    found: Digest,
    expected: &Digest,
) -> Result<(), TreeProofError> {
    if found == *expected {
        return Ok(());
    }
    Err(TreeProofError::Root {
        part,
        found,
        expected: *expected,
    })
}

impl Branch {
    /// The root that this branch leads to from `place` on the way of `path`.
    pub(super) fn root(
        &self,
        part: TreePart,
        path: &KeyPath,
        place: Option<Digest>,
    ) -> Result<Digest, TreeProofError> {
        assert!(self.bitmaps.len() <= DEPTH_MAX, "bounded by its type");
        let mut siblings = self.siblings.iter();
        let mut digest = place;
        for (depth, &bitmap) in (0..self.bitmaps.len()).rev().zip(self.bitmaps.iter()) {
            let slot = path.slot(depth);
            if (bitmap >> slot & 1 == 1) != digest.is_some() {
                return Err(TreeProofError::Bitmap { part, depth });
            }
            for width in [1usize, 2, 4, 8] {
                let is_right = slot & width != 0;
                let sibling = if half(bitmap, slot ^ width, width) == 0 {
                    None
                } else {
                    let next = siblings.next();
                    Some(*next.ok_or(TreeProofError::Siblings { part })?)
                };
                digest = match is_right {
                    true => join(sibling, digest),
                    false => join(digest, sibling),
                };
            }
            let compressed = digest.ok_or(TreeProofError::Bitmap { part, depth })?;
            digest = Some(node_hash(bitmap, &compressed));
        }
        if siblings.next().is_some() {
            return Err(TreeProofError::Siblings { part });
        }
        Ok(digest.unwrap_or(Digest::ZERO))
    }
}

/// The bits of the aligned group of `width` slots that `slot` is in.
fn half(bitmap: u16, slot: usize, width: usize) -> u16 {
    let start = slot & !(width - 1);
    bitmap >> start & ((1u16 << width) - 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::rules::{empty_root, value_hash};

    fn bare(place: Place) -> TreeProof {
        TreeProof {
            top: Branch::default(),
            place,
        }
    }

    #[test]
    fn a_store_without_spaces_has_no_keys() {
        let proof = bare(Place::Empty);
        assert_eq!(proof.verify(&empty_root(), b"s", b"k", None), Ok(()));
        assert_eq!(
            proof.verify(&empty_root(), b"s", b"k", Some(b"v")),
            Err(TreeProofError::ProvesAbsence)
        );
    }

    #[test]
    fn a_space_of_one_key_is_its_leaf() {
        let record = SpaceRecord {
            count: 1,
            root: leaf_hash(b"k", b"v"),
            ..SpaceRecord::EMPTY
        };
        let root = top_hash(&record.leaf_hash(b"s"));
        let with_end = |end| {
            bare(Place::Present {
                record,
                branch: Branch::default(),
                end,
            })
        };
        let present = with_end(End::Leaf);
        assert_eq!(present.verify(&root, b"s", b"k", Some(b"v")), Ok(()));
        assert_eq!(
            present.verify(&root, b"s", b"k", None),
            Err(TreeProofError::ProvesPresence)
        );
        for (space, key, value) in [(b"s", b"k", b"w"), (b"s", b"l", b"v"), (b"t", b"k", b"v")] {
            let verdict = present.verify(&root, space, key, Some(value));
            assert!(matches!(verdict, Err(TreeProofError::Root { .. })));
        }
        let other = with_end(End::Other {
            key: (&b"k"[..]).try_into().unwrap(),
            value_hash: value_hash(b"v"),
        });
        assert_eq!(other.verify(&root, b"s", b"absent", None), Ok(()));
        assert_eq!(
            other.verify(&root, b"s", b"k", None),
            Err(TreeProofError::OtherIsSame {
                part: TreePart::Space
            })
        );
        let elsewhere = bare(Place::Other {
            name: (&b"s"[..]).try_into().unwrap(),
            record,
        });
        assert_eq!(elsewhere.verify(&root, b"t", b"k", None), Ok(()));
        assert_eq!(
            elsewhere.verify(&root, b"s", b"k", None),
            Err(TreeProofError::OtherIsSame {
                part: TreePart::Top
            })
        );
    }

    #[test]
    fn bitmaps_that_contradict_the_way_are_refused() {
        let slot = KeyPath::of(b"k").slot(0);
        let verdict = |bitmap: u16, end: End, siblings: usize| {
            let branch = Branch {
                bitmaps: vec![bitmap].try_into().unwrap(),
                siblings: vec![Digest::ZERO; siblings].try_into().unwrap(),
            };
            let record = SpaceRecord::EMPTY;
            let claim = (end == End::Leaf).then_some(&b"v"[..]);
            bare(Place::Present {
                record,
                branch,
                end,
            })
            .verify(&Digest::ZERO, b"s", b"k", claim)
            .unwrap_err()
        };
        let (part, depth) = (TreePart::Space, 0);
        let bitmap = TreeProofError::Bitmap { part, depth };
        assert_eq!(verdict(1 << slot, End::Empty, 0), bitmap);
        assert_eq!(verdict(0, End::Leaf, 0), bitmap);
        assert_eq!(verdict(0, End::Empty, 0), bitmap, "a node without children");
        let count = TreeProofError::Siblings { part };
        assert_eq!(verdict(1 << slot, End::Leaf, 1), count);
        assert_eq!(verdict(u16::MAX, End::Leaf, 3), count);
        assert_eq!(verdict(u16::MAX, End::Leaf, 5), count);
        assert!(matches!(
            verdict(u16::MAX, End::Leaf, 4),
            TreeProofError::Root { .. }
        ));
    }

    #[test]
    fn the_longest_branch_is_bounded_and_checked_without_panic() {
        let branch = Branch {
            bitmaps: vec![u16::MAX; DEPTH_MAX].try_into().unwrap(),
            siblings: vec![Digest::ZERO; BRANCH_SIBLINGS_MAX].try_into().unwrap(),
        };
        let root = branch.root(TreePart::Space, &KeyPath::of(b"k"), Some(Digest::ZERO));
        assert!(root.is_ok());
        assert!(Bounded::<u16, DEPTH_MAX>::try_from(vec![0; DEPTH_MAX + 1]).is_err());
    }
}
