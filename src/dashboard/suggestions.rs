//! Who could be paired, and why.
//! Never proposes anybody: that is a command.

use maud::{Markup, html};
use mentorlog_events::id::{ParticipantId, Slug};
use mentorlog_projections::suggestions::{NotNow, Suggestions};

use super::frame::{self, Here, cell, empty, table};
use super::numbers::{count, generation, of, title};
use super::overview::person_of;

/// Why nobody can be suggested now, in a sentence.
fn not_now(why: NotNow) -> &'static str {
    match why {
        NotNow::ProgramClosed => "The program takes no proposals any more.",
        NotNow::ComparisonArm => "They are in the comparison arm, which is only observed.",
        NotNow::ParticipantState => "They are on a break, have left, or were erased.",
        NotNow::CapacityReached => "They have as many open pairs and proposals as they can.",
    }
}

/// The page.
pub fn page(
    here: &Here,
    participant: Option<ParticipantId>,
    suggestions: &Suggestions,
    why_not: Option<NotNow>,
    next: Option<&str>,
) -> Markup {
    let skills =
        |skills: &[Slug]| skills.iter().map(|skill| title(skill.as_str())).collect::<Vec<_>>().join(", ");
    let rows: Vec<Vec<Markup>> = suggestions
        .items
        .iter()
        .map(|one| {
            vec![
                html! { (person_of(here, one.a)) br; span.quiet { (generation(one.a_generation.as_str())) } },
                cell(skills(&one.a_teaches)),
                html! { (person_of(here, one.b)) br; span.quiet { (generation(one.b_generation.as_str())) } },
                cell(skills(&one.b_teaches)),
                html! { @if one.across_generations { span.tag.good { "across generations" } } @else { span.tag { "same or unknown" } }
                    @if one.again { " " span.tag { "again" } } },
                html! { (count(u64::from(one.score))) },
            ]
        })
        .collect();
    let id = participant.map(|id| id.to_string()).unwrap_or_default();
    let main = html! {
        h1 { "Suggestions" }
        p.lead {
            @if let Some(id) = participant { "For " (person_of(here, id)) ": pairs" } @else { "Pairs" }
            " in which each could teach what the other seeks, across generations first. Of "
            (of(suggestions.people, "person", "people")) " who can be paired " (if here.is_of_the_past() { "then." } else { "at present." })
        }
        @if here.is_of_the_past() {
            p.quiet { "What would have been suggested when the ledger had " (count(here.size)) " entries. What was proposed is in the " a href=(here.link("/history", &[("type", "pair-proposed")])) { "history" } "." }
        }
        p { "The score is out of 1,000: the harmonic mean of the part of what each seeks that the other offers. It says who fits, not who is good. "
            @if !here.is_of_the_past() { a href=(format!("/v1/programs/{}/rounds", here.slug)) { "A whole round as commands (JSON)" } "." } }
        @if participant.is_some() { p { a href=(here.link("/suggestions", &[])) { "Suggestions for everybody" } } }
        @if suggestions.cut > 0 {
            p.quiet { "For " (of(suggestions.cut, "person", "people")) " too many would fit to look at all of them; the best that were looked at are shown." }
        }
        @if rows.is_empty() {
            @let why = why_not.map_or("Nobody offers what somebody else seeks in both directions at present, or whoever does is paired, blocked or full.", not_now);
            (empty("Suggestions", why))
        } @else {
            (table("Suggestions, best first", &["One", "could teach", "The other", "could teach", "Generations", "Score"], &rows, 5))
            @if !here.is_of_the_past() { p.quiet { "To propose one: " code { "POST " (format!("/v1/programs/{}/commands/propose-pair", here.slug)) } " with both ids. The rules decide it then." } }
        }
        @if let Some(next) = next {
            nav.pager aria-label="Pages" { a.button rel="next" href=(here.link("/suggestions", &[("participant", &id), ("after", next)])) { "More" } }
        }
    };
    frame::page(&format!("Suggestions · {}", here.name), here, &main)
}
