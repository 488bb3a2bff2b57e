//! Cores in a small deterministic world: agreement, progress, quiescence, faults.

#![expect(clippy::unwrap_used, reason = "a test that fails, fails")]
#![expect(clippy::panic, reason = "a test that fails, fails")]

mod world;

use violeta_types::{Digest, Election};
use world::{Setup, World};

const SECOND: u64 = 1_000_000;

/// Submits `count` transactions, spread over the validators and over `for_us`.
fn load(world: &mut World, count: u64, for_us: u64) -> Vec<Digest> {
    let n = world.nodes.len() as u64;
    let mut items = Vec::new();
    for k in 0..count {
        let i = world.below(n) as usize;
        if world.honest().contains(&i) {
            items.push(world.submit(i, &format!("{k}")));
        }
        world.run(for_us / count);
    }
    items
}

#[track_caller]
fn expect_all(world: &mut World, items: &[Digest], within_us: u64) {
    let seed = world.setup.seed;
    let done = world.run_until(within_us, |world| world.all_committed(items));
    if !done {
        for (i, node) in world.nodes.iter().enumerate() {
            let lacking = items.iter().filter(|item| !world.has_committed(i, item));
            eprintln!(
                "{i}: own {:?}, round {:?}, gc {:?}, {} commits, lacks {}, behind {:?}",
                node.core.own_newest().map(|own| own.round),
                node.core.round(),
                node.core.gc_round(),
                node.log.len(),
                lacking.count(),
                node.behind,
            );
        }
        panic!("seed {seed}: not committed everywhere");
    }
}

#[test]
fn a_lone_transaction_is_committed_as_fast_as_messages_flow() {
    for seed in 0..20 {
        let mut setup = Setup::new(4, seed);
        setup.delay_us = (500, 1_000);
        let mut world = World::new(setup);
        world.run(SECOND);
        let item = world.submit(1, "lone");
        let before = world.now_us;
        expect_all(&mut world, &[item], 100_000);
        let took = world.now_us - before;
        assert!(took < 60_000, "seed {seed}: {took} us");
    }
}

#[test]
fn an_idle_cluster_makes_no_vertices_and_only_heartbeats_flow() {
    for seed in 0..20 {
        let mut world = World::new(Setup::new(4, seed));
        let items = load(&mut world, 10, SECOND);
        expect_all(&mut world, &items, 2 * SECOND);
        world.run(2 * SECOND);
        let (proposals, sent) = (world.proposals(), total_sent(&world));
        world.run(20 * SECOND);
        assert_eq!(world.proposals(), proposals, "seed {seed}: quiet");
        let most = 20 * 4 * 4 + 40;
        assert!(
            total_sent(&world) - sent <= most,
            "seed {seed}: heartbeats only"
        );
    }
}

fn total_sent(world: &World) -> u64 {
    world.nodes.iter().map(|node| node.sent).sum()
}

#[test]
fn agreement_and_progress_under_delay_loss_and_duplication() {
    for seed in 0..100 {
        let mut setup = Setup::new(4 + (seed % 4) as usize, seed);
        setup.parameters.wave_length = 3 + seed % 3;
        setup.parameters.leaders = 1 + (seed % 3) as u32;
        setup.delay_us = (200, 1_000 + seed * 300);
        setup.loss_percent = seed % 20;
        setup.duplicate_percent = seed % 30;
        setup.check = seed % 10 == 0;
        let mut world = World::new(setup);
        let items = load(&mut world, 20, SECOND);
        expect_all(&mut world, &items, 60 * SECOND);
    }
}

#[test]
fn known_leaders_in_all_elections() {
    for seed in 0..40 {
        let mut setup = Setup::new(4, seed);
        setup.parameters.election = [Election::Seeded, Election::RoundRobin][seed as usize % 2];
        setup.parameters.wave_length = 3 + seed % 3;
        setup.delay_us = (200, 20_000);
        let mut world = World::new(setup);
        let items = load(&mut world, 20, SECOND);
        expect_all(&mut world, &items, 60 * SECOND);
    }
}

#[test]
fn unequal_stakes() {
    for seed in 0..20 {
        let mut setup = Setup::new(5, seed);
        setup.stakes = vec![1, 2, 3, 1, 3];
        setup.parameters.election = Election::Seeded;
        let mut world = World::new(setup);
        let items = load(&mut world, 20, SECOND);
        expect_all(&mut world, &items, 60 * SECOND);
    }
}

#[test]
fn one_validator_alone() {
    let mut setup = Setup::new(1, 1);
    setup.parameters.leaders = 1;
    let mut world = World::new(setup);
    let items = load(&mut world, 5, SECOND);
    expect_all(&mut world, &items, 5 * SECOND);
}

#[test]
fn twins_sent_to_different_halves() {
    for seed in 0..60 {
        let n = [4, 7][seed as usize % 2];
        let mut setup = Setup::new(n, seed);
        setup.parameters.wave_length = 4 + seed % 2;
        setup.equivocators = if n == 4 {
            vec![seed as usize % 4]
        } else {
            vec![1, 4]
        };
        setup.delay_us = (200, 1_000 + seed * 200);
        setup.loss_percent = seed % 10;
        let liars = setup.equivocators.clone();
        let mut world = World::new(setup);
        let items = load(&mut world, 20, SECOND);
        expect_all(&mut world, &items, 60 * SECOND);
        world.run(5 * SECOND);
        for i in world.honest() {
            let mut exposed: Vec<usize> = (world.nodes[i].equivocations.iter())
                .map(|author| author.as_usize())
                .collect();
            exposed.sort_unstable();
            assert_eq!(exposed, liars, "seed {seed}: each once");
        }
    }
}

#[test]
fn bad_coin_shares_are_put_aside() {
    for seed in 0..10 {
        let mut setup = Setup::new(4, seed);
        setup.bad_shares = vec![seed as usize % 4];
        let mut world = World::new(setup);
        let items = load(&mut world, 20, SECOND);
        expect_all(&mut world, &items, 10 * SECOND);
    }
}

#[test]
fn a_mute_validator_costs_no_wait_each_round() {
    for seed in 0..20 {
        let mut setup = Setup::new(4, seed);
        setup.delay_us = (500, 1_000);
        setup.tuning.author_wait_us = 50_000;
        setup.tuning.leader_wait_us = 500_000;
        let mut world = World::new(setup);
        world.nodes[2].alive = false;
        let warm_up = load(&mut world, 10, SECOND);
        expect_all(&mut world, &warm_up, 10 * SECOND);
        let item = world.submit(0, "after it fell silent");
        let before = world.now_us;
        expect_all(&mut world, &[item], 10 * SECOND);
        let took = world.now_us - before;
        assert!(took < 150_000, "seed {seed}: {took} us");
    }
}

#[test]
fn restart_neither_equivocates_nor_commits_twice() {
    for seed in 0..40 {
        let mut setup = Setup::new(4, seed);
        setup.delay_us = (200, 1_000 + seed * 100);
        setup.loss_percent = seed % 5;
        let mut world = World::new(setup);
        let mut items = Vec::new();
        for k in 0..6 {
            let victim = world.below(4) as usize;
            items.extend(load(&mut world, 5, SECOND / 4));
            world.crash(victim);
            // What the victim had in its pool or in a vertex that never left is lost with it: clients send again.
            let down = world.below(2 * SECOND);
            world.run(down);
            world.restart(victim);
            items.push(world.submit(victim, &format!("again {k}")));
            items.retain(|item| world.nodes.iter().any(|node| node_has(node, &world, item)));
        }
        let last = world.submit(0, "last");
        expect_all(&mut world, &[last], 60 * SECOND);
    }
}

/// Whether some validator has committed it.
fn node_has(node: &world::Node, world: &World, item: &Digest) -> bool {
    let i = (world.nodes.iter()).position(|other| std::ptr::eq(other, node));
    world.has_committed(i.unwrap(), item)
}

#[test]
fn a_blackout_of_all_loses_nothing_that_was_built_on() {
    for seed in 0..30 {
        let mut world = World::new(Setup::new(4, seed));
        let items = load(&mut world, 20, SECOND);
        expect_all(&mut world, &items, 10 * SECOND);
        let _ = load(&mut world, 5, 20_000);
        for i in 0..4 {
            world.crash(i);
        }
        world.run(SECOND);
        for i in 0..4 {
            world.restart(i);
        }
        let item = world.submit(3, "after the blackout");
        expect_all(&mut world, &[item], 20 * SECOND);
    }
}

#[test]
fn a_laggard_within_g_catches_up_by_vertices() {
    for seed in 0..20 {
        let mut setup = Setup::new(4, seed);
        setup.parameters.gc_depth = 1_024;
        setup.delay_us = (200, 1_000);
        let mut world = World::new(setup);
        world.isolate(3);
        let items = load_others(&mut world, 100, 4 * SECOND);
        assert!(world.nodes[0].core.round().0 > 100, "far enough");
        world.cut.clear();
        world.connect(3);
        let before = world.now_us;
        expect_all(&mut world, &items, 20 * SECOND);
        assert!(world.now_us - before < 3 * SECOND, "and quickly");
        assert!(world.nodes[3].behind.is_empty());
        let item = world.submit(3, "back");
        expect_all(&mut world, &[item], 5 * SECOND);
    }
}

/// Load on all but validator 3.
fn load_others(world: &mut World, count: u64, for_us: u64) -> Vec<Digest> {
    (0..count)
        .map(|k| {
            let item = world.submit((k % 3) as usize, &format!("other {k}"));
            world.run(for_us / count);
            item
        })
        .collect()
}

#[test]
fn a_laggard_beyond_g_catches_up_by_commits_and_resumes() {
    for seed in 0..20 {
        let mut setup = Setup::new(4, seed);
        setup.parameters.gc_depth = 32;
        setup.delay_us = (200, 1_000);
        let mut world = World::new(setup);
        let items = load(&mut world, 10, SECOND);
        expect_all(&mut world, &items, 5 * SECOND);
        world.isolate(3);
        let stuck = world.submit(3, "made while alone");
        let items = load_others(&mut world, 300, 10 * SECOND);
        assert!(world.nodes[0].core.round().0 > 200, "far enough");
        world.cut.clear();
        world.connect(3);
        expect_all(&mut world, &items, 20 * SECOND);
        assert!(!world.nodes[3].behind.is_empty());
        // What it made alone fell under gc and goes back to its pool; it takes part again.
        expect_all(&mut world, &[stuck], 20 * SECOND);
        let item = world.submit(3, "back");
        expect_all(&mut world, &[item], 5 * SECOND);
    }
}

#[test]
fn a_quiet_cluster_heals_one_vertex_short() {
    // n = 4, w = 4: the fourth's vertices go to one only, and then everyone falls silent.
    for seed in 0..40 {
        let mut world = World::new(Setup::new(4, seed));
        let items = load(&mut world, 5, SECOND / 4);
        for to in [1, 2] {
            world.cut.insert((3, to));
        }
        let more = load_others(&mut world, 3, 30_000);
        world.run(100_000);
        world.isolate(3);
        expect_all_but(&mut world, 3, &items);
        world.cut.clear();
        expect_all(&mut world, &more, 20 * SECOND);
    }
}

fn expect_all_but(world: &mut World, out: usize, items: &[Digest]) {
    let done = world.run_until(30 * SECOND, |world| {
        (world.honest().into_iter())
            .filter(|&i| i != out)
            .all(|i| items.iter().all(|item| world.has_committed(i, item)))
    });
    assert!(
        done,
        "seed {}: three go on without the fourth",
        world.setup.seed
    );
}

#[test]
fn pauses_and_partitions_heal() {
    for seed in 0..25 {
        let n = 4 + (seed % 4) as usize;
        let mut world = World::new(Setup::new(n, seed));
        let mut items = Vec::new();
        for _ in 0..5 {
            let a = world.below(n as u64) as usize;
            let b = world.below(n as u64) as usize;
            world.isolate(a);
            world.cut.insert((b, (b + 1) % n));
            items.extend(load(&mut world, 10, SECOND));
            world.cut.clear();
            for i in 0..n {
                world.connect(i);
            }
            let calm = world.below(SECOND);
            world.run(calm);
        }
        expect_all(&mut world, &items, 60 * SECOND);
    }
}

#[test]
fn certificates_withheld_slow_vertices_down_and_nothing_is_lost() {
    for seed in 0..4 {
        let mut setup = Setup::new(4, seed);
        setup.parameters.gc_depth = 32;
        setup.delay_us = (200, 500);
        setup.certify = false;
        let mut world = World::new(setup);
        let _ = load(&mut world, 100, 5 * SECOND);
        world.run(5 * SECOND);
        let round = world.nodes[0].core.round().0;
        assert!((32..60).contains(&round), "seed {seed}: round {round}");
        assert_eq!(
            world.nodes[0].core.lowest_kept().0,
            1,
            "the graph stays whole"
        );
        let item = world.submit(2, "waits for a certificate");
        world.run(5 * SECOND);
        assert!(!world.has_committed(0, &item));
        world.setup.certify = true;
        expect_all(&mut world, &[item], 60 * SECOND);
    }
}

#[test]
fn clocks_that_differ() {
    for seed in 0..20 {
        let mut setup = Setup::new(4, seed);
        setup.clocks_ms = vec![0, 300, -300, [4_000, -4_000][seed as usize % 2]];
        let mut world = World::new(setup);
        let items = load(&mut world, 20, SECOND);
        expect_all(&mut world, &items, 60 * SECOND);
        let item = world.submit(0, "last");
        assert!(world.run_until(10 * SECOND, |world| world.has_committed(0, &item)));
        // f clocks move the log's time no further than honest ones say.
        let now_ms = 1_000_000 + world.now_us / 1_000;
        let node = &world.nodes[0];
        let time = node.log.last().unwrap().time.0;
        assert!(
            time <= now_ms + 300 && time + 6_000 > now_ms - 300,
            "{time} {now_ms}"
        );
        assert!(node.log.windows(2).all(|pair| pair[0].time <= pair[1].time));
    }
}

#[test]
fn payload_that_left_memory_is_served_from_the_journal() {
    let mut setup = Setup::new(4, 7);
    setup.parameters.gc_depth = 1_024;
    setup.tuning.served_bytes_max = 1;
    let mut world = World::new(setup);
    world.isolate(3);
    let items = load_others(&mut world, 60, 3 * SECOND);
    world.cut.clear();
    world.connect(3);
    expect_all(&mut world, &items, 30 * SECOND);
    assert!(world.nodes.iter().any(|node| node.stored_served > 0));
}

#[test]
fn amnesia_is_noticed_and_nothing_is_made_any_more() {
    let mut world = World::new(Setup::new(4, 3));
    let items = load(&mut world, 20, SECOND);
    expect_all(&mut world, &items, 10 * SECOND);
    world.crash(2);
    world.lose_store(2);
    world.restart(2);
    let item = world.submit(0, "three go on");
    expect_all(&mut world, &[item], 20 * SECOND);
    assert!(world.nodes[2].amnesia);
}

/// `leave` of the world sees to it that no round is used twice.
fn who_lost_its_journal_comes_back_by_quorum(mut setup: Setup, loses: usize) {
    setup.rejoin = true;
    let seed = setup.seed;
    let mut world = World::new(setup);
    load(&mut world, 20, SECOND);
    // Some of what it sent last is still under way, and comes when it is back.
    world.crash(loses);
    world.lose_store(loses);
    let away = world.below(SECOND);
    world.run(away);
    world.restart(loses);
    let back = |world: &World| !world.nodes[loses].amnesia;
    assert!(
        world.run_until(20 * SECOND, back),
        "seed {seed}: it doesn't come back"
    );
    // A crash right after: the floor is in the journal, and so is what was made above it.
    let on = world.below(20_000);
    world.run(on);
    world.crash(loses);
    world.restart(loses);
    assert!(
        !world.nodes[loses].amnesia,
        "seed {seed}: the floor was durable"
    );
    let before = world.nodes[loses].proposals;
    let items = load(&mut world, 20, SECOND);
    expect_all(&mut world, &items, 60 * SECOND);
    assert!(
        world.nodes[loses].proposals > before,
        "seed {seed}: it makes vertices again"
    );
    // Lost a second time: it begins anew.
    world.crash(loses);
    world.lose_store(loses);
    world.restart(loses);
    assert!(world.nodes[loses].amnesia);
    assert!(
        world.run_until(20 * SECOND, back),
        "seed {seed}: it doesn't come back again"
    );
    let own = world.submit(loses, "its own");
    let others = |world: &World| {
        (0..world.nodes.len()).all(|i| world.is_liar(i) || world.has_committed(i, &own))
    };
    assert!(
        world.run_until(20 * SECOND, others),
        "seed {seed}: its own isn't committed"
    );
}

#[test]
fn who_lost_its_journal_goes_on_once_all_others_have_told() {
    for seed in 0..30 {
        let mut setup = Setup::new(4, seed);
        setup.delay_us = (500, [5_000, 60_000][seed as usize % 2]);
        setup.loss_percent = 10 * (seed % 3);
        setup.duplicate_percent = 5;
        who_lost_its_journal_comes_back_by_quorum(setup, seed as usize % 4);
    }
}

#[test]
fn liars_besides_it_that_deny_all_or_make_twins_do_not_lead_it_to_make_a_twin() {
    // Of seven two lie, and a third has lost its journal: Q = 5 of the six others have to tell.
    for seed in 0..20 {
        let mut setup = Setup::new(7, seed);
        setup.delay_us = (500, [5_000, 40_000][seed as usize % 2]);
        setup.deniers = vec![5, 6];
        setup.equivocators = vec![6];
        who_lost_its_journal_comes_back_by_quorum(setup, seed as usize % 5);
    }
}

#[test]
fn two_that_lost_their_journals_do_not_vouch_for_each_other() {
    let mut setup = Setup::new(4, 5);
    setup.rejoin = true;
    let mut world = World::new(setup);
    let items = load(&mut world, 20, SECOND);
    expect_all(&mut world, &items, 10 * SECOND);
    for i in [1, 2] {
        world.crash(i);
        world.lose_store(i);
    }
    world.restart(1);
    world.restart(2);
    world.run(30 * SECOND);
    assert!(
        world.nodes[1].amnesia && world.nodes[2].amnesia,
        "two others aren't Q"
    );
}

#[test]
fn the_same_seed_gives_the_same_run() {
    let run = || {
        let mut setup = Setup::new(4, 11);
        setup.loss_percent = 10;
        setup.equivocators = vec![2];
        let mut world = World::new(setup);
        load(&mut world, 30, SECOND);
        world.run(5 * SECOND);
        (world.agreed.clone(), world.now_us, total_sent(&world))
    };
    assert_eq!(run(), run());
}
