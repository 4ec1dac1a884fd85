//! One program at a glance: what to act on today, then how it fares.
//! Never a list of who is best: lists are by how long something has waited.

use maud::{Markup, html};
use mentorlog_events::id::{PairId, ParticipantId};
use mentorlog_events::time::Timestamp;
use mentorlog_projections::health::{Health, Longest};
use mentorlog_projections::mutuality::MonthOf;
use mentorlog_projections::program::ProgramView;
use mentorlog_projections::reciprocity::Reciprocity;
use mentorlog_projections::retention::{Point, Retention};

use super::charts;
use super::frame::{self, Counted, Drawing, Here, Section, cell, encoded, figure, none, number, stat, table};
use super::numbers::{count, hours, month, month_tick, of, percent, person, short, time, title};
use super::programs;

/// What the page is made from.
pub struct Overview<'a> {
    /// The program.
    pub program: &'a ProgramView,
    /// What to act on; `None` where a day before the last entry was asked for.
    pub health: Option<&'a Health>,
    /// The end of that day, if the program was open then.
    pub then: Option<Timestamp>,
    /// How mutual it is.
    pub reciprocity: &'a Reciprocity,
    /// How long pairs last.
    pub retention: &'a Retention,
    /// Month by month.
    pub months: &'a [MonthOf],
}

/// How many of each list are shown.
pub const SHOWN: usize = 5;

fn pair_link(here: &Here, pair: PairId) -> Markup {
    html! { a href=(here.link(&format!("/pairs/{pair}"), &[])) title=(pair) { "Pair " (short(pair.0)) } }
}

fn person_link(here: &Here, id: ParticipantId) -> Markup {
    if here.reader.only == Some(id) {
        return html! { a href=(here.link(&format!("/participants/{id}"), &[])) title=(id) { "You" } };
    }
    if !here.reader.may_meet(id) {
        return html! { (person(id)) };
    }
    html! { a href=(here.link(&format!("/participants/{id}"), &[])) title=(id) { (person(id)) } }
}

fn act<T>(
    (one, many): (&str, &str),
    list: &Longest<T>,
    fine: &str,
    more: &str,
    show: impl Fn(&T) -> (Markup, Markup),
) -> Markup {
    html! {
        li.fine[list.count == 0] {
            h3 { b { (count(list.count)) } (if list.count == 1 { one } else { many }) }
            @if list.count == 0 { p { (fine) } }
            @else {
                ul { @for item in &list.items {
                    @let (what, since) = show(item);
                    li { div { (what) } span { (since) } }
                } }
                p { a href=(more) { @if more.contains("/history") { "Every session logged" } @else { "All of them" } } }
            }
        }
    }
}

fn acts(here: &Here, health: &Health) -> Markup {
    let short_of: Vec<_> = health.skills.iter().filter(|skill| skill.supply_gap > 0).collect();
    let pairs = |more: &[(&str, &str)]| here.link("/pairs", more);
    html! {
        ul.acts {
            (act(("stalled pair", "stalled pairs"), &health.pairs.stalled, "Every active pair has met lately.", &pairs(&[("stalled", "true")]), |one| {
                (pair_link(here, one.pair), html! { "idle for " (of(u64::from(one.days), "day", "days")) })
            }))
            (act(("proposal waits", "proposals wait"), &health.proposals.unanswered, "Nobody owes an answer.", &pairs(&[("state", "proposed")]), |one| {
                let waits = of(one.waits_for.len() as u64, "answer", "answers");
                (html! { (pair_link(here, one.pair)) }, html! {
                    @if one.overdue { span.tag.warn { "overdue" } " " }
                    (waits) ", " (of(u64::from(one.days), "day", "days"))
                })
            }))
            (act(("session to confirm", "sessions to confirm"), &health.confirmation.backlog, "Nothing waits for confirmation.",
                &here.link("/history", &[("type", "session-logged")]), |one| {
                (html! { (pair_link(here, one.pair)) }, html! { "held " (of(u64::from(one.days), "day", "days")) " ago" })
            }))
            li.fine[health.participants.unpaired == 0] {
                h3 { b { (count(health.participants.unpaired)) } @if health.participants.unpaired == 1 { "person without a pair" } @else { "people without a pair" } }
                @if health.participants.unpaired == 0 { p { "Everybody who takes part has a pair or a proposal." } }
                @else { p { "They take part and have neither a pair nor a proposal." }
                    p { a href=(here.link("/participants", &[("state", "enrolled")])) { "Who they are" }
                        @if here.may(Section::Suggestions) { " · " a href=(here.link("/suggestions", &[])) { "Who would fit" } } } }
            }
            li.fine[health.confirmation.disputed == 0] {
                h3 { b { (count(health.confirmation.disputed)) } @if health.confirmation.disputed == 1 { "session in dispute" } @else { "sessions in dispute" } }
                @if health.confirmation.disputed == 0 { p { "Nobody disputes anything." } }
                @else { p { "They count nowhere until they are corrected, resolved or voided." }
                    p { a href=(here.link("/history", &[("type", "session-disputed")])) { "Where it was said" } } }
            }
            li.fine[short_of.is_empty()] {
                h3 { b { (count(short_of.len() as u64)) } @if short_of.len() == 1 { "skill in short supply" } @else { "skills in short supply" } }
                @if short_of.is_empty() { p { "No skill is sought by more people than offer it." } }
                @else {
                    ul { @for skill in short_of.iter().take(SHOWN) {
                        li { (title(skill.skill.as_str())) span { (count(skill.sought)) " seek, " (count(skill.offered)) " offer" } }
                    } }
                    p { a href=(here.link("/reciprocity", &[])) { "Supply and demand" } }
                }
            }
        }
    }
}

/// The page.
pub fn page(here: &Here, overview: &Overview<'_>) -> Markup {
    let Overview { program, health, then, reciprocity, retention, months } = overview;
    let figures = &reciprocity.figures;
    let states = program.pairs.states;
    let events = here.link("/history", &[("behind", "reciprocity")]);
    let kept = here.link("/history", &[("behind", "retention")]);
    let half_year = retention.strata.first().and_then(|all| all.at.iter().find(|point| point.day == 180));
    let main = html! {
        h1 { (program.name) }
        p.lead {
            (of(program.participants.states.enrolled, "person takes part", "people take part")) " in "
            (of(states.active, "active pair", "active pairs")) "; "
            (of(reciprocity.sessions, "session", "sessions")) " so far. The program is "
            (programs::state(program.state)) " since " (time(program.since)) "."
        }
        section aria-labelledby="act" {
            h2 #act { "To act on today" }
            @match health {
                Some(health) => { (acts(here, health)) }
                None => {
                    div.notice {
                        p { "The figures below are as of " (time(here.as_of)) ". What there was to do then is a matter of what the ledger said then." }
                        @if let Some(then) = then {
                            p { a href=(format!("/p/{}?known_at={}", here.slug, encoded(&then.to_string()))) { "See the program as it was known at the end of that day" } }
                        }
                    }
                }
            }
        }
        section aria-labelledby="glance" {
            h2 #glance { "At a glance" }
            dl.stats {
                (stat(Counted { name: "Weighted reciprocity", definition: "weighted-reciprocity", unit: "minutes" }, &figures.weighted_reciprocity, Some(&events)))
                (stat(Counted { name: "Two-way pairs", definition: "two-way-pair-share", unit: "pairs" }, &figures.two_way_pair_share, Some(&events)))
                (stat(Counted { name: "Across generations", definition: "cross-generation-share", unit: "minutes" }, &figures.cross_generation_share, Some(&events)))
                (stat(Counted { name: "Confirmed sessions", definition: "confirmation-ratio", unit: "sessions" }, &figures.confirmation_ratio, Some(&events)))
                (number("Pairs that last half a year", "survival",
                    &percent(half_year.and_then(|point| point.survival)),
                    &half_year.map_or_else(|| "undefined: there is no pair yet".to_owned(), half_a_year)))
                @if let Some(health) = health {
                    (stat(Counted { name: "Stalled pairs", definition: "stalled-share", unit: "active pairs" }, &health.pairs.stalled_share, Some(&here.link("/pairs", &[("stalled", "true")]))))
                    (stat(Counted { name: "Closed early", definition: "early-closure", unit: "pairs whose term is over" }, &health.pairs.early_closure, Some(&kept)))
                    (stat(Counted { name: "Accepted proposals", definition: "acceptance", unit: "answered proposals" }, &health.proposals.funnel.acceptance, Some(&here.link("/history", &[("type", "pair-proposed")]))))
                }
            }
            (per_month(months))
        }
        div.side {
        @if let Some(health) = health {
            section aria-labelledby="funnel" {
                h2 #funnel { "From proposal to meeting" }
                (funnel(health))
            }
        }
        section aria-labelledby="people" {
            h2 #people { "People by generation" }
            @let rows: Vec<Vec<Markup>> = program.participants.by_generation.iter()
                .filter(|row| row.participants > 0)
                .map(|row| vec![cell(super::numbers::generation(row.generation.as_str())), cell(count(row.participants))]).collect();
            @if rows.is_empty() { p.quiet { "Nobody was enrolled yet." } }
            @else { (table("People ever enrolled, in both arms", &["Generation", "People"], &rows, 1)) }
        }
        }
    };
    frame::page(&program.name, here, &main)
}

/// What a curve read at 180 days rests on.
fn half_a_year(point: &Point) -> String {
    let (Some(at_risk), Some(_)) = (point.at_risk, point.survival) else {
        return "undefined: no pair could be watched for 180 days yet".to_owned();
    };
    let watched = format!("{} still watched on day 180", count(at_risk));
    match point.lower.zip(point.upper) {
        Some((lower, upper)) => {
            format!("95% interval {} to {}; {watched}", percent(Some(lower)), percent(Some(upper)))
        }
        None => watched,
    }
}

fn per_month(months: &[MonthOf]) -> Markup {
    const TITLE: &str = "Sessions per month";
    if months.is_empty() {
        return frame::empty(TITLE, "There is nothing to draw yet: no session was recorded up to this day.");
    }
    let columns: Vec<(String, u64)> =
        months.iter().enumerate().map(|(at, one)| (month_tick(&one.month, at == 0), one.sessions)).collect();
    let unfinished = months.last().is_some_and(|last| last.close.plus_days(1).civil().2 != 1);
    let says = if unfinished {
        "Sessions that count, by the month in which they were held. The last month, hatched, is not over."
    } else {
        "Sessions that count, by the month in which they were held."
    };
    let of = Drawing { id: "per-month", title: TITLE, says, definition: "sessions-per-month" };
    let rows: Vec<Vec<Markup>> = months
        .iter()
        .map(|one| vec![cell(month(&one.month)), cell(count(one.sessions)), cell(hours(one.minutes))])
        .collect();
    figure(
        &of,
        &none(),
        |sheet| charts::months(sheet, &columns, unfinished),
        &table(TITLE, &["Month", "Sessions", "Taught"], &rows, 1),
    )
}

fn funnel(health: &Health) -> Markup {
    let funnel = health.proposals.funnel;
    if funnel.proposed == 0 {
        return html! { p.quiet { "Nothing was proposed yet; pairs that were taken over from elsewhere were never proposals." } };
    }
    let share = |number: u64| percent((funnel.proposed > 0).then(|| number as f64 / funnel.proposed as f64));
    let row = |name: &str, number: u64| vec![cell(name), cell(count(number)), cell(share(number))];
    let rows = [
        row("Proposed", funnel.proposed),
        row("Became active", funnel.activated),
        row("Met at least once", funnel.met),
        row("Wait for an answer", funnel.waiting),
        row("Declined", funnel.declined),
        row("Taken back", funnel.withdrawn),
        row("Expired", funnel.expired),
        row("Fell to something else", funnel.invalidated),
    ];
    table("What became of proposals", &["", "Pairs", "Of all proposed"], &rows, 1)
}

/// A link to a person.
pub fn person_of(here: &Here, id: ParticipantId) -> Markup {
    person_link(here, id)
}

/// A link to a pair.
pub fn pair_of(here: &Here, id: PairId) -> Markup {
    pair_link(here, id)
}
