//! Instants and civil days, as integers and in their one spelling.
//! Never reads a clock and never asks the machine for its time zone.

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, Datelike, NaiveDate, Offset, TimeZone};
use serde::de::Visitor;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// An instant: microseconds since 1970-01-01T00:00:00Z, within the years 1900 to 9999.
/// Its one spelling is `2026-11-21T09:30:00.123456Z`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Timestamp(i64);

/// The text is not an instant we can record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not an RFC 3339 instant with an offset between the years 1900 and 9999, e.g. 2026-11-21T09:30:00Z")]
pub struct NotAnInstant;

const MICROS_PER_DAY: i64 = 86_400_000_000;

impl Timestamp {
    /// 1900-01-01T00:00:00Z.
    pub const MIN: Self = Self(-2_208_988_800_000_000);
    /// 9999-12-31T23:59:59.999999Z.
    pub const MAX: Self = Self(253_402_300_799_999_999);

    /// Makes an instant of microseconds since the epoch; `None` outside the years 1900 to 9999.
    pub const fn from_micros(micros: i64) -> Option<Self> {
        if micros < Self::MIN.0 || micros > Self::MAX.0 { None } else { Some(Self(micros)) }
    }

    /// The instant nearest to that many microseconds since the epoch within the range of the type.
    pub const fn nearest(micros: i64) -> Self {
        Self(0).plus_micros(micros)
    }

    /// Microseconds since the epoch.
    pub const fn as_micros(self) -> i64 {
        self.0
    }

    /// The instant `micros` microseconds later (earlier if negative), held within the range of the type.
    pub const fn plus_micros(self, micros: i64) -> Self {
        let sum = self.0.saturating_add(micros);
        if sum < Self::MIN.0 {
            Self::MIN
        } else if sum > Self::MAX.0 {
            Self::MAX
        } else {
            Self(sum)
        }
    }

    /// The instant `minutes` later, held within the range of the type.
    pub const fn plus_minutes(self, minutes: i64) -> Self {
        self.plus_micros(minutes.saturating_mul(60_000_000))
    }

    /// The instant `days` times 24 hours later, held within the range of the type.
    pub const fn plus_days(self, days: i64) -> Self {
        self.plus_micros(days.saturating_mul(MICROS_PER_DAY))
    }

    /// Writes the one spelling of the instant.
    pub fn write(self, text: &mut [u8; 27]) -> &str {
        let (days, micros) = (self.0.div_euclid(MICROS_PER_DAY), self.0.rem_euclid(MICROS_PER_DAY));
        let mut day = [0_u8; 10];
        Day(i32::try_from(days).expect("the range of the type is far within i32 days")).write(&mut day);
        text[..10].copy_from_slice(&day);
        let seconds = micros / 1_000_000;
        text[10] = b'T';
        two_digits(&mut text[11..13], seconds / 3600);
        text[13] = b':';
        two_digits(&mut text[14..16], seconds / 60 % 60);
        text[16] = b':';
        two_digits(&mut text[17..19], seconds % 60);
        text[19] = b'.';
        let fraction = micros % 1_000_000;
        two_digits(&mut text[20..22], fraction / 10_000);
        two_digits(&mut text[22..24], fraction / 100 % 100);
        two_digits(&mut text[24..26], fraction % 100);
        text[26] = b'Z';
        std::str::from_utf8(text).expect("only ASCII was written")
    }

    /// Reads the one spelling and no other; what is in a ledger was written so.
    pub fn parse_canonical(text: &[u8]) -> Option<Self> {
        let text: &[u8; 27] = text.try_into().ok()?;
        if text[10] != b'T' || text[13] != b':' || text[16] != b':' || text[19] != b'.' || text[26] != b'Z' {
            return None;
        }
        let day = Day::parse_canonical(&text[..10])?;
        let hours = number(&text[11..13])?;
        let minutes = number(&text[14..16])?;
        let seconds = number(&text[17..19])?;
        let micros = number(&text[20..26])?;
        if hours > 23 || minutes > 59 || seconds > 59 {
            return None;
        }
        let seconds = i64::from(day.0) * 86_400 + hours * 3600 + minutes * 60 + seconds;
        Self::from_micros(seconds * 1_000_000 + micros)
    }
}

fn two_digits(text: &mut [u8], number: i64) {
    // Each caller passes 0..=99.
    text[0] = b'0' + u8::try_from(number / 10).unwrap_or(0);
    text[1] = b'0' + u8::try_from(number % 10).unwrap_or(0);
}

fn number(digits: &[u8]) -> Option<i64> {
    digits
        .iter()
        .try_fold(0_i64, |sum, digit| digit.is_ascii_digit().then(|| sum * 10 + i64::from(digit - b'0')))
}

impl FromStr for Timestamp {
    type Err = NotAnInstant;

    /// Reads any RFC 3339 instant. What is finer than a microsecond is cut off; a leap second is refused.
    fn from_str(text: &str) -> Result<Self, NotAnInstant> {
        if let Some(instant) = Self::parse_canonical(text.as_bytes()) {
            return Ok(instant);
        }
        let instant = DateTime::parse_from_rfc3339(text).map_err(|_| NotAnInstant)?;
        if instant.timestamp_subsec_nanos() >= 1_000_000_000 {
            return Err(NotAnInstant);
        }
        Self::from_micros(instant.timestamp_micros()).ok_or(NotAnInstant)
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.write(&mut [0; 27]))
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.write(&mut [0; 27]))
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InstantVisitor;
        impl Visitor<'_> for InstantVisitor {
            type Value = Timestamp;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an RFC 3339 instant")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Timestamp, E> {
                text.parse().map_err(E::custom)
            }
        }
        deserializer.deserialize_str(InstantVisitor)
    }
}

/// A civil day: days since 1970-01-01. Its one spelling is `2026-11-21`.
/// Durations in measures are differences of these.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Day(i32);

/// The text is not a civil day.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a civil day between the years 1 and 9999, e.g. 2026-11-21")]
pub struct NotADay;

impl Day {
    /// Makes a day of the number of days since 1970-01-01.
    pub const fn from_number(number: i32) -> Self {
        Self(number)
    }

    /// Days since 1970-01-01.
    pub const fn number(self) -> i32 {
        self.0
    }

    /// The day `days` later.
    pub const fn plus_days(self, days: i32) -> Self {
        Self(self.0.saturating_add(days))
    }

    /// Year, month 1-12 and day of the month 1-31 in the proleptic Gregorian calendar.
    pub fn civil(self) -> (i32, u32, u32) {
        // Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms", civil_from_days.
        let shifted = i64::from(self.0) + 719_468;
        let era = shifted.div_euclid(146_097);
        let of_era = shifted.rem_euclid(146_097);
        let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
        let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let shifted_month = (5 * of_year + 2) / 153;
        let day = of_year - (153 * shifted_month + 2) / 5 + 1;
        let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
        let year = year_of_era + era * 400 + i64::from(month <= 2);
        (
            i32::try_from(year).expect("a day of i32 is within i32 years"),
            u32::try_from(month).expect("1 to 12"),
            u32::try_from(day).expect("1 to 31"),
        )
    }

    /// Writes the one spelling of the day. Years outside 0 to 9999 do not occur.
    pub fn write(self, text: &mut [u8; 10]) -> &str {
        let (year, month, day) = self.civil();
        two_digits(&mut text[0..2], i64::from(year / 100));
        two_digits(&mut text[2..4], i64::from(year % 100));
        text[4] = b'-';
        two_digits(&mut text[5..7], i64::from(month));
        text[7] = b'-';
        two_digits(&mut text[8..10], i64::from(day));
        std::str::from_utf8(text).expect("only ASCII was written")
    }

    /// Reads the one spelling and no other.
    pub(crate) fn parse_canonical(text: &[u8]) -> Option<Self> {
        if text.len() != 10 || text[4] != b'-' || text[7] != b'-' {
            return None;
        }
        let year = i32::try_from(number(&text[0..4])?).ok()?;
        let month = u32::try_from(number(&text[5..7])?).ok()?;
        let day = u32::try_from(number(&text[8..10])?).ok()?;
        if year == 0 {
            return None;
        }
        let date = NaiveDate::from_ymd_opt(year, month, day)?;
        Some(Self(date.num_days_from_ce() - 719_163))
    }
}

impl FromStr for Day {
    type Err = NotADay;

    fn from_str(text: &str) -> Result<Self, NotADay> {
        Self::parse_canonical(text.as_bytes()).ok_or(NotADay)
    }
}

impl fmt::Display for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.write(&mut [0; 10]))
    }
}

impl fmt::Debug for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Day {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.write(&mut [0; 10]))
    }
}

impl<'de> Deserialize<'de> for Day {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct DayVisitor;
        impl Visitor<'_> for DayVisitor {
            type Value = Day;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a civil day")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Day, E> {
                text.parse().map_err(E::custom)
            }
        }
        deserializer.deserialize_str(DayVisitor)
    }
}

/// A time zone of the IANA database, e.g. `Europe/Berlin`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Zone(chrono_tz::Tz);

/// The text is not the name of a time zone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a time zone of the IANA database, e.g. Europe/Berlin or UTC")]
pub struct NotAZone;

impl Zone {
    /// Coordinated Universal Time.
    pub const UTC: Self = Self(chrono_tz::UTC);

    /// The civil day of an instant here.
    pub fn day(self, instant: Timestamp) -> Day {
        let utc_seconds = instant.0.div_euclid(1_000_000);
        let offset = if self == Self::UTC {
            0
        } else {
            let utc =
                DateTime::from_timestamp(utc_seconds, 0).expect("the range of Timestamp is within chrono's");
            i64::from(self.0.offset_from_utc_datetime(&utc.naive_utc()).fix().local_minus_utc())
        };
        let days = (utc_seconds + offset).div_euclid(86_400);
        Day(i32::try_from(days).expect("the range of Timestamp is within i32 days"))
    }

    /// The first instant of a civil day here, `None` outside the range of instants.
    pub fn start_of(self, day: Day) -> Option<Timestamp> {
        let (year, month, of_month) = day.civil();
        let midnight = NaiveDate::from_ymd_opt(year, month, of_month)?.and_hms_opt(0, 0, 0)?;
        // Where the clock skips midnight the day begins at the first later quarter of an hour that exists.
        (0..12 * 4).find_map(|quarters| {
            let local = midnight + chrono::TimeDelta::minutes(15 * quarters);
            let instant = self.0.from_local_datetime(&local).earliest()?;
            Timestamp::from_micros(instant.timestamp_micros())
        })
    }

    /// The zone's name.
    pub fn name(self) -> &'static str {
        self.0.name()
    }
}

impl FromStr for Zone {
    type Err = NotAZone;

    fn from_str(text: &str) -> Result<Self, NotAZone> {
        text.parse().map(Self).map_err(|_| NotAZone)
    }
}

impl fmt::Debug for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Serialize for Zone {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl<'de> Deserialize<'de> for Zone {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ZoneVisitor;
        impl Visitor<'_> for ZoneVisitor {
            type Value = Zone;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the name of a time zone")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Zone, E> {
                text.parse().map_err(E::custom)
            }
        }
        deserializer.deserialize_str(ZoneVisitor)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn an_instant_survives_its_spelling_and_agrees_with_chrono(
            micros in Timestamp::MIN.0..=Timestamp::MAX.0
        ) {
            let instant = Timestamp(micros);
            let text = instant.to_string();
            prop_assert_eq!(Timestamp::parse_canonical(text.as_bytes()), Some(instant));
            let theirs = DateTime::from_timestamp_micros(micros).unwrap();
            prop_assert_eq!(text, theirs.format("%Y-%m-%dT%H:%M:%S%.6fZ").to_string());
        }

        #[test]
        fn a_day_survives_its_spelling(number in -700_000_i32..2_900_000) {
            let day = Day(number);
            prop_assert_eq!(day.to_string().parse(), Ok(day));
        }
    }

    #[test]
    fn an_offset_is_taken_into_account_and_nonsense_refused() {
        let utc: Timestamp = "2026-11-21T09:30:00Z".parse().unwrap();
        assert_eq!("2026-11-21T10:30:00+01:00".parse(), Ok(utc));
        assert_eq!("2026-11-21T09:30:00.0000009Z".parse(), Ok(utc));
        for bad in [
            "2026-11-21",
            "2026-11-21T09:30:00",
            "2026-02-30T00:00:00Z",
            "1899-12-31T23:59:59Z",
            "2016-12-31T23:59:60Z",
            "",
        ] {
            assert_eq!(bad.parse::<Timestamp>(), Err(NotAnInstant), "{bad}");
        }
    }

    #[test]
    fn the_civil_day_is_the_zones() {
        let late: Timestamp = "2026-11-21T23:30:00Z".parse().unwrap();
        let berlin: Zone = "Europe/Berlin".parse().unwrap();
        assert_eq!(Zone::UTC.day(late).to_string(), "2026-11-21");
        assert_eq!(berlin.day(late).to_string(), "2026-11-22");
        assert!("Mars/Olympus".parse::<Zone>().is_err());
        assert_eq!(
            berlin.start_of("2026-11-22".parse().unwrap()).unwrap().to_string(),
            "2026-11-21T23:00:00.000000Z"
        );
        // Midnight did not exist in Beirut on 2022-03-27.
        let beirut: Zone = "Asia/Beirut".parse().unwrap();
        assert_eq!(
            beirut.start_of("2022-03-27".parse().unwrap()).unwrap().to_string(),
            "2022-03-26T22:00:00.000000Z"
        );
    }
}
