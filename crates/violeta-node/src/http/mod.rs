//! The HTTP gateway: bytes from anybody in, checked answers out.
//!
//! ```text
//!   socket ─▶ server     connections counted and timed         admission: all, and each address its share
//!          ─▶ routes     one table: router, OpenAPI, /docs
//!          ─▶ submit     POST /v1/transactions · /v1/batch     decoded, bounded, given to the mempool
//!             read       GET  /v1/namespaces/… · accounts      from an immutable snapshot, proved on request
//!             many       GET  /v1/namespaces/…/entries · …    the same of many keys: always proved
//!             chain      GET  /v1/head · heads · blocks · …    what the chain is made of
//!             events     GET  /v1/events                       resumable stream
//!             pages      GET  / · /docs · /openapi.json        for people
//!          ─▶ dyn Source                                       the node
//!          ─▶ answer     large ones in pieces                  counted until they are read, and timed
//! ```
//!
//! Reading is public and answers are provable, so nobody has to trust a gateway. What it must do is stand up to
//! anybody: every body, header, page, wait, connection and stream has a bound ([`limits`]), what is over one is refused
//! at once with an error that says when to come back, and every error is JSON with a code, a message and what to do.
//! There is no CORS header: pages of other origins can't use a browser to talk to a gateway. TLS is left to a proxy;
//! by default the gateway listens on loopback.

mod adapter;
mod admission;
mod answer;
mod barrier;
mod chain;
mod error;
mod events;
mod expiry;
pub mod forge;
pub mod limits;
mod many;
mod metrics;
mod pages;
mod read;
mod request;
mod routes;
mod server;
pub mod source;
mod store;
mod submit;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

use std::net::IpAddr;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use violeta_crypto::signing::ClientSecretKey;
use violeta_types::ChainId;

use crate::handle::Forge;

use self::admission::Gate;
use self::barrier::Barriers;
use self::error::ApiError;
use self::metrics::Metrics;
use self::source::{Source, SourceError};
use self::store::Costly;

pub use server::Gateway;

/// What a gateway is told.
pub struct GatewayConfig {
    /// Open connections; see [`crate::descriptors`].
    pub connections_max: usize,
    /// Requests served at once.
    pub requests_max: usize,
    /// Event streams open at once.
    pub streams_max: usize,
    /// Reads that cost much, at once.
    pub costly_max: usize,
    /// Bytes of a batch, if less than the protocol allows.
    pub body_bytes_max: usize,
    /// How long what was sent may stay unacknowledged before the connection is cut.
    pub write_stall: Duration,
    /// The key of a registered client, to order barriers with; without one, clients order their own.
    pub barrier_key: Option<ClientSecretKey>,
    /// Makes this gateway a liar: see [`forge`].
    pub forge: Option<Arc<dyn Forge>>,
}

impl Default for GatewayConfig {
    fn default() -> Self {
        GatewayConfig {
            connections_max: limits::CONNECTIONS_MAX,
            requests_max: 1_024,
            streams_max: 1_024,
            costly_max: store::costly_at_once(),
            body_bytes_max: violeta_types::api::BATCH_BYTES_MAX,
            write_stall: Duration::from_millis(limits::WRITE_STALL_MS_MAX),
            barrier_key: None,
            forge: None,
        }
    }
}

/// Who is at the other end of the connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer(pub(crate) IpAddr);

/// What all requests share.
pub(crate) struct Shared {
    pub(crate) source: Arc<dyn Source>,
    pub(crate) chain: ChainId,
    pub(crate) requests: Arc<Gate>,
    pub(crate) streams: Arc<Gate>,
    /// In KiB.
    pub(crate) bodies: Arc<Gate>,
    /// In KiB.
    pub(crate) answers: Arc<Gate>,
    pub(crate) costly: Costly,
    pub(crate) body_bytes_max: usize,
    pub(crate) metrics: Metrics,
    pub(crate) forge: Option<Arc<dyn Forge>>,
    barriers: Option<Barriers>,
}

/// A handle of what all requests share.
#[derive(Clone)]
pub(crate) struct App(Arc<Shared>);

impl Deref for App {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.0
    }
}

impl App {
    pub(crate) fn new(config: GatewayConfig, source: Arc<dyn Source>) -> Self {
        App(Arc::new(Shared {
            chain: source.genesis().chain_id(),
            source,
            requests: Gate::new("requests", config.requests_max),
            streams: Gate::new("event streams", config.streams_max),
            bodies: Gate::new("KiB of bodies", limits::BODIES_KIB_MAX),
            answers: Gate::new("KiB of answers", limits::ANSWERS_KIB_MAX),
            costly: Costly::new(config.costly_max),
            body_bytes_max: config.body_bytes_max,
            metrics: Metrics::default(),
            forge: config.forge,
            barriers: config.barrier_key.map(Barriers::new),
        }))
    }

    /// Asks the node something for which it may read files: on a thread where that holds up nobody.
    pub(crate) async fn on_store<T: Send + 'static>(
        &self,
        ask: impl FnOnce(&dyn Source) -> Result<T, SourceError> + Send + 'static,
    ) -> Result<T, ApiError> {
        Ok(store::ask(&self.source, ask).await?)
    }

    /// The same for what keeps a processor busy: waits for its turn first.
    pub(crate) async fn on_store_costly<T: Send + 'static>(
        &self,
        peer: Peer,
        ask: impl FnOnce(&dyn Source) -> Result<T, SourceError> + Send + 'static,
    ) -> Result<T, ApiError> {
        let turn = self.costly.turn(peer).await?;
        // Who asked may have gone before the answer is there: the turn ends with the work.
        let taking_a_turn = move |source: &dyn Source| {
            let _turn = turn;
            ask(source)
        };
        self.on_store(taking_a_turn).await
    }

    /// Returns when all that was certified before this call is certified here.
    pub(crate) async fn barrier(&self) -> Result<(), ApiError> {
        match &self.barriers {
            Some(barriers) => barriers.pass(&self.source).await,
            None => Err(barrier::not_configured()),
        }
    }
}
