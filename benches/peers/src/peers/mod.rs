//! The stores, each behind the same few calls.

mod jmt;
mod lmdb;
mod nomt;
mod redb;
mod violeta;

use std::path::Path;

use anyhow::Result;

use crate::workload::Key;

/// A store under test. What it can't do (unless it says otherwise: old versions, proofs) it answers with none; nothing is
/// emulated for it.
pub trait Peer {
    /// Writes the next version, sorted by key; durable once this returns.
    fn commit(&mut self, version: u64, writes: Vec<(Key, Vec<u8>)>) -> Result<()>;

    /// The newest value.
    fn get(&self, key: &Key) -> Result<Option<Vec<u8>>>;

    /// The value that a version had. None if old versions can't be read.
    fn get_at(&self, _version: u64, _key: &Key) -> Result<Option<Vec<u8>>> {
        Ok(None)
    }

    /// The value that a version had, with its proof. None if there are no proofs of such a version.
    fn prove(&self, _version: u64, _key: &Key) -> Result<Option<Proof>> {
        Ok(None)
    }

    /// Whether a proof of the version holds, from the root alone.
    fn verify(&self, _version: u64, _key: &Key, _proof: &Proof) -> Result<bool> {
        Ok(false)
    }
}

/// A proof, kept so that making and checking it can be timed apart.
pub struct Proof {
    /// What is proved.
    pub value: Vec<u8>,
    /// Bytes of the proof as it would be sent, without key and value.
    pub bytes: usize,
    /// The proof itself.
    pub held: Held,
}

/// A proof as its store makes it.
pub enum Held {
    /// Encoded.
    Violeta(Vec<u8>),
    /// Encoded.
    Jmt(Vec<u8>),
    /// As made; its bytes are counted.
    Nomt(Box<::nomt::proof::PathProof>),
}

/// The stores' names, in the order in which they run.
pub const NAMES: [&str; 5] = ["violeta", "nomt", "jmt", "redb", "lmdb"];

/// Opens a new store.
pub fn open(name: &str, dir: &Path) -> Result<Box<dyn Peer>> {
    Ok(match name {
        "violeta" => Box::new(violeta::Violeta::open(dir)?),
        "nomt" => Box::new(nomt::NomtPeer::open(dir)?),
        "jmt" => Box::new(jmt::JmtPeer::open(dir)?),
        "redb" => Box::new(redb::RedbPeer::open(dir)?),
        "lmdb" => Box::new(lmdb::LmdbPeer::open(dir)?),
        other => anyhow::bail!("no store is called {other}; there are {}", NAMES.join(", ")),
    })
}
