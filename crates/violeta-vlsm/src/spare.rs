//! Buffers that serve one version after another.
//!
//! Each version fills a few buffers of up to some megabytes: its log record, its nodes' records, what changes in memory.
//! Memory of that size goes back to the kernel when it is freed, which clears it before it gives it out again: that was
//! an eighth of what a put cost. So a few buffers are kept.

use std::sync::{Mutex, PoisonError};

use crate::limits::{SPARE_BUFFERS_MAX, SPARE_BYTES_MAX};

/// A few buffers, empty, with the capacity that they had.
#[derive(Debug)]
pub(crate) struct Spare<T>(Mutex<Vec<Vec<T>>>);

impl<T> Default for Spare<T> {
    fn default() -> Self {
        Spare(Mutex::new(Vec::new()))
    }
}

impl<T> Spare<T> {
    /// A buffer: the one that was kept last, or a new one.
    pub(crate) fn take(&self) -> Vec<T> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.pop().unwrap_or_default()
    }

    /// Keeps a buffer that isn't used any more, if there aren't enough already.
    pub(crate) fn keep(&self, mut buffer: Vec<T>) {
        buffer.clear();
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let capacity = kept.iter().map(Vec::capacity).sum::<usize>() + buffer.capacity();
        let fits = capacity * size_of::<T>() <= SPARE_BYTES_MAX;
        if fits && kept.len() < SPARE_BUFFERS_MAX && buffer.capacity() > 0 {
            kept.push(buffer);
        }
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
}
