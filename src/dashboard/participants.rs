//! People: those without a pair first, and what one person taught and learned.
//! Never a name: the ledger does not know it. Never who is best.

use maud::{Markup, html};
use mentorlog_events::event::Arm;
use mentorlog_events::id::Slug;
use mentorlog_events::time::Day;
use mentorlog_projections::listings::{Listing, PeopleAsked, PeopleOrder};
use mentorlog_projections::pairs::PairView;
use mentorlog_projections::participants::{ParticipantState, ParticipantView};
use mentorlog_projections::read_models::WorthOfTeaching;
use mentorlog_projections::reciprocity::Balance;

use super::frame::{self, Behind, Counted, Here, Part, Section, cell, empty, number, pager, stat, table};
use super::history::{self, Line};
use super::numbers::{NOTHING, count, generation, hours, maybe, of, person, time, title, words};
use super::overview::{pair_of, person_of};
use super::pairs::hidden_time;

fn state(of: &ParticipantView) -> Markup {
    html! {
        @if of.state == ParticipantState::Enrolled && of.arm == Arm::Comparison { span.tag { "only observed" } }
        @else if of.state == ParticipantState::Enrolled && of.pairs.open + of.pairs.proposed == 0 {
            span.tag.warn { "without a pair" }
        } @else if of.state == ParticipantState::Enrolled { span.tag.good { "takes part" } }
        @else { span.tag { (title(of.state.as_str())) } }
    }
}

fn order_name(order: PeopleOrder) -> &'static str {
    match order {
        PeopleOrder::Unpaired => "Without a pair first",
        PeopleOrder::Newest => "Newest first",
        PeopleOrder::Quiet => "Longest without a session first",
    }
}

fn skills(of: &[Slug]) -> Markup {
    html! {
        @if of.is_empty() { (NOTHING) }
        @else { (of.iter().map(|skill| title(skill.as_str())).collect::<Vec<_>>().join(", ")) }
    }
}

/// The arm as it is written.
pub fn arm_name(arm: Arm) -> &'static str {
    match arm {
        Arm::Program => "program",
        Arm::Comparison => "comparison",
    }
}

/// The page of people; `generations` are those there are.
pub fn list(
    here: &Here,
    asked: &PeopleAsked,
    people: &Listing<ParticipantView>,
    generations: &[Slug],
) -> Markup {
    let state_text = asked.state.map_or("", ParticipantState::as_str);
    let of_generation = asked.generation.as_ref().map_or("", Slug::as_str);
    let order = if asked.order == PeopleOrder::default() { "" } else { asked.order.as_str() };
    let arm = asked.arm.map_or("", arm_name);
    let unpaired = if asked.unpaired { "true" } else { "" };
    let keep = [
        ("state", state_text),
        ("generation", of_generation),
        ("arm", arm),
        ("unpaired", unpaired),
        ("order", order),
    ];
    let rows: Vec<Vec<Markup>> = people
        .items
        .iter()
        .map(|one| {
            vec![
                person_of(here, one.participant),
                state(one),
                cell(generation(one.generation.as_str())),
                skills(&one.offered),
                skills(&one.sought),
                html! { (maybe(one.last_session_day)) },
                cell(count(u64::from(one.pairs.open))),
                cell(format!("{} / {}", hours(one.taught.minutes), hours(one.learned.minutes))),
            ]
        })
        .collect();
    let main = html! {
        h1 { "People" }
        p.lead { (of(people.total, "person", "people")) (which(asked)) ". Names are sealed and not part of the ledger: people are known here by the end of their id." }
        form method="get" {
            (hidden_time(here))
            label { span { "State" }
                select #state name="state" {
                    option value="" { "any" }
                    @for state in ParticipantState::ALL { option value=(state.as_str()) selected[asked.state == Some(state)] { (words(state.as_str())) } }
                }
            }
            label { span { "Generation" }
                select #generation name="generation" {
                    option value="" { "any" }
                    @for name in generations { option value=(name) selected[asked.generation.as_ref() == Some(name)] { (generation(name.as_str())) } }
                }
            }
            label { span { "Arm" }
                select #arm name="arm" {
                    option value="" { "any" }
                    option value="program" selected[asked.arm == Some(Arm::Program)] { "takes part" }
                    option value="comparison" selected[asked.arm == Some(Arm::Comparison)] { "only observed" }
                }
            }
            label { span { "Order" }
                select #order name="order" {
                    @for order in PeopleOrder::ALL { option value=(order.as_str()) selected[asked.order == order] { (order_name(order)) } }
                }
            }
            label.check { input #unpaired type="checkbox" name="unpaired" value="true" checked[asked.unpaired]; span { "only those without a pair" } }
            button type="submit" { "Show" }
        }
        @if rows.is_empty() {
            (empty("People", if people.total == 0 { "Nobody is like that. People appear when they are enrolled." } else { "There are no more." }))
        } @else {
            (table("People; minutes are taught / learned",
                &["Person", "State", "Generation", "Offers", "Seeks", "Last session", "Open pairs", "Taught / learned"], &rows, 6))
        }
        @let part = Part { offset: people.offset, shown: people.items.len() as u64, total: people.total, step: asked.limit as u64 };
        (pager(here, "/participants", &keep, part))
    };
    frame::page(&format!("People · {}", here.name), here, &main)
}

/// Which people were asked for, in words.
fn which(asked: &PeopleAsked) -> String {
    let arm = match asked.arm {
        Some(Arm::Program) => ", of those the program is for",
        Some(Arm::Comparison) => ", only observed",
        None => "",
    };
    let state = asked.state.map_or_else(String::new, |state| format!(", {}", words(state.as_str())));
    let of =
        asked.generation.as_ref().map_or_else(String::new, |name| format!(", {}", generation(name.as_str())));
    format!("{of}{arm}{state}{}", if asked.unpaired { ", without a pair or a proposal" } else { "" })
}

/// What the page of one person is made from.
pub struct One<'a> {
    /// The person.
    pub person: &'a ParticipantView,
    /// Their pairs, newest first, the first of them.
    pub pairs: &'a Listing<PairView>,
    /// Their events, newest first.
    pub lines: &'a [Line],
    /// How many events concern them.
    pub events: u64,
    /// What their teaching was worth, if it is they who look and enough have said so.
    pub worth: Option<WorthOfTeaching>,
    /// The day they are looked at.
    pub today: Day,
}

/// The page of one person.
pub fn one(here: &Here, of_person: &One<'_>) -> Markup {
    let One { person: one, pairs, lines, events, worth, .. } = of_person;
    let id = one.participant.to_string();
    let history = here.may(Section::History).then(|| here.link("/history", &[("about", &id)]));
    let is_own = here.reader.only == Some(one.participant);
    let balance = Balance::of_person(one);
    let rows: Vec<Vec<Markup>> = pairs
        .items
        .iter()
        .map(|pair| {
            let (other, taught, learned) = if pair.a == one.participant {
                (pair.b, pair.minutes.a_to_b, pair.minutes.b_to_a)
            } else {
                (pair.a, pair.minutes.b_to_a, pair.minutes.a_to_b)
            };
            vec![
                pair_of(here, pair.pair),
                html! { @if pair.stalled { span.tag.warn { "stalled" } } @else { span.tag { (title(pair.state.as_str())) } } },
                person_of(here, other),
                html! { (maybe(pair.last_session_day)) },
                cell(count(u64::from(pair.sessions.live))),
                cell(hours(taught)),
                cell(hours(learned)),
            ]
        })
        .collect();
    let main = html! {
        @if here.may(Section::Participants) { p.back { a href=(here.link("/participants", &[])) { "All people" } } }
        h1 { @if is_own { "Your page" } @else { (person(one.participant)) } }
        p.lead { (generation(one.generation.as_str())) ", " (state(one)) " since " (time(one.since)) }
        dl.stats {
            (stat(Counted { name: "Balance of taught and learned", definition: "pair-balance", unit: "minutes" }, &balance.figure, &Behind::both(history.clone())))
            (number("Taught", "generation-flow", &hours(one.taught.minutes), &cell(of(u64::from(one.taught.exchanges), "exchange", "exchanges"))))
            (number("Learned", "generation-flow", &hours(one.learned.minutes), &cell(of(u64::from(one.learned.exchanges), "exchange", "exchanges"))))
            (number("Sessions", "sessions-per-month", &count(u64::from(one.sessions)),
                &cell(format!("{} missed", of(u64::from(one.no_shows), "agreed session", "agreed sessions")))))
            @if let Some(worth) = worth {
                (number("What your teaching was worth", "worth-of-teaching", &format!("{:.1} of 5", worth.mean),
                    &cell(format!("{} in all from {}", count(worth.sum), of(worth.learners, "learner", "learners")))))
            }
        }
        @if is_own && worth.is_none() {
            p.quiet { "What your teaching was worth is shown once enough of those who learned from you have said so, so that nobody's rating can be told." }
        }
        dl.facts {
            dt { "Id" } dd { code { (one.participant) } }
            dt { "Arm" } dd { @match one.arm { Arm::Program => "program", Arm::Comparison => "comparison: only observed" } }
            @if let Some(unit) = &one.unit { dt { "Unit" } dd { (title(unit.as_str())) } }
            dt { "Enrolled" } dd { (time(one.enrolled_day)) @if one.origin.is_some() { " (taken over from elsewhere)" } }
            dt { "Offers" } dd { (skills(&one.offered)) }
            dt { "Seeks" } dd { (skills(&one.sought)) }
            dt { "Sealed" } dd {
                @if one.personal.is_empty() { "no personal field" }
                @else { (of(one.personal.len() as u64, "personal field", "personal fields")) }
            }
        }
        section aria-labelledby="h-pairs" {
            h2 #h-pairs { "Pairs" }
            @if rows.is_empty() { p.quiet { "No pair yet." @if one.state == ParticipantState::Enrolled && here.may(Section::Suggestions) {
                " " a href=(here.link("/suggestions", &[("participant", &id)])) { "Who would fit" } } } }
            @else {
                (table("Pairs, newest first", &["Pair", "State", "With", "Last session", "Sessions", "Taught", "Learned"], &rows, 4))
                @if pairs.total > pairs.items.len() as u64 {
                    @if here.may(Section::Pairs) { p { a href=(here.link("/pairs", &[("participant", &id)])) { "All " (count(pairs.total)) " pairs" } } }
                    @else { p.quiet { "There are " (count(pairs.total)) " in all." } }
                }
            }
        }
        @if let Some(history) = history {
            section aria-labelledby="h-events" {
                h2 #h-events { "Everything that concerns them" }
                (history::lines(here, lines))
                @if *events > lines.len() as u64 { p { a href=(history) { "All " (count(*events)) " events" } } }
            }
        }
    };
    frame::page(&format!("{} · {}", person(one.participant), here.name), here, &main)
}
