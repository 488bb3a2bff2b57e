//! Catching up by commits among peers that lie, one way at each step (replica.md §4b).
//!
//! Validator 2 is away for longer than the graph reaches back. When it returns, validator 0 serves it lies; 1 and 3
//! are honest. Whatever the lie, it costs time and nothing else.

#![expect(
    clippy::unwrap_used,
    reason = "the world of a test stops where it breaks"
)]

mod world;

use bytes::Bytes;
use violeta_replica::limits::PART_BYTES_MAX;
use violeta_replica::message::{Answer, RecordsPart, VerticesPart};
use violeta_types::limits::MESSAGE_BYTES_MAX;
use violeta_types::{CommitIndex, TimeMs, ValidatorIndex, ValidatorSignature, Vertex, encode};
use world::{Lie, Options, World};

const LIAR: usize = 0;
const AWAY: usize = 2;
const ITEMS: u64 = 150;

fn item(n: u64) -> Bytes {
    Bytes::from(format!("item {n}"))
}

/// A world in which one validator has been away for long, and is back for some seconds.
fn returned(seed: u64, options: Options) -> World {
    let mut world = World::new(4, seed, options);
    world.crash(AWAY);
    for n in 0..ITEMS {
        world.submit((n % 2) as usize, vec![item(n)]);
        world.run_ms(60);
    }
    world.restart(AWAY);
    world.run_ms(30_000);
    world
}

/// How many bytes are asked for at once: two or three vertices.
const FEW_BYTES: usize = 1_500;

/// It catches up all the same; says whether the liar was refused, which is all that may be.
fn refuses(seed: u64, lie: Lie) -> bool {
    let world = returned(
        seed,
        Options {
            part_bytes_max: FEW_BYTES,
            liar: Some((LIAR, lie)),
            ..Options::default()
        },
    );
    world.assert_agreement();
    assert_eq!(world.executed_items(AWAY), ITEMS as usize);
    assert_eq!(world.status(AWAY).certified, world.status(1).certified);
    let refused = world.refused(AWAY);
    let liar = ValidatorIndex(LIAR as u16);
    assert!(refused.iter().all(|peer| *peer == liar), "{refused:?}");
    !refused.is_empty()
}

/// Changes the records of an answer.
fn records(answer: &mut Answer, change: impl FnOnce(&mut RecordsPart)) {
    if let Answer::Records(part) = answer
        && !part.records.is_empty()
    {
        change(part);
    }
}

/// Changes the vertices of an answer.
fn vertices(answer: &mut Answer, change: impl FnOnce(&mut Vec<Bytes>)) {
    if let Answer::Vertices(VerticesPart { vertices, .. }) = answer
        && !vertices.is_empty()
    {
        let mut list: Vec<Bytes> = vertices.iter().map(|v| v.bytes().clone()).collect();
        change(&mut list);
        let list: Vec<_> = list.into_iter().map(|v| v.try_into().unwrap()).collect();
        *vertices = list.try_into().unwrap();
    }
}

fn change_record(part: &mut RecordsPart, place: impl FnOnce(usize) -> usize) {
    let mut list = part.records.to_vec();
    let place = place(list.len());
    list[place].time = TimeMs(list[place].time.0 + 1);
    part.records = list.try_into().unwrap();
}

#[test]
fn a_changed_record_is_refused_first_or_last() {
    assert!(refuses(1, |answer| records(answer, |part| {
        change_record(part, |_| 0);
    })));
    assert!(refuses(2, |answer| records(answer, |part| {
        change_record(part, |len| len - 1);
    })));
}

#[test]
fn records_out_of_order_or_twice_are_refused() {
    assert!(refuses(3, |answer| records(answer, |part| {
        let list: Vec<_> = part.records.iter().rev().cloned().collect();
        part.records = list.try_into().unwrap();
    })));
    assert!(refuses(4, |answer| records(answer, |part| {
        let twice = [&part.records[..], &part.records[..]].concat();
        part.records = twice.try_into().unwrap();
    })));
}

#[test]
fn a_head_that_no_quorum_vouches_for_is_refused() {
    let forge: Lie = |answer| {
        records(answer, |part| {
            if let Some(certified) = &mut part.certified {
                certified.head.state_root.0[0] ^= 1;
                certified.certificate.head = certified.head.id();
            }
        });
    };
    // Whoever is heard first is asked for a head.
    assert!((20..30).any(|seed| refuses(seed, forge)));
}

#[test]
fn records_with_no_head_where_one_was_asked_for_are_of_no_use() {
    assert!(!refuses(6, |answer| records(answer, |part| {
        part.certified = None;
    })));
}

#[test]
fn other_vertices_than_those_named_are_refused() {
    assert!(refuses(7, |answer| vertices(answer, |list| {
        let first = list[0].clone();
        list.push(first);
        list.rotate_right(1);
    })));
    assert!(refuses(8, |answer| vertices(answer, |list| list.reverse())));
    assert!(refuses(9, |answer| vertices(answer, |list| {
        list[0] = Bytes::from_static(b"no vertex at all");
    })));
}

#[test]
fn a_spoilt_signature_is_its_sender_s_fault_and_goes_no_further() {
    let spoil: Lie = |answer| {
        vertices(answer, |list| {
            for bytes in list {
                let mut vertex = Vertex::decode(bytes).unwrap();
                vertex.signed.signature = ValidatorSignature([9; 64]);
                *bytes = encode(&vertex).into();
            }
        });
    };
    let mut world = returned(
        82,
        Options {
            part_bytes_max: FEW_BYTES,
            liar: Some((LIAR, spoil)),
            ..Options::default()
        },
    );
    assert_eq!(world.executed_items(AWAY), ITEMS as usize);
    assert!(!world.refused(AWAY).is_empty(), "the liar is noticed");
    // Who caught up serves what it took: here, all of it to one that lost its graph.
    world.crash(3);
    for n in ITEMS..ITEMS + 100 {
        world.submit((n % 2) as usize, vec![item(n)]);
        world.run_ms(20);
    }
    world.restart(3);
    world.run_ms(10_000);
    world.assert_agreement();
    assert!(world.refused(1).is_empty());
    assert_eq!(world.executed_items(3), ITEMS as usize + 100);
}

#[test]
fn surplus_vertices_are_refused() {
    assert!(refuses(10, |answer| {
        vertices(answer, |list| {
            for _ in 0..10 {
                let again = list.clone();
                list.extend(again);
            }
        });
    }));
}

#[test]
fn the_least_of_parts_are_taken_and_never_refused() {
    assert!(!refuses(11, |answer| {
        records(answer, |part| {
            part.records = vec![part.records[0].clone()].try_into().unwrap();
        });
        vertices(answer, |list| list.truncate(1));
    }));
}

#[test]
fn silence_and_emptiness_cost_time_alone() {
    assert!(!refuses(12, |answer| {
        records(answer, |part| {
            part.certified = None;
            part.records = Default::default();
        });
        vertices(answer, Vec::clear);
    }));
}

#[test]
fn answers_to_what_was_not_asked_are_not_looked_at() {
    assert!(!refuses(13, |answer| match answer {
        Answer::Records(part) => part.question.after = CommitIndex(part.question.after.0 + 1),
        Answer::Vertices(part) => part.question.from.vertex += 1,
    }));
}

#[test]
fn every_part_may_be_a_single_record_or_vertex() {
    let world = returned(
        14,
        Options {
            part_bytes_max: 1,
            ..Options::default()
        },
    );
    world.assert_agreement();
    assert_eq!(world.executed_items(AWAY), ITEMS as usize);
    assert!(world.served_parts() > ITEMS as usize);
}

#[test]
fn a_range_that_fits_no_message_is_caught_up_with() {
    let mut world = World::new(4, 15, Options::default());
    world.crash(AWAY);
    let mut bytes = 0;
    for n in 0..ITEMS {
        let large = Bytes::from(vec![n as u8; 128 << 10]);
        bytes += large.len();
        world.submit((n % 2) as usize, vec![large]);
        world.run_ms(60);
    }
    assert!(bytes > 2 * MESSAGE_BYTES_MAX);
    world.restart(AWAY);
    world.run_ms(10_000);
    world.assert_agreement();
    assert_eq!(world.executed_items(AWAY), ITEMS as usize);
    assert!(
        world.served_parts() >= bytes / (2 * PART_BYTES_MAX),
        "in many parts: {}",
        world.served_parts()
    );
    assert!(world.refused(AWAY).is_empty());
}
