//! How long lives last: Kaplan-Meier, Nelson-Aalen, restricted mean, and Aalen-Johansen where causes compete.
//! Never looks beyond the largest follow-up: what nobody was seen long enough to show is `None`.

use crate::statistics::lives::{AtRisk, Cause, LifeTable};
use crate::statistics::ratio::{Interval, Z_95};

/// How far above one half a curve may lie and still count as having reached it.
// A curve at exactly 1/2 is a product of rounded fractions; without this the median would hang on the last
// bit.
const HALF: f64 = 0.5 + 1e-12;

/// Below this share of the terms it is made from, a variance is only what their rounding left over:
/// one life among n that went another way leaves about 1/n of them.
const CANCELLED: f64 = 1e-12;

/// Sums and products up to and including one day on which lives stopped.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Step {
    /// Days since the start.
    pub day: u32,
    /// Lives with entry < day <= exit.
    pub at_risk: u64,
    /// Lives that ended on the day.
    pub events: u64,
    /// Lives last seen on the day.
    pub censored: u64,
    /// S(t) and its uncertainty.
    pub estimate: Estimate,
    /// Nelson-Aalen cumulative hazard, `sum d/n`.
    pub hazard: f64,
    /// Its standard error, `sqrt(sum d/n^2)`.
    pub hazard_se: f64,
}

/// The share of lives that last longer than a day.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Estimate {
    /// S(t), between 0 and 1.
    pub survival: f64,
    /// Greenwood's standard error. `None` where the curve has reached 0.
    pub se: Option<f64>,
    /// The log-log interval. `None` where the curve is 1 or 0.
    pub interval: Option<Interval>,
}

impl Estimate {
    /// With everybody still alive.
    const ALL: Self = Self { survival: 1.0, se: Some(0.0), interval: None };

    fn new(survival: f64, greenwood: f64) -> Self {
        if survival <= 0.0 {
            return Self { survival: 0.0, se: None, interval: None };
        }
        let root = greenwood.sqrt();
        let interval = (survival < 1.0).then(|| {
            // S^exp(+-z theta) with theta = sqrt(greenwood) / ln S, which is negative.
            let power = (Z_95 * root / -survival.ln()).exp();
            Interval { lower: survival.powf(power), upper: survival.powf(1.0 / power) }
        });
        Self { survival, se: Some(survival * root), interval }
    }
}

/// A curve read at one day.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Reading {
    /// Lives with entry < day <= exit.
    pub at_risk: u64,
    /// S(t) and its uncertainty.
    pub estimate: Estimate,
}

/// A mean with its standard error, in days.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Mean {
    /// The mean.
    pub value: f64,
    /// Its standard error.
    pub se: f64,
}

/// The survival curve of a table of lives, all causes of ending taken together.
///
/// - Kaplan-Meier: `S(t) = prod over days k <= t of (n_k - d_k) / n_k`, d_k ends among n_k at risk on day k
///   (Kaplan & Meier 1958, JASA 53:457). A life of 0 days that ended drops S(0).
/// - Standard error: Greenwood 1926, `S sqrt(sum d / (n (n - d)))`.
/// - Interval: log-log, 95 %, `S^exp(+-z theta)`, `theta = sqrt(sum d / (n (n - d))) / ln S`
///   (Kalbfleisch & Prentice, The Statistical Analysis of Failure Time Data, 1.4).
/// - Cumulative hazard: Nelson 1972, Aalen 1978, `sum d/n` with variance `sum d/n^2`.
///
/// With delayed entry an early risk set may die out (n = d): S is 0 from there on, as the formula says.
/// Oracle: R survival 3.5-3, `survfit(Surv(entry, exit, event) ~ 1, conf.type = "log-log")`.
#[derive(Debug, Clone, PartialEq)]
pub struct Curve<'a> {
    table: &'a LifeTable,
    steps: Vec<Step>,
    /// The largest follow-up; `None` of nobody.
    follow_up: Option<u32>,
}

impl<'a> Curve<'a> {
    /// Draws the curve, in one pass over the days. The largest follow-up is the longest life.
    pub fn of(table: &'a LifeTable) -> Self {
        let mut survival = 1.0;
        let mut greenwood = 0.0;
        let mut hazard = 0.0;
        let mut hazard_variance = 0.0;
        let steps = table
            .days()
            .into_iter()
            .map(|row| {
                let (n, d) = (row.at_risk as f64, row.events as f64);
                if row.events > 0 {
                    survival *= (n - d) / n;
                    greenwood += d / (n * (n - d));
                    hazard += d / n;
                    hazard_variance += d / (n * n);
                }
                Step {
                    day: row.day,
                    at_risk: row.at_risk,
                    events: row.events,
                    censored: row.censored,
                    estimate: Estimate::new(survival, greenwood),
                    hazard,
                    hazard_se: hazard_variance.sqrt(),
                }
            })
            .collect();
        Self { table, steps, follow_up: table.follow_up() }
    }

    /// Says that lives were watched for up to `days`, whether one of them lasted that long or not: from the
    /// earliest start to `as_of`. When all who started early have ended, the curve is known beyond the
    /// longest life. Where the longest life was censored the curve is held level behind it, as R's `rmean`
    /// does; nobody is at risk there, and that is shown. Nobody watched is still nobody.
    pub fn watched_for(mut self, days: u32) -> Self {
        self.follow_up = self.follow_up.map(|longest| longest.max(days));
        self
    }

    /// Every day on which lives stopped, ascending; between two of them nothing changes but who is at risk.
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// The days on which lives ended: where the curve falls.
    pub fn falls(&self) -> impl Iterator<Item = &Step> {
        self.steps.iter().filter(|step| step.events > 0)
    }

    /// The curve at days, each answered as if alone; S is right-continuous, so an end on the day has
    /// happened.
    /// `None` beyond the largest follow-up, even where the curve has reached 0. Days must ascend.
    pub fn at(&self, days: &[u32]) -> Vec<Option<Reading>> {
        let mut at_risk = self.table.at_risk();
        days.iter().map(|&day| self.reading(day, &mut at_risk)).collect()
    }

    fn reading(&self, day: u32, at_risk: &mut AtRisk<'_>) -> Option<Reading> {
        if day > self.follow_up? {
            return None;
        }
        let passed = self.steps.partition_point(|step| step.day <= day);
        let estimate = passed.checked_sub(1).map_or(Estimate::ALL, |last| self.steps[last].estimate);
        Some(Reading { at_risk: at_risk.on(day), estimate })
    }

    /// The median life in days, `inf {t: S(t) <= 1/2 + 1e-12}`. `None` while more than half go on.
    /// R's survfit answers the midpoint where the curve lies at exactly 1/2; this is lifelines' convention.
    pub fn median(&self) -> Option<u32> {
        self.first(|estimate| estimate.survival <= HALF)
    }

    /// The 95 % interval of the median: the days on which the lower and the upper end of the curve's log-log
    /// interval have come down to one half. Either end is `None` when its curve never does.
    /// Source: Brookmeyer & Crowley 1982, Biometrics 38:29. Oracle: R survival `quantile(survfit)`.
    pub fn median_interval(&self) -> (Option<u32>, Option<u32>) {
        (
            self.first(|estimate| estimate.interval.is_some_and(|ends| ends.lower <= HALF)),
            self.first(|estimate| estimate.interval.is_some_and(|ends| ends.upper <= HALF)),
        )
    }

    fn first(&self, holds: impl Fn(&Estimate) -> bool) -> Option<u32> {
        self.falls().find(|step| holds(&step.estimate)).map(|step| step.day)
    }

    /// The restricted mean life: days lived within the first `tau`, the area under the curve up to `tau`.
    /// Variance `sum A_k^2 d / (n (n - d))`, A_k the area from day k to `tau`; days with n = d add nothing.
    ///
    /// `None` beyond the largest follow-up.
    /// Source: Klein & Moeschberger, Survival Analysis, 2nd ed., 4.5.
    /// Oracle: R survival `print(survfit, rmean = tau)`. (lifelines' variance is another.)
    pub fn restricted_mean(&self, tau: u32) -> Option<Mean> {
        if tau > self.follow_up? {
            return None;
        }
        let mut area = 0.0;
        let mut variance = 0.0;
        let mut until = tau;
        for step in self.falls_until(tau).rev() {
            area += step.estimate.survival * f64::from(until - step.day);
            until = step.day;
            if step.events < step.at_risk {
                let (n, d) = (step.at_risk as f64, step.events as f64);
                variance += area * area * d / (n * (n - d));
            }
        }
        Some(Mean { value: area + f64::from(until), se: variance.sqrt() })
    }

    fn falls_until(&self, tau: u32) -> impl DoubleEndedIterator<Item = &Step> {
        let passed = self.steps.partition_point(|step| step.day <= tau);
        self.steps[..passed].iter().filter(|step| step.events > 0)
    }
}

/// The difference of two groups' restricted means, first minus second, in days; the groups share nobody.
/// `None` beyond the smaller of their largest follow-ups.
/// Source: Royston & Parmar 2013, BMC Medical Research Methodology 13:152.
pub fn restricted_mean_difference(first: &Curve<'_>, second: &Curve<'_>, tau: u32) -> Option<Mean> {
    let (first, second) = (first.restricted_mean(tau)?, second.restricted_mean(tau)?);
    Some(Mean { value: first.value - second.value, se: first.se.hypot(second.se) })
}

/// The share of lives that have ended of one cause by a day.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Incidence {
    /// Days since the start; the first day it holds.
    pub day: u32,
    /// I(t), between 0 and 1; with the other causes' and S(t) it makes 1.
    pub incidence: f64,
    /// Its standard error.
    pub se: f64,
}

/// The cumulative incidence of one cause where several compete (Aalen-Johansen):
/// `I(t) = sum over k <= t of S(k-) d_jk / n_k`, S the curve of all causes together. 1 - KM of one cause with
/// the others censored answers another question, too high, and is not offered.
///
/// Variance, with d all ends of a day and d_j those of the cause, as R's survfit:
/// `sum over k <= t of (I(t) - I_k)^2 d / (n (n - d)) + S(k-)^2 (n - d_j) d_j / n^3 - 2 (I(t) - I_k) S(k-) d_j / n^2`,
/// the first term 0 where n = d.
/// Source: Aalen & Johansen 1978, Scand. J. Statist. 5:141. Oracle: R survival 3.5-3 `survfit` with a factor
/// status. (cmprsk's variance is Aalen's, slightly greater; lifelines jitters ties and is no oracle.)
#[derive(Debug, Clone, PartialEq)]
pub struct Incidences {
    steps: Vec<Incidence>,
    follow_up: Option<u32>,
}

impl Incidences {
    /// Draws the curve of one cause, in one pass over the days. The largest follow-up is the longest life.
    pub fn of(table: &LifeTable, cause: Cause) -> Self {
        let mut survival = 1.0;
        let mut incidence = 0.0;
        // With lag_k = I(t) - I_k, the sums of lag^2 a, lag a and a, where a = d / (n (n - d)); of b; and of
        // lag c and c. Each step moves them on exactly, so the whole curve costs one pass instead of its
        // square.
        let (mut square_a, mut lag_a, mut sum_a) = (0.0, 0.0, 0.0);
        let (mut sum_b, mut lag_c, mut sum_c) = (0.0, 0.0, 0.0);
        let mut steps = Vec::new();
        for row in table.days().into_iter().filter(|row| row.events > 0) {
            let (n, d) = (row.at_risk as f64, row.events as f64);
            let of_cause = table.ended(row.day, cause) as f64;
            let rise = survival * of_cause / n;
            square_a += rise * (2.0 * lag_a + rise * sum_a);
            lag_a += rise * sum_a;
            lag_c += rise * sum_c;
            if row.events < row.at_risk {
                sum_a += d / (n * (n - d));
            }
            sum_b += rise * rise * (n - of_cause) / (n * of_cause.max(1.0));
            sum_c += rise / n;
            incidence += rise;
            survival *= (n - d) / n;
            let variance = square_a + sum_b - 2.0 * lag_c;
            // Where the variance is 0 - everybody ended of this cause - a rest of 1e-17 would show as an se
            // of 3e-9.
            let vanished = variance <= CANCELLED * (square_a + sum_b + 2.0 * lag_c);
            let se = if vanished { 0.0 } else { variance.sqrt() };
            steps.push(Incidence { day: row.day, incidence, se });
        }
        Self { steps, follow_up: table.follow_up() }
    }

    /// Says that lives were watched for up to `days`, see [`Curve::watched_for`].
    pub fn watched_for(mut self, days: u32) -> Self {
        self.follow_up = self.follow_up.map(|longest| longest.max(days));
        self
    }

    /// Every day on which a life ended, of any cause, ascending.
    pub fn steps(&self) -> &[Incidence] {
        &self.steps
    }

    /// The incidence by a day. `None` beyond the largest follow-up.
    pub fn at(&self, day: u32) -> Option<Incidence> {
        if day > self.follow_up? {
            return None;
        }
        let passed = self.steps.partition_point(|step| step.day <= day);
        Some(
            passed
                .checked_sub(1)
                .map_or(Incidence { day: 0, incidence: 0.0, se: 0.0 }, |last| self.steps[last]),
        )
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;
    use crate::statistics::lives::tests::{any_life, table};
    use crate::statistics::lives::{Life, Outcome};

    const END: Outcome = Outcome::Ended(Cause(1));

    #[test]
    fn nobody_gives_no_figure() {
        let nobody = LifeTable::default();
        let curve = Curve::of(&nobody);
        assert_eq!(curve.at(&[0, 30]), [None, None]);
        assert_eq!((curve.median(), curve.median_interval()), (None, (None, None)));
        assert_eq!(curve.restricted_mean(0), None);
        assert_eq!(Incidences::of(&nobody, Cause(1)).at(0), None);
    }

    #[test]
    fn before_the_first_end_everybody_is_alive_and_beyond_the_follow_up_nobody_knows() {
        let lives = table(&[Life::new(10, END), Life::new(20, Outcome::Censored)]);
        let curve = Curve::of(&lives);
        let [before, on, last, beyond] = curve.at(&[9, 10, 20, 21])[..] else { panic!("four answers") };
        assert_eq!(before, Some(Reading { at_risk: 2, estimate: Estimate::ALL }));
        let on = on.unwrap();
        assert_eq!((on.at_risk, on.estimate.survival.to_bits()), (2, 0.5_f64.to_bits()));
        assert_eq!(last.map(|reading| reading.at_risk), Some(1));
        assert_eq!(beyond, None);
        assert!(curve.restricted_mean(20).is_some());
        assert_eq!(curve.restricted_mean(21), None);
        assert_eq!(restricted_mean_difference(&curve, &curve, 21), None);
        assert_eq!(Incidences::of(&lives, Cause(1)).at(21), None);
    }

    #[test]
    fn a_curve_is_known_for_as_long_as_lives_were_watched() {
        let lives = table(&[Life::new(10, END), Life::new(20, Outcome::Censored)]);
        let curve = Curve::of(&lives).watched_for(30);
        let [at_end, beyond] = curve.at(&[30, 31])[..] else { panic!("two answers") };
        assert_eq!(at_end.map(|r| (r.at_risk, r.estimate.survival.to_bits())), Some((0, 0.5_f64.to_bits())));
        assert_eq!(beyond, None);
        // 10 days of all, 20 of half of them; one end among two, so the variance is (20 / 2)^2 / 2.
        let mean = curve.restricted_mean(30).unwrap();
        assert!((mean.value - 20.0).abs() < 1e-12 && (mean.se - 50_f64.sqrt()).abs() < 1e-12, "{mean:?}");
        assert_eq!(curve.restricted_mean(31), None);
        assert_eq!(Incidences::of(&lives, Cause(1)).watched_for(30).at(30).map(|at| at.day), Some(10));
        // Watching for less time than somebody was seen takes nothing away, and nobody is nobody however
        // long.
        assert!(Curve::of(&lives).watched_for(5).restricted_mean(20).is_some());
        assert_eq!(Curve::of(&LifeTable::default()).watched_for(30).restricted_mean(30), None);
    }

    #[test]
    fn a_curve_at_0_has_no_error_and_no_interval() {
        let lives = table(&[Life::new(1, END), Life::new(2, END)]);
        let curve = Curve::of(&lives);
        assert_eq!(curve.steps()[1].estimate, Estimate { survival: 0.0, se: None, interval: None });
        assert_eq!(curve.median(), Some(1));
        assert_eq!(
            Incidences::of(&lives, Cause(1)).at(2),
            Some(Incidence { day: 2, incidence: 1.0, se: 0.0 })
        );
    }

    #[test]
    fn an_early_risk_set_that_dies_out_keeps_the_curve_at_0() {
        let late = Life::entering(5, 9, Outcome::Censored).unwrap();
        let lives = table(&[Life::new(3, END), late, late]);
        let curve = Curve::of(&lives);
        let [reading] = curve.at(&[9])[..] else { panic!("one answer") };
        assert_eq!(reading.map(|r| (r.at_risk, r.estimate.survival.to_bits())), Some((2, 0.0_f64.to_bits())));
        assert_eq!(curve.restricted_mean(9), Some(Mean { value: 3.0, se: 0.0 }));
    }

    /// The variance as the formula stands, every day against every day.
    fn variance_by_the_letter(lives: &LifeTable, cause: Cause, until: u32) -> f64 {
        let curve = Curve::of(lives);
        let mut terms = Vec::new();
        let (mut survival, mut incidence) = (1.0, 0.0);
        for step in curve.falls().filter(|step| step.day <= until) {
            let (n, d, d_j) = (step.at_risk as f64, step.events as f64, lives.ended(step.day, cause) as f64);
            incidence += survival * d_j / n;
            terms.push((n, d, d_j, survival, incidence));
            survival = step.estimate.survival;
        }
        terms.iter().fold(0.0, |sum, (n, d, d_j, before, at)| {
            let lag = incidence - at;
            let first = if d < n { lag * lag * d / (n * (n - d)) } else { 0.0 };
            sum + first + before * before * (n - d_j) * d_j / (n * n * n) - 2.0 * lag * before * d_j / (n * n)
        })
    }

    proptest! {
        #[test]
        fn a_curve_falls_from_1_towards_0_within_its_interval(lives in vec(any_life(), 0..40)) {
            let lives = table(&lives);
            let mut above = 1.0;
            for step in Curve::of(&lives).steps() {
                let Estimate { survival, se, interval } = step.estimate;
                prop_assert!((0.0..=above).contains(&survival));
                prop_assert_eq!(se.is_none(), survival == 0.0);
                prop_assert_eq!(interval.is_some(), survival > 0.0 && survival < 1.0);
                if let Some(Interval { lower, upper }) = interval {
                    prop_assert!(0.0 <= lower && lower <= survival && survival <= upper && upper <= 1.0);
                }
                above = survival;
            }
        }

        #[test]
        fn without_censoring_the_curve_is_the_share_still_alive(exits in vec(0_u32..30, 1..40)) {
            let lives: Vec<Life> = exits.iter().map(|&exit| Life::new(exit, END)).collect();
            let lives = table(&lives);
            let last = lives.follow_up().unwrap();
            let curve = Curve::of(&lives);
            let days: Vec<u32> = (0..=last).collect();
            for (day, reading) in days.iter().zip(curve.at(&days)) {
                let alive = exits.iter().filter(|exit| *exit > day).count() as f64 / exits.len() as f64;
                prop_assert!((reading.unwrap().estimate.survival - alive).abs() < 1e-12);
            }
            // Their restricted mean is their mean, and half of them have ended by the median but not a day
            // before.
            let mean = exits.iter().map(|&exit| f64::from(exit)).sum::<f64>() / exits.len() as f64;
            prop_assert!((curve.restricted_mean(last).unwrap().value - mean).abs() < 1e-9);
            let median = curve.median().unwrap();
            prop_assert!(2 * exits.iter().filter(|exit| **exit <= median).count() >= exits.len());
            prop_assert!(2 * exits.iter().filter(|exit| **exit < median).count() < exits.len());
        }

        #[test]
        fn the_causes_and_the_living_make_one(lives in vec(any_life(), 0..40)) {
            let lives = table(&lives);
            let causes: Vec<Incidences> = lives.causes().into_iter().map(|c| Incidences::of(&lives, c)).collect();
            let curve = Curve::of(&lives);
            for (at, step) in curve.falls().enumerate() {
                let ended: f64 = causes.iter().map(|cause| cause.steps()[at].incidence).sum();
                prop_assert!((ended + step.estimate.survival - 1.0).abs() < 1e-12);
            }
        }

        #[test]
        fn what_is_certain_has_no_error(exits in vec(0_u32..2000, 1..400)) {
            let lives: Vec<Life> = exits.iter().map(|&exit| Life::new(exit, END)).collect();
            let lives = table(&lives);
            let last = Incidences::of(&lives, Cause(1)).steps().last().copied().unwrap();
            prop_assert!((last.incidence - 1.0).abs() < 1e-12);
            prop_assert_eq!(last.se.to_bits(), 0.0_f64.to_bits());
        }

        #[test]
        fn one_pass_gives_the_variance_of_the_formula(lives in vec(any_life(), 0..40)) {
            let lives = table(&lives);
            for cause in lives.causes() {
                for step in Incidences::of(&lives, cause).steps() {
                    let letter = variance_by_the_letter(&lives, cause, step.day);
                    prop_assert!((step.se * step.se - letter).abs() < 1e-13, "{} {}", step.se * step.se, letter);
                }
            }
        }
    }
}
