//! Issuing and revoking tokens: one entry of the registry each, and what readers see of them once it is durable.
//! Never sees a secret, and never lets anybody in: that is for whoever serves requests.

use mentorlog_events::entry::Actor;
use mentorlog_events::event::registry::RegistryEvent;
use mentorlog_events::id::TokenId;
use tokio::sync::oneshot;

use super::decide::Decider;
use super::receipt::Refusal;
use super::{Caller, Message, Writer};
use crate::rules::rejection::Rejection;
use crate::rules::tokens::{IssueToken, TokenRejection, decide_issue, decide_revoke};

/// What is to become of a token.
#[derive(Debug, Clone)]
pub(super) enum TokenStep {
    Issue(IssueToken),
    Revoke(TokenId),
}

/// Why a token is as it was. Nothing was recorded unless it says otherwise.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenRefusal {
    /// It cannot be so.
    #[error(transparent)]
    Rejected(#[from] TokenRejection),
    /// As any command.
    #[error(transparent)]
    Refused(#[from] Refusal),
}

/// The answer to a step: whether it was done before, and nothing was recorded this time.
pub(super) type TokenAnswer = Result<bool, TokenRefusal>;

impl Writer {
    /// Records that a token is issued. When this is answered, readers see it.
    pub async fn issue_token(&self, wanted: IssueToken, caller: Caller) -> Result<(), TokenRefusal> {
        self.token(TokenStep::Issue(wanted), caller).await.map(|_| ())
    }

    /// Records that a token is revoked; says whether it was already. When this is answered, nobody is let in with it.
    pub async fn revoke_token(&self, token: TokenId, caller: Caller) -> Result<bool, TokenRefusal> {
        self.token(TokenStep::Revoke(token), caller).await
    }

    async fn token(&self, step: TokenStep, caller: Caller) -> TokenAnswer {
        let (answer, answered) = oneshot::channel();
        self.send(Message::Token(step, caller, answer))?;
        answered.await.unwrap_or_else(|_| Err(self.published.unanswered().into()))
    }
}

impl Decider {
    pub(super) fn token_step(&mut self, step: &TokenStep, caller: &Caller) -> TokenAnswer {
        self.is_open_to(caller)?;
        if caller.actor != Actor::Manager || caller.on_behalf_of.is_some() {
            return Err(Refusal::from(Rejection::ManagerOnly).into());
        }
        let now = self.published.clock.to_record().map_err(Refusal::from)?;
        let state = &self.registry.state;
        let event: RegistryEvent = match step {
            TokenStep::Issue(wanted) => decide_issue(state, wanted, now)?.into(),
            TokenStep::Revoke(token) => match decide_revoke(state, *token)? {
                Some(revoked) => revoked.into(),
                // Whoever is told so is told after the entry that did it is durable: its group goes first.
                None => return Ok(true),
            },
        };
        self.register(event, caller, None, now);
        Ok(false)
    }
}
