//! Holds a real server down as well as one machine can, and prints what a well-behaved client notices of it.
//!
//! `cargo bench --bench hold [-- --seconds 10 --rounds 3 --check --short]`
//! The crowd: 2,000 connections that send a head by the letter, 200 that send a body so, 1,000 that follow a program in
//! which nothing happens, and a stream of heads and bodies that are too large, too deep or ambiguous. Whoever is hung up
//! on comes back at once. Quiet and crowded stretches alternate, so that whatever else the machine does meets both.
//! Asked: p99 below 3 times the quiet one, and at most 64 MiB more memory; `--check` fails if it is not so. `--short`:
//! a tenth of the crowd and a moment of time, to see that it runs.

#![allow(
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a load tool may stop at the first surprise"
)]

use std::io::{self, BufRead, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::task::JoinSet;

/// A read every so often.
const READ_EVERY: Duration = Duration::from_millis(5);

/// A command every so often.
const COMMAND_EVERY: Duration = Duration::from_millis(20);

/// Something malformed every so often.
const MALFORMED_EVERY: Duration = Duration::from_millis(10);

/// How long those who are slow wait before they send a little more.
const DRIBBLE: Duration = Duration::from_secs(2);

/// What is asked.
const RATIO_MAX: f64 = 3.0;
const MEMORY_MAX_MIB: f64 = 64.0;

struct Server {
    child: Child,
    address: SocketAddr,
}

impl Server {
    fn start(data: &Path) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_mentorlog"))
            .args(["serve", "--listen", "127.0.0.1:0", "--data"])
            .arg(data)
            .env("MENTORLOG_LOG", "warn")
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        let address = line.trim().rsplit("http://").next().unwrap().parse().unwrap();
        Self { child, address }
    }

    /// A line of the process's status, in MiB: `VmRSS` is resident now, `VmHWM` was at most.
    fn memory(&self, name: &str) -> f64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).unwrap();
        line.split_whitespace().next().unwrap().parse::<f64>().unwrap() / 1024.0
    }

    /// From here on `VmHWM` is the most since now (proc(5), `clear_refs`).
    fn forget_peak(&self) {
        std::fs::write(format!("/proc/{}/clear_refs", self.child.id()), "5").unwrap();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// One connection of HTTP/1.1, well-behaved.
struct Connection(BufReader<TcpStream>);

impl Connection {
    fn open(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_nodelay(true).unwrap();
        Self(BufReader::new(stream))
    }

    fn ask(&mut self, method: &str, path: &str, body: &str) -> io::Result<(u16, Vec<u8>)> {
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        self.0.get_mut().write_all(request.as_bytes())?;
        let (mut line, mut status, mut length) = (String::new(), 0, 0);
        loop {
            line.clear();
            if self.0.read_line(&mut line)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let text = line.trim_end();
            if let Some(rest) = text.strip_prefix("HTTP/1.1 ") {
                status = rest[..3].parse().unwrap();
            } else if let Some(text) = text.strip_prefix("content-length: ") {
                length = text.parse().unwrap();
            } else if text.is_empty() {
                break;
            }
        }
        let mut body = vec![0; length];
        self.0.read_exact(&mut body)?;
        Ok((status, body))
    }

    fn metric(&mut self, name: &str) -> f64 {
        let (_, body) = self.ask("GET", "/metrics", "").unwrap();
        let text = String::from_utf8(body).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.unwrap().parse().unwrap()
    }
}

fn person(n: u64) -> String {
    format!("00000000-0000-4000-8000-{n:012x}")
}

/// Two programs: one in which things happen, one in which nothing does.
fn prepare(address: SocketAddr) {
    let mut connection = Connection::open(address);
    for slug in ["busy", "still"] {
        let body = format!("{{\"slug\":\"{slug}\",\"name\":\"{slug}\",\"time_zone\":\"UTC\"}}");
        assert_eq!(connection.ask("POST", "/v1/programs", &body).unwrap().0, 201);
    }
    for n in 0..100 {
        enrol(&mut connection, n).unwrap();
    }
}

fn enrol(connection: &mut Connection, n: u64) -> io::Result<()> {
    let body = format!("{{\"participant\":\"{}\",\"generation\":\"gen-x\"}}", person(n));
    let (status, answer) = connection.ask("POST", "/v1/programs/busy/commands/enrol", &body)?;
    assert_eq!(status, 201, "{}", String::from_utf8_lossy(&answer));
    Ok(())
}

/// Times of the answers of one kind.
#[derive(Default)]
struct Times(Vec<Duration>);

impl Times {
    fn at(&mut self, share: f64) -> f64 {
        self.0.sort_unstable();
        self.0[((self.0.len() - 1) as f64 * share) as usize].as_secs_f64() * 1e3
    }
}

/// What a stretch was like.
#[derive(Default)]
struct Stretch {
    reads: Times,
    commands: Times,
}

impl Stretch {
    fn add(&mut self, other: Self) {
        self.reads.0.extend(other.reads.0);
        self.commands.0.extend(other.commands.0);
    }
}

/// Behaves well for so long, on a connection for each kind of request, at an even pace.
fn behave(address: SocketAddr, lasting: Duration, next: &Arc<AtomicU64>) -> Stretch {
    let paced = move |every: Duration, mut once: Box<dyn FnMut(&mut Connection) + Send>| {
        thread::spawn(move || {
            let mut connection = Connection::open(address);
            let mut times = Times::default();
            let begun = Instant::now();
            let mut due = begun;
            while begun.elapsed() < lasting {
                thread::sleep(due.saturating_duration_since(Instant::now()));
                due += every;
                let sent = Instant::now();
                once(&mut connection);
                times.0.push(sent.elapsed());
            }
            times
        })
    };
    let mut turn = 0;
    let reads = paced(
        READ_EVERY,
        Box::new(move |connection| {
            turn = (turn + 1) % 3;
            let path = match turn {
                0 => "/v1/programs/busy".to_owned(),
                1 => format!("/v1/programs/busy/participants/{}", person(7)),
                _ => "/v1/programs/busy/events?from=3&limit=50".to_owned(),
            };
            assert_eq!(connection.ask("GET", &path, "").unwrap().0, 200);
        }),
    );
    let next = next.clone();
    let commands = paced(
        COMMAND_EVERY,
        Box::new(move |connection| enrol(connection, next.fetch_add(1, Ordering::Relaxed)).unwrap()),
    );
    Stretch { reads: reads.join().unwrap(), commands: commands.join().unwrap() }
}

/// How many there are of each kind.
#[derive(Clone, Copy)]
struct Crowd {
    heads: u64,
    bodies: u64,
    streams: u64,
}

impl Crowd {
    fn all(self) -> u64 {
        self.heads + self.bodies + self.streams
    }
}

/// Sends a beginning, then a little every now and then, until it is hung up on.
async fn dribble(address: SocketAddr, begun: &str, more: &str, first: Duration) -> io::Result<()> {
    let mut stream = tokio::net::TcpStream::connect(address).await?;
    stream.write_all(begun.as_bytes()).await?;
    let mut wait = first;
    let mut some = [0; 1024];
    loop {
        tokio::select! {
            read = stream.read(&mut some) => if read? == 0 { return Ok(()) },
            () = tokio::time::sleep(wait) => stream.write_all(more.as_bytes()).await?,
        }
        wait = DRIBBLE;
    }
}

/// Follows the program in which nothing happens.
async fn follow(address: SocketAddr) -> io::Result<()> {
    let mut stream = tokio::net::TcpStream::connect(address).await?;
    stream.write_all(b"GET /v1/programs/still/events/stream HTTP/1.1\r\nhost: localhost\r\n\r\n").await?;
    let mut some = [0; 1024];
    while stream.read(&mut some).await? > 0 {}
    Ok(())
}

/// Everything a server should refuse.
fn malformed() -> Vec<Vec<u8>> {
    let post = "POST /v1/programs HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n";
    let deep = "[".repeat(100_000);
    let large = "x".repeat(300 * 1024);
    let head = "y".repeat(100_000);
    let many = "x: y\r\n".repeat(500);
    [
        format!("GET /v1/programs HTTP/1.1\r\nhost: localhost\r\nx: {head}\r\n\r\n"),
        format!("GET /v1/programs HTTP/1.1\r\nhost: localhost\r\n{many}\r\n"),
        format!("GET /{head} HTTP/1.1\r\nhost: localhost\r\n\r\n"),
        format!("{post}content-length: {}\r\n\r\n{large}", large.len()),
        format!("{post}transfer-encoding: chunked\r\n\r\n{:x}\r\n{large}\r\n0\r\n\r\n", large.len()),
        format!("{post}content-length: {}\r\n\r\n{deep}", deep.len()),
        format!("{post}content-length: 5\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"),
        format!("{post}content-length: 5\r\ncontent-length: 6\r\n\r\nhello!"),
    ]
    .map(String::into_bytes)
    .to_vec()
}

/// Sends it and reads what comes; whoever is hung up on early has got what it deserves.
async fn offend(address: SocketAddr, bytes: &[u8]) -> io::Result<()> {
    let mut stream = tokio::net::TcpStream::connect(address).await?;
    let (mut reading, mut writing) = stream.split();
    let mut answer = [0; 16];
    let sent = async {
        let _ = writing.write_all(bytes).await;
        std::future::pending::<()>().await;
    };
    tokio::select! {
        () = sent => {}
        read = tokio::time::timeout(Duration::from_secs(20), reading.read(&mut answer)) => {
            let status = &answer[..read.map_err(|_| io::Error::other("no answer"))??];
            // Nothing of it is accepted, and nothing of it breaks anything.
            assert!(!status.starts_with(b"HTTP/1.1 2") && !status.starts_with(b"HTTP/1.1 500"), "{status:?}");
        }
    }
    Ok(())
}

/// The crowd, on a thread of its own, until it is told to go.
fn gather(address: SocketAddr, crowd: Crowd, gone: Arc<AtomicBool>) -> thread::JoinHandle<u64> {
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async move {
            let mut all = JoinSet::new();
            let post = "POST /v1/programs HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n";
            let head = "GET /v1/programs HTTP/1.1\r\nhost: localhost\r\n";
            let body = format!("{post}content-length: 100000\r\n\r\n{{");
            for n in 0..crowd.all() {
                let body = body.clone();
                // Spread over the time between two letters.
                let first = DRIBBLE.mul_f64(n as f64 / crowd.all() as f64);
                all.spawn(async move {
                    loop {
                        let _ = if n < crowd.heads {
                            dribble(address, head, "x: y\r\n", first).await
                        } else if n < crowd.heads + crowd.bodies {
                            dribble(address, &body, "0123456789", first).await
                        } else {
                            follow(address).await
                        };
                    }
                });
                if n % 64 == 0 {
                    tokio::task::yield_now().await;
                }
            }
            let (all_kinds, mut offences) = (malformed(), 0);
            while !gone.load(Ordering::Relaxed) {
                let due = Instant::now() + MALFORMED_EVERY;
                let _ = offend(address, &all_kinds[offences % all_kinds.len()]).await;
                offences += 1;
                tokio::time::sleep_until(due.into()).await;
            }
            offences as u64
        })
    })
}

/// Waits until the scrape shows what is wanted.
fn until(watcher: &mut Connection, name: &str, wanted: impl Fn(f64) -> bool) {
    let begun = Instant::now();
    loop {
        let shown = watcher.metric(name);
        if wanted(shown) {
            return;
        }
        assert!(begun.elapsed() < Duration::from_mins(1), "{name} is {shown}");
        thread::sleep(Duration::from_millis(50));
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let has = |name: &str| arguments.iter().any(|argument| argument == name);
    let value = |name: &str| {
        let at = arguments.iter().position(|argument| argument == name)?;
        arguments.get(at + 1)?.parse::<u64>().ok()
    };
    let (crowd, rounds, seconds) = if has("--short") {
        (Crowd { heads: 200, bodies: 20, streams: 100 }, 1, 2)
    } else {
        (Crowd { heads: 2000, bodies: 200, streams: 1000 }, 3, 10)
    };
    let (rounds, seconds) =
        (value("--rounds").unwrap_or(rounds), Duration::from_secs(value("--seconds").unwrap_or(seconds)));
    let files = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: files.maximum, maximum: files.maximum }).unwrap();

    let scratch = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let server = Server::start(&scratch.path().join("data"));
    let address = server.address;
    prepare(address);
    let next = Arc::new(AtomicU64::new(1000));
    const OPEN: &str = "mentorlog_http_connections";
    let mut watcher = Connection::open(address);
    // What is allocated once and for all, is.
    behave(address, seconds.min(Duration::from_secs(3)), &next);
    let (mut quiet, mut crowded) = (Stretch::default(), Stretch::default());
    let (mut offences, mut more, mut first) = (0, 0.0_f64, None);
    for round in 1..=rounds {
        until(&mut watcher, OPEN, |open| open < 10.0);
        let mut calm = behave(address, seconds, &next);
        // What a crowd leaves behind counts with the next one.
        let resident = *first.get_or_insert(server.memory("VmRSS"));
        server.forget_peak();
        let gone = Arc::new(AtomicBool::new(false));
        let gathered = gather(address, crowd, gone.clone());
        until(&mut watcher, OPEN, |open| open > crowd.all() as f64 * 0.95);
        let mut loud = behave(address, seconds, &next);
        let open = watcher.metric(OPEN);
        gone.store(true, Ordering::Relaxed);
        offences += gathered.join().unwrap();
        let peak = server.memory("VmHWM") - resident;
        more = more.max(peak);
        println!(
            "round {round}   reads p99 {:.2} -> {:.2} ms   commands p99 {:.2} -> {:.2} ms   {open} connections   {resident:.0} MiB, at most {peak:.0} more",
            calm.reads.at(0.99),
            loud.reads.at(0.99),
            calm.commands.at(0.99),
            loud.commands.at(0.99)
        );
        quiet.add(calm);
        crowded.add(loud);
    }
    let mut fits = more < MEMORY_MAX_MIB;
    for (name, quiet, crowded) in [
        ("reads   ", &mut quiet.reads, &mut crowded.reads),
        ("commands", &mut quiet.commands, &mut crowded.commands),
    ] {
        let ratio = crowded.at(0.99) / quiet.at(0.99);
        fits &= ratio < RATIO_MAX;
        println!(
            "{name}   quiet p50 {:.2} p99 {:.2} ms   held down p50 {:.2} p99 {:.2} ms   {ratio:.2} times ({} and {} answers)",
            quiet.at(0.5),
            quiet.at(0.99),
            crowded.at(0.5),
            crowded.at(0.99),
            quiet.0.len(),
            crowded.0.len()
        );
    }
    println!("memory     {more:.1} MiB more at most");
    for limit in ["connections", "requests", "waits", "bodies", "answers", "framing"] {
        let name = format!("mentorlog_http_turned_away_total{{limit=\"{limit}\"}}");
        print!("{limit} {}   ", watcher.metric(&name));
    }
    println!("turned away, of {offences} malformed requests and all others");
    for why in ["head", "idle", "stall", "age", "gave-way"] {
        let name = format!("mentorlog_http_connections_ended_total{{why=\"{why}\"}}");
        print!("{why} {}   ", watcher.metric(&name));
    }
    println!("hung up on");
    assert!(fits || !has("--check"), "more than is asked");
}
