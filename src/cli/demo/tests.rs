//! The demonstration without a disk: its story against the real rules, through the real writer.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use mentorlog_events::entry::Entry;
use mentorlog_events::event::Event;
use mentorlog_events::id::LedgerId;
use mentorlog_events::time::{Day, Timestamp};
use mentorlog_projections::read_models::ReadModels;
use tokio::runtime::Runtime;

use super::stage::{Played, Timepiece, play};
use super::story::{Deed, Step, Story};
use super::stories;
use crate::clock::Clock;
use crate::keys::Keys;
use crate::ledger::Log;
use crate::ledger::memory::MemoryLog;
use crate::rules::command::Command;
use crate::writer::publisher::Publishing;
use crate::writer::receipt::Refusal;
use crate::writer::replay::{Replayed, replay};
use crate::writer::{Running, Submission, Writer};

fn day(text: &str) -> Day {
    text.parse().unwrap()
}

/// What is asked for, in words.
fn script(steps: &[Step]) -> Vec<String> {
    let said = |step: &Step| match &step.deed {
        Deed::Ask(caller, command) => format!("{} {caller:?} {command:?}", step.at),
        Deed::Tick => format!("{} tick", step.at),
    };
    steps.iter().map(said).collect()
}

/// Both stories played into memory.
struct Stage {
    log: Arc<MemoryLog>,
    writer: Writer,
    running: Running,
    runtime: Runtime,
    timepiece: Timepiece,
    stories: [Story; 2],
    /// When each command of the second story was asked for.
    asked: Vec<Timestamp>,
    played: Vec<Played>,
}

fn staged(seed: u64, people: u16, months: u8, today: Day) -> Stage {
    let mut stories = stories(seed, people, months, today);
    let timepiece = Timepiece::at(stories[0].opening().0);
    let log = Arc::new(MemoryLog::new());
    let clock = Clock::start(timepiece.clone());
    let as_log = log.clone() as Arc<dyn Log>;
    let (writer, running) =
        Writer::start(&as_log, BTreeMap::new(), Keys::ephemeral(), clock, Publishing::Off).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let scripts = stories.each_mut().map(Story::play);
    let asked = scripts[1].iter().filter(|step| matches!(step.deed, Deed::Ask(..)));
    let asked = asked.map(|step| step.at).collect();
    let mut played = Vec::new();
    for (story, steps) in stories.iter().zip(scripts) {
        played.push(runtime.block_on(play(story, steps, &writer, &timepiece, || {})).unwrap());
    }
    Stage { log, writer, running, runtime, timepiece, stories, asked, played }
}

impl Stage {
    fn entries(&self) -> Vec<Entry<Event>> {
        let ledger = LedgerId::from(self.stories[1].program());
        let records = self.log.read(ledger, 0, usize::MAX).unwrap();
        records.iter().map(|record| Entry::parse(record.bytes()).unwrap()).collect()
    }

    fn end(self) {
        drop(self.writer);
        self.running.join();
    }
}

#[test]
fn the_rules_refuse_no_part_of_any_story() {
    for (seed, people, months, today) in
        [(1, 70, 7, "2026-11-22"), (2, 40, 9, "2027-02-01"), (3, 120, 4, "2026-03-31"), (4, 30, 12, "2028-02-29")]
    {
        let stage = staged(seed, people, months, day(today));
        for played in &stage.played {
            assert_eq!(played.refused, Vec::<String>::new(), "seed {seed}, {people} people, {months} months");
        }
        assert!(stage.played[1].accepted > u64::from(people) * 5);
        stage.end();
    }
}

#[test]
fn every_command_is_recorded_at_the_moment_of_the_story() {
    let stage = staged(5, 60, 5, day("2026-11-22"));
    let entries = stage.entries();
    let mut moments: Vec<Timestamp> = Vec::new();
    let mut last = None;
    for entry in entries.iter().skip(1).filter(|entry| entry.principal.as_str() != "mentorlog") {
        // All events of one command are of one moment.
        if last != Some(entry.command.id) {
            moments.push(entry.recorded_at);
        }
        last = Some(entry.command.id);
    }
    let differs = moments.iter().zip(&stage.asked).position(|(recorded, asked)| recorded != asked);
    assert_eq!((differs, moments.len()), (None, stage.asked.len()));
    let expired = entries.iter().filter(|entry| matches!(entry.event, Event::ProposalExpired(_)));
    assert!(expired.count() > 0, "time alone has done something, too");
    stage.end();
}

#[test]
fn the_same_seed_and_day_make_the_same_history_and_another_seed_another() {
    let told = |seed| {
        let stage = staged(seed, 40, 4, day("2026-11-22"));
        let said = |entry: &Entry<Event>| {
            let Entry { seq, recorded_at, day, actor, on_behalf_of, principal, event, .. } = entry;
            format!("{seq} {recorded_at} {day} {actor:?} {on_behalf_of:?} {principal:?} {event:?}")
        };
        // Entry 0 names the installation, which is another one each time.
        let told: Vec<String> = stage.entries().iter().skip(1).map(said).collect();
        stage.end();
        told
    };
    let (first, again, other) = (told(7), told(7), told(8));
    let differs = first.iter().zip(&again).find(|(one, other)| one != other);
    assert_eq!(differs, None);
    assert_eq!(first.len(), again.len());
    assert!(first != other, "another seed made the same history");
}

#[test]
fn what_is_shown_is_what_a_replay_adds_up_to() {
    let stage = staged(9, 60, 6, day("2026-11-22"));
    let program = stage.writer.published().program("bridge").unwrap();
    let mut live = Vec::new();
    program.view().models.write_json(&mut live).unwrap();
    let mut models = ReadModels::new();
    let ledger = LedgerId::from(stage.stories[1].program());
    let size = program.size();
    replay::<Event>(&*stage.log, ledger, 0..size, true, |Replayed { entry, .. }| {
        models.apply(entry);
        Ok(())
    })
    .unwrap();
    let mut again = Vec::new();
    models.write_json(&mut again).unwrap();
    assert!(live == again, "the read models of the demonstration differ from those of its replay");
    assert!(size > 500);
    drop(program);
    stage.end();
}

#[test]
fn everything_a_program_can_be_asked_for_happens() {
    // Personal data needs sealing; a proposal expires by itself, which the software records and nobody asks for.
    let never = BTreeSet::from(["set-personal", "erase-person", "expire-proposal"]);
    let all: BTreeSet<&str> = Command::NAMES.iter().copied().collect();
    for (seed, today) in [(1, "2026-11-22"), (2, "2026-12-31"), (3, "2027-06-01")] {
        let mut asked = BTreeSet::from(["open-program"]);
        for mut story in stories(seed, 200, 18, day(today)) {
            asked.extend(story.play().iter().filter_map(|step| match &step.deed {
                Deed::Ask(_, command) => Some(command.name()),
                Deed::Tick => None,
            }));
        }
        let missing: BTreeSet<&str> = all.difference(&asked).copied().collect();
        assert_eq!(missing, never, "seed {seed}");
    }
}

#[test]
fn steps_follow_each_other_and_end_before_today() {
    let today = day("2026-11-22");
    for mut story in stories(11, 200, 18, today) {
        let steps = story.play();
        assert!(steps.windows(2).all(|two| two[0].at < two[1].at));
        let end = "2026-11-22T00:00:00Z".parse::<Timestamp>().unwrap();
        assert!(steps.last().unwrap().at < end);
    }
    let [mut one, _] = stories(11, 200, 18, today);
    let [mut other, _] = stories(11, 200, 18, today);
    assert!(script(&one.play()) == script(&other.play()), "the same seed told another story");
}

#[test]
fn life_goes_on_and_only_the_one_mistake_is_refused() {
    let mut stage = staged(13, 80, 6, day("2026-11-22"));
    let [_, mut story] = stage.stories;
    story.go_live();
    let mut now: Timestamp = "2026-11-22T09:00:00Z".parse().unwrap();
    let mut names = BTreeMap::<&str, u32>::new();
    for _ in 0..600 {
        now = now.plus_micros(4_000_000);
        for (caller, command) in story.soon(now) {
            stage.timepiece.follow([now]);
            let name = command.name();
            let submission = Submission { command, caller, expected_version: None, idempotency: None };
            match stage.runtime.block_on(stage.writer.submit(story.program(), submission)) {
                Ok(_) => *names.entry(name).or_default() += 1,
                Err(Refusal::Rule(rejection)) => {
                    assert_eq!((name, rejection.code()), ("confirm-session", "logger-cannot-confirm"));
                    *names.entry("refused").or_default() += 1;
                }
                Err(refusal) => panic!("{name}: {refusal}"),
            }
        }
    }
    for name in ["log-session", "confirm-session", "rate-exchange", "propose-pair", "accept-pair", "refused"] {
        assert!(names.contains_key(name), "no {name} in forty minutes: {names:?}");
    }
    stage.played.clear();
    drop(stage.writer);
    stage.running.join();
}
