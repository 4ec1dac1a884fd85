//! The bytes of reports of whole histories.

use super::outsiders::{person, program, steps, told, weeks};
use super::*;
use crate::outsiders::Week;
use crate::report::{Decimal, FIRST_LINE, Ground, Report, Stated, body, decimals, report};

/// The report of a week, out of the entries that were recorded by its close and no others.
fn reported(history: &History, week: Week) -> Report {
    let mut models = ReadModels::new();
    for entry in history.entries.iter().take_while(|entry| entry.day <= week.last_day()) {
        models.apply(entry);
    }
    let close = models.week_close(week).unwrap();
    let ground = Ground {
        report: ReportId(Uuid::from_u128(7)),
        program: ProgramId(Uuid::from_u128(0xf00d)),
        origin: "installation/program/1".to_owned(),
        size: close.size,
        root: [9; 32],
    };
    report(&ground, &close, &models)
}

/// The table of lives in a report.
fn life_table(report: &Report) -> Option<Vec<[u64; 4]>> {
    let (_, rest) = report.text.split_once("\"life_table\":").unwrap();
    serde_json::from_str(rest.trim_end().strip_suffix("}}").unwrap()).unwrap()
}

/// Twelve pairs from the same day on; `leavers` of them end together on day 50, the others are ended on day 70 by the
/// archiving.
fn archived(k: u16, leavers: u128) -> History {
    let mut history = program(k, 24);
    for n in 0..12 {
        history.say(proposed(n, person(2 * n), person(2 * n + 1)));
        history.say(PairActivated { pair: pair(n), term_ends_day: on(180).1 });
    }
    let end = |history: &mut History, n: u128, day: i32, reason: EndReason| {
        let (occurred_at, civil) = on(day);
        history.on(day).say(PairEnded { pair: pair(n), reason, occurred_at, day: civil });
    };
    for n in 0..leavers {
        end(&mut history, n, 50, EndReason::MismatchValues);
    }
    for n in leavers..12 {
        end(&mut history, n, 70, EndReason::ProgramClosed);
    }
    history.say(ProgramArchived {});
    history
}

#[test]
fn a_table_of_lives_is_shown_when_nothing_of_it_moves_any_more_and_nobody_stands_alone() {
    let week_of = |day: i32| Week::of(on(day).1);
    let whole = archived(5, 6);
    assert_eq!(life_table(&reported(&whole, week_of(55))), None, "it goes on");
    assert_eq!(life_table(&reported(&whole, week_of(70))), Some(vec![[50, 12, 6, 0], [70, 6, 0, 6]]));
    assert_eq!(life_table(&reported(&whole, week_of(90))), Some(vec![[50, 12, 6, 0], [70, 6, 0, 6]]));
    for leavers in [1, 2, 10, 11] {
        let few = archived(5, leavers);
        assert_eq!(life_table(&reported(&few, week_of(90))), None, "{leavers} ended");
        let models = few.folded();
        assert_eq!(models.final_pair_life_table(on(90).1, 5), None, "{leavers} ended");
        assert!(models.final_pair_life_table(on(90).1, 2).is_some(), "{leavers} ended");
    }
}

#[test]
fn two_computations_agree_within_the_tolerance_and_withheld_agrees_with_withheld_alone() {
    let decimal = |value| Decimal { name: "x".to_owned(), value, tolerance: 1e-9 };
    assert!(decimal(Some(0.5)).agrees(Some(0.5 + 9e-10)));
    assert!(!decimal(Some(0.5)).agrees(Some(0.5 + 2e-9)));
    assert!(decimal(Some(150.0)).agrees(Some(150.0 + 9e-8)), "above 1 it is relative");
    assert!(!decimal(Some(150.0)).agrees(Some(150.0 + 2e-7)));
    assert!(decimal(None).agrees(None));
    assert!(!decimal(None).agrees(Some(0.0)) && !decimal(Some(0.0)).agrees(None));
    assert!(!decimal(Some(0.5)).agrees(Some(f64::NAN)));
}

#[test]
fn a_text_of_another_form_is_no_report() {
    let text = reported(&archived(5, 6), Week::of(on(70).1)).text;
    assert!(Stated::read(&text).is_ok());
    for bad in [
        text.replace(FIRST_LINE, "mentorlog/report/v2"),
        text.trim_end().to_owned(),
        format!("{text}\n"),
        text.replace("{\"report\"", "{\"rapport\""),
        "installation/program/1\n5\nCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQk=\n".to_owned(),
    ] {
        assert!(Stated::read(&bad).is_err(), "{bad}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    /// Whoever folded on beyond the close comes to the same decimals.
    #[test]
    fn a_body_holds_integers_and_what_is_recorded_later_changes_none_of_it(steps in steps()) {
        let history = told(3, &steps);
        let folded = history.folded();
        for week in weeks(&history) {
            let made = reported(&history, week);
            let stated = Stated::read(&made.text).unwrap();
            prop_assert_eq!(stated.week().unwrap(), week);
            prop_assert!(made.text.len() < 16_384);
            let body: serde_json::Value = serde_json::from_str(body(&made.text).unwrap()).unwrap();
            let mut left = vec![&body];
            while let Some(value) = left.pop() {
                match value {
                    serde_json::Value::Number(number) => prop_assert!(number.is_u64(), "{}", number),
                    serde_json::Value::Array(values) => left.extend(values),
                    serde_json::Value::Object(values) => left.extend(values.values()),
                    serde_json::Value::Null | serde_json::Value::Bool(_) | serde_json::Value::String(_) => {}
                }
            }
            // What was folded since makes no other decimals.
            let close = folded.week_close(week).unwrap();
            prop_assert_eq!(decimals(&close), made.decimals);
            prop_assert_eq!(close.size, stated.size);
        }
    }
}
