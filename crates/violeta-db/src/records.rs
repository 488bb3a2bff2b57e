//! The machine's own spaces and what lies in them: readable and provable like all else, written by the machine alone
//! (replica.md §1).
//!
//! ```text
//!   space          key                         record (after the 8 bytes of "written at")
//!   _accounts      client id (32)              Account: key, administrator, nonces
//!   _keys          client key (32)             client id: keys that came by rotation; a first key names its client
//!   _namespaces    name                        Namespace: owner, grants by rising client id
//!   _parameters    "chain"                     chain id
//!                  "name"                      the chain's name
//!                  "consensus" "admission"     as in genesis
//!   _committee     epoch (u64, big-endian)     Committee
//!   _history       "block"                     BlockRecord: see `chain`
//!   <namespace>    key                         the client's value
//! ```
//!
//! A client's namespace is a space of the same name; names that begin with `_` can't be created, so none of these can.

use std::collections::BTreeMap;

use borsh::{BorshDeserialize, BorshSerialize};
use bytes::Bytes;
use violeta_proof::StoredValue;
use violeta_types::codec::Bounded;
use violeta_types::limits::{GRANTS_MAX, NAMESPACE_BYTES_MAX};
use violeta_types::transaction::Right;
use violeta_types::{ClientId, ClientPublicKey, Height};

use crate::error::DbError;
use crate::nonce::NonceWindow;

/// Accounts by client id.
pub const ACCOUNTS: &[u8] = b"_accounts";
/// Clients by keys that came by rotation.
pub const KEYS: &[u8] = b"_keys";
/// Namespaces by name.
pub const NAMESPACES: &[u8] = b"_namespaces";
/// What genesis set.
pub const PARAMETERS: &[u8] = b"_parameters";
/// Committees by epoch.
pub const COMMITTEE: &[u8] = b"_committee";
/// The last block's record.
pub const HISTORY: &[u8] = b"_history";

/// Every space of the machine's own.
pub const SYSTEM_SPACES: [&[u8]; 6] = [ACCOUNTS, KEYS, NAMESPACES, PARAMETERS, COMMITTEE, HISTORY];

/// Whether a client may give a namespace this name: 1 to 64 of `a–z 0–9 . - _`, not beginning with `_`.
pub fn is_client_name(name: &[u8]) -> bool {
    let allowed = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b".-_".contains(b);
    (1..=NAMESPACE_BYTES_MAX).contains(&name.len()) && name[0] != b'_' && name.iter().all(allowed)
}

/// Who may act for a client, and which of its nonces are spent.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Account {
    /// The key that acts for the client now.
    pub key: ClientPublicKey,
    /// Whether it may register clients on a closed chain.
    pub administrator: bool,
    /// Its spent nonces.
    pub nonces: NonceWindow,
}

impl Account {
    /// An account that has done nothing yet.
    pub fn new(key: ClientPublicKey) -> Self {
        Account {
            key,
            administrator: false,
            nonces: NonceWindow::default(),
        }
    }
}

/// Who may do what in a namespace. Reading is public.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Namespace {
    /// Who made it; may do everything.
    pub owner: ClientId,
    /// What others may do.
    pub grants: BTreeMap<ClientId, Right>,
}

#[derive(BorshSerialize, BorshDeserialize)]
struct EncodedNamespace {
    owner: ClientId,
    grants: Bounded<(ClientId, Right), GRANTS_MAX>,
}

impl Namespace {
    /// A namespace in which its owner alone has rights.
    pub fn new(owner: ClientId) -> Self {
        Namespace {
            owner,
            grants: BTreeMap::new(),
        }
    }

    fn is_admin(&self, client: &ClientId) -> bool {
        self.grants.get(client) == Some(&Right::Admin)
    }

    /// Whether `client` may change keys.
    pub fn may_write(&self, client: &ClientId) -> bool {
        *client == self.owner || self.grants.contains_key(client)
    }

    /// Whether `client` may drop the namespace.
    pub fn may_drop(&self, client: &ClientId) -> bool {
        *client == self.owner
    }

    /// Whether `client` may give `to` a right. An admin may give `Write`, but a grant replaces the one before, and an
    /// admin takes nothing from another.
    pub fn may_grant(&self, client: &ClientId, to: &ClientId, right: Right) -> bool {
        let admin = self.is_admin(client) && right == Right::Write && !self.is_admin(to);
        *client == self.owner || admin
    }

    /// Whether `client` may take the rights of `from` away.
    pub fn may_revoke(&self, client: &ClientId, from: &ClientId) -> bool {
        *client == self.owner || (self.is_admin(client) && !self.is_admin(from))
    }
}

impl BorshSerialize for Namespace {
    fn serialize<W: std::io::Write>(&self, writer: &mut W) -> std::io::Result<()> {
        let grants: Vec<_> = self.grants.iter().map(|(c, r)| (*c, *r)).collect();
        let grants = grants.try_into().map_err(std::io::Error::other)?;
        let owner = self.owner;
        EncodedNamespace { owner, grants }.serialize(writer)
    }
}

impl BorshDeserialize for Namespace {
    fn deserialize_reader<R: std::io::Read>(reader: &mut R) -> std::io::Result<Self> {
        let encoded = EncodedNamespace::deserialize_reader(reader)?;
        if !encoded.grants.windows(2).all(|pair| pair[0].0 < pair[1].0) {
            return Err(std::io::Error::other("grants not by rising client"));
        }
        Ok(Namespace {
            owner: encoded.owner,
            grants: encoded.grants.into_iter().collect(),
        })
    }
}

/// The bytes in the store of a record written at a height.
pub(crate) fn stored_record<T: BorshSerialize>(written_at: Height, record: &T) -> Bytes {
    StoredValue::stored(written_at, &violeta_types::encode(record))
}

/// The record that a machine's own space holds in `bytes`.
pub(crate) fn read_record<T: BorshDeserialize>(
    space: &[u8],
    key: &[u8],
    bytes: &Bytes,
) -> Result<T, DbError> {
    let stored = read_stored(space, key, bytes)?;
    violeta_types::decode(&stored.value).map_err(|e| DbError::corrupt(space, key, e.to_string()))
}

/// The value that any space holds in `bytes`.
pub(crate) fn read_stored(space: &[u8], key: &[u8], bytes: &Bytes) -> Result<StoredValue, DbError> {
    StoredValue::from_stored(bytes).map_err(|e| DbError::corrupt(space, key, e.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(i: u8) -> ClientId {
        ClientPublicKey([i; 32]).client_id()
    }

    #[test]
    fn names_that_clients_may_use() {
        for good in ["a", "0", "app.v1-x_y", "-", ".", &"z".repeat(64)] {
            assert!(is_client_name(good.as_bytes()), "{good}");
        }
        for bad in [
            "",
            "_accounts",
            "_",
            "A",
            "a b",
            "ä",
            "a/b",
            &"z".repeat(65),
        ] {
            assert!(!is_client_name(bad.as_bytes()), "{bad}");
        }
        assert!(!is_client_name(b"a\0"));
        for space in SYSTEM_SPACES {
            assert!(
                !is_client_name(space),
                "a client can't take the machine's names"
            );
        }
    }

    #[test]
    fn who_may_grant_and_revoke() {
        let (owner, admin, writer, stranger) = (client(1), client(2), client(3), client(4));
        let mut namespace = Namespace::new(owner);
        namespace.grants.insert(admin, Right::Admin);
        namespace.grants.insert(client(9), Right::Admin);
        namespace.grants.insert(writer, Right::Write);

        assert!(namespace.may_grant(&owner, &writer, Right::Admin));
        assert!(namespace.may_grant(&admin, &stranger, Right::Write));
        assert!(!namespace.may_grant(&admin, &stranger, Right::Admin));
        assert!(
            !namespace.may_grant(&admin, &client(9), Right::Write),
            "a demotion"
        );
        assert!(!namespace.may_grant(&writer, &stranger, Right::Write));
        assert!(namespace.may_revoke(&admin, &writer));
        assert!(!namespace.may_revoke(&admin, &client(9)));
        assert!(namespace.may_revoke(&owner, &admin));
        assert!(!namespace.may_revoke(&writer, &writer));
        assert!(!namespace.may_revoke(&stranger, &writer));
        assert!(!namespace.may_drop(&admin));
        assert!(namespace.may_write(&admin) && namespace.may_write(&writer));
        assert!(!namespace.may_write(&stranger));
    }

    #[test]
    fn a_namespace_has_one_encoding() {
        let mut namespace = Namespace::new(client(1));
        for i in 0..20 {
            namespace.grants.insert(client(i), Right::Write);
        }
        let bytes = violeta_types::encode(&namespace);
        assert_eq!(
            violeta_types::decode::<Namespace>(&bytes).unwrap(),
            namespace
        );
        // 32 owner, 4 count, 33 each: swap the first two grants.
        let mut swapped = bytes.clone();
        swapped[36..69].copy_from_slice(&bytes[69..102]);
        swapped[69..102].copy_from_slice(&bytes[36..69]);
        assert!(violeta_types::decode::<Namespace>(&swapped).is_err());
    }
}
