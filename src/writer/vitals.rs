//! What the writer measures of itself, in atomics that a scrape may read at any time.
//! Never decides anything.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use mentorlog_events::time::Timestamp;

/// Upper bounds of the buckets of [`Durations`], in seconds.
pub const BOUNDS_SECONDS: [f64; 14] =
    [0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0];

/// A histogram of durations with fixed buckets.
#[derive(Default)]
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

/// What the writer measures of itself.
#[derive(Default)]
pub struct Vitals {
    /// From handing a group to the log to its acknowledgement.
    pub append: Durations,
    /// From a submission's arrival to its answer.
    pub answer: Durations,
    /// Groups appended.
    pub groups: AtomicU64,
    /// Events appended.
    pub events: AtomicU64,
    /// Bytes of the entries appended.
    pub bytes: AtomicU64,
    /// When the last group was acknowledged, in microseconds since the epoch; 0: not yet.
    pub last_append_micros: AtomicI64,
    /// How long the replay at the start took, in microseconds.
    pub replay_micros: AtomicU64,
    /// How many entries the replay at the start read.
    pub replayed: AtomicU64,
}

impl Vitals {
    pub(super) fn appended(&self, events: u64, bytes: u64, took: Duration, at: Timestamp) {
        self.append.observe(took);
        self.groups.fetch_add(1, Ordering::Relaxed);
        self.events.fetch_add(events, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.last_append_micros.store(at.as_micros(), Ordering::Relaxed);
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
