//! A node that runs, and why one doesn't start.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::runtime::Runtime;
use tracing::{info, warn};
use violeta_consensus::{EpochData, Tuning};
use violeta_crypto::signing::ValidatorSecretKey;
use violeta_crypto::threshold::ThresholdError;
use violeta_db::DbError;
use violeta_journal::{DirLock, Disk, DiskError};
use violeta_replica::{Replica, ReplicaError};
use violeta_types::ValidatorIndex;

use crate::assembly::Running;
use crate::descriptors::TooFew;
use crate::directory::DirectoryError;
use crate::driver::{Driver, ReplicaLike};
use crate::genesis::GenesisFileError;
use crate::handle::{Forge, Handle};
use crate::http::Gateway;
use crate::index::writer::CatchUpError;
use crate::index::{Index, IndexError};
use crate::journal::JournalError;
use crate::keys::KeyError;
use crate::transport::tls::TlsError;

/// How long the runtime's tasks may take to end.
const RUNTIME_TIMEOUT: Duration = Duration::from_secs(2);

/// Why a node can't start.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// The genesis.
    #[error(transparent)]
    Genesis(#[from] GenesisFileError),
    /// The keys.
    #[error(transparent)]
    Keys(#[from] KeyError),
    /// The data directory can't be had, or is another's.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    /// The disk fails.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// A port can't be had.
    #[error(
        "can't listen on {address} for {what}: {source}; free the port, or set {key} to another"
    )]
    Port {
        /// Which address.
        address: SocketAddr,
        /// For whom.
        what: &'static str,
        /// The configuration's key.
        key: &'static str,
        /// Why.
        source: std::io::Error,
    },
    /// The journal.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The machine's store.
    #[error("the machine can't open its store: {0}")]
    Machine(#[from] DbError),
    /// Journal and store don't give a replica.
    #[error(transparent)]
    Replica(#[from] ReplicaError),
    /// The index can't be made.
    #[error(transparent)]
    Index(#[from] IndexError),
    /// The index can't be brought up to date.
    #[error(transparent)]
    CatchUp(#[from] CatchUpError),
    /// The committee's threshold keys.
    #[error(
        "the genesis's threshold keys are wrong: {0}; get the genesis file again from whoever made it"
    )]
    Threshold(#[from] ThresholdError),
    /// TLS.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The operating system gives too few file descriptors.
    #[error(transparent)]
    Descriptors(#[from] TooFew),
    /// The operating system gives no thread, or no more of something else.
    #[error("the operating system refuses what a node needs: {0}; look at its limits (ulimit -a)")]
    System(std::io::Error),
}

impl NodeError {
    pub(crate) fn system(source: std::io::Error) -> Self {
        NodeError::System(source)
    }
}

/// An honest replica on its way to an adversary.
pub struct Honest {
    /// The replica, restored and started.
    pub replica: Replica,
    /// The epoch.
    pub epoch: Arc<EpochData>,
    /// Which validator it is.
    pub me: ValidatorIndex,
    /// Its key: an adversary signs what it likes.
    pub key: ValidatorSecretKey,
}

/// Puts something else in the place of an honest replica.
pub type Corrupt = Box<dyn FnOnce(Honest) -> Box<dyn ReplicaLike> + Send>;

/// What tests and the demo change. Empty for a node that is meant to be honest.
#[derive(Default)]
pub struct Overrides {
    /// What is driven instead of the replica.
    pub corrupt: Option<Corrupt>,
    /// What is said instead of what was read.
    pub forge: Option<Arc<dyn Forge>>,
    /// The disk of journal and store; its root stands for the data directory.
    pub disk: Option<Arc<dyn Disk>>,
    /// Knobs of the consensus core.
    pub tuning: Option<Tuning>,
}

/// A running node. Dropping it stops it; not on a runtime's thread, since that waits.
pub struct Node {
    handle: Handle,
    peer_address: SocketAddr,
    http_address: Option<SocketAddr>,
    index: Arc<Index>,
    gateway: Option<Gateway>,
    driver: Option<Driver>,
    runtime: Option<Runtime>,
    /// Held to the end.
    lock: Option<DirLock>,
}

impl Node {
    pub(crate) fn new(running: Running, gateway: Option<Gateway>, lock: Option<DirLock>) -> Node {
        Node {
            handle: running.handle,
            peer_address: running.peer_address,
            http_address: gateway.as_ref().map(Gateway::address),
            index: running.index,
            gateway,
            driver: Some(running.driver),
            runtime: Some(running.runtime),
            lock,
        }
    }

    /// What gateways see of it.
    pub fn handle(&self) -> &Handle {
        &self.handle
    }

    /// Where it listens for other validators.
    pub fn peer_address(&self) -> SocketAddr {
        self.peer_address
    }

    /// Where it listens for clients, if it does.
    pub fn http_address(&self) -> Option<SocketAddr> {
        self.http_address
    }

    /// Runs something on the node's own runtime, and waits for it. Not to be called on a runtime's thread.
    pub fn block_on<F: Future>(&self, future: F) -> Option<F::Output> {
        let runtime = self.runtime.as_ref()?;
        Some(runtime.block_on(future))
    }

    /// Waits until the node is asked to stop, or stops itself; says why. Then it is to be [stopped](Self::stop).
    pub fn wait(&self) -> String {
        self.block_on(self.handle.stopped()).unwrap_or_default()
    }

    /// Stops: takes nothing more, makes durable what there is, closes everything. Says what didn't go well. Not to be
    /// called on a runtime's thread: it waits.
    pub fn stop(mut self) -> Vec<String> {
        self.shut()
    }

    fn shut(&mut self) -> Vec<String> {
        let Some(driver) = self.driver.take() else {
            return Vec::new();
        };
        let begin = Instant::now();
        self.handle.shutdown("the node was stopped");
        self.handle.shared.hub.close();
        if let (Some(gateway), Some(runtime)) = (self.gateway.take(), &self.runtime) {
            runtime.block_on(gateway.stop());
        }
        let mut complaints = driver.stop();
        self.handle.shared.reader.store(None);
        if let Err(error) = self.index.close() {
            complaints.push(error.to_string());
        }
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_timeout(RUNTIME_TIMEOUT);
        }
        self.lock = None;
        let took_ms = begin.elapsed().as_millis() as u64;
        info!(took_ms, "the node has stopped");
        complaints
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        for complaint in self.shut() {
            warn!(%complaint, "while the node stopped");
        }
    }
}
