//! Values of older versions, which are found by going back in the log: never another than the version's tree says.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::sync::Arc;

use violeta_journal::{Disk, MemoryDisk, OpenMode};
use violeta_types::Height;
use violeta_vlsm::{Batch, Options, Snapshot, Store, StoreError};

const SPACE: &[u8] = b"space";
const KEY: &[u8] = b"key";

fn open(disk: &MemoryDisk) -> Store {
    let options = Options {
        log_segment_bytes: 2_000,
        ..Options::default()
    };
    Store::open(Arc::new(disk.clone()), "store", options).unwrap()
}

/// Commits one version that gives `KEY` a value, or takes it away.
fn commit(store: &Store, version: u64, value: Option<&str>) {
    let mut batch = Batch::new();
    if store.latest().space(SPACE).unwrap().is_none() {
        batch.create_space(SPACE);
    }
    match value {
        Some(value) => batch.put(SPACE, KEY, value.to_owned()),
        None => batch.delete(SPACE, KEY),
    }
    let mut writer = store.writer().unwrap();
    let staged = writer.stage(&batch).unwrap();
    writer.commit(Height(version), staged).unwrap();
}

fn value(snapshot: &Snapshot) -> Result<Option<String>, StoreError> {
    let value = snapshot.get(SPACE, KEY)?;
    Ok(value.map(|value| String::from_utf8(value.to_vec()).unwrap()))
}

fn at(store: &Store, version: u64) -> Option<String> {
    value(&store.snapshot(Height(version)).unwrap()).unwrap()
}

/// Files of the log.
fn log_files(disk: &MemoryDisk) -> Vec<String> {
    let names = disk.list("store").unwrap().into_iter();
    let logs = names.filter(|name| name.starts_with("log-"));
    logs.map(|name| format!("store/{name}")).collect()
}

#[test]
fn a_key_that_comes_and_goes_has_at_each_version_what_it_had() {
    let disk = MemoryDisk::new();
    let store = open(&disk);
    // More often than one goes back, with gaps.
    let said = |version: u64| (version % 7 != 3).then(|| format!("value {version}"));
    for version in 1..=60 {
        commit(&store, version, said(version).as_deref());
    }
    for version in 1..=60 {
        assert_eq!(at(&store, version), said(version), "{version}");
    }
    drop(store);
    let store = open(&disk);
    for version in 1..=60 {
        assert_eq!(at(&store, version), said(version), "{version}");
    }
}

#[test]
fn a_space_that_was_dropped_and_made_again_keeps_its_pasts_apart() {
    let store = open(&MemoryDisk::new());
    commit(&store, 1, Some("before"));
    let mut batch = Batch::new();
    batch.drop_space(SPACE);
    let mut writer = store.writer().unwrap();
    let staged = writer.stage(&batch).unwrap();
    writer.commit(Height(2), staged).unwrap();
    drop(writer);
    commit(&store, 3, Some("after"));
    commit(&store, 4, Some("later"));
    let values = [1, 2, 3, 4].map(|version| at(&store, version));
    let expected = [Some("before"), None, Some("after"), Some("later")];
    assert_eq!(values, expected.map(|value| value.map(str::to_owned)));
}

#[test]
fn long_values_are_found_too() {
    let store = open(&MemoryDisk::new());
    let long = |n: u64| n.to_string().repeat(100_000);
    for version in 1..=3 {
        commit(&store, version, Some(&long(version)));
    }
    for version in 1..=3 {
        assert_eq!(at(&store, version), Some(long(version)));
    }
}

#[test]
fn who_looks_at_a_version_that_was_rolled_back_never_sees_what_took_its_place() {
    let store = open(&MemoryDisk::new());
    for version in 1..=4 {
        commit(&store, version, Some(&format!("first {version}")));
    }
    let (kept, gone) = (store.snapshot(Height(1)), store.snapshot(Height(3)));
    let (kept, gone) = (kept.unwrap(), gone.unwrap());
    store.writer().unwrap().rollback(Height(1)).unwrap();
    for version in 2..=4 {
        commit(&store, version, Some(&format!("other {version}")));
    }
    assert_eq!(value(&kept).unwrap().as_deref(), Some("first 1"));
    if let Ok(seen) = value(&gone) {
        assert_eq!(seen.as_deref(), Some("first 3"));
    }
    assert_eq!(at(&store, 3).as_deref(), Some("other 3"));
}

#[test]
fn damage_in_the_log_never_gives_a_value_that_the_key_did_not_have_then() {
    let said = |version: u64| format!("value {version}");
    let commits = 6;
    let made = || {
        let disk = MemoryDisk::new();
        let store = open(&disk);
        (1..=commits).for_each(|version| commit(&store, version, Some(&said(version))));
        (disk, store)
    };
    let (first, _) = made();
    let (mut refused, mut told) = (0, 0);
    for path in log_files(&first) {
        let len = first.open(&path, OpenMode::Existing).unwrap();
        let len = len.len().unwrap();
        // Every byte of the records, with one of its bits turned.
        for offset in 0..len {
            let (disk, store) = made();
            disk.flip_bit(&path, offset, (offset % 8) as u8).unwrap();
            for version in 1..=commits {
                match value(&store.snapshot(Height(version)).unwrap()) {
                    Ok(seen) => {
                        assert_eq!(seen, Some(said(version)), "{version}: {path} {offset}");
                        told += 1;
                    }
                    Err(StoreError::Corrupt { .. }) => refused += 1,
                    Err(other) => panic!("{other}"),
                }
            }
        }
    }
    // The value's own bytes are of no use any more; all else is only a longer way.
    assert!(refused > 0 && told > 20 * refused, "{told} {refused}");
}
