//! Events as they happen, resumable (server-sent events).
//!
//! ```text
//!   GET /v1/events                      what happens from now on
//!   GET /v1/events?cursor=17.3          what happened after 17.3, then what happens
//!   Last-Event-ID: 17.3                 the same: browsers send it by themselves when they reconnect
//!   GET /v1/events?transaction=ID       that transaction: executed (HEIGHT.0), certified (HEIGHT.1); then the end
//! ```
//!
//! A reader may be as slow as it likes: events are read from where it is, nothing is kept for it.

use std::convert::Infallible;
use std::time::Duration;

use axum::Extension;
use axum::extract::State;
use axum::http::{HeaderMap, Uri};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures::stream::{self, BoxStream, Stream, StreamExt};
use serde::Deserialize;
use violeta_types::api::{ChainEvent, Cursor, EventKind, TransactionStatus, WAIT_MS_MAX, Wait};
use violeta_types::{Outcome, TxId};

use super::admission::Pass;
use super::error::ApiError;
use super::limits::KEEP_ALIVE_MS;
use super::request::{parse, query};
use super::source::SourceError;
use super::{App, Peer};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EventsQuery {
    cursor: Option<String>,
    transaction: Option<String>,
}

/// How long one wait for a transaction is; then another begins.
const LOOK_AGAIN: Duration = Duration::from_millis(WAIT_MS_MAX);

type Happenings = BoxStream<'static, Result<ChainEvent, SourceError>>;

/// `GET /v1/events`.
pub(crate) async fn events(
    State(app): State<App>,
    Extension(peer): Extension<Peer>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let wanted: EventsQuery = query(&uri)?;
    let resumed = headers
        .get("last-event-id")
        .map(|value| value.to_str().unwrap_or("?").to_owned());
    let after: Option<Cursor> = match resumed.or(wanted.cursor) {
        Some(text) => Some(parse("cursor", &text)?),
        None => None,
    };
    let pass = app
        .streams
        .enter(peer.0)
        .map_err(|full| app.streams.refusal(full))?;
    let happenings = match wanted.transaction.as_deref() {
        Some(text) => of_transaction(app, parse("transaction id", text)?, after),
        None => app.on_store(move |s| s.events(after)).await?,
    };
    let keep_alive = KeepAlive::new().interval(Duration::from_millis(KEEP_ALIVE_MS));
    let stream = as_sse(happenings, pass);
    Ok(Sse::new(stream).keep_alive(keep_alive).into_response())
}

/// Ends at the first error, which it tells.
fn as_sse(happenings: Happenings, pass: Pass) -> impl Stream<Item = Result<Event, Infallible>> {
    let ends_at_error = happenings.scan(false, |over, item| {
        let next = (!*over).then_some(item);
        *over = matches!(next, Some(Err(_)));
        futures::future::ready(next)
    });
    ends_at_error.map(move |item| {
        // The pass lives as long as the stream.
        let _open = &pass;
        Ok(match item {
            Ok(event) => event_of(&event),
            Err(error) => error_of(error),
        })
    })
}

fn event_of(event: &ChainEvent) -> Event {
    let named = Event::default()
        .id(event.cursor.to_string())
        .event(event.kind.name());
    match serde_json::to_string(event) {
        Ok(json) => named.data(json),
        Err(error) => error_of(SourceError::Failed(error.to_string())),
    }
}

fn error_of(error: SourceError) -> Event {
    let detail = ApiError::from(error).detail;
    let json = serde_json::to_string(&detail).unwrap_or_else(|_| "{}".into());
    Event::default().event("error").data(json)
}

/// What happens to one transaction: at most two events, then the end.
fn of_transaction(app: App, id: TxId, after: Option<Cursor>) -> Happenings {
    let steps = [(Wait::Executed, 0), (Wait::Certified, 1)];
    stream::iter(steps)
        .then(move |(wait, sequence)| {
            let source = app.source.clone();
            async move {
                let mut status = source.wait(id, wait, LOOK_AGAIN).await?;
                while !status.satisfies(wait) {
                    status = source.wait(id, wait, LOOK_AGAIN).await?;
                }
                Ok(told(&status, id, sequence))
            }
        })
        .filter_map(move |step: Result<Option<ChainEvent>, SourceError>| {
            let fresh = |event: &ChainEvent| after.is_none_or(|cursor| event.cursor > cursor);
            futures::future::ready(step.map(|event| event.filter(fresh)).transpose())
        })
        .boxed()
}

fn told(status: &TransactionStatus, id: TxId, sequence: u64) -> Option<ChainEvent> {
    let at = |outcome: &Outcome| Cursor {
        height: outcome.height,
        sequence,
    };
    match (status, sequence) {
        // Said once, by the first step.
        (TransactionStatus::Expired, 0) => Some(ChainEvent {
            cursor: Cursor::default(),
            kind: EventKind::Expired { transaction: id },
        }),
        (TransactionStatus::Executed { outcome }, 0)
        | (TransactionStatus::Certified { outcome }, 0) => Some(ChainEvent {
            cursor: at(outcome),
            kind: EventKind::Transaction {
                outcome: outcome.clone(),
                certified: false,
            },
        }),
        (TransactionStatus::Certified { outcome }, _) => Some(ChainEvent {
            cursor: at(outcome),
            kind: EventKind::Transaction {
                outcome: outcome.clone(),
                certified: true,
            },
        }),
        _ => None,
    }
}
