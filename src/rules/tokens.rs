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
            | RegistryEvent::PeopleJoined(_)
            | RegistryEvent::PeopleParted(_)
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

#[cfg(test)]
mod tests {
    use mentorlog_events::entry::{Actor, CommandStamp};
    use mentorlog_events::event::registry::{LedgerOpened, ProgramOpening, RegistryOpened};
    use mentorlog_events::id::{B64, CommandId, EventId, InstallationId};
    use mentorlog_events::time::Zone;
    use uuid::Uuid;

    use super::*;

    const SPRING: ProgramId = ProgramId(Uuid::from_u128(1));

    fn id(n: u128) -> TokenId {
        TokenId(Uuid::from_u128(n))
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_micros((1_790_000_000 + second) * 1_000_000).unwrap()
    }

    fn say(state: &mut RegistryState, event: impl Into<RegistryEvent>) -> Result<(), BadRegistryReference> {
        let seq = state.size();
        let now = at(i64::try_from(seq).unwrap());
        state.apply(&Entry {
            seq,
            id: EventId(Uuid::nil()),
            recorded_at: now,
            day: Zone::UTC.day(now),
            actor: Actor::Manager,
            on_behalf_of: None,
            principal: "ops".parse().unwrap(),
            command: CommandStamp { id: CommandId(Uuid::nil()), key: None, fp: None },
            correlation: None,
            causation: None,
            event: event.into(),
            sealed: Vec::new(),
        })
    }

    /// An installation with one program.
    fn registry() -> RegistryState {
        let mut state = RegistryState::new();
        let installation = InstallationId(Uuid::nil());
        let public_key = B64([7; 32]);
        let opened =
            RegistryOpened { installation, origin: "r".into(), envelope: 1, key_number: 1, public_key };
        say(&mut state, opened).unwrap();
        let opening = ProgramOpening { program: SPRING, slug: "spring".parse().unwrap(), origin: "s".into() };
        say(&mut state, opening).unwrap();
        say(&mut state, LedgerOpened { program: SPRING, origin: "s".into(), key_number: 1, public_key })
            .unwrap();
        state
    }

    fn wanted(n: u128, role: Role) -> IssueToken {
        IssueToken {
            token: id(n),
            principal: "app".parse().unwrap(),
            role,
            programs: BTreeSet::new(),
            expires_at: None,
            bound: false,
        }
    }

    fn issued(state: &mut RegistryState, wanted: &IssueToken) {
        let fact = decide_issue(state, wanted, at(0)).unwrap();
        say(state, fact).unwrap();
    }

    #[test]
    fn the_first_is_an_admins_and_an_id_is_given_once() {
        let mut state = registry();
        for role in [Role::Service, Role::Auditor, Role::Viewer, Role::Manager, Role::Scraper] {
            assert_eq!(decide_issue(&state, &wanted(1, role), at(0)), Err(TokenRejection::FirstIsAdmin));
        }
        assert!(!state.tokens().were_issued());
        issued(&mut state, &wanted(1, Role::Admin));
        assert!(state.tokens().were_issued());
        assert_eq!(decide_issue(&state, &wanted(1, Role::Admin), at(0)), Err(TokenRejection::Exists(id(1))));
        issued(&mut state, &wanted(2, Role::Viewer));
        let order: Vec<TokenId> = state.tokens().iter().map(|(id, _)| id).collect();
        assert_eq!(order, [id(1), id(2)]);
        // Also when all of them are revoked: whoever was kept out stays out.
        for n in [1, 2] {
            let revoked = decide_revoke(&state, id(n)).unwrap().unwrap();
            say(&mut state, revoked).unwrap();
        }
        assert!(state.tokens().were_issued());
    }

    #[test]
    fn what_cannot_be_is_refused_with_the_value_that_is_wrong() {
        let mut state = registry();
        issued(&mut state, &wanted(1, Role::Admin));
        let refused = |change: &dyn Fn(&mut IssueToken)| {
            let mut wanted = wanted(2, Role::Service);
            change(&mut wanted);
            decide_issue(&state, &wanted, at(100)).map_err(TokenRejection::pointer)
        };
        let spring = BTreeSet::from([SPRING]);
        let unknown = ProgramId(Uuid::from_u128(9));
        assert_eq!(refused(&|w| w.principal = "mentorlog".parse().unwrap()), Err(Some("/principal")));
        for role in [Role::Scraper, Role::Admin] {
            let scoped = |w: &mut IssueToken| (w.role, w.programs) = (role, BTreeSet::from([SPRING]));
            assert_eq!(refused(&scoped), Err(Some("/programs")));
        }
        assert_eq!(refused(&|w| w.programs = [SPRING, unknown].into()), Err(Some("/programs")));
        let many = (0..=PROGRAMS_MAX as u128).map(|n| ProgramId(Uuid::from_u128(n + 1)));
        let many: BTreeSet<ProgramId> = many.collect();
        assert_eq!(refused(&|w| w.programs.clone_from(&many)), Err(Some("/programs")));
        assert_eq!(refused(&|w| w.expires_at = Some(at(100))), Err(Some("/expires_at")));
        assert!(refused(&|w| w.expires_at = Some(at(101))).is_ok());
        assert_eq!(refused(&|w| w.bound = true), Err(Some("/participant")));
        assert!(refused(&|w| (w.bound, w.programs) = (true, spring.clone())).is_ok());
        let manager =
            |w: &mut IssueToken| (w.bound, w.role, w.programs) = (true, Role::Manager, spring.clone());
        assert_eq!(refused(&manager), Err(Some("/participant")));
    }

    #[test]
    fn the_longest_token_there_can_be_fits_an_entry() {
        use mentorlog_events::record::ENTRY_BYTES_MAX;
        let programs: Vec<ProgramId> =
            (0..PROGRAMS_MAX as u128).map(|n| ProgramId(Uuid::from_u128(n))).collect();
        let fact = TokenIssued {
            token: id(1),
            principal: "p".repeat(128),
            role: Role::Manager,
            programs,
            expires_at: Some(at(0)),
        };
        let data = serde_json::to_vec(&fact).unwrap();
        assert!(data.len() + 2048 < ENTRY_BYTES_MAX, "{}", data.len());
    }

    #[test]
    fn a_token_is_honoured_until_it_is_over_or_revoked_and_revoking_again_changes_nothing() {
        let mut state = registry();
        issued(&mut state, &IssueToken { expires_at: Some(at(50)), ..wanted(1, Role::Admin) });
        let honoured =
            |state: &RegistryState, second| state.tokens().issued(id(1)).unwrap().is_honoured(at(second));
        assert!(honoured(&state, 49) && !honoured(&state, 50) && !honoured(&state, 51));
        let revoked = decide_revoke(&state, id(1)).unwrap().unwrap();
        say(&mut state, revoked).unwrap();
        assert!(!honoured(&state, 0));
        assert_eq!(decide_revoke(&state, id(1)), Ok(None));
        assert_eq!(decide_revoke(&state, id(2)), Err(TokenRejection::NotIssued(id(2))));
        let before = state.tokens().issued(id(1)).cloned();
        say(&mut state, TokenRevoked { token: id(1) }).unwrap();
        assert_eq!(state.tokens().issued(id(1)).cloned(), before, "the first time counts");
    }

    #[test]
    fn a_history_that_contradicts_itself_is_not_read() {
        let mut state = registry();
        issued(&mut state, &wanted(1, Role::Admin));
        let again = TokenIssued {
            token: id(1),
            principal: "app".into(),
            role: Role::Admin,
            programs: Vec::new(),
            expires_at: None,
        };
        let unreadable = TokenIssued { token: id(2), principal: "a person".into(), ..again.clone() };
        for (event, why) in [
            (RegistryEvent::from(again), BadRegistryReference::TokenTwice(id(1))),
            (unreadable.into(), BadRegistryReference::NoPrincipal),
            (TokenRevoked { token: id(3) }.into(), BadRegistryReference::TokenNotIssued(id(3))),
        ] {
            assert_eq!(say(&mut state.clone(), event), Err(why));
        }
    }
}
