//! A small deterministic world: cores, a network that delays, reorders, duplicates and loses, disks that lose what
//! isn't synced, a mock coin, and a log that all honest validators must agree on.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use rand_chacha::ChaCha8Rng;
use rand_core::{RngCore, SeedableRng};
use violeta_consensus::{
    BehindReason, CoinShares, CombinedCoin, Core, Effect, EpochData, Event, Evidence, ItemMeta,
    Message, Now, Proposal, Rejection, RejoinNonce, Rules, Tuning, UncheckedEvidence, ValidVertex,
    check_vertex, trust_vertex,
};
use violeta_crypto::ValidatorSecretKey;
use violeta_types::{
    ChainId, Commit, CommitIndex, Committee, Digest, Domain, Election, Epoch, GroupPublicKey, Item,
    Member, NodePublicKey, Nonce, OperatorPublicKey, Parameters, Payload, Round, SharePublicKey,
    SignedHeader, Stake, ThresholdShare, ThresholdSignature, TimeMs, TxId, ValidatorIndex, Vertex,
    VertexHeader, VertexRef, encode,
};

/// What a run may differ in.
#[derive(Clone, Debug)]
pub(crate) struct Setup {
    pub(crate) stakes: Vec<u64>,
    pub(crate) parameters: Parameters,
    pub(crate) tuning: Tuning,
    pub(crate) seed: u64,
    /// Least and greatest delay of a message.
    pub(crate) delay_us: (u64, u64),
    pub(crate) loss_percent: u64,
    pub(crate) duplicate_percent: u64,
    /// Send twins: the odd validators get another one than the even.
    pub(crate) equivocators: Vec<usize>,
    /// Send bad coin shares.
    pub(crate) bad_shares: Vec<usize>,
    /// Their clocks are off by so much.
    pub(crate) clocks_ms: Vec<i64>,
    /// Whether certificates reach the validators.
    pub(crate) certify: bool,
    /// Whether signatures are checked on arrival, as they are in earnest.
    pub(crate) check: bool,
    /// Whether who lost its store asks the others, and goes on.
    pub(crate) rejoin: bool,
    /// Say to who asks that neither has made anything.
    pub(crate) deniers: Vec<usize>,
}

impl Setup {
    pub(crate) fn new(n: usize, seed: u64) -> Self {
        Setup {
            stakes: vec![1; n],
            parameters: Parameters {
                wave_length: 4,
                leaders: 2,
                election: Election::Coin,
                gc_depth: 64,
            },
            tuning: Tuning::default(),
            seed,
            delay_us: (500, 5_000),
            loss_percent: 0,
            duplicate_percent: 0,
            equivocators: Vec::new(),
            bad_shares: Vec::new(),
            clocks_ms: vec![0; n],
            certify: true,
            check: false,
            rejoin: false,
            deniers: Vec::new(),
        }
    }
}

/// Accepts everything.
struct AnyItem;

impl Rules for AnyItem {
    fn check(&self, items: &[Item]) -> Vec<Result<ItemMeta, Rejection>> {
        let meta = |item: &Item| ItemMeta {
            id: TxId(item.digest()),
            client: None,
            nonce: Nonce(0),
            expires: TimeMs(u64::MAX),
        };
        items.iter().map(|item| Ok(meta(item))).collect()
    }
}

#[derive(Clone)]
enum Record {
    Vertex(Bytes),
    Commit(Box<Commit>),
    Evidence(Box<Evidence>),
    Floor(Round),
}

enum What {
    Bytes { from: usize, bytes: Bytes },
    Event(Event),
    Synced { length: usize, own: VertexRef },
    FloorSynced { length: usize, floor: Round },
    Wakeup,
    Propose(Proposal),
}

struct Delivery {
    to: usize,
    /// The incarnation that it is meant for; none: whoever is there.
    life: Option<u64>,
    what: What,
}

pub(crate) struct Node {
    pub(crate) core: Core,
    life: u64,
    pub(crate) alive: bool,
    journal: Vec<Record>,
    durable: usize,
    stored: BTreeMap<VertexRef, Bytes>,
    pool: Vec<Item>,
    /// Commits by index, from 1.
    pub(crate) log: Vec<Commit>,
    committed: BTreeSet<VertexRef>,
    items: BTreeSet<Digest>,
    pub(crate) proposals: u64,
    pub(crate) sent: u64,
    pub(crate) behind: Vec<BehindReason>,
    pub(crate) returned: usize,
    pub(crate) equivocations: Vec<ValidatorIndex>,
    pub(crate) misbehaved: usize,
    pub(crate) amnesia: bool,
    pub(crate) stored_served: usize,
    wakeup: Option<u64>,
}

pub(crate) struct World {
    pub(crate) setup: Setup,
    pub(crate) epoch: Arc<EpochData>,
    keys: Vec<ValidatorSecretKey>,
    pub(crate) nodes: Vec<Node>,
    pub(crate) now_us: u64,
    queue: BTreeMap<(u64, u64), Delivery>,
    sequence: u64,
    rng: ChaCha8Rng,
    /// Pairs (from, to) that are cut.
    pub(crate) cut: BTreeSet<(usize, usize)>,
    twins: BTreeMap<VertexRef, Bytes>,
    /// What left an honest validator, by author and round.
    left: BTreeMap<(usize, Round), VertexRef>,
    pub(crate) agreed: Vec<Digest>,
    certified: CommitIndex,
    /// Lost their stores: they count among the faulty.
    pub(crate) amnesiacs: BTreeSet<usize>,
}

const START: TimeMs = TimeMs(1_000_000);

pub(crate) fn epoch(setup: &Setup) -> (EpochData, Vec<ValidatorSecretKey>) {
    let keys: Vec<_> = (1..=setup.stakes.len() as u8)
        .map(|i| ValidatorSecretKey::from_seed([i; 32]))
        .collect();
    let coin = setup.parameters.election == Election::Coin;
    let members = (setup.stakes.iter().zip(&keys).zip(0u8..)).map(|((&stake, key), i)| Member {
        stake: Stake(stake),
        validator_key: key.public_key(),
        share_key: coin.then_some(SharePublicKey([i; 96])),
        node_key: NodePublicKey([i; 32]),
        operator_key: OperatorPublicKey([i; 32]),
    });
    let group = coin.then_some(GroupPublicKey([1; 96]));
    let committee = Committee::new(Epoch(0), members.collect(), group).unwrap();
    let chain = ChainId(Domain::Genesis.hash(&setup.seed.to_le_bytes()));
    let seed = Domain::EpochSeed.hash(&setup.seed.to_le_bytes());
    let base = (CommitIndex(0), Digest::ZERO);
    let data = EpochData::new(chain, committee, setup.parameters, seed, START, base);
    (data, keys)
}

impl World {
    pub(crate) fn new(setup: Setup) -> Self {
        let (epoch, keys) = epoch(&setup);
        let epoch = Arc::new(epoch);
        let n = setup.stakes.len();
        let node = |i: usize| Node {
            core: Core::new(epoch.clone(), Some(ValidatorIndex(i as u16)), setup.tuning),
            life: 0,
            alive: true,
            journal: Vec::new(),
            durable: 0,
            stored: BTreeMap::new(),
            pool: Vec::new(),
            log: Vec::new(),
            committed: BTreeSet::new(),
            items: BTreeSet::new(),
            proposals: 0,
            sent: 0,
            behind: Vec::new(),
            returned: 0,
            equivocations: Vec::new(),
            misbehaved: 0,
            amnesia: false,
            stored_served: 0,
            wakeup: None,
        };
        let mut world = World {
            nodes: (0..n).map(node).collect(),
            rng: ChaCha8Rng::seed_from_u64(setup.seed),
            setup,
            epoch,
            keys,
            now_us: 1_000_000,
            queue: BTreeMap::new(),
            sequence: 0,
            cut: BTreeSet::new(),
            twins: BTreeMap::new(),
            left: BTreeMap::new(),
            agreed: Vec::new(),
            certified: CommitIndex(0),
            amnesiacs: BTreeSet::new(),
        };
        for i in 0..n {
            let now = world.now(i);
            world.nodes[i].core.start(now);
            world.drain(i);
        }
        world
    }

    pub(crate) fn below(&mut self, n: u64) -> u64 {
        self.rng.next_u64() % n.max(1)
    }

    fn now(&self, i: usize) -> Now {
        let ms = START.0 as i64 + (self.now_us / 1_000) as i64 + self.setup.clocks_ms[i];
        Now {
            monotonic_us: self.now_us,
            wall: TimeMs(ms.max(0) as u64),
        }
    }

    fn schedule(&mut self, after_us: u64, to: usize, life: Option<u64>, what: What) {
        self.sequence += 1;
        let at = (self.now_us + after_us, self.sequence);
        self.queue.insert(at, Delivery { to, life, what });
    }

    fn local(&mut self, after_us: u64, to: usize, what: What) {
        let life = Some(self.nodes[to].life);
        self.schedule(after_us, to, life, what);
    }

    /// A client's transaction for validator `i`.
    pub(crate) fn submit(&mut self, i: usize, text: &str) -> Digest {
        let item = Item::Client(Bytes::copy_from_slice(text.as_bytes()));
        let digest = item.digest();
        self.nodes[i].pool.push(item);
        self.wants(i);
        digest
    }

    pub(crate) fn wants(&mut self, i: usize) {
        let payload = !self.nodes[i].pool.is_empty();
        let wants = Event::Wants {
            payload,
            pending: false,
        };
        self.handle(i, wants);
    }

    pub(crate) fn handle(&mut self, i: usize, event: Event) {
        if !self.nodes[i].alive {
            return;
        }
        let now = self.now(i);
        self.nodes[i].core.handle(now, event);
        self.drain(i);
    }

    fn drain(&mut self, i: usize) {
        while let Some(effect) = self.nodes[i].core.poll() {
            self.effect(i, effect);
        }
        let Some(at) = self.nodes[i].core.next_wakeup() else {
            return;
        };
        let scheduled = self.nodes[i].wakeup;
        if scheduled.is_none_or(|before| at < before || before <= self.now_us) {
            self.nodes[i].wakeup = Some(at);
            let after = at.saturating_sub(self.now_us).max(1);
            self.local(after, i, What::Wakeup);
        }
    }

    fn effect(&mut self, i: usize, effect: Effect) {
        match effect {
            Effect::Propose(proposal) => {
                assert!(!self.nodes[i].amnesia);
                self.nodes[i].proposals += 1;
                let after = self.below(300);
                self.local(after, i, What::Propose(proposal));
            }
            Effect::Send { to, message } => self.send(i, to.as_usize(), &message),
            Effect::Broadcast(message) => {
                for to in 0..self.nodes.len() {
                    self.send(i, to, &message);
                }
            }
            Effect::SendStored { to, references } => {
                self.nodes[i].stored_served += references.len();
                let stored = &self.nodes[i].stored;
                let found = references.iter().filter_map(|r| stored.get(r).cloned());
                let message = Message::Vertices(found.collect());
                self.send(i, to.as_usize(), &message);
            }
            Effect::Persist(vertex) => self.persist(i, &vertex),
            Effect::PersistEvidence(evidence) => {
                self.nodes[i]
                    .journal
                    .push(Record::Evidence(Box::new(evidence)));
            }
            Effect::CombineCoins(coins) => {
                let combined = coins.iter().map(|of| self.combined(of)).collect();
                let after = 100 + self.below(2_000);
                self.local(after, i, What::Event(Event::Coins(combined)));
            }
            Effect::Commit(cone) => {
                assert_eq!(cone.digest, cone.commit.digest(self.epoch.chain()));
                let listed: Vec<_> = cone.vertices.iter().map(|v| *v.reference()).collect();
                assert_eq!(listed[..], cone.commit.vertices[..]);
                self.commit(i, cone.commit, &cone.vertices);
            }
            Effect::Equivocation(evidence) => {
                self.nodes[i].equivocations.push(evidence.author());
            }
            Effect::Returned(vertices) => {
                let items = vertices.iter().flat_map(|v| v.payload().items().to_vec());
                let items: Vec<Item> = items.collect();
                self.nodes[i].returned += items.len();
                self.nodes[i].pool.extend(items);
                self.local(
                    0,
                    i,
                    What::Event(Event::Wants {
                        payload: true,
                        pending: false,
                    }),
                );
            }
            Effect::Misbehaved { .. } => self.nodes[i].misbehaved += 1,
            Effect::Behind { reason, .. } => {
                self.nodes[i].behind.push(reason);
                self.offer_commits(i);
            }
            Effect::Forked(index) => panic!("validator {i} forked at {index}"),
            Effect::Amnesia(_) => {
                // A liar that adopts commits finds its own twin in them.
                let known = self.amnesiacs.contains(&i) || self.is_liar(i);
                assert!(known, "validator {i} forgot");
                self.nodes[i].amnesia = true;
            }
            Effect::Rejoin { floor } => {
                let node = &mut self.nodes[i];
                node.journal.push(Record::Floor(floor));
                let length = node.journal.len();
                let after = 200 + self.below(1_500);
                self.local(after, i, What::FloorSynced { length, floor });
            }
        }
    }

    pub(crate) fn is_liar(&self, i: usize) -> bool {
        self.setup.equivocators.contains(&i)
    }

    fn persist(&mut self, i: usize, vertex: &ValidVertex) {
        let node = &mut self.nodes[i];
        let reference = *vertex.reference();
        node.journal.push(Record::Vertex(vertex.bytes().clone()));
        let again = node.stored.insert(reference, vertex.bytes().clone());
        assert!(again.is_none(), "persisted once");
        if reference.author.as_usize() == i {
            let length = node.journal.len();
            let after = 200 + self.below(1_500);
            let own = reference;
            self.local(after, i, What::Synced { length, own });
        }
    }

    fn combined(&self, CoinShares { round, shares }: &CoinShares) -> CombinedCoin {
        assert_eq!(shares.len(), self.epoch.committee().share_threshold());
        let bad: Vec<_> = (shares.iter())
            .filter(|(author, share)| *share != good_share(*author, *round))
            .map(|(author, _)| *author)
            .collect();
        let signature = bad.is_empty().then(|| coin(&self.epoch, *round));
        CombinedCoin {
            round: *round,
            signature,
            bad,
        }
    }

    fn commit(&mut self, i: usize, commit: Commit, vertices: &[ValidVertex]) {
        let digest = commit.digest(self.epoch.chain());
        let position = commit.index.0 as usize - 1;
        let node = &mut self.nodes[i];
        assert_eq!(position, node.log.len(), "validator {i}: commits in turn");
        for reference in &commit.vertices {
            assert!(node.committed.insert(*reference), "committed once");
        }
        for item in vertices.iter().flat_map(|v| v.payload().items()) {
            node.items.insert(item.digest());
        }
        node.journal.push(Record::Commit(Box::new(commit.clone())));
        node.log.push(commit);
        if position == self.agreed.len() {
            self.agreed.push(digest);
        }
        assert_eq!(self.agreed[position], digest, "validator {i} disagrees");
        self.certify();
    }

    /// A quorum's word for the newest commits, at once: what matters here is that it comes.
    fn certify(&mut self) {
        if !self.setup.certify {
            return;
        }
        let mut lengths: Vec<(usize, u64)> = (self.nodes.iter().zip(&self.setup.stakes))
            .map(|(node, &stake)| (node.log.len(), stake))
            .collect();
        lengths.sort_unstable_by(|a, b| b.cmp(a));
        let quorum = self.epoch.committee().quorum_stake().0;
        let mut sum = 0;
        let reached = lengths.into_iter().find(|(_, stake)| {
            sum += stake;
            sum >= quorum
        });
        let Some((length, _)) = reached.filter(|(l, _)| *l as u64 > self.certified.0) else {
            return;
        };
        self.certified = CommitIndex(length as u64);
        let holder = self.nodes.iter().find(|node| node.log.len() >= length);
        let leader_round = holder.unwrap().log[length - 1].leader.round;
        for to in 0..self.nodes.len() {
            let event = Event::Certified {
                leader_round,
                commit_index: self.certified,
            };
            let isolated = (0..self.nodes.len()).all(|f| f == to || self.cut.contains(&(f, to)));
            if !isolated {
                let after = 500 + self.below(3_000);
                self.schedule(after, to, None, What::Event(event));
            }
        }
    }

    /// Commits up to the certified one, from whoever has them, vertices and all.
    pub(crate) fn offer_commits(&mut self, to: usize) {
        let from = self.nodes[to].log.len();
        let upto = self.certified.0 as usize;
        if upto <= from {
            return;
        }
        let holder = (self.nodes.iter())
            .find(|node| node.alive && node.log.len() >= upto)
            .unwrap();
        let commits = holder.log[from..upto].iter().map(|commit| {
            let bytes = commit.vertices.iter().map(|v| &holder.stored[v]);
            let vertices = bytes
                .map(|b| trust_vertex(b, &self.epoch).unwrap())
                .collect();
            (commit.clone(), vertices)
        });
        let commits: Vec<(Commit, Vec<ValidVertex>)> = commits.collect();
        let Some((last, _)) = commits.last() else {
            return;
        };
        let certified = Event::Certified {
            leader_round: last.leader.round,
            commit_index: last.index,
        };
        self.local(2_000, to, What::Event(Event::Adopt { commits }));
        self.local(3_000, to, What::Event(certified));
    }

    fn send(&mut self, from: usize, to: usize, message: &Message) {
        self.nodes[from].sent += 1;
        if from == to {
            return;
        }
        let mut message = message.clone();
        if let Message::Vertices(vertices) = &mut message {
            for bytes in vertices {
                self.leave(from, to, bytes);
            }
        }
        if let Message::RejoinAnswer(answer) = &mut message
            && self.setup.deniers.contains(&from)
        {
            answer.newest = self.epoch.virtual_vertices()[from];
            answer.of_asker = None;
        }
        if self.cut.contains(&(from, to)) || self.below(100) < self.setup.loss_percent {
            return;
        }
        let copies = 1 + u64::from(self.below(100) < self.setup.duplicate_percent);
        for _ in 0..copies {
            let (least, most) = self.setup.delay_us;
            let after = least + self.below(most - least + 1);
            let bytes = message.encode();
            self.schedule(after, to, None, What::Bytes { from, bytes });
        }
    }

    /// Notes what leaves, and swaps a liar's own vertex for its twin.
    fn leave(&mut self, from: usize, to: usize, bytes: &mut Bytes) {
        let vertex = trust_vertex(bytes, &self.epoch).unwrap();
        let reference = *vertex.reference();
        if reference.author.as_usize() != from {
            return;
        }
        if self.is_liar(from) {
            if to % 2 == 1
                && let Some(twin) = self.twins.get(&reference)
            {
                *bytes = twin.clone();
            }
            return;
        }
        let before = self.left.insert((from, reference.round), reference);
        let same = before.is_none_or(|r| r == reference);
        let forgets = self.amnesiacs.contains(&from) && !self.setup.rejoin;
        assert!(same || forgets, "{from} equivocates");
        if before.is_some() {
            // One that lost its journal passes on what others kept of its own.
            return;
        }
        let durable = self.nodes[from].journal[..self.nodes[from].durable].iter();
        let is_it = |record: &Record| matches!(record, Record::Vertex(b) if *b == *bytes);
        assert!(
            durable.rev().take(4_000).any(is_it),
            "durable before it leaves"
        );
    }

    fn propose(&mut self, i: usize, proposal: Proposal) {
        let items = match proposal.payload {
            true => std::mem::take(&mut self.nodes[i].pool),
            false => Vec::new(),
        };
        let payload = Payload::new(items).unwrap();
        let author = ValidatorIndex(i as u16);
        let coin_share =
            proposal
                .coin_share
                .map(|round| match self.setup.bad_shares.contains(&i) {
                    true => ThresholdShare([0xBB; 48]),
                    false => good_share(author, round),
                });
        let header = VertexHeader {
            epoch: self.epoch.epoch(),
            round: proposal.round,
            author,
            parents: proposal.parents.try_into().unwrap(),
            payload: payload.commitment(),
            coin_share,
            end_mark: proposal.end_mark,
            timestamp: proposal.timestamp,
        };
        let bytes = self.sign(i, header.clone(), payload);
        let vertex = check_vertex(&bytes, &self.epoch, &AnyItem).unwrap();
        if self.is_liar(i) {
            let twin_payload = Payload::new(vec![Item::Client(bytes.slice(..40))]).unwrap();
            let twin = VertexHeader {
                payload: twin_payload.commitment(),
                ..header
            };
            let twin = self.sign(i, twin, twin_payload);
            self.twins.insert(*vertex.reference(), twin);
        }
        self.handle(i, Event::OwnVertex { vertex });
        self.wants(i);
    }

    fn sign(&self, i: usize, header: VertexHeader, payload: Payload) -> Bytes {
        let signature = self.keys[i].sign_vertex(&header.id(self.epoch.chain()));
        let signed = SignedHeader { header, signature };
        encode(&Vertex { signed, payload }).into()
    }

    /// Runs until `deadline_us` from now, or until nothing is left to happen.
    pub(crate) fn run(&mut self, for_us: u64) {
        self.run_until(for_us, |_| false);
    }

    /// Runs until `done`, for `for_us` at most; says whether it came about.
    pub(crate) fn run_until(&mut self, for_us: u64, done: impl Fn(&World) -> bool) -> bool {
        let deadline = self.now_us + for_us;
        while let Some((&(at, sequence), _)) = self.queue.first_key_value() {
            if done(self) {
                return true;
            }
            if at > deadline {
                break;
            }
            self.now_us = self.now_us.max(at);
            let delivery = self.queue.remove(&(at, sequence)).unwrap();
            self.deliver(delivery);
        }
        self.now_us = self.now_us.max(deadline);
        done(self)
    }

    fn deliver(&mut self, delivery: Delivery) {
        let to = delivery.to;
        let node = &mut self.nodes[to];
        if !node.alive || delivery.life.is_some_and(|life| life != node.life) {
            return;
        }
        match delivery.what {
            What::Event(event) => {
                if let Event::Adopt { commits } = &event {
                    self.take_adopted(to, commits);
                }
                self.handle(to, event);
            }
            What::Wakeup => {
                node.wakeup = None;
                self.handle(to, Event::Tick);
            }
            What::Synced { length, own } => {
                node.durable = node.durable.max(length);
                self.handle(to, Event::OwnDurable { reference: own });
            }
            What::FloorSynced { length, floor } => {
                node.durable = node.durable.max(length);
                node.amnesia = false;
                self.handle(to, Event::Rejoined { floor });
            }
            What::Propose(proposal) => self.propose(to, proposal),
            What::Bytes { from, bytes } => self.receive(to, from, &bytes),
        }
    }

    /// What the replica does with commits that it adopts.
    fn take_adopted(&mut self, to: usize, commits: &[(Commit, Vec<ValidVertex>)]) {
        for (commit, vertices) in commits {
            if commit.index.0 as usize > self.nodes[to].log.len() {
                self.commit(to, commit.clone(), vertices);
            }
        }
    }

    fn receive(&mut self, to: usize, from: usize, bytes: &Bytes) {
        let from = ValidatorIndex(from as u16);
        match Message::decode(bytes).unwrap() {
            Message::Vertices(vertices) => {
                for bytes in vertices {
                    let vertex = match self.setup.check {
                        true => check_vertex(&bytes, &self.epoch, &AnyItem),
                        false => trust_vertex(&bytes, &self.epoch),
                    };
                    let vertex = vertex.unwrap();
                    // A liar doesn't take its twins for signs of amnesia.
                    if self.is_liar(to) && vertex.reference().author.as_usize() == to {
                        continue;
                    }
                    self.handle(to, Event::Vertex { from, vertex });
                }
            }
            message => self.handle(to, Event::Message { from, message }),
        }
    }

    pub(crate) fn crash(&mut self, i: usize) {
        let node = &mut self.nodes[i];
        node.alive = false;
        node.life += 1;
        node.wakeup = None;
        node.journal.truncate(node.durable);
    }

    /// The store is gone.
    pub(crate) fn lose_store(&mut self, i: usize) {
        self.amnesiacs.insert(i);
        let node = &mut self.nodes[i];
        node.journal.clear();
        node.durable = 0;
        node.items.clear();
        // Without being told, it would notice when a vertex of its own came back.
        node.amnesia = self.setup.rejoin;
    }

    /// Reads the journal again and begins.
    pub(crate) fn restart(&mut self, i: usize) {
        let mut core = Core::new(
            self.epoch.clone(),
            Some(ValidatorIndex(i as u16)),
            self.setup.tuning,
        );
        let node = &mut self.nodes[i];
        node.log.clear();
        node.committed.clear();
        node.stored.clear();
        for record in &node.journal {
            match record {
                Record::Vertex(bytes) => {
                    let vertex = trust_vertex(bytes, &self.epoch).unwrap();
                    node.stored.insert(*vertex.reference(), bytes.clone());
                    core.restore_vertex(vertex);
                }
                Record::Commit(commit) => {
                    core.restore_commit(commit).unwrap();
                    node.committed.extend(commit.vertices.iter().copied());
                    node.log.push((**commit).clone());
                }
                Record::Evidence(evidence) => {
                    let unchecked = UncheckedEvidence::from((**evidence).clone());
                    core.restore_evidence(unchecked.check(&self.epoch).unwrap());
                }
                Record::Floor(floor) => {
                    core.restore_floor(*floor);
                    node.amnesia = false;
                }
            }
        }
        if node.amnesia {
            core.forget();
            if self.setup.rejoin {
                let mut nonce = [0; 32];
                self.rng.fill_bytes(&mut nonce);
                core.ask_to_rejoin(RejoinNonce(nonce));
            }
        }
        node.core = core;
        node.alive = true;
        let now = self.now(i);
        self.nodes[i].core.start(now);
        self.drain(i);
        self.connect(i);
    }

    /// Everyone and `i` see one another come up.
    pub(crate) fn connect(&mut self, i: usize) {
        for other in (0..self.nodes.len()).filter(|&other| other != i) {
            self.handle(other, Event::PeerUp(ValidatorIndex(i as u16)));
            self.handle(i, Event::PeerUp(ValidatorIndex(other as u16)));
        }
    }

    pub(crate) fn isolate(&mut self, i: usize) {
        for other in 0..self.nodes.len() {
            self.cut.insert((i, other));
            self.cut.insert((other, i));
        }
    }

    pub(crate) fn has_committed(&self, i: usize, item: &Digest) -> bool {
        self.nodes[i].items.contains(item)
    }

    pub(crate) fn honest(&self) -> Vec<usize> {
        (0..self.nodes.len())
            .filter(|&i| self.nodes[i].alive && !self.is_liar(i))
            .collect()
    }

    pub(crate) fn all_committed(&self, items: &[Digest]) -> bool {
        let honest = self.honest();
        (honest.iter()).all(|&i| items.iter().all(|item| self.has_committed(i, item)))
    }

    pub(crate) fn proposals(&self) -> u64 {
        self.nodes.iter().map(|node| node.proposals).sum()
    }
}

fn good_share(author: ValidatorIndex, round: Round) -> ThresholdShare {
    let mut share = [author.0 as u8; 48];
    share[..8].copy_from_slice(&round.0.to_le_bytes());
    ThresholdShare(share)
}

/// The mock coin: the same for all, and known to nobody's core before its shares are.
pub(crate) fn coin(epoch: &EpochData, round: Round) -> ThresholdSignature {
    let digest =
        Domain::MockThreshold.hash_parts(&[epoch.chain().as_ref(), &round.0.to_le_bytes()]);
    let mut coin = [0; 48];
    coin[..32].copy_from_slice(digest.as_bytes());
    ThresholdSignature(coin)
}
