//! Clients that mean no good, or more than there is room for, over plain sockets: malformed, oversized, ambiguous,
//! half-closed, slow, greedy, another protocol, and words made to look like lines of a log.
//! After each of them a well-behaved request is answered as ever.

use std::fmt::Write as _;
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::num::NonZeroU32;
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::Duration;

use mentorlog::http::edge::rates::Rate;
use mentorlog::http::edge::seats::Room;
use mentorlog::http::edge::{Limits, Times};
use mentorlog::ledger::Log;
use mentorlog::ledger::memory::MemoryLog;
use serde_json::{Value, json};

use super::faults::{Gated, set};
use super::harness::{Answer, Client, DEADLINE, JSON, Process, Service, serve, until};
use super::http::Town;

/// Sends these bytes, hangs up its side, and reads to the end of the connection.
fn exchange(address: SocketAddr, bytes: &[u8]) -> String {
    converse(address, bytes, true)
}

/// Sends these bytes and reads until the server ends the connection.
fn converse(address: SocketAddr, bytes: &[u8], hangs_up: bool) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    // The server may have seen enough and closed before everything was sent.
    let _ = stream.write_all(bytes);
    if hangs_up {
        let _ = stream.shutdown(Shutdown::Write);
    }
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

fn is_well(address: SocketAddr) {
    assert_eq!(Client::new(address).get("/healthz").status, 200);
    assert_eq!(Client::new(address).get("/v1/programs").status, 200);
}

/// The status line's code, and the problem's if it is one.
fn verdict(answer: &str) -> (u16, Option<String>) {
    let status = answer.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0);
    let body = answer.split_once("\r\n\r\n").map(|(_, body)| body).unwrap_or_default();
    let code =
        serde_json::from_str::<Value>(body).ok().and_then(|body| body["code"].as_str().map(str::to_owned));
    (status, code)
}

#[test]
fn a_head_with_two_lengths_or_two_kinds_of_line_ends_is_refused_and_the_connection_closed() {
    let town = Town::new();
    let address = town.address();
    let bodies = "5\r\nhello\r\n0\r\n\r\nGET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n";
    for head in [
        "POST /v1/programs HTTP/1.1\r\nhost: localhost\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n",
        "POST /v1/programs HTTP/1.1\r\nhost: localhost\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n",
        "POST /v1/programs HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\n\r\n",
        "POST /v1/programs HTTP/1.1\nhost: localhost\ncontent-length: 0\n\n",
    ] {
        let answer = converse(address, format!("{head}{bodies}").as_bytes(), false);
        assert_eq!(verdict(&answer), (400, Some("malformed-header".to_owned())), "{head:?}: {answer}");
        assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "nothing behind it is answered: {answer}");
        is_well(address);
    }
    // A chunked body alone is as good as any.
    let head = "POST /v1/programs HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n";
    let head = head.replace("host:", "connection: close\r\nhost:");
    let answer = converse(address, format!("{head}2\r\n{{}}\r\n0\r\n\r\n").as_bytes(), false);
    assert_eq!(verdict(&answer), (400, Some("malformed".to_owned())), "{answer}");
}

#[test]
fn what_is_too_large_or_malformed_is_turned_away_and_nothing_breaks() {
    let town = Town::new();
    let address = town.address();
    let get = "GET /v1/programs HTTP/1.1\r\nhost: localhost\r\n";
    let many = (0..200).fold(String::new(), |mut many, n| {
        let _ = write!(many, "x-{n}: y\r\n");
        many
    });
    let attacks = [
        (format!("{get}x: {}\r\n\r\n", "y".repeat(100_000)), 431),
        (format!("{get}{many}\r\n"), 431),
        (format!("GET /{} HTTP/1.1\r\nhost: localhost\r\n\r\n", "x".repeat(70_000)), 431),
        (format!("{} / HTTP/1.1\r\nhost: localhost\r\n\r\n", "M".repeat(10_000)), 405),
        (format!("{get}content-length: 5\r\ncontent-length: 6\r\n\r\nhello"), 400),
        (format!("{get}content-length: -5\r\n\r\n"), 400),
        (format!("{get}transfer-encoding: gzip\r\n\r\n"), 400),
        ("\0\u{1}\u{2}\r\n\r\n".to_owned(), 400),
    ];
    for (attack, status) in attacks {
        let answer = exchange(address, attack.as_bytes());
        let first = &attack[..attack.len().min(60)];
        assert_eq!(verdict(&answer).0, status, "{first:?}: {answer}");
        is_well(address);
    }
    for size in ["zz", "ffffffffffffffffff", "-1", ""] {
        let head = "POST /v1/programs HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n";
        let answer = exchange(address, format!("{head}{size}\r\nhello\r\n0\r\n\r\n").as_bytes());
        assert_eq!(verdict(&answer).0, 400, "{size:?}: {answer}");
        is_well(address);
    }
}

#[test]
fn whoever_is_refused_while_still_sending_can_read_why() {
    let mut door = Door::with(Limits::default());
    door.open();
    let post = "POST /v1/programs HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n";
    let large = "x".repeat(1024 * 1024);
    for (begun, wanted) in [
        (format!("{post}content-length: {}\r\n\r\n", large.len()), (413, "too-large")),
        (format!("{post}transfer-encoding: chunked\r\n\r\n100000\r\n"), (413, "too-large")),
        (format!("{post}content-length: 5\r\ntransfer-encoding: chunked\r\n\r\n"), (400, "malformed-header")),
    ] {
        // The rest is on its way while the answer is: closing on it would take the answer back.
        let answer = converse(door.address(), format!("{begun}{large}").as_bytes(), false);
        assert_eq!(verdict(&answer), (wanted.0, Some(wanted.1.to_owned())), "{begun}: {answer}");
    }
}

#[test]
fn json_that_is_100_000_deep_is_malformed() {
    let town = Town::new();
    let mut client = Client::new(town.address());
    for open in ["[", "{\"a\":"] {
        let body = open.repeat(100_000 / open.len());
        let answer = client.send("POST", "/v1/programs", &[JSON], body.as_bytes());
        assert_eq!((answer.status, answer.json()["code"].as_str()), (400, Some("malformed")));
    }
    is_well(town.address());
}

#[test]
fn requests_sent_ahead_are_answered_in_order() {
    let town = Town::new();
    let one = |path: &str| format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n");
    let last = one("/v1/programs").replace("host:", "connection: close\r\nhost:");
    let all = [one("/healthz"), one("/v1/nothing"), last].concat();
    let answer = converse(town.address(), all.as_bytes(), false);
    let statuses: Vec<&str> = answer.split("HTTP/1.1 ").skip(1).map(|answer| &answer[..3]).collect();
    assert_eq!(statuses, ["200", "404", "200"]);
}

#[test]
fn every_answer_has_an_id_and_only_a_plain_one_is_the_clients() {
    let town = Town::new();
    let mut client = Client::new(town.address());
    let mut id = |given: &str| {
        let answer = client.send("GET", "/v1/nothing", &[("x-request-id", given)], b"");
        answer.header("x-request-id").expect("an id").to_owned()
    };
    assert_eq!(id("mine-1.2_3"), "mine-1.2_3");
    for bad in ["a b", "a\"b", "<script>", "\u{2028}"] {
        assert_eq!(id(bad).len(), 36, "{bad:?}");
    }
}

#[test]
fn http_2_is_spoken_with_prior_knowledge() {
    let town = Town::new();
    let mut stream = TcpStream::connect(town.address()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    // The preface in two parts: told apart all the same. Then an empty SETTINGS frame (RFC 9113, section 6.5).
    stream.write_all(b"PRI * HTTP/2.0\r\n").unwrap();
    stream.write_all(b"\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").unwrap();
    let mut head = [0; 9];
    stream.read_exact(&mut head).unwrap();
    assert_eq!((head[3], &head[5..]), (4, &[0, 0, 0, 0][..]), "its SETTINGS");
    is_well(town.address());
}

#[test]
fn who_has_asked_and_closes_its_side_still_gets_its_answer() {
    let mut door = Door::with(Limits::default());
    door.open();
    let body = r#"{"slug":"autumn","name":"Autumn","time_zone":"UTC"}"#;
    let post = format!(
        "POST /v1/programs HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    assert_eq!(verdict(&exchange(door.address(), post.as_bytes())).0, 201);
    // Also one that takes its time.
    let poll = "GET /v1/programs/spring/events?from=1&wait=1 HTTP/1.1\r\nhost: localhost\r\n\r\n";
    assert_eq!(verdict(&exchange(door.address(), poll.as_bytes())).0, 200);
}

// --------------------------------------------------------------------------------------------------- limits

/// A service with limits of the test's.
struct Door {
    service: Service,
    client: Client,
    /// What shows who asks, once that is needed.
    token: Option<String>,
    _data: tempfile::TempDir,
}

/// The usual times, each a fiftieth or less.
const SHORT: Times = Times {
    sweep: Duration::from_millis(10),
    body_grace: Duration::from_millis(100),
    body: Duration::from_millis(400),
    drain: Duration::from_millis(400),
    first_byte: Duration::from_millis(50),
};

fn few(n: u32) -> NonZeroU32 {
    NonZeroU32::new(n).unwrap()
}

impl Door {
    fn with(limits: Limits) -> Self {
        Self::over(Arc::new(MemoryLog::new()), limits)
    }

    fn over(log: Arc<impl Log>, limits: Limits) -> Self {
        let data = tempfile::tempdir().unwrap();
        let service = Service::within(limits, log, data.path());
        let client = service.client();
        Self { service, client, token: None, _data: data }
    }

    fn address(&self) -> SocketAddr {
        self.service.address
    }

    /// With the program `spring`, which is one entry.
    fn open(&mut self) {
        let body = json!({ "slug": "spring", "name": "Spring", "time_zone": "UTC" });
        assert_eq!(self.client.post("/v1/programs", &body).status, 201);
    }

    /// With a token, which everybody needs from then on.
    fn lock(&mut self) {
        self.token = Some(self.issue("ops", "admin"));
    }

    fn issue(&mut self, principal: &str, role: &str) -> String {
        let body = json!({ "principal": principal, "role": role }).to_string();
        let token = self.token.clone().unwrap_or_default();
        let mut headers = vec![JSON];
        headers.extend((!token.is_empty()).then_some(("authorization", token.as_str())));
        let answer = self.client.send("POST", "/v1/tokens", &headers, body.as_bytes());
        assert_eq!(answer.status, 201, "{}", answer.text());
        format!("Bearer {}", answer.json()["secret"].as_str().unwrap())
    }

    fn get(&mut self, path: &str) -> Answer {
        let token = self.token.clone();
        let headers: Vec<_> = token.iter().map(|token| ("authorization", token.as_str())).collect();
        self.client.send("GET", path, &headers, b"")
    }

    /// What a scrape shows of this series.
    fn shows(&mut self, series: &str) -> u64 {
        let scrape = self.get("/metrics");
        let line = scrape.text().lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("{series} is not in {}", scrape.text())).parse().unwrap()
    }

    /// Waits until the scrape shows so many.
    fn until_shown(&mut self, series: &str, count: u64) {
        until(series, || (self.shows(series) >= count).then_some(()));
    }

    fn turned_away(&mut self, limit: &str) -> u64 {
        self.shows(&format!("mentorlog_http_turned_away_total{{limit=\"{limit}\"}}"))
    }

    /// Sends a request and leaves it at that.
    fn ask(&self, path: &str) -> BufReader<TcpStream> {
        let stream = TcpStream::connect(self.address()).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        let token =
            self.token.as_ref().map(|token| format!("authorization: {token}\r\n")).unwrap_or_default();
        write!(&stream, "GET {path} HTTP/1.1\r\nhost: localhost\r\n{token}\r\n").unwrap();
        BufReader::new(stream)
    }

    /// Polls for what does not come.
    fn poll(&self) -> BufReader<TcpStream> {
        self.ask("/v1/programs/spring/events?from=1&wait=60")
    }

    /// Reads the first line of an answer.
    fn first_line(stream: &mut BufReader<TcpStream>) -> String {
        let mut line = String::new();
        stream.read_line(&mut line).unwrap();
        line
    }
}

const WAITING: &str = "mentorlog_http_requests_under_way{doing=\"wait\"}";
const WORKING: &str = "mentorlog_http_requests_under_way{doing=\"work\"}";

fn ended(why: &str) -> String {
    format!("mentorlog_http_connections_ended_total{{why=\"{why}\"}}")
}

#[test]
fn whoever_asks_too_often_is_told_when_to_come_again_and_others_are_not() {
    let mut door = Door::with(Limits { rate: Rate::PerSecond(few(1)), ..Limits::default() });
    door.lock();
    let (greedy, modest) = (door.issue("greedy", "auditor"), door.issue("modest", "scraper"));
    let address = door.address();
    let mut client = Client::new(address);
    let mut ask = |token: &str, path: &str| client.send("GET", path, &[("authorization", token)], b"");
    let first = ask(&greedy, "/v1/programs");
    assert_eq!(first.status, 200);
    assert_eq!(first.header("ratelimit-policy"), Some("\"default\";q=10;w=10"));
    assert_eq!(first.header("ratelimit"), Some("\"default\";r=9;t=1"));
    // Ten at once are its due; a slow machine gives some back meanwhile.
    let (refused, asked) = {
        let mut asked = 1;
        let refused = until("the end of a quota", || {
            asked += 1;
            Some(ask(&greedy, "/v1/programs")).filter(|answer| answer.status != 200)
        });
        (refused, asked)
    };
    assert!(asked > 10, "{asked}");
    assert_eq!(refused.status, 429);
    for (name, value) in [
        ("content-type", "application/problem+json"),
        ("retry-after", "1"),
        ("ratelimit-policy", "\"default\";q=10;w=10"),
        ("ratelimit", "\"default\";r=0;t=10"),
        ("cache-control", "no-store"),
    ] {
        assert_eq!(refused.header(name), Some(value), "{name}");
    }
    insta::assert_json_snapshot!("rate_limited", refused.json());
    // What nobody needs a token for counts, too, if one is shown; without one it does not.
    assert_eq!(ask(&greedy, "/healthz").status, 429);
    assert_eq!(Client::new(address).get("/healthz").status, 200);
    let scrape = ask(&modest, "/metrics");
    assert_eq!(scrape.status, 200, "another has its own quota");
    assert!(scrape.text().contains("mentorlog_http_turned_away_total{limit=\"quota\"}"));
    assert!(!scrape.text().contains("mentorlog_http_turned_away_total{limit=\"quota\"} 0"));
}

#[test]
fn strangers_of_one_place_are_soon_answered_no_more_and_whoever_has_a_token_there_is() {
    let mut door = Door::with(Limits { strangers: Some(few(3)), ..Limits::default() });
    door.lock();
    let mut stranger = Client::new(door.address());
    // A browser that is not logged in is shown the form, however often others behind the same proxy were.
    for _ in 0..10 {
        assert_eq!(stranger.get("/").status, 401);
    }
    let wrong = "Bearer mtk_6e6f626f6479000000000000_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
    let mut knock = |headers: &[(&str, &str)]| stranger.send("GET", "/v1/programs", headers, b"");
    for headers in [&[][..], &[("authorization", wrong)], &[("authorization", "Basic YTpi")]] {
        let answer = knock(headers);
        assert_eq!((answer.status, answer.header("www-authenticate").is_some()), (401, true));
        assert_eq!(answer.header("ratelimit"), None, "strangers are told nothing of anybody's quota");
    }
    let refused = until("the end of patience", || Some(knock(&[])).filter(|answer| answer.status != 401));
    assert_eq!(refused.status, 429);
    assert_eq!(refused.json()["code"], "rate-limited");
    assert_eq!(refused.header("connection"), Some("close"), "each further try costs a connection");
    let wait: u64 = refused.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=20).contains(&wait), "{wait}");
    assert_eq!(door.get("/v1/programs").status, 200);
    assert!(door.turned_away("strangers") >= 1);
}

#[test]
fn one_request_too_many_is_told_so_at_once_and_whoever_watches_is_answered_all_the_same() {
    let gate = Arc::new((Mutex::new(true), Condvar::new()));
    let log = Arc::new(Gated::new(gate.clone()));
    let mut door = Door::over(log, Limits { requests: few(2), ..Limits::default() });
    door.open();
    set(&gate, false);
    let address = door.address();
    let enrol = |n: u32| {
        thread::spawn(move || {
            let id = format!("00000000-0000-4000-8000-00000000000{n}");
            let body = json!({ "participant": id, "generation": "gen-x" });
            Client::new(address).post("/v1/programs/spring/commands/enrol", &body)
        })
    };
    let stuck = [enrol(1), enrol(2)];
    door.until_shown(WORKING, 2);
    let refused = door.get("/v1/programs");
    assert_eq!((refused.status, refused.header("retry-after")), (503, Some("1")));
    assert_eq!(refused.header("content-type"), Some("application/problem+json"));
    insta::assert_json_snapshot!("busy", refused.json());
    for path in ["/healthz", "/readyz", "/metrics"] {
        assert_eq!(door.get(path).status, 200, "{path}");
    }
    assert_eq!(door.turned_away("requests"), 1);
    set(&gate, true);
    for stuck in stuck {
        assert_eq!(stuck.join().unwrap().status, 201);
    }
    assert_eq!(door.get("/v1/programs").status, 200);
}

#[test]
fn who_waits_is_not_at_work_and_only_so_many_wait() {
    let mut door = Door::with(Limits { requests: few(2), ..Limits::default() });
    door.open();
    let _waiting = [door.poll(), door.poll()];
    door.until_shown(WAITING, 2);
    // Streams are neither.
    let streams: Vec<_> = (0..20)
        .map(|_| {
            let mut stream = door.ask("/v1/programs/spring/events/stream");
            assert_eq!(Door::first_line(&mut stream), "HTTP/1.1 200 OK\r\n");
            stream
        })
        .collect();
    assert_eq!((door.shows(WORKING), door.shows(WAITING)), (1, 2), "the scrape works");
    let refused = door.get("/v1/programs/spring/events?from=1&wait=60");
    assert_eq!((refused.status, refused.json()["code"].as_str()), (503, Some("busy")));
    assert_eq!(door.get("/v1/programs/spring/events?from=1").status, 200, "whoever does not wait");
    assert_eq!(door.turned_away("waits"), 1);
    drop(streams);
}

#[test]
fn when_all_seats_are_taken_the_one_that_waited_longest_gives_way() {
    let room = Room { connections: 4, per_peer: None };
    let mut door = Door::with(Limits { room, ..Limits::default() });
    let mut others: Vec<Client> = (0..3).map(|_| Client::new(door.address())).collect();
    for other in &mut others {
        assert_eq!(other.get("/healthz").status, 200);
    }
    assert_eq!(door.shows("mentorlog_http_connections"), 4, "with the one that asks");
    let mut newcomer = Client::new(door.address());
    assert_eq!(newcomer.get("/healthz").status, 200);
    door.until_shown(&ended("gave-way"), 1);
    assert_eq!(door.shows("mentorlog_http_connections"), 4);
    let is_open = |client: &mut Client| client.try_send("GET", "/healthz", &[], b"").is_ok();
    let open: Vec<bool> = others.iter_mut().map(is_open).collect();
    assert_eq!(open, [false, true, true]);
    // Whoever has a request under way keeps its seat: then there is none left.
    drop((others, newcomer));
    let mut door = Door::with(Limits { room, ..Limits::default() });
    door.open();
    let mut polls = Vec::new();
    let refused = until("no seat", || {
        // Some come and go before their requests are read.
        polls.push(door.poll());
        let asked = b"GET /healthz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
        Some(converse(door.address(), asked, false)).filter(|answer| verdict(answer).0 == 503)
    });
    assert_eq!(verdict(&refused).1.as_deref(), Some("busy"), "{refused}");
    assert!(refused.contains("\r\nretry-after: 1\r\n"), "{refused}");
    assert!(refused.contains("\r\ncontent-type: application/problem+json\r\n"), "{refused}");
}

#[test]
fn a_head_that_dribbles_in_ends_and_so_does_silence() {
    let mut door = Door::with(Limits { times: SHORT, ..Limits::default() });
    let connect = || {
        let stream = TcpStream::connect(door.service.address).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream
    };
    let (mut silent, mut dribbling, mut served) = (connect(), connect(), connect());
    // One that was served well dribbles its second head.
    served.write_all(b"GET /v1/nothing HTTP/1.1\r\nhost: localhost\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"}") {
        let mut some = [0; 64];
        let count = served.read(&mut some).unwrap();
        answer.extend_from_slice(&some[..count]);
    }
    served.write_all(b"GET /healthz HTTP/1.1\r\n").unwrap();
    dribbling.write_all(b"GET /healthz HTTP/1.1\r\nx: ").unwrap();
    dribbling.set_nonblocking(true).unwrap();
    until("the end of a slow head", || {
        // A letter with every request of somebody else.
        assert_eq!(door.client.get("/healthz").status, 200);
        let written = (&dribbling).write_all(b"y");
        let read = dribbling.read(&mut [0; 64]);
        let is_over = written.is_err() || !read.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock);
        is_over.then_some(())
    });
    let mut rest = Vec::new();
    assert_eq!(silent.read_to_end(&mut rest).unwrap(), 0);
    assert_eq!(served.read_to_end(&mut rest).unwrap(), 0);
    door.until_shown(&ended("head"), 3);
}

#[test]
fn a_body_that_does_not_come_is_waited_for_only_so_long() {
    let mut door = Door::with(Limits { times: SHORT, ..Limits::default() });
    door.open();
    let head = "POST /v1/programs HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n";
    for begun in ["content-length: 100\r\n\r\n{\"slug\":", "transfer-encoding: chunked\r\n\r\n2\r\n{\"\r\n"] {
        let answer = converse(door.address(), format!("{head}{begun}").as_bytes(), false);
        assert_eq!(verdict(&answer), (408, Some("body-timeout".to_owned())), "{answer}");
        assert_eq!(answer.matches("HTTP/1.1 ").count(), 1);
        is_well(door.address());
    }
    // One that comes by the letter is late all the same.
    let mut stream = TcpStream::connect(door.address()).unwrap();
    write!(stream, "{head}content-length: 100000\r\n\r\n").unwrap();
    stream.set_nonblocking(true).unwrap();
    let mut answer = Vec::new();
    until("an answer", || {
        assert_eq!(door.client.get("/healthz").status, 200);
        let _ = stream.write_all(b" ");
        let mut some = [0; 1024];
        match stream.read(&mut some) {
            Ok(0) => Some(()),
            Ok(count) => {
                answer.extend_from_slice(&some[..count]);
                None
            }
            Err(error) => (error.kind() != io::ErrorKind::WouldBlock).then_some(()),
        }
    });
    let answer = String::from_utf8(answer).unwrap();
    assert_eq!(verdict(&answer).0, 408, "{answer}");
}

#[test]
fn who_does_not_read_its_answers_is_hung_up_on_and_the_others_read_theirs() {
    let mut door = Door::with(Limits { times: SHORT, ..Limits::default() });
    let request = "GET /openapi.json HTTP/1.1\r\nhost: localhost\r\n\r\n";
    let mut greedy = TcpStream::connect(door.address()).unwrap();
    // More than the system keeps for a connection: its answers get stuck.
    greedy.write_all(request.repeat(300).as_bytes()).unwrap();
    door.until_shown(&ended("stall"), 1);
    let whole = door.get("/openapi.json").body.len();
    let mut got = Vec::new();
    let _ = greedy.read_to_end(&mut got);
    assert!(got.len() < 300 * whole, "{} of {}", got.len(), 300 * whole);
    is_well(door.address());
}

#[test]
fn the_service_ends_in_time_whoever_is_connected() {
    let limits = Limits { times: SHORT, ..Limits::default() };
    let mut door = Door::with(limits);
    door.open();
    let mut streams: Vec<_> = (0..20).map(|_| door.ask("/v1/programs/spring/events/stream")).collect();
    for stream in &mut streams {
        assert_eq!(Door::first_line(stream), "HTTP/1.1 200 OK\r\n");
    }
    let polls: Vec<_> = (0..20).map(|_| door.poll()).collect();
    door.until_shown(WAITING, 20);
    let silent = TcpStream::connect(door.address()).unwrap();
    // Would take its whole time, which is longer than the deadline.
    let mut slow = TcpStream::connect(door.address()).unwrap();
    let head = "POST /v1/programs HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: 99999\r\n\r\n";
    slow.write_all(head.as_bytes()).unwrap();
    // And one that never reads.
    let greedy = TcpStream::connect(door.address()).unwrap();
    let request = "GET /openapi.json HTTP/1.1\r\nhost: localhost\r\n\r\n";
    (&greedy).write_all(request.repeat(300).as_bytes()).unwrap();
    let Door { service, client, .. } = door;
    service.stop();
    drop((client, silent, slow, greedy));
    for mut stream in streams {
        let mut rest = String::new();
        stream.read_to_string(&mut rest).unwrap();
        assert!(rest.ends_with("\r\n0\r\n\r\n"), "a stream ends as a stream does: {rest}");
    }
    for mut poll in polls {
        let mut answer = String::new();
        poll.read_to_string(&mut answer).unwrap();
        assert_eq!(verdict(&answer).0, 200, "{answer}");
        assert!(answer.contains("\"events\":[]"), "{answer}");
    }
}

// --------------------------------------------------------------------------------------------------- HTTP/2

/// One frame (RFC 9113, section 4.1).
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = u32::try_from(payload.len()).unwrap().to_be_bytes()[1..].to_vec();
    bytes.extend_from_slice(&[kind, flags]);
    bytes.extend_from_slice(&stream.to_be_bytes());
    bytes.extend_from_slice(payload);
    bytes
}

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// A header nobody has a number for (RFC 7541, section 6.2.2), its length in at most two bytes of 7 bits.
fn literal(name: &str, value: &str) -> Vec<u8> {
    let mut bytes = vec![0];
    for text in [name, value] {
        match text.len() {
            short @ 0..127 => bytes.push(u8::try_from(short).unwrap()),
            long => {
                let mut rest = long - 127;
                bytes.push(127);
                while rest >= 128 {
                    bytes.push(u8::try_from(rest % 128).unwrap() | 128);
                    rest /= 128;
                }
                bytes.push(u8::try_from(rest).unwrap());
            }
        }
        bytes.extend_from_slice(text.as_bytes());
    }
    bytes
}

/// The head of a GET (RFC 7541, appendix A: 2 is `:method GET`, 6 is `:scheme http`).
fn get(path: &str) -> Vec<u8> {
    let mut head = vec![0x82, 0x86];
    head.extend(literal(":path", path));
    head.extend(literal(":authority", "localhost"));
    head
}

/// A connection of HTTP/2.
struct Two(TcpStream);

impl Two {
    fn open(address: SocketAddr) -> Self {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").unwrap();
        stream.write_all(&frame(SETTINGS, 0, 0, b"")).unwrap();
        Self(stream)
    }

    /// The service may have seen enough before all of it is sent.
    fn send(&mut self, bytes: &[u8]) {
        let _ = self.0.write_all(bytes);
    }

    /// The next frame: its kind, its stream, its payload. `None`: the end.
    fn next(&mut self) -> Option<(u8, u32, Vec<u8>)> {
        let mut head = [0; 9];
        self.0.read_exact(&mut head).ok()?;
        let mut payload = vec![0; u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize];
        self.0.read_exact(&mut payload).ok()?;
        Some((head[3], u32::from_be_bytes([head[5], head[6], head[7], head[8]]), payload))
    }

    /// The error code of the GOAWAY frame that ends it, if one does.
    fn goaway(&mut self) -> Option<u32> {
        let mut last = None;
        while let Some((kind, _, payload)) = self.next() {
            if kind == GOAWAY {
                last = Some(u32::from_be_bytes(payload[4..8].try_into().unwrap()));
            }
        }
        last
    }
}

/// `ENHANCE_YOUR_CALM` (RFC 9113, section 7).
const CALM: u32 = 11;

#[test]
fn http_2_is_answered_and_not_flooded_by_requests_that_are_taken_back() {
    let mut door = Door::with(Limits::default());
    door.open();
    let mut two = Two::open(door.address());
    two.send(&frame(HEADERS, END_HEADERS | END_STREAM, 1, &get("/v1/programs")));
    let mut body = Vec::new();
    while let Some((kind, stream, payload)) = two.next() {
        if (kind, stream) == (DATA, 1) {
            body.extend(payload);
            if !body.is_empty() && serde_json::from_slice::<Value>(&body).is_ok() {
                break;
            }
        }
    }
    let body: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(body["programs"][0]["slug"], "spring");
    // Rapid reset (CVE-2023-44487): asked and taken back, ten thousand times.
    let mut flood = Two::open(door.address());
    let ask = get("/v1/programs");
    let all: Vec<u8> = (0..10_000_u32)
        .flat_map(|n| {
            let stream = 2 * n + 1;
            let mut both = frame(HEADERS, END_HEADERS | END_STREAM, stream, &ask);
            both.extend(frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes()));
            both
        })
        .collect();
    flood.send(&all);
    assert_eq!(flood.goaway(), Some(CALM));
    is_well(door.address());
}

#[test]
fn http_2_has_only_so_many_requests_at_once_on_a_connection() {
    let mut door = Door::with(Limits::default());
    door.open();
    let mut two = Two::open(door.address());
    let poll = get("/v1/programs/spring/events?from=1&wait=60");
    let all: Vec<u8> =
        (0..100_u32).flat_map(|n| frame(HEADERS, END_HEADERS | END_STREAM, 2 * n + 1, &poll)).collect();
    two.send(&all);
    let mut refused = Vec::new();
    while refused.len() < 68 {
        let (kind, stream, payload) = two.next().expect("it goes on");
        if kind == RST_STREAM {
            assert_eq!(payload, 7_u32.to_be_bytes(), "REFUSED_STREAM: nothing was done");
            refused.push(stream);
        }
    }
    assert!(refused.iter().copied().eq((32..100).map(|n| 2 * n + 1)), "{refused:?}");
    door.until_shown(WAITING, 32);
    // Whoever hangs up waits no longer.
    drop(two);
    until("nobody waits", || (door.shows(WAITING) == 0).then_some(()));
}

#[test]
fn http_2_is_hung_up_on_by_us_when_a_client_takes_nothing_of_what_it_asks_for() {
    let mut door = Door::with(Limits { times: SHORT, ..Limits::default() });
    door.open();
    let asks = |door: &Door, window: u32, path: &str| {
        let mut two = Two::open(door.address());
        let mut setting = 4_u16.to_be_bytes().to_vec();
        setting.extend_from_slice(&window.to_be_bytes());
        two.send(&frame(SETTINGS, 0, 0, &setting));
        two.send(&frame(HEADERS, END_HEADERS | END_STREAM, 1, &get(path)));
        let mut got = 0;
        while let Some((kind, _, payload)) = two.next() {
            got += if kind == DATA { payload.len() } else { 0 };
        }
        got
    };
    // No window; one of a byte, which the library fills and keeps the rest; one that ends where a piece does.
    assert_eq!(asks(&door, 0, "/v1/programs"), 0);
    assert_eq!(asks(&door, 1, "/v1/programs"), 1);
    assert_eq!(
        asks(&door, 65536, "/openapi.json"),
        65535,
        "as much as a connection's own window lets through"
    );
    door.until_shown(&ended("stall"), 3);
    is_well(door.address());
}

#[test]
fn http_2_heads_have_an_end() {
    let door = Door::with(Limits::default());
    // Longer than it may be, but whole: refused as one request.
    let mut two = Two::open(door.address());
    let mut head = get("/v1/programs");
    let fill = literal("x", &"y".repeat(1000));
    (0..15).for_each(|_| head.extend_from_slice(&fill));
    two.send(&frame(HEADERS, END_STREAM, 1, &head));
    for _ in 0..3 {
        two.send(&frame(CONTINUATION, 0, 1, &fill.repeat(15)));
    }
    two.send(&frame(CONTINUATION, END_HEADERS, 1, &fill));
    loop {
        match two.next() {
            Some((HEADERS, 1, payload)) => {
                // `:status` (8) with a value of its own: 431.
                assert!(payload.windows(3).any(|three| three == b"431") || payload[0] == 0x48, "{payload:?}");
                break;
            }
            Some((GOAWAY | RST_STREAM, ..)) | None => break,
            Some(_) => {}
        }
    }
    is_well(door.address());
    // Without an end (CVE-2024-27316): hung up on.
    let mut two = Two::open(door.address());
    two.send(&frame(HEADERS, END_STREAM, 1, &get("/v1/programs")));
    let more = frame(CONTINUATION, 0, 1, &fill.repeat(15));
    for _ in 0..2000 {
        two.send(&more);
    }
    let told = two.goaway();
    assert!(told.is_none_or(|code| code == CALM || code == 1), "{told:?}");
    is_well(door.address());
}

// ----------------------------------------------------------------------------------------------------- logs

/// Says what would be a line of the log if it were written down as it is, wherever a client can say something.
fn forge(address: SocketAddr, token: &str) {
    let evil = "x\u{2028}2026-01-01T00:00:00Z  INFO forged by a client\u{85}{\"level\":\"INFO\",\"message\":\"forged\"}";
    let escaped = "x%0a2026-01-01T00:00:00Z%20%20INFO%20forged%0d%0a%1b%5b31m";
    let mut client = Client::new(address);
    let bearer = format!("Bearer {token}");
    let all = [
        ("authorization", bearer.as_str()),
        ("x-request-id", evil),
        ("traceparent", evil),
        ("user-agent", evil),
        ("x-forwarded-for", evil),
        ("idempotency-key", "idempotent-secret-1"),
        JSON,
    ];
    client.send("GET", &format!("/v1/programs/{escaped}"), &all, b"");
    client.send("GET", &format!("/v1/programs?{escaped}={escaped}"), &all, b"");
    client.send("FORGED", "/v1/programs", &all, b"");
    let name = "Spring\n2026-01-01T00:00:00Z  INFO forged\r\u{1b}[31m\u{202e}";
    let body = json!({ "slug": "spring", "name": name, "time_zone": "UTC" }).to_string();
    client.send("POST", "/v1/programs", &all, body.as_bytes());
    client.send("POST", "/v1/programs", &all, format!("{{\"{evil}\": 1}}").as_bytes());
    let poor = [("authorization", "Bearer forged-token-secret"), ("x-request-id", evil)];
    client.send("GET", "/v1/programs", &poor, b"");
    for nonsense in [
        format!("GET /{evil} HTTP/1.1\r\nhost: localhost\r\n\r\n"),
        format!("{evil}\r\n\r\n"),
        "GET / HTTP/1.1\r\nx: \x01forged\r\n\r\n".to_owned(),
        "POST / HTTP/1.1\r\ncontent-length: forged\r\n\r\n".to_owned(),
    ] {
        exchange(address, nonsense.as_bytes());
    }
    let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let good = [("authorization", bearer.as_str()), ("x-request-id", "plain-1"), ("traceparent", trace)];
    assert_eq!(client.send("GET", "/v1/programs", &good, b"").status, 200);
}

/// Runs the program with everything it can write down, lets it be lied to, and hands over what it wrote.
fn written(format: &str) -> (String, String) {
    let data = tempfile::tempdir().unwrap();
    let (data, log) = (data.path().join("data"), data.path().join("log"));
    let mut command = serve(&data, &log);
    command.args(["--log-format", format]).env("MENTORLOG_LOG", "trace");
    let process = Process::started(command, &log);
    let issued = process.client().post("/v1/tokens", &json!({ "principal": "ops", "role": "admin" }));
    let token = issued.json()["secret"].as_str().unwrap().to_owned();
    forge(process.address, &token);
    assert!(process.terminate().success());
    let text = std::fs::read_to_string(&log).unwrap();
    (text, token)
}

#[test]
fn no_client_writes_a_line_of_the_log_and_no_secret_is_in_it() {
    for format in ["text", "json"] {
        let (text, token) = written(format);
        let secret = token.rsplit('_').next().unwrap();
        for secret in [token.as_str(), secret, "idempotent-secret-1", "forged-token-secret"] {
            assert!(!text.contains(secret), "{secret} is in the log:\n{text}");
        }
        assert!(text.is_ascii() || !text.contains(['\u{2028}', '\u{85}', '\u{202e}']), "{text}");
        assert!(!text.contains("forged"), "no word of a client is worth writing down: {text}");
        assert!(text.ends_with('\n') && text.lines().count() > 3, "{text}");
        for line in text.lines() {
            assert!(!line.contains(char::is_control), "{line:?}");
            if format == "json" {
                let line: Value = serde_json::from_str(line).unwrap();
                let line = line.as_object().unwrap();
                assert!(["timestamp", "level", "message"].iter().all(|member| line.contains_key(*member)));
            } else {
                let (time, rest) = line.split_once(' ').unwrap();
                assert!(time.len() == 27 && time.ends_with('Z'), "{line}");
                let level = rest.trim_start().split(' ').next().unwrap();
                assert!(["ERROR", "WARN", "INFO", "DEBUG", "TRACE"].contains(&level), "{line}");
            }
        }
    }
}

#[test]
fn every_request_has_its_line_of_json_with_who_asked_and_what_came_of_it() {
    let (text, token) = written("json");
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let answered: Vec<&Value> = lines.iter().filter(|line| line["message"] == "answered").collect();
    let one = answered.iter().find(|line| line["request_id"] == "plain-1").expect("its line");
    let mut one = (**one).clone();
    let id = token.strip_prefix("mtk_").unwrap().split('_').next().unwrap();
    assert_eq!(one["token"].as_str().map(|id| id.replace('-', "")), Some(id.replace('-', "")));
    assert!(one["took_us"].is_u64());
    for member in ["timestamp", "took_us", "token"] {
        one[member] = "..".into();
    }
    insta::assert_json_snapshot!("line_of_a_request", one);
    // Whoever was not known, and what was not done, are there, too.
    assert!(answered.iter().any(|line| line["status"] == 401 && line.get("principal").is_none()));
    assert!(answered.iter().any(|line| line["method"] == "other" && line["code"] == "method-not-allowed"));
    // Its id is one that was made here, unless the client's was plain.
    assert!(
        answered
            .iter()
            .all(|line| line["request_id"].as_str().is_some_and(|id| { id == "plain-1" || id.len() == 36 }))
    );
}

#[test]
fn http_2_is_spoken_when_it_is_asked_for_and_not_otherwise() {
    for http2 in [false, true] {
        let mut door = Door::with(Limits { http2, ..Limits::default() });
        assert_eq!(door.client.get("/healthz").status, 200);
        let mut stream = TcpStream::connect(door.service.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_mins(1))).unwrap();
        // The preface and empty settings (RFC 9113, sections 3.4 and 6.5).
        stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").unwrap();
        let mut first = [0; 4];
        let spoken = stream.read_exact(&mut first).is_ok() && first[3] == 4;
        assert_eq!(spoken, http2);
    }
    let serve = std::process::Command::new(env!("CARGO_BIN_EXE_mentorlog"))
        .args(["serve", "--print-config"])
        .env_remove("MENTORLOG_HTTP2")
        .output()
        .unwrap();
    assert!(String::from_utf8_lossy(&serve.stdout).lines().any(|line| line.starts_with("http2 = false ")));
}
