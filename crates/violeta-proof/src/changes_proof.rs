//! The whole proof of what changed in a namespace between two heights: all keys, after a certain one, whose values
//! differ, with both values, and none left out.
//!
//! A value that was written again, though it is the same, has another height: that is a change. A key that was written
//! and taken away in between is none. Parts go on as those of [`EntriesProof`](crate::EntriesProof) do.

use borsh::{BorshDeserialize, BorshSerialize};
use serde::{Deserialize, Serialize};
use violeta_types::Bounded;
use violeta_types::transaction::{Key, NamespaceName};

use crate::entries_proof::{ENTRIES_MAX, MANY_JSON_BYTES_MAX, check_length, key_of, range_after};
use crate::error::ProofError;
use crate::head_proof::{HeadProof, Vouched};
use crate::stored_value::StoredValue;
use crate::tree::{ChangeProof, PartialTreeError, Sides, value_hash};
use crate::trust::Trust;

/// All that differs in a namespace between two heights after a key, or a part of it, and what convinces of it.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChangesProof {
    /// The namespace: the name of the space.
    pub namespace: NamespaceName,
    /// The key after which it begins; without one, at the beginning.
    pub after: Option<Key>,
    /// The claim: these are the values of the keys that the tree tells, in its order.
    pub values: Bounded<Sides<Option<StoredValue>>, ENTRIES_MAX>,
    /// From the claim to both heads' state roots.
    pub tree: ChangeProof,
    /// The heads of the versions, and who vouches for them.
    pub heads: Sides<HeadProof>,
}

/// A key whose values differ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChangedEntry {
    /// The key.
    pub key: Key,
    /// Its values. One of the two is there.
    pub values: Sides<Option<StoredValue>>,
}

/// What changed, proved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedChanges {
    /// All changes after the key that was asked for, up to [`Self::next`].
    pub changes: Vec<ChangedEntry>,
    /// The key after which there is more; none if that is all.
    pub next: Option<Key>,
    /// The heads that it was proved against.
    pub vouched: Sides<Vouched>,
}

impl ChangesProof {
    /// Checks the whole proof.
    ///
    /// # Errors
    /// The part that failed.
    pub fn verify(&self, trust: &Trust) -> Result<VerifiedChanges, ProofError> {
        let vouched = Sides {
            old: self.heads.old.vouched(trust)?,
            new: self.heads.new.vouched(trust)?,
        };
        let (old, new) = (vouched.old.head.head(), vouched.new.head.head());
        if old.height >= new.height {
            let (older, newer) = (old.height, new.height);
            return Err(ProofError::HeadsOutOfOrder { older, newer });
        }
        let roots = Sides {
            old: old.state_root,
            new: new.state_root,
        };
        let asked = range_after(self.after.as_ref())?;
        let mut shown = Vec::new();
        let proved = (self.tree).read(&roots, &self.namespace, &asked, |change| {
            let digests = Sides {
                old: change.old,
                new: change.new,
            };
            shown.push((key_of(change.key), digests));
        })?;
        check_length(self.values.len(), shown.len())?;
        let mut changes = Vec::with_capacity(shown.len());
        for (claim, ((key, digests), values)) in shown.into_iter().zip(&self.values).enumerate() {
            let hash = |value: &StoredValue| value_hash(&value.to_stored());
            let claimed = Sides {
                old: values.old.as_ref().map(hash),
                new: values.new.as_ref().map(hash),
            };
            if claimed != digests {
                return Err(PartialTreeError::ClaimedOtherwise { claim }.into());
            }
            for (value, head) in [(&values.old, old), (&values.new, new)] {
                if let Some(value) = value {
                    value.check_age(head.height)?;
                }
            }
            let (key, values) = (key?, values.clone());
            changes.push(ChangedEntry { key, values });
        }
        let last = changes.last().map(|change| change.key.clone());
        Ok(VerifiedChanges {
            next: last.filter(|_| proved.rest.is_some()),
            changes,
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
