//! Submitting, and client intervention (DESIGN §4, replica.md §8).
//!
//! ```text
//!   t = 0           nearest validator gets the bytes and is asked to wait for the certificate
//!   t = patience    nothing yet: the same bytes to more, until those that have them hold more than f of the stake
//!                   (then one of them is honest, and includes them); who fails is replaced at once
//!   certificate     the outcome's proof is fetched and verified: a Receipt, or a proved refusal
//!   expiry          a barrier, sent to all until those who took it hold more than f, makes a block; a certified state
//!                   after the expiry, of one of more than f of the stake, shows the nonce spent or not: proved; all are
//!                   asked for the outcome meanwhile
//! ```
//!
//! Sending more than once is safe: it's the same transaction, executed once at the most.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use violeta_proof::{OutcomeProof, TrustedHead, Vouchers};
use violeta_types::api::{
    BINARY, BatchVerdict, ErrorCode, ErrorDetail, TransactionAnswer, TransactionStatus,
    WAIT_MS_MAX, encode_batch,
};
use violeta_types::limits::TRANSACTION_BYTES_MAX;
use violeta_types::transaction::Condition;
use violeta_types::{Bounded, Height, Nonce, Outcome, TimeMs, TxId};

use crate::account::Standing;
use crate::asks::Asks;
use crate::client::{Client, Failures, describe, now_ms};
use crate::error::ClientError;
use crate::http::{Failure, is_busy, json};
use crate::incident::Part;
use crate::limits::{NUDGE_MS, PAUSE_MS, READ_MS_MAX, RETRY_MS, SETTLE_MS_MAX, WAIT_MS};
use crate::nonces::{Begun, NonceError, UNDER_WAY_MAX};
use crate::read::{NoProof, asked_outcome};
use crate::transaction::{Operations, Signed, encoded_len, sign};

const _: () = assert!(WAIT_MS <= WAIT_MS_MAX);

/// A transaction's result, proved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// What became of it: height, position, executed or refused.
    pub outcome: Outcome,
    /// The head of its block.
    pub head: TrustedHead,
    /// Whose word was taken for the head.
    pub vouchers: Vouchers,
    /// The height that their word was given for: the head's own, or a newer one whose history leads to it.
    pub vouched_height: Height,
    /// Who gave the proof.
    pub validator: String,
    /// The proof itself: whoever has the trust can check it again.
    pub proof: Box<OutcomeProof>,
}

/// A signed transaction on its way.
#[derive(Clone)]
#[must_use = "nobody sees to it that the transaction arrives, unless it is waited for"]
pub struct Pending {
    client: Client,
    signed: Signed,
    /// Requests that carried the bytes and may have arrived. Shared by all clones, and never forgotten: once there is
    /// one, the transaction may be executed until it expires.
    sent: Arc<AtomicUsize>,
}

/// How sending to one validator ended.
enum End {
    Done(Box<Receipt>),
    Refused(Part),
    /// It says that this transaction will never be taken.
    Rejected(ErrorDetail),
    Failed(Failure),
    /// It says that the transaction can't be ordered any more: its word, no more.
    SaysExpired,
}

impl Client {
    /// Gives a key a value.
    ///
    /// # Errors
    /// See [`Client::transaction`].
    pub async fn put(
        &self,
        namespace: impl AsRef<[u8]>,
        key: impl AsRef<[u8]>,
        value: impl AsRef<[u8]>,
    ) -> Result<Receipt, ClientError> {
        self.transaction(Operations::new().put(namespace, key, value)?)
            .await
    }

    /// Takes a key's value away; refused if it has none.
    ///
    /// # Errors
    /// See [`Client::transaction`].
    pub async fn delete(
        &self,
        namespace: impl AsRef<[u8]>,
        key: impl AsRef<[u8]>,
    ) -> Result<Receipt, ClientError> {
        self.transaction(Operations::new().delete(namespace, key)?)
            .await
    }

    /// Gives a key a new value, or none, if what is expected holds.
    ///
    /// # Errors
    /// See [`Client::transaction`].
    pub async fn compare_and_set(
        &self,
        namespace: impl AsRef<[u8]>,
        key: impl AsRef<[u8]>,
        expected: Condition,
        value: Option<&[u8]>,
    ) -> Result<Receipt, ClientError> {
        let operations = Operations::new().compare_and_set(namespace, key, expected, value)?;
        self.transaction(operations).await
    }

    /// Finds out whether a condition holds, at a place in the order.
    ///
    /// # Errors
    /// See [`Client::transaction`]: that the condition doesn't hold is [`ClientError::Refused`].
    pub async fn require(
        &self,
        namespace: impl AsRef<[u8]>,
        key: impl AsRef<[u8]>,
        condition: Condition,
    ) -> Result<Receipt, ClientError> {
        self.transaction(Operations::new().require(namespace, key, condition)?)
            .await
    }

    /// Submits a transaction and waits for its proved result.
    ///
    /// # Errors
    /// [`ClientError::Refused`] and [`ClientError::Expired`] are proved; after [`ClientError::Unresolved`] and
    /// [`ClientError::NotTaken`] the transaction may still be executed until it expires.
    pub async fn transaction(&self, operations: Operations) -> Result<Receipt, ClientError> {
        self.submit(operations).await?.wait().await
    }

    /// Signs a transaction, under a nonce that is durable. It is sent when it is waited for: several may be under way.
    ///
    /// # Errors
    /// If it exceeds a limit, or no nonce can be had.
    pub async fn submit(&self, operations: Operations) -> Result<Pending, ClientError> {
        let mut signed = self.sign(vec![operations]).await?;
        let signed = signed.pop().ok_or_else(no_nonce)?;
        Ok(Pending::new(self.clone(), signed))
    }

    /// Signs many transactions and sends them to the nearest validator in one request. What it doesn't take is sent when
    /// it is waited for, like the rest.
    ///
    /// # Errors
    /// If one exceeds a limit, or there aren't nonces for all: at most [`UNDER_WAY_MAX`] may be under way.
    pub async fn submit_batch(
        &self,
        transactions: Vec<Operations>,
    ) -> Result<Vec<Pending>, ClientError> {
        let signed = self.sign(transactions).await?;
        let all: Vec<Bytes> = signed.iter().map(|s| s.bytes.clone()).collect();
        let pending: Vec<Pending> = (signed.into_iter())
            .map(|signed| Pending::new(self.clone(), signed))
            .collect();
        let mut rest = &pending[..];
        for part in parts(&all) {
            let (carried, after) = rest.split_at(part.len());
            rest = after;
            if self.send_batch(part).await? {
                for pending in carried {
                    pending.sent.fetch_add(1, Ordering::AcqRel);
                }
            }
        }
        Ok(pending)
    }

    /// Gives a batch to the first validator that takes one. Verdicts are left to those that wait: they send again what
    /// wasn't taken. Says whether anybody may have the bytes.
    async fn send_batch(&self, transactions: &[Bytes]) -> Result<bool, ClientError> {
        let mut sent = false;
        let body = encode_batch(transactions).map_err(|e| ClientError::Invalid(e.to_string()))?;
        for at in self.order().await {
            match self.send_batch_to(at, body.clone()).await {
                Ok(0) => sent = true,
                Ok(taken) => {
                    tracing::debug!(taken, of = transactions.len(), "batch submitted");
                    return Ok(true);
                }
                Err(failure) => sent |= !matches!(failure, Failure::NotSent(_)),
            }
        }
        Ok(sent)
    }

    /// How many of a batch one validator takes.
    async fn send_batch_to(&self, at: usize, body: Bytes) -> Result<usize, Failure> {
        let url = &self.0.endpoints[at].url;
        let at_most = Duration::from_millis(READ_MS_MAX);
        let http = &self.0.http;
        let result = http.post(url, "/v1/batch", body, BINARY, at_most).await;
        self.note(at, &result, false);
        let verdicts = violeta_types::decode::<Vec<BatchVerdict>>(&result?.bytes)
            .map_err(|e| Failure::Form(e.to_string()))?;
        let taken = |v: &&BatchVerdict| matches!(v, BatchVerdict::Taken(_));
        Ok(verdicts.iter().filter(taken).count())
    }

    /// Signs transactions under nonces of their own. The nonces are on disk before the first signature is made.
    async fn sign(&self, transactions: Vec<Operations>) -> Result<Vec<Signed>, ClientError> {
        let mut bounded = Vec::with_capacity(transactions.len());
        for operations in transactions {
            let operations = operations.bounded()?;
            let len = encoded_len(&operations);
            if len > TRANSACTION_BYTES_MAX {
                let message =
                    format!("a transaction of {len} bytes, at most {TRANSACTION_BYTES_MAX}");
                return Err(ClientError::Invalid(message));
            }
            bounded.push(operations);
        }
        let count = bounded.len() as u64;
        if count == 0 {
            return Ok(Vec::new());
        }
        if count > UNDER_WAY_MAX {
            let message =
                format!("{count} transactions at once, at most {UNDER_WAY_MAX}: split them");
            return Err(ClientError::Invalid(message));
        }
        let (nonces, expires) = self.reserve(count).await?;
        let signer = self.signer()?;
        let chain = self.chain();
        let signed = nonces
            .zip(bounded)
            .map(|(nonce, ops)| sign(&signer.key, chain, Nonce(nonce), expires, ops));
        Ok(signed.collect())
    }

    /// Nonces that are on disk, and the expiry that they were reserved for. Where too many are unresolved, asks the chain
    /// which of them are; and if an earlier process left the lowest, which nobody will say any more of, or it has expired,
    /// goes on asking until the chain's time has passed its expiry, and sees to it that it does. If the lowest is the
    /// barrier's that was to see to that, it was lost on its way, and is sent again.
    async fn reserve(&self, count: u64) -> Result<(Range<u64>, TimeMs), ClientError> {
        // It may take a while: the expiry counts from then on.
        self.begun().await?;
        let patience = self.0.expiry + Duration::from_millis(SETTLE_MS_MAX);
        let (begun, mut nudge_at) = (Instant::now(), Instant::now());
        let mut asked = false;
        loop {
            let now = now_ms();
            let expires = TimeMs(now.0 + self.0.expiry.as_millis() as u64);
            let blocked = match self.blocking(move |n| n.reserve(count, expires)).await {
                Err(ClientError::Nonces(error)) => error,
                reserved => return reserved.map(|nonces| (nonces, expires)),
            };
            let nudge = match blocked {
                // Perhaps what the chain tells now is enough.
                NonceError::TooManyUnresolved { .. } | NonceError::OutOfWindow { .. } if !asked => {
                    false
                }
                NonceError::TooManyUnresolved {
                    expires,
                    inherited,
                    barrier,
                    ..
                } if begun.elapsed() < patience && (inherited || barrier || expires < now) => {
                    let nudge = barrier || expires < now;
                    let pause_ms = if nudge { PAUSE_MS } else { NUDGE_MS };
                    tokio::time::sleep(Duration::from_millis(pause_ms)).await;
                    nudge
                }
                error => return Err(error.into()),
            };
            let learnt = self.learn().await;
            // One validator may fail for a moment; who reaches nobody at all is told at once. A chain without a block is no
            // failure: a barrier makes the first one.
            if !asked {
                learnt?;
            }
            asked = true;
            if nudge && Instant::now() >= nudge_at {
                nudge_at = Instant::now() + Duration::from_millis(NUDGE_MS);
                self.nudge().await;
            }
        }
    }

    /// Asks the nonces for something for which they may sync their file.
    async fn blocking<T: Send + 'static>(
        &self,
        ask: impl FnOnce(&Begun) -> Result<T, NonceError> + Send + 'static,
    ) -> Result<T, ClientError> {
        let nonces = self.begun().await?.clone();
        match tokio::task::spawn_blocking(move || ask(&nonces)).await {
            Ok(answer) => Ok(answer?),
            Err(error) => Err(ClientError::Config(format!(
                "the runtime is going down: {error}"
            ))),
        }
    }

    /// This client's account as each validator has it: whom to ask, best first.
    pub(crate) async fn accounts(
        &self,
    ) -> Vec<impl Future<Output = (usize, Result<Standing, NoProof>)>> {
        let order = self.order().await.into_iter();
        order
            .map(|at| async move { (at, self.account_from(at).await) })
            .collect()
    }

    /// Learns which nonces are resolved, from the certified states of validators of more than f of the stake: the others
    /// may have been cut off long ago, or show old states for ever. Gives the newest of these states. If fewer answer
    /// while the rest are waited for, what they have is true nonetheless.
    ///
    /// None if nobody proves a state, and somebody says that there is no block: that proves nothing, and one who lost its
    /// disk says it of every chain. So it doesn't stand for an answer.
    ///
    /// Who says nothing is waited for a short time only, once a state was proved that is as new as this client has seen
    /// any, or a quorum has said whatever it may be: one that is quick to show an old state cuts off nobody.
    async fn learn(&self) -> Result<Option<Standing>, ClientError> {
        let nonces = &self.signer()?.nonces;
        let mut failures = Failures::default();
        let mut asks = Asks::new(self.accounts().await);
        let (mut answered, mut newest) = (BTreeSet::new(), None::<Standing>);
        let (mut without_block, mut heard) = (BTreeSet::new(), BTreeSet::new());
        let height = |(_, head): &Standing| head.head().height;
        while let Some((at, standing)) = asks.next().await {
            if !matches!(&standing, Err(no_proof) if no_proof.is_silence()) {
                heard.insert(at);
            }
            match standing {
                Ok(standing) => {
                    answered.insert(at);
                    let (account, head) = &standing;
                    let highest = account.as_ref().map_or(Nonce(0), |account| account.highest);
                    let is_spent = |n| account.as_ref().is_some_and(|account| account.is_spent(n));
                    nonces.learn(highest, is_spent, head.head().time);
                    if newest
                        .as_ref()
                        .is_none_or(|n| height(n) < height(&standing))
                    {
                        newest = Some(standing);
                    }
                }
                Err(no_proof) if has_no_block(&no_proof) => drop(without_block.insert(at)),
                Err(no_proof) => failures.add_no_proof(self, at, "an account", no_proof),
            }
            if self.exceeds_faults(answered.iter().copied()) {
                break;
            }
            let is_new = newest.as_ref().is_some_and(|n| height(n) >= self.seen());
            if is_new || self.is_quorum(heard.iter().copied()) {
                asks.hurry();
            }
        }
        match answered.is_empty() && without_block.is_empty() {
            true => Err(failures.into_error()),
            false => Ok(newest),
        }
    }
}

/// Whether a validator says that it knows of no certified block yet.
pub(crate) fn has_no_block(no_proof: &NoProof) -> bool {
    matches!(no_proof, NoProof::Failed(Failure::Answer(detail)) if detail.code == ErrorCode::NotYetCertified)
}

fn no_nonce() -> ClientError {
    ClientError::Config("no nonce was reserved".into())
}

/// When somebody who failed may be asked again: a pause, and then who it is.
fn again(at: usize, failure: &Failure) -> impl Future<Output = usize> + use<> {
    let pause_ms = match failure {
        Failure::Answer(detail) => detail.retry_ms.unwrap_or(PAUSE_MS),
        _ => RETRY_MS,
    };
    let pause = Duration::from_millis(pause_ms.max(PAUSE_MS));
    async move {
        tokio::time::sleep(pause).await;
        at
    }
}

/// Cuts a list into batches within the bounds of one request.
fn parts(transactions: &[Bytes]) -> Vec<&[Bytes]> {
    use violeta_types::api::{BATCH_BYTES_MAX, BATCH_COUNT_MAX};
    let mut parts = Vec::new();
    let (mut begin, mut bytes) = (0, 4);
    for (i, transaction) in transactions.iter().enumerate() {
        let more = 4 + transaction.len();
        if i > begin && (bytes + more > BATCH_BYTES_MAX || i - begin == BATCH_COUNT_MAX) {
            parts.push(&transactions[begin..i]);
            (begin, bytes) = (i, 4);
        }
        bytes += more;
    }
    if begin < transactions.len() {
        parts.push(&transactions[begin..]);
    }
    parts
}

impl Pending {
    fn new(client: Client, signed: Signed) -> Self {
        let sent = Arc::default();
        Pending {
            client,
            signed,
            sent,
        }
    }

    /// The transaction's id.
    pub fn id(&self) -> TxId {
        self.signed.id
    }

    /// Its nonce.
    pub fn nonce(&self) -> Nonce {
        self.signed.nonce
    }

    /// The signed bytes, the same for every validator.
    pub fn bytes(&self) -> &Bytes {
        &self.signed.bytes
    }

    /// Whether somebody may have it: then it may be executed until it expires, whoever waits for it or doesn't.
    pub fn may_have_left(&self) -> bool {
        self.sent.load(Ordering::Acquire) > 0
    }

    /// When it can't be executed any more.
    pub fn expires(&self) -> TimeMs {
        self.signed.expires
    }

    /// Sees to it that the transaction arrives, and waits for its proved result.
    ///
    /// # Errors
    /// See [`Client::transaction`].
    pub async fn wait(&self) -> Result<Receipt, ClientError> {
        let begun = Instant::now();
        let left = self.signed.expires.0.saturating_sub(now_ms().0);
        let carried = match left {
            // It isn't sent any more: what is late already needn't be brought to life.
            0 => None,
            left => tokio::time::timeout(Duration::from_millis(left), self.carry())
                .await
                .ok(),
        };
        let receipt = match carried {
            Some(receipt) => receipt?,
            None => self.settle().await?,
        };
        self.client.roster().commit.observe(begun.elapsed());
        self.resolved(receipt)
    }

    /// The nonce is spent, and what that came to is proved.
    fn resolved(&self, receipt: Receipt) -> Result<Receipt, ClientError> {
        self.client.signer()?.nonces.spent(self.signed.nonce);
        match receipt.outcome.refused {
            None => Ok(receipt),
            Some((_, refusal)) => Err(ClientError::Refused {
                refusal,
                outcome: receipt.outcome,
            }),
        }
    }

    /// Round after round of validators, as long as somebody may have the transaction.
    async fn carry(&self) -> Result<Receipt, ClientError> {
        loop {
            match self.carry_once().await {
                Ok(receipt) => return Ok(receipt),
                // Nobody can have it: the caller may as well know now.
                Err(error) if !self.may_have_left() => return Err(error),
                Err(error @ ClientError::NotTaken { .. }) => return Err(error),
                Err(error) => {
                    tracing::debug!(%error, transaction = %self.signed.id, "asking again");
                    let pause_ms = match error {
                        ClientError::Overloaded { retry_ms } => retry_ms.max(PAUSE_MS),
                        _ => PAUSE_MS,
                    };
                    tokio::time::sleep(Duration::from_millis(pause_ms)).await;
                }
            }
        }
    }

    /// Goes on while anybody holds the bytes. Ends with an error once nobody does: all that could be asked have failed.
    async fn carry_once(&self) -> Result<Receipt, ClientError> {
        let client = &self.client;
        let committee = client.0.trust.committee();
        let mut order = client.order().await.into_iter();
        let patience = client.roster().commit.patience();
        let mut silence = std::pin::pin!(tokio::time::sleep(patience));
        let mut intervened = false;
        let mut running = FuturesUnordered::new();
        // Who failed is asked again while others hold the bytes: one of those may do so for ever and do nothing.
        let mut later = FuturesUnordered::new();
        // Those that have the bytes, as far as is known; and those that say they will never take them.
        let (mut holders, mut rejecters) = (BTreeSet::new(), BTreeSet::new());
        let mut failures = Failures::default();
        let mut rejection = None;
        if let Some(at) = order.next() {
            holders.insert(at);
            running.push(self.carry_to(at));
        }
        loop {
            tokio::select! {
                ended = running.next() => {
                    let Some((at, end)) = ended else {
                        return Err(failures.into_error());
                    };
                    holders.remove(&at);
                    match end {
                        End::Done(receipt) => return Ok(*receipt),
                        End::Refused(part) => {
                            failures.refuse(client, at, &asked_outcome(self.signed.id), part);
                        }
                        End::SaysExpired => {}
                        End::Failed(failure) => {
                            later.push(again(at, &failure));
                            failures.add(client, at, "a submission", failure);
                        }
                        End::Rejected(detail) => {
                            rejecters.insert(at);
                            rejection = Some(detail);
                        }
                    }
                    // One of so many is honest: it's true.
                    let believed = client.roster().exceeds_faults(rejecters.iter().copied(), committee);
                    let all_ended = running.is_empty() && order.len() == 0;
                    if let (true, Some(detail)) = (believed || all_ended, &rejection) {
                        return Err(ClientError::NotTaken { detail: detail.clone() });
                    }
                    // Who failed is replaced.
                    if let Some(at) = order.next() {
                        holders.insert(at);
                        running.push(self.carry_to(at));
                    }
                }
                Some(at) = later.next(), if !running.is_empty() => {
                    holders.insert(at);
                    running.push(self.carry_to(at));
                }
                () = &mut silence, if !intervened => {
                    intervened = true;
                    while !client.roster().exceeds_faults(holders.iter().copied(), committee) {
                        let Some(at) = order.next() else { break };
                        tracing::debug!(validator = %client.name(at), "client intervention");
                        holders.insert(at);
                        running.push(self.carry_to(at));
                    }
                }
            }
        }
    }

    /// Gives the bytes to one validator, waits there for the certificate, and verifies the proof.
    async fn carry_to(&self, at: usize) -> (usize, End) {
        loop {
            match self.post(at).await {
                Err(Failure::Answer(detail)) if is_busy(detail.code) => {
                    return (at, End::Failed(Failure::Answer(detail)));
                }
                Err(Failure::Answer(detail)) => return (at, End::Rejected(detail)),
                Err(failure) => return (at, End::Failed(failure)),
                Ok(TransactionStatus::Certified { .. }) => {
                    return (at, self.fetch_proof(at).await);
                }
                Ok(TransactionStatus::Expired) => return (at, End::SaysExpired),
                // Not there yet: the same bytes again do no harm, and wait again.
                Ok(_) => tokio::time::sleep(Duration::from_millis(PAUSE_MS)).await,
            }
        }
    }

    async fn post(&self, at: usize) -> Result<TransactionStatus, Failure> {
        let url = &self.client.0.endpoints[at].url;
        let path = format!("/v1/transactions?wait=certified&timeout_ms={WAIT_MS}");
        // The gateway answers after the wait at the latest.
        let at_most = Duration::from_millis(WAIT_MS + READ_MS_MAX);
        let bytes = self.signed.bytes.clone();
        let http = &self.client.0.http;
        // Counted before it leaves: whoever stops waiting in the middle doesn't know either.
        self.sent.fetch_add(1, Ordering::AcqRel);
        let result = http
            .post(url, &path, bytes, "application/json", at_most)
            .await;
        if let Err(Failure::NotSent(_)) = result {
            self.sent.fetch_sub(1, Ordering::AcqRel);
        }
        self.client.note(at, &result, false);
        Ok(json::<TransactionAnswer>(&result?)?.status)
    }

    async fn fetch_proof(&self, at: usize) -> End {
        loop {
            return match self.client.outcome_from(at, self.signed.id).await {
                Ok(receipt) => End::Done(Box::new(receipt)),
                // Certified, but not sealed: to who knows only the group's key it isn't proved before it is.
                Err(NoProof::Failed(Failure::Answer(detail)))
                    if detail.code == ErrorCode::NotYetCertified =>
                {
                    tokio::time::sleep(Duration::from_millis(PAUSE_MS)).await;
                    continue;
                }
                Err(NoProof::Failed(failure)) => End::Failed(failure),
                Err(NoProof::Refused(part)) => End::Refused(part),
            };
        }
    }

    /// The transaction has expired by this machine's clock: finds out for certain what became of it.
    async fn settle(&self) -> Result<Receipt, ClientError> {
        let Signed {
            id, nonce, expires, ..
        } = self.signed;
        self.client.settle(id, nonce, expires).await
    }
}

impl Client {
    /// What became of a transaction that this client signed earlier, perhaps in another process, with the key that it has
    /// now: waits until it is known for certain. It may still be executed until it expires. What became of another key's
    /// transaction its own account doesn't tell.
    ///
    /// # Errors
    /// [`ClientError::Expired`] if it never will be executed: proved. [`ClientError::Unresolved`] if that can't be
    /// found out.
    pub async fn fate(
        &self,
        transaction: TxId,
        nonce: Nonce,
        expires: TimeMs,
    ) -> Result<Receipt, ClientError> {
        while now_ms() <= expires {
            if let Ok(Some(receipt)) = self.outcome(transaction).await {
                return Ok(receipt);
            }
            tokio::time::sleep(Duration::from_millis(PAUSE_MS)).await;
        }
        self.settle(transaction, nonce, expires).await
    }

    async fn settle(
        &self,
        transaction: TxId,
        nonce: Nonce,
        expires: TimeMs,
    ) -> Result<Receipt, ClientError> {
        let limit = Duration::from_millis(SETTLE_MS_MAX);
        let settling = self.settle_at_last(transaction, nonce, expires);
        let unresolved = ClientError::Unresolved {
            transaction,
            expires,
        };
        let settled = tokio::time::timeout(limit, settling).await;
        settled.unwrap_or(Err(unresolved))
    }

    /// Two proofs end it, and they are looked for side by side: who keeps or delays the one doesn't keep the other.
    async fn settle_at_last(
        &self,
        transaction: TxId,
        nonce: Nonce,
        expires: TimeMs,
    ) -> Result<Receipt, ClientError> {
        tokio::select! {
            biased;
            receipt = self.until_outcome(transaction) => Ok(receipt),
            () = self.until_impossible(nonce, expires) => Err(ClientError::Expired { transaction }),
        }
    }

    /// Asks for an outcome until somebody proves one.
    async fn until_outcome(&self, transaction: TxId) -> Receipt {
        loop {
            if let Ok(Some(receipt)) = self.outcome(transaction).await {
                return receipt;
            }
            tokio::time::sleep(Duration::from_millis(NUDGE_MS)).await;
        }
    }

    /// Asks for the chain's state, and sees to it that its time goes on, until a state is proved in which a nonce is
    /// unspent after its expiry. Whatever leaves a trace spends its nonce: from then on nothing can. Of a nonce that is
    /// spent this never ends.
    async fn until_impossible(&self, nonce: Nonce, expires: TimeMs) {
        let mut nudge_at = Instant::now();
        loop {
            let learnt = self.learn().await;
            let newest = learnt.as_ref().ok().and_then(Option::as_ref);
            let over = newest.is_some_and(|(_, head)| head.head().time > expires);
            let spent = newest.is_some_and(|(account, _)| {
                account
                    .as_ref()
                    .is_some_and(|account| account.is_spent(nonce))
            });
            if over && !spent {
                return;
            }
            // The chain's time lags behind the clock's: one block may not be enough. And a chain may have none.
            if !over && Instant::now() >= nudge_at {
                nudge_at = Instant::now() + Duration::from_millis(NUDGE_MS);
                self.nudge().await;
            }
            tokio::time::sleep(Duration::from_millis(PAUSE_MS)).await;
        }
    }

    /// An idle chain makes no blocks, so its time stands still: a barrier makes one. Nobody waits for its result: what is
    /// learnt next tells whether it was spent, and until then it is the same one that is sent again.
    ///
    /// It is sent to everybody at once, until those that have taken it hold more than f of the stake: one who takes it and
    /// drops it, or who is cut off, would have time stand still, and looks like the best one to ask. Requests that are
    /// still under way then are cut off, and so are those of validators that say nothing for [`NUDGE_MS`] after the first
    /// has taken it, or a quorum has said anything: one that is quick to refuse it cuts off nobody. The same bytes do no
    /// harm: whoever nudges again sends them to everybody again.
    async fn nudge(&self) {
        let now = now_ms();
        let (nonce, expires) = match self.blocking(move |n| n.barrier(now)).await {
            Ok(barrier) => barrier,
            Err(error) => return tracing::debug!(%error, "no nonce for a barrier"),
        };
        let Ok(signer) = self.signer() else { return };
        let none = Bounded::default();
        let barrier = sign(&signer.key, self.chain(), nonce, expires, none);
        let body = match encode_batch(&[barrier.bytes]) {
            Ok(body) => body,
            Err(error) => return tracing::debug!(%error, "no barrier could be sent"),
        };
        let mut sends = Asks::new((0..self.0.endpoints.len()).map(|at| {
            let body = body.clone();
            async move { (at, self.send_batch_to(at, body).await) }
        }));
        let (mut takers, mut heard) = (BTreeSet::new(), BTreeSet::new());
        while let Some((at, taken)) = sends.next().await {
            if !matches!(&taken, Err(failure) if failure.is_silence()) {
                heard.insert(at);
            }
            match taken {
                Ok(0) => tracing::debug!(validator = %self.name(at), "takes no barrier"),
                Ok(_) => drop(takers.insert(at)),
                Err(failure) => {
                    tracing::debug!(validator = %self.name(at), why = %describe(failure), "takes no barrier");
                }
            }
            if self.exceeds_faults(takers.iter().copied()) {
                break;
            }
            if !takers.is_empty() || self.is_quorum(heard.iter().copied()) {
                sends.hurry();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use violeta_types::api::BATCH_BYTES_MAX;

    #[test]
    fn batches_are_cut_within_the_bounds_and_lose_nothing() {
        let large = Bytes::from(vec![0; TRANSACTION_BYTES_MAX]);
        let all = vec![large; 20];
        let parts = parts(&all);
        assert_eq!(parts.iter().map(|p| p.len()).sum::<usize>(), 20);
        for part in &parts {
            assert!(encode_batch(part).unwrap().len() <= BATCH_BYTES_MAX);
        }
        assert_eq!(parts.len(), 3, "7 of them fit");
        assert!(super::parts(&[]).is_empty());
    }
}
