//! NOMT: an authenticated binary trie on SSD pages. The newest version only.

use std::path::Path;

use anyhow::{Result, bail};
use bitvec::order::Msb0;
use bitvec::view::BitView;
use nomt::hasher::{Blake3Hasher, ValueHasher};
use nomt::trie::LeafData;
use nomt::{KeyReadWrite, Nomt, Options, SessionParams};

use super::{Held, Peer, Proof};
use crate::workload::Key;

/// Pages of the hash table: enough for ten million keys at the load that its authors advise.
const BUCKETS: u32 = 1_000_000;

pub struct NomtPeer {
    nomt: Nomt<Blake3Hasher>,
    newest: u64,
}

impl NomtPeer {
    pub fn open(dir: &Path) -> Result<Self> {
        let mut options = Options::new();
        options.path(dir.join("nomt"));
        options.hashtable_buckets(BUCKETS);
        options.commit_concurrency(2);
        Ok(NomtPeer {
            nomt: Nomt::open(options)?,
            newest: 0,
        })
    }
}

impl Peer for NomtPeer {
    fn commit(&mut self, version: u64, writes: Vec<(Key, Vec<u8>)>) -> Result<()> {
        let session = self.nomt.begin_session(SessionParams::default());
        let mut actuals = Vec::with_capacity(writes.len());
        for (key, value) in writes {
            session.warm_up(key);
            actuals.push((key, KeyReadWrite::Write(Some(value))));
        }
        session.finish(actuals)?.commit(&self.nomt)?;
        self.newest = version;
        Ok(())
    }

    fn get(&self, key: &Key) -> Result<Option<Vec<u8>>> {
        self.nomt.read(*key)
    }

    fn get_at(&self, _version: u64, _key: &Key) -> Result<Option<Vec<u8>>> {
        Ok(None)
    }

    fn prove(&self, version: u64, key: &Key) -> Result<Option<Proof>> {
        if version != self.newest {
            return Ok(None);
        }
        let session = self.nomt.begin_session(SessionParams::default());
        let Some(value) = session.read(*key)? else {
            bail!("a key that was written has no value");
        };
        let proof = session.prove(*key)?;
        // The leaf's key and value hash, and the siblings.
        let bytes = 64 + 32 * proof.siblings.len();
        let held = Held::Nomt(Box::new(proof));
        Ok(Some(Proof { value, bytes, held }))
    }

    fn verify(&self, _version: u64, key: &Key, proof: &Proof) -> Result<bool> {
        let Held::Nomt(held) = &proof.held else {
            return Ok(false);
        };
        let root = self.nomt.root().into_inner();
        let Ok(verified) = held.verify::<Blake3Hasher>(key.view_bits::<Msb0>(), root) else {
            return Ok(false);
        };
        let leaf = LeafData {
            key_path: *key,
            value_hash: Blake3Hasher::hash_value(&proof.value),
        };
        Ok(verified.confirm_value(&leaf).unwrap_or(false))
    }
}
