//! The way in and out over HTTP: routes, and nothing that decides.
//! Never appends: commands go through the writer, reads through what it has published.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, Method, header};
use axum::middleware;
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get, post};
use mentorlog_events::entry::Principal;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::keys::LedgerSecret;
use crate::metrics::Metrics;
use crate::writer::Writer;
use crate::writer::published::{Program, Published};

pub mod commands;
pub mod edge;
pub mod measures;
pub mod outsiders;
pub mod pairing;
pub mod problem;
pub mod proofs;
pub mod reads;
pub mod reports;
pub mod request;
pub mod server;

use edge::seats::Room;
use edge::{Edge, Limits};
use problem::{Code, Problem};

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
    /// How much is let in.
    pub edge: Edge,
    stopping: watch::Sender<bool>,
}

impl App {
    /// Puts together what the handlers share; lets in as much as is usual.
    pub fn new(writer: Writer, registry_secret: LedgerSecret) -> Self {
        let published = writer.published().clone();
        let principal = "local".parse().expect("a principal");
        let metrics = Metrics::new(published.clone(), problem::catalogue());
        let stopping = watch::Sender::new(false);
        let measures = measures::Measures::default();
        let turns = pairing::Turns::default();
        let edge = Edge::new(Limits::default());
        Self { writer, published, metrics, principal, registry_secret, measures, turns, edge, stopping }
    }

    /// Lets in so much instead.
    pub fn limited(self, limits: Limits) -> Self {
        Self { edge: Edge::new(limits), ..self }
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
    let room = app.edge.limits.room;
    server::serve(listener, router(app.clone()), room, told).await;
}

/// Answers until `ready` is ready that the service is starting; only `/healthz` is as it will be.
pub async fn serve_starting(listener: TcpListener, room: Room, ready: impl Future<Output = ()>) {
    let starting = || async {
        Problem::new(Code::Starting, "the history is being read and checked: try again in a moment")
    };
    let router = Router::new().route("/healthz", get(healthz)).fallback(starting);
    server::serve(listener, router, room, ready).await;
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
        .fallback(nothing_here)
        .layer(middleware::from_fn_with_state(app.clone(), edge::limit))
        .layer(middleware::from_fn_with_state(app.clone(), edge::observe))
        .with_state(app)
}

async fn nothing_here(request: Request) -> Problem {
    Problem::new(Code::NoSuchPath, format_args!("there is nothing at {}", request.uri().path()))
}

/// Where commands come in.
const COMMAND_ROUTES: [&str; 3] = [PROGRAMS, COMMANDS, COMMAND];

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
