//! How evenly something is spread, and means of few ratings.
//! Never ranks anybody: it answers for a whole.

use crate::statistics::ratio::Ratio;

/// The Gini coefficient of amounts among `people`, of whom those not in `amounts` have 0; from 0, all alike,
/// towards 1.
///
/// `sum (2 i - n - 1) x_(i) / (n sum x)` with the amounts ascending, i from 1: the same as
/// `2 sum i x_(i) / (n sum x) - (n + 1) / n`, but exact in integers. No n/(n-1) correction; who has nothing
/// counts. The value is `None` when nobody has anything. `people` below the number of amounts counts as that
/// number.
/// Source: Gini 1912 in the form of Damgaard & Weiner 2000, Ecology 81:1139. Oracle: PySAL `inequality`
/// 1.1.2.
pub fn gini(amounts: impl IntoIterator<Item = u64>, people: u64) -> Ratio {
    let mut ascending: Vec<u64> = amounts.into_iter().filter(|amount| *amount > 0).collect();
    ascending.sort_unstable();
    let having = ascending.len() as u64;
    let n = i128::from(people.max(having));
    // Whoever has nothing comes first and adds nothing to either sum.
    let first = n - i128::from(having) + 1;
    let (mut weighted, mut total) = (0_i128, 0_i128);
    for (rank, amount) in (first..).zip(ascending) {
        weighted += (2 * rank - n - 1) * i128::from(amount);
        total += i128::from(amount);
    }
    // Beyond 2^64 (a million people who taught 35 million years) both are cut alike: the decimal does not see
    // it.
    let (mut numerator, mut denominator) = (weighted, n * total);
    loop {
        if let (Ok(numerator), Ok(denominator)) = (u64::try_from(numerator), u64::try_from(denominator)) {
            return Ratio { numerator, denominator };
        }
        (numerator, denominator) = (numerator >> 1, denominator >> 1);
    }
}

/// Ratings of 1 to 5 as their number and sum.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Ratings {
    /// How many.
    pub count: u64,
    /// Their sum.
    pub sum: u64,
}

/// How many ratings the prior of a shrunk mean is worth, where nothing else is said.
pub const PRIOR_RATINGS: u64 = 5;

impl Ratings {
    /// Counts a rating.
    pub fn add(&mut self, rating: u8) {
        self.count += 1;
        self.sum += u64::from(rating);
    }

    /// Takes a counted rating back. `None`, and nothing is changed, when the counts cannot hold it.
    pub fn remove(&mut self, rating: u8) -> Option<()> {
        let (count, sum) = (self.count.checked_sub(1)?, self.sum.checked_sub(rating.into())?);
        *self = Self { count, sum };
        Some(())
    }

    /// The plain mean. `None` without ratings.
    pub fn mean(self) -> Option<f64> {
        Ratio::new(self.sum, self.count).value()
    }

    /// The mean drawn towards the mean `m` of all ratings by a prior worth `C` = `prior` of them (see
    /// [`PRIOR_RATINGS`]), `(C m + sum x) / (C + n)`. Without own ratings it is `m`; show then that it rests
    /// on the prior alone.
    ///
    /// `None` when there is no rating at all.
    /// Source: the posterior mean of a normal model whose variance ratio is C (Efron & Morris 1975, JASA
    /// 70:311).
    pub fn shrunk_mean(self, all: Self, prior: u64) -> Option<f64> {
        let (prior, count, sum) = (prior as f64, self.count as f64, self.sum as f64);
        all.mean().map(|mean| (prior * mean + sum) / (prior + count))
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn amounts_too_great_for_the_integers_keep_their_decimal() {
        let great = gini([u64::MAX, u64::MAX, u64::MAX, 1], 1_000_000).value().unwrap();
        assert!((great - (1.0 - 3e-6)).abs() < 1e-12, "{great}");
    }

    #[test]
    fn a_rating_that_was_not_counted_cannot_be_taken_back() {
        let mut ratings = Ratings { count: 1, sum: 3 };
        assert_eq!(ratings.remove(4), None);
        assert_eq!(ratings, Ratings { count: 1, sum: 3 });
        assert_eq!(ratings.remove(3), Some(()));
        assert_eq!((ratings.mean(), ratings.shrunk_mean(ratings, PRIOR_RATINGS)), (None, None));
    }

    proptest! {
        #[test]
        fn gini_is_half_the_relative_mean_difference(amounts in vec(0_u64..1000, 0..30)) {
            let n = amounts.len() as u64;
            let differences: u64 = amounts.iter().flat_map(|a| amounts.iter().map(|b| a.abs_diff(*b))).sum();
            let total: u64 = amounts.iter().sum();
            let ours = gini(amounts, n);
            prop_assert_eq!(ours.numerator * 2, differences);
            prop_assert_eq!(ours.denominator, n * total);
        }
    }
}
