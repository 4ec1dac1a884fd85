//! Commands in: one, a batch, or the opening of a program; and the receipts out.
//! Never decides: it reads, hands over and words the answer.

use std::io::Write as _;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use mentorlog_events::entry::Actor;
use mentorlog_events::id::{B64, ParticipantId};
use mentorlog_events::record::Hash;
use mentorlog_events::time::Timestamp;
use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;
use uuid::Uuid;

use super::App;
use super::guard::{self, InProgram};
use super::problem::{Code, Problem};
use super::request::{
    BATCH_BYTES_MAX, COMMAND_BYTES_MAX, Media, Parameters, caller, check_key, correlation, idempotency_key,
    if_match, media, read_body,
};
use crate::access::grant::Grant;
use crate::access::permission::Permission;
use crate::keys::LedgerSecret;
use crate::metrics::Outcome;
use crate::rules::Subject;
use crate::rules::command::{Command, CommandError, Common, Version};
use crate::rules::rejection::Rejection;
use crate::writer::published::{Head, Program};
use crate::writer::receipt::{Receipt, Refusal};
use crate::writer::{BatchAnswer, Idempotency, Submission};

/// Most items of a batch.
pub const BATCH_ITEMS_MAX: usize = 10_000;

/// Says that the answer is that of an earlier request with the same key.
pub(super) const REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");

/// `POST /v1/programs/{program}/commands/{command}`
pub async fn one(
    State(app): State<Arc<App>>,
    InProgram(program): InProgram,
    Path((_, name)): Path<(String, String)>,
    request: Request,
) -> Result<Response, Problem> {
    // The parts as they came: the extractors of headers and path would copy them.
    let (parts, body) = request.into_parts();
    let headers = &parts.headers;
    Parameters::read(parts.uri.query())?.finish()?;
    let grant = guard::grant(&parts)?;
    media(headers, &[Media::Json])?;
    let key = idempotency_key(headers)?;
    let tag = if_match(headers)?;
    let correlation = correlation(headers)?;
    let body = read_body(&app.edge, headers, body, COMMAND_BYTES_MAX).await?;
    let (command, mut common) =
        Command::read_with_common(&name, &body.bytes).map_err(|error| unreadable(error, &name))?;
    if let (Some(tag), Some(version)) = (tag, common.expected_version)
        && tag != version
    {
        return Err(Problem::new(Code::Malformed, "If-Match and expected_version differ: send one of them")
            .with("pointer", "/expected_version"));
    }
    common.expected_version = common.expected_version.or(tag);
    let submission = submission(&grant, &program, command, &common, correlation, key, &[&body.bytes])?;
    let proposes = matches!(submission.command, Command::ProposePair(_));
    let erases = matches!(submission.command, Command::ErasePerson(_));
    let receipt = app.writer.submit(program.id, submission).await;
    let receipt = receipt.map_err(|refusal| told(grant.only(), proposes, refusal))?;
    if erases {
        guard::forget_tokens_of_the_erased(app.clone()).await;
    }
    Ok(Accepted { receipt, program: &program }.into_response())
}

/// `POST /v1/programs`
pub async fn open(
    State(app): State<Arc<App>>,
    grant: Grant,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    Parameters::read(uri.query())?.finish()?;
    media(&headers, &[Media::Json])?;
    let key = idempotency_key(&headers)?;
    let correlation = correlation(&headers)?;
    let body = read_body(&app.edge, &headers, body, COMMAND_BYTES_MAX).await?;
    const NAME: &str = "open-program";
    let (command, common) =
        Command::read_with_common(NAME, &body.bytes).map_err(|error| unreadable(error, NAME))?;
    if common.expected_version.is_some() || headers.contains_key(header::IF_MATCH) {
        return Err(Problem::new(
            Code::Malformed,
            "a program that is being opened has no version yet: send neither expected_version nor If-Match",
        ));
    }
    let caller = caller(&grant, &common, correlation)?;
    let idempotency = key.map(|key| Idempotency {
        key: app.registry_secret.key(&grant.key_scope(), key),
        fp: fingerprint(&app.registry_secret, &command, &[&body.bytes]),
    });
    let Command::OpenProgram(opening) = command else {
        return Err(Problem::new(Code::Internal, "open-program was read as another command"));
    };
    let (program, receipt) = app.writer.open_program(opening, caller, idempotency).await?;
    let program = guard::find(&app, &grant, &program.to_string())?;
    let mut response = Accepted { receipt, program: &program }.into_response();
    if let Ok(location) = HeaderValue::from_str(&format!("/v1/programs/{}", program.slug)) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    Ok(response)
}

/// The submission of a command that was read.
fn submission(
    grant: &Grant,
    program: &Program,
    mut command: Command,
    common: &Common,
    correlation: Option<Uuid>,
    key: Option<&str>,
    body: &[&[u8]],
) -> Result<Submission, Problem> {
    let caller = caller(grant, common, correlation)?;
    match command {
        Command::ErasePerson(_) => grant.may(Permission::Erase)?,
        Command::ChangePolicy(_) | Command::CloseProgram(_) | Command::ArchiveProgram(_) => {
            grant.may(Permission::Govern)?;
        }
        _ => {}
    }
    command.resolve_labels(&|label| program.secret.participant(label));
    let idempotency = key.map(|key| Idempotency {
        key: program.secret.key(&grant.key_scope(), key),
        fp: fingerprint(&program.secret, &command, body),
    });
    Ok(Submission { command, caller, expected_version: common.expected_version, idempotency })
}

/// A refusal as the caller may know it. A participant is told nothing of what is others': what belongs to others is
/// answered as what is not there, and why somebody cannot be paired with them is not told.
fn told(only: Option<ParticipantId>, proposes: bool, refusal: Refusal) -> Problem {
    let (Some(me), Refusal::Rule(rejection)) = (only, &refusal) else { return refusal.into() };
    match *rejection {
        Rejection::PairingBlocked => cannot_be_paired(),
        Rejection::ParticipantNotFound { participant }
        | Rejection::ParticipantErased { participant }
        | Rejection::ParticipantState { participant, .. }
        | Rejection::ComparisonArm { participant }
        | Rejection::CapacityReached { participant, .. }
            if proposes && participant != me =>
        {
            cannot_be_paired()
        }
        Rejection::NotYours
        | Rejection::NotAParty
        | Rejection::ParticipantNotFound { .. }
        | Rejection::PairNotFound { .. }
        | Rejection::SessionNotFound { .. }
        | Rejection::GoalNotFound { .. } => Problem::new(
            Code::NotFound,
            "nothing of this id is this participant's to change: see their own page, pairs and sessions",
        ),
        _ => refusal.into(),
    }
}

fn cannot_be_paired() -> Problem {
    Problem::new(Code::CannotBePaired, "the two cannot be paired now: ask the program's manager")
}

/// What a key was used for: the command and its body, without what is sealed in it, and what is said `beside` it.
// It stays in the log for ever, and the secret it is keyed with beside it: a birth year could be found by trying all.
fn fingerprint(secret: &LedgerSecret, command: &Command, said: &[&[u8]]) -> B64<16> {
    let (body, beside) = said.split_first().expect("a command has a body");
    let body = command.without_sealed(body);
    let said: Vec<&[u8]> = std::iter::once(&*body).chain(beside.iter().copied()).collect();
    secret.fingerprint_of(command.name(), &said)
}

fn unreadable(error: CommandError, name: &str) -> Problem {
    match error {
        CommandError::UnknownCommand => {
            Problem::new(Code::UnknownCommand, format_args!("there is no command `{name}`"))
                .with("commands", Command::NAMES.to_vec())
        }
        CommandError::Malformed(error) => {
            Problem::new(Code::Malformed, &error).with("line", error.line()).with("column", error.column())
        }
    }
}

/// The answer to an accepted command.
struct Accepted<'a> {
    receipt: Receipt,
    program: &'a Program,
}

/// Writes `"command_id":..,"events":[..],"size":..` and, if the receipt has it, `,"root":..`.
// By hand: thousands of these are written for a batch, and nothing in them needs escaping.
fn write_receipt(out: &mut Vec<u8>, receipt: &Receipt) {
    let mut uuid = [0; 36];
    out.extend_from_slice(b"\"command_id\":\"");
    out.extend_from_slice(receipt.command.0.as_hyphenated().encode_lower(&mut uuid).as_bytes());
    out.extend_from_slice(b"\",\"events\":[");
    for (index, event) in receipt.events.iter().enumerate() {
        out.extend_from_slice(if index == 0 { b"{\"seq\":" } else { b",{\"seq\":" });
        write_number(out, event.seq);
        out.extend_from_slice(b",\"id\":\"");
        out.extend_from_slice(event.id.0.as_hyphenated().encode_lower(&mut uuid).as_bytes());
        out.extend_from_slice(b"\",\"type\":\"");
        out.extend_from_slice(event.name.as_bytes());
        out.extend_from_slice(b"\"}");
    }
    out.extend_from_slice(b"],\"size\":");
    write_number(out, receipt.size);
    if let Some(root) = receipt.root {
        write_root(out, &root);
    }
}

fn write_number(out: &mut Vec<u8>, number: u64) {
    write!(out, "{number}").expect("writing to memory cannot fail");
}

fn write_root(out: &mut Vec<u8>, root: &Hash) {
    write!(out, ",\"root\":\"{}\"", B64(*root)).expect("writing to memory cannot fail");
}

/// Writes where what a command was about can be read. What has no page of its own is told by its events.
fn write_location(out: &mut Vec<u8>, program: &Program, subject: Subject) {
    out.extend_from_slice(b"/v1/programs/");
    out.extend_from_slice(program.slug.as_str().as_bytes());
    let (before, id): (&[u8], Uuid) = match subject {
        Subject::Program(_) => return,
        Subject::Participant(id) => (b"/participants/", id.0),
        Subject::Pair(id) => (b"/pairs/", id.0),
        Subject::Session(id) => (b"/sessions/", id.0),
        Subject::Goal(id) => (b"/events?subject=", id.0),
        Subject::Round(id) => (b"/events?subject=", id.0),
        Subject::NoShow(id) => (b"/events?subject=", id.0),
    };
    out.extend_from_slice(before);
    out.extend_from_slice(id.as_hyphenated().encode_lower(&mut [0; 36]).as_bytes());
}

impl IntoResponse for Accepted<'_> {
    fn into_response(self) -> Response {
        let mut body = Vec::with_capacity(384);
        body.push(b'{');
        write_receipt(&mut body, &self.receipt);
        body.push(b'}');
        let mut location = Vec::with_capacity(128);
        write_location(&mut location, self.program, self.receipt.subject);
        let mut response = (StatusCode::CREATED, body).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Ok(value) = HeaderValue::from_maybe_shared(Bytes::from(location)) {
            headers.insert(header::LOCATION, value);
        }
        if let Ok(value) = HeaderValue::from_str(&format!("\"{}\"", self.receipt.version)) {
            headers.insert(header::ETAG, value);
        }
        if self.receipt.replayed {
            headers.insert(REPLAYED, HeaderValue::from_static("true"));
        }
        response
    }
}

/// One item of a batch.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Item<'a> {
    command: String,
    key: Option<String>,
    occurred_at: Option<Timestamp>,
    actor: Option<Actor>,
    on_behalf_of: Option<ParticipantId>,
    expected_version: Option<Version>,
    #[serde(borrow)]
    data: &'a RawValue,
}

/// `POST /v1/programs/{program}/commands`
pub async fn batch(
    State(app): State<Arc<App>>,
    grant: Grant,
    InProgram(program): InProgram,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let mut query = Parameters::read(uri.query())?;
    let atomic = query.take::<bool>("atomic", "true or false")?.unwrap_or(false);
    query.finish()?;
    let media = media(&headers, &[Media::Ndjson, Media::Json])?;
    if headers.contains_key("idempotency-key") || headers.contains_key(header::IF_MATCH) {
        return Err(Problem::new(
            Code::MalformedHeader,
            "a batch takes `key` and `expected_version` per item, not Idempotency-Key or If-Match for all of it",
        ));
    }
    let correlation = correlation(&headers)?;
    let body = read_body(&app.edge, &headers, body, BATCH_BYTES_MAX).await?;
    // Thousands of items take milliseconds to read: too long for a thread that serves everybody else.
    let read = {
        let (program, body) = (program.clone(), body.bytes.clone());
        let grant = grant.clone();
        tokio::task::spawn_blocking(move || read_items(&grant, &program, media, &body, correlation, atomic))
    };
    let items = read.await.map_err(|_| Problem::new(Code::Internal, "reading the batch failed"))??;
    let mut submissions = Vec::with_capacity(items.len());
    let mut problems: Vec<Option<Problem>> = Vec::with_capacity(items.len());
    for (index, item) in items.into_iter().enumerate() {
        match item {
            Ok(submission) => {
                submissions.push(submission);
                problems.push(None);
            }
            Err(problem) if atomic => return Err(problem.with("index", index)),
            Err(problem) => problems.push(Some(problem)),
        }
    }
    let proposes: Vec<bool> =
        submissions.iter().map(|s: &Submission| matches!(s.command, Command::ProposePair(_))).collect();
    let BatchAnswer { answers, head } = app.writer.submit_batch(program.id, submissions, atomic).await?;
    let mut answers = answers.into_iter().zip(proposes);
    let results: Vec<Result<Receipt, Problem>> = problems
        .into_iter()
        .map(|problem| match problem {
            Some(problem) => Err(problem),
            None => match answers.next() {
                Some((answer, proposes)) => answer.map_err(|refusal| told(grant.only(), proposes, refusal)),
                None => Err(Problem::new(Code::Internal, "the writer gave no answer to this item")),
            },
        })
        .collect();
    if atomic {
        let refused = results.iter().enumerate().find_map(|(index, result)| match result {
            Err(problem) if problem.code() != Code::NotDone.as_str() => Some((index, problem.clone())),
            _ => None,
        });
        if let Some((index, problem)) = refused {
            return Err(problem.with("index", index));
        }
    }
    for result in &results {
        app.metrics.command(match result {
            Ok(receipt) if receipt.replayed => Outcome::Replayed,
            Ok(_) => Outcome::Accepted,
            Err(problem) => Outcome::Refused(problem.code()),
        });
    }
    let encode = move || encode_results(&program, &results, head);
    let body = tokio::task::spawn_blocking(encode).await;
    let body = body.map_err(|_| Problem::new(Code::Internal, "wording the answer failed"))?;
    let mut response = (StatusCode::MULTI_STATUS, body).into_response();
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok(response)
}

/// `{"results":[..],"size":..,"root":".."}`: one result an item, and the ledger right after the batch.
fn encode_results(program: &Program, results: &[Result<Receipt, Problem>], head: Head) -> Vec<u8> {
    let mut out = Vec::with_capacity(64 + 384 * results.len());
    out.extend_from_slice(b"{\"results\":[");
    for (index, result) in results.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        match result {
            Ok(receipt) => {
                out.extend_from_slice(b"{\"status\":201,");
                write_receipt(&mut out, receipt);
                out.extend_from_slice(b",\"location\":\"");
                write_location(&mut out, program, receipt.subject);
                out.extend_from_slice(b"\",\"version\":");
                write_number(&mut out, receipt.version);
                out.extend_from_slice(if receipt.replayed { b",\"replayed\":true}" } else { b"}" });
            }
            Err(problem) => {
                serde_json::to_writer(&mut out, &problem.document()).expect("a problem is plain data");
            }
        }
    }
    out.extend_from_slice(b"],\"size\":");
    write_number(&mut out, head.size);
    write_root(&mut out, &head.root);
    out.push(b'}');
    out
}

type ReadItems = Vec<Result<Submission, Problem>>;

/// Reads the items. The outer error is about the batch, the inner ones are about single items.
fn read_items(
    grant: &Grant,
    program: &Program,
    media: Media,
    body: &Bytes,
    correlation: Option<Uuid>,
    atomic: bool,
) -> Result<ReadItems, Problem> {
    let impossible = |detail: String| Problem::new(Code::ImpossibleBatch, detail);
    // Counted before any is read: megabytes of tiny items would become gigabytes of problems.
    let texts: Vec<&[u8]> = match media {
        Media::Json => {
            let items: Vec<&RawValue> = serde_json::from_slice(body).map_err(|error| {
                Problem::new(Code::Malformed, format_args!("an array of items is expected: {error}"))
            })?;
            items.into_iter().map(|item| item.get().as_bytes()).collect()
        }
        Media::Ndjson => body
            .split(|byte| *byte == b'\n')
            .map(|line| line.strip_suffix(b"\r").unwrap_or(line))
            .filter(|line| !line.is_empty())
            .collect(),
    };
    if texts.is_empty() || texts.len() > BATCH_ITEMS_MAX {
        return Err(impossible(format!("send 1 to {BATCH_ITEMS_MAX} items, not {}", texts.len())));
    }
    let raw: Vec<Result<Item<'_>, Problem>> = texts.into_iter().map(read_item).collect();
    if atomic {
        let mut keys = std::collections::HashSet::new();
        for item in raw.iter().flatten() {
            if let Some(key) = &item.key
                && !keys.insert(key)
            {
                return Err(impossible(format!("the key `{key}` stands twice in an atomic batch")));
            }
        }
    }
    Ok(raw
        .into_iter()
        .map(|item| {
            let item = item?;
            if let Some(key) = &item.key
                && !check_key(key)
            {
                return Err(Problem::new(
                    Code::Malformed,
                    "key: 1 to 255 visible ASCII characters without quotes",
                )
                .with("pointer", "/key"));
            }
            let mut data = std::borrow::Cow::Borrowed(item.data.get());
            if let Some(occurred_at) = item.occurred_at {
                data = with_occurred_at(&data, occurred_at).into();
            }
            let read = Command::read_with_common(&item.command, data.as_bytes());
            let (command, mut common) = read.map_err(|error| unreadable(error, &item.command))?;
            let twice = |name: &str| {
                Problem::new(Code::Malformed, format_args!("{name} stands in the item and in its data"))
                    .with("pointer", format!("/{name}"))
            };
            let expected_version = item.expected_version.map(|version| version.0);
            either(&mut common.actor, item.actor).map_err(|()| twice("actor"))?;
            either(&mut common.on_behalf_of, item.on_behalf_of).map_err(|()| twice("on_behalf_of"))?;
            either(&mut common.expected_version, expected_version).map_err(|()| twice("expected_version"))?;
            // The key covers what the item says beside its data, too; a form of ours, for it is compared for ever.
            let beside = beside_data(item.actor, item.on_behalf_of, expected_version);
            let said = [data.as_bytes(), beside.as_bytes()];
            let said = if beside.is_empty() { &said[..1] } else { &said[..] };
            submission(grant, program, command, &common, correlation, item.key.as_deref(), said)
        })
        .collect())
}

fn read_item(bytes: &[u8]) -> Result<Item<'_>, Problem> {
    let malformed = |error: &dyn std::fmt::Display| {
        Problem::new(
            Code::Malformed,
            format_args!(
                "an item is {{\"command\":..,\"key\":..,\"occurred_at\":..,\"data\":{{..}}}}: {error}"
            ),
        )
    };
    // Derived reading takes an array of the fields for the object, too.
    if bytes.trim_ascii_start().starts_with(b"[") {
        return Err(malformed(&"an array is no item"));
    }
    serde_json::from_slice(bytes).map_err(|error| malformed(&error))
}

/// What an item says beside its data, as its key covers it: empty when it says nothing.
fn beside_data(actor: Option<Actor>, on_behalf_of: Option<ParticipantId>, version: Option<u64>) -> String {
    [
        actor.map(|actor| format!("actor={actor}\n")),
        on_behalf_of.map(|participant| format!("on_behalf_of={participant}\n")),
        version.map(|version| format!("expected_version={version}\n")),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn either<T>(inner: &mut Option<T>, outer: Option<T>) -> Result<(), ()> {
    match (&inner, outer) {
        (Some(_), Some(_)) => Err(()),
        (None, outer @ Some(_)) => {
            *inner = outer;
            Ok(())
        }
        (_, None) => Ok(()),
    }
}

/// The data with the item's `occurred_at` among its fields; if it has one of its own, reading it finds it twice.
fn with_occurred_at(data: &str, occurred_at: Timestamp) -> String {
    match data.trim_start().strip_prefix('{') {
        Some(rest) if rest.trim_start().starts_with('}') => {
            format!("{{\"occurred_at\":\"{occurred_at}\"{rest}")
        }
        Some(rest) => format!("{{\"occurred_at\":\"{occurred_at}\",{rest}"),
        None => data.to_owned(),
    }
}

/// The commands there are, for callers who ask `GET`.
pub async fn names() -> Response {
    axum::Json(json!({ "commands": Command::NAMES })).into_response()
}
