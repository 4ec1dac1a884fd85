//! What was turned away, and which connections the service ended itself, counted for the scrape.
//! Never says who it was, and never counts one thing twice.

use std::sync::atomic::{AtomicU64, Ordering};

/// A limit that something was turned away at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// Connections at once.
    Connections,
    /// Requests at work at once.
    Requests,
    /// Requests that wait for a body or for something to happen.
    Waits,
    /// Long bodies on their way in.
    Bodies,
    /// Long answers on their way out.
    Answers,
    /// How often a token may ask.
    Quota,
    /// How often a peer may ask without a valid token.
    Strangers,
    /// What a head may look like.
    Framing,
}

impl Limit {
    /// Every one.
    pub const ALL: [Self; 8] = [
        Self::Connections,
        Self::Requests,
        Self::Waits,
        Self::Bodies,
        Self::Answers,
        Self::Quota,
        Self::Strangers,
        Self::Framing,
    ];

    /// Its stable name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Connections => "connections",
            Self::Requests => "requests",
            Self::Waits => "waits",
            Self::Bodies => "bodies",
            Self::Answers => "answers",
            Self::Quota => "quota",
            Self::Strangers => "strangers",
            Self::Framing => "framing",
        }
    }
}

/// Why the service ended a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// The head of a request took too long, or never began.
    Head,
    /// No further request came.
    Idle,
    /// The client did not take its answer.
    Stall,
    /// It had been there for so long.
    Age,
    /// Another needed its place.
    GaveWay,
}

impl Ended {
    /// Every one.
    pub const ALL: [Self; 5] = [Self::Head, Self::Idle, Self::Stall, Self::Age, Self::GaveWay];

    /// Its stable name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Head => "head",
            Self::Idle => "idle",
            Self::Stall => "stall",
            Self::Age => "age",
            Self::GaveWay => "gave-way",
        }
    }
}

/// The counts.
#[derive(Debug, Default)]
pub struct Counts {
    accepted: AtomicU64,
    turned_away: [AtomicU64; Limit::ALL.len()],
    ended: [AtomicU64; Ended::ALL.len()],
}

impl Counts {
    /// A connection was accepted.
    pub fn accepted(&self) {
        self.accepted.fetch_add(1, Ordering::Relaxed);
    }

    /// Something was turned away at this limit.
    pub fn turned_away(&self, limit: Limit) {
        self.turned_away[limit as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// A connection is ended for this reason.
    pub fn ended(&self, why: Ended) {
        self.ended[why as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// Connections accepted so far.
    pub fn accepted_so_far(&self) -> u64 {
        self.accepted.load(Ordering::Relaxed)
    }

    /// What was turned away so far, by limit.
    pub fn turned_away_so_far(&self) -> impl Iterator<Item = (Limit, u64)> {
        Limit::ALL.into_iter().map(|limit| (limit, self.turned_away[limit as usize].load(Ordering::Relaxed)))
    }

    /// Connections ended so far, by reason.
    pub fn ended_so_far(&self) -> impl Iterator<Item = (Ended, u64)> {
        Ended::ALL.into_iter().map(|why| (why, self.ended[why as usize].load(Ordering::Relaxed)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_counted_where_it_belongs() {
        let counts = Counts::default();
        for (n, limit) in Limit::ALL.into_iter().enumerate() {
            (0..n).for_each(|_| counts.turned_away(limit));
        }
        for (n, why) in Ended::ALL.into_iter().enumerate() {
            (0..n).for_each(|_| counts.ended(why));
        }
        assert!(counts.turned_away_so_far().map(|(limit, _)| limit).eq(Limit::ALL));
        assert!(counts.turned_away_so_far().map(|(_, count)| count).eq(0..8));
        assert!(counts.ended_so_far().map(|(_, count)| count).eq(0..5));
    }
}
