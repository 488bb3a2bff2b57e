//! Requests and answers, bounded and timed. Nothing is believed here.

use std::time::{Duration, Instant};

use bytes::Bytes;
use reqwest::header::{ACCEPT, CONTENT_TYPE};
use reqwest::{Method, RequestBuilder, Response, Url};
use serde::de::DeserializeOwned;
use violeta_types::ValidatorIndex;
use violeta_types::api::{BINARY, ErrorBody, ErrorCode, ErrorDetail, VALIDATOR_HEADER};

use crate::error::ClientError;
use crate::limits::{ANSWER_BYTES_MAX, CONNECT_MS_MAX, IDLE_MS_MAX};

/// Why a request brought no answer.
#[derive(Clone, Debug)]
pub(crate) enum Failure {
    /// The request can't have been received.
    NotSent(String),
    /// It may have been received.
    Gone(String),
    /// The gateway says no.
    Answer(ErrorDetail),
    /// What came is no answer.
    Form(String),
}

impl Failure {
    /// The gateway has said nothing at all.
    pub(crate) fn is_silence(&self) -> bool {
        matches!(self, Failure::NotSent(_) | Failure::Gone(_))
    }
}

/// What came, and from whom as they say.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) bytes: Bytes,
    pub(crate) validator: Option<ValidatorIndex>,
    pub(crate) took: Duration,
}

/// One HTTP client for all endpoints.
#[derive(Clone, Debug)]
pub(crate) struct Http(reqwest::Client);

impl Http {
    pub(crate) fn new() -> Result<Self, ClientError> {
        reqwest::Client::builder()
            .connect_timeout(Duration::from_millis(CONNECT_MS_MAX))
            .pool_idle_timeout(Duration::from_millis(IDLE_MS_MAX))
            .tcp_nodelay(true)
            // An answer comes from the validator that was asked, or from nobody.
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .build()
            .map(Http)
            .map_err(|e| ClientError::Config(e.to_string()))
    }

    /// A request for a path below an endpoint.
    fn request(&self, method: Method, base: &Url, path: &str) -> Result<RequestBuilder, Failure> {
        let text = format!("{}{path}", base.as_str().trim_end_matches('/'));
        let url = Url::parse(&text).map_err(|e| Failure::NotSent(e.to_string()))?;
        Ok(self.0.request(method, url))
    }

    /// Gets the borsh form of an answer.
    pub(crate) async fn get_binary(
        &self,
        base: &Url,
        path: &str,
        at_most: Duration,
    ) -> Result<Answer, Failure> {
        let request = self.request(Method::GET, base, path)?;
        exchange(request.header(ACCEPT, BINARY), at_most).await
    }

    /// Gets JSON.
    pub(crate) async fn get(
        &self,
        base: &Url,
        path: &str,
        at_most: Duration,
    ) -> Result<Answer, Failure> {
        exchange(self.request(Method::GET, base, path)?, at_most).await
    }

    /// Posts bytes; `accept` names the form of the answer.
    pub(crate) async fn post(
        &self,
        base: &Url,
        path: &str,
        body: Bytes,
        accept: &'static str,
        at_most: Duration,
    ) -> Result<Answer, Failure> {
        let request = self.request(Method::POST, base, path)?;
        let request = request.header(CONTENT_TYPE, BINARY).header(ACCEPT, accept);
        exchange(request.body(body), at_most).await
    }

    /// Opens a stream.
    pub(crate) async fn open(
        &self,
        base: &Url,
        path: &str,
        last_event: Option<String>,
        at_most: Duration,
    ) -> Result<Response, Failure> {
        let mut request = self.request(Method::GET, base, path)?;
        if let Some(id) = last_event {
            request = request.header("last-event-id", id);
        }
        let response = match tokio::time::timeout(at_most, request.send()).await {
            Ok(response) => response.map_err(failure)?,
            Err(_) => return Err(Failure::Gone("it didn't answer in time".into())),
        };
        match response.status().is_success() {
            true => Ok(response),
            false => Err(refusal(response).await),
        }
    }
}

/// JSON of a known type.
pub(crate) fn json<T: DeserializeOwned>(answer: &Answer) -> Result<T, Failure> {
    serde_json::from_slice(&answer.bytes).map_err(|e| Failure::Form(e.to_string()))
}

async fn exchange(request: RequestBuilder, at_most: Duration) -> Result<Answer, Failure> {
    let begun = Instant::now();
    let exchange = async {
        let response = request.send().await.map_err(failure)?;
        if !response.status().is_success() {
            return Err(refusal(response).await);
        }
        let validator = validator(&response);
        let bytes = bounded_body(response).await?;
        Ok(Answer {
            bytes,
            validator,
            took: begun.elapsed(),
        })
    };
    match tokio::time::timeout(at_most, exchange).await {
        Ok(answer) => answer,
        Err(_) => Err(Failure::Gone(format!(
            "no answer within {} ms",
            at_most.as_millis()
        ))),
    }
}

fn validator(response: &Response) -> Option<ValidatorIndex> {
    let text = response.headers().get(VALIDATOR_HEADER)?.to_str().ok()?;
    text.parse().ok().map(ValidatorIndex)
}

/// Reads a body as it comes, and not more than an answer can have.
async fn bounded_body(mut response: Response) -> Result<Bytes, Failure> {
    let mut bytes = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(failure)? {
        if bytes.len() + chunk.len() > ANSWER_BYTES_MAX {
            let message = format!("more than {ANSWER_BYTES_MAX} bytes");
            return Err(Failure::Form(message));
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes.into())
}

async fn refusal(response: Response) -> Failure {
    let status = response.status();
    let bytes = match bounded_body(response).await {
        Ok(bytes) => bytes,
        Err(failure) => return failure,
    };
    match serde_json::from_slice::<ErrorBody>(&bytes) {
        Ok(body) => Failure::Answer(body.error),
        // Something between us and the gateway speaks HTTP of its own.
        Err(_) if status.is_server_error() => Failure::Gone(format!("HTTP status {status}")),
        Err(_) => Failure::Form(format!("HTTP status {status} without an error in it")),
    }
}

fn failure(error: reqwest::Error) -> Failure {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(&error);
    while let Some(cause) = source {
        text = cause.to_string();
        source = cause.source();
    }
    match error.is_connect() || error.is_builder() {
        true => Failure::NotSent(text),
        false => Failure::Gone(text),
    }
}

/// Whether a gateway that says this may take the same thing later, or another one now.
pub(crate) fn is_busy(code: ErrorCode) -> bool {
    use ErrorCode::*;
    matches!(
        code,
        Overloaded | OnlyFollows | Unavailable | TooManyRequests | Internal | TooSlow | NotIndexed
    )
}
