//! Proofs of many keys: of those that are named, of all that a namespace has, of all that changed in it.
//!
//! Their answers are proofs, always: what makes a listing worth asking for is that nothing is left out. Each walks trees
//! and reads values by the thousand, so each takes a turn, as all that costs much does; and what is made for it is put
//! into bytes there too, off the runtime's threads.

use axum::Extension;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, Uri};
use axum::response::Response;
use borsh::BorshSerialize;
use serde::{Deserialize, Serialize};
use violeta_proof::tree::Sides;
use violeta_proof::values_proof::VALUES_MAX;
use violeta_types::Bounded;
use violeta_types::api::VouchKind;
use violeta_types::limits::{KEY_BYTES_MAX, NAMESPACE_BYTES_MAX};
use violeta_types::transaction::{Key, NamespaceName};

use super::error::ApiError;
use super::forge::forge_values;
use super::limits::KEYS_BODY_BYTES_MAX;
use super::read::version;
use super::request::{self, At, bytes_of, encoded, height, page, query};
use super::source::{Source, SourceError};
use super::{App, Peer};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EntriesQuery {
    at: Option<String>,
    after: Option<String>,
    limit: Option<u32>,
    #[serde(default)]
    vouch: VouchKind,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ChangesQuery {
    from: String,
    to: Option<String>,
    after: Option<String>,
    limit: Option<u32>,
    #[serde(default)]
    vouch: VouchKind,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ValuesQuery {
    at: Option<String>,
    #[serde(default)]
    vouch: VouchKind,
}

fn name(text: &str) -> Result<NamespaceName, ApiError> {
    bytes_of::<NAMESPACE_BYTES_MAX>("namespace", text)
}

fn after(text: Option<&str>) -> Result<Option<Key>, ApiError> {
    let key = text.map(|text| bytes_of::<KEY_BYTES_MAX>("key", text));
    key.transpose()
}

/// Has a proof made, and put into the form that was asked for, when it is its turn.
async fn proof<P: Serialize + BorshSerialize>(
    app: &App,
    peer: Peer,
    headers: HeaderMap,
    ask: impl FnOnce(&dyn Source) -> Result<P, SourceError> + Send + 'static,
) -> Result<Response, ApiError> {
    let answer = move |source: &dyn Source| Ok(encoded(&headers, &ask(source)?));
    app.on_store_costly(peer, answer).await
}

/// `GET /v1/namespaces/{namespace}/entries`: a part of all that a namespace has, proved.
pub(crate) async fn entries(
    State(app): State<App>,
    Extension(peer): Extension<Peer>,
    Path(namespace): Path<String>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let wanted: EntriesQuery = query(&uri)?;
    let (namespace, after) = (name(&namespace)?, after(wanted.after.as_deref())?);
    let (limit, vouch) = (page(wanted.limit)?, wanted.vouch);
    let at = At::of(wanted.at.as_deref(), None)?;
    let height = version(&app, at, vouch).await?;
    proof(&app, peer, headers, move |s| {
        s.prove_entries(&namespace, after, limit, height, vouch)
    })
    .await
}

/// `GET /v1/namespaces/{namespace}/changes`: a part of all that differs between two heights, proved.
pub(crate) async fn changes(
    State(app): State<App>,
    Extension(peer): Extension<Peer>,
    Path(namespace): Path<String>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let wanted: ChangesQuery = query(&uri)?;
    let (namespace, after) = (name(&namespace)?, after(wanted.after.as_deref())?);
    let (limit, vouch) = (page(wanted.limit)?, wanted.vouch);
    let from = At::Height(height(&wanted.from)?);
    let to = At::of(wanted.to.as_deref(), None)?;
    let heights = Sides {
        old: version(&app, from, vouch).await?,
        new: version(&app, to, vouch).await?,
    };
    if heights.old >= heights.new {
        let Sides { old, new } = heights;
        return Err(ApiError::invalid(
            format!("nothing lies between height {old} and height {new}"),
            "ask for a `from` below `to`, which is the newest certified height if it isn't given",
        ));
    }
    proof(&app, peer, headers, move |s| {
        s.prove_changes(&namespace, after, limit, heights, vouch)
    })
    .await
}

/// `POST /v1/namespaces/{namespace}/values`: the values of the keys in the body, or of the first of them, proved. It
/// changes nothing: the keys are in a body because a line has no room for them.
pub(crate) async fn values(
    State(app): State<App>,
    Extension(peer): Extension<Peer>,
    Path(namespace): Path<String>,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let wanted: ValuesQuery = query(&uri)?;
    let namespace = name(&namespace)?;
    let (at, vouch) = (At::of(wanted.at.as_deref(), None)?, wanted.vouch);
    let received = request::body(&app, peer, &headers, body, KEYS_BODY_BYTES_MAX).await?;
    let keys: Bounded<Key, VALUES_MAX> = violeta_types::decode(&received.bytes)?;
    if keys.is_empty() {
        return Err(ApiError::invalid(
            "no key is asked for",
            format!("send 1 to {VALUES_MAX} keys"),
        ));
    }
    let height = version(&app, at, vouch).await?;
    let forge = app.forge.clone();
    proof(&app, peer, headers, move |s| {
        let mut proof = s.prove_values(&namespace, &keys, height, vouch)?;
        drop(received.room);
        if let Some(forge) = forge {
            forge_values(&*forge, &mut proof);
        }
        Ok(proof)
    })
    .await
}
