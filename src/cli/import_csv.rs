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
//!
//! Keys and bodies are written into ledgers as keyed hashes: their formats here never change.

use std::collections::HashMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use bytes::Bytes;
use hyper::{Method, StatusCode};
use mentorlog_events::id::Slug;
use mentorlog_events::time::{Timestamp, Zone};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tokio::runtime::Runtime;
use tokio::sync::{Mutex, mpsc};
use tokio::task::JoinSet;

mod people;

use super::Failure;
use super::client::{ClientError, Connection, Server};
use super::embedded::Embedded;
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

/// Longest label the service takes, in bytes.
const LABEL_MAX: usize = 256;

#[derive(clap::Args)]
pub struct Arguments {
    /// The table: CSV with a header, its columns in any order. Of sessions: occurred_at, teacher, learner, minutes
    /// and, if you have them, skill and rating. Of participants: participant (the name your system has for them)
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
    /// A column of a table of participants that is not taken over; may be repeated.
    #[arg(long, value_name = "COLUMN")]
    ignore_column: Vec<String>,
}

pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    let begun = Instant::now();
    let unreadable = |error: &dyn std::fmt::Display| {
        Failure::new(format_args!("{} cannot be read: {error}", arguments.file.display()))
    };
    let file = File::open(&arguments.file).map_err(|error| unreadable(&error))?;
    let metadata = file.metadata().map_err(|error| unreadable(&error))?;
    if !metadata.is_file() {
        return Err(unreadable(&"it is read twice, so it has to be a file"));
    }
    // The second pass reads what the first one read, also of a file that is still growing.
    let table = Table { path: arguments.file.clone(), bytes: metadata.len() };
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
    if let Some(column) = arguments.ignore_column.first() {
        return Err(Failure::new(format_args!(
            "--ignore-column {column}: of a table of sessions what is not needed is passed over anyway"
        )));
    }
    let met = meet(&table)?;
    let summary = at(&arguments.place, |runtime, server| import(runtime, server, arguments, &table, &met))?;
    let rejected = met.rejected + summary.sessions.rejected;
    let Summary { participants, pairs, sessions } = summary;
    let mut lines = vec![
        format!("rows          {:>9}", met.rows),
        format!("imported      {:>9}", sessions.new),
        format!("already there {:>9}", sessions.there),
        format!("rejected      {rejected:>9}"),
    ];
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

/// The file, as long as it was at the beginning.
struct Table {
    path: PathBuf,
    bytes: u64,
}

/// Where a row stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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
}

/// Where each column stands.
struct Columns {
    occurred_at: usize,
    teacher: usize,
    learner: usize,
    minutes: usize,
    skill: Option<usize>,
    rating: Option<usize>,
    count: usize,
}

impl Columns {
    fn find(header: &csv::ByteRecord) -> Result<Self, String> {
        let names = names(header);
        let place = |wanted: &str| -> Result<Option<usize>, String> {
            let mut found = (0..names.len()).filter(|index| names[*index] == wanted);
            match (found.next(), found.next()) {
                (_, Some(_)) => Err(format!("the header has `{wanted}` twice")),
                (found, None) => Ok(found),
            }
        };
        let needed = |wanted: &str| {
            place(wanted)?.ok_or_else(|| {
                format!(
                    "the header has no `{wanted}`, it has: {}; wanted are occurred_at,teacher,learner,minutes and, \
                     if there are any, skill,rating",
                    names.join(",")
                )
            })
        };
        Ok(Self {
            occurred_at: needed("occurred_at")?,
            teacher: needed("teacher")?,
            learner: needed("learner")?,
            minutes: needed("minutes")?,
            skill: place("skill")?,
            rating: place("rating")?,
            count: names.len(),
        })
    }

    fn row<'a>(&self, record: &'a csv::ByteRecord) -> Result<Row<'a>, String> {
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
            format!("occurred_at `{occurred_at}` is not an RFC 3339 instant, e.g. 2026-11-21T09:30:00+01:00")
        })?;
        let (teacher, learner) = (name("teacher", self.teacher)?, name("learner", self.learner)?);
        if teacher == learner {
            return Err("teacher and learner are the same".into());
        }
        let minutes = field(self.minutes)?;
        let minutes = match minutes.parse() {
            Ok(0) | Err(_) => return Err(format!("minutes `{minutes}` is not a whole number from 1 on")),
            Ok(minutes) => minutes,
        };
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
        // What is not recorded and what says so are the same row.
        Ok(Row {
            occurred_at,
            teacher,
            learner,
            minutes,
            skill: skill.filter(|s| *s != "unspecified"),
            rating,
        })
    }
}

fn names(header: &csv::ByteRecord) -> Vec<String> {
    header.iter().map(|name| String::from_utf8_lossy(name).trim().to_ascii_lowercase()).collect()
}

impl Table {
    fn failed(&self, error: &dyn std::fmt::Display) -> Failure {
        Failure::new(format_args!("{} cannot be read: {error}", self.path.display()))
    }

    fn reader(&self) -> Result<csv::Reader<std::io::Take<File>>, Failure> {
        let file = File::open(&self.path).map_err(|error| self.failed(&error))?;
        Ok(csv::ReaderBuilder::new()
            .buffer_capacity(1 << 18)
            // A row of another length is a bad row, not the end.
            .flexible(true)
            .from_reader(file.take(self.bytes)))
    }

    /// The names of the columns, in lower case.
    fn header(&self) -> Result<Vec<String>, Failure> {
        let mut reader = self.reader()?;
        Ok(names(reader.byte_headers().map_err(|error| self.failed(&error))?))
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
            let position = record.position().expect("a record that was read has a position");
            take(Place { line: position.line(), byte: position.byte() }, &record)?;
        }
        Ok(())
    }

    /// Reads every row of sessions, in order. What cannot be read is a sentence that says why.
    fn each(
        &self,
        mut take: impl FnMut(Place, Result<Row<'_>, String>) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let columns = Columns::find(self.reader()?.byte_headers().map_err(|error| self.failed(&error))?);
        let columns = columns.map_err(|error| self.failed(&error))?;
        self.each_record(|place, record| take(place, columns.row(record)))
    }

    /// The line a row begins in. csv counts from the end of the row before: line ends and blank lines between
    /// the two are still ahead of it.
    fn line(&self, place: Place) -> u64 {
        let between = || -> std::io::Result<u64> {
            let mut file = File::open(&self.path)?;
            file.seek(SeekFrom::Start(place.byte))?;
            let ends = std::io::BufReader::new(file).bytes().map_while(Result::ok);
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
    people: Vec<(Rc<str>, Place)>,
    pairs: Vec<MetPair>,
}

struct MetPair {
    one: u32,
    other: u32,
    started_at: Timestamp,
    place: Place,
}

/// The first pass: rejects what cannot be read, and finds the people and the earliest session of each pair.
fn meet(table: &Table) -> Result<Met, Failure> {
    let mut met = Met::default();
    let mut numbers: HashMap<Rc<str>, u32> = HashMap::new();
    let mut pairs: HashMap<(u32, u32), usize> = HashMap::new();
    let progress = Progress::new("reading", table.bytes);
    let mut seen = 0;
    table.each(|place, row| {
        met.rows += 1;
        progress.add(place.byte - seen);
        seen = place.byte;
        let row = match row {
            Ok(row) => row,
            Err(why) => {
                met.rejected += 1;
                table.reject(&progress, place, why);
                return Ok(());
            }
        };
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

/// `label:` and the name an older system has for a person.
struct Label<'a>(&'a str);

impl Serialize for Label<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("label:{}", self.0))
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
    participant: Label<'a>,
}

#[derive(Serialize)]
struct ImportPair<'a> {
    a: Label<'a>,
    b: Label<'a>,
    started_at: Timestamp,
}

#[derive(Serialize)]
struct ImportSession<'a> {
    between: [Label<'a>; 2],
    occurred_at: Timestamp,
    minutes: u32,
    exchanges: [Exchange<'a>; 1],
}

#[derive(Serialize)]
struct Exchange<'a> {
    teacher: Label<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    skill: Option<&'a str>,
    minutes: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    rating: Option<u8>,
}

impl<'a> Row<'a> {
    fn command(&self) -> ImportSession<'a> {
        ImportSession {
            between: [Label(self.teacher), Label(self.learner)],
            occurred_at: self.occurred_at,
            minutes: self.minutes,
            exchanges: [Exchange {
                teacher: Label(self.teacher),
                skill: self.skill,
                minutes: self.minutes,
                rating: self.rating,
            }],
        }
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

/// What became of items.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Tally {
    new: u64,
    there: u64,
    rejected: u64,
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
    met: &Met,
) -> Result<Summary, Failure> {
    let mut summary =
        Summary { participants: Tally::default(), pairs: Tally::default(), sessions: Tally::default() };
    if met.people.is_empty() {
        return Ok(summary);
    }
    runtime.block_on(open_program(&server, &arguments.program, arguments.time_zone))?;
    let sending = Sending { runtime, server, program: arguments.program.to_string(), table };
    summary.participants =
        sending.phase("enrolling", met.people.len() as u64, Kind::Participant, |outbox| {
            met.people.iter().try_for_each(|(name, place)| {
                let key = key("participant", parts("participant", &[name]));
                let data = ImportParticipant { participant: Label(name) };
                outbox.put(*place, &Item { command: "import-participant", key: &key, data })
            })
        })?;
    let name = |number: u32| &*met.people[number as usize].0;
    summary.pairs = sending.phase("pairing", met.pairs.len() as u64, Kind::Pair, |outbox| {
        met.pairs.iter().try_for_each(|pair| {
            let (one, other) = (name(pair.one), name(pair.other));
            let key = pair_key(one, other);
            let (a, b) = (Label(one.min(other)), Label(one.max(other)));
            let data = ImportPair { a, b, started_at: pair.started_at };
            outbox.put(pair.place, &Item { command: "import-pair", key: &key, data })
        })
    })?;
    let rows = met.rows - met.rejected;
    summary.sessions = sending.phase("importing", rows, Kind::Session, |outbox| {
        let mut ordinals = Ordinals::default();
        table.each(|place, row| {
            // What cannot be read was rejected in the first pass.
            let Ok(row) = row else { return Ok(()) };
            let key = ordinals.key(&row);
            outbox.put(place, &Item { command: "import-session", key: &key, data: row.command() })
        })
    })?;
    Ok(summary)
}

/// Makes sure that there is the program.
async fn open_program(server: &Server, name: &ProgramName, zone: Option<Zone>) -> Result<(), Failure> {
    let mut connection = Connection::new(server.clone());
    let found = connection.get(&format!("/v1/programs/{name}")).await;
    let slug = match (found, name) {
        (Ok(body), _) => {
            #[derive(Deserialize)]
            struct Found {
                time_zone: String,
            }
            let found: Found = serde_json::from_slice(&body).map_err(Failure::new)?;
            return match zone {
                Some(zone) if zone.name() != found.time_zone => Err(Failure::new(format_args!(
                    "the program `{name}` is in {} for ever, not in {}: leave --time-zone out",
                    found.time_zone,
                    zone.name()
                ))),
                Some(_) | None => Ok(()),
            };
        }
        (Err(error), ProgramName::Slug(slug)) if error.code() == Some("no-such-program") => slug,
        (Err(error), _) => return Err(Failure::new(error)),
    };
    #[derive(Serialize)]
    struct OpenProgram<'a> {
        slug: &'a str,
        name: &'a str,
        time_zone: &'static str,
    }
    let zone = zone.unwrap_or(Zone::UTC).name();
    let opening = OpenProgram { slug: slug.as_str(), name: slug.as_str(), time_zone: zone };
    let body = serde_json::to_vec(&opening).map_err(Failure::new)?;
    let opened = connection.send(Method::POST, "/v1/programs", "application/json", body.into()).await;
    match opened {
        Ok(_) => {
            eprintln!("mentorlog: opened the program `{slug}` in {zone}");
            Ok(())
        }
        // Somebody else opened it meanwhile.
        Err(error) if error.code() == Some("slug-taken") => Ok(()),
        Err(error) => Err(Failure::new(error)),
    }
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
            Self::Session => false,
        }
    }
}

#[derive(Default)]
struct Batch {
    body: Vec<u8>,
    places: Vec<Place>,
}

/// Where a phase puts its items.
struct Outbox {
    batch: Batch,
    sender: mpsc::Sender<Batch>,
}

/// The lanes have closed: one of them says why.
struct Closed;

impl Outbox {
    fn put<D: Serialize>(&mut self, place: Place, item: &Item<'_, D>) -> Result<(), Failure> {
        serde_json::to_writer(&mut self.batch.body, item).map_err(Failure::new)?;
        self.batch.body.push(b'\n');
        self.batch.places.push(place);
        if self.batch.places.len() == BATCH_ITEMS || self.batch.body.len() >= BATCH_BYTES {
            self.flush().map_err(|Closed| Failure::new("stopped"))?;
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), Closed> {
        let batch = std::mem::take(&mut self.batch);
        if batch.places.is_empty() {
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
                table: Table { path: self.table.path.clone(), bytes: self.table.bytes },
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
                Ok(Ok(lane)) => {
                    tally.new += lane.new;
                    tally.there += lane.there;
                    tally.rejected += lane.rejected;
                }
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
        if answers.results.len() != batch.places.len() {
            let (sent, got) = (batch.places.len(), answers.results.len());
            return Err(Failure::new(format_args!(
                "{sent} items were sent, {got} answers came: is it mentorlog?"
            )));
        }
        self.progress.add(batch.places.len() as u64);
        for (answer, place) in answers.results.into_iter().zip(batch.places) {
            match answer.status {
                201 if answer.replayed => tally.there += 1,
                201 => tally.new += 1,
                500.. => {
                    let (detail, code) = (answer.detail, answer.code);
                    return Err(Failure::new(format_args!(
                        "the service cannot write: {detail} ({code}); once it can, run the import again: what is in \
                         is not imported twice"
                    )));
                }
                _ if self.kind.there(&answer.code) => tally.there += 1,
                _ => {
                    tally.rejected += 1;
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
        let table = Table { path: file.path().to_owned(), bytes: text.len() as u64 };
        let mut rows = Vec::new();
        let all = table.each(|place, row| {
            rows.push((table.line(place), row.map(|row| format!("{} {}", row.teacher, row.minutes))));
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
        let header = |names: &[&str]| Columns::find(&csv::ByteRecord::from(names.to_vec())).err().unwrap();
        assert!(
            header(&["occurred_at", "teacher", "minutes"])
                .contains("no `learner`, it has: occurred_at,teacher,minutes")
        );
        assert!(header(&["occurred_at", "teacher", "learner", "minutes", "Minutes"]).contains("twice"));
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
            serde_json::to_string(&row.command()).unwrap(),
            serde_json::to_string(&bare.command()).unwrap(),
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
