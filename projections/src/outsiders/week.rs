//! Weeks of the calendar, from Monday to Sunday, as ISO 8601 numbers them.
//! Never asks what week it is now.

use std::fmt;
use std::str::FromStr;

use mentorlog_events::time::Day;
use serde::{Serialize, Serializer};

/// A week, known by its last day, a Sunday. Its one spelling is `2026-W46`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Week(Day);

/// The text is not a week.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a week of ISO 8601 between the years 1 and 9998, e.g. 2026-W46")]
pub struct NotAWeek;

impl Week {
    /// The week a day lies in.
    pub const fn of(day: Day) -> Self {
        Self(day.plus_days(6 - Self::weekday(day)))
    }

    /// The last week that is over when `today` has begun.
    pub const fn closed_before(today: Day) -> Self {
        Self(today.plus_days(-1 - Self::weekday(today)))
    }

    /// Its last day, a Sunday: the week closes when that day does.
    pub const fn last_day(self) -> Day {
        self.0
    }

    /// The week after it.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.plus_days(7))
    }

    /// 0 is Monday; 1970-01-01 was a Thursday.
    const fn weekday(day: Day) -> i32 {
        (day.number() + 3).rem_euclid(7)
    }

    /// Year and number: the week belongs to the year of its Thursday.
    fn numbered(self) -> (i32, i32) {
        let thursday = self.0.plus_days(-3);
        let (year, _, _) = thursday.civil();
        (year, thursday.number().saturating_sub(first_of_january(year).number()) / 7 + 1)
    }
}

fn first_of_january(year: i32) -> Day {
    let before = i64::from(year) - 1;
    // Days of whole years of the Gregorian calendar; 1970-01-01 is day 719,162 after 0001-01-01.
    let days = before * 365 + before / 4 - before / 100 + before / 400 - 719_162;
    Day::from_number(i32::try_from(days).unwrap_or(i32::MAX))
}

impl fmt::Display for Week {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, number) = self.numbered();
        write!(f, "{year:04}-W{number:02}")
    }
}

impl Serialize for Week {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl FromStr for Week {
    type Err = NotAWeek;

    fn from_str(text: &str) -> Result<Self, NotAWeek> {
        let (year, number) = text.split_once("-W").ok_or(NotAWeek)?;
        let digits = |text: &str, length: usize| {
            let plain = text.len() == length && text.bytes().all(|byte| byte.is_ascii_digit());
            text.parse::<i32>().ok().filter(|_| plain).ok_or(NotAWeek)
        };
        let (year, number) = (digits(year, 4)?, digits(number, 2)?);
        if !(1..=9998).contains(&year) {
            return Err(NotAWeek);
        }
        // The fourth of January always lies in the first week.
        let first = Self::of(first_of_january(year).plus_days(3));
        let week = Self(first.0.plus_days(7 * (number - 1)));
        // Not every year has a week 53, and none a week 0.
        if week.numbered() == (year, number) { Ok(week) } else { Err(NotAWeek) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weeks_are_those_of_iso_8601() {
        // The examples of the standard's calendar, and years of 53 weeks.
        for (day, week, closes) in [
            ("2026-11-22", "2026-W47", "2026-11-22"),
            ("2026-11-23", "2026-W48", "2026-11-29"),
            ("2027-01-01", "2026-W53", "2027-01-03"),
            ("2024-12-30", "2025-W01", "2025-01-05"),
            ("1969-12-29", "1970-W01", "1970-01-04"),
            ("2016-01-03", "2015-W53", "2016-01-03"),
        ] {
            let parsed = Week::of(day.parse().unwrap());
            assert_eq!(
                (parsed.to_string(), parsed.last_day().to_string()),
                (week.to_owned(), closes.to_owned())
            );
            assert_eq!(week.parse(), Ok(parsed));
        }
        for bad in
            ["2026-W00", "2025-W53", "2026-W1", "2026W46", "2026-46", "0000-W01", "9999-W01", "+026-W01"]
        {
            assert_eq!(bad.parse::<Week>(), Err(NotAWeek), "{bad}");
        }
    }

    #[test]
    fn a_week_is_over_when_its_sunday_is() {
        let closed = |today: &str| Week::closed_before(today.parse().unwrap()).to_string();
        assert_eq!(closed("2026-11-22"), "2026-W46", "Sunday itself is not over");
        assert_eq!(closed("2026-11-23"), "2026-W47");
        assert_eq!(closed("2026-11-29"), "2026-W47");
    }
}
