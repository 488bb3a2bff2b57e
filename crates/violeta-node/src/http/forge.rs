//! A liar's answers, for demonstrations and tests.
//!
//! A node gets a forge only from the program that starts it (`Overrides`): no configuration or request leads here, and of
//! the command line only what the demonstration gives to the validators that end with it. What it is for: to see that clients catch it. Only the value is forged; head, certificate and
//! path stay true, since nobody can forge those.

use bytes::Bytes;
use violeta_proof::{KeyProof, StoredValue, ValuesProof};
use violeta_types::Height;
use violeta_types::api::{KeyAnswer, Readable, WrittenValue};

use crate::handle::Forge;

/// Says that one key has another value than it has, wherever it is asked for by its name.
#[derive(Clone, Debug)]
pub struct ForgedValue {
    /// The namespace.
    pub namespace: Vec<u8>,
    /// The key.
    pub key: Vec<u8>,
    /// What it is said to be.
    pub value: Bytes,
}

impl Forge for ForgedValue {
    fn value(&self, namespace: &[u8], key: &[u8], value: Option<Bytes>) -> Option<Bytes> {
        match namespace == self.namespace && key == self.key {
            true => Some(self.value.clone()),
            false => value,
        }
    }
}

/// Forges a read without proof.
pub(crate) fn forge_answer(forge: &dyn Forge, answer: &mut KeyAnswer) {
    let told = answer
        .value
        .as_ref()
        .map(|v| Bytes::from(v.value.0.clone()));
    let written_at = answer.value.as_ref().map(|v| v.written_at);
    let forged = forge.value(&answer.namespace.0, &answer.key.0, told);
    answer.value = forged.map(|value| WrittenValue {
        written_at: written_at.unwrap_or(answer.height),
        value: Readable(value.to_vec()),
    });
}

/// Forges the claim of a proof. What is longer than any value is left unsaid.
pub(crate) fn forge_proof(forge: &dyn Forge, proof: &mut KeyProof) {
    let (name, key, height) = (&proof.namespace, &proof.key, proof.head.height);
    proof.value = forged(forge, (name, key), height, proof.value.take());
}

/// Forges the claims of a proof of many keys.
pub(crate) fn forge_values(forge: &dyn Forge, proof: &mut ValuesProof) {
    let (name, height) = (&proof.namespace, proof.head.head.height);
    let mut claims = std::mem::take(&mut proof.claims).into_inner();
    for claim in &mut claims {
        claim.value = forged(forge, (name, &claim.key), height, claim.value.take());
    }
    // They are as many as before.
    proof.claims = claims.try_into().unwrap_or_default();
}

fn forged(
    forge: &dyn Forge,
    (namespace, key): (&[u8], &[u8]),
    height: Height,
    value: Option<StoredValue>,
) -> Option<StoredValue> {
    let written_at = value.as_ref().map_or(height, |value| value.written_at);
    let told = value.map(|value| value.value.into_inner());
    let value = forge.value(namespace, key, told)?;
    Some(StoredValue {
        written_at,
        value: value.try_into().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_forged_value_is_told_of_its_key_alone() {
        let forge = ForgedValue {
            namespace: b"bank".to_vec(),
            key: b"alice".to_vec(),
            value: Bytes::from_static(b"9999"),
        };
        let answer = |key: &[u8]| KeyAnswer {
            namespace: Readable(b"bank".to_vec()),
            key: Readable(key.to_vec()),
            height: Height(9),
            value: None,
        };
        let mut alice = answer(b"alice");
        forge_answer(&forge, &mut alice);
        assert_eq!(alice.value.unwrap().value, Readable(b"9999".to_vec()));
        let mut bob = answer(b"bob");
        forge_answer(&forge, &mut bob);
        assert_eq!(bob, answer(b"bob"));
    }
}
