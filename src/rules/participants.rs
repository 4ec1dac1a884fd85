//! Rules of participants: who takes part, how, and with whom never.
//! Never pairs anybody.

use mentorlog_events::entry::Actor;
use mentorlog_events::event::{
    Arm, ArmChanged, BreakEnded, BreakTaken, CapacitySet, EndReason, Invalidation, PairingBlocked,
    PairingUnblocked, ParticipantCorrected, ParticipantDeparted, ParticipantEnrolled, ParticipantLeft,
    ParticipantReturned, SkillsUpdated,
};
use mentorlog_events::id::{ParticipantId, Slug};
use mentorlog_events::time::Timestamp;

use super::command::{
    BlockPairing, ChangeArm, CorrectParticipant, Enrol, LeaveProgram, RecordDeparture, RecordReturn,
    ReturnFromBreak, SetCapacity, TakeBreak, UnblockPairing, UpdateSkills,
};
use super::personal::text_of;
use super::program::{CAPACITY_MAX, UNKNOWN};
use super::rejection::{Pointer, Rejection};
use super::state::Standing;
use super::{Case, Subject, counted, within};

/// Most skills a participant offers, and most they seek.
const SKILLS_MAX: usize = 64;

impl Case<'_> {
    pub(super) fn enrol(&mut self, command: &Enrol) -> Result<Subject, Rejection> {
        self.unchanged(self.program.version)?;
        match self.actor {
            Actor::Manager => {}
            // One can enrol oneself, as whom the service knows, into the program.
            Actor::Participant(id) if command.participant == Some(id) => match command.arm {
                None | Some(Arm::Program) => {}
                Some(Arm::Comparison) => return Err(Rejection::ManagerOnly),
            },
            Actor::Participant(_) => return Err(Rejection::NotYours),
            Actor::System => return Err(Rejection::ManagerOnly),
        }
        let id = match command.participant {
            Some(id) => id,
            None => ParticipantId(self.ids.next()),
        };
        self.new_participant(id)?;
        let enrolled = ParticipantEnrolled {
            participant: id,
            arm: command.arm.unwrap_or(Arm::Program),
            generation: self.generation(command.generation.as_ref())?,
            offered: self.skill_list(&command.offered, "/offered")?,
            sought: self.skill_list(&command.sought, "/sought")?,
            unit: command.unit.clone(),
            capacity: capacity(command.capacity)?,
            origin: None,
        };
        self.happened(enrolled);
        Ok(Subject::Participant(id))
    }

    /// The program takes people, and nobody has this id.
    pub(super) fn new_participant(&self, id: ParticipantId) -> Result<(), Rejection> {
        match self.participant(id) {
            Ok(_) => return Err(Rejection::ParticipantExists { participant: id }),
            Err(rejection @ Rejection::ParticipantErased { .. }) => return Err(rejection),
            Err(_) => {}
        }
        self.program_open()
    }

    /// A band of the measure policy, or `unknown`.
    pub(super) fn generation(&self, generation: Option<&Slug>) -> Result<Slug, Rejection> {
        let Some(generation) = generation else {
            return Ok(UNKNOWN.parse().expect("a slug"));
        };
        let known = generation.as_str() == UNKNOWN
            || self.program.measures.bands.iter().any(|band| band.name == *generation);
        if known {
            Ok(generation.clone())
        } else {
            Err(Rejection::UnknownGeneration { at: Pointer::to("/generation") })
        }
    }

    /// Skills in ascending order, each once and allowed.
    pub(super) fn skill_list(&self, skills: &[Slug], field: &'static str) -> Result<Vec<Slug>, Rejection> {
        counted(skills.len(), 0, SKILLS_MAX, field)?;
        for (index, skill) in skills.iter().enumerate() {
            let at = Pointer::into_item(field, index, "");
            if skills[..index].contains(skill) {
                return Err(Rejection::RepeatedItem { at });
            }
            self.skill_allowed(skill, at)?;
        }
        let mut skills = skills.to_vec();
        skills.sort_unstable();
        Ok(skills)
    }

    pub(super) fn correct_participant(&mut self, command: &CorrectParticipant) -> Result<Subject, Rejection> {
        let participant = self.own_participant(command.participant)?;
        let row = &self.state.participants[participant];
        let before = ParticipantCorrected {
            participant: command.participant,
            generation: self.state.words.word(row.generation).clone(),
            unit: row.unit.map(|unit| self.state.words.word(unit).clone()),
        };
        let mut corrected = before.clone();
        if command.generation.is_some() {
            corrected.generation = self.generation(command.generation.as_ref())?;
        }
        if let Some(unit) = &command.unit {
            corrected.unit.clone_from(unit);
        }
        if corrected == before {
            return Err(Rejection::NothingChanges);
        }
        self.happened(corrected);
        Ok(Subject::Participant(command.participant))
    }

    pub(super) fn change_arm(&mut self, command: &ChangeArm) -> Result<Subject, Rejection> {
        let participant = self.managed_participant(command.participant)?;
        self.standing(participant, &[Standing::Enrolled, Standing::OnBreak])?;
        if self.state.participants[participant].arm == command.arm {
            return Err(Rejection::NothingChanges);
        }
        let changed = self.happened(ArmChanged { participant: command.participant, arm: command.arm });
        match command.arm {
            Arm::Comparison => {
                let (cause, reason) = (Invalidation::ArmChanged, EndReason::ManagerDecision);
                self.cascade(participant, changed, self.now, cause, reason)?;
            }
            Arm::Program => {}
        }
        Ok(Subject::Participant(command.participant))
    }

    pub(super) fn update_skills(&mut self, command: &UpdateSkills) -> Result<Subject, Rejection> {
        let participant = self.own_participant(command.participant)?;
        self.standing(participant, &[Standing::Enrolled, Standing::OnBreak])?;
        let row = &self.state.participants[participant];
        let words = |numbers: &[u32]| {
            let words = numbers.iter().map(|&number| self.state.words.word(number).clone());
            words.collect::<Vec<_>>()
        };
        let before = SkillsUpdated {
            participant: command.participant,
            offered: words(&row.offered),
            sought: words(&row.sought),
        };
        let mut updated = before.clone();
        if let Some(offered) = &command.offered {
            updated.offered = self.skill_list(offered, "/offered")?;
        }
        if let Some(sought) = &command.sought {
            updated.sought = self.skill_list(sought, "/sought")?;
        }
        if updated == before {
            return Err(Rejection::NothingChanges);
        }
        self.happened(updated);
        Ok(Subject::Participant(command.participant))
    }

    pub(super) fn set_capacity(&mut self, command: &SetCapacity) -> Result<Subject, Rejection> {
        let participant = self.own_participant(command.participant)?;
        self.standing(participant, &[Standing::Enrolled, Standing::OnBreak])?;
        let capacity = capacity(command.capacity)?;
        if self.state.participants[participant].capacity == capacity {
            return Err(Rejection::NothingChanges);
        }
        self.happened(CapacitySet { participant: command.participant, capacity });
        Ok(Subject::Participant(command.participant))
    }

    pub(super) fn take_break(&mut self, command: &TakeBreak) -> Result<Subject, Rejection> {
        let participant = self.own_participant(command.participant)?;
        self.standing(participant, &[Standing::Enrolled])?;
        self.happened(BreakTaken { participant: command.participant });
        Ok(Subject::Participant(command.participant))
    }

    pub(super) fn return_from_break(&mut self, command: &ReturnFromBreak) -> Result<Subject, Rejection> {
        let participant = self.own_participant(command.participant)?;
        self.standing(participant, &[Standing::OnBreak])?;
        self.happened(BreakEnded { participant: command.participant });
        Ok(Subject::Participant(command.participant))
    }

    pub(super) fn leave_program(&mut self, command: &LeaveProgram) -> Result<Subject, Rejection> {
        let participant = self.own_participant(command.participant)?;
        self.standing(participant, &[Standing::Enrolled, Standing::OnBreak])?;
        let occurred_at = self.parting(participant, command.occurred_at)?;
        let day = self.day(occurred_at);
        let left = self.happened(ParticipantLeft { participant: command.participant, occurred_at, day });
        let (cause, reason) = (Invalidation::ParticipantLeft, EndReason::LeftProgram);
        self.cascade(participant, left, occurred_at, cause, reason)?;
        Ok(Subject::Participant(command.participant))
    }

    pub(super) fn record_departure(&mut self, command: &RecordDeparture) -> Result<Subject, Rejection> {
        let participant = self.managed_participant(command.participant)?;
        self.standing(participant, &[Standing::Enrolled, Standing::OnBreak, Standing::Left])?;
        let occurred_at = self.parting(participant, command.occurred_at)?;
        let day = self.day(occurred_at);
        let departed = self.happened(ParticipantDeparted {
            participant: command.participant,
            reason: command.reason,
            occurred_at,
            day,
        });
        let (cause, reason) = (Invalidation::ParticipantDeparted, EndReason::LeftOrganisation);
        self.cascade(participant, departed, occurred_at, cause, reason)?;
        Ok(Subject::Participant(command.participant))
    }

    /// When somebody left: within the time that can be recorded, and after they came.
    fn parting(&self, participant: u32, at: Option<Timestamp>) -> Result<Timestamp, Rejection> {
        let occurred_at = self.happened_at(at)?;
        if self.state.participants[participant].since.is_some_and(|since| occurred_at < since) {
            return Err(Rejection::BeforeTheBeginning { at: Pointer::to("/occurred_at") });
        }
        Ok(occurred_at)
    }

    pub(super) fn record_return(&mut self, command: &RecordReturn) -> Result<Subject, Rejection> {
        let participant = self.managed_participant(command.participant)?;
        self.program_open()?;
        self.standing(participant, &[Standing::Departed])?;
        self.happened(ParticipantReturned { participant: command.participant });
        Ok(Subject::Participant(command.participant))
    }

    pub(super) fn block_pairing(&mut self, command: &BlockPairing) -> Result<Subject, Rejection> {
        let (who, whom) = self.blocker_and_blocked(command.participant, command.other)?;
        if self.state.blocks(who, whom) {
            return Err(Rejection::AlreadyBlocked);
        }
        let reason = text_of(command.reason.as_ref(), "/reason")?;
        let blocked =
            self.happened(PairingBlocked { participant: command.participant, other: command.other });
        if let Some(reason) = reason {
            self.seal(blocked, "/reason", &[command.participant, command.other], reason);
        }
        if let Some(pair) = self.state.open_pair_of(who, whom) {
            // Who blocks the other of a running pair wants out of it; why is theirs to tell.
            let (cause, reason) = (Invalidation::PairingBlocked, EndReason::Withheld);
            self.close_pair(pair, blocked, self.now, cause, reason)?;
        }
        Ok(Subject::Participant(command.participant))
    }

    pub(super) fn unblock_pairing(&mut self, command: &UnblockPairing) -> Result<Subject, Rejection> {
        let (who, whom) = self.blocker_and_blocked(command.participant, command.other)?;
        if !self.state.blocks(who, whom) {
            return Err(Rejection::NotBlocked);
        }
        self.happened(PairingUnblocked { participant: command.participant, other: command.other });
        Ok(Subject::Participant(command.participant))
    }

    fn blocker_and_blocked(
        &self,
        participant: ParticipantId,
        other: ParticipantId,
    ) -> Result<(u32, u32), Rejection> {
        let who = self.own_participant(participant)?;
        let whom = self.participant(other)?;
        if who == whom {
            return Err(Rejection::SameParticipant { at: Pointer::to("/other") });
        }
        Ok((who, whom))
    }
}

/// A participant's own capacity, within its limits.
pub(super) fn capacity(capacity: Option<u32>) -> Result<Option<u16>, Rejection> {
    capacity.map(|number| within(number, 0, CAPACITY_MAX, Pointer::to("/capacity"))).transpose()
}
