//! What outsiders may see of a program: figures at the close of a week, with whatever rests on few people withheld.
//! Never shows a cell of 1 to k - 1 people, nor lets one be computed from what is shown.
//!
//! PLACEHOLDER

use mentorlog_events::id::Slug;
use mentorlog_events::time::Day;
use serde::ser::SerializeMap as _;
use serde::{Serialize, Serializer};

use crate::retention::Restricted;

mod week;

pub use week::{NotAWeek, Week};

/// Counts by name, in a fixed order; `None` is withheld.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cells(pub Vec<(&'static str, Option<u64>)>);

impl Cells {
    /// The count of a name; `None` if it is withheld or there is no such name.
    pub fn get(&self, name: &str) -> Option<u64> {
        self.0.iter().find(|(known, _)| *known == name).and_then(|(_, count)| *count)
    }
}

impl Serialize for Cells {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, count) in &self.0 {
            map.serialize_entry(name, count)?;
        }
        map.end()
    }
}

/// A ratio as its two integers; either is `None` where it is withheld.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Share {
    /// The decimal; `None` where either integer is withheld, or the denominator is 0.
    pub value: Option<f64>,
    /// What is counted.
    pub numerator: Option<u64>,
    /// What it is counted among.
    pub denominator: Option<u64>,
    /// Version of the formula, that of the figure of the same name.
    pub version: u32,
}

/// The ratios of [`crate::reciprocity::Figures`] that outsiders see.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Shares {
    /// Minutes returned within the pair, among all.
    pub weighted_reciprocity: Share,
    /// Minutes that came back to the teacher from anybody, among all.
    pub generalised_reciprocity: Share,
    /// Pairs in which both taught, among pairs with minutes.
    pub two_way_pair_share: Share,
    /// People who both taught and learned, among those enrolled.
    pub dual_role_share: Share,
    /// Minutes between different generations, among minutes between known ones.
    pub cross_generation_share: Share,
    /// Minutes the younger taught the older, among minutes between different generations.
    pub reverse_share: Share,
    /// Weighted reciprocity of what it was worth, in quarter-minutes.
    pub value_reciprocity: Share,
    /// Confirmed sessions among live ones.
    pub confirmation_ratio: Share,
}

/// Minutes one generation taught another, or itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Flow {
    /// The teachers' generation.
    pub from: Slug,
    /// The learners' generation.
    pub to: Slug,
    /// The minutes; `None` where withheld.
    pub minutes: Option<u64>,
}

/// Pairs by how long they have lasted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Cohort {
    /// Days since each one's own start.
    pub horizon: u32,
    /// Pairs whose day has come and that were not censored before; `None` where withheld.
    pub started: Option<u64>,
    /// Those of them that lasted longer; `None` where withheld.
    pub retained: Option<u64>,
}

/// A survival curve read at a day.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Lasting {
    /// Days since the start.
    pub day: u32,
    /// Kaplan-Meier; `None` where withheld or beyond what was watched.
    pub survival: Option<f64>,
}

/// How long pairs last, by record.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Retention {
    /// Whether the median and the mean are withheld.
    pub withheld: bool,
    /// The curve.
    pub at: Vec<Lasting>,
    /// The first day by which half had ended; `None` also while more than half go on.
    pub median: Option<u32>,
    /// The restricted mean, without its standard error.
    pub rmst: Restricted,
}

/// What outsiders see of a program as it was known at the close of a week. Every `None` among counts is withheld;
/// everything else says so itself.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct WeekClose {
    /// The week.
    pub week: Week,
    /// Its last day, a Sunday.
    pub as_of: Day,
    /// Entries of the ledger that were recorded by its close.
    pub size: u64,
    /// Position of the event that set the measure policy in force.
    pub policy_seq: u64,
    /// Fewest people a count may rest on, by that policy.
    pub k_anonymity: u16,
    /// Numbers that are withheld.
    pub withheld: u64,
    /// People of the program by where they stand: `enrolled`, `on-break`, `left`, `departed`, `erased`.
    pub participants: Cells,
    /// Pairs by where they stand, by the words of [`crate::pairs::PairState`].
    pub pairs: Cells,
    /// Active pairs that have not met for longer than `stall_after_days`.
    pub stalled_pairs: Option<u64>,
    /// Proposals by what became of them: `waiting`, `accepted`, `declined`, `withdrawn`, `expired`, `invalidated`.
    pub proposals: Cells,
    /// Sessions by where they stand: `logged`, `confirmed`, `disputed`, `voided`.
    pub sessions: Cells,
    /// Live sessions by how they are attested: `confirmed`, `unconfirmed`.
    pub sessions_by_evidence: Cells,
    /// The ratios.
    pub figures: Shares,
    /// The Gini coefficient of minutes taught; `None` where withheld or undefined.
    pub teaching_gini: Option<f64>,
    /// Every generation in use to every other and itself, the oldest first.
    pub exchange_minutes: Vec<Flow>,
    /// Pairs with minutes by their balance: `one-way` 0, `below-0.5`, `0.5-to-0.8`, `0.8-and-over`.
    pub pairs_by_balance: Cells,
    /// Pairs by record: how many lasted 30, 90, 180 and 365 days.
    pub cohorts: Vec<Cohort>,
    /// How long they last.
    pub retention: Retention,
}
