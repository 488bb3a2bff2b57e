//! Public keys, signatures and shares, each with a type of its own: none can stand in for another.
//!
//! These are bytes. Whether they are points on a curve, and whether a signature is good, `violeta-crypto` says.

use borsh::{BorshDeserialize, BorshSerialize};

use crate::codec::hex_format;
use crate::digest::Domain;
use crate::ids::ClientId;

macro_rules! bytes_type {
    ($(#[$doc:meta])* $name:ident($len:literal)) => {
        $(#[$doc])*
        #[derive(
            Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize,
        )]
        pub struct $name(pub [u8; $len]);

        impl AsRef<[u8]> for $name {
            fn as_ref(&self) -> &[u8] {
                &self.0
            }
        }

        hex_format!($name, $len);
    };
}

bytes_type! {
    /// Ed25519 key that checks a validator's vertices and attestations.
    ValidatorPublicKey(32)
}
bytes_type! {
    /// Ed25519 signature (ZIP-215 rules) of a validator key.
    ValidatorSignature(64)
}
bytes_type! {
    /// Ed25519 key that checks a client's transactions.
    ClientPublicKey(32)
}
bytes_type! {
    /// Ed25519 signature (ZIP-215 rules) of a client key.
    ClientSignature(64)
}
bytes_type! {
    /// Ed25519 key of whoever operates a validator: committee changes only.
    OperatorPublicKey(32)
}
bytes_type! {
    /// Ed25519 signature (ZIP-215 rules) of an operator key.
    OperatorSignature(64)
}
bytes_type! {
    /// Ed25519 key in a validator's TLS certificate.
    NodePublicKey(32)
}
bytes_type! {
    /// BLS12-381 G2 point (compressed): checks one validator's coin and seal shares.
    SharePublicKey(96)
}
bytes_type! {
    /// BLS12-381 G2 point (compressed): checks the group's coin and seal.
    GroupPublicKey(96)
}
bytes_type! {
    /// BLS12-381 G1 point (compressed): one validator's share of a threshold signature.
    ThresholdShare(48)
}
bytes_type! {
    /// BLS12-381 G1 point (compressed): the group's signature; unique for its message.
    ThresholdSignature(48)
}

impl ClientPublicKey {
    /// The client that registers with this key.
    pub fn client_id(&self) -> ClientId {
        // The tag types the key: another kind of key with the same bytes would be another client.
        ClientId(Domain::Client.hash_parts(&[b"ed25519", &self.0]))
    }
}
