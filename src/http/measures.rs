//! Figures of a program: reciprocity, retention and health, on any day, as the ledger knew it at any size.
//! Never computes on a thread that serves requests, never more than one answer at a time, and never on the read
//! models themselves but on a moment of them: what is being committed does not wait for it.

use std::collections::VecDeque;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::str::FromStr;
use std::sync::mpsc::{Sender, channel, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use axum::extract::State;
use axum::http::Uri;
use axum::response::Response;
use bytes::Bytes;
use mentorlog_events::entry::Envelope;
use mentorlog_events::event::Event;
use mentorlog_events::id::{B64, LedgerId, ProgramId};
use mentorlog_events::record::Hash;
use mentorlog_events::time::{Day, Timestamp};
use mentorlog_projections::read_models::ReadModels;
use mentorlog_projections::reciprocity::{self, Explained, Grades};
use mentorlog_projections::retention::{self, Basis, Subject};
use serde::Serialize;
use tokio::sync::{Notify, Semaphore};

use super::App;
use super::guard::InProgram;
use super::problem::{Code, Problem};
use super::reads::{at_least, json_bytes, parameters};
use super::request::Parameters;
use crate::writer::published::{Program, Published, View};
use crate::writer::replay::{Replayed, replay};

type Answer = Result<Response, Problem>;

/// How long a request waits until it is its turn to be computed.
const TURN_WAIT: Duration = Duration::from_secs(20);

/// Read models of earlier sizes that are kept: 100 bytes an event each, so few.
const PASTS_MAX: usize = 1;

/// Answers that are kept.
const ANSWERS_MAX: usize = 64;

/// Longest answer that is kept.
const ANSWER_BYTES_MAX: usize = 512 * 1024;

/// Furthest day a curve is read at.
const DAYS_MAX: u64 = 36_500;

/// Most days a curve is read at.
const AT_MAX: usize = 24;

/// Most positions of a page of `explain=true`.
const EXPLAIN_MAX: u64 = 10_000;

/// Most items of each list of the page of health.
const LIST_MAX: u64 = 1000;

/// What `known_at` must be.
const KNOWN_AT: &str =
    "a size of the ledger, e.g. 1200, a civil day, e.g. 2026-11-21, or an instant, e.g. 2026-11-21T09:30:00Z";

/// What was computed before, and whose turn it is.
pub struct Measures {
    turn: Arc<Semaphore>,
    desk: Desk,
    pasts: Mutex<VecDeque<Past>>,
    answers: Mutex<VecDeque<(AnswerKey, Bytes)>>,
}

/// The one thread that computes figures, started when it is first needed.
///
/// glibc's malloc gives each thread an arena of its own, and what one has freed is not there for another. After an
/// import of 149,029 events (193 MiB), eight figures of earlier sizes, each folded on whichever thread was idle, took
/// the process to 508 MiB; all on one thread to 273, where it stays.
#[derive(Default)]
struct Desk(Mutex<Option<Sender<Job>>>);

type Job = Box<dyn FnOnce() + Send>;

impl Desk {
    /// Does the work there and waits for it. `None`: it panicked, or there is no thread to be had.
    fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
        let (done, result) = sync_channel(1);
        let job: Job = Box::new(move || {
            if let Ok(result) = catch_unwind(AssertUnwindSafe(work)) {
                // Whoever asked waits for it.
                let _ = done.send(result);
            }
        });
        self.sender()?.send(job).ok()?;
        result.recv().ok()
    }

    fn sender(&self) -> Option<Sender<Job>> {
        let mut sender = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if sender.is_none() {
            let (jobs, waiting) = channel::<Job>();
            let working = move || waiting.iter().for_each(|job| job());
            // Ends when the sender is dropped.
            thread::Builder::new().name("figures".into()).spawn(working).ok()?;
            *sender = Some(jobs);
        }
        sender.clone()
    }
}

struct Past {
    program: ProgramId,
    size: u64,
    models: Arc<ReadModels>,
}

/// A ledger's size and everything that was asked: the same key has the same answer for ever.
#[derive(Debug, Clone, PartialEq, Eq)]
struct AnswerKey {
    program: ProgramId,
    size: u64,
    asked: String,
}

impl AnswerKey {
    fn new(program: &Program, size: u64, as_of: Day, asked: &str) -> Self {
        Self { program: program.id, size, asked: format!("{as_of} {asked}") }
    }
}

impl Default for Measures {
    fn default() -> Self {
        Self {
            turn: Arc::new(Semaphore::new(1)),
            desk: Desk::default(),
            pasts: Mutex::new(VecDeque::new()),
            answers: Mutex::new(VecDeque::new()),
        }
    }
}

impl Measures {
    /// Waits until nobody else computes figures; they may again when what this returns is dropped.
    pub(super) async fn turn(&self) -> Result<impl Drop + Send + use<>, Problem> {
        let turn = tokio::time::timeout(TURN_WAIT, self.turn.clone().acquire_owned()).await;
        let busy = || Problem::new(Code::Busy, "other figures are being computed; try again");
        turn.ok().and_then(Result::ok).ok_or_else(busy)
    }

    fn answered(&self, key: &AnswerKey) -> Option<Bytes> {
        let answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        answers.iter().find(|(known, _)| known == key).map(|(_, body)| body.clone())
    }

    fn keep(&self, key: AnswerKey, body: &Bytes) {
        if body.len() <= ANSWER_BYTES_MAX {
            let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
            answers.push_front((key, body.clone()));
            answers.truncate(ANSWERS_MAX);
        }
    }

    /// The read models of an earlier size, rebuilt from the log unless they were kept.
    fn past(&self, published: &Published, program: ProgramId, size: u64) -> Result<Arc<ReadModels>, Problem> {
        let kept = || self.pasts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(past) = kept().iter().find(|past| past.program == program && past.size == size) {
            return Ok(past.models.clone());
        }
        // Go on from the nearest earlier one, if nobody holds it; and make room first, for they are large.
        let (mut models, from) = {
            let mut pasts = kept();
            let earlier = |past: &Past| past.program == program && past.size < size;
            let nearest = (0..pasts.len()).filter(|&at| earlier(&pasts[at])).max_by_key(|&at| pasts[at].size);
            let past = nearest.and_then(|at| pasts.remove(at));
            pasts.truncate(PASTS_MAX - 1);
            let past = past.and_then(|past| Some((Arc::try_unwrap(past.models).ok()?, past.size)));
            past.unwrap_or_else(|| (ReadModels::without_weeks(), 0))
        };
        replay::<Event>(&*published.log, program.into(), from..size, false, |Replayed { entry, .. }| {
            models.apply(entry);
            Ok(())
        })
        .map_err(|error| Problem::new(Code::Unreadable, error))?;
        let models = Arc::new(models);
        kept().push_front(Past { program, size, models: models.clone() });
        Ok(models)
    }
}

/// `known_at`: a size of the ledger, the end of a civil day in the program's zone, or an instant.
#[derive(Debug, Clone, Copy)]
pub(super) enum KnownAt {
    Size(u64),
    Day(Day),
    Instant(Timestamp),
}

impl fmt::Display for KnownAt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Size(size) => write!(f, "{size}"),
            Self::Day(day) => write!(f, "{day}"),
            Self::Instant(instant) => write!(f, "{instant}"),
        }
    }
}

impl FromStr for KnownAt {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        if text.bytes().all(|byte| byte.is_ascii_digit()) {
            return text.parse().map(Self::Size).map_err(|_| ());
        }
        if let Ok(day) = text.parse() {
            return Ok(Self::Day(day));
        }
        text.parse().map(Self::Instant).map_err(|_| ())
    }
}

/// The parameters of both axes of time.
#[derive(Debug, Clone, Copy)]
pub(super) struct When {
    pub(super) as_of: Option<Day>,
    pub(super) known_at: Option<KnownAt>,
    pub(super) min_size: Option<u64>,
}

/// A moment on both axes.
#[derive(Clone, Copy)]
pub(super) struct Moment {
    pub(super) as_of: Day,
    /// `None` is the present.
    pub(super) size: Option<u64>,
}

#[derive(Serialize)]
struct Head {
    size: u64,
    root: B64<32>,
}

#[derive(Serialize)]
struct Body<T> {
    program: ProgramId,
    known_at: Head,
    #[serde(flatten)]
    measured: T,
}

#[derive(Serialize)]
struct WithSeqs<T> {
    #[serde(flatten)]
    measured: T,
    #[serde(skip_serializing_if = "Option::is_none")]
    explain: Option<Explained>,
}

fn wrong(parameter: &str, what: impl fmt::Display) -> Problem {
    Problem::new(Code::MalformedParameter, format_args!("`{parameter}` {what}")).with("parameter", parameter)
}

fn when(uri: &Uri) -> Result<(Parameters, When), Problem> {
    let (mut query, min_size) = parameters(uri)?;
    let When { as_of, known_at, .. } = axes(&mut query)?;
    Ok((query, When { as_of, known_at, min_size }))
}

/// Takes both axes of time.
pub(super) fn axes(query: &mut Parameters) -> Result<When, Problem> {
    let as_of = query.take("as_of", "a civil day, e.g. 2026-11-21")?;
    let known_at = query.take("known_at", KNOWN_AT)?;
    Ok(When { as_of, known_at, min_size: None })
}

/// Which of the positions behind a figure are asked for.
#[derive(Debug, Clone, Copy)]
struct ExplainPage {
    after: Option<u64>,
    limit: usize,
}

fn explain(query: &mut Parameters) -> Result<Option<ExplainPage>, Problem> {
    let explain = query.take("explain", "true or false")?.unwrap_or(false);
    let after = query.number("explain_after", 0, (1 << 53) - 1)?;
    let limit = query.number("explain_limit", 1, EXPLAIN_MAX)?;
    if !explain && (after.is_some() || limit.is_some()) {
        return Err(wrong("explain", "must be true for `explain_after` and `explain_limit`"));
    }
    let limit = usize::try_from(limit.unwrap_or(1000)).expect("at most ten thousand");
    Ok(explain.then_some(ExplainPage { after, limit }))
}

/// `GET /v1/programs/{program}/reciprocity`
pub async fn reciprocity(State(app): State<Arc<App>>, InProgram(program): InProgram, uri: Uri) -> Answer {
    let (mut query, when) = when(&uri)?;
    let evidence = query
        .take("evidence", "a list of confirmed, confirmed-asserted, logged and imported")?
        .unwrap_or(Grades::ALL);
    let from: Option<Day> = query.take("from", "a civil day, e.g. 2026-11-21")?;
    let to: Option<Day> = query.take("to", "a civil day, e.g. 2026-11-21")?;
    let explain = explain(&mut query)?;
    query.finish()?;
    if let (Some(from), Some(to)) = (from, to)
        && from > to
    {
        return Err(wrong("from", format_args!("must not be later than `to`, {to}")));
    }
    answer(
        &app,
        program,
        when,
        format!("reciprocity {evidence} {from:?} {to:?} {explain:?}"),
        move |models, as_of| {
            if from.is_some_and(|from| from > as_of) {
                return Err(wrong("from", format_args!("must not be later than `as_of`, {as_of}")));
            }
            let asked = reciprocity::Asked { as_of, from, to, evidence };
            let explain = explain.map(|page| models.reciprocity_seqs(asked, page.after, page.limit));
            Ok(WithSeqs { measured: models.reciprocity(asked), explain })
        },
    )
    .await
}

/// `at`: days, ascending.
struct Horizons(Vec<u32>);

impl FromStr for Horizons {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let days: Result<Vec<u32>, ()> = text
            .split(',')
            .map(|day| {
                let plain = !day.is_empty() && day.bytes().all(|byte| byte.is_ascii_digit());
                day.parse().ok().filter(|day| plain && u64::from(*day) <= DAYS_MAX).ok_or(())
            })
            .collect();
        let days = days?;
        let ascending = days.windows(2).all(|two| two[0] < two[1]);
        if ascending && days.len() <= AT_MAX { Ok(Self(days)) } else { Err(()) }
    }
}

/// `GET /v1/programs/{program}/retention`
pub async fn retention(State(app): State<Arc<App>>, InProgram(program): InProgram, uri: Uri) -> Answer {
    let (mut query, when) = when(&uri)?;
    let plain = retention::Asked::as_of(Day::from_number(0));
    let days = |query: &mut Parameters, name: &str| {
        Ok::<_, Problem>(query.number(name, 1, DAYS_MAX)?.map(|days| u32::try_from(days).expect("few")))
    };
    let subject: Option<Subject> = query.take("subject", "pairs or participants")?;
    let basis: Option<Basis> = query.take("basis", "record or activity")?;
    let lapse_days = query.number("lapse_days", 1, 3650)?.map(|days| u16::try_from(days).expect("few"));
    let at: Option<Horizons> =
        query.take("at", "at most 24 ascending days up to 36500, e.g. 30,90,180,365")?;
    let tau = days(&mut query, "tau")?;
    let by = query.take("by", "generation, cohort, arm or reciprocity")?;
    let landmark_days = days(&mut query, "landmark_days")?;
    let explain = explain(&mut query)?;
    query.finish()?;
    if landmark_days.is_some() && by != Some(retention::By::Reciprocity) {
        return Err(wrong("landmark_days", "needs `by=reciprocity`"));
    }
    let asked = retention::Asked {
        subject: subject.unwrap_or(plain.subject),
        basis: basis.unwrap_or(plain.basis),
        lapse_days,
        at: at.map_or(plain.at, |at| at.0),
        tau: tau.unwrap_or(plain.tau),
        by,
        landmark_days: landmark_days.unwrap_or(plain.landmark_days),
        as_of: plain.as_of,
    };
    asked.check().map_err(|impossible| {
        Problem::new(Code::MalformedParameter, impossible).with("parameter", impossible.parameter())
    })?;
    answer(&app, program, when, format!("retention {asked:?} {explain:?}"), move |models, as_of| {
        let asked = retention::Asked { as_of, ..asked };
        let seqs = |page: ExplainPage| models.retention_seqs(&asked, page.after, page.limit);
        let impossible = |error| Problem::new(Code::Internal, error);
        let explain = explain.map(seqs).transpose().map_err(impossible)?;
        Ok(WithSeqs { measured: models.retention(&asked).map_err(impossible)?, explain })
    })
    .await
}

/// `GET /v1/programs/{program}/health`
pub async fn health(State(app): State<Arc<App>>, InProgram(program): InProgram, uri: Uri) -> Answer {
    let (mut query, min_size) = parameters(&uri)?;
    let known_at = query.take("known_at", KNOWN_AT)?;
    let limit = query.number("limit", 0, LIST_MAX)?.unwrap_or(20);
    query.finish()?;
    let when = When { as_of: None, known_at, min_size };
    let limit = usize::try_from(limit).expect("at most a thousand");
    answer(&app, program, when, format!("health {limit}"), move |models, as_of| {
        Ok(models.health(as_of, limit))
    })
    .await
}

/// What a figure rests on.
#[derive(Debug, Clone, Copy)]
pub(super) struct Known {
    /// What had happened by the close of this day.
    pub(super) as_of: Day,
    /// What the ledger said at this size.
    pub(super) size: u64,
    /// The root it had then.
    pub(super) root: Hash,
}

/// Computes an answer when it is its turn, or gives the one computed before.
async fn answer<T: Serialize>(
    app: &Arc<App>,
    program: Arc<Program>,
    when: When,
    asked: String,
    measure: impl FnOnce(&ReadModels, Day) -> Result<T, Problem> + Send + 'static,
) -> Answer {
    let id = program.id;
    let write = move |models: &ReadModels, known: Known| {
        let measured = measure(models, known.as_of)?;
        let body = Body { program: id, known_at: Head { size: known.size, root: B64(known.root) }, measured };
        Ok(Bytes::from(serde_json::to_vec(&body).expect("a view is plain data")))
    };
    Ok(json_bytes(written(app, program, when, asked, write).await?))
}

tokio::task_local! {
    /// Whom to tell that a question is right and its answer takes its time.
    pub(super) static COMPUTING: Arc<Notify>;
}

/// Tells whoever wants to know that the question is right, and that its answer takes its time.
async fn computing() {
    // Mostly nobody does; whoever does gets the chance to.
    if COMPUTING.try_with(|told| told.notify_one()).is_ok() {
        tokio::task::yield_now().await;
    }
}

/// Writes what was measured when it is its turn, or gives what was written before. `asked` names everything but the
/// program and the moment that the bytes depend on.
pub(super) async fn written(
    app: &Arc<App>,
    program: Arc<Program>,
    when: When,
    asked: String,
    write: impl FnOnce(&ReadModels, Known) -> Result<Bytes, Problem> + Send + 'static,
) -> Result<Bytes, Problem> {
    at_least(app, &program, when.min_size).await?;
    let failed = || Problem::new(Code::Internal, "computing the figures failed");
    let meant = if when.known_at.is_none() {
        // Needs no log.
        moment(app, &program, &when)?
    } else {
        let (app, program) = (app.clone(), program.clone());
        let meant = tokio::task::spawn_blocking(move || moment(&app, &program, &when));
        meant.await.map_err(|_| failed())??
    };
    // What everybody asks is answered at once while nothing has changed.
    let size = meant.size.unwrap_or_else(|| program.size());
    if let Some(body) = app.measures.answered(&AnswerKey::new(&program, size, meant.as_of, &asked)) {
        return Ok(body);
    }
    computing().await;
    let turn = app.measures.turn().await?;
    let app = app.clone();
    let computed = tokio::task::spawn_blocking(move || {
        let _turn = turn;
        let desk = app.clone();
        desk.measures.desk.run(move || compute(&app, &program, meant, &asked, write))
    });
    computed.await.ok().flatten().ok_or_else(failed)?
}

/// Finds out what moment is meant. Reads the log, so blocks, if `known_at` says one.
pub(super) fn at(app: &App, program: &Program, when: &When) -> Result<Moment, Problem> {
    moment(app, program, when)
}

fn moment(app: &App, program: &Program, when: &When) -> Result<Moment, Problem> {
    let now = app.published.clock.now();
    let day = |instant: Timestamp| {
        let day = program.view().models.day(instant);
        day.ok_or_else(|| Problem::new(Code::NoSuchProgram, "the program has no entries"))
    };
    let today = day(now)?;
    if let Some(as_of) = when.as_of.filter(|as_of| *as_of > today) {
        return Err(wrong(
            "as_of",
            format_args!("{as_of} is not over: today is {today} in the program's zone"),
        ));
    }
    let present = program.size();
    let published = &*app.published;
    let (size, known_on) = match when.known_at {
        None => (None, today),
        Some(KnownAt::Size(size)) => {
            if size == 0 || size > present {
                return Err(wrong("known_at", format_args!("must be a size from 1 to {present}"))
                    .with("size", present));
            }
            (Some(size), day(recorded_at(published, program.id.into(), size - 1)?)?)
        }
        // It is not over: what is known now.
        Some(KnownAt::Day(day)) if day == today => (None, today),
        Some(KnownAt::Day(day)) => {
            if day > today {
                return Err(wrong(
                    "known_at",
                    format_args!("{day} has not come: today is {today} in the program's zone"),
                ));
            }
            let next = program.view().models.start_of(day.plus_days(1));
            let size = match next.and_then(|next| Timestamp::from_micros(next.as_micros() - 1)) {
                Some(end) => size_at(published, program.id.into(), present, end)?,
                None => 0,
            };
            if size == 0 {
                return Err(wrong("known_at", "must not be before the program was opened"));
            }
            (Some(size), day)
        }
        Some(KnownAt::Instant(instant)) => {
            if instant > now {
                return Err(wrong("known_at", format_args!("must not be later than now, {now}")));
            }
            let size = size_at(published, program.id.into(), present, instant)?;
            if size == 0 {
                return Err(wrong("known_at", "must not be before the program was opened"));
            }
            (Some(size), day(instant)?)
        }
    };
    // What the log said then of the days since it said them: nothing. The day it was is the natural end.
    Ok(Moment { as_of: when.as_of.unwrap_or(known_on), size: size.filter(|size| *size < present) })
}

fn recorded_at(published: &Published, ledger: LedgerId, seq: u64) -> Result<Timestamp, Problem> {
    let unreadable = |error: &dyn fmt::Display| Problem::new(Code::Unreadable, error);
    let record = published.log.read(ledger, seq, 1).map_err(|error| unreadable(&error))?.pop();
    let record = record.ok_or_else(|| unreadable(&format_args!("seq {seq} is missing")))?;
    Ok(Envelope::parse(record.bytes()).map_err(|error| unreadable(&error))?.recorded_at)
}

/// How many of the first `present` entries were recorded at or before an instant. Time never runs back within
/// a ledger, so halving finds it.
fn size_at(
    published: &Published,
    ledger: LedgerId,
    present: u64,
    instant: Timestamp,
) -> Result<u64, Problem> {
    let (mut known, mut unknown) = (0, present);
    while known < unknown {
        let middle = known + (unknown - known) / 2;
        if recorded_at(published, ledger, middle)? <= instant {
            known = middle + 1;
        } else {
            unknown = middle;
        }
    }
    Ok(known)
}

fn compute(
    app: &App,
    program: &Program,
    Moment { as_of, size }: Moment,
    asked: &str,
    write: impl FnOnce(&ReadModels, Known) -> Result<Bytes, Problem>,
) -> Result<Bytes, Problem> {
    let key = |size| AnswerKey::new(program, size, as_of, asked);
    let kept = |size: u64, body: Bytes| {
        app.measures.keep(key(size), &body);
        body
    };
    let Some(size) = size else {
        if let Some(body) = app.measures.answered(&key(program.size())) {
            return Ok(body);
        }
        let View { models, size, root } = program.moment();
        return Ok(kept(size, write(&models, Known { as_of, size, root })?));
    };
    if let Some(body) = app.measures.answered(&key(size)) {
        return Ok(body);
    }
    let root = program
        .root_at(&*app.published.log, size)
        .map_err(|error| Problem::new(Code::Unreadable, error))?
        .ok_or_else(|| Problem::new(Code::Internal, "the ledger is shorter than it was"))?;
    let models = app.measures.past(&app.published, program.id, size)?;
    Ok(kept(size, write(&models, Known { as_of, size, root })?))
}

#[cfg(test)]
mod tests;
