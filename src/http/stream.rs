//! The live feed of a program: its entries as Server-Sent Events (WHATWG HTML, section 9.2), from any position on and
//! for as long as the reader stays. Never sends an entry twice or leaves one out: the position is the `id`, entries
//! come from the log, and what tells of growth only wakes the reader.
//!
//! Whoever is at the head is sent the same bytes: an entry is read and worded once, however many follow the program.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use bytes::{BufMut, Bytes, BytesMut};
use mentorlog_events::entry::Envelope;
use mentorlog_events::id::ProgramId;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::Instant;

use super::App;
use super::guard::{self, InProgram};
use super::problem::{Code, Problem};
use super::reads::Lines;
use super::request::Parameters;
use crate::access::grant::Grant;
use crate::access::permission::Permission;
use crate::writer::published::Program;

/// Most readers at once, of all programs together.
const READERS_MAX: usize = 2048;

/// Entries worded at a time.
const BLOCK: usize = 256;

/// Pieces kept for those who follow, of each program.
const RECENT_PIECES: usize = 64;

/// Bytes kept for those who follow, of each program.
const RECENT_BYTES: usize = 1 << 20;

/// After so long without an entry a comment is sent: proxies cut what is silent.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// A revoked token ends its streams within this time.
const CHECK: Duration = Duration::from_secs(1);

/// Entries that come closer together than this are sent together.
const PACE: Duration = Duration::from_millis(50);

/// How long a reader may take to make room.
const STALL_TIMEOUT: Duration = Duration::from_secs(30);

/// How long a reader is to wait before it connects again, in milliseconds.
const RETRY_MILLIS: u32 = 2000;

const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// The feeds of every program.
pub struct Streams {
    feeds: Mutex<HashMap<ProgramId, Arc<Feed>>>,
    readers: Arc<Semaphore>,
}

impl Default for Streams {
    fn default() -> Self {
        Self { feeds: Mutex::default(), readers: Arc::new(Semaphore::new(READERS_MAX)) }
    }
}

impl Streams {
    fn of(&self, program: ProgramId) -> Arc<Feed> {
        self.feeds.lock().unwrap_or_else(PoisonError::into_inner).entry(program).or_default().clone()
    }
}

/// The newest pieces of one program. Whoever finds none reads and words the next one while the others wait for it.
#[derive(Default)]
struct Feed(tokio::sync::Mutex<VecDeque<Piece>>);

/// Entries, worded.
#[derive(Clone)]
struct Piece {
    from: u64,
    /// The position after the last one that was looked at.
    next: u64,
    bytes: Bytes,
}

/// What a reader wants.
struct Wanted {
    next: u64,
    name: Option<String>,
}

/// `GET /v1/programs/{program}/events/stream`
pub async fn stream(
    State(app): State<Arc<App>>,
    grant: Grant,
    InProgram(program): InProgram,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let mut query = Parameters::read(uri.query())?;
    let from = query.number("from", 0, (1 << 53) - 1)?;
    let name: Option<String> = query.take("type", "the type of an event")?;
    query.finish()?;
    super::reads::known_type(name.as_deref())?;
    // A reader that comes back says what it saw last; where it once began does not matter any more.
    let seen = last_event_id(&headers)?;
    let next = seen.map(|seen| seen + 1).or(from).unwrap_or(0);
    let size = program.size();
    if seen.is_some() && next > size {
        let detail = format_args!(
            "you saw more entries than the ledger has, which are {size}: it was put back to an earlier state; verify \
             it, then start again without Last-Event-ID"
        );
        return Err(Problem::new(Code::NotFound, detail).with("size", size));
    }
    super::reads::not_beyond_the_end(&program, next)?;
    let turn = app.streams.readers.clone().try_acquire_owned();
    let turn =
        turn.map_err(|_| Problem::new(Code::Busy, "too many streams are being read: try again later"))?;
    let (sender, receiver) = mpsc::channel(2);
    let feed = app.streams.of(program.id);
    tokio::spawn(follow(Reader { app, grant, program, feed, sender, _turn: turn }, Wanted { next, name }));
    let mut response = (StatusCode::OK, Body::new(Lines::endless(receiver))).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"));
    Ok(response)
}

fn last_event_id(headers: &HeaderMap) -> Result<Option<u64>, Problem> {
    let Some(value) = headers.get(LAST_EVENT_ID) else { return Ok(None) };
    let seq = value.to_str().ok().and_then(|text| text.trim().parse::<u64>().ok());
    seq.filter(|seq| *seq < (1 << 53) - 1).map(Some).ok_or_else(|| {
        Problem::new(
            Code::MalformedHeader,
            "Last-Event-ID must be the id of the last event that was received",
        )
        .with("header", "Last-Event-ID")
    })
}

/// Somebody who follows a program.
struct Reader {
    app: Arc<App>,
    grant: Grant,
    program: Arc<Program>,
    feed: Arc<Feed>,
    sender: mpsc::Sender<Result<Bytes, std::io::Error>>,
    _turn: OwnedSemaphorePermit,
}

/// The reader is gone, or has to be.
struct Gone;

impl Reader {
    async fn send(&self, bytes: Bytes) -> Result<(), Gone> {
        let sent = tokio::time::timeout(STALL_TIMEOUT, self.sender.send(Ok(bytes))).await;
        sent.ok().and_then(Result::ok).ok_or(Gone)
    }

    /// The entries from a position on; `None` when there are none.
    async fn piece(&self, wanted: &Wanted) -> Result<Option<Piece>, Problem> {
        let (from, size) = (wanted.next, self.program.size());
        if from >= size {
            return Ok(None);
        }
        if wanted.name.is_some() || size - from > BLOCK as u64 {
            // Far behind, or wants something of its own: nobody else waits for that.
            return self.read(from, wanted.name.clone()).await.map(Some);
        }
        let mut recent = self.feed.0.lock().await;
        if let Some(piece) = recent.iter().rev().find(|piece| piece.from == from) {
            return Ok(Some(piece.clone()));
        }
        let piece = self.read(from, None).await?;
        recent.push_back(piece.clone());
        while recent.len() > RECENT_PIECES
            || recent.len() > 1 && recent.iter().map(|piece| piece.bytes.len()).sum::<usize>() > RECENT_BYTES
        {
            recent.pop_front();
        }
        Ok(Some(piece))
    }

    async fn read(&self, from: u64, name: Option<String>) -> Result<Piece, Problem> {
        let (app, program) = (self.app.clone(), self.program.clone());
        let reading = tokio::task::spawn_blocking(move || {
            let unreadable = |error: &dyn std::fmt::Display| Problem::new(Code::Unreadable, error);
            let size = program.size();
            let limit = BLOCK.min(usize::try_from(size - from).unwrap_or(BLOCK));
            let records = app.published.log.read(program.id.into(), from, limit);
            let records = records.map_err(|error| unreadable(&error))?;
            if records.is_empty() {
                return Err(unreadable(&format_args!("seq {from} is missing")));
            }
            let mut bytes = BytesMut::with_capacity(records.iter().map(|r| r.bytes().len() + 64).sum());
            let mut next = from;
            for record in records {
                let envelope = Envelope::parse(record.bytes()).map_err(|error| unreadable(&error))?;
                if name.as_deref().is_none_or(|name| envelope.name == name) {
                    // An entry is one line of JSON, so one `data` line is all of it.
                    bytes.put_slice(format!("id: {next}\nevent: {}\ndata: ", envelope.name).as_bytes());
                    bytes.put_slice(record.bytes());
                    bytes.put_slice(b"\n\n");
                }
                next += 1;
            }
            Ok(Piece { from, next, bytes: bytes.freeze() })
        });
        reading.await.map_err(|_| Problem::new(Code::Internal, "reading the history failed"))?
    }

    /// Whether whoever asked may still have what they asked for: tokens are revoked and expire.
    fn may_go_on(&self) -> bool {
        guard::is_still_honoured(&self.app, &self.grant) && self.grant.may(Permission::Content).is_ok()
    }
}

/// Sends the entries until the reader is gone, the service stops, or the reader's token is worth nothing any more.
async fn follow(reader: Reader, mut wanted: Wanted) {
    // What ends it is told by the end.
    let _ = go_on(&reader, &mut wanted).await;
}

async fn go_on(reader: &Reader, wanted: &mut Wanted) -> Result<(), Gone> {
    reader.send(Bytes::from(format!("retry: {RETRY_MILLIS}\n\n"))).await?;
    let mut growth = reader.program.growth();
    let mut caught_up = false;
    let (mut sent, mut checked) = (Instant::now(), Instant::now());
    loop {
        if checked.elapsed() >= CHECK {
            checked = Instant::now();
            if !reader.may_go_on() {
                return Err(Gone);
            }
        }
        match reader.piece(wanted).await {
            Ok(Some(piece)) => {
                wanted.next = piece.next;
                if !piece.bytes.is_empty() {
                    reader.send(piece.bytes).await?;
                    sent = Instant::now();
                }
                continue;
            }
            Ok(None) => {}
            Err(problem) => {
                tracing::warn!(program = %reader.program.id, problem = problem.code(), "a stream broke off");
                return Err(Gone);
            }
        }
        if !caught_up {
            caught_up = true;
            let size = wanted.next;
            reader.send(Bytes::from(format!("event: caught-up\ndata: {{\"size\":{size}}}\n\n"))).await?;
            sent = Instant::now();
        }
        let next = wanted.next;
        tokio::select! {
            () = async { drop(growth.wait_for(|size| *size > next).await) } => {
                // What comes close together is sent together: a thousand readers are woken once for it.
                tokio::time::sleep_until(sent + PACE).await;
            }
            () = tokio::time::sleep_until(sent + KEEP_ALIVE) => {
                reader.send(Bytes::from_static(b": keep-alive\n\n")).await?;
                sent = Instant::now();
            }
            // To look again whether the token is still honoured.
            () = tokio::time::sleep(CHECK) => {}
            () = reader.app.stopping() => return Err(Gone),
            () = reader.sender.closed() => return Err(Gone),
        }
    }
}
