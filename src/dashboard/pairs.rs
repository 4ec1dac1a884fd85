//! Pairs: those that wait longest first, and one pair's time together.
//! Never an order by how even or how good a pair is.

use maud::{Markup, html};
use mentorlog_events::time::Day;
use mentorlog_projections::exchanges::{Evidence, SessionState, SessionView};
use mentorlog_projections::listings::{Listing, PairOrder, PairsAsked};
use mentorlog_projections::pairs::{PairState, PairView};
use mentorlog_projections::reciprocity::Balance;

use super::charts::{self, Meeting};
use super::frame::{
    self, Behind, Counted, Drawing, Here, Part, Section, cell, empty, figure, none, number, pager, stat,
    table,
};
use super::history::{self, Line};
use super::numbers::{NOTHING, count, day, hours, maybe, of, percent, short, time, title, words};
use super::overview::{pair_of, person_of};

/// A state with what makes it urgent.
fn state(pair: &PairView) -> Markup {
    html! {
        @if pair.stalled { span.tag.warn { "stalled" } }
        @else if pair.state == PairState::Active { span.tag.good { "active" } }
        @else { span.tag { (title(pair.state.as_str())) } }
    }
}

fn order_name(order: PairOrder) -> &'static str {
    match order {
        PairOrder::Idle => "Longest idle first",
        PairOrder::Newest => "Newest first",
        PairOrder::Met => "Met last first",
        PairOrder::Sessions => "Most sessions first",
        PairOrder::Term => "Term ending first",
    }
}

/// The page of pairs; of each how many days it has been idle, if it is active.
pub fn list(here: &Here, asked: PairsAsked, pairs: &Listing<PairView>, idle: &[Option<u32>]) -> Markup {
    let state_text = asked.state.map_or("", PairState::as_str);
    let participant = asked.participant.map(|id| id.to_string()).unwrap_or_default();
    let stalled = if asked.stalled { "true" } else { "" };
    let order = if asked.order == PairOrder::default() { "" } else { asked.order.as_str() };
    let keep = [
        ("state", state_text),
        ("stalled", stalled),
        ("participant", participant.as_str()),
        ("order", order),
    ];
    let main = html! {
        h1 { "Pairs" }
        p.lead {
            @if let Some(id) = asked.participant { "Pairs of " (person_of(here, id)) ": " }
            (of(pairs.total, "pair", "pairs"))
            @if asked.stalled { " that stalled" } @else if let Some(state) = asked.state { " " (words(state.as_str())) }
            ". Active ones that have been idle for longest come first, unless you choose otherwise; a pair is idle since its last session, its start or its resumption."
        }
        form method="get" {
            (hidden_time(here))
            @if asked.participant.is_some() { input type="hidden" name="participant" value=(participant); }
            label { span { "State" }
                select #state name="state" {
                    option value="" { "any" }
                    @for state in PairState::ALL { option value=(state.as_str()) selected[asked.state == Some(state)] { (words(state.as_str())) } }
                }
            }
            label { span { "Order" }
                select #order name="order" {
                    @for order in PairOrder::ALL { option value=(order.as_str()) selected[asked.order == order] { (order_name(order)) } }
                }
            }
            label.check { input #stalled type="checkbox" name="stalled" value="true" checked[asked.stalled]; span { "only stalled ones" } }
            button type="submit" { "Show" }
        }
        p.quiet {
            "Of all pairs: " a href=(here.link("/sessions", &[("waiting", "unconfirmed")])) { "sessions to confirm" } ", "
            a href=(here.link("/sessions", &[("waiting", "disputed")])) { "sessions in dispute" } "."
        }
        @if pairs.items.is_empty() {
            (empty("Pairs", if pairs.total == 0 { "No pair is like that. Pairs appear when somebody proposes one." } else { "There are no more." }))
        } @else { (rows(here, &pairs.items, idle)) }
        @let part = Part { offset: pairs.offset, shown: pairs.items.len() as u64, total: pairs.total, step: asked.limit as u64 };
        (pager(here, "/pairs", &keep, part))
    };
    frame::page(&format!("Pairs · {}", here.name), here, &main)
}

/// Fields that keep the moment when a form is sent.
pub fn hidden_time(here: &Here) -> Markup {
    html! {
        @if let Some(day) = here.asked.as_of { input type="hidden" name="as_of" value=(day); }
        @if let Some(known) = &here.asked.known_at { input type="hidden" name="known_at" value=(known); }
    }
}

fn rows(here: &Here, pairs: &[PairView], idle: &[Option<u32>]) -> Markup {
    let rows: Vec<Vec<Markup>> = pairs
        .iter()
        .zip(idle)
        .map(|(pair, idle)| {
            let both = pair.minutes.a_to_b + pair.minutes.b_to_a;
            vec![
                pair_of(here, pair.pair),
                state(pair),
                html! { (person_of(here, pair.a)) " and " (person_of(here, pair.b)) },
                cell(idle.map_or_else(|| NOTHING.to_owned(), |days| of(u64::from(days), "day", "days"))),
                html! { (maybe(pair.last_session_day)) },
                cell(count(u64::from(pair.sessions.live))),
                cell(if both == 0 {
                    NOTHING.to_owned()
                } else {
                    format!("{} / {}", hours(pair.minutes.a_to_b), hours(pair.minutes.b_to_a))
                }),
                html! { (maybe(pair.term_ends_day)) },
            ]
        })
        .collect();
    table(
        "Pairs; minutes are what the first taught the second / what the second taught the first",
        &["Pair", "State", "Who", "Idle for", "Last session", "Sessions", "Taught", "Term ends"],
        &rows,
        5,
    )
}

/// What the page of one pair is made from.
pub struct One<'a> {
    /// The pair.
    pub pair: &'a PairView,
    /// Its sessions, told last first.
    pub sessions: &'a [SessionView],
    /// Days since it last met, while active.
    pub idle_days: Option<u32>,
    /// Its events, newest first, and whether there are more.
    pub lines: &'a [Line],
    /// How many events concern it.
    pub events: u64,
    /// The day it is looked at.
    pub today: Day,
}

/// The page of one pair.
pub fn one(here: &Here, of_pair: &One<'_>) -> Markup {
    let One { pair, sessions, idle_days, lines, events, today } = of_pair;
    let balance = Balance::of_pair(pair);
    let id = pair.pair.to_string();
    let history = here.may(Section::History).then(|| here.link("/history", &[("about", &id)]));
    let main = html! {
        p.back {
            @if here.may(Section::Pairs) { a href=(here.link("/pairs", &[])) { "All pairs" } }
            @else if let Some(only) = here.reader.only { a href=(here.link(&format!("/participants/{only}"), &[])) { "Your page" } }
        }
        h1 { "Pair " (short(pair.pair.0)) }
        p.lead { (person_of(here, pair.a)) " and " (person_of(here, pair.b)) " " (state(pair)) }
        @if let Some(days) = idle_days.filter(|_| pair.stalled) {
            div.notice {
                p { @if here.reader.only.is_some() { "You have not met for " (of(u64::from(days), "day", "days")) ". Do you want to go on, pause or end?" }
                    @else { "They have not met for " (of(u64::from(days), "day", "days")) ". Ask them whether they want to go on, pause or end." } }
            }
        }
        dl.stats {
            (stat(Counted { name: "Balance", definition: "pair-balance", unit: "minutes" }, &balance.figure, &Behind::both(history.clone())))
            (number("Sessions", "sessions-per-month", &count(u64::from(pair.sessions.live)),
                &html! { (pair.sessions.confirmed) " confirmed, " (pair.sessions.disputed) " in dispute, " (pair.sessions.voided) " voided" }))
        }
        @if let Some(expected) = balance.expected {
            p.quiet { "With so few sessions a coin that picks the teacher would give a balance of " (percent(Some(expected))) " on average: it says little." }
        }
        dl.facts {
            dt { "Id" } dd { code { (pair.pair) } }
            dt { "Proposed" } dd { (time(pair.proposed_day)) @if pair.origin.is_some() { " (taken over from elsewhere)" }
                @else if let Some(proposer) = pair.proposer { " by " (person_of(here, proposer)) } @else { " by the manager" } }
            @if let Some(day) = pair.started_day { dt { "Started" } dd { (time(day)) } }
            @if let Some(day) = pair.term_ends_day { dt { "Term ends" } dd { (time(day)) } }
            @if let Some(day) = pair.closed_day { dt { "Closed" } dd { (time(day))
                @if let Some(reason) = pair.end_reason { ", " (words(reason.as_str())) } } }
            dt { "Taught" } dd { (person_of(here, pair.a)) ": " (hours(pair.minutes.a_to_b)) "; " (person_of(here, pair.b)) ": " (hours(pair.minutes.b_to_a)) }
            dt { "Goals" } dd { (pair.goals.open) " open, " (pair.goals.completed) " reached, " (pair.goals.abandoned) " given up" }
        }
        section aria-labelledby="h-together" { h2 #h-together { "Time together" } (together(here, pair, sessions, *today)) }
        @if let Some(history) = history {
            section aria-labelledby="h-events" {
                h2 #h-events { "Everything that concerns it" }
                (history::lines(here, lines))
                @if *events > lines.len() as u64 { p { a href=(history) { "All " (count(*events)) " events" } } }
            }
        }
    };
    frame::page(&format!("Pair {} · {}", short(pair.pair.0), here.name), here, &main)
}

/// How well a session is attested, in words.
pub fn evidence(session: &SessionView) -> &'static str {
    match (session.state, session.evidence) {
        (SessionState::Disputed, _) => "in dispute: does not count",
        (SessionState::Voided, _) => "voided: does not count",
        (_, Evidence::Confirmed) => "confirmed by the other",
        (_, Evidence::ConfirmedAsserted) => "confirmed through the same service",
        (_, Evidence::Logged) => "told by one",
        (_, Evidence::Imported) => "taken over from elsewhere",
    }
}

fn together(here: &Here, pair: &PairView, sessions: &[SessionView], today: Day) -> Markup {
    const TITLE: &str = "Who taught when";
    let (Some(first), Some(last)) =
        (sessions.iter().map(|one| one.day).min(), sessions.iter().map(|one| one.day).max())
    else {
        return empty(TITLE, "There is nothing to draw: no session was recorded yet.");
    };
    let begin = pair.started_day.map_or(first, |day| day.min(first));
    let end = pair.closed_day.unwrap_or(today).max(last);
    let since = |day: Day| f64::from(day.number() - begin.number());
    let taught = |session: &SessionView, teacher| -> u64 {
        session.exchanges.iter().filter(|one| one.teacher == teacher).map(|one| u64::from(one.minutes)).sum()
    };
    let counts =
        |session: &SessionView| matches!(session.state, SessionState::Logged | SessionState::Confirmed);
    let meetings: Vec<Meeting> = sessions
        .iter()
        .map(|one| Meeting {
            at: since(one.day),
            up: taught(one, pair.a),
            down: taught(one, pair.b),
            counts: counts(one),
        })
        .collect();
    let days = since(end).max(1.0);
    let ticks = |most: u32| -> Vec<(f64, String)> {
        let each = (days / f64::from(most)).max(1.0);
        (0..=most)
            .map(|n| (f64::from(n) * each).round())
            .filter(|at| *at <= days)
            .map(|at| {
                #[allow(clippy::cast_possible_truncation, reason = "days of one pair")]
                let on = begin.plus_days(at as i32);
                (at, day(on))
            })
            .collect()
    };
    let inner = |sheet: &frame::Sheet<'_>| {
        let all = ticks(if sheet.is_narrow() { 3 } else { 5 });
        // The outermost names would be cut off.
        let last = all.len().saturating_sub(1);
        all.into_iter()
            .enumerate()
            .filter(|(at, _)| *at != 0 && *at != last)
            .map(|(_, tick)| tick)
            .collect::<Vec<_>>()
    };
    let (a, b) = (super::numbers::person(pair.a), super::numbers::person(pair.b));
    let says = format!(
        "Each bar is a session: up for the minutes {a} taught, down for the minutes {b} taught; from {} to {}. Grey ones do not count.",
        day(begin),
        day(end)
    );
    let rows: Vec<Vec<Markup>> = sessions
        .iter()
        .map(|one| {
            let what = one.exchanges.iter().map(|exchange| {
                let rated = exchange.rating.map(|rating| format!(", rated {rating} of 5")).unwrap_or_default();
                format!("{} taught {} for {} min{rated}", super::numbers::person(exchange.teacher), title(exchange.skill.as_str()), exchange.minutes)
            });
            vec![
                html! {
                    @if here.may(Section::History) { a href=(here.link("/history", &[("about", &one.session.to_string())])) { (time(one.day)) } }
                    @else { (time(one.day)) }
                },
                cell(what.collect::<Vec<_>>().join("; ")),
                cell(evidence(one)),
                cell(format!("{} min", one.minutes)),
            ]
        })
        .collect();
    figure(
        &Drawing { id: "together", title: TITLE, says: &says, definition: "pair-balance" },
        &none(),
        |sheet| charts::meetings(sheet, (&a, &b), &meetings, &inner(&sheet), days),
        &table("Sessions, told last first", &["Day", "Exchanges", "Evidence", "Length"], &rows, 3),
    )
}
