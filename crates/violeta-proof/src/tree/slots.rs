//! A node's sixteen slots from left to right: which groups of them go by one digest, and how digests become one.
//!
//! ```text
//!   slot      0 1 2 3   4  5  6 7   8 9 a b c d e f
//!   filled    . # . .   #  #  . #   # # . . # . # #
//!   open                   ^
//!   groups   (───d₀──) d₁    (d₂─) (──────d₃───────)    the largest aligned ones with nothing open in them
//! ```

use violeta_types::Digest;

use super::rules::{FANOUT, join};

/// The slots of a group.
pub(super) fn group(first: usize, width: usize) -> u16 {
    (((1u32 << width) - 1) << first) as u16
}

/// The width of the largest aligned group that begins at `first` and has no slot of `apart` in it; 0 if `first` is one.
pub(super) fn widest_without(apart: u16, first: usize) -> usize {
    [16, 8, 4, 2, 1]
        .into_iter()
        .find(|&width| first.is_multiple_of(width) && apart & group(first, width) == 0)
        .unwrap_or(0)
}

/// The largest group of closed slots from `at` on that is wholly inside of the window, or wholly outside, as far as its
/// slots are filled: how wide it is, and whether it is inside.
pub(super) fn widest_closed(filled: u16, inside: u16, open: u16, at: usize) -> (usize, bool) {
    let within = widest_without(open | filled & !inside, at);
    let without = widest_without(open | filled & inside, at);
    (within.max(without), within >= without)
}

/// The compressed root of a node, made of groups from left to right. Of each width, one digest at most waits.
#[derive(Clone, Debug, Default)]
pub(super) struct Halves {
    /// The slot that comes next.
    at: usize,
    /// By width (1, 2, 4, 8, 16): a left half whose right one is still to come; the last is the result.
    waiting: [Option<Digest>; 5],
}

impl Halves {
    /// The slot that comes next; [`FANOUT`] after the last.
    pub(super) fn at(&self) -> usize {
        self.at
    }

    /// Adds the group of `width` slots that begins at [`Halves::at`].
    ///
    /// # Panics
    /// If that group isn't aligned, or beyond the last slot.
    pub(super) fn push(&mut self, width: usize, digest: Option<Digest>) {
        assert!(width.is_power_of_two() && self.at.is_multiple_of(width));
        assert!(self.at + width <= FANOUT, "a node has {FANOUT} slots");
        let (mut first, mut width, mut digest) = (self.at, width, digest);
        self.at += width;
        while first & width != 0 {
            digest = join(self.waiting[width.trailing_zeros() as usize], digest);
            first -= width;
            width *= 2;
        }
        self.waiting[width.trailing_zeros() as usize] = digest;
    }

    /// The compressed root, once all slots are there; none if all are empty.
    pub(super) fn root(&self) -> Option<Digest> {
        assert_eq!(self.at, FANOUT, "all slots are there");
        self.waiting[4]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::rules::{slots_root, value_hash};
    use proptest::prelude::*;

    #[test]
    fn groups_are_the_largest_that_leave_the_open_slots_out() {
        let cut = |apart: u16| {
            let (mut at, mut widths) = (0, vec![]);
            while at < FANOUT {
                widths.push(widest_without(apart, at));
                at += widths.last().unwrap().max(&1);
            }
            widths
        };
        assert_eq!(cut(0), [16]);
        assert_eq!(cut(1), [0, 1, 2, 4, 8]);
        assert_eq!(cut(1 << 15), [8, 4, 2, 1, 0]);
        assert_eq!(cut(1 << 5), [4, 1, 0, 2, 8]);
        assert_eq!(cut(u16::MAX), [0; 16]);
    }

    proptest! {
        #[test]
        fn however_the_slots_are_grouped_the_root_is_one(bitmap: u16, apart: u16) {
            let mut slots = [None; FANOUT];
            for (i, slot) in slots.iter_mut().enumerate() {
                *slot = (bitmap >> i & 1 == 1).then(|| value_hash(&[i as u8]));
            }
            let of_group = |first: usize, width: usize| {
                let mut alone = [None; FANOUT];
                alone[first..first + width].copy_from_slice(&slots[first..first + width]);
                slots_root(&alone)
            };
            let mut halves = Halves::default();
            while halves.at() < FANOUT {
                let width = widest_without(apart, halves.at()).max(1);
                halves.push(width, of_group(halves.at(), width));
            }
            prop_assert_eq!(halves.root(), slots_root(&slots));
        }
    }
}
