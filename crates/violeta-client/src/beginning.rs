//! Where the nonces of a new state file begin: above all that a quorum knows to be spent, and what a lost file may have
//! signed above that ([`nonces`](crate::nonces)).
//!
//! ```text
//!   put ─┐
//!   put ─┼─▶ one round at a time ─▶ a quorum has answered ─▶ the file begins, for all
//!   put ─┘           ▲         └──▶ too few have ─┬─▶ each whose time is over is told who did
//!                    └──────────── RETRY_MS ──────┘
//! ```
//!
//! Many may come before the first is through. They share rounds: what one ends with while another waits for its turn is
//! that other's result as well. And each has its own time: none waits for that of those before it.

use std::collections::BTreeSet;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use tokio::sync::Mutex;
use violeta_types::Nonce;

use crate::client::{Client, Failures};
use crate::error::ClientError;
use crate::limits::RETRY_MS;
use crate::nonces::Begun;
use crate::submit::has_no_block;

/// The signer's nonces, once it is known where they begin; and what the last round came to.
#[derive(Default)]
pub(crate) struct Beginning {
    begun: OnceLock<Begun>,
    /// Locked for as long as a round lasts.
    last_round: Mutex<Option<Round>>,
}

/// A round of asking everybody.
struct Round {
    ended: Instant,
    highest: Result<Nonce, TooFew>,
}

/// Too few have answered in a round.
#[derive(Clone)]
struct TooFew {
    asked: usize,
    answered: BTreeSet<usize>,
    failures: Failures,
}

impl TooFew {
    fn into_error(self, client: &Client) -> ClientError {
        if self.answered.is_empty() {
            return self.failures.into_error();
        }
        // Before the names: those lock the roster too.
        let needed = (client.roster()).quorum_count(client.trust().committee());
        ClientError::NoBeginning {
            needed,
            asked: self.asked,
            answered: (self.answered.into_iter())
                .map(|at| client.name(at))
                .collect(),
            others: self.failures.into_found().map(Box::new),
        }
    }
}

impl Client {
    /// The nonces to sign with. Before the first of a new state file: what has the chain seen of this key?
    pub(crate) async fn begun(&self) -> Result<&Begun, ClientError> {
        let begun = &self.0.beginning.begun;
        if let Some(begun) = begun.get() {
            return Ok(begun);
        }
        let nonces = &self.signer()?.nonces;
        let now_begun = match nonces.begun() {
            Some(begun) => begun,
            // The first of those that share a round begins the file, the others go on with it.
            None => nonces.begin_above(self.highest_nonce().await?)?,
        };
        Ok(begun.get_or_init(|| now_begun))
    }

    /// The highest nonce that the chain has seen of this key: the highest of a quorum, each of which answers from the
    /// newest state that it knows to be certified. Fewer aren't enough: one may lie (that is, have an old state to
    /// prove), and an honest one may be as far behind as it likes, with nonces above its highest signed and spent. In a
    /// quorum an honest one has signed the newest certified head: it has executed all of it, and is behind by no more
    /// than the attestations that it has yet to hear. Nothing is lost by insisting: without a quorum nothing would be
    /// executed either.
    ///
    /// A client that was told of less than a quorum takes the word of all that it was told of.
    ///
    /// Whoever can be reached is asked again for as long as the client tries: validators come back. Who reaches nobody is
    /// told at once.
    async fn highest_nonce(&self) -> Result<Nonce, ClientError> {
        let came = Instant::now();
        loop {
            match self.shared_round().await {
                Ok(highest) => return Ok(highest),
                Err(few) if few.answered.is_empty() || came.elapsed() >= self.0.expiry => {
                    return Err(few.into_error(self));
                }
                Err(_) => tokio::time::sleep(Duration::from_millis(RETRY_MS)).await,
            }
        }
    }

    /// A round of one's own, or what another's came to that ended while this one waited for its turn.
    async fn shared_round(&self) -> Result<Nonce, TooFew> {
        let came = Instant::now();
        let mut last = self.0.beginning.last_round.lock().await;
        if let Some(round) = last.as_ref().filter(|round| round.ended >= came) {
            return round.highest.clone();
        }
        let highest = self.round().await;
        *last = Some(Round {
            ended: Instant::now(),
            highest: highest.clone(),
        });
        highest
    }

    /// Answers of one round alone: of those of different times it isn't true that one has executed all that was certified.
    async fn round(&self) -> Result<Nonce, TooFew> {
        let mut failures = Failures::default();
        let asks = self.accounts().await;
        let asked = asks.len();
        let mut asks = FuturesUnordered::from_iter(asks);
        let (mut answered, mut highest) = (BTreeSet::new(), Nonce(0));
        while let Some((at, account)) = asks.next().await {
            match account {
                Ok((account, _)) => {
                    answered.insert(at);
                    highest = highest.max(account.map_or(Nonce(0), |account| account.highest));
                }
                // On a chain without a block nobody has executed anything.
                Err(no_proof) if has_no_block(&no_proof) => drop(answered.insert(at)),
                Err(no_proof) => failures.add_no_proof(self, at, "an account", no_proof),
            }
            if self.is_quorum(answered.iter().copied()) || answered.len() == asked {
                return Ok(highest);
            }
        }
        Err(TooFew {
            asked,
            answered,
            failures,
        })
    }
}
