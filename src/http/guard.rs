//! The door: who is asking, and whether they may ask that, in that program.
//! Never lets a request through to a handler that it has not looked at, and never tells a stranger what is wrong.
//!
//! Two steps, both before the handler reads a byte of the body. `identify` finds out once per request who asks and
//! leaves the [`Identity`] with the request; one hash and two look-ups. `guard` stands before every route and holds
//! it against what the route needs; it also finds the program of the path, in the caller's scope, so that a handler
//! gets none that it may not have: a program out of scope is answered as one that does not exist.

use std::net::Ipv4Addr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use axum::body::{Body, HttpBody};
use axum::extract::{FromRequestParts, MatchedPath, RawPathParams, Request, State};
use axum::http::request::Parts;
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderValue, Method, Version, header};
use axum::middleware::Next;
use axum::response::Response;
use bytes::Bytes;
use hyper::body::{Frame, SizeHint};
use mentorlog_events::event::Role;
use mentorlog_events::id::{ParticipantId, ProgramId, TokenId};

use super::App;
use super::problem::{Code, Problem};
use super::{login, routes};
use crate::access::grant::{Denied, Grant, Scope};
use crate::access::kept::{Holder, KeptTokens};
use crate::access::permission::Permission;
use crate::access::sessions::Sessions;
use crate::access::token::{SecretHash, Token};
use crate::writer::By;
use crate::writer::auditable::Auditable;
use crate::writer::published::Program;

/// How the registry is called where a program's name may stand.
pub(super) const REGISTRY: &str = "registry";

/// Who can reach the service at all.
enum Door {
    /// Whoever is on this machine: until the first token is issued they may do everything.
    Loopback,
    /// Anybody: without a token nothing but what is open.
    Guarded,
    /// This process alone, with a token that it made for itself.
    Own(TokenId, SecretHash),
}

/// What lets callers in.
pub struct Access {
    /// The tokens that are kept.
    pub kept: Arc<KeptTokens>,
    /// The browsers that are logged in.
    pub sessions: Sessions,
    door: Door,
}

impl Access {
    /// For a listener on a loopback address: until the first token is issued, whoever reaches it may do everything.
    pub fn loopback(kept: KeptTokens) -> Self {
        Self::with(kept, Door::Loopback)
    }

    /// For a listener that others reach: everybody needs a token.
    pub fn guarded(kept: KeptTokens) -> Self {
        Self::with(kept, Door::Guarded)
    }

    /// For a listener that only this process may use: everybody else on this machine is a stranger there, also
    /// while no token was ever issued. Its token may do everything.
    pub fn own(kept: KeptTokens) -> (Self, Token) {
        let token = Token::random();
        (Self::with(kept, Door::Own(token.id, token.hash())), token)
    }

    fn with(kept: KeptTokens, door: Door) -> Self {
        Self { kept: Arc::new(kept), sessions: Sessions::default(), door }
    }
}

/// Why nobody is known to ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stranger {
    /// No token, or none that is honoured: it is not said which.
    Unauthorized,
    /// Without tokens only this machine is served, and the request is addressed to another.
    OtherHost,
    /// Without tokens only this machine is served, and the request comes from elsewhere: through a proxy, or from the
    /// page of another site.
    Forwarded,
}

impl From<Stranger> for Problem {
    fn from(stranger: Stranger) -> Self {
        match stranger {
            Stranger::Unauthorized => Self::new(
                Code::Unauthorized,
                "send `Authorization: Bearer` and a token that was issued here, is not over and not revoked",
            ),
            Stranger::OtherHost => Self::new(
                Code::OtherHost,
                "no token was ever issued, so only this machine is served: address it as localhost or 127.0.0.1",
            ),
            Stranger::Forwarded => Self::new(
                Code::OtherHost,
                "no token was ever issued, so only this machine is served, and nobody through a proxy or from the \
                 pages of another site: issue tokens",
            ),
        }
    }
}

impl From<Denied> for Problem {
    fn from(denied: Denied) -> Self {
        let problem = Self::new(Code::Forbidden, denied);
        match denied {
            Denied::Role { needed, .. } => {
                let needed: Vec<&str> = needed.iter().map(|who| who.as_str()).collect();
                problem.with("needed", needed)
            }
            Denied::Scoped | Denied::NotOwn => problem,
            Denied::Bound | Denied::AsParticipant => problem.with("pointer", "/actor"),
        }
    }
}

/// Who asks, as far as is known. With every request, as an extension.
pub type Identity = Result<Grant, Stranger>;

/// Finds out who asks and leaves it with the request.
pub(super) async fn identify(State(app): State<Arc<App>>, mut request: Request, next: Next) -> Response {
    let path = request.extensions().get::<MatchedPath>().map(MatchedPath::as_str);
    let looks = [Method::GET, Method::HEAD].contains(request.method())
        && path.is_some_and(routes::is_for_browsers)
        && !login::is_of_others(request.headers());
    let identity = identity(&app, &request, looks);
    request.extensions_mut().insert(identity);
    next.run(request).await
}

/// Who asks; `looks`: where browsers look, so that a session is as good as the token it was begun with.
fn identity(app: &App, request: &Request, looks: bool) -> Identity {
    let Some(token) = bearer(request.headers())? else {
        let is_local = matches!(app.access.door, Door::Loopback) && !app.published.tokens().were_issued();
        return match looks {
            _ if is_local => local(request),
            true => by_session(app, request.headers()),
            false => Err(Stranger::Unauthorized),
        };
    };
    honoured(app, &token)
}

/// Whoever shows this token.
pub(super) fn honoured(app: &App, token: &Token) -> Identity {
    if let Door::Own(own, hash) = &app.access.door {
        return if *own == token.id && hash.is(&token.hash()) {
            Ok(Grant::operator())
        } else {
            Err(Stranger::Unauthorized)
        };
    }
    // Both are asked in any case: how long it takes says nothing of why.
    worth(app, token.id, app.access.kept.holder(token))
}

/// Whether a participant was erased: by what the ledger says, and by the keys, which go before it does.
fn is_gone(app: &App, program: ProgramId, participant: ParticipantId) -> bool {
    app.published.people().is_some_and(|people| people.is_erased(program, participant))
        || app
            .published
            .by_id(program)
            .is_some_and(|of| of.view().models.is_erased(participant) == Some(true))
}

/// Forgets the secrets of the tokens that are bound to whoever was erased: there is nobody any more whom they could
/// stand for, and that they did is not kept either. They are worth nothing whether this succeeds or not.
pub(super) async fn forget_tokens_of_the_erased(app: Arc<App>) {
    let forgetting = tokio::task::spawn_blocking(move || {
        app.access.kept.forget_bound_to(|program, participant| is_gone(&app, program, participant))
    });
    if let Ok(Err(error)) = forgetting.await {
        tracing::warn!(%error, "the tokens of an erased person are still in this file; the next start removes them");
    }
}

/// Whoever is logged in with this browser: what their token is worth now.
fn by_session(app: &App, headers: &HeaderMap) -> Identity {
    let now = app.published.clock.to_expire();
    let open = login::sessions(headers).find_map(|session| {
        let key = session.key();
        app.access.sessions.token(key, now).map(|token| (key, token))
    });
    let (key, token) = open.ok_or(Stranger::Unauthorized)?;
    let grant = worth(app, token, app.access.kept.kept(token))?;
    Ok(Grant { session: Some(key), ..grant })
}

/// What a token is worth to whoever holds it.
fn worth(app: &App, token: TokenId, holder: Option<Holder>) -> Identity {
    let now = app.published.clock.to_expire();
    let issued = app.published.tokens().issued(token).cloned().filter(|issued| issued.is_honoured(now));
    let (holder, issued) = holder.zip(issued).ok_or(Stranger::Unauthorized)?;
    if let Some((program, _)) = holder.participant {
        // The registry's word and the file's must fit: else the token is worth nothing rather than too much.
        let fits = issued.role == Role::Service && issued.programs.iter().eq([&program]);
        fits.then_some(()).ok_or(Stranger::Unauthorized)?;
    }
    if let Some((program, participant)) = holder.participant
        && is_gone(app, program, participant)
    {
        // There is nobody any more whom it could stand for.
        return Err(Stranger::Unauthorized);
    }
    Ok(Grant {
        principal: issued.principal,
        role: Some(issued.role),
        programs: Scope::of(&issued.programs),
        participant: holder.participant,
        token: Some(token),
        is_operator: false,
        session: None,
    })
}

/// What lets the holder of a grant in.
pub(super) const fn by(grant: &Grant) -> By {
    match (grant.token, grant.is_operator) {
        (Some(token), _) => By::Token(token),
        (None, true) => By::Operator,
        (None, false) => By::Loopback,
    }
}

/// Whether a grant that was given would be given now: nobody has issued the first token meanwhile, and its own is
/// neither revoked nor over, nor is the session it came with.
pub(super) fn is_still_honoured(app: &App, grant: &Grant) -> bool {
    let now = app.published.clock.to_expire();
    if grant.session.is_some_and(|key| app.access.sessions.token(key, now).is_none()) {
        return false;
    }
    if grant.participant.is_some_and(|(program, participant)| is_gone(app, program, participant)) {
        return false;
    }
    let tokens = app.published.tokens();
    match by(grant) {
        By::Operator => true,
        By::Loopback => !tokens.were_issued(),
        // One whose secret was forgotten here opens nothing either, whatever is recorded.
        By::Token(id) => {
            let issued = tokens.issued(id);
            issued.is_some_and(|issued| issued.is_honoured(now)) && app.access.kept.kept(id).is_some()
        }
    }
}

/// The token of `Authorization: Bearer` (RFC 6750, section 2.1); `None` without the header. Nothing is overlooked: one
/// that cannot be read is no missing one.
fn bearer(headers: &HeaderMap) -> Result<Option<Token>, Stranger> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(Stranger::Unauthorized);
    }
    let token = value.to_str().ok().and_then(|text| {
        let (scheme, token) = text.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| token.trim_matches(' ').parse().ok())?
    });
    token.map(Some).ok_or(Stranger::Unauthorized)
}

/// What the names of headers begin with that proxies and their makers add.
const OF_PROXIES: [&str; 8] =
    ["x-forwarded", "x-original-", "x-envoy-", "x-amzn-", "x-azure-", "x-cluster-client", "cf-", "fastly-"];

/// Whoever is on this machine. A web page that rebinds a name of its own to 127.0.0.1 says that name.
fn local(request: &Request) -> Identity {
    let headers = request.headers();
    let mut hosts = headers.get_all(header::HOST).iter();
    let target = request.uri().authority().map(Authority::as_str);
    let says_so = match (hosts.next(), hosts.next()) {
        // HTTP/2 names it in its target (RFC 9113, section 8.3.1).
        (None, _) => request.version() == Version::HTTP_2 && target.is_some(),
        (Some(host), None) => host.to_str().is_ok_and(is_this_machine),
        (Some(_), Some(_)) => false,
    };
    if !says_so || !target.is_none_or(is_this_machine) {
        return Err(Stranger::OtherHost);
    }
    let is_of_proxies = |name: &str| {
        matches!(name, "forwarded" | "via")
            || name.ends_with("-ip")
            || OF_PROXIES.iter().any(|of_proxies| name.starts_with(of_proxies))
    };
    // A page of another site that has this machine's browser ask here (Fetch Metadata). A link may lead here.
    let said = |name: &str| headers.get(name).map(HeaderValue::as_bytes);
    let follows_link = request.method().is_safe() && said("sec-fetch-mode") == Some(b"navigate");
    let is_foreign =
        !matches!(said("sec-fetch-site"), None | Some(b"same-origin" | b"none")) && !follows_link;
    // What an older browser says of it: a page asks by the name it has. `null` is nobody's.
    let is_asked = |origin: &HeaderValue| {
        let asked = headers.get(header::HOST).and_then(|host| host.to_str().ok()).or(target);
        let from = origin.to_str().ok().and_then(|origin| origin.split_once("://")).map(|(_, host)| host);
        asked.is_some_and(|asked| from.is_some_and(|from| from.eq_ignore_ascii_case(asked)))
    };
    let is_foreign = is_foreign || !headers.get_all(header::ORIGIN).iter().all(is_asked);
    if is_foreign || headers.keys().any(|name| is_of_proxies(name.as_str())) {
        return Err(Stranger::Forwarded);
    }
    Ok(Grant::local())
}

/// Whether a host, with or without a port, is a name or address of this machine alone.
fn is_this_machine(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => match rest.split_once(']') {
            Some((address, port)) => return address == "::1" && is_port(port),
            None => return false,
        },
        None => match host.split_once(':') {
            Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
            Some(_) => return false,
            None => host,
        },
    };
    name.eq_ignore_ascii_case("localhost")
        || name.parse::<Ipv4Addr>().is_ok_and(|address| address.is_loopback())
}

fn is_port(text: &str) -> bool {
    text.is_empty()
        || text.strip_prefix(':').is_some_and(|port| port.bytes().all(|byte| byte.is_ascii_digit()))
}

/// What a route says of itself.
#[derive(Clone)]
pub(super) struct Asked {
    app: Arc<App>,
    needs: Permission,
    place: Place,
}

/// What the path of a route names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Nothing of a program.
    Installation,
    /// A program.
    Program,
    /// A ledger: a program's, or the registry.
    Ledger,
}

impl Asked {
    /// What is asked at this path.
    pub(super) fn new(app: &Arc<App>, path: &str, needs: Permission) -> Self {
        let place = match (path.contains("{program}"), needs) {
            (false, _) => Place::Installation,
            (true, Permission::Log) if path.starts_with("/log/") => Place::Ledger,
            (true, _) => Place::Program,
        };
        Self { app: app.clone(), needs, place }
    }
}

/// Stands before a route: lets through whoever may, with what they may have.
pub(super) async fn guard(
    State(Asked { app, needs, place }): State<Asked>,
    request: Request,
    next: Next,
) -> Result<Response, Problem> {
    if needs == Permission::Open {
        return Ok(next.run(request).await);
    }
    let (begun, is_read) = (Instant::now(), request.method().is_safe());
    let (mut parts, body) = request.into_parts();
    // Somebody who was not looked at is a stranger.
    let identity = parts.extensions.get::<Identity>().cloned();
    let grant = identity.unwrap_or(Err(Stranger::Unauthorized))?;
    match place {
        Place::Installation => grant.may(needs)?,
        Place::Program => {
            grant.may(needs)?;
            let program = program(&app, &grant, &mut parts).await?;
            parts.extensions.insert(InProgram(program));
        }
        Place::Ledger => {
            // Whoever may read neither is told of the one that more may read.
            let ledger = if named(&mut parts).await? == REGISTRY {
                grant.may(Permission::RegistryLog)?;
                app.published.registry_auditable().clone()
            } else {
                grant.may(needs)?;
                program(&app, &grant, &mut parts).await?.auditable.clone()
            };
            parts.extensions.insert(OfLedger(ledger));
        }
    }
    let response = next.run(Request::from_parts(parts, body)).await;
    // Who waited for something to happen may have lost their token meanwhile. What was done is not undone by hiding it.
    if is_read && !is_still_honoured(&app, &grant) {
        return Err(Stranger::Unauthorized.into());
    }
    Ok(response.map(|body| match body.size_hint().exact() {
        Some(_) => body,
        None => Body::new(AsLongAs { body, app, grant, asked: begun }),
    }))
}

/// After so long it is asked again whether a token is honoured.
const AGAIN: Duration = Duration::from_secs(1);

/// A body of no known length, which is given as long as the one who asked for it may have it, and then breaks off.
struct AsLongAs {
    body: Body,
    app: Arc<App>,
    grant: Grant,
    asked: Instant,
}

impl HttpBody for AsLongAs {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let this = &mut *self;
        if this.asked.elapsed() >= AGAIN {
            this.asked = Instant::now();
            if !is_still_honoured(&this.app, &this.grant) {
                return Poll::Ready(Some(Err(axum::Error::new("the token is honoured no more"))));
            }
        }
        Pin::new(&mut this.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// The program's name in the path, decoded as the handlers' own parameters are.
async fn named(parts: &mut Parts) -> Result<String, Problem> {
    let unreadable = |_| Problem::new(Code::Malformed, "the request cannot be read");
    let parameters = RawPathParams::from_request_parts(parts, &()).await.map_err(unreadable)?;
    let name = parameters.iter().find(|(name, _)| *name == "program").map(|(_, value)| value.to_owned());
    name.ok_or_else(|| Problem::new(Code::Internal, "the path names no program"))
}

async fn program(app: &App, grant: &Grant, parts: &mut Parts) -> Result<Arc<Program>, Problem> {
    find(app, grant, &named(parts).await?)
}

/// Finds a program by slug or UUID, among those that are the caller's to know.
pub(super) fn find(app: &App, grant: &Grant, name: &str) -> Result<Arc<Program>, Problem> {
    let program = app.published.program(name).filter(|program| grant.programs.covers(program.id));
    program.ok_or_else(|| {
        Problem::new(Code::NoSuchProgram, format_args!("there is no program `{name}`: see GET /v1/programs"))
    })
}

/// The program of the path: it is there, and the caller may have what the route gives of it.
#[derive(Clone)]
pub struct InProgram(pub Arc<Program>);

/// The ledger of the path, a program's or the registry's, which the caller may have.
#[derive(Clone)]
pub struct OfLedger(pub Arc<Auditable>);

fn left<T: Clone + Send + Sync + 'static>(parts: &Parts) -> Result<T, Problem> {
    let left = parts.extensions.get::<T>().cloned();
    // Only a route whose table and handler disagree: nothing is given.
    left.ok_or_else(|| Problem::new(Code::Internal, "the route was not looked at in this way"))
}

impl FromRequestParts<Arc<App>> for InProgram {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &Arc<App>) -> Result<Self, Problem> {
        left(parts)
    }
}

impl FromRequestParts<Arc<App>> for OfLedger {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &Arc<App>) -> Result<Self, Problem> {
        left(parts)
    }
}

impl FromRequestParts<Arc<App>> for Grant {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &Arc<App>) -> Result<Self, Problem> {
        grant(parts)
    }
}

/// Who asks, of a request that the guard let through.
pub(super) fn grant(parts: &Parts) -> Result<Grant, Problem> {
    let identity = parts.extensions.get::<Identity>().cloned();
    Ok(identity.unwrap_or(Err(Stranger::Unauthorized))?)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use axum::body::Body;
    use tower::ServiceExt as _;

    use super::*;
    use crate::clock::{Clock, Machine};
    use crate::http::routes::router;
    use crate::keys::Keys;
    use crate::ledger::Log;
    use crate::ledger::memory::MemoryLog;
    use crate::writer::Writer;
    use crate::writer::publisher::Publishing;
    use mentorlog_events::id::LedgerId;

    /// What somebody is answered who sends this token, or none, to a service with this door.
    async fn answered(access: Access, token: Option<&Token>) -> u16 {
        let keys = Keys::ephemeral();
        let secret = keys.of_ledger(LedgerId::REGISTRY);
        let log: Arc<dyn Log> = Arc::new(MemoryLog::new());
        let clock = Clock::start(Machine::default());
        let (writer, _running) = Writer::start(&log, BTreeMap::new(), keys, clock, Publishing::Off).unwrap();
        let router = router(Arc::new(App::new(writer, secret, access)));
        let mut request = Request::get("/v1/programs").header("host", "localhost");
        if let Some(token) = token {
            request = request.header("authorization", format!("Bearer {}", *token.reveal()));
        }
        router.oneshot(request.body(Body::empty()).unwrap()).await.unwrap().status().as_u16()
    }

    #[tokio::test]
    async fn while_no_token_was_issued_the_doors_differ() {
        let kept = KeptTokens::in_memory;
        assert_eq!(answered(Access::loopback(kept()), None).await, 200);
        assert_eq!(answered(Access::guarded(kept()), None).await, 401, "others reach it");
        let (own, token) = Access::own(kept());
        assert_eq!(answered(own, None).await, 401, "it is for this process alone");
        let (own, _) = Access::own(kept());
        assert_eq!(answered(own, Some(&token)).await, 401, "the token of another process");
        let (own, token) = Access::own(kept());
        assert_eq!(answered(own, Some(&token)).await, 200);
        assert_eq!(answered(Access::loopback(kept()), Some(&token)).await, 401, "no token is overlooked");
    }

    #[test]
    fn a_token_that_is_kept_and_was_never_recorded_opens_nothing() {
        let kept = KeptTokens::in_memory();
        let token = Token::random();
        kept.keep(&token, None, |_| true).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        assert_eq!(runtime.block_on(answered(Access::guarded(kept), Some(&token))), 401);
    }

    #[test]
    fn without_tokens_nobody_is_served_who_comes_through_a_proxy_or_from_another_site() {
        let with = |name: &'static str, value: &'static str| {
            let request = Request::get("/v1/programs").header("host", "localhost").header(name, value);
            local(&request.body(Body::empty()).unwrap())
        };
        for (name, value) in [
            ("forwarded", "for=10.0.0.1"),
            ("via", "1.1 proxy"),
            ("x-forwarded-for", "10.0.0.1"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-server", "www"),
            ("x-real-ip", "10.0.0.1"),
            ("x-client-ip", "10.0.0.1"),
            ("cf-connecting-ip", "10.0.0.1"),
            ("x-forwarded", "for=10.0.0.1"),
            ("x-original-host", "log.example"),
            ("x-envoy-external-address", "10.0.0.1"),
            ("x-amzn-trace-id", "Root=1-2-3"),
            ("cf-ray", "8a1b"),
            ("x-azure-ref", "0a"),
            ("sec-fetch-site", "cross-site"),
            ("sec-fetch-site", "same-site"),
            ("origin", "https://evil.example"),
            ("origin", "http://localhost:3000"),
            ("origin", "null"),
        ] {
            assert_eq!(with(name, value), Err(Stranger::Forwarded), "{name}: {value}");
        }
        for value in ["same-origin", "none"] {
            assert_eq!(with("sec-fetch-site", value), Ok(Grant::local()));
        }
        assert_eq!(with("accept", "*/*"), Ok(Grant::local()));
        assert_eq!(with("origin", "http://localhost"), Ok(Grant::local()), "a page of ours");
    }

    #[tokio::test]
    async fn a_body_without_an_end_breaks_off_when_its_token_is_honoured_no_more() {
        use http_body_util::BodyExt as _;

        let secret = Keys::ephemeral().of_ledger(LedgerId::REGISTRY);
        let log: Arc<dyn Log> = Arc::new(MemoryLog::new());
        let clock = Clock::start(Machine::default());
        let (writer, _running) =
            Writer::start(&log, BTreeMap::new(), Keys::ephemeral(), clock, Publishing::Off).unwrap();
        let app = Arc::new(App::new(writer, secret, Access::loopback(KeptTokens::in_memory())));
        let long_ago = Instant::now().checked_sub(AGAIN).unwrap();
        let frames = |grant: Grant| {
            let body = Body::from("xxx");
            AsLongAs { body, app: app.clone(), grant, asked: long_ago }
        };
        assert_eq!(frames(Grant::local()).collect().await.unwrap().to_bytes(), "xxx");
        let never_issued = Grant { token: Some(Token::random().id), ..Grant::local() };
        assert!(frames(never_issued).collect().await.is_err());
    }

    #[test]
    fn a_host_is_this_machine_or_it_is_not() {
        for host in ["localhost", "LocalHost:7171", "127.0.0.1", "127.255.0.9:1", "[::1]", "[::1]:80"] {
            assert!(is_this_machine(host), "{host}");
        }
        for host in [
            "",
            ":",
            "localhost.",
            "localhost.example",
            "127.1",
            "127.0.0.1.example",
            "0.0.0.0",
            "[::]",
            "::1",
            "[::1",
            "[::1]x",
            "[::1]:x",
            "localhost:80:80",
            "localhost:+80",
            "user@localhost",
            "[::ffff:127.0.0.1]",
        ] {
            assert!(!is_this_machine(host), "{host}");
        }
    }
}
