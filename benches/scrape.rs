//! Scrapes two real servers in turn, one with a short history and one with a long one, and compares the times.
//!
//! `cargo bench --bench scrape [-- --events 1000,1000000 --programs 10 --scrapes 2000]`
//! Both have the same programs with the same people; scrapes alternate, so that whatever else the machine does
//! meets both. The histories were recorded two weeks ago, as far as the servers' stores say, so that the
//! figures of programs are part of every scrape.

#![allow(
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::format_collect,
    reason = "a load tool may stop at the first surprise"
)]

use std::io::{BufRead, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use mentorlog::access::kept::KeptTokens;
use mentorlog::clock::{Clock, Source};
use mentorlog::http::guard::Access;
use mentorlog::http::{self, App};
use mentorlog::keys::Keys;
use mentorlog::ledger::Log;
use mentorlog::ledger::sled::{OpenOptions, SledLog};
use mentorlog::writer::Writer;
use mentorlog::writer::publisher::Publishing;
use mentorlog_events::id::LedgerId;
use mentorlog_events::time::Timestamp;

/// Pairs of each program.
const PAIRS: u64 = 20;

/// Items of a batch.
const BATCH: u64 = 1000;

/// Two weeks ago, whatever the machine says.
struct TwoWeeksAgo(Instant);

impl Source for TwoWeeksAgo {
    fn wall(&self) -> Timestamp {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
        Timestamp::nearest(i64::try_from(now.as_micros()).unwrap()).plus_days(-14)
    }

    fn monotonic(&self) -> Duration {
        self.0.elapsed()
    }
}

/// One connection of HTTP/1.1.
struct Connection(BufReader<TcpStream>);

impl Connection {
    fn open(address: &str) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_nodelay(true).unwrap();
        Self(BufReader::with_capacity(1 << 20, stream))
    }

    fn send(&mut self, request: &[u8]) -> (u16, Vec<u8>) {
        self.0.get_mut().write_all(request).unwrap();
        let (mut line, mut status, mut length) = (String::new(), 0, 0);
        loop {
            line.clear();
            assert!(self.0.read_line(&mut line).unwrap() > 0, "the server closed the connection");
            let text = line.trim_end();
            if status == 0 {
                status = text[9..12].parse().unwrap();
            } else if let Some(value) = text.strip_prefix("content-length: ") {
                length = value.parse().unwrap();
            } else if text.is_empty() {
                break;
            }
        }
        let mut body = vec![0; length];
        self.0.read_exact(&mut body).unwrap();
        (status, body)
    }

    fn post(&mut self, path: &str, media: &str, body: &str) -> String {
        let length = body.len();
        let request = format!(
            "POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: {media}\r\ncontent-length: {length}\r\n\r\n{body}"
        );
        let (status, answer) = self.send(request.as_bytes());
        let answer = String::from_utf8(answer).unwrap();
        assert!(
            [201, 207].contains(&status) && !answer.contains("\"code\""),
            "{}",
            &answer[..answer.len().min(1000)]
        );
        answer
    }

    fn scrape(&mut self) -> String {
        let (status, body) = self.send(b"GET /metrics HTTP/1.1\r\nhost: localhost\r\n\r\n");
        assert_eq!(status, 200);
        String::from_utf8(body).unwrap()
    }
}

fn person(n: u64) -> String {
    format!("00000000-0000-4000-8000-{n:012x}")
}

fn pair(n: u64) -> String {
    format!("00000000-0000-4000-9000-{n:012x}")
}

/// Fills a store through the service, its clock set back, until it holds that many events.
fn fill(data: &Path, programs: u64, events: u64) {
    let opened = SledLog::open(data, &OpenOptions::default()).unwrap();
    let sled = Arc::new(opened.log);
    let keys = Keys::open(data, false).unwrap();
    let secret = keys.of_ledger(LedgerId::REGISTRY);
    let log: Arc<dyn Log> = sled.clone();
    let (writer, running) =
        Writer::start(&log, opened.heads, keys, Clock::start(TwoWeeksAgo(Instant::now())), Publishing::Off)
            .unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let app = Arc::new(App::new(writer, secret, Access::loopback(KeptTokens::in_memory())));
    let serving = runtime.spawn(http::serve(listener, app, async {
        let _ = stopped.await;
    }));

    let mut connection = Connection::open(&address);
    let start = TwoWeeksAgo(Instant::now()).wall().plus_days(-3600);
    let mut left = events;
    for program in 0..programs {
        let body = format!(
            "{{\"slug\":\"p{program}\",\"name\":\"P\",\"time_zone\":\"UTC\",\"policy\":{{\"rules\":{{\"backdating_days\":3650}}}}}}"
        );
        connection.post("/v1/programs", "application/json", &body);
        let people = (0..2 * PAIRS).map(|n| {
            let generation = if n % 2 == 0 { "boomer" } else { "gen-z" };
            format!(
                "{{\"command\":\"import-participant\",\"data\":{{\"participant\":\"{}\",\"generation\":\"{generation}\"}}}}\n",
                person(n)
            )
        });
        let pairs = (0..PAIRS).map(|n| {
            format!(
                "{{\"command\":\"import-pair\",\"data\":{{\"pair\":\"{}\",\"a\":\"{}\",\"b\":\"{}\",\"started_at\":\"{start}\"}}}}\n",
                pair(n),
                person(2 * n),
                person(2 * n + 1)
            )
        });
        let commands = format!("/v1/programs/p{program}/commands");
        let body: String = people.chain(pairs).collect();
        let answer = connection.post(&commands, "application/x-ndjson", &body);
        let size = answer.rsplit_once("\"size\":").unwrap().1;
        let size: u64 = size.split(|c: char| !c.is_ascii_digit()).next().unwrap().parse().unwrap();
        let share = left / (programs - program);
        left -= share;
        let sessions = share.saturating_sub(size);
        let mut next = 0;
        while next < sessions {
            let end = (next + BATCH).min(sessions);
            let body: String = (next..end)
                .map(|n| {
                    let (of, slot) = (n % PAIRS, n / PAIRS);
                    let at = start.plus_minutes(2 * i64::try_from(slot).unwrap());
                    let (a, b) = (person(2 * of), person(2 * of + 1));
                    // Of every third pair only one side teaches.
                    let back = if of % 3 == 0 { &a } else { &b };
                    format!(
                        "{{\"command\":\"log-session\",\"occurred_at\":\"{at}\",\"data\":{{\"pair\":\"{}\",\"minutes\":2,\
                         \"mode\":\"video\",\"exchanges\":[{{\"teacher\":\"{a}\",\"skill\":\"rust\",\"minutes\":1}},\
                         {{\"teacher\":\"{back}\",\"skill\":\"law\",\"minutes\":1}}]}}}}\n",
                        pair(of)
                    )
                })
                .collect();
            connection.post(&commands, "application/x-ndjson", &body);
            next = end;
        }
    }
    drop(connection);
    drop(stop);
    runtime.block_on(serving).unwrap();
    drop(runtime);
    drop(log);
    running.join();
    sled.close().unwrap();
}

struct Server {
    child: Child,
    address: String,
    connection: Connection,
    times: Vec<Duration>,
    label: u64,
}

impl Server {
    fn start(data: &Path, label: u64) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_mentorlog"))
            .args(["serve", "--listen", "127.0.0.1:0", "--data"])
            .arg(data)
            .env("MENTORLOG_LOG", "warn")
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        let address = line.trim().rsplit("http://").next().unwrap().to_owned();
        let connection = Connection::open(&address);
        Self { child, address, connection, times: Vec::new(), label }
    }

    fn connect(&mut self) {
        self.connection = Connection::open(&self.address);
    }

    fn scrape(&mut self) {
        let begun = Instant::now();
        self.connection.scrape();
        self.times.push(begun.elapsed());
    }

    fn at(&self, share: f64) -> Duration {
        self.times[((self.times.len() - 1) as f64 * share) as usize]
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let value =
        |name: &str| arguments.iter().position(|a| a == name).and_then(|at| arguments.get(at + 1)).cloned();
    let sizes = value("--events").unwrap_or_else(|| "1000,1000000".into());
    let sizes: Vec<u64> = sizes.split(',').map(|size| size.parse().unwrap()).collect();
    let programs: u64 = value("--programs").map_or(10, |text| text.parse().unwrap());
    let scrapes: usize = value("--scrapes").map_or(2000, |text| text.parse().unwrap());
    let scratch = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let data = |events: u64| scratch.path().join(events.to_string());
    for &events in &sizes {
        fill(&data(events), programs, events);
    }
    let mut servers: Vec<Server> = sizes.iter().map(|&events| Server::start(&data(events), events)).collect();
    // A connection that says nothing for ten seconds is closed, and starting the last one may take longer.
    servers.iter_mut().for_each(Server::connect);
    for server in &mut servers {
        let text = server.connection.scrape();
        let of_programs = text.lines().filter(|line| line.contains("program=\"")).count();
        let events: u64 = text
            .lines()
            .filter(|line| line.starts_with("mentorlog_ledger_events_total{"))
            .map(|line| line.rsplit_once(' ').unwrap().1.parse::<u64>().unwrap())
            .sum();
        assert!(text.contains("mentorlog_exchanging_pairs{"), "the figures of programs are part of it");
        println!("{events:>9} events: {} bytes, {of_programs} series of {programs} programs", text.len());
        // The first ones are slower for reasons of their own.
        (0..scrapes.min(100)).for_each(|_| drop(server.connection.scrape()));
    }
    for round in 0..scrapes {
        // Each is first as often as last.
        if round % 2 == 0 {
            servers.iter_mut().for_each(Server::scrape);
        } else {
            servers.iter_mut().rev().for_each(Server::scrape);
        }
    }
    let micros = |duration: Duration| duration.as_secs_f64() * 1e6;
    for server in &mut servers {
        server.times.sort_unstable();
        let (p50, p99) = (micros(server.at(0.5)), micros(server.at(0.99)));
        println!("{:>9} events: p50 {p50:>8.0} us   p99 {p99:>8.0} us", server.label);
    }
    if let [short, .., long] = &servers[..] {
        let ratio = |share| micros(long.at(share)) / micros(short.at(share));
        println!("long / short:     p50 {:>8.2}      p99 {:>8.2}", ratio(0.5), ratio(0.99));
    }
}
