//! What learners set out to learn, rounds of proposals, and sessions that did not take place.
//! Never holds a goal's text: it is sealed.

use mentorlog_events::event::Absent;
use mentorlog_events::id::{GoalId, NoShowId, PairId, ParticipantId, RoundId, Slug};
use mentorlog_events::time::{Day, Timestamp};
use serde::Serialize;
use uuid::Uuid;

use crate::counting::Side;
use crate::rows::{Identified, Row};
use crate::timeline::{Chain, Seq};

/// Where a goal stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum GoalState {
    /// Set, and neither reached nor given up.
    Open,
    /// Reached.
    Completed,
    /// Given up.
    Abandoned,
}

/// Goals by where they stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, utoipa::ToSchema)]
pub struct GoalCounts {
    /// Set, and neither reached nor given up.
    pub open: u32,
    /// Reached.
    pub completed: u32,
    /// Given up.
    pub abandoned: u32,
}

impl GoalCounts {
    pub(crate) fn of(&mut self, state: GoalState) -> &mut u32 {
        match state {
            GoalState::Open => &mut self.open,
            GoalState::Completed => &mut self.completed,
            GoalState::Abandoned => &mut self.abandoned,
        }
    }
}

#[derive(Debug, Clone)]
pub(crate) struct Goal {
    pub(crate) id: GoalId,
    pub(crate) pair: Row,
    pub(crate) learner: Side,
    pub(crate) state: GoalState,
    pub(crate) skill: u32,
    pub(crate) set_at: Timestamp,
    pub(crate) set_day: Day,
    /// Day of the last change of state.
    pub(crate) since: Day,
    pub(crate) events: Chain,
}

impl Identified for Goal {
    fn uuid(&self) -> Uuid {
        self.id.0
    }
}

/// One goal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct GoalView {
    /// The goal.
    pub goal: GoalId,
    /// Position of the last event that changed it: what `If-Match` names.
    pub version: u64,
    /// Where it stands.
    pub state: GoalState,
    /// Civil day since when.
    pub since: Day,
    /// The pair.
    pub pair: PairId,
    /// Whose goal it is.
    pub learner: ParticipantId,
    /// What is to be learned.
    pub skill: Slug,
    /// When it was recorded.
    pub set_at: Timestamp,
    /// The civil day of it.
    pub set_day: Day,
}

#[derive(Debug, Clone)]
pub(crate) struct Round {
    pub(crate) id: RoundId,
    pub(crate) proposed: u32,
    pub(crate) refused: u32,
    pub(crate) recorded_at: Timestamp,
    pub(crate) day: Day,
    pub(crate) version: Seq,
    pub(crate) events: Chain,
}

impl Identified for Round {
    fn uuid(&self) -> Uuid {
        self.id.0
    }
}

/// One round of proposals.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct RoundView {
    /// The round.
    pub round: RoundId,
    /// Position of the event that made it: what `If-Match` names.
    pub version: u64,
    /// Pairs proposed.
    pub proposed: u32,
    /// Pairs refused.
    pub refused: u32,
    /// When it was recorded.
    pub recorded_at: Timestamp,
    /// The civil day of it.
    pub day: Day,
}

impl Round {
    pub(crate) fn view(&self) -> RoundView {
        RoundView {
            round: self.id,
            version: u64::from(self.version),
            proposed: self.proposed,
            refused: self.refused,
            recorded_at: self.recorded_at,
            day: self.day,
        }
    }
}

#[derive(Debug, Clone)]
pub(crate) struct NoShow {
    pub(crate) id: NoShowId,
    pub(crate) pair: Row,
    pub(crate) absent: Absent,
    pub(crate) occurred_at: Timestamp,
    pub(crate) day: Day,
}
