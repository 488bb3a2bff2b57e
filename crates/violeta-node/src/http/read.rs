//! Reads: keys, proofs, histories, namespaces, accounts (replica.md §7). Reading is public.

use axum::extract::{Path, State};
use axum::http::{HeaderMap, Uri};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use serde::Deserialize;
use violeta_types::api::{Consistency, KeyAnswer, Readable, VouchKind};
use violeta_types::limits::{KEY_BYTES_MAX, NAMESPACE_BYTES_MAX};
use violeta_types::transaction::{Key, NamespaceName};
use violeta_types::{ClientId, Height};

use super::error::ApiError;
use super::forge::{forge_answer, forge_proof};
use super::request::{At, bytes_of, encoded, page, parse, query};
use super::source::SourceError;
use super::{App, Peer};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyQuery {
    at: Option<String>,
    consistency: Option<Consistency>,
    #[serde(default)]
    proof: bool,
    #[serde(default)]
    vouch: VouchKind,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct VersionQuery {
    at: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct HistoryQuery {
    at: Option<String>,
    limit: Option<u32>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct KeysQuery {
    at: Option<String>,
    after: Option<String>,
    limit: Option<u32>,
}

/// The height that a request is about: certified, always; and sealed, or below one that is, if a seal is to vouch.
pub(super) async fn version(app: &App, at: At, vouch: VouchKind) -> Result<Height, ApiError> {
    if vouch == VouchKind::Seal {
        return sealed_version(app, at);
    }
    if at == At::Newest(Consistency::Linearizable) {
        app.barrier().await?;
    }
    let newest = app.source.certified_height();
    match at {
        _ if newest == Height(0) => Err(ApiError::no_certified_head()),
        At::Newest(_) => Ok(newest),
        At::Height(height) if height <= newest && height > Height(0) => Ok(height),
        At::Height(Height(0)) => Err(no_height_0()),
        At::Height(height) => Err(SourceError::NotYetCertified { height, newest }.into()),
    }
}

fn sealed_version(app: &App, at: At) -> Result<Height, ApiError> {
    let newest = app.source.sealed_height();
    match at {
        At::Newest(Consistency::Linearizable) => Err(ApiError::invalid(
            "no seal vouches for a barrier's block at once",
            "order a barrier of your own, and ask until its height is sealed",
        )),
        _ if newest == Height(0) => Err(ApiError::no_sealed_head()),
        At::Newest(_) => Ok(newest),
        At::Height(Height(0)) => Err(no_height_0()),
        At::Height(height) if height <= newest => Ok(height),
        At::Height(height) => Err(SourceError::NotYetSealed { height, newest }.into()),
    }
}

fn no_height_0() -> ApiError {
    SourceError::NotFound("height 0: the first is 1".into()).into()
}

async fn version_at(app: &App, at: Option<&str>) -> Result<Height, ApiError> {
    version(app, At::of(at, None)?, VouchKind::Any).await
}

fn names(namespace: &str, key: &str) -> Result<(NamespaceName, Key), ApiError> {
    Ok((
        bytes_of::<NAMESPACE_BYTES_MAX>("namespace", namespace)?,
        bytes_of::<KEY_BYTES_MAX>("key", key)?,
    ))
}

/// `GET /v1/namespaces/{namespace}/keys/{key}`: the value, or a proof of it or of its absence.
pub(crate) async fn key(
    State(app): State<App>,
    Path((namespace, key)): Path<(String, String)>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let wanted: KeyQuery = query(&uri)?;
    let (namespace, key) = names(&namespace, &key)?;
    let at = At::of(wanted.at.as_deref(), wanted.consistency)?;
    let height = version(&app, at, wanted.vouch).await?;
    if wanted.proof {
        let mut proof = app
            .on_store(move |s| s.prove(&namespace, &key, height, wanted.vouch))
            .await?;
        if let Some(forge) = &app.forge {
            forge_proof(&**forge, &mut proof);
        }
        return Ok(encoded(&headers, &proof));
    }
    let mut answer = app
        .on_store(move |s| {
            Ok(KeyAnswer {
                namespace: Readable::from(&namespace[..]),
                key: Readable::from(&key[..]),
                height,
                value: s.read(&namespace, &key, height)?,
            })
        })
        .await?;
    if let Some(forge) = &app.forge {
        forge_answer(&**forge, &mut answer);
    }
    Ok(Json(answer).into_response())
}

/// `GET /v1/namespaces/{namespace}/keys/{key}/history`: the versions of a key, newest first.
pub(crate) async fn history(
    State(app): State<App>,
    Extension(peer): Extension<Peer>,
    Path((namespace, key)): Path<(String, String)>,
    uri: Uri,
) -> Result<Response, ApiError> {
    let wanted: HistoryQuery = query(&uri)?;
    let (namespace, key) = names(&namespace, &key)?;
    let limit = page(wanted.limit)?;
    let height = version_at(&app, wanted.at.as_deref()).await?;
    let answer = app
        .on_store_costly(peer, move |s| s.history(&namespace, &key, height, limit))
        .await?;
    Ok(Json(answer).into_response())
}

/// `GET /v1/namespaces/{namespace}`: owner, grants, count.
pub(crate) async fn namespace(
    State(app): State<App>,
    Path(namespace): Path<String>,
    uri: Uri,
) -> Result<Response, ApiError> {
    let wanted: VersionQuery = query(&uri)?;
    let namespace = bytes_of::<NAMESPACE_BYTES_MAX>("namespace", &namespace)?;
    let height = version_at(&app, wanted.at.as_deref()).await?;
    let answer = app
        .on_store(move |s| s.namespace(&namespace, height))
        .await?;
    Ok(Json(answer).into_response())
}

/// `GET /v1/namespaces/{namespace}/keys`: a page of keys.
pub(crate) async fn keys(
    State(app): State<App>,
    Path(namespace): Path<String>,
    uri: Uri,
) -> Result<Response, ApiError> {
    let wanted: KeysQuery = query(&uri)?;
    let namespace = bytes_of::<NAMESPACE_BYTES_MAX>("namespace", &namespace)?;
    let after = match wanted.after.as_deref() {
        Some(text) => Some(bytes_of::<KEY_BYTES_MAX>("key", text)?),
        None => None,
    };
    let limit = page(wanted.limit)?;
    let height = version_at(&app, wanted.at.as_deref()).await?;
    let answer = app
        .on_store(move |s| s.keys(&namespace, after.as_ref(), limit, height))
        .await?;
    Ok(Json(answer).into_response())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NoQuery {}

/// `GET /v1/accounts/{client}`: key and nonces, after the newest block executed here.
pub(crate) async fn account(
    State(app): State<App>,
    Path(client): Path<String>,
    uri: Uri,
) -> Result<Response, ApiError> {
    let NoQuery {} = query(&uri)?;
    let client: ClientId = parse("client id", &client)?;
    let answer = app.on_store(move |s| s.account(&client)).await?;
    Ok(Json(answer).into_response())
}
