//! Signed reports: asking for one, finding it by its digest, and listing those of a program.
//! Never shows a figure that outsiders may not see, nor a report that is not durable.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use mentorlog_events::id::{ProgramId, ReportId};
use mentorlog_events::time::Timestamp;
use mentorlog_projections::outsiders::Week;
use mentorlog_projections::report::{Stated, decimals};
use serde::{Deserialize, Serialize};

use super::App;
use super::accept::preferred;
use super::guard::{InProgram, Stranger, is_still_honoured};
use super::problem::{Code, Problem};
use super::reads::json_bytes;
use super::request::{COMMAND_BYTES_MAX, Media, Parameters, caller, correlation, media, read_body};
use crate::access::grant::Grant;
use crate::ledger::note::Note;
use crate::rules::command::Common;
use crate::writer::published::Published;
use crate::writer::reports::{Digest, ReportRefusal, rendering};

type Answer = Result<Response, Problem>;

/// What a report can be asked for.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    /// A week that is over, e.g. `2026-W46`; the last one, if not given.
    #[serde(default)]
    week: Option<String>,
}

/// `POST /v1/programs/{program}/reports`
pub async fn publish(
    State(app): State<Arc<App>>,
    grant: Grant,
    InProgram(program): InProgram,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> Answer {
    Parameters::read(uri.query())?.finish()?;
    media(&headers, &[Media::Json])?;
    let correlation = correlation(&headers)?;
    let body = read_body(&app.edge, &headers, body, COMMAND_BYTES_MAX).await?;
    let asked: Asked = serde_json::from_slice(&body.bytes).map_err(|error| {
        Problem::new(Code::Malformed, &error).with("line", error.line()).with("column", error.column())
    })?;
    let week: Option<Week> = asked.week.map(|week| week.parse()).transpose().map_err(|error| {
        Problem::new(Code::ImpossibleReport, format_args!("{error}")).with("pointer", "/week")
    })?;
    let caller = caller(&grant, &Common::default(), correlation)?;
    // What is published already is recorded no second time, so the writer is not asked who may have it.
    if !is_still_honoured(&app, &grant) {
        return Err(Stranger::Unauthorized.into());
    }
    let turn = app.measures.turn().await?;
    // On a task of its own: who hangs up leaves nothing half done.
    let publishing = app.clone();
    let published = tokio::spawn(async move {
        let _turn = turn;
        publishing.writer.publish_report(program, week, caller).await
    });
    let published =
        published.await.map_err(|_| Problem::new(Code::Internal, "publishing the report failed"))??;
    let mut response = rendered(&app, published.digest).await?;
    *response.status_mut() = if published.is_new { StatusCode::CREATED } else { StatusCode::OK };
    if let Ok(location) = HeaderValue::from_str(&format!("/v1/reports/{}", published.digest)) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    Ok(response)
}

/// `GET /v1/reports/{digest}`: a readable rendering, or with `Accept: text/plain` the signed note to the byte.
pub async fn report(
    State(app): State<Arc<App>>,
    grant: Grant,
    Path(digest): Path<String>,
    uri: Uri,
    headers: HeaderMap,
) -> Answer {
    Parameters::read(uri.query())?.finish()?;
    let wants_note = wants_note(&headers)?;
    let digest: Digest = digest
        .parse()
        .map_err(|error| Problem::new(Code::NotFound, format_args!("`{digest}` is {error}")))?;
    // Of a program the caller knows nothing of, there is none.
    let (published, programs) = (app.clone(), grant.programs);
    let note = blocking(move || {
        let note = note(&published.published, digest)?;
        let (_, stated) = stated(&note)?;
        if programs.covers(stated.program) { Ok(note) } else { Err(no_report(digest)) }
    });
    let note = note.await?;
    if !wants_note {
        return rendered(&app, digest).await;
    }
    Ok(as_text(note))
}

fn as_text(note: Vec<u8>) -> Response {
    let mut response = note.into_response();
    let kind = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

/// `GET /log/{program}/reports/{digest}`: the signed note to the byte, where it lies in a bundle.
pub async fn beside_the_log(
    State(app): State<Arc<App>>,
    InProgram(program): InProgram,
    Path((_, digest)): Path<(String, String)>,
    uri: Uri,
) -> Answer {
    Parameters::read(uri.query())?.finish()?;
    let digest: Digest = digest
        .parse()
        .map_err(|error| Problem::new(Code::NotFound, format_args!("`{digest}` is {error}")))?;
    let bytes = blocking(move || {
        let bytes = note(&app.published, digest)?;
        let (_, stated) = stated(&bytes)?;
        // Of another program's it is not told that it is there.
        if stated.program == program.id { Ok(bytes) } else { Err(no_report(digest)) }
    });
    Ok(as_text(bytes.await?))
}

/// A published report, in a list.
#[derive(Serialize)]
struct Listed {
    report: ReportId,
    digest: String,
    size: u64,
    published_at: Timestamp,
    /// `None` if its file is not there or damaged.
    week: Option<String>,
}

#[derive(Serialize)]
struct List {
    program: ProgramId,
    reports: Vec<Listed>,
}

/// `GET /v1/programs/{program}/reports`: the oldest first.
pub async fn list(State(app): State<Arc<App>>, InProgram(program): InProgram, uri: Uri) -> Answer {
    Parameters::read(uri.query())?.finish()?;
    blocking(move || {
        let published = &app.published;
        let origin = published.keybook().of(program.id.into()).map(|keys| keys.origin.to_string());
        let recorded = published.reports.recorded().of(&origin.unwrap_or_default());
        let listed = recorded.into_iter().map(|(report, size, digest, published_at)| {
            let stated = note(published, digest).ok().and_then(|note| stated(&note).ok());
            let week = stated.map(|(_, stated)| stated.week);
            Listed { report, digest: digest.to_string(), size, published_at, week }
        });
        let list = List { program: program.id, reports: listed.collect() };
        Ok(json_bytes(serde_json::to_vec(&list).expect("a list is plain data").into()))
    })
    .await
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Problem> + Send + 'static,
) -> Result<T, Problem> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|_| Err(Problem::new(Code::Internal, "reading the report failed")))
}

fn note(published: &Published, digest: Digest) -> Result<Vec<u8>, Problem> {
    published.reports.note(digest)?.ok_or_else(|| no_report(digest))
}

fn no_report(digest: Digest) -> Problem {
    Problem::new(Code::NotFound, format_args!("there is no report {digest}"))
}

fn stated(note: &[u8]) -> Result<(Note, Stated), Problem> {
    let unreadable = |error: &dyn std::fmt::Display| Problem::new(Code::Unreadable, error);
    let note = Note::parse(note).map_err(|error| unreadable(&error))?;
    let stated = Stated::read(note.text()).map_err(|error| unreadable(&error))?;
    Ok((note, stated))
}

/// The rendering: the decimals are derived anew, from the week as the read models hold it.
async fn rendered(app: &Arc<App>, digest: Digest) -> Answer {
    let app = app.clone();
    let body: Bytes = blocking(move || {
        let (note, stated) = stated(&note(&app.published, digest)?)?;
        let gone = || Problem::new(Code::Unreadable, "the history the report rests on is not there");
        let program = app.published.program(&stated.program.to_string()).ok_or_else(gone)?;
        let week = stated.week().map_err(|error| Problem::new(Code::Unreadable, error))?;
        let close = program.view().models.week_close(week).ok_or_else(gone)?;
        Ok(rendering(&note, &decimals(&close)).into())
    })
    .await?;
    Ok(json_bytes(body))
}

fn wants_note(headers: &HeaderMap) -> Result<bool, Problem> {
    preferred(headers, &[("application/json", false), ("text/plain", true)])
        .ok_or_else(|| Problem::new(Code::NotAcceptable, "a report comes as application/json or text/plain"))
}

impl From<ReportRefusal> for Problem {
    fn from(refusal: ReportRefusal) -> Self {
        let code = match refusal {
            ReportRefusal::Refused(refusal) => return refusal.into(),
            ReportRefusal::NotOver { .. } | ReportRefusal::BeforeOpening(_) => {
                return Self::new(Code::ImpossibleReport, refusal).with("pointer", "/week");
            }
            ReportRefusal::Off => Code::NotPublishing,
            ReportRefusal::Lost(_) | ReportRefusal::Unreadable(_) => Code::Unreadable,
        };
        Self::new(code, refusal)
    }
}
