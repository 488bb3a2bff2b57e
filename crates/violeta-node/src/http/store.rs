//! Questions to the node for which it may read files: where they run, and how many at once.
//!
//! ```text
//!   handler (a runtime's thread: carries consensus traffic too)
//!      ├── most ───────────────────────────▶ blocking thread ──▶ index, journal, store
//!      └── costly ──▶ place in line ──▶ turn ────▶ the same
//!                     (share of an address)  (half the processors)
//! ```
//!
//! The runtime's threads are few, and read and write what validators tell each other. One of them that waits for a disk,
//! or decodes a large block, holds up the round.
//!
//! *Costly* is what keeps a processor busy: a key's history walks thousands of versions, an outcome's proof hashes a whole
//! block, a proof of many keys reads all of their values. Asked for without end, they would have all processors, and the validator's own threads would wait for theirs.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::Peer;
use super::admission::{Gate, Pass};
use super::error::ApiError;
use super::limits::{COSTLY_LINE_MAX, COSTLY_WAIT_MS_MAX};
use super::source::{Source, SourceError};

/// Asks the node something for which it may read files: on a thread where that holds up nobody.
pub(crate) async fn ask<T: Send + 'static>(
    source: &Arc<dyn Source>,
    question: impl FnOnce(&dyn Source) -> Result<T, SourceError> + Send + 'static,
) -> Result<T, SourceError> {
    let source = source.clone();
    match tokio::task::spawn_blocking(move || question(&*source)).await {
        Ok(answer) => answer,
        // The task panicked, or the runtime goes down.
        Err(error) => Err(SourceError::Failed(error.to_string())),
    }
}

/// Who may ask costly questions.
pub(crate) struct Costly {
    line: Arc<Gate>,
    turns: Arc<Semaphore>,
}

/// A turn, and the place in line that it was waited for in. To be held until the answer is there.
#[derive(Debug)]
pub(crate) struct Turn {
    _turn: OwnedSemaphorePermit,
    _place: Pass,
}

impl Costly {
    /// So many at once.
    pub(crate) fn new(at_once_max: usize) -> Self {
        Costly {
            line: Gate::new("reads that cost much", COSTLY_LINE_MAX),
            turns: Arc::new(Semaphore::new(at_once_max.max(1))),
        }
    }

    /// Waits for a turn.
    pub(crate) async fn turn(&self, peer: Peer) -> Result<Turn, ApiError> {
        let place = (self.line.enter(peer.0)).map_err(|full| self.line.refusal(full))?;
        let at_most = Duration::from_millis(COSTLY_WAIT_MS_MAX);
        let turn = tokio::time::timeout(at_most, self.turns.clone().acquire_owned());
        match turn.await {
            Ok(Ok(turn)) => Ok(Turn {
                _turn: turn,
                _place: place,
            }),
            // Turns aren't closed: it took too long.
            Ok(Err(_)) | Err(_) => Err(ApiError::overloaded("reads that cost much are in line")),
        }
    }
}

/// Half the processors, one at least: the others are for ordering and executing.
pub(crate) fn costly_at_once() -> usize {
    let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    (processors / 2).max(1)
}

#[cfg(test)]
mod tests {
    use super::super::limits::ADDRESS_SHARE;
    use super::super::testing::Chain;
    use super::super::{App, GatewayConfig, many, read, submit};
    use super::*;
    use axum::Extension;
    use axum::extract::{Path, State};
    use axum::http::HeaderMap;
    use futures::FutureExt;
    use futures::future::join_all;
    use violeta_types::api::ErrorCode;

    const PEER: Peer = Peer(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST));
    const OTHER: Peer = Peer(std::net::IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1)));

    fn app(costly_max: usize) -> (Arc<Chain>, App) {
        let chain = Chain::new();
        let config = GatewayConfig {
            costly_max,
            ..GatewayConfig::default()
        };
        let source: Arc<dyn Source> = Arc::new(chain.clone());
        (chain, App::new(config, source))
    }

    #[tokio::test]
    async fn costly_questions_take_turns_and_others_do_not_wait_for_them() {
        let (_, app) = app(2);
        let turns = [
            app.costly.turn(PEER).await.unwrap(),
            app.costly.turn(PEER).await.unwrap(),
        ];
        let mut third = std::pin::pin!(app.on_store_costly(PEER, |_| Ok("third")));
        assert!(third.as_mut().now_or_never().is_none());
        assert_eq!(app.on_store(|_| Ok("at once")).await.unwrap(), "at once");
        assert!(third.as_mut().now_or_never().is_none());
        drop(turns);
        assert_eq!(third.await.unwrap(), "third");
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_too_long_for_a_turn_is_told_when_to_come_back() {
        let (_, app) = app(1);
        let turn = app.costly.turn(PEER).await.unwrap();
        let late = app.on_store_costly(PEER, |_| Ok(())).await.unwrap_err();
        assert_eq!(late.detail.code, ErrorCode::Overloaded);
        assert!(late.detail.retry_ms.is_some());
        drop(turn);
        app.on_store_costly(PEER, |_| Ok(())).await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn an_address_that_fills_its_share_of_the_line_leaves_room_for_others() {
        let (_, app) = app(1);
        let _turn = app.costly.turn(OTHER).await.unwrap();
        let flood = join_all((0..COSTLY_LINE_MAX).map(|_| app.costly.turn(PEER)));
        let (flood, other) = futures::join!(flood, app.costly.turn(OTHER));
        let refused = flood.into_iter().filter_map(Result::err);
        let at_once = refused.filter(|error| error.detail.code == ErrorCode::TooManyRequests);
        assert_eq!(at_once.count(), COSTLY_LINE_MAX / ADDRESS_SHARE);
        // It got into the line, and the only turn was never given back.
        assert_eq!(other.unwrap_err().detail.code, ErrorCode::Overloaded);
    }

    #[tokio::test(start_paused = true)]
    async fn histories_and_proofs_of_outcomes_are_costly() {
        let (chain, app) = app(1);
        let put = chain.put(1, b"key", b"value");
        app.source.submit(vec![put.to_bytes()]).await.unwrap();
        let _turn = app.costly.turn(PEER).await.unwrap();
        let (state, peer) = (|| State(app.clone()), || Extension(PEER));
        let names = || Path(("bank".to_owned(), "key".to_owned()));
        let history = read::history(state(), peer(), names(), "/".parse().unwrap());
        let headers = HeaderMap::new;
        let of = |query: &str| {
            let id = Path(put.id().to_string());
            submit::status(state(), peer(), id, query.parse().unwrap(), headers())
        };
        let entries = many::entries(
            state(),
            peer(),
            Path("bank".to_owned()),
            "/".parse().unwrap(),
            headers(),
        );
        for answer in [history.await, of("/?proof=true").await, entries.await] {
            assert_eq!(answer.unwrap_err().detail.code, ErrorCode::Overloaded);
        }
        of("/").await.expect("a status costs little");
        let key = read::key(state(), names(), "/".parse().unwrap(), headers());
        key.await.expect("a value costs little");
    }
}
