//! Starting a node: everything is opened, in the order in which it can be.
//!
//! ```text
//!  genesis, keys ─▶ data directory: lock, marker ─▶ port ─▶ journal ──restore──▶ replica
//!                                                              │                    │
//!                                                              ▼                    ▼
//!                                                            index      machine (no further than the journal)
//!                                                              └───────▶ driver ◀───┘ ─▶ gateway
//! ```
//!
//! Whatever can be refused is refused before anything runs, with what to do about it.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tracing::{error, info, warn};
use violeta_consensus::EpochData;
use violeta_crypto::signing::ValidatorSecretKey;
use violeta_crypto::threshold::{BlsThreshold, ShareSigner, Threshold};
use violeta_db::{DbMachine, DbReader, DbRules, NullMachine, NullRules};
use violeta_journal::{Disk, DiskError, RealDisk};
use violeta_replica::limits::PART_BYTES_MAX;
use violeta_replica::replica::Setup;
use violeta_replica::{Identity, Machine, RejoinNonce, Replica, Rules, Workshop};
use violeta_types::{Genesis, Height};
use violeta_vlsm::Options;

use crate::assembly::{Assembly, Running};
use crate::config::{Config, MachineKind};
use crate::descriptors;
use crate::directory::{self, INDEX, JOURNAL, STORE};
use crate::driver::ReplicaLike;
use crate::driver::clock::Clock;
use crate::genesis;
use crate::http::{Gateway, GatewayConfig};
use crate::journal::{JournalFiles, JournalReader};
use crate::keys::{self, NodeKeys};
use crate::node::{Honest, Node, NodeError, Overrides};
use crate::provision::{amnesia, progress, why_amnesia};

/// How often progress is told while the journal is read.
const PROGRESS: Duration = Duration::from_secs(5);

/// A machine, and what reads its state.
struct OpenMachine {
    machine: Box<dyn Machine>,
    reader: Option<DbReader>,
}

impl Node {
    /// Starts a node.
    ///
    /// # Errors
    /// If it can't start; the error says what to do. Nothing runs then.
    pub fn start(config: &Config, overrides: Overrides) -> Result<Node, NodeError> {
        let genesis = genesis::load(&config.node.genesis)?;
        let (keys, me) = NodeKeys::load(&config.node.keys_dir, &genesis.committee)?;
        let limit = descriptors::raise().map_err(NodeError::system)?;
        let members = genesis.committee.members().len();
        let connections_max = descriptors::client_connections(limit, members, config.http.enabled)?;
        let gateway = gateway_config(config, connections_max)?;
        let data = &config.node.data_dir;
        let disk: Arc<dyn Disk> = match overrides.disk {
            Some(disk) => disk,
            None => Arc::new(RealDisk::new(data.clone())),
        };
        let lock = directory::take(data, &*disk, genesis.chain_id(), config.node.machine)?;
        let listener = listen(config.node.listen, "other validators", "node.listen")?;
        let http = match config.http.enabled {
            true => Some(listen(config.http.listen, "clients", "http.listen")?),
            false => None,
        };

        let clock = Clock::start();
        let epoch = Arc::new(EpochData::genesis(&genesis));
        let workshop = open_workshop(&epoch, &genesis, config.node.machine, &keys)?;
        let journal = JournalFiles::open(disk.clone(), JOURNAL, genesis.chain_id())?;
        let records = journal.reader();
        let mut replica = Replica::new(Setup {
            epoch: epoch.clone(),
            identity: Some(Identity {
                index: me,
                key: copy(&keys.validator),
            }),
            workshop: workshop.clone(),
            tuning: overrides.tuning.unwrap_or_default(),
            part_bytes_max: PART_BYTES_MAX,
            rejoin: rejoin_nonce(config)?,
        });
        restore(&mut replica, &records)?;
        let open = open_machine(
            config.node.machine,
            &genesis,
            &disk,
            replica.recorded_height(),
        )?;
        replica.start(clock.now(), open.machine.position())?;
        let status = replica.status();
        if let Some(kind) = why_amnesia(&status) {
            error!(directory = %data.display(), "AMNESIA: {}", amnesia(kind, progress(&status)));
        }
        let replica: Box<dyn ReplicaLike> = match overrides.corrupt {
            None => Box::new(replica),
            Some(corrupt) => {
                warn!("an adversary runs in the place of this node's replica");
                corrupt(Honest {
                    replica,
                    epoch,
                    me,
                    key: copy(&keys.validator),
                })
            }
        };
        let running = Assembly {
            config,
            index_dir: data.join(INDEX),
            genesis,
            me,
            identity: keys.node,
            clock,
            workshop,
            replica,
            machine: open.machine,
            reader: open.reader,
            forge: overrides.forge,
            journal,
            records,
            listener,
        }
        .start()?;
        let gateway = http
            .map(|listener| start_gateway(&running, listener, gateway))
            .transpose()?;
        Ok(Node::new(running, gateway, Some(lock)))
    }
}

/// Names this life, should it have to ask the others what an earlier one did: never the same twice.
fn rejoin_nonce(config: &Config) -> Result<Option<RejoinNonce>, NodeError> {
    if !config.recovery.rejoin_after_lost_journal {
        return Ok(None);
    }
    let mut nonce = [0; 32];
    getrandom::fill(&mut nonce)
        .map_err(|error| NodeError::system(std::io::Error::other(error.to_string())))?;
    Ok(Some(RejoinNonce(nonce)))
}

/// A key that is held twice: by the replica, and by whoever takes its place.
fn copy(key: &ValidatorSecretKey) -> ValidatorSecretKey {
    ValidatorSecretKey::from_seed(*key.seed())
}

fn listen(
    address: SocketAddr,
    what: &'static str,
    key: &'static str,
) -> Result<TcpListener, NodeError> {
    TcpListener::bind(address).map_err(|source| NodeError::Port {
        address,
        what,
        key,
        source,
    })
}

fn gateway_config(config: &Config, connections_max: usize) -> Result<GatewayConfig, NodeError> {
    let http = &config.http;
    let barrier_key = match http.barrier_key.as_os_str().is_empty() {
        true => None,
        false => Some(keys::read_client_key(&http.barrier_key)?),
    };
    Ok(GatewayConfig {
        connections_max,
        requests_max: http.requests_max as usize,
        streams_max: config.limits.subscribers_max as usize,
        body_bytes_max: (http.body_mib_max as usize) << 20,
        barrier_key,
        ..GatewayConfig::default()
    })
}

fn start_gateway(
    running: &Running,
    listener: TcpListener,
    config: GatewayConfig,
) -> Result<Gateway, NodeError> {
    let source = Arc::new(running.handle.clone());
    let config = GatewayConfig {
        forge: running.handle.forge().cloned(),
        ..config
    };
    let _context = running.runtime.enter();
    listener
        .set_nonblocking(true)
        .and_then(|()| tokio::net::TcpListener::from_std(listener))
        .and_then(|listener| Gateway::start(listener, config, source))
        .map_err(NodeError::system)
}

fn open_workshop(
    epoch: &Arc<EpochData>,
    genesis: &Genesis,
    machine: MachineKind,
    keys: &NodeKeys,
) -> Result<Workshop, NodeError> {
    let rules: Arc<dyn Rules> = match machine {
        MachineKind::Database => Arc::new(DbRules::new(genesis.chain_id())),
        MachineKind::Null => Arc::new(NullRules),
    };
    let threshold = BlsThreshold::for_committee(&genesis.committee)?
        .map(|threshold| Arc::new(threshold) as Arc<dyn Threshold>);
    let signer = (keys.share.clone()).map(|share| share as Arc<dyn ShareSigner>);
    Ok(Workshop::new(epoch.clone(), rules, threshold, signer))
}

/// Gives a replica all that the journal holds.
fn restore(replica: &mut Replica, records: &JournalReader) -> Result<(), NodeError> {
    let (mut count, mut told) = (0u64, Instant::now());
    for record in records.all() {
        let record = record?;
        replica.restore(record.kind, record.bytes)?;
        count += 1;
        if told.elapsed() > PROGRESS {
            told = Instant::now();
            info!(
                records = count,
                position = record.position,
                "reading the journal"
            );
        }
    }
    info!(records = count, "the journal was read");
    Ok(())
}

/// Opens the machine, no further than the journal's last block: the power may have gone between the store's sync and the
/// journal's. What is taken back is executed again (replica.md §3).
fn open_machine(
    kind: MachineKind,
    genesis: &Genesis,
    disk: &Arc<dyn Disk>,
    height_max: Height,
) -> Result<OpenMachine, NodeError> {
    match kind {
        MachineKind::Database => {
            let mut machine = DbMachine::open(genesis, disk.clone(), STORE, Options::default())?;
            if machine.position().height > height_max {
                let store = machine.position().height;
                warn!(%store, journal = %height_max, "the store goes back to where the journal is");
                machine.roll_back(genesis, height_max)?;
            }
            Ok(OpenMachine {
                reader: Some(machine.reader()),
                machine: Box::new(machine),
            })
        }
        MachineKind::Null => {
            let open = || NullMachine::open(genesis, disk.clone(), STORE);
            let mut machine = open()?;
            if machine.position().height > height_max {
                // It holds a position and nothing else: without it, everything is executed again.
                drop(machine);
                remove_all(&**disk, STORE)?;
                machine = open()?;
            }
            Ok(OpenMachine {
                machine: Box::new(machine),
                reader: None,
            })
        }
    }
}

fn remove_all(disk: &dyn Disk, dir: &str) -> Result<(), DiskError> {
    for name in disk.list(dir)? {
        disk.remove(&format!("{dir}/{name}"))?;
    }
    disk.sync_dir(dir)
}

#[cfg(test)]
mod tests;
