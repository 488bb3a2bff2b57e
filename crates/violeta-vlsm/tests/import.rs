//! Stores made from chunks: in any order, from any peer, through crashes, full disks and lies.

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

use common::naive::{self, State};
use common::{Op, append, check, disk, key, name, op, open, small};
use proptest::prelude::*;
use violeta_journal::{Disk, FaultyDisk, MemoryDisk};
use violeta_proof::tree::{Chunk, ChunkPlace, KeyPath, PathRange, VerifiedChunk};
use violeta_types::{Digest, Height};
use violeta_vlsm::{Batch, ImportError, Importer, Options, Retention, Snapshot, Store, StoreError};

const DIR: &str = "db/store";

/// A store that came to hold `model` in so many versions, and held more on the way.
fn source(model: &State, versions: usize) -> Store {
    let store = open(&disk());
    let mut writer = store.writer().unwrap();
    let mut batch = Batch::new();
    for space in model.keys() {
        batch.create_space(space);
        batch.put(space, b"passing", "by");
    }
    let entries: Vec<_> = (model.iter())
        .flat_map(|(space, keys)| keys.iter().map(move |entry| (space, entry)))
        .collect();
    let per_version = entries.len().div_ceil(versions).max(1);
    for (version, part) in entries.chunks(per_version).enumerate() {
        part.iter()
            .for_each(|(space, (key, value))| batch.put(space, key, value.to_vec()));
        let staged = writer.stage(&batch).unwrap();
        writer.append(Height(10 + version as u64), staged).unwrap();
        batch = Batch::new();
    }
    for (space, keys) in model {
        if !keys.contains_key(&b"passing"[..]) {
            batch.delete(space, b"passing");
        }
    }
    let staged = writer.stage(&batch).unwrap();
    writer.commit(Height(1_000), staged).unwrap();
    assert_eq!(store.latest().root(), naive::root(model));
    drop(writer);
    store
}

fn import_on(disk: Arc<dyn Disk>, version: u64, root: Digest) -> Result<Importer, ImportError> {
    Importer::open(disk, DIR, small(), Height(version), root)
}

fn import(disk: &MemoryDisk, version: u64, root: Digest) -> Importer {
    import_on(Arc::new(disk.clone()), version, root).expect("the import opens")
}

/// As it comes over the wire, and verified.
fn fetch(peer: &Snapshot, place: &ChunkPlace, bytes: usize) -> VerifiedChunk {
    let encoded = peer.chunk(place, bytes).unwrap().encode();
    let chunk = Chunk::decode(&encoded).unwrap();
    chunk.verify(&peer.root()).unwrap()
}

/// Gets what is missing, in the order in which it is named.
fn run(importer: &mut Importer, peer: &Snapshot, bytes: usize) -> Result<(), ImportError> {
    while let Some(place) = importer.missing(1).first() {
        importer.add(fetch(peer, place, bytes))?;
        importer.sync()?;
    }
    Ok(())
}

/// The store has the one version, whole, and goes on.
fn check_imported(disk: &MemoryDisk, store: Store, version: u64, model: &State, keys: u16) {
    let root = naive::root(model);
    let mut store = store;
    for _ in 0..2 {
        assert_eq!(store.stats().versions, 1);
        assert_eq!(store.latest().version(), Height(version));
        assert_eq!(store.durable_version(), Height(version));
        check(&store.latest(), model, keys);
        let verified = store.verify().unwrap();
        let count: usize = model.values().map(BTreeMap::len).sum();
        assert_eq!((verified.versions, verified.keys), (1, count as u64));
        if let Some(before) = version.checked_sub(1) {
            let error = store.snapshot(Height(before)).unwrap_err();
            assert!(matches!(error, StoreError::NoSuchVersion { .. }), "{error}");
        }
        drop(store);
        store = open(disk);
    }
    let ops = [
        Op::Create(4),
        Op::Put(4, 5, vec![5; 50]),
        Op::Put(0, 2, vec![6]),
    ];
    let mut writer = store.writer().unwrap();
    let next = append(&mut writer, version + 3, model, &ops);
    writer.sync().unwrap();
    drop((writer, store));
    let store = open(disk);
    check(&store.latest(), &next, keys);
    let imported = store.snapshot(Height(version)).unwrap();
    assert_eq!(imported.root(), root);
    check(&imported, model, keys);
    assert_eq!(store.verify().unwrap().versions, 2);
    store.writer().unwrap().rollback(Height(version)).unwrap();
    check(&store.latest(), model, keys);
    assert_eq!(store.verify().unwrap().versions, 1);
}

fn model_of(ops: &[Op]) -> State {
    let (mut model, mut batch) = (State::new(), Batch::new());
    ops.iter()
        .for_each(|op| common::apply(op, &mut model, &mut batch));
    model
}

/// Four spaces: empty, of one key, of some.
fn model() -> State {
    let mut ops: Vec<_> = (0..4).map(Op::Create).collect();
    ops.push(Op::Put(1, 7, vec![1; 20]));
    ops.extend((0..30).map(|key| Op::Put(2, key, vec![key as u8; 40])));
    ops.extend((5..9).map(|key| Op::Put(3, key, vec![key as u8; 300])));
    model_of(&ops)
}

#[test]
fn an_import_begins_with_a_root_and_ends_with_the_store() {
    let model = model();
    let peer = source(&model, 3).latest();
    for version in [0, 1, 77] {
        let disk = disk();
        let mut importer = import(&disk, version, peer.root());
        assert_eq!(importer.missing(9), [ChunkPlace::SPACES]);
        run(&mut importer, &peer, 200).unwrap();
        assert_eq!(importer.keys(), 35);
        let store = importer.finish().unwrap();
        check_imported(&disk, store, version, &model, 30);
    }
}

#[test]
fn a_store_without_spaces_is_imported_too() {
    let empty = State::new();
    let never_written = open(&disk());
    for (version, peer) in [(5, source(&empty, 1)), (0, never_written)] {
        let disk = disk();
        let mut importer = import(&disk, version, naive::root(&empty));
        run(&mut importer, &peer.latest(), 1_000).unwrap();
        let store = importer.finish().unwrap();
        check_imported(&disk, store, version, &empty, 5);
    }
}

#[test]
fn a_large_value_comes_whole_and_once() {
    let large = vec![9; 5 << 20];
    let mut model = model();
    let keys = model.get_mut(&name(2)).unwrap();
    keys.insert(key(31), large.clone());
    let peer = source(&model, 1).latest();
    let disk = disk();
    let mut importer = import(&disk, 3, peer.root());
    let mut largest = 0;
    while let Some(place) = importer.missing(1).first() {
        let encoded = peer.chunk(place, 500).unwrap().encode();
        if encoded.len() > large.len() {
            largest += 1;
        }
        let chunk = Chunk::decode(&encoded).unwrap();
        importer.add(chunk.verify(&peer.root()).unwrap()).unwrap();
    }
    assert_eq!(
        largest, 1,
        "beside another chunk's range only its digest is shown"
    );
    let store = importer.finish().unwrap();
    let value = store.latest().get(&name(2), &key(31)).unwrap().unwrap();
    assert!(value[..] == large[..]);
    check_imported(&disk, store, 3, &model, 32);
}

#[test]
fn chunks_that_come_twice_overlap_or_come_unasked_do_no_harm() {
    let model = model();
    let peer = source(&model, 2).latest();
    let disk = disk();
    let mut importer = import(&disk, 8, peer.root());
    let all_of = |space: u8| ChunkPlace {
        space: Some(name(space).try_into().unwrap()),
        range: PathRange::ALL,
    };
    // Before the list of spaces: all there are, the first part of one, and one that isn't there.
    for space in [0, 1, 3, 9] {
        importer.add(fetch(&peer, &all_of(space), 1 << 20)).unwrap();
    }
    let first = fetch(&peer, &all_of(2), 300);
    let rest = first.rest().unwrap();
    importer.add(first.clone()).unwrap();
    let mut middle = all_of(2);
    middle.range.from = KeyPath([0x70; 32]);
    let middle = fetch(&peer, &middle, 300);
    importer.add(middle.clone()).unwrap();
    importer.sync().unwrap();
    let missing = importer.missing(9);
    assert_eq!((missing.len(), &missing[0]), (3, &ChunkPlace::SPACES));
    assert_eq!(missing[1].range.from, rest.range.from);
    let keys = importer.keys();
    importer.add(first).unwrap();
    importer.add(middle).unwrap();
    assert_eq!((importer.keys(), importer.missing(9)), (keys, missing));

    importer
        .add(fetch(&peer, &ChunkPlace::SPACES, 1_000))
        .unwrap();
    let missing = importer.missing(9);
    assert_eq!(missing.len(), 2, "the other spaces are whole: {missing:?}");
    // More than is missing.
    importer.add(fetch(&peer, &all_of(2), 1 << 20)).unwrap();
    assert_eq!((importer.missing(9), importer.keys()), (vec![], 35));
    importer.add(fetch(&peer, &all_of(2), 1 << 20)).unwrap();
    importer.add(fetch(&peer, &ChunkPlace::SPACES, 50)).unwrap();
    let store = importer.finish().unwrap();
    check_imported(&disk, store, 8, &model, 30);
}

#[test]
fn an_unfinished_import_is_no_store_and_a_store_is_no_import() {
    let model = model();
    let peer = source(&model, 2).latest();
    let root = peer.root();
    let disk = disk();
    let shared: Arc<dyn Disk> = Arc::new(disk.clone());
    let unfinished = || Importer::unfinished(Arc::clone(&shared), DIR).unwrap();
    assert_eq!(unfinished(), None, "no directory");
    disk.create_dir(DIR).unwrap();
    assert_eq!(unfinished(), None);
    let mut importer = import(&disk, 4, root);
    importer
        .add(fetch(&peer, &ChunkPlace::SPACES, 1_000))
        .unwrap();
    let locked = import_on(Arc::clone(&shared), 4, root).unwrap_err();
    assert!(locked.to_string().contains("in use"), "{locked}");
    assert!(matches!(importer.finish(), Err(ImportError::Unfinished)));

    let refused = Store::open(Arc::clone(&shared), DIR, small()).unwrap_err();
    let expected = "the import of a snapshot into \"db/store\" isn't finished: go on with it, or remove the directory \
                    and begin again";
    assert_eq!(refused.to_string(), expected);
    assert_eq!(unfinished(), Some((Height(4), root)));
    for (version, root) in [(5, root), (4, Digest([1; 32]))] {
        let error = import_on(Arc::clone(&shared), version, root).unwrap_err();
        assert!(
            matches!(
                error,
                ImportError::OtherTarget {
                    version: Height(4),
                    ..
                }
            ),
            "{error}"
        );
    }
    let mut importer = import(&disk, 4, root);
    run(&mut importer, &peer, 1_000).unwrap();
    drop(importer.finish().unwrap());
    assert_eq!(unfinished(), None);
    let error = import_on(shared, 4, root).unwrap_err();
    assert!(matches!(error, ImportError::HoldsStore { .. }), "{error}");
    check(&open(&disk).latest(), &model, 30);
}

#[test]
fn a_chunk_of_another_version_is_refused_though_it_was_verified() {
    let model = model();
    let peer = source(&model, 2).latest();
    let mut other = model.clone();
    other.get_mut(&name(2)).unwrap().insert(key(2), vec![1]);
    let other = source(&other, 2).latest();
    let mut importer = import(&disk(), 4, peer.root());
    let error = importer
        .add(fetch(&other, &ChunkPlace::SPACES, 1_000))
        .unwrap_err();
    assert!(matches!(error, ImportError::OtherRoot { .. }), "{error}");
    assert_eq!(importer.missing(9), [ChunkPlace::SPACES]);
}

#[test]
fn parts_of_a_large_space_are_fetched_side_by_side() {
    let mut batch = Batch::new();
    batch.create_space(b"large");
    (0..20_000u32).for_each(|key| batch.put(b"large", &key.to_le_bytes(), "value"));
    let options = Options::default;
    let source = Store::open(Arc::new(MemoryDisk::new()), "", options()).unwrap();
    let mut writer = source.writer().unwrap();
    let staged = writer.stage(&batch).unwrap();
    writer.commit(Height(6), staged).unwrap();
    let peer = source.latest();
    let to: Arc<dyn Disk> = Arc::new(MemoryDisk::new());
    let root = peer.root();
    let mut importer = Importer::open(to, "", options(), Height(6), root).unwrap();
    importer
        .add(fetch(&peer, &ChunkPlace::SPACES, 1_000))
        .unwrap();
    let places = importer.missing(99);
    assert_eq!(places.len(), 16);
    // Whatever comes in first, the other places stay what they are.
    for (at, place) in places.iter().enumerate().rev() {
        importer.add(fetch(&peer, place, 10_000)).unwrap();
        let begun = importer.missing(99);
        assert_eq!(begun.len(), 16);
        assert_eq!(begun[..at], places[..at]);
        let ends = begun.iter().map(|place| place.range.to);
        assert!(ends.eq(places.iter().map(|place| place.range.to)));
    }
    run(&mut importer, &peer, 100_000).unwrap();
    let store = importer.finish().unwrap();
    assert_eq!(store.latest().root(), peer.root());
    assert_eq!(store.verify().unwrap().keys, 20_000);
}

#[test]
fn what_was_imported_was_written_at_the_snapshots_version() {
    let model = model();
    let peer = source(&model, 4).latest();
    let disk = disk();
    let mut importer = import(&disk, 40, peer.root());
    run(&mut importer, &peer, 200).unwrap();
    let store = importer.finish().unwrap();
    let mut writer = store.writer().unwrap();
    append(&mut writer, 41, &model, &[Op::Put(2, 3, vec![41])]);
    let history = store.history(&name(2), &key(3), None, 10).unwrap();
    let written: Vec<_> = history
        .changes
        .iter()
        .map(|(version, _)| version.0)
        .collect();
    assert_eq!((written, history.next), (vec![41, 40], None));
    let before = store
        .snapshot(Height(40))
        .unwrap()
        .get(&name(2), &key(3))
        .unwrap();
    assert_eq!(before.as_deref(), Some(&[3; 40][..]));
}

/// Takes back all the room that is to be had, and says how much that was.
fn compact(store: &Store) -> u64 {
    for _ in 0..2 {
        store.writer().unwrap().checkpoint().unwrap();
    }
    let mut compaction = store.compaction().unwrap().expect("something was pruned");
    while compaction.step().unwrap() {}
    compaction.freed_bytes()
}

#[test]
fn an_imported_store_is_pruned_like_any_other() {
    let model = model();
    let peer = source(&model, 4).latest();
    let disk = disk();
    let mut importer = import(&disk, 40, peer.root());
    run(&mut importer, &peer, 100).unwrap();
    let store = importer.finish().unwrap();
    // The parts before the last one are needed: they are what the version consists of.
    store
        .writer()
        .unwrap()
        .prune(&Retention::from(Height(40)))
        .unwrap();
    compact(&store);
    check(&store.latest(), &model, 30);
    assert_eq!(store.verify().unwrap().versions, 1);

    // And what newer versions wrote anew.
    let mut newest = model.clone();
    let mut writer = store.writer().unwrap();
    for version in 41..60 {
        let ops = [
            Op::Put(2, version % 30, vec![version as u8; 60]),
            Op::Delete(3, version % 9),
        ];
        newest = append(&mut writer, version.into(), &newest, &ops);
    }
    writer.sync().unwrap();
    writer.prune(&Retention::from(Height(59))).unwrap();
    drop(writer);
    compact(&store);
    drop(store);
    let store = open(&disk);
    check(&store.latest(), &newest, 30);
    assert_eq!(store.verify().unwrap().versions, 1);
    let written = |key: u16| {
        let history = store
            .history(&name(2), &common::key(key), None, 10)
            .unwrap();
        history
            .changes
            .iter()
            .map(|(version, _)| version.0)
            .collect::<Vec<_>>()
    };
    assert_eq!((written(29), written(12)), (vec![59], vec![42]));
    assert_eq!(
        written(0),
        [40],
        "of what was pruned, when it was written is known still"
    );
}

#[test]
fn any_version_that_a_pruned_store_keeps_is_handed_over() {
    let disk = disk();
    let store = open(&disk);
    let (mut models, mut writer) = (vec![State::new()], store.writer().unwrap());
    for version in 1..40u16 {
        let mut ops = vec![Op::Create(1), Op::Delete(1, version)];
        let put = |i| Op::Put(1, (version * 7 + i) % 40, vec![version as u8; 50]);
        ops.extend((0..9).map(put));
        let model = append(
            &mut writer,
            version.into(),
            &models[usize::from(version) - 1],
            &ops,
        );
        models.push(model);
    }
    writer.sync().unwrap();
    let (oldest, pinned) = (Height(30), vec![Height(9)]);
    writer.prune(&Retention { oldest, pinned }).unwrap();
    drop(writer);
    assert!(compact(&store) > 0);
    for version in [9, 30, 35, 39] {
        let peer = store.snapshot(Height(version)).unwrap();
        let disk = common::disk();
        let mut importer = import(&disk, version, peer.root());
        run(&mut importer, &peer, 300).unwrap();
        let store = importer.finish().unwrap();
        check_imported(&disk, store, version, &models[version as usize], 40);
    }
}

/// Places that were acknowledged as kept, by the importer's own word before the crash.
struct Kept {
    keys: u64,
    missing: Vec<ChunkPlace>,
}

/// Imports, syncing after each chunk, until something fails; what was acknowledged last.
fn run_acknowledged(
    importer: &mut Importer,
    peer: &Snapshot,
    kept: &mut Kept,
) -> Result<(), ImportError> {
    while let Some(place) = importer.missing(1).first() {
        importer.add(fetch(peer, place, 400))?;
        importer.sync()?;
        let (keys, missing) = (importer.keys(), importer.missing(99));
        *kept = Kept { keys, missing };
    }
    Ok(())
}

/// Whether all that is missing was missing before, or is of a space that wasn't listed before.
fn no_more_is_missing(now: &[ChunkPlace], before: &[ChunkPlace]) -> bool {
    let was_missing = |now: &ChunkPlace, before: &ChunkPlace| match (&now.space, &before.space) {
        (Some(space), None) => before.range.holds(&KeyPath::of(space)),
        _ => {
            let is_within = before.range.from <= now.range.from && now.range.to <= before.range.to;
            now.space == before.space && is_within
        }
    };
    now.iter()
        .all(|now| before.iter().any(|before| was_missing(now, before)))
}

#[test]
fn a_crash_at_any_operation_of_the_disk_costs_what_was_not_acknowledged() {
    let model = model();
    let peer = source(&model, 2).latest();
    let (mut number, mut finished) = (0, false);
    while !finished {
        // Everything that wasn't synced is lost; nothing is; some of it is.
        for kind in 0..3u64 {
            let disk = disk();
            let faulty = FaultyDisk::new(Arc::new(disk.clone()));
            faulty.fail_from(number, ErrorKind::Other);
            let missing = vec![ChunkPlace::SPACES];
            let mut kept = Kept { keys: 0, missing };
            let mut done = false;
            if let Ok(mut importer) = import_on(Arc::new(faulty.clone()), 2, peer.root())
                && run_acknowledged(&mut importer, &peer, &mut kept).is_ok()
            {
                done = importer.finish().is_ok();
            }
            finished = faulty.operations() <= number;
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
            let shared: Arc<dyn Disk> = Arc::new(disk.clone());
            let opened = Store::open(Arc::clone(&shared), DIR, small());
            let store = match opened {
                // Before anything was acknowledged, an empty directory may be all that is left.
                Ok(store) if store.stats().versions == 0 => {
                    assert!(kept.keys == 0 && !done, "operation {number}");
                    continue;
                }
                Ok(store) => store,
                Err(StoreError::Importing { .. }) => {
                    assert!(!done, "operation {number}");
                    let mut importer = import(&disk, 2, peer.root());
                    assert!(importer.keys() >= kept.keys);
                    assert!(no_more_is_missing(&importer.missing(99), &kept.missing));
                    run(&mut importer, &peer, 400).unwrap();
                    importer.finish().unwrap()
                }
                Err(error) => panic!("operation {number}: {error}"),
            };
            check(&store.latest(), &model, 30);
            assert_eq!(store.stats().versions, 1);
            drop(store);
            disk.crash(&mut || 0);
            check_imported(&disk, open(&disk), 2, &model, 30);
        }
        number += 1;
    }
    assert!(number > 100, "a workload of {number}");
}

#[test]
fn whatever_operation_fails_once_the_import_gets_done() {
    let model = model();
    let peer = source(&model, 2).latest();
    for number in 0.. {
        let disk = disk();
        let faulty = FaultyDisk::new(Arc::new(disk.clone()));
        faulty.fail_at(number, ErrorKind::StorageFull);
        let mut store = None;
        for _ in 0..3 {
            let shared = Arc::new(faulty.clone());
            let mut importer = match import_on(shared, 2, peer.root()) {
                Ok(importer) => importer,
                Err(ImportError::HoldsStore { .. }) => {
                    store = Some(open(&disk));
                    break;
                }
                Err(_) => continue,
            };
            let mut result = run(&mut importer, &peer, 400);
            if result.is_err() {
                // The chunk is in memory still: no other is asked for in its place.
                result = importer.sync();
            }
            if let Err(error) = result {
                assert!(
                    matches!(error, ImportError::Store(StoreError::Broken)),
                    "{error}"
                );
                continue;
            }
            if run(&mut importer, &peer, 400).is_ok()
                && let Ok(finished) = importer.finish()
            {
                store = Some(finished);
                break;
            }
        }
        let store = store.unwrap_or_else(|| panic!("operation {number} failed but once"));
        let has_failed = faulty.operations() > number;
        faulty.repair();
        check_imported(&disk, store, 2, &model, 30);
        if !has_failed {
            return;
        }
    }
}

#[test]
fn a_full_disk_stops_the_import_until_there_is_room() {
    let model = model();
    let peer = source(&model, 2).latest();
    let disk = disk();
    let mut importer = import(&disk, 2, peer.root());
    importer
        .add(fetch(&peer, &ChunkPlace::SPACES, 1_000))
        .unwrap();
    importer.sync().unwrap();
    disk.set_capacity(Some(disk.used_bytes()));
    let error = run(&mut importer, &peer, 400).unwrap_err();
    let ImportError::Store(StoreError::Disk(error)) = error else {
        panic!("{error}")
    };
    assert_eq!(error.kind(), ErrorKind::StorageFull);
    assert!(importer.sync().is_err());
    disk.set_capacity(None);
    importer.sync().unwrap();
    run(&mut importer, &peer, 400).unwrap();
    let store = importer.finish().unwrap();
    check_imported(&disk, store, 2, &model, 30);
}

#[test]
fn a_marker_that_rotted_is_found_and_named() {
    let model = model();
    let peer = source(&model, 2).latest();
    let disk = disk();
    drop(import(&disk, 2, peer.root()));
    for offset in [0, 9, 30, 60] {
        disk.flip_bit("db/store/import", offset, 3).unwrap();
        let error = import_on(Arc::new(disk.clone()), 2, peer.root()).unwrap_err();
        assert!(
            error.to_string().starts_with("db/store/import is corrupt"),
            "{error}"
        );
        disk.flip_bit("db/store/import", offset, 3).unwrap();
    }
    drop(import(&disk, 2, peer.root()));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]
    #[test]
    fn in_any_order_from_any_peer_through_any_stops_the_store_is_the_same(
        ops in proptest::collection::vec(op(40), 0..200),
        turns in proptest::collection::vec((any::<u16>(), 0usize..600, any::<u8>()), 1..40),
        version in 0u64..100,
    ) {
        let mut all: Vec<_> = (0..4).map(Op::Create).collect();
        all.extend(ops);
        let model = model_of(&all);
        let sources = [source(&model, 1), source(&model, 7)];
        let peers = sources.map(|source| source.latest());
        prop_assert_eq!(peers[0].root(), peers[1].root());
        let disk = disk();
        let mut importer = import(&disk, version, peers[0].root());
        for (pick, bytes, turn) in turns.into_iter().cycle().take(200) {
            let missing = importer.missing(8);
            if missing.is_empty() {
                break;
            }
            let mut place = missing[usize::from(pick) % missing.len()].clone();
            if turn % 16 == 0 {
                // Not where it was asked for.
                place.range.from = KeyPath([turn; 32]).max(place.range.from).min(place.range.to);
            }
            let chunk = fetch(&peers[usize::from(turn % 2)], &place, bytes);
            importer.add(chunk).unwrap();
            if turn % 5 == 0 {
                importer.sync().unwrap();
            }
            if turn % 7 == 0 {
                drop(importer);
                importer = import(&disk, version, peers[0].root());
            }
            if turn % 5 == 0 && turn % 3 == 0 {
                drop(importer);
                disk.crash(&mut || u64::from(turn) << 20 | u64::from(pick));
                importer = import(&disk, version, peers[0].root());
            }
        }
        run(&mut importer, &peers[1], 500).unwrap();
        let store = importer.finish().unwrap();
        check_imported(&disk, store, version, &model, 40);
    }
}
