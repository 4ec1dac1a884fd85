//! What outsiders may see of a program, as it was published at the close of a week.
//! Never a number that is not in the publication, and never why a single one is withheld.

use maud::{Markup, html};
use mentorlog_events::time::Day;
use mentorlog_projections::outsiders::{Cells, Share, WeekClose};

use super::frame::{self, Here, cell, empty, number, table};
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

fn share(name: &str, definition: &str, unit: &str, share: &Share) -> Markup {
    let of = match (share.numerator, share.denominator) {
        (Some(_), Some(0)) => format!("undefined: there are no {unit} to count among"),
        (Some(numerator), Some(denominator)) => {
            format!("{} of {} {unit}", count(numerator), count(denominator))
        }
        (None, _) | (_, None) => "rests on too few people to be told".to_owned(),
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
            None => { (empty("Published figures", &format!("No week of this program is over yet. The first figures are published when {} is over.", super::numbers::day(published.next_close)))) }
            Some(close) => {
                p { "Week " b { (close.week) } ", as of " (time(close.as_of)) "; the next one closes with " (time(published.next_close)) ". A number that rests on fewer than "
                    (close.k_anonymity) " people, or that would tell one that does, is withheld: "
                    (of(close.withheld, "number", "numbers")) " of this week." }
                nav.pager aria-label="Weeks" {
                    @if let Some(week) = before { a.button rel="prev" href=(here.link("/published", &[("week", week)])) { "Week " (week) } }
                    @if let Some(week) = after { a.button rel="next" href=(here.link("/published", &[("week", week)])) { "Week " (week) } }
                }
                (figures(close))
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

fn figures(close: &WeekClose) -> Markup {
    let figures = &close.figures;
    html! {
        section aria-labelledby="h-figures" {
            h2 #h-figures { "How mutual it is" }
            dl.stats {
                (share("Weighted reciprocity", "weighted-reciprocity", "minutes", &figures.weighted_reciprocity))
                (share("Two-way pairs", "two-way-pair-share", "pairs", &figures.two_way_pair_share))
                (share("Generalised reciprocity", "generalised-reciprocity", "minutes", &figures.generalised_reciprocity))
                (share("Across generations", "cross-generation-share", "minutes", &figures.cross_generation_share))
                (share("Younger taught older", "reverse-share", "minutes", &figures.reverse_share))
                (share("People in both roles", "dual-role-share", "people", &figures.dual_role_share))
                (share("Value reciprocity", "value-reciprocity", "quarter-minutes", &figures.value_reciprocity))
                (share("Confirmed sessions", "confirmation-ratio", "sessions", &figures.confirmation_ratio))
                (number("Concentration of teaching", "teaching-gini",
                    &close.teaching_gini.map_or_else(|| WITHHELD.to_owned(), |gini| percent(Some(gini))),
                    "Gini coefficient of minutes taught; withheld, or undefined, where it is not shown"))
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
