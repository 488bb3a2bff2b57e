//! Expensive pure work, done outside the replica on any thread.
//!
//! A job carries all that it needs but the epoch's data, which the [`Workshop`] holds. The same job gives the same
//! answer wherever it runs: the simulator runs it in place, the shell on a pool of threads.

use std::sync::Arc;

use bytes::Bytes;
use violeta_consensus::{
    CoinShares, CombinedCoin, EpochData, Invalid, ItemMeta, Rejection, Rules, ValidVertex,
    check_vertex, trust_vertex,
};
use violeta_crypto::signing::verify_vertices;
use violeta_crypto::threshold::{ShareSigner, Threshold, ThresholdMessage};
use violeta_types::{
    HeadId, Height, Item, Round, ThresholdShare, ThresholdSignature, ValidatorIndex, VertexRef,
};

use crate::machine::Ticket;
use crate::message::Place;

/// Work to be done.
#[derive(Clone, Debug)]
pub enum Job {
    /// Judge a vertex (V1–V7).
    CheckVertex {
        /// Who sent it.
        from: ValidatorIndex,
        /// The encoded vertex.
        bytes: Bytes,
    },
    /// Compare vertices of a certified commit with the references that name them, and check their signatures.
    CheckCommitted {
        /// Who sent them.
        from: ValidatorIndex,
        /// Where they are in the log.
        place: Place,
        /// What each must be, and its bytes.
        vertices: Vec<(VertexRef, Bytes)>,
    },
    /// Judge what a client submitted, by the machine's rules.
    CheckItems {
        /// The submission.
        ticket: Ticket,
        /// The items' contents.
        items: Vec<Bytes>,
    },
    /// Make the coins of some rounds from their shares.
    CombineCoins(Vec<CoinShares>),
    /// Make the seal of a head from its shares.
    CombineSeal {
        /// The head's height.
        height: Height,
        /// The head.
        head: HeadId,
        /// Unchecked shares, one a validator.
        shares: Vec<(ValidatorIndex, ThresholdShare)>,
    },
    /// Sign one's own share of a round's coin, before it is needed.
    SignCoin {
        /// The round.
        round: Round,
    },
}

/// Work done.
#[derive(Clone, Debug)]
pub enum JobDone {
    /// A vertex was judged.
    Vertex {
        /// Who sent it.
        from: ValidatorIndex,
        /// Bytes of its encoding.
        size: usize,
        /// The verdict.
        verdict: Result<ValidVertex, Invalid>,
    },
    /// Vertices of certified commits were checked.
    Committed {
        /// Who sent them.
        from: ValidatorIndex,
        /// Where they are in the log.
        place: Place,
        /// Those before the first bad one.
        good: Vec<ValidVertex>,
        /// What is wrong with that.
        bad: Option<String>,
    },
    /// A submission was judged.
    Items {
        /// The submission.
        ticket: Ticket,
        /// The verdicts, in the submission's order.
        verdicts: Vec<(Bytes, Result<ItemMeta, Rejection>)>,
    },
    /// Coins were tried.
    Coins(Vec<CombinedCoin>),
    /// A seal was tried.
    Seal {
        /// The head's height.
        height: Height,
        /// The head.
        head: HeadId,
        /// The seal, if enough shares were good.
        signature: Option<ThresholdSignature>,
        /// Whose shares were bad.
        bad: Vec<ValidatorIndex>,
    },
    /// An own share of a coin.
    CoinShare {
        /// The round.
        round: Round,
        /// The share.
        share: ThresholdShare,
    },
}

/// What jobs are done with. Shared by all threads.
#[derive(Clone)]
pub struct Workshop {
    epoch: Arc<EpochData>,
    rules: Arc<dyn Rules>,
    threshold: Option<Arc<dyn Threshold>>,
    signer: Option<Arc<dyn ShareSigner>>,
}

impl Workshop {
    /// A workshop for an epoch. `threshold` checks and combines shares, where the committee has a group key; `signer`
    /// signs one's own, where one is a validator.
    pub fn new(
        epoch: Arc<EpochData>,
        rules: Arc<dyn Rules>,
        threshold: Option<Arc<dyn Threshold>>,
        signer: Option<Arc<dyn ShareSigner>>,
    ) -> Self {
        Workshop {
            epoch,
            rules,
            threshold,
            signer,
        }
    }

    /// Does a job. None for a job that this epoch doesn't have (a coin where there is no group key): the replica
    /// doesn't give such jobs.
    pub fn run(&self, job: Job) -> Option<JobDone> {
        Some(match job {
            Job::CheckVertex { from, bytes } => JobDone::Vertex {
                from,
                size: bytes.len(),
                verdict: check_vertex(&bytes, &self.epoch, &*self.rules),
            },
            Job::CheckCommitted {
                from,
                place,
                vertices,
            } => {
                let (good, bad) = self.check_committed(&vertices);
                JobDone::Committed {
                    from,
                    place,
                    good,
                    bad,
                }
            }
            Job::CheckItems { ticket, items } => JobDone::Items {
                ticket,
                verdicts: self.check_items(items),
            },
            Job::CombineCoins(coins) => {
                let batch: Vec<_> = (coins.iter())
                    .map(|of| (self.coin_message(of.round), &of.shares[..]))
                    .collect();
                let combined = self.threshold.as_ref()?.combine_all(&batch);
                let of_each = coins
                    .iter()
                    .zip(combined)
                    .map(|(of, combined)| CombinedCoin {
                        round: of.round,
                        signature: combined.signature,
                        bad: combined.bad,
                    });
                JobDone::Coins(of_each.collect())
            }
            Job::CombineSeal {
                height,
                head,
                shares,
            } => {
                let message = ThresholdMessage::seal(&head);
                let combined = self.threshold.as_ref()?.combine(&message, &shares);
                JobDone::Seal {
                    height,
                    head,
                    signature: combined.signature,
                    bad: combined.bad,
                }
            }
            Job::SignCoin { round } => JobDone::CoinShare {
                round,
                share: self.coin_share(round)?,
            },
        })
    }

    /// One's own share of a round's coin.
    pub fn coin_share(&self, round: Round) -> Option<ThresholdShare> {
        Some(self.signer.as_ref()?.share(&self.coin_message(round)))
    }

    /// One's own share of a head's seal.
    pub fn seal_share(&self, head: &HeadId) -> Option<ThresholdShare> {
        let signer = self.signer.as_ref()?;
        Some(signer.share(&ThresholdMessage::seal(head)))
    }

    fn coin_message(&self, round: Round) -> ThresholdMessage {
        ThresholdMessage::coin(self.epoch.chain(), self.epoch.epoch(), round)
    }

    /// The vertices before the first that isn't the one named, or badly signed; and what is wrong with that.
    fn check_committed(
        &self,
        vertices: &[(VertexRef, Bytes)],
    ) -> (Vec<ValidVertex>, Option<String>) {
        let (mut good, mut signed) = (Vec::new(), Vec::new());
        let mut bad = None;
        for (expected, bytes) in vertices {
            let member = self.epoch.committee().member(expected.author);
            match (trust_vertex(bytes, &self.epoch), member) {
                (Ok(vertex), Some(member)) if vertex.reference() == expected => {
                    signed.push((member.validator_key, expected.id, *vertex.signature()));
                    good.push(vertex);
                }
                _ => {
                    bad = Some("a committed vertex isn't the one named".to_owned());
                    break;
                }
            }
        }
        // The quorum vouches for ids, and an id doesn't bind the signature: a spoilt one, kept and served, would make
        // others refuse this replica.
        let verdicts = verify_vertices(&signed);
        if let Some(first) = verdicts.iter().position(|good| !good) {
            good.truncate(first);
            bad = Some("a committed vertex with a wrong signature".to_owned());
        }
        (good, bad)
    }

    fn check_items(&self, items: Vec<Bytes>) -> Vec<(Bytes, Result<ItemMeta, Rejection>)> {
        let wrapped: Vec<Item> = items.iter().cloned().map(Item::Client).collect();
        let verdicts = self.rules.check(&wrapped);
        assert_eq!(verdicts.len(), items.len(), "rules judge each item");
        items.into_iter().zip(verdicts).collect()
    }
}
