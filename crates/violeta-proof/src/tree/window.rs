//! Which part of a tree is asked for: closed ranges of paths, and the spans of paths that places in a tree have.
//!
//! ```text
//!   paths 00…0 ├──────────[════════]─────────────[═]────| ─────────┤ ff…f      a window: disjoint ranges, in order;
//!                          a range             another  a point                 a point is a range of one path
//!
//!   prefix 3a, its span:   3a00…0 ├──┬──┬── … ──┬──┤ 3aff…f                     a place holds what begins with its
//!                                  0  1    …     f   slots                      prefix; its sixteen slots cut it up
//! ```

use borsh::{BorshDeserialize, BorshSerialize};
use serde::{Deserialize, Serialize};

use super::rules::{DEPTH_MAX, FANOUT, KeyPath};

/// All paths from one to another, both included.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize,
)]
pub struct PathRange {
    /// The first path.
    pub from: KeyPath,
    /// The last path. A range that ends before it begins has no path in it.
    pub to: KeyPath,
}

impl PathRange {
    /// Every path there is.
    pub const ALL: PathRange = PathRange {
        from: KeyPath([0; 32]),
        to: KeyPath([0xff; 32]),
    };

    /// One path.
    pub fn point(path: KeyPath) -> Self {
        PathRange {
            from: path,
            to: path,
        }
    }

    /// Whether the path is in the range.
    pub fn holds(&self, path: &KeyPath) -> bool {
        self.from <= *path && *path <= self.to
    }

    /// Whether there is no path in it.
    pub fn is_empty(&self) -> bool {
        self.from > self.to
    }

    /// What is left of the range after `path`; none if that was the last.
    pub fn after(&self, path: &KeyPath) -> Option<PathRange> {
        let from = path.successor()?;
        let rest = PathRange { from, to: self.to };
        (!rest.is_empty()).then_some(rest)
    }
}

impl KeyPath {
    /// The next path, if this isn't the last.
    fn successor(&self) -> Option<KeyPath> {
        let mut bytes = self.0;
        for byte in bytes.iter_mut().rev() {
            let (next, overflows) = byte.overflowing_add(1);
            *byte = next;
            if !overflows {
                return Some(KeyPath(bytes));
            }
        }
        None
    }
}

/// A window: ranges that aren't empty, in order, no two of which meet.
pub(super) type Window<'a> = &'a [PathRange];

/// The points of some paths as a window: sorted, each once.
pub(super) fn points(mut paths: Vec<KeyPath>) -> Vec<PathRange> {
    paths.sort_unstable();
    paths.dedup();
    paths.into_iter().map(PathRange::point).collect()
}

/// Whether the path is in one of the window's ranges.
pub(super) fn holds(window: Window<'_>, path: &KeyPath) -> bool {
    !meeting(window, &PathRange::point(*path)).is_empty()
}

/// The ranges of the window that have a path in common with `span`.
pub(super) fn meeting<'a>(window: Window<'a>, span: &PathRange) -> Window<'a> {
    let begin = window.partition_point(|range| range.to < span.from);
    let window = &window[begin..];
    &window[..window.partition_point(|range| range.from <= span.to)]
}

/// A place in a tree: the nibbles that lead there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Prefix {
    /// The nibbles, and zeros after them.
    path: KeyPath,
    depth: usize,
}

impl Prefix {
    /// Where the root is.
    pub(super) const ROOT: Prefix = Prefix {
        path: KeyPath([0; 32]),
        depth: 0,
    };

    pub(super) fn depth(&self) -> usize {
        self.depth
    }

    /// Where the slot of the node here is.
    ///
    /// # Panics
    /// If there can be no node here, since paths have no nibble left, or no such slot.
    pub(super) fn child(&self, slot: usize) -> Prefix {
        assert!(self.depth < DEPTH_MAX, "a node's depth is below the limit");
        assert!(slot < FANOUT, "a node has {FANOUT} slots");
        let mut path = self.path;
        let shift = if self.depth.is_multiple_of(2) { 4 } else { 0 };
        path.0[self.depth / 2] |= (slot as u8) << shift;
        Prefix {
            path,
            depth: self.depth + 1,
        }
    }

    /// All paths that lead here.
    pub(super) fn span(&self) -> PathRange {
        let mut to = self.path;
        let whole = self.depth.div_ceil(2);
        to.0[whole..].fill(0xff);
        if !self.depth.is_multiple_of(2) {
            to.0[self.depth / 2] |= 0x0f;
        }
        PathRange {
            from: self.path,
            to,
        }
    }

    /// The span of the first of some slots of the node here.
    pub(super) fn next_open(&self, open: u16) -> Option<PathRange> {
        (open != 0).then(|| self.child(open.trailing_zeros() as usize).span())
    }

    /// The slots of the node here whose spans meet the window.
    pub(super) fn slots_meeting(&self, window: Window<'_>) -> u16 {
        let whole = |range: &PathRange| {
            let span = self.span();
            range.from <= span.from && span.to <= range.to
        };
        if window.first().is_some_and(whole) {
            return u16::MAX;
        }
        (0..FANOUT)
            .filter(|&slot| !meeting(window, &self.child(slot).span()).is_empty())
            .fold(0, |mask, slot| mask | 1 << slot)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn path(first: u8, last: u8) -> KeyPath {
        let mut bytes = [0; 32];
        (bytes[0], bytes[31]) = (first, last);
        KeyPath(bytes)
    }

    #[test]
    fn a_range_goes_on_after_a_path_until_its_end() {
        let range = PathRange {
            from: path(1, 0),
            to: path(2, 3),
        };
        let rest = range.after(&path(2, 2)).unwrap();
        assert_eq!((rest.from, rest.to), (path(2, 3), path(2, 3)));
        assert_eq!(range.after(&path(2, 3)), None);
        assert_eq!(PathRange::ALL.after(&KeyPath([0xff; 32])), None);
        let carried = range.after(&path(1, 255)).unwrap().from;
        assert_eq!((carried.0[30], carried.0[31]), (1, 0));
    }

    #[test]
    fn the_span_of_a_prefix_is_what_begins_with_it() {
        let root = Prefix::ROOT.span();
        assert_eq!(root, PathRange::ALL);
        let place = Prefix::ROOT.child(3).child(0xa).child(0xf);
        let span = place.span();
        assert_eq!(span.from.0[..3], [0x3a, 0xf0, 0]);
        assert_eq!(span.to.0[..3], [0x3a, 0xff, 0xff]);
        let mut deepest = Prefix::ROOT;
        for _ in 0..DEPTH_MAX {
            deepest = deepest.child(5);
        }
        assert_eq!(deepest.span(), PathRange::point(KeyPath([0x55; 32])));
    }

    #[test]
    fn slots_meet_a_window_where_any_of_its_ranges_does() {
        let range = |from: u8, to: u8| PathRange {
            from: path(from, 0),
            to: path(to, 0),
        };
        let window = [range(0x00, 0x00), range(0x2f, 0x40), range(0xff, 0xff)];
        let slots = 1 | 1 << 2 | 1 << 3 | 1 << 4 | 1 << 15;
        assert_eq!(Prefix::ROOT.slots_meeting(&window), slots);
        assert_eq!(Prefix::ROOT.slots_meeting(&[]), 0);
        assert_eq!(Prefix::ROOT.slots_meeting(&[PathRange::ALL]), u16::MAX);
    }

    proptest! {
        #[test]
        fn meeting_is_what_a_scan_finds(
            mut ends in proptest::collection::btree_set(any::<[u8; 2]>(), 0..20),
            span: [[u8; 2]; 2],
        ) {
            if ends.len() % 2 == 1 {
                ends.pop_last();
            }
            let path = |b: &[u8; 2]| path(b[0], b[1]);
            let ends: Vec<_> = ends.iter().map(path).collect();
            let window: Vec<_> = ends.chunks(2).map(|e| PathRange { from: e[0], to: e[1] }).collect();
            let (a, b) = (path(&span[0]), path(&span[1]));
            let span = PathRange { from: a.min(b), to: a.max(b) };
            let found = window.iter().filter(|r| r.from <= span.to && span.from <= r.to);
            let found: Vec<_> = found.copied().collect();
            prop_assert_eq!(meeting(&window, &span), &found[..]);
        }
    }
}
