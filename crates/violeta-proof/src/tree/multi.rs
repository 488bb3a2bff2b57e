//! Proof of many keys of a space at once, each present or absent: the partial tree of their points.
//!
//! What the keys' ways have in common is there once, and no digest that others of the keys make good: a hundred
//! neighbours cost little more than one.

use borsh::{BorshDeserialize, BorshSerialize};
use serde::{Deserialize, Serialize};
use violeta_types::Digest;

use super::error::{PartialTreeError, Side};
use super::partial::{PROOF_LEAVES_MAX, PartialTree};
use super::rules::{KeyPath, value_hash};
use super::space::SpaceProof;
use super::window;

/// Keys of one proof.
pub const MULTI_KEYS_MAX: usize = 1 << 12;

const _: () = assert!(MULTI_KEYS_MAX <= PROOF_LEAVES_MAX);

/// Proof of many keys of a space, each with its value or without, in the version with a certain root.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MultiProof {
    /// The space in the top tree.
    pub space: SpaceProof,
    /// The keys in the space's tree. Of a space that isn't there: nothing.
    pub tree: PartialTree,
}

impl MultiProof {
    /// What the proof says of each of the keys in turn: the digest of its value, or that it has none.
    ///
    /// # Errors
    /// If the proof isn't the one of these keys in the version whose root is `root`: says what fails.
    pub fn read<K: AsRef<[u8]>>(
        &self,
        root: &Digest,
        space: &[u8],
        keys: &[K],
    ) -> Result<Vec<Option<Digest>>, PartialTreeError> {
        check_count(keys.len())?;
        let tree_root = self.space.tree_root(root, space);
        let tree_root = tree_root.map_err(PartialTreeError::space(Side::New))?;
        let paths: Vec<_> = keys.iter().map(|k| KeyPath::of(k.as_ref())).collect();
        let mut order: Vec<_> = (0..keys.len()).collect();
        order.sort_unstable_by_key(|&i| paths[i]);
        let mut values = vec![None; keys.len()];
        let mut next = 0;
        let window = window::points(paths.clone());
        let found = self.tree.walk(&window, |path, leaf| {
            // Leaves and keys come in the order of paths; the same key may be asked for twice.
            while let Some(&i) = order.get(next).filter(|&&i| paths[i] <= *path) {
                values[i] = (paths[i] == *path).then_some(leaf.value_hash);
                next += 1;
            }
        })?;
        PartialTreeError::require_root(Side::New, found, tree_root)?;
        Ok(values)
    }

    /// Checks that in the version whose root is `root` each key of `space` has the claimed value, or none. A key of a
    /// space that isn't there has no value.
    ///
    /// # Errors
    /// If the proof isn't one of the claims: says what fails, or which claim.
    pub fn verify(
        &self,
        root: &Digest,
        space: &[u8],
        claims: &[(&[u8], Option<&[u8]>)],
    ) -> Result<(), PartialTreeError> {
        let keys: Vec<_> = claims.iter().map(|(key, _)| *key).collect();
        let values = self.read(root, space, &keys)?;
        for (claim, ((_, claimed), value)) in claims.iter().zip(values).enumerate() {
            match (claimed, value) {
                (None, None) => {}
                (None, Some(_)) => return Err(PartialTreeError::ClaimedAbsent { claim }),
                (Some(_), None) => return Err(PartialTreeError::ClaimedPresent { claim }),
                (Some(claimed), Some(value)) => {
                    if value_hash(claimed) != value {
                        return Err(PartialTreeError::ClaimedOtherwise { claim });
                    }
                }
            }
        }
        Ok(())
    }
}

/// Some keys, and not too many.
pub(super) fn check_count(count: usize) -> Result<(), PartialTreeError> {
    match count {
        0 => Err(PartialTreeError::NothingAsked),
        1..=MULTI_KEYS_MAX => Ok(()),
        _ => Err(PartialTreeError::TooManyKeys {
            count,
            max: MULTI_KEYS_MAX,
        }),
    }
}
