//! `violeta demo`: what this is for, seen to work in about a minute.
//!
//! ```text
//!   1 four processes ─▶ 2 load ─▶ 3 history and proofs ─▶ 4 kill -9 in mid-load ─▶ 5 it comes back
//!   6 a cluster with a liar in it ─▶ nobody is fooled        7 yours to try
//! ```
//!
//! Everything is as it would be elsewhere: processes, TLS between them, files, HTTP, and a client that verifies. Only
//! the liar is started by a flag that nothing else has.

mod liar;
mod packages;
mod story;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use clap::Args;
use indicatif::ProgressBar;
use tokio::sync::Notify;
use violeta_client::{At, Client, Receipt};
use violeta_node::testnet::Options;
use violeta_proof::{KeyProof, Trust};
use violeta_types::Height;
use violeta_types::api::Readable;

use self::packages::{NAMESPACE, PACKAGE, Package};
use self::story::Story;
use crate::connect::{answer_view, writer};
use crate::context::ContextArgs;
use crate::error::{CliError, CliResult};
use crate::gateway::{Gateway, block_on};
use crate::load::loader::{Entry, Ledger, Pace, load, make_namespace};
use crate::load::rows::Row;
use crate::signals::asked_to_end;
use crate::status::ask_all;
use crate::terminal::{Terminal, Tone, shortened, table, thousands};
use crate::testnet::cluster::Cluster;
use crate::testnet::{keep_directory, remove_directory, temporary_directory};

const VALIDATORS: usize = 4;
/// The one that is killed.
const VICTIM: usize = 3;
/// Puts in a transaction: enough transactions to see the load go on while a validator dies.
const PACE: Pace = Pace {
    operations: 50,
    window: 8,
};
const CATCH_UP_PATIENCE: Duration = Duration::from_secs(30);
/// The networks that it makes in its directory.
const MADE: [&str; 2] = ["net", "liar"];
const HASH_DIGITS: usize = 24;

/// Arguments of `violeta demo`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  violeta demo
  violeta demo --once --json

It starts four validators as processes of their own on free ports of this machine, loads the checksums of Debian's \
packages, kills a validator while it loads, starts it again, and runs a second cluster with a liar in it. Then the \
first cluster is yours until Ctrl-C. Nothing is left behind, unless --keep says so.")]
pub(crate) struct DemoArgs {
    /// Where the clusters' files go; by default a temporary directory.
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Stop everything at the end, without waiting for Ctrl-C.
    #[arg(long)]
    once: bool,
    /// Keep the files.
    #[arg(long)]
    keep: bool,
}

/// Shows it.
///
/// # Errors
/// If something doesn't go as it should: that would be worth a report.
pub(crate) fn run(args: &DemoArgs, terminal: &Terminal) -> CliResult {
    let dir = match &args.dir {
        Some(dir) => {
            violeta_node::files::create_directory(dir, 0o755)?;
            refuse_what_is_there(dir)?;
            dir.canonicalize()?
        }
        None => temporary_directory("demo")?,
    };
    let shown = block_on(async {
        tokio::select! {
            // Signals first: they are listened for before there is anything to clean up but the directory.
            biased;
            () = asked_to_end() => {
                terminal.note("\nstopping …");
                Ok(())
            }
            shown = show(args, &dir, terminal) => shown,
        }
    });
    let cleaned = match args.keep {
        true => {
            keep_directory(&dir)?;
            terminal.note(format!("files kept in {}", dir.display()));
            Ok(())
        }
        false => clean(&dir, args.dir.is_some()),
    };
    shown.and(cleaned)
}

/// What the demo makes in its directory it removes at the end: so it must not be there before.
fn refuse_what_is_there(dir: &Path) -> CliResult {
    for name in MADE {
        let path = dir.join(name);
        if path.symlink_metadata().is_ok() {
            return Err(CliError::usage(format!(
                "{} is there already, and the demo would use and remove a directory of that name",
                path.display()
            ))
            .help("give it an empty --dir, or none"));
        }
    }
    Ok(())
}

/// Removes what the demo made; none of it was there before.
fn clean(dir: &Path, was_given: bool) -> CliResult {
    if !was_given {
        return remove_directory(dir);
    }
    for name in MADE {
        if dir.join(name).exists() {
            remove_directory(&dir.join(name))?;
        }
    }
    Ok(())
}

async fn show(args: &DemoArgs, dir: &Path, terminal: &Terminal) -> CliResult {
    let begun = Instant::now();
    let mut story = Story::new(terminal);
    let mut cluster = start(&mut story, &dir.join("net")).await?;
    let client = writer(&ContextArgs::of_network(&cluster.network.dir), terminal)?;
    first_load(&mut story, &client).await?;
    history(&mut story, &client, &cluster.network.trust()).await?;
    killed_while_loading(&mut story, &client, &mut cluster).await?;
    back_again(&mut story, &mut cluster).await?;
    liar::show(&mut story, &dir.join("liar")).await?;
    let incidents: Vec<_> = client.incidents().iter().map(ToString::to_string).collect();
    // It holds the key's nonces, which the commands to try need.
    drop(client);
    let took = begun.elapsed();
    if args.once {
        cluster.stop();
        return the_end(&mut story, incidents, took);
    }
    yours(&mut story, &cluster, incidents, took).await?;
    std::future::pending().await
}

async fn start(story: &mut Story<'_>, dir: &Path) -> CliResult<Cluster> {
    story.step(
        "Four validators start",
        "Each is a process of its own with its own keys, disk and ports, connected by TLS. Any three of them can \
         decide; one may crash, lie or be taken over.",
    )?;
    let options = Options {
        name: "demo".into(),
        ..Options::default()
    };
    let mut cluster = Cluster::start(dir, VALIDATORS, &options, None)?;
    cluster.wait_healthy().await?;
    let mut facts = Vec::new();
    for (i, url) in cluster.urls()?.iter().enumerate() {
        let pid = cluster.pid(i).unwrap_or_default();
        story.good(format!("v{i}  pid {pid:<8} {url}"))?;
        facts.push(serde_json::json!({ "validator": i, "pid": pid, "http": url }));
    }
    story.fact("validators", facts)?;
    story.fact("chain", cluster.network.genesis.chain_id())?;
    Ok(cluster)
}

/// Moves the bar, and tells who waits for it when enough is loaded.
struct Watch {
    bar: ProgressBar,
    loaded: AtomicU64,
    alarm_at: u64,
    alarm: Arc<Notify>,
    transactions: u64,
    newest: Height,
}

impl Watch {
    fn new(story: &Story<'_>, rows: usize, alarm_at: u64) -> Watch {
        Watch {
            bar: story.terminal().progress(rows as u64, "packages"),
            loaded: AtomicU64::new(0),
            alarm_at,
            alarm: Arc::new(Notify::new()),
            transactions: 0,
            newest: Height(0),
        }
    }
}

impl Ledger for Watch {
    fn begun(&mut self, _: &Entry) -> CliResult {
        Ok(())
    }

    fn done(&mut self, entry: &Entry, receipt: &Receipt) -> CliResult {
        self.bar.inc(entry.rows.len());
        self.transactions += 1;
        self.newest = self.newest.max(receipt.outcome.height);
        let loaded = self.loaded.fetch_add(entry.rows.len(), Ordering::Relaxed) + entry.rows.len();
        if loaded >= self.alarm_at {
            self.alarm.notify_one();
        }
        Ok(())
    }

    fn void(&mut self, _: &Entry) {}
}

async fn load_rows(client: &Client, rows: Vec<Row>, watch: &mut Watch) -> CliResult {
    let mut rows = (0..).zip(rows);
    let loaded = load(client, NAMESPACE.as_bytes(), &mut rows, PACE, watch).await;
    watch.bar.finish_and_clear();
    loaded
}

async fn first_load(story: &mut Story<'_>, client: &Client) -> CliResult {
    let rows = packages::core()?;
    let count = rows.len();
    story.step(
        "Real data goes in: the checksums of Debian 12's packages",
        "Signed transactions of many puts each, several under way at once. A transaction counts as done when its \
         result is proved: it lies under the results root of a head that a quorum has signed.",
    )?;
    let begun = Instant::now();
    make_namespace(client, NAMESPACE.as_bytes()).await?;
    let mut watch = Watch::new(story, count, u64::MAX);
    load_rows(client, rows, &mut watch).await?;
    let seconds = begun.elapsed().as_secs_f64();
    story.good(format!(
        "{} packages in {}, {seconds:.1} s; height {} is certified",
        thousands(count as u64),
        crate::terminal::count(watch.transactions, "transaction"),
        watch.newest
    ))?;
    story.fact("rows", count)?;
    story.fact("transactions", watch.transactions)?;
    story.fact("height", watch.newest)
}

async fn history(story: &mut Story<'_>, client: &Client, trust: &Trust) -> CliResult {
    story.step(
        "A value comes with its proof",
        "The client asks one validator, believes none, and checks the answer against the committee's public keys \
         alone.",
    )?;
    let proved = client.get_proved(NAMESPACE, PACKAGE, At::Certified).await?;
    let view = answer_view(&readable(NAMESPACE), &readable(PACKAGE), &proved);
    if let Some(package) = view.value.as_ref().and_then(Package::of) {
        story.say(format!("{NAMESPACE} / {PACKAGE} = {}", package.version))?;
        story.say(format!("sha256 {}", package.sha256))?;
    }
    for step in view.steps(trust.committee()) {
        story.good(step)?;
    }
    let refusal = tampered(&proved.proof, trust)?;
    story.say("The same proof with one digit of the checksum changed:")?;
    story.bad(format!("refused: {refusal}"))?;
    story.fact("answer", &view)?;
    story.fact("tampered_refused_because", refusal)
}

/// Why the proof is refused once its value says something else.
fn tampered(proof: &KeyProof, trust: &Trust) -> CliResult<String> {
    let mut forged = proof.clone();
    if let Some(stored) = &mut forged.value {
        let mut bytes = stored.value.to_vec();
        let place = bytes.len().saturating_sub(5);
        if let Some(byte) = bytes.get_mut(place) {
            *byte = if *byte == b'0' { b'1' } else { b'0' };
        }
        stored.value = bytes.try_into().map_err(CliError::failed)?;
    }
    match forged.verify(trust) {
        Err(error) => Ok(error.to_string()),
        Ok(_) => Err(
            CliError::unverified("a proof with a changed value was believed")
                .help("this must never happen: please report it"),
        ),
    }
}

fn readable(text: &str) -> Readable {
    Readable(text.as_bytes().to_vec())
}

async fn killed_while_loading(
    story: &mut Story<'_>,
    client: &Client,
    cluster: &mut Cluster,
) -> CliResult {
    let rows = packages::security()?;
    let count = rows.len();
    story.step(
        "The security updates go in, and a validator is killed meanwhile",
        "SIGKILL: it ends in the middle of whatever it does. The other three are a quorum: they go on. The client sends what \
         got no answer to another validator, as the same bytes; nonces see to it that it is executed once.",
    )?;
    let begun = Instant::now();
    let mut watch = Watch::new(story, count, count as u64 / 3);
    let alarm = watch.alarm.clone();
    let kill = async {
        alarm.notified().await;
        let pid = cluster.pid(VICTIM).unwrap_or_default();
        cluster.kill(VICTIM)?;
        Ok::<_, CliError>((pid, begun.elapsed()))
    };
    // A load that fails before it has come that far ends the wait, too.
    let ((), (pid, after)) = tokio::try_join!(load_rows(client, rows, &mut watch), kill)?;
    story.bad(format!(
        "v{VICTIM} (pid {pid}) killed after {:.1} s, a third of the way",
        after.as_secs_f64()
    ))?;
    story.good(format!(
        "{} updates loaded all the same, {:.1} s in all; height {} is certified",
        thousands(count as u64),
        begun.elapsed().as_secs_f64(),
        watch.newest
    ))?;
    story.fact("rows", count)?;
    story.fact("killed", VICTIM)?;
    story.fact("height", watch.newest)?;
    versions(story, client).await
}

/// The history of a checksum, each version proved on its own.
async fn versions(story: &mut Story<'_>, client: &Client) -> CliResult {
    let entries = client.history(NAMESPACE, PACKAGE, 10).await?;
    let mut shown = table(&["height", "version", "sha256", "verified"], &[0]);
    for entry in &entries {
        let value = entry.value.as_ref().map(|v| Readable(v.to_vec()));
        let package = value.as_ref().and_then(Package::of);
        let (version, sha256) = match &package {
            Some(p) => (p.version.clone(), shortened(&p.sha256, HASH_DIGITS)),
            None => ("(deleted)".into(), String::new()),
        };
        let verified = story.terminal().paint(Tone::Good, "✓ proved");
        shown.add_row([entry.height.to_string(), version, sha256, verified]);
    }
    story.say(format!(
        "Nobody can rewrite what was. The history of {PACKAGE}:"
    ))?;
    story.table(&shown)?;
    story.fact("versions", entries.len())
}

async fn back_again(story: &mut Story<'_>, cluster: &mut Cluster) -> CliResult {
    story.step(
        "It starts again, and catches up",
        "It finds its journal as the crash left it, cuts off what wasn't whole, fetches what it missed and executes \
         it. Level means the same height and the same state root as the others.",
    )?;
    let begun = Instant::now();
    cluster.restart(VICTIM)?;
    cluster.wait_healthy().await?;
    let common = level(cluster, CATCH_UP_PATIENCE).await?;
    let seconds = begun.elapsed().as_secs_f64();
    let endpoints: Vec<_> = cluster.urls()?.into_iter().map(|url| (None, url)).collect();
    let statuses = ask_all(&endpoints, None).await?;
    let mut shown = table(&["validator", "certified height", "state root"], &[1]);
    for status in &statuses {
        shown.add_row([
            status.validator.map_or("?".into(), |v| format!("v{v}")),
            status.cells().certified,
            status
                .state_root
                .as_deref()
                .map_or("-".into(), |root| shortened(root, HASH_DIGITS)),
        ]);
    }
    story.table(&shown)?;
    story.good(format!(
        "v{VICTIM} is level with the others {seconds:.1} s after it was started"
    ))?;
    story.fact("height", common.0)?;
    story.fact("state_root", common.1)?;
    story.fact("catch_up_seconds", seconds)
}

/// Waits until all validators have the same certified height, and says it with the state root that all agree on.
pub(crate) async fn level(cluster: &Cluster, patience: Duration) -> CliResult<(u64, String)> {
    let endpoints: Vec<_> = cluster.urls()?.into_iter().map(|url| (None, url)).collect();
    let deadline = Instant::now() + patience;
    loop {
        let statuses = ask_all(&endpoints, None).await?;
        let heights: Vec<Option<u64>> = statuses
            .iter()
            .map(|s| s.answer.as_ref().map(|a| a.certified_height.0))
            .collect();
        let roots: Vec<_> = statuses
            .iter()
            .filter_map(|s| s.state_root.clone())
            .collect();
        if let (Some(&Some(height)), Some(root)) = (heights.first(), roots.first())
            && heights.iter().all(|h| *h == Some(height))
            && roots.len() == heights.len()
        {
            if roots.iter().any(|r| r != root) {
                return Err(CliError::failed(format!(
                    "validators disagree on the state of height {height}"
                ))
                .help("this must never happen: please report it"));
            }
            return Ok((height, root.clone()));
        }
        if Instant::now() > deadline {
            return Err(CliError::failed(format!(
                "the validators aren't level after {} s: {heights:?}",
                patience.as_secs()
            )));
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn the_end(story: &mut Story<'_>, incidents: Vec<String>, took: Duration) -> CliResult {
    story.step(
        "The end",
        &format!(
            "All that took {:.0} s. Both clusters are stopped; without --once the first stays up, to try things with.",
            took.as_secs_f64()
        ),
    )?;
    story.fact("incidents", incidents)?;
    story.fact("seconds", took.as_secs_f64())?;
    story.end()
}

async fn yours(
    story: &mut Story<'_>,
    cluster: &Cluster,
    incidents: Vec<String>,
    took: Duration,
) -> CliResult {
    let status = Gateway::new(&cluster.urls()?[0])?.status().await?;
    story.step(
        "Yours to try",
        &format!(
            "All that took {:.0} s. The first cluster is up, at height {}; each validator shows itself in a browser.",
            took.as_secs_f64(),
            status.certified_height
        ),
    )?;
    let dir = cluster.network.dir.display();
    let commands = [
        format!("violeta get {NAMESPACE} {PACKAGE} --proof"),
        format!("violeta put {NAMESPACE} mine 'hello'"),
        "violeta status --watch".to_owned(),
    ];
    for url in cluster.urls()? {
        story.say(story.terminal().paint(Tone::Accent, url))?;
    }
    story.say("")?;
    let first = [path_to_this(), Some(format!("cd {dir}"))];
    for command in first.iter().flatten().chain(&commands) {
        story.say(story.terminal().paint(Tone::Strong, command))?;
    }
    story.fact("urls", cluster.urls()?)?;
    let anywhere = commands.map(|command| format!("{command} --testnet {dir}"));
    story.fact("try", anywhere)?;
    story.fact("incidents", incidents)?;
    story.fact("seconds", took.as_secs_f64())?;
    story.end()?;
    story.terminal().line("")?;
    story.terminal().line(
        story
            .terminal()
            .paint(Tone::Faint, "    Ctrl-C stops everything."),
    )
}

/// What makes a shell find this program, if it doesn't by itself.
fn path_to_this() -> Option<String> {
    let this = std::env::current_exe().ok()?;
    let is_this = |dir: PathBuf| dir.join("violeta") == this;
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).find(|dir| dir.join("violeta").is_file());
    match found.is_some_and(is_this) {
        true => None,
        false => Some(format!(
            "export PATH=\"{}:$PATH\"",
            this.parent()?.display()
        )),
    }
}
