//! The whole proof of a part of a namespace: all its keys after a certain one, with their values, and none left out.
//!
//! ```text
//!   paths     00…0 ├───────────┼───●────●─●─────●──┼─────────────────┤ ff…f
//!                         `after` ╵   the entries ╵ `next`: the last of them, if there are more
//! ```
//!
//! Entries are in the order of their keys' paths (vlsm.md §2): neither that of keys nor of time, but the same for
//! everybody. Whoever goes on after the last key, *at the same height*, until nothing is left, has the whole namespace.
//! A namespace that isn't there is proved to have no entry. Each key is told once, by the tree; each value once, beside it.

use borsh::{BorshDeserialize, BorshSerialize};
use serde::{Deserialize, Serialize};
use violeta_types::api::PAGE_MAX;
use violeta_types::transaction::{Key, NamespaceName};
use violeta_types::{Bounded, Height};

use crate::error::ProofError;
use crate::head_proof::{HeadProof, Vouched};
use crate::stored_value::StoredValue;
use crate::tree::{
    KeyPath, Leaf, PartialTreeError, PathRange, RangeProof, SpacePlace, SpaceProof, value_hash,
};
use crate::trust::Trust;

/// Entries, or changes, of one proof.
pub const ENTRIES_MAX: usize = PAGE_MAX as usize;
/// Bytes of a proof of many keys, as JSON: twice the values that an answer brings, and room for keys, paths, signatures.
pub const MANY_JSON_BYTES_MAX: usize = 32 << 20;

/// All that a namespace has after a key, or a part of it, and what convinces of it.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EntriesProof {
    /// The namespace: the name of the space.
    pub namespace: NamespaceName,
    /// The key after which it begins, whether or not that is there; without one, at the beginning.
    pub after: Option<Key>,
    /// The claim: these are the values of the keys that the tree tells, in its order.
    pub values: Bounded<StoredValue, ENTRIES_MAX>,
    /// From the claim to the head's state root.
    pub tree: RangeProof,
    /// The head of the version, and who vouches for it.
    pub head: HeadProof,
}

/// A key with its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The key.
    pub key: Key,
    /// Its value, and when it was written.
    pub value: StoredValue,
}

/// A part of a namespace that was proved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedEntries {
    /// All that there is after the key that was asked for, up to [`Self::next`].
    pub entries: Vec<Entry>,
    /// The key after which there is more; none if that is all.
    pub next: Option<Key>,
    /// How many keys the namespace has in all; none if there is no such space.
    pub count: Option<u64>,
    /// The head that it was proved against.
    pub vouched: Vouched,
}

impl EntriesProof {
    /// Checks the whole proof.
    ///
    /// # Errors
    /// The part that failed.
    pub fn verify(&self, trust: &Trust) -> Result<VerifiedEntries, ProofError> {
        let vouched = self.head.vouched(trust)?;
        let head = vouched.head.head();
        let asked = range_after(self.after.as_ref())?;
        let mut leaves = Vec::new();
        let tell = |leaf: &Leaf| leaves.push(leaf.clone());
        let proved = (self.tree).read(&head.state_root, &self.namespace, &asked, tell)?;
        check_length(self.values.len(), leaves.len())?;
        let mut entries = Vec::with_capacity(leaves.len());
        for (claim, (leaf, value)) in leaves.into_iter().zip(&self.values).enumerate() {
            if value_hash(&value.to_stored()) != leaf.value_hash {
                return Err(PartialTreeError::ClaimedOtherwise { claim }.into());
            }
            value.check_age(head.height)?;
            let (key, value) = (key_of(&leaf.key)?, value.clone());
            entries.push(Entry { key, value });
        }
        let last = entries.last().map(|entry| entry.key.clone());
        Ok(VerifiedEntries {
            next: last.filter(|_| proved.rest.is_some()),
            entries,
            count: count(&self.tree.space),
            vouched,
        })
    }

    /// Decodes a whole proof.
    ///
    /// # Errors
    /// If the bytes aren't the canonical encoding of one.
    pub fn decode(bytes: &[u8]) -> Result<Self, ProofError> {
        Ok(violeta_types::decode(bytes)?)
    }

    /// Reads the JSON form.
    ///
    /// # Errors
    /// If it isn't one.
    pub fn from_json(text: &str) -> Result<Self, ProofError> {
        crate::json::read(text, MANY_JSON_BYTES_MAX)
    }

    /// The JSON form.
    pub fn to_json(&self) -> String {
        crate::json::write(self)
    }
}

/// The paths after that of a key; all of them without one. Prover and verifier ask the same.
///
/// # Errors
/// If that is the last path there is: nothing can come after it.
pub fn range_after(after: Option<&Key>) -> Result<PathRange, PartialTreeError> {
    match after {
        None => Ok(PathRange::ALL),
        Some(key) => {
            let rest = PathRange::ALL.after(&KeyPath::of(key));
            rest.ok_or(PartialTreeError::NothingAsked)
        }
    }
}

/// As many values are claimed as there are leaves: no more, no fewer.
pub(crate) fn check_length(claims: usize, leaves: usize) -> Result<(), PartialTreeError> {
    match claims.cmp(&leaves) {
        std::cmp::Ordering::Equal => Ok(()),
        std::cmp::Ordering::Less => Err(PartialTreeError::ClaimedTooLittle { claims }),
        std::cmp::Ordering::Greater => Err(PartialTreeError::ClaimedPresent { claim: leaves }),
    }
}

/// A key of a tree as one of a namespace.
pub(crate) fn key_of(bytes: &[u8]) -> Result<Key, ProofError> {
    Key::try_from(bytes).map_err(|error| ProofError::LongKey { bytes: error.len })
}

/// How many keys a space has.
fn count(space: &SpaceProof) -> Option<u64> {
    match &space.place {
        SpacePlace::Present { record } => Some(record.count),
        SpacePlace::Empty | SpacePlace::Other { .. } => None,
    }
}

impl StoredValue {
    /// That it wasn't written after the height of the head that it is proved against.
    pub(crate) fn check_age(&self, height: Height) -> Result<(), ProofError> {
        let written_at = self.written_at;
        match written_at > height {
            true => Err(ProofError::WrittenLater { written_at, height }),
            false => Ok(()),
        }
    }
}
