//! Transactions that wait to be ordered (replica.md §6).
//!
//! ```text
//!            insert                take (in turn, one a client)            ordered
//!  checked ─────────▶ queued ────────────────────────────▶ in a vertex ─────────────▶ gone
//!                       ▲                                       │
//!                       └──────────── returned ─────────────────┘   (the vertex fell under gc)
//! ```
//!
//! Bounded in bytes, in count and per client; what would exceed a bound is refused with the reason. Fair: each turn
//! takes one transaction of each client that has any, so a client with many delays the others by one a turn. A
//! transaction sits in at most one vertex of this validator's.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use violeta_consensus::ItemMeta;
use violeta_types::{ClientPublicKey, TimeMs, TxId};

use crate::limits::{
    MEMPOOL_BYTES_MAX, MEMPOOL_CLIENT_BYTES_MAX, MEMPOOL_CLIENT_COUNT_MAX, MEMPOOL_COUNT_MAX,
};

/// A transaction as the mempool holds it.
#[derive(Clone, Debug)]
pub struct Pooled {
    /// What the rules said of it: its id, whose quota it counts to, when it is dropped.
    pub meta: ItemMeta,
    /// The item's content.
    pub bytes: Bytes,
}

/// What is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Full {
    /// The pool, in transactions or bytes.
    #[error("the mempool is full")]
    Pool,
    /// The client's share of it.
    #[error("this client has as many transactions waiting as it may")]
    Client,
}

/// Whether an insertion changed anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inserted {
    /// It is queued now.
    New,
    /// It was here already.
    Known,
}

#[derive(Debug)]
struct Entry {
    pooled: Pooled,
    in_vertex: bool,
}

#[derive(Debug, Default)]
struct ClientQueue {
    queued: VecDeque<TxId>,
    /// Whether it stands in the order of turns. Then it is kept, though nothing of it is here any more.
    has_turn: bool,
    count: usize,
    bytes: usize,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Mempool {
    entries: BTreeMap<TxId, Entry>,
    clients: BTreeMap<Option<ClientPublicKey>, ClientQueue>,
    /// Clients that have something queued, in order of their turns.
    turns: VecDeque<Option<ClientPublicKey>>,
    /// Clients of which nothing is here but their turn.
    gone: usize,
    bytes: usize,
    queued: usize,
    queued_bytes: usize,
    /// No entry expires before this.
    earliest_expiry: TimeMs,
}

impl Mempool {
    /// Transactions here, in a vertex or not.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether nothing is here.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Bytes of the transactions here.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Transactions that wait for a vertex.
    pub fn queued(&self) -> usize {
        self.queued
    }

    /// Bytes of the transactions that wait for a vertex.
    pub fn queued_bytes(&self) -> usize {
        self.queued_bytes
    }

    /// Whether the transaction is here.
    pub fn contains(&self, id: &TxId) -> bool {
        self.entries.contains_key(id)
    }

    /// Queues a transaction.
    ///
    /// # Errors
    /// If the pool or the client's share of it is full. Nothing has changed then.
    pub fn insert(&mut self, pooled: Pooled) -> Result<Inserted, Full> {
        if self.entries.contains_key(&pooled.meta.id) {
            return Ok(Inserted::Known);
        }
        let size = pooled.bytes.len();
        if self.entries.len() >= MEMPOOL_COUNT_MAX || self.bytes + size > MEMPOOL_BYTES_MAX {
            return Err(Full::Pool);
        }
        if let (Some(_), Some(client)) = (pooled.meta.client, self.clients.get(&pooled.meta.client))
            && (client.count >= MEMPOOL_CLIENT_COUNT_MAX
                || client.bytes + size > MEMPOOL_CLIENT_BYTES_MAX)
        {
            return Err(Full::Client);
        }
        if self.entries.is_empty() || pooled.meta.expires < self.earliest_expiry {
            self.earliest_expiry = pooled.meta.expires;
        }
        self.bytes += size;
        let client = self.clients.entry(pooled.meta.client).or_default();
        if client.count == 0 && client.has_turn {
            self.gone -= 1;
        }
        client.count += 1;
        client.bytes += size;
        let (id, owner) = (pooled.meta.id, pooled.meta.client);
        let in_vertex = false;
        self.entries.insert(id, Entry { pooled, in_vertex });
        self.enqueue(id, owner, size, false);
        Ok(Inserted::New)
    }

    fn enqueue(&mut self, id: TxId, owner: Option<ClientPublicKey>, size: usize, first: bool) {
        let client = self.clients.entry(owner).or_default();
        if !std::mem::replace(&mut client.has_turn, true) {
            self.turns.push_back(owner);
        }
        match first {
            true => client.queued.push_front(id),
            false => client.queued.push_back(id),
        }
        self.queued += 1;
        self.queued_bytes += size;
    }

    /// Takes what the next vertex carries, within both bounds, clients in turn. They stay here, marked, until they are
    /// [ordered](Self::ordered) or [returned](Self::returned).
    pub fn take(&mut self, items_max: usize, bytes_max: usize) -> Vec<Pooled> {
        let mut taken = Vec::new();
        let mut bytes = 0;
        while taken.len() < items_max {
            let Some(owner) = self.turns.pop_front() else {
                break;
            };
            let Some(client) = self.clients.get_mut(&owner) else {
                continue;
            };
            client.has_turn = false;
            let Some(id) = client.queued.pop_front() else {
                if client.count == 0 {
                    self.clients.remove(&owner);
                    self.gone -= 1;
                }
                continue;
            };
            let waiting = self.entries.get_mut(&id).filter(|entry| !entry.in_vertex);
            let Some(entry) = waiting else {
                // Ordered or expired while it was queued, or queued twice because it came back meanwhile.
                self.requeue_turn(owner);
                continue;
            };
            let size = entry.pooled.bytes.len();
            if bytes + size > bytes_max && !taken.is_empty() {
                client.queued.push_front(id);
                client.has_turn = true;
                self.turns.push_front(owner);
                break;
            }
            bytes += size;
            entry.in_vertex = true;
            self.queued -= 1;
            self.queued_bytes -= size;
            taken.push(entry.pooled.clone());
            self.requeue_turn(owner);
        }
        taken
    }

    fn requeue_turn(&mut self, owner: Option<ClientPublicKey>) {
        if let Some(client) = self.clients.get_mut(&owner)
            && !client.queued.is_empty()
        {
            client.has_turn = true;
            self.turns.push_back(owner);
        }
    }

    /// Forgets a transaction that has been ordered, through whichever validator. Says whether it was here.
    pub fn ordered(&mut self, id: &TxId) -> bool {
        let Some(entry) = self.entries.remove(id) else {
            return false;
        };
        let size = entry.pooled.bytes.len();
        self.bytes -= size;
        if !entry.in_vertex {
            // Its id stays in the client's queue until its turn comes, and is passed over then.
            self.queued -= 1;
            self.queued_bytes -= size;
        }
        let owner = entry.pooled.meta.client;
        if let Some(client) = self.clients.get_mut(&owner) {
            client.count -= 1;
            client.bytes -= size;
            if client.count == 0 {
                client.queued = VecDeque::new();
                if client.has_turn {
                    // Its turn is passed over when it comes: looking for it now would cost a walk over all turns.
                    self.gone += 1;
                    self.forget_gone();
                } else {
                    self.clients.remove(&owner);
                }
            }
        }
        true
    }

    /// Drops the turns of clients that have nothing here any more, once they are the larger part.
    fn forget_gone(&mut self) {
        if self.gone <= self.turns.len() / 2 {
            return;
        }
        let clients = &mut self.clients;
        self.turns.retain(|owner| {
            let is_here = clients.get(owner).is_some_and(|client| client.count > 0);
            if !is_here {
                clients.remove(owner);
            }
            is_here
        });
        self.gone = 0;
    }

    /// Queues again, before all others of its client, what a vertex carried that will never be committed.
    pub fn returned(&mut self, id: &TxId) -> bool {
        let Some(entry) = self.entries.get_mut(id) else {
            return false;
        };
        if !std::mem::replace(&mut entry.in_vertex, false) {
            return false;
        }
        let (owner, size) = (entry.pooled.meta.client, entry.pooled.bytes.len());
        self.earliest_expiry = self.earliest_expiry.min(entry.pooled.meta.expires);
        self.enqueue(*id, owner, size, true);
        true
    }

    /// Drops what has expired and sits in no vertex. (What sits in one will be ordered, and refused, or returned.)
    pub fn expire(&mut self, now: TimeMs) -> Vec<TxId> {
        if self.entries.is_empty() || now <= self.earliest_expiry {
            return Vec::new();
        }
        let has_expired = |entry: &Entry| entry.pooled.meta.expires < now && !entry.in_vertex;
        let expired: Vec<TxId> = self
            .entries
            .values()
            .filter(|entry| has_expired(entry))
            .map(|entry| entry.pooled.meta.id)
            .collect();
        for id in &expired {
            self.ordered(id);
        }
        let expiries = self.entries.values().filter(|entry| !entry.in_vertex);
        let earliest = expiries.map(|entry| entry.pooled.meta.expires).min();
        self.earliest_expiry = earliest.unwrap_or(TimeMs(u64::MAX));
        expired
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use violeta_types::{Digest, Nonce};

    fn tx(n: u64, client: u8, size: usize) -> Pooled {
        let mut id = [0; 32];
        id[..8].copy_from_slice(&n.to_be_bytes());
        let meta = ItemMeta {
            id: TxId(Digest(id)),
            client: (client > 0).then_some(ClientPublicKey([client; 32])),
            nonce: Nonce(n),
            expires: TimeMs(1_000 + n),
        };
        let bytes = vec![0; size].into();
        Pooled { meta, bytes }
    }

    fn ids(taken: &[Pooled]) -> Vec<u64> {
        let number = |p: &Pooled| u64::from_be_bytes(p.meta.id.0.0[..8].try_into().unwrap());
        taken.iter().map(number).collect()
    }

    #[test]
    fn clients_take_turns_and_each_keeps_its_order() {
        let mut pool = Mempool::default();
        for (n, client) in [(1, 1), (2, 1), (3, 1), (4, 2), (5, 3), (6, 3)] {
            pool.insert(tx(n, client, 10)).unwrap();
        }
        assert_eq!(ids(&pool.take(4, 1_000)), [1, 4, 5, 2]);
        assert_eq!(ids(&pool.take(4, 1_000)), [6, 3]);
        assert_eq!(pool.queued(), 0);
        assert_eq!(pool.len(), 6, "in vertices, not gone");
    }

    #[test]
    fn a_transaction_is_in_one_vertex_until_it_is_returned() {
        let mut pool = Mempool::default();
        pool.insert(tx(1, 1, 10)).unwrap();
        pool.insert(tx(2, 1, 10)).unwrap();
        assert_eq!(ids(&pool.take(1, 1_000)), [1]);
        assert_eq!(pool.insert(tx(1, 1, 10)), Ok(Inserted::Known));
        assert!(pool.returned(&tx(1, 1, 10).meta.id));
        assert!(!pool.returned(&tx(1, 1, 10).meta.id), "returned once");
        assert_eq!(ids(&pool.take(9, 1_000)), [1, 2]);
        assert!(pool.ordered(&tx(1, 1, 10).meta.id));
        assert!(
            !pool.returned(&tx(1, 1, 10).meta.id),
            "ordered through another vertex"
        );
        assert!(pool.take(9, 1_000).is_empty());
    }

    #[test]
    fn a_vertex_is_filled_up_to_its_bytes_but_takes_one_at_least() {
        let mut pool = Mempool::default();
        pool.insert(tx(1, 1, 600)).unwrap();
        pool.insert(tx(2, 2, 600)).unwrap();
        assert_eq!(ids(&pool.take(9, 1_000)), [1]);
        assert_eq!(ids(&pool.take(9, 100)), [2]);
    }

    #[test]
    fn what_is_full_is_said_and_changes_nothing() {
        let mut pool = Mempool::default();
        for n in 0..MEMPOOL_CLIENT_COUNT_MAX as u64 {
            pool.insert(tx(n, 1, 1)).unwrap();
        }
        assert_eq!(pool.insert(tx(9_999, 1, 1)), Err(Full::Client));
        assert_eq!(pool.insert(tx(9_999, 2, 1)), Ok(Inserted::New));
        let mut pool = Mempool::default();
        let size = MEMPOOL_CLIENT_BYTES_MAX;
        for client in 1..=(MEMPOOL_BYTES_MAX / size) as u8 {
            pool.insert(tx(u64::from(client), client, size)).unwrap();
        }
        assert_eq!(pool.insert(tx(999, 200, 1)), Err(Full::Pool));
        assert_eq!(pool.bytes(), MEMPOOL_BYTES_MAX);
    }

    #[test]
    fn what_expired_leaves_unless_a_vertex_carries_it() {
        let mut pool = Mempool::default();
        pool.insert(tx(1, 1, 10)).unwrap();
        pool.take(1, 1_000);
        pool.insert(tx(2, 1, 10)).unwrap();
        pool.insert(tx(3, 1, 10)).unwrap();
        assert!(
            pool.expire(TimeMs(1_002)).is_empty(),
            "expires is still good"
        );
        assert_eq!(pool.expire(TimeMs(1_003)), [tx(2, 1, 10).meta.id]);
        assert_eq!(pool.len(), 2);
        assert_eq!(ids(&pool.take(9, 1_000)), [3]);
    }

    #[test]
    fn turns_of_clients_that_have_nothing_left_do_not_pile_up() {
        let mut pool = Mempool::default();
        pool.insert(tx(0, 1, 1)).unwrap();
        for n in 1..1_000 {
            pool.insert(tx(n, 2 + (n % 200) as u8, 1)).unwrap();
            assert!(pool.ordered(&tx(n, 0, 0).meta.id));
            assert!(pool.turns.len() <= 4 && pool.clients.len() == pool.turns.len());
        }
        // Who comes back has one turn, not two.
        for n in [1_000, 1_001] {
            pool.insert(tx(n, 9, 1)).unwrap();
        }
        assert_eq!(ids(&pool.take(9, 99)), [0, 1_000, 1_001]);
        assert_eq!((pool.turns.len(), pool.gone), (0, 0));
    }

    #[derive(Clone, Debug)]
    enum Step {
        Insert(u64, u8, usize),
        Take(usize, usize),
        Ordered(u64),
        Returned(u64),
        Expire(u64),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            (0..40u64, 0..4u8, 0..50usize).prop_map(|(n, c, s)| Step::Insert(n, c, s)),
            (0..6usize, 0..100usize).prop_map(|(n, b)| Step::Take(n, b)),
            (0..40u64).prop_map(Step::Ordered),
            (0..40u64).prop_map(Step::Returned),
            (1_000..1_040u64).prop_map(Step::Expire),
        ]
    }

    proptest! {
        /// Whatever happens, the counts are those of a list, and nothing is in two vertices or lost.
        #[test]
        fn the_counts_are_those_of_a_plain_list(steps in proptest::collection::vec(step(), 0..120)) {
            let mut pool = Mempool::default();
            let mut model: BTreeMap<u64, (Pooled, bool)> = BTreeMap::new();
            for step in steps {
                match step {
                    Step::Insert(n, client, size) => {
                        if pool.insert(tx(n, client, size)) == Ok(Inserted::New) {
                            prop_assert!(model.insert(n, (tx(n, client, size), false)).is_none());
                        }
                    }
                    Step::Take(items, bytes) => for n in ids(&pool.take(items, bytes)) {
                        let entry = model.get_mut(&n).unwrap();
                        prop_assert!(!entry.1, "in two vertices");
                        entry.1 = true;
                    },
                    Step::Ordered(n) => {
                        prop_assert_eq!(pool.ordered(&tx(n, 0, 0).meta.id), model.remove(&n).is_some());
                    }
                    Step::Returned(n) => if pool.returned(&tx(n, 0, 0).meta.id) {
                        model.get_mut(&n).unwrap().1 = false;
                    },
                    Step::Expire(now) => {
                        pool.expire(TimeMs(now));
                        model.retain(|_, (tx, in_vertex)| *in_vertex || tx.meta.expires >= TimeMs(now));
                    }
                }
                let queued = || model.values().filter(|(_, in_vertex)| !in_vertex);
                prop_assert_eq!(pool.len(), model.len());
                prop_assert_eq!(pool.bytes(), model.values().map(|(tx, _)| tx.bytes.len()).sum::<usize>());
                prop_assert_eq!(pool.queued(), queued().count());
                prop_assert_eq!(pool.queued_bytes(), queued().map(|(tx, _)| tx.bytes.len()).sum::<usize>());
            }
            let mut rest = ids(&pool.take(usize::MAX, usize::MAX));
            rest.sort_unstable();
            let queued: Vec<u64> = model.iter().filter(|(_, (_, v))| !v).map(|(n, _)| *n).collect();
            prop_assert_eq!(rest, queued, "all that is queued gets its turn");
            prop_assert_eq!((pool.turns.len(), pool.gone), (0, 0));
            prop_assert!(pool.clients.values().all(|client| client.count > 0));
        }
    }
}
