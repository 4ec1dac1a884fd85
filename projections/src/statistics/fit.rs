//! How well two people fit: what each offers against what the other seeks.
//! Never weighs a person, only the skills two of them named.

use std::collections::BTreeSet;

use crate::statistics::ratio::Ratio;

/// What two people could do for one another, with the reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fit<'a, S> {
    /// What the first could teach the second, ascending.
    pub first_teaches: Vec<&'a S>,
    /// The part of what the second seeks that the first offers.
    pub for_second: Ratio,
    /// What the second could teach the first, ascending.
    pub second_teaches: Vec<&'a S>,
    /// The part of what the first seeks that the second offers.
    pub for_first: Ratio,
}

impl<'a, S: Ord> Fit<'a, S> {
    /// Compares the offered and sought skills of two people.
    pub fn of(
        first_offers: &'a BTreeSet<S>,
        first_seeks: &'a BTreeSet<S>,
        second_offers: &'a BTreeSet<S>,
        second_seeks: &'a BTreeSet<S>,
    ) -> Self {
        let first_teaches: Vec<&S> = first_offers.intersection(second_seeks).collect();
        let second_teaches: Vec<&S> = second_offers.intersection(first_seeks).collect();
        Self {
            for_second: Ratio::new(first_teaches.len() as u64, second_seeks.len() as u64),
            for_first: Ratio::new(second_teaches.len() as u64, first_seeks.len() as u64),
            first_teaches,
            second_teaches,
        }
    }

    /// See [`mutual`].
    pub fn mutual(&self) -> Ratio {
        mutual(self.for_second, self.for_first)
    }

    /// See [`permille`].
    pub fn permille(&self) -> u64 {
        permille(self.for_second, self.for_first)
    }
}

/// The harmonic mean of the two parts, `2 p r / (p s + r q)` of p/q and r/s, not reduced: great only if
/// both are. 0 (of 1) when either gives the other nothing, also because the other seeks nothing.
pub const fn mutual(second: Ratio, first: Ratio) -> Ratio {
    if second.numerator == 0 || first.numerator == 0 {
        return Ratio::new(0, 1);
    }
    Ratio {
        numerator: 2 * second.numerator * first.numerator,
        denominator: second.numerator * first.denominator + first.numerator * second.denominator,
    }
}

/// The mutual fit in whole thousandths, rounded down: the weight of the pair in a matching.
pub const fn permille(second: Ratio, first: Ratio) -> u64 {
    let mutual = mutual(second, first);
    1000 * mutual.numerator / mutual.denominator
}

#[cfg(test)]
mod tests {
    use proptest::collection::btree_set;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn fit_is_the_same_from_both_sides_and_whole_only_when_both_get_all_they_seek(
            a in btree_set(0_u8..6, 0..6), b in btree_set(0_u8..6, 0..6),
            c in btree_set(0_u8..6, 0..6), d in btree_set(0_u8..6, 0..6),
        ) {
            let (there, back) = (Fit::of(&a, &b, &c, &d), Fit::of(&c, &d, &a, &b));
            prop_assert_eq!(there.permille(), back.permille());
            prop_assert!(there.permille() <= 1000);
            let whole = !b.is_empty() && !d.is_empty() && b.is_subset(&c) && d.is_subset(&a);
            prop_assert_eq!(there.permille() == 1000, whole);
        }
    }
}
