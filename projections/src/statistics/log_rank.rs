//! Whether groups of lives differ: the log-rank test.
//! Never corrects for groups that were formed by what happened later; for those there is the landmark.

use std::collections::BTreeSet;

use statrs::distribution::{ChiSquared, ContinuousCDF as _};

use crate::statistics::lives::{AtRisk, LifeTable};

/// Below this share of its group's variance, what is left of it once the other groups are known counts as
/// nothing.
const DEPENDENT: f64 = 1e-10;

/// What was seen and what was to be expected if all groups were alike, and how surprising the difference is.
#[derive(Debug, Clone, PartialEq)]
pub struct LogRank {
    /// Ends in each group.
    pub observed: Vec<u64>,
    /// Ends to be expected in each group, `sum over days of d n_i / n`.
    pub expected: Vec<f64>,
    /// Covariance of `observed`, a row for each group; rows and columns sum to 0.
    pub covariance: Vec<Vec<f64>>,
    /// The test itself; `None` when no two groups were ever at risk together on a day when somebody ended.
    pub test: Option<Test>,
}

/// A chi-square test.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Test {
    /// The statistic.
    pub chi_square: f64,
    /// Degrees of freedom: groups that could be compared, less 1 for each set of them that was never at risk
    /// together.
    pub degrees: u32,
    /// The chance of a statistic as great or greater if the groups were alike.
    pub p: f64,
}

/// The log-rank test of two or more groups, entry delayed or not, all causes taken together.
///
/// On each day with d ends among n at risk, n_i of them in group i: expected `d n_i / n`, covariance of the
/// hypergeometric distribution, which holds for ties, `d (n-d)/(n-1) (n_i/n) (delta_ij - n_j/n)`, and 0 where
/// n = 1. With O, E, V their sums, chi-square is `(O-E)' V^- (O-E)`, degrees of freedom the rank of V.
/// Source: Mantel 1966, Cancer Chemotherapy Reports 50:163; Peto & Peto 1972, JRSS A 135:185.
/// Oracle: R survival `survdiff`; with delayed entry the score test of `coxph(ties = "exact")`.
pub fn log_rank(groups: &[&LifeTable]) -> LogRank {
    let size = groups.len();
    let mut observed = vec![0_u64; size];
    let mut expected = vec![0.0; size];
    let mut covariance = vec![vec![0.0; size]; size];

    let mut at_risk: Vec<AtRisk<'_>> = groups.iter().map(|group| group.at_risk()).collect();
    let mut ends: Vec<_> = groups
        .iter()
        .map(|group| {
            group.days().into_iter().filter(|row| row.events > 0).map(|row| (row.day, row.events)).peekable()
        })
        .collect();
    let days: BTreeSet<u32> = ends.iter().flat_map(|of_group| of_group.clone().map(|(day, _)| day)).collect();

    for day in days {
        let n_i: Vec<f64> = at_risk.iter_mut().map(|group| group.on(day) as f64).collect();
        let n: f64 = n_i.iter().sum();
        let mut d = 0.0;
        for (of_group, seen) in ends.iter_mut().zip(&mut observed) {
            if let Some((_, events)) = of_group.next_if(|(their_day, _)| *their_day == day) {
                *seen += events;
                d += events as f64;
            }
        }
        let spread = if n > 1.0 { d * (n - d) / (n - 1.0) } else { 0.0 };
        for i in 0..size {
            expected[i] += d * n_i[i] / n;
            for j in 0..size {
                // n (delta_ij - n_j/n) as an integer: exact, where 1 - n_j/n would round.
                let others = if i == j { n - n_i[j] } else { -n_i[j] };
                covariance[i][j] += spread * (n_i[i] / n) * (others / n);
            }
        }
    }

    let excess: Vec<f64> = observed.iter().zip(&expected).map(|(o, e)| *o as f64 - e).collect();
    let (chi_square, degrees) = quadratic_form(&covariance, &excess);
    let test = ChiSquared::new(f64::from(degrees)).ok().map(|distribution| Test {
        chi_square,
        degrees,
        p: distribution.sf(chi_square),
    });
    LogRank { observed, expected, covariance, test }
}

/// `x' V^- x` and the rank of V, for a covariance V in whose range x lies.
///
/// Cholesky with the greatest remaining diagonal first, on V scaled to correlations: a group of one person
/// beside a group of a million is neither drowned nor taken for rounding. What is left after the rank is
/// found is rounding, and is dropped.
fn quadratic_form(covariance: &[Vec<f64>], x: &[f64]) -> (f64, u32) {
    // A group with no variance was never at risk beside another; its excess is 0 as well.
    let alive: Vec<usize> = (0..x.len()).filter(|&i| covariance[i][i] > 0.0).collect();
    let scale = |i: usize| covariance[i][i].sqrt();
    let mut rest: Vec<Vec<f64>> = alive
        .iter()
        .map(|&i| alive.iter().map(|&j| covariance[i][j] / scale(i) / scale(j)).collect())
        .collect();
    let mut x: Vec<f64> = alive.iter().map(|&i| x[i] / scale(i)).collect();
    let mut open: Vec<usize> = (0..alive.len()).collect();
    let mut form = 0.0;
    let mut rank = 0;
    while let Some(at) = (0..open.len()).max_by(|&a, &b| {
        let pivot = |at: usize| rest[open[at]][open[at]];
        pivot(a).total_cmp(&pivot(b))
    }) {
        let k = open.swap_remove(at);
        let pivot = rest[k][k];
        if pivot <= DEPENDENT {
            break;
        }
        form += x[k] * x[k] / pivot;
        rank += 1;
        for &i in &open {
            let factor = rest[i][k] / pivot;
            x[i] -= factor * x[k];
            for &j in &open {
                rest[i][j] -= factor * rest[k][j];
            }
        }
    }
    (form, rank)
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;
    use crate::statistics::lives::tests::{any_life, table};
    use crate::statistics::lives::{Cause, Life, Outcome};

    #[test]
    fn groups_that_were_never_at_risk_together_cannot_be_compared() {
        let early = table(&[Life::new(3, Outcome::Ended(Cause(1)))]);
        let late = table(&[Life::entering(5, 9, Outcome::Ended(Cause(1))).unwrap()]);
        let test = log_rank(&[&early, &late]);
        assert_eq!((test.observed, test.test), (vec![1, 1], None));
        assert_eq!(log_rank(&[]).test, None);
        assert_eq!(log_rank(&[&early]).test, None);
        assert_eq!(log_rank(&[&early, &LifeTable::default()]).test, None);
    }

    #[test]
    fn a_group_nobody_is_in_changes_nothing() {
        let first = table(&[Life::new(3, Outcome::Ended(Cause(1))), Life::new(9, Outcome::Censored)]);
        let second = table(&[Life::new(4, Outcome::Ended(Cause(1))), Life::new(5, Outcome::Ended(Cause(2)))]);
        let two = log_rank(&[&first, &second]).test;
        assert_eq!(two.map(|test| test.degrees), Some(1));
        assert_eq!(log_rank(&[&first, &LifeTable::default(), &second]).test, two);
    }

    #[test]
    fn one_person_beside_a_million_is_still_compared() {
        let end = |day| Life::new(day, Outcome::Ended(Cause(1)));
        let mut many = LifeTable::default();
        let mut some = LifeTable::default();
        for day in 1..=10 {
            many.add_many(end(day), 100_000);
            some.add_many(end(day), 50_000);
        }
        let test = log_rank(&[&many, &some, &table(&[end(10)])]).test.unwrap();
        assert_eq!(test.degrees, 2);
        // The two great groups are alike; all the surprise is the one who outlived nine tenths of them.
        assert!(test.chi_square > 0.5 && test.chi_square < 3.0, "{test:?}");
    }

    /// The statistic of two groups from the lives themselves, day by day.
    fn of_two_by_the_letter(first: &[Life], second: &[Life]) -> Option<f64> {
        let at_risk = |lives: &[Life], day: u32| {
            lives.iter().filter(|l| l.entry().is_none_or(|entry| entry < day) && day <= l.exit()).count()
                as f64
        };
        let ended = |lives: &[Life], day: u32| {
            lives.iter().filter(|l| l.exit() == day && l.outcome() != Outcome::Censored).count() as f64
        };
        let (mut excess, mut variance) = (0.0, 0.0);
        for day in 0..40 {
            let (n1, n2) = (at_risk(first, day), at_risk(second, day));
            let (n, d) = (n1 + n2, ended(first, day) + ended(second, day));
            if n > 0.0 {
                excess += ended(first, day) - d * n1 / n;
            }
            if n > 1.0 {
                variance += d * (n1 / n) * (n2 / n) * (n - d) / (n - 1.0);
            }
        }
        (variance > 0.0).then(|| excess * excess / variance)
    }

    proptest! {
        #[test]
        fn two_groups_give_the_textbook_statistic(
            first in vec(any_life(), 0..40), second in vec(any_life(), 0..40)
        ) {
            let ours = log_rank(&[&table(&first), &table(&second)]).test.map(|test| test.chi_square);
            let letter = of_two_by_the_letter(&first, &second);
            prop_assert_eq!(ours.is_some(), letter.is_some());
            if let (Some(ours), Some(letter)) = (ours, letter) {
                prop_assert!((ours - letter).abs() <= 1e-9 * letter.max(1.0), "{} {}", ours, letter);
            }
        }

        #[test]
        fn the_names_of_the_groups_do_not_matter(groups in vec(vec(any_life(), 0..20), 2..5), turn in 0_usize..5) {
            let tables: Vec<LifeTable> = groups.iter().map(|lives| table(lives)).collect();
            let mut order: Vec<&LifeTable> = tables.iter().collect();
            let straight = log_rank(&order);
            order.reverse();
            let size = order.len();
            order.rotate_left(turn % size);
            let turned = log_rank(&order);
            prop_assert_eq!(straight.test.map(|t| t.degrees), turned.test.map(|t| t.degrees));
            if let (Some(a), Some(b)) = (straight.test, turned.test) {
                prop_assert!((a.chi_square - b.chi_square).abs() <= 1e-9 * a.chi_square.max(1.0));
                prop_assert!((0.0..=1.0).contains(&a.p));
            }
            let seen: u64 = straight.observed.iter().sum();
            let due: f64 = straight.expected.iter().sum();
            prop_assert!((seen as f64 - due).abs() < 1e-9);
        }
    }
}
