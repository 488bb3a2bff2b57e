//! Taking requests apart: queries, paths, headers, bodies. What is wrong is said in the words of the request.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::Query;
use axum::http::header::{ACCEPT, CONTENT_LENGTH, CONTENT_TYPE};
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use borsh::BorshSerialize;
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use serde::Serialize;
use serde::de::DeserializeOwned;
use violeta_types::Height;
use violeta_types::api::{BINARY, Consistency, ErrorCode, PAGE_DEFAULT, PAGE_MAX, Readable};
use violeta_types::codec::Blob;

use super::admission::{Gate, Pass, kib};
use super::error::ApiError;
use super::limits::BODY_READ_MS_MAX;
use super::{App, Peer};

/// The name of the newest certified version in `at`.
pub(crate) const LATEST_CERTIFIED: &str = "latest-certified";

/// A query string as `T`; parameters that `T` doesn't know are refused.
pub(crate) fn query<T: DeserializeOwned>(uri: &Uri) -> Result<T, ApiError> {
    let Query(value) = Query::try_from_uri(uri).map_err(|e| {
        let reason = std::error::Error::source(&e).map_or_else(|| e.to_string(), |s| s.to_string());
        ApiError::invalid(
            format!("the query can't be read: {reason}"),
            "see /docs for this route's parameters",
        )
    })?;
    Ok(value)
}

/// A part of a path that stands for bytes.
pub(crate) fn bytes_of<const MAX: usize>(
    what: &'static str,
    text: &str,
) -> Result<Blob<MAX>, ApiError> {
    let help = "write it as percent-encoded text, or as hex: and hexadecimal digits";
    let readable: Readable = text
        .parse()
        .map_err(|e| ApiError::invalid(format!("the {what} can't be read: {e}"), help))?;
    Blob::try_from(readable.0).map_err(|e| {
        let message = format!("the {what} is too long: {} bytes, at most {}", e.len, e.max);
        ApiError::invalid(message, help)
    })
}

/// A part of a path that stands for a number or a digest.
pub(crate) fn parse<T: std::str::FromStr>(what: &'static str, text: &str) -> Result<T, ApiError>
where
    T::Err: std::fmt::Display,
{
    text.parse().map_err(|e| {
        let shown: String = text.chars().take(80).collect();
        ApiError::invalid(
            format!("{shown:?} is no {what}: {e}"),
            "see /docs for what this route takes",
        )
    })
}

/// A height in a path.
pub(crate) fn height(text: &str) -> Result<Height, ApiError> {
    parse("height", text).map(Height)
}

/// The length of a page that was asked for.
pub(crate) fn page(limit: Option<u32>) -> Result<usize, ApiError> {
    match limit.unwrap_or(PAGE_DEFAULT) {
        limit @ 1..=PAGE_MAX => Ok(limit as usize),
        limit => Err(ApiError::page(limit)),
    }
}

/// Which version a request wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum At {
    /// The newest certified one, perhaps after a barrier.
    Newest(Consistency),
    /// This one.
    Height(Height),
}

impl At {
    /// What `at` and `consistency` say together.
    pub(crate) fn of(at: Option<&str>, consistency: Option<Consistency>) -> Result<Self, ApiError> {
        let newest = At::Newest(consistency.unwrap_or_default());
        match at {
            None | Some(LATEST_CERTIFIED) => Ok(newest),
            Some(_) if consistency == Some(Consistency::Linearizable) => Err(ApiError::invalid(
                "a fixed height can't be read linearizably: it never changes",
                "leave out either at or consistency",
            )),
            Some(text) => text.parse().map(|n| At::Height(Height(n))).map_err(|_| {
                let shown: String = text.chars().take(40).collect();
                ApiError::invalid(
                    format!("at={shown} is no version"),
                    format!("write at={LATEST_CERTIFIED} or a height"),
                )
            }),
        }
    }
}

/// Whether the client wants borsh.
pub(crate) fn wants_binary(headers: &HeaderMap) -> bool {
    let names = |value: &axum::http::HeaderValue| {
        value.to_str().is_ok_and(|text| {
            text.split(',')
                .any(|part| part.split(';').next().map(str::trim) == Some(BINARY))
        })
    };
    headers.get_all(ACCEPT).iter().any(names)
}

/// A value in the form that was asked for.
pub(crate) fn encoded<T: Serialize + BorshSerialize>(headers: &HeaderMap, value: &T) -> Response {
    if wants_binary(headers) {
        ([(CONTENT_TYPE, BINARY)], violeta_types::encode(value)).into_response()
    } else {
        (StatusCode::OK, axum::Json(value)).into_response()
    }
}

/// A body, and the room that it takes until it is dropped.
pub(crate) struct Received {
    pub(crate) bytes: Bytes,
    pub(crate) room: Pass,
}

/// Reads a binary body of at most `bytes_max`, within the time that bodies have. Room is taken for what has come, not
/// for what was announced: who sends slowly holds little.
pub(crate) async fn body(
    app: &App,
    peer: Peer,
    headers: &HeaderMap,
    body: Body,
    bytes_max: usize,
) -> Result<Received, ApiError> {
    check_media_type(headers)?;
    let length = announced(headers)?;
    if length.is_some_and(|length| length > bytes_max) {
        return Err(too_large(bytes_max));
    }
    let limit = Duration::from_millis(BODY_READ_MS_MAX);
    let reading = receive(&app.bodies, peer, body, bytes_max);
    match tokio::time::timeout(limit, reading).await {
        Ok(received) => received,
        Err(_) => Err(ApiError::new(
            ErrorCode::TooSlow,
            format!("the body didn't come within {BODY_READ_MS_MAX} ms"),
            "send it faster, or in smaller batches",
        )),
    }
}

/// The length that a request says its body has; it needn't.
fn announced(headers: &HeaderMap) -> Result<Option<usize>, ApiError> {
    let Some(value) = headers.get(CONTENT_LENGTH) else {
        return Ok(None);
    };
    let length = value.to_str().ok().and_then(|text| text.parse().ok());
    match length {
        Some(length) => Ok(Some(length)),
        None => Err(ApiError::invalid(
            "content-length is no number",
            "send the length",
        )),
    }
}

async fn receive(
    bodies: &Arc<Gate>,
    peer: Peer,
    mut body: Body,
    bytes_max: usize,
) -> Result<Received, ApiError> {
    let full = |full| bodies.refusal(full);
    let mut room = bodies.enter_with(peer.0, 0).map_err(full)?;
    let mut bytes = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame
            .map_err(|e| ApiError::invalid(format!("the body broke off: {e}"), "send it again"))?;
        // Trailers say nothing here.
        let Ok(data) = frame.into_data() else {
            continue;
        };
        let length = bytes.len() + data.len();
        if length > bytes_max {
            return Err(too_large(bytes_max));
        }
        let more = kib(length as u64) - room.count();
        room.more(more).map_err(full)?;
        bytes.extend_from_slice(&data);
    }
    Ok(Received {
        bytes: bytes.freeze(),
        room,
    })
}

fn check_media_type(headers: &HeaderMap) -> Result<(), ApiError> {
    let given = headers.get(CONTENT_TYPE).and_then(|v| v.to_str().ok());
    match given.map(|text| text.split(';').next().unwrap_or_default().trim()) {
        None | Some(BINARY) => Ok(()),
        Some(other) => Err(ApiError::new(
            ErrorCode::UnsupportedMediaType,
            format!(
                "a body of {:?} can't be read",
                &other[..other.len().min(80)]
            ),
            format!("send borsh as {BINARY}"),
        )),
    }
}

fn too_large(bytes_max: usize) -> ApiError {
    ApiError::new(
        ErrorCode::TooLarge,
        format!("the body has more than {bytes_max} bytes"),
        "split it",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    #[test]
    fn at_and_consistency_say_one_version() {
        use Consistency::{Certified, Linearizable};
        let newest = |c| Ok(At::Newest(c));
        assert_eq!(At::of(None, None), newest(Certified));
        assert_eq!(At::of(Some(LATEST_CERTIFIED), None), newest(Certified));
        assert_eq!(At::of(None, Some(Linearizable)), newest(Linearizable));
        assert_eq!(At::of(Some("7"), None), Ok(At::Height(Height(7))));
        assert!(At::of(Some("7"), Some(Linearizable)).is_err());
        let error = At::of(Some("latest"), None).unwrap_err();
        assert!(error.detail.help.contains(LATEST_CERTIFIED));
    }

    #[test]
    fn binary_is_what_accept_names_among_others() {
        let accepts = |text: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(ACCEPT, HeaderValue::from_static(text));
            wants_binary(&headers)
        };
        assert!(accepts("application/octet-stream"));
        assert!(accepts("application/json, application/octet-stream;q=0.9"));
        assert!(!accepts("*/*"));
        assert!(!accepts("application/json"));
        assert!(!wants_binary(&HeaderMap::new()));
    }

    #[test]
    fn keys_in_paths_are_text_or_hex_and_bounded() {
        assert_eq!(&bytes_of::<4>("key", "a/b").unwrap()[..], b"a/b");
        assert_eq!(&bytes_of::<4>("key", "hex:00ff").unwrap()[..], [0, 255]);
        let long = bytes_of::<4>("key", "abcde").unwrap_err();
        assert!(long.detail.message.contains("5 bytes, at most 4"));
        assert!(bytes_of::<4>("key", "hex:0").is_err());
    }

    #[test]
    fn pages_have_a_bound_and_nobody_gets_an_empty_one() {
        assert_eq!(page(None).unwrap(), PAGE_DEFAULT as usize);
        assert_eq!(page(Some(PAGE_MAX)).unwrap(), PAGE_MAX as usize);
        assert!(page(Some(0)).is_err() && page(Some(PAGE_MAX + 1)).is_err());
    }
}
