//! The demonstration without a disk: its story against the real rules, through the real writer.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use mentorlog_events::entry::Entry;
use mentorlog_events::event::Event;
use mentorlog_events::id::LedgerId;
use mentorlog_events::time::{Day, Timestamp};
use mentorlog_projections::read_models::ReadModels;
use mentorlog_projections::{reciprocity, retention};
use serde::Serialize;
use serde_json::Value;
use tokio::runtime::Runtime;

use super::stage::{Played, Timepiece, play};
use super::stories;
use super::story::{Deed, Step, Story};
use crate::clock::Clock;
use crate::keys::Keys;
use crate::ledger::Log;
use crate::ledger::memory::MemoryLog;
use crate::rules::command::Command;
use crate::writer::publisher::Publishing;
use crate::writer::receipt::Refusal;
use crate::writer::replay::{Replayed, replay};
use crate::writer::{Running, Submission, Writer};

fn json(document: &impl Serialize) -> Value {
    serde_json::to_value(document).unwrap()
}

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
    for (seed, people, months, today) in [
        (1, 70, 7, "2026-11-22"),
        (2, 40, 9, "2027-02-01"),
        (3, 120, 4, "2026-03-31"),
        (4, 30, 12, "2028-02-29"),
    ] {
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
    for name in ["log-session", "confirm-session", "rate-exchange", "propose-pair", "accept-pair", "refused"]
    {
        assert!(names.contains_key(name), "no {name} in forty minutes: {names:?}");
    }
    stage.played.clear();
    drop(stage.writer);
    stage.running.join();
}

/// The figures a visitor sees first, by name; as parts of a thousand or as counts.
fn figures(stage: &Stage, today: Day) -> BTreeMap<&'static str, i64> {
    let program = stage.writer.published().program("bridge").unwrap();
    let view = program.view();
    let reciprocity = json(&view.models.reciprocity(reciprocity::Asked::as_of(today)));
    let asked = retention::Asked { at: vec![180, 365], ..retention::Asked::as_of(today) };
    let pairs = json(&view.models.retention(&asked).unwrap());
    let (subject, by) = (retention::Subject::Participants, Some(retention::By::Arm));
    let arms = json(&view.models.retention(&retention::Asked { subject, by, ..asked }).unwrap());
    let health = json(&view.models.health(today, 1000));
    let permille = |document: &Value, at: &str| {
        let share = document.pointer(at).and_then(Value::as_f64);
        share.map_or(-1, |share| format!("{:.0}", share * 1000.0).parse().unwrap())
    };
    let count = |document: &Value, at: &str| document.pointer(at).and_then(Value::as_i64).unwrap_or(-1);
    let figure = |name: &str| permille(&reciprocity, &format!("/figures/{name}/value"));
    let gaps = health["skills"].as_array().unwrap().iter();
    let gaps = gaps.filter(|skill| skill["supply_gap"].as_i64() > Some(4)).count();
    BTreeMap::from([
        ("two-way pairs", figure("two_way_pair_share")),
        ("weighted reciprocity", figure("weighted_reciprocity")),
        ("reverse share", figure("reverse_share")),
        ("cross-generation share", figure("cross_generation_share")),
        ("dual role", figure("dual_role_share")),
        ("confirmed", figure("confirmation_ratio")),
        ("rated", permille(&reciprocity, "/figures/value_reciprocity/coverage/exchanges/value")),
        ("one-way median", count(&reciprocity, "/time_to_reciprocation/median")),
        ("pairs", count(&pairs, "/strata/0/n")),
        ("pairs at 180", permille(&pairs, "/strata/0/at/0/survival")),
        ("pairs at 365", permille(&pairs, "/strata/0/at/1/survival")),
        ("planned at 180", permille(&pairs, "/strata/0/causes/0/at/0/incidence")),
        ("early by choice at 180", permille(&pairs, "/strata/0/causes/1/at/0/incidence")),
        ("early from outside at 180", permille(&pairs, "/strata/0/causes/2/at/0/incidence")),
        ("program at 365", permille(&arms, "/strata/0/at/1/survival")),
        ("comparison at 365", permille(&arms, "/strata/1/at/1/survival")),
        ("cohorts", i64::try_from(pairs["cohorts"].as_array().unwrap().len()).unwrap()),
        ("stalled", count(&health, "/pairs/stalled/count")),
        ("active", count(&health, "/pairs/active")),
        ("early closure", permille(&health, "/pairs/early_closure/value")),
        ("unanswered", count(&health, "/proposals/unanswered/count")),
        ("accepted", permille(&health, "/proposals/funnel/acceptance/value")),
        ("unconfirmed", count(&health, "/confirmation/backlog/count")),
        ("disputed", count(&health, "/confirmation/disputed")),
        ("gaps", i64::try_from(gaps).unwrap()),
        ("suggestions", i64::try_from(view.models.pool(None).len()).unwrap()),
        ("entries", i64::try_from(program.size()).unwrap()),
    ])
}

#[test]
fn the_figures_have_something_to_tell_and_nothing_absurd() {
    let ranges = [
        ("two-way pairs", 450, 650),
        ("weighted reciprocity", 300, 600),
        ("reverse share", 250, 500),
        ("cross-generation share", 700, 970),
        ("dual role", 650, 950),
        ("confirmed", 650, 850),
        ("rated", 500, 700),
        ("one-way median", 40, 160),
        ("pairs", 200, 350),
        ("pairs at 180", 350, 650),
        ("planned at 180", 50, 250),
        ("early by choice at 180", 120, 300),
        ("early from outside at 180", 50, 260),
        ("program at 365", 750, 950),
        ("comparison at 365", 600, 930),
        ("cohorts", 18, 24),
        ("stalled", 2, 20),
        ("active", 60, 140),
        ("early closure", 250, 600),
        ("unanswered", 3, 25),
        ("accepted", 550, 800),
        ("unconfirmed", 200, 600),
        ("disputed", 1, 25),
        ("gaps", 2, 8),
        ("suggestions", 40, 140),
        ("entries", 5000, 9000),
    ];
    for (seed, today) in [(1, "2026-11-22"), (2, "2027-01-17"), (5, "2028-02-29")] {
        let stage = staged(seed, 200, 18, day(today));
        let found = figures(&stage, day(today));
        for (name, least, most) in ranges {
            assert!(
                (least..=most).contains(&found[name]),
                "seed {seed}: {name} is not within {least}..={most}: {found:#?}"
            );
        }
        stage.end();
    }
}
