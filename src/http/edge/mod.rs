//! What stands between the network and the routes: who may connect, how fast and how much, and what is written down
//! about it.
//! Never looks at what a request asks for, and never writes down what only a client knows.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderValue, Method, StatusCode, Version, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use prometheus::proto::MetricFamily;

use super::guard::Identity;
use super::problem::{Code, Problem, ProblemCode};
use super::{App, COMMAND_ROUTES, commands};
use crate::metrics::families::{Labels, counters, gauges};
use crate::metrics::{Answered, Outcome};

pub mod answers;
pub mod counts;
pub mod heads;
pub mod load;
pub mod origin;
pub mod rates;
pub mod seats;
pub mod stream;
pub mod turns;

use counts::{Counts, Limit};
use load::Load;
use rates::{Asker, Rate, Rates, STRANGERS_PER_MINUTE};
use seats::{Room, SWEEP, Seat, Seats};

/// Requests that may be at work at once, and as many that wait, when nothing else is said.
pub const REQUESTS_MAX: u32 = 2048;

/// How much is let in.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Connections.
    pub room: Room,
    /// Requests at work at once; as many may wait for a body, or for something to happen.
    pub requests: NonZeroU32,
    /// How often each may ask.
    pub rate: Rate,
    /// Requests of one peer without a valid token, a minute; `None`: as many as it likes.
    pub strangers: Option<NonZeroU32>,
    /// Whether a line is written about every request.
    pub access_log: bool,
    /// Whether HTTP/2 is spoken.
    pub http2: bool,
    /// How long things may take.
    pub times: Times,
}

/// How long things may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Times {
    /// How often every connection is looked at. What it may take is counted in these and told in the time of the
    /// usual ones, [`SWEEP`]: with shorter sweeps all of it is shorter.
    pub sweep: Duration,
    /// How long a body may take before its speed is looked at.
    pub body_grace: Duration,
    /// How long a body may take.
    pub body: Duration,
    /// How long open requests may go on after the service was told to stop.
    pub drain: Duration,
    /// How long a page may be computed before it begins with what all pages begin with.
    pub first_byte: Duration,
}

impl Default for Times {
    fn default() -> Self {
        Self {
            sweep: SWEEP,
            body_grace: Duration::from_secs(5),
            body: Duration::from_secs(30),
            drain: Duration::from_secs(10),
            first_byte: Duration::from_millis(50),
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            room: Room::default(),
            requests: NonZeroU32::new(REQUESTS_MAX).expect("above zero"),
            rate: Rate::default(),
            strangers: NonZeroU32::new(STRANGERS_PER_MINUTE),
            access_log: false,
            http2: true,
            times: Times::default(),
        }
    }
}

/// What the limits are counted with.
pub struct Edge {
    /// The limits.
    pub limits: Limits,
    /// Connections.
    pub seats: Arc<Seats>,
    /// Requests under way.
    pub load: Load,
    /// How often each asked.
    pub rates: Rates,
}

impl Edge {
    /// Nothing has come in yet.
    pub fn new(limits: Limits) -> Self {
        let seats = Seats::new(limits.room);
        let load = Load::new(limits.requests.get() as usize, seats.clone());
        Self { limits, seats, load, rates: Rates::new(limits.rate, limits.strangers) }
    }

    /// What was accepted, turned away and ended.
    pub fn counts(&self) -> &Counts {
        self.seats.counts()
    }

    /// What a scrape shows of it.
    pub fn families(&self) -> Vec<MetricFamily> {
        const NONE: Labels<'static> = &[];
        let one = |name: &str, help: &str, value: usize| gauges(name, help, [(NONE, value as f64)]);
        let (working, waiting) = self.load.now();
        let turned_away: Vec<_> = self
            .counts()
            .turned_away_so_far()
            .map(|(limit, count)| ([("limit", limit.as_str())], count))
            .collect();
        let ended: Vec<_> =
            self.counts().ended_so_far().map(|(why, count)| ([("why", why.as_str())], count)).collect();
        vec![
            one("mentorlog_http_connections", "Connections that are open.", self.seats.count()),
            one(
                "mentorlog_http_connections_max",
                "Connections that may be open; then those give way that have waited longest without a request.",
                self.seats.most(),
            ),
            counters(
                "mentorlog_http_connections_total",
                "Connections accepted by this process.",
                [(NONE, self.counts().accepted_so_far())],
            ),
            counters(
                "mentorlog_http_connections_ended_total",
                "Connections the service ended itself, by why.",
                ended.iter().map(|(labels, count)| (&labels[..], *count)),
            ),
            gauges(
                "mentorlog_http_requests_under_way",
                "Requests without an answer yet: at work, or waiting for a body or for something to happen.",
                [(&[("doing", "work")][..], working as f64), (&[("doing", "wait")], waiting as f64)],
            ),
            one(
                "mentorlog_http_requests_max",
                "Requests that may be at work, and as many that may wait; one more gets 503 `busy`.",
                self.load.most(),
            ),
            counters(
                "mentorlog_http_turned_away_total",
                "Connections and requests turned away, by the limit that was reached.",
                turned_away.iter().map(|(labels, count)| (&labels[..], *count)),
            ),
        ]
    }
}

/// These are answered whatever the load, so that whoever watches sees it.
const WATCHED: [&str; 3] = ["/healthz", "/readyz", "/metrics"];

/// Who asks, as the door found out; `None`: a stranger.
fn asker(request: &Request) -> Option<Asker> {
    let Ok(grant) = request.extensions().get::<Identity>()? else { return None };
    Some(Asker { principal: grant.principal.clone(), token: grant.token })
}

/// Counts a request of whoever was found to ask it, and tells them where they stand. Stands inside of whatever finds
/// that out.
pub(super) async fn limit(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    // Strangers are counted by where they come from, once it is clear that they are turned away.
    let Some(asker) = asker(&request) else { return next.run(request).await };
    let (mut response, standing) = match app.edge.rates.admit(&asker) {
        Ok(standing) => (next.run(request).await, standing),
        Err(over) => {
            app.edge.counts().turned_away(Limit::Quota);
            (over.problem.into_response(), Some(over.standing))
        }
    };
    if let Some(standing) = standing {
        standing.write(response.headers_mut());
    }
    // Whose answer it is: for the line about it, and for the room it takes.
    response.extensions_mut().insert(asker);
    response
}

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

/// Counts and times every request, gives each an id, turns away what is too much, and makes problems of the answers of
/// the framework. The outermost layer.
pub(super) async fn observe(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let begun = Instant::now();
    let now = app.published.clock.now().as_micros();
    let request_id = origin::request_id(request.headers(), u64::try_from(now / 1000).unwrap_or(0));
    let trace = if app.edge.limits.access_log { origin::trace_id(request.headers()) } else { None };
    let route = request.extensions().get::<MatchedPath>().cloned();
    let seat = request.extensions().get::<Arc<Seat>>().cloned();
    let method = request.method().clone();
    let shows_token = request.headers().contains_key(header::AUTHORIZATION);
    let version = request.version();
    let route = route.as_ref().map_or("unmatched", MatchedPath::as_str);
    let mut closes = false;
    let mut response = if let Some(problem) = seat.as_deref().and_then(|seat| framing(&request, seat)) {
        closes = true;
        app.edge.counts().turned_away(Limit::Framing);
        problem.into_response()
    } else {
        match app.edge.load.begin() {
            Ok(_working) => next.run(request).await,
            Err(_) if WATCHED.contains(&route) => next.run(request).await,
            Err(problem) => {
                app.edge.counts().turned_away(Limit::Requests);
                problem.into_response()
            }
        }
    };
    let is_problem = response.extensions().get::<ProblemCode>().is_some();
    if !is_problem && (response.status().is_client_error() || response.status().is_server_error()) {
        response = from_framework(response.status()).into_response();
    }
    // Looking at a page without a session leads to the form: that tries no token, and behind a proxy everybody is one peer.
    let is_shown_form = !shows_token
        && matches!(method, Method::GET | Method::HEAD)
        && response
            .headers()
            .get(header::CONTENT_TYPE)
            .is_some_and(|media| media.as_bytes().starts_with(b"text/html"));
    if response.status() == StatusCode::UNAUTHORIZED
        && !is_shown_form
        && let Some(seat) = &seat
        && let Err(problem) = app.edge.rates.failed(seat.network())
    {
        closes = true;
        app.edge.counts().turned_away(Limit::Strangers);
        response = problem.into_response();
    }
    if closes && version < Version::HTTP_2 {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    let command = (method == Method::POST && COMMAND_ROUTES.contains(&route)).then(|| outcome(&response));
    let (status, command, took) = (response.status(), command.flatten(), begun.elapsed());
    app.metrics.request(Answered { route, method: &method, status, command, took });
    if app.edge.limits.access_log {
        let asker = response.extensions().get::<Asker>();
        let line = Line { route, method: &method, status, request_id: &request_id, took };
        write_down(&line, trace, asker, response.extensions().get::<ProblemCode>());
    }
    response.headers_mut().insert(origin::REQUEST_ID, request_id);
    response
}

/// What is said of a request without doubt of its being plain: `request_id` was made or checked.
struct Line<'a> {
    route: &'a str,
    method: &'a Method,
    status: StatusCode,
    request_id: &'a HeaderValue,
    took: Duration,
}

/// One line about a request. Each part is of a closed set, a number, or checked: neither paths nor queries nor headers
/// are among them.
fn write_down(
    line: &Line<'_>,
    trace: Option<origin::TraceId>,
    asker: Option<&Asker>,
    code: Option<&ProblemCode>,
) {
    let Line { route, method, status, request_id, took } = *line;
    // A method can be any word.
    let method = match method.as_str() {
        known @ ("GET" | "HEAD" | "POST" | "PUT" | "DELETE" | "OPTIONS" | "PATCH" | "CONNECT" | "TRACE") => {
            known
        }
        _ => "other",
    };
    let token = asker.and_then(|asker| asker.token).map(tracing::field::display);
    tracing::info!(
        target: "mentorlog::access",
        method,
        route,
        status = status.as_u16(),
        code = code.map(|ProblemCode(code)| *code),
        took_us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX),
        request_id = request_id.to_str().ok(),
        trace_id = trace.as_ref().map(origin::TraceId::as_str),
        token,
        principal = asker.map(|asker| asker.principal.as_str()),
        "answered"
    );
}

/// What the library let pass and nobody should: two lengths in one head, or lines that end in two ways. A proxy before
/// us may have understood it otherwise (RFC 9112, sections 2.2 and 6.3).
fn framing(request: &Request, seat: &Seat) -> Option<Problem> {
    if request.version() >= Version::HTTP_2 {
        return None;
    }
    let chunked = request.headers().contains_key(header::TRANSFER_ENCODING);
    let seen = {
        let head = seat.head();
        if !chunked && !head.has_bare_newline() {
            return None;
        }
        head.of(request.method().as_str(), &request.uri().to_string())
    };
    let malformed = |what: &str| Some(Problem::new(Code::MalformedHeader, what));
    match seen {
        Some(framing) if framing.bare_newline => malformed("end each line of the head with CR and LF"),
        Some(framing) if framing.length => {
            malformed("send either Content-Length or Transfer-Encoding, not both")
        }
        Some(_) => None,
        // Its head went by unseen: nobody knows whether it has both.
        None if chunked => malformed("wait for the answer to one request before sending a chunked one"),
        None => malformed("end each line of the head with CR and LF"),
    }
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
