//! Reports: made from the log alone, signed with the ledger's key, kept as files, and recorded in the registry.
//! Never signs figures of a week that is not over, and never shows a report the registry does not record.
//!
//! Publishing spans the registry and a file: `report-publishing` is durable, then the file is, then
//! `report-published` is. What a stop cut short, the next start finishes: the id of a report says what it is of, so
//! the intent alone is enough to make it again, to the byte. The same week is never published twice.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, PoisonError, RwLock};

use mentorlog_events::entry::{Entry, Envelope};
use mentorlog_events::event::Event;
use mentorlog_events::event::registry::{RegistryEvent, ReportPublished, ReportPublishing};
use mentorlog_events::id::{B64, LedgerId, ProgramId, ReportId};
use mentorlog_events::record::Hash;
use mentorlog_events::time::{Day, Timestamp};
use mentorlog_projections::outsiders::Week;
use mentorlog_projections::read_models::ReadModels;
use mentorlog_projections::report::{self, Decimal, Ground, Report, Stated};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};

use super::keybook::LedgerKeys;
use super::published::{Program, Published};
use super::receipt::Refusal;
use super::replay::{ReplayError, Replayed, replay};
use super::{Caller, Message, Writer};
use crate::keys::Keys;
use crate::ledger::note::{Note, Signer, VerifierKey};
pub use crate::ledger::reports::Digest;
use crate::ledger::reports::Shelf;
use crate::ledger::{Log, ReadError};

/// The id of the report of a week: a UUID of our own making (RFC 9562 section 5.8) out of the first 16 bytes of
/// SHA-256 of `mentorlog/report/v1\n<origin>\n<week>\n`. Whoever knows what a report is of knows its id.
pub fn id(origin: &str, week: Week) -> ReportId {
    let hash = Sha256::digest(format!("{}\n{origin}\n{week}\n", report::FIRST_LINE));
    let mut first = [0; 16];
    first.copy_from_slice(&hash[..16]);
    ReportId(uuid::Builder::from_custom_bytes(first).into_uuid())
}

/// What the registry says of a report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Origin of the ledger it is about.
    pub origin: String,
    /// Entries of the ledger it rests on.
    pub size: u64,
    /// Its digest, and when it was published; `None` while it is being so.
    pub published: Option<(Digest, Timestamp)>,
}

/// Which reports there are: what the registry's entries say, and no more.
#[derive(Debug, Clone, Default)]
pub struct Recorded(BTreeMap<ReportId, Row>);

impl Recorded {
    /// Takes an entry of the registry into account. References were checked before.
    pub fn apply(&mut self, entry: &Entry<RegistryEvent>) {
        match &entry.event {
            RegistryEvent::ReportPublishing(e) => {
                self.0.insert(e.report, Row { origin: e.origin.clone(), size: e.size, published: None });
            }
            RegistryEvent::ReportPublished(e) => {
                if let Some(row) = self.0.get_mut(&e.report) {
                    row.published = Some((e.digest.into(), entry.recorded_at));
                }
            }
            RegistryEvent::RegistryOpened(_)
            | RegistryEvent::ProgramOpening(_)
            | RegistryEvent::LedgerOpened(_)
            | RegistryEvent::OpeningAbandoned(_)
            | RegistryEvent::LedgerHead(_)
            | RegistryEvent::KeyRotated(_)
            | RegistryEvent::TokenIssued(_)
            | RegistryEvent::TokenRevoked(_)
            | RegistryEvent::PeopleJoined(_)
            | RegistryEvent::PeopleParted(_)
            | RegistryEvent::PersonalRead(_)
            | RegistryEvent::ErasureRequested(_)
            | RegistryEvent::ErasureCompleted(_) => {}
        }
    }

    /// What is recorded of a report.
    pub fn row(&self, report: ReportId) -> Option<&Row> {
        self.0.get(&report)
    }

    /// The published reports about a ledger, the oldest first: id, size, digest, and when it was published.
    pub fn of(&self, origin: &str) -> Vec<(ReportId, u64, Digest, Timestamp)> {
        let mine = self.0.iter().filter(|(_, row)| row.origin == origin);
        let published = mine.filter_map(|(id, row)| {
            let (digest, at) = row.published?;
            Some((*id, row.size, digest, at))
        });
        let mut reports: Vec<_> = published.collect();
        reports.sort_by_key(|(id, size, _, at)| (*size, *at, *id));
        reports
    }

    fn is_published(&self, digest: Digest) -> bool {
        self.0.values().any(|row| row.published.is_some_and(|(known, _)| known == digest))
    }
}

/// The reports of an installation: those recorded, their files, and the keys that sign them.
pub struct Reports {
    shelf: Option<Shelf>,
    keys: Arc<Keys>,
    recorded: RwLock<Recorded>,
}

impl Reports {
    pub(super) fn new(shelf: Option<Shelf>, keys: Arc<Keys>, recorded: Recorded) -> Self {
        Self { shelf, keys, recorded: RwLock::new(recorded) }
    }

    /// What is recorded and durable.
    pub fn recorded(&self) -> Recorded {
        self.recorded.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn apply(&self, entry: &Entry<RegistryEvent>) {
        self.recorded.write().unwrap_or_else(PoisonError::into_inner).apply(entry);
    }

    /// The note of a published report, to the byte. `None` if the registry does not record it. Reads a file.
    pub fn note(&self, digest: Digest) -> Result<Option<Vec<u8>>, ReportRefusal> {
        if !self.recorded.read().unwrap_or_else(PoisonError::into_inner).is_published(digest) {
            return Ok(None);
        }
        let files = self.shelf.as_ref().ok_or(ReportRefusal::Off)?;
        let note = files.note(digest).map_err(|error| ReportRefusal::Unreadable(error.to_string()))?;
        note.map(Some).ok_or(ReportRefusal::Lost(digest))
    }

    fn sign(&self, keys: &LedgerKeys, text: &str) -> Note {
        let newest = keys.keys.last().expect("a ledger has a key");
        let signer = Signer::new(keys.origin.clone(), &self.keys.seed(keys.origin.as_str(), newest.number));
        Note::signed(text.to_owned(), vec![signer.sign(text, 0)]).expect("a report's text is a note's")
    }
}

/// A report is published.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Publication {
    /// The report.
    pub report: ReportId,
    /// Under which it is found.
    pub digest: Digest,
    /// Whether it was published now; otherwise it had been before, and nothing was appended.
    pub is_new: bool,
}

/// Why there is no such report. Unless it says otherwise nothing was published.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReportRefusal {
    /// Its week is not over.
    #[error("{week} is not over: the last week that is is {last}")]
    NotOver {
        /// The week asked for.
        week: Week,
        /// The last that is over.
        last: Week,
    },
    /// There was nothing yet.
    #[error("{0} was over before the program was opened")]
    BeforeOpening(Week),
    /// This service has no directory to publish into.
    #[error("this service keeps nothing on a disk, so it publishes nothing")]
    Off,
    /// It was published, and its file is gone; this version of the software would make another one of it.
    #[error(
        "the report {0} was published and its file is not there or damaged: restore `reports/{0}` from a backup or \
         from somebody who has it; its digest says whether it is right"
    )]
    Lost(Digest),
    /// It could not be made or written. It may be under way: the next start, or asking again, finishes it.
    #[error("the report could not be made: {0}")]
    Unreadable(String),
    /// As any command.
    #[error(transparent)]
    Refused(#[from] Refusal),
}

/// Why entries make no report.
#[derive(Debug, thiserror::Error)]
pub enum Unmade {
    /// There was nothing yet at the close of the week.
    #[error("{0} was over before the program was opened")]
    BeforeOpening(Week),
    /// The entries are not those recorded by the close of the week.
    #[error("{size} entries are not those that were recorded by the close of {week}")]
    NotTheClose {
        /// How many entries.
        size: u64,
        /// The week.
        week: Week,
    },
    /// The entries cannot be read.
    #[error(transparent)]
    Replay(#[from] ReplayError),
    /// The entries cannot be read.
    #[error(transparent)]
    Log(#[from] ReadError),
}

/// Makes reports of one program out of its entries. Those asked for in the order of their sizes cost one pass together.
pub struct Maker<'a> {
    log: &'a dyn Log,
    program: ProgramId,
    models: ReadModels,
    size: u64,
}

impl<'a> Maker<'a> {
    /// Nothing was read yet.
    pub fn new(log: &'a dyn Log, program: ProgramId) -> Self {
        Self { log, program, models: ReadModels::new(), size: 0 }
    }

    /// Makes the report of a week out of the first `ground.size` entries of the ledger, which are all that were
    /// recorded by the close of the week. Reads them, and the one after.
    pub fn make(&mut self, ground: &Ground, week: Week) -> Result<Report, Unmade> {
        let ledger = LedgerId::from(self.program);
        let not_the_close = Unmade::NotTheClose { size: ground.size, week };
        let next = self.log.read(ledger, ground.size, 1)?;
        if next.first().is_some_and(|next| day_of(next.bytes()) <= Some(week.last_day())) {
            return Err(not_the_close);
        }
        if ground.size < self.size {
            *self = Self::new(self.log, self.program);
        }
        let (models, size) = (&mut self.models, &mut self.size);
        replay::<Event>(self.log, ledger, *size..ground.size, false, |Replayed { entry, .. }| {
            models.apply(entry);
            *size = entry.seq + 1;
            Ok(())
        })?;
        let close = self.models.week_close(week).ok_or(Unmade::BeforeOpening(week))?;
        if close.size != ground.size {
            return Err(not_the_close);
        }
        Ok(report::report(ground, &close, &self.models))
    }
}

fn day_of(entry: &[u8]) -> Option<Day> {
    Some(Envelope::parse(entry).ok()?.day)
}

/// The readable rendering: one JSON document with the digest, the signed body, the decimals by name, and the note
/// itself to the byte. Only the note is signed.
pub fn rendering(note: &Note, decimals: &[Decimal]) -> Vec<u8> {
    #[derive(Serialize)]
    struct Rendering<'a> {
        digest: String,
        body: &'a RawValue,
        decimals: Map<String, Value>,
        note: String,
    }
    let body = report::body(note.text()).expect("it was made as a report");
    let rendering = Rendering {
        digest: Digest::of(note.text()).to_string(),
        body: serde_json::from_str(body).expect("it was made as JSON"),
        decimals: decimals.iter().map(|decimal| (decimal.name.clone(), decimal.value.into())).collect(),
        note: note.to_string(),
    };
    serde_json::to_vec(&rendering).expect("a rendering is plain data")
}

/// A step of publishing, for the thread that decides.
#[derive(Debug, Clone)]
pub(super) enum Step {
    /// The intent.
    Begin(ReportPublishing),
    /// The completion.
    Complete(ReportPublished),
}

/// The answer to a step, once it is durable: the digest, if the report was published before the step.
pub(super) type StepAnswer = Result<Option<B64<32>>, Refusal>;

impl Writer {
    /// Publishes the report of a week, of the last one that is over if none is named. Asked for again it is the same.
    ///
    /// Once begun it goes on only as long as the future is polled; what is left is finished by asking again or by the
    /// next start.
    pub async fn publish_report(
        &self,
        program: Arc<Program>,
        week: Option<Week>,
        caller: Caller,
    ) -> Result<Publication, ReportRefusal> {
        let published = self.published().clone();
        let now = published.clock.to_record().map_err(Refusal::from)?;
        let last = program.closed_week(now).ok_or(Refusal::NoSuchProgram)?;
        let week = week.unwrap_or(last);
        if week > last {
            return Err(ReportRefusal::NotOver { week, last });
        }
        // Answered when everything decided before is durable and read; what is decided after is recorded after `now`,
        // when the week was over. So the entries of the week are all there.
        self.submit_batch(program.id, Vec::new(), false).await?;
        let size = program.view().models.week_close(week).map(|close| close.size);
        let size = size.ok_or(ReportRefusal::BeforeOpening(week))?;
        let keys = published.keybook().of(program.id.into()).cloned().ok_or(Refusal::NoSuchProgram)?;
        let report = id(keys.origin.as_str(), week);
        let row = published.reports.recorded().row(report).cloned();
        if let Some((digest, _)) = row.and_then(|row| row.published) {
            let known = published.clone();
            let found = blocking(move || known.reports.note(digest)).await;
            if matches!(found, Ok(Some(_))) {
                return Ok(Publication { report, digest, is_new: false });
            }
        }
        let origin = keys.origin.to_string();
        let (making, of) = (published.clone(), program.clone());
        let made = blocking(move || signed(&making, &of, &keys, week, size)).await?;
        let begin = Step::Begin(ReportPublishing { report, origin, size });
        let before = self.report_step(begin, caller.clone()).await?;
        let digest = Digest::of(made.text());
        if let Some(other) = before.map(Digest::from).filter(|other| *other != digest) {
            return Err(ReportRefusal::Lost(other));
        }
        let keeping = published.clone();
        blocking(move || keeping.reports.put(&made)).await?;
        let complete = Step::Complete(ReportPublished { report, digest: B64(digest.0) });
        self.report_step(complete, caller).await?;
        Ok(Publication { report, digest, is_new: before.is_none() })
    }

    async fn report_step(&self, step: Step, caller: Caller) -> StepAnswer {
        let (answer, answered) = tokio::sync::oneshot::channel();
        self.send(Message::Report(step, caller, answer))?;
        answered.await.unwrap_or_else(|_| Err(self.published().unanswered()))
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ReportRefusal> + Send + 'static,
) -> Result<T, ReportRefusal> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|_| Err(ReportRefusal::Unreadable("making it panicked".to_owned())))
}

impl Reports {
    /// Whether reports can be published here.
    pub fn is_on(&self) -> bool {
        self.shelf.is_some()
    }

    /// Writes a report to its file.
    fn put(&self, note: &Note) -> Result<Digest, ReportRefusal> {
        let files = self.shelf.as_ref().ok_or(ReportRefusal::Off)?;
        files.put(note).map_err(|error| ReportRefusal::Unreadable(error.to_string()))
    }
}

/// Makes and signs the report of a week. Blocks.
fn signed(
    published: &Published,
    program: &Program,
    keys: &LedgerKeys,
    week: Week,
    size: u64,
) -> Result<Note, ReportRefusal> {
    if !published.reports.is_on() {
        return Err(ReportRefusal::Off);
    }
    let unreadable = |error: &dyn std::fmt::Display| ReportRefusal::Unreadable(error.to_string());
    let root: Option<Hash> = program.root_at(&*published.log, size).map_err(|error| unreadable(&error))?;
    let root = root.ok_or_else(|| unreadable(&"the ledger is shorter than it was"))?;
    let origin = keys.origin.to_string();
    let ground = Ground { report: id(&origin, week), program: program.id, origin, size, root };
    let report =
        Maker::new(&*published.log, program.id).make(&ground, week).map_err(|error| match error {
            Unmade::BeforeOpening(week) => ReportRefusal::BeforeOpening(week),
            Unmade::NotTheClose { .. } | Unmade::Replay(_) | Unmade::Log(_) => unreadable(&error),
        })?;
    Ok(published.reports.sign(keys, &report.text))
}

/// Finishes the making of a report of which only the intent is recorded. The error says why it is left as it is.
pub(super) fn resume(
    published: &Published,
    report: ReportId,
    origin: &str,
    size: u64,
) -> Result<Digest, String> {
    let keybook = published.keybook();
    let of = keybook.ledgers().find(|(_, keys)| keys.origin.as_str() == origin);
    let (ledger, keys) = of.ok_or("the ledger it is about is not known")?;
    let program = published.program(&ProgramId(ledger.0).to_string()).ok_or("its program is not known")?;
    let mut weeks = closing_at(&*published.log, ledger, size, published.clock.now())
        .map_err(|error| error.to_string())?;
    let week = weeks.find(|week| id(origin, *week) == report);
    let week = week.ok_or("it is of no week that this version of the software knows")?;
    let made = signed(published, &program, keys, week, size).map_err(|error| error.to_string())?;
    published.reports.put(&made).map_err(|error| error.to_string())
}

/// The weeks at whose close a ledger had `size` entries.
fn closing_at(
    log: &dyn Log,
    ledger: LedgerId,
    size: u64,
    now: Timestamp,
) -> Result<impl Iterator<Item = Week>, ReadError> {
    let records = log.read(ledger, size.saturating_sub(1), 2)?;
    let mut days = records.iter().map(|record| day_of(record.bytes()));
    let first = days.next().flatten().filter(|_| size > 0).map(Week::of);
    // No week is over that ends later than anybody's today.
    let end =
        days.next().flatten().unwrap_or_else(|| mentorlog_events::time::Zone::UTC.day(now.plus_days(1)));
    let weeks = std::iter::successors(first, |week| Some(week.next()));
    Ok(weeks.take_while(move |week| week.last_day() < end))
}

// ------------------------------------------------------------------------------------------------- checking

/// What a report is held against.
pub struct Against<'a> {
    /// The program.
    pub program: ProgramId,
    /// Its ledger's origin.
    pub origin: &'a str,
    /// The root the ledger had at a size; `None` beyond its end.
    pub root_at: &'a dyn Fn(u64) -> Option<Hash>,
    /// Every key that has ever signed for the ledger.
    pub keys: &'a [VerifierKey],
    /// What the registry records; `None` where there is none to be believed.
    pub recorded: Option<&'a Recorded>,
}

/// What came of one step of checking.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Checked {
    /// It holds.
    Ok(String),
    /// It does not: the report is not to be believed.
    Wrong(String),
    /// It could not be looked at.
    NotChecked(String),
}

/// Most differences that are named.
const DIFFERENCES_MAX: usize = 5;

/// The note of a report that is given as its note or as its rendering. Nothing was checked.
pub fn note_in(bytes: &[u8]) -> Option<Note> {
    let rendered = || serde_json::from_slice::<Rendered>(bytes).ok();
    Note::parse(bytes).ok().or_else(|| Note::parse(rendered()?.note.as_bytes()).ok())
}

/// A rendering as somebody has it.
#[derive(Deserialize)]
struct Rendered {
    digest: String,
    body: Value,
    decimals: BTreeMap<String, Option<f64>>,
    note: String,
}

/// Checks a report, given as its note or as its rendering, against the history: who signed it, whether it is about
/// this ledger, whether its body is made again to the byte, whether its decimals agree, whether the registry records
/// it. Every step by its name, in order; what follows a step that leaves nothing to look at is not taken.
///
/// `maker` reads the entries, which must have been verified against a signed root.
pub fn check(bytes: &[u8], against: &Against<'_>, maker: &mut Maker<'_>) -> Vec<(&'static str, Checked)> {
    let mut steps = Vec::new();
    let wrong = |error: &dyn std::fmt::Display| Checked::Wrong(error.to_string());
    let rendered: Option<Rendered> = match bytes.first() {
        Some(b'{') => match serde_json::from_slice(bytes) {
            Ok(rendered) => Some(rendered),
            Err(error) => return vec![("report", wrong(&format_args!("it cannot be read: {error}")))],
        },
        _ => None,
    };
    let note = rendered.as_ref().map_or(bytes, |rendered| rendered.note.as_bytes());
    let note = match Note::parse(note) {
        Ok(note) => note,
        Err(error) => return vec![("report", wrong(&error))],
    };
    let read = Stated::read(note.text()).and_then(|stated| Ok((stated.week()?, stated)));
    let (week, stated) = match read {
        Ok(read) => read,
        Err(error) => return vec![("report", wrong(&error))],
    };
    let digest = Digest::of(note.text());
    steps.push(("report", Checked::Ok(format!("{digest}, of {week}, on the first {} entries", stated.size))));
    steps.push((
        "report-key",
        match note.verify(against.keys) {
            Ok(vouched) => Checked::Ok(format!("signed by {}", vouched[0].name)),
            Err(error) => wrong(&error),
        },
    ));
    steps.push(("report-root", root(&stated, week, against)));
    if matches!(steps.last(), Some((_, Checked::Wrong(_)))) {
        return steps;
    }
    let ground = Ground {
        report: stated.report,
        program: stated.program,
        origin: stated.origin.clone(),
        size: stated.size,
        root: stated.root.0,
    };
    let made = match maker.make(&ground, week) {
        Ok(made) => made,
        Err(error) => {
            steps.push(("report-body", wrong(&error)));
            return steps;
        }
    };
    steps.push(("report-body", compared(note.text(), &made.text)));
    let decimals = rendered.map(|rendered| readable(&rendered, digest, note.text(), &made.decimals));
    let absent = || Checked::NotChecked("a note holds no decimals".to_owned());
    steps.push(("report-view", decimals.unwrap_or_else(absent)));
    steps.push(("report-entry", registered(&stated, digest, against.recorded)));
    steps
}

fn root(stated: &Stated, week: Week, against: &Against<'_>) -> Checked {
    if stated.origin != against.origin || stated.program != against.program {
        return Checked::Wrong(format!(
            "it is about {}, and this ledger is {}",
            stated.origin, against.origin
        ));
    }
    if stated.report != id(&stated.origin, week) {
        return Checked::Wrong(format!("{} is not the id of the report of {week}", stated.report));
    }
    match (against.root_at)(stated.size) {
        None => Checked::Wrong(format!("it rests on {} entries, and there are fewer", stated.size)),
        Some(root) if root == stated.root.0 => {
            Checked::Ok(format!("the ledger had that root at {} entries", stated.size))
        }
        Some(root) => {
            let root = B64(root);
            Checked::Wrong(format!("at {} entries the ledger had another root, {root}", stated.size))
        }
    }
}

fn compared(text: &str, made: &str) -> Checked {
    if text == made {
        return Checked::Ok("made again from the entries, the same to the byte".to_owned());
    }
    let value = |text| report::body(text).ok().and_then(|body| serde_json::from_str::<Value>(body).ok());
    let mut found = Vec::new();
    differences(&value(text).unwrap_or_default(), &value(made).unwrap_or_default(), "", &mut found);
    if found.is_empty() {
        found.push("the same figures in other bytes".to_owned());
    }
    Checked::Wrong(found.join("; "))
}

/// Where two documents differ, as pointers with what stands there; the first few.
fn differences(said: &Value, made: &Value, at: &str, found: &mut Vec<String>) {
    if said == made || found.len() >= DIFFERENCES_MAX {
        return;
    }
    match (said, made) {
        (Value::Object(said), Value::Object(made)) => {
            let names: BTreeSet<&String> = said.keys().chain(made.keys()).collect();
            for name in names {
                let (said, made) = (said.get(name), made.get(name));
                match (said, made) {
                    (Some(said), Some(made)) => differences(said, made, &format!("{at}/{name}"), found),
                    _ => found.push(format!("{at}/{name} stands in one of the two only")),
                }
            }
        }
        (Value::Array(said), Value::Array(made)) if said.len() == made.len() => {
            for (n, (said, made)) in said.iter().zip(made).enumerate() {
                differences(said, made, &format!("{at}/{n}"), found);
            }
        }
        _ => found.push(format!("{at} is {said}, and the entries give {made}")),
    }
    found.truncate(DIFFERENCES_MAX);
}

fn readable(rendered: &Rendered, digest: Digest, text: &str, made: &[Decimal]) -> Checked {
    if rendered.digest != digest.to_string() {
        return Checked::Wrong(format!(
            "the rendering names the digest {}, and it is {digest}",
            rendered.digest
        ));
    }
    let signed: Option<Value> = report::body(text).ok().and_then(|body| serde_json::from_str(body).ok());
    let mut found = Vec::new();
    differences(&rendered.body, &signed.unwrap_or_default(), "", &mut found);
    if !found.is_empty() {
        let found = found.join("; ").replace("the entries give", "signed is");
        return Checked::Wrong(format!("the rendering's body is not the signed one: {found}"));
    }
    let names: BTreeSet<&str> = made.iter().map(|decimal| decimal.name.as_str()).collect();
    if let Some(other) = rendered.decimals.keys().find(|name| !names.contains(name.as_str())) {
        return Checked::Wrong(format!("`{other}` is no decimal of a report"));
    }
    let show = |value: Option<f64>| value.map_or_else(|| "withheld".to_owned(), |value| value.to_string());
    for decimal in made {
        let Some(said) = rendered.decimals.get(&decimal.name).copied() else {
            return Checked::Wrong(format!("`{}` is missing", decimal.name));
        };
        if !decimal.agrees(said) {
            let (name, said, made) = (&decimal.name, show(said), show(decimal.value));
            return Checked::Wrong(format!("`{name}` is {said}, and the entries give {made}"));
        }
    }
    Checked::Ok(format!("{} derived again, and they agree", made.len()))
}

fn registered(stated: &Stated, digest: Digest, recorded: Option<&Recorded>) -> Checked {
    let Some(recorded) = recorded else {
        return Checked::NotChecked("no registry was found that could be read".to_owned());
    };
    match recorded.row(stated.report) {
        Some(Row { published: Some((known, at)), .. }) if *known == digest => {
            Checked::Ok(format!("the registry recorded it as published at {at}"))
        }
        Some(Row { published: Some((other, _)), .. }) => {
            Checked::Wrong(format!("the registry recorded another report of that week, {other}"))
        }
        Some(Row { published: None, .. }) => {
            Checked::Wrong("the registry recorded only that it was about to be published".to_owned())
        }
        None => Checked::Wrong("the registry does not know it".to_owned()),
    }
}
