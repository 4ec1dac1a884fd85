//! `mentorlog import-csv`: sessions, or participants, out of a table, each once, however often it is told.
//! Never decides whether a row is possible: what can be read is sent, and the service says.
//!
//! Every command has an idempotency key made of what it says, so that running again adds only what is new:
//!
//! | command | its key covers |
//! |---|---|
//! | import-participant | the label |
//! | import-pair | the two labels, unordered: an import opens a pair once, even if it has ended since |
//! | import-session | every field of the row, and how many rows before it say the same |
//! | import-session, of a table with a column `session` | everything the session's rows say |
//!
//! A UUID that is the id of a participant of the program is that participant; any other name is a label.
//!
//! Keys and bodies are written into ledgers as keyed hashes: their formats here never change.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use bytes::Bytes;
use hyper::{Method, StatusCode};
use mentorlog_events::event::Mode;
use mentorlog_events::id::{PairId, ParticipantId, SessionId, Slug};
use mentorlog_events::time::{Day, Timestamp, Zone};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tokio::runtime::Runtime;
use tokio::sync::{Mutex, mpsc};
use tokio::task::JoinSet;

mod exported;
mod members;
mod people;
mod program;
mod rehearsal;

use self::exported::Sessions;
use self::members::Members;
use self::rehearsal::{Asked, Rehearsal, TwoPeople};
use super::Failure;
use super::client::{ClientError, Connection, Server};
use super::embedded::Embedded;
use super::measure::rows;
use super::progress::Progress;
use super::source::{ProgramName, Source, Where};

/// Items of a batch. The sync of one hides behind the reading of the next.
const BATCH_ITEMS: usize = 2000;

/// A batch is sent at the latest when it has this many bytes: half of what the service takes.
const BATCH_BYTES: usize = 4 * 1024 * 1024;

/// Batches on their way at once.
const LANES: usize = 4;

/// How long a server that is busy, or gone, is asked again.
const PATIENCE: Duration = Duration::from_mins(1);

/// Longest wait between two attempts.
const PAUSE_MAX: Duration = Duration::from_secs(2);

/// Longest first line that is looked at for what stands between its columns.
const HEADER_BYTES: u64 = 64 * 1024;

/// Longest label the service takes, in bytes.
const LABEL_MAX: usize = 256;

#[derive(clap::Args)]
pub struct Arguments {
    /// The table: CSV with a header, its columns in any order. Of sessions: occurred_at, teacher, learner, minutes
    /// and, if you have them, skill and rating; or what `sessions.csv` gives. Of participants: participant (the name your system has for them)
    /// and, if you have them, generation, arm, offered, sought, unit, capacity (skills between semicolons), and
    /// where the service seals personal data name, email, hr_id, birth_year.
    file: PathBuf,
    /// The program: its slug, or its UUID if there is one. Opened, with its slug as its name, if there is none.
    #[arg(long)]
    program: ProgramName,
    #[command(flatten)]
    place: Where,
    /// The time zone of a program that is opened: it decides civil days, for ever. [default: UTC]
    #[arg(long, value_name = "ZONE")]
    time_zone: Option<Zone>,
    /// A column that is not taken over; may be repeated. Without `session` every row is a session of its own, without
    /// `state` disputed and voided ones count like others.
    #[arg(long, value_name = "COLUMN")]
    ignore_column: Vec<String>,
}

impl Arguments {
    /// The columns that are not taken over, as they are called in a header that was read.
    fn ignored(&self) -> Vec<String> {
        self.ignore_column.iter().map(|name| name.trim().to_ascii_lowercase()).collect()
    }
}

pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    let begun = Instant::now();
    let table = Table::open(&arguments.file)?;
    if table.delimiter != b',' {
        let between = if table.delimiter == b';' { "semicolons" } else { "tabs" };
        eprintln!("mentorlog: the header has {between} between its columns, and so has every row");
    }
    let header = table.header()?;
    if people::are_in(&header) {
        let summary = at(&arguments.place, |runtime, server| {
            people::import(runtime, &server, arguments, &table, &header)
        })?;
        let summary = format!("{summary}seconds       {:>9.2}\n", begun.elapsed().as_secs_f64());
        // What is imported is imported, whether or not anybody reads the summary.
        let _ = std::io::stdout().write_all(summary.as_bytes());
        return Ok(());
    }
    let columns = Columns::find(&header, &arguments.ignored()).map_err(|error| table.failed(&error))?;
    if !columns.passed_over.is_empty() {
        eprintln!("mentorlog: passed over: {}", columns.passed_over.join(", "));
    }
    let (met, summary) =
        at(&arguments.place, |runtime, server| import(runtime, server, arguments, &table, &columns))?;
    let Summary { participants, pairs, sessions } = summary;
    let rejected = met.rejected + sessions.rows_rejected;
    let mut lines = vec![
        format!("rows          {:>9}", met.rows),
        format!("imported      {:>9}", sessions.rows_new),
        format!("already there {:>9}", sessions.rows_there),
        format!("rejected      {rejected:>9}"),
    ];
    if columns.state.is_some() {
        lines.insert(3, format!("left out      {:>9}", met.left_out()));
    }
    for (name, tally) in [("participants", participants), ("pairs", pairs), ("sessions", sessions)] {
        let (all, new) = (tally.new + tally.there, tally.new);
        lines.push(format!("{name:<13} {all:>9}  {new} new"));
    }
    lines.push(format!("seconds       {:>9.2}\n", begun.elapsed().as_secs_f64()));
    // What is imported is imported, whether or not anybody reads the summary.
    let _ = std::io::stdout().write_all(lines.join("\n").as_bytes());
    if rejected > 0 {
        return Err(Failure::coded(
            3,
            format_args!(
                "{rejected} rows were rejected, see above: correct them and run again, the others are in"
            ),
        ));
    }
    Ok(())
}

/// Does something at the server, or at one inside this process over the data directory.
fn at<T>(place: &Where, run: impl FnOnce(&Runtime, Server) -> Result<T, Failure>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .thread_name("send")
        .enable_all()
        .build()
        .map_err(Failure::new)?;
    match place.find(&runtime)? {
        Source::Server(server) => run(&runtime, server),
        Source::Data(data) => {
            eprintln!("mentorlog: importing into {}, as no server is asked", data.display());
            let embedded = Embedded::start(&data)?;
            let done = run(&runtime, embedded.server.clone());
            // Open connections would be waited for.
            drop(runtime);
            let stopped = embedded.stop();
            let done = done?;
            stopped?;
            Ok(done)
        }
    }
}

// ---------------------------------------------------------------------------------------------- the table

/// The file, as long as it was at the beginning: a second pass reads what the first one read, also of a file that is
/// still growing.
#[derive(Debug, Clone)]
struct Table {
    path: PathBuf,
    bytes: u64,
    /// What stands between two cells.
    delimiter: u8,
}

/// Where a row stands.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Place {
    line: u64,
    byte: u64,
}

/// A row that can be read.
#[derive(Debug, PartialEq, Eq)]
struct Row<'a> {
    occurred_at: Timestamp,
    teacher: &'a str,
    learner: &'a str,
    minutes: u32,
    /// `None`: not recorded.
    skill: Option<&'a str>,
    rating: Option<u8>,
    standing: Standing,
    /// `None` without a column `session`: the row is a session of its own.
    of: Option<Of>,
}

/// Whether a session counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    Live,
    Disputed,
    Voided,
}

/// What a row of `sessions.csv` says of the whole session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Of {
    session: SessionId,
    pair: Option<PairId>,
    /// Of the session; `None`: as long as its exchanges.
    minutes: Option<u32>,
    mode: Option<Mode>,
    /// The civil day it was on where it was recorded.
    day: Option<Day>,
}

/// A row that cannot be taken.
#[derive(Debug, PartialEq, Eq)]
struct Wrong {
    why: String,
    /// The session it would be a part of.
    session: Option<SessionId>,
}

/// Where each column stands.
struct Columns {
    occurred_at: usize,
    teacher: usize,
    learner: usize,
    minutes: usize,
    skill: Option<usize>,
    rating: Option<usize>,
    state: Option<usize>,
    session: Option<usize>,
    /// The four that are read beside `session` only: of one exchange a row there is nothing more to say.
    pair: Option<usize>,
    session_minutes: Option<usize>,
    mode: Option<usize>,
    day: Option<usize>,
    count: usize,
    passed_over: Vec<String>,
}

impl Columns {
    fn find(names: &[String], ignored: &[String]) -> Result<Self, String> {
        if let Some(name) = ignored.iter().find(|name| !names.contains(name)) {
            return Err(format!("--ignore-column: there is no column `{name}`"));
        }
        let mut read = Vec::new();
        let mut place = |wanted: &'static str| -> Result<Option<usize>, String> {
            let mut found = (0..names.len()).filter(|index| names[*index] == wanted);
            match (found.next(), found.next()) {
                (_, Some(_)) => Err(format!("the header has `{wanted}` twice")),
                (found, None) => {
                    let found = found.filter(|_| !ignored.iter().any(|name| name == wanted));
                    read.extend(found);
                    Ok(found)
                }
            }
        };
        let needed = |wanted: &str, found: Option<usize>| {
            found.ok_or_else(|| {
                if names.iter().any(|name| name == wanted) {
                    return format!("`{wanted}` is needed, and it is ignored");
                }
                let pairs = if ["pair", "a", "b"].iter().all(|column| names.iter().any(|name| name == column)) {
                    "; a table of pairs is not taken, pairs come with their sessions"
                } else {
                    ""
                };
                format!(
                    "the header has no `{wanted}`, it has: {}; wanted are occurred_at,teacher,learner,minutes and, \
                     if there are any, skill,rating{pairs}",
                    names.join(",")
                )
            })
        };
        let mut columns = Self {
            occurred_at: needed("occurred_at", place("occurred_at")?)?,
            teacher: needed("teacher", place("teacher")?)?,
            learner: needed("learner", place("learner")?)?,
            minutes: needed("minutes", place("minutes")?)?,
            skill: place("skill")?,
            rating: place("rating")?,
            state: place("state")?,
            session: place("session")?,
            pair: None,
            session_minutes: None,
            mode: None,
            day: None,
            count: names.len(),
            passed_over: Vec::new(),
        };
        if columns.session.is_some() {
            columns.pair = place("pair")?;
            columns.session_minutes = place("session_minutes")?;
            columns.mode = place("mode")?;
            columns.day = place("day")?;
        }
        let left = (0..names.len()).filter(|index| !read.contains(index));
        columns.passed_over = left.map(|index| names[index].clone()).collect();
        Ok(columns)
    }

    fn row<'a>(&self, record: &'a csv::ByteRecord) -> Result<Row<'a>, Wrong> {
        let session = self.session.and_then(|index| {
            let text = std::str::from_utf8(record.get(index)?).ok()?;
            text.trim().parse().ok()
        });
        self.cells(record, session).map_err(|why| Wrong { why, session })
    }

    fn cells<'a>(&self, record: &'a csv::ByteRecord, session: Option<SessionId>) -> Result<Row<'a>, String> {
        if record.len() != self.count {
            return Err(format!("{} columns where the header has {}", record.len(), self.count));
        }
        let field = |index: usize| {
            let text = std::str::from_utf8(&record[index]).map_err(|_| "not UTF-8".to_owned())?;
            Ok::<&str, String>(text.trim())
        };
        let optional = |index: Option<usize>| {
            index.map(field).transpose().map(|text| text.filter(|text| !text.is_empty()))
        };
        let name = |what: &str, index: usize| {
            let text = field(index)?;
            match text.len() {
                0 => Err(format!("{what} is empty")),
                1..=LABEL_MAX => Ok(text),
                bytes => Err(format!("{what} has {bytes} bytes, at most {LABEL_MAX} are taken")),
            }
        };
        let occurred_at = field(self.occurred_at)?;
        let occurred_at = occurred_at.parse().map_err(|_| {
            format!("occurred_at `{occurred_at}` is not an RFC 3339 instant from 1900 on, e.g. 2026-11-21T09:30:00+01:00")
        })?;
        let (teacher, learner) = (name("teacher", self.teacher)?, name("learner", self.learner)?);
        if teacher == learner {
            return Err("teacher and learner are the same".into());
        }
        let whole = |what: &str, text: &str| match text.parse() {
            Ok(0) | Err(_) => Err(format!("{what} `{text}` is not a whole number from 1 on")),
            Ok(minutes) => Ok(minutes),
        };
        let minutes = whole("minutes", field(self.minutes)?)?;
        let skill = optional(self.skill)?;
        if let Some(skill) = skill {
            skill.parse::<Slug>().map_err(|error| format!("skill `{skill}`: {error}"))?;
        }
        let rating = match optional(self.rating)? {
            None => None,
            Some(text) => match text.parse() {
                Ok(rating @ 1..=5) => Some(rating),
                Ok(_) | Err(_) => return Err(format!("rating `{text}` is not 1, 2, 3, 4 or 5")),
            },
        };
        let standing = match optional(self.state)? {
            None | Some("logged" | "confirmed") => Standing::Live,
            Some("disputed") => Standing::Disputed,
            Some("voided") => Standing::Voided,
            Some(other) => {
                return Err(format!(
                    "state `{other}` is not logged, confirmed, disputed or voided; if the column says something else, \
                     --ignore-column state"
                ));
            }
        };
        let of = match (self.session.map(field).transpose()?, session) {
            (None, _) => None,
            (Some(_), Some(session)) => {
                let pair = optional(self.pair)?.map(|pair| {
                    pair.parse().map_err(|_| format!("pair `{pair}` is not an id this service gave"))
                });
                let mode = optional(self.mode)?.map(|mode| {
                    mode.parse().map_err(|_| {
                        let words: Vec<&str> = Mode::ALL.iter().map(|mode| mode.as_str()).collect();
                        format!("mode `{mode}` is none of {}", words.join(", "))
                    })
                });
                let minutes =
                    optional(self.session_minutes)?.map(|minutes| whole("session_minutes", minutes));
                Some(Of {
                    session,
                    pair: pair.transpose()?,
                    minutes: minutes.transpose()?,
                    mode: mode.transpose()?,
                    // It is only compared: in whatever form a spreadsheet has left it, the instant says enough.
                    day: optional(self.day)?.and_then(|day| day.parse().ok()),
                })
            }
            (Some(text), None) => {
                return Err(format!(
                    "session `{text}` is not an id this service gave; if every row is a session of its own, \
                     --ignore-column session"
                ));
            }
        };
        // What is not recorded and what says so are the same row.
        let skill = skill.filter(|skill| *skill != "unspecified");
        Ok(Row { occurred_at, teacher, learner, minutes, skill, rating, standing, of })
    }
}

fn names_of(header: &csv::ByteRecord) -> Vec<String> {
    header.iter().map(|name| String::from_utf8_lossy(name).trim().to_ascii_lowercase()).collect()
}

impl Table {
    fn open(path: &Path) -> Result<Self, Failure> {
        let unreadable = |error: &dyn std::fmt::Display| {
            Failure::new(format_args!("{} cannot be read: {error}", path.display()))
        };
        let metadata = std::fs::metadata(path).map_err(|error| unreadable(&error))?;
        if !metadata.is_file() {
            return Err(unreadable(&"it is read more than once, so it has to be a file"));
        }
        Self::of(path, metadata.len())
    }

    /// The first `bytes` of a file.
    fn of(path: &Path, bytes: u64) -> Result<Self, Failure> {
        let mut table = Self { path: path.to_owned(), bytes, delimiter: b',' };
        let mut first = Vec::new();
        let file = File::open(path).map_err(|error| table.failed(&error))?;
        let mut file = BufReader::new(file.take(bytes.min(HEADER_BYTES)));
        file.read_until(b'\n', &mut first).map_err(|error| table.failed(&error))?;
        table.delimiter = rows::delimiter(&first).map_err(|why| table.failed(&why))?;
        Ok(table)
    }

    fn failed(&self, error: &dyn std::fmt::Display) -> Failure {
        Failure::new(format_args!("{} cannot be read: {error}", self.path.display()))
    }

    fn reader(&self) -> Result<csv::Reader<std::io::Take<File>>, Failure> {
        let file = File::open(&self.path).map_err(|error| self.failed(&error))?;
        Ok(csv::ReaderBuilder::new()
            .buffer_capacity(1 << 18)
            // A row of another length is a bad row, not the end.
            .flexible(true)
            .delimiter(self.delimiter)
            .from_reader(file.take(self.bytes)))
    }

    /// The names of the columns, in lower case.
    fn header(&self) -> Result<Vec<String>, Failure> {
        let mut reader = self.reader()?;
        Ok(names_of(reader.byte_headers().map_err(|error| self.failed(&error))?))
    }

    /// Hands on every row, in order.
    fn each_record(
        &self,
        mut take: impl FnMut(Place, &csv::ByteRecord) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let mut reader = self.reader()?;
        reader.byte_headers().map_err(|error| self.failed(&error))?;
        let mut record = csv::ByteRecord::new();
        while reader.read_byte_record(&mut record).map_err(|error| self.failed(&error))? {
            // Spreadsheets like to leave rows of nothing but separators at the end.
            if record.len() > 1 && record.iter().all(|cell| cell.trim_ascii().is_empty()) {
                continue;
            }
            let position = record.position().expect("a record that was read has a position");
            take(Place { line: position.line(), byte: position.byte() }, &record)?;
        }
        Ok(())
    }

    /// Reads every row of sessions, in order. What cannot be read says why.
    fn each(
        &self,
        columns: &Columns,
        mut take: impl FnMut(Place, Result<Row<'_>, Wrong>) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        self.each_record(|place, record| take(place, columns.row(record)))
    }

    /// The line a row begins in. csv counts from the end of the row before: line ends and blank lines between
    /// the two are still ahead of it.
    fn line(&self, place: Place) -> u64 {
        let between = || -> std::io::Result<u64> {
            let mut file = File::open(&self.path)?;
            file.seek(SeekFrom::Start(place.byte))?;
            let ends = BufReader::new(file).bytes().map_while(Result::ok);
            Ok(ends.take_while(|byte| matches!(byte, b'\r' | b'\n')).filter(|byte| *byte == b'\n').count()
                as u64)
        };
        place.line + between().unwrap_or(0)
    }

    fn reject(&self, progress: &Progress, place: Place, why: impl std::fmt::Display) {
        progress.say(format_args!("{}:{}: {why}", self.path.display(), self.line(place)));
    }
}

/// Who and what the first pass meets.
#[derive(Default)]
struct Met {
    rows: u64,
    rejected: u64,
    /// Rows of sessions that do not count.
    disputed: u64,
    voided: u64,
    people: Vec<(Rc<str>, Place)>,
    pairs: Vec<MetPair>,
}

impl Met {
    const fn left_out(&self) -> u64 {
        self.disputed + self.voided
    }
}

struct MetPair {
    one: u32,
    other: u32,
    started_at: Timestamp,
    place: Place,
}

/// The first pass: rejects what cannot be read or cannot be, leaves out what does not count, and finds the people and
/// the earliest session of each pair: nobody is enrolled for the sake of a row that is rejected here.
fn meet(table: &Table, columns: &Columns, sessions: &Sessions, rules: &TwoPeople) -> Result<Met, Failure> {
    let mut met = Met::default();
    let mut numbers: HashMap<Rc<str>, u32> = HashMap::new();
    let mut pairs: HashMap<(u32, u32), usize> = HashMap::new();
    let progress = Progress::new("reading", table.bytes);
    let mut seen = 0;
    table.each(columns, |place, row| {
        met.rows += 1;
        progress.add(place.byte - seen);
        seen = place.byte;
        let row = row.map_err(|wrong| wrong.why).and_then(|row| match sessions.fault_of(&row) {
            Some(why) => Err(why),
            None if row.of.is_none() && row.standing == Standing::Live => row.ask(rules).map(|()| row),
            None => Ok(row),
        });
        let row = match row {
            Ok(row) => row,
            Err(why) => {
                met.rejected += 1;
                table.reject(&progress, place, why);
                return Ok(());
            }
        };
        match row.standing {
            Standing::Live => {}
            Standing::Disputed => {
                met.disputed += 1;
                return Ok(());
            }
            Standing::Voided => {
                met.voided += 1;
                return Ok(());
            }
        }
        let mut number = |name: &str| {
            if let Some(number) = numbers.get(name) {
                return *number;
            }
            let name: Rc<str> = name.into();
            let number = u32::try_from(met.people.len()).expect("fewer people than bytes of memory");
            met.people.push((name.clone(), place));
            numbers.insert(name, number);
            number
        };
        let (teacher, learner) = (number(row.teacher), number(row.learner));
        let two = (teacher.min(learner), teacher.max(learner));
        let index = *pairs.entry(two).or_insert(met.pairs.len());
        if let Some(pair) = met.pairs.get_mut(index) {
            pair.started_at = pair.started_at.min(row.occurred_at);
        } else {
            let (one, other) = two;
            met.pairs.push(MetPair { one, other, started_at: row.occurred_at, place });
        }
        Ok(())
    })?;
    progress.finish();
    Ok(met)
}

// ------------------------------------------------------------------------------------------- what is sent

/// A person, as a command names them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Who<'a> {
    /// A participant of the program.
    Member(ParticipantId),
    /// `label:` and the name an older system has for a person.
    Label(&'a str),
}

impl Serialize for Who<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Member(id) => id.serialize(serializer),
            Self::Label(label) => serializer.collect_str(&format_args!("label:{label}")),
        }
    }
}

/// One item of a batch. The service remembers hashes of these bytes for ever: fields, their order and what is
/// left out when absent stay as they are.
#[derive(Serialize)]
struct Item<'a, D> {
    command: &'static str,
    key: &'a str,
    data: D,
}

#[derive(Serialize)]
struct ImportParticipant<'a> {
    participant: Who<'a>,
}

#[derive(Serialize)]
struct ImportPair<'a> {
    a: Who<'a>,
    b: Who<'a>,
    started_at: Timestamp,
}

#[derive(Serialize)]
struct ImportSession<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    session: Option<SessionId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pair: Option<PairId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    between: Option<[Who<'a>; 2]>,
    occurred_at: Timestamp,
    minutes: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    mode: Option<Mode>,
    exchanges: Vec<Exchange<'a>>,
}

#[derive(Serialize)]
struct Exchange<'a> {
    teacher: Who<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    skill: Option<&'a str>,
    minutes: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    rating: Option<u8>,
}

impl<'a> Row<'a> {
    fn command(&self, members: &Members) -> ImportSession<'a> {
        let teacher = members.who(self.teacher);
        ImportSession {
            session: None,
            pair: None,
            between: Some([teacher, members.who(self.learner)]),
            occurred_at: self.occurred_at,
            minutes: self.minutes,
            mode: None,
            exchanges: vec![Exchange {
                teacher,
                skill: self.skill,
                minutes: self.minutes,
                rating: self.rating,
            }],
        }
    }

    /// What the rules have against it, whoever the two are.
    fn ask(&self, rules: &TwoPeople) -> Result<(), String> {
        let Row { skill, minutes, rating, .. } = *self;
        rules.ask(self.occurred_at, minutes, std::iter::once(Asked { first: true, skill, minutes, rating }))
    }

    /// A hash over every field; the ordinal among rows that say the same is still to be added.
    fn content(&self) -> Sha256 {
        let mut text = [0; 27];
        let mut hash = parts("session", &[self.occurred_at.write(&mut text), self.teacher, self.learner]);
        hash.update(self.minutes.to_be_bytes());
        hash.update([u8::from(self.skill.is_some()), self.rating.unwrap_or(0)]);
        hash.update(self.skill.unwrap_or_default());
        hash
    }
}

/// A hash over texts, their lengths keeping them apart.
fn parts(kind: &str, texts: &[&str]) -> Sha256 {
    let mut hash = Sha256::new();
    for text in std::iter::once(&kind).chain(texts) {
        hash.update((text.len() as u64).to_be_bytes());
        hash.update(text);
    }
    hash
}

fn key(kind: &str, hash: Sha256) -> String {
    format!("csv-{kind}-{}", BASE64_URL_SAFE_NO_PAD.encode(hash.finalize()))
}

fn pair_key(one: &str, other: &str) -> String {
    key("pair", parts("pair", &[one.min(other), one.max(other)]))
}

/// How many rows said the same so far.
#[derive(Default)]
struct Ordinals(HashMap<[u8; 16], u32>);

impl Ordinals {
    /// The key of the next row.
    fn key(&mut self, row: &Row<'_>) -> String {
        let mut content = row.content();
        let mut first = [0; 16];
        first.copy_from_slice(&content.clone().finalize()[..16]);
        let said = self.0.entry(first).or_insert(0);
        content.update(said.to_be_bytes());
        *said += 1;
        key("session", content)
    }
}

// ------------------------------------------------------------------------------------------------ sending

/// What became of items, and of the rows that made them.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Tally {
    new: u64,
    there: u64,
    rows_new: u64,
    rows_there: u64,
    rows_rejected: u64,
}

impl Tally {
    /// An item that is there, and was not sent.
    const fn found(&mut self, rows: u64) {
        self.there += 1;
        self.rows_there += rows;
    }
}

impl std::ops::AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.new += other.new;
        self.there += other.there;
        self.rows_new += other.rows_new;
        self.rows_there += other.rows_there;
        self.rows_rejected += other.rows_rejected;
    }
}

struct Summary {
    participants: Tally,
    pairs: Tally,
    sessions: Tally,
}

fn import(
    runtime: &Runtime,
    server: Server,
    arguments: &Arguments,
    table: &Table,
    columns: &Columns,
) -> Result<(Met, Summary), Failure> {
    let mut connection = Connection::new(server.clone());
    let found = program::find(runtime, &mut connection, arguments)?;
    let listed = program::listed(runtime, &mut connection, arguments, found.as_ref())?;
    let rules = TwoPeople::pair_up(Rehearsal::new(found.as_ref(), listed));
    let mut sessions = Sessions::find(table, columns)?;
    let there = if columns.session.is_some() && found.is_some() {
        exported::there(runtime, &mut connection, &arguments.program)?
    } else {
        exported::There::default()
    };
    sessions.refuse(table, columns, &there, &rules)?;
    let met = meet(table, columns, &sessions, &rules)?;
    if met.left_out() > 0 {
        let (disputed, voided) = (met.disputed, met.voided);
        eprintln!(
            "mentorlog: left out: {disputed} rows of disputed sessions, {voided} of voided ones: they do not count"
        );
    }
    let mut summary =
        Summary { participants: Tally::default(), pairs: Tally::default(), sessions: Tally::default() };
    if met.people.is_empty() {
        return Ok((met, summary));
    }
    let zone = match found {
        Some(found) => found.time_zone,
        None => program::open(runtime, &mut connection, arguments)?,
    };
    let program = arguments.program.to_string();
    let mut names = met.people.iter().map(|(name, _)| &**name);
    let members = Members::find(runtime, &mut connection, &program, &mut names)?;
    let members = members.with_pairs(runtime, &mut connection, &program)?;
    let sending = Sending { runtime, server, program, table };
    let mut found = Tally::default();
    summary.participants =
        sending.phase("enrolling", met.people.len() as u64, Kind::Participant, |outbox| {
            met.people.iter().try_for_each(|(name, place)| {
                let participant = members.who(name);
                if let Who::Member(_) = participant {
                    found.found(1);
                    return Ok(());
                }
                let key = key("participant", parts("participant", &[name]));
                let data = ImportParticipant { participant };
                outbox.put(place.one(), &Item { command: "import-participant", key: &key, data })
            })
        })?;
    summary.participants += std::mem::take(&mut found);
    let name = |number: u32| &*met.people[number as usize].0;
    summary.pairs = sending.phase("pairing", met.pairs.len() as u64, Kind::Pair, |outbox| {
        met.pairs.iter().try_for_each(|pair| {
            let (one, other) = (name(pair.one), name(pair.other));
            let key = pair_key(one, other);
            let (a, b) = (members.who(one.min(other)), members.who(one.max(other)));
            if members.have_met(a, b) {
                found.found(1);
                return Ok(());
            }
            let data = ImportPair { a, b, started_at: pair.started_at };
            outbox.put(pair.place.one(), &Item { command: "import-pair", key: &key, data })
        })
    })?;
    summary.pairs += std::mem::take(&mut found);
    let rows = met.rows - met.rejected - met.left_out();
    let (mut otherwise, mut other_days) = (0_u64, 0_u64);
    summary.sessions = sending.phase("importing", rows, Kind::Session, |outbox| {
        if columns.session.is_some() {
            return exported::each(table, columns, &sessions, |session| {
                if session.standing != Standing::Live {
                    return Ok(());
                }
                if let Some(content) = there.content(session.of.session) {
                    found.found(session.rows());
                    // What people are called elsewhere says nothing here.
                    otherwise += u64::from(session.is_of(&members) && content != session.content());
                    return Ok(());
                }
                other_days +=
                    u64::from(session.of.day.is_some_and(|day| day != zone.day(session.occurred_at)));
                let (key, data) = (session.key(), session.command(&members));
                outbox.put(session.sent(), &Item { command: "import-session", key: &key, data })
            });
        }
        let mut ordinals = Ordinals::default();
        table.each(columns, |place, row| {
            // What cannot be read or cannot be was rejected in the first pass.
            let Ok(row) = row else { return Ok(()) };
            if row.standing != Standing::Live || row.ask(&rules).is_err() {
                return Ok(());
            }
            let key = ordinals.key(&row);
            let data = row.command(&members);
            outbox.put(place.one(), &Item { command: "import-session", key: &key, data })
        })
    })?;
    summary.sessions += found;
    if otherwise > 0 {
        eprintln!(
            "mentorlog: {otherwise} sessions are there otherwise than the table has them, and stay as they are: \
             `correct-session` changes one"
        );
    }
    if other_days > 0 {
        eprintln!(
            "mentorlog: {other_days} sessions lie on another civil day in {}, the zone of this program, than the table \
             says: its figures as of a day will differ",
            zone.name()
        );
    }
    Ok((met, summary))
}

/// What the items of a phase make.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Participant,
    Pair,
    Session,
}

impl Kind {
    /// Whether a refusal says that the thing is there.
    fn there(self, code: &str) -> bool {
        match self {
            Self::Participant => code == "participant-exists",
            // An earlier import opened it with another beginning (the file has grown since), or somebody did.
            Self::Pair => matches!(code, "key-reused" | "pair-already-open" | "pair-exists"),
            // Only a table that names its sessions can meet one of another import.
            Self::Session => code == "session-exists",
        }
    }
}

/// Where what makes an item stands: its first row, and how many rows there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Sent {
    place: Place,
    rows: u64,
}

impl Place {
    /// The row there makes an item.
    const fn one(self) -> Sent {
        Sent { place: self, rows: 1 }
    }
}

#[derive(Default)]
struct Batch {
    body: Vec<u8>,
    sent: Vec<Sent>,
}

/// Where a phase puts its items.
struct Outbox {
    batch: Batch,
    sender: mpsc::Sender<Batch>,
}

/// The lanes have closed: one of them says why.
struct Closed;

impl Outbox {
    fn put<D: Serialize>(&mut self, sent: Sent, item: &Item<'_, D>) -> Result<(), Failure> {
        serde_json::to_writer(&mut self.batch.body, item).map_err(Failure::new)?;
        self.batch.body.push(b'\n');
        self.batch.sent.push(sent);
        if self.batch.sent.len() == BATCH_ITEMS || self.batch.body.len() >= BATCH_BYTES {
            self.flush().map_err(|Closed| Failure::new("stopped"))?;
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), Closed> {
        let batch = std::mem::take(&mut self.batch);
        if batch.sent.is_empty() {
            return Ok(());
        }
        self.sender.blocking_send(batch).map_err(|_| Closed)
    }
}

struct Sending<'a> {
    runtime: &'a Runtime,
    server: Server,
    program: String,
    table: &'a Table,
}

impl Sending<'_> {
    /// Sends everything `fill` puts out, a few batches at once, and waits for all the answers.
    fn phase(
        &self,
        doing: &'static str,
        total: u64,
        kind: Kind,
        fill: impl FnOnce(&mut Outbox) -> Result<(), Failure>,
    ) -> Result<Tally, Failure> {
        let progress = Arc::new(Progress::new(doing, total));
        let (sender, receiver) = mpsc::channel(1);
        let receiver = Arc::new(Mutex::new(receiver));
        let mut lanes = JoinSet::new();
        for _ in 0..LANES {
            let lane = Lane {
                connection: Connection::new(self.server.clone()),
                path: format!("/v1/programs/{}/commands", self.program),
                kind,
                table: self.table.clone(),
                progress: progress.clone(),
            };
            lanes.spawn_on(lane.run(receiver.clone()), self.runtime.handle());
        }
        drop(receiver);
        let mut outbox = Outbox { batch: Batch::default(), sender };
        let filled =
            fill(&mut outbox).and_then(|()| outbox.flush().map_err(|Closed| Failure::new("stopped")));
        drop(outbox);
        let mut tally = Tally::default();
        let mut failure = None;
        while let Some(done) = self.runtime.block_on(lanes.join_next()) {
            match done {
                Ok(Ok(lane)) => tally += lane,
                Ok(Err(why)) => failure = failure.or(Some(why)),
                Err(panicked) => failure = failure.or_else(|| Some(Failure::new(panicked))),
            }
        }
        progress.finish();
        // What a lane says comes before that the outbox found them closed.
        failure.map_or(Ok(()), Err)?;
        filled.map(|()| tally)
    }
}

/// One connection and what goes over it.
struct Lane {
    connection: Connection,
    path: String,
    kind: Kind,
    table: Table,
    progress: Arc<Progress>,
}

#[derive(Deserialize)]
struct Answers {
    results: Vec<ItemAnswer>,
}

#[derive(Deserialize)]
struct ItemAnswer {
    status: u16,
    #[serde(default)]
    replayed: bool,
    #[serde(default)]
    code: String,
    #[serde(default)]
    detail: String,
    /// Where what was made or changed can be read.
    #[serde(default)]
    location: String,
    /// What is there already, of a duplicate.
    #[serde(default)]
    existing: String,
}

impl Lane {
    async fn run(mut self, batches: Arc<Mutex<mpsc::Receiver<Batch>>>) -> Result<Tally, Failure> {
        let mut tally = Tally::default();
        loop {
            let batch = batches.lock().await.recv().await;
            let Some(batch) = batch else { return Ok(tally) };
            if let Err(failure) = self.deliver(batch, &mut tally).await {
                // The others finish what they have; nothing more is begun.
                batches.lock().await.close();
                return Err(failure);
            }
        }
    }

    async fn deliver(&mut self, batch: Batch, tally: &mut Tally) -> Result<(), Failure> {
        let answers =
            deliver(&mut self.connection, &self.path, batch.body.into()).await.map_err(|error| {
                Failure::new(format_args!("{error}; run the import again: what is in is not imported twice"))
            })?;
        let answers: Answers = serde_json::from_slice(&answers).map_err(Failure::new)?;
        if answers.results.len() != batch.sent.len() {
            let (sent, got) = (batch.sent.len(), answers.results.len());
            return Err(Failure::new(format_args!(
                "{sent} items were sent, {got} answers came: is it mentorlog?"
            )));
        }
        self.progress.add(batch.sent.iter().map(|sent| sent.rows).sum());
        for (answer, Sent { place, rows }) in answers.results.into_iter().zip(batch.sent) {
            match answer.status {
                201 if answer.replayed => tally.found(rows),
                201 => {
                    tally.new += 1;
                    tally.rows_new += rows;
                }
                500.. => {
                    let (detail, code) = (answer.detail, answer.code);
                    return Err(Failure::new(format_args!(
                        "the service cannot write: {detail} ({code}); once it can, run the import again: what is in \
                         is not imported twice"
                    )));
                }
                _ if self.kind.there(&answer.code) => tally.found(rows),
                _ => {
                    tally.rows_rejected += rows;
                    let what = match self.kind {
                        Kind::Participant => "the participant: ",
                        Kind::Pair => "the pair: ",
                        Kind::Session => "",
                    };
                    let why = format_args!("{what}{} ({})", answer.detail, answer.code);
                    self.table.reject(&self.progress, place, why);
                }
            }
        }
        Ok(())
    }
}

/// Sends a batch until it is answered. Sending it twice does nothing twice: every item has its key, or changes nothing
/// the second time.
async fn deliver(connection: &mut Connection, path: &str, body: Bytes) -> Result<Bytes, ClientError> {
    let begun = Instant::now();
    let mut pause = Duration::from_millis(50);
    loop {
        let sent = connection.send(Method::POST, path, "application/x-ndjson", body.clone()).await;
        let error = match sent {
            Ok(response) => match connection.whole(response).await {
                Ok(body) => return Ok(body),
                Err(error) => error,
            },
            Err(error) => error,
        };
        let passes = match &error {
            ClientError::NoServer { .. } | ClientError::Broken { .. } => true,
            ClientError::Problem { status, code, .. } => {
                *status == StatusCode::SERVICE_UNAVAILABLE && matches!(code.as_str(), "busy" | "starting")
            }
        };
        if !passes || begun.elapsed() >= PATIENCE {
            return Err(error);
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Vec<(u64, Result<String, String>)> {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        let table = Table::of(file.path(), text.len() as u64).map_err(|failure| failure.text).unwrap();
        let columns = Columns::find(&table.header().map_err(|failure| failure.text).unwrap(), &[]).unwrap();
        let mut rows = Vec::new();
        let all = table.each(&columns, |place, row| {
            let row = row.map(|row| format!("{} {}", row.teacher, row.minutes)).map_err(|wrong| wrong.why);
            rows.push((table.line(place), row));
            Ok(())
        });
        all.map_err(|failure| failure.text).unwrap();
        rows
    }

    #[test]
    fn rows_are_numbered_by_the_line_they_begin_in() {
        let head = "occurred_at,teacher,learner,minutes";
        let row = |name: &str| format!("2026-01-01T00:00:00Z,{name},z,1");
        let ok = |line, name: &str| (line, Ok(format!("{name} 1")));
        let unix = format!(
            "{head}\n{}\n\n{}\n\"2026-01-01T00:00:00Z\",\"c\nd\",z,1\n{}",
            row("a"),
            row("b"),
            row("e")
        );
        assert_eq!(read(&unix), [ok(2, "a"), ok(4, "b"), ok(5, "c\nd"), ok(7, "e")]);
        let windows = format!("\u{feff}{head}\r\n{}\r\n\r\n{}\r\n{}\r\n", row("a"), row("b"), row("e"));
        assert_eq!(read(&windows), [ok(2, "a"), ok(4, "b"), ok(5, "e")]);
    }

    #[test]
    fn columns_come_in_any_order_and_bad_fields_are_named() {
        let long = "x".repeat(257);
        let text = format!(
            "rating,minutes, Learner ,teacher,occurred_at,skill\n\
             5,30,b,a,2026-01-01T00:00:00Z,rust\n\
             ,30, b ,a,2026-01-01T01:00:00+01:00,\n\
             6,30,b,a,2026-01-01T00:00:00Z,\n\
             ,0,b,a,2026-01-01T00:00:00Z,\n\
             ,x,b,a,2026-01-01T00:00:00Z,\n\
             ,1,a,a,2026-01-01T00:00:00Z,\n\
             ,1,,a,2026-01-01T00:00:00Z,\n\
             ,1,{long},a,2026-01-01T00:00:00Z,\n\
             ,1,b,a,2026-01-01,\n\
             ,1,b,a,2026-01-01T00:00:00Z,Not A Slug\n\
             1,b,a\n"
        );
        let rows = read(&text);
        assert!(rows[0].1.is_ok() && rows[1].1.is_ok(), "{rows:?}");
        let wanted = [
            "rating",
            "minutes",
            "minutes",
            "same",
            "learner is empty",
            "257 bytes",
            "occurred_at",
            "skill",
            "3 columns",
        ];
        assert_eq!(rows.len(), wanted.len() + 2);
        for ((line, row), wanted) in rows[2..].iter().zip(wanted) {
            let why = row.as_ref().unwrap_err();
            assert!(why.contains(wanted), "line {line}: {why}");
        }
    }

    #[test]
    fn a_header_without_a_column_says_what_it_has() {
        let find = |names: &[&str], ignored: &[&str]| {
            let names = names_of(&csv::ByteRecord::from(names.to_vec()));
            Columns::find(&names, &ignored.iter().map(ToString::to_string).collect::<Vec<_>>())
        };
        let header = |names: &[&str]| find(names, &[]).err().unwrap();
        assert!(
            header(&["occurred_at", "teacher", "minutes"])
                .contains("no `learner`, it has: occurred_at,teacher,minutes")
        );
        assert!(header(&["occurred_at", "teacher", "learner", "minutes", "Minutes"]).contains("twice"));
        let ours = crate::http::tables::SESSIONS;
        assert!(find(&ours, &["Session"]).err().unwrap().contains("there is no column `Session`"));
        assert!(find(&ours, &["minutes"]).err().unwrap().contains("`minutes` is needed, and it is ignored"));
        assert!(header(&crate::http::tables::PAIRS).contains("a table of pairs is not taken"));
        let passed_over = |ignored: &[&str]| find(&ours, ignored).unwrap().passed_over.join(",");
        let always =
            "logged_by,on_behalf_of,principal,recorded_at,content_version,version,first_seq,last_seq";
        assert_eq!(passed_over(&[]), format!("teacher_generation,learner_generation,evidence,{always}"));
        assert_eq!(
            passed_over(&["session"]),
            format!(
                "teacher_generation,learner_generation,session,pair,day,session_minutes,mode,evidence,{always}"
            )
        );
    }

    /// The service keeps hashes of these for ever: another key or another body would import every row again,
    /// or be refused.
    #[test]
    fn keys_and_bodies_are_what_they_always_were() {
        let row = Row {
            occurred_at: "2026-01-01T00:00:00Z".parse().unwrap(),
            teacher: "a",
            learner: "b",
            minutes: 30,
            skill: Some("rust"),
            rating: Some(5),
            standing: Standing::Live,
            of: None,
        };
        let mut ordinals = Ordinals::default();
        let (first, second) = (ordinals.key(&row), ordinals.key(&row));
        let bare = Row { skill: None, rating: None, ..row };
        let lines = [
            first,
            second,
            ordinals.key(&bare),
            pair_key("b", "a"),
            key("participant", parts("participant", &["a"])),
            serde_json::to_string(&row.command(&Members::default())).unwrap(),
            serde_json::to_string(&bare.command(&Members::default())).unwrap(),
        ];
        insta::assert_snapshot!(lines.join("\n"), @r#"
        csv-session-DgD0az7RIuPEdjnUbBG6njsZJSGbbwsI9DA2H8XuvAQ
        csv-session--rWPOX36Lbwaxwn4USQ-212rUiGE6JUrgwXZDMyJoGY
        csv-session-jxk9XOLx0EJY_dH973zhQ8Ep9EsdiZwJ4L-67Pik3jA
        csv-pair-eESvV8r_Ghm8AmPVlZYO-FlvpbjNz5-_Er4s-pkZQIM
        csv-participant-DqTw_WFLIPFtFspqzsngAwbtuR3wr-IWOe56_EsxdzY
        {"between":["label:a","label:b"],"occurred_at":"2026-01-01T00:00:00.000000Z","minutes":30,"exchanges":[{"teacher":"label:a","skill":"rust","minutes":30,"rating":5}]}
        {"between":["label:a","label:b"],"occurred_at":"2026-01-01T00:00:00.000000Z","minutes":30,"exchanges":[{"teacher":"label:a","minutes":30}]}
        "#);
    }
}
