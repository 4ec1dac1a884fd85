//! Reports: made from the log alone, signed with the ledger's key, kept as files, and recorded in the registry.
//! Never signs figures of a week that is not over, and never shows a report the registry does not record.
//!
//! Publishing spans the registry and a file: `report-publishing` is durable, then the file is, then
//! `report-published` is. What a stop cut short, the next start finishes: the id of a report says what it is of, so
//! the intent alone is enough to make it again, to the byte. The same week is never published twice.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use mentorlog_events::entry::{Entry, Envelope};
use mentorlog_events::event::Event;
use mentorlog_events::event::registry::{RegistryEvent, ReportPublished, ReportPublishing};
use mentorlog_events::id::{B64, LedgerId, ProgramId, ReportId};
use mentorlog_events::record::Hash;
use mentorlog_events::time::{Day, Timestamp};
use mentorlog_projections::outsiders::Week;
use mentorlog_projections::read_models::ReadModels;
use mentorlog_projections::report::{self, Decimal, Ground, Report};
use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};

use super::keybook::LedgerKeys;
use super::published::{Program, Published};
use super::receipt::Refusal;
use super::replay::{ReplayError, Replayed, replay};
use super::{Caller, Message, Writer};
use crate::keys::Keys;
use crate::ledger::note::{Note, Signer};
use crate::ledger::reports::{Digest, Shelf};
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

    /// A published report, as its note and its rendering. `None` if the registry does not record it. Reads files.
    pub fn find(&self, digest: Digest) -> Result<Option<Kept>, ReportRefusal> {
        if !self.recorded.read().unwrap_or_else(PoisonError::into_inner).is_published(digest) {
            return Ok(None);
        }
        let shelf = self.shelf.as_ref().ok_or(ReportRefusal::Off)?;
        let note = shelf.note(digest).map_err(|error| ReportRefusal::Unreadable(error.to_string()))?;
        let note = note.ok_or(ReportRefusal::Lost(digest))?;
        let rendering =
            shelf.rendering(digest).map_err(|error| ReportRefusal::Unreadable(error.to_string()))?;
        Ok(Some(Kept { note, rendering }))
    }

    fn sign(&self, keys: &LedgerKeys, text: &str) -> Note {
        let newest = keys.keys.last().expect("a ledger has a key");
        let signer = Signer::new(keys.origin.clone(), &self.keys.seed(keys.origin.as_str(), newest.number));
        Note::signed(text.to_owned(), vec![signer.sign(text, 0)]).expect("a report's text is a note's")
    }
}

/// A published report as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// The signed note, to the byte.
    pub note: Vec<u8>,
    /// The readable rendering; `None` if its file is gone.
    pub rendering: Option<Vec<u8>>,
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

/// Makes the report of a week out of the first `ground.size` entries of the program's ledger, which are all that were
/// recorded by the close of the week. Reads all of them and the one after.
pub fn make(log: &dyn Log, ground: &Ground, week: Week) -> Result<Report, Unmade> {
    let ledger = LedgerId::from(ground.program);
    let not_the_close = Unmade::NotTheClose { size: ground.size, week };
    if log
        .read(ledger, ground.size, 1)?
        .first()
        .is_some_and(|next| day_of(next.bytes()) <= Some(week.last_day()))
    {
        return Err(not_the_close);
    }
    let mut models = ReadModels::new();
    replay::<Event>(log, ledger, 0..ground.size, false, |Replayed { entry, .. }| {
        models.apply(&entry);
        Ok(())
    })?;
    let close = models.week_close(week).ok_or(Unmade::BeforeOpening(week))?;
    if close.size != ground.size {
        return Err(not_the_close);
    }
    Ok(report::report(ground, &close, &models))
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
            let found = blocking(move || known.reports.find(digest)).await;
            if matches!(found, Ok(Some(Kept { rendering: Some(_), .. }))) {
                return Ok(Publication { report, digest, is_new: false });
            }
        }
        let origin = keys.origin.to_string();
        let (making, of) = (published.clone(), program.clone());
        let made = blocking(move || signed(&making, &of, &keys, week, size)).await?;
        let begin = Step::Begin(ReportPublishing { report, origin, size });
        let before = self.report_step(begin, caller.clone()).await?;
        let digest = Digest::of(made.note.text());
        if let Some(other) = before.map(Digest::from).filter(|other| *other != digest) {
            return Err(ReportRefusal::Lost(other));
        }
        let keeping = published.clone();
        blocking(move || keeping.reports.keep(&made)).await?;
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

/// A report that was made and signed.
pub(super) struct Made {
    note: Note,
    decimals: Vec<Decimal>,
}

impl Made {
    pub(super) fn digest(&self) -> Digest {
        Digest::of(self.note.text())
    }
}

impl Reports {
    /// Whether reports can be published here.
    pub fn is_on(&self) -> bool {
        self.shelf.is_some()
    }

    /// Writes a report to its files.
    pub(super) fn keep(&self, made: &Made) -> Result<(), ReportRefusal> {
        let shelf = self.shelf.as_ref().ok_or(ReportRefusal::Off)?;
        let kept = shelf.put(&made.note, &rendering(&made.note, &made.decimals));
        kept.map(|_| ()).map_err(|error| ReportRefusal::Unreadable(error.to_string()))
    }
}

/// Makes and signs the report of a week. Blocks.
fn signed(
    published: &Published,
    program: &Program,
    keys: &LedgerKeys,
    week: Week,
    size: u64,
) -> Result<Made, ReportRefusal> {
    if !published.reports.is_on() {
        return Err(ReportRefusal::Off);
    }
    let unreadable = |error: &dyn std::fmt::Display| ReportRefusal::Unreadable(error.to_string());
    let root: Option<Hash> = program.root_at(&*published.log, size).map_err(|error| unreadable(&error))?;
    let root = root.ok_or_else(|| unreadable(&"the ledger is shorter than it was"))?;
    let origin = keys.origin.to_string();
    let ground = Ground { report: id(&origin, week), program: program.id, origin, size, root };
    let report = make(&*published.log, &ground, week).map_err(|error| match error {
        Unmade::BeforeOpening(week) => ReportRefusal::BeforeOpening(week),
        Unmade::NotTheClose { .. } | Unmade::Replay(_) | Unmade::Log(_) => unreadable(&error),
    })?;
    let note = published.reports.sign(keys, &report.text);
    Ok(Made { note, decimals: report.decimals })
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
    let weeks = closing_at(&*published.log, ledger, size, published.clock.now())
        .map_err(|error| error.to_string())?;
    let week = weeks.filter(|week| id(origin, *week) == report).next();
    let week = week.ok_or("it is of no week that this version of the software knows")?;
    let made = signed(published, &program, keys, week, size).map_err(|error| error.to_string())?;
    published.reports.keep(&made).map_err(|error| error.to_string())?;
    Ok(made.digest())
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
