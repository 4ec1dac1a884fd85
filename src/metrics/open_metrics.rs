//! The program figures of the past as OpenMetrics text with timestamps, for a back-fill of Prometheus.
//! Never holds more than the closes: lines are written as they are made.
//!
//! Format: OpenMetrics 1.0 (families in one piece, each series in one piece and in the order of time, `# EOF` at
//! the end), as `promtool tsdb create-blocks-from openmetrics` takes it.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{self, Write};

use mentorlog_events::time::Timestamp;

use super::program::{Gauge, Sample};

/// What was shown from an instant on, until the next close.
#[derive(Debug, Clone)]
pub struct Close {
    /// From when on a scrape showed it.
    pub shown_from: Timestamp,
    /// What it showed. A series that is not here was absent.
    pub samples: Vec<Sample>,
}

/// Which instants are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Steps {
    /// The first instant, in seconds since the epoch; rounded up to a multiple of the step.
    pub from: i64,
    /// No instant is later.
    pub to: i64,
    /// Seconds from one value of a series to the next; at least 1.
    pub step: i64,
}

impl Steps {
    fn first(self, from: i64) -> i64 {
        let from = from.max(self.from);
        from.div_euclid(self.step) * self.step + if from.rem_euclid(self.step) == 0 { 0 } else { self.step }
    }
}

/// How many values [`write()`] will write.
pub fn values(closes: &[Close], steps: Steps) -> u64 {
    let of = |(begin, end, close): (i64, i64, &Close)| {
        let first = steps.first(begin);
        let times = if first < end { (end - 1 - first) / steps.step + 1 } else { 0 };
        u64::try_from(times).unwrap_or(0) * close.samples.len() as u64
    };
    stretches(closes, steps).map(of).sum()
}

/// Each close with the seconds in which it was the newest: from the first to before the second.
fn stretches(closes: &[Close], steps: Steps) -> impl Iterator<Item = (i64, i64, &Close)> {
    // What is shown from an instant within a second is seen at the next full one.
    let shown = |close: &Close| {
        close.shown_from.as_micros().div_euclid(1_000_000)
            + i64::from(close.shown_from.as_micros().rem_euclid(1_000_000) > 0)
    };
    let ends = closes.iter().skip(1).map(shown).chain([i64::MAX]);
    closes
        .iter()
        .zip(ends)
        .map(move |(close, end)| (shown(close), end.min(steps.to.saturating_add(1)), close))
}

/// Writes every value of every close, which are in the order of time. `labels` are added to each series;
/// `wrote` hears how many values have been written since it last heard.
pub fn write(
    out: &mut impl Write,
    closes: &[Close],
    labels: &[(String, String)],
    steps: Steps,
    mut wrote: impl FnMut(u64),
) -> io::Result<()> {
    // By family and labels: the closes that show the series, and its values there.
    let mut series: BTreeMap<(Gauge, String), Vec<(usize, u64)>> = BTreeMap::new();
    for (number, close) in closes.iter().enumerate() {
        for sample in &close.samples {
            let key = (sample.gauge, braces(sample, labels));
            series.entry(key).or_default().push((number, sample.value));
        }
    }
    let stretches: Vec<_> = stretches(closes, steps).collect();
    let mut family = None;
    for ((of, labels), values) in series {
        if family != Some(of) {
            family = Some(of);
            let (name, help) = (of.name(), of.help());
            write!(out, "# TYPE {name} gauge\n# HELP {name} {help}\n")?;
        }
        for (number, value) in values {
            let (begin, end, _) = stretches[number];
            let mut at = steps.first(begin);
            let mut lines = 0;
            while at < end {
                writeln!(out, "{}{labels} {value} {at}", of.name())?;
                at += steps.step;
                lines += 1;
            }
            wrote(lines);
        }
    }
    out.write_all(b"# EOF\n")
}

/// The labels of a series between braces, escaped.
fn braces(sample: &Sample, further: &[(String, String)]) -> String {
    let own = sample.labels.iter().map(|(name, value)| (*name, value.as_str()));
    let further = further.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    let mut text = String::from("{");
    for (name, value) in own.chain(further) {
        if text.len() > 1 {
            text.push(',');
        }
        let value = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
        // Writing to a string does not fail.
        let _ = write!(text, "{name}=\"{value}\"");
    }
    text.push('}');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(gauge: Gauge, program: &str, value: u64) -> Sample {
        Sample { gauge, labels: vec![("program", program.to_owned())], value }
    }

    fn close(seconds: i64, samples: Vec<Sample>) -> Close {
        Close { shown_from: Timestamp::nearest(seconds * 1_000_000), samples }
    }

    fn check(closes: &[Close], labels: &[(String, String)], steps: Steps, lines: &[&str]) {
        let mut out = Vec::new();
        let mut count = 0;
        write(&mut out, closes, labels, steps, |more| count += more).unwrap();
        let text = String::from_utf8(out).unwrap();
        let values: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
        assert_eq!(values, lines);
        assert!(text.ends_with("# EOF\n"));
        assert_eq!((count, super::values(closes, steps)), (lines.len() as u64, lines.len() as u64));
    }

    #[test]
    fn each_value_is_repeated_until_the_next_close_and_a_withheld_one_is_not() {
        let name = Gauge::StalledPairs.name();
        let closes = [
            close(100, vec![sample(Gauge::StalledPairs, "spring", 7)]),
            close(130, Vec::new()),
            close(150, vec![sample(Gauge::StalledPairs, "spring", 8)]),
        ];
        let lines = [(7, 100), (7, 110), (7, 120), (8, 150), (8, 160)];
        let lines = lines.map(|(value, at)| format!("{name}{{program=\"spring\"}} {value} {at}"));
        check(&closes, &[], Steps { from: 0, to: 169, step: 10 }, &lines.each_ref().map(|line| &**line));
        check(&closes, &[], Steps { from: 101, to: 119, step: 10 }, &[&lines[1]]);
        check(&closes, &[], Steps { from: 170, to: 160, step: 10 }, &[]);
        check(&[], &[], Steps { from: 0, to: 160, step: 10 }, &[]);
    }

    #[test]
    fn a_close_within_a_step_is_seen_at_the_next_one() {
        let name = Gauge::StalledPairs.name();
        let closes = [
            close(101, vec![sample(Gauge::StalledPairs, "spring", 7)]),
            close(121, vec![sample(Gauge::StalledPairs, "spring", 8)]),
        ];
        let lines = [(7, 110), (7, 120), (8, 130)];
        let lines = lines.map(|(value, at)| format!("{name}{{program=\"spring\"}} {value} {at}"));
        check(&closes, &[], Steps { from: 0, to: 130, step: 10 }, &lines.each_ref().map(|line| &**line));
    }

    #[test]
    fn labels_are_escaped_and_families_stand_in_one_piece() {
        let closes = [
            close(0, vec![sample(Gauge::TwoWayPairs, "b", 1), sample(Gauge::StalledPairs, "a", 2)]),
            close(10, vec![sample(Gauge::StalledPairs, "a", 3)]),
        ];
        let labels = [("instance".to_owned(), "a\"\\\n".to_owned())];
        let (one, two) = (Gauge::StalledPairs.name(), Gauge::TwoWayPairs.name());
        let more = "instance=\"a\\\"\\\\\\n\"";
        let lines = [
            format!("{one}{{program=\"a\",{more}}} 2 0"),
            format!("{one}{{program=\"a\",{more}}} 3 10"),
            format!("{two}{{program=\"b\",{more}}} 1 0"),
        ];
        check(&closes, &labels, Steps { from: 0, to: 10, step: 10 }, &lines.each_ref().map(|line| &**line));
    }
}
