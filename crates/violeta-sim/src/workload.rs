//! Clients: what they want, and how they insist (replica.md §8).
//!
//! A client signs transactions over a small key space, so that they get in each other's way. It submits each to one
//! validator, or to several at once; if nothing is heard of it, the same bytes go to one more, and again to those that
//! may have lost them. It gives up only when the transaction has expired. Once all is healed it insists: f + 1
//! validators have every transaction that is still open, so an honest one has it (client intervention).

use bytes::Bytes;
use violeta_crypto::ClientSecretKey;
use violeta_types::transaction::{Condition, Key, NamespaceName, Right, Value};
use violeta_types::{
    ChainId, ClientId, Height, Nonce, Operation, TimeMs, Transaction, TransactionBody, TxId,
    ValidatorIndex,
};

use crate::cast::Cast;
use crate::clock::{Micros, ms, wall};
use crate::dice::Dice;

/// How long a transaction stays good, in ms, when it isn't meant to expire: longer than any world lasts, and within
/// the ten minutes that are admitted whatever the clocks.
const EXPIRY_MS: u64 = 9 * 60 * 1_000;

/// What clients do in a world. Drawn once a seed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct WorkloadPlan {
    pub(crate) clients: usize,
    /// Transactions in all.
    pub(crate) transactions: usize,
    /// Keys of a namespace.
    pub(crate) keys: u64,
    /// Bytes of a value, at most.
    pub(crate) value_bytes: u64,
    /// How many transactions in a thousand go to several validators at once.
    pub(crate) broadcast_permille: u64,
    /// How many in a thousand may expire on the way.
    pub(crate) hasty_permille: u64,
    /// How long a client waits before it insists.
    pub(crate) patience: Micros,
    /// Whether all come at once, or spread over the time until all heals.
    pub(crate) burst: bool,
}

impl WorkloadPlan {
    pub(crate) fn draw(dice: &mut Dice) -> Self {
        WorkloadPlan {
            clients: dice.within(1..=4) as usize,
            transactions: dice.within(5..=60) as usize,
            keys: dice.within(1..=8),
            value_bytes: dice.within(1..=2_000),
            broadcast_permille: if dice.coin() { dice.below(1_000) } else { 0 },
            hasty_permille: if dice.coin() { dice.below(200) } else { 0 },
            patience: dice.within(ms(200)..=ms(3_000)),
            burst: dice.chance(200),
        }
    }
}

impl WorkloadPlan {
    /// Makes it a steady flow of many small transactions.
    pub(crate) fn steady(&mut self, dice: &mut Dice) {
        self.transactions = dice.within(250..=450) as usize;
        self.value_bytes = 20;
        self.burst = false;
        self.broadcast_permille = 0;
    }
}

/// One transaction and what its client knows of it.
#[derive(Clone, Debug)]
pub(crate) struct Errand {
    pub(crate) id: TxId,
    pub(crate) bytes: Bytes,
    pub(crate) expires: TimeMs,
    /// When the client first submits it.
    pub(crate) begins: Micros,
    /// The validators in the order in which the client tries them.
    pub(crate) gateways: Vec<ValidatorIndex>,
    /// How many of them have been tried.
    pub(crate) tried: usize,
    /// Whether it was submitted at all.
    pub(crate) submitted: bool,
    /// When the client sends it again, if it hears nothing.
    pub(crate) insists: Micros,
    /// Whether the client knows what became of it, with a certificate; or that nothing will.
    pub(crate) closed: bool,
}

/// How long after all has healed the last transaction comes: to see that commits go on.
const LAST_AFTER: Micros = ms(200);

/// All errands of a world, in order of their beginning: those of the plan, and one more once all has healed.
pub(crate) fn draw(
    cast: &Cast,
    plan: &WorkloadPlan,
    until: Micros,
    dice: &mut Dice,
) -> Vec<Errand> {
    let mut clients: Vec<Client> = (0..plan.clients).map(|i| Client::new(cast, i)).collect();
    let ids: Vec<ClientId> = clients
        .iter()
        .map(|c| c.key.public_key().client_id())
        .collect();
    let all: Vec<ValidatorIndex> = cast.epoch.committee().indices().collect();
    let mut errands = Vec::new();
    for number in 0..=plan.transactions {
        let is_last = number == plan.transactions;
        let who = match number < plan.clients {
            true => number,
            false => dice.below(plan.clients as u64) as usize,
        };
        let begins = match (is_last, plan.burst) {
            (true, _) => until + LAST_AFTER,
            (false, true) => dice.below(ms(50)),
            (false, false) => dice.below(until),
        };
        let operations = operations(plan, who, clients[who].next == 1, &ids, dice);
        let hasty = dice.chance(plan.hasty_permille) && !is_last;
        let lasts = if hasty {
            dice.within(1..=2_000)
        } else {
            EXPIRY_MS
        };
        let expires = TimeMs(wall(begins).0 + lasts);
        let transaction = clients[who].sign(*cast.epoch.chain(), expires, operations);
        let tried = match dice.chance(plan.broadcast_permille) {
            true => dice.within(2..=all.len() as u64) as usize,
            false => 1,
        };
        errands.push(Errand {
            id: transaction.id(),
            bytes: transaction.to_bytes(),
            expires,
            begins,
            gateways: dice.sample(&all, all.len()),
            tried,
            submitted: false,
            insists: begins,
            closed: false,
        });
    }
    errands.sort_by_key(|errand| errand.begins);
    errands
}

struct Client {
    key: ClientSecretKey,
    next: u64,
}

impl Client {
    fn new(cast: &Cast, index: usize) -> Self {
        let key = cast.client_key(index);
        Client { key, next: 1 }
    }

    fn sign(&mut self, chain: ChainId, expires: TimeMs, operations: Vec<Operation>) -> Transaction {
        let nonce = Nonce(self.next);
        self.next += 1;
        #[expect(
            clippy::expect_used,
            reason = "the workload makes a handful of operations"
        )]
        let operations = operations.try_into().expect("few operations");
        let body = TransactionBody {
            chain,
            key: self.key.public_key(),
            nonce,
            expires,
            operations,
        };
        let signature = self.key.sign_transaction(&body.id());
        Transaction { body, signature }
    }
}

/// A name, key or value out of a short text.
fn blob<const MAX: usize>(text: &str) -> violeta_types::Blob<MAX> {
    #[expect(
        clippy::expect_used,
        reason = "the workload's names, keys and values are short"
    )]
    text.as_bytes().try_into().expect("a short text")
}

pub(crate) fn namespace(client: usize) -> NamespaceName {
    blob(&format!("space-{client}"))
}

pub(crate) fn key(number: u64) -> Key {
    blob(&format!("key-{number}"))
}

fn value(plan: &WorkloadPlan, dice: &mut Dice) -> Value {
    let len = dice.within(1..=plan.value_bytes) as usize;
    // Few different ones, so that conditions hold now and then.
    let text = dice.below(4).to_string().repeat(len);
    blob(&text)
}

/// What a transaction does. A client's first one makes its namespace; later ones may well come before it.
fn operations(
    plan: &WorkloadPlan,
    who: usize,
    first: bool,
    ids: &[ClientId],
    dice: &mut Dice,
) -> Vec<Operation> {
    if first {
        let namespace = namespace(who);
        return vec![Operation::CreateNamespace { namespace }];
    }
    (0..dice.within(1..=4))
        .map(|_| operation(plan, who, ids, dice))
        .collect()
}

fn operation(plan: &WorkloadPlan, who: usize, ids: &[ClientId], dice: &mut Dice) -> Operation {
    // Mostly one's own namespace; now and then another's, with or without the right.
    let owner = match dice.chance(250) {
        true => dice.below(plan.clients as u64) as usize,
        false => who,
    };
    let (namespace, key) = (namespace(owner), key(dice.below(plan.keys)));
    match dice.below(10) {
        0..=4 => Operation::Put {
            namespace,
            key,
            value: value(plan, dice),
        },
        5 => Operation::Delete { namespace, key },
        6 | 7 => Operation::CompareAndSet {
            namespace,
            key,
            expected: condition(plan, dice),
            value: dice.coin().then(|| value(plan, dice)),
        },
        8 => Operation::Require {
            namespace,
            key,
            condition: condition(plan, dice),
        },
        _ => Operation::Grant {
            namespace,
            // To another than oneself: what an owner's grant to itself does is no business of the model.
            client: ids[(who + 1) % ids.len()],
            right: Right::Write,
        },
    }
}

fn condition(plan: &WorkloadPlan, dice: &mut Dice) -> Condition {
    match dice.below(3) {
        0 => Condition::Absent,
        1 => Condition::Value(value(plan, dice)),
        _ => Condition::WrittenAt(Height(dice.within(1..=20))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::seconds;
    use violeta_crypto::signing::verify_transaction;
    use violeta_types::Parameters;

    #[test]
    fn errands_are_signed_for_different_nonces_and_come_in_order() {
        for seed in 0..50 {
            let mut dice = Dice::new(seed);
            let plan = WorkloadPlan::draw(&mut dice);
            let cast = Cast::new(
                4,
                Parameters::for_validators(4),
                plan.clients,
                Dice::new(seed),
            );
            let errands = draw(&cast, &plan, seconds(4), &mut dice);
            assert_eq!(errands.len(), plan.transactions + 1);
            assert!(
                errands
                    .windows(2)
                    .all(|pair| pair[0].begins <= pair[1].begins)
            );
            let mut nonces = std::collections::BTreeSet::new();
            for errand in &errands {
                let transaction = Transaction::decode(&errand.bytes).unwrap();
                let body = &transaction.body;
                verify_transaction(&body.key, &errand.id, &transaction.signature).unwrap();
                assert!(nonces.insert((body.key, body.nonce)));
                assert!(errand.tried >= 1 && errand.tried <= errand.gateways.len());
            }
        }
    }
}
