//! The store as execution and readers see it.

use bytes::Bytes;
use violeta_types::Height;
use violeta_vlsm::{Batch, Snapshot};

use crate::chain::{BLOCK, BlockRecord};
use crate::error::DbError;
use crate::genesis::GenesisState;
use crate::records::{HISTORY, read_record};
use crate::state::{ChangeSink, State};

/// The record of the block that made this version.
pub(crate) fn block_record(snapshot: &Snapshot) -> Result<BlockRecord, DbError> {
    match snapshot.get(HISTORY, BLOCK)? {
        Some(bytes) => read_record(HISTORY, BLOCK, &bytes),
        None => Err(DbError::corrupt(HISTORY, BLOCK, "missing")),
    }
}

/// The state of a height. That of height 0 isn't in the store: genesis has it.
pub(crate) struct View<'a> {
    snapshot: Option<Snapshot>,
    genesis: &'a GenesisState,
}

impl<'a> View<'a> {
    /// The state that a snapshot holds, or of genesis if the store is empty.
    pub(crate) fn new(snapshot: Snapshot, genesis: &'a GenesisState) -> Self {
        let snapshot = Some(snapshot).filter(|s| s.version() > Height(0));
        View { snapshot, genesis }
    }

    /// The state of height 0.
    pub(crate) fn genesis(genesis: &'a GenesisState) -> Self {
        View {
            snapshot: None,
            genesis,
        }
    }

    /// The height that it is the state of.
    pub(crate) fn height(&self) -> Height {
        self.snapshot.as_ref().map_or(Height(0), Snapshot::version)
    }

    /// The store's version; none at height 0.
    pub(crate) fn snapshot(&self) -> Option<&Snapshot> {
        self.snapshot.as_ref()
    }
}

impl State for View<'_> {
    fn get(&self, space: &[u8], key: &[u8]) -> Result<Option<Bytes>, DbError> {
        match &self.snapshot {
            Some(snapshot) => Ok(snapshot.get(space, key)?),
            None => self.genesis.get(space, key),
        }
    }
}

impl ChangeSink for Batch {
    fn create_space(&mut self, space: &[u8]) {
        Batch::create_space(self, space);
    }

    fn drop_space(&mut self, space: &[u8]) {
        Batch::drop_space(self, space);
    }

    fn put(&mut self, space: &[u8], key: &[u8], value: Bytes) {
        Batch::put(self, space, key, value);
    }

    fn delete(&mut self, space: &[u8], key: &[u8]) {
        Batch::delete(self, space, key);
    }
}
