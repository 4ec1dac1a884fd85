//! The writer's time: the wall clock at start, carried on by the monotonic clock.
//! Never runs back, and never follows a wall clock that jumps.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use mentorlog_events::time::Timestamp;

/// How far wall clock and writer time may drift apart, and how far a start may lie behind the log.
pub const DEVIATION_MAX: Duration = Duration::from_mins(5);

/// Where the time comes from. Tests bring their own.
pub trait Source: Send + Sync + 'static {
    /// What the machine says the time is; may jump.
    fn wall(&self) -> Timestamp;

    /// Time since some fixed moment; never runs back.
    fn monotonic(&self) -> Duration;
}

/// The machine's clocks.
pub struct Machine(Instant);

impl Default for Machine {
    fn default() -> Self {
        Self(Instant::now())
    }
}

impl Source for Machine {
    fn wall(&self) -> Timestamp {
        let micros = match SystemTime::now().duration_since(SystemTime::UNIX_EPOCH) {
            Ok(since) => i64::try_from(since.as_micros()).unwrap_or(i64::MAX),
            Err(before) => -i64::try_from(before.duration().as_micros()).unwrap_or(i64::MAX),
        };
        Timestamp::nearest(micros)
    }

    fn monotonic(&self) -> Duration {
        self.0.elapsed()
    }
}

/// The machine's wall clock cannot be trusted: nothing may be recorded until it agrees again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "the wall clock is {deviation_seconds} s away from the writer's time; nothing is recorded until it agrees, \
     or the service is restarted with --accept-clock"
)]
pub struct Deviates {
    /// Wall clock minus writer time, in seconds.
    pub deviation_seconds: i64,
}

/// Writer time.
pub struct Clock {
    source: Box<dyn Source>,
    wall_at_start: Timestamp,
    monotonic_at_start: Duration,
    /// Writer time is never before this.
    floor: AtomicI64,
    accepted: AtomicBool,
}

impl Clock {
    /// Starts writer time at what the wall clock says now.
    pub fn start(source: impl Source) -> Self {
        Self {
            wall_at_start: source.wall(),
            monotonic_at_start: source.monotonic(),
            source: Box::new(source),
            floor: AtomicI64::new(Timestamp::MIN.as_micros()),
            accepted: AtomicBool::new(false),
        }
    }

    /// Tells the clock when the newest entry of any ledger was recorded.
    pub fn log_ends_at(&self, newest: Timestamp) {
        self.floor.fetch_max(newest.as_micros(), Ordering::Relaxed);
    }

    /// The operator vouches for the wall clock as it was at start, even if the log is ahead of it.
    pub fn accept(&self) {
        self.accepted.store(true, Ordering::Relaxed);
    }

    /// Wall clock at start plus elapsed monotonic time, without regard to the log.
    fn elapsed(&self) -> Timestamp {
        let elapsed = self.source.monotonic().saturating_sub(self.monotonic_at_start);
        self.wall_at_start.plus_micros(i64::try_from(elapsed.as_micros()).unwrap_or(i64::MAX))
    }

    /// Writer time, whether or not the wall clock agrees: for reads and for measures.
    pub fn now(&self) -> Timestamp {
        let floor = Timestamp::nearest(self.floor.load(Ordering::Relaxed));
        self.elapsed().max(floor)
    }

    /// The time that what expires is held against: writer time or the wall clock, whichever is later. A clock that was
    /// put forward ends a token early, one that was put back none late; a machine that slept has gone on meanwhile. After
    /// a start that lies too far behind the log, with a clock that nobody vouched for, what time it is is not known: then
    /// everything that ever expires has.
    pub fn to_expire(&self) -> Timestamp {
        let limit = i64::try_from(DEVIATION_MAX.as_micros()).unwrap_or(i64::MAX);
        let behind = self.now().as_micros().saturating_sub(self.elapsed().as_micros());
        if behind > limit && !self.accepted.load(Ordering::Relaxed) {
            return Timestamp::MAX;
        }
        self.now().max(self.source.wall())
    }

    /// Wall clock minus writer time, in microseconds.
    pub fn deviation_micros(&self) -> i64 {
        self.source.wall().as_micros() - self.now().as_micros()
    }

    /// Writer time for recording: refused while the wall clock is more than [`DEVIATION_MAX`] away from it,
    /// or while the log is that far ahead of a start whose clock nobody vouched for.
    pub fn to_record(&self) -> Result<Timestamp, Deviates> {
        let limit = i64::try_from(DEVIATION_MAX.as_micros()).unwrap_or(i64::MAX);
        let (elapsed, now) = (self.elapsed(), self.now());
        let wall = self.source.wall().as_micros();
        let deviation = if self.accepted.load(Ordering::Relaxed) {
            // The log being ahead is accepted; a jump after the start is not.
            wall - elapsed.as_micros()
        } else {
            wall - now.as_micros()
        };
        if deviation.abs() > limit {
            return Err(Deviates { deviation_seconds: deviation / 1_000_000 });
        }
        // The log's time never runs back, whatever the machine's does.
        self.floor.fetch_max(now.as_micros(), Ordering::Relaxed);
        Ok(now)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::Mutex;

    use super::*;

    #[derive(Clone)]
    struct Virtual(Arc<Mutex<(i64, Duration)>>);

    impl Virtual {
        fn at(seconds: i64) -> Self {
            Self(Arc::new(Mutex::new((seconds, Duration::ZERO))))
        }

        fn advance(&self, seconds: u64) {
            let mut now = self.0.lock().unwrap();
            now.0 += i64::try_from(seconds).unwrap();
            now.1 += Duration::from_secs(seconds);
        }

        fn jump(&self, seconds: i64) {
            self.0.lock().unwrap().0 += seconds;
        }
    }

    impl Source for Virtual {
        fn wall(&self) -> Timestamp {
            Timestamp::from_micros(self.0.lock().unwrap().0 * 1_000_000).unwrap()
        }

        fn monotonic(&self) -> Duration {
            self.0.lock().unwrap().1
        }
    }

    const START: i64 = 1_790_000_000;

    fn seconds(clock: &Clock) -> Result<i64, i64> {
        clock.to_record().map(|t| t.as_micros() / 1_000_000).map_err(|d| d.deviation_seconds)
    }

    #[test]
    fn a_jump_of_the_wall_clock_moves_nothing_and_a_large_one_stops_recording_until_it_agrees() {
        let source = Virtual::at(START);
        let clock = Clock::start(source.clone());
        source.advance(10);
        assert_eq!(seconds(&clock), Ok(START + 10));
        source.jump(-200);
        assert_eq!(seconds(&clock), Ok(START + 10), "small jumps are ignored");
        source.jump(-200);
        assert_eq!(seconds(&clock), Err(-400));
        source.jump(864_000);
        assert_eq!(seconds(&clock), Err(863_600));
        source.jump(-863_600);
        source.advance(1);
        assert_eq!(seconds(&clock), Ok(START + 11));
    }

    #[test]
    fn a_start_far_behind_the_log_records_nothing_until_the_operator_accepts_the_clock() {
        let source = Virtual::at(START);
        let clock = Clock::start(source.clone());
        let ahead = |by: i64| Timestamp::from_micros((START + by) * 1_000_000).unwrap();
        clock.log_ends_at(ahead(200));
        assert_eq!(
            seconds(&clock),
            Ok(START + 200),
            "a little behind: time stands still until it catches up"
        );
        clock.log_ends_at(ahead(864_000));
        assert_eq!(seconds(&clock), Err(-864_000));
        assert_eq!(clock.now(), ahead(864_000), "reads go on");
        clock.accept();
        assert_eq!(seconds(&clock), Ok(START + 864_000), "still not earlier than what is in the log");
        source.jump(-600);
        assert_eq!(seconds(&clock), Err(-600), "what was accepted is the start, not a later jump");
    }
}
