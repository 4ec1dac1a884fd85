//! The measures through the read models, against the definitions: the statistics fed session by session.

use super::*;
use crate::exchanges::ExchangeView;
use crate::participants::ParticipantView;
use crate::reciprocation::{StillOneWay, TimeToReciprocation};
use crate::reciprocity::{Asked, Figure, Grades, Reciprocity};
use crate::retention::{self, Basis, By, Impossible, Retention, Subject};
use crate::statistics::flows::{BandFlows, Flows, Part, ValueFlows};
use crate::statistics::lives::{Cause, Life, LifeTable, Outcome};
use crate::statistics::ratio::Ratio;
use crate::statistics::spells::spells;
use crate::statistics::survival::{Curve, Reading};

fn same(figure: Figure, ratio: Ratio) {
    assert_eq!((figure.numerator, figure.denominator), (ratio.numerator, ratio.denominator));
    assert_eq!(figure.value, ratio.value());
}

/// Holds the figures against those made from the sessions as they are shown.
fn by_definition(models: &ReadModels, asked: Asked, ours: &Reciprocity) {
    let until = asked.to.map_or(asked.as_of, |to| to.min(asked.as_of));
    let counts = |session: &&SessionView| {
        let live = matches!(session.state, SessionState::Logged | SessionState::Confirmed);
        let pair = models.pair(session.pair, asked.as_of).unwrap();
        let in_error = pair.end_class == Some(EndClass::EnteredInError);
        live && !in_error && session.day <= until && asked.from.is_none_or(|from| from <= session.day)
    };
    let sessions: Vec<SessionView> = models.sessions.iter().map(|row| models.session_view(row)).collect();
    let of_days: Vec<&SessionView> = sessions.iter().filter(counts).collect();
    let picked: Vec<&&SessionView> =
        of_days.iter().filter(|session| asked.evidence.takes(session.evidence)).collect();
    let people = models.participants(None, usize::MAX).unwrap().items;
    let generation =
        |id: ParticipantId| people.iter().find(|person| person.participant == id).unwrap().generation.clone();

    let (mut flows, mut value, mut bands) = (Flows::default(), ValueFlows::default(), BandFlows::default());
    let exchanges: Vec<&ExchangeView> = picked.iter().flat_map(|session| &session.exchanges).collect();
    for exchange in &exchanges {
        let minutes = u32::from(exchange.minutes);
        flows.add(&exchange.teacher, &exchange.learner, minutes);
        value.add(&exchange.teacher, &exchange.learner, minutes, exchange.rating);
        bands.add(&generation(exchange.teacher), &generation(exchange.learner), minutes);
    }
    let met = |id: ParticipantId| {
        sessions.iter().any(|session| {
            let pair = models.pair(session.pair, until).unwrap();
            let live = matches!(session.state, SessionState::Logged | SessionState::Confirmed);
            let in_error = pair.end_class == Some(EndClass::EnteredInError);
            live && !in_error && session.day <= until && (pair.a == id || pair.b == id)
        })
    };
    let enrolled = people.iter().filter(|person| {
        let here = person.enrolled_day <= until || met(person.participant);
        person.arm == Arm::Program && here || flows.part(&person.participant) != Part::default()
    });
    let enrolled = enrolled.count() as u64;
    assert_eq!(ours.enrolled, enrolled);
    assert_eq!(ours.sessions, picked.len() as u64);
    let figures = ours.figures;
    same(figures.weighted_reciprocity, flows.weighted_reciprocity());
    same(figures.generalised_reciprocity, flows.generalised_reciprocity());
    same(figures.indirect_reciprocity, flows.indirect_reciprocity());
    same(figures.two_way_pair_share, flows.two_way_pair_share());
    assert_eq!(figures.two_way_pair_share.interval, flows.two_way_pair_share().wilson());
    same(figures.dual_role_share, flows.dual_role_share(enrolled));
    same(figures.teaching_gini, flows.teaching_gini(enrolled));
    same(figures.value_reciprocity.figure, value.value_reciprocity());
    same(figures.value_reciprocity.coverage.exchanges, value.exchange_coverage());
    same(figures.value_reciprocity.coverage.minutes, value.minute_coverage());
    let confirmed = of_days.iter().filter(|session| session.state == SessionState::Confirmed).count();
    same(figures.confirmation_ratio, Ratio::new(confirmed as u64, of_days.len() as u64));
    let measures = models.measures_on(asked.as_of).unwrap();
    let age = |name: &Slug| {
        let oldest_first = measures.measures.bands.iter().position(|band| band.name == *name)?;
        Some(u32::MAX - u32::try_from(oldest_first).unwrap())
    };
    same(figures.cross_generation_share, bands.cross_share(age));
    same(figures.reverse_share, bands.reverse_share(age));
    assert_eq!(ours.flow.len(), bands.cells().len());
    for cell in &ours.flow {
        assert_eq!(cell.minutes, bands.minutes(&cell.from, &cell.to));
        let of = exchanges.iter().filter(|exchange| {
            (generation(exchange.teacher), generation(exchange.learner))
                == (cell.from.clone(), cell.to.clone())
        });
        let people: BTreeSet<_> = of.flat_map(|exchange| [exchange.teacher, exchange.learner]).collect();
        assert_eq!(cell.people, people.len() as u64);
    }
    for skill in &ours.skills {
        let of: Vec<_> = exchanges.iter().filter(|exchange| exchange.skill == skill.skill).collect();
        let minutes = of.iter().map(|exchange| u64::from(exchange.minutes)).sum::<u64>();
        let people: BTreeSet<_> =
            of.iter().flat_map(|exchange| [exchange.teacher, exchange.learner]).collect();
        assert_eq!(
            (skill.exchanges, skill.minutes, skill.people),
            (of.len() as u64, minutes, people.len() as u64)
        );
        assert_eq!(skill.ratings, of.iter().filter(|exchange| exchange.rating.is_some()).count() as u64);
        let seekers: Vec<_> = people_who_seek(models, &skill.skill);
        assert_eq!(skill.sought_fulfilment.denominator, seekers.len() as u64);
        let learned = seekers.iter().filter(|seeker| of.iter().any(|exchange| exchange.learner == **seeker));
        assert_eq!(skill.sought_fulfilment.numerator, learned.count() as u64);
    }
}

/// Holds the time to reciprocation against the first days read off the sessions as they are shown.
fn reciprocation(models: &ReadModels, asked: Asked, ours: &Reciprocity) {
    let until = asked.to.map_or(asked.as_of, |to| to.min(asked.as_of));
    let program = models.program.as_ref().unwrap();
    let watched = if program.state == ProgramState::Archived { program.since.min(until) } else { until };
    // By the two people: the first day each taught, and the last day on which they could.
    let mut twos: BTreeMap<_, ([Option<Day>; 2], Option<Day>)> = BTreeMap::new();
    for pair in models.pairs(PairFilter::default(), None, usize::MAX, until).unwrap().items {
        if pair.end_class == Some(EndClass::EnteredInError) {
            continue;
        }
        let (firsts, last) = twos.entry((pair.a.min(pair.b), pair.a.max(pair.b))).or_default();
        if pair.started_at.is_some() {
            let closed = pair.closed_day.filter(|_| pair.end_reason.is_some()).unwrap_or(watched);
            *last = (*last).max(Some(closed.min(watched)));
        }
        for session in models.sessions.iter().map(|row| models.session_view(row)) {
            let live = matches!(session.state, SessionState::Logged | SessionState::Confirmed);
            let of = session.pair == pair.pair && asked.evidence.takes(session.evidence);
            if !live || !of || session.day > until {
                continue;
            }
            for exchange in session.exchanges {
                let first = &mut firsts[usize::from(exchange.teacher > exchange.learner)];
                *first = Some(first.map_or(session.day, |day| day.min(session.day)));
            }
        }
    }
    let mut table = LifeTable::default();
    for (firsts, last) in twos.into_values() {
        let Some(first) = firsts.into_iter().flatten().min() else { continue };
        if asked.from.is_some_and(|from| first < from) {
            continue;
        }
        let (day, how) = match firsts {
            [Some(one), Some(other)] => (one.max(other), Outcome::Ended(Cause(1))),
            _ => (last.unwrap_or(watched), Outcome::Censored),
        };
        table.add(Life::new(u32::try_from(day.number() - first.number()).unwrap_or(0), how));
    }
    let ours = &ours.time_to_reciprocation;
    assert_eq!((ours.n, ours.events), (table.lives(), table.events()));
    let curve = Curve::of(&table).watched_for(ours.follow_up.unwrap_or(0));
    assert!(ours.follow_up >= table.follow_up());
    assert_eq!(ours.median, curve.median());
    let shown = |at: &StillOneWay| (at.at_risk, at.one_way);
    let read = |reading: Option<Reading>| {
        (reading.map(|reading| reading.at_risk), reading.map(|reading| reading.estimate.survival))
    };
    let days: Vec<u32> = ours.at.iter().map(|at| at.day).collect();
    assert_eq!(
        ours.at.iter().map(shown).collect::<Vec<_>>(),
        curve.at(&days).into_iter().map(read).collect::<Vec<_>>()
    );
    assert_eq!(ours.rmst.value, curve.restricted_mean(ours.rmst.tau).map(|mean| mean.value));
}

fn people_who_seek(models: &ReadModels, skill: &Slug) -> Vec<ParticipantId> {
    let people = models.participants(None, usize::MAX).unwrap().items;
    let here = |person: &ParticipantView| {
        matches!(person.state, ParticipantState::Enrolled | ParticipantState::OnBreak)
    };
    people
        .iter()
        .filter(|person| person.arm == Arm::Program && here(person) && person.sought.contains(skill))
        .map(|person| person.participant)
        .collect()
}

/// Holds the first spells against those cut from the sessions as they are shown.
fn activity(models: &ReadModels, as_of: Day) {
    let sessions: Vec<SessionView> = models.sessions.iter().map(|row| models.session_view(row)).collect();
    let policy = models.measures_on(as_of).unwrap().measures.lapse_after_days;
    let every =
        [Subject::Pairs, Subject::Participants].map(|subject| [7, policy].map(|lapse| (subject, lapse)));
    for (subject, lapse_days) in every.into_iter().flatten() {
        let mut active: BTreeMap<Uuid, BTreeSet<Day>> = BTreeMap::new();
        for session in &sessions {
            let pair = models.pair(session.pair, as_of).unwrap();
            let live = matches!(session.state, SessionState::Logged | SessionState::Confirmed);
            if !live || pair.end_class == Some(EndClass::EnteredInError) {
                continue;
            }
            let of = match subject {
                Subject::Pairs => vec![pair.pair.0],
                Subject::Participants => vec![pair.a.0, pair.b.0],
            };
            for id in of {
                active.entry(id).or_default().insert(session.day);
            }
        }
        let program = models.program.as_ref().unwrap();
        let watched = if program.state == ProgramState::Archived { program.since.min(as_of) } else { as_of };
        let (mut table, mut count) = (LifeTable::default(), 0);
        for days in active.into_values() {
            let cut = spells(days, u32::from(lapse_days), watched);
            count += cut.len() as u64;
            if let Some(spell) = cut.first() {
                table.add(spell.life(watched, Outcome::Ended(Cause(1))));
            }
        }
        let (basis, lapse_days) = (Basis::Activity, Some(lapse_days));
        let ours = models.retention(&retention::Asked { subject, basis, lapse_days, ..retained(as_of) });
        let ours = ours.unwrap();
        assert_eq!(ours.spells, Some(count));
        let days = table.days().into_iter().map(|day| (day.day, day.at_risk, day.events, day.censored));
        assert_eq!(rows(&ours, "all"), days.collect::<Vec<_>>());
    }
}

/// Holds the page of health against the views.
fn health(models: &ReadModels, today: Day) {
    let health = models.health(today, usize::MAX);
    let pairs = models.pairs(PairFilter::default(), None, usize::MAX, today).unwrap().items;
    let stalled: BTreeSet<_> = pairs.iter().filter(|pair| pair.stalled).map(|pair| pair.pair).collect();
    assert_eq!(health.pairs.stalled.items.iter().map(|item| item.pair).collect::<BTreeSet<_>>(), stalled);
    assert_eq!(health.pairs.stalled.count, stalled.len() as u64);
    assert!(health.pairs.stalled.items.is_sorted_by_key(|item| item.idle_since));
    let waiting: BTreeSet<_> =
        pairs.iter().filter(|pair| pair.state == PairState::Proposed).map(|pair| pair.pair).collect();
    let unanswered = &health.proposals.unanswered.items;
    assert_eq!(unanswered.iter().map(|item| item.pair).collect::<BTreeSet<_>>(), waiting);
    for item in unanswered {
        let pair = pairs.iter().find(|pair| pair.pair == item.pair).unwrap();
        assert_eq!(item.waits_for.len() + pair.accepted.len(), 2);
    }
    let funnel = health.proposals.funnel;
    let ends = funnel.declined + funnel.withdrawn + funnel.expired + funnel.invalidated;
    assert_eq!(funnel.proposed, funnel.waiting + funnel.activated + ends);
    let of_state = |state: Option<PairState>| {
        let counts =
            |pair: &&PairView| pair.origin.is_none() && pair.end_class != Some(EndClass::EnteredInError);
        pairs
            .iter()
            .filter(counts)
            .filter(|pair| state == Some(pair.state) || state.is_none())
            .collect::<Vec<_>>()
    };
    let proposals = of_state(None);
    let started = |pair: &&&PairView| pair.started_day.is_some();
    assert_eq!(funnel.proposed, proposals.len() as u64);
    assert_eq!(funnel.activated, proposals.iter().filter(started).count() as u64);
    let met = proposals.iter().filter(started).filter(|pair| pair.sessions.live > 0).count();
    assert_eq!(funnel.met, met as u64);
    assert_eq!(funnel.declined, of_state(Some(PairState::Declined)).len() as u64);
    assert_eq!(funnel.invalidated, of_state(Some(PairState::Invalidated)).len() as u64);
    for (count, state) in [(health.pairs.active, PairState::Active), (health.pairs.paused, PairState::Paused)]
    {
        assert_eq!(count, pairs.iter().filter(|pair| pair.state == state).count() as u64);
    }
    let (mut early, mut mature) = (0, 0);
    for pair in &pairs {
        let Some(term) = pair.term_ends_day.filter(|term| *term <= today && pair.started_day.is_some())
        else {
            continue;
        };
        let in_error = pair.end_class == Some(EndClass::EnteredInError);
        let before = pair.closed_day.is_some_and(|day| day < term) && pair.end_class.is_some();
        match pair.end_class.filter(|_| before) {
            Some(EndClass::EarlyVoluntary | EndClass::EarlyExternal) => {
                (early, mature) = (early + 1, mature + 1);
            }
            None | Some(EndClass::Planned) => mature += u64::from(!in_error),
            Some(EndClass::Administrative | EndClass::EnteredInError) => {}
        }
    }
    assert_eq!(
        (health.pairs.early_closure.numerator, health.pairs.early_closure.denominator),
        (early, mature)
    );
    for limit in [0, 1, 2] {
        let some = models.health(today, limit);
        let first = |count: usize| ..limit.min(count);
        assert_eq!(some.pairs.stalled.items, health.pairs.stalled.items[first(stalled.len())]);
        assert_eq!(some.proposals.unanswered.items, unanswered[first(unanswered.len())]);
        let backlog = &health.confirmation.backlog.items;
        assert_eq!(some.confirmation.backlog.items, backlog[first(backlog.len())]);
    }
    assert!(health.confirmation.backlog.items.is_sorted_by_key(|item| item.day));
    for skill in models.skills() {
        let here = |person: &&ParticipantView| {
            let takes_part = matches!(person.state, ParticipantState::Enrolled | ParticipantState::OnBreak);
            takes_part && person.arm == Arm::Program
        };
        let people = models.participants(None, usize::MAX).unwrap().items;
        let count = |names: fn(&ParticipantView) -> &Vec<Slug>| {
            people.iter().filter(here).filter(|person| names(person).contains(&skill.skill)).count() as u64
        };
        assert_eq!((skill.offered, skill.sought), (count(|one| &one.offered), count(|one| &one.sought)));
    }
    let sessions: Vec<SessionView> = models.sessions.iter().map(|row| models.session_view(row)).collect();
    let backlog: BTreeSet<_> = sessions
        .iter()
        .filter(|session| session.state == SessionState::Logged && session.evidence == Evidence::Logged)
        .filter(|session| {
            models.pair(session.pair, today).unwrap().end_class != Some(EndClass::EnteredInError)
        })
        .map(|session| session.session)
        .collect();
    let listed = health.confirmation.backlog.items.iter().map(|item| item.session);
    assert_eq!(listed.collect::<BTreeSet<_>>(), backlog);
    assert_eq!(models.health(today, 0).confirmation.backlog.count, backlog.len() as u64);
}

/// Holds what is kept up with every event against the rows it is made from.
fn kept_as_if_from_scratch(models: &ReadModels) {
    let scanned = models.activity_by_scan(models.program.as_ref().unwrap().measures().lapse_after_days);
    assert_eq!(models.activity.lapse_days, scanned.lapse_days);
    assert!(models.activity.pairs.iter().eq(scanned.pairs.iter()));
    assert!(models.activity.people.iter().eq(scanned.people.iter()));
    for row in 0..models.pairs.len() {
        let kept = models.taught_from[row];
        assert_eq!(kept, [Side::A, Side::B].map(|side| models.first_taught(row, side)));
    }
    let last = models.latest_day.unwrap_or(Day::from_number(0));
    assert_eq!(models.both_taught_by(last), models.both_taught_by_scan(last));
}

/// Holds every figure against its definition, and the sums kept up with every event against a scan.
pub(super) fn check(models: &ReadModels, today: Day) {
    if models.program.is_none() {
        return;
    }
    health(models, today);
    let last = models.latest_day.map_or(today, |latest| latest.max(today));
    for as_of in [today, last, last.plus_days(8)] {
        activity(models, as_of);
    }
    kept_as_if_from_scratch(models);
    let grades = |text: &str| text.parse::<Grades>().unwrap();
    let all = Asked::as_of(last);
    let middle = Day::from_number(today.number() - 5);
    for asked in [
        all,
        Asked::as_of(middle),
        Asked { from: Some(middle), ..all },
        Asked { to: Some(middle), from: Some(middle.plus_days(-20)), ..all },
        Asked { evidence: grades("confirmed"), ..all },
        Asked { evidence: grades("confirmed-asserted,imported"), ..all },
        Asked { evidence: grades("logged"), from: Some(middle), ..all },
    ] {
        let figures = models.reciprocity(asked);
        assert_eq!(figures, models.reciprocity_by_scan(asked));
        by_definition(models, asked, &figures);
        reciprocation(models, asked, &figures);
        let explained = models.reciprocity_seqs(asked, None, usize::MAX);
        assert_eq!(explained.seqs.is_empty(), figures.sessions == 0);
    }
}

/// What must not depend on the way there: everything but the skills that were only ever mentioned.
pub(super) fn figures(models: &ReadModels, today: Day, lapse_days: u16) -> (Reciprocity, Vec<Retention>) {
    let mut figures = models.reciprocity(Asked::as_of(today));
    figures.measure_policy = None;
    figures.skills.retain(|skill| skill.exchanges > 0);
    let mut retention = Vec::new();
    for (subject, by) in [
        (Subject::Pairs, None),
        (Subject::Pairs, Some(By::Reciprocity)),
        (Subject::Pairs, Some(By::Generation)),
        (Subject::Participants, None),
        (Subject::Participants, Some(By::Generation)),
        (Subject::Participants, Some(By::Cohort)),
    ] {
        let activity = [7, lapse_days].map(|lapse_days| (Basis::Activity, Some(lapse_days)));
        for (basis, lapse_days) in [(Basis::Record, None)].into_iter().chain(activity) {
            let landmark_days = 3;
            let asked = retention::Asked { subject, basis, lapse_days, by, landmark_days, ..retained(today) };
            retention.push(Retention { measure_policy: None, ..models.retention(&asked).unwrap() });
        }
    }
    (figures, retention)
}

fn retained(as_of: Day) -> retention::Asked {
    retention::Asked::as_of(as_of)
}

/// Prints what asking costs.
pub(super) fn cost(models: &ReadModels, today: Day) {
    let time = |name: &str, ask: &dyn Fn()| {
        let clock = std::time::Instant::now();
        (0..5).for_each(|_| ask());
        println!("{name:>28}: {:?}", clock.elapsed() / 5);
    };
    time("reciprocity, present", &|| drop(models.reciprocity(Asked::as_of(today))));
    time("reciprocity, a past day", &|| drop(models.reciprocity(Asked::as_of(today.plus_days(-500)))));
    time("health", &|| drop(models.health(today, 20)));
    for (subject, basis, name) in [
        (Subject::Pairs, Basis::Record, "pairs by record"),
        (Subject::Participants, Basis::Record, "participants by record"),
        (Subject::Pairs, Basis::Activity, "pairs by activity"),
        (Subject::Participants, Basis::Activity, "participants by activity"),
    ] {
        let asked = retention::Asked { subject, basis, ..retained(today) };
        time(name, &|| drop(models.retention(&asked)));
    }
}

#[test]
fn a_list_of_grades_is_read_strictly() {
    assert_eq!("imported,logged,confirmed-asserted,confirmed".parse(), Ok(Grades::ALL));
    assert_eq!("imported,confirmed".parse::<Grades>().unwrap().to_string(), "confirmed,imported");
    for text in ["", "confirmed,", "confirmed,confirmed", "Logged", "all"] {
        assert!(text.parse::<Grades>().is_err(), "{text}");
    }
}

#[test]
fn two_records_of_the_same_two_people_are_one_pair() {
    let mut history = History::of_two_pairs();
    history.say(logged(1, 1, 1, &[(ANN, "rust", 30)]));
    let (occurred_at, day) = on(2);
    let reason = EndReason::TermCompleted;
    history.on(2).say(PairEnded { occurred_at, day, ..ended(1, reason) });
    history.say(proposed(3, BEN, ANN)).say(PairAccepted { pair: pair(3), participant: ANN });
    history.say(PairActivated { pair: pair(3), term_ends_day: on(180).1 });
    history.say(logged(2, 3, 3, &[(BEN, "chess", 30)]));
    let figures = super::check(history.on(4)).reciprocity(Asked::as_of(on(4).1)).figures;
    assert_eq!(figures.weighted_reciprocity.value, Some(1.0));
    assert_eq!((figures.two_way_pair_share.numerator, figures.two_way_pair_share.denominator), (1, 1));
}

fn ended(n: u128, reason: EndReason) -> PairEnded {
    let (occurred_at, day) = on(0);
    PairEnded { pair: pair(n), reason, occurred_at, day }
}

#[test]
fn what_was_entered_in_error_is_in_no_figure() {
    let mut history = History::of_two_pairs();
    history.say(logged(1, 1, 1, &[(ANN, "rust", 30)])).say(rated(1, ANN, "rust", 4));
    history.say(ended(1, EndReason::EnteredInError)).say(rated(1, ANN, "rust", 2));
    let reciprocity = super::check(history.on(4)).reciprocity(Asked::as_of(on(4).1));
    assert_eq!((reciprocity.sessions, reciprocity.figures.weighted_reciprocity.value), (0, None));
    history.say(SessionVoided { session: session(1) });
    super::check(&history);
}

#[test]
fn an_empty_program_has_no_figures() {
    let mut history = History::empty();
    assert!(history.folded().reciprocity(Asked::as_of(on(0).1)).measure_policy.is_none());
    history.say(opened());
    let reciprocity = super::check(&history).reciprocity(Asked::as_of(on(0).1));
    insta::assert_json_snapshot!(reciprocity);
}

#[test]
fn every_figure_of_a_history_with_every_fact() {
    insta::assert_json_snapshot!(super::check(&story()).reciprocity(Asked::as_of(on(60).1)));
}

#[test]
fn what_to_act_on() {
    let mut history = story();
    insta::assert_json_snapshot!("health", history.folded().health(on(60).1, 20));
    history = History::of_four();
    history.say(proposed(1, ANN, BEN)).say(proposed(2, ANN, CLEO));
    history.say(PairAccepted { pair: pair(1), participant: BEN });
    history.say(PairActivated { pair: pair(1), term_ends_day: on(20).1 });
    history.on(19).say(ended_on(1, EndReason::LostContact, 19));
    let models = super::check(&history);
    let early = |day| models.health(on(day).1, 20).pairs.early_closure;
    assert_eq!((early(19).value, early(20).value), (None, Some(1.0)));
    let waits = &models.health(on(19).1, 20).proposals.unanswered.items;
    assert_eq!(
        (waits.len(), &waits[0].waits_for[..], waits[0].days, waits[0].overdue),
        (1, &[CLEO][..], 19, true)
    );
    assert!(!models.health(on(14).1, 20).proposals.unanswered.items[0].overdue);
}

#[test]
fn the_policy_is_that_of_the_day() {
    let mut history = History::of_two_pairs();
    history.say(logged(1, 1, 1, &[(BEN, "rust", 30)]));
    let mut measures = MeasurePolicy::default();
    measures.bands.reverse();
    history.on(10).say(PolicyChanged { rules: None, measures: Some(measures) });
    let models = super::check(&history);
    let reverse = |day| models.reciprocity(Asked::as_of(on(day).1)).figures.reverse_share.value;
    assert_eq!((reverse(9), reverse(10)), (Some(1.0), Some(0.0)));
}

/// Conformance case A01: what had happened by a day, as the log knew it at an instant.
#[test]
fn corrections_on_both_time_axes() {
    let at = |text: &str| text.parse::<Timestamp>().unwrap();
    let day = |text: &str| text.parse::<Day>().unwrap();
    let mut history = History::of_two_pairs();
    let setup = history.entries.len();
    let told = |n: u128, of: u128, on: &str, teacher: ParticipantId, minutes: u16| SessionLogged {
        occurred_at: at(&format!("{on}T12:00:00Z")),
        day: day(on),
        ..logged(n, of, 0, &[(teacher, "rust", minutes)])
    };
    let mut say = |recorded_at: &str, event: Event| {
        history.say(event);
        let entry = history.entries.last_mut().unwrap();
        (entry.recorded_at, entry.day) = (at(recorded_at), Zone::UTC.day(at(recorded_at)));
    };
    say("2024-02-01T09:00:00Z", told(1, 1, "2024-01-31", ANN, 60).into());
    say("2024-02-03T09:00:00Z", told(2, 1, "2024-02-02", BEN, 30).into());
    say("2024-02-20T09:00:00Z", told(3, 1, "2024-01-15", BEN, 30).into());
    say("2024-02-25T09:00:00Z", SessionVoided { session: session(2) }.into());
    let first = told(1, 1, "2024-01-31", ANN, 90);
    say(
        "2024-03-01T09:00:00Z",
        SessionCorrected {
            session: first.session,
            version: 2,
            occurred_at: first.occurred_at,
            day: first.day,
            minutes: first.minutes,
            mode: first.mode,
            exchanges: first.exchanges,
        }
        .into(),
    );
    say("2024-03-02T09:00:00Z", told(4, 2, "2024-03-01", ANN, 45).into());
    for (known_at, as_of, minutes, two_way, pairs, r_w) in [
        ("2024-02-10", "2024-02-29", 90, 1, 1, 2.0 / 3.0),
        ("2024-02-21", "2024-02-29", 120, 1, 1, 1.0),
        ("2024-02-26", "2024-02-29", 90, 1, 1, 2.0 / 3.0),
        ("2024-03-02", "2024-02-29", 120, 1, 1, 0.5),
        ("2024-03-03", "2024-03-31", 165, 1, 2, 60.0 / 165.0),
        ("2024-03-03", "2024-01-31", 120, 1, 1, 0.5),
    ] {
        let mut known = history.clone();
        let midnight = at(&format!("{known_at}T00:00:00Z"));
        let mut seq = 0;
        known.entries.retain(|entry| {
            seq += 1;
            seq <= setup || entry.recorded_at <= midnight
        });
        let figures = known.folded().reciprocity(Asked::as_of(day(as_of))).figures;
        let weighted = figures.weighted_reciprocity;
        assert_eq!(weighted.denominator, minutes, "{known_at} {as_of}");
        assert!((weighted.value.unwrap() - r_w).abs() < 1e-12, "{known_at} {as_of}");
        let share = figures.two_way_pair_share;
        assert_eq!((share.numerator, share.denominator), (two_way, pairs), "{known_at} {as_of}");
    }
}

fn ended_on(n: u128, reason: EndReason, on_day: i32) -> PairEnded {
    let (occurred_at, day) = on(on_day);
    PairEnded { occurred_at, day, ..ended(n, reason) }
}

/// Conformance case S13: pairs by record as of three days, against R survival's `survfit`.
#[test]
fn pairs_by_record_as_of_a_day() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/conformance/S13_as_of_replay.json");
    let case: serde_json::Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let first: Day = "2024-01-01".parse().unwrap();
    let day = |text: &serde_json::Value| {
        let day: Day = text.as_str().unwrap().parse().unwrap();
        day.number() - first.number()
    };
    let mut history = History::of_four();
    for (n, told) in (0_u128..).zip(case["input"]["pairs"].as_array().unwrap()) {
        // Every pair in a different order of record: what counts is the day it happened.
        let (started_at, started_day) = on(day(&told["start"]));
        let origin = Origin::Imported;
        history.say(PairImported { pair: pair(n), a: ANN, b: BEN, started_at, started_day, origin });
        let reason = match told["cause"].as_str() {
            None => continue,
            Some("completed") => EndReason::GoalsMet,
            Some(_) => EndReason::LostContact,
        };
        history.say(ended_on(n, reason, day(&told["end"])));
    }
    // Neither of these is seen: one should not have been recorded, the other starts later.
    let (started_at, started_day) = on(1);
    let origin = Origin::Imported;
    history.say(PairImported { pair: pair(90), a: ANN, b: CLEO, started_at, started_day, origin });
    history.say(ended_on(90, EndReason::EnteredInError, 5));
    let (started_at, started_day) = on(900);
    history.say(PairImported { pair: pair(91), a: ANN, b: DAN, started_at, started_day, origin });

    let models = history.folded();
    let near = |ours: f64, theirs: &serde_json::Value| (ours - theirs.as_f64().unwrap()).abs() < 1e-9;
    for (as_of, expected) in case["expected"].as_object().unwrap() {
        let as_of = on(day(&serde_json::Value::from(as_of.as_str()))).1;
        let retention = models.retention(&retained(as_of)).unwrap();
        let stratum = &retention.strata[0];
        assert_eq!(stratum.n, expected["time"].as_array().unwrap().len() as u64);
        let km = &expected["km_any_end"];
        for (at, time) in (0..).zip(km["time"].as_array().unwrap()) {
            let day = u32::try_from(time.as_u64().unwrap()).unwrap();
            let point = stratum.curve.iter().find(|point| point.day == day).unwrap();
            assert_eq!(point.at_risk, km["n_risk"][at].as_u64().unwrap());
            assert_eq!(point.events, km["n_event"][at].as_u64().unwrap());
            assert!(near(point.survival, &km["surv"][at]), "{as_of} {day}");
            let last = point.se.is_none();
            assert!(last || near(point.se.unwrap(), &km["greenwood_se"][at]), "{as_of} {day}");
        }
        let competing = &expected["aalen_johansen"];
        let Some(times) = competing["time"].as_array() else { continue };
        let at = times.iter().map(|time| u32::try_from(time.as_u64().unwrap()).unwrap()).collect();
        let retention = models.retention(&retention::Asked { at, ..retained(as_of) }).unwrap();
        // The case numbers completed 1 and abandoned 2, as the classes do.
        for (class, incidence, se) in [(0, "cif1", "cif1_se_R"), (1, "cif2", "cif2_se_R")] {
            for (at, point) in (0..).zip(&retention.strata[0].causes[class].at) {
                assert!(
                    near(point.incidence.unwrap(), &competing[incidence][at]),
                    "{as_of} {incidence} {at}"
                );
                assert!(near(point.se.unwrap(), &competing[se][at]), "{as_of} {se} {at}");
            }
        }
    }
}

#[test]
fn retention_of_an_empty_program_has_no_figures() {
    let mut history = History::empty();
    assert!(history.folded().retention(&retained(on(0).1)).unwrap().strata[0].at[0].survival.is_none());
    history.say(opened());
    insta::assert_json_snapshot!(history.folded().retention(&retained(on(0).1)).unwrap());
}

#[test]
fn retention_of_a_history_with_every_fact() {
    let models = super::check(&story());
    let asked = retained(on(60).1);
    insta::assert_json_snapshot!(serde_json::json!({
        "pairs by record": models.retention(&asked).unwrap(),
        "participants by record": models
            .retention(&retention::Asked { subject: Subject::Participants, by: Some(By::Arm), ..asked })
            .unwrap(),
    }));
}

#[test]
fn what_has_no_answer_names_the_parameter() {
    let models = History::of_four().folded();
    let asked = retained(on(0).1);
    let refused = |asked: retention::Asked| models.retention(&asked).unwrap_err();
    let by_arm = retention::Asked { by: Some(By::Arm), ..asked.clone() };
    assert_eq!(refused(by_arm.clone()), Impossible::Arm);
    let subject = Subject::Participants;
    assert_eq!(refused(retention::Asked { subject, basis: Basis::Activity, ..by_arm }), Impossible::Arm);
    let by = Some(By::Reciprocity);
    assert_eq!(refused(retention::Asked { subject, by, ..asked.clone() }), Impossible::Reciprocity);
    assert_eq!(refused(retention::Asked { lapse_days: Some(3), ..asked }).parameter(), "lapse_days");
}

/// A curve as (day, at risk, events, censored).
fn rows(retention: &Retention, name: &str) -> Vec<(u32, u64, u64, u64)> {
    let stratum = retention.strata.iter().find(|stratum| stratum.name == name).unwrap();
    stratum.curve.iter().map(|point| (point.day, point.at_risk, point.events, point.censored)).collect()
}

#[test]
fn who_leaves_is_counted_once_and_who_is_erased_is_censored() {
    let mut history = History::of_four();
    let left = |participant, day: i32| {
        let (occurred_at, day) = on(day);
        ParticipantLeft { participant, occurred_at, day }
    };
    history.on(12).say(left(ANN, 10)).on(20).say(ParticipantReturned { participant: ANN });
    history.on(31).say(left(ANN, 30));
    let (occurred_at, day) = on(15);
    let reason = DepartureReason::Retired;
    history.say(ParticipantDeparted { participant: BEN, reason, occurred_at, day });
    history.on(40).say(PersonErased { participant: CLEO, erasure: ErasureId(Uuid::nil()) });
    let models = super::check(&history);
    let of = |day| {
        let asked =
            retention::Asked { subject: Subject::Participants, at: vec![10, 15, 40], ..retained(on(day).1) };
        models.retention(&asked).unwrap()
    };
    assert_eq!(rows(&of(50), "all"), [(10, 4, 1, 0), (15, 3, 1, 0), (40, 2, 0, 1), (50, 1, 0, 1)]);
    assert_eq!(rows(&of(9), "all"), [(9, 4, 0, 4)], "nobody had left");
    let incidence = |class: usize| {
        of(50).strata[0].causes[class].at.iter().map(|at| at.incidence.unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(incidence(1), [0.25, 0.25, 0.25], "left the program");
    assert_eq!(incidence(2), [0.0, 0.25, 0.25], "left the organisation");
}

#[test]
fn who_changes_arm_lives_in_neither_before_being_in_it() {
    let mut history = History::of_four();
    history.say(ArmChanged { participant: DAN, arm: Arm::Comparison });
    let (occurred_at, day) = on(10);
    history.on(10).say(ParticipantLeft { participant: DAN, occurred_at, day });
    history.on(20).say(ArmChanged { participant: ANN, arm: Arm::Comparison });
    let (occurred_at, day) = on(30);
    history.on(30).say(ParticipantLeft { participant: ANN, occurred_at, day });
    let models = super::check(&history);
    let of = |day| {
        let by = Some(By::Arm);
        models
            .retention(&retention::Asked { subject: Subject::Participants, by, ..retained(on(day).1) })
            .unwrap()
    };
    assert_eq!(rows(&of(50), "program"), [(20, 3, 0, 1), (50, 2, 0, 2)]);
    assert_eq!(
        rows(&of(50), "comparison"),
        [(10, 1, 1, 0), (30, 1, 1, 0)],
        "Ann was not at risk there on day 10"
    );
    assert_eq!(of(50).strata[1].curve[0].survival.to_bits(), 0.0_f64.to_bits());
    assert_eq!(rows(&of(19), "comparison"), [(10, 1, 1, 0)], "Ann had not changed yet");
}

#[test]
fn a_pair_is_one_way_until_something_comes_back_or_nothing_more_can() {
    let mut history = History::of_two_pairs();
    // Ann and Ben: returned after 10 days. Ann and Cleo: never, and it ends on day 25.
    history.say(logged(1, 1, 2, &[(ANN, "rust", 30)])).say(logged(2, 1, 12, &[(BEN, "chess", 5)]));
    history.say(logged(3, 2, 5, &[(CLEO, "rust", 30)]));
    history.on(25).say(ended_on(2, EndReason::LostContact, 25));
    let of = |history: &History, day: i32| {
        super::check(history).reciprocity(Asked::as_of(on(day).1)).time_to_reciprocation
    };
    let after = of(&history, 40);
    assert_eq!((after.n, after.events, after.median), (2, 1, Some(10)));
    // At day 10 both were watched; at day 20 nobody is left, for Cleo's pair ended on its day 20.
    let shown =
        |of: &TimeToReciprocation| of.at.iter().map(|at| (at.at_risk, at.one_way)).collect::<Vec<_>>();
    let open = |at_risk, one_way| (Some(at_risk), Some(one_way));
    let beyond = (None, None);
    assert_eq!(shown(&after), [open(2, 1.0), open(2, 1.0), open(0, 0.5), beyond, beyond]);
    let before = of(&history, 11);
    assert_eq!((before.n, before.events, before.median), (2, 0, None), "it had not come back by then");
    // Without the return the first pair is one-way to this day; told again of its first day, it never was.
    history.on(40).say(SessionVoided { session: session(2) });
    assert_eq!((of(&history, 40).n, of(&history, 40).events), (2, 0));
    history.say(corrected(1, 2, 3, &[(ANN, "rust", 30), (BEN, "chess", 5)]));
    assert_eq!(shown(&of(&history, 40))[0], open(2, 0.5));
    // Only of pairs that began in the days asked for: the second began on day 5.
    let from = Some(on(4).1);
    let models = super::check(&history);
    let later = models.reciprocity(Asked { from, ..Asked::as_of(on(40).1) }).time_to_reciprocation;
    assert_eq!((later.n, later.events), (1, 0));
}

#[test]
fn two_who_are_paired_again_are_watched_until_the_end_of_the_last_time() {
    let mut history = History::of_two_pairs();
    history.say(logged(1, 1, 1, &[(ANN, "rust", 30)])).on(5).say(ended_on(1, EndReason::TermCompleted, 5));
    let at_risk = |history: &History| {
        let of = super::check(history).reciprocity(Asked::as_of(on(40).1)).time_to_reciprocation;
        (of.n, of.events, of.at.iter().map(|at| at.at_risk.unwrap_or(0)).collect::<Vec<_>>())
    };
    assert_eq!(at_risk(&history), (1, 0, vec![1, 0, 0, 0, 0]));
    history.say(proposed(3, BEN, ANN));
    assert_eq!(
        at_risk(&history).2,
        [1, 0, 0, 0, 0],
        "a proposal is no time in which anything could come back"
    );
    history.on(10).say(PairAccepted { pair: pair(3), participant: ANN });
    history.say(PairActivated { pair: pair(3), term_ends_day: on(180).1 });
    assert_eq!(at_risk(&history), (1, 0, vec![1, 1, 1, 0, 0]));
    history.on(20).say(logged(2, 3, 20, &[(BEN, "chess", 30)]));
    assert_eq!(at_risk(&history), (1, 1, vec![1, 1, 0, 0, 0]));
}

#[test]
fn spells_end_when_it_is_known_and_cohorts_say_which_cells_may_still_change() {
    let mut history = History::of_two_pairs();
    for (n, of, day) in [(1, 1, 0), (2, 1, 10), (3, 1, 40), (4, 2, 5)] {
        history.say(logged(n, of, day, &[(ANN, "rust", 30)]));
    }
    let models = super::check(&history);
    let of = |day| {
        let (basis, lapse_days) = (Basis::Activity, Some(20));
        let at = vec![20, 30, 31];
        models.retention(&retention::Asked { basis, lapse_days, at, ..retained(on(day).1) }).unwrap()
    };
    assert_eq!(rows(&of(24), "all"), [(19, 2, 0, 1), (24, 1, 0, 1)]);
    assert_eq!(rows(&of(25), "all"), [(20, 2, 1, 0), (25, 1, 0, 1)]);
    assert_eq!((rows(&of(70), "all"), of(70).spells), (vec![(20, 2, 1, 0), (30, 1, 1, 0)], Some(3)));
    let cells = |day: i32| {
        let cohorts = of(day).cohorts;
        assert_eq!((cohorts.len(), cohorts[0].n), (1, 2));
        let cell = |at: &retention::CohortCell| (at.retained.numerator, at.retained.denominator, at.mature);
        cohorts[0].at.iter().map(cell).collect::<Vec<_>>()
    };
    // January's last day is day 30.
    assert_eq!(cells(24), [(1, 1, false), (0, 0, false), (0, 0, false)]);
    assert_eq!(cells(50), [(1, 2, true), (0, 2, false), (0, 2, false)]);
    assert_eq!(cells(60), [(1, 2, true), (0, 2, true), (0, 2, false)]);
}

#[test]
fn two_way_pairs_are_compared_from_the_landmark_on() {
    let mut history = History::of_two_pairs();
    history.say(proposed(3, BEN, CLEO)).say(PairAccepted { pair: pair(3), participant: CLEO });
    history.say(PairActivated { pair: pair(3), term_ends_day: on(180).1 });
    history.say(logged(1, 1, 1, &[(ANN, "rust", 30), (BEN, "chess", 5)]));
    history.say(logged(2, 2, 1, &[(ANN, "rust", 30)])).say(logged(3, 2, 11, &[(CLEO, "chess", 30)]));
    history.say(logged(4, 3, 1, &[(BEN, "rust", 30), (CLEO, "chess", 5)]));
    history.on(10).say(ended_on(3, EndReason::LostContact, 10));
    history.on(30).say(ended_on(2, EndReason::LostContact, 30));
    let models = super::check(&history);
    let (by, landmark_days) = (Some(By::Reciprocity), 10);
    let retention = models.retention(&retention::Asked { by, landmark_days, ..retained(on(50).1) }).unwrap();
    assert_eq!(retention.before_landmark, Some(1), "who had ended by day 10");
    assert_eq!(rows(&retention, "two-way"), [(40, 1, 0, 1)]);
    assert_eq!(rows(&retention, "one-way"), [(20, 1, 1, 0)], "both taught, but too late to be told so");
}

#[test]
fn nothing_happens_in_an_archived_program() {
    let mut history = History::of_two_pairs();
    history.say(logged(1, 1, 0, &[(ANN, "rust", 30)])).on(10).say(ProgramArchived {});
    let (basis, lapse_days) = (Basis::Activity, Some(30));
    let asked = retention::Asked { basis, lapse_days, ..retained(on(500).1) };
    assert_eq!(rows(&history.folded().retention(&asked).unwrap(), "all"), [(10, 1, 0, 1)]);
}
