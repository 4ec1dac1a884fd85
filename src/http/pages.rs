//! The pages under `/` and `/p/`: gathers what they show and hands it to the dashboard.
//! Never reckons a figure otherwise than the API does, and never on a thread that serves requests.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Redirect, Response};
use bytes::Bytes;
use maud::{Markup, html};
use mentorlog_events::entry::Envelope;
use mentorlog_events::event::{Arm, Role};
use mentorlog_events::id::{B64, LedgerId, PairId, ParticipantId};
use mentorlog_events::record::{Hash, Record};
use mentorlog_events::time::{Day, Timestamp};
use mentorlog_projections::behind::{Counted, Part};
use mentorlog_projections::listings::{PairsAsked, PeopleAsked, SessionsAsked};
use mentorlog_projections::outsiders::Week;
use mentorlog_projections::participants::ParticipantView;
use mentorlog_projections::program::{ProgramState, ProgramView};
use mentorlog_projections::read_models::ReadModels;
use mentorlog_projections::reciprocity::{self, Explained};
use mentorlog_projections::retention::{self, Basis, By, Subject};
use serde::{Deserialize, Serialize};
use tokio::sync::{Notify, mpsc};
use uuid::Uuid;

use super::edge::answers::Shared;
use super::guard::{Identity, InProgram};
use super::measures::{COMPUTING, Known, Moment, When, at, axes, written};
use super::outsiders::{OfWeek, of_week};
use super::pairing::{SuggestionsPage, suggestions_of, suggestions_then};
use super::problem::{Code, Problem, ProblemCode};
use super::reads::Lines;
use super::request::Parameters;
use super::{App, login};
use crate::access::grant::{Denied, Grant};
use crate::access::permission::Permission;
use crate::dashboard::assets::Asset;
use crate::dashboard::audit::{self, Audit, Checkpoint, Key, Witness};
use crate::dashboard::frame::{self, Asked, Axes, Here, Reader, Section};
use crate::dashboard::history::{self, History, Line, Shown};
use crate::dashboard::numbers::{of, words};
use crate::dashboard::overview::{self, Overview, Standing};
use crate::dashboard::programs::{self, Card};
use crate::dashboard::published::{self, Published as Publication};
use crate::dashboard::{definitions, pairs, participants, retention as curves, sessions, suggestions};
use crate::writer::published::{Program, Published};

/// Items of a page.
const ROWS: usize = 50;

/// Events on the page of one pair or person.
const EVENTS: usize = 20;

/// Sessions on the page of one pair.
const SESSIONS: usize = 200;

/// Months that are drawn.
const MONTHS: usize = 24;

/// Entries that are looked through for a type before the page is answered.
const SEARCHED: u64 = 20_000;

/// Entries read from the log at a time.
const BLOCK: u64 = 1024;

/// What browsers may do with a page: what comes from here, and nothing else.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; \
     form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// Longest page that begins before it is there.
const LATE_BYTES_MAX: usize = 1024 * 1024;

/// A page, or what is wrong with the question.
pub(super) type Shell = Result<Response, Problem>;

/// What of a program's pages somebody may open who has this.
fn needs(section: Section) -> Permission {
    match section {
        Section::Overview
        | Section::Reciprocity
        | Section::Retention
        | Section::Pairs
        | Section::Participants
        | Section::History => Permission::Content,
        Section::Suggestions => Permission::Matching,
        Section::Audit => Permission::Log,
        Section::Published => Permission::Figures,
    }
}

/// Who looks, as far as it shows.
fn reader(grant: &Grant) -> Reader {
    Reader {
        role: grant.role.map(Role::as_str),
        only: grant.only(),
        sections: Section::ALL.into_iter().filter(|section| grant.may(needs(*section)).is_ok()).collect(),
    }
}

/// Where the pages of a program begin for somebody, and what is there, if it is not the program's overview.
fn entrance(grant: &Grant, slug: &str) -> Option<(String, &'static str)> {
    if grant.may(Permission::Content).is_ok() {
        Some((format!("/p/{slug}"), ""))
    } else if let Some(only) = grant.only() {
        Some((format!("/p/{slug}/participants/{only}"), "Your page"))
    } else if grant.may(Permission::Figures).is_ok() {
        Some((format!("/p/{slug}/published"), "What is published of it"))
    } else {
        None
    }
}

// ------------------------------------------------------------------------------------------- how it is sent

fn with_headers(mut response: Response, media: &'static str) -> Response {
    let headers = response.headers_mut();
    for (name, value) in [
        (header::CONTENT_TYPE, media),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::CACHE_CONTROL, "no-store"),
        // With no referrer at all a browser would not say where a form comes from either.
        (header::REFERRER_POLICY, "same-origin"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

const HTML: &str = "text/html; charset=utf-8";

pub(super) fn sent(body: Bytes) -> Response {
    with_headers(body.into_response(), HTML)
}

/// Around every page: a problem becomes a page, too, which says what the API says, with the way back.
///
/// A page that takes its time, because it is of a moment that has to be computed first, begins before it is there: what
/// all pages begin with is sent when the question is known to be right. Whatever fails after that is a page, too; its
/// status has gone out.
pub(super) async fn dressed(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let is_get = request.method() == Method::GET;
    let computing = Arc::new(Notify::new());
    let mut answer = Box::pin(COMPUTING.scope(computing.clone(), dress(request, next, true)));
    let late = async {
        computing.notified().await;
        let patience = app.edge.limits.times.first_byte;
        if !patience.is_zero() {
            tokio::time::sleep(patience).await;
        }
    };
    tokio::select! {
        biased;
        response = &mut answer => return response,
        () = late, if is_get => {}
    }
    let (sender, receiver) = mpsc::channel(2);
    let is_whole = Arc::new(AtomicBool::new(false));
    let lines = Lines::whole_when_said(receiver, is_whole.clone());
    tokio::spawn(async move {
        // It counts as a request at work as long as it is made.
        let Ok(_working) = app.edge.load.begin() else { return };
        let beginning = frame::beginning().as_bytes();
        // Whoever has gone meanwhile takes the rest with them.
        let _ = sender.send(Ok(Bytes::from_static(beginning))).await;
        let response = tokio::select! {
            response = answer => response,
            // Nobody waits for it any more: what waits for its turn gives it up.
            () = sender.closed() => return,
        };
        if let Some(ProblemCode(code)) = response.extensions().get() {
            tracing::warn!(code, "a page that had begun could not be made");
        }
        let whole = axum::body::to_bytes(response.into_body(), LATE_BYTES_MAX).await;
        let rest = whole.ok().filter(|whole| whole.starts_with(beginning));
        let rest = rest.map(|whole| whole.slice(beginning.len()..));
        is_whole.store(rest.is_some(), Ordering::Release);
        let _ = sender.send(rest.ok_or_else(|| std::io::Error::other("the page could not be made"))).await;
    });
    with_headers(Body::new(lines).into_response(), HTML)
}

/// Around what programs ask for and people come upon: a problem becomes a page for a browser that looks for one.
pub(super) async fn dressed_for_browsers(request: Request, next: Next) -> Response {
    let looks = request.method() == Method::GET && wants_a_page(request.headers());
    dress(request, next, looks).await
}

/// Whether a browser goes there: it names HTML, which no program does that wants data.
fn wants_a_page(headers: &HeaderMap) -> bool {
    let accepted = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let mut media = accepted.flat_map(|value| value.split(','));
    media.any(|part| part.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("text/html"))
}

async fn dress(request: Request, next: Next, into_a_page: bool) -> Response {
    let grant = request.extensions().get::<Identity>().cloned().and_then(Result::ok);
    let (method, uri) = (request.method().clone(), request.uri().clone());
    let mut response = next.run(request).await;
    if !into_a_page {
        return response;
    }
    let Some(problem) = response.extensions_mut().remove::<Problem>() else { return response };
    let mut page = if problem.status() == StatusCode::UNAUTHORIZED && method == Method::GET {
        login::asked_to(&uri)
    } else {
        let body = refused(&problem, &uri, grant.as_ref().map(reader).as_ref()).into_string();
        with_headers((problem.status(), body).into_response(), HTML)
    };
    for name in [header::RETRY_AFTER, header::WWW_AUTHENTICATE, header::ALLOW] {
        if let Some(value) = response.headers_mut().remove(&name) {
            page.headers_mut().insert(name, value);
        }
    }
    page.headers_mut().insert(header::VARY, HeaderValue::from_static("accept"));
    page.extensions_mut().insert(ProblemCode(problem.code()));
    page
}

/// A problem as a page: what is wrong, what was asked with the chance to correct it, and the ways out.
fn refused(problem: &Problem, uri: &Uri, reader: Option<&Reader>) -> Markup {
    let document = problem.document();
    let text = |name: &str| document[name].as_str().unwrap_or_default().to_owned();
    let path = uri.path();
    let program = path.strip_prefix("/p/").and_then(|rest| rest.split('/').next());
    let program = program.filter(|_| problem.code() != Code::NoSuchProgram.as_str());
    let form = form_again(uri).filter(|_| problem.code() == Code::MalformedParameter.as_str());
    let main = html! {
        h1 { (text("title")) }
        p.lead { (code_in(&text("detail"))) }
        @if let Some(form) = form {
            form method="get" action=(path) {
                @for (name, value) in form {
                    @let is_wrong = document["parameter"] == name;
                    label {
                        span { code { (name) } @if is_wrong { " " span.tag.warn { "not taken" } } }
                        input type="text" name=(name) value=(value) autocomplete="off" spellcheck="false";
                    }
                }
                button type="submit" { "Try again" }
                a.button href=(path) { "Without all of it" }
            }
        }
        p.quiet {
            "Code " a href={ "/problems/" (problem.code()) } { code { (problem.code()) } } ". "
            @if let Some(program) = program { a href={ "/p/" (program) } { "The program" } " · " }
            a href="/" { "What there is for you" }
        }
    };
    frame::plain(&text("title"), reader, &main)
}

/// The parameters of a query as they were given, if there are any and they can be read at all.
fn form_again(uri: &Uri) -> Option<Vec<(String, String)>> {
    let given = Parameters::read(uri.query()).ok()?.left_over();
    (!given.is_empty() && given.len() <= 16).then_some(given)
}

/// A sentence whose parts between backticks are code.
fn code_in(text: &str) -> Markup {
    html! {
        @for (at, part) in text.split('`').enumerate() {
            @if at % 2 == 1 { code { (part) } } @else { (part) }
        }
    }
}

/// Where a path leads that people write with a slash too many, or without what follows.
pub(super) fn meant(path: &str) -> Option<&str> {
    let trimmed = path.trim_end_matches('/');
    match trimmed {
        "/p" => Some("/"),
        "/definitions" | "/docs" | "/problems" | "/login" if trimmed != path => Some(trimmed),
        // Neither begins with two slashes: it would lead to another host.
        _ if trimmed != path && (trimmed.starts_with("/p/") || trimmed.starts_with("/problems/")) => {
            Some(trimmed)
        }
        _ => None,
    }
}

pub(super) fn written_out(markup: Markup) -> Bytes {
    Bytes::from(markup.into_string())
}

/// `GET /assets/{name}`: another content has another name, so it is kept for ever.
pub(super) async fn asset(Path(name): Path<String>) -> Response {
    let Some(asset) = Asset::find(&name) else {
        return Problem::new(Code::NoSuchPath, "there is no such asset").into_response();
    };
    let (text, media) = asset.content();
    let mut response = text.into_response();
    response.extensions_mut().insert(Shared);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(media));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("public, max-age=31536000, immutable"));
    response
}

// ---------------------------------------------------------------------------------------- what is asked for

/// Reads a query. A form sends its empty fields too: they are the same as absent.
fn query(uri: &Uri) -> Result<(Parameters, When), Problem> {
    let given = uri.query().unwrap_or_default().split('&').filter(|part| !part.ends_with('='));
    let given: Vec<&str> = given.collect();
    let mut query = Parameters::read(Some(&given.join("&")))?;
    let when = axes(&mut query)?;
    Ok((query, when))
}

fn id<T: std::str::FromStr>(text: &str, what: &str) -> Result<T, Problem> {
    text.parse().map_err(|_| Problem::new(Code::NotFound, format_args!("`{text}` is not the id of a {what}")))
}

fn unreadable(error: &impl std::fmt::Display) -> Problem {
    Problem::new(Code::Unreadable, error)
}

fn asked(when: &When) -> Asked {
    Asked { as_of: when.as_of, known_at: when.known_at.map(|known| known.to_string()) }
}

/// The program as counts, at the moment that is shown. The day only says what is overdue by then: one before all
/// instants will do as well.
fn view(models: &ReadModels, as_of: Day) -> Result<ProgramView, Problem> {
    let close = models.start_of(as_of.plus_days(1)).or(Timestamp::from_micros(0));
    let view = close.and_then(|close| models.program(close));
    view.ok_or_else(|| Problem::new(Code::NoSuchProgram, "the program has no entries"))
}

fn here(
    program: &Program,
    view: &ProgramView,
    reader: Reader,
    known: Known,
    when: &When,
    section: Section,
) -> Here {
    Here {
        reader,
        slug: program.slug.to_string(),
        name: view.name.clone(),
        section,
        path: section.path().to_owned(),
        axes: section.axes(),
        opened: view.time_zone.day(view.opened_at),
        recorded: view.time_zone.day(view.recorded_at),
        is_archived: view.state == ProgramState::Archived,
        asked: asked(when),
        as_of: known.as_of,
        size: known.size,
        root: B64(known.root).to_string(),
        keep: Vec::new(),
    }
}

/// A page of a program that is made from its read models at a moment: made once for each moment and query.
async fn made(
    app: &Arc<App>,
    grant: &Grant,
    program: Arc<Program>,
    when: When,
    section: Section,
    asked_for: String,
    make: impl FnOnce(&ReadModels, &ProgramView, Here) -> Result<Markup, Problem> + Send + 'static,
) -> Shell {
    let reader = reader(grant);
    // What one may see is not kept for another: the key says who looks.
    let key = format!("page {section:?} {:?} {:?} {asked_for} {reader:?}", when.as_of, when.known_at);
    let of = program.clone();
    let page = written(app, program, when, key, move |models, known| {
        let view = view(models, known.as_of)?;
        let here = here(&of, &view, reader, known, &when, section);
        Ok(written_out(make(models, &view, here)?))
    });
    Ok(sent(page.await?))
}

// -------------------------------------------------------------------------------------------------- figures

/// `GET /`: each the programs of their scope, and of these what they may see.
pub(super) async fn programs(State(app): State<Arc<App>>, grant: Grant, uri: Uri) -> Shell {
    Parameters::read(uri.query())?.finish()?;
    let now = app.published.clock.now();
    let (lists, counts) = (grant.may(Permission::Programs).is_ok(), grant.may(Permission::Summary).is_ok());
    let mine = app.published.programs();
    let mine = mine.iter().filter(|program| grant.programs.covers(program.id));
    let cards: Vec<Card> = mine
        .filter_map(|program| {
            let leads_to = entrance(&grant, program.slug.as_str());
            let seen = (lists || leads_to.is_some()).then(|| {
                let seen = program.view();
                (seen.models.program(now), seen.models.taking_part())
            });
            let (view, taking_part) = seen?;
            Some(Card { view: view?, taking_part, leads_to })
        })
        .collect();
    let why = if grant.may(Permission::Entrance).is_ok() {
        None
    } else {
        Some(format!(
            "A token of the role {} opens no page of a program: what it is for is done through the API.",
            grant.who().as_str()
        ))
    };
    let page = programs::page(&reader(&grant), &cards, counts, why.as_deref());
    Ok(sent(written_out(page)))
}

/// `GET /definitions`
pub(super) async fn definitions(request: Request) -> Response {
    let grant = request.extensions().get::<Identity>().cloned().and_then(Result::ok);
    sent(written_out(definitions::page(grant.as_ref().map(reader).as_ref())))
}

/// `GET /p/{program}`
pub(super) async fn overview(
    State(app): State<Arc<App>>,
    grant: Grant,
    InProgram(program): InProgram,
    uri: Uri,
) -> Shell {
    match entrance(&grant, program.slug.as_str()) {
        Some((elsewhere, says)) if !says.is_empty() => return Ok(Redirect::to(&elsewhere).into_response()),
        Some(_) | None => grant.may(Permission::Content)?,
    }
    let (query, when) = query(&uri)?;
    query.finish()?;
    made(&app, &grant, program, when, Section::Overview, String::new(), move |models, view, here| {
        let as_of = here.as_of;
        // Where things stood before the last entry is not kept.
        let standing = (!here.is_an_earlier_day()).then(|| {
            let remembered_days = view.policy.rules.rating_window_days;
            let since = as_of.plus_days(-i32::from(remembered_days));
            Standing {
                health: models.health(as_of, overview::SHOWN),
                taking_part: models.taking_part(),
                to_confirm: models.unconfirmed_since(since, as_of, overview::SHOWN),
                remembered_days,
            }
        });
        let reciprocity = models.reciprocity(reciprocity::Asked::as_of(as_of));
        let retention = models
            .retention(&retention::Asked::as_of(as_of))
            .map_err(|error| Problem::new(Code::Internal, error))?;
        let months = models.months(until(view, as_of), MONTHS);
        let shown = Overview {
            program: view,
            standing,
            reciprocity: &reciprocity,
            retention: &retention,
            months: &months,
        };
        Ok(overview::page(&here, &shown))
    })
    .await
}

/// The last day that is drawn: nothing happens in a program that is archived.
fn until(view: &ProgramView, as_of: Day) -> Day {
    if view.state == ProgramState::Archived { view.since.min(as_of) } else { as_of }
}

/// `GET /p/{program}/reciprocity`
pub(super) async fn reciprocity(
    State(app): State<Arc<App>>,
    grant: Grant,
    InProgram(program): InProgram,
    uri: Uri,
) -> Shell {
    let (query, when) = query(&uri)?;
    query.finish()?;
    made(&app, &grant, program, when, Section::Reciprocity, String::new(), |models, view, here| {
        let asked = reciprocity::Asked::as_of(here.as_of);
        let (measured, balances) = (models.reciprocity(asked), models.balances(asked));
        let months = models.months(until(view, here.as_of), MONTHS);
        Ok(crate::dashboard::reciprocity::page(&here, &measured, &balances, &months))
    })
    .await
}

/// Whose lives, what makes them, and how they are grouped.
struct Lives {
    subject: Subject,
    basis: Basis,
    by: Option<By>,
}

impl Lives {
    fn take(query: &mut Parameters) -> Result<Self, Problem> {
        let subject: Option<Subject> = query.take("subject", "pairs or participants")?;
        let basis: Option<Basis> = query.take("basis", "record or activity")?;
        let by: Option<By> = query.take("by", "generation, arm or reciprocity")?;
        let (subject, basis) = (subject.unwrap_or(Subject::Pairs), basis.unwrap_or(Basis::Record));
        Ok(Self { subject, basis, by })
    }

    fn asked(&self, as_of: Day) -> Result<retention::Asked, Problem> {
        let plain = retention::Asked::as_of(as_of);
        let asked = retention::Asked { subject: self.subject, basis: self.basis, by: self.by, ..plain };
        asked.check().map_err(|impossible| {
            Problem::new(Code::MalformedParameter, impossible).with("parameter", impossible.parameter())
        })?;
        Ok(asked)
    }
}

/// `GET /p/{program}/retention`
pub(super) async fn retention(
    State(app): State<Arc<App>>,
    grant: Grant,
    InProgram(program): InProgram,
    uri: Uri,
) -> Shell {
    let (mut query, when) = query(&uri)?;
    let lives = Lives::take(&mut query)?;
    query.finish()?;
    lives.asked(Day::from_number(0))?;
    let asked_for = format!("{:?} {:?} {:?}", lives.subject, lives.basis, lives.by);
    made(&app, &grant, program, when, Section::Retention, asked_for, move |models, _, mut here| {
        let asked = lives.asked(here.as_of)?;
        let impossible = |error| Problem::new(Code::Internal, error);
        let measured = models.retention(&asked).map_err(impossible)?;
        let longest = measured.strata.iter().filter_map(|one| one.curve.last()).map(|point| point.day);
        let watched = longest.max().unwrap_or(0);
        // Every fifth day of the first year, of everybody: enough for areas.
        let often = retention::Asked { at: (0..=73).map(|n| n * 5).collect(), by: None, ..asked.clone() };
        let endings = (asked.basis == Basis::Record).then(|| models.retention(&often)).transpose();
        let endings = endings.map_err(impossible)?;
        let word = |given: bool, text: &str| if given { text.to_owned() } else { String::new() };
        here.keep = vec![
            ("subject", word(lives.subject == Subject::Participants, "participants")),
            ("basis", word(lives.basis == Basis::Activity, "activity")),
            ("by", lives.by.map(by_word).unwrap_or_default().to_owned()),
        ];
        Ok(curves::page(&here, &curves::Curves { measured: &measured, endings: endings.as_ref(), watched }))
    })
    .await
}

fn by_word(by: By) -> &'static str {
    match by {
        By::Generation => "generation",
        By::Cohort => "cohort",
        By::Arm => "arm",
        By::Reciprocity => "reciprocity",
    }
}

// --------------------------------------------------------------------------------------------- pairs, people

fn offset(query: &mut Parameters) -> Result<usize, Problem> {
    let offset = query.number("offset", 0, u64::from(u32::MAX))?.unwrap_or(0);
    Ok(usize::try_from(offset).unwrap_or(usize::MAX))
}

/// `GET /p/{program}/pairs`
pub(super) async fn pairs(
    State(app): State<Arc<App>>,
    grant: Grant,
    InProgram(program): InProgram,
    uri: Uri,
) -> Shell {
    let (mut query, when) = query(&uri)?;
    let asked = PairsAsked {
        state: query.take("state", "a state of a pair, e.g. active")?,
        stalled: query.take("stalled", "true or false")?.unwrap_or(false),
        participant: query.take("participant", "the id of a participant")?,
        order: query.take("order", "idle, newest, met, sessions or term")?.unwrap_or_default(),
        offset: offset(&mut query)?,
        limit: ROWS,
    };
    query.finish()?;
    made(
        &app,
        &grant,
        program,
        now_if_only_a_day(when),
        Section::Pairs,
        format!("{asked:?} {:?}", when.as_of),
        move |models, _, mut here| {
            here.asked.as_of = when.as_of;
            if let Some(id) = asked.participant {
                known_participant(models, id)?;
            }
            let listing = models.list_pairs(asked, here.as_of);
            let idle: Vec<Option<u32>> =
                listing.items.iter().map(|pair| models.idle_days(pair.pair, here.as_of)).collect();
            here.keep = vec![
                ("state", asked.state.map(|state| state.as_str().to_owned()).unwrap_or_default()),
                ("stalled", if asked.stalled { "true".to_owned() } else { String::new() }),
                ("participant", asked.participant.map(|id| id.to_string()).unwrap_or_default()),
                ("order", asked.order.as_str().to_owned()),
            ];
            Ok(pairs::list(&here, asked, &listing, &idle))
        },
    )
    .await
}

/// Whether somebody is in the program; a problem that says so if not.
fn known_participant(models: &ReadModels, id: ParticipantId) -> Result<ParticipantView, Problem> {
    models.participant(id).ok_or_else(|| {
        Problem::new(Code::NotFound, format_args!("there is no participant {id} in this program"))
    })
}

/// `GET /p/{program}/sessions`
pub(super) async fn sessions(
    State(app): State<Arc<App>>,
    grant: Grant,
    InProgram(program): InProgram,
    uri: Uri,
) -> Shell {
    let (mut query, when) = query(&uri)?;
    let waiting = query.take("waiting", "unconfirmed or disputed")?.unwrap_or_default();
    let newest = query.word("order", &["newest"])?.is_some();
    let asked = SessionsAsked { waiting, newest, offset: offset(&mut query)?, limit: ROWS };
    query.finish()?;
    made(
        &app,
        &grant,
        program,
        now_if_only_a_day(when),
        Section::Pairs,
        format!("waiting {asked:?} {:?}", when.as_of),
        move |models, _, mut here| {
            here.asked.as_of = when.as_of;
            "/sessions".clone_into(&mut here.path);
            here.keep = vec![
                ("waiting", waiting.as_str().to_owned()),
                ("order", if newest { "newest".to_owned() } else { String::new() }),
            ];
            Ok(sessions::list(&here, asked, &models.list_waiting(asked)))
        },
    )
    .await
}

/// Lists are of what the ledger says, not of a day: the day is only carried on.
fn now_if_only_a_day(when: When) -> When {
    When { as_of: None, ..when }
}

/// Whoever is confined to one participant sees the present alone: the past of what is theirs would tell who said what
/// of them when. Returns whom.
fn only_now(grant: &Grant, when: &When) -> Result<Option<ParticipantId>, Problem> {
    if when.as_of.is_some() || when.known_at.is_some() {
        grant.may(Permission::Content)?;
    }
    Ok(grant.only())
}

fn read_lines(published: &Published, ledger: LedgerId, seqs: &[u64]) -> Result<Vec<Line>, Problem> {
    seqs.iter().map(|seq| line(&record(published, ledger, *seq)?)).collect()
}

fn record(published: &Published, ledger: LedgerId, seq: u64) -> Result<Record, Problem> {
    let record = published.log.read(ledger, seq, 1).map_err(|error| unreadable(&error))?.pop();
    record.ok_or_else(|| unreadable(&format_args!("seq {seq} is missing")))
}

fn line(record: &Record) -> Result<Line, Problem> {
    Line::read(record).map_err(|error| unreadable(&error))
}

/// The newest events of a subject, and how many there are.
fn newest(
    app: &App,
    program: &Program,
    models: &ReadModels,
    subject: Uuid,
) -> Result<(Vec<Line>, u64), Problem> {
    let seqs: Vec<u64> = models.timeline(subject).into_iter().flatten().collect();
    let newest: Vec<u64> = seqs.iter().rev().take(EVENTS).copied().collect();
    Ok((read_lines(&app.published, program.id.into(), &newest)?, seqs.len() as u64))
}

/// `GET /p/{program}/pairs/{id}`
pub(super) async fn pair(
    State(app): State<Arc<App>>,
    grant: Grant,
    InProgram(program): InProgram,
    Path((_, pair)): Path<(String, String)>,
    uri: Uri,
) -> Shell {
    let (query, when) = query(&uri)?;
    query.finish()?;
    let pair: PairId = id(&pair, "pair")?;
    let only = only_now(&grant, &when)?;
    let (app_too, program_too) = (app.clone(), program.clone());
    made(
        &app,
        &grant,
        program,
        now_if_only_a_day(when),
        Section::Pairs,
        format!("one {pair} {:?}", when.as_of),
        move |models, _, mut here| {
            here.asked.as_of = when.as_of;
            here.path = format!("/pairs/{pair}");
            let today = here.as_of;
            let view = models.pair(pair, today);
            // That there is a pair of others is not told.
            let view = view.filter(|pair| only.is_none_or(|only| [pair.a, pair.b].contains(&only)));
            let view = view.ok_or_else(|| {
                Problem::new(Code::NotFound, format_args!("there is no pair {pair} in this program"))
            })?;
            let mut sessions = models.sessions_of_pair(pair, SESSIONS).unwrap_or_default();
            if let Some(only) = only {
                // What an exchange was worth is the learner's to say and to see, and not the teacher's to read.
                let exchanges = sessions.iter_mut().flat_map(|session| &mut session.exchanges);
                for exchange in exchanges.filter(|exchange| exchange.learner != only) {
                    exchange.rating = None;
                }
            }
            let (lines, events) = match only {
                None => newest(&app_too, &program_too, models, pair.0)?,
                Some(_) => (Vec::new(), 0),
            };
            let idle_days = models.idle_days(pair, today);
            let one =
                pairs::One { pair: &view, sessions: &sessions, idle_days, lines: &lines, events, today };
            Ok(pairs::one(&here, &one))
        },
    )
    .await
}

/// `GET /p/{program}/participants`
pub(super) async fn participants(
    State(app): State<Arc<App>>,
    grant: Grant,
    InProgram(program): InProgram,
    uri: Uri,
) -> Shell {
    let (mut query, when) = query(&uri)?;
    let asked = PeopleAsked {
        state: query.take("state", "a state of a participant, e.g. enrolled")?,
        generation: query.take("generation", "a generation, e.g. gen-x")?,
        arm: query.word("arm", &["program", "comparison"])?.map(|word| match word {
            "program" => Arm::Program,
            _ => Arm::Comparison,
        }),
        unpaired: query.take("unpaired", "true or false")?.unwrap_or(false),
        order: query.take("order", "unpaired, newest or quiet")?.unwrap_or_default(),
        offset: offset(&mut query)?,
        limit: ROWS,
    };
    query.finish()?;
    let key = format!("{asked:?} {:?}", when.as_of);
    made(
        &app,
        &grant,
        program,
        now_if_only_a_day(when),
        Section::Participants,
        key,
        move |models, view, mut here| {
            here.asked.as_of = when.as_of;
            let generations: Vec<_> =
                view.participants.by_generation.iter().map(|row| row.generation.clone()).collect();
            if let Some(unknown) = asked.generation.as_ref().filter(|name| !generations.contains(name)) {
                let detail = format_args!("there is no generation `{unknown}` in this program");
                return Err(Problem::new(Code::NotFound, detail).with("parameter", "generation"));
            }
            let listing = models.list_people(&asked);
            here.keep = vec![
                ("state", asked.state.map(|state| state.as_str().to_owned()).unwrap_or_default()),
                ("generation", asked.generation.as_ref().map(ToString::to_string).unwrap_or_default()),
                ("arm", asked.arm.map(participants::arm_name).unwrap_or_default().to_owned()),
                ("unpaired", if asked.unpaired { "true".to_owned() } else { String::new() }),
                ("order", asked.order.as_str().to_owned()),
            ];
            Ok(participants::list(&here, &asked, &listing, &generations))
        },
    )
    .await
}

/// `GET /p/{program}/participants/{id}`
pub(super) async fn participant(
    State(app): State<Arc<App>>,
    grant: Grant,
    InProgram(program): InProgram,
    Path((_, participant)): Path<(String, String)>,
    uri: Uri,
) -> Shell {
    let (query, when) = query(&uri)?;
    query.finish()?;
    let who: ParticipantId = id(&participant, "participant")?;
    let only = only_now(&grant, &when)?;
    if only.is_some_and(|only| only != who) {
        return Err(Denied::NotOwn.into());
    }
    let (app_too, program_too) = (app.clone(), program.clone());
    let key = format!("one {who} {:?}", when.as_of);
    made(
        &app,
        &grant,
        program,
        now_if_only_a_day(when),
        Section::Participants,
        key,
        move |models, _, mut here| {
            here.asked.as_of = when.as_of;
            here.path = format!("/participants/{who}");
            let today = here.as_of;
            let view = known_participant(models, who)?;
            let asked = PairsAsked { participant: Some(who), limit: ROWS, ..PairsAsked::default() };
            let listing = models.list_pairs(asked, today);
            let (lines, events) = match only {
                None => newest(&app_too, &program_too, models, who.0)?,
                Some(_) => (Vec::new(), 0),
            };
            // Whoever sees single ratings has no use for it; whoever taught sees nothing else of them.
            let worth = only.and_then(|only| models.worth_of_teaching(only));
            let one =
                participants::One { person: &view, pairs: &listing, lines: &lines, events, worth, today };
            Ok(participants::one(&here, &one))
        },
    )
    .await
}

/// `GET /p/{program}/suggestions`
pub(super) async fn suggestions(
    State(app): State<Arc<App>>,
    grant: Grant,
    InProgram(program): InProgram,
    uri: Uri,
) -> Shell {
    let (mut query, when) = query(&uri)?;
    let participant: Option<ParticipantId> = query.take("participant", "the id of a participant")?;
    let after: Option<String> = query.take("after", "the `next` of a page of suggestions")?;
    query.finish()?;
    let asked_day = when.as_of;
    if when.known_at.is_some() {
        // What would have been suggested: of the read models as they were.
        let key = format!("suggestions {participant:?} {after:?}");
        let when = now_if_only_a_day(when);
        let as_of = asked_day;
        return made(&app, &grant, program, when, Section::Suggestions, key, move |models, _, mut here| {
            here.asked.as_of = as_of;
            here.keep = vec![("participant", participant.map(|id| id.to_string()).unwrap_or_default())];
            let (found, not_now, next) = suggestions_then(models, participant, after.as_deref(), ROWS)?;
            Ok(suggestions::page(&here, participant, &found, not_now, next.as_deref()))
        })
        .await;
    }
    let found = suggestions_of(&app, program.clone(), participant, after.as_deref(), ROWS).await?;
    let SuggestionsPage { found, not_now, next, size, root } = found;
    let now = app.published.clock.now();
    let (view, today) = {
        let view = program.view();
        (view.models.program(now), view.models.day(now))
    };
    let (view, today) =
        view.zip(today).ok_or_else(|| Problem::new(Code::NoSuchProgram, "the program has no entries"))?;
    let known = Known { as_of: today, size, root };
    let mut here = here(&program, &view, reader(&grant), known, &when, Section::Suggestions);
    here.keep = vec![("participant", participant.map(|id| id.to_string()).unwrap_or_default())];
    Ok(sent(written_out(suggestions::page(&here, participant, &found, not_now, next.as_deref()))))
}

// ------------------------------------------------------------------------------------------ history and audit

/// The positions behind a figure, as they are kept among the answers.
#[derive(Serialize, Deserialize)]
struct Behind {
    size: u64,
    root: B64<32>,
    as_of: Day,
    events: u64,
    seqs: Vec<u64>,
    next: Option<u64>,
}

/// `GET /p/{program}/history`
pub(super) async fn history(
    State(app): State<Arc<App>>,
    grant: Grant,
    InProgram(program): InProgram,
    uri: Uri,
) -> Shell {
    let (mut query, when) = query(&uri)?;
    let name_of: Option<String> = query.take("type", "the type of an event")?;
    let subject: Option<Uuid> = query.take("about", "a UUID")?;
    let figure: Option<String> = query.take("behind", "the name of a figure, e.g. two-way-pair-share")?;
    let part: Option<Part> = query.take("part", "numerator or denominator")?;
    let before = query.number("before", 0, (1 << 53) - 1)?;
    let after = query.number("after", 0, (1 << 53) - 1)?;
    let has_lives = ["subject", "basis", "by"].into_iter().find(|name| query.has(name));
    let lives = Lives::take(&mut query)?;
    query.finish()?;
    let names: Vec<&'static str> = history::types();
    if let Some(name) = &name_of
        && !names.contains(&name.as_str())
    {
        let detail = format_args!("`type`: there is no event type `{name}`");
        return Err(Problem::new(Code::MalformedParameter, detail).with("parameter", "type"));
    }
    // What would be passed over is refused: a list that is not what was asked for would be taken for it.
    let given = [
        ("type", name_of.is_some()),
        ("about", subject.is_some()),
        ("before", before.is_some()),
        ("part", part.is_some()),
        (has_lives.unwrap_or("subject"), has_lives.is_some()),
    ];
    let goes_with: &[&str] = match figure.as_deref() {
        None => &["type", "about", "before"],
        Some("retention") => &["part", "subject", "basis", "by"],
        Some(_) => &["part"],
    };
    if let Some((name, _)) = given.into_iter().find(|(name, given)| *given && !goes_with.contains(name)) {
        let detail = match &figure {
            Some(figure) => format!("`{name}` does not go with `behind={figure}`"),
            None => format!("`{name}` needs `behind`"),
        };
        return Err(Problem::new(Code::MalformedParameter, detail).with("parameter", name));
    }
    let Some(figure) = figure else {
        let asked = Looked { reader: reader(&grant), when, names, name: name_of, subject, before, after };
        let read = move || looked_up(&app, &program, asked);
        let page = tokio::task::spawn_blocking(read).await;
        return page.map_err(|_| Problem::new(Code::Internal, "reading the history failed"))?;
    };
    let (figure, seqs) = figure_asked(&figure, part, lives, after)?;
    behind_a_figure(&app, reader(&grant), program, when, figure, after, seqs).await
}

/// Finds the positions behind a figure as of a day.
type Seqs = Box<dyn FnOnce(&ReadModels, Day) -> Result<Explained, Problem> + Send>;

/// What figure is meant, in words and with the parameters that name it, and how its events are found.
fn figure_asked(
    name: &str,
    part: Option<Part>,
    lives: Lives,
    after: Option<u64>,
) -> Result<(history::Figure, Seqs), Problem> {
    let named = part.map(|part| ("part", part.as_str().to_owned()));
    if name == "reciprocity" && part.is_none() {
        let says = "The events of every session behind the figures of reciprocity".to_owned();
        let seqs = move |models: &ReadModels, as_of| {
            Ok(models.reciprocity_seqs(reciprocity::Asked::as_of(as_of), after, ROWS))
        };
        return Ok((history::Figure { name: "reciprocity", says, asked: Vec::new() }, Box::new(seqs)));
    }
    if name == "retention" {
        let subject = if lives.subject == Subject::Pairs { "pairs" } else { "participants" };
        let basis = if lives.basis == Basis::Record { "record" } else { "activity" };
        let mut asked = vec![("subject", subject.to_owned()), ("basis", basis.to_owned())];
        asked.extend(named);
        asked.extend(lives.by.map(|by| ("by", by_word(by).to_owned())));
        let ended = part == Some(Part::Numerator);
        let whose = match (lives.subject, ended) {
            (Subject::Pairs, false) => "every pair that started",
            (Subject::Pairs, true) => "the pairs that ended",
            (Subject::Participants, false) => "everybody who started",
            (Subject::Participants, true) => "the people who left",
        };
        let says = format!("The events behind the curves of retention, of {whose}");
        lives.asked(Day::from_number(0))?;
        let seqs = move |models: &ReadModels, as_of| {
            let asked = lives.asked(as_of)?;
            let impossible = |error| Problem::new(Code::Internal, error);
            let found = if ended {
                models.ended_seqs(&asked, after, ROWS)
            } else {
                models.retention_seqs(&asked, after, ROWS)
            };
            found.map_err(impossible)
        };
        return Ok((history::Figure { name: "retention", says, asked }, Box::new(seqs)));
    }
    let Ok(counted) = name.parse::<Counted>() else {
        let all = Counted::ALL.map(Counted::as_str).join(", ");
        let detail = format_args!("`behind` must be reciprocity, retention or one of {all}");
        return Err(Problem::new(Code::MalformedParameter, detail).with("parameter", "behind"));
    };
    let part = part.unwrap_or(Part::Denominator);
    let says = format!("The events behind the {} of {}", part.as_str(), words(counted.as_str()));
    let figure =
        history::Figure { name: counted.as_str(), says, asked: vec![("part", part.as_str().to_owned())] };
    let seqs = move |models: &ReadModels, as_of| Ok(models.events_behind(counted, part, as_of, after, ROWS));
    Ok((figure, Box::new(seqs)))
}

async fn behind_a_figure(
    app: &Arc<App>,
    reader: Reader,
    program: Arc<Program>,
    when: When,
    figure: history::Figure,
    after: Option<u64>,
    seqs: Seqs,
) -> Shell {
    let key = format!("behind {} {:?} {after:?}", figure.name, figure.asked);
    let positions = written(app, program.clone(), when, key, move |models, known| {
        let Explained { events, seqs, next } = seqs(models, known.as_of)?;
        let Known { as_of, size, root } = known;
        let behind = Behind { size, root: B64(root), as_of, events, seqs, next };
        Ok(Bytes::from(serde_json::to_vec(&behind).expect("numbers and a day")))
    });
    let positions = positions.await?;
    let behind: Behind =
        serde_json::from_slice(&positions).map_err(|error| Problem::new(Code::Internal, error))?;
    let app = app.clone();
    let read = move || {
        let lines = read_lines(&app.published, program.id.into(), &behind.seqs)?;
        let known = Known { as_of: behind.as_of, size: behind.size, root: behind.root.0 };
        let view = named(&app, &program)?;
        let mut here = here(&program, &view, reader, known, &when, Section::History);
        // A figure is of a day, and so is what is behind it; but proposals are told as the ledger knows them.
        let of_no_day = [Counted::Acceptance, Counted::Proposals].map(Counted::as_str).contains(&figure.name);
        here.axes = if of_no_day { Axes::KnownAt } else { Axes::Both };
        here.keep = vec![("behind", figure.name.to_owned())];
        here.keep.extend(figure.asked.iter().cloned());
        let next = behind.next.map(|next| ("after", next));
        let shown = Shown::Behind(figure);
        let history = History {
            shown: &shown,
            name: None,
            lines: &lines,
            total: Some(behind.events),
            next,
            stopped: false,
            names: &[],
        };
        Ok(sent(written_out(history::page(&here, &history))))
    };
    let page = tokio::task::spawn_blocking(read).await;
    page.map_err(|_| Problem::new(Code::Internal, "reading the history failed"))?
}

fn named(app: &App, program: &Program) -> Result<ProgramView, Problem> {
    let view = program.view().models.program(app.published.clock.now());
    view.ok_or_else(|| Problem::new(Code::NoSuchProgram, "the program has no entries"))
}

/// What of the history is looked at.
struct Looked {
    reader: Reader,
    when: When,
    names: Vec<&'static str>,
    name: Option<String>,
    subject: Option<Uuid>,
    before: Option<u64>,
    after: Option<u64>,
}

/// Reads the log: blocks.
fn looked_up(app: &Arc<App>, program: &Program, asked: Looked) -> Shell {
    let Looked { reader, when, names, name, subject, before, after } = asked;
    let Moment { as_of, size } = at(app, program, &now_if_only_a_day(when))?;
    let size = size.unwrap_or_else(|| program.size());
    let root = program.root_at(&*app.published.log, size).map_err(|error| unreadable(&error))?;
    let root = root.ok_or_else(|| Problem::new(Code::Internal, "the ledger is shorter than it was"))?;
    let (published, ledger) = (&*app.published, LedgerId::from(program.id));
    let takes = |record: &Record| -> Result<bool, Problem> {
        let Some(name) = &name else { return Ok(true) };
        Ok(Envelope::parse(record.bytes()).map_err(|error| unreadable(&error))?.name == name)
    };
    let (mut lines, mut total) = (Vec::new(), None);
    let (shown, next, stopped) = match subject {
        None => {
            let end = before.map_or(size, |before| before.min(size));
            let (mut to, least) = (end, end.saturating_sub(SEARCHED));
            'blocks: while to > least && lines.len() < ROWS {
                let from = to.saturating_sub(if name.is_some() { BLOCK } else { ROWS as u64 }).max(least);
                let limit = usize::try_from(to - from).expect("a block");
                let records = published.log.read(ledger, from, limit).map_err(|error| unreadable(&error))?;
                if records.len() < limit {
                    return Err(unreadable(&format_args!("seq {} is missing", from + records.len() as u64)));
                }
                for record in records.into_iter().rev() {
                    to -= 1;
                    if takes(&record)? {
                        lines.push(line(&record)?);
                        if lines.len() == ROWS {
                            break 'blocks;
                        }
                    }
                }
            }
            (Shown::All, (to > 0).then_some(("before", to)), lines.len() < ROWS && to > 0)
        }
        Some(id) => {
            let seqs = program.view().models.timeline(id);
            let Some(seqs) = seqs else {
                return Err(Problem::new(
                    Code::NotFound,
                    format_args!("nothing in this program has the id {id}"),
                ));
            };
            let all: Vec<u64> = seqs.filter(|seq| *seq < size).collect();
            total = name.is_none().then_some(all.len() as u64);
            let mut rest = all.iter().copied().filter(|seq| after.is_none_or(|after| *seq > after));
            let mut searched = 0;
            let mut last = None;
            for seq in rest.by_ref() {
                let record = record(published, ledger, seq)?;
                if takes(&record)? {
                    lines.push(line(&record)?);
                }
                searched += 1;
                last = Some(seq);
                if lines.len() == ROWS || searched == 1000 {
                    break;
                }
            }
            let next = rest.next().and(last).map(|last| ("after", last));
            (Shown::Of(id), next, next.is_some() && lines.len() < ROWS)
        }
    };
    let view = named(app, program)?;
    let mut here = here(program, &view, reader, Known { as_of, size, root }, &when, Section::History);
    here.keep = vec![
        ("type", name.clone().unwrap_or_default()),
        ("about", subject.map(|id| id.to_string()).unwrap_or_default()),
    ];
    let history =
        History { shown: &shown, name: name.as_deref(), lines: &lines, total, next, stopped, names: &names };
    Ok(sent(written_out(history::page(&here, &history))))
}

/// `GET /p/{program}/audit`
pub(super) async fn audit(
    State(app): State<Arc<App>>,
    grant: Grant,
    InProgram(program): InProgram,
    uri: Uri,
) -> Shell {
    let (query, when) = query(&uri)?;
    query.finish()?;
    let read = move || {
        let view = named(&app, &program)?;
        let (now, head) = {
            let seen = program.view();
            let now = audit::Head { size: seen.size, root: B64(seen.root).to_string() };
            (now, (seen.size, seen.root))
        };
        let Moment { as_of, size } = at(&app, &program, &now_if_only_a_day(when))?;
        let (size, root) = match size {
            None => head,
            Some(size) => {
                let root = program.root_at(&*app.published.log, size).map_err(|error| unreadable(&error))?;
                (size, root.ok_or_else(|| Problem::new(Code::Internal, "the ledger is shorter than it was"))?)
            }
        };
        let known = Known { as_of, size, root };
        let mut here = here(&program, &view, reader(&grant), known, &when, Section::Audit);
        let newest = line(&record(&app.published, program.id.into(), size - 1)?)?;
        here.recorded = newest.day();
        Ok(sent(written_out(audit::page(&here, &gathered(&app, &grant, &program, &view, now)))))
    };
    let page = tokio::task::spawn_blocking(read).await;
    page.map_err(|_| Problem::new(Code::Internal, "reading the ledger failed"))?
}

fn gathered(app: &App, grant: &Grant, program: &Program, view: &ProgramView, now: audit::Head) -> Audit {
    let published = &app.published;
    let checkpoint = program.auditable.signed().map(|signed| Checkpoint {
        size: signed.checkpoint.size,
        root: B64(signed.checkpoint.root).to_string(),
        note: String::from_utf8_lossy(&signed.bytes).into_owned(),
    });
    let (keys, registry_key) = {
        let keybook = published.keybook();
        let keys = keybook.of(program.id.into()).map(|of| {
            let keys = of.keys.iter().enumerate().map(|(n, key)| Key {
                number: key.number,
                vkey: key.vkey.to_string(),
                since: key.since,
                until: of.until(n),
            });
            keys.collect()
        });
        let registry =
            keybook.of(LedgerId::REGISTRY).and_then(|of| of.keys.last().map(|key| key.vkey.to_string()));
        (keys.unwrap_or_default(), registry)
    };
    let witnesses = published.witnesses().iter().map(|witness| {
        let seen = witness.seen();
        Witness { name: witness.vkey().name().to_string(), size: seen.size, problem: seen.problem }
    });
    Audit {
        now,
        origin: view.origin.clone(),
        checkpoint,
        keys,
        registry_key,
        registry_size: published.registry().size,
        with_registry: grant.may(Permission::RegistryLog).is_ok(),
        witnesses: witnesses.collect(),
        refused: program.auditable.refused().map(str::to_owned),
        reports: reports_of(app, view),
    }
}

/// `GET /p/{program}/published`
pub(super) async fn published(
    State(app): State<Arc<App>>,
    grant: Grant,
    InProgram(program): InProgram,
    uri: Uri,
) -> Shell {
    let (mut query, when) = query(&uri)?;
    let week: Option<Week> = query.take("week", "a week that is over, e.g. 2026-W46")?;
    query.finish()?;
    let computed = tokio::task::spawn_blocking(move || {
        let view = named(&app, &program)?;
        let opened = Week::of(view.time_zone.day(view.opened_at));
        // The moment says which week was the last one over then. Who may not look into the ledger is told nothing of
        // when which of its entries was recorded.
        let when_asked =
            grant.may(Permission::Content).is_ok() && (when.as_of.is_some() || when.known_at.is_some());
        let asked = match week {
            None if when_asked => {
                let over = Week::of(at(&app, &program, &when)?.as_of.plus_days(-6));
                // A Sunday that is not over closes nothing yet.
                program.closed_week(app.published.clock.now()).map(|last| over.min(last))
            }
            week => week,
        };
        let (close, last) = if week.is_none() && asked.is_some_and(|asked| asked < opened) {
            (None, Week::of(opened.last_day().plus_days(-7)))
        } else {
            let OfWeek { close, last } = of_week(&app, &program, asked)?;
            (close, last)
        };
        let reports = reports_of(&app, &view);
        // Only what is published is said, the size of the ledger included.
        let known = match &close {
            Some((close, root)) => Known { as_of: close.as_of, size: close.size, root: *root },
            None => Known { as_of: last.last_day(), size: 0, root: Hash::default() },
        };
        let here = here(&program, &view, reader(&grant), known, &when, Section::Published);
        let around = close.as_ref().map_or([None, None], |(close, _)| {
            let after = Some(close.week.next()).filter(|next| *next <= last);
            let before = Week::of(close.week.last_day().plus_days(-7));
            [Some(before).filter(|before| *before >= opened), after]
                .map(|week| week.map(|week| week.to_string()))
        });
        let shown = Publication {
            close: close.as_ref().map(|(close, _)| &**close),
            next_close: last.next().last_day(),
            around,
            reports: &reports,
        };
        Ok(sent(written_out(published::page(&here, &shown))))
    });
    computed.await.map_err(|_| Problem::new(Code::Internal, "computing the figures failed"))?
}

fn reports_of(app: &App, view: &ProgramView) -> Vec<(String, String)> {
    let reports = app.published.reports.recorded().of(&view.origin).into_iter();
    let named = reports.map(|(_, size, digest, at)| (digest.to_string(), named_report(size, at)));
    named.collect()
}

/// What a report is of, in words: its entries, and the minute in which it was published.
fn named_report(size: u64, at: Timestamp) -> String {
    let text = at.to_string();
    let minute = text.get(..16).unwrap_or(&text).replace('T', " ");
    format!("On the first {}, published {minute} UTC", of(size, "entry", "entries"))
}
