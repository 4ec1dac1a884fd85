//! Rules of tokens: what the registry says of each, and who may be given which.
//! Never knows a secret, nor whom a token is bound to: neither is in the registry.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use mentorlog_events::entry::{Entry, Principal};
use mentorlog_events::event::Role;
use mentorlog_events::event::registry::{RegistryEvent, TokenIssued, TokenRevoked};
use mentorlog_events::id::{ProgramId, TokenId};
use mentorlog_events::time::Timestamp;

use super::registry::{BadRegistryReference, RegistryState};

/// Most programs a token is scoped to: an entry has to hold their ids.
pub const PROGRAMS_MAX: usize = 200;

/// The principal the software itself speaks as.
const SOFTWARE: &str = "mentorlog";

/// What the registry says of a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Issued {
    /// The service it stands for.
    pub principal: Principal,
    /// What it allows.
    pub role: Role,
    /// Where; none: everywhere.
    pub programs: Arc<BTreeSet<ProgramId>>,
    /// The registry's entry that says so.
    pub seq: u64,
    /// When it was issued.
    pub issued_at: Timestamp,
    /// From when on it is worth nothing, if ever.
    pub expires_at: Option<Timestamp>,
    /// When it was revoked, if it was.
    pub revoked_at: Option<Timestamp>,
}

impl Issued {
    /// Whether it is worth anything at this time.
    pub fn is_honoured(&self, now: Timestamp) -> bool {
        self.revoked_at.is_none() && self.expires_at.is_none_or(|end| now < end)
    }
}

/// Every token the registry knows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tokens(HashMap<TokenId, Issued>);

impl Tokens {
    /// What the registry says of a token; `None` if it was never issued.
    pub fn issued(&self, token: TokenId) -> Option<&Issued> {
        self.0.get(&token)
    }

    /// Whether any was ever issued: from then on nobody is served without one.
    pub fn were_issued(&self) -> bool {
        !self.0.is_empty()
    }

    /// All of them, in the order in which they were issued.
    pub fn iter(&self) -> impl Iterator<Item = (TokenId, &Issued)> {
        let mut all: Vec<_> = self.0.iter().map(|(id, issued)| (*id, issued)).collect();
        all.sort_by_key(|(_, issued)| issued.seq);
        all.into_iter()
    }

    /// Takes an entry of the registry into account; what is not about tokens changes nothing.
    pub fn apply(&mut self, entry: &Entry<RegistryEvent>) -> Result<(), BadRegistryReference> {
        match &entry.event {
            RegistryEvent::TokenIssued(fact) => {
                let principal = fact.principal.parse().map_err(|_| BadRegistryReference::NoPrincipal)?;
                let issued = Issued {
                    principal,
                    role: fact.role,
                    programs: Arc::new(fact.programs.iter().copied().collect()),
                    seq: entry.seq,
                    issued_at: entry.recorded_at,
                    expires_at: fact.expires_at,
                    revoked_at: None,
                };
                if self.0.insert(fact.token, issued).is_some() {
                    return Err(BadRegistryReference::TokenTwice(fact.token));
                }
            }
            RegistryEvent::TokenRevoked(fact) => {
                let issued = self.0.get_mut(&fact.token);
                let issued = issued.ok_or(BadRegistryReference::TokenNotIssued(fact.token))?;
                issued.revoked_at.get_or_insert(entry.recorded_at);
            }
            RegistryEvent::RegistryOpened(_)
            | RegistryEvent::ProgramOpening(_)
            | RegistryEvent::LedgerOpened(_)
            | RegistryEvent::OpeningAbandoned(_)
            | RegistryEvent::LedgerHead(_)
            | RegistryEvent::KeyRotated(_)
            | RegistryEvent::ReportPublishing(_)
            | RegistryEvent::ReportPublished(_)
            | RegistryEvent::PersonalRead(_)
            | RegistryEvent::ErasureRequested(_)
            | RegistryEvent::ErasureCompleted(_) => {}
        }
        Ok(())
    }
}

/// A token that is asked for. Its secret is somebody else's business.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IssueToken {
    /// Its id, which no other token has.
    pub token: TokenId,
    /// The service it is to stand for.
    pub principal: Principal,
    /// What it is to allow.
    pub role: Role,
    /// Where; none: everywhere.
    pub programs: BTreeSet<ProgramId>,
    /// Until when, if not for ever.
    pub expires_at: Option<Timestamp>,
    /// Whether it is to act and read as one participant alone.
    pub bound: bool,
}

impl IssueToken {
    /// Whether it is bound as a token can be: a service, in exactly one program.
    pub fn is_bound_to_one(&self) -> bool {
        self.bound && self.role == Role::Service && self.programs.len() == 1
    }
}

/// Why a token is not issued or revoked. Nothing was recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TokenRejection {
    /// Once there is any token, nobody is served without.
    #[error("the first token must be one of the role admin: from then on nobody is served without a token")]
    FirstIsAdmin,
    /// The role concerns the installation.
    #[error("a token of the role {} is for the whole installation: leave `programs` out", role.as_str())]
    NeverScoped {
        /// The role.
        role: Role,
    },
    /// There is no such program.
    #[error("there is no program {0}")]
    NoSuchProgram(ProgramId),
    /// More than an entry can hold.
    #[error("a token is scoped to at most {PROGRAMS_MAX} programs, or to none in particular")]
    TooManyPrograms,
    /// It would never have been worth anything.
    #[error("`expires_at` is over already")]
    Over,
    /// Nobody else speaks as the software.
    #[error("`{SOFTWARE}` is what the software itself is called in the ledgers: take another principal")]
    ReservedPrincipal,
    /// Only services are bound, and to somebody in one program.
    #[error("a token that is bound to a participant has the role service and exactly one program")]
    BoundElsewhere,
    /// The id is taken.
    #[error("there is a token {0} already")]
    Exists(TokenId),
    /// It was never issued.
    #[error("there is no token {0}")]
    NotIssued(TokenId),
}

impl TokenRejection {
    /// JSON pointer of the value that is to be changed, if it is one.
    pub const fn pointer(self) -> Option<&'static str> {
        match self {
            Self::FirstIsAdmin => Some("/role"),
            Self::NeverScoped { .. } | Self::NoSuchProgram(_) | Self::TooManyPrograms => Some("/programs"),
            Self::Over => Some("/expires_at"),
            Self::ReservedPrincipal => Some("/principal"),
            Self::BoundElsewhere => Some("/participant"),
            Self::Exists(_) | Self::NotIssued(_) => None,
        }
    }
}

/// Decides to issue a token. Who may ask for it is not decided here.
pub fn decide_issue(
    state: &RegistryState,
    wanted: &IssueToken,
    now: Timestamp,
) -> Result<TokenIssued, TokenRejection> {
    if state.tokens().issued(wanted.token).is_some() {
        return Err(TokenRejection::Exists(wanted.token));
    }
    if wanted.principal.as_str() == SOFTWARE {
        return Err(TokenRejection::ReservedPrincipal);
    }
    if !state.tokens().were_issued() && wanted.role != Role::Admin {
        return Err(TokenRejection::FirstIsAdmin);
    }
    match wanted.role {
        Role::Scraper | Role::Admin if !wanted.programs.is_empty() => {
            return Err(TokenRejection::NeverScoped { role: wanted.role });
        }
        Role::Service | Role::Auditor | Role::Viewer | Role::Manager | Role::Scraper | Role::Admin => {}
    }
    if wanted.bound && !wanted.is_bound_to_one() {
        return Err(TokenRejection::BoundElsewhere);
    }
    if wanted.programs.len() > PROGRAMS_MAX {
        return Err(TokenRejection::TooManyPrograms);
    }
    if let Some(unknown) = wanted.programs.iter().find(|program| state.slug(**program).is_none()) {
        return Err(TokenRejection::NoSuchProgram(*unknown));
    }
    if wanted.expires_at.is_some_and(|end| end <= now) {
        return Err(TokenRejection::Over);
    }
    Ok(TokenIssued {
        token: wanted.token,
        principal: wanted.principal.to_string(),
        role: wanted.role,
        programs: wanted.programs.iter().copied().collect(),
        expires_at: wanted.expires_at,
    })
}

/// Decides to revoke a token; `None` if that was done before.
pub fn decide_revoke(state: &RegistryState, token: TokenId) -> Result<Option<TokenRevoked>, TokenRejection> {
    let issued = state.tokens().issued(token).ok_or(TokenRejection::NotIssued(token))?;
    Ok(issued.revoked_at.is_none().then_some(TokenRevoked { token }))
}
