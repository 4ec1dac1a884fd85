//! Clocks that jump, by days and to the years in which counters of seconds end: what is recorded stays in order, is
//! done once and expires when it should. Never waits: the machine's clocks are the test's.

use std::sync::Arc;

use mentorlog::clock::Clock;
use mentorlog::ledger::Log;
use mentorlog::ledger::memory::MemoryLog;
use mentorlog_events::entry::Envelope;
use mentorlog_events::id::LedgerId;
use mentorlog_events::time::Timestamp;
use serde_json::{Value, json};

use crate::harness::{Answer, Client, Machine, Service, until};

const DAY: i64 = 86_400;
/// 2038-01-19T03:14:08Z: a signed counter of 32 bits has run over.
const END_OF_I32: i64 = 1 << 31;
/// 2106-02-07T06:28:16Z: an unsigned one has.
const END_OF_U32: i64 = 1 << 32;
const PROGRAM: &str = "/v1/programs/spring";

/// A ledger that outlives the service, and a directory for what lies beside it.
struct Ground {
    log: Arc<MemoryLog>,
    data: tempfile::TempDir,
}

/// From a start to a stop.
struct Life {
    service: Service,
    client: Client,
    machine: Machine,
}

impl Ground {
    fn new() -> Self {
        Self { log: Arc::new(MemoryLog::new()), data: tempfile::tempdir().unwrap() }
    }

    /// A start on a machine that thinks it is `seconds` since 1970; `accepted` is `--accept-clock`.
    fn start(&self, seconds: i64, accepted: bool) -> Life {
        let machine = Machine::at(seconds);
        let clock = Clock::start(machine.clone());
        if accepted {
            clock.accept();
        }
        let heads = self.log.heads();
        let service = Service::on_clock(self.log.clone(), heads, self.data.path(), clock, Vec::new());
        Life { client: service.client(), service, machine }
    }

    /// When each entry of every ledger was recorded. They are in order, each in its place.
    fn times(&self) -> Vec<Timestamp> {
        let mut of_program = Vec::new();
        for ledger in self.log.heads().into_keys() {
            let records = self.log.read(ledger, 0, usize::MAX).unwrap();
            let envelopes: Vec<_> =
                records.iter().map(|record| Envelope::parse(record.bytes()).unwrap()).collect();
            let times: Vec<Timestamp> = envelopes.iter().map(|entry| entry.recorded_at).collect();
            assert!(times.is_sorted(), "time ran back: {times:?}");
            assert!(envelopes.iter().map(|entry| entry.seq).eq(0..records.len() as u64));
            for entry in &envelopes {
                assert_eq!(entry.day.to_string(), entry.recorded_at.to_string()[..10], "the zone is UTC");
            }
            if ledger != LedgerId::REGISTRY {
                of_program = times;
            }
        }
        of_program
    }
}

fn person(n: u64) -> String {
    format!("00000000-0000-4000-8000-{n:012}")
}

const PAIR: &str = "00000000-0000-4000-8001-000000000001";

impl Life {
    fn stop(self) {
        drop(self.client);
        self.service.stop();
    }

    fn open(&mut self) -> Answer {
        self.client.post_keyed(
            "/v1/programs",
            "open",
            &json!({ "slug": "spring", "name": "Spring", "time_zone": "UTC" }),
        )
    }

    /// Enrols a person, under a key of their own.
    fn enrol(&mut self, n: u64) -> Answer {
        let path = format!("{PROGRAM}/commands/enrol");
        self.client.post_keyed(&path, &format!("k{n}"), &json!({ "participant": person(n) }))
    }

    fn propose(&mut self) -> Answer {
        let body = json!({ "pair": PAIR, "a": person(1), "b": person(2),
            "actor": format!("participant:{}", person(1)) });
        self.client.post(&format!("{PROGRAM}/commands/propose-pair"), &body)
    }

    fn accept(&mut self) -> Answer {
        let body = json!({ "pair": PAIR, "actor": format!("participant:{}", person(2)) });
        self.client.post_keyed(&format!("{PROGRAM}/commands/accept-pair"), "accept", &body)
    }

    fn summary(&mut self) -> Value {
        let answer = self.client.get(PROGRAM);
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.json()
    }

    fn size(&mut self) -> u64 {
        self.summary()["size"].as_u64().unwrap()
    }

    /// Nothing is recorded, whoever asks is told why, and everything else goes on.
    fn records_nothing(&mut self, asked_before: u64, first: &Answer) {
        let size = self.size();
        let refused = self.enrol(9_999);
        assert_eq!((refused.status, &refused.json()["code"]), (503, &json!("clock")), "{}", refused.text());
        assert!(refused.header("retry-after").is_some(), "{:?}", refused.headers);
        let ready = self.client.get("/readyz");
        assert_eq!((ready.status, &ready.json()["code"]), (503, &json!("clock")));
        assert_eq!(self.client.get("/healthz").status, 200);
        assert_eq!(self.client.get(&format!("{PROGRAM}/events")).status, 200);
        self.again(asked_before, first);
        assert_eq!(self.size(), size);
    }

    /// A repeated command is answered as the first time.
    fn again(&mut self, n: u64, first: &Answer) {
        let again = self.enrol(n);
        assert_eq!((again.status, again.header("idempotent-replayed")), (201, Some("true")));
        assert_eq!(again.body, first.body);
    }
}

/// A program with two people and a proposal between them, at the usual time.
fn begun(ground: &Ground) -> (Life, Answer) {
    let mut life = ground.start(Machine::START_SECONDS, false);
    assert_eq!(life.open().status, 201);
    let first = life.enrol(1);
    assert_eq!((first.status, life.enrol(2).status, life.propose().status), (201, 201, 201));
    (life, first)
}

/// The times to which clocks jump, as seconds from the usual one.
fn jumps() -> Vec<i64> {
    let to = |seconds: i64| seconds - Machine::START_SECONDS;
    vec![
        10 * DAY,
        -10 * DAY,
        to(0),
        to(-1),
        to(END_OF_I32 - 1),
        to(END_OF_I32),
        to(END_OF_U32),
        to(END_OF_U32 - 1),
    ]
}

#[test]
fn a_jump_under_a_running_service_records_nothing_until_the_clock_is_back() {
    for jump in jumps() {
        let ground = Ground::new();
        let (mut life, first) = begun(&ground);
        life.machine.jump(jump);
        life.records_nothing(1, &first);
        // However long it lasts: the writer's own time goes on, so the proposal is as old as it is.
        life.machine.advance(3 * 86_400);
        life.records_nothing(1, &first);
        life.machine.jump(-jump);
        assert_eq!((life.enrol(3).status, life.accept().status), (201, 201), "jump by {jump} s");
        life.stop();
        let times = ground.times();
        let start = Timestamp::from_micros(Machine::START_SECONDS * 1_000_000).unwrap();
        assert_eq!((times[0], times[times.len() - 1]), (start, start.plus_days(3)), "jump by {jump} s");
    }
}

#[test]
fn a_start_in_another_time_never_records_an_earlier_one_and_does_everything_once() {
    for jump in jumps() {
        let ground = Ground::new();
        let (life, first) = begun(&ground);
        life.stop();
        let elsewhere = Machine::START_SECONDS + jump;
        let before = ground.times();
        if jump < 0 {
            // The log is ahead of the clock: nobody knows which of them is right.
            let mut life = ground.start(elsewhere, false);
            life.records_nothing(1, &first);
            life.stop();
            assert_eq!(ground.times(), before);
        }
        let mut life = ground.start(elsewhere, jump < 0);
        life.again(1, &first);
        let (third, accepted) = (life.enrol(3), life.accept());
        assert_eq!(third.status, 201, "{}", third.text());
        if jump > 14 * DAY {
            assert_eq!((accepted.status, &accepted.json()["code"]), (409, &json!("proposal-expired")));
        } else {
            assert_eq!(accepted.status, 201, "{}", accepted.text());
        }
        life.stop();
        // And back where it was: now it is the log that is ahead, or nothing is.
        let last = *ground.times().last().unwrap();
        let start = Timestamp::from_micros(Machine::START_SECONDS * 1_000_000).unwrap();
        assert_eq!(last, start.plus_micros(jump.max(0) * 1_000_000), "jump by {jump} s");
        let mut life = ground.start(Machine::START_SECONDS + 60, false);
        if jump > 0 {
            life.records_nothing(3, &third);
            life.stop();
            life = ground.start(Machine::START_SECONDS + 60, true);
        }
        life.again(1, &first);
        life.again(3, &third);
        assert_eq!(life.enrol(4).status, 201);
        life.machine.jump(-10 * DAY);
        life.records_nothing(3, &third);
        life.stop();
        let times = ground.times();
        assert!(times[times.len() - 1] >= last, "jump by {jump} s: {times:?}");
        let enrolled = ground.start(Machine::START_SECONDS + 60, true).summary();
        assert_eq!(enrolled["participants"]["enrolled"], 4, "each once");
    }
}

#[test]
fn a_service_runs_through_the_ends_of_32_bits_and_out_of_1970() {
    for end in [0, END_OF_I32, END_OF_U32] {
        let ground = Ground::new();
        let mut life = ground.start(end - 2, false);
        assert_eq!(life.open().status, 201);
        let mut first = None;
        for n in 1..=4 {
            life.machine.advance(1);
            let answer = life.enrol(n);
            assert_eq!(answer.status, 201, "{}", answer.text());
            first.get_or_insert(answer);
        }
        let first = first.unwrap();
        assert_eq!(life.propose().status, 201);
        life.machine.advance(14 * 86_400 - 1);
        life.again(1, &first);
        let times = ground.times();
        let of = |seconds: i64| Timestamp::from_micros(seconds * 1_000_000).unwrap();
        assert_eq!(times, [-2, -1, 0, 1, 2, 2].map(|seconds| of(end + seconds)), "around {end}");
        life.stop();
        // After a restart the proposal has one second left, and then it has none.
        let mut life = ground.start(end + 2 + 14 * DAY - 1, false);
        let waiting = |life: &mut Life| life.summary()["pairs"]["proposed"].as_u64().unwrap();
        assert_eq!(waiting(&mut life), 1);
        life.machine.advance(2);
        let late = life.accept();
        assert_eq!((late.status, &late.json()["code"]), (409, &json!("proposal-expired")), "around {end}");
        life.again(1, &first);
        life.stop();
        ground.times();
    }
}

#[test]
fn a_machine_without_a_battery_begins_in_1970_and_goes_on_when_it_knows_the_time() {
    let ground = Ground::new();
    let mut life = ground.start(12, false);
    assert_eq!(life.open().status, 201);
    let first = life.enrol(1);
    assert_eq!((first.status, life.enrol(2).status, life.propose().status), (201, 201, 201));
    // The network tells it the time: nothing is recorded until a restart.
    life.machine.jump(Machine::START_SECONDS);
    life.records_nothing(1, &first);
    life.stop();
    let mut life = ground.start(Machine::START_SECONDS, false);
    life.again(1, &first);
    let accepted = life.accept();
    assert_eq!(accepted.json()["code"], "proposal-expired", "{}", accepted.text());
    assert_eq!(life.enrol(3).status, 201);
    let figures = life.client.get(&format!("{PROGRAM}/retention"));
    assert_eq!(figures.status, 200, "{}", figures.text());
    until("a scrape", || (life.client.get("/metrics").status == 200).then_some(()));
    life.stop();
    let days: Vec<String> = ground.times().iter().map(|time| time.to_string()[..10].to_owned()).collect();
    assert_eq!(days, ["1970-01-01", "1970-01-01", "1970-01-01", "1970-01-01", "2026-09-21"]);
}
