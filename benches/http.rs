//! Drives a real server over loopback and prints acknowledged commands a second and the times of answers.
//!
//! `cargo bench --bench http [-- --seconds 5 --only 1,64,half,batch --data DIR]`
//! Every acknowledgement is durable. The client is one thread of plain sockets, so that it takes little of the
//! machine from the server. Absolute figures drift: compare only what one run of `benches/compare` interleaves.

#![allow(
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::format_collect,
    reason = "a load tool may stop at the first surprise"
)]

use std::io::{BufRead, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use mentorlog_events::time::Timestamp;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const PAIRS: u64 = 1000;

struct Server {
    child: Child,
    address: String,
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
        let address = line.trim().rsplit("http://").next().unwrap().to_owned();
        Self { child, address }
    }

    /// Resident memory, in MiB.
    fn resident(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap_or_default();
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap_or_default();
        line.split_whitespace().nth(1).and_then(|kib| kib.parse::<u64>().ok()).unwrap_or(0) / 1024
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// One connection of HTTP/1.1.
struct Connection {
    stream: TcpStream,
    answer: Vec<u8>,
    request: Vec<u8>,
}

impl Connection {
    async fn open(address: &str) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream, answer: vec![0; 64 * 1024], request: Vec::with_capacity(4096) }
    }

    /// One figure of the server's own metrics.
    async fn metric(&mut self, name: &str) -> f64 {
        self.request.clear();
        self.request.extend_from_slice(b"GET /metrics HTTP/1.1\r\nhost: localhost\r\n\r\n");
        let (_, text) = self.exchange().await;
        let text = String::from_utf8_lossy(text).into_owned();
        let line = text.lines().find(|line| line.split(' ').next() == Some(name)).unwrap();
        line.rsplit(' ').next().unwrap().parse().unwrap()
    }

    /// Posts a body and returns the status and the answer's body.
    async fn post(&mut self, path: &str, media: &str, key: Option<u64>, body: &[u8]) -> (u16, &[u8]) {
        self.request.clear();
        write!(self.request, "POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: {media}\r\n").unwrap();
        if let Some(key) = key {
            write!(self.request, "idempotency-key: session-{key:016}\r\n").unwrap();
        }
        write!(self.request, "content-length: {}\r\n\r\n", body.len()).unwrap();
        self.request.extend_from_slice(body);
        self.exchange().await
    }

    async fn exchange(&mut self) -> (u16, &[u8]) {
        self.stream.write_all(&self.request).await.unwrap();
        let mut filled = 0;
        let (head, length) = loop {
            let read = self.stream.read(&mut self.answer[filled..]).await.unwrap();
            assert!(read > 0, "the server closed the connection");
            filled += read;
            if let Some(end) = find(&self.answer[..filled], b"\r\n\r\n") {
                let head = &self.answer[..end];
                let at = find(head, b"content-length: ").expect("a content-length") + 16;
                let digits = head[at..].iter().take_while(|b| b.is_ascii_digit());
                break (end + 4, digits.fold(0_usize, |n, b| n * 10 + usize::from(b - b'0')));
            }
        };
        if self.answer.len() < head + length {
            self.answer.resize(head + length, 0);
        }
        while filled < head + length {
            let read = self.stream.read(&mut self.answer[filled..]).await.unwrap();
            assert!(read > 0, "the server closed the connection");
            filled += read;
        }
        let status = self.answer[9..12].iter().fold(0, |n, b| n * 10 + u16::from(b - b'0'));
        (status, &self.answer[head..head + length])
    }
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    memchr::memmem::find(haystack, needle)
}

fn person(n: u64) -> String {
    format!("00000000-0000-4000-8000-{n:012x}")
}

fn pair(n: u64) -> String {
    format!("00000000-0000-4000-9000-{n:012x}")
}

/// The `n`th two-way session: no two of a pair overlap.
fn session(n: u64, start: Timestamp) -> String {
    let (of, slot) = (n % PAIRS, n / PAIRS);
    let at = start.plus_minutes(2 * i64::try_from(slot).unwrap());
    format!(
        "{{\"occurred_at\":\"{at}\",\"pair\":\"{}\",\"minutes\":2,\"mode\":\"video\",\"exchanges\":[\
         {{\"teacher\":\"{}\",\"skill\":\"rust\",\"minutes\":1}},{{\"teacher\":\"{}\",\"skill\":\"law\",\"minutes\":1}}]}}",
        pair(of),
        person(2 * of),
        person(2 * of + 1)
    )
}

/// Requests that are written once and then only patched where they differ: the client is not what is measured.
struct Sessions {
    /// Of each pair: its first session.
    bodies: Vec<Vec<u8>>,
    start: Timestamp,
}

/// Where a session's body has its instant.
const AT: usize = "{\"occurred_at\":\"".len();

impl Sessions {
    fn new(start: Timestamp) -> Self {
        Self { bodies: (0..PAIRS).map(|n| session(n, start).into_bytes()).collect(), start }
    }

    /// Writes the `n`th session at the end of `out`.
    fn write(&self, n: u64, out: &mut Vec<u8>) {
        let at = self.start.plus_minutes(2 * i64::try_from(n / PAIRS).unwrap());
        let from = out.len() + AT;
        out.extend_from_slice(&self.bodies[(n % PAIRS) as usize]);
        out[from..from + 27].copy_from_slice(at.write(&mut [0; 27]).as_bytes());
    }

    fn write_item(&self, n: u64, out: &mut Vec<u8>) {
        out.extend_from_slice(b"{\"command\":\"log-session\",\"key\":\"session-");
        let mut digits = [b'0'; 16];
        let mut rest = n;
        for digit in digits.iter_mut().rev() {
            *digit = b'0' + (rest % 10) as u8;
            rest /= 10;
        }
        out.extend_from_slice(&digits);
        out.extend_from_slice(b"\",\"data\":");
        self.write(n, out);
        out.extend_from_slice(b"}\n");
    }
}

async fn prepare(address: &str, start: Timestamp) {
    let mut connection = Connection::open(address).await;
    let body = "{\"slug\":\"load\",\"name\":\"Load\",\"time_zone\":\"UTC\",\
                \"policy\":{\"rules\":{\"backdating_days\":3650}}}";
    let (status, answer) = connection.post("/v1/programs", "application/json", None, body.as_bytes()).await;
    assert_eq!(status, 201, "{}", String::from_utf8_lossy(answer));
    let mut items = Vec::new();
    for n in 0..2 * PAIRS {
        let generation = if n % 2 == 0 { "boomer" } else { "gen-z" };
        let person = person(n);
        writeln!(
            items,
            "{{\"command\":\"import-participant\",\"data\":{{\"participant\":\"{person}\",\"generation\":\"{generation}\"}}}}"
        )
        .unwrap();
    }
    for n in 0..PAIRS {
        let (pair, a, b) = (pair(n), person(2 * n), person(2 * n + 1));
        writeln!(
            items,
            "{{\"command\":\"import-pair\",\"data\":{{\"pair\":\"{pair}\",\"a\":\"{a}\",\"b\":\"{b}\",\"started_at\":\"{start}\"}}}}"
        )
        .unwrap();
    }
    let (status, answer) =
        connection.post("/v1/programs/load/commands", "application/x-ndjson", None, &items).await;
    let answer = String::from_utf8_lossy(answer);
    assert!(status == 207 && !answer.contains("\"code\""), "{}", &answer[..answer.len().min(2000)]);
}

struct Figures {
    per_second: f64,
    p50: Duration,
    p99: Duration,
    /// Commands in a group, on average.
    a_group: f64,
    /// Time of an append, on average.
    append: Duration,
}

impl std::fmt::Display for Figures {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let millis = |duration: Duration| duration.as_secs_f64() * 1e3;
        let (p50, p99, append) = (millis(self.p50), millis(self.p99), millis(self.append));
        write!(f, "{:>9.0} commands/s   p50 {p50:>7.3} ms   p99 {p99:>7.3} ms", self.per_second)?;
        write!(f, "   {:>6.1} a group, appended in {append:>7.3} ms", self.a_group)
    }
}

/// What a stretch of load is.
#[derive(Clone, Copy)]
struct Shape {
    connections: usize,
    /// Items of each request.
    batch: u64,
    /// Most requests a second, of all connections together.
    rate: Option<f64>,
    lasting: Duration,
}

async fn load(address: &str, next: &Arc<AtomicU64>, sessions: &Arc<Sessions>, shape: Shape) -> Figures {
    let mut watcher = Connection::open(address).await;
    let groups_before = watcher.metric("mentorlog_append_groups_total").await;
    let seconds_before = watcher.metric("mentorlog_append_seconds_sum").await;
    let begun = Instant::now();
    let mut tasks = Vec::new();
    for index in 0..shape.connections {
        let (address, next, sessions) = (address.to_owned(), next.clone(), sessions.clone());
        tasks.push(tokio::spawn(async move {
            let Shape { connections, batch, rate, lasting } = shape;
            let mut connection = Connection::open(&address).await;
            let mut times = Vec::new();
            let mut body = Vec::new();
            let every = rate.map(|rate| Duration::from_secs_f64(connections as f64 / rate));
            let mut due = begun + every.unwrap_or_default().mul_f64(index as f64 / connections as f64);
            while begun.elapsed() < lasting {
                if let Some(every) = every {
                    tokio::time::sleep_until(due.into()).await;
                    due += every;
                }
                let first = next.fetch_add(batch, Ordering::Relaxed);
                body.clear();
                let (path, media, key) = if batch == 1 {
                    sessions.write(first, &mut body);
                    ("/v1/programs/load/commands/log-session", "application/json", Some(first))
                } else {
                    (first..first + batch).for_each(|n| sessions.write_item(n, &mut body));
                    ("/v1/programs/load/commands", "application/x-ndjson", None)
                };
                let sent = Instant::now();
                let (status, answer) = connection.post(path, media, key, &body).await;
                times.push(sent.elapsed());
                let fine = if batch == 1 {
                    status == 201
                } else {
                    status == 207 && find(answer, b"\"code\"").is_none()
                };
                assert!(fine, "{status}: {}", String::from_utf8_lossy(&answer[..answer.len().min(1000)]));
            }
            times
        }));
    }
    let mut times = Vec::new();
    for task in tasks {
        times.extend(task.await.unwrap());
    }
    let elapsed = begun.elapsed().as_secs_f64();
    times.sort_unstable();
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize];
    let groups = watcher.metric("mentorlog_append_groups_total").await - groups_before;
    let append_seconds = watcher.metric("mentorlog_append_seconds_sum").await - seconds_before;
    let commands = times.len() as f64 * shape.batch as f64;
    let (a_group, append) = (commands / groups, Duration::from_secs_f64(append_seconds / groups));
    Figures { per_second: commands / elapsed, p50: at(0.5), p99: at(0.99), a_group, append }
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let value =
        |name: &str| arguments.iter().position(|a| a == name).and_then(|at| arguments.get(at + 1)).cloned();
    let lasting = Duration::from_secs_f64(value("--seconds").map_or(4.0, |text| text.parse().unwrap()));
    let only = value("--only");
    let wanted = |name: &str| only.as_deref().is_none_or(|only| only.split(',').any(|part| part == name));
    let scratch = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let data = value("--data").map_or_else(|| scratch.path().join("data"), PathBuf::from);
    let server = Server::start(&data);
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    let start = Timestamp::nearest(i64::try_from(now.as_micros()).unwrap()).plus_days(-3600);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        prepare(&server.address, start).await;
        let next = Arc::new(AtomicU64::new(0));
        let sessions = Arc::new(Sessions::new(start));
        let shape = Shape { connections: 64, batch: 1, rate: None, lasting };
        if wanted("1") {
            let figures = load(&server.address, &next, &sessions, Shape { connections: 1, ..shape }).await;
            println!("single   1 connection             {figures}");
        }
        if wanted("64") || wanted("half") {
            let figures = load(&server.address, &next, &sessions, shape).await;
            println!("single  64 connections            {figures}");
            if wanted("half") {
                let rate = Some(figures.per_second / 2.0);
                let figures = load(&server.address, &next, &sessions, Shape { rate, ..shape }).await;
                println!("single  64 connections, half load {figures}");
            }
        }
        if wanted("batch") {
            let shape = Shape { connections: 4, batch: 1000, ..shape };
            let figures = load(&server.address, &next, &sessions, shape).await;
            println!("batch    4 connections x 1000     {figures}");
        }
        println!(
            "{} sessions logged; the server holds {} MiB",
            next.load(Ordering::Relaxed),
            server.resident()
        );
    });
}
