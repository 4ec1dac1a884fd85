//! A grant: who is asking, and what they were let in for.
//! Never says whether a token is honoured; it is what an honoured one is worth.

use std::collections::BTreeSet;
use std::sync::Arc;

use mentorlog_events::entry::{Actor, Principal};
use mentorlog_events::event::Role;
use mentorlog_events::id::{ParticipantId, ProgramId, TokenId};

use super::permission::{Permission, Who};
use super::sessions::SessionKey;

/// Where a grant holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scope {
    /// In every program there is and will be.
    All,
    /// In these.
    These(Arc<BTreeSet<ProgramId>>),
}

impl Scope {
    /// The programs a token was issued for; none are all of them.
    pub fn of(programs: &Arc<BTreeSet<ProgramId>>) -> Self {
        if programs.is_empty() { Self::All } else { Self::These(programs.clone()) }
    }

    /// Whether it holds in this program.
    pub fn covers(&self, program: ProgramId) -> bool {
        match self {
            Self::All => true,
            Self::These(programs) => programs.contains(&program),
        }
    }
}

/// Who is asking.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// The service that speaks: what the ledger records, and what evidence grades and idempotency keys go by.
    pub principal: Principal,
    /// What it may do; `None` is the caller on this machine while no token was ever issued, who may do everything.
    pub role: Option<Role>,
    /// Where.
    pub programs: Scope,
    /// As whom alone, of a token that is bound to a participant.
    pub participant: Option<(ProgramId, ParticipantId)>,
    /// The token it came with; `None` without tokens.
    pub token: Option<TokenId>,
    /// The session it came with, of a browser that showed the token before.
    pub session: Option<SessionKey>,
    /// Whether this very process asks: no token that is issued meanwhile shuts it out.
    pub is_operator: bool,
}

/// The grant does not hold for this. Nothing was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// The role may not.
    #[error("a token of the role {} is needed for this, not of the role {}", roles(needed), have.as_str())]
    Role {
        /// Who may.
        needed: &'static [Who],
        /// Who asked.
        have: Who,
    },
    /// It is for whoever is not confined to some programs.
    #[error("this concerns the whole installation: a token that is scoped to programs does not reach it")]
    Scoped,
    /// A bound token speaks as its participant only.
    #[error("this token is bound to a participant: it acts as that participant only, and on nobody's behalf")]
    Bound,
    /// A bound token reads what is its participant's only.
    #[error("this token is bound to a participant: it shows what is theirs, and nothing of others")]
    NotOwn,
    /// A manager does not speak as somebody else.
    #[error("a token of the role manager acts as `manager`: for a participant say `on_behalf_of`")]
    AsParticipant,
}

fn roles(who: &[Who]) -> String {
    let names: Vec<&str> = who.iter().map(|who| who.as_str()).collect();
    match names.split_last() {
        None => "local".to_owned(),
        Some((last, [])) => (*last).to_owned(),
        Some((last, rest)) => format!("{} or {last}", rest.join(", ")),
    }
}

impl Grant {
    /// Whoever is on this machine while no token was ever issued: may do everything, as the principal `local`.
    pub fn local() -> Self {
        Self {
            principal: "local".parse().expect("a principal"),
            role: None,
            programs: Scope::All,
            participant: None,
            token: None,
            session: None,
            is_operator: false,
        }
    }

    /// This process itself: may do everything, as the principal `local`.
    pub fn operator() -> Self {
        Self { is_operator: true, ..Self::local() }
    }

    /// The column of the table that is asked.
    pub fn who(&self) -> Who {
        match (self.role, self.participant) {
            (None, _) => Who::Local,
            (Some(Role::Service), Some(_)) => Who::Participant,
            (Some(Role::Service), None) => Who::Service,
            (Some(Role::Manager), _) => Who::Manager,
            (Some(Role::Auditor), _) => Who::Auditor,
            (Some(Role::Viewer), _) => Who::Viewer,
            (Some(Role::Scraper), _) => Who::Scraper,
            (Some(Role::Admin), _) => Who::Admin,
        }
    }

    /// Whether it holds for this, wherever its programs are.
    pub fn may(&self, permission: Permission) -> Result<(), Denied> {
        let who = self.who();
        if !permission.is_of(who) {
            return Err(Denied::Role { needed: permission.needs(), have: who });
        }
        if permission.is_of_the_installation() && self.programs != Scope::All {
            return Err(Denied::Scoped);
        }
        Ok(())
    }

    /// The participant this may act and read as alone; `None` when it is not confined to one.
    pub fn only(&self) -> Option<ParticipantId> {
        self.participant.map(|(_, participant)| participant)
    }

    /// Who acts, when a command names an actor, for somebody or not: the bound participant alone, a manager as the
    /// manager alone, a service as whomever it names. The default is the manager, of a bound token the participant.
    pub fn actor(&self, named: Option<Actor>, on_behalf_of: Option<ParticipantId>) -> Result<Actor, Denied> {
        if let Some(only) = self.only() {
            let own = Actor::Participant(only);
            return match (named, on_behalf_of) {
                (None, None) => Ok(own),
                (Some(actor), None) if actor == own => Ok(own),
                (_, _) => Err(Denied::Bound),
            };
        }
        let actor = named.unwrap_or(Actor::Manager);
        match (self.who(), actor) {
            (Who::Manager, Actor::Participant(_)) => Err(Denied::AsParticipant),
            (_, actor) => Ok(actor),
        }
    }

    /// In whose name idempotency keys are used: the principal's; of a bound token the participant's, too, for two
    /// people who speak through one service may choose the same key and say the same words.
    pub fn key_scope(&self) -> std::borrow::Cow<'_, str> {
        match self.only() {
            None => self.principal.as_str().into(),
            // No principal has a space in it.
            Some(only) => format!("{} {only}", self.principal).into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grant(role: Role) -> Grant {
        Grant { role: Some(role), principal: "app".parse().unwrap(), ..Grant::local() }
    }

    fn participant(n: u128) -> ParticipantId {
        ParticipantId(uuid::Uuid::from_u128(n))
    }

    fn program(n: u128) -> ProgramId {
        ProgramId(uuid::Uuid::from_u128(n))
    }

    #[test]
    fn a_scope_covers_what_it_names_and_no_names_are_all() {
        let these = Scope::of(&Arc::new([program(1), program(2)].into()));
        assert!(these.covers(program(1)) && these.covers(program(2)) && !these.covers(program(3)));
        assert_eq!(Scope::of(&Arc::default()), Scope::All);
        assert!(Scope::All.covers(program(3)));
    }

    #[test]
    fn a_bound_token_acts_as_its_participant_and_for_nobody() {
        let own = participant(7);
        let bound = Grant { participant: Some((program(1), own)), ..grant(Role::Service) };
        assert_eq!(bound.actor(None, None), Ok(Actor::Participant(own)));
        assert_eq!(bound.actor(Some(Actor::Participant(own)), None), Ok(Actor::Participant(own)));
        for named in [None, Some(Actor::Participant(own)), Some(Actor::Manager)] {
            assert_eq!(bound.actor(named, Some(participant(8))), Err(Denied::Bound));
            assert_eq!(bound.actor(named, Some(own)), Err(Denied::Bound));
        }
        for named in [Actor::Manager, Actor::System, Actor::Participant(participant(8))] {
            assert_eq!(bound.actor(Some(named), None), Err(Denied::Bound), "{named}");
        }
    }

    #[test]
    fn a_manager_speaks_as_the_manager_and_a_service_as_whom_it_names() {
        let other = Actor::Participant(participant(8));
        let manager = grant(Role::Manager);
        assert_eq!(manager.actor(None, Some(participant(8))), Ok(Actor::Manager));
        assert_eq!(manager.actor(Some(other), None), Err(Denied::AsParticipant));
        for service in [grant(Role::Service), Grant::local()] {
            assert_eq!(service.actor(None, None), Ok(Actor::Manager));
            assert_eq!(service.actor(Some(other), None), Ok(other));
        }
    }

    #[test]
    fn two_people_of_one_service_never_share_a_key_and_two_tokens_of_one_service_do() {
        let bound = |n| Grant { participant: Some((program(1), participant(n))), ..grant(Role::Service) };
        assert_ne!(bound(7).key_scope(), bound(8).key_scope());
        assert_ne!(bound(7).key_scope(), grant(Role::Service).key_scope());
        assert_eq!(grant(Role::Manager).key_scope(), grant(Role::Service).key_scope());
        assert_eq!(Grant::local().key_scope(), "local");
    }

    #[test]
    fn a_denial_names_who_may() {
        let denied = grant(Role::Viewer).may(Permission::Content).unwrap_err();
        assert_eq!(
            denied.to_string(),
            "a token of the role manager or auditor is needed for this, not of the role viewer"
        );
    }
}
