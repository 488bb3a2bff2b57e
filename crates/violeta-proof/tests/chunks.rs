//! Chunks of a snapshot: what one says is all that is in its range, and whoever leaves out, adds, changes, or answers
//! for another space or version is found out.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod built;
mod naive;

use std::collections::BTreeMap;

use built::{Shower, entries_of, pool, space_proof, top_of};
use naive::State;
use proptest::prelude::*;
use violeta_proof::tree::{
    CHUNK_ENCODED_BYTES_MAX, Chunk, ChunkLeaf, ChunkPlace, KeyPath, Leaf, ListedSpace,
    PartialTreeError, PathRange, VerifiedChunk, value_hash,
};
use violeta_types::Digest;

type Keys = BTreeMap<Vec<u8>, Vec<u8>>;
type Entries = Vec<(Vec<u8>, Vec<u8>)>;

fn state(seed: u8) -> State {
    let keys = pool().into_iter().enumerate();
    let keys: Keys = keys.map(|(i, key)| (key, vec![seed; i])).collect();
    let few = keys.iter().take(3).map(|(k, v)| (k.clone(), v.clone()));
    State::from([
        (b"many".to_vec(), keys.clone()),
        (b"few".to_vec(), few.collect()),
        (b"one".to_vec(), keys.into_iter().take(1).collect()),
        (b"none".to_vec(), Keys::new()),
    ])
}

fn chunk(state: &State, place: &ChunkPlace, bytes: usize) -> Chunk {
    let Some(name) = &place.space else {
        return Chunk::of_spaces(&Shower(&top_of(state)), &place.range, bytes).unwrap();
    };
    let tree = state.get(&name[..]).map(entries_of);
    let tree = tree.as_ref().map(Shower);
    let proof = space_proof(state, name);
    Chunk::of_keys(name.clone(), proof, tree.as_ref(), &place.range, bytes).unwrap()
}

fn keys_of(name: &[u8], range: PathRange) -> ChunkPlace {
    let space = Some(name.try_into().unwrap());
    ChunkPlace { space, range }
}

/// All that a chunk was verified to show: of spaces the name and the count, of keys the value.
fn shown(chunk: &VerifiedChunk) -> (PathRange, Entries) {
    match chunk {
        VerifiedChunk::Spaces(chunk) => {
            let spaces = chunk.spaces().iter();
            let spaces = spaces.map(|space| {
                let count = space.record.count.to_le_bytes();
                (space.name.to_vec(), count.to_vec())
            });
            (*chunk.range(), spaces.collect())
        }
        VerifiedChunk::Keys(chunk) => {
            let entries = chunk.entries().iter();
            let entries = entries.map(|(key, value)| (key.to_vec(), value.to_vec()));
            (*chunk.range(), entries.collect())
        }
    }
}

/// What is in a range, from the map alone.
fn within(keys: &Keys, range: &PathRange) -> Entries {
    let mut found: Vec<_> = keys.clone().into_iter().collect();
    found.sort_by_key(|(key, _)| KeyPath::of(key));
    found.retain(|(key, _)| range.holds(&KeyPath::of(key)));
    found
}

#[test]
fn chunk_after_chunk_shows_all_spaces_and_all_keys() {
    let state = state(7);
    let root = naive::root(&state);
    let counts = |state: &State| -> Keys {
        let counts = state.iter().map(|(name, keys)| (name.clone(), keys.len()));
        let counts = counts.map(|(name, n)| (name, (n as u64).to_le_bytes().to_vec()));
        counts.collect()
    };
    let lists = (ChunkPlace::SPACES, counts(&state));
    let spaces = state.iter();
    let spaces = spaces.map(|(name, keys)| (keys_of(name, PathRange::ALL), keys.clone()));
    let absent = (keys_of(b"absent", PathRange::ALL), Keys::new());
    for (place, expected) in spaces.chain([lists, absent]) {
        for bytes in [0, 1, 100, 1_000, 1 << 20] {
            let (mut next, mut found, mut chunks) = (Some(place.clone()), Vec::new(), 0);
            while let Some(place) = next {
                let chunk = chunk(&state, &place, bytes);
                assert_eq!(chunk.place(), place);
                let encoded = chunk.encode();
                let chunk = Chunk::decode(&encoded).unwrap().verify(&root).unwrap();
                let (range, part) = shown(&chunk);
                assert!(!part.is_empty() || chunk.rest().is_none(), "each shows one");
                assert!(place.range.from == range.from && chunk.root() == &root);
                found.extend(part);
                next = chunk.rest();
                chunks += 1;
            }
            assert_eq!(found, within(&expected, &PathRange::ALL));
            let least = if bytes < 2 { expected.len() } else { 1 };
            assert!(chunks >= least, "{chunks} of {bytes} bytes");
        }
    }
}

#[test]
fn what_stands_beside_the_range_has_no_value() {
    let state = state(9);
    let root = naive::root(&state);
    let [(key, value)] = &within(&state[&b"one"[..]], &PathRange::ALL)[..] else {
        panic!("one key");
    };
    let beside = PathRange::ALL.after(&KeyPath::of(key)).unwrap();
    let place = keys_of(b"one", beside);
    let Chunk::Keys(mut chunk) = chunk(&state, &place, 1_000) else {
        panic!("keys")
    };
    let leaf = ChunkLeaf::Beside(Leaf {
        key: key.clone().try_into().unwrap(),
        value_hash: value_hash(value),
    });
    assert_eq!(chunk.proof.tree.leaves[..], *std::slice::from_ref(&leaf));
    let verified = Chunk::Keys(chunk.clone()).verify(&root).unwrap();
    assert_eq!(shown(&verified), (beside, vec![]));

    // With its value it would be another encoding of the same, and without it nothing in the range.
    let entry = ChunkLeaf::Entry {
        key: key.clone().try_into().unwrap(),
        value: value.clone().try_into().unwrap(),
    };
    chunk.proof.tree.leaves = vec![entry].try_into().unwrap();
    let form = Err(PartialTreeError::LeafForm { depth: 0 });
    assert_eq!(Chunk::Keys(chunk.clone()).verify(&root), form);
    chunk.range = PathRange::ALL;
    assert!(Chunk::Keys(chunk.clone()).verify(&root).is_ok());
    chunk.proof.tree.leaves = vec![leaf].try_into().unwrap();
    assert_eq!(Chunk::Keys(chunk).verify(&root), form);
}

/// Some chunks of all kinds: cut, whole, of a space of one key, of an empty and of an absent space, of spaces.
fn some_chunks(state: &State) -> Vec<Chunk> {
    let half = PathRange {
        from: KeyPath([0x40; 32]),
        to: KeyPath([0xd0; 32]),
    };
    let places = [
        (ChunkPlace::SPACES, 1_000),
        (ChunkPlace::SPACES, 60),
        (keys_of(b"many", half), 200),
        (keys_of(b"few", PathRange::ALL), 1_000),
        (keys_of(b"one", PathRange::ALL), 1_000),
        (keys_of(b"none", PathRange::ALL), 1_000),
        (keys_of(b"absent", half), 1_000),
    ];
    let chunks = places.iter();
    chunks
        .map(|(place, bytes)| chunk(state, place, *bytes))
        .collect()
}

/// Whether what a chunk was verified to show is the truth about the range that it names.
fn is_true(chunk: &Chunk, verified: &VerifiedChunk, state: &State) -> bool {
    let (range, part) = shown(verified);
    let all: Keys = match chunk.place().space {
        Some(name) => state.get(&name[..]).cloned().unwrap_or_default(),
        None => {
            let spaces = state.iter();
            let count = |keys: &Keys| (keys.len() as u64).to_le_bytes().to_vec();
            spaces
                .map(|(name, keys)| (name.clone(), count(keys)))
                .collect()
        }
    };
    part == within(&all, &range)
}

#[test]
fn any_byte_changed_or_cut_off_is_refused_or_harmless() {
    let state = state(3);
    let root = naive::root(&state);
    for chunk in some_chunks(&state) {
        let bytes = chunk.encode();
        let verified = chunk.clone().verify(&root).unwrap();
        assert!(is_true(&chunk, &verified, &state));
        for at in 0..bytes.len() {
            assert!(Chunk::decode(&bytes[..at]).is_err(), "cut at {at}");
            for change in [1u8, 0x80, 0xff] {
                let mut bytes = bytes.clone();
                bytes[at] ^= change;
                let Ok(changed) = Chunk::decode(&bytes) else {
                    continue;
                };
                // The range may be another one as long as the same is in it: that is as true.
                if let Ok(verified) = changed.clone().verify(&root) {
                    assert!(
                        is_true(&changed, &verified, &state),
                        "byte {at} of {chunk:?}"
                    );
                }
            }
        }
        let longer = [&bytes[..], &[0]].concat();
        assert!(Chunk::decode(&longer).is_err());
    }
}

#[test]
fn a_leaf_left_out_a_value_changed_another_space_or_version_is_refused() {
    let state = state(5);
    let (root, other_root) = (naive::root(&state), naive::root(&self::state(6)));
    for chunk in some_chunks(&state) {
        assert!(chunk.clone().verify(&other_root).is_err());
        assert!(chunk.clone().verify(&Digest([0; 32])).is_err());
        match chunk {
            Chunk::Spaces(chunk) => {
                let leaves = chunk.tree.leaves.to_vec();
                for i in 0..leaves.len() {
                    let lie = |leaves: Vec<ListedSpace>| {
                        let mut chunk = chunk.clone();
                        chunk.tree.leaves = leaves.try_into().unwrap();
                        Chunk::Spaces(chunk).verify(&root).unwrap_err()
                    };
                    let mut fewer = leaves.clone();
                    fewer.remove(i);
                    lie(fewer);
                    let mut more_keys = leaves.clone();
                    more_keys[i].record.count += 1;
                    lie(more_keys);
                    let mut renamed = leaves.clone();
                    renamed[i].name = (&b"other"[..]).try_into().unwrap();
                    lie(renamed);
                }
            }
            Chunk::Keys(chunk) => {
                let mut elsewhere = chunk.clone();
                elsewhere.name = (&b"many2"[..]).try_into().unwrap();
                // Unless neither is there.
                let verdict = Chunk::Keys(elsewhere).verify(&root);
                assert_eq!(verdict.is_ok(), &chunk.name[..] == b"absent");
                let leaves = chunk.proof.tree.leaves.to_vec();
                for i in 0..leaves.len() {
                    let lie = |leaves: Vec<ChunkLeaf>| {
                        let mut chunk = chunk.clone();
                        chunk.proof.tree.leaves = leaves.try_into().unwrap();
                        Chunk::Keys(chunk).verify(&root).unwrap_err()
                    };
                    let mut fewer = leaves.clone();
                    fewer.remove(i);
                    lie(fewer);
                    let mut twice = leaves.clone();
                    twice.insert(i, leaves[i].clone());
                    lie(twice);
                    if let ChunkLeaf::Entry { key, .. } = &leaves[i] {
                        let (key, value) = (key.clone(), (&b"lie"[..]).try_into().unwrap());
                        let mut changed = leaves.clone();
                        changed[i] = ChunkLeaf::Entry { key, value };
                        lie(changed);
                    }
                }
            }
        }
    }
}

#[test]
fn more_bytes_than_a_chunk_may_have_are_refused_unread() {
    let bytes = vec![0; CHUNK_ENCODED_BYTES_MAX + 1];
    let error = Chunk::decode(&bytes).unwrap_err().to_string();
    assert!(error.contains("at most 23068672"), "{error}");
}

proptest! {
    #[test]
    fn any_range_in_chunks_of_any_size_is_what_the_map_has(
        ends: [[u8; 2]; 2], sizes in proptest::collection::vec(0usize..400, 1..8)
    ) {
        let state = state(1);
        let root = naive::root(&state);
        let path = |[a, b]: [u8; 2]| { let mut path = [b; 32]; path[0] = a; KeyPath(path) };
        let (a, b) = (path(ends[0]), path(ends[1]));
        let range = PathRange { from: a.min(b), to: a.max(b) };
        let mut next = Some(keys_of(b"many", range));
        let (mut found, mut sizes) = (Vec::new(), sizes.into_iter().cycle());
        while let Some(place) = next {
            let chunk = chunk(&state, &place, sizes.next().unwrap());
            let verified = chunk.clone().verify(&root).unwrap();
            prop_assert!(is_true(&chunk, &verified, &state));
            found.extend(shown(&verified).1);
            next = verified.rest();
        }
        prop_assert_eq!(found, within(&state[&b"many"[..]], &range));
    }

    #[test]
    fn arbitrary_bytes_are_no_chunk(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        if let Ok(chunk) = Chunk::decode(&bytes) {
            prop_assert_eq!(chunk.encode(), bytes);
            prop_assert!(chunk.verify(&Digest([1; 32])).is_err());
        }
    }
}
