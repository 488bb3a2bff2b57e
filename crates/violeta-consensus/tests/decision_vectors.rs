//! The decision rule against the vectors of `tests/data`, in every topological order of the small ones.

#![expect(clippy::unwrap_used, reason = "a test that fails, fails")]

use std::collections::BTreeMap;
use std::sync::Arc;

use rand_chacha::ChaCha8Rng;
use rand_core::{RngCore, SeedableRng};
use violeta_consensus::decision::{Decider, Decision, How, Outcome, SlotKey};
use violeta_types::{
    Committee, Domain, Epoch, Member, NodePublicKey, OperatorPublicKey, Round, Stake,
    ValidatorIndex, ValidatorPublicKey, VertexId, VertexRef,
};

/// A vertex's name, as `B2'`, and its parents.
type Dag = Vec<(String, Vec<String>)>;

#[derive(serde::Deserialize)]
struct Case {
    name: String,
    n: u8,
    w: u64,
    leaders: BTreeMap<u64, Vec<String>>,
    dag: Vec<String>,
    expect: BTreeMap<String, serde_json::Value>,
}

fn cases() -> Vec<Case> {
    serde_json::from_str(include_str!("data/vectors.json")).unwrap()
}

fn committee(n: u8) -> Arc<Committee> {
    let members = (0..n).map(|i| Member {
        stake: Stake(1),
        validator_key: ValidatorPublicKey([i; 32]),
        share_key: None,
        node_key: NodePublicKey([i; 32]),
        operator_key: OperatorPublicKey([i; 32]),
    });
    Arc::new(Committee::new(Epoch(0), members.collect(), None).unwrap())
}

fn author(name: &str) -> ValidatorIndex {
    ValidatorIndex(u16::from(name.as_bytes()[0] - b'A'))
}

fn reference(name: &str) -> VertexRef {
    VertexRef {
        round: Round(name[1..].trim_end_matches('\'').parse().unwrap()),
        author: author(name),
        id: VertexId(Domain::Vertex.hash(name.as_bytes())),
    }
}

/// Reads `A2:A1,B1,C1`; `*` is the unprimed vertex of the round before by every author that has one, own first.
fn read_dag(case: &Case) -> Dag {
    let names: Vec<&str> = case
        .dag
        .iter()
        .map(|v| v.split(':').next().unwrap())
        .collect();
    let read = |vertex: &String| {
        let (name, parents) = vertex.split_once(':').unwrap();
        if parents != "*" {
            return (
                name.to_owned(),
                parents.split(',').map(str::to_owned).collect(),
            );
        }
        let before = reference(name).round.0 - 1;
        let mut authors: Vec<char> = ('A'..).take(case.n.into()).collect();
        authors.sort_by_key(|&a| !name.starts_with(a));
        let parents = (authors.into_iter())
            .map(|a| format!("{a}{before}"))
            .filter(|parent| before == 0 || names.contains(&parent.as_str()));
        (name.to_owned(), parents.collect())
    };
    case.dag.iter().map(read).collect()
}

fn decider(case: &Case) -> Decider {
    let mut decider = Decider::new(committee(case.n), case.w);
    let last = case.leaders.keys().max().unwrap() + 12;
    for round in 1..=last {
        let leaders = case.leaders.get(&round).into_iter().flatten();
        decider.set_leaders(Round(round), leaders.map(|name| author(name)).collect());
    }
    decider
}

fn insert(decider: &mut Decider, (name, parents): &(String, Vec<String>)) {
    decider.insert(reference(name), parents.iter().map(|p| reference(p)));
}

fn name_of(dag: &Dag, vertex: VertexRef) -> &str {
    let found = dag.iter().find(|(name, _)| reference(name) == vertex);
    &found.unwrap().0
}

fn describe(dag: &Dag, decision: Option<Decision>) -> String {
    let Some(decision) = decision else {
        return "Undecided".into();
    };
    let how = match decision.how {
        How::Direct => "direct",
        How::Indirect => "indirect",
    };
    match decision.outcome {
        Outcome::Commit(vertex) => format!("Commit {} ({how})", name_of(dag, vertex)),
        Outcome::Skip => format!("Skip ({how})"),
    }
}

fn verify(case: &Case, dag: &Dag, mut decider: Decider) {
    for (what, expected) in &case.expect {
        let Some((leader, round)) = what.split_once('@') else {
            continue;
        };
        let round: u64 = round.parse().unwrap();
        let place = case.leaders[&round].iter().position(|l| l == leader);
        let slot = SlotKey {
            round: Round(round),
            place: place.unwrap(),
        };
        let decided = describe(dag, decider.decision(slot));
        assert_eq!(
            &decided,
            expected.as_str().unwrap(),
            "{}: {what}",
            case.name
        );
    }
    let output: Vec<&str> = std::iter::from_fn(|| decider.next_decision())
        .map(|decision| match decision.outcome {
            Outcome::Commit(vertex) => name_of(dag, vertex),
            Outcome::Skip => "skip",
        })
        .collect();
    assert_eq!(
        serde_json::json!(output),
        case.expect["output"],
        "{}",
        case.name
    );
}

#[test]
fn every_vector_in_the_order_given() {
    assert_eq!(cases().len(), 16);
    for case in cases() {
        let dag = read_dag(&case);
        let mut decider = decider(&case);
        for vertex in &dag {
            insert(&mut decider, vertex);
        }
        verify(&case, &dag, decider);
    }
}

/// Vertices that can come next.
fn ready(dag: &Dag, taken: u32) -> Vec<usize> {
    let has = |name: &String| {
        let at = dag.iter().position(|(other, _)| other == name);
        at.is_none_or(|i| taken >> i & 1 == 1)
    };
    (0..dag.len())
        .filter(|&i| taken >> i & 1 == 0 && dag[i].1.iter().all(has))
        .collect()
}

fn every_order(case: &Case, dag: &Dag, taken: u32, decider: Decider) -> u64 {
    let ready = ready(dag, taken);
    if ready.is_empty() {
        verify(case, dag, decider);
        return 1;
    }
    let mut orders = 0;
    for next in ready {
        let mut decider = decider.clone();
        insert(&mut decider, &dag[next]);
        orders += every_order(case, dag, taken | 1 << next, decider);
    }
    orders
}

#[test]
fn every_topological_order_of_the_small_ones() {
    for case in cases() {
        let dag = read_dag(&case);
        if dag.len() <= 12 {
            let orders = every_order(&case, &dag, 0, decider(&case));
            assert!(orders >= 1_296, "{}: {orders} orders", case.name);
        }
    }
}

#[test]
fn two_thousand_topological_orders_of_the_large_ones() {
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    for case in cases() {
        let dag = read_dag(&case);
        for _ in 0..2_000 {
            let (mut taken, mut decider) = (0, decider(&case));
            loop {
                let ready = ready(&dag, taken);
                if ready.is_empty() {
                    break;
                }
                let next = ready[rng.next_u32() as usize % ready.len()];
                insert(&mut decider, &dag[next]);
                taken |= 1 << next;
            }
            verify(&case, &dag, decider);
        }
    }
}
