//! Linearizable reads through the gateway: a barrier is ordered first (replica.md §7).
//!
//! ```text
//!   read A ──▶┐ arrives while barrier 1 runs: needs one that starts later
//!   read B ──▶┼──▶ barrier 2: a transaction without operations ──▶ certified here ──▶ A, B, C read
//!   read C ──▶┘
//! ```
//!
//! A barrier that *started* after a read arrived is ordered after every write that was certified before the read
//! began. So all reads that wait share the next one: however many there are, at most two barriers are under way in
//! their name.
//!
//! The gateway signs with a client key of its own, registered like any other. Its nonces need no file: a barrier
//! changes nothing, so two of them under one nonce (after a restart) do no harm; the one that comes second has no effect,
//! is waited for in vain, and the next takes a higher nonce.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::sync::Mutex;
use violeta_crypto::signing::ClientSecretKey;
use violeta_types::api::{BatchVerdict, ErrorCode, TransactionStatus, Wait};
use violeta_types::{Bounded, Nonce, TimeMs, Transaction, TransactionBody};

use super::error::ApiError;
use super::limits::{BARRIER_MS_MAX, RETRY_MS};
use super::source::Source;

/// How long a barrier stays valid: a little longer than it is waited for.
const BARRIER_EXPIRES_MS: u64 = 2 * BARRIER_MS_MAX;

/// Orders barriers, one at a time.
pub(crate) struct Barriers {
    key: ClientSecretKey,
    started: AtomicU64,
    run: Mutex<Run>,
}

#[derive(Default)]
struct Run {
    /// The last barrier that is certified.
    completed: u64,
    /// The last nonce signed here.
    nonce: Nonce,
}

impl Barriers {
    pub(crate) fn new(key: ClientSecretKey) -> Self {
        Barriers {
            key,
            started: AtomicU64::new(0),
            run: Mutex::default(),
        }
    }

    /// Returns when a barrier that started after this call is certified here.
    pub(crate) async fn pass(&self, source: &Arc<dyn Source>) -> Result<(), ApiError> {
        let needed = self.started.load(Ordering::SeqCst) + 1;
        let mut run = self.run.lock().await;
        if run.completed >= needed {
            return Ok(());
        }
        let number = self.started.fetch_add(1, Ordering::SeqCst) + 1;
        let transaction = self.sign(source, &mut run)?;
        order(source, transaction).await?;
        run.completed = number;
        Ok(())
    }

    fn sign(&self, source: &Arc<dyn Source>, run: &mut Run) -> Result<Transaction, ApiError> {
        let client = self.key.public_key().client_id();
        let account = source.account(&client)?;
        run.nonce = run.nonce.next().max(account.next_nonce);
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |elapsed| elapsed.as_millis() as u64);
        let body = TransactionBody {
            chain: source.genesis().chain_id(),
            key: self.key.public_key(),
            nonce: run.nonce,
            expires: TimeMs(now + BARRIER_EXPIRES_MS),
            operations: Bounded::default(),
        };
        let signature = self.key.sign_transaction(&body.id());
        Ok(Transaction { body, signature })
    }
}

async fn order(source: &Arc<dyn Source>, transaction: Transaction) -> Result<(), ApiError> {
    let id = transaction.id();
    let verdicts = source.submit(vec![transaction.to_bytes()]).await?;
    if let Some(BatchVerdict::Refused(detail)) = verdicts.into_iter().next() {
        return Err(failed(&format!("it wasn't taken: {}", detail.message)));
    }
    let at_most = Duration::from_millis(BARRIER_MS_MAX);
    match source.wait(id, Wait::Certified, at_most).await? {
        TransactionStatus::Certified { .. } => Ok(()),
        TransactionStatus::Expired => Err(failed("it expired before it was ordered")),
        _ => Err(failed(&format!("not certified within {BARRIER_MS_MAX} ms"))),
    }
}

fn failed(why: &str) -> ApiError {
    ApiError::new(
        ErrorCode::Overloaded,
        format!("the barrier before this read failed: {why}"),
        "try again, or read with consistency=certified",
    )
    .retry_in(RETRY_MS)
}

/// What a client is told where the gateway has no key.
pub(crate) fn not_configured() -> ApiError {
    ApiError::new(
        ErrorCode::NeedsClient,
        "this gateway has no client key to order a barrier with",
        "submit a transaction without operations with wait=certified, then read at the height in its outcome \
         (the SDK does so); or set http.barrier_key in this node's configuration",
    )
}
