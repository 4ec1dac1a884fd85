//! Retention of one program: how long pairs and participants stay, by record and by activity.
//! Never groups lives by what happened later in them, and never looks beyond what was watched.
//!
//! - A **pair by record** lives from its start to its end; planned, early-voluntary and early-external ends
//!   compete, administrative ends are censored, pairs entered in error are removed.
//! - A **participant by record** lives from enrolment (or the first session, if that was earlier) until they
//!   first left the program (early-voluntary) or the organisation (early-external); erasure is censored.
//! - **By activity** a life is the first spell of sessions, see [`spells`]: it ends `lapse_days` after its
//!   last session, on the day it becomes known that none came.
//! - An archived program is watched until the day it was archived.

use std::collections::{BTreeMap, BTreeSet};

use mentorlog_events::event::{Arm, EndClass};
use mentorlog_events::time::Day;
use serde::Serialize;

use crate::activity::{Activity, Spells};
use crate::exchanges::{Evidence, Session};
use crate::participants::ParticipantState;
use crate::program::{MeasuresFrom, ProgramState};
use crate::read_models::{NEVER, ReadModels};
use crate::reciprocity::{Explained, Figure};
use crate::rows::{NONE, Row};
use crate::statistics::lives::{Cause, Life, LifeTable, Outcome};
use crate::statistics::log_rank::log_rank;
use crate::statistics::ratio::Ratio;
use crate::statistics::spells::{days_between, landmark, spells};
use crate::statistics::survival::{Curve, Estimate, Incidences, Reading, restricted_mean_difference};

/// Declares words that are parameters.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident: $not:ident $list:literal { $($(#[$of:meta])* $word:ident = $text:literal,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, utoipa::ToSchema)]
        #[serde(rename_all = "kebab-case")]
        pub enum $name {
            $($(#[$of])* $word,)*
        }

        /// The text is none of the words.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
        #[error($list)]
        pub struct $not;

        impl std::str::FromStr for $name {
            type Err = $not;

            fn from_str(text: &str) -> Result<Self, $not> {
                match text {
                    $($text => Ok(Self::$word),)*
                    _ => Err($not),
                }
            }
        }
    };
}

words! {
    /// Whose lives.
    Subject: NotASubject "pairs or participants" {
        /// Of pairs.
        Pairs = "pairs",
        /// Of participants.
        Participants = "participants",
    }
}

words! {
    /// What makes a life.
    Basis: NotABasis "record or activity" {
        /// What was recorded of starts and ends.
        Record = "record",
        /// Sessions.
        Activity = "activity",
    }
}

words! {
    /// What lives are grouped by.
    By: NotAGrouping "generation, cohort, arm or reciprocity" {
        /// Of participants their generation; of pairs whether the two are of the same.
        Generation = "generation",
        /// The month of the start.
        Cohort = "cohort",
        /// Of participants; who changed arm is counted in each from and to the day of the change.
        Arm = "arm",
        /// Of pairs that outlasted the landmark: whether both had taught by then; time counts from there.
        Reciprocity = "reciprocity",
    }
}

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Asked {
    /// What had happened by the close of this day.
    pub as_of: Day,
    /// Whose lives.
    pub subject: Subject,
    /// What makes them.
    pub basis: Basis,
    /// Days without a session after which a spell is over; the policy's, if not given.
    pub lapse_days: Option<u16>,
    /// Days at which curves are read, ascending.
    pub at: Vec<u32>,
    /// The restricted mean is of this many days.
    pub tau: u32,
    /// What they are grouped by, if by anything.
    pub by: Option<By>,
    /// The landmark of [`By::Reciprocity`], in days from the start.
    pub landmark_days: u32,
}

/// What was asked for together has no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Impossible {
    /// Arms are of people.
    #[error(
        "`by=arm` needs `subject=participants` and `basis=record`: only people have an arm, and who is only observed has no sessions"
    )]
    Arm,
    /// Reciprocity is of pairs.
    #[error("`by=reciprocity` needs `subject=pairs`")]
    Reciprocity,
    /// A record does not lapse.
    #[error("`lapse_days` needs `basis=activity`: a record ends when its end is recorded")]
    Lapse,
}

impl Impossible {
    /// The parameter to change.
    pub const fn parameter(self) -> &'static str {
        match self {
            Self::Arm | Self::Reciprocity => "by",
            Self::Lapse => "lapse_days",
        }
    }
}

impl Asked {
    /// What is asked for when nothing else is said.
    pub fn as_of(as_of: Day) -> Self {
        Self {
            as_of,
            subject: Subject::Pairs,
            basis: Basis::Record,
            lapse_days: None,
            at: vec![30, 90, 180, 365],
            tau: 180,
            by: None,
            landmark_days: 30,
        }
    }

    /// Whether it can be answered.
    pub fn check(&self) -> Result<(), Impossible> {
        match self.by {
            Some(By::Arm) if self.subject != Subject::Participants || self.basis != Basis::Record => {
                Err(Impossible::Arm)
            }
            Some(By::Reciprocity) if self.subject != Subject::Pairs => Err(Impossible::Reciprocity),
            _ if self.lapse_days.is_some() && self.basis == Basis::Record => Err(Impossible::Lapse),
            _ => Ok(()),
        }
    }
}

/// A day on which lives stopped.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, utoipa::ToSchema)]
pub struct CurvePoint {
    /// Days since the start.
    pub day: u32,
    /// Lives with entry < day <= exit.
    pub at_risk: u64,
    /// Lives that ended on the day.
    pub events: u64,
    /// Lives last seen on the day.
    pub censored: u64,
    /// Kaplan-Meier.
    pub survival: f64,
    /// Greenwood; `None` where the curve has reached 0.
    pub se: Option<f64>,
    /// Log-log, 95 %; `None` where the curve is 1 or 0.
    pub lower: Option<f64>,
    /// The other end.
    pub upper: Option<f64>,
}

/// A curve read at a day; everything but the day is `None` beyond what was watched.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, utoipa::ToSchema)]
pub struct Point {
    /// Days since the start.
    pub day: u32,
    /// Lives with entry < day <= exit.
    pub at_risk: Option<u64>,
    /// Kaplan-Meier.
    pub survival: Option<f64>,
    /// Greenwood.
    pub se: Option<f64>,
    /// Log-log, 95 %.
    pub lower: Option<f64>,
    /// The other end.
    pub upper: Option<f64>,
}

/// A restricted mean.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, utoipa::ToSchema)]
pub struct Restricted {
    /// Of this many days.
    pub tau: u32,
    /// In days; `None` beyond what was watched.
    pub value: Option<f64>,
    /// Its standard error.
    pub se: Option<f64>,
}

/// The incidence of one class of ends.
#[derive(Debug, Clone, PartialEq, Serialize, utoipa::ToSchema)]
pub struct CauseCurve {
    /// The class.
    pub class: &'static str,
    /// Aalen-Johansen at the days asked for.
    pub at: Vec<CausePoint>,
}

/// An incidence at a day; `None` beyond what was watched.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, utoipa::ToSchema)]
pub struct CausePoint {
    /// Days since the start.
    pub day: u32,
    /// The share that had ended so by then.
    pub incidence: Option<f64>,
    /// Its standard error.
    pub se: Option<f64>,
}

/// The lives of one group.
#[derive(Debug, Clone, PartialEq, Serialize, utoipa::ToSchema)]
pub struct Stratum {
    /// The group; `all` where nothing was grouped.
    pub name: String,
    /// Lives.
    pub n: u64,
    /// Those that ended.
    pub events: u64,
    /// Every day on which lives stopped.
    pub curve: Vec<CurvePoint>,
    /// The curve at the days asked for.
    pub at: Vec<Point>,
    /// The first day by which half had ended; `None` while more than half go on.
    pub median: Option<u32>,
    /// Its 95 % interval; either end `None` while its curve stays above one half.
    pub median_interval: MedianInterval,
    /// The restricted mean.
    pub rmst: Restricted,
    /// By class of end, where the basis is the record.
    pub causes: Vec<CauseCurve>,
}

/// The interval of a median, in days.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct MedianInterval {
    /// The lower end.
    pub lower: Option<u32>,
    /// The upper end.
    pub upper: Option<u32>,
}

/// A test of whether the groups differ.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, utoipa::ToSchema)]
pub struct GroupTest {
    /// The test.
    pub name: &'static str,
    /// The statistic.
    pub chi_square: f64,
    /// Degrees of freedom.
    pub df: u32,
    /// The chance of a statistic as great or greater if the groups were alike.
    pub p: f64,
}

/// The difference of two groups' restricted means.
#[derive(Debug, Clone, PartialEq, Serialize, utoipa::ToSchema)]
pub struct Difference {
    /// Of this group ...
    pub of: String,
    /// ... less that of this one.
    pub less: String,
    /// In days.
    #[serde(flatten)]
    pub rmst: Restricted,
}

/// Those who started in one month.
#[derive(Debug, Clone, PartialEq, Serialize, utoipa::ToSchema)]
pub struct Cohort {
    /// The month, as `2026-11`.
    pub cohort: String,
    /// How many.
    pub n: u64,
    /// How many were still there.
    pub at: Vec<CohortCell>,
}

/// One cell of the table of cohorts.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, utoipa::ToSchema)]
pub struct CohortCell {
    /// Days since each one's own start.
    pub day: u32,
    /// Those of the cohort who lasted longer, among those whose day has come and who were not censored before.
    pub retained: Figure,
    /// Whether the day has come for everybody who starts in the month; otherwise the cell still changes.
    pub mature: bool,
}

/// The retention of a program.
#[derive(Debug, Clone, PartialEq, Serialize, utoipa::ToSchema)]
pub struct Retention {
    /// The close of this day.
    pub as_of: Day,
    /// Whose lives.
    pub subject: Subject,
    /// What makes them.
    pub basis: Basis,
    /// What they are grouped by.
    pub by: Option<By>,
    /// Days without a session after which a spell is over, where the basis is activity.
    pub lapse_days: Option<u16>,
    /// Where lives are grouped by reciprocity, the landmark.
    pub landmark_days: Option<u32>,
    /// Where lives are grouped by reciprocity: those that did not outlast the landmark.
    pub before_landmark: Option<u64>,
    /// The policy in force at `as_of`; `None` of an empty ledger.
    pub measure_policy: Option<MeasuresFrom>,
    /// Confirmed sessions among live ones up to `as_of`.
    pub confirmation_ratio: Figure,
    /// Where the basis is activity: spells in all; the curves are of the first ones.
    pub spells: Option<u64>,
    /// The groups.
    pub strata: Vec<Stratum>,
    /// Whether they differ; `None` of fewer than two groups, or if they were never at risk together.
    pub test: Option<GroupTest>,
    /// Of exactly two groups the difference of their restricted means.
    pub difference: Option<Difference>,
    /// By the month of the start, whatever the groups.
    pub cohorts: Vec<Cohort>,
}

/// One life with its place on the calendar.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Lived {
    pub(crate) row: Row,
    pub(crate) start: Day,
    pub(crate) life: Life,
}

/// Lives of one group and what was watched of them.
#[derive(Debug, Default)]
struct Group {
    lives: Vec<Life>,
    watched: u32,
}

impl Group {
    fn add(&mut self, life: Life, watched: u32) {
        self.lives.push(life);
        self.watched = self.watched.max(watched);
    }

    /// Counted by day first, or sorted: a table is counts by day, and equal lives are put in at once.
    fn table(&mut self) -> LifeTable {
        let mut table = LifeTable::default();
        let longest = self.lives.iter().map(|life| life.exit()).max().unwrap_or(0);
        let plain = |life: &Life| life.entry().is_none();
        // A slot a day is cheaper than an order while there are not many more days than lives.
        if longest as usize / 4 <= self.lives.len() && self.lives.iter().all(plain) {
            const OUTCOMES: [Outcome; 4] = [
                Outcome::Ended(Cause(1)),
                Outcome::Ended(Cause(2)),
                Outcome::Ended(Cause(3)),
                Outcome::Censored,
            ];
            let mut days = vec![[0_u64; OUTCOMES.len()]; longest as usize + 1];
            for life in &self.lives {
                let place = match life.outcome() {
                    Outcome::Ended(Cause(cause)) => usize::from(cause.clamp(1, 3)) - 1,
                    Outcome::Censored => 3,
                };
                days[life.exit() as usize][place] += 1;
            }
            for (day, counts) in (0..).zip(days) {
                for (outcome, count) in OUTCOMES.into_iter().zip(counts) {
                    table.add_many(Life::new(day, outcome), count);
                }
            }
            return table;
        }
        self.lives.sort_unstable();
        for equal in self.lives.chunk_by(|one, other| one == other) {
            table.add_many(equal[0], equal.len() as u64);
        }
        table
    }
}

const CLASSES: [(EndClass, Cause, &str); 3] = [
    (EndClass::Planned, Cause(1), "planned"),
    (EndClass::EarlyVoluntary, Cause(2), "early-voluntary"),
    (EndClass::EarlyExternal, Cause(3), "early-external"),
];

/// How an end of a class counts; `None` of what is removed.
fn outcome(class: EndClass) -> Option<Outcome> {
    match class {
        EndClass::Planned => Some(Outcome::Ended(Cause(1))),
        EndClass::EarlyVoluntary => Some(Outcome::Ended(Cause(2))),
        EndClass::EarlyExternal => Some(Outcome::Ended(Cause(3))),
        EndClass::Administrative => Some(Outcome::Censored),
        EndClass::EnteredInError => None,
    }
}

impl ReadModels {
    /// The retention of the program.
    ///
    /// By record it costs a pass over the pairs or people, by activity one over the sessions.
    pub fn retention(&self, asked: &Asked) -> Result<Retention, Impossible> {
        asked.check()?;
        let watched = self.watched_until(asked.as_of);
        let policy = self.measures_on(asked.as_of);
        let lapse_days = match asked.basis {
            Basis::Record => None,
            Basis::Activity => {
                asked.lapse_days.or(policy.map(|policy| policy.measures.lapse_after_days)).or(Some(0))
            }
        };
        let (lives, spells) = match (asked.basis, asked.subject) {
            (Basis::Record, Subject::Pairs) => (self.pairs_by_record(watched), None),
            (Basis::Record, Subject::Participants) => (self.participants_by_record(watched), None),
            (Basis::Activity, subject) => {
                let (lives, spells) = self.by_activity(subject, lapse_days.unwrap_or(0), watched);
                (lives, Some(spells))
            }
        };
        let (groups, before_landmark) = self.groups(asked, policy, watched, &lives);

        let mut names = Vec::new();
        let mut tables = Vec::new();
        for (name, mut group) in groups {
            names.push(name);
            tables.push((group.table(), group.watched));
        }
        let curves: Vec<Curve<'_>> =
            tables.iter().map(|(table, days)| Curve::of(table).watched_for(*days)).collect();
        let strata = names
            .iter()
            .zip(&tables)
            .zip(&curves)
            .map(|((name, (table, days)), curve)| stratum(asked, name.clone(), table, *days, curve))
            .collect();
        let all: Vec<&LifeTable> = tables.iter().map(|(table, _)| table).collect();
        let test = if all.len() < 2 { None } else { log_rank(&all).test };
        let difference = match (&names[..], &curves[..]) {
            ([one, other], [of, less]) => {
                let mean = restricted_mean_difference(of, less, asked.tau);
                let rmst = Restricted {
                    tau: asked.tau,
                    value: mean.map(|mean| mean.value),
                    se: mean.map(|mean| mean.se),
                };
                Some(Difference { of: one.clone(), less: other.clone(), rmst })
            }
            _ => None,
        };
        Ok(Retention {
            as_of: asked.as_of,
            subject: asked.subject,
            basis: asked.basis,
            by: asked.by,
            lapse_days,
            landmark_days: before_landmark.map(|_| asked.landmark_days),
            before_landmark,
            measure_policy: policy.cloned(),
            confirmation_ratio: self.confirmation(asked.as_of).into(),
            spells,
            strata,
            test: test.map(|test| GroupTest {
                name: "log-rank",
                chi_square: test.chi_square,
                df: test.degrees,
                p: test.p,
            }),
            difference,
            cohorts: cohorts(&lives, &asked.at, watched),
        })
    }

    /// Positions, ascending, of the events of every life counted, whatever their day: by record those of the
    /// pairs or participants themselves, by activity those of the sessions. Those after `after`, at most `limit`.
    pub fn retention_seqs(
        &self,
        asked: &Asked,
        after: Option<u64>,
        limit: usize,
    ) -> Result<Explained, Impossible> {
        asked.check()?;
        let watched = self.watched_until(asked.as_of);
        let mut seqs = Vec::new();
        let record = match (asked.basis, asked.subject) {
            (Basis::Record, Subject::Pairs) => {
                for lived in self.pairs_by_record(watched) {
                    seqs.extend(self.postings.of(self.pairs[lived.row].events));
                }
                true
            }
            (Basis::Record, Subject::Participants) => {
                for lived in self.participants_by_record(watched) {
                    seqs.extend(self.postings.of(self.participants[lived.row].events));
                }
                true
            }
            (Basis::Activity, Subject::Pairs | Subject::Participants) => false,
        };
        // Who taught whom is what groups pairs by reciprocity.
        if !record || asked.by == Some(By::Reciprocity) {
            for session in self.sessions.iter().filter(|session| session.is_live() && session.day <= watched)
            {
                if self.pairs[session.pair].counts() {
                    self.events_of_session(session, &mut seqs);
                }
            }
        }
        Ok(Explained::page(seqs, after, limit))
    }

    /// The same of the lives that ended alone: what makes the curve of everybody fall.
    pub fn ended_seqs(
        &self,
        asked: &Asked,
        after: Option<u64>,
        limit: usize,
    ) -> Result<Explained, Impossible> {
        asked.check()?;
        let watched = self.watched_until(asked.as_of);
        let lives = match (asked.basis, asked.subject) {
            (Basis::Record, Subject::Pairs) => self.pairs_by_record(watched),
            (Basis::Record, Subject::Participants) => self.participants_by_record(watched),
            (Basis::Activity, subject) => {
                let policy =
                    self.measures_on(asked.as_of).map_or(0, |policy| policy.measures.lapse_after_days);
                self.by_activity(subject, asked.lapse_days.unwrap_or(policy), watched).0
            }
        };
        let ended = |lived: &&Lived| matches!(lived.life.outcome(), Outcome::Ended(_));
        let rows: BTreeSet<Row> = lives.iter().filter(ended).map(|lived| lived.row).collect();
        let mut seqs = Vec::new();
        match (asked.basis, asked.subject) {
            (Basis::Record, Subject::Pairs) => {
                for row in rows {
                    seqs.extend(self.postings.of(self.pairs[row].events));
                }
            }
            (Basis::Record, Subject::Participants) => {
                for row in rows {
                    seqs.extend(self.postings.of(self.participants[row].events));
                }
            }
            (Basis::Activity, subject) => {
                let is_of = |session: &Session| match subject {
                    Subject::Pairs => rows.contains(&session.pair),
                    Subject::Participants => {
                        self.pairs[session.pair].people.iter().any(|person| rows.contains(person))
                    }
                };
                for session in self.sessions.iter().filter(|one| one.is_live() && one.day <= watched) {
                    if self.pairs[session.pair].counts() && is_of(session) {
                        self.events_of_session(session, &mut seqs);
                    }
                }
            }
        }
        Ok(Explained::page(seqs, after, limit))
    }

    /// Nothing more can happen in an archived program.
    pub(crate) fn watched_until(&self, as_of: Day) -> Day {
        let archived = self.program.as_ref().filter(|program| program.state == ProgramState::Archived);
        archived.map_or(as_of, |program| program.since.min(as_of))
    }

    /// Confirmed sessions among live ones of pairs that count, up to the close of a day.
    pub(crate) fn confirmation(&self, as_of: Day) -> Ratio {
        let mut ratio = Ratio::default();
        if self.latest_day.is_none_or(|latest| latest <= as_of) {
            return self.confirmed;
        }
        for session in self.sessions.iter().filter(|session| session.is_live() && session.day <= as_of) {
            if self.pairs[session.pair].counts() {
                let grade = session.evidence();
                ratio.denominator += 1;
                ratio.numerator +=
                    u64::from(matches!(grade, Evidence::Confirmed | Evidence::ConfirmedAsserted));
            }
        }
        ratio
    }

    /// How long pairs lasted by record, as counts by day, once nothing of it can change: when the program is archived.
    ///
    /// `None` before that: the tables of two weeks would show the one pair that ended between them. `None` too if on
    /// any day the pairs that ended, or those last seen, are 1 to `k - 1` people: each count follows from the others.
    pub(crate) fn final_pair_life_table(&self, as_of: Day, k: u16) -> Option<LifeTable> {
        self.program
            .as_ref()
            .filter(|program| program.state == ProgramState::Archived && program.since <= as_of)?;
        let mut table = LifeTable::default();
        let mut people: BTreeMap<(u32, bool), BTreeSet<Row>> = BTreeMap::new();
        for lived in self.pairs_by_record(self.watched_until(as_of)) {
            let life = lived.life;
            table.add(life);
            let cell = people.entry((life.exit(), life.outcome() == Outcome::Censored)).or_default();
            cell.extend(self.pairs[lived.row].people);
        }
        let enough = people.values().all(|people| people.len() >= usize::from(k));
        enough.then_some(table)
    }

    pub(crate) fn pairs_by_record(&self, watched: Day) -> Vec<Lived> {
        let mut lives = Vec::new();
        for (row, pair) in (0..).zip(self.pairs.iter()) {
            let Some((_, start)) = pair.start().filter(|(_, start)| *start <= watched && pair.counts())
            else {
                continue;
            };
            let closed_day = pair.end.map(|reason| (self.terms[row].closed_day, reason));
            let (exit, how) = match closed_day.filter(|(day, _)| *day <= watched) {
                None => (watched, Outcome::Censored),
                Some((day, reason)) => {
                    let Some(outcome) = outcome(reason.class()) else { continue };
                    (day, outcome)
                }
            };
            lives.push(Lived { row, start, life: Life::new(days_between(start, exit), how) });
        }
        lives
    }

    /// The day from which each participant was there: enrolment, or the first live session of a pair that
    /// counts if that was earlier, as it is of people who were imported.
    pub(crate) fn there_from(&self) -> impl Iterator<Item = Day> {
        self.profiles.iter().zip(self.activity.people.iter()).map(|(profile, spells)| {
            spells.start().map_or(profile.enrolled_day, |day| day.min(profile.enrolled_day))
        })
    }

    fn participants_by_record(&self, watched: Day) -> Vec<Lived> {
        let mut lives = Vec::new();
        for ((row, profile), start) in (0..).zip(self.profiles.iter()).zip(self.there_from()) {
            if start > watched {
                continue;
            }
            let first = profile
                .stays
                .iter()
                .filter_map(|&(day, state)| match state {
                    ParticipantState::Left => Some((day, Outcome::Ended(Cause(2)))),
                    ParticipantState::Departed => Some((day, Outcome::Ended(Cause(3)))),
                    ParticipantState::Erased => Some((day, Outcome::Censored)),
                    ParticipantState::Enrolled | ParticipantState::OnBreak => None,
                })
                .filter(|(day, _)| *day <= watched)
                .min();
            let (exit, how) = first.unwrap_or((watched, Outcome::Censored));
            lives.push(Lived { row, start, life: Life::new(days_between(start, exit), how) });
        }
        lives
    }

    /// First spells, and how many spells there are in all. Nothing but a pass over what is kept of them if they
    /// are asked for by the policy's lapse and at present.
    fn by_activity(&self, subject: Subject, lapse_days: u16, watched: Day) -> (Vec<Lived>, u64) {
        let kept =
            self.activity.lapse_days == lapse_days && self.latest_day.is_none_or(|latest| latest <= watched);
        let (mut lives, mut count) = (Vec::new(), 0);
        if kept {
            let rows = match subject {
                Subject::Pairs => &self.activity.pairs,
                Subject::Participants => &self.activity.people,
            };
            lives.reserve(rows.len() as usize);
            for (row, spells) in (0..).zip(rows.iter()) {
                count += spells.count();
                let life = spells.life(watched, u32::from(lapse_days));
                lives.extend(life.map(|(start, life)| Lived { row, start, life }));
            }
            return (lives, count);
        }
        self.each_ones_days(subject, watched, |row, days| {
            let spells = spells(days.iter().copied(), u32::from(lapse_days), watched);
            count += spells.len() as u64;
            if let Some(first) = spells.first() {
                let life = first.life(watched, Outcome::Ended(Cause(1)));
                lives.push(Lived { row, start: first.start, life });
            }
        });
        (lives, count)
    }

    /// The spells of all, from every session anew.
    pub(crate) fn activity_by_scan(&self, lapse_days: u16) -> Activity {
        let mut activity = Activity { lapse_days, ..Activity::default() };
        let always = self.latest_day.unwrap_or(Day::from_number(0));
        let lapse = u32::from(lapse_days);
        self.each_ones_days(Subject::Pairs, always, |_, days| {
            activity.pairs.push(Spells::of(days, lapse));
        });
        self.each_ones_days(Subject::Participants, always, |_, days| {
            activity.people.push(Spells::of(days, lapse));
        });
        activity
    }

    /// Hands over each one's days with live sessions up to a day, ascending, in the order of their rows.
    fn each_ones_days(&self, subject: Subject, until: Day, mut each: impl FnMut(Row, &[Day])) {
        // By the number of the pair: whose days its sessions are. Small enough to stay near, unlike the pairs.
        let of_pair: Vec<[Row; 2]> = (0..)
            .zip(self.pairs.iter())
            .map(|(row, pair)| match subject {
                _ if !pair.counts() => [NONE; 2],
                Subject::Pairs => [row, NONE],
                Subject::Participants => pair.people,
            })
            .collect();
        let sessions = || self.sessions.iter().filter(|session| session.is_live() && session.day <= until);
        let whose = |pair: Row| of_pair[pair as usize].into_iter().filter(|row| *row != NONE);
        let rows = match subject {
            Subject::Pairs => self.pairs.len(),
            Subject::Participants => self.participants.len(),
        };
        // Counted first, then put where they belong: sorting all of them together costs twice as much.
        let mut ends = vec![0_usize; rows as usize + 1];
        for session in sessions() {
            for row in whose(session.pair) {
                ends[row as usize + 1] += 1;
            }
        }
        let mut sum = 0;
        for end in &mut ends {
            sum += *end;
            *end = sum;
        }
        // From here on `ends[row]` is where the next day of the row goes, and in the end where its days end.
        let mut days = vec![Day::from_number(0); sum];
        for session in sessions() {
            for row in whose(session.pair) {
                let at = &mut ends[row as usize];
                days[*at] = session.day;
                *at += 1;
            }
        }
        let mut from = 0;
        for (row, &end) in (0..rows).zip(&ends) {
            let of_one = &mut days[from..end];
            from = end;
            of_one.sort_unstable();
            each(row, of_one);
        }
    }

    /// The groups in the order in which they are shown; and how many lives ended before the landmark, if that
    /// is what groups them.
    fn groups(
        &self,
        asked: &Asked,
        policy: Option<&MeasuresFrom>,
        watched: Day,
        lives: &[Lived],
    ) -> (Vec<(String, Group)>, Option<u64>) {
        let days = |start: Day| days_between(start, watched);
        match asked.by {
            None => {
                let mut group = Group::default();
                for lived in lives {
                    group.add(lived.life, days(lived.start));
                }
                (vec![("all".to_owned(), group)], None)
            }
            Some(By::Cohort) => {
                let Some(months) = Months::of(lives) else { return (Vec::new(), None) };
                let mut groups = Vec::new();
                groups.resize_with(months.count(), Group::default);
                for lived in lives {
                    groups[months.place(lived.start)].add(lived.life, days(lived.start));
                }
                let named = (0..).zip(groups).filter(|(_, group)| !group.lives.is_empty());
                (named.map(|(place, group)| (month(months.month(place)), group)).collect(), None)
            }
            Some(By::Generation) => (self.by_generation_of(asked.subject, policy, watched, lives), None),
            Some(By::Arm) => {
                let mut groups = [(Arm::Program, Group::default()), (Arm::Comparison, Group::default())];
                for lived in lives {
                    for (arm, life) in self.in_arms(lived, watched) {
                        for (of, group) in &mut groups {
                            if *of == arm {
                                group.add(life, days(lived.start));
                            }
                        }
                    }
                }
                let name = |arm| match arm {
                    Arm::Program => "program".to_owned(),
                    Arm::Comparison => "comparison".to_owned(),
                };
                let groups = groups.into_iter().filter(|(_, group)| !group.lives.is_empty());
                (groups.map(|(arm, group)| (name(arm), group)).collect(), None)
            }
            Some(By::Reciprocity) => {
                let both_by = self.both_taught_by(watched);
                let (mut two_way, mut one_way, mut before) = (Group::default(), Group::default(), 0);
                for lived in lives {
                    let both = both_by[lived.row as usize];
                    let happened = both.map(|day| days_between(lived.start, day));
                    match landmark(lived.life, asked.landmark_days, happened) {
                        None => before += 1,
                        Some((both, life)) => {
                            let group = if both { &mut two_way } else { &mut one_way };
                            group.add(life, days(lived.start).saturating_sub(asked.landmark_days));
                        }
                    }
                }
                let groups = [("two-way", two_way), ("one-way", one_way)];
                let groups = groups.into_iter().filter(|(_, group)| !group.lives.is_empty());
                (groups.map(|(name, group)| (name.to_owned(), group)).collect(), Some(before))
            }
        }
    }

    fn by_generation_of(
        &self,
        subject: Subject,
        policy: Option<&MeasuresFrom>,
        watched: Day,
        lives: &[Lived],
    ) -> Vec<(String, Group)> {
        let order = self.order_of_generations(policy);
        let place = |generation: u32| {
            order.iter().position(|(known, _)| *known == generation as usize).unwrap_or(order.len())
        };
        // By the number of the person: a pair touches two of them at random.
        let places: Vec<usize> = self.profiles.iter().map(|profile| place(profile.generation)).collect();
        let known = |place: usize| order.get(place).is_some_and(|(_, is_band)| *is_band);
        let mut groups = Vec::new();
        groups.resize_with((order.len() + 1).max(3), Group::default);
        for lived in lives {
            let key = match subject {
                Subject::Participants => places[lived.row as usize],
                Subject::Pairs => {
                    let [a, b] = self.pairs[lived.row].people.map(|person| places[person as usize]);
                    match (known(a) && known(b), a == b) {
                        (true, false) => 0,
                        (true, true) => 1,
                        (false, _) => 2,
                    }
                }
            };
            groups[key].add(lived.life, days_between(lived.start, watched));
        }
        let name = |key: usize| match subject {
            Subject::Pairs => ["cross-generation", "same-generation", "unknown"][key].to_owned(),
            Subject::Participants => {
                let number = order.get(key).map_or(0, |(number, _)| *number);
                self.generations.word(u32::try_from(number).unwrap_or_default()).to_string()
            }
        };
        let groups = (0..).zip(groups).filter(|(_, group)| !group.lives.is_empty());
        groups.map(|(key, group)| (name(key), group)).collect()
    }

    /// A life cut where the arm changed: seen in each arm from and to that day, so that nobody lives in an arm
    /// before being in it (delayed entry).
    fn in_arms(&self, lived: &Lived, watched: Day) -> Vec<(Arm, Life)> {
        let arms = &self.profiles[lived.row].arms;
        let exit = lived.life.exit();
        let (mut pieces, mut entry) = (Vec::new(), 0);
        for (at, &(_, arm)) in arms.iter().enumerate() {
            let next = arms.get(at + 1).map(|(day, _)| *day).filter(|day| *day <= watched);
            let next = next.map(|day| days_between(lived.start, day)).filter(|next| *next < exit);
            let (until, how) = next.map_or((exit, lived.life.outcome()), |next| (next, Outcome::Censored));
            if next.is_none() || until > entry {
                pieces.extend(Life::entering(entry, until, how).map(|life| (arm, life)));
            }
            if next.is_none() {
                break;
            }
            entry = until;
        }
        pieces
    }

    /// By the number of the pair: the day by which both of it had taught, if they had by `watched`.
    pub(crate) fn both_taught_by(&self, watched: Day) -> Vec<Option<Day>> {
        if self.latest_day.is_none_or(|latest| latest <= watched) {
            let both = |[a, b]: [Day; 2]| Some(a.max(b)).filter(|both| *both != NEVER);
            return self.taught_from.iter().copied().map(both).collect();
        }
        self.both_taught_by_scan(watched)
    }

    /// The same from every session anew.
    pub(crate) fn both_taught_by_scan(&self, watched: Day) -> Vec<Option<Day>> {
        let mut firsts: Vec<[Option<Day>; 2]> = vec![[None; 2]; self.pairs.len() as usize];
        for session in self.sessions.iter().filter(|session| session.is_live() && session.day <= watched) {
            for exchange in self.exchanges_of(session).filter(|exchange| exchange.minutes > 0) {
                let first = &mut firsts[session.pair as usize][exchange.teacher() as usize];
                *first = Some(first.map_or(session.day, |day| day.min(session.day)));
            }
        }
        firsts.into_iter().map(|[a, b]| Some(a?.max(b?))).collect()
    }
}

fn month((year, month): (i32, u32)) -> String {
    format!("{year:04}-{month:02}")
}

fn stratum(asked: &Asked, name: String, table: &LifeTable, days: u32, curve: &Curve<'_>) -> Stratum {
    let ends = |estimate: Estimate| (estimate.interval.map(|i| i.lower), estimate.interval.map(|i| i.upper));
    let points = curve.steps().iter().map(|step| {
        let (lower, upper) = ends(step.estimate);
        CurvePoint {
            day: step.day,
            at_risk: step.at_risk,
            events: step.events,
            censored: step.censored,
            survival: step.estimate.survival,
            se: step.estimate.se,
            lower,
            upper,
        }
    });
    let read = |(&day, reading): (&u32, Option<Reading>)| {
        let estimate = reading.map(|reading| reading.estimate);
        let (lower, upper) = estimate.map_or((None, None), ends);
        Point {
            day,
            at_risk: reading.map(|reading| reading.at_risk),
            survival: estimate.map(|estimate| estimate.survival),
            se: estimate.and_then(|estimate| estimate.se),
            lower,
            upper,
        }
    };
    let causes = |(_, cause, class): &(EndClass, Cause, &'static str)| {
        let curve = Incidences::of(table, *cause).watched_for(days);
        let at = asked.at.iter().map(|&day| {
            let incidence = curve.at(day);
            CausePoint { day, incidence: incidence.map(|at| at.incidence), se: incidence.map(|at| at.se) }
        });
        CauseCurve { class, at: at.collect() }
    };
    let mean = curve.restricted_mean(asked.tau);
    let (lower, upper) = curve.median_interval();
    Stratum {
        name,
        n: table.lives(),
        events: table.events(),
        curve: points.collect(),
        at: asked.at.iter().zip(curve.at(&asked.at)).map(read).collect(),
        median: curve.median(),
        median_interval: MedianInterval { lower, upper },
        rmst: Restricted { tau: asked.tau, value: mean.map(|mean| mean.value), se: mean.map(|mean| mean.se) },
        causes: match asked.basis {
            Basis::Record => CLASSES.iter().map(causes).collect(),
            Basis::Activity => Vec::new(),
        },
    }
}

/// The months in which lives started, counted from 0, by day: so that a life costs no calendar.
struct Months {
    first_day: Day,
    /// By the number of days since the first.
    places: Vec<u32>,
    /// The first month, in months since the year 0.
    first: i64,
}

impl Months {
    /// `None` of no lives.
    fn of(lives: &[Lived]) -> Option<Self> {
        let starts = || lives.iter().map(|lived| lived.start);
        let (first_day, last_day) = (starts().min()?, starts().max()?);
        let number = |day: Day| {
            let (year, month, _) = day.civil();
            i64::from(year) * 12 + i64::from(month) - 1
        };
        let first = number(first_day);
        let days = (first_day.number()..=last_day.number()).map(Day::from_number);
        let places = days.map(|day| u32::try_from(number(day) - first).unwrap_or_default()).collect();
        Some(Self { first_day, places, first })
    }

    fn count(&self) -> usize {
        self.places.last().map_or(0, |last| *last as usize + 1)
    }

    /// The place of the month of a day on which one of the lives started.
    fn place(&self, day: Day) -> usize {
        self.places[days_between(self.first_day, day) as usize] as usize
    }

    /// Year and month 1-12 of a place; the one after the last is the month after it.
    fn month(&self, place: usize) -> (i32, u32) {
        let number = self.first + i64::try_from(place).unwrap_or_default();
        let of_year = u32::try_from(number.rem_euclid(12)).unwrap_or_default() + 1;
        (i32::try_from(number.div_euclid(12)).unwrap_or_default(), of_year)
    }
}

/// The table of cohorts by the month of the start.
fn cohorts(lives: &[Lived], at: &[u32], watched: Day) -> Vec<Cohort> {
    let Some(places) = Months::of(lives) else { return Vec::new() };
    let mut months = vec![0_u64; places.count()];
    let mut cells = vec![Ratio::default(); months.len() * at.len()];
    for lived in lives {
        let month = places.place(lived.start);
        months[month] += 1;
        let come = days_between(lived.start, watched);
        let (exit, ended) = (lived.life.exit(), lived.life.outcome() != Outcome::Censored);
        for (&day, cell) in at.iter().zip(&mut cells[month * at.len()..]) {
            if day <= come && (ended || exit >= day) {
                cell.denominator += 1;
                cell.numerator += u64::from(!(ended && exit <= day));
            }
        }
    }
    (0..)
        .zip(months)
        .filter(|(_, n)| *n > 0)
        .map(|(place, n): (usize, _)| {
            let over = first_of(places.month(place + 1)).map(|next| next.plus_days(-1));
            let cells = at.iter().zip(&cells[place * at.len()..]).map(|(&day, &retained)| CohortCell {
                day,
                retained: retained.into(),
                mature: over
                    .is_some_and(|over| over.plus_days(i32::try_from(day).unwrap_or(i32::MAX)) <= watched),
            });
            Cohort { cohort: month(places.month(place)), n, at: cells.collect() }
        })
        .collect()
}

fn first_of((year, month): (i32, u32)) -> Option<Day> {
    format!("{year:04}-{month:02}-01").parse().ok()
}
