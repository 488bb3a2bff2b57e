//! Puts the parts of a node together, once everything that may be refused has been opened.

use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use crossbeam_channel::unbounded;
use tokio::runtime::Runtime;
use tokio::sync::watch;
use tracing::info;
use violeta_db::DbReader;
use violeta_replica::{Machine, Workshop};
use violeta_types::{Genesis, ValidatorIndex};

use crate::chain::Chain;
use crate::config::{Config, LimitsSection, TuningSection};
use crate::driver::clock::Clock;
use crate::driver::{Driver, Parts, ReplicaLike};
use crate::events::EventHub;
use crate::handle::{Forge, Handle, Shared, Submissions};
use crate::index::writer::{CatchUpError, Writer};
use crate::index::{Index, IndexError, Meta};
use crate::journal::{Appender, Records};
use crate::metrics::Metrics;
use crate::node::NodeError;
use crate::tracker::Tracker;
use crate::transport::tls::NodeIdentity;
use crate::transport::{Settings, Transport};

/// Threads that read files for gateways, at once; further reads wait for one.
pub(crate) const BLOCKING_THREADS_MAX: usize = 32;

/// All that a node is put together from.
pub(crate) struct Assembly<'a, A, R> {
    pub(crate) config: &'a Config,
    pub(crate) index_dir: PathBuf,
    pub(crate) genesis: Genesis,
    pub(crate) me: ValidatorIndex,
    pub(crate) identity: NodeIdentity,
    pub(crate) clock: Clock,
    pub(crate) workshop: Workshop,
    pub(crate) replica: Box<dyn ReplicaLike>,
    pub(crate) machine: Box<dyn Machine>,
    pub(crate) reader: Option<DbReader>,
    pub(crate) forge: Option<Arc<dyn Forge>>,
    pub(crate) journal: A,
    pub(crate) records: R,
    pub(crate) listener: TcpListener,
}

/// An index that is level with the journal, its writer, and where its events come out.
type OpenedIndex<R> = (Arc<Index>, Writer<R>, Arc<EventHub>);

/// What runs.
pub(crate) struct Running {
    pub(crate) handle: Handle,
    pub(crate) peer_address: SocketAddr,
    pub(crate) index: Arc<Index>,
    pub(crate) driver: Driver,
    pub(crate) runtime: Runtime,
}

impl<A, R> Assembly<'_, A, R>
where
    A: Appender + 'static,
    R: Records + Clone + 'static,
{
    /// Starts it all.
    pub(crate) fn start(self) -> Result<Running, NodeError> {
        let limits = &self.config.limits;
        let metrics = Metrics::new();
        let (index, index_writer, hub) = match self.open_index(&metrics) {
            // Marked as damaged by who found it: now it is made anew.
            Err(NodeError::CatchUp(CatchUpError::Index(IndexError::Damaged { .. }))) => {
                self.open_index(&metrics)?
            }
            opened => opened?,
        };
        let meta = index.meta()?;
        let records: Arc<dyn Records> = Arc::new(self.records.clone());
        let (to_replica, submissions) = unbounded();
        let status = watch::Sender::new(self.replica.status());
        let settings = self.transport_settings();
        let shared = Arc::new(Shared {
            chain: self.open_chain(&index, &records, &meta),
            chain_id: self.genesis.chain_id(),
            genesis: self.genesis,
            me: Some(self.me),
            tracker: Mutex::new(Tracker::new(limits.tracked_transactions_max as usize)),
            index: index.clone(),
            hub,
            metrics: metrics.clone(),
            reader: ArcSwapOption::from_pointee(self.reader),
            status: status.subscribe(),
            forge: self.forge,
            submissions: Submissions::new(mib(limits.submissions_mib), to_replica),
            stop: watch::Sender::new(None),
        });
        let runtime = start_runtime(&self.config.tuning)?;
        let peer_address = self.listener.local_addr().map_err(NodeError::system)?;
        // Bounded by the transport: messages by their senders' quotas, ups and downs by the back-off.
        let (to_driver, peers) = unbounded();
        let transport = Transport::start(
            runtime.handle(),
            self.listener,
            settings,
            to_driver,
            metrics,
        )?;
        let driver = Driver::start(Parts {
            replica: self.replica,
            clock: self.clock,
            machine: self.machine,
            workshop: self.workshop,
            workers: self.config.tuning.workers(),
            journal: self.journal,
            records,
            index_writer,
            transport: Some(transport),
            peers,
            submissions,
            shared: shared.clone(),
            status,
        })
        .map_err(NodeError::system)?;
        let handle = Handle { shared };
        let tip = handle.tip();
        info!(
            chain = %handle.chain_id(),
            validator = %self.me,
            height = %tip.executed,
            certified = %tip.certified,
            "the node runs"
        );
        Ok(Running {
            handle,
            peer_address,
            index,
            driver,
            runtime,
        })
    }

    /// Opens the index, and reads into it what it lacks of the journal.
    fn open_index(&self, metrics: &Arc<Metrics>) -> Result<OpenedIndex<R>, NodeError> {
        let tuning = &self.config.tuning;
        let chain = self.genesis.chain_id();
        let end = self.journal.end();
        let opened = Index::open(&self.index_dir, &chain, end, tuning.index_transactions)?;
        if let Some(reason) = opened.made_anew {
            info!(reason, "the index is made anew from the journal");
        }
        let index = Arc::new(opened.index);
        let subscribers = self.config.limits.subscribers_max as usize;
        let hub = EventHub::new(index.meta()?.event, subscribers);
        let mut writer = Writer::new(
            index.clone(),
            self.records.clone(),
            chain,
            hub.clone(),
            metrics.clone(),
            Duration::from_millis(tuning.index_interval_ms),
        )?;
        writer.catch_up(end)?;
        Ok((index, writer, hub))
    }

    fn open_chain(&self, index: &Arc<Index>, records: &Arc<dyn Records>, meta: &Meta) -> Chain {
        let LimitsSection {
            recent_blocks_mib, ..
        } = self.config.limits;
        Chain::new(index.clone(), records.clone(), meta, mib(recent_blocks_mib))
    }

    fn transport_settings(&self) -> Settings {
        let committee = Arc::new(self.genesis.committee.clone());
        let address = |i| self.config.peer_address(i).map(str::to_owned);
        Settings {
            chain: self.genesis.chain_id(),
            addresses: committee.indices().map(address).collect(),
            committee,
            me: self.me,
            identity: self.identity.clone(),
            send_queue_bytes: mib(self.config.limits.send_queue_mib),
            receive_queue_bytes: mib(self.config.limits.receive_queue_mib),
        }
    }
}

fn start_runtime(tuning: &TuningSection) -> Result<Runtime, NodeError> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(tuning.runtime_threads as usize)
        .max_blocking_threads(BLOCKING_THREADS_MAX)
        .thread_name("violeta-io")
        .enable_all()
        .build()
        .map_err(NodeError::system)
}

/// MiB in bytes. The configuration's ranges fit any machine that this runs on.
fn mib(count: u64) -> usize {
    usize::try_from(count << 20).unwrap_or(usize::MAX)
}
