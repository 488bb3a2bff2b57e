//! Pages through all they go through: splits, deep buckets, pages that die, bases and the skips between them, freezing
//! in steps, rollbacks; with so few items a page and such small files that few keys meet every border.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::disallowed_methods,
    reason = "tests"
)]

mod common;

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use common::naive::{self, State};
use common::{Op, append, check, disk, name};
use proptest::prelude::*;
use violeta_journal::{Disk, FaultyDisk, MemoryDisk};
use violeta_types::Height;
use violeta_vlsm::{Batch, Options, Snapshot, Store, StoreError};

/// Pages of a few items, which are frozen every few versions. The least that is resident are ten rows of 32 KiB, some
/// 2,000 keys: more than most tests here have.
fn options(page_items: usize, resident_bytes: usize) -> Options {
    Options {
        log_segment_bytes: 20_000,
        checkpoint_bytes: 1 << 30,
        cache_bytes: 8 << 10,
        resident_bytes,
        tail_bytes: 2_000,
        page_items,
        record_file_bytes: 64 << 10,
    }
}

fn open(disk: &MemoryDisk, options: Options) -> Store {
    Store::open(Arc::new(disk.clone()), "db/store", options).unwrap()
}

/// Operations on space 1, which is there from the first version on.
fn puts(keys: impl IntoIterator<Item = u16>, salt: u64) -> Vec<Op> {
    let mut ops = vec![Op::Create(1)];
    let put = |key: u16| Op::Put(1, key, (salt ^ u64::from(key)).to_le_bytes().to_vec());
    ops.extend(keys.into_iter().map(put));
    ops
}

fn deletes(keys: impl IntoIterator<Item = u16>) -> Vec<Op> {
    keys.into_iter().map(|key| Op::Delete(1, key)).collect()
}

/// Roots, and some keys with their proofs.
fn check_some(store: &Store, version: u64, model: &State, keys: impl Iterator<Item = u16>) {
    let snapshot = store.snapshot(Height(version)).unwrap();
    let root = naive::root(model);
    assert_eq!(snapshot.root(), root, "version {version}");
    let there = model.get(&name(1));
    for key in keys.map(common::key) {
        let (value, proof) = snapshot.prove(&name(1), &key).unwrap();
        let expected = there.and_then(|keys| keys.get(&key));
        assert_eq!(
            value.as_deref(),
            expected.map(Vec::as_slice),
            "version {version}"
        );
        assert_eq!(
            proof.verify(&root, &name(1), &key, value.as_deref()),
            Ok(())
        );
    }
}

/// What a version does to a space of up to some hundred keys.
#[derive(Clone, Debug)]
enum Step {
    /// Puts a range of keys, that many apart.
    Put(u16, u16, u16),
    Delete(u16, u16, u16),
    /// Puts one key again and again.
    Again(u16, u8),
    Drop,
    Reopen,
    Maintain(u8),
    Checkpoint,
    Rollback(u8),
}

const KEYS: u16 = 700;

fn step() -> impl Strategy<Value = Step> {
    let range = || (0..KEYS, 1u16..400, 1u16..9);
    prop_oneof![
        6 => range().prop_map(|(from, n, by)| Step::Put(from, n, by)),
        4 => range().prop_map(|(from, n, by)| Step::Delete(from, n, by)),
        4 => (0..KEYS, 1u8..40).prop_map(|(key, n)| Step::Again(key, n)),
        1 => Just(Step::Drop),
        1 => Just(Step::Reopen),
        3 => (1u8..20).prop_map(Step::Maintain),
        1 => Just(Step::Checkpoint),
        2 => any::<u8>().prop_map(Step::Rollback),
    ]
}

fn range(from: u16, n: u16, by: u16) -> impl Iterator<Item = u16> {
    (0..n).map(move |i| (from + i * by) % KEYS)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, max_shrink_iters: 60, ..ProptestConfig::default() })]

    #[test]
    fn every_version_is_as_the_map_of_maps_says(
        steps in proptest::collection::vec(step(), 4..24),
        page_items in prop_oneof![Just(2usize), Just(5), Just(40), Just(256)],
        resident_bytes in prop_oneof![Just(0usize), Just(4 << 20)],
    ) {
        let disk = disk();
        let mut store = open(&disk, options(page_items, resident_bytes));
        let mut writer = store.writer().unwrap();
        let mut models: BTreeMap<u64, State> = BTreeMap::new();
        let (mut salt, mut model) = (0, State::new());
        for step in steps {
            salt += 1 << 20;
            let newest = models.last_key_value().map_or(0, |(version, _)| *version);
            let versions = match &step {
                Step::Put(from, n, by) => vec![puts(range(*from, *n, *by), salt)],
                Step::Delete(from, n, by) => vec![deletes(range(*from, *n, *by))],
                Step::Again(key, n) => {
                    (0..u64::from(*n)).map(|i| puts([*key], salt + (i << 32))).collect()
                }
                Step::Drop => vec![vec![Op::Drop(1)]],
                _ => vec![],
            };
            for (version, ops) in (newest + 1..).zip(versions) {
                model = append(&mut writer, version, &model, &ops);
                models.insert(version, model.clone());
            }
            match step {
                Step::Reopen => {
                    writer.sync().unwrap();
                    drop((writer, store));
                    store = open(&disk, options(page_items, resident_bytes));
                    writer = store.writer().unwrap();
                }
                Step::Maintain(n) => {
                    for _ in 0..n {
                        writer.maintain().unwrap();
                    }
                }
                Step::Checkpoint => writer.checkpoint().unwrap(),
                Step::Rollback(pick) if !models.is_empty() => {
                    let to = *models.keys().nth(usize::from(pick) % models.len()).unwrap();
                    writer.rollback(Height(to)).unwrap();
                    models.split_off(&(to + 1));
                    model = models[&to].clone();
                }
                _ => {}
            }
        }
        for reopened in [false, true] {
            let every = (models.len() / 12).max(1);
            for (i, (version, model)) in models.iter().enumerate() {
                let keys = (0..KEYS).step_by(if i % every == 0 { 13 } else { 211 });
                check_some(&store, *version, model, keys);
            }
            if let Some((_, model)) = models.last_key_value() {
                check(&store.latest(), model, 90);
            }
            store.verify().unwrap();
            if !reopened {
                writer.sync().unwrap();
                drop((writer, store));
                store = open(&disk, options(page_items, resident_bytes));
                writer = store.writer().unwrap();
            }
        }
    }
}

/// One page that is changed in a thousand versions has about a hundred bases: any version is found by skipping, within
/// few reads.
#[test]
fn a_page_with_a_long_history_is_read_at_any_version_within_few_reads() {
    let faulty = FaultyDisk::new(Arc::new(disk()));
    let store = Store::open(Arc::new(faulty.clone()), "db/store", options(256, 0)).unwrap();
    let mut writer = store.writer().unwrap();
    let (mut models, mut model) = (vec![State::new()], State::new());
    for version in 1..=1_000u64 {
        let keys = (0..60).map(|i| 2 + ((i * 7 + version * 11) % 120) as u16);
        model = append(&mut writer, version, &model, &puts(keys, version << 20));
        models.push(model.clone());
        for _ in 0..4 {
            writer.maintain().unwrap();
        }
    }
    writer.checkpoint().unwrap();
    for version in (1..=1_000).rev().step_by(7) {
        let before = faulty.operations();
        let value = store
            .snapshot(Height(version))
            .unwrap()
            .get(&name(1), &common::key(9));
        let reads = faulty.operations() - before;
        let expected = models[version as usize][&name(1)].get(&common::key(9));
        assert_eq!(value.unwrap().as_deref(), expected.map(Vec::as_slice));
        // Steps back in the log (17), in vain for most versions; the index of versions (10), top tree, bases (7 or so, and
        // as many to come back), deltas (16), the value.
        assert!(reads <= 77, "{reads} reads for version {version}");
        check_some(
            &store,
            version,
            &models[version as usize],
            (2..122).step_by(29),
        );
    }
}

/// The whole way down and up: a space grows through several splits, shrinks to a leaf, and grows again.
#[test]
fn pages_are_born_and_die_and_their_history_stays() {
    for resident_bytes in [0, 4 << 20] {
        let disk = disk();
        let store = open(&disk, options(3, resident_bytes));
        let mut writer = store.writer().unwrap();
        let (mut models, mut model) = (vec![State::new()], State::new());
        let sizes = [600u16, 300, 40, 6, 3, 2, 600, 1, 0, 2, 500, 0];
        let mut version = 0;
        let mut now = 2;
        for size in sizes {
            let size = size + 2;
            let ops = match size > now {
                true => puts(now..size, version),
                false => deletes(size..now),
            };
            for part in ops.chunks(90) {
                version += 1;
                model = append(&mut writer, version, &model, part);
                models.push(model.clone());
                writer.maintain().unwrap();
            }
            now = size;
        }
        for (version, model) in models.iter().enumerate().skip(1) {
            check_some(&store, version as u64, model, (2..602).step_by(23));
        }
        drop((writer, store));
        let store = open(&disk, options(256, 0));
        for (version, model) in models.iter().enumerate().skip(1) {
            check_some(&store, version as u64, model, (2..602).step_by(23));
        }
    }
}

#[test]
fn after_a_rollback_other_versions_grow_and_history_is_that_of_what_stayed() {
    let disk = disk();
    let store = open(&disk, options(8, 64 << 10));
    let mut writer = store.writer().unwrap();
    let (mut models, mut model) = (BTreeMap::new(), State::new());
    let mut version = 0;
    for round in 0..6u64 {
        for i in 0..12 {
            version += 1;
            let keys = (0..60).map(|k| ((k * 7 + i * 11 + round * 13) % 400) as u16);
            model = append(
                &mut writer,
                version,
                &model,
                &puts(keys, version << 8 ^ round),
            );
            models.insert(version, model.clone());
            writer.maintain().unwrap();
        }
        version -= 7;
        writer.rollback(Height(version)).unwrap();
        models.split_off(&(version + 1));
        model = models[&version].clone();
        for (version, model) in &models {
            check_some(&store, *version, model, (0..400).step_by(37));
        }
    }
    drop((writer, store));
    let store = open(&disk, options(8, 64 << 10));
    for (version, model) in &models {
        check_some(&store, *version, model, (0..400).step_by(37));
    }
    store.verify().unwrap();
}

#[test]
fn a_snapshot_of_what_was_rolled_back_says_so() {
    let disk = disk();
    let store = open(&disk, options(8, 0));
    let mut writer = store.writer().unwrap();
    let mut model = State::new();
    for version in 1..=6 {
        model = append(&mut writer, version, &model, &puts(0..200, version << 20));
    }
    let (kept, gone) = (store.snapshot(Height(3)).unwrap(), store.latest());
    writer.rollback(Height(3)).unwrap();
    // Keys that aren't there: only the tree is read.
    for key in (300..400).map(common::key) {
        let (value, proof) = kept.prove(&name(1), &key).unwrap();
        assert_eq!(proof.verify(&kept.root(), &name(1), &key, None), Ok(()));
        assert_eq!(value, None);
        let error = gone.prove(&name(1), &key).unwrap_err();
        assert!(matches!(error, StoreError::RolledBack), "{error}");
    }
}

#[test]
fn readers_of_any_version_are_right_while_pages_are_frozen_and_split() {
    let disk = disk();
    let store = open(&disk, options(6, 64 << 10));
    let versions = 150u64;
    let (mut models, mut model) = (vec![State::new()], State::new());
    let ops: Vec<_> = (1..=versions)
        .map(|version| {
            puts(
                (0..20).map(|k| ((k * 31 + version * 17) % KEYS as u64) as u16),
                version,
            )
        })
        .collect();
    for ops in &ops {
        let mut batch = Batch::new();
        ops.iter()
            .for_each(|op| common::apply(op, &mut model, &mut batch));
        models.push(model.clone());
    }
    let (newest, looks) = (AtomicU64::new(0), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for reader in 0..3u64 {
            let (store, newest, looks, models) = (&store, &newest, &looks, &models);
            scope.spawn(move || {
                let mut i = reader;
                while newest.load(Ordering::Acquire) < versions {
                    let there = newest.load(Ordering::Acquire);
                    if there == 0 {
                        continue;
                    }
                    i += 1;
                    looks.fetch_add(1, Ordering::Relaxed);
                    // The newest, those around it, and old ones.
                    let version = there - (i * i * 7 % there.min(1 + 40 * (i % 4)));
                    let keys = (0..3).map(|k| ((i * 13 + k * 101) % u64::from(KEYS)) as u16);
                    let snapshot = store.snapshot(Height(version)).unwrap();
                    let model = &models[version as usize];
                    for key in keys.map(common::key) {
                        let (value, proof) = snapshot.prove(&name(1), &key).unwrap();
                        let expected = model.get(&name(1)).and_then(|keys| keys.get(&key));
                        assert_eq!(value.as_deref(), expected.map(Vec::as_slice));
                        let verdict =
                            proof.verify(&snapshot.root(), &name(1), &key, value.as_deref());
                        assert_eq!(verdict, Ok(()));
                    }
                }
            });
        }
        let mut writer = store.writer().unwrap();
        let (mut model, mut looked) = (State::new(), true);
        for (version, ops) in (1..).zip(&ops) {
            model = append(&mut writer, version, &model, ops);
            newest.store(version, Ordering::Release);
            looked &= version == versions || common::wait_for_more(&looks, 2);
            writer.maintain().unwrap();
        }
        assert!(looked, "readers look at each version");
    });
}

const CRASHED: u64 = 14;

fn crash_ops(version: u64) -> Vec<Op> {
    let mut ops = puts(
        (0..25).map(|k| ((k * 29 + version * 41) % 150) as u16),
        version,
    );
    ops.extend(deletes(
        (0..4).map(|k| ((k * 31 + version * 17) % 150) as u16),
    ));
    ops
}

/// Appends versions, with a sync and steps of freezing between them. Returns the last that was acknowledged and the last
/// that was appended.
fn run(store: &Store, models: &[State]) -> (u64, u64) {
    let (mut acknowledged, mut appended) = (store.durable_version().0, store.latest().version().0);
    let mut writer = store.writer().unwrap();
    for version in appended + 1..=CRASHED {
        let mut step = || -> Result<(), StoreError> {
            let (mut model, mut batch) = (models[version as usize - 1].clone(), Batch::new());
            for op in crash_ops(version) {
                common::apply(&op, &mut model, &mut batch);
            }
            let staged = writer.stage(&batch)?;
            writer.append(Height(version), staged)?;
            appended = version;
            if version % 3 == 0 {
                writer.sync()?;
                acknowledged = version;
            }
            writer.maintain()?;
            writer.maintain()?;
            acknowledged = acknowledged.max(store.durable_version().0);
            Ok(())
        };
        if step().is_err() {
            break;
        }
    }
    (acknowledged, appended)
}

#[test]
fn a_crash_at_any_operation_while_pages_are_frozen_loses_nothing() {
    let mut models = vec![State::new()];
    for version in 1..=CRASHED {
        let (mut model, mut batch) = (models[version as usize - 1].clone(), Batch::new());
        for op in crash_ops(version) {
            common::apply(&op, &mut model, &mut batch);
        }
        models.push(model);
    }
    let options = || options(6, 64 << 10);
    let operations = {
        let faulty = FaultyDisk::new(Arc::new(disk()));
        let store = Store::open(Arc::new(faulty.clone()), "db/store", options()).unwrap();
        assert_eq!(run(&store, &models).1, CRASHED);
        faulty.operations()
    };
    assert!(operations > 60, "a workload of {operations}");
    for number in 0..operations {
        for kind in 0..3u64 {
            let disk = disk();
            let faulty = FaultyDisk::new(Arc::new(disk.clone()));
            faulty.fail_from(number, ErrorKind::Other);
            let (mut acknowledged, mut appended) = (0, 0);
            if let Ok(store) = Store::open(Arc::new(faulty), "db/store", options()) {
                (acknowledged, appended) = run(&store, &models);
            }
            let mut seed = number;
            disk.crash(&mut || {
                seed = seed
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(kind);
                [0, u64::MAX, seed ^ seed >> 29][kind as usize]
            });
            let store = open(&disk, options());
            let recovered = store.latest().version().0;
            assert!((acknowledged..=appended + 1).contains(&recovered));
            for version in 1..=recovered {
                check_some(
                    &store,
                    version,
                    &models[version as usize],
                    (0..150).step_by(29),
                );
            }
            assert_eq!(run(&store, &models).1, CRASHED, "it goes on");
            check_some(
                &store,
                CRASHED,
                &models[CRASHED as usize],
                (0..150).step_by(7),
            );
        }
    }
}

/// Every byte of the page files is under a checksum: bases, deltas, the directory.
#[test]
fn a_flipped_bit_in_a_page_file_is_found_and_named() {
    let disk = disk();
    let open = || Store::open(Arc::new(disk.clone()), "db/store", options(6, 0));
    let store = open().unwrap();
    let mut writer = store.writer().unwrap();
    let (mut models, mut model) = (vec![State::new()], State::new());
    for version in 1..=20u64 {
        let keys = (0..30).map(|k| ((k * 29 + version * 41) % 90) as u16);
        model = append(&mut writer, version, &model, &puts(keys, version));
        models.push(model.clone());
        for _ in 0..4 {
            writer.maintain().unwrap();
        }
    }
    writer.checkpoint().unwrap();
    drop((writer, store));
    let file = "db/store/pages-00000000";
    let bytes = disk
        .open(file, violeta_journal::OpenMode::Existing)
        .unwrap()
        .len()
        .unwrap();
    let (mut refused, mut found, mut unread) = (0, 0, 0);
    // From the first record on: nothing lies before it.
    for offset in (1..bytes).step_by(bytes as usize / 60) {
        disk.flip_bit(file, offset, 5).unwrap();
        let named = |error: &StoreError| match error {
            StoreError::Corrupt {
                file: named,
                offset: at,
                ..
            } => named == file && *at <= offset,
            _ => false,
        };
        match open() {
            Err(error) => {
                assert!(named(&error), "{error}");
                refused += 1;
            }
            Ok(store) => match read_all(&store, &models) {
                Err(error) => {
                    assert!(named(&error), "{error}");
                    found += 1;
                }
                // A record of a page that no version has any more, or a directory that was written over.
                Ok(()) => unread += 1,
            },
        }
        disk.flip_bit(file, offset, 5).unwrap();
    }
    read_all(&open().unwrap(), &models).unwrap();
    assert!(
        refused > 0 && found > 30,
        "{refused} refused, {found} found, {unread} unread"
    );
}

/// Reads every key at every version: it is right, or it is an error.
fn read_all(store: &Store, models: &[State]) -> Result<(), StoreError> {
    let mut result = Ok(());
    for (version, model) in models.iter().enumerate().skip(1) {
        let snapshot = store.snapshot(Height(version as u64))?;
        for key in (0..90).map(common::key) {
            match snapshot.get(&name(1), &key) {
                Ok(value) => {
                    let expected = model[&name(1)].get(&key);
                    assert_eq!(value.as_deref(), expected.map(Vec::as_slice));
                }
                Err(error) => result = Err(error),
            }
        }
    }
    result
}

/// How often `read` asked the disk for something.
fn operations(disk: &FaultyDisk, read: impl FnOnce()) -> u64 {
    let before = disk.operations();
    read();
    disk.operations() - before
}

/// Versions of a tree several times as large as its memory, each of which fills the seats that nodes left with its
/// own, while hundreds of pages are split of which a part of the nodes isn't in memory any more: among them a few whose
/// seats just then go to nodes of the very version that splits their page.
#[test]
fn a_page_is_split_although_others_sit_where_its_nodes_sat() {
    for page_items in [32, 48] {
        thinned_out_and_split(options(page_items, 45 << 15));
    }
}

const THIN_VERSIONS: u64 = 100;
const THIN_KEYS: u64 = 200;

fn thin_key(i: u64) -> [u8; 8] {
    i.to_le_bytes()
}

/// A version with keys that no version has before.
fn thin_batch(version: u64) -> Batch {
    let mut batch = Batch::new();
    if version == 1 {
        batch.create_space(b"s");
    }
    let keys = (0..THIN_KEYS).map(|i| thin_key(version * THIN_KEYS + i));
    keys.for_each(|key| batch.put(b"s", &key, key.to_vec()));
    batch
}

fn thinned_out_and_split(thin: Options) {
    let faulty = FaultyDisk::new(Arc::new(disk()));
    // All of it in memory, in few large pages: the roots are the same.
    let whole = Options {
        tail_bytes: 16 << 20,
        ..options(256, 64 << 20)
    };
    let (whole, mut roots) = (open(&disk(), whole), Vec::new());
    let store = Store::open(Arc::new(faulty.clone()), "db/store", thin.clone()).unwrap();
    let (mut writer, mut other) = (store.writer().unwrap(), whole.writer().unwrap());
    for version in 1..=THIN_VERSIONS {
        let staged = writer.stage(&thin_batch(version)).unwrap();
        let expected = other.stage(&thin_batch(version)).unwrap();
        assert_eq!(staged.root(), expected.root(), "version {version}");
        roots.push(staged.root());
        writer.append(Height(version), staged).unwrap();
        other.append(Height(version), expected).unwrap();
        writer.maintain().unwrap();
    }
    writer.checkpoint().unwrap();
    let keys = (THIN_KEYS..(THIN_VERSIONS + 1) * THIN_KEYS).step_by(17);
    let count = keys.clone().count() as u64;
    let latest = store.latest();
    let reads = operations(&faulty, || {
        keys.for_each(|i| assert!(latest.get(b"s", &thin_key(i)).unwrap().is_some()));
    });
    assert!(
        reads > 2 * count,
        "{reads} reads of {count} keys: the nodes are in memory"
    );
    drop((latest, writer, store));
    let store = Store::open(Arc::new(faulty), "db/store", thin).unwrap();
    for (version, root) in (1..).zip(roots).step_by(3) {
        let snapshot = store.snapshot(Height(version)).unwrap();
        assert_eq!(snapshot.root(), root);
        assert_eq!(count_entries(&snapshot), version * THIN_KEYS);
    }
    store.verify().unwrap();
}

/// Lists the space, in which every key is its own value.
fn count_entries(snapshot: &Snapshot) -> u64 {
    let (mut after, mut count) = (None, 0);
    loop {
        let page = snapshot.entries(b"s", after, 5_000).unwrap();
        assert!(page.items.iter().all(|(key, value)| key == value));
        count += page.items.len() as u64;
        after = page.next;
        if after.is_none() {
            return count;
        }
    }
}
