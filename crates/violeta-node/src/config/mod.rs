//! `violeta.toml`: what one validator's process is told.
//!
//! ```text
//!  violeta.toml ─┬─ [node]    where data, keys and genesis lie; where to listen for validators
//!                ├─ [peers]   where the others listen, by index in the committee
//!                ├─ [http]    the gateway
//!                ├─ [recovery] what to do after a loss
//!                ├─ [limits]  bounds of this process
//!                └─ [tuning]  what makes it faster or smaller, never right or wrong
//! ```
//!
//! A key that isn't known is refused, with the nearest one that is; a value out of its range is refused with the range;
//! both with file and line. Relative paths are relative to the file. [`Config::to_annotated_toml`] writes a file
//! in which every key is explained; [`keys::KEYS`] is the one list that it, the checks and the suggestions use.

pub mod keys;
pub mod suggest;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use toml::de::{DeTable, DeValue};
use violeta_types::ValidatorIndex;

use crate::files::{self, FileError};
use keys::{Allowed, KEYS, Key};

/// Why a configuration can't be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file can't be read.
    #[error(transparent)]
    File(#[from] FileError),
    /// Something in it is wrong.
    #[error("{}:{line}: {problem}", path.display())]
    Wrong {
        /// Which file.
        path: PathBuf,
        /// Which line, from 1.
        line: usize,
        /// What is wrong, and what would be right.
        problem: String,
    },
}

/// What one validator's process is told.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where things are.
    #[serde(default)]
    pub node: NodeSection,
    /// Where each validator listens for the others: `v0 = "host:port"`.
    #[serde(default)]
    pub peers: BTreeMap<String, String>,
    /// The HTTP gateway.
    #[serde(default)]
    pub http: HttpSection,
    /// What to do after a loss.
    #[serde(default)]
    pub recovery: RecoverySection,
    /// Bounds of this process.
    #[serde(default)]
    pub limits: LimitsSection,
    /// What makes it faster or smaller.
    #[serde(default)]
    pub tuning: TuningSection,
}

/// Which machine executes the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MachineKind {
    /// The Database machine.
    #[default]
    Database,
    /// Orders opaque payloads and does nothing with them: for measuring.
    Null,
}

/// Where things are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NodeSection {
    /// Journal, store and index.
    pub data_dir: PathBuf,
    /// This validator's secret keys.
    pub keys_dir: PathBuf,
    /// The genesis file.
    pub genesis: PathBuf,
    /// Where other validators connect.
    pub listen: SocketAddr,
    /// Which machine executes the log.
    pub machine: MachineKind,
}

impl Default for NodeSection {
    fn default() -> Self {
        NodeSection {
            data_dir: "data".into(),
            keys_dir: "keys".into(),
            genesis: "genesis.json".into(),
            listen: SocketAddr::from(([127, 0, 0, 1], 26600)),
            machine: MachineKind::Database,
        }
    }
}

/// The HTTP gateway.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HttpSection {
    /// Whether there is one.
    pub enabled: bool,
    /// Where it listens.
    pub listen: SocketAddr,
    /// MiB of a request's body.
    pub body_mib_max: u64,
    /// Requests served at once.
    pub requests_max: u64,
    /// Key file of a registered client, to order barriers with; empty: none.
    pub barrier_key: PathBuf,
}

impl Default for HttpSection {
    fn default() -> Self {
        HttpSection {
            enabled: true,
            listen: SocketAddr::from(([127, 0, 0, 1], 26700)),
            body_mib_max: 8,
            requests_max: 1_024,
            barrier_key: PathBuf::new(),
        }
    }
}

/// What to do after a loss.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RecoverySection {
    /// Whether a validator that lost its journal asks the others how far it had got, and goes on.
    pub rejoin_after_lost_journal: bool,
}

/// Bounds of this process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LimitsSection {
    /// MiB that wait to be sent to one validator.
    pub send_queue_mib: u64,
    /// MiB received from one validator that wait to be handled.
    pub receive_queue_mib: u64,
    /// MiB of submissions that wait for the replica's verdict.
    pub submissions_mib: u64,
    /// Transactions whose way is followed in memory.
    pub tracked_transactions_max: u64,
    /// MiB of the newest blocks that are kept in memory.
    pub recent_blocks_mib: u64,
    /// Event streams open at once.
    pub subscribers_max: u64,
}

impl Default for LimitsSection {
    fn default() -> Self {
        LimitsSection {
            send_queue_mib: 32,
            receive_queue_mib: 16,
            submissions_mib: 64,
            tracked_transactions_max: 262_144,
            recent_blocks_mib: 16,
            subscribers_max: 1_024,
        }
    }
}

/// What makes it faster or smaller.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TuningSection {
    /// Threads for sockets and HTTP.
    pub runtime_threads: u64,
    /// Threads that check signatures.
    pub worker_threads: u64,
    /// How long news may wait before they are written to the index.
    pub index_interval_ms: u64,
    /// Whether the index can find a transaction by its id.
    pub index_transactions: bool,
}

impl Default for TuningSection {
    fn default() -> Self {
        TuningSection {
            runtime_threads: 2,
            worker_threads: 0,
            index_interval_ms: 500,
            index_transactions: true,
        }
    }
}

impl TuningSection {
    /// Threads that check signatures: as many as there are cores, if not told otherwise.
    pub fn workers(&self) -> usize {
        match self.worker_threads {
            0 => std::thread::available_parallelism().map_or(2, |n| n.get().min(16)),
            n => n as usize,
        }
    }
}

impl Config {
    /// Reads a file; relative paths in it become relative to where it lies.
    ///
    /// # Errors
    /// If it can't be read, or something in it is wrong.
    pub fn load(path: &Path) -> Result<Config, ConfigError> {
        let advice = "`violeta testnet init` makes a network of four, with one for each";
        let text = files::read_text(path, advice)?;
        let mut config = Config::parse(&text, path)?;
        let base = path.parent().unwrap_or(Path::new(""));
        for part in [
            &mut config.node.data_dir,
            &mut config.node.keys_dir,
            &mut config.node.genesis,
        ] {
            *part = base.join(&*part);
        }
        if !config.http.barrier_key.as_os_str().is_empty() {
            config.http.barrier_key = base.join(&config.http.barrier_key);
        }
        Ok(config)
    }

    /// Reads the text of a file; `path` is for messages.
    ///
    /// # Errors
    /// If something in it is wrong.
    pub fn parse(text: &str, path: &Path) -> Result<Config, ConfigError> {
        let at = |offset: usize, problem: String| ConfigError::Wrong {
            path: path.to_owned(),
            line: line_of(text, offset),
            problem,
        };
        let syntax = |e: toml::de::Error| {
            let offset = e.span().map_or(0, |span| span.start);
            at(offset, e.message().to_owned())
        };
        let table = DeTable::parse(text).map_err(syntax)?;
        check_table(table.get_ref()).map_err(|Problem { offset, what }| at(offset, what))?;
        toml::from_str(text).map_err(|e: toml::de::Error| {
            let offset = e.span().map_or(0, |span| span.start);
            let what = match key_at(table.get_ref(), offset) {
                Some(key) => format!("{key}: {}; {}", e.message(), key.allowed),
                None => e.message().to_owned(),
            };
            at(offset, what)
        })
    }

    /// Where a validator listens for the others, as this file says.
    pub fn peer_address(&self, validator: ValidatorIndex) -> Option<&str> {
        let address = self.peers.get(&peer_name(validator))?;
        Some(address.as_str())
    }

    /// The text of a file that says this, every key explained.
    pub fn to_annotated_toml(&self) -> String {
        let value = toml::Table::try_from(self).unwrap_or_default();
        let mut out = String::from("# Violeta: one validator. Paths are relative to this file.\n");
        let mut section = "";
        for key in KEYS {
            if key.section != section {
                section = key.section;
                out.push_str(&format!("\n[{section}]\n"));
            }
            out.push_str(&format!("# {} {}\n", key.help, sentence(&key.allowed)));
            let Some(set) = value.get(section).and_then(|s| s.get(key.name)) else {
                continue;
            };
            out.push_str(&format!("{} = {set}\n", key.name));
        }
        out.push_str("\n# Where each validator listens for the others, by its index in the committee: v0, v1, …\n[peers]\n");
        for (name, address) in &self.peers {
            out.push_str(&format!("{name} = {}\n", toml::Value::from(&address[..])));
        }
        out
    }
}

/// A validator's name in `[peers]`: `v` and its index in the committee.
pub fn peer_name(validator: ValidatorIndex) -> String {
    format!("v{validator}")
}

fn sentence(allowed: &Allowed) -> String {
    let text = allowed.to_string();
    let mut letters = text.chars();
    match letters.next() {
        Some(first) => format!("{}{}.", first.to_uppercase(), letters.as_str()),
        None => String::new(),
    }
}

fn line_of(text: &str, offset: usize) -> usize {
    let before = text.as_bytes().iter().take(offset);
    1 + before.filter(|&&byte| byte == b'\n').count()
}

struct Problem {
    offset: usize,
    what: String,
}

fn check_table(table: &DeTable<'_>) -> Result<(), Problem> {
    for (name, value) in table.iter() {
        let offset = name.span().start;
        let name: &str = name.get_ref();
        let sections = keys::sections();
        let Some(section) = sections.iter().copied().find(|s| *s == name) else {
            let what = unknown("section", &format!("[{name}]"), name, sections);
            return Err(Problem { offset, what });
        };
        let Some(entries) = value.get_ref().as_table() else {
            let what = format!("{name} must be a section: [{name}]");
            return Err(Problem { offset, what });
        };
        for (key, value) in entries.iter() {
            let offset = key.span().start;
            check_entry(section, key.get_ref(), value.get_ref())
                .map_err(|what| Problem { offset, what })?;
        }
    }
    Ok(())
}

fn check_entry(section: &str, name: &str, value: &DeValue<'_>) -> Result<(), String> {
    if section == keys::PEERS {
        return check_peer(name, value);
    }
    let Some(key) = keys::find(section, name) else {
        let names = KEYS
            .iter()
            .filter(|k| k.section == section)
            .map(|k| k.name)
            .collect();
        return Err(unknown("key", &format!("{section}.{name}"), name, names));
    };
    if let (Allowed::Range(min, max), Some(number)) = (&key.allowed, value.as_integer()) {
        let text = number.as_str();
        let fits = text
            .parse::<u64>()
            .is_ok_and(|n| (*min..=*max).contains(&n));
        if !fits {
            return Err(format!("{key} is {text}; {}", key.allowed));
        }
    }
    Ok(())
}

fn check_peer(name: &str, value: &DeValue<'_>) -> Result<(), String> {
    let index = name.strip_prefix('v').and_then(|n| n.parse::<u16>().ok());
    // "v01" would be a second name for v1.
    if index.is_none_or(|i| peer_name(ValidatorIndex(i)) != name) {
        return Err(format!(
            "peers.{name}: a validator's name is v and its index in the committee: v0, v1, …"
        ));
    }
    let address = value.as_str().unwrap_or_default();
    let port = address
        .rsplit_once(':')
        .filter(|(host, _)| !host.is_empty());
    if port.is_none_or(|(_, port)| port.parse::<u16>().is_err()) {
        return Err(format!(
            "peers.{name} must be \"host:port\", such as \"192.0.2.7:26600\""
        ));
    }
    Ok(())
}

fn unknown(kind: &str, full: &str, name: &str, known: Vec<&str>) -> String {
    match suggest::nearest(name, known.iter().copied()) {
        Some(nearest) => format!("unknown {kind} {full}; did you mean {nearest}?"),
        None => format!("unknown {kind} {full}; known are: {}", known.join(", ")),
    }
}

/// The key whose value stands at `offset`.
fn key_at(table: &DeTable<'_>, offset: usize) -> Option<&'static Key> {
    table.iter().find_map(|(section, entries)| {
        let entries = entries.get_ref().as_table()?;
        let (name, _) = entries
            .iter()
            .find(|(_, value)| value.span().contains(&offset))?;
        keys::find(section.get_ref(), name.get_ref())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn error(text: &str) -> String {
        Config::parse(text, Path::new("violeta.toml"))
            .unwrap_err()
            .to_string()
    }

    #[test]
    fn the_defaults_listen_on_loopback_only() {
        let config = Config::default();
        assert!(config.node.listen.ip().is_loopback());
        assert!(config.http.listen.ip().is_loopback());
    }

    #[test]
    fn what_the_writer_writes_is_read_back_the_same() {
        let mut config = Config::default();
        config.peers.insert("v0".into(), "127.0.0.1:1".into());
        config.peers.insert("v1".into(), "peer.example:2".into());
        config.node.data_dir = "with \"quotes\"".into();
        config.tuning.index_transactions = false;
        let text = config.to_annotated_toml();
        assert_eq!(Config::parse(&text, Path::new("t")).unwrap(), config);
    }

    #[test]
    fn the_list_of_keys_is_the_keys_that_there_are() {
        let table = toml::Table::try_from(Config::default()).unwrap();
        let mut there = Vec::new();
        for (section, entries) in table.iter().filter(|(name, _)| *name != keys::PEERS) {
            let entries = entries.as_table().unwrap();
            there.extend(entries.keys().map(|key| (section.clone(), key.clone())));
        }
        let mut listed: Vec<_> = KEYS
            .iter()
            .map(|k| (k.section.to_owned(), k.name.to_owned()))
            .collect();
        there.sort();
        listed.sort();
        assert_eq!(there, listed);
    }

    #[test]
    fn every_default_lies_in_its_range() {
        let text = Config::default().to_annotated_toml();
        assert!(Config::parse(&text, Path::new("t")).is_ok());
    }

    #[test]
    fn an_unknown_key_is_refused_with_line_and_the_nearest_key() {
        assert_eq!(
            error("[node]\n\nlisen = \"127.0.0.1:1\"\n"),
            "violeta.toml:3: unknown key node.lisen; did you mean listen?"
        );
        assert_eq!(
            error("[nod]\n"),
            "violeta.toml:1: unknown section [nod]; did you mean node?"
        );
        let far = error("[node]\ncolour = 1\n");
        assert!(far.contains("known are: data_dir"), "{far}");
    }

    #[test]
    fn a_value_out_of_its_range_is_refused_with_the_range() {
        assert_eq!(
            error("[node]\n[limits]\nsend_queue_mib = 0\n"),
            "violeta.toml:3: limits.send_queue_mib is 0; a number from 16 to 4096"
        );
        let negative = error("[node]\n[limits]\nsend_queue_mib = -1\n");
        assert!(negative.contains("is -1; a number from"), "{negative}");
    }

    #[test]
    fn a_value_of_the_wrong_type_is_refused_with_key_and_line() {
        let text = error("[node]\nlisten = \"everywhere\"\n");
        assert!(text.starts_with("violeta.toml:2: node.listen: "), "{text}");
        let text = error("[node]\n[http]\nenabled = \"yes\"\n");
        assert!(text.starts_with("violeta.toml:3: http.enabled: "), "{text}");
        assert!(error("node = 1\n").contains("must be a section"));
        assert!(error("[node\n").starts_with("violeta.toml:1: "));
    }

    #[test]
    fn a_peer_needs_a_validators_name_and_a_port() {
        let of = |entry: &str| error(&format!("[node]\n[peers]\n{entry}\n"));
        assert!(of("alice = \"127.0.0.1:1\"").contains("v0, v1"));
        assert!(of("v01 = \"127.0.0.1:1\"").contains("v0, v1"));
        assert!(of("v1 = \"127.0.0.1\"").contains("host:port"));
        assert!(of("v1 = \":26600\"").contains("host:port"));
        assert!(of("v1 = \"host:99999\"").contains("host:port"));
        assert!(of("v1 = 26600").contains("host:port"));
    }

    #[test]
    fn paths_are_relative_to_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("violeta.toml");
        std::fs::write(
            &path,
            "[node]\ngenesis = \"../g.json\"\nkeys_dir = \"/k\"\n",
        )
        .unwrap();
        let config = Config::load(&path).unwrap();
        assert_eq!(config.node.data_dir, dir.path().join("data"));
        assert_eq!(config.node.genesis, dir.path().join("../g.json"));
        assert_eq!(config.node.keys_dir, Path::new("/k"));
    }

    proptest! {
        #[test]
        fn no_text_makes_the_reader_panic(text in "\\PC{0,60}(\\[node\\]|\\[peers\\])?\\PC{0,40}") {
            let _ = Config::parse(&text, Path::new("t"));
        }
    }
}
