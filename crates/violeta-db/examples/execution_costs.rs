//! What a put costs the Database machine, from the commit to the head: decoding, execution, hashing, the log record.
//!
//! `cargo run --release -p violeta-db --example execution_costs`

#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_types,
    clippy::disallowed_methods
)]

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use violeta_crypto::{ClientSecretKey, ValidatorSecretKey};
use violeta_db::DbMachine;
use violeta_journal::MemoryDisk;
use violeta_replica::{Effect, Event, Machine, OrderedCommit};
use violeta_types::{
    Admission, Commit, CommitIndex, Committee, Digest, Election, Epoch, Genesis, Item, Member,
    NodePublicKey, Nonce, Operation, OperatorPublicKey, Parameters, Round, Stake, TimeMs,
    Transaction, TransactionBody, ValidatorIndex, VertexId, VertexRef,
};

const CLIENTS: u64 = 50;
const VALUE_BYTES: usize = 100;

fn genesis() -> Genesis {
    let member = Member {
        stake: Stake(1),
        validator_key: ValidatorSecretKey::from_seed([1; 32]).public_key(),
        share_key: None,
        node_key: NodePublicKey([1; 32]),
        operator_key: OperatorPublicKey([1; 32]),
    };
    let administrators: Vec<_> = (0..CLIENTS).map(|i| client(i).public_key()).collect();
    Genesis {
        name: "costs".to_owned(),
        time: TimeMs(0),
        committee: Committee::new(Epoch(0), vec![member], None).unwrap(),
        parameters: Parameters {
            wave_length: 3,
            leaders: 1,
            election: Election::Seeded,
            gc_depth: 64,
        },
        admission: Admission::Closed,
        administrators: administrators.try_into().unwrap(),
    }
}

fn client(i: u64) -> ClientSecretKey {
    let mut seed = [7; 32];
    seed[..8].copy_from_slice(&i.to_le_bytes());
    ClientSecretKey::from_seed(seed)
}

/// Makes transactions, each signed by the next client in turn.
struct Source {
    genesis: Genesis,
    made: u64,
    keys: u64,
}

impl Source {
    fn transaction(&mut self, operations: Vec<Operation>) -> Bytes {
        let secret = client(self.made % CLIENTS);
        let body = TransactionBody {
            chain: self.genesis.chain_id(),
            key: secret.public_key(),
            nonce: Nonce(self.made / CLIENTS + 1),
            expires: TimeMs(60_000),
            operations: operations.try_into().unwrap(),
        };
        self.made += 1;
        let signature = secret.sign_transaction(&body.id());
        Transaction { body, signature }.to_bytes()
    }

    fn puts(&mut self, count: usize) -> Bytes {
        let operations = (0..count).map(|_| self.put()).collect();
        self.transaction(operations)
    }

    fn put(&mut self) -> Operation {
        self.keys += 1;
        // Spread, and met again after a while: about half the puts overwrite.
        let key = self.keys.wrapping_mul(0x9e37_79b9_7f4a_7c15) % 500_000;
        Operation::Put {
            namespace: b"bench"[..].try_into().unwrap(),
            key: format!("user/{key:08}/profile")
                .into_bytes()
                .try_into()
                .unwrap(),
            value: vec![key as u8; VALUE_BYTES].try_into().unwrap(),
        }
    }

    /// Everybody may write.
    fn open_namespace(&mut self) -> Vec<Bytes> {
        let namespace = || b"bench"[..].try_into().unwrap();
        let mut operations = vec![Operation::CreateNamespace {
            namespace: namespace(),
        }];
        operations.extend((1..CLIENTS).map(|i| Operation::Grant {
            namespace: namespace(),
            client: client(i).public_key().client_id(),
            right: violeta_types::transaction::Right::Write,
        }));
        vec![self.transaction(operations)]
    }
}

/// Feeds a machine commits, each after the one before.
struct Feeder {
    machine: DbMachine,
    chain: violeta_types::ChainId,
    last: (CommitIndex, Digest),
}

impl Feeder {
    /// Executes a commit; microseconds until the head was known.
    fn commit(&mut self, items: Vec<Bytes>) -> f64 {
        let index = self.last.0.next();
        let leader = VertexRef {
            round: Round(index.0),
            author: ValidatorIndex(0),
            id: VertexId(Digest::ZERO),
        };
        let commit = Commit {
            epoch: Epoch(0),
            index,
            previous: self.last.1,
            leader,
            vertices: vec![leader].try_into().unwrap(),
            time: TimeMs(index.0),
            coin: None,
        };
        let digest = commit.digest(&self.chain);
        self.last = (index, digest);
        let transactions = items.len();
        let items = items.into_iter().map(Item::Client).collect();
        let ordered = Arc::new(OrderedCommit {
            commit,
            digest,
            items,
        });
        let start = Instant::now();
        self.machine.handle(Event::Commit(ordered));
        let Some(Effect::Block(block)) = self.machine.poll() else {
            panic!("no block");
        };
        let elapsed = start.elapsed().as_secs_f64() * 1e6;
        assert_eq!(block.outcomes.len(), transactions);
        assert!(block.outcomes.iter().all(|o| o.refused.is_none()));
        while self.machine.poll().is_some() {}
        elapsed
    }

    /// Syncs, and lets the store do its housekeeping; milliseconds.
    fn flush(&mut self) -> f64 {
        let start = Instant::now();
        self.machine.handle(Event::Flush);
        while self.machine.poll().is_some() {}
        start.elapsed().as_secs_f64() * 1e3
    }
}

fn main() {
    let genesis = genesis();
    let disk = Arc::new(MemoryDisk::new());
    let machine = DbMachine::open(&genesis, disk, "state", Default::default()).unwrap();
    let mut feeder = Feeder {
        machine,
        chain: genesis.chain_id(),
        last: (CommitIndex(0), Digest::ZERO),
    };
    let mut source = Source {
        genesis,
        made: 0,
        keys: 0,
    };
    feeder.commit(source.open_namespace());
    for (transactions, puts, blocks) in [(600, 100, 10), (2_000, 1, 20), (1, 1, 200)] {
        let mut total = 0.0;
        let mut flushes = 0.0;
        for _ in 0..blocks {
            let items = (0..transactions).map(|_| source.puts(puts)).collect();
            total += feeder.commit(items);
            flushes += feeder.flush();
        }
        let all = (blocks * transactions * puts) as f64;
        println!(
            "{transactions:>5} transactions × {puts:>3} puts: {:8.2} µs a put, {:9.1} µs a block; flush {:.2} ms",
            total / all,
            total / blocks as f64,
            flushes / blocks as f64,
        );
    }
}
