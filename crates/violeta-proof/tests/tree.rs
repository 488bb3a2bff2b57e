//! Proofs of the tree against the naive second implementation, its vectors, and whoever changes a bit of them.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod naive;

use std::collections::BTreeMap;
use std::path::Path;

use naive::State;
use proptest::prelude::*;
use serde::{Deserialize, Serialize};
use violeta_proof::tree::{Branch, End, Place, SpaceKind, SpaceRecord, TreeProof, value_hash};
use violeta_types::{Digest, decode, encode};

/// The proof of a key, made from the naive tree.
fn prove(state: &State, space: &[u8], key: &[u8]) -> TreeProof {
    let convert = |branch: naive::Branch| Branch {
        bitmaps: branch.bitmaps.try_into().unwrap(),
        siblings: branch.siblings.try_into().unwrap(),
    };
    let space_path = naive::path(space);
    let record = |keys: &BTreeMap<Vec<u8>, Vec<u8>>| SpaceRecord {
        kind: SpaceKind::Hashed,
        count: keys.len() as u64,
        root: naive::space_root(keys),
    };
    let place = match (state.get(space), naive::alone(state.keys(), &space_path)) {
        (None, None) => Place::Empty,
        (None, Some(name)) => Place::Other {
            name: name.clone().try_into().unwrap(),
            record: record(&state[name]),
        },
        (Some(keys), _) => {
            let path = naive::path(key);
            let end = match (keys.contains_key(key), naive::alone(keys.keys(), &path)) {
                (true, _) => End::Leaf,
                (false, None) => End::Empty,
                (false, Some(other)) => End::Other {
                    key: other.clone().try_into().unwrap(),
                    value_hash: value_hash(&keys[other]),
                },
            };
            Place::Present {
                record: record(keys),
                branch: convert(naive::branch(&naive::space_leaves(keys), &path)),
                end,
            }
        }
    };
    TreeProof {
        top: convert(naive::branch(&naive::top_leaves(state), &space_path)),
        place,
    }
}

fn state(spaces: &[(&str, usize)]) -> State {
    let keys = |n: usize| {
        let keys = 0..n;
        keys.map(|i| {
            (
                format!("key {i}").into_bytes(),
                format!("value {i}").into_bytes(),
            )
        })
        .collect()
    };
    let spaces = spaces.iter();
    spaces
        .map(|(name, n)| (name.as_bytes().to_vec(), keys(*n)))
        .collect()
}

/// A space, a key, and its value or that it has none.
type Question = (Vec<u8>, Vec<u8>, Option<Vec<u8>>);

/// Spaces and keys there and not there.
fn questions(state: &State) -> Vec<Question> {
    let mut questions = vec![(b"no such space".to_vec(), b"k".to_vec(), None)];
    for (space, keys) in state {
        for (key, value) in keys {
            questions.push((space.clone(), key.clone(), Some(value.clone())));
        }
        for i in 0..8u8 {
            questions.push((space.clone(), vec![b'n', b'o', i], None));
        }
    }
    questions
}

#[test]
fn every_key_there_and_not_there_is_proved_and_nothing_else_of_it() {
    for shape in [
        &[][..],
        &[("one", 0)],
        &[("one", 1)],
        &[("one", 2), ("two", 0)],
        &[("a", 1), ("b", 40), ("c", 3), ("d", 0), ("e", 17)],
    ] {
        let state = state(shape);
        let root = naive::root(&state);
        for (space, key, value) in questions(&state) {
            let proof = prove(&state, &space, &key);
            let claim = value.as_deref();
            assert_eq!(
                proof.verify(&root, &space, &key, claim),
                Ok(()),
                "{shape:?}"
            );
            assert!(proof.verify(&root, &space, &key, Some(b"another")).is_err());
            assert!(proof.verify(&Digest([1; 32]), &space, &key, claim).is_err());
            if value.is_some() {
                assert!(proof.verify(&root, &space, &key, None).is_err());
                assert!(proof.verify(&root, &space, b"other key", claim).is_err());
                assert!(proof.verify(&root, b"other space", &key, claim).is_err());
            }
        }
    }
}

/// A liar changes one bit: the proof must fail for every claim, the true one included (it has one form only).
fn no_bit_can_be_flipped(state: &State, space: &[u8], key: &[u8]) {
    let root = naive::root(state);
    let truth = state.get(space).and_then(|keys| keys.get(key));
    let bytes = encode(&prove(state, space, key));
    for bit in 0..bytes.len() * 8 {
        let mut bad = bytes.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        if let Ok(proof) = decode::<TreeProof>(&bad) {
            for claim in [truth.map(Vec::as_slice), None, Some(b"lie"), Some(b"")] {
                let verdict = proof.verify(&root, space, key, claim);
                assert!(verdict.is_err(), "bit {bit}, {claim:?}");
            }
        }
    }
}

#[test]
fn a_flipped_bit_anywhere_makes_a_proof_worthless() {
    let state = state(&[("a", 30), ("b", 1), ("c", 2)]);
    for (space, key) in [
        ("a", "key 7"),
        ("a", "no"),
        ("b", "key 0"),
        ("b", "no"),
        ("z", "no"),
    ] {
        no_bit_can_be_flipped(&state, space.as_bytes(), key.as_bytes());
    }
}

#[test]
fn the_proof_of_one_key_proves_no_other_key() {
    let state = state(&[("a", 60)]);
    let root = naive::root(&state);
    let keys = &state[&b"a"[..]];
    for (key, value) in keys {
        let proof = prove(&state, b"a", key);
        for (other, other_value) in keys.iter().filter(|(other, _)| *other != key) {
            assert!(proof.verify(&root, b"a", other, Some(other_value)).is_err());
            assert!(proof.verify(&root, b"a", other, Some(value)).is_err());
            assert!(proof.verify(&root, b"a", other, None).is_err());
        }
    }
}

/// A liar proves where another key lies, and says that therefore this one isn't there.
#[test]
fn a_key_that_lies_elsewhere_shows_no_absence() {
    let state = state(&[("a", 60)]);
    let root = naive::root(&state);
    let keys = &state[&b"a"[..]];
    for (other, value) in keys {
        let mut lie = prove(&state, b"a", other);
        let Place::Present { end, .. } = &mut lie.place else {
            panic!("the space is there");
        };
        *end = End::Other {
            key: other.clone().try_into().unwrap(),
            value_hash: value_hash(value),
        };
        for key in keys.keys() {
            assert!(lie.verify(&root, b"a", key, None).is_err());
        }
    }
}

#[test]
fn proofs_read_as_they_were_written_in_both_forms() {
    let state = state(&[("a", 30), ("b", 1)]);
    for (space, key, _) in questions(&state) {
        let proof = prove(&state, &space, &key);
        assert_eq!(decode::<TreeProof>(&encode(&proof)).unwrap(), proof);
        let json = serde_json::to_string(&proof).unwrap();
        assert_eq!(serde_json::from_str::<TreeProof>(&json).unwrap(), proof);
    }
}

proptest! {
    #[test]
    fn bytes_that_are_no_proof_are_refused_without_panic(
        bytes in proptest::collection::vec(any::<u8>(), 0..400),
        small in proptest::collection::vec(0u8..3, 0..200),
    ) {
        for bytes in [bytes, small] {
            if let Ok(proof) = decode::<TreeProof>(&bytes) {
                prop_assert!(proof.verify(&Digest([7; 32]), b"s", b"k", None).is_err());
                prop_assert!(proof.verify(&Digest([7; 32]), b"s", b"k", Some(b"v")).is_err());
            }
        }
    }
}

/// One vector: a state, its root, and proofs in it. Everything is hexadecimal but the proofs' JSON form.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Vector {
    description: String,
    state: BTreeMap<String, BTreeMap<String, String>>,
    space_roots: BTreeMap<String, Digest>,
    root: Digest,
    proofs: Vec<VectorProof>,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct VectorProof {
    space: String,
    key: String,
    value: Option<String>,
    encoded: String,
    proof: TreeProof,
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

fn vector(description: &str, state: &State) -> Vector {
    let questions = questions(state).into_iter().step_by(5);
    Vector {
        description: description.to_owned(),
        root: naive::root(state),
        space_roots: state
            .iter()
            .map(|(n, k)| (hex(n), naive::space_root(k)))
            .collect(),
        proofs: questions
            .map(|(space, key, value)| {
                let proof = prove(state, &space, &key);
                VectorProof {
                    space: hex(&space),
                    key: hex(&key),
                    value: value.map(|v| hex(&v)),
                    encoded: hex(&encode(&proof)),
                    proof,
                }
            })
            .collect(),
        state: state
            .iter()
            .map(|(name, keys)| {
                let keys = keys.iter().map(|(k, v)| (hex(k), hex(v)));
                (hex(name), keys.collect())
            })
            .collect(),
    }
}

fn vectors() -> Vec<Vector> {
    let mut odd = State::new();
    let keys = odd.entry(vec![]).or_default();
    keys.insert(vec![], vec![]);
    keys.insert(vec![0], vec![1; 100]);
    keys.insert(vec![9; 200], b"a key of more than a block".to_vec());
    vec![
        vector("no space", &State::new()),
        vector("one space without keys", &state(&[("empty", 0)])),
        vector("one key", &state(&[("one", 1)])),
        vector(
            "an empty name, an empty key, an empty value, a long key",
            &odd,
        ),
        vector(
            "several spaces",
            &state(&[("a", 2), ("b", 20), ("c", 0), ("d", 5)]),
        ),
    ]
}

/// The vectors are part of the format: whoever changes this file changes what every client verifies. Written anew when
/// it's missing.
#[test]
fn vectors_are_as_published() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/tree.json");
    let made = vectors();
    if !path.exists() {
        let json = serde_json::to_string_pretty(&made).unwrap();
        std::fs::write(&path, json + "\n").unwrap();
        panic!(
            "{} was missing and is written: read it, and run again",
            path.display()
        );
    }
    let published: Vec<Vector> =
        serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
    assert_eq!(published, made);
}
