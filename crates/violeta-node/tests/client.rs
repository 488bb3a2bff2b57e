//! The client and real nodes, end to end: four validators in one process, over loopback, with real files.

#![expect(
    clippy::unwrap_used,
    reason = "all of this file is tests and what sets them up"
)]

use std::collections::BTreeSet;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use socket2::{Domain, Socket, Type};
use tokio::runtime::Runtime;
use violeta_client::{At, Client, ClientConfig, ClientError, Endpoint, Operations, Part, Trust};
use violeta_node::config::Config;
use violeta_node::http::forge::ForgedValue;
use violeta_node::http::limits::WRITE_STALL_MS_MAX;
use violeta_node::node::{Node, Overrides};
use violeta_node::testnet::{self, Options, Testnet};
use violeta_proof::{ProofError, Vouchers};
use violeta_types::api::{EventKind, HealthAnswer, StatusAnswer};
use violeta_types::transaction::Condition;
use violeta_types::{Blob, ChainId, Height, Refusal, ValidatorIndex};

const PATIENCE: Duration = Duration::from_secs(60);

struct World {
    net: Testnet,
    nodes: Vec<Option<Node>>,
    runtime: Runtime,
    dir: tempfile::TempDir,
}

impl World {
    fn new() -> Self {
        World::with(|_| Overrides::default())
    }

    fn with(overrides: impl Fn(usize) -> Overrides) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let net = testnet::generate(&dir.path().join("net"), 4, &Options::default()).unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let mut world = World {
            net,
            nodes: Vec::new(),
            runtime,
            dir,
        };
        for i in 0..4 {
            let node = world.start(i, overrides(i));
            world.nodes.push(Some(node));
        }
        for i in 0..4 {
            world.wait_healthy(i);
        }
        world
    }

    fn start(&self, i: usize, overrides: Overrides) -> Node {
        let mut config = Config::load(&self.net.validators[i].config).unwrap();
        config.tuning.worker_threads = 1;
        config.tuning.runtime_threads = 1;
        Node::start(&config, overrides).unwrap()
    }

    fn url(&self, i: usize) -> String {
        format!("http://{}", self.net.validators[i].http_address)
    }

    fn get(&self, i: usize, path: &str) -> reqwest::Response {
        let url = self.url(i) + path;
        self.runtime.block_on(reqwest::get(url)).unwrap()
    }

    fn wait_healthy(&self, i: usize) {
        let begun = Instant::now();
        loop {
            let response = self.get(i, "/v1/health");
            let health: HealthAnswer = self.runtime.block_on(response.json()).unwrap();
            if health.healthy {
                return;
            }
            assert!(begun.elapsed() < PATIENCE, "validator {i}: {health:?}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn config(&self, name: &str) -> ClientConfig {
        let endpoints = (0..4).map(|i| Endpoint {
            validator: Some(ValidatorIndex(i)),
            url: self.url(i.into()).parse().unwrap(),
        });
        ClientConfig {
            endpoints: endpoints.collect(),
            trust: Trust::in_genesis(&self.net.genesis),
            key: Some(violeta_client::keys::generate().unwrap()),
            account: None,
            state_path: Some(self.dir.path().join(name)),
            expiry: Duration::from_secs(60),
        }
    }

    /// A client that has seen nothing yet may be given any certified version: all validators have this one then.
    fn wait_certified(&self, height: Height) {
        let begun = Instant::now();
        for i in 0..4 {
            loop {
                let response = self.get(i, "/v1/status");
                let status: StatusAnswer = self.runtime.block_on(response.json()).unwrap();
                if status.certified_height >= height && status.height >= height {
                    break;
                }
                assert!(begun.elapsed() < PATIENCE, "validator {i}: {status:?}");
                std::thread::sleep(Duration::from_millis(20));
            }
        }
    }

    /// A client with a namespace of its own.
    fn client(&self, namespace: &str) -> Client {
        let client = Client::new(self.config(namespace)).unwrap();
        let create = Operations::new().create_namespace(namespace).unwrap();
        self.runtime.block_on(client.transaction(create)).unwrap();
        client
    }
}

#[test]
fn what_is_written_is_proved_listed_and_told() {
    let world = World::new();
    let client = world.client("bank");
    world.runtime.block_on(async {
        let mut events = client.events(None).await.unwrap();
        let first = client.put("bank", "alice", "500").await.unwrap();
        let second = client.put("bank", "alice", "1000").await.unwrap();
        assert!(second.outcome.height > first.outcome.height);

        let proved = client
            .get_proved("bank", "alice", At::Certified)
            .await
            .unwrap();
        let value = proved.value.unwrap();
        assert_eq!(&value.value[..], b"1000");
        assert_eq!(value.written_at, second.outcome.height);
        let old = At::Height(first.outcome.height);
        assert_eq!(
            client.get("bank", "alice", old).await.unwrap().unwrap(),
            "500"
        );
        assert_eq!(
            client
                .get("bank", "nobody", At::Linearizable)
                .await
                .unwrap(),
            None
        );

        let history = client.history("bank", "alice", 10).await.unwrap();
        let heights: Vec<_> = history.iter().map(|entry| entry.height).collect();
        assert_eq!(heights, [second.outcome.height, first.outcome.height]);
        // Two values, and each validator has both: there is nothing more to be found out.
        assert_eq!(
            client.history("bank", "alice", 1).await.unwrap(),
            history[..1]
        );

        let namespace = client.namespace("bank").await.unwrap();
        assert_eq!((namespace.owner, namespace.keys), (client.id(), Some(1)));
        let keys = client.keys("bank", None, 10).await.unwrap();
        assert_eq!(keys.keys.len(), 1);

        let mut heights = Vec::new();
        while heights.last() != Some(&second.outcome.height) {
            if let EventKind::Block { height, .. } = events.next().await.unwrap().kind {
                heights.push(height);
            }
        }
        assert!(heights.contains(&first.outcome.height));
    });
    assert_eq!(client.incidents(), []);
    assert_eq!(client.unresolved(), 0);
}

#[test]
fn every_page_of_a_running_node_answers() {
    let world = World::new();
    let client = world.client("bank");
    let receipt = world
        .runtime
        .block_on(client.put("bank", "alice", "1000"))
        .unwrap();
    let (height, id) = (receipt.outcome.height, receipt.outcome.transaction);
    let account = client.id().unwrap();
    for path in [
        "/".to_owned(),
        "/docs".into(),
        "/openapi.json".into(),
        "/metrics".into(),
        "/v1/status".into(),
        "/v1/health".into(),
        "/v1/genesis".into(),
        "/v1/committee".into(),
        "/v1/head".into(),
        format!("/v1/heads/{height}"),
        "/v1/blocks".into(),
        format!("/v1/blocks/{height}"),
        format!("/v1/transactions/{id}"),
        format!("/v1/transactions/{id}?proof=true"),
        "/v1/namespaces/bank".into(),
        "/v1/namespaces/bank/keys".into(),
        "/v1/namespaces/bank/keys/alice".into(),
        "/v1/namespaces/bank/keys/alice?proof=true".into(),
        "/v1/namespaces/bank/keys/alice/history".into(),
        "/v1/namespaces/_accounts/keys".into(),
        format!("/v1/accounts/{account}"),
    ] {
        for i in 0..4 {
            // Others may be a moment behind the one that certified first.
            let begun = Instant::now();
            while world.get(i, &path).status() != 200 {
                let response = world.get(i, &path);
                let status = response.status();
                let text = world.runtime.block_on(response.text()).unwrap();
                assert!(begun.elapsed() < PATIENCE, "{i}{path}: {status} {text}");
                std::thread::sleep(Duration::from_millis(20));
            }
        }
    }
    let metrics = world
        .runtime
        .block_on(world.get(0, "/metrics").text())
        .unwrap();
    assert_eq!(metrics.matches("# EOF").count(), 1);
}

#[test]
fn a_batch_of_many_is_proved_one_by_one() {
    let world = World::new();
    let client = world.client("bank");
    let puts = |i: usize| {
        Operations::new()
            .put("bank", format!("key {i}"), "v")
            .unwrap()
    };
    world.runtime.block_on(async {
        let pending = client
            .submit_batch((0..200).map(puts).collect())
            .await
            .unwrap();
        let receipts = futures::future::join_all(pending.iter().map(|p| p.wait())).await;
        for receipt in receipts {
            receipt.unwrap();
        }
        let namespace = client.namespace("bank").await.unwrap();
        assert_eq!(namespace.keys, Some(200));

        let (mut keys, mut after, mut at) = (BTreeSet::new(), None::<Vec<u8>>, At::Certified);
        loop {
            let part = client.entries("bank", after.as_deref(), 60, at).await;
            let part = part.unwrap().part;
            assert!(part.entries.len() <= 60);
            at = At::Height(part.vouched.head.head().height);
            keys.extend(part.entries.into_iter().map(|entry| entry.key.to_vec()));
            match part.next {
                Some(key) => after = Some(key.to_vec()),
                None => break,
            }
        }
        let expected = (0..200).map(|i| format!("key {i}").into_bytes());
        assert_eq!(keys, expected.collect());
        let asked = (150..250).map(|i| format!("key {i}"));
        let read = client.get_many("bank", asked, at).await.unwrap();
        let there = read.values.iter().map(Option::is_some);
        assert_eq!(
            there.collect::<Vec<_>>(),
            [[true; 50], [false; 50]].concat()
        );
        // Before the first of these blocks there was nothing; what changed since is all.
        let first = Height(1);
        let changes = client.changes("bank", (first, at), None, 1_000).await;
        let changes = changes.unwrap().part;
        assert_eq!((changes.changes.len(), changes.next), (200, None));
    });
    assert_eq!(client.incidents(), []);
    assert_eq!(client.unresolved(), 0);
}

#[test]
fn a_condition_that_does_not_hold_is_a_proved_refusal() {
    let world = World::new();
    let client = world.client("bank");
    world.runtime.block_on(async {
        client.put("bank", "alice", "1").await.unwrap();
        let set = client.compare_and_set("bank", "alice", Condition::Absent, Some(b"2"));
        let error = set.await.unwrap_err();
        let refused = matches!(
            error,
            ClientError::Refused {
                refusal: Refusal::ConditionFailed,
                ..
            }
        );
        assert!(refused, "{error}");
        let one = Condition::Value(Blob::try_from(&b"1"[..]).unwrap());
        let set = client.compare_and_set("bank", "alice", one, Some(b"2"));
        set.await.unwrap();
        assert_eq!(
            client
                .get("bank", "alice", At::Certified)
                .await
                .unwrap()
                .unwrap(),
            "2"
        );
    });
}

#[test]
fn that_a_transaction_was_never_executed_is_proved() {
    let world = World::new();
    let mut config = world.config("short");
    config.expiry = Duration::from_millis(1_500);
    let client = Client::new(config).unwrap();
    world.runtime.block_on(async {
        client.transaction(Operations::new()).await.unwrap();
        let pending = client.submit(Operations::new()).await.unwrap();
        // It never leaves: the client was busy with something else until it had expired.
        tokio::time::sleep(Duration::from_millis(1_600)).await;
        let error = pending.wait().await.unwrap_err();
        assert!(matches!(error, ClientError::Expired { .. }), "{error}");
    });
}

#[test]
fn a_liar_is_named_and_the_truth_found_elsewhere() {
    let world = World::with(|i| Overrides {
        forge: (i == 0).then(|| {
            Arc::new(ForgedValue {
                namespace: b"bank".to_vec(),
                key: b"alice".to_vec(),
                value: b"9999"[..].into(),
            }) as Arc<dyn violeta_node::handle::Forge>
        }),
        ..Overrides::default()
    });
    let client = world.client("bank");
    let receipt = world
        .runtime
        .block_on(client.put("bank", "alice", "1000"))
        .unwrap();
    world.wait_certified(receipt.outcome.height);
    world.runtime.block_on(async {
        let reader = |endpoints: Vec<Endpoint>| {
            let config = ClientConfig {
                endpoints,
                key: None,
                state_path: None,
                ..world.config("none")
            };
            Client::new(config).unwrap()
        };
        let all = world.config("none").endpoints;
        let believer = reader(all[..1].to_vec());
        let error = believer.get("bank", "alice", At::Certified).await;
        let Err(ClientError::Unverified { incident }) = error else {
            panic!("{error:?}");
        };
        assert!(incident.validator.starts_with("v0 "), "{incident}");
        let part = &incident.part;
        assert!(matches!(part, Part::Proof(ProofError::Tree(_))), "{part}");
        let error = believer.get_many("bank", ["alice"], At::Certified).await;
        let Err(ClientError::Unverified { incident }) = error else {
            panic!("{error:?}");
        };
        let part = &incident.part;
        assert!(matches!(part, Part::Proof(ProofError::Many(_))), "{part}");
        let value = reader(all).get("bank", "alice", At::Certified).await;
        assert_eq!(value.unwrap().unwrap(), "1000");
    });
}

#[test]
fn one_validator_away_keeps_nobody_from_anything() {
    let mut world = World::new();
    let client = world.client("bank");
    world
        .runtime
        .block_on(client.put("bank", "alice", "1"))
        .unwrap();
    let away = world.nodes[1].take().unwrap();
    assert_eq!(away.stop(), Vec::<String>::new());
    world.runtime.block_on(async {
        for i in 0..5 {
            client.put("bank", "alice", i.to_string()).await.unwrap();
        }
    });
    world.nodes[1] = Some(world.start(1, Overrides::default()));
    world.wait_healthy(1);
    let begun = Instant::now();
    let newest = client.seen();
    loop {
        let response = world.get(1, "/v1/namespaces/bank/keys/alice");
        let text = world.runtime.block_on(response.text()).unwrap();
        if text.contains("\"value\":\"4\"") {
            break;
        }
        assert!(begun.elapsed() < PATIENCE, "{text}, {newest} is the newest");
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Asks, with a small buffer for what comes, and doesn't read.
fn silent(url: &str, requests: &str) -> TcpStream {
    let address: SocketAddr = url.strip_prefix("http://").unwrap().parse().unwrap();
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(4 << 10).unwrap();
    socket.connect(&address.into()).unwrap();
    let mut stream = TcpStream::from(socket);
    stream.write_all(requests.as_bytes()).unwrap();
    stream
}

#[test]
fn clients_that_never_read_are_dropped_in_time_and_a_node_commits_and_serves_meanwhile() {
    let world = World::new();
    let client = world.client("bank");
    let put = |key: &str, value: String| {
        let written = world.runtime.block_on(client.put("bank", key, value));
        written.unwrap().outcome.height
    };
    let large = "v".repeat(256 << 10);
    world.wait_certified(put("large", large.clone()));
    let (subscribe, ask) = (
        "GET /v1/events?cursor=0.0 HTTP/1.1\r\nhost: x\r\n\r\n",
        "GET /v1/namespaces/bank/keys/large HTTP/1.1\r\nhost: x\r\n\r\n",
    );
    let asked = 40;
    let url = world.url(0);
    let mut silents: Vec<_> = (0..8)
        .map(|_| silent(&url, subscribe))
        .chain((0..8).map(|_| silent(&url, &ask.repeat(asked))))
        .collect();

    // Longer than a reader may stall, while there is more and more to tell.
    let stall = Duration::from_millis(WRITE_STALL_MS_MAX);
    let begun = Instant::now();
    let mut height = Height(0);
    while begun.elapsed() < stall + Duration::from_secs(15) {
        height = put("count", height.to_string());
    }
    world.wait_certified(height);
    let answer = world.get(0, "/v1/namespaces/bank/keys/large");
    let text = world.runtime.block_on(answer.text()).unwrap();
    assert!(text.contains(&large), "others are served");

    let mut cut = 0;
    for stream in &mut silents {
        stream
            .set_read_timeout(Some(Duration::from_secs(5)))
            .unwrap();
        let mut came = Vec::new();
        let end = stream.read_to_end(&mut came).map_err(|e| e.kind());
        assert!(came.len() < large.len(), "{} bytes", came.len());
        cut += usize::from(end == Err(ErrorKind::ConnectionReset));
    }
    assert_eq!(cut, silents.len(), "at height {height}");
}

#[test]
fn a_client_of_another_chain_believes_nobody() {
    let world = World::new();
    let client = world.client("bank");
    let receipt = world
        .runtime
        .block_on(client.put("bank", "alice", "1"))
        .unwrap();
    world.wait_certified(receipt.outcome.height);
    let committee = world.net.genesis.committee.clone();
    let stranger = Client::new(ClientConfig {
        trust: Trust::in_committee(ChainId::default(), committee),
        key: None,
        state_path: None,
        ..world.config("none")
    })
    .unwrap();
    let error = world
        .runtime
        .block_on(stranger.get("bank", "alice", At::Certified))
        .unwrap_err();
    let ClientError::Unverified { incident } = &error else {
        panic!("{error}");
    };
    let part = &incident.part;
    assert!(
        matches!(part, Part::Proof(ProofError::OtherChain { .. })),
        "{part}"
    );
    assert_eq!(stranger.incidents().len(), 4);
    assert_eq!(stranger.seen(), Height(0));
}

/// A client that knows the group's one key and no validator, as the smallest clients do.
#[test]
fn who_trusts_the_seal_s_key_alone_writes_and_reads_and_accuses_nobody() {
    let world = World::new();
    let genesis = &world.net.genesis;
    let group_key = genesis.committee.group_key().unwrap();
    let client = Client::new(ClientConfig {
        trust: Trust::in_group(genesis.chain_id(), *group_key),
        ..world.config("bank")
    })
    .unwrap();
    let run = |operations| {
        world
            .runtime
            .block_on(client.transaction(operations))
            .unwrap()
    };
    run(Operations::new().create_namespace("bank").unwrap());
    let puts: Vec<_> = (0..8)
        .map(|i| {
            run(Operations::new()
                .put("bank", "alice", i.to_string())
                .unwrap())
        })
        .collect();
    assert!(puts.iter().all(|put| put.vouchers == Vouchers::Group));
    world.runtime.block_on(async {
        let proved = client.get_proved("bank", "alice", At::Certified).await;
        let proved = proved.unwrap();
        assert_eq!(&proved.value.unwrap().value[..], b"7");
        assert_eq!(proved.vouchers, Vouchers::Group);
        // Seals skip heights: some are vouched for by the next one.
        for (i, put) in puts.iter().enumerate() {
            let at = At::Height(put.outcome.height);
            let value = client.get("bank", "alice", at).await.unwrap().unwrap();
            assert_eq!(value, i.to_string());
        }
        let absent = client.get("bank", "nobody", At::Linearizable).await;
        assert_eq!(absent.unwrap(), None);
        let history = client.history("bank", "alice", 100).await.unwrap();
        assert_eq!(history.len(), puts.len());
        let (first, last) = (puts[0].outcome.height, puts[7].outcome.height);
        let changes = client
            .changes("bank", (first, At::Height(last)), None, 9)
            .await;
        let part = changes.unwrap().part;
        assert_eq!(part.changes.len(), 1);
        assert_eq!(part.vouched.old.vouchers, Vouchers::Group);
        let listed = client.entries("bank", None, 9, At::Certified).await;
        assert_eq!(listed.unwrap().part.entries.len(), 1);
        let read = client
            .get_many("bank", ["alice", "bob"], At::Height(first))
            .await;
        let read = read.unwrap().values;
        assert_eq!(
            read.iter().map(Option::is_some).collect::<Vec<_>>(),
            [true, false]
        );
        let newest = client.head().await.unwrap().head().height;
        assert!(newest >= puts[7].outcome.height);
        let (_, vouchers) = client.head_at(puts[0].outcome.height).await.unwrap();
        assert_eq!(vouchers, Vouchers::Group);
    });
    assert_eq!(client.incidents(), []);
    assert_eq!(client.unresolved(), 0);
}
