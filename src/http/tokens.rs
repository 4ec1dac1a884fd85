//! Tokens: issuing, listing and revoking them.
//! Never shows a secret but in the answer to its issuing, and never writes one anywhere.

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use mentorlog_events::entry::Principal;
use mentorlog_events::event::Role;
use mentorlog_events::id::{ParticipantId, ProgramId, TokenId};
use mentorlog_events::time::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::sync::Mutex;

use super::App;
use super::commands::REPLAYED;
use super::problem::{Code, Problem};
use super::reads::json_bytes;
use super::request::{COMMAND_BYTES_MAX, Media, Parameters, caller, correlation, media, read_body};
use crate::access::grant::Grant;
use crate::access::kept::{KeptError, KeptTokens};
use crate::access::token::Token;
use crate::rules::command::Common;
use crate::rules::tokens::{IssueToken, Issued, TokenRejection};
use crate::writer::receipt::Refusal;
use crate::writer::tokens::TokenRefusal;
use crate::writer::{Caller, Writer};

type Answer = Result<Response, Problem>;

/// What a token can be asked for.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    principal: String,
    role: Role,
    /// Slugs or UUIDs; none: everywhere.
    #[serde(default)]
    programs: Vec<String>,
    /// As whom alone it may act and read.
    participant: Option<ParticipantId>,
    expires_at: Option<Timestamp>,
}

/// A token without its secret.
#[derive(Serialize)]
struct Shown<'a> {
    token: TokenId,
    principal: &'a str,
    role: Role,
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    programs: &'a BTreeSet<ProgramId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    participant: Option<ParticipantId>,
    issued_at: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    revoked_at: Option<Timestamp>,
    state: Standing,
}

/// What a token is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Standing {
    /// Whoever shows it is let in.
    Honoured,
    /// It was revoked.
    Revoked,
    /// Its time is over.
    Expired,
    /// The registry knows it, and nothing is kept of its secret here: nobody gets in with it.
    Lost,
}

fn shown(
    app: &App,
    id: TokenId,
    issued: &Issued,
    then: impl FnOnce(Shown<'_>) -> serde_json::Value,
) -> serde_json::Value {
    let holder = app.access.kept.kept(id);
    let now = app.published.clock.to_expire();
    let state = match (&issued.revoked_at, issued.is_honoured(now), &holder) {
        (Some(_), _, _) => Standing::Revoked,
        (None, false, _) => Standing::Expired,
        (None, true, None) => Standing::Lost,
        (None, true, Some(_)) => Standing::Honoured,
    };
    then(Shown {
        token: id,
        principal: issued.principal.as_str(),
        role: issued.role,
        programs: &issued.programs,
        participant: holder.and_then(|holder| holder.participant).map(|(_, participant)| participant),
        issued_at: issued.issued_at,
        expires_at: issued.expires_at,
        revoked_at: issued.revoked_at,
        state,
    })
}

fn plain(shown: Shown<'_>) -> serde_json::Value {
    serde_json::to_value(shown).expect("a view is plain data")
}

/// `GET /v1/tokens`: every token that was ever issued, in that order; no secrets.
pub async fn list(State(app): State<Arc<App>>, uri: Uri) -> Answer {
    Parameters::read(uri.query())?.finish()?;
    let tokens: Vec<serde_json::Value> =
        app.published.tokens().iter().map(|(id, issued)| shown(&app, id, issued, plain)).collect();
    Ok(json_bytes(serde_json::to_vec(&json!({ "tokens": tokens })).expect("plain data").into()))
}

/// Why a token was not issued.
#[derive(Debug, thiserror::Error)]
pub enum NotIssued {
    /// Nothing could be kept of it.
    #[error(transparent)]
    Kept(#[from] KeptError),
    /// It was not recorded, or that is not known.
    #[error(transparent)]
    Refused(#[from] TokenRefusal),
}

/// Issues a token: kept first, recorded then, honoured from then on. One that is kept and was not recorded is worth
/// nothing.
pub async fn issue_token(
    writer: &Writer,
    kept: Arc<KeptTokens>,
    token: Token,
    wanted: IssueToken,
    participant: Option<(ProgramId, ParticipantId)>,
    caller: Caller,
) -> Result<Token, NotIssued> {
    // One at a time: what is kept and not yet recorded is not to be swept by another.
    static TURN: Mutex<()> = Mutex::const_new(());
    let _turn = TURN.lock().await;
    let published = writer.published().clone();
    if let Some(why) = published.stopped() {
        // Nothing is kept of what cannot be recorded.
        return Err(TokenRefusal::from(Refusal::Stopped(why.to_owned())).into());
    }
    let keeping = tokio::task::spawn_blocking(move || {
        // What was never recorded, was revoked or is over opens nothing, and would be kept for ever.
        let now = published.clock.now();
        let is_worth = |id| published.tokens().issued(id).is_some_and(|issued| issued.is_honoured(now));
        kept.keep(&token, participant, is_worth).map(|()| token)
    });
    let token = keeping.await.expect("keeping a token does not panic")?;
    writer.issue_token(wanted, caller).await?;
    Ok(token)
}

/// `POST /v1/tokens`: the answer is the only place where the secret is ever shown.
pub async fn issue(
    State(app): State<Arc<App>>,
    grant: Grant,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> Answer {
    Parameters::read(uri.query())?.finish()?;
    media(&headers, &[Media::Json])?;
    if headers.contains_key("idempotency-key") {
        return Err(Problem::new(
            Code::MalformedHeader,
            "a secret is shown once, so a token cannot be asked for again with an Idempotency-Key: revoke what was \
             issued to nobody, and ask for another",
        )
        .with("header", "Idempotency-Key"));
    }
    let correlation = correlation(&headers)?;
    let body = read_body(&app.edge, &headers, body, COMMAND_BYTES_MAX).await?;
    let wanted: Wanted = serde_json::from_slice(&body.bytes).map_err(|error| {
        Problem::new(Code::Malformed, &error).with("line", error.line()).with("column", error.column())
    })?;
    let impossible = |pointer: &str, what: &dyn std::fmt::Display| {
        Problem::new(Code::ImpossibleToken, what).with("pointer", pointer)
    };
    let principal: Principal = wanted.principal.parse().map_err(|error| impossible("/principal", &error))?;
    let mut programs = BTreeSet::new();
    for (index, name) in wanted.programs.iter().enumerate() {
        let program = app.published.program(name);
        let missing =
            || impossible(&format!("/programs/{index}"), &format_args!("there is no program `{name}`"));
        programs.insert(program.ok_or_else(missing)?.id);
    }
    let participant = wanted
        .participant
        .zip(programs.first().copied())
        .map(|(participant, program)| (program, participant));
    let token = Token::random();
    let issue = IssueToken {
        token: token.id,
        principal,
        role: wanted.role,
        programs,
        expires_at: wanted.expires_at,
        bound: wanted.participant.is_some(),
    };
    if let Some((program, participant)) = participant.filter(|_| issue.is_bound_to_one()) {
        let program = app.published.program(&program.to_string());
        let is_there =
            program.is_some_and(|program| program.view().models.participant(participant).is_some());
        let missing = || {
            impossible("/participant", &format_args!("there is no participant {participant} in the program"))
        };
        is_there.then_some(()).ok_or_else(missing)?;
    }
    let caller = caller(&grant, &Common::default(), correlation)?;
    // On a task of its own: who hangs up leaves nothing half done.
    let issuing = app.clone();
    let issued = tokio::spawn(async move {
        let kept = issuing.access.kept.clone();
        issue_token(&issuing.writer, kept, token, issue, participant, caller).await
    });
    let token = issued.await.map_err(|_| Problem::new(Code::Internal, "issuing the token failed"))??;
    let secret = token.reveal();
    let body = {
        let tokens = app.published.tokens();
        let issued = tokens.issued(token.id);
        let issued = issued.ok_or_else(|| Problem::new(Code::Internal, "the token was not recorded"))?;
        let mut body = shown(&app, token.id, issued, plain);
        body["secret"] = json!(*secret);
        body
    };
    let mut response = json_bytes(serde_json::to_vec(&body).expect("plain data").into());
    *response.status_mut() = StatusCode::CREATED;
    if let Ok(location) = HeaderValue::from_str(&format!("/v1/tokens/{}", token.id)) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    Ok(response)
}

/// `DELETE /v1/tokens/{token}`: nobody is let in with it any more. Asked for again, it is so already.
pub async fn revoke(
    State(app): State<Arc<App>>,
    grant: Grant,
    Path(token): Path<String>,
    uri: Uri,
    headers: HeaderMap,
) -> Answer {
    Parameters::read(uri.query())?.finish()?;
    let correlation = correlation(&headers)?;
    let missing = || Problem::new(Code::NotFound, "there is no token of this id: see GET /v1/tokens");
    let token: TokenId = token.parse().map_err(|_| missing())?;
    let caller = caller(&grant, &Common::default(), correlation)?;
    let is_known = app.published.tokens().issued(token).is_some();
    is_known.then_some(()).ok_or_else(missing)?;
    let revoking = app.clone();
    let revoked = tokio::spawn(async move {
        // Its secret goes first: nobody is let in with it from then on, even if nothing can be recorded now.
        let kept = revoking.access.kept.clone();
        let forgotten = tokio::task::spawn_blocking(move || kept.forget(token)).await;
        let revoked = revoking.writer.revoke_token(token, caller).await;
        (forgotten, revoked)
    });
    let (forgotten, revoked) =
        revoked.await.map_err(|_| Problem::new(Code::Internal, "revoking the token failed"))?;
    let forgotten = forgotten.map_err(|_| Problem::new(Code::Internal, "forgetting the token failed"))?;
    let replayed = revoked.map_err(|refusal| {
        let problem = Problem::from(refusal);
        let until = if forgotten.is_ok() { "" } else { " until the next start" };
        let said = format!(
            "the revocation is not recorded, but nobody is let in with the token{until}: ask again later"
        );
        problem.with("token", said)
    })?;
    let body = {
        let tokens = app.published.tokens();
        shown(&app, token, tokens.issued(token).ok_or_else(missing)?, plain)
    };
    let mut response = json_bytes(serde_json::to_vec(&body).expect("plain data").into()).into_response();
    if replayed {
        response.headers_mut().insert(REPLAYED, HeaderValue::from_static("true"));
    }
    Ok(response)
}

impl From<TokenRefusal> for Problem {
    fn from(refusal: TokenRefusal) -> Self {
        match refusal {
            TokenRefusal::Refused(refusal) => refusal.into(),
            TokenRefusal::Rejected(TokenRejection::NotIssued(_)) => {
                Self::new(Code::NotFound, "there is no token of this id: see GET /v1/tokens")
            }
            TokenRefusal::Rejected(rejection) => {
                let problem = Self::new(Code::ImpossibleToken, rejection);
                match rejection.pointer() {
                    Some(pointer) => problem.with("pointer", pointer),
                    None => problem,
                }
            }
        }
    }
}

impl From<NotIssued> for Problem {
    fn from(not: NotIssued) -> Self {
        match not {
            NotIssued::Kept(error) => Self::new(Code::Internal, error),
            NotIssued::Refused(refusal) => refusal.into(),
        }
    }
}
