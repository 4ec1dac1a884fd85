//! Every error of the service as an RFC 9457 problem document, and the one place where status codes are chosen.
//! Never shows what the caller did not send or could not know.

use std::fmt;

use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};

use crate::rules::rejection::{Kind, Rejection};
use crate::writer::receipt::Refusal;

/// Declares the problems that are not refusals of a rule: meaning, code, status, title and what to do in one place.
macro_rules! codes {
    ($($(#[doc = $meaning:literal])* $name:ident = $code:literal $status:literal $title:literal $advice:literal;)*) => {
        /// What is wrong with a request when no rule was asked, or the rules had no part in it.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Code {
            $($(#[doc = $meaning])* $name,)*
        }

        impl Code {
            /// Every code, in the order of declaration.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The code: stable, in kebab-case.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $code,)* }
            }

            /// The status it is answered with.
            pub fn status(self) -> StatusCode {
                let status: u16 = match self { $(Self::$name => $status,)* };
                StatusCode::from_u16(status).expect("a status code")
            }

            const fn title(self) -> &'static str {
                match self { $(Self::$name => $title,)* }
            }

            const fn meaning(self) -> &'static str {
                match self { $(Self::$name => concat!($($meaning),*),)* }
            }

            const fn advice(self) -> &'static str {
                match self { $(Self::$name => $advice,)* }
            }
        }
    };
}

codes! {
    /// Syntax, an unknown, missing or repeated field, or a wrong type.
    Malformed = "malformed" 400 "The body cannot be read"
        "Read `detail`: it names the field or the place. Unknown fields are refused, so check the spelling.";
    /// A header cannot be read.
    MalformedHeader = "malformed-header" 400 "A header cannot be read"
        "Read `header` and `detail`: they name the header and the form it must have.";
    /// A parameter of the query is unknown, repeated or cannot be read.
    MalformedParameter = "malformed-parameter" 400 "A query parameter cannot be read"
        "Read `parameter` and `detail`: they name the parameter and what it takes.";
    /// No token, or none that is honoured. It is not said which.
    Unauthorized = "unauthorized" 401 "Who asks is not known"
        "Send `Authorization: Bearer mtk_...`. If you do, the token is mistyped, expired, revoked or of another installation: ask who runs it for a new one.";
    /// Whoever asks may not have or do this.
    Forbidden = "forbidden" 403 "This is not for this token"
        "Use a token of one of the roles that `detail` names, or ask for what is yours.";
    /// Without tokens only this machine is served.
    OtherHost = "other-host" 403 "Only this machine is served"
        "Address the service as localhost; to serve others, issue a token first (`mentorlog token bootstrap`).";
    /// There is nothing at this path.
    NoSuchPath = "no-such-path" 404 "There is nothing at this path"
        "Check the path against /openapi.json or /docs.";
    /// There is no program of this name.
    NoSuchProgram = "no-such-program" 404 "There is no such program"
        "Check the slug or UUID: GET /v1/programs lists the programs of your scope.";
    /// There is no command of this name.
    UnknownCommand = "unknown-command" 404 "There is no such command"
        "Check the name: GET /v1/programs/{program}/commands lists them.";
    /// There is no such thing in the program.
    NotFound = "not-found" 404 "There is no such thing"
        "Check the id, and whether it is of this program.";
    /// No checkpoint of the ledger is published yet.
    NotPublished = "not-published" 404 "Nothing of this ledger is published yet"
        "Try again in a second: a checkpoint follows soon after the first entry.";
    /// The path does not take this method.
    MethodNotAllowed = "method-not-allowed" 405 "The path does not take this method"
        "Use one of the methods that the header `Allow` names.";
    /// None of the formats the caller accepts can be given.
    NotAcceptable = "not-acceptable" 406 "None of the accepted formats can be given"
        "Accept one of the media types that `detail` names.";
    /// The body did not arrive in time.
    BodyTimeout = "body-timeout" 408 "The body did not arrive in time"
        "Send the whole body at once; an `Idempotency-Key` makes it safe to send it again.";
    /// An item of an atomic batch was refused.
    NotDone = "not-done" 409 "Another item of the atomic batch was refused"
        "Correct the item that was refused for a reason of its own and send the batch again: nothing of it was done.";
    /// The two cannot be paired; why is not for a participant to know.
    CannotBePaired = "cannot-be-paired" 409 "The two cannot be paired"
        "Propose somebody else, or ask the program's manager, who is told why.";
    /// A ledger's key has another number than the one a rotation was asked from.
    KeyNumber = "key-number" 409 "The ledger signs with another key"
        "Look at GET /v1/keys and name the key that follows the present one.";
    /// The body is longer than allowed.
    TooLarge = "too-large" 413 "The body is too large"
        "Send less: split a batch in several; `limit` says how many bytes are taken.";
    /// The body is not JSON.
    UnsupportedMediaType = "unsupported-media-type" 415 "The body must be JSON"
        "Send `Content-Type: application/json`; a batch may be application/x-ndjson.";
    /// The idempotency key belongs to another command or body.
    KeyReused = "key-reused" 422 "The idempotency key was used for something else"
        "Send the command as it was the first time, or give the new one a key of its own.";
    /// An event of the command would be longer than an entry may be.
    EntryTooLong = "entry-too-long" 422 "The command says too much at once"
        "Say less in one command: fewer exchanges, skills or bands.";
    /// The command cannot be one of a batch.
    NotInBatch = "not-in-batch" 422 "The command cannot be one of a batch"
        "Send the command alone, to its own path.";
    /// Other participants are the same human being, and would be erased too.
    ErasesOthers = "erases-others" 409 "Others would be erased too"
        "If they are one human being, say how many there are with `participants`; if not, POST /v1/people/apart first.";
    /// Nobody said that the participant is the same human being as another.
    NotJoined = "not-joined" 409 "The participant is a human being of their own"
        "Nothing is to be taken back: erasing this participant erases nobody else.";
    /// A batch has no items, or too many, or repeats a key.
    ImpossibleBatch = "impossible-batch" 422 "The batch cannot be taken"
        "Send 1 to 10,000 items, each with a key of its own or none.";
    /// A round of so many cannot be computed in time.
    RoundTooLarge = "round-too-large" 422 "The round is too large to compute"
        "Ask for one `unit`, raise `min_score` or lower `per_person`.";
    /// One participant cannot be said to be the same human being as themself.
    ImpossibleSame = "impossible-same" 422 "These are not two participants"
        "Name two different participants, of two programs as a rule.";
    /// There is no report of that week, or none yet.
    ImpossibleReport = "impossible-report" 422 "There can be no such report"
        "Ask for a week that is over and not before the program's first.";
    /// A token cannot be so.
    ImpossibleToken = "impossible-token" 422 "There can be no such token"
        "Read `detail`: it says which role, program or expiry does not go together.";
    /// The caller asks more often than it may.
    RateLimited = "rate-limited" 429 "Too many requests"
        "Wait as long as `Retry-After` says, and ask less often.";
    /// Nothing is published by a service that keeps nothing on a disk.
    NotPublishing = "not-publishing" 501 "This service publishes nothing"
        "Run the service on a data directory: `mentorlog serve --data DIR`.";
    /// The software met a defect of its own.
    Internal = "internal" 500 "The service failed"
        "Try again once. If it stays, look into the service's log and tell who maintains it what you sent.";
    /// An entry or an earlier answer cannot be read back from the log.
    Unreadable = "unreadable" 500 "The log cannot be read"
        "Whoever runs the service should run `mentorlog doctor`: an entry on disk cannot be read.";
    /// Too much is waiting to be written.
    Busy = "busy" 503 "Too much is waiting"
        "Wait as long as `Retry-After` says and send it again. Nothing was written.";
    /// The service is starting.
    Starting = "starting" 503 "The service is starting"
        "Wait as long as `Retry-After` says: the history is being read and checked.";
    /// Writing has stopped for good.
    ReadOnly = "read-only" 503 "Writing has stopped"
        "Read meanwhile. Whoever runs the service frees space or replaces the disk, then restarts it.";
    /// It is not known whether the command was written.
    OutcomeUnknown = "outcome-unknown" 503 "It is not known whether this was written"
        "Send it again with the same `Idempotency-Key` once the service is back: it is then done once, or was.";
    /// The wall clock cannot be trusted.
    Clock = "clock" 503 "The clock cannot be trusted"
        "Whoever runs the service sets the machine's clock right; commands are taken again by themselves.";
    /// The ledger has not grown to the wanted size in time.
    NotYet = "not-yet" 503 "The ledger is not that large yet"
        "Try again with the same `min_size`, or check that it is a size of this program's ledger.";
}

/// Every code a problem document can carry: the catalogue.
pub fn catalogue() -> impl Iterator<Item = &'static str> {
    Code::ALL.iter().map(|code| code.as_str()).chain(Rejection::CODES.iter().copied())
}

/// A code as the catalogue explains it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Explained {
    /// The stable code.
    pub code: &'static str,
    /// The status it is answered with.
    pub status: u16,
    /// The title of its problem documents.
    pub title: &'static str,
    /// What it means.
    pub meaning: &'static str,
    /// What its `detail` says, values as `{names}`; `None` where that depends on the request.
    pub sentence: Option<&'static str>,
    /// What to do about it.
    pub advice: &'static str,
}

/// Every code explained, in the order of the catalogue.
pub fn explained() -> impl Iterator<Item = Explained> {
    let codes = Code::ALL.iter().map(|code| Explained {
        code: code.as_str(),
        status: code.status().as_u16(),
        title: code.title(),
        meaning: code.meaning().trim_start(),
        sentence: None,
        advice: code.advice(),
    });
    codes.chain(Rejection::CATALOGUE.iter().map(|rejection| {
        let (status, title) = of_kind(rejection.kind);
        Explained {
            code: rejection.code,
            status,
            title,
            meaning: rejection.meaning.trim_start(),
            sentence: Some(rejection.sentence),
            advice: rejection.advice,
        }
    }))
}

/// Status and title of a refusal of a rule.
const fn of_kind(kind: Kind) -> (u16, &'static str) {
    match kind {
        Kind::WrongState => (409, "The present state does not allow this"),
        Kind::Duplicate => (409, "It is there already"),
        Kind::NotFound => (404, "There is no such thing"),
        Kind::Erased => (410, "The person was erased"),
        Kind::VersionConflict => (412, "It has changed since"),
        Kind::Impossible => (422, "A value is not possible"),
        Kind::Forbidden => (403, "The actor may not do this"),
        Kind::NotAvailable => (501, "Not available yet"),
    }
}

/// An RFC 9457 problem document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    status: StatusCode,
    code: &'static str,
    title: &'static str,
    detail: String,
    extra: Map<String, Value>,
    allow: Option<Vec<Method>>,
    /// Narrow on purpose: problems are the errors of most functions here.
    again_in: Option<std::num::NonZeroU16>,
}

impl Problem {
    /// A problem with a sentence that says what to do.
    pub fn new(code: Code, detail: impl fmt::Display) -> Self {
        Self {
            status: code.status(),
            code: code.as_str(),
            title: code.title(),
            detail: detail.to_string(),
            extra: Map::new(),
            allow: None,
            again_in: None,
        }
    }

    /// Adds a member.
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.extra.insert(name.to_owned(), value.into());
        self
    }

    /// Adds the methods a path takes.
    pub fn allowing(mut self, methods: Vec<Method>) -> Self {
        self.allow = Some(methods);
        self
    }

    /// Says in how many seconds to come again, where the code alone does not.
    pub fn again_in(mut self, seconds: u64) -> Self {
        let seconds = u16::try_from(seconds).unwrap_or(u16::MAX);
        self.again_in = std::num::NonZeroU16::new(seconds.max(1));
        self
    }

    /// The stable code.
    pub fn code(&self) -> &'static str {
        self.code
    }

    /// The status it is answered with.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// The document.
    pub fn document(&self) -> Value {
        let mut document = json!({
            "type": format!("/problems/{}", self.code),
            "title": self.title,
            "status": self.status.as_u16(),
            "code": self.code,
            "detail": self.detail,
        });
        if let Value::Object(members) = &mut document {
            members.extend(self.extra.clone());
        }
        document
    }
}

impl From<Rejection> for Problem {
    fn from(rejection: Rejection) -> Self {
        let (status, title) = of_kind(rejection.kind());
        let mut problem = Self {
            status: StatusCode::from_u16(status).expect("a status code"),
            code: rejection.code(),
            title,
            detail: rejection.to_string(),
            extra: Map::new(),
            allow: None,
            again_in: None,
        };
        if let Some(pointer) = rejection.pointer() {
            problem = problem.with("pointer", pointer.to_string());
        }
        if let Some(existing) = rejection.existing() {
            problem = problem.with("existing", existing.uuid().to_string());
        }
        if let Some(current) = rejection.current_version() {
            problem = problem.with("current_version", current);
        }
        if let Some(state) = rejection.state() {
            problem = problem.with("state", state);
        }
        problem
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        let code = match &refusal {
            Refusal::LetInNoMore => return super::guard::Stranger::Unauthorized.into(),
            Refusal::Rule(rejection) => return (*rejection).into(),
            Refusal::NoSuchProgram => Code::NoSuchProgram,
            Refusal::KeyReused => Code::KeyReused,
            Refusal::EntryTooLong { .. } => Code::EntryTooLong,
            Refusal::Busy => Code::Busy,
            Refusal::Clock(_) => Code::Clock,
            Refusal::Stopped(_) => Code::ReadOnly,
            Refusal::Unknown(_) => Code::OutcomeUnknown,
            Refusal::NotInBatch => Code::NotInBatch,
            Refusal::ErasesOthers { participants } => {
                return Self::new(Code::ErasesOthers, &refusal).with("participants", *participants);
            }
            Refusal::NotDone { .. } => Code::NotDone,
            Refusal::Unreadable(_) => Code::Unreadable,
        };
        Self::new(code, refusal)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let body = serde_json::to_vec(&self.document()).expect("a document of strings and numbers");
        let mut response = (self.status, body).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if self.status == StatusCode::UNAUTHORIZED {
            // RFC 6750, section 3. No `error`: what is wrong with a token is not a stranger's to know.
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"mentorlog\""));
        }
        if let Some(seconds) = self.again_in {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds.get()));
        } else if self.status == StatusCode::SERVICE_UNAVAILABLE {
            // Busy passes in a moment; the others want somebody to act.
            let seconds = if self.code == Code::Busy.as_str() { "1" } else { "30" };
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static(seconds));
        }
        if let Some(methods) = &self.allow {
            let list = methods.iter().map(Method::as_str).collect::<Vec<_>>().join(", ");
            if let Ok(list) = HeaderValue::from_str(&list) {
                headers.insert(header::ALLOW, list);
            }
        }
        // What the metrics count.
        response.extensions_mut().insert(ProblemCode(self.code));
        // What a page is made of, where somebody asked for one.
        response.extensions_mut().insert(self);
        response
    }
}

/// The code of the problem a response carries, for the metrics.
#[derive(Debug, Clone, Copy)]
pub struct ProblemCode(pub &'static str);

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_code_stands_once_in_the_catalogue_and_is_kebab_case() {
        let codes: Vec<_> = catalogue().collect();
        let distinct: HashSet<_> = codes.iter().collect();
        assert_eq!(distinct.len(), codes.len());
        assert!(codes.iter().all(|code| code.parse::<mentorlog_events::id::Slug>().is_ok()));
    }
}
