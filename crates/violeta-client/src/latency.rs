//! Moving averages of latencies, in whole microseconds.

use std::time::Duration;

use crate::limits::{LATENCY_WEIGHT_EIGHTHS, PATIENCE_LATENCIES, PATIENCE_MS_MAX, PATIENCE_MS_MIN};

/// An exponentially weighted moving average; none before the first observation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Latency(Option<u64>);

impl Latency {
    /// Takes an observation in.
    pub(crate) fn observe(&mut self, took: Duration) {
        let new = u64::try_from(took.as_micros()).unwrap_or(u64::MAX / 8);
        let new = new.min(u64::MAX / 16);
        self.0 = Some(match self.0 {
            None => new,
            Some(old) => (old * (8 - LATENCY_WEIGHT_EIGHTHS) + new * LATENCY_WEIGHT_EIGHTHS) / 8,
        });
    }

    /// Microseconds; none before the first observation.
    pub(crate) fn micros(self) -> Option<u64> {
        self.0
    }

    /// How long a client waits for a commit before it goes to more validators.
    pub(crate) fn patience(self) -> Duration {
        let most = Duration::from_millis(PATIENCE_MS_MAX);
        match self.0 {
            None => most,
            Some(micros) => Duration::from_micros(micros.saturating_mul(PATIENCE_LATENCIES.into()))
                .clamp(Duration::from_millis(PATIENCE_MS_MIN), most),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_average_follows_and_forgets() {
        let mut latency = Latency::default();
        latency.observe(Duration::from_millis(80));
        assert_eq!(latency.micros(), Some(80_000));
        latency.observe(Duration::from_millis(160));
        assert_eq!(
            latency.micros(),
            Some(100_000),
            "three quarters old, one new"
        );
        for _ in 0..50 {
            latency.observe(Duration::from_millis(10));
        }
        assert!(latency.micros().unwrap() < 11_000);
        latency.observe(Duration::MAX);
        latency.observe(Duration::MAX);
    }

    #[test]
    fn patience_is_a_few_latencies_with_a_floor_and_a_ceiling() {
        let patience = |ms| {
            let mut latency = Latency::default();
            latency.observe(Duration::from_millis(ms));
            latency.patience().as_millis()
        };
        assert_eq!(patience(1), 300);
        assert_eq!(patience(200), 800);
        assert_eq!(patience(60_000), 3_000);
        assert_eq!(Latency::default().patience().as_millis(), 3_000);
    }
}
