//! Proofs of many keys and of ranges: the library's prover against the naive second implementation, and whoever leaves
//! out, adds, closes or opens too much, or changes a bit.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod built;
mod naive;

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::LazyLock;

use built::{Shower, Tree, pool, space_proof};
use naive::State;
use proptest::prelude::*;
use violeta_proof::tree::{
    KeyPath, MultiProof, OpenNode, PartialTree, PartialTreeError, PathRange, RangeProof, value_hash,
};
use violeta_types::{Digest, decode, encode};

type Keys = BTreeMap<Vec<u8>, Vec<u8>>;

static POOL: LazyLock<Vec<Vec<u8>>> = LazyLock::new(pool);

fn keys(n: usize) -> Keys {
    let keys = (0..n).map(|i| (format!("key {i}"), format!("value {i}")));
    keys.map(|(k, v)| (k.into_bytes(), v.into_bytes()))
        .collect()
}

/// The keys of the pool whose bit is set, each with a value of its own.
fn some_of_pool(bits: u64) -> Keys {
    let keys = POOL.iter().enumerate().filter(|(i, _)| bits >> i & 1 == 1);
    keys.map(|(i, key)| (key.clone(), vec![i as u8; i]))
        .collect()
}

/// A store with the space "s", if it is there, and others around it.
fn store(keys: Option<&Keys>) -> State {
    let mut state = State::new();
    for name in [&b"a"[..], b"b", b"c"] {
        state.insert(name.to_vec(), Keys::new());
    }
    if let Some(keys) = keys {
        state.insert(b"s".to_vec(), keys.clone());
    }
    state
}

struct World {
    root: Digest,
    state: State,
    tree: Option<Tree>,
}

impl World {
    fn of(keys: Option<&Keys>) -> World {
        let state = store(keys);
        World {
            root: naive::root(&state),
            tree: keys.map(Tree::of),
            state,
        }
    }

    fn keys(&self) -> Keys {
        self.state.get(&b"s"[..]).cloned().unwrap_or_default()
    }

    fn multi(&self, keys: &[Vec<u8>]) -> MultiProof {
        let tree = self.tree.as_ref().map(Shower);
        MultiProof::prove(space_proof(&self.state, b"s"), tree.as_ref(), keys).unwrap()
    }

    /// The proof of a range that ends after `leaves_max` leaves at the latest.
    fn range(&self, range: &PathRange, leaves_max: usize) -> RangeProof {
        let tree = self.tree.as_ref().map(Shower);
        let mut count = 0;
        let visit = |_: &_| {
            count += 1;
            match count < leaves_max {
                true => ControlFlow::Continue(()),
                false => ControlFlow::Break(()),
            }
        };
        RangeProof::prove(space_proof(&self.state, b"s"), tree.as_ref(), range, visit).unwrap()
    }

    /// What is in a range, from the map alone.
    fn within(&self, range: &PathRange) -> Vec<(Vec<u8>, Vec<u8>)> {
        let mut found: Vec<_> = self.keys().into_iter().collect();
        found.sort_by_key(|(key, _)| KeyPath::of(key));
        found.retain(|(key, _)| range.from <= KeyPath::of(key) && KeyPath::of(key) <= range.to);
        found
    }
}

fn nibbles(path: &KeyPath) -> Vec<u8> {
    path.0.iter().flat_map(|b| [b / 16, b % 16]).collect()
}

/// The naive implementation's partial tree.
fn naive_tree(keys: &Keys, window: &[PathRange]) -> PartialTree {
    let window: Vec<_> = window
        .iter()
        .map(|r| (nibbles(&r.from), nibbles(&r.to)))
        .collect();
    let partial = naive::partial(keys, &window);
    let nodes = partial.nodes.iter();
    let nodes = nodes.map(|&(bitmap, leaves)| OpenNode { bitmap, leaves });
    let leaves = partial
        .leaves
        .into_iter()
        .map(|(key, value_hash)| violeta_proof::tree::Leaf {
            key: key.try_into().unwrap(),
            value_hash,
        });
    PartialTree {
        nodes: nodes.collect::<Vec<_>>().try_into().unwrap(),
        leaves: leaves.collect::<Vec<_>>().try_into().unwrap(),
        digests: partial.digests.try_into().unwrap(),
    }
}

fn borrowed(entries: &[(Vec<u8>, Vec<u8>)]) -> Vec<(&[u8], &[u8])> {
    let entries = entries.iter();
    entries.map(|(k, v)| (k.as_slice(), v.as_slice())).collect()
}

fn claims<'a>(world: &'a Keys, keys: &'a [Vec<u8>]) -> Vec<(&'a [u8], Option<&'a [u8]>)> {
    let claim = |key: &'a Vec<u8>| (key.as_slice(), world.get(key).map(Vec::as_slice));
    keys.iter().map(claim).collect()
}

fn questions() -> Vec<Vec<u8>> {
    POOL.iter().step_by(3).cloned().collect()
}

/// Ranges that begin and end at, before and after leaves.
fn some_ranges(keys: &Keys) -> Vec<PathRange> {
    let mut ends: Vec<_> = keys.keys().map(|key| KeyPath::of(key)).collect();
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
fn many_keys_there_and_not_there_are_proved_at_once() {
    for size in [None, Some(0), Some(1), Some(2), Some(17), Some(64)] {
        let keys = size.map(|n| some_of_pool(if n == 64 { !0 } else { (1 << n) - 1 }));
        let world = World::of(keys.as_ref());
        let questions = questions();
        let proof = world.multi(&questions);
        let keys = world.keys();
        let mut claimed = claims(&keys, &questions);
        assert_eq!(
            proof.verify(&world.root, b"s", &claimed),
            Ok(()),
            "{size:?}"
        );
        for claim in 0..claimed.len() {
            let truth = claimed[claim].1;
            claimed[claim].1 = truth.map_or(Some(b"lie"), |_| None);
            let expected = match truth {
                None => PartialTreeError::ClaimedPresent { claim },
                Some(_) => PartialTreeError::ClaimedAbsent { claim },
            };
            assert_eq!(proof.verify(&world.root, b"s", &claimed), Err(expected));
            if truth.is_some() {
                claimed[claim].1 = Some(b"another");
                let expected = PartialTreeError::ClaimedOtherwise { claim };
                assert_eq!(proof.verify(&world.root, b"s", &claimed), Err(expected));
            }
            claimed[claim].1 = truth;
        }
        let of_another = proof.verify(&world.root, b"b", &claimed);
        assert!(of_another.is_err());
        assert!(proof.verify(&Digest([1; 32]), b"s", &claimed).is_err());
    }
}

#[test]
fn keys_may_be_asked_for_in_any_order_and_twice() {
    let keys = keys(50);
    let world = World::of(Some(&keys));
    let asked: Vec<Vec<u8>> = ["key 9", "no", "key 3", "key 9", "no"]
        .map(Into::into)
        .to_vec();
    let proof = world.multi(&asked);
    let found = proof.read(&world.root, b"s", &asked).unwrap();
    let nine = Some(value_hash(b"value 9"));
    assert_eq!(
        found,
        [nine, None, Some(value_hash(b"value 3")), nine, None]
    );
    let mut sorted = asked.clone();
    sorted.sort();
    sorted.dedup();
    assert_eq!(world.multi(&sorted), proof);
    let none: &[Vec<u8>] = &[];
    let refused = proof.read(&world.root, b"s", none);
    assert_eq!(refused, Err(PartialTreeError::NothingAsked));
}

#[test]
fn a_range_holds_what_the_map_holds_and_no_more_nor_less() {
    for size in [None, Some(0), Some(1), Some(2), Some(40)] {
        let keys = size.map(keys);
        let world = World::of(keys.as_ref());
        for range in some_ranges(&world.keys()) {
            let proof = world.range(&range, usize::MAX);
            let truth = world.within(&range);
            let claims = borrowed(&truth);
            let proved = proof.verify(&world.root, b"s", &range, &claims).unwrap();
            assert_eq!((proved.range, proved.rest), (range, None));
            for left_out in 0..truth.len() {
                let mut fewer = claims.clone();
                fewer.remove(left_out);
                assert!(proof.verify(&world.root, b"s", &range, &fewer).is_err());
            }
            let more = [claims.clone(), vec![(b"x", b"y")]].concat();
            assert!(proof.verify(&world.root, b"s", &range, &more).is_err());
        }
    }
}

#[test]
fn a_range_is_read_page_by_page() {
    let world = World::of(Some(&keys(40)));
    for page in [1, 2, 7, 39, 40] {
        let (mut asked, mut all, mut pages) = (Some(PathRange::ALL), vec![], 0);
        while let Some(range) = asked {
            let proof = world.range(&range, page);
            let visit = |leaf: &violeta_proof::tree::Leaf| all.push(leaf.key.to_vec());
            let proved = proof.read(&world.root, b"s", &range, visit).unwrap();
            assert_eq!(proof.tree, naive_tree(&world.keys(), &[proved.range]));
            asked = proved.rest;
            pages += 1;
        }
        let truth: Vec<_> = world
            .within(&PathRange::ALL)
            .into_iter()
            .map(|(k, _)| k)
            .collect();
        assert_eq!(all, truth);
        assert_eq!(
            pages,
            40 / page + 1,
            "the last page has what is left, or nothing"
        );
    }
}

/// A liar ends a page where it likes: without a leaf, at a leaf that isn't the page's last, or beyond the question.
#[test]
fn a_page_ends_at_its_last_leaf_within_the_question() {
    let world = World::of(Some(&keys(40)));
    let truth = world.within(&PathRange::ALL);
    let path = |i: usize| KeyPath::of(&truth[i].0);
    let range = PathRange {
        from: path(5),
        to: path(20),
    };
    let read = |proof: &RangeProof| proof.read(&world.root, b"s", &range, |_| {});
    for through in [
        path(4),
        path(20),
        path(21),
        range.after(&path(7)).unwrap().from,
    ] {
        let part = PathRange {
            from: range.from,
            to: through,
        };
        if part.is_empty() {
            continue;
        }
        let mut lie = world.range(&part, usize::MAX);
        lie.through = Some(through);
        assert_eq!(read(&lie), Err(PartialTreeError::CutElsewhere));
    }
    let whole = world.range(&range, usize::MAX);
    assert_eq!(whole.through, None, "a range to its end isn't cut");
    assert_eq!(world.range(&range, 16), whole);
    let mut lie = world.range(&range, 3);
    assert!(read(&lie).is_ok());
    lie.through = Some(path(8));
    assert!(read(&lie).is_err());
    lie.through = None;
    assert!(read(&lie).is_err());
}

/// Closing too much, or opening what needn't be: whatever one window's tree lacks or has over another's.
#[test]
fn the_tree_of_one_window_is_that_of_no_other() {
    let keys = some_of_pool(0x0fff_0ff0_f0f0_3333);
    let world = World::of(Some(&keys));
    let ranges = some_ranges(&keys);
    for made_for in &ranges {
        let proof = world.range(made_for, usize::MAX);
        for asked in &ranges {
            let verdict = proof.read(&world.root, b"s", asked, |_| {});
            let same = naive_tree(&keys, &[*asked]) == proof.tree;
            assert_eq!(verdict.is_ok(), same, "{made_for:?} for {asked:?}");
        }
    }
}

/// Drops, doubles and exchanges each element of each array.
fn damaged_trees(tree: &PartialTree) -> Vec<PartialTree> {
    fn damage<T: Clone + PartialEq>(items: &[T]) -> Vec<Vec<T>> {
        let mut damaged = vec![];
        for i in 0..items.len() {
            let mut dropped = items.to_vec();
            dropped.remove(i);
            let mut doubled = items.to_vec();
            doubled.insert(i, items[i].clone());
            damaged.extend([dropped, doubled]);
            let mut swapped = items.to_vec();
            swapped.swap(0, i);
            damaged.push(swapped);
        }
        damaged.retain(|d| d != items);
        damaged
    }
    let mut damaged = vec![];
    for nodes in damage(&tree.nodes) {
        let nodes = nodes.try_into().unwrap();
        damaged.push(PartialTree {
            nodes,
            ..tree.clone()
        });
    }
    for leaves in damage(&tree.leaves) {
        let leaves = leaves.try_into().unwrap();
        damaged.push(PartialTree {
            leaves,
            ..tree.clone()
        });
    }
    for digests in damage(&tree.digests) {
        let digests = digests.try_into().unwrap();
        damaged.push(PartialTree {
            digests,
            ..tree.clone()
        });
    }
    damaged
}

#[test]
fn nothing_of_a_partial_tree_can_be_dropped_doubled_or_exchanged() {
    let keys = some_of_pool(0x0123_4567_89ab_cdef);
    let world = World::of(Some(&keys));
    let (questions, range) = (questions(), some_ranges(&keys)[6]);
    let (multi, range_proof) = (world.multi(&questions), world.range(&range, usize::MAX));
    let mut count = 0;
    for tree in damaged_trees(&multi.tree) {
        let lie = MultiProof {
            tree,
            ..multi.clone()
        };
        assert!(lie.read(&world.root, b"s", &questions).is_err());
        count += 1;
    }
    for tree in damaged_trees(&range_proof.tree) {
        let lie = RangeProof {
            tree,
            ..range_proof.clone()
        };
        assert!(lie.read(&world.root, b"s", &range, |_| {}).is_err());
        count += 1;
    }
    assert!(count > 200);
}

#[test]
fn a_flipped_bit_anywhere_makes_a_proof_worthless() {
    for keys in [None, Some(keys(1)), Some(keys(30))] {
        let world = World::of(keys.as_ref());
        let questions = ["key 0", "key 7", "no"].map(|k| k.as_bytes().to_vec());
        let range = PathRange {
            from: KeyPath([0x40; 32]),
            to: KeyPath([0x90; 32]),
        };
        for bytes in flipped(&encode(&world.multi(&questions))) {
            if let Ok(proof) = decode::<MultiProof>(&bytes) {
                assert!(proof.read(&world.root, b"s", &questions).is_err());
            }
        }
        for page in [2, 40] {
            let proof = world.range(&range, page);
            for bytes in flipped(&encode(&proof)) {
                if let Ok(bad) = decode::<RangeProof>(&bytes) {
                    assert!(bad.read(&world.root, b"s", &range, |_| {}).is_err());
                }
            }
        }
    }
}

fn flipped(bytes: &[u8]) -> impl Iterator<Item = Vec<u8>> + '_ {
    (0..bytes.len() * 8).map(|bit| {
        let mut bad = bytes.to_vec();
        bad[bit / 8] ^= 1 << (bit % 8);
        bad
    })
}

#[test]
fn a_hundred_neighbours_cost_a_small_part_of_a_hundred_proofs() {
    let keys = keys(10_000);
    let tree = Tree::of(&keys);
    let mut by_path: Vec<_> = keys.keys().cloned().collect();
    by_path.sort_by_key(|key| KeyPath::of(key));
    // The top tree is left out: this is about the space's own.
    let space = space_proof(&State::new(), b"s");
    let bytes_of = |asked: &[Vec<u8>]| {
        let proof = MultiProof::prove(space.clone(), Some(&Shower(&tree)), asked).unwrap();
        encode(&proof.tree).len()
    };
    let neighbours = &by_path[5_000..5_100];
    let each: usize = neighbours
        .iter()
        .map(|key| bytes_of(std::slice::from_ref(key)))
        .sum();
    let together = bytes_of(neighbours);
    let bare: usize = neighbours.iter().map(|key| 4 + key.len() + 32).sum();
    assert!(8 * together < each, "{together} bytes, one by one {each}");
    assert!(
        together < bare + 1_500,
        "{together} bytes, the leaves alone {bare}"
    );
    let scattered: Vec<_> = by_path.iter().step_by(100).cloned().collect();
    assert!(5 * bytes_of(&scattered) < 4 * each);
}

#[test]
fn proofs_read_as_they_were_written_in_both_forms() {
    let world = World::of(Some(&keys(30)));
    let multi = world.multi(&questions());
    assert_eq!(decode::<MultiProof>(&encode(&multi)).unwrap(), multi);
    let json = serde_json::to_string(&multi).unwrap();
    assert_eq!(serde_json::from_str::<MultiProof>(&json).unwrap(), multi);
    let range = world.range(&PathRange::ALL, 5);
    assert_eq!(decode::<RangeProof>(&encode(&range)).unwrap(), range);
    let json = serde_json::to_string(&range).unwrap();
    assert_eq!(serde_json::from_str::<RangeProof>(&json).unwrap(), range);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn the_prover_makes_what_the_naive_one_makes(
        present: u64, thin: u64, asked: u64, ends: [[u8; 2]; 2], page in 1usize..40,
    ) {
        let keys = some_of_pool(present & thin);
        let world = World::of(Some(&keys));
        let asked: Vec<_> = some_of_pool(asked | 1).into_keys().collect();
        let window: Vec<_> = asked.iter().map(|key| PathRange::point(KeyPath::of(key))).collect();
        let multi = world.multi(&asked);
        prop_assert_eq!(&multi.tree, &naive_tree(&keys, &window));
        prop_assert_eq!(multi.verify(&world.root, b"s", &claims(&keys, &asked)), Ok(()));

        let mut path = ends.map(|end| { let mut p = [0; 32]; p[..2].copy_from_slice(&end); KeyPath(p) });
        path.sort();
        let range = PathRange { from: path[0], to: path[1] };
        let proof = world.range(&range, page);
        let mut found = vec![];
        let proved = proof.read(&world.root, b"s", &range, |leaf| found.push(leaf.key.to_vec()));
        let proved = proved.unwrap();
        prop_assert_eq!(&proof.tree, &naive_tree(&keys, &[proved.range]));
        let truth: Vec<_> = world.within(&proved.range).into_iter().map(|(k, _)| k).collect();
        prop_assert_eq!(&found, &truth);
        prop_assert_eq!(proved.rest.is_some(), proof.through.is_some());
        prop_assert!(found.len() == page || proved.rest.is_none());
    }

    #[test]
    fn bytes_that_are_no_proof_are_refused_without_panic(
        bytes in proptest::collection::vec(any::<u8>(), 0..400),
        small in proptest::collection::vec(0u8..3, 0..200),
    ) {
        let root = Digest([7; 32]);
        for bytes in [bytes, small] {
            if let Ok(proof) = decode::<MultiProof>(&bytes) {
                prop_assert!(proof.read(&root, b"s", &[b"k"]).is_err());
            }
            if let Ok(proof) = decode::<RangeProof>(&bytes) {
                let read = proof.read(&root, b"s", &PathRange::ALL, |_| ());
                prop_assert!(read.is_err());
            }
            if let Ok(tree) = decode::<PartialTree>(&bytes) {
                let space = space_proof(&State::new(), b"s");
                let proof = MultiProof { space, tree };
                let empty = violeta_proof::tree::empty_root();
                let is_empty = proof.tree == PartialTree::default();
                prop_assert_eq!(proof.read(&empty, b"s", &[b"k"]).is_ok(), is_empty);
            }
        }
    }
}
