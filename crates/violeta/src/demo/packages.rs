//! The demo's data: checksums of Debian's packages, and the security updates over them.

use serde::Deserialize;
use violeta_types::api::Readable;

use crate::error::CliResult;
use crate::load::rows::{Columns, Format, Row, read};

const CORE: &str = include_str!("../../data/debian/bookworm-core.tsv");
const SECURITY: &str = include_str!("../../data/debian/bookworm-security.tsv");

/// The namespace that they are loaded into.
pub(crate) const NAMESPACE: &str = "debian";
/// A package that has a security update.
pub(crate) const PACKAGE: &str = "openssl";

/// The packages as they were released.
///
/// # Errors
/// Never: a test reads all of them.
pub(crate) fn core() -> CliResult<Vec<Row>> {
    rows(CORE)
}

/// The security updates.
///
/// # Errors
/// Never: a test reads all of them.
pub(crate) fn security() -> CliResult<Vec<Row>> {
    rows(SECURITY)
}

fn rows(text: &'static str) -> CliResult<Vec<Row>> {
    let columns = Columns {
        key: vec!["package".into()],
        value: None,
    };
    let rows = read(text.as_bytes(), Format::Tsv, &columns)?;
    Ok(rows.filter_map(Result::ok).collect())
}

/// What the value of a package says.
#[derive(Debug, Deserialize)]
pub(crate) struct Package {
    /// Its version.
    pub(crate) version: String,
    /// Its checksum.
    pub(crate) sha256: String,
}

impl Package {
    /// Reads a value.
    pub(crate) fn of(value: &Readable) -> Option<Package> {
        serde_json::from_slice(&value.0).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_of_the_data_can_be_loaded() {
        for (text, rows) in [(CORE, core()), (SECURITY, security())] {
            let rows = rows.unwrap();
            assert_eq!(rows.len(), text.lines().count() - 1);
            for row in rows {
                let package = Package::of(&Readable(row.value)).unwrap();
                assert_eq!(package.sha256.len(), 64);
            }
        }
    }

    #[test]
    fn the_package_that_is_shown_has_an_update() {
        let find = |rows: Vec<Row>| {
            let row = rows
                .into_iter()
                .find(|r| r.key == PACKAGE.as_bytes())
                .unwrap();
            Package::of(&Readable(row.value)).unwrap()
        };
        let (before, after) = (find(core().unwrap()), find(security().unwrap()));
        assert_ne!(before.version, after.version);
        assert_ne!(before.sha256, after.sha256);
    }
}
