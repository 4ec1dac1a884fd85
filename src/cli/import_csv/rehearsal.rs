//! The rules, asked in advance about what is to be imported: on a program of the same policy that nobody sees.
//! Never says yes for the service: it decides again, of what it knows and this does not.

use mentorlog_events::entry::{Actor, CommandStamp, Entry};
use mentorlog_events::event::{Event, ProgramOpened, SkillDefined};
use mentorlog_events::id::{CommandId, EventId, PairId, ParticipantId, ProgramId, Slug};
use mentorlog_events::time::{Timestamp, Zone};
use serde_json::{Value, json};
use uuid::Uuid;

use super::program::Found;
use crate::clock::{Clock, Machine};
use crate::rules::command::{Command, CommandError, ImportSession, ImportedExchange, PersonRef};
use crate::rules::state::State;
use crate::rules::{Context, Decision, Ids, Sealing, decide};

/// A program of the same policy that nobody sees.
#[derive(Debug)]
pub(super) struct Rehearsal {
    state: State,
    now: Timestamp,
    taken: u128,
}

impl Rehearsal {
    /// A program that was just opened, of the policy of one that is there, or else of the usual one.
    pub(super) fn new(found: Option<&Found>, listed: Vec<Slug>) -> Self {
        let policy = found.map(|found| (found.policy.rules.clone(), found.policy.measures.clone()));
        let (rules, measures) = policy.unwrap_or_default();
        let now = Clock::start(Machine::default()).now();
        let mut rehearsal = Self { state: State::new(), now, taken: 1 };
        let opened = ProgramOpened {
            program: ProgramId(rehearsal.id()),
            origin: "rehearsal".to_owned(),
            envelope: 1,
            slug: "rehearsal".parse().expect("a slug"),
            name: "Rehearsal".to_owned(),
            time_zone: Zone::UTC,
            rules,
            measures,
        };
        rehearsal.happened(opened.into());
        for skill in listed {
            rehearsal.happened(SkillDefined { skill }.into());
        }
        rehearsal
    }

    /// An id nobody has yet.
    pub(super) fn id(&mut self) -> Uuid {
        self.taken += 1;
        Ids::new(self.taken).next()
    }

    fn happened(&mut self, event: Event) {
        let entry = Entry {
            seq: self.state.size(),
            id: EventId(self.id()),
            recorded_at: self.now,
            day: Zone::UTC.day(self.now),
            actor: Actor::Manager,
            on_behalf_of: None,
            principal: "local".parse().expect("a principal"),
            command: CommandStamp { id: CommandId(self.id()), key: None, fp: None },
            correlation: None,
            causation: None,
            event,
            sealed: Vec::new(),
        };
        self.state.apply(&entry).expect("what the rules decided refers to what is there");
    }

    /// What the rules have against a command in JSON; what they let through has happened.
    pub(super) fn tell(&mut self, name: &str, body: &Value) -> Result<(), String> {
        let bytes = serde_json::to_vec(body).expect("strings and numbers");
        let command = Command::read(name, &bytes).map_err(|error| match error {
            CommandError::UnknownCommand => "no such command".to_owned(),
            CommandError::Malformed(error) => error.to_string(),
        })?;
        for decided in self.ask(&command)?.events {
            self.happened(decided.event);
        }
        Ok(())
    }

    /// What the rules have against a command. Nothing happens.
    fn ask(&self, command: &Command) -> Result<Decision, String> {
        let context = Context {
            now: self.now,
            actor: Actor::Manager,
            on_behalf_of: None,
            expected_version: None,
            sealing: Sealing::On,
            ids: Ids::new(u128::from(self.state.size()) << 64),
        };
        let decision = decide(&self.state, command, &context);
        decision.map_err(|rejection| format!("{rejection} ({})", rejection.code()))
    }
}

/// Two people who have been a pair for as long as can be told, and whose sessions are asked about one by one.
#[derive(Debug)]
pub(super) struct TwoPeople {
    rehearsal: Rehearsal,
    pair: PairId,
    two: [ParticipantId; 2],
}

/// An exchange that is asked about.
pub(super) struct Asked<'a> {
    /// Whether the first of the two taught.
    pub(super) first: bool,
    pub(super) skill: Option<&'a str>,
    pub(super) minutes: u32,
    pub(super) rating: Option<u8>,
}

impl TwoPeople {
    /// They pair up.
    pub(super) fn pair_up(mut rehearsal: Rehearsal) -> Self {
        let two = [(); 2].map(|()| ParticipantId(rehearsal.id()));
        let pair = PairId(rehearsal.id());
        let tell = |rehearsal: &mut Rehearsal, name, body: Value| {
            rehearsal.tell(name, &body).expect("any two people may have been a pair");
        };
        for participant in two {
            tell(&mut rehearsal, "import-participant", json!({ "participant": participant }));
        }
        let began = json!({ "pair": pair, "a": two[0], "b": two[1], "started_at": Timestamp::MIN });
        tell(&mut rehearsal, "import-pair", began);
        Self { rehearsal, pair, two }
    }

    /// What the rules have against a session of any two people at all.
    pub(super) fn ask<'a>(
        &self,
        occurred_at: Timestamp,
        minutes: u32,
        exchanges: impl Iterator<Item = Asked<'a>>,
    ) -> Result<(), String> {
        let exchanges = exchanges.map(|asked| {
            let skill: Option<Slug> =
                asked.skill.map(str::parse).transpose().map_err(|error| format!("{error}"))?;
            Ok(ImportedExchange {
                teacher: PersonRef::Id(self.two[usize::from(!asked.first)]),
                skill,
                minutes: asked.minutes,
                rating: asked.rating.map(u32::from),
            })
        });
        let command = ImportSession {
            session: None,
            pair: Some(self.pair),
            between: None,
            occurred_at,
            minutes,
            mode: None,
            exchanges: exchanges.collect::<Result<_, String>>()?,
        };
        self.rehearsal.ask(&command.into()).map(|_| ())
    }
}
