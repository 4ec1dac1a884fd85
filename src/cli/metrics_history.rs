//! `mentorlog metrics-history`: what a scrape would have shown of a program in the past, for a back-fill.
//! Never makes up a figure: each is the close of a week as the ledger knew it then, with the same numbers withheld.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::SystemTime;

use mentorlog_events::event::Event;
use mentorlog_events::id::LedgerId;
use mentorlog_events::time::{Day, Timestamp};
use mentorlog_projections::outsiders::Week;
use mentorlog_projections::read_models::ReadModels;

use super::Failure;
use super::export::Out;
use super::progress::Progress;
use super::replay::at_hand;
use super::source::{ProgramName, Where, damaged};
use crate::ledger::Log;
use crate::metrics::open_metrics::{self, Close, Steps};
use crate::metrics::program::samples;
use crate::writer::published::CLOSING_MINUTES;
use crate::writer::replay::{Replayed, replay};

/// promtool reads the whole file once for each block it makes: about 4 GB are too much for it.
const VALUES_MAX: u64 = 50_000_000;

const HOW_TO: &str = "\
The figures change once a week, at the program's Sunday midnight, and are repeated at each step. History that was
imported is known from the day of the import on, so it shows from the first close after that.

To fill it into a Prometheus that keeps its data in /var/lib/prometheus (keep it longer than 15 days there:
--storage.tsdb.retention.time=10y):

  mentorlog metrics-history --program spring --label job=mentorlog --label instance=127.0.0.1:7171 --out spring.om
  promtool tsdb create-blocks-from --max-block-duration=1000h openmetrics spring.om /var/lib/prometheus

With the labels of your scrapes the history continues into what is scraped. Without --max-block-duration promtool
reads the file once for every two hours of it. Plain selectors look back five minutes only: ask for
last_over_time(mentorlog_two_way_pairs[2h]), as the rules in deploy/prometheus and the dashboard do.
A file that was filled in once must not be filled in again.";

#[derive(clap::Args)]
#[command(after_help = HOW_TO)]
pub struct Arguments {
    /// The program: its slug or its UUID.
    #[arg(long)]
    program: ProgramName,
    #[command(flatten)]
    place: Where,
    /// The first day, in the program's time zone. [default: that of the first close]
    #[arg(long, value_name = "DAY")]
    from: Option<Day>,
    /// The last day, in the program's time zone. [default: today, up to now]
    #[arg(long, value_name = "DAY")]
    to: Option<Day>,
    /// From one value of a series to the next: 1m to 2h. The shipped rules look back two hours.
    #[arg(long, default_value = "1h")]
    step: Step,
    /// A label added to every series; may be given several times.
    #[arg(long = "label", value_name = "NAME=VALUE")]
    labels: Vec<Label>,
    /// The file to write, complete or not at all; `-` is standard output.
    #[arg(long, default_value = "-")]
    out: PathBuf,
}

/// Seconds from one value to the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Step(i64);

impl FromStr for Step {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let seconds = |unit: &str, factor: i64| {
            let number = text.strip_suffix(unit).filter(|n| n.bytes().all(|byte| byte.is_ascii_digit()))?;
            number.parse::<i64>().ok()?.checked_mul(factor)
        };
        let seconds = seconds("s", 1).or_else(|| seconds("m", 60)).or_else(|| seconds("h", 3600));
        let step = seconds.filter(|seconds| (60..=7200).contains(seconds));
        step.map(Self).ok_or("not a step between 1m and 2h, e.g. 5m or 1h")
    }
}

/// A label of a series.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Label(String, String);

impl FromStr for Label {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (name, value) = text.split_once('=').ok_or("not NAME=VALUE, e.g. job=mentorlog")?;
        let letter = |byte: u8| byte.is_ascii_alphabetic() || byte == b'_';
        let well_formed = name.bytes().next().is_some_and(letter)
            && name.bytes().all(|byte| letter(byte) || byte.is_ascii_digit())
            && !name.starts_with("__");
        if !well_formed {
            return Err("not the name of a label: letters, digits and _, e.g. job");
        }
        let ours = ["program", "state", "outcome", "evidence", "from", "to", "band", "horizon"];
        if ours.contains(&name) {
            return Err("the series have this label already");
        }
        Ok(Self(name.to_owned(), value.to_owned()))
    }
}

pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    if let (Some(from), Some(to)) = (arguments.from, arguments.to)
        && from > to
    {
        return Err(Failure::coded(2, format_args!("--from {from} is later than --to {to}")));
    }
    let mut labels: Vec<_> = arguments.labels.iter().map(|Label(n, v)| (n.clone(), v.clone())).collect();
    labels.sort();
    if let Some(twice) = labels.windows(2).find(|two| two[0].0 == two[1].0) {
        return Err(Failure::coded(2, format_args!("--label {} is given twice", twice[0].0)));
    }
    let mut out = Out::create(&arguments.out)?;
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_err(Failure::new)?;
    let now = Timestamp::nearest(i64::try_from(now.as_micros()).unwrap_or(i64::MAX));
    let history =
        at_hand(&arguments.program, &arguments.place, |log, ledger, size| closes(log, ledger, size, now))?;
    let first = history.closes.first().map_or(now, |close| close.shown_from);
    let steps = Steps {
        from: seconds(arguments.from.and_then(|day| history.models.start_of(day)).unwrap_or(first)),
        // Nothing is known of what is to come.
        to: seconds(
            arguments
                .to
                .and_then(|day| history.models.start_of(day.plus_days(1)))
                .map_or(now, |end| end.plus_micros(-1).min(now)),
        ),
        step: arguments.step.0,
    };
    let values = open_metrics::values(&history.closes, steps);
    if values > VALUES_MAX {
        return Err(Failure::new(format_args!(
            "these are {values} values, and promtool can take about {VALUES_MAX}: choose a longer --step, or write \
             one year after the other with --from and --to"
        )));
    }
    let progress = Progress::new("writing", values);
    open_metrics::write(&mut out, &history.closes, &labels, steps, |more| progress.add(more))
        .map_err(|error| Failure::new(format_args!("the output cannot be written: {error}")))?;
    progress.finish();
    out.finish()?;
    let closes = history.closes.len();
    eprintln!("mentorlog: {values} values of `{}` from {closes} weekly closes", arguments.program);
    Ok(())
}

/// A program's closes, and the days they are of.
struct History {
    closes: Vec<Close>,
    models: ReadModels,
}

/// Folds the whole history, and takes every close that came of it up to now.
fn closes(log: &dyn Log, ledger: LedgerId, size: u64, now: Timestamp) -> Result<History, Failure> {
    const STEP: u64 = 4096;
    let progress = Progress::new("replaying", size);
    let mut models = ReadModels::new();
    let mut first = None;
    replay::<Event>(log, ledger, 0..size, false, |Replayed { entry, .. }| {
        first.get_or_insert(Week::of(entry.day));
        models.apply(entry);
        if models.size().is_multiple_of(STEP) {
            progress.add(STEP);
        }
        Ok(())
    })
    .map_err(damaged)?;
    progress.finish();
    let mut closes = Vec::new();
    let program = models.program(now).map(|program| program.slug);
    let today = models.day(now.plus_minutes(-CLOSING_MINUTES));
    if let (Some(mut week), Some(program), Some(today)) = (first, program, today) {
        let last = Week::closed_before(today);
        while week <= last {
            let closed_at = models.start_of(week.last_day().plus_days(1));
            if let (Some(close), Some(closed_at)) = (models.week_close(week), closed_at) {
                closes.push(Close {
                    shown_from: closed_at.plus_minutes(CLOSING_MINUTES),
                    samples: samples(program.as_str(), &close, closed_at),
                });
            }
            week = week.next();
        }
    }
    Ok(History { closes, models })
}

fn seconds(instant: Timestamp) -> i64 {
    instant.as_micros().div_euclid(1_000_000)
}
