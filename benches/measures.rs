//! What figures cost on a long ledger: folding, each figure at the head, on a past day and at an earlier size, and
//! what a commit waits for meanwhile.
//!
//! `MENTORLOG_BENCH_EVENTS=1000000 cargo bench --bench measures`; without the variable a tenth of that.

#![allow(
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    reason = "a benchmark may stop at the first surprise"
)]

use std::collections::BTreeMap;
use std::hint::black_box;
use std::sync::RwLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use mentorlog::ledger::merkle::Tree;
use mentorlog::ledger::sled::{OpenOptions, SledLog};
use mentorlog::ledger::{Append, Log, Outcome};
use mentorlog::writer::replay::{Replayed, replay};
use mentorlog_events::entry::{Actor, CommandStamp, Entry, Facts as _};
use mentorlog_events::event::{self, Arm, EndReason, Event, MeasurePolicy, Mode, Origin, RulePolicy};
use mentorlog_events::id::{
    B64, CommandId, EventId, GoalId, LedgerId, PairId, ParticipantId, ProgramId, SessionId, Slug,
};
use mentorlog_events::time::{Day, Timestamp, Zone};
use mentorlog_projections::read_models::ReadModels;
use mentorlog_projections::{reciprocity, retention};
use uuid::Uuid;

const DAYS: u64 = 1095;

/// Chance, the same at every run (xorshift64*, Vigna 2016).
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    fn of(&mut self, one_in: u64) -> bool {
        self.below(one_in) == 0
    }

    fn uuid(&mut self) -> Uuid {
        let bits = u128::from(self.next()) << 64 | u128::from(self.next());
        uuid::Builder::from_random_bytes(bits.to_be_bytes()).into_uuid()
    }
}

#[derive(Clone, Copy)]
struct Told {
    session: SessionId,
    two: [ParticipantId; 2],
    skill: usize,
    version: u32,
    day: u64,
}

/// Three years of a program, told day by day: a fiftieth as many people as events, three pairs for each of them,
/// half of the pairs taken over from elsewhere; two thirds of all events tell of sessions.
struct Story {
    chance: Chance,
    events: u64,
    seq: u64,
    day: u64,
    start: Timestamp,
    skills: Vec<Slug>,
    generations: Vec<Slug>,
    people: Vec<ParticipantId>,
    pairs: u64,
    active: Vec<(PairId, [ParticipantId; 2])>,
    recent: Vec<Told>,
    sessions: u64,
    out: Vec<Entry<Event>>,
}

impl Story {
    fn new(events: u64) -> Self {
        let slug = |text: String| text.parse::<Slug>().unwrap();
        let bands = ["silent", "boomer", "gen-x", "millennial", "gen-z", "unknown"];
        Self {
            chance: Chance(0x5eed),
            events,
            seq: 0,
            day: 0,
            start: "2023-11-01T00:00:00Z".parse().unwrap(),
            skills: (0..200).map(|n| slug(format!("skill-{n}"))).collect(),
            generations: bands.into_iter().map(|band| slug(band.to_owned())).collect(),
            people: Vec::new(),
            pairs: 0,
            active: Vec::new(),
            recent: Vec::new(),
            sessions: 0,
            out: Vec::new(),
        }
    }

    fn at(&self, day: u64) -> (Timestamp, Day) {
        let instant = self.start.plus_days(day as i64).plus_minutes(600);
        (instant, Zone::UTC.day(instant))
    }

    fn today(&self) -> Day {
        self.at(DAYS - 1).1
    }

    fn say(&mut self, event: impl Into<Event>) {
        if self.seq == self.events {
            return;
        }
        let (recorded_at, day) = self.at(self.day);
        let stamp = [self.chance.next(), self.chance.next()];
        let b64 = |seed: u64| {
            let mut bytes = [7; 16];
            bytes[..8].copy_from_slice(&seed.to_be_bytes());
            Some(B64(bytes))
        };
        self.out.push(Entry {
            seq: self.seq,
            id: EventId(self.chance.uuid()),
            recorded_at,
            day,
            actor: self.people.last().map_or(Actor::Manager, |last| Actor::Participant(*last)),
            on_behalf_of: None,
            principal: "platform.example".parse().unwrap(),
            command: CommandStamp {
                id: CommandId(self.chance.uuid()),
                key: b64(stamp[0]),
                fp: b64(stamp[1]),
            },
            correlation: None,
            causation: None,
            event: event.into(),
            sealed: Vec::new(),
        });
        self.seq += 1;
    }

    /// The entries of the next day; `None` when everything has been told.
    fn next_day(&mut self) -> Option<Vec<Entry<Event>>> {
        if self.day == DAYS || self.seq == self.events {
            return None;
        }
        if self.day == 0 {
            self.open();
        }
        let share = |of: u64, day: u64| of * (day + 1) / DAYS;
        // Everybody has joined and every pair has started after two thirds of the time.
        let early = (self.day * 3 / 2).min(DAYS - 1);
        let people = share(self.events / 50, early.max(20)).max(2);
        while (self.people.len() as u64) < people {
            self.enrol();
        }
        while self.pairs < share(self.events / 50 * 3, early) {
            self.pair();
        }
        for _ in 0..self.active.len() / 1000 {
            self.end();
        }
        if !self.active.is_empty() {
            // What is left of the events at the end of the last day are sessions and what follows them.
            let until = share(self.events * 66 / 100, self.day);
            while self.sessions < until || (self.day + 1 == DAYS && self.seq < self.events) {
                self.session();
            }
        }
        self.day += 1;
        Some(std::mem::take(&mut self.out))
    }

    /// The sessions, and what follows them, of a while after the end.
    fn more(&mut self, events: u64) -> Vec<Entry<Event>> {
        (self.events, self.day) = (self.events + events, DAYS - 1);
        while self.seq < self.events {
            self.session();
        }
        std::mem::take(&mut self.out)
    }

    fn open(&mut self) {
        let program = ProgramId(Uuid::from_u128(7));
        self.say(event::ProgramOpened {
            program,
            origin: "bench/program/1".to_owned(),
            envelope: 1,
            slug: "bench".parse().unwrap(),
            name: "Bench".to_owned(),
            time_zone: Zone::UTC,
            rules: RulePolicy::default(),
            measures: MeasurePolicy::default(),
        });
    }

    fn some_skills(&mut self) -> Vec<Slug> {
        let first = self.chance.below(self.skills.len() as u64 - 3) as usize;
        let count = self.chance.below(4) as usize;
        self.skills[first..first + count].to_vec()
    }

    fn enrol(&mut self) {
        let participant = ParticipantId(self.chance.uuid());
        let (offered, sought) = (self.some_skills(), self.some_skills());
        let generation = self.generations[self.chance.below(6) as usize].clone();
        let arm = if self.chance.of(20) { Arm::Comparison } else { Arm::Program };
        let (unit, capacity, origin) = (None, None, None);
        self.say(event::ParticipantEnrolled {
            participant,
            arm,
            generation,
            offered,
            sought,
            unit,
            capacity,
            origin,
        });
        self.people.push(participant);
        if self.chance.of(10) {
            let participant = self.people[self.chance.below(self.people.len() as u64) as usize];
            let (occurred_at, day) = self.at(self.day);
            match self.chance.below(4) {
                0 => self.say(event::BreakTaken { participant }),
                1 => self.say(event::BreakEnded { participant }),
                2 => {
                    let (offered, sought) = (self.some_skills(), self.some_skills());
                    self.say(event::SkillsUpdated { participant, offered, sought });
                }
                _ => self.say(event::ParticipantLeft { participant, occurred_at, day }),
            }
        }
    }

    fn pair(&mut self) {
        self.pairs += 1;
        let pair = PairId(self.chance.uuid());
        let count = self.people.len() as u64;
        let one = self.chance.below(count);
        let other = (one + 1 + self.chance.below(count - 1)) % count;
        let mut two = [self.people[one as usize], self.people[other as usize]];
        two.sort_unstable();
        let [a, b] = two;
        if self.chance.of(2) {
            let (started_at, started_day) = self.at(self.day);
            self.say(event::PairImported { pair, a, b, started_at, started_day, origin: Origin::Imported });
        } else {
            let (expires_at, expires_day) = self.at(self.day + 14);
            let (round, weight) = (None, None);
            self.say(event::PairProposed {
                pair,
                a,
                b,
                proposer: Some(a),
                expires_at,
                expires_day,
                round,
                weight,
            });
            if self.chance.of(20) {
                if self.chance.of(2) {
                    self.say(event::PairDeclined { pair, participant: b });
                }
                return;
            }
            self.say(event::PairAccepted { pair, participant: b });
            self.say(event::PairActivated { pair, term_ends_day: self.at(self.day + 180).1 });
        }
        self.active.push((pair, two));
        if self.chance.of(10) {
            let skill = self.skills[self.chance.below(200) as usize].clone();
            let goal = GoalId(self.chance.uuid());
            self.say(event::GoalSet { goal, pair, learner: a, skill });
            if self.chance.of(2) {
                self.say(event::GoalCompleted { goal });
            }
        }
    }

    fn end(&mut self) {
        let at = self.chance.below(self.active.len() as u64) as usize;
        let (pair, _) = self.active.swap_remove(at);
        let (occurred_at, day) = self.at(self.day);
        let reason = EndReason::ALL[self.chance.below(EndReason::ALL.len() as u64) as usize];
        self.say(event::PairEnded { pair, reason, occurred_at, day });
    }

    fn exchanges(&mut self, [a, b]: [ParticipantId; 2], skill: usize) -> Vec<event::Exchange> {
        let (one, other) = if self.chance.of(2) { (a, b) } else { (b, a) };
        let mut exchanges =
            vec![event::Exchange { teacher: one, skill: self.skills[skill].clone(), minutes: 30 }];
        if self.chance.of(2) {
            let skill = self.skills[(skill + 1) % self.skills.len()].clone();
            exchanges.push(event::Exchange { teacher: other, skill, minutes: 15 });
        }
        exchanges
    }

    fn session(&mut self) {
        self.sessions += 1;
        let (pair, two) = self.active[self.chance.below(self.active.len() as u64) as usize];
        let session = SessionId(self.chance.uuid());
        let skill = self.chance.below(200) as usize;
        let back = if self.chance.of(10) { self.chance.below(20).min(self.day) } else { 0 };
        let day = self.day - back;
        let (occurred_at, civil) = self.at(day);
        let exchanges = self.exchanges(two, skill);
        let origin = self.chance.of(3).then_some(Origin::Imported);
        self.say(event::SessionLogged {
            session,
            pair,
            occurred_at,
            day: civil,
            minutes: 60,
            mode: Mode::Video,
            exchanges,
            origin,
        });
        let told = Told { session, two, skill, version: 1, day };
        if self.recent.len() < 2000 {
            self.recent.push(told);
        } else {
            let at = self.chance.below(2000) as usize;
            self.recent[at] = told;
        }
        self.follow();
    }

    /// Something about a session told lately.
    fn follow(&mut self) {
        let at = self.chance.below(self.recent.len() as u64) as usize;
        let Told { session, two, skill, version, day } = self.recent[at];
        match self.chance.below(100) {
            0..=8 => self.say(event::SessionConfirmed { session, version, participant: two[1] }),
            9..=16 => {
                let rating = 1 + self.chance.below(5) as u8;
                let skill = self.skills[skill].clone();
                let teacher = two[usize::from(self.chance.of(2))];
                self.say(event::ExchangeRated { session, teacher, skill, rating, origin: None });
            }
            17 => {
                self.say(event::SessionVoided { session });
                self.recent.swap_remove(at);
            }
            18 => {
                self.recent[at].version += 1;
                let exchanges = self.exchanges(two, skill);
                let (occurred_at, civil) = self.at(day.saturating_sub(1));
                self.say(event::SessionCorrected {
                    session,
                    version: version + 1,
                    occurred_at,
                    day: civil,
                    minutes: 60,
                    mode: Mode::Phone,
                    exchanges,
                });
            }
            19 if self.chance.of(2) => {
                self.say(event::SessionDisputed { session, version, participant: None });
            }
            19 => self.say(event::DisputeResolved { session, version }),
            _ => {}
        }
    }
}

/// Which read model an event is for.
fn projection(name: &str) -> &'static str {
    match name.split('-').next().unwrap_or_default() {
        "participant" | "arm" | "capacity" | "break" | "pairing" | "personal" | "person" => "participants",
        "skills" | "skill" => "skills",
        "pair" | "proposal" | "round" => "pairs",
        "goal" => "goals",
        "session" | "dispute" if name == "session-logged" => "exchanges: sessions told",
        "session" | "dispute" => "exchanges: corrected, confirmed, disputed, voided",
        "exchange" | "rating" => "exchanges: rated",
        _ => "program",
    }
}

fn per_second(count: u64, time: Duration) -> String {
    format!("{:>12.0} events/s", count as f64 / time.as_secs_f64().max(1e-9))
}

/// Every entry folded; how long all of it took, and what each projection's events took of it.
fn fold(events: u64) -> (ReadModels, Story) {
    let mut story = Story::new(events);
    let mut models = ReadModels::new();
    let (mut sum, mut own) = (Duration::ZERO, Duration::ZERO);
    while let Some(entries) = story.next_day() {
        let (begun, before) = (Instant::now(), spent());
        for entry in &entries {
            models.apply(entry);
        }
        sum += begun.elapsed();
        own += spent().saturating_sub(before);
    }
    println!("fold of all read models               {}", per_second(models.size(), sum));
    println!("  by the processor's time             {}", per_second(models.size(), own));
    // A second time with a clock around every event, less what the clock itself takes.
    let clock = {
        let begun = Instant::now();
        for _ in 0..100_000 {
            black_box(Instant::now().elapsed());
        }
        begun.elapsed() / 100_000
    };
    let mut story = Story::new(events);
    let mut again = ReadModels::new();
    let mut each: BTreeMap<&str, (u64, Duration)> = BTreeMap::new();
    while let Some(entries) = story.next_day() {
        for entry in &entries {
            let begun = Instant::now();
            again.apply(entry);
            let took = begun.elapsed().saturating_sub(clock);
            let (count, sum) = each.entry(projection(entry.event.shape().name)).or_default();
            *count += 1;
            *sum += took;
        }
    }
    for (name, (count, sum)) in each {
        println!("  {name:<50} {count:>8} events {}", per_second(count, sum));
    }
    (models, story)
}

/// Time this thread has spent on a processor: what a busy machine does not change. Told in steps of a tick, so
/// right in sum.
fn spent() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    Duration::from_nanos(text.split_whitespace().next().and_then(|nanos| nanos.parse().ok()).unwrap_or(0))
}

/// The same of all threads of this process, in steps of 10 ms.
fn spent_by_all() -> Duration {
    let text = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = text.rsplit(") ").next().unwrap_or_default().split_whitespace();
    let ticks: u64 = fields.skip(11).take(2).filter_map(|ticks| ticks.parse::<u64>().ok()).sum();
    Duration::from_millis(10 * ticks)
}

/// The processor's time of one asking, from at least a quarter of a second of them.
fn cost(mut ask: impl FnMut()) -> Duration {
    let (begun, before, mut count) = (Instant::now(), spent(), 0);
    while begun.elapsed() < Duration::from_millis(250) || count < 3 {
        ask();
        count += 1;
    }
    spent().saturating_sub(before) / count
}

fn median(mut ask: impl FnMut()) -> Duration {
    let mut took: Vec<Duration> = (0..9)
        .map(|_| {
            let begun = Instant::now();
            ask();
            begun.elapsed()
        })
        .collect();
    took.sort_unstable();
    took[took.len() / 2]
}

/// Asks for a figure as of a day.
type Ask = Box<dyn Fn(&ReadModels, Day)>;

/// Every figure as a name and the question.
fn figures() -> Vec<(String, Ask)> {
    let mut figures: Vec<(String, Ask)> = vec![
        (
            "reciprocity".to_owned(),
            Box::new(|models, day| {
                black_box(models.reciprocity(reciprocity::Asked::as_of(day)));
            }),
        ),
        (
            "health".to_owned(),
            Box::new(|models, day| {
                black_box(models.health(day, 20));
            }),
        ),
    ];
    use retention::{Asked, Basis, By, Subject};
    for (subject, of) in [(Subject::Pairs, "pairs"), (Subject::Participants, "participants")] {
        for (basis, on) in [(Basis::Record, "record"), (Basis::Activity, "activity")] {
            for (by, groups) in [
                (None, ""),
                (Some(By::Generation), ", by generation"),
                (Some(By::Cohort), ", by cohort"),
                (Some(By::Arm), ", by arm"),
                (Some(By::Reciprocity), ", by reciprocity"),
            ] {
                let asked = Asked { subject, basis, by, ..Asked::as_of(Day::from_number(0)) };
                if asked.check().is_ok() {
                    figures.push((
                        format!("retention of {of} by {on}{groups}"),
                        Box::new(move |models, as_of| {
                            black_box(models.retention(&Asked { as_of, ..asked.clone() }).unwrap());
                        }),
                    ));
                }
            }
        }
    }
    figures
}

fn main() {
    let events: u64 =
        std::env::var("MENTORLOG_BENCH_EVENTS").map_or(100_000, |text| text.parse().expect("a number"));
    println!("a program of {events} events, {} people, {} pairs", events / 50, events / 50 * 3);
    let (models, story) = fold(events);
    let today = story.today();

    println!("\n{:<48} {:>10} {:>10} {:>10}", "figure", "head", "processor", "past day");
    for (name, ask) in figures() {
        let head = median(|| ask(&models, today));
        let own = cost(|| ask(&models, today));
        let past = median(|| ask(&models, today.plus_days(-500)));
        println!("{name:<48} {head:>10.2?} {own:>10.2?} {past:>10.2?}");
    }
    println!("(head and past day: median of 9 by the wall; processor: of the head)");
    commits(models, story, today);

    let scratch = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let (log, ledger) = stored(events, scratch.path());
    println!("\nearlier sizes, read from the store");
    for size in [events, events / 2] {
        let mut took: Vec<(Duration, Duration, Duration)> = (0..5)
            .map(|_| {
                let (begun, before) = (Instant::now(), (spent_by_all(), spent()));
                let mut models = ReadModels::without_weeks();
                replay::<Event>(&log, ledger, 0..size, false, |Replayed { entry, .. }| {
                    models.apply(entry);
                    Ok(())
                })
                .unwrap();
                black_box(models.reciprocity(reciprocity::Asked::as_of(today)));
                let all = spent_by_all().saturating_sub(before.0);
                (begun.elapsed(), all, spent().saturating_sub(before.1))
            })
            .collect();
        took.sort_unstable();
        let (wall, all, own) = took[2];
        println!(
            "known_at={size:<10} {wall:.2?} median of 5 ({:.2?} to {:.2?}); processors {all:.2?}, of that folding \
             {own:.2?}",
            took[0].0, took[4].0
        );
    }
    log.close().unwrap();
}

/// Commits of 25 sessions each while a past day is computed again and again, as the service does both: how long
/// one waits for the read models and folds.
fn commits(models: ReadModels, mut story: Story, today: Day) {
    let more = story.more(10_000);
    let published = RwLock::new(models);
    let asking = AtomicBool::new(true);
    let (mut alone, mut beside, figures) = thread::scope(|scope| {
        let commit = |took: &mut Vec<Duration>, entries: &[Entry<Event>]| {
            let begun = Instant::now();
            let mut models = published.write().unwrap();
            for entry in entries {
                models.apply(entry);
            }
            drop(models);
            took.push(begun.elapsed());
        };
        let groups: Vec<_> = more.chunks(25).take(400).collect();
        let (quiet, busy) = groups.split_at(groups.len() / 2);
        let (mut alone, mut beside) = (Vec::new(), Vec::new());
        for entries in quiet {
            commit(&mut alone, entries);
        }
        let figures = scope.spawn(|| {
            let mut figures = 0;
            while asking.load(Ordering::Relaxed) || figures == 0 {
                let moment = published.read().unwrap().clone();
                black_box(moment.reciprocity(reciprocity::Asked::as_of(today.plus_days(-500))));
                figures += 1;
            }
            figures
        });
        for entries in busy {
            commit(&mut beside, entries);
            // Spread over many figures: each makes the commits after it copy what they change.
            thread::sleep(Duration::from_millis(10));
        }
        asking.store(false, Ordering::Relaxed);
        (alone, beside, figures.join().unwrap())
    });
    println!("\ncommits of 25 entries each: waiting for the read models and folding");
    for (name, took) in [("alone", &mut alone), ("beside figures of a past day", &mut beside)] {
        took.sort_unstable();
        let at = |share: usize| took.get(took.len() * share / 100).copied().unwrap_or_default();
        let most = took.last().copied().unwrap_or_default();
        println!("{name:<48} median {:.2?}, p90 {:.2?}, most {most:.2?}", at(50), at(90));
    }
    println!("({figures} figures meanwhile)");
    let moment = median(|| drop(black_box(published.read().unwrap().clone())));
    println!("a moment of the read models: {moment:.2?}");
}

/// The same program in the embedded store.
fn stored(events: u64, scratch: &std::path::Path) -> (SledLog, LedgerId) {
    let opened = SledLog::open(&scratch.join("data"), &OpenOptions::default()).unwrap();
    let log = opened.log;
    let ledger = LedgerId(Uuid::from_u128(7));
    let mut story = Story::new(events);
    let (mut tree, mut size) = (Tree::new(), 0);
    while let Some(entries) = story.next_day() {
        for part in entries.chunks(2000) {
            let records: Vec<_> = part.iter().map(|entry| entry.seal().unwrap()).collect();
            for record in &records {
                tree.push(record.leaf_hash());
            }
            let count = records.len() as u64;
            let root = tree.root();
            let outcomes = log.append(&[Append { ledger, expected_size: size, records, root }]);
            assert!(outcomes.iter().all(|outcome| matches!(outcome, Outcome::Ok)));
            size += count;
        }
    }
    (log, ledger)
}
