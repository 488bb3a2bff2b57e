//! From a committed leader to a commit (consensus.md §6).
//!
//! ```text
//!            leader k            cone: all reachable along edges that are walked
//!           ╱   │    ╲           − committed before (and what lies behind it: it was in that cone)
//!      ●───●    ●     ●          − rounds at or below gc(k)
//!     ╱ ╲  │   ╱      │          − twins of anything committed in this or an earlier commit
//!  ▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒        ordered by round, author, id
//!    committed before
//! ```
//!
//! Iterative: no recursion on remote data.

use std::collections::BTreeSet;

use violeta_types::limits::COMMIT_VERTICES_MAX;
use violeta_types::{Round, TimeMs, VertexRef};

use crate::epoch::EpochData;
use crate::graph::Graph;

/// The vertices that the commit of `leader` holds, in order.
pub(crate) fn cone(graph: &Graph, leader: VertexRef) -> Vec<VertexRef> {
    assert!(leader.round > graph.gc());
    assert!(!graph.is_committed(&leader));
    let mut seen = BTreeSet::from([leader]);
    let mut stack = vec![leader];
    while let Some(at) = stack.pop() {
        let Some(entry) = graph.get(&at) else {
            continue;
        };
        for parent in graph.edges(entry.head()) {
            // What isn't here above gc lies behind a certified commit, which was adopted: it is settled.
            let open = parent.round > graph.gc() && !graph.is_committed(&parent);
            if open && graph.get(&parent).is_some() && seen.insert(parent) {
                stack.push(parent);
            }
        }
    }
    let mut vertices = without_twins(graph, seen);
    // Not reached while certificates advance; a bound all the same, the same for all, and the leader stays.
    let surplus = vertices.len().saturating_sub(COMMIT_VERTICES_MAX);
    vertices.drain(..surplus);
    assert!(vertices.contains(&leader), "a leader is in its own cone");
    vertices
}

/// Of each slot the first by id, unless one has been committed.
fn without_twins(graph: &Graph, seen: BTreeSet<VertexRef>) -> Vec<VertexRef> {
    let mut vertices: Vec<VertexRef> = (seen.into_iter())
        .filter(|reference| graph.committed_at(reference).is_none())
        .collect();
    vertices.dedup_by_key(|reference| (reference.round, reference.author));
    vertices
}

/// The time of the commit of `leader`: never before the commit before; the stake-weighted lower median of the
/// timestamps of the leader's parents of the round before.
pub(crate) fn time(
    graph: &Graph,
    epoch: &EpochData,
    leader: VertexRef,
    previous: TimeMs,
) -> TimeMs {
    let Some(entry) = graph.get(&leader) else {
        return previous;
    };
    let stamps = (entry.head().header().parents.iter())
        .filter(|parent| parent.round.next() == leader.round)
        .filter_map(|parent| {
            let stake = epoch.committee().stake(parent.author).0;
            let timestamp = match parent.round {
                Round(0) => epoch.start(),
                _ => graph.get(parent)?.head().header().timestamp,
            };
            Some((timestamp, stake))
        })
        .collect();
    lower_median(stamps).map_or(previous, |median| previous.max(median))
}

/// The least value that, with all below it, holds at least half of the stake.
fn lower_median(mut stamps: Vec<(TimeMs, u64)>) -> Option<TimeMs> {
    stamps.sort_unstable();
    let total: u64 = stamps.iter().map(|(_, stake)| stake).sum();
    let mut below = 0;
    for (timestamp, stake) in stamps {
        below += stake;
        if below >= total - below {
            return Some(timestamp);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use violeta_types::ValidatorIndex;

    use super::*;
    use crate::fixture::{self, own_first, vertex, vertex_of};
    use crate::vertex::ValidVertex;

    /// Round 1 with twins of validator 3, a round 2 that splits over them, and a leader of round 3 above both.
    fn split() -> (Graph, Vec<ValidVertex>, VertexRef) {
        let epoch = Arc::new(fixture::epoch(4, 4));
        let mut graph = Graph::new(epoch.clone());
        let mut first = fixture::layers(&epoch, &[0, 1, 2, 3], 1).remove(0);
        let mut header = first[3].header().clone();
        header.timestamp.0 += 1;
        first.push(vertex_of(&epoch, header, &[]));
        let all: Vec<VertexRef> = first.iter().map(|v| *v.reference()).collect();
        let with = |twin: usize| [&all[..3], &all[twin..=twin]].concat();
        let second: Vec<ValidVertex> = [(0, 3), (1, 4), (2, 3)]
            .into_iter()
            .map(|(author, twin)| vertex(&epoch, 2, author, &own_first(author, &with(twin))))
            .collect();
        let before: Vec<VertexRef> = second.iter().map(|v| *v.reference()).collect();
        let leader = vertex(&epoch, 3, 0, &before);
        for vertex in first.iter().chain(&second).chain([&leader]) {
            graph.insert(vertex.clone());
        }
        (graph, first, *leader.reference())
    }

    #[test]
    fn of_twins_in_one_cone_the_first_by_id_is_committed() {
        let (graph, first, leader) = split();
        let committed = cone(&graph, leader);
        let kept: Vec<VertexRef> = (committed.iter().copied())
            .filter(|v| v.round == Round(1) && v.author == ValidatorIndex(3))
            .collect();
        let twins = [*first[3].reference(), *first[4].reference()];
        assert_eq!(kept, [*twins.iter().min().unwrap()]);
        assert_eq!(committed.len(), 4 + 3 + 1);
        assert!(committed.is_sorted());
    }

    #[test]
    fn a_twin_of_what_was_committed_before_is_left_out_whole() {
        for before in [3, 4] {
            let (mut graph, first, leader) = split();
            graph.commit(&[*first[before].reference()]);
            let committed = cone(&graph, leader);
            let of_slot = committed.iter().filter(|v| v.author == ValidatorIndex(3));
            assert_eq!(of_slot.count(), 0);
        }
    }

    #[test]
    fn rounds_at_or_below_gc_are_left_out() {
        let (mut graph, _, leader) = split();
        graph.raise_gc(Round(1), None);
        assert!(cone(&graph, leader).iter().all(|v| v.round > Round(1)));
    }

    fn median(stamps: &[(u64, u64)]) -> Option<u64> {
        let stamps = stamps.iter().map(|&(t, stake)| (TimeMs(t), stake));
        lower_median(stamps.collect()).map(|t| t.0)
    }

    #[test]
    fn lower_medians() {
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[(7, 1)]), Some(7));
        assert_eq!(median(&[(9, 1), (7, 1)]), Some(7));
        assert_eq!(median(&[(9, 1), (7, 1), (8, 1)]), Some(8));
        assert_eq!(median(&[(9, 1), (7, 1), (8, 1), (1, 1)]), Some(7));
        assert_eq!(median(&[(9, 5), (7, 1), (8, 1), (1, 1)]), Some(9));
    }

    #[test]
    fn one_liar_of_four_moves_time_no_further_than_honest_clocks_say() {
        for lie in [0, u64::MAX] {
            let time = median(&[(100, 1), (101, 1), (102, 1), (lie, 1)]).unwrap();
            assert!((100..=102).contains(&time));
            let time = median(&[(100, 1), (101, 1), (lie, 1)]).unwrap();
            assert!((100..=101).contains(&time), "a quorum of parents");
        }
    }
}
