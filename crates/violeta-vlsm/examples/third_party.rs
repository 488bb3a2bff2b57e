//! A proof for somebody who has no store, only a root that he trusts:
//! `cargo run -p violeta-vlsm --example third_party`.

#![allow(clippy::print_stdout, reason = "shows what it does")]

use std::error::Error;
use std::sync::Arc;

use violeta_journal::MemoryDisk;
use violeta_proof::TreeProof;
use violeta_types::{Digest, Height};
use violeta_vlsm::{Batch, Options, Store};

fn main() -> Result<(), Box<dyn Error>> {
    // We: have the store, publish its root, answer with proofs.
    let store = Store::open(Arc::new(MemoryDisk::new()), "", Options::default())?;
    let mut writer = store.writer()?;
    let mut batch = Batch::new();
    batch.create_space(b"diplomas");
    for number in 0..10_000 {
        batch.put(b"diplomas", format!("no. {number}").as_bytes(), "awarded");
    }
    let staged = writer.stage(&batch)?;
    let published = staged.root();
    writer.commit(Height(1), staged)?;

    let (value, proof) = store.latest().prove(b"diplomas", b"no. 4711")?;
    let value = value.ok_or("it was written above")?;
    let bytes = borsh::to_vec(&proof)?;
    println!("a proof among 10,000 keys: {} bytes", bytes.len());

    let (nothing, absence) = store.latest().prove(b"diplomas", b"no. 10001")?;
    assert!(nothing.is_none());

    // They: have the root and the bytes.
    they_check(&published, &bytes, b"no. 4711", Some(&value))?;
    they_check(&published, &borsh::to_vec(&absence)?, b"no. 10001", None)?;
    let lie = they_check(&published, &bytes, b"no. 4711", Some(b"revoked"));
    println!("a lie: {}", lie.err().ok_or("it was believed")?);
    Ok(())
}

fn they_check(
    root: &Digest,
    proof: &[u8],
    key: &[u8],
    claim: Option<&[u8]>,
) -> Result<(), Box<dyn Error>> {
    let proof: TreeProof = borsh::from_slice(proof)?;
    proof.verify(root, b"diplomas", key, claim)?;
    let key = key.escape_ascii();
    match claim {
        Some(value) => println!("{key} is proved: {}", value.escape_ascii()),
        None => println!("{key} is proved absent"),
    }
    Ok(())
}
