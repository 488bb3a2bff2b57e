//! Where the store is that a directory leads to.
//!
//! ```text
//!  DIR              a store
//!  DIR/store        DIR is a data directory
//!  DIR/data/store   DIR is a validator's
//!  DIR/*/…          DIR is a network's: which one, the user must say
//! ```

use std::path::{Path, PathBuf};

use violeta_journal::{DiskError, RealDisk};
use violeta_node::directory::STORE;
use violeta_node::testnet::DATA_DIR;
use violeta_vlsm::{Store, StoreError};

use super::explain;
use crate::error::{CliError, CliResult};

/// Entries of a directory that are looked into for stores.
const BELOW_MAX: usize = 256;

/// The directory of the one store that `dir` leads to. Nothing is made where there is none.
pub(super) fn find(dir: &Path) -> CliResult<PathBuf> {
    let shown = dir.display();
    if !dir.is_dir() {
        return Err(
            CliError::failed(format!("there is no directory {shown}")).help("is the path right?")
        );
    }
    let mut stores = stores_of(dir)?;
    let first = stores.pop();
    match first {
        Some(only) if stores.is_empty() => return Ok(only),
        Some(first) => {
            stores.push(first);
            return Err(several(&shown, &stores));
        }
        None => {}
    }
    match stores_below(dir)? {
        stores if stores.is_empty() => Err(CliError::failed(format!("there is no store in {shown}")).help(
            "name the directory of a store (it has files super-a, super-b and versions), or of a validator, or its data \
             directory; nothing was made there",
        )),
        stores => Err(several(&shown, &stores)),
    }
}

fn several(dir: &dyn std::fmt::Display, stores: &[PathBuf]) -> CliError {
    let names: Vec<String> = stores.iter().map(|s| s.display().to_string()).collect();
    CliError::usage(format!("which store in {dir}?"))
        .help(format!("name one of them: {}", names.join(", ")))
}

/// The store in a directory alone, or else those at the places where a validator has its.
fn stores_of(dir: &Path) -> CliResult<Vec<PathBuf>> {
    if has_store(dir)? {
        return Ok(vec![dir.to_owned()]);
    }
    let mut stores = Vec::new();
    for place in [dir.join(STORE), dir.join(DATA_DIR).join(STORE)] {
        if has_store(&place)? {
            stores.push(place);
        }
    }
    Ok(stores)
}

fn stores_below(dir: &Path) -> CliResult<Vec<PathBuf>> {
    let entries = std::fs::read_dir(dir)?.take(BELOW_MAX);
    let mut below = entries
        .map(|entry| Ok(entry?.path()))
        .collect::<CliResult<Vec<_>>>()?;
    below.retain(|path| path.is_dir());
    below.sort();
    let mut stores = Vec::new();
    for path in below {
        stores.extend(stores_of(&path)?);
    }
    Ok(stores)
}

fn has_store(dir: &Path) -> CliResult<bool> {
    match Store::is_in(&RealDisk::new(dir.to_owned()), "") {
        Err(StoreError::Disk(error)) if is_nothing(&error) => Ok(false),
        found => found.map_err(|error| explain(dir.display(), error)),
    }
}

fn is_nothing(error: &DiskError) -> bool {
    use std::io::ErrorKind;
    matches!(
        error.kind(),
        ErrorKind::NotFound | ErrorKind::NotADirectory | ErrorKind::IsADirectory
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Cause;

    fn store(path: &Path) {
        std::fs::create_dir_all(path).unwrap();
        std::fs::write(path.join("super-a"), "not empty").unwrap();
    }

    #[test]
    fn a_store_is_found_in_its_own_a_data_and_a_validators_directory() {
        let dir = tempfile::tempdir().unwrap();
        let validator = dir.path().join("v0");
        let data = validator.join("data");
        store(&data.join("store"));
        for dir in [&data.join("store"), &data, &validator] {
            assert_eq!(find(dir).unwrap(), data.join("store"));
        }
    }

    #[test]
    fn of_several_none_is_taken() {
        let dir = tempfile::tempdir().unwrap();
        let alone = dir.path().join("v0/data/store");
        store(&alone);
        let said = find(dir.path()).unwrap_err();
        assert_eq!(said.cause, Cause::Usage, "it isn't the network's");
        store(&dir.path().join("v1/store"));
        let help = find(dir.path()).unwrap_err().help.unwrap();
        assert!(
            help.contains("v0/data/store") && help.contains("v1/store"),
            "{help}"
        );
        store(&dir.path().join("v0/store"));
        let said = find(&dir.path().join("v0")).unwrap_err();
        assert_eq!(said.cause, Cause::Usage);
        store(&dir.path().join("v0"));
        assert_eq!(find(&dir.path().join("v0")).unwrap(), dir.path().join("v0"));
    }

    #[test]
    fn where_there_is_none_none_is_made() {
        let dir = tempfile::tempdir().unwrap();
        let empty = dir.path().join("empty");
        std::fs::create_dir(&empty).unwrap();
        std::fs::write(empty.join("super-a"), "").unwrap();
        for path in [&empty, &dir.path().join("typo")] {
            let said = find(path).unwrap_err();
            assert_eq!(said.cause, Cause::Failed);
        }
        assert_eq!(std::fs::read_dir(&empty).unwrap().count(), 1);
        assert!(!dir.path().join("typo").exists());
    }
}
