//! The replica: what joins mempool, consensus core, commit log, machine and attestations.
//!
//! - upon [`Input::Submit`]: the rules judge (a job), then the machine, then the mempool takes what there is room for.
//! - upon [`Input::Message`]: vertices are judged (jobs) and go to the core; attestations are checked and counted.
//! - upon the core's *propose*: a vertex is filled from the mempool, signed, and given to the core; it is appended to
//!   the journal, and leaves when a sync has covered it.
//! - upon the core's *commit*: the log grows; the handover brings the commit to the machine.
//! - upon the core's *rejoin*: the floor is appended and synced; only then are vertices made again.
//! - upon the machine's *block*: its record is appended and synced, then the machine is asked to flush.
//! - upon the machine's *durable*: what is durable is attested. A quorum of attestations makes a certificate.

mod catching_up;
mod serving;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use violeta_consensus::{
    CombinedCoin, CommittedCone, Core, DecisionCounts, EpochData, Evidence, ItemMeta, Now,
    Proposal, RejoinNonce, Rejoining, Tuning, ValidVertex, trust_vertex,
};
use violeta_crypto::signing::{ValidatorSecretKey, verify_attestation};
use violeta_proof::head::check_certificate;
use violeta_types::seeded::{self, Bug};
use violeta_types::{
    Attestation, Certificate, CertifiedHead, CommitIndex, Committee, Head, HeadId, Height, Item,
    Payload, Round, Seal, SignedHeader, ThresholdShare, ThresholdSignature, TxId, ValidatorIndex,
    ValidatorPublicKey, Vertex, VertexHeader, VertexRef, encode,
};

use crate::attestations::{
    Attestations, ConflictingAttestations, Contradiction, Diverged, Divergence,
};
use crate::catch_up::CatchUp;
use crate::commit_log::CommitLog;
use crate::handover::{Handover, Step};
use crate::io::{Input, LoadRequest, Loaded, LoadedCommit, Notice, Output, SubmitError};
use crate::job::{Job, JobDone, Workshop};
use crate::limits::{
    CHECK_BYTES_PER_PEER_MAX, CHECKS_PER_PEER_MAX, HANDOVER_BYTES_MAX, LAG_COMMITS_MAX,
    PART_BYTES_MAX, PROPOSAL_BYTES_MAX, PROPOSAL_ITEMS_MAX,
};
use crate::machine::{Block, Effect, Event, OrderedCommit, Position, Ticket};
use crate::mempool::Mempool;
use crate::message::{Heartbeat, Message};
use crate::provision::{Past, Rejoin};
use crate::record::Record;
use crate::submissions::{Submissions, overloaded};

/// How often a validator says where it stands, in µs.
const HEARTBEAT_US: u64 = 1_000_000;
/// How often what has expired leaves the mempool, in µs.
const SWEEP_US: u64 = 1_000_000;
/// The shortest time between two seals, in µs: making one costs more than a round.
const SEAL_INTERVAL_US: u64 = 200_000;
/// Certified heads kept of heights that this replica has yet to execute.
const AHEAD_HEADS_MAX: usize = 256;

/// Who a validator is.
pub struct Identity {
    /// Its place in the committee.
    pub index: ValidatorIndex,
    /// Signs its vertices and attestations.
    pub key: ValidatorSecretKey,
}

/// What a replica is made of.
pub struct Setup {
    /// The epoch's data.
    pub epoch: Arc<EpochData>,
    /// Who this is; none: it only follows.
    pub identity: Option<Identity>,
    /// What signs and combines shares.
    pub workshop: Workshop,
    /// Knobs of the consensus core.
    pub tuning: Tuning,
    /// Bytes that it asks for at once when it catches up: [`PART_BYTES_MAX`], or less.
    pub part_bytes_max: usize,
    /// What to do should the journal turn out to be lost: none: follow to the end of the epoch. Else ask the others, by
    /// this name, and go on once a quorum has told (consensus.md §9). To be drawn anew for each start.
    pub rejoin: Option<RejoinNonce>,
}

/// What a replica can't begin with.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReplicaError {
    /// A record in the journal isn't what it should be.
    #[error(
        "journal: {0}; move the data directory aside and start with an empty one: the validator catches up, and only \
         follows until the next epoch, or, with recovery.rejoin_after_lost_journal, until a quorum has told it how far \
         it had got"
    )]
    Record(String),
    /// The journal was begun for another validator.
    #[error(
        "the journal is that of the validator with the key {found}, not {wanted}: give each validator a data directory \
         of its own, and never another's copy"
    )]
    OtherValidator {
        /// Whose it is.
        found: ValidatorPublicKey,
        /// Whose it should be.
        wanted: ValidatorPublicKey,
    },
    /// The store is ahead of the journal: it must be rolled back first.
    #[error(
        "the store is at height {store}, but the journal's last block is {journal}: roll the store back to it"
    )]
    StoreAhead {
        /// The store's height.
        store: Height,
        /// The journal's.
        journal: Height,
    },
    /// The store belongs to another log.
    #[error(transparent)]
    ForeignStore(#[from] crate::handover::ForeignStore),
}

/// Where a replica stands, for people and metrics.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// The round of its newest own vertex.
    pub round: Round,
    /// The last commit.
    pub commit_index: CommitIndex,
    /// The last executed block.
    pub executed: Height,
    /// The last certified head.
    pub certified: Height,
    /// Commits that the machine has yet to apply.
    pub lag: u64,
    /// Transactions in the mempool.
    pub mempool_count: usize,
    /// Their bytes.
    pub mempool_bytes: usize,
    /// Rounds that the graph spans in memory.
    pub graph_rounds: u64,
    /// Validators whose connection is up.
    pub peers: Vec<ValidatorIndex>,
    /// Whether it catches up by commits.
    pub catching_up: bool,
    /// Whether a transaction sent now would be taken.
    pub accepts: bool,
    /// Whether it may have signed what it doesn't know of any more: it follows, and makes no vertices in this epoch, or
    /// until a quorum has told it enough.
    pub amnesia: bool,
    /// Whether that is because its journal turned out to lack something: then no quorum's word makes it good.
    pub broken: bool,
    /// How far it is with asking the others what it lost; none if it doesn't ask.
    pub rejoining: Option<Rejoining>,
    /// Why it stopped, if it did.
    pub halted: Option<String>,
}

#[derive(Debug, Default)]
struct PeerState {
    up: bool,
    checks: usize,
    check_bytes: usize,
    /// Whether a part of what it catches up with is being read for it.
    serving: bool,
    /// Whether vertices that it asked for by name are being read for it.
    loading: bool,
    /// Those that it asked for meanwhile, request by request.
    stored: VecDeque<Vec<VertexRef>>,
}

/// See the module.
pub struct Replica {
    pub(crate) epoch: Arc<EpochData>,
    pub(crate) identity: Option<Identity>,
    workshop: Workshop,
    pub(crate) core: Core,
    pub(crate) log: CommitLog,
    pub(crate) attestations: Attestations,
    pub(crate) handover: Handover,
    mempool: Mempool,
    submissions: Submissions,
    catch_up: CatchUp,
    peers: BTreeMap<ValidatorIndex, PeerState>,
    outputs: VecDeque<Output>,
    now: Now,
    /// Records appended to the journal so far.
    appended: u64,
    /// Records that a sync was asked for.
    sync_asked: u64,
    /// Records that are durable.
    synced: u64,
    /// Own vertices that wait for a sync.
    leaving: VecDeque<(VertexRef, u64)>,
    /// Shares of coins, signed before they were needed.
    coin_shares: BTreeMap<Round, ThresholdShare>,
    /// Blocks in the journal that the machine has yet to make durable (again): by height, what they must be.
    /// Of the newest [`REATTESTED_HEIGHTS_MAX`](crate::limits::REATTESTED_HEIGHTS_MAX) only; those below aren't compared.
    pub(crate) recorded: BTreeMap<Height, HeadId>,
    /// The height of the journal's last block.
    pub(crate) journaled: Height,
    /// Verified certified heads above what was executed here.
    ahead: BTreeMap<Height, Arc<CertifiedHead>>,
    /// The machine's durable height.
    pub(crate) durable: Height,
    /// The record of the first block that the machine hasn't been asked to flush, if there is one.
    flush_after: Option<u64>,
    flushing: bool,
    machine_pending: bool,
    wants: (bool, bool),
    sealing: bool,
    next_seal_us: u64,
    next_heartbeat_us: u64,
    next_sweep_us: u64,
    /// What the journal's records say of the past.
    pub(crate) past: Past,
    pub(crate) rejoin: Option<RejoinNonce>,
    /// The floor that a quorum has told, and the record that must be durable before it counts.
    floor: Option<(Round, u64)>,
    halted: Option<String>,
    pub(crate) started: bool,
}

impl Replica {
    /// A replica with nothing in it. [Restore](Self::restore) its journal, then [start](Self::start) it.
    pub fn new(setup: Setup) -> Self {
        let me = setup.identity.as_ref().map(|identity| identity.index);
        let core = Core::new(setup.epoch.clone(), me, setup.tuning);
        let log = CommitLog::new(*setup.epoch.chain(), setup.epoch.start());
        Replica {
            core,
            log,
            epoch: setup.epoch,
            identity: setup.identity,
            workshop: setup.workshop,
            attestations: Attestations::default(),
            handover: Handover::new(Position::default(), CommitIndex(0)),
            mempool: Mempool::default(),
            submissions: Submissions::default(),
            catch_up: CatchUp::new(part_bytes(setup.part_bytes_max)),
            peers: BTreeMap::new(),
            outputs: VecDeque::new(),
            now: Now::default(),
            appended: 0,
            sync_asked: 0,
            synced: 0,
            leaving: VecDeque::new(),
            coin_shares: BTreeMap::new(),
            recorded: BTreeMap::new(),
            journaled: Height(0),
            ahead: BTreeMap::new(),
            durable: Height(0),
            flush_after: None,
            flushing: false,
            machine_pending: false,
            wants: (false, false),
            sealing: false,
            next_seal_us: 0,
            next_heartbeat_us: 0,
            next_sweep_us: 0,
            past: Past::default(),
            rejoin: setup.rejoin,
            floor: None,
            halted: None,
            started: false,
        }
    }

    fn committee(&self) -> &Committee {
        self.epoch.committee()
    }

    fn me(&self) -> Option<ValidatorIndex> {
        self.identity.as_ref().map(|identity| identity.index)
    }

    /// Takes an input. What it leads to is [polled](Self::poll). Before [`start`](Self::start), nothing is taken.
    pub fn handle(&mut self, now: Now, input: Input) {
        assert!(self.started, "a replica is started before it is driven");
        if self.halted.is_some() {
            return;
        }
        self.now = now;
        match input {
            Input::PeerUp(peer) => self.peer_up(peer),
            Input::PeerDown(peer) => self.peer_down(peer),
            Input::Message { from, bytes } => self.message(from, &bytes),
            Input::Submit { ticket, items } => self.submit(ticket, items),
            Input::JobDone(done) => self.job_done(done),
            Input::Synced { mark } => self.journal_synced(mark),
            Input::Machine(effect) => self.machine(effect),
            Input::Loaded(loaded) => self.loaded(loaded),
            Input::Tick => {}
        }
        self.turn();
    }

    /// The next thing to be done; none when all has been taken.
    pub fn poll(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When [`Input::Tick`] is due, on the clock of [`Now::monotonic_us`].
    pub fn next_wakeup(&self) -> Option<u64> {
        if self.halted.is_some() {
            return None;
        }
        let sealable = || self.attestations.sealable(self.committee()).is_some();
        let seal =
            (!self.sealing && self.has_group_key() && sealable()).then_some(self.next_seal_us);
        let sweep = (!self.mempool.is_empty()).then_some(self.next_sweep_us);
        [
            Some(self.next_heartbeat_us),
            self.core.next_wakeup(),
            self.catch_up.deadline_us(),
            seal,
            sweep,
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// Where the replica stands.
    pub fn status(&self) -> Status {
        Status {
            round: self.core.own_newest().map_or(Round(0), |own| own.round),
            commit_index: self.log.last_index(),
            executed: self.attestations.executed_height(),
            certified: self.attestations.certified_height(),
            lag: self.handover.lag(),
            mempool_count: self.mempool.len(),
            mempool_bytes: self.mempool.bytes(),
            graph_rounds: self
                .core
                .round()
                .0
                .saturating_sub(self.core.lowest_kept().0),
            peers: self
                .peers
                .iter()
                .filter(|(_, p)| p.up)
                .map(|(i, _)| *i)
                .collect(),
            catching_up: self.catch_up.is_active(),
            accepts: self.identity.is_some()
                && !self.past.is_amnesia()
                && !self.lags()
                && self.halted.is_none(),
            amnesia: self.past.is_amnesia(),
            broken: self.past == Past::Broken,
            rejoining: self.core.rejoining(),
            halted: self.halted.clone(),
        }
    }

    /// How the slots of leaders were decided since the start.
    pub fn decisions(&self) -> DecisionCounts {
        self.core.decisions()
    }

    /// The evidence that the core keeps: who was seen to equivocate.
    pub fn evidence(&self) -> &[Evidence] {
        self.core.evidence()
    }

    /// The proofs that validators attested two heads of one height: one a validator.
    pub fn conflicts(&self) -> impl Iterator<Item = &ConflictingAttestations> {
        self.attestations.conflicts()
    }

    /// What a quorum said against blocks that were made here, now or before a restart.
    pub fn divergences(&self) -> &[Divergence] {
        self.attestations.divergences()
    }

    /// The first turn, after a start.
    pub(crate) fn begin(&mut self, now: Now) {
        self.now = now;
        if let Some(certified) = self.attestations.newest_certified().cloned() {
            self.tell_certified(certified.head.commit_index);
            let height = certified.head.height.min(self.durable);
            self.output(Output::Machine(Event::Certified { height }));
        }
        self.attest();
        self.turn();
    }

    // ── The turn: after each input, all that has become possible ────────────────────────────────────────────────

    /// Brings everything forward that an input may have made possible.
    pub(crate) fn turn(&mut self) {
        let steps = [
            Self::timers,
            Self::tick_core,
            Self::drain_core,
            Self::hand_over,
            Self::tell_wants,
            Self::drain_core,
            Self::judge_returned,
            Self::ask_for_commits,
            Self::flush_machine,
            Self::make_seal,
        ];
        for step in steps {
            // What was found wrong on the way ends it: nothing more is signed, sent or made durable.
            if self.halted.is_some() {
                return;
            }
            step(self);
        }
    }

    fn tick_core(&mut self) {
        self.core.handle(self.now, violeta_consensus::Event::Tick);
        self.tell_wants();
    }

    fn timers(&mut self) {
        let now_us = self.now.monotonic_us;
        if now_us >= self.next_heartbeat_us {
            self.next_heartbeat_us = now_us + HEARTBEAT_US;
            let message = self.heartbeat();
            self.broadcast(&message);
        }
        if now_us >= self.next_sweep_us {
            self.next_sweep_us = now_us + SWEEP_US;
            let expired = self.mempool.expire(self.now.wall);
            if !expired.is_empty() {
                self.notice(Notice::Expired(expired));
            }
        }
    }

    fn lags(&self) -> bool {
        self.handover.lag() > LAG_COMMITS_MAX
    }

    fn tell_wants(&mut self) {
        let payload = self.mempool.queued() > 0 && !self.lags();
        let wants = (payload, self.machine_pending);
        // While payload waits it is told each time: the core may have gone quiet since.
        if wants != self.wants || payload {
            self.wants = wants;
            let event = violeta_consensus::Event::Wants {
                payload,
                pending: self.machine_pending,
            };
            self.core.handle(self.now, event);
        }
    }

    fn drain_core(&mut self) {
        while let Some(effect) = self.core.poll() {
            self.core_effect(effect);
            if self.halted.is_some() {
                return;
            }
        }
    }

    fn core_effect(&mut self, effect: violeta_consensus::Effect) {
        use violeta_consensus::Effect as Core;
        match effect {
            Core::Propose(proposal) => self.propose(proposal),
            Core::Send { to, message } => self.send(to, &Message::Consensus(message)),
            Core::Broadcast(message) => self.broadcast(&Message::Consensus(message)),
            Core::Persist(vertex) => self.append(Record::Vertex(vertex)),
            Core::PersistEvidence(evidence) => self.append(Record::Evidence(evidence)),
            Core::CombineCoins(coins) => {
                self.output(Output::Job(Job::CombineCoins(coins)));
            }
            Core::Commit(cone) => self.committed(cone),
            Core::Equivocation(evidence) => self.equivocation(&evidence),
            Core::Returned(vertices) => self.returned(&vertices),
            Core::Misbehaved { peer, reason } => self.refuse(peer, reason.to_string()),
            Core::Behind { .. } => self.catch_up.force(),
            Core::SendStored { to, references } => self.serve_stored(to, references),
            Core::Amnesia(_) => self.amnesia(),
            Core::Rejoin { floor } => self.told(floor),
            Core::Forked(index) => self.halt(format!(
                "commit {index} of a certified head isn't the one that was made here: more than a third of the stake lies, or there is a bug; keep this replica's data and compare with the others"
            )),
        }
    }

    // ── Peers ───────────────────────────────────────────────────────────────────────────────────────────────────

    fn peer_up(&mut self, peer: ValidatorIndex) {
        if self.committee().member(peer).is_none() || Some(peer) == self.me() {
            return;
        }
        self.peers.entry(peer).or_default().up = true;
        self.core
            .handle(self.now, violeta_consensus::Event::PeerUp(peer));
        let message = self.heartbeat();
        self.send(peer, &message);
    }

    fn peer_down(&mut self, peer: ValidatorIndex) {
        if let Some(state) = self.peers.get_mut(&peer) {
            // What is being read is answered all the same: until then nothing else is read for it.
            state.up = false;
            state.stored.clear();
        }
        self.core
            .handle(self.now, violeta_consensus::Event::PeerDown(peer));
        self.catch_up.gone(peer);
    }

    fn heartbeat(&self) -> Message {
        Message::Heartbeat(Heartbeat {
            commit_index: self.log.last_index(),
            attestation: self.attestations.newest_own().cloned(),
            certified: self.attestations.newest_certified().map(|c| (**c).clone()),
        })
    }

    fn message(&mut self, from: ValidatorIndex, bytes: &Bytes) {
        if self.committee().member(from).is_none() || Some(from) == self.me() {
            return;
        }
        match Message::decode(bytes) {
            Err(error) => self.refuse(from, error.to_string()),
            Ok(Message::Consensus(violeta_consensus::Message::Vertices(vertices))) => {
                for vertex in vertices {
                    self.check_vertex(from, vertex);
                }
            }
            Ok(Message::Consensus(message)) => {
                let event = violeta_consensus::Event::Message { from, message };
                self.core.handle(self.now, event);
            }
            Ok(Message::Attestation(attestation)) => self.attestation(from, attestation),
            Ok(Message::Heartbeat(heartbeat)) => self.heard(from, heartbeat),
            Ok(Message::Ask(question)) => self.serve(from, question),
            Ok(Message::Answer(answer)) => self.part(from, answer),
        }
    }

    fn check_vertex(&mut self, from: ValidatorIndex, bytes: Bytes) {
        if self.core.is_repeated(from, &bytes) {
            return;
        }
        let peer = self.peers.entry(from).or_default();
        let size = bytes.len();
        // A peer that sends faster than it is checked loses what is too much; the synchroniser asks again for what
        // is missed.
        if peer.checks >= CHECKS_PER_PEER_MAX
            || (peer.checks > 0 && peer.check_bytes + size > CHECK_BYTES_PER_PEER_MAX)
        {
            return;
        }
        peer.checks += 1;
        peer.check_bytes += size;
        self.output(Output::Job(Job::CheckVertex { from, bytes }));
    }

    fn heard(&mut self, from: ValidatorIndex, heartbeat: Heartbeat) {
        if let Some(attestation) = heartbeat.attestation {
            self.attestation(from, attestation);
        }
        if let Some(certified) = heartbeat.certified {
            let claimed = certified.head.commit_index;
            let is_news = claimed > self.log.last_index()
                || certified.head.height > self.attestations.certified_height();
            if is_news && !self.adopt_head(from, certified) {
                return;
            }
            (self.catch_up).heard(from, claimed, heartbeat.commit_index);
        }
    }

    fn attestation(&mut self, from: ValidatorIndex, attestation: Attestation) {
        let (height, validator) = (attestation.height, attestation.validator);
        if validator != from {
            return self.refuse(from, "an attestation in another's name".to_owned());
        }
        if !self.attestations.is_wanted(height)
            || self.attestations.has(height, validator, &attestation.head)
        {
            return;
        }
        let Some(member) = self.committee().member(validator) else {
            return;
        };
        let key = member.validator_key;
        if verify_attestation(&key, &attestation.head, &attestation.signature).is_err() {
            return self.refuse(from, "an attestation with a wrong signature".to_owned());
        }
        self.count_attestation(attestation, false);
    }

    fn count_attestation(&mut self, attestation: Attestation, own: bool) {
        let validator = attestation.validator;
        let committee = self.epoch.committee();
        match self.attestations.take(attestation, own, committee) {
            Err(diverged) => self.diverged(&diverged),
            Ok(taken) => {
                if let Some(conflict) = taken.conflict {
                    let height = conflict.first.height;
                    self.append(Record::Conflict(conflict));
                    let what = format!("attested two heads at height {height}");
                    self.notice(Notice::Evidence { validator, what });
                }
                if let Some(certified) = taken.certified {
                    self.certified(Arc::new(certified));
                }
            }
        }
    }

    /// Takes a certified head from a peer. Says whether its certificate is good.
    fn adopt_head(&mut self, from: ValidatorIndex, certified: CertifiedHead) -> bool {
        let height = certified.head.height;
        // A head is as good with any certificate: whoever shows it with another one gets no further check for it.
        let same = |known: &Arc<CertifiedHead>| known.head == certified.head;
        if self.attestations.newest_certified().is_some_and(same)
            || self.ahead.get(&height).is_some_and(same)
        {
            return true;
        }
        if let Err(reason) = self.verify_head(&certified) {
            self.refuse(from, reason);
            return false;
        }
        let certified = Arc::new(certified);
        if height > self.attestations.executed_height() {
            self.ahead.insert(height, certified);
            while self.ahead.len() > AHEAD_HEADS_MAX {
                // Keep the lowest, which are executed next, and the newest.
                let middle = self.ahead.keys().copied().nth(AHEAD_HEADS_MAX / 2);
                if let Some(middle) = middle {
                    self.ahead.remove(&middle);
                }
            }
        } else {
            self.adopt_executed(certified);
        }
        true
    }

    fn verify_head(&self, certified: &CertifiedHead) -> Result<(), String> {
        let head = &certified.head;
        if head.chain != *self.epoch.chain() {
            return Err("a head of another chain".to_owned());
        }
        match check_certificate(&certified.certificate, head, self.committee()) {
            Ok(_) => Ok(()),
            Err(error) => Err(format!("a head whose certificate is wrong: {error}")),
        }
    }

    fn adopt_executed(&mut self, certified: Arc<CertifiedHead>) {
        match self.attestations.adopt(certified.clone()) {
            Err(diverged) => {
                self.keep_divergence(diverged.ours, certified.certificate.clone());
                self.diverged(&diverged);
            }
            Ok(true) => self.certified(certified),
            Ok(false) => {}
        }
    }

    fn certified(&mut self, certified: Arc<CertifiedHead>) {
        self.append(Record::Certified(certified.clone()));
        let height = certified.head.height;
        if height >= self.attestations.certified_height() {
            self.tell_certified(certified.head.commit_index);
            self.output(Output::Machine(Event::Certified { height }));
        }
        self.notice(Notice::Certified(certified));
    }

    /// Tells the core how far certificates have got: it paces itself by them, and keeps the graph for who lacks one.
    fn tell_certified(&mut self, commit_index: CommitIndex) {
        if let Some(link) = self.log.recent(commit_index) {
            let leader_round = link.leader_round;
            let event = violeta_consensus::Event::Certified {
                leader_round,
                commit_index,
            };
            self.core.handle(self.now, event);
        }
    }

    fn diverged(&mut self, diverged: &Diverged) {
        let committee = self.epoch.committee();
        if let Some(certificate) = (self.attestations).certificate_against(diverged, committee) {
            self.keep_divergence(diverged.ours, certificate);
        }
        self.halt(diverged.to_string());
    }

    /// Executed again, a block isn't the one that the journal has. Which of the two is right, a quorum may have said; the
    /// journal alone is no quorum.
    fn contradicted(&mut self, height: Height, executed: HeadId, recorded: HeadId) {
        let diverged = Diverged {
            height,
            ours: executed,
            theirs: recorded,
        };
        let committee = self.epoch.committee();
        match (self.attestations).certificate_against(&diverged, committee) {
            Some(_) => self.diverged(&diverged),
            None => {
                let contradiction = Contradiction {
                    height,
                    recorded,
                    executed,
                };
                self.halt(contradiction.to_string());
            }
        }
    }

    /// What a quorum says against a block made here goes to the journal: whoever looks for the fault needs it
    /// (replica.md §2).
    fn keep_divergence(&mut self, ours: HeadId, certificate: Certificate) {
        let divergence = Divergence { ours, certificate };
        if self.attestations.keep_divergence(&divergence) {
            self.append(Record::Divergence(Box::new(divergence)));
            self.sync();
        }
    }

    fn equivocation(&mut self, evidence: &Evidence) {
        let what = format!("made two vertices in round {}", evidence.round());
        let validator = evidence.author();
        self.notice(Notice::Evidence { validator, what });
    }

    // ── Submissions ─────────────────────────────────────────────────────────────────────────────────────────────

    fn submit(&mut self, ticket: Ticket, items: Vec<Bytes>) {
        assert!(
            !Submissions::is_own(ticket),
            "the shell's tickets are below 2^63"
        );
        let refusal = if self.identity.is_none() || self.past.is_amnesia() {
            Some(SubmitError::OnlyFollows)
        } else if self.lags() {
            Some(overloaded("execution lags behind the log"))
        } else if !self.submissions.has_room(items.len()) {
            Some(overloaded("too many transactions are being checked"))
        } else {
            None
        };
        if let Some(refusal) = refusal {
            let verdicts = items.iter().map(|_| Err(refusal.clone())).collect();
            return self.notice(Notice::Submitted { ticket, verdicts });
        }
        self.submissions.open(ticket, items.len());
        self.output(Output::Job(Job::CheckItems { ticket, items }));
    }

    fn admitted(&mut self, ticket: Ticket, verdicts: Vec<Result<(), crate::NotAdmitted>>) {
        let closed = self
            .submissions
            .admitted(ticket, verdicts, &mut self.mempool);
        if let Some(verdicts) = closed.filter(|_| !Submissions::is_own(ticket)) {
            self.notice(Notice::Submitted { ticket, verdicts });
        }
    }

    // ── Jobs ────────────────────────────────────────────────────────────────────────────────────────────────────

    fn job_done(&mut self, done: JobDone) {
        match done {
            JobDone::Vertex {
                from,
                size,
                verdict,
            } => {
                let peer = self.peers.entry(from).or_default();
                peer.checks = peer.checks.saturating_sub(1);
                peer.check_bytes = peer.check_bytes.saturating_sub(size);
                match verdict {
                    Ok(vertex) => {
                        let event = violeta_consensus::Event::Vertex { from, vertex };
                        self.core.handle(self.now, event);
                    }
                    Err(invalid) => {
                        let event = violeta_consensus::Event::PeerInvalid(from);
                        self.core.handle(self.now, event);
                        self.refuse(from, format!("an invalid vertex: {invalid}"));
                    }
                }
            }
            JobDone::Committed {
                from,
                place,
                good,
                bad,
            } => self.committed_checked(from, place, good, bad),
            JobDone::Items { ticket, verdicts } => {
                let items = self.submissions.judged(ticket, verdicts);
                if items.is_empty() {
                    self.admitted(ticket, Vec::new());
                } else {
                    self.output(Output::Machine(Event::Check { ticket, items }));
                }
            }
            JobDone::Coins(coins) => {
                for of in &coins {
                    self.notice_bad_shares(of);
                }
                let event = violeta_consensus::Event::Coins(coins);
                self.core.handle(self.now, event);
            }
            JobDone::Seal {
                height,
                head,
                signature,
                bad,
            } => self.seal(height, head, signature, &bad),
            JobDone::CoinShare { round, share } => {
                self.coin_shares.insert(round, share);
            }
        }
    }

    fn notice_bad_shares(&mut self, of: &CombinedCoin) {
        for &validator in &of.bad {
            let what = format!("gave a bad share of the coin of round {}", of.round);
            self.notice(Notice::Evidence { validator, what });
        }
    }

    fn make_seal(&mut self) {
        if self.sealing || self.now.monotonic_us < self.next_seal_us || !self.has_group_key() {
            return;
        }
        if let Some(ready) = self.attestations.sealable(self.committee()) {
            self.sealing = true;
            self.next_seal_us = self.now.monotonic_us + SEAL_INTERVAL_US;
            self.output(Output::Job(Job::CombineSeal {
                height: ready.height,
                head: ready.head,
                shares: ready.shares,
            }));
        }
    }

    fn has_group_key(&self) -> bool {
        self.committee().group_key().is_some()
    }

    fn seal(
        &mut self,
        height: Height,
        head: HeadId,
        signature: Option<ThresholdSignature>,
        bad: &[ValidatorIndex],
    ) {
        self.sealing = false;
        self.attestations.drop_shares(height, bad);
        for &validator in bad {
            let what = format!("gave a bad share of the seal of height {height}");
            self.notice(Notice::Evidence { validator, what });
        }
        if let Some(signature) = signature {
            let seal = Seal {
                height,
                head,
                signature,
            };
            self.attestations.sealed(&seal);
            self.append(Record::Seal(seal.clone()));
            self.notice(Notice::Sealed(seal));
        }
    }

    // ── Own vertices ────────────────────────────────────────────────────────────────────────────────────────────

    fn propose(&mut self, proposal: Proposal) {
        let Some(header_key) = self.identity.as_ref() else {
            return;
        };
        let author = header_key.index;
        let coin_share = proposal.coin_share.and_then(|round| {
            let ready = self.coin_shares.remove(&round);
            ready.or_else(|| self.workshop.coin_share(round))
        });
        if proposal.coin_share.is_some() && coin_share.is_none() {
            return self.halt("the key for coin shares is missing".to_owned());
        }
        let taken = match proposal.payload && !self.lags() {
            true => self.mempool.take(PROPOSAL_ITEMS_MAX, PROPOSAL_BYTES_MAX),
            false => Vec::new(),
        };
        let metas: Vec<ItemMeta> = taken.iter().map(|pooled| pooled.meta).collect();
        let transactions: Vec<TxId> = metas.iter().map(|meta| meta.id).collect();
        let items: Vec<Item> = taken.into_iter().map(|p| Item::Client(p.bytes)).collect();
        let signed = Payload::new(items)
            .ok()
            .and_then(|payload| self.sign_vertex(author, &proposal, coin_share, payload));
        let Some(vertex) = signed else {
            return self.halt("an own vertex is over the limits: this is a bug".to_owned());
        };
        let vertex = vertex.with_metas(metas);
        let reference = *vertex.reference();
        if !transactions.is_empty() {
            let vertex = reference;
            self.notice(Notice::Proposed {
                vertex,
                transactions,
            });
        }
        let event = violeta_consensus::Event::OwnVertex { vertex };
        self.core.handle(self.now, event);
        // The core persists it at once, after all that it references; one sync covers them.
        self.drain_core();
        let mark = self.sync();
        if seeded::is(Bug::PersistenceAfterSending) {
            let event = violeta_consensus::Event::OwnDurable { reference };
            self.core.handle(self.now, event);
        }
        self.leaving.push_back((reference, mark));
        if let Some(round) = proposal.coin_share.map(Round::next) {
            self.coin_shares.retain(|ready, _| *ready >= round);
            self.output(Output::Job(Job::SignCoin { round }));
        }
    }

    fn sign_vertex(
        &self,
        author: ValidatorIndex,
        proposal: &Proposal,
        coin_share: Option<ThresholdShare>,
        payload: Payload,
    ) -> Option<ValidVertex> {
        let header = VertexHeader {
            epoch: self.epoch.epoch(),
            round: proposal.round,
            author,
            parents: proposal.parents.clone().try_into().ok()?,
            payload: payload.commitment(),
            coin_share,
            end_mark: proposal.end_mark,
            timestamp: proposal.timestamp,
        };
        let id = header.id(self.epoch.chain());
        let signature = self.identity.as_ref()?.key.sign_vertex(&id);
        let signed = SignedHeader { header, signature };
        let bytes = Bytes::from(encode(&Vertex { signed, payload }));
        trust_vertex(&bytes, &self.epoch).ok()
    }

    fn returned(&mut self, vertices: &[ValidVertex]) {
        for vertex in vertices {
            for meta in vertex.metas() {
                self.mempool.returned(&meta.id);
            }
            // A vertex from before a restart comes without what the rules said of its items: they are judged anew.
            if vertex.metas().is_empty() && !vertex.payload().is_empty() {
                self.resubmit(vertex);
            }
        }
    }

    fn resubmit(&mut self, vertex: &ValidVertex) {
        if self.past.is_amnesia() {
            return;
        }
        let client = |item: &Item| match item {
            Item::Client(bytes) => Some(bytes.clone()),
            Item::System(_) => None,
        };
        let items: Vec<Bytes> = vertex.payload().items().iter().filter_map(client).collect();
        self.submissions.put_off(items);
    }

    /// Judges own items that were returned, as there is room.
    fn judge_returned(&mut self) {
        while let Some((ticket, items)) = self.submissions.next_put_off() {
            self.output(Output::Job(Job::CheckItems { ticket, items }));
        }
    }

    /// The journal doesn't know a vertex that this validator made: it counts among the faulty for the rest of the
    /// epoch. It follows and serves (consensus.md §9).
    fn amnesia(&mut self) {
        if self.past.is_amnesia() {
            return;
        }
        self.past = self.past.with_amnesia();
        // Behind it comes the vertex that gave it away: a restart must not take that for one that was kept.
        self.append(Record::Amnesia(self.epoch.epoch()));
        let Some(validator) = self.me() else { return };
        let what = "its journal was lost or torn, or another process runs with its keys: it makes no vertices in this epoch";
        let what = what.to_owned();
        self.notice(Notice::Evidence { validator, what });
    }

    /// A quorum has told how far the lost lives can have got: that must be durable before anything is made above it.
    fn told(&mut self, floor: Round) {
        let epoch = self.epoch.epoch();
        self.append(Record::Rejoin(Rejoin { epoch, floor }));
        let mark = self.sync();
        self.floor = Some((floor, mark));
    }

    fn rejoin_when_durable(&mut self) {
        let Some((floor, _)) = self.floor.filter(|(_, mark)| *mark <= self.synced) else {
            return;
        };
        self.floor = None;
        if let Some(past) = self.past.with_floor(floor) {
            self.past = past;
            let event = violeta_consensus::Event::Rejoined { floor };
            self.core.handle(self.now, event);
            self.notice(Notice::Rejoined { floor });
        }
    }

    // ── The journal ─────────────────────────────────────────────────────────────────────────────────────────────

    pub(crate) fn append(&mut self, record: Record) {
        self.appended += 1;
        self.output(Output::Append(record));
    }

    /// Asks for a sync of all that was appended; returns its mark.
    fn sync(&mut self) -> u64 {
        if self.sync_asked < self.appended {
            self.sync_asked = self.appended;
            let mark = self.appended;
            self.output(Output::Sync { mark });
        }
        self.appended
    }

    fn journal_synced(&mut self, mark: u64) {
        self.synced = self.synced.max(mark);
        while let Some(&(reference, mark)) = self.leaving.front() {
            if mark > self.synced {
                break;
            }
            self.leaving.pop_front();
            let event = violeta_consensus::Event::OwnDurable { reference };
            self.core.handle(self.now, event);
        }
        self.rejoin_when_durable();
        self.attest();
    }

    // ── Commits, blocks, heads ──────────────────────────────────────────────────────────────────────────────────

    fn committed(&mut self, cone: CommittedCone) {
        let digest = match self.log.append(&cone.commit) {
            Ok(digest) => digest,
            Err(error) => return self.halt(format!("{error}: this is a bug")),
        };
        assert_eq!(digest, cone.digest, "one digest of a commit");
        for meta in cone.vertices.iter().flat_map(|vertex| vertex.metas()) {
            self.mempool.ordered(&meta.id);
        }
        let items = || -> Vec<Item> {
            let vertices = cone.vertices.iter();
            vertices
                .flat_map(|v| v.payload().items().iter().cloned())
                .collect()
        };
        if let Err(error) = self.handover.committed(&cone.commit, digest, items) {
            return self.halt(error.to_string());
        }
        let commit = Arc::new(cone.commit);
        self.append(Record::Commit {
            commit: commit.clone(),
            digest,
        });
        self.notice(Notice::Committed { commit, digest });
    }

    fn hand_over(&mut self) {
        while let Some(step) = self.handover.step() {
            match step {
                Step::Give(commit) => self.output(Output::Machine(Event::Commit(commit))),
                Step::Load { after } => {
                    let bytes_max = HANDOVER_BYTES_MAX;
                    self.output(Output::Load(LoadRequest::ForMachine { after, bytes_max }));
                }
            }
        }
    }

    fn machine(&mut self, effect: Effect) {
        match effect {
            Effect::Checked { ticket, verdicts } => self.admitted(ticket, verdicts),
            Effect::Block(block) => self.executed(block),
            Effect::Applied { commit_index } => self.handover.applied(commit_index),
            Effect::Durable(position) => {
                self.flushing = false;
                self.durable = self.durable.max(position.height);
                self.attest();
            }
            // Nothing is ordered on a machine's behalf yet: the Database machine asks for nothing.
            Effect::Order(_) => {
                self.halt("a machine that orders items needs a newer replica".into())
            }
            Effect::Pending(pending) => self.machine_pending = pending,
            Effect::Halt(reason) => self.halt(reason),
        }
    }

    fn executed(&mut self, block: Arc<Block>) {
        let height = block.head.height;
        let id = block.head.id();
        match self.recorded.remove(&height) {
            // Executed again after a restart: its record is in the journal.
            Some(recorded) if recorded == id => {}
            Some(recorded) => return self.contradicted(height, id, recorded),
            // So is that of one too old to be compared.
            None if height <= self.journaled => {}
            None => {
                self.journaled = height;
                self.append(Record::Block(block.clone()));
            }
        }
        for outcome in &block.outcomes {
            self.mempool.ordered(&outcome.transaction);
        }
        let mark = self.sync();
        // The first of those that wait: with the last, blocks that come faster than syncs would put it off for ever.
        self.flush_after.get_or_insert(mark);
        let completed = self
            .attestations
            .executed(&block, mark, self.epoch.committee());
        self.notice(Notice::Executed(block));
        match completed {
            Err(diverged) => return self.diverged(&diverged),
            Ok(Some(certified)) => self.certified(Arc::new(certified)),
            Ok(None) => {}
        }
        if let Some(certified) = self.ahead.remove(&height) {
            self.adopt_executed(certified);
        }
        // Executed again after a restart: the certificate was in the journal, and the machine learns of it now.
        if height == self.attestations.certified_height() {
            self.output(Output::Machine(Event::Certified { height }));
        }
    }

    /// Asks the machine to make durable what it executed, once the journal has the first block that isn't: one flush
    /// serves all blocks made meanwhile. The store may so get ahead of the journal by the blocks of one sync; if the
    /// power goes then, it is rolled back ([`Replica::recorded_height`]).
    fn flush_machine(&mut self) {
        if let Some(mark) = self.flush_after
            && mark <= self.synced
            && !self.flushing
        {
            self.flushing = true;
            self.flush_after = None;
            self.output(Output::Machine(Event::Flush));
        }
    }

    /// Attests what is durable.
    pub(crate) fn attest(&mut self) {
        let (mut durable, mut synced) = (self.durable, self.synced);
        if seeded::is(Bug::AttestBeforeDurable) {
            (durable, synced) = (Height(u64::MAX), u64::MAX);
        }
        // Of certified heads that this replica has yet to reach, the newest.
        let ahead = self.ahead.last_key_value();
        let ahead = ahead.map_or(Height(0), |(height, _)| *height);
        for head in self.attestations.attestable(durable, synced, ahead) {
            if let Some(attestation) = self.sign_attestation(&head) {
                self.append(Record::Attestation(attestation.clone()));
                self.broadcast(&Message::Attestation(attestation.clone()));
                self.count_attestation(attestation, true);
            }
        }
    }

    fn sign_attestation(&self, head: &Head) -> Option<Attestation> {
        let identity = self.identity.as_ref()?;
        let id = head.id();
        Some(Attestation {
            height: head.height,
            head: id,
            validator: identity.index,
            signature: identity.key.sign_attestation(&id),
            seal_share: self.workshop.seal_share(&id),
        })
    }

    // ── The journal read back ───────────────────────────────────────────────────────────────────────────────────

    fn loaded(&mut self, loaded: Loaded) {
        match loaded.request {
            LoadRequest::ForMachine { .. } => {
                let commits = loaded.commits.into_iter();
                match commits.map(|commit| self.ordered(commit)).collect() {
                    Ok(commits) => self.handover.loaded(commits),
                    Err(error) => self.halt(format!("the journal can't be read back: {error}")),
                }
            }
            LoadRequest::Vertices { peer, .. } => self.served_stored(peer, loaded.vertices),
            LoadRequest::ForPeer { peer, .. } => self.served(peer, loaded.answer),
        }
    }

    fn ordered(&self, loaded: LoadedCommit) -> Result<OrderedCommit, violeta_types::DecodeError> {
        let mut items = Vec::new();
        for bytes in &loaded.vertices {
            items.extend(Vertex::decode(bytes)?.payload.into_items());
        }
        let digest = loaded.commit.digest(self.epoch.chain());
        Ok(OrderedCommit {
            commit: loaded.commit,
            digest,
            items,
        })
    }

    // ── Outputs ─────────────────────────────────────────────────────────────────────────────────────────────────

    fn output(&mut self, output: Output) {
        self.outputs.push_back(output);
    }

    fn notice(&mut self, notice: Notice) {
        self.output(Output::Notice(notice));
    }

    fn send(&mut self, to: ValidatorIndex, message: &Message) {
        if self.peers.get(&to).is_some_and(|peer| peer.up) {
            let bytes = message.to_bytes();
            self.output(Output::Send { to, bytes });
        }
    }

    fn broadcast(&mut self, message: &Message) {
        let up = self.peers.iter().filter(|(_, peer)| peer.up);
        let peers: Vec<ValidatorIndex> = up.map(|(index, _)| *index).collect();
        if peers.is_empty() {
            return;
        }
        let bytes = message.to_bytes();
        for to in peers {
            let bytes = bytes.clone();
            self.output(Output::Send { to, bytes });
        }
    }

    fn refuse(&mut self, peer: ValidatorIndex, reason: String) {
        self.output(Output::Refuse { peer, reason });
    }

    fn halt(&mut self, reason: String) {
        if self.halted.is_none() {
            self.halted = Some(reason.clone());
            self.output(Output::Halt(reason));
        }
    }
}

/// What is asked for at once: something, and no more than is served.
fn part_bytes(wanted: usize) -> u32 {
    wanted.clamp(1, PART_BYTES_MAX) as u32
}
