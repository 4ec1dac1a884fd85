//! The pairs of a program, from the proposal to the end.
//! Never says which of two is the mentor: that is what the minutes show.

use mentorlog_events::event::{EndClass, EndReason, Invalidation, Origin};
use mentorlog_events::id::{PairId, ParticipantId, RoundId};
use mentorlog_events::time::{Day, Timestamp};
use serde::Serialize;
use uuid::Uuid;

use crate::counting::Side;
use crate::goals::GoalCounts;
use crate::rows::{Identified, Row};
use crate::timeline::{Chain, Seq};

/// Where a pair stands. `stalled` is not a state: it is a matter of the day on which one asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum PairState {
    /// Waits for answers.
    Proposed,
    /// Meets.
    Active,
    /// Pauses.
    Paused,
    /// Ended, with a reason.
    Ended,
    /// A party said no.
    Declined,
    /// The proposal was taken back.
    Withdrawn,
    /// The proposal waited too long.
    Expired,
    /// The proposal fell to something else that happened.
    Invalidated,
}

impl PairState {
    /// Every state.
    pub const ALL: [Self; 8] = [
        Self::Proposed,
        Self::Active,
        Self::Paused,
        Self::Ended,
        Self::Declined,
        Self::Withdrawn,
        Self::Expired,
        Self::Invalidated,
    ];

    /// The word as it is written.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Proposed => "proposed",
            Self::Active => "active",
            Self::Paused => "paused",
            Self::Ended => "ended",
            Self::Declined => "declined",
            Self::Withdrawn => "withdrawn",
            Self::Expired => "expired",
            Self::Invalidated => "invalidated",
        }
    }

    /// Active or paused.
    pub const fn is_open(self) -> bool {
        matches!(self, Self::Active | Self::Paused)
    }

    /// Neither proposed nor open: nothing changes the state any more.
    pub const fn is_terminal(self) -> bool {
        !matches!(self, Self::Proposed | Self::Active | Self::Paused)
    }
}

/// The text is not a state of pairs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a state of pairs: proposed, active, paused, ended, declined, withdrawn, expired or invalidated")]
pub struct NotAPairState;

impl std::str::FromStr for PairState {
    type Err = NotAPairState;

    fn from_str(text: &str) -> Result<Self, NotAPairState> {
        Self::ALL.into_iter().find(|state| state.as_str() == text).ok_or(NotAPairState)
    }
}

/// The place of a pair in a round.
#[derive(Debug, Clone, Copy)]
pub(crate) struct InRound {
    pub(crate) round: RoundId,
    pub(crate) weight: Option<u32>,
}

/// What moves with every session, and what that is weighed against: two cache lines. The rest is in [`Terms`].
#[derive(Debug, Clone)]
#[repr(align(64))]
pub(crate) struct Pair {
    pub(crate) id: PairId,
    /// The two, by their rows.
    pub(crate) people: [Row; 2],
    /// The session told last, whatever its state.
    pub(crate) newest_session: Row,
    /// The events that name the pair and none of its sessions.
    pub(crate) events: Chain,
    /// The last event about the pair alone.
    pub(crate) version: Seq,
    /// The last event that changed anything shown.
    pub(crate) last_seq: Seq,
    pub(crate) sessions: PairSessions,
    /// What A taught B, and what B taught A, in live sessions.
    pub(crate) exchanges: [u32; 2],
    pub(crate) minutes: [u64; 2],
    /// Earliest live session, and day of the latest, if there is one.
    pub(crate) first_at: Timestamp,
    pub(crate) first_day: Day,
    pub(crate) last_day: Day,
    /// Day of the last start or resumption.
    pub(crate) idle_from: Day,
    /// When it was started, if it was.
    pub(crate) started_at: Timestamp,
    pub(crate) started_day: Day,
    /// The earliest start ever told, also by imported sessions that were voided since.
    pub(crate) earliest_start: Timestamp,
    pub(crate) state: PairState,
    pub(crate) started: bool,
    pub(crate) imported: bool,
    pub(crate) proposer: Option<Side>,
    pub(crate) accepted: [bool; 2],
    pub(crate) end: Option<EndReason>,
    pub(crate) invalidation: Option<Invalidation>,
}

const _: () = assert!(size_of::<Pair>() == 128, "a pair is two cache lines");

/// Everything about a pair that no session touches.
#[derive(Debug, Clone)]
pub(crate) struct Terms {
    /// The pair before this one of each of the two.
    pub(crate) earlier: [Row; 2],
    pub(crate) in_round: Option<Box<InRound>>,
    pub(crate) proposed_at: Timestamp,
    pub(crate) proposed_day: Day,
    /// Of a proposal.
    pub(crate) expires_day: Day,
    pub(crate) expires_at: Timestamp,
    /// Of terminal states.
    pub(crate) closed_at: Timestamp,
    pub(crate) closed_day: Day,
    /// `None` before the start, and of imported pairs until extended: no term was agreed.
    pub(crate) term_ends_day: Option<Day>,
    pub(crate) goals: GoalCounts,
    pub(crate) no_shows: u32,
}

impl Identified for Pair {
    fn uuid(&self) -> Uuid {
        self.id.0
    }
}

impl Pair {
    /// When it started: at its activation, or earlier if an imported session says so.
    pub(crate) fn start(&self) -> Option<(Timestamp, Day)> {
        if !self.started {
            return None;
        }
        let told = (self.started_at, self.started_day);
        Some(if self.sessions.live > 0 { told.min((self.first_at, self.first_day)) } else { told })
    }

    /// The day from which its idleness counts: its latest live session, start or resumption. `None` unless active.
    pub(crate) fn idle_since(&self) -> Option<Day> {
        if self.state != PairState::Active {
            return None;
        }
        Some(if self.sessions.live > 0 { self.idle_from.max(self.last_day) } else { self.idle_from })
    }
}

/// A pair's sessions by state; `live` are those neither disputed nor voided.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, utoipa::ToSchema)]
pub struct PairSessions {
    /// Neither disputed nor voided.
    pub live: u32,
    /// Live and confirmed.
    pub confirmed: u32,
    /// Disputed.
    pub disputed: u32,
    /// Voided.
    pub voided: u32,
}

/// Something counted each way within a pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, utoipa::ToSchema)]
pub struct EachWay {
    /// From `a` to `b`: `a` taught.
    pub a_to_b: u64,
    /// From `b` to `a`: `b` taught.
    pub b_to_a: u64,
}

/// One pair.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct PairView {
    /// The pair.
    pub pair: PairId,
    /// Position of the last event that changed the pair itself: what `If-Match` names.
    pub version: u64,
    /// Position of the last event that changed anything shown here but `stalled`.
    pub last_seq: u64,
    /// Where it stands.
    pub state: PairState,
    /// Active, and without a session for more days than the policy's `stall_after_days`.
    pub stalled: bool,
    /// The lesser of the two ids.
    pub a: ParticipantId,
    /// The greater of the two ids.
    pub b: ParticipantId,
    /// The party who proposed; absent when the manager did, and for imported pairs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proposer: Option<ParticipantId>,
    /// Who said yes, the proposer included.
    pub accepted: Vec<ParticipantId>,
    /// The round it was proposed in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub round: Option<RoundId>,
    /// The weight it had in the round.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weight: Option<u32>,
    /// Set when taken over from elsewhere.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub origin: Option<Origin>,
    /// When the proposal, or the import, was recorded.
    pub proposed_at: Timestamp,
    /// The civil day of it.
    pub proposed_day: Day,
    /// Until when the proposal could be accepted; absent for imported pairs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
    /// The civil day of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_day: Option<Day>,
    /// When it became active, or its earliest live session if that was earlier; absent if it never became active.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Timestamp>,
    /// The civil day of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub started_day: Option<Day>,
    /// The last day of the agreed term.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub term_ends_day: Option<Day>,
    /// When it ended, or when the proposal fell.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub closed_at: Option<Timestamp>,
    /// The civil day of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub closed_day: Option<Day>,
    /// Why it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub end_reason: Option<EndReason>,
    /// Class of that reason.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub end_class: Option<EndClass>,
    /// What the proposal fell to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub invalidated_by: Option<Invalidation>,
    /// Its sessions.
    pub sessions: PairSessions,
    /// Exchanges of live sessions.
    pub exchanges: EachWay,
    /// Exchange minutes of live sessions.
    pub minutes: EachWay,
    /// Civil day of the earliest live session.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_session_day: Option<Day>,
    /// Civil day of the latest live session.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_session_day: Option<Day>,
    /// Its goals.
    pub goals: GoalCounts,
    /// Agreed sessions at which somebody was missing.
    pub no_shows: u32,
}

/// Pairs by where they stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, utoipa::ToSchema)]
pub struct PairCounts {
    /// Wait for answers.
    pub proposed: u64,
    /// Meet.
    pub active: u64,
    /// Pause.
    pub paused: u64,
    /// Ended.
    pub ended: u64,
    /// Were declined.
    pub declined: u64,
    /// Were withdrawn.
    pub withdrawn: u64,
    /// Expired.
    pub expired: u64,
    /// Were invalidated.
    pub invalidated: u64,
}

impl PairCounts {
    pub(crate) fn of(&mut self, state: PairState) -> &mut u64 {
        match state {
            PairState::Proposed => &mut self.proposed,
            PairState::Active => &mut self.active,
            PairState::Paused => &mut self.paused,
            PairState::Ended => &mut self.ended,
            PairState::Declined => &mut self.declined,
            PairState::Withdrawn => &mut self.withdrawn,
            PairState::Expired => &mut self.expired,
            PairState::Invalidated => &mut self.invalidated,
        }
    }
}

/// Ended pairs by the class of their reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, utoipa::ToSchema)]
pub struct EndCounts {
    /// Cause 1.
    pub planned: u64,
    /// Cause 2.
    pub early_voluntary: u64,
    /// Cause 3.
    pub early_external: u64,
    /// The end says nothing about the pair.
    pub administrative: u64,
    /// Should never have been recorded.
    pub entered_in_error: u64,
}

impl EndCounts {
    pub(crate) fn of(&mut self, class: EndClass) -> &mut u64 {
        match class {
            EndClass::Planned => &mut self.planned,
            EndClass::EarlyVoluntary => &mut self.early_voluntary,
            EndClass::EarlyExternal => &mut self.early_external,
            EndClass::Administrative => &mut self.administrative,
            EndClass::EnteredInError => &mut self.entered_in_error,
        }
    }
}
