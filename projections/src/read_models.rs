//! The read models of one program: every event folded into rows and counts.
//! Never refuses an event: what the rules let into the ledger is what happened.
//!
//! An event that refers to something unknown cannot occur, since the service refuses such a ledger before it
//! gets here; folded all the same, it changes nothing but the size.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use mentorlog_events::entry::{Actor, Entry, Principal};
use mentorlog_events::event::{self, Absent, Event, PersonalField};
use mentorlog_events::id::{PairId, ParticipantId, Slug};
use mentorlog_events::time::{Day, Timestamp};
use uuid::Uuid;

use crate::counting::{Side, Turn};
use crate::exchanges::{Condition, Confirmed, Exchange, Session, SessionState, Teller, Told};
use crate::goals::{Goal, GoalCounts, GoalState, NoShow, Round};
use crate::outsiders::Weeks;
use crate::pairs::{InRound, Pair, PairSessions, PairState, Terms};
use crate::participants::{OwnPairs, Participant, ParticipantState, Profile};
use crate::program::{MeasuresFrom, Program, ProgramState, Totals};
use crate::reciprocity::Lessons;
use crate::rows::{NONE, Row, Rows, Table};
use crate::skills::{Listing, Skill, Words};
use crate::timeline::{Chain, Postings, Seq};

mod json;
mod reads;
#[cfg(test)]
mod tests;

pub use reads::{Page, PairFilter};

/// Everything a program's ledger adds up to at one size.
///
/// About 100 MB for 1,000,000 sessions of 100,000 pairs among 20,000 people. A program of more than 2^32 - 1
/// entries does not fit: positions are held in 32 bits.
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
    /// By the number of the pair: the first pair of the same two people, which may be itself.
    pub(crate) first_of_two: Rows<Row>,
    firsts: HashMap<(Row, Row), Row>,
    /// By the number of the pair: what A taught B and B taught A was worth, in quarter-minutes, in live sessions.
    pub(crate) values: Rows<[u64; 2]>,
    /// Live sessions of pairs that count.
    pub(crate) lessons: Lessons,
    /// No session was ever told of a later day.
    pub(crate) latest_day: Option<Day>,
    pub(crate) weeks: Weeks,
}

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
                let profile = &mut self.profiles[person];
                *self.totals.arms.of(profile.arm) -= 1;
                profile.arm = fact.arm;
                profile.arms.push((at.day, fact.arm));
                *self.totals.arms.of(fact.arm) += 1;
            }
            Event::SkillsUpdated(fact) => {
                let person = self.person(fact.participant, at)?;
                let offered = fact.offered.iter().map(|skill| self.skill(skill)).collect();
                let sought = fact.sought.iter().map(|skill| self.skill(skill)).collect();
                let row = &mut self.profiles[person];
                (row.offered, row.sought) = (offered, sought);
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
                self.terms[pair].term_ends_day = Some(fact.term_ends_day);
            }
            Event::PairEnded(fact) => {
                let pair = self.pair_named(fact.pair, at)?;
                let counted = self.pairs[pair].counts();
                if let Some(before) = self.pairs[pair].end.replace(fact.reason) {
                    *self.totals.ends.of(before.class()) -= 1;
                }
                match (counted, self.pairs[pair].counts()) {
                    (true, false) => self.teach(pair, Turn::Out),
                    (false, true) => self.teach(pair, Turn::In),
                    (true, true) | (false, false) => {}
                }
                *self.totals.ends.of(fact.reason.class()) += 1;
                self.change_pair(pair, |pair, terms| {
                    pair.state = PairState::Ended;
                    (terms.closed_at, terms.closed_day) = (fact.occurred_at, fact.day);
                });
            }

            Event::GoalSet(fact) => self.set_goal(fact, at)?,
            Event::GoalCompleted(fact) => self.close_goal(fact.goal.0, GoalState::Completed, at)?,
            Event::GoalAbandoned(fact) => self.close_goal(fact.goal.0, GoalState::Abandoned, at)?,

            Event::SessionLogged(fact) => self.log(fact, entry, at)?,
            Event::SessionConfirmed(fact) => {
                let session = self.session_named(fact.session.0, at)?;
                let same = self.principal(&entry.principal) == self.sessions[session].principal;
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
                self.rate(fact.session.0, fact.teacher, &fact.skill, fact.rating, at)?;
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
        self.participants.push(row)?;
        self.profiles.push(profile);
        self.totals.participants.enrolled += 1;
        *self.totals.arms.of(fact.arm) += 1;
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
        let row = &mut self.profiles[person];
        *self.totals.participants.of(row.state()) -= 1;
        change(row);
        *self.totals.participants.of(row.state()) += 1;
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
        let first = *self.firsts.entry((people[0].min(people[1]), people[0].max(people[1]))).or_insert(row);
        self.first_of_two.push(first);
        self.values.push([0; 2]);
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
        if let Some(day) = standing.idle_since {
            self.count_idle(day, turn);
        }
    }

    fn count_idle(&mut self, day: Day, turn: Turn) {
        let count = self.idle.entry(day).or_default();
        turn.step(count, 1);
        if *count == 0 {
            self.idle.remove(&day);
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

        let idle = self.pairs[pair].idle_since();
        self.count_session(row, Turn::In);
        self.tally(row, Turn::In);
        self.idle_moved(pair, idle);
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

    /// Adds the live sessions of a pair to the lessons, or takes them away.
    fn teach(&mut self, row: Row, turn: Turn) {
        let pair = &self.pairs[row];
        let people = pair.people;
        let taught: Vec<Exchange> = self
            .sessions_of(pair)
            .filter(|session| session.is_live())
            .flat_map(|session| self.exchanges_of(session).copied())
            .collect();
        for exchange in taught {
            self.lessons.count(exchange, people, turn);
        }
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
        let idle = self.pairs[pair].idle_since();
        self.count_session(row, Turn::Out);
        change(&mut self.sessions[row]);
        self.count_session(row, Turn::In);
        match (was_live, self.sessions[row].is_live()) {
            (true, false) => self.tally(row, Turn::Out),
            (false, true) => self.tally(row, Turn::In),
            (true, true) | (false, false) => {}
        }
        self.idle_moved(pair, idle);
    }

    fn idle_moved(&mut self, pair: Row, before: Option<Day>) {
        let after = self.pairs[pair].idle_since();
        if before != after {
            if let Some(day) = before {
                self.count_idle(day, Turn::Out);
            }
            if let Some(day) = after {
                self.count_idle(day, Turn::In);
            }
        }
    }

    /// Counts where a session stands.
    fn count_session(&mut self, row: Row, turn: Turn) {
        let session = &self.sessions[row];
        let state = session.state();
        turn.step(self.totals.sessions.of(state), 1);
        let counts = &mut self.pairs[session.pair].sessions;
        match session.condition() {
            Condition::Live => {
                turn.step(&mut self.totals.sessions.live, 1);
                turn.step(self.totals.sessions.evidence.of(session.evidence()), 1);
                turn.step_small(&mut counts.live);
                if state == SessionState::Confirmed {
                    turn.step_small(&mut counts.confirmed);
                }
            }
            Condition::Disputed => turn.step_small(&mut counts.disputed),
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
            if pair.counts() {
                self.lessons.count(exchange, pair.people, turn);
            }
            if exchange.is_last() {
                break;
            }
            next += 1;
        }

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
    }

    fn rate(&mut self, id: Uuid, teacher: ParticipantId, skill: &Slug, rating: u8, at: At) -> Option<()> {
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
        Some(())
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

/// What is counted of a pair by where it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Standing {
    state: PairState,
    expires_at: Option<Timestamp>,
    idle_since: Option<Day>,
}

impl Standing {
    fn of(pair: &Pair, terms: &Terms) -> Self {
        Self {
            state: pair.state,
            expires_at: (pair.state == PairState::Proposed).then_some(terms.expires_at),
            idle_since: pair.idle_since(),
        }
    }
}
