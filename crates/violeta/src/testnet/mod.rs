//! `violeta testnet`: a network of validators on this machine, each a process of its own.

pub(crate) mod cluster;
pub(crate) mod directory;
pub(crate) mod process;

use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use nix::unistd::geteuid;
use serde::Serialize;
use violeta_node::files::{PUBLIC_MODE, create_directory, write_atomic};
use violeta_node::testnet::Options;
use violeta_types::Admission;

use self::directory::{Network, Validator};
use self::process::{Identity, tail};
use crate::error::{CliError, CliResult};
use crate::gateway::{self, Gateway};
use crate::status::{ValidatorStatus, check_chain};
use crate::terminal::{Terminal, Tone, count, table};

/// How long validators may take to come up.
pub(crate) const UP_PATIENCE: Duration = Duration::from_secs(30);

/// Arguments of `violeta testnet`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  violeta testnet init net && violeta testnet up net
  violeta testnet kill 3 net && violeta testnet start 3 net
  violeta testnet down net")]
pub(crate) struct TestnetArgs {
    #[command(subcommand)]
    command: TestnetCommand,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum AdmissionChoice {
    /// A first valid transaction creates the account.
    Open,
    /// An administrator registers clients, by violeta-client's `register_client`: no command does.
    Closed,
}

#[derive(Debug, Args)]
struct Place {
    /// The network's directory; by default the one around here.
    #[arg(value_name = "DIR")]
    dir: Option<PathBuf>,
}

/// Some validators of a network. What is a number is a validator, so a directory can't be (but `./5` can).
#[derive(Debug, Args)]
struct Several {
    /// Which validators, by their indices: the first is 0. Then the network's directory; by default the one around here.
    #[arg(value_name = "INDEX", required = true)]
    words: Vec<String>,
}

#[derive(Debug, Subcommand)]
enum TestnetCommand {
    /// Make a network: keys, genesis, a configuration for each validator.
    #[command(after_help = "Examples:
  violeta testnet init net --validators 7
  violeta testnet up net

All secrets lie in the directory, the group's among them: fit for trying things out.")]
    Init(InitArgs),
    /// Start all validators that don't run; they go on when the terminal closes.
    #[command(after_help = "Examples:
  violeta testnet up net")]
    Up(Place),
    /// Show the validators and their processes.
    #[command(after_help = "Examples:
  violeta testnet ps net")]
    Ps(Place),
    /// Stop validators cleanly.
    #[command(
        override_usage = "violeta testnet stop [OPTIONS] <INDEX>... [DIR]",
        after_help = "Examples:
  violeta testnet stop 2 net
  violeta testnet stop 2 3"
    )]
    Stop(Several),
    /// Start validators again.
    #[command(
        override_usage = "violeta testnet start [OPTIONS] <INDEX>... [DIR]",
        after_help = "Examples:
  violeta testnet start 2 net
  violeta testnet start 2 3"
    )]
    Start(Several),
    /// Kill validators: SIGKILL, in the middle of whatever they do.
    #[command(
        override_usage = "violeta testnet kill [OPTIONS] <INDEX>... [DIR]",
        after_help = "Examples:
  violeta testnet kill 2 net
  violeta testnet start 2 net"
    )]
    Kill(Several),
    /// Stop all validators cleanly.
    #[command(after_help = "Examples:
  violeta testnet down net")]
    Down(Place),
}

#[derive(Debug, Args)]
struct InitArgs {
    /// Where to make it.
    dir: PathBuf,
    /// How many validators.
    #[arg(long, short = 'n', default_value_t = 4)]
    validators: usize,
    /// The chain's name.
    #[arg(long, default_value = "testnet")]
    name: String,
    /// Who may become a client.
    #[arg(long, default_value = "open")]
    admission: AdmissionChoice,
    /// Validator i listens for others on this port + i, for clients on this + 100 + i; by default on free ports.
    #[arg(long, value_name = "PORT")]
    base_port: Option<u16>,
}

/// Carries out a `testnet` command.
///
/// # Errors
/// If there is no such network or validator, or processes can't be handled.
pub(crate) fn run(args: &TestnetArgs, terminal: &Terminal) -> CliResult {
    match &args.command {
        TestnetCommand::Init(args) => init(args, terminal),
        TestnetCommand::Up(place) => up(&place.open()?, terminal),
        TestnetCommand::Ps(place) => ps(&place.open()?, terminal).map(drop),
        TestnetCommand::Stop(several) => several.end(terminal, stopped),
        TestnetCommand::Kill(several) => several.end(terminal, killed),
        TestnetCommand::Start(several) => start_several(several, terminal),
        TestnetCommand::Down(place) => down(&place.open()?, terminal),
    }
}

impl Place {
    fn open(&self) -> CliResult<Network> {
        match &self.dir {
            Some(dir) => Network::open(dir),
            None => match Network::around_here() {
                Some(dir) => Network::open(&dir),
                None => Err(CliError::usage("there is no network around here")
                    .help("name its directory, or make one: violeta testnet init net")),
            },
        }
    }
}

impl Several {
    /// Which validators of which network; each once, in the order of their indices.
    ///
    /// # Errors
    /// If there is no such network, or it hasn't such a validator.
    fn open(&self) -> CliResult<(Network, Vec<Validator>)> {
        let (indices, dir) = self.parse()?;
        let network = Place { dir }.open()?;
        let validators = indices
            .into_iter()
            .map(|index| network.validator(index).cloned())
            .collect::<CliResult<_>>()?;
        Ok((network, validators))
    }

    fn parse(&self) -> CliResult<(BTreeSet<u16>, Option<PathBuf>)> {
        let (last, before) = match self.words.split_last() {
            Some((last, before)) if last.parse::<u16>().is_err() => (Some(last), before),
            _ => (None, &self.words[..]),
        };
        let index = |word: &String| {
            word.parse::<u16>().map_err(|_| {
                CliError::usage(format!("{word:?} isn't the index of a validator"))
                    .help("indices begin at 0; the network's directory comes last: violeta testnet stop 2 3 net")
            })
        };
        let indices = before
            .iter()
            .map(index)
            .collect::<CliResult<BTreeSet<_>>>()?;
        if indices.is_empty() {
            return Err(CliError::usage("which validator?").help(
                "indices begin at 0, and come before the directory: violeta testnet stop 2 3 net",
            ));
        }
        Ok((indices, last.map(PathBuf::from)))
    }

    /// Ends those that run.
    ///
    /// # Errors
    /// If one of them doesn't; the others have ended then.
    fn end(&self, terminal: &Terminal, end: fn(&Identity) -> &'static str) -> CliResult {
        let (_network, validators) = self.open()?;
        let (running, idle): (Vec<_>, Vec<_>) = (validators.iter())
            .map(|validator| (validator, validator.process()))
            .partition(|(_, process)| process.is_some());
        let running: Vec<_> = (running.into_iter())
            .filter_map(|(validator, process)| Some((validator, process?)))
            .collect();
        end_all(&running, end, terminal)?;
        let idle: Vec<String> = idle.iter().map(|(v, _)| format!("v{}", v.index)).collect();
        match &idle[..] {
            [] => Ok(()),
            idle => Err(
                CliError::failed(format!("not running: {}", idle.join(", ")))
                    .help("`violeta testnet ps` shows what runs"),
            ),
        }
    }
}

fn stopped(process: &Identity) -> &'static str {
    match process.stop() {
        true => "stopped",
        false => "killed: it didn't stop in time",
    }
}

fn killed(process: &Identity) -> &'static str {
    process.kill();
    "killed"
}

/// Ends validators, all at once: each waits for what it has to write, not for the others.
fn end_all(
    running: &[(&Validator, Identity)],
    end: fn(&Identity) -> &'static str,
    terminal: &Terminal,
) -> CliResult {
    let states: Vec<&str> = std::thread::scope(|scope| {
        let ends: Vec<_> = (running.iter())
            .map(|(_, process)| scope.spawn(move || end(process)))
            .collect();
        (ends.into_iter())
            .map(|end| end.join().unwrap_or("not known to have ended"))
            .collect()
    });
    for ((validator, process), state) in running.iter().zip(states) {
        validator.forget_process()?;
        report(terminal, validator, *process, state)?;
    }
    Ok(())
}

#[derive(Serialize)]
struct ProcessReport<'a> {
    validator: u16,
    pid: u32,
    /// None if its configuration can't be read.
    http: Option<String>,
    state: &'a str,
}

fn report(terminal: &Terminal, validator: &Validator, process: Identity, state: &str) -> CliResult {
    terminal.object(&ProcessReport {
        validator: validator.index.0,
        pid: process.pid,
        http: validator.url().ok(),
        state,
    })?;
    terminal.line(format!(
        "v{} {state} (pid {})",
        validator.index, process.pid
    ))
}

fn init(args: &InitArgs, terminal: &Terminal) -> CliResult {
    let options = Options {
        name: args.name.clone(),
        admission: match args.admission {
            AdmissionChoice::Open => Admission::Open,
            AdmissionChoice::Closed => Admission::Closed,
        },
        base_port: args.base_port,
        ..Options::default()
    };
    let network = Network::create(&args.dir, args.validators, &options)?;
    let committee = &network.genesis.committee;
    let urls = network.urls()?;
    terminal.object(&serde_json::json!({
        "dir": network.dir,
        "chain": network.genesis.chain_id(),
        "validators": committee.len(),
        "endpoints": urls,
    }))?;
    let dir = args.dir.display();
    let accent = |text: String| terminal.paint(Tone::Accent, text);
    terminal.line(format!(
        "{} in {}: any {} of them can agree, and {} may fail or lie",
        count(committee.len(), "validator"),
        accent(dir.to_string()),
        committee.quorum_stake(),
        committee.fault_stake(),
    ))?;
    terminal.line(format!("chain {}", network.genesis.chain_id()))?;
    terminal.line("")?;
    terminal.line(format!(
        "next: {}",
        accent(format!("violeta testnet up {dir}"))
    ))
}

fn up(network: &Network, terminal: &Terminal) -> CliResult {
    // Before any is started: one that can't be would leave it half up.
    network.urls()?;
    let idle: Vec<_> = (network.validators.iter())
        .filter(|validator| validator.process().is_none())
        .collect();
    check_ports(network, &idle)?;
    for validator in &idle {
        start_detached(validator)?;
    }
    wait_up(network)?;
    let was_used = ps(network, terminal)?;
    if idle.is_empty() {
        terminal.note("all were running already");
    }
    let next = match was_used {
        true => "violeta status",
        false => "violeta put greetings hello world --create",
    };
    let next = format!("{next} --testnet {}", network.dir.display());
    terminal.line("")?;
    terminal.line(format!("next: {}", terminal.paint(Tone::Accent, next)))
}

fn start_detached(validator: &Validator) -> CliResult<Identity> {
    let mut child = validator.launch().detached()?;
    let pid = child.id();
    let Some(process) = Identity::of(pid) else {
        // It ended at once; the log says why.
        let _ = child.wait();
        return Err(didnt_come_up(validator));
    };
    validator.note_process(process)?;
    Ok(process)
}

fn didnt_come_up(validator: &Validator) -> CliError {
    let log = validator.log();
    CliError::failed(format!(
        "v{} didn't come up; it said:\n{}",
        validator.index,
        tail(&log)
    ))
    .help(format!("its whole log: {}", log.display()))
}

/// Looks whether another chain's validators stand where some of this network's are to.
fn check_ports(network: &Network, idle: &[&Validator]) -> CliResult {
    let chain = network.genesis.chain_id();
    gateway::block_on(async {
        for validator in idle {
            check_chain(&Gateway::new(&validator.url()?)?, validator.index, chain).await?;
        }
        Ok(())
    })
}

/// Waits until every validator is up that should run; one that lost its journal is, as far as it can be.
fn wait_up(network: &Network) -> CliResult {
    gateway::block_on(async {
        for validator in &network.validators {
            let gateway = Gateway::new(&validator.url()?)?;
            let running = || validator.process().is_some();
            let is_up = gateway.wait_up(UP_PATIENCE, running).await;
            // The one that is up may be the other's that took the port meanwhile.
            check_chain(&gateway, validator.index, network.genesis.chain_id()).await?;
            if !is_up {
                return Err(didnt_come_up(validator));
            }
        }
        Ok(())
    })
}

fn start_several(several: &Several, terminal: &Terminal) -> CliResult {
    let (network, validators) = several.open()?;
    // Before any is started.
    validators.iter().try_for_each(|v| v.url().map(drop))?;
    let idle: Vec<_> = (validators.iter())
        .filter(|validator| validator.process().is_none())
        .collect();
    check_ports(&network, &idle)?;
    let mut started = Vec::new();
    for validator in &validators {
        match validator.process() {
            Some(process) => report(terminal, validator, process, "running already")?,
            None => started.push((validator, start_detached(validator)?)),
        }
    }
    for (validator, process) in started {
        let gateway = Gateway::new(&validator.url()?)?;
        let (answers, follows) = gateway::block_on(async {
            let answers = gateway.wait_answer(UP_PATIENCE, || process.is_alive());
            let answers = answers.await;
            check_chain(&gateway, validator.index, network.genesis.chain_id()).await?;
            let status = gateway.status().await;
            Ok((answers, status.is_ok_and(|s| s.amnesia.is_some())))
        })?;
        let state = match (answers, follows) {
            (false, _) => return Err(didnt_come_up(validator)),
            (true, true) => "started, follows only (amnesia)",
            (true, false) => "started",
        };
        report(terminal, validator, process, state)?;
    }
    Ok(())
}

fn down(network: &Network, terminal: &Terminal) -> CliResult {
    let running: Vec<_> = network
        .validators
        .iter()
        .filter_map(|validator| Some((validator, validator.process()?)))
        .collect();
    match running.is_empty() {
        true => terminal.line("nothing was running"),
        false => end_all(&running, stopped, terminal),
    }
}

#[derive(Serialize)]
struct PsRow {
    pid: Option<u32>,
    directory: PathBuf,
    #[serde(flatten)]
    status: ValidatorStatus,
}

/// Shows what runs. Whether anything has been written.
fn ps(network: &Network, terminal: &Terminal) -> CliResult<bool> {
    let (endpoints, unreadable) = network.endpoints();
    let chain = network.genesis.chain_id();
    let asked = gateway::block_on(crate::status::ask_all(&endpoints, Some(chain)))?;
    let statuses = crate::status::with_unreadable(asked, &unreadable);
    let was_used =
        |status: &ValidatorStatus| status.answer.as_ref().is_some_and(|a| a.height.0 > 0);
    let was_used = statuses.iter().any(was_used);
    let complaints = crate::status::complaints(&statuses);
    let mut shown = table(
        &[
            "validator",
            "pid",
            "http",
            "height",
            "certified",
            "round",
            "peers",
            "state",
        ],
        &[1, 3, 4, 5, 6],
    )
    // Round, certified, peers.
    .giving_way(&[5, 4, 6]);
    for (validator, status) in network.validators.iter().zip(statuses) {
        let pid = validator.process().map(|p| p.pid);
        let cells = status.cells();
        let state = match (pid, &status.answer) {
            (_, None) if validator.url().is_err() => terminal.paint(Tone::Bad, "unreadable"),
            (_, None) if status.other_chain.is_some() => terminal.paint(Tone::Bad, "another chain"),
            (None, None) => terminal.paint(Tone::Faint, "down"),
            (None, Some(_)) => terminal.paint(Tone::Warn, "up, by hand"),
            (Some(_), None) => terminal.paint(Tone::Bad, "doesn't answer"),
            (Some(_), Some(_)) if status.has_amnesia() => {
                terminal.paint(Tone::Warn, "up, follows only (amnesia)")
            }
            (Some(_), Some(_)) => terminal.paint(Tone::Good, "up"),
        };
        shown.add_row([
            format!("v{}", validator.index),
            pid.map_or("-".into(), |pid| pid.to_string()),
            cells.endpoint,
            cells.height,
            cells.certified,
            cells.round,
            cells.peers,
            state,
        ]);
        terminal.object(&PsRow {
            pid,
            directory: validator.dir.clone(),
            status,
        })?;
    }
    terminal.table(&shown)?;
    for line in complaints {
        terminal.note(format!("warning: {line}"));
    }
    for (index, error) in &unreadable {
        terminal.note(format!("warning: v{index}: {error}"));
    }
    Ok(was_used)
}

/// What says in a temporary directory which process it belongs to.
const OWNER_FILE: &str = "owner";

/// A directory of its own under the system's temporary directory, for this process. What processes that were killed left
/// there is removed.
///
/// # Errors
/// If it can't be made.
pub(crate) fn temporary_directory(name: &str) -> CliResult<PathBuf> {
    let temporary = std::env::temp_dir();
    let begin = format!("violeta-{name}-");
    remove_stale(&temporary, &begin);
    let mut random = [0; 6];
    getrandom::fill(&mut random).map_err(CliError::failed)?;
    let dir = temporary.join(begin + &hex::encode(random));
    create_directory(&dir, 0o700)?;
    if let Some(me) = Identity::of(std::process::id()) {
        write_atomic(
            &dir.join(OWNER_FILE),
            me.to_string().as_bytes(),
            PUBLIC_MODE,
        )?;
    }
    Ok(dir)
}

/// Makes a temporary directory stay after its process.
///
/// # Errors
/// If it can't.
pub(crate) fn keep_directory(dir: &Path) -> CliResult {
    match std::fs::remove_file(dir.join(OWNER_FILE)) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(e.into()),
        _ => Ok(()),
    }
}

/// Removes directories whose names begin so and whose owner has ended. Only what says whose it was, was made by this
/// user, and is no link is touched; what can't be removed stays.
fn remove_stale(temporary: &Path, begin: &str) {
    let Ok(entries) = std::fs::read_dir(temporary) else {
        return;
    };
    for entry in entries.flatten() {
        let path = entry.path();
        let ours = entry.file_name().to_string_lossy().starts_with(begin)
            // Of the entry itself, not of what a link points to.
            && entry.metadata().is_ok_and(|m| m.is_dir() && m.uid() == geteuid().as_raw());
        let owner = || std::fs::read_to_string(path.join(OWNER_FILE)).ok();
        let ended = || owner().and_then(|text| text.parse::<Identity>().ok());
        if ours && ended().is_some_and(|owner| !owner.is_alive()) {
            let _ = std::fs::remove_dir_all(&path);
        }
    }
}

/// Removes a directory that this program made.
pub(crate) fn remove_directory(dir: &Path) -> CliResult {
    Ok(std::fs::remove_dir_all(dir)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_killed_process_left_is_removed_and_nothing_else() {
        let temporary = tempfile::tempdir().unwrap();
        let make = |name: &str, owner: Option<&str>| {
            let dir = temporary.path().join(name);
            std::fs::create_dir(&dir).unwrap();
            if let Some(owner) = owner {
                std::fs::write(dir.join(OWNER_FILE), owner).unwrap();
            }
            dir
        };
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let ended = format!("{} 1", child.id());
        child.wait().unwrap();
        let me = Identity::of(std::process::id()).unwrap().to_string();
        let stale = make("violeta-demo-1", Some(&ended));
        let stay = [
            make("violeta-demo-2", Some(&me)),
            make("violeta-demo-3", None),
            make("violeta-demo-4", Some("not a process")),
            make("violeta-bench-1", Some(&ended)),
            make("another", Some(&ended)),
        ];
        let link = temporary.path().join("violeta-demo-5");
        std::os::unix::fs::symlink(&stay[4], &link).unwrap();
        remove_stale(temporary.path(), "violeta-demo-");
        assert!(!stale.exists());
        assert!(stay.iter().all(|dir| dir.exists()), "{stay:?}");
        assert!(link.is_symlink() && stay[4].join(OWNER_FILE).exists());
    }

    #[test]
    fn indices_come_first_each_counts_once_and_the_directory_last() {
        let parsed = |words: &[&str]| {
            let words = words.iter().map(ToString::to_string).collect();
            let (indices, dir) = Several { words }.parse()?;
            Ok::<_, CliError>((Vec::from_iter(indices), dir))
        };
        assert_eq!(parsed(&["2"]), Ok((vec![2], None)));
        let net = Some(PathBuf::from("net"));
        assert_eq!(parsed(&["3", "0", "3", "net"]), Ok((vec![0, 3], net)));
        let five = Some(PathBuf::from("./5"));
        assert_eq!(parsed(&["2", "./5"]), Ok((vec![2], five)));
        for wrong in [&["net"][..], &["net", "2"], &["v2", "net"]] {
            let error = parsed(wrong).unwrap_err();
            assert_eq!(error.cause, crate::error::Cause::Usage, "{wrong:?}");
        }
    }

    #[test]
    fn a_temporary_directory_goes_with_its_process_unless_it_is_kept() {
        let dir = temporary_directory("test").unwrap();
        let owner = std::fs::read_to_string(dir.join(OWNER_FILE)).unwrap();
        assert!(owner.parse::<Identity>().unwrap().is_alive());
        keep_directory(&dir).unwrap();
        keep_directory(&dir).unwrap();
        assert!(!dir.join(OWNER_FILE).exists());
        remove_directory(&dir).unwrap();
    }
}
