//! Activity on civil days: spells and their lapse, landmarks, and who came back on day N.
//! Never decides what counts as activity; it is given the days.

use mentorlog_events::time::Day;

use crate::statistics::lives::{Life, Outcome};
use crate::statistics::ratio::Ratio;

/// A stretch of activity without a gap longer than allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Spell {
    /// The first active day.
    pub start: Day,
    /// The last active day of the spell.
    pub last: Day,
    /// The day it became known that the spell was over, `last` + gap; `None` while it may go on.
    pub end: Option<Day>,
}

impl Spell {
    /// The spell as a life, for a curve: ended on `end`, or censored at the close of `as_of`.
    pub fn life(self, as_of: Day, ended: Outcome) -> Life {
        match self.end {
            Some(end) => Life::new(days_between(self.start, end), ended),
            None => Life::new(days_between(self.start, as_of), Outcome::Censored),
        }
    }
}

/// Days from one to a later; 0 if it is not later.
pub fn days_between(from: Day, to: Day) -> u32 {
    u32::try_from(i64::from(to.number()) - i64::from(from.number())).unwrap_or(0)
}

/// Cuts active days into spells by the gap rule, as seen at the close of `as_of`.
///
/// A spell ends on day `last + gap` when nothing happened on the days after `last` up to and including that
/// one; a gap equal to `gap` continues it. It has ended if that day is no later than `as_of`; activity after
/// that begins a new spell, and what lies after `as_of` is not looked at.
/// `days` ascend and may repeat.
pub fn spells(days: impl IntoIterator<Item = Day>, gap: u32, as_of: Day) -> Vec<Spell> {
    let ends = |last: Day| last.plus_days(i32::try_from(gap).unwrap_or(i32::MAX));
    let mut spells: Vec<Spell> = Vec::new();
    for day in days.into_iter().take_while(|day| *day <= as_of) {
        match spells.last_mut() {
            Some(spell) if day <= ends(spell.last) => spell.last = day,
            before => {
                if let Some(spell) = before {
                    spell.end = Some(ends(spell.last));
                }
                spells.push(Spell { start: day, last: day, end: None });
            }
        }
    }
    if let Some(spell) = spells.last_mut() {
        spell.end = Some(ends(spell.last)).filter(|end| *end <= as_of);
    }
    spells
}

/// Puts a life into its group at a landmark: whether something had happened to it within the first `landmark`
/// days (`happened_on` counts from its start; the landmark's day counts), and the life that was left, counted
/// from the landmark.
///
/// `None` for lives that did not last longer than the landmark: by then nothing remained to be compared.
/// Grouping by what happens at any time gives those who live long more time for it (immortal-time bias) and
/// is not offered.
/// Source: Anderson, Cain & Gelber 1983, J. Clin. Oncol. 1:710.
pub fn landmark(life: Life, landmark: u32, happened_on: Option<u32>) -> Option<(bool, Life)> {
    let left = life.exit().checked_sub(landmark).filter(|left| *left > 0)?;
    let entry = life.entry().map_or(0, |entry| entry.saturating_sub(landmark));
    Some((happened_on.is_some_and(|day| day <= landmark), Life::entering(entry, left, life.outcome())?))
}

/// One cell of a cohort table: how many came back on day N after their first, counted member by member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Returned {
    day: u32,
    as_of: Day,
    size: u64,
    eligible: u64,
    on_day: u64,
    since_day: u64,
}

impl Returned {
    /// An empty cell for day `day`, as seen at the close of `as_of`.
    pub const fn new(day: u32, as_of: Day) -> Self {
        Self { day, as_of, size: 0, eligible: 0, on_day: 0, since_day: 0 }
    }

    /// Counts a member by the first day and all active days, in any order. Who came after `as_of` is not a
    /// member yet, and activity after `as_of` has not happened yet.
    pub fn count(&mut self, first: Day, active: impl IntoIterator<Item = Day>) {
        if first > self.as_of {
            return;
        }
        self.size += 1;
        let day = first.plus_days(i32::try_from(self.day).unwrap_or(i32::MAX));
        if day > self.as_of {
            return;
        }
        self.eligible += 1;
        let (mut on_day, mut since_day) = (false, false);
        for active in active.into_iter().filter(|active| *active <= self.as_of) {
            on_day |= active == day;
            since_day |= active >= day;
        }
        self.on_day += u64::from(on_day);
        self.since_day += u64::from(since_day);
    }

    /// Members of the cohort, whether their day N has come or not.
    pub const fn size(self) -> u64 {
        self.size
    }

    /// Whether day N has come for all members; a cell where it has not is marked, since it will still change.
    pub const fn is_complete(self) -> bool {
        self.eligible == self.size
    }

    /// N-day retention: active exactly on day N, among members whose day N has come.
    pub const fn on_day(self) -> Ratio {
        Ratio::new(self.on_day, self.eligible)
    }

    /// Rolling retention: active on day N or any later day until `as_of`, among members whose day N has come.
    /// Grows with follow-up: cohorts of different age may not be compared on it.
    pub const fn since_day(self) -> Ratio {
        Ratio::new(self.since_day, self.eligible)
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::btree_set;
    use proptest::prelude::*;

    use super::*;
    use crate::statistics::lives::Cause;

    const END: Outcome = Outcome::Ended(Cause(1));

    fn day(number: u32) -> Day {
        Day::from_number(i32::try_from(number).unwrap())
    }

    #[test]
    fn no_activity_is_no_spell() {
        assert_eq!(spells([], 30, day(100)), []);
        assert_eq!(spells([day(101)], 30, day(100)), []);
    }

    #[test]
    fn a_life_must_outlast_the_landmark_to_be_grouped_and_counts_from_it() {
        assert_eq!(landmark(Life::new(7, END), 7, Some(0)), None);
        assert_eq!(landmark(Life::new(8, END), 7, Some(7)), Some((true, Life::new(1, END))));
        assert_eq!(landmark(Life::new(8, END), 7, Some(8)), Some((false, Life::new(1, END))));
        assert_eq!(
            landmark(Life::new(9, Outcome::Censored), 7, None),
            Some((false, Life::new(2, Outcome::Censored)))
        );
        let late = Life::entering(10, 12, END).unwrap();
        assert_eq!(landmark(late, 7, None), Some((false, Life::entering(3, 5, END).unwrap())));
        assert_eq!(landmark(Life::entering(3, 12, END).unwrap(), 7, None), Some((false, Life::new(5, END))));
    }

    proptest! {
        #[test]
        fn spells_hold_every_day_once_and_no_gap_too_long(
            active in btree_set(0_u32..300, 0..40), gap in 0_u32..40, as_of in 0_u32..300
        ) {
            let cut = spells(active.iter().map(|&number| day(number)), gap, day(as_of));
            let mut days = active.iter().filter(|number| **number <= as_of).map(|&number| day(number)).peekable();
            for (at, spell) in cut.iter().enumerate() {
                prop_assert_eq!(days.next(), Some(spell.start));
                let mut last = spell.start;
                while let Some(next) = days.next_if(|next| *next <= spell.last) {
                    prop_assert!(days_between(last, next) <= gap);
                    last = next;
                }
                prop_assert_eq!(last, spell.last);
                let end = last.plus_days(i32::try_from(gap).unwrap());
                prop_assert_eq!(spell.end, (end <= day(as_of)).then_some(end));
                if let Some(next) = cut.get(at + 1) {
                    prop_assert!(next.start > end);
                }
            }
            prop_assert_eq!(days.next(), None);
        }

        #[test]
        fn what_lies_after_as_of_does_not_change_what_was_seen(
            active in btree_set(0_u32..300, 0..40), gap in 0_u32..40, as_of in 0_u32..300
        ) {
            let all = active.iter().map(|&number| day(number));
            let known = all.clone().filter(|known| *known <= day(as_of));
            prop_assert_eq!(spells(all, gap, day(as_of)), spells(known, gap, day(as_of)));
        }
    }
}
