//! The store within a program of your own: `cargo run -p violeta-vlsm --example embedded [directory]`.

#![allow(clippy::print_stdout, reason = "shows what it does")]

use std::error::Error;
use std::sync::Arc;

use violeta_journal::RealDisk;
use violeta_types::Height;
use violeta_vlsm::{Batch, Options, Store};

fn main() -> Result<(), Box<dyn Error>> {
    let dir = match std::env::args_os().nth(1) {
        Some(dir) => dir.into(),
        None => std::env::temp_dir().join("violeta-embedded"),
    };
    std::fs::create_dir_all(&dir)?;
    let store = Store::open(Arc::new(RealDisk::new(dir)), "", Options::default())?;

    let mut batch = Batch::new();
    if store.latest().space(b"accounts")?.is_none() {
        batch.create_space(b"accounts");
    }
    batch.put(b"accounts", b"ada", "100");
    batch.put(b"accounts", b"bob", "20");
    batch.delete(b"accounts", b"eve");

    let mut writer = store.writer()?;
    let staged = writer.stage(&batch)?;
    println!("this version's root will be {}", staged.root());
    let version = Height(store.latest().version().0 + 1);
    writer.commit(version, staged)?; // durable from here on

    let value = store.latest().get(b"accounts", b"ada")?;
    println!("version {version}: ada has {value:?}");
    Ok(())
}
