//! What a program manager acts on: who stalls, who waits, what lacks confirmation, what nobody teaches.
//! Never says what somebody is worth: lists are by how long something has waited.

use mentorlog_events::event::{Arm, EndClass};
use mentorlog_events::id::{PairId, ParticipantId, SessionId};
use mentorlog_events::time::Day;
use serde::Serialize;

use crate::counting::Side;
use crate::exchanges::SessionState;
use crate::pairs::{Pair, PairState};
use crate::participants::ParticipantState;
use crate::program::MeasuresFrom;
use crate::read_models::ReadModels;
use crate::reciprocity::{Figure, SkillFlow};
use crate::rows::Row;
use crate::statistics::ratio::Ratio;
use crate::statistics::spells::days_between;

/// The first of many, with how many there are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Longest<T> {
    /// How many there are in all.
    pub count: u64,
    /// Those that have waited longest.
    pub items: Vec<T>,
}

impl<T> Longest<T> {
    /// Orders by the day since when, then by the row, and shows the first.
    fn of<R: Ord>(mut since: Vec<(Day, R)>, limit: usize, show: impl Fn(Day, R) -> T) -> Self {
        since.sort_unstable();
        let count = since.len() as u64;
        Self { count, items: since.into_iter().take(limit).map(|(day, row)| show(day, row)).collect() }
    }
}

/// An active pair that has not met for longer than the policy allows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
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
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
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
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
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
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
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
#[derive(Debug, Clone, PartialEq, Serialize)]
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
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Proposals {
    /// Those that wait.
    pub unanswered: Longest<Unanswered>,
    /// What became of all.
    pub funnel: Funnel,
}

/// Confirmation of sessions.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Confirmation {
    /// Live sessions, not imported, that nobody has confirmed.
    pub backlog: Longest<Unconfirmed>,
    /// Sessions in dispute.
    pub disputed: u64,
    /// Confirmed sessions among live ones.
    pub ratio: Figure,
}

/// People.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct People {
    /// Take part in the program.
    pub enrolled: u64,
    /// Take part, but take no new proposals.
    pub on_break: u64,
    /// Enrolled ones without a pair, open or proposed.
    pub unpaired: u64,
}

/// One page of numbers to act on.
#[derive(Debug, Clone, PartialEq, Serialize)]
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
    /// Costs a pass over pairs, people and sessions.
    pub fn health(&self, as_of: Day, limit: usize) -> Health {
        let policy = self.measures_on(as_of);
        let people = self.people();
        let mut skills = self.skill_flows(&self.lessons);
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
        let mut people = People { enrolled: 0, on_break: 0, unpaired: 0 };
        for profile in self.profiles.iter().filter(|profile| profile.arm == Arm::Program) {
            match profile.state() {
                ParticipantState::Enrolled => {
                    people.enrolled += 1;
                    people.unpaired += u64::from(profile.pairs.open + profile.pairs.proposed == 0);
                }
                ParticipantState::OnBreak => people.on_break += 1,
                ParticipantState::Left | ParticipantState::Departed | ParticipantState::Erased => {}
            }
        }
        people
    }

    fn ids(&self, pair: &Pair) -> [ParticipantId; 2] {
        pair.people.map(|person| self.participants[person].id)
    }

    fn open_pairs(&self, as_of: Day, stall_after_days: u16, limit: usize) -> OpenPairs {
        let (mut active, mut paused, mut stalled) = (0, 0, Vec::new());
        let mut early = Ratio::default();
        for (row, pair) in (0..).zip(self.pairs.iter()) {
            active += u64::from(pair.state == PairState::Active);
            paused += u64::from(pair.state == PairState::Paused);
            if let Some(day) = pair.idle_since()
                && day.plus_days(i32::from(stall_after_days)) < as_of
            {
                stalled.push((day, row));
            }
            let Some(term) = self.terms[row].term_ends_day.filter(|term| *term <= as_of && pair.started)
            else {
                continue;
            };
            let before = self.terms[row].closed_day < term;
            match pair.end.filter(|_| before).map(mentorlog_events::event::EndReason::class) {
                Some(EndClass::EarlyVoluntary | EndClass::EarlyExternal) => {
                    early.numerator += 1;
                    early.denominator += 1;
                }
                None | Some(EndClass::Planned) => early.denominator += u64::from(pair.counts()),
                Some(EndClass::Administrative | EndClass::EnteredInError) => {}
            }
        }
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
        let counts = |pair: &&Pair| !pair.imported && pair.counts();
        let pairs = || self.pairs.iter().filter(counts);
        let in_state = |state| pairs().filter(|pair| pair.state == state).count() as u64;
        let proposed = pairs().count() as u64;
        let waiting = in_state(PairState::Proposed);
        let activated = pairs().filter(|pair| pair.started).count() as u64;
        let funnel = Funnel {
            proposed,
            waiting,
            activated,
            met: pairs().filter(|pair| pair.started && pair.sessions.live > 0).count() as u64,
            declined: in_state(PairState::Declined),
            withdrawn: in_state(PairState::Withdrawn),
            expired: in_state(PairState::Expired),
            invalidated: in_state(PairState::Invalidated),
            acceptance: Ratio::new(activated, proposed - waiting).into(),
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

    fn unconfirmed(&self, as_of: Day, limit: usize) -> Confirmation {
        let mut disputed = 0;
        let mut backlog: Vec<(Day, Row)> = Vec::new();
        for (row, session) in (0..).zip(self.sessions.iter()) {
            match session.state() {
                SessionState::Logged => {
                    if !session.is_imported() && self.pairs[session.pair].counts() {
                        backlog.push((session.day, row));
                    }
                }
                SessionState::Disputed => disputed += 1,
                SessionState::Confirmed | SessionState::Voided => {}
            }
        }
        let show = |day, row: Row| {
            let session = &self.sessions[row];
            let pair = self.pairs[session.pair].id;
            Unconfirmed { session: session.id, pair, day, days: days_between(day, as_of) }
        };
        let backlog = Longest::of(backlog, limit, show);
        Confirmation { backlog, disputed, ratio: self.confirmation(as_of).into() }
    }
}
