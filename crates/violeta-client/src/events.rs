//! Events as one validator tells them, resumed where they broke off. Its word: what matters is proved by asking.

use std::time::Duration;

use reqwest::Response;
use violeta_types::api::{ChainEvent, Cursor, ErrorDetail};

use crate::client::{Client, Failures};
use crate::error::ClientError;
use crate::limits::{EVENT_BYTES_MAX, PAUSE_MS, READ_MS_MAX};

/// How often in a row a stream is opened again before it is given up.
const REOPEN_MAX: u32 = 10;

/// A stream of one validator's events. Cursors are that validator's: another counts in its own way.
pub struct EventStream {
    client: Client,
    at: usize,
    cursor: Option<Cursor>,
    response: Option<Response>,
    lines: Lines,
}

impl Client {
    /// What happens from now on, or after a cursor of the same validator's.
    ///
    /// # Errors
    /// If no validator opens a stream.
    pub async fn events(&self, after: Option<Cursor>) -> Result<EventStream, ClientError> {
        let mut failures = Failures::default();
        for at in self.order().await {
            match self.open_events(at, after).await {
                Ok(response) => {
                    return Ok(EventStream {
                        client: self.clone(),
                        at,
                        cursor: after,
                        response: Some(response),
                        lines: Lines::default(),
                    });
                }
                Err(failure) => failures.add(self, at, "/v1/events", failure),
            }
        }
        Err(failures.into_error())
    }

    async fn open_events(
        &self,
        at: usize,
        after: Option<Cursor>,
    ) -> Result<Response, crate::http::Failure> {
        let url = &self.0.endpoints[at].url;
        let at_most = Duration::from_millis(READ_MS_MAX);
        let last = after.map(|cursor| cursor.to_string());
        self.0.http.open(url, "/v1/events", last, at_most).await
    }
}

impl EventStream {
    /// Who tells.
    pub fn validator(&self) -> String {
        self.client.name(self.at)
    }

    /// Where to go on after the last event taken.
    pub fn cursor(&self) -> Option<Cursor> {
        self.cursor
    }

    /// The next event; waits for it. A connection that breaks is made again where it broke off.
    ///
    /// # Errors
    /// If the validator says that it can't go on, or can't be reached any more: the cursor says where to resume.
    pub async fn next(&mut self) -> Result<ChainEvent, ClientError> {
        let mut failures = Failures::default();
        let mut reopened = 0;
        loop {
            match self.lines.take() {
                Some(Told::Event(event)) => {
                    self.cursor = Some(event.cursor);
                    return Ok(event);
                }
                Some(Told::Error(detail)) => {
                    let validator = self.validator();
                    return Err(ClientError::Answer { validator, detail });
                }
                Some(Told::Other) => continue,
                None => {}
            }
            let chunk = match &mut self.response {
                Some(response) => response.chunk().await,
                None => Ok(None),
            };
            match chunk {
                Ok(Some(bytes)) => self.lines.push(&bytes).map_err(ClientError::Invalid)?,
                // Broken, or ended: again, from the last event on.
                Ok(None) | Err(_) => {
                    if reopened == REOPEN_MAX {
                        return Err(failures.into_error());
                    }
                    reopened += 1;
                    self.lines = Lines::default();
                    tokio::time::sleep(Duration::from_millis(PAUSE_MS * u64::from(reopened))).await;
                    match self.client.open_events(self.at, self.cursor).await {
                        Ok(response) => self.response = Some(response),
                        Err(failure) => {
                            self.response = None;
                            failures.add(&self.client, self.at, "/v1/events", failure);
                        }
                    }
                }
            }
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Told {
    Event(ChainEvent),
    Error(ErrorDetail),
    /// A comment, a keep-alive, or something newer than this client.
    Other,
}

/// Server-sent events, as far as they have come.
#[derive(Default)]
struct Lines(Vec<u8>);

impl Lines {
    fn push(&mut self, bytes: &[u8]) -> Result<(), String> {
        self.0.extend_from_slice(bytes);
        match self.0.len() > EVENT_BYTES_MAX && !self.0.windows(2).any(|w| w == b"\n\n") {
            true => Err(format!("an event of more than {EVENT_BYTES_MAX} bytes")),
            false => Ok(()),
        }
    }

    /// The next event that is complete.
    fn take(&mut self) -> Option<Told> {
        let end = self.0.windows(2).position(|pair| pair == b"\n\n")?;
        let block: Vec<u8> = self.0.drain(..end + 2).collect();
        let text = String::from_utf8_lossy(&block);
        let field = |name: &str| {
            text.lines().find_map(|line| {
                line.strip_prefix(name)?
                    .strip_prefix(':')
                    .map(str::trim_start)
            })
        };
        let data = field("data").unwrap_or_default();
        Some(match field("event") {
            Some("error") => serde_json::from_str(data).map_or(Told::Other, Told::Error),
            Some(_) => serde_json::from_str(data).map_or(Told::Other, Told::Event),
            None => Told::Other,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use violeta_types::api::EventKind;
    use violeta_types::{HeadId, Height};

    fn event() -> ChainEvent {
        ChainEvent {
            cursor: Cursor {
                height: Height(7),
                sequence: 1,
            },
            kind: EventKind::Certified {
                height: Height(7),
                head: HeadId::default(),
            },
        }
    }

    #[test]
    fn events_are_whole_however_the_bytes_are_cut() {
        let json = serde_json::to_string(&event()).unwrap();
        let text =
            format!(":\n\nid: 7.1\nevent: certified\ndata: {json}\n\nevent: new\ndata: 1\n\n");
        for size in 1..text.len() {
            let mut lines = Lines::default();
            let mut told = Vec::new();
            for chunk in text.as_bytes().chunks(size) {
                lines.push(chunk).unwrap();
                while let Some(one) = lines.take() {
                    told.push(one);
                }
            }
            assert_eq!(told, [Told::Other, Told::Event(event()), Told::Other]);
        }
    }

    #[test]
    fn an_event_without_end_is_refused() {
        let mut lines = Lines::default();
        assert!(lines.push(&[b'a'; EVENT_BYTES_MAX]).is_ok());
        assert!(lines.push(b"a").is_err());
    }
}
