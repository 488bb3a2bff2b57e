//! A network in a directory: what lies where.
//!
//! ```text
//!  net/genesis.json              what the chain begins with
//!  net/trust.json                what a client needs to verify: hand it to whoever checks proofs
//!  net/administrator.key         a client key that exists from the beginning
//!  net/v0/violeta.toml           one validator: its configuration,
//!        keys/ data/             its secrets, its journal and store,
//!        log pid                 what it said, and which process it is (while one runs)
//! ```

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use violeta_node::config::Config;
use violeta_node::files::{self, PUBLIC_MODE};
use violeta_node::genesis;
use violeta_node::testnet::{
    ADMINISTRATOR_FILE, CONFIG_FILE, GENESIS_FILE, Options, TestnetError, generate,
};
use violeta_proof::Trust;
use violeta_types::limits::VALIDATORS_MAX;
use violeta_types::{Genesis, ValidatorIndex};

use super::process::{Identity, Launch};
use crate::context::Endpoint;
use crate::error::{CliError, CliResult};

/// Name of the trust file.
pub(crate) const TRUST_FILE: &str = "trust.json";
const LOG_FILE: &str = "log";
const PID_FILE: &str = "pid";

/// A validator whose configuration can't be read, and why.
pub(crate) type Unreadable = (ValidatorIndex, CliError);

/// A network in a directory.
#[derive(Clone, Debug)]
pub(crate) struct Network {
    /// Where it lies.
    pub(crate) dir: PathBuf,
    /// What its chain begins with.
    pub(crate) genesis: Genesis,
    /// Its validators, by index.
    pub(crate) validators: Vec<Validator>,
}

/// One validator of a network.
#[derive(Clone, Debug)]
pub(crate) struct Validator {
    /// Its index in the committee.
    pub(crate) index: ValidatorIndex,
    /// Its directory.
    pub(crate) dir: PathBuf,
    /// Where it listens for clients; or why its configuration doesn't say.
    http: Result<SocketAddr, CliError>,
}

impl Network {
    /// Makes a new network of `n` validators.
    ///
    /// # Errors
    /// If there is one already, or it can't be made.
    pub(crate) fn create(dir: &Path, n: usize, options: &Options) -> CliResult<Network> {
        let made = generate(dir, n, options).map_err(|error| match error {
            TestnetError::Count(_) | TestnetError::Ports { .. } => CliError::usage(error),
            TestnetError::Exists(path) => exists(dir, &path),
            _ => CliError::failed(error),
        })?;
        let trust = Trust::in_genesis(&made.genesis).to_json();
        files::write_atomic(&dir.join(TRUST_FILE), trust.as_bytes(), PUBLIC_MODE)?;
        Network::open(dir)
    }

    /// Opens a network that was made before. A validator whose configuration can't be read is one of it still: it can
    /// be stopped, and the others are there.
    ///
    /// # Errors
    /// If there is none in `dir`, or its genesis is damaged.
    pub(crate) fn open(dir: &Path) -> CliResult<Network> {
        if !Network::is_at(dir) {
            let message = format!("there is no network in {}", dir.display());
            return Err(CliError::failed(message)
                .help(format!("make one: violeta testnet init {}", dir.display())));
        }
        // Absolute, because validators are started with these paths, wherever they run.
        let dir = dir.canonicalize()?;
        let genesis = genesis::load(&dir.join(GENESIS_FILE)).map_err(CliError::failed)?;
        let indices = (0..genesis.committee.len().min(VALIDATORS_MAX) as u16).map(ValidatorIndex);
        let validators = indices.map(|index| Validator::open(&dir, index)).collect();
        Ok(Network {
            dir,
            genesis,
            validators,
        })
    }

    /// Whether there is a network in `dir`.
    pub(crate) fn is_at(dir: &Path) -> bool {
        dir.join(GENESIS_FILE).is_file() && dir.join("v0").join(CONFIG_FILE).is_file()
    }

    /// The network around the current directory: in it, or in one above.
    pub(crate) fn around_here() -> Option<PathBuf> {
        let here = std::env::current_dir().ok()?;
        here.ancestors()
            .find(|dir| Network::is_at(dir))
            .map(Path::to_owned)
    }

    /// Whom clients can ask; and of whom it can't be read where they listen, and why.
    pub(crate) fn endpoints(&self) -> (Vec<Endpoint>, Vec<Unreadable>) {
        let (mut endpoints, mut unreadable) = (Vec::new(), Vec::new());
        for validator in &self.validators {
            match validator.url() {
                Ok(url) => endpoints.push((Some(validator.index), url)),
                Err(error) => unreadable.push((validator.index, error)),
            }
        }
        (endpoints, unreadable)
    }

    /// Where clients reach its validators, by index.
    ///
    /// # Errors
    /// If the configuration of one can't be read.
    pub(crate) fn urls(&self) -> CliResult<Vec<String>> {
        self.validators.iter().map(Validator::url).collect()
    }

    /// What its clients trust.
    pub(crate) fn trust(&self) -> Trust {
        Trust::in_genesis(&self.genesis)
    }

    /// The key file of its administrator.
    pub(crate) fn administrator(&self) -> PathBuf {
        self.dir.join(ADMINISTRATOR_FILE)
    }

    /// The validator of an index.
    ///
    /// # Errors
    /// If there is none.
    pub(crate) fn validator(&self, index: u16) -> CliResult<&Validator> {
        self.validators.get(usize::from(index)).ok_or_else(|| {
            let last = self.validators.len().saturating_sub(1);
            CliError::usage(format!("there is no v{index}"))
                .help(format!("this network has v0 to v{last}"))
        })
    }
}

/// What is there is never made anew.
fn exists(dir: &Path, file: &Path) -> CliError {
    let name = dir.display();
    if !Network::is_at(dir) {
        return CliError::failed(format!("{} exists already", file.display()))
            .help("choose another directory: one that doesn't exist is made");
    }
    CliError::failed(format!("there is a network in {name} already")).help(format!(
        "start it: violeta testnet up {name}; or choose another directory. To remove {name} is to lose all that the \
         network holds, and its keys, for good"
    ))
}

impl Validator {
    fn open(network: &Path, index: ValidatorIndex) -> Validator {
        let dir = network.join(violeta_node::config::peer_name(index));
        let http = match Config::load(&dir.join(CONFIG_FILE)) {
            Ok(config) => Ok(config.http.listen),
            Err(error) => Err(error.into()),
        };
        Validator { index, dir, http }
    }

    /// Where clients reach it.
    ///
    /// # Errors
    /// If its configuration can't be read.
    pub(crate) fn url(&self) -> CliResult<String> {
        self.http.clone().map(|http| format!("http://{http}"))
    }

    /// Its configuration file.
    pub(crate) fn config(&self) -> PathBuf {
        self.dir.join(CONFIG_FILE)
    }

    /// What it says goes here.
    pub(crate) fn log(&self) -> PathBuf {
        self.dir.join(LOG_FILE)
    }

    /// Its journal, store and index.
    pub(crate) fn data(&self) -> PathBuf {
        self.dir.join("data")
    }

    /// How it is started.
    pub(crate) fn launch(&self) -> Launch {
        Launch::new(self.config(), self.log())
    }

    /// The process that runs it, if one does.
    pub(crate) fn process(&self) -> Option<Identity> {
        let text = std::fs::read_to_string(self.dir.join(PID_FILE)).ok()?;
        text.parse::<Identity>().ok().filter(Identity::is_alive)
    }

    /// Notes which process runs it.
    ///
    /// # Errors
    /// If the file can't be written.
    pub(crate) fn note_process(&self, process: Identity) -> CliResult {
        let text = format!("{process}\n");
        Ok(files::write_atomic(
            &self.dir.join(PID_FILE),
            text.as_bytes(),
            PUBLIC_MODE,
        )?)
    }

    /// Forgets which process ran it.
    ///
    /// # Errors
    /// If the note can't be removed.
    pub(crate) fn forget_process(&self) -> CliResult {
        match std::fs::remove_file(self.dir.join(PID_FILE)) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(e.into()),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_that_is_there_isnt_to_be_removed_lightly() {
        let dir = tempfile::tempdir().unwrap();
        let net = dir.path().join("net");
        Network::create(&net, 4, &Options::default()).unwrap();
        let error = Network::create(&net, 4, &Options::default()).unwrap_err();
        assert!(error.message.contains("a network in"), "{error}");
        let help = error.help.unwrap();
        assert!(
            help.contains("testnet up") && help.contains("lose all"),
            "{help}"
        );

        let begun = dir.path().join("begun");
        std::fs::create_dir(&begun).unwrap();
        std::fs::write(begun.join(ADMINISTRATOR_FILE), "").unwrap();
        let error = Network::create(&begun, 4, &Options::default()).unwrap_err();
        assert!(error.message.ends_with(".key exists already"), "{error}");
    }
}
