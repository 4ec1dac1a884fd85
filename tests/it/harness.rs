//! What the tests stand on: a client that sees every byte, a service in this process, one in its own, and chance.
//! Never sleeps to wait for something: it asks again until a deadline.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use mentorlog::access::kept::KeptTokens;
use mentorlog::clock::{Clock, Source};
use mentorlog::http::edge::{Limits, Times};
use mentorlog::http::guard::Access;
use mentorlog::http::{self, App};
use mentorlog::keys::{Keys, LedgerSecret};
use mentorlog::ledger::Log;
use mentorlog::ledger::merkle::Tree;
use mentorlog::people::{Kek, People, Stop};
use mentorlog::writer::published::Published;
use mentorlog::writer::publisher::Publishing;
use mentorlog::writer::witness::WitnessAddress;
use mentorlog::writer::{Running, StartError, Writer};
use mentorlog_events::id::LedgerId;
use mentorlog_events::time::Timestamp;
use serde_json::Value;

/// Nothing a test waits for takes longer.
pub const DEADLINE: Duration = Duration::from_mins(1);

/// Asks until the answer is there.
pub fn until<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(begun.elapsed() < DEADLINE, "waited too long for {what}");
        thread::sleep(Duration::from_millis(2));
    }
}

// ------------------------------------------------------------------------------------------------- chance

/// splitmix64 (Steele, Lea and Flood 2014): one seed, one sequence. Tells its seed when a test fails.
pub struct Chance {
    seed: u64,
    state: u64,
}

impl Chance {
    pub fn seeded(seed: u64) -> Self {
        Self { seed, state: seed.wrapping_mul(0x2545_f491_4f6c_dd1d) }
    }

    /// The seed in this environment variable, else one from the clock.
    pub fn from_env(variable: &str) -> Self {
        let given = std::env::var(variable).ok().map(|seed| seed.parse().expect("a seed is a number"));
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        Self::seeded(given.unwrap_or_else(|| u64::from(now.subsec_nanos()) ^ now.as_secs()))
    }

    pub fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    pub fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }
}

impl Drop for Chance {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("the seed was {}", self.seed);
        }
    }
}

// ------------------------------------------------------------------------------------------------- client

/// An answer, as it came.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(other, _)| other == name).map(|(_, value)| value.as_str())
    }

    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("answers are UTF-8")
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }
}

/// One connection, kept open between requests.
pub struct Client {
    address: SocketAddr,
    stream: Option<BufReader<TcpStream>>,
}

impl Client {
    pub fn new(address: SocketAddr) -> Self {
        Self { address, stream: None }
    }

    /// Sends these bytes and reads one answer.
    pub fn raw(&mut self, request: &[u8]) -> io::Result<Answer> {
        let mut stream = if let Some(stream) = self.stream.take() {
            stream
        } else {
            let stream = TcpStream::connect(self.address)?;
            stream.set_nodelay(true)?;
            stream.set_read_timeout(Some(DEADLINE))?;
            stream.set_write_timeout(Some(DEADLINE))?;
            BufReader::new(stream)
        };
        let written = stream.get_mut().write_all(request);
        // A server that has seen enough answers before it has read everything.
        let answer = match read_answer(&mut stream, request.starts_with(b"HEAD ")) {
            Ok(answer) => answer,
            Err(error) => return Err(written.err().unwrap_or(error)),
        };
        // After 413 the rest of the body stands in the way of the next request: the server closes.
        let closes = answer.header("connection") == Some("close") || answer.status == 413;
        if written.is_ok() && !closes {
            self.stream = Some(stream);
        }
        Ok(answer)
    }

    pub fn try_send(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> io::Result<Answer> {
        let mut request = Vec::new();
        write!(request, "{method} {path} HTTP/1.1\r\nhost: localhost\r\n")?;
        for (name, value) in headers {
            write!(request, "{name}: {value}\r\n")?;
        }
        if !body.is_empty() || method == "POST" {
            write!(request, "content-length: {}\r\n", body.len())?;
        }
        request.extend_from_slice(b"\r\n");
        request.extend_from_slice(body);
        self.raw(&request)
    }

    pub fn send(&mut self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        self.try_send(method, path, headers, body)
            .unwrap_or_else(|error| panic!("{method} {path} was not answered: {error}"))
    }

    pub fn get(&mut self, path: &str) -> Answer {
        self.send("GET", path, &[], b"")
    }

    pub fn post(&mut self, path: &str, body: &Value) -> Answer {
        self.send("POST", path, &[JSON], body.to_string().as_bytes())
    }

    pub fn post_keyed(&mut self, path: &str, key: &str, body: &Value) -> Answer {
        self.send("POST", path, &[JSON, ("idempotency-key", key)], body.to_string().as_bytes())
    }
}

pub const JSON: (&str, &str) = ("content-type", "application/json");
pub const NDJSON: (&str, &str) = ("content-type", "application/x-ndjson");

fn broken(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.to_owned())
}

fn read_answer(stream: &mut impl BufRead, is_head: bool) -> io::Result<Answer> {
    let mut line = String::new();
    let mut next = |stream: &mut dyn BufRead| -> io::Result<String> {
        line.clear();
        if stream.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(line.trim_end_matches(['\r', '\n']).to_owned())
    };
    let first = next(stream)?;
    let status = first.split(' ').nth(1).and_then(|status| status.parse().ok());
    let status = status.ok_or_else(|| broken("no status"))?;
    let mut headers = Vec::new();
    loop {
        let header = next(stream)?;
        let Some((name, value)) = header.split_once(':') else { break };
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    let mut answer = Answer { status, headers, body: Vec::new() };
    if is_head || matches!(status, 204 | 304) {
        return Ok(answer);
    }
    if answer.header("transfer-encoding") == Some("chunked") {
        loop {
            let size = usize::from_str_radix(&next(stream)?, 16).map_err(|_| broken("no chunk size"))?;
            let start = answer.body.len();
            answer.body.resize(start + size, 0);
            stream.read_exact(&mut answer.body[start..])?;
            next(stream)?;
            if size == 0 {
                return Ok(answer);
            }
        }
    }
    match answer.header("content-length").map(str::parse) {
        Some(Ok(length)) => {
            answer.body.resize(length, 0);
            stream.read_exact(&mut answer.body)?;
        }
        Some(Err(_)) => return Err(broken("no length")),
        None => drop(stream.read_to_end(&mut answer.body)?),
    }
    Ok(answer)
}

// -------------------------------------------------------------------------------------------------- clock

/// A machine whose clocks only tests move.
#[derive(Clone)]
pub struct Machine(Arc<Mutex<(i64, Duration)>>);

impl Machine {
    /// Monday 2026-09-21, 14:13:20 UTC.
    pub const START_SECONDS: i64 = 1_790_000_000;

    pub fn new() -> Self {
        Self::at(Self::START_SECONDS)
    }

    /// A machine that thinks it is so many seconds since 1970.
    pub fn at(seconds: i64) -> Self {
        Self(Arc::new(Mutex::new((seconds, Duration::ZERO))))
    }

    /// Lets time pass.
    pub fn advance(&self, seconds: u64) {
        let mut now = self.0.lock().unwrap();
        now.0 += i64::try_from(seconds).unwrap();
        now.1 += Duration::from_secs(seconds);
    }

    /// Sets the wall clock by so much.
    pub fn jump(&self, seconds: i64) {
        self.0.lock().unwrap().0 += seconds;
    }
}

impl Source for Machine {
    fn wall(&self) -> Timestamp {
        Timestamp::from_micros(self.0.lock().unwrap().0 * 1_000_000).unwrap()
    }

    fn monotonic(&self) -> Duration {
        self.0.lock().unwrap().1
    }
}

/// A key-encryption key: 32 bytes of `k`.
pub const KEK: &str = "a2tra2tra2tra2tra2tra2tra2tra2tra2tra2tra2s=";

// --------------------------------------------------------------------------------- service in this process

/// The service over a log of the test's, in this process.
pub struct Service {
    pub address: SocketAddr,
    pub published: Arc<Published>,
    stop: Option<tokio::sync::oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Service {
    pub fn start(
        log: Arc<impl Log>,
        heads: BTreeMap<LedgerId, Tree>,
        data: &Path,
        source: impl Source,
    ) -> Self {
        Self::witnessed(log, heads, data, source, Vec::new())
    }

    /// The same with witnesses that are asked to cosign the registry.
    pub fn witnessed(
        log: Arc<impl Log>,
        heads: BTreeMap<LedgerId, Tree>,
        data: &Path,
        source: impl Source,
        witnesses: Vec<WitnessAddress>,
    ) -> Self {
        Self::on_clock(log, heads, data, Clock::start(source), witnesses)
    }

    /// The same on a clock that was started already.
    pub fn on_clock(
        log: Arc<impl Log>,
        heads: BTreeMap<LedgerId, Tree>,
        data: &Path,
        clock: Clock,
        witnesses: Vec<WitnessAddress>,
    ) -> Self {
        let has_history = !heads.is_empty();
        let keys = Keys::open(data, has_history).unwrap();
        let secret = keys.of_ledger(LedgerId::REGISTRY);
        let log: Arc<dyn Log> = log;
        let publishing = Publishing::Into { data: data.to_owned(), witnesses };
        let (writer, running) = Writer::start(&log, heads, keys, clock, publishing).unwrap();
        Self::over(writer, running, secret, Access::loopback(KeptTokens::open(data).unwrap()))
    }

    /// The service from an empty log on, with these limits.
    pub fn within(limits: Limits, log: Arc<impl Log>, data: &Path) -> Self {
        let keys = Keys::open(data, false).unwrap();
        let secret = keys.of_ledger(LedgerId::REGISTRY);
        let log: Arc<dyn Log> = log;
        let clock = Clock::start(Machine::new());
        let (writer, running) = Writer::start(&log, BTreeMap::new(), keys, clock, Publishing::Off).unwrap();
        Self::limited(writer, running, secret, Access::loopback(KeptTokens::in_memory()), limits)
    }

    /// The service with a people store in the data directory; `stop` stops it before one of its file operations.
    pub fn sealing(
        log: Arc<impl Log>,
        heads: BTreeMap<LedgerId, Tree>,
        data: &Path,
        source: impl Source,
        stop: Option<Stop>,
    ) -> Result<Self, StartError> {
        let keys = Keys::open(data, !heads.is_empty()).unwrap();
        let secret = keys.of_ledger(LedgerId::REGISTRY);
        let log: Arc<dyn Log> = log;
        let kek = Kek::from_text(KEK, "a test").unwrap();
        let people = data.join("people");
        let open = |installation| People::open_stopping(&people, installation, Some(kek), stop);
        let clock = Clock::start(source);
        let (writer, running) = Writer::start_sealing(&log, heads, keys, clock, Publishing::Off, open)?;
        Ok(Self::over(writer, running, secret, Access::loopback(KeptTokens::in_memory())))
    }

    /// Strangers may knock as often as a test likes.
    pub fn over(writer: Writer, running: Running, secret: LedgerSecret, access: Access) -> Self {
        // However slow the machine is, a page is whole before its status goes out.
        let times = Times { first_byte: Duration::from_hours(1), ..Times::default() };
        Self::limited(writer, running, secret, access, Limits { strangers: None, times, ..Limits::default() })
    }

    pub fn limited(
        writer: Writer,
        running: Running,
        secret: LedgerSecret,
        access: Access,
        limits: Limits,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let published = writer.published().clone();
        let (stop, stopped) = tokio::sync::oneshot::channel();
        let thread = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
            let runtime = runtime.unwrap();
            runtime.block_on(async move {
                let listener = tokio::net::TcpListener::from_std(listener).unwrap();
                let app = Arc::new(App::new(writer, secret, access).limited(limits));
                let stop = async {
                    let _ = stopped.await;
                };
                http::serve(listener, app, stop).await;
            });
            drop(runtime);
            running.join();
        });
        Self { address, published, stop: Some(stop), thread: Some(thread) }
    }

    pub fn client(&self) -> Client {
        Client::new(self.address)
    }

    /// Ends it as SIGTERM does, and waits.
    pub fn stop(mut self) {
        self.end();
    }

    fn end(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let ended = thread.join();
            assert!(ended.is_ok() || thread::panicking(), "the service panicked");
        }
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.end();
    }
}

// ----------------------------------------------------------------------------- service in a process of its own

/// `mentorlog serve` in a process of its own, killed when dropped.
pub struct Process {
    child: Child,
    pub address: SocketAddr,
}

/// The program under test, with its output where a failure can be looked up. `MENTORLOG_PROGRAM` names another one than
/// was built with the tests.
pub fn serve(data: &Path, log: &Path) -> Command {
    let program = std::env::var_os("MENTORLOG_PROGRAM");
    let mut command = Command::new(program.unwrap_or_else(|| env!("CARGO_BIN_EXE_mentorlog").into()));
    let stderr = File::options().create(true).append(true).open(log).unwrap();
    command.arg("serve").arg("--data").arg(data).args(["--listen", "127.0.0.1:0"]);
    for name in ["MENTORLOG_DATA", "MENTORLOG_LISTEN", "MENTORLOG_TOKEN", "MENTORLOG_BEHIND_PROXY"] {
        command.env_remove(name);
    }
    command.env("NO_COLOR", "1");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(stderr);
    command
}

impl Process {
    pub fn start(data: &Path, log: &Path) -> Self {
        Self::started(serve(data, log), log)
    }

    /// The same with arguments of the test's.
    pub fn started(mut command: Command, log: &Path) -> Self {
        let mut child = command.spawn().unwrap();
        let mut line = String::new();
        // The line comes when the history has been read.
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address = line.trim().rsplit_once("http://").and_then(|(_, address)| address.parse().ok());
        let Some(address) = address else {
            let _ = child.kill();
            let _ = child.wait();
            panic!("the service did not start ({line:?}):\n{}", std::fs::read_to_string(log).unwrap());
        };
        Self { child, address }
    }

    pub fn client(&self) -> Client {
        Client::new(self.address)
    }

    /// The number of the process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// SIGKILL, at once.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// SIGTERM, and the way it ended.
    pub fn terminate(mut self) -> ExitStatus {
        let told = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status().unwrap();
        assert!(told.success());
        until("the end after SIGTERM", || self.child.try_wait().unwrap())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
