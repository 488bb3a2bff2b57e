//! Ed25519 keys by purpose: validators, clients, operators.
//!
//! ```text
//!  what is signed:   purpose (ASCII, zero-padded to 32 bytes) ‖ digest (32 bytes)
//!
//!  key        purpose                        digest                       verified by
//!  validator  "violeta v1 vertex"            vertex id                    verify_vertex
//!  validator  "violeta v1 attestation"       head id                      verify_attestation
//!  client     "violeta v1 transaction"       transaction id               verify_transaction
//!  client     "violeta v1 key rotation"      rotation digest              verify_rotation
//!  operator   "violeta v1 operator"          digest of what is ordered    verify_operator
//! ```
//!
//! No two rows can stand in for each other: the purposes differ, and both parts have a fixed length. So a validator's
//! signature is never a client's, even if one seed made both keys and the digests are the same.
//!
//! Validity is that of ZIP-215, one rule set everywhere (consensus.md §2, V2). The functions for many
//! ([`verify_transactions`], [`verify_vertices`], [`verify_attestations`]) give the verdicts of those for one, in less
//! than half the time. Their randomness is derived from what is checked: no source of entropy is needed, and all
//! validators judge alike.
//!
//! TLS keys are no business of this crate: the shell makes them with its certificates.

use std::fmt;

use violeta_types::{
    ClientPublicKey, ClientSignature, Digest, HeadId, OperatorPublicKey, OperatorSignature, TxId,
    ValidatorPublicKey, ValidatorSignature, VertexId,
};

use crate::ed25519::{Check, SecretKey, verify_each};

/// A signature that its key didn't make for this purpose and digest; or bytes that are no key or no signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the signature over this {of} isn't the key's: drop it, and blame who sent it")]
pub struct BadSignature {
    of: &'static str,
}

/// What a signature is for. The name is part of the signed bytes: never change one.
struct Purpose {
    name: [u8; 32],
    of: &'static str,
}

impl Purpose {
    const fn new(name: &str, of: &'static str) -> Self {
        let bytes = name.as_bytes();
        assert!(bytes.len() <= 32, "a purpose has at most 32 bytes");
        let mut padded = [0; 32];
        let mut i = 0;
        while i < bytes.len() {
            assert!(bytes[i] != 0, "the padding must be told from the name");
            padded[i] = bytes[i];
            i += 1;
        }
        Purpose { name: padded, of }
    }

    /// What is signed for `digest`.
    fn message(&self, digest: &Digest) -> [u8; 64] {
        let mut message = [0; 64];
        message[..32].copy_from_slice(&self.name);
        message[32..].copy_from_slice(&digest.0);
        message
    }

    fn verify(
        &self,
        key: [u8; 32],
        digest: &Digest,
        signature: [u8; 64],
    ) -> Result<(), BadSignature> {
        if self.check(key, digest, signature).is_good() {
            Ok(())
        } else {
            Err(BadSignature { of: self.of })
        }
    }

    fn check(&self, key: [u8; 32], digest: &Digest, signature: [u8; 64]) -> Check<[u8; 64]> {
        Check {
            key,
            message: self.message(digest),
            signature,
        }
    }
}

const VERTEX: Purpose = Purpose::new("violeta v1 vertex", "vertex");
const ATTESTATION: Purpose = Purpose::new("violeta v1 attestation", "head");
const TRANSACTION: Purpose = Purpose::new("violeta v1 transaction", "transaction");
const ROTATION: Purpose = Purpose::new("violeta v1 key rotation", "key rotation");
const OPERATOR: Purpose = Purpose::new("violeta v1 operator", "operator's order");

macro_rules! secret_key {
    ($(#[$doc:meta])* $name:ident, $public:ident) => {
        $(#[$doc])*
        ///
        /// Wiped when dropped; `Debug` shows the public key only.
        pub struct $name(SecretKey);

        impl $name {
            /// The key of a seed: 32 bytes from a good source of randomness, which the caller has and this crate
            /// hasn't.
            pub fn from_seed(seed: [u8; 32]) -> Self {
                $name(SecretKey::from_seed(seed))
            }

            /// The seed, for key files and nothing else.
            pub fn seed(&self) -> &[u8; 32] {
                self.0.seed()
            }

            /// The key that checks what this one signs.
            pub fn public_key(&self) -> $public {
                $public(self.0.public_key())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}(of {:?})", stringify!($name), self.public_key())
            }
        }
    };
}

secret_key! {
    /// Signs a validator's vertices and attestations.
    ValidatorSecretKey, ValidatorPublicKey
}
secret_key! {
    /// Signs a client's transactions.
    ClientSecretKey, ClientPublicKey
}
secret_key! {
    /// Signs what the operator of a validator orders: committee changes only.
    OperatorSecretKey, OperatorPublicKey
}

impl ValidatorSecretKey {
    /// Signs a vertex (consensus.md §1: the signature is over the id).
    pub fn sign_vertex(&self, id: &VertexId) -> ValidatorSignature {
        ValidatorSignature(self.0.sign(&VERTEX.message(&id.0)))
    }

    /// Attests a head (consensus.md §10).
    pub fn sign_attestation(&self, head: &HeadId) -> ValidatorSignature {
        ValidatorSignature(self.0.sign(&ATTESTATION.message(&head.0)))
    }
}

impl ClientSecretKey {
    /// Signs a transaction (replica.md §1).
    pub fn sign_transaction(&self, id: &TxId) -> ClientSignature {
        ClientSignature(self.0.sign(&TRANSACTION.message(&id.0)))
    }

    /// Proves that the holder of this key wants it to be an account's next; `digest` is
    /// [`violeta_types::transaction::rotation_digest`].
    pub fn sign_rotation(&self, digest: &Digest) -> ClientSignature {
        ClientSignature(self.0.sign(&ROTATION.message(digest)))
    }
}

impl OperatorSecretKey {
    /// Signs an operator's order.
    pub fn sign(&self, digest: &Digest) -> OperatorSignature {
        OperatorSignature(self.0.sign(&OPERATOR.message(digest)))
    }
}

/// Checks the signature of a vertex.
///
/// # Errors
/// If `key` didn't sign this vertex.
pub fn verify_vertex(
    key: &ValidatorPublicKey,
    id: &VertexId,
    signature: &ValidatorSignature,
) -> Result<(), BadSignature> {
    VERTEX.verify(key.0, &id.0, signature.0)
}

/// Checks the signature of an attestation.
///
/// # Errors
/// If `key` didn't attest this head.
pub fn verify_attestation(
    key: &ValidatorPublicKey,
    head: &HeadId,
    signature: &ValidatorSignature,
) -> Result<(), BadSignature> {
    ATTESTATION.verify(key.0, &head.0, signature.0)
}

/// Checks the signature of a transaction.
///
/// # Errors
/// If `key` didn't sign this transaction.
pub fn verify_transaction(
    key: &ClientPublicKey,
    id: &TxId,
    signature: &ClientSignature,
) -> Result<(), BadSignature> {
    TRANSACTION.verify(key.0, &id.0, signature.0)
}

/// Checks the new key's word for a rotation.
///
/// # Errors
/// If `key` didn't sign this rotation.
pub fn verify_rotation(
    key: &ClientPublicKey,
    digest: &Digest,
    signature: &ClientSignature,
) -> Result<(), BadSignature> {
    ROTATION.verify(key.0, digest, signature.0)
}

/// Checks an operator's signature.
///
/// # Errors
/// If `key` didn't sign this order.
pub fn verify_operator(
    key: &OperatorPublicKey,
    digest: &Digest,
    signature: &OperatorSignature,
) -> Result<(), BadSignature> {
    OPERATOR.verify(key.0, digest, signature.0)
}

/// Whether each of many transactions is signed: the verdicts of [`verify_transaction`], in batches. Bad signatures
/// can make it cost twice what checking each by itself would, never more.
pub fn verify_transactions(signed: &[(ClientPublicKey, TxId, ClientSignature)]) -> Vec<bool> {
    let checks: Vec<_> = signed
        .iter()
        .map(|(key, id, signature)| TRANSACTION.check(key.0, &id.0, signature.0))
        .collect();
    verify_each(&checks)
}

/// Whether each of many vertices is signed: the verdicts of [`verify_vertex`], in batches.
pub fn verify_vertices(signed: &[(ValidatorPublicKey, VertexId, ValidatorSignature)]) -> Vec<bool> {
    let checks: Vec<_> = signed
        .iter()
        .map(|(key, id, signature)| VERTEX.check(key.0, &id.0, signature.0))
        .collect();
    verify_each(&checks)
}

/// Whether each of many attestations is signed: the verdicts of [`verify_attestation`], in batches.
pub fn verify_attestations(
    signed: &[(ValidatorPublicKey, HeadId, ValidatorSignature)],
) -> Vec<bool> {
    let checks: Vec<_> = signed
        .iter()
        .map(|(key, head, signature)| ATTESTATION.check(key.0, &head.0, signature.0))
        .collect();
    verify_each(&checks)
}

#[cfg(test)]
mod tests {
    use violeta_types::Domain;

    use super::*;

    const SEED: [u8; 32] = [7; 32];

    fn digest() -> Digest {
        Domain::Vertex.hash(b"the same digest for all")
    }

    /// A signature of each key and purpose, all of one seed and one digest, with the name of the purpose.
    fn every_signature() -> Vec<(&'static str, [u8; 64])> {
        let validator = ValidatorSecretKey::from_seed(SEED);
        let client = ClientSecretKey::from_seed(SEED);
        let operator = OperatorSecretKey::from_seed(SEED);
        vec![
            ("vertex", validator.sign_vertex(&VertexId(digest())).0),
            (
                "attestation",
                validator.sign_attestation(&HeadId(digest())).0,
            ),
            ("transaction", client.sign_transaction(&TxId(digest())).0),
            ("rotation", client.sign_rotation(&digest()).0),
            ("operator", operator.sign(&digest()).0),
        ]
    }

    /// Which purposes a signature of that seed and digest verifies for.
    fn verifies_as(signature: [u8; 64]) -> Vec<&'static str> {
        let key = ClientSecretKey::from_seed(SEED).public_key().0;
        let validator = (ValidatorPublicKey(key), ValidatorSignature(signature));
        let client = (ClientPublicKey(key), ClientSignature(signature));
        let operator = (OperatorPublicKey(key), OperatorSignature(signature));
        let head = HeadId(digest());
        let verdicts = [
            (
                "vertex",
                verify_vertex(&validator.0, &VertexId(digest()), &validator.1),
            ),
            (
                "attestation",
                verify_attestation(&validator.0, &head, &validator.1),
            ),
            (
                "transaction",
                verify_transaction(&client.0, &TxId(digest()), &client.1),
            ),
            ("rotation", verify_rotation(&client.0, &digest(), &client.1)),
            (
                "operator",
                verify_operator(&operator.0, &digest(), &operator.1),
            ),
        ];
        verdicts
            .into_iter()
            .filter(|(_, verdict)| verdict.is_ok())
            .map(|(purpose, _)| purpose)
            .collect()
    }

    #[test]
    fn a_signature_verifies_for_its_purpose_and_no_other_even_with_one_seed_and_digest() {
        for (purpose, signature) in every_signature() {
            assert_eq!(verifies_as(signature), [purpose]);
        }
    }

    #[test]
    fn another_digest_or_another_key_is_refused() {
        let key = ClientSecretKey::from_seed(SEED);
        let signature = key.sign_transaction(&TxId(digest()));
        let stranger = ClientSecretKey::from_seed([8; 32]).public_key();
        let id = TxId(digest());
        assert!(verify_transaction(&stranger, &id, &signature).is_err());
        let error =
            verify_transaction(&key.public_key(), &TxId::default(), &signature).unwrap_err();
        assert!(error.to_string().contains("transaction"), "{error}");
    }

    #[test]
    fn what_is_signed_is_the_padded_purpose_and_the_digest() {
        let mut expected = b"violeta v1 vertex".to_vec();
        expected.resize(32, 0);
        expected.extend(digest().0);
        let key = ValidatorSecretKey::from_seed(SEED);
        let by_hand = SecretKey::from_seed(SEED).sign(&expected);
        assert_eq!(key.sign_vertex(&VertexId(digest())).0, by_hand);
    }

    #[test]
    fn a_key_comes_back_from_its_seed() {
        let key = OperatorSecretKey::from_seed(SEED);
        assert_eq!(key.seed(), &SEED);
        let again = OperatorSecretKey::from_seed(*key.seed());
        assert_eq!(key.public_key(), again.public_key());
        assert_eq!(key.sign(&digest()), again.sign(&digest()));
    }

    #[test]
    fn debug_shows_no_secret() {
        let shown = format!("{:?}", ValidatorSecretKey::from_seed(SEED));
        assert!(
            shown.starts_with("ValidatorSecretKey(of ValidatorPublicKey("),
            "{shown}"
        );
        assert!(!shown.contains("0707"), "{shown}");
    }

    #[test]
    fn many_are_judged_like_one() {
        let mut transactions = Vec::new();
        let mut vertices = Vec::new();
        let mut attestations = Vec::new();
        for i in 0..20u8 {
            let digest = Domain::Vertex.hash(&[i]);
            let client = ClientSecretKey::from_seed([i; 32]);
            let validator = ValidatorSecretKey::from_seed([i; 32]);
            let (tx, vertex, head) = (TxId(digest), VertexId(digest), HeadId(digest));
            transactions.push((client.public_key(), tx, client.sign_transaction(&tx)));
            vertices.push((
                validator.public_key(),
                vertex,
                validator.sign_vertex(&vertex),
            ));
            // Every third attests with a signature made for a vertex.
            let attestation = match i % 3 {
                0 => validator.sign_vertex(&vertex),
                _ => validator.sign_attestation(&head),
            };
            attestations.push((validator.public_key(), head, attestation));
        }
        transactions[13].1 = TxId::default();
        vertices[0].2 = vertices[1].2;
        let all_but = |bad: fn(usize) -> bool| (0..20).map(|i| !bad(i)).collect::<Vec<_>>();
        assert_eq!(verify_transactions(&transactions), all_but(|i| i == 13));
        assert_eq!(verify_vertices(&vertices), all_but(|i| i == 0));
        assert_eq!(verify_attestations(&attestations), all_but(|i| i % 3 == 0));
    }
}
