//! The vectors of proofs of many keys, ranges and changes, and of chunks: `vectors/proofs.json`, which `vectors/check.py` checks with an
//! implementation of its own.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod built;
mod naive;

use std::ops::ControlFlow;
use std::path::Path;

use borsh::BorshSerialize;
use built::{Shower, Tree, entries_of, space_proof, top_of};
use naive::State;
use serde::Serialize;
use serde_json::{Value, json};
use violeta_proof::tree::{
    Change, ChangeProof, Chunk, KeyPath, ListedSpace, MultiProof, PathRange, RangeProof, Sides,
    VerifiedChunk,
};
use violeta_types::{Digest, encode};

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

fn state(spaces: &[(&str, std::ops::Range<usize>, &str)]) -> State {
    let mut state = State::new();
    for (name, keys, value) in spaces {
        let space = state.entry(name.as_bytes().to_vec()).or_default();
        for i in keys.clone() {
            let (key, value) = (format!("key {i}"), format!("{value} {i}"));
            space.insert(key.into_bytes(), value.into_bytes());
        }
    }
    state
}

/// States that follow one another.
fn states() -> Vec<State> {
    let mut odd = state(&[("a", 0..24, "value"), ("c", 5..6, "value")]);
    let space = odd.entry(b"a".to_vec()).or_default();
    space.insert(b"key 3".to_vec(), b"another value".to_vec());
    space.insert(vec![], vec![]);
    space.insert(vec![9; 200], b"a key of more than a block".to_vec());
    vec![
        State::new(),
        state(&[("a", 0..1, "value"), ("b", 0..0, "")]),
        state(&[("a", 0..20, "value"), ("b", 0..0, ""), ("c", 0..9, "value")]),
        odd,
        state(&[("a", 7..8, "changed"), ("b", 0..5, "value")]),
    ]
}

fn ranges() -> [PathRange; 3] {
    let range = |from: u8, to: u8| PathRange {
        from: KeyPath([from; 32]),
        to: KeyPath([to; 32]),
    };
    [PathRange::ALL, range(0x30, 0xa7), range(0x55, 0x55)]
}

fn tree_of(state: &State, space: &[u8]) -> Option<Tree> {
    state.get(space).map(Tree::of)
}

fn multi(number: usize, state: &State, space: &[u8]) -> Value {
    let keys = ["key 0", "key 3", "key 7", "key 8", "no", "neither", ""].map(str::as_bytes);
    let tree = tree_of(state, space);
    let shower = tree.as_ref().map(Shower);
    let proof = MultiProof::prove(space_proof(state, space), shower.as_ref(), &keys).unwrap();
    let value = |key: &[u8]| state.get(space).and_then(|keys| keys.get(key));
    let claims: Vec<_> = keys
        .iter()
        .map(|key| (*key, value(key).map(Vec::as_slice)))
        .collect();
    assert_eq!(proof.verify(&naive::root(state), space, &claims), Ok(()));
    json!({
        "state": number, "space": hex(space),
        "claims": claims.iter().map(|(k, v)| json!([hex(k), v.map(hex)])).collect::<Vec<_>>(),
        "encoded": hex(&encode(&proof)), "proof": for_people(&proof),
    })
}

fn range(number: usize, state: &State, space: &[u8], range: &PathRange, page: usize) -> Value {
    let tree = tree_of(state, space);
    let shower = tree.as_ref().map(Shower);
    let mut count = 0;
    let visit = |_: &_| until(&mut count, page);
    let proof =
        RangeProof::prove(space_proof(state, space), shower.as_ref(), range, visit).unwrap();
    let mut found = vec![];
    let visit = |leaf: &violeta_proof::tree::Leaf| found.push(leaf.key.to_vec());
    let proved = proof
        .read(&naive::root(state), space, range, visit)
        .unwrap();
    let entry = |key: &Vec<u8>| json!([hex(key), hex(&state[space][key])]);
    json!({
        "state": number, "space": hex(space), "range": range, "rest": proved.rest,
        "entries": found.iter().map(entry).collect::<Vec<_>>(),
        "encoded": hex(&encode(&proof)), "proof": for_people(&proof),
    })
}

fn changes(
    numbers: [usize; 2],
    states: &[State],
    space: &[u8],
    range: &PathRange,
    page: usize,
) -> Value {
    let both = numbers.map(|number| &states[number]);
    let trees = both.map(|state| tree_of(state, space));
    let showers = [0, 1].map(|i| trees[i].as_ref().map(Shower));
    let trees = Sides {
        old: showers[0].as_ref(),
        new: showers[1].as_ref(),
    };
    let spaces = Sides {
        old: space_proof(both[0], space),
        new: space_proof(both[1], space),
    };
    let mut count = 0;
    let visit = |_: Change<'_>| until(&mut count, page);
    let proof = ChangeProof::prove(spaces, trees, range, visit).unwrap();
    let roots = Sides {
        old: naive::root(both[0]),
        new: naive::root(both[1]),
    };
    let mut found = vec![];
    let visit = |change: Change<'_>| found.push(change.key.to_vec());
    let proved = proof.read(&roots, space, range, visit).unwrap();
    let value =
        |state: &State, key: &Vec<u8>| state.get(space).and_then(|k| k.get(key)).map(|v| hex(v));
    let change = |key: &Vec<u8>| json!([hex(key), value(both[0], key), value(both[1], key)]);
    json!({
        "states": numbers, "space": hex(space), "range": range, "rest": proved.rest,
        "changes": found.iter().map(change).collect::<Vec<_>>(),
        "encoded": hex(&encode(&proof)), "proof": for_people(&proof),
    })
}

/// A chunk of a space, or of the list of spaces.
fn chunk(
    number: usize,
    state: &State,
    space: Option<&[u8]>,
    range: &PathRange,
    bytes: usize,
) -> Value {
    let made = match space {
        None => Chunk::of_spaces(&Shower(&top_of(state)), range, bytes),
        Some(name) => {
            let tree = state.get(name).map(entries_of);
            let shower = tree.as_ref().map(Shower);
            let (name, proof) = (name.try_into().unwrap(), space_proof(state, name));
            Chunk::of_keys(name, proof, shower.as_ref(), range, bytes)
        }
    };
    let made = made.unwrap();
    let encoded = hex(&made.encode());
    let verified = made.verify(&naive::root(state)).unwrap();
    let rest = verified.rest().map(|place| place.range);
    let space = space.map(hex);
    match verified {
        VerifiedChunk::Spaces(chunk) => {
            let listed = |s: &ListedSpace| json!([hex(&s.name), s.record.count, s.record.root]);
            let spaces: Vec<_> = chunk.spaces().iter().map(listed).collect();
            json!({
                "state": number, "space": space, "range": range, "rest": rest, "spaces": spaces,
                "encoded": encoded,
            })
        }
        VerifiedChunk::Keys(chunk) => {
            let entries = chunk.entries().iter();
            let entries: Vec<_> = entries.map(|(k, v)| json!([hex(k), hex(v)])).collect();
            json!({
                "state": number, "space": space, "range": range, "rest": rest, "entries": entries,
                "encoded": encoded,
            })
        }
    }
}

/// The JSON form of a small proof.
fn for_people<T: BorshSerialize + Serialize>(proof: &T) -> Option<&T> {
    (encode(proof).len() < 400).then_some(proof)
}

fn until(count: &mut usize, page: usize) -> ControlFlow<()> {
    *count += 1;
    match *count < page {
        true => ControlFlow::Continue(()),
        false => ControlFlow::Break(()),
    }
}

fn vectors() -> Value {
    let states = states();
    let [all, some, point] = ranges();
    let spaces = [&b"a"[..], b"b", b"c"];
    let mut vectors = [vec![], vec![], vec![], vec![]];
    for (number, state) in states.iter().enumerate() {
        for space in spaces {
            vectors[0].push(multi(number, state, space));
        }
        for (asked, page) in [(&all, 100), (&some, 3), (&point, 100)] {
            vectors[1].push(range(number, state, b"a", asked, page));
        }
        for (asked, bytes) in [(&all, 1_000), (&all, 60), (&some, 1_000)] {
            vectors[3].push(chunk(number, state, None, asked, bytes));
        }
        for (asked, bytes) in [(&all, 1_000), (&some, 70), (&point, 1_000)] {
            vectors[3].push(chunk(number, state, Some(b"a"), asked, bytes));
        }
        vectors[3].push(chunk(number, state, Some(b"b"), &all, 1_000));
    }
    for (old, new) in [(0, 1), (1, 2), (2, 3), (3, 4), (4, 1), (2, 2), (4, 0)] {
        for (asked, page) in [(&all, 100), (&some, 2)] {
            vectors[2].push(changes([old, new], &states, b"a", asked, page));
        }
        vectors[2].push(changes([old, new], &states, b"c", &all, 100));
    }
    let contents = |state: &State| -> Value {
        let space = |(name, keys): (&Vec<u8>, &std::collections::BTreeMap<Vec<u8>, Vec<u8>>)| {
            let keys = keys.iter().map(|(k, v)| (hex(k), Value::from(hex(v))));
            (
                hex(name),
                Value::from(keys.collect::<serde_json::Map<_, _>>()),
            )
        };
        state
            .iter()
            .map(space)
            .collect::<serde_json::Map<_, _>>()
            .into()
    };
    let root = |state: &State| -> Digest { naive::root(state) };
    let [multi, ranges, changes, chunks] = vectors;
    json!({
        "states": states.iter().map(|s| json!({ "spaces": contents(s), "root": root(s) })).collect::<Vec<_>>(),
        "multi": multi, "ranges": ranges, "changes": changes, "chunks": chunks,
    })
}

/// The vectors are part of the format: whoever changes this file changes what every client verifies. Written anew when
/// it's missing.
#[test]
fn vectors_are_as_published() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../vectors/proofs.json");
    let made = vectors();
    if !path.exists() {
        std::fs::write(&path, serde_json::to_string_pretty(&made).unwrap() + "\n").unwrap();
        panic!(
            "{} was missing and is written: read it, and run again",
            path.display()
        );
    }
    let published: Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
    assert!(
        published == made,
        "proofs aren't made as they are published"
    );
}
