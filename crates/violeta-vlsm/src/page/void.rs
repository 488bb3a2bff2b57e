//! Versions that were rolled back: their items stay where they are and count for nothing.

use std::fmt;

use super::Seq;
use crate::limits::VOID_RANGES_MAX;

/// The void versions, as ranges that rise and don't touch; all are below the newest version there ever was.
#[derive(Clone, Default, PartialEq, Eq)]
pub(crate) struct Void(Vec<(Seq, Seq)>);

impl fmt::Debug for Void {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ranges = self.0.iter();
        f.debug_list()
            .entries(ranges.map(|(first, last)| first.0..=last.0))
            .finish()
    }
}

impl Void {
    pub(crate) fn contains(&self, seq: Seq) -> bool {
        let after = self.0.partition_point(|(first, _)| *first <= seq);
        after
            .checked_sub(1)
            .is_some_and(|range| seq <= self.0[range].1)
    }

    /// With all versions above `target` and below `next`: what a rollback to `target` makes void. None if that would
    /// be too many ranges.
    pub(crate) fn and_above(&self, target: Seq, next: Seq) -> Option<Self> {
        let mut ranges = self.0.clone();
        let (mut first, last) = (target.next(), Seq(next.0.saturating_sub(1)));
        if first > last {
            return Some(self.clone());
        }
        while let Some(range) = ranges.pop() {
            if range.1.next() < first {
                ranges.push(range);
                break;
            }
            first = first.min(range.0);
        }
        ranges.push((first, last));
        (ranges.len() <= VOID_RANGES_MAX).then_some(Void(ranges))
    }

    pub(super) fn ranges(&self) -> &[(Seq, Seq)] {
        &self.0
    }

    /// None if these aren't ranges as they must be.
    pub(super) fn from_ranges(ranges: Vec<(Seq, Seq)>) -> Option<Self> {
        let apart = |pair: &[(Seq, Seq)]| pair[0].1.0 < u64::MAX && pair[0].1.next() < pair[1].0;
        let good = ranges.len() <= VOID_RANGES_MAX
            && ranges.iter().all(|(first, last)| first <= last)
            && ranges.windows(2).all(apart);
        good.then_some(Void(ranges))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seqs(ranges: &[(u64, u64)]) -> Vec<(Seq, Seq)> {
        ranges.iter().map(|(a, b)| (Seq(*a), Seq(*b))).collect()
    }

    #[test]
    fn rollbacks_add_up_and_ranges_that_touch_are_one() {
        let void = Void::default().and_above(Seq(5), Seq(9)).unwrap();
        assert_eq!(void.ranges(), seqs(&[(6, 8)]));
        let void = void.and_above(Seq(12), Seq(15)).unwrap();
        assert_eq!(void.ranges(), seqs(&[(6, 8), (13, 14)]));
        let inside: Vec<_> = (0..20).filter(|n| void.contains(Seq(*n))).collect();
        assert_eq!(inside, [6, 7, 8, 13, 14]);
        // To 10, further back than the second; then to 5, when 15 to 18 had been added.
        let back = void.and_above(Seq(10), Seq(15)).unwrap();
        assert_eq!(back.ranges(), seqs(&[(6, 8), (11, 14)]));
        let back = back.and_above(Seq(5), Seq(19)).unwrap();
        assert_eq!(back.ranges(), seqs(&[(6, 18)]));
        let back = back.and_above(Seq(19), Seq(25)).unwrap();
        assert_eq!(back.ranges(), seqs(&[(6, 18), (20, 24)]));
        assert_eq!(
            back.and_above(Seq(24), Seq(25)),
            Some(back.clone()),
            "nothing to do"
        );
        assert_eq!(
            Void::from_ranges(seqs(&[(6, 8), (10, 10)]))
                .unwrap()
                .0
                .len(),
            2
        );
        assert_eq!(Void::from_ranges(seqs(&[(6, 8), (9, 10)])), None);
    }

    #[test]
    fn no_more_ranges_than_the_bound_are_kept() {
        let mut void = Void::default();
        for i in 0..VOID_RANGES_MAX as u64 {
            void = void.and_above(Seq(4 * i), Seq(4 * i + 3)).unwrap();
        }
        let next = 4 * VOID_RANGES_MAX as u64;
        assert_eq!(void.and_above(Seq(next), Seq(next + 3)), None);
        assert_eq!(void.and_above(Seq(0), Seq(next)).unwrap().0.len(), 1);
    }
}
