//! Real nodes in one process, over loopback, with real files.

use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use bytes::Bytes;
use violeta_crypto::signing::ClientSecretKey;
use violeta_types::api::{Cursor, EventKind, TransactionStatus, VouchKind, Wait};
use violeta_types::{
    Blob, ChainId, Head, Nonce, Operation, Round, TimeMs, Transaction, TransactionBody, TxId,
};

use super::*;
use crate::directory::DirectoryError;
use crate::handle::Handle;
use crate::http::source::Source;
use crate::provision::{ProvisionError, begin_journal, provision};
use crate::testnet::{self, Options as NetOptions, Testnet};
use violeta_journal::MemoryDisk;
use violeta_proof::{OutcomeProof, Trust};
use violeta_replica::Provision;

const PATIENCE: Duration = Duration::from_secs(60);

struct World {
    _dir: tempfile::TempDir,
    net: Testnet,
    nodes: Vec<Option<Node>>,
    runtime: tokio::runtime::Runtime,
    /// Whether who lost its journal asks the others, and goes on.
    rejoins: bool,
}

impl World {
    fn new(n: usize, machine: MachineKind) -> World {
        let dir = tempfile::tempdir().unwrap();
        let options = NetOptions {
            machine,
            ..NetOptions::default()
        };
        let net = testnet::generate(dir.path(), n, &options).unwrap();
        World {
            nodes: (0..n).map(|_| None).collect(),
            _dir: dir,
            net,
            runtime: tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap(),
            rejoins: false,
        }
    }

    fn config(&self, i: usize) -> Config {
        let mut config = Config::load(&self.net.validators[i].config).unwrap();
        config.http.enabled = false;
        config.recovery.rejoin_after_lost_journal = self.rejoins;
        config.tuning.worker_threads = 1;
        config.tuning.runtime_threads = 1;
        config
    }

    fn try_start(&mut self, i: usize) -> Result<(), NodeError> {
        self.start_with(i, Overrides::default())
    }

    fn start_with(&mut self, i: usize, overrides: Overrides) -> Result<(), NodeError> {
        let node = Node::start(&self.config(i), overrides)?;
        self.nodes[i] = Some(node);
        Ok(())
    }

    fn start(&mut self, i: usize) {
        self.try_start(i).unwrap();
    }

    fn start_all(&mut self) {
        for i in 0..self.nodes.len() {
            self.start(i);
        }
    }

    fn stop(&mut self, i: usize) {
        let complaints = self.nodes[i].take().unwrap().stop();
        assert_eq!(complaints, Vec::<String>::new());
    }

    fn handle(&self, i: usize) -> Handle {
        self.nodes[i].as_ref().unwrap().handle().clone()
    }

    fn data(&self, i: usize) -> std::path::PathBuf {
        self.net.validators[i].directory.join("data")
    }

    fn chain(&self) -> ChainId {
        self.net.genesis.chain_id()
    }

    /// Submits through one validator, waits for the certificate, gives the height.
    fn commit(&self, through: usize, item: Bytes) -> Height {
        let handle = self.handle(through);
        self.runtime.block_on(async {
            let verdict = handle.submit(vec![item]).await.unwrap().remove(0);
            let id = verdict.unwrap();
            let status = handle.wait(id, Wait::Certified, PATIENCE).await.unwrap();
            match status {
                TransactionStatus::Certified { outcome } => {
                    assert_eq!(outcome.refused, None);
                    outcome.height
                }
                other => panic!("{other:?}: {:?}", handle.replica_status()),
            }
        })
    }

    fn wait(&self, i: usize, is: impl Fn(&violeta_replica::Status) -> bool) {
        let began = std::time::Instant::now();
        while !is(&self.handle(i).replica_status()) {
            assert!(
                began.elapsed() < PATIENCE,
                "{:?}",
                self.handle(i).replica_status()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn wait_certified(&self, i: usize, height: Height) {
        let handle = self.handle(i);
        let waited = self.runtime.block_on(async {
            tokio::time::timeout(PATIENCE, handle.wait_certified(height)).await
        });
        let tip = handle.tip();
        assert!(
            waited.is_ok(),
            "validator {i} stays at {tip:?}: {:?}",
            handle.replica_status()
        );
    }

    /// Heads up to a height, as one validator has them.
    fn heads(&self, i: usize, height: Height) -> Vec<Head> {
        let handle = self.handle(i);
        (1..=height.0)
            .map(|h| handle.head(Height(h)).unwrap().unwrap())
            .collect()
    }

    fn agree(&self, among: &[usize], height: Height) {
        for &i in among {
            self.wait_certified(i, height);
        }
        let first = self.heads(among[0], height);
        for &i in &among[1..] {
            assert_eq!(self.heads(i, height), first, "validator {i}");
        }
    }
}

/// The journal's segment files, in order.
fn segments(world: &World, i: usize) -> Vec<std::path::PathBuf> {
    let files = std::fs::read_dir(world.data(i).join(JOURNAL)).unwrap();
    let mut paths: Vec<_> = files
        .map(|entry| entry.unwrap().path())
        // The lock is a few bytes.
        .filter(|path| path.metadata().unwrap().len() > 1_000)
        .collect();
    paths.sort();
    paths
}

/// A client with an account: the administrator.
struct Client {
    key: ClientSecretKey,
    chain: ChainId,
    nonce: u64,
}

impl Client {
    fn new(world: &World) -> Client {
        Client {
            key: ClientSecretKey::from_seed(*world.net.administrator.seed()),
            chain: world.chain(),
            nonce: 0,
        }
    }

    fn sign(&mut self, operations: Vec<Operation>) -> Bytes {
        self.nonce += 1;
        let now = Clock::start().now().wall;
        let body = TransactionBody {
            chain: self.chain,
            key: self.key.public_key(),
            nonce: Nonce(self.nonce),
            expires: TimeMs(now.0 + 300_000),
            operations: operations.try_into().unwrap(),
        };
        let signature = self.key.sign_transaction(&body.id());
        Transaction { body, signature }.to_bytes()
    }

    fn namespace(&mut self) -> Bytes {
        self.sign(vec![Operation::CreateNamespace {
            namespace: name("things"),
        }])
    }

    fn put(&mut self, key: &str, value: &str) -> Bytes {
        self.sign(vec![Operation::Put {
            namespace: name("things"),
            key: name(key),
            value: name(value),
        }])
    }
}

fn name<const MAX: usize>(text: &str) -> Blob<MAX> {
    text.as_bytes().try_into().unwrap()
}

fn id(transaction: &Bytes) -> TxId {
    Transaction::id_of_encoded(transaction).unwrap()
}

#[test]
fn four_validators_agree_and_one_that_was_away_catches_up() {
    let mut world = World::new(4, MachineKind::Database);
    world.start_all();
    let mut client = Client::new(&world);
    world.commit(0, client.namespace());
    let height = world.commit(1, client.put("a", "1"));
    world.agree(&[0, 1, 2, 3], height);

    // One is away while the others go on.
    world.stop(3);
    for i in 0..10 {
        world.commit(i % 3, client.put("b", &i.to_string()));
    }
    let height = world.commit(2, client.put("c", "3"));
    world.agree(&[0, 1, 2], height);
    world.start(3);
    world.wait_certified(3, height);
    let height = world.commit(3, client.put("d", "4"));
    world.agree(&[0, 1, 2, 3], height);

    // All of them are away, and come back where they were.
    for i in 0..4 {
        world.stop(i);
    }
    world.start_all();
    world.agree(&[0, 1, 2, 3], height);
    let after = world.commit(0, client.put("e", "5"));
    assert!(after > height);
    world.agree(&[0, 1, 2, 3], after);
}

#[test]
fn status_events_and_blocks_are_the_same_from_memory_index_and_a_new_index() {
    let mut world = World::new(1, MachineKind::Database);
    world.start(0);
    let mut client = Client::new(&world);
    world.commit(0, client.namespace());
    let put = client.put("a", "1");
    let height = world.commit(0, put.clone());
    let look = |world: &World| {
        let handle = world.handle(0);
        let blocks = handle.blocks(Height(1), 100).unwrap();
        let certified: Vec<_> = (1..=height.0)
            .map(|h| handle.certified_head(Height(h)).unwrap())
            .collect();
        let status = handle.status(&id(&put)).unwrap();
        assert_eq!(
            handle.status(&TxId::default()).unwrap(),
            TransactionStatus::Unknown
        );
        (blocks, certified, status)
    };
    let live = look(&world);
    assert!(matches!(live.2, TransactionStatus::Certified { .. }));
    world.stop(0);
    world.start(0);
    assert_eq!(look(&world), live, "after a restart");
    let events = world
        .handle(0)
        .past_events(Cursor::default(), 1_000)
        .unwrap();
    let first = events.first().unwrap();
    assert!(matches!(
        first.kind,
        EventKind::Block {
            height: Height(1),
            ..
        }
    ));
    world.stop(0);
    std::fs::remove_dir_all(world.data(0).join("index")).unwrap();
    world.start(0);
    assert_eq!(look(&world), live, "with a new index");
    let again = world
        .handle(0)
        .past_events(Cursor::default(), 1_000)
        .unwrap();
    assert_eq!(again, events);
}

#[test]
fn the_null_machine_orders_what_it_does_not_understand() {
    let mut world = World::new(4, MachineKind::Null);
    world.start_all();
    let height = world.commit(0, Bytes::from_static(b"anything"));
    world.agree(&[0, 1, 2, 3], height);
    assert!(world.handle(0).reader().is_none());
    for i in 0..4 {
        world.stop(i);
    }
    world.start_all();
    let after = world.commit(1, Bytes::from_static(b"something else"));
    assert!(after > height);
    world.agree(&[0, 1, 2, 3], after);
}

#[test]
fn a_torn_tail_of_the_journal_costs_nothing_that_was_acknowledged() {
    let mut world = World::new(4, MachineKind::Database);
    world.start_all();
    let mut client = Client::new(&world);
    let height = world.commit(0, client.namespace());
    world.agree(&[0, 1, 2, 3], height);
    world.stop(0);
    // A write that the power cut: some bytes of a record after the last.
    let segment = segments(&world, 0).pop().unwrap();
    let mut bytes = std::fs::read(&segment).unwrap();
    let end = bytes.iter().rposition(|&b| b != 0).unwrap() + 1;
    bytes[end + 3..end + 40].fill(0x5a);
    std::fs::write(&segment, bytes).unwrap();
    world.start(0);
    let height = world.commit(0, client.put("a", "1"));
    world.agree(&[0, 1, 2, 3], height);
}

#[test]
fn damage_in_the_journal_is_refused_by_file_and_place() {
    let mut world = World::new(1, MachineKind::Database);
    world.start(0);
    let mut client = Client::new(&world);
    for i in 0..5 {
        let item = if i == 0 {
            client.namespace()
        } else {
            client.put("a", "1")
        };
        world.commit(0, item);
    }
    world.stop(0);
    let segment = segments(&world, 0).remove(0);
    let mut bytes = std::fs::read(&segment).unwrap();
    bytes[300] ^= 1;
    std::fs::write(&segment, bytes).unwrap();
    let error = world.try_start(0).unwrap_err().to_string();
    assert!(error.contains("damaged at byte"), "{error}");
}

#[test]
fn two_nodes_on_one_directory_are_refused() {
    let mut world = World::new(1, MachineKind::Database);
    world.start(0);
    let error = world.try_start(0).unwrap_err();
    assert!(
        matches!(error, NodeError::Directory(DirectoryError::Lock { .. })),
        "{error}"
    );
    world.stop(0);
    world.start(0);
}

#[test]
fn a_port_that_is_taken_is_named_with_what_to_do() {
    let mut world = World::new(1, MachineKind::Database);
    let address = world.net.validators[0].peer_address;
    let taken = TcpListener::bind(address).unwrap();
    let error = world.try_start(0).unwrap_err().to_string();
    assert!(error.contains(&address.to_string()), "{error}");
    assert!(error.contains("node.listen"), "{error}");
    drop(taken);
    world.start(0);
}

#[test]
fn another_chains_directory_and_exposed_keys_are_refused() {
    let mut world = World::new(1, MachineKind::Database);
    world.start(0);
    world.stop(0);
    let other = World::new(1, MachineKind::Database);
    let mut config = other.config(0);
    config.node.data_dir = world.data(0);
    let error = Node::start(&config, Overrides::default()).err().unwrap();
    assert!(matches!(error, NodeError::Directory(_)), "{error}");

    let key = world.net.validators[0].directory.join("keys/validator.key");
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o640)).unwrap();
    let error = world.try_start(0).unwrap_err().to_string();
    assert!(error.contains("chmod 600"), "{error}");
}

#[test]
fn a_full_disk_stops_one_validator_with_the_reason_and_the_others_go_on() {
    let mut world = World::new(4, MachineKind::Database);
    let disk = MemoryDisk::new();
    let on_disk = |disk: &MemoryDisk| Overrides {
        disk: Some(Arc::new(disk.clone())),
        ..Overrides::default()
    };
    for i in 0..3 {
        world.start(i);
    }
    let config = world.config(3);
    let (keys, _) = NodeKeys::load(&config.node.keys_dir, &world.net.genesis.committee).unwrap();
    let provision = Provision {
        chain: world.chain(),
        validator: keys.validator.public_key(),
    };
    assert!(begin_journal(Arc::new(disk.clone()), provision).unwrap());
    world.start_with(3, on_disk(&disk)).unwrap();
    let mut client = Client::new(&world);
    let height = world.commit(3, client.namespace());
    world.agree(&[0, 1, 2, 3], height);

    // Not a byte more: files that were preallocated count as what they take.
    disk.set_capacity(Some(disk.used_bytes()));
    let value = "v".repeat(300_000);
    let mut stopped = None;
    for i in 0..400 {
        world.commit(i % 3, client.put(&i.to_string(), &value));
        let reason = world.handle(3).complaints();
        if !reason.is_empty() {
            stopped = Some(reason.concat());
            break;
        }
    }
    let reason = stopped.expect("it stops when nothing more can be written");
    assert!(reason.contains("no storage space"), "{reason}");
    let complaints = world.nodes[3].take().unwrap().stop();
    assert!(
        complaints.iter().all(|c| !c.contains("panicked")),
        "{complaints:?}"
    );

    // Room again: it comes back and catches up.
    disk.set_capacity(None);
    let height = world.commit(0, client.put("last", "1"));
    world.start_with(3, on_disk(&disk)).unwrap();
    world.agree(&[0, 1, 2, 3], height);
}

#[test]
fn clients_are_served_over_http_until_the_node_stops() {
    let mut world = World::new(1, MachineKind::Database);
    let mut config = world.config(0);
    config.http.enabled = true;
    let taken = std::net::TcpListener::bind(config.http.listen).unwrap();
    let error = Node::start(&config, Overrides::default()).err().unwrap();
    assert!(error.to_string().contains("http.listen"), "{error}");
    drop(taken);
    let node = Node::start(&config, Overrides::default()).unwrap();
    let address = node.http_address().unwrap();
    world.nodes[0] = Some(node);
    let get = |path: &str| {
        let url = format!("http://{address}{path}");
        world.runtime.block_on(async {
            let answer = reqwest::get(url).await.ok()?;
            answer.text().await.ok()
        })
    };
    let status: serde_json::Value = serde_json::from_str(&get("/v1/status").unwrap()).unwrap();
    assert_eq!(status["chain"], world.chain().to_string());
    let metrics = get("/metrics").unwrap();
    assert!(metrics.contains("violeta_index_healthy 1"), "{metrics}");
    world.nodes[0].take().unwrap().stop();
    assert_eq!(get("/v1/status"), None);
}

#[test]
fn who_was_away_proves_heights_without_certificates_by_the_history_of_newer_ones() {
    let mut world = World::new(4, MachineKind::Database);
    for i in 0..3 {
        world.start(i);
    }
    let mut client = Client::new(&world);
    world.commit(0, client.namespace());
    let puts: Vec<Bytes> = (0..12).map(|i| client.put("k", &i.to_string())).collect();
    let heights: Vec<Height> = puts
        .iter()
        .map(|put| world.commit(0, put.clone()))
        .collect();
    let height = heights[11];
    world.agree(&[0, 1, 2], height);
    world.start(3);
    world.wait_certified(3, height);

    let trust = Trust::in_genesis(&world.net.genesis);
    let (mut by_successor, mut bent) = (0, false);
    for restarted in [false, true] {
        let handle = world.handle(3);
        for (i, height) in heights.iter().enumerate() {
            let proof = Source::prove(
                &handle,
                &name("things"),
                &name("k"),
                *height,
                VouchKind::Any,
            )
            .unwrap();
            let answer = proof.verify(&trust).unwrap();
            assert_eq!(answer.value.unwrap().value, name(&i.to_string()));
            let outcome = Source::outcome_proof(&handle, id(&puts[i]), VouchKind::Any).unwrap();
            assert_eq!(outcome.verify(&trust).unwrap().outcome.height, *height);
            let head = Source::head_proof(&handle, *height, VouchKind::Any).unwrap();
            assert_eq!(head.verify(&trust).unwrap().0, answer.head);
            if answer.vouched_height > *height {
                by_successor += 1;
                if !std::mem::replace(&mut bent, true) {
                    no_bit_may_change(&outcome, &trust);
                }
            }
        }
        assert!(by_successor > 0, "after a restart: {restarted}");
        by_successor = 0;
        world.stop(3);
        // The index is made anew, the history with it.
        std::fs::remove_dir_all(world.data(3).join(INDEX)).unwrap();
        world.start(3);
    }
}

/// Every bit of a real proof is needed: without it, the proof is refused or says the same.
fn no_bit_may_change(good: &OutcomeProof, trust: &Trust) {
    let bytes = violeta_types::encode(good);
    for bit in 0..bytes.len() * 8 {
        let mut changed = bytes.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        let refused = match OutcomeProof::decode(&changed) {
            Ok(proof) => proof.verify(trust).is_err(),
            Err(_) => true,
        };
        assert!(refused, "bit {bit} of {}", bytes.len() * 8);
    }
}

/// A validator that does everything but speak.
struct Mute(Replica);

impl ReplicaLike for Mute {
    fn handle(&mut self, now: violeta_replica::Now, input: violeta_replica::Input) {
        self.0.handle(now, input);
    }

    fn poll(&mut self) -> Option<violeta_replica::Output> {
        std::iter::from_fn(|| self.0.poll())
            .find(|output| !matches!(output, violeta_replica::Output::Send { .. }))
    }

    fn next_wakeup(&self) -> Option<u64> {
        self.0.next_wakeup()
    }

    fn status(&self) -> violeta_replica::Status {
        self.0.status()
    }
}

#[test]
fn an_adversary_in_the_place_of_a_replica_is_outvoted() {
    let mut world = World::new(4, MachineKind::Database);
    let mute = Overrides {
        corrupt: Some(Box::new(|honest| Box::new(Mute(honest.replica)))),
        ..Overrides::default()
    };
    world.start_with(0, mute).unwrap();
    for i in 1..4 {
        world.start(i);
    }
    let mut client = Client::new(&world);
    let height = world.commit(1, client.namespace());
    // It hears, though it doesn't speak.
    world.agree(&[0, 1, 2, 3], height);
}

#[test]
fn a_node_asked_to_stop_by_its_handle_says_why_and_ends_its_streams() {
    let mut world = World::new(1, MachineKind::Database);
    world.start(0);
    let handle = world.handle(0);
    let mut events = handle.events(None).unwrap();
    handle.shutdown("for maintenance");
    handle.shutdown("for another reason");
    assert_eq!(world.nodes[0].as_ref().unwrap().wait(), "for maintenance");
    world.stop(0);
    let ended = world.runtime.block_on(events.next());
    assert!(ended.is_err());
    let submitted = world.runtime.block_on(handle.submit(vec![Bytes::new()]));
    assert!(submitted.is_err());
    // The directory is free again while handles live on.
    world.start(0);
}

#[test]
fn a_validator_whose_disk_was_lost_follows_serves_and_makes_nothing() {
    let mut world = World::new(4, MachineKind::Database);
    world.start_all();
    let mut client = Client::new(&world);
    let height = world.commit(3, client.namespace());
    world.agree(&[0, 1, 2, 3], height);
    world.stop(3);
    std::fs::remove_dir_all(world.data(3)).unwrap();

    world.start(3);
    let status = world.handle(3).replica_status();
    assert!(status.amnesia && !status.accepts);
    let height = world.commit(0, client.put("a", "1"));
    world.agree(&[0, 1, 2, 3], height);
    let refused = world.runtime.block_on(async {
        let item = client.put("b", "2");
        world.handle(3).submit(vec![item]).await.unwrap().remove(0)
    });
    assert!(
        matches!(refused, Err(violeta_replica::SubmitError::OnlyFollows)),
        "{refused:?}"
    );
    let status = world.handle(3).replica_status();
    assert_eq!((status.round, status.amnesia), (Round(0), true));

    // It can't be talked out of it: not by a restart, and not by setting it up again.
    let error = provision(&world.config(3)).unwrap_err();
    assert!(
        matches!(
            error,
            ProvisionError::Directory(DirectoryError::Lock { .. })
        ),
        "{error}"
    );
    world.stop(3);
    let error = provision(&world.config(3)).unwrap_err();
    assert!(matches!(error, ProvisionError::Used(_)), "{error}");
    world.start(3);
    assert!(world.handle(3).replica_status().amnesia);
}

#[test]
fn a_validator_whose_journal_was_lost_goes_on_by_configuration_once_the_others_have_told() {
    let mut world = World::new(4, MachineKind::Database);
    world.rejoins = true;
    world.start_all();
    let mut client = Client::new(&world);
    let height = world.commit(3, client.namespace());
    world.agree(&[0, 1, 2, 3], height);
    world.stop(3);
    world.stop(2);
    std::fs::remove_dir_all(world.data(3).join(JOURNAL)).unwrap();

    world.start(3);
    let status = world.handle(3).replica_status();
    assert!(status.amnesia && !status.accepts);
    assert_eq!(
        status.rejoining.map(|rejoining| rejoining.needed.0),
        Some(3)
    );
    world.start(2);
    world.wait(3, |status| !status.amnesia);
    let height = world.commit(3, client.put("a", "1"));
    world.agree(&[0, 1, 2, 3], height);
    assert!(
        world.handle(3).replica_status().round > Round(0),
        "vertices of its own"
    );

    world.stop(3);
    world.start(3);
    assert!(
        !world.handle(3).replica_status().amnesia,
        "the journal has the floor"
    );
    let height = world.commit(3, client.put("b", "2"));
    world.agree(&[0, 1, 2, 3], height);
}

#[test]
fn a_journal_that_is_gone_from_beside_its_store_is_amnesia_too() {
    let mut world = World::new(1, MachineKind::Database);
    world.start(0);
    let mut client = Client::new(&world);
    world.commit(0, client.namespace());
    world.stop(0);
    std::fs::remove_dir_all(world.data(0).join(JOURNAL)).unwrap();
    let error = provision(&world.config(0)).unwrap_err();
    assert!(matches!(error, ProvisionError::Used(_)), "{error}");
    world.start(0);
    assert!(world.handle(0).replica_status().amnesia);
}

#[test]
fn a_validator_is_set_up_once_in_an_empty_directory() {
    let mut world = World::new(1, MachineKind::Database);
    let error = provision(&world.config(0)).unwrap_err();
    assert!(matches!(error, ProvisionError::Used(_)), "{error}");
    std::fs::remove_dir_all(world.data(0)).unwrap();
    provision(&world.config(0)).unwrap();
    world.start(0);
    assert!(!world.handle(0).replica_status().amnesia);
    let mut client = Client::new(&world);
    world.commit(0, client.namespace());
}

#[test]
fn who_has_a_store_that_cant_be_read_is_told_that_the_journal_makes_another() {
    let mut world = World::new(1, MachineKind::Database);
    world.start(0);
    let mut client = Client::new(&world);
    let height = world.commit(0, client.namespace());
    world.stop(0);
    let store = world.data(0).join(STORE);
    for name in ["super-a", "super-b"] {
        std::fs::write(store.join(name), [7; 200]).unwrap();
    }
    let error = Node::start(&world.config(0), Overrides::default());
    let error = error.err().unwrap().to_string();
    let advice = "Remove the store's directory and start again: it is rebuilt from the journal";
    assert!(error.ends_with(advice), "{error}");
    std::fs::remove_dir_all(store).unwrap();
    world.start(0);
    world.agree(&[0], height);
}

#[test]
fn a_copy_of_another_validators_directory_is_refused() {
    let mut world = World::new(4, MachineKind::Database);
    let mut config = world.config(1);
    config.node.data_dir = world.data(0);
    let error = Node::start(&config, Overrides::default()).err().unwrap();
    assert!(
        matches!(
            error,
            NodeError::Replica(violeta_replica::ReplicaError::OtherValidator { .. })
        ),
        "{error}"
    );
    world.start(0);
}
