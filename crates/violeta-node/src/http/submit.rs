//! Transactions in: one or many, and what became of them (replica.md §6).

use std::time::Duration;

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use bytes::Bytes;
use serde::Deserialize;
use violeta_types::api::{
    BATCH_BYTES_MAX, BatchVerdict, ErrorCode, ErrorDetail, TransactionAnswer, TransactionStatus,
    VouchKind, WAIT_MS_DEFAULT, WAIT_MS_MAX, Wait, decode_batch,
};
use violeta_types::limits::TRANSACTION_BYTES_MAX;
use violeta_types::{Transaction, TxId};

use super::admission::Pass;
use super::error::ApiError;
use super::expiry;
use super::request::{self, encoded, query};
use super::source::{Recorded, SourceError};
use super::{App, Peer};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SubmitQuery {
    #[serde(default)]
    wait: Wait,
    timeout_ms: Option<u64>,
}

impl SubmitQuery {
    fn timeout(&self) -> Result<Duration, ApiError> {
        match self.timeout_ms.unwrap_or(WAIT_MS_DEFAULT) {
            ms if ms <= WAIT_MS_MAX => Ok(Duration::from_millis(ms)),
            ms => Err(ApiError::invalid(
                format!("timeout_ms={ms} is too long"),
                format!("wait at most {WAIT_MS_MAX} ms, then ask for the transaction's status"),
            )),
        }
    }
}

/// `POST /v1/transactions`: 200 once it has got as far as `wait` asks, 202 if it is on its way.
pub(crate) async fn one(
    State(app): State<App>,
    Extension(peer): Extension<Peer>,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let wanted: SubmitQuery = query(&uri)?;
    let timeout = wanted.timeout()?;
    let received = request::body(&app, peer, &headers, body, TRANSACTION_BYTES_MAX).await?;
    let mut verdicts = judged(&app, vec![received.bytes], received.room).await?;
    let transaction = match verdicts.pop() {
        Some(BatchVerdict::Taken(id)) if verdicts.is_empty() => id,
        Some(BatchVerdict::Refused(detail)) if verdicts.is_empty() => return Err(refused(detail)),
        _ => return Err(SourceError::Failed("one verdict per item".into()).into()),
    };
    let status = follow(&app, transaction, wanted.wait, timeout).await?;
    let code = match status.satisfies(wanted.wait) && wanted.wait != Wait::None {
        true => StatusCode::OK,
        false => StatusCode::ACCEPTED,
    };
    let answer = TransactionAnswer {
        transaction,
        status,
    };
    Ok((code, Json(answer)).into_response())
}

/// A verdict for each item. `room`, in which they came, is free once the replica has judged them.
async fn judged(app: &App, items: Vec<Bytes>, room: Pass) -> Result<Vec<BatchVerdict>, ApiError> {
    let ids: Vec<_> = items
        .iter()
        .map(|item| Transaction::id_of_encoded(item))
        .collect();
    let mut verdicts = submitted(app, items).await?;
    drop(room);
    taken_before(app, &mut verdicts, &ids).await?;
    Ok(verdicts)
}

/// Submits what may be taken at this time; all get verdicts, in order.
async fn submitted(app: &App, items: Vec<Bytes>) -> Result<Vec<BatchVerdict>, ApiError> {
    // A clock that is behind the blocks is wrong.
    let now = expiry::now().max(app.source.block_time());
    let refused: Vec<_> = items
        .iter()
        .map(|item| expiry::refusal(&app.chain, now, item))
        .collect();
    let timely: Vec<_> = (items.into_iter().zip(&refused))
        .filter_map(|(item, refused)| refused.is_none().then_some(item))
        .collect();
    let count = timely.len();
    let judged = match count {
        0 => Vec::new(),
        _ => app.source.submit(timely).await?,
    };
    if judged.len() != count {
        return Err(SourceError::Failed("one verdict per item".into()).into());
    }
    let mut judged = judged.into_iter();
    let verdict = |refused: Option<_>| refused.map(BatchVerdict::Refused).or_else(|| judged.next());
    Ok(refused.into_iter().filter_map(verdict).collect())
}

/// What comes again after it was executed isn't admitted, but that is no failure: it was taken before. So a client may
/// send the same bytes as often as it likes, to whom it likes (DESIGN §4, client intervention). All of a batch that
/// weren't admitted are looked up together.
async fn taken_before(
    app: &App,
    verdicts: &mut [BatchVerdict],
    ids: &[Option<TxId>],
) -> Result<(), ApiError> {
    let again: Vec<(usize, TxId)> = (verdicts.iter().zip(ids).enumerate())
        .filter(|(_, (verdict, _))| is_not_admitted(verdict))
        .filter_map(|(place, (_, id))| Some((place, (*id)?)))
        .collect();
    if again.is_empty() {
        return Ok(());
    }
    let asked: Vec<TxId> = again.iter().map(|(_, id)| *id).collect();
    let recorded = app.on_store(move |s| s.recorded(&asked)).await?;
    for ((place, id), recorded) in again.into_iter().zip(recorded) {
        match (recorded, &mut verdicts[place]) {
            (Recorded::Yes, verdict) => *verdict = BatchVerdict::Taken(id),
            (Recorded::Unknown, BatchVerdict::Refused(detail)) => not_known(detail),
            (Recorded::No, _) | (Recorded::Unknown, BatchVerdict::Taken(_)) => {}
        }
    }
    Ok(())
}

fn is_not_admitted(verdict: &BatchVerdict) -> bool {
    matches!(verdict, BatchVerdict::Refused(detail) if detail.code == ErrorCode::NotAdmitted)
}

/// "Not admitted" says that it did nothing. Who can't look up what was executed can't say that.
fn not_known(detail: &mut ErrorDetail) {
    detail.code = ErrorCode::NotIndexed;
    detail.message = format!(
        "{}; or it was executed before: this node keeps no index of transactions to look it up in",
        detail.message
    );
    detail.help = "ask another validator, or compare with the account's nonces".into();
}

async fn follow(
    app: &App,
    id: TxId,
    wait: Wait,
    timeout: Duration,
) -> Result<TransactionStatus, ApiError> {
    match wait {
        Wait::None => app.on_store(move |s| s.transaction(id)).await,
        _ => Ok(app.source.wait(id, wait, timeout).await?),
    }
}

fn refused(detail: ErrorDetail) -> ApiError {
    let retry_ms = detail.retry_ms;
    let error = ApiError::new(detail.code, detail.message, detail.help);
    match retry_ms {
        Some(ms) => error.retry_in(ms),
        None => error,
    }
}

/// `POST /v1/batch`: verdicts in order, as JSON or borsh.
pub(crate) async fn batch(
    State(app): State<App>,
    Extension(peer): Extension<Peer>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let bytes_max = BATCH_BYTES_MAX.min(app.body_bytes_max);
    let received = request::body(&app, peer, &headers, body, bytes_max).await?;
    let items = decode_batch(received.bytes)?;
    if items.is_empty() {
        return Ok(encoded(&headers, &Vec::<BatchVerdict>::new()));
    }
    let verdicts = judged(&app, items, received.room).await?;
    Ok(encoded(&headers, &verdicts))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct StatusQuery {
    #[serde(default)]
    proof: bool,
    #[serde(default)]
    vouch: VouchKind,
}

/// `GET /v1/transactions/{id}`.
pub(crate) async fn status(
    State(app): State<App>,
    Extension(peer): Extension<Peer>,
    Path(id): Path<String>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let wanted: StatusQuery = query(&uri)?;
    let transaction: TxId = request::parse("transaction id", &id)?;
    if wanted.proof {
        let proof = app
            .on_store_costly(peer, move |s| s.outcome_proof(transaction, wanted.vouch))
            .await?;
        return Ok(encoded(&headers, &proof));
    }
    let status = app.on_store(move |s| s.transaction(transaction)).await?;
    let answer = TransactionAnswer {
        transaction,
        status,
    };
    Ok(Json(answer).into_response())
}

#[cfg(test)]
mod tests {
    use super::super::testing::Fixture;
    use super::*;
    use violeta_types::api::encode_batch;
    use violeta_types::limits::EXPIRY_AHEAD_MS_MAX;
    use violeta_types::{TimeMs, Transaction};

    /// Signed by a client whose clock is an hour fast.
    fn early(fixture: &Fixture, nonce: u64) -> Transaction {
        let expires = expiry::now().0 + 3_600_000 + EXPIRY_AHEAD_MS_MAX / 10;
        fixture.chain.expiring(TimeMs(expires), nonce, vec![])
    }

    #[tokio::test]
    async fn who_signs_by_a_wrong_clock_is_told_and_spends_no_nonce() {
        let fixture = Fixture::new().await;
        let transaction = early(&fixture, 1);
        let response = fixture
            .post("/v1/transactions", transaction.to_bytes())
            .await;
        let (status, detail) = Fixture::error(response).await;
        assert_eq!((status, detail.code), (409, ErrorCode::NotAdmitted));
        assert!(
            detail.message.contains("600000 are admitted"),
            "{}",
            detail.message
        );
        assert!(detail.help.contains("clock"), "{}", detail.help);
        assert_eq!(fixture.chain.submissions(), 0, "the replica never saw it");
        fixture.put(1, b"key", b"the nonce is still there").await;
    }

    #[tokio::test]
    async fn in_a_batch_only_those_that_expire_too_late_are_refused_each_in_its_place() {
        let fixture = Fixture::new().await;
        let items = [
            early(&fixture, 1),
            fixture.chain.transaction(1, vec![]),
            early(&fixture, 2),
            fixture.chain.transaction(2, vec![]),
        ];
        let encoded = items.each_ref().map(Transaction::to_bytes);
        let batch = encode_batch(&encoded).unwrap();
        let response = fixture.post("/v1/batch", batch).await;
        assert_eq!(response.status(), 200);
        let verdicts: Vec<BatchVerdict> = response.json().await.unwrap();
        let taken: Vec<_> = verdicts
            .iter()
            .map(|verdict| match verdict {
                BatchVerdict::Taken(id) => Some(*id),
                BatchVerdict::Refused(detail) => {
                    assert_eq!(detail.code, ErrorCode::NotAdmitted);
                    None
                }
            })
            .collect();
        assert_eq!(
            taken,
            [None, Some(items[1].id()), None, Some(items[3].id())]
        );
    }
}
