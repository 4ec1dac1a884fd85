//! `mentorlog data-map`: what is kept, why, how long, whose it is, where, and who may see it.
//! Never opens a data directory: it is the record of what the software does, the same for every installation.

use std::fmt::Write as _;
use std::io::Write as _;

use mentorlog_events::entry::ENVELOPE_FIELDS;
use mentorlog_events::processing::{Fact, Handling, Line, PROGRAM, Personal, REGISTRY, lines};
use serde::Serialize;

use super::Failure;

pub mod files;

use files::FILES;

const ABOUT: &str = "\
It is generated from the annotations beside each field in the sources, for the record of processing activities of
Article 30 GDPR. Your own name, your reasons in law and those you hand data to are yours to add.

`personal` is one of: none; pseudonymous (about a person named by a random id only); personal-sealed (about an
identified person: encrypted, and the ledger holds a salted commitment).

Examples:
  mentorlog data-map
  mentorlog data-map --format csv > record-of-processing.csv
  mentorlog data-map --format json | jq '.lines[] | select(.personal == \"personal-sealed\")'";

#[derive(clap::Args)]
#[command(after_help = ABOUT)]
pub struct Arguments {
    /// How to print it.
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// For people: fields that are handled alike stand together.
    Table,
    /// One object with every field as an item of `lines`.
    Json,
    /// One field a line.
    Csv,
}

/// One field, as it is printed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Row {
    /// The ledger, or the file by its path in the data directory.
    place: String,
    /// The fact with its version, or what the file is.
    record: String,
    /// The field; a JSON pointer if it is sealed beside the fact.
    field: String,
    /// What it holds.
    what: String,
    personal: &'static str,
    whose: &'static str,
    why: &'static str,
    how_long: &'static str,
    who_may_see: &'static str,
}

impl Row {
    fn new(place: &str, record: &str, line: Line) -> Self {
        let Handling { purpose, personal, subject, retention, audience } = line.handling;
        Self {
            place: place.to_owned(),
            record: record.to_owned(),
            field: line.path,
            what: line.what,
            personal: personal.word(),
            whose: subject.text(),
            why: purpose.text(),
            how_long: retention.text(),
            who_may_see: audience.text(),
        }
    }
}

/// What is printed as JSON.
#[derive(Serialize)]
struct Map<'a> {
    version: &'static str,
    lines: &'a [Row],
}

fn facts<'a>(place: &'a str, facts: &'a [Fact]) -> impl Iterator<Item = Row> + 'a {
    facts.iter().flat_map(move |fact| {
        let record = format!("{} {}", fact.name, fact.version);
        let sealed = lines(fact.sealed);
        let fields = lines(fact.fields).into_iter().chain(sealed);
        fields.map(move |line| Row::new(place, &record, line)).collect::<Vec<_>>()
    })
}

/// Every field that is kept: of each fact, of the envelope around them, of each file.
fn rows() -> Vec<Row> {
    let envelope = lines(ENVELOPE_FIELDS).into_iter().map(|line| Row::new("every ledger", "entry", line));
    let files = FILES.iter().flat_map(|file| {
        lines(file.fields).into_iter().map(|line| Row::new(file.path, file.what, line)).collect::<Vec<_>>()
    });
    envelope.chain(facts("program ledger", PROGRAM)).chain(facts("registry", REGISTRY)).chain(files).collect()
}

/// Longest line of the table.
const COLUMNS: usize = 110;

/// One block for what is handled alike in one place, in the order in which it is first met; then how much it is.
fn table(rows: &[Row]) -> String {
    let alike =
        |row: &Row| (row.place.clone(), row.personal, row.whose, row.why, row.how_long, row.who_may_see);
    let mut blocks: Vec<Vec<&Row>> = Vec::new();
    for row in rows {
        match blocks.iter_mut().find(|block| alike(block[0]) == alike(row)) {
            Some(block) => block.push(row),
            None => blocks.push(vec![row]),
        }
    }
    let mut text = String::new();
    for block in blocks {
        let first = block[0];
        let _ = writeln!(text, "{}: {}", first.place, first.personal);
        wrapped(&mut text, "why", first.why);
        wrapped(&mut text, "whose", first.whose);
        wrapped(&mut text, "how long", first.how_long);
        wrapped(&mut text, "who may see", first.who_may_see);
        let mut fields = String::new();
        let mut record = "";
        for row in block {
            if row.record == record {
                let _ = write!(fields, ", {}", row.field);
            } else {
                let gap = if fields.is_empty() { "" } else { "; " };
                let _ = write!(fields, "{gap}{}: {}", row.record, row.field);
                record = &row.record;
            }
        }
        wrapped(&mut text, "what", &fields);
        text.push('\n');
    }
    for personal in Personal::ALL {
        let count = rows.iter().filter(|row| row.personal == personal.word()).count();
        let _ = writeln!(text, "{count:5} {}: {}", personal.word(), personal.text());
    }
    let _ = writeln!(text, "{:5} fields", rows.len());
    text
}

/// Adds a line under a label, broken between words.
fn wrapped(text: &mut String, label: &str, words: &str) {
    const INDENT: usize = 15;
    let _ = write!(text, "  {label:<width$}", width = INDENT - 2);
    let mut at = INDENT;
    for (index, word) in words.split(' ').enumerate() {
        let length = word.chars().count();
        if index > 0 && at + 1 + length > COLUMNS {
            let _ = write!(text, "\n{:INDENT$}", "");
            at = INDENT;
        } else if index > 0 {
            text.push(' ');
            at += 1;
        }
        text.push_str(word);
        at += length;
    }
    text.push('\n');
}

pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    let text = match arguments.format {
        Format::Table => table(&rows()).into_bytes(),
        Format::Json => {
            let map = Map { version: env!("CARGO_PKG_VERSION"), lines: &rows() };
            let mut json = serde_json::to_vec_pretty(&map).map_err(Failure::new)?;
            json.push(b'\n');
            json
        }
        Format::Csv => {
            let mut csv = csv::Writer::from_writer(Vec::new());
            rows().iter().try_for_each(|row| csv.serialize(row)).map_err(Failure::new)?;
            csv.into_inner().map_err(Failure::new)?
        }
    };
    match std::io::stdout().write_all(&text) {
        // Whoever reads only the beginning has what they wanted.
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(Failure::new(error)),
        _ => Ok(()),
    }
}
