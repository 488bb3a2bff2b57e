//! The whole proofs of many keys: from values and entries to a certified head. What is proved is compared with the state
//! that the trees were made of; whoever leaves out, adds or changes something is refused, with the part that fails.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod built;
mod naive;

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use built::{Shower, Tree, space_proof};
use naive::State;
use violeta_crypto::ValidatorSecretKey;
use violeta_proof::entries_proof::range_after;
use violeta_proof::tree::{ChangeProof, MultiProof, PartialTreeError, RangeProof, Sides};
use violeta_proof::{
    ChangesProof, EntriesProof, HeadProof, KeyClaim, ProofError, StoredValue, Trust, ValuesProof,
    Vouch,
};
use violeta_types::transaction::{Key, Value};
use violeta_types::*;

const SPACE: &[u8] = b"shop";

type Stock = BTreeMap<Vec<u8>, StoredValue>;

fn stored(written_at: u64, value: &str) -> StoredValue {
    StoredValue {
        written_at: Height(written_at),
        value: Value::try_from(value.as_bytes()).unwrap(),
    }
}

fn stock(count: usize) -> Stock {
    let entry = |i: usize| (format!("key {i}").into_bytes(), stored(3, &format!("v{i}")));
    (0..count).map(entry).collect()
}

fn secret(i: u8) -> ValidatorSecretKey {
    ValidatorSecretKey::from_seed([i + 1; 32])
}

fn committee() -> Committee {
    let member = |i: u8| Member {
        stake: Stake(1),
        validator_key: secret(i).public_key(),
        share_key: None,
        node_key: NodePublicKey([i; 32]),
        operator_key: OperatorPublicKey([i; 32]),
    };
    Committee::new(Epoch(0), (0..4).map(member).collect(), None).unwrap()
}

fn trust() -> Trust {
    Trust::in_committee(ChainId(Digest::ZERO), committee())
}

/// The state of a height: the stock, if there is a shop, and another space; with its certified head.
struct Version {
    state: State,
    tree: Option<Tree>,
    head: HeadProof,
}

impl Version {
    fn new(height: u64, stock: Option<&Stock>) -> Version {
        let mut state = State::new();
        state.insert(b"other".to_vec(), BTreeMap::new());
        if let Some(stock) = stock {
            let bytes = |(k, v): (&Vec<u8>, &StoredValue)| (k.clone(), v.to_stored().to_vec());
            state.insert(SPACE.to_vec(), stock.iter().map(bytes).collect());
        }
        let head = Head {
            chain: ChainId(Digest::ZERO),
            epoch: Epoch(0),
            height: Height(height),
            previous: HeadId(Digest::ZERO),
            commit_index: CommitIndex(height),
            commit_digest: Digest::ZERO,
            time: TimeMs(1),
            transactions_root: Digest::ZERO,
            results_root: Digest::ZERO,
            state_root: naive::root(&state),
            history_root: Digest::ZERO,
            committee: committee().digest(),
            next_committee: committee().digest(),
        };
        let id = head.id();
        let sign = |i: u8| (ValidatorIndex(i.into()), secret(i).sign_attestation(&id));
        let vouch = Vouch::Certificate(Certificate {
            height: head.height,
            head: id,
            signatures: (0..3).map(sign).collect::<Vec<_>>().try_into().unwrap(),
        });
        Version {
            tree: state.get(SPACE).map(Tree::of),
            state,
            head: HeadProof { head, vouch },
        }
    }

    fn entries(&self, stock: &Stock, after: Option<Key>, limit: usize) -> EntriesProof {
        let tree = self.tree.as_ref().map(Shower);
        let range = range_after(after.as_ref()).unwrap();
        let (mut values, mut left) = (Vec::new(), limit);
        let space = space_proof(&self.state, SPACE);
        let tree = RangeProof::prove(space, tree.as_ref(), &range, |leaf| {
            values.push(stock[&leaf.key[..]].clone());
            stop_at_none(&mut left)
        });
        EntriesProof {
            namespace: SPACE.try_into().unwrap(),
            after,
            values: values.try_into().unwrap(),
            tree: tree.unwrap(),
            head: self.head.clone(),
        }
    }

    fn values(&self, stock: &Stock, keys: &[&str]) -> ValuesProof {
        let tree = self.tree.as_ref().map(Shower);
        let claim = |key: &&str| KeyClaim {
            key: key.as_bytes().try_into().unwrap(),
            value: stock.get(key.as_bytes()).cloned(),
        };
        let claims: Vec<_> = keys.iter().map(claim).collect();
        let space = space_proof(&self.state, SPACE);
        ValuesProof {
            namespace: SPACE.try_into().unwrap(),
            claims: claims.try_into().unwrap(),
            tree: MultiProof::prove(space, tree.as_ref(), keys).unwrap(),
            head: self.head.clone(),
        }
    }
}

fn stop_at_none(left: &mut usize) -> ControlFlow<()> {
    *left -= 1;
    match left {
        0 => ControlFlow::Break(()),
        _ => ControlFlow::Continue(()),
    }
}

fn changes(
    (old, old_stock): (&Version, &Stock),
    (new, new_stock): (&Version, &Stock),
    after: Option<Key>,
    limit: usize,
) -> ChangesProof {
    let (old_tree, new_tree) = (old.tree.as_ref().map(Shower), new.tree.as_ref().map(Shower));
    let spaces = Sides {
        old: space_proof(&old.state, SPACE),
        new: space_proof(&new.state, SPACE),
    };
    let trees = Sides {
        old: old_tree.as_ref(),
        new: new_tree.as_ref(),
    };
    let range = range_after(after.as_ref()).unwrap();
    let (mut values, mut left) = (Vec::new(), limit);
    let tree = ChangeProof::prove(spaces, trees, &range, |change| {
        values.push(Sides {
            old: old_stock.get(change.key).cloned(),
            new: new_stock.get(change.key).cloned(),
        });
        stop_at_none(&mut left)
    });
    ChangesProof {
        namespace: SPACE.try_into().unwrap(),
        after,
        values: values.try_into().unwrap(),
        tree: tree.unwrap(),
        heads: Sides {
            old: old.head.clone(),
            new: new.head.clone(),
        },
    }
}

fn key(text: &str) -> Key {
    text.as_bytes().try_into().unwrap()
}

#[test]
fn a_namespace_is_proved_whole_part_by_part() {
    for count in [0, 1, 2, 50] {
        let stock = stock(count);
        let version = Version::new(7, Some(&stock));
        let (mut found, mut after) = (Stock::new(), None);
        loop {
            let proof = version.entries(&stock, after, 7);
            let part = proof.verify(&trust()).unwrap();
            assert_eq!(part.count, Some(count as u64));
            assert_eq!(part.vouched.head.head(), &version.head.head);
            assert_eq!(part.vouched.vouched_height, Height(7));
            let entries = part.entries.into_iter();
            found.extend(entries.map(|entry| (entry.key.to_vec(), entry.value)));
            after = part.next;
            if after.is_none() {
                break;
            }
        }
        assert_eq!(found, stock);
    }
    let version = Version::new(7, None);
    let part = version.entries(&Stock::new(), None, 7);
    let part = part.verify(&trust()).unwrap();
    assert_eq!((part.entries.len(), part.next, part.count), (0, None, None));
}

/// What the verifier says of a proof that somebody changed.
fn verdict<P: Clone, T>(
    good: &P,
    verify: impl Fn(&P) -> Result<T, ProofError>,
    change: impl Fn(&mut P),
) -> ProofError {
    let mut proof = good.clone();
    change(&mut proof);
    verify(&proof).err().unwrap()
}

#[test]
fn whoever_leaves_out_adds_or_changes_an_entry_is_refused() {
    let stock = stock(40);
    let version = Version::new(7, Some(&stock));
    let good = version.entries(&stock, Some(key("key 3")), 5);
    let of = |change: &dyn Fn(&mut EntriesProof)| {
        verdict(&good, |p| p.verify(&trust()).map(drop), change)
    };
    assert_eq!(
        of(&|p| p.values = p.values[1..].to_vec().try_into().unwrap()),
        ProofError::Many(PartialTreeError::ClaimedTooLittle { claims: 4 })
    );
    let more = |p: &mut EntriesProof| {
        let values = [&p.values[..], &[stored(3, "v")]].concat();
        p.values = values.try_into().unwrap();
    };
    assert_eq!(
        of(&more),
        ProofError::Many(PartialTreeError::ClaimedPresent { claim: 5 })
    );
    let changed = |p: &mut EntriesProof| {
        let mut values = p.values.to_vec();
        values[2].value = Value::try_from(&b"other"[..]).unwrap();
        p.values = values.try_into().unwrap();
    };
    assert_eq!(
        of(&changed),
        ProofError::Many(PartialTreeError::ClaimedOtherwise { claim: 2 })
    );
    assert!(good.verify(&trust()).unwrap().next.is_some());
    // A leaf and its value left out together; another beginning; another end.
    let without_one = |p: &mut EntriesProof| {
        p.values = p.values[1..].to_vec().try_into().unwrap();
        p.tree.tree.leaves = p.tree.tree.leaves[1..].to_vec().try_into().unwrap();
    };
    assert!(matches!(of(&without_one), ProofError::Many(_)));
    assert!(matches!(of(&|p| p.after = None), ProofError::Many(_)));
    assert!(matches!(
        of(&|p| p.after = Some(key("key 4"))),
        ProofError::Many(_)
    ));
    assert!(matches!(
        of(&|p| p.tree.through = None),
        ProofError::Many(_)
    ));
    assert!(matches!(
        of(&|p| p.namespace = b"other"[..].try_into().unwrap()),
        ProofError::Many(_)
    ));
    assert!(matches!(
        of(&|p| p.head.head.height = Height(8)),
        ProofError::OtherHead { .. }
    ));
}

#[test]
fn many_keys_are_proved_at_once_and_no_claim_can_be_changed() {
    let stock = stock(20);
    let version = Version::new(7, Some(&stock));
    let good = version.values(&stock, &["key 3", "nothing", "key 11", "key 3"]);
    assert_eq!(
        good.verify(&trust()).unwrap().head.head(),
        &version.head.head
    );
    let of = |at: usize, value: Option<StoredValue>| {
        let change = |p: &mut ValuesProof| {
            let mut claims = p.claims.clone().into_inner();
            claims[at].value = value.clone();
            p.claims = claims.try_into().unwrap();
        };
        match verdict(&good, |p| p.verify(&trust()), change) {
            ProofError::Many(error) => error,
            other => panic!("{other}"),
        }
    };
    assert_eq!(of(0, None), PartialTreeError::ClaimedAbsent { claim: 0 });
    let other = Some(stored(3, "v"));
    assert_eq!(
        of(1, other.clone()),
        PartialTreeError::ClaimedPresent { claim: 1 }
    );
    assert_eq!(
        of(2, other),
        PartialTreeError::ClaimedOtherwise { claim: 2 }
    );
    let nowhere = Version::new(7, None).values(&Stock::new(), &["key 3"]);
    nowhere.verify(&trust()).unwrap();
}

#[test]
fn changes_between_two_heights_are_proved_whole_part_by_part() {
    let old_stock = stock(40);
    let mut new_stock = old_stock.clone();
    let mut expected = BTreeMap::new();
    for i in [1, 8, 20, 33] {
        let name = format!("key {i}").into_bytes();
        let old = new_stock.insert(name.clone(), stored(6, "new"));
        expected.insert(name, (old, Some(stored(6, "new"))));
    }
    let gone = new_stock.remove(&b"key 5"[..]);
    expected.insert(b"key 5".to_vec(), (gone, None));
    new_stock.insert(b"more".to_vec(), stored(7, "m"));
    expected.insert(b"more".to_vec(), (None, Some(stored(7, "m"))));
    let old = Version::new(4, Some(&old_stock));
    let new = Version::new(7, Some(&new_stock));
    let (mut found, mut after) = (BTreeMap::new(), None);
    loop {
        let proof = changes((&old, &old_stock), (&new, &new_stock), after, 2);
        let part = proof.verify(&trust()).unwrap();
        let heights = (part.vouched.old.head, part.vouched.new.head);
        assert_eq!(
            (heights.0.head(), heights.1.head()),
            (&old.head.head, &new.head.head)
        );
        let entries = part.changes.into_iter();
        found.extend(entries.map(|c| (c.key.to_vec(), (c.values.old, c.values.new))));
        after = part.next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(found, expected);
    // A namespace that appears in between goes from nothing to all that it has.
    let before = Version::new(2, None);
    let none = Stock::new();
    let proof = changes((&before, &none), (&old, &old_stock), None, 100);
    assert_eq!(proof.verify(&trust()).unwrap().changes.len(), 40);
}

#[test]
fn whoever_leaves_out_or_changes_a_change_or_turns_time_round_is_refused() {
    let (old_stock, mut new_stock) = (stock(10), stock(10));
    new_stock.insert(b"key 4".to_vec(), stored(6, "new"));
    let old = Version::new(4, Some(&old_stock));
    let new = Version::new(7, Some(&new_stock));
    let good = changes((&old, &old_stock), (&new, &new_stock), None, 100);
    let of = |change: &dyn Fn(&mut ChangesProof)| {
        verdict(&good, |p| p.verify(&trust()).map(drop), change)
    };
    assert_eq!(
        of(&|p| p.values = Bounded::default()),
        ProofError::Many(PartialTreeError::ClaimedTooLittle { claims: 0 })
    );
    let denied = |p: &mut ChangesProof| {
        let mut values = p.values.to_vec();
        values[0].old = None;
        p.values = values.try_into().unwrap();
    };
    assert_eq!(
        of(&denied),
        ProofError::Many(PartialTreeError::ClaimedOtherwise { claim: 0 })
    );
    let nothing = |p: &mut ChangesProof| {
        (p.values, p.tree.tree) = (Bounded::default(), Default::default());
    };
    assert!(matches!(of(&nothing), ProofError::Many(_)));
    let (older, newer) = (Height(7), Height(4));
    let round = |p: &mut ChangesProof| std::mem::swap(&mut p.heads.old, &mut p.heads.new);
    assert_eq!(of(&round), ProofError::HeadsOutOfOrder { older, newer });
    let same = |p: &mut ChangesProof| p.heads.old = p.heads.new.clone();
    assert!(matches!(of(&same), ProofError::HeadsOutOfOrder { .. }));
}

#[test]
fn values_from_the_future_are_refused() {
    let stock: Stock = [(b"k".to_vec(), stored(8, "v"))].into();
    let version = Version::new(7, Some(&stock));
    let late = |error: ProofError| matches!(error, ProofError::WrittenLater { .. });
    assert!(late(
        version
            .entries(&stock, None, 5)
            .verify(&trust())
            .unwrap_err()
    ));
    assert!(late(
        version.values(&stock, &["k"]).verify(&trust()).unwrap_err()
    ));
    let none = Stock::new();
    let before = Version::new(2, None);
    let proof = changes((&before, &none), (&version, &stock), None, 5);
    assert!(late(proof.verify(&trust()).unwrap_err()));
}

#[test]
fn each_has_one_encoding_a_json_form_and_no_bit_that_could_be_another() {
    let stock = stock(4);
    let version = Version::new(7, Some(&stock));
    let entries = version.entries(&stock, None, 3);
    let values = version.values(&stock, &["key 1", "none"]);
    let before = Version::new(2, None);
    let changed = changes((&before, &Stock::new()), (&version, &stock), None, 3);
    assert_eq!(
        EntriesProof::from_json(&entries.to_json()).unwrap(),
        entries
    );
    assert_eq!(ValuesProof::from_json(&values.to_json()).unwrap(), values);
    assert_eq!(
        ChangesProof::from_json(&changed.to_json()).unwrap(),
        changed
    );
    let refused = |bytes: &[u8], verifies: &dyn Fn(&[u8]) -> bool| {
        assert!(verifies(bytes));
        for bit in 0..bytes.len() * 8 {
            let mut damaged = bytes.to_vec();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(!verifies(&damaged), "bit {bit}");
        }
        assert!(!verifies(&bytes[..bytes.len() - 1]));
    };
    let trust = trust();
    refused(&encode(&entries), &|bytes| {
        EntriesProof::decode(bytes).is_ok_and(|proof| proof.verify(&trust).is_ok())
    });
    refused(&encode(&changed), &|bytes| {
        ChangesProof::decode(bytes).is_ok_and(|proof| proof.verify(&trust).is_ok())
    });
    refused(&encode(&values), &|bytes| {
        // Of another key that isn't there it may be true, too.
        ValuesProof::decode(bytes).is_ok_and(|proof| {
            proof.verify(&trust).is_ok() && proof.claims[1].key == values.claims[1].key
        })
    });
}
