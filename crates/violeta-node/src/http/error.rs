//! Every error is JSON: `{"error": {"code", "message", "help"}}`.

use axum::http::header::{ALLOW, RETRY_AFTER};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use violeta_types::api::{ErrorBody, ErrorCode, ErrorDetail, PAGE_MAX};
use violeta_types::{DecodeError, Height};

use super::limits::RETRY_MS;
use super::source::SourceError;

/// What a request is answered with when it can't be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ApiError {
    pub(crate) detail: ErrorDetail,
    /// The method that the route has, where another was used.
    allow: Option<&'static str>,
}

impl ApiError {
    pub(crate) fn new(
        code: ErrorCode,
        message: impl Into<String>,
        help: impl Into<String>,
    ) -> Self {
        let detail = ErrorDetail {
            code,
            message: message.into(),
            help: help.into(),
            retry_ms: None,
        };
        ApiError {
            detail,
            allow: None,
        }
    }

    pub(crate) fn retry_in(mut self, ms: u64) -> Self {
        self.detail.retry_ms = Some(ms);
        self
    }

    pub(crate) fn allowing(mut self, method: &'static str) -> Self {
        self.allow = Some(method);
        self
    }

    pub(crate) fn invalid(message: impl Into<String>, help: impl Into<String>) -> Self {
        ApiError::new(ErrorCode::InvalidRequest, message, help)
    }

    pub(crate) fn overloaded(what: &str) -> Self {
        let message = format!("overloaded: {what}");
        ApiError::new(
            ErrorCode::Overloaded,
            message,
            "wait as Retry-After says, or ask another validator",
        )
        .retry_in(RETRY_MS)
    }

    pub(crate) fn page(limit: u32) -> Self {
        ApiError::invalid(
            format!("limit={limit} is out of range"),
            format!("ask for 1 to {PAGE_MAX} and follow `next`"),
        )
    }

    pub(crate) fn no_such_route(path: &str) -> Self {
        let shown: String = path.chars().take(100).collect();
        ApiError::new(
            ErrorCode::NoSuchRoute,
            format!("there is nothing at {shown}"),
            "see /docs for what there is",
        )
    }

    pub(crate) fn no_certified_head() -> Self {
        ApiError::new(
            ErrorCode::NotYetCertified,
            "no block of this chain is certified here yet",
            "submit a transaction, or wait until this node has caught up (see /v1/status)",
        )
        .retry_in(RETRY_MS)
    }

    pub(crate) fn no_sealed_head() -> Self {
        ApiError::new(
            ErrorCode::NotYetCertified,
            "no block of this chain is sealed here yet",
            "wait: a seal comes some time after the certificate; without a group key there are none",
        )
        .retry_in(RETRY_MS)
    }
}

impl From<SourceError> for ApiError {
    fn from(error: SourceError) -> Self {
        let message = error.to_string();
        match error {
            SourceError::NotFound(_) => ApiError::new(
                ErrorCode::NotFound,
                message,
                "check the spelling; if it is new, wait until it is certified",
            ),
            SourceError::Question(_) => {
                ApiError::invalid(message, "see /docs for what this route takes")
            }
            SourceError::NotRetained { oldest, .. } => ApiError::new(
                ErrorCode::NotRetained,
                message,
                format!("ask for height {oldest} or above, or ask an archive"),
            ),
            SourceError::NotYetCertified { newest, .. }
            | SourceError::NotYetSealed { newest, .. } => not_yet_certified(message, newest),
            SourceError::NoCertificate { next, .. } => ApiError::new(
                ErrorCode::NotFound,
                message,
                match next {
                    Some(height) => format!("ask for a proof at height {height}, which has one"),
                    None => "wait for the next certificate, or ask another validator".into(),
                },
            ),
            SourceError::NotIndexed(_) => {
                ApiError::new(ErrorCode::NotIndexed, message, "ask another validator")
            }
            SourceError::NoDatabase => ApiError::new(
                ErrorCode::Unavailable,
                message,
                "ask a node whose configuration has node.machine = \"database\"",
            ),
            SourceError::TooManySubscribers => ApiError::overloaded(&message),
            SourceError::ShuttingDown => {
                ApiError::new(ErrorCode::Unavailable, message, "ask another validator")
            }
            SourceError::Failed(_) => ApiError::new(
                ErrorCode::Internal,
                message,
                "ask another validator; the operator finds the cause in this node's log",
            ),
        }
    }
}

fn not_yet_certified(message: String, newest: Height) -> ApiError {
    let help = format!("ask for height {newest} or below, or wait");
    ApiError::new(ErrorCode::NotYetCertified, message, help).retry_in(RETRY_MS)
}

impl From<DecodeError> for ApiError {
    fn from(error: DecodeError) -> Self {
        ApiError::invalid(error.to_string(), "see /docs for what this route takes")
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.detail.code.status())
            .unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let retry_ms = self.detail.retry_ms;
        let body = axum::Json(ErrorBody { error: self.detail });
        let mut response = (status, body).into_response();
        if let Some(ms) = retry_ms {
            // The header counts whole seconds; the body has the milliseconds.
            let seconds = HeaderValue::from(ms.div_ceil(1_000));
            response.headers_mut().insert(RETRY_AFTER, seconds);
        }
        if let Some(method) = self.allow {
            let allow = HeaderValue::from_static(method);
            response.headers_mut().insert(ALLOW, allow);
        }
        response
    }
}
