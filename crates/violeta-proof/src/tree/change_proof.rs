//! Proof of all that changed in a space between two versions, in a range of paths: the partial tree of both.
//!
//! A space that appears or is dropped in between is one that goes from no keys to some, or back; so is one that is there
//! in neither. Like a range, the proof may end after any change, and what is left is for the next question.

use borsh::{BorshDeserialize, BorshSerialize};
use serde::{Deserialize, Serialize};
use violeta_types::Digest;

use super::changes::{ChangedTree, Sides};
use super::error::{PartialTreeError, Side};
use super::range::Proved;
use super::rules::{KeyPath, value_hash};
use super::space::SpaceProof;
use super::window::PathRange;

/// Proof of all keys of a space whose paths are in a range, and whose values differ between two versions.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChangeProof {
    /// The space in both versions' top trees.
    pub spaces: Sides<SpaceProof>,
    /// If the range is proved in part only: the path of the last change.
    pub through: Option<KeyPath>,
    /// What differs in the space's trees.
    pub tree: ChangedTree,
}

/// A key whose values differ, as a proof shows it. One of the two is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change<'a> {
    /// The key.
    pub key: &'a [u8],
    /// The digest of its value in the older version, if it has one there.
    pub old: Option<Digest>,
    /// The digest of its value in the newer version, if it has one there.
    pub new: Option<Digest>,
}

/// A key whose values are claimed to differ: the key, its older value, its newer value.
pub type ChangeClaim<'a> = (&'a [u8], Option<&'a [u8]>, Option<&'a [u8]>);

impl ChangeProof {
    /// Tells `visit` all changes in the part of `asked` that is proved, in the order of their paths, and returns which
    /// part that is. Until this has returned without an error, nothing that `visit` was told may be believed.
    ///
    /// # Errors
    /// If the proof isn't one of this range between the versions with these roots: says what fails.
    pub fn read(
        &self,
        roots: &Sides<Digest>,
        space: &[u8],
        asked: &PathRange,
        mut visit: impl FnMut(Change<'_>),
    ) -> Result<Proved, PartialTreeError> {
        let proved = Proved::of(asked, self.through.as_ref())?;
        let old = self.spaces.old.tree_root(&roots.old, space);
        let new = self.spaces.new.tree_root(&roots.new, space);
        let (old, new) = (
            old.map_err(PartialTreeError::space(Side::Old))?,
            new.map_err(PartialTreeError::space(Side::New))?,
        );
        let mut last = None;
        if old == new {
            if self.tree != ChangedTree::default() {
                return Err(PartialTreeError::OpenedInVain { depth: 0 });
            }
        } else {
            let found = self.tree.walk(&[proved.range], |path, leaf| {
                last = Some(*path);
                let Sides { old, new } = leaf.change.value_hashes();
                let key = &leaf.key;
                visit(Change { key, old, new });
            })?;
            PartialTreeError::require_root(Side::Old, found.old, old)?;
            PartialTreeError::require_root(Side::New, found.new, new)?;
        }
        if self.through.is_some() && self.through != last {
            return Err(PartialTreeError::CutElsewhere);
        }
        Ok(proved)
    }

    /// Checks that between the versions with these roots the claimed changes, in this order, are all that there are in
    /// the part of `asked` that is proved, and returns which part that is.
    ///
    /// # Errors
    /// If the proof isn't one of the claims: says what fails, or which claim.
    pub fn verify(
        &self,
        roots: &Sides<Digest>,
        space: &[u8],
        asked: &PathRange,
        claims: &[ChangeClaim<'_>],
    ) -> Result<Proved, PartialTreeError> {
        let mut verdict = Ok(());
        let mut count = 0;
        let proved = self.read(roots, space, asked, |change| {
            let claim = count;
            count += 1;
            let is =
                |claimed: &Option<&[u8]>, shown: Option<Digest>| claimed.map(value_hash) == shown;
            let checked = match claims.get(claim) {
                None => Err(PartialTreeError::ClaimedTooLittle {
                    claims: claims.len(),
                }),
                Some((key, ..)) if *key != change.key => {
                    Err(PartialTreeError::ClaimedPresent { claim })
                }
                Some((_, old, new)) if !is(old, change.old) || !is(new, change.new) => {
                    Err(PartialTreeError::ClaimedOtherwise { claim })
                }
                Some(_) => Ok(()),
            };
            verdict = verdict.and(checked);
        })?;
        verdict?;
        match count < claims.len() {
            true => Err(PartialTreeError::ClaimedPresent { claim: count }),
            false => Ok(proved),
        }
    }
}
