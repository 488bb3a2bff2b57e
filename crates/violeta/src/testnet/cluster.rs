//! A network whose validators live no longer than this process: for the demo and the bench.
//!
//! To be handled on the main thread: the kernel ends a validator when the thread that started it is gone.

use std::path::Path;

use violeta_node::testnet::Options;

use super::UP_PATIENCE;
use super::directory::Network;
use super::process::{Kept, stop_all};
use crate::error::{CliError, CliResult};
use crate::gateway::Gateway;

/// A network and those of its validators that run.
pub(crate) struct Cluster {
    /// What lies where.
    pub(crate) network: Network,
    running: Vec<Option<Kept>>,
}

impl Cluster {
    /// Makes a network in `dir` and starts all its validators; `adversary` is one of them, and what it does.
    ///
    /// # Errors
    /// If it can't be made, or a process can't be started.
    pub(crate) fn start(
        dir: &Path,
        n: usize,
        options: &Options,
        adversary: Option<(u16, String)>,
    ) -> CliResult<Cluster> {
        let network = Network::create(dir, n, options)?;
        let mut running = Vec::with_capacity(n);
        for validator in &network.validators {
            let launch = match &adversary {
                Some((index, what)) if *index == validator.index.0 => {
                    validator.launch().lying_by(what.clone())
                }
                _ => validator.launch(),
            };
            running.push(Some(launch.kept()?));
        }
        Ok(Cluster { network, running })
    }

    /// Waits until every validator that runs says that it is healthy.
    ///
    /// # Errors
    /// If one ends, or takes too long.
    pub(crate) async fn wait_healthy(&mut self) -> CliResult {
        for (validator, slot) in self.network.validators.iter().zip(&mut self.running) {
            let Some(process) = slot else { continue };
            let gateway = Gateway::new(&validator.url()?)?;
            let identity = super::process::Identity::of(process.pid());
            let running = || identity.is_some_and(|i| i.is_alive());
            if !gateway.wait_healthy(UP_PATIENCE, running).await {
                let reasons = match gateway.health().await {
                    Some(health) => health.reasons.join("; "),
                    None => process.last_words(),
                };
                return Err(CliError::failed(format!(
                    "v{} didn't come up: {reasons}",
                    validator.index
                ))
                .help(format!("its log: {}", validator.log().display())));
            }
        }
        Ok(())
    }

    /// The validators' addresses, by index.
    ///
    /// # Errors
    /// If the configuration of one can't be read.
    pub(crate) fn urls(&self) -> CliResult<Vec<String>> {
        self.network.urls()
    }

    /// The pids of those that run.
    pub(crate) fn pids(&self) -> Vec<u32> {
        self.running.iter().flatten().map(Kept::pid).collect()
    }

    /// The pid of one, if it runs.
    pub(crate) fn pid(&self, index: usize) -> Option<u32> {
        self.running.get(index)?.as_ref().map(Kept::pid)
    }

    /// SIGKILL to one.
    ///
    /// # Errors
    /// If the operating system says no.
    pub(crate) fn kill(&mut self, index: usize) -> CliResult {
        match self.running.get_mut(index).and_then(Option::take) {
            Some(process) => process.kill(),
            None => Ok(()),
        }
    }

    /// Starts one again, honest.
    ///
    /// # Errors
    /// If it can't be started.
    pub(crate) fn restart(&mut self, index: usize) -> CliResult {
        let validator = self.network.validator(index as u16)?;
        self.running[index] = Some(validator.launch().kept()?);
        Ok(())
    }

    /// Fails if a validator that should run has ended.
    ///
    /// # Errors
    /// Which one, and what it said last.
    pub(crate) fn check_running(&mut self) -> CliResult {
        for (validator, slot) in self.network.validators.iter().zip(&mut self.running) {
            if let Some(process) = slot
                && !process.is_running()
            {
                let words = process.last_words();
                return Err(CliError::failed(format!(
                    "v{} has ended; it said:\n{words}",
                    validator.index
                )));
            }
        }
        Ok(())
    }

    /// Stops all, cleanly, at once.
    pub(crate) fn stop(mut self) {
        self.stop_running();
    }

    fn stop_running(&mut self) {
        stop_all(self.running.iter_mut().filter_map(Option::take).collect());
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.stop_running();
    }
}
