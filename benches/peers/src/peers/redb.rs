//! redb: a copy-on-write B-tree without proofs or history. A limit for what those cost.

use std::path::Path;

use anyhow::Result;
use redb::{Database, TableDefinition};

use super::Peer;
use crate::workload::Key;

const TABLE: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("values");

pub struct RedbPeer(Database);

impl RedbPeer {
    pub fn open(dir: &Path) -> Result<Self> {
        Ok(RedbPeer(Database::create(dir.join("redb"))?))
    }
}

impl Peer for RedbPeer {
    fn commit(&mut self, _version: u64, writes: Vec<(Key, Vec<u8>)>) -> Result<()> {
        let transaction = self.0.begin_write()?;
        {
            let mut table = transaction.open_table(TABLE)?;
            for (key, value) in &writes {
                table.insert(&key[..], &value[..])?;
            }
        }
        Ok(transaction.commit()?)
    }

    fn get(&self, key: &Key) -> Result<Option<Vec<u8>>> {
        let table = self.0.begin_read()?.open_table(TABLE)?;
        Ok(table.get(&key[..])?.map(|value| value.value().to_vec()))
    }
}
