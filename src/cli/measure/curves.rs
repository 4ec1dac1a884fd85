//! Retention of one group, as the answers show it.
//! Never computes: the statistics do, and what they call undefined is `null` here.

use mentorlog_projections::statistics::lives::LifeTable;
use mentorlog_projections::statistics::log_rank::log_rank;
use mentorlog_projections::statistics::ratio::Interval;
use mentorlog_projections::statistics::survival::{Curve, Incidences};
use serde::Serialize;

/// The days at which curves are read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Horizons {
    /// Ascending.
    at: Vec<u32>,
    tau: u32,
}

impl Horizons {
    pub fn new(mut at: Vec<u32>, tau: u32) -> Self {
        at.sort_unstable();
        at.dedup();
        Self { at, tau }
    }
}

/// One group's curve.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Stratum {
    pub name: String,
    /// Lives.
    pub n: u64,
    /// Those that ended.
    pub events: u64,
    /// Those that were still going on.
    pub censored: u64,
    /// For how many days anybody was watched; `None` of nobody.
    pub follow_up: Option<u32>,
    pub at: Vec<Reading>,
    pub median: Option<u32>,
    pub median_interval: Ends<u32>,
    pub rmst: RestrictedMean,
    /// Empty where lives end of one cause only.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub causes: Vec<CauseCurve>,
    pub curve: Vec<Point>,
}

/// The curve at a day that was asked for; all `None` beyond the follow-up.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Reading {
    pub day: u32,
    pub at_risk: Option<u64>,
    pub survival: Option<f64>,
    pub se: Option<f64>,
    pub lower: Option<f64>,
    pub upper: Option<f64>,
    pub hazard: Option<f64>,
    pub hazard_se: Option<f64>,
}

/// The two ends of a 95 % interval, where they are defined.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Ends<T> {
    pub lower: Option<T>,
    pub upper: Option<T>,
}

impl From<Option<Interval>> for Ends<f64> {
    fn from(interval: Option<Interval>) -> Self {
        Self { lower: interval.map(|ends| ends.lower), upper: interval.map(|ends| ends.upper) }
    }
}

/// Days lived within the first `tau`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct RestrictedMean {
    pub tau: u32,
    pub value: Option<f64>,
    pub se: Option<f64>,
}

/// One cause where several compete.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CauseCurve {
    pub class: u8,
    pub events: u64,
    pub at: Vec<IncidenceAt>,
    pub curve: Vec<IncidenceAt>,
}

/// The share of lives that ended of the cause by a day; `None` beyond the follow-up.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct IncidenceAt {
    pub day: u32,
    pub incidence: Option<f64>,
    pub se: Option<f64>,
}

/// A day on which lives stopped.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Point {
    pub day: u32,
    pub at_risk: u64,
    pub events: u64,
    pub censored: u64,
    pub survival: f64,
    pub se: Option<f64>,
    pub lower: Option<f64>,
    pub upper: Option<f64>,
    pub hazard: f64,
    pub hazard_se: f64,
}

impl Stratum {
    /// Draws the curve of a group. `watched` is for how long lives were watched, where that is known.
    pub fn of(
        name: &str,
        lives: &LifeTable,
        watched: Option<u32>,
        by_cause: bool,
        horizons: &Horizons,
    ) -> Self {
        let curve = Curve::of(lives).watched_for(watched.unwrap_or(0));
        let (lower, upper) = curve.median_interval();
        let mean = curve.restricted_mean(horizons.tau);
        let at = horizons.at.iter().zip(curve.at(&horizons.at)).map(|(&day, reading)| {
            let passed = curve.steps().partition_point(|step| step.day <= day);
            let before = passed.checked_sub(1).map(|last| &curve.steps()[last]);
            let hazard = |of: fn(_) -> f64| reading.map(|_| before.map_or(0.0, of));
            let Ends { lower, upper } = reading.and_then(|reading| reading.estimate.interval).into();
            Reading {
                day,
                at_risk: reading.map(|reading| reading.at_risk),
                survival: reading.map(|reading| reading.estimate.survival),
                se: reading.and_then(|reading| reading.estimate.se),
                lower,
                upper,
                hazard: hazard(|step| step.hazard),
                hazard_se: hazard(|step| step.hazard_se),
            }
        });
        let points = curve.steps().iter().map(|step| {
            let Ends { lower, upper } = step.estimate.interval.into();
            Point {
                day: step.day,
                at_risk: step.at_risk,
                events: step.events,
                censored: step.censored,
                survival: step.estimate.survival,
                se: step.estimate.se,
                lower,
                upper,
                hazard: step.hazard,
                hazard_se: step.hazard_se,
            }
        });
        Self {
            name: name.to_owned(),
            n: lives.lives(),
            events: lives.events(),
            censored: lives.lives() - lives.events(),
            follow_up: lives.follow_up().map(|longest| longest.max(watched.unwrap_or(0))),
            at: at.collect(),
            median: curve.median(),
            median_interval: Ends { lower, upper },
            rmst: RestrictedMean {
                tau: horizons.tau,
                value: mean.map(|mean| mean.value),
                se: mean.map(|mean| mean.se),
            },
            causes: if by_cause { causes(lives, horizons) } else { Vec::new() },
            curve: points.collect(),
        }
    }
}

fn causes(lives: &LifeTable, horizons: &Horizons) -> Vec<CauseCurve> {
    let of = |cause| {
        let incidences = Incidences::of(lives, cause);
        let at = |day| {
            let by_then = incidences.at(day);
            IncidenceAt {
                day,
                incidence: by_then.map(|step| step.incidence),
                se: by_then.map(|step| step.se),
            }
        };
        CauseCurve {
            class: cause.0,
            events: lives.days().iter().map(|row| lives.ended(row.day, cause)).sum(),
            at: horizons.at.iter().map(|&day| at(day)).collect(),
            curve: incidences.steps().iter().map(|step| at(step.day)).collect(),
        }
    };
    lives.causes().into_iter().map(of).collect()
}

/// Groups side by side, and whether they differ.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Comparison {
    pub name: &'static str,
    /// The statistic; `None`, with what follows, where no two groups were at risk together when a life ended.
    pub chi_square: Option<f64>,
    pub df: Option<u32>,
    pub p: Option<f64>,
    pub groups: Vec<Group>,
}

/// One group's part in the comparison.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Group {
    pub name: String,
    pub observed: u64,
    /// Ends to be expected if all groups were alike.
    pub expected: f64,
}

impl Comparison {
    /// The log-rank test of named groups.
    pub fn of<'a>(groups: impl IntoIterator<Item = (&'a str, &'a LifeTable)>) -> Self {
        let (names, tables): (Vec<&str>, Vec<&LifeTable>) = groups.into_iter().unzip();
        let compared = log_rank(&tables);
        let groups = names.iter().zip(compared.observed.iter().zip(&compared.expected));
        Self {
            name: "log-rank",
            chi_square: compared.test.map(|test| test.chi_square),
            df: compared.test.map(|test| test.degrees),
            p: compared.test.map(|test| test.p),
            groups: groups
                .map(|(name, (&observed, &expected))| Group { name: (*name).to_owned(), observed, expected })
                .collect(),
        }
    }
}
