//! What a gateway says when it can't do what was asked.

use borsh::{BorshDeserialize, BorshSerialize};
use serde::{Deserialize, Serialize};

macro_rules! error_codes {
    ($($(#[$doc:meta])* $name:ident = $status:literal,)*) => {
        /// What went wrong, in a word that a program can act on. Each has one HTTP status.
        #[derive(
            Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize,
            Deserialize,
        )]
        #[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
        #[serde(rename_all = "snake_case")]
        pub enum ErrorCode { $($(#[$doc])* $name,)* }

        impl ErrorCode {
            /// Every code.
            pub const ALL: &'static [ErrorCode] = &[$(ErrorCode::$name,)*];

            /// The HTTP status that it comes with.
            pub const fn status(self) -> u16 {
                match self { $(ErrorCode::$name => $status,)* }
            }
        }
    };
}

error_codes! {
    /// The request can't be understood: a parameter, a path, a header.
    InvalidRequest = 400,
    /// Not a well-formed transaction of this chain, or its signature is wrong. It will never be taken.
    InvalidTransaction = 400,
    /// A proof or a barrier is needed that only the client can make.
    NeedsClient = 400,
    /// There is no such route.
    NoSuchRoute = 404,
    /// There is no such thing (yet).
    NotFound = 404,
    /// The route exists, but not with this method.
    MethodNotAllowed = 405,
    /// The request took longer than it may.
    TooSlow = 408,
    /// The transaction would have no effect now: nonce spent, client unknown, expired.
    NotAdmitted = 409,
    /// The height is above the newest certified one.
    NotYetCertified = 409,
    /// There was such a version; it is no longer retained.
    NotRetained = 410,
    /// The body, or the request's head, is larger than it may be.
    TooLarge = 413,
    /// The body isn't of the media type that the route takes.
    UnsupportedMediaType = 415,
    /// This client has more requests or transactions under way than it may.
    TooManyRequests = 429,
    /// Something failed here that isn't the client's fault.
    Internal = 500,
    /// The mempool is full, or the replica lags.
    Overloaded = 503,
    /// This node takes no transactions: it only follows.
    OnlyFollows = 503,
    /// This node doesn't have that service: it runs another machine, or shuts down.
    Unavailable = 503,
    /// It may be so, but this node keeps no index of transactions to look it up in.
    NotIndexed = 501,
}

/// An error, for programs and for people.
#[derive(
    Clone,
    Debug,
    PartialEq,
    Eq,
    BorshSerialize,
    BorshDeserialize,
    Serialize,
    Deserialize,
    thiserror::Error,
)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[error("{message} ({help})")]
pub struct ErrorDetail {
    /// For programs.
    pub code: ErrorCode,
    /// What happened, to what.
    pub message: String,
    /// What to do.
    pub help: String,
    /// When trying again makes sense, in milliseconds from now; none if it never does, or is unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_ms: Option<u64>,
}

/// The body of every answer that is an error.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ErrorBody {
    /// The error.
    pub error: ErrorDetail,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_the_status_of_an_error_and_reads_back() {
        for &code in ErrorCode::ALL {
            assert!((400..=599).contains(&code.status()), "{code:?}");
            let json = serde_json::to_string(&code).unwrap();
            assert_eq!(serde_json::from_str::<ErrorCode>(&json).unwrap(), code);
        }
    }

    #[test]
    fn the_json_of_an_error() {
        let body = ErrorBody {
            error: ErrorDetail {
                code: ErrorCode::Overloaded,
                message: "the mempool is full".into(),
                help: "try again".into(),
                retry_ms: Some(50),
            },
        };
        let expected = r#"{"error":{"code":"overloaded","message":"the mempool is full","help":"try again","retry_ms":50}}"#;
        assert_eq!(serde_json::to_string(&body).unwrap(), expected);
    }
}
