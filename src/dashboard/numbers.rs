//! Numbers, days and ids as people read them.
//! Never rounds a count, and never writes 0 where nothing is known.

use maud::{Markup, html};
use mentorlog_events::id::ParticipantId;
use mentorlog_events::time::{Day, Timestamp};
use uuid::Uuid;

/// What stands where a figure is undefined.
pub const NOTHING: &str = "–";

/// A count with its thousands apart: `1,234,567`.
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A share as a percentage with one decimal; [`NOTHING`] where it is undefined.
pub fn percent(share: Option<f64>) -> String {
    share.map_or_else(|| NOTHING.to_owned(), |share| format!("{:.1}%", share * 100.0))
}

/// A share as a whole percentage, for labels.
pub fn whole_percent(share: f64) -> String {
    format!("{:.0}%", share * 100.0)
}

/// Minutes as hours, or as minutes below two hours.
pub fn hours(minutes: u64) -> String {
    if minutes < 120 { format!("{minutes} min") } else { format!("{} h", count((minutes + 30) / 60)) }
}

/// `1 pair`, `2 pairs`.
pub fn of(number: u64, one: &str, many: &str) -> String {
    format!("{} {}", count(number), if number == 1 { one } else { many })
}

const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

fn month_name(month: u32) -> &'static str {
    MONTHS[(month as usize).clamp(1, 12) - 1]
}

/// A civil day as `21 Nov 2026`.
pub fn day(day: Day) -> String {
    let (year, month, of_month) = day.civil();
    format!("{of_month} {} {year}", month_name(month))
}

/// A civil day in words that machines read too.
pub fn time(of: Day) -> Markup {
    html! { time datetime=(of) { (day(of)) } }
}

/// A day that may not have been.
pub fn maybe(of: Option<Day>) -> Markup {
    of.map_or_else(|| html! { (NOTHING) }, time)
}

/// An instant to the second, in UTC.
pub fn instant(at: Timestamp) -> Markup {
    let text = at.to_string();
    let seconds = text.get(..19).unwrap_or(&text).replace('T', " ");
    html! { time datetime=(text) { (seconds) " UTC" } }
}

/// A month `2026-11` as `Nov 2026`.
pub fn month(text: &str) -> String {
    let (year, month) = text.split_once('-').unwrap_or((text, "1"));
    format!("{} {year}", month_name(month.parse().unwrap_or(1)))
}

/// Months such as `2026-11` as names along an axis: `Nov`, with the year on the first and on each of another year than
/// the one before it.
pub fn month_ticks<'a>(months: impl IntoIterator<Item = &'a str>) -> Vec<String> {
    let mut before = "";
    let named = months.into_iter().map(|text| {
        let (year, month) = text.split_once('-').unwrap_or((text, "1"));
        let name = month_name(month.parse().unwrap_or(1));
        let is_new = std::mem::replace(&mut before, year) != year;
        if is_new { format!("{name} {year}") } else { name.to_owned() }
    });
    named.collect()
}

/// The end of an id: enough to tell two of a page apart. The whole one is in the link and the title.
pub fn short(id: Uuid) -> String {
    let text = id.simple().to_string();
    text[text.len() - 6..].to_owned()
}

/// A person, whose name the ledger does not know.
pub fn person(id: ParticipantId) -> String {
    format!("Person {}", short(id.0))
}

/// A name of the vocabulary as words: `early-voluntary` is `early voluntary`.
pub fn words(name: &str) -> String {
    name.replace('-', " ")
}

/// The same with a capital at its beginning.
pub fn title(name: &str) -> String {
    let mut words = words(name);
    // Abbreviations that skills begin with.
    let first = words.split(' ').next().unwrap_or_default().len();
    if ["ai", "api", "hr", "llm", "sql", "ui", "ux"].contains(&&words[..first]) {
        words[..first].make_ascii_uppercase();
    }
    let mut letters = words.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

/// A generation as its people are called.
pub fn generation(name: &str) -> String {
    match name {
        "gen-x" => "Gen X".to_owned(),
        "gen-z" => "Gen Z".to_owned(),
        "boomer" => "Boomers".to_owned(),
        "millennial" => "Millennials".to_owned(),
        "unknown" => "Not known".to_owned(),
        other => title(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_as_people_write_them() {
        for (number, text) in [(0, "0"), (999, "999"), (1000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(count(number), text);
        }
        assert_eq!((percent(Some(0.3829)), percent(None)), ("38.3%".to_owned(), NOTHING.to_owned()));
        assert_eq!(
            (hours(119), hours(120), hours(90_000)),
            ("119 min".into(), "2 h".into(), "1,500 h".into())
        );
        assert_eq!(day("2026-11-01".parse().unwrap()), "1 Nov 2026");
        assert_eq!(month("2026-11"), "Nov 2026");
        assert_eq!(
            month_ticks(["2025-02", "2025-05", "2025-11", "2026-02", "2026-05"]),
            ["Feb 2025", "May", "Nov", "Feb 2026", "May"]
        );
        assert_eq!((of(1, "pair", "pairs"), of(0, "pair", "pairs")), ("1 pair".into(), "0 pairs".into()));
        assert_eq!(title("early-voluntary"), "Early voluntary");
    }
}
