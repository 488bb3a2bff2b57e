//! The rules of replica.md §1, one scenario each. The state is a plain map; expected results are worked out by hand.

use super::*;
use crate::genesis::GenesisState;
use crate::records::{ACCOUNTS, KEYS, NAMESPACES, read_record, read_stored};
use crate::state::map::MapState;
use crate::testing::*;
use proptest::prelude::*;
use violeta_types::transaction::Right;
use violeta_types::{Digest, Nonce};

const ALICE: Client = Client(1);
const BOB: Client = Client(2);
const CAROL: Client = Client(3);

/// A chain whose blocks are executed at once.
#[derive(Clone)]
struct World {
    state: MapState,
    context: BlockContext,
}

type Refused = Option<(Option<u32>, Refusal)>;

impl World {
    /// A new chain, at height 0.
    fn new(admission: Admission) -> Self {
        let mut state = MapState::default();
        GenesisState::new(&genesis(Admission::Closed)).write(&mut state);
        let context = BlockContext {
            chain: genesis(Admission::Closed).chain_id(),
            admission,
            height: Height(0),
            time: TimeMs(START),
            outcomes_max: 1_000,
            written_bytes_max: 64 << 20,
            read_bytes_max: 64 << 20,
        };
        World { state, context }
    }

    /// A closed chain at height 1 on which Alice, Bob and Carol are registered, and Alice owns `shop`.
    fn with_shop() -> Self {
        let mut world = World::new(Admission::Closed);
        let registered = transaction(
            ADMIN,
            1,
            vec![register(ALICE), register(BOB), register(CAROL)],
        );
        let made = transaction(ALICE, 1, vec![create("shop")]);
        assert_eq!(world.block(&[registered, made]), [None, None]);
        world
    }

    /// Executes a block; what became of its recorded transactions.
    fn block(&mut self, items: &[Bytes]) -> Vec<Refused> {
        self.context.height = self.context.height.next();
        let mut execution = Execution::new(self.context, &self.state);
        for item in items {
            execution.execute(item).unwrap();
        }
        let mut next = self.state.clone();
        let outcomes = execution.finish(&mut next);
        for (i, outcome) in outcomes.iter().enumerate() {
            assert_eq!(outcome.index as usize, i);
            assert_eq!(outcome.height, self.context.height);
        }
        self.state = next;
        outcomes.into_iter().map(|o| o.refused).collect()
    }

    /// Executes a block of one transaction that must be recorded.
    fn one(&mut self, client: Client, nonce: u64, operations: Vec<Operation>) -> Refused {
        let results = self.block(&[transaction(client, nonce, operations)]);
        let [result] = results[..] else {
            panic!("recorded {} times", results.len());
        };
        result
    }

    fn get(&self, namespace: &str, key: &str) -> Option<(u64, String)> {
        let (space, key) = (namespace.as_bytes(), key.as_bytes());
        let bytes = self.state.get(space, key).unwrap()?;
        let stored = read_stored(space, key, &bytes).unwrap();
        let text = String::from_utf8(stored.value.to_vec()).unwrap();
        Some((stored.written_at.0, text))
    }

    fn account(&self, client: Client) -> Option<Account> {
        let id = client.id();
        let bytes = self.state.get(ACCOUNTS, id.as_ref()).unwrap()?;
        Some(read_record(ACCOUNTS, id.as_ref(), &bytes).unwrap())
    }

    /// What looking an account up counts: its name, what it holds, and 256 bytes.
    fn account_cost(&self, client: Client) -> usize {
        let stored = self.state.get(ACCOUNTS, client.id().as_ref()).unwrap();
        256 + 32 + stored.unwrap().len()
    }

    fn namespace_cost(&self, name: &str) -> usize {
        let stored = self.state.get(NAMESPACES, name.as_bytes()).unwrap();
        256 + name.len() + stored.unwrap().len()
    }

    fn namespace(&self, name: &str) -> Option<Namespace> {
        let bytes = self.state.get(NAMESPACES, name.as_bytes()).unwrap()?;
        Some(read_record(NAMESPACES, name.as_bytes(), &bytes).unwrap())
    }
}

fn refused_at(index: u32, refusal: Refusal) -> Refused {
    Some((Some(index), refusal))
}

const NO_TRACE: [Refused; 0] = [];

// Exactly once.

#[test]
fn a_transaction_carried_by_several_validators_is_executed_once() {
    let mut world = World::with_shop();
    let item = transaction(ALICE, 2, vec![put("shop", "pear", "1")]);
    assert_eq!(
        world.block(&[item.clone(), item.clone(), item.clone()]),
        [None]
    );
    let after = world.clone();
    assert_eq!(world.block(&[item]), NO_TRACE);
    assert_eq!(world.state, after.state);
}

#[test]
fn another_transaction_with_a_spent_nonce_leaves_no_trace() {
    let mut world = World::with_shop();
    let first = transaction(ALICE, 2, vec![put("shop", "pear", "1")]);
    let second = transaction(ALICE, 2, vec![put("shop", "pear", "2")]);
    assert_eq!(world.block(&[first, second]), [None]);
    assert_eq!(world.get("shop", "pear"), Some((2, "1".to_owned())));
}

#[test]
fn nonces_may_come_in_any_order_within_the_window() {
    let mut world = World::with_shop();
    for nonce in [1_025, 2, 1_024, 3] {
        assert_eq!(world.one(ALICE, nonce, vec![]), None, "{nonce}");
    }
    let account = world.account(ALICE).unwrap();
    assert_eq!(account.nonces.highest(), Nonce(1_025));
}

#[test]
fn the_edges_of_the_window_decide_between_execution_and_no_trace() {
    let mut world = World::with_shop();
    for nonce in [1_000, 2_000, 3_000] {
        assert_eq!(world.one(ALICE, nonce, vec![]), None);
    }
    let recorded = |nonce| {
        let mut fork = world.clone();
        fork.block(&[transaction(ALICE, nonce, vec![])]).len() == 1
    };
    assert!(recorded(3_000 - 1_023));
    assert!(!recorded(3_000 - 1_024));
    assert!(recorded(3_000 + 1_024));
    assert!(!recorded(3_000 + 1_025));
    assert!(!recorded(3_000));
    assert!(!recorded(2_000));
    assert!(!recorded(0));
}

#[test]
fn a_refusal_spends_the_nonce_and_is_recorded_once() {
    let mut world = World::with_shop();
    let item = transaction(BOB, 1, vec![put("shop", "pear", "1")]);
    let unauthorised = refused_at(0, Refusal::Unauthorised);
    assert_eq!(world.block(&[item.clone(), item.clone()]), [unauthorised]);
    assert_eq!(world.block(&[item]), NO_TRACE);
    assert!(world.account(BOB).unwrap().nonces.judge(Nonce(1)).is_err());
}

#[test]
fn what_cannot_spend_a_nonce_leaves_no_trace() {
    let mut world = World::with_shop();
    let before = world.state.clone();
    let stranger = transaction(Client(9), 1, vec![create("mine")]);
    let mut foreign = body(ALICE, 2, vec![]);
    foreign.chain.0 = Digest::ZERO;
    let foreign = sign(ALICE, foreign);
    let garbage = Bytes::from_static(b"not a transaction");
    let cut = transaction(ALICE, 2, vec![]).slice(..90);
    assert_eq!(
        world.block(&[stranger, foreign, garbage, cut, Bytes::new()]),
        NO_TRACE
    );
    assert_eq!(world.state, before);
}

#[test]
fn what_a_block_has_no_room_for_leaves_no_trace_and_may_come_again() {
    let mut world = World::with_shop();
    world.context.outcomes_max = 3;
    let items: Vec<_> = (2..7)
        .map(|nonce| transaction(ALICE, nonce, vec![]))
        .collect();
    assert_eq!(world.block(&items), [None; 3]);
    assert_eq!(world.block(&items), [None; 2]);
    assert_eq!(world.block(&items), NO_TRACE);
}

#[test]
fn a_block_that_wrote_its_fill_leaves_the_rest_to_the_next() {
    let mut world = World::with_shop();
    world.context.written_bytes_max = 100_000;
    let big = "x".repeat(60_000);
    let items: Vec<_> = (2..7)
        .map(|nonce| transaction(ALICE, nonce, vec![put("shop", "pear", &big)]))
        .collect();
    assert_eq!(world.block(&items), [None; 2], "60,000, then 120,000 bytes");
    assert_eq!(world.block(&items), [None; 2]);
    assert_eq!(world.block(&items), [None; 1]);
    // What is undone counts too, so that work is bounded, not only what is left of it.
    let items: Vec<_> = (7..12)
        .map(|nonce| transaction(ALICE, nonce, vec![put("shop", "a", &big), create("shop")]))
        .collect();
    assert_eq!(
        world.block(&items),
        [refused_at(1, Refusal::NamespaceExists); 2]
    );
}

#[test]
fn a_barrier_changes_nothing_but_its_nonce() {
    let mut world = World::with_shop();
    assert_eq!(world.one(BOB, 1, vec![]), None);
}

// Never later.

#[test]
fn expiry_edges() {
    let mut world = World::with_shop();
    world.context.time = TimeMs(START + 5_000);
    let ten_minutes = 600_000;
    let mut at = |nonce, expires| {
        let body = TransactionBody {
            expires: TimeMs(expires),
            ..body(ALICE, nonce, vec![])
        };
        let results = world.block(&[sign(ALICE, body)]);
        assert_eq!(results.len(), 1, "recorded");
        results[0]
    };
    let expired = Some((None, Refusal::Expired));
    let too_late = Some((None, Refusal::ExpiresTooLate));
    assert_eq!(at(2, START + 4_999), expired);
    assert_eq!(at(3, START + 5_000), None);
    assert_eq!(at(4, START + 5_000 + ten_minutes), None);
    assert_eq!(at(5, START + 5_001 + ten_minutes), too_late);
    assert_eq!(at(6, u64::MAX), too_late);
    assert_eq!(at(7, 0), expired);
}

#[test]
fn a_time_at_the_end_of_the_clock_does_not_overflow() {
    let mut world = World::with_shop();
    world.context.time = TimeMs(u64::MAX);
    let body = TransactionBody {
        expires: TimeMs(u64::MAX),
        ..body(ALICE, 2, vec![])
    };
    assert_eq!(world.block(&[sign(ALICE, body)]), [None]);
}

// All or nothing.

#[test]
fn the_first_operation_that_fails_undoes_those_before_it_and_names_itself() {
    let mut world = World::with_shop();
    world.one(
        ALICE,
        2,
        vec![put("shop", "pear", "1"), put("shop", "fig", "1")],
    );
    let before = world.clone();
    let operations = vec![
        put("shop", "pear", "2"),
        delete("shop", "fig"),
        create("other"),
        put("other", "x", "y"),
        grant("shop", BOB, Right::Admin),
        rotate(ALICE, Client(50)),
        drop_namespace("shop"),
        create("shop"),
        put("shop", "pear", "3"),
        delete("shop", "no such"),
        put("shop", "pear", "4"),
    ];
    let failed = refused_at(9, Refusal::NoSuchKey);
    assert_eq!(world.one(ALICE, 3, operations), failed);
    // All is as it was, bit for bit, but for the spent nonce.
    let mut expected = before.state.clone();
    let account = expected.0.get_mut(ACCOUNTS).unwrap();
    let id = ALICE.id();
    let now = world.state.get(ACCOUNTS, id.as_ref()).unwrap().unwrap();
    account.insert(id.as_ref().to_vec(), now);
    assert_eq!(world.state, expected);
    assert_eq!(world.account(ALICE).unwrap().key, ALICE.key());
}

#[test]
fn a_refused_transaction_takes_nothing_from_those_before_it_in_the_block() {
    let mut world = World::with_shop();
    let results = world.block(&[
        transaction(ALICE, 2, vec![put("shop", "pear", "1")]),
        transaction(
            ALICE,
            3,
            vec![put("shop", "pear", "2"), delete("shop", "x")],
        ),
        transaction(ALICE, 4, vec![require("shop", "pear", has("1"))]),
    ]);
    assert_eq!(results, [None, refused_at(1, Refusal::NoSuchKey), None]);
    assert_eq!(world.get("shop", "pear"), Some((2, "1".to_owned())));
}

#[test]
fn operations_see_what_those_before_them_did() {
    let mut world = World::with_shop();
    let operations = vec![
        put("shop", "pear", "1"),
        swap("shop", "pear", has("1"), Some("2")),
        require("shop", "pear", has("2")),
        require("shop", "pear", written_at(2)),
        delete("shop", "pear"),
        require("shop", "pear", Condition::Absent),
        put("shop", "pear", "3"),
    ];
    assert_eq!(world.one(ALICE, 2, operations), None);
    assert_eq!(world.get("shop", "pear"), Some((2, "3".to_owned())));
}

// Keys and values.

#[test]
fn a_value_carries_the_height_at_which_it_was_written() {
    let mut world = World::with_shop();
    world.one(ALICE, 2, vec![put("shop", "pear", "1")]);
    world.one(ALICE, 3, vec![put("shop", "fig", "1")]);
    world.one(ALICE, 4, vec![put("shop", "pear", "1")]);
    assert_eq!(world.get("shop", "fig"), Some((3, "1".to_owned())));
    assert_eq!(
        world.get("shop", "pear"),
        Some((4, "1".to_owned())),
        "the same value, written anew"
    );
}

#[test]
fn an_empty_key_and_an_empty_value_are_a_key_and_a_value() {
    let mut world = World::with_shop();
    assert_eq!(world.one(ALICE, 2, vec![put("shop", "", "")]), None);
    assert_eq!(world.get("shop", ""), Some((2, String::new())));
    let operations = vec![require("shop", "", has("")), delete("shop", "")];
    assert_eq!(world.one(ALICE, 3, operations), None);
    assert_eq!(world.get("shop", ""), None);
}

#[test]
fn deleting_what_is_not_there_is_refused() {
    let mut world = World::with_shop();
    let missing = refused_at(0, Refusal::NoSuchKey);
    assert_eq!(world.one(ALICE, 2, vec![delete("shop", "pear")]), missing);
    world.one(ALICE, 3, vec![put("shop", "pear", "1")]);
    assert_eq!(world.one(ALICE, 4, vec![delete("shop", "pear")]), None);
    assert_eq!(world.one(ALICE, 5, vec![delete("shop", "pear")]), missing);
}

#[test]
fn compare_and_set_by_value_absence_and_height() {
    let mut world = World::with_shop();
    let failed = refused_at(0, Refusal::ConditionFailed);
    let mut nonce = 1;
    let mut swap = |expected: Condition, new: Option<&str>| {
        nonce += 1;
        let result = world.one(ALICE, nonce, vec![swap("shop", "pear", expected, new)]);
        (result, world.get("shop", "pear").map(|(_, text)| text))
    };
    let text = |text: &str| Some(text.to_owned());
    // Heights 2, 3, …, one block each.
    assert_eq!(swap(has("1"), Some("2")), (failed, None));
    assert_eq!(swap(written_at(1), Some("2")), (failed, None));
    assert_eq!(swap(Condition::Absent, None), (None, None));
    assert_eq!(swap(Condition::Absent, Some("1")), (None, text("1")));
    assert_eq!(swap(Condition::Absent, Some("2")), (failed, text("1")));
    assert_eq!(swap(has("2"), Some("3")), (failed, text("1")));
    assert_eq!(swap(written_at(4), Some("2")), (failed, text("1")));
    assert_eq!(swap(written_at(5), Some("2")), (None, text("2")));
    assert_eq!(swap(has("2"), None), (None, None));
}

#[test]
fn require_reads_any_namespace_and_refuses_the_whole_transaction() {
    let mut world = World::with_shop();
    world.one(ALICE, 2, vec![put("shop", "pear", "1")]);
    // Bob has no right in the shop: reading is public.
    let mut nonce = 0;
    let mut ask = |namespace: &str, key: &str, condition| {
        nonce += 1;
        world.one(BOB, nonce, vec![require(namespace, key, condition)])
    };
    let failed = refused_at(0, Refusal::ConditionFailed);
    assert_eq!(ask("shop", "pear", has("1")), None);
    assert_eq!(ask("shop", "pear", written_at(2)), None);
    assert_eq!(ask("shop", "fig", Condition::Absent), None);
    assert_eq!(ask("shop", "pear", has("2")), failed);
    assert_eq!(ask("shop", "pear", written_at(1)), failed);
    assert_eq!(ask("shop", "pear", Condition::Absent), failed);
    assert_eq!(ask("shop", "fig", written_at(0)), failed);
    let nowhere = refused_at(0, Refusal::NoSuchNamespace);
    assert_eq!(ask("market", "pear", Condition::Absent), nowhere);
}

#[test]
fn a_transaction_reads_no_more_than_it_may() {
    let mut world = World::with_shop();
    let big = "x".repeat(violeta_types::limits::VALUE_BYTES_MAX);
    // 32 values of 512 KiB are 16 MiB; with their 8 bytes each they are over the limit after the 32nd.
    for i in 0..40u64 {
        let operations = vec![put("shop", &i.to_string(), &big)];
        assert_eq!(world.one(ALICE, 2 + i, operations), None);
    }
    let look = |keys: std::ops::Range<u64>| {
        keys.map(|i| require("shop", &i.to_string(), written_at(2 + i)))
            .collect::<Vec<_>>()
    };
    assert_eq!(world.one(BOB, 1, look(0..32)), None);
    let too_much = refused_at(32, Refusal::ReadsTooMuch);
    assert_eq!(world.one(BOB, 2, look(0..40)), too_much);
    let item = |nonce, keys| transaction(BOB, nonce, look(keys));
    let both = world.block(&[item(3, 0..20), item(4, 20..40)]);
    assert_eq!(both, [None, None], "each transaction has its own allowance");
}

/// Counts what is asked of the state before the block.
struct Counting<'a>(&'a MapState, std::cell::RefCell<Vec<String>>);

impl State for Counting<'_> {
    fn get(&self, space: &[u8], key: &[u8]) -> Result<Option<Bytes>, DbError> {
        if space == b"shop" {
            let key = String::from_utf8_lossy(key).into_owned();
            self.1.borrow_mut().push(key);
        }
        self.0.get(space, key)
    }
}

#[test]
fn what_many_transactions_of_a_block_look_at_is_read_once() {
    let mut world = World::with_shop();
    assert_eq!(world.one(ALICE, 2, vec![put("shop", "pear", "1")]), None);
    world.context.height = world.context.height.next();
    let state = Counting(&world.state, std::cell::RefCell::default());
    let mut execution = Execution::new(world.context, &state);
    for nonce in 1..50 {
        let looks = vec![
            require("shop", "pear", written_at(2)),
            require("shop", "fig", Condition::Absent),
        ];
        execution.execute(&transaction(BOB, nonce, looks)).unwrap();
    }
    assert_eq!(execution.outcomes().len(), 49);
    assert!(execution.outcomes().iter().all(|o| o.refused.is_none()));
    assert_eq!(*state.1.borrow(), ["pear", "fig"]);
}

#[test]
fn a_block_that_read_its_fill_leaves_the_rest_to_the_next() {
    let mut world = World::with_shop();
    world.context.read_bytes_max = 100_000;
    let big = "x".repeat(60_000);
    for i in 0..5 {
        let operations = vec![put("shop", &i.to_string(), &big)];
        assert_eq!(world.one(ALICE, 2 + i, operations), None);
    }
    let look = |i: u64| require("shop", &i.to_string(), written_at(2 + i));
    let items: Vec<_> = (0..5)
        .map(|i| transaction(BOB, 1 + i, vec![look(i)]))
        .collect();
    assert_eq!(world.block(&items), [None; 2], "60,000, then 120,000 bytes");
    assert_eq!(world.block(&items), [None; 2]);
    assert_eq!(world.block(&items), [None; 1]);
    // The same again and again is one read, however often.
    let items: Vec<_> = (6..30)
        .map(|nonce| transaction(BOB, nonce, vec![look(0)]))
        .collect();
    assert_eq!(world.block(&items), [None; 24]);
    // Keys that aren't there are looked for as well.
    world.context.read_bytes_max = world.account_cost(BOB) + world.namespace_cost("shop") + 2_000;
    let items: Vec<_> = (30..60)
        .map(|nonce| {
            let absent = require("shop", &format!("no {nonce}"), Condition::Absent);
            transaction(BOB, nonce, vec![absent])
        })
        .collect();
    assert_eq!(world.block(&items), [None; 8], "of 261 bytes each");
}

#[test]
fn accounts_keys_and_namespaces_that_a_block_looks_up_fill_it_too_there_or_not() {
    let mut world = World::with_shop();
    // An account, once, and eight namespaces of 261 bytes each.
    world.context.read_bytes_max = world.account_cost(BOB) + 2_000;
    let items: Vec<_> = (10..30)
        .map(|nonce| transaction(BOB, nonce, vec![put(&format!("no-{nonce}"), "k", "1")]))
        .collect();
    assert_eq!(world.block(&items).len(), 8);
    let items: Vec<_> = (30..50)
        .map(|nonce| transaction(BOB, nonce, vec![put("shop", "k", "1")]))
        .collect();
    assert_eq!(world.block(&items).len(), 20, "one namespace, once");
    // Strangers leave no trace, but each is looked for twice, among accounts and keys: 2 · (256 + 32) bytes.
    world.context.read_bytes_max = 5_000;
    for (strangers, recorded, nonce) in [(8, 1, 50), (9, 0, 51)] {
        let strangers = (0..strangers).map(|i| transaction(Client(100 + i), 1, vec![]));
        let last = transaction(BOB, nonce, vec![]);
        let items: Vec<_> = strangers.chain([last]).collect();
        assert_eq!(world.block(&items).len(), recorded);
    }
}

// Namespaces and rights.

#[test]
fn the_owner_alone_writes_until_it_grants() {
    let mut world = World::with_shop();
    let unauthorised = refused_at(0, Refusal::Unauthorised);
    let write = |key: &str| vec![put("shop", key, "1")];
    assert_eq!(world.one(BOB, 1, write("a")), unauthorised);
    let granted = vec![grant("shop", BOB, Right::Write)];
    assert_eq!(world.one(ALICE, 2, granted), None);
    assert_eq!(world.one(BOB, 2, write("a")), None);
    let swap = vec![swap("shop", "a", has("1"), None)];
    assert_eq!(world.one(BOB, 3, swap), None);
    // Write is no right to grant.
    let further = vec![grant("shop", CAROL, Right::Write)];
    assert_eq!(world.one(BOB, 4, further), unauthorised);
    assert_eq!(world.one(ALICE, 3, vec![revoke("shop", BOB)]), None);
    assert_eq!(world.one(BOB, 5, write("b")), unauthorised);
    let delete = vec![delete("shop", "a")];
    assert_eq!(world.one(BOB, 6, delete), unauthorised);
}

#[test]
fn an_admin_grants_and_revokes_write_but_no_admin() {
    let mut world = World::with_shop();
    let unauthorised = refused_at(0, Refusal::Unauthorised);
    let admin = vec![grant("shop", BOB, Right::Admin)];
    assert_eq!(world.one(ALICE, 2, admin), None);
    let write = vec![grant("shop", CAROL, Right::Write)];
    assert_eq!(world.one(BOB, 1, write), None);
    assert_eq!(world.one(CAROL, 1, vec![put("shop", "a", "1")]), None);
    let promote = vec![grant("shop", CAROL, Right::Admin)];
    assert_eq!(world.one(BOB, 2, promote.clone()), unauthorised);
    assert_eq!(world.one(BOB, 3, vec![revoke("shop", CAROL)]), None);
    assert_eq!(world.one(ALICE, 3, promote), None);
    assert_eq!(world.one(BOB, 4, vec![revoke("shop", CAROL)]), unauthorised);
    let demote = vec![grant("shop", CAROL, Right::Write)];
    assert_eq!(world.one(BOB, 5, demote), unauthorised);
    let dropped = vec![drop_namespace("shop")];
    assert_eq!(world.one(BOB, 6, dropped), unauthorised);
    let grants = world.namespace("shop").unwrap().grants;
    assert_eq!(grants.len(), 2);
    assert!(grants.values().all(|right| *right == Right::Admin));
}

#[test]
fn grants_go_to_clients_that_exist_and_are_bounded() {
    let mut world = World::with_shop();
    let nobody = refused_at(0, Refusal::NoSuchClient);
    let to = |i| grant("shop", Client(i), Right::Write);
    assert_eq!(world.one(ALICE, 2, vec![to(77)]), nobody);
    assert_eq!(
        world.one(ALICE, 3, vec![revoke("shop", Client(77))]),
        nobody
    );
    // Revoking what was never granted changes nothing, not even the record.
    let before = world.state.get(NAMESPACES, b"shop").unwrap();
    assert_eq!(world.one(ALICE, 4, vec![revoke("shop", BOB)]), None);
    assert_eq!(world.state.get(NAMESPACES, b"shop").unwrap(), before);

    // A full namespace, as the state would have it.
    let mut full = world.namespace("shop").unwrap();
    for i in 0..GRANTS_MAX as u32 {
        let mut id = CAROL.id();
        id.0.0[..4].copy_from_slice(&i.to_be_bytes());
        full.grants.insert(id, Right::Write);
    }
    let record = crate::records::stored_record(Height(1), &full);
    world.state.put(NAMESPACES, b"shop", record);
    let too_many = refused_at(0, Refusal::TooManyGrants);
    assert_eq!(world.one(ALICE, 5, vec![to(BOB.0)]), too_many);
    let room = full.grants.into_keys().next().unwrap();
    let revoked = Operation::Revoke {
        namespace: name("shop"),
        client: room,
    };
    // That client has no account in this world.
    assert_eq!(world.one(ALICE, 6, vec![revoked]), nobody);
}

#[test]
fn names_are_judged_when_a_namespace_is_made_and_when_it_is_not_found() {
    let mut world = World::with_shop();
    let bad = refused_at(0, Refusal::BadName);
    for (i, name) in ["", "_accounts", "_mine", "Shop", "a/b"].iter().enumerate() {
        let nonce = 2 + 3 * i as u64;
        assert_eq!(world.one(ALICE, nonce, vec![create(name)]), bad, "{name}");
        assert_eq!(world.one(ALICE, nonce + 1, vec![put(name, "k", "v")]), bad);
        let looked = vec![require(name, "k", Condition::Absent)];
        assert_eq!(world.one(ALICE, nonce + 2, looked), bad);
    }
    let exists = refused_at(0, Refusal::NamespaceExists);
    assert_eq!(world.one(BOB, 1, vec![create("shop")]), exists);
    let missing = refused_at(0, Refusal::NoSuchNamespace);
    for (i, operation) in [
        put("market", "k", "v"),
        delete("market", "k"),
        drop_namespace("market"),
        grant("market", BOB, Right::Write),
        revoke("market", BOB),
    ]
    .into_iter()
    .enumerate()
    {
        assert_eq!(world.one(BOB, 2 + i as u64, vec![operation]), missing);
    }
}

#[test]
fn a_namespace_dropped_and_made_again_has_lost_its_keys_and_grants() {
    for in_one_transaction in [true, false] {
        let mut world = World::with_shop();
        let filled = vec![
            put("shop", "pear", "1"),
            put("shop", "fig", "1"),
            grant("shop", BOB, Right::Write),
        ];
        assert_eq!(world.one(ALICE, 2, filled), None);
        let again = vec![create("shop"), put("shop", "fig", "2")];
        if in_one_transaction {
            let all = [vec![drop_namespace("shop")], again].concat();
            assert_eq!(world.one(ALICE, 3, all), None);
        } else {
            assert_eq!(world.one(ALICE, 3, vec![drop_namespace("shop")]), None);
            assert_eq!(world.namespace("shop"), None);
            assert_eq!(world.get("shop", "pear"), None);
            // Whoever comes first may take the name.
            assert_eq!(world.one(ALICE, 4, again), None);
        }
        assert_eq!(world.get("shop", "pear"), None);
        let height = world.context.height.0;
        assert_eq!(world.get("shop", "fig"), Some((height, "2".to_owned())));
        let unauthorised = refused_at(0, Refusal::Unauthorised);
        assert_eq!(world.one(BOB, 1, vec![put("shop", "a", "1")]), unauthorised);
        let absent = vec![require("shop", "pear", Condition::Absent)];
        assert_eq!(world.one(BOB, 2, absent), None);
    }
}

#[test]
fn a_namespace_that_comes_and_goes_within_a_block_leaves_nothing() {
    let mut world = World::with_shop();
    let spaces: Vec<_> = world.state.0.keys().cloned().collect();
    let results = world.block(&[
        transaction(BOB, 1, vec![create("brief"), put("brief", "k", "v")]),
        transaction(BOB, 2, vec![delete("brief", "k"), drop_namespace("brief")]),
    ]);
    assert_eq!(results, [None, None]);
    assert_eq!(world.namespace("brief"), None);
    let after: Vec<_> = world.state.0.keys().cloned().collect();
    assert_eq!(after, spaces);
}

// Accounts.

#[test]
fn on_a_closed_chain_administrators_register_clients() {
    let mut world = World::new(Admission::Closed);
    let item = transaction(ALICE, 1, vec![]);
    assert_eq!(world.block(std::slice::from_ref(&item)), NO_TRACE);
    assert_eq!(world.one(ADMIN, 1, vec![register(ALICE)]), None);
    assert_eq!(
        world.block(&[item]),
        [None],
        "the same bytes, now of a client"
    );
    let unauthorised = refused_at(0, Refusal::Unauthorised);
    assert_eq!(world.one(ALICE, 2, vec![register(BOB)]), unauthorised);
    let in_use = refused_at(0, Refusal::KeyInUse);
    assert_eq!(world.one(ADMIN, 2, vec![register(ALICE)]), in_use);
    assert_eq!(world.one(ADMIN, 3, vec![register(ADMIN)]), in_use);
}

#[test]
fn on_an_open_chain_a_first_transaction_makes_the_account() {
    let mut world = World::new(Admission::Open);
    assert_eq!(world.one(ALICE, 5, vec![create("mine")]), None);
    assert_eq!(world.one(ALICE, 1, vec![put("mine", "k", "v")]), None);
    assert_eq!(world.one(ALICE, 6, vec![register(BOB)]), None);
    assert!(world.account(BOB).is_some());
    assert!(!world.account(ALICE).unwrap().administrator);
    // Outside a new account's window: no account, no trace.
    assert_eq!(world.block(&[transaction(CAROL, 1_025, vec![])]), NO_TRACE);
    assert_eq!(world.account(CAROL), None);
    // A refusal founds the account too: its nonce must be spent somewhere.
    let refused = transaction(CAROL, 1, vec![create("_bad")]);
    let bad = refused_at(0, Refusal::BadName);
    assert_eq!(world.block(&[refused.clone(), refused]), [bad]);
    assert!(world.account(CAROL).is_some());
}

#[test]
fn a_rotated_key_acts_at_once_and_the_old_one_leaves_no_trace() {
    let new = Client(40);
    let mut world = World::with_shop();
    let with_old = transaction(ALICE, 3, vec![put("shop", "pear", "old")]);
    let with_new = transaction(new, 4, vec![put("shop", "pear", "new")]);
    let results = world.block(&[
        with_new.clone(),
        transaction(ALICE, 2, vec![rotate(ALICE, new)]),
        with_old.clone(),
        with_new,
    ]);
    assert_eq!(results, [None, None], "the rotation, then the new key");
    assert_eq!(world.get("shop", "pear"), Some((2, "new".to_owned())));
    // Replays of the old key leave no trace, ever; also those that had been executed.
    assert_eq!(world.block(&[with_old]), NO_TRACE);
    let first = transaction(ALICE, 1, vec![create("shop")]);
    assert_eq!(world.block(&[first]), NO_TRACE);
    assert_eq!(world.account(ALICE).unwrap().key, new.key());
    assert_eq!(world.account(new), None, "the client keeps its name");
}

#[test]
fn a_rotated_away_key_founds_no_account_on_an_open_chain() {
    let (second, third) = (Client(41), Client(42));
    let mut world = World::new(Admission::Open);
    assert_eq!(world.one(ALICE, 1, vec![rotate(ALICE, second)]), None);
    let by_second = transaction(second, 2, vec![create("mine")]);
    assert_eq!(world.block(std::slice::from_ref(&by_second)), [None]);
    // The client is Alice still: the proof names it, the second key signs the transaction.
    assert_eq!(world.one(second, 3, vec![rotate(ALICE, third)]), None);
    let late = transaction(second, 7, vec![create("stolen")]);
    let first = transaction(ALICE, 8, vec![create("stolen")]);
    assert_eq!(world.block(&[by_second, late, first]), NO_TRACE);
    assert_eq!(world.one(third, 4, vec![put("mine", "k", "v")]), None);
}

#[test]
fn a_key_serves_one_client_once() {
    let new = Client(43);
    let mut world = World::with_shop();
    let in_use = refused_at(0, Refusal::KeyInUse);
    assert_eq!(world.one(ALICE, 2, vec![rotate(ALICE, BOB)]), in_use);
    assert_eq!(world.one(ALICE, 3, vec![rotate(ALICE, ALICE)]), in_use);
    assert_eq!(world.one(ALICE, 4, vec![rotate(ALICE, new)]), None);
    assert_eq!(world.one(BOB, 1, vec![rotate(BOB, new)]), in_use);
    assert_eq!(world.one(ADMIN, 2, vec![register(new)]), in_use);
    assert_eq!(world.one(ADMIN, 3, vec![register(ALICE)]), in_use);
    // Not even back to the first one.
    assert_eq!(world.one(new, 5, vec![rotate(ALICE, ALICE)]), in_use);
    assert!(world.state.get(KEYS, &new.key().0).unwrap().is_some());
}

#[test]
fn a_rotation_needs_the_new_keys_word_for_this_client() {
    let new = Client(44);
    let mut world = World::with_shop();
    let bad = refused_at(0, Refusal::BadRotation);
    // Signed by the new key, but for Bob's account; and not signed at all.
    assert_eq!(world.one(ALICE, 2, vec![rotate(BOB, new)]), bad);
    let unsigned = Operation::RotateKey {
        key: new.key(),
        proof: ClientSignature([0; 64]),
    };
    assert_eq!(world.one(ALICE, 3, vec![unsigned]), bad);
    assert_eq!(world.account(ALICE).unwrap().key, ALICE.key());
    assert_eq!(world.state.get(KEYS, &new.key().0).unwrap(), None);
}

// Properties.

fn operation() -> impl Strategy<Value = Operation> {
    let names = prop_oneof![Just("a"), Just("b"), Just("shop"), Just("_x")];
    let keys = prop_oneof![Just("k"), Just("l"), Just("")];
    let values = prop_oneof![Just("1"), Just("2")];
    let clients = (0u8..5).prop_map(Client);
    let conditions = prop_oneof![
        Just(Condition::Absent),
        values.clone().prop_map(has),
        (0u64..6).prop_map(written_at),
    ];
    let rights = prop_oneof![Just(Right::Write), Just(Right::Admin)];
    let (n, k, c) = (names, keys, clients);
    prop_oneof![
        4 => (n.clone(), k.clone(), values.clone()).prop_map(|(n, k, v)| put(n, k, v)),
        2 => (n.clone(), k.clone()).prop_map(|(n, k)| delete(n, k)),
        2 => (n.clone(), k.clone(), conditions.clone(), proptest::option::of(values))
            .prop_map(|(n, k, e, v)| swap(n, k, e, v)),
        1 => (n.clone(), k, conditions).prop_map(|(n, k, c)| require(n, k, c)),
        3 => n.clone().prop_map(create),
        1 => n.clone().prop_map(drop_namespace),
        2 => (n.clone(), c.clone(), rights).prop_map(|(n, c, r)| grant(n, c, r)),
        1 => (n, c.clone()).prop_map(|(n, c)| revoke(n, c)),
        1 => c.clone().prop_map(register),
        1 => (c, 5u8..9).prop_map(|(c, new)| rotate(c, Client(new))),
    ]
}

fn transactions() -> impl Strategy<Value = Vec<Bytes>> {
    let one = (
        0u8..9,
        1u64..8,
        proptest::collection::vec(operation(), 0..5),
    )
        .prop_map(|(client, nonce, operations)| transaction(Client(client), nonce, operations));
    proptest::collection::vec(one, 1..40)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// A block of many transactions leaves what blocks of one each leave, heights aside: overlay, caches and undo
    /// are invisible. And a refused transaction leaves what a barrier with its nonce leaves.
    #[test]
    fn one_block_or_many_the_values_are_the_same(items in transactions(), open in any::<bool>()) {
        let admission = if open { Admission::Open } else { Admission::Closed };
        let (mut one, mut many) = (World::new(admission), World::new(admission));
        let mut results = Vec::new();
        for item in &items {
            many.context.height = Height(0);
            results.extend(many.block(std::slice::from_ref(item)));
        }
        prop_assert_eq!(one.block(&items), results);
        prop_assert_eq!(one.state, many.state);
    }

    /// However often and in whatever blocks the items come again, nothing happens twice.
    #[test]
    fn replays_leave_no_trace(items in transactions(), replays in transactions()) {
        let mut world = World::new(Admission::Open);
        let first = world.block(&items);
        let ids: std::collections::BTreeSet<_> = items.iter().collect();
        prop_assert!(first.len() <= ids.len());
        let before = world.clone();
        // Only what left no trace before may act now (a key that has an account since).
        let acted = world.block(&items).len();
        prop_assert!(first.len() + acted <= ids.len());
        if acted == 0 {
            prop_assert_eq!(&world.state, &before.state);
        }
        world.block(&replays);
        let again = world.clone();
        let recorded = world.block(&replays).len();
        if recorded == 0 {
            prop_assert_eq!(world.state, again.state);
        }
    }

    /// The same items over the same state: the same outcomes and changes.
    #[test]
    fn execution_is_a_function(items in transactions()) {
        let (mut one, mut other) = (World::with_shop(), World::with_shop());
        prop_assert_eq!(one.block(&items), other.block(&items));
        prop_assert_eq!(one.state, other.state);
    }

    /// Garbage does nothing and never panics.
    #[test]
    fn garbage_leaves_no_trace(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let mut world = World::with_shop();
        let before = world.state.clone();
        prop_assert_eq!(world.block(&[bytes.into()]), NO_TRACE);
        prop_assert_eq!(world.state, before);
    }
}
