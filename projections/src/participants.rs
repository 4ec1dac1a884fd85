//! The people of a program: where each stands, and what they taught and learned.
//! Never holds a name.

use mentorlog_events::event::{Arm, DepartureReason, Origin, PersonalField};
use mentorlog_events::id::{ParticipantId, Slug};
use mentorlog_events::time::{Day, Timestamp};
use serde::Serialize;
use uuid::Uuid;

use crate::rows::{Identified, Row};
use crate::timeline::{Chain, Seq};

/// Where a participant stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ParticipantState {
    /// Takes part.
    Enrolled,
    /// Takes part, but takes no new proposals.
    OnBreak,
    /// Left the program.
    Left,
    /// Left the organisation.
    Departed,
    /// Their personal data can no longer be opened by anybody.
    Erased,
}

/// What moves with every session: one cache line. What seldom moves is in [`Profile`].
#[derive(Debug, Clone)]
#[repr(align(64))]
pub(crate) struct Participant {
    pub(crate) id: ParticipantId,
    /// The last event about the participant alone.
    pub(crate) version: Seq,
    /// The last event that changed anything shown.
    pub(crate) last_seq: Seq,
    /// The events that name the participant and none of their pairs.
    pub(crate) events: Chain,
    /// The newest pair.
    pub(crate) newest_pair: Row,
    /// In live sessions, as everything below.
    pub(crate) sessions: u32,
    /// Taught and learned.
    pub(crate) exchanges: [u32; 2],
    pub(crate) minutes: [u64; 2],
    pub(crate) no_shows: u32,
}

const _: () = assert!(size_of::<Participant>() == 64, "a person is one cache line");

/// Everything about a participant that no session touches.
#[derive(Debug, Clone)]
pub(crate) struct Profile {
    pub(crate) arm: Arm,
    /// Where they stand but for erasure, which changes nothing about that.
    pub(crate) standing: ParticipantState,
    pub(crate) erased: bool,
    pub(crate) departure: Option<DepartureReason>,
    pub(crate) origin: Option<Origin>,
    /// One bit for each sealed field, in the order of [`PersonalField::ALL`].
    pub(crate) personal: u8,
    pub(crate) capacity: Option<u16>,
    pub(crate) generation: u32,
    pub(crate) unit: Option<u32>,
    pub(crate) offered: Box<[u32]>,
    pub(crate) sought: Box<[u32]>,
    pub(crate) enrolled_at: Timestamp,
    pub(crate) enrolled_day: Day,
    /// Day of the last change of state.
    pub(crate) since: Day,
    /// Every change of state after enrolment, in the order in which it was recorded, with its day.
    pub(crate) stays: Vec<(Day, ParticipantState)>,
    /// The arm from enrolment and after every change.
    pub(crate) arms: Vec<(Day, Arm)>,
    pub(crate) pairs: OwnPairs,
}

impl Identified for Participant {
    fn uuid(&self) -> Uuid {
        self.id.0
    }
}

impl Profile {
    pub(crate) fn state(&self) -> ParticipantState {
        if self.erased { ParticipantState::Erased } else { self.standing }
    }

    /// Whether they take part and have neither a pair nor a proposal.
    pub(crate) fn is_unpaired(&self) -> bool {
        self.arm == Arm::Program
            && self.state() == ParticipantState::Enrolled
            && self.pairs.open + self.pairs.proposed == 0
    }

    /// Whether what they offer and seek counts: they take part, or pause.
    pub(crate) fn seeks_and_offers(&self) -> bool {
        self.arm == Arm::Program
            && matches!(self.state(), ParticipantState::Enrolled | ParticipantState::OnBreak)
    }
}

/// Exchanges in one direction, of live sessions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, utoipa::ToSchema)]
pub struct Flow {
    /// How many.
    pub exchanges: u32,
    /// Their minutes.
    pub minutes: u64,
}

/// A participant's pairs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, utoipa::ToSchema)]
pub struct OwnPairs {
    /// Proposed and not answered by all.
    pub proposed: u32,
    /// Active or paused.
    pub open: u32,
    /// Any other state.
    pub closed: u32,
}

/// One participant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct ParticipantView {
    /// The participant.
    pub participant: ParticipantId,
    /// Position of the last event that changed the participant itself: what `If-Match` names.
    pub version: u64,
    /// Position of the last event that changed anything shown here.
    pub last_seq: u64,
    /// Where they stand.
    pub state: ParticipantState,
    /// Civil day since when.
    pub since: Day,
    /// Why they departed, while departed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub departure_reason: Option<DepartureReason>,
    /// The arm.
    pub arm: Arm,
    /// The generation, as corrected.
    pub generation: Slug,
    /// Part of the organisation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unit: Option<Slug>,
    /// Skills offered.
    pub offered: Vec<Slug>,
    /// Skills sought.
    pub sought: Vec<Slug>,
    /// Most open pairs, when not the policy's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub capacity: Option<u16>,
    /// Set when taken over from elsewhere.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub origin: Option<Origin>,
    /// When enrolment was recorded.
    pub enrolled_at: Timestamp,
    /// The civil day of it.
    pub enrolled_day: Day,
    /// Which personal fields are sealed; none once erased.
    pub personal: Vec<PersonalField>,
    /// Their pairs.
    pub pairs: OwnPairs,
    /// Their live sessions.
    pub sessions: u32,
    /// What they taught.
    pub taught: Flow,
    /// What they learned.
    pub learned: Flow,
    /// Agreed sessions they missed.
    pub no_shows: u32,
    /// Civil day of their latest live session.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_session_day: Option<Day>,
}

/// Participants by where they stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, utoipa::ToSchema)]
pub struct ParticipantCounts {
    /// Take part.
    pub enrolled: u64,
    /// Take a break.
    pub on_break: u64,
    /// Left the program.
    pub left: u64,
    /// Left the organisation.
    pub departed: u64,
    /// Were erased.
    pub erased: u64,
}

impl ParticipantCounts {
    pub(crate) fn of(&mut self, state: ParticipantState) -> &mut u64 {
        match state {
            ParticipantState::Enrolled => &mut self.enrolled,
            ParticipantState::OnBreak => &mut self.on_break,
            ParticipantState::Left => &mut self.left,
            ParticipantState::Departed => &mut self.departed,
            ParticipantState::Erased => &mut self.erased,
        }
    }
}

/// Participants by arm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, utoipa::ToSchema)]
pub struct ArmCounts {
    /// Take part in the mentoring.
    pub program: u64,
    /// Are only observed.
    pub comparison: u64,
}

impl ArmCounts {
    pub(crate) fn of(&mut self, arm: Arm) -> &mut u64 {
        match arm {
            Arm::Program => &mut self.program,
            Arm::Comparison => &mut self.comparison,
        }
    }
}
