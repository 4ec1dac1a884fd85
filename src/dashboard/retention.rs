//! How long pairs and people stay: curves with their bands, ways of ending, cohorts.
//! Never draws beyond what was watched.

use maud::{Markup, html};
use mentorlog_projections::retention::{Basis, By, Cohort, Retention, Stratum, Subject};

use super::charts::{self, Layer, Step, Survival};
use super::frame::{
    self, Behind, Counted, Drawing, Here, Section, cell, counted, empty, figure, none, number, stat, table,
};
use super::numbers::{NOTHING, count, generation, month, of, percent, title, whole_percent};

/// Groups that are drawn together; more could not be told apart.
const GROUPS_MAX: usize = 4;

/// What the page is made from.
pub struct Curves<'a> {
    /// At the days of the API.
    pub measured: &'a Retention,
    /// The ways of ending at many days, of everybody; `None` where the basis is activity.
    pub endings: Option<&'a Retention>,
    /// The longest anybody was watched, in days.
    pub watched: u32,
}

fn by_name(by: Option<By>) -> &'static str {
    match by {
        None => "",
        Some(By::Generation) => "generation",
        Some(By::Cohort) => "cohort",
        Some(By::Arm) => "arm",
        Some(By::Reciprocity) => "reciprocity",
    }
}

fn subject_name(subject: Subject) -> &'static str {
    match subject {
        Subject::Pairs => "pairs",
        Subject::Participants => "participants",
    }
}

fn basis_name(basis: Basis) -> &'static str {
    match basis {
        Basis::Record => "record",
        Basis::Activity => "activity",
    }
}

/// The choices, as links: what is shown now is marked.
fn choices(here: &Here, measured: &Retention) -> Markup {
    let (subject, basis, by) =
        (subject_name(measured.subject), basis_name(measured.basis), by_name(measured.by));
    let to = |subject: &str, basis: &str, by: &str| {
        let subject = if subject == "pairs" { "" } else { subject };
        let basis = if basis == "record" { "" } else { basis };
        here.link("/retention", &[("subject", subject), ("basis", basis), ("by", by)])
    };
    let tab = |is: bool, href: String, name: &str| html! { li { a href=(href) aria-current=[is.then_some("true")] { (name) } } };
    html! {
        nav aria-label="Whose lives" { ul.tabs {
            (tab(subject == "pairs", to("pairs", basis, if by == "arm" { "" } else { by }), "Pairs"))
            (tab(subject == "participants", to("participants", basis, if by == "reciprocity" { "" } else { by }), "People"))
        } }
        nav aria-label="What makes a life" { ul.tabs {
            (tab(basis == "record", to(subject, "record", by), "By what was recorded"))
            (tab(basis == "activity", to(subject, "activity", if by == "arm" { "" } else { by }), "By sessions held"))
        } }
        nav aria-label="Groups" { ul.tabs {
            (tab(by.is_empty(), to(subject, basis, ""), "All together"))
            (tab(by == "generation", to(subject, basis, "generation"), if subject == "pairs" { "Across generations or not" } else { "By generation" }))
            (tab(by == "cohort", to(subject, basis, "cohort"), "By month of the start"))
            @if subject == "pairs" { (tab(by == "reciprocity", to(subject, basis, "reciprocity"), "Two-way or one-way after 30 days")) }
            @if subject == "participants" && basis == "record" { (tab(by == "arm", to(subject, basis, "arm"), "Against the comparison arm")) }
        } }
    }
}

fn group_name(measured: &Retention, name: &str) -> String {
    match (measured.by, measured.subject) {
        (Some(By::Generation), Subject::Participants) => generation(name),
        (None, _) => "All".to_owned(),
        (Some(By::Cohort), _) => month(name),
        (Some(By::Reciprocity), _) => {
            let by = measured.landmark_days.unwrap_or(0);
            let way = if name == "two-way" { "Two-way" } else { "One-way" };
            format!("{way} by day {by}")
        }
        _ => title(name),
    }
}

/// The groups that are drawn, in their order: the largest.
fn drawn(measured: &Retention) -> Vec<&Stratum> {
    let strata: Vec<&Stratum> = measured.strata.iter().filter(|one| one.n > 0).collect();
    let mut largest = strata.clone();
    largest.sort_by_key(|one| std::cmp::Reverse(one.n));
    largest.truncate(GROUPS_MAX);
    strata.into_iter().filter(|one| largest.iter().any(|kept| kept.name == one.name)).collect()
}

/// What is shown, in words: on paper there are no choices to tell it by.
fn view_name(measured: &Retention) -> String {
    let subject = match measured.subject {
        Subject::Pairs => "Pairs",
        Subject::Participants => "People",
    };
    let basis = match measured.basis {
        Basis::Record => "by what was recorded",
        Basis::Activity => "by sessions held",
    };
    let by = match (measured.by, measured.subject) {
        (None, _) => "all together".to_owned(),
        (Some(By::Generation), Subject::Pairs) => "across generations or not".to_owned(),
        (Some(By::Generation), Subject::Participants) => "by generation".to_owned(),
        (Some(By::Cohort), _) => "by month of the start".to_owned(),
        (Some(By::Arm), _) => "against the comparison arm".to_owned(),
        (Some(By::Reciprocity), _) => {
            format!("two-way or one-way after {} days", measured.landmark_days.unwrap_or(0))
        }
    };
    format!("{subject}, {basis}, {by}")
}

/// What the days of the curves are counted from.
fn counted_from(measured: &Retention) -> String {
    measured.landmark_days.map_or_else(|| "the start".to_owned(), |landmark| format!("day {landmark}"))
}

/// How many lives are shown, and how long the longest was watched.
fn lead(measured: &Retention, curves: &Curves<'_>, what: &str) -> Markup {
    let lives: u64 = measured.strata.iter().map(|one| one.n).sum();
    let ended: u64 = measured.strata.iter().map(|one| one.events).sum();
    let landmark = measured.landmark_days.unwrap_or(0);
    let longest = of(u64::from(curves.watched + landmark), "day", "days");
    html! {
        p.lead {
            @match (lives, measured.before_landmark) {
                (0, None | Some(0)) => { "Nobody started up to this day, so there is nothing to follow yet." }
                (0, Some(before)) => { (of(before, "pair", "pairs")) " started up to this day, and none has lasted longer than " (landmark) " days yet." }
                (_, Some(_)) => { (count(lives)) " pairs that lasted longer than " (landmark) " days, the longest for " (longest) " so far; " (count(ended)) " ended, the others go on or were last seen going on." }
                (_, None) if measured.by == Some(By::Arm) => {
                    (of(everybody(curves), "person", "people")) " in " (of(lives, "stay", "stays")) " in an arm: whoever changed it is in each from and to the day of the change. The longest was watched for " (longest) "; " (of(ended, "stay", "stays")) " ended with leaving."
                }
                (_, None) => { (count(lives)) " " (what) ", the longest for " (longest) " so far; " (count(ended)) " ended, the others go on or were last seen going on." }
            }
        }
    }
}

/// Lives without any groups; 0 where they were not asked for.
fn everybody(curves: &Curves<'_>) -> u64 {
    curves.endings.and_then(|all| all.strata.first()).map_or(0, |all| all.n)
}

/// The events of all lives, or of those that ended.
fn behind(here: &Here, measured: &Retention, ended: bool) -> Option<String> {
    let asked = [
        ("behind", "retention"),
        ("part", if ended { "numerator" } else { "" }),
        ("subject", subject_name(measured.subject)),
        ("basis", basis_name(measured.basis)),
    ];
    here.may(Section::History).then(|| here.link("/history", &asked))
}

/// The page.
pub fn page(here: &Here, curves: &Curves<'_>) -> Markup {
    let measured = curves.measured;
    let what = match measured.subject {
        Subject::Pairs => "pairs",
        Subject::Participants => "people",
    };
    let from = counted_from(measured);
    let since = measured.landmark_days.map_or_else(String::new, |landmark| format!(" since day {landmark}"));
    let (all, ended) = (behind(here, measured, false), behind(here, measured, true));
    let confirmed = Behind::events(here, "confirmation-ratio");
    let main = html! {
        h1 { "Retention" }
        (lead(measured, curves, what))
        (choices(here, measured))
        p.view { (view_name(measured)) }
        @if let Some(before) = measured.before_landmark.filter(|before| *before > 0) {
            p.quiet { (of(before, "pair", "pairs")) " did not last longer than " (measured.landmark_days.unwrap_or(0))
                " days, or not yet, and are in neither group. Days are counted from there: grouping by what happened later would make the two-way ones look as if they lasted longer." }
        }
        @if let Some(lapse) = measured.lapse_days {
            p.quiet { "A spell of sessions is over when none came for " (lapse) " days." }
        }
        dl.stats {
            @for one in drawn(measured) {
                @let name = group_name(measured, &one.name);
                @let name = if measured.by.is_none() { String::new() } else { format!(": {name}") };
                (number(&format!("Half had ended{since}{name}"), "median-life",
                    &one.median.map_or_else(|| NOTHING.to_owned(), |days| format!("{} days", count(u64::from(days)))),
                    &median_says(one, measured.by.is_none().then_some((ended.as_deref(), all.as_deref())))))
                (number(&format!("Days lived of the first {}{since}{name}", one.rmst.tau), "restricted-mean",
                    &one.rmst.value.map_or_else(|| NOTHING.to_owned(), |days| format!("{days:.0} days")),
                    &html! { @match one.rmst.se {
                        None => { "nobody was watched that long" }
                        Some(se) => { "lived on average by " (count(one.n)) ", standard error " (format!("{se:.1}")) }
                    } }))
            }
            (stat(Counted { name: "Confirmed sessions", definition: "confirmation-ratio", unit: "sessions" }, &measured.confirmation_ratio, &confirmed))
        }
        @if let Some((all, ended)) = all.as_deref().zip(ended.as_deref()) {
            p { "Behind these curves: " a href=(all) { "the events of all lives" } ", " a href=(ended) { "of those that ended" }
                @if measured.by.is_some() { "; both of all groups together" } "." }
        }
        section aria-labelledby="h-curve" { h2 #h-curve { "How many go on" } (curve(measured, curves.watched, what, &from)) (compared(measured)) }
        @if let Some(endings) = curves.endings {
            section aria-labelledby="h-endings" { h2 #h-endings { "How they end" } (ungrouped(measured, endings, what)) (stacked(endings, curves.watched, what)) }
        }
        section aria-labelledby="h-cohorts" { h2 #h-cohorts { "Month by month" } @if curves.endings.is_none() { (ungrouped(measured, measured, what)) } (cohorts(&measured.cohorts, what)) }
    };
    frame::page(&format!("Retention · {}", here.name), here, &main)
}

/// That what follows knows no groups, where there are some.
fn ungrouped(measured: &Retention, all: &Retention, what: &str) -> Markup {
    let lives: u64 = all.cohorts.iter().map(|cohort| cohort.n).sum();
    html! {
        @if measured.by.is_some() && lives > 0 {
            p.quiet { "From here on all " (count(lives)) " " (what) " together, from their start." }
        }
    }
}

/// What a median rests on; `links` are the events of the lives that ended and of all, where the group is of all.
fn median_says(one: &Stratum, links: Option<(Option<&str>, Option<&str>)>) -> Markup {
    let end = |day: Option<u32>| day.map_or_else(|| "open".to_owned(), |day| count(u64::from(day)));
    let (ended, all) = links.unwrap_or_default();
    let (lower, upper) = (one.median_interval.lower, one.median_interval.upper);
    html! {
        @if one.n == 0 { "undefined: there is nobody to follow" }
        @else {
            @if one.median.is_none() { "not reached; " }
            (counted(one.events, ended)) " of " (counted(one.n, all)) " ended"
            @if one.median.is_some() { "; 95% interval " (end(lower)) " to " (end(upper)) " days" }
        }
    }
}

fn ticks(watched: u32, narrow: bool) -> Vec<u32> {
    let most = watched.max(30);
    let parts = if narrow { 4 } else { 6 };
    let each = [30_u32, 60, 90, 180, 365, 730, 1825, 3650, 7300];
    let each = each.into_iter().find(|each| most.div_ceil(*each) <= parts).unwrap_or(14_600);
    (0..=most.div_ceil(each)).map(|n| n * each).collect()
}

fn curve(measured: &Retention, watched: u32, what: &str, from: &str) -> Markup {
    const TITLE: &str = "How many go on";
    let all = measured.strata.iter().filter(|one| one.n > 0);
    let strata = drawn(measured);
    if strata.is_empty() {
        let why = match measured.before_landmark {
            Some(before) if before > 0 => {
                "There is nothing to draw yet: no pair has lasted beyond the landmark."
            }
            Some(_) | None => "There is nothing to draw: nobody started up to this day.",
        };
        return empty(TITLE, why);
    }
    if watched == 0 {
        return empty(TITLE, "There is nothing to draw yet: everybody started today.");
    }
    let left_out = all.clone().count() - strata.len();
    let groups = |narrow: bool| -> Vec<Survival> {
        let days = ticks(watched, narrow);
        strata
            .iter()
            .map(|one| {
                let until = one.curve.last().map_or(0, |point| point.day).max(
                    one.at.iter().rev().find(|point| point.survival.is_some()).map_or(0, |point| point.day),
                );
                Survival {
                    name: group_name(measured, &one.name),
                    steps: one
                        .curve
                        .iter()
                        .map(|point| Step {
                            day: point.day,
                            survival: point.survival,
                            interval: point.lower.zip(point.upper),
                        })
                        .collect(),
                    until,
                    at_risk: days.iter().map(|&day| at_risk(one, day)).collect(),
                }
            })
            .collect()
    };
    let (wide, narrow) = (groups(false), groups(true));
    let says = format!(
        "The share of {what} that last longer than so many days since {from} (Kaplan-Meier), with the 95% interval as a band. Steps down are ends; who could not be watched longer is taken out without a step."
    );
    let rows: Vec<Vec<Markup>> = all
        .flat_map(|one| {
            one.at.iter().map(|point| {
                vec![
                    cell(group_name(measured, &one.name)),
                    cell(count(u64::from(point.day))),
                    cell(percent(point.survival)),
                    cell(percent(point.lower)),
                    cell(percent(point.upper)),
                    cell(point.at_risk.map_or_else(|| NOTHING.to_owned(), count)),
                ]
            })
        })
        .collect();
    let numbers = table(
        &format!("The curve at some days since {from}; a dash is beyond what was watched"),
        &["Group", "Day", "Go on", "Lower", "Upper", "At risk"],
        &rows,
        1,
    );
    html! {
        (figure(&Drawing { id: "survival", title: TITLE, says: &says, definition: "survival" }, &none(),
            |sheet| charts::survival(sheet, if sheet.is_narrow() { &narrow } else { &wide }, &ticks(watched, sheet.is_narrow()), from),
            &numbers))
        @if left_out > 0 { p.quiet { "Drawn are the " (GROUPS_MAX) " largest groups; the table and the API have them all." } }
    }
}

/// Lives with entry < day <= exit, from the steps: how many had not stopped before the day. `None` beyond the last step,
/// like the numbers of the table: nobody was watched for so long.
fn at_risk(one: &Stratum, day: u32) -> Option<u64> {
    if let Some(point) = one.at.iter().find(|point| point.day == day) {
        return point.at_risk;
    }
    one.curve.iter().find(|point| point.day >= day).map(|point| point.at_risk)
}

fn compared(measured: &Retention) -> Markup {
    html! {
        @if let Some(test) = &measured.test {
            p {
                "Whether the groups differ: " (test.name) " χ² = " (format!("{:.2}", test.chi_square)) ", " (of(u64::from(test.df), "degree", "degrees")) " of freedom, p = " (format!("{:.3}", test.p)) ". "
                @if let Some(difference) = &measured.difference {
                    @if let (Some(value), Some(se)) = (difference.rmst.value, difference.rmst.se) {
                        (group_name(measured, &difference.of)) " minus " (group_name(measured, &difference.less)) ": "
                        (format!("{value:+.1}")) " days of the first " (difference.rmst.tau) " (standard error " (format!("{se:.1}")) ")."
                    }
                }
            }
            p.quiet { "People chose their groups: a difference is not an effect." }
        }
    }
}

fn stacked(endings: &Retention, watched: u32, what: &str) -> Markup {
    const TITLE: &str = "Ways of ending";
    let Some(all) = endings.strata.first().filter(|all| all.n > 0) else {
        return empty(TITLE, "There is nothing to draw: nobody started up to this day.");
    };
    if all.events == 0 {
        return empty(TITLE, "There is nothing to draw: nothing has ended up to this day.");
    }
    let days: Vec<u32> =
        all.at.iter().filter(|point| point.survival.is_some()).map(|point| point.day).collect();
    if days.len() < 2 {
        return empty(TITLE, "There is nothing to draw yet: nobody was watched for long enough.");
    }
    let name = |class: &str| match class {
        "planned" => ("as planned", "blue"),
        "early-voluntary" => ("early, by choice", "orange"),
        _ => ("early, from outside", "violet"),
    };
    let mut layers: Vec<Layer> = all
        .causes
        .iter()
        .map(|cause| {
            let (name, class) = name(cause.class);
            let shares =
                cause.at.iter().take(days.len()).map(|point| point.incidence.unwrap_or(0.0)).collect();
            Layer { name: name.to_owned(), class, shares }
        })
        .collect();
    let going: Vec<f64> = all.at.iter().take(days.len()).map(|point| point.survival.unwrap_or(0.0)).collect();
    layers.push(Layer { name: "go on".to_owned(), class: "gone", shares: going });
    let rows: Vec<Vec<Markup>> = days
        .iter()
        .enumerate()
        .filter(|(_, day)| **day % 30 == 0 || **day == 365)
        .map(|(at, day)| {
            let mut row = vec![cell(day.to_string())];
            row.extend(layers.iter().map(|layer| cell(percent(layer.shares.get(at).copied()))));
            row
        })
        .collect();
    let says = format!(
        "Of {what} that started: the share that had ended in each way by a day, and the share that goes on (Aalen-Johansen). All add up to 100%."
    );
    let last = days.last().copied().unwrap_or(watched);
    figure(
        &Drawing { id: "endings", title: TITLE, says: &says, definition: "endings" },
        &none(),
        |sheet| {
            let ticks: Vec<u32> =
                ticks(last, sheet.is_narrow()).into_iter().filter(|day| *day <= last).collect();
            charts::stacked(sheet, &days, &layers, &ticks)
        },
        &table(
            "Ways of ending by day",
            &["Day", "As planned", "Early, by choice", "Early, from outside", "Go on"],
            &rows,
            0,
        ),
    )
}

fn cohorts(cohorts: &[Cohort], what: &str) -> Markup {
    const TITLE: &str = "Cohorts by month of the start";
    const SHOWN: usize = 24;
    let Some(first) = cohorts.first() else {
        return empty(TITLE, "There is nothing to show: nobody started up to this day.");
    };
    let shade = |share: f64| match share {
        share if share >= 0.9 => "s4",
        share if share >= 0.75 => "s3",
        share if share >= 0.5 => "s2",
        share if share >= 0.25 => "s1",
        _ => "s0",
    };
    let older = cohorts.len().saturating_sub(SHOWN);
    html! {
        figure #cohorts {
            figcaption {
                h3 { a href="/definitions#cohorts" { (TITLE) } }
                p { "Of the " (what) " that started in a month: how many were still there after so many days. Hatched cells still change: the day has not come for everybody of the month." }
            }
            div.scroll tabindex="0" role="region" aria-label=(TITLE) {
                table.cohorts {
                    caption { "Share still there, and of how many" }
                    thead { tr {
                        th scope="col" { "Started" } th scope="col" { "Number" }
                        @for at in &first.at { th scope="col" { "after " (at.day) " days" } }
                    } }
                    tbody { @for cohort in &cohorts[older..] { tr {
                        th scope="row" { (month(&cohort.cohort)) }
                        td { (count(cohort.n)) }
                        @for at in &cohort.at {
                            @match at.retained.value {
                                None => { td { span.quiet { (NOTHING) } } }
                                Some(kept) => {
                                    td class={ (shade(kept)) @if !at.mature { " immature" } } {
                                        b { (whole_percent(kept)) }
                                        small { (count(at.retained.numerator)) " of " (count(at.retained.denominator)) }
                                    }
                                }
                            }
                        }
                    } } }
                }
            }
            @if older > 0 { p.quiet { "The last " (SHOWN) " months; " (count(older as u64)) " earlier ones are in the API." } }
        }
    }
}
