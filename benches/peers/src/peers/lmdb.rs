//! LMDB: a memory-mapped copy-on-write B-tree without proofs or history. A limit for what those cost.

use std::path::Path;

use anyhow::Result;
use heed::types::Bytes;
use heed::{Database, Env, EnvOpenOptions};

use super::Peer;
use crate::workload::Key;

/// Address space: more than any run fills.
const MAP_BYTES: usize = 64 << 30;

pub struct LmdbPeer {
    env: Env,
    values: Database<Bytes, Bytes>,
}

impl LmdbPeer {
    #[expect(
        unsafe_code,
        reason = "the directory is this process's own, and opened once"
    )]
    pub fn open(dir: &Path) -> Result<Self> {
        // SAFETY: nobody else maps or changes the files of a directory that was made a moment ago.
        let env = unsafe { EnvOpenOptions::new().map_size(MAP_BYTES).open(dir)? };
        let mut transaction = env.write_txn()?;
        let values = env.create_database(&mut transaction, None)?;
        transaction.commit()?;
        Ok(LmdbPeer { env, values })
    }
}

impl Peer for LmdbPeer {
    fn commit(&mut self, _version: u64, writes: Vec<(Key, Vec<u8>)>) -> Result<()> {
        let mut transaction = self.env.write_txn()?;
        for (key, value) in &writes {
            self.values.put(&mut transaction, key, value)?;
        }
        Ok(transaction.commit()?)
    }

    fn get(&self, key: &Key) -> Result<Option<Vec<u8>>> {
        let transaction = self.env.read_txn()?;
        Ok(self.values.get(&transaction, key)?.map(<[u8]>::to_vec))
    }
}
