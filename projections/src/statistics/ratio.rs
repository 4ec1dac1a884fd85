//! Ratios of integers, the interval of a share, and odds ratios of two-by-two tables.
//! Never divides before it is asked for the decimal.

/// The 0.975 quantile of the standard normal distribution: the z of every 95 % interval.
pub const Z_95: f64 = 1.959_963_984_540_054;

/// A figure as its two integers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Ratio {
    /// What is counted.
    pub numerator: u64,
    /// What it is counted among; 0 where there is nothing to count among.
    pub denominator: u64,
}

impl Ratio {
    /// Makes the ratio of two counts.
    pub const fn new(numerator: u64, denominator: u64) -> Self {
        Self { numerator, denominator }
    }

    /// The decimal, correctly rounded while both integers are below 2^53. `None` when the denominator is 0.
    pub fn value(self) -> Option<f64> {
        (self.denominator > 0).then(|| self.numerator as f64 / self.denominator as f64)
    }

    /// The 95 % interval of a share of independent things, see [`wilson`].
    /// Has no meaning for a ratio of minutes: a minute is not an independent trial.
    pub fn wilson(self) -> Option<Interval> {
        wilson(self.numerator, self.denominator)
    }
}

/// The two ends of a 95 % interval.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, utoipa::ToSchema)]
pub struct Interval {
    /// The lower end.
    pub lower: f64,
    /// The upper end.
    pub upper: f64,
}

/// Wilson's score interval, 95 %, of `k` out of `n`: the roots in q of `(k/n - q)^2 = z^2 q (1-q) / n`.
/// The lower end is exactly 0 at k = 0 and the upper exactly 1 at k = n.
///
/// `None` when n = 0 or k > n.
/// Source: Wilson 1927, JASA 22:209; Newcombe 1998, Statistics in Medicine 17:857, Table I, method 3.
/// Oracle: statsmodels `proportion_confint(method="wilson")`, R `prop.test(correct=FALSE)`.
pub fn wilson(k: u64, n: u64) -> Option<Interval> {
    let misses = n.checked_sub(k)?;
    // The upper end of k is the mirror image of the lower end of the misses; both ends are then exact where
    // they close.
    (n > 0).then(|| Interval { lower: wilson_lower(k, n), upper: 1.0 - wilson_lower(misses, n) })
}

/// The smaller root as the product of the roots, k^2 / (n (n + z^2)), over the greater one:
/// written so, nothing cancels for small k.
fn wilson_lower(k: u64, n: u64) -> f64 {
    let (hits, trials, misses) = (k as f64, n as f64, (n - k) as f64);
    let z2 = Z_95 * Z_95;
    let greater =
        (2.0 * hits + z2 + Z_95 * (z2 + 4.0 * hits * misses / trials).sqrt()) / (2.0 * (trials + z2));
    hits * hits / (trials * (trials + z2)) / greater
}

/// Two groups, each divided into those to whom it happened and those to whom it did not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TwoByTwo {
    /// First group, it happened.
    pub first_yes: u64,
    /// First group, it did not.
    pub first_no: u64,
    /// Second group, it happened.
    pub second_yes: u64,
    /// Second group, it did not.
    pub second_no: u64,
}

impl TwoByTwo {
    /// The people of the table.
    fn total(self) -> f64 {
        self.first_yes as f64 + self.first_no as f64 + self.second_yes as f64 + self.second_no as f64
    }
}

/// The odds ratio of the pooled table, `(a d) / (b c)`, blind to the strata: only for showing beside
/// [`mantel_haenszel_odds_ratio`], since pooling can turn the direction round (Simpson's paradox).
///
/// `None` when `b c` is 0.
/// Oracle: statsmodels `Table2x2(...).oddsratio`.
pub fn crude_odds_ratio(strata: &[TwoByTwo]) -> Option<f64> {
    let sum = |cell: fn(&TwoByTwo) -> u64| strata.iter().map(|table| cell(table) as f64).sum::<f64>();
    let for_first = sum(|t| t.first_yes) * sum(|t| t.second_no);
    let for_second = sum(|t| t.first_no) * sum(|t| t.second_yes);
    (for_second > 0.0).then(|| for_first / for_second)
}

/// The odds ratio common to the strata, `sum(a d / n) / sum(b c / n)`.
///
/// `None` when the lower sum is 0: no stratum holds a comparison.
/// Source: Mantel & Haenszel 1959, JNCI 22:719. Oracle: statsmodels `StratifiedTable.oddsratio_pooled`.
pub fn mantel_haenszel_odds_ratio(strata: &[TwoByTwo]) -> Option<f64> {
    let mut for_first = 0.0;
    let mut for_second = 0.0;
    for table in strata.iter().filter(|table| table.total() > 0.0) {
        for_first += table.first_yes as f64 * table.second_no as f64 / table.total();
        for_second += table.first_no as f64 * table.second_yes as f64 / table.total();
    }
    (for_second > 0.0).then(|| for_first / for_second)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use statrs::distribution::{ContinuousCDF as _, Normal};

    use super::*;

    #[test]
    fn z_is_the_quantile_it_says_it_is() {
        let quantile = Normal::standard().inverse_cdf(0.975);
        assert!((quantile - Z_95).abs() < 1e-12, "{quantile}");
    }

    #[test]
    fn a_share_of_nothing_is_undefined() {
        assert_eq!(Ratio::new(0, 0).value(), None);
        assert_eq!(wilson(0, 0), None);
        assert_eq!(wilson(2, 1), None);
        assert_eq!(crude_odds_ratio(&[]), None);
        assert_eq!(mantel_haenszel_odds_ratio(&[TwoByTwo::default()]), None);
    }

    proptest! {
        #[test]
        fn the_interval_holds_the_share_and_closes_exactly_at_its_ends(n in 1_u64..10_000_000, part in 0.0..=1.0) {
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
            for k in [0, (n as f64 * part) as u64, n] {
                let share = Ratio::new(k, n).value().unwrap();
                let Interval { lower, upper } = wilson(k, n).unwrap();
                prop_assert!(0.0 <= lower && lower <= share && share <= upper && upper <= 1.0);
                prop_assert_eq!(lower == 0.0, k == 0);
                prop_assert_eq!(upper.to_bits() == 1.0_f64.to_bits(), k == n);
            }
        }

        #[test]
        fn the_interval_is_the_textbook_formula(n in 1_u64..10_000, of in 0_u64..10_000) {
            let (k, z2) = (of % (n + 1), Z_95 * Z_95);
            let (p, trials) = (k as f64 / n as f64, n as f64);
            let half = Z_95 * (p * (1.0 - p) / trials + z2 / (4.0 * trials * trials)).sqrt();
            let Interval { lower, upper } = wilson(k, n).unwrap();
            prop_assert!((lower - (p + z2 / (2.0 * trials) - half) / (1.0 + z2 / trials)).abs() < 1e-14);
            prop_assert!((upper - (p + z2 / (2.0 * trials) + half) / (1.0 + z2 / trials)).abs() < 1e-14);
        }
    }
}
