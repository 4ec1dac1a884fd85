//! What a program manager acts on: who stalls, who waits, what lacks confirmation, what nobody teaches.
//! Never says what somebody is worth: lists are by how long something has waited.

use std::collections::BTreeMap;
use std::sync::Arc;

use mentorlog_events::event::{EndClass, EndReason};
use mentorlog_events::id::{PairId, ParticipantId, SessionId};
use mentorlog_events::time::Day;
use serde::Serialize;

use crate::counting::{Side, Turn};
use crate::pairs::{Pair, PairCounts, PairState, Terms};
use crate::participants::ParticipantCounts;
use crate::program::MeasuresFrom;
use crate::read_models::{NEVER, ReadModels};
use crate::reciprocity::{Figure, SkillFlow};
use crate::rows::Row;
use crate::statistics::ratio::Ratio;
use crate::statistics::spells::days_between;

/// The first of many, with how many there are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Longest<T> {
    /// How many there are in all.
    pub count: u64,
    /// Those that have waited longest.
    pub items: Vec<T>,
}

impl<T> Longest<T> {
    /// Orders by the day since when, then by the row, and shows the first.
    fn of(mut since: Vec<(Day, Row)>, limit: usize, show: impl Fn(Day, Row) -> T) -> Self {
        let count = since.len() as u64;
        if limit < since.len() {
            // Only what is shown needs an order.
            since.select_nth_unstable(limit);
            since.truncate(limit);
        }
        since.sort_unstable();
        Self { count, items: since.into_iter().map(|(day, row)| show(day, row)).collect() }
    }
}

/// Sessions that wait for something, by day.
#[derive(Debug, Clone, Default)]
pub(crate) struct Backlog {
    // Ascending rows. New sessions have the greatest, so that they are put last.
    days: BTreeMap<Day, Arc<Vec<Row>>>,
}

impl Backlog {
    /// Adds a session or takes it away.
    pub(crate) fn count(&mut self, day: Day, session: Row, turn: Turn) {
        let rows = Arc::make_mut(self.days.entry(day).or_default());
        match (turn, rows.binary_search(&session)) {
            (Turn::In, Err(place)) => rows.insert(place, session),
            (Turn::Out, Ok(place)) => drop(rows.remove(place)),
            (Turn::In, Ok(_)) | (Turn::Out, Err(_)) => {}
        }
        if rows.is_empty() {
            self.days.remove(&day);
        }
    }

    pub(crate) fn len(&self) -> u64 {
        self.days.values().map(|rows| rows.len() as u64).sum()
    }

    /// Those of a day or a later one, by day, then by row.
    fn since(&self, day: Day) -> impl Iterator<Item = (Day, Row)> {
        self.days.range(day..).flat_map(|(&day, rows)| rows.iter().map(move |&row| (day, row)))
    }

    /// By day, then by row.
    pub(crate) fn iter(&self) -> impl DoubleEndedIterator<Item = (Day, Row)> {
        self.days.iter().flat_map(|(&day, rows)| rows.iter().map(move |&row| (day, row)))
    }
}

/// Proposals that count, by what became of them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Funneled {
    states: PairCounts,
    started: u64,
    /// Started and had a live session.
    pub(crate) met: u64,
}

impl Funneled {
    /// Adds a proposal, or takes it away.
    pub(crate) fn count(&mut self, (state, started): (PairState, bool), turn: Turn) {
        turn.step(self.states.of(state), 1);
        turn.step(&mut self.started, u64::from(started));
    }
}

/// Pairs that started, by the last day of their term: those that ended early, among all that say something.
#[derive(Debug, Clone, Default)]
pub(crate) struct Matured {
    terms: BTreeMap<Day, Ratio>,
}

impl Matured {
    /// The last day of a pair's term and whether it ended early; `None` if it says nothing.
    pub(crate) fn place(pair: &Pair, terms: &Terms) -> Option<(Day, bool)> {
        let term = terms.term_ends_day.filter(|_| pair.started)?;
        let before = terms.closed_day < term;
        match pair.end.filter(|_| before).map(EndReason::class) {
            Some(EndClass::EarlyVoluntary | EndClass::EarlyExternal) => Some((term, true)),
            None | Some(EndClass::Planned) => pair.counts().then_some((term, false)),
            Some(EndClass::Administrative | EndClass::EnteredInError) => None,
        }
    }

    /// Adds a pair, or takes it away.
    pub(crate) fn count(&mut self, term: Day, early: bool, turn: Turn) {
        let ratio = self.terms.entry(term).or_default();
        turn.step(&mut ratio.denominator, 1);
        turn.step(&mut ratio.numerator, u64::from(early));
        if ratio.denominator == 0 {
            self.terms.remove(&term);
        }
    }

    /// Of pairs whose term is over by the close of a day.
    fn by(&self, day: Day) -> Ratio {
        self.terms.range(..=day).fold(Ratio::default(), |mut sum, (_, ratio)| {
            sum.numerator += ratio.numerator;
            sum.denominator += ratio.denominator;
            sum
        })
    }
}

/// An active pair that has not met for longer than the policy allows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Stalled {
    /// The pair.
    pub pair: PairId,
    /// One of the two.
    pub a: ParticipantId,
    /// The other.
    pub b: ParticipantId,
    /// Day of its latest live session, start or resumption.
    pub idle_since: Day,
    /// Days since then.
    pub days: u32,
    /// Its live sessions.
    pub sessions: u32,
}

/// A proposal that waits for answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Unanswered {
    /// The pair.
    pub pair: PairId,
    /// Who has not answered.
    pub waits_for: Vec<ParticipantId>,
    /// When it was proposed.
    pub proposed_day: Day,
    /// Days since then.
    pub days: u32,
    /// The last day on which it can be accepted.
    pub expires_day: Day,
    /// That day is over, and it is not recorded as expired yet.
    pub overdue: bool,
}

/// A session that nobody has confirmed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Unconfirmed {
    /// The session.
    pub session: SessionId,
    /// Its pair.
    pub pair: PairId,
    /// Its civil day.
    pub day: Day,
    /// Days since then.
    pub days: u32,
}

/// What became of proposals. Imported pairs were never proposed; pairs entered in error are left out.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, utoipa::ToSchema)]
pub struct Funnel {
    /// Proposed.
    pub proposed: u64,
    /// Wait for answers.
    pub waiting: u64,
    /// Became active.
    pub activated: u64,
    /// Of these, had a live session.
    pub met: u64,
    /// A party said no.
    pub declined: u64,
    /// Were taken back.
    pub withdrawn: u64,
    /// Waited too long.
    pub expired: u64,
    /// Fell to something else that happened.
    pub invalidated: u64,
    /// Those that became active, among those that no longer wait.
    pub acceptance: Figure,
}

/// Pairs that are open.
#[derive(Debug, Clone, PartialEq, Serialize, utoipa::ToSchema)]
pub struct OpenPairs {
    /// Meet.
    pub active: u64,
    /// Pause.
    pub paused: u64,
    /// Active ones that have not met for longer than `stall_after_days`.
    pub stalled: Longest<Stalled>,
    /// Those among the active ones.
    pub stalled_share: Figure,
    /// Pairs that ended early (voluntarily or for reasons from outside) before their agreed term was over, among
    /// those whose term is over; ends that say nothing about the pair are left out, and so are pairs without a
    /// term.
    pub early_closure: Figure,
}

/// Proposals.
#[derive(Debug, Clone, PartialEq, Serialize, utoipa::ToSchema)]
pub struct Proposals {
    /// Those that wait.
    pub unanswered: Longest<Unanswered>,
    /// What became of all.
    pub funnel: Funnel,
}

/// Confirmation of sessions.
#[derive(Debug, Clone, PartialEq, Serialize, utoipa::ToSchema)]
#[schema(as = ConfirmationHealth)]
pub struct Confirmation {
    /// Live sessions, not imported, that nobody has confirmed.
    pub backlog: Longest<Unconfirmed>,
    /// Sessions in dispute.
    pub disputed: u64,
    /// Confirmed sessions among live ones.
    pub ratio: Figure,
}

/// People.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct People {
    /// Take part in the program.
    pub enrolled: u64,
    /// Take part, but take no new proposals.
    pub on_break: u64,
    /// Enrolled ones without a pair, open or proposed.
    pub unpaired: u64,
}

/// One page of numbers to act on.
#[derive(Debug, Clone, PartialEq, Serialize, utoipa::ToSchema)]
pub struct Health {
    /// The close of this day.
    pub as_of: Day,
    /// The policy in force on it; `None` of an empty ledger.
    pub measure_policy: Option<MeasuresFrom>,
    /// The people of the program arm.
    pub participants: People,
    /// The pairs.
    pub pairs: OpenPairs,
    /// The proposals.
    pub proposals: Proposals,
    /// The confirmation of sessions.
    pub confirmation: Confirmation,
    /// Supply and demand per skill, the widest gap first.
    pub skills: Vec<SkillFlow>,
}

impl ReadModels {
    /// One page of numbers to act on, as things stand at the close of `as_of`: the day of the last entry or a
    /// later one, for where things stood before is not kept. Each list shows at most `limit`.
    ///
    /// Costs a pass over the people, and over a day of each pair.
    pub fn health(&self, as_of: Day, limit: usize) -> Health {
        let policy = self.measures_on(as_of);
        let people = self.people();
        let mut skills = self.skill_flows_at_present();
        skills.sort_by(|one, other| {
            other.supply_gap.cmp(&one.supply_gap).then_with(|| one.skill.cmp(&other.skill))
        });
        Health {
            as_of,
            measure_policy: policy.cloned(),
            participants: people,
            pairs: self.open_pairs(as_of, policy.map_or(0, |from| from.measures.stall_after_days), limit),
            proposals: self.proposals(as_of, limit),
            confirmation: self.unconfirmed(as_of, limit),
            skills,
        }
    }

    fn people(&self) -> People {
        let ParticipantCounts { enrolled, on_break, .. } = self.totals.taking_part;
        let unpaired = self.profiles.iter().filter(|profile| profile.is_unpaired()).count() as u64;
        People { enrolled, on_break, unpaired }
    }

    fn ids(&self, pair: &Pair) -> [ParticipantId; 2] {
        pair.people.map(|person| self.participants[person].id)
    }

    fn open_pairs(&self, as_of: Day, stall_after_days: u16, limit: usize) -> OpenPairs {
        let PairCounts { active, paused, .. } = self.totals.pairs;
        let heard = as_of.plus_days(-i32::from(stall_after_days));
        let stalled = (0..).zip(self.idle_of.iter().copied()).map(|(row, day)| (day, row));
        let stalled: Vec<(Day, Row)> = stalled.filter(|&(day, _)| day != NEVER && day < heard).collect();
        let early = self.matured.by(as_of);
        let stalled_share = Ratio::new(stalled.len() as u64, active).into();
        let show = |idle_since, row: Row| {
            let pair = &self.pairs[row];
            let [a, b] = self.ids(pair);
            let days = days_between(idle_since, as_of);
            Stalled { pair: pair.id, a, b, idle_since, days, sessions: pair.sessions.live }
        };
        let stalled = Longest::of(stalled, limit, show);
        OpenPairs { active, paused, stalled, stalled_share, early_closure: early.into() }
    }

    fn proposals(&self, as_of: Day, limit: usize) -> Proposals {
        let Funneled { states, started: activated, met } = self.funneled;
        let proposed: u64 = PairState::ALL.into_iter().map(|state| *states.clone().of(state)).sum();
        let funnel = Funnel {
            proposed,
            waiting: states.proposed,
            activated,
            met,
            declined: states.declined,
            withdrawn: states.withdrawn,
            expired: states.expired,
            invalidated: states.invalidated,
            acceptance: Ratio::new(activated, proposed - states.proposed).into(),
        };
        let waiting = self.waiting.iter().map(|&(_, row)| (self.terms[row].proposed_day, row)).collect();
        let show = |proposed_day, row: Row| {
            let (pair, ids) = (&self.pairs[row], self.ids(&self.pairs[row]));
            let expires_day = self.terms[row].expires_day;
            let open = [Side::A, Side::B].into_iter().filter(|side| !pair.accepted[*side as usize]);
            Unanswered {
                pair: pair.id,
                waits_for: open.map(|side| ids[side as usize]).collect(),
                proposed_day,
                days: days_between(proposed_day, as_of),
                expires_day,
                overdue: expires_day < as_of,
            }
        };
        Proposals { unanswered: Longest::of(waiting, limit, show), funnel }
    }

    /// Sessions that wait for confirmation and were held on a day or a later one, oldest first: what people still
    /// remember. Costs a step for each.
    pub fn unconfirmed_since(&self, day: Day, as_of: Day, limit: usize) -> Longest<Unconfirmed> {
        let recent = || self.backlog.since(day);
        let items = recent().take(limit).map(|(day, row)| self.unconfirmed_one(day, row, as_of)).collect();
        Longest { count: recent().count() as u64, items }
    }

    fn unconfirmed_one(&self, day: Day, row: Row, as_of: Day) -> Unconfirmed {
        let session = &self.sessions[row];
        let pair = self.pairs[session.pair].id;
        Unconfirmed { session: session.id, pair, day, days: days_between(day, as_of) }
    }

    fn unconfirmed(&self, as_of: Day, limit: usize) -> Confirmation {
        let show = |(day, row)| self.unconfirmed_one(day, row, as_of);
        let items = self.backlog.iter().take(limit).map(show).collect();
        Confirmation {
            backlog: Longest { count: self.backlog.len(), items },
            disputed: self.totals.sessions.disputed,
            ratio: self.confirmation(as_of).into(),
        }
    }
}
