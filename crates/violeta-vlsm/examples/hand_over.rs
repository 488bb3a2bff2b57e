//! One store hands a version over to another, which trusts nothing but its root:
//! `cargo run -p violeta-vlsm --example hand_over`.

#![allow(clippy::print_stdout, reason = "shows what it does")]

use std::error::Error;
use std::sync::Arc;

use violeta_journal::MemoryDisk;
use violeta_proof::tree::{Chunk, ChunkPlace};
use violeta_types::{Height, decode, encode};
use violeta_vlsm::limits::CHUNK_BYTES;
use violeta_vlsm::{Batch, Importer, Options, Store};

fn main() -> Result<(), Box<dyn Error>> {
    let source = Store::open(Arc::new(MemoryDisk::new()), "", Options::default())?;
    let mut batch = Batch::new();
    batch.create_space(b"measurements");
    for number in 0..100_000u32 {
        let key = format!("sensor {number}");
        batch.put(b"measurements", key.as_bytes(), vec![7; 80]);
    }
    let mut writer = source.writer()?;
    let staged = writer.stage(&batch)?;
    writer.commit(Height(365), staged)?;
    // How the other one comes to trust a root is its own matter: here it is told.
    let (version, root) = (Height(365), source.latest().root());

    // The source answers from the version that is asked for, and remembers nothing.
    let answer = |question: &[u8]| -> Result<Vec<u8>, Box<dyn Error>> {
        let place: ChunkPlace = decode(question)?;
        Ok(source
            .snapshot(version)?
            .chunk(&place, CHUNK_BYTES)?
            .encode())
    };

    // The target asks for what is missing (here one after the other), and adds what it verified.
    let disk = Arc::new(MemoryDisk::new());
    let mut import = Importer::open(disk, "", Options::default(), version, root)?;
    let mut bytes = 0;
    while let Some(place) = import.missing(1).first() {
        let answer = answer(&encode(place))?;
        bytes += answer.len();
        import.add(Chunk::decode(&answer)?.verify(&root)?)?;
        println!("{} keys, {bytes} bytes", import.keys());
    }
    let target = import.finish()?;
    assert_eq!(target.latest().root(), root);
    println!("the target has version {}", target.latest().version());
    Ok(())
}
