//! Reads of many keys, proved: those that are named, all that are in a namespace, all that changed in it.
//!
//! ```text
//!   snapshot ── walk ──▶ tree proof: keys and digests ── read again, by these keys ──▶ values
//! ```
//!
//! An answer brings values and proof together and has bounds for both, so it may be about a part of what was asked for,
//! from the beginning on. One key is there at least: whoever asks on comes to the end.

use violeta_proof::tree::{ChangeProof, Leaf, MultiProof, PathRange, Proved, RangeProof, Sides};
use violeta_proof::{StoredValue, entries_proof, values_proof};
use violeta_types::transaction::Key;
use violeta_types::{Head, Height};
use violeta_vlsm::Snapshot;
use violeta_vlsm::limits::PAGE_BYTES;

use crate::error::DbError;
use crate::reader::{At, DbReader};
use crate::records::read_stored;

/// Many keys as of a height, with the tree that proves them.
#[derive(Clone, Debug)]
pub struct ProvedValues {
    /// The head of the version.
    pub head: Head,
    /// What the first of the keys that were asked for have, or that they have nothing: as many as an answer holds.
    pub values: Vec<Option<StoredValue>>,
    /// From these values to the head's state root.
    pub tree: MultiProof,
}

/// A part of a namespace as of a height, with the tree that proves it.
#[derive(Clone, Debug)]
pub struct ProvedEntries {
    /// The head of the version.
    pub head: Head,
    /// The values of the keys that the tree tells, in its order.
    pub values: Vec<StoredValue>,
    /// From the entries to the head's state root: these are all.
    pub tree: RangeProof,
}

/// What changed in a namespace between two heights, or a part of it, with the tree that proves it.
#[derive(Clone, Debug)]
pub struct ProvedChanges {
    /// The heads of the two versions.
    pub heads: Sides<Head>,
    /// The values of the keys that the tree tells, in its order.
    pub values: Vec<Sides<Option<StoredValue>>>,
    /// From the changes to the heads' state roots: these are all.
    pub tree: ChangeProof,
}

impl DbReader {
    /// What the first of some keys of a namespace hold: of as many as about [`PAGE_BYTES`] of keys and values and
    /// [`values_proof::VALUES_MAX`] allow, of one at least.
    ///
    /// # Errors
    /// If there is no key, the height isn't there or is 0, or the store can't be read.
    pub fn prove_values(
        &self,
        namespace: &[u8],
        keys: &[Key],
        at: At,
    ) -> Result<ProvedValues, DbError> {
        let snapshot = self.proving(at)?;
        let mut values = Vec::new();
        let mut bytes = 0;
        for key in keys.iter().take(values_proof::VALUES_MAX) {
            if bytes >= PAGE_BYTES {
                break;
            }
            let value = stored(&snapshot, namespace, key)?;
            // The key is told twice: by the claim, and by its leaf.
            bytes += 2 * key.len() + value.as_ref().map_or(0, |v| v.value.len());
            values.push(value);
        }
        let proved: Vec<&[u8]> = keys.iter().take(values.len()).map(|key| &key[..]).collect();
        let tree = snapshot.prove_many(namespace, &proved)?;
        Ok(ProvedValues {
            head: self.head_of(&snapshot)?,
            values,
            tree,
        })
    }

    /// All that a namespace has after a key (without one: from the beginning), in the order of paths, up to `limit`
    /// entries, [`entries_proof::ENTRIES_MAX`], and about [`PAGE_BYTES`]. A namespace that isn't there has nothing.
    ///
    /// # Errors
    /// If the height isn't there or is 0, or the store can't be read.
    pub fn prove_entries(
        &self,
        namespace: &[u8],
        after: Option<&Key>,
        limit: usize,
        at: At,
    ) -> Result<ProvedEntries, DbError> {
        let range = range_after(after)?;
        let snapshot = self.proving(at)?;
        let limit = limit.min(entries_proof::ENTRIES_MAX);
        let tree = snapshot.prove_range(namespace, &range, limit)?;
        let mut keys = Vec::new();
        let tell = |leaf: &Leaf| keys.push(leaf.key.clone());
        let read = tree.read(&snapshot.root(), namespace, &range, tell);
        // Which part it is, whoever reads the proof is told.
        let _: Proved = read.map_err(|error| unsound(namespace, error))?;
        let mut values = Vec::with_capacity(keys.len());
        for key in keys {
            let value = stored(&snapshot, namespace, &key)?;
            values.push(value.ok_or_else(|| unsound(namespace, "a key has no value"))?);
        }
        Ok(ProvedEntries {
            head: self.head_of(&snapshot)?,
            values,
            tree,
        })
    }

    /// All keys of a namespace, after a certain one, whose values differ between two heights, with both values; up to as
    /// many as with [`Self::prove_entries`].
    ///
    /// # Errors
    /// If the first height isn't below the second, one of them isn't there or is 0, or the store can't be read.
    pub fn prove_changes(
        &self,
        namespace: &[u8],
        after: Option<&Key>,
        limit: usize,
        heights: Sides<Height>,
    ) -> Result<ProvedChanges, DbError> {
        let Sides { old, new } = heights;
        if old >= new {
            let reason = format!("height {old} isn't below height {new}");
            return Err(DbError::Question(reason));
        }
        let range = range_after(after)?;
        let (old, new) = (
            self.proving(At::Height(old))?,
            self.proving(At::Height(new))?,
        );
        let limit = limit.min(entries_proof::ENTRIES_MAX);
        let tree = new.prove_changes(&old, namespace, &range, limit)?;
        let roots = Sides {
            old: old.root(),
            new: new.root(),
        };
        let mut changed = Vec::new();
        let read = tree.read(&roots, namespace, &range, |change| {
            changed.push((
                change.key.to_vec(),
                change.old.is_some(),
                change.new.is_some(),
            ));
        });
        // Which part it is, whoever reads the proof is told.
        let _: Proved = read.map_err(|error| unsound(namespace, error))?;
        let mut values = Vec::with_capacity(changed.len());
        for (key, in_old, in_new) in changed {
            let of = |there: bool, snapshot: &Snapshot| match there {
                true => stored(snapshot, namespace, &key),
                false => Ok(None),
            };
            values.push(Sides {
                old: of(in_old, &old)?,
                new: of(in_new, &new)?,
            });
        }
        Ok(ProvedChanges {
            heads: Sides {
                old: self.head_of(&old)?,
                new: self.head_of(&new)?,
            },
            values,
            tree,
        })
    }
}

fn range_after(after: Option<&Key>) -> Result<PathRange, DbError> {
    entries_proof::range_after(after).map_err(|error| DbError::Question(error.to_string()))
}

fn stored(
    snapshot: &Snapshot,
    namespace: &[u8],
    key: &[u8],
) -> Result<Option<StoredValue>, DbError> {
    let found = snapshot.get(namespace, key)?;
    let value = found.map(|bytes| read_stored(namespace, key, &bytes));
    value.transpose()
}

/// A tree that doesn't lead to its own version's root: what is on disk isn't what was written.
fn unsound(namespace: &[u8], reason: impl std::fmt::Display) -> DbError {
    DbError::corrupt(namespace, b"", reason.to_string())
}
