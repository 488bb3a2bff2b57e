//! Answers on their way out: a large one keeps its request's place, and the memory it takes is counted, until its last
//! piece is with the connection; and it has so long and no longer.
//!
//! ```text
//!   handler ─▶ answer ─ small: handed over whole, the connection's buffer is its bound
//!                     └ large: room for its bytes ─▶ piece ─▶ piece ─▶ … ─▶ last piece: place and room given back
//!                                                    └─ not all taken within ANSWER_WRITE_MS_MAX: connection cut
//! ```
//!
//! hyper takes a body's next piece only once its buffer has room, so what a slow reader leaves unread stays here, counted.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::{Body, HttpBody};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use hyper::body::{Frame, SizeHint};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use super::admission::{Gate, Pass};
use super::limits::{ANSWER_PIECE_BYTES, ANSWER_WRITE_MS_MAX};
use super::{Peer, admission};

/// Told to cut a connection.
#[derive(Clone, Debug, Default)]
pub(crate) struct Cut(Arc<Notify>);

impl Cut {
    /// Returns when the connection is to be cut.
    pub(crate) async fn told(&self) {
        self.0.notified().await;
    }

    /// Cuts the connection after a time, unless the timer is dropped before.
    fn after(&self, time: Duration) -> Timer {
        let cut = self.clone();
        Timer(tokio::spawn(async move {
            tokio::time::sleep(time).await;
            cut.0.notify_one();
        }))
    }
}

/// Dropped, it doesn't go off.
struct Timer(JoinHandle<()>);

impl Drop for Timer {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// `response`, with `pass` and the room for its body kept until it is written; or that there is no room. Without
/// `answers`, its room isn't counted.
pub(crate) fn counted(
    answers: Option<&Arc<Gate>>,
    peer: Peer,
    cut: &Cut,
    pass: Option<Pass>,
    response: Response,
) -> Response {
    // A stream of events has no length, and a gate of its own.
    let Some(length) = response.body().size_hint().exact() else {
        return response;
    };
    if length <= ANSWER_PIECE_BYTES as u64 {
        return response;
    }
    let room = match answers.map(|gate| (gate, gate.enter_with(peer.0, admission::kib(length)))) {
        None => None,
        Some((_, Ok(room))) => Some(room),
        Some((gate, Err(full))) => return gate.refusal(full).into_response(),
    };
    let timer = cut.after(Duration::from_millis(ANSWER_WRITE_MS_MAX));
    response.map(|body| {
        Body::new(Large {
            body,
            taken: Bytes::new(),
            left: length,
            _held: (pass, room, timer),
        })
    })
}

/// A large body, given out in pieces.
struct Large {
    body: Body,
    /// What the body gave and isn't passed on.
    taken: Bytes,
    /// Bytes that aren't passed on.
    left: u64,
    _held: (Option<Pass>, Option<Pass>, Timer),
}

impl HttpBody for Large {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        while self.taken.is_empty() {
            match ready!(Pin::new(&mut self.body).poll_frame(context)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => self.taken = data,
                    Err(other) => return Poll::Ready(Some(Ok(other))),
                },
                ended => return Poll::Ready(ended),
            }
        }
        let length = self.taken.len().min(ANSWER_PIECE_BYTES);
        let piece = self.taken.split_to(length);
        self.left = self.left.saturating_sub(length as u64);
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::error::ApiError;
    use http_body_util::BodyExt;
    use std::net::IpAddr;

    const PEER: Peer = Peer(IpAddr::V4(std::net::Ipv4Addr::LOCALHOST));

    fn answer(length: usize) -> Response {
        Body::from(vec![7; length]).into_response()
    }

    #[tokio::test]
    async fn a_large_answer_keeps_its_place_and_room_until_its_last_piece_is_taken() {
        let (requests, answers) = (Gate::new("requests", 2), Gate::new("KiB", 200));
        let pass = requests.enter(PEER.0).unwrap();
        let length = 5 * ANSWER_PIECE_BYTES + 1;
        let cut = Cut::default();
        let mut body = counted(Some(&answers), PEER, &cut, Some(pass), answer(length)).into_body();
        let mut taken = 0;
        while !body.is_end_stream() {
            assert_eq!((requests.counts().0, answers.counts().0), (1, 81));
            let piece = body.frame().await.unwrap().unwrap().into_data().unwrap();
            assert!(piece.len() <= ANSWER_PIECE_BYTES && piece.iter().all(|&byte| byte == 7));
            taken += piece.len();
        }
        drop(body);
        assert_eq!(taken, length);
        assert_eq!((requests.counts().0, answers.counts().0), (0, 0));
    }

    #[tokio::test]
    async fn an_answer_without_room_becomes_a_refusal_and_small_ones_need_none() {
        let (requests, answers) = (Gate::new("requests", 8), Gate::new("KiB of answers", 40));
        let cut = Cut::default();
        let of = |length| {
            let pass = requests.enter(PEER.0).unwrap();
            counted(Some(&answers), PEER, &cut, Some(pass), answer(length))
        };
        let first = of(20 << 10);
        assert_eq!(first.status(), 200);
        let second = of(20 << 10);
        let full = ApiError::overloaded("").detail.code.status();
        assert!([full, 429].contains(&second.status().as_u16()));
        assert_eq!(of(ANSWER_PIECE_BYTES).status(), 200);
        drop(first);
        assert_eq!(of(20 << 10).status(), 200);
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_is_not_taken_in_time_cuts_its_connection() {
        let answers = Gate::new("KiB", 1_000);
        let cut = Cut::default();
        let taken = counted(Some(&answers), PEER, &cut, None, answer(20 << 10));
        drop(taken);
        let limit = Duration::from_millis(ANSWER_WRITE_MS_MAX);
        let told = tokio::time::timeout(2 * limit, cut.told()).await;
        assert!(told.is_err(), "it was taken");
        let _waits = counted(Some(&answers), PEER, &cut, None, answer(20 << 10));
        let told = tokio::time::timeout(2 * limit, cut.told()).await;
        assert!(told.is_ok());
    }
}
