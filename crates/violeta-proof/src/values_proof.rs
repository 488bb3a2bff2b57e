//! The whole proof of many keys of a namespace, each with its value or without: smaller than one for each.

use borsh::{BorshDeserialize, BorshSerialize};
use serde::{Deserialize, Serialize};
use violeta_types::Bounded;
use violeta_types::transaction::{Key, NamespaceName};

use crate::entries_proof::{ENTRIES_MAX, MANY_JSON_BYTES_MAX};
use crate::error::ProofError;
use crate::head_proof::{HeadProof, Vouched};
use crate::stored_value::StoredValue;
use crate::tree::{MULTI_KEYS_MAX, MultiProof, PartialTreeError, value_hash};
use crate::trust::Trust;

/// Keys of one proof.
pub const VALUES_MAX: usize = ENTRIES_MAX;

const _: () = assert!(VALUES_MAX <= MULTI_KEYS_MAX);

/// A key, and the claim that it has this value, or none.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyClaim {
    /// The key.
    pub key: Key,
    /// Its value, or none.
    pub value: Option<StoredValue>,
}

/// Many keys' values or absence at a height, and what convinces of it.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ValuesProof {
    /// The namespace: the name of the space.
    pub namespace: NamespaceName,
    /// The claims, in any order; the same key may be there twice.
    pub claims: Bounded<KeyClaim, VALUES_MAX>,
    /// From the claims to the head's state root.
    pub tree: MultiProof,
    /// The head of the version, and who vouches for it.
    pub head: HeadProof,
}

impl ValuesProof {
    /// Checks the whole proof: if it returns the head, all the claims are true of it.
    ///
    /// # Errors
    /// The part that failed.
    pub fn verify(&self, trust: &Trust) -> Result<Vouched, ProofError> {
        let vouched = self.head.vouched(trust)?;
        let head = vouched.head.head();
        let keys: Vec<_> = self.claims.iter().map(|claim| &claim.key[..]).collect();
        let shown = (self.tree).read(&head.state_root, &self.namespace, &keys)?;
        for (claim, (KeyClaim { value, .. }, shown)) in self.claims.iter().zip(shown).enumerate() {
            match (value, shown) {
                (None, None) => {}
                (None, Some(_)) => return Err(PartialTreeError::ClaimedAbsent { claim }.into()),
                (Some(_), None) => return Err(PartialTreeError::ClaimedPresent { claim }.into()),
                (Some(value), Some(digest)) if value_hash(&value.to_stored()) == digest => {
                    value.check_age(head.height)?;
                }
                (Some(_), Some(_)) => {
                    return Err(PartialTreeError::ClaimedOtherwise { claim }.into());
                }
            }
        }
        Ok(vouched)
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
