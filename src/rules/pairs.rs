//! Rules of pairs and their goals: from the proposal to the end.
//! Never chooses who should be paired with whom.

use std::collections::HashSet;

use mentorlog_events::event::{
    EndClass, EndReason, Event, GoalAbandoned, GoalCompleted, GoalSet, PairAccepted, PairActivated,
    PairDeclined, PairEnded, PairExtended, PairPaused, PairProposed, PairResumed, ProposalExpired,
    ProposalWithdrawn, RoundPairRefused, RoundProposed,
};
use mentorlog_events::id::{GoalId, PairId, ParticipantId, RoundId, Slug};

use super::command::{
    AbandonGoal, AcceptPair, CompleteGoal, DeclinePair, EndPair, ExpireProposal, ExtendPair, PausePair,
    ProposePair, ProposeRound, ROUND_MAX, ResumePair, SetGoal, WithdrawProposal,
};
use super::program::DAYS_MAX;
use super::rejection::{Pointer, Rejection};
use super::state::{GoalState, PairRow, PairState, Side};
use super::{Case, Subject, counted};

impl Case<'_> {
    pub(super) fn propose_pair(&mut self, command: &ProposePair) -> Result<Subject, Rejection> {
        self.unchanged(self.program.version)?;
        let (a, b) = self.two(command.a, command.b, Pointer::to("/b"))?;
        let proposer = match self.party {
            Some(party) if party == command.a || party == command.b => Some(party),
            Some(_) => return Err(Rejection::NotAParty),
            None => {
                self.manager_only()?;
                None
            }
        };
        let pair = self.new_pair(command.pair)?;
        self.program_open()?;
        self.can_propose(a, b)?;
        self.happened(self.proposal(pair, command.a, command.b, proposer));
        Ok(Subject::Pair(pair))
    }

    /// Two different people.
    pub(super) fn two(
        &self,
        a: ParticipantId,
        b: ParticipantId,
        second: Pointer,
    ) -> Result<(u32, u32), Rejection> {
        let (first, other) = (self.participant(a)?, self.participant(b)?);
        if first == other {
            return Err(Rejection::SameParticipant { at: second });
        }
        Ok((first, other))
    }

    /// The caller's id if nobody has it, or a new one.
    pub(super) fn new_pair(&mut self, given: Option<PairId>) -> Result<PairId, Rejection> {
        match given {
            Some(pair) if self.pair(pair).is_ok() => Err(Rejection::PairExists { pair }),
            Some(pair) => Ok(pair),
            None => Ok(PairId(self.ids.next())),
        }
    }

    fn can_propose(&self, a: u32, b: u32) -> Result<(), Rejection> {
        self.can_be_paired(a, b)?;
        self.has_capacity(a)?;
        self.has_capacity(b)
    }

    /// Everything that has to hold of two who begin a pair, but for their capacity.
    pub(super) fn can_be_paired(&self, a: u32, b: u32) -> Result<(), Rejection> {
        self.can_pair(a)?;
        self.can_pair(b)?;
        if self.state.blocks(a, b) || self.state.blocks(b, a) {
            return Err(Rejection::PairingBlocked);
        }
        match self.state.open_pair_of(a, b) {
            Some(pair) => Err(Rejection::PairAlreadyOpen { pair: self.state.pairs[pair].id }),
            None => Ok(()),
        }
    }

    fn proposal(
        &self,
        pair: PairId,
        one: ParticipantId,
        other: ParticipantId,
        proposer: Option<ParticipantId>,
    ) -> PairProposed {
        let expires_at = self.now.plus_days(i64::from(self.program.rules.proposal_ttl_days));
        PairProposed {
            pair,
            a: one.min(other),
            b: one.max(other),
            proposer,
            expires_at,
            expires_day: self.day(expires_at),
            round: None,
            weight: None,
        }
    }

    pub(super) fn propose_round(&mut self, command: &ProposeRound) -> Result<Subject, Rejection> {
        self.unchanged(self.program.version)?;
        self.manager_only()?;
        let round = match command.round {
            Some(round) if self.state.rounds.find(round.as_u128()).is_some() => {
                return Err(Rejection::RoundExists { round });
            }
            Some(round) => round,
            None => RoundId(self.ids.next()),
        };
        self.program_open()?;
        counted(command.pairs.len(), 1, ROUND_MAX, "/pairs")?;
        // What no state would allow refuses the round; what today's state does not allow refuses the pair.
        let mut ids = HashSet::new();
        let mut refusals = Vec::new();
        let mut follow: Vec<Event> = Vec::with_capacity(command.pairs.len());
        let mut twos = HashSet::new();
        let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        for (index, wish) in command.pairs.iter().enumerate() {
            let (a, b) = self.two(wish.a, wish.b, Pointer::into_item("/pairs", index, "/b"))?;
            if wish.pair.is_some_and(|pair| !ids.insert(pair)) {
                return Err(Rejection::RepeatedItem { at: Pointer::into_item("/pairs", index, "/pair") });
            }
            if !twos.insert((a.min(b), a.max(b))) {
                return Err(Rejection::RepeatedItem { at: Pointer::into_item("/pairs", index, "") });
            }
            let pair = self.new_pair(wish.pair)?;
            match self.can_propose(a, b) {
                Ok(()) => follow.push(
                    PairProposed {
                        round: Some(round),
                        weight: wish.weight,
                        ..self.proposal(pair, wish.a, wish.b, None)
                    }
                    .into(),
                ),
                Err(rejection) => {
                    refusals.push(rejection);
                    let code: Slug = rejection.code().parse().expect("codes are in kebab-case");
                    follow.push(RoundPairRefused { round, a: wish.a, b: wish.b, code }.into());
                }
            }
        }
        if let Some(first) = refusals.first().filter(|_| refusals.len() == command.pairs.len()) {
            return Err(Rejection::EveryPairRefused { pairs: count(refusals.len()), first: first.code() });
        }
        let proposed = self.happened(RoundProposed {
            round,
            proposed: count(command.pairs.len() - refusals.len()),
            refused: count(refusals.len()),
        });
        for event in follow {
            self.followed(proposed, event);
        }
        Ok(Subject::Round(round))
    }

    pub(super) fn accept_pair(&mut self, command: &AcceptPair) -> Result<Subject, Rejection> {
        let pair = self.own_pair(command.pair)?;
        let (side, participant) = self.party_of(pair)?;
        let row = &self.state.pairs[pair];
        self.pair_state(pair, &[PairState::Proposed])?;
        self.answers(row, side)?;
        if accepted(row, side) {
            return Err(Rejection::AlreadyAccepted { participant });
        }
        if self.now >= row.expires_at {
            return Err(Rejection::ProposalExpired { pair: row.id });
        }
        self.can_pair(row.a)?;
        self.can_pair(row.b)?;
        self.has_capacity(row.a)?;
        self.has_capacity(row.b)?;
        let accepting = self.happened(PairAccepted { pair: command.pair, participant });
        if accepted(row, other(side)) {
            let term_ends_day = self.today.plus_days(i32::from(self.program.rules.term_days));
            self.followed(accepting, PairActivated { pair: command.pair, term_ends_day });
        }
        Ok(Subject::Pair(command.pair))
    }

    pub(super) fn decline_pair(&mut self, command: &DeclinePair) -> Result<Subject, Rejection> {
        let pair = self.own_pair(command.pair)?;
        let (side, participant) = self.party_of(pair)?;
        self.pair_state(pair, &[PairState::Proposed])?;
        self.answers(&self.state.pairs[pair], side)?;
        self.happened(PairDeclined { pair: command.pair, participant });
        Ok(Subject::Pair(command.pair))
    }

    /// The party is one of those who were asked.
    #[allow(clippy::unused_self, reason = "reads as the other rules do")]
    fn answers(&self, row: &PairRow, side: Side) -> Result<(), Rejection> {
        if row.proposer == side { Err(Rejection::ProposerCannotAnswer) } else { Ok(()) }
    }

    pub(super) fn withdraw_proposal(&mut self, command: &WithdrawProposal) -> Result<Subject, Rejection> {
        let pair = self.own_pair(command.pair)?;
        let side = self.party_or_manager(pair)?;
        self.pair_state(pair, &[PairState::Proposed])?;
        if side != Side::Neither && side != self.state.pairs[pair].proposer {
            return Err(Rejection::NotTheProposer);
        }
        self.happened(ProposalWithdrawn { pair: command.pair });
        Ok(Subject::Pair(command.pair))
    }

    pub(super) fn expire_proposal(&mut self, command: &ExpireProposal) -> Result<Subject, Rejection> {
        let pair = self.pair(command.pair)?;
        let row = &self.state.pairs[pair];
        self.system_only()?;
        self.unchanged(row.version)?;
        self.pair_state(pair, &[PairState::Proposed])?;
        if self.now < row.expires_at {
            return Err(Rejection::ProposalNotDue { pair: row.id });
        }
        self.happened(ProposalExpired { pair: command.pair });
        Ok(Subject::Pair(command.pair))
    }

    pub(super) fn pause_pair(&mut self, command: &PausePair) -> Result<Subject, Rejection> {
        let pair = self.own_pair(command.pair)?;
        self.party_or_manager(pair)?;
        self.pair_state(pair, &[PairState::Active])?;
        self.happened(PairPaused { pair: command.pair });
        Ok(Subject::Pair(command.pair))
    }

    pub(super) fn resume_pair(&mut self, command: &ResumePair) -> Result<Subject, Rejection> {
        let pair = self.own_pair(command.pair)?;
        self.party_or_manager(pair)?;
        self.pair_state(pair, &[PairState::Paused])?;
        self.happened(PairResumed { pair: command.pair });
        Ok(Subject::Pair(command.pair))
    }

    pub(super) fn extend_pair(&mut self, command: &ExtendPair) -> Result<Subject, Rejection> {
        let pair = self.own_pair(command.pair)?;
        self.party_or_manager(pair)?;
        self.pair_state(pair, &[PairState::Active, PairState::Paused])?;
        let at = Pointer::to("/term_ends_day");
        let agreed = self.state.pairs[pair].term_ends_day.unwrap_or(self.today.plus_days(-1));
        if command.term_ends_day <= agreed || command.term_ends_day < self.today {
            return Err(Rejection::TermNotLater { at });
        }
        if command.term_ends_day.number() - self.today.number() > i32::from(DAYS_MAX) {
            return Err(Rejection::TermTooFar { at, days: DAYS_MAX });
        }
        self.happened(PairExtended { pair: command.pair, term_ends_day: command.term_ends_day });
        Ok(Subject::Pair(command.pair))
    }

    pub(super) fn end_pair(&mut self, command: &EndPair) -> Result<Subject, Rejection> {
        let pair = self.own_pair(command.pair)?;
        self.party_or_manager(pair)?;
        match command.reason.class() {
            EndClass::Administrative | EndClass::EnteredInError => {
                self.manager_only().map_err(|_| Rejection::ReasonManagerOnly)?;
            }
            EndClass::Planned | EndClass::EarlyVoluntary | EndClass::EarlyExternal => {}
        }
        self.pair_state(pair, &[PairState::Active, PairState::Paused])?;
        let occurred_at = self.happened_at(command.occurred_at)?;
        if self.state.pairs[pair].started_at.is_some_and(|start| occurred_at < start) {
            return Err(Rejection::BeforeTheBeginning { at: Pointer::to("/occurred_at") });
        }
        self.no_session_after(pair, occurred_at)?;
        if command.conduct.is_some() && command.reason != EndReason::Withheld {
            return Err(Rejection::ConductWithoutWithheld { at: Pointer::to("/conduct") });
        }
        let conduct = self.text_of_pair(pair, command.conduct.as_ref(), "/conduct")?;
        let day = self.day(occurred_at);
        let ended = self.happened(PairEnded { pair: command.pair, reason: command.reason, occurred_at, day });
        self.seal_of_two(ended, "/conduct", conduct);
        Ok(Subject::Pair(command.pair))
    }

    pub(super) fn set_goal(&mut self, command: &SetGoal) -> Result<Subject, Rejection> {
        let pair = self.own_pair(command.pair)?;
        self.neither_erased(pair)?;
        let party = self.party_or_manager(pair)?;
        let learner = match (command.learner, self.party) {
            (Some(learner), _) => learner,
            (None, Some(party)) => party,
            (None, None) => return Err(Rejection::LearnerNeeded { at: Pointer::to("/learner") }),
        };
        let goal = match command.goal {
            Some(goal) if self.state.goals.find(goal.as_u128()).is_some() => {
                return Err(Rejection::GoalExists { goal });
            }
            Some(goal) => goal,
            None => GoalId(self.ids.next()),
        };
        let side = self.side_of(pair, learner);
        if side == Side::Neither {
            return Err(Rejection::NotOfThePair { at: Pointer::to("/learner") });
        }
        // Goals are set by learners, not for them; a manager as such may.
        if party != Side::Neither && party != side {
            return Err(Rejection::NotYours);
        }
        self.pair_state(pair, &[PairState::Active, PairState::Paused])?;
        self.skill_allowed(&command.skill, Pointer::to("/skill"))?;
        let text = self.text_of_pair(pair, command.text.as_ref(), "/text")?;
        let set = self.happened(GoalSet { goal, pair: command.pair, learner, skill: command.skill.clone() });
        self.seal_of_two(set, "/text", text);
        Ok(Subject::Goal(goal))
    }

    pub(super) fn complete_goal(&mut self, command: &CompleteGoal) -> Result<Subject, Rejection> {
        self.own_open_goal(command.goal)?;
        self.happened(GoalCompleted { goal: command.goal });
        Ok(Subject::Goal(command.goal))
    }

    pub(super) fn abandon_goal(&mut self, command: &AbandonGoal) -> Result<Subject, Rejection> {
        self.own_open_goal(command.goal)?;
        self.happened(GoalAbandoned { goal: command.goal });
        Ok(Subject::Goal(command.goal))
    }

    fn own_open_goal(&self, id: GoalId) -> Result<(), Rejection> {
        let found = self.state.goals.find(id.as_u128());
        let row = &self.state.goals[found.ok_or(Rejection::GoalNotFound { goal: id })?];
        match self.party {
            Some(party) if party != self.state.participants[row.learner].id => {
                return Err(Rejection::NotYours);
            }
            Some(_) => {}
            None => self.manager_only()?,
        }
        self.unchanged(row.version)?;
        match row.state {
            GoalState::Open => Ok(()),
            GoalState::Completed | GoalState::Abandoned => {
                Err(Rejection::GoalInState { goal: id, state: row.state })
            }
        }
    }
}

fn accepted(row: &PairRow, side: Side) -> bool {
    match side {
        Side::A => row.a_accepted,
        Side::B => row.b_accepted,
        Side::Neither => false,
    }
}

fn other(side: Side) -> Side {
    match side {
        Side::A => Side::B,
        Side::B => Side::A,
        Side::Neither => Side::Neither,
    }
}
