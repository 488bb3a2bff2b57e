//! The store against a map of maps: roots, reads, proofs, at every version, whatever happens in between.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod common;

use std::collections::BTreeMap;
use std::sync::Arc;

use common::naive::{self, State};
use common::{Op, append, apply, check, check_changes, disk, name, op, open};
use proptest::prelude::*;
use violeta_proof::tree::{PathRange, Sides};
use violeta_types::Height;
use violeta_vlsm::limits::PAGE_BYTES;
use violeta_vlsm::{Batch, Options, Snapshot, Store, StoreError};

const KEYS: u16 = 24;

fn batches() -> impl Strategy<Value = Vec<Vec<Op>>> {
    proptest::collection::vec(proptest::collection::vec(op(KEYS), 0..25), 1..14)
}

/// What happens between two versions.
#[derive(Clone, Debug)]
enum Event {
    Append(Vec<Op>),
    Sync,
    Maintain,
    Checkpoint,
    Reopen,
    Crash(u64),
    Rollback(u64),
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        8 => proptest::collection::vec(op(KEYS), 0..20).prop_map(Event::Append),
        3 => Just(Event::Sync),
        1 => Just(Event::Maintain),
        1 => Just(Event::Checkpoint),
        1 => Just(Event::Reopen),
        2 => any::<u64>().prop_map(Event::Crash),
        1 => any::<u64>().prop_map(Event::Rollback),
    ]
}

/// splitmix64, for disks that forget.
fn random(mut state: u64) -> impl FnMut() -> u64 {
    move || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = state;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn every_version_is_as_the_model_says(batches in batches()) {
        let disk = disk();
        let store = open(&disk);
        let mut writer = store.writer().unwrap();
        let (mut models, mut model) = (BTreeMap::new(), State::new());
        for (i, ops) in batches.iter().enumerate() {
            let version = 3 * i as u64 + 1;
            model = append(&mut writer, version, &model, ops);
            models.insert(version, model.clone());
        }
        writer.sync().unwrap();
        let mut older: Vec<(Snapshot, &State)> = Vec::new();
        for (version, model) in &models {
            let snapshot = store.snapshot(Height(*version)).unwrap();
            check(&snapshot, model, KEYS);
            for (old, old_model) in &older {
                check_changes((old, *old_model), (&snapshot, model));
            }
            older.push((snapshot, model));
        }
        drop((older, writer, store));
        let store = open(&disk);
        for (version, model) in &models {
            check(&store.snapshot(Height(*version)).unwrap(), model, KEYS);
            // Between two versions a store is as at the lower of them.
            if store.latest().version() > Height(*version) {
                prop_assert_eq!(store.snapshot(Height(version + 2)).unwrap().root(), naive::root(model));
            }
        }
    }

    #[test]
    fn the_root_depends_on_neither_order_nor_history(
        keys in proptest::collection::btree_map(any::<u16>(), any::<u8>(), 1..40),
        passing in proptest::collection::vec(any::<u16>(), 0..40),
        cuts in proptest::collection::vec(0usize..40, 0..4),
    ) {
        let at_once = disk();
        let store = open(&at_once);
        let mut batch = Batch::new();
        batch.create_space(b"s");
        for (key, value) in &keys {
            batch.put(b"s", &key.to_le_bytes(), vec![*value]);
        }
        let expected = store.writer().unwrap().stage(&batch).unwrap().root();

        // The same keys backwards, over several versions, with others that come and go.
        let bit_by_bit = disk();
        let store = open(&bit_by_bit);
        let mut writer = store.writer().unwrap();
        let mut batch = Batch::new();
        batch.create_space(b"s");
        for key in &passing {
            batch.put(b"s", &key.to_le_bytes(), "passing");
        }
        let mut version = 0;
        for (i, (key, value)) in keys.iter().rev().enumerate() {
            batch.put(b"s", &key.to_le_bytes(), vec![*value]);
            if cuts.contains(&i) {
                let staged = writer.stage(&std::mem::take(&mut batch)).unwrap();
                writer.append(Height(version), staged).unwrap();
                version += 1;
            }
        }
        for key in passing.iter().filter(|key| !keys.contains_key(key)) {
            batch.delete(b"s", &key.to_le_bytes());
        }
        prop_assert_eq!(writer.stage(&batch).unwrap().root(), expected);
    }

    #[test]
    fn whatever_happens_acknowledged_versions_are_there(
        events in proptest::collection::vec(event(), 1..40),
    ) {
        let disk = disk();
        let mut store = open(&disk);
        let mut writer = store.writer().unwrap();
        let mut models: BTreeMap<u64, State> = BTreeMap::new();
        let mut durable = 0;
        for event in events {
            let newest = models.last_key_value().map_or(0, |(version, _)| *version);
            match event {
                Event::Append(ops) => {
                    let model = models.get(&newest).cloned().unwrap_or_default();
                    let model = append(&mut writer, newest + 1, &model, &ops);
                    models.insert(newest + 1, model);
                }
                Event::Sync => {
                    prop_assert_eq!(writer.sync().unwrap(), Height(newest));
                    durable = newest;
                }
                Event::Maintain => {
                    writer.maintain().unwrap();
                }
                Event::Checkpoint => {
                    writer.checkpoint().unwrap();
                    durable = newest;
                }
                Event::Reopen => {
                    drop((writer, store));
                    store = open(&disk);
                    writer = store.writer().unwrap();
                    durable = newest;
                }
                Event::Crash(seed) => {
                    disk.crash(&mut random(seed));
                    drop((writer, store));
                    store = open(&disk);
                    writer = store.writer().unwrap();
                    let recovered = store.latest().version().0;
                    prop_assert!(recovered >= durable, "{recovered} after {durable} was acknowledged");
                    models.split_off(&(recovered + 1));
                    durable = recovered;
                }
                Event::Rollback(pick) => {
                    if let Some(version) = models.keys().nth(pick as usize % models.len().max(1)).copied() {
                        writer.rollback(Height(version)).unwrap();
                        models.split_off(&(version + 1));
                        durable = version;
                    }
                }
            }
            // A checkpoint that was due makes durable too.
            durable = durable.max(store.durable_version().0);
            if let Some((version, model)) = models.last_key_value() {
                prop_assert_eq!(store.latest().version(), Height(*version));
                prop_assert_eq!(store.latest().root(), naive::root(model));
            }
        }
        for (version, model) in &models {
            check(&store.snapshot(Height(*version)).unwrap(), model, KEYS);
        }
    }
}

#[test]
fn history_tells_every_change_newest_first() {
    let disk = disk();
    let store = open(&disk);
    let mut writer = store.writer().unwrap();
    let steps: [&[Op]; 7] = [
        &[Op::Create(1)],
        &[Op::Put(1, 5, b"a".to_vec())],
        &[Op::Put(1, 6, b"other".to_vec())],
        &[Op::Put(1, 5, b"b".to_vec())],
        &[Op::Drop(1)],
        &[Op::Create(1), Op::Put(1, 5, b"c".to_vec())],
        &[Op::Delete(1, 5)],
    ];
    let mut model = State::new();
    for (i, ops) in steps.iter().enumerate() {
        model = append(&mut writer, 10 * (i as u64 + 1), &model, ops);
    }
    let (space, key) = (name(1), common::key(5));
    let value = |text: &'static str| Some(text.into());
    let expected = [
        (Height(70), None),
        (Height(60), value("c")),
        (Height(50), None),
        (Height(40), value("b")),
        (Height(20), value("a")),
    ];
    let whole = store.history(&space, &key, None, 100).unwrap();
    assert_eq!(whole.changes, expected);
    assert_eq!(whole.next, None);
    // Piece by piece it is the same.
    for limit in 1..6 {
        let (mut pieces, mut from) = (vec![], None);
        loop {
            let piece = store.history(&space, &key, from, limit).unwrap();
            assert!(piece.changes.len() <= limit);
            pieces.extend(piece.changes);
            from = piece.next;
            if from.is_none() {
                break;
            }
        }
        assert_eq!(pieces, expected, "in pieces of {limit}");
    }
    let old = store.history(&space, &key, Some(Height(45)), 100).unwrap();
    assert_eq!(old.changes, expected[3..]);
    let never = store.history(&space, b"never", None, 100).unwrap();
    assert_eq!((never.changes, never.next), (vec![], None));
}

#[test]
fn versions_rise_and_stages_are_of_the_newest() {
    let disk = disk();
    let store = open(&disk);
    assert!(matches!(
        store.snapshot(Height(1)),
        Err(StoreError::NoSuchVersion { .. })
    ));
    let mut writer = store.writer().unwrap();
    assert!(matches!(store.writer(), Err(StoreError::WriterTaken)));
    let mut batch = Batch::new();
    apply(&Op::Create(1), &mut State::new(), &mut batch);
    let (first, second) = (writer.stage(&batch).unwrap(), writer.stage(&batch).unwrap());
    writer.commit(Height(5), first).unwrap();
    assert!(matches!(
        writer.append(Height(6), second),
        Err(StoreError::Stale)
    ));
    let empty = writer.stage(&Batch::new()).unwrap();
    assert!(matches!(
        writer.append(Height(5), empty),
        Err(StoreError::VersionNotAbove { .. })
    ));
    let error = store.snapshot(Height(4)).unwrap_err().to_string();
    assert_eq!(error, "there is no version 4: the store has 5 to 5");
    assert!(store.snapshot(Height(6)).is_err());
    assert!(matches!(
        writer.rollback(Height(4)),
        Err(StoreError::NoSuchVersion { .. })
    ));
    drop(writer);
    assert!(store.writer().is_ok(), "given back");
}

#[test]
fn a_rollback_to_version_0_keeps_it_if_there_is_one() {
    for first in [0, 1] {
        let disk = disk();
        let store = open(&disk);
        let mut writer = store.writer().unwrap();
        let mut model = State::new();
        let mut models = vec![];
        for version in first..4 {
            let ops = [Op::Create(1), Op::Put(1, version as u16, vec![7])];
            model = append(&mut writer, version, &model, &ops);
            models.push(model.clone());
        }
        writer.rollback(Height(0)).unwrap();
        let (left, count) = match first {
            0 => (models.remove(0), 1),
            _ => (State::new(), 0),
        };
        check(&store.latest(), &left, 4);
        assert_eq!(store.stats().versions, count);
        drop((writer, store));
        let store = open(&disk);
        assert_eq!(store.stats().versions, count);
        check(&store.latest(), &left, 4);
        append(&mut store.writer().unwrap(), 1, &left, &[Op::Create(2)]);
        store.verify().unwrap();
    }
}

#[test]
fn options_out_of_bounds_count_as_the_nearest_within() {
    let least = Options {
        log_segment_bytes: 0,
        checkpoint_bytes: 0,
        cache_bytes: 0,
        resident_bytes: 0,
        tail_bytes: 0,
        page_items: 0,
        record_file_bytes: 0,
    };
    let most = Options {
        page_items: usize::MAX,
        record_file_bytes: u64::MAX,
        ..least.clone()
    };
    for options in [least, most] {
        let disk = disk();
        let open = || Store::open(Arc::new(disk.clone()), "db/store", options.clone()).unwrap();
        let store = open();
        let mut writer = store.writer().unwrap();
        let mut model = State::new();
        for version in 1..=12u16 {
            let mut ops = vec![Op::Create(1)];
            ops.extend((0..40).map(|key| Op::Put(1, 40 * version + key, vec![7; 3])));
            model = append(&mut writer, u64::from(version), &model, &ops);
            let mut steps = 0;
            while writer.maintain().unwrap() {
                steps += 1;
                assert!(steps < 1_000, "it ends");
            }
        }
        check(&store.latest(), &model, 90);
        writer.sync().unwrap();
        drop((writer, store));
        check(&open().latest(), &model, 90);
    }
}

#[test]
fn proofs_of_ranges_and_changes_end_when_a_pages_bytes_were_read_for_them() {
    let store = open(&disk());
    let mut writer = store.writer().unwrap();
    let fill = |byte: u8| {
        let mut batch = Batch::new();
        if byte == 1 {
            batch.create_space(b"s");
        }
        (0..10u8).for_each(|k| batch.put(b"s", &[k], vec![byte; PAGE_BYTES / 4]));
        batch
    };
    let mut snapshots = Vec::new();
    for version in 1..=2 {
        let staged = writer.stage(&fill(version as u8)).unwrap();
        writer.append(Height(version), staged).unwrap();
        snapshots.push(store.latest());
    }
    let [old, new] = &snapshots[..] else {
        unreachable!("two versions");
    };
    let (mut parts, mut rest) = (Vec::new(), Some(PathRange::ALL));
    while let Some(range) = rest {
        let (mut count, proof) = (0, new.prove_range(b"s", &range, usize::MAX).unwrap());
        let proved = proof.read(&new.root(), b"s", &range, |_| count += 1);
        rest = proved.unwrap().rest;
        parts.push(count);
    }
    // To prove that a part begins where the one before ended may take the key before, too.
    assert_eq!((parts[0], parts.iter().sum::<u32>()), (4, 10), "{parts:?}");
    assert!(parts.iter().all(|count| *count <= 4), "{parts:?}");
    let roots = Sides {
        old: old.root(),
        new: new.root(),
    };
    let (mut parts, mut rest) = (Vec::new(), Some(PathRange::ALL));
    while let Some(range) = rest {
        let proof = new.prove_changes(old, b"s", &range, usize::MAX).unwrap();
        let mut count = 0;
        let proved = proof.read(&roots, b"s", &range, |_| count += 1);
        rest = proved.unwrap().rest;
        parts.push(count);
    }
    // Both versions' values are read.
    assert_eq!((parts[0], parts.iter().sum::<u32>()), (2, 10), "{parts:?}");
    assert!(parts.iter().all(|count| *count <= 2), "{parts:?}");
}
