//! One workload, side by side: Violeta's store and those that people would use instead.
//!
//! ```text
//! cargo run --release                       # a million keys, 500 versions of 1,000 updates
//! cargo run --release -- --keys 100000      # smaller
//! cargo run --release -- violeta jmt        # only these
//! cargo run --release -- --zipf 0.99        # some keys far more often than others
//! ```
//!
//! Each store runs in a process of its own, one after the other, in a directory of its own on the same disk. Every
//! version is durable before the next begins. Each proof is checked, and every value that is read is compared with the
//! one that was written last, so that nobody is fast by being wrong.
#![expect(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "measures time"
)]

mod measure;
mod peers;
mod workload;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use clap::Parser;

use measure::{Figures, Span, memory_mib};
use peers::Peer;
use workload::{Key, Settings};

/// As in the `violeta` binary.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Runs one workload on several stores and prints a table
#[derive(Parser)]
struct Arguments {
    /// Which stores; all by default
    #[arg(value_parser = clap::builder::PossibleValuesParser::new(peers::NAMES))]
    stores: Vec<String>,
    #[command(flatten)]
    settings: Settings,
    /// Where the files go: choose the disk that is to be measured
    #[arg(long, default_value = ".")]
    dir: PathBuf,
    /// Print one JSON object a store
    #[arg(long)]
    json: bool,
    /// Be the process of the one store named
    #[arg(long, hide = true)]
    alone: bool,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    if arguments.alone {
        let name = arguments.stores.first().context("a store's name")?;
        let figures = run(name, arguments.settings, &arguments.dir)?;
        println!("{}", serde_json::to_string(&figures)?);
        return Ok(());
    }
    let names = match arguments.stores.is_empty() {
        true => peers::NAMES.map(String::from).to_vec(),
        false => arguments.stores.clone(),
    };
    let mut all = Vec::new();
    for name in &names {
        eprintln!("{name} …");
        all.push(in_its_own_process(name, &arguments)?);
    }
    match arguments.json {
        true => {
            for figures in &all {
                println!("{}", serde_json::to_string(figures)?);
            }
        }
        false => print_table(&all),
    }
    Ok(())
}

fn in_its_own_process(name: &str, arguments: &Arguments) -> Result<Figures> {
    let dir = tempfile::tempdir_in(&arguments.dir)?;
    let settings = arguments.settings;
    let output = Command::new(std::env::current_exe()?)
        .args(["--alone", name, "--dir"])
        .arg(dir.path())
        .args(["--keys", &settings.keys.to_string()])
        .args(["--value-bytes", &settings.value_bytes.to_string()])
        .args(["--batch", &settings.batch.to_string()])
        .args(["--versions", &settings.versions.to_string()])
        .args(["--zipf", &settings.zipf.to_string()])
        .args(["--reads", &settings.reads.to_string()])
        .stderr(Stdio::inherit())
        .output()?;
    ensure!(output.status.success(), "{name} failed: {}", output.status);
    Ok(serde_json::from_slice(&output.stdout)?)
}

fn run(name: &str, settings: Settings, dir: &Path) -> Result<Figures> {
    let mut peer = peers::open(name, dir)?;
    let mut version = 0;
    let mut newest: BTreeMap<Key, Vec<u8>> = BTreeMap::new();
    let read: Vec<Key> = settings.read_keys().collect();
    let wanted: std::collections::BTreeSet<Key> = read.iter().copied().collect();
    let mut note = |writes: &[(Key, Vec<u8>)]| {
        for (key, value) in writes.iter().filter(|(key, _)| wanted.contains(key)) {
            newest.insert(*key, value.clone());
        }
    };
    for writes in settings.preload() {
        version += 1;
        note(&writes);
        peer.commit(version, writes)?;
    }
    let preloaded = version;
    let (mut updates, mut batches) = (0, Vec::new());
    for writes in settings.updates() {
        updates += writes.len() as u64;
        note(&writes);
        batches.push(writes);
    }
    let span = Span::begin(dir)?;
    for writes in batches {
        version += 1;
        peer.commit(version, writes)?;
    }
    let passed = span.end(dir)?;
    let mut figures = Figures {
        name: name.to_owned(),
        updates: updates as f64 / passed.seconds,
        update_cpu_us: passed.cpu_us / updates as f64,
        device_bytes: passed.device.map(|bytes| bytes as f64 / updates as f64),
        disk_bytes: passed.files as f64 / updates as f64,
        ..Figures::default()
    };
    // Half of the measured versions back.
    let old = preloaded + (version - preloaded) / 2;
    let began = Instant::now();
    for key in &read {
        let value = peer.get(key)?;
        ensure!(
            value.as_ref() == newest.get(key),
            "{name} read another value than was written"
        );
    }
    figures.reads = rate(&read, began);
    if let Some(first) = read.first()
        && peer.get_at(old, first)?.is_some()
    {
        let began = Instant::now();
        for key in &read {
            ensure!(peer.get_at(old, key)?.is_some(), "{name} lost an old value");
        }
        figures.old_reads = Some(rate(&read, began));
    }
    prove(&*peer, &read, version, Some(&newest), &mut figures)?;
    prove(&*peer, &read, old, None, &mut figures)?;
    figures.memory_mib = memory_mib()?;
    Ok(figures)
}

/// Makes proofs, then checks them. The newest version's figures, or an old one's.
fn prove(
    peer: &dyn Peer,
    read: &[Key],
    version: u64,
    newest: Option<&BTreeMap<Key, Vec<u8>>>,
    figures: &mut Figures,
) -> Result<()> {
    let name = &figures.name;
    let (mut proofs, began) = (Vec::with_capacity(read.len()), Instant::now());
    for key in read {
        match peer.prove(version, key)? {
            Some(proof) => proofs.push(proof),
            None => return Ok(()),
        }
    }
    let made = rate(read, began);
    let began = Instant::now();
    for (key, proof) in read.iter().zip(&proofs) {
        ensure!(
            peer.verify(version, key, proof)?,
            "{name} made a proof that doesn't hold"
        );
    }
    let checks = rate(read, began);
    let Some(newest) = newest else {
        figures.old_proofs = Some(made);
        return Ok(());
    };
    for (key, proof) in read.iter().zip(&mut proofs) {
        ensure!(
            newest.get(key) == Some(&proof.value),
            "{name} proved another value"
        );
        proof.value.push(0);
        ensure!(
            !peer.verify(version, key, proof)?,
            "{name} takes any value for proved"
        );
    }
    let bytes: usize = proofs.iter().map(|proof| proof.bytes).sum();
    figures.proofs = Some(made);
    figures.checks = Some(checks);
    figures.proof_bytes = Some(bytes as f64 / proofs.len().max(1) as f64);
    Ok(())
}

fn rate(read: &[Key], began: Instant) -> f64 {
    read.len() as f64 / began.elapsed().as_secs_f64()
}

/// A Markdown table, a column a store.
fn print_table(all: &[Figures]) {
    let row = |what: &str, of: &dyn Fn(&Figures) -> Option<f64>| {
        let cells: Vec<String> = all
            .iter()
            .map(|figures| of(figures).map_or("–".to_owned(), readable))
            .collect();
        println!("| {what} | {} |", cells.join(" | "));
    };
    let names: Vec<&str> = all.iter().map(|figures| &figures.name[..]).collect();
    println!("| | {} |", names.join(" | "));
    println!("|---|{}", "---:|".repeat(all.len()));
    row("durable updates a second", &|f| Some(f.updates));
    row("processor µs an update", &|f| Some(f.update_cpu_us));
    row("device bytes written an update", &|f| f.device_bytes);
    row("bytes kept on disk an update", &|f| Some(f.disk_bytes));
    row("newest values read a second", &|f| Some(f.reads));
    row("old values read a second", &|f| f.old_reads);
    row("proofs a second", &|f| f.proofs);
    row("proofs of an old version a second", &|f| f.old_proofs);
    row("proofs checked a second", &|f| f.checks);
    row("bytes of a proof", &|f| f.proof_bytes);
    row("memory, MiB at most", &|f| Some(f.memory_mib));
}

fn readable(number: f64) -> String {
    match number {
        n if n >= 10_000.0 => format!("{:.0} k", n / 1_000.0),
        n if n >= 100.0 => format!("{n:.0}"),
        n => format!("{n:.1}"),
    }
}
