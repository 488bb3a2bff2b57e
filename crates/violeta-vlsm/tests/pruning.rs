//! Pruning and compaction: what is kept is all there, what isn't is refused, and the room comes back.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::disallowed_methods,
    clippy::panic,
    reason = "tests"
)]

mod common;

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use common::naive::{self, State};
use common::{Op, append, disk, key, name, open, open_on};
use proptest::prelude::*;
use violeta_journal::{Disk, FaultyDisk, MemoryDisk, OpenMode};
use violeta_types::Height;
use violeta_vlsm::{Retention, Snapshot, Store, StoreError, Writer};

/// splitmix64.
fn random(mut state: u64) -> impl FnMut() -> u64 {
    move || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = state;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }
}

/// Another disk with the same store, all of it durable.
fn copy(from: &MemoryDisk) -> MemoryDisk {
    let to = disk();
    to.create_dir("db/store").unwrap();
    for name in from.list("db/store").unwrap() {
        let path = format!("db/store/{name}");
        let file = from.open(&path, OpenMode::Existing).unwrap();
        let mut bytes = vec![0; file.len().unwrap() as usize];
        file.read_at(0, &mut bytes).unwrap();
        let file = to.open(&path, OpenMode::New).unwrap();
        file.write_at(0, &bytes).unwrap();
        file.sync_data().unwrap();
    }
    to.sync_dir("db/store").unwrap();
    to.sync_dir("db").unwrap();
    to
}

/// A version's changes: puts and deletes of some of so many keys of two spaces.
fn ops(random: &mut impl FnMut() -> u64, keys: u64, count: u64) -> Vec<Op> {
    let mut ops = vec![Op::Create(1), Op::Create(2)];
    for _ in 0..count {
        let (space, key) = (1 + (random() % 2) as u8, (random() % keys) as u16);
        ops.push(match random() % 8 {
            0 => Op::Delete(space, key),
            _ => Op::Put(
                space,
                key,
                vec![random() as u8; 20 + (random() % 60) as usize],
            ),
        });
    }
    if random().is_multiple_of(40) {
        ops.insert(2, Op::Drop(2));
        ops.insert(3, Op::Create(2));
    }
    ops
}

/// A store with versions, and the models of those that are kept.
struct World {
    disk: MemoryDisk,
    store: Store,
    writer: Writer,
    models: BTreeMap<u64, State>,
    random: Box<dyn FnMut() -> u64>,
    keys: u64,
}

impl World {
    fn new(seed: u64, keys: u64) -> Self {
        let disk = disk();
        let store = open(&disk);
        World {
            disk,
            writer: store.writer().unwrap(),
            store,
            models: BTreeMap::new(),
            random: Box::new(random(seed)),
            keys,
        }
    }

    fn newest(&self) -> u64 {
        self.models.last_key_value().map_or(0, |(v, _)| *v)
    }

    fn append(&mut self, versions: u64, count: u64) {
        for _ in 0..versions {
            let newest = self.newest();
            let model = self.models.get(&newest).cloned().unwrap_or_default();
            let ops = ops(&mut self.random, self.keys, count);
            let model = append(&mut self.writer, newest + 2, &model, &ops);
            self.models.insert(newest + 2, model);
        }
    }

    /// Keeps these versions only.
    fn prune(&mut self, oldest: u64, pinned: &[u64]) {
        let retention = Retention {
            oldest: Height(oldest),
            pinned: pinned.iter().copied().map(Height).collect(),
        };
        self.writer.prune(&retention).unwrap();
        self.models
            .retain(|v, _| *v >= oldest || pinned.contains(v));
    }

    /// A checkpoint, and all the room that there is to take back.
    fn compact(&mut self) -> u64 {
        self.writer.checkpoint().unwrap();
        self.take_room().unwrap()
    }

    fn take_room(&self) -> Result<u64, StoreError> {
        let Some(mut compaction) = self.store.compaction()? else {
            return Ok(0);
        };
        while compaction.step()? {}
        Ok(compaction.freed_bytes())
    }

    fn reopen(self) -> Self {
        drop((self.writer, self.store));
        let store = open(&self.disk);
        World {
            writer: store.writer().unwrap(),
            store,
            ..self
        }
    }

    /// All that is kept is there, proved; what isn't is refused.
    fn check(&mut self) {
        let (oldest, newest) = (self.store_oldest(), self.newest());
        for version in 1..=newest + 1 {
            let snapshot = self.store.snapshot(Height(version));
            let kept = self.models.range(..=version).next_back();
            match kept.filter(|(v, _)| **v + 1 >= version && version <= newest) {
                Some((_, model)) => check(&snapshot.unwrap(), model, &mut self.random, self.keys),
                None => match snapshot {
                    Err(StoreError::NoSuchVersion { asked, .. }) => {
                        assert_eq!(asked, Height(version));
                    }
                    Err(error) => panic!("version {version}: {error}"),
                    Ok(_) => panic!("version {version} of {oldest} to {newest} is there"),
                },
            }
        }
    }

    /// What was pruned, and isn't durably: it is there again, and what it was.
    fn come_back(&mut self, gone: &BTreeMap<u64, State>) {
        for (version, model) in gone {
            if let Ok(snapshot) = self.store.snapshot(Height(*version))
                && snapshot.version() == Height(*version)
            {
                self.models.insert(*version, model.clone());
            }
        }
    }

    fn store_oldest(&self) -> u64 {
        match self.store.snapshot(Height(0)) {
            Err(StoreError::NoSuchVersion { oldest, .. }) => oldest.0,
            Err(error) => panic!("{error}"),
            Ok(_) => panic!("a version 0"),
        }
    }

    /// Bytes of files that take room, by what their names begin with.
    fn bytes(&self, kind: &str) -> u64 {
        let names = self.disk.list("db/store").unwrap();
        let names = names.iter().filter(|name| name.starts_with(kind));
        let bytes = names.map(|name| {
            let path = format!("db/store/{name}");
            let file = self.disk.open(&path, OpenMode::Existing).unwrap();
            file.len().unwrap()
        });
        bytes.sum()
    }
}

/// The snapshot is as the model says: its root, all entries, proofs and histories of some keys.
fn check(snapshot: &Snapshot, model: &State, random: &mut impl FnMut() -> u64, keys: u64) {
    let root = naive::root(model);
    assert_eq!(snapshot.root(), root);
    for space in [1, 2] {
        let space = name(space);
        let there = model.get(&space);
        for _ in 0..3 {
            let key = key((random() % keys) as u16);
            let value = there.and_then(|keys| keys.get(&key)).map(Vec::as_slice);
            let (found, proof) = snapshot.prove(&space, &key).unwrap();
            assert_eq!(found.as_deref(), value);
            assert_eq!(proof.verify(&root, &space, &key, value), Ok(()));
            assert_eq!(snapshot.get(&space, &key).unwrap().as_deref(), value);
        }
        let page = snapshot.entries(&space, None, 10_000).unwrap();
        let listed = page
            .items
            .into_iter()
            .map(|(k, v)| (k.to_vec(), v.to_vec()));
        let listed: BTreeMap<_, _> = listed.collect();
        assert_eq!(listed, there.cloned().unwrap_or_default());
    }
}

#[test]
fn a_window_is_kept_and_the_room_of_what_was_before_comes_back() {
    let mut world = World::new(1, 300);
    world.append(150, 60);
    let before = [world.bytes("log"), world.bytes("pages")];
    let oldest = world.newest() - 40;
    world.prune(oldest, &[]);
    world.check();
    let freed = world.compact();
    world.check();
    let after = [world.bytes("log"), world.bytes("pages")];
    // 20 of 150 versions are left.
    assert!(after[0] < before[0] / 3, "log: {before:?} to {after:?}");
    assert!(after[1] < before[1] / 2, "pages: {before:?} to {after:?}");
    let less = before.iter().sum::<u64>() - after.iter().sum::<u64>();
    assert!(freed > less / 2, "{freed} of {less}");
    assert_eq!(world.take_room().unwrap(), 0, "there is no more");
    let verified = world.store.verify().unwrap();
    assert_eq!(verified.versions, 21);
    let mut world = world.reopen();
    world.check();
    assert_eq!(world.store.verify().unwrap(), verified);
    world.append(30, 60);
    world.check();
    world.store.verify().unwrap();
}

#[test]
fn versions_that_are_pinned_stay_and_go_when_they_are_not_any_more() {
    let mut world = World::new(2, 300);
    world.append(120, 60);
    let newest = world.newest();
    world.prune(newest - 20, &[40, 42, 100]);
    world.check();
    world.compact();
    world.check();
    let mut world = world.reopen();
    world.check();
    let error = world.writer.rollback(Height(100)).unwrap_err();
    assert!(matches!(error, StoreError::NoSuchVersion { .. }), "{error}");
    // What isn't there any more can't be pinned.
    let retention = Retention {
        oldest: Height(newest),
        pinned: vec![Height(44)],
    };
    let error = world.writer.prune(&retention).unwrap_err().to_string();
    let oldest = newest - 20;
    assert_eq!(
        error,
        format!("there is no version 44: the store has {oldest} to {newest}")
    );
    world.append(40, 60);
    let pinned = world.bytes("pages");
    world.prune(newest + 30, &[100]);
    world.compact();
    world.check();
    world.prune(newest + 30, &[]);
    world.compact();
    world.check();
    assert!(world.bytes("pages") < pinned, "of {pinned}");
    world.store.verify().unwrap();
}

#[test]
fn a_window_that_moves_on_stays_of_one_size() {
    let mut world = World::new(3, 200);
    world.append(60, 60);
    let mut sizes = Vec::new();
    for _ in 0..12 {
        world.append(30, 60);
        world.prune(world.newest() - 60, &[]);
        world.compact();
        sizes.push(world.bytes(""));
    }
    world.check();
    let (early, late) = (sizes[3], sizes[11]);
    assert!(late < early + early / 5, "{sizes:?}");
    let files = world.disk.list("db/store").unwrap().len();
    assert!(files < 90, "{files} files");
}

#[test]
fn history_ends_with_what_the_oldest_version_had() {
    let mut world = World::new(4, 4);
    for version in 1..=9u8 {
        let model = world
            .models
            .get(&world.newest())
            .cloned()
            .unwrap_or_default();
        let ops = match version {
            1 => vec![Op::Create(1), Op::Put(1, 3, vec![1])],
            4 | 8 => vec![Op::Put(1, 3, vec![version])],
            _ => vec![Op::Put(1, 2, vec![version; 400])],
        };
        let model = append(&mut world.writer, version.into(), &model, &ops);
        world.models.insert(version.into(), model);
    }
    let changes = |world: &World| {
        let history = world.store.history(&name(1), &key(3), None, 100).unwrap();
        assert_eq!(history.next, None);
        let changes = history.changes.into_iter();
        changes
            .map(|(v, value)| (v.0, value.unwrap()[0]))
            .collect::<Vec<_>>()
    };
    assert_eq!(changes(&world), [(8, 8), (4, 4), (1, 1)]);
    world.prune(6, &[]);
    assert_eq!(changes(&world), [(8, 8), (4, 4)]);
    world.compact();
    assert!(world.bytes("log-sparse") > 0);
    assert_eq!(changes(&world), [(8, 8), (4, 4)]);
}

#[test]
fn a_snapshot_of_a_version_that_is_pruned_is_right_or_says_so() {
    let mut world = World::new(5, 300);
    world.append(80, 60);
    let version = world.newest() - 12;
    let old = world.store.snapshot(Height(version)).unwrap();
    let model = world.models[&version].clone();
    world.prune(world.newest() - 2, &[]);
    world.compact();
    let (mut right, mut pruned) = (0, 0);
    for (key, value) in &model[&name(1)] {
        match old.get(&name(1), key) {
            Ok(found) => {
                assert_eq!(found.as_ref(), Some(&value.clone().into()));
                right += 1;
            }
            Err(StoreError::Pruned { .. }) => pruned += 1,
            Err(error) => panic!("{error}"),
        }
    }
    assert!(right > 0 && pruned > 0, "{right} and {pruned}");
}

/// A store whose disk fails from the given operation on, or not at all, while it is pruned and compacted twice. Gives the
/// oldest and the newest version that it had at the end.
fn prune_on(faulty: &FaultyDisk, models: &[State]) -> Result<(), StoreError> {
    let store = open_on(Arc::new(faulty.clone()))?;
    let mut writer = store.writer()?;
    for round in 1..=2u64 {
        writer.prune(&Retention {
            oldest: Height(10 * round + 5),
            pinned: vec![Height(3)],
        })?;
        writer.checkpoint()?;
        if let Some(mut compaction) = store.compaction()? {
            while compaction.step()? {}
        }
        let snapshot = store.latest();
        assert_eq!(snapshot.root(), naive::root(&models[models.len() - 1]));
    }
    Ok(())
}

#[test]
fn a_crash_at_any_operation_of_the_disk_while_pruning_loses_nothing_that_is_kept() {
    // A disk with versions 1 to 40.
    let written = disk();
    let (mut models, mut random_number) = (vec![State::new()], random(7));
    {
        let store = open(&written);
        let mut writer = store.writer().unwrap();
        for version in 1..=40 {
            let ops = ops(&mut random_number, 40, 25);
            let model = append(&mut writer, version, &models[version as usize - 1], &ops);
            models.push(model);
        }
        writer.checkpoint().unwrap();
    }
    let operations = {
        let faulty = FaultyDisk::new(Arc::new(copy(&written)));
        prune_on(&faulty, &models).unwrap();
        faulty.operations()
    };
    assert!(operations > 100, "a workload of {operations}");
    for number in 0..operations {
        for kind in 0..2u64 {
            let disk = copy(&written);
            let faulty = FaultyDisk::new(Arc::new(disk.clone()));
            faulty.fail_from(number, ErrorKind::Other);
            assert!(prune_on(&faulty, &models).is_err(), "operation {number}");
            let mut some = random(number);
            disk.crash(&mut || if kind == 0 { 0 } else { some() });
            let store = open(&disk);
            let oldest = match store.snapshot(Height(0)) {
                Err(StoreError::NoSuchVersion { oldest, .. }) => oldest.0,
                _ => panic!("there is no version 0"),
            };
            assert!([1, 15, 25].contains(&oldest), "{oldest}");
            let pins: &[u64] = match oldest {
                1 => &[],
                _ => &[3],
            };
            for version in (pins.iter().copied()).chain([oldest, oldest + 7, 40]) {
                let snapshot = store.snapshot(Height(version)).unwrap();
                check(&snapshot, &models[version as usize], &mut some, 40);
            }
            store.verify().unwrap();
            // It goes on, and nothing is left behind.
            let mut writer = store.writer().unwrap();
            writer.prune(&Retention::from(Height(30))).unwrap();
            writer.checkpoint().unwrap();
            let mut compaction = store.compaction().unwrap().unwrap();
            while compaction.step().unwrap() {}
            check(&store.latest(), &models[40], &mut some, 40);
            store.verify().unwrap();
            let names = disk.list("db/store").unwrap();
            assert!(
                !names.iter().any(|name| name.ends_with(".part")),
                "{names:?}"
            );
        }
    }
}

#[test]
fn a_full_disk_ends_a_compaction_and_loses_nothing() {
    let mut world = World::new(8, 300);
    world.append(120, 60);
    world.prune(world.newest() - 20, &[]);
    world.writer.checkpoint().unwrap();
    let used = world.disk.used_bytes();
    world.disk.set_capacity(Some(used + 3_000));
    let mut compaction = world.store.compaction().unwrap().unwrap();
    let error = loop {
        match compaction.step() {
            Ok(true) => {}
            Ok(false) => panic!("there was room"),
            Err(error) => break error,
        }
    };
    assert!(matches!(error, StoreError::Disk(_)), "{error}");
    assert!(world.disk.used_bytes() <= used, "what was begun is gone");
    world.check();
    world.disk.set_capacity(None);
    while compaction.step().unwrap() {}
    drop(compaction);
    // The rest, with what could not be done then.
    world.take_room().unwrap();
    assert!(world.disk.used_bytes() < used / 2);
    world.check();
}

#[test]
fn a_sparse_file_that_rotted_is_named_and_what_it_held_never_served() {
    let mut world = World::new(9, 300);
    world.append(120, 60);
    let oldest = world.newest() - 20;
    world.prune(oldest, &[]);
    world.compact();
    let names = world.disk.list("db/store").unwrap();
    let sparse: Vec<_> = names.iter().filter(|n| n.contains("-sparse-")).collect();
    assert!(sparse.len() >= 2, "{names:?}");
    let model = world.models[&oldest].clone();
    for name in sparse {
        let path = format!("db/store/{name}");
        let file = world.disk.open(&path, OpenMode::Existing).unwrap();
        let len = file.len().unwrap();
        // Of what was kept, of its index, of the directory; and all of it behind a cut.
        for offset in [10, len / 2, len - 300, len - 60, len - 2] {
            world.disk.flip_bit(&path, offset, 3).unwrap();
            let named = |error: &StoreError| match error {
                StoreError::Corrupt { file, .. } => *file == path || file == "the tree",
                _ => false,
            };
            match Store::open(Arc::new(copy(&world.disk)), "db/store", common::small()) {
                Err(error) => assert!(named(&error), "{error}"),
                Ok(store) => {
                    let snapshot = store.snapshot(Height(oldest)).unwrap();
                    for space in [1, 2] {
                        for (key, value) in
                            model.get(&common::name(space)).unwrap_or(&BTreeMap::new())
                        {
                            match snapshot.get(&common::name(space), key) {
                                Ok(found) => assert_eq!(found.as_deref(), Some(&value[..])),
                                Err(StoreError::Corrupt { .. }) => {}
                                Err(error) => panic!("{error}"),
                            }
                        }
                    }
                }
            }
            world.disk.flip_bit(&path, offset, 3).unwrap();
        }
    }
    world.check();
}

#[test]
fn writer_and_readers_go_on_beside_a_compaction() {
    let mut world = World::new(10, 300);
    world.append(120, 60);
    world.prune(world.newest() - 20, &[]);
    world.writer.checkpoint().unwrap();
    let (oldest, newest) = (world.newest() - 20, world.newest());
    let (stop, store) = (Arc::new(AtomicBool::new(false)), world.store.clone());
    let models: Vec<_> = (world.models.clone().into_iter())
        .filter(|(v, _)| *v >= oldest)
        .collect();
    let readers: Vec<_> = (0..2u64)
        .map(|seed| {
            let (stop, store, models) = (Arc::clone(&stop), store.clone(), models.clone());
            std::thread::spawn(move || {
                let (mut random, mut looks) = (random(seed), 0);
                while !stop.load(Ordering::Relaxed) || looks < 20 {
                    let (version, model) = &models[random() as usize % models.len()];
                    let snapshot = store.snapshot(Height(*version)).unwrap();
                    check(&snapshot, model, &mut random, 300);
                    looks += 1;
                }
            })
        })
        .collect();
    let checker = {
        let (stop, store) = (Arc::clone(&stop), store.clone());
        std::thread::spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                store.verify().unwrap();
                std::thread::park_timeout(std::time::Duration::from_millis(20));
            }
        })
    };
    let compactor = std::thread::spawn(move || {
        let (mut freed, mut times) = (0, 0);
        while times < 4 {
            if let Some(mut compaction) = store.compaction().unwrap() {
                assert!(store.compaction().unwrap().is_none(), "one at a time");
                while compaction.step().unwrap() {}
                freed += compaction.freed_bytes();
                times += 1;
            }
        }
        freed
    });
    // What readers look at stays, pinned or not; so sparse files are made of sparse files beside them.
    let pins: Vec<_> = models.iter().map(|(version, _)| *version).collect();
    while !compactor.is_finished() {
        world.append(1, 60);
        world.writer.maintain().unwrap();
        if world.newest().is_multiple_of(20) {
            let oldest = world.newest() - 10;
            world.prune(oldest.max(newest), &pins);
            world.writer.checkpoint().unwrap();
        }
    }
    assert!(compactor.join().unwrap() > 0);
    stop.store(true, Ordering::Relaxed);
    for reader in readers {
        reader.join().unwrap();
    }
    checker.join().unwrap();
    assert!(world.newest() >= newest);
    world.check();
    world.store.verify().unwrap();
}

#[test]
fn an_operation_that_fails_once_leaves_a_store_that_goes_on_and_opens() {
    let written = disk();
    let (mut models, mut random_number) = (vec![State::new()], random(17));
    {
        let store = open(&written);
        let mut writer = store.writer().unwrap();
        for version in 1..=60 {
            let ops = ops(&mut random_number, 60, 40);
            let model = append(&mut writer, version, &models[version as usize - 1], &ops);
            models.push(model);
        }
        writer.checkpoint().unwrap();
    }
    // Prunes and compacts again and again, whatever fails, unless the writer does nothing more.
    let go_on = |faulty: &FaultyDisk| -> Result<(), StoreError> {
        let store = open_on(Arc::new(faulty.clone()))?;
        let mut writer = store.writer()?;
        for oldest in [20, 30, 45, 55] {
            writer.prune(&Retention::from(Height(oldest)))?;
            if let Err(error) = writer.checkpoint() {
                assert!(matches!(error, StoreError::Disk(_)), "{error}");
                writer.checkpoint()?;
            }
            match store.compaction() {
                Ok(None) => {}
                // The file of a step that failed is only found by another opening.
                Err(StoreError::Broken | StoreError::Disk(_)) => {}
                Err(error) => panic!("{error}"),
                Ok(Some(mut compaction)) => loop {
                    match compaction.step() {
                        Ok(true) | Err(StoreError::Disk(_)) => {}
                        Ok(false) => break,
                        Err(error) => panic!("{error}"),
                    }
                },
            }
        }
        Ok(())
    };
    let operations = {
        let faulty = FaultyDisk::new(Arc::new(copy(&written)));
        go_on(&faulty).unwrap();
        faulty.operations()
    };
    for number in 0..operations {
        let disk = copy(&written);
        let faulty = FaultyDisk::new(Arc::new(disk.clone()));
        faulty.fail_at(number, ErrorKind::Other);
        // If the writer does nothing more, that's the end of it.
        let _ = go_on(&faulty);
        // The process ends; and the power goes while the next one is opening the store.
        let faulty = FaultyDisk::new(Arc::new(disk.clone()));
        faulty.fail_from(8 + number % 12, ErrorKind::Other);
        drop(open_on(Arc::new(faulty)));
        disk.crash(&mut random(number));
        let store = open(&disk);
        let oldest = store.retention().unwrap().unwrap().oldest.0;
        assert!([1, 20, 30, 45, 55].contains(&oldest), "{oldest}");
        for version in [oldest, 58, 60] {
            let snapshot = store.snapshot(Height(version)).unwrap();
            check(&snapshot, &models[version as usize], &mut random_number, 60);
        }
        store.verify().unwrap();
    }
}

#[test]
fn versions_that_were_rolled_back_are_in_nobodys_way() {
    let mut world = World::new(12, 300);
    world.append(60, 60);
    let target = world.newest() - 40;
    let back = |world: &mut World, target: u64| {
        world.writer.rollback(Height(target)).unwrap();
        world.models.split_off(&(target + 1));
    };
    back(&mut world, target);
    world.prune(target - 40, &[]);
    world.compact();
    world.check();
    // Pages of what was rolled back aren't met any more, and their numbers are below those of pages to come.
    world.append(40, 60);
    world.prune(target - 20, &[]);
    world.compact();
    world.check();
    world.prune(target, &[]);
    assert!(world.compact() > 0);
    world.check();
    // A rollback while one compacts.
    world.append(40, 60);
    world.prune(target + 20, &[]);
    world.writer.checkpoint().unwrap();
    let mut compaction = world.store.compaction().unwrap().unwrap();
    (0..3).for_each(|_| assert!(compaction.step().unwrap()));
    back(&mut world, target + 40);
    assert!(!compaction.step().unwrap(), "another one begins anew");
    drop(compaction);
    world.check();
    world.append(10, 60);
    world.take_room().unwrap();
    world.check();
    world.store.verify().unwrap();
}

#[test]
fn a_store_that_goes_back_to_nothing_has_no_room_to_take_back() {
    let mut world = World::new(13, 60);
    world.append(20, 40);
    world.prune(2, &[]);
    world.writer.checkpoint().unwrap();
    let mut compaction = world.store.compaction().unwrap().unwrap();
    world.writer.rollback(Height(0)).unwrap();
    world.models.clear();
    assert!(!compaction.step().unwrap());
    drop(compaction);
    assert!(world.store.compaction().unwrap().is_none());
    world.append(5, 40);
    assert!(world.store.compaction().unwrap().is_none());
    world.check();
    world.store.verify().unwrap();
}

#[test]
fn a_pinned_version_that_is_named_as_the_oldest_stays() {
    let mut world = World::new(14, 60);
    world.append(40, 40);
    world.prune(40, &[10, 20]);
    // The window doesn't go back.
    world.writer.prune(&Retention::from(Height(20))).unwrap();
    world
        .models
        .retain(|version, _| *version >= 40 || *version == 20);
    world.check();
    world.compact();
    world.check();
    let pinned = world.store.retention().unwrap().unwrap();
    let expected = Retention {
        oldest: Height(40),
        pinned: vec![Height(20)],
    };
    assert_eq!(pinned, expected);
}

/// What happens to the world.
#[derive(Clone, Debug)]
enum Event {
    Append(u64),
    Sync,
    Maintain(u8),
    Checkpoint,
    Reopen,
    Crash(u64),
    Rollback(u64),
    Prune(u64, Vec<u64>),
    /// So many steps.
    Compact(u16),
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        6 => (1u64..12).prop_map(Event::Append),
        1 => Just(Event::Sync),
        2 => (1u8..20).prop_map(Event::Maintain),
        2 => Just(Event::Checkpoint),
        1 => Just(Event::Reopen),
        2 => any::<u64>().prop_map(Event::Crash),
        1 => any::<u64>().prop_map(Event::Rollback),
        3 => (any::<u64>(), proptest::collection::vec(any::<u64>(), 0..3))
            .prop_map(|(oldest, pins)| Event::Prune(oldest, pins)),
        4 => prop_oneof![1 => 1u16..30, 3 => Just(u16::MAX)].prop_map(Event::Compact),
    ]
}

/// One of the keys of a map.
fn pick<T>(map: &BTreeMap<u64, T>, number: u64) -> Option<u64> {
    map.keys().nth(number as usize % map.len().max(1)).copied()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn whatever_happens_what_is_kept_is_there(
        seed: u64, events in proptest::collection::vec(event(), 1..40),
    ) {
        let mut world = World::new(seed, 60);
        // What was pruned, and may come back by a crash.
        let mut gone: BTreeMap<u64, State> = BTreeMap::new();
        for event in events {
            match event {
                Event::Append(versions) => world.append(versions, 40),
                Event::Sync => {
                    world.writer.sync().unwrap();
                }
                Event::Maintain(steps) => {
                    for _ in 0..steps {
                        world.writer.maintain().unwrap();
                    }
                }
                Event::Checkpoint => world.writer.checkpoint().unwrap(),
                Event::Reopen => {
                    world = world.reopen();
                    world.come_back(&gone);
                }
                Event::Crash(seed) => {
                    let durable = world.store.durable_version().0;
                    world.disk.crash(&mut random(seed));
                    world = world.reopen();
                    let recovered = world.store.latest().version().0;
                    prop_assert!(recovered >= durable);
                    world.models.split_off(&(recovered + 1));
                    gone.split_off(&(recovered + 1));
                    world.come_back(&gone);
                }
                Event::Rollback(number) => {
                    if let Some(version) = pick(&world.models, number) {
                        match world.writer.rollback(Height(version)) {
                            Ok(()) => {
                                world.models.split_off(&(version + 1));
                                gone.split_off(&(version + 1));
                            }
                            // A version that is pinned, below the window.
                            Err(StoreError::NoSuchVersion { oldest, .. }) => {
                                prop_assert!(version < oldest.0);
                            }
                            Err(error) => panic!("{error}"),
                        }
                    }
                }
                Event::Prune(oldest, pins) => {
                    let pins: Vec<_> = (pins.iter())
                        .filter_map(|pin| pick(&world.models, *pin))
                        .collect();
                    let window = match world.store.snapshot(Height(0)) {
                        Err(StoreError::NoSuchVersion { oldest, .. }) => oldest.0,
                        _ => 0,
                    };
                    let there = world.models.split_off(&window);
                    if let Some(oldest) = pick(&there, oldest) {
                        world.models.extend(there);
                        gone.extend(world.models.clone());
                        world.prune(oldest, &pins);
                    }
                }
                Event::Compact(u16::MAX) => {
                    world.take_room().unwrap();
                }
                Event::Compact(steps) => {
                    if let Some(mut compaction) = world.store.compaction().unwrap() {
                        for _ in 0..steps {
                            compaction.step().unwrap();
                        }
                    }
                }
            }
        }
        world.check();
        world.store.verify().unwrap();
        let mut world = world.reopen();
        world.come_back(&gone);
        world.check();
        world.compact();
        world.check();
        world.store.verify().unwrap();
    }
}
