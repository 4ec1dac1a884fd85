//! How often somebody may ask, and how often a peer may fail to say who it is.
//! Never keeps more than a bounded table, and never punishes whoever says rightly who they are for others who do not.

use std::num::NonZeroU32;
use std::time::Duration;

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use governor::clock::{Clock, MonotonicClock};
use governor::middleware::{NoOpMiddleware, StateInformationMiddleware};
use governor::state::keyed::HashMapStateStore;
use governor::{Quota, RateLimiter};
use mentorlog_events::entry::Principal;
use mentorlog_events::id::TokenId;

use super::seats::Network;
use crate::http::problem::{Code, Problem};

/// Requests a second that a token may sustain when nothing else is said.
pub const PER_SECOND: u32 = 1000;

/// A whole quota is this many seconds' worth: as much may come at once.
pub const WINDOW_SECONDS: u32 = 10;

/// Requests of one peer without a valid token, a minute, when nothing else is said; as many at once.
pub const STRANGERS_PER_MINUTE: u32 = 60;

/// Most peers that are told apart; further ones share one entry.
const PEERS_MAX: usize = 4096;

const POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const STANDING: HeaderName = HeaderName::from_static("ratelimit");

/// Who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asker {
    /// The principal of the token, or the one there is without tokens.
    pub principal: Principal,
    /// The token; never its secret.
    pub token: Option<TokenId>,
}

/// What is counted together: one token's requests, or all that come without any.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Key {
    Token(TokenId),
    Tokenless,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Peer {
    One(Network),
    /// All that found the table full.
    Others,
}

/// How often each may ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Rate {
    /// [`PER_SECOND`] a token; no limit for whoever needs none.
    #[default]
    Usual,
    /// So many requests a second, also without a token.
    PerSecond(NonZeroU32),
    /// As often as they like.
    Unlimited,
}

/// Where somebody stands after a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    quota: u32,
    remaining: u32,
    /// Until the quota is whole again.
    seconds: u64,
}

impl Standing {
    /// Writes `RateLimit` and `RateLimit-Policy` (draft-ietf-httpapi-ratelimit-headers-10).
    pub fn write(self, headers: &mut HeaderMap) {
        let Self { quota, remaining, seconds } = self;
        let policy = format!("\"default\";q={quota};w={WINDOW_SECONDS}");
        let standing = format!("\"default\";r={remaining};t={seconds}");
        for (name, text) in [(POLICY, policy), (STANDING, standing)] {
            if let Ok(value) = HeaderValue::from_str(&text) {
                headers.insert(name, value);
            }
        }
    }
}

/// The quota is used up.
#[derive(Debug)]
pub struct Over {
    /// What the asker is told.
    pub problem: Problem,
    /// Where it stands.
    pub standing: Standing,
}

type Limiter<K, C, M> = RateLimiter<K, HashMapStateStore<K>, C, M>;
type Counting<C> = Limiter<Key, C, StateInformationMiddleware>;
type Silent<C> = Limiter<Peer, C, NoOpMiddleware<<C as Clock>::Instant>>;

/// Counts requests and failures.
pub struct Rates<C: Clock = MonotonicClock> {
    askers: Option<Counting<C>>,
    /// Whether requests without a token are counted.
    tokenless: bool,
    quota: u32,
    /// `None`: whoever has no valid token may try as often as they like.
    failures: Option<Silent<C>>,
    clock: C,
}

impl Rates {
    /// Counts by the machine's monotonic clock. `strangers`: requests of one peer without a valid token, a minute;
    /// `None`: as many as it likes.
    pub fn new(rate: Rate, strangers: Option<NonZeroU32>) -> Self {
        Self::by(rate, strangers, MonotonicClock)
    }
}

impl<C: Clock + Clone> Rates<C> {
    fn by(rate: Rate, strangers: Option<NonZeroU32>, clock: C) -> Self {
        let usual = NonZeroU32::new(PER_SECOND).expect("above zero");
        let (per_second, tokenless) = match rate {
            Rate::Usual => (Some(usual), false),
            Rate::PerSecond(rate) => (Some(rate), true),
            Rate::Unlimited => (None, false),
        };
        let burst =
            |rate: NonZeroU32| rate.saturating_mul(NonZeroU32::new(WINDOW_SECONDS).expect("above zero"));
        let askers = per_second.map(|rate| {
            let quota = Quota::per_second(rate).allow_burst(burst(rate));
            Counting::new(quota, HashMapStateStore::default(), clock.clone())
        });
        let failures = strangers.map(|per_minute| {
            RateLimiter::new(Quota::per_minute(per_minute), HashMapStateStore::default(), clock.clone())
        });
        let quota = per_second.map_or(0, |rate| burst(rate).get());
        Self { askers, tokenless, quota, failures, clock }
    }

    /// Counts a request of this asker. `None`: there is no limit for it.
    pub fn admit(&self, asker: &Asker) -> Result<Option<Standing>, Box<Over>> {
        let Some(askers) = &self.askers else { return Ok(None) };
        let key = match asker.token {
            Some(token) => Key::Token(token),
            None if self.tokenless => Key::Tokenless,
            None => return Ok(None),
        };
        let per_second = u64::from((self.quota / WINDOW_SECONDS).max(1));
        match askers.check_key(&key) {
            Ok(state) => {
                let remaining = state.remaining_burst_capacity();
                let used = u64::from(self.quota.saturating_sub(remaining));
                Ok(Some(Standing { quota: self.quota, remaining, seconds: used.div_ceil(per_second) }))
            }
            Err(until) => {
                let seconds = whole_seconds(until.wait_time_from(self.clock.now()));
                let standing =
                    Standing { quota: self.quota, remaining: 0, seconds: u64::from(WINDOW_SECONDS) };
                let detail = format_args!(
                    "your quota is {per_second} a second, and {} at once: wait {seconds} s",
                    self.quota
                );
                let problem = Problem::new(Code::RateLimited, detail).again_in(seconds);
                Err(Box::new(Over { problem, standing }))
            }
        }
    }

    /// Counts a request of a peer that did not say rightly who it is; a problem when there were too many.
    pub fn failed(&self, network: Network) -> Result<(), Problem> {
        let Some(failures) = &self.failures else { return Ok(()) };
        let mut peer = Peer::One(network);
        if failures.len() >= PEERS_MAX {
            failures.retain_recent();
            if failures.len() >= PEERS_MAX {
                peer = Peer::Others;
            }
        }
        failures.check_key(&peer).map_err(|until| {
            let seconds = whole_seconds(until.wait_time_from(self.clock.now()));
            let detail = format_args!("too many requests without a valid token: wait {seconds} s");
            Problem::new(Code::RateLimited, detail).again_in(seconds)
        })
    }

    /// Forgets whoever has a whole quota again.
    pub fn tidy(&self) {
        if let Some(askers) = &self.askers {
            askers.retain_recent();
        }
        if let Some(failures) = &self.failures {
            failures.retain_recent();
        }
    }
}

/// Rounded up, at least one.
fn whole_seconds(wait: Duration) -> u64 {
    (wait.as_secs() + u64::from(wait.subsec_nanos() > 0)).max(1)
}

#[cfg(test)]
mod tests {
    use governor::clock::FakeRelativeClock;

    use super::*;

    fn asker(token: Option<u128>) -> Asker {
        let token = token.map(|n| uuid::Uuid::from_u128(n).to_string().parse().unwrap());
        Asker { principal: "hr".parse().unwrap(), token }
    }

    fn per_second(n: u32) -> Rate {
        Rate::PerSecond(NonZeroU32::new(n).unwrap())
    }

    #[test]
    fn a_quota_is_used_up_and_comes_back_with_time() {
        let clock = FakeRelativeClock::default();
        let rates = Rates::by(per_second(2), None, clock.clone());
        let one = asker(Some(1));
        for used in 1..=20_u32 {
            let standing = rates.admit(&one).unwrap().unwrap();
            let seconds = u64::from(used.div_ceil(2));
            assert_eq!(standing, Standing { quota: 20, remaining: 20 - used, seconds });
        }
        let Over { problem, standing } = *rates.admit(&one).unwrap_err();
        assert_eq!((problem.code(), standing.remaining), ("rate-limited", 0));
        assert!(rates.admit(&asker(Some(2))).is_ok(), "each token for itself");
        assert!(rates.admit(&asker(None)).unwrap().is_some(), "and those without any together");
        clock.advance(Duration::from_millis(500));
        assert_eq!(rates.admit(&one).unwrap().unwrap().remaining, 0);
        assert!(rates.admit(&one).is_err());
        let mut headers = HeaderMap::new();
        standing.write(&mut headers);
        assert_eq!(headers["ratelimit-policy"], "\"default\";q=20;w=10");
        assert_eq!(headers["ratelimit"], "\"default\";r=0;t=10");
    }

    #[test]
    fn whoever_needs_no_token_is_limited_only_when_that_is_asked_for() {
        let (one, local) = (asker(Some(1)), asker(None));
        let usual = Rates::by(Rate::Usual, None, FakeRelativeClock::default());
        assert!(usual.admit(&one).unwrap().is_some() && usual.admit(&local).unwrap().is_none());
        let unlimited = Rates::by(Rate::Unlimited, None, FakeRelativeClock::default());
        assert!(unlimited.admit(&one).unwrap().is_none() && unlimited.admit(&local).unwrap().is_none());
    }

    #[test]
    fn failures_are_counted_per_peer_in_a_bounded_table() {
        let clock = FakeRelativeClock::default();
        let rates = Rates::by(Rate::Usual, NonZeroU32::new(STRANGERS_PER_MINUTE), clock.clone());
        let told_apart = || rates.failures.as_ref().map_or(0, RateLimiter::len);
        let network = |n: u32| Network::of(std::net::Ipv4Addr::from_bits(n).into());
        let failed = |n: u32| rates.failed(network(n)).is_err();
        assert_eq!((0..100).filter(|_| failed(1)).count(), 40);
        assert!(!failed(2), "another peer");
        (0..100_000).for_each(|n| drop(rates.failed(network(n))));
        assert!(told_apart() <= PEERS_MAX + 1, "{}", told_apart());
        assert!(failed(200_000), "whoever finds the table full shares what is left");
        clock.advance(Duration::from_mins(2));
        assert!(!failed(200_000));
        assert!(told_apart() < 10, "and it empties by itself");
    }
}
