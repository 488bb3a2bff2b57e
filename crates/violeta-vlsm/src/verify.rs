//! The full check of a store: everything that can be checked without its peers.

use violeta_types::Digest;

use crate::error::StoreError;
use crate::log::Scan;
use crate::space::Space;
use crate::store::{Shared, State, Store};
use crate::tree::{Entry, Next};

/// What a full check went through.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Verified {
    /// Versions: of each the record in the log, its checksum and its place in the chain, the index entry, the root.
    pub versions: u64,
    /// Bytes of the log.
    pub log_bytes: u64,
    /// Spaces of the newest version.
    pub spaces: u64,
    /// Keys of the newest version: of each every node above, key and value.
    pub keys: u64,
}

impl Store {
    /// Reads everything and checks it: the whole log with its chain of checksums, every version's root, and every
    /// node, key and value of the newest version. Takes as long as reading all of the log does.
    ///
    /// # Errors
    /// The first thing that is wrong, with its file and offset.
    pub fn verify(&self) -> Result<Verified, StoreError> {
        let state = self.shared.state.load_full();
        let mut verified = Verified::default();
        verify_log(&self.shared, &state, &mut verified)?;
        verify_newest(&self.shared, &state, &mut verified)?;
        Ok(verified)
    }
}

fn verify_log(shared: &Shared, state: &State, verified: &mut Verified) -> Result<(), StoreError> {
    let mut scan = Scan::new(&shared.log, 0, Digest::ZERO, None);
    for index in 0..state.count() {
        let version = shared.version_at(state, index)?;
        let start = scan.position();
        let record = scan.next()?;
        let record = record.ok_or_else(|| shared.log.corrupt(start, "not a record"))?;
        if record.header.version != version.version || record.root != version.root {
            let (found, named) = (record.header.version, version.version);
            let what = format!("version {found}, where the index says {named}, or another root");
            return Err(shared.log.corrupt(start, what));
        }
        verified.versions += 1;
    }
    verified.log_bytes = scan.position();
    Ok(())
}

fn verify_newest(
    shared: &Shared,
    state: &State,
    verified: &mut Verified,
) -> Result<(), StoreError> {
    let top = &state.latest.top;
    top.visit(None, &shared.nodes, &mut |_, space: &Space| {
        let mut keys = 0;
        space
            .tree()
            .visit(None, &shared.nodes, &mut |digest, entry: &Entry| {
                shared.key_value(digest, entry)?;
                keys += 1;
                Ok(Next::Leaf)
            })?;
        if keys != space.count() {
            let what = format!("a space of {} keys has {keys}", space.count());
            return Err(StoreError::corrupt("the tree", 0, what));
        }
        verified.spaces += 1;
        verified.keys += keys;
        Ok(Next::Leaf)
    })?;
    Ok(())
}
