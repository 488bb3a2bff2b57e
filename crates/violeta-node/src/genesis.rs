//! The genesis file: [`violeta_types::Genesis`] as JSON, the same for all validators of a chain.

use std::path::{Path, PathBuf};

use violeta_types::Genesis;

use crate::files::{self, FileError, PUBLIC_MODE};

const ADVICE: &str = "get it from whoever runs the chain, or make a chain with `violeta testnet`; \
                      node.genesis in violeta.toml says where it is looked for";

/// Why a genesis can't be used.
#[derive(Debug, thiserror::Error)]
pub enum GenesisFileError {
    /// The file can't be read.
    #[error(transparent)]
    File(#[from] FileError),
    /// It isn't a genesis.
    #[error("{} isn't a genesis: {reason}", path.display())]
    Malformed {
        /// Which file.
        path: PathBuf,
        /// What is wrong, and where.
        reason: String,
    },
}

/// Reads a genesis file and checks that a chain can begin with it.
///
/// # Errors
/// If it can't.
pub fn load(path: &Path) -> Result<Genesis, GenesisFileError> {
    let text = files::read_text(path, ADVICE)?;
    let malformed = |reason: String| GenesisFileError::Malformed {
        path: path.to_owned(),
        reason,
    };
    let genesis: Genesis = serde_json::from_str(&text).map_err(|e| malformed(e.to_string()))?;
    genesis.check().map_err(|e| malformed(e.to_string()))?;
    Ok(genesis)
}

/// Writes a genesis file.
///
/// # Errors
/// If it can't be written.
pub fn save(path: &Path, genesis: &Genesis) -> Result<(), GenesisFileError> {
    let mut text =
        serde_json::to_string_pretty(genesis).map_err(|e| GenesisFileError::Malformed {
            path: path.to_owned(),
            reason: e.to_string(),
        })?;
    text.push('\n');
    Ok(files::write_atomic(path, text.as_bytes(), PUBLIC_MODE)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testnet;

    #[test]
    fn the_file_gives_the_same_chain_id_back() {
        let dir = tempfile::tempdir().unwrap();
        let net = testnet::generate(dir.path(), 4, &testnet::Options::default()).unwrap();
        let read = load(&dir.path().join("genesis.json")).unwrap();
        assert_eq!(read.chain_id(), net.genesis.chain_id());
    }

    #[test]
    fn what_is_no_genesis_is_refused_with_the_reason() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("other.json");
        std::fs::write(&path, "{\"name\": 5}").unwrap();
        let error = load(&path).unwrap_err().to_string();
        assert!(error.contains("line 1"), "{error}");
        let net = testnet::generate(dir.path(), 4, &testnet::Options::default()).unwrap();
        let mut genesis = net.genesis;
        genesis.parameters.wave_length = 9;
        save(&path, &genesis).unwrap();
        let error = load(&path).unwrap_err().to_string();
        assert!(error.contains("wave_length is 9"), "{error}");
    }
}
