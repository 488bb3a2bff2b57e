//! `violeta bench`: throughput, latency and cost, from clients' side and the kernel's.
//!
//! ```text
//!   prepare: cluster up ─▶ sign everything ─▶ idle a while (idle CPU)
//!   run:     ├─ warm-up ─┼──────────── measured ────────────┤
//!            lanes ▸ batches of signed transactions, closed loop        (pressure)
//!            probers ▸ single transactions, timed                       (probe)
//!            meters: /proc, du, metrics at both ends; fdatasync aside   (meters)
//! ```

mod meters;
mod pressure;
mod probe;
mod report;
mod workload;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use clap::Args;
use tokio::task::JoinSet;
use violeta_node::testnet::Options;
use violeta_types::limits::{EXPIRY_AHEAD_MS_MAX, GRANTS_MAX};
use violeta_types::{ChainId, Height, TimeMs};

use self::meters::{ProcessUse, SyncProbe, counter, device_bytes, disk_bytes};
use self::pressure::{Pressure, Supply, lane, longest_gap, observe, submit_all};
use self::probe::{Latencies, Switch, probe};
use self::report::{Costs, MARKDOWN_HEADER, Percentiles, Report};
use self::workload::{Numbers, Signer, Workload, opaque, presign, setup_operations};
use crate::error::{CliError, CliResult};
use crate::gateway::{Gateway, block_on};
use crate::signals::asked_to_end;
use crate::terminal::{Terminal, count};
use crate::testnet::cluster::Cluster;
use crate::testnet::{remove_directory, temporary_directory};

/// Clients where none are asked for.
pub(crate) const CLIENTS_DEFAULT: usize = 32;
/// As many as may be granted a right in one namespace, with room for the probers.
pub(crate) const CLIENTS_MAX: usize = 54;
const PROBERS: usize = 8;
const VALIDATORS: usize = 4;
const SECONDS_MAX: u64 = 300;
const IDLE: Duration = Duration::from_secs(5);
const WARM_UP: Duration = Duration::from_secs(3);
/// How long a setup transaction may take.
const SETUP_PATIENCE: Duration = Duration::from_secs(20);
/// The one that is killed; events are followed at validator 0.
const VICTIM: usize = VALIDATORS - 1;

const _: () = assert!(CLIENTS_MAX + PROBERS <= GRANTS_MAX);
const _: () = assert!(CLIENTS_DEFAULT <= CLIENTS_MAX);

/// Arguments of `violeta bench`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  violeta bench --workload puts
  violeta bench --workload opaque --duration 30 --json
  violeta bench --workload puts --url http://a:26700 --url http://b:26700

Without --url it starts four validators of its own, as processes with fsync on, and stops them after.

Everything is signed before the clock starts. Clients send batches over connections that stay open, each client to \
one validator, as long as fewer transactions than the window are under way (sent and not yet seen in a block).
  committed     transactions in the blocks that one validator executed while it was measured, by its events
  submit to …   timed at the client, sampled under load by clients of their own: from before a request of a single \
transaction is written to after its answer is read; commit is wait=executed, certificate is wait=certified
  CPU, memory   as the kernel counts them for the validators' processes: utime + stime, VmHWM
  disk          growth of the blocks that a validator's files take, averaged over validators
  wire          bytes that validators sent one another, by their own metrics
  fdatasync     of 4 KiB in a file beside theirs, four times a second meanwhile")]
pub(crate) struct BenchArgs {
    /// What is sent.
    #[arg(long, short, default_value = "puts")]
    workload: Workload,
    /// How many clients sign.
    #[arg(long, default_value_t = CLIENTS_DEFAULT, value_parser = parse_clients)]
    clients: usize,
    /// Seconds that are measured, after three of warming up.
    #[arg(long, default_value_t = 15, value_name = "S", value_parser = clap::value_parser!(u64).range(1..=SECONDS_MAX))]
    duration: u64,
    /// Transactions under way at most; by default what suits the workload.
    #[arg(long, value_name = "N")]
    window: Option<usize>,
    /// Signed transactions prepared for each second of the run, warming up included; by default what suits the workload.
    #[arg(long, value_name = "N")]
    prepare: Option<usize>,
    /// A validator of a running network, instead of a cluster of its own; may be given several times.
    #[arg(long, value_name = "URL")]
    url: Vec<String>,
    /// Print a row of a Markdown table, and its header before it if asked twice.
    #[arg(long, action = clap::ArgAction::Count)]
    markdown: u8,
    /// Where the cluster's files go: choose the disk that is to be measured.
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

impl BenchArgs {
    fn window(&self) -> usize {
        self.window.unwrap_or(self.workload.window())
    }

    /// Seconds that clients write.
    fn seconds(&self) -> usize {
        (self.duration + WARM_UP.as_secs()) as usize
    }

    /// Transactions that each client signs ahead: together enough for every second, and for the window: at the end as
    /// many are under way beside those that were committed.
    fn prepared_each(&self) -> usize {
        if matches!(self.workload, Workload::Opaque | Workload::Single) {
            return 0;
        }
        let per_second = self.prepare.unwrap_or(self.workload.prepared_per_second());
        per_second
            .saturating_mul(self.seconds())
            .saturating_add(self.window())
            .div_ceil(self.clients)
    }
}

fn parse_clients(text: &str) -> Result<usize, String> {
    let range = 1..=CLIENTS_MAX;
    text.parse()
        .ok()
        .filter(|n| range.contains(n))
        .ok_or_else(|| format!("from 1 to {CLIENTS_MAX}"))
}

/// Measures.
///
/// # Errors
/// If the cluster can't be brought up, or doesn't take the load.
pub(crate) fn run(args: &BenchArgs, terminal: &Terminal) -> CliResult {
    let mut bench = Bench::prepare(args)?;
    let measured = bench.run(args, terminal);
    let cleaned = bench.clean_up();
    let report = measured?;
    cleaned?;
    if args.markdown == 0 {
        return report.show(terminal);
    }
    if args.markdown > 1 {
        terminal.line(MARKDOWN_HEADER)?;
    }
    terminal.line(report.markdown())?;
    // Beside the table, which goes into a document.
    for warning in report.warnings() {
        terminal.note(format!("warning: {warning}"));
    }
    Ok(())
}

/// What is measured: a cluster of its own, or somebody else's.
struct Bench {
    cluster: Option<Cluster>,
    dir: Option<PathBuf>,
    urls: Vec<String>,
}

/// The meters' state at one instant.
struct Reading {
    at: Instant,
    validators: Vec<ProcessUse>,
    generator: ProcessUse,
    disk: u64,
    device: Option<u64>,
    wire: f64,
    round: u64,
}

impl Bench {
    fn prepare(args: &BenchArgs) -> CliResult<Bench> {
        if !args.url.is_empty() {
            if args.workload == Workload::Kill {
                return Err(CliError::usage("kill needs a cluster of its own")
                    .help("leave --url out: nobody's validators are killed but the bench's own"));
            }
            return Ok(Bench {
                cluster: None,
                dir: None,
                urls: args.url.clone(),
            });
        }
        let dir = match &args.dir {
            Some(dir) => {
                violeta_node::files::create_directory(dir, 0o755)?;
                dir.join("bench-cluster")
            }
            None => temporary_directory("bench")?,
        };
        let options = Options {
            name: "bench".into(),
            machine: args.workload.machine(),
            ..Options::default()
        };
        let started = Cluster::start(&dir, VALIDATORS, &options, None);
        if started.is_err() && args.dir.is_none() {
            remove_directory(&dir)?;
        }
        let cluster = started?;
        Ok(Bench {
            urls: cluster.urls()?,
            cluster: Some(cluster),
            dir: Some(dir),
        })
    }

    fn clean_up(self) -> CliResult {
        drop(self.cluster);
        match &self.dir {
            Some(dir) => remove_directory(dir),
            None => Ok(()),
        }
    }

    fn run(&mut self, args: &BenchArgs, terminal: &Terminal) -> CliResult<Report> {
        let whole = async {
            if let Some(cluster) = &mut self.cluster {
                terminal.note("starting four validators …");
                cluster.wait_healthy().await?;
            }
            let loads = self.loads(args, terminal).await?;
            let idle_cpu_percent = self.idle(terminal).await;
            self.measure(args, loads, idle_cpu_percent, terminal).await
        };
        block_on(async {
            tokio::select! {
                report = whole => report,
                () = asked_to_end() => Err(CliError::failed("interrupted: nothing was measured")),
            }
        })
    }

    /// Signs everything, and lets the clients write.
    async fn loads(&self, args: &BenchArgs, terminal: &Terminal) -> CliResult<Loads> {
        let lanes = self.urls.len();
        let probes = match args.workload {
            Workload::Single => args.seconds() * args.workload.prepared_per_second(),
            _ => args.seconds() * 12,
        };
        if args.workload == Workload::Opaque {
            let seed = unix_ms();
            let supply = |lane: usize| Supply::Opaque(Numbers(seed ^ (lane as u64) << 48));
            let mut numbers = Numbers(seed ^ 0xffff << 48);
            let probes_of = |_| (0..probes).map(|_| opaque(&mut numbers)).collect();
            return Ok(Loads {
                lanes: (0..lanes).map(supply).collect(),
                probes: (0..PROBERS).map(probes_of).collect(),
            });
        }
        let bulk = args.prepared_each();
        if bulk > 0 {
            let transactions = count(bulk * args.clients, "transaction");
            terminal.note(format!("signing {transactions} …"));
        }
        let chain = Gateway::new(&self.urls[0])?.status().await?.chain;
        let mut clients = signers(args.clients, chain)?;
        let mut probers = signers(PROBERS, chain)?;
        let keys: Vec<_> = clients
            .iter()
            .chain(&probers)
            .map(Signer::public_key)
            .collect();
        let mut owner = signers(1, chain)?.remove(0);
        let setup = owner.sign(setup_operations(&keys)?)?;
        self.set_up(setup).await?;
        let mut lanes: Vec<Vec<Vec<Bytes>>> = vec![Vec::new(); lanes];
        let signed = presign(&mut clients, bulk, args.workload)?;
        for (i, transactions) in signed.into_iter().enumerate() {
            let lane = i % lanes.len();
            lanes[lane].push(transactions);
        }
        Ok(Loads {
            lanes: lanes.into_iter().map(Supply::interleaved).collect(),
            probes: presign(&mut probers, probes, args.workload)?,
        })
    }

    async fn set_up(&self, transaction: Bytes) -> CliResult {
        let before = Gateway::new(&self.urls[0])?
            .status()
            .await?
            .certified_height;
        submit_all(&self.urls[0], &[transaction]).await?;
        // Every validator must know the clients before they come.
        let deadline = Instant::now() + SETUP_PATIENCE;
        for url in &self.urls {
            let gateway = Gateway::new(url)?;
            while gateway.status().await?.certified_height <= before {
                if Instant::now() > deadline {
                    return Err(CliError::failed(
                        "the cluster didn't commit the first transaction",
                    )
                    .help("`violeta status` shows what its validators do"));
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
        Ok(())
    }

    async fn idle(&self, terminal: &Terminal) -> f64 {
        let Some(cluster) = &self.cluster else {
            return 0.0;
        };
        terminal.note("letting it idle …");
        tokio::time::sleep(Duration::from_secs(1)).await;
        let cpu = || -> u64 { uses(cluster).iter().map(|u| u.cpu_us).sum() };
        let (begun, before) = (Instant::now(), cpu());
        tokio::time::sleep(IDLE).await;
        let used_us = cpu().saturating_sub(before) as f64;
        100.0 * used_us / begun.elapsed().as_micros() as f64 / VALIDATORS as f64
    }

    async fn reading(&self) -> CliResult<Reading> {
        let mut wire = 0.0;
        for url in &self.urls {
            // Of one that was killed nothing is read: what it sent counts as not sent.
            if let Ok(text) = Gateway::new(url)?.metrics().await {
                wire += counter(&text, "violeta_peer_bytes_sent_total");
            }
        }
        let round = Gateway::new(&self.urls[0])?.status().await?.round.0;
        Ok(Reading {
            validators: self.cluster.as_ref().map(uses).unwrap_or_default(),
            disk: self.cluster.as_ref().map_or(0, disk_of),
            device: self.dir.as_deref().and_then(device_bytes),
            generator: ProcessUse::of_self(),
            wire,
            round,
            at: Instant::now(),
        })
    }

    async fn measure(
        &mut self,
        args: &BenchArgs,
        loads: Loads,
        idle_cpu_percent: f64,
        terminal: &Terminal,
    ) -> CliResult<Report> {
        let window = args.window();
        let pressure = Pressure::new(window);
        let switch = Arc::new(Switch::default());
        let mut tasks = JoinSet::new();
        tasks.spawn(observe(Gateway::new(&self.urls[0])?, pressure.clone()));
        if args.workload != Workload::Single {
            let batch = args.workload.batch().min(window);
            for (url, supply) in self.urls.iter().zip(loads.lanes) {
                let lane = lane(url.clone(), supply, batch, pressure.clone());
                tasks.spawn(async { drop(lane.await) });
            }
        }
        let mut probers = JoinSet::new();
        let pause = args.workload != Workload::Single;
        let asked = self.probed(args.workload);
        let used = if pause { PROBERS } else { 1 };
        for supply in loads.probes.into_iter().take(used) {
            probers.spawn(probe(asked.clone(), supply, pause, switch.clone()));
        }

        tokio::time::sleep(WARM_UP).await;
        let sync_probe = self.dir.as_deref().map(SyncProbe::start).transpose()?;
        switch.begin();
        let first = self.reading().await?;
        let killed = self.let_it_run(args, &pressure, window, terminal).await?;
        let last = self.reading().await?;
        switch.end();
        pressure.stop();
        let mut parts = Vec::new();
        while let Some(part) = probers.join_next().await {
            parts.push(part.map_err(CliError::failed)??);
        }
        tasks.shutdown().await;
        if let Some(cluster) = &mut self.cluster {
            cluster.check_running()?;
        }
        let fdatasync = sync_probe
            .map(|p| Percentiles::of(&p.finish()))
            .unwrap_or_default();
        let mut report = Findings {
            first: &first,
            last: &last,
            pressure: &pressure,
            latencies: Latencies::merged(parts),
            killed,
        }
        .report(args, self.urls.len());
        report.refused_at_execution = self.refused_between(&first, &last, &pressure).await?;
        report.costs = self.cluster.as_ref().map(|_| {
            costs(
                &first,
                &last,
                report.committed,
                killed.is_some(),
                idle_cpu_percent,
                fdatasync,
            )
        });
        Ok(report)
    }

    /// Those that are asked for latencies: all but the one that will be killed.
    fn probed(&self, workload: Workload) -> Vec<String> {
        let mut urls = self.urls.clone();
        if workload == Workload::Kill {
            urls.truncate(VICTIM);
        }
        urls
    }

    /// Waits out the measured time; kills the victim half-way if that is asked. When it did.
    async fn let_it_run(
        &mut self,
        args: &BenchArgs,
        pressure: &Pressure,
        window: usize,
        terminal: &Terminal,
    ) -> CliResult<Option<Instant>> {
        let duration = Duration::from_secs(args.duration);
        let bar = terminal.progress(args.duration, "s");
        let begun = Instant::now();
        let mut killed = None;
        while begun.elapsed() < duration {
            tokio::time::sleep(Duration::from_millis(100)).await;
            bar.set_position(begun.elapsed().as_secs());
            let due = args.workload == Workload::Kill && begun.elapsed() >= duration / 2;
            if let Some(cluster) = self.cluster.as_mut().filter(|_| due && killed.is_none()) {
                cluster.kill(VICTIM)?;
                killed = Some(Instant::now());
                // What only the victim held is lost, and with it at most its share of the window.
                pressure.forget(window / VALIDATORS);
            }
        }
        bar.finish_and_clear();
        Ok(killed)
    }

    /// Transactions of the measured blocks that did nothing.
    async fn refused_between(
        &self,
        first: &Reading,
        last: &Reading,
        pressure: &Pressure,
    ) -> CliResult<u64> {
        let seen = pressure.seen();
        let mut heights = seen
            .iter()
            .filter(|s| s.at >= first.at && s.at <= last.at)
            .map(|s| s.height);
        let Some(from) = heights.next() else {
            return Ok(0);
        };
        let to = heights.next_back().unwrap_or(from);
        Gateway::new(&self.urls[0])?
            .refused_in_blocks(Height(from), Height(to))
            .await
    }
}

struct Loads {
    lanes: Vec<Supply>,
    probes: Vec<Vec<Bytes>>,
}

struct Findings<'a> {
    first: &'a Reading,
    last: &'a Reading,
    pressure: &'a Pressure,
    latencies: Latencies,
    killed: Option<Instant>,
}

impl Findings<'_> {
    fn report(self, args: &BenchArgs, validators: usize) -> Report {
        let Findings {
            first,
            last,
            pressure,
            latencies,
            killed,
        } = self;
        let seconds = last.at.duration_since(first.at).as_secs_f64();
        let seen = pressure.seen();
        let measured = seen.iter().filter(|s| s.at >= first.at && s.at <= last.at);
        let committed: u64 = measured.map(|s| s.transactions).sum();
        let per_second = |n: f64| n / seconds;
        let generator = last.generator.cpu_us.saturating_sub(first.generator.cpu_us);
        let gap = killed.map(|at| longest_gap(&seen, at, last.at));
        Report {
            workload: args.workload,
            validators,
            clients: args.clients,
            seconds,
            committed,
            committed_per_second: per_second(committed as f64),
            puts_per_second: per_second((committed * args.workload.puts() as u64) as f64),
            refused_at_execution: 0,
            refused_at_submission: pressure.refused(),
            overloaded: pressure.overloaded(),
            rounds_per_second: per_second(last.round.saturating_sub(first.round) as f64),
            commit: Percentiles::of(&latencies.commit_us),
            certificate: Percentiles::of(&latencies.certificate_us),
            probe_failures: latencies.failures,
            generator_cpu_us: each(generator as f64, committed),
            wire_bytes: each(last.wire - first.wire, committed),
            longest_gap_ms: gap.map(|g| g.as_secs_f64() * 1_000.0),
            costs: None,
            exhausted: pressure.is_exhausted(),
        }
    }
}

/// Of one transaction; 0 if there were none.
fn each(total: f64, committed: u64) -> f64 {
    match committed {
        0 => 0.0,
        n => total.max(0.0) / n as f64,
    }
}

fn costs(
    first: &Reading,
    last: &Reading,
    committed: u64,
    one_was_killed: bool,
    idle_cpu_percent: f64,
    fdatasync: Option<Percentiles>,
) -> Costs {
    // By position: the victim is the last one, and missing from the second reading.
    let pairs = || first.validators.iter().zip(&last.validators);
    let sum = |f: fn(&ProcessUse) -> u64| -> f64 {
        pairs().map(|(a, b)| f(b).saturating_sub(f(a))).sum::<u64>() as f64
    };
    let survivors = last.validators.len().max(1) as f64;
    // The victim's files stop growing: an average over all would be too low by what it didn't write.
    let writers = if one_was_killed {
        survivors + 0.5
    } else {
        survivors
    };
    let rss = last
        .validators
        .iter()
        .map(|u| u.rss_bytes_max)
        .max()
        .unwrap_or(0);
    Costs {
        validators_cpu_us: each(sum(|u| u.cpu_us), committed),
        idle_cpu_percent,
        disk_bytes: each(
            last.disk.saturating_sub(first.disk) as f64 / writers,
            committed,
        ),
        device_bytes: (first.device.zip(last.device))
            .map(|(first, last)| each(last.saturating_sub(first) as f64, committed)),
        rss_mib_max: rss as f64 / f64::from(1 << 20),
        fdatasync,
    }
}

fn uses(cluster: &Cluster) -> Vec<ProcessUse> {
    cluster
        .pids()
        .into_iter()
        .filter_map(ProcessUse::of)
        .collect()
}

fn disk_of(cluster: &Cluster) -> u64 {
    cluster
        .network
        .validators
        .iter()
        .map(|v| disk_bytes(&v.data()))
        .sum()
}

fn signers(count: usize, chain: ChainId) -> CliResult<Vec<Signer>> {
    let expires = TimeMs(unix_ms() + EXPIRY_AHEAD_MS_MAX - 30_000);
    let one = |_| {
        let mut seed = [0; 32];
        getrandom::fill(&mut seed).map_err(CliError::failed)?;
        Ok(Signer::new(seed, chain, expires))
    };
    (0..count).map(one).collect()
}

fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |t| t.as_millis() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: BenchArgs,
    }

    fn parse(text: &str) -> BenchArgs {
        let words = std::iter::once("bench").chain(text.split_whitespace());
        Line::parse_from(words).args
    }

    /// The most transactions a second that BENCHMARKS.md tells of a workload, of so many puts each.
    fn fastest(workload: &str, puts: usize) -> usize {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../BENCHMARKS.md");
        let text = std::fs::read_to_string(path).unwrap();
        let command = format!("`violeta bench --workload {workload} ");
        let row = text.lines().find(|line| line.contains(&command)).unwrap();
        let range = row.split('|').find(|cell| cell.contains(" to ")).unwrap();
        let (_, most) = range.split_once(" to ").unwrap();
        let most: usize = most.trim().replace(',', "").parse().unwrap();
        most.div_ceil(puts)
    }

    #[test]
    fn what_is_prepared_outlasts_a_run_a_third_faster_than_the_fastest_that_was_measured() {
        for (workload, measured) in [
            ("puts", fastest("puts", 1)),
            ("kill", fastest("puts", 1)),
            ("puts100", fastest("puts100", workload::PUTS_MANY)),
        ] {
            for how in [
                "",
                "--duration 1",
                "--duration 60 --clients 7",
                "--window 9999",
            ] {
                let args = parse(&format!("--workload {workload} {how}"));
                let window = args.window.unwrap_or(args.workload.window());
                let sent = 4 * measured * (args.duration as usize + 3) / 3 + window;
                let prepared = args.prepared_each() * args.clients;
                assert!(prepared >= sent, "{workload} {how}: {prepared} of {sent}");
            }
        }
    }

    #[test]
    fn what_is_prepared_covers_the_window_and_follows_the_users_word() {
        // 10 × (1 + 3) + 60 = 100, by 8 clients.
        let args = parse("--prepare 10 --duration 1 --window 60 --clients 8");
        assert_eq!(args.prepared_each(), 13);
        assert_eq!(parse("--workload opaque").prepared_each(), 0);
        assert_eq!(parse("--workload single").prepared_each(), 0);
    }
}
