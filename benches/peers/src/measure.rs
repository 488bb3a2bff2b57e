//! What is counted, and where it comes from.

use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::stat::{major, minor, stat};
use serde::{Deserialize, Serialize};

/// One store's figures. None: it can't do that.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Figures {
    /// The store.
    pub name: String,
    /// Durable updates a second.
    pub updates: f64,
    /// Processor time of an update, in µs.
    pub update_cpu_us: f64,
    /// Bytes that an update wrote to the device, from its own counters. Only right while nothing else writes there.
    pub device_bytes: Option<f64>,
    /// Bytes that the directory grew by for an update.
    pub disk_bytes: f64,
    /// Newest values read a second.
    pub reads: f64,
    /// Old values read a second.
    pub old_reads: Option<f64>,
    /// Proofs of the newest version made a second.
    pub proofs: Option<f64>,
    /// Proofs of an old version made a second.
    pub old_proofs: Option<f64>,
    /// Proofs checked a second.
    pub checks: Option<f64>,
    /// Bytes of a proof.
    pub proof_bytes: Option<f64>,
    /// The most memory that the process held, in MiB.
    pub memory_mib: f64,
}

/// A clock and the counters beside it.
pub struct Span {
    began: Instant,
    cpu_us: f64,
    device: Option<u64>,
    files: u64,
}

/// What passed in a span.
pub struct Passed {
    pub seconds: f64,
    pub cpu_us: f64,
    pub device: Option<u64>,
    pub files: u64,
}

impl Span {
    /// Begins.
    pub fn begin(dir: &Path) -> Result<Span> {
        Ok(Span {
            files: files_bytes(dir)?,
            device: device_bytes(dir),
            cpu_us: cpu_us()?,
            began: Instant::now(),
        })
    }

    /// Ends.
    pub fn end(&self, dir: &Path) -> Result<Passed> {
        let seconds = self.began.elapsed().as_secs_f64();
        let cpu_us = cpu_us()? - self.cpu_us;
        let device = device_bytes(dir).zip(self.device);
        Ok(Passed {
            seconds,
            cpu_us,
            device: device.map(|(now, then)| now.saturating_sub(then)),
            files: files_bytes(dir)?.saturating_sub(self.files),
        })
    }
}

/// The most memory that this process held, in MiB.
pub fn memory_mib() -> Result<f64> {
    Ok(getrusage(UsageWho::RUSAGE_SELF)?.max_rss() as f64 / 1024.0)
}

fn cpu_us() -> Result<f64> {
    let usage = getrusage(UsageWho::RUSAGE_SELF)?;
    let both = [usage.user_time(), usage.system_time()];
    Ok(both
        .iter()
        .map(|t| t.tv_sec() as f64 * 1e6 + t.tv_usec() as f64)
        .sum())
}

/// Bytes ever written to the device that holds `dir`; none if it isn't a block device.
fn device_bytes(dir: &Path) -> Option<u64> {
    let device = stat(dir).ok()?.st_dev;
    let file = format!("/sys/dev/block/{}:{}/stat", major(device), minor(device));
    let text = std::fs::read_to_string(file).ok()?;
    // The seventh field counts sectors written, of 512 bytes whatever the device's own are.
    let sectors: u64 = text.split_whitespace().nth(6)?.parse().ok()?;
    Some(sectors * 512)
}

/// Bytes that the files under `dir` take up on the disk.
fn files_bytes(dir: &Path) -> Result<u64> {
    use std::os::unix::fs::MetadataExt;
    let mut bytes = 0;
    for entry in std::fs::read_dir(dir).with_context(|| format!("reading {}", dir.display()))? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        bytes += match metadata.is_dir() {
            true => files_bytes(&entry.path())?,
            false => metadata.blocks() * 512,
        };
    }
    Ok(bytes)
}
