//! A token bucket: so much a second, and so much at once.

/// What may be spent, refilled with time up to a burst. Counts in micro-units, so that no fraction is lost.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bucket {
    per_second: u64,
    burst: u64,
    micro: u64,
    filled_us: u64,
}

impl Bucket {
    /// A full bucket.
    pub(crate) fn new(per_second: u64, burst: u64) -> Self {
        Bucket {
            per_second,
            burst,
            micro: burst.saturating_mul(1_000_000),
            filled_us: 0,
        }
    }

    fn fill(&mut self, now_us: u64) {
        let passed = now_us.saturating_sub(self.filled_us);
        self.filled_us = self.filled_us.max(now_us);
        let gained = passed.saturating_mul(self.per_second);
        self.micro = (self.micro.saturating_add(gained)).min(self.burst.saturating_mul(1_000_000));
    }

    /// Spends `units` if they are there.
    pub(crate) fn spend(&mut self, units: u64, now_us: u64) -> bool {
        self.fill(now_us);
        let micro = units.saturating_mul(1_000_000);
        let enough = self.micro >= micro;
        if enough {
            self.micro -= micro;
        }
        enough
    }

    /// Spends `units`, or whatever is left.
    pub(crate) fn spend_up_to(&mut self, units: u64, now_us: u64) {
        self.fill(now_us);
        self.micro = self.micro.saturating_sub(units.saturating_mul(1_000_000));
    }

    /// When `units` (at most the burst) will be there: now, or later.
    pub(crate) fn ready_us(&mut self, units: u64, now_us: u64) -> u64 {
        self.fill(now_us);
        let micro = units.min(self.burst).saturating_mul(1_000_000);
        let lacking = micro.saturating_sub(self.micro);
        now_us.saturating_add(lacking.div_ceil(self.per_second.max(1)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_and_then_so_much_a_second() {
        let mut bucket = Bucket::new(50, 3);
        let start = 7_000_000;
        assert!((0..3).all(|_| bucket.spend(1, start)));
        assert!(!bucket.spend(1, start));
        assert_eq!(bucket.ready_us(1, start), start + 20_000);
        assert!(!bucket.spend(1, start + 19_999));
        assert!(bucket.spend(1, start + 20_000));
        let long_after = start + 60_000_000;
        assert!(bucket.spend(3, long_after));
        assert!(!bucket.spend(1, long_after), "never more than the burst");
    }

    #[test]
    fn more_than_the_burst_is_ready_once_the_burst_is() {
        let mut bucket = Bucket::new(50, 3);
        let start = 7_000_000;
        assert!(bucket.spend(3, start));
        assert_eq!(bucket.ready_us(2, start), start + 40_000);
        assert_eq!(bucket.ready_us(10, start), start + 60_000);
    }

    #[test]
    fn time_that_goes_back_gives_nothing() {
        let mut bucket = Bucket::new(50, 1);
        assert!(bucket.spend(1, 1_000_000));
        assert!(!bucket.spend(1, 0));
        assert!(!bucket.spend(1, 1_000_000));
    }
}
