//! What must hold in every world, stated again in the simulator's own arithmetic.
//!
//! ```text
//!   what honest validators do ──▶ sent ───── vertices, attestations ──▶ nobody says two things in one place
//!                                 committed ─ the log ────────────────▶ one log, whole, in order
//!                                 time ────── stamps, clocks ─────────▶ commit time is between honest clocks
//!                                 executed ── blocks ─────────────────▶ one head a height; each transaction once
//!                                 certified ─ heads ──────────────────▶ no two certificates at one height
//!   what clients were told     ──▶ acknowledged ──────────────────────▶ is there for ever
//!   all of it                  ──▶ model ─────────────────────────────▶ the same outcomes and the same map
//! ```
//!
//! Nothing here asks production code whether it decided right: the oracle would only say what the accused says. What is
//! shared is the vocabulary: encodings and digests of `violeta-types`.
//!
//! All that is canonical is so for ever: it isn't forgotten when validators crash, so a history that changes over a
//! crash is found, too.

mod acknowledged;
mod blocks;
mod log;
mod model;
mod sent;
mod time;

use std::fmt;

use violeta_types::{
    Attestation, CertifiedHead, Commit, Digest, Head, Height, Item, Outcome, TimeMs, TxId,
    ValidatorIndex, VertexHeader, VertexRef,
};

pub(crate) use model::Model;

use acknowledged::Acknowledged;
use blocks::Blocks;
use log::Log;
use sent::Sent;
use time::Times;

/// A property that every world has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Property {
    /// All honest validators have the same commit at an index, and the log is a chain without gaps.
    Agreement,
    /// A vertex, and a slot's author and round, is committed once; leaders lie in their commits.
    CommittedOnce,
    /// Commit time is the lower median of what the leader's parents say, and lies between honest clocks.
    CommitTime,
    /// All honest validators have the same head, with the same roots, at a height.
    EqualHeads,
    /// Each transaction has at most one outcome, over all heights.
    ExactlyOnce,
    /// What a client was told stays so.
    Durability,
    /// No honest validator signs two vertices for one round, or two heads for one height: over restarts, too, and over
    /// the loss of its disk.
    NoEquivocation,
    /// A validator whose journal was lost knows it before it makes anything; nobody else believes that of itself.
    Amnesia,
    /// No two certificates at one height, each by a quorum, of a head that honest validators executed.
    Certificates,
    /// Outcomes and the final state are what a map gives that the commits are applied to.
    Model,
    /// No honest validator blames, refuses or accuses another.
    NoFalseBlame,
    /// No honest validator stops.
    NoHalt,
    /// Once all is healed, everything that honest gateways were given is committed, everywhere, in bounded time.
    Progress,
    /// Once all is committed, no more vertices are made.
    Quiescence,
    /// A validator opens its journal and store again after any crash.
    Recovery,
    /// Nothing that comes from outside, and no crash, makes the code panic.
    NoPanic,
}

impl fmt::Display for Property {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Property::Agreement => "agreement",
            Property::CommittedOnce => "committed once",
            Property::CommitTime => "commit time is what honest clocks say",
            Property::EqualHeads => "equal heads",
            Property::ExactlyOnce => "exactly once",
            Property::Durability => "durability of what was acknowledged",
            Property::NoEquivocation => "no honest equivocation",
            Property::Amnesia => "a lost journal is noticed",
            Property::Certificates => "certificates never conflict",
            Property::Model => "the state is the model's",
            Property::NoFalseBlame => "no honest validator is blamed",
            Property::NoHalt => "no honest validator stops",
            Property::Progress => "progress after healing",
            Property::Quiescence => "quiet when idle",
            Property::Recovery => "recovery after a crash",
            Property::NoPanic => "no panic",
        })
    }
}

/// A property that didn't hold, and how.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{property}: {what}")]
pub struct Violation {
    /// Which.
    pub property: Property,
    /// How it was broken, by whom.
    pub what: String,
}

impl Violation {
    pub(crate) fn new(property: Property, what: impl Into<String>) -> Self {
        let what = what.into();
        Violation { property, what }
    }
}

/// The verdict of a check.
pub(crate) type Verdict = Result<(), Violation>;

/// Returns a violation unless something holds.
macro_rules! ensure {
    ($holds:expr, $property:expr, $($what:tt)*) => {
        if !$holds {
            return Err($crate::checkers::Violation::new($property, format!($($what)*)));
        }
    };
}
pub(crate) use ensure;

/// All checkers of a world.
pub(crate) struct Checkers {
    pub(crate) log: Log,
    times: Times,
    pub(crate) blocks: Blocks,
    pub(crate) sent: Sent,
    pub(crate) acknowledged: Acknowledged,
    pub(crate) model: Model,
    honest: u128,
}

impl Checkers {
    /// Checkers of a committee of `n` validators of equal stake, of which those of the mask are honest, and of a chain
    /// that begins at `start`.
    pub(crate) fn new(n: usize, honest: u128, start: TimeMs, model: Model) -> Self {
        Checkers {
            log: Log::default(),
            times: Times::new(start),
            blocks: Blocks::new(n),
            sent: Sent::default(),
            acknowledged: Acknowledged::default(),
            model,
            honest,
        }
    }

    /// Whether a validator is honest in this world.
    pub(crate) fn is_honest(&self, validator: ValidatorIndex) -> bool {
        self.honest >> validator.0 & 1 == 1
    }

    /// An honest validator accepted a vertex: its items may be committed.
    pub(crate) fn accepted(&mut self, reference: VertexRef, header: &VertexHeader, items: &[Item]) {
        self.times.accepted(reference, header);
        self.model.accepted(reference, items);
    }

    /// An honest validator makes a vertex of its own, and its wall clock shows this.
    pub(crate) fn made(&mut self, reference: VertexRef, clock: TimeMs) {
        self.times.made(reference, clock);
    }

    /// An honest validator sent a vertex of its own.
    pub(crate) fn sent_vertex(&mut self, reference: &VertexRef) -> Verdict {
        self.sent.vertex(reference)
    }

    /// An honest validator attested a head.
    pub(crate) fn sent_attestation(&mut self, attestation: &Attestation) -> Verdict {
        self.sent.attestation(attestation)
    }

    /// An honest validator starts anew: with these own vertices in its journal, this many commits, and a store of this
    /// height.
    pub(crate) fn restarted(
        &mut self,
        who: ValidatorIndex,
        own: &[VertexRef],
        commits: u64,
        height: Height,
    ) -> Verdict {
        self.log.restarted(who, commits);
        self.blocks.restarted(who, height);
        self.sent.restarted(who, own, height)
    }

    /// A validator's store is lost, and its journal isn't.
    pub(crate) fn store_lost(&mut self, who: ValidatorIndex) {
        self.sent.store_lost(who);
    }

    /// An honest validator's log has grown.
    pub(crate) fn committed(
        &mut self,
        who: ValidatorIndex,
        commit: &Commit,
        digest: Digest,
    ) -> Verdict {
        let is_new = self.log.committed(who, commit, digest)?;
        if is_new {
            let honest = self.honest;
            self.times
                .committed(commit, &|who| honest >> who.0 & 1 == 1)?;
            self.model.commit(commit)?;
        }
        Ok(())
    }

    /// An honest validator executed a block.
    pub(crate) fn executed(
        &mut self,
        who: ValidatorIndex,
        head: &Head,
        outcomes: &[Outcome],
    ) -> Verdict {
        if self.blocks.executed(who, head, outcomes)? {
            self.model.compare(head, outcomes)?;
        }
        Ok(())
    }

    /// An honest validator took a head for certified.
    pub(crate) fn certified(&mut self, who: ValidatorIndex, certified: &CertifiedHead) -> Verdict {
        self.blocks.certified(who, certified)?;
        for (signer, _) in &certified.certificate.signatures {
            if self.is_honest(*signer) {
                let (height, head) = (certified.certificate.height, certified.certificate.head);
                self.sent.attested(*signer, height, head)?;
            }
        }
        Ok(())
    }

    /// A client was told, with a certificate, what became of a transaction.
    pub(crate) fn acknowledged(&mut self, id: TxId, outcome: &Outcome) -> Verdict {
        self.acknowledged.told(id, outcome)
    }

    /// Everything that can be said once the world has come to rest.
    pub(crate) fn finish(&self) -> Verdict {
        self.acknowledged.check(&self.blocks)
    }

    /// The newest height that any honest validator executed.
    pub(crate) fn height(&self) -> Height {
        self.blocks.height()
    }
}
