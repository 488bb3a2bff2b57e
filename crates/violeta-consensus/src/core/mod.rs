//! The core: one validator's (or follower's) part in the protocol, as a state machine.
//!
//! [`Core::handle`] takes an event with the time, [`Core::poll`] gives the effects in order, and
//! [`Core::next_wakeup`] says when to send [`Event::Tick`] if nothing else happens.
//!
//! Upon …
//! - **restore_vertex, restore_commit, restore_evidence** (§9): what the journal holds, in its order, before
//!   anything else. **start**: the decision rule is fed with what is undecided; what was decided but not journaled
//!   is given out again, the same; the own newest vertex is sent again. **forget** (§9): the journal was lost; from
//!   then on no own vertex is proposed, and all else goes on. **ask_to_rejoin** (§9): the others are asked for the newest
//!   vertices; once Q have answered the floor is given out (`rejoin`). **restore_floor**: it was, in an earlier life.
//! - **Vertex**: known or at or below gc: dropped. A second one in its slot: evidence (§7). More than
//!   [`VARIANTS_PUSHED_MAX`](crate::limits::VARIANTS_PUSHED_MAX) in its slot and nobody waits for it: dropped. Too far
//!   above what is here: dropped, and what lies between is fetched (§8). Parents missing, timestamp ahead, or quota
//!   of variants spent: suspended. Else accepted: persisted, given to the decision rule, its coin share kept; who
//!   waited for it is looked at again; decided slots become commits (§6), and gc rises with them.
//! - **OwnVertex**: accepted and persisted. **OwnDurable**: sent to all.
//! - **Message**: a request is answered within the peer's quota; a frontier is compared with one's own: who lacks
//!   evidence or one's own vertices is sent them, from who reaches further the rest is fetched; evidence is
//!   checked, kept, and spread once; "pruned" asks the replica to catch up by commits.
//! - **Coins** (§12): the rounds' leaders become known, or other shares are tried.
//! - **Certified**, of a head that was executed here: what lies below its leader − 3G may be dropped (§6). Heads of
//!   commits that aren't here are the replica's affair: it catches up by itself when one is more than 256 commits ahead
//!   (`BEHIND_COMMITS` in its `catch_up`); the core asks for it where vertices can't close the gap, however small.
//! - **Adopt** (replica.md §4b): the commits are taken as they are, gc rises, and the decision rule goes on after
//!   the last one's slot.
//! - **Rejoined** (§9): the floor is durable: own vertices of rounds above it are proposed as any.
//! - **PeerUp, PeerDown, PeerInvalid**: frontiers are exchanged; requests go to others.
//! - **any**: if the next own vertex is due and its parents are here, it is proposed (§3, `produce`); requests and
//!   the heartbeat go out when their time has come.
//!
//! Invariants: an accepted vertex's parents above gc are accepted. At most one proposal is outstanding, and none
//! before the own vertex before is durable. gc comes from committed leaders alone. Commits are consecutive.

mod accept;
mod commit;
mod peers;
mod produce;
mod rejoin;

#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::sync::Arc;

use violeta_types::{
    CommitIndex, Digest, Round, ThresholdSignature, TimeMs, ValidatorIndex, VertexRef,
};

use crate::bucket::Bucket;
use crate::coin::Coins;
use crate::decision::{Decider, DecisionCounts, SlotKey};
use crate::epoch::EpochData;
use crate::evidence::Evidence;
use crate::fetch::Fetch;
use crate::graph::Graph;
use crate::io::{Effect, Event, Now, Proposal};
use crate::limits::{
    EXTRA_VARIANTS_BURST, EXTRA_VARIANTS_PER_SECOND, SERVED_BYTES_BURST, SERVED_BYTES_PER_SECOND,
};
use crate::message::Message;
use crate::suspended::Suspended;
use crate::tuning::Tuning;
use crate::vertex::ValidVertex;

pub use commit::RestoreError;
pub use rejoin::Rejoining;

/// The end of the commit log as this core knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LastCommit {
    /// Its index.
    pub index: CommitIndex,
    /// Its digest.
    pub digest: Digest,
    /// Its leader's round.
    pub leader_round: Round,
    /// Its time.
    pub time: TimeMs,
}

/// The newest certified head's commit.
#[derive(Clone, Copy, Debug, Default)]
struct CertifiedLeader {
    round: Round,
    index: CommitIndex,
}

/// What this validator has made.
#[derive(Clone, Debug)]
struct Own {
    me: ValidatorIndex,
    /// The newest own vertex (a virtual one at first).
    newest: VertexRef,
    /// Whether it is durable, and may be built on.
    durable: bool,
    /// When it left.
    sent_us: Option<u64>,
    /// When it was made.
    made_us: Option<u64>,
    /// The proposal that isn't answered.
    outstanding: Option<Proposal>,
    /// The pause between own vertices, in microseconds of it.
    pace: Bucket,
    /// Vertices made only to follow others.
    follow: Bucket,
    /// The round for which A1 holds, and since when.
    quorum_since: Option<(Round, u64)>,
    /// When to look again although nothing happened.
    wakeup_us: Option<u64>,
    /// Own vertices may exist that the journal doesn't hold.
    amnesia: bool,
    /// What is asked about them.
    asking: Option<rejoin::Asking>,
    /// The journal may lack own vertices at and below this round, and none above: 0 if it never was lost.
    floor: Round,
    /// Own vertices are due up to this round, though nothing else is.
    lift: Round,
}

/// The protocol's state machine; see the [module](self).
#[derive(Clone, Debug)]
pub struct Core {
    epoch: Arc<EpochData>,
    tuning: Tuning,
    graph: Graph,
    decider: Decider,
    coins: Coins,
    suspended: Suspended,
    fetch: Fetch,
    last: LastCommit,
    certified: CertifiedLeader,
    own: Option<Own>,
    evidence: Vec<Evidence>,
    wants_payload: bool,
    pending: bool,
    /// Variants beyond the pushed ones, for each author.
    variants: Vec<Bucket>,
    /// Bytes served, for each peer.
    served: Vec<Bucket>,
    heartbeat_us: u64,
    /// When to look again at vertices held for their timestamps or their author's quota.
    held_us: Option<u64>,
    /// When the replica was last asked to catch up.
    behind_us: Option<u64>,
    restored: bool,
    restored_slot: Option<SlotKey>,
    started: bool,
    effects: VecDeque<Effect>,
    decisions: DecisionCounts,
}

impl Core {
    /// A core for validator `me` (none: it follows and makes no vertices) at the epoch's beginning.
    ///
    /// # Panics
    /// If `me` isn't in the committee.
    pub fn new(epoch: Arc<EpochData>, me: Option<ValidatorIndex>, tuning: Tuning) -> Self {
        let committee = Arc::new(epoch.committee().clone());
        let n = committee.len();
        let own = me.map(|me| Own::new(&epoch, me, &tuning));
        let (index, digest) = epoch.base();
        let last = LastCommit {
            index,
            digest,
            leader_round: Round(0),
            time: epoch.start(),
        };
        Core {
            graph: Graph::new(epoch.clone()),
            decider: Decider::new(committee.clone(), epoch.parameters().wave_length),
            coins: Coins::new(committee.share_threshold()),
            suspended: Suspended::new(n),
            fetch: Fetch::new(me, n, tuning.request_timeout_us),
            last,
            certified: CertifiedLeader::default(),
            own,
            evidence: Vec::new(),
            wants_payload: false,
            pending: false,
            variants: vec![Bucket::new(EXTRA_VARIANTS_PER_SECOND, EXTRA_VARIANTS_BURST); n],
            served: vec![Bucket::new(SERVED_BYTES_PER_SECOND, SERVED_BYTES_BURST); n],
            heartbeat_us: 0,
            held_us: None,
            behind_us: None,
            restored: false,
            restored_slot: None,
            started: false,
            effects: VecDeque::new(),
            decisions: DecisionCounts::default(),
            epoch,
            tuning,
        }
    }

    /// The epoch's data.
    pub fn epoch(&self) -> &Arc<EpochData> {
        &self.epoch
    }

    /// The end of the commit log.
    pub fn last_commit(&self) -> &LastCommit {
        &self.last
    }

    /// `gc(k)` for the next commit: rounds at or below it are closed.
    pub fn gc_round(&self) -> Round {
        self.graph.gc()
    }

    /// The lowest round that is kept: the journal may drop uncommitted vertices below it.
    pub fn lowest_kept(&self) -> Round {
        self.graph.bottom()
    }

    /// The highest round in which vertices of a quorum have been accepted.
    pub fn round(&self) -> Round {
        self.graph.quorum_round()
    }

    /// The newest own vertex, a virtual one at first; none for a follower.
    pub fn own_newest(&self) -> Option<VertexRef> {
        self.own.as_ref().map(|own| own.newest)
    }

    /// The coin of a round that isn't decided yet, if it is known.
    pub fn coin(&self, round: Round) -> Option<&ThresholdSignature> {
        self.coins.get(round)
    }

    /// How slots were decided since the start.
    pub fn decisions(&self) -> DecisionCounts {
        self.decisions
    }

    /// Equivocation proofs, for whoever catches up.
    pub fn evidence(&self) -> &[Evidence] {
        &self.evidence
    }

    /// An accepted vertex, while its payload is held.
    pub fn vertex(&self, reference: &VertexRef) -> Option<&ValidVertex> {
        self.graph.get(reference)?.whole()
    }

    /// Something happened.
    ///
    /// # Panics
    /// If called before [`start`](Self::start), or if [`Event::OwnVertex`] isn't the vertex that was proposed: both
    /// are this validator's own doing.
    pub fn handle(&mut self, now: Now, event: Event) {
        assert!(self.started, "start comes before events");
        match event {
            Event::Vertex { from, vertex } => self.on_vertex(from, vertex, now),
            Event::Message { from, message } => self.on_message(from, message, now),
            Event::PeerUp(peer) => self.on_peer_up(peer),
            Event::PeerDown(peer) => self.fetch.set_up(peer, false),
            Event::PeerInvalid(peer) => {
                self.fetch.forget(peer);
                self.suspended.drop_from(peer);
            }
            Event::Wants { payload, pending } => {
                self.wants_payload = payload;
                self.pending = pending;
                self.combine_wanted_coins();
            }
            Event::OwnVertex { vertex } => self.on_own_vertex(vertex, now),
            Event::OwnDurable { reference } => self.on_own_durable(reference, now),
            Event::Coins(combined) => self.on_coins(combined, now),
            Event::Certified {
                leader_round,
                commit_index,
            } => self.on_certified(leader_round, commit_index),
            Event::Adopt { commits } => self.on_adopt(commits, now),
            Event::Rejoined { floor } => self.on_rejoined(floor),
            Event::Tick => {}
        }
        self.release_held(now);
        self.rejoin(now);
        self.produce(now);
        self.ask(now);
        self.heartbeat(now);
    }

    /// The next thing to do.
    pub fn poll(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// When [`Event::Tick`] is due at the latest, in monotonic microseconds.
    pub fn next_wakeup(&self) -> Option<u64> {
        let produce = self.own.as_ref().and_then(|own| own.wakeup_us);
        let fetch = self.fetch.next_wakeup();
        let heartbeat = Some(self.heartbeat_us);
        [produce, fetch, heartbeat, self.held_us]
            .into_iter()
            .flatten()
            .min()
    }

    /// Own vertices may exist that the journal doesn't hold: none is made any more in this epoch (§9), unless the others
    /// are [asked](Self::ask_to_rejoin).
    ///
    /// A share of a coin or a seal may be given all the same: it is a function of the key and of what all agree on.
    pub fn forget(&mut self) {
        if let Some(own) = self.own.as_mut() {
            own.amnesia = true;
        }
    }

    fn has_forgotten(&self) -> bool {
        self.own.as_ref().is_some_and(|own| own.amnesia)
    }

    fn me(&self) -> Option<ValidatorIndex> {
        self.own.as_ref().map(|own| own.me)
    }

    fn send(&mut self, to: ValidatorIndex, message: Message) {
        self.effects.push_back(Effect::Send { to, message });
    }
}

impl Own {
    fn new(epoch: &EpochData, me: ValidatorIndex, tuning: &Tuning) -> Self {
        assert!(me.as_usize() < epoch.committee().len(), "a member");
        let bucket = |interval_us: u64, burst: u64| {
            let per_second = 1_000_000 / interval_us.max(1);
            Bucket::new(per_second.max(1), burst.max(1))
        };
        Own {
            me,
            newest: epoch.virtual_vertices()[me.as_usize()],
            durable: true,
            sent_us: None,
            made_us: None,
            outstanding: None,
            pace: Bucket::new(
                1_000_000,
                (tuning.round_interval_us_min).saturating_mul(tuning.round_burst.max(1)),
            ),
            follow: bucket(tuning.follow_interval_us, tuning.follow_burst),
            quorum_since: None,
            wakeup_us: None,
            amnesia: false,
            asking: None,
            floor: Round(0),
            lift: Round(0),
        }
    }
}
