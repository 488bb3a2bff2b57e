//! Going on after the journal was lost (consensus.md §9): validator 0 of four, so Q = 3 is all the others, f + 1 = 2.

use super::*;
use crate::message::{RejoinAnswer, RejoinNonce};

const NONCE: RejoinNonce = RejoinNonce([7; 32]);

/// A life of validator 0 that found no journal and asks.
fn asking() -> Lab {
    let mut lab = Lab::unstarted(fixture::epoch(4, 4), Some(0), Tuning::default());
    lab.core.forget();
    lab.core.ask_to_rejoin(NONCE);
    lab.core.start(lab.now);
    lab.handle(Event::Tick);
    lab
}

/// What the lost life and the others made: the lost life is in rounds 1 to `own`, the others to `upto`.
fn history(lab: &Lab, own: u64, upto: u64) -> Vec<Vec<ValidVertex>> {
    let mut history = layers(&lab.epoch, &[0, 1, 2, 3], own);
    let mut before = refs(history.last().unwrap());
    for round in own + 1..=upto {
        let make = |author: u16| {
            let parents = own_first(author, &before);
            vertex(&lab.epoch, round, author, &parents)
        };
        let layer: Vec<ValidVertex> = [1, 2, 3].map(make).into();
        before = refs(&layer);
        history.push(layer);
    }
    history
}

impl Lab {
    fn answer(&mut self, from: u16, newest: &ValidVertex, of_asker: Option<&ValidVertex>) {
        let answer = RejoinAnswer {
            nonce: NONCE,
            newest: *newest.reference(),
            of_asker: of_asker.map(|vertex| *vertex.reference()),
        };
        self.message(from, Message::RejoinAnswer(answer));
    }

    /// One that says that it and the asker have made nothing.
    fn denial(&mut self, from: u16) {
        let answer = RejoinAnswer {
            nonce: NONCE,
            newest: self.epoch.virtual_vertices()[from as usize],
            of_asker: None,
        };
        self.message(from, Message::RejoinAnswer(answer));
    }

    fn floors(&self) -> Vec<u64> {
        let floors = self.effects.iter().filter_map(|effect| match effect {
            Effect::Rejoin { floor } => Some(floor.0),
            _ => None,
        });
        floors.collect()
    }

    /// Makes the floor durable.
    fn rejoined(&mut self) -> u64 {
        let floor = *self.floors().last().unwrap();
        let floor = Round(floor);
        self.handle(Event::Rejoined { floor });
        floor.0
    }

    fn rejoin_answers(&self) -> Vec<(u16, RejoinAnswer)> {
        let answers = self.effects.iter().filter_map(|effect| match effect {
            Effect::Send {
                to,
                message: Message::RejoinAnswer(answer),
            } => Some((to.0, *answer)),
            _ => None,
        });
        answers.collect()
    }

    fn questions(&self) -> Vec<u16> {
        let questions = self.effects.iter().filter_map(|effect| match effect {
            Effect::Send {
                to,
                message: Message::RejoinQuestion(_),
            } => Some(to.0),
            _ => None,
        });
        questions.collect()
    }
}

#[test]
fn once_q_others_have_answered_it_goes_on_above_all_that_its_lost_life_can_have_made() {
    let mut lab = asking();
    assert_eq!(lab.questions(), [1, 2, 3]);
    let history = history(&lab, 5, 6);
    lab.receive_all(&history);
    lab.wants(true);
    let (newest, own) = (&history[5], &history[4][0]);
    for from in [1, 2, 3] {
        assert_eq!((lab.floors(), lab.proposal()), (vec![], None));
        lab.answer(from, &newest[from as usize - 1], Some(own));
    }
    assert_eq!(lab.floors(), [7], "one round above the highest");
    lab.wants(true);
    assert_eq!(lab.proposal(), None, "not before that is durable");
    lab.rejoined();
    assert_eq!(lab.proposal(), None, "round 8 needs a quorum in round 7");
    lab.receive_all(&layers_on(&lab.epoch, &refs(newest), 7));
    lab.pass(Tuning::default().author_wait_us);
    let proposal = lab.proposal().unwrap();
    assert_eq!(proposal.round, Round(8));
    assert_eq!(
        proposal.parents[0],
        *own.reference(),
        "its newest vertex is the own parent"
    );
    assert_eq!(lab.floors().len(), 1, "given out once");
}

/// The others' vertices of a round.
fn layers_on(epoch: &EpochData, before: &[VertexRef], round: u64) -> Vec<Vec<ValidVertex>> {
    let make = |author: u16| vertex(epoch, round, author, &own_first(author, before));
    vec![[1, 2, 3].map(make).into()]
}

#[test]
fn a_liar_and_a_laggard_alone_do_not_lead_it_to_make_a_twin() {
    // The lost life got to round 5 with 1 and 3; 2 has seen rounds 1 and 2 only; 3 denies everything; 1 is away.
    let mut lab = asking();
    let epoch = lab.epoch.clone();
    let early = layers(&epoch, &[0, 1, 2, 3], 2);
    let mut before = refs(&early[1]);
    before.retain(|parent| parent.author != ValidatorIndex(2));
    let mut late = Vec::new();
    for round in 3..=5 {
        let make = |author: u16| vertex(&epoch, round, author, &own_first(author, &before));
        let layer: Vec<ValidVertex> = [0, 1, 3].map(make).into();
        before = refs(&layer);
        late.push(layer);
    }
    lab.receive_all(&early);
    lab.wants(true);
    lab.answer(2, &early[1][2], Some(&early[1][0]));
    lab.denial(3);
    // With f + 1 answers: floor 3, and so a twin of round 4 or 5.
    assert_eq!(lab.floors(), Vec::<u64>::new(), "f + 1 is not enough");
    lab.receive_all(&late);
    lab.answer(1, &late[2][1], Some(&late[2][0]));
    assert_eq!(lab.floors(), [6]);
}

#[test]
fn who_names_a_vertex_that_is_not_here_is_heard_once_it_is() {
    let mut lab = asking();
    let history = history(&lab, 2, 3);
    lab.receive_all(&history[..2]);
    for from in [1, 2] {
        lab.answer(from, &history[1][from as usize], Some(&history[1][0]));
    }
    lab.answer(3, &history[2][2], Some(&history[1][0]));
    let rejoining = lab.core.rejoining().unwrap();
    assert_eq!((rejoining.heard.0, rejoining.needed.0), (2, 3));
    assert_eq!(lab.floors(), Vec::<u64>::new());
    lab.receive(3, &history[2][2]);
    assert_eq!(lab.floors(), [4]);
}

#[test]
fn a_round_that_nobody_has_reached_is_never_the_floor() {
    let mut lab = asking();
    let history = history(&lab, 2, 2);
    lab.receive_all(&history);
    let mut invented = *history[1][3].reference();
    invented.round = Round(u64::MAX);
    let newest = invented;
    let (nonce, of_asker) = (NONCE, None);
    let answer = RejoinAnswer {
        nonce,
        newest,
        of_asker,
    };
    lab.message(3, Message::RejoinAnswer(answer));
    for from in [1, 2] {
        lab.answer(from, &history[1][from as usize], Some(&history[1][0]));
    }
    assert_eq!(lab.floors(), Vec::<u64>::new());
    // It is asked again when it comes back, and says something else.
    lab.handle(Event::PeerUp(ValidatorIndex(3)));
    assert_eq!(lab.questions().last(), Some(&3));
    lab.denial(3);
    assert_eq!(lab.floors(), [3]);
}

#[test]
fn answers_to_another_life_or_in_anothers_name_do_not_count() {
    let mut lab = asking();
    let history = history(&lab, 2, 2);
    lab.receive_all(&history);
    let newest = |author: usize| *history[1][author].reference();
    for from in [1, 2, 3] {
        let answer = RejoinAnswer {
            nonce: RejoinNonce([8; 32]),
            newest: newest(from),
            of_asker: None,
        };
        let message = Message::RejoinAnswer(answer);
        lab.message(from as u16, message);
    }
    assert_eq!(lab.floors(), Vec::<u64>::new());
    assert_eq!(lab.core.rejoining().unwrap().heard.0, 0);
    lab.answer(3, &history[1][1], None);
    lab.answer(2, &history[1][2], Some(&history[1][1]));
    let blamed = lab.count(|effect| {
        let reason = Misbehaviour::BadRejoinAnswer;
        matches!(effect, Effect::Misbehaved { reason: r, .. } if *r == reason)
    });
    assert_eq!(blamed, 2);
    assert_eq!(lab.core.rejoining().unwrap().heard.0, 0);
}

#[test]
fn one_validator_counts_once_however_often_it_answers() {
    let mut lab = asking();
    for _ in 0..3 {
        lab.denial(2);
        lab.denial(3);
    }
    assert_eq!(lab.core.rejoining().unwrap().heard.0, 2);
    assert_eq!(lab.floors(), Vec::<u64>::new());
}

#[test]
fn who_is_silent_is_asked_again_with_each_heartbeat() {
    let mut lab = asking();
    lab.denial(2);
    lab.pass(Tuning::default().heartbeat_us);
    assert_eq!(lab.questions(), [1, 2, 3, 1, 3]);
}

#[test]
fn what_the_lost_life_made_is_welcome_later_and_what_lies_above_the_floor_is_not() {
    let mut lab = asking();
    let history = history(&lab, 3, 3);
    lab.receive_all(&history[..2]);
    for from in [1, 2, 3] {
        lab.answer(from, &history[1][from as usize], Some(&history[1][0]));
    }
    // The lost life's vertex of round 3 is still under way.
    assert_eq!(lab.rejoined(), 3);
    lab.receive(1, &history[2][0]);
    assert!(lab.accepted(&history[2][0]));
    assert_eq!(lab.count(|effect| matches!(effect, Effect::Amnesia(_))), 0);
    let stolen = vertex(&lab.epoch, 4, 0, &refs(&history[2]));
    lab.receive(2, &stolen);
    assert_eq!(lab.count(|effect| matches!(effect, Effect::Amnesia(_))), 1);
    lab.wants(true);
    lab.receive_all(&history[2..]);
    lab.receive_all(&layers_on(&lab.epoch, &refs(&history[2]), 4));
    lab.pass(1_000_000);
    assert_eq!(lab.proposal(), None, "and that is for good");
}

#[test]
fn after_a_restart_the_journals_floor_holds() {
    let mut lab = Lab::unstarted(fixture::epoch(4, 4), Some(0), Tuning::default());
    let history = history(&lab, 2, 5);
    for vertex in history[..4].iter().flatten() {
        lab.core.restore_vertex(vertex.clone());
    }
    lab.core.restore_floor(Round(4));
    lab.core.start(lab.now);
    lab.drain();
    lab.wants(true);
    lab.pass(Tuning::default().author_wait_us);
    assert_eq!(
        lab.proposal().unwrap().round,
        Round(5),
        "not 3, which the lost life may have used"
    );
}

#[test]
fn one_that_is_asked_says_how_far_it_is_and_makes_one_vertex_more() {
    let mut lab = Lab::new();
    let first = layers(&lab.epoch, &[1, 2, 3], 1);
    lab.receive_all(&first);
    assert!(lab.proposal().is_some(), "it follows the others to round 1");
    let own = lab.make(&[]);
    lab.durable(&own);
    assert_eq!(lab.proposal(), None, "and then all is quiet");
    lab.message(3, Message::RejoinQuestion(NONCE));
    let expected = RejoinAnswer {
        nonce: NONCE,
        newest: *own.reference(),
        of_asker: Some(*first[0][2].reference()),
    };
    assert_eq!(lab.rejoin_answers(), [(3, expected)]);
    lab.pass(Tuning::default().follow_interval_us);
    let more = lab.make(&[]);
    assert_eq!(more.reference().round, Round(2));
    lab.durable(&more);
    lab.receive_all(&layers_on(
        &lab.epoch,
        &[refs(&first[0]), vec![*own.reference()]].concat(),
        2,
    ));
    lab.pass(10 * Tuning::default().follow_interval_us);
    assert_eq!(lab.proposal(), None, "one, not more");
}

#[test]
fn who_forgot_vouches_for_nobody_before_it_has_made_a_vertex_above_its_floor() {
    let mut lab = asking();
    lab.message(3, Message::RejoinQuestion(NONCE));
    assert_eq!(lab.rejoin_answers(), []);
    for from in [1, 2, 3] {
        lab.denial(from);
    }
    assert_eq!(lab.rejoined(), 1);
    lab.message(3, Message::RejoinQuestion(NONCE));
    assert_eq!(
        lab.rejoin_answers(),
        [],
        "it has a floor, and nothing above it"
    );
    lab.receive_all(&layers(&lab.epoch, &[1, 2, 3], 1));
    lab.pass(Tuning::default().follow_interval_us);
    let own = lab.make(&[]);
    lab.durable(&own);
    lab.message(3, Message::RejoinQuestion(NONCE));
    let answers = lab.rejoin_answers();
    assert_eq!(answers[0].1.newest, *own.reference());
}

#[test]
fn a_follower_answers_nothing() {
    let mut lab = Lab::with(fixture::epoch(4, 4), None);
    lab.message(3, Message::RejoinQuestion(NONCE));
    assert_eq!(lab.rejoin_answers(), []);
}

#[test]
fn questions_are_answered_within_the_askers_quota() {
    let mut lab = Lab::new();
    let quota = SERVED_BYTES_BURST / SERVED_BYTES_MIN;
    for _ in 0..quota + 5 {
        lab.message(3, Message::RejoinQuestion(NONCE));
    }
    assert_eq!(lab.rejoin_answers().len() as u64, quota);
}

#[test]
fn stakes_count_not_heads() {
    // Of 10: f = 3, Q = 7. The others hold 8; 1 and 2 hold 6, which isn't enough.
    let epoch = fixture::epoch_with_stakes(&[2, 3, 3, 2], 4, Election::Seeded);
    let mut lab = Lab::unstarted(epoch, Some(0), Tuning::default());
    lab.core.forget();
    lab.core.ask_to_rejoin(NONCE);
    lab.core.start(lab.now);
    lab.denial(1);
    lab.denial(2);
    assert_eq!(lab.floors(), Vec::<u64>::new());
    lab.denial(3);
    assert_eq!(lab.floors(), [1]);
}
