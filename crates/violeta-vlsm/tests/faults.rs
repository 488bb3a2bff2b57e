//! Disks that fail, forget, rot and fill up; readers beside the writer.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::disallowed_methods,
    reason = "tests"
)]

mod common;

use std::io::ErrorKind;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use common::naive::{self, State};
use common::{Op, append, check, disk, name, open, open_on, small};
use violeta_journal::{Disk, FaultyDisk, MemoryDisk, Operation};
use violeta_proof::tree::{ChunkPlace, KeyPath, PathRange, Sides};
use violeta_types::{Digest, Height};
use violeta_vlsm::{Batch, Options, Snapshot, Store, StoreError};

/// Versions 1 to `n`, each with some puts and a delete.
fn ops(version: u64) -> Vec<Op> {
    let mut ops = vec![Op::Create((version % 3) as u8)];
    for i in 0..6 {
        let key = (version * 5 + i) % 23;
        let value = format!("{version} {i}").repeat(9).into_bytes();
        ops.push(Op::Put((i % 3) as u8, key as u16, value));
    }
    ops.push(Op::Delete((version % 3) as u8, (version % 23) as u16));
    ops
}

/// The models of versions 0 to `n`, by themselves.
fn models(n: u64) -> Vec<State> {
    let mut models = vec![State::new()];
    for version in 1..=n {
        let (mut model, mut batch) = (models[version as usize - 1].clone(), Batch::new());
        for op in ops(version) {
            common::apply(&op, &mut model, &mut batch);
        }
        models.push(model);
    }
    models
}

/// Appends versions, syncing every other one, until one fails. Returns the last that was acknowledged, and the last
/// that was appended.
fn run(store: &Store, versions: u64) -> (u64, u64, Option<StoreError>) {
    let (mut acknowledged, mut appended) = (store.durable_version().0, store.latest().version().0);
    let mut writer = store.writer().unwrap();
    for version in appended + 1..=versions {
        let mut step = || -> Result<(), StoreError> {
            let mut batch = Batch::new();
            let mut model = models(version - 1).pop().unwrap();
            for op in ops(version) {
                common::apply(&op, &mut model, &mut batch);
            }
            let staged = writer.stage(&batch)?;
            assert_eq!(staged.root(), naive::root(&model));
            writer.append(Height(version), staged)?;
            appended = version;
            if version.is_multiple_of(2) {
                writer.sync()?;
                acknowledged = version;
            }
            // One step a version: parts of a checkpoint, with versions appended between them.
            if version.is_multiple_of(3) {
                writer.maintain()?;
            }
            Ok(())
        };
        if let Err(error) = step() {
            return (acknowledged, appended, Some(error));
        }
    }
    (acknowledged, appended, None)
}

/// Opens what a crash left: the acknowledged versions are there, whole, and no half of another.
fn check_recovered(disk: &MemoryDisk, acknowledged: u64, appended: u64, models: &[State]) {
    let store = open(disk);
    let recovered = store.latest().version().0;
    assert!(
        (acknowledged..=appended).contains(&recovered),
        "{recovered} of {acknowledged} to {appended}"
    );
    let model = &models[recovered as usize];
    assert_eq!(store.latest().root(), naive::root(model));
    for version in 1..=recovered {
        let snapshot = store.snapshot(Height(version)).unwrap();
        assert_eq!(snapshot.root(), naive::root(&models[version as usize]));
    }
    assert_eq!(store.verify().unwrap().versions, recovered);
    // And it goes on.
    let (_, goes_on, error) = run(&store, recovered + 2);
    assert_eq!(goes_on, recovered + 2, "{error:?}");
}

const VERSIONS: u64 = 12;

#[test]
fn a_crash_at_any_operation_of_the_disk_loses_nothing_acknowledged() {
    let models = models(VERSIONS + 2);
    let operations = {
        let faulty = FaultyDisk::new(Arc::new(disk()));
        let store = open_on(Arc::new(faulty.clone())).unwrap();
        assert!(run(&store, VERSIONS).2.is_none());
        faulty.operations()
    };
    assert!(operations > 40, "a workload of {operations}");
    for number in 0..operations {
        // Everything that wasn't synced is lost; nothing is; some of it is.
        for kind in 0..3u64 {
            let disk = disk();
            let faulty = FaultyDisk::new(Arc::new(disk.clone()));
            faulty.fail_from(number, ErrorKind::Other);
            let (mut acknowledged, mut appended) = (0, 0);
            if let Ok(store) = open_on(Arc::new(faulty)) {
                (acknowledged, appended, _) = run(&store, VERSIONS);
            }
            let mut seed = number;
            disk.crash(&mut || {
                seed = seed
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(kind);
                match kind {
                    0 => 0,
                    1 => u64::MAX,
                    _ => seed ^ seed >> 29,
                }
            });
            // What was being appended when the disk failed may have got there.
            check_recovered(&disk, acknowledged, appended + 1, &models);
        }
    }
}

/// A batch other than `ops`, and small: where a record of those has no room any more, one of this still has.
fn small_ops(version: u64) -> Vec<Op> {
    vec![Op::Create(0), Op::Put(0, 5, vec![version as u8; 3])]
}

/// Commits versions; where that fails, something else in their place. Gives the models of all versions, each of which
/// was acknowledged; none if a sync failed, after which the writer does nothing more.
fn run_with_others_in_place(store: &Store) -> Option<Vec<State>> {
    let (mut models, mut writer) = (vec![State::new()], store.writer().unwrap());
    for version in 1..=VERSIONS {
        let mut commit = |ops: &[Op]| -> Result<State, StoreError> {
            let (mut model, mut batch) = (models[version as usize - 1].clone(), Batch::new());
            for op in ops {
                common::apply(op, &mut model, &mut batch);
            }
            let staged = writer.stage(&batch)?;
            assert_eq!(staged.root(), naive::root(&model));
            writer.commit(Height(version), staged)?;
            Ok(model)
        };
        let tries = [ops(version), small_ops(version), small_ops(version)];
        let mut model = None;
        for ops in tries {
            match commit(&ops) {
                Ok(committed) => {
                    model = Some(committed);
                    break;
                }
                Err(StoreError::Broken) => return None,
                Err(error) => assert!(matches!(error, StoreError::Disk(_)), "{error}"),
            }
        }
        models.push(model.expect("one operation fails, once"));
        for _ in 0..2 {
            if let Err(StoreError::Broken) = writer.maintain() {
                return None;
            }
        }
    }
    Some(models)
}

#[test]
fn whatever_operation_fails_once_what_is_committed_in_its_place_stays() {
    let first = {
        let faulty = FaultyDisk::new(Arc::new(disk()));
        open_on(Arc::new(faulty.clone())).unwrap();
        faulty.operations()
    };
    let (mut went_on, mut number) = (0, first);
    loop {
        let disk = disk();
        let faulty = FaultyDisk::new(Arc::new(disk.clone()));
        let store = open_on(Arc::new(faulty.clone())).unwrap();
        faulty.fail_at(number, ErrorKind::StorageFull);
        let models = run_with_others_in_place(&store);
        if faulty.operations() <= number {
            break;
        }
        number += 1;
        let Some(models) = models else {
            continue;
        };
        went_on += 1;
        for (version, model) in models.iter().enumerate().skip(1) {
            let snapshot = store.snapshot(Height(version as u64)).unwrap();
            assert_eq!(snapshot.root(), naive::root(model));
        }
        store.verify().unwrap();
        drop(store);
        disk.crash(&mut || 0);
        let store = open(&disk);
        assert_eq!(
            store.latest().version(),
            Height(VERSIONS),
            "operation {number}"
        );
        check(&store.latest(), &models[VERSIONS as usize], 23);
        assert_eq!(store.verify().unwrap().versions, VERSIONS);
    }
    assert!(went_on >= 30, "{went_on} failures that are none of a sync");
}

#[test]
fn a_rollback_takes_along_the_segment_that_was_only_begun() {
    let disk = disk();
    let faulty = FaultyDisk::new(Arc::new(disk.clone()));
    let store = open_on(Arc::new(faulty.clone())).unwrap();
    assert!(run(&store, 3).2.is_none());
    let models = models(VERSIONS);
    let before = files(&disk, "log-").len();
    // As far as the first segment goes.
    let mut version = 3;
    while files(&disk, "log-").len() == before {
        version += 1;
        faulty.fail_next(Operation::Resize, ErrorKind::StorageFull);
        run(&store, version);
        assert!(version < VERSIONS);
    }
    assert_eq!(
        store.latest().version(),
        Height(version - 1),
        "there is no room"
    );
    store.writer().unwrap().rollback(Height(2)).unwrap();
    assert_eq!(files(&disk, "log-").len(), before);
    assert!(run(&store, VERSIONS).2.is_none());
    store.writer().unwrap().sync().unwrap();
    drop(store);
    let store = open(&disk);
    check(&store.latest(), &models[VERSIONS as usize], 23);
    store.verify().unwrap();
}

#[test]
fn a_crash_during_a_rollback_leaves_either_version() {
    let models = models(VERSIONS);
    for number in 0.. {
        let disk = disk();
        assert!(run(&open(&disk), VERSIONS).2.is_none());
        let faulty = FaultyDisk::new(Arc::new(disk.clone()));
        let store = open_on(Arc::new(faulty.clone())).unwrap();
        faulty.fail_from(faulty.operations() + number, ErrorKind::Other);
        let mut writer = store.writer().unwrap();
        let result = writer.rollback(Height(5));
        drop((writer, store));
        let mut seed = number;
        disk.crash(&mut || {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            seed ^ seed >> 29
        });
        let store = open(&disk);
        let found = store.latest().version().0;
        assert!(
            found == 5 || (found == VERSIONS && result.is_err()),
            "{found}"
        );
        assert_eq!(store.latest().root(), naive::root(&models[found as usize]));
        store.verify().unwrap();
        if result.is_ok() {
            break;
        }
    }
}

#[test]
fn a_failed_sync_stops_the_writer_for_good_and_readers_go_on() {
    let disk = disk();
    let faulty = FaultyDisk::new(Arc::new(disk.clone()));
    let store = open_on(Arc::new(faulty.clone())).unwrap();
    let mut writer = store.writer().unwrap();
    let model = append(&mut writer, 1, &State::new(), &ops(1));
    faulty.fail_next(Operation::Sync, ErrorKind::Other);
    assert!(matches!(writer.sync(), Err(StoreError::Disk(_))));
    assert!(matches!(writer.sync(), Err(StoreError::Broken)));
    assert!(matches!(
        writer.stage(&Batch::new()),
        Err(StoreError::Broken)
    ));
    drop(writer);
    let mut writer = store.writer().unwrap();
    assert!(matches!(writer.sync(), Err(StoreError::Broken)));
    check(&store.latest(), &model, 23);
    assert_eq!(store.durable_version(), Height(0));
}

#[test]
fn a_full_disk_refuses_commits_and_goes_on_once_there_is_room() {
    let disk = disk();
    let store = open(&disk);
    assert!(run(&store, 3).2.is_none());
    disk.set_capacity(Some(disk.used_bytes()));
    let (_, appended, error) = run(&store, 40);
    let Some(StoreError::Disk(error)) = error else {
        panic!("{error:?}")
    };
    assert_eq!(error.kind(), ErrorKind::StorageFull);
    let models = models(40);
    check(&store.latest(), &models[appended as usize], 23);
    disk.set_capacity(None);
    let (_, appended, error) = run(&store, 40);
    assert_eq!(appended, 40, "{error:?}");
    store.verify().unwrap();
    drop(store);
    check(&open(&disk).latest(), &models[40], 23);
}

fn files(disk: &MemoryDisk, prefix: &str) -> Vec<String> {
    let names = disk.list("db/store").unwrap().into_iter();
    let names = names.filter(|name| name.starts_with(prefix));
    names.map(|name| format!("db/store/{name}")).collect()
}

#[test]
fn rot_in_what_was_durable_is_refused_and_named() {
    let disk = disk();
    // No checkpoint: all of it is replayed.
    let options = || violeta_vlsm::Options {
        checkpoint_bytes: 1 << 30,
        ..small()
    };
    let store = Store::open(Arc::new(disk.clone()), "db/store", options()).unwrap();
    assert!(run(&store, 6).2.is_none());
    drop(store);
    let log = files(&disk, "log-").remove(0);
    for offset in [3, 30, 100, 200, 400] {
        disk.flip_bit(&log, offset, 3).unwrap();
        let error = Store::open(Arc::new(disk.clone()), "db/store", options()).unwrap_err();
        let StoreError::Corrupt {
            file, offset: 0, ..
        } = &error
        else {
            panic!("{error}")
        };
        assert_eq!(*file, log);
        disk.flip_bit(&log, offset, 3).unwrap();
    }
    Store::open(Arc::new(disk.clone()), "db/store", options()).unwrap();
}

#[test]
fn rot_anywhere_is_never_served() {
    let disk = disk();
    let store = open(&disk);
    assert!(run(&store, VERSIONS).2.is_none());
    store.writer().unwrap().checkpoint().unwrap();
    drop(store);
    let models = models(VERSIONS);
    for prefix in ["log-", "nodes-", "pages-", "versions"] {
        for file in files(&disk, prefix) {
            for step in 0..60 {
                let offset = step * 37;
                if disk.flip_bit(&file, offset, 1).is_err() {
                    break;
                }
                if let Ok(store) = open_on(Arc::new(disk.clone())) {
                    serves_the_truth_or_nothing(&store, &models);
                }
                disk.flip_bit(&file, offset, 1).unwrap();
            }
        }
    }
    open(&disk).verify().unwrap();
}

fn serves_the_truth_or_nothing(store: &Store, models: &[State]) {
    for version in 1..=VERSIONS {
        let Ok(snapshot) = store.snapshot(Height(version)) else {
            continue;
        };
        let model = &models[snapshot.version().0 as usize];
        assert_eq!(snapshot.root(), naive::root(model));
        for (space, key) in (0..3).flat_map(|s| (0..23).map(move |k| (name(s), common::key(k)))) {
            if let Ok(value) = snapshot.get(&space, &key) {
                let expected = model.get(&space).and_then(|keys| keys.get(&key));
                assert_eq!(value.as_deref(), expected.map(Vec::as_slice));
            }
        }
    }
}

#[test]
fn readers_see_whole_versions_while_the_writer_commits() {
    let disk = disk();
    let store = open(&disk);
    let versions = 60;
    let roots: Vec<Digest> = models(versions).iter().map(naive::root).collect();
    let (done, looks) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let mut seen = 0;
                while !done.load(Ordering::Relaxed) {
                    looks.fetch_add(1, Ordering::Relaxed);
                    let snapshot = store.latest();
                    assert!(snapshot.version().0 >= seen, "versions rise");
                    seen = snapshot.version().0;
                    let old = store
                        .snapshot(Height(seen / 2 + 1))
                        .unwrap_or(snapshot.clone());
                    for snapshot in [snapshot, old] {
                        let root = snapshot.root();
                        assert_eq!(root, roots[snapshot.version().0 as usize]);
                        let (value, proof) = snapshot.prove(&name(1), &common::key(9)).unwrap();
                        let verdict =
                            proof.verify(&root, &name(1), &common::key(9), value.as_deref());
                        assert_eq!(verdict, Ok(()));
                    }
                }
            });
        }
        // Nobody looks as long as the writer goes on alone: each version waits for two looks.
        let mut looked = true;
        for version in 1..=versions {
            looked &= common::wait_for_more(&looks, 2);
            run(&store, version);
        }
        done.store(true, Ordering::Relaxed);
        assert!(looked, "readers look at each version");
        assert_eq!(store.latest().version().0, versions);
    });
}

/// One proof of all the keys, one of the range that the first begins, one of what has changed in it, and chunks of the older
/// version: each is what the root says.
fn prove_together(snapshot: &Snapshot, older: &Snapshot, keys: &[[u8; 8]]) {
    let root = snapshot.root();
    let values: Vec<_> = (keys.iter())
        .map(|key| snapshot.get(b"s", key).unwrap())
        .collect();
    let claims: Vec<_> = (keys.iter().zip(&values))
        .map(|(key, value)| (&key[..], value.as_deref()))
        .collect();
    let proof = snapshot.prove_many(b"s", keys).unwrap();
    assert_eq!(proof.verify(&root, b"s", &claims), Ok(()));

    let from = KeyPath::of(&keys[0]);
    let range = PathRange {
        from,
        ..PathRange::ALL
    };
    let mut count = 0;
    let proof = snapshot.prove_range(b"s", &range, 200).unwrap();
    let proved = proof.read(&root, b"s", &range, |_| count += 1).unwrap();
    assert!(count == 200 || proved.rest.is_none());

    let space = Some(b"s"[..].try_into().unwrap());
    let chunk = older.chunk(&ChunkPlace { space, range }, 2_000).unwrap();
    assert!(chunk.verify(&older.root()).is_ok());
    let list = older.chunk(&ChunkPlace::SPACES, 2_000).unwrap();
    assert!(list.verify(&older.root()).is_ok());

    let roots = Sides {
        old: older.root(),
        new: root,
    };
    let mut count = 0;
    let proof = snapshot.prove_changes(older, b"s", &range, 200).unwrap();
    let proved = proof.read(&roots, b"s", &range, |_| count += 1).unwrap();
    assert!(count == 200 || proved.rest.is_none());
}

/// What sits in memory changes in place: a reader who looks at it meanwhile proves the old, or reads it, never a mixture.
#[test]
fn proofs_hold_while_the_nodes_that_they_are_read_from_change() {
    let disk = disk();
    let options = Options {
        resident_bytes: 4 << 20,
        ..small()
    };
    let store = Store::open(Arc::new(disk), "db/store", options).unwrap();
    let mut writer = store.writer().unwrap();
    let key = |i: u64| (i % 3_000).to_le_bytes();
    let mut batch = Batch::new();
    batch.create_space(b"s");
    (0..3_000).for_each(|i| batch.put(b"s", &key(i), vec![0; 30]));
    let staged = writer.stage(&batch).unwrap();
    writer.append(Height(1), staged).unwrap();
    let (done, looks) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for reader in 0..2 {
            let (store, done, looks) = (&store, &done, &looks);
            scope.spawn(move || {
                let (mut i, mut older) = (reader, store.latest());
                while !done.load(Ordering::Relaxed) {
                    looks.fetch_add(1, Ordering::Relaxed);
                    let snapshot = store.latest();
                    for _ in 0..20 {
                        i += 7;
                        let (value, proof) = snapshot.prove(b"s", &key(i)).unwrap();
                        let verdict =
                            proof.verify(&snapshot.root(), b"s", &key(i), value.as_deref());
                        assert_eq!(verdict, Ok(()));
                    }
                    let keys: Vec<_> = (0..20).map(|j| key(i + 11 * j)).collect();
                    prove_together(&snapshot, &older, &keys);
                    if snapshot.version().0 > older.version().0 + 5 {
                        older = snapshot;
                    }
                }
            });
        }
        let mut looked = true;
        for version in 2..=400 {
            if version % 8 == 0 {
                looked &= common::wait_for_more(&looks, 2);
            }
            let mut batch = Batch::new();
            (0..100).for_each(|i| {
                batch.put(
                    b"s",
                    &key(version * 31 + i * 29),
                    version.to_le_bytes().to_vec(),
                );
            });
            batch.delete(b"s", &key(version * 17));
            let staged = writer.stage(&batch).unwrap();
            writer.append(Height(version), staged).unwrap();
        }
        done.store(true, Ordering::Relaxed);
        assert!(looked, "readers look all the while");
    });
}

#[test]
fn a_tree_larger_than_its_memory_is_thinned_out_and_still_right() {
    let faulty = FaultyDisk::new(Arc::new(disk()));
    let key = |i: u64| i.to_le_bytes();
    let roots = [320 << 10, 64 << 20].map(|resident_bytes| {
        let options = Options {
            resident_bytes,
            page_items: 40,
            ..small()
        };
        let dir = format!("db/{resident_bytes}");
        let store = Store::open(Arc::new(faulty.clone()), &dir, options).unwrap();
        let mut writer = store.writer().unwrap();
        for version in 1..=20u64 {
            let mut batch = Batch::new();
            if version == 1 {
                batch.create_space(b"s");
            }
            // New ones, and some of those before again.
            let new = (0..400).map(|i| version * 400 + i);
            let old = (0..40).map(|i| 400 + (version * 97 + i * 31) % (version * 400));
            for i in new.chain(old) {
                batch.put(b"s", &key(i), version.to_le_bytes().to_vec());
            }
            let staged = writer.stage(&batch).unwrap();
            writer.append(Height(version), staged).unwrap();
            writer.maintain().unwrap();
        }
        writer.checkpoint().unwrap();
        let (latest, before) = (store.latest(), faulty.operations());
        let keys = (400..8_400).step_by(37);
        let count = keys.clone().count() as u64;
        keys.for_each(|i| assert!(latest.get(b"s", &key(i)).unwrap().is_some()));
        let reads = faulty.operations() - before;
        // The value is read anyway; of what isn't in memory, a page too.
        match resident_bytes > 8_000 * 170 {
            true => assert!(reads < count + 64, "{reads} reads of {count} keys"),
            false => assert!(reads > 2 * count, "{reads} reads of {count} keys"),
        }
        assert_eq!(store.verify().unwrap().keys, 8_000);
        latest.root()
    });
    assert_eq!(roots[0], roots[1]);
}
