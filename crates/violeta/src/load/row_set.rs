//! A set of row numbers, small when they lie together.

use serde::{Deserialize, Serialize};

/// Row numbers, as disjoint ranges that don't touch, in order: `[begin, end)`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct RowSet(Vec<(u64, u64)>);

impl RowSet {
    /// Adds the numbers from `begin` to `end`, `end` excluded.
    pub(crate) fn add(&mut self, begin: u64, end: u64) {
        if begin >= end {
            return;
        }
        // Those that overlap or touch become one with it.
        let first = self.0.partition_point(|&(_, e)| e < begin);
        let last = self.0.partition_point(|&(b, _)| b <= end);
        let touched = &self.0[first..last];
        let begin = touched.first().map_or(begin, |&(b, _)| b.min(begin));
        let end = touched.last().map_or(end, |&(_, e)| e.max(end));
        self.0.splice(first..last, [(begin, end)]);
    }

    /// Adds all of another.
    pub(crate) fn add_all(&mut self, other: &RowSet) {
        for &(begin, end) in &other.0 {
            self.add(begin, end);
        }
    }

    /// Whether it holds this number.
    pub(crate) fn contains(&self, row: u64) -> bool {
        let after = self.0.partition_point(|&(begin, _)| begin <= row);
        after > 0 && row < self.0[after - 1].1
    }

    /// How many it holds.
    pub(crate) fn len(&self) -> u64 {
        self.0.iter().map(|(begin, end)| end - begin).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    #[test]
    fn neighbours_become_one() {
        let mut set = RowSet::default();
        for (begin, end) in [(5, 7), (1, 3), (9, 9), (3, 5), (20, 21)] {
            set.add(begin, end);
        }
        assert_eq!(set.0, [(1, 7), (20, 21)]);
    }

    proptest! {
        #[test]
        fn it_is_the_set_that_it_stands_for(ranges in proptest::collection::vec((0u64..40, 0u64..9), 0..12)) {
            let mut set = RowSet::default();
            let mut model = BTreeSet::new();
            for (begin, len) in ranges {
                set.add(begin, begin + len);
                model.extend(begin..begin + len);
            }
            prop_assert_eq!(set.len(), model.len() as u64);
            for row in 0..60 {
                prop_assert_eq!(set.contains(row), model.contains(&row));
            }
            for pair in set.0.windows(2) {
                prop_assert!(pair[0].1 < pair[1].0, "disjoint, in order, not touching");
            }
        }
    }
}
