//! Every error of the service as an RFC 9457 problem document, and the one place where status codes are chosen.
//! Never shows what the caller did not send or could not know.

use std::fmt;

use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};

use crate::rules::rejection::{Kind, Rejection};
use crate::writer::receipt::Refusal;

/// Declares the problems that are not refusals of a rule: code, status and title in one place.
macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $code:literal $status:literal $title:literal;)*) => {
        /// What is wrong with a request when no rule was asked, or the rules had no part in it.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Code {
            $($(#[$doc])* $name,)*
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
        }
    };
}

codes! {
    /// Syntax, an unknown, missing or repeated field, or a wrong type.
    Malformed = "malformed" 400 "The body cannot be read";
    /// A header cannot be read.
    MalformedHeader = "malformed-header" 400 "A header cannot be read";
    /// A parameter of the query is unknown, repeated or cannot be read.
    MalformedParameter = "malformed-parameter" 400 "A query parameter cannot be read";
    /// No token, or none that is honoured. It is not said which.
    Unauthorized = "unauthorized" 401 "Who asks is not known";
    /// Whoever asks may not have or do this.
    Forbidden = "forbidden" 403 "This is not for this token";
    /// Without tokens only this machine is served.
    OtherHost = "other-host" 403 "Only this machine is served";
    /// There is nothing at this path.
    NoSuchPath = "no-such-path" 404 "There is nothing at this path";
    /// There is no program of this name.
    NoSuchProgram = "no-such-program" 404 "There is no such program";
    /// There is no command of this name.
    UnknownCommand = "unknown-command" 404 "There is no such command";
    /// There is no such thing in the program.
    NotFound = "not-found" 404 "There is no such thing";
    /// No checkpoint of the ledger is published yet.
    NotPublished = "not-published" 404 "Nothing of this ledger is published yet";
    /// The path does not take this method.
    MethodNotAllowed = "method-not-allowed" 405 "The path does not take this method";
    /// None of the formats the caller accepts can be given.
    NotAcceptable = "not-acceptable" 406 "None of the accepted formats can be given";
    /// The body did not arrive in time.
    BodyTimeout = "body-timeout" 408 "The body did not arrive in time";
    /// An item of an atomic batch was refused.
    NotDone = "not-done" 409 "Another item of the atomic batch was refused";
    /// A ledger's key has another number than the one a rotation was asked from.
    KeyNumber = "key-number" 409 "The ledger signs with another key";
    /// The body is longer than allowed.
    TooLarge = "too-large" 413 "The body is too large";
    /// The body is not JSON.
    UnsupportedMediaType = "unsupported-media-type" 415 "The body must be JSON";
    /// The idempotency key belongs to another command or body.
    KeyReused = "key-reused" 422 "The idempotency key was used for something else";
    /// An event of the command would be longer than an entry may be.
    EntryTooLong = "entry-too-long" 422 "The command says too much at once";
    /// The command cannot be one of a batch.
    NotInBatch = "not-in-batch" 422 "The command cannot be one of a batch";
    /// A batch has no items, or too many, or repeats a key.
    ImpossibleBatch = "impossible-batch" 422 "The batch cannot be taken";
    /// A round of so many cannot be computed in time.
    RoundTooLarge = "round-too-large" 422 "The round is too large to compute";
    /// One participant cannot be said to be the same human being as themself.
    ImpossibleSame = "impossible-same" 422 "These are not two participants";
    /// There is no report of that week, or none yet.
    ImpossibleReport = "impossible-report" 422 "There can be no such report";
    /// A token cannot be so.
    ImpossibleToken = "impossible-token" 422 "There can be no such token";
    /// Nothing is published by a service that keeps nothing on a disk.
    NotPublishing = "not-publishing" 501 "This service publishes nothing";
    /// The software met a defect of its own.
    Internal = "internal" 500 "The service failed";
    /// An entry or an earlier answer cannot be read back from the log.
    Unreadable = "unreadable" 500 "The log cannot be read";
    /// Too much is waiting to be written.
    Busy = "busy" 503 "Too much is waiting";
    /// The service is starting.
    Starting = "starting" 503 "The service is starting";
    /// Writing has stopped for good.
    ReadOnly = "read-only" 503 "Writing has stopped";
    /// It is not known whether the command was written.
    OutcomeUnknown = "outcome-unknown" 503 "It is not known whether this was written";
    /// The wall clock cannot be trusted.
    Clock = "clock" 503 "The clock cannot be trusted";
    /// The ledger has not grown to the wanted size in time.
    NotYet = "not-yet" 503 "The ledger is not that large yet";
}

/// Every code a problem document can carry: the catalogue.
pub fn catalogue() -> impl Iterator<Item = &'static str> {
    Code::ALL.iter().map(|code| code.as_str()).chain(Rejection::CODES.iter().copied())
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
        let (status, title) = match rejection.kind() {
            Kind::WrongState => (409, "The present state does not allow this"),
            Kind::Duplicate => (409, "It is there already"),
            Kind::NotFound => (404, "There is no such thing"),
            Kind::Erased => (410, "The person was erased"),
            Kind::VersionConflict => (412, "It has changed since"),
            Kind::Impossible => (422, "A value is not possible"),
            Kind::Forbidden => (403, "The actor may not do this"),
            Kind::NotAvailable => (501, "Not available yet"),
        };
        let mut problem = Self {
            status: StatusCode::from_u16(status).expect("a status code"),
            code: rejection.code(),
            title,
            detail: rejection.to_string(),
            extra: Map::new(),
            allow: None,
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
            Refusal::Rule(rejection) => return (*rejection).into(),
            Refusal::NoSuchProgram => Code::NoSuchProgram,
            Refusal::KeyReused => Code::KeyReused,
            Refusal::EntryTooLong { .. } => Code::EntryTooLong,
            Refusal::Busy => Code::Busy,
            Refusal::Clock(_) => Code::Clock,
            Refusal::Stopped(_) => Code::ReadOnly,
            Refusal::Unknown(_) => Code::OutcomeUnknown,
            Refusal::NotInBatch => Code::NotInBatch,
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
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
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
