//! The way in and out over HTTP: routes, and nothing that decides.
//! Never appends: commands go through the writer, reads through what it has published.

use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::keys::LedgerSecret;
use crate::metrics::{Answered, Metrics, Outcome};
use crate::writer::Writer;
use crate::writer::published::Published;

pub mod bundle;
pub mod cloud_events;
pub mod commands;
pub mod guard;
mod login;
pub mod measures;
pub mod openapi;
pub mod outsiders;
mod pages;
pub mod pairing;
pub mod personal;
pub mod problem;
pub mod proofs;
pub mod reads;
pub mod reports;
pub mod request;
pub mod routes;
pub mod server;
pub mod stream;
pub mod tokens;

use problem::{Code, Problem, ProblemCode};

/// What the handlers share.
pub struct App {
    /// The way to the writer.
    pub writer: Writer,
    /// What readers see.
    pub published: Arc<Published>,
    /// What is measured.
    pub metrics: Metrics,
    /// Who is let in.
    pub access: guard::Access,
    /// The registry's secret, for the keys of openings.
    pub registry_secret: LedgerSecret,
    /// Figures that were computed.
    pub measures: measures::Measures,
    /// Whose turn it is to search for pairs.
    pub turns: pairing::Turns,
    /// Those who follow a program.
    pub streams: stream::Streams,
    stopping: watch::Sender<bool>,
}

impl App {
    /// Puts together what the handlers share.
    pub fn new(writer: Writer, registry_secret: LedgerSecret, access: guard::Access) -> Self {
        let published = writer.published().clone();
        let metrics = Metrics::new(published.clone(), problem::catalogue());
        let stopping = watch::Sender::new(false);
        let measures = measures::Measures::default();
        let turns = pairing::Turns::default();
        let streams = stream::Streams::default();
        Self { writer, published, metrics, access, registry_secret, measures, turns, streams, stopping }
    }

    /// Ready when the service was told to stop: nobody waits any longer for what may never come.
    async fn stopping(&self) {
        // The sender is here, so the wait ends with the value only.
        let _ = self.stopping.subscribe().wait_for(|stopping| *stopping).await;
    }
}

const PROGRAMS: &str = "/v1/programs";
const COMMANDS: &str = "/v1/programs/{program}/commands";
const COMMAND: &str = "/v1/programs/{program}/commands/{command}";

/// Serves until `stop` is ready, then ends what waits, lets open requests finish, and returns.
pub async fn serve(listener: TcpListener, app: Arc<App>, stop: impl Future<Output = ()>) {
    let told = async {
        stop.await;
        app.stopping.send_replace(true);
    };
    server::serve(listener, routes::router(app.clone()), told).await;
}

/// Answers until `ready` is ready that the service is starting; only `/healthz` is as it will be.
pub async fn serve_starting(listener: TcpListener, ready: impl Future<Output = ()>) {
    let starting = || async {
        Problem::new(Code::Starting, "the history is being read and checked: try again in a moment")
    };
    let router = Router::new().route("/healthz", get(healthz)).fallback(starting);
    server::serve(listener, router, ready).await;
}

/// Where commands come in.
const COMMAND_ROUTES: [&str; 3] = [PROGRAMS, COMMANDS, COMMAND];

/// What became of the command that is answered so; `None` for a batch, which is counted item by item.
fn outcome(response: &Response) -> Option<Outcome> {
    if let Some(ProblemCode(code)) = response.extensions().get() {
        return Some(Outcome::Refused(code));
    }
    if response.headers().contains_key(commands::REPLAYED) {
        return Some(Outcome::Replayed);
    }
    (response.status() != StatusCode::MULTI_STATUS).then_some(Outcome::Accepted)
}

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Counts and times every request, gives each an id, and turns answers of the framework into problems.
async fn observe(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let begun = Instant::now();
    // A short, plain id is echoed; anything else is dropped, so that nobody writes into our logs.
    let request_id = request.headers().get(REQUEST_ID).filter(|id| {
        (1..=128).contains(&id.len())
            && id.as_bytes().iter().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(b))
    });
    let request_id = request_id.cloned();
    let route = request.extensions().get::<MatchedPath>().cloned();
    let method = request.method().clone();
    let mut response = next.run(request).await;
    let is_problem = response.extensions().get::<ProblemCode>().is_some();
    if !is_problem && (response.status().is_client_error() || response.status().is_server_error()) {
        response = from_framework(response.status()).into_response();
    }
    if let Some(id) = request_id {
        response.headers_mut().insert(REQUEST_ID, id);
    }
    response.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    let route = route.as_ref().map_or("unmatched", MatchedPath::as_str);
    let command = (method == Method::POST && COMMAND_ROUTES.contains(&route)).then(|| outcome(&response));
    let (status, command) = (response.status(), command.flatten());
    app.metrics.request(Answered { route, method: &method, status, command, took: begun.elapsed() });
    response
}

/// An error the framework answered itself, e.g. a path that is not UTF-8.
fn from_framework(status: StatusCode) -> Problem {
    match status {
        StatusCode::NOT_FOUND => Problem::new(Code::NoSuchPath, "there is nothing at this path"),
        StatusCode::METHOD_NOT_ALLOWED => {
            Problem::new(Code::MethodNotAllowed, "this path does not take this method")
        }
        StatusCode::PAYLOAD_TOO_LARGE => Problem::new(Code::TooLarge, "the body is too large"),
        StatusCode::UNSUPPORTED_MEDIA_TYPE => {
            Problem::new(Code::UnsupportedMediaType, "send application/json")
        }
        status if status.is_client_error() => Problem::new(Code::Malformed, "the request cannot be read"),
        _ => Problem::new(Code::Internal, "the service failed; what was asked may or may not have been done"),
    }
}

/// Whether the process answers at all.
async fn healthz() -> Response {
    axum::Json(json!({ "status": "ok" })).into_response()
}

/// Whether commands would be taken now.
async fn readyz(State(app): State<Arc<App>>) -> Result<Response, Problem> {
    if let Some(why) = app.published.stopped() {
        return Err(Problem::new(Code::ReadOnly, format_args!("writing has stopped ({why}); reads go on")));
    }
    if *app.stopping.borrow() {
        return Err(Problem::new(Code::ReadOnly, "the service is stopping"));
    }
    app.published.clock.to_record().map_err(|deviates| Problem::new(Code::Clock, deviates))?;
    Ok(axum::Json(json!({ "status": "ready", "waiting": app.published.waiting() })).into_response())
}

async fn metrics(State(app): State<Arc<App>>) -> Result<Response, Problem> {
    let text = app.metrics.render().map_err(|error| Problem::new(Code::Internal, error))?;
    let mut response = text.into_response();
    let kind = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    Ok(response)
}
