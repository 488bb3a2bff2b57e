//! That a space is in the top tree, or isn't: the part that proofs of many keys have in common.
//!
//! A space that isn't there is proved and read as a tree without keys, so what is said of its keys needs no other form.

use borsh::{BorshDeserialize, BorshSerialize};
use serde::{Deserialize, Serialize};
use violeta_types::limits::STORE_SPACE_BYTES_MAX;
use violeta_types::{Blob, Digest};

use super::proof::{Branch, TreePart, TreeProofError, check_other, require_root};
use super::rules::{KeyPath, SpaceRecord, top_hash};

/// What the top tree says of a space's name.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SpacePlace {
    /// There is the space.
    Present {
        /// What the top tree says of it.
        record: SpaceRecord,
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

/// Proof that a space has a certain record, or isn't there, in the version with a certain root.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SpaceProof {
    /// From the space's place up to the root of the top tree.
    pub top: Branch,
    /// What is in the space's place.
    pub place: SpacePlace,
}

impl SpaceProof {
    /// Checks that in the version whose root is `root` the space has the record that is returned, or isn't there.
    ///
    /// # Errors
    /// If the proof doesn't show that: says what fails, always in the top tree.
    pub fn verify(
        &self,
        root: &Digest,
        space: &[u8],
    ) -> Result<Option<&SpaceRecord>, TreeProofError> {
        let path = KeyPath::of(space);
        let (leaf, record) = match &self.place {
            SpacePlace::Present { record } => (Some(record.leaf_hash(space)), Some(record)),
            SpacePlace::Empty => (None, None),
            SpacePlace::Other { name, record } => {
                check_other(TreePart::Top, &path, name, self.top.bitmaps.len())?;
                (Some(record.leaf_hash(name)), None)
            }
        };
        let found = top_hash(&self.top.root(TreePart::Top, &path, leaf)?);
        require_root(TreePart::Top, found, root)?;
        Ok(record)
    }

    /// Like [`SpaceProof::verify`]: the root of the space's tree, which has no key if the space isn't there.
    pub(super) fn tree_root(&self, root: &Digest, space: &[u8]) -> Result<Digest, TreeProofError> {
        let record = self.verify(root, space)?;
        Ok(record.map_or(Digest::ZERO, |record| record.root))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::rules::empty_root;

    fn bare(place: SpacePlace) -> SpaceProof {
        SpaceProof {
            top: Branch::default(),
            place,
        }
    }

    #[test]
    fn a_space_is_shown_by_its_record_and_absent_by_another_in_its_place() {
        let record = SpaceRecord {
            count: 3,
            ..SpaceRecord::EMPTY
        };
        let root = top_hash(&record.leaf_hash(b"s"));
        let present = bare(SpacePlace::Present { record });
        assert_eq!(present.verify(&root, b"s"), Ok(Some(&record)));
        assert!(present.verify(&root, b"t").is_err());
        let name: Blob<STORE_SPACE_BYTES_MAX> = (&b"s"[..]).try_into().unwrap();
        let other = bare(SpacePlace::Other { name, record });
        assert_eq!(other.verify(&root, b"t"), Ok(None));
        assert_eq!(other.tree_root(&root, b"t"), Ok(Digest::ZERO));
        let part = TreePart::Top;
        let same = Err(TreeProofError::OtherIsSame { part });
        assert_eq!(other.verify(&root, b"s"), same);
        let empty = bare(SpacePlace::Empty);
        assert_eq!(empty.verify(&empty_root(), b"s"), Ok(None));
        assert!(empty.verify(&root, b"t").is_err());
    }
}
