//! The chain: heads, blocks, committee, genesis, and how the node is.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use violeta_types::Height;
use violeta_types::api::{BlockAnswer, BlocksAnswer, CommitteeAnswer, VouchKind};

use super::App;
use super::error::ApiError;
use super::request::{encoded, height, page, query};
use super::source::SourceError;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PageQuery<T> {
    from: Option<T>,
    limit: Option<u32>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct HeadQuery {
    #[serde(default)]
    proof: bool,
    #[serde(default)]
    vouch: VouchKind,
}

/// `GET /v1/head`: the newest certified head; or the newest sealed one, if a seal is to vouch for it.
pub(crate) async fn newest_head(
    State(app): State<App>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let wanted: HeadQuery = query(&uri)?;
    let newest = match wanted.vouch {
        VouchKind::Any => app.source.certified_height(),
        VouchKind::Seal => app.source.sealed_height(),
    };
    match (newest, wanted.vouch) {
        (Height(0), VouchKind::Any) => Err(ApiError::no_certified_head()),
        (Height(0), VouchKind::Seal) => Err(ApiError::no_sealed_head()),
        _ => answer_head(&app, newest, &wanted, &headers).await,
    }
}

/// `GET /v1/heads/{height}`: a head with certificate and seal, as far as there are; or a proof of it.
pub(crate) async fn head(
    State(app): State<App>,
    Path(text): Path<String>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let wanted: HeadQuery = query(&uri)?;
    answer_head(&app, height(&text)?, &wanted, &headers).await
}

async fn answer_head(
    app: &App,
    at: Height,
    wanted: &HeadQuery,
    headers: &HeaderMap,
) -> Result<Response, ApiError> {
    let kind = wanted.vouch;
    match wanted.proof {
        true => {
            let proof = app.on_store(move |s| s.head_proof(at, kind)).await?;
            Ok(encoded(headers, &proof))
        }
        false => {
            let answer = app.on_store(move |s| s.head(at)).await?;
            Ok(Json(answer).into_response())
        }
    }
}

/// `GET /v1/blocks?from=&limit=`: summaries by rising height; without `from`, the newest. Where blocks are large,
/// a page has fewer, and `next` says where to go on.
pub(crate) async fn blocks(State(app): State<App>, uri: Uri) -> Result<Response, ApiError> {
    let wanted: PageQuery<u64> = query(&uri)?;
    let limit = page(wanted.limit)?;
    let newest = app.source.status().height;
    let from = match wanted.from {
        Some(from) => Height(from.max(1)),
        None => Height(newest.0.saturating_sub(limit as u64 - 1).max(1)),
    };
    let blocks = match from <= newest {
        true => app.on_store(move |s| s.blocks(from, limit)).await?,
        false => Vec::new(),
    };
    let next = blocks.last().map(|block| block.height.next());
    let answer = BlocksAnswer {
        next: next.filter(|&height| height <= newest),
        blocks,
    };
    Ok(Json(answer).into_response())
}

/// `GET /v1/blocks/{height}`: a block's head and a page of its outcomes.
pub(crate) async fn block(
    State(app): State<App>,
    Path(text): Path<String>,
    uri: Uri,
) -> Result<Response, ApiError> {
    let at = height(&text)?;
    let wanted: PageQuery<u32> = query(&uri)?;
    let limit = page(wanted.limit)?;
    let block = app.on_store(move |s| s.block(at)).await?;
    let from = wanted.from.unwrap_or(0) as usize;
    let count = block.outcomes.len();
    if from > count {
        return Err(SourceError::NotFound(format!(
            "transaction {from} in block {at}: it has {count}"
        ))
        .into());
    }
    let end = count.min(from.saturating_add(limit));
    let answer = BlockAnswer {
        head: block.head.clone(),
        id: block.head.id(),
        certified: at <= app.source.certified_height(),
        transactions: count as u32,
        outcomes: block.outcomes[from..end].to_vec(),
        next: (end < count).then_some(end as u32),
    };
    Ok(Json(answer).into_response())
}

/// `GET /v1/committee`.
pub(crate) async fn committee(State(app): State<App>) -> Response {
    let committee = app.source.committee();
    Json(CommitteeAnswer {
        digest: committee.digest(),
        total_stake: committee.total_stake(),
        quorum_stake: committee.quorum_stake(),
        fault_stake: committee.fault_stake(),
        committee: (*committee).clone(),
    })
    .into_response()
}

/// `GET /v1/genesis`: the genesis file. Its digest names the chain.
pub(crate) async fn genesis(State(app): State<App>) -> Response {
    Json(&*app.source.genesis()).into_response()
}

/// `GET /v1/status`.
pub(crate) async fn status(State(app): State<App>) -> Response {
    Json(app.source.status()).into_response()
}

/// `GET /v1/health`: 200, or 503 with reasons.
pub(crate) async fn health(State(app): State<App>) -> Response {
    let health = app.source.health();
    let code = match health.healthy {
        true => StatusCode::OK,
        false => StatusCode::SERVICE_UNAVAILABLE,
    };
    (code, Json(health)).into_response()
}

/// `GET /metrics`: for Prometheus.
pub(crate) async fn metrics(State(app): State<App>) -> Response {
    const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    let text = app.source.metrics() + &app.metrics.text() + "# EOF\n";
    ([(CONTENT_TYPE, OPEN_METRICS)], text).into_response()
}
