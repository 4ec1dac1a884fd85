//! How long a page of a long ledger takes to its first byte, right after the ledger has grown and when nothing has
//! changed since, and what it weighs.
//!
//! `MENTORLOG_BENCH_EVENTS=1000000 cargo bench --bench pages`; without the variable a tenth of that.

#![allow(
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    reason = "a benchmark may stop at the first surprise"
)]

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mentorlog::access::kept::KeptTokens;
use mentorlog::clock::{Clock, Source};
use mentorlog::http::guard::Access;
use mentorlog::http::{self, App};
use mentorlog::keys::Keys;
use mentorlog::ledger::merkle::Tree;
use mentorlog::ledger::sled::{OpenOptions, SledLog};
use mentorlog::ledger::{Append, Log, Outcome};
use mentorlog::writer::Writer;
use mentorlog::writer::publisher::Publishing;
use mentorlog_events::id::LedgerId;
use mentorlog_events::record::Record;
use mentorlog_events::time::Timestamp;
use uuid::Uuid;

#[allow(dead_code, reason = "the measures use the rest of it")]
mod story;

use story::{PROGRAM, Story};

/// How often the ledger grows and every page is asked for.
const ROUNDS: usize = 7;

/// A wall clock that was set to an instant when it began.
struct Since(Instant, Timestamp);

impl Since {
    fn new(text: &str) -> Self {
        Self(Instant::now(), text.parse().unwrap())
    }
}

impl Source for Since {
    fn wall(&self) -> Timestamp {
        self.1.plus_minutes((self.0.elapsed().as_secs() / 60) as i64)
    }

    fn monotonic(&self) -> Duration {
        self.0.elapsed()
    }
}

/// An answer, with the time to its first byte.
struct Answer {
    first: Duration,
    status: u16,
    body: String,
}

fn ask(address: SocketAddr, request: &str) -> Answer {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_nodelay(true).unwrap();
    let begun = Instant::now();
    stream.write_all(request.as_bytes()).unwrap();
    let mut bytes = vec![0; 1];
    stream.read_exact(&mut bytes).unwrap();
    let first = begun.elapsed();
    stream.read_to_end(&mut bytes).unwrap();
    let text = String::from_utf8(bytes).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    Answer { first, status: head[9..12].parse().unwrap(), body: body.to_owned() }
}

fn get(address: SocketAddr, path: &str) -> Answer {
    ask(address, &format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n"))
}

fn post(address: SocketAddr, path: &str, body: &str) -> Answer {
    let length = body.len();
    ask(
        address,
        &format!(
            "POST {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-type: application/json\r\n\
             content-length: {length}\r\n\r\n{body}"
        ),
    )
}

/// Serves a data directory while `with` goes on.
fn serving(data: &Path, clock: Since, with: impl FnOnce(SocketAddr)) {
    let opened = SledLog::open(data, &OpenOptions::default()).unwrap();
    let sled = Arc::new(opened.log);
    let keys = Keys::open(data, false).unwrap();
    let secret = keys.of_ledger(LedgerId::REGISTRY);
    let log: Arc<dyn Log> = sled.clone();
    let begun = Instant::now();
    let (writer, running) =
        Writer::start(&log, opened.heads, keys, Clock::start(clock), Publishing::Off).unwrap();
    println!("started in {:.1?}", begun.elapsed());
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let app = Arc::new(App::new(writer, secret, Access::loopback(KeptTokens::in_memory())));
    let serving = runtime.spawn(http::serve(listener, app, async {
        let _ = stopped.await;
    }));
    with(address);
    drop(stop);
    runtime.block_on(serving).unwrap();
    drop(runtime);
    drop(log);
    running.join();
    sled.close().unwrap();
}

/// Tells the story after what the service has written of the program.
fn fill(data: &Path, events: u64) -> Vec<String> {
    serving(data, Since::new("2023-11-01T00:00:00Z"), |address| {
        let id = Uuid::from_u128(PROGRAM);
        let body =
            format!("{{\"program\":\"{id}\",\"slug\":\"bench\",\"name\":\"Bench\",\"time_zone\":\"UTC\"}}");
        let opened = post(address, "/v1/programs", &body);
        assert_eq!(opened.status, 201, "{}", opened.body);
    });
    let log = SledLog::open(data, &OpenOptions::default()).unwrap().log;
    let ledger = LedgerId(Uuid::from_u128(PROGRAM));
    let mut tree = Tree::new();
    let mut size = 0;
    for record in log.read(ledger, 0, 10).unwrap() {
        tree.push(record.leaf_hash());
        size += 1;
    }
    assert_eq!(size, 1, "the opening of the program");
    let mut story = Story::new(events);
    let mut things = Vec::new();
    while let Some(entries) = story.next_day() {
        for part in entries.chunks(2000) {
            let records: Vec<Record> =
                part.iter().filter(|entry| entry.seq > 0).map(|entry| entry.seal().unwrap()).collect();
            if things.len() < 2 {
                // The first person and the first pair.
                for record in &records {
                    let text = String::from_utf8_lossy(record.bytes()).into_owned();
                    let wanted = if things.is_empty() { "\"participant\":\"" } else { "\"pair\":\"" };
                    if things.len() < 2
                        && let Some((_, rest)) = text.split_once(wanted)
                    {
                        things.push(rest[..36].to_owned());
                    }
                }
            }
            for record in &records {
                tree.push(record.leaf_hash());
            }
            let count = records.len() as u64;
            let append = Append { ledger, expected_size: size, records, root: tree.root() };
            assert!(log.append(&[append]).iter().all(|outcome| matches!(outcome, Outcome::Ok)));
            size += count;
        }
    }
    log.close().unwrap();
    things
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

fn main() {
    let events: u64 =
        std::env::var("MENTORLOG_BENCH_EVENTS").map_or(100_000, |text| text.parse().expect("a number"));
    let scratch = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let things = fill(scratch.path(), events);
    let [person, pair] = &things[..] else { panic!("the story has a person and a pair") };
    let p = "/p/bench";
    let pages = [
        "/".to_owned(),
        "/definitions".to_owned(),
        p.to_owned(),
        format!("{p}/reciprocity"),
        format!("{p}/retention"),
        format!("{p}/retention?by=generation"),
        format!("{p}/retention?by=reciprocity"),
        format!("{p}/retention?subject=participants"),
        format!("{p}/retention?basis=activity"),
        format!("{p}/pairs"),
        format!("{p}/pairs?order=sessions"),
        format!("{p}/pairs/{pair}"),
        format!("{p}/participants"),
        format!("{p}/participants/{person}"),
        format!("{p}/suggestions"),
        format!("{p}/history"),
        format!("{p}/history?type=program-opened"),
        format!("{p}/history?about={pair}"),
        format!("{p}/history?behind=reciprocity"),
        format!("{p}/history?behind=retention"),
        format!("{p}/history?behind=weighted-reciprocity&part=numerator"),
        format!("{p}/history?behind=value-reciprocity&part=numerator"),
        format!("{p}/history?behind=reverse-share&part=numerator"),
        format!("{p}/history?behind=teaching-gini&part=denominator"),
        format!("{p}/history?behind=early-closure&part=numerator"),
        format!("{p}/history?behind=retention&part=numerator&basis=activity"),
        format!("{p}/sessions"),
        format!("{p}/sessions?order=newest&offset=5000"),
        format!("{p}/sessions?waiting=disputed"),
        format!("{p}/participants?unpaired=true"),
        format!("{p}/audit"),
        format!("{p}/audit?known_at=5000"),
        format!("{p}/published"),
        format!("{p}/reciprocity?as_of=2025-06-30"),
    ];
    serving(scratch.path(), Since::new("2026-11-01T00:00:00Z"), |address| {
        let mut times = vec![(Vec::new(), Vec::new(), 0); pages.len()];
        for round in 0..ROUNDS {
            for (page, (grown, kept, weight)) in pages.iter().zip(&mut times) {
                // One more entry: nothing that was computed before is right any more.
                let enrolled =
                    post(address, "/v1/programs/bench/commands/enrol", "{\"generation\":\"gen-x\"}");
                assert_eq!(enrolled.status, 201, "round {round}: {}", enrolled.body);
                let first = get(address, page);
                assert_eq!(first.status, 200, "{page}: {}", first.body);
                grown.push(first.first);
                kept.push(get(address, page).first);
                *weight = first.body.len();
            }
        }
        println!("{events} events; first byte, median of {ROUNDS} (most)\n");
        println!("{:<60} {:>22} {:>22} {:>10}", "page", "right after an entry", "again", "bytes");
        for (page, (grown, kept, weight)) in pages.iter().zip(times) {
            let page = page.replace(person, "<person>").replace(pair, "<pair>");
            let most = |times: &[Duration]| times.iter().max().copied().unwrap();
            let (slowest, again) = (most(&grown), most(&kept));
            println!(
                "{page:<60} {:>10.1?} ({slowest:>8.1?}) {:>10.1?} ({again:>8.1?}) {weight:>10}",
                median(grown),
                median(kept),
            );
        }
    });
}
