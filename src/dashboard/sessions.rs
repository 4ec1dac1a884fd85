//! Sessions that wait: for the other's word, or for the end of a dispute.
//! Never the others: what was held and settled is on the pages of its pair and in the history.

use maud::{Markup, html};
use mentorlog_projections::exchanges::SessionView;
use mentorlog_projections::listings::{Listing, SessionsAsked, Waiting};

use super::frame::{self, Here, Part, cell, empty, pager, table};
use super::numbers::{of, person, time, title};
use super::overview::pair_of;
use super::pairs::{evidence, hidden_time};

fn name(waiting: Waiting) -> &'static str {
    match waiting {
        Waiting::Confirmation => "Sessions to confirm",
        Waiting::Settlement => "Sessions in dispute",
    }
}

fn says(waiting: Waiting) -> &'static str {
    match waiting {
        Waiting::Confirmation => {
            "Told by one of the two and not confirmed by the other. They count; what nobody confirmed is one person's word."
        }
        Waiting::Settlement => {
            "One of the two says that it was not so. They count nowhere until they are corrected, resolved or voided."
        }
    }
}

/// The page.
pub fn list(here: &Here, asked: SessionsAsked, sessions: &Listing<SessionView>) -> Markup {
    let rows: Vec<Vec<Markup>> = sessions
        .items
        .iter()
        .map(|one| {
            let session = one.session.to_string();
            let taught = one.exchanges.iter().map(|exchange| {
                format!(
                    "{} taught {} for {} min",
                    person(exchange.teacher),
                    title(exchange.skill.as_str()),
                    exchange.minutes
                )
            });
            vec![
                html! { a href=(here.link("/history", &[("about", &session)])) title=(session) { (time(one.day)) } },
                pair_of(here, one.pair),
                cell(taught.collect::<Vec<_>>().join("; ")),
                cell(evidence(one)),
                cell(format!("{} min", one.minutes)),
            ]
        })
        .collect();
    let (waiting, order) = (asked.waiting.as_str(), if asked.newest { "newest" } else { "" });
    let main = html! {
        p.back { a href=(here.link("/pairs", &[])) { "All pairs" } }
        h1 { (name(asked.waiting)) }
        p.lead { (of(sessions.total, "session", "sessions")) ". " (says(asked.waiting)) }
        form method="get" {
            (hidden_time(here))
            label { span { "Which" }
                select #waiting name="waiting" {
                    @for one in Waiting::ALL { option value=(one.as_str()) selected[one == asked.waiting] { (name(one)) } }
                }
            }
            label { span { "Order" }
                select #order name="order" {
                    option value="" selected[!asked.newest] { "Held first first" }
                    option value="newest" selected[asked.newest] { "Held last first" }
                }
            }
            button type="submit" { "Show" }
        }
        @if rows.is_empty() { (empty(name(asked.waiting), if sessions.total == 0 { "There is none." } else { "There are no more." })) }
        @else { (table(name(asked.waiting), &["Held on", "Pair", "Exchanges", "Evidence", "Length"], &rows, 4)) }
        @let part = Part { offset: sessions.offset, shown: sessions.items.len() as u64, total: sessions.total, step: asked.limit as u64 };
        (pager(here, "/sessions", &[("waiting", waiting), ("order", order)], part))
    };
    frame::page(&format!("{} · {}", name(asked.waiting), here.name), here, &main)
}
