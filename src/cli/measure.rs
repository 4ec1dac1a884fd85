//! `mentorlog measure`: the measures over a plain table, without a server.
//! Never writes anywhere but to its own output, and never shows a person's name.

use std::fs::File;
use std::io::{ErrorKind, IsTerminal, Read, Write};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use mentorlog_events::time::{Day, Zone};
use serde::Serialize;

use super::Failure;
use super::progress::Progress;
use curves::Horizons;
use page::Page;

pub(super) mod rows;

mod sessions;

mod spells;

mod curves;

mod page;

#[cfg(test)]
mod tests;

/// A hundred years: no record of mentoring is longer.
const DAYS_MAX: u32 = 36_525;

const EXAMPLES: &str = "\
Examples:
  mentorlog measure sessions.csv --lapse-days 60
  mentorlog measure sessions.csv --as-of 2026-06-30 --time-zone Europe/Berlin --format json > june.json
  mentorlog measure --spells spells.csv --at 30,90 --tau 90

A table of sessions:
  occurred_at,teacher,learner,minutes,skill,rating,teacher_generation,learner_generation
  2026-01-05T10:00:00+01:00,ann,bob,45,rust,5,gen-z,boomer
  2026-01-12 10:00,bob,ann,30,writing,,boomer,gen-z

A row that cannot be understood is named on stderr and left out; the exit code is then 3.";

#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
#[command(group = clap::ArgGroup::new("table").required(true).args(["sessions", "spells"]))]
pub struct Arguments {
    /// Sessions as CSV with a header, `-` for standard input; columns occurred_at, teacher, learner, minutes
    /// and, if you have them, skill, rating (1-5), teacher_generation, learner_generation, in any order.
    #[arg(value_name = "SESSIONS.CSV")]
    sessions: Option<PathBuf>,
    /// Retention alone, of lives you measured yourself: CSV with the columns exit (whole days), event (1 ended,
    /// 0 still going on) or cause (0 still going on, 1 and up), and, if you have them, entry and group.
    #[arg(
        long,
        value_name = "SPELLS.CSV",
        conflicts_with_all = ["as_of", "lapse_days", "time_zone", "landmark", "generations"]
    )]
    spells: Option<PathBuf>,
    /// What had happened by the close of this day; later rows are left out. [default: the day of the last row]
    #[arg(long, value_name = "DAY")]
    as_of: Option<Day>,
    /// A spell of activity ends when this many days pass without a session.
    #[arg(long, value_name = "DAYS", default_value_t = 90, value_parser = some_days)]
    lapse_days: u32,
    /// The time zone that decides on which civil day a session was.
    #[arg(long, value_name = "ZONE", default_value = "UTC")]
    time_zone: Zone,
    /// Days after the start at which retention is read.
    #[arg(
        long,
        value_name = "DAYS",
        value_delimiter = ',',
        default_value = "30,90,180,365",
        value_parser = days
    )]
    at: Vec<u32>,
    /// Days over which the mean life is taken.
    #[arg(long, value_name = "DAYS", default_value_t = 180, value_parser = some_days)]
    tau: u32,
    /// Days after their start at which pairs are told apart as two-way or one-way, to see which last longer.
    #[arg(long, value_name = "DAYS", default_value_t = 30, value_parser = days)]
    landmark: u32,
    /// The generations from the oldest to the youngest, if yours are others.
    #[arg(
        long,
        value_name = "NAMES",
        value_delimiter = ',',
        default_value = "silent,boomer,gen-x,millennial,gen-z"
    )]
    generations: Vec<String>,
    /// A page to read or JSON to compute with.
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// A page to read.
    Table,
    /// Every figure with its integers, and the whole curves.
    Json,
}

fn days(text: &str) -> Result<u32, String> {
    let days = text.trim().parse().ok().filter(|days| *days <= DAYS_MAX);
    days.ok_or_else(|| format!("not a whole number of days up to {DAYS_MAX}, e.g. 30"))
}

/// At least a day.
fn some_days(text: &str) -> Result<u32, String> {
    days(text)
        .and_then(|days| if days > 0 { Ok(days) } else { Err("it takes at least 1 day, e.g. 30".into()) })
}

pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    let horizons = Horizons::new(arguments.at.clone(), arguments.tau);
    if let Some(path) = &arguments.spells {
        let (report, rejected) = measured(path, |input, reject| spells::measure(input, &horizons, reject))?;
        answer(arguments.format, &report, |page| page.spells(&report))?;
        return rejected;
    }
    let path = arguments.sessions.as_ref().expect("clap asks for one of the two");
    let question = sessions::Question {
        as_of: arguments.as_of,
        lapse_days: arguments.lapse_days,
        zone: arguments.time_zone,
        landmark: arguments.landmark,
        generations: sessions::Generations::new(&arguments.generations).map_err(Failure::new)?,
        horizons,
    };
    let (report, rejected) = measured(path, |input, reject| sessions::measure(input, question, reject))?;
    answer(arguments.format, &report, |page| page.sessions(&report))?;
    rejected
}

/// Opens the table, names each rejected row on stderr, and says at the end how many there were.
fn measured<R>(
    path: &Path,
    measure: impl FnOnce(Box<dyn Read>, &mut dyn FnMut(u64, &str)) -> Result<R, rows::Unreadable>,
) -> Result<(R, Result<(), Failure>), Failure> {
    let (name, input, bytes): (String, Box<dyn Read>, u64) = if path == Path::new("-") {
        ("standard input".into(), Box::new(std::io::stdin().lock()), 0)
    } else {
        let file = File::open(path).map_err(|error| {
            Failure::new(format_args!(
                "{} cannot be read: {error}; give the path of a CSV file",
                path.display()
            ))
        })?;
        let bytes = file.metadata().map_or(0, |metadata| metadata.len());
        (path.display().to_string(), Box::new(file), bytes)
    };
    let progress = Rc::new(Progress::new("reading", bytes));
    // How long a pipe is nobody knows beforehand, so there is no telling how far it has been read.
    let input = if bytes > 0 { Box::new(Watched { input, progress: progress.clone() }) } else { input };
    let mut rejected = 0_u64;
    let report = measure(input, &mut |line, why| {
        rejected += 1;
        progress.say(format_args!("{name}:{line}: {why}"));
    });
    progress.finish();
    let report = report.map_err(|error| Failure::new(format_args!("{name}: {error}")))?;
    let end = if rejected == 0 {
        Ok(())
    } else {
        let (noun, verb) = if rejected == 1 { ("row", "was") } else { ("rows", "were") };
        Err(Failure::coded(
            3,
            format_args!(
                "{rejected} {noun} {verb} rejected, see above: correct and measure again; \
                 the figures rest on the others"
            ),
        ))
    };
    Ok((report, end))
}

/// Input that tells how much of it was read.
struct Watched {
    input: Box<dyn Read>,
    progress: Rc<Progress>,
}

impl Read for Watched {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let read = self.input.read(buffer)?;
        self.progress.add(read as u64);
        Ok(read)
    }
}

fn answer<R: Serialize>(format: Format, report: &R, show: impl FnOnce(&mut Page)) -> Result<(), Failure> {
    let stdout = std::io::stdout();
    let text = match format {
        Format::Json => {
            let mut text = serde_json::to_string_pretty(report).map_err(Failure::new)?;
            text.push('\n');
            text
        }
        Format::Table => {
            let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
            let mut page = Page::new(stdout.is_terminal() && !plain);
            show(&mut page);
            page.into_text()
        }
    };
    let mut out = stdout.lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        // Whoever read has seen enough: `mentorlog measure .. | head`.
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(Failure::new(format_args!("the answer cannot be written: {error}")))
        }
        _ => Ok(()),
    }
}
