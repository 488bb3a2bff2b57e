//! One core against a scripted rest of the world: each test is a clause of consensus.md or a defect of its §13.

use std::sync::Arc;

use violeta_types::{
    Bounded, Commit, CommitIndex, Digest, Election, Parameters, Round, ThresholdSignature, TimeMs,
    ValidatorIndex, VertexRef,
};

use super::*;
use crate::evidence::UncheckedEvidence;
use crate::fixture::{self, START, header_on, layers, own_first, vertex, vertex_of};
use crate::io::{BehindReason, CommittedCone, Misbehaviour, Proposal};
use crate::io::{CoinShares, CombinedCoin};
use crate::limits::{
    ANSWER_BYTES_MAX, EXTRA_VARIANTS_BURST, NOVELTY_ROUNDS_MAX, SERVED_BYTES_BURST,
    SERVED_BYTES_MIN, SERVED_BYTES_PER_SECOND, TIMESTAMP_AHEAD_MS_MAX,
};
use crate::message::{Frontier, Request};
use crate::vertex::ValidVertex;

mod rejoin;

const G: u64 = 64;

/// Validator 0 of four, and what came out of it.
struct Lab {
    epoch: Arc<EpochData>,
    core: Core,
    now: Now,
    effects: Vec<Effect>,
}

impl Lab {
    fn new() -> Self {
        Lab::with(fixture::epoch(4, 4), Some(0))
    }

    /// Leaders are known, so that no coin has to be tossed.
    fn seeded() -> Self {
        Lab::with(
            fixture::epoch_with_stakes(&[1; 4], 4, Election::Seeded),
            Some(0),
        )
    }

    fn with(epoch: EpochData, me: Option<u16>) -> Self {
        Lab::tuned(epoch, me, Tuning::default())
    }

    fn tuned(epoch: EpochData, me: Option<u16>, tuning: Tuning) -> Self {
        let mut lab = Lab::unstarted(epoch, me, tuning);
        lab.core.start(lab.now);
        lab.drain();
        lab
    }

    fn unstarted(epoch: EpochData, me: Option<u16>, tuning: Tuning) -> Self {
        let epoch = Arc::new(epoch);
        let core = Core::new(epoch.clone(), me.map(ValidatorIndex), tuning);
        let now = Now {
            monotonic_us: 1_000_000,
            wall: TimeMs(START.0 + 1_000),
        };
        let effects = Vec::new();
        Lab {
            epoch,
            core,
            now,
            effects,
        }
    }

    fn drain(&mut self) {
        self.effects.extend(std::iter::from_fn(|| self.core.poll()));
    }

    fn handle(&mut self, event: Event) {
        self.core.handle(self.now, event);
        self.drain();
    }

    fn pass(&mut self, us: u64) {
        self.now.monotonic_us += us;
        self.now.wall.0 += us / 1_000;
        self.handle(Event::Tick);
    }

    fn receive(&mut self, from: u16, vertex: &ValidVertex) {
        self.handle(Event::Vertex {
            from: ValidatorIndex(from),
            vertex: vertex.clone(),
        });
    }

    fn receive_all(&mut self, layers: &[Vec<ValidVertex>]) {
        for vertex in layers.iter().flatten() {
            self.receive(vertex.reference().author.0, vertex);
        }
    }

    fn message(&mut self, from: u16, message: Message) {
        let from = ValidatorIndex(from);
        self.handle(Event::Message { from, message });
    }

    fn wants(&mut self, payload: bool) {
        let pending = false;
        self.handle(Event::Wants { payload, pending });
    }

    fn pending(&mut self, pending: bool) {
        let payload = false;
        self.handle(Event::Wants { payload, pending });
    }

    fn coin(&mut self, round: u64) {
        self.coins(&[(round, &[])]);
    }

    /// A batch's answer: whose shares were bad, of each round; where nobody's was, its coin.
    fn coins(&mut self, batch: &[(u64, &[u16])]) {
        let combined = batch.iter().map(|(round, bad)| CombinedCoin {
            round: Round(*round),
            signature: bad.is_empty().then_some(ThresholdSignature([7; 48])),
            bad: bad.iter().copied().map(ValidatorIndex).collect(),
        });
        self.handle(Event::Coins(combined.collect()));
    }

    /// Rounds whose coins were asked for, and whose shares were given.
    fn asked(&self) -> Vec<(u64, Vec<u16>)> {
        let batches = self.effects.iter().filter_map(|effect| match effect {
            Effect::CombineCoins(coins) => Some(coins),
            _ => None,
        });
        let authors = |of: &CoinShares| of.shares.iter().map(|(author, _)| author.0).collect();
        let of_each = batches.flatten().map(|of| (of.round.0, authors(of)));
        of_each.collect()
    }

    /// The outstanding proposal.
    fn proposal(&self) -> Option<Proposal> {
        self.core.own.as_ref()?.outstanding.clone()
    }

    /// Answers it; says what was made.
    fn make(&mut self, items: &[&str]) -> ValidVertex {
        let proposal = self.proposal().unwrap();
        let mut header = header_on(&self.epoch, proposal.round.0, 0, proposal.parents);
        header.timestamp = proposal.timestamp;
        let vertex = vertex_of(&self.epoch, header, items);
        self.handle(Event::OwnVertex {
            vertex: vertex.clone(),
        });
        vertex
    }

    fn durable(&mut self, vertex: &ValidVertex) {
        self.handle(Event::OwnDurable {
            reference: *vertex.reference(),
        });
    }

    fn accepted(&self, vertex: &ValidVertex) -> bool {
        self.core.graph.contains(vertex.reference())
    }

    fn commits(&self) -> Vec<&CommittedCone> {
        let commits = self.effects.iter().filter_map(|effect| match effect {
            Effect::Commit(cone) => Some(cone),
            _ => None,
        });
        commits.collect()
    }

    /// What was asked of whom.
    fn requests(&self) -> Vec<(u16, &Request)> {
        let requests = self.effects.iter().filter_map(|effect| match effect {
            Effect::Send {
                to,
                message: Message::Request(request),
            } => Some((to.0, request)),
            _ => None,
        });
        requests.collect()
    }

    fn answers(&self) -> usize {
        (self.effects.iter())
            .filter(|effect| {
                let message = match effect {
                    Effect::Send { message, .. } => message,
                    _ => return false,
                };
                matches!(message, Message::Vertices(_))
            })
            .count()
    }

    fn count(&self, is: impl Fn(&Effect) -> bool) -> usize {
        self.effects.iter().filter(|effect| is(effect)).count()
    }
}

fn refs(layer: &[ValidVertex]) -> Vec<VertexRef> {
    layer.iter().map(|vertex| *vertex.reference()).collect()
}

/// A second vertex of the same slot.
fn twin(epoch: &EpochData, vertex: &ValidVertex, n: u64) -> ValidVertex {
    let mut header = vertex.header().clone();
    header.timestamp.0 += n;
    vertex_of(epoch, header, &[])
}

// ── §2 acceptance ───────────────────────────────────────────────────────────────────────────────────────────────────

#[test]
fn a_vertex_waits_for_its_parents_and_they_are_asked_of_its_sender() {
    let mut lab = Lab::new();
    let layers = layers(&lab.epoch, &[1, 2, 3], 2);
    lab.receive(3, &layers[1][0]);
    assert!(!lab.accepted(&layers[1][0]));
    let (to, request) = lab.requests()[0];
    assert_eq!(to, 3);
    assert_eq!(request.wanted[..], refs(&layers[0])[..]);
    lab.receive_all(&layers[..1]);
    assert!(lab.accepted(&layers[1][0]), "and then it is accepted");
    let persisted = lab.count(|effect| matches!(effect, Effect::Persist(_)));
    assert_eq!(persisted, 4);
    lab.receive_all(&layers[..1]);
    assert_eq!(
        lab.count(|e| matches!(e, Effect::Persist(_))),
        4,
        "once each"
    );
}

#[test]
fn parents_come_before_children_in_the_journal() {
    let mut lab = Lab::new();
    let layers = layers(&lab.epoch, &[1, 2, 3], 6);
    for vertex in layers.iter().flatten().rev() {
        lab.receive(vertex.reference().author.0, vertex);
    }
    let mut journal = Vec::new();
    for effect in &lab.effects {
        if let Effect::Persist(vertex) = effect {
            for parent in vertex
                .header()
                .parents
                .iter()
                .filter(|p| p.round > Round(0))
            {
                assert!(journal.contains(parent));
            }
            journal.push(*vertex.reference());
        }
    }
    assert_eq!(journal.len(), 18);
}

#[test]
fn a_timestamp_too_far_ahead_means_later() {
    let mut lab = Lab::new();
    let mut header = header_on(&lab.epoch, 1, 1, own_first(1, lab.epoch.virtual_vertices()));
    header.timestamp = TimeMs(lab.now.wall.0 + TIMESTAMP_AHEAD_MS_MAX + 200);
    let early = vertex_of(&lab.epoch, header, &[]);
    lab.receive(1, &early);
    assert!(!lab.accepted(&early));
    lab.pass(100_000);
    assert!(!lab.accepted(&early));
    lab.pass(150_000);
    assert!(lab.accepted(&early));
}

#[test]
fn a_vertex_of_another_epoch_is_dropped() {
    let mut lab = Lab::new();
    let other = EpochData::new(
        *lab.epoch.chain(),
        violeta_types::Committee::new(
            violeta_types::Epoch(1),
            lab.epoch.committee().members().to_vec(),
            lab.epoch.committee().group_key().copied(),
        )
        .unwrap(),
        *lab.epoch.parameters(),
        *lab.epoch.seed(),
        START,
        lab.epoch.base(),
    );
    let foreign = vertex(&other, 1, 1, &own_first(1, other.virtual_vertices()));
    lab.receive(1, &foreign);
    assert!(!lab.accepted(&foreign));
}

// ── §3 production ───────────────────────────────────────────────────────────────────────────────────────────────────

#[test]
fn the_quiet_rule_says_when_a_vertex_is_due() {
    let mut lab = Lab::new();
    assert_eq!(lab.proposal(), None, "nothing waits");
    lab.wants(true);
    let proposal = lab.proposal().unwrap();
    assert_eq!((proposal.round, proposal.parents.len()), (Round(1), 4));
    assert!(proposal.payload && !proposal.end_mark && proposal.coin_share.is_none());
    lab.wants(false);
    assert!(lab.proposal().is_some(), "never withdrawn");
}

#[test]
fn pending_work_and_others_payload_are_due_too() {
    let mut lab = Lab::new();
    lab.handle(Event::Wants {
        payload: false,
        pending: true,
    });
    assert!(lab.proposal().is_some());

    let mut lab = Lab::new();
    let parents = own_first(1, lab.epoch.virtual_vertices());
    let payload = vertex_of(&lab.epoch, header_on(&lab.epoch, 1, 1, parents), &["a"]);
    lab.receive(1, &payload);
    assert!(lab.proposal().is_some());
}

#[test]
fn a_vertex_leaves_once_it_is_durable_and_not_before() {
    let mut lab = Lab::new();
    lab.wants(true);
    let own = lab.make(&["a"]);
    let left =
        |lab: &Lab| lab.count(|effect| matches!(effect, Effect::Broadcast(Message::Vertices(_))));
    let request = Request {
        wanted: vec![*own.reference()].try_into().unwrap(),
        above: Some(vec![Round(0); 4].try_into().unwrap()),
    };
    lab.message(1, Message::Request(request.clone()));
    lab.handle(Event::PeerUp(ValidatorIndex(2)));
    assert_eq!(
        (left(&lab), lab.answers()),
        (0, 0),
        "not as an answer either"
    );
    lab.durable(&own);
    assert_eq!(left(&lab), 1);
    lab.message(1, Message::Request(request));
    lab.handle(Event::PeerUp(ValidatorIndex(2)));
    assert_eq!(lab.answers(), 2);
}

#[test]
fn every_round_is_made_in_turn_and_at_once_when_lagging() {
    let mut lab = Lab::new();
    lab.receive_all(&layers(&lab.epoch, &[1, 2, 3], 30));
    for round in 1..=30 {
        let proposal = lab.proposal().unwrap();
        assert_eq!(proposal.round, Round(round), "no jumping");
        assert_eq!(proposal.coin_share, lab.epoch.coin_due(Round(round)));
        assert!(proposal.parents[0].author == ValidatorIndex(0));
        let own = lab.make(&[]);
        assert_eq!(lab.proposal(), None, "not before it is durable");
        lab.durable(&own);
        if round == 29 {
            lab.pass(1_000_000); // the last round is not lagging but following
        }
    }
    assert_eq!(lab.proposal(), None);
}

#[test]
fn a_quorum_of_linkable_vertices_opens_a_round() {
    let mut lab = Lab::new();
    lab.wants(true);
    let own = lab.make(&["a"]);
    lab.durable(&own);
    let first = layers(&lab.epoch, &[1, 2, 3], 1);
    lab.receive(1, &first[0][0]);
    lab.pass(100_000);
    assert_eq!(lab.proposal(), None, "own and one other");
    lab.receive(2, &first[0][1]);
    lab.pass(100_000);
    assert_eq!(lab.proposal().unwrap().round, Round(2));
}

#[test]
fn a_mute_peer_is_not_waited_for() {
    // A short wait for who was heard of lately; none for who has been silent for some rounds.
    let mut lab = Lab::new();
    lab.wants(true);
    let mut before: Vec<VertexRef> = lab.epoch.virtual_vertices().to_vec();
    let mut waited = Vec::new();
    for round in 1..=10 {
        waited.push(lab.proposal().is_none());
        lab.pass(1_000_000);
        let own = lab.make(&["a"]);
        lab.durable(&own);
        let mut layer = vec![*own.reference()];
        for author in [1, 2] {
            let next = vertex(&lab.epoch, round, author, &own_first(author, &before));
            lab.receive(author, &next);
            layer.push(*next.reference());
        }
        before = layer;
    }
    let rounds: Vec<usize> = (0..10).filter(|&i| waited[i]).collect();
    assert_eq!(
        rounds,
        [1, 2, 3],
        "rounds 2 to 4 wait for validator 3, which never came"
    );
}

/// Drives `rounds` rounds in which the own vertex carries `item`, waiting `pause_us` wherever none may be made yet.
/// The rounds that had to wait.
fn paused_rounds(tuning: Tuning, item: &str, rounds: u64, pause_us: u64) -> Vec<u64> {
    let mut lab = Lab::tuned(fixture::epoch(4, 4), Some(0), tuning);
    lab.wants(true);
    let mut before: Vec<VertexRef> = lab.epoch.virtual_vertices().to_vec();
    let mut paused = Vec::new();
    for round in 1..=rounds {
        if lab.proposal().is_none() {
            paused.push(round);
            let ready = lab.core.next_wakeup().unwrap();
            assert!(ready > lab.now.monotonic_us && ready <= lab.now.monotonic_us + pause_us);
            lab.pass(pause_us);
        }
        let own = lab.make(&[item]);
        lab.durable(&own);
        let mut layer = vec![*own.reference()];
        for author in [1, 2, 3] {
            let next = vertex(&lab.epoch, round, author, &own_first(author, &before));
            lab.receive(author, &next);
            layer.push(*next.reference());
        }
        before = layer;
    }
    paused
}

#[test]
fn a_burst_of_rounds_and_then_the_pause_between_own_vertices() {
    let tuning = Tuning::default();
    let heavy = "x".repeat(tuning.light_payload_bytes as usize);
    let burst = tuning.round_burst;
    let paused = paused_rounds(tuning, &heavy, burst + 5, tuning.round_interval_us_min);
    assert_eq!(paused, (burst + 1..=burst + 5).collect::<Vec<_>>());
}

#[test]
fn rounds_that_carry_next_to_nothing_are_hardly_paused() {
    let tuning = Tuning {
        round_interval_us_min: 20_000,
        round_burst: 3,
        light_interval_us_min: 4_000,
        ..Tuning::default()
    };
    let paused = paused_rounds(tuning, "a", 20, 4_000);
    assert_eq!(
        paused,
        (16..=20).collect::<Vec<_>>(),
        "60 ms hold 15 of 4 ms"
    );
}

#[test]
fn following_is_rate_limited_so_that_a_liar_cannot_drive_the_cluster() {
    let mut lab = Lab::new();
    let tuning = Tuning::default();
    let layers = layers(&lab.epoch, &[1, 2, 3], tuning.follow_burst + 1);
    let (last, burst) = layers.split_last().unwrap();
    for layer in burst {
        lab.receive_all(std::slice::from_ref(layer));
        let own = lab.make(&[]);
        lab.durable(&own);
    }
    lab.receive_all(std::slice::from_ref(last));
    assert_eq!(lab.proposal(), None, "the burst is spent");
    lab.pass(tuning.follow_interval_us);
    assert_eq!(
        lab.proposal().unwrap().round,
        Round(tuning.follow_burst + 1)
    );
}

#[test]
fn known_leaders_are_waited_for_but_not_for_ever() {
    let epoch = fixture::epoch_with(
        &[1; 4],
        Parameters {
            wave_length: 3,
            leaders: 1,
            election: Election::RoundRobin,
            gc_depth: G,
        },
    );
    let mut lab = Lab::with(epoch, Some(0));
    lab.wants(true);
    let own = lab.make(&["a"]);
    lab.durable(&own);
    // Validator 1 leads round 1. The others' vertices are here, its own isn't.
    let first = layers(&lab.epoch, &[1, 2, 3], 1);
    lab.receive(2, &first[0][1]);
    lab.receive(3, &first[0][2]);
    lab.pass(Tuning::default().leader_wait_us - 1);
    assert_eq!(lab.proposal(), None);
    lab.pass(1);
    assert!(lab.proposal().is_some());
}

#[test]
fn a_follower_makes_nothing_and_commits_all() {
    let epoch = fixture::epoch_with_stakes(&[1; 4], 4, Election::Seeded);
    let mut lab = Lab::with(epoch, None);
    lab.wants(true);
    lab.receive_all(&layers(&lab.epoch, &[0, 1, 2, 3], 10));
    assert_eq!(lab.count(|effect| matches!(effect, Effect::Propose(_))), 0);
    assert!(!lab.commits().is_empty());
}

#[test]
fn an_own_vertex_that_the_journal_does_not_know_ends_production() {
    let mut lab = Lab::new();
    let stolen = layers(&lab.epoch, &[0], 1);
    lab.receive(2, &stolen[0][0]);
    lab.receive(3, &stolen[0][0]);
    assert_eq!(lab.count(|effect| matches!(effect, Effect::Amnesia(_))), 1);
    lab.wants(true);
    assert_eq!(lab.proposal(), None);
}

#[test]
fn who_starts_without_a_journal_follows_and_makes_nothing() {
    let epoch = fixture::epoch_with_stakes(&[1; 4], 4, Election::Seeded);
    let mut lab = Lab::unstarted(epoch, Some(0), Tuning::default());
    lab.core.forget();
    lab.core.start(lab.now);
    lab.wants(true);
    lab.receive_all(&layers(&lab.epoch, &[1, 2, 3], 10));
    assert_eq!(lab.count(|effect| matches!(effect, Effect::Propose(_))), 0);
    assert!(!lab.commits().is_empty(), "it commits as anybody");
    // What it made in the life that it lost comes back: an ordinary vertex, and no news.
    let lost = layers(&lab.epoch, &[0], 1);
    lab.receive(2, &lost[0][0]);
    assert_eq!(lab.count(|effect| matches!(effect, Effect::Amnesia(_))), 0);
}

#[test]
fn a_vertex_that_was_being_made_when_a_lost_one_came_back_never_leaves() {
    let answered = |before: bool| {
        let mut lab = Lab::new();
        lab.wants(true);
        let proposal = lab.proposal().unwrap();
        let mut header = header_on(&lab.epoch, proposal.round.0, 0, proposal.parents);
        header.timestamp = proposal.timestamp;
        let own = vertex_of(&lab.epoch, header, &["new"]);
        let parents = own_first(0, lab.epoch.virtual_vertices());
        let lost = vertex_of(&lab.epoch, header_on(&lab.epoch, 1, 0, parents), &["lost"]);
        let answer = Event::OwnVertex {
            vertex: own.clone(),
        };
        if before {
            lab.handle(answer);
            lab.receive(2, &lost);
        } else {
            lab.receive(2, &lost);
            lab.handle(answer);
        }
        lab.durable(&own);
        lab.handle(Event::PeerUp(ValidatorIndex(3)));
        assert_eq!(lab.count(|effect| matches!(effect, Effect::Amnesia(_))), 1);
        let left = |effect: &Effect| match effect {
            Effect::Broadcast(Message::Vertices(vertices))
            | Effect::Send {
                message: Message::Vertices(vertices),
                ..
            } => vertices.contains(own.bytes()),
            _ => false,
        };
        assert_eq!(lab.count(left), 0, "answered before: {before}");
    };
    answered(true);
    answered(false);
}

// ── §4–§6 coin, decision, commits ───────────────────────────────────────────────────────────────────────────────────

#[test]
fn without_the_coin_nothing_is_decided_and_gc_never_moves_by_local_state() {
    let mut lab = Lab::with(fixture::epoch(4, 4), None);
    lab.pending(true);
    lab.receive_all(&layers(&lab.epoch, &[0, 1, 2, 3], 2 * G));
    assert_eq!(lab.commits().len(), 0);
    assert_eq!(lab.core.gc_round(), Round(0));
    let asked: Vec<u64> = lab.asked().iter().map(|(round, _)| *round).collect();
    assert_eq!(asked, (1..=2 * G - 3).collect::<Vec<_>>(), "each once");
    let batches = lab.count(|effect| matches!(effect, Effect::CombineCoins(_))) as u64;
    assert_eq!(
        batches,
        2 * G - 3,
        "no certificate is behind what is ordered"
    );
    let signature = ThresholdSignature([7; 48]);
    for round in 1..=2 * G - 3 {
        lab.coin(round);
    }
    assert_eq!(lab.commits().len() as u64, 2 * (2 * G - 3));
    let last = lab.core.last_commit().leader_round;
    assert_eq!(
        lab.core.gc_round(),
        last.back(G),
        "from the committed leader"
    );
    let commit = &lab.commits()[3].commit;
    assert_eq!(commit.coin, Some(signature));
}

#[test]
fn a_bad_share_is_replaced_by_another() {
    let mut lab = Lab::with(fixture::epoch(4, 4), None);
    lab.pending(true);
    let layers = layers(&lab.epoch, &[0, 1, 2, 3], 4);
    lab.receive_all(&layers[..3]);
    for vertex in &layers[3][..3] {
        lab.receive(1, vertex);
    }
    lab.coins(&[(1, &[1])]);
    lab.receive(3, &layers[3][3]);
    assert_eq!(lab.asked(), [(1, vec![0, 1, 2]), (1, vec![0, 2, 3])]);
}

/// A lab where so many rounds' vertices came one after the other, and each coin that was asked for, with nothing
/// certified; and the rounds after them. After 42, the coins up to the one of round 39 are known, and none waits.
fn ordered_and_not_certified(rounds: u64) -> (Lab, Vec<Vec<ValidVertex>>) {
    let mut lab = Lab::with(fixture::epoch(4, 4), None);
    lab.pending(true);
    let mut layers = layers(&lab.epoch, &[0, 1, 2, 3], rounds + 12);
    let rest = layers.split_off(rounds as usize);
    let mut answered = 0;
    for layer in layers {
        lab.receive_all(&[layer]);
        let asked = lab.asked();
        asked[answered..]
            .iter()
            .for_each(|(round, _)| lab.coin(*round));
        answered = asked.len();
    }
    (lab, rest)
}

#[test]
fn coins_wait_for_one_another_while_certificates_are_behind_what_is_ordered() {
    let (lab, _) = ordered_and_not_certified(42);
    let sizes: Vec<usize> = (lab.effects.iter())
        .filter_map(|effect| match effect {
            Effect::CombineCoins(coins) => Some(coins.len()),
            _ => None,
        })
        .collect();
    // One at a time up to round 7, when six rounds are ordered; then two while 7, 9 and 11 are, three while 13 and 16
    // are, and four.
    assert_eq!(sizes[..7], [1; 7]);
    assert_eq!(sizes[7..13], [2, 2, 2, 3, 3, 4]);
    assert!(sizes[13..].iter().all(|size| *size == 4), "{sizes:?}");
}

#[test]
fn a_certificate_lets_coins_go_that_waited_for_more() {
    let (mut lab, rest) = ordered_and_not_certified(42);
    let asked = lab.asked().len();
    lab.receive_all(&rest[..4]);
    assert_eq!(lab.asked().len(), asked + 4);
    lab.receive_all(&rest[4..5]);
    assert_eq!(lab.asked().len(), asked + 4, "one waits");
    let last = *lab.core.last_commit();
    lab.handle(Event::Certified {
        leader_round: last.leader_round,
        commit_index: last.index,
    });
    assert_eq!(lab.asked().len(), asked + 5);
}

#[test]
fn a_coin_with_a_bad_share_doesnt_wait_for_others_again() {
    let (mut lab, rest) = ordered_and_not_certified(42);
    let before = lab.asked().len();
    lab.receive_all(&rest[..4]);
    let batch = lab.asked()[before..].to_vec();
    assert_eq!(batch.len(), 4);
    let (lowest, first) = (batch[0].0, batch[0].1.clone());
    batch[1..].iter().for_each(|(round, _)| lab.coin(*round));
    lab.coins(&[(lowest, &first[..1])]);
    let authors: Vec<u16> = (0..4).filter(|author| *author != first[0]).collect();
    assert_eq!(lab.asked()[before + 4..], [(lowest, authors)]);
}

#[test]
fn a_liar_with_the_lowest_index_costs_one_batch_of_coins() {
    let (mut lab, rest) = ordered_and_not_certified(42);
    let batches = |lab: &Lab| -> Vec<Vec<(u64, Vec<u16>)>> {
        let batches = lab.effects.iter().filter_map(|effect| match effect {
            Effect::CombineCoins(coins) => Some(coins),
            _ => None,
        });
        let authors = |of: &CoinShares| of.shares.iter().map(|(author, _)| author.0).collect();
        let of_each = |of: &CoinShares| (of.round.0, authors(of));
        batches
            .map(|coins| coins.iter().map(of_each).collect())
            .collect()
    };
    let before = batches(&lab).len();
    let mut liars_batches = 0;
    let mut answered = before;
    for layer in rest {
        lab.receive_all(&[layer]);
        while let Some(batch) = batches(&lab).get(answered) {
            let liars = batch.iter().all(|(_, authors)| authors.contains(&0));
            liars_batches += usize::from(liars);
            let bad: &[u16] = if liars { &[0] } else { &[] };
            let answer: Vec<_> = batch.iter().map(|(round, _)| (*round, bad)).collect();
            answered += 1;
            lab.coins(&answer);
        }
    }
    // Of twelve rounds' coins four fail together, come again together, and the others succeed by four.
    let by_four = [40, 40, 44, 48].map(|from| (from..from + 4).collect::<Vec<u64>>());
    let batches = &batches(&lab)[before..];
    let rounds = |batch: &Vec<(u64, Vec<u16>)>| batch.iter().map(|of| of.0).collect::<Vec<_>>();
    assert_eq!(batches.iter().map(rounds).collect::<Vec<_>>(), by_four);
    assert!(batches[0].iter().all(|(_, authors)| *authors == [0, 1, 2]));
    let later = batches[1..].iter().flatten();
    later.for_each(|(round, authors)| assert_eq!(*authors, [1, 2, 3], "{round}"));
    assert_eq!(liars_batches, 1);
}

#[test]
fn coins_that_no_payload_hangs_on_wait_for_one_that_is_wanted() {
    let mut lab = Lab::with(fixture::epoch(4, 4), None);
    let empty = layers(&lab.epoch, &[0, 1, 2, 3], 5);
    lab.receive_all(&empty);
    assert!(lab.asked().is_empty(), "nothing is there to commit");
    let mut before: Vec<VertexRef> = empty[4].iter().map(|v| *v.reference()).collect();
    for round in 6..=9 {
        assert!(lab.asked().is_empty(), "its coin is in round 9");
        let mut layer = Vec::new();
        for author in 0..4 {
            let parents = own_first(author, &before);
            let header = header_on(&lab.epoch, round, author, parents);
            let items: &[&str] = if (round, author) == (6, 2) {
                &["a"]
            } else {
                &[]
            };
            let vertex = vertex_of(&lab.epoch, header, items);
            lab.receive(author, &vertex);
            layer.push(*vertex.reference());
        }
        before = layer;
    }
    let asked: Vec<u64> = lab.asked().iter().map(|(round, _)| *round).collect();
    assert_eq!(asked, [1, 2, 3, 4, 5, 6]);
    let batches = lab.count(|effect| matches!(effect, Effect::CombineCoins(_)));
    assert_eq!(batches, 1, "together");
}

#[test]
fn coins_that_nobody_wants_are_made_at_a_heartbeat_so_that_all_come_to_the_same_log() {
    let mut lab = Lab::with(fixture::epoch(4, 4), None);
    lab.receive_all(&layers(&lab.epoch, &[0, 1, 2, 3], 5));
    assert!(lab.asked().is_empty());
    lab.pass(Tuning::default().heartbeat_us);
    let asked: Vec<u64> = lab.asked().iter().map(|(round, _)| *round).collect();
    assert_eq!(asked, [1, 2]);
}

#[test]
fn commits_are_chained_ordered_and_hold_each_vertex_once() {
    let mut lab = Lab::seeded();
    lab.core.own = None;
    lab.receive_all(&layers(&lab.epoch, &[0, 1, 2, 3], 20));
    let (mut digest, mut index, mut time) = (Digest::ZERO, 0, START);
    let mut seen = std::collections::BTreeSet::new();
    for cone in lab.commits() {
        let commit = &cone.commit;
        index += 1;
        assert_eq!(
            (commit.index, commit.previous),
            (CommitIndex(index), digest)
        );
        assert!(commit.vertices.windows(2).all(|pair| pair[0] < pair[1]));
        assert!(commit.vertices.contains(&commit.leader));
        assert!(commit.time >= time);
        assert_eq!(commit.coin, None);
        for reference in &commit.vertices {
            assert!(seen.insert(*reference));
        }
        (digest, time) = (cone.digest, commit.time);
    }
    assert!(index > 20);
}

#[test]
fn the_commits_time_is_the_median_of_the_leaders_parents() {
    // Every vertex of round r says START + r: so a leader of round r has parents that say START + r − 1.
    let mut lab = Lab::seeded();
    lab.core.own = None;
    lab.receive_all(&layers(&lab.epoch, &[0, 1, 2, 3], 12));
    for cone in lab.commits() {
        let round = cone.commit.leader.round.0;
        let expected = if round == 1 {
            START.0
        } else {
            START.0 + round - 1
        };
        assert_eq!(cone.commit.time.0, expected);
    }
}

#[test]
fn a_late_lower_round_vertex_is_not_dropped_by_the_lineariser() {
    let mut lab = Lab::seeded();
    lab.core.own = None;
    let others = layers(&lab.epoch, &[0, 1, 2], 12);
    lab.receive_all(&others[..8]);
    let committed = lab.core.last_commit().leader_round;
    assert!(
        committed > Round(2),
        "rounds around it are committed already"
    );
    let late = vertex(&lab.epoch, 2, 3, &late_parents(&lab.epoch, &others));
    let first = vertex(
        &lab.epoch,
        1,
        3,
        &own_first(3, lab.epoch.virtual_vertices()),
    );
    lab.receive(3, &first);
    lab.receive(3, &late);
    // Everyone links it weakly from round 9 on.
    let mut before = refs(&others[7]);
    for round in 9..=16 {
        let mut layer = Vec::new();
        for author in 0..3 {
            let mut parents = own_first(author, &before);
            if round == 9 {
                parents.push(*late.reference());
            }
            let next = vertex(&lab.epoch, round, author, &parents);
            lab.receive(author, &next);
            layer.push(*next.reference());
        }
        before = layer;
    }
    let holds = |reference: &VertexRef| {
        let commits = lab.commits();
        commits
            .iter()
            .filter(|cone| cone.commit.vertices.contains(reference))
            .count()
    };
    assert_eq!((holds(late.reference()), holds(first.reference())), (1, 1));
}

fn late_parents(epoch: &EpochData, others: &[Vec<ValidVertex>]) -> Vec<VertexRef> {
    let own = vertex(epoch, 1, 3, &own_first(3, epoch.virtual_vertices()));
    let mut parents = vec![*own.reference()];
    parents.extend(refs(&others[0]));
    parents
}

#[test]
fn twins_are_left_out_whole_and_never_panic() {
    let mut lab = Lab::seeded();
    lab.core.own = None;
    let first = layers(&lab.epoch, &[0, 1, 2, 3], 1);
    let other = twin(&lab.epoch, &first[0][3], 1);
    lab.receive_all(&first);
    lab.receive(3, &other);
    // Half of round 2 builds on the one, half on the other.
    let mut with_other = refs(&first[0]);
    with_other[3] = *other.reference();
    let mut before: Vec<VertexRef> = Vec::new();
    for author in 0..4 {
        let parents = if author % 2 == 0 {
            refs(&first[0])
        } else {
            with_other.clone()
        };
        let own = if author == 3 {
            with_other.clone()
        } else {
            parents
        };
        let next = vertex(&lab.epoch, 2, author, &own_first(author, &own));
        lab.receive(author, &next);
        before.push(*next.reference());
    }
    for round in 3..=12 {
        let mut layer = Vec::new();
        for author in 0..4 {
            let next = vertex(&lab.epoch, round, author, &own_first(author, &before));
            lab.receive(author, &next);
            layer.push(*next.reference());
        }
        before = layer;
    }
    let all: Vec<VertexRef> = lab
        .commits()
        .iter()
        .flat_map(|c| c.commit.vertices.to_vec())
        .collect();
    let of_slot = all
        .iter()
        .filter(|v| v.round == Round(1) && v.author == ValidatorIndex(3));
    assert_eq!(of_slot.count(), 1);
    assert_eq!(lab.count(|e| matches!(e, Effect::Equivocation(_))), 1);
}

#[test]
fn the_graph_is_kept_while_certificates_are_withheld_and_dropped_once_they_come() {
    let mut lab = Lab::seeded();
    lab.core.own = None;
    lab.receive_all(&layers(&lab.epoch, &[0, 1, 2, 3], 6 * G));
    assert!(lab.core.gc_round() > Round(4 * G));
    assert_eq!(lab.core.lowest_kept(), Round(1));
    let last = *lab.core.last_commit();
    lab.handle(Event::Certified {
        leader_round: last.leader_round,
        commit_index: last.index,
    });
    assert_eq!(lab.core.lowest_kept(), last.leader_round.back(3 * G));
    assert_eq!(lab.core.lowest_kept(), lab.core.gc_round().back(2 * G));
}

#[test]
fn the_committed_set_is_pruned() {
    let mut lab = Lab::seeded();
    lab.core.own = None;
    lab.receive_all(&layers(&lab.epoch, &[0, 1, 2, 3], 4 * G));
    let gc = lab.core.gc_round();
    let slot = |round: Round| VertexRef {
        round,
        ..fixture::reference(&lab.epoch, 1, 1)
    };
    assert_eq!(lab.core.graph.committed_at(&slot(gc)), None);
    assert!(lab.core.graph.committed_at(&slot(gc.next())).is_some());
}

// ── §7 equivocation ─────────────────────────────────────────────────────────────────────────────────────────────────

#[test]
fn evidence_is_kept_spread_and_handed_over_once() {
    let mut lab = Lab::new();
    let first = layers(&lab.epoch, &[1, 2, 3], 1);
    lab.receive(3, &first[0][2]);
    lab.receive(2, &twin(&lab.epoch, &first[0][2], 1));
    lab.receive(2, &twin(&lab.epoch, &first[0][2], 2));
    let counts = |lab: &Lab| {
        [
            lab.count(|e| matches!(e, Effect::PersistEvidence(_))),
            lab.count(|e| matches!(e, Effect::Broadcast(Message::Evidence(_)))),
            lab.count(|e| matches!(e, Effect::Equivocation(_))),
        ]
    };
    assert_eq!(counts(&lab), [1, 1, 1]);
    let evidence = UncheckedEvidence::from(lab.core.evidence()[0].clone());
    lab.message(1, Message::Evidence(evidence));
    assert_eq!(counts(&lab), [1, 1, 1]);
}

#[test]
fn evidence_from_a_peer_is_checked() {
    let mut lab = Lab::new();
    let first = layers(&lab.epoch, &[1, 2, 3], 1);
    let other = twin(&lab.epoch, &first[0][2], 1);
    let mut evidence = UncheckedEvidence {
        first: first[0][2].signed_header().clone(),
        second: other.signed_header().clone(),
    };
    evidence.second.header.timestamp.0 += 5;
    lab.message(1, Message::Evidence(evidence.clone()));
    let bad = |effect: &Effect| {
        matches!(
            effect,
            Effect::Misbehaved {
                peer: ValidatorIndex(1),
                reason: Misbehaviour::BadEvidence
            }
        )
    };
    assert_eq!(lab.count(bad), 1);
    evidence.second = other.signed_header().clone();
    lab.message(2, Message::Evidence(evidence));
    assert!(lab.core.graph.is_exposed(ValidatorIndex(3)));
    assert_eq!(lab.count(bad), 1);
}

#[test]
fn who_lacks_evidence_is_sent_it_on_its_frontier() {
    let mut lab = Lab::new();
    let first = layers(&lab.epoch, &[1, 2, 3], 1);
    lab.receive(3, &first[0][2]);
    lab.receive(2, &twin(&lab.epoch, &first[0][2], 1));
    let frontier = |exposed: u128| {
        let rounds: Bounded<Round, 128> = vec![Round(0); 4].try_into().unwrap();
        Message::Frontier(Frontier { rounds, exposed })
    };
    let sent = |lab: &Lab| {
        lab.count(|effect| {
            let Effect::Send { message, .. } = effect else {
                return false;
            };
            matches!(message, Message::Evidence(_))
        })
    };
    lab.message(1, frontier(1 << 3));
    assert_eq!(sent(&lab), 0);
    lab.message(1, frontier(0));
    assert_eq!(sent(&lab), 1);
    let most = (SERVED_BYTES_BURST / SERVED_BYTES_MIN) as usize;
    for _ in 0..2 * most {
        lab.message(1, frontier(0));
    }
    assert!(sent(&lab) <= most, "within the peer's quota");
}

#[test]
fn two_variants_of_a_slot_by_push_and_more_only_where_needed() {
    let mut lab = Lab::new();
    let first = layers(&lab.epoch, &[1, 2, 3], 1);
    let twins: Vec<ValidVertex> = (1..4).map(|n| twin(&lab.epoch, &first[0][2], n)).collect();
    lab.receive_all(&first);
    lab.receive(3, &twins[0]);
    lab.receive(3, &twins[1]);
    assert!(lab.accepted(&twins[0]));
    assert!(!lab.accepted(&twins[1]), "the third isn't needed");
    // A vertex that links it needs it.
    let mut parents = own_first(1, &refs(&first[0]));
    parents[2] = *twins[1].reference();
    let needs = vertex(&lab.epoch, 2, 1, &parents);
    lab.receive(1, &needs);
    lab.receive(1, &twins[1]);
    lab.pass(100_000);
    assert!(lab.accepted(&needs) && lab.accepted(&twins[1]));
}

#[test]
fn further_variants_come_under_their_authors_quota() {
    let mut lab = Lab::with(fixture::epoch(4, 4), None);
    let first = layers(&lab.epoch, &[0, 1, 2, 3], 1);
    lab.receive_all(&first);
    let many = 2 * EXTRA_VARIANTS_BURST;
    for n in 1..=many {
        // The liars 2 and 3 work together: each variant is made needed by another one.
        let variant = twin(&lab.epoch, &first[0][3], n);
        let mut parents = own_first(2, &refs(&first[0]));
        parents[3] = *variant.reference();
        let needs = vertex(&lab.epoch, 2, 2, &parents);
        lab.receive(2, &needs);
        lab.receive(2, &variant);
    }
    lab.pass(50_000);
    let round = |lab: &Lab| lab.core.graph.variants(Round(1), ValidatorIndex(3)).count() as u64;
    assert!(
        round(&lab) <= 2 + EXTRA_VARIANTS_BURST + 4,
        "{}",
        round(&lab)
    );
}

// ── §8 synchroniser ─────────────────────────────────────────────────────────────────────────────────────────────────

#[test]
fn a_vertex_far_above_is_deferred_and_what_lies_between_fetched_from_below() {
    let mut lab = Lab::with(fixture::epoch(4, 4), None);
    let far = NOVELTY_ROUNDS_MAX + 5;
    let layers = layers(&lab.epoch, &[0, 1, 2, 3], far);
    lab.receive(2, &layers[far as usize - 1][1]);
    assert!(
        !lab.core
            .suspended
            .contains(layers[far as usize - 1][1].reference())
    );
    let (to, request) = lab.requests()[0];
    assert_eq!(to, 2);
    assert!(request.wanted.is_empty());
    assert_eq!(request.above.as_deref(), Some(&vec![Round(0); 4][..]));
    lab.receive_all(&layers);
    assert!(layers.iter().flatten().all(|vertex| lab.accepted(vertex)));
}

#[test]
fn a_request_is_answered_lowest_round_first_and_a_flood_only_slows_its_sender() {
    let mut lab = Lab::with(fixture::epoch(4, 4), None);
    let layers = layers(&lab.epoch, &[0, 1, 2, 3], 10);
    lab.receive_all(&layers);
    let request = |above: u64| {
        Message::Request(Request {
            wanted: Bounded::default(),
            above: Some(vec![Round(above); 4].try_into().unwrap()),
        })
    };
    lab.message(1, request(7));
    let Some(Effect::Send {
        to,
        message: Message::Vertices(vertices),
    }) = lab.effects.last()
    else {
        panic!("an answer")
    };
    assert_eq!(to.0, 1);
    let expected: Vec<_> = layers[7..]
        .iter()
        .flatten()
        .map(|v| v.bytes().clone())
        .collect();
    assert_eq!(*vertices, expected);
    let before = lab.answers();
    let most = (SERVED_BYTES_BURST / SERVED_BYTES_MIN) as usize;
    for _ in 0..2 * most {
        lab.message(1, request(7));
    }
    assert!(lab.answers() - before <= most);
    let before = lab.answers();
    lab.message(2, request(7));
    assert_eq!(lab.answers() - before, 1, "and nobody else");
}

#[test]
fn large_answers_that_are_asked_for_all_the_time_come_no_faster_than_the_quota_allows() {
    let mut lab = Lab::with(fixture::epoch(4, 4), None);
    let large = "x".repeat(512 << 10);
    let mut parents = lab.epoch.virtual_vertices().to_vec();
    for round in 1..=2 {
        let layer: Vec<ValidVertex> = (0..4)
            .map(|author| {
                let parents = own_first(author, &parents);
                let header = header_on(&lab.epoch, round, author, parents);
                vertex_of(&lab.epoch, header, &[&large])
            })
            .collect();
        parents = refs(&layer);
        lab.receive_all(&[layer]);
    }
    let request = || {
        Message::Request(Request {
            wanted: Bounded::default(),
            above: Some(vec![Round(0); 4].try_into().unwrap()),
        })
    };
    let sent = |lab: &Lab| -> u64 {
        let messages = lab.effects.iter().filter_map(|effect| match effect {
            Effect::Send {
                message: Message::Vertices(vertices),
                ..
            } => Some(vertices),
            _ => None,
        });
        let bytes = messages.flatten().map(|vertex| vertex.len() as u64);
        bytes.sum()
    };
    lab.message(2, request());
    let answer = sent(&lab);
    assert!(answer >= ANSWER_BYTES_MAX as u64, "a large one: {answer}");
    // For two seconds, one request every two milliseconds: enough for a gigabyte a second.
    for _ in 0..1_000 {
        lab.pass(2_000);
        lab.message(1, request());
    }
    let allowed = SERVED_BYTES_BURST + 2 * SERVED_BYTES_PER_SECOND;
    let got = sent(&lab) - answer;
    assert!(got <= allowed + answer, "{got} bytes, not {allowed}");
    assert!(got >= allowed / 10 * 9, "{got} bytes, of {allowed}");
    // The debt is one answer at most, and soon paid.
    lab.pass(1_000_000 * answer / SERVED_BYTES_PER_SECOND + 10_000);
    let before = lab.answers();
    lab.message(1, request());
    assert_eq!(lab.answers() - before, 1);
}

#[test]
fn a_request_costs_its_quota_before_any_work_is_done_for_it() {
    let mut lab = Lab::with(fixture::epoch(4, 4), None);
    lab.receive_all(&layers(&lab.epoch, &[0, 1, 2, 3], 10));
    // It lags where there is nothing to be had: every answer is empty.
    let request = || {
        Message::Request(Request {
            wanted: Bounded::default(),
            above: Some(vec![Round(u64::MAX); 4].try_into().unwrap()),
        })
    };
    for _ in 0..SERVED_BYTES_BURST / SERVED_BYTES_MIN {
        lab.message(1, request());
    }
    assert_eq!(lab.answers(), 0);
    let above = Some(vec![Round(7); 4].try_into().unwrap());
    let wanted = Bounded::default();
    lab.message(1, Message::Request(Request { wanted, above }));
    assert_eq!(lab.answers(), 0, "its quota is spent");
}

#[test]
fn an_author_without_vertices_adds_nothing_to_what_is_looked_through() {
    let mut lab = Lab::with(fixture::epoch(4, 4), None);
    let layers = layers(&lab.epoch, &[0, 1, 2], 10);
    lab.receive_all(&layers);
    let above = [Round(10), Round(9), Round(10), Round(0)];
    let expected = [*layers[9][1].reference()];
    assert_eq!(lab.core.above(&above), expected, "validator 3 made none");
    assert!(lab.core.above(&[Round(10); 4]).is_empty());
}

#[test]
fn who_asks_for_what_is_gone_is_told_and_who_is_told_catches_up_by_commits() {
    let mut lab = Lab::seeded();
    lab.core.own = None;
    lab.receive_all(&layers(&lab.epoch, &[0, 1, 2, 3], 6 * G));
    let last = *lab.core.last_commit();
    lab.handle(Event::Certified {
        leader_round: last.leader_round,
        commit_index: last.index,
    });
    let request = Request {
        wanted: Bounded::default(),
        above: Some(vec![Round(3); 4].try_into().unwrap()),
    };
    lab.message(2, Message::Request(request));
    let Some(Effect::Send {
        message: Message::Pruned(floor),
        ..
    }) = lab.effects.last()
    else {
        panic!("an answer")
    };
    assert_eq!(*floor, lab.core.lowest_kept());

    let mut laggard = Lab::seeded();
    let rounds: Bounded<Round, 128> = vec![Round(6 * G); 4].try_into().unwrap();
    let behind = |lab: &Lab| lab.count(|e| matches!(e, Effect::Behind { .. }));
    laggard.message(2, Message::Pruned(*floor));
    assert_eq!(behind(&laggard), 0, "nothing was asked");
    laggard.message(2, Message::Frontier(Frontier { rounds, exposed: 0 }));
    laggard.message(2, Message::Pruned(*floor));
    assert_eq!(behind(&laggard), 1);
}

#[test]
fn a_frontier_of_another_size_is_refused() {
    let mut lab = Lab::new();
    let rounds: Bounded<Round, 128> = vec![Round(1); 5].try_into().unwrap();
    lab.message(
        1,
        Message::Frontier(Frontier {
            rounds: rounds.clone(),
            exposed: 0,
        }),
    );
    let above = Some(rounds);
    let wanted = Bounded::default();
    lab.message(1, Message::Request(Request { wanted, above }));
    assert_eq!(lab.count(|e| matches!(e, Effect::Misbehaved { .. })), 2);
}

#[test]
fn a_heartbeat_is_slow_and_says_how_far_one_reaches() {
    let mut lab = Lab::new();
    let beats = |lab: &Lab| lab.count(|e| matches!(e, Effect::Broadcast(Message::Frontier(_))));
    let before = beats(&lab);
    for _ in 0..100 {
        lab.pass(100_000);
    }
    assert_eq!(beats(&lab) - before, 10);
}

// ── §9 restart, replica.md §4b adoption ─────────────────────────────────────────────────────────────────────────────

/// What validator 0 would have journaled of these rounds.
fn commits_of(
    epoch: &Arc<EpochData>,
    layers: &[Vec<ValidVertex>],
) -> Vec<(Commit, Vec<ValidVertex>)> {
    let mut lab = Lab::with((**epoch).clone(), None);
    lab.receive_all(layers);
    let commits = lab.commits().into_iter();
    commits
        .map(|cone| (cone.commit.clone(), cone.vertices.clone()))
        .collect()
}

#[test]
fn a_restart_gives_out_again_what_was_decided_and_not_journaled_and_nothing_else() {
    let lab = Lab::seeded();
    let layers = layers(&lab.epoch, &[0, 1, 2, 3], 20);
    let commits = commits_of(&lab.epoch, &layers);
    for journaled in [0, 1, 7, commits.len()] {
        let mut core = Core::new(
            lab.epoch.clone(),
            Some(ValidatorIndex(0)),
            Tuning::default(),
        );
        for vertex in layers.iter().flatten() {
            core.restore_vertex(vertex.clone());
        }
        for (commit, _) in &commits[..journaled] {
            core.restore_commit(commit).unwrap();
        }
        core.start(lab.now);
        let mut again = Vec::new();
        while let Some(effect) = core.poll() {
            match effect {
                Effect::Commit(cone) => again.push(cone.commit),
                Effect::Persist(_) => panic!("journaled already"),
                _ => {}
            }
        }
        let expected: Vec<_> = commits[journaled..]
            .iter()
            .map(|(c, _)| c.clone())
            .collect();
        assert_eq!(again, expected, "{journaled} journaled");
        assert_eq!(
            core.own_newest().unwrap().round,
            Round(20),
            "above which it stays"
        );
    }
}

#[test]
fn a_journal_that_does_not_follow_is_refused() {
    let lab = Lab::seeded();
    let commits = commits_of(&lab.epoch, &layers(&lab.epoch, &[0, 1, 2, 3], 12));
    let mut core = Core::new(lab.epoch.clone(), None, Tuning::default());
    core.restore_commit(&commits[3].0).unwrap();
    let chain = |found: &Commit| {
        Err(RestoreError::Chain {
            last: CommitIndex(4),
            found: found.index,
        })
    };
    assert_eq!(core.restore_commit(&commits[3].0), chain(&commits[3].0));
    assert_eq!(core.restore_commit(&commits[5].0), chain(&commits[5].0));
    let mut other = commits[4].0.clone();
    other.previous = Digest::ZERO;
    assert_eq!(core.restore_commit(&other), chain(&other));
    let mut other = commits[4].0.clone();
    other.epoch.0 = 9;
    assert_eq!(
        core.restore_commit(&other),
        Err(RestoreError::Epoch(other.index))
    );
    assert_eq!(core.restore_commit(&commits[4].0), Ok(()));
}

#[test]
fn adopted_commits_are_taken_as_they_are_and_the_rule_goes_on_after_them() {
    let epoch = Lab::seeded().epoch;
    let layers = layers(&epoch, &[0, 1, 2, 3], 30);
    let commits = commits_of(&epoch, &layers);
    let mut lab = Lab::with((*epoch).clone(), None);
    let half = 20;
    lab.handle(Event::Adopt {
        commits: commits[..half].to_vec(),
    });
    assert_eq!(lab.commits().len(), 0, "no commit of its own");
    assert_eq!(lab.core.last_commit().index, CommitIndex(half as u64));
    let known: usize = commits[..half].iter().map(|(_, v)| v.len()).sum();
    assert_eq!(lab.count(|e| matches!(e, Effect::Persist(_))), known);
    lab.receive_all(&layers);
    let rest: Vec<_> = lab
        .commits()
        .iter()
        .map(|cone| cone.commit.clone())
        .collect();
    let expected: Vec<_> = commits[half..].iter().map(|(c, _)| c.clone()).collect();
    assert_eq!(rest, expected);
}

#[test]
fn an_own_vertex_in_an_adopted_commit_that_the_journal_lacks_is_amnesia() {
    let epoch = Lab::seeded().epoch;
    let commits = commits_of(&epoch, &layers(&epoch, &[0, 1, 2, 3], 20));
    let mut lab = Lab::seeded();
    lab.handle(Event::Adopt { commits });
    assert_eq!(lab.count(|effect| matches!(effect, Effect::Amnesia(_))), 1);
    lab.wants(true);
    assert_eq!(
        lab.proposal(),
        None,
        "it may have made later rounds as well"
    );
}

#[test]
fn what_was_adopted_before_is_passed_over_and_a_fork_is_named() {
    let epoch = Lab::seeded().epoch;
    let commits = commits_of(&epoch, &layers(&epoch, &[0, 1, 2, 3], 20));
    let mut lab = Lab::with((*epoch).clone(), None);
    let offer = |range: std::ops::Range<usize>| Event::Adopt {
        commits: commits[range].to_vec(),
    };
    lab.handle(offer(0..5));
    lab.handle(offer(0..5));
    lab.handle(offer(2..8));
    assert_eq!(lab.core.last_commit().index, CommitIndex(8));
    let gap = |e: &Effect| {
        matches!(
            e,
            Effect::Behind {
                reason: BehindReason::Gap,
                ..
            }
        )
    };
    lab.handle(offer(10..12));
    assert_eq!(
        (lab.count(gap), lab.core.last_commit().index),
        (1, CommitIndex(8))
    );
    let mut forked = commits[8..10].to_vec();
    forked[0].0.previous = Digest::ZERO;
    lab.handle(Event::Adopt { commits: forked });
    let mut back = commits[8..10].to_vec();
    back[1].0.time = TimeMs(0);
    lab.handle(Event::Adopt { commits: back });
    assert_eq!(
        lab.core.last_commit().index,
        CommitIndex(8),
        "nothing of it was taken"
    );
    assert_eq!(lab.count(|e| matches!(e, Effect::Forked(_))), 2);
}

#[test]
fn a_joiner_adopts_the_commits_above_gc_alone_and_commits_what_others_do() {
    // It has never seen the beginning: the records back to the last leader at or below gc are enough.
    let epoch = Lab::seeded().epoch;
    let layers = layers(&epoch, &[0, 1, 2, 3], 3 * G);
    let commits = commits_of(&epoch, &layers);
    let last = commits
        .iter()
        .position(|(c, _)| c.leader.round == Round(2 * G + 10))
        .unwrap();
    let gc = Round(2 * G + 10 - G);
    let first = commits
        .iter()
        .rposition(|(c, _)| c.leader.round <= gc)
        .unwrap();
    let mut lab = Lab::with((*epoch).clone(), None);
    let offer = |range: std::ops::RangeInclusive<usize>| Event::Adopt {
        commits: commits[range].to_vec(),
    };
    lab.handle(offer(first + 2..=last));
    assert_eq!(
        lab.core.last_commit().index,
        CommitIndex(0),
        "one record short"
    );
    lab.pass(2_000_000);
    lab.handle(offer(first..=last));
    assert_eq!(lab.core.last_commit().index, commits[last].0.index);
    assert_eq!(lab.core.gc_round(), gc);
    lab.receive_all(&layers[gc.0 as usize..]);
    let rest: Vec<_> = lab
        .commits()
        .iter()
        .map(|cone| cone.commit.clone())
        .collect();
    let expected: Vec<_> = commits[last + 1..].iter().map(|(c, _)| c.clone()).collect();
    assert_eq!(rest, expected);
}

#[test]
fn a_joiner_asks_its_way_down_old_cones_and_goes_over_all_of_them_seldom() {
    let epoch = Lab::seeded().epoch;
    let layers = layers(&epoch, &[0, 1, 2, 3], 4 * G);
    let commits = commits_of(&epoch, &layers);
    let at = |round: u64| {
        let found = (commits.iter()).position(|(c, _)| c.leader.round == Round(round));
        found.unwrap()
    };
    let mut lab = Lab::with((*epoch).clone(), None);
    lab.handle(Event::Adopt {
        commits: commits[at(2 * G)..=at(3 * G)].to_vec(),
    });
    assert_eq!(lab.core.gc_round(), Round(2 * G));
    assert!(
        lab.core.graph.is_incomplete(),
        "it lacks what lies below gc"
    );
    let (mut answered, mut brought) = (0, 0);
    for _ in 0..10 * G {
        lab.pass(10_000);
        let wanted: Vec<(u16, VertexRef)> = (lab.requests()[answered..].iter())
            .flat_map(|(to, request)| request.wanted.iter().map(|wanted| (*to, *wanted)))
            .collect();
        answered = lab.requests().len();
        brought += wanted.len();
        for (from, wanted) in wanted {
            let layer = &layers[wanted.round.0 as usize - 1];
            lab.receive(from, &layer[wanted.author.as_usize()]);
        }
    }
    assert!(!lab.core.graph.is_incomplete(), "all of its cones are here");
    assert!(brought > 3 * G as usize, "layer after layer: {brought}");
    let walks = lab.core.graph.walks;
    assert!(walks < brought / 4, "{walks} walks for {brought} vertices");
}

#[test]
fn the_next_own_round_follows_the_own_vertex_or_a_leader_that_gc_came_from() {
    let epoch = Lab::seeded().epoch;
    let layers = layers(&epoch, &[1, 2, 3], 3 * G);
    let commits = commits_of(&epoch, &layers);
    let mut lab = Lab::with((*epoch).clone(), Some(0));
    lab.handle(Event::Adopt {
        commits: commits.clone(),
    });
    let leader = commits.last().unwrap().0.leader.round;
    lab.handle(Event::Certified {
        leader_round: leader,
        commit_index: commits.last().unwrap().0.index,
    });
    lab.wants(true);
    lab.pass(100_000);
    let proposal = lab.proposal().unwrap();
    assert_eq!(proposal.round, leader);
    assert!(lab.epoch.is_detached(proposal.round, &proposal.parents[0]));
    let own = lab.make(&["back"]);
    assert!(lab.accepted(&own));
}

#[test]
fn an_own_vertex_that_gc_overtakes_while_it_is_made_is_journaled_and_returned_but_not_sent() {
    let epoch = Lab::seeded().epoch;
    let layers = layers(&epoch, &[1, 2, 3], 3 * G);
    let commits = commits_of(&epoch, &layers);
    let mut lab = Lab::with((*epoch).clone(), Some(0));
    lab.wants(true);
    lab.pass(100_000);
    assert_eq!(lab.proposal().unwrap().round, Round(1));
    let end = commits.last().unwrap().0.clone();
    lab.handle(Event::Adopt { commits });
    lab.handle(Event::Certified {
        leader_round: end.leader.round,
        commit_index: end.index,
    });
    assert!(lab.core.gc_round() > Round(1));
    lab.effects.clear();
    let own = lab.make(&["late"]);
    let is_own = |vertex: &ValidVertex| vertex.reference() == own.reference();
    let journaled = |e: &Effect| matches!(e, Effect::Persist(vertex) if is_own(vertex));
    let returned =
        |e: &Effect| matches!(e, Effect::Returned(vertices) if vertices.iter().all(is_own));
    assert_eq!((lab.count(journaled), lab.count(returned)), (1, 1));
    lab.durable(&own);
    let sent = |e: &Effect| {
        let Effect::Broadcast(Message::Vertices(vertices)) = e else {
            return false;
        };
        vertices.contains(own.bytes())
    };
    assert_eq!(lab.count(sent), 0, "its items go into another vertex");
    lab.wants(true);
    lab.pass(100_000);
    assert!(lab.proposal().is_some(), "and it goes on");
}

#[test]
#[should_panic(expected = "start comes before events")]
fn events_before_the_start_are_a_bug_of_the_caller() {
    let epoch = Arc::new(fixture::epoch(4, 4));
    let mut core = Core::new(epoch, None, Tuning::default());
    core.handle(Now::default(), Event::Tick);
}
