//! Which paths are done: disjoint ranges, in order.

use borsh::{BorshDeserialize, BorshSerialize};
use violeta_proof::tree::{KeyPath, PathRange};

/// Paths, as ranges no two of which meet or touch.
#[derive(Clone, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(super) struct Ranges(Vec<PathRange>);

impl Ranges {
    /// Adds the paths of a range, some of which may be here already.
    pub(super) fn add(&mut self, range: &PathRange) {
        let touched = self.touched(range);
        let mut union = *range;
        for old in &self.0[touched.clone()] {
            union.from = union.from.min(old.from);
            union.to = union.to.max(old.to);
        }
        self.0.splice(touched, [union]);
    }

    /// How many ranges there will be when this one was added.
    pub(super) fn len_with(&self, range: &PathRange) -> usize {
        self.0.len() + 1 - self.touched(range).len()
    }

    /// Those that become one range with this one.
    fn touched(&self, range: &PathRange) -> std::ops::Range<usize> {
        assert!(!range.is_empty(), "what was proved holds a path");
        let touches = |a: &PathRange, b: &PathRange| next(&a.to).is_none_or(|next| b.from <= next);
        let begin = self.0.partition_point(|before| !touches(before, range));
        let meeting = &self.0[begin..];
        begin..begin + meeting.partition_point(|behind| touches(range, behind))
    }

    /// How many ranges they are.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether the path is here.
    pub(super) fn holds(&self, path: &KeyPath) -> bool {
        let before = self.0.partition_point(|range| range.to < *path);
        self.0.get(before).is_some_and(|range| range.holds(path))
    }

    /// Whether all paths of the range are here.
    pub(super) fn cover(&self, range: &PathRange) -> bool {
        let before = self.0.partition_point(|here| here.to < range.from);
        let here = self.0.get(before);
        here.is_some_and(|here| here.from <= range.from && range.to <= here.to)
    }

    /// Whether any path of the range is here.
    pub(super) fn meet(&self, range: &PathRange) -> bool {
        let before = self.0.partition_point(|here| here.to < range.from);
        self.0.get(before).is_some_and(|here| here.from <= range.to)
    }

    /// Whether all paths are here.
    pub(super) fn are_all(&self) -> bool {
        self.0 == [PathRange::ALL]
    }

    /// What isn't here, in order.
    pub(super) fn gaps(&self) -> impl Iterator<Item = PathRange> {
        let ends = self.0.iter().map(|range| Some(range.from)).chain([None]);
        let begins = std::iter::once(Some(PathRange::ALL.from));
        let begins = begins.chain(self.0.iter().map(|range| next(&range.to)));
        begins.zip(ends).filter_map(|(from, end)| {
            let to = end.map_or(Some(PathRange::ALL.to), |end| previous(&end));
            let (from, to) = (from?, to?);
            Some(PathRange { from, to }).filter(|range| !range.is_empty())
        })
    }
}

/// The path behind this one.
fn next(path: &KeyPath) -> Option<KeyPath> {
    let rest = PathRange::ALL.after(path)?;
    Some(rest.from)
}

/// The path before this one.
fn previous(path: &KeyPath) -> Option<KeyPath> {
    let mut bytes = path.0;
    for byte in bytes.iter_mut().rev() {
        let (before, borrows) = byte.overflowing_sub(1);
        *byte = before;
        if !borrows {
            return Some(KeyPath(bytes));
        }
    }
    None
}

/// The parts of a range by the first nibble of its paths: what can be fetched side by side.
pub(super) fn sixteenths(range: PathRange) -> impl Iterator<Item = PathRange> {
    (0..16u8).filter_map(move |nibble| {
        let (mut from, mut to) = (PathRange::ALL.from, PathRange::ALL.to);
        (from.0[0], to.0[0]) = (nibble << 4, nibble << 4 | 15);
        let part = PathRange {
            from: range.from.max(from),
            to: range.to.min(to),
        };
        (!part.is_empty()).then_some(part)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// One of 512 paths, two of them for each byte: neighbours, and far apart.
    fn path(n: u16) -> KeyPath {
        let mut bytes = [if n.is_multiple_of(2) { 0 } else { 0xff }; 32];
        bytes[0] = (n / 2) as u8;
        KeyPath(bytes)
    }

    fn range(from: u16, to: u16) -> PathRange {
        let (from, to) = (path(from), path(to));
        PathRange { from, to }
    }

    #[test]
    fn paths_next_to_each_other_make_one_range() {
        let mut ranges = Ranges::default();
        assert_eq!(ranges.gaps().collect::<Vec<_>>(), [PathRange::ALL]);
        ranges.add(&range(4, 7));
        ranges.add(&range(12, 12));
        assert_eq!(ranges.len(), 2);
        // 7 is the last path before 8, 11 the last before 12.
        ranges.add(&range(8, 11));
        assert_eq!(ranges, Ranges(vec![range(4, 12)]));
        let gaps: Vec<_> = ranges.gaps().collect();
        assert_eq!(gaps[0], range(0, 3));
        assert_eq!((gaps[1].to, gaps.len()), (path(511), 2));
        assert_eq!(PathRange::ALL.after(&path(12)), Some(gaps[1]));
        ranges.add(&PathRange::ALL);
        assert!(ranges.are_all());
        assert_eq!(ranges.gaps().count(), 0);
    }

    #[test]
    fn a_range_is_cut_at_the_first_nibble() {
        let parts: Vec<_> = sixteenths(range(0x3e, 0x61)).collect();
        // Byte 0x1f is path 0x3e, byte 0x20 path 0x40, byte 0x30 path 0x60.
        let expected = [range(0x3e, 0x3f), range(0x40, 0x5f), range(0x60, 0x61)];
        assert_eq!(parts, expected);
        assert_eq!(sixteenths(PathRange::ALL).count(), 16);
    }

    proptest! {
        #[test]
        fn whatever_is_added_the_rest_is_what_a_scan_says(
            ends in proptest::collection::vec((0u16..512, 0u16..512), 0..12)
        ) {
            let mut ranges = Ranges::default();
            let mut here = vec![false; 512];
            for (a, b) in ends {
                let (from, to) = (a.min(b), a.max(b));
                let range = range(from, to);
                let len = ranges.len_with(&range);
                ranges.add(&range);
                prop_assert_eq!(ranges.len(), len);
                prop_assert!(ranges.cover(&range));
                (from..=to).for_each(|n| here[usize::from(n)] = true);
            }
            let gaps: Vec<_> = ranges.gaps().collect();
            for n in 0..512 {
                prop_assert_eq!(ranges.holds(&path(n)), here[usize::from(n)]);
                let in_gaps = gaps.iter().filter(|gap| gap.holds(&path(n))).count();
                prop_assert_eq!(in_gaps, usize::from(!here[usize::from(n)]));
                let point = PathRange::point(path(n));
                prop_assert_eq!(ranges.meet(&point), here[usize::from(n)]);
            }
            let touching = ranges.0.windows(2).any(|pair| next(&pair[0].to) == Some(pair[1].from));
            prop_assert!(!touching);
        }
    }
}
