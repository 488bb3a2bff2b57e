//! Two nodes, a stranger, and whoever else finds the port.

use std::time::Duration;

use crossbeam_channel::{Receiver, unbounded};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use violeta_types::{Digest, Epoch, Member, OperatorPublicKey, Stake, ValidatorPublicKey};

use super::frame::header;
use super::*;

const PATIENCE: Duration = Duration::from_secs(10);

fn chain(i: u8) -> ChainId {
    ChainId(Digest([i; 32]))
}

struct World {
    runtime: tokio::runtime::Runtime,
    identities: Vec<NodeIdentity>,
    committee: Arc<Committee>,
    listeners: Vec<Option<TcpListener>>,
    addresses: Vec<Option<String>>,
}

struct Node {
    transport: Transport,
    events: Receiver<PeerEvent>,
    metrics: Arc<Metrics>,
}

impl World {
    fn new(n: usize) -> World {
        let identities: Vec<_> = (0..n).map(|_| NodeIdentity::generate().unwrap()).collect();
        let members = identities
            .iter()
            .enumerate()
            .map(|(i, identity)| Member {
                stake: Stake(1),
                validator_key: ValidatorPublicKey([i as u8; 32]),
                share_key: None,
                node_key: identity.public_key(),
                operator_key: OperatorPublicKey([i as u8; 32]),
            })
            .collect();
        let listeners: Vec<_> = (0..n)
            .map(|_| Some(TcpListener::bind("127.0.0.1:0").unwrap()))
            .collect();
        World {
            runtime: tokio::runtime::Builder::new_multi_thread()
                .worker_threads(2)
                .enable_all()
                .build()
                .unwrap(),
            committee: Arc::new(Committee::new(Epoch(0), members, None).unwrap()),
            addresses: listeners
                .iter()
                .map(|l| Some(l.as_ref().unwrap().local_addr().unwrap().to_string()))
                .collect(),
            identities,
            listeners,
        }
    }

    fn start(&mut self, i: u16, chain: ChainId) -> Node {
        let identity = self.identities[i as usize].clone();
        self.start_as(i, chain, identity)
    }

    fn start_as(&mut self, i: u16, chain: ChainId, identity: NodeIdentity) -> Node {
        let (sender, events) = unbounded();
        let metrics = Metrics::new();
        let settings = Settings {
            chain,
            committee: self.committee.clone(),
            me: ValidatorIndex(i),
            identity,
            addresses: self.addresses.clone(),
            send_queue_bytes: 16 << 20,
            receive_queue_bytes: 16 << 20,
        };
        let listener = match self.listeners[i as usize].take() {
            Some(listener) => listener,
            None => TcpListener::bind(self.addresses[i as usize].as_ref().unwrap()).unwrap(),
        };
        let transport = Transport::start(
            self.runtime.handle(),
            listener,
            settings,
            sender,
            metrics.clone(),
        )
        .unwrap();
        Node {
            transport,
            events,
            metrics,
        }
    }

    fn address(&self, i: usize) -> &str {
        self.addresses[i].as_ref().unwrap()
    }
}

impl Node {
    fn expect_up(&self, peer: u16) {
        match self.events.recv_timeout(PATIENCE) {
            Ok(PeerEvent::Up(index)) => assert_eq!(index, ValidatorIndex(peer)),
            other => panic!("{other:?}"),
        }
    }

    /// The next message, whatever else happens.
    fn message(&self) -> (ValidatorIndex, Bytes) {
        loop {
            match self.events.recv_timeout(PATIENCE).unwrap() {
                PeerEvent::Message { from, bytes, .. } => return (from, bytes),
                PeerEvent::Up(_) | PeerEvent::Down(_) => {}
            }
        }
    }

    fn hears_nothing(&self) {
        let event = self.events.recv_timeout(Duration::from_millis(700));
        assert!(event.is_err(), "{event:?}");
    }
}

#[test]
fn messages_arrive_in_order_and_say_from_whom() {
    let mut world = World::new(2);
    let (a, b) = (world.start(0, chain(1)), world.start(1, chain(1)));
    a.expect_up(1);
    let sizes = [0, 1, 100, 20_000, 3_000_000, 5, MESSAGE_BYTES_MAX, 17];
    for (i, &size) in sizes.iter().enumerate() {
        a.transport
            .send(ValidatorIndex(1), vec![i as u8; size].into());
    }
    for (i, &size) in sizes.iter().enumerate() {
        let (from, bytes) = b.message();
        assert_eq!(from, ValidatorIndex(0));
        assert_eq!(bytes, vec![i as u8; size]);
    }
}

#[test]
fn a_stranger_is_refused_in_the_handshake() {
    let mut world = World::new(2);
    let stranger = NodeIdentity::generate().unwrap();
    let a = world.start(0, chain(1));
    let b = world.start_as(1, chain(1), stranger);
    a.hears_nothing();
    b.hears_nothing();
    assert!(a.metrics.refused_connections.get() > 0);
}

#[test]
fn a_member_cannot_pass_for_another() {
    let mut world = World::new(3);
    let a = world.start(0, chain(1));
    // Validator 2 answers where validator 1 should: whoever dials 1 wants 1's key.
    let as_two = world.identities[2].clone();
    let b = world.start_as(1, chain(1), as_two);
    a.hears_nothing();
    drop(b);
}

#[test]
fn the_right_key_on_the_wrong_chain_is_refused() {
    let mut world = World::new(2);
    let (a, b) = (world.start(0, chain(1)), world.start(1, chain(2)));
    a.hears_nothing();
    b.hears_nothing();
    assert!(a.metrics.refused_connections.get() > 0);
}

#[test]
fn whoever_restarts_is_found_again() {
    let mut world = World::new(2);
    let a = world.start(0, chain(1));
    let b = world.start(1, chain(1));
    a.expect_up(1);
    drop(b);
    assert!(matches!(
        a.events.recv_timeout(PATIENCE),
        Ok(PeerEvent::Down(_))
    ));
    let b = world.start(1, chain(1));
    a.expect_up(1);
    a.transport
        .send(ValidatorIndex(1), Bytes::from_static(b"again"));
    assert_eq!(b.message().1, "again");
}

#[test]
fn one_who_is_refused_hears_nothing_and_is_not_heard() {
    let mut world = World::new(2);
    let (a, b) = (world.start(0, chain(1)), world.start(1, chain(1)));
    a.expect_up(1);
    b.expect_up(0);
    a.transport.refuse(ValidatorIndex(1));
    assert!(matches!(
        a.events.recv_timeout(PATIENCE),
        Ok(PeerEvent::Down(_))
    ));
    assert!(matches!(
        b.events.recv_timeout(PATIENCE),
        Ok(PeerEvent::Down(_))
    ));
    b.transport
        .send(ValidatorIndex(0), Bytes::from_static(b"lies"));
    a.hears_nothing();
}

#[test]
fn garbage_and_silence_on_the_port_hurt_nobody() {
    let mut world = World::new(2);
    let a = world.start(0, chain(1));
    let address = world.address(0).to_owned();
    let open: Vec<_> = world.runtime.block_on(async {
        let mut open = Vec::new();
        // More than there are places, half of them silent: they give way to who comes later.
        for i in 0..3 * HANDSHAKES_PER_ADDRESS_MAX {
            let mut socket = TcpStream::connect(&address).await.unwrap();
            if i % 2 == 0 {
                // Whoever gave way already is told so here.
                let _ = socket.write_all(&[i as u8; 1_000]).await;
            }
            open.push(socket);
        }
        // Whoever sends garbage is dropped at once.
        let mut end = Vec::new();
        let _ = tokio::time::timeout(PATIENCE, open[0].read_to_end(&mut end))
            .await
            .unwrap();
        open
    });
    let b = world.start(1, chain(1));
    // b dials while all places are held by the silent; it gets through.
    b.expect_up(0);
    b.transport
        .send(ValidatorIndex(0), Bytes::from_static(b"hello"));
    assert_eq!(a.message().1, "hello");
    drop(open);
}

#[test]
fn the_silent_are_dropped_after_the_handshake_timeout() {
    let mut world = World::new(2);
    let _a = world.start(0, chain(1));
    let address = world.address(0).to_owned();
    world.runtime.block_on(async {
        let mut socket = TcpStream::connect(&address).await.unwrap();
        let mut end = Vec::new();
        let bound = hello::HANDSHAKE_TIMEOUT + Duration::from_secs(3);
        let closed = tokio::time::timeout(bound, socket.read_to_end(&mut end)).await;
        assert!(closed.is_ok(), "still open");
    });
}

#[test]
fn a_member_that_sends_an_endless_message_is_dropped() {
    let mut world = World::new(2);
    let a = world.start(0, chain(1));
    let config = world.identities[1]
        .client_config(world.identities[0].public_key())
        .unwrap();
    let address = world.address(0).to_owned();
    world.runtime.block_on(async {
        let socket = TcpStream::connect(&address).await.unwrap();
        let connector = TlsConnector::from(Arc::new(config));
        let mut stream = connector.connect(tls::server_name(), socket).await.unwrap();
        let hello = violeta_types::encode(&hello::Hello::new(chain(1)));
        stream.write_all(&header(hello.len())).await.unwrap();
        stream.write_all(&hello).await.unwrap();
        stream.write_all(&[0xff; 100]).await.unwrap();
        stream.flush().await.unwrap();
        let mut end = Vec::new();
        let closed = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut end)).await;
        assert!(closed.is_ok(), "still open");
    });
    a.hears_nothing();
}

#[test]
fn a_flood_stops_at_the_senders_quota_and_goes_on_when_it_is_handled() {
    let mut world = World::new(2);
    let (a, b) = (world.start(0, chain(1)), world.start(1, chain(1)));
    a.expect_up(1);
    b.expect_up(0);
    let message = Bytes::from(vec![1; 1 << 20]);
    let flood = 30;
    for _ in 0..flood {
        a.transport.send(ValidatorIndex(1), message.clone());
        std::thread::sleep(Duration::from_millis(5));
    }
    // Nothing is handled: what b holds stays below the quota, whatever was sent.
    let mut held = Vec::new();
    while let Ok(event) = b.events.recv_timeout(Duration::from_millis(500)) {
        held.push(event);
    }
    assert!(held.len() <= 16, "{} MiB", held.len());
    drop(held);
    assert_eq!(b.message().1.len(), 1 << 20);
}

#[test]
fn to_nobody_and_to_oneself_nothing_is_sent() {
    let mut world = World::new(2);
    let a = world.start(0, chain(1));
    a.transport.send(ValidatorIndex(0), Bytes::new());
    a.transport.send(ValidatorIndex(77), Bytes::new());
    a.transport.refuse(ValidatorIndex(77));
    a.hears_nothing();
}
