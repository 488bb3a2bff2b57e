//! One question to several validators at once, and how long those are waited for who say nothing.
//!
//! ```text
//!   all asked ───▶ somebody gives an answer that counts ───▶ NUDGE_MS later: no more is waited for
//!     └── until then each has the full time of a request
//! ```
//!
//! Who hangs costs those who ask again and again what they would do with the others' answers meanwhile. So the caller,
//! who knows which answers count, says when to [`hurry`](Asks::hurry): never for one that is worth nothing, else whoever
//! gives such ones quickly would cut off the others.

use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use tokio::time::{Instant, timeout_at};

use crate::limits::NUDGE_MS;

/// Requests under way.
pub(crate) struct Asks<F> {
    under_way: FuturesUnordered<F>,
    /// Until when the rest is waited for; none for as long as the requests last.
    until: Option<Instant>,
}

impl<F: Future> Asks<F> {
    pub(crate) fn new(asks: impl IntoIterator<Item = F>) -> Self {
        Asks {
            under_way: asks.into_iter().collect(),
            until: None,
        }
    }

    /// The next answer; none once there will be no more, or those that are missing have had their time.
    pub(crate) async fn next(&mut self) -> Option<F::Output> {
        match self.until {
            None => self.under_way.next().await,
            Some(until) => timeout_at(until, self.under_way.next())
                .await
                .unwrap_or_default(),
        }
    }

    /// The rest is waited for a short time only, counted from the first time that this is called.
    pub(crate) fn hurry(&mut self) {
        let until = Instant::now() + Duration::from_millis(NUDGE_MS);
        self.until.get_or_insert(until);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::future::{Ready, pending, ready};

    use futures::future::Either;

    fn answer(n: u8) -> Either<Ready<u8>, std::future::Pending<u8>> {
        Either::Left(ready(n))
    }

    #[tokio::test]
    async fn once_in_a_hurry_who_hangs_isnt_waited_for() {
        let begun = Instant::now();
        let mut asks = Asks::new([answer(1), Either::Right(pending()), answer(2)]);
        assert!(asks.next().await.is_some());
        asks.hurry();
        assert!(
            asks.next().await.is_some(),
            "who has answered in time is heard"
        );
        asks.hurry();
        assert_eq!(asks.next().await, None);
        assert!(begun.elapsed() >= Duration::from_millis(NUDGE_MS));
    }

    #[tokio::test]
    async fn who_isnt_in_a_hurry_waits_for_all() {
        let slow = async {
            tokio::time::sleep(Duration::from_millis(NUDGE_MS + 100)).await;
            9
        };
        let mut asks = Asks::new([Either::Left(ready(1)), Either::Right(slow)]);
        assert_eq!(asks.next().await, Some(1));
        assert_eq!(asks.next().await, Some(9));
        assert_eq!(asks.next().await, None);
    }
}
