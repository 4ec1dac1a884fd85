//! The measures through the read models, against the definitions: the statistics fed session by session.

use super::*;
use crate::exchanges::ExchangeView;
use crate::participants::ParticipantView;
use crate::reciprocity::{Asked, Figure, Grades, Reciprocity};
use crate::statistics::flows::{BandFlows, Flows, Part, ValueFlows};
use crate::statistics::ratio::Ratio;

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

/// Holds every figure against its definition, and the sums kept up with every event against a scan.
pub(super) fn check(models: &ReadModels, today: Day) {
    if models.program.is_none() {
        return;
    }
    let last = models.latest_day.map_or(today, |latest| latest.max(today));
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
        let explained = models.reciprocity_seqs(asked, None, usize::MAX);
        assert_eq!(explained.seqs.is_empty(), figures.sessions == 0);
    }
}

/// What must not depend on the way there: everything but the skills that were only ever mentioned.
pub(super) fn figures(models: &ReadModels, today: Day) -> Reciprocity {
    let mut figures = models.reciprocity(Asked::as_of(today));
    figures.skills.retain(|skill| skill.exchanges > 0);
    figures
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
