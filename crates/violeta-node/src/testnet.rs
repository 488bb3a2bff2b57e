//! All that a new network needs, for `n` validators on one machine.
//!
//! ```text
//!  <dir>/genesis.json
//!  <dir>/administrator.key            client key of the administrator (closed chains; open ones have one too)
//!  <dir>/v0/violeta.toml              one for each validator, with its ports and everybody's addresses
//!  <dir>/v0/keys/{validator,share,operator,node}.key
//!  <dir>/v0/data/                     its journal, which says that nothing was signed yet
//! ```
//!
//! The secret of coin and seal is dealt here, by whoever runs this: fit for trying things out. A deployment among parties
//! that don't trust one another generates it together (consensus.md §12).

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use violeta_crypto::signing::{ClientSecretKey, OperatorSecretKey, ValidatorSecretKey};
use violeta_crypto::threshold::{ThresholdError, deal};
use violeta_replica::Provision;
use violeta_types::genesis::GenesisError;
use violeta_types::limits::VALIDATORS_MAX;
use violeta_types::{
    Admission, Committee, CommitteeError, Epoch, Genesis, Member, Parameters, Stake, TimeMs,
    ValidatorIndex,
};
use zeroize::Zeroizing;

use crate::config::{Config, MachineKind, peer_name};
use crate::files::{self, FileError, PUBLIC_MODE};
use crate::genesis::{self, GenesisFileError};
use crate::keys::{NodeKeys, write_client_key};
use crate::provision::{ProvisionError, make_directory};
use crate::transport::tls::{NodeIdentity, TlsError};

/// Name of a validator's configuration file.
pub const CONFIG_FILE: &str = "violeta.toml";
/// Name of the genesis file.
pub const GENESIS_FILE: &str = "genesis.json";
/// Name of a validator's data directory.
pub const DATA_DIR: &str = "data";
/// Name of the administrator's key file.
pub const ADMINISTRATOR_FILE: &str = "administrator.key";

/// What may be chosen.
#[derive(Clone, Debug)]
pub struct Options {
    /// The chain's name.
    pub name: String,
    /// Who may become a client.
    pub admission: Admission,
    /// Which machine executes the log.
    pub machine: MachineKind,
    /// Validator `i` listens for others on this port + `i`, and for clients on this + 100 + `i`. None: on ports that are
    /// free now.
    pub base_port: Option<u16>,
    /// The consensus's parameters; by default those for this many validators.
    pub parameters: Option<Parameters>,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            name: "testnet".into(),
            admission: Admission::Open,
            machine: MachineKind::Database,
            base_port: None,
            parameters: None,
        }
    }
}

/// One validator of a new network.
#[derive(Clone, Debug)]
pub struct TestnetValidator {
    /// Its directory.
    pub directory: PathBuf,
    /// Its configuration file.
    pub config: PathBuf,
    /// Where it listens for other validators.
    pub peer_address: SocketAddr,
    /// Where it listens for clients.
    pub http_address: SocketAddr,
}

/// A new network.
pub struct Testnet {
    /// What the chain begins with.
    pub genesis: Genesis,
    /// Its validators, by index.
    pub validators: Vec<TestnetValidator>,
    /// The administrator's key.
    pub administrator: ClientSecretKey,
}

/// Why a network can't be made.
#[derive(Debug, thiserror::Error)]
pub enum TestnetError {
    /// There can't be a network of so many.
    #[error("a network of {0} validators: there must be from 1 to {VALIDATORS_MAX}")]
    Count(usize),
    /// There is one already.
    #[error("{} exists already: choose another directory, or remove this one", .0.display())]
    Exists(PathBuf),
    /// No free ports.
    #[error("no ports for {count} validators from {base} on: choose a base port below {}", 65_535 - 100 - count)]
    Ports {
        /// How many validators.
        count: usize,
        /// The base port.
        base: u16,
    },
    /// No port could be had.
    #[error("can't find a free port: {0}")]
    NoPort(std::io::Error),
    /// The operating system gives no randomness.
    #[error("the operating system gives no randomness: {0}")]
    Randomness(getrandom::Error),
    /// The secret couldn't be dealt.
    #[error(transparent)]
    Deal(#[from] ThresholdError),
    /// No such committee.
    #[error(transparent)]
    Committee(#[from] CommitteeError),
    /// No such chain.
    #[error(transparent)]
    Genesis(#[from] GenesisError),
    /// A file couldn't be written.
    #[error(transparent)]
    File(#[from] FileError),
    /// The genesis file couldn't be written.
    #[error(transparent)]
    GenesisFile(#[from] GenesisFileError),
    /// No TLS key.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// A validator couldn't be set up.
    #[error(transparent)]
    Provision(#[from] ProvisionError),
}

struct Secrets {
    keys: NodeKeys,
    operator: OperatorSecretKey,
}

/// Makes a network of `n` validators in `dir`.
///
/// # Errors
/// If there is one already, or it can't be made.
pub fn generate(dir: &Path, n: usize, options: &Options) -> Result<Testnet, TestnetError> {
    if n == 0 || n > VALIDATORS_MAX {
        return Err(TestnetError::Count(n));
    }
    let genesis_path = dir.join(GENESIS_FILE);
    if genesis_path.exists() {
        return Err(TestnetError::Exists(genesis_path));
    }
    // A key is never overwritten, not even one that an interrupted beginning left.
    let administrator_path = dir.join(ADMINISTRATOR_FILE);
    if administrator_path.exists() {
        return Err(TestnetError::Exists(administrator_path));
    }
    let addresses = addresses(n, options.base_port)?;
    let (committee, secrets) = draw_committee(n)?;
    let administrator = ClientSecretKey::from_seed(*random()?);
    let genesis = Genesis {
        name: options.name.clone(),
        time: now(),
        committee,
        parameters: options
            .parameters
            .unwrap_or_else(|| Parameters::for_validators(n)),
        admission: options.admission,
        administrators: vec![administrator.public_key()]
            .try_into()
            .unwrap_or_default(),
    };
    genesis.check()?;

    files::create_directory(dir, 0o755)?;
    let mut validators = Vec::with_capacity(n);
    for (i, secret) in secrets.iter().enumerate() {
        let validator = write_validator(dir, i, &addresses, secret, options)?;
        let provision = Provision {
            chain: genesis.chain_id(),
            validator: secret.keys.validator.public_key(),
        };
        make_directory(
            validator.directory.join(DATA_DIR),
            options.machine,
            provision,
        )?;
        validators.push(validator);
    }
    write_client_key(&administrator_path, &administrator)?;
    // Last: a directory with a genesis is a whole network.
    genesis::save(&genesis_path, &genesis)?;
    Ok(Testnet {
        genesis,
        validators,
        administrator,
    })
}

fn draw_committee(n: usize) -> Result<(Committee, Vec<Secrets>), TestnetError> {
    let threshold = n - (n - 1) / 3;
    let dealing = deal(n, threshold, *random()?)?;
    let mut members = Vec::with_capacity(n);
    let mut secrets = Vec::with_capacity(n);
    for (share, share_key) in dealing.secret_shares.into_iter().zip(&dealing.share_keys) {
        let keys = NodeKeys {
            validator: ValidatorSecretKey::from_seed(*random()?),
            share: Some(Arc::new(share)),
            node: NodeIdentity::generate()?,
        };
        let operator = OperatorSecretKey::from_seed(*random()?);
        members.push(Member {
            stake: Stake(1),
            validator_key: keys.validator.public_key(),
            share_key: Some(*share_key),
            node_key: keys.node.public_key(),
            operator_key: operator.public_key(),
        });
        secrets.push(Secrets { keys, operator });
    }
    let committee = Committee::new(Epoch(0), members, Some(dealing.group_key))?;
    assert_eq!(committee.share_threshold(), threshold, "consensus.md §12");
    Ok((committee, secrets))
}

type Addresses = Vec<(SocketAddr, SocketAddr)>;

fn addresses(n: usize, base: Option<u16>) -> Result<Addresses, TestnetError> {
    let on = |port: u16| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    if let Some(base) = base {
        // Beyond a hundred validators the two ranges would overlap.
        let gap = n.max(100);
        let fits = usize::from(base) + gap + n <= usize::from(u16::MAX);
        if base == 0 || !fits {
            return Err(TestnetError::Ports { count: n, base });
        }
        let pair = |i: usize| (on(base + i as u16), on(base + (gap + i) as u16));
        return Ok((0..n).map(pair).collect());
    }
    // All are held until all are found, so that none is found twice.
    let listeners = (0..2 * n)
        .map(|_| TcpListener::bind(on(0)))
        .collect::<Result<Vec<_>, _>>()
        .map_err(TestnetError::NoPort)?;
    let found = listeners
        .iter()
        .map(TcpListener::local_addr)
        .collect::<Result<Vec<_>, _>>()
        .map_err(TestnetError::NoPort)?;
    Ok(found
        .chunks_exact(2)
        .map(|pair| (pair[0], pair[1]))
        .collect())
}

fn write_validator(
    dir: &Path,
    i: usize,
    addresses: &Addresses,
    secrets: &Secrets,
    options: &Options,
) -> Result<TestnetValidator, TestnetError> {
    let directory = dir.join(peer_name(ValidatorIndex(i as u16)));
    secrets
        .keys
        .save(&directory.join("keys"), &secrets.operator)?;
    let (peer_address, http_address) = addresses[i];
    let mut config = Config::default();
    config.node.genesis = Path::new("..").join(GENESIS_FILE);
    config.node.listen = peer_address;
    config.node.machine = options.machine;
    config.node.data_dir = DATA_DIR.into();
    config.http.listen = http_address;
    let peers = addresses
        .iter()
        .zip(0..)
        .filter(|(_, j)| usize::from(*j) != i);
    config.peers = peers
        .map(|((peer, _), j)| (peer_name(ValidatorIndex(j)), peer.to_string()))
        .collect();
    let path = directory.join(CONFIG_FILE);
    files::write_atomic(&path, config.to_annotated_toml().as_bytes(), PUBLIC_MODE)?;
    Ok(TestnetValidator {
        directory,
        config: path,
        peer_address,
        http_address,
    })
}

fn random() -> Result<Zeroizing<[u8; 32]>, TestnetError> {
    let mut bytes = Zeroizing::new([0; 32]);
    getrandom::fill(&mut *bytes).map_err(TestnetError::Randomness)?;
    Ok(bytes)
}

fn now() -> TimeMs {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    TimeMs(since.map_or(0, |t| t.as_millis() as u64))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_file_of_a_new_network_can_be_read() {
        let dir = tempfile::tempdir().unwrap();
        let net = generate(dir.path(), 4, &Options::default()).unwrap();
        let genesis = genesis::load(&dir.path().join(GENESIS_FILE)).unwrap();
        assert_eq!(genesis, net.genesis);
        let mut ports = BTreeSet::new();
        for (i, validator) in net.validators.iter().enumerate() {
            let config = Config::load(&validator.config).unwrap();
            assert_eq!(config.peers.len(), 3);
            assert_eq!(config.node.listen, validator.peer_address);
            assert!(ports.insert(config.node.listen.port()));
            assert!(ports.insert(config.http.listen.port()));
            let (_, index) = NodeKeys::load(&config.node.keys_dir, &genesis.committee).unwrap();
            assert_eq!(index, ValidatorIndex(i as u16));
            assert!(config.node.genesis.exists());
        }
    }

    #[test]
    fn a_network_is_never_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        generate(dir.path(), 1, &Options::default()).unwrap();
        let again = generate(dir.path(), 1, &Options::default());
        assert!(matches!(again, Err(TestnetError::Exists(_))));
    }

    #[test]
    fn impossible_networks_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let none = generate(dir.path(), 0, &Options::default());
        assert!(matches!(none, Err(TestnetError::Count(0))));
        let many = generate(dir.path(), VALIDATORS_MAX + 1, &Options::default());
        assert!(matches!(many, Err(TestnetError::Count(_))));
        let high = Options {
            base_port: Some(65_500),
            ..Options::default()
        };
        let ports = generate(dir.path(), 4, &high);
        assert!(matches!(ports, Err(TestnetError::Ports { .. })));
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn ports_follow_the_base() {
        let found = addresses(3, Some(20_000)).unwrap();
        let ports: Vec<_> = found.iter().map(|(a, b)| (a.port(), b.port())).collect();
        assert_eq!(
            ports,
            [(20_000, 20_100), (20_001, 20_101), (20_002, 20_102)]
        );
    }
}
