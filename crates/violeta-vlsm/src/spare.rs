//! Buffers that serve one version after another.
//!
//! Each version fills a few buffers of up to some megabytes: its log record, its nodes' records, what changes in memory.
//! Memory of that size goes back to the kernel when it is freed, which clears it before it gives it out again: that was
//! an eighth of what a put cost. So a few buffers are kept.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::limits::{SPARE_BUFFERS_MAX, SPARE_BYTES_MAX};

/// A buffer for so many elements is at most so many times as large.
const LOOSE_MAX: usize = 4;

/// A few buffers, empty, with the capacity that they had.
#[derive(Debug)]
pub(crate) struct Spare<T> {
    /// Oldest first.
    kept: Mutex<Vec<Vec<T>>>,
    bytes_max: usize,
    buffers_max: usize,
}

impl<T> Default for Spare<T> {
    fn default() -> Self {
        Spare::new(SPARE_BYTES_MAX, SPARE_BUFFERS_MAX)
    }
}

impl<T> Spare<T> {
    /// Keeps so many bytes at most, in so many buffers.
    pub(crate) fn new(bytes_max: usize, buffers_max: usize) -> Self {
        Spare {
            kept: Mutex::new(Vec::new()),
            bytes_max,
            buffers_max,
        }
    }

    fn kept(&self) -> MutexGuard<'_, Vec<Vec<T>>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A buffer: the one that was kept last, or a new one.
    pub(crate) fn take(&self) -> Vec<T> {
        self.kept().pop().unwrap_or_default()
    }

    /// A buffer with room for `len` elements: of those that are kept and not far too large the smallest, or a new one.
    pub(crate) fn take_for(&self, len: usize) -> Vec<T> {
        let mut kept = self.kept();
        let fitting = kept.iter().enumerate().filter(|(_, buffer)| {
            (len..=LOOSE_MAX.saturating_mul(len)).contains(&buffer.capacity())
        });
        match fitting.min_by_key(|(_, buffer)| buffer.capacity()) {
            Some((index, _)) => kept.remove(index),
            None => Vec::with_capacity(len),
        }
    }

    /// Keeps a buffer that isn't used any more. Those that were kept longest make room for it: what nobody takes is of
    /// a size that nobody needs now.
    pub(crate) fn keep(&self, mut buffer: Vec<T>) {
        buffer.clear();
        let bytes = |buffer: &Vec<T>| buffer.capacity() * size_of::<T>();
        if bytes(&buffer) == 0 || bytes(&buffer) > self.bytes_max || self.buffers_max == 0 {
            return;
        }
        let mut kept = self.kept();
        kept.push(buffer);
        let (mut count, mut total) = (kept.len(), kept.iter().map(bytes).sum::<usize>());
        let too_many = kept.iter().take_while(|oldest| {
            let more = count > self.buffers_max || total > self.bytes_max;
            (count, total) = (count - 1, total - bytes(oldest));
            more
        });
        let too_many = too_many.count();
        kept.drain(..too_many);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_come_back_empty_within_their_bounds() {
        let spare = Spare::default();
        spare.keep(vec![7u64; 100]);
        let buffer = spare.take();
        assert!(buffer.is_empty() && buffer.capacity() >= 100);
        assert_eq!(spare.take().capacity(), 0, "there was one");
        spare.keep(Vec::<u64>::with_capacity(SPARE_BYTES_MAX / 8 + 1));
        assert_eq!(spare.take().capacity(), 0, "too large");
        for _ in 0..2 * SPARE_BUFFERS_MAX {
            spare.keep(Vec::<u64>::with_capacity(1));
        }
        let kept = (0..).take_while(|_| spare.take().capacity() > 0).count();
        assert_eq!(kept, SPARE_BUFFERS_MAX);
    }

    #[test]
    fn what_nobody_takes_makes_room_for_what_comes() {
        let spare = Spare::new(1_000, 3);
        let keep = |capacity| spare.keep(Vec::<u8>::with_capacity(capacity));
        let capacities = || spare.kept().iter().map(Vec::capacity).collect::<Vec<_>>();
        [10, 20, 30, 40].into_iter().for_each(keep);
        assert_eq!(capacities(), [20, 30, 40], "as many as may be");
        assert_eq!(spare.take_for(30).capacity(), 30);
        keep(940);
        assert_eq!(capacities(), [20, 40, 940], "as much as may be");
        keep(50);
        assert_eq!(capacities(), [940, 50]);
        keep(51);
        assert_eq!(
            capacities(),
            [50, 51],
            "two would have done, but for their bytes"
        );
        keep(1_001);
        assert_eq!(
            capacities(),
            [50, 51],
            "for what can't be kept nothing goes"
        );
        keep(1_000);
        assert_eq!(capacities(), [1_000]);
    }

    #[test]
    fn of_those_with_room_the_smallest_is_taken_unless_it_is_far_too_large() {
        let spare = Spare::new(1 << 20, 8);
        for capacity in [100, 40, 1_000, 60] {
            spare.keep(Vec::<u8>::with_capacity(capacity));
        }
        assert_eq!(spare.take_for(50).capacity(), 60);
        assert_eq!(spare.take_for(50).capacity(), 100);
        assert_eq!(spare.take_for(50).capacity(), 50, "a new one");
        assert_eq!(spare.take_for(250).capacity(), 1_000);
        assert_eq!(spare.take_for(0).capacity(), 0);
    }
}
