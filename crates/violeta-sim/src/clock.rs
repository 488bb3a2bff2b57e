//! Virtual time, and what each validator takes it for.
//!
//! ```text
//!   virtual time  0 ────────────────────────────────────────────────▶  µs, the world's own
//!   monotonic     begins anew, at some number, with each start of the process
//!   wall          genesis + virtual time + skew
//! ```

use violeta_consensus::Now;
use violeta_types::TimeMs;

/// Virtual time, in µs since the world began.
pub(crate) type Micros = u64;

/// Milliseconds as virtual time.
pub(crate) const fn ms(n: u64) -> Micros {
    n * 1_000
}

/// Seconds as virtual time.
pub(crate) const fn seconds(n: u64) -> Micros {
    n * 1_000_000
}

/// When the chain begins.
pub(crate) const GENESIS: TimeMs = TimeMs(1_700_000_000_000);

/// The honest wall clock.
pub(crate) fn wall(now: Micros) -> TimeMs {
    TimeMs(GENESIS.0 + now / 1_000)
}

/// One validator's clocks.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Clock {
    /// Virtual time at which the process started.
    started: Micros,
    /// What its monotonic clock showed then.
    base: u64,
    /// How far its wall clock is off, in ms.
    skew_ms: i64,
}

impl Clock {
    /// The clocks of a process that starts now.
    pub(crate) fn restart(&mut self, now: Micros, base: u64) {
        (self.started, self.base) = (now, base);
    }

    /// Sets how far the wall clock is off.
    pub(crate) fn set_skew(&mut self, skew_ms: i64) {
        self.skew_ms = skew_ms;
    }

    /// What the process is told.
    pub(crate) fn read(&self, now: Micros) -> Now {
        assert!(now >= self.started, "time doesn't go back");
        Now {
            monotonic_us: self.base + (now - self.started),
            wall: TimeMs(wall(now).0.saturating_add_signed(self.skew_ms)),
        }
    }

    /// The virtual time at which the monotonic clock shows this.
    pub(crate) fn when(&self, monotonic_us: u64) -> Micros {
        self.started + monotonic_us.saturating_sub(self.base)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn monotonic_time_is_the_process_own_and_wall_time_may_be_off() {
        let mut clock = Clock::default();
        clock.restart(seconds(5), 777);
        clock.set_skew(-250);
        let now = clock.read(seconds(6));
        assert_eq!(now.monotonic_us, 1_000_777);
        assert_eq!(now.wall, TimeMs(GENESIS.0 + 6_000 - 250));
        assert_eq!(clock.when(1_000_777), seconds(6));
        assert_eq!(clock.when(0), seconds(5), "what is past is due at once");
    }
}
