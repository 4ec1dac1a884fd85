//! What outsiders may see of a program, as it was published at the close of a week.
//! Never a number that is not in the publication, and never why a single one is withheld.

use maud::{Markup, html};
use mentorlog_events::time::Day;
use mentorlog_projections::outsiders::{Cells, Share, WeekClose};

use super::frame::{self, Asked, Behind, Here, cell, counted, empty, number, table};
use super::numbers::{NOTHING, count, generation, hours, of, percent, time, title};

/// What stands where a number is withheld.
const WITHHELD: &str = "withheld";

/// What the page is made from.
pub struct Published<'a> {
    /// The publication; `None` while no week is over.
    pub close: Option<&'a WeekClose>,
    /// The last day of the week that is not over.
    pub next_close: Day,
    /// The week before it and the week after it, by name, where there are publications.
    pub around: [Option<String>; 2],
    /// Signed reports: the digest, and what each is of.
    pub reports: &'a [(String, String)],
}

fn shown(number: Option<u64>) -> String {
    number.map_or_else(|| WITHHELD.to_owned(), count)
}

fn share(behind: &Behind, name: &str, definition: &str, unit: &str, share: &Share) -> Markup {
    let of = match (share.numerator, share.denominator) {
        (Some(_), Some(0)) => html! { "undefined: there are no " (unit) " to count among" },
        (Some(numerator), Some(denominator)) => html! {
            (counted(numerator, behind.numerator.as_deref())) " of "
            (counted(denominator, behind.denominator.as_deref())) " " (unit)
        },
        (None, _) | (_, None) => {
            html! { "not told: too few people, or a number with which it could be reckoned" }
        }
    };
    let is_withheld = share.numerator.is_none() || share.denominator.is_none();
    let value = if is_withheld { WITHHELD.to_owned() } else { percent(share.value) };
    html! {
        div.stat {
            dt { a href={ "/definitions#" (definition) } { (name) } }
            dd {
                span.value.withheld[is_withheld] data-figure=(definition)
                    data-numerator=[share.numerator] data-denominator=[share.denominator] { (value) }
                span.of { (of) }
            }
        }
    }
}

fn cells(caption: &str, what: &str, counts: &Cells) -> Markup {
    let rows: Vec<Vec<Markup>> =
        counts.0.iter().map(|(name, count)| vec![cell(title(name)), cell(shown(*count))]).collect();
    table(caption, &[what, "Count"], &rows, 1)
}

/// The page.
pub fn page(here: &Here, published: &Published<'_>) -> Markup {
    let [before, after] = &published.around;
    let main = html! {
        h1 { "Published figures" }
        p.lead { "What anybody may be shown of " (here.name) ": figures at the close of a week, without whatever rests on few people." }
        @match published.close {
            None => { (empty("Published figures", &format!("No week of this program was over yet. The first figures are published when {} is over.", super::numbers::day(published.next_close)))) }
            Some(close) => {
                p { "Week " b { (close.week) } ", as of " (time(close.as_of)) "; the next one closes with " (time(published.next_close)) ". A number that rests on fewer than "
                    (close.k_anonymity) " people, or that would tell one that does, is withheld: "
                    (of(close.withheld, "number", "numbers")) " of this week." }
                nav.pager aria-label="Weeks" {
                    @if let Some(week) = before { a.button rel="prev" href=(here.link("/published", &[("week", week)])) { "Week " (week) } }
                    @if let Some(week) = after { a.button rel="next" href=(here.link("/published", &[("week", week)])) { "Week " (week) } }
                }
                (figures(here, close))
            }
        }
        section aria-labelledby="h-reports" {
            h2 #h-reports { "Signed reports" }
            @if published.reports.is_empty() { p.quiet { "No report of this program was published yet." } }
            @else { ul { @for (digest, what) in published.reports { li { a href={ "/v1/reports/" (digest) } { (what) } " " code.hash { (digest) } } } } }
        }
    };
    frame::page(&format!("Published figures · {}", here.name), here, &main)
}

/// The events behind a figure of the week, for whoever may look at events anyway.
fn behind(here: &Here, close: &WeekClose, figure: &str) -> Behind {
    let asked = Asked { as_of: Some(close.as_of), known_at: Some(close.size.to_string()) };
    Behind::events(&Here { asked, ..here.clone() }, figure)
}

/// What sessions were worth is nobody's business outside: one rating more or less would be the difference of two weeks,
/// and whoever taught knows the session. Only a program that withholds nothing tells it.
fn worth(here: &Here, close: &WeekClose) -> Markup {
    let value = &close.figures.value_reciprocity;
    html! {
        @if value.numerator.is_some() && value.denominator.is_some() {
            (share(&behind(here, close, "value-reciprocity"), "Value reciprocity", "value-reciprocity", "rated quarter-minutes", value))
        } @else {
            div.stat {
                dt { a href="/definitions#value-reciprocity" { "Value reciprocity" } }
                dd {
                    span.value.withheld data-figure="value-reciprocity" { (WITHHELD) }
                    span.of { "what sessions were worth to somebody is not told to outsiders, however many they are" }
                }
            }
        }
    }
}

fn concentration(here: &Here, close: &WeekClose) -> Markup {
    let nothing = close.exchange_minutes.iter().all(|flow| flow.minutes == Some(0));
    let Behind { numerator, denominator } = behind(here, close, "teaching-gini");
    let (value, says) = match close.teaching_gini {
        Some(gini) => (
            percent(Some(gini)),
            html! {
                @if let Some((sessions, people)) = numerator.zip(denominator) {
                    "Gini coefficient of the minutes of " a.behind href=(sessions) { "these sessions" } " over " a.behind href=(people) { "these people" }
                } @else { "Gini coefficient of minutes taught" }
            },
        ),
        None if nothing => (NOTHING.to_owned(), html! { "undefined: nothing was taught yet" }),
        None => (WITHHELD.to_owned(), html! { "not told: it would tell what few people did" }),
    };
    number("Concentration of teaching", "teaching-gini", &value, &says)
}

fn figures(here: &Here, close: &WeekClose) -> Markup {
    let figures = &close.figures;
    let behind = |figure: &str| behind(here, close, figure);
    html! {
        section aria-labelledby="h-figures" {
            h2 #h-figures { "How mutual it is" }
            dl.stats {
                (share(&behind("weighted-reciprocity"), "Weighted reciprocity", "weighted-reciprocity", "minutes", &figures.weighted_reciprocity))
                (share(&behind("two-way-pair-share"), "Two-way pairs", "two-way-pair-share", "pairs with minutes", &figures.two_way_pair_share))
                (share(&behind("generalised-reciprocity"), "Generalised reciprocity", "generalised-reciprocity", "minutes", &figures.generalised_reciprocity))
                (share(&behind("cross-generation-share"), "Across generations", "cross-generation-share", "minutes between known generations", &figures.cross_generation_share))
                (share(&behind("reverse-share"), "Younger taught older", "reverse-share", "minutes between generations", &figures.reverse_share))
                (share(&behind("dual-role-share"), "People in both roles", "dual-role-share", "people", &figures.dual_role_share))
                (worth(here, close))
                (share(&behind("confirmation-ratio"), "Confirmed sessions", "confirmation-ratio", "sessions", &figures.confirmation_ratio))
                (concentration(here, close))
            }
        }
        section aria-labelledby="h-lasting" { h2 #h-lasting { "How long pairs last" } (lasting(close)) }
        section aria-labelledby="h-flow" { h2 #h-flow { "Who taught whom" } (flow(close)) }
        section aria-labelledby="h-counts" {
            h2 #h-counts { "Counts" }
            div.side {
                div { (cells("People", "Standing", &close.participants)) }
                div {
                    (cells("Pairs", "Standing", &close.pairs))
                    p.quiet { "Stalled among the active ones: " (shown(close.stalled_pairs)) "." }
                }
                div { (cells("Proposals", "What became of them", &close.proposals)) }
                div { (cells("Sessions", "Standing", &close.sessions)) }
                div { (cells("Pairs with minutes, by balance", "Balance", &close.pairs_by_balance)) }
            }
        }
    }
}

fn lasting(close: &WeekClose) -> Markup {
    let rows: Vec<Vec<Markup>> = close
        .cohorts
        .iter()
        .zip(&close.retention.at)
        .map(|(cohort, at)| {
            let is_withheld = cohort.started.is_none() || cohort.retained.is_none();
            let survival = match at.survival {
                Some(survival) => percent(Some(survival)),
                None if is_withheld => WITHHELD.to_owned(),
                None => NOTHING.to_owned(),
            };
            vec![
                cell(of(u64::from(cohort.horizon), "day", "days")),
                cell(survival),
                cell(shown(cohort.started)),
                cell(shown(cohort.retained)),
            ]
        })
        .collect();
    let retention = &close.retention;
    let days = |days: Option<String>, none: &str| days.unwrap_or_else(|| none.to_owned());
    html! {
        (table("Kaplan-Meier; and of the pairs whose day has come and that were not censored before, those that lasted longer",
            &["After", "Survive", "Pairs", "Lasted"], &rows, 1))
        @if retention.withheld {
            p.quiet { "The median and the mean are withheld." }
        } @else {
            dl.facts {
                dt { "Half have ended by" }
                dd { (days(retention.median.map(|days| format!("day {days}")), "more than half go on")) }
                dt { "Mean within " (retention.rmst.tau) " days" }
                dd { (days(retention.rmst.value.map(|mean| format!("{mean:.1} days")), "undefined: nobody was watched for so long")) }
            }
        }
    }
}

fn flow(close: &WeekClose) -> Markup {
    let mut names: Vec<&str> = Vec::new();
    for flow in &close.exchange_minutes {
        if !names.contains(&flow.from.as_str()) {
            names.push(flow.from.as_str());
        }
    }
    if close.exchange_minutes.iter().all(|flow| flow.minutes == Some(0)) {
        return empty("Flow between generations", "Nobody taught anybody up to this day.");
    }
    let minutes = |from: &str, to: &str| {
        let flow =
            close.exchange_minutes.iter().find(|flow| flow.from.as_str() == from && flow.to.as_str() == to);
        flow.and_then(|flow| flow.minutes).map_or_else(|| WITHHELD.to_owned(), hours)
    };
    let hidden = close.exchange_minutes.iter().filter(|flow| flow.minutes.is_none()).count();
    let all = close.exchange_minutes.len();
    if 2 * hidden > all {
        // A table of one word: what can be told is said instead.
        let told =
            close.exchange_minutes.iter().filter(|flow| flow.minutes.is_some_and(|minutes| minutes > 0));
        let told: Vec<String> = told
            .map(|flow| {
                format!(
                    "{} taught {} {}",
                    generation(flow.from.as_str()),
                    generation(flow.to.as_str()),
                    hours(flow.minutes.unwrap_or_default())
                )
            })
            .collect();
        return html! {
            p { "Of the " (all) " flows between generations " (hidden) " are withheld: too few people, or a number with which they could be reckoned." }
            @if told.is_empty() { p { "In the others nobody taught anybody." } }
            @else { p { "The others: " (told.join("; ")) @if told.len() + hidden < all { "; in the rest nobody taught anybody" } "." } }
        };
    }
    let called: Vec<String> = names.iter().map(|name| generation(name)).collect();
    let head: Vec<&str> = std::iter::once("Taught").chain(called.iter().map(String::as_str)).collect();
    let rows: Vec<Vec<Markup>> = names
        .iter()
        .map(|from| {
            let cells = names.iter().map(|to| cell(minutes(from, to)));
            std::iter::once(cell(generation(from))).chain(cells).collect()
        })
        .collect();
    table("Time taught, from the generation of a row to that of a column", &head, &rows, 1)
}
