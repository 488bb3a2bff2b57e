//! Connections between validators: who is there is known from its key, nothing else comes in.
//!
//! ```text
//!            this node                                              peer i
//!  replica ─▶ send queue ─▶ outgoing: dial, TLS, hello ───────────▶ listens          (only for sending)
//!  replica ◀─ byte quota ◀─ incoming: accept, TLS, hello ◀───────── dials            (only for receiving)
//! ```
//!
//! One connection for each pair and direction: each side dials, so no one has to agree on who keeps which, and a
//! connection that is up one way only harms nobody else. A newer incoming connection of a peer takes the place of its
//! older one: the peer has restarted, or knows that the old one is dead.
//!
//! **Bounds.** Handshakes under way: [`HANDSHAKES_MAX`], per address [`HANDSHAKES_PER_ADDRESS_MAX`] (the oldest give way), and
//! [`HANDSHAKES_PER_VALIDATOR`] kept for each validator's own addresses, so that strangers can't keep validators out;
//! each [`hello::HANDSHAKE_TIMEOUT`] long at most. Established connections: two for each member of the committee. Waiting to be sent to
//! a peer, and received from it and not handled: in bytes, by configuration. A peer over its quota isn't read from:
//! it slows itself down and nobody else (consensus.md §8).

pub mod frame;
mod gate;
pub mod hello;
mod incoming;
mod outgoing;
pub mod queue;
pub mod tls;

use std::net::{IpAddr, SocketAddr, TcpListener};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use crossbeam_channel::Sender;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::task::{AbortHandle, JoinHandle};
use tokio_rustls::{TlsAcceptor, TlsConnector};
use violeta_types::limits::MESSAGE_BYTES_MAX;
use violeta_types::{ChainId, Committee, ValidatorIndex};

use crate::lock::lock;
use crate::metrics::Metrics;
use queue::{Pushed, SendQueue};
use tls::{NodeIdentity, TlsError};

/// Handshakes under way at once, of strangers.
pub const HANDSHAKES_MAX: usize = 64;
/// Handshakes under way at once for which a validator's own addresses have places, beside those of strangers.
pub const HANDSHAKES_PER_VALIDATOR: usize = 2;
/// Handshakes of strangers from one address; of IPv6, from one network.
pub const HANDSHAKES_PER_ADDRESS_MAX: usize = 16;
/// How long a peer that sent what no honest one sends is refused.
pub const REFUSED_FOR: Duration = Duration::from_secs(30);
/// Bytes that a received message costs its sender's quota beyond its own.
pub const MESSAGE_COST: usize = 256;

const _: () = assert!(HANDSHAKES_PER_ADDRESS_MAX < HANDSHAKES_MAX);

/// What a transport is told.
pub struct Settings {
    /// The chain.
    pub chain: ChainId,
    /// Who may connect.
    pub committee: Arc<Committee>,
    /// Which of them this node is.
    pub me: ValidatorIndex,
    /// This node's TLS key.
    pub identity: NodeIdentity,
    /// Where each validator listens, by index; none where it isn't known.
    pub addresses: Vec<Option<String>>,
    /// Bytes that may wait to be sent to one validator.
    pub send_queue_bytes: usize,
    /// Bytes received from one validator that may wait to be handled.
    pub receive_queue_bytes: usize,
}

/// What comes from the network.
#[derive(Debug)]
pub enum PeerEvent {
    /// Messages may be sent to it.
    Up(ValidatorIndex),
    /// Its connection is down; what was sent may be lost.
    Down(ValidatorIndex),
    /// It sent something.
    Message {
        /// Who.
        from: ValidatorIndex,
        /// What.
        bytes: Bytes,
        /// Its share of the sender's quota: to be dropped once the message is handled.
        quota: OwnedSemaphorePermit,
    },
}

/// Whence a validator is known to come.
#[derive(Default)]
struct Known {
    /// What `[peers]` says, as far as it could be resolved.
    configured: Option<IpAddr>,
    /// Whence it came when it last showed its key.
    came_from: Option<IpAddr>,
}

struct Peer {
    index: ValidatorIndex,
    known: Mutex<Known>,
    connector: Option<(String, TlsConnector)>,
    queue: SendQueue,
    /// What it may have in flight, over all its connections: reconnecting doesn't double it.
    quota: Arc<Semaphore>,
    incoming: Mutex<Option<AbortHandle>>,
    /// Told to drop the outgoing connection.
    drop_outgoing: Notify,
    /// Milliseconds after `Shared::start` until which it is refused.
    refused_until: AtomicU64,
}

struct Shared {
    chain: ChainId,
    committee: Arc<Committee>,
    start: Instant,
    peers: Vec<Peer>,
    /// Not bounded itself: messages are, by each sender's quota; ups and downs by the back-off between connections.
    events: Sender<PeerEvent>,
    metrics: Arc<Metrics>,
}

impl Shared {
    fn peer(&self, index: ValidatorIndex) -> Option<&Peer> {
        self.peers.get(index.as_usize())
    }

    /// Which validators are known to be at an address.
    fn known_at(&self, address: IpAddr) -> impl Iterator<Item = ValidatorIndex> {
        let there = move |peer: &&Peer| {
            let known = lock(&peer.known);
            [known.configured, known.came_from].contains(&Some(address))
        };
        self.peers.iter().filter(there).map(|peer| peer.index)
    }

    /// How long a peer is still refused.
    fn refused_for(&self, peer: &Peer) -> Option<Duration> {
        let until = Duration::from_millis(peer.refused_until.load(Ordering::Relaxed));
        until
            .checked_sub(self.start.elapsed())
            .filter(|left| !left.is_zero())
    }

    fn event(&self, event: PeerEvent) {
        // The driver has gone only when the node stops, and then nothing more is to be said.
        let _ = self.events.send(event);
    }
}

/// The connections of a node. Dropping it closes them all.
pub struct Transport {
    shared: Arc<Shared>,
    tasks: Vec<JoinHandle<()>>,
}

impl Transport {
    /// Listens on `listener`, dials everybody, and says on `events` what comes.
    ///
    /// # Errors
    /// If TLS can't be set up with this node's key, or the listener can't be used.
    pub fn start(
        runtime: &tokio::runtime::Handle,
        listener: TcpListener,
        settings: Settings,
        events: Sender<PeerEvent>,
        metrics: Arc<Metrics>,
    ) -> Result<Transport, TlsError> {
        let me = settings.me;
        let members = settings.committee.members();
        let others = settings.committee.indices().filter(|&i| i != me);
        let keys = others.map(|i| members[i.as_usize()].node_key);
        let acceptor = TlsAcceptor::from(Arc::new(settings.identity.server_config(keys)?));
        let peers = settings
            .committee
            .indices()
            .map(|i| peer(&settings, i))
            .collect::<Result<Vec<_>, _>>()?;
        let listener = {
            let _context = runtime.enter();
            listener
                .set_nonblocking(true)
                .and_then(|()| tokio::net::TcpListener::from_std(listener))
                .map_err(|e| TlsError::Setup(e.to_string()))?
        };
        let shared = Arc::new(Shared {
            chain: settings.chain,
            committee: settings.committee,
            start: Instant::now(),
            peers,
            events,
            metrics,
        });
        let mut tasks = vec![runtime.spawn(incoming::listen(shared.clone(), listener, acceptor))];
        for index in shared.committee.indices().filter(|&i| i != me) {
            tasks.push(runtime.spawn(outgoing::keep_connected(shared.clone(), index)));
        }
        Ok(Transport { shared, tasks })
    }

    /// Queues a message; drops it if there is no connection, or its queue is full. Never waits.
    pub fn send(&self, to: ValidatorIndex, message: Bytes) {
        assert!(
            message.len() <= MESSAGE_BYTES_MAX,
            "a replica's messages are bounded"
        );
        let Some(peer) = self.shared.peer(to) else {
            return;
        };
        if peer.queue.push(message) == Pushed::Full {
            self.shared.metrics.dropped(to);
        }
    }

    /// Closes the connections to a peer, and refuses it for [`REFUSED_FOR`].
    pub fn refuse(&self, index: ValidatorIndex) {
        let Some(peer) = self.shared.peer(index) else {
            return;
        };
        let until = self.shared.start.elapsed() + REFUSED_FOR;
        peer.refused_until
            .store(until.as_millis() as u64, Ordering::Relaxed);
        replace_incoming(peer, None);
        peer.drop_outgoing.notify_one();
    }

    /// Closes everything.
    pub fn stop(&self) {
        for task in &self.tasks {
            task.abort();
        }
        for peer in &self.shared.peers {
            replace_incoming(peer, None);
        }
    }
}

impl Drop for Transport {
    fn drop(&mut self) {
        self.stop();
    }
}

fn peer(settings: &Settings, index: ValidatorIndex) -> Result<Peer, TlsError> {
    let key = settings.committee.members()[index.as_usize()].node_key;
    let address = settings.addresses.get(index.as_usize()).cloned().flatten();
    // A name is resolved when it is dialled.
    let literal = |address: &String| Some(address.parse::<SocketAddr>().ok()?.ip().to_canonical());
    let known = Known {
        configured: address.as_ref().and_then(literal),
        came_from: None,
    };
    let connector = match address {
        Some(address) if index != settings.me => {
            let config = settings.identity.client_config(key)?;
            Some((address, TlsConnector::from(Arc::new(config))))
        }
        _ => None,
    };
    let quota = settings
        .receive_queue_bytes
        .clamp(MESSAGE_BYTES_MAX + MESSAGE_COST, u32::MAX as usize);
    Ok(Peer {
        index,
        known: Mutex::new(known),
        connector,
        queue: SendQueue::new(settings.send_queue_bytes),
        quota: Arc::new(Semaphore::new(quota)),
        incoming: Mutex::new(None),
        drop_outgoing: Notify::new(),
        refused_until: AtomicU64::new(0),
    })
}

/// Makes `task` the peer's incoming connection; the one before it ends.
fn replace_incoming(peer: &Peer, task: Option<AbortHandle>) {
    let mut incoming = peer.incoming.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(before) = std::mem::replace(&mut *incoming, task) {
        before.abort();
    }
}

/// What every connection between validators wants of its socket: small messages at once, and the dead found.
fn prepare(socket: &tokio::net::TcpStream) -> std::io::Result<()> {
    socket.set_nodelay(true)?;
    let socket = socket2::SockRef::from(socket);
    let keep_alive = socket2::TcpKeepalive::new()
        .with_time(Duration::from_secs(10))
        .with_interval(Duration::from_secs(5));
    socket.set_tcp_keepalive(&keep_alive)?;
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(Some(Duration::from_secs(30)))?;
    Ok(())
}

#[cfg(test)]
mod tests;
