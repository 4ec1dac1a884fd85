//! `mentorlog measure`: the measures over a plain table, without a server.
//! Never writes anywhere but to its own output, and never shows a person's name.

use std::fs::File;
use std::io::{ErrorKind, IsTerminal, Read, Write};
use std::path::{Path, PathBuf};

use mentorlog_events::time::{Day, Zone};
use serde::Serialize;

use super::Failure;
use curves::Horizons;
use page::Page;

mod rows;

mod sessions;

mod spells;

mod curves;

mod page;

#[cfg(test)]
mod tests;

/// A hundred years: no record of mentoring is longer.
const DAYS_MAX: i64 = 36_525;

#[derive(clap::Args)]
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
    #[arg(long, value_name = "DAYS", default_value_t = 90, value_parser = days(1))]
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
        value_parser = days(0)
    )]
    at: Vec<u32>,
    /// Days over which the mean life is taken.
    #[arg(long, value_name = "DAYS", default_value_t = 180, value_parser = days(1))]
    tau: u32,
    /// Days after their start at which pairs are told apart as two-way or one-way, to see which last longer.
    #[arg(long, value_name = "DAYS", default_value_t = 30, value_parser = days(0))]
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

fn days(least: i64) -> clap::builder::RangedI64ValueParser<u32> {
    clap::value_parser!(u32).range(least..=DAYS_MAX)
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
    let (name, input): (String, Box<dyn Read>) = if path == Path::new("-") {
        ("standard input".into(), Box::new(std::io::stdin().lock()))
    } else {
        let file = File::open(path).map_err(|error| {
            Failure::new(format_args!(
                "{} cannot be read: {error}; give the path of a CSV file",
                path.display()
            ))
        })?;
        (path.display().to_string(), Box::new(file))
    };
    let mut complaints = std::io::BufWriter::new(std::io::stderr().lock());
    let mut rejected = 0_u64;
    let report = measure(input, &mut |line, why| {
        rejected += 1;
        // Nobody is left to be told when stderr is closed; the count stands in the answer.
        let _ = writeln!(complaints, "{name}:{line}: {why}");
    })
    .map_err(|error| Failure::new(format_args!("{name}: {error}")))?;
    let _ = complaints.flush();
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
