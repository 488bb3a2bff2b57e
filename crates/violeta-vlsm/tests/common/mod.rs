//! What the store's tests share: a disk, a model, and the naive second implementation of the tree.

#![allow(dead_code, reason = "each test that includes this uses a part of it")]

#[path = "../../../violeta-proof/tests/naive/mod.rs"]
pub(crate) mod naive;

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use naive::State;
use proptest::prelude::*;
use violeta_journal::{Disk, MemoryDisk};
use violeta_proof::tree::{
    Chunk, ChunkPlace, KeyPath, PathRange, Sides, VerifiedChunk, value_hash,
};
use violeta_types::{Digest, Height};
use violeta_vlsm::{Batch, Options, Snapshot, Store, StoreError, Writer};

/// Small files and caches, so that little work meets every border.
pub(crate) fn small() -> Options {
    Options {
        log_segment_bytes: 2_000,
        checkpoint_bytes: 4_000,
        cache_bytes: 32 << 10,
        resident_bytes: 64 << 10,
        tail_bytes: 3_000,
        page_items: 4,
        record_file_bytes: 64 << 10,
    }
}

pub(crate) fn open(disk: &MemoryDisk) -> Store {
    open_on(Arc::new(disk.clone())).expect("the store opens")
}

pub(crate) fn open_on(disk: Arc<dyn Disk>) -> Result<Store, StoreError> {
    Store::open(disk, "db/store", small())
}

/// Waits until so many more looks were counted. False if that takes far too long, since those who look have failed.
pub(crate) fn wait_for_more(looks: &AtomicU64, more: u64) -> bool {
    let until = looks.load(Ordering::Relaxed) + more;
    for _ in 0..20_000 {
        if looks.load(Ordering::Relaxed) >= until {
            return true;
        }
        std::thread::park_timeout(Duration::from_micros(50));
    }
    false
}

/// A disk with the directory that the store's own lies in.
pub(crate) fn disk() -> MemoryDisk {
    let disk = MemoryDisk::new();
    disk.create_dir("db").unwrap();
    disk.sync_dir("").unwrap();
    disk
}

/// One operation on one of a few spaces and keys.
#[derive(Clone, Debug)]
pub(crate) enum Op {
    Create(u8),
    Drop(u8),
    Put(u8, u16, Vec<u8>),
    Delete(u8, u16),
}

pub(crate) fn name(space: u8) -> Vec<u8> {
    vec![b's'; usize::from(space)]
}

pub(crate) fn key(key: u16) -> Vec<u8> {
    match key {
        0 => vec![],
        1 => vec![7; 300],
        n => n.to_le_bytes().to_vec(),
    }
}

pub(crate) fn op(keys: u16) -> impl Strategy<Value = Op> {
    let value = proptest::collection::vec(any::<u8>(), 0..60);
    prop_oneof![
        1 => (0u8..4).prop_map(Op::Create),
        1 => (0u8..4).prop_map(Op::Drop),
        20 => (0u8..4, 0..keys, value).prop_map(|(s, k, v)| Op::Put(s, k, v)),
        8 => (0u8..4, 0..keys).prop_map(|(s, k)| Op::Delete(s, k)),
    ]
}

/// Does the operation to the model and adds it to the batch, if the spaces that there are allow it.
pub(crate) fn apply(op: &Op, model: &mut State, batch: &mut Batch) {
    match op {
        Op::Create(s) => {
            if let Entry::Vacant(vacant) = model.entry(name(*s)) {
                vacant.insert(BTreeMap::new());
                batch.create_space(&name(*s));
            }
        }
        Op::Drop(s) => {
            if model.remove(&name(*s)).is_some() {
                batch.drop_space(&name(*s));
            }
        }
        Op::Put(s, k, v) => {
            if let Some(keys) = model.get_mut(&name(*s)) {
                keys.insert(key(*k), v.clone());
                batch.put(&name(*s), &key(*k), v.clone());
            }
        }
        Op::Delete(s, k) => {
            if let Some(keys) = model.get_mut(&name(*s)) {
                keys.remove(&key(*k));
                batch.delete(&name(*s), &key(*k));
            }
        }
    }
}

/// Stages and appends `ops`; returns the model after them.
pub(crate) fn append(writer: &mut Writer, version: u64, model: &State, ops: &[Op]) -> State {
    let (mut model, mut batch) = (model.clone(), Batch::new());
    for op in ops {
        apply(op, &mut model, &mut batch);
    }
    let staged = writer.stage(&batch).expect("the batch stages");
    assert_eq!(staged.root(), naive::root(&model));
    writer.append(Height(version), staged).expect("it appends");
    model
}

/// Everything that the snapshot says is what the model says, and proved.
pub(crate) fn check(snapshot: &Snapshot, model: &State, keys: u16) {
    assert_eq!(snapshot.root(), naive::root(model));
    for s in 0..5 {
        let (space, there) = (name(s), model.get(&name(s)));
        let count = there.map(|keys| keys.len() as u64);
        assert_eq!(snapshot.count(&space).unwrap(), count);
        for k in 0..=keys {
            let value = there.and_then(|keys| keys.get(&key(k)));
            let (found, proof) = snapshot.prove(&space, &key(k)).unwrap();
            assert_eq!(found.as_deref(), value.map(Vec::as_slice));
            let verdict = proof.verify(&snapshot.root(), &space, &key(k), found.as_deref());
            assert_eq!(verdict, Ok(()));
        }
        check_entries(snapshot, &space, there);
        check_many(snapshot, &space, there, keys);
    }
    assert_eq!(handed_over(snapshot, 90), *model);
    let listed = snapshot.spaces(None, 1_000).unwrap();
    let mut names: Vec<_> = listed.items.iter().map(|(name, _)| name.to_vec()).collect();
    names.sort();
    assert_eq!(names, model.keys().cloned().collect::<Vec<_>>());
}

/// Who knows the snapshot's root and gets chunks has this.
fn handed_over(snapshot: &Snapshot, bytes: usize) -> State {
    let (mut state, mut asked) = (State::new(), vec![ChunkPlace::SPACES]);
    while let Some(place) = asked.pop() {
        let encoded = snapshot.chunk(&place, bytes).unwrap().encode();
        let chunk = Chunk::decode(&encoded).unwrap();
        let chunk = chunk.verify(&snapshot.root()).unwrap();
        asked.extend(chunk.rest());
        match chunk {
            VerifiedChunk::Spaces(chunk) => asked.extend(chunk.spaces().iter().map(|space| {
                state.insert(space.name.to_vec(), BTreeMap::new());
                ChunkPlace {
                    space: Some(space.name.clone()),
                    range: PathRange::ALL,
                }
            })),
            VerifiedChunk::Keys(chunk) => {
                let keys = state.get_mut(&chunk.name()[..]).unwrap();
                let entries = chunk.entries().iter();
                keys.extend(entries.map(|(key, value)| (key.to_vec(), value.to_vec())));
            }
        }
    }
    state
}

/// The space, read page by page.
fn check_entries(snapshot: &Snapshot, space: &[u8], keys: Option<&BTreeMap<Vec<u8>, Vec<u8>>>) {
    let (mut listed, mut after) = (BTreeMap::new(), None);
    loop {
        let page = snapshot.entries(space, after, 3).unwrap();
        assert!(page.items.len() <= 3);
        for (key, value) in page.items {
            assert!(listed.insert(key.to_vec(), value.to_vec()).is_none());
        }
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(listed, keys.cloned().unwrap_or_default());
}

/// Keys with what was said of them, in the order of their paths.
fn by_path<T>(mut keys: Vec<(Vec<u8>, T)>) -> Vec<(Vec<u8>, T)> {
    keys.sort_by_key(|(key, _)| KeyPath::of(key));
    keys
}

/// One proof of all keys, there or not; and one of all that is there, part by part.
fn check_many(
    snapshot: &Snapshot,
    space: &[u8],
    there: Option<&BTreeMap<Vec<u8>, Vec<u8>>>,
    keys: u16,
) {
    let there = there.cloned().unwrap_or_default();
    let keys: Vec<_> = (0..=keys).map(key).collect();
    let proof = snapshot.prove_many(space, &keys).unwrap();
    let claims: Vec<_> = (keys.iter())
        .map(|key| (&key[..], there.get(key).map(Vec::as_slice)))
        .collect();
    assert_eq!(proof.verify(&snapshot.root(), space, &claims), Ok(()));

    let (mut rest, mut shown) = (Some(PathRange::ALL), Vec::new());
    while let Some(range) = rest {
        let proof = snapshot.prove_range(space, &range, 5).unwrap();
        let before = shown.len();
        let proved = proof.read(&snapshot.root(), space, &range, |leaf| {
            shown.push((leaf.key.to_vec(), leaf.value_hash));
        });
        rest = proved.unwrap().rest;
        assert!(shown.len() - before <= 5);
    }
    let expected = there.into_iter().map(|(k, v)| (k, value_hash(&v)));
    assert_eq!(shown, by_path(expected.collect()));
}

/// What differs between two versions, part by part, is what differs between the models.
pub(crate) fn check_changes(old: (&Snapshot, &State), new: (&Snapshot, &State)) {
    let roots = Sides {
        old: old.0.root(),
        new: new.0.root(),
    };
    for s in 0..5 {
        let space = name(s);
        let (mut rest, mut shown) = (Some(PathRange::ALL), Vec::new());
        while let Some(range) = rest {
            let proof = new.0.prove_changes(old.0, &space, &range, 4).unwrap();
            let before = shown.len();
            let proved = proof.read(&roots, &space, &range, |change| {
                shown.push((change.key.to_vec(), (change.old, change.new)));
            });
            rest = proved.unwrap().rest;
            assert!(shown.len() - before <= 4);
        }
        let none = BTreeMap::new();
        let (old, new) = (old.1.get(&space), new.1.get(&space));
        let (old, new) = (old.unwrap_or(&none), new.unwrap_or(&none));
        let keys = old.keys().chain(new.keys());
        let hash = |value: &Vec<u8>| -> Digest { value_hash(value) };
        let mut differ: BTreeMap<_, _> = keys
            .map(|key| {
                (
                    key.clone(),
                    (old.get(key).map(hash), new.get(key).map(hash)),
                )
            })
            .collect();
        differ.retain(|_, (old, new)| old != new);
        assert_eq!(shown, by_path(differ.into_iter().collect()));
    }
    check_unproved_changes(old, new);
}

/// The same, spaces and values, as whoever trusts the store is told it.
fn check_unproved_changes(old: (&Snapshot, &State), new: (&Snapshot, &State)) {
    let (mut after, mut changed) = (None, Vec::new());
    loop {
        let page = new.0.changed_spaces(old.0, after, 2).unwrap();
        assert!(page.items.len() <= 2);
        changed.extend(page.items.into_iter().map(|space| {
            let counts = [space.old, space.new].map(|record| record.map(|r| r.count as usize));
            (space.name.to_vec(), counts)
        }));
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    let names: BTreeSet<_> = old.1.keys().chain(new.1.keys()).collect();
    let expected = names.into_iter().filter_map(|name| {
        let spaces = [old.1.get(name), new.1.get(name)];
        let counts = spaces.map(|space| space.map(BTreeMap::len));
        (spaces[0] != spaces[1]).then(|| (name.clone(), counts))
    });
    assert_eq!(changed, by_path(expected.collect()));
    for s in 0..5 {
        let (mut after, mut shown) = (None, Vec::new());
        loop {
            let page = new.0.changes(old.0, &name(s), after, 3).unwrap();
            assert!(page.items.len() <= 3);
            shown.extend(page.items.into_iter().map(|change| {
                let values = [change.old, change.new].map(|value| value.map(|v| v.to_vec()));
                (change.key.to_vec(), values)
            }));
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        let values = |model: &State| model.get(&name(s)).cloned().unwrap_or_default();
        let [old, new] = [values(old.1), values(new.1)];
        let keys: BTreeSet<_> = old.keys().chain(new.keys()).collect();
        let both = (keys.into_iter()).map(|key| (key, [old.get(key), new.get(key)]));
        let differ = both.filter(|(_, [old, new])| old != new);
        let expected = differ.map(|(key, values)| (key.clone(), values.map(Option::<&_>::cloned)));
        assert_eq!(shown, by_path(expected.collect()));
    }
}
