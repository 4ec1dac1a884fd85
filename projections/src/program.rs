//! The program as a whole: its state, its policy, and its counts.
//! Never holds a figure that is not an integer.

use mentorlog_events::event::{MeasurePolicy, RulePolicy};
use mentorlog_events::id::{ProgramId, Slug};
use mentorlog_events::time::{Day, Timestamp, Zone};
use serde::Serialize;

use crate::exchanges::{RatingCounts, SessionCounts};
use crate::goals::GoalCounts;
use crate::pairs::{EndCounts, PairCounts};
use crate::participants::{ArmCounts, ParticipantCounts};
use crate::timeline::Seq;

/// Where a program stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ProgramState {
    /// Takes enrolments and proposals.
    Open,
    /// Takes neither.
    Closed,
    /// Nothing more happens.
    Archived,
}

#[derive(Debug, Clone)]
pub(crate) struct Program {
    pub(crate) id: ProgramId,
    pub(crate) origin: String,
    pub(crate) slug: Slug,
    pub(crate) name: String,
    pub(crate) zone: Zone,
    pub(crate) state: ProgramState,
    pub(crate) opened_at: Timestamp,
    /// The last event about the program itself.
    pub(crate) version: Seq,
    pub(crate) since: Day,
    pub(crate) rules: RulePolicy,
    /// Every measure policy with its position and day, oldest first: a figure of the past goes by that day's.
    pub(crate) measures: Vec<MeasuresFrom>,
}

impl Program {
    /// The measure policy in force now.
    pub(crate) fn measures(&self) -> &MeasurePolicy {
        &self.measures.last().expect("opening a program sets one").measures
    }
}

/// A measure policy and from when it held.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct MeasuresFrom {
    /// Position of the event that set it.
    pub seq: u64,
    /// The civil day of it.
    pub day: Day,
    /// The policy.
    pub measures: MeasurePolicy,
}

/// What is counted as it happens.
#[derive(Debug, Clone, Default)]
pub(crate) struct Totals {
    pub(crate) participants: ParticipantCounts,
    /// Of these, those of the program arm.
    pub(crate) taking_part: ParticipantCounts,
    pub(crate) arms: ArmCounts,
    pub(crate) generations: Vec<u64>,
    pub(crate) pairs: PairCounts,
    pub(crate) ends: EndCounts,
    pub(crate) sessions: SessionCounts,
    pub(crate) ratings: RatingCounts,
    pub(crate) goals: GoalCounts,
    pub(crate) rounds: RoundCounts,
}

/// One program, as counts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct ProgramView {
    /// The program.
    pub program: ProgramId,
    /// Position of the last event that changed the program itself: what `If-Match` names.
    pub version: u64,
    /// Its name in paths.
    pub slug: Slug,
    /// Its name for people.
    pub name: String,
    /// The name its ledger's checkpoints carry.
    pub origin: String,
    /// Civil days are days in this zone.
    pub time_zone: Zone,
    /// Where it stands.
    pub state: ProgramState,
    /// Civil day since when.
    pub since: Day,
    /// When it was opened.
    pub opened_at: Timestamp,
    /// What it goes by now.
    pub policy: PolicyView,
    /// Its people.
    pub participants: ParticipantsSummary,
    /// Its pairs.
    pub pairs: PairsSummary,
    /// Its sessions.
    pub sessions: SessionCounts,
    /// Ratings of live exchanges.
    pub ratings: RatingCounts,
    /// Its goals.
    pub goals: GoalCounts,
    /// Agreed sessions at which somebody was missing.
    pub no_shows: u64,
    /// Rounds of proposals.
    pub rounds: RoundCounts,
    /// Blocks in force.
    pub blocks: u64,
    /// Its skills.
    pub skills: SkillCounts,
    /// Entries counted.
    pub size: u64,
    /// When the newest of them was recorded.
    pub recorded_at: Timestamp,
}

/// The policy in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct PolicyView {
    /// What commands go by.
    pub rules: RulePolicy,
    /// What figures go by.
    pub measures: MeasurePolicy,
}

/// Participants as counts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct ParticipantsSummary {
    /// By where they stand.
    #[serde(flatten)]
    pub states: ParticipantCounts,
    /// By arm, whatever their state.
    pub arms: ArmCounts,
    /// By generation, whatever their state: the policy's bands in its order, `unknown`, then any other in use.
    pub by_generation: Vec<GenerationCount>,
}

/// Participants of one generation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct GenerationCount {
    /// The generation.
    pub generation: Slug,
    /// How many.
    pub participants: u64,
}

/// Pairs as counts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct PairsSummary {
    /// By where they stand.
    #[serde(flatten)]
    pub states: PairCounts,
    /// Active ones that are stalled on the day asked for.
    pub stalled: u64,
    /// Proposed ones that can no longer be accepted at the instant asked for.
    pub overdue: u64,
    /// Ended ones by the class of the reason.
    pub ended_by_class: EndCounts,
}

/// Rounds as counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, utoipa::ToSchema)]
pub struct RoundCounts {
    /// How many.
    pub rounds: u64,
    /// Pairs they proposed.
    pub proposed: u64,
    /// Pairs they were refused.
    pub refused: u64,
}

/// Skills as counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, utoipa::ToSchema)]
pub struct SkillCounts {
    /// On the list.
    pub defined: u64,
    /// No longer on the list.
    pub retired: u64,
    /// Only ever named.
    pub unlisted: u64,
}
