//! The auditor's view: every event, who did what on whose behalf through which service, and the proof of each line.
//! Never shows an entry otherwise than it is stored: the bytes are there to be hashed again.

use std::fmt::Write as _;

use maud::{Markup, html};
use mentorlog_events::entry::{Actor, Entry};
use mentorlog_events::event::Event;
use mentorlog_events::id::{B64, ParticipantId, Slug};
use mentorlog_events::record::Record;
use mentorlog_events::time::{Day, Timestamp};
use serde_json::Value;
use uuid::Uuid;

use super::frame::{self, Here, empty};
use super::numbers::{count, day, instant, of, person, short, time, title, words};
use super::pairs::hidden_time;

/// One entry, read for people.
#[derive(Debug, Clone)]
pub struct Line {
    seq: u64,
    name: String,
    recorded_at: Timestamp,
    day: Day,
    actor: Actor,
    on_behalf_of: Option<ParticipantId>,
    principal: String,
    data: Value,
    leaf: B64<32>,
    stored: String,
}

/// The entry cannot be read by this version.
#[derive(Debug, thiserror::Error)]
#[error("an entry cannot be read: {0}")]
pub struct Unreadable(String);

impl Line {
    /// Reads an entry as it is stored.
    pub fn read(record: &Record) -> Result<Self, Unreadable> {
        let unreadable = |error: &dyn std::fmt::Display| Unreadable(error.to_string());
        let entry = Entry::<Event>::parse(record.bytes()).map_err(|error| unreadable(&error))?;
        let stored: Value = serde_json::from_slice(record.bytes()).map_err(|error| unreadable(&error))?;
        Ok(Self {
            seq: entry.seq,
            name: stored["type"].as_str().unwrap_or_default().to_owned(),
            recorded_at: entry.recorded_at,
            day: entry.day,
            actor: entry.actor,
            on_behalf_of: entry.on_behalf_of,
            principal: entry.principal.as_str().to_owned(),
            data: stored["data"].clone(),
            leaf: B64(record.leaf_hash()),
            stored: String::from_utf8_lossy(record.bytes()).into_owned(),
        })
    }
}

impl Line {
    /// The civil day it was recorded on, in the program's zone.
    pub fn day(&self) -> Day {
        self.day
    }
}

/// Every type of event of programs, each once.
pub fn types() -> Vec<&'static str> {
    let mut names: Vec<&'static str> = mentorlog_events::history::shapes().map(|shape| shape.name).collect();
    names.sort_unstable();
    names.dedup();
    names
}

/// A figure whose events are shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Figure {
    /// Its name in the query.
    pub name: &'static str,
    /// What the events are of, in words.
    pub says: String,
    /// The parameters it was asked with.
    pub asked: Vec<(&'static str, String)>,
}

/// What of the history is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Shown {
    /// Everything.
    All,
    /// What concerns one thing.
    Of(Uuid),
    /// What a figure rests on.
    Behind(Figure),
}

/// A page of the history.
pub struct History<'a> {
    /// What is shown.
    pub shown: &'a Shown,
    /// Only events of this type.
    pub name: Option<&'a str>,
    /// The lines.
    pub lines: &'a [Line],
    /// How many there are in all, where that is known.
    pub total: Option<u64>,
    /// Parameters of the next page, if there is one.
    pub next: Option<(&'static str, u64)>,
    /// Whether the search went on to the end, or stopped to answer in time.
    pub stopped: bool,
    /// Every type there is.
    pub names: &'a [&'static str],
}

/// The page.
pub fn page(here: &Here, history: &History<'_>) -> Markup {
    let (subject, behind) = match history.shown {
        Shown::All => (String::new(), None),
        Shown::Of(id) => (id.to_string(), None),
        Shown::Behind(figure) => (String::new(), Some(figure)),
    };
    let name = history.name.unwrap_or_default();
    let next = history.next.map(|(parameter, at)| {
        let at = at.to_string();
        let mut query = vec![("about", subject.as_str()), ("type", name)];
        if let Some(figure) = behind {
            query.push(("behind", figure.name));
            query.extend(figure.asked.iter().map(|(name, value)| (*name, value.as_str())));
        }
        query.push((parameter, at.as_str()));
        here.link("/history", &query)
    });
    let main = html! {
        h1 { "History" }
        p.lead {
            @match history.shown {
                Shown::All => { "Every event of this ledger, newest first. Nothing is ever changed or removed; what was wrong is corrected by a later event." }
                Shown::Of(id) => { "What concerns " code { (id) } ", oldest first" @if let Some(total) = history.total { ": " (of(total, "event", "events")) } "." }
                Shown::Behind(figure) => { (figure.says) ", oldest first" @if let Some(total) = history.total { ": " (of(total, "event", "events")) } ". Whoever counts them again must come to the same numbers." }
            }
        }
        @if behind.is_none() {
            form method="get" {
                (hidden_time(here))
                label { span { "Type" }
                    select #type name="type" {
                        option value="" { "any" }
                        @for one in history.names { option value=(one) selected[*one == name] { (words(one)) } }
                    }
                }
                label { span { "About (the id of a person, pair, session, goal or round)" }
                    input #about type="text" name="about" value=(subject) autocomplete="off" spellcheck="false";
                }
                button type="submit" { "Show" }
            }
        }
        @if subject.is_empty() && name.is_empty() && behind.is_none() { } @else {
            p { a href=(here.link("/history", &[])) { "Every event" } }
        }
        @if history.lines.is_empty() {
            (empty("No events", if history.stopped { "None of this type so far: go on searching in older ones." } else { "No event is like that, or there are no more." }))
        } @else { (lines(here, history.lines)) }
        @if let Some(next) = next {
            nav.pager aria-label="Pages" {
                a.button rel="next" href=(next) {
                    @if history.stopped { "Search on" } @else if *history.shown == Shown::All { "Older" } @else { "More" }
                }
            }
        }
        @if let Some(figure) = behind { p { a href={ "/definitions#" (definition(figure.name)) } { "How the figure is reckoned" } } }
        p.quiet { "The whole history as it is stored, one entry a line: " code { "curl -H 'Accept: application/x-ndjson' $SERVER" (format!("/v1/programs/{}/events", here.slug)) } }
    };
    frame::page(&format!("History · {}", here.name), here, &main)
}

/// The definition of a figure whose events are shown.
fn definition(name: &str) -> &str {
    match name {
        "retention" => "survival",
        "reciprocity" => "weighted-reciprocity",
        "sessions" => "sessions-per-month",
        "proposals" => "acceptance",
        other => other,
    }
}

/// Where a field of the data leads.
fn linked(here: &Here, name: &str, text: &str) -> Option<String> {
    let id: Uuid = text.parse().ok()?;
    Some(match name {
        "pair" => here.link(&format!("/pairs/{id}"), &[]),
        "participant" | "a" | "b" | "teacher" | "learner" | "other" | "proposer" | "absent" | "by" => {
            here.link(&format!("/participants/{id}"), &[])
        }
        "session" | "goal" | "round" => here.link("/history", &[("about", text)]),
        _ => return None,
    })
}

fn value(here: &Here, name: &str, of: &Value) -> Markup {
    match of {
        Value::String(text) => html! {
            @if let Some(href) = linked(here, name, text) {
                a href=(href) title=(text) { (text.parse().map_or_else(|_| text.clone(), short)) }
            } @else if let Ok(day) = text.parse::<Day>() { (time(day)) }
            @else if let Ok(at) = text.parse::<Timestamp>() { (instant(at)) }
            @else if is_word(name, text) { (words(text)) }
            @else { (text) }
        },
        // An exchange is a sentence.
        Value::Object(fields) if fields.contains_key("teacher") && fields.contains_key("minutes") => html! {
            (value(here, "teacher", &fields["teacher"])) " taught "
            @if let Some(skill) = fields.get("skill") { (value(here, "skill", skill)) " " }
            "for " (value(here, "minutes", &fields["minutes"])) " min"
        },
        Value::Array(items) => html! {
            @if items.len() > 6 { (count(items.len() as u64)) " items" }
            @else { @for (at, item) in items.iter().enumerate() { @if at > 0 { "; " } (value(here, name, item)) } }
        },
        Value::Object(fields) => html! {
            @for (at, (name, item)) in fields.iter().enumerate() {
                @if at > 0 { ", " } (words(&name.replace('_', "-"))) " " (value(here, name, item))
            }
        },
        other => html! { (other.to_string()) },
    }
}

/// Whether a text is a word of the vocabulary, whose hyphens stand for spaces; names, ids and origins keep theirs.
fn is_word(name: &str, text: &str) -> bool {
    !["name", "slug", "program"].contains(&name)
        && text.parse::<Slug>().is_ok()
        && text.parse::<Uuid>().is_err()
}

fn about(here: &Here, line: &Line) -> Markup {
    let Value::Object(fields) = &line.data else { return html! {} };
    // What it is about comes first, then what is said of it.
    let (ids, rest): (Vec<_>, Vec<_>) = fields
        .iter()
        .partition(|(name, of)| of.as_str().is_some_and(|text| linked(here, name, text).is_some()));
    let shown = ids.into_iter().chain(rest).filter(|(name, _)| *name != "day" && *name != "occurred_day");
    html! {
        @for (at, (name, of)) in shown.enumerate() {
            @if at > 0 { " · " }
            (words(&name.replace('_', "-"))) " " (value(here, name, of))
        }
    }
}

fn who(here: &Here, line: &Line) -> Markup {
    html! {
        @match line.actor {
            Actor::Participant(id) => { "by " a href=(here.link(&format!("/participants/{id}"), &[])) { (person(id)) } }
            Actor::Manager => { "by the manager" }
            Actor::System => { "by the software itself" }
        }
        @if let Some(id) = line.on_behalf_of { " on behalf of " a href=(here.link(&format!("/participants/{id}"), &[])) { (person(id)) } }
        " through " code { (line.principal) }
    }
}

/// Entries as a list.
pub fn lines(here: &Here, lines: &[Line]) -> Markup {
    html! {
        @if lines.is_empty() { p.quiet { "There is no event." } }
        ol.entries {
            @for line in lines {
                li {
                    span.seq title="Position in the ledger" { "#" (count(line.seq)) }
                    span.when { (recorded(line)) }
                    div.what {
                        b { (title(&line.name)) } " "
                        span.who { (who(here, line)) }
                        div.about { (about(here, line)) }
                        details id={ "entry-" (line.seq) } {
                            summary { "Entry and proof" }
                            pre tabindex="0" { (pretty(&line.stored)) }
                            p { "Leaf hash " code.hash { (line.leaf) } ". "
                                a href=(format!("/v1/programs/{}/proofs/inclusion?seq={}", here.slug, line.seq)) {
                                    "Inclusion proof of #" (line.seq) " (C2SP tlog-proof)"
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// When it was recorded: date and clock of UTC, and the civil day it counts for where the program's zone has another.
fn recorded(line: &Line) -> Markup {
    let text = line.recorded_at.to_string();
    let date = text.get(..10).and_then(|date| date.parse::<Day>().ok()).unwrap_or(line.day);
    html! {
        time datetime=(text) { (day(date)) br; (text.get(11..19).unwrap_or_default()) " UTC" }
        @if date != line.day { br; "counts as " (time(line.day)) }
    }
}

/// The bytes with a line break after each top-level member: nothing else is added or left out.
fn pretty(stored: &str) -> String {
    let (mut depth, mut quoted, mut escaped) = (0_u32, false, false);
    let mut out = String::with_capacity(stored.len() + 64);
    for letter in stored.chars() {
        let _ = out.write_char(letter);
        match letter {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            '{' | '[' if !quoted => depth += 1,
            '}' | ']' if !quoted => depth = depth.saturating_sub(1),
            ',' if !quoted && depth == 1 => out.push('\n'),
            _ => {}
        }
    }
    out
}
