//! Overlays against a stack of maps: whatever is done, taken back and forked, one reads and stages what the maps say.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod common;

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use common::{Op, append, disk, key, naive, name, op, open};
use naive::State;
use proptest::prelude::*;
use violeta_types::Height;
use violeta_vlsm::limits::STORE_VALUE_BYTES_MAX;
use violeta_vlsm::{Batch, Overlay, Savepoint, Store, StoreError};

const KEYS: u16 = 12;

#[derive(Clone, Debug)]
enum Step {
    Do(Op),
    Save,
    /// To one of the savepoints; those made after it are kept, and may be gone to later.
    RollBack(usize),
    Fork,
    /// To one of the forks.
    Switch(usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        20 => op(KEYS).prop_map(Step::Do),
        3 => Just(Step::Save),
        3 => any::<usize>().prop_map(Step::RollBack),
        1 => Just(Step::Fork),
        1 => any::<usize>().prop_map(Step::Switch),
    ]
}

/// What an overlay should be: the state, and the operations that led there.
#[derive(Clone)]
struct Model {
    state: State,
    ops: Vec<Op>,
}

/// Does the operation to both; both refuse it or neither.
fn perform(op: &Op, overlay: &mut Overlay, model: &mut Model) {
    let state = &mut model.state;
    let (Op::Create(s) | Op::Drop(s) | Op::Put(s, ..) | Op::Delete(s, _)) = op;
    let space = name(*s);
    let fits = state.contains_key(&space) != matches!(op, Op::Create(_));
    let before = overlay.len();
    let done = match op {
        Op::Create(_) => overlay.create_space(&space),
        Op::Drop(_) => overlay.drop_space(&space),
        Op::Put(_, k, v) => overlay.put(&space, &key(*k), v.clone()),
        Op::Delete(_, k) => overlay.delete(&space, &key(*k)),
    };
    if !fits {
        let refused = match op {
            Op::Create(_) => matches!(done, Err(StoreError::SpaceExists(_))),
            _ => matches!(done, Err(StoreError::NoSuchSpace(_))),
        };
        assert!(refused && overlay.len() == before, "{op:?}: {done:?}");
        return;
    }
    done.unwrap();
    model.ops.push(op.clone());
    match op {
        Op::Create(_) => _ = state.insert(space, BTreeMap::new()),
        Op::Drop(_) => _ = state.remove(&space),
        Op::Put(_, k, v) => _ = state.entry(space).or_default().insert(key(*k), v.clone()),
        Op::Delete(_, k) => _ = state.entry(space).or_default().remove(&key(*k)),
    }
}

fn check(overlay: &Overlay, model: &Model) {
    assert_eq!(overlay.len(), model.ops.len());
    assert_eq!(overlay.is_empty(), model.ops.is_empty());
    for s in 0..5 {
        let (space, there) = (name(s), model.state.get(&name(s)));
        assert_eq!(overlay.has_space(&space).unwrap(), there.is_some());
        for k in 0..=KEYS {
            let value = there.and_then(|keys| keys.get(&key(k)));
            let found = overlay.get(&space, &key(k)).unwrap();
            assert_eq!(found.as_deref(), value.map(Vec::as_slice));
            assert_eq!(overlay.contains(&space, &key(k)).unwrap(), value.is_some());
        }
    }
}

/// The operations as a plain batch.
fn batch(ops: &[Op]) -> Batch {
    let mut batch = Batch::new();
    for op in ops {
        match op {
            Op::Create(s) => batch.create_space(&name(*s)),
            Op::Drop(s) => batch.drop_space(&name(*s)),
            Op::Put(s, k, v) => batch.put(&name(*s), &key(*k), v.clone()),
            Op::Delete(s, k) => batch.delete(&name(*s), &key(*k)),
        }
    }
    batch
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn an_overlay_is_what_a_stack_of_maps_is(
        first in proptest::collection::vec(op(KEYS), 0..30),
        steps in proptest::collection::vec(step(), 0..80),
        chosen in any::<usize>(),
    ) {
        let store = open(&disk());
        let mut writer = store.writer().unwrap();
        let base = append(&mut writer, 1, &State::new(), &first);
        let model = Model { state: base, ops: Vec::new() };
        let mut forks = vec![(Overlay::new(store.latest()), model)];
        let mut saved: Vec<(Savepoint, Model)> = Vec::new();
        let mut at = 0;
        for step in &steps {
            let count = forks.len();
            let (overlay, model) = &mut forks[at];
            match step {
                Step::Do(op) => perform(op, overlay, model),
                Step::Save => saved.push((overlay.savepoint(), model.clone())),
                Step::RollBack(index) => {
                    if !saved.is_empty() {
                        let (savepoint, then) = &saved[index % saved.len()];
                        overlay.rollback_to(savepoint).unwrap();
                        *model = then.clone();
                    }
                }
                Step::Fork => {
                    let forked = (overlay.fork(), model.clone());
                    forks.push(forked);
                }
                Step::Switch(index) => at = index % count,
            }
        }
        for (overlay, model) in &forks {
            check(overlay, model);
            let staged = writer.stage_overlay(overlay).unwrap();
            prop_assert_eq!(staged.root(), naive::root(&model.state));
            prop_assert_eq!(staged.root(), writer.stage(&batch(&model.ops)).unwrap().root());
        }
        let (overlay, model) = &forks[chosen % forks.len()];
        let staged = writer.stage_overlay(overlay).unwrap();
        writer.commit(Height(2), staged).unwrap();
        common::check(&store.latest(), &model.state, KEYS);
        prop_assert!(matches!(writer.stage_overlay(overlay), Err(StoreError::Stale)));
    }
}

fn with_space() -> (Store, Overlay) {
    let store = open(&disk());
    let mut overlay = Overlay::new(store.latest());
    overlay.create_space(b"s").unwrap();
    (store, overlay)
}

#[test]
fn an_overlay_is_as_large_as_a_batch_and_what_is_rolled_back_makes_room() {
    let (store, mut overlay) = with_space();
    let value = Bytes::from(vec![0; STORE_VALUE_BYTES_MAX]);
    let empty = overlay.savepoint();
    let mut batch = Batch::new();
    batch.create_space(b"s");
    // The values share their bytes. Of the last one's there is no room for one.
    for i in 0..63u8 {
        overlay.put(b"s", &[i], value.clone()).unwrap();
        batch.put(b"s", &[i], value.clone());
    }
    // The space's name and 64 keys.
    let last = value.slice(65..);
    let too_large = overlay.put(b"s", &[63], value.slice(64..));
    assert!(matches!(too_large, Err(StoreError::BatchTooLarge)));
    assert_eq!(
        (overlay.len(), overlay.get(b"s", &[63]).unwrap()),
        (64, None)
    );
    overlay.put(b"s", &[63], last).unwrap();
    assert!(matches!(
        overlay.delete(b"s", b"k"),
        Err(StoreError::BatchTooLarge)
    ));
    batch.put(b"s", &[63], value.slice(64..));
    let writer = store.writer().unwrap();
    assert!(matches!(
        writer.stage(&batch),
        Err(StoreError::BatchTooLarge)
    ));
    overlay.rollback_to(&empty).unwrap();
    overlay.put(b"s", b"k", value).unwrap();
}

#[test]
fn limits_are_named_at_once() {
    let (_store, mut overlay) = with_space();
    let long = vec![0; 4_097];
    assert!(matches!(
        overlay.put(b"s", &long, ""),
        Err(StoreError::KeyTooLong(4_097))
    ));
    assert!(matches!(
        overlay.delete(b"s", &long),
        Err(StoreError::KeyTooLong(4_097))
    ));
    let name = overlay.create_space(&long);
    assert!(matches!(name, Err(StoreError::SpaceNameTooLong(4_097))));
    let value = overlay.put(b"s", b"k", vec![0; STORE_VALUE_BYTES_MAX + 1]);
    assert!(matches!(value, Err(StoreError::ValueTooLong(_))));
    assert_eq!(overlay.len(), 1, "nothing of it was done");
}

#[test]
fn a_savepoint_of_another_base_is_refused() {
    let (_store, mut overlay) = with_space();
    let (_other, mut other) = with_space();
    let savepoint = overlay.savepoint();
    assert!(matches!(
        other.rollback_to(&savepoint),
        Err(StoreError::OtherBase)
    ));
    overlay.rollback_to(&savepoint).unwrap();
}

#[test]
fn what_lay_below_a_space_that_was_begun_anew_is_gone() {
    let store = open(&disk());
    let mut writer = store.writer().unwrap();
    let ops = [Op::Create(1), Op::Put(1, 2, vec![1])];
    append(&mut writer, 1, &State::new(), &ops);
    let mut overlay = Overlay::new(store.latest());
    overlay.drop_space(&name(1)).unwrap();
    let dropped = overlay.savepoint();
    overlay.create_space(&name(1)).unwrap();
    assert_eq!(overlay.get(&name(1), &key(2)).unwrap(), None);
    overlay.rollback_to(&dropped).unwrap();
    assert!(!overlay.has_space(&name(1)).unwrap());
    drop((writer, store));
    // It holds on to the version that it lies over.
    assert_eq!(overlay.base().count(&name(1)).unwrap(), Some(1));
    assert!(Arc::new(overlay).get(&name(1), &key(2)).unwrap().is_none());
}
