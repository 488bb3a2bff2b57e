//! Client keys in files: `violeta-client-key-v1:` and the seed in hexadecimal, readable by the owner alone.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use violeta_crypto::ClientSecretKey;
use zeroize::Zeroizing;

/// What a key file begins with.
pub const CLIENT_TAG: &str = "violeta-client-key-v1";
/// Permissions of a key file.
pub const SECRET_MODE: u32 = 0o600;
/// Bytes of a key file, with room for white space.
const FILE_BYTES_MAX: u64 = 1 << 10;

/// What is wrong with a key file.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// Others may read it.
    #[error(
        "{} can be read by others than its owner (mode {mode:04o}); run: chmod 600 {}",
        path.display(), path.display()
    )]
    Exposed {
        /// Which file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// It isn't a client's key.
    #[error("{} isn't a client's key: {reason}", path.display())]
    Malformed {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        reason: &'static str,
    },
    /// There is a file already: a key is never overwritten.
    #[error("{} exists already; a key is never overwritten: choose another name, or use that key", path.display())]
    Exists {
        /// Which file.
        path: PathBuf,
    },
    /// The operating system said no.
    #[error("can't {action} {}: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// Why it failed.
        source: std::io::Error,
    },
    /// There is no randomness to make a key from.
    #[error("the system gives no random bytes to make a key from: {0}")]
    Randomness(String),
}

fn io(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> KeyError {
    move |source| KeyError::Io {
        action,
        path: path.to_owned(),
        source,
    }
}

/// A new key.
///
/// # Errors
/// If the system gives no random bytes.
pub fn generate() -> Result<ClientSecretKey, KeyError> {
    let mut seed = Zeroizing::new([0; 32]);
    getrandom::fill(&mut *seed).map_err(|e| KeyError::Randomness(e.to_string()))?;
    Ok(ClientSecretKey::from_seed(*seed))
}

/// Reads a key.
///
/// # Errors
/// If the file is missing, no client's key, or exposed.
pub fn load(path: &Path) -> Result<ClientSecretKey, KeyError> {
    let file = File::open(path).map_err(io("open", path))?;
    let metadata = file.metadata().map_err(io("open", path))?;
    let mode = metadata.permissions().mode() & 0o7777;
    let mut text = Zeroizing::new(Vec::with_capacity(FILE_BYTES_MAX as usize));
    file.take(FILE_BYTES_MAX)
        .read_to_end(&mut text)
        .map_err(io("read", path))?;
    let malformed = |reason| KeyError::Malformed {
        path: path.to_owned(),
        reason,
    };
    let digits = text
        .trim_ascii_end()
        .strip_prefix(CLIENT_TAG.as_bytes())
        .and_then(|rest| rest.strip_prefix(b":"))
        .ok_or_else(|| malformed("it doesn't begin with violeta-client-key-v1:"))?;
    // Only now: what is no key isn't to be hidden, it is the wrong file.
    if mode & 0o077 != 0 {
        let path = path.to_owned();
        return Err(KeyError::Exposed { path, mode });
    }
    let mut seed = Zeroizing::new([0; 32]);
    hex::decode_to_slice(digits, &mut *seed)
        .map_err(|_| malformed("64 hexadecimal digits must follow"))?;
    Ok(ClientSecretKey::from_seed(*seed))
}

/// Writes a key to a new file, durably.
///
/// # Errors
/// If there is a file already, or it can't be written.
pub fn save(path: &Path, key: &ClientSecretKey) -> Result<(), KeyError> {
    let digits = Zeroizing::new(hex::encode(key.seed()));
    let line = Zeroizing::new(format!("{CLIENT_TAG}:{}\n", *digits));
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(SECRET_MODE)
        .open(path)
        .map_err(|e| match e.kind() {
            std::io::ErrorKind::AlreadyExists => KeyError::Exists {
                path: path.to_owned(),
            },
            _ => io("create", path)(e),
        })?;
    file.write_all(line.as_bytes())
        .and_then(|()| file.sync_all())
        .map_err(io("write", path))?;
    sync_parent(path).map_err(io("sync the directory of", path))
}

/// Makes the name of a new file durable.
pub(crate) fn sync_parent(path: &Path) -> std::io::Result<()> {
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    fs::File::open(parent)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_comes_back_and_is_the_owners_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("alice.key");
        let key = generate().unwrap();
        save(&path, &key).unwrap();
        let mode = fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600);
        assert_eq!(load(&path).unwrap().seed(), key.seed());
    }

    #[test]
    fn a_key_is_never_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("alice.key");
        save(&path, &generate().unwrap()).unwrap();
        let before = fs::read(&path).unwrap();
        assert!(matches!(
            save(&path, &generate().unwrap()),
            Err(KeyError::Exists { .. })
        ));
        assert_eq!(fs::read(&path).unwrap(), before);
    }

    #[test]
    fn what_others_can_read_or_what_is_no_key_is_refused_with_what_to_do() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("alice.key");
        save(&path, &generate().unwrap()).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let error = load(&path).unwrap_err().to_string();
        assert!(error.contains("chmod 600"), "{error}");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        for text in [
            "",
            "violeta-validator-key:00",
            "violeta-client-key-v1:zz",
            "violeta-client-key-v1:00",
        ] {
            fs::write(&path, text).unwrap();
            assert!(
                matches!(load(&path), Err(KeyError::Malformed { .. })),
                "{text:?}"
            );
        }
        assert!(matches!(
            load(&dir.path().join("none")),
            Err(KeyError::Io { .. })
        ));
    }

    #[test]
    fn a_file_that_is_no_key_is_told_so_whoever_can_read_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("trust.json");
        for content in [&b"{\"chain\": \"80cc\"}"[..], b"\xff\xfe\x00", b""] {
            fs::write(&path, content).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
            let error = load(&path).err().unwrap();
            assert!(matches!(error, KeyError::Malformed { .. }), "{error}");
        }
        let directory = load(dir.path()).err().unwrap();
        assert!(matches!(directory, KeyError::Io { .. }), "{directory}");
    }

    #[test]
    fn no_two_keys_are_alike() {
        let (a, b) = (generate().unwrap(), generate().unwrap());
        assert_ne!(a.public_key(), b.public_key());
    }
}
