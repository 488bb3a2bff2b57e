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
//! - upon a barrier that fails: who waits for one that it would have served is told the same, rather than to try again
//!   one after another, each for as long.
//! - upon a barrier that isn't taken: its nonce is used again, if the account's next one isn't higher. If it wasn't
//!   admitted, it is begun anew at the account's next nonce: many that were taken and never ordered may have led out of
//!   the window.
//!
//! The gateway signs with a client key of its own, registered like any other. Its nonces need no file: a barrier
//! changes nothing, so two of them under one nonce (after a restart) do no harm; the one that comes second has no effect,
//! is waited for in vain, and the next takes a higher nonce.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::Mutex;
use violeta_crypto::signing::ClientSecretKey;
use violeta_types::api::{BatchVerdict, ErrorCode, TransactionStatus, Wait};
use violeta_types::{Bounded, Nonce, TimeMs, Transaction, TransactionBody};

use super::error::ApiError;
use super::expiry;
use super::limits::{BARRIER_MS_MAX, RETRY_MS};
use super::source::Source;
use super::store;

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
    /// The last barrier that failed, and how.
    failed: Option<(u64, ApiError)>,
    /// The last nonce that was taken.
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
        // The one that runs, and then the one that serves this.
        let at_most = Duration::from_millis(2 * BARRIER_MS_MAX);
        let mut run = tokio::time::timeout(at_most, self.run.lock())
            .await
            .map_err(|_| failed("others before it take too long"))?;
        if run.completed >= needed {
            return Ok(());
        }
        if let Some((number, error)) = &run.failed
            && *number >= needed
        {
            return Err(error.clone());
        }
        let number = self.started.fetch_add(1, Ordering::SeqCst) + 1;
        match self.order(source, &mut run).await {
            Ok(()) => run.completed = number,
            Err(error) => {
                run.failed = Some((number, error.clone()));
                return Err(error);
            }
        }
        Ok(())
    }

    /// Submits a barrier and waits for its certificate.
    async fn order(&self, source: &Arc<dyn Source>, run: &mut Run) -> Result<(), ApiError> {
        let client = self.key.public_key().client_id();
        let account = store::ask(source, move |s| s.account(&client)).await?;
        let nonce = run.nonce.next().max(account.next_nonce);
        let transaction = self.sign(source, nonce);
        let id = transaction.id();
        let verdicts = source.submit(vec![transaction.to_bytes()]).await?;
        if let Some(BatchVerdict::Refused(detail)) = verdicts.into_iter().next() {
            if detail.code == ErrorCode::NotAdmitted {
                run.nonce = Nonce::default();
            }
            return Err(failed(&format!("it wasn't taken: {}", detail.message)));
        }
        run.nonce = nonce;
        let at_most = Duration::from_millis(BARRIER_MS_MAX);
        match source.wait(id, Wait::Certified, at_most).await? {
            TransactionStatus::Certified { .. } => Ok(()),
            TransactionStatus::Expired => Err(failed("it expired before it was ordered")),
            _ => Err(failed(&format!("not certified within {BARRIER_MS_MAX} ms"))),
        }
    }

    fn sign(&self, source: &Arc<dyn Source>, nonce: Nonce) -> Transaction {
        let body = TransactionBody {
            chain: source.genesis().chain_id(),
            key: self.key.public_key(),
            nonce,
            expires: TimeMs(expiry::now().0 + BARRIER_EXPIRES_MS),
            operations: Bounded::default(),
        };
        let signature = self.key.sign_transaction(&body.id());
        Transaction { body, signature }
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

#[cfg(test)]
mod tests {
    use super::super::testing::{Chain, client_key};
    use super::*;
    use std::sync::atomic::Ordering::SeqCst;

    fn world() -> (Arc<Chain>, Arc<dyn Source>, Barriers) {
        let chain = Chain::new();
        let source: Arc<dyn Source> = Arc::new(chain.clone());
        (chain, source, Barriers::new(client_key()))
    }

    #[tokio::test]
    async fn a_barrier_looks_up_its_account_where_that_holds_up_no_connection() {
        let (chain, source, barriers) = world();
        barriers.pass(&source).await.unwrap();
        let asked_on = chain.accounts_asked_on();
        assert_eq!(asked_on.len(), 1);
        // This test's thread is its runtime's only one.
        assert_ne!(asked_on[0], std::thread::current().id());
    }

    #[tokio::test]
    async fn a_barrier_that_is_not_taken_uses_up_no_nonce() {
        let (chain, source, barriers) = world();
        chain.overloaded.store(true, SeqCst);
        for _ in 0..5 {
            assert!(barriers.pass(&source).await.is_err());
        }
        chain.overloaded.store(false, SeqCst);
        barriers.pass(&source).await.unwrap();
        let client = client_key().public_key().client_id();
        assert_eq!(source.account(&client).unwrap().highest_nonce, Nonce(1));
    }

    #[tokio::test(start_paused = true)]
    async fn barriers_that_led_out_of_the_nonce_window_begin_anew() {
        let (chain, source, barriers) = world();
        chain.stalls.store(true, SeqCst);
        for _ in 0..super::super::testing::WINDOW {
            assert!(
                barriers.pass(&source).await.is_err(),
                "taken, never ordered"
            );
        }
        chain.stalls.store(false, SeqCst);
        let out = barriers.pass(&source).await.unwrap_err();
        assert!(out.detail.message.contains("window"), "{out:?}");
        barriers.pass(&source).await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn reads_that_wait_for_a_barrier_share_its_failure() {
        let (chain, source, barriers) = world();
        chain.stalls.store(true, SeqCst);
        let begin = tokio::time::Instant::now();
        let crowd = (0..20).map(|_| barriers.pass(&source));
        let results = futures::future::join_all(crowd).await;
        assert!(results.iter().all(Result::is_err));
        let most = Duration::from_millis(2 * BARRIER_MS_MAX + 1_000);
        assert!(begin.elapsed() <= most, "{:?}", begin.elapsed());
        assert!(chain.submissions() <= 2);
    }
}
