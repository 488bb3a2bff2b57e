//! Proof of all that a range of paths holds: the partial tree of one range, so that nothing in between can be left out.
//!
//! ```text
//!   asked    from ├──────────────────────────────────────────────────┤ to
//!   proved        ├──●────●─●─────●──┤ the path of the last leaf here
//!   rest                              ├──────────────────────────────┤     to be asked for next
//! ```
//!
//! Whoever proves may end the range after any of its leaves, so that an answer is never too large; what is left is for
//! the next question. A page has a leaf at least, so a range ends.

use borsh::{BorshDeserialize, BorshSerialize};
use serde::{Deserialize, Serialize};
use violeta_types::Digest;

use super::error::{PartialTreeError, Side};
use super::partial::{Leaf, PartialTree, TreeLeaf};
use super::rules::{KeyPath, value_hash};
use super::space::SpaceProof;
use super::window::PathRange;

/// Proof of all keys of a space whose paths are in a range, in the version with a certain root. Its leaves have the
/// digests of values; in a [`KeysChunk`](super::KeysChunk), the values.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RangeProof<L = Leaf> {
    /// The space in the top tree.
    pub space: SpaceProof,
    /// If the range is proved in part only: the path of the last leaf.
    pub through: Option<KeyPath>,
    /// The range in the space's tree. Of a space that isn't there: nothing.
    pub tree: PartialTree<L>,
}

/// What of the range that was asked for is proved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a range may be proved in part only"]
pub struct Proved {
    /// The part that is proved.
    pub range: PathRange,
    /// What is still to be asked for.
    pub rest: Option<PathRange>,
}

impl Proved {
    /// The part of `asked` that a proof is about which goes through `through` only.
    pub(super) fn of(
        asked: &PathRange,
        through: Option<&KeyPath>,
    ) -> Result<Self, PartialTreeError> {
        if asked.is_empty() {
            return Err(PartialTreeError::NothingAsked);
        }
        let Some(to) = through else {
            let (range, rest) = (*asked, None);
            return Ok(Proved { range, rest });
        };
        // A proof that goes to the end says so in one way: it has no such path.
        let rest = asked.after(to).filter(|_| asked.holds(to));
        let rest = Some(rest.ok_or(PartialTreeError::CutElsewhere)?);
        let range = PathRange {
            from: asked.from,
            to: *to,
        };
        Ok(Proved { range, rest })
    }
}

/// Tells `visit` all leaves of the part of `asked` that a tree proves, and returns which part that is, and the root that
/// the tree leads to, which is still to be compared.
pub(super) fn walk_range<L: TreeLeaf>(
    tree: &PartialTree<L>,
    through: Option<&KeyPath>,
    asked: &PathRange,
    mut visit: impl FnMut(&L),
) -> Result<(Proved, Digest), PartialTreeError> {
    let proved = Proved::of(asked, through)?;
    let mut last = None;
    let found = tree.walk(&[proved.range], |path, leaf| {
        last = Some(*path);
        visit(leaf);
    })?;
    if through.is_some() && through != last.as_ref() {
        return Err(PartialTreeError::CutElsewhere);
    }
    Ok((proved, found))
}

impl<L: TreeLeaf> RangeProof<L> {
    /// Tells `visit` all leaves of the part of `asked` that is proved, in the order of their paths, and returns which
    /// part that is. Until this has returned without an error, nothing that `visit` was told may be believed.
    ///
    /// # Errors
    /// If the proof isn't one of this range in the version whose root is `root`: says what fails.
    pub fn read(
        &self,
        root: &Digest,
        space: &[u8],
        asked: &PathRange,
        visit: impl FnMut(&L),
    ) -> Result<Proved, PartialTreeError> {
        let tree_root = self.space.tree_root(root, space);
        let tree_root = tree_root.map_err(PartialTreeError::space(Side::New))?;
        let (proved, found) = walk_range(&self.tree, self.through.as_ref(), asked, visit)?;
        PartialTreeError::require_root(Side::New, found, tree_root)?;
        Ok(proved)
    }
}

impl RangeProof {
    /// Checks that in the version whose root is `root` the claimed keys, with these values, in this order, are all that
    /// `space` has in the part of `asked` that is proved, and returns which part that is.
    ///
    /// # Errors
    /// If the proof isn't one of the claims: says what fails, or which claim.
    pub fn verify(
        &self,
        root: &Digest,
        space: &[u8],
        asked: &PathRange,
        claims: &[(&[u8], &[u8])],
    ) -> Result<Proved, PartialTreeError> {
        let mut verdict = Ok(());
        let mut count = 0;
        let proved = self.read(root, space, asked, |leaf| {
            let claim = count;
            count += 1;
            let checked = match claims.get(claim) {
                None => Err(PartialTreeError::ClaimedTooLittle {
                    claims: claims.len(),
                }),
                Some((key, _)) if **key != *leaf.key => {
                    Err(PartialTreeError::ClaimedPresent { claim })
                }
                Some((_, value)) if value_hash(value) != leaf.value_hash => {
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
