//! The closed loop: as much under way as the window allows, and no more.
//!
//! ```text
//!   prepared ─▶ lane 0 ─▶ POST /v1/batch ─▶ v0 ┐
//!               lane 1 ─▶       …        ─▶ v1 ├─▶ blocks ─▶ observer (events of one validator)
//!               …                              ┘                 │
//!      window ◀──────────── gives back as many places as the block has transactions ┘
//! ```
//!
//! A client's transactions go to one validator, in order. What a validator refuses because it is full is sent again
//! after the pause that it asks for; what it refuses for good is counted by reason.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use reqwest::header::{ACCEPT, CONTENT_TYPE};
use tokio::sync::Semaphore;
use violeta_types::api::{BINARY, BatchVerdict, ErrorCode, EventKind, encode_batch};

use super::workload::{Numbers, opaque};
use crate::error::{CliError, CliResult};
use crate::gateway::Gateway;

/// Requests under way to each validator.
const REQUESTS_EACH: usize = 2;
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
const OVERLOADED_PAUSE: Duration = Duration::from_millis(20);
const RECONNECT_PAUSE: Duration = Duration::from_millis(200);
/// After so many failures in a row a validator is given up: it has been killed, or never was there.
const FAILURES_MAX: u32 = 10;

/// Where a lane's transactions come from.
pub(crate) enum Supply {
    /// Made as they are needed, for ever.
    Opaque(Numbers),
    /// Signed before; ends.
    Prepared(VecDeque<Bytes>),
}

impl Supply {
    /// One client's transactions after another's, in turn, so that none runs far ahead.
    pub(crate) fn interleaved(clients: Vec<Vec<Bytes>>) -> Supply {
        let longest = clients.iter().map(Vec::len).max().unwrap_or(0);
        let mut queue = VecDeque::with_capacity(clients.len() * longest);
        for i in 0..longest {
            queue.extend(clients.iter().filter_map(|c| c.get(i).cloned()));
        }
        Supply::Prepared(queue)
    }

    fn take(&mut self, count: usize) -> Vec<Bytes> {
        match self {
            Supply::Opaque(numbers) => (0..count).map(|_| opaque(numbers)).collect(),
            Supply::Prepared(queue) => queue.drain(..count.min(queue.len())).collect(),
        }
    }

    fn give_back(&mut self, transactions: Vec<Bytes>) {
        if let Supply::Prepared(queue) = self {
            for bytes in transactions.into_iter().rev() {
                queue.push_front(bytes);
            }
        }
    }
}

/// A block, as the observer saw it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seen {
    /// When its event came.
    pub(crate) at: Instant,
    /// Its height.
    pub(crate) height: u64,
    /// How many transactions it records.
    pub(crate) transactions: u64,
}

/// What all lanes and the observer share.
pub(crate) struct Pressure {
    window: Semaphore,
    stop: AtomicBool,
    exhausted: AtomicBool,
    overloaded: AtomicU64,
    refused: Mutex<BTreeMap<String, u64>>,
    seen: Mutex<Vec<Seen>>,
}

impl Pressure {
    /// With room for `window` transactions.
    pub(crate) fn new(window: usize) -> Arc<Pressure> {
        Arc::new(Pressure {
            window: Semaphore::new(window),
            stop: AtomicBool::new(false),
            exhausted: AtomicBool::new(false),
            overloaded: AtomicU64::new(0),
            refused: Mutex::default(),
            seen: Mutex::default(),
        })
    }

    /// No more is sent.
    pub(crate) fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
        self.window.close();
    }

    /// Gives places back for transactions that died with a validator: nobody will see them in a block.
    pub(crate) fn forget(&self, transactions: usize) {
        self.window.add_permits(transactions);
    }

    /// Whether a lane ran out of prepared transactions before the end.
    pub(crate) fn is_exhausted(&self) -> bool {
        self.exhausted.load(Ordering::Relaxed)
    }

    /// How often a validator said that it was full.
    pub(crate) fn overloaded(&self) -> u64 {
        self.overloaded.load(Ordering::Relaxed)
    }

    /// What was refused for good, by reason.
    pub(crate) fn refused(&self) -> BTreeMap<String, u64> {
        self.refused
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// The blocks that were seen, in order.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn count_refused(&self, reason: &str) {
        let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        *refused.entry(reason.to_owned()).or_default() += 1;
    }

    fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}

/// Follows one validator's blocks and gives their places back, until the pressure stops.
pub(crate) async fn observe(gateway: Gateway, pressure: Arc<Pressure>) {
    let mut after = None;
    while !pressure.stopped() {
        let Ok(mut events) = gateway.events(after.as_deref()).await else {
            tokio::time::sleep(RECONNECT_PAUSE).await;
            continue;
        };
        while let Ok(Some(event)) = events.next().await {
            after = Some(event.cursor.to_string());
            note(&pressure, &event.kind);
            if pressure.stopped() {
                return;
            }
        }
    }
}

fn note(pressure: &Pressure, event: &EventKind) {
    let EventKind::Block {
        height,
        transactions,
        ..
    } = event
    else {
        return;
    };
    let seen = Seen {
        at: Instant::now(),
        height: height.0,
        transactions: u64::from(*transactions),
    };
    pressure
        .seen
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .push(seen);
    if !pressure.stopped() {
        pressure.window.add_permits(*transactions as usize);
    }
}

/// Sends one validator its share, until the pressure stops or nothing is left.
pub(crate) async fn lane(
    url: String,
    supply: Supply,
    batch: usize,
    pressure: Arc<Pressure>,
) -> CliResult {
    let http = http_client()?;
    let supply = Arc::new(Mutex::new(supply));
    let senders = (0..REQUESTS_EACH).map(|_| {
        let (url, http) = (format!("{url}/v1/batch"), http.clone());
        sender(url, http, supply.clone(), batch, pressure.clone())
    });
    futures::future::join_all(senders).await;
    Ok(())
}

/// A client that keeps its connections open.
///
/// # Errors
/// If the system's resources don't allow one.
pub(crate) fn http_client() -> CliResult<reqwest::Client> {
    reqwest::Client::builder()
        .timeout(REQUEST_TIMEOUT)
        .tcp_nodelay(true)
        .no_proxy()
        .build()
        .map_err(CliError::failed)
}

async fn sender(
    url: String,
    http: reqwest::Client,
    supply: Arc<Mutex<Supply>>,
    batch: usize,
    pressure: Arc<Pressure>,
) {
    let mut failures = 0;
    while !pressure.stopped() {
        let Ok(places) = pressure.window.acquire_many(batch as u32).await else {
            return;
        };
        let transactions = lock(&supply).take(batch);
        if transactions.is_empty() {
            pressure.exhausted.store(true, Ordering::Relaxed);
            return;
        }
        // Whatever isn't taken gives its place back below; what is, when its block is seen.
        places.forget();
        let unused = batch - transactions.len();
        let (again, lost) = match send(&http, &url, &transactions).await {
            Ok(verdicts) => {
                failures = 0;
                judge(transactions, verdicts, &pressure)
            }
            Err(_) => {
                failures += 1;
                (transactions, 0)
            }
        };
        pressure.window.add_permits(again.len() + lost + unused);
        if !again.is_empty() {
            lock(&supply).give_back(again);
            tokio::time::sleep(OVERLOADED_PAUSE).await;
        }
        if failures >= FAILURES_MAX {
            return;
        }
    }
}

fn lock(supply: &Mutex<Supply>) -> std::sync::MutexGuard<'_, Supply> {
    supply.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What is to be sent again, and how many were refused for good.
fn judge(
    transactions: Vec<Bytes>,
    verdicts: Vec<BatchVerdict>,
    pressure: &Pressure,
) -> (Vec<Bytes>, usize) {
    let mut again = Vec::new();
    let mut lost = 0;
    for (bytes, verdict) in transactions.into_iter().zip(verdicts) {
        match verdict {
            BatchVerdict::Taken(_) => {}
            BatchVerdict::Refused(detail) if detail.code == ErrorCode::Overloaded => {
                pressure.overloaded.fetch_add(1, Ordering::Relaxed);
                again.push(bytes);
            }
            BatchVerdict::Refused(detail) => {
                pressure.count_refused(&detail.message);
                lost += 1;
            }
        }
    }
    (again, lost)
}

async fn send(
    http: &reqwest::Client,
    url: &str,
    transactions: &[Bytes],
) -> CliResult<Vec<BatchVerdict>> {
    let body = encode_batch(transactions).map_err(CliError::failed)?;
    let request = http
        .post(url)
        .header(CONTENT_TYPE, BINARY)
        .header(ACCEPT, BINARY)
        .body(body);
    let response = request.send().await.map_err(CliError::unreachable)?;
    let status = response.status();
    let bytes = response.bytes().await.map_err(CliError::unreachable)?;
    if !status.is_success() {
        return Err(CliError::failed(String::from_utf8_lossy(&bytes)));
    }
    let verdicts: Vec<BatchVerdict> = violeta_types::decode(&bytes).map_err(CliError::failed)?;
    match verdicts.len() == transactions.len() {
        true => Ok(verdicts),
        false => Err(CliError::failed(
            "a batch was answered with another number of verdicts",
        )),
    }
}

/// Submits a batch once and fails if any transaction is refused.
///
/// # Errors
/// If it can't be sent, or something in it is refused.
pub(crate) async fn submit_all(url: &str, transactions: &[Bytes]) -> CliResult {
    let verdicts = send(&http_client()?, &format!("{url}/v1/batch"), transactions).await?;
    for verdict in verdicts {
        if let BatchVerdict::Refused(detail) = verdict {
            return Err(CliError::failed(detail.message).help(detail.help));
        }
    }
    Ok(())
}

/// The longest time without a block that holds transactions, between two instants.
pub(crate) fn longest_gap(seen: &[Seen], from: Instant, to: Instant) -> Duration {
    let mut last = from;
    let mut longest = Duration::ZERO;
    let filled = seen
        .iter()
        .filter(|s| s.transactions > 0 && s.at >= from && s.at <= to);
    for at in filled.map(|s| s.at).chain([to]) {
        longest = longest.max(at.saturating_duration_since(last));
        last = at;
    }
    longest
}

#[cfg(test)]
mod tests {
    use super::*;
    use violeta_types::TxId;
    use violeta_types::api::ErrorDetail;

    fn refusal(code: ErrorCode) -> BatchVerdict {
        BatchVerdict::Refused(ErrorDetail {
            code,
            message: "why".into(),
            help: String::new(),
            retry_ms: None,
        })
    }

    #[test]
    fn clients_take_turns_and_what_comes_back_is_first_again() {
        let bytes = |s: &'static str| Bytes::from_static(s.as_bytes());
        let mut supply = Supply::interleaved(vec![
            vec![bytes("a1"), bytes("a2"), bytes("a3")],
            vec![bytes("b1")],
        ]);
        assert_eq!(supply.take(3), ["a1", "b1", "a2"]);
        supply.give_back(vec![bytes("b1"), bytes("a2")]);
        assert_eq!(supply.take(9), ["b1", "a2", "a3"]);
        assert!(supply.take(1).is_empty());
    }

    #[test]
    fn only_what_found_no_room_is_sent_again() {
        let pressure = Pressure::new(0);
        let transactions: Vec<_> = ["a", "b", "c"].map(Bytes::from).to_vec();
        let verdicts = vec![
            BatchVerdict::Taken(TxId::default()),
            refusal(ErrorCode::Overloaded),
            refusal(ErrorCode::InvalidTransaction),
        ];
        let (again, lost) = judge(transactions, verdicts, &pressure);
        assert_eq!((again, lost), (vec![Bytes::from("b")], 1));
        assert_eq!(pressure.overloaded(), 1);
        assert_eq!(pressure.refused()["why"], 1);
    }

    #[test]
    fn the_longest_gap_counts_the_edges_and_skips_empty_blocks() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let seen = |ms, transactions| Seen {
            at: at(ms),
            height: ms,
            transactions,
        };
        let blocks = [seen(100, 1), seen(150, 0), seen(400, 2), seen(450, 1)];
        assert_eq!(
            longest_gap(&blocks, start, at(500)),
            Duration::from_millis(300)
        );
        assert_eq!(
            longest_gap(&blocks, start, at(1_000)),
            Duration::from_millis(550)
        );
        assert_eq!(longest_gap(&[], start, at(70)), Duration::from_millis(70));
    }
}
