//! What can be read: programs, participants, pairs, sessions, and the history itself.
//! Never touches the log on a thread that serves requests, and never shows what is not durable.

use std::io::Read;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use bytes::{BufMut, Bytes, BytesMut};
use mentorlog_events::entry::Envelope;
use mentorlog_events::id::{B64, PairId, ParticipantId, SessionId};
use mentorlog_events::record::{Hash, Record};
use mentorlog_events::time::{Day, Zone};
use mentorlog_projections::pairs::PairView;
use mentorlog_projections::participants::ParticipantState;
use mentorlog_projections::read_models::{PairFilter, ReadModels, WorthOfTeaching};
use mentorlog_projections::reciprocity::Balance;
use serde::Serialize;
use serde_json::json;
use tokio::sync::Semaphore;
use uuid::Uuid;

use super::App;
use super::accept::preferred;
use super::cloud_events;
use super::edge::turns::{Turn, Turns};
use super::guard::InProgram;
use super::problem::{Code, Problem};
use super::request::Parameters;
use crate::access::grant::{Denied, Grant};
use crate::rules::rejection::Rejection;
use crate::writer::published::{Program, View};

/// How long a read waits for `min_size`.
const MIN_SIZE_WAIT: Duration = Duration::from_secs(10);

/// Most items of a page.
const PAGE_MAX: u64 = 1000;

/// Most events of a JSON page.
const EVENTS_MAX: u64 = 10_000;

/// A JSON page ends early when it is longer than this.
const PAGE_BYTES: usize = 8 * 1024 * 1024;

/// Entries read from the log at a time.
const BLOCK: usize = 1024;

/// Bytes of a spooled document sent at a time.
pub(super) const PIECE: usize = 256 * 1024;

type Answer = Result<Response, Problem>;

/// Waits until the read models hold `min_size` entries, if the query asks for it.
pub(super) async fn at_least(app: &App, program: &Program, min_size: Option<u64>) -> Result<(), Problem> {
    let Some(min_size) = min_size else { return Ok(()) };
    let mut growth = program.growth();
    if *growth.borrow_and_update() >= min_size {
        return Ok(());
    }
    let _waiting = app.edge.load.wait()?;
    let grown = tokio::select! {
        grown = tokio::time::timeout(MIN_SIZE_WAIT, growth.wait_for(|size| *size >= min_size)) => grown,
        () = app.stopping() => return Err(Problem::new(Code::NotYet, "the service is stopping")),
    };
    match grown {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(_)) | Err(_) => Err(Problem::new(
            Code::NotYet,
            format_args!("the ledger has {} entries; waited {} s", program.size(), MIN_SIZE_WAIT.as_secs()),
        )
        .with("size", program.size())),
    }
}

fn json_response(body: &impl Serialize) -> Response {
    json_bytes(serde_json::to_vec(body).expect("a view is plain data").into())
}

/// An answer that is JSON already.
pub(super) fn json_bytes(body: Bytes) -> Response {
    let mut response = body.into_response();
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

fn tagged(mut response: Response, version: u64) -> Response {
    if let Ok(value) = HeaderValue::from_str(&format!("\"{version}\"")) {
        response.headers_mut().insert(header::ETAG, value);
    }
    response
}

pub(super) fn parameters(uri: &Uri) -> Result<(Parameters, Option<u64>), Problem> {
    let mut query = Parameters::read(uri.query())?;
    let min_size = query.number("min_size", 0, (1 << 53) - 1)?;
    Ok((query, min_size))
}

/// Reads an id in a path.
pub(super) fn id<T: std::str::FromStr>(text: &str, what: &str) -> Result<T, Problem> {
    text.parse().map_err(|_| Problem::new(Code::NotFound, format_args!("`{text}` is not the id of a {what}")))
}

pub(super) fn not_found(what: &str, id: impl std::fmt::Display) -> Problem {
    Problem::new(Code::NotFound, format_args!("there is no {what} {id} in this program"))
}

/// A view with how mutual it was.
#[derive(Serialize)]
struct Balanced<T> {
    #[serde(flatten)]
    view: T,
    balance: Balance,
}

/// A participant's page as the participant sees it.
#[derive(Serialize)]
struct OwnPage<T> {
    #[serde(flatten)]
    view: T,
    /// `None` while too few learners have rated.
    worth_of_teaching: Option<WorthOfTeaching>,
}

/// A view with what it rests on.
#[derive(Serialize)]
struct AsRead<T> {
    #[serde(flatten)]
    view: T,
    size: u64,
    root: B64<32>,
}

/// `GET /v1/programs`
pub async fn programs(State(app): State<Arc<App>>, grant: Grant, uri: Uri) -> Answer {
    Parameters::read(uri.query())?.finish()?;
    let programs: Vec<_> = app
        .published
        .programs()
        .iter()
        .filter(|program| grant.programs.covers(program.id))
        .filter_map(|program| {
            let view = program.view();
            let summary = view.models.program(app.published.clock.now())?;
            Some(json!({
                "program": summary.program,
                "slug": summary.slug,
                "name": summary.name,
                "state": summary.state,
                "size": view.size,
                "root": B64(view.root),
            }))
        })
        .collect();
    Ok(json_response(&json!({ "programs": programs })))
}

/// `GET /v1/programs/{program}`
pub async fn program(State(app): State<Arc<App>>, InProgram(program): InProgram, uri: Uri) -> Answer {
    let (query, min_size) = parameters(&uri)?;
    query.finish()?;
    at_least(&app, &program, min_size).await?;
    let (summary, root) = {
        let view = program.view();
        (view.models.program(app.published.clock.now()), view.root)
    };
    #[derive(Serialize)]
    struct WithRoot<T> {
        #[serde(flatten)]
        summary: T,
        root: B64<32>,
    }
    let summary = summary.ok_or_else(|| Problem::new(Code::NoSuchProgram, "the program has no entries"))?;
    let version = summary.version;
    Ok(tagged(json_response(&WithRoot { summary, root: B64(root) }), version))
}

/// A page: its items, the cursor of the next page, and what it rests on.
#[derive(Serialize)]
struct PageBody<T> {
    items: Vec<T>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
    size: u64,
    root: B64<32>,
}

/// `GET /v1/programs/{program}/participants`
pub async fn participants(State(app): State<Arc<App>>, InProgram(program): InProgram, uri: Uri) -> Answer {
    let (mut query, min_size) = parameters(&uri)?;
    let after: Option<ParticipantId> = query.take("after", "the id of a participant")?;
    let limit = query.number("limit", 1, PAGE_MAX)?.unwrap_or(100);
    query.finish()?;
    at_least(&app, &program, min_size).await?;
    let view = program.view();
    let page = view
        .models
        .participants(after, usize::try_from(limit).expect("at most a thousand"))
        .ok_or_else(|| unknown_cursor("participant"))?;
    let next = page.more.then(|| page.items.last().map(|last| last.participant.to_string())).flatten();
    Ok(json_response(&PageBody { items: page.items, next, size: view.size, root: B64(view.root) }))
}

fn unknown_cursor(what: &str) -> Problem {
    Problem::new(Code::MalformedParameter, format_args!("`after` must be the id of a {what} of this program"))
        .with("parameter", "after")
}

/// `GET /v1/programs/{program}/participants/{id}`
pub async fn participant(
    State(app): State<Arc<App>>,
    grant: Grant,
    InProgram(program): InProgram,
    Path((_, participant)): Path<(String, String)>,
    uri: Uri,
) -> Answer {
    let (query, min_size) = parameters(&uri)?;
    query.finish()?;
    let participant: ParticipantId = id(&participant, "participant")?;
    if grant.only().is_some_and(|only| only != participant) {
        return Err(Denied::NotOwn.into());
    }
    at_least(&app, &program, min_size).await?;
    let view = program.view();
    let body = view.models.participant(participant).ok_or_else(|| not_found("participant", participant))?;
    // The keys go before the ledger says so, and where it cannot say so any more.
    let has_gone = app.published.people().is_some_and(|people| people.is_erased(program.id, participant));
    if has_gone || body.state == ParticipantState::Erased {
        return Err(Rejection::ParticipantErased { participant }.into());
    }
    let version = body.version;
    let body = Balanced { balance: Balance::of_person(&body), view: body };
    if grant.only().is_some() {
        // Whoever sees single ratings has no use for it; whoever taught sees nothing else of them.
        let worth_of_teaching = view.models.worth_of_teaching(participant);
        let body = OwnPage { view: body, worth_of_teaching };
        return Ok(tagged(
            json_response(&AsRead { view: body, size: view.size, root: B64(view.root) }),
            version,
        ));
    }
    Ok(tagged(json_response(&AsRead { view: body, size: view.size, root: B64(view.root) }), version))
}

/// `GET /v1/programs/{program}/pairs`
pub async fn pairs(
    State(app): State<Arc<App>>,
    grant: Grant,
    InProgram(program): InProgram,
    uri: Uri,
) -> Answer {
    let (mut query, min_size) = parameters(&uri)?;
    let mut filter = PairFilter {
        state: query.take("state", "a state of a pair, e.g. active")?,
        participant: query.take("participant", "the id of a participant")?,
    };
    if let Some(only) = grant.only()
        && *filter.participant.get_or_insert(only) != only
    {
        return Err(Denied::NotOwn.into());
    }
    let after: Option<PairId> = query.take("after", "the id of a pair")?;
    let limit = query.number("limit", 1, PAGE_MAX)?.unwrap_or(100);
    query.finish()?;
    at_least(&app, &program, min_size).await?;
    let view = program.view();
    let today = today(&app, &view.models);
    if let Some(after) = after {
        // Whether there are pairs of others is not told by the cursor either.
        let pair = view.models.pair(after, today).filter(|pair| is_own(&grant, pair));
        pair.ok_or_else(|| unknown_cursor("pair"))?;
    }
    let page = view
        .models
        .pairs(filter, after, usize::try_from(limit).expect("at most a thousand"), today)
        .ok_or_else(|| unknown_cursor("pair"))?;
    let next = page.more.then(|| page.items.last().map(|last| last.pair.to_string())).flatten();
    let items: Vec<PairView> = page.items.into_iter().map(|pair| as_shown(&grant, pair)).collect();
    Ok(json_response(&PageBody { items, next, size: view.size, root: B64(view.root) }))
}

/// A pair as the caller may see it: that somebody does not want to be paired with them is not a participant's to know.
/// Of no cause are they told: if only one were kept from them, its absence would name it.
pub(super) fn as_shown(grant: &Grant, pair: PairView) -> PairView {
    PairView { invalidated_by: pair.invalidated_by.filter(|_| grant.only().is_none()), ..pair }
}

/// Whether a pair is the caller's to see: anybody's, unless they are confined to one participant.
fn is_own(grant: &Grant, pair: &PairView) -> bool {
    grant.only().is_none_or(|only| [pair.a, pair.b].contains(&only))
}

pub(super) fn today(app: &App, models: &ReadModels) -> Day {
    let now = app.published.clock.now();
    models.day(now).unwrap_or_else(|| Zone::UTC.day(now))
}

/// `GET /v1/programs/{program}/pairs/{id}`
pub async fn pair(
    State(app): State<Arc<App>>,
    grant: Grant,
    InProgram(program): InProgram,
    Path((_, pair)): Path<(String, String)>,
    uri: Uri,
) -> Answer {
    let (query, min_size) = parameters(&uri)?;
    query.finish()?;
    let pair: PairId = id(&pair, "pair")?;
    at_least(&app, &program, min_size).await?;
    let view = program.view();
    let body = view.models.pair(pair, today(&app, &view.models)).filter(|pair| is_own(&grant, pair));
    let body = as_shown(&grant, body.ok_or_else(|| not_found("pair", pair))?);
    let version = body.version;
    let body = Balanced { balance: Balance::of_pair(&body), view: body };
    Ok(tagged(json_response(&AsRead { view: body, size: view.size, root: B64(view.root) }), version))
}

/// `GET /v1/programs/{program}/sessions/{id}`
pub async fn session(
    State(app): State<Arc<App>>,
    grant: Grant,
    InProgram(program): InProgram,
    Path((_, session)): Path<(String, String)>,
    uri: Uri,
) -> Answer {
    let (query, min_size) = parameters(&uri)?;
    query.finish()?;
    let session: SessionId = id(&session, "session")?;
    at_least(&app, &program, min_size).await?;
    let view = program.view();
    let mut body = view.models.session(session).ok_or_else(|| not_found("session", session))?;
    if let Some(only) = grant.only() {
        let pair = view.models.pair(body.pair, today(&app, &view.models));
        pair.filter(|pair| is_own(&grant, pair)).ok_or_else(|| not_found("session", session))?;
        // What an exchange was worth is the learner's to say and to see, and not the teacher's to read.
        for exchange in body.exchanges.iter_mut().filter(|exchange| exchange.learner != only) {
            exchange.rating = None;
        }
    }
    let version = body.version;
    Ok(tagged(json_response(&AsRead { view: body, size: view.size, root: B64(view.root) }), version))
}

/// What of the history is asked for.
#[derive(Clone)]
struct Wanted {
    from: u64,
    limit: Option<u64>,
    name: Option<String>,
    subject: Option<Uuid>,
}

/// `GET /v1/programs/{program}/events`
pub async fn events(
    State(app): State<Arc<App>>,
    grant: Grant,
    InProgram(program): InProgram,
    uri: Uri,
    headers: HeaderMap,
) -> Answer {
    let (mut query, min_size) = parameters(&uri)?;
    let wanted = Wanted {
        from: query.number("from", 0, (1 << 53) - 1)?.unwrap_or(0),
        limit: query.number("limit", 1, (1 << 53) - 1)?,
        name: query.take("type", "the type of an event")?,
        subject: query.take("subject", "a UUID")?,
    };
    let wait = query.number("wait", 0, 60)?;
    query.finish()?;
    known_type(wanted.name.as_deref())?;
    let form = wanted_form(&headers)?;
    at_least(&app, &program, min_size).await?;
    not_beyond_the_end(&program, wanted.from)?;
    if let Some(seconds) = wait {
        // A long poll: answers as soon as there is anything at `from`, or empty when the time is up.
        let mut growth = program.growth();
        let from = wanted.from;
        let _waiting = if *growth.borrow_and_update() > from { None } else { Some(app.edge.load.wait()?) };
        tokio::select! {
            _ = growth.wait_for(|size| *size > from) => {}
            () = tokio::time::sleep(Duration::from_secs(seconds)) => {}
            () = app.stopping() => {}
        }
    }
    match form {
        Form::Lines => stream(&app, &grant, &program, wanted).await,
        Form::Page => page(&app, program, wanted).await,
        Form::CloudEvents => cloud_events_page(&app, program, wanted).await,
    }
}

/// There is an event type of this name.
pub(super) fn known_type(name: Option<&str>) -> Result<(), Problem> {
    let Some(name) = name else { return Ok(()) };
    let is_known = mentorlog_events::history::shapes().any(|shape| shape.name == name);
    is_known.then_some(()).ok_or_else(|| {
        let detail = format_args!("`type`: there is no event type `{name}`");
        Problem::new(Code::MalformedParameter, detail).with("parameter", "type")
    })
}

/// The form entries are wanted in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// One JSON document a page.
    Page,
    /// One entry a line, all of them.
    Lines,
    /// A page as CloudEvents.
    CloudEvents,
}

fn wanted_form(headers: &HeaderMap) -> Result<Form, Problem> {
    let forms = [
        ("application/json", Form::Page),
        ("application/x-ndjson", Form::Lines),
        (cloud_events::BATCH, Form::CloudEvents),
    ];
    preferred(headers, &forms).ok_or_else(|| {
        let detail =
            "events come as application/json, application/x-ndjson or application/cloudevents-batch+json";
        Problem::new(Code::NotAcceptable, detail)
    })
}

/// Refuses a position that no reader of this history can have come to: what lies between would be left out, and nobody
/// would be told.
pub(super) fn not_beyond_the_end(program: &Program, from: u64) -> Result<(), Problem> {
    let size = program.size();
    if from <= size {
        return Ok(());
    }
    let detail = format_args!(
        "`from` is {from}, and the ledger has {size} entries: it was put back to an earlier state, or it is another one"
    );
    Err(Problem::new(Code::NotFound, detail).with("parameter", "from").with("size", size))
}

/// Positions to read: those of a subject, or a whole range.
enum Positions {
    All(std::ops::Range<u64>),
    These(std::vec::IntoIter<u64>),
}

/// Reads the wanted entries below `size`, block by block. Blocking: not for a runtime worker.
struct Reader {
    app: Arc<App>,
    program: Arc<Program>,
    positions: Positions,
    name: Option<String>,
    left: u64,
    /// The first position not looked at yet.
    next: u64,
    /// Everything before it can be read.
    size: u64,
}

impl Reader {
    fn new(
        app: &Arc<App>,
        program: &Arc<Program>,
        wanted: Wanted,
        most: u64,
    ) -> Result<(Self, u64, [u8; 32]), Problem> {
        let view = program.view();
        let (size, root) = (view.size, view.root);
        let positions = match wanted.subject {
            None => Positions::All(wanted.from.min(size)..size),
            Some(subject) => {
                let seqs = view.models.timeline(subject).ok_or_else(|| not_found("subject", subject))?;
                Positions::These(seqs.filter(|seq| *seq >= wanted.from).collect::<Vec<_>>().into_iter())
            }
        };
        drop(view);
        let left = wanted.limit.unwrap_or(most).min(most);
        let reader = Self {
            app: app.clone(),
            program: program.clone(),
            positions,
            name: wanted.name,
            left,
            next: wanted.from,
            size,
        };
        Ok((reader, size, root))
    }

    /// The next records, or none when all have been read.
    fn block(&mut self) -> Result<Option<Vec<Record>>, Problem> {
        let unreadable = |error: &dyn std::fmt::Display| Problem::new(Code::Unreadable, error);
        while self.left > 0 {
            let log = &*self.app.published.log;
            let ledger = self.program.id.into();
            let most = BLOCK.min(usize::try_from(self.left).unwrap_or(BLOCK));
            let (mut records, positions): (Vec<Record>, Vec<u64>) = match &mut self.positions {
                Positions::All(range) => {
                    let block = if self.name.is_some() { BLOCK } else { most };
                    let limit = block.min(usize::try_from(range.end - range.start).unwrap_or(BLOCK));
                    if limit == 0 {
                        return Ok(None);
                    }
                    let records = log.read(ledger, range.start, limit).map_err(|error| unreadable(&error))?;
                    if records.len() < limit {
                        return Err(unreadable(&format_args!(
                            "seq {} is missing",
                            range.start + records.len() as u64
                        )));
                    }
                    let positions = (range.start..).take(limit).collect();
                    range.start += limit as u64;
                    (records, positions)
                }
                Positions::These(seqs) => {
                    let positions: Vec<u64> = seqs.take(most).collect();
                    if positions.is_empty() {
                        // Nothing more of the subject up to the end: a poll goes on from there.
                        self.next = self.next.max(self.size);
                        return Ok(None);
                    }
                    let mut records = Vec::with_capacity(positions.len());
                    for seq in &positions {
                        let record = log.read(ledger, *seq, 1).map_err(|error| unreadable(&error))?.pop();
                        records
                            .push(record.ok_or_else(|| unreadable(&format_args!("seq {seq} is missing")))?);
                    }
                    (records, positions)
                }
            };
            self.next = positions.last().map_or(self.next, |last| last + 1);
            if let Some(name) = &self.name {
                let mut kept = Vec::new();
                for (record, seq) in records.into_iter().zip(positions) {
                    if kept.len() as u64 == self.left {
                        // The limit falls inside this block: the rest is for the next request.
                        self.next = seq;
                        break;
                    }
                    let envelope = Envelope::parse(record.bytes()).map_err(|error| unreadable(&error))?;
                    if envelope.name == name {
                        kept.push(record);
                    }
                }
                records = kept;
            }
            self.left -= records.len() as u64;
            if !records.is_empty() {
                return Ok(Some(records));
            }
        }
        Ok(None)
    }
}

/// How many entries a page has, if nothing else is said.
fn page_limit(wanted: &Wanted) -> Result<u64, Problem> {
    let limit = wanted.limit.unwrap_or(100);
    if limit > EVENTS_MAX {
        return Err(Problem::new(
            Code::MalformedParameter,
            format_args!(
                "`limit` of a JSON page is at most {EVENTS_MAX}; ask for application/x-ndjson to get all"
            ),
        )
        .with("parameter", "limit"));
    }
    Ok(limit)
}

/// A page as a batch of CloudEvents; `mentorlog-next` says where the next one begins.
async fn cloud_events_page(app: &Arc<App>, program: Arc<Program>, mut wanted: Wanted) -> Answer {
    wanted.limit = Some(page_limit(&wanted)?);
    let app = app.clone();
    let read = move || -> Result<(Vec<u8>, u64, u64, [u8; 32]), Problem> {
        let unreadable = |error| Problem::new(Code::Unreadable, error);
        let origin = app.published.keybook().of(program.id.into()).map(|keys| keys.origin.to_string());
        let source = format!("urn:mentorlog:{}", origin.unwrap_or_default());
        let (mut reader, size, root) = Reader::new(&app, &program, wanted, EVENTS_MAX)?;
        let mut body = vec![b'['];
        while let Some(records) = reader.block()? {
            for record in records {
                if body.len() > 1 {
                    body.push(b',');
                }
                cloud_events::write(&mut body, record.bytes(), &source, program.id).map_err(unreadable)?;
            }
            if body.len() > PAGE_BYTES {
                break;
            }
        }
        body.push(b']');
        Ok((body, reader.next, size, root))
    };
    let read = tokio::task::spawn_blocking(read).await;
    let failed = |_| Problem::new(Code::Internal, "reading the history failed");
    let (body, next, size, root) = read.map_err(failed)??;
    let mut response = body.into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(cloud_events::BATCH));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    let said = [("next", next.to_string()), ("size", size.to_string()), ("root", B64(root).to_string())];
    for (name, value) in said {
        let name = HeaderName::try_from(format!("mentorlog-{name}")).expect("a header's name");
        headers.insert(name, HeaderValue::try_from(value).expect("digits and base64"));
    }
    Ok(response)
}

async fn page(app: &Arc<App>, program: Arc<Program>, mut wanted: Wanted) -> Answer {
    wanted.limit = Some(page_limit(&wanted)?);
    let app = app.clone();
    let read = move || -> Result<Vec<u8>, Problem> {
        let (mut reader, size, root) = Reader::new(&app, &program, wanted, EVENTS_MAX)?;
        let mut body = Vec::with_capacity(64 * 1024);
        body.extend_from_slice(b"{\"events\":[");
        let mut first = true;
        while let Some(records) = reader.block()? {
            for record in records {
                if !first {
                    body.push(b',');
                }
                first = false;
                // The very bytes of the entry: they are JSON already.
                body.extend_from_slice(record.bytes());
            }
            if body.len() > PAGE_BYTES {
                // `next` says where to go on.
                break;
            }
        }
        let tail = format!("],\"next\":{},\"size\":{size},\"root\":\"{}\"}}", reader.next, B64(root));
        body.extend_from_slice(tail.as_bytes());
        Ok(body)
    };
    let body = tokio::task::spawn_blocking(read)
        .await
        .map_err(|_| Problem::new(Code::Internal, "reading the history failed"))??;
    let mut response = body.into_response();
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

/// Streams that may be under way at once: each holds a thread.
static STREAMS: Turns = Turns::new(32);

/// How long a stream waits for its reader to take the next block. Whoever takes too little is hung up on long before
/// by the edge, which looks at the connection.
const STALL_TIMEOUT: Duration = Duration::from_mins(10);

/// A turn among the streams.
pub(super) fn stream_turn(grant: &Grant) -> Result<Turn, Problem> {
    let busy = || Problem::new(Code::Busy, "too many streams are being read: try again in a moment");
    STREAMS.take(grant.token).ok_or_else(busy)
}

pub(super) type Block = Result<Bytes, std::io::Error>;

/// Sends block after block, as fast as the reader takes them, on a blocking thread. Ends when there are no more,
/// after an error, when the reader stalls, or when the turn goes to somebody else; a reader sees which was the end and
/// which a break.
pub(super) fn send_blocks(turn: Turn, mut next: impl FnMut() -> Option<Block> + Send + 'static) -> Lines {
    let (sender, receiver) = tokio::sync::mpsc::channel::<Block>(4);
    let is_whole = Arc::new(AtomicBool::new(false));
    let lines = Lines { receiver, is_whole: is_whole.clone() };
    let runtime = tokio::runtime::Handle::current();
    tokio::task::spawn_blocking(move || {
        while let Some(block) = next() {
            let broken = block.is_err();
            let sent = runtime.block_on(async {
                tokio::select! {
                    sent = tokio::time::timeout(STALL_TIMEOUT, sender.send(block)) => matches!(sent, Ok(Ok(()))),
                    () = turn.over() => false,
                }
            });
            if broken || !sent {
                return;
            }
        }
        is_whole.store(true, Ordering::Release);
    });
    lines
}

/// Every wanted entry as it is stored, one a line.
async fn stream(app: &Arc<App>, grant: &Grant, program: &Arc<Program>, wanted: Wanted) -> Answer {
    let turn = stream_turn(grant)?;
    let opened = {
        let (app, program) = (app.clone(), program.clone());
        // Finding all events of a subject is no work for a thread that serves others.
        tokio::task::spawn_blocking(move || Reader::new(&app, &program, wanted, u64::MAX)).await
    };
    let (mut reader, size, root) =
        opened.map_err(|_| Problem::new(Code::Internal, "reading the history failed"))??;
    let receiver = send_blocks(turn, move || match reader.block() {
        Ok(Some(records)) => {
            let mut lines = BytesMut::with_capacity(records.iter().map(|r| r.bytes().len() + 1).sum());
            for record in records {
                lines.put_slice(record.bytes());
                lines.put_u8(b'\n');
            }
            Some(Ok(lines.freeze()))
        }
        Ok(None) => None,
        // The status is sent already: breaking off is the only way left to say that this is not all.
        Err(problem) => Some(Err(std::io::Error::other(problem.document().to_string()))),
    });
    Ok(streamed(receiver, "application/x-ndjson", size, root))
}

/// Writes the read models of a program at one size, with the root that size had: one line of JSON.
/// `replay` writes the same, so that what is live can be compared byte for byte with what the log adds up to.
pub fn write_read_models(
    out: &mut impl std::io::Write,
    size: u64,
    root: Hash,
    models: &ReadModels,
) -> std::io::Result<()> {
    write!(out, "{{\"size\":{size},\"root\":\"{}\",\"models\":", B64(root))?;
    models.write_json(out)?;
    out.write_all(b"}\n")
}

/// `GET /v1/programs/{program}/read-models`
pub async fn read_models(
    State(app): State<Arc<App>>,
    grant: Grant,
    InProgram(program): InProgram,
    uri: Uri,
) -> Answer {
    // Each holds a moment of the read models: one at a time.
    static TURN: Semaphore = Semaphore::const_new(1);
    let (query, min_size) = parameters(&uri)?;
    query.finish()?;
    at_least(&app, &program, min_size).await?;
    let turn = {
        let _waiting = app.edge.load.wait()?;
        TURN.acquire().await.map_err(|error| Problem::new(Code::Internal, error))?
    };
    let stream = stream_turn(&grant)?;
    let spool = move || -> std::io::Result<(std::fs::File, u64, u64, Hash)> {
        let _turn = turn;
        // Writing takes seconds: publishing, and every read behind it, would wait.
        let View { models, size, root } = program.moment();
        // A million sessions are some 400 MB of JSON: in a file without a name they are nobody's memory, however
        // slowly they are read.
        let mut out = std::io::BufWriter::with_capacity(1 << 20, tempfile::tempfile()?);
        write_read_models(&mut out, size, root, &models)?;
        drop(models);
        let mut file = out.into_inner().map_err(std::io::IntoInnerError::into_error)?;
        std::io::Seek::rewind(&mut file)?;
        let length = file.metadata()?.len();
        Ok((file, length, size, root))
    };
    let spooled = tokio::task::spawn_blocking(spool).await;
    let (mut file, length, size, root) = spooled
        .map_err(|_| Problem::new(Code::Internal, "writing the read models failed"))?
        .map_err(|error| {
            let folder = std::env::temp_dir();
            let detail = format!("the read models are written to {} first: {error}", folder.display());
            Problem::new(Code::Internal, detail)
        })?;
    let receiver = send_blocks(stream, move || {
        let mut piece = Vec::with_capacity(PIECE);
        match (&mut file).take(PIECE as u64).read_to_end(&mut piece) {
            Ok(0) => None,
            Ok(_) => Some(Ok(piece.into())),
            Err(error) => Some(Err(error)),
        }
    });
    let mut response = streamed(receiver, "application/json", size, root);
    announce(&mut response, length);
    Ok(response)
}

/// Says how long a streamed answer will be. What breaks off is then seen to be by HTTP/1.0 too, which proxies speak and
/// which knows no chunks. The body itself does not say it: it is nobody's memory, as what has a length is.
pub(super) fn announce(response: &mut Response, length: u64) {
    response.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(length));
}

/// An answer whose body comes from a blocking thread.
pub(super) fn streamed(lines: Lines, media: &'static str, size: u64, root: Hash) -> Response {
    let mut response = (StatusCode::OK, Body::new(lines)).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(media));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    for (name, value) in [("mentorlog-size", size.to_string()), ("mentorlog-root", B64(root).to_string())] {
        if let Ok(value) = HeaderValue::from_str(&value) {
            headers.insert(name, value);
        }
    }
    response
}

/// A body that comes block by block from elsewhere.
pub(super) struct Lines {
    receiver: tokio::sync::mpsc::Receiver<Block>,
    /// Whether what was sent is all: else the body breaks off, so that nobody takes a part for the whole.
    is_whole: Arc<AtomicBool>,
}

impl Lines {
    /// What is whole when it is said to be, by the flag.
    pub(super) fn whole_when_said(
        receiver: tokio::sync::mpsc::Receiver<Block>,
        is_whole: Arc<AtomicBool>,
    ) -> Self {
        Self { receiver, is_whole }
    }

    /// A feed that has no end and may stop anywhere between two blocks.
    pub(super) fn endless(receiver: tokio::sync::mpsc::Receiver<Block>) -> Self {
        Self { receiver, is_whole: Arc::new(AtomicBool::new(true)) }
    }
}

impl hyper::body::Body for Lines {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<hyper::body::Frame<Bytes>, std::io::Error>>> {
        self.receiver.poll_recv(context).map(|block| match block {
            Some(block) => Some(block.map(hyper::body::Frame::data)),
            None if self.is_whole.swap(true, Ordering::Acquire) => None,
            None => Some(Err(std::io::Error::other("this is not all: the answer was broken off"))),
        })
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;

    use super::*;

    async fn read(mut lines: Lines) -> (usize, bool) {
        let (mut bytes, mut whole) = (0, true);
        while let Some(frame) = lines.frame().await {
            match frame {
                Ok(frame) => bytes += frame.into_data().map_or(0, |data| data.len()),
                Err(_) => whole = false,
            }
        }
        (bytes, whole)
    }

    fn blocks(count: usize) -> impl FnMut() -> Option<Block> + Send + 'static {
        let mut given = 0;
        move || {
            given += 1;
            // An empty one in between is no end.
            let length = if given == 2 { 0 } else { 10 };
            (given <= count).then(|| Ok(Bytes::from(vec![0; length])))
        }
    }

    #[tokio::test]
    async fn what_lost_its_turn_breaks_off_and_is_not_taken_for_the_whole() {
        static TURNS: Turns = Turns::new(2);
        let who = |number: u128| Some(mentorlog_events::id::TokenId(Uuid::from_u128(number)));
        assert_eq!(read(send_blocks(TURNS.take(who(1)).unwrap(), blocks(9))).await, (80, true));
        // Nobody reads them: they wait for room.
        let [first, second] = [(), ()].map(|()| send_blocks(TURNS.take(who(1)).unwrap(), blocks(9)));
        let other = send_blocks(TURNS.take(who(2)).unwrap(), blocks(9));
        assert_eq!(read(other).await, (80, true));
        let (bytes, whole) = read(first).await;
        assert!(bytes < 80 && !whole, "{bytes} bytes");
        assert_eq!(read(second).await, (80, true));
    }
}
