//! Proofs of change: the library's prover against the naive second implementation, and whoever hides a change, makes one
//! up, or changes a bit.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod built;
mod naive;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::sync::LazyLock;

use built::{Shower, Tree, pool, space_proof};
use naive::State;
use proptest::prelude::*;
use violeta_proof::tree::{
    Change, ChangeClaim, ChangeProof, ChangedLeaf, ChangedTree, KeyPath, Kind, LeafChange,
    OpenNode, OpenPair, PartialTreeError, PathRange, Sides, value_hash,
};
use violeta_types::{Digest, decode, encode};

type Keys = BTreeMap<Vec<u8>, Vec<u8>>;

/// A key, its older and its newer value.
type Changed = (Vec<u8>, Option<Vec<u8>>, Option<Vec<u8>>);

static POOL: LazyLock<Vec<Vec<u8>>> = LazyLock::new(pool);

fn keys(of: impl Iterator<Item = usize>, value: &str) -> Keys {
    let keys = of.map(|i| (format!("key {i}"), format!("{value} {i}")));
    keys.map(|(k, v)| (k.into_bytes(), v.into_bytes()))
        .collect()
}

/// Two versions of a store.
struct World {
    states: Sides<State>,
    trees: Sides<Option<Tree>>,
    roots: Sides<Digest>,
}

impl World {
    fn of(old: Option<&Keys>, new: Option<&Keys>) -> World {
        let state = |keys: Option<&Keys>| {
            let mut state = State::new();
            for name in [&b"a"[..], b"b"] {
                state.insert(name.to_vec(), Keys::new());
            }
            if let Some(keys) = keys {
                state.insert(b"s".to_vec(), keys.clone());
            }
            state
        };
        let states = Sides {
            old: state(old),
            new: state(new),
        };
        World {
            roots: Sides {
                old: naive::root(&states.old),
                new: naive::root(&states.new),
            },
            trees: Sides {
                old: old.map(Tree::of),
                new: new.map(Tree::of),
            },
            states,
        }
    }

    fn keys(&self) -> Sides<Keys> {
        let keys = |state: &State| state.get(&b"s"[..]).cloned().unwrap_or_default();
        Sides {
            old: keys(&self.states.old),
            new: keys(&self.states.new),
        }
    }

    /// The proof of a range that ends after `changes_max` changes at the latest.
    fn prove(&self, range: &PathRange, changes_max: usize) -> ChangeProof {
        let (old, new) = (
            self.trees.old.as_ref().map(Shower),
            self.trees.new.as_ref().map(Shower),
        );
        let trees = Sides {
            old: old.as_ref(),
            new: new.as_ref(),
        };
        let spaces = Sides {
            old: space_proof(&self.states.old, b"s"),
            new: space_proof(&self.states.new, b"s"),
        };
        let mut count = 0;
        let visit = |_: Change<'_>| {
            count += 1;
            match count < changes_max {
                true => ControlFlow::Continue(()),
                false => ControlFlow::Break(()),
            }
        };
        ChangeProof::prove(spaces, trees, range, visit).unwrap()
    }

    /// What changed in a range, from the maps alone.
    fn truth(&self, range: &PathRange) -> Vec<Changed> {
        let Sides { old, new } = self.keys();
        let all: BTreeSet<_> = old.keys().chain(new.keys()).cloned().collect();
        let changed = all.into_iter().filter(|key| old.get(key) != new.get(key));
        let mut changed: Vec<_> = changed
            .map(|key| (key.clone(), old.get(&key).cloned(), new.get(&key).cloned()))
            .filter(|(key, ..)| range.holds(&KeyPath::of(key)))
            .collect();
        changed.sort_by_key(|(key, ..)| KeyPath::of(key));
        changed
    }

    fn is_refused(&self, proof: &ChangeProof, range: &PathRange) -> bool {
        proof.read(&self.roots, b"s", range, |_| {}).is_err()
    }
}

fn claims(changed: &[Changed]) -> Vec<ChangeClaim<'_>> {
    let changed = changed.iter();
    changed
        .map(|(key, old, new)| (key.as_slice(), old.as_deref(), new.as_deref()))
        .collect()
}

/// The naive implementation's tree of changes.
fn naive_tree(keys: &Sides<Keys>, range: &PathRange) -> ChangedTree {
    let nibbles = |path: &KeyPath| path.0.iter().flat_map(|b| [b / 16, b % 16]).collect();
    let range = (nibbles(&range.from), nibbles(&range.to));
    let changed = naive::changed(&keys.old, &keys.new, &range);
    let kind = |count: usize| [Kind::Empty, Kind::Leaf, Kind::Node][count];
    let node = |(bitmap, leaves): (u16, u16)| OpenNode { bitmap, leaves };
    let pair = |pair: naive::Pair| match pair.nodes.map(|n| n.map(node)) {
        [Some(old), Some(new)] => OpenPair::Both {
            old,
            new,
            differ: pair.open,
        },
        [Some(old), None] => OpenPair::Old(old),
        [None, Some(new)] => OpenPair::New(new),
        [None, None] => panic!("a node on no side"),
    };
    let leaf = |(key, old, new): (Vec<u8>, Option<Digest>, Option<Digest>)| ChangedLeaf {
        key: key.try_into().unwrap(),
        change: match (old, new) {
            (Some(old), Some(new)) if old == new => LeafChange::Kept { value_hash: new },
            (Some(old), Some(new)) => LeafChange::Replaced { old, new },
            (Some(old), None) => LeafChange::Removed { old },
            (None, Some(new)) => LeafChange::Added { new },
            (None, None) => panic!("a leaf on no side"),
        },
    };
    let nodes: Vec<_> = changed.nodes.into_iter().map(pair).collect();
    let leaves: Vec<_> = changed.leaves.into_iter().map(leaf).collect();
    ChangedTree {
        roots: Sides {
            old: kind(changed.roots.0),
            new: kind(changed.roots.1),
        },
        nodes: nodes.try_into().unwrap(),
        leaves: leaves.try_into().unwrap(),
        digests: changed.digests.try_into().unwrap(),
    }
}

/// Pairs of versions between which all kinds of things happen.
fn histories() -> Vec<(&'static str, World)> {
    let some = |n: usize| keys(0..n, "value");
    let with = |mut keys: Keys, other: Keys| {
        keys.extend(other);
        keys
    };
    let world = |old: Keys, new: Keys| World::of(Some(&old), Some(&new));
    vec![
        ("nothing in an empty space", world(some(0), some(0))),
        ("nothing in a full one", world(some(40), some(40))),
        ("no space, twice", World::of(None, None)),
        ("a space appears, empty", World::of(None, Some(&some(0)))),
        ("a space appears, full", World::of(None, Some(&some(20)))),
        ("a space is dropped", World::of(Some(&some(20)), None)),
        ("the first key", world(some(0), some(1))),
        ("the last key goes", world(some(1), some(0))),
        ("the only key's value", world(some(1), keys(0..1, "other"))),
        (
            "the only key is another",
            world(some(1), keys(1..2, "value")),
        ),
        ("one key becomes many", world(some(1), some(30))),
        (
            "one key goes, many come",
            world(some(1), keys(1..30, "value")),
        ),
        (
            "one key of many stays",
            world(some(30), keys(7..8, "value")),
        ),
        (
            "one of many stays, changed",
            world(some(30), keys(7..8, "other")),
        ),
        (
            "one value of many",
            world(some(40), with(some(40), keys(7..8, "other"))),
        ),
        (
            "some values, some new",
            world(some(40), with(some(44), keys(7..11, "other"))),
        ),
        ("every value", world(some(40), keys(0..40, "other"))),
        ("every key", world(some(40), keys(40..80, "value"))),
        ("half the keys go", world(some(40), some(20))),
    ]
}

/// Ranges that begin and end at, before and after leaves.
fn some_ranges(world: &World) -> Vec<PathRange> {
    let Sides { old, new } = world.keys();
    let mut ends: Vec<_> = old
        .keys()
        .chain(new.keys())
        .map(|key| KeyPath::of(key))
        .collect();
    ends.extend([[0; 32], [0x57; 32], [0xff; 32]].map(KeyPath));
    ends.sort();
    let step = ends.len().div_ceil(4);
    let ends: Vec<_> = ends.into_iter().step_by(step).collect();
    let pairs = ends.iter().flat_map(|a| ends.iter().map(move |b| (*a, *b)));
    let ranges = pairs.filter(|(from, to)| from <= to);
    let mut ranges: Vec<_> = ranges.map(|(from, to)| PathRange { from, to }).collect();
    ranges.push(PathRange::ALL);
    ranges
}

#[test]
fn all_that_changed_is_proved_and_nothing_else() {
    for (what, world) in histories() {
        for range in some_ranges(&world) {
            let proof = world.prove(&range, usize::MAX);
            assert_eq!(proof.tree, naive_tree(&world.keys(), &range), "{what}");
            let truth = world.truth(&range);
            let claimed = claims(&truth);
            let proved = proof.verify(&world.roots, b"s", &range, &claimed);
            let proved = proved.unwrap_or_else(|e| panic!("{what}: {e}"));
            assert_eq!((proved.range, proved.rest), (range, None));
            for hidden in 0..claimed.len() {
                let mut fewer = claimed.clone();
                fewer.remove(hidden);
                assert!(proof.verify(&world.roots, b"s", &range, &fewer).is_err());
                let mut lie = claimed.clone();
                lie[hidden].1 = Some(b"never written");
                assert_eq!(
                    proof.verify(&world.roots, b"s", &range, &lie),
                    Err(PartialTreeError::ClaimedOtherwise { claim: hidden })
                );
            }
            let more = [claimed, vec![(b"x", None, Some(b"y"))]].concat();
            assert!(proof.verify(&world.roots, b"s", &range, &more).is_err());
        }
    }
}

#[test]
fn changes_are_read_page_by_page() {
    for (what, world) in histories() {
        for page in [1, 2, 7, 100] {
            let (mut asked, mut all) = (Some(PathRange::ALL), vec![]);
            while let Some(range) = asked {
                let proof = world.prove(&range, page);
                let visit =
                    |change: Change<'_>| all.push((change.key.to_vec(), change.old, change.new));
                let proved = proof.read(&world.roots, b"s", &range, visit);
                let proved = proved.unwrap_or_else(|e| panic!("{what}, {page} a page: {e}"));
                assert_eq!(
                    proof.tree,
                    naive_tree(&world.keys(), &proved.range),
                    "{what}"
                );
                asked = proved.rest;
            }
            let hash = |value: &Option<Vec<u8>>| value.as_deref().map(value_hash);
            let truth = world.truth(&PathRange::ALL);
            let truth = truth
                .iter()
                .map(|(key, old, new)| (key.clone(), hash(old), hash(new)));
            assert_eq!(all, truth.collect::<Vec<_>>(), "{what}");
        }
    }
}

/// The versions exchanged, the same version twice, another space, another page's end.
#[test]
fn a_proof_is_of_its_versions_in_their_order() {
    for (what, world) in histories() {
        let proof = world.prove(&PathRange::ALL, usize::MAX);
        let Sides { old, new } = world.roots;
        let read = |roots: Sides<Digest>| proof.read(&roots, b"s", &PathRange::ALL, |_| {}).is_ok();
        assert!(read(Sides { old, new }));
        for (a, b) in [(new, old), (old, old), (new, new)] {
            assert_eq!(read(Sides { old: a, new: b }), old == new, "{what}");
        }
        let mut cut = proof.clone();
        cut.through = Some(KeyPath([0x80; 32]));
        assert!(world.is_refused(&cut, &PathRange::ALL));
        let empty = PathRange {
            from: KeyPath([2; 32]),
            to: KeyPath([1; 32]),
        };
        let refused = proof.read(&world.roots, b"s", &empty, |_| {});
        assert_eq!(refused, Err(PartialTreeError::NothingAsked));
    }
}

/// Opening what is the same, or closing what isn't: whatever another range's or another pair's tree does so.
#[test]
fn no_other_tree_of_changes_will_do() {
    let histories = histories();
    let trees: Vec<_> = histories
        .iter()
        .flat_map(|(_, world)| {
            let ranges = some_ranges(world);
            ranges
                .into_iter()
                .map(|range| world.prove(&range, usize::MAX).tree)
        })
        .collect();
    for (what, world) in histories.iter().step_by(3) {
        let proof = world.prove(&PathRange::ALL, usize::MAX);
        for tree in &trees {
            let other = ChangeProof {
                tree: tree.clone(),
                ..proof.clone()
            };
            let is_same = other == proof;
            assert_eq!(
                world.is_refused(&other, &PathRange::ALL),
                !is_same,
                "{what}"
            );
        }
    }
}

fn damage<T: Clone + PartialEq>(items: &[T]) -> Vec<Vec<T>> {
    let mut damaged = vec![];
    for i in 0..items.len() {
        let mut dropped = items.to_vec();
        dropped.remove(i);
        let mut doubled = items.to_vec();
        doubled.insert(i, items[i].clone());
        let mut swapped = items.to_vec();
        swapped.swap(0, i);
        damaged.extend([dropped, doubled, swapped]);
    }
    damaged.retain(|d| d != items);
    damaged
}

#[test]
fn nothing_can_be_dropped_doubled_exchanged_or_told_otherwise() {
    for (what, world) in histories() {
        let proof = world.prove(&PathRange::ALL, usize::MAX);
        let tree = &proof.tree;
        let mut lies = vec![];
        for nodes in damage(&tree.nodes) {
            lies.push(ChangedTree {
                nodes: nodes.try_into().unwrap(),
                ..tree.clone()
            });
        }
        for leaves in damage(&tree.leaves) {
            lies.push(ChangedTree {
                leaves: leaves.try_into().unwrap(),
                ..tree.clone()
            });
        }
        for digests in damage(&tree.digests) {
            lies.push(ChangedTree {
                digests: digests.try_into().unwrap(),
                ..tree.clone()
            });
        }
        for (i, leaf) in tree.leaves.iter().enumerate() {
            let value = value_hash(b"x");
            let Sides { old, new } = leaf.change.value_hashes();
            let (old, new) = (old.unwrap_or(value), new.unwrap_or(value));
            for change in [
                LeafChange::Added { new },
                LeafChange::Removed { old },
                LeafChange::Replaced { old, new },
                LeafChange::Kept { value_hash: old },
                LeafChange::Kept { value_hash: new },
            ] {
                let mut leaves = tree.leaves.to_vec();
                leaves[i].change = change;
                lies.push(ChangedTree {
                    leaves: leaves.try_into().unwrap(),
                    ..tree.clone()
                });
            }
        }
        for tree in lies.into_iter().filter(|lie| lie != tree) {
            let lie = ChangeProof {
                tree,
                ..proof.clone()
            };
            assert!(world.is_refused(&lie, &PathRange::ALL), "{what}");
        }
    }
}

#[test]
fn a_flipped_bit_anywhere_makes_a_proof_worthless() {
    let middle = PathRange {
        from: KeyPath([0x40; 32]),
        to: KeyPath([0x90; 32]),
    };
    for (what, world) in histories() {
        for (range, page) in [(PathRange::ALL, 3), (middle, usize::MAX)] {
            let bytes = encode(&world.prove(&range, page));
            for bit in 0..bytes.len() * 8 {
                let mut bad = bytes.clone();
                bad[bit / 8] ^= 1 << (bit % 8);
                if let Ok(proof) = decode::<ChangeProof>(&bad) {
                    assert!(world.is_refused(&proof, &range), "{what}: bit {bit}");
                }
            }
        }
    }
}

#[test]
fn one_change_among_many_keys_is_proved_in_less_than_a_kilobyte() {
    let old = keys(0..10_000, "value");
    let mut new = old.clone();
    new.insert(b"key 77".to_vec(), b"other".to_vec());
    let (old, new) = (Tree::of(&old), Tree::of(&new));
    let (old, new) = (Shower(&old), Shower(&new));
    let trees = Sides {
        old: Some(&old),
        new: Some(&new),
    };
    let space = space_proof(&State::new(), b"s");
    let spaces = Sides {
        old: space.clone(),
        new: space,
    };
    let visit = |_: Change<'_>| ControlFlow::Continue(());
    let proof = ChangeProof::prove(spaces, trees, &PathRange::ALL, visit).unwrap();
    assert!(
        encode(&proof.tree).len() < 1_000,
        "{}",
        encode(&proof.tree).len()
    );
    assert_eq!(proof.tree.leaves.len(), 1);
}

#[test]
fn proofs_read_as_they_were_written_in_both_forms() {
    for (_, world) in histories() {
        let proof = world.prove(&PathRange::ALL, 5);
        assert_eq!(decode::<ChangeProof>(&encode(&proof)).unwrap(), proof);
        let json = serde_json::to_string(&proof).unwrap();
        assert_eq!(serde_json::from_str::<ChangeProof>(&json).unwrap(), proof);
    }
}

/// The keys of the pool whose bit is set, with the value that the other bit says.
fn some_of_pool(present: u64, values: u64) -> Keys {
    let keys = POOL
        .iter()
        .enumerate()
        .filter(|(i, _)| present >> i & 1 == 1);
    keys.map(|(i, key)| (key.clone(), vec![(values >> i & 1) as u8]))
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn the_prover_makes_what_the_naive_one_makes(
        present: u64, thin: u64, gone: u64, rare: u64, come: u64, values: u64, few in 0u8..4,
        ends: [[u8; 2]; 2], page in 1usize..20,
    ) {
        let old = present & thin;
        // From a few changes to nearly all.
        let changed = match few { 0 => gone & rare & thin, 1 => gone & rare, 2 => gone, _ => !0 };
        let new = old & !changed | come & changed & !old;
        let (old, new) = (some_of_pool(old, 0), some_of_pool(new, values & changed));
        let world = World::of(Some(&old), Some(&new));
        let mut ends = ends.map(|end| { let mut p = [0; 32]; p[..2].copy_from_slice(&end); KeyPath(p) });
        ends.sort();
        for range in [PathRange::ALL, PathRange { from: ends[0], to: ends[1] }] {
            let proof = world.prove(&range, page);
            let mut found = vec![];
            let proved = proof.read(&world.roots, b"s", &range, |change| found.push(change.key.to_vec()));
            let proved = proved.unwrap();
            prop_assert_eq!(&proof.tree, &naive_tree(&world.keys(), &proved.range));
            let truth = world.truth(&proved.range);
            prop_assert_eq!(&found, &truth.iter().map(|(key, ..)| key.clone()).collect::<Vec<_>>());
            prop_assert_eq!(proved.rest.is_some(), proof.through.is_some());
            prop_assert!(found.len() == page || proved.rest.is_none());
        }
    }

    #[test]
    fn bytes_that_are_no_proof_are_refused_without_panic(
        bytes in proptest::collection::vec(any::<u8>(), 0..400),
        small in proptest::collection::vec(0u8..4, 0..200),
    ) {
        let world = World::of(None, Some(&keys(0..3, "value")));
        let proof = world.prove(&PathRange::ALL, usize::MAX);
        for bytes in [bytes, small] {
            if let Ok(tree) = decode::<ChangedTree>(&bytes) {
                let lie = ChangeProof { tree, ..proof.clone() };
                prop_assert!(world.is_refused(&lie, &PathRange::ALL));
            }
        }
    }
}
