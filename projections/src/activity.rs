//! The spells of activity of every pair and person, kept up with every session.
//! Never holds a day more than an answer about the present needs: of three spells or more only the outermost.

use mentorlog_events::time::Day;

use crate::rows::Rows;
use crate::statistics::lives::{Cause, Life, Outcome};
use crate::statistics::spells::days_between;

/// The spells of one pair or person: the first and the newest one, and how many there are. 20 bytes.
///
/// That is enough for every day that is not before the newest session, and to take up a session at either end or
/// within one of the two; for any other the sessions have to be looked at. See [`crate::statistics::spells`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Spells {
    /// First and last day of the first spell.
    first: (Day, Day),
    /// First and last day of the newest spell: the same one, if there is one.
    newest: (Day, Day),
    count: u32,
}

impl Spells {
    /// Nobody was active.
    pub(crate) const NONE: Self = {
        let day = Day::from_number(0);
        Self { first: (day, day), newest: (day, day), count: 0 }
    };

    /// Cuts ascending days.
    pub(crate) fn of(days: &[Day], lapse: u32) -> Self {
        days.iter().fold(Self::NONE, |spells, &day| spells.with(day, lapse).unwrap_or(spells))
    }

    /// With one more active day; `None` if these few days cannot tell which spells it joins.
    pub(crate) fn with(self, day: Day, lapse: u32) -> Option<Self> {
        let near = |one, other| days_between(one, other) <= lapse;
        let Self { first, newest, count } = self;
        let within = |(from, to): (Day, Day)| from <= day && day <= to;
        Some(if count == 0 {
            Self { first: (day, day), newest: (day, day), count: 1 }
        } else if within(first) || within(newest) {
            self
        } else if day > newest.1 {
            if near(newest.1, day) {
                let newest = (newest.0, day);
                Self { first: if count == 1 { newest } else { first }, newest, count }
            } else {
                Self { first, newest: (day, day), count: count + 1 }
            }
        } else if day < first.0 {
            if near(day, first.0) {
                let first = (day, first.1);
                Self { first, newest: if count == 1 { first } else { newest }, count }
            } else {
                Self { first: (day, day), newest, count: count + 1 }
            }
        } else if count == 2 {
            match (near(first.1, day), near(day, newest.0)) {
                (true, true) => {
                    let all = (first.0, newest.1);
                    Self { first: all, newest: all, count: 1 }
                }
                (true, false) => Self { first: (first.0, day), newest, count },
                (false, true) => Self { first, newest: (day, newest.1), count },
                (false, false) => Self { first, newest, count: 3 },
            }
        } else {
            return None;
        })
    }

    /// Without one session of an outermost day, given the first and the last day of what is left; `None` if
    /// these few days cannot tell what comes apart.
    pub(crate) fn without(self, day: Day, left: Option<(Day, Day)>) -> Option<Self> {
        let Self { first, newest, count } = self;
        let Some((from, to)) = left else { return Some(Self::NONE) };
        if day == newest.1 && to >= newest.0 {
            let newest = (newest.0, to);
            Some(Self { first: if count == 1 { newest } else { first }, newest, count })
        } else if day == first.0 && from <= first.1 {
            let first = (from, first.1);
            Some(Self { first, newest: if count == 1 { first } else { newest }, count })
        } else if count == 2 && day == newest.1 {
            Some(Self { first, newest: first, count: 1 })
        } else if count == 2 && day == first.0 {
            Some(Self { first: newest, newest, count: 1 })
        } else {
            None
        }
    }

    /// How many there are.
    pub(crate) fn count(self) -> u64 {
        u64::from(self.count)
    }

    /// The first active day.
    pub(crate) fn start(self) -> Option<Day> {
        (self.count > 0).then_some(self.first.0)
    }

    /// The first spell as a life, as seen at the close of a day that is not before the newest session.
    pub(crate) fn life(self, watched: Day, lapse: u32) -> Option<(Day, Life)> {
        let (start, last) = (self.start()?, self.first.1);
        let end = last.plus_days(i32::try_from(lapse).unwrap_or(i32::MAX));
        Some((
            start,
            if end <= watched {
                Life::new(days_between(start, end), Outcome::Ended(Cause(1)))
            } else {
                Life::new(days_between(start, watched), Outcome::Censored)
            },
        ))
    }
}

/// The spells of all, by the lapse of the newest measure policy.
#[derive(Debug, Clone, Default)]
pub(crate) struct Activity {
    pub(crate) lapse_days: u16,
    /// By the number of the pair; none of a pair that was entered in error.
    pub(crate) pairs: Rows<Spells>,
    /// By the number of the participant; of the pairs that count.
    pub(crate) people: Rows<Spells>,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::statistics::spells::spells;

    proptest! {
        #[test]
        fn a_session_taken_back_leaves_the_spells_of_the_others(
            active in prop::collection::vec(0_i32..120, 1..25), lapse in 0_u32..20, gone in any::<prop::sample::Index>()
        ) {
            let mut days: Vec<Day> = active.into_iter().map(Day::from_number).collect();
            days.sort_unstable();
            let before = Spells::of(&days, lapse);
            let day = days.remove(gone.index(days.len()));
            let left = days.first().copied().zip(days.last().copied());
            if let Some(after) = before.without(day, left) {
                prop_assert_eq!(after, Spells::of(&days, lapse));
            }
        }

        #[test]
        fn days_in_any_order_make_the_spells_their_sorted_days_make(
            active in prop::collection::vec(0_i32..120, 0..25), lapse in 0_u32..20, later in 0_i32..40
        ) {
            let mut known: Vec<Day> = Vec::new();
            let mut kept = Spells::NONE;
            for number in active {
                let day = Day::from_number(number);
                known.insert(known.partition_point(|known| *known <= day), day);
                kept = kept.with(day, lapse).unwrap_or_else(|| Spells::of(&known, lapse));
                prop_assert_eq!(kept, Spells::of(&known, lapse));

                let watched = known.last().unwrap().plus_days(later);
                let cut = spells(known.iter().copied(), lapse, watched);
                prop_assert_eq!(kept.count(), cut.len() as u64);
                let life = cut[0].life(watched, Outcome::Ended(Cause(1)));
                prop_assert_eq!(kept.life(watched, lapse), Some((cut[0].start, life)));
            }
        }
    }
}
