//! Whole replicas in one process: a network that delays, journals that lose what wasn't synced, a machine that counts.
//!
//! The large simulation, with the store and liars, is `violeta-sim`. This one is small enough to be read in one go, and
//! shows that the parts of this crate fit together: order, persistence, restart, catch-up.

#![expect(
    clippy::unwrap_used,
    reason = "the world of a test stops where it breaks"
)]

mod world;

use bytes::Bytes;
use violeta_consensus::Request;
use violeta_replica::limits::{
    ADOPTED_AHEAD_COMMITS_MAX, LAG_COMMITS_MAX, PART_BYTES_MAX, REATTESTED_HEIGHTS_MAX,
    STORED_WAITING_MAX,
};
use violeta_replica::message::{Heartbeat, Question, RecordsQuestion};
use violeta_replica::{Message, RecordKind};
use violeta_types::{CommitIndex, Height, Round, ValidatorIndex};
use world::{Options, World};

fn item(n: u64) -> Bytes {
    Bytes::from(format!("item {n}"))
}

#[test]
fn what_one_validator_takes_all_execute_and_certify() {
    let mut world = World::new(4, 1, Options::default());
    for n in 0..20 {
        world.submit((n % 4) as usize, vec![item(n)]);
    }
    world.run_ms(3_000);
    world.assert_agreement();
    for node in 0..4 {
        let status = world.status(node);
        assert_eq!(world.executed_items(node), 20, "validator {node}");
        assert_eq!(status.certified, status.executed, "validator {node}");
        assert!(status.certified > Height(0));
        assert_eq!(
            status.mempool_count, 0,
            "what is ordered leaves the mempool"
        );
    }
}

#[test]
fn an_idle_cluster_falls_quiet() {
    let mut world = World::new(4, 2, Options::default());
    world.submit(0, vec![item(1)]);
    world.run_ms(5_000);
    let rounds: Vec<_> = (0..4).map(|node| world.status(node).round).collect();
    world.run_ms(20_000);
    let later: Vec<_> = (0..4).map(|node| world.status(node).round).collect();
    assert_eq!(rounds, later, "no vertex without a reason");
}

#[test]
fn the_same_item_through_all_validators_is_ordered_and_leaves_every_mempool() {
    let mut world = World::new(4, 3, Options::default());
    for node in 0..4 {
        world.submit(node, vec![item(7)]);
    }
    world.run_ms(3_000);
    world.assert_agreement();
    for node in 0..4 {
        assert_eq!(world.executed_items(node), 1, "executed once");
        assert_eq!(world.status(node).mempool_count, 0);
    }
}

#[test]
fn one_crashed_validator_stops_nobody_and_catches_up_when_it_returns() {
    for seed in 10..20 {
        let mut world = World::new(4, seed, Options::default());
        world.submit(0, vec![item(1)]);
        world.run_ms(1_000);
        world.crash(3);
        for n in 2..12 {
            world.submit((n % 3) as usize, vec![item(n)]);
            world.run_ms(200);
        }
        assert_eq!(world.executed_items(0), 11, "seed {seed}");
        world.restart(3);
        world.submit(1, vec![item(99)]);
        world.run_ms(5_000);
        world.assert_agreement();
        assert_eq!(world.executed_items(3), 12, "seed {seed}");
        assert_eq!(world.status(3).certified, world.status(0).certified);
    }
}

#[test]
fn nothing_acknowledged_is_lost_when_all_lose_power_at_once() {
    for seed in 20..40 {
        let mut world = World::new(4, seed, Options::default());
        for n in 0..30 {
            world.submit((n % 4) as usize, vec![item(n)]);
            world.run_ms(seed * 3);
        }
        let acknowledged = world.certified_items();
        for node in 0..4 {
            world.crash(node);
        }
        for node in 0..4 {
            world.restart(node);
        }
        world.submit(0, vec![item(1_000)]);
        world.run_ms(8_000);
        world.assert_agreement();
        for node in 0..4 {
            let executed = world.executed_set(node);
            assert!(
                acknowledged.is_subset(&executed),
                "seed {seed}, validator {node}"
            );
        }
        world.assert_no_equivocation();
    }
}

#[test]
fn crashes_of_one_after_the_other_lose_nothing_and_equivocate_never() {
    for seed in 40..60 {
        let mut world = World::new(4, seed, Options::default());
        for n in 0..40u64 {
            let victim = (n % 4) as usize;
            world.submit(((n + 1) % 4) as usize, vec![item(n)]);
            world.run_ms(17 + seed);
            world.crash(victim);
            world.run_ms(50);
            world.restart(victim);
            world.run_ms(100);
        }
        world.submit(0, vec![item(1_000)]);
        world.run_ms(10_000);
        world.assert_agreement();
        world.assert_no_equivocation();
        for node in 0..4 {
            let acknowledged = world.certified_items();
            assert!(
                acknowledged.is_subset(&world.executed_set(node)),
                "seed {seed}"
            );
        }
    }
}

#[test]
fn loss_duplication_and_reordering_only_cost_time() {
    for seed in 60..75 {
        let options = Options {
            loss_percent: 20,
            duplicate_percent: 10,
            delay_us_max: 80_000,
            ..Options::default()
        };
        let mut world = World::new(4, seed, options);
        for n in 0..20 {
            world.submit((n % 4) as usize, vec![item(n)]);
            world.run_ms(100);
        }
        world.heal();
        world.run_ms(20_000);
        world.assert_agreement();
        for node in 0..4 {
            assert_eq!(
                world.executed_items(node),
                20,
                "seed {seed}, validator {node}"
            );
        }
    }
}

#[test]
fn who_was_away_for_longer_than_the_graph_reaches_back_catches_up_by_commits() {
    let mut world = World::new(4, 80, Options::default());
    world.crash(2);
    for n in 0..300 {
        world.submit((n % 2) as usize, vec![item(n)]);
        world.run_ms(60);
    }
    let ahead = world.status(0).commit_index;
    assert!(ahead.0 > 300, "far enough: {ahead}");
    world.restart(2);
    world.run_ms(30_000);
    world.assert_agreement();
    assert_eq!(world.executed_items(2), 300);
    assert!(world.served_parts() > 0, "by commits, not vertex by vertex");
    world.submit(2, vec![item(5_000)]);
    world.run_ms(5_000);
    assert_eq!(world.executed_items(0), 301, "and takes part again");
}

#[test]
fn a_cluster_that_ran_for_long_takes_payload_at_once_after_all_restarted() {
    let mut world = World::new(4, 81, Options::default());
    for n in 0..40 {
        world.submit((n % 4) as usize, vec![item(n)]);
        world.run_ms(60);
    }
    world.run_ms(5_000);
    let round = world.status(0).round;
    assert!(round.0 > 70, "beyond the gc depth: {round}");
    for node in 0..4 {
        world.stop(node);
    }
    for node in 0..4 {
        world.restart(node);
    }
    world.run_ms(1_000);
    world.submit(0, vec![item(1_000)]);
    world.run_ms(3_000);
    world.assert_agreement();
    for node in 0..4 {
        assert_eq!(world.executed_items(node), 41, "validator {node}");
        let status = world.status(node);
        assert_eq!(status.certified, status.executed);
    }
}

#[test]
fn garbage_from_a_peer_is_refused_and_hurts_nobody() {
    let mut world = World::new(4, 90, Options::default());
    world.submit(0, vec![item(1)]);
    for node in 0..3 {
        for garbage in [&b""[..], b"\x00", b"\xff\xff\xff", &[0; 5_000], &[4; 300]] {
            world.inject(3, node, Bytes::copy_from_slice(garbage));
        }
    }
    world.run_ms(3_000);
    for node in 0..3 {
        assert!(world.refused(node).len() >= 4, "validator {node} noticed");
        assert_eq!(world.executed_items(node), 1);
    }
}

#[test]
fn who_catches_up_faster_than_it_executes_waits_for_its_machine() {
    let mut world = World::new(
        4,
        22,
        Options {
            part_bytes_max: 16 << 10,
            ..Options::default()
        },
    );
    world.crash(3);
    for n in 0..220 {
        world.submit((n % 3) as usize, vec![item(n)]);
        world.run_ms(60);
    }
    let behind = world.status(0).commit_index.0;
    assert!(behind > 4 * ADOPTED_AHEAD_COMMITS_MAX, "{behind}");
    world.slow_down(20_000);
    world.restart(3);
    let mut lags = Vec::new();
    for _ in 0..200 {
        world.run_ms(100);
        lags.push(world.status(3).lag);
    }
    let most = lags.iter().copied().max().unwrap();
    assert!(
        most > LAG_COMMITS_MAX,
        "the network is the faster one: {most}"
    );
    // The last part to come may hold 16 kB of the smallest commits, of one vertex each.
    assert!(most < ADOPTED_AHEAD_COMMITS_MAX + 64, "{most} commits wait");
    world.slow_down(20);
    world.run_ms(20_000);
    world.assert_agreement();
    assert_eq!(world.executed_items(3), 220, "and gets there all the same");
}

#[test]
fn a_head_that_is_known_is_not_verified_again_whatever_certificate_comes_with_it() {
    let mut world = World::new(4, 23, Options::default());
    world.crash(3);
    for n in 0..20 {
        world.submit((n % 3) as usize, vec![item(n)]);
        world.run_ms(60);
    }
    world.restart(3);
    let certified = world.newest_head(0).unwrap();
    let mut respelt = certified.clone();
    let mut signatures = respelt.certificate.signatures.to_vec();
    signatures[0].1.0[0] ^= 1;
    respelt.certificate.signatures = signatures.try_into().unwrap();
    for certified in [certified, respelt] {
        let heartbeat = Heartbeat {
            commit_index: certified.head.commit_index,
            attestation: None,
            certified: Some(certified),
        };
        world.inject(1, 3, Message::Heartbeat(heartbeat).to_bytes());
    }
    world.run_ms(1);
    assert!(
        world.refused(3).is_empty(),
        "its certificate was looked at again"
    );
    world.run_ms(5_000);
    assert_eq!(world.executed_items(3), 20);
}

#[test]
fn items_without_an_outcome_leave_the_mempool_when_their_vertex_is_adopted() {
    // Somewhere among these moments, the vertex has left and its author hasn't seen it committed.
    for ms in [5, 8, 11, 14, 17, 20, 25, 30] {
        let mut world = World::new(4, 24, Options::default());
        world.submit(3, vec![Bytes::from("traceless")]);
        world.run_ms(ms);
        world.cut(3);
        for n in 0..150 {
            world.submit((n % 3) as usize, vec![item(n)]);
            world.run_ms(60);
        }
        world.heal();
        world.run_ms(20_000);
        world.assert_agreement();
        assert_eq!(world.executed_items(3), 150, "cut off after {ms} ms");
        assert_eq!(world.status(3).mempool_count, 0, "cut off after {ms} ms");
    }
}

#[test]
fn a_vertex_that_is_here_is_not_judged_again_however_often_it_comes() {
    let mut world = World::new(4, 21, Options::default());
    for n in 0..8 {
        world.submit((n % 4) as usize, vec![item(n)]);
    }
    world.run_ms(3_000);
    let known = world.vertices(0);
    let before = world.checked(0);
    assert!(known.len() > 8 && before > 0);
    for _ in 0..10 {
        let message = violeta_consensus::Message::Vertices(known.clone());
        world.inject(1, 0, Message::Consensus(message).to_bytes());
    }
    world.run_ms(1_000);
    assert_eq!(world.checked(0), before, "none of them is news");
    assert!(
        world.refused(0).is_empty(),
        "an honest validator may repeat itself"
    );
    world.submit(2, vec![item(99)]);
    world.run_ms(2_000);
    assert_eq!(world.executed_items(0), 9);
}

/// A world in which committed vertices are in the journals alone, and a message that asks validator 0 for one.
fn world_with_old_vertices(seed: u64) -> (World, Message) {
    let options = Options {
        served_bytes_max: 0,
        ..Options::default()
    };
    let mut world = World::new(4, seed, options);
    for n in 0..10 {
        world.submit((n % 4) as usize, vec![item(n)]);
        world.run_ms(100);
    }
    world.run_ms(2_000);
    let wanted = vec![world.first_committed(0)];
    let request = Request {
        wanted: wanted.try_into().unwrap(),
        above: None,
    };
    let request = violeta_consensus::Message::Request(request);
    (world, Message::Consensus(request))
}

#[test]
fn who_asks_again_and_again_for_vertices_in_the_journal_has_one_read_for_it_at_a_time() {
    let (mut world, request) = world_with_old_vertices(334);
    let before = world.stored_loads(0);
    for _ in 0..50 {
        world.inject(1, 0, request.to_bytes());
    }
    world.run_ms(1_000);
    // The world checks that there are never two at once.
    let loads = world.stored_loads(0) - before;
    assert_eq!(loads, 1 + STORED_WAITING_MAX, "one, and those that wait");
    world.inject(1, 0, request.to_bytes());
    world.run_ms(1_000);
    assert_eq!(world.stored_loads(0) - before, loads + 1);
}

#[test]
fn who_connects_anew_all_the_time_has_no_more_read_for_it() {
    let (mut world, request) = world_with_old_vertices(335);
    let ask = Message::Ask(Question::Records(RecordsQuestion {
        after: CommitIndex(0),
        upto: None,
        bytes_max: PART_BYTES_MAX as u32,
    }));
    let before = world.stored_loads(0);
    // The world checks that never two loads of a kind are under way.
    for _ in 0..20 {
        world.inject(1, 0, request.to_bytes());
        world.inject(1, 0, ask.to_bytes());
        world.reconnect(0, 1);
    }
    world.run_ms(1_000);
    let loads = world.stored_loads(0);
    assert_eq!(loads - before, 1, "what waits goes with the connection");
    world.inject(1, 0, request.to_bytes());
    world.run_ms(1_000);
    assert_eq!(world.stored_loads(0) - loads, 1, "and it is served again");
}

#[test]
fn the_proof_that_a_validator_attested_two_heads_is_kept_once_and_over_a_restart() {
    let mut world = World::new(4, 25, Options::default());
    world.submit(0, vec![item(1)]);
    world.run_ms(2_000);
    let height = world.status(0).certified;
    let lie = |world: &mut World, n| {
        let attestation = world.false_attestation(1, height, n);
        world.inject(1, 0, Message::Attestation(attestation).to_bytes());
        world.run_ms(100);
    };
    let kept = |world: &World| {
        let kinds = world.records(0).into_iter();
        kinds.filter(|kind| *kind == RecordKind::Conflict).count()
    };
    lie(&mut world, 1);
    assert_eq!(kept(&world), 1);
    world.stop(0);
    world.restart(0);
    lie(&mut world, 2);
    world.submit(0, vec![item(2)]);
    world.run_ms(2_000);
    assert_eq!(kept(&world), 1, "one proof is enough");
    let proofs: Vec<_> = world.replica(0).conflicts().collect();
    let [proof] = proofs[..] else {
        panic!("read back");
    };
    for attestation in [&proof.first, &proof.second] {
        assert_eq!(attestation.height, height);
        assert_eq!(attestation.validator, ValidatorIndex(1));
    }
    assert_ne!(proof.first.head, proof.second.head);
    assert_eq!(world.executed_items(0), 2);
}

#[test]
fn who_makes_another_block_than_a_quorum_stops_and_keeps_the_quorums_word() {
    let mut world = World::new(4, 26, Options::default());
    world.submit(0, vec![item(1)]);
    world.run_ms(2_000);
    world.spoil_machine(2);
    world.submit(0, vec![item(2)]);
    world.run_ms(3_000);
    assert!(world.status(2).halted.is_some());
    assert_eq!(world.executed_items(0), 2, "the others go on");
    let kinds = world.records(2);
    assert_eq!(kinds.last(), Some(&RecordKind::Divergence));
    world.stop(2);
    world.restart(2);
    let [divergence] = world.replica(2).divergences() else {
        panic!("read back");
    };
    assert_ne!(divergence.certificate.head, divergence.ours);
    assert!(divergence.certificate.signatures.len() >= 3, "a quorum's");
}

#[test]
fn who_makes_another_block_than_its_journal_has_stops_and_accuses_no_quorum() {
    let mut world = World::new(4, 333, Options::default());
    for n in 0..10 {
        world.submit(0, vec![item(n)]);
        world.run_ms(500);
    }
    world.stop(2);
    world.lose_store(2);
    world.restart(2);
    world.spoil_machine(2);
    world.run_ms(3_000);
    let reason = world.status(2).halted.unwrap();
    assert!(reason.contains("at height 1 "), "{reason}");
    assert!(reason.contains("journal"), "{reason}");
    assert!(!reason.contains("quorum vouches"), "{reason}");
    assert!(world.replica(2).divergences().is_empty());
    assert!(!world.records(2).contains(&RecordKind::Divergence));
}

#[test]
fn who_lost_its_journal_knows_it_at_once_follows_and_equivocates_never() {
    for seed in 110..120 {
        let mut world = World::new(4, seed, Options::default());
        for n in 0..10 {
            world.submit((n % 4) as usize, vec![item(n)]);
            world.run_ms(seed - 80);
        }
        world.crash(2);
        world.lose_disk(2);
        world.restart(2);
        let (status, made) = (world.status(2), world.made(2));
        assert!(status.amnesia && !status.accepts, "before anybody is heard");
        assert!(!status.broken, "all of it is gone");
        world.submit(0, vec![item(50)]);
        world.submit(2, vec![item(51)]);
        world.run_ms(5_000);
        world.assert_agreement();
        world.assert_no_equivocation();
        for node in 0..4 {
            assert_eq!(
                world.executed_items(node),
                11,
                "seed {seed}: {node} executes all but what 2 refused"
            );
        }
        assert_eq!(world.made(2), made, "it makes nothing");
        assert_eq!(world.status(2).certified, world.status(0).certified);

        // One of the others fails: the amnesiac attests, but makes no vertex, so nothing is ordered any more …
        world.crash(3);
        world.submit(0, vec![item(52)]);
        world.run_ms(3_000);
        assert_eq!(world.executed_items(0), 11, "it counts among the faulty");
        // … until that one is back. Over restarts the amnesia stays.
        world.restart(3);
        world.crash(2);
        world.restart(2);
        assert!(world.status(2).amnesia);
        world.run_ms(5_000);
        assert_eq!(world.executed_items(2), 12);
        world.assert_no_equivocation();
    }
}

#[test]
fn who_lost_its_journal_goes_on_by_configuration_once_all_of_q_others_have_told() {
    for seed in 130..140 {
        let rejoin = true;
        let mut world = World::new(
            4,
            seed,
            Options {
                rejoin,
                ..Options::default()
            },
        );
        for n in 0..10 {
            world.submit((n % 4) as usize, vec![item(n)]);
            world.run_ms(seed - 110);
        }
        world.crash(2);
        world.crash(3);
        world.lose_disk(2);
        world.restart(2);
        world.run_ms(3_000);
        let status = world.status(2);
        let heard = status.rejoining.map(|rejoining| rejoining.heard.0);
        assert_eq!((status.amnesia, heard), (true, Some(2)), "f + 1 have told");
        world.restart(3);
        world.run_ms(3_000);
        let status = world.status(2);
        assert!(!status.amnesia && status.accepts && status.rejoining.is_none());
        // It makes vertices, and so one of the others may fail again.
        world.crash(3);
        let before = world.executed_items(0);
        world.submit(2, vec![item(20)]);
        world.run_ms(3_000);
        assert_eq!(world.executed_items(0), before + 1, "seed {seed}");
        // A restart forgets nothing of it, a second loss begins anew.
        world.crash(2);
        world.restart(2);
        assert!(!world.status(2).amnesia);
        world.crash(2);
        world.lose_disk(2);
        world.restart(2);
        assert!(world.status(2).amnesia);
        world.restart(3);
        world.run_ms(5_000);
        assert!(!world.status(2).amnesia);
        let before = world.executed_items(0);
        world.submit(2, vec![item(21)]);
        world.run_ms(3_000);
        assert_eq!(world.executed_items(0), before + 1, "seed {seed}");
        world.assert_agreement();
        world.assert_no_equivocation();
    }
}

#[test]
fn a_floor_that_was_not_durable_when_the_power_went_is_asked_for_again() {
    let rejoin = true;
    let mut world = World::new(
        4,
        141,
        Options {
            rejoin,
            ..Options::default()
        },
    );
    world.submit(0, vec![item(1)]);
    world.run_ms(500);
    world.crash(2);
    world.lose_disk(2);
    world.restart(2);
    let told = |world: &World| world.records(2).contains(&RecordKind::Rejoin);
    while !told(&world) {
        world.run_us(100);
    }
    assert!(world.status(2).amnesia, "appended, not synced");
    world.crash(2);
    assert!(!told(&world), "and so it went with the power");
    world.restart(2);
    assert!(world.status(2).amnesia);
    world.run_ms(3_000);
    assert!(!world.status(2).amnesia);
    world.assert_no_equivocation();
}

#[test]
fn who_noticed_in_the_midst_of_a_life_does_not_ask() {
    let rejoin = true;
    let mut world = World::new(
        4,
        142,
        Options {
            rejoin,
            ..Options::default()
        },
    );
    let copy = world.records(2).len();
    for n in 0..10 {
        world.submit((n % 4) as usize, vec![item(n)]);
        world.run_ms(100);
    }
    world.crash(2);
    world.put_back_journal(2, copy);
    world.excuse(2);
    world.restart(2);
    world.run_ms(5_000);
    for _ in 0..2 {
        let status = world.status(2);
        assert_eq!((status.amnesia, status.rejoining), (true, None));
        world.crash(2);
        world.restart(2);
        world.run_ms(3_000);
    }
}

#[test]
fn a_first_start_needs_nobody_and_f_may_be_down() {
    let mut world = World::new(4, 120, Options::default());
    world.crash(3);
    world.submit(0, vec![item(1)]);
    world.run_ms(3_000);
    assert_eq!(world.executed_items(0), 1);
    assert!((0..3).all(|node| !world.status(node).amnesia));
}

#[test]
fn what_a_journal_put_back_from_a_copy_lacks_is_noticed_when_it_comes_back_and_is_not_forgotten_again()
 {
    let mut world = World::new(4, 121, Options::default());
    let copy = world.records(2).len();
    for n in 0..10 {
        world.submit((n % 4) as usize, vec![item(n)]);
        world.run_ms(100);
    }
    world.crash(2);
    world.put_back_journal(2, copy);
    world.excuse(2);
    world.restart(2);
    assert!(!world.status(2).amnesia, "nothing gives it away");
    world.run_ms(5_000);
    let status = world.status(2);
    assert!(status.amnesia && status.broken);
    let records = world.records(2);
    let said = records.iter().position(|kind| *kind == RecordKind::Amnesia);
    assert!(said.is_some(), "it is written down");
    world.crash(2);
    world.restart(2);
    assert!(
        world.status(2).amnesia,
        "the vertices that came back don't count as kept"
    );
    world.assert_agreement();
}

#[test]
fn who_adopts_an_own_vertex_that_its_journal_lacks_has_written_down_the_loss_before() {
    let mut world = World::new(4, 122, Options::default());
    let copy = world.records(2).len();
    for n in 0..10 {
        world.submit((n % 4) as usize, vec![item(n)]);
        world.run_ms(100);
    }
    world.crash(2);
    // Away for longer than the graph reaches back: the vertices that give it away come with commits.
    for n in 10..310 {
        world.submit((n % 2) as usize, vec![item(n)]);
        world.run_ms(60);
    }
    world.put_back_journal(2, copy);
    world.excuse(2);
    world.restart(2);
    world.run_ms(30_000);
    assert!(world.served_parts() > 0, "by commits");
    assert!(world.status(2).amnesia);
    // The power goes when the journal has that vertex, and nothing behind it.
    let own = world.first_own_vertex(2).unwrap();
    world.crash(2);
    world.put_back_journal(2, own + 1);
    world.restart(2);
    assert!(world.status(2).amnesia, "it doesn't count as kept");
}

#[test]
fn who_syncs_slower_than_blocks_come_attests_all_the_same() {
    let mut world = World::new(
        4,
        330,
        Options {
            delay_us_max: 500,
            slow_disk: Some((3, 50_000)),
            ..Options::default()
        },
    );
    // Something is ordered all the time: there is no pause between two blocks that is as long as a sync.
    for n in 0..500 {
        world.submit((n % 3) as usize, vec![item(n)]);
        world.run_ms(2);
    }
    let blocks = world.status(3).executed;
    assert!(blocks >= Height(100), "{blocks} in a second");
    let records = world.records(3);
    let attested = records
        .iter()
        .filter(|kind| **kind == RecordKind::Attestation);
    assert!(attested.count() >= 8, "one for each sync or two");
    world.run_ms(3_000);
    world.assert_agreement();
}

#[test]
fn a_store_that_was_lost_is_built_from_the_journal_which_says_nothing_twice() {
    let mut world = World::new(4, 331, Options::default());
    let blocks = REATTESTED_HEIGHTS_MAX as u64 + 50;
    let mut n = 0;
    while world.status(3).executed.0 < blocks {
        n += 1;
        world.submit((n % 4) as usize, vec![item(n)]);
        world.run_ms(20);
    }
    world.run_ms(2_000);
    let (executed, items) = (world.status(3).executed, world.executed_items(3));
    world.stop(3);
    world.lose_store(3);
    let recorded = world.records(3);
    let blocks_in = |records: &[RecordKind]| {
        let blocks = records.iter().filter(|kind| **kind == RecordKind::Block);
        blocks.count() as u64
    };
    assert_eq!(blocks_in(&recorded), executed.0, "each once");
    world.restart(3);
    world.run_ms(10_000);
    assert!(world.status(3).executed >= executed);
    assert_eq!(world.executed_items(3), items);
    assert_eq!(blocks_in(&world.records(3)), world.status(3).executed.0);
    world.assert_agreement();
}

#[test]
fn who_starts_again_says_which_round_it_had_reached() {
    let mut world = World::new(4, 332, Options::default());
    world.submit(2, vec![item(1)]);
    world.run_ms(2_000);
    let round = world.status(2).round;
    assert!(round > Round(0));
    world.stop(2);
    world.restart(2);
    assert_eq!(world.status(2).round, round);
}

#[test]
fn one_seed_gives_one_trace() {
    let run = || {
        let mut world = World::new(4, 100, Options::default());
        for n in 0..10 {
            world.submit((n % 4) as usize, vec![item(n)]);
            world.run_ms(40);
        }
        world.crash(1);
        world.run_ms(500);
        world.restart(1);
        world.run_ms(2_000);
        world.trace_hash()
    };
    assert_eq!(run(), run());
}
