//! The state that a chain begins with: height 0.
//!
//! It is the same map on every replica, derived from the genesis file. It is held in memory and read as the state of
//! height 0 until block 1 writes it, together with its own changes, as version 1 of the store: so that a store is
//! either empty or holds a whole block. Its records say that they were written at height 0.

use std::collections::BTreeMap;

use bytes::Bytes;
use violeta_types::{Genesis, Height};

use crate::error::DbError;
use crate::records::{
    ACCOUNTS, Account, COMMITTEE, PARAMETERS, SYSTEM_SPACES, read_record, stored_record,
};
use crate::state::{ChangeSink, State};

const CHAIN: &[u8] = b"chain";

/// The state of height 0.
#[derive(Clone, Debug)]
pub(crate) struct GenesisState(BTreeMap<(&'static [u8], Vec<u8>), Bytes>);

impl GenesisState {
    pub(crate) fn new(genesis: &Genesis) -> Self {
        let mut records = BTreeMap::new();
        let mut set = |space, key: &[u8], bytes| {
            records.insert((space, key.to_vec()), bytes);
        };
        let at = Height(0);
        set(PARAMETERS, CHAIN, stored_record(at, &genesis.chain_id()));
        set(PARAMETERS, b"name", stored_record(at, &genesis.name));
        set(
            PARAMETERS,
            b"consensus",
            stored_record(at, &genesis.parameters),
        );
        set(
            PARAMETERS,
            b"admission",
            stored_record(at, &genesis.admission),
        );
        let epoch = genesis.committee.epoch().0.to_be_bytes();
        set(COMMITTEE, &epoch, stored_record(at, &genesis.committee));
        for key in &genesis.administrators {
            let account = Account {
                administrator: true,
                ..Account::new(*key)
            };
            set(
                ACCOUNTS,
                key.client_id().as_ref(),
                stored_record(at, &account),
            );
        }
        GenesisState(records)
    }

    /// Gives the whole state out, spaces first: what block 1 begins with.
    pub(crate) fn write(&self, sink: &mut impl ChangeSink) {
        for space in SYSTEM_SPACES {
            sink.create_space(space);
        }
        for ((space, key), bytes) in &self.0 {
            sink.put(space, key, bytes.clone());
        }
    }

    /// Whether `state` began with this genesis.
    pub(crate) fn check_chain(&self, genesis: &Genesis, state: &impl State) -> Result<(), DbError> {
        let Some(bytes) = state.get(PARAMETERS, CHAIN)? else {
            return Err(DbError::corrupt(PARAMETERS, CHAIN, "missing"));
        };
        let found = read_record(PARAMETERS, CHAIN, &bytes)?;
        let expected = genesis.chain_id();
        match found == expected {
            true => Ok(()),
            false => Err(DbError::OtherChain { expected, found }),
        }
    }
}

impl State for GenesisState {
    fn get(&self, space: &[u8], key: &[u8]) -> Result<Option<Bytes>, DbError> {
        let Some(space) = SYSTEM_SPACES.into_iter().find(|s| *s == space) else {
            return Ok(None);
        };
        Ok(self.0.get(&(space, key.to_vec())).cloned())
    }
}
