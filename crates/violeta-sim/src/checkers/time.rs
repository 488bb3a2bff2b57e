//! Commit time stays within what honest clocks say (consensus.md §6).
//!
//! ```text
//!   leader of round r ── its parents of round r − 1, one an author, at least Q:
//!
//!        0 ···· 100  101  103 ···· 9999      liars' stamps may lie anywhere, but they are f at most, so that the
//!       lie    └── honest clocks ──┘  lie    lower median of Q or more has an honest one on either side, or is one
//! ```
//!
//! Two things are demanded of each commit. Its time is the one before, or the lower median of those stamps, whichever is
//! later. And if it isn't the one before, it lies between two honest clocks: not what vertices *say*, but what the clocks
//! of their authors *showed* when they were made, which the world knows. So time never runs ahead of all honest clocks,
//! wherever liars put theirs.

use std::collections::BTreeMap;

use violeta_types::{Commit, Round, TimeMs, ValidatorIndex, VertexHeader, VertexRef};

use super::{Property, Verdict, Violation, ensure};

/// What is known of a vertex that may be committed.
struct Stamped {
    timestamp: TimeMs,
    /// Its parents of the round before.
    before: Vec<VertexRef>,
}

/// Stamps and clocks, and the time of the last commit.
pub(crate) struct Times {
    /// When the chain begins: what round 0 says.
    start: TimeMs,
    last: TimeMs,
    vertices: BTreeMap<VertexRef, Stamped>,
    /// What an honest author's clock showed when it made a vertex.
    clocks: BTreeMap<VertexRef, TimeMs>,
}

impl Times {
    pub(crate) fn new(start: TimeMs) -> Self {
        Times {
            start,
            last: start,
            vertices: BTreeMap::new(),
            clocks: BTreeMap::new(),
        }
    }

    /// A vertex that may be committed.
    pub(crate) fn accepted(&mut self, reference: VertexRef, header: &VertexHeader) {
        self.vertices.entry(reference).or_insert_with(|| Stamped {
            timestamp: header.timestamp,
            before: (header.parents.iter().copied())
                .filter(|parent| parent.round.next() == reference.round)
                .collect(),
        });
    }

    /// An honest validator makes a vertex, and its clock shows this.
    pub(crate) fn made(&mut self, reference: VertexRef, clock: TimeMs) {
        self.clocks.entry(reference).or_insert(clock);
    }

    /// The next commit of the log.
    pub(crate) fn committed(
        &mut self,
        commit: &Commit,
        is_honest: &dyn Fn(ValidatorIndex) -> bool,
    ) -> Verdict {
        let (index, time, last) = (commit.index, commit.time, self.last);
        let before = &self.known(&commit.leader, commit)?.before;
        let mut stamps = Vec::with_capacity(before.len());
        let mut clocks = Vec::with_capacity(before.len());
        for parent in before {
            stamps.push(self.stamp(parent, commit)?);
            if is_honest(parent.author) {
                clocks.push(self.clock(parent)?);
            }
        }
        let expected = lower_median(stamps).map_or(last, |median| median.max(last));
        ensure!(
            time == expected,
            Property::CommitTime,
            "commit {index} has time {time}; the one before has {last}, and with its leader's parents it should be \
             {expected}"
        );
        let (low, high) = (clocks.iter().min(), clocks.iter().max());
        ensure!(
            time == last || (low.is_some_and(|c| *c <= time) && high.is_some_and(|c| time <= *c)),
            Property::CommitTime,
            "commit {index} has time {time}, but the honest clocks of its leader's parents showed {low:?} to {high:?}"
        );
        self.last = time;
        Ok(())
    }

    fn known(&self, vertex: &VertexRef, commit: &Commit) -> Result<&Stamped, Violation> {
        self.vertices.get(vertex).ok_or_else(|| {
            let what = format!(
                "the time of commit {} depends on {vertex:?}, which no honest validator accepted",
                commit.index
            );
            Violation::new(Property::CommitTime, what)
        })
    }

    /// What a parent says.
    fn stamp(&self, parent: &VertexRef, commit: &Commit) -> Result<TimeMs, Violation> {
        match parent.round {
            Round(0) => Ok(self.start),
            _ => Ok(self.known(parent, commit)?.timestamp),
        }
    }

    /// What the clock of a parent's honest author showed.
    fn clock(&self, parent: &VertexRef) -> Result<TimeMs, Violation> {
        let shown = match parent.round {
            Round(0) => Some(self.start),
            _ => self.clocks.get(parent).copied(),
        };
        shown.ok_or_else(|| {
            let what = format!("{parent:?} is an honest validator's, which never made it");
            Violation::new(Property::CommitTime, what)
        })
    }
}

/// Of equal stakes: the least that has no fewer at or below it than above it.
fn lower_median(mut stamps: Vec<TimeMs>) -> Option<TimeMs> {
    stamps.sort_unstable();
    let middle = stamps.len().checked_sub(1)? / 2;
    stamps.get(middle).copied()
}

#[cfg(test)]
mod tests {
    use super::super::log::tests::vertex;
    use super::*;
    use violeta_types::{Digest, Epoch, Payload};

    const START: u64 = 1_000;
    /// The last of four lies.
    const LIAR: ValidatorIndex = ValidatorIndex(3);

    fn header(of: &VertexRef, timestamp: u64, parents: &[VertexRef]) -> VertexHeader {
        VertexHeader {
            epoch: Epoch(0),
            round: of.round,
            author: of.author,
            parents: parents.to_vec().try_into().unwrap(),
            payload: Payload::default().commitment(),
            coin_share: None,
            end_mark: false,
            timestamp: TimeMs(timestamp),
        }
    }

    /// A leader of round 2 over vertices of round 1 with these authors and stamps; honest clocks showed what the stamps
    /// say, but for `shown`, what that of validator 0 did.
    fn world(stamps: &[(u16, u64)], shown: Option<u64>) -> (Times, VertexRef) {
        let mut times = Times::new(TimeMs(START));
        let mut parents = Vec::new();
        for &(author, stamp) in stamps {
            let parent = vertex(1, author, "");
            times.accepted(parent, &header(&parent, stamp, &[]));
            if parent.author != LIAR {
                let shown = shown.filter(|_| author == 0).unwrap_or(stamp);
                times.made(parent, TimeMs(shown));
            }
            parents.push(parent);
        }
        // One of an older round has no say.
        parents.push(vertex(0, 9, ""));
        let leader = vertex(2, 0, "leader");
        times.accepted(leader, &header(&leader, 7, &parents));
        (times, leader)
    }

    fn commit(times: &mut Times, leader: VertexRef, time: u64) -> Verdict {
        let mut commit = super::super::log::tests::commit(1, Digest::ZERO, &[leader]);
        commit.time = TimeMs(time);
        times.committed(&commit, &|who| who != LIAR)
    }

    fn is_broken(stamps: &[(u16, u64)], shown: Option<u64>, time: u64) -> bool {
        let (mut times, leader) = world(stamps, shown);
        match commit(&mut times, leader, time) {
            Ok(()) => false,
            Err(violation) => {
                assert_eq!(violation.property, Property::CommitTime);
                true
            }
        }
    }

    #[test]
    fn the_lower_median_between_honest_clocks_is_right_wherever_the_liar_stands() {
        for (lie, median) in [(0, 1_100), (1_150, 1_150), (9_000_000, 1_200)] {
            let stamps = [(0, 1_100), (1, 1_200), (3, lie)];
            assert!(!is_broken(&stamps, None, median));
            assert!(is_broken(&stamps, None, median + 1));
            assert!(is_broken(&stamps, None, median - 1));
        }
        let four = [(0, 1_100), (1, 1_200), (2, 1_300), (3, 9_000_000)];
        assert!(
            !is_broken(&four, None, 1_200),
            "the lower of the two in the middle"
        );
        assert!(is_broken(&four, None, 1_300));
    }

    #[test]
    fn time_that_honest_clocks_never_showed_is_seen_though_the_arithmetic_is_right() {
        // Who calls itself honest says 1,300, while its clock shows 1,100: the median runs ahead of every clock.
        let stamps = [(0, 1_300), (1, 1_200), (3, 9_000)];
        assert!(!is_broken(&stamps, None, 1_300));
        assert!(is_broken(&stamps, Some(1_100), 1_300));
    }

    #[test]
    fn time_waits_for_clocks_that_are_behind_the_commit_before() {
        let stamps = [(0, 900), (1, 950), (3, 980)];
        assert!(!is_broken(&stamps, None, START));
        assert!(is_broken(&stamps, None, 950), "it would go back");
    }

    #[test]
    fn a_leader_of_round_1_goes_by_the_chain_s_beginning() {
        let leader = vertex(1, 0, "leader");
        let parents: Vec<VertexRef> = (0..3).map(|author| vertex(0, author, "")).collect();
        let mut times = Times::new(TimeMs(START));
        times.accepted(leader, &header(&leader, 5_000, &parents));
        assert!(commit(&mut times, leader, 5_000).is_err());
        assert!(commit(&mut times, leader, START).is_ok());
    }

    #[test]
    fn a_leader_or_a_parent_that_nobody_accepted_or_made_is_seen() {
        let mut times = Times::new(TimeMs(START));
        let (leader, parent) = (vertex(2, 0, ""), vertex(1, 0, ""));
        assert!(commit(&mut times, leader, START).is_err());
        times.accepted(leader, &header(&leader, START, &[parent]));
        assert!(commit(&mut times, leader, START).is_err());
        times.accepted(parent, &header(&parent, START, &[]));
        assert!(
            commit(&mut times, leader, START).is_err(),
            "it was never made"
        );
        times.made(parent, TimeMs(START));
        assert!(commit(&mut times, leader, START).is_ok());
    }
}
