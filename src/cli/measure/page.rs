//! The page a program manager reads: sections in plain language, every figure with its integers and meaning.
//! Never computes a figure, and never colours what is not read on a terminal.

use std::fmt::Write;

use super::curves::{Comparison, Ends, Group, Reading, RestrictedMean, Stratum};
use super::rows::{Tally, shown};
use super::sessions::{Active, Figure, Landmark};
use super::{sessions, spells};

/// Curves with no more falls than this are shown day by day.
const FALLS_MAX: usize = 40;

const BOLD: &str = "1";
const DIM: &str = "2";

/// Text, as it grows.
pub struct Page {
    text: String,
    colours: bool,
}

impl Page {
    pub fn new(colours: bool) -> Self {
        Self { text: String::new(), colours }
    }

    pub fn into_text(self) -> String {
        self.text
    }

    /// The measures of a table of sessions.
    pub fn sessions(&mut self, report: &sessions::Report) {
        let totals = &report.totals;
        self.title("Mentoring, measured");
        self.line(&format!(
            "  {}, {}, {}, {}",
            counted(totals.sessions, "session", "sessions"),
            counted(totals.minutes, "minute", "minutes"),
            counted(totals.pairs, "pair", "pairs"),
            counted(totals.people, "person", "people"),
        ));
        if let (Some(first), Some(last), Some(as_of)) = (report.first_day, report.last_day, report.as_of) {
            self.line(&format!(
                "  sessions from {first} to {last}, seen at the close of {as_of} ({} days)",
                report.time_zone.name()
            ));
        } else if let Some(as_of) = report.as_of {
            self.line(&format!("  no session by the close of {as_of}"));
        }
        self.tally(&report.input);
        self.note("A dash: not defined, as there is nothing to count or nobody was watched for that long.");
        self.reciprocity(report);
        self.reciprocation(&report.time_to_reciprocation);
        self.generations(report);
        self.skills(report);
        let lapse = report.lapse_days;
        self.active(
            "Retention of pairs: how long do two people keep meeting?",
            &format!("A pair is active until {lapse} days pass without a session of the two."),
            ("pair", "pairs"),
            &report.retention.pairs,
        );
        self.active(
            "Retention of people: how long do they stay active, with anybody?",
            &format!("A person is active until {lapse} days pass without teaching or learning."),
            ("person", "people"),
            &report.retention.participants,
        );
        self.landmark(&report.landmark);
    }

    /// Retention of a table of lives.
    pub fn spells(&mut self, report: &spells::Report) {
        self.title("Retention, measured");
        let lives: u64 = report.strata.iter().map(|stratum| stratum.n).sum();
        let ended: u64 = report.strata.iter().map(|stratum| stratum.events).sum();
        self.line(&format!(
            "  {}: {} ended, {} still going on when last seen",
            counted(lives, "life", "lives"),
            grouped(ended),
            grouped(lives - ended),
        ));
        self.tally(&report.input);
        self.note("A dash: not defined, as the curve is at its end or nobody was watched for that long.");
        for stratum in &report.strata {
            let heading = if report.strata.len() == 1 && stratum.name == "all" {
                "How long do they last?".to_owned()
            } else {
                format!("Group {}: how long do they last?", shown(&stratum.name))
            };
            self.heading(&heading);
            self.line(&format!(
                "  {}: {} ended, {} still going on when last seen",
                counted(stratum.n, "life", "lives"),
                grouped(stratum.events),
                grouped(stratum.censored),
            ));
            self.horizons("still going on", stratum, true);
            self.middle("of the lives", stratum, ("still going on", "had ended", "lasted"));
            for cause in &stratum.causes {
                self.line("");
                self.line(&format!(
                    "  Cause {}: {} ended of it",
                    cause.class,
                    counted(cause.events, "life", "lives")
                ));
                self.note("the part of all lives that had ended of it by that day, other causes competing (Aalen-Johansen)");
                self.line(&format!("  {:>6}{:>16}{:>11}", "by day", "ended of it", "+-"));
                for at in &cause.at {
                    self.line(&format!("  {:>6}{:>16}{:>11}", at.day, four(at.incidence), four(at.se)));
                }
            }
            self.falls(stratum);
        }
        if let Some(test) = &report.test {
            self.heading("Do the groups differ?");
            self.line(&format!("  {:<28}{:>10}{:>20}", "", "ended", "expected if alike"));
            for group in &test.groups {
                self.line(&format!(
                    "  {:<28}{:>10}{:>20}",
                    shown(&group.name),
                    grouped(group.observed),
                    four(Some(group.expected))
                ));
            }
            self.test(test, |group| format!("group {} lasts", shown(group)));
        }
    }

    fn reciprocity(&mut self, report: &sessions::Report) {
        let figures = &report.figures;
        self.heading("Reciprocity: do people teach and learn?");
        self.note("An even split is not the goal; these figures show mutuality and rank nobody.");
        self.figure(
            "Weighted reciprocity",
            figures.weighted_reciprocity,
            "minutes",
            "of all minutes, those matched by minutes the other way in the same pair; 1 is fully mutual",
        );
        self.figure(
            "Generalised reciprocity",
            figures.generalised_reciprocity,
            "minutes",
            "of all minutes, those matched by what their teacher learned from anybody",
        );
        self.figure(
            "Indirect reciprocity",
            figures.indirect_reciprocity,
            "minutes",
            "the difference of the two: what came back, but from somebody else",
        );
        let two_way = figures.two_way_pair_share;
        self.figure(
            "Two-way pairs",
            two_way.figure,
            &format!("pairs{}", between(two_way.interval)),
            "pairs in which each has taught the other at least once",
        );
        let dual = figures.dual_role_share;
        self.figure(
            "Dual-role people",
            dual.figure,
            &format!("people{}", between(dual.interval)),
            "people who have taught and learned, of all who did either",
        );
        self.figure(
            "Spread of teaching (Gini)",
            figures.teaching_gini,
            "",
            "0: everybody teaches as much as everybody else; towards 1: a few do nearly all the teaching",
        );
        let value = figures.value_reciprocity;
        if value.coverage.sessions.numerator > 0 {
            self.figure(
                "Value reciprocity",
                value.figure,
                "quarter minutes of value",
                "weighted reciprocity of what the minutes were worth to the learner: rated 1 nothing, rated 5 all",
            );
            self.figure(
                "Rated sessions",
                value.coverage.sessions,
                "sessions",
                "what value reciprocity rests on; sessions without a rating are left out of it",
            );
        }
    }

    fn reciprocation(&mut self, pairs: &Stratum) {
        self.heading("Time to reciprocation: how long until the learner teaches?");
        self.note("Days from the first session of a pair to the first in which the other one taught.");
        self.line(&format!(
            "  {}: {} returned, {} still one-way",
            counted(pairs.n, "pair", "pairs"),
            grouped(pairs.events),
            grouped(pairs.censored),
        ));
        self.horizons("still one-way", pairs, false);
        self.middle("of the pairs", pairs, ("still one-way", "had been returned", "were one-way"));
    }

    fn generations(&mut self, report: &sessions::Report) {
        if report.flow.is_empty() {
            return;
        }
        self.heading("Generations: who teaches whom?");
        self.figure(
            "Cross-generation share",
            report.figures.cross_generation_share,
            "minutes",
            "minutes between two generations, of those whose two generations are known",
        );
        self.figure(
            "Reverse share",
            report.figures.reverse_share,
            "minutes",
            "minutes the younger taught the older, of those between two generations",
        );
        let width = report.flow.iter().map(|cell| cell.from.chars().count().max(cell.to.chars().count()));
        let width = width.max().unwrap_or(0).max("teacher".len()) + 2;
        self.line("");
        self.line(&format!("  {:<width$}{:<width$}{:>12}{:>10}", "teacher", "learner", "minutes", "people"));
        for cell in &report.flow {
            self.line(&format!(
                "  {:<width$}{:<width$}{:>12}{:>10}",
                cell.from,
                cell.to,
                grouped(cell.minutes),
                grouped(cell.people)
            ));
        }
    }

    fn skills(&mut self, report: &sessions::Report) {
        if report.skills.is_empty() {
            return;
        }
        self.heading("Skills: what was taught?");
        if report.figures.value_reciprocity.coverage.sessions.numerator > 0 {
            self.note("The mean rating is drawn towards that of all skills, as five ratings would: few ratings say little.");
        }
        let width =
            report.skills.iter().map(|skill| shown(&skill.skill).chars().count()).max().unwrap_or(0).max(5)
                + 2;
        self.line(&format!(
            "  {:<width$}{:>12}{:>10}{:>10}{:>10}{:>10}{:>13}",
            "skill", "minutes", "sessions", "teachers", "learners", "ratings", "mean rating"
        ));
        for skill in &report.skills {
            self.line(&format!(
                "  {:<width$}{:>12}{:>10}{:>10}{:>10}{:>10}{:>13}",
                shown(&skill.skill),
                grouped(skill.minutes),
                grouped(skill.sessions),
                grouped(skill.teachers),
                grouped(skill.learners),
                grouped(skill.ratings),
                four(skill.shrunk_mean_rating)
            ));
        }
    }

    fn active(&mut self, heading: &str, rule: &str, (one, many): (&str, &str), active: &Active) {
        let first = &active.first_spells;
        self.heading(heading);
        self.note(rule);
        self.line(&format!(
            "  {} with {}; of the first spells {} ended, {} may go on",
            counted(first.n, one, many),
            counted(active.spells, "spell", "spells"),
            grouped(first.events),
            grouped(first.censored),
        ));
        self.horizons("still active", first, false);
        self.middle(&format!("of the {many}"), first, ("still going on", "had ended", "lasted"));
    }

    fn landmark(&mut self, landmark: &Landmark) {
        let day = landmark.day;
        self.heading("Do two-way pairs last longer?");
        self.note(&format!(
            "Compared are pairs that lasted more than {day} days, by whether each had taught the other by day {day}."
        ));
        self.note("(By their whole life two-way pairs would look better merely because a long life gives more time for it.)");
        self.line(&format!(
            "  left out, as they ended or were watched no longer than that: {}",
            counted(landmark.left_out, "pair", "pairs")
        ));
        self.line("");
        self.line(&format!(
            "  {:<12}{:>10}{:>10}{:>12}{:>19}{:>23}",
            "",
            "pairs",
            "ended",
            "may go on",
            "expected if alike",
            format!("median after day {day}")
        ));
        for (stratum, group) in landmark.strata.iter().zip(&landmark.test.groups) {
            self.line(&format!(
                "  {:<12}{:>10}{:>10}{:>12}{:>19}{:>23}",
                stratum.name,
                grouped(stratum.n),
                grouped(stratum.events),
                grouped(stratum.censored),
                four(Some(group.expected)),
                stratum.median.map_or("-".into(), |median| counted(median.into(), "day", "days")),
            ));
        }
        self.test(&landmark.test, |group| format!("{group} pairs last"));
    }

    /// A curve at the days that were asked for.
    fn horizons(&mut self, what: &str, stratum: &Stratum, hazard: bool) {
        self.line("");
        let mut head =
            format!("  {:>6}{:>10}{what:>16}{:>11}{:>24}", "by day", "at risk", "+-", "95 % interval");
        if hazard {
            let _ = write!(head, "{:>13}{:>11}", "cum. hazard", "+-");
        }
        self.line(&head);
        for at in &stratum.at {
            let Reading { day, at_risk, survival, se, lower, upper, .. } = *at;
            let mut line = format!(
                "  {day:>6}{:>10}{:>16}{:>11}{:>24}",
                at_risk.map_or("-".into(), grouped),
                four(survival),
                four(se),
                ends(Ends { lower, upper })
            );
            if hazard {
                let _ = write!(line, "{:>13}{:>11}", four(at.hazard), four(at.hazard_se));
            }
            self.line(&line);
        }
        let last = stratum.at.last().map(|at| at.day);
        if let (Some(follow_up), Some(last)) = (stratum.follow_up, last)
            && last > follow_up
        {
            self.note(&format!(
                "nobody was watched for more than {}",
                counted(follow_up.into(), "day", "days")
            ));
        }
        if hazard {
            self.note("cum. hazard: ends per life at risk, added up to that day (Nelson-Aalen)");
        }
        self.note("at risk: not ended before that day and still watched; shares allow for who was not (Kaplan-Meier)");
    }

    fn middle(&mut self, of_whom: &str, stratum: &Stratum, (going_on, over, lasted): (&str, &str, &str)) {
        let days = |day: Option<u32>| day.map_or("-".into(), |day| grouped(day.into()));
        let Ends { lower, upper } = stratum.median_interval;
        self.line("");
        let interval = match (lower, upper) {
            (None, None) => String::new(),
            _ => format!("   95 %: {} to {}", days(lower), days(upper)),
        };
        self.value("Median", &days(stratum.median), &format!("days{interval}"));
        let meaning = match (stratum.n, stratum.median) {
            (0, _) => "nobody to be measured".to_owned(),
            (_, None) => format!("more than half {of_whom} were {going_on}"),
            (_, Some(_)) => format!("by then half {of_whom} {over}"),
        };
        self.meaning(&meaning);
        let RestrictedMean { tau, value, se } = stratum.rmst;
        let error = se.map_or(String::new(), |se| format!(" +- {}", four(Some(se))));
        self.value(&format!("Mean of the first {tau} days"), &four(value), &format!("days{error}"));
        let meaning = match (value, stratum.follow_up) {
            (None, Some(days)) => format!("not known beyond day {days}: ask for --tau {days} or less"),
            (None, None) => "nobody to be measured".to_owned(),
            (Some(_), _) => format!("how many of the first {tau} days they {lasted} on average"),
        };
        self.meaning(&meaning);
    }

    /// The curve day by day, if that is not too much to read.
    fn falls(&mut self, stratum: &Stratum) {
        let falls = || stratum.curve.iter().filter(|point| point.events > 0);
        if !(1..=FALLS_MAX).contains(&falls().count()) {
            return;
        }
        self.line("");
        self.line("  Day by day");
        self.line(&format!(
            "  {:>6}{:>10}{:>8}{:>16}{:>11}{:>24}{:>13}{:>11}",
            "day", "at risk", "ended", "still going on", "+-", "95 % interval", "cum. hazard", "+-"
        ));
        let lines: Vec<String> = falls()
            .map(|point| {
                format!(
                    "  {:>6}{:>10}{:>8}{:>16}{:>11}{:>24}{:>13}{:>11}",
                    point.day,
                    grouped(point.at_risk),
                    grouped(point.events),
                    four(Some(point.survival)),
                    four(point.se),
                    ends(Ends { lower: point.lower, upper: point.upper }),
                    four(Some(point.hazard)),
                    four(Some(point.hazard_se)),
                )
            })
            .collect();
        for line in lines {
            self.line(&line);
        }
    }

    fn test(&mut self, test: &Comparison, lasts: impl Fn(&str) -> String) {
        self.line("");
        let (Some(chi_square), Some(df), Some(p)) = (test.chi_square, test.df, test.p) else {
            self.line("  The groups cannot be compared: no two were at risk together when a life ended.");
            return;
        };
        let chance = if p < 0.0001 { "below 0.0001".to_owned() } else { four(Some(p)) };
        self.value("Log-rank chi-square", &four(Some(chi_square)), &format!("{df} df, p {chance}"));
        self.meaning("p: how often groups that are alike would differ this much or more by chance");
        let of_expected = |group: &Group| group.observed as f64 / group.expected;
        let longest = test
            .groups
            .iter()
            .filter(|group| group.expected > 0.0)
            .min_by(|one, other| of_expected(one).total_cmp(&of_expected(other)));
        let verdict = match longest {
            Some(longest) if p < 0.05 => format!(
                "more than chance explains (p below 0.05): {} longest; why, the figures do not say",
                lasts(&longest.name)
            ),
            _ => "no difference that chance would not explain (p is not below 0.05)".to_owned(),
        };
        self.meaning(&verdict);
    }

    fn tally(&mut self, tally: &Tally) {
        let mut text = format!("  {} read", counted(tally.rows, "row", "rows"));
        if tally.rejected > 0 {
            let _ = write!(text, ", {} REJECTED and left out", grouped(tally.rejected));
        } else {
            text += ", none rejected";
        }
        if let Some(later) = tally.after_as_of.filter(|later| *later > 0) {
            let _ = write!(text, ", {} after that day and left out", grouped(later));
        }
        if let Some(left_out) = tally.left_out.filter(|left_out| *left_out > 0) {
            let _ = write!(text, ", {} of disputed or voided sessions and left out", grouped(left_out));
        }
        self.line(&text);
    }

    fn figure(&mut self, name: &str, figure: Figure, of: &str, meaning: &str) {
        let integers = format!("{} of {}", grouped(figure.numerator), grouped(figure.denominator));
        self.value(name, &four(figure.value), format!("{integers} {of}").trim_end());
        self.meaning(meaning);
    }

    fn value(&mut self, name: &str, value: &str, beside: &str) {
        self.line(&format!("  {name:<28}{value:>10}   {beside}"));
    }

    fn meaning(&mut self, meaning: &str) {
        self.painted(DIM, &format!("      {meaning}"));
    }

    fn note(&mut self, note: &str) {
        self.painted(DIM, &format!("  {note}"));
    }

    fn title(&mut self, title: &str) {
        self.painted(BOLD, title);
    }

    fn heading(&mut self, heading: &str) {
        self.line("");
        self.painted(BOLD, heading);
    }

    fn painted(&mut self, style: &str, text: &str) {
        if self.colours {
            self.line(&format!("\x1b[{style}m{text}\x1b[0m"));
        } else {
            self.line(text);
        }
    }

    fn line(&mut self, line: &str) {
        self.text.push_str(line.trim_end());
        self.text.push('\n');
    }
}

/// Four significant digits; a dash where there is no figure.
fn four(value: Option<f64>) -> String {
    let Some(value) = value else { return "-".into() };
    let scientific = format!("{value:.3e}");
    let exponent = scientific.split_once('e').and_then(|(_, exponent)| exponent.parse::<i32>().ok());
    match exponent.unwrap_or(0) {
        _ if value == 0.0 => "0".into(),
        // Below a millionth the zeros would have to be counted.
        ..-6 => scientific,
        exponent => format!("{value:.*}", usize::try_from(3 - exponent).unwrap_or(0)),
    }
}

/// A count with its thousands set apart.
fn grouped(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn counted(count: u64, one: &str, many: &str) -> String {
    format!("{} {}", grouped(count), if count == 1 { one } else { many })
}

fn ends(Ends { lower, upper }: Ends<f64>) -> String {
    if lower.is_none() && upper.is_none() {
        return "-".into();
    }
    format!("{} to {}", four(lower), four(upper))
}

fn between(interval: Option<Ends<f64>>) -> String {
    interval.map_or(String::new(), |interval| format!("   95 %: {}", ends(interval)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn four_digits_say_what_four_digits_can() {
        for (value, text) in [
            (0.0, "0"),
            (1.0, "1.000"),
            (0.610_211, "0.6102"),
            (0.999_96, "1.000"),
            (15.959_26, "15.96"),
            (1052.846, "1053"),
            (123_456.7, "123457"),
            (0.000_668_068, "0.0006681"),
            (0.000_000_12, "1.200e-7"),
        ] {
            assert_eq!(four(Some(value)), text);
        }
        assert_eq!(four(None), "-");
    }

    #[test]
    fn thousands_are_set_apart() {
        for (count, text) in [(0, "0"), (999, "999"), (1000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(grouped(count), text);
        }
    }
}
