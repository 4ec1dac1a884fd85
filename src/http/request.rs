//! Reading requests: who speaks, what they repeat, what they expect, and the parameters of a query.
//! Never guesses: what is unknown, doubled or malformed is a problem that names it.

use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderMap, header};
use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::{Frame, SizeHint};
use mentorlog_events::entry::Actor;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::Instant;
use uuid::Uuid;

use super::edge::counts::Limit;
use super::edge::{Edge, Times};
use super::guard::by;
use super::problem::{Code, Problem};
use crate::access::grant::Grant;
use crate::rules::command::Common;
use crate::writer::Caller;

/// Longest body of one command.
pub const COMMAND_BYTES_MAX: usize = 256 * 1024;

/// Longest body of a batch.
pub const BATCH_BYTES_MAX: usize = 8 * 1024 * 1024;

/// How fast a body has to arrive once its grace is over, in bytes a second.
pub const BODY_BYTES_PER_SECOND: usize = 1024;

/// A body up to this length is always read.
const SMALL_BYTES: usize = 64 * 1024;

/// Room for all longer bodies together, in KiB: what many clients send at once must not fill the memory.
static ROOM: Semaphore = Semaphore::const_new(64 * 1024);

/// A whole body. A long one holds its room until this is dropped.
pub struct Received {
    /// The body.
    pub bytes: Bytes,
    _room: Option<SemaphorePermit<'static>>,
}

/// Reads a whole body of at most `limit` bytes. While it does not arrive the request counts as waiting.
pub async fn read_body(
    edge: &Edge,
    headers: &HeaderMap,
    body: Body,
    limit: usize,
) -> Result<Received, Problem> {
    let too_large =
        || Problem::new(Code::TooLarge, format_args!("send at most {limit} bytes")).with("limit", limit);
    let announced =
        headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
    if announced.is_some_and(|length| length > limit) {
        return Err(too_large());
    }
    let expected = announced.unwrap_or(limit);
    let room = room_for(&ROOM, expected).inspect_err(|_| edge.counts().turned_away(Limit::Bodies))?;
    let times = edge.limits.times;
    let arrived = AtomicUsize::new(0);
    let mut collecting = pin!(Limited::new(Counted { body, arrived: &arrived }, limit).collect());
    // Most bodies arrive with their headers: a timer is set only for those that do not.
    let collected = match poll_once(collecting.as_mut()).await {
        Poll::Ready(collected) => Some(collected),
        Poll::Pending => {
            let _waiting = edge.load.wait()?;
            let begun = Instant::now();
            loop {
                let due = begun + time_for(arrived.load(Ordering::Relaxed), times);
                match tokio::time::timeout_at(due, collecting.as_mut()).await {
                    Ok(collected) => break Some(collected),
                    // What arrived meanwhile may have earned it more time.
                    Err(_) if begun + time_for(arrived.load(Ordering::Relaxed), times) > due => {}
                    Err(_) => break None,
                }
            }
        }
    };
    match collected {
        Some(Ok(body)) => Ok(Received { bytes: body.to_bytes(), _room: room }),
        Some(Err(error)) if error.is::<LengthLimitError>() => Err(too_large()),
        Some(Err(error)) => Err(Problem::new(Code::Malformed, format_args!("the body broke off: {error}"))),
        None => Err(Problem::new(
            Code::BodyTimeout,
            format_args!(
                "send the whole body within {} s, and at least {BODY_BYTES_PER_SECOND} bytes a second",
                times.body.as_secs()
            ),
        )),
    }
}

/// How long a body may take of which so much has arrived.
fn time_for(bytes: usize, times: Times) -> Duration {
    let earned = Duration::from_secs((bytes / BODY_BYTES_PER_SECOND) as u64);
    (times.body_grace + earned).min(times.body)
}

/// A body that says how much of it has arrived.
struct Counted<'a> {
    body: Body,
    arrived: &'a AtomicUsize,
}

impl hyper::body::Body for Counted<'_> {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        if let Poll::Ready(Some(Ok(frame))) = &polled
            && let Some(data) = frame.data_ref()
        {
            self.arrived.fetch_add(data.len(), Ordering::Relaxed);
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Takes room for a body of that length; a short one needs none.
fn room_for(room: &Semaphore, bytes: usize) -> Result<Option<SemaphorePermit<'_>>, Problem> {
    if bytes <= SMALL_BYTES {
        return Ok(None);
    }
    let kib = u32::try_from(bytes.div_ceil(1024)).unwrap_or(u32::MAX);
    room.try_acquire_many(kib)
        .map(Some)
        .map_err(|_| Problem::new(Code::Busy, "too many long bodies are being read: try again in a moment"))
}

/// Looks whether a future is ready now.
async fn poll_once<F: Future>(mut future: Pin<&mut F>) -> Poll<F::Output> {
    std::future::poll_fn(|context| Poll::Ready(future.as_mut().poll(context))).await
}

/// What a body is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Media {
    /// `application/json`
    Json,
    /// `application/x-ndjson`
    Ndjson,
}

/// Reads `Content-Type`; only the given media are taken.
pub fn media(headers: &HeaderMap, accepted: &[Media]) -> Result<Media, Problem> {
    let text = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = text.split(';').next().unwrap_or_default().trim();
    let media = if essence.eq_ignore_ascii_case("application/json") {
        Some(Media::Json)
    } else if essence.eq_ignore_ascii_case("application/x-ndjson") {
        Some(Media::Ndjson)
    } else {
        None
    };
    media.filter(|media| accepted.contains(media)).ok_or_else(|| {
        let names = accepted.iter().map(|media| match media {
            Media::Json => "application/json",
            Media::Ndjson => "application/x-ndjson",
        });
        let names = names.collect::<Vec<_>>().join(" or ");
        Problem::new(Code::UnsupportedMediaType, format_args!("send the body with Content-Type: {names}"))
    })
}

/// Reads `Idempotency-Key` (draft-ietf-httpapi-idempotency-key-header-07): a quoted string or, as most clients
/// send it, the bare text; 1 to 255 visible ASCII characters.
pub fn idempotency_key(headers: &HeaderMap) -> Result<Option<&str>, Problem> {
    let problem = || {
        Problem::new(
            Code::MalformedHeader,
            "Idempotency-Key must stand once and be 1 to 255 visible ASCII characters, quoted or bare",
        )
        .with("header", "Idempotency-Key")
    };
    let mut values = headers.get_all("idempotency-key").iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(problem());
    }
    let text = value.to_str().map_err(|_| problem())?.trim();
    let key = match text.strip_prefix('"') {
        Some(rest) => rest.strip_suffix('"').ok_or_else(problem)?,
        None => text,
    };
    check_key(key).then_some(Some(key)).ok_or_else(problem)
}

/// Whether a text can be an idempotency key.
pub fn check_key(key: &str) -> bool {
    (1..=255).contains(&key.len())
        && key.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'"' && byte != b'\\')
}

/// Reads `If-Match`: the version in an entity tag, `"41"`. `*` asks for nothing.
pub fn if_match(headers: &HeaderMap) -> Result<Option<u64>, Problem> {
    let problem = || {
        Problem::new(
            Code::MalformedHeader,
            "If-Match must be one entity tag as the service gave it, e.g. \"41\"",
        )
        .with("header", "If-Match")
    };
    let mut values = headers.get_all(header::IF_MATCH).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(problem());
    }
    match value.to_str().map_err(|_| problem())?.trim() {
        "*" => Ok(None),
        tag => {
            let version = tag.strip_prefix('"').and_then(|tag| tag.strip_suffix('"')).ok_or_else(problem)?;
            version.parse().map(Some).map_err(|_| problem())
        }
    }
}

/// Reads `X-Correlation-Id`: a UUID that all the caller's requests of one thread of work share.
pub fn correlation(headers: &HeaderMap) -> Result<Option<Uuid>, Problem> {
    let Some(value) = headers.get("x-correlation-id") else { return Ok(None) };
    let uuid =
        value.to_str().ok().and_then(|text| mentorlog_events::id::parse_uuid(text.trim().as_bytes()).ok());
    uuid.map(Some).ok_or_else(|| {
        Problem::new(Code::MalformedHeader, "X-Correlation-Id must be a UUID")
            .with("header", "X-Correlation-Id")
    })
}

/// Who speaks: what the command says, as far as the grant lets it, through the grant's principal.
pub fn caller(grant: &Grant, common: &Common, correlation: Option<Uuid>) -> Result<Caller, Problem> {
    if common.actor == Some(Actor::System) {
        return Err(Problem::new(Code::Malformed, "actor: only the software itself is `system`")
            .with("pointer", "/actor"));
    }
    let actor = grant.actor(common.actor, common.on_behalf_of)?;
    let principal = grant.principal.clone();
    Ok(Caller { actor, on_behalf_of: common.on_behalf_of, principal, correlation, by: by(grant) })
}

/// The parameters of a query, each taken once by name. What was not taken is a problem.
pub struct Parameters {
    rest: Vec<(String, String)>,
}

impl Parameters {
    /// Reads `a=1&b=2`, percent-encoded.
    pub fn read(query: Option<&str>) -> Result<Self, Problem> {
        let mut rest: Vec<(String, String)> = Vec::new();
        for part in query.unwrap_or_default().split('&').filter(|part| !part.is_empty()) {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            let decoded = |text| {
                decode(text).ok_or_else(|| {
                    Problem::new(
                        Code::MalformedParameter,
                        format_args!("`{part}` is not percent-encoded UTF-8"),
                    )
                })
            };
            let (name, value) = (decoded(name)?, decoded(value)?);
            if rest.iter().any(|(other, _)| *other == name) {
                return Err(Problem::new(Code::MalformedParameter, format_args!("`{name}` stands twice"))
                    .with("parameter", name));
            }
            rest.push((name, value));
        }
        Ok(Self { rest })
    }

    /// Takes a parameter; `expected` says what it should be when it cannot be read.
    pub fn take<T: std::str::FromStr>(&mut self, name: &str, expected: &str) -> Result<Option<T>, Problem> {
        let Some(index) = self.rest.iter().position(|(other, _)| other == name) else { return Ok(None) };
        let (name, value) = self.rest.swap_remove(index);
        value.parse().map(Some).map_err(|_| {
            Problem::new(Code::MalformedParameter, format_args!("`{name}` must be {expected}"))
                .with("parameter", name)
        })
    }

    /// Whether a parameter stands there and was not taken.
    pub fn has(&self, name: &str) -> bool {
        self.rest.iter().any(|(other, _)| other == name)
    }

    /// Takes one of a few words.
    pub fn word(&mut self, name: &str, words: &[&'static str]) -> Result<Option<&'static str>, Problem> {
        let expected = words.join(" or ");
        let Some(given) = self.take::<String>(name, &expected)? else { return Ok(None) };
        let word = words.iter().find(|word| **word == given);
        word.copied().map(Some).ok_or_else(|| {
            Problem::new(Code::MalformedParameter, format_args!("`{name}` must be {expected}"))
                .with("parameter", name)
        })
    }

    /// Takes a number within bounds.
    pub fn number(&mut self, name: &str, least: u64, most: u64) -> Result<Option<u64>, Problem> {
        let expected = format!("a whole number from {least} to {most}");
        let number = self.take::<u64>(name, &expected)?;
        if number.is_some_and(|number| number < least || number > most) {
            return Err(Problem::new(Code::MalformedParameter, format_args!("`{name}` must be {expected}"))
                .with("parameter", name));
        }
        Ok(number)
    }

    /// What was not taken, in no order.
    pub fn left_over(self) -> Vec<(String, String)> {
        self.rest
    }

    /// Whether nothing is left over.
    pub fn finish(self) -> Result<(), Problem> {
        match self.rest.into_iter().next() {
            None => Ok(()),
            Some((name, _)) => {
                Err(Problem::new(Code::MalformedParameter, format_args!("`{name}` is not a parameter here"))
                    .with("parameter", name))
            }
        }
    }
}

fn decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let digit = |byte: u8| char::from(byte).to_digit(16);
                let (high, low) = (digit(rest.next()?)?, digit(rest.next()?)?);
                u8::try_from(high * 16 + low).ok()?
            }
            _ => byte,
        });
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn header(name: &'static str, value: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(name, HeaderValue::from_str(value).unwrap());
        headers
    }

    #[test]
    fn a_key_is_quoted_or_bare_and_nothing_else() {
        assert_eq!(idempotency_key(&HeaderMap::new()), Ok(None));
        for text in ["\"a-1\"", "a-1", " a-1 "] {
            assert_eq!(idempotency_key(&header("idempotency-key", text)), Ok(Some("a-1")), "{text}");
        }
        for text in ["", "\"\"", "\"a", "a b", "a\"b", &"x".repeat(256)] {
            assert!(idempotency_key(&header("idempotency-key", text)).is_err(), "{text}");
        }
    }

    #[test]
    fn a_version_is_an_entity_tag() {
        assert_eq!(if_match(&header("if-match", "\"41\"")), Ok(Some(41)));
        assert_eq!(if_match(&header("if-match", "*")), Ok(None));
        for text in ["41", "W/\"41\"", "\"x\"", "\"1\", \"2\""] {
            assert!(if_match(&header("if-match", text)).is_err(), "{text}");
        }
    }

    #[test]
    fn a_query_is_read_to_the_last_parameter() {
        let mut query = Parameters::read(Some("from=3&type=session%2Dlogged&x=a+b")).unwrap();
        assert_eq!(query.number("from", 0, 10), Ok(Some(3)));
        assert_eq!(query.take::<String>("type", "a type"), Ok(Some("session-logged".to_owned())));
        assert_eq!(query.number("limit", 1, 10), Ok(None));
        assert!(query.finish().is_err());
        for bad in ["a=1&a=2", "a=%zz", "a=%ff", "a=%4"] {
            assert!(Parameters::read(Some(bad)).is_err(), "{bad}");
        }
        assert!(Parameters::read(Some("from=-1")).unwrap().number("from", 0, 10).is_err());
        assert!(Parameters::read(Some("from=11")).unwrap().number("from", 0, 10).is_err());
    }

    #[test]
    fn a_body_earns_its_time_by_arriving() {
        let times = Times::default();
        assert_eq!(time_for(0, times), times.body_grace);
        assert_eq!(time_for(3 * BODY_BYTES_PER_SECOND, times), times.body_grace + Duration::from_secs(3));
        assert_eq!(time_for(BATCH_BYTES_MAX, times), times.body);
    }

    #[test]
    fn long_bodies_share_a_room_and_short_ones_need_none() {
        let room = Semaphore::new(16 * 1024);
        let held: Vec<_> = (0..2).map(|_| room_for(&room, BATCH_BYTES_MAX).unwrap()).collect();
        assert_eq!(room_for(&room, BATCH_BYTES_MAX).err().map(|problem| problem.code()), Some("busy"));
        assert!(room_for(&room, SMALL_BYTES).unwrap().is_none(), "a short one is always read");
        drop(held);
        assert!(room_for(&room, BATCH_BYTES_MAX).is_ok(), "an answered one makes room");
    }
}
