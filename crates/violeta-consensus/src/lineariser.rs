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
    use super::*;

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
