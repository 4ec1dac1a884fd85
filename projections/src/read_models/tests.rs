//! Histories told entry by entry, and what they add up to.

use std::collections::{BTreeMap, BTreeSet};

use mentorlog_events::entry::{CommandStamp, Facts as _};
use mentorlog_events::event::{Exchange, *};
use mentorlog_events::id::*;
use mentorlog_events::time::Zone;
use proptest::prelude::*;

use super::*;
use crate::exchanges::{Evidence, SessionState, SessionView};
use crate::pairs::PairView;

mod measures;
mod mutuality;
mod outsiders;
mod reports;
mod suggestions;

const ANN: ParticipantId = ParticipantId(Uuid::from_u128(0xa1));
const BEN: ParticipantId = ParticipantId(Uuid::from_u128(0xb2));
const CLEO: ParticipantId = ParticipantId(Uuid::from_u128(0xc3));
const DAN: ParticipantId = ParticipantId(Uuid::from_u128(0xd4));

fn pair(n: u128) -> PairId {
    PairId(Uuid::from_u128(0x9a_0000 + n))
}

fn session(n: u128) -> SessionId {
    SessionId(Uuid::from_u128(0x5e_0000 + n))
}

fn goal(n: u128) -> GoalId {
    GoalId(Uuid::from_u128(0x60_0000 + n))
}

const ROUND: RoundId = RoundId(Uuid::from_u128(0x70_0000));

fn slug(text: &str) -> Slug {
    text.parse().unwrap()
}

/// Midnight of a day of the program, whose first is 2026-01-01, and the day.
fn on(day: i32) -> (Timestamp, Day) {
    let start: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
    let instant = start.plus_days(i64::from(day));
    (instant, Zone::UTC.day(instant))
}

/// A ledger that is written as it is told.
#[derive(Clone)]
struct History {
    entries: Vec<Entry<Event>>,
    day: i32,
    actor: Actor,
    on_behalf_of: Option<ParticipantId>,
    principal: &'static str,
}

impl History {
    /// A program of four people.
    fn of_four() -> Self {
        let mut history = Self::empty();
        history.say(opened());
        for (id, generation) in [(ANN, "boomer"), (BEN, "gen-z"), (CLEO, "gen-x"), (DAN, "unknown")] {
            history.say(enrolled(id, generation));
        }
        history
    }

    /// [`History::of_four`] with Ann and Ben as active pair 1, Ann and Cleo as active pair 2.
    fn of_two_pairs() -> Self {
        let mut history = Self::of_four();
        for (n, b) in [(1, BEN), (2, CLEO)] {
            history.say(proposed(n, ANN, b));
            history.say(PairAccepted { pair: pair(n), participant: b });
            history.say(PairActivated { pair: pair(n), term_ends_day: on(180).1 });
        }
        history
    }

    fn empty() -> Self {
        Self { entries: Vec::new(), day: 0, actor: Actor::Manager, on_behalf_of: None, principal: "local" }
    }

    fn say(&mut self, event: impl Into<Event>) -> &mut Self {
        let seq = self.entries.len() as u64;
        let (midnight, day) = on(self.day);
        self.entries.push(Entry {
            seq,
            id: EventId(Uuid::from_u128(u128::from(seq))),
            recorded_at: midnight.plus_minutes(600).plus_micros(i64::try_from(seq).unwrap()),
            day,
            actor: self.actor,
            on_behalf_of: self.on_behalf_of,
            principal: self.principal.parse().unwrap(),
            command: CommandStamp { id: CommandId(Uuid::nil()), key: None, fp: None },
            correlation: None,
            causation: None,
            event: event.into(),
            sealed: Vec::new(),
        });
        self
    }

    fn on(&mut self, day: i32) -> &mut Self {
        self.day = day;
        self
    }

    fn by(&mut self, actor: Actor, principal: &'static str) -> &mut Self {
        (self.actor, self.on_behalf_of, self.principal) = (actor, None, principal);
        self
    }

    fn folded(&self) -> ReadModels {
        let mut models = ReadModels::new();
        for entry in &self.entries {
            models.apply(entry);
        }
        models
    }
}

fn opened() -> ProgramOpened {
    ProgramOpened {
        program: ProgramId(Uuid::from_u128(0xf00d)),
        origin: "here/program/1".to_owned(),
        envelope: 1,
        slug: slug("both-ways"),
        name: "Both ways".to_owned(),
        time_zone: Zone::UTC,
        rules: RulePolicy::default(),
        measures: MeasurePolicy::default(),
    }
}

fn enrolled(participant: ParticipantId, generation: &str) -> ParticipantEnrolled {
    ParticipantEnrolled {
        participant,
        arm: Arm::Program,
        generation: slug(generation),
        offered: Vec::new(),
        sought: Vec::new(),
        unit: None,
        capacity: None,
        origin: None,
    }
}

fn proposed(n: u128, a: ParticipantId, b: ParticipantId) -> PairProposed {
    let (expires_at, expires_day) = on(14);
    PairProposed {
        pair: pair(n),
        a,
        b,
        proposer: Some(a),
        expires_at,
        expires_day,
        round: None,
        weight: None,
    }
}

fn exchange(teacher: ParticipantId, skill: &str, minutes: u16) -> Exchange {
    Exchange { teacher, skill: slug(skill), minutes }
}

fn logged(n: u128, of: u128, day: i32, exchanges: &[(ParticipantId, &str, u16)]) -> SessionLogged {
    let (occurred_at, day) = on(day);
    SessionLogged {
        session: session(n),
        pair: pair(of),
        occurred_at,
        day,
        minutes: exchanges.iter().map(|exchange| exchange.2).sum(),
        mode: Mode::Video,
        exchanges: exchanges.iter().map(|&(who, skill, minutes)| exchange(who, skill, minutes)).collect(),
        origin: None,
    }
}

fn corrected(n: u128, version: u32, day: i32, exchanges: &[(ParticipantId, &str, u16)]) -> SessionCorrected {
    let told = logged(n, 0, day, exchanges);
    SessionCorrected {
        session: told.session,
        version,
        occurred_at: told.occurred_at,
        day: told.day,
        minutes: told.minutes,
        mode: Mode::InPerson,
        exchanges: told.exchanges,
    }
}

fn rated(n: u128, teacher: ParticipantId, skill: &str, rating: u8) -> ExchangeRated {
    ExchangeRated { session: session(n), teacher, skill: slug(skill), rating, origin: None }
}

/// Folds a history, holds what is counted against what the rows say, and hands the read models over.
fn check(history: &History) -> ReadModels {
    let models = history.folded();
    assert_eq!(models.size(), history.entries.len() as u64);
    assert_eq!(json(&models), json(&history.folded()), "the same history gives the same bytes");

    let today = on(history.day).1;
    let now = on(history.day).0.plus_minutes(600);
    let Some(program) = models.program(now) else { return models };
    let pairs = models.pairs(PairFilter::default(), None, usize::MAX, today).unwrap().items;
    let people = models.participants(None, usize::MAX).unwrap().items;
    let sessions: Vec<SessionView> = models.sessions.iter().map(|row| models.session_view(row)).collect();

    let mut counted = crate::pairs::PairCounts::default();
    for pair in &pairs {
        *counted.of(pair.state) += 1;
    }
    assert_eq!(program.pairs.states, counted);
    assert_eq!(program.pairs.stalled, pairs.iter().filter(|pair| pair.stalled).count() as u64);
    let overdue = |pair: &&PairView| {
        pair.state == PairState::Proposed && pair.expires_at.is_some_and(|expires_at| expires_at <= now)
    };
    assert_eq!(program.pairs.overdue, pairs.iter().filter(overdue).count() as u64);
    assert_eq!(
        models.overdue_proposals(now).collect::<BTreeSet<_>>(),
        pairs.iter().filter(overdue).map(|pair| pair.pair).collect()
    );

    let mut counted = crate::participants::ParticipantCounts::default();
    for person in &people {
        *counted.of(person.state) += 1;
    }
    assert_eq!(program.participants.states, counted);
    let generations = &program.participants.by_generation;
    assert_eq!(generations.iter().map(|count| count.participants).sum::<u64>(), people.len() as u64);
    for count in generations {
        let of = people.iter().filter(|person| person.generation == count.generation).count() as u64;
        assert_eq!(count.participants, of, "{}", count.generation);
    }

    let live: Vec<&SessionView> = sessions
        .iter()
        .filter(|session| matches!(session.state, SessionState::Logged | SessionState::Confirmed))
        .collect();
    let in_state = |state| sessions.iter().filter(|session| session.state == state).count() as u64;
    assert_eq!(program.sessions.live, live.len() as u64);
    assert_eq!(program.sessions.logged, in_state(SessionState::Logged));
    assert_eq!(program.sessions.confirmed, in_state(SessionState::Confirmed));
    assert_eq!(program.sessions.disputed, in_state(SessionState::Disputed));
    assert_eq!(program.sessions.voided, in_state(SessionState::Voided));
    let attested = |evidence| live.iter().filter(|session| session.evidence == evidence).count() as u64;
    assert_eq!(program.sessions.evidence.confirmed, attested(Evidence::Confirmed));
    assert_eq!(program.sessions.evidence.confirmed_asserted, attested(Evidence::ConfirmedAsserted));
    assert_eq!(program.sessions.evidence.logged, attested(Evidence::Logged));
    assert_eq!(program.sessions.evidence.imported, attested(Evidence::Imported));
    assert_eq!(program.sessions.minutes, live.iter().map(|session| u64::from(session.minutes)).sum::<u64>());

    let exchanges: Vec<_> = live.iter().flat_map(|session| &session.exchanges).collect();
    let minutes = |of: &dyn Fn(&crate::exchanges::ExchangeView) -> bool| {
        let taken = exchanges.iter().filter(|exchange| of(exchange));
        taken.fold((0_u64, 0_u64), |(n, sum), exchange| (n + 1, sum + u64::from(exchange.minutes)))
    };
    assert_eq!((program.sessions.exchanges, program.sessions.exchange_minutes), minutes(&|_| true));
    let mut counted = crate::exchanges::RatingCounts::default();
    for rating in exchanges.iter().filter_map(|exchange| exchange.rating) {
        counted.live += 1;
        counted.by_value[usize::from(rating) - 1] += 1;
    }
    assert_eq!(program.ratings, counted);
    for skill in models.skills() {
        assert_eq!((skill.exchanges, skill.minutes), minutes(&|exchange| exchange.skill == skill.skill));
    }
    for person in &people {
        let id = person.participant;
        let taught = (u64::from(person.taught.exchanges), person.taught.minutes);
        assert_eq!(taught, minutes(&|exchange| exchange.teacher == id));
        let learned = (u64::from(person.learned.exchanges), person.learned.minutes);
        assert_eq!(learned, minutes(&|exchange| exchange.learner == id));
        let own: Vec<_> = pairs.iter().filter(|pair| pair.a == id || pair.b == id).collect();
        assert_eq!(person.sessions, own.iter().map(|pair| pair.sessions.live).sum::<u32>());
        assert_eq!(person.last_session_day, own.iter().filter_map(|pair| pair.last_session_day).max());
        let of = |taken: fn(PairState) -> bool| {
            u32::try_from(own.iter().filter(|pair| taken(pair.state)).count()).unwrap()
        };
        assert_eq!(person.pairs.proposed, of(|state| state == PairState::Proposed));
        assert_eq!(person.pairs.open, of(PairState::is_open));
        assert_eq!(person.pairs.closed, of(PairState::is_terminal));
        let filter = PairFilter { participant: Some(id), state: None };
        let listed = models.pairs(filter, None, usize::MAX, today).unwrap().items;
        assert_eq!(listed.iter().collect::<Vec<_>>(), own);
    }
    for pair in &pairs {
        let own: Vec<_> = live.iter().filter(|session| session.pair == pair.pair).collect();
        assert_eq!(pair.sessions.live as usize, own.len());
        assert_eq!(pair.first_session_day, own.iter().map(|session| session.day).min());
        assert_eq!(pair.last_session_day, own.iter().map(|session| session.day).max());
        let from = |teacher: ParticipantId| {
            let taught = own.iter().flat_map(|session| &session.exchanges);
            let taught = taught.filter(|exchange| exchange.teacher == teacher);
            taught.fold((0, 0), |(n, sum), exchange| (n + 1, sum + u64::from(exchange.minutes)))
        };
        assert_eq!((pair.exchanges.a_to_b, pair.minutes.a_to_b), from(pair.a));
        assert_eq!((pair.exchanges.b_to_a, pair.minutes.b_to_a), from(pair.b));
        let timeline = |subject| models.timeline(subject).unwrap().collect::<BTreeSet<u64>>();
        assert!(timeline(pair.a.0).is_superset(&timeline(pair.pair.0)));
        assert!(timeline(pair.b.0).is_superset(&timeline(pair.pair.0)));
        for session in sessions.iter().filter(|session| session.pair == pair.pair) {
            assert!(timeline(pair.pair.0).is_superset(&timeline(session.session.0)));
        }
        assert_eq!(pair.last_seq, *timeline(pair.pair.0).last().unwrap());
    }
    measures::check(&models, today);
    suggestions::check(&models, today);
    models
}

fn json(models: &ReadModels) -> String {
    let mut out = Vec::new();
    models.write_json(&mut out).unwrap();
    String::from_utf8(out).unwrap()
}

/// A history in which every fact there is occurs.
fn story() -> History {
    let mut history = History::empty();
    history.say(opened());
    history.say(SkillDefined { skill: slug("rust") });
    history.say(SkillDefined { skill: slug("cobol") });
    history.say(SkillRetired { skill: slug("cobol") });
    history.say(ParticipantEnrolled {
        offered: vec![slug("negotiation")],
        sought: vec![slug("rust")],
        unit: Some(slug("sales")),
        capacity: Some(2),
        ..enrolled(ANN, "boomer")
    });
    history.say(enrolled(BEN, "gen-z"));
    history.say(enrolled(CLEO, "gen-z"));
    history.say(ParticipantEnrolled { origin: Some(Origin::Imported), ..enrolled(DAN, "unknown") });
    history.say(ParticipantCorrected { participant: CLEO, generation: slug("gen-x"), unit: None });
    history.say(SkillsUpdated { participant: BEN, offered: vec![slug("rust")], sought: Vec::new() });
    history.say(CapacitySet { participant: BEN, capacity: Some(1) });
    let set = |participant, fields| PersonalSet { participant, fields, removed: Vec::new() };
    history.say(set(ANN, vec![PersonalField::Name, PersonalField::HrId]));
    history.say(set(DAN, vec![PersonalField::Email]));
    history.say(PairingBlocked { participant: CLEO, other: DAN });
    history.say(PairingBlocked { participant: DAN, other: BEN });
    history.say(PairingUnblocked { participant: DAN, other: BEN });

    history.on(1).say(RoundProposed { round: ROUND, proposed: 2, refused: 1 });
    let in_round =
        |n, b| PairProposed { proposer: None, round: Some(ROUND), weight: Some(7), ..proposed(n, ANN, b) };
    history.say(in_round(1, BEN)).say(in_round(2, CLEO));
    history.say(RoundPairRefused { round: ROUND, a: CLEO, b: DAN, code: slug("blocked") });
    history.by(Actor::Participant(ANN), "chat-bot").say(PairAccepted { pair: pair(1), participant: ANN });
    history.by(Actor::Participant(BEN), "web").say(PairAccepted { pair: pair(1), participant: BEN });
    history.say(PairActivated { pair: pair(1), term_ends_day: on(181).1 });
    history.by(Actor::Participant(CLEO), "web").say(PairDeclined { pair: pair(2), participant: CLEO });
    for (n, a, b) in [(3, ANN, CLEO), (4, BEN, CLEO), (5, BEN, DAN)] {
        history.by(Actor::Participant(a), "web").say(proposed(n, a, b));
    }
    history.say(ProposalWithdrawn { pair: pair(3) });
    history.by(Actor::System, "local").on(20).say(ProposalExpired { pair: pair(4) });
    history.say(ProposalInvalidated { pair: pair(5), cause: Invalidation::PairingBlocked });
    let (started_at, started_day) = on(-30);
    let origin = Origin::Imported;
    history.by(Actor::Manager, "import");
    history.say(PairImported { pair: pair(6), a: ANN, b: DAN, started_at, started_day, origin });

    history.by(Actor::Participant(BEN), "web");
    history.say(logged(1, 1, 19, &[(ANN, "negotiation", 20), (BEN, "rust", 40)]));
    history.by(Actor::Participant(ANN), "chat-bot");
    history.say(SessionConfirmed { session: session(1), version: 1, participant: ANN });
    history.say(rated(1, BEN, "rust", 4));
    history.say(RatingRevised { session: session(1), teacher: BEN, skill: slug("rust"), rating: 5 });
    history.say(GoalSet { goal: goal(1), pair: pair(1), learner: ANN, skill: slug("rust") });
    history.say(GoalSet { goal: goal(2), pair: pair(1), learner: BEN, skill: slug("negotiation") });
    history.on(25).say(logged(2, 1, 24, &[(ANN, "negotiation", 60)]));
    history.by(Actor::Participant(BEN), "web");
    history.say(SessionDisputed { session: session(2), version: 1, participant: Some(BEN) });
    history.say(DisputeResolved { session: session(2), version: 1 });
    history.say(corrected(2, 2, 23, &[(ANN, "negotiation", 30), (BEN, "rust", 15), (BEN, "git", 15)]));
    history.by(Actor::Manager, "local").say(logged(3, 1, 25, &[(BEN, "rust", 90)]));
    history.say(SessionVoided { session: session(3) });
    history.by(Actor::Manager, "import");
    history.say(SessionLogged { origin: Some(origin), ..logged(4, 6, -40, &[(DAN, "unspecified", 1)]) });
    history.on_behalf_of = Some(DAN);
    let (occurred_at, day) = on(26);
    let no_show = NoShowId(Uuid::from_u128(0x80_0000));
    history.on(27).say(NoShowRecorded { no_show, pair: pair(1), absent: Absent::A, occurred_at, day });
    history.say(logged(5, 6, 27, &[(DAN, "chess", 25)]));
    history.say(SessionDisputed { session: session(5), version: 1, participant: None });

    history.by(Actor::Manager, "local").say(GoalCompleted { goal: goal(1) });
    history.say(GoalAbandoned { goal: goal(2) });
    history.say(PairPaused { pair: pair(1) }).on(30).say(PairResumed { pair: pair(1) });
    history.say(PairExtended { pair: pair(1), term_ends_day: on(270).1 });
    history.say(BreakTaken { participant: BEN }).on(40).say(BreakEnded { participant: BEN });
    history.say(ArmChanged { participant: CLEO, arm: Arm::Comparison });
    history.say(BreakTaken { participant: CLEO });
    let (occurred_at, day) = on(39);
    history.say(PairEnded { pair: pair(1), reason: EndReason::GoalsMet, occurred_at, day });
    history.say(ParticipantLeft { participant: BEN, occurred_at, day });
    let reason = DepartureReason::Retired;
    history.say(ParticipantDeparted { participant: ANN, reason, occurred_at, day });
    history.on(50).say(ParticipantReturned { participant: ANN });
    history.say(PersonErased { participant: DAN, erasure: ErasureId(Uuid::from_u128(0xe5)) });
    let measures = MeasurePolicy { stall_after_days: 10, ..MeasurePolicy::default() };
    history.say(PolicyChanged { rules: None, measures: Some(measures) });
    let rules = RulePolicy { capacity: 5, ..RulePolicy::default() };
    history.say(PolicyChanged { rules: Some(rules), measures: None });
    history.say(ProgramClosed {}).on(60).say(ProgramArchived {});
    history
}

#[test]
fn a_history_of_every_fact_there_is() {
    let history = story();
    let told: BTreeSet<&str> = history.entries.iter().map(|entry| entry.event.shape().name).collect();
    let every: BTreeSet<&str> = Event::SHAPES.iter().map(|shape| shape.name).collect();
    assert_eq!(told, every);

    // Every beginning of it is a history as well.
    for size in 0..=history.entries.len() {
        let mut beginning = history.clone();
        beginning.entries.truncate(size);
        check(&beginning);
    }
    insta::assert_json_snapshot!(check(&history));
}

#[test]
fn what_is_streamed_is_one_compact_line_of_json() {
    let text = json(&story().folded());
    assert!(!text.contains('\n'));
    let value: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(
        value["program"],
        serde_json::json!(story().folded().program(story().entries.last().unwrap().recorded_at))
    );
    assert_eq!(value["sessions"].as_array().unwrap().len(), 5);
}

#[test]
fn an_empty_ledger_has_no_program_and_nothing_in_it() {
    let models = check(&History::empty());
    assert_eq!(models.program(on(0).0), None);
    assert_eq!(models.participants(None, 10).unwrap().items, []);
    assert!(models.timeline(ANN.0).is_none());
    assert!(serde_json::from_str::<serde_json::Value>(&json(&models)).is_ok());
}

#[test]
fn what_refers_to_something_unknown_changes_nothing_but_the_size() {
    // The story without everything that others refer to: no entry may panic, and nothing but its own counts.
    let whole = story();
    for missing in 0..whole.entries.len() {
        let mut history = whole.clone();
        history.entries.remove(missing);
        history.folded();
    }
    let mut history = History::empty();
    history.entries = whole.entries.into_iter().filter(|entry| entry.seq != 0).collect();
    history.entries.retain(|entry| !matches!(entry.event, Event::ParticipantEnrolled(_)));
    let models = history.folded();
    assert_eq!(models.pairs.len() + models.sessions.len() + models.goals.len(), 0);
}

#[test]
fn a_thing_told_twice_is_there_once() {
    let mut history = History::of_two_pairs();
    history.say(logged(1, 1, 3, &[(ANN, "rust", 30)]));
    let once = history.folded();
    history.say(logged(1, 1, 4, &[(BEN, "rust", 60)]));
    history.say(enrolled(ANN, "gen-z")).say(proposed(1, BEN, CLEO));
    let twice = history.folded();
    let today = on(5).1;
    assert_eq!(once.session(session(1)), twice.session(session(1)));
    assert_eq!(once.pair(pair(1), today), twice.pair(pair(1), today));
    assert_eq!(once.participant(ANN), twice.participant(ANN));
}

#[test]
fn a_correction_replaces_what_was_said_and_keeps_the_ratings_of_what_is_still_there() {
    let mut history = History::of_two_pairs();
    history.say(logged(1, 1, 3, &[(ANN, "rust", 30), (BEN, "chess", 10)]));
    history.by(Actor::Participant(BEN), "web");
    history.say(SessionConfirmed { session: session(1), version: 1, participant: BEN });
    history.say(rated(1, ANN, "rust", 2)).say(rated(1, BEN, "chess", 5));
    history.say(corrected(1, 2, 4, &[(ANN, "rust", 45), (ANN, "chess", 5)]));
    let models = check(&history);
    let view = models.session(session(1)).unwrap();
    assert_eq!(
        (view.state, view.evidence, view.content_version),
        (SessionState::Logged, Evidence::Logged, 2)
    );
    let ratings: Vec<_> = view.exchanges.iter().map(|exchange| exchange.rating).collect();
    assert_eq!(ratings, [Some(2), None], "Ben's lesson is gone and so is its rating");
    assert_eq!(view.day, on(4).1);
    assert_eq!(view.logged_by.actor, Some(Actor::Participant(BEN)));
    let pair = models.pair(pair(1), on(4).1).unwrap();
    assert_eq!((pair.minutes.a_to_b, pair.minutes.b_to_a), (50, 0));
}

#[test]
fn a_session_out_of_dispute_is_as_well_attested_as_it_was() {
    let mut history = History::of_two_pairs();
    history.by(Actor::Participant(ANN), "web").say(logged(1, 1, 3, &[(ANN, "rust", 30)]));
    history.by(Actor::Participant(BEN), "web");
    history.say(SessionConfirmed { session: session(1), version: 1, participant: BEN });
    history.say(SessionDisputed { session: session(1), version: 1, participant: Some(BEN) });
    let view = check(&history).session(session(1)).unwrap();
    assert_eq!((view.state, view.evidence), (SessionState::Disputed, Evidence::ConfirmedAsserted));
    history.say(DisputeResolved { session: session(1), version: 1 });
    let view = check(&history).session(session(1)).unwrap();
    assert_eq!((view.state, view.evidence), (SessionState::Confirmed, Evidence::ConfirmedAsserted));
}

#[test]
fn what_is_void_stays_void() {
    let mut history = History::of_two_pairs();
    history.say(logged(1, 1, 3, &[(ANN, "rust", 30)])).say(SessionVoided { session: session(1) });
    history.say(corrected(1, 2, 4, &[(ANN, "rust", 45)]));
    history.say(DisputeResolved { session: session(1), version: 1 });
    history.say(rated(1, ANN, "rust", 5));
    let view = check(&history).session(session(1)).unwrap();
    assert_eq!((view.state, view.minutes), (SessionState::Voided, 30));
}

#[test]
fn a_pair_is_stalled_when_more_days_than_allowed_passed_since_it_met_started_or_resumed() {
    let mut history = History::of_two_pairs();
    history.say(logged(1, 1, 10, &[(ANN, "rust", 30)]));
    let stalled = |history: &History, n: u128, day: i32| {
        let mut history = history.clone();
        check(history.on(day)).pair(pair(n), on(day).1).unwrap().stalled
    };
    assert!(!stalled(&history, 1, 55) && stalled(&history, 1, 56), "45 days after its session");
    assert!(!stalled(&history, 2, 45) && stalled(&history, 2, 46), "45 days after its start");
    history.on(60).say(PairPaused { pair: pair(2) });
    assert!(!stalled(&history, 2, 70), "who pauses does not stall");
    history.on(80).say(PairResumed { pair: pair(2) });
    assert!(!stalled(&history, 2, 125) && stalled(&history, 2, 126), "45 days after it went on");
    history.say(SessionVoided { session: session(1) });
    assert!(stalled(&history, 1, 46), "the session that kept it going never was");
}

#[test]
fn an_imported_pair_starts_with_its_earliest_session_that_counts() {
    let mut history = History::of_four();
    let (started_at, started_day) = on(-10);
    history.say(PairImported {
        pair: pair(1),
        a: ANN,
        b: BEN,
        started_at,
        started_day,
        origin: Origin::Imported,
    });
    let imported =
        |n, day| SessionLogged { origin: Some(Origin::Imported), ..logged(n, 1, day, &[(ANN, "rust", 30)]) };
    let started = |history: &History| {
        let pair = check(history).pair(pair(1), on(0).1).unwrap();
        (pair.started_day.unwrap(), pair.version)
    };
    assert_eq!(started(&history), (on(-10).1, 5));
    history.say(imported(1, -5));
    assert_eq!(started(&history), (on(-10).1, 5));
    history.say(imported(2, -20));
    assert_eq!(started(&history), (on(-20).1, 7), "it is a change of the pair itself");
    history.say(SessionVoided { session: session(2) });
    assert_eq!(started(&history), (on(-10).1, 7));
}

#[test]
fn the_version_of_a_thing_moves_with_it_and_its_newest_position_with_everything_shown() {
    let mut history = History::of_two_pairs();
    let versions = |history: &History| {
        let models = check(history);
        let (person, pair) = (models.participant(ANN).unwrap(), models.pair(pair(1), on(0).1).unwrap());
        [person.version, person.last_seq, pair.version, pair.last_seq]
    };
    assert_eq!(versions(&history), [1, 10, 7, 7]);
    history.say(logged(1, 1, 0, &[(ANN, "rust", 30)]));
    assert_eq!(versions(&history), [1, 11, 7, 11]);
    history.say(CapacitySet { participant: ANN, capacity: Some(9) });
    assert_eq!(versions(&history), [12, 12, 7, 11]);
    history.say(PairPaused { pair: pair(1) });
    assert_eq!(versions(&history), [12, 13, 13, 13]);
}

#[test]
fn who_is_erased_stays_so_and_who_returns_is_enrolled() {
    let mut history = History::of_four();
    let (occurred_at, day) = on(2);
    let reason = DepartureReason::Voluntary;
    history.on(3).say(ParticipantDeparted { participant: ANN, reason, occurred_at, day });
    let view = check(&history).participant(ANN).unwrap();
    assert_eq!(
        (view.state, view.since, view.departure_reason),
        (ParticipantState::Departed, day, Some(reason))
    );
    history.say(ParticipantReturned { participant: ANN });
    let view = check(&history).participant(ANN).unwrap();
    assert_eq!((view.state, view.departure_reason), (ParticipantState::Enrolled, None));
    history.say(PersonErased { participant: ANN, erasure: ErasureId(Uuid::nil()) });
    history.say(ParticipantLeft { participant: ANN, occurred_at, day });
    assert_eq!(check(&history).participant(ANN).unwrap().state, ParticipantState::Erased);
}

#[test]
fn who_is_erased_takes_nothing_out_of_a_total() {
    let mut history = History::of_two_pairs();
    history.by(Actor::Participant(ANN), "web").on(3);
    history.say(logged(1, 1, 2, &[(ANN, "rust", 30), (BEN, "go", 20)])).say(rated(1, BEN, "go", 4));
    history.say(logged(2, 2, 3, &[(CLEO, "git", 15)]));
    history.by(Actor::Manager, "local").on(10);
    let today = on(10).1;
    let counted = |models: &ReadModels| {
        let figures = models.reciprocity(crate::reciprocity::Asked::as_of(today));
        let ben = models.participant(BEN).unwrap();
        let sessions = [1, 2].map(|n| serde_json::to_value(models.session(session(n)).unwrap()).unwrap());
        (serde_json::to_value(figures).unwrap(), sessions, ben.taught, ben.learned, ben.sessions)
    };
    let before = counted(&check(&history));
    let program = |history: &History| check(history).program(on(10).0).unwrap();
    let was = program(&history);
    let (occurred_at, day) = on(10);
    history.say(PersonErased { participant: ANN, erasure: ErasureId(Uuid::nil()) });
    for n in [1, 2] {
        history.say(PairEnded { pair: pair(n), reason: EndReason::DataErasure, occurred_at, day });
    }
    assert_eq!(counted(&check(&history)), before);
    let is = program(&history);
    assert_eq!((is.participants.states.erased, was.participants.states.erased), (1, 0));
    assert_eq!(is.participants.states.enrolled + 1, was.participants.states.enrolled);
    let total = |program: &crate::program::ProgramView| serde_json::to_value(program.sessions).unwrap();
    assert_eq!(total(&is), total(&was));
}

#[test]
fn pages_go_through_everything_once_and_in_order() {
    let mut history = History::of_two_pairs();
    history.say(proposed(3, BEN, CLEO)).say(proposed(4, ANN, DAN)).say(ProposalWithdrawn { pair: pair(3) });
    let models = check(&history);
    let today = on(0).1;
    for limit in 1..=5 {
        let (mut seen, mut after) = (Vec::new(), None);
        loop {
            let page = models.participants(after, limit).unwrap();
            seen.extend(page.items.iter().map(|person| person.participant));
            after = seen.last().copied();
            if !page.more {
                break;
            }
        }
        assert_eq!(seen, [ANN, BEN, CLEO, DAN]);
    }
    let listed = |state, participant, after| {
        let page = models.pairs(PairFilter { state, participant }, after, 2, today)?;
        Some((page.items.iter().map(|pair| pair.pair).collect::<Vec<_>>(), page.more))
    };
    assert_eq!(listed(None, None, None), Some((vec![pair(1), pair(2)], true)));
    assert_eq!(listed(None, None, Some(pair(2))), Some((vec![pair(3), pair(4)], false)));
    assert_eq!(listed(None, Some(ANN), Some(pair(1))), Some((vec![pair(2), pair(4)], false)));
    assert_eq!(listed(None, Some(ANN), None), Some((vec![pair(1), pair(2)], true)));
    assert_eq!(listed(Some(PairState::Withdrawn), None, None), Some((vec![pair(3)], false)));
    assert_eq!(listed(Some(PairState::Active), Some(DAN), None), Some((vec![], false)));
    assert_eq!(listed(None, Some(ParticipantId(Uuid::nil())), None), Some((vec![], false)));
    assert_eq!(listed(None, None, Some(pair(9))), None, "an unknown place to go on from");
    assert!(models.participants(Some(ParticipantId(Uuid::nil())), 1).is_none());
}

#[test]
fn a_timeline_is_every_position_that_concerns_the_subject() {
    let models = check(&story());
    let timeline = |subject: Uuid| models.timeline(subject).unwrap().collect::<Vec<_>>();
    insta::assert_json_snapshot!(serde_json::json!({
        "ben": timeline(BEN.0),
        "cleo": timeline(CLEO.0),
        "pair 1": timeline(pair(1).0),
        "session 2": timeline(session(2).0),
        "goal 1": timeline(goal(1).0),
        "round": timeline(ROUND.0),
    }));
    assert!(models.timeline(Uuid::nil()).is_none());
}

/// One thing that may happen to one of a few sessions.
#[derive(Debug, Clone)]
enum Step {
    Log { pair: bool, day: i32, imported: bool, exchanges: Vec<(bool, usize, u16)> },
    Correct { session: usize, day: i32, exchanges: Vec<(bool, usize, u16)> },
    Confirm { session: usize, same: bool },
    Dispute { session: usize },
    Resolve { session: usize },
    Void { session: usize },
    Rate { session: usize, exchange: usize, rating: u8 },
    Pause,
    Resume,
    End { pair: bool, reason: usize, day: i32 },
    Extend { day: i32 },
    Lapse { days: u16 },
    Seek { other: bool, skill: Option<usize> },
}

/// One of each class that counts otherwise.
const REASONS: [EndReason; 4] =
    [EndReason::EnteredInError, EndReason::LostContact, EndReason::TermCompleted, EndReason::ManagerDecision];

const SKILLS: [&str; 3] = ["rust", "chess", "negotiation"];

fn steps() -> impl Strategy<Value = Vec<Step>> {
    // By (teacher, skill), so that there is one of each as the rules have it.
    let exchanges = || {
        prop::collection::btree_map((any::<bool>(), 0..SKILLS.len()), 1_u16..240, 1..5).prop_map(
            |exchanges| {
                exchanges.into_iter().map(|((a, skill), minutes)| (a, skill, minutes)).collect::<Vec<_>>()
            },
        )
    };
    let session = || 0_usize..8;
    let step = prop_oneof![
        4 => (any::<bool>(), -40..40, any::<bool>(), exchanges())
            .prop_map(|(pair, day, imported, exchanges)| Step::Log { pair, day, imported, exchanges }),
        3 => (session(), -40..40, exchanges())
            .prop_map(|(session, day, exchanges)| Step::Correct { session, day, exchanges }),
        3 => (session(), any::<bool>()).prop_map(|(session, same)| Step::Confirm { session, same }),
        3 => session().prop_map(|session| Step::Dispute { session }),
        2 => session().prop_map(|session| Step::Resolve { session }),
        1 => session().prop_map(|session| Step::Void { session }),
        4 => (session(), 0_usize..4, 1_u8..=5)
            .prop_map(|(session, exchange, rating)| Step::Rate { session, exchange, rating }),
        1 => Just(Step::Pause),
        1 => Just(Step::Resume),
        1 => (any::<bool>(), 0..REASONS.len(), -40..40)
            .prop_map(|(pair, reason, day)| Step::End { pair, reason, day }),
        1 => (0..60).prop_map(|day| Step::Extend { day }),
        1 => (1_u16..30).prop_map(|days| Step::Lapse { days }),
        1 => (any::<bool>(), prop::option::of(0..SKILLS.len()))
            .prop_map(|(other, skill)| Step::Seek { other, skill }),
    ];
    prop::collection::vec(step, 0..60)
}

fn lapsing_after(lapse_after_days: u16) -> PolicyChanged {
    let measures = MeasurePolicy { lapse_after_days, ..MeasurePolicy::default() };
    PolicyChanged { rules: None, measures: Some(measures) }
}

/// What a session has come to, kept the simple way.
struct Fate {
    pair: u128,
    day: i32,
    imported: bool,
    exchanges: Vec<(ParticipantId, &'static str, u16)>,
    ratings: BTreeMap<(ParticipantId, &'static str), u8>,
    confirmed: Option<bool>,
    disputed: bool,
    voided: bool,
    version: u32,
}

proptest! {
    #[test]
    fn only_what_is_live_in_the_end_has_left_a_trace(steps in steps()) {
        let mut history = History::of_two_pairs();
        let (mut ends, mut lapse_days) = (BTreeMap::new(), MeasurePolicy::default().lapse_after_days);
        let mut sought: BTreeMap<ParticipantId, SkillsUpdated> = BTreeMap::new();
        let mut fates: Vec<Fate> = Vec::new();
        let told = |pair: u128, exchanges: &[(bool, usize, u16)]| -> Vec<_> {
            let other = if pair == 1 { BEN } else { CLEO };
            let teacher = |a: bool| if a { ANN } else { other };
            exchanges.iter().map(|&(a, skill, minutes)| (teacher(a), SKILLS[skill], minutes)).collect()
        };
        for step in steps {
            match step {
                Step::Log { pair, day, imported, exchanges } => {
                    let pair = 1 + u128::from(pair);
                    let exchanges = told(pair, &exchanges);
                    let origin = imported.then_some(Origin::Imported);
                    let n = fates.len() as u128;
                    history.say(SessionLogged { origin, ..logged(n, pair, day, &exchanges) });
                    let (ratings, confirmed) = (BTreeMap::new(), None);
                    fates.push(Fate {
                        pair, day, imported, exchanges, ratings, confirmed, disputed: false, voided: false, version: 1,
                    });
                }
                Step::Correct { session: n, day, exchanges } => {
                    let Some(fate) = fates.get_mut(n).filter(|fate| !fate.voided) else { continue };
                    fate.version += 1;
                    (fate.day, fate.exchanges) = (day, told(fate.pair, &exchanges));
                    (fate.disputed, fate.confirmed) = (false, None);
                    let kept = &fate.exchanges;
                    fate.ratings.retain(|what, _| kept.iter().any(|(who, skill, _)| (*who, *skill) == *what));
                    history.say(corrected(n as u128, fate.version, day, &fate.exchanges));
                }
                Step::Confirm { session: n, same } => {
                    let Some(fate) = fates.get_mut(n) else { continue };
                    if fate.voided || fate.disputed || fate.confirmed.is_some() {
                        continue;
                    }
                    fate.confirmed = Some(same);
                    let version = fate.version;
                    history.by(Actor::Manager, if same { "local" } else { "other" });
                    history.say(SessionConfirmed { session: session(n as u128), version, participant: BEN });
                    history.by(Actor::Manager, "local");
                }
                Step::Dispute { session: n } => {
                    let Some(fate) = fates.get_mut(n).filter(|fate| !fate.voided && !fate.disputed) else {
                        continue;
                    };
                    fate.disputed = true;
                    let version = fate.version;
                    history.say(SessionDisputed { session: session(n as u128), version, participant: None });
                }
                Step::Resolve { session: n } => {
                    let Some(fate) = fates.get_mut(n).filter(|fate| !fate.voided && fate.disputed) else {
                        continue;
                    };
                    fate.disputed = false;
                    history.say(DisputeResolved { session: session(n as u128), version: fate.version });
                }
                Step::Void { session: n } => {
                    let Some(fate) = fates.get_mut(n).filter(|fate| !fate.voided) else { continue };
                    fate.voided = true;
                    history.say(SessionVoided { session: session(n as u128) });
                }
                Step::Rate { session: n, exchange, rating } => {
                    let Some(fate) = fates.get_mut(n) else { continue };
                    let Some(&(who, skill, _)) = fate.exchanges.get(exchange) else { continue };
                    let before = fate.ratings.insert((who, skill), rating);
                    let session = session(n as u128);
                    if before.is_some() {
                        history.say(RatingRevised { session, teacher: who, skill: slug(skill), rating });
                    } else {
                        history.say(rated(n as u128, who, skill, rating));
                    }
                }
                // No history pauses or resumes a pair that has ended.
                Step::Pause | Step::Resume if ends.contains_key(&false) => {}
                Step::Pause => { history.say(PairPaused { pair: pair(1) }); }
                Step::Resume => { history.say(PairResumed { pair: pair(1) }); }
                Step::End { pair: of, reason, day } => {
                    let (pair, (occurred_at, day)) = (pair(1 + u128::from(of)), on(day));
                    let ended = PairEnded { pair, reason: REASONS[reason], occurred_at, day };
                    history.say(ended.clone());
                    ends.insert(of, ended);
                }
                Step::Extend { day } => {
                    history.say(PairExtended { pair: pair(2), term_ends_day: on(day).1 });
                }
                Step::Lapse { days } => {
                    lapse_days = days;
                    history.say(lapsing_after(days));
                }
                Step::Seek { other, skill } => {
                    let participant = if other { BEN } else { ANN };
                    let seeks = skill.map(|skill| slug(SKILLS[skill])).into_iter().collect::<Vec<_>>();
                    let updated = SkillsUpdated { participant, offered: seeks.clone(), sought: seeks };
                    history.say(updated.clone());
                    sought.insert(participant, updated);
                }
            }
        }
        let models = check(&history);

        // The same as if only what is live in the end had ever been said, in another order at that.
        let mut plain = History::of_two_pairs();
        for ended in ends.into_values() {
            plain.say(ended);
        }
        plain.say(lapsing_after(lapse_days));
        for updated in sought.into_values() {
            plain.say(updated);
        }
        for (n, fate) in fates.iter().enumerate().rev().filter(|(_, fate)| !fate.voided && !fate.disputed) {
            let origin = fate.imported.then_some(Origin::Imported);
            plain.say(SessionLogged { origin, ..logged(n as u128, fate.pair, fate.day, &fate.exchanges) });
            for (&(who, skill), &rating) in &fate.ratings {
                plain.say(rated(n as u128, who, skill, rating));
            }
            if let Some(same) = fate.confirmed {
                plain.by(Actor::Manager, if same { "local" } else { "other" });
                let version = fate.version;
                plain.say(SessionConfirmed { session: session(n as u128), version, participant: BEN });
                plain.by(Actor::Manager, "local");
            }
        }
        let plain = check(&plain);

        let figures = |models: &ReadModels| {
            let program = models.program(on(0).0).unwrap();
            let sessions = crate::exchanges::SessionCounts { disputed: 0, voided: 0, ..program.sessions };
            let pairs = [1, 2].map(|n| {
                let pair = models.pair(pair(n), on(0).1).unwrap();
                let sessions = (pair.sessions.live, pair.sessions.confirmed);
                let days = (pair.started_day, pair.first_session_day, pair.last_session_day);
                (pair.minutes, pair.exchanges, sessions, days)
            });
            let people = models.participants(None, 9).unwrap().items.into_iter().map(|person| {
                (person.taught, person.learned, person.sessions, person.last_session_day)
            });
            let skills = models.skills().into_iter().filter(|skill| skill.exchanges > 0).collect::<Vec<_>>();
            let measured = measures::figures(models, on(40).1, lapse_days);
            (sessions, program.ratings, pairs, people.collect::<Vec<_>>(), skills, measured)
        };
        prop_assert_eq!(figures(&models), figures(&plain));
        for (n, fate) in (0..).zip(&fates) {
            let view = models.session(session(n)).unwrap();
            prop_assert_eq!(view.content_version, fate.version);
            let expected: Vec<_> = fate.exchanges.iter().map(|&(who, skill, minutes)| {
                (who, slug(skill), minutes, fate.ratings.get(&(who, skill)).copied())
            }).collect();
            let shown: Vec<_> = view.exchanges.into_iter().map(|exchange| {
                (exchange.teacher, exchange.skill, exchange.minutes, exchange.rating)
            }).collect();
            prop_assert_eq!(shown, expected);
        }
    }
}

/// Resident memory of this process, in bytes.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

/// Time this thread has spent on a processor; the time of the wall says how busy the machine was.
fn spent() -> std::time::Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    std::time::Duration::from_nanos(text.split_whitespace().next().unwrap().parse().unwrap())
}

/// Run alone and optimised, or its figures say nothing:
/// `cargo test --release -p mentorlog-projections -- --ignored --nocapture a_million`
#[test]
#[ignore = "a measurement, for optimised builds"]
fn a_million_sessions_among_twenty_thousand_people() {
    const PEOPLE: u128 = 20_000;
    const PAIRS: u128 = 100_000;
    const SESSIONS: u128 = 1_000_000;
    // Ids as random as real ones: a multiplication by an odd constant maps counters one to one onto them.
    let scatter = |kind: u128, n: u128| {
        Uuid::from_u128((n << 8 | kind).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835))
    };
    let person = |n: u128| ParticipantId(scatter(1, n));
    let of = |n: u128| (person(n % PEOPLE), person((n * 7919 + n / PEOPLE + 1) % PEOPLE));
    let id = |n: u128| SessionId(scatter(3, n));
    let pair_of = |n: u128| scatter(4, n).as_u128() % PAIRS;
    let words: Vec<String> = (0..200).map(|n| format!("skill-{n}")).collect();
    let word = |n: u128| words[usize::try_from(n % 200).unwrap()].as_str();
    let session = |n: u128| {
        let number = pair_of(n);
        let (a, b) = of(number);
        let exchanges = [(a, word(n), 30), (b, word(n + 1), 15)];
        let exchanges = &exchanges[usize::from(n.is_multiple_of(2))..];
        let day = i32::try_from(n / 1000).unwrap();
        let told = logged(0, 0, day, exchanges);
        SessionLogged { session: id(n), pair: PairId(scatter(2, number)), ..told }
    };

    let mut models = ReadModels::new();
    let mut size = 0;
    // The processor's time is told in steps of a scheduler's tick: right in sum, not for a thousand entries.
    let mut phase = |name: &str, count: u128, event: &dyn Fn(u128) -> Event| {
        let before = resident();
        let (mut sum, mut slowest) = (std::time::Duration::ZERO, std::time::Duration::ZERO);
        let mut history = History::empty();
        for start in (0..count).step_by(1_000) {
            history.entries.clear();
            for n in start..(start + 1_000).min(count) {
                history.say(event(n));
                history.entries.last_mut().unwrap().seq = size;
                size += 1;
            }
            let (clock, wall) = (spent(), std::time::Instant::now());
            history.entries.iter().for_each(|entry| models.apply(entry));
            slowest = slowest.max(wall.elapsed());
            sum += spent().saturating_sub(clock);
        }
        drop(history);
        let grown = resident().saturating_sub(before);
        let million = 1e6 * sum.as_secs_f64();
        println!(
            "{name:>10}: {count:>8}, {:5.2} M/s, slowest 1,000 in {slowest:>10.2?}, {:6.1} MB, {:4} B each",
            count as f64 / million,
            grown as f64 / 1e6,
            u128::from(grown) / count
        );
        assert_eq!(models.size(), size);
    };
    phase("program", 1, &|_| opened().into());
    phase("enrolled", PEOPLE, &|n| {
        // Three of two hundred skills each way; some are named far more often than others.
        let three = |from: u128| {
            [0, 1, 2].map(|which| {
                let chance = scatter(5, scatter(6, 6 * n + from + which).as_u128() >> 64).as_u128() >> 64;
                slug(word((chance % 200) * (chance / 200 % 200) / 200))
            })
        };
        ParticipantEnrolled {
            offered: three(0).into(),
            sought: three(3).into(),
            unit: Some(slug(["north", "east", "south", "west"][usize::try_from(n % 4).unwrap()])),
            capacity: Some(50),
            ..enrolled(person(n), ["gen-x", "gen-z"][usize::try_from(n % 2).unwrap()])
        }
        .into()
    });
    phase("proposed", PAIRS, &|n| {
        let (a, b) = of(n);
        PairProposed { pair: PairId(scatter(2, n)), ..proposed(0, a, b) }.into()
    });
    phase("activated", PAIRS, &|n| {
        PairActivated { pair: PairId(scatter(2, n)), term_ends_day: on(180).1 }.into()
    });
    phase("logged", SESSIONS, &|n| session(n).into());
    phase("confirmed", SESSIONS, &|n| {
        SessionConfirmed { session: id(n), version: 1, participant: of(pair_of(n)).1 }.into()
    });
    phase("rated", SESSIONS, &|n| {
        let (_, b) = of(pair_of(n));
        ExchangeRated { session: id(n), ..rated(0, b, word(n + 1), 4) }.into()
    });
    phase("voided", SESSIONS / 10, &|n| SessionVoided { session: id(n * 10) }.into());

    let clock = std::time::Instant::now();
    let view = models.program(on(1000).0).unwrap();
    println!("   program: {:?}", clock.elapsed());
    assert_eq!(u128::from(view.sessions.live), SESSIONS - SESSIONS / 10);
    measures::cost(&models, on(1000).1);
    suggestions::cost(&models);
    let clock = std::time::Instant::now();
    let close = models.week_close(crate::outsiders::Week::of(on(1000).1)).unwrap();
    println!("week close: {:?}, {} withheld", clock.elapsed(), close.withheld);
    let clock = std::time::Instant::now();
    models.write_json(&mut std::io::BufWriter::new(std::io::sink())).unwrap();
    println!("      json: {:?}", clock.elapsed());
}
