//! The writer over logs that fail: what was acknowledged stays, what is repeated is done once, and after a failure
//! nothing more is written. Never needs a disk, except where it says so.

use std::collections::{BTreeMap, BTreeSet};
use std::panic;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, Once};
use std::time::Duration;

use mentorlog::clock::{Clock, Source};
use mentorlog::keys::{Keys, LedgerSecret};
use mentorlog::ledger::faulty::{Fault, FaultyLog};
use mentorlog::ledger::memory::MemoryLog;
use mentorlog::ledger::merkle::Tree;
use mentorlog::ledger::sled::{OpenOptions, SledLog};
use mentorlog::ledger::{Append, Log, Outcome, ReadError};
use mentorlog::rules::command::{Command, OpenProgram};
use mentorlog::rules::rejection::Rejection;
use mentorlog::writer::publisher::Publishing;
use mentorlog::writer::receipt::{Receipt, Refusal};
use mentorlog::writer::{Answer, By, Caller, Idempotency, QUEUE_MAX, Running, Submission, Writer};
use mentorlog_events::entry::{Actor, Entry};
use mentorlog_events::event::Event;
use mentorlog_events::event::registry::RegistryEvent;
use mentorlog_events::id::{LedgerId, ParticipantId, ProgramId};
use mentorlog_events::record::Record;
use serde_json::json;
use tokio::runtime::Runtime;
use uuid::Uuid;

use crate::harness::{Chance, Machine, until};

// -------------------------------------------------------------------------------------------- logs that fail

/// A log that panics at one call of `append`, before or after it wrote.
#[derive(Debug)]
struct Panicky<L> {
    inner: L,
    at: Option<u64>,
    writes_first: bool,
    calls: AtomicU64,
}

/// Whether two receipts say the same of one command. Only an item of a batch has no root.
fn agree(one: &Receipt, other: &Receipt) -> bool {
    let bare = |receipt: &Receipt| Receipt { replayed: false, root: None, ..receipt.clone() };
    let roots_agree = one.root.is_none() || other.root.is_none() || one.root == other.root;
    bare(one) == bare(other) && roots_agree
}

const PLANNED: &str = "a panic by plan";

impl<L: Log> Log for Panicky<L> {
    fn read(&self, ledger: LedgerId, from: u64, limit: usize) -> Result<Vec<Record>, ReadError> {
        self.inner.read(ledger, from, limit)
    }

    fn append(&self, appends: &[Append]) -> Vec<Outcome> {
        if self.at != Some(self.calls.fetch_add(1, Ordering::Relaxed)) {
            return self.inner.append(appends);
        }
        if self.writes_first {
            self.inner.append(appends);
        }
        panic!("{PLANNED}");
    }
}

/// Panics by plan are not worth a line each; all others are told as ever.
fn without_noise() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let told = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if info.payload().downcast_ref::<String>().is_none_or(|text| text != PLANNED) {
                told(info);
            }
        }));
    });
}

/// A log whose appends wait until the gate is open.
pub struct Gated {
    inner: MemoryLog,
    gate: Arc<(Mutex<bool>, Condvar)>,
    /// Appends that came to the gate.
    pub came: AtomicU64,
}

impl Gated {
    /// An empty log behind this gate.
    pub fn new(gate: Arc<(Mutex<bool>, Condvar)>) -> Self {
        Self { inner: MemoryLog::new(), gate, came: AtomicU64::new(0) }
    }
}

impl Log for Gated {
    fn read(&self, ledger: LedgerId, from: u64, limit: usize) -> Result<Vec<Record>, ReadError> {
        self.inner.read(ledger, from, limit)
    }

    fn append(&self, appends: &[Append]) -> Vec<Outcome> {
        self.came.fetch_add(1, Ordering::Relaxed);
        let (open, opened) = &*self.gate;
        drop(opened.wait_while(open.lock().unwrap(), |open| !*open).unwrap());
        self.inner.append(appends)
    }
}

/// Opens the gate, or closes it.
pub fn set(gate: &(Mutex<bool>, Condvar), open: bool) {
    *gate.0.lock().unwrap() = open;
    gate.1.notify_all();
}

// ---------------------------------------------------------------------------------------------- one process

/// What outlives a restart: the keys, the clock, and who waits for answers.
struct Ground {
    data: tempfile::TempDir,
    machine: Machine,
    runtime: Runtime,
    registry: LedgerSecret,
    program: LedgerSecret,
}

impl Ground {
    fn new() -> Self {
        without_noise();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let data = tempfile::tempdir().unwrap();
        let keys = Keys::open(data.path(), false).unwrap();
        let (registry, program) = (keys.of_ledger(LedgerId::REGISTRY), keys.of_ledger(PROGRAM.into()));
        Self { data, machine: Machine::new(), runtime, registry, program }
    }

    fn keys(&self) -> Keys {
        Keys::open(self.data.path(), false).unwrap()
    }

    /// A start over a log and its trees.
    fn start(&self, log: Arc<impl Log>, heads: BTreeMap<LedgerId, Tree>) -> Life<'_> {
        self.start_at(log, heads, self.machine.clone())
    }

    fn start_at(&self, log: Arc<impl Log>, heads: BTreeMap<LedgerId, Tree>, source: impl Source) -> Life<'_> {
        let log: Arc<dyn Log> = log;
        let (writer, running) =
            Writer::start(&log, heads, self.keys(), Clock::start(source), Publishing::Off).unwrap();
        Life { ground: self, writer, running }
    }

    fn idempotency(secret: &LedgerSecret, key: &str, name: &str, body: &[u8]) -> Idempotency {
        Idempotency { key: secret.key("local", key), fp: secret.fingerprint(name, body) }
    }
}

/// From a start to a stop.
struct Life<'a> {
    ground: &'a Ground,
    writer: Writer,
    running: Running,
}

const PROGRAM: ProgramId = ProgramId(Uuid::from_u128(0x4000_8000_0000_0000_0001));

fn manager() -> Caller {
    let principal = "local".parse().unwrap();
    Caller { actor: Actor::Manager, on_behalf_of: None, principal, correlation: None, by: By::Operator }
}

fn person(n: u64) -> ParticipantId {
    ParticipantId(Uuid::from_u128(0x4000_8000_0000_0000_0100 + u128::from(n)))
}

fn command(name: &str, body: &serde_json::Value) -> Submission {
    let command = Command::read(name, body.to_string().as_bytes()).unwrap();
    Submission { command, caller: manager(), expected_version: None, idempotency: None }
}

impl Life<'_> {
    fn opening() -> OpenProgram {
        let body = json!({ "program": PROGRAM, "slug": "spring", "name": "Spring", "time_zone": "UTC" });
        match Command::read("open-program", body.to_string().as_bytes()).unwrap() {
            Command::OpenProgram(opening) => opening,
            other => panic!("{other:?}"),
        }
    }

    fn open(&self) -> Result<Receipt, Refusal> {
        let key = Ground::idempotency(&self.ground.registry, "open", "open-program", b"spring");
        let opened = self.writer.open_program(Self::opening(), manager(), Some(key));
        self.ground.runtime.block_on(opened).map(|(program, receipt)| {
            assert_eq!(program, PROGRAM);
            receipt
        })
    }

    /// Enrols a person, with a key of their own.
    fn enrolment(&self, n: u64) -> Submission {
        let body = json!({ "participant": person(n) });
        let mut submission = command("enrol", &body);
        let body = body.to_string();
        let key = format!("k-{n}");
        submission.idempotency =
            Some(Ground::idempotency(&self.ground.program, &key, "enrol", body.as_bytes()));
        submission
    }

    fn submit(&self, submission: Submission) -> Answer {
        self.ground.runtime.block_on(self.writer.submit(PROGRAM, submission))
    }

    fn size(&self) -> u64 {
        self.writer.published().program("spring").map_or(0, |program| program.size())
    }

    fn models(&self) -> Vec<u8> {
        let mut json = Vec::new();
        let program = self.writer.published().program("spring").expect("the program is open");
        program.view().models.write_json(&mut json).unwrap();
        json
    }

    fn stop(self) {
        drop(self.writer);
        self.running.join();
    }
}

/// Every entry of the program's ledger.
fn entries(log: &dyn Log) -> Vec<Entry<Event>> {
    let records = log.read(PROGRAM.into(), 0, usize::MAX).unwrap();
    records.iter().map(|record| Entry::parse(record.bytes()).unwrap()).collect()
}

fn enrolled(log: &dyn Log) -> Vec<ParticipantId> {
    let enrolled = |entry: Entry<Event>| match entry.event {
        Event::ParticipantEnrolled(enrolled) => Some(enrolled.participant),
        _ => None,
    };
    entries(log).into_iter().filter_map(enrolled).collect()
}

// ------------------------------------------------------------------------------------------------- campaigns

/// What the callers know: who was acknowledged with which receipt, who was refused for good.
#[derive(Default)]
struct Told {
    asked: BTreeSet<u64>,
    acknowledged: BTreeMap<u64, Receipt>,
    refused: BTreeSet<u64>,
    opened: Option<Receipt>,
}

/// Submits waves of commands until writing stops, and checks every answer at the moment it is given.
fn live(life: &Life<'_>, inner: &dyn Log, chance: &mut Chance, told: &mut Told, fresh: &mut u64) {
    let published = life.writer.published().clone();
    // A start may find what was written and never acknowledged.
    let found = life.size();
    match life.open() {
        Ok(receipt) => {
            if let Some(first) = &told.opened {
                assert_eq!(&Receipt { replayed: false, ..receipt.clone() }, first);
            }
            assert!(!inner.read(PROGRAM.into(), 0, 1).unwrap().is_empty(), "opened ahead of the log");
            told.opened = Some(Receipt { replayed: false, ..receipt });
        }
        Err(Refusal::Unknown(_) | Refusal::Stopped(_)) => {}
        Err(refusal) => panic!("the opening: {refusal}"),
    }
    for _ in 0..chance.below(8) {
        life.ground.machine.advance(1);
        // A wave: everything is on its way before the first answer is.
        let mut waiting = Vec::new();
        for _ in 0..=chance.below(4) {
            let how = chance.below(5);
            let mut people: Vec<u64> =
                (0..if how == 0 { 1 } else { 1 + chance.below(3) }).map(|i| *fresh + i).collect();
            *fresh += people.len() as u64;
            told.asked.extend(&people);
            if how > 2 && chance.one_in(2) && !told.acknowledged.is_empty() {
                // Somebody comes again, in the middle of a batch.
                let index = usize::try_from(chance.below(told.acknowledged.len() as u64)).unwrap();
                people.push(*told.acknowledged.keys().nth(index).unwrap());
            }
            let mut submissions: Vec<Submission> = people.iter().map(|n| life.enrolment(*n)).collect();
            let poisoned = how == 4 && chance.one_in(2);
            if poisoned {
                let nobody = json!({ "participant": person(1 << 40) });
                submissions.push(command("take-break", &nobody));
            }
            let writer = life.writer.clone();
            let atomic = how == 4;
            waiting.push((
                people,
                poisoned,
                life.ground.runtime.spawn(async move {
                    if how == 0 {
                        vec![writer.submit(PROGRAM, submissions.remove(0)).await]
                    } else {
                        let count = submissions.len();
                        let answers = writer.submit_batch(PROGRAM, submissions, atomic).await;
                        answers.map_or_else(|refusal| vec![Err(refusal); count], |batch| batch.answers)
                    }
                }),
            ));
        }
        for (people, poisoned, answers) in waiting {
            let answers = life.ground.runtime.block_on(answers).unwrap();
            for (n, answer) in people.into_iter().zip(&answers) {
                match answer {
                    Ok(receipt) => {
                        assert!(!poisoned, "{n} was acknowledged in a batch that cannot be done");
                        let program = published.program("spring").expect("published before the answer");
                        assert!(program.size() >= receipt.size, "{n}: answered ahead of the read models");
                        assert!(program.view().models.participant(person(n)).is_some());
                        let stored = inner.read(PROGRAM.into(), receipt.size - 1, 1).unwrap();
                        assert_eq!(stored.len(), 1, "{n}: answered ahead of the log");
                        if let Some(root) = receipt.root {
                            assert_eq!(program.root_at(inner, receipt.size).unwrap(), Some(root));
                        }
                        let receipt = Receipt { replayed: false, ..receipt.clone() };
                        let first = told.acknowledged.entry(n).or_insert_with(|| receipt.clone());
                        assert!(agree(first, &receipt), "{n} was told two things: {first:?}, {receipt:?}");
                    }
                    Err(Refusal::Unknown(_) | Refusal::Stopped(_)) => {
                        assert!(published.stopped().is_some(), "{n}: unknown, and yet it goes on");
                    }
                    Err(Refusal::NotDone { .. }) if poisoned => {
                        if !told.acknowledged.contains_key(&n) {
                            told.refused.insert(n);
                        }
                    }
                    // The opening is not known to have happened.
                    Err(Refusal::NoSuchProgram) if told.opened.is_none() => {}
                    Err(refusal) => panic!("{n}: {refusal}"),
                }
            }
        }
        let acknowledged = told.acknowledged.values().chain(&told.opened).map(|receipt| receipt.size).max();
        // Entry 0 is durable before its completion is; what fails last makes the opening unknown.
        let vouched = acknowledged.unwrap_or(0).max(found).max(life.size().min(1));
        assert_eq!(life.size(), vouched, "what is read was acknowledged");
    }
    if published.stopped().is_some() {
        let (size, stored) = (life.size(), inner.read(PROGRAM.into(), 0, usize::MAX).unwrap().len());
        let answer = life.submit(life.enrolment(1 << 41));
        assert!(matches!(answer, Err(Refusal::Stopped(_))), "{answer:?}");
        let answer = life.open();
        assert!(matches!(answer, Err(Refusal::Stopped(_))), "{answer:?}");
        assert_eq!(life.size(), size);
        assert_eq!(
            inner.read(PROGRAM.into(), 0, usize::MAX).unwrap().len(),
            stored,
            "written after the stop"
        );
    }
}

/// The last start, over a log that does not fail: whoever asked asks again, and everything is there once.
fn settle(life: &Life<'_>, log: &dyn Log, told: &Told) {
    let before: BTreeSet<ParticipantId> = enrolled(log).into_iter().collect();
    for n in told.acknowledged.keys() {
        assert!(before.contains(&person(*n)), "{n} was acknowledged and is lost");
    }
    for n in &told.refused {
        assert!(!before.contains(&person(*n)), "{n} was refused and is there");
    }
    let receipt = life.open().unwrap();
    if let Some(first) = &told.opened {
        assert_eq!(&Receipt { replayed: false, ..receipt }, first);
    }
    for n in &told.asked {
        let receipt = life.submit(life.enrolment(*n)).unwrap();
        assert_eq!(receipt.replayed, before.contains(&person(*n)), "{n}");
        if let Some(first) = told.acknowledged.get(n) {
            assert!(agree(&receipt, first), "{n}: {receipt:?}, {first:?}");
        }
    }
    let mut after = enrolled(log);
    assert_eq!(after.len(), told.asked.len(), "each once");
    after.sort_unstable();
    after.dedup();
    assert_eq!(after.len(), told.asked.len(), "each once");
    assert_eq!(life.size(), 1 + told.asked.len() as u64);
    assert_eq!(life.writer.published().programs().len(), 1);
}

#[test]
fn nothing_acknowledged_is_lost_and_nothing_is_done_twice_whatever_the_log_does() {
    let ground = Ground::new();
    let seeds: u64 = std::env::var("MENTORLOG_SEEDS").map_or(600, |seeds| seeds.parse().unwrap());
    let (mut stops, mut acknowledged) = (0, 0);
    for seed in 0..seeds {
        let mut chance = Chance::seeded(seed);
        let (mut told, mut fresh) = (Told::default(), 0);
        let mut memory = MemoryLog::new();
        // Several lives over one history, each with its own faults.
        for _ in 0..=chance.below(3) {
            let heads = memory.heads();
            let panicky = Panicky {
                inner: memory,
                at: chance.one_in(4).then(|| chance.below(8)),
                writes_first: chance.one_in(2),
                calls: AtomicU64::new(0),
            };
            let faulty = match chance.below(4) {
                0 => FaultyLog::seeded(panicky, chance.next(), 120),
                kind => {
                    let fault = [Fault::Lost, Fault::WrittenUnknown, Fault::SyncFailed];
                    let fault = fault[usize::try_from(kind - 1).unwrap()];
                    FaultyLog::failing_at(panicky, chance.below(12), fault, chance.next())
                }
            };
            let log = Arc::new(faulty);
            let life = ground.start(log.clone(), heads);
            live(&life, log.inner(), &mut chance, &mut told, &mut fresh);
            stops += u64::from(life.writer.published().stopped().is_some());
            life.stop();
            memory = Arc::into_inner(log).expect("the writer let go of its log").restart().inner;
        }
        let heads = memory.heads();
        let log = Arc::new(memory);
        let life = ground.start(log.clone(), heads);
        settle(&life, &*log, &told);
        let models = life.models();
        life.stop();
        // And the read models are those of the log.
        let life = ground.start(log.clone(), log.heads());
        assert_eq!(life.models(), models, "seed {seed}");
        life.stop();
        acknowledged += told.acknowledged.len();
    }
    // The campaign is one: most lives end in a fault, and much was acknowledged before.
    assert!(
        stops > seeds / 2 && acknowledged as u64 > 3 * seeds,
        "{stops} stops, {acknowledged} acknowledged"
    );
}

#[test]
fn nothing_is_lost_or_done_twice_on_a_disk_either() {
    let open = |dir: &Path| {
        SledLog::open(dir, &OpenOptions { tail_segment_bytes: 1 << 20, ..OpenOptions::default() }).unwrap()
    };
    let ground = Ground::new();
    for seed in 0..6 {
        let mut chance = Chance::seeded(seed);
        let (mut told, mut fresh) = (Told::default(), 0);
        let dir = tempfile::tempdir().unwrap();
        for _ in 0..2 {
            let opened = open(dir.path());
            let fault =
                [Fault::Lost, Fault::WrittenUnknown, Fault::SyncFailed][usize::try_from(seed % 3).unwrap()];
            let log = Arc::new(FaultyLog::failing_at(opened.log, 2 + chance.below(8), fault, seed));
            let life = ground.start(log.clone(), opened.heads);
            live(&life, log.inner(), &mut chance, &mut told, &mut fresh);
            life.stop();
            drop(Arc::into_inner(log).expect("the writer let go of its log").restart());
        }
        let opened = open(dir.path());
        let log = Arc::new(opened.log);
        let life = ground.start(log.clone(), opened.heads);
        settle(&life, &*log, &told);
        life.stop();
    }
}

// ------------------------------------------------------------------------------------------------- one by one

#[test]
fn an_opening_that_broke_off_anywhere_is_finished_or_abandoned_and_can_be_asked_for_again() {
    let ground = Ground::new();
    // 0: the registry itself; 1: the intent; 2: entry 0 of the program's ledger; 3: the completion.
    for call in 0..4 {
        for fault in [Fault::Lost, Fault::WrittenUnknown] {
            let what = format!("{fault:?} at append {call}");
            let log = Arc::new(FaultyLog::failing_at(MemoryLog::new(), call, fault, 0));
            let life = ground.start(log.clone(), BTreeMap::new());
            let answer = life.open();
            assert!(matches!(answer, Err(Refusal::Unknown(_) | Refusal::Stopped(_))), "{what}: {answer:?}");
            life.stop();
            let log = Arc::new(Arc::into_inner(log).unwrap().restart());
            let is_there = !log.read(PROGRAM.into(), 0, 1).unwrap().is_empty();
            let life = ground.start(log.clone(), log.heads());
            assert_eq!(life.writer.published().program("spring").is_some(), is_there, "{what}");
            let receipt = life.open().unwrap_or_else(|refusal| panic!("{what}: {refusal}"));
            assert_eq!((receipt.replayed, receipt.size), (is_there, 1), "{what}");
            life.stop();
            let registry = || log.read(LedgerId::REGISTRY, 0, usize::MAX).unwrap();
            let (mut begun, mut ended) = (0, 0);
            for record in registry() {
                match Entry::<RegistryEvent>::parse(record.bytes()).unwrap().event {
                    RegistryEvent::ProgramOpening(_) => begun += 1,
                    RegistryEvent::LedgerOpened(_) | RegistryEvent::OpeningAbandoned(_) => ended += 1,
                    _ => {}
                }
                assert!(begun - ended <= 1, "{what}");
            }
            assert_eq!(begun, ended, "{what}");
            // Another start finds nothing to do.
            let size = registry().len();
            let life = ground.start(log.clone(), log.heads());
            assert!(life.open().unwrap().replayed, "{what}");
            life.stop();
            assert_eq!(registry().len(), size, "{what}");
        }
    }
}

#[test]
fn a_full_queue_refuses_and_writes_nothing() {
    let ground = Ground::new();
    let gate = Arc::new((Mutex::new(true), Condvar::new()));
    let log = Arc::new(Gated::new(gate.clone()));
    let life = ground.start(log.clone(), BTreeMap::new());
    life.open().unwrap();
    set(&gate, false);
    let spawn = |submissions: Vec<Submission>| {
        let writer = life.writer.clone();
        ground.runtime.spawn(async move { writer.submit_batch(PROGRAM, submissions, false).await })
    };
    let people = |range: std::ops::Range<u64>| -> Vec<Submission> {
        range.map(|n| command("enrol", &json!({ "participant": person(n) }))).collect()
    };
    // One is on its way to the disk, and as many wait behind it as a group may hold.
    let came = log.came.load(Ordering::Relaxed);
    let mut waiting = vec![spawn(people(0..1))];
    ground.runtime.block_on(tokio::task::yield_now());
    until("the first to reach the disk", || (log.came.load(Ordering::Relaxed) > came).then_some(()));
    waiting.extend((0..2).map(|i| spawn(people(1 + i * 9_000..1 + (i + 1) * 9_000))));
    ground.runtime.block_on(tokio::task::yield_now());
    until("the batches to be taken", || (life.writer.published().waiting() == 0).then_some(()));
    until("the queue to fill", || {
        life.writer.tick();
        (life.writer.published().waiting() >= QUEUE_MAX).then_some(())
    });
    let answer = life.submit(command("enrol", &json!({ "participant": person(1 << 30) })));
    assert_eq!(answer, Err(Refusal::Busy));
    assert_eq!(life.writer.published().waiting(), QUEUE_MAX);
    assert_eq!(life.size(), 1, "nobody was answered ahead of the disk");
    assert!(waiting.iter().all(|answer| !answer.is_finished()));
    set(&gate, true);
    for answers in waiting {
        assert!(ground.runtime.block_on(answers).unwrap().unwrap().answers.iter().all(Result::is_ok));
    }
    until("the queue to drain", || (life.writer.published().waiting() == 0).then_some(()));
    assert_eq!(life.size(), 18_002);
    assert!(life.submit(command("enrol", &json!({ "participant": person(1 << 30) }))).is_ok());
    life.stop();
}

#[test]
fn a_writer_lives_as_long_as_its_disk_answers() {
    let ground = Ground::new();
    let gate = Arc::new((Mutex::new(true), Condvar::new()));
    let log = Arc::new(Gated { inner: MemoryLog::new(), gate: gate.clone(), came: AtomicU64::new(0) });
    let life = ground.start(log.clone(), BTreeMap::new());
    life.open().unwrap();
    let size = life.size();
    ground.runtime.block_on(life.writer.alive()).unwrap();
    set(&gate, false);
    let came = log.came.load(Ordering::Relaxed);
    let writer = life.writer.clone();
    let enrolment = life.enrolment(1);
    let waiting = ground.runtime.spawn(async move { writer.submit(PROGRAM, enrolment).await });
    ground.runtime.block_on(tokio::task::yield_now());
    until("the append to reach the disk", || (log.came.load(Ordering::Relaxed) > came).then_some(()));
    let writer = life.writer.clone();
    let mut asked = ground.runtime.spawn(async move { writer.alive().await });
    ground.runtime.block_on(tokio::task::yield_now());
    until("the question to be taken", || (life.writer.published().waiting() == 0).then_some(()));
    // Long enough for an answer that does not wait; there is none.
    let early =
        ground.runtime.block_on(async { tokio::time::timeout(Duration::from_millis(50), &mut asked).await });
    assert!(early.is_err(), "{early:?}");
    set(&gate, true);
    assert!(ground.runtime.block_on(waiting).unwrap().is_ok());
    assert!(ground.runtime.block_on(asked).unwrap().is_ok());
    ground.runtime.block_on(life.writer.alive()).unwrap();
    assert_eq!(life.size(), size + 1, "asking appends nothing");
    life.stop();
}

#[test]
fn a_refusal_waits_for_what_it_rests_on() {
    let ground = Ground::new();
    let gate = Arc::new((Mutex::new(true), Condvar::new()));
    let log = Arc::new(Gated::new(gate.clone()));
    let life = ground.start(log.clone(), BTreeMap::new());
    life.open().unwrap();
    set(&gate, false);
    let spawn = |submission: Submission| {
        let writer = life.writer.clone();
        ground.runtime.spawn(async move { writer.submit(PROGRAM, submission).await })
    };
    let enrol = || command("enrol", &json!({ "participant": person(1) }));
    let (first, again, keyed) =
        (spawn(enrol()), spawn(enrol()), [spawn(life.enrolment(2)), spawn(life.enrolment(2))]);
    ground.runtime.block_on(tokio::task::yield_now());
    until("all to be taken", || (life.writer.published().waiting() == 0).then_some(()));
    // Long enough for an answer that does not wait; there is none.
    let early =
        ground.runtime.block_on(async { tokio::time::timeout(Duration::from_millis(50), again).await });
    assert!(early.is_err(), "{early:?}");
    set(&gate, true);
    assert!(ground.runtime.block_on(first).unwrap().is_ok());
    let [one, two] = keyed.map(|answer| ground.runtime.block_on(answer).unwrap().unwrap());
    assert_eq!((one.replayed, two.replayed), (false, true));
    assert_eq!(Receipt { replayed: false, ..two }, one);
    life.stop();
    assert_eq!(enrolled(&*log).len(), 2);
}

#[test]
fn the_writer_records_nothing_while_the_clock_deviates() {
    let ground = Ground::new();
    let log = Arc::new(MemoryLog::new());
    let life = ground.start(log.clone(), BTreeMap::new());
    life.open().unwrap();
    let first = life.submit(life.enrolment(1)).unwrap();
    ground.machine.jump(-301);
    assert!(matches!(life.submit(life.enrolment(2)), Err(Refusal::Clock(_))));
    let again = life.submit(life.enrolment(1)).unwrap();
    assert!(again.replayed, "what is written can be told again");
    assert_eq!(again.root, first.root);
    ground.machine.jump(301);
    assert!(life.submit(life.enrolment(2)).is_ok());
    assert_eq!(life.size(), 3);
    life.stop();
    // A start a day behind the log: it can be read, not written, until the clock has caught up.
    let behind = Machine::new();
    behind.jump(-86_400);
    let life = ground.start_at(log.clone(), log.heads(), behind.clone());
    assert!(matches!(life.submit(life.enrolment(3)), Err(Refusal::Clock(_))));
    assert_eq!(life.size(), 3);
    behind.advance(86_400);
    assert!(life.submit(life.enrolment(3)).is_ok());
    life.stop();
    // A little behind: time stands still, and never runs back.
    let behind = Machine::new();
    behind.jump(-60);
    let life = ground.start_at(log.clone(), log.heads(), behind);
    assert!(life.submit(life.enrolment(4)).is_ok());
    life.stop();
    let times: Vec<_> = entries(&*log).iter().map(|entry| entry.recorded_at).collect();
    assert!(times.is_sorted(), "{times:?}");
}

#[test]
fn a_first_answer_is_given_again_after_ten_thousand_events_and_a_restart() {
    let ground = Ground::new();
    let log = Arc::new(MemoryLog::new());
    let life = ground.start(log.clone(), BTreeMap::new());
    let opened = life.open().unwrap();
    let first = life.submit(life.enrolment(0)).unwrap();
    let many = (1..10_001).map(|n| life.enrolment(n)).collect();
    let answers = ground.runtime.block_on(life.writer.submit_batch(PROGRAM, many, false)).unwrap().answers;
    let models = life.models();
    let again = |life: &Life<'_>| {
        let same = |receipt: Receipt| {
            assert!(receipt.replayed);
            Receipt { replayed: false, ..receipt }
        };
        assert_eq!(same(life.open().unwrap()), opened);
        assert_eq!(same(life.submit(life.enrolment(0)).unwrap()), first);
        for n in [1, 255, 256, 257, 9_999, 10_000] {
            let answer = answers[usize::try_from(n - 1).unwrap()].clone().unwrap();
            let again = same(life.submit(life.enrolment(n)).unwrap());
            assert!(agree(&again, &answer), "{n}: {again:?}, {answer:?}");
        }
        assert_eq!(life.size(), 10_002);
    };
    again(&life);
    life.stop();
    let life = ground.start(log.clone(), log.heads());
    again(&life);
    assert_eq!(life.models(), models);
    life.stop();
}

#[test]
fn what_an_atomic_batch_did_before_it_was_refused_never_was() {
    let ground = Ground::new();
    let log = Arc::new(MemoryLog::new());
    let life = ground.start(log.clone(), BTreeMap::new());
    life.open().unwrap();
    let base = [1, 2].map(|n| command("enrol", &json!({ "participant": person(n) })));
    for submission in base {
        life.submit(submission).unwrap();
    }
    let (pair, session) =
        (Uuid::from_u128(0x77 << 64 | 0x8000 << 48), Uuid::from_u128(0x78 << 64 | 0x8000 << 48));
    let at = "2026-09-21T10:00:00Z";
    let work = || {
        vec![
            life.enrolment(3),
            command(
                "import-pair",
                &json!({ "pair": pair, "a": person(1), "b": person(3), "started_at": at }),
            ),
            command(
                "import-session",
                &json!({
                    "session": session, "pair": pair, "occurred_at": at, "minutes": 30,
                    "exchanges": [{ "teacher": person(1), "skill": "new-skill", "minutes": 30, "rating": 4 }],
                }),
            ),
            command("take-break", &json!({ "participant": person(2) })),
            command("define-skill", &json!({ "skill": "listed" })),
            command("leave-program", &json!({ "participant": person(3) })),
            command("close-program", &json!({})),
        ]
    };
    let (size, models) = (life.size(), life.models());
    let whole = work().len();
    for cut in 0..whole {
        let mut some = work();
        some.truncate(cut);
        some.push(command("take-break", &json!({ "participant": person(999) })));
        let answers = ground.runtime.block_on(life.writer.submit_batch(PROGRAM, some, true)).unwrap().answers;
        assert_eq!(answers.len(), cut + 1);
        assert!(
            matches!(answers[cut], Err(Refusal::Rule(Rejection::ParticipantNotFound { .. }))),
            "{answers:?}"
        );
        assert!(
            answers[..cut].iter().all(|answer| *answer == Err(Refusal::NotDone { index: cut })),
            "{answers:?}"
        );
        assert_eq!((life.size(), life.models()), (size, models.clone()), "{cut}");
        assert_eq!(log.read(PROGRAM.into(), 0, usize::MAX).unwrap().len() as u64, size);
    }
    // The same ids, keys and states are as free as before, and the root is that of the log.
    let done = ground.runtime.block_on(life.writer.submit_batch(PROGRAM, work(), true)).unwrap();
    assert!(done.answers.iter().all(Result::is_ok), "{:?}", done.answers);
    let last = done.head;
    let mut tree = Tree::new();
    log.read(PROGRAM.into(), 0, usize::MAX).unwrap().iter().for_each(|record| tree.push(record.leaf_hash()));
    assert_eq!((last.size, last.root), (tree.size(), tree.root()));
    let models = life.models();
    life.stop();
    let life = ground.start(log.clone(), log.heads());
    assert_eq!(life.models(), models);
    life.stop();
}

#[test]
fn a_proposal_expires_once_when_its_time_has_come() {
    let ground = Ground::new();
    let log = Arc::new(MemoryLog::new());
    let life = ground.start(log.clone(), BTreeMap::new());
    life.open().unwrap();
    for n in [1, 2] {
        life.submit(life.enrolment(n)).unwrap();
    }
    life.submit(command("propose-pair", &json!({ "a": person(1), "b": person(2) }))).unwrap();
    let size = life.size();
    life.writer.tick();
    life.submit(life.enrolment(3)).unwrap();
    assert_eq!(life.size(), size + 1, "not before");
    ground.machine.advance(14 * 86_400 + 1);
    life.writer.tick();
    life.writer.tick();
    until("the proposal to expire", || (life.size() == size + 2).then_some(()));
    life.writer.tick();
    life.submit(life.enrolment(4)).unwrap();
    assert_eq!(life.size(), size + 3, "once");
    life.stop();
    let expired =
        entries(&*log).iter().filter(|entry| matches!(entry.event, Event::ProposalExpired(_))).count();
    assert_eq!(expired, 1);
}

#[test]
fn whoever_waits_when_the_writer_breaks_is_answered_and_nothing_more_is_written() {
    /// Repeated commands are looked up here when they are answered.
    struct Unreadable(MemoryLog, AtomicBool);
    impl Log for Unreadable {
        fn read(&self, ledger: LedgerId, from: u64, limit: usize) -> Result<Vec<Record>, ReadError> {
            let commits = std::thread::current().name() == Some("commit");
            assert!(!(commits && self.1.load(Ordering::Relaxed)), "{PLANNED}");
            self.0.read(ledger, from, limit)
        }
        fn append(&self, appends: &[Append]) -> Vec<Outcome> {
            self.0.append(appends)
        }
    }
    let ground = Ground::new();
    let log = Arc::new(Unreadable(MemoryLog::new(), AtomicBool::new(false)));
    let life = ground.start(log.clone(), BTreeMap::new());
    life.open().unwrap();
    life.submit(life.enrolment(1)).unwrap();
    let size = life.size();
    log.1.store(true, Ordering::Relaxed);
    let again = life.submit(life.enrolment(1));
    assert!(matches!(again, Err(Refusal::Unknown(_))), "{again:?}");
    let answer = life.submit(life.enrolment(2));
    assert!(matches!(answer, Err(Refusal::Stopped(_))), "{answer:?}");
    assert_eq!(life.size(), size);
    life.stop();
    assert_eq!(entries(&log.0).len() as u64, size);
}
