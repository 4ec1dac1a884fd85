//! What outsiders see of whole histories, week by week.

use super::*;
use crate::outsiders::{Share, Week, WeekClose};
use crate::reciprocity::{Asked, Figure};
use crate::retention;

pub(super) fn person(n: u128) -> ParticipantId {
    ParticipantId(Uuid::from_u128(0xbee_0000 + n))
}

/// A program with a policy of `k`, and people of three generations in turn.
pub(super) fn program(k: u16, people: u128) -> History {
    let mut history = History::empty();
    let measures = MeasurePolicy { k_anonymity: k, ..MeasurePolicy::default() };
    history.say(ProgramOpened { measures, ..opened() });
    for n in 0..people {
        let generation = ["boomer", "gen-x", "gen-z"][usize::try_from(n % 3).unwrap()];
        history.say(enrolled(person(n), generation));
    }
    history
}

/// What happens, on the day after so many days more.
#[derive(Debug, Clone)]
pub(super) enum Step {
    Pair(u128, u128),
    Meet(usize, bool, u16),
    Rate(usize, u8),
    Confirm(usize),
    Void(usize),
    Dispute(usize),
    Pause(usize),
    End(usize, bool),
    Leave(u128),
}

const PEOPLE: u128 = 14;

pub(super) fn steps() -> impl Strategy<Value = Vec<(i32, Step)>> {
    let some = || 0_usize..40;
    let step = prop_oneof![
        5 => (0..PEOPLE, 1..PEOPLE).prop_map(|(a, more)| Step::Pair(a, (a + more) % PEOPLE)),
        9 => (some(), any::<bool>(), 1_u16..90).prop_map(|(pair, a, minutes)| Step::Meet(pair, a, minutes)),
        2 => (some(), 1_u8..=5).prop_map(|(session, rating)| Step::Rate(session, rating)),
        3 => some().prop_map(Step::Confirm),
        1 => some().prop_map(Step::Void),
        1 => some().prop_map(Step::Dispute),
        1 => some().prop_map(Step::Pause),
        1 => (some(), any::<bool>()).prop_map(|(pair, error)| Step::End(pair, error)),
        1 => (0..PEOPLE).prop_map(Step::Leave),
    ];
    prop::collection::vec((0_i32..9, step), 0..90)
}

pub(super) fn told(k: u16, steps: &[(i32, Step)]) -> History {
    let mut history = program(k, PEOPLE);
    let mut pairs: Vec<(ParticipantId, ParticipantId)> = Vec::new();
    let mut sessions: Vec<ParticipantId> = Vec::new();
    let (mut day, mut over) = (0, BTreeSet::new());
    for (more, step) in steps {
        day += more;
        history.on(day);
        let of = |at: &usize| pairs.len().checked_sub(1).map(|last| (*at).min(last));
        let met = |at: &usize| sessions.len().checked_sub(1).map(|last| (*at).min(last));
        match step {
            Step::Pair(a, b) => {
                let n = pairs.len() as u128;
                pairs.push((person(*a), person(*b)));
                history.say(proposed(n, person(*a), person(*b)));
                if *a % 4 != 0 {
                    history.say(PairActivated { pair: pair(n), term_ends_day: on(day + 180).1 });
                }
            }
            Step::Meet(at, a, minutes) => {
                let Some(at) = of(at) else { continue };
                let teacher = if *a { pairs[at].0 } else { pairs[at].1 };
                history.say(logged(sessions.len() as u128, at as u128, day, &[(teacher, "rust", *minutes)]));
                sessions.push(teacher);
            }
            Step::Rate(at, rating) => {
                let Some(at) = met(at) else { continue };
                history.say(rated(at as u128, sessions[at], "rust", *rating));
            }
            Step::Confirm(at) => {
                let Some(at) = met(at) else { continue };
                let (session, participant) = (session(at as u128), ANN);
                history.say(SessionConfirmed { session, version: 1, participant });
            }
            Step::Void(at) => {
                let Some(at) = met(at) else { continue };
                history.say(SessionVoided { session: session(at as u128) });
            }
            Step::Dispute(at) => {
                let Some(at) = met(at) else { continue };
                let session = session(at as u128);
                history.say(SessionDisputed { session, version: 1, participant: None });
            }
            Step::Pause(at) => {
                let Some(at) = of(at).filter(|at| !over.contains(at)) else { continue };
                history.say(PairPaused { pair: pair(at as u128) });
            }
            Step::End(at, error) => {
                let Some(at) = of(at).filter(|at| over.insert(*at)) else { continue };
                let reason = if *error { EndReason::EnteredInError } else { EndReason::MismatchValues };
                let (occurred_at, day) = on(day);
                history.say(PairEnded { pair: pair(at as u128), reason, occurred_at, day });
            }
            Step::Leave(who) => {
                let (occurred_at, day) = on(day);
                history.say(ParticipantLeft { participant: person(*who), occurred_at, day });
            }
        }
    }
    history
}

/// Every week that is over some time after a history, the last of them without an entry.
pub(super) fn weeks(history: &History) -> Vec<Week> {
    let last = Week::of(history.entries.last().unwrap().day).next().next();
    std::iter::successors(Some(Week::of(history.entries[0].day)), |week| Some(week.next()))
        .take_while(|week| *week <= last)
        .collect()
}

fn same(shown: Share, figure: Figure) {
    assert_eq!((shown.numerator, shown.denominator), (Some(figure.numerator), Some(figure.denominator)));
    assert_eq!(shown.value, figure.value);
}

/// With nobody to protect, outsiders see what everybody else does.
fn everything(models: &ReadModels, close: &WeekClose) {
    assert_eq!(close.withheld, 0);
    let ours = models.reciprocity(Asked::as_of(close.as_of));
    let (theirs, figures) = (close.figures, ours.figures);
    same(theirs.weighted_reciprocity, figures.weighted_reciprocity);
    same(theirs.generalised_reciprocity, figures.generalised_reciprocity);
    same(theirs.two_way_pair_share, figures.two_way_pair_share);
    same(theirs.dual_role_share, figures.dual_role_share);
    same(theirs.cross_generation_share, figures.cross_generation_share);
    same(theirs.reverse_share, figures.reverse_share);
    same(theirs.value_reciprocity, figures.value_reciprocity.figure);
    same(theirs.confirmation_ratio, figures.confirmation_ratio);
    assert_eq!(close.teaching_gini, figures.teaching_gini.value);
    let flows: Vec<_> = close.exchange_minutes.iter().filter(|flow| flow.minutes != Some(0)).collect();
    assert_eq!(flows.len(), ours.flow.len());
    for (flow, cell) in flows.into_iter().zip(&ours.flow) {
        assert_eq!((&flow.from, &flow.to, flow.minutes), (&cell.from, &cell.to, Some(cell.minutes)));
    }
    let bands = close.pairs_by_balance.0.iter().map(|(_, pairs)| pairs.unwrap());
    assert_eq!(bands.sum::<u64>(), figures.two_way_pair_share.denominator);

    let midnight: Timestamp = format!("{}T12:00:00Z", close.as_of).parse().unwrap();
    let program = models.program(midnight).unwrap();
    assert_eq!(close.participants.get("enrolled"), Some(program.participants.states.enrolled));
    assert_eq!(close.participants.get("left"), Some(program.participants.states.left));
    assert_eq!(close.pairs.get("active"), Some(program.pairs.states.active));
    assert_eq!(close.pairs.get("ended"), Some(program.pairs.states.ended));
    assert_eq!(close.stalled_pairs, Some(program.pairs.stalled));
    assert_eq!(close.proposals.get("waiting"), Some(program.pairs.states.proposed));

    let asked = retention::Asked::as_of(close.as_of);
    let ours = models.retention(&asked).unwrap();
    for (at, cohort) in close.cohorts.iter().enumerate() {
        let of =
            |count: fn(&Figure) -> u64| ours.cohorts.iter().map(|c| count(&c.at[at].retained)).sum::<u64>();
        let expected = (Some(of(|figure| figure.denominator)), Some(of(|figure| figure.numerator)));
        assert_eq!((cohort.started, cohort.retained), expected, "{} days", cohort.horizon);
    }
    let stratum = &ours.strata[0];
    assert_eq!(close.retention.median, stratum.median);
    if stratum.n > 0 {
        assert_eq!(close.retention.rmst.value, stratum.rmst.value);
    }
}

fn json(close: &WeekClose) -> serde_json::Value {
    serde_json::to_value(close).unwrap()
}

/// Whether everything that is shown is the truth.
fn only_withholds(shown: &serde_json::Value, truth: &serde_json::Value, at: &str) {
    use serde_json::Value;
    match (shown, truth) {
        (Value::Null, _) => {}
        (Value::Object(shown), Value::Object(truth)) => {
            for (name, shown) in shown {
                // These say themselves how much is withheld, and by what.
                if !["withheld", "k_anonymity"].contains(&name.as_str()) {
                    only_withholds(shown, &truth[name], &format!("{at}/{name}"));
                }
            }
        }
        (Value::Array(shown), Value::Array(truth)) => {
            assert_eq!(shown.len(), truth.len(), "{at}");
            for (n, (shown, truth)) in shown.iter().zip(truth).enumerate() {
                only_withholds(shown, truth, &format!("{at}/{n}"));
            }
        }
        _ => assert_eq!(shown, truth, "{at}"),
    }
}

/// Whether no cell is what a known total leaves of the others.
fn not_by_subtraction(shown: &WeekClose, truth: &WeekClose) {
    let table = |name: &str, cells: &[Option<u64>], total: Option<u64>| {
        let withheld = cells.iter().filter(|cell| cell.is_none()).count();
        assert!(
            withheld != 1 || total.is_none(),
            "{}: {name} is given away by its total: {cells:?}",
            shown.week
        );
    };
    let of = |cells: &crate::outsiders::Cells| cells.0.iter().map(|(_, cell)| *cell).collect::<Vec<_>>();
    let figures = shown.figures;
    table("participants", &of(&shown.participants), figures.dual_role_share.denominator);
    let started = [0, 1, 2].map(|at| of(&shown.pairs)[[1, 2, 3][at]]);
    table("pairs that started", &started, truth.proposals.get("accepted"));
    table("balance", &of(&shown.pairs_by_balance), figures.two_way_pair_share.denominator);
    table("balance both ways", &of(&shown.pairs_by_balance)[1..], figures.two_way_pair_share.numerator);
    let minutes: Vec<_> = shown.exchange_minutes.iter().map(|flow| flow.minutes).collect();
    table("minutes", &minutes, figures.weighted_reciprocity.denominator);
    let within: Vec<_> = shown.exchange_minutes.iter().filter(|flow| flow.from == flow.to).collect();
    let within: Vec<_> = within.into_iter().map(|flow| flow.minutes).collect();
    table("minutes within", &within, figures.cross_generation_share.denominator);
    for share in [figures.confirmation_ratio, figures.two_way_pair_share, figures.dual_role_share] {
        if let (Some(part), Some(whole)) = (share.numerator, share.denominator) {
            assert!(whole == 0 || whole - part > 3, "{}: all but {}", shown.week, whole - part);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn outsiders_see_the_truth_or_nothing_and_the_same_for_ever(steps in steps()) {
        let open = told(1, &steps);
        let all = open.folded();
        let few = told(5, &steps).folded();
        for week in weeks(&open) {
            let close = all.week_close(week).unwrap();
            // What the ledger knew at the close, and nothing that was recorded since.
            let mut then = ReadModels::new();
            open.entries.iter().filter(|entry| entry.day <= week.last_day()).for_each(|entry| then.apply(entry));
            prop_assert_eq!(close.size, then.size());
            prop_assert_eq!(&close, &then.week_close(week).unwrap(), "{} is told again", week);
            everything(&then, &close);

            let shown = few.week_close(week).unwrap();
            only_withholds(&json(&shown), &json(&close), "");
            not_by_subtraction(&shown, &close);
        }
    }
}

#[test]
fn a_week_is_there_once_the_program_is() {
    let history = program(5, 3);
    let models = history.folded();
    let first = Week::of(history.entries[0].day);
    assert_eq!(first.to_string(), "2026-W01");
    assert!(models.week_close("2025-W52".parse().unwrap()).is_none());
    assert!(models.week_close(first).is_some());
    assert!(ReadModels::new().week_close(first).is_none());
}

/// Twenty people in ten pairs who meet weekly for four weeks; from the second on one pair and one person stand out.
fn autumn() -> History {
    let mut history = program(5, 21);
    for n in 0..10 {
        history.say(proposed(n, person(2 * n), person(2 * n + 1)));
        history.say(PairActivated { pair: pair(n), term_ends_day: on(180).1 });
    }
    let mut sessions = 0;
    for week in 0..4 {
        let day = 7 * week + 1;
        history.on(day);
        for n in 0..10 {
            let teacher = person(2 * n + u128::from(n % 2 == 0 && week % 2 == 0));
            history.say(logged(sessions, n, day, &[(teacher, "rust", 30)]));
            sessions += 1;
        }
        if week == 1 {
            history.say(BreakTaken { participant: person(20) });
            history.say(PairPaused { pair: pair(9) });
        }
    }
    history
}

#[test]
fn what_outsiders_see_of_an_autumn() {
    let models = autumn().folded();
    let week = |text: &str| models.week_close(text.parse().unwrap()).unwrap();
    insta::assert_json_snapshot!("first-week", json(&week("2026-W01")));
    insta::assert_json_snapshot!("second-week", json(&week("2026-W02")));
    let second = week("2026-W02");
    // One person is on a break and one pair pauses: neither can be computed from what is left.
    assert_eq!(second.participants.get("on-break"), None);
    assert_eq!(second.participants.get("enrolled"), None, "with the total it would tell");
    assert_eq!(second.figures.dual_role_share.denominator, Some(21));
    assert_eq!((second.pairs.get("paused"), second.pairs.get("active")), (None, None));
}
