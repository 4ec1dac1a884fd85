//! The worked cases of `tests/conformance`, against expected values from R, igraph, networkx, statsmodels and
//! others. Never looks at a case's name: what is computed follows from the shape of its input, so a new case
//! needs no new code.
// A case that is not of its schema should stop the test; clippy's exception for tests does not reach what
// they call.
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use mentorlog_events::time::Day;
use mentorlog_projections::statistics::fit::Fit;
use mentorlog_projections::statistics::flows::{
    BandFlows, Flows, ValueFlows, expected_balance, pair_balance,
};
use mentorlog_projections::statistics::lives::{Cause, Life, LifeTable, Outcome};
use mentorlog_projections::statistics::log_rank::log_rank;
use mentorlog_projections::statistics::matching::{Edge, Objective, matching};
use mentorlog_projections::statistics::ratio::{
    Interval, Ratio, TwoByTwo, crude_odds_ratio, mantel_haenszel_odds_ratio,
};
use mentorlog_projections::statistics::spells::{Returned, days_between, spells};
use mentorlog_projections::statistics::spread::{Ratings, gini};
use mentorlog_projections::statistics::survival::{Curve, Incidences};
use serde_json::{Value, json};

#[test]
fn every_worked_case_comes_out_as_published() {
    let folder = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/conformance"));
    let read =
        |name: &str| -> Value { serde_json::from_slice(&fs::read(folder.join(name)).unwrap()).unwrap() };
    let cases: BTreeMap<String, Value> = fs::read_dir(folder)
        .unwrap()
        .map(|file| file.unwrap().file_name().into_string().unwrap())
        .filter(|name| name != "index.json")
        .map(|name| read(&name))
        .map(|case| (text(&case["id"]).to_owned(), case))
        .collect();
    for listed in list(&read("index.json")["cases"]) {
        let case = cases.get(text(&listed["id"])).expect("a case of the index is missing from the folder");
        assert_eq!(case["quantity"], listed["quantity"]);
    }

    let mut failures = Vec::new();
    for (id, case) in &cases {
        let mut check = Check { id, case, compared: BTreeSet::new(), failures: Vec::new() };
        run(&mut check);
        check.nothing_required_was_left_out();
        failures.append(&mut check.failures);
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// Answers a case by the shape of its input.
fn run(check: &mut Check<'_>) {
    let input = &check.case["input"];
    let has = |keys: &[&str]| keys.iter().all(|key| input.get(key).is_some());
    let rows_have = |keys: &[&str]| {
        let rows = input.as_array().filter(|rows| !rows.is_empty());
        rows.is_some_and(|rows| rows.iter().all(|row| keys.iter().all(|key| row.get(key).is_some())))
    };
    if has(&["people", "edges"]) {
        matchings(check, input);
    } else if has(&["time", "status", "group"]) {
        groups(check, input);
    } else if has(&["time", "status", "competing"]) {
        incidences("", check, &life_table(input));
    } else if has(&["time", "status"]) {
        survival("", check, &life_table(input), input.get("tau").map(count));
    } else if has(&["pairs", "as_of"]) {
        pairs_as_of(check, input);
    } else if has(&["users", "as_of"]) {
        returning(check, input);
    } else if has(&["G", "sessions", "as_of"]) {
        activity_spells(check, input);
    } else if has(&["log"]) {
        as_of_and_known_at(check, input);
    } else if has(&["strata"]) {
        odds_ratios(check, input);
    } else if has(&["C", "items"]) {
        shrunk_means(check, input);
    } else if has(&["bands", "order", "sessions"]) {
        bands(check, input);
    } else if has(&["sessions"]) {
        reciprocity(check, input);
    } else if has(&["n"]) {
        expected_balances(check, input);
    } else if rows_have(&["offer", "seek"]) {
        fits(check, input);
    } else if rows_have(&["teacher", "learner", "rating"]) {
        value(check, input);
    } else if rows_have(&["k", "n"]) {
        shares(check, input);
    } else if rows_have(&["a", "b"]) {
        balances(check, input);
    } else if list(input).iter().all(Value::is_array) {
        ginis(check, input);
    } else {
        panic!("{}: no measure takes this input", check.id);
    }
}

// How a case is compared.

struct Check<'a> {
    id: &'a str,
    case: &'a Value,
    compared: BTreeSet<String>,
    failures: Vec<String>,
}

impl Check<'_> {
    /// Compares ours with what stands at a JSON pointer into `expected`, if something does.
    fn at(&mut self, pointer: &str, ours: &Value) {
        let Some(expected) = self.case["expected"].pointer(pointer) else { return };
        let key = pointer.rsplit('/').find(|part| part.parse::<usize>().is_err()).unwrap_or_default();
        let tolerance = tolerance(key, self.case["tolerance_abs"].as_f64().unwrap());
        if let Err(difference) = compare(expected, ours, tolerance) {
            self.failures.push(format!("{}{pointer}: {difference}", self.id));
        }
        self.compared.insert(pointer.to_owned());
    }

    fn nothing_required_was_left_out(&mut self) {
        let mut required = Vec::new();
        find_required("", &self.case["expected"], &mut required);
        for pointer in required {
            let compared = |of: &String| pointer == *of || pointer.starts_with(&format!("{of}/"));
            if !self.compared.iter().any(compared) {
                self.failures.push(format!("{}{pointer}: required, but not compared", self.id));
            }
        }
        if self.compared.is_empty() {
            self.failures.push(format!("{}: nothing was compared", self.id));
        }
    }
}

fn find_required(pointer: &str, expected: &Value, found: &mut Vec<String>) {
    match expected {
        Value::Object(fields) => {
            for (key, value) in fields {
                let pointer = format!("{pointer}/{key}");
                if is_required(key) {
                    found.push(pointer.clone());
                }
                find_required(&pointer, value, found);
            }
        }
        Value::Array(items) => {
            for (at, item) in items.iter().enumerate() {
                find_required(&format!("{pointer}/{at}"), item, found);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// The keys whose values are a promise; the others are context.
fn is_required(key: &str) -> bool {
    const KEYS: [&str; 29] = [
        "surv",
        "n_risk",
        "n_event",
        "greenwood_se",
        "median_inf_S_le_half",
        "nelson_aalen",
        "nelson_aalen_se",
        "rmst",
        "rmst_se",
        "r_w",
        "g_w",
        "indirect",
        "two_way_share",
        "two_way_share_wilson95",
        "balance",
        "expected_balance",
        "flow",
        "cross_share",
        "reverse_share",
        "gini",
        "wilson",
        "shrunk",
        "r_w_value",
        "pair_balance",
        "spells",
        "scores",
        "weight",
        "crude_or",
        "mantel_haenszel_or",
    ];
    const FAMILIES: [&str; 4] = ["ci_loglog_", "logrank_", "coverage_", "nday"];
    KEYS.contains(&key) || FAMILIES.iter().any(|family| key.starts_with(family)) || is_incidence(key)
}

/// `cif1`, `cif2_se_R`; not `cif1_cmprsk`.
fn is_incidence(key: &str) -> bool {
    let number = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    key.strip_prefix("cif").is_some_and(|rest| number(rest.strip_suffix("_se_R").unwrap_or(rest)))
}

/// How far ours may lie from the published value. Counts and dates are exact.
fn tolerance(key: &str, of_the_file: f64) -> f64 {
    const STEADY: [&str; 19] = [
        "surv",
        "r_w",
        "r_w_sessions",
        "r_w_value",
        "g_w",
        "indirect",
        "two_way_share",
        "balance",
        "expected_balance",
        "pair_balance",
        "value_minutes",
        "coverage_sessions",
        "coverage_minutes",
        "cross_share",
        "reverse_share",
        "shrunk",
        "mean",
        "p",
        "",
    ];
    let is_se = key.ends_with("_se_R");
    if STEADY.contains(&key) || (is_incidence(key) && !is_se) { 1e-12 } else { of_the_file.max(1e-9) }
}

fn compare(expected: &Value, ours: &Value, tolerance: f64) -> Result<(), String> {
    let differ = || Err(format!("published {expected}, ours {ours}"));
    match (expected, ours) {
        (Value::Number(published), Value::Number(number)) => {
            // What we count is an integer and must be the published one; only decimals have a tolerance.
            let tolerance = if number.is_f64() { tolerance } else { 0.0 };
            let (published, number) = (published.as_f64().unwrap(), number.as_f64().unwrap());
            if (published - number).abs() <= tolerance { Ok(()) } else { differ() }
        }
        (Value::Array(published), Value::Array(items)) if published.len() == items.len() => {
            published.iter().zip(items).try_for_each(|(published, item)| compare(published, item, tolerance))
        }
        (Value::Object(published), Value::Object(fields)) => {
            published.iter().try_for_each(|(key, published)| match fields.get(key) {
                Some(field) => compare(published, field, tolerance),
                None => differ(),
            })
        }
        _ if expected == ours => Ok(()),
        _ => differ(),
    }
}

/// A decimal as JSON. `json!` alone would turn NaN into the null that means undefined.
fn decimal(value: impl Into<Option<f64>>) -> Value {
    let value = value.into();
    assert!(value.is_none_or(f64::is_finite), "{value:?}");
    json!(value)
}

fn decimals(values: impl Iterator<Item = Option<f64>>) -> Value {
    values.map(decimal).collect()
}

fn interval(ends: Option<Interval>) -> Value {
    ends.map_or(Value::Null, |ends| json!([decimal(ends.lower), decimal(ends.upper)]))
}

fn list(value: &Value) -> &[Value] {
    value.as_array().unwrap()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

/// A whole number, also where it is written as a decimal.
fn count(value: &Value) -> u32 {
    value.as_f64().unwrap().to_string().parse().expect("a count is a whole number")
}

fn day(value: &Value) -> Day {
    text(value).parse().unwrap()
}

// Retention.

const ENDED: Outcome = Outcome::Ended(Cause(1));

fn outcome(status: &Value) -> Outcome {
    match u8::try_from(count(status)).unwrap() {
        0 => Outcome::Censored,
        cause => Outcome::Ended(Cause(cause)),
    }
}

/// The lives of parallel lists `time`, `status` and, where entry is late, `entry`.
fn lives(input: &Value) -> Vec<Life> {
    let (times, statuses) = (list(&input["time"]), list(&input["status"]));
    assert_eq!(times.len(), statuses.len());
    times
        .iter()
        .zip(statuses)
        .enumerate()
        .map(|(at, (time, status))| match input.get("entry") {
            Some(entries) => Life::entering(count(&entries[at]), count(time), outcome(status)).unwrap(),
            None => Life::new(count(time), outcome(status)),
        })
        .collect()
}

fn table_of(lives: impl IntoIterator<Item = Life>) -> LifeTable {
    let mut table = LifeTable::default();
    for life in lives {
        table.add(life);
    }
    table
}

fn life_table(input: &Value) -> LifeTable {
    table_of(lives(input))
}

fn survival(under: &str, check: &mut Check<'_>, table: &LifeTable, tau: Option<u32>) {
    let curve = Curve::of(table);
    let falls = || curve.falls();
    check.at(&format!("{under}/time"), &falls().map(|step| step.day).collect());
    check.at(&format!("{under}/n_risk"), &falls().map(|step| step.at_risk).collect());
    check.at(&format!("{under}/n_event"), &falls().map(|step| step.events).collect());
    check.at(&format!("{under}/surv"), &decimals(falls().map(|step| Some(step.estimate.survival))));
    check.at(&format!("{under}/greenwood_se"), &decimals(falls().map(|step| step.estimate.se)));
    let ends = |end: fn(Interval) -> f64| decimals(falls().map(|step| step.estimate.interval.map(end)));
    check.at(&format!("{under}/ci_loglog_lo"), &ends(|ends| ends.lower));
    check.at(&format!("{under}/ci_loglog_hi"), &ends(|ends| ends.upper));
    check.at(&format!("{under}/nelson_aalen"), &decimals(falls().map(|step| Some(step.hazard))));
    check.at(&format!("{under}/nelson_aalen_se"), &decimals(falls().map(|step| Some(step.hazard_se))));
    check.at(&format!("{under}/median_inf_S_le_half"), &json!(curve.median()));
    let (lower, upper) = curve.median_interval();
    check.at(&format!("{under}/median_loglog_lo"), &json!(lower));
    check.at(&format!("{under}/median_loglog_hi"), &json!(upper));
    if let Some(tau) = tau {
        let mean = curve.restricted_mean(tau);
        check.at(&format!("{under}/rmst"), &decimal(mean.map(|mean| mean.value)));
        check.at(&format!("{under}/rmst_se"), &decimal(mean.map(|mean| mean.se)));
    }
    // What a horizon is answered is what the step there says.
    let days: Vec<u32> = falls().map(|step| step.day).collect();
    for (step, reading) in falls().zip(curve.at(&days)) {
        assert_eq!(
            reading.map(|r| (r.at_risk, r.estimate)),
            Some((step.at_risk, step.estimate)),
            "{}",
            check.id
        );
    }
}

fn incidences(under: &str, check: &mut Check<'_>, table: &LifeTable) {
    survival(under, check, table, None);
    for Cause(cause) in table.causes() {
        let curve = Incidences::of(table, Cause(cause));
        let steps = curve.steps();
        check.at(&format!("{under}/cif{cause}"), &decimals(steps.iter().map(|step| Some(step.incidence))));
        check.at(&format!("{under}/cif{cause}_se_R"), &decimals(steps.iter().map(|step| Some(step.se))));
    }
}

fn groups(check: &mut Check<'_>, input: &Value) {
    let mut by_group: BTreeMap<&str, LifeTable> = BTreeMap::new();
    for (life, group) in lives(input).into_iter().zip(list(&input["group"])) {
        by_group.entry(text(group)).or_default().add(life);
    }
    let tables: Vec<&LifeTable> = by_group.values().collect();
    let compared = log_rank(&tables);
    let test = compared.test;
    check.at("/logrank_chisq", &decimal(test.map(|test| test.chi_square)));
    check.at("/logrank_df", &json!(test.map(|test| test.degrees)));
    check.at("/logrank_p", &decimal(test.map(|test| test.p)));
    check.at("/logrank_obs", &json!(compared.observed));
    check.at("/logrank_exp", &decimals(compared.expected.iter().copied().map(Some)));
    check.at("/logrank_var11", &decimal(compared.covariance[0][0]));
    let mut pooled = LifeTable::default();
    for table in tables {
        pooled.merge(table);
    }
    survival("", check, &pooled, input.get("tau").map(count));
}

/// Pairs by record, replayed to the close of each day asked for.
fn pairs_as_of(check: &mut Check<'_>, input: &Value) {
    for as_of in list(&input["as_of"]) {
        let (name, as_of) = (text(as_of), day(as_of));
        let started = list(&input["pairs"]).iter().filter(|pair| day(&pair["start"]) <= as_of);
        let lives: Vec<Life> = started
            .map(|pair| {
                let start = day(&pair["start"]);
                let end = pair["end"].as_str().map(|end| end.parse().unwrap()).filter(|end| *end <= as_of);
                let cause = match pair["cause"].as_str() {
                    Some("completed") => 1,
                    Some("abandoned") => 2,
                    None => 0,
                    Some(other) => panic!("{}: no class for {other}", check.id),
                };
                match end {
                    Some(end) => Life::new(days_between(start, end), Outcome::Ended(Cause(cause))),
                    None => Life::new(days_between(start, as_of), Outcome::Censored),
                }
            })
            .collect();
        let cause = |life: &Life| match life.outcome() {
            Outcome::Ended(Cause(cause)) => cause,
            Outcome::Censored => 0,
        };
        check.at(&format!("/{name}/time"), &lives.iter().map(|life| life.exit()).collect());
        check.at(&format!("/{name}/any_end"), &lives.iter().map(|life| u8::from(cause(life) > 0)).collect());
        check.at(&format!("/{name}/cause"), &lives.iter().map(cause).collect());
        let table = table_of(lives);
        let tau = check.case["expected"][name]["km_any_end"].get("rmst_tau").map(count);
        survival(&format!("/{name}/km_any_end"), check, &table, tau);
        incidences(&format!("/{name}/aalen_johansen"), check, &table);
    }
}

fn returning(check: &mut Check<'_>, input: &Value) {
    let as_of = day(&input["as_of"]);
    for (at, cell) in list(&check.case["expected"]).iter().enumerate() {
        let mut returned = Returned::new(count(&cell["day"]), as_of);
        for user in
            list(&input["users"]).iter().filter(|u| text(&u["first_day"]).starts_with(text(&cell["cohort"])))
        {
            let first = day(&user["first_day"]);
            let active = list(&user["active_days"]);
            returned
                .count(first, active.iter().map(|after| first.plus_days(count(after).try_into().unwrap())));
        }
        let (on_day, since_day) = (returned.on_day(), returned.since_day());
        check.at(&format!("/{at}/cohort_size"), &json!(returned.size()));
        check.at(&format!("/{at}/eligible"), &json!(on_day.denominator));
        check.at(&format!("/{at}/complete"), &json!(returned.is_complete()));
        check.at(&format!("/{at}/nday"), &json!(on_day.numerator));
        check.at(&format!("/{at}/nday_rate"), &decimal(on_day.value()));
        check.at(&format!("/{at}/nday_wilson95"), &interval(on_day.wilson()));
        check.at(&format!("/{at}/rolling"), &json!(since_day.numerator));
        check.at(&format!("/{at}/rolling_rate"), &decimal(since_day.value()));
    }
}

fn activity_spells(check: &mut Check<'_>, input: &Value) {
    let as_of = day(&input["as_of"]);
    for (pair, sessions) in input["sessions"].as_object().unwrap() {
        let days: BTreeSet<Day> = list(sessions).iter().map(day).collect();
        let ours: Value = spells(days, count(&input["G"]), as_of)
            .into_iter()
            .zip(1..)
            .map(|(spell, number)| {
                let life = spell.life(as_of, ENDED);
                json!({
                    "spell": number,
                    "start": spell.start,
                    "last": spell.last,
                    "end": spell.end,
                    "duration": life.exit(),
                    "event": u8::from(life.outcome() == ENDED),
                })
            })
            .collect();
        check.at(&format!("/{pair}"), &ours);
    }
}

// Reciprocity.

/// Adds up sessions; one without minutes counts 1.
fn flows<'a>(sessions: impl IntoIterator<Item = &'a Value>) -> Flows<&'a str> {
    let mut flows = Flows::default();
    for session in sessions {
        let minutes = session.get("minutes").map_or(1, count);
        flows.add(&text(&session["teacher"]), &text(&session["learner"]), minutes);
    }
    flows
}

fn reciprocity(check: &mut Check<'_>, input: &Value) {
    let flows = flows(list(&input["sessions"]));
    let two_way = flows.two_way_pair_share();
    check.at("/total_minutes", &json!(flows.total()));
    check.at("/r_w", &decimal(flows.weighted_reciprocity().value()));
    check.at("/r_w_sessions", &decimal(flows.weighted_reciprocity().value()));
    check.at("/g_w", &decimal(flows.generalised_reciprocity().value()));
    check.at("/indirect", &decimal(flows.indirect_reciprocity().value()));
    check.at("/mutual", &json!(two_way.numerator));
    check.at("/asymmetric", &json!(two_way.denominator - two_way.numerator));
    check.at("/two_way_share", &decimal(two_way.value()));
    check.at("/two_way_share_wilson95", &interval(two_way.wilson()));
    for person in input.get("participants").map_or(&[][..], |people| list(people)) {
        let (person, part) = (text(person), flows.part(&text(person)));
        let under = format!("/per_participant/{person}");
        check.at(&format!("{under}/taught"), &json!(part.taught));
        check.at(&format!("{under}/learned"), &json!(part.learned));
        check.at(&format!("{under}/balance"), &decimal(pair_balance(part.taught, part.learned).value()));
    }
}

/// The log as it was known at an instant, of what had happened by the close of a day.
fn as_of_and_known_at(check: &mut Check<'_>, input: &Value) {
    for (at, expected) in list(&check.case["expected"]).iter().enumerate() {
        let mut sessions: BTreeMap<&str, Value> = BTreeMap::new();
        // The instants of a case are all spelled alike, so their order is that of the text.
        for entry in
            list(&input["log"]).iter().filter(|entry| text(&entry["rec"]) <= text(&expected["known_at"]))
        {
            let id = text(&entry["id"]);
            match text(&entry["kind"]) {
                "session" => {
                    sessions.insert(id, entry.clone());
                }
                "void" => {
                    sessions.remove(id);
                }
                "correct" => {
                    let corrected = sessions.get_mut(id).unwrap().as_object_mut().unwrap();
                    corrected.extend(entry.as_object().unwrap().clone());
                }
                other => panic!("{}: what is {other}?", check.id),
            }
        }
        let as_of = day(&expected["as_of"]);
        let flows = flows(sessions.values().filter(|session| day(&session["on"]) <= as_of));
        let two_way = flows.two_way_pair_share();
        check.at(&format!("/{at}/total_minutes"), &json!(flows.total()));
        check.at(&format!("/{at}/active_pairs"), &json!(two_way.denominator));
        check.at(&format!("/{at}/two_way_pairs"), &json!(two_way.numerator));
        check.at(&format!("/{at}/two_way_share"), &decimal(two_way.value()));
        check.at(&format!("/{at}/r_w"), &decimal(flows.weighted_reciprocity().value()));
    }
}

fn bands(check: &mut Check<'_>, input: &Value) {
    let order: Vec<&str> = list(&input["order"]).iter().map(text).collect();
    let mut flows = BandFlows::default();
    for session in list(&input["sessions"]) {
        let band = |role: &str| text(&input["bands"][text(&session[role])]);
        flows.add(&band("teacher"), &band("learner"), count(&session["minutes"]));
    }
    let age =
        |band: &&str| order.iter().position(|known| known == band).and_then(|at| u32::try_from(at).ok());
    let row = |from: &&str| -> Value { order.iter().map(|to| flows.minutes(from, to)).collect() };
    check.at("/flow", &order.iter().map(row).collect());
    check.at("/cross_share", &decimal(flows.cross_share(age).value()));
    check.at("/reverse_share", &decimal(flows.reverse_share(age).value()));
}

fn value(check: &mut Check<'_>, input: &Value) {
    let mut flows = ValueFlows::default();
    for exchange in list(input) {
        let rating = exchange["rating"].as_u64().map(|rating| u8::try_from(rating).unwrap());
        let (teacher, learner) = (text(&exchange["teacher"]), text(&exchange["learner"]));
        flows.add(&teacher, &learner, count(&exchange["minutes"]), rating);
    }
    let quarters = flows.quarters();
    let each = |key: &str, figure: &dyn Fn(&str) -> Option<f64>| -> Value {
        let published = check.case["expected"][key].as_object().unwrap();
        published.keys().map(|name| (name.clone(), decimal(figure(name)))).collect()
    };
    let value_minutes = each("value_minutes", &|direction| {
        let (teacher, learner) = direction.split_once("->").unwrap();
        Ratio::new(quarters.minutes(&teacher, &learner), 4).value()
    });
    let pair_balance = each("pair_balance", &|pair| {
        let (one, other) = pair.split_once('-').unwrap();
        quarters.balance(&one, &other).value()
    });
    check.at("/value_minutes", &value_minutes);
    check.at("/pair_balance", &pair_balance);
    check.at("/r_w_value", &decimal(flows.value_reciprocity().value()));
    check.at("/coverage_sessions", &decimal(flows.exchange_coverage().value()));
    check.at("/coverage_minutes", &decimal(flows.minute_coverage().value()));
}

fn balances(check: &mut Check<'_>, input: &Value) {
    for (at, pair) in list(input).iter().enumerate() {
        let balance = pair_balance(count(&pair["a"]).into(), count(&pair["b"]).into());
        check.at(&format!("/{at}/balance"), &decimal(balance.value()));
    }
}

fn expected_balances(check: &mut Check<'_>, input: &Value) {
    for (at, sessions) in list(&input["n"]).iter().enumerate() {
        check.at(&format!("/{at}/expected_balance"), &decimal(expected_balance(count(sessions))));
    }
}

// The others.

fn shares(check: &mut Check<'_>, input: &Value) {
    for (at, share) in list(input).iter().enumerate() {
        let share = Ratio::new(count(&share["k"]).into(), count(&share["n"]).into());
        check.at(&format!("/{at}/p"), &decimal(share.value()));
        check.at(&format!("/{at}/wilson"), &interval(share.wilson()));
        if let Some(ends) = share.wilson() {
            assert_eq!(ends.lower == 0.0, share.numerator == 0, "{} {share:?}", check.id);
            assert_eq!(ends.upper.to_bits() == 1.0_f64.to_bits(), share.numerator == share.denominator);
        }
    }
}

fn ginis(check: &mut Check<'_>, input: &Value) {
    for (at, amounts) in list(input).iter().enumerate() {
        let amounts: Vec<u64> = list(amounts).iter().map(|amount| count(amount).into()).collect();
        let people = amounts.len() as u64;
        check.at(&format!("/{at}"), &decimal(gini(amounts, people).value()));
    }
}

fn shrunk_means(check: &mut Check<'_>, input: &Value) {
    let mut all = Ratings::default();
    let items: Vec<Ratings> = list(&input["items"])
        .iter()
        .map(|item| {
            let mut ratings = Ratings::default();
            for rating in list(&item["ratings"]) {
                let rating = u8::try_from(count(rating)).unwrap();
                ratings.add(rating);
                all.add(rating);
            }
            ratings
        })
        .collect();
    for (at, ratings) in items.into_iter().enumerate() {
        check.at(&format!("/{at}/n"), &json!(ratings.count));
        check.at(&format!("/{at}/mean"), &decimal(ratings.mean()));
        check.at(&format!("/{at}/shrunk"), &decimal(ratings.shrunk_mean(all, count(&input["C"]).into())));
    }
}

fn odds_ratios(check: &mut Check<'_>, input: &Value) {
    let strata: Vec<TwoByTwo> = list(&input["strata"])
        .iter()
        .map(|stratum| {
            let group =
                |name: &str| (u64::from(count(&stratum[name][0])), u64::from(count(&stratum[name][1])));
            let ((first_yes, first), (second_yes, second)) = (group("A"), group("B"));
            TwoByTwo { first_yes, first_no: first - first_yes, second_yes, second_no: second - second_yes }
        })
        .collect();
    check.at("/crude_or", &decimal(crude_odds_ratio(&strata)));
    check.at("/mantel_haenszel_or", &decimal(mantel_haenszel_odds_ratio(&strata)));
}

fn fits(check: &mut Check<'_>, input: &Value) {
    let people: Vec<(&str, BTreeSet<&str>, BTreeSet<&str>)> = list(input)
        .iter()
        .map(|person| {
            let skills = |key: &str| list(&person[key]).iter().map(text).collect();
            (text(&person["id"]), skills("offer"), skills("seek"))
        })
        .collect();
    let mut scores = Vec::new();
    for (at, (first, first_offers, first_seeks)) in people.iter().enumerate() {
        for (second, second_offers, second_seeks) in &people[at + 1..] {
            let fit = Fit::of(first_offers, first_seeks, second_offers, second_seeks);
            scores.push(json!({
                "a": first,
                "b": second,
                "a_teaches_b": [fraction(fit.for_second), fit.first_teaches],
                "b_teaches_a": [fraction(fit.for_first), fit.second_teaches],
                "mutual": fraction(fit.mutual()),
                "permille": fit.permille(),
            }));
        }
    }
    check.at("/scores", &Value::Array(scores));
    let permille = |of: &(&str, BTreeSet<&str>, BTreeSet<&str>),
                    other: &(&str, BTreeSet<&str>, BTreeSet<&str>)| {
        u32::try_from(Fit::of(&of.1, &of.2, &other.1, &other.2).permille()).unwrap()
    };
    let names: Vec<&str> = people.iter().map(|person| person.0).collect();
    let mut edges = Vec::new();
    for (one, first) in (0..).zip(&people) {
        for (other, second) in (0..).zip(&people).skip(one as usize + 1) {
            edges.push(Edge::new(one, other, permille(first, second)));
        }
    }
    let (_, weight) = best(&names, &edges, Objective::Weight);
    check.at("/matching/1", &json!(weight));
}

/// The best matching by the names of the two, and its weight.
fn best<'a>(names: &[&'a str], edges: &[Edge], objective: Objective) -> (BTreeSet<BTreeSet<&'a str>>, u64) {
    let chosen = matching(edges, objective, usize::MAX, &|| true).unwrap();
    let pairs = chosen.iter().map(|edge| [edge.one, edge.other].map(|of| names[of as usize]).into());
    (pairs.collect(), chosen.iter().map(|edge| u64::from(edge.weight)).sum())
}

fn pairs(of: &Value) -> BTreeSet<BTreeSet<&str>> {
    list(of).iter().map(|pair| list(pair).iter().map(text).collect()).collect()
}

fn matchings(check: &mut Check<'_>, input: &Value) {
    let names: Vec<&str> = list(&input["people"]).iter().map(text).collect();
    let number = |name: &Value| {
        let at = names.iter().position(|known| *known == text(name)).unwrap();
        u32::try_from(at).unwrap()
    };
    let edges: Vec<Edge> = list(&input["edges"])
        .iter()
        .map(|edge| Edge::new(number(&edge[0]), number(&edge[1]), count(&edge[2])))
        .collect();
    let (heaviest, weight) = best(&names, &edges, Objective::Weight);
    check.at("/weight", &json!(weight));
    let (fullest, of_fullest) = best(&names, &edges, Objective::Participation);
    check.at("/max_cardinality_weight", &json!(of_fullest));
    let expected = &check.case["expected"];
    // Which of several best matchings is given is nobody's promise.
    if expected["number_of_optima"].as_u64() == Some(1) {
        assert_eq!(heaviest, pairs(&expected["pairs"]), "{}", check.id);
    }
    assert_eq!(fullest.len(), pairs(&expected["max_cardinality_pairs"]).len(), "{}", check.id);
}

/// A ratio in lowest terms, as Python writes a `Fraction`. Of nothing sought nothing is given.
fn fraction(ratio: Ratio) -> String {
    let (mut divisor, mut rest) = (ratio.numerator, ratio.denominator);
    while rest > 0 {
        (divisor, rest) = (rest, divisor % rest);
    }
    match (ratio.numerator, ratio.denominator) {
        (0, _) => "0".to_owned(),
        (numerator, denominator) if denominator == divisor => (numerator / divisor).to_string(),
        (numerator, denominator) => format!("{}/{}", numerator / divisor, denominator / divisor),
    }
}
