//! The first page: every program there is.
//! Never shows anything of what is in them but how far they are.

use maud::{Markup, html};
use mentorlog_projections::program::{ProgramState, ProgramView};

use super::frame;
use super::numbers::{count, of, time};

/// Where a program stands, in a word.
pub fn state(state: ProgramState) -> &'static str {
    match state {
        ProgramState::Open => "open",
        ProgramState::Closed => "closed to new pairs",
        ProgramState::Archived => "archived",
    }
}

/// The page.
pub fn page(programs: &[ProgramView]) -> Markup {
    let main = html! {
        h1 { "Programs" }
        @if programs.is_empty() {
            div.notice {
                p { "There is no program yet, so there is nothing to show." }
                p { "Open one: " code { "POST /v1/programs" } ", or import a history with " code { "mentorlog import-csv" } "." }
            }
        } @else {
            p.lead { (of(programs.len() as u64, "program", "programs")) ", each with a ledger of its own that anybody can check." }
            ul.cards {
                @for program in programs {
                    li {
                        h2 { a href={ "/p/" (program.slug) } { (program.name) } }
                        p.quiet { (state(program.state)) " since " (time(program.since)) }
                        dl.facts {
                            dt { "People" } dd { (count(program.participants.states.enrolled)) " take part" }
                            dt { "Pairs" } dd { (count(program.pairs.states.active)) " active" }
                            dt { "Sessions" } dd { (count(program.sessions.live)) }
                            dt { "Ledger" } dd { (of(program.size, "entry", "entries")) }
                        }
                    }
                }
            }
        }
    };
    frame::page("Programs", None, &main)
}
