//! `mentorlog import-csv` with a table of participants: enrols who is not there, and brings who is there in line.
//! Never begins before every row was decided by the rules themselves, on a program of the same policy that nobody sees.
//!
//! | command | when | its key covers |
//! |---|---|---|
//! | import-participant | nobody is there under the label | the label and every cell that enters the ledger |
//! | correct-participant, change-arm, update-skills, set-capacity | the person is there and the table says otherwise | no key: what is as it should be changes nothing |
//! | set-personal | the table has personal data | the label and these cells |
//!
//! Keys are written into ledgers as keyed hashes: their formats here never change.

use std::collections::{BTreeMap, HashMap};
use std::io::Write as _;

use hyper::Method;
use mentorlog_events::id::{ParticipantId, Slug};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use tokio::runtime::Runtime;

use super::members::{self, Members};
use super::rehearsal::Rehearsal;
use super::{Answers, Arguments, LABEL_MAX, Table, Who, deliver, key, parts, program};
use crate::cli::Failure;
use crate::cli::client::{Connection, Server};
use crate::cli::progress::Progress;
use crate::http::tables::PARTICIPANTS;

/// Items of a batch.
const BATCH_ITEMS: usize = 1000;

/// Rows that are told of by name; of more only how many they are.
const TOLD: usize = 50;

const PARTICIPANT: &str = "participant";

/// What may be said of a person, and enters the ledger.
const OPEN: [&str; 6] = ["generation", "arm", "offered", "sought", "unit", "capacity"];

/// What may be said of a person, and is sealed.
const PERSONAL: [&str; 4] = ["name", "email", "hr_id", "birth_year"];

/// Whether a column is one that `participants.csv` has beside that: the service makes it of what happened.
fn is_derived(column: &str) -> bool {
    PARTICIPANTS.contains(&column) && column != PARTICIPANT && !OPEN.contains(&column)
}

/// Whether a header is that of a table of people.
pub(super) fn are_in(header: &[String]) -> bool {
    let has = |wanted: &str| header.iter().any(|name| name == wanted);
    has(PARTICIPANT) && !has("occurred_at")
}

// ---------------------------------------------------------------------------------------------- the table

/// A row that can be read.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Person {
    line: u64,
    /// As the table has it.
    name: String,
    /// What enters the ledger, as the fields of `import-participant`.
    open: Map<String, Value>,
    /// What is sealed, as the fields of `set-personal`.
    personal: Map<String, Value>,
}

/// A table that can be read, and what is wrong with it.
#[derive(Debug, Default)]
struct People {
    rows: Vec<Person>,
    /// By line, in order.
    wrong: Vec<(u64, String)>,
    /// Columns of personal data in which anything stands.
    personal: Vec<&'static str>,
}

/// Where the columns stand.
struct Columns {
    participant: usize,
    known: Vec<(usize, &'static str)>,
    count: usize,
    passed_over: Vec<String>,
}

impl Columns {
    fn find(header: &[String], ignored: &[String]) -> Result<Self, String> {
        let mut known = Vec::new();
        let mut passed_over = Vec::new();
        let mut participant = None;
        for (index, name) in header.iter().enumerate() {
            if header[..index].contains(name) {
                return Err(format!("the header has `{name}` twice: take one of the two out"));
            }
            let found = OPEN.iter().chain(&PERSONAL).find(|known| *known == name);
            if ignored.contains(name) || is_derived(name) {
                passed_over.push(name.clone());
            } else if name == PARTICIPANT {
                participant = Some(index);
            } else if let Some(found) = found {
                known.push((index, *found));
            } else {
                return Err(format!(
                    "`{name}` is none of the columns that can be taken over ({PARTICIPANT}, {}, {}): take it out, or \
                     say --ignore-column '{name}'",
                    OPEN.join(", "),
                    PERSONAL.join(", ")
                ));
            }
        }
        let missing = ignored.iter().find(|name| !header.contains(name));
        if let Some(name) = missing {
            return Err(format!("--ignore-column: there is no column `{name}`"));
        }
        let participant =
            participant.ok_or("`participant` is the one column that is needed, and it is ignored")?;
        Ok(Self { participant, known, count: header.len(), passed_over })
    }
}

/// Reads every row. What cannot be read is told with its line.
fn read(table: &Table, columns: &Columns) -> Result<People, Failure> {
    let mut read = People::default();
    let mut lines: HashMap<String, u64> = HashMap::new();
    table.each_record(|place, record| {
        let line = table.line(place);
        match person(line, record, columns) {
            Ok(person) => {
                if let Some(before) = lines.insert(person.name.clone(), line) {
                    let why =
                        format!("`{}` stands in line {before} already: keep one row of each", person.name);
                    read.wrong.push((line, why));
                }
                for column in PERSONAL {
                    if person.personal.contains_key(column) && !read.personal.contains(&column) {
                        read.personal.push(column);
                    }
                }
                read.rows.push(person);
            }
            Err(wrong) => read.wrong.extend(wrong.into_iter().map(|why| (line, why))),
        }
        Ok(())
    })?;
    Ok(read)
}

/// One row, or everything that is wrong with it.
fn person(line: u64, record: &csv::ByteRecord, columns: &Columns) -> Result<Person, Vec<String>> {
    if record.len() != columns.count {
        return Err(vec![format!("{} columns where the header has {}", record.len(), columns.count)]);
    }
    let cell = |index: usize| std::str::from_utf8(&record[index]).map(str::trim);
    let mut wrong = Vec::new();
    let name = match cell(columns.participant) {
        Ok("") => Err("participant is empty: say who it is, or take the row out".to_owned()),
        Ok(name) if name.len() > LABEL_MAX => {
            Err(format!("participant has {} bytes, at most {LABEL_MAX} are taken", name.len()))
        }
        Ok(name) => Ok(name.to_owned()),
        Err(_) => Err("participant is not UTF-8: save the table as UTF-8".to_owned()),
    };
    let name = name.unwrap_or_else(|why| {
        wrong.push(why);
        String::new()
    });
    let (mut open, mut personal) = (Map::new(), Map::new());
    for (index, column) in &columns.known {
        let Ok(text) = cell(*index) else {
            wrong.push(format!("{column} is not UTF-8: save the table as UTF-8"));
            continue;
        };
        if text.is_empty() {
            continue;
        }
        match value(column, text) {
            Ok(value) if PERSONAL.contains(column) => _ = personal.insert((*column).to_owned(), value),
            Ok(value) => _ = open.insert((*column).to_owned(), value),
            Err(why) => wrong.push(why),
        }
    }
    if wrong.is_empty() { Ok(Person { line, name, open, personal }) } else { Err(wrong) }
}

/// A cell in the form its field has; the rules look at what it says.
fn value(column: &str, text: &str) -> Result<Value, String> {
    let slug = |text: &str| {
        let slug: Result<Slug, _> = text.parse();
        // Whose it is stands in the table; what is personal is not repeated.
        slug.map(|slug| slug.as_str().to_owned()).map_err(|error| format!("{column} `{text}`: {error}"))
    };
    let whole = || {
        let number: Result<u32, _> = text.parse();
        number.map(Value::from).map_err(|_| format!("{column} is not a whole number from 0 on"))
    };
    match column {
        "offered" | "sought" => {
            let items = text.split(';').map(str::trim).filter(|item| !item.is_empty());
            items.map(|item| slug(item).map(Value::from)).collect::<Result<_, _>>().map(Value::Array)
        }
        "generation" | "unit" => slug(text).map(Value::from),
        "arm" if matches!(text, "program" | "comparison") => Ok(text.into()),
        "arm" => Err(format!("arm `{text}` is neither `program` nor `comparison`")),
        "capacity" | "birth_year" => whole(),
        _ => Ok(text.into()),
    }
}

// ------------------------------------------------------------------------------------------------ sending

/// What became of people.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Became {
    enrolled: u64,
    changed: u64,
    unchanged: u64,
    personal: u64,
    rejected: u64,
}

/// Imports a table of people: all of it, or nothing if anything in it is wrong.
pub(super) fn import(
    runtime: &Runtime,
    server: &Server,
    arguments: &Arguments,
    table: &Table,
    header: &[String],
) -> Result<String, Failure> {
    let unreadable =
        |error: &dyn std::fmt::Display| Failure::new(format_args!("{}: {error}", table.path.display()));
    let columns = Columns::find(header, &arguments.ignored()).map_err(|error| unreadable(&error))?;
    if !columns.passed_over.is_empty() {
        eprintln!("mentorlog: passed over: {}", columns.passed_over.join(", "));
    }
    let mut read = read(table, &columns)?;
    let mut sending = Sending {
        connection: Connection::new(server.clone()),
        program: arguments.program.to_string(),
        runtime,
        table,
    };
    let found = program::find(runtime, &mut sending.connection, arguments)?;
    if found.as_ref().is_some_and(|found| found.state != "open") {
        return Err(unreadable(&format_args!(
            "the program `{}` is closed: nobody can be enrolled in it any more; nothing was imported",
            arguments.program
        )));
    }
    let listed = program::listed(runtime, &mut sending.connection, arguments, found.as_ref())?;
    let mut rehearsal = Rehearsal::new(found.as_ref(), listed);
    for person in &read.rows {
        read.wrong.extend(against(&mut rehearsal, person).into_iter().map(|why| (person.line, why)));
    }
    if !read.wrong.is_empty() {
        return Err(refused(table, read.wrong));
    }
    if found.is_none() && !read.rows.is_empty() {
        program::open(runtime, &mut sending.connection, arguments)?;
    }
    if !read.personal.is_empty() && !sending.seals()? {
        let columns = read.personal.iter().map(|column| format!("`{column}`")).collect::<Vec<_>>();
        return Err(unreadable(&format_args!(
            "{} would be personal data, and the service has no key to seal it with: take the column out (or \
             --ignore-column), or make a key (`mentorlog keyring init --out FILE`) and start the server with \
             `--personal-key-file FILE`; nothing was imported",
            columns.join(", ")
        )));
    }
    let became = sending.send(&read.rows)?;
    let lines = [
        ("rows", read.rows.len() as u64),
        ("enrolled", became.enrolled),
        ("changed", became.changed),
        ("already there", became.unchanged),
        ("rejected", became.rejected),
        ("personal data", became.personal),
    ];
    let mut summary = String::new();
    for (name, number) in lines {
        use std::fmt::Write as _;
        let _ = writeln!(summary, "{name:<13} {number:>9}");
    }
    if became.rejected > 0 {
        let _ = std::io::stdout().write_all(summary.as_bytes());
        return Err(Failure::coded(
            3,
            format_args!(
                "{} rows were rejected, see above: correct them and run again, the others are in",
                became.rejected
            ),
        ));
    }
    Ok(summary)
}

/// What the rules have against a person.
fn against(rehearsal: &mut Rehearsal, person: &Person) -> Vec<String> {
    let id = rehearsal.id();
    let with = |fields: &Map<String, Value>| {
        let mut body = fields.clone();
        body.insert(PARTICIPANT.to_owned(), json!(id));
        Value::Object(body)
    };
    let enrolled = rehearsal.tell("import-participant", &with(&person.open));
    if let Err(why) = enrolled {
        return vec![why];
    }
    if person.personal.is_empty() {
        return Vec::new();
    }
    rehearsal.tell("set-personal", &with(&person.personal)).err().into_iter().collect()
}

/// Says of each line what is wrong with it.
fn refused(table: &Table, mut wrong: Vec<(u64, String)>) -> Failure {
    wrong.sort_by_key(|(line, _)| *line);
    for (line, why) in wrong.iter().take(TOLD) {
        eprintln!("{}:{line}: {why}", table.path.display());
    }
    let more = wrong.len().saturating_sub(TOLD);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    Failure::coded(
        3,
        format_args!(
            "nothing was imported: {} things are wrong, see above{more}; correct them and run again",
            wrong.len()
        ),
    )
}

/// A person and who they are in the program.
struct Known<'a> {
    person: &'a Person,
    id: ParticipantId,
    /// They were enrolled by this row just now.
    new: bool,
}

/// What the list of participants says of somebody, as far as a table can say it.
#[derive(Deserialize)]
struct Seen {
    participant: ParticipantId,
    #[serde(flatten)]
    fields: Map<String, Value>,
}

struct Sending<'a> {
    connection: Connection,
    program: String,
    runtime: &'a Runtime,
    table: &'a Table,
}

impl Sending<'_> {
    /// Whether personal data can be sealed: asked of somebody who does not exist, so that nothing comes of it.
    fn seals(&mut self) -> Result<bool, Failure> {
        let nobody = uuid::Builder::from_random_bytes(random()?).into_uuid();
        let body =
            serde_json::to_vec(&json!({ "participant": nobody, "name": "nobody" })).map_err(Failure::new)?;
        let path = format!("/v1/programs/{}/commands/set-personal", self.program);
        let asked =
            self.runtime.block_on(self.connection.send(Method::POST, &path, "application/json", body.into()));
        match asked {
            Err(error) if error.code() == Some("sealing-unavailable") => Ok(false),
            Err(error) if error.code() == Some("participant-not-found") => Ok(true),
            Err(error) => Err(Failure::new(error)),
            Ok(_) => Err(Failure::new("a participant who does not exist was given a name: is it mentorlog?")),
        }
    }

    fn send(&mut self, people: &[Person]) -> Result<Became, Failure> {
        let mut became = Became::default();
        let progress = Progress::new("enrolling", people.len() as u64);
        let mut known = self.enrol(people, &progress, &mut became)?;
        progress.finish();
        if known.iter().any(|known| !known.new) {
            self.bring_in_line(&known, &mut became)?;
        }
        known.retain(|known| !known.person.personal.is_empty());
        self.seal(&known, &mut became)?;
        Ok(became)
    }

    /// Enrols whoever is not there, and finds out who everybody is.
    fn enrol<'p>(
        &mut self,
        people: &'p [Person],
        progress: &Progress,
        became: &mut Became,
    ) -> Result<Vec<Known<'p>>, Failure> {
        let mut known = Vec::with_capacity(people.len());
        let mut labelled = Vec::new();
        let mut names = people.iter().map(|person| person.name.as_str());
        let members = Members::find(self.runtime, &mut self.connection, &self.program, &mut names)?;
        for person in people {
            match members.who(&person.name) {
                Who::Member(id) => known.push(Known { person, id, new: false }),
                Who::Label(_) => labelled.push(person),
            }
        }
        for people in labelled.chunks(BATCH_ITEMS) {
            let items = people.iter().map(|person| {
                let key = key("person", content("person", &person.name, &person.open));
                let who = format!("label:{}", person.name).into();
                Item::new("import-participant", Some(key), who, &person.open)
            });
            let answers = self.batch(items)?;
            for (person, answer) in people.iter().zip(answers.results) {
                let (id, new) = match (answer.status, answer.code.as_str()) {
                    (201, _) => {
                        (answer.location.rsplit('/').next().and_then(|id| id.parse().ok()), !answer.replayed)
                    }
                    (_, "participant-exists") => (answer.existing.parse().ok(), false),
                    (500.., _) => return Err(cannot_write(&answer.detail, &answer.code)),
                    _ => {
                        self.reject(person, &answer.detail, &answer.code, became);
                        continue;
                    }
                };
                let id =
                    id.ok_or_else(|| Failure::new("the answer names no participant: is it mentorlog?"))?;
                became.enrolled += u64::from(new);
                known.push(Known { person, id, new });
            }
            progress.add(people.len() as u64);
        }
        Ok(known)
    }

    /// Sends what differs of those who were there before.
    fn bring_in_line(&mut self, known: &[Known<'_>], became: &mut Became) -> Result<(), Failure> {
        let old: HashMap<ParticipantId, &Person> =
            known.iter().filter(|known| !known.new).map(|known| (known.id, known.person)).collect();
        let mut items: Vec<(&Person, Item)> = Vec::new();
        let list = format!("/v1/programs/{}/participants", self.program);
        members::each(self.runtime, &mut self.connection, &list, |seen: Seen| {
            let Some(person) = old.get(&seen.participant) else { return };
            let said = differences(seen.participant, &person.open, &seen.fields);
            items.extend(said.into_iter().map(|item| (*person, item)));
        })?;
        let mut refused: Vec<u64> = Vec::new();
        let mut changed: Vec<u64> = Vec::new();
        for items in items.chunks(BATCH_ITEMS) {
            let answers = self.batch(items.iter().map(|(_, item)| item.clone()))?;
            for ((person, _), answer) in items.iter().zip(answers.results) {
                match (answer.status, answer.code.as_str()) {
                    (201, _) => changed.push(person.line),
                    // Somebody else, or a batch that was sent twice, has done it.
                    (_, "nothing-changes") => {}
                    (500.., _) => return Err(cannot_write(&answer.detail, &answer.code)),
                    _ => {
                        if !refused.contains(&person.line) {
                            refused.push(person.line);
                            became.rejected += 1;
                        }
                        self.say(person, &answer.detail, &answer.code);
                    }
                }
            }
        }
        changed.sort_unstable();
        changed.dedup();
        changed.retain(|line| !refused.contains(line));
        became.changed = changed.len() as u64;
        became.unchanged = old.len() as u64 - became.changed - refused.len() as u64;
        Ok(())
    }

    /// Sends what is to be sealed.
    fn seal(&mut self, known: &[Known<'_>], became: &mut Became) -> Result<(), Failure> {
        for known in known.chunks(BATCH_ITEMS) {
            let items = known.iter().map(|known| {
                let person = known.person;
                let key = key("personal", content("personal", &person.name, &person.personal));
                Item::new("set-personal", Some(key), json!(known.id), &person.personal)
            });
            let answers = self.batch(items)?;
            for (known, answer) in known.iter().zip(answers.results) {
                match answer.status {
                    201 => became.personal += u64::from(!answer.replayed),
                    500.. => return Err(cannot_write(&answer.detail, &answer.code)),
                    _ => self.reject(known.person, &answer.detail, &answer.code, became),
                }
            }
        }
        Ok(())
    }

    fn batch(&mut self, items: impl Iterator<Item = Item>) -> Result<Answers, Failure> {
        let mut body = Vec::new();
        let mut count = 0;
        for item in items {
            serde_json::to_writer(&mut body, &item).map_err(Failure::new)?;
            body.push(b'\n');
            count += 1;
        }
        let path = format!("/v1/programs/{}/commands", self.program);
        let answers = self.runtime.block_on(deliver(&mut self.connection, &path, body.into()));
        let answers = answers.map_err(|error| {
            Failure::new(format_args!("{error}; run the import again: what is in is not imported twice"))
        })?;
        let answers: Answers = serde_json::from_slice(&answers).map_err(Failure::new)?;
        if answers.results.len() != count {
            let got = answers.results.len();
            return Err(Failure::new(format_args!(
                "{count} items were sent, {got} answers came: is it mentorlog?"
            )));
        }
        Ok(answers)
    }

    fn reject(&self, person: &Person, detail: &str, code: &str, became: &mut Became) {
        became.rejected += 1;
        self.say(person, detail, code);
    }

    fn say(&self, person: &Person, detail: &str, code: &str) {
        eprintln!("{}:{}: {detail} ({code})", self.table.path.display(), person.line);
    }
}

fn cannot_write(detail: &str, code: &str) -> Failure {
    Failure::new(format_args!(
        "the service cannot write: {detail} ({code}); once it can, run the import again: what is in is not imported \
         twice"
    ))
}

fn random() -> Result<[u8; 16], Failure> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(Failure::new)?;
    Ok(bytes)
}

/// One item of a batch.
#[derive(Debug, Clone, Serialize)]
struct Item {
    command: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    /// In the order of their names, whatever order a map of JSON has.
    data: BTreeMap<String, Value>,
}

impl Item {
    fn new(command: &'static str, key: Option<String>, who: Value, cells: &Map<String, Value>) -> Self {
        let cells = cells.iter().map(|(name, value)| (name.clone(), value.clone()));
        Self { command, key, data: cells.chain([(PARTICIPANT.to_owned(), who)]).collect() }
    }
}

/// A hash over a person's cells, in the order of their names.
fn content(kind: &str, name: &str, cells: &Map<String, Value>) -> sha2::Sha256 {
    let mut texts = vec![name.to_owned()];
    let cells: BTreeMap<&String, &Value> = cells.iter().collect();
    texts.extend(cells.into_iter().flat_map(|(name, value)| [name.clone(), value.to_string()]));
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    parts(kind, &texts)
}

/// What has to be said so that a person is as the table has them. An empty cell says nothing.
fn differences(id: ParticipantId, wanted: &Map<String, Value>, seen: &Map<String, Value>) -> Vec<Item> {
    let set = |value: &Value| {
        let mut items: Vec<String> = value.as_array().into_iter().flatten().map(Value::to_string).collect();
        items.sort_unstable();
        items
    };
    let differs = |field: &str, wanted: &Value| match seen.get(field) {
        // Skills have no order.
        Some(seen) if seen.is_array() => set(seen) != set(wanted),
        Some(seen) => seen != wanted,
        None => true,
    };
    let commands: [(&str, &[&str]); 4] = [
        ("correct-participant", &["generation", "unit"]),
        ("change-arm", &["arm"]),
        ("update-skills", &["offered", "sought"]),
        ("set-capacity", &["capacity"]),
    ];
    let mut items = Vec::new();
    for (command, fields) in commands {
        let changed =
            wanted.iter().filter(|(field, value)| fields.contains(&field.as_str()) && differs(field, value));
        let data: Map<String, Value> = changed.map(|(field, value)| (field.clone(), value.clone())).collect();
        if !data.is_empty() {
            items.push(Item::new(command, None, json!(id), &data));
        }
    }
    items
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn read_text(text: &str) -> Result<People, String> {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        let table = Table::of(file.path(), text.len() as u64).map_err(|failure| failure.text)?;
        let columns = Columns::find(&table.header().map_err(|failure| failure.text)?, &[])?;
        let mut people = read(&table, &columns).map_err(|failure| failure.text)?;
        let mut rehearsal = Rehearsal::new(None, Vec::new());
        for person in &people.rows {
            people.wrong.extend(against(&mut rehearsal, person).into_iter().map(|why| (person.line, why)));
        }
        Ok(people)
    }

    #[test]
    fn everything_that_is_wrong_is_told_with_its_line_before_anything_is_sent() {
        let long = "x".repeat(257);
        let people = read_text(&format!(
            "participant,generation,arm,offered,sought,unit,capacity,name,email,birth_year\n\
             ada,boomer,program,rust;music,video,north,2,Ada,ada@example.org,1950\n\
             bob,,,,,,,,,\n\
             ,gen-x,,,,,,,,\n\
             {long},gen-x,,,,,,,,\n\
             ada,gen-x,,,,,,,,\n\
             cyd,Gen X,other,Not A Slug,,,-1,,,\n\
             dee,lost,,,,,,,,\n\
             eve,,,rust;rust,,,,,,\n\
             fay,,,,,,70000,,,\n\
             gil,,,,,,,,not an address,\n\
             hal,,,,,,,,,1850\n\
             ivy,,,,,,,\"a\tb\",,\n\
             jo\n"
        ));
        let people = people.unwrap();
        assert_eq!(people.rows.len(), 9);
        assert_eq!(people.personal, ["name", "email", "birth_year"]);
        let told: Vec<String> = people.wrong.iter().map(|(line, why)| format!("{line}: {why}")).collect();
        insta::assert_snapshot!(told.join("\n"));
    }

    #[test]
    fn a_column_that_cannot_be_taken_over_is_named_and_the_services_own_are_passed_over() {
        let find = |header: &[&str], ignored: &[&str]| {
            let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
            Columns::find(&owned(header), &owned(ignored)).map(|columns| columns.passed_over)
        };
        assert!(find(&["participant", "consent"], &[]).unwrap_err().contains("`consent`"));
        assert_eq!(find(&["participant", "consent"], &["consent"]).unwrap(), ["consent"]);
        assert!(find(&["participant"], &["consent"]).unwrap_err().contains("no column `consent`"));
        assert!(find(&["participant", "arm", "arm"], &[]).unwrap_err().contains("twice"));
        assert_eq!(OPEN.iter().find(|open| !PARTICIPANTS.contains(open)), None, "what can be taken is given");
        let passed_over = find(&PARTICIPANTS, &[]).expect("what was exported can be taken back");
        assert_eq!(passed_over.len() + OPEN.len() + 1, PARTICIPANTS.len());
        assert!(passed_over.contains(&"state".to_owned()) && !passed_over.contains(&"arm".to_owned()));
    }

    #[test]
    fn only_what_differs_is_said_and_an_empty_cell_says_nothing() {
        let id = ParticipantId(Uuid::from_u128(1));
        let object = |value: Value| value.as_object().unwrap().clone();
        let seen = object(json!({
            "generation": "unknown", "arm": "program", "offered": ["a", "b"], "sought": [], "capacity": 2,
        }));
        let said = |wanted: Value| {
            let items = differences(id, &object(wanted), &seen);
            items.iter().map(|item| serde_json::to_string(item).unwrap()).collect::<Vec<_>>()
        };
        assert!(said(json!({})).is_empty());
        assert!(said(json!({ "offered": ["b", "a"], "capacity": 2, "generation": "unknown" })).is_empty());
        insta::assert_snapshot!(
            said(json!({
                "generation": "gen-x", "unit": "north", "arm": "comparison", "offered": ["a"], "capacity": 3,
            }))
            .join("\n")
        );
    }

    /// The service keeps hashes of these for ever: other keys or bodies would tell everything once more, or be refused.
    #[test]
    fn keys_and_bodies_are_what_they_always_were() {
        let object = |value: Value| value.as_object().unwrap().clone();
        let open = object(json!({ "sought": [], "arm": "program", "offered": ["a"] }));
        let personal = object(json!({ "name": "Ada" }));
        let keys = [("person", &open), ("personal", &personal)].map(|(kind, cells)| {
            Item::new("x", Some(key(kind, content(kind, "ada", cells))), "label:ada".into(), cells)
        });
        insta::assert_snapshot!(keys.map(|item| serde_json::to_string(&item).unwrap()).join("\n"));
    }
}
