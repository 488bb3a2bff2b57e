//! The Jellyfish Merkle tree (`jmt`), with all its versions, over redb.

use std::path::Path;

use anyhow::{Result, bail};
use jmt::proof::SparseMerkleProof;
use jmt::storage::{LeafNode, Node, NodeBatch, NodeKey, TreeReader, TreeWriter};
use jmt::{KeyHash, OwnedValue, Sha256Jmt, Version};
use redb::{Database, TableDefinition};
use sha2::Sha256;

use super::{Held, Peer, Proof};
use crate::workload::Key;

const NODES: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("nodes");
/// By key hash and version, so that the newest at or below a version is one step away.
const VALUES: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("values");

struct Tables(Database);

fn value_key(key: KeyHash, version: Version) -> [u8; 40] {
    let mut bytes = [0; 40];
    bytes[..32].copy_from_slice(&key.0);
    bytes[32..].copy_from_slice(&version.to_be_bytes());
    bytes
}

impl TreeReader for Tables {
    fn get_node_option(&self, key: &NodeKey) -> Result<Option<Node>> {
        let table = self.0.begin_read()?.open_table(NODES)?;
        let found = table.get(&borsh::to_vec(key)?[..])?;
        Ok(found
            .map(|node| borsh::from_slice(node.value()))
            .transpose()?)
    }

    fn get_value_option(&self, most: Version, key: KeyHash) -> Result<Option<OwnedValue>> {
        let table = self.0.begin_read()?.open_table(VALUES)?;
        let (first, last) = (value_key(key, 0), value_key(key, most));
        let newest = table
            .range(&first[..]..=&last[..])?
            .next_back()
            .transpose()?;
        Ok(newest.map(|(_, value)| value.value().to_vec()))
    }

    fn get_rightmost_leaf(&self) -> Result<Option<(NodeKey, LeafNode)>> {
        bail!("only restoring asks for this")
    }
}

impl TreeWriter for Tables {
    fn write_node_batch(&self, batch: &NodeBatch) -> Result<()> {
        let transaction = self.0.begin_write()?;
        {
            let mut nodes = transaction.open_table(NODES)?;
            for (key, node) in batch.nodes() {
                nodes.insert(&borsh::to_vec(key)?[..], &borsh::to_vec(node)?[..])?;
            }
            let mut values = transaction.open_table(VALUES)?;
            for ((version, key), value) in batch.values() {
                let Some(value) = value else {
                    bail!("nothing is deleted here");
                };
                values.insert(&value_key(*key, *version)[..], &value[..])?;
            }
        }
        Ok(transaction.commit()?)
    }
}

pub struct JmtPeer {
    tables: Tables,
    newest: Version,
}

impl JmtPeer {
    pub fn open(dir: &Path) -> Result<Self> {
        let database = Database::create(dir.join("jmt"))?;
        let transaction = database.begin_write()?;
        transaction.open_table(NODES)?;
        transaction.open_table(VALUES)?;
        transaction.commit()?;
        let tables = Tables(database);
        Ok(JmtPeer { tables, newest: 0 })
    }

    fn tree(&self) -> Sha256Jmt<'_, Tables> {
        Sha256Jmt::new(&self.tables)
    }
}

impl Peer for JmtPeer {
    fn commit(&mut self, version: u64, writes: Vec<(Key, Vec<u8>)>) -> Result<()> {
        let writes = writes
            .into_iter()
            .map(|(key, value)| (KeyHash(key), Some(value)));
        let (_, update) = self.tree().put_value_set(writes, version)?;
        self.tables.write_node_batch(&update.node_batch)?;
        self.newest = version;
        Ok(())
    }

    fn get(&self, key: &Key) -> Result<Option<Vec<u8>>> {
        self.tables.get_value_option(self.newest, KeyHash(*key))
    }

    fn get_at(&self, version: u64, key: &Key) -> Result<Option<Vec<u8>>> {
        self.tables.get_value_option(version, KeyHash(*key))
    }

    fn prove(&self, version: u64, key: &Key) -> Result<Option<Proof>> {
        let (value, proof) = self.tree().get_with_proof(KeyHash(*key), version)?;
        let Some(value) = value else {
            bail!("a key that was written has no value");
        };
        let encoded = borsh::to_vec(&proof)?;
        let bytes = encoded.len();
        let held = Held::Jmt(encoded);
        Ok(Some(Proof { value, bytes, held }))
    }

    fn verify(&self, version: u64, key: &Key, proof: &Proof) -> Result<bool> {
        let Held::Jmt(encoded) = &proof.held else {
            return Ok(false);
        };
        let held: SparseMerkleProof<Sha256> = borsh::from_slice(encoded)?;
        let root = self.tree().get_root_hash(version)?;
        Ok(held
            .verify_existence(root, KeyHash(*key), &proof.value)
            .is_ok())
    }
}
