//! A thousand readers of the live feed of one program while it grows, across a restart of the server: does each see each
//! entry once and in order, how late, and at what cost?
//!
//! `cargo bench --bench follow [-- --readers 1000 --rate 500 --seconds 20]`
//! The server is a process of its own, stopped by SIGTERM after the first stretch of that many seconds and started
//! again on the same address; readers come back by themselves, with `Last-Event-ID`. Ends with code 1 if a reader missed
//! an entry, saw one twice or out of order. Lag is the time from the moment before a command is posted to the moment
//! a reader has its entry whole, so it has the commit in it. Readers, writer and server share the machine.

#![allow(
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a load tool may stop at the first surprise"
)]

use std::cell::{Cell, RefCell};
use std::io::{BufRead, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Commands of a request.
const AT_ONCE: u64 = 5;

/// How long the last reader may take to have everything after the last command.
const PATIENCE: Duration = Duration::from_mins(1);

const PATH: &str = "/v1/programs/load/commands";

struct Server {
    child: Child,
}

impl Server {
    fn start(data: &Path, address: &str) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_mentorlog"))
            .args(["serve", "--listen", address, "--data"])
            .arg(data)
            .env("MENTORLOG_LOG", "warn")
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        assert!(line.trim().ends_with(address), "the server did not start: {line}");
        Self { child }
    }

    /// SIGTERM, and its end.
    fn stop(mut self) {
        let told = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status().unwrap();
        assert!(told.success());
        assert!(self.child.wait().unwrap().success(), "the server did not stop in order");
    }

    /// A line of `/proc/PID/status`, in MiB.
    fn memory(&self, name: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap_or_default();
        let line = status.lines().find(|line| line.starts_with(name)).unwrap_or_default();
        line.split_whitespace().nth(1).and_then(|kib| kib.parse::<u64>().ok()).unwrap_or(0) / 1024
    }

    fn cpu(&self) -> f64 {
        cpu(&self.child.id().to_string())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Seconds of both kinds of time a process has had.
fn cpu(process: &str) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
    let fields: Vec<u64> =
        stat.rsplit(')').next().unwrap().split_whitespace().filter_map(|field| field.parse().ok()).collect();
    // utime and stime are fields 14 and 15 (proc(5)), in hundredths of a second; state is no number.
    (fields[10] + fields[11]) as f64 / 100.0
}

/// How often each lag was seen, in steps of a tenth of a millisecond up to a minute.
struct Lags(Vec<u32>);

impl Lags {
    fn new() -> Self {
        Self(vec![0; 600_000])
    }

    fn add(&mut self, lag: Duration) {
        let at = (lag.as_micros() / 100) as usize;
        let last = self.0.len() - 1;
        self.0[at.min(last)] += 1;
    }

    /// In milliseconds.
    fn at(&self, share: f64) -> f64 {
        let all: u64 = self.0.iter().map(|count| u64::from(*count)).sum();
        let mut below = (all as f64 * share).ceil() as u64;
        for (at, count) in self.0.iter().enumerate() {
            below = below.saturating_sub(u64::from(*count));
            if below == 0 {
                return at as f64 / 10.0;
            }
        }
        0.0
    }

    fn say(&self) -> String {
        format!(
            "p50 {:>6.1} ms   p99 {:>6.1} ms   most {:>7.1} ms",
            self.at(0.5),
            self.at(0.99),
            self.at(1.0)
        )
    }
}

/// What everybody on this thread knows.
struct Hall {
    address: String,
    /// When the entry at a position was first posted.
    posted: RefCell<Vec<Instant>>,
    lags: RefCell<Lags>,
    /// Readers that are connected and have caught up.
    following: Cell<usize>,
    /// Connections made.
    connections: Cell<usize>,
    /// Connections that were not answered with a stream.
    turned_away: Cell<usize>,
    /// No reader connects again.
    over: Cell<bool>,
    faults: RefCell<Vec<String>>,
    bytes: Cell<u64>,
}

/// Somebody who follows the program from `from` on, whatever happens to the server.
struct Reader {
    name: usize,
    hall: Rc<Hall>,
    /// The position of the next entry.
    next: Rc<Cell<u64>>,
}

impl Reader {
    async fn follow(self, from: u64) {
        while !self.hall.over.get() {
            let begun = self.next.get();
            self.hall.connections.set(self.hall.connections.get() + 1);
            if self.once(from).await.is_none() {
                self.hall.turned_away.set(self.hall.turned_away.get() + 1);
            }
            // The service asks for two seconds; a third of that for the lag of a restart to be the server's, and not
            // all at the same moment.
            let pause = 300 + (self.name as u64 * 7919 + begun) % 400;
            tokio::time::sleep(Duration::from_millis(pause)).await;
        }
    }

    /// One connection, to its end. `None`: it was no stream.
    async fn once(&self, from: u64) -> Option<()> {
        let mut stream = TcpStream::connect(&self.hall.address).await.ok()?;
        let last = self.next.get().checked_sub(1).filter(|last| *last >= from);
        let last = last.map(|last| format!("last-event-id: {last}\r\n")).unwrap_or_default();
        let request = format!(
            "GET /v1/programs/load/events/stream?from={from} HTTP/1.1\r\nhost: localhost\r\n{last}\r\n"
        );
        stream.write_all(request.as_bytes()).await.ok()?;
        let mut chunks = Chunks::default();
        let mut head = Vec::new();
        let mut buffer = vec![0; 64 * 1024];
        let body = loop {
            let read = stream.read(&mut buffer).await.ok().filter(|read| *read > 0)?;
            head.extend_from_slice(&buffer[..read]);
            if let Some(end) = memchr::memmem::find(&head, b"\r\n\r\n") {
                break head.split_off(end + 4);
            }
        };
        if !head.starts_with(b"HTTP/1.1 200") {
            return None;
        }
        let mut caught_up = false;
        let mut told = Vec::new();
        let mut piece = body;
        loop {
            chunks.take(&piece, &mut told);
            self.hall.bytes.set(self.hall.bytes.get() + piece.len() as u64);
            let now = Instant::now();
            let mut done = 0;
            while let Some(end) = memchr::memmem::find(&told[done..], b"\n\n") {
                let event = &told[done..done + end];
                done += end + 2;
                if let Some(rest) = event.strip_prefix(b"id: ") {
                    let digits = rest.iter().take_while(|byte| byte.is_ascii_digit());
                    let seq = digits.fold(0_u64, |seq, byte| seq * 10 + u64::from(byte - b'0'));
                    self.entry(seq, now);
                } else if event.starts_with(b"event: caught-up") && !caught_up {
                    caught_up = true;
                    self.hall.following.set(self.hall.following.get() + 1);
                }
            }
            told.drain(..done);
            match stream.read(&mut buffer).await {
                Ok(read) if read > 0 => {
                    piece.clear();
                    piece.extend_from_slice(&buffer[..read]);
                }
                Ok(_) | Err(_) => break,
            }
        }
        if caught_up {
            self.hall.following.set(self.hall.following.get() - 1);
        }
        Some(())
    }

    fn entry(&self, seq: u64, now: Instant) {
        let wanted = self.next.get();
        if seq != wanted {
            self.hall.faults.borrow_mut().push(format!("reader {}: {seq} where {wanted} was due", self.name));
        }
        self.next.set(seq + 1);
        if let Some(posted) = self.hall.posted.borrow().get(seq as usize) {
            self.hall.lags.borrow_mut().add(now.saturating_duration_since(*posted));
        }
    }
}

/// A body in chunks (RFC 9112, section 7.1).
#[derive(Default)]
struct Chunks {
    /// Of the chunk that is being read.
    left: usize,
    /// A size, and the line end before it, as far as they have come.
    size: Vec<u8>,
}

impl Chunks {
    /// Takes the chunks' content out of what came.
    fn take(&mut self, mut bytes: &[u8], out: &mut Vec<u8>) {
        while !bytes.is_empty() {
            if self.left > 0 {
                let (now, later) = bytes.split_at(self.left.min(bytes.len()));
                out.extend_from_slice(now);
                self.left -= now.len();
                bytes = later;
                continue;
            }
            self.size.push(bytes[0]);
            bytes = &bytes[1..];
            let line = self.size.strip_prefix(b"\r\n").unwrap_or(&self.size);
            if let Some(digits) = line.strip_suffix(b"\r\n").filter(|digits| !digits.is_empty()) {
                self.left = usize::from_str_radix(std::str::from_utf8(digits).unwrap(), 16).unwrap();
                self.size.clear();
            }
        }
    }
}

/// Posts a body and returns status and answer. `None`: the connection broke.
async fn post(
    stream: &mut Option<TcpStream>,
    address: &str,
    path: &str,
    media: &str,
    body: &[u8],
) -> Option<(u16, Vec<u8>)> {
    if stream.is_none() {
        let opened = TcpStream::connect(address).await.ok()?;
        opened.set_nodelay(true).ok()?;
        *stream = Some(opened);
    }
    let connection = stream.as_mut()?;
    let mut request = Vec::with_capacity(body.len() + 200);
    write!(
        request,
        "POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: {media}\r\ncontent-length: {}\r\n\r\n",
        body.len()
    )
    .unwrap();
    request.extend_from_slice(body);
    let answered = async {
        connection.write_all(&request).await.ok()?;
        let mut answer = Vec::new();
        let mut buffer = vec![0; 16 * 1024];
        loop {
            let read = connection.read(&mut buffer).await.ok().filter(|read| *read > 0)?;
            answer.extend_from_slice(&buffer[..read]);
            let Some(end) = memchr::memmem::find(&answer, b"\r\n\r\n") else { continue };
            let head = String::from_utf8_lossy(&answer[..end]).to_ascii_lowercase();
            let length = head.split("content-length: ").nth(1).unwrap();
            let length: usize = length.split("\r\n").next().unwrap().parse().unwrap();
            if answer.len() >= end + 4 + length {
                let status = head[9..12].parse().unwrap();
                return Some((status, answer.split_off(end + 4)));
            }
        }
    };
    let answered = answered.await;
    if answered.is_none() {
        *stream = None;
    }
    answered
}

/// Whoever writes: at a rate, every command until it is acknowledged.
struct Writer {
    hall: Rc<Hall>,
    stream: Option<TcpStream>,
    /// The position the next entry gets.
    next: u64,
    /// Requests sent again.
    again: u64,
}

impl Writer {
    async fn prepare(hall: &Rc<Hall>) -> Self {
        let mut stream = None;
        let open = b"{\"slug\":\"load\",\"name\":\"Load\",\"time_zone\":\"UTC\"}";
        let (status, answer) =
            post(&mut stream, &hall.address, "/v1/programs", "application/json", open).await.unwrap();
        assert_eq!(status, 201, "{}", String::from_utf8_lossy(&answer));
        let items = format!(
            "{{\"command\":\"enrol\",\"data\":{{\"participant\":\"{PERSON}\",\"generation\":\"gen-x\"}}}}\n"
        );
        let (status, _) =
            post(&mut stream, &hall.address, PATH, "application/x-ndjson", items.as_bytes()).await.unwrap();
        assert_eq!(status, 207);
        Self { hall: hall.clone(), stream, next: 2, again: 0 }
    }

    /// One request of [`AT_ONCE`] commands, until it is answered.
    async fn write(&mut self) {
        let mut body = Vec::new();
        for seq in self.next..self.next + AT_ONCE {
            // Eight skills each way make an entry about as long as a session's.
            let skills = |from: u64| {
                (0..8)
                    .map(|n| format!("\"skill-{}\"", (seq * 31 + from + n) % 1000))
                    .collect::<Vec<_>>()
                    .join(",")
            };
            writeln!(
                body,
                "{{\"command\":\"update-skills\",\"key\":\"skills-{seq}\",\"data\":{{\"participant\":\"{PERSON}\",\
                 \"offered\":[{}],\"sought\":[{}]}}}}",
                skills(0),
                skills(500)
            )
            .unwrap();
        }
        let now = Instant::now();
        {
            let mut posted = self.hall.posted.borrow_mut();
            posted.resize((self.next + AT_ONCE) as usize, now);
        }
        loop {
            let address = self.hall.address.clone();
            let answer = post(&mut self.stream, &address, PATH, "application/x-ndjson", &body).await;
            match answer {
                Some((207, answer)) => {
                    let text = String::from_utf8_lossy(&answer);
                    if !text.contains("\"code\"") {
                        break;
                    }
                    // A stopping service refuses item by item.
                    assert!(text.contains("\"status\":503"), "{text}");
                }
                Some((503, _)) | None => {}
                Some((status, answer)) => panic!("{status}: {}", String::from_utf8_lossy(&answer)),
            }
            self.again += 1;
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        self.next += AT_ONCE;
    }

    async fn write_for(&mut self, lasting: Duration, rate: u64) {
        let begun = Instant::now();
        let every = Duration::from_secs_f64(AT_ONCE as f64 / rate as f64);
        let mut due = begun;
        while begun.elapsed() < lasting {
            tokio::time::sleep_until(due.into()).await;
            due += every;
            self.write().await;
        }
    }
}

const PERSON: &str = "00000000-0000-4000-8000-00000000000a";

async fn until(what: &str, mut ask: impl FnMut() -> bool) -> Duration {
    let begun = Instant::now();
    while !ask() {
        assert!(begun.elapsed() < PATIENCE, "{what}: not within {} s", PATIENCE.as_secs());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    begun.elapsed()
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    let value = |name: &str, otherwise: u64| {
        let at = arguments.iter().position(|argument| argument == name);
        at.and_then(|at| arguments.get(at + 1)).map_or(otherwise, |text| text.parse().unwrap())
    };
    let (readers, rate, seconds) =
        (value("--readers", 1000) as usize, value("--rate", 500), value("--seconds", 20));
    let lasting = Duration::from_secs(seconds);
    let scratch = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let data = scratch.path().join("data");
    // Free now; the server takes it, leaves it, and takes it again.
    let address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let tasks = tokio::task::LocalSet::new();
    tasks.block_on(&runtime, async {
        let mut server = Server::start(&data, &address);
        let hall = Rc::new(Hall {
            address: address.clone(),
            posted: RefCell::default(),
            lags: RefCell::new(Lags::new()),
            following: Cell::new(0),
            connections: Cell::new(0),
            turned_away: Cell::new(0),
            over: Cell::new(false),
            faults: RefCell::default(),
            bytes: Cell::new(0),
        });
        let mut writer = Writer::prepare(&hall).await;
        let from = writer.next;
        let mut positions = Vec::new();
        for name in 0..readers {
            let next = Rc::new(Cell::new(from));
            positions.push(next.clone());
            tokio::task::spawn_local(Reader { name, hall: hall.clone(), next }.follow(from));
        }
        let took = until("all follow", || hall.following.get() == readers).await;
        let idle = server.memory("VmRSS:");
        println!("{readers} readers follow after {:.2} s; the server holds {idle} MiB", took.as_secs_f64());

        let (own, theirs, bytes) = (cpu("self"), server.cpu(), hall.bytes.get());
        let begun = Instant::now();
        writer.write_for(lasting, rate).await;
        let all = |next: u64| positions.iter().all(|position| position.get() >= next);
        let end = writer.next;
        let behind = until("all have everything", || all(end)).await;
        let stretch = begun.elapsed().as_secs_f64();
        let events = writer.next - from;
        println!(
            "steady    {events} events in {stretch:.1} s ({:.0} a second), {:.0} MB/s to all readers",
            events as f64 / stretch,
            (hall.bytes.get() - bytes) as f64 / 1e6 / stretch
        );
        println!("          lag {}; all had the last {:.0} ms after its answer", hall.lags.borrow().say(), behind.as_secs_f64() * 1e3);
        println!(
            "          CPU: server {:.0} %, readers and writer {:.0} % of one core; server {} MiB, at most {} MiB",
            (server.cpu() - theirs) * 100.0 / stretch,
            (cpu("self") - own) * 100.0 / stretch,
            server.memory("VmRSS:"),
            server.memory("VmHWM:")
        );

        // The writer never stops; half the stretch into it the server does.
        *hall.lags.borrow_mut() = Lags::new();
        let (connections, before) = (hall.connections.get(), writer.next);
        let writing = tokio::task::spawn_local(async move {
            writer.write_for(lasting, rate).await;
            writer
        });
        tokio::time::sleep(lasting / 4).await;
        let (data, restarted) = (data.clone(), address.clone());
        let begun = Instant::now();
        let (stopped, again) = tokio::task::spawn_blocking(move || {
            server.stop();
            let stopped = begun.elapsed();
            server = Server::start(&data, &restarted);
            (stopped, server)
        })
        .await
        .unwrap();
        server = again;
        let up = begun.elapsed();
        until("all follow again", || hall.following.get() == readers).await;
        let back = begun.elapsed();
        let writer = writing.await.unwrap();
        until("all have everything", || all(writer.next)).await;
        println!(
            "restart   stopped in {:.2} s, up after {:.2} s, all {readers} follow again after {:.2} s ({} connections, {} turned away)",
            stopped.as_secs_f64(),
            up.as_secs_f64(),
            back.as_secs_f64(),
            hall.connections.get() - connections,
            hall.turned_away.get()
        );
        println!(
            "          {} events around it, {} requests sent again; lag {}; server {} MiB, at most {} MiB",
            writer.next - before,
            writer.again,
            hall.lags.borrow().say(),
            server.memory("VmRSS:"),
            server.memory("VmHWM:")
        );
        hall.over.set(true);
        let faults = hall.faults.borrow();
        let exact = positions.iter().filter(|position| position.get() == writer.next).count();
        println!(
            "{exact} of {readers} readers saw each of {} events once and in order; {} faults",
            writer.next - from,
            faults.len()
        );
        for fault in faults.iter().take(10) {
            println!("  {fault}");
        }
        if faults.is_empty() && exact == readers { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    })
}
