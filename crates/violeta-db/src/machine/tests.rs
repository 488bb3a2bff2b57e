//! The machine's promises, one scenario each, over a disk that can crash.

use super::*;
use crate::reader::At;
use crate::records::ACCOUNTS;
use crate::testing::*;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::io::ErrorKind;
use violeta_crypto::ValidatorSecretKey;
use violeta_journal::{FaultyDisk, MemoryDisk};
use violeta_proof::tree::Sides;
use violeta_proof::{
    ChangesProof, EntriesProof, HeadProof, KeyClaim, KeyProof, Trust, ValuesProof, Vouch,
};
use violeta_replica::Block;
use violeta_types::merkle::{HISTORY as HISTORY_TREE, RESULTS, TRANSACTIONS};
use violeta_types::{
    Certificate, Epoch, Head, HeadId, Nonce, Refusal, Transaction, TxId, ValidatorIndex,
};

const ALICE: Client = Client(1);
const BOB: Client = Client(2);

fn disk() -> MemoryDisk {
    MemoryDisk::new()
}

fn try_open(disk: impl Disk + 'static) -> Result<DbMachine, DbError> {
    let genesis = genesis(Admission::Closed);
    DbMachine::open(&genesis, Arc::new(disk), "state", options())
}

fn options() -> Options {
    Options {
        log_segment_bytes: 1 << 20,
        ..Options::default()
    }
}

fn open(disk: &MemoryDisk) -> DbMachine {
    try_open(disk.clone()).unwrap()
}

#[test]
fn no_outcome_is_longer_than_the_bound_on_a_block_s_record_reckons_with() {
    for refused in [
        None,
        Some((None, Refusal::Expired)),
        Some((Some(u32::MAX), Refusal::ReadsTooMuch)),
    ] {
        let outcome = violeta_types::Outcome {
            height: Height(u64::MAX),
            index: u32::MAX,
            transaction: TxId(Digest([7; 32])),
            refused,
        };
        let bytes = borsh::to_vec(&outcome).unwrap();
        assert!(bytes.len() <= OUTCOME_BYTES_MAX, "{refused:?}");
    }
}

/// Commits that try everything a little: blocks, empty commits, refusals, replays.
fn busy_log() -> Log {
    let mut log = Log::default();
    let first = transaction(ALICE, 1, vec![create("shop"), put("shop", "pear", "1")]);
    log.push(
        1,
        &[transaction(ADMIN, 1, vec![register(ALICE), register(BOB)])],
    );
    log.push(2, &[]);
    log.push(
        3,
        &[
            first.clone(),
            transaction(BOB, 1, vec![put("shop", "x", "y")]),
        ],
    );
    log.push(4, &[first]);
    log.push(5, &[transaction(ALICE, 3, vec![put("shop", "fig", "2")])]);
    log.push(6, &[]);
    log.push(23, &[]);
    log.push(24, &[transaction(ALICE, 2, vec![delete("shop", "pear")])]);
    log.push(25, &[transaction(ALICE, 4, vec![drop_namespace("shop")])]);
    log
}

/// The blocks of a whole log, on a machine that never stops.
fn blocks_of(log: &Log) -> Vec<Block> {
    let mut machine = open(&disk());
    let blocks = log.commits.iter().filter_map(|c| execute(&mut machine, c));
    blocks.collect()
}

fn tx_id(item: &Bytes) -> TxId {
    Transaction::decode(item).unwrap().body.id()
}

// Blocks and heads.

#[test]
fn a_head_says_what_its_block_did() {
    let mut log = Log::default();
    let registered = transaction(ADMIN, 1, vec![register(ALICE)]);
    let refused = transaction(ADMIN, 2, vec![put("shop", "a", "b")]);
    let one = log.push(
        1,
        &[registered.clone(), registered.clone(), refused.clone()],
    );
    let two = log.push(2, &[transaction(ALICE, 1, vec![])]);
    let mut machine = open(&disk());
    let first = execute(&mut machine, &one).unwrap();
    let second = execute(&mut machine, &two).unwrap();

    let genesis = genesis(Admission::Closed);
    let outcomes = &first.outcomes;
    assert_eq!(outcomes.len(), 2, "the second copy left no trace");
    assert_eq!(outcomes[0].transaction, tx_id(&registered));
    assert_eq!(outcomes[0].refused, None);
    assert_eq!(outcomes[1].transaction, tx_id(&refused));
    assert_eq!(
        outcomes[1].refused,
        Some((Some(0), Refusal::NoSuchNamespace))
    );
    let expected = Head {
        chain: genesis.chain_id(),
        epoch: Epoch(0),
        height: Height(1),
        previous: HeadId(Digest::ZERO),
        commit_index: CommitIndex(1),
        commit_digest: one.digest,
        time: TimeMs(START + 1_000),
        transactions_root: TRANSACTIONS.root([tx_id(&registered).0, tx_id(&refused).0]),
        results_root: RESULTS.root([outcomes[0].digest(), outcomes[1].digest()]),
        state_root: machine.store.snapshot(Height(1)).unwrap().root(),
        history_root: Digest::ZERO,
        committee: genesis.committee.digest(),
        next_committee: genesis.committee.digest(),
    };
    assert_eq!(first.head, expected);
    assert_eq!(second.head.previous, first.head.id());
    assert_eq!(second.head.height, Height(2));
    assert_eq!(
        second.head.history_root,
        HISTORY_TREE.root([first.head.id().0])
    );
    assert_ne!(second.head.state_root, first.head.state_root);
}

#[test]
fn an_empty_commit_makes_a_block_only_a_quarter_of_gc_above_the_last() {
    // G = 64, so 16 rounds.
    let mut log = Log::default();
    let mut machine = open(&disk());
    let mut made = |round| execute(&mut machine, &log.push(round, &[])).is_some();
    assert!(!made(1));
    assert!(!made(15));
    assert!(made(16));
    assert!(!made(17));
    assert!(!made(31));
    assert!(made(40));
    assert!(!made(55));
    assert!(made(56));
}

#[test]
fn a_commit_of_nothing_but_replays_makes_no_block() {
    let item = transaction(ADMIN, 1, vec![]);
    let log = Log::of(&[vec![item.clone()], vec![item.clone(), item], vec![]]);
    assert_eq!(blocks_of(&log).len(), 1);
}

#[test]
fn every_head_binds_all_heads_before_and_can_be_rebuilt_from_its_state() {
    let log = busy_log();
    let mut machine = open(&disk());
    let reader = machine.reader();
    let mut heads: Vec<Head> = Vec::new();
    for commit in &log.commits {
        let Some(block) = execute(&mut machine, commit) else {
            continue;
        };
        let ids: Vec<_> = heads.iter().map(|h| h.id().0).collect();
        assert_eq!(block.head.history_root, HISTORY_TREE.root(ids));
        assert_eq!(reader.latest_height(), block.head.height);
        heads.push(block.head);
    }
    assert_eq!(heads.len(), 6, "commits 1, 3, 5, 7, 8 and 9");
    for head in &heads {
        assert_eq!(&reader.head(head.height).unwrap(), head);
    }
    assert!(matches!(
        reader.head(Height(7)),
        Err(DbError::Future { .. })
    ));
    assert!(reader.head(Height(0)).is_err(), "genesis has no head");
}

// Reads.

fn certificate(head: &Head) -> Vouch {
    let id = head.id();
    let signatures: Vec<_> = (0..3u8)
        .map(|i| {
            let secret = ValidatorSecretKey::from_seed([i + 1; 32]);
            (ValidatorIndex(i.into()), secret.sign_attestation(&id))
        })
        .collect();
    Vouch::Certificate(Certificate {
        height: head.height,
        head: id,
        signatures: signatures.try_into().unwrap(),
    })
}

#[test]
fn every_key_of_every_height_is_proved_to_who_has_the_genesis_alone() {
    let log = busy_log();
    let mut machine = open(&disk());
    let reader = machine.reader();
    for commit in &log.commits {
        execute(&mut machine, commit);
    }
    let trust = Trust::in_genesis(&genesis(Admission::Closed));
    let alice = ALICE.id();
    let keys: [(&[u8], &[u8]); 6] = [
        (b"shop", b"pear"),
        (b"shop", b"fig"),
        (b"shop", b"never"),
        (b"market", b"pear"),
        (ACCOUNTS, alice.as_ref()),
        (b"_parameters", b"chain"),
    ];
    let mut proved = Vec::new();
    for height in (1..=6).map(Height) {
        for (space, key) in keys {
            let read = reader.prove(space, key, At::Height(height)).unwrap();
            let proof = KeyProof {
                namespace: space.try_into().unwrap(),
                key: key.try_into().unwrap(),
                value: read.value,
                tree: read.tree,
                vouch: certificate(&read.head),
                head: read.head,
            };
            let answer = proof.verify(&trust).unwrap();
            let (at, value) = reader.get(space, key, At::Height(height)).unwrap();
            assert_eq!((at, &value), (height, &answer.value));
            if key == b"pear" && space == b"shop" {
                proved.push(value.map(|v| (v.written_at.0, v.value.to_vec())));
            }
            let mut lie = proof.clone();
            lie.value = match lie.value {
                Some(_) => None,
                None => Some(violeta_proof::StoredValue {
                    written_at: height,
                    value: value_of("lie"),
                }),
            };
            assert!(lie.verify(&trust).is_err());
        }
    }
    // Registered at 1, written at 2, deleted by commit 8 at height 5.
    let there = Some((2, b"1".to_vec()));
    let expected = [None, there.clone(), there.clone(), there, None, None];
    assert_eq!(proved, expected);
}

fn vouched(head: Head) -> HeadProof {
    let vouch = certificate(&head);
    HeadProof { head, vouch }
}

/// All that a namespace has at a height, in parts of one entry, as who has the genesis alone believes it.
fn listed(reader: &DbReader, namespace: &[u8], height: Height) -> BTreeMap<String, u64> {
    let trust = Trust::in_genesis(&genesis(Admission::Closed));
    let (mut entries, mut after) = (BTreeMap::new(), None);
    loop {
        let at = At::Height(height);
        let part = reader.prove_entries(namespace, after.as_ref(), 1, at);
        let part = part.unwrap();
        let proof = EntriesProof {
            namespace: namespace.try_into().unwrap(),
            after,
            values: part.values.try_into().unwrap(),
            tree: part.tree,
            head: vouched(part.head),
        };
        let verified = proof.verify(&trust).unwrap();
        for entry in verified.entries {
            let key = String::from_utf8(entry.key.to_vec()).unwrap();
            entries.insert(key, entry.value.written_at.0);
        }
        after = verified.next;
        if after.is_none() {
            return entries;
        }
    }
}

#[test]
fn all_that_a_namespace_has_is_proved_at_every_height() {
    let log = busy_log();
    let mut machine = open(&disk());
    let reader = machine.reader();
    for commit in &log.commits {
        execute(&mut machine, commit);
    }
    // Of `busy_log`: pear is put at height 2, fig at 3, pear taken away at 5; at 6 the shop is gone.
    let both = [("fig", 3), ("pear", 2)];
    let expected: [&[(&str, u64)]; 6] = [&[], &both[1..], &both, &both, &both[..1], &[]];
    for (height, expected) in (1..=6).map(Height).zip(expected) {
        let expected = expected.iter().map(|(k, at)| ((*k).to_owned(), *at));
        let found = listed(&reader, b"shop", height);
        assert_eq!(found, expected.collect(), "{height}");
    }
    assert!(
        reader
            .prove_entries(b"shop", None, 1, At::Height(Height(0)))
            .is_err()
    );
    assert!(
        reader
            .prove_entries(b"shop", None, 1, At::Height(Height(7)))
            .is_err()
    );
}

#[test]
fn many_keys_and_what_changed_are_proved_between_any_two_heights() {
    let log = busy_log();
    let mut machine = open(&disk());
    let reader = machine.reader();
    for commit in &log.commits {
        execute(&mut machine, commit);
    }
    let trust = Trust::in_genesis(&genesis(Admission::Closed));
    let keys = [key("pear"), key("fig"), key("never")];
    let of = |height| {
        let read = reader.prove_values(b"shop", &keys, At::Height(height));
        let read = read.unwrap();
        let claims = keys.iter().cloned().zip(read.values.clone());
        let claims = claims.map(|(key, value)| KeyClaim { key, value });
        let proof = ValuesProof {
            namespace: name("shop"),
            claims: claims.collect::<Vec<_>>().try_into().unwrap(),
            tree: read.tree,
            head: vouched(read.head),
        };
        proof.verify(&trust).unwrap();
        read.values
    };
    for (old, new) in [(1, 2), (2, 3), (2, 5), (4, 5), (5, 6), (1, 6)] {
        let heights = Sides {
            old: Height(old),
            new: Height(new),
        };
        let read = reader.prove_changes(b"shop", None, 100, heights).unwrap();
        let proof = ChangesProof {
            namespace: name("shop"),
            after: None,
            values: read.values.try_into().unwrap(),
            tree: read.tree,
            heads: Sides {
                old: vouched(read.heads.old),
                new: vouched(read.heads.new),
            },
        };
        let verified = proof.verify(&trust).unwrap();
        let found = verified.changes.into_iter();
        let found: BTreeMap<_, _> = found
            .map(|change| (change.key, (change.values.old, change.values.new)))
            .collect();
        let pairs = of(heights.old).into_iter().zip(of(heights.new));
        let expected = keys.iter().cloned().zip(pairs);
        let expected: BTreeMap<_, _> = expected.filter(|(_, (old, new))| old != new).collect();
        assert_eq!(found, expected, "from {old} to {new}");
    }
    let same = Sides {
        old: Height(2),
        new: Height(2),
    };
    let error = reader.prove_changes(b"shop", None, 100, same).unwrap_err();
    assert!(matches!(error, DbError::Question(_)), "{error}");
    let error = reader.prove_values(b"shop", &[], At::Latest).unwrap_err();
    assert!(matches!(error, DbError::Question(_)), "{error}");
}

#[test]
fn an_answer_about_many_large_values_is_about_the_first_of_them() {
    let mut log = Log::default();
    log.push(1, &[transaction(ADMIN, 1, vec![register(ALICE)])]);
    log.push(2, &[transaction(ALICE, 1, vec![create("shop")])]);
    let large = "v".repeat(violeta_types::limits::VALUE_BYTES_MAX);
    let keys: Vec<_> = (0..12).map(|i| key(&format!("k{i}"))).collect();
    for (key, nonce) in keys.iter().zip(2..) {
        let key = std::str::from_utf8(key).unwrap();
        log.push(
            nonce + 1,
            &[transaction(ALICE, nonce, vec![put("shop", key, &large)])],
        );
    }
    let mut machine = open(&disk());
    let reader = machine.reader();
    for commit in &log.commits {
        execute(&mut machine, commit);
    }
    // Eight values of half a mebibyte are four.
    let read = reader.prove_values(b"shop", &keys, At::Latest).unwrap();
    assert_eq!(read.values.len(), 8);
    let read = reader
        .prove_entries(b"shop", None, 100, At::Latest)
        .unwrap();
    assert_eq!(read.values.len(), 8);
    assert!(read.tree.through.is_some());
}

fn value_of(text: &str) -> violeta_types::transaction::Value {
    crate::testing::value(text)
}

#[test]
fn certified_reads_follow_the_certificates_but_never_run_ahead() {
    let log = busy_log();
    let mut machine = open(&disk());
    let reader = machine.reader();
    assert_eq!(reader.certified_height(), Height(0));
    assert_eq!(reader.get(b"shop", b"pear", At::Certified).unwrap().1, None);
    for commit in &log.commits[..5] {
        execute(&mut machine, commit);
    }
    let pear = |reader: &DbReader| {
        let (height, value) = reader.get(b"shop", b"pear", At::default()).unwrap();
        (height.0, value.is_some())
    };
    let mut certify = |height| {
        machine.handle(Event::Certified {
            height: Height(height),
        });
        assert!(machine.poll().is_none());
    };
    certify(1);
    assert_eq!(pear(&reader), (1, false));
    certify(2);
    assert_eq!(pear(&reader), (2, true));
    certify(1);
    assert_eq!(
        pear(&reader),
        (2, true),
        "an old certificate takes nothing back"
    );
    certify(9);
    assert_eq!(pear(&reader), (3, true), "others are ahead of this machine");
}

#[test]
fn administrators_exist_before_the_first_block() {
    let machine = open(&disk());
    let reader = machine.reader();
    let account = reader.account(&ADMIN.id()).unwrap().unwrap();
    assert!(account.administrator);
    assert_eq!(account.key, ADMIN.key());
    assert_eq!(account.next_nonce, Nonce(1));
    assert_eq!(reader.account(&ALICE.id()).unwrap(), None);
    assert_eq!(reader.account_of_key(&ADMIN.key()).unwrap(), Some(account));
    assert_eq!(reader.latest_height(), Height(0));
    assert!(
        reader
            .prove(ACCOUNTS, ADMIN.id().as_ref(), At::Latest)
            .is_err()
    );
}

#[test]
fn what_genesis_wrote_says_so_after_the_first_block() {
    let mut machine = open(&disk());
    let reader = machine.reader();
    execute(
        &mut machine,
        &Log::default().push(1, &[transaction(ADMIN, 1, vec![])]),
    );
    let (height, name) = reader.get(b"_parameters", b"name", At::Latest).unwrap();
    let name = name.unwrap();
    assert_eq!((height, name.written_at), (Height(1), Height(0)));
    assert_eq!(
        violeta_types::decode::<String>(&name.value).unwrap(),
        "test"
    );
    let admin = reader
        .get(ACCOUNTS, ADMIN.id().as_ref(), At::Latest)
        .unwrap();
    assert_eq!(admin.1.unwrap().written_at, Height(1), "it spent a nonce");
}

#[test]
fn a_readers_answers_on_accounts_namespaces_and_history() {
    let log = busy_log();
    let mut machine = open(&disk());
    let reader = machine.reader();
    for commit in &log.commits[..8] {
        execute(&mut machine, commit);
    }
    let alice = reader.account(&ALICE.id()).unwrap().unwrap();
    assert_eq!(alice.highest_nonce, Nonce(3));
    assert_eq!(alice.next_nonce, Nonce(4));
    let shop = reader.namespace(b"shop", At::Latest).unwrap().unwrap();
    assert_eq!(shop.namespace.owner, ALICE.id());
    assert_eq!(shop.keys, 1, "fig");
    let before = reader.namespace(b"shop", At::Height(Height(3))).unwrap();
    assert_eq!(before.unwrap().keys, 2, "pear and fig");
    assert_eq!(reader.namespace(b"market", At::Latest).unwrap(), None);
    let history = reader.history(b"shop", b"pear", None, 10).unwrap();
    assert_eq!(history.next, None);
    let versions: Vec<_> = (history.versions.iter())
        .map(|entry| (entry.height.0, entry.value.as_deref()))
        .collect();
    assert_eq!(versions, [(5, None), (2, Some(&b"1"[..]))]);
    let first = reader.history(b"shop", b"pear", None, 1).unwrap();
    assert_eq!(first.versions, history.versions[..1]);
    let second = reader.history(b"shop", b"pear", first.next, 1).unwrap();
    assert_eq!(second.versions, history.versions[1..]);
}

// Admission.

fn check(machine: &mut DbMachine, items: &[Bytes]) -> Vec<Result<(), NotAdmitted>> {
    let checked: Vec<_> = items.iter().cloned().map(Item::Client).collect();
    let metas = machine.rules().check(&checked);
    let items = items
        .iter()
        .cloned()
        .zip(metas.into_iter().map(Result::unwrap));
    machine.handle(Event::Check {
        ticket: 7,
        items: items.collect(),
    });
    match machine.poll() {
        Some(Effect::Checked { ticket, verdicts }) => {
            assert_eq!(ticket, 7);
            verdicts
        }
        other => panic!("instead of verdicts: {other:?}"),
    }
}

#[test]
fn admission_says_why_not() {
    let mut machine = open(&disk());
    let new = Client(30);
    let log = Log::of(&[
        vec![transaction(ADMIN, 1, vec![register(ALICE)])],
        vec![transaction(ALICE, 5, vec![rotate(ALICE, new)])],
    ]);
    let item = |client, nonce| transaction(client, nonce, vec![]);
    assert_eq!(check(&mut machine, &[item(ADMIN, 1)]), [Ok(())]);
    for commit in &log.commits {
        execute(&mut machine, commit);
    }
    let mut expired = body(new, 9, vec![]);
    expired.expires = TimeMs(START + 1_999);
    let verdicts = check(
        &mut machine,
        &[
            item(new, 6),
            item(new, 5),
            item(new, 5 + 1_025),
            item(BOB, 1),
            item(ALICE, 6),
            sign(new, expired),
            item(new, 4),
        ],
    );
    let reasons: Vec<_> = verdicts
        .iter()
        .map(|v| v.as_ref().err().map_or("", |e| &e.0))
        .collect();
    let says = [
        "",
        "used already",
        "too far above",
        "an administrator must register it",
        "rotated away",
        "expired 1 ms",
        "",
    ];
    assert_eq!(reasons.len(), says.len());
    for (reason, says) in reasons.iter().zip(says) {
        assert!(reason.contains(says), "{reason}");
        assert_eq!(reason.is_empty(), says.is_empty());
    }
}

#[test]
fn what_is_admitted_is_what_would_be_recorded() {
    let cases = [(ADMIN, 1), (ADMIN, 1_024), (ADMIN, 1_025), (ALICE, 1)];
    let recorded = cases.map(|(client, nonce)| {
        let item = transaction(client, nonce, vec![]);
        let mut machine = open(&disk());
        let admitted = check(&mut machine, std::slice::from_ref(&item))[0].is_ok();
        let block = execute(&mut machine, &Log::default().push(1, &[item]));
        assert_eq!(block.is_some(), admitted);
        admitted
    });
    assert_eq!(recorded, [true, true, false, false]);
}

// Faults.

fn halted(machine: &mut DbMachine, ordered: OrderedCommit) -> String {
    machine.handle(Event::Commit(Arc::new(ordered)));
    let Some(Effect::Halt(reason)) = machine.poll() else {
        panic!("didn't halt");
    };
    machine.handle(Event::Flush);
    machine.handle(Event::Commit(Log::default().push(1, &[])));
    assert!(machine.poll().is_none(), "a halted machine does nothing");
    reason
}

#[test]
fn a_commit_out_of_sequence_or_of_another_log_halts_the_machine() {
    let log = busy_log();
    let at = |i: usize| OrderedCommit::clone(&log.commits[i]);
    let after_two = || {
        let mut machine = open(&disk());
        execute(&mut machine, &log.commits[0]);
        execute(&mut machine, &log.commits[1]);
        machine
    };
    for wrong in [at(0), at(1), at(3)] {
        let reason = halted(&mut after_two(), wrong);
        assert!(reason.contains("doesn't follow on commit 2"), "{reason}");
    }
    let mut foreign = at(2);
    foreign.commit.previous = Digest::ZERO;
    halted(&mut after_two(), foreign);
    halted(&mut open(&disk()), at(1));
}

#[test]
fn a_store_of_another_chain_is_refused() {
    let disk = disk();
    let mut machine = open(&disk);
    execute(&mut machine, &busy_log().commits[0]);
    flush(&mut machine);
    drop(machine);
    let mut other = genesis(Admission::Closed);
    other.name = "other".to_owned();
    let error = DbMachine::open(&other, Arc::new(disk.clone()), "state", options()).err();
    assert!(
        matches!(error, Some(DbError::OtherChain { .. })),
        "{error:?}"
    );
    assert_eq!(open(&disk).position().height, Height(1));
}

// Durability.

#[test]
fn durable_is_the_last_block_whatever_came_after_it() {
    let log = busy_log();
    let mut machine = open(&disk());
    assert_eq!(flush(&mut machine), Position::default());
    execute(&mut machine, &log.commits[0]);
    assert_eq!(machine.position(), Position::default(), "not yet durable");
    let block = flush(&mut machine);
    assert_eq!(block.commit_index, CommitIndex(1));
    assert_eq!(block.commit_digest, log.commits[0].digest);
    assert_eq!(block.height, Height(1));
    execute(&mut machine, &log.commits[1]);
    assert_eq!(
        flush(&mut machine),
        block,
        "the second commit made no block"
    );
}

/// Executes the log from the machine's position on.
fn catch_up(machine: &mut DbMachine, log: &Log) -> Vec<Block> {
    let done = machine.position().commit_index.0 as usize;
    let rest = &log.commits[done..];
    rest.iter().filter_map(|c| execute(machine, c)).collect()
}

#[test]
fn a_restart_after_any_commit_changes_no_head() {
    let log = busy_log();
    let expected = blocks_of(&log);
    for stop in 0..=log.commits.len() {
        let disk = disk();
        let mut machine = open(&disk);
        for commit in &log.commits[..stop] {
            execute(&mut machine, commit);
        }
        let position = flush(&mut machine);
        drop(machine);
        let mut machine = open(&disk);
        assert_eq!(machine.position(), position);
        let again = catch_up(&mut machine, &log);
        assert_eq!(again, expected[position.height.0 as usize..]);
    }
}

#[test]
fn a_store_ahead_of_the_journal_goes_back_to_any_height_and_makes_the_same_heads_again() {
    let log = busy_log();
    let blocks = blocks_of(&log);
    for height in 0..=blocks.len() as u64 {
        let disk = disk();
        let mut machine = open(&disk);
        catch_up(&mut machine, &log);
        machine.handle(Event::Flush);
        drop(machine);
        let mut machine = open(&disk);
        let genesis = genesis(Admission::Closed);
        machine.roll_back(&genesis, Height(height)).unwrap();
        assert_eq!(machine.position().height, Height(height));
        drop(machine);
        let mut machine = open(&disk);
        assert_eq!(machine.position().height, Height(height), "durably");
        machine.roll_back(&genesis, Height(99)).unwrap();
        assert_eq!(catch_up(&mut machine, &log), blocks[height as usize..]);
    }
}

#[test]
fn replays_after_a_restart_leave_no_trace() {
    let disk = disk();
    let mut log = busy_log();
    let mut machine = open(&disk);
    let all: Vec<Bytes> = (log.commits.iter())
        .flat_map(|c| c.items.iter().map(|item| item.bytes().clone()))
        .collect();
    for commit in &log.commits {
        execute(&mut machine, commit);
    }
    flush(&mut machine);
    drop(machine);
    let mut machine = open(&disk);
    assert_eq!(execute(&mut machine, &log.push(26, &all)), None);
}

/// Runs the log until the disk fails it; the last position that was called durable.
fn run_until_fault(disk: FaultyDisk, log: &Log) -> Position {
    let Ok(mut machine) = try_open(disk) else {
        return Position::default();
    };
    for (i, ordered) in log.commits.iter().enumerate() {
        machine.handle(Event::Commit(Arc::clone(ordered)));
        if i % 2 == 1 {
            machine.handle(Event::Flush);
        }
        while let Some(effect) = machine.poll() {
            if let Effect::Halt(_) = effect {
                return machine.position();
            }
        }
    }
    machine.position()
}

/// Numbers as good as any to lose writes by.
fn numbers(seed: u64) -> impl FnMut() -> u64 {
    let mut state = seed;
    move || {
        state += 1;
        let digest = violeta_types::Domain::File.hash(&state.to_le_bytes());
        u64::from_le_bytes(digest.0[..8].try_into().unwrap())
    }
}

#[test]
fn a_crash_at_any_operation_loses_nothing_that_was_called_durable() {
    let log = busy_log();
    let expected = blocks_of(&log);
    let whole = FaultyDisk::new(Arc::new(disk()));
    let all = run_until_fault(whole.clone(), &log);
    assert_eq!(all.height, Height(5), "commit 9 was not flushed");
    let operations = whole.operations();
    assert!(operations > 20, "{operations} is no workload");
    for at in 0..operations {
        for seed in 0..3 {
            let memory = disk();
            let faulty = FaultyDisk::new(Arc::new(memory.clone()));
            faulty.fail_from(at, ErrorKind::Other);
            let durable = run_until_fault(faulty, &log);
            memory.crash(&mut numbers(1_000 * at + seed));
            let mut machine = open(&memory);
            let position = machine.position();
            assert!(
                position.height >= durable.height,
                "operation {at}, seed {seed}"
            );
            if let Some(last) = position.height.checked_previous() {
                assert_eq!(position.head, expected[last.0 as usize].head.id());
            }
            let again = catch_up(&mut machine, &log);
            assert_eq!(
                again,
                expected[position.height.0 as usize..],
                "operation {at}"
            );
        }
    }
}

#[test]
fn a_failed_sync_halts_the_machine_and_nothing_is_called_durable() {
    let log = busy_log();
    let faulty = FaultyDisk::new(Arc::new(disk()));
    let mut machine = try_open(faulty.clone()).unwrap();
    execute(&mut machine, &log.commits[0]);
    faulty.fail_next(violeta_journal::Operation::Sync, ErrorKind::Other);
    machine.handle(Event::Flush);
    assert!(matches!(machine.poll(), Some(Effect::Halt(_))));
    assert_eq!(machine.position(), Position::default());
    machine.handle(Event::Flush);
    assert!(machine.poll().is_none(), "halted for good");
}

#[test]
fn keys_are_listed_page_by_page_each_once() {
    let mut machine = open(&disk());
    let reader = machine.reader();
    let puts = (0..25).map(|i| put("shop", &format!("key {i}"), "v"));
    let all = [vec![create("shop")], puts.collect()].concat();
    let log = Log::of(&[
        vec![transaction(ADMIN, 1, vec![register(ALICE)])],
        vec![transaction(ALICE, 1, all)],
    ]);
    for commit in &log.commits {
        execute(&mut machine, commit);
    }
    let mut keys = Vec::new();
    let mut after: Option<Bytes> = None;
    loop {
        let page = reader.keys(b"shop", after.as_deref(), 7, At::Latest);
        let page = page.unwrap().unwrap();
        assert_eq!(page.height, Height(2));
        keys.extend(page.keys);
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    let mut expected: Vec<_> = (0..25).map(|i| Bytes::from(format!("key {i}"))).collect();
    expected.sort();
    keys.sort();
    assert_eq!(keys, expected);
    assert_eq!(reader.keys(b"market", None, 7, At::Latest).unwrap(), None);
    let before = reader.keys(b"shop", None, 7, At::Height(Height(1)));
    assert_eq!(before.unwrap(), None);
}

fn arbitrary_commits() -> impl Strategy<Value = Vec<Vec<Bytes>>> {
    let operation = prop_oneof![
        Just(create("a")),
        Just(drop_namespace("a")),
        ("[a-c]", "[0-9]").prop_map(|(k, v)| put("a", &k, &v)),
        "[a-c]".prop_map(|k| delete("a", &k)),
        (1u8..4).prop_map(|c| register(Client(c))),
    ];
    let operations = proptest::collection::vec(operation, 0..4);
    let item = (0u8..4, 1u64..6, operations)
        .prop_map(|(c, nonce, operations)| transaction(Client(c), nonce, operations));
    // Items are drawn from a pool, so that they come again within a commit and over commits.
    proptest::collection::vec(item, 1..12).prop_flat_map(|pool: Vec<Bytes>| {
        let pick = proptest::sample::select(pool);
        proptest::collection::vec(proptest::collection::vec(pick, 0..5), 1..12)
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn however_transactions_come_each_is_executed_once_and_all_machines_agree(
        commits in arbitrary_commits(),
        restarts in proptest::collection::vec(any::<(bool, bool)>(), 12),
    ) {
        let log = Log::of(&commits);
        let steady = blocks_of(&log);
        let mut seen: Vec<_> = steady.iter().flat_map(|b| b.outcomes.iter().map(|o| o.transaction)).collect();
        let recorded = seen.len();
        seen.sort_unstable();
        seen.dedup();
        prop_assert_eq!(seen.len(), recorded, "no transaction is recorded twice");

        // Another machine, which stops after some commits, with or without having synced.
        let disk = disk();
        let mut machine = open(&disk);
        let mut blocks: Vec<Block> = Vec::new();
        let mut next = 0;
        let mut restarts = restarts.into_iter();
        while next < log.commits.len() {
            blocks.extend(execute(&mut machine, &log.commits[next]));
            next += 1;
            let Some((restart, sync)) = restarts.next() else { continue };
            if sync {
                flush(&mut machine);
            }
            if restart {
                drop(machine);
                machine = open(&disk);
                let position = machine.position();
                blocks.truncate(position.height.0 as usize);
                next = position.commit_index.0 as usize;
            }
        }
        prop_assert_eq!(blocks, steady);
    }
}
