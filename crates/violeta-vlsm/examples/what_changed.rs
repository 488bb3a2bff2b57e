//! What changed between two versions, proved, for somebody who has nothing but their roots:
//! `cargo run -p violeta-vlsm --example what_changed`.

#![allow(clippy::print_stdout, reason = "shows what it does")]

use std::error::Error;
use std::sync::Arc;

use violeta_journal::MemoryDisk;
use violeta_proof::tree::{PathRange, Sides};
use violeta_types::Height;
use violeta_vlsm::{Batch, Options, Store};

const SPACE: &[u8] = b"accounts";

fn main() -> Result<(), Box<dyn Error>> {
    let store = Store::open(Arc::new(MemoryDisk::new()), "", Options::default())?;
    let mut writer = store.writer()?;
    let mut batch = Batch::new();
    batch.create_space(SPACE);
    for number in 0..10_000 {
        batch.put(SPACE, format!("account {number}").as_bytes(), "100");
    }
    let staged = writer.stage(&batch)?;
    writer.commit(Height(1), staged)?;

    let mut batch = Batch::new();
    batch.put(SPACE, b"account 17", "90");
    batch.put(SPACE, b"account 4711", "110");
    batch.delete(SPACE, b"account 9999");
    let staged = writer.stage(&batch)?;
    writer.commit(Height(2), staged)?;

    // We: have the store. Nothing but what differs is looked at, however much else there is.
    let (old, new) = (store.snapshot(Height(1))?, store.snapshot(Height(2))?);
    let proof = new.prove_changes(&old, SPACE, &PathRange::ALL, 1_000)?;
    let bytes = borsh::to_vec(&proof)?;
    println!(
        "three changes among 10,000 keys: a proof of {} bytes",
        bytes.len()
    );

    // An auditor: has two roots, and now the bytes. He believes what he was told once all of it was checked.
    let roots = Sides {
        old: old.root(),
        new: new.root(),
    };
    let proof: violeta_proof::tree::ChangeProof = borsh::from_slice(&bytes)?;
    let mut changes = Vec::new();
    let proved = proof.read(&roots, SPACE, &PathRange::ALL, |change| {
        let kind = match (change.old, change.new) {
            (None, _) => "is new",
            (_, None) => "is gone",
            _ => "has another value",
        };
        changes.push(format!("{} {kind}", change.key.escape_ascii()));
    })?;
    assert_eq!(proved.rest, None, "that is all");
    changes.iter().for_each(|change| println!("{change}"));
    Ok(())
}
