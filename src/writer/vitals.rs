//! What the writer measures of itself, in atomics that a scrape may read at any time.
//! Never decides anything.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use mentorlog_events::time::Timestamp;

// A log times its own syncs; whoever shows both needs no other room.
pub use crate::ledger::durations::{BOUNDS_SECONDS, Durations};

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
    /// When the last group was acknowledged, in microseconds since the epoch; at first, when the newest entry of
    /// the log was recorded; 0: there is none.
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
