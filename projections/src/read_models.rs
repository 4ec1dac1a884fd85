//! The read models of one program: every event folded into rows and counts.
//! Never refuses an event: what the rules let into the ledger is what happened.
//!
//! An event that refers to something unknown cannot occur, since the service refuses such a ledger before it
//! gets here; folded all the same, it changes nothing but the size.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use mentorlog_events::entry::{Actor, Entry, Principal};
use mentorlog_events::event::{self, Absent, Arm, Event, PersonalField};
use mentorlog_events::id::{PairId, ParticipantId, Slug};
use mentorlog_events::time::{Day, Timestamp};
use uuid::Uuid;

use crate::activity::{Activity, Spells};
use crate::counting::{Side, Turn};
use crate::exchanges::{Condition, Confirmed, Exchange, Session, SessionState, Teller, Told};
use crate::goals::{Goal, GoalCounts, GoalState, NoShow, Round};
use crate::health::{Backlog, Funneled, Matured};
use crate::outsiders::Weeks;
use crate::pairs::{InRound, Pair, PairSessions, PairState, Terms};
use crate::participants::{OwnPairs, Participant, ParticipantState, Profile};
use crate::program::{MeasuresFrom, Program, ProgramState, Totals};
use crate::reciprocation::Onset;
use crate::reciprocity::Lessons;
use crate::rows::{NONE, Row, Rows, Table};
use crate::skills::{Listing, Skill, Words};
use crate::statistics::ratio::Ratio;
use crate::statistics::spells::days_between;
use crate::timeline::{Chain, Postings, Seq};

mod json;
mod reads;
#[cfg(test)]
mod tests;
mod worth;

pub use reads::{Page, PairFilter, SessionFilter};
use worth::Worth;
pub use worth::WorthOfTeaching;

/// Everything a program's ledger adds up to at one size.
///
/// About 100 MB for 1,000,000 sessions of 100,000 pairs among 20,000 people. A program of more than 2^32 - 1
/// entries does not fit: positions are held in 32 bits.
///
/// A clone is a moment held still: it shares what is large with the original and costs well below a millisecond.
/// While it lives, what is folded into the original copies the blocks it changes, each once.
#[derive(Debug, Clone, Default)]
pub struct ReadModels {
    pub(crate) size: u64,
    pub(crate) recorded_at: Option<Timestamp>,
    pub(crate) program: Option<Program>,
    pub(crate) totals: Totals,
    pub(crate) participants: Table<Participant>,
    /// By the number of the participant.
    pub(crate) profiles: Rows<Profile>,
    pub(crate) pairs: Table<Pair>,
    /// By the number of the pair.
    pub(crate) terms: Rows<Terms>,
    pub(crate) sessions: Table<Session>,
    /// Of every version ever told of a session; the row says where its own begin.
    pub(crate) exchanges: Rows<Exchange>,
    pub(crate) goals: Table<Goal>,
    pub(crate) rounds: Table<Round>,
    pub(crate) no_shows: Rows<NoShow>,
    /// Who blocks whom.
    pub(crate) blocks: BTreeSet<(Row, Row)>,
    pub(crate) generations: Words<Slug>,
    pub(crate) units: Words<Slug>,
    pub(crate) skills: Words<Slug>,
    /// By the number of the word.
    pub(crate) skill_counts: Vec<Skill>,
    pub(crate) principals: Words<Principal>,
    pub(crate) postings: Postings,
    /// Proposals that wait, by when they can no longer be accepted.
    pub(crate) waiting: BTreeSet<(Timestamp, Row)>,
    /// Active pairs by the day from which they are idle: how many are stalled on a day is a sum over few days.
    pub(crate) idle: BTreeMap<Day, u64>,
    /// By the number of the pair: that day; [`NEVER`] unless active.
    pub(crate) idle_of: Rows<Day>,
    /// What became of proposals.
    pub(crate) funneled: Funneled,
    /// Pairs by the end of their term.
    pub(crate) matured: Matured,
    /// Sessions that wait for confirmation.
    pub(crate) backlog: Backlog,
    /// Sessions in dispute.
    pub(crate) disputes: Backlog,
    /// Confirmed sessions among live ones, of pairs that count.
    pub(crate) confirmed: Ratio,
    /// Spells of sessions.
    pub(crate) activity: Activity,
    /// By the number of the pair: the first day on which A taught for a minute and on which B did; [`NEVER`] if
    /// they have not.
    pub(crate) taught_from: Rows<[Day; 2]>,
    /// By the number of the pair: the first pair of the same two people, which may be itself.
    pub(crate) first_of_two: Rows<Row>,
    firsts: Arc<HashMap<(Row, Row), Row>>,
    /// By the number of the pair: what A taught B and B taught A was worth, in quarter-minutes, in live sessions.
    pub(crate) values: Rows<[u64; 2]>,
    /// By the number of the participant: what those who learned from them were told it was worth.
    worth: Rows<Worth>,
    /// By the number of the first pair of two people: whether A, and whether B, ever rated what the other taught.
    has_rated: Rows<[bool; 2]>,
    /// Live sessions of pairs that count.
    pub(crate) lessons: Lessons,
    /// No session was ever told of a later day.
    pub(crate) latest_day: Option<Day>,
    pub(crate) weeks: Weeks,
}

/// A day that does not come.
pub(crate) const NEVER: Day = Day::from_number(i32::MAX);

/// Where and when an event stands.
#[derive(Debug, Clone, Copy)]
struct At {
    seq: Seq,
    time: Timestamp,
    day: Day,
}

impl ReadModels {
    /// The read models of an empty ledger.
    pub fn new() -> Self {
        Self::default()
    }

    /// The read models of an empty ledger, for who asks for figures only: no week is closed, and none can be asked
    /// for. Closing the weeks of some years takes longer than folding their entries.
    pub fn without_weeks() -> Self {
        Self { weeks: Weeks::never_closed(), ..Self::default() }
    }

    /// Entries applied: the size of the ledger these read models are of.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Folds the next entry of the ledger. Entries come in order, each once.
    pub fn apply(&mut self, entry: &Entry<Event>) {
        self.close_weeks_before(entry.day);
        let seq = Seq::try_from(entry.seq).unwrap_or(Seq::MAX);
        let at = At { seq, time: entry.recorded_at, day: entry.day };
        // `None` is an event that refers to something unknown.
        let _known: Option<()> = self.fold(entry, at);
        self.size = entry.seq.saturating_add(1);
        self.recorded_at = Some(entry.recorded_at);
    }

    fn fold(&mut self, entry: &Entry<Event>, at: At) -> Option<()> {
        match &entry.event {
            Event::ProgramOpened(fact) => self.open(fact, at),
            Event::PolicyChanged(fact) => {
                let program = self.program_named(at)?;
                if let Some(rules) = &fact.rules {
                    program.rules = rules.clone();
                }
                if let Some(measures) = &fact.measures {
                    let measures = measures.clone();
                    program.measures.push(MeasuresFrom { seq: entry.seq, day: at.day, measures });
                }
                self.follow_lapse();
            }
            Event::ProgramClosed(event::ProgramClosed {}) => {
                let program = self.program_named(at)?;
                (program.state, program.since) = (ProgramState::Closed, at.day);
            }
            Event::ProgramArchived(event::ProgramArchived {}) => {
                let program = self.program_named(at)?;
                (program.state, program.since) = (ProgramState::Archived, at.day);
            }
            Event::SkillDefined(fact) => {
                self.program_named(at)?;
                let skill = self.skill(&fact.skill);
                self.skill_counts[skill as usize].listing = Listing::Defined;
            }
            Event::SkillRetired(fact) => {
                self.program_named(at)?;
                let skill = self.skill(&fact.skill);
                self.skill_counts[skill as usize].listing = Listing::Retired;
            }

            Event::ParticipantEnrolled(fact) => self.enrol(fact, at)?,
            Event::ParticipantCorrected(fact) => {
                let person = self.person(fact.participant, at)?;
                let generation = self.generation(&fact.generation);
                let unit = fact.unit.as_ref().map(|unit| self.units.number(unit));
                let row = &mut self.profiles[person];
                self.totals.generations[row.generation as usize] -= 1;
                (row.generation, row.unit) = (generation, unit);
                self.totals.generations[generation as usize] += 1;
            }
            Event::ArmChanged(fact) => {
                let person = self.person(fact.participant, at)?;
                self.change_person(person, |profile| {
                    profile.arm = fact.arm;
                    profile.arms.push((at.day, fact.arm));
                });
            }
            Event::SkillsUpdated(fact) => {
                let person = self.person(fact.participant, at)?;
                let offered = fact.offered.iter().map(|skill| self.skill(skill)).collect();
                let sought = fact.sought.iter().map(|skill| self.skill(skill)).collect();
                self.seek_and_offer(person, Turn::Out);
                let row = &mut self.profiles[person];
                (row.offered, row.sought) = (offered, sought);
                self.seek_and_offer(person, Turn::In);
            }
            Event::CapacitySet(fact) => {
                let person = self.person(fact.participant, at)?;
                self.profiles[person].capacity = fact.capacity;
            }
            Event::BreakTaken(fact) => {
                let person = self.person(fact.participant, at)?;
                self.stand(person, ParticipantState::OnBreak, at.day);
            }
            Event::BreakEnded(fact) => {
                let person = self.person(fact.participant, at)?;
                self.stand(person, ParticipantState::Enrolled, at.day);
            }
            Event::ParticipantLeft(fact) => {
                let person = self.person(fact.participant, at)?;
                self.stand(person, ParticipantState::Left, fact.day);
            }
            Event::ParticipantDeparted(fact) => {
                let person = self.person(fact.participant, at)?;
                self.stand(person, ParticipantState::Departed, fact.day);
                self.profiles[person].departure = Some(fact.reason);
            }
            Event::ParticipantReturned(fact) => {
                let person = self.person(fact.participant, at)?;
                self.stand(person, ParticipantState::Enrolled, at.day);
            }
            Event::PairingBlocked(fact) => {
                let other = self.person_concerned(fact.other, at)?;
                let person = self.person(fact.participant, at)?;
                self.blocks.insert((person, other));
            }
            Event::PairingUnblocked(fact) => {
                let other = self.person_concerned(fact.other, at)?;
                let person = self.person(fact.participant, at)?;
                self.blocks.remove(&(person, other));
            }
            Event::PersonalSet(fact) => {
                let person = self.person(fact.participant, at)?;
                for (bit, field) in PersonalField::ALL.iter().enumerate() {
                    if fact.fields.contains(field) {
                        self.profiles[person].personal |= 1 << bit;
                    } else if fact.removed.contains(field) {
                        self.profiles[person].personal &= !(1 << bit);
                    }
                }
            }
            Event::PersonErased(fact) => {
                let person = self.person(fact.participant, at)?;
                self.change_person(person, |row| {
                    (row.erased, row.since, row.personal) = (true, at.day, 0);
                    row.stays.push((at.day, ParticipantState::Erased));
                });
            }

            Event::RoundProposed(fact) => {
                let (proposed, refused) = (fact.proposed, fact.refused);
                let (recorded_at, day) = (at.time, at.day);
                let mut events = Chain::default();
                self.postings.add(&mut events, at.seq);
                let version = at.seq;
                self.rounds.push(Round {
                    id: fact.round,
                    proposed,
                    refused,
                    recorded_at,
                    day,
                    version,
                    events,
                })?;
                self.totals.rounds.rounds += 1;
                self.totals.rounds.proposed += u64::from(proposed);
                self.totals.rounds.refused += u64::from(refused);
            }
            Event::RoundPairRefused(fact) => {
                let round = self.rounds.find(fact.round.0)?;
                self.postings.add(&mut self.rounds[round].events, at.seq);
                self.person_concerned(fact.a, at)?;
                self.person_concerned(fact.b, at)?;
            }
            Event::PairProposed(fact) => self.propose(fact, at)?,
            Event::PairAccepted(fact) => {
                let pair = self.pair_named(fact.pair, at)?;
                let side = self.side(pair, fact.participant)?;
                self.pairs[pair].accepted[side as usize] = true;
            }
            Event::PairActivated(fact) => {
                let pair = self.pair_named(fact.pair, at)?;
                self.change_pair(pair, |pair, terms| {
                    pair.state = PairState::Active;
                    pair.started = true;
                    (pair.started_at, pair.started_day) = (at.time, at.day);
                    pair.earliest_start = at.time;
                    pair.idle_from = at.day;
                    terms.term_ends_day = Some(fact.term_ends_day);
                });
            }
            Event::PairDeclined(fact) => self.close_proposal(fact.pair, PairState::Declined, at)?,
            Event::ProposalWithdrawn(fact) => self.close_proposal(fact.pair, PairState::Withdrawn, at)?,
            Event::ProposalExpired(fact) => self.close_proposal(fact.pair, PairState::Expired, at)?,
            Event::ProposalInvalidated(fact) => {
                self.close_proposal(fact.pair, PairState::Invalidated, at)?;
                let pair = self.pairs.find(fact.pair.0)?;
                self.pairs[pair].invalidation = Some(fact.cause);
            }
            Event::PairImported(fact) => self.import_pair(fact, at)?,
            Event::PairPaused(fact) => {
                let pair = self.pair_named(fact.pair, at)?;
                self.change_pair(pair, |pair, _| pair.state = PairState::Paused);
            }
            Event::PairResumed(fact) => {
                let pair = self.pair_named(fact.pair, at)?;
                self.change_pair(pair, |pair, _| {
                    pair.state = PairState::Active;
                    // A pair that just resumed is not stalled for the time it paused.
                    pair.idle_from = at.day;
                });
            }
            Event::PairExtended(fact) => {
                let pair = self.pair_named(fact.pair, at)?;
                self.change_pair(pair, |_, terms| terms.term_ends_day = Some(fact.term_ends_day));
            }
            Event::PairEnded(fact) => {
                let pair = self.pair_named(fact.pair, at)?;
                let (counted, before) = (self.pairs[pair].counts(), self.pairs[pair].end);
                if let Some(before) = before {
                    *self.totals.ends.of(before.class()) -= 1;
                }
                *self.totals.ends.of(fact.reason.class()) += 1;
                self.change_pair(pair, |pair, terms| {
                    (pair.state, pair.end) = (PairState::Ended, Some(fact.reason));
                    (terms.closed_at, terms.closed_day) = (fact.occurred_at, fact.day);
                });
                match (counted, self.pairs[pair].counts()) {
                    (true, false) => self.teach(pair, Turn::Out),
                    (false, true) => self.teach(pair, Turn::In),
                    (true, true) | (false, false) => {}
                }
            }

            Event::GoalSet(fact) => self.set_goal(fact, at)?,
            Event::GoalCompleted(fact) => self.close_goal(fact.goal.0, GoalState::Completed, at)?,
            Event::GoalAbandoned(fact) => self.close_goal(fact.goal.0, GoalState::Abandoned, at)?,

            Event::SessionLogged(fact) => self.log(fact, entry, at)?,
            Event::SessionConfirmed(fact) => {
                let session = self.session_named(fact.session.0, at)?;
                // A manager who confirms on somebody's behalf is not the other party, whatever service they use.
                let same = entry.actor == Actor::Manager
                    || self.principal(&entry.principal) == self.sessions[session].principal;
                let confirmed = if same { Confirmed::Asserted } else { Confirmed::Yes };
                self.change_session(session, |session| session.set_confirmed(confirmed));
            }
            Event::SessionDisputed(fact) => {
                let session = self.session_named(fact.session.0, at)?;
                self.change_session(session, |session| session.set_condition(Condition::Disputed));
            }
            Event::SessionCorrected(fact) => self.correct(fact, entry, at)?,
            Event::SessionVoided(fact) => {
                let session = self.session_named(fact.session.0, at)?;
                self.change_session(session, |session| session.set_condition(Condition::Voided));
            }
            Event::DisputeResolved(fact) => {
                let session = self.session_named(fact.session.0, at)?;
                self.change_session(session, |session| session.set_condition(Condition::Live));
            }
            Event::NoShowRecorded(fact) => {
                let pair = self.pairs.find(fact.pair.0)?;
                self.concern_pair(pair, at.seq);
                let (occurred_at, day) = (fact.occurred_at, fact.day);
                self.no_shows.push(NoShow { id: fact.no_show, pair, absent: fact.absent, occurred_at, day });
                self.terms[pair].no_shows += 1;
                let [a, b] = self.pairs[pair].people;
                if fact.absent != Absent::B {
                    self.participants[a].no_shows += 1;
                }
                if fact.absent != Absent::A {
                    self.participants[b].no_shows += 1;
                }
            }
            Event::ExchangeRated(fact) => {
                let (pair, teacher) =
                    self.rate(fact.session.0, fact.teacher, &fact.skill, fact.rating, at)?;
                self.hear(pair, teacher, fact.rating);
            }
            Event::RatingRevised(fact) => {
                self.rate(fact.session.0, fact.teacher, &fact.skill, fact.rating, at)?;
            }
        }
        Some(())
    }

    fn open(&mut self, fact: &event::ProgramOpened, at: At) {
        let measures = fact.measures.clone();
        self.program = Some(Program {
            id: fact.program,
            origin: fact.origin.clone(),
            slug: fact.slug.clone(),
            name: fact.name.clone(),
            zone: fact.time_zone,
            state: ProgramState::Open,
            opened_at: at.time,
            version: at.seq,
            since: at.day,
            rules: fact.rules.clone(),
            measures: vec![MeasuresFrom { seq: u64::from(at.seq), day: at.day, measures }],
        });
        self.follow_lapse();
    }

    /// Cuts all spells anew if the policy has another lapse.
    fn follow_lapse(&mut self) {
        let lapse_days = self.program.as_ref().map_or(0, |program| program.measures().lapse_after_days);
        if self.activity.lapse_days != lapse_days {
            self.activity = self.activity_by_scan(lapse_days);
        }
    }

    /// Counts what a participant offers and seeks, or takes it away.
    fn seek_and_offer(&mut self, person: Row, turn: Turn) {
        let profile = &self.profiles[person];
        if profile.seeks_and_offers() {
            for &skill in &profile.offered {
                turn.step(&mut self.skill_counts[skill as usize].offered, 1);
            }
            for &skill in &profile.sought {
                turn.step(&mut self.skill_counts[skill as usize].sought, 1);
                if self.lessons.has_learned(skill, person) {
                    turn.step(&mut self.skill_counts[skill as usize].fulfilled, 1);
                }
            }
        }
    }

    fn enrol(&mut self, fact: &event::ParticipantEnrolled, at: At) -> Option<()> {
        let mut events = Chain::default();
        self.postings.add(&mut events, at.seq);
        let generation = self.generation(&fact.generation);
        let profile = Profile {
            arm: fact.arm,
            standing: ParticipantState::Enrolled,
            erased: false,
            departure: None,
            origin: fact.origin,
            personal: 0,
            capacity: fact.capacity,
            generation,
            unit: fact.unit.as_ref().map(|unit| self.units.number(unit)),
            offered: fact.offered.iter().map(|skill| self.skill(skill)).collect(),
            sought: fact.sought.iter().map(|skill| self.skill(skill)).collect(),
            enrolled_at: at.time,
            enrolled_day: at.day,
            since: at.day,
            stays: Vec::new(),
            arms: vec![(at.day, fact.arm)],
            pairs: OwnPairs::default(),
        };
        let row = Participant {
            id: fact.participant,
            version: at.seq,
            last_seq: at.seq,
            events,
            newest_pair: NONE,
            sessions: 0,
            exchanges: [0; 2],
            minutes: [0; 2],
            no_shows: 0,
        };
        let person = self.participants.push(row)?;
        self.profiles.push(profile);
        self.worth.push(Worth::default());
        self.activity.people.push(Spells::NONE);
        self.count_person(person, Turn::In);
        self.totals.generations[generation as usize] += 1;
        Some(())
    }

    fn stand(&mut self, person: Row, standing: ParticipantState, day: Day) {
        self.change_person(person, |row| {
            (row.standing, row.since, row.departure) = (standing, day, None);
            row.stays.push((day, standing));
        });
    }

    /// Changes a participant and what is counted of where they stand.
    fn change_person(&mut self, person: Row, change: impl FnOnce(&mut Profile)) {
        self.count_person(person, Turn::Out);
        change(&mut self.profiles[person]);
        self.count_person(person, Turn::In);
    }

    fn count_person(&mut self, person: Row, turn: Turn) {
        self.seek_and_offer(person, turn);
        let profile = &self.profiles[person];
        turn.step(self.totals.arms.of(profile.arm), 1);
        turn.step(self.totals.participants.of(profile.state()), 1);
        if profile.arm == Arm::Program {
            turn.step(self.totals.taking_part.of(profile.state()), 1);
        }
    }

    fn propose(&mut self, fact: &event::PairProposed, at: At) -> Option<()> {
        let (mut pair, mut terms) = self.new_pair(fact.pair, [fact.a, fact.b], at)?;
        pair.proposer = fact.proposer.and_then(|proposer| {
            if proposer == fact.a { Some(Side::A) } else { (proposer == fact.b).then_some(Side::B) }
        });
        if let Some(side) = pair.proposer {
            pair.accepted[side as usize] = true;
        }
        (terms.expires_at, terms.expires_day) = (fact.expires_at, fact.expires_day);
        if let Some(round) = fact.round {
            terms.in_round = Some(Box::new(InRound { round, weight: fact.weight }));
            if let Some(round) = self.rounds.find(round.0) {
                self.postings.add(&mut self.rounds[round].events, at.seq);
            }
        }
        self.add_pair(pair, terms, at)
    }

    fn import_pair(&mut self, fact: &event::PairImported, at: At) -> Option<()> {
        let (mut pair, terms) = self.new_pair(fact.pair, [fact.a, fact.b], at)?;
        pair.state = PairState::Active;
        pair.imported = true;
        pair.started = true;
        (pair.started_at, pair.started_day) = (fact.started_at, fact.started_day);
        pair.earliest_start = fact.started_at;
        pair.idle_from = fact.started_day;
        self.add_pair(pair, terms, at)
    }

    fn new_pair(&self, id: PairId, [a, b]: [ParticipantId; 2], at: At) -> Option<(Pair, Terms)> {
        let people = [self.participants.find(a.0)?, self.participants.find(b.0)?];
        let pair = Pair {
            id,
            people,
            newest_session: NONE,
            events: Chain::default(),
            version: at.seq,
            last_seq: at.seq,
            sessions: PairSessions::default(),
            exchanges: [0; 2],
            minutes: [0; 2],
            first_at: at.time,
            first_day: at.day,
            last_day: at.day,
            idle_from: at.day,
            started_at: at.time,
            started_day: at.day,
            earliest_start: at.time,
            state: PairState::Proposed,
            started: false,
            imported: false,
            proposer: None,
            accepted: [false; 2],
            end: None,
            invalidation: None,
        };
        let terms = Terms {
            earlier: people.map(|person| self.participants[person].newest_pair),
            in_round: None,
            proposed_at: at.time,
            proposed_day: at.day,
            expires_day: at.day,
            expires_at: at.time,
            closed_at: at.time,
            closed_day: at.day,
            term_ends_day: None,
            goals: GoalCounts::default(),
            no_shows: 0,
        };
        Some((pair, terms))
    }

    fn add_pair(&mut self, pair: Pair, terms: Terms, at: At) -> Option<()> {
        let (people, standing) = (pair.people, Standing::of(&pair, &terms));
        let row = self.pairs.push(pair)?;
        self.terms.push(terms);
        let first = *Arc::make_mut(&mut self.firsts)
            .entry((people[0].min(people[1]), people[0].max(people[1])))
            .or_insert(row);
        self.first_of_two.push(first);
        self.values.push([0; 2]);
        self.has_rated.push([false; 2]);
        self.idle_of.push(NEVER);
        self.activity.pairs.push(Spells::NONE);
        self.taught_from.push([NEVER; 2]);
        for person in people {
            self.participants[person].newest_pair = row;
        }
        self.count_pair(row, people, standing, Turn::In);
        self.concern_pair(row, at.seq);
        Some(())
    }

    fn close_proposal(&mut self, id: PairId, state: PairState, at: At) -> Option<()> {
        let pair = self.pair_named(id, at)?;
        self.change_pair(pair, |pair, terms| {
            pair.state = state;
            (terms.closed_at, terms.closed_day) = (at.time, at.day);
        });
        Some(())
    }

    /// Changes a pair and everything that is counted of where it stands.
    fn change_pair(&mut self, row: Row, change: impl FnOnce(&mut Pair, &mut Terms)) {
        let (pair, terms) = (&mut self.pairs[row], &mut self.terms[row]);
        let (people, before) = (pair.people, Standing::of(pair, terms));
        change(pair, terms);
        let after = Standing::of(pair, terms);
        if before != after {
            self.count_pair(row, people, before, Turn::Out);
            self.count_pair(row, people, after, Turn::In);
        }
    }

    fn count_pair(&mut self, row: Row, people: [Row; 2], standing: Standing, turn: Turn) {
        turn.step(self.totals.pairs.of(standing.state), 1);
        for person in people {
            let own = &mut self.profiles[person].pairs;
            turn.step_small(match standing.state {
                PairState::Proposed => &mut own.proposed,
                state if state.is_open() => &mut own.open,
                _ => &mut own.closed,
            });
        }
        if let Some(expires_at) = standing.expires_at {
            match turn {
                Turn::In => self.waiting.insert((expires_at, row)),
                Turn::Out => self.waiting.remove(&(expires_at, row)),
            };
        }
        if let Some(place) = standing.funneled {
            self.funneled.count(place, turn);
        }
        if let Some((term, early)) = standing.matured {
            self.matured.count(term, early, turn);
        }
        self.count_moving(row, standing.moving, turn);
    }

    fn count_moving(&mut self, row: Row, moving: Moving, turn: Turn) {
        if let Some(day) = moving.idle_since {
            let count = self.idle.entry(day).or_default();
            turn.step(count, 1);
            if *count == 0 {
                self.idle.remove(&day);
            }
        }
        if moving.met {
            turn.step(&mut self.funneled.met, 1);
        }
        if turn == Turn::In {
            self.idle_of[row] = moving.idle_since.unwrap_or(NEVER);
        }
    }

    fn set_goal(&mut self, fact: &event::GoalSet, at: At) -> Option<()> {
        let pair = self.pairs.find(fact.pair.0)?;
        let learner = self.side(pair, fact.learner)?;
        let skill = self.skill(&fact.skill);
        let mut events = Chain::default();
        self.postings.add(&mut events, at.seq);
        self.goals.push(Goal {
            id: fact.goal,
            pair,
            learner,
            state: GoalState::Open,
            skill,
            set_at: at.time,
            set_day: at.day,
            since: at.day,
            events,
        })?;
        self.concern_pair(pair, at.seq);
        self.terms[pair].goals.open += 1;
        self.totals.goals.open += 1;
        Some(())
    }

    fn close_goal(&mut self, id: Uuid, state: GoalState, at: At) -> Option<()> {
        let row = self.goals.find(id)?;
        let goal = &mut self.goals[row];
        self.postings.add(&mut goal.events, at.seq);
        let (pair, before) = (goal.pair, goal.state);
        (goal.state, goal.since) = (state, at.day);
        for counts in [&mut self.terms[pair].goals, &mut self.totals.goals] {
            *counts.of(before) -= 1;
            *counts.of(state) += 1;
        }
        self.concern_pair(pair, at.seq);
        Some(())
    }

    fn log(&mut self, fact: &event::SessionLogged, entry: &Entry<Event>, at: At) -> Option<()> {
        let pair = self.pairs.find(fact.pair.0)?;
        let told = Told {
            occurred_at: fact.occurred_at,
            day: fact.day,
            minutes: fact.minutes,
            mode: fact.mode,
            exchanges: self.exchanges.len(),
            principal: self.principal(&entry.principal),
            teller: self.teller(pair, entry),
        };
        let earlier = self.pairs[pair].newest_session;
        let imported = fact.origin.is_some();
        let session = Session::new(fact.session, pair, earlier, at.seq, entry.recorded_at, imported, told);
        let row = self.sessions.push(session)?;
        self.tell(row, &fact.exchanges, &[]);
        self.pairs[pair].newest_session = row;
        if imported && self.pairs[pair].started && fact.occurred_at < self.pairs[pair].earliest_start {
            // The rules hold that this moves the start of the pair: it is a change of the pair itself.
            self.pairs[pair].earliest_start = fact.occurred_at;
            self.pairs[pair].version = at.seq;
        }
        self.concern_people(pair, at.seq);

        let before = Moving::of(&self.pairs[pair]);
        self.count_session(row, Turn::In);
        self.tally(row, Turn::In);
        self.moved(pair, before);
        Some(())
    }

    fn correct(&mut self, fact: &event::SessionCorrected, entry: &Entry<Event>, at: At) -> Option<()> {
        let row = self.session_named(fact.session.0, at)?;
        let session = &self.sessions[row];
        if session.condition() == Condition::Voided {
            return None;
        }
        let pair = session.pair;
        let before: Vec<Exchange> = self.exchanges_of(session).copied().collect();
        // Out with what was told, as if it had never been; in with what is told now.
        self.change_session(row, |session| session.set_condition(Condition::Disputed));
        let told = Told {
            occurred_at: fact.occurred_at,
            day: fact.day,
            minutes: fact.minutes,
            mode: fact.mode,
            exchanges: self.exchanges.len(),
            principal: self.principal(&entry.principal),
            teller: self.teller(pair, entry),
        };
        self.sessions[row].rewrite(fact.version, told);
        self.tell(row, &fact.exchanges, &before);
        self.change_session(row, |session| session.set_condition(Condition::Live));
        Some(())
    }

    /// Adds the live sessions of a pair that counts from here on to what is measured, or takes them away.
    fn teach(&mut self, row: Row, turn: Turn) {
        let pair = &self.pairs[row];
        let (people, counts) = (pair.people, pair.sessions);
        turn.step(&mut self.confirmed.denominator, u64::from(counts.live));
        turn.step(&mut self.confirmed.numerator, u64::from(counts.confirmed));
        let live = || rows_of(&self.sessions, pair).filter(|&row| self.sessions[row].is_live());
        let waiting = live().filter(|&row| self.sessions[row].waits_for_confirmation());
        let waiting: Vec<(Day, Row)> = waiting.map(|row| (self.sessions[row].day, row)).collect();
        let taught: Vec<Exchange> =
            live().flat_map(|row| self.exchanges_of(&self.sessions[row]).copied()).collect();
        for (day, session) in waiting {
            self.backlog.count(day, session, turn);
        }
        for exchange in taught {
            learn(&mut self.lessons, &mut self.skill_counts, &self.profiles, exchange, people, turn);
        }
        self.cut_pair(row);
        for person in people {
            self.cut_person(person);
        }
    }

    /// Takes up the day of a session that came or went.
    fn active_on(&mut self, row: Row, day: Day, turn: Turn) {
        let pair = &self.pairs[row];
        if !pair.counts() {
            return;
        }
        let (people, lapse) = (pair.people, u32::from(self.activity.lapse_days));
        match turn {
            Turn::In => {
                let with = |spells: Spells| spells.with(day, lapse);
                if !change_spells(&mut self.activity.pairs, row, with) {
                    self.cut_pair(row);
                }
                for person in people {
                    if !change_spells(&mut self.activity.people, person, with) {
                        self.cut_person(person);
                    }
                }
            }
            Turn::Out => {
                // Between two of the pair's own sessions that join each other nothing comes apart for anybody.
                if joined(self.days_of(pair), day, lapse) {
                    return;
                }
                self.cut_pair(row);
                for person in people {
                    let outermost = self.outermost_days(person);
                    let without = |spells: Spells| spells.without(day, outermost);
                    if !change_spells(&mut self.activity.people, person, without)
                        && !joined(self.days_of_person(person), day, lapse)
                    {
                        self.cut_person(person);
                    }
                }
            }
        }
    }

    /// Cuts the spells of a pair anew, from its own sessions.
    fn cut_pair(&mut self, row: Row) {
        let pair = &self.pairs[row];
        let days = if pair.counts() { self.days_of(pair).collect() } else { Vec::new() };
        self.activity.pairs[row] = cut(days, self.activity.lapse_days);
    }

    /// Cuts the spells of a participant anew, from the sessions of their pairs.
    fn cut_person(&mut self, person: Row) {
        let days = self.days_of_person(person).collect();
        self.activity.people[person] = cut(days, self.activity.lapse_days);
    }

    fn counting_pairs_of(&self, person: Row) -> impl Iterator<Item = &Pair> {
        let pairs = self.pairs_of(&self.participants[person]).map(|row| &self.pairs[row]);
        pairs.filter(|pair| pair.counts())
    }

    fn days_of_person(&self, person: Row) -> impl Iterator<Item = Day> {
        self.counting_pairs_of(person).flat_map(|pair| self.days_of(pair))
    }

    /// The first and the last day on which a participant had a live session of a pair that counts.
    fn outermost_days(&self, person: Row) -> Option<(Day, Day)> {
        let active = self.counting_pairs_of(person).filter(|pair| pair.sessions.live > 0);
        active
            .map(|pair| (pair.first_day, pair.last_day))
            .reduce(|(first, last), (other_first, other_last)| (first.min(other_first), last.max(other_last)))
    }

    fn days_of(&self, pair: &Pair) -> impl Iterator<Item = Day> {
        self.sessions_of(pair).filter(|session| session.is_live()).map(|session| session.day)
    }

    /// Adds the exchanges told of a session. An exchange that was there before keeps its rating.
    fn tell(&mut self, row: Row, exchanges: &[event::Exchange], before: &[Exchange]) {
        self.latest_day = self.latest_day.max(Some(self.sessions[row].day));
        let pair = self.sessions[row].pair;
        let mut last = NONE;
        for exchange in exchanges {
            let Some(teacher) = self.side(pair, exchange.teacher) else { continue };
            let skill = self.skill(&exchange.skill);
            let rating = before
                .iter()
                .find(|before| before.teacher() == teacher && before.skill == skill)
                .map_or(0, |before| before.rating);
            last = self.exchanges.push(Exchange::new(teacher, skill, exchange.minutes, rating));
        }
        if last == NONE {
            self.sessions[row].exchanges = NONE;
        } else {
            self.exchanges[last].set_last();
        }
    }

    /// Changes where a session stands, not what it says, and everything counted of it.
    /// What is voided stays so.
    fn change_session(&mut self, row: Row, change: impl FnOnce(&mut Session)) {
        let session = &self.sessions[row];
        if session.condition() == Condition::Voided {
            return;
        }
        let (pair, was_live) = (session.pair, session.is_live());
        let before = Moving::of(&self.pairs[pair]);
        self.count_session(row, Turn::Out);
        change(&mut self.sessions[row]);
        self.count_session(row, Turn::In);
        match (was_live, self.sessions[row].is_live()) {
            (true, false) => self.tally(row, Turn::Out),
            (false, true) => self.tally(row, Turn::In),
            (true, true) | (false, false) => {}
        }
        self.moved(pair, before);
    }

    fn moved(&mut self, pair: Row, before: Moving) {
        let after = Moving::of(&self.pairs[pair]);
        if before != after {
            self.count_moving(pair, before, Turn::Out);
            self.count_moving(pair, after, Turn::In);
        }
    }

    /// Counts where a session stands.
    fn count_session(&mut self, row: Row, turn: Turn) {
        let session = &self.sessions[row];
        let state = session.state();
        turn.step(self.totals.sessions.of(state), 1);
        let pair = &mut self.pairs[session.pair];
        let measured = pair.counts();
        let counts = &mut pair.sessions;
        match session.condition() {
            Condition::Live => {
                turn.step(&mut self.totals.sessions.live, 1);
                turn.step(self.totals.sessions.evidence.of(session.evidence()), 1);
                turn.step_small(&mut counts.live);
                let confirmed = state == SessionState::Confirmed;
                if confirmed {
                    turn.step_small(&mut counts.confirmed);
                }
                if measured {
                    turn.step(&mut self.confirmed.denominator, 1);
                    turn.step(&mut self.confirmed.numerator, u64::from(confirmed));
                    if session.waits_for_confirmation() {
                        self.backlog.count(session.day, row, turn);
                    }
                }
            }
            Condition::Disputed => {
                turn.step_small(&mut counts.disputed);
                self.disputes.count(session.day, row, turn);
            }
            Condition::Voided => turn.step_small(&mut counts.voided),
        }
    }

    /// Adds what a session says to the pair, the two people, the skills and the program, or takes it away.
    /// Called when the session is already counted among the live ones, or no longer is.
    fn tally(&mut self, row: Row, turn: Turn) {
        let session = &self.sessions[row];
        let pair = &mut self.pairs[session.pair];
        turn.step(&mut self.totals.sessions.minutes, u64::from(session.minutes));
        for person in pair.people {
            turn.step_small(&mut self.participants[person].sessions);
        }
        let mut no_longer_first = [false; 2];
        let mut next = session.exchanges;
        while let Some(&exchange) = self.exchanges.get(next) {
            let minutes = u64::from(exchange.minutes);
            let (teacher, learner) = (exchange.teacher(), exchange.teacher().other());
            turn.step_small(&mut pair.exchanges[teacher as usize]);
            turn.step(&mut pair.minutes[teacher as usize], minutes);
            for (taught_or_learned, side) in [teacher, learner].into_iter().enumerate() {
                let person = &mut self.participants[pair.people[side as usize]];
                turn.step_small(&mut person.exchanges[taught_or_learned]);
                turn.step(&mut person.minutes[taught_or_learned], minutes);
            }
            let skill = &mut self.skill_counts[exchange.skill as usize];
            turn.step(&mut skill.exchanges, 1);
            turn.step(&mut skill.minutes, minutes);
            turn.step(&mut self.totals.sessions.exchanges, 1);
            turn.step(&mut self.totals.sessions.exchange_minutes, minutes);
            self.totals.ratings.count(exchange.rating, turn);
            if exchange.rating > 0 {
                turn.step(&mut self.values[session.pair][teacher as usize], exchange.quarters());
            }
            if exchange.minutes > 0 {
                let first = self.taught_from[session.pair][teacher as usize];
                match turn {
                    Turn::In if session.day < first => {
                        self.taught_from[session.pair][teacher as usize] = session.day;
                    }
                    Turn::Out if session.day == first => no_longer_first[teacher as usize] = true,
                    Turn::In | Turn::Out => {}
                }
            }
            if pair.counts() {
                let people = pair.people;
                learn(&mut self.lessons, &mut self.skill_counts, &self.profiles, exchange, people, turn);
            }
            if exchange.is_last() {
                break;
            }
            next += 1;
        }

        let session = &self.sessions[row];
        let row = session.pair;
        let pair = &mut self.pairs[row];
        let (at, day) = (session.occurred_at, session.day);
        match turn {
            Turn::In => {
                let only = pair.sessions.live == 1;
                if only || at < pair.first_at {
                    (pair.first_at, pair.first_day) = (at, day);
                }
                if only || day > pair.last_day {
                    pair.last_day = day;
                }
            }
            Turn::Out if at == pair.first_at || day == pair.last_day => {
                // Rare: only the pair's own sessions are looked at, and only when an outermost one goes.
                let mut outermost = None;
                let mut other = pair.newest_session;
                while other != NONE {
                    let session = &self.sessions[other];
                    if session.is_live() {
                        let (at, day) = (session.occurred_at, session.day);
                        let (first, last) = outermost.unwrap_or(((at, day), day));
                        outermost = Some((first.min((at, day)), last.max(day)));
                    }
                    other = session.earlier;
                }
                if let Some((first, last)) = outermost {
                    (pair.first_at, pair.first_day) = first;
                    pair.last_day = last;
                }
            }
            Turn::Out => {}
        }
        for side in [Side::A, Side::B] {
            if no_longer_first[side as usize] {
                self.taught_from[row][side as usize] = self.first_taught(row, side);
            }
        }
        self.active_on(row, day, turn);
    }

    /// The first day on which one of a pair taught, from its live sessions.
    fn first_taught(&self, row: Row, side: Side) -> Day {
        let taught = |exchange: &&Exchange| exchange.teacher() == side && exchange.minutes > 0;
        let sessions = self.sessions_of(&self.pairs[row]).filter(|session| session.is_live());
        let sessions = sessions.filter(|session| self.exchanges_of(session).any(|one| taught(&one)));
        sessions.map(|session| session.day).min().unwrap_or(NEVER)
    }

    /// The first day on which each of a pair taught.
    pub(crate) fn taught_first(&self, pair: Row) -> Onset {
        self.taught_from[pair].map(|day| (day != NEVER).then_some(day))
    }

    /// The day of a session, for each of the two who taught in it.
    pub(crate) fn onset_of(&self, session: &Session) -> Onset {
        let mut onset = [None; 2];
        for exchange in self.exchanges_of(session).filter(|exchange| exchange.minutes > 0) {
            onset[exchange.teacher() as usize] = Some(session.day);
        }
        onset
    }

    /// The pair of the session, and who of the two taught.
    fn rate(
        &mut self,
        id: Uuid,
        teacher: ParticipantId,
        skill: &Slug,
        rating: u8,
        at: At,
    ) -> Option<(Row, Side)> {
        let row = self.session_named(id, at)?;
        let session = &self.sessions[row];
        let teacher = self.side(session.pair, teacher)?;
        let skill = self.skills.find(skill)?;
        if !(1..=5).contains(&rating) {
            return None;
        }
        let mut next = session.exchanges;
        loop {
            let exchange = self.exchanges.get(next)?;
            if exchange.teacher() == teacher && exchange.skill == skill {
                break;
            }
            if exchange.is_last() {
                return None;
            }
            next += 1;
        }
        let (live, pair) = (session.is_live(), session.pair);
        let before = self.exchanges[next];
        let mut after = before;
        after.rating = rating;
        self.exchanges[next] = after;
        if live {
            let counts = self.pairs[pair].counts();
            for (exchange, turn) in [(before, Turn::Out), (after, Turn::In)] {
                self.totals.ratings.count(exchange.rating, turn);
                turn.step(&mut self.values[pair][teacher as usize], exchange.quarters());
                if counts {
                    self.lessons.rate(exchange, turn);
                }
            }
        }
        Some((pair, teacher))
    }

    pub(crate) fn exchanges_of(&self, session: &Session) -> impl Iterator<Item = &Exchange> {
        let mut next = session.exchanges;
        std::iter::from_fn(move || {
            let exchange = self.exchanges.get(next)?;
            next = if exchange.is_last() { NONE } else { next + 1 };
            Some(exchange)
        })
    }

    pub(crate) fn sessions_of(&self, pair: &Pair) -> impl Iterator<Item = &Session> {
        let mut next = pair.newest_session;
        std::iter::from_fn(move || {
            let session = (next != NONE).then(|| &self.sessions[next])?;
            next = session.earlier;
            Some(session)
        })
    }

    /// The program, which an event changes.
    fn program_named(&mut self, at: At) -> Option<&mut Program> {
        let program = self.program.as_mut()?;
        program.version = at.seq;
        Some(program)
    }

    /// A participant whom an event changes.
    fn person(&mut self, id: ParticipantId, at: At) -> Option<Row> {
        let person = self.person_concerned(id, at)?;
        let row = &mut self.participants[person];
        (row.version, row.last_seq) = (at.seq, at.seq);
        Some(person)
    }

    /// A participant whom an event names without changing them.
    fn person_concerned(&mut self, id: ParticipantId, at: At) -> Option<Row> {
        let person = self.participants.find(id.0)?;
        self.postings.add(&mut self.participants[person].events, at.seq);
        Some(person)
    }

    /// A pair that an event changes.
    fn pair_named(&mut self, id: PairId, at: At) -> Option<Row> {
        let pair = self.pairs.find(id.0)?;
        self.pairs[pair].version = at.seq;
        self.concern_pair(pair, at.seq);
        Some(pair)
    }

    /// A session that an event changes, not the first one about it.
    fn session_named(&mut self, id: Uuid, at: At) -> Option<Row> {
        let session = self.sessions.find(id)?;
        let row = &mut self.sessions[session];
        self.postings.add(&mut row.events, at.seq);
        let pair = row.pair;
        self.concern_people(pair, at.seq);
        Some(session)
    }

    fn concern_pair(&mut self, pair: Row, seq: Seq) {
        self.postings.add(&mut self.pairs[pair].events, seq);
        self.concern_people(pair, seq);
    }

    fn concern_people(&mut self, pair: Row, seq: Seq) {
        let pair = &mut self.pairs[pair];
        pair.last_seq = seq;
        for person in pair.people {
            self.participants[person].last_seq = seq;
        }
    }

    fn side(&self, pair: Row, id: ParticipantId) -> Option<Side> {
        let [a, b] = self.pairs[pair].people;
        if self.participants[a].id == id {
            Some(Side::A)
        } else {
            (self.participants[b].id == id).then_some(Side::B)
        }
    }

    fn teller(&self, pair: Row, entry: &Entry<Event>) -> Teller {
        let teller = match (entry.actor, entry.on_behalf_of) {
            (Actor::Participant(id), None) => self.side(pair, id).map(Teller::Party),
            (Actor::Manager, Some(id)) => self.side(pair, id).map(Teller::ManagerFor),
            (Actor::Manager, None) => Some(Teller::Manager),
            (Actor::System, None) => Some(Teller::System),
            (Actor::Participant(_) | Actor::System, Some(_)) => None,
        };
        teller.unwrap_or(Teller::Stranger)
    }

    fn principal(&mut self, principal: &Principal) -> u16 {
        u16::try_from(self.principals.number(principal)).unwrap_or(u16::MAX)
    }

    fn skill(&mut self, skill: &Slug) -> u32 {
        let number = self.skills.number(skill);
        if self.skills.len() > self.skill_counts.len() {
            self.skill_counts.push(Skill::default());
        }
        number
    }

    fn generation(&mut self, generation: &Slug) -> u32 {
        let number = self.generations.number(generation);
        if self.generations.len() > self.totals.generations.len() {
            self.totals.generations.push(0);
        }
        number
    }
}

/// The rows of a pair's sessions, whatever their state, newest first.
fn rows_of(sessions: &Table<Session>, pair: &Pair) -> impl Iterator<Item = Row> {
    let newest = Some(pair.newest_session);
    std::iter::successors(newest, |&row| (row != NONE).then(|| sessions[row].earlier))
        .take_while(|row| *row != NONE)
}

/// Counts an exchange of a pair that counts among the lessons, or takes it away.
fn learn(
    lessons: &mut Lessons,
    skills: &mut [Skill],
    profiles: &Rows<Profile>,
    exchange: Exchange,
    people: [Row; 2],
    turn: Turn,
) {
    if lessons.count(exchange, people, turn) {
        let profile = &profiles[people[exchange.teacher().other() as usize]];
        if profile.seeks_and_offers() {
            let sought = profile.sought.iter().filter(|skill| **skill == exchange.skill).count();
            turn.step(&mut skills[exchange.skill as usize].fulfilled, sought as u64);
        }
    }
}

/// Changes the spells of a row; whether what is known of them was enough to say how.
fn change_spells(rows: &mut Rows<Spells>, row: Row, change: impl Fn(Spells) -> Option<Spells>) -> bool {
    let before = rows[row];
    let Some(after) = change(before) else { return false };
    // Most sessions lie within a spell: then nothing is written.
    if after != before {
        rows[row] = after;
    }
    true
}

/// Whether a day lies between two of the days, or on one, that are no further apart than the lapse.
fn joined(mut days: impl Iterator<Item = Day>, day: Day, lapse: u32) -> bool {
    let (mut before, mut after) = (None, None);
    days.any(|one| {
        if one <= day {
            before = before.max(Some(one));
        }
        if one >= day {
            after = Some(after.map_or(one, |after: Day| after.min(one)));
        }
        matches!((before, after), (Some(before), Some(after)) if days_between(before, after) <= lapse)
    })
}

/// Cuts days in any order.
fn cut(mut days: Vec<Day>, lapse_days: u16) -> Spells {
    days.sort_unstable();
    Spells::of(&days, u32::from(lapse_days))
}

/// What is counted of a pair by where it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Standing {
    state: PairState,
    expires_at: Option<Timestamp>,
    /// If it was proposed: where it stands, and whether it ever started.
    funneled: Option<(PairState, bool)>,
    /// If it started and counts by its term: the last day of that, and whether it ended early.
    matured: Option<(Day, bool)>,
    moving: Moving,
}

impl Standing {
    fn of(pair: &Pair, terms: &Terms) -> Self {
        Self {
            state: pair.state,
            expires_at: (pair.state == PairState::Proposed).then_some(terms.expires_at),
            funneled: pair.was_proposed().then_some((pair.state, pair.started)),
            matured: Matured::place(pair, terms),
            moving: Moving::of(pair),
        }
    }
}

/// What is counted of a pair and may move with a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Moving {
    idle_since: Option<Day>,
    /// It was proposed, started, and has had a live session.
    met: bool,
}

impl Moving {
    fn of(pair: &Pair) -> Self {
        let met = pair.was_proposed() && pair.started && pair.sessions.live > 0;
        Self { idle_since: pair.idle_since(), met }
    }
}
