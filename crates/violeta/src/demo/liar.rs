//! A cluster with a liar in it.
//!
//! ```text
//!   v2 ── vertex of round r ──▶ v0, v1          its twin ──▶ v3          the others compare: evidence
//!   v2 ── alice has 9999, and the proof of 100 ──▶ client                the proof fails: refused
//! ```

use std::path::Path;
use std::time::Duration;

use tokio::task::JoinSet;
use violeta_client::{At, ClientError, Operations};
use violeta_node::testnet::Options;
use violeta_types::ValidatorIndex;
use violeta_types::api::EventKind;

use super::level;
use super::story::Story;
use crate::adversary::Adversary;
use crate::connect::{reader, writer};
use crate::context::ContextArgs;
use crate::error::{CliError, CliResult};
use crate::gateway::Gateway;
use crate::status::ask_all;
use crate::terminal::shortened;
use crate::testnet::cluster::Cluster;
use crate::testnet::remove_directory;

const VALIDATORS: usize = 4;
const LIAR: u16 = 2;
const NAMESPACE: &str = "bank";
const KEY: &str = "alice";
const TRUE_VALUE: &str = "100";
const FORGED_VALUE: &str = "9999";
const EVIDENCE_PATIENCE: Duration = Duration::from_secs(15);
const LEVEL_PATIENCE: Duration = Duration::from_secs(15);
const ROOT_DIGITS: usize = 24;

/// Runs the cluster, shows that nobody is fooled, and takes it down.
///
/// # Errors
/// If somebody was.
pub(crate) async fn show(story: &mut Story<'_>, dir: &Path) -> CliResult {
    story.step(
        "One of them lies",
        "A second cluster of four. v2 holds a validator's keys and does what it likes: it signs two different vertices \
         for one round and shows them to different validators, and over HTTP it tells clients another value than the \
         true one.",
    )?;
    let adversary = Adversary {
        equivocate: true,
        forge: Some((NAMESPACE.into(), KEY.into(), FORGED_VALUE.into())),
    };
    let options = Options {
        name: "demo-with-a-liar".into(),
        ..Options::default()
    };
    let liar = Some((LIAR, adversary.to_string()));
    let mut cluster = Cluster::start(dir, VALIDATORS, &options, liar)?;
    cluster.wait_healthy().await?;
    let witnesses = Witnesses::listen(&cluster).await?;
    let client = writer(&honest_context(&cluster)?, story.terminal())?;
    let operations = Operations::new()
        .create_namespace(NAMESPACE)?
        .put(NAMESPACE, KEY, TRUE_VALUE)?;
    let receipt = client.transaction(operations).await?;
    story.good(format!(
        "{NAMESPACE} / {KEY} = {TRUE_VALUE} is written at height {}, with the liar among the four",
        receipt.outcome.height
    ))?;
    caught_equivocating(story, witnesses).await?;
    // Who has no certified block yet has no proof to forge with, and no state to compare.
    level(&cluster, LEVEL_PATIENCE).await?;
    caught_forging(story, &cluster).await?;
    honest_agree(story, &cluster).await?;
    cluster.stop();
    remove_directory(dir)
}

/// Everything of the network, but the endpoints of the honest only: what is written must not depend on the liar.
fn honest_context(cluster: &Cluster) -> CliResult<ContextArgs> {
    let mut context = ContextArgs::of_network(&cluster.network.dir);
    context.endpoint = (honest(cluster)?.into_iter()).map(|(_, url)| url).collect();
    Ok(context)
}

fn honest(cluster: &Cluster) -> CliResult<Vec<(ValidatorIndex, String)>> {
    let all = cluster.network.validators.iter();
    all.filter(|v| v.index.0 != LIAR)
        .map(|v| Ok((v.index, v.url()?)))
        .collect()
}

/// Listens at each honest validator for evidence against the liar.
struct Witnesses(JoinSet<CliResult<(ValidatorIndex, String)>>);

impl Witnesses {
    async fn listen(cluster: &Cluster) -> CliResult<Witnesses> {
        let mut tasks = JoinSet::new();
        for (index, url) in honest(cluster)? {
            // From the very beginning: evidence may be older than the stream.
            let mut events = Gateway::new(&url)?.events(Some("0.0")).await?;
            tasks.spawn(async move {
                while let Some(event) = events.next().await? {
                    if let EventKind::Evidence { validator, what } = event.kind
                        && validator.0 == LIAR
                    {
                        return Ok((index, what));
                    }
                }
                Err(CliError::failed(format!(
                    "v{index} ended its stream of events"
                )))
            });
        }
        Ok(Witnesses(tasks))
    }

    async fn all(mut self) -> CliResult<Vec<(ValidatorIndex, String)>> {
        let mut found = Vec::new();
        while let Some(witness) = self.0.join_next().await {
            found.push(witness.map_err(CliError::failed)??);
        }
        found.sort();
        Ok(found)
    }
}

async fn caught_equivocating(story: &mut Story<'_>, witnesses: Witnesses) -> CliResult {
    let found = match tokio::time::timeout(EVIDENCE_PATIENCE, witnesses.all()).await {
        Ok(found) => found?,
        Err(_) => {
            let seconds = EVIDENCE_PATIENCE.as_secs();
            return Err(CliError::failed(format!(
                "no evidence against the liar in {seconds} s"
            )));
        }
    };
    for (witness, what) in &found {
        story.good(format!("v{witness} holds evidence against v{LIAR}: {what}"))?;
    }
    story.fact("liar", LIAR)?;
    story.fact("evidence", found)
}

async fn caught_forging(story: &mut Story<'_>, cluster: &Cluster) -> CliResult {
    let mut context = ContextArgs::of_network(&cluster.network.dir);
    let url = cluster.network.validator(LIAR)?.url()?;
    context.endpoint = vec![url];
    // The liar may be a moment behind; what it says of an older state is no lie to show.
    let asked = reader(&context)?
        .get_proved(NAMESPACE, KEY, At::Certified)
        .await;
    match asked {
        Err(ClientError::Unverified { incident }) => {
            story.bad(format!(
                "v{LIAR} says {KEY} has {FORGED_VALUE}; refused: {}",
                incident.part
            ))?;
            story.fact("forgery_refused_because", incident.part.to_string())?;
        }
        Err(error) => return Err(CliError::from(error).during("asking the liar")),
        Ok(_) => {
            return Err(CliError::unverified("a forged value was believed")
                .help("this must never happen: please report it"));
        }
    }
    let client = reader(&ContextArgs::of_network(&cluster.network.dir))?;
    let proved = client.get_proved(NAMESPACE, KEY, At::Certified).await?;
    let value = proved.value.map(|v| v.value.to_vec()).unwrap_or_default();
    if value != TRUE_VALUE.as_bytes() {
        return Err(CliError::unverified(format!(
            "{:?} was believed",
            String::from_utf8_lossy(&value)
        )));
    }
    story.good(format!(
        "asked elsewhere: {} gives {TRUE_VALUE}, and proves it",
        proved.validator
    ))?;
    story.fact("value", TRUE_VALUE)
}

async fn honest_agree(story: &mut Story<'_>, cluster: &Cluster) -> CliResult {
    let endpoints: Vec<_> = honest(cluster)?
        .into_iter()
        .map(|(i, url)| (Some(i), url))
        .collect();
    let statuses = ask_all(&endpoints, None).await?;
    let roots: Vec<_> = statuses
        .iter()
        .filter_map(|s| s.state_root.as_ref())
        .collect();
    match roots.split_first() {
        Some((first, rest)) if rest.len() == 2 && rest.iter().all(|root| root == first) => {
            let root = shortened(first, ROOT_DIGITS);
            story.good(format!("the three honest ones have one state: {root}"))?;
            story.fact("state_root", first)
        }
        _ => Err(CliError::failed(format!(
            "the honest validators don't agree: {roots:?}"
        ))),
    }
}
