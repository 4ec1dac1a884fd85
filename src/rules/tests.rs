//! Rules as tables: given what happened, when this is asked, then these events or that refusal.
//!
//! Commands are written in lines: who, what, and fields. `ann accept-pair pair=$p`, `manager for bob ...`,
//! `if 3 manager close-program` (expected version). `$x` is the id named x, `@-2h` an instant and `#+5d` a day from
//! now, `x:ann/rust/30/5` exchanges (teacher, skill, minutes, rating). `+3d` lets time pass, `&active` tells another
//! story first. `keyless` before a line: nothing can be sealed.

mod matrix;
mod opening;
mod personal;
mod random;
mod refusals;
mod stories;

use mentorlog_events::entry::{Actor, CommandStamp, Entry, Facts, Principal};
use mentorlog_events::event::Event;
use mentorlog_events::id::{B64, CommandId, EventId, InstallationId, ParticipantId, ProgramId};
use mentorlog_events::time::{Timestamp, Zone};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::command::{Command, OpenProgram};
use super::registry::{RegistryState, decide_open};
use super::rejection::Rejection;
use super::state::State;
use super::{Context, Decision, Ids, Sealing, decide};

/// The id of this name: the same in every test.
pub(super) fn id(name: &str) -> Uuid {
    let hash = |start: u64| {
        name.bytes().fold(start, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
    };
    let bits = (u128::from(hash(0xcbf2_9ce4_8422_2325)) << 64) | u128::from(hash(0x6c62_272e_07bb_0142));
    uuid::Builder::from_random_bytes(bits.to_be_bytes()).into_uuid()
}

pub(super) fn person(name: &str) -> ParticipantId {
    ParticipantId(id(name))
}

pub(super) fn entry<E: Facts>(seq: u64, now: Timestamp, context: &Context, event: E) -> Entry<E> {
    Entry {
        seq,
        id: EventId(Uuid::from_u128(u128::from(seq))),
        recorded_at: now,
        day: Zone::UTC.day(now),
        actor: context.actor,
        on_behalf_of: context.on_behalf_of,
        principal: "local".parse::<Principal>().unwrap(),
        command: CommandStamp { id: CommandId(id("command")), key: None, fp: None },
        correlation: None,
        causation: None,
        event,
        sealed: Vec::new(),
    }
}

/// A registry with its entry 0.
pub(super) fn registry() -> RegistryState {
    let mut registry = RegistryState::new();
    let opened = mentorlog_events::event::registry::RegistryOpened {
        installation: InstallationId(id("installation")),
        origin: "origin".into(),
        envelope: 1,
        key_number: 1,
        public_key: B64([0; 32]),
    };
    registry.apply(&entry(0, start(), &manager(), opened.into())).unwrap();
    registry
}

pub(super) fn start() -> Timestamp {
    "2026-01-05T09:00:00Z".parse().unwrap()
}

pub(super) fn manager() -> Context {
    Context {
        now: start(),
        actor: Actor::Manager,
        on_behalf_of: None,
        expected_version: None,
        sealing: Sealing::On,
        ids: Ids::new(0),
    }
}

/// A program and its history.
#[derive(Clone)]
pub(super) struct World {
    pub(super) state: State,
    pub(super) now: Timestamp,
    pub(super) entries: Vec<Entry<Event>>,
}

impl World {
    /// A program just opened, its zone UTC.
    pub(super) fn opened() -> Self {
        let command = OpenProgram {
            program: Some(ProgramId(id("program"))),
            slug: "pairs".parse().unwrap(),
            name: "Pairs".into(),
            time_zone: Zone::UTC,
            policy: None,
        };
        let opening = decide_open(&registry(), &command, &manager()).unwrap();
        let mut world = Self { state: State::new(), now: start(), entries: Vec::new() };
        world.append(&manager(), [opening.first.into()]);
        world
    }

    /// What the story leads to. Every command in it has to be accepted.
    pub(super) fn after(story: &str) -> Self {
        let mut world = Self::opened();
        world.live(story);
        world
    }

    pub(super) fn live(&mut self, story: &str) {
        for line in story.lines().map(str::trim).filter(|line| !line.is_empty()) {
            if let Some(name) = line.strip_prefix('&') {
                self.live(tale(name));
            } else if line.starts_with('+') {
                self.now = self.moment(line);
            } else {
                self.ask(line).unwrap_or_else(|rejection| panic!("`{line}` is refused: {rejection}"));
            }
        }
    }

    pub(super) fn append(&mut self, context: &Context, events: impl IntoIterator<Item = Event>) {
        for event in events {
            let entry = entry(self.state.size(), self.now, context, event);
            self.state.apply(&entry).unwrap();
            self.entries.push(entry);
        }
    }

    /// Asks for a command and appends what it leads to.
    pub(super) fn ask(&mut self, line: &str) -> Result<Decision, Rejection> {
        let (command, context) = self.read(line);
        self.execute(&command, &context)
    }

    pub(super) fn execute(&mut self, command: &Command, context: &Context) -> Result<Decision, Rejection> {
        let decision = decide(&self.state, command, context)?;
        self.append(context, decision.events.iter().map(|decided| decided.event.clone()));
        Ok(decision)
    }

    pub(super) fn read(&self, line: &str) -> (Command, Context) {
        let mut words = line.split_whitespace().peekable();
        let mut context = Context { now: self.now, ..manager() };
        context.ids = Ids::new(u128::from(self.state.size()) + (1 << 80));
        if words.next_if_eq(&"keyless").is_some() {
            context.sealing = Sealing::Off;
        }
        if words.next_if_eq(&"if").is_some() {
            context.expected_version = words.next().map(|number| number.parse().unwrap());
        }
        context.actor = match words.next().expect("who") {
            "manager" => Actor::Manager,
            "system" => Actor::System,
            name => Actor::Participant(person(name)),
        };
        if words.next_if_eq(&"for").is_some() {
            context.on_behalf_of = words.next().map(person);
        }
        let name = words.next().expect("what");
        let mut body = Map::new();
        for word in words {
            let (field, value) = word.split_once('=').unwrap_or_else(|| panic!("no field: {word}"));
            body.insert(field.to_owned(), self.value(value));
        }
        let bytes = serde_json::to_vec(&Value::Object(body)).unwrap();
        let command = Command::read(name, &bytes).unwrap_or_else(|error| panic!("`{line}`: {error}"));
        assert_eq!(command, Command::read(name, &command.body()).unwrap(), "a body is read as it is written");
        (command, context)
    }

    fn value(&self, text: &str) -> Value {
        if let Some(name) = text.strip_prefix('$') {
            json!(id(name).to_string())
        } else if let Some(moment) = text.strip_prefix('@') {
            json!(self.moment(moment).to_string())
        } else if let Some(moment) = text.strip_prefix('#') {
            json!(Zone::UTC.day(self.moment(moment)).to_string())
        } else if let Some(list) = text.strip_prefix("x:") {
            list.split(',').filter(|part| !part.is_empty()).map(|part| self.exchange(part)).collect()
        } else if let Ok(value) = serde_json::from_str(text) {
            named(value)
        } else if let Some(list) = text.strip_prefix("[").and_then(|rest| rest.strip_suffix("]")) {
            list.split(',').map(|part| self.value(part)).collect()
        } else {
            json!(text)
        }
    }

    fn exchange(&self, text: &str) -> Value {
        let mut exchange = Map::new();
        for (part, field) in text.split('/').zip(["teacher", "skill", "minutes", "rating"]) {
            if part != "-" {
                let value = if field == "teacher" { json!(id(part).to_string()) } else { self.value(part) };
                exchange.insert(field.into(), value);
            }
        }
        Value::Object(exchange)
    }

    /// `-2h`, `+10d`, `+5m`, `+1s` from now.
    fn moment(&self, text: &str) -> Timestamp {
        if text == "now" {
            return self.now;
        }
        let (number, unit) = text.split_at(text.len() - 1);
        let number: i64 = number.parse().unwrap_or_else(|_| panic!("no moment: {text}"));
        let seconds = match unit {
            "d" => 86_400,
            "h" => 3600,
            "m" => 60,
            "s" => 1,
            _ => panic!("no unit: {text}"),
        };
        self.now.plus_micros(number * seconds * 1_000_000)
    }
}

/// Stories other stories begin with.
fn tale(name: &str) -> &'static str {
    match name {
        "people" => {
            "manager enrol participant=$ann generation=gen-x offered=[rust]
             manager enrol participant=$bob generation=gen-z unit=sales
             manager enrol participant=$cat
             manager enrol participant=$dan arm=comparison"
        }
        "proposed" => "&people\n ann propose-pair pair=$p a=$bob b=$ann\n +1d",
        "asked" => "&people\n manager propose-pair pair=$p a=$ann b=$bob\n +1d",
        "active" => "&proposed\n bob accept-pair pair=$p\n +10d",
        "paused" => "&active\n ann pause-pair pair=$p\n +1d",
        "ended" => "&active\n bob end-pair pair=$p reason=goals-met\n +1d",
        "session" => {
            "&active
             ann log-session session=$s pair=$p occurred_at=@-2h minutes=60 mode=video exchanges=x:ann/rust/30,bob/sql/20"
        }
        "confirmed" => "&session\n bob confirm-session session=$s version=1",
        "disputed" => "&confirmed\n bob dispute-session session=$s",
        "voided" => "&session\n ann void-session session=$s",
        "rated" => "&session\n bob rate-exchange session=$s teacher=$ann skill=rust rating=4",
        "goal" => "&active\n ann set-goal goal=$g pair=$p skill=sql",
        "listed" => r#"&active
             manager define-skill skill=rust
             manager change-policy rules={"skills":"listed"}"#,
        "closed" => "&goal\n manager close-program",
        "archived" => "&closed\n manager archive-program",
        _ => panic!("no tale `{name}`"),
    }
}

/// What came of it, in one line: the events' types, or the refusal's code.
pub(super) fn outcome(result: &Result<Decision, Rejection>) -> String {
    match result {
        Ok(decision) => {
            let names = decision.events.iter().map(|decided| decided.event.shape().name);
            names.collect::<Vec<_>>().join(" ")
        }
        Err(rejection) => format!("! {}", rejection.code()),
    }
}

/// Given the story, when the line is asked, then it comes to that.
#[track_caller]
pub(super) fn check(given: &str, when: &str, then: &str) -> Result<Decision, Rejection> {
    let mut world = World::after(given);
    let before = world.state.clone();
    let result = world.ask(when);
    assert_eq!(outcome(&result), then, "given\n{given}\nwhen\n{when}\n{result:?}");
    if result.is_err() {
        assert!(world.state == before, "a refusal changed the state: {when}");
    }
    result
}

/// The value with the ids of the names in it.
fn named(value: Value) -> Value {
    match value {
        Value::String(text) => match text.strip_prefix('$') {
            Some(name) => json!(id(name).to_string()),
            None => Value::String(text),
        },
        Value::Array(items) => items.into_iter().map(named).collect(),
        Value::Object(fields) => fields.into_iter().map(|(name, value)| (name, named(value))).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) => value,
    }
}
