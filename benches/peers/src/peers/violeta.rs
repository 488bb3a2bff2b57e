//! Violeta's store: every version readable and provable.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Result, bail};
use violeta_journal::RealDisk;
use violeta_proof::tree::TreeProof;
use violeta_types::{Digest, Height};
use violeta_vlsm::{Batch, Options, Store, Writer};

use super::{Held, Peer, Proof};
use crate::workload::Key;

const SPACE: &[u8] = b"values";

pub struct Violeta {
    store: Store,
    writer: Writer,
    newest: u64,
    roots: BTreeMap<u64, Digest>,
}

impl Violeta {
    pub fn open(dir: &Path) -> Result<Self> {
        let disk = Arc::new(RealDisk::new(dir.to_path_buf()));
        let store = Store::open(disk, "store", Options::default())?;
        let writer = store.writer()?;
        Ok(Violeta {
            store,
            writer,
            newest: 0,
            roots: BTreeMap::new(),
        })
    }
}

impl Peer for Violeta {
    fn commit(&mut self, version: u64, writes: Vec<(Key, Vec<u8>)>) -> Result<()> {
        let mut batch = Batch::new();
        if self.newest == 0 {
            batch.create_space(SPACE);
        }
        for (key, value) in writes {
            batch.put(SPACE, &key, value);
        }
        let staged = self.writer.stage(&batch)?;
        self.writer.commit(Height(version), staged)?;
        while self.writer.maintain()? {}
        self.newest = version;
        self.roots.insert(version, self.store.latest().root());
        Ok(())
    }

    fn get(&self, key: &Key) -> Result<Option<Vec<u8>>> {
        let value = self.store.latest().get(SPACE, key)?;
        Ok(value.map(|value| value.to_vec()))
    }

    fn get_at(&self, version: u64, key: &Key) -> Result<Option<Vec<u8>>> {
        let value = self.store.snapshot(Height(version))?.get(SPACE, key)?;
        Ok(value.map(|value| value.to_vec()))
    }

    fn prove(&self, version: u64, key: &Key) -> Result<Option<Proof>> {
        let snapshot = self.store.snapshot(Height(version))?;
        let (Some(value), proof) = snapshot.prove(SPACE, key)? else {
            bail!("a key that was written has no value");
        };
        let encoded = borsh::to_vec(&proof)?;
        Ok(Some(Proof {
            value: value.to_vec(),
            bytes: encoded.len(),
            held: Held::Violeta(encoded),
        }))
    }

    fn verify(&self, version: u64, key: &Key, proof: &Proof) -> Result<bool> {
        let Held::Violeta(encoded) = &proof.held else {
            return Ok(false);
        };
        let held: TreeProof = borsh::from_slice(encoded)?;
        let Some(root) = self.roots.get(&version) else {
            return Ok(false);
        };
        Ok(held.verify(root, SPACE, key, Some(&proof.value)).is_ok())
    }
}
