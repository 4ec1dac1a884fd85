//! One program at a glance: what to act on today, then how it fares.
//! Never a list of who is best: lists are by how long something has waited.

use maud::{Markup, html};
use mentorlog_events::id::{PairId, ParticipantId};
use mentorlog_projections::health::{Health, Longest, Unconfirmed};
use mentorlog_projections::mutuality::MonthOf;
use mentorlog_projections::participants::ParticipantCounts;
use mentorlog_projections::program::{ProgramState, ProgramView};
use mentorlog_projections::reciprocity::Reciprocity;
use mentorlog_projections::retention::{Retention, Stratum};

use super::charts;
use super::frame::{
    self, Behind, Counted, Drawing, Here, Section, cell, counted, figure, none, number, stat, table,
};
use super::numbers::{count, day, hours, month, of, percent, person, short, time, title};
use super::programs;

/// What the page is made from.
pub struct Overview<'a> {
    /// The program.
    pub program: &'a ProgramView,
    /// What is known of where things stand; `None` where a day before the last entry was asked for.
    pub standing: Option<Standing>,
    /// How mutual it is.
    pub reciprocity: &'a Reciprocity,
    /// How long pairs last.
    pub retention: &'a Retention,
    /// Month by month.
    pub months: &'a [MonthOf],
}

/// Where things stand at the newest entry.
pub struct Standing {
    /// What to act on.
    pub health: Health,
    /// The people of the program arm.
    pub taking_part: ParticipantCounts,
    /// Sessions to confirm that people may still remember.
    pub to_confirm: Longest<Unconfirmed>,
    /// How many days those go back: the policy's window for ratings.
    pub remembered_days: u16,
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
    (more, all): (&str, &str),
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
                p { a href=(more) { (all) } }
            }
        }
    }
}

fn acts(here: &Here, standing: &Standing, state: ProgramState) -> Markup {
    let health = &standing.health;
    let pairs = |more: &[(&str, &str)]| here.link("/pairs", more);
    html! {
        ul.acts {
            (act(("stalled pair", "stalled pairs"), &health.pairs.stalled, if health.pairs.active == 0 { "No pair is active." } else { "Every active pair has met lately." },
                (&pairs(&[("stalled", "true")]), "All of them"), |one| {
                (pair_link(here, one.pair), html! { "idle for " (of(u64::from(one.days), "day", "days")) })
            }))
            (act(("proposal waits", "proposals wait"), &health.proposals.unanswered, "Nobody owes an answer.", (&pairs(&[("state", "proposed")]), "All of them"), |one| {
                (html! { (pair_link(here, one.pair)) }, html! {
                    @if one.overdue { span.tag.warn { "ran out on " (day(one.expires_day)) } }
                    @else { "runs out on " (day(one.expires_day)) }
                })
            }))
            (to_confirm(here, standing))
            (unpaired(here, health, state))
            li.fine[health.confirmation.disputed == 0] {
                h3 { b { (count(health.confirmation.disputed)) } @if health.confirmation.disputed == 1 { "session in dispute" } @else { "sessions in dispute" } }
                @if health.confirmation.disputed == 0 { p { "Nobody disputes anything." } }
                @else { p { "They count nowhere until they are corrected, resolved or voided." }
                    p { a href=(here.link("/sessions", &[("waiting", "disputed")])) { "All of them" } } }
            }
            (in_short_supply(here, health))
        }
    }
}

/// What is fresh enough to be remembered comes first: of what lies long back nobody will say a word any more.
fn to_confirm(here: &Here, standing: &Standing) -> Markup {
    let (all, recent) = (standing.health.confirmation.backlog.count, &standing.to_confirm);
    let days = u64::from(standing.remembered_days);
    html! {
        li.fine[all == 0] {
            h3 { b { (count(all)) } (if all == 1 { "session to confirm" } else { "sessions to confirm" }) }
            @if all == 0 { p { "Nothing waits for confirmation." } }
            @else {
                @if recent.count == 0 { p { "None of them was held in the last " (of(days, "day", "days")) "." } }
                @else if recent.count < all { p { (count(recent.count)) " of them in the last " (of(days, "day", "days")) ", of these the oldest:" } }
                ul { @for one in &recent.items {
                    li {
                        div { a href=(here.link("/history", &[("about", &one.session.to_string())])) { (day(one.day)) } ", " (pair_link(here, one.pair)) }
                        span { @if one.days == 0 { "today" } @else { (of(u64::from(one.days), "day", "days")) " ago" } }
                    }
                } }
                p { a href=(here.link("/sessions", &[("waiting", "unconfirmed")])) { "All of them" } }
            }
        }
    }
}

fn unpaired(here: &Here, health: &Health, state: ProgramState) -> Markup {
    let number = health.participants.unpaired;
    html! {
        li.fine[number == 0 || state != ProgramState::Open] {
            h3 { b { (count(number)) } @if number == 1 { "person without a pair" } @else { "people without a pair" } }
            @if number == 0 { p { "Everybody who takes part has a pair or a proposal." } }
            @else {
                p { "They take part and have neither a pair nor a proposal." @if state != ProgramState::Open { " The program takes no proposals any more." } }
                p {
                    a href=(here.link("/participants", &[("unpaired", "true")])) { "Who they are" }
                    @if here.may(Section::Suggestions) && state == ProgramState::Open { " · " a href=(here.link("/suggestions", &[])) { "Who would fit" } }
                }
            }
        }
    }
}

fn in_short_supply(here: &Here, health: &Health) -> Markup {
    let short_of: Vec<_> = health.skills.iter().filter(|skill| skill.supply_gap > 0).collect();
    html! {
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

/// What the program is, in a few sentences; every number in it is of the same moment.
fn lead(here: &Here, overview: &Overview<'_>) -> Markup {
    let Overview { program, standing, reciprocity, retention, months } = overview;
    let sessions = html! {
        (counted(reciprocity.sessions, Behind::events(here, "sessions").denominator.as_deref()))
        (if reciprocity.sessions == 1 { " session" } else { " sessions" })
    };
    let people = |number: u64, state: &str, arm: &str| {
        let link = here.link("/participants", &[("state", state), ("arm", arm)]);
        counted(number, Some(&link))
    };
    let opened = here.opened;
    // Before the program was opened nothing was recorded, so whatever was held then was told afterwards.
    let (year, of_month, _) = opened.civil();
    let is_older = months.first().is_some_and(|first| first.month < format!("{year:04}-{of_month:02}"));
    html! {
        p.lead {
            @if let Some(standing) = standing {
                @let part = standing.taking_part;
                @let observed = program.participants.states.enrolled - part.enrolled;
                @if program.state == ProgramState::Archived {
                    (of(program.participants.arms.program, "person", "people")) " took part; "
                    (counted(program.pairs.states.ended, Some(&here.link("/pairs", &[("state", "ended")]))))
                    (if program.pairs.states.ended == 1 { " pair" } else { " pairs" }) " ended, " (sessions) " count. "
                } @else {
                    (people(part.enrolled, "enrolled", "program")) (if part.enrolled == 1 { " person takes part" } else { " people take part" })
                    @if part.on_break > 0 { ", " (people(part.on_break, "on-break", "program")) (if part.on_break == 1 { " is" } else { " are" }) " on a break" }
                    @if observed > 0 { ", " (people(observed, "enrolled", "comparison")) (if observed == 1 { " is" } else { " are" }) " only observed" }
                    "; " (counted(program.pairs.states.active, Some(&here.link("/pairs", &[("state", "active")]))))
                    (if program.pairs.states.active == 1 { " pair is" } else { " pairs are" }) " active; " (sessions) " so far. "
                }
                "The program is " (programs::state(program.state)) " since " (time(program.since)) "."
            } @else {
                // What is counted by day: the same integers as in the figures below.
                "By the close of " (time(here.as_of)) " "
                (of(reciprocity.enrolled, "person", "people")) " had been there, "
                (of(started(retention), "pair", "pairs")) " had started, and " (sessions) (if reciprocity.sessions == 1 { " was" } else { " were" }) " held that count. "
                @if here.as_of < opened { "The program was opened later, on " (time(opened)) "." }
                @else { "The program was opened on " (time(opened)) "." }
            }
            @if is_older { " What lies before it was opened was taken over from elsewhere." }
        }
    }
}

/// Pairs that had started.
fn started(retention: &Retention) -> u64 {
    retention.strata.first().map_or(0, |all| all.n)
}

/// What there is to do, or was, or why there is nothing.
fn what_to_do(here: &Here, overview: &Overview<'_>) -> Markup {
    let program = overview.program;
    let Some(standing) = &overview.standing else {
        let then = here.known_on(here.as_of, "", &[]);
        return html! {
            section aria-labelledby="act" {
                h2 #act { "What there was to act on" }
                div.notice {
                    p { "The figures below are as of " (time(here.as_of)) ". Who stalled, waited or was without a pair then is a matter of what the ledger said then." }
                    @if let Some(then) = then { p { a href=(then) { "See the program as it was known at the end of that day" } } }
                }
            }
        };
    };
    let confirmation = &standing.health.confirmation;
    html! {
        section aria-labelledby="act" {
            @if program.state == ProgramState::Archived {
                h2 #act { "Nothing is left to do" }
                div.notice {
                    p { "The program is archived since " (time(program.since)) ": nothing more happens in it." }
                    @if confirmation.backlog.count + confirmation.disputed > 0 {
                        @let (backlog, disputed) = (confirmation.backlog.count, confirmation.disputed);
                        p {
                            @if backlog > 0 { a href=(here.link("/sessions", &[("waiting", "unconfirmed")])) { (of(backlog, "session was", "sessions were")) " never confirmed" } }
                            @if backlog > 0 && disputed > 0 { ", " }
                            @if disputed > 0 { a href=(here.link("/sessions", &[("waiting", "disputed")])) { (of(disputed, "dispute was", "disputes were")) " never settled" } }
                            "."
                        }
                    }
                }
            } @else {
                @if here.asked.known_at.is_some() { h2 #act { "What there was to act on, on " (time(here.as_of)) } }
                @else { h2 #act { "To act on today" } }
                (acts(here, standing, program.state))
            }
        }
    }
}

/// The page.
pub fn page(here: &Here, overview: &Overview<'_>) -> Markup {
    let Overview { program, standing, reciprocity, retention, months } = overview;
    let figures = &reciprocity.figures;
    let behind = |name: &str| Behind::events(here, name);
    let main = html! {
        h1 { (program.name) }
        (lead(here, overview))
        (what_to_do(here, overview))
        section aria-labelledby="glance" {
            h2 #glance { "At a glance" }
            dl.stats {
                (stat(Counted { name: "Weighted reciprocity", definition: "weighted-reciprocity", unit: "minutes" }, &figures.weighted_reciprocity, &behind("weighted-reciprocity")))
                (stat(Counted { name: "Two-way pairs", definition: "two-way-pair-share", unit: "pairs with minutes" }, &figures.two_way_pair_share, &behind("two-way-pair-share")))
                (stat(Counted { name: "Across generations", definition: "cross-generation-share", unit: "minutes between known generations" }, &figures.cross_generation_share, &behind("cross-generation-share")))
                (stat(Counted { name: "Confirmed sessions", definition: "confirmation-ratio", unit: "sessions" }, &figures.confirmation_ratio, &behind("confirmation-ratio")))
                (half_a_year(here, retention))
                @if let Some(Standing { health, .. }) = standing {
                    @let stalled = Behind {
                        numerator: Some(here.link("/pairs", &[("stalled", "true")])),
                        denominator: Some(here.link("/pairs", &[("state", "active")])),
                    };
                    (stat(Counted { name: "Stalled pairs", definition: "stalled-share", unit: "active pairs" }, &health.pairs.stalled_share, &stalled))
                    (stat(Counted { name: "Closed early", definition: "early-closure", unit: "pairs whose term is over" }, &health.pairs.early_closure, &behind("early-closure")))
                    (stat(Counted { name: "Accepted proposals", definition: "acceptance", unit: "proposals that no longer wait" }, &health.proposals.funnel.acceptance, &behind("acceptance")))
                }
            }
            (per_month(here, months))
        }
        @if let Some(Standing { health, .. }) = standing {
            div.side {
                section aria-labelledby="funnel" {
                    h2 #funnel { "From proposal to meeting" }
                    (funnel(here, health))
                }
                section aria-labelledby="people" {
                    h2 #people { "People by generation" }
                    @let rows: Vec<Vec<Markup>> = program.participants.by_generation.iter()
                        .filter(|row| row.participants > 0)
                        .map(|row| {
                            let name = row.generation.as_str();
                            let link = here.link("/participants", &[("generation", name)]);
                            vec![cell(super::numbers::generation(name)), counted(row.participants, Some(&link))]
                        }).collect();
                    @if rows.is_empty() { p.quiet { "Nobody was enrolled yet." } }
                    @else { (table("People ever enrolled, in both arms", &["Generation", "People"], &rows, 1)) }
                }
            }
        }
    };
    frame::page(&program.name, here, &main)
}

/// The curve of pairs read at 180 days, with what it rests on.
fn half_a_year(here: &Here, retention: &Retention) -> Markup {
    const NAME: &str = "Pairs that last half a year";
    let all = retention.strata.first().filter(|all| all.n > 0);
    let point = all.and_then(|all| all.at.iter().find(|point| point.day == 180));
    let says = match (all, point.and_then(|point| point.at_risk.zip(point.survival))) {
        (None, _) => html! { "undefined: there is no pair yet" },
        (Some(_), None) => html! { "undefined: no pair could be watched for 180 days yet" },
        (Some(all), Some((at_risk, _))) => html! {
            // Those that ended later are behind the same figure of other days: no link is to these alone.
            (count(ended_by(all, 180))) " of " (counted(all.n, lives(here, "denominator").as_deref()))
            " pairs ended by then; " (count(at_risk)) " were watched for 180 days or more"
        },
    };
    let interval = point
        .and_then(|point| point.lower.zip(point.upper))
        .map(|(lower, upper)| format!("; 95% interval {} to {}", percent(Some(lower)), percent(Some(upper))));
    let says = html! { (says) (interval.unwrap_or_default()) };
    number(NAME, "survival", &percent(point.and_then(|point| point.survival)), &says)
}

/// Lives that had ended by a day.
fn ended_by(all: &Stratum, day: u32) -> u64 {
    all.curve.iter().filter(|point| point.day <= day).map(|point| point.events).sum()
}

/// The events of the lives of pairs: of all, or of those that ended.
fn lives(here: &Here, part: &str) -> Option<String> {
    here.may(Section::History).then(|| here.link("/history", &[("behind", "retention"), ("part", part)]))
}

fn per_month(here: &Here, months: &[MonthOf]) -> Markup {
    const TITLE: &str = "Sessions per month";
    if months.is_empty() {
        return frame::empty(TITLE, "There is nothing to draw yet: no session was recorded up to this day.");
    }
    let columns: Vec<(&str, u64)> = months.iter().map(|one| (one.month.as_str(), one.sessions)).collect();
    let is_cut = months.last().is_some_and(|last| last.close.plus_days(1).civil().2 != 1);
    let unfinished = is_cut && !here.is_archived;
    let says = if here.is_archived {
        "Sessions that count, by the month in which they were held, until the program was archived."
    } else if unfinished {
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

fn funnel(here: &Here, health: &Health) -> Markup {
    let funnel = health.proposals.funnel;
    if funnel.proposed == 0 {
        return html! { p.quiet { "Nothing was proposed yet; pairs that were taken over from elsewhere were never proposals." } };
    }
    let share = |number: u64| percent((funnel.proposed > 0).then(|| number as f64 / funnel.proposed as f64));
    let row = |name: &str, number: u64, link: Option<String>| {
        vec![cell(name), counted(number, link.as_deref()), cell(share(number))]
    };
    let state = |state: &str| Some(here.link("/pairs", &[("state", state)]));
    let (proposals, accepted) = (Behind::events(here, "proposals"), Behind::events(here, "acceptance"));
    let rows = [
        row("Proposed", funnel.proposed, proposals.denominator),
        row("Became active", funnel.activated, accepted.numerator),
        row("Met at least once", funnel.met, proposals.numerator),
        row("Wait for an answer", funnel.waiting, state("proposed")),
        row("Declined", funnel.declined, state("declined")),
        row("Taken back", funnel.withdrawn, state("withdrawn")),
        row("Expired", funnel.expired, state("expired")),
        row("Fell to something else", funnel.invalidated, state("invalidated")),
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
