//! The secret keys of one validator, each in a file of its own.
//!
//! ```text
//!  keys/validator.key   violeta-validator-key-v1:<64 hexadecimal digits>    signs vertices and attestations
//!  keys/share.key       violeta-share-key-v1:<64 hexadecimal digits>        share of the group's coin and seal key
//!  keys/operator.key    violeta-operator-key-v1:<64 hexadecimal digits>     signs committee changes; not read here:
//!                                                                           keep it elsewhere
//!  keys/node.key        PEM (PKCS #8, Ed25519)                              TLS
//! ```
//!
//! A file of one kind is refused where another kind is wanted; one that others may read is refused with the command
//! that mends it. Which validator this is follows from the keys: all of them must be one member's.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use violeta_crypto::signing::{ClientSecretKey, OperatorSecretKey, ValidatorSecretKey};
use violeta_crypto::threshold::ShareSecretKey;
use violeta_types::{Committee, ValidatorIndex};
use zeroize::Zeroizing;

use crate::files::{self, FileError, SECRET_MODE};
use crate::transport::tls::NodeIdentity;

/// The validator key's file.
pub const VALIDATOR_FILE: &str = "validator.key";
/// The share's file.
pub const SHARE_FILE: &str = "share.key";
/// The operator key's file.
pub const OPERATOR_FILE: &str = "operator.key";
/// The TLS key's file.
pub const NODE_FILE: &str = "node.key";

const VALIDATOR_TAG: &str = "violeta-validator-key-v1";
const SHARE_TAG: &str = "violeta-share-key-v1";
const OPERATOR_TAG: &str = "violeta-operator-key-v1";
const CLIENT_TAG: &str = "violeta-client-key-v1";
const ADVICE: &str =
    "`violeta testnet` makes keys; node.keys_dir in violeta.toml says where they are looked for";

/// Why keys can't be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// A file can't be read.
    #[error(transparent)]
    File(#[from] FileError),
    /// A file isn't the key that it should be.
    #[error("{} isn't what it should be: {reason}", path.display())]
    Malformed {
        /// Which file.
        path: PathBuf,
        /// What it should be.
        reason: String,
    },
    /// The validator key is nobody's.
    #[error(
        "the key in {} belongs to no validator of this chain: are genesis and keys_dir of the same network?",
        path.display()
    )]
    NotAMember {
        /// Which file.
        path: PathBuf,
    },
    /// A key is another validator's.
    #[error(
        "{} isn't the key that the genesis names for validator {validator}: put that validator's file there",
        path.display()
    )]
    Mismatch {
        /// Which file.
        path: PathBuf,
        /// Whose it should be.
        validator: ValidatorIndex,
    },
}

/// The keys that a validator's process holds.
pub struct NodeKeys {
    /// Signs vertices and attestations.
    pub validator: ValidatorSecretKey,
    /// The share of coin and seal, where the committee has a group key.
    pub share: Option<Arc<ShareSecretKey>>,
    /// TLS.
    pub node: NodeIdentity,
}

impl NodeKeys {
    /// Reads the keys in a directory, and finds out whose they are.
    ///
    /// # Errors
    /// If one is missing, exposed, malformed, or they aren't all one member's.
    pub fn load(dir: &Path, committee: &Committee) -> Result<(NodeKeys, ValidatorIndex), KeyError> {
        let path = dir.join(VALIDATOR_FILE);
        let validator = ValidatorSecretKey::from_seed(*read_tagged(&path, VALIDATOR_TAG)?);
        let index = committee
            .index_of(&validator.public_key())
            .ok_or(KeyError::NotAMember { path })?;
        let member = &committee.members()[index.as_usize()];
        let mismatch = |path: PathBuf| KeyError::Mismatch {
            path,
            validator: index,
        };

        let path = dir.join(NODE_FILE);
        let pem = Zeroizing::new(files::read_secret(&path, ADVICE)?);
        let node = NodeIdentity::from_pem(&pem).map_err(|e| malformed(&path, e.to_string()))?;
        if node.public_key() != member.node_key {
            return Err(mismatch(path));
        }

        let share = match member.share_key {
            Some(expected) if committee.group_key().is_some() => {
                let path = dir.join(SHARE_FILE);
                let share = ShareSecretKey::from_bytes(&*read_tagged(&path, SHARE_TAG)?)
                    .map_err(|e| malformed(&path, e.to_string()))?;
                if share.public_key() != expected {
                    return Err(mismatch(path));
                }
                Some(Arc::new(share))
            }
            _ => None,
        };
        let keys = NodeKeys {
            validator,
            share,
            node,
        };
        Ok((keys, index))
    }

    /// Writes the keys, and the operator's, to a directory.
    ///
    /// # Errors
    /// If a file can't be written.
    pub fn save(&self, dir: &Path, operator: &OperatorSecretKey) -> Result<(), FileError> {
        files::create_directory(dir, 0o700)?;
        write_tagged(
            &dir.join(VALIDATOR_FILE),
            VALIDATOR_TAG,
            self.validator.seed(),
        )?;
        write_tagged(&dir.join(OPERATOR_FILE), OPERATOR_TAG, operator.seed())?;
        if let Some(share) = &self.share {
            write_tagged(&dir.join(SHARE_FILE), SHARE_TAG, &share.to_bytes())?;
        }
        let pem = Zeroizing::new(self.node.to_pem());
        files::write_atomic(&dir.join(NODE_FILE), pem.as_bytes(), SECRET_MODE)
    }
}

/// Reads an operator's key.
///
/// # Errors
/// If it is missing, exposed or malformed.
pub fn read_operator_key(path: &Path) -> Result<OperatorSecretKey, KeyError> {
    Ok(OperatorSecretKey::from_seed(*read_tagged(
        path,
        OPERATOR_TAG,
    )?))
}

/// Reads a client's key.
///
/// # Errors
/// If it is missing, exposed or malformed.
pub fn read_client_key(path: &Path) -> Result<ClientSecretKey, KeyError> {
    Ok(ClientSecretKey::from_seed(*read_tagged(path, CLIENT_TAG)?))
}

/// Writes a client's key.
///
/// # Errors
/// If the file can't be written.
pub fn write_client_key(path: &Path, key: &ClientSecretKey) -> Result<(), FileError> {
    write_tagged(path, CLIENT_TAG, key.seed())
}

fn malformed(path: &Path, reason: String) -> KeyError {
    let path = path.to_owned();
    KeyError::Malformed { path, reason }
}

fn write_tagged(path: &Path, tag: &str, secret: &[u8; 32]) -> Result<(), FileError> {
    let digits = Zeroizing::new(hex::encode(secret));
    let line = Zeroizing::new(format!("{tag}:{}\n", *digits));
    files::write_atomic(path, line.as_bytes(), SECRET_MODE)
}

fn read_tagged(path: &Path, tag: &str) -> Result<Zeroizing<[u8; 32]>, KeyError> {
    let text = Zeroizing::new(files::read_secret(path, ADVICE)?);
    let shape = || malformed(path, format!("expected {tag}: and 64 hexadecimal digits"));
    let (found, digits) = text.trim_end().split_once(':').ok_or_else(shape)?;
    if found != tag {
        let known = [VALIDATOR_TAG, SHARE_TAG, OPERATOR_TAG, CLIENT_TAG].contains(&found);
        return Err(match known {
            true => malformed(path, format!("it holds a {found}, a {tag} is wanted")),
            false => shape(),
        });
    }
    let mut secret = Zeroizing::new([0; 32]);
    hex::decode_to_slice(digits, &mut *secret).map_err(|_| shape())?;
    Ok(secret)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testnet::{self, Options};
    use std::os::unix::fs::PermissionsExt;

    fn world() -> (tempfile::TempDir, testnet::Testnet) {
        let dir = tempfile::tempdir().unwrap();
        let net = testnet::generate(dir.path(), 4, &Options::default()).unwrap();
        (dir, net)
    }

    fn load(net: &testnet::Testnet, i: usize) -> Result<ValidatorIndex, KeyError> {
        let dir = net.validators[i].directory.join("keys");
        NodeKeys::load(&dir, &net.genesis.committee).map(|(_, index)| index)
    }

    #[test]
    fn keys_say_which_validator_this_is() {
        let (_dir, net) = world();
        for i in 0..4 {
            assert_eq!(load(&net, i).unwrap(), ValidatorIndex(i as u16));
        }
    }

    #[test]
    fn every_key_file_that_others_may_read_is_refused() {
        for file in [VALIDATOR_FILE, SHARE_FILE, NODE_FILE] {
            let (_dir, net) = world();
            let path = net.validators[0].directory.join("keys").join(file);
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
            let error = load(&net, 0).unwrap_err().to_string();
            assert!(
                error.contains("chmod 600") && error.contains(file),
                "{error}"
            );
        }
    }

    #[test]
    fn every_missing_key_file_is_named() {
        for file in [VALIDATOR_FILE, SHARE_FILE, NODE_FILE] {
            let (_dir, net) = world();
            std::fs::remove_file(net.validators[0].directory.join("keys").join(file)).unwrap();
            let error = load(&net, 0).unwrap_err().to_string();
            assert!(error.contains(file) && error.contains("missing"), "{error}");
        }
    }

    #[test]
    fn another_validators_key_is_refused_by_name() {
        for file in [SHARE_FILE, NODE_FILE] {
            let (_dir, net) = world();
            let of = |i: usize| net.validators[i].directory.join("keys").join(file);
            std::fs::copy(of(1), of(0)).unwrap();
            let error = load(&net, 0).unwrap_err();
            assert!(matches!(error, KeyError::Mismatch { .. }), "{error}");
            assert!(error.to_string().contains("validator 0"), "{error}");
        }
    }

    #[test]
    fn a_stranger_to_the_genesis_is_told_so() {
        let (_dir, net) = world();
        let (_other_dir, other) = world();
        let keys = net.validators[0].directory.join("keys");
        let error = NodeKeys::load(&keys, &other.genesis.committee)
            .err()
            .unwrap();
        assert!(matches!(error, KeyError::NotAMember { .. }), "{error}");
    }

    #[test]
    fn a_key_of_one_kind_never_serves_as_another() {
        let (_dir, net) = world();
        let keys = net.validators[0].directory.join("keys");
        std::fs::copy(keys.join(OPERATOR_FILE), keys.join(VALIDATOR_FILE)).unwrap();
        let error = load(&net, 0).unwrap_err().to_string();
        assert!(error.contains("holds a violeta-operator-key-v1"), "{error}");
        std::fs::write(keys.join(VALIDATOR_FILE), "violeta-validator-key-v1:12").unwrap();
        assert!(load(&net, 0).is_err());
        std::fs::write(keys.join(VALIDATOR_FILE), "").unwrap();
        assert!(load(&net, 0).is_err());
        assert!(read_operator_key(&keys.join(OPERATOR_FILE)).is_ok());
        assert!(read_operator_key(&keys.join(SHARE_FILE)).is_err());
        let path = net.validators[0].directory.join("client.key");
        write_client_key(&path, &net.administrator).unwrap();
        assert_eq!(
            read_client_key(&path).unwrap().seed(),
            net.administrator.seed()
        );
        assert!(read_operator_key(&path).is_err());
    }
}
