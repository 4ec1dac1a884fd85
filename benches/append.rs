//! Durable appends through the writer, without HTTP: 1, 16, 64 and 256 concurrent callers, and batches; then a
//! restart and a replay that decodes and re-hashes every entry.
//!
//! `cargo bench --bench append [-- --seconds 3 --events 1000000 --no-publish]`

#![allow(
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a benchmark may stop at the first surprise"
)]

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use mentorlog::clock::{Clock, Machine};
use mentorlog::keys::Keys;
use mentorlog::ledger::Log;
use mentorlog::ledger::merkle::Tree;
use mentorlog::ledger::sled::{OpenOptions, SledLog};
use mentorlog::rules::command::Command;
use mentorlog::writer::published::Published;
use mentorlog::writer::publisher::Publishing;
use mentorlog::writer::replay::{Replayed, replay};
use mentorlog::writer::{By, Caller, Idempotency, Running, Submission, Writer};
use mentorlog_events::entry::Actor;
use mentorlog_events::event::Event;
use mentorlog_events::id::{B64, LedgerId, ProgramId};
use mentorlog_events::time::Timestamp;

const PAIRS: u64 = 1000;

fn caller() -> Caller {
    Caller {
        actor: Actor::Manager,
        on_behalf_of: None,
        principal: "bench".parse().unwrap(),
        correlation: None,
        by: By::Operator,
    }
}

fn submission(name: &str, body: &str, key: Option<u64>) -> Submission {
    let idempotency = key.map(|key| {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&key.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes());
        bytes[8..].copy_from_slice(&key.to_be_bytes());
        Idempotency { key: B64(bytes), fp: B64([7; 16]) }
    });
    let command = Command::read(name, body.as_bytes()).unwrap();
    Submission { command, caller: caller(), expected_version: None, idempotency }
}

fn person(n: u64) -> String {
    format!("00000000-0000-4000-8000-{n:012x}")
}

fn pair(n: u64) -> String {
    format!("00000000-0000-4000-9000-{n:012x}")
}

fn session(n: u64, start: Timestamp) -> Submission {
    let (of, slot) = (n % PAIRS, n / PAIRS);
    let at = start.plus_minutes(2 * i64::try_from(slot).unwrap());
    let body = format!(
        "{{\"pair\":\"{}\",\"occurred_at\":\"{at}\",\"minutes\":2,\"mode\":\"video\",\"exchanges\":[\
         {{\"teacher\":\"{}\",\"skill\":\"rust\",\"minutes\":1}},{{\"teacher\":\"{}\",\"skill\":\"law\",\"minutes\":1}}]}}",
        pair(of),
        person(2 * of),
        person(2 * of + 1)
    );
    submission("log-session", &body, Some(n))
}

fn open(data: &Path, publish: bool) -> (Arc<SledLog>, Writer, Running, Duration) {
    let begun = Instant::now();
    let opened = SledLog::open(data, &OpenOptions::default()).unwrap();
    let sled = Arc::new(opened.log);
    let log: Arc<dyn Log> = sled.clone();
    let keys = Keys::open(data, !opened.heads.is_empty()).unwrap();
    let publishing = if publish {
        Publishing::Into { data: data.to_owned(), witnesses: Vec::new() }
    } else {
        Publishing::Off
    };
    let (writer, running) =
        Writer::start(&log, opened.heads, keys, Clock::start(Machine::default()), publishing).unwrap();
    (sled, writer, running, begun.elapsed())
}

async fn prepare(writer: &Writer, start: Timestamp) -> ProgramId {
    let body = "{\"slug\":\"load\",\"name\":\"Load\",\"time_zone\":\"UTC\",\
                \"policy\":{\"rules\":{\"backdating_days\":3650}}}";
    let Command::OpenProgram(opening) = Command::read("open-program", body.as_bytes()).unwrap() else {
        unreachable!()
    };
    let (program, _) = writer.open_program(opening, caller(), None).await.unwrap();
    let people = (0..2 * PAIRS)
        .map(|n| submission("import-participant", &format!("{{\"participant\":\"{}\"}}", person(n)), None));
    let pairs = (0..PAIRS).map(|n| {
        let (id, a, b) = (pair(n), person(2 * n), person(2 * n + 1));
        let body = format!("{{\"pair\":\"{id}\",\"a\":\"{a}\",\"b\":\"{b}\",\"started_at\":\"{start}\"}}");
        submission("import-pair", &body, None)
    });
    let answers = writer.submit_batch(program, people.chain(pairs).collect(), false).await.unwrap();
    assert!(answers.answers.iter().all(Result::is_ok));
    program
}

/// How long the oldest entry without a checkpoint has waited, looked at all the time.
struct Lag {
    most_micros: Arc<AtomicU64>,
    ended: Arc<AtomicBool>,
    thread: std::thread::JoinHandle<()>,
}

impl Lag {
    fn watch(published: Arc<Published>) -> Self {
        let (most_micros, ended) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let (most, end) = (most_micros.clone(), ended.clone());
        let thread = std::thread::spawn(move || {
            while !end.load(Ordering::Relaxed) {
                let now = published.clock.now().as_micros();
                let since = published.programs()[0].auditable.waiting_since();
                let waits = since.map_or(0, |since| now - since.as_micros());
                most.fetch_max(u64::try_from(waits).unwrap_or(0), Ordering::Relaxed);
                std::thread::sleep(Duration::from_millis(5));
            }
        });
        Self { most_micros, ended, thread }
    }

    /// The longest wait since it was asked last.
    fn take(&self) -> String {
        format!("checkpoint at most {:.2} s behind", self.most_micros.swap(0, Ordering::Relaxed) as f64 / 1e6)
    }

    fn end(self) {
        self.ended.store(true, Ordering::Relaxed);
        self.thread.join().unwrap();
    }
}

fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|kib| kib.parse::<u64>().ok()).unwrap_or(0) / 1024
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let value =
        |name: &str| arguments.iter().position(|a| a == name).and_then(|at| arguments.get(at + 1)).cloned();
    let lasting = Duration::from_secs_f64(value("--seconds").map_or(3.0, |text| text.parse().unwrap()));
    let wanted: u64 = value("--events").map_or(1_000_000, |text| text.parse().unwrap());
    let publish = !arguments.iter().any(|argument| argument == "--no-publish");
    println!("checkpoints are {}", if publish { "published" } else { "not published" });
    let scratch = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let data = scratch.path().join("data");
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let (sled, writer, running, _) = open(&data, publish);
    let start = writer.published().clock.now().plus_days(-3600);
    let program = runtime.block_on(prepare(&writer, start));
    let next = Arc::new(AtomicU64::new(0));
    let lag = publish.then(|| Lag::watch(writer.published().clone()));
    for callers in [1_usize, 16, 64, 256] {
        let begun = Instant::now();
        let tasks: Vec<_> = (0..callers)
            .map(|_| {
                let (writer, next) = (writer.clone(), next.clone());
                runtime.spawn(async move {
                    let mut done = 0_u64;
                    while begun.elapsed() < lasting {
                        let n = next.fetch_add(1, Ordering::Relaxed);
                        writer.submit(program, session(n, start)).await.unwrap();
                        done += 1;
                    }
                    done
                })
            })
            .collect();
        let done: u64 = tasks.into_iter().map(|task| runtime.block_on(task).unwrap()).sum();
        let vitals = &writer.published().vitals;
        let groups = vitals.groups.swap(0, Ordering::Relaxed).max(1);
        let per_second = done as f64 / begun.elapsed().as_secs_f64();
        println!(
            "append {callers:>4} callers {per_second:>9.0} events/s   {:>6.1} events a group   {}",
            done as f64 / groups as f64,
            lag.as_ref().map_or_else(String::new, Lag::take)
        );
    }
    let begun = Instant::now();
    let before = next.load(Ordering::Relaxed);
    while next.load(Ordering::Relaxed) < wanted.max(before) {
        let first = next.fetch_add(4000, Ordering::Relaxed);
        let batch = (first..first + 4000).map(|n| session(n, start)).collect();
        let answers = runtime.block_on(writer.submit_batch(program, batch, false)).unwrap();
        assert!(answers.answers.iter().all(Result::is_ok));
    }
    let appended = next.load(Ordering::Relaxed) - before;
    let per_second = appended as f64 / begun.elapsed().as_secs_f64();
    println!(
        "append batches of 4,000 {per_second:>9.0} events/s (parsing included, one after the other)   {}",
        lag.as_ref().map_or_else(String::new, Lag::take)
    );
    if let Some(lag) = lag {
        lag.end();
    }
    println!("{} sessions; {} MiB resident", next.load(Ordering::Relaxed), resident());
    drop(writer);
    running.join();
    sled.close().unwrap();
    drop(sled);
    let (sled, writer, running, took) = open(&data, publish);
    let size = writer.published().programs()[0].size();
    println!(
        "start with {size} entries: {:.2} s (both copies read and compared, state and read models rebuilt)",
        took.as_secs_f64()
    );
    println!("{} MiB resident after the start", resident());
    for (what, hash) in [("decoded", false), ("decoded and re-hashed", true)] {
        let begun = Instant::now();
        let mut tree = Tree::new();
        replay::<Event>(&*sled, LedgerId::from(program), 0..size, hash, |Replayed { leaf, .. }| {
            if hash {
                tree.push(*leaf);
            }
            Ok(())
        })
        .unwrap();
        if hash {
            assert_eq!(tree.root(), writer.published().programs()[0].view().root);
        }
        println!("replay {what:<22} {:>9.0} events/s", size as f64 / begun.elapsed().as_secs_f64());
    }
    drop(writer);
    running.join();
}
