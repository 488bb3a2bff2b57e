//! Whom to ask first: validators by what this client has seen of them.
//!
//! ```text
//!   order: those that answer honestly, nearest first ▸ those that failed, least often first ▸ those that lied
//! ```
//!
//! Nobody is struck off: with everybody else gone, even one who lied may be asked, since answers are verified.

use std::time::Duration;

use violeta_types::{Committee, StakeTally, ValidatorIndex};

use crate::latency::Latency;

/// What a client has seen of one endpoint.
#[derive(Clone, Debug, Default)]
struct Seen {
    /// Which validator it is, as configured or as it says.
    validator: Option<ValidatorIndex>,
    /// Round trips of small requests.
    latency: Latency,
    /// Failures since the last answer.
    failures: u32,
    lied: bool,
}

/// All endpoints, by position in the configuration.
#[derive(Clone, Debug, Default)]
pub(crate) struct Roster {
    seen: Vec<Seen>,
    /// From a submission to its certificate, whoever carried it.
    pub(crate) commit: Latency,
}

impl Roster {
    pub(crate) fn new(validators: impl IntoIterator<Item = Option<ValidatorIndex>>) -> Self {
        let seen = |validator| Seen {
            validator,
            ..Seen::default()
        };
        Roster {
            seen: validators.into_iter().map(seen).collect(),
            commit: Latency::default(),
        }
    }

    /// Positions in the order in which to ask.
    pub(crate) fn order(&self) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.seen.len()).collect();
        order.sort_by_key(|&at| {
            let seen = &self.seen[at];
            let latency = seen.latency.micros().unwrap_or(u64::MAX);
            (seen.lied, seen.failures, latency, at)
        });
        order
    }

    pub(crate) fn answered(&mut self, at: usize, took: Option<Duration>) {
        let seen = &mut self.seen[at];
        seen.failures = 0;
        if let Some(took) = took {
            seen.latency.observe(took);
        }
    }

    pub(crate) fn failed(&mut self, at: usize) {
        let failures = &mut self.seen[at].failures;
        *failures = failures.saturating_add(1);
    }

    pub(crate) fn lied(&mut self, at: usize) {
        self.seen[at].lied = true;
    }

    /// Takes an endpoint's word for which validator it is, where the configuration doesn't say.
    pub(crate) fn says(&mut self, at: usize, validator: ValidatorIndex) {
        self.seen[at].validator.get_or_insert(validator);
    }

    pub(crate) fn validator(&self, at: usize) -> Option<ValidatorIndex> {
        self.seen[at].validator
    }

    /// Whether these endpoints hold more stake than can be faulty: then one of them is honest. Without a committee each
    /// endpoint counts one; an endpoint of no known validator counts nothing beside a committee.
    pub(crate) fn exceeds_faults(
        &self,
        endpoints: impl IntoIterator<Item = usize>,
        committee: Option<&Committee>,
    ) -> bool {
        let Some(committee) = committee else {
            let faulty = (self.seen.len().max(1) - 1) / 3;
            return endpoints.into_iter().count() > faulty;
        };
        self.tally(endpoints, committee).exceeds_faults(committee)
    }

    /// Whether these endpoints are a quorum: then one of them is honest and took part in any other quorum. Counts as
    /// [`exceeds_faults`](Self::exceeds_faults) does.
    pub(crate) fn is_quorum(
        &self,
        endpoints: impl IntoIterator<Item = usize>,
        committee: Option<&Committee>,
    ) -> bool {
        match committee {
            Some(committee) => self.tally(endpoints, committee).is_quorum(committee),
            None => 3 * endpoints.into_iter().count() > 2 * self.seen.len(),
        }
    }

    /// How many endpoints must answer to be a quorum, or all where they are fewer; none where it depends on which, since
    /// stakes differ.
    pub(crate) fn quorum_count(&self, committee: Option<&Committee>) -> Option<usize> {
        let asked = self.seen.len();
        let Some(committee) = committee else {
            return Some(2 * asked / 3 + 1);
        };
        let mut stakes = committee.members().iter().map(|member| member.stake);
        let stake = stakes.next()?;
        let quorum = committee.quorum_stake().0.div_ceil(stake.0.max(1));
        stakes
            .all(|other| other == stake)
            .then(|| asked.min(usize::try_from(quorum).unwrap_or(asked)))
    }

    fn tally(
        &self,
        endpoints: impl IntoIterator<Item = usize>,
        committee: &Committee,
    ) -> StakeTally {
        let mut tally = StakeTally::default();
        for at in endpoints {
            if let Some(validator) = self.seen[at].validator {
                tally.add(committee, validator);
            }
        }
        tally
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::committee;

    fn roster(n: u16) -> Roster {
        Roster::new((0..n).map(|i| Some(ValidatorIndex(i))))
    }

    #[test]
    fn the_nearest_comes_first_and_who_lied_last() {
        let mut roster = roster(4);
        assert_eq!(roster.order(), [0, 1, 2, 3], "nothing is known yet");
        for (at, ms) in [(0, 30), (1, 10), (2, 20), (3, 5)] {
            roster.answered(at, Some(Duration::from_millis(ms)));
        }
        assert_eq!(roster.order(), [3, 1, 2, 0]);
        roster.lied(3);
        roster.failed(1);
        assert_eq!(roster.order(), [2, 0, 1, 3]);
        roster.answered(1, None);
        assert_eq!(
            roster.order(),
            [1, 2, 0, 3],
            "who answers again is forgiven, a lie isn't"
        );
    }

    #[test]
    fn one_more_than_can_be_faulty_is_enough() {
        let roster = roster(4);
        let committee = committee(4);
        let exceeds = |endpoints: &[usize]| {
            roster.exceeds_faults(endpoints.iter().copied(), Some(&committee))
        };
        assert!(!exceeds(&[]) && !exceeds(&[2]));
        assert!(exceeds(&[2, 0]));
        assert!(!exceeds(&[2, 2]), "one validator counts once");
        assert!(!roster.exceeds_faults([1], None) && roster.exceeds_faults([1, 2], None));
        for committee in [None, Some(&committee)] {
            assert!(!roster.is_quorum([0, 3], committee), "two of four");
            assert!(roster.is_quorum([0, 3, 1], committee), "three of four");
            assert_eq!(roster.quorum_count(committee), Some(3));
        }
    }

    #[test]
    fn of_fewer_than_a_quorum_all_must_answer() {
        let committee = committee(4);
        for told in 1..=3 {
            let count = roster(told).quorum_count(Some(&committee));
            assert_eq!(count, Some(usize::from(told)));
        }
    }

    #[test]
    fn an_endpoint_says_who_it_is_only_where_that_isnt_configured() {
        let mut roster = Roster::new([Some(ValidatorIndex(1)), None]);
        roster.says(0, ValidatorIndex(3));
        roster.says(1, ValidatorIndex(2));
        assert_eq!(roster.validator(0), Some(ValidatorIndex(1)));
        assert_eq!(roster.validator(1), Some(ValidatorIndex(2)));
    }
}
