//! Tables in memory, measured: the conformance cases, whole answers, and what is wrong with a row.
//! Never reads a file but the cases.

use std::fmt::Write;
use std::io::Cursor;

use mentorlog_events::time::Zone;
use serde_json::Value;

use super::curves::Horizons;
use super::page::Page;
use super::rows::Unreadable;
use super::sessions::{Generations, Question};
use super::{sessions, spells};

type Complaints = Vec<(u64, String)>;

fn question() -> Question {
    let names = ["silent", "boomer", "gen-x", "millennial", "gen-z"].map(str::to_owned);
    Question {
        as_of: None,
        lapse_days: 30,
        zone: Zone::UTC,
        landmark: 20,
        generations: Generations::new(&names).unwrap(),
        horizons: Horizons::new(vec![30, 60, 90], 60),
    }
}

fn of_sessions(csv: &str, question: Question) -> Result<(sessions::Report, Complaints), Unreadable> {
    let mut complaints = Vec::new();
    let input = Cursor::new(csv.as_bytes().to_vec());
    let report =
        sessions::measure(input, question, &mut |line, why| complaints.push((line, why.to_owned())))?;
    Ok((report, complaints))
}

fn of_spells(csv: &str, horizons: &Horizons) -> Result<(spells::Report, Complaints), Unreadable> {
    let mut complaints = Vec::new();
    let input = Cursor::new(csv.as_bytes().to_vec());
    let report = spells::measure(input, horizons, &mut |line, why| complaints.push((line, why.to_owned())))?;
    Ok((report, complaints))
}

fn page(show: impl FnOnce(&mut Page)) -> String {
    let mut page = Page::new(false);
    show(&mut page);
    page.into_text()
}

/// Decimals to twelve digits: the last bits of a logarithm are the machine's.
fn rounded(json: Value) -> Value {
    match json {
        Value::Number(number) if number.is_f64() => {
            let digits = format!("{:.11e}", number.as_f64().unwrap());
            digits.parse::<f64>().unwrap().into()
        }
        Value::Array(all) => all.into_iter().map(rounded).collect(),
        Value::Object(all) => all.into_iter().map(|(name, value)| (name, rounded(value))).collect(),
        other => other,
    }
}

/// Five people over half a year: the minutes and generations of R03 and R08, and a later meeting.
const PROGRAM: &str = "\
occurred_at,teacher,learner,minutes,skill,rating,teacher_generation,learner_generation
2026-01-05T10:00:00Z,ann,bob,120,writing,5,boomer,millennial
2026-01-19T10:00:00Z,bob,ann,60,rust,3,millennial,boomer
2026-01-07T10:00:00Z,ann,cat,30,writing,,boomer,millennial
2026-02-02T10:00:00Z,cat,dan,45,sql,4,millennial,millennial
2026-03-04T10:00:00Z,dan,cat,45,sql,4,millennial,millennial
2026-03-01T10:00:00Z,dan,ann,60,rust,,millennial,boomer
2026-05-20T10:00:00Z,eve,bob,15,,2,gen-x,
";

#[test]
fn the_page_and_the_json_of_sessions() {
    let (report, complaints) = of_sessions(PROGRAM, question()).unwrap();
    assert_eq!(complaints, []);
    insta::assert_snapshot!("sessions_page", page(|page| page.sessions(&report)));
    insta::assert_json_snapshot!("sessions_json", rounded(serde_json::to_value(&report).unwrap()));
}

#[test]
fn the_page_and_the_json_of_spells() {
    let csv = "group,entry,exit,cause\nlunch,,5,1\nlunch,,5,2\nlunch,,5,0\nlunch,3,8,1\nlunch,0,8,1\n\
               walk,,10,2\nwalk,,10,0\nwalk,,12,1\nwalk,,15,2\nwalk,,15,0\n";
    let (report, complaints) = of_spells(csv, &Horizons::new(vec![5, 10, 20], 12)).unwrap();
    assert_eq!(complaints, []);
    insta::assert_snapshot!("spells_page", page(|page| page.spells(&report)));
    insta::assert_json_snapshot!("spells_json", rounded(serde_json::to_value(&report).unwrap()));
}

#[test]
fn an_empty_table_gives_no_figure() {
    let (report, _) = of_sessions("occurred_at,teacher,learner,minutes\n", question()).unwrap();
    insta::assert_snapshot!("empty_page", page(|page| page.sessions(&report)));
    let json = serde_json::to_value(&report).unwrap();
    for figure in json["figures"].as_object().unwrap().values() {
        assert_eq!((&figure["value"], &figure["denominator"]), (&Value::Null, &Value::from(0)));
    }
    for at in ["/as_of", "/retention/pairs/median", "/retention/pairs/rmst/value", "/landmark/test/p"] {
        assert_eq!(json.pointer(at), Some(&Value::Null), "{at}");
    }
    assert_eq!(json["retention"]["participants"]["at"][0]["survival"], Value::Null);

    let (report, _) = of_spells("exit,event,group\n", &Horizons::new(vec![30], 60)).unwrap();
    assert_eq!((report.strata, report.test), (vec![], None));
    let (report, _) = of_spells("exit,event\n", &Horizons::new(vec![30], 60)).unwrap();
    assert_eq!((report.strata[0].n, report.strata[0].median), (0, None));
}

// ------------------------------------------------------------------------------- conformance, as a table

macro_rules! case {
    ($name:literal) => {
        serde_json::from_str::<Value>(include_str!(concat!("../../../tests/conformance/", $name, ".json")))
            .unwrap()
    };
}

#[track_caller]
fn near(ours: Option<f64>, expected: &Value, tolerance: f64) {
    match (ours, expected.as_f64()) {
        (Some(ours), Some(expected)) => assert!((ours - expected).abs() <= tolerance, "{ours} {expected}"),
        (ours, _) => assert!(ours.is_none() && expected.is_null(), "{ours:?} {expected}"),
    }
}

fn numbers(of: &Value) -> Vec<i64> {
    of.as_array().unwrap().iter().map(|number| number.as_i64().unwrap()).collect()
}

#[test]
fn r03_as_a_table() {
    let case = case!("R03_weighted_reciprocity");
    let mut csv = "minutes,learner,teacher,occurred_at\n".to_owned();
    for session in case["input"]["sessions"].as_array().unwrap() {
        let [teacher, learner] = ["teacher", "learner"].map(|side| session[side].as_str().unwrap());
        writeln!(csv, "{},{learner},{teacher},2026-01-05", session["minutes"]).unwrap();
    }
    let (report, _) = of_sessions(&csv, question()).unwrap();
    let (figures, expected) = (report.figures, &case["expected"]);
    near(figures.weighted_reciprocity.value, &expected["r_w"], 1e-12);
    near(figures.generalised_reciprocity.value, &expected["g_w"], 1e-12);
    near(figures.indirect_reciprocity.value, &expected["indirect"], 1e-12);
    assert_eq!(Some(report.totals.minutes), expected["total_minutes"].as_u64());
}

/// Checks every fall of the only curve.
#[track_caller]
fn check_curve(case: &Value, csv: &str, tau: u32) -> spells::Report {
    let (report, complaints) = of_spells(csv, &Horizons::new(vec![], tau)).unwrap();
    assert_eq!(complaints, []);
    let expected = &case["expected"];
    let falls: Vec<_> = report.strata[0].curve.iter().filter(|point| point.events > 0).collect();
    assert_eq!(
        falls.iter().map(|point| i64::from(point.day)).collect::<Vec<_>>(),
        numbers(&expected["time"])
    );
    for (at, point) in falls.iter().enumerate() {
        assert_eq!(Some(point.at_risk), expected["n_risk"][at].as_u64());
        near(Some(point.survival), &expected["surv"][at], 1e-12);
        if expected.get("greenwood_se").is_some() {
            near(point.se, &expected["greenwood_se"][at], 1e-9);
            near(point.lower, &expected["ci_loglog_lo"][at], 1e-9);
            near(point.upper, &expected["ci_loglog_hi"][at], 1e-9);
            near(Some(point.hazard), &expected["nelson_aalen"][at], 1e-9);
            near(Some(point.hazard_se), &expected["nelson_aalen_se"][at], 1e-9);
        }
    }
    report
}

#[test]
fn s01_as_a_table() {
    let case = case!("S01_km_6mp");
    let mut csv = "exit,event\n".to_owned();
    for (exit, event) in numbers(&case["input"]["time"]).iter().zip(numbers(&case["input"]["status"])) {
        writeln!(csv, "{exit},{event}").unwrap();
    }
    let report = check_curve(&case, &csv, 23);
    let (stratum, expected) = (&report.strata[0], &case["expected"]);
    assert_eq!(stratum.median, Some(23));
    assert_eq!((stratum.median_interval.lower, stratum.median_interval.upper), (Some(13), None));
    near(stratum.rmst.value, &expected["rmst"], 1e-9);
    near(stratum.rmst.se, &expected["rmst_se"], 1e-9);
    assert_eq!((stratum.causes.len(), report.test), (0, None));
}

#[test]
fn s09_as_a_table() {
    let case = case!("S09_competing_small");
    let mut csv = "cause,exit\n".to_owned();
    for (exit, cause) in numbers(&case["input"]["time"]).iter().zip(numbers(&case["input"]["status"])) {
        writeln!(csv, "{cause},{exit}").unwrap();
    }
    let report = check_curve(&case, &csv, 15);
    for (cause, name) in report.strata[0].causes.iter().zip(["cif1", "cif2"]) {
        let expected = &case["expected"];
        assert_eq!(cause.curve.len(), expected[name].as_array().unwrap().len());
        for (at, step) in cause.curve.iter().enumerate() {
            near(step.incidence, &expected[name][at], 1e-12);
            near(step.se, &expected[format!("{name}_se_R")][at], 1e-9);
        }
    }
    assert_eq!(report.strata[0].causes.iter().map(|cause| cause.events).collect::<Vec<_>>(), [4, 3]);
}

#[test]
fn s10_as_a_table() {
    let case = case!("S10_logrank_cox_6mp");
    let (input, expected) = (&case["input"], &case["expected"]);
    let mut csv = "group,exit,event\n".to_owned();
    for (at, (exit, event)) in numbers(&input["time"]).iter().zip(numbers(&input["status"])).enumerate() {
        writeln!(csv, "{},{exit},{event}", input["group"][at].as_str().unwrap()).unwrap();
    }
    let (report, _) = of_spells(&csv, &Horizons::new(vec![], 23)).unwrap();
    let test = report.test.unwrap();
    near(test.chi_square, &expected["logrank_chisq"], 1e-9);
    near(test.p, &expected["logrank_p"], 1e-9);
    assert_eq!(test.df, Some(1));
    for (at, group) in test.groups.iter().enumerate() {
        assert_eq!(Some(group.observed), expected["logrank_obs"][at].as_u64());
        near(Some(group.expected), &expected["logrank_exp"][at], 1e-9);
    }
}

#[test]
fn s15_as_a_table() {
    let case = case!("S15_spells_gap_rule");
    let mut csv = "occurred_at,teacher,learner,minutes\n".to_owned();
    for (pair, days) in case["input"]["sessions"].as_object().unwrap() {
        for day in days.as_array().unwrap() {
            writeln!(csv, "{},{pair}-one,{pair}-other,30", day.as_str().unwrap()).unwrap();
        }
    }
    let as_of = case["input"]["as_of"].as_str().unwrap().parse().unwrap();
    let (report, _) = of_sessions(&csv, Question { as_of: Some(as_of), ..question() }).unwrap();
    let mut expected: Vec<(u64, u64)> = Vec::new();
    let mut spells = 0;
    for of_pair in case["expected"].as_object().unwrap().values() {
        let of_pair = of_pair.as_array().unwrap();
        spells += of_pair.len() as u64;
        expected.push((of_pair[0]["duration"].as_u64().unwrap(), of_pair[0]["event"].as_u64().unwrap()));
    }
    expected.sort_unstable();
    let pairs = &report.retention.pairs;
    assert_eq!(pairs.spells, spells);
    let days: Vec<(u64, u64)> =
        pairs.first_spells.curve.iter().map(|point| (point.day.into(), point.events)).collect();
    assert_eq!(days, expected);
    // Each person is in one pair only.
    assert_eq!(report.retention.participants.spells, 2 * spells);
}

// ------------------------------------------------------------------------------------------ rows, days

#[test]
fn neither_the_order_of_rows_nor_of_columns_matters() {
    let (report, _) = of_sessions(PROGRAM, question()).unwrap();
    let mut rows: Vec<Vec<&str>> = PROGRAM.lines().map(|line| line.split(',').collect()).collect();
    rows[1..].reverse();
    let mut csv = String::new();
    for row in &mut rows {
        row.reverse();
        writeln!(csv, "{}", row.join(",")).unwrap();
    }
    assert_eq!(of_sessions(&csv, question()).unwrap().0, report);
    // As a spreadsheet of a country with decimal commas saves it.
    let csv = format!("\u{feff}{}", PROGRAM.replace(',', ";").replace('\n', "\r\n"));
    assert_eq!(of_sessions(&csv, question()).unwrap().0, report);
}

#[test]
fn a_bad_row_is_named_and_the_rest_is_measured() {
    let csv = "\
occurred_at,teacher,learner,minutes,rating,teacher_generation

2026-01-05,ann,bob,30,,Gen X
05.01.2026,ann,bob,30,,
2026-02-30,ann,bob,30,,
2026-01-05T10:61,ann,bob,30,,
2026-01-05,ann,,30,,
2026-01-05,ann,ann ,30,,


2026-01-05,ann,bob,0,,
2026-01-05,ann,bob,1441,,
2026-01-05,ann,bob,-30,,
2026-01-05,ann,bob,\"half
an hour\",,
2026-01-05,ann,bob,30,6,
2026-01-05,ann,bob,30,,gen-y
2026-01-05,ann,bob,30,
2026-01-05,ann,bob,30,,,
,,,,,
2026-01-05,\"b\x1b[31mob\",ann,1.5,5,unknown
2026-01-05,bob,ann,30,5,unknown
2026-01-05,bob,ann,x,5,unknown";
    let (report, complaints) = of_sessions(csv, question()).unwrap();
    let said: String = complaints.iter().fold(String::new(), |mut said, (line, why)| {
        writeln!(said, "{line}: {why}").unwrap();
        said
    });
    insta::assert_snapshot!("bad_rows", said);
    assert_eq!((report.input.rows, report.input.measured, report.input.rejected), (17, 2, 15));
    assert_eq!(report.figures.weighted_reciprocity.value, Some(1.0));
    // Whatever ends the lines, they are counted alike.
    let (_, with_returns) = of_sessions(&csv.replace('\n', "\r\n"), question()).unwrap();
    let lines = |complaints: &Complaints| complaints.iter().map(|(line, _)| *line).collect::<Vec<_>>();
    assert_eq!(lines(&with_returns), lines(&complaints));
}

#[test]
fn a_cell_that_is_not_utf_8_is_named() {
    let input = Cursor::new(b"occurred_at,teacher,learner,minutes\n2026-01-05,J\xfcrgen,bob,30\n".to_vec());
    let mut complaints = Vec::new();
    sessions::measure(input, question(), &mut |line, why| complaints.push((line, why.to_owned()))).unwrap();
    assert_eq!(complaints, [(2, "teacher is not UTF-8: save the table as \"CSV UTF-8\"".to_owned())]);
}

#[test]
fn wrong_numbers_of_spells_are_named() {
    let csv = "entry,exit,event\n,3,1\n,3.5,1\n-1,3,1\n3,3,1\n,3,2\n,,1\n0,0,0\n,36526,1\n";
    let (report, complaints) = of_spells(csv, &Horizons::new(vec![3], 3)).unwrap();
    let said: Vec<String> = complaints.iter().map(|(line, why)| format!("{line}: {why}")).collect();
    assert_eq!(
        said,
        [
            "3: exit `3.5` is not a whole number from 0 to 36525",
            "4: entry `-1` is not a whole number from 0 to 36525",
            "5: entry 3 is not before exit 3, so the life was never seen: leave entry empty if it was seen \
             from its start",
            "6: event `2` is not a whole number from 0 to 1",
            "7: exit `` is not a whole number from 0 to 36525",
            "9: exit `36526` is not a whole number from 0 to 36525",
        ]
    );
    assert_eq!((report.input.measured, report.strata[0].n), (2, 2));
}

#[test]
fn a_header_that_does_not_fit_is_refused_with_what_to_do() {
    let sessions = |csv| of_sessions(csv, question()).map(|_| ()).unwrap_err().to_string();
    let spells = |csv| of_spells(csv, &Horizons::new(vec![], 1)).map(|_| ()).unwrap_err().to_string();
    insta::assert_snapshot!(
        "bad_headers",
        [
            sessions(""),
            sessions("\n\n"),
            sessions("when,who,whom,long\n"),
            sessions("occurred_at,teacher,teacher,learner,minutes\n"),
            sessions("exit,event\n3,1\n"),
            spells("exit\n3\n"),
            spells("exit,event,cause\n3,1,1\n"),
            spells("event\n1\n"),
        ]
        .join("\n")
    );
    let wide = of_sessions("o", question()).map(|_| ()).unwrap_err().to_string();
    assert!(wide.contains("it has: o; wanted are: occurred_at"), "{wide}");
}

#[test]
fn too_many_groups_are_a_mistaken_column() {
    let mut csv = "exit,event,group\n".to_owned();
    for group in 0..102 {
        writeln!(csv, "3,1,{group:03}").unwrap();
    }
    let (report, complaints) = of_spells(&csv, &Horizons::new(vec![], 3)).unwrap();
    assert_eq!((report.strata.len(), complaints.len(), complaints[0].0), (100, 2, 102));
}

#[test]
fn disputed_and_voided_sessions_of_an_exported_table_do_not_count() {
    let row =
        |minutes: u32, state: &str| format!("2026-01-05,ann,bob,{minutes},{state}\n2026-01-06,bob,ann,10,\n");
    let table = |state: &str| format!("occurred_at,teacher,learner,minutes,state\n{}", row(30, state));
    for (state, measured, left_out) in [
        ("voided", 1, 1),
        ("disputed", 1, 1),
        ("logged", 2, 0),
        ("confirmed", 2, 0),
        ("Bavaria", 2, 0),
        ("", 2, 0),
    ] {
        let (report, complaints) = of_sessions(&table(state), question()).unwrap();
        let input = (report.input.rows, report.input.measured, report.input.left_out, complaints.len());
        assert_eq!(input, (2, measured, Some(left_out), 0), "{state}");
    }
}

#[test]
fn the_civil_day_is_the_zones_and_later_rows_have_not_happened() {
    let csv = "occurred_at,teacher,learner,minutes\n\
               2026-01-05T23:30:00Z,ann,bob,30\n2026-01-06 23:59,bob,ann,30\n2026-01-07,bob,ann,30\n\
               2026-01-08T00:30:00+01:00,bob,ann,30\n";
    let berlin = Question { zone: "Europe/Berlin".parse().unwrap(), ..question() };
    let (report, _) = of_sessions(csv, berlin.clone()).unwrap();
    assert_eq!(report.first_day.unwrap().to_string(), "2026-01-06");
    assert_eq!(report.as_of.unwrap().to_string(), "2026-01-08");
    assert_eq!(report.input.after_as_of, Some(0));
    let earlier = Question { as_of: Some("2026-01-06".parse().unwrap()), ..berlin };
    let (report, complaints) = of_sessions(csv, earlier).unwrap();
    assert_eq!((complaints.len(), report.input.after_as_of, report.input.measured), (0, Some(2), 2));
    assert_eq!(report.figures.weighted_reciprocity.value, Some(1.0));
}

#[test]
fn pairs_are_told_apart_by_what_they_did_up_to_the_landmark() {
    // a and b have both taught by day 20, c and d by day 21; e and f only meet once and last 30 days.
    let csv = "occurred_at,teacher,learner,minutes\n\
               2026-01-01,a,b,30\n2026-01-25,b,a,30\n2026-01-21,b,a,30\n\
               2026-01-01,c,d,30\n2026-01-22,d,c,30\n\
               2026-01-01,e,f,30\n\
               2026-06-01,g,h,30\n";
    let as_of = Some("2026-06-10".parse().unwrap());
    let (report, _) = of_sessions(csv, Question { as_of, ..question() }).unwrap();
    let lives = |at: usize| {
        let curve = &report.landmark.strata[at].curve;
        curve.iter().map(|point| (point.day, point.events)).collect::<Vec<_>>()
    };
    assert_eq!((lives(0), lives(1)), (vec![(10, 1), (31, 1)], vec![(34, 1)]));
    assert_eq!(report.landmark.left_out, 1);
    // By day 30 the life of e and f is over, and by then c and d have both taught.
    let (report, _) = of_sessions(csv, Question { as_of, landmark: 30, ..question() }).unwrap();
    assert_eq!((report.landmark.strata[0].n, report.landmark.strata[1].n), (0, 2));
    assert_eq!((report.landmark.left_out, report.landmark.test.p), (2, None));
}

#[test]
fn generations_are_different_and_known_by_name() {
    let of =
        |names: &[&str]| Generations::new(&names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>());
    assert!(of(&["60+", "20-39"]).is_ok());
    for bad in [&["a", "A"][..], &["a", ""], &["unknown"]] {
        assert!(of(bad).is_err(), "{bad:?}");
    }
}

#[test]
fn colours_change_nothing_but_colours() {
    let (report, _) = of_sessions(PROGRAM, question()).unwrap();
    let mut coloured = Page::new(true);
    coloured.sessions(&report);
    let coloured = coloured.into_text();
    assert!(coloured.contains("\x1b[1m"));
    let plain = coloured.replace("\x1b[1m", "").replace("\x1b[2m", "").replace("\x1b[0m", "");
    assert_eq!(plain, page(|page| page.sessions(&report)));
    assert!(plain.lines().all(|line| line.chars().count() <= 110), "{plain}");
}
