//! One validator's HTTP gateway, asked for what needs no proof: how it is.
//!
//! What a client writes and reads goes through `violeta-client`, which verifies; this is for showing operators what
//! each validator says of itself.

use std::future::Future;
use std::time::{Duration, Instant};

use serde::de::DeserializeOwned;
use violeta_types::Height;
use violeta_types::api::{
    BlocksAnswer, ChainEvent, HeadAnswer, HealthAnswer, PAGE_MAX, StatusAnswer,
};

use crate::error::{CliError, CliResult};

/// How long one question may take.
const ASK_TIMEOUT: Duration = Duration::from_secs(3);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
const POLL: Duration = Duration::from_millis(50);
/// How long what a command's asynchronous part has left behind may take to end.
const LEFT_OVER_MAX: Duration = Duration::from_millis(200);
/// Bytes of an answer; metrics are the longest.
const ANSWER_BYTES_MAX: usize = 4 << 20;
/// Bytes of one event.
const EVENT_BYTES_MAX: usize = 64 << 10;

/// Runs a command's asynchronous part, on the calling thread. Once it has ended, what it left behind has [`LEFT_OVER_MAX`]
/// to end as well: a thread that resolves a name may be held for as long as the resolver likes, and meanwhile nobody
/// would be told what the part came to, nor could they interrupt it, since signals that were listened to stay taken.
///
/// # Errors
/// What the part gives, or if the runtime can't be started.
pub(crate) fn block_on<T>(part: impl Future<Output = CliResult<T>>) -> CliResult<T> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    let ended = runtime.block_on(part);
    runtime.shutdown_timeout(LEFT_OVER_MAX);
    ended
}

/// One validator's gateway.
#[derive(Clone, Debug)]
pub(crate) struct Gateway {
    http: reqwest::Client,
    url: String,
}

impl Gateway {
    /// The gateway at an address.
    ///
    /// # Errors
    /// If it isn't an `http://` address.
    pub(crate) fn new(url: &str) -> CliResult<Gateway> {
        let parsed = reqwest::Url::parse(url).map_err(|e| {
            CliError::usage(format!("{url:?} isn't the address of a validator: {e}"))
        })?;
        if parsed.scheme() != "http" {
            return Err(CliError::usage(format!(
                "{url:?}: only http:// addresses are spoken"
            )));
        }
        let http = reqwest::Client::builder()
            .timeout(ASK_TIMEOUT)
            .connect_timeout(CONNECT_TIMEOUT)
            .no_proxy()
            .build()
            .map_err(CliError::failed)?;
        let url = url.trim_end_matches('/').to_owned();
        Ok(Gateway { http, url })
    }

    /// Its address.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// What it is doing.
    ///
    /// # Errors
    /// If it doesn't answer.
    pub(crate) async fn status(&self) -> CliResult<StatusAnswer> {
        self.get("/v1/status").await
    }

    /// Whether it can serve; none if it doesn't answer.
    pub(crate) async fn health(&self) -> Option<HealthAnswer> {
        // An unhealthy one answers 503 with the same body.
        let response = self
            .http
            .get(format!("{}/v1/health", self.url))
            .send()
            .await
            .ok()?;
        response.json().await.ok()
    }

    /// The head of a height.
    ///
    /// # Errors
    /// If it doesn't answer, or has no such head.
    pub(crate) async fn head(&self, height: Height) -> CliResult<HeadAnswer> {
        self.get(&format!("/v1/heads/{height}")).await
    }

    /// Its metrics, as Prometheus text.
    ///
    /// # Errors
    /// If it doesn't answer.
    pub(crate) async fn metrics(&self) -> CliResult<String> {
        let bytes = self.fetch("/metrics").await?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// How many transactions of these blocks did nothing.
    ///
    /// # Errors
    /// If it doesn't answer.
    pub(crate) async fn refused_in_blocks(&self, from: Height, to: Height) -> CliResult<u64> {
        let (mut next, mut refused) = (Some(from), 0);
        while let Some(from) = next.filter(|&height| height <= to) {
            let page: BlocksAnswer = self
                .get(&format!("/v1/blocks?from={from}&limit={PAGE_MAX}"))
                .await?;
            let wanted = page.blocks.iter().filter(|b| b.height <= to);
            refused += wanted.map(|b| u64::from(b.refused)).sum::<u64>();
            next = page.next;
        }
        Ok(refused)
    }

    /// Its events: what comes after a cursor, or what happens from now on.
    ///
    /// # Errors
    /// If it doesn't answer.
    pub(crate) async fn events(&self, after: Option<&str>) -> CliResult<EventReader> {
        let mut url = format!("{}/v1/events", self.url);
        if let Some(cursor) = after {
            url.push_str(&format!("?cursor={cursor}"));
        }
        // Without a limit for the whole: the stream goes on for as long as the validator runs.
        let http = reqwest::Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .no_proxy()
            .build()
            .map_err(CliError::failed)?;
        let response = http
            .get(&url)
            .send()
            .await
            .and_then(reqwest::Response::error_for_status);
        let response =
            response.map_err(|e| CliError::unreachable(format!("{url}: {}", without_url(e))))?;
        Ok(EventReader {
            response,
            buffer: Vec::new(),
        })
    }

    /// Waits until it says that it is healthy. False if it doesn't in time, or `running` no longer holds.
    pub(crate) async fn wait_healthy(
        &self,
        patience: Duration,
        running: impl Fn() -> bool,
    ) -> bool {
        let healthy = || async { self.health().await.is_some_and(|h| h.healthy) };
        wait_until(patience, running, healthy).await
    }

    /// Waits until it does all that it can: until it is healthy, or says that it only follows, having lost its journal.
    pub(crate) async fn wait_up(&self, patience: Duration, running: impl Fn() -> bool) -> bool {
        let up = || async {
            self.health().await.is_some_and(|h| h.healthy)
                || self.status().await.is_ok_and(|s| s.amnesia.is_some())
        };
        wait_until(patience, running, up).await
    }

    /// Waits until it answers at all.
    pub(crate) async fn wait_answer(&self, patience: Duration, running: impl Fn() -> bool) -> bool {
        let answers = || async { self.health().await.is_some() };
        wait_until(patience, running, answers).await
    }

    async fn get<T: DeserializeOwned>(&self, path: &str) -> CliResult<T> {
        let bytes = self.fetch(path).await?;
        serde_json::from_slice(&bytes).map_err(|e| {
            CliError::failed(format!(
                "{}{path} answers what can't be understood: {e}",
                self.url
            ))
            .help("is it a validator, and of the same version?")
        })
    }

    async fn fetch(&self, path: &str) -> CliResult<Vec<u8>> {
        let url = format!("{}{path}", self.url);
        let unreachable = |e: reqwest::Error| {
            CliError::unreachable(format!("{url} doesn't answer: {}", without_url(e)))
        };
        let mut response = self.http.get(&url).send().await.map_err(unreachable)?;
        let status = response.status();
        let mut bytes = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(unreachable)? {
            if bytes.len() + chunk.len() > ANSWER_BYTES_MAX {
                return Err(CliError::failed(format!(
                    "{url} answers more than {ANSWER_BYTES_MAX} bytes"
                )));
            }
            bytes.extend_from_slice(&chunk);
        }
        if !status.is_success() {
            let body: Option<violeta_types::api::ErrorBody> = serde_json::from_slice(&bytes).ok();
            return Err(match body {
                Some(body) => {
                    CliError::failed(format!("{url}: {}", body.error.message)).help(body.error.help)
                }
                None => CliError::failed(format!("{url} answers {status}")),
            });
        }
        Ok(bytes)
    }
}

/// A stream of server-sent events, as it comes.
#[derive(Debug)]
pub(crate) struct EventReader {
    response: reqwest::Response,
    buffer: Vec<u8>,
}

impl EventReader {
    /// The next event; none when the stream has ended.
    ///
    /// # Errors
    /// If the connection breaks, or what comes is no event.
    pub(crate) async fn next(&mut self) -> CliResult<Option<ChainEvent>> {
        loop {
            if let Some(event) = take_event(&mut self.buffer)? {
                return Ok(Some(event));
            }
            match self.response.chunk().await {
                Ok(Some(chunk)) => self.buffer.extend_from_slice(&chunk),
                Ok(None) => return Ok(None),
                Err(e) => return Err(CliError::unreachable(without_url(e))),
            }
        }
    }
}

/// Takes the first whole event out of what came. Of its lines only `data:` matters: it repeats the others.
fn take_event(buffer: &mut Vec<u8>) -> CliResult<Option<ChainEvent>> {
    while let Some(end) = buffer.windows(2).position(|pair| pair == b"\n\n") {
        let block: Vec<u8> = buffer.drain(..end + 2).collect();
        let text = String::from_utf8_lossy(&block);
        if let Some(data) = text.lines().find_map(|line| line.strip_prefix("data:")) {
            return Ok(Some(serde_json::from_str(data.trim_start())?));
        }
    }
    match buffer.len() > EVENT_BYTES_MAX {
        true => Err(CliError::failed("an event doesn't end")),
        false => Ok(None),
    }
}

async fn wait_until<F: Future<Output = bool>>(
    patience: Duration,
    running: impl Fn() -> bool,
    holds: impl Fn() -> F,
) -> bool {
    let deadline = Instant::now() + patience;
    loop {
        if holds().await {
            return true;
        }
        if Instant::now() >= deadline || !running() {
            return false;
        }
        tokio::time::sleep(POLL).await;
    }
}

/// The reason alone: where it happened is said already.
fn without_url(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut reason = error.to_string();
    let mut source = std::error::Error::source(&error);
    while let Some(deeper) = source {
        reason = deeper.to_string();
        source = deeper.source();
    }
    reason
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_isnt_an_http_address_is_wrong_usage() {
        for bad in ["", "localhost", "https://127.0.0.1:1", "ftp://x"] {
            let error = Gateway::new(bad).unwrap_err();
            assert_eq!(error.cause, crate::error::Cause::Usage, "{bad}");
        }
        assert_eq!(
            Gateway::new("http://127.0.0.1:1/").unwrap().url(),
            "http://127.0.0.1:1"
        );
    }

    #[test]
    fn events_are_taken_out_of_what_came_whole_or_not_at_all() {
        let one = r#"{"cursor":"7.0","kind":"certified","height":7,"head":"HEAD"}"#
            .replace("HEAD", &"00".repeat(32));
        let text = format!(":keep-alive\n\nid: 7.0\nevent: certified\ndata: {one}\n\nid: 7.1\nda");
        let mut buffer = text.into_bytes();
        let event = take_event(&mut buffer).unwrap().unwrap();
        assert_eq!(event.cursor.to_string(), "7.0");
        assert!(take_event(&mut buffer).unwrap().is_none());
        assert_eq!(buffer, b"id: 7.1\nda");
        assert!(take_event(&mut b"data: {}\n\n".to_vec()).is_err());
        assert!(take_event(&mut vec![b'x'; EVENT_BYTES_MAX + 1]).is_err());
    }

    /// As resolving a name does, where the resolver doesn't answer: it holds a thread, and can't be cut off.
    #[test]
    fn whoever_knows_what_it_has_to_say_doesn_t_wait_for_a_thread_that_is_held() {
        let (release, held) = std::sync::mpsc::channel::<()>();
        let begun = Instant::now();
        let said = block_on(async {
            let hold = move || held.recv_timeout(Duration::from_secs(10));
            let held = tokio::task::spawn_blocking(hold);
            tokio::select! {
                _ = held => Ok("released"),
                () = tokio::time::sleep(Duration::from_millis(20)) => Ok("interrupted"),
            }
        });
        assert_eq!(said.unwrap(), "interrupted");
        let took = begun.elapsed();
        assert!(took < Duration::from_secs(5), "{took:?}");
        drop(release);
    }

    #[test]
    fn nobody_at_the_other_end_is_unreachable() {
        // A port that was free a moment ago.
        let port = std::net::TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let gateway = Gateway::new(&format!("http://127.0.0.1:{port}")).unwrap();
        let error = block_on(async { gateway.status().await }).unwrap_err();
        assert_eq!(error.cause, crate::error::Cause::Unreachable);
        assert!(error.message.contains("refused"), "{error}");
    }
}
