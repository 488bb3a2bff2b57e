//! The little world: virtual time, a network, journals with what was and wasn't synced.

#![allow(dead_code)]

mod machine;

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use machine::{AnyItem, Counter, State};
use rand_chacha::ChaCha8Rng;
use rand_core::{RngCore, SeedableRng};
use violeta_consensus::{EpochData, Tuning};
use violeta_crypto::{MockThreshold, ValidatorSecretKey};
use violeta_replica::catch_up::serve::{self, Ledger};
use violeta_replica::limits::PART_BYTES_MAX;
use violeta_replica::message::Answer;
use violeta_replica::{
    Effect, Event, Identity, Input, Job, JobDone, LoadRequest, Loaded, LoadedCommit, Machine,
    Message, Notice, Now, Output, Provision, Record, RecordKind, RejoinNonce, Replica, Setup,
    Status, Workshop,
};
use violeta_types::{
    Admission, Attestation, CertifiedHead, Commit, CommitIndex, Committee, Digest, Domain, Epoch,
    Genesis, HeadId, Height, Member, NodePublicKey, OperatorPublicKey, Parameters, Stake, TimeMs,
    TxId, ValidatorIndex, Vertex, VertexId, VertexRef, decode,
};

const WALL: u64 = 1_700_000_000_000;

pub(crate) struct Options {
    pub(crate) loss_percent: u64,
    pub(crate) duplicate_percent: u64,
    pub(crate) delay_us_max: u64,
    /// Whose disk is slow, and how long a sync of its journal takes.
    pub(crate) slow_disk: Option<(usize, u64)>,
    /// Bytes that a node asks for at once when it catches up.
    pub(crate) part_bytes_max: usize,
    /// How long the machine takes for what it is given, at least.
    pub(crate) machine_us: u64,
    /// Who answers those that catch up with a lie, and with which.
    pub(crate) liar: Option<(usize, Lie)>,
    /// Whether those that lose their journal ask the others, and go on.
    pub(crate) rejoin: bool,
    /// Bytes of old payload that a node keeps in memory to serve others.
    pub(crate) served_bytes_max: usize,
}

/// What a liar makes of its answer to a question.
pub(crate) type Lie = fn(&mut Answer);

impl Default for Options {
    fn default() -> Self {
        Options {
            loss_percent: 0,
            duplicate_percent: 0,
            delay_us_max: 5_000,
            slow_disk: None,
            part_bytes_max: PART_BYTES_MAX,
            machine_us: 20,
            liar: None,
            rejoin: false,
            served_bytes_max: Tuning::default().served_bytes_max,
        }
    }
}

enum Happening {
    Input(Input),
    Machine(Event),
    Synced { mark: u64, length: usize },
    Load(LoadRequest),
    Wake,
}

struct Node {
    replica: Replica,
    machine: Counter,
    workshop: Workshop,
    journal: Vec<(RecordKind, Bytes)>,
    log: Log,
    synced: usize,
    up: bool,
    boot: u64,
    wake_us: Option<u64>,
    machine_us: u64,
    refused: Vec<ValidatorIndex>,
    /// Vertices that were judged.
    checked: usize,
    certified: Height,
    /// What is being read from the journal, and for whom.
    loading: BTreeSet<(u8, Option<ValidatorIndex>)>,
    /// How often vertices were read from the journal for a peer that asked for them by name.
    stored_loads: usize,
}

/// The kind of a request, and for whom it is.
fn reader(request: &LoadRequest) -> (u8, Option<ValidatorIndex>) {
    match request {
        LoadRequest::ForMachine { .. } => (0, None),
        LoadRequest::ForPeer { peer, .. } => (1, Some(*peer)),
        LoadRequest::Vertices { peer, .. } => (2, Some(*peer)),
    }
}

pub(crate) struct World {
    epoch: Arc<EpochData>,
    threshold: Arc<MockThreshold>,
    nodes: Vec<Node>,
    queue: BTreeMap<(u64, u64), (usize, u64, Happening)>,
    sequence: u64,
    now_us: u64,
    random: ChaCha8Rng,
    options: Options,
    ticket: u64,
    /// Parts with vertices that were served.
    served: usize,
    certified_items: BTreeSet<TxId>,
    block_items: BTreeMap<Height, Vec<TxId>>,
    sent: BTreeMap<(ValidatorIndex, u64), VertexId>,
    /// Who hears nobody, and isn't heard.
    cut: BTreeSet<usize>,
    /// Who may make a vertex twice.
    excused: BTreeSet<usize>,
    trace: Digest,
}

fn validator_key(index: usize) -> ValidatorSecretKey {
    ValidatorSecretKey::from_seed([index as u8 + 1; 32])
}

fn genesis(n: usize, threshold: &MockThreshold) -> Genesis {
    let member = |i: usize| Member {
        stake: Stake(1),
        validator_key: validator_key(i).public_key(),
        share_key: Some(threshold.share_key(ValidatorIndex(i as u16))),
        node_key: NodePublicKey([i as u8; 32]),
        operator_key: OperatorPublicKey([i as u8; 32]),
    };
    let members = (0..n).map(member).collect();
    Genesis {
        name: "little world".to_owned(),
        time: TimeMs(WALL),
        committee: Committee::new(Epoch(0), members, Some(threshold.group_key())).unwrap(),
        parameters: Parameters {
            gc_depth: 64,
            ..Parameters::for_validators(n)
        },
        admission: Admission::Open,
        administrators: Vec::new().try_into().unwrap(),
    }
}

/// What a journal holds, by name.
#[derive(Default)]
struct Log {
    vertices: BTreeMap<VertexId, Bytes>,
    commits: BTreeMap<CommitIndex, Commit>,
    heads: BTreeMap<CommitIndex, CertifiedHead>,
}

impl Log {
    fn add(&mut self, epoch: &EpochData, kind: RecordKind, bytes: &Bytes) {
        match kind {
            RecordKind::Vertex => {
                let header = Vertex::decode(bytes).unwrap().signed.header;
                self.vertices
                    .insert(header.id(epoch.chain()), bytes.clone());
            }
            RecordKind::Commit => {
                let commit: Commit = decode(bytes).unwrap();
                self.commits.insert(commit.index, commit);
            }
            RecordKind::Certified => {
                let certified: CertifiedHead = decode(bytes).unwrap();
                self.heads.insert(certified.head.commit_index, certified);
            }
            _ => {}
        }
    }
}

impl Ledger for Log {
    type Error = Infallible;

    fn record(&self, index: CommitIndex) -> Result<Option<Commit>, Infallible> {
        Ok(self.commits.get(&index).cloned())
    }

    fn vertex(&self, reference: &VertexRef) -> Result<Option<Bytes>, Infallible> {
        Ok(self.vertices.get(&reference.id).cloned())
    }

    fn certified_upto(&self, index: CommitIndex) -> Result<Option<CommitIndex>, Infallible> {
        Ok(self.heads.range(..=index).next_back().map(|(i, _)| *i))
    }

    fn certified_from(&self, index: CommitIndex) -> Result<Option<CommitIndex>, Infallible> {
        Ok(self.heads.range(index..).next().map(|(i, _)| *i))
    }

    fn certified_head(&self, index: CommitIndex) -> Result<Option<CertifiedHead>, Infallible> {
        Ok(self.heads.get(&index).cloned())
    }
}

impl World {
    pub(crate) fn new(n: usize, seed: u64, options: Options) -> Self {
        let quorum = n - (n - 1) / 3;
        let threshold = Arc::new(MockThreshold::insecure(n, quorum, [9; 32]).unwrap());
        let genesis = genesis(n, &threshold);
        genesis.check().unwrap();
        let epoch = Arc::new(EpochData::genesis(&genesis));
        let mut world = World {
            nodes: Vec::new(),
            queue: BTreeMap::new(),
            sequence: 0,
            now_us: 1,
            random: ChaCha8Rng::seed_from_u64(seed),
            options,
            ticket: 0,
            served: 0,
            certified_items: BTreeSet::new(),
            block_items: BTreeMap::new(),
            sent: BTreeMap::new(),
            cut: BTreeSet::new(),
            excused: BTreeSet::new(),
            trace: Digest::ZERO,
            epoch,
            threshold,
        };
        for index in 0..n {
            let node = world.boot(index, world.provisioned(index), State::default(), 0);
            world.nodes.push(node);
        }
        world.connect_all();
        world
    }

    /// The journal of a validator that has just been set up.
    fn provisioned(&self, i: usize) -> Vec<(RecordKind, Bytes)> {
        let provision = Record::Provision(Provision {
            chain: *self.epoch.chain(),
            validator: validator_key(i).public_key(),
        });
        vec![(provision.kind(), provision.to_bytes())]
    }

    /// The disk of a node that is down is gone, and an empty one in its place.
    pub(crate) fn lose_disk(&mut self, node: usize) {
        let dead = &mut self.nodes[node];
        assert!(!dead.up);
        dead.journal.clear();
        dead.synced = 0;
        dead.machine.durable = State::default();
    }

    /// The store of a node that is down is gone; its journal is there.
    pub(crate) fn lose_store(&mut self, node: usize) {
        let dead = &mut self.nodes[node];
        assert!(!dead.up);
        dead.machine.durable = State::default();
    }

    /// The journal is as it was when it had this many records.
    pub(crate) fn put_back_journal(&mut self, node: usize, records: usize) {
        let dead = &mut self.nodes[node];
        assert!(!dead.up);
        dead.journal.truncate(records);
        dead.synced = records;
        dead.machine.durable = State::default();
    }

    /// What this one sent before, it may contradict from now on.
    pub(crate) fn excuse(&mut self, node: usize) {
        self.excused.insert(node);
    }

    pub(crate) fn records(&self, node: usize) -> Vec<RecordKind> {
        let journal = self.nodes[node].journal.iter();
        journal.map(|(kind, _)| *kind).collect()
    }

    fn boot(&self, i: usize, journal: Vec<(RecordKind, Bytes)>, state: State, boot: u64) -> Node {
        let index = ValidatorIndex(i as u16);
        let machine = Counter::new(self.epoch.clone(), state);
        let signer = Arc::new(self.threshold.signer(index));
        let workshop = Workshop::new(
            self.epoch.clone(),
            Arc::new(AnyItem),
            Some(self.threshold.clone()),
            Some(signer),
        );
        let mut replica = Replica::new(Setup {
            epoch: self.epoch.clone(),
            identity: Some(Identity {
                index,
                key: validator_key(i),
            }),
            workshop: workshop.clone(),
            tuning: Tuning {
                served_bytes_max: self.options.served_bytes_max,
                ..Tuning::default()
            },
            part_bytes_max: self.options.part_bytes_max,
            rejoin: (self.options.rejoin).then_some(RejoinNonce([boot as u8 + 1; 32])),
        });
        let mut log = Log::default();
        for (kind, bytes) in &journal {
            replica.restore(*kind, bytes.clone()).unwrap();
            log.add(&self.epoch, *kind, bytes);
        }
        replica.start(self.now(), machine.position()).unwrap();
        let synced = journal.len();
        Node {
            replica,
            machine,
            workshop,
            journal,
            log,
            synced,
            up: true,
            boot,
            wake_us: None,
            machine_us: 0,
            refused: Vec::new(),
            checked: 0,
            certified: Height(0),
            loading: BTreeSet::new(),
            stored_loads: 0,
        }
    }

    fn now(&self) -> Now {
        Now {
            monotonic_us: self.now_us,
            wall: TimeMs(WALL + self.now_us / 1_000),
        }
    }

    fn below(&mut self, n: u64) -> u64 {
        self.random.next_u64() % n.max(1)
    }

    fn connect_all(&mut self) {
        for a in 0..self.nodes.len() {
            self.carry_out(a);
            for b in 0..self.nodes.len() {
                if a != b && self.nodes[b].up {
                    self.schedule(
                        a,
                        1,
                        Happening::Input(Input::PeerUp(ValidatorIndex(b as u16))),
                    );
                }
            }
        }
    }

    fn schedule(&mut self, node: usize, delay_us: u64, what: Happening) {
        self.schedule_at(node, self.now_us + delay_us, what);
    }

    fn schedule_at(&mut self, node: usize, at_us: u64, what: Happening) {
        self.sequence += 1;
        let boot = self.nodes[node].boot;
        self.queue
            .insert((at_us, self.sequence), (node, boot, what));
    }

    pub(crate) fn submit(&mut self, node: usize, items: Vec<Bytes>) {
        self.ticket += 1;
        let ticket = self.ticket;
        self.schedule(node, 1, Happening::Input(Input::Submit { ticket, items }));
    }

    pub(crate) fn inject(&mut self, from: usize, to: usize, bytes: Bytes) {
        let from = ValidatorIndex(from as u16);
        self.schedule(to, 1, Happening::Input(Input::Message { from, bytes }));
    }

    /// A peer's connection to a node is lost, and up again at once.
    pub(crate) fn reconnect(&mut self, node: usize, peer: usize) {
        let peer = ValidatorIndex(peer as u16);
        self.schedule(node, 1, Happening::Input(Input::PeerDown(peer)));
        self.schedule(node, 1, Happening::Input(Input::PeerUp(peer)));
    }

    pub(crate) fn heal(&mut self) {
        self.options = Options::default();
        self.cut.clear();
    }

    /// Cuts a node off, though all connections seem up.
    pub(crate) fn cut(&mut self, node: usize) {
        self.cut.insert(node);
    }

    /// From now on, a node's machine makes other blocks than everybody's.
    pub(crate) fn spoil_machine(&mut self, node: usize) {
        self.nodes[node].machine.spoil();
    }

    /// A validator's attestation of a head that nobody made.
    pub(crate) fn false_attestation(&self, validator: usize, height: Height, n: u8) -> Attestation {
        let head = HeadId(Digest([n; 32]));
        Attestation {
            height,
            head,
            validator: ValidatorIndex(validator as u16),
            signature: validator_key(validator).sign_attestation(&head),
            seal_share: None,
        }
    }

    pub(crate) fn replica(&self, node: usize) -> &Replica {
        &self.nodes[node].replica
    }

    /// Makes every machine slower, or faster, from now on.
    pub(crate) fn slow_down(&mut self, machine_us: u64) {
        self.options.machine_us = machine_us;
    }

    /// The newest head with a certificate in a node's journal.
    pub(crate) fn newest_head(&self, node: usize) -> Option<CertifiedHead> {
        let heads = &self.nodes[node].log.heads;
        heads.last_key_value().map(|(_, head)| head.clone())
    }

    /// Stops a node without loss of power: all that it appended is there when it starts again.
    pub(crate) fn stop(&mut self, node: usize) {
        self.nodes[node].synced = self.nodes[node].journal.len();
        self.crash(node);
    }

    pub(crate) fn crash(&mut self, node: usize) {
        let lost = self.nodes[node].journal.len() - self.nodes[node].synced;
        // Some of what wasn't synced may have reached the disk all the same.
        let kept = self.below(lost as u64 + 1) as usize;
        let dead = &mut self.nodes[node];
        dead.journal.truncate(dead.synced + kept);
        dead.up = false;
        dead.boot += 1;
        for other in 0..self.nodes.len() {
            if other != node && self.nodes[other].up {
                let down = Input::PeerDown(ValidatorIndex(node as u16));
                self.schedule(other, 1_000, Happening::Input(down));
            }
        }
    }

    pub(crate) fn restart(&mut self, node: usize) {
        let dead = &mut self.nodes[node];
        assert!(!dead.up);
        let journal = std::mem::take(&mut dead.journal);
        let state = dead.machine.durable.clone();
        let boot = dead.boot;
        self.nodes[node] = self.boot(node, journal, state, boot);
        self.carry_out(node);
        for other in 0..self.nodes.len() {
            if other != node && self.nodes[other].up {
                let up = |i: usize| Happening::Input(Input::PeerUp(ValidatorIndex(i as u16)));
                self.schedule(other, 2_000, up(node));
                self.schedule(node, 2_000, up(other));
            }
        }
    }

    pub(crate) fn run_ms(&mut self, ms: u64) {
        self.run_us(ms * 1_000);
    }

    pub(crate) fn run_us(&mut self, us: u64) {
        let end = self.now_us + us;
        while let Some((&(at_us, sequence), _)) = self.queue.first_key_value() {
            if at_us > end {
                break;
            }
            let Some((node, boot, what)) = self.queue.remove(&(at_us, sequence)) else {
                break;
            };
            self.now_us = self.now_us.max(at_us);
            if self.nodes[node].up && self.nodes[node].boot == boot {
                self.happen(node, what);
            }
        }
        self.now_us = end;
    }

    fn happen(&mut self, node: usize, what: Happening) {
        let now = self.now();
        let input = match what {
            Happening::Input(input) => input,
            Happening::Wake => {
                self.nodes[node].wake_us = None;
                Input::Tick
            }
            Happening::Synced { mark, length } => {
                let node = &mut self.nodes[node];
                node.synced = node.synced.max(length);
                Input::Synced { mark }
            }
            Happening::Load(request) => {
                self.nodes[node].loading.remove(&reader(&request));
                Input::Loaded(self.load(node, request))
            }
            Happening::Machine(event) => {
                self.nodes[node].machine.handle(event);
                while let Some(effect) = self.nodes[node].machine.poll() {
                    self.note(node, &effect);
                    self.nodes[node].replica.handle(now, Input::Machine(effect));
                    self.carry_out(node);
                }
                return;
            }
        };
        self.nodes[node].replica.handle(now, input);
        self.carry_out(node);
    }

    fn note(&mut self, _node: usize, effect: &Effect) {
        if let Effect::Block(block) = effect {
            let ids = block.outcomes.iter().map(|o| o.transaction).collect();
            let before = self.block_items.entry(block.head.height).or_default();
            if before.is_empty() {
                *before = ids;
            }
        }
    }

    fn carry_out(&mut self, node: usize) {
        while let Some(output) = self.nodes[node].replica.poll() {
            self.output(node, output);
        }
        if let Some(wake) = self.nodes[node].replica.next_wakeup() {
            let wake = wake.max(self.now_us + 1);
            if self.nodes[node]
                .wake_us
                .is_none_or(|scheduled| wake < scheduled)
            {
                self.nodes[node].wake_us = Some(wake);
                self.schedule_at(node, wake, Happening::Wake);
            }
        }
    }

    fn output(&mut self, node: usize, output: Output) {
        let line = format!(
            "{} {node} {:?}",
            self.now_us,
            std::mem::discriminant(&output)
        );
        self.trace = Domain::File.hash_parts(&[&self.trace.0, line.as_bytes()]);
        match output {
            Output::Send { to, bytes } => self.send(node, to, bytes),
            Output::Append(record) => {
                let (kind, bytes) = (record.kind(), record.to_bytes());
                self.nodes[node].log.add(&self.epoch, kind, &bytes);
                self.nodes[node].journal.push((kind, bytes));
            }
            Output::Sync { mark } => {
                let length = self.nodes[node].journal.len();
                let slow = self.options.slow_disk.filter(|(slow, _)| *slow == node);
                let delay = slow.map_or(100, |(_, us)| us) + self.below(900);
                self.schedule(node, delay, Happening::Synced { mark, length });
            }
            Output::Job(job) => {
                let is_vertex = matches!(job, Job::CheckVertex { .. });
                self.nodes[node].checked += usize::from(is_vertex);
                if let Some(done) = self.nodes[node].workshop.run(job) {
                    let delay = 50 + self.below(500);
                    self.done(node, delay, done);
                }
            }
            Output::Machine(event) => {
                let at = self.nodes[node].machine_us.max(self.now_us)
                    + self.options.machine_us
                    + self.below(200);
                self.nodes[node].machine_us = at;
                self.schedule_at(node, at, Happening::Machine(event));
            }
            Output::Load(request) => {
                let reading = &mut self.nodes[node];
                let is_first = reading.loading.insert(reader(&request));
                assert!(
                    is_first,
                    "one at a time for each peer and kind: {request:?}"
                );
                let is_stored = matches!(request, LoadRequest::Vertices { .. });
                reading.stored_loads += usize::from(is_stored);
                let delay = 200 + self.below(2_000);
                self.schedule(node, delay, Happening::Load(request));
            }
            Output::Refuse { peer, .. } => self.nodes[node].refused.push(peer),
            Output::Notice(notice) => self.notice(node, notice),
            Output::Halt(reason) => {
                let is_faulty = self.nodes[node].machine.is_faulty();
                assert!(is_faulty, "validator {node} halted: {reason}");
            }
        }
    }

    fn done(&mut self, node: usize, delay: u64, done: JobDone) {
        self.schedule(node, delay, Happening::Input(Input::JobDone(done)));
    }

    fn notice(&mut self, node: usize, notice: Notice) {
        if let Notice::Certified(certified) = notice {
            let height = certified.head.height;
            self.nodes[node].certified = self.nodes[node].certified.max(height);
            for (_, ids) in self.block_items.range(..=height) {
                self.certified_items.extend(ids);
            }
        }
    }

    fn send(&mut self, from: usize, to: ValidatorIndex, bytes: Bytes) {
        self.trace = Domain::File.hash_parts(&[&self.trace.0, &bytes]);
        self.watch_vertices(from, &bytes);
        let is_cut = self.cut.contains(&from) || self.cut.contains(&to.as_usize());
        if is_cut || self.below(100) < self.options.loss_percent {
            return;
        }
        let copies = 1 + u64::from(self.below(100) < self.options.duplicate_percent);
        let sender = ValidatorIndex(from as u16);
        for _ in 0..copies {
            let delay = 100 + self.below(self.options.delay_us_max);
            let (from, bytes) = (sender, bytes.clone());
            let message = Happening::Input(Input::Message { from, bytes });
            self.schedule(to.as_usize(), delay, message);
        }
    }

    /// Remembers every vertex that an author itself ever sent: two in one round is an equivocation.
    fn watch_vertices(&mut self, from: usize, bytes: &Bytes) {
        match Message::decode(bytes).unwrap() {
            Message::Consensus(violeta_consensus::Message::Vertices(vertices)) => {
                for bytes in vertices {
                    let header = Vertex::decode(&bytes).unwrap().signed.header;
                    if header.author.as_usize() == from {
                        let id = header.id(self.epoch.chain());
                        let slot = (header.author, header.round.0);
                        let first = *self.sent.entry(slot).or_insert(id);
                        let excused = self.excused.contains(&from);
                        assert!(
                            first == id || excused,
                            "validator {from} equivocated in {slot:?}"
                        );
                    }
                }
            }
            Message::Answer(Answer::Vertices(part)) if !part.vertices.is_empty() => {
                self.served += 1;
            }
            _ => {}
        }
    }

    fn load(&self, node: usize, request: LoadRequest) -> Loaded {
        let log = &self.nodes[node].log;
        let loaded = |after: CommitIndex, end: CommitIndex| -> Vec<LoadedCommit> {
            let range = (log.commits)
                .range(after.next()..)
                .take_while(|(i, _)| **i <= end);
            let load = |commit: &Commit| LoadedCommit {
                vertices: commit
                    .vertices
                    .iter()
                    .map(|v| log.vertices[&v.id].clone())
                    .collect(),
                commit: commit.clone(),
            };
            range.map(|(_, commit)| load(commit)).collect()
        };
        let mut answered = Loaded {
            request,
            commits: Vec::new(),
            answer: None,
            vertices: Vec::new(),
        };
        match &answered.request {
            LoadRequest::ForMachine { after, .. } => {
                answered.commits = loaded(*after, CommitIndex(after.0 + 10));
            }
            LoadRequest::ForPeer { question, .. } => {
                let mut answer = serve::answer(log, *question).unwrap();
                if let Some((liar, lie)) = self.options.liar
                    && liar == node
                {
                    lie(&mut answer);
                }
                answered.answer = Some(answer);
            }
            LoadRequest::Vertices { references, .. } => {
                let find = |v: &VertexRef| log.vertices.get(&v.id).cloned();
                answered.vertices = references.iter().filter_map(find).collect();
            }
        }
        answered
    }

    // ── What tests ask ──────────────────────────────────────────────────────────────────────────────────────────

    pub(crate) fn status(&self, node: usize) -> Status {
        self.nodes[node].replica.status()
    }

    /// Vertices that a validator ever sent of its own.
    pub(crate) fn made(&self, node: usize) -> usize {
        let of = |(author, _): &&(ValidatorIndex, u64)| author.as_usize() == node;
        self.sent.keys().filter(of).count()
    }

    /// Which record of a node's journal is the first that holds a vertex of its own.
    pub(crate) fn first_own_vertex(&self, node: usize) -> Option<usize> {
        self.nodes[node].journal.iter().position(|(kind, bytes)| {
            let author = || Vertex::decode(bytes).unwrap().signed.header.author;
            *kind == RecordKind::Vertex && author().as_usize() == node
        })
    }

    pub(crate) fn executed_items(&self, node: usize) -> usize {
        self.nodes[node].machine.state.seen.len()
    }

    pub(crate) fn executed_set(&self, node: usize) -> BTreeSet<TxId> {
        self.nodes[node].machine.state.seen.clone()
    }

    pub(crate) fn certified_items(&self) -> BTreeSet<TxId> {
        self.certified_items.clone()
    }

    /// Vertices that a node has judged since it started.
    pub(crate) fn checked(&self, node: usize) -> usize {
        self.nodes[node].checked
    }

    /// How often a node read vertices from its journal for a peer that asked for them by name.
    pub(crate) fn stored_loads(&self, node: usize) -> usize {
        self.nodes[node].stored_loads
    }

    /// The first vertex of the first commit in a node's journal.
    pub(crate) fn first_committed(&self, node: usize) -> VertexRef {
        let commits = &self.nodes[node].log.commits;
        commits.first_key_value().unwrap().1.vertices[0]
    }

    /// The vertices in a node's journal, encoded.
    pub(crate) fn vertices(&self, node: usize) -> Vec<Bytes> {
        let journal = self.nodes[node].journal.iter();
        let vertices = journal.filter(|(kind, _)| *kind == RecordKind::Vertex);
        vertices.map(|(_, bytes)| bytes.clone()).collect()
    }

    /// Whom a node refused, as often as it did.
    pub(crate) fn refused(&self, node: usize) -> &[ValidatorIndex] {
        &self.nodes[node].refused
    }

    /// Parts with vertices that were served.
    pub(crate) fn served_parts(&self) -> usize {
        self.served
    }

    pub(crate) fn trace_hash(&self) -> Digest {
        self.trace
    }

    /// No two validators have different heads at a height.
    pub(crate) fn assert_agreement(&self) {
        let longest = self.nodes.iter().map(|node| &node.machine.state.heads);
        let longest = longest.max_by_key(|heads| heads.len()).unwrap();
        for (index, node) in self.nodes.iter().enumerate() {
            let heads = &node.machine.state.heads;
            assert_eq!(heads[..], longest[..heads.len()], "validator {index}");
        }
    }

    pub(crate) fn assert_no_equivocation(&self) {
        assert!(
            !self.sent.is_empty(),
            "vertices were watched as they were sent"
        );
        for node in &self.nodes {
            assert!(node.replica.evidence().is_empty());
        }
    }
}
