//! Time to reciprocation: how many days pass from the first exchange of two people to the first in return.
//! Never says that an exchange ought to be returned, and never counts a pair as one-way for ever.
//!
//! The life of a pair is the time in which it is one-way. It begins on the day of its first exchange and ends on
//! the day of the first one in the other direction; on the same day it lasted 0 days. A pair that is still
//! one-way is censored at the close of the last day on which an exchange could have come: that of its end (also
//! because one of the two left, departed or was erased: all of these end it), or `as_of`. An end is not a return,
//! and says nothing about when one would have come; where many one-way pairs end early because nothing came
//! back, the curve says what would have been had they gone on as the others did.

use mentorlog_events::time::Day;
use serde::Serialize;

use crate::statistics::lives::{Cause, Life, LifeTable, Outcome};
use crate::statistics::spells::days_between;
use crate::statistics::survival::Curve;

/// The days at which the curve is read; day 0 is the day of the first exchange itself.
const AT: [u32; 5] = [0, 7, 30, 90, 180];

/// The restricted mean is of this many days.
const TAU: u32 = 180;

/// How long pairs were one-way.
#[derive(Debug, Clone, PartialEq, Serialize, utoipa::ToSchema)]
pub struct TimeToReciprocation {
    /// Pairs with an exchange; where only later days were asked for, those whose first exchange lies in them.
    pub n: u64,
    /// Those of them in which one came back.
    pub events: u64,
    /// For how many days anybody was watched; `None` of nobody.
    pub follow_up: Option<u32>,
    /// The first day by which half had been returned, in days from the first exchange; `None` while more than
    /// half are one-way.
    pub median: Option<u32>,
    /// Its 95 % interval.
    pub median_interval: DaysInterval,
    /// The share still one-way after 0, 7, 30, 90 and 180 days.
    pub at: Vec<StillOneWay>,
    /// The mean number of days, of the first 180, in which pairs were one-way.
    pub rmst: OneWayDays,
    /// Version of the formula; another formula gets another.
    pub version: u32,
}

/// The two ends of an interval in days; either is `None` while its curve stays above one half.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct DaysInterval {
    /// The lower end.
    pub lower: Option<u32>,
    /// The upper end.
    pub upper: Option<u32>,
}

/// The share of pairs still one-way after a day; everything but the day is `None` beyond what was watched.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, utoipa::ToSchema)]
pub struct StillOneWay {
    /// Days since the first exchange.
    pub day: u32,
    /// Pairs that were one-way before that day and still watched on it.
    pub at_risk: Option<u64>,
    /// Kaplan-Meier.
    pub one_way: Option<f64>,
    /// Greenwood; `None` where the curve has reached 0.
    pub se: Option<f64>,
    /// Log-log, 95 %; `None` where the curve is 1 or 0.
    pub lower: Option<f64>,
    /// The other end.
    pub upper: Option<f64>,
}

/// A restricted mean.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, utoipa::ToSchema)]
pub struct OneWayDays {
    /// Of this many days.
    pub tau: u32,
    /// In days; `None` beyond what was watched.
    pub value: Option<f64>,
    /// Its standard error.
    pub se: Option<f64>,
}

/// The first day on which each of two taught the other; `None` while one has not.
pub(crate) type Onset = [Option<Day>; 2];

/// The earlier of two firsts.
pub(crate) fn earlier(one: Option<Day>, other: Option<Day>) -> Option<Day> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

/// The days a pair was one-way, from its first exchange; `None` of a pair without one. `last` is the last day
/// on which an exchange could have come, and is asked for only of pairs that are one-way.
pub(crate) fn one_way(onset: Onset, last: impl FnOnce() -> Day) -> Option<(Day, Life)> {
    match onset {
        [Some(a), Some(b)] => {
            let first = a.min(b);
            Some((first, Life::new(days_between(first, a.max(b)), Outcome::Ended(Cause(1)))))
        }
        [Some(first), None] | [None, Some(first)] => {
            Some((first, Life::new(days_between(first, last()), Outcome::Censored)))
        }
        [None, None] => None,
    }
}

/// Lives as they are counted: one step a pair, however many days there are.
#[derive(Debug)]
pub(crate) struct OneWayLives {
    /// By length: those that ended and those that did not.
    near: Vec<[u64; 2]>,
    /// Those longer than eleven years.
    far: LifeTable,
    watched: u32,
}

impl OneWayLives {
    /// Lives of a hundred thousand pairs are counted in a table by day; a map of them would cost ten times more.
    const NEAR: usize = 4096;

    pub(crate) fn new() -> Self {
        Self { near: vec![[0; 2]; Self::NEAR], far: LifeTable::default(), watched: 0 }
    }

    /// Counts a life, which was watched for so many days.
    pub(crate) fn count(&mut self, life: Life, watched: u32) {
        self.watched = self.watched.max(watched);
        match self.near.get_mut(life.exit() as usize) {
            Some(counts) => counts[usize::from(life.outcome() == Outcome::Censored)] += 1,
            None => self.far.add(life),
        }
    }

    pub(crate) fn figure(self) -> TimeToReciprocation {
        let mut table = self.far;
        for (day, [ended, censored]) in (0..).zip(self.near) {
            table.add_many(Life::new(day, Outcome::Ended(Cause(1))), ended);
            table.add_many(Life::new(day, Outcome::Censored), censored);
        }
        let curve = Curve::of(&table).watched_for(self.watched);
        let (lower, upper) = curve.median_interval();
        let mean = curve.restricted_mean(TAU);
        let at = AT.into_iter().zip(curve.at(&AT)).map(|(day, reading)| {
            let estimate = reading.map(|reading| reading.estimate);
            let interval = estimate.and_then(|estimate| estimate.interval);
            StillOneWay {
                day,
                at_risk: reading.map(|reading| reading.at_risk),
                one_way: estimate.map(|estimate| estimate.survival),
                se: estimate.and_then(|estimate| estimate.se),
                lower: interval.map(|ends| ends.lower),
                upper: interval.map(|ends| ends.upper),
            }
        });
        TimeToReciprocation {
            n: table.lives(),
            events: table.events(),
            follow_up: table.follow_up().map(|longest| longest.max(self.watched)),
            median: curve.median(),
            median_interval: DaysInterval { lower, upper },
            at: at.collect(),
            rmst: OneWayDays { tau: TAU, value: mean.map(|mean| mean.value), se: mean.map(|mean| mean.se) },
            version: 1,
        }
    }
}
