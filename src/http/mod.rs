//! The way in and out over HTTP: routes, and nothing that decides.
//! Never appends: commands go through the writer, reads through what it has published.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::keys::LedgerSecret;
use crate::metrics::Metrics;
use crate::writer::Writer;
use crate::writer::published::Published;

mod accept;
pub mod bundle;
pub mod catalogue;
pub mod cloud_events;
pub mod commands;
pub mod docs;
pub mod edge;
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
pub mod tables;
pub mod tokens;

use edge::seats::Seats;
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
    /// How much is let in.
    pub edge: Edge,
    stopping: watch::Sender<bool>,
}

impl App {
    /// Puts together what the handlers share; lets in as much as is usual.
    pub fn new(writer: Writer, registry_secret: LedgerSecret, access: guard::Access) -> Self {
        let published = writer.published().clone();
        let metrics = Metrics::new(published.clone(), problem::catalogue());
        let stopping = watch::Sender::new(false);
        let measures = measures::Measures::default();
        let turns = pairing::Turns::default();
        let streams = stream::Streams::default();
        let edge = Edge::new(Limits::default());
        Self { writer, published, metrics, access, registry_secret, measures, turns, streams, edge, stopping }
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

/// How often those are forgotten who have not asked for a while.
const TIDY: Duration = Duration::from_mins(1);

const PROGRAMS: &str = "/v1/programs";
const COMMANDS: &str = "/v1/programs/{program}/commands";
const COMMAND: &str = "/v1/programs/{program}/commands/{command}";

/// Serves until `stop` is ready, then ends what waits, lets open requests finish, and returns.
pub async fn serve(listener: TcpListener, app: Arc<App>, stop: impl Future<Output = ()>) {
    let told = async {
        stop.await;
        app.stopping.send_replace(true);
    };
    let (seats, times) = (app.edge.seats.clone(), app.edge.limits.times);
    guard::forget_tokens_of_the_erased(app.clone()).await;
    let tidying = async {
        let mut interval = tokio::time::interval(TIDY);
        loop {
            interval.tick().await;
            app.edge.rates.tidy();
        }
    };
    tokio::select! {
        () = server::serve(listener, routes::router(app.clone()), seats, app.edge.limits.http2, times, told) => {}
        never = tidying => never,
    }
}

/// Answers until `ready` is ready that the service is starting; only `/healthz` is as it will be.
pub async fn serve_starting(listener: TcpListener, limits: Limits, ready: impl Future<Output = ()>) {
    let starting = || async {
        Problem::new(Code::Starting, "the history is being read and checked: try again in a moment")
    };
    let router = Router::new().route("/healthz", get(healthz)).fallback(starting);
    server::serve(listener, router, Seats::new(limits.room), limits.http2, limits.times, ready).await;
}

/// Where commands come in.
const COMMAND_ROUTES: [&str; 3] = [PROGRAMS, COMMANDS, COMMAND];

/// Whether the process answers at all.
async fn healthz() -> Response {
    axum::Json(json!({ "status": "ok" })).into_response()
}

/// Whether commands would be taken now.
async fn readyz(State(app): State<Arc<App>>) -> Result<Response, Problem> {
    if app.published.stopped().is_some() {
        // Why is for the log: it may name files, and anybody may ask this.
        return Err(Problem::new(Code::ReadOnly, "writing has stopped, reads go on: the log says why"));
    }
    if *app.stopping.borrow() {
        return Err(Problem::new(Code::ReadOnly, "the service is stopping"));
    }
    app.published.clock.to_record().map_err(|deviates| Problem::new(Code::Clock, deviates))?;
    Ok(axum::Json(json!({ "status": "ready", "waiting": app.published.waiting() })).into_response())
}

async fn metrics(State(app): State<Arc<App>>) -> Result<Response, Problem> {
    let text =
        app.metrics.render(app.edge.families()).map_err(|error| Problem::new(Code::Internal, error))?;
    let mut response = text.into_response();
    let kind = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    Ok(response)
}
