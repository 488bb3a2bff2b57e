//! The one place that reads the clock for the replica.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use violeta_replica::Now;
use violeta_types::TimeMs;

/// A monotonic clock that begins at 1 µs, and the wall clock.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    start: Instant,
}

impl Default for Clock {
    fn default() -> Self {
        Clock::start()
    }
}

impl Clock {
    /// A clock that begins now.
    pub fn start() -> Self {
        let start = Instant::now();
        Clock { start }
    }

    /// The time.
    pub fn now(&self) -> Now {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH);
        Now {
            monotonic_us: 1 + self.start.elapsed().as_micros() as u64,
            // A clock before 1970 is a broken clock; consensus time doesn't follow it (consensus.md §6).
            wall: TimeMs(wall.map_or(0, |t| t.as_millis() as u64)),
        }
    }

    /// When the monotonic clock shows this.
    pub fn instant(&self, monotonic_us: u64) -> Instant {
        // Beyond a year there is nothing to be on time for; the sum can't overflow.
        const FAR_US: u64 = 365 * 24 * 3_600 * 1_000_000;
        let elapsed = self.start.elapsed().as_micros() as u64;
        self.start + Duration::from_micros(monotonic_us.min(elapsed + FAR_US))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_and_readings_agree() {
        let clock = Clock::start();
        let now = clock.now().monotonic_us;
        assert!(now >= 1);
        assert!(clock.instant(now) <= Instant::now() + Duration::from_millis(1));
        assert!(clock.instant(now + 1_000_000) > Instant::now());
        assert!(clock.instant(u64::MAX) > Instant::now());
    }
}
