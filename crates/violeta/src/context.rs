//! Whom a client command talks to, what it trusts, and which key it signs with.
//!
//! ```text
//!  flags ─▶ environment ─▶ violeta-client.toml (here or above) ─▶ a testnet directory (here or above)
//! ```
//!
//! The first that says something of endpoints, trust or key decides that part. A network's directory says all three.

use std::path::{Path, PathBuf};

use clap::Args;
use serde::Deserialize;
use violeta_proof::Trust;
use violeta_types::ValidatorIndex;

use crate::error::{CliError, CliResult};
use crate::testnet::directory::{Network, Unreadable};

/// Name of the file that says whom to talk to.
pub(crate) const CONTEXT_FILE: &str = "violeta-client.toml";
const FILE_BYTES_MAX: u64 = 1 << 20;

/// What all client commands take.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Network")]
pub(crate) struct ContextArgs {
    /// A network's directory: gives endpoints, trust and key.
    #[arg(
        long,
        value_name = "DIR",
        env = "VIOLETA_TESTNET",
        hide_env_values = true
    )]
    pub(crate) testnet: Option<PathBuf>,
    /// Address of a validator; several are separated by commas, or given one by one.
    #[arg(
        long,
        value_name = "URL",
        env = "VIOLETA_ENDPOINTS",
        hide_env_values = true,
        value_delimiter = ','
    )]
    pub(crate) endpoint: Vec<String>,
    /// What is trusted: the trust file that came from whoever runs the network.
    #[arg(
        long,
        value_name = "FILE",
        env = "VIOLETA_TRUST",
        hide_env_values = true
    )]
    pub(crate) trust: Option<PathBuf>,
    /// The key file to sign with; by default the one that violeta-client.toml names, or else that of the administrator in
    /// the network's directory.
    #[arg(
        id = "key_file",
        long = "key",
        value_name = "FILE",
        env = "VIOLETA_KEY",
        hide_env_values = true
    )]
    pub(crate) key: Option<PathBuf>,
}

/// `violeta-client.toml`; relative paths are relative to it.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct ContextFile {
    endpoints: Vec<String>,
    trust: Option<PathBuf>,
    key: Option<PathBuf>,
}

/// A validator's address, and its index where that is known.
pub(crate) type Endpoint = (Option<ValidatorIndex>, String);

impl ContextArgs {
    /// For a network in a directory.
    pub(crate) fn of_network(dir: &Path) -> Self {
        ContextArgs {
            testnet: Some(dir.to_owned()),
            ..ContextArgs::default()
        }
    }

    /// Whom to ask; and the validators of a network's directory that can't be, since their configurations can't be read.
    ///
    /// # Errors
    /// If nothing says, or nobody can be asked.
    pub(crate) fn endpoints_and_unreadable(&self) -> CliResult<(Vec<Endpoint>, Vec<Unreadable>)> {
        let named = |urls: Vec<String>| {
            let endpoints = urls.into_iter().map(|url| (None, url)).collect();
            Ok((endpoints, Vec::new()))
        };
        if !self.endpoint.is_empty() {
            return named(self.endpoint.clone());
        }
        if let Some((_, file)) = self.file()?
            && !file.endpoints.is_empty()
        {
            return named(file.endpoints);
        }
        let network = self
            .network()?
            .ok_or_else(|| missing("whom to talk to", "--endpoint"))?;
        match network.endpoints() {
            (endpoints, mut unreadable) if endpoints.is_empty() && !unreadable.is_empty() => {
                Err(unreadable.swap_remove(0).1)
            }
            found => Ok(found),
        }
    }

    /// What to trust.
    ///
    /// # Errors
    /// If nothing says, or the file is no ground for trust.
    pub(crate) fn trust(&self) -> CliResult<Trust> {
        if let Some(path) = &self.trust {
            return read_trust(path);
        }
        if let Some((
            base,
            ContextFile {
                trust: Some(path), ..
            },
        )) = self.file()?
        {
            return read_trust(&base.join(path));
        }
        match self.network()? {
            Some(network) => Ok(network.trust()),
            None => Err(missing("what to trust", "--trust")),
        }
    }

    /// Which key to sign with: the file.
    ///
    /// # Errors
    /// If nothing says.
    pub(crate) fn key_file(&self) -> CliResult<PathBuf> {
        if let Some(path) = &self.key {
            return Ok(path.clone());
        }
        if let Some((
            base,
            ContextFile {
                key: Some(path), ..
            },
        )) = self.file()?
        {
            return Ok(base.join(path));
        }
        match self.network()? {
            Some(network) => Ok(network.administrator()),
            None => Err(missing("which key to sign with", "--key")),
        }
    }

    /// The context file that applies, and where it lies. None if a network was named: that says everything.
    fn file(&self) -> CliResult<Option<(PathBuf, ContextFile)>> {
        if self.testnet.is_some() {
            return Ok(None);
        }
        let here = std::env::current_dir()?;
        let Some(base) = here
            .ancestors()
            .find(|dir| dir.join(CONTEXT_FILE).is_file())
        else {
            return Ok(None);
        };
        let path = base.join(CONTEXT_FILE);
        let text = read_bounded(&path)?;
        let file = toml::from_str(&text).map_err(|e| {
            CliError::failed(format!("{}: {}", path.display(), e.message()))
                .help("it may hold: endpoints = [\"http://…\"], trust = \"FILE\", key = \"FILE\"")
        })?;
        Ok(Some((base.to_owned(), file)))
    }

    fn network(&self) -> CliResult<Option<Network>> {
        match self.testnet.clone().or_else(Network::around_here) {
            Some(dir) => Network::open(&dir).map(Some),
            None => Ok(None),
        }
    }
}

fn missing(what: &str, flag: &str) -> CliError {
    CliError::usage(format!("nothing says {what}")).help(format!(
        "run it inside a network's directory (make one: violeta testnet init net && violeta testnet up net), \
         or give --testnet DIR, or {flag}, or write a {CONTEXT_FILE}"
    ))
}

/// Reads a trust file.
///
/// # Errors
/// If it can't be read, or is no ground for trust.
pub(crate) fn read_trust(path: &Path) -> CliResult<Trust> {
    let help = "whoever runs the network gives it out; a testnet has a trust.json in its directory";
    let text = read_bounded(path).map_err(|e| e.help(help))?;
    Trust::from_json(&text).map_err(|e| {
        CliError::failed(format!("{} can't be trusted: {e}", path.display())).help(help)
    })
}

fn read_bounded(path: &Path) -> CliResult<String> {
    let failed =
        |e: std::io::Error| CliError::failed(format!("can't read {}: {e}", path.display()));
    let len = std::fs::metadata(path).map_err(failed)?.len();
    if len > FILE_BYTES_MAX {
        return Err(CliError::failed(format!(
            "{} is {len} bytes long; it can't be what it should be",
            path.display()
        )));
    }
    std::fs::read_to_string(path).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use violeta_node::testnet::Options;

    #[test]
    fn a_networks_directory_says_all_and_flags_overrule_it() {
        let dir = tempfile::tempdir().unwrap();
        let network = Network::create(&dir.path().join("net"), 4, &Options::default()).unwrap();
        let mut context = ContextArgs::of_network(&network.dir);
        assert_eq!(context.endpoints_and_unreadable().unwrap().0.len(), 4);
        assert_eq!(context.trust().unwrap().chain(), network.genesis.chain_id());
        let key = violeta_client::keys::load(&context.key_file().unwrap()).unwrap();
        assert!(network.genesis.administrators.contains(&key.public_key()));

        context.endpoint = vec!["http://a".into()];
        let (endpoints, _) = context.endpoints_and_unreadable().unwrap();
        assert_eq!(endpoints, [(None, "http://a".into())]);
        context.key = Some("other.key".into());
        assert_eq!(context.key_file().unwrap(), Path::new("other.key"));
    }

    #[test]
    fn the_file_that_the_readme_shows_is_understood() {
        let readme = concat!(env!("CARGO_MANIFEST_DIR"), "/../../README.md");
        let text = std::fs::read_to_string(readme).unwrap();
        let (_, shown) = text.split_once("```toml\n").unwrap();
        let (shown, _) = shown.split_once("```").unwrap();
        let file: ContextFile = toml::from_str(shown).unwrap();
        assert_eq!(file.endpoints.len(), 2);
        assert!(file.trust.is_some() && file.key.is_some());
    }

    #[test]
    fn a_trust_file_that_isnt_one_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("trust.json");
        assert!(
            read_trust(&path)
                .unwrap_err()
                .message
                .contains("trust.json")
        );
        std::fs::write(&path, "{}").unwrap();
        assert!(
            read_trust(&path)
                .unwrap_err()
                .message
                .contains("can't be trusted")
        );
    }
}
