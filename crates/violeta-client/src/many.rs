//! Verified reads of many keys: those that are named, all that a namespace has, all that changed in it.
//!
//! ```text
//!   entries(after: none) ─▶ part, at height h ─ next ─▶ entries(after: next, at h) ─▶ … ─▶ next: none, that was all
//! ```
//!
//! A gateway may answer about less than it was asked for, but only by ending early, and the proof says so: what it tells
//! is all that there is up to where it ends. Parts that are asked for at one height make one whole.

use violeta_proof::values_proof::VALUES_MAX;
use violeta_proof::{
    ChangesProof, EntriesProof, StoredValue, TrustedHead, ValuesProof, VerifiedChanges,
    VerifiedEntries,
};
use violeta_types::Height;
use violeta_types::api::PAGE_MAX;
use violeta_types::transaction::{Key, NamespaceName};

use crate::client::Client;
use crate::error::ClientError;
use crate::incident::Part;
use crate::read::{At, Request, Wanted, bounded, readable};

/// A part of a namespace: all that it has between two keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProvedEntries {
    /// What was proved: the entries, where there is more, and of which height.
    pub part: VerifiedEntries,
    /// Who gave the answer.
    pub validator: String,
    /// The proof itself: whoever has the trust can check it again.
    pub proof: EntriesProof,
}

/// A part of what changed in a namespace between two heights.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProvedChanges {
    /// What was proved: the changes, where there are more, and between which heights.
    pub part: VerifiedChanges,
    /// Who gave the answer.
    pub validator: String,
    /// The proof itself: whoever has the trust can check it again.
    pub proof: ChangesProof,
}

/// The values of many keys, all of one height.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProvedValues {
    /// What each of the keys that were asked for has, in their order; none if it has nothing.
    pub values: Vec<Option<StoredValue>>,
    /// The head that all of it was proved against.
    pub head: TrustedHead,
    /// The proofs themselves, part by part.
    pub proofs: Vec<ValuesProof>,
}

impl Client {
    /// All that a namespace has after a key (without one: from the beginning), in the order of the store, up to `limit`
    /// entries, or fewer; proved, and nothing in between left out. Where there is more, [`VerifiedEntries::next`] says:
    /// ask on after that key, *at the same height*, to have all of it. A namespace that isn't there has nothing.
    ///
    /// # Errors
    /// If no validator gives an answer that verifies.
    pub async fn entries(
        &self,
        namespace: impl AsRef<[u8]>,
        after: Option<&[u8]>,
        limit: u32,
        at: At,
    ) -> Result<ProvedEntries, ClientError> {
        let namespace: NamespaceName = bounded("namespace", namespace.as_ref())?;
        let after = beginning(after)?;
        let limit = page(limit)?;
        let wanted = self.wanted(at).await?;
        let mut query = self.query(Some(limit), after.as_ref());
        if let Wanted::Exactly(height) = wanted {
            query.push(format!("at={height}"));
        }
        let request = Request::large(path(&namespace, "entries", &query), None);
        let asked = asked(&namespace, after.as_ref(), "all");
        let check = |bytes: &[u8]| {
            let proof = EntriesProof::decode(bytes)?;
            same_namespace(&namespace, &proof.namespace)?;
            same_beginning(after.as_ref(), proof.after.as_ref())?;
            let part = proof.verify(&self.0.trust)?;
            wanted.check(&part.vouched.head)?;
            Ok((part, proof))
        };
        let (at, (part, proof)) = self.ask(&asked, &request, wanted, check).await?;
        self.has_seen(&part.vouched.head);
        Ok(ProvedEntries {
            part,
            validator: self.name(at),
            proof,
        })
    }

    /// All keys of a namespace, after a certain one, whose values differ between the height `from` and a later version,
    /// with both values; proved, and in parts, as [`Client::entries`] are. A value that was written again is a change.
    ///
    /// # Errors
    /// If no validator gives an answer that verifies; also if `from` isn't below the version.
    pub async fn changes(
        &self,
        namespace: impl AsRef<[u8]>,
        (from, to): (Height, At),
        after: Option<&[u8]>,
        limit: u32,
    ) -> Result<ProvedChanges, ClientError> {
        let namespace: NamespaceName = bounded("namespace", namespace.as_ref())?;
        let after = beginning(after)?;
        let limit = page(limit)?;
        let wanted = self.wanted(to).await?;
        let mut query = self.query(Some(limit), after.as_ref());
        query.push(format!("from={from}"));
        if let Wanted::Exactly(height) = wanted {
            if from >= height {
                let reason = format!("nothing lies between height {from} and height {height}");
                return Err(ClientError::Invalid(reason));
            }
            query.push(format!("to={height}"));
        }
        let request = Request::large(path(&namespace, "changes", &query), None);
        let asked = asked(&namespace, after.as_ref(), "the changes");
        let check = |bytes: &[u8]| {
            let proof = ChangesProof::decode(bytes)?;
            same_namespace(&namespace, &proof.namespace)?;
            same_beginning(after.as_ref(), proof.after.as_ref())?;
            let part = proof.verify(&self.0.trust)?;
            Wanted::Exactly(from).check(&part.vouched.old.head)?;
            wanted.check(&part.vouched.new.head)?;
            Ok((part, proof))
        };
        let (at, (part, proof)) = self.ask(&asked, &request, wanted, check).await?;
        self.has_seen(&part.vouched.new.head);
        Ok(ProvedChanges {
            part,
            validator: self.name(at),
            proof,
        })
    }

    /// What many keys of a namespace have, proved, all of one height. As many questions as answers need room for.
    ///
    /// # Errors
    /// If there is no key, or no validator gives an answer that verifies.
    pub async fn get_many<K: AsRef<[u8]>>(
        &self,
        namespace: impl AsRef<[u8]>,
        keys: impl IntoIterator<Item = K>,
        at: At,
    ) -> Result<ProvedValues, ClientError> {
        let namespace: NamespaceName = bounded("namespace", namespace.as_ref())?;
        let keys = keys.into_iter().map(|key| bounded("key", key.as_ref()));
        let keys: Vec<Key> = keys.collect::<Result<_, _>>()?;
        let mut wanted = self.wanted(at).await?;
        let (mut values, mut proofs) = (Vec::with_capacity(keys.len()), Vec::new());
        let mut head = None;
        while values.len() < keys.len() {
            let left = &keys[values.len()..];
            let (proof, found) = self.some_values(&namespace, left, wanted).await?;
            let claims = proof.claims.iter();
            values.extend(claims.map(|claim| claim.value.clone()));
            proofs.push(proof);
            wanted = Wanted::Exactly(found.head().height);
            head = Some(found);
        }
        let no_key = || ClientError::Invalid("no key is asked for".into());
        Ok(ProvedValues {
            values,
            head: head.ok_or_else(no_key)?,
            proofs,
        })
    }

    /// A proof of the first of some keys, one at least.
    async fn some_values(
        &self,
        namespace: &NamespaceName,
        keys: &[Key],
        wanted: Wanted,
    ) -> Result<(ValuesProof, TrustedHead), ClientError> {
        let keys = &keys[..keys.len().min(VALUES_MAX)];
        let mut query = self.query(None, None);
        if let Wanted::Exactly(height) = wanted {
            query.push(format!("at={height}"));
        }
        let body = violeta_types::encode(&keys.to_vec()).into();
        let request = Request::large(path(namespace, "values", &query), Some(body));
        let asked = format!("{} keys of {}", keys.len(), readable(namespace));
        let check = |bytes: &[u8]| {
            let proof = ValuesProof::decode(bytes)?;
            same_namespace(namespace, &proof.namespace)?;
            let told = proof.claims.iter().map(|claim| &claim.key);
            let others = told.zip(keys).find(|(told, key)| told != key);
            if let Some((told, key)) = others {
                return Err(other("key", key, told));
            }
            if proof.claims.is_empty() || proof.claims.len() > keys.len() {
                return Err(Part::OtherQuestion {
                    what: "number of keys",
                    asked: keys.len().to_string(),
                    found: proof.claims.len().to_string(),
                });
            }
            let head = proof.verify(&self.0.trust)?.head;
            wanted.check(&head)?;
            Ok((proof, head))
        };
        let (_, (proof, head)) = self.ask(&asked, &request, wanted, check).await?;
        self.has_seen(&head);
        Ok((proof, head))
    }

    /// What a question says of the part that it is about, and of the word that this client can judge.
    fn query(&self, limit: Option<u32>, after: Option<&Key>) -> Vec<String> {
        let limit = limit.map(|limit| format!("limit={limit}"));
        let after = after.map(|key| format!("after=hex:{}", hex::encode(&key[..])));
        let vouch = self.0.trust.committee().is_none();
        let vouch = vouch.then(|| "vouch=seal".to_owned());
        [limit, after, vouch].into_iter().flatten().collect()
    }
}

fn path(namespace: &[u8], what: &str, query: &[String]) -> String {
    let (namespace, query) = (hex::encode(namespace), query.join("&"));
    format!("/v1/namespaces/hex:{namespace}/{what}?{query}")
}

fn asked(namespace: &[u8], after: Option<&Key>, what: &str) -> String {
    let after = after.map_or_else(String::new, |key| format!(" after {}", readable(key)));
    format!("{what} of {}{after}", readable(namespace))
}

fn beginning(after: Option<&[u8]>) -> Result<Option<Key>, ClientError> {
    after.map(|key| bounded("key", key)).transpose()
}

fn page(limit: u32) -> Result<u32, ClientError> {
    match limit {
        1..=PAGE_MAX => Ok(limit),
        _ => Err(ClientError::Invalid(format!(
            "a part of {limit} entries, 1 to {PAGE_MAX} are allowed"
        ))),
    }
}

fn other(what: &'static str, asked: &[u8], found: &[u8]) -> Part {
    Part::OtherQuestion {
        what,
        asked: readable(asked),
        found: readable(found),
    }
}

fn same_namespace(asked: &[u8], found: &[u8]) -> Result<(), Part> {
    match asked == found {
        true => Ok(()),
        false => Err(other("namespace", asked, found)),
    }
}

fn same_beginning(asked: Option<&Key>, found: Option<&Key>) -> Result<(), Part> {
    let name = |key: Option<&Key>| key.map_or_else(|| "the beginning".into(), |key| readable(key));
    match asked == found {
        true => Ok(()),
        false => Err(Part::OtherQuestion {
            what: "part after",
            asked: name(asked),
            found: name(found),
        }),
    }
}

#[cfg(test)]
mod tests;
