//! Every version stays readable: `cargo run -p violeta-vlsm --example time_travel`.

#![allow(clippy::print_stdout, reason = "shows what it does")]

use std::error::Error;
use std::sync::Arc;

use violeta_journal::MemoryDisk;
use violeta_types::Height;
use violeta_vlsm::{Batch, Options, Store};

fn main() -> Result<(), Box<dyn Error>> {
    let store = Store::open(Arc::new(MemoryDisk::new()), "", Options::default())?;
    let mut writer = store.writer()?;

    // Versions rise; they needn't be adjacent. Here they are years.
    let prices = [
        (1990, Some("2 francs")),
        (2002, Some("0.35 euro")),
        (2020, None),
    ];
    for (year, price) in prices {
        let mut batch = Batch::new();
        if year == 1990 {
            batch.create_space(b"prices");
        }
        match price {
            Some(price) => batch.put(b"prices", b"baguette", price),
            None => batch.delete(b"prices", b"baguette"),
        }
        let staged = writer.stage(&batch)?;
        writer.commit(Height(year), staged)?;
    }

    for year in [1990, 1999, 2002, 2026] {
        // Between two versions the lower one holds. Nothing holds above the newest.
        let snapshot = match store.snapshot(Height(year)) {
            Ok(snapshot) => snapshot,
            Err(error) => {
                println!("{year}: {error}");
                continue;
            }
        };
        let price = snapshot.get(b"prices", b"baguette")?;
        println!("{year}: {price:?}, root {}", snapshot.root());
    }

    for (version, value) in store.history(b"prices", b"baguette", None, 10)?.changes {
        println!("written at {version}: {value:?}");
    }

    // Taking a version back is exact: the root is the one that it had.
    let root = store.snapshot(Height(2002))?.root();
    writer.rollback(Height(2002))?;
    assert_eq!(store.latest().root(), root);
    println!("back in {}", store.latest().version());
    Ok(())
}
