//! What a validator's process costs, as the kernel counts it, and what the disk itself can do.

use std::fs::{File, OpenOptions};
use std::io::{Seek, SeekFrom, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::error::CliResult;

const SYNC_PROBE_INTERVAL: Duration = Duration::from_millis(250);
const SYNC_PROBE_BYTES: usize = 4 << 10;
/// Length of the probe's file: written round and round, so that it doesn't grow.
const SYNC_PROBE_FILE_BYTES: u64 = 4 << 20;

/// What a process has used since it began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ProcessUse {
    /// Processor time, user and system.
    pub(crate) cpu_us: u64,
    /// The most memory that it held.
    pub(crate) rss_bytes_max: u64,
}

impl ProcessUse {
    /// Of a process; none if it has ended.
    pub(crate) fn of(pid: u32) -> Option<ProcessUse> {
        let read = |name: &str| std::fs::read_to_string(format!("/proc/{pid}/{name}")).ok();
        Some(ProcessUse {
            cpu_us: cpu_us(&read("stat")?, ticks_per_second())?,
            rss_bytes_max: read("status").and_then(|t| field(&t, "VmHWM")).unwrap_or(0) << 10,
        })
    }

    /// Of this process.
    pub(crate) fn of_self() -> ProcessUse {
        ProcessUse::of(std::process::id()).unwrap_or_default()
    }
}

fn ticks_per_second() -> u64 {
    let ticks = nix::unistd::sysconf(nix::unistd::SysconfVar::CLK_TCK)
        .ok()
        .flatten();
    ticks
        .and_then(|n| u64::try_from(n).ok())
        .filter(|&n| n > 0)
        .unwrap_or(100)
}

/// Fields 14 and 15 of proc(5) stat, in microseconds.
fn cpu_us(stat: &str, ticks_per_second: u64) -> Option<u64> {
    let (_, fields) = stat.rsplit_once(") ")?;
    let mut fields = fields.split(' ').skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some((user + system) * 1_000_000 / ticks_per_second)
}

fn field(text: &str, name: &str) -> Option<u64> {
    let line = text
        .lines()
        .find_map(|l| l.strip_prefix(name)?.strip_prefix(':'))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

/// Bytes that the files below a directory take on disk. Files that vanish meanwhile count nothing.
pub(crate) fn disk_bytes(dir: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(dir) else {
        return 0;
    };
    let of_entry = |entry: std::io::Result<std::fs::DirEntry>| -> Option<u64> {
        let entry = entry.ok()?;
        let metadata = entry.metadata().ok()?;
        Some(match metadata.is_dir() {
            true => disk_bytes(&entry.path()),
            false => metadata.blocks() * 512,
        })
    };
    entries.filter_map(of_entry).sum()
}

/// Bytes that the device under a directory has ever written, for whomever; none if it isn't a block device. A process's
/// own counter of writes doesn't do: it counts a whole folio of the page cache, megabytes perhaps, for each small write.
pub(crate) fn device_bytes(dir: &Path) -> Option<u64> {
    use nix::sys::stat::{major, minor};
    let device = dir.metadata().ok()?.dev();
    let file = format!("/sys/dev/block/{}:{}/stat", major(device), minor(device));
    device_written(&std::fs::read_to_string(file).ok()?)
}

/// The seventh field counts sectors written, of 512 bytes whatever the device's own are.
fn device_written(stat: &str) -> Option<u64> {
    let sectors: u64 = stat.split_ascii_whitespace().nth(6)?.parse().ok()?;
    Some(sectors * 512)
}

/// The sum over all labels of a counter in an OpenMetrics text.
pub(crate) fn counter(text: &str, name: &str) -> f64 {
    let samples = text.lines().filter_map(|line| {
        let rest = line.strip_prefix(name)?;
        let value = match rest.strip_prefix('{') {
            Some(labels) => labels.rsplit_once("} ")?.1,
            None => rest.strip_prefix(' ')?,
        };
        value.split(' ').next()?.parse::<f64>().ok()
    });
    samples.sum()
}

/// The smallest value that `part` of the values don't exceed; none of none.
pub(crate) fn percentile(sorted: &[u64], part: f64) -> Option<u64> {
    let rank = (part * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.clamp(1, sorted.len().max(1)) - 1).copied()
}

/// Measures, while it lives, how long fdatasync of one block takes on a file system.
pub(crate) struct SyncProbe {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Vec<u64>>,
    path: PathBuf,
}

impl SyncProbe {
    /// Begins, with a file in `dir`.
    ///
    /// # Errors
    /// If the file can't be made.
    pub(crate) fn start(dir: &Path) -> CliResult<SyncProbe> {
        let path = dir.join("sync-probe");
        let mut file = OpenOptions::new()
            .create(true)
            .write(true)
            .truncate(true)
            .open(&path)?;
        file.write_all(&vec![0; SYNC_PROBE_FILE_BYTES as usize])?;
        file.sync_all()?;
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = std::thread::spawn(move || probe(&mut file, &stopped));
        Ok(SyncProbe { stop, thread, path })
    }

    /// Ends; the times in microseconds, sorted.
    pub(crate) fn finish(self) -> Vec<u64> {
        self.stop.store(true, Ordering::Relaxed);
        let mut times = self.thread.join().unwrap_or_default();
        // What is left behind lies in a directory that is removed with the cluster.
        let _ = std::fs::remove_file(&self.path);
        times.sort_unstable();
        times
    }
}

fn probe(file: &mut File, stop: &AtomicBool) -> Vec<u64> {
    let mut times = Vec::new();
    let mut offset = 0;
    while !stop.load(Ordering::Relaxed) {
        let block = [times.len() as u8; SYNC_PROBE_BYTES];
        let begun = Instant::now();
        let synced = file
            .seek(SeekFrom::Start(offset))
            .and_then(|_| file.write_all(&block))
            .and_then(|()| file.sync_data());
        if synced.is_err() {
            break;
        }
        times.push(begun.elapsed().as_micros() as u64);
        offset = (offset + SYNC_PROBE_BYTES as u64) % SYNC_PROBE_FILE_BYTES;
        std::thread::sleep(SYNC_PROBE_INTERVAL);
    }
    times
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_device_wrote_is_counted_in_sectors_of_512_bytes() {
        let stat = " 9103 3 401234 2277 801 77 6024 905 0 3100 3200 0 0 0 0 11 18";
        assert_eq!(device_written(stat), Some(6_024 * 512));
        assert_eq!(device_written("1 2 3"), None);
    }

    #[test]
    fn processor_time_is_read_behind_a_name_with_parentheses() {
        let stat = "7 (a) b (c) S 1 1 1 0 -1 4 1 0 0 0 150 50 0 0 20 0 1 0 99 0";
        assert_eq!(cpu_us(stat, 100), Some(2_000_000));
        assert_eq!(cpu_us("7 (a", 100), None);
    }

    #[test]
    fn this_very_process_uses_something() {
        let used = ProcessUse::of_self();
        assert!(used.rss_bytes_max > 1 << 20);
        assert!(ProcessUse::of(u32::MAX).is_none());
    }

    #[test]
    fn a_counter_is_summed_over_its_labels() {
        let text = "# TYPE sent counter\nsent_total{to=\"1\"} 5\nsent_total{to=\"2\"} 7\nsent_total_x 9\nplain_total 3\n";
        assert_eq!(counter(text, "sent_total"), 12.0);
        assert_eq!(counter(text, "plain_total"), 3.0);
        assert_eq!(counter(text, "none"), 0.0);
    }

    #[test]
    fn percentiles_are_values_that_occurred() {
        let values: Vec<u64> = (1..=100).collect();
        assert_eq!(percentile(&values, 0.5), Some(50));
        assert_eq!(percentile(&values, 0.99), Some(99));
        assert_eq!(percentile(&values, 1.0), Some(100));
        assert_eq!(percentile(&[7], 0.5), Some(7));
        assert_eq!(percentile(&[], 0.5), None);
    }

    #[test]
    fn the_disk_is_probed_and_the_file_removed() {
        let dir = tempfile::tempdir().unwrap();
        let probe = SyncProbe::start(dir.path()).unwrap();
        std::thread::sleep(Duration::from_millis(50));
        assert!(!probe.finish().is_empty());
        assert_eq!(disk_bytes(dir.path()), 0);
    }
}
