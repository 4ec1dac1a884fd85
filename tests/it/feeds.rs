//! The live feed: every entry once and in order, however often the reader or the service goes away.

use std::io::{BufRead, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use mentorlog::clock::Machine as Clock;
use mentorlog::ledger::memory::MemoryLog;
use mentorlog::ledger::{Append, Log, Outcome, ReadError};
use mentorlog_events::id::LedgerId;
use mentorlog_events::record::Record;
use serde_json::{Value, json};

use super::harness::{Chance, Client, DEADLINE, Process, Service};

/// One event of a stream, as a browser would hand it on.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
struct Told {
    id: Option<u64>,
    event: String,
    data: String,
}

/// Follows a stream. `None` from [`Follower::next`] is its end.
struct Follower {
    lines: BufReader<TcpStream>,
    left: Vec<u8>,
    ended: bool,
}

impl Follower {
    fn open(address: SocketAddr, path: &str, last: Option<u64>) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        let last = last.map(|last| format!("last-event-id: {last}\r\n")).unwrap_or_default();
        write!(&stream, "GET {path} HTTP/1.1\r\nhost: localhost\r\n{last}\r\n").unwrap();
        let mut lines = BufReader::new(stream);
        let mut line = String::new();
        lines.read_line(&mut line).unwrap();
        assert!(line.starts_with("HTTP/1.1 200"), "{line}");
        let mut head = String::new();
        while line.trim() != "" {
            line.clear();
            lines.read_line(&mut line).unwrap();
            head.push_str(&line);
        }
        for header in ["content-type: text/event-stream", "cache-control: no-store", "x-accel-buffering: no"]
        {
            assert!(head.contains(header), "{head}");
        }
        Self { lines, left: Vec::new(), ended: false }
    }

    /// One chunk more of the body, if there is one.
    fn more(&mut self) {
        let mut size = String::new();
        if self.lines.read_line(&mut size).unwrap_or(0) == 0 {
            self.ended = true;
            return;
        }
        let size = usize::from_str_radix(size.trim(), 16).unwrap();
        let mut chunk = vec![0; size + 2];
        if self.lines.read_exact(&mut chunk).is_err() || size == 0 {
            self.ended = true;
            return;
        }
        self.left.extend_from_slice(&chunk[..size]);
    }

    fn next(&mut self) -> Option<Told> {
        loop {
            if let Some(end) = self.left.windows(2).position(|two| two == b"\n\n") {
                let block: Vec<u8> = self.left.drain(..end + 2).collect();
                let mut told = Told::default();
                for line in std::str::from_utf8(&block).unwrap().lines() {
                    match line.split_once(": ") {
                        Some(("id", id)) => told.id = Some(id.parse().unwrap()),
                        Some(("event", event)) => event.clone_into(&mut told.event),
                        Some(("data", data)) => data.clone_into(&mut told.data),
                        _ => {}
                    }
                }
                if !told.event.is_empty() {
                    return Some(told);
                }
                continue;
            }
            if self.ended {
                return None;
            }
            self.more();
        }
    }

    /// Entries up to the next `caught-up`, which says how many there are.
    fn up_to_date(&mut self) -> (Vec<Told>, u64) {
        let mut told = Vec::new();
        loop {
            let next = self.next().expect("the stream goes on");
            if next.event == "caught-up" {
                let size = serde_json::from_str::<Value>(&next.data).unwrap()["size"].as_u64().unwrap();
                return (told, size);
            }
            told.push(next);
        }
    }
}

const STREAM: &str = "/v1/programs/spring/events/stream";

fn open_program(client: &mut Client) {
    let body = json!({ "slug": "spring", "name": "Spring", "time_zone": "UTC" });
    assert_eq!(client.post("/v1/programs", &body).status, 201);
}

fn define(client: &mut Client, n: u64) -> u64 {
    let answer =
        client.post("/v1/programs/spring/commands/define-skill", &json!({ "skill": format!("skill-{n}") }));
    assert_eq!(answer.status, 201, "{}", answer.text());
    answer.json()["events"][0]["seq"].as_u64().unwrap()
}

fn service(data: &tempfile::TempDir) -> Service {
    Service::start(
        Arc::new(MemoryLog::default()),
        std::collections::BTreeMap::new(),
        data.path(),
        Clock::default(),
    )
}

#[test]
fn a_stream_tells_what_there_is_then_that_it_is_all_then_what_comes() {
    let data = tempfile::tempdir().unwrap();
    let service = service(&data);
    let mut client = service.client();
    open_program(&mut client);
    for n in 0..600 {
        define(&mut client, n);
    }
    let mut follower = Follower::open(service.address, STREAM, None);
    let (told, size) = follower.up_to_date();
    assert_eq!(size, 601);
    let stored = client.get("/v1/programs/spring/events?limit=10000").json()["events"].clone();
    let stored: Vec<&Value> = stored.as_array().unwrap().iter().collect();
    assert_eq!(told.len(), 601);
    for (seq, (told, stored)) in told.iter().zip(stored).enumerate() {
        assert_eq!(told.id, Some(seq as u64));
        assert_eq!(told.event, stored["type"].as_str().unwrap());
        assert_eq!(serde_json::from_str::<Value>(&told.data).unwrap(), *stored);
    }
    for n in 1000..1010 {
        let seq = define(&mut client, n);
        assert_eq!(follower.next().unwrap().id, Some(seq));
    }
    // From a position, after an id, of one type; the id wins over where it once began.
    let (told, _) = Follower::open(service.address, &format!("{STREAM}?from=600"), None).up_to_date();
    assert_eq!(told.first().unwrap().id, Some(600));
    let (told, _) = Follower::open(service.address, &format!("{STREAM}?from=3"), Some(605)).up_to_date();
    assert_eq!(told.iter().map(|told| told.id.unwrap()).collect::<Vec<_>>(), [606, 607, 608, 609, 610]);
    let of_type = format!("{STREAM}?type=program-opened");
    let (told, size) = Follower::open(service.address, &of_type, None).up_to_date();
    assert_eq!((told.len(), told[0].id, size), (1, Some(0), 611));
    // The service ends its streams when it stops, and does not wait for their readers.
    service.stop();
    assert_eq!(follower.next(), None);
}

#[test]
fn whoever_saw_more_than_there_is_is_told_so() {
    let data = tempfile::tempdir().unwrap();
    let service = service(&data);
    let mut client = service.client();
    open_program(&mut client);
    let ask = |client: &mut Client, path: &str, last: &str| {
        let answer = client.send("GET", path, &[("last-event-id", last)], b"");
        (answer.status, answer.json()["code"].as_str().unwrap().to_owned())
    };
    assert_eq!(ask(&mut client, STREAM, "1"), (404, "not-found".to_owned()));
    // Neither is anybody who begins there told that they have caught up.
    let beyond = client.get(&format!("{STREAM}?from=2"));
    assert_eq!((beyond.status, &beyond.json()["size"]), (404, &json!(1)), "{}", beyond.text());
    assert_eq!(
        Follower::open(service.address, &format!("{STREAM}?from=1"), None).up_to_date(),
        (Vec::new(), 1)
    );
    for bad in ["", "x", "-1", "9007199254740991"] {
        assert_eq!(ask(&mut client, STREAM, bad), (400, "malformed-header".to_owned()), "{bad}");
    }
    let answer = client.get(&format!("{STREAM}?type=nothing-happened"));
    assert_eq!((answer.status, answer.json()["code"].as_str()), (400, Some("malformed-parameter")));
}

/// Readers that come and go, a service that is stopped and killed: each reader is told each entry once, in order.
#[test]
fn no_entry_is_lost_or_told_twice_across_reconnects_and_restarts() {
    const READERS: usize = 12;
    const ROUNDS: u64 = 4;
    const EACH: u64 = 60;
    let dir = tempfile::tempdir().unwrap();
    let (data, log) = (dir.path().join("data"), dir.path().join("log"));
    let mut chance = Chance::from_env("MENTORLOG_FEED_SEED");
    let mut seen: Vec<Vec<u64>> = vec![Vec::new(); READERS];
    let mut told_of = 0;
    for round in 0..ROUNDS {
        let process = Process::start(&data, &log);
        let mut client = process.client();
        if round == 0 {
            open_program(&mut client);
        }
        let done = Arc::new(AtomicBool::new(false));
        let address = process.address;
        let readers: Vec<_> = seen
            .drain(..)
            .enumerate()
            .map(|(n, mut seen)| {
                let mut chance = Chance::seeded(chance.next() ^ n as u64);
                let done = done.clone();
                thread::spawn(move || {
                    while !done.load(Ordering::Relaxed) {
                        let mut follower = Follower::open(address, STREAM, seen.last().copied());
                        // Hangs up after a while, in the middle of whatever there is.
                        let patience = 1 + chance.below(40);
                        for _ in 0..patience {
                            match follower.next() {
                                Some(told) => seen.extend(told.id),
                                None => return seen,
                            }
                            if done.load(Ordering::Relaxed) {
                                break;
                            }
                        }
                    }
                    seen
                })
            })
            .collect();
        for n in 0..EACH {
            told_of = define(&mut client, round * EACH + n);
        }
        done.store(true, Ordering::Relaxed);
        // One entry more wakes whoever is waiting.
        told_of = told_of.max(define(&mut client, 1_000_000 + round));
        if round % 2 == 0 {
            assert!(process.terminate().success());
        } else {
            process.kill();
        }
        seen = readers.into_iter().map(|reader| reader.join().unwrap()).collect();
    }
    let process = Process::start(&data, &log);
    for (n, mut seen) in seen.into_iter().enumerate() {
        let mut follower = Follower::open(process.address, STREAM, seen.last().copied());
        let (rest, size) = follower.up_to_date();
        seen.extend(rest.into_iter().filter_map(|told| told.id));
        assert_eq!(size, told_of + 1);
        assert!(seen.iter().copied().eq(0..size), "reader {n} saw {seen:?}");
    }
}

#[test]
fn the_history_comes_as_cloud_events_page_by_page() {
    let data = tempfile::tempdir().unwrap();
    let service = service(&data);
    let mut client = service.client();
    open_program(&mut client);
    for n in 0..20 {
        define(&mut client, n);
    }
    let (mut next, mut sequences) = (0_u64, Vec::new());
    while next < 21 {
        let path = format!("/v1/programs/spring/events?from={next}&limit=8");
        let answer = client.send("GET", &path, &[("accept", "application/cloudevents-batch+json")], b"");
        assert_eq!(answer.header("content-type"), Some("application/cloudevents-batch+json"));
        next = answer.header("mentorlog-next").unwrap().parse().unwrap();
        for event in answer.json().as_array().unwrap() {
            assert_eq!(event["specversion"], "1.0");
            sequences.push(event["sequence"].as_str().unwrap().parse::<u64>().unwrap());
        }
    }
    assert!(sequences.into_iter().eq(0..21));
}

/// A log of which nothing can be read any more from a position on, once that is said.
struct Damaged {
    inner: MemoryLog,
    from: AtomicU64,
    panics: AtomicBool,
}

impl Log for Damaged {
    fn read(&self, ledger: LedgerId, from: u64, limit: usize) -> Result<Vec<Record>, ReadError> {
        let reached = from + limit as u64 > self.from.load(Ordering::Relaxed);
        if reached && self.panics.load(Ordering::Relaxed) {
            // Without a word from the hook of panics: it is no fault of the test.
            std::panic::resume_unwind(Box::new("planned"));
        }
        if reached {
            return Err(ReadError::Damaged { ledger, seq: from, detail: "planned".into() });
        }
        self.inner.read(ledger, from, limit)
    }

    fn append(&self, appends: &[Append]) -> Vec<Outcome> {
        self.inner.append(appends)
    }
}

/// A status of 200 is long sent when the rest cannot be read: that the last chunk is missing is all that says so.
#[test]
fn a_history_that_breaks_off_has_no_end_and_one_that_is_whole_has() {
    let data = tempfile::tempdir().unwrap();
    let log = Arc::new(Damaged {
        inner: MemoryLog::default(),
        from: AtomicU64::new(u64::MAX),
        panics: AtomicBool::new(false),
    });
    let service =
        Service::start(log.clone(), std::collections::BTreeMap::new(), data.path(), Clock::default());
    let mut client = service.client();
    open_program(&mut client);
    let item = |n: u64| json!({ "command": "define-skill", "data": { "skill": format!("skill-{n}") } });
    let items: String = (0..4000).map(|n| format!("{}\n", item(n))).collect();
    let ndjson = [("content-type", "application/x-ndjson")];
    let told = client.send("POST", "/v1/programs/spring/commands", &ndjson, items.as_bytes());
    assert_eq!(told.status, 207);
    let read = || {
        let mut stream = TcpStream::connect(service.address).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        let path = "/v1/programs/spring/events";
        write!(
            stream,
            "GET {path} HTTP/1.1\r\nhost: localhost\r\naccept: application/x-ndjson\r\nconnection: close\r\n\r\n"
        )
        .unwrap();
        // A reset is as good a sign as an end without the last chunk.
        let mut answer = Vec::new();
        let reset = stream.read_to_end(&mut answer).is_err();
        let answer = String::from_utf8(answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer:.100}");
        assert!(
            answer.contains("transfer-encoding: chunked") && !answer.contains("content-length"),
            "{answer:.500}"
        );
        (answer.matches("\"seq\":").count(), answer.ends_with("\r\n0\r\n\r\n"), reset)
    };
    assert_eq!(read(), (4001, true, false));
    for panics in [false, true] {
        log.from.store(3000, Ordering::Relaxed);
        log.panics.store(panics, Ordering::Relaxed);
        let (entries, ended, _) = read();
        assert!(entries < 3000 && !ended, "{entries} entries, ended: {ended}, panics: {panics}");
        log.from.store(u64::MAX, Ordering::Relaxed);
    }
    assert_eq!(read(), (4001, true, false));
    service.stop();
}
