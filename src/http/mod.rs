//! The way in and out over HTTP: routes, and nothing that decides.
//! Never appends: commands go through the writer, reads through what it has published.

use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get, post};
use mentorlog_events::entry::Principal;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::keys::LedgerSecret;
use crate::metrics::{Answered, Metrics, Outcome};
use crate::writer::Writer;
use crate::writer::published::{Program, Published};

pub mod commands;
pub mod measures;
pub mod outsiders;
mod pages;
pub mod pairing;
pub mod problem;
pub mod proofs;
pub mod reads;
pub mod reports;
pub mod request;
pub mod server;

use problem::{Code, Problem, ProblemCode};

/// What the handlers share.
pub struct App {
    /// The way to the writer.
    pub writer: Writer,
    /// What readers see.
    pub published: Arc<Published>,
    /// What is measured.
    pub metrics: Metrics,
    /// Without tokens every caller is this principal.
    pub principal: Principal,
    /// The registry's secret, for the keys of openings.
    pub registry_secret: LedgerSecret,
    /// Figures that were computed.
    pub measures: measures::Measures,
    /// Whose turn it is to search for pairs.
    pub turns: pairing::Turns,
    stopping: watch::Sender<bool>,
}

impl App {
    /// Puts together what the handlers share.
    pub fn new(writer: Writer, registry_secret: LedgerSecret) -> Self {
        let published = writer.published().clone();
        let principal = "local".parse().expect("a principal");
        let metrics = Metrics::new(published.clone(), problem::catalogue());
        let stopping = watch::Sender::new(false);
        let measures = measures::Measures::default();
        let turns = pairing::Turns::default();
        Self { writer, published, metrics, principal, registry_secret, measures, turns, stopping }
    }

    /// Ready when the service was told to stop: nobody waits any longer for what may never come.
    async fn stopping(&self) {
        // The sender is here, so the wait ends with the value only.
        let _ = self.stopping.subscribe().wait_for(|stopping| *stopping).await;
    }
}

/// Finds a program by slug or UUID.
fn find(app: &App, name: &str) -> Result<Arc<Program>, Problem> {
    app.published.program(name).ok_or_else(|| {
        Problem::new(Code::NoSuchProgram, format_args!("there is no program `{name}`: see GET /v1/programs"))
    })
}

/// A route that answers other methods with a problem that names the right ones.
fn route(methods: &'static [Method], router: MethodRouter<Arc<App>>) -> MethodRouter<Arc<App>> {
    router.fallback(move |method: Method| async move {
        let names = methods.iter().map(Method::as_str).collect::<Vec<_>>().join(", ");
        Problem::new(Code::MethodNotAllowed, format_args!("{method} is not for this path: use {names}"))
            .allowing(methods.to_vec())
    })
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
    server::serve(listener, router(app.clone()), told).await;
}

/// Answers until `ready` is ready that the service is starting; only `/healthz` is as it will be.
pub async fn serve_starting(listener: TcpListener, ready: impl Future<Output = ()>) {
    let starting = || async {
        Problem::new(Code::Starting, "the history is being read and checked: try again in a moment")
    };
    let router = Router::new().route("/healthz", get(healthz)).fallback(starting);
    server::serve(listener, router, ready).await;
}

/// Every route of the service.
fn router(app: Arc<App>) -> Router {
    const READ: &[Method] = &[Method::GET, Method::HEAD];
    const WRITE: &[Method] = &[Method::POST];
    const BOTH: &[Method] = &[Method::GET, Method::HEAD, Method::POST];
    Router::new()
        .route("/healthz", route(READ, get(healthz)))
        .route("/readyz", route(READ, get(readyz)))
        .route("/metrics", route(READ, get(metrics)))
        .route(PROGRAMS, route(BOTH, get(reads::programs).post(commands::open)))
        .route("/v1/programs/{program}", route(READ, get(reads::program)))
        .route(COMMANDS, route(BOTH, get(commands::names).post(commands::batch)))
        .route(COMMAND, route(WRITE, post(commands::one)))
        .route("/v1/programs/{program}/participants", route(READ, get(reads::participants)))
        .route("/v1/programs/{program}/participants/{id}", route(READ, get(reads::participant)))
        .route("/v1/programs/{program}/pairs", route(READ, get(reads::pairs)))
        .route("/v1/programs/{program}/pairs/{id}", route(READ, get(reads::pair)))
        .route("/v1/programs/{program}/sessions/{id}", route(READ, get(reads::session)))
        .route("/v1/programs/{program}/reciprocity", route(READ, get(measures::reciprocity)))
        .route("/v1/programs/{program}/retention", route(READ, get(measures::retention)))
        .route("/v1/programs/{program}/health", route(READ, get(measures::health)))
        .route("/v1/programs/{program}/suggestions", route(READ, get(pairing::suggestions)))
        .route("/v1/programs/{program}/rounds", route(READ, get(pairing::rounds)))
        .route("/v1/programs/{program}/published-figures", route(READ, get(outsiders::published_figures)))
        .route("/v1/programs/{program}/reports", route(BOTH, get(reports::list).post(reports::publish)))
        .route("/v1/reports/{digest}", route(READ, get(reports::report)))
        .route("/v1/programs/{program}/events", route(READ, get(reads::events)))
        .route("/v1/programs/{program}/read-models", route(READ, get(reads::read_models)))
        .route("/v1/programs/{program}/proofs/inclusion", route(READ, get(proofs::inclusion)))
        .route("/v1/programs/{program}/proofs/consistency", route(READ, get(proofs::consistency)))
        .route("/v1/programs/{program}/rotate-key", route(WRITE, post(proofs::rotate)))
        .route("/v1/registry/proofs/inclusion", route(READ, get(proofs::registry_inclusion)))
        .route("/v1/registry/proofs/consistency", route(READ, get(proofs::registry_consistency)))
        .route("/v1/registry/rotate-key", route(WRITE, post(proofs::rotate_registry)))
        .route("/v1/keys", route(READ, get(proofs::keys)))
        .route("/log/{program}/checkpoint", route(READ, get(proofs::checkpoint)))
        .route("/log/{program}/reports/{digest}", route(READ, get(reports::beside_the_log)))
        .route("/log/{program}/tile/{*tile}", route(READ, get(proofs::tile)))
        .merge(pages::routes())
        .fallback(nothing_here)
        .layer(middleware::from_fn_with_state(app.clone(), observe))
        .with_state(app)
}

async fn nothing_here(request: Request) -> Problem {
    Problem::new(Code::NoSuchPath, format_args!("there is nothing at {}", request.uri().path()))
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
