//! How long one transaction takes, sampled under load.
//!
//! ```text
//!   POST /v1/transactions?wait=executed     the answer comes when that validator has executed it
//!   POST /v1/transactions?wait=certified    … when a quorum has vouched for its block
//! ```
//!
//! From before the request is written to after the answer is read, on a connection that is open already. Probes are
//! transactions like the others, from clients of their own, a few each second to each validator in turn; they wait in
//! the same queues. So the sample is of what a client sees, not of what a server says.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use reqwest::header::CONTENT_TYPE;
use violeta_types::api::{BINARY, TransactionAnswer, WAIT_MS_DEFAULT, Wait};

use super::pressure::http_client;
use crate::error::CliResult;

/// Between two probes of one prober.
const PAUSE: Duration = Duration::from_millis(100);

/// Times in microseconds.
#[derive(Clone, Debug, Default)]
pub(crate) struct Latencies {
    /// From submission to execution.
    pub(crate) commit_us: Vec<u64>,
    /// From submission to certificate.
    pub(crate) certificate_us: Vec<u64>,
    /// Probes that got no answer in time, or were refused.
    pub(crate) failures: u64,
}

impl Latencies {
    /// All of several, sorted.
    pub(crate) fn merged(parts: Vec<Latencies>) -> Latencies {
        let mut all = Latencies::default();
        for part in parts {
            all.commit_us.extend(part.commit_us);
            all.certificate_us.extend(part.certificate_us);
            all.failures += part.failures;
        }
        all.commit_us.sort_unstable();
        all.certificate_us.sort_unstable();
        all
    }
}

/// When probes count.
#[derive(Debug, Default)]
pub(crate) struct Switch {
    measuring: AtomicBool,
    over: AtomicBool,
}

impl Switch {
    /// From now on they count.
    pub(crate) fn begin(&self) {
        self.measuring.store(true, Ordering::Relaxed);
    }

    /// From now on none is sent.
    pub(crate) fn end(&self) {
        self.over.store(true, Ordering::Relaxed);
    }
}

/// Sends one transaction after another to the validators in turn.
///
/// # Errors
/// If no HTTP client can be had.
pub(crate) async fn probe(
    urls: Vec<String>,
    supply: Vec<Bytes>,
    pause: bool,
    switch: Arc<Switch>,
) -> CliResult<Latencies> {
    let http = http_client()?;
    let mut found = Latencies::default();
    for (i, bytes) in supply.into_iter().enumerate() {
        if switch.over.load(Ordering::Relaxed) {
            break;
        }
        let wait = if i % 2 == 0 {
            Wait::Executed
        } else {
            Wait::Certified
        };
        let url = &urls[(i / 2) % urls.len()];
        let took = once(&http, url, bytes, wait).await;
        if switch.measuring.load(Ordering::Relaxed) {
            match (took, wait) {
                (Some(us), Wait::Executed) => found.commit_us.push(us),
                (Some(us), _) => found.certificate_us.push(us),
                (None, _) => found.failures += 1,
            }
        }
        if pause {
            tokio::time::sleep(PAUSE).await;
        }
    }
    Ok(found)
}

async fn once(http: &reqwest::Client, url: &str, bytes: Bytes, wait: Wait) -> Option<u64> {
    let word = if wait == Wait::Executed {
        "executed"
    } else {
        "certified"
    };
    let url = format!("{url}/v1/transactions?wait={word}&timeout_ms={WAIT_MS_DEFAULT}");
    let begun = Instant::now();
    let request = http.post(url).header(CONTENT_TYPE, BINARY).body(bytes);
    let answer: TransactionAnswer = request.send().await.ok()?.json().await.ok()?;
    let took = begun.elapsed().as_micros() as u64;
    answer
        .status
        .outcome()
        .filter(|_| answer.status.satisfies(wait))?;
    Some(took)
}
