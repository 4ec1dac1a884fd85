//! A histogram of durations, in atomics that may be read at any time.
//! Never decides anything.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Upper bounds of the buckets of [`Durations`], in seconds.
pub const BOUNDS_SECONDS: [f64; 14] =
    [0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0];

/// A histogram of durations with fixed buckets.
#[derive(Debug, Default)]
pub struct Durations {
    buckets: [AtomicU64; BOUNDS_SECONDS.len() + 1],
    sum_nanos: AtomicU64,
}

impl Durations {
    /// Counts one duration.
    pub fn observe(&self, duration: Duration) {
        let seconds = duration.as_secs_f64();
        let bucket =
            BOUNDS_SECONDS.iter().position(|bound| seconds <= *bound).unwrap_or(BOUNDS_SECONDS.len());
        self.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        self.sum_nanos.fetch_add(nanos, Ordering::Relaxed);
    }

    /// Cumulative counts up to each of [`BOUNDS_SECONDS`], then the count of all; and the sum in seconds.
    pub fn read(&self) -> ([u64; BOUNDS_SECONDS.len() + 1], f64) {
        let mut sum = 0;
        let counts = std::array::from_fn(|bucket| {
            sum += self.buckets[bucket].load(Ordering::Relaxed);
            sum
        });
        (counts, Duration::from_nanos(self.sum_nanos.load(Ordering::Relaxed)).as_secs_f64())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_counted_in_every_bucket_that_holds_it() {
        let durations = Durations::default();
        for micros in [10, 100, 101, 10_000_000] {
            durations.observe(Duration::from_micros(micros));
        }
        let (counts, sum) = durations.read();
        assert_eq!(&counts[..3], [1, 2, 3]);
        assert_eq!(&counts[13..], [3, 4]);
        assert!((sum - 10.000_211).abs() < 1e-9);
    }
}
