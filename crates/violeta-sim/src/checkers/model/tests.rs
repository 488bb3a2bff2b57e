//! The model against histories worked out by hand, true ones and forged ones.

use violeta_types::{
    ChainId, ClientSignature, Digest, Nonce, TimeMs, TransactionBody, ValidatorIndex,
};

use super::super::blocks::tests::head;
use super::super::log::tests::{commit, vertex};
use super::*;
use violeta_types::HeadId;

const ALICE: ClientPublicKey = ClientPublicKey([1; 32]);
const BOB: ClientPublicKey = ClientPublicKey([2; 32]);

fn bytes<const N: usize>(text: &str) -> violeta_types::Blob<N> {
    text.as_bytes().try_into().unwrap()
}

fn transaction(key: ClientPublicKey, nonce: u64, operations: Vec<Operation>) -> Transaction {
    let body = TransactionBody {
        chain: ChainId::default(),
        key,
        nonce: Nonce(nonce),
        expires: TimeMs(1_000),
        operations: operations.try_into().unwrap(),
    };
    let signature = ClientSignature([0; 64]);
    Transaction { body, signature }
}

fn create() -> Operation {
    let namespace = bytes("n");
    Operation::CreateNamespace { namespace }
}

fn put(key: &str, value: &str) -> Operation {
    Operation::Put {
        namespace: bytes("n"),
        key: bytes(key),
        value: bytes(value),
    }
}

fn swap(key: &str, expected: Condition, value: &str) -> Operation {
    Operation::CompareAndSet {
        namespace: bytes("n"),
        key: bytes(key),
        expected,
        value: Some(bytes(value)),
    }
}

/// Commits one vertex a round with these transactions.
struct Chain {
    model: Model,
    previous: Digest,
    index: u64,
}

impl Chain {
    fn new() -> Self {
        Chain {
            model: Model::new(64),
            previous: Digest::ZERO,
            index: 0,
        }
    }

    fn commit_at(&mut self, round: u64, transactions: &[Transaction]) {
        self.index += 1;
        let vertex = vertex(round, 0, "");
        let items: Vec<Item> = transactions
            .iter()
            .map(|t| Item::Client(t.to_bytes()))
            .collect();
        self.model.accepted(vertex, &items);
        let commit = commit(self.index, self.previous, &[vertex]);
        self.previous = super::super::log::tests::digest(&commit);
        self.model.commit(&commit).unwrap();
    }

    fn commit(&mut self, transactions: &[Transaction]) {
        self.commit_at(self.index + 1, transactions);
    }

    fn value(&self, key: &str) -> Option<(u64, String)> {
        let found = self.model.get(
            &Bytes::from_static(b"n"),
            &Bytes::copy_from_slice(key.as_bytes()),
        );
        found.map(|(at, value)| (at.0, String::from_utf8(value.to_vec()).unwrap()))
    }

    fn predicted(&self) -> Option<&Predicted> {
        self.model.predicted[&CommitIndex(self.index)].as_ref()
    }
}

#[test]
fn a_map_is_what_the_commits_make_of_it() {
    let mut chain = Chain::new();
    let made = transaction(ALICE, 1, vec![create(), put("a", "1")]);
    chain.commit(std::slice::from_ref(&made));
    assert_eq!(chain.value("a"), Some((1, "1".into())));
    chain.commit(&[]);
    assert_eq!(chain.predicted(), None, "an empty commit makes no block");
    let swapped = transaction(
        ALICE,
        2,
        vec![swap("a", Condition::WrittenAt(Height(1)), "2")],
    );
    let stale = transaction(
        ALICE,
        3,
        vec![put("b", "x"), swap("a", Condition::Absent, "3")],
    );
    let stranger = transaction(BOB, 1, vec![put("a", "4")]);
    chain.commit(&[
        made.clone(),
        swapped.clone(),
        stale.clone(),
        swapped.clone(),
        stranger.clone(),
    ]);
    let refused = |place, refusal| Some((Some(place), refusal));
    let expected = Predicted {
        height: Height(2),
        outcomes: vec![
            (swapped.id(), None),
            (stale.id(), refused(1, Refusal::ConditionFailed)),
            (stranger.id(), refused(0, Refusal::Unauthorised)),
        ],
    };
    assert_eq!(chain.predicted(), Some(&expected));
    assert_eq!(chain.value("a"), Some((2, "2".into())));
    assert_eq!(chain.value("b"), None, "all or nothing");
    assert_eq!(chain.model.height(), Height(2));
}

#[test]
fn a_right_is_granted_to_who_has_an_account() {
    let mut chain = Chain::new();
    let grant = Operation::Grant {
        namespace: bytes("n"),
        client: BOB.client_id(),
        right: Right::Write,
    };
    chain.commit(&[
        transaction(ALICE, 1, vec![create()]),
        transaction(ALICE, 2, vec![grant.clone()]),
        transaction(BOB, 1, vec![put("a", "1")]),
        transaction(ALICE, 3, vec![grant]),
        transaction(BOB, 2, vec![put("a", "2")]),
    ]);
    let refusals: Vec<_> = chain
        .predicted()
        .unwrap()
        .outcomes
        .iter()
        .map(|o| o.1)
        .collect();
    let at = |refusal| Some((Some(0), refusal));
    let expected = [
        None,
        at(Refusal::NoSuchClient),
        at(Refusal::Unauthorised),
        None,
        None,
    ];
    assert_eq!(refusals, expected);
}

#[test]
fn expiry_counts_by_the_commits_time() {
    let mut chain = Chain::new();
    // Commit i has time i.
    let mut late = transaction(ALICE, 1, vec![]);
    late.body.expires = TimeMs(0);
    let mut last = transaction(ALICE, 2, vec![]);
    last.body.expires = TimeMs(1);
    let mut far = transaction(ALICE, 3, vec![]);
    far.body.expires = TimeMs(1 + 600_001);
    chain.commit(&[late, last, far]);
    let refusals: Vec<_> = chain
        .predicted()
        .unwrap()
        .outcomes
        .iter()
        .map(|o| o.1)
        .collect();
    let whole = |refusal| Some((None, refusal));
    assert_eq!(
        refusals,
        [
            whole(Refusal::Expired),
            None,
            whole(Refusal::ExpiresTooLate)
        ]
    );
}

#[test]
fn nonces_run_in_a_window() {
    let mut chain = Chain::new();
    let nonces = [1_024, 1, 0, 1_024, 2_049, 2_048, 1_024, 1_025];
    let transactions: Vec<_> = nonces
        .iter()
        .map(|&n| transaction(ALICE, n, vec![]))
        .collect();
    chain.commit(&transactions);
    let recorded: Vec<_> = chain
        .predicted()
        .unwrap()
        .outcomes
        .iter()
        .map(|o| o.0)
        .collect();
    // Highest 1,024 takes 1 to 2,048; highest 2,048 takes 1,025 to 3,072. 2,049 comes too early.
    let expected: Vec<_> = [0, 1, 5, 7]
        .iter()
        .map(|&i: &usize| transactions[i].id())
        .collect();
    assert_eq!(recorded, expected);
}

#[test]
fn a_block_is_due_a_quarter_of_the_gc_depth_after_the_last() {
    let mut chain = Chain::new();
    chain.commit_at(15, &[]);
    assert_eq!(chain.predicted(), None);
    chain.commit_at(16, &[]);
    assert_eq!(chain.model.height(), Height(1));
    chain.commit_at(31, &[]);
    assert_eq!(chain.predicted(), None);
}

#[test]
fn a_forged_block_is_seen() {
    let mut chain = Chain::new();
    let made = transaction(ALICE, 1, vec![create()]);
    chain.commit(std::slice::from_ref(&made));
    let head = head(1, HeadId::default(), "");
    let truth = Outcome {
        height: Height(1),
        index: 0,
        transaction: made.id(),
        refused: None,
    };
    chain
        .model
        .compare(&head, std::slice::from_ref(&truth))
        .unwrap();
    let lie = Outcome {
        refused: Some((None, Refusal::Expired)),
        ..truth.clone()
    };
    for forged in [&[][..], &[lie], &[truth.clone(), truth]] {
        let violation = chain.model.compare(&head, forged).unwrap_err();
        assert_eq!(violation.property, Property::Model);
    }
    chain.commit(&[]);
    let mut unasked = head.clone();
    unasked.commit_index = CommitIndex(2);
    let violation = chain.model.compare(&unasked, &[]).unwrap_err();
    assert_eq!(
        violation.property,
        Property::Model,
        "an empty commit makes no block"
    );
}

#[test]
fn a_commit_of_a_vertex_that_nobody_accepted_is_seen() {
    let mut model = Model::new(64);
    let commit = commit(1, Digest::ZERO, &[vertex(1, 0, "")]);
    assert_eq!(
        model.commit(&commit).unwrap_err().property,
        Property::Agreement
    );
    let _ = ValidatorIndex(0);
}
