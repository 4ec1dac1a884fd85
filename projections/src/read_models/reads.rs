//! What can be asked of the read models.
//! Never changes them.

use mentorlog_events::entry::Actor;
use mentorlog_events::event::{MeasurePolicy, Origin, PersonalField};
use mentorlog_events::id::{GoalId, PairId, ParticipantId, RoundId, SessionId, Slug};
use mentorlog_events::time::{Day, Timestamp};
use serde::Serialize;
use uuid::Uuid;

use super::ReadModels;
use crate::counting::Side;
use crate::exchanges::{ExchangeView, LoggedBy, Session, SessionState, SessionView, Teller};
use crate::goals::{Goal, GoalView, RoundView};
use crate::pairs::{EachWay, Pair, PairState, PairView};
use crate::participants::{Flow, Participant, ParticipantCounts, ParticipantView};
use crate::program::{
    GenerationCount, MeasuresFrom, PairsSummary, ParticipantsSummary, PolicyView, ProgramView, SkillCounts,
};
use crate::rows::{NONE, Row};
use crate::skills::{Listing, SkillView};

/// Some of many, in the order in which they came to be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Page<T> {
    /// At most as many as asked for.
    pub items: Vec<T>,
    /// Whether there are more after the last of these.
    pub more: bool,
}

impl<T> Page<T> {
    fn of(items: impl Iterator<Item = T>, limit: usize) -> Self {
        let mut items = items.peekable();
        let page: Vec<T> = items.by_ref().take(limit).collect();
        Self { items: page, more: items.peek().is_some() }
    }
}

/// Which pairs are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PairFilter {
    /// Only those in this state.
    pub state: Option<PairState>,
    /// Only those of this participant.
    pub participant: Option<ParticipantId>,
}

/// Which sessions are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SessionFilter {
    /// Only those in one of these states.
    pub states: Option<&'static [SessionState]>,
    /// Only those of this participant's pairs.
    pub participant: Option<ParticipantId>,
}

impl ReadModels {
    /// The program as counts; `None` before its first entry. `now` says which pairs are stalled (by its civil
    /// day in the program's zone) and which proposals are overdue. Costs the same however long the history is.
    pub fn program(&self, now: Timestamp) -> Option<ProgramView> {
        let program = self.program.as_ref()?;
        let measures = program.measures();
        // Stalled are the active pairs that were last heard of before this day.
        let heard = program.zone.day(now).plus_days(-i32::from(measures.stall_after_days));
        let overdue = self.waiting.iter().take_while(|(expires_at, _)| *expires_at <= now).count();
        let mut skills = SkillCounts::default();
        for skill in &self.skill_counts {
            match skill.listing {
                Listing::Unlisted => skills.unlisted += 1,
                Listing::Defined => skills.defined += 1,
                Listing::Retired => skills.retired += 1,
            }
        }
        Some(ProgramView {
            program: program.id,
            version: u64::from(program.version),
            slug: program.slug.clone(),
            name: program.name.clone(),
            origin: program.origin.clone(),
            time_zone: program.zone,
            state: program.state,
            since: program.since,
            opened_at: program.opened_at,
            policy: PolicyView { rules: program.rules.clone(), measures: measures.clone() },
            participants: ParticipantsSummary {
                states: self.totals.participants,
                arms: self.totals.arms,
                by_generation: self.by_generation(measures),
            },
            pairs: PairsSummary {
                states: self.totals.pairs,
                stalled: self.idle.range(..heard).map(|(_, pairs)| pairs).sum(),
                overdue: overdue as u64,
                ended_by_class: self.totals.ends,
            },
            sessions: self.totals.sessions,
            ratings: self.totals.ratings,
            goals: self.totals.goals,
            no_shows: u64::from(self.no_shows.len()),
            rounds: self.totals.rounds,
            blocks: self.blocks.len() as u64,
            skills,
            size: self.size,
            recorded_at: self.recorded_at?,
        })
    }

    fn by_generation(&self, measures: &MeasurePolicy) -> Vec<GenerationCount> {
        let unknown: Option<Slug> = "unknown".parse().ok();
        let mut names: Vec<&Slug> = measures.bands.iter().map(|band| &band.name).chain(&unknown).collect();
        for number in 0..self.totals.generations.len() {
            let name = self.generations.word(u32::try_from(number).unwrap_or(u32::MAX));
            if !names.contains(&name) {
                names.push(name);
            }
        }
        let count = |name: &Slug| {
            self.generations.find(name).map_or(0, |number| self.totals.generations[number as usize])
        };
        names
            .into_iter()
            .map(|name| GenerationCount { generation: name.clone(), participants: count(name) })
            .collect()
    }

    /// The civil day of an instant in the program's zone; `None` before the first entry.
    pub fn day(&self, instant: Timestamp) -> Option<Day> {
        Some(self.program.as_ref()?.zone.day(instant))
    }

    /// The people of the program arm by where they stand: those whom the program is for. Those of the comparison arm are
    /// only observed, and in no pair.
    pub fn taking_part(&self) -> ParticipantCounts {
        self.totals.taking_part
    }

    /// The first instant of a civil day in the program's zone; `None` before the first entry.
    pub fn start_of(&self, day: Day) -> Option<Timestamp> {
        self.program.as_ref()?.zone.start_of(day)
    }

    /// Every measure policy of the program's history, oldest first.
    pub fn measure_policies(&self) -> &[MeasuresFrom] {
        self.program.as_ref().map_or(&[], |program| &program.measures)
    }

    /// Proposals that can no longer be accepted at `now` and are not recorded as expired, longest overdue first.
    pub fn overdue_proposals(&self, now: Timestamp) -> impl Iterator<Item = PairId> {
        self.waiting
            .iter()
            .take_while(move |(expires_at, _)| *expires_at <= now)
            .map(|&(_, pair)| self.pairs[pair].id)
    }

    /// Every skill ever named, in ascending order.
    pub fn skills(&self) -> Vec<SkillView> {
        let mut views: Vec<SkillView> = (0..)
            .zip(&self.skill_counts)
            .map(|(number, skill)| SkillView {
                skill: self.skills.word(number).clone(),
                listing: skill.listing,
                offered: skill.offered,
                sought: skill.sought,
                exchanges: skill.exchanges,
                minutes: skill.minutes,
            })
            .collect();
        views.sort_by(|one, other| one.skill.cmp(&other.skill));
        views
    }

    /// One participant; `None` if there is none of this id.
    pub fn participant(&self, id: ParticipantId) -> Option<ParticipantView> {
        self.participants.find(id.0).map(|row| self.participant_view(row))
    }

    /// Participants in the order of enrolment, after the one given. `None` if there is none of that id.
    pub fn participants(&self, after: Option<ParticipantId>, limit: usize) -> Option<Page<ParticipantView>> {
        let from = match after {
            Some(id) => self.participants.find(id.0)? + 1,
            None => 0,
        };
        let rows = from..self.participants.len();
        Some(Page::of(rows.map(|row| self.participant_view(row)), limit))
    }

    pub(crate) fn participant_view(&self, row: Row) -> ParticipantView {
        let (person, profile) = (&self.participants[row], &self.profiles[row]);
        let skills = |numbers: &[u32]| numbers.iter().map(|&skill| self.skills.word(skill).clone()).collect();
        let personal = PersonalField::ALL.iter().enumerate();
        ParticipantView {
            participant: person.id,
            version: u64::from(person.version),
            last_seq: u64::from(person.last_seq),
            state: profile.state(),
            since: profile.since,
            departure_reason: profile.departure,
            arm: profile.arm,
            generation: self.generations.word(profile.generation).clone(),
            unit: profile.unit.map(|unit| self.units.word(unit).clone()),
            offered: skills(&profile.offered),
            sought: skills(&profile.sought),
            capacity: profile.capacity,
            origin: profile.origin,
            enrolled_at: profile.enrolled_at,
            enrolled_day: profile.enrolled_day,
            personal: personal
                .filter(|(bit, _)| profile.personal >> bit & 1 == 1)
                .map(|(_, &field)| field)
                .collect(),
            pairs: profile.pairs,
            sessions: person.sessions,
            taught: Flow { exchanges: person.exchanges[0], minutes: person.minutes[0] },
            learned: Flow { exchanges: person.exchanges[1], minutes: person.minutes[1] },
            no_shows: person.no_shows,
            last_session_day: self
                .pairs_of(person)
                .filter(|&pair| self.pairs[pair].sessions.live > 0)
                .map(|pair| self.pairs[pair].last_day)
                .max(),
        }
    }

    /// The rows of a participant's pairs, newest first.
    pub(crate) fn pairs_of(&self, person: &Participant) -> impl Iterator<Item = Row> {
        let id = person.id;
        let mut next = person.newest_pair;
        std::iter::from_fn(move || {
            let row = (next != NONE).then_some(next)?;
            let pair = &self.pairs[row];
            let side = usize::from(self.participants[pair.people[0]].id != id);
            next = self.terms[row].earlier[side];
            Some(row)
        })
    }

    /// One pair; `None` if there is none of this id. `today` says whether it is stalled.
    pub fn pair(&self, id: PairId, today: Day) -> Option<PairView> {
        self.pairs.find(id.0).map(|row| self.pair_view(row, today))
    }

    /// Pairs in the order of proposal, after the one given. `None` if there is none of that id.
    pub fn pairs(
        &self,
        filter: PairFilter,
        after: Option<PairId>,
        limit: usize,
        today: Day,
    ) -> Option<Page<PairView>> {
        let from = match after {
            Some(id) => self.pairs.find(id.0)? + 1,
            None => 0,
        };
        let takes = |&row: &Row| filter.state.is_none_or(|state| state == self.pairs[row].state);
        let view = |row| self.pair_view(row, today);
        let Some(participant) = filter.participant else {
            return Some(Page::of((from..self.pairs.len()).filter(takes).map(view), limit));
        };
        let person = self.participants.find(participant.0);
        let mut rows: Vec<Row> = person
            .into_iter()
            .flat_map(|person| self.pairs_of(&self.participants[person]))
            .take_while(|&row| row >= from)
            .collect();
        rows.reverse();
        Some(Page::of(rows.into_iter().filter(takes).map(view), limit))
    }

    pub(crate) fn pair_view(&self, row: Row, today: Day) -> PairView {
        let (pair, terms) = (&self.pairs[row], &self.terms[row]);
        let [a, b] = pair.people.map(|person| self.participants[person].id);
        let of = |side: Side| if side == Side::A { a } else { b };
        let stall_after_days = self.program.as_ref().map_or(0, |program| program.measures().stall_after_days);
        let start = pair.start();
        let closed = pair.state.is_terminal();
        let live = pair.sessions.live > 0;
        let [a_to_b, b_to_a] = pair.exchanges.map(u64::from);
        PairView {
            pair: pair.id,
            version: u64::from(pair.version),
            last_seq: u64::from(pair.last_seq),
            state: pair.state,
            stalled: pair.idle_since().is_some_and(|day| day.plus_days(i32::from(stall_after_days)) < today),
            a,
            b,
            proposer: pair.proposer.map(of),
            accepted: [Side::A, Side::B]
                .into_iter()
                .filter(|&side| pair.accepted[side as usize])
                .map(of)
                .collect(),
            round: terms.in_round.as_ref().map(|in_round| in_round.round),
            weight: terms.in_round.as_ref().and_then(|in_round| in_round.weight),
            origin: pair.imported.then_some(Origin::Imported),
            proposed_at: terms.proposed_at,
            proposed_day: terms.proposed_day,
            expires_at: (!pair.imported).then_some(terms.expires_at),
            expires_day: (!pair.imported).then_some(terms.expires_day),
            started_at: start.map(|(at, _)| at),
            started_day: start.map(|(_, day)| day),
            term_ends_day: terms.term_ends_day,
            closed_at: closed.then_some(terms.closed_at),
            closed_day: closed.then_some(terms.closed_day),
            end_reason: pair.end,
            end_class: pair.end.map(mentorlog_events::event::EndReason::class),
            invalidated_by: pair.invalidation,
            sessions: pair.sessions,
            exchanges: EachWay { a_to_b, b_to_a },
            minutes: EachWay { a_to_b: pair.minutes[0], b_to_a: pair.minutes[1] },
            first_session_day: live.then_some(pair.first_day),
            last_session_day: live.then_some(pair.last_day),
            goals: terms.goals,
            no_shows: terms.no_shows,
        }
    }

    /// One session; `None` if there is none of this id.
    pub fn session(&self, id: SessionId) -> Option<SessionView> {
        self.sessions.find(id.0).map(|row| self.session_view(&self.sessions[row]))
    }

    /// Sessions in the order in which they were first told, after the one given. `None` if there is none of that id.
    /// Looks at every session between the two ends of the page, however few the filter takes.
    pub fn sessions(
        &self,
        filter: SessionFilter,
        after: Option<SessionId>,
        limit: usize,
    ) -> Option<Page<SessionView>> {
        let from = match after {
            Some(id) => self.sessions.find(id.0)? + 1,
            None => 0,
        };
        let person = filter.participant.map(|participant| self.participants.find(participant.0));
        let takes = |session: &&Session| {
            filter.states.is_none_or(|states| states.contains(&session.state()))
                && person.is_none_or(|person| {
                    person.is_some_and(|person| self.pairs[session.pair].people.contains(&person))
                })
        };
        let rows = (from..self.sessions.len()).map(|row| &self.sessions[row]);
        Some(Page::of(rows.filter(takes).map(|session| self.session_view(session)), limit))
    }

    /// A participant's generation, as corrected; `None` if there is none of this id.
    pub fn generation_of(&self, id: ParticipantId) -> Option<&Slug> {
        let row = self.participants.find(id.0)?;
        Some(self.generations.word(self.profiles[row].generation))
    }

    /// The program's name in paths; `None` before the first entry.
    pub fn slug(&self) -> Option<&Slug> {
        Some(&self.program.as_ref()?.slug)
    }

    pub(crate) fn session_view(&self, session: &Session) -> SessionView {
        let pair = &self.pairs[session.pair];
        let [a, b] = pair.people.map(|person| self.participants[person].id);
        let of = |side: Side| if side == Side::A { a } else { b };
        let (actor, on_behalf_of) = match session.teller() {
            Teller::Party(side) => (Some(Actor::Participant(of(side))), None),
            Teller::Manager => (Some(Actor::Manager), None),
            Teller::ManagerFor(side) => (Some(Actor::Manager), Some(of(side))),
            Teller::System => (Some(Actor::System), None),
            Teller::Stranger => (None, None),
        };
        let principal = (session.principal != u16::MAX)
            .then(|| self.principals.word(u32::from(session.principal)).as_str().to_owned());
        let last_seq = u64::from(self.postings.newest(session.events).unwrap_or(session.first_seq));
        SessionView {
            session: session.id,
            version: last_seq,
            content_version: u32::from(session.content_version),
            pair: pair.id,
            state: session.state(),
            evidence: session.evidence(),
            occurred_at: session.occurred_at,
            day: session.day,
            minutes: session.minutes,
            mode: session.mode,
            exchanges: self
                .exchanges_of(session)
                .map(|exchange| ExchangeView {
                    teacher: of(exchange.teacher()),
                    learner: of(exchange.teacher().other()),
                    skill: self.skills.word(exchange.skill).clone(),
                    minutes: exchange.minutes,
                    rating: (exchange.rating > 0).then_some(exchange.rating),
                })
                .collect(),
            logged_by: LoggedBy { actor, on_behalf_of, principal },
            recorded_at: session.recorded_at,
            first_seq: u64::from(session.first_seq),
            last_seq,
        }
    }

    /// One goal; `None` if there is none of this id.
    pub fn goal(&self, id: GoalId) -> Option<GoalView> {
        self.goals.find(id.0).map(|row| self.goal_view(&self.goals[row]))
    }

    pub(super) fn goal_view(&self, goal: &Goal) -> GoalView {
        let pair = &self.pairs[goal.pair];
        GoalView {
            goal: goal.id,
            version: u64::from(self.postings.newest(goal.events).unwrap_or(0)),
            state: goal.state,
            since: goal.since,
            pair: pair.id,
            learner: self.participants[pair.people[goal.learner as usize]].id,
            skill: self.skills.word(goal.skill).clone(),
            set_at: goal.set_at,
            set_day: goal.set_day,
        }
    }

    /// One round; `None` if there is none of this id.
    pub fn round(&self, id: RoundId) -> Option<RoundView> {
        self.rounds.find(id.0).map(|row| self.rounds[row].view())
    }

    /// Positions, ascending, of the events that concern a participant, pair, session, goal or round.
    /// `None` if nothing has this id. What concerns a pair concerns its two people, and what concerns a
    /// session or a goal concerns its pair.
    pub fn timeline(&self, subject: Uuid) -> Option<impl Iterator<Item = u64> + use<>> {
        let mut seqs = None::<Vec<u32>>;
        // An id may by chance or choice be that of several things; then all of them are meant.
        if let Some(row) = self.participants.find(subject) {
            let seqs = seqs.get_or_insert_default();
            let person = &self.participants[row];
            seqs.extend(self.postings.of(person.events));
            for pair in self.pairs_of(person) {
                self.events_of_pair(&self.pairs[pair], seqs);
            }
        }
        if let Some(row) = self.pairs.find(subject) {
            self.events_of_pair(&self.pairs[row], seqs.get_or_insert_default());
        }
        if let Some(row) = self.sessions.find(subject) {
            self.events_of_session(&self.sessions[row], seqs.get_or_insert_default());
        }
        if let Some(row) = self.goals.find(subject) {
            seqs.get_or_insert_default().extend(self.postings.of(self.goals[row].events));
        }
        if let Some(row) = self.rounds.find(subject) {
            seqs.get_or_insert_default().extend(self.postings.of(self.rounds[row].events));
        }
        let mut seqs = seqs?;
        seqs.sort_unstable();
        seqs.dedup();
        Some(seqs.into_iter().map(u64::from))
    }

    /// Positions, ascending, of the events that name a participant themself, without those of their pairs.
    /// `None` if nobody has this id.
    pub fn own_timeline(&self, participant: ParticipantId) -> Option<Vec<u64>> {
        let person = &self.participants[self.participants.find(participant.0)?];
        let mut seqs: Vec<u64> = self.postings.of(person.events).map(u64::from).collect();
        // They hang on each other the newest first.
        seqs.reverse();
        Some(seqs)
    }

    /// The two of a pair.
    pub fn two_of(&self, pair: PairId) -> Option<[ParticipantId; 2]> {
        let row = &self.pairs[self.pairs.find(pair.0)?];
        Some(row.people.map(|person| self.participants[person].id))
    }

    /// The two of a session's pair.
    pub fn two_of_session(&self, session: SessionId) -> Option<[ParticipantId; 2]> {
        let row = &self.sessions[self.sessions.find(session.0)?];
        let pair = &self.pairs[row.pair];
        Some(pair.people.map(|person| self.participants[person].id))
    }

    /// Whether a participant was erased. `None` if nobody has this id.
    pub fn is_erased(&self, participant: ParticipantId) -> Option<bool> {
        Some(self.profiles[self.participants.find(participant.0)?].erased)
    }

    fn events_of_pair(&self, pair: &Pair, seqs: &mut Vec<u32>) {
        seqs.extend(self.postings.of(pair.events));
        for session in self.sessions_of(pair) {
            self.events_of_session(session, seqs);
        }
    }

    pub(crate) fn events_of_session(&self, session: &Session, seqs: &mut Vec<u32>) {
        seqs.push(session.first_seq);
        seqs.extend(self.postings.of(session.events));
    }
}
