//! A token bucket: so much a second, and so much at once. What costs more than is known beforehand is paid for
//! afterwards, on credit if need be; then nothing more is spent until time has paid that back.

/// What may be spent, refilled with time up to a burst. Counts in micro-units, so that no fraction is lost.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bucket {
    per_second: u64,
    burst: u64,
    /// What is there; nothing while something is owed.
    micro: u64,
    /// What was spent and wasn't there.
    owed_micro: u64,
    filled_us: u64,
}

impl Bucket {
    /// A full bucket.
    pub(crate) fn new(per_second: u64, burst: u64) -> Self {
        Bucket {
            per_second,
            burst,
            micro: burst.saturating_mul(1_000_000),
            owed_micro: 0,
            filled_us: 0,
        }
    }

    fn fill(&mut self, now_us: u64) {
        let passed = now_us.saturating_sub(self.filled_us);
        self.filled_us = self.filled_us.max(now_us);
        let gained = passed.saturating_mul(self.per_second);
        let paid_back = gained.min(self.owed_micro);
        self.owed_micro -= paid_back;
        self.micro = (self.micro.saturating_add(gained - paid_back))
            .min(self.burst.saturating_mul(1_000_000));
        assert!(self.owed_micro == 0 || self.micro == 0);
    }

    /// Spends `units` if they are there.
    pub(crate) fn spend(&mut self, units: u64, now_us: u64) -> bool {
        self.fill(now_us);
        let micro = units.saturating_mul(1_000_000);
        let enough = self.owed_micro == 0 && self.micro >= micro;
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

    /// Spends `units`, and owes what isn't there.
    pub(crate) fn spend_on_credit(&mut self, units: u64, now_us: u64) {
        self.fill(now_us);
        let micro = units.saturating_mul(1_000_000);
        let there = micro.min(self.micro);
        self.micro -= there;
        self.owed_micro = self.owed_micro.saturating_add(micro - there);
    }

    /// When `units` (at most the burst) will be there: now, or later.
    pub(crate) fn ready_us(&mut self, units: u64, now_us: u64) -> u64 {
        self.fill(now_us);
        let micro = units.min(self.burst).saturating_mul(1_000_000);
        let lacking = (micro.saturating_add(self.owed_micro)).saturating_sub(self.micro);
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
    fn what_was_spent_on_credit_is_paid_back_before_more_is_spent() {
        let mut bucket = Bucket::new(50, 3);
        let start = 7_000_000;
        bucket.spend_on_credit(2, start);
        assert!(bucket.spend(1, start), "that was there");
        bucket.spend_on_credit(4, start);
        assert_eq!(bucket.ready_us(1, start), start + 5 * 20_000);
        assert!(!bucket.spend(0, start + 79_999), "something is owed");
        assert!(!bucket.spend(1, start + 99_999));
        assert!(bucket.spend(1, start + 100_000));
        let long_after = start + 60_000_000;
        assert!(bucket.spend(3, long_after));
        assert!(!bucket.spend(1, long_after), "never more than the burst");
    }

    #[test]
    fn time_that_goes_back_gives_nothing() {
        let mut bucket = Bucket::new(50, 1);
        assert!(bucket.spend(1, 1_000_000));
        assert!(!bucket.spend(1, 0));
        assert!(!bucket.spend(1, 1_000_000));
    }
}
