//! Every rule of a program: a command and a state give events, or a documented refusal.
//! Never does I/O, reads a clock or draws a random number: time, ids and actor come in with the [`Context`].
//!
//! The events of one decision belong together: they are appended at once or not at all. Their entries' `recorded_at`
//! has to be the context's `now`.

pub mod command;
pub mod rejection;
pub mod state;

pub mod registry;
pub mod tokens;

mod imports;
mod pairs;
mod participants;
mod personal;
mod program;
mod sessions;
mod table;

#[cfg(test)]
mod tests;

use std::fmt;

use mentorlog_events::entry::Actor;
use mentorlog_events::event::{Arm, EndReason, Event, Invalidation, PairEnded, ProposalInvalidated, Skills};
use mentorlog_events::id::{
    ErasureId, GoalId, NoShowId, PairId, ParticipantId, ProgramId, RoundId, SessionId, Slug,
};
use mentorlog_events::time::{Day, Timestamp};
use uuid::Uuid;

use self::command::{Command, Personal};
use self::rejection::{Pointer, Rejection};
use self::state::{PairState, Program, ProgramState, Side, Standing, State};

/// What a decision depends on beside the state and the command.
#[derive(Debug, Clone)]
pub struct Context {
    /// The writer's time; the `recorded_at` of the entries to come.
    pub now: Timestamp,
    /// Who acts.
    pub actor: Actor,
    /// For whom, when the manager acts for a participant.
    pub on_behalf_of: Option<ParticipantId>,
    /// The version the caller saw of the thing the command is about (see [`State::version_of`]).
    /// Commands that create something are about what they create it in: a session's pair, a participant's program.
    pub expected_version: Option<u64>,
    /// Whether personal data can be sealed.
    pub sealing: Sealing,
    /// Ids for what the command creates. A context decides one command: take a fresh seed for the next.
    pub ids: Ids,
}

/// Whether personal data can be sealed, and so be erased.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sealing {
    /// There is no key: whatever would have to be sealed is refused.
    Off,
    /// Texts are sealed.
    On,
    /// Texts are sealed, and this erasure has begun: the events of erasing its person name it.
    Erasing(ErasureId),
}

/// Random UUIDs (version 4) out of one seed: the same seed, the same ids.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ids {
    seed: u128,
    taken: u128,
}

impl Ids {
    /// Ids out of 128 random bits.
    pub const fn new(seed: u128) -> Self {
        Self { seed, taken: 0 }
    }

    /// The next id. The first is the seed itself, its version and variant set.
    #[allow(
        clippy::should_implement_trait,
        reason = "it never ends, so there is nothing to be optional about"
    )]
    pub fn next(&mut self) -> Uuid {
        // Steps of the golden ratio, then mixed: 126 of 128 bits of the seed reach every id.
        const STEP: u128 = 0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835;
        let bits = if self.taken == 0 {
            self.seed
        } else {
            let mixed = self.seed.wrapping_add(self.taken.wrapping_mul(STEP));
            let mixed = (mixed ^ (mixed >> 67)).wrapping_mul(STEP);
            mixed ^ (mixed >> 59)
        };
        self.taken += 1;
        uuid::Builder::from_random_bytes(bits.to_be_bytes()).into_uuid()
    }
}

/// What a command leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// The events, at least one, in the order in which they are to be appended.
    pub events: Vec<Decided>,
    /// What the command created or changed.
    pub subject: Subject,
}

/// One event of a decision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decided {
    /// The event.
    pub event: Event,
    /// Index, in the decision, of the event that led to this one.
    pub because: Option<usize>,
    /// What is to be sealed beside it, in the order of its commitments. Of most events nothing.
    pub sealed: Vec<SealedText>,
}

/// A text to be sealed beside an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealedText {
    /// Where its commitment stands: a JSON pointer, as if the text stood in the event's data.
    pub at: &'static str,
    /// Whom it is about: one participant, or two different ones. Without the key of each nobody opens it.
    pub about: Vec<ParticipantId>,
    /// The text.
    pub value: Personal<String>,
}

/// What a command is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Subject {
    /// The program itself.
    Program(ProgramId),
    /// A participant.
    Participant(ParticipantId),
    /// A pair.
    Pair(PairId),
    /// A session.
    Session(SessionId),
    /// A goal.
    Goal(GoalId),
    /// A round of proposals.
    Round(RoundId),
    /// A no-show.
    NoShow(NoShowId),
}

impl Subject {
    /// What kind of thing it is, in one word.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Program(_) => "program",
            Self::Participant(_) => "participant",
            Self::Pair(_) => "pair",
            Self::Session(_) => "session",
            Self::Goal(_) => "goal",
            Self::Round(_) => "round",
            Self::NoShow(_) => "no-show",
        }
    }

    /// Its id.
    pub const fn uuid(self) -> Uuid {
        match self {
            Self::Program(ProgramId(id))
            | Self::Participant(ParticipantId(id))
            | Self::Pair(PairId(id))
            | Self::Session(SessionId(id))
            | Self::Goal(GoalId(id))
            | Self::Round(RoundId(id))
            | Self::NoShow(NoShowId(id)) => id,
        }
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.word(), self.uuid().as_hyphenated())
    }
}

/// Decides a command. A refusal has no effect.
pub fn decide(state: &State, command: &Command, context: &Context) -> Result<Decision, Rejection> {
    let program = state.program.as_ref().ok_or(Rejection::ProgramNotFound)?;
    let mut case = Case::new(state, program, context)?;
    if context.sealing == Sealing::Off && command.carries_sealed() {
        return Err(Rejection::SealingUnavailable);
    }
    // Whoever was in a program can be forgotten after its end as well.
    if program.state == ProgramState::Archived
        && !matches!(command, Command::OpenProgram(_) | Command::ErasePerson(_))
    {
        return Err(Rejection::ProgramArchived);
    }
    let subject = match command {
        // Opening is decided against the registry; within a program it is one too many.
        Command::OpenProgram(_) => Err(Rejection::ProgramExists { program: program.id }),
        Command::ChangePolicy(command) => case.change_policy(command),
        Command::CloseProgram(_) => case.close_program(),
        Command::ArchiveProgram(_) => case.archive_program(),
        Command::DefineSkill(command) => case.define_skill(command),
        Command::RetireSkill(command) => case.retire_skill(command),
        Command::Enrol(command) => case.enrol(command),
        Command::CorrectParticipant(command) => case.correct_participant(command),
        Command::ChangeArm(command) => case.change_arm(command),
        Command::UpdateSkills(command) => case.update_skills(command),
        Command::SetCapacity(command) => case.set_capacity(command),
        Command::TakeBreak(command) => case.take_break(command),
        Command::ReturnFromBreak(command) => case.return_from_break(command),
        Command::LeaveProgram(command) => case.leave_program(command),
        Command::RecordDeparture(command) => case.record_departure(command),
        Command::RecordReturn(command) => case.record_return(command),
        Command::BlockPairing(command) => case.block_pairing(command),
        Command::UnblockPairing(command) => case.unblock_pairing(command),
        Command::SetPersonal(command) => case.set_personal(command),
        Command::ErasePerson(command) => case.erase_person(command),
        Command::ProposePair(command) => case.propose_pair(command),
        Command::ProposeRound(command) => case.propose_round(command),
        Command::AcceptPair(command) => case.accept_pair(command),
        Command::DeclinePair(command) => case.decline_pair(command),
        Command::WithdrawProposal(command) => case.withdraw_proposal(command),
        Command::ExpireProposal(command) => case.expire_proposal(command),
        Command::PausePair(command) => case.pause_pair(command),
        Command::ResumePair(command) => case.resume_pair(command),
        Command::ExtendPair(command) => case.extend_pair(command),
        Command::EndPair(command) => case.end_pair(command),
        Command::SetGoal(command) => case.set_goal(command),
        Command::CompleteGoal(command) => case.complete_goal(command),
        Command::AbandonGoal(command) => case.abandon_goal(command),
        Command::LogSession(command) => case.log_session(command),
        Command::ConfirmSession(command) => case.confirm_session(command),
        Command::DisputeSession(command) => case.dispute_session(command),
        Command::CorrectSession(command) => case.correct_session(command),
        Command::VoidSession(command) => case.void_session(command),
        Command::ResolveDispute(command) => case.resolve_dispute(command),
        Command::RecordNoShow(command) => case.record_no_show(command),
        Command::RateExchange(command) => case.rate_exchange(command),
        Command::ReviseRating(command) => case.revise_rating(command),
        Command::ImportParticipant(command) => case.import_participant(command),
        Command::ImportPair(command) => case.import_pair(command),
        Command::ImportSession(command) => case.import_session(command),
    }?;
    Ok(Decision { events: case.decided, subject })
}

/// One command being decided: what it may look at, and the events so far.
///
/// Every rule asks in the same order: is the thing there (and not erased), is it as the caller saw it, may the
/// actor do this, does the state allow it, are the values possible.
struct Case<'a> {
    state: &'a State,
    program: &'a Program,
    actor: Actor,
    /// For whom the command is: `on_behalf_of`, else the actor if a participant. The manager alone is no party.
    party: Option<ParticipantId>,
    now: Timestamp,
    today: Day,
    expected_version: Option<u64>,
    sealing: Sealing,
    ids: Ids,
    decided: Vec<Decided>,
}

/// The participants who have to be asked about a thing.
enum Whose {
    Participant(u32),
    Pair(u32),
}

impl<'a> Case<'a> {
    fn new(state: &'a State, program: &'a Program, context: &Context) -> Result<Self, Rejection> {
        let party = match (context.actor, context.on_behalf_of) {
            (Actor::Manager, party) => party,
            (Actor::Participant(id), None) => Some(id),
            (Actor::System, None) => None,
            (Actor::Participant(_) | Actor::System, Some(_)) => {
                return Err(Rejection::OnBehalfOfManagerOnly);
            }
        };
        let case = Self {
            state,
            program,
            actor: context.actor,
            party,
            now: context.now,
            today: program.zone.day(context.now),
            expected_version: context.expected_version,
            sealing: context.sealing,
            ids: context.ids,
            decided: Vec::with_capacity(1),
        };
        match (context.on_behalf_of, context.actor) {
            (Some(id), _) => {
                case.participant(id)?;
            }
            // Who is not there may still be about to enrol; who was erased is nobody any more.
            (None, Actor::Participant(id)) => {
                if let Err(rejection @ Rejection::ParticipantErased { .. }) = case.participant(id) {
                    return Err(rejection);
                }
            }
            (None, Actor::Manager | Actor::System) => {}
        }
        Ok(case)
    }

    /// Adds an event and returns its index.
    fn happened(&mut self, event: impl Into<Event>) -> usize {
        self.decided.push(Decided { event: event.into(), because: None, sealed: Vec::new() });
        self.decided.len() - 1
    }

    /// Adds an event that another one led to.
    fn followed(&mut self, because: usize, event: impl Into<Event>) {
        self.decided.push(Decided { event: event.into(), because: Some(because), sealed: Vec::new() });
    }

    fn day(&self, instant: Timestamp) -> Day {
        self.program.zone.day(instant)
    }

    /// The caller saw the thing as it is, or did not say what they saw.
    fn unchanged(&self, version: u32) -> Result<(), Rejection> {
        let current = u64::from(version);
        match self.expected_version {
            Some(expected) if expected != current => Err(Rejection::VersionConflict { current }),
            Some(_) | None => Ok(()),
        }
    }

    /// A participant who was not erased.
    fn participant(&self, id: ParticipantId) -> Result<u32, Rejection> {
        let participant = self
            .state
            .participants
            .find(id.as_u128())
            .ok_or(Rejection::ParticipantNotFound { participant: id })?;
        if self.state.participants[participant].erased {
            return Err(Rejection::ParticipantErased { participant: id });
        }
        Ok(participant)
    }

    /// The participant a command is about: there, as the caller saw them, and the actor's to change.
    fn own_participant(&self, id: ParticipantId) -> Result<u32, Rejection> {
        let participant = self.participant(id)?;
        self.belongs_to(&Whose::Participant(participant))?;
        self.unchanged(self.state.participants[participant].version)?;
        Ok(participant)
    }

    /// The participant a command of the manager is about.
    fn managed_participant(&self, id: ParticipantId) -> Result<u32, Rejection> {
        let participant = self.participant(id)?;
        self.manager_only()?;
        self.unchanged(self.state.participants[participant].version)?;
        Ok(participant)
    }

    /// The pair a command is about: there, as the caller saw it, and the actor's.
    fn own_pair(&self, id: PairId) -> Result<u32, Rejection> {
        let pair = self.pair(id)?;
        self.belongs_to(&Whose::Pair(pair))?;
        self.unchanged(self.state.pairs[pair].version)?;
        Ok(pair)
    }

    /// The two of a pair, of whom neither was erased: nothing new is said of who cannot be forgotten again.
    fn neither_erased(&self, pair: u32) -> Result<[ParticipantId; 2], Rejection> {
        let row = &self.state.pairs[pair];
        let both = [row.a_id, row.b_id];
        for one in both {
            self.participant(one)?;
        }
        Ok(both)
    }

    fn pair(&self, id: PairId) -> Result<u32, Rejection> {
        self.state.pairs.find(id.as_u128()).ok_or(Rejection::PairNotFound { pair: id })
    }

    /// The session a command is about, and its pair.
    fn own_session(&self, id: SessionId) -> Result<(u32, u32), Rejection> {
        let found = self.state.sessions.find(id.as_u128());
        let session = found.ok_or(Rejection::SessionNotFound { session: id })?;
        let row = &self.state.sessions[session];
        self.belongs_to(&Whose::Pair(row.pair))?;
        self.unchanged(row.version)?;
        Ok((session, row.pair))
    }

    fn manager_only(&self) -> Result<(), Rejection> {
        match self.actor {
            Actor::Manager => Ok(()),
            Actor::Participant(_) | Actor::System => Err(Rejection::ManagerOnly),
        }
    }

    fn system_only(&self) -> Result<(), Rejection> {
        match self.actor {
            Actor::System => Ok(()),
            Actor::Participant(_) | Actor::Manager => Err(Rejection::SystemOnly),
        }
    }

    /// The thing is the party's if there is one, else the manager's. On behalf of a participant a manager can do
    /// what that participant could: the entry says so.
    fn belongs_to(&self, whose: &Whose) -> Result<(), Rejection> {
        let Some(party) = self.party else { return self.manager_only() };
        match *whose {
            Whose::Participant(participant) if self.state.participants[participant].id == party => Ok(()),
            Whose::Participant(_) => Err(Rejection::NotYours),
            Whose::Pair(pair) => match self.side_of(pair, party) {
                Side::A | Side::B => Ok(()),
                Side::Neither => Err(Rejection::NotAParty),
            },
        }
    }

    fn side_of(&self, pair: u32, participant: ParticipantId) -> Side {
        self.state.pairs[pair].side_of(participant)
    }

    /// Which of the two the command is for. Refused for the manager as such, and for anybody else.
    fn party_of(&self, pair: u32) -> Result<(Side, ParticipantId), Rejection> {
        let party = self.party.ok_or(Rejection::PartyNeeded)?;
        match self.side_of(pair, party) {
            Side::Neither => Err(Rejection::NotAParty),
            side => Ok((side, party)),
        }
    }

    /// Which of the two the command is for; neither when the manager acts as such.
    fn party_or_manager(&self, pair: u32) -> Result<Side, Rejection> {
        match self.party {
            None => Ok(Side::Neither),
            Some(_) => self.party_of(pair).map(|(side, _)| side),
        }
    }

    fn program_open(&self) -> Result<(), Rejection> {
        match self.program.state {
            ProgramState::Open => Ok(()),
            ProgramState::Closed => Err(Rejection::ProgramClosed),
            ProgramState::Archived => Err(Rejection::ProgramArchived),
        }
    }

    fn standing(&self, participant: u32, allowed: &[Standing]) -> Result<(), Rejection> {
        let row = &self.state.participants[participant];
        if allowed.contains(&row.standing) {
            Ok(())
        } else {
            Err(Rejection::ParticipantState { participant: row.id, state: row.standing })
        }
    }

    fn pair_state(&self, pair: u32, allowed: &[PairState]) -> Result<(), Rejection> {
        let row = &self.state.pairs[pair];
        if allowed.contains(&row.state) {
            Ok(())
        } else {
            Err(Rejection::PairInState { pair: row.id, state: row.state })
        }
    }

    /// The participant can be one of a pair: enrolled, in the program arm.
    fn can_pair(&self, participant: u32) -> Result<(), Rejection> {
        let row = &self.state.participants[participant];
        match row.arm {
            Arm::Comparison => return Err(Rejection::ComparisonArm { participant: row.id }),
            Arm::Program => {}
        }
        self.standing(participant, &[Standing::Enrolled])
    }

    /// The participant can have one more open pair.
    fn has_capacity(&self, participant: u32) -> Result<(), Rejection> {
        let row = &self.state.participants[participant];
        let capacity = row.capacity.unwrap_or(self.program.rules.capacity);
        if row.running < u32::from(capacity) {
            Ok(())
        } else {
            Err(Rejection::CapacityReached { participant: row.id, capacity })
        }
    }

    /// When something happened that may lie back: not in the future, and no more than `backdating_days`.
    fn happened_at(&self, at: Option<Timestamp>) -> Result<Timestamp, Rejection> {
        let instant = at.unwrap_or(self.now);
        self.not_in_the_future(instant, "/occurred_at")?;
        self.not_too_far_back(instant)?;
        Ok(instant)
    }

    fn not_in_the_future(&self, instant: Timestamp, field: &'static str) -> Result<(), Rejection> {
        if instant > self.now { Err(Rejection::InTheFuture { at: Pointer::to(field) }) } else { Ok(()) }
    }

    fn not_too_far_back(&self, instant: Timestamp) -> Result<(), Rejection> {
        let days = self.program.rules.backdating_days;
        if self.today.number() - self.day(instant).number() > i32::from(days) {
            return Err(Rejection::TooFarBack { at: Pointer::to("/occurred_at"), days });
        }
        Ok(())
    }

    /// What the open pairs of a participant come to when they can have none from `at` on: proposals are
    /// invalidated, pairs end. Refused when a session began later than that.
    fn cascade(
        &mut self,
        participant: u32,
        because: usize,
        at: Timestamp,
        cause: Invalidation,
        reason: EndReason,
    ) -> Result<(), Rejection> {
        let mut open = self.state.participants[participant].open.clone();
        open.sort_unstable();
        for pair in open {
            self.close_pair(pair, because, at, cause, reason)?;
        }
        Ok(())
    }

    fn close_pair(
        &mut self,
        pair: u32,
        because: usize,
        at: Timestamp,
        cause: Invalidation,
        reason: EndReason,
    ) -> Result<(), Rejection> {
        let row = &self.state.pairs[pair];
        match row.state {
            PairState::Proposed => {
                let invalidated = ProposalInvalidated { pair: row.id, cause };
                self.followed(because, invalidated);
            }
            PairState::Active | PairState::Paused => {
                // A pair that began after somebody had left in truth lasted no time at all.
                let occurred_at = row.started_at.map_or(at, |start| at.max(start));
                self.no_session_after(pair, occurred_at)?;
                let day = self.day(occurred_at);
                let pair = row.id;
                self.followed(because, PairEnded { pair, reason, occurred_at, day });
            }
            PairState::Ended
            | PairState::Declined
            | PairState::Withdrawn
            | PairState::Expired
            | PairState::Invalidated => {}
        }
        Ok(())
    }

    fn no_session_after(&self, pair: u32, end: Timestamp) -> Result<(), Rejection> {
        match self.state.last_session(pair) {
            Some(row) if row.occurred_at > end => Err(Rejection::EndPrecedesSession { session: row.id }),
            Some(_) | None => Ok(()),
        }
    }

    /// The skill may be named: any may, or it is on the list, or it says that the skill is not recorded.
    fn skill_allowed(&self, skill: &Slug, at: Pointer) -> Result<(), Rejection> {
        match self.program.rules.skills {
            Skills::Open => Ok(()),
            Skills::Listed => {
                let listed =
                    self.state.words.find(skill).is_some_and(|word| self.program.listed.contains(&word));
                if listed || skill.as_str() == UNSPECIFIED {
                    Ok(())
                } else {
                    Err(Rejection::SkillNotListed { at })
                }
            }
        }
    }
}

/// The skill of an exchange whose skill is not recorded.
const UNSPECIFIED: &str = "unspecified";

/// A number within its limits.
fn within(number: u32, min: u16, max: u16, at: Pointer) -> Result<u16, Rejection> {
    u16::try_from(number).ok().filter(|number| (min..=max).contains(number)).ok_or(Rejection::OutOfRange {
        at,
        min: u32::from(min),
        max: u32::from(max),
    })
}

/// A list with a number of items within its limits.
fn counted(items: usize, min: usize, max: usize, field: &'static str) -> Result<(), Rejection> {
    if (min..=max).contains(&items) {
        return Ok(());
    }
    // Both limits are small constants.
    let number = |limit: usize| u32::try_from(limit).unwrap_or(u32::MAX);
    Err(Rejection::ItemCount { at: Pointer::to(field), min: number(min), max: number(max) })
}
