//! Minutes that flowed from teachers to learners, and how mutual that was.
//! Never forgets a direction, and never holds more than sums: what is taken back leaves no trace.

use std::collections::BTreeMap;

use crate::statistics::NotCounted;
use crate::statistics::ratio::Ratio;
use crate::statistics::spread::gini;

/// What one person taught and learned, in minutes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Part {
    /// Minutes as the teacher.
    pub taught: u64,
    /// Minutes as the learner.
    pub learned: u64,
}

/// Minutes by directed (teacher, learner), with the sums of the reciprocity figures kept up with every
/// change: each figure of the whole is answered in O(1).
///
/// w_ij is what i taught j, W the sum of all; a pair is an unordered {i, j} with minutes. Who teaches
/// themselves is ignored. A count of sessions is the same with 1 for every minute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flows<P> {
    /// By (lower, higher): minutes the lower taught, minutes the higher taught. No entry where both are 0.
    pairs: BTreeMap<(P, P), (u64, u64)>,
    /// No entry where both are 0.
    people: BTreeMap<P, Part>,
    total: u64,
    /// The sum over pairs of min(w_ij, w_ji).
    returned: u64,
    /// The sum over people of min(taught, learned).
    passed_on: u64,
    two_way: u64,
    dual_role: u64,
}

impl<P> Default for Flows<P> {
    fn default() -> Self {
        Self {
            pairs: BTreeMap::new(),
            people: BTreeMap::new(),
            total: 0,
            returned: 0,
            passed_on: 0,
            two_way: 0,
            dual_role: 0,
        }
    }
}

impl<P: Ord + Clone> Flows<P> {
    /// Adds minutes `teacher` taught `learner`.
    // 32 bits: four thousand million of the greatest still fit into the sums.
    pub fn add(&mut self, teacher: &P, learner: &P, minutes: u32) {
        self.grow(teacher, learner, minutes.into());
    }

    /// Takes minutes back that were added from the same teacher to the same learner.
    pub fn subtract(&mut self, teacher: &P, learner: &P, minutes: u32) -> Result<(), NotCounted> {
        self.shrink(teacher, learner, minutes.into())
    }

    /// Adds all minutes of other flows.
    pub fn merge(&mut self, other: &Self) {
        for (teacher, learner, minutes) in other.directed() {
            self.grow(teacher, learner, minutes);
        }
    }

    fn grow(&mut self, teacher: &P, learner: &P, minutes: u64) {
        if teacher != learner && minutes > 0 {
            self.change(teacher, learner, |held| held + minutes);
        }
    }

    fn shrink(&mut self, teacher: &P, learner: &P, minutes: u64) -> Result<(), NotCounted> {
        if teacher != learner && minutes > 0 {
            if self.minutes(teacher, learner) < minutes {
                return Err(NotCounted);
            }
            self.change(teacher, learner, |held| held - minutes);
        }
        Ok(())
    }

    /// Changes what one taught the other, and with it the same amount of every sum it is part of.
    fn change(&mut self, teacher: &P, learner: &P, change: impl Fn(u64) -> u64) {
        let both = |one: u64, other: u64| u64::from(one > 0 && other > 0);

        let lower_teaches = teacher < learner;
        let key = if lower_teaches {
            (teacher.clone(), learner.clone())
        } else {
            (learner.clone(), teacher.clone())
        };
        let pair = self.pairs.entry(key.clone()).or_default();
        self.returned -= pair.0.min(pair.1);
        self.two_way -= both(pair.0, pair.1);
        let directed = if lower_teaches { &mut pair.0 } else { &mut pair.1 };
        *directed = change(*directed);
        self.returned += pair.0.min(pair.1);
        self.two_way += both(pair.0, pair.1);
        if *pair == (0, 0) {
            self.pairs.remove(&key);
        }

        let mut change_part = |person: &P, as_teacher: bool| {
            let part = self.people.entry(person.clone()).or_default();
            self.passed_on -= part.taught.min(part.learned);
            self.dual_role -= both(part.taught, part.learned);
            let side = if as_teacher { &mut part.taught } else { &mut part.learned };
            *side = change(*side);
            self.passed_on += part.taught.min(part.learned);
            self.dual_role += both(part.taught, part.learned);
            if *part == Part::default() {
                self.people.remove(person);
            }
        };
        change_part(teacher, true);
        change_part(learner, false);
        self.total = change(self.total);
    }

    /// Minutes `teacher` taught `learner`.
    pub fn minutes(&self, teacher: &P, learner: &P) -> u64 {
        let lower_teaches = teacher < learner;
        let key = if lower_teaches {
            (teacher.clone(), learner.clone())
        } else {
            (learner.clone(), teacher.clone())
        };
        self.pairs.get(&key).map_or(0, |(lower, higher)| if lower_teaches { *lower } else { *higher })
    }

    /// Every (teacher, learner) with minutes.
    pub fn directed(&self) -> impl Iterator<Item = (&P, &P, u64)> {
        self.pairs
            .iter()
            .flat_map(|((lower, higher), (up, down))| [(lower, higher, *up), (higher, lower, *down)])
            .filter(|(_, _, minutes)| *minutes > 0)
    }

    /// Every pair with minutes: the lower, the higher, minutes the lower taught, minutes the higher taught.
    pub fn pairs(&self) -> impl ExactSizeIterator<Item = (&P, &P, u64, u64)> {
        self.pairs.iter().map(|((lower, higher), (up, down))| (lower, higher, *up, *down))
    }

    /// Everybody who taught or learned, ascending.
    pub fn people(&self) -> impl ExactSizeIterator<Item = (&P, Part)> {
        self.people.iter().map(|(person, part)| (person, *part))
    }

    /// What one person taught and learned.
    pub fn part(&self, person: &P) -> Part {
        self.people.get(person).copied().unwrap_or_default()
    }

    /// W, all minutes.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// Weighted reciprocity `r_w = sum_{i != j} min(w_ij, w_ji) / W`: the part of the minutes that was
    /// returned within the pair. It is the minute-weighted mean of [`pair_balance`].
    /// Source: Squartini, Picciolo, Ruzzenenti & Garlaschelli 2013, Scientific Reports 3:2729.
    /// Oracle: igraph 1.0.0 `reciprocity` on the multigraph with one edge a minute.
    pub fn weighted_reciprocity(&self) -> Ratio {
        Ratio::new(2 * self.returned, self.total)
    }

    /// Generalised reciprocity `g_w = sum_i min(out_i, in_i) / W`: the part that came back to the teacher
    /// from anybody. Never below r_w. Oracle: exact rationals.
    pub fn generalised_reciprocity(&self) -> Ratio {
        Ratio::new(self.passed_on, self.total)
    }

    /// Indirect reciprocity `g_w - r_w`: the part that came back from somebody else.
    pub fn indirect_reciprocity(&self) -> Ratio {
        Ratio::new(self.passed_on - 2 * self.returned, self.total)
    }

    /// Pairs in which both taught, among pairs; its Wilson interval is [`Ratio::wilson`].
    /// Oracle: R sna 2.7-1 `grecip(measure = "dyadic.nonnull")`.
    pub fn two_way_pair_share(&self) -> Ratio {
        Ratio::new(self.two_way, self.pairs.len() as u64)
    }

    /// People who both taught and learned, among the enrolled.
    pub fn dual_role_share(&self, enrolled: u64) -> Ratio {
        Ratio::new(self.dual_role, enrolled)
    }

    /// The [`gini`] coefficient of minutes taught over the enrolled, those who taught nothing among them.
    pub fn teaching_gini(&self, enrolled: u64) -> Ratio {
        gini(self.people.values().map(|part| part.taught), enrolled)
    }

    /// The balance of one pair, see [`pair_balance`].
    pub fn balance(&self, one: &P, other: &P) -> Ratio {
        pair_balance(self.minutes(one, other), self.minutes(other, one))
    }
}

/// The balance of a pair that taught one another `a` and `b` minutes, `2 min(a, b) / (a + b)`: 1 is even, 0
/// one-way. The value is `None` when neither taught: such a pair is left out, neither balanced nor not.
/// Also written `1 - |a - b| / (a + b)`.
pub fn pair_balance(a: u64, b: u64) -> Ratio {
    Ratio::new(2 * a.min(b), a + b)
}

/// The balance to be expected of a pair in which a fair coin picks the teacher of each of `sessions` equal
/// sessions: `1 - C(n-1, floor((n-1)/2)) / 2^(n-1)`. Below four sessions a balance says little; this stands
/// beside it.
///
/// `None` without sessions. Takes time in proportion to `sessions`.
/// Source: the mean absolute deviation of a binomial (De Moivre; Diaconis & Zabell 1991, Statistical Science
/// 6:284).
/// Oracle: scipy `binom`, exact enumeration.
pub fn expected_balance(sessions: u32) -> Option<f64> {
    // C(m, floor(m/2)) / 2^m is the product of (2j-1)/(2j) up to ceil(m/2).
    let flips = sessions.checked_sub(1)?;
    let even =
        (1..=flips.div_ceil(2)).map(f64::from).fold(1.0, |part, j| part * ((2.0 * j - 1.0) / (2.0 * j)));
    Some(1.0 - even)
}

/// Reciprocity of what the minutes were worth to those who learned: `minutes (rating - 1) / 4`, held exactly
/// in quarter-minutes. Ratings of 1 to 5 are no ratio scale, so they are shifted to 0..1 first; an exchange
/// rated 1 is worth 0, one without a rating is left out and shows in the coverage.
/// Oracle: igraph 1.0.0 on the multigraph of quarter value-minutes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ValueFlows<P> {
    quarters: Flows<P>,
    exchanges: Ratio,
    minutes: Ratio,
}

impl<P> Default for ValueFlows<P> {
    fn default() -> Self {
        Self { quarters: Flows::default(), exchanges: Ratio::default(), minutes: Ratio::default() }
    }
}

impl<P: Ord + Clone> ValueFlows<P> {
    /// Adds an exchange, with its rating from 1 to 5 if it has one; what lies outside counts as the nearer
    /// end.
    pub fn add(&mut self, teacher: &P, learner: &P, minutes: u32, rating: Option<u8>) {
        self.exchanges.denominator += 1;
        self.minutes.denominator += u64::from(minutes);
        if let Some(rating) = rating {
            self.exchanges.numerator += 1;
            self.minutes.numerator += u64::from(minutes);
            self.quarters.grow(teacher, learner, quarters(minutes, rating));
        }
    }

    /// Takes an exchange back that was added with the same minutes and rating.
    pub fn subtract(
        &mut self,
        teacher: &P,
        learner: &P,
        minutes: u32,
        rating: Option<u8>,
    ) -> Result<(), NotCounted> {
        let (rated, rated_minutes) = if rating.is_some() { (1, u64::from(minutes)) } else { (0, 0) };
        let less = |ratio: Ratio, part: u64, whole: u64| {
            Some(Ratio::new(ratio.numerator.checked_sub(part)?, ratio.denominator.checked_sub(whole)?))
                .filter(|left| left.numerator <= left.denominator)
        };
        let exchanges = less(self.exchanges, rated, 1).ok_or(NotCounted)?;
        let minutes_left = less(self.minutes, rated_minutes, minutes.into()).ok_or(NotCounted)?;
        if let Some(rating) = rating {
            self.quarters.shrink(teacher, learner, quarters(minutes, rating))?;
        }
        (self.exchanges, self.minutes) = (exchanges, minutes_left);
        Ok(())
    }

    /// The flows of value, in quarter-minutes: their weighted reciprocity and balances are those of value.
    pub fn quarters(&self) -> &Flows<P> {
        &self.quarters
    }

    /// r_w of value: numerator and denominator in quarter-minutes.
    pub fn value_reciprocity(&self) -> Ratio {
        self.quarters.weighted_reciprocity()
    }

    /// Rated exchanges among exchanges.
    pub fn exchange_coverage(&self) -> Ratio {
        self.exchanges
    }

    /// Minutes of rated exchanges among minutes.
    pub fn minute_coverage(&self) -> Ratio {
        self.minutes
    }
}

fn quarters(minutes: u32, rating: u8) -> u64 {
    u64::from(minutes) * u64::from(rating.clamp(1, 5) - 1)
}

/// Minutes by the bands (generations) of teacher and learner, as they were at the time of the session.
///
/// Where the age of a band is asked for, greater is older and `None` is unknown: minutes with an unknown side
/// can be called neither within a band, nor across, nor reverse, and are left out of both sides of a share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BandFlows<B> {
    minutes: BTreeMap<(B, B), u64>,
}

impl<B> Default for BandFlows<B> {
    fn default() -> Self {
        Self { minutes: BTreeMap::new() }
    }
}

impl<B: Ord + Clone> BandFlows<B> {
    /// Adds minutes taught by someone of one band to someone of another, or of the same.
    pub fn add(&mut self, teacher: &B, learner: &B, minutes: u32) {
        if minutes > 0 {
            *self.minutes.entry((teacher.clone(), learner.clone())).or_default() += u64::from(minutes);
        }
    }

    /// Takes minutes back that were added between the same bands.
    pub fn subtract(&mut self, teacher: &B, learner: &B, minutes: u32) -> Result<(), NotCounted> {
        let key = (teacher.clone(), learner.clone());
        let left = self.minutes(teacher, learner).checked_sub(minutes.into()).ok_or(NotCounted)?;
        if left == 0 {
            self.minutes.remove(&key);
        } else {
            self.minutes.insert(key, left);
        }
        Ok(())
    }

    /// Adds all minutes of other flows.
    pub fn merge(&mut self, other: &Self) {
        for (key, minutes) in &other.minutes {
            *self.minutes.entry(key.clone()).or_default() += minutes;
        }
    }

    /// Minutes one band taught another: a cell of the flow matrix.
    pub fn minutes(&self, teacher: &B, learner: &B) -> u64 {
        self.minutes.get(&(teacher.clone(), learner.clone())).copied().unwrap_or(0)
    }

    /// Every cell with minutes: teacher's band, learner's band, minutes.
    pub fn cells(&self) -> impl ExactSizeIterator<Item = (&B, &B, u64)> {
        self.minutes.iter().map(|((teacher, learner), minutes)| (teacher, learner, *minutes))
    }

    /// Cross-generation share: minutes across bands, among all minutes between known bands.
    /// Oracle: exact rationals (the E-I index is `2 share - 1`).
    pub fn cross_share(&self, age: impl Fn(&B) -> Option<u32>) -> Ratio {
        self.share(age, |_, _| true, |teacher, learner| teacher != learner)
    }

    /// Reverse share: minutes the younger taught the older, among minutes across bands.
    pub fn reverse_share(&self, age: impl Fn(&B) -> Option<u32>) -> Ratio {
        self.share(age, |teacher, learner| teacher != learner, |teacher, learner| teacher < learner)
    }

    fn share(
        &self,
        age: impl Fn(&B) -> Option<u32>,
        among: impl Fn(u32, u32) -> bool,
        counts: impl Fn(u32, u32) -> bool,
    ) -> Ratio {
        let mut share = Ratio::default();
        for (teacher, learner, minutes) in self.cells() {
            let (Some(teacher), Some(learner)) = (age(teacher), age(learner)) else { continue };
            if among(teacher, learner) {
                share.denominator += minutes;
                share.numerator += if counts(teacher, learner) { minutes } else { 0 };
            }
        }
        share
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    type Exchange = (u8, u8, u32);

    fn flows(exchanges: &[Exchange]) -> Flows<u8> {
        let mut flows = Flows::default();
        for (teacher, learner, minutes) in exchanges {
            flows.add(teacher, learner, *minutes);
        }
        flows
    }

    fn any_exchanges() -> impl Strategy<Value = Vec<Exchange>> {
        vec((0_u8..8, 0_u8..8, 0_u32..120), 0..60)
    }

    #[test]
    fn nothing_taught_gives_no_figure() {
        let none = Flows::<u8>::default();
        for figure in [
            none.weighted_reciprocity(),
            none.generalised_reciprocity(),
            none.indirect_reciprocity(),
            none.two_way_pair_share(),
            none.dual_role_share(0),
            none.teaching_gini(7),
            none.balance(&1, &2),
            ValueFlows::<u8>::default().value_reciprocity(),
            BandFlows::<u8>::default().cross_share(|_| Some(1)),
        ] {
            assert_eq!(figure.value(), None);
        }
        assert_eq!(expected_balance(0), None);
    }

    #[test]
    fn minutes_that_were_not_added_cannot_be_taken_back_and_nothing_changes() {
        let mut taught = flows(&[(1, 2, 30)]);
        let before = taught.clone();
        assert_eq!(taught.subtract(&2, &1, 30), Err(NotCounted));
        assert_eq!(taught.subtract(&1, &2, 31), Err(NotCounted));
        assert_eq!(taught, before);
        let mut value = ValueFlows::default();
        value.add(&1, &2, 30, Some(3));
        let before = value.clone();
        assert_eq!(value.subtract(&1, &2, 30, Some(4)), Err(NotCounted));
        assert_eq!(value.subtract(&1, &2, 30, None), Err(NotCounted));
        assert_eq!(value.subtract(&2, &1, 30, Some(3)), Err(NotCounted));
        assert_eq!(value, before);
    }

    #[test]
    fn a_band_of_unknown_age_is_neither_within_nor_across() {
        let mut bands = BandFlows::default();
        bands.add(&"young", &"old", 10);
        bands.add(&"old", &"young", 30);
        bands.add(&"old", &"old", 40);
        bands.add(&"unknown", &"old", 1000);
        let age =
            |band: &&str| ["young", "old"].iter().position(|known| known == band).map(|at| u32::from(at > 0));
        assert_eq!(bands.cross_share(age), Ratio::new(40, 80));
        assert_eq!(bands.reverse_share(age), Ratio::new(10, 40));
        assert_eq!(bands.subtract(&"old", &"young", 31), Err(NotCounted));
        assert_eq!(bands.subtract(&"old", &"young", 30), Ok(()));
        assert_eq!(bands.cells().count(), 3);
    }

    proptest! {
        #[test]
        fn the_figures_are_those_of_the_definition(exchanges in any_exchanges()) {
            let ours = flows(&exchanges);
            let w = |i: u8, j: u8| -> u64 {
                let of = exchanges.iter().filter(|(teacher, learner, _)| (*teacher, *learner) == (i, j) && i != j);
                of.map(|(_, _, minutes)| u64::from(*minutes)).sum()
            };
            let everyone = || (0_u8..8).flat_map(|i| (0_u8..8).map(move |j| (i, j)));
            let total: u64 = everyone().map(|(i, j)| w(i, j)).sum();
            let returned: u64 = everyone().map(|(i, j)| w(i, j).min(w(j, i))).sum();
            let part = |i: u8| (0..8).fold((0, 0), |(out, back), j| (out + w(i, j), back + w(j, i)));
            let passed_on: u64 = (0..8).map(|i| part(i).0.min(part(i).1)).sum();
            prop_assert_eq!(ours.weighted_reciprocity(), Ratio::new(returned, total));
            prop_assert_eq!(ours.generalised_reciprocity(), Ratio::new(passed_on, total));
            prop_assert_eq!(ours.indirect_reciprocity(), Ratio::new(passed_on - returned, total));
            let pairs = || everyone().filter(|(i, j)| i < j && w(*i, *j) + w(*j, *i) > 0);
            let two_way = pairs().filter(|(i, j)| w(*i, *j) > 0 && w(*j, *i) > 0).count() as u64;
            prop_assert_eq!(ours.two_way_pair_share(), Ratio::new(two_way, pairs().count() as u64));
            let dual = (0..8).filter(|i| part(*i).0 > 0 && part(*i).1 > 0).count() as u64;
            prop_assert_eq!(ours.dual_role_share(8), Ratio::new(dual, 8));
            // r_w is the minute-weighted mean of the balances of the pairs.
            let balances: u64 = ours.pairs().map(|(_, _, up, down)| pair_balance(up, down).numerator).sum();
            prop_assert_eq!(balances, returned);
        }

        #[test]
        fn direct_is_never_more_than_generalised_reciprocity(exchanges in any_exchanges()) {
            let ours = flows(&exchanges);
            let (direct, generalised) = (ours.weighted_reciprocity(), ours.generalised_reciprocity());
            prop_assert!(direct.numerator <= generalised.numerator);
            prop_assert!(generalised.numerator <= generalised.denominator);
        }

        #[test]
        fn the_order_of_arrival_is_forgotten_and_what_is_taken_back_leaves_no_trace(
            kept in any_exchanges(), gone in any_exchanges()
        ) {
            let mut both = flows(&gone);
            both.merge(&flows(&kept));
            let mut one_by_one: Vec<Exchange> = kept.iter().chain(&gone).copied().collect();
            one_by_one.sort_unstable();
            prop_assert_eq!(&both, &flows(&one_by_one));
            for (teacher, learner, minutes) in &gone {
                prop_assert_eq!(both.subtract(teacher, learner, *minutes), Ok(()));
            }
            prop_assert_eq!(both, flows(&kept));
        }

        #[test]
        fn value_taken_back_leaves_no_trace(
            kept in any_exchanges(), gone in vec((0_u8..8, 0_u8..8, 0_u32..120, proptest::option::of(1_u8..6)), 0..30)
        ) {
            let mut value = ValueFlows::default();
            for (teacher, learner, minutes) in &kept {
                value.add(teacher, learner, *minutes, Some(2));
            }
            let before = value.clone();
            for (teacher, learner, minutes, rating) in &gone {
                value.add(teacher, learner, *minutes, *rating);
            }
            for (teacher, learner, minutes, rating) in &gone {
                prop_assert_eq!(value.subtract(teacher, learner, *minutes, *rating), Ok(()));
            }
            prop_assert_eq!(value, before);
        }

        #[test]
        fn the_expected_balance_is_that_of_all_ways_the_coin_can_fall(sessions in 1_u32..12) {
            let ways = 1_u32 << sessions;
            let sum: f64 = (0..ways)
                .map(|way| pair_balance(way.count_ones().into(), (sessions - way.count_ones()).into()))
                .filter_map(Ratio::value)
                .sum();
            prop_assert!((expected_balance(sessions).unwrap() - sum / f64::from(ways)).abs() < 1e-12);
        }
    }
}
