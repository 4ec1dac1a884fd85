//! The first page: the programs there are for whoever looks, and what each may look at.
//! Never shows anything of what is in a program but how far it is.

use maud::{Markup, html};
use mentorlog_projections::participants::ParticipantCounts;
use mentorlog_projections::program::{ProgramState, ProgramView};

use super::frame::{self, Reader};
use super::numbers::{count, of, time};

/// Where a program stands, in a word.
pub fn state(state: ProgramState) -> &'static str {
    match state {
        ProgramState::Open => "open",
        ProgramState::Closed => "closed to new pairs",
        ProgramState::Archived => "archived",
    }
}

/// A program of the list.
pub struct Card {
    /// How far it is.
    pub view: ProgramView,
    /// The people of the program arm.
    pub taking_part: ParticipantCounts,
    /// Where its pages begin for the reader, and what is there; `None`: nowhere.
    pub leads_to: Option<(String, &'static str)>,
}

/// The page. `counts`: whether the reader may see how many people, pairs and sessions there are; `why` says what is
/// there for them besides, or instead.
pub fn page(reader: &Reader, cards: &[Card], counts: bool, why: Option<&str>) -> Markup {
    let main = html! {
        h1 { "Programs" }
        @if let Some(why) = why { div.notice { p { (why) } } }
        @if cards.is_empty() {
            @if why.is_none() {
                div.notice {
                    p { "There is no program yet, so there is nothing to show." }
                    p { "Open one: " code { "POST /v1/programs" } ", or import a history with " code { "mentorlog import-csv" } "." }
                }
            }
        } @else {
            p.lead { (of(cards.len() as u64, "program", "programs")) ", each with a ledger of its own that anybody can check."
                @if cards.iter().any(|card| card.leads_to.as_ref().is_some_and(|(_, says)| says.is_empty())) {
                    " This list is of the present; the pages of a program can be moved to any moment of its past."
                }
            }
            ul.cards {
                @for Card { view: program, taking_part, leads_to } in cards {
                    li {
                        h2 { @if let Some((path, _)) = leads_to { a href=(path) { (program.name) } } @else { (program.name) } }
                        @if let Some((path, says)) = leads_to && !says.is_empty() { p { a href=(path) { (says) } } }
                        @if counts {
                            p.quiet { (state(program.state)) " since " (time(program.since)) }
                            dl.facts {
                                @if program.state == ProgramState::Archived {
                                    dt { "People" } dd { (count(program.participants.arms.program)) " took part" }
                                    dt { "Pairs" } dd { (count(program.pairs.states.ended)) " ended" }
                                } @else {
                                    @let observed = program.participants.states.enrolled - taking_part.enrolled;
                                    dt { "People" } dd { (count(taking_part.enrolled)) " take part" @if observed > 0 { ", " (count(observed)) " only observed" } }
                                    dt { "Pairs" } dd { (count(program.pairs.states.active)) " active" }
                                }
                                dt { "Sessions" } dd { (count(program.sessions.live)) }
                                dt { "Ledger" } dd { (of(program.size, "entry", "entries")) }
                            }
                        }
                    }
                }
            }
        }
    };
    frame::plain("Programs", Some(reader), &main)
}
