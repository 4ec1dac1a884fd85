//! The service over HTTP: whole answers, in order of a program's life, and everything that is refused.
//! Ids, instants and bodies are the test's own; what the service makes up is checked for its form, then named.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::io::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mentorlog::http::edge::Limits;
use mentorlog::http::problem::catalogue;
use mentorlog::ledger::memory::MemoryLog;
use mentorlog_events::record::leaf_hash;
use serde_json::{Value, json};

use crate::harness::{Answer, Client, JSON, Machine, NDJSON, Service};

const PROGRAM: &str = "00000000-0000-4000-8000-000000000001";
const ANN: &str = "00000000-0000-4000-8000-00000000000a";
const BOB: &str = "00000000-0000-4000-8000-00000000000b";
const CYD: &str = "00000000-0000-4000-8000-00000000000c";
const PAIR: &str = "00000000-0000-4000-8000-0000000000f1";
const SESSION: &str = "00000000-0000-4000-8000-0000000000e1";

const COMMANDS: &str = "/v1/programs/spring/commands";

/// The service on an empty log, its clock in the test's hands.
pub struct Town {
    service: Service,
    machine: Machine,
    pub client: Client,
    /// The n-th id the service made up.
    made_up: BTreeMap<String, usize>,
    _data: tempfile::TempDir,
}

impl Town {
    pub fn new() -> Self {
        let data = tempfile::tempdir().unwrap();
        let machine = Machine::new();
        let log = Arc::new(MemoryLog::new());
        let service = Service::start(log, BTreeMap::new(), data.path(), machine.clone());
        let client = service.client();
        Self { service, machine, client, made_up: BTreeMap::new(), _data: data }
    }

    /// With the program `spring`, Ann and Bob, both enrolled.
    /// Where it listens.
    pub fn address(&self) -> std::net::SocketAddr {
        self.service.address
    }

    fn with_people() -> Self {
        let mut town = Self::new();
        town.open();
        for (id, generation) in [(ANN, "boomer"), (BOB, "gen-z")] {
            town.done("enrol", &json!({ "participant": id, "generation": generation }));
        }
        town
    }

    /// With an active pair.
    fn with_pair() -> Self {
        let mut town = Self::with_people();
        town.done(
            "propose-pair",
            &json!({ "actor": format!("participant:{ANN}"), "pair": PAIR, "a": ANN, "b": BOB }),
        );
        town.done("accept-pair", &json!({ "actor": format!("participant:{BOB}"), "pair": PAIR }));
        town.machine.advance(3600);
        town
    }

    /// With a two-way session of half an hour ago.
    fn with_session() -> Self {
        let mut town = Self::with_pair();
        town.done("log-session", &session());
        town
    }

    pub fn open(&mut self) -> Answer {
        let body =
            json!({ "program": PROGRAM, "slug": "spring", "name": "Spring", "time_zone": "Europe/Berlin" });
        let answer = self.client.post("/v1/programs", &body);
        assert_eq!(answer.status, 201, "{}", answer.text());
        answer
    }

    pub fn command(&mut self, name: &str, body: &Value) -> Answer {
        self.client.post(&format!("{COMMANDS}/{name}"), body)
    }

    pub fn done(&mut self, name: &str, body: &Value) -> Answer {
        let answer = self.command(name, body);
        assert_eq!(answer.status, 201, "{name} {body}: {}", answer.text());
        answer
    }

    /// Lets time pass.
    pub fn advance(&self, seconds: u64) {
        self.machine.advance(seconds);
    }

    pub fn size(&self) -> u64 {
        self.service.published.program("spring").map_or(0, |program| program.size())
    }

    /// A refusal: a problem of the catalogue, with this status and code, and nothing appended.
    pub fn refused(&mut self, status: u16, code: &str, ask: impl FnOnce(&mut Client) -> Answer) -> Answer {
        let (before, registry) = (self.size(), self.service.published.registry());
        let answer = ask(&mut self.client);
        assert_eq!((self.size(), self.service.published.registry()), (before, registry), "{code}: appended");
        assert_problem(&answer, status, code);
        answer
    }

    fn refused_command(&mut self, status: u16, code: &str, name: &str, body: &Value) -> Answer {
        let path = format!("{COMMANDS}/{name}");
        self.refused(status, code, |client| client.post(&path, body))
    }

    /// The whole answer in a snapshot, once its forms are right.
    pub fn check(&mut self, name: &str, answer: &Answer) {
        let mut text = format!("{}\n", answer.status);
        for (header, value) in &answer.headers {
            // The length follows from the rest; the date is the machine's, and the request's id is new each time.
            if !["date", "content-length", "x-request-id"].contains(&header.as_str()) {
                let _ = writeln!(text, "{header}: {}", self.named(value));
            }
        }
        text.push('\n');
        if !answer.body.is_empty() {
            let mut body = answer.json();
            self.form(&mut body);
            text.push_str(&serde_json::to_string_pretty(&body).unwrap());
        }
        insta::assert_snapshot!(name, text);
    }

    /// Checks the form of what the service made up, and puts a name in its place.
    fn form(&mut self, value: &mut Value) {
        match value {
            Value::Object(members) => {
                for (name, member) in members.iter_mut() {
                    if name == "root" || name == "key" || name == "fp" {
                        let text = member.as_str().unwrap_or_default();
                        let bytes = base64(text).unwrap_or_else(|| panic!("{name} {text:?}"));
                        assert_eq!(bytes, if name == "root" { 32 } else { 16 }, "{name} {text:?}");
                        *member = format!("[{bytes} bytes]").into();
                    } else {
                        self.form(member);
                    }
                }
            }
            Value::Array(items) => items.iter_mut().for_each(|item| self.form(item)),
            Value::String(text) => *text = self.named(text),
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }

    /// The text with `[id n]` in place of the n-th id that is not the test's own.
    fn named(&mut self, text: &str) -> String {
        let mut named = String::new();
        let mut rest = text;
        while !rest.is_empty() {
            match rest.get(..36).filter(|part| mentorlog_events::id::parse_uuid(part.as_bytes()).is_ok()) {
                Some(id) if !id.starts_with("00000000-") => {
                    let number = self.made_up.len() + 1;
                    let number = *self.made_up.entry(id.to_owned()).or_insert(number);
                    let _ = write!(named, "[id {number}]");
                    rest = &rest[36..];
                }
                _ => {
                    let next = rest.chars().next().unwrap();
                    named.push(next);
                    rest = &rest[next.len_utf8()..];
                }
            }
        }
        named
    }
}

/// How many bytes this is the base64 of.
fn base64(text: &str) -> Option<usize> {
    let body = text.trim_end_matches('=');
    let alphabet = body.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'+' || b == b'/');
    (alphabet && text.len().is_multiple_of(4) && text.len() - body.len() < 3).then_some(body.len() * 3 / 4)
}

fn assert_problem(answer: &Answer, status: u16, code: &str) {
    let text = String::from_utf8_lossy(&answer.body);
    assert_eq!(answer.status, status, "{code}: {text}");
    assert_eq!(answer.header("content-type"), Some("application/problem+json"), "{code}: {text}");
    let problem = answer.json();
    assert_eq!(problem["code"], code, "{text}");
    assert_eq!(problem["status"], status, "{text}");
    assert_eq!(problem["type"], format!("/problems/{code}"), "{text}");
    assert!(problem["title"].is_string() && problem["detail"].is_string(), "{text}");
    assert!(catalogue().any(|known| known == code), "{code} is not in the catalogue");
    assert_eq!(status == 503, answer.header("retry-after").is_some(), "{code}");
}

fn session() -> Value {
    json!({
        "actor": format!("participant:{ANN}"),
        "session": SESSION,
        "pair": PAIR,
        "occurred_at": "2026-09-21T14:40:00Z",
        "minutes": 30,
        "mode": "video",
        "exchanges": [
            { "teacher": ANN, "skill": "negotiation", "minutes": 15 },
            { "teacher": BOB, "skill": "short-video", "minutes": 10 },
        ],
    })
}

// --------------------------------------------------------------------------------------- a program's life

#[test]
fn a_program_is_opened_and_two_people_teach_each_other() {
    let mut town = Town::new();
    let answer = town.client.get("/v1/programs");
    town.check("no_programs", &answer);
    let answer = town.open();
    town.check("open", &answer);
    for (name, id, generation) in [("enrol_ann", ANN, "boomer"), ("enrol_bob", BOB, "gen-z")] {
        let body = json!({
            "participant": id, "generation": generation,
            "offered": ["negotiation"], "sought": ["short-video"], "unit": "sales",
        });
        let answer = town.done("enrol", &body);
        town.check(name, &answer);
    }
    let by_ann = format!("participant:{ANN}");
    let by_bob = format!("participant:{BOB}");
    let answer = town.done("propose-pair", &json!({ "actor": by_ann, "pair": PAIR, "a": ANN, "b": BOB }));
    town.check("propose", &answer);
    let answer = town.done("accept-pair", &json!({ "actor": by_bob, "pair": PAIR }));
    town.check("accept", &answer);
    town.machine.advance(3600);
    let answer = town.done("log-session", &session());
    town.check("log_session", &answer);
    let rating =
        json!({ "actor": by_bob, "session": SESSION, "teacher": ANN, "skill": "negotiation", "rating": 5 });
    let answer = town.done("rate-exchange", &rating);
    town.check("rate", &answer);
    let answer = town.done("confirm-session", &json!({ "actor": by_bob, "session": SESSION, "version": 1 }));
    town.check("confirm", &answer);
    for (name, path) in [
        ("programs", "/v1/programs"),
        ("program", "/v1/programs/spring"),
        ("participants", "/v1/programs/spring/participants?limit=1"),
        ("participant", &format!("/v1/programs/spring/participants/{ANN}")),
        ("pairs", "/v1/programs/spring/pairs?state=active"),
        ("pair", &format!("/v1/programs/{PROGRAM}/pairs/{PAIR}")),
        ("session", &format!("/v1/programs/spring/sessions/{SESSION}?min_size=8")),
        ("events", "/v1/programs/spring/events?from=2&limit=2"),
        ("events_of_the_pair", &format!("/v1/programs/spring/events?subject={PAIR}&type=pair-activated")),
        ("commands", COMMANDS),
        ("healthz", "/healthz"),
        ("readyz", "/readyz"),
    ] {
        let answer = town.client.get(path);
        town.check(name, &answer);
    }
}

#[test]
fn a_receipt_says_where_how_large_and_under_which_root() {
    let mut town = Town::with_session();
    let size = town.size();
    let body = json!({ "participant": CYD });
    let receipt = town.done("enrol", &body);
    assert_eq!(receipt.json()["size"], size + 1);
    assert_eq!(receipt.json()["events"][0]["seq"], size);
    assert_eq!(receipt.header("etag"), Some(format!("\"{size}\"").as_str()));
    let place = receipt.header("location").unwrap().to_owned();
    let page = town.client.get(&place);
    assert_eq!(page.status, 200);
    assert_eq!(page.header("etag"), receipt.header("etag"));
    assert_eq!(page.json()["root"], receipt.json()["root"]);
    // The root is the one of the leaves that are served.
    let lines =
        town.client.send("GET", "/v1/programs/spring/events", &[("accept", "application/x-ndjson")], b"");
    let mut tree = mentorlog::ledger::merkle::Tree::new();
    lines.text().lines().for_each(|line| tree.push(leaf_hash(line.as_bytes())));
    assert_eq!(receipt.json()["root"], mentorlog_events::id::B64(tree.root()).to_string());
    assert_eq!(lines.header("mentorlog-size"), Some(tree.size().to_string().as_str()));
}

// ------------------------------------------------------------------------------------------------ refusals

#[test]
fn every_kind_of_refusal_is_answered_with_its_status_and_appends_nothing() {
    let mut town = Town::with_session();
    let by_ann = format!("participant:{ANN}");
    let answer =
        town.refused_command(409, "pair-already-open", "propose-pair", &json!({ "a": BOB, "b": ANN }));
    town.check("refused_duplicate", &answer);
    let answer =
        town.refused_command(409, "pair-state", "accept-pair", &json!({ "actor": by_ann, "pair": PAIR }));
    town.check("refused_state", &answer);
    let mut again = session();
    again["session"] = Value::Null;
    let answer = town.refused_command(409, "session-overlaps", "log-session", &again);
    town.check("refused_overlap", &answer);
    let rating =
        json!({ "actor": by_ann, "session": SESSION, "teacher": ANN, "skill": "negotiation", "rating": 5 });
    let answer = town.command("rate-exchange", &rating);
    assert_eq!(answer.status, 403, "{}", answer.text());
    town.check("refused_actor", &answer);
    let answer =
        town.refused_command(404, "participant-not-found", "take-break", &json!({ "participant": CYD }));
    town.check("refused_unknown", &answer);
    let stale = json!({ "participant": ANN, "expected_version": 0 });
    let answer = town.refused_command(412, "version-conflict", "take-break", &stale);
    town.check("refused_version", &answer);
    let path = format!("{COMMANDS}/take-break");
    let body = json!({ "participant": ANN }).to_string();
    let if_match = [JSON, ("if-match", "\"0\"")];
    town.refused(412, "version-conflict", |client| client.send("POST", &path, &if_match, body.as_bytes()));
    let mut long = session();
    long["session"] = Value::Null;
    long["minutes"] = 481.into();
    let answer = town.refused_command(422, "out-of-range", "log-session", &long);
    town.check("refused_value", &answer);
    let mut much = session();
    much["session"] = Value::Null;
    much["occurred_at"] = "2026-09-21T15:10:00Z".into();
    much["minutes"] = 4.into();
    let answer = town.refused_command(422, "exchanges-exceed-session", "log-session", &much);
    assert_eq!(answer.json()["pointer"], "/exchanges/0/minutes");
    let mut noted = session();
    noted["note"] = "she was late".into();
    let answer = town.refused_command(501, "sealing-unavailable", "log-session", &noted);
    assert!(!answer.text().contains("late"));
    town.check("refused_sealed", &answer);
    town.refused_command(501, "sealing-unavailable", "erase-person", &json!({ "participant": ANN }));
    town.refused(409, "slug-taken", |client| {
        client.post("/v1/programs", &json!({ "slug": "spring", "name": "Another", "time_zone": "UTC" }))
    });
    // The version that is there is taken, as a header and as a field.
    let current = town.client.get(&format!("/v1/programs/spring/participants/{ANN}"));
    let tag = current.header("etag").unwrap().to_owned();
    let answer = town.client.send("POST", &path, &[JSON, ("if-match", &tag)], body.as_bytes());
    assert_eq!(answer.status, 201, "{}", answer.text());
}

#[test]
fn what_cannot_be_read_is_a_problem_and_appends_nothing() {
    let mut town = Town::with_people();
    let deep = format!("{{\"participant\":{}1{}}}", "[".repeat(100_000), "]".repeat(100_000));
    let deep_unknown = format!("{{\"x\":{}", "{\"x\":".repeat(20_000));
    let bodies: Vec<(&str, Vec<u8>)> = vec![
        ("nothing", b"".to_vec()),
        ("half an object", b"{\"participant\":".to_vec()),
        ("two objects", b"{} {}".to_vec()),
        ("a trailing comma", b"{\"unit\":\"x\",}".to_vec()),
        ("an unknown field", b"{\"name\":\"Ann\"}".to_vec()),
        ("a field twice", b"{\"unit\":\"x\",\"unit\":\"x\"}".to_vec()),
        ("a common field twice", b"{\"actor\":\"manager\",\"actor\":\"manager\"}".to_vec()),
        ("a wrong type", b"{\"capacity\":\"3\"}".to_vec()),
        ("a float", b"{\"capacity\":1.5}".to_vec()),
        ("a negative number", b"{\"capacity\":-1}".to_vec()),
        ("a number beyond 64 bits", b"{\"capacity\":18446744073709551616}".to_vec()),
        ("a version beyond 64 bits", b"{\"expected_version\":18446744073709551616}".to_vec()),
        ("not a UUID", b"{\"participant\":\"ann\"}".to_vec()),
        ("not a slug", b"{\"unit\":\"Sales Dept\"}".to_vec()),
        ("not an actor", b"{\"actor\":\"ann\"}".to_vec()),
        ("the software's name", b"{\"actor\":\"system\"}".to_vec()),
        ("an array", b"[]".to_vec()),
        ("a string", b"\"x\"".to_vec()),
        ("null", b"null".to_vec()),
        ("invalid UTF-8", b"{\"unit\":\"\xff\xfe\"}".to_vec()),
        ("a lone surrogate", b"{\"unit\":\"\\ud800\"}".to_vec()),
        ("a NUL", b"\0".to_vec()),
        ("a BOM", b"\xef\xbb\xbf{}".to_vec()),
        ("arrays, 100,000 deep", deep.into_bytes()),
        ("objects, 20,000 deep", deep_unknown.into_bytes()),
    ];
    let path = format!("{COMMANDS}/enrol");
    for (name, body) in &bodies {
        let answer = town.refused(400, "malformed", |client| client.send("POST", &path, &[JSON], body));
        assert!(answer.body.len() < 2000, "{name}: a long answer");
        // The same in a batch: about the item where it is one, about the batch where it is none.
        let mut line = b"{\"command\":\"enrol\",\"data\":".to_vec();
        line.extend_from_slice(body);
        line.push(b'}');
        let before = town.size();
        let answer = town.client.send("POST", COMMANDS, &[NDJSON], &line);
        assert_eq!(town.size(), before, "{name}");
        if answer.status == 207 {
            let results = answer.json()["results"].as_array().unwrap().clone();
            assert!(results.iter().all(|one| one["code"] == "malformed"), "{name}: {results:?}");
        } else {
            assert_problem(&answer, 400, "malformed");
        }
        let answer =
            town.refused(400, "malformed", |client| client.send("POST", "/v1/programs", &[JSON], body));
        assert!(answer.body.len() < 2000, "{name}: a long answer");
    }
    // A deep nest and a number too large inside a list, where other code reads them.
    for exchange in ["[1]", "{\"teacher\":1}", "{\"minutes\":4294967296}"] {
        let body = format!("{{\"pair\":\"{PAIR}\",\"exchanges\":[{exchange}]}}");
        let path = format!("{COMMANDS}/log-session");
        town.refused(400, "malformed", |client| client.send("POST", &path, &[JSON], body.as_bytes()));
    }
}

#[test]
fn wrong_paths_methods_media_and_sizes_are_problems() {
    let mut town = Town::with_people();
    let enrol = format!("{COMMANDS}/enrol");
    let answer = town.refused(404, "no-such-path", |client| client.get("/v1/nothing"));
    town.check("refused_path", &answer);
    town.refused(404, "no-such-path", |client| client.get("/nowhere"));
    town.refused(404, "no-such-program", |client| client.get("/v1/programs/autumn"));
    town.refused(404, "no-such-program", |client| client.get("/v1/programs/autumn/events"));
    town.refused(404, "no-such-program", |client| {
        client.post("/v1/programs/autumn/commands/enrol", &json!({}))
    });
    let answer =
        town.refused(404, "unknown-command", |client| client.post(&format!("{COMMANDS}/enroll"), &json!({})));
    assert!(answer.json()["commands"].as_array().unwrap().contains(&"enrol".into()));
    for path in
        ["participants/x", "pairs/x", "sessions/x", &format!("participants/{CYD}"), &format!("pairs/{CYD}")]
    {
        town.refused(404, "not-found", |client| client.get(&format!("/v1/programs/spring/{path}")));
    }
    let answer = town
        .refused(405, "method-not-allowed", |client| client.send("DELETE", "/v1/programs/spring", &[], b""));
    assert_eq!(answer.header("allow"), Some("GET, HEAD"));
    let answer =
        town.refused(405, "method-not-allowed", |client| client.send("PUT", "/v1/programs", &[], b""));
    assert_eq!(answer.header("allow"), Some("GET, HEAD, POST"));
    let answer = town.refused(405, "method-not-allowed", |client| client.get(&enrol));
    assert_eq!(answer.header("allow"), Some("POST"));
    let answer = town.refused(406, "not-acceptable", |client| {
        client.send("GET", "/v1/programs/spring/events", &[("accept", "text/html")], b"")
    });
    town.check("refused_accept", &answer);
    for media in ["text/plain", "application/x-www-form-urlencoded", "application/jsonx", ""] {
        let headers = [("content-type", media)];
        town.refused(415, "unsupported-media-type", |client| client.send("POST", &enrol, &headers, b"{}"));
    }
    town.refused(415, "unsupported-media-type", |client| client.send("POST", &enrol, &[], b"{}"));
    town.refused(415, "unsupported-media-type", |client| client.send("POST", &enrol, &[NDJSON], b"{}"));
    let large = vec![b' '; 9 << 20];
    let answer = town.refused(413, "too-large", |client| client.send("POST", COMMANDS, &[NDJSON], &large));
    assert_eq!(answer.json()["limit"], 8 << 20);
    let answer = town.refused(413, "too-large", |client| client.send("POST", &enrol, &[JSON], &large));
    assert_eq!(answer.json()["limit"], 256 << 10);
    // Not announced, in chunks.
    let mut chunked = format!("POST {COMMANDS} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/x-ndjson\r\ntransfer-encoding: chunked\r\n\r\n").into_bytes();
    for _ in 0..9 {
        write!(chunked, "{:x}\r\n", 1 << 20).unwrap();
        chunked.extend_from_slice(&large[..1 << 20]);
        chunked.extend_from_slice(b"\r\n");
    }
    chunked.extend_from_slice(b"0\r\n\r\n");
    town.refused(413, "too-large", |client| client.raw(&chunked).unwrap());
    for query in [
        "limit=0",
        "limit=x",
        "from=-1",
        "from=18446744073709551616",
        "wait=61",
        "type=x",
        "x=1",
        "from=1&from=1",
        "subject=x",
        "limit=%zz",
        "limit=10001",
    ] {
        let path = format!("/v1/programs/spring/events?{query}");
        town.refused(400, "malformed-parameter", |client| client.get(&path));
    }
    town.refused(400, "malformed-parameter", |client| client.get("/v1/programs?x=1"));
    town.refused(400, "malformed-parameter", |client| client.get("/v1/programs/spring/pairs?state=happy"));
    town.refused(400, "malformed-parameter", |client| {
        client.get(&format!("/v1/programs/spring/participants?after={CYD}"))
    });
    town.refused(400, "malformed-parameter", |client| {
        client.post(&format!("{COMMANDS}?atomic=maybe"), &json!([]))
    });
    for (name, value) in [
        ("idempotency-key", ""),
        ("idempotency-key", "a b"),
        ("idempotency-key", "\"a"),
        ("if-match", "41"),
        ("if-match", "\"18446744073709551616\""),
        ("x-correlation-id", "x"),
    ] {
        town.refused(400, "malformed-header", |client| {
            client.send("POST", &enrol, &[JSON, (name, value)], b"{}")
        });
    }
    let two = [JSON, ("idempotency-key", "a"), ("idempotency-key", "b")];
    town.refused(400, "malformed-header", |client| client.send("POST", &enrol, &two, b"{}"));
    let headers = [NDJSON, ("idempotency-key", "a")];
    town.refused(400, "malformed-header", |client| client.send("POST", COMMANDS, &headers, b"{}"));
    let headers = [JSON, ("if-match", "\"1\"")];
    let body = json!({ "participant": ANN, "expected_version": 2 }).to_string();
    let path = format!("{COMMANDS}/take-break");
    town.refused(400, "malformed", |client| client.send("POST", &path, &headers, body.as_bytes()));
    // A path that is no UTF-8.
    let answer = town.client.raw(b"GET /v1/programs/%ff HTTP/1.1\r\nhost: localhost\r\n\r\n").unwrap();
    assert_problem(&answer, answer.status, answer.json()["code"].as_str().unwrap());
}

// --------------------------------------------------------------------------------------------- idempotency

#[test]
fn a_key_is_good_for_one_command_and_gives_its_first_answer_for_ever() {
    let mut town = Town::with_people();
    let path = format!("{COMMANDS}/enrol");
    let body = json!({ "participant": CYD });
    let first = town.client.post_keyed(&path, "\"k-1\"", &body);
    assert_eq!((first.status, first.header("idempotent-replayed")), (201, None));
    let size = town.size();
    town.done("take-break", &json!({ "participant": ANN }));
    // Quoted or bare, it is the same key.
    for key in ["k-1", "\"k-1\""] {
        let again = town.client.post_keyed(&path, key, &body);
        assert_eq!((again.status, again.header("idempotent-replayed")), (201, Some("true")));
        assert_eq!(again.body, first.body);
        assert_eq!(again.header("location"), first.header("location"));
        assert_eq!(again.header("etag"), first.header("etag"));
        assert_eq!(town.size(), size + 1);
    }
    let answer = town
        .refused(422, "key-reused", |client| client.post_keyed(&path, "k-1", &json!({ "participant": ANN })));
    town.check("refused_key", &answer);
    town.refused(422, "key-reused", |client| {
        client.post_keyed(&format!("{COMMANDS}/close-program"), "k-1", &json!({}))
    });
    // A refusal is not remembered: the same key can be used when the time has come.
    let again = json!({ "participant": ANN });
    let break_path = format!("{COMMANDS}/return-from-break");
    let first = town.client.post_keyed(&break_path, "k-2", &again);
    assert_eq!(first.status, 201);
    town.refused(409, "participant-state", |client| client.post_keyed(&break_path, "k-3", &again));
    town.done("take-break", &again);
    assert_eq!(town.client.post_keyed(&break_path, "k-3", &again).status, 201);
    // The opening of a program has keys of its own.
    let open = json!({ "slug": "autumn", "name": "Autumn", "time_zone": "UTC" });
    let first = town.client.post_keyed("/v1/programs", "k-1", &open);
    let again = town.client.post_keyed("/v1/programs", "k-1", &open);
    assert_eq!((first.status, again.status), (201, 201));
    assert_eq!((&first.body, first.header("location")), (&again.body, again.header("location")));
    assert_eq!(again.header("idempotent-replayed"), Some("true"));
    let metrics = town.client.get("/metrics");
    let replayed = metrics.text().lines().find(|line| line.contains("outcome=\"replayed\"")).unwrap();
    assert!(replayed.ends_with(" 3"), "{replayed}");
}

// ------------------------------------------------------------------------------------------------- batches

#[test]
fn a_batch_answers_item_by_item_in_either_form() {
    let mut town = Town::with_pair();
    let items = [
        json!({ "command": "enrol", "key": "a", "data": { "participant": CYD } }),
        json!({ "command": "enrol", "data": { "participant": CYD } }),
        json!({ "command": "enrol", "data": { "nonsense": 1 } }),
        json!({ "command": "leave-program", "occurred_at": "2026-09-21T15:00:00Z", "data": { "participant": BOB } }),
        json!({ "command": "take-break", "actor": format!("participant:{ANN}"), "data": { "participant": ANN } }),
        json!({ "command": "take-break", "expected_version": 0, "data": { "participant": ANN } }),
        json!({ "command": "dance", "data": {} }),
    ];
    let lines: String = items.iter().map(|item| format!("{item}\r\n")).collect();
    let answer = town.client.send("POST", COMMANDS, &[NDJSON], lines.as_bytes());
    assert_eq!(answer.status, 207);
    town.check("batch", &answer);
    let size = town.size();
    let array = json!([items[0], items[4]]);
    let answer = town.client.post(COMMANDS, &array);
    let results = answer.json()["results"].clone();
    assert_eq!((&results[0]["replayed"], &results[1]["code"]), (&true.into(), &"participant-state".into()));
    assert_eq!(town.size(), size);
    let event = town.client.get(&format!("/v1/programs/spring/events?subject={BOB}&type=participant-left"));
    assert_eq!(event.json()["events"][0]["data"]["occurred_at"], "2026-09-21T15:00:00.000000Z");
}

#[test]
fn an_item_says_each_thing_once() {
    let mut town = Town::with_people();
    let instant = "2026-09-21T14:00:00Z";
    for item in [
        json!({ "command": "leave-program", "occurred_at": instant, "data": { "participant": ANN, "occurred_at": instant } }),
        json!({ "command": "enrol", "occurred_at": instant, "data": { "participant": CYD } }),
        json!({ "command": "enrol", "occurred_at": instant, "data": {} }),
        json!({ "command": "enrol", "actor": "manager", "data": { "actor": "manager" } }),
        json!({ "command": "enrol", "expected_version": 1, "data": { "expected_version": 1 } }),
        json!({ "command": "enrol", "key": "a b", "data": {} }),
        json!({ "command": "enrol", "x": 1, "data": {} }),
        json!({ "command": "enrol" }),
        json!({ "data": {} }),
        json!(["enrol", null, null, null, null, null, {}]),
        json!("enrol"),
    ] {
        let before = town.size();
        let answer = town.client.post(COMMANDS, &json!([item]));
        assert_eq!(answer.status, 207, "{item}: {}", answer.text());
        assert_eq!(answer.json()["results"][0]["code"], "malformed", "{item}: {}", answer.text());
        assert_eq!(town.size(), before, "{item}");
    }
}

#[test]
fn an_atomic_batch_is_done_whole_or_not_at_all() {
    let mut town = Town::with_people();
    let path = format!("{COMMANDS}?atomic=true");
    let enrol = json!({ "command": "enrol", "key": "one", "data": { "participant": CYD } });
    let impossible = json!({ "command": "enrol", "data": { "participant": ANN } });
    let answer =
        town.refused(409, "participant-exists", |client| client.post(&path, &json!([enrol, impossible])));
    assert_eq!(answer.json()["index"], 1);
    town.check("atomic_refused", &answer);
    let malformed = json!({ "command": "enrol", "data": { "x": 1 } });
    let answer = town.refused(400, "malformed", |client| client.post(&path, &json!([enrol, malformed])));
    assert_eq!(answer.json()["index"], 1);
    town.refused(422, "impossible-batch", |client| client.post(&path, &json!([enrol, enrol])));
    // Nothing of it stuck: neither the id nor the key.
    let size = town.size();
    let answer =
        town.client.post(&path, &json!([enrol, { "command": "take-break", "data": { "participant": CYD } }]));
    assert_eq!(answer.status, 207, "{}", answer.text());
    assert_eq!(answer.json()["results"][1]["size"], size + 2);
    assert_eq!(town.size(), size + 2);
}

#[test]
fn a_batch_has_a_length() {
    let mut town = Town::with_people();
    town.refused(422, "impossible-batch", |client| client.send("POST", COMMANDS, &[NDJSON], b"\n\n"));
    town.refused(422, "impossible-batch", |client| client.send("POST", COMMANDS, &[JSON], b"[]"));
    town.refused(400, "malformed", |client| client.send("POST", COMMANDS, &[JSON], b"{}"));
    let item = json!({ "command": "take-break", "data": { "participant": CYD } }).to_string();
    let lines = format!("{item}\n").repeat(10_001);
    town.refused(422, "impossible-batch", |client| {
        client.send("POST", COMMANDS, &[NDJSON], lines.as_bytes())
    });
    let lines = format!("{item}\n").repeat(10_000);
    let before = town.size();
    let answer = town.client.send("POST", COMMANDS, &[NDJSON], lines.as_bytes());
    assert_eq!((answer.status, town.size()), (207, before));
    assert_eq!(answer.json()["results"].as_array().unwrap().len(), 10_000);
    // Millions of tiny items are refused for their number before any is looked at.
    for (media, body) in
        [(NDJSON, "1\n".repeat(4 << 20)), (JSON, format!("[{}1]", "1,".repeat((4 << 20) - 2)))]
    {
        let begun = Instant::now();
        town.refused(422, "impossible-batch", |client| {
            client.send("POST", COMMANDS, &[media], body.as_bytes())
        });
        assert!(begun.elapsed() < Duration::from_secs(5), "{media:?} took {:?}", begun.elapsed());
    }
}

// ------------------------------------------------------------------------------------------------- reading

#[test]
fn the_history_is_the_same_bytes_in_every_form_and_page() {
    let mut town = Town::with_session();
    let lines = ("accept", "application/x-ndjson");
    let all = town.client.send("GET", "/v1/programs/spring/events", &[lines], b"");
    assert_eq!(all.header("content-type"), Some("application/x-ndjson"));
    let raw: Vec<&str> = all.text().lines().collect();
    assert_eq!(raw.len() as u64, town.size());
    let page = town.client.get("/v1/programs/spring/events?limit=1000");
    // Byte for byte: the entries stand in the page as they are.
    let joined = format!("{{\"events\":[{}],\"next\":{},", raw.join(","), raw.len());
    assert!(page.text().starts_with(&joined), "{}", page.text());
    let mut from = 0;
    let mut pages = Vec::new();
    while from < raw.len() as u64 {
        let page = town.client.get(&format!("/v1/programs/spring/events?from={from}&limit=3")).json();
        pages.extend(page["events"].as_array().unwrap().clone());
        from = page["next"].as_u64().unwrap();
    }
    let parsed: Vec<Value> = raw.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(pages, parsed);
    for (seq, entry) in parsed.iter().enumerate() {
        assert_eq!(entry["seq"], seq);
    }
    // By type, page by page, and the cursor never skips or repeats.
    let wanted: Vec<&Value> = parsed.iter().filter(|entry| entry["type"] == "participant-enrolled").collect();
    let (mut from, mut found) = (0, Vec::new());
    loop {
        let page = town
            .client
            .get(&format!("/v1/programs/spring/events?type=participant-enrolled&limit=1&from={from}"));
        let page = page.json();
        found.extend(page["events"].as_array().unwrap().clone());
        from = page["next"].as_u64().unwrap();
        if from >= town.size() {
            break;
        }
    }
    assert_eq!(found.iter().collect::<Vec<_>>(), wanted);
    let of_bob = town.client.get(&format!("/v1/programs/spring/events?subject={BOB}")).json();
    assert!(of_bob["events"].as_array().unwrap().iter().all(|entry| entry.to_string().contains(BOB)));
    let limited = town.client.send("GET", "/v1/programs/spring/events?from=1&limit=2", &[lines], b"");
    assert_eq!(limited.text(), format!("{}\n{}\n", raw[1], raw[2]));
    // At the end there is nothing yet; beyond it nobody can have come, and nothing is left out in silence.
    let size = town.size();
    let at_the_end = town.client.get(&format!("/v1/programs/spring/events?from={size}")).json();
    assert_eq!((&at_the_end["events"], &at_the_end["next"]), (&json!([]), &size.into()));
    for media in ["application/json", "application/x-ndjson", "application/cloudevents-batch+json"] {
        for query in [format!("from={}", size + 1), "from=9007199254740991&wait=60".to_owned()] {
            let path = format!("/v1/programs/spring/events?{query}");
            let beyond =
                town.refused(404, "not-found", |client| client.send("GET", &path, &[("accept", media)], b""));
            assert_eq!(beyond.json()["size"], size);
        }
    }
    // The form that is wanted most, as RFC 9110 has it.
    for (accept, form) in [
        (
            "application/x-ndjson;q=0.5, application/cloudevents-batch+json",
            "application/cloudevents-batch+json",
        ),
        ("application/x-ndjson, */*;q=0.1", "application/x-ndjson"),
        ("application/x-ndjson;q=0, */*", "application/json"),
    ] {
        let given = town.client.send("GET", "/v1/programs/spring/events?limit=1", &[("accept", accept)], b"");
        assert_eq!(given.header("content-type"), Some(form), "{accept}");
    }
}

#[test]
fn a_reader_can_wait_for_what_is_not_there_yet() {
    let mut town = Town::with_people();
    let size = town.size();
    let address = town.service.address;
    let waiting = std::thread::spawn(move || {
        Client::new(address).get(&format!("/v1/programs/spring/events?from={size}&wait=30"))
    });
    let reading = std::thread::spawn(move || {
        Client::new(address).get(&format!("/v1/programs/spring/participants/{CYD}?min_size={}", size + 1))
    });
    town.done("enrol", &json!({ "participant": CYD }));
    let answer = waiting.join().unwrap().json();
    assert_eq!(answer["events"][0]["data"]["participant"], CYD);
    let answer = reading.join().unwrap();
    assert_eq!((answer.status, &answer.json()["participant"]), (200, &CYD.into()));
    let answer = town.client.get(&format!("/v1/programs/spring/events?from={}&wait=0", size + 1)).json();
    assert_eq!((&answer["events"], &answer["next"]), (&json!([]), &(size + 1).into()));
    let begun = Instant::now();
    let path = format!("/v1/programs/spring?min_size={}", size + 2);
    let answer = town.refused(503, "not-yet", |client| client.get(&path));
    assert_eq!(answer.json()["size"], size + 1);
    assert!(begun.elapsed() < Duration::from_secs(20));
}

#[test]
fn head_is_get_without_a_body() {
    let mut town = Town::with_session();
    for path in [
        "/healthz",
        "/readyz",
        "/v1/programs",
        "/v1/programs/spring",
        "/v1/programs/spring/participants",
        "/v1/programs/spring/events",
        "/v1/programs/autumn",
        "/v1/nothing",
    ] {
        let get = town.client.get(path);
        let head = town.client.send("HEAD", path, &[], b"");
        assert_eq!(head.status, get.status, "{path}");
        assert_eq!(head.header("content-type"), get.header("content-type"), "{path}");
        let length = get.body.len().to_string();
        assert!(
            head.header("content-length").is_none_or(|said| said == length),
            "{path}: {:?}",
            head.headers
        );
        // The connection is still in step.
        assert_eq!(town.client.get("/healthz").status, 200, "{path}");
    }
    let lines = [("accept", "application/x-ndjson")];
    let head = town.client.send("HEAD", "/v1/programs/spring/events", &lines, b"");
    assert_eq!((head.status, head.header("content-length")), (200, None));
    assert_eq!(town.client.get("/healthz").status, 200);
}

// ------------------------------------------------------------------------------------------------- metrics

#[test]
fn the_metrics_are_well_formed_and_every_code_is_there_at_zero() {
    let mut town = Town::with_session();
    let answer = town.client.get("/metrics");
    assert_eq!(answer.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    let text = answer.text();
    assert!(text.ends_with('\n'));
    let (mut helps, mut types, mut series) = (BTreeSet::new(), BTreeMap::new(), BTreeSet::new());
    let mut family = "";
    for line in text.lines() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            let (name, _) = help.split_once(' ').unwrap();
            assert!(helps.insert(name), "HELP of {name} stands twice");
            family = name;
        } else if let Some(kind) = line.strip_prefix("# TYPE ") {
            let (name, kind) = kind.split_once(' ').unwrap();
            assert!(types.insert(name, kind).is_none(), "TYPE of {name} stands twice");
            assert_eq!(name, family, "TYPE follows HELP");
            assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
            assert!(name.starts_with("mentorlog_") || name.starts_with("process_"), "{name}");
            assert_eq!(kind == "counter", name.ends_with("_total"), "{name} is a {kind}");
        } else {
            let (labelled, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("{line}"));
            assert!(value.parse::<f64>().is_ok_and(f64::is_finite), "{line}");
            assert!(series.insert(labelled), "{labelled} stands twice");
            let name = labelled.split('{').next().unwrap();
            let base = ["_bucket", "_sum", "_count"].iter().find_map(|suffix| name.strip_suffix(suffix));
            let of_family = name == family || (types[family] == "histogram" && base == Some(family));
            assert!(of_family, "{line} stands under {family}");
            // No person and no free text is a label.
            for id in [ANN, BOB, PAIR, SESSION, "Spring", "negotiation"] {
                assert!(!line.contains(id), "{line}");
            }
        }
    }
    assert_eq!(helps.len(), types.len());
    for code in catalogue() {
        let wanted = format!("mentorlog_commands_total{{code=\"{code}\",outcome=\"refused\"}} 0");
        assert!(text.lines().any(|line| line == wanted), "{wanted}");
    }
    let size = town.size();
    for wanted in [
        "mentorlog_commands_total{code=\"\",outcome=\"replayed\"} 0".to_owned(),
        "mentorlog_commands_total{code=\"\",outcome=\"accepted\"} 6".to_owned(),
        "mentorlog_writer_stopped 0".to_owned(),
        "mentorlog_queue_depth 0".to_owned(),
        format!("mentorlog_ledger_events_total{{program=\"spring\"}} {size}"),
        "mentorlog_programs_left_out 0".to_owned(),
    ] {
        assert!(text.lines().any(|line| line == wanted), "{wanted} is not in\n{text}");
    }
    town.refused_command(409, "participant-exists", "enrol", &json!({ "participant": ANN }));
    town.client.get("/v1/no/such/path");
    let text = town.client.get("/metrics").text().to_owned();
    assert!(text.contains("mentorlog_commands_total{code=\"participant-exists\",outcome=\"refused\"} 1\n"));
    assert!(text.contains("route=\"unmatched\"") && !text.contains("/v1/no/such"), "{text}");
}

#[test]
fn a_clock_that_jumps_stops_writing_and_not_reading_until_it_agrees() {
    let mut town = Town::with_people();
    town.machine.jump(3600);
    let answer = town.refused_command(503, "clock", "enrol", &json!({ "participant": CYD }));
    town.check("refused_clock", &answer);
    town.refused(503, "clock", |client| client.get("/readyz"));
    assert_eq!(town.client.get("/v1/programs/spring").status, 200);
    town.machine.jump(-3600);
    assert_eq!(town.client.get("/readyz").status, 200);
    town.done("enrol", &json!({ "participant": CYD }));
}

#[test]
fn while_the_history_is_read_everybody_is_told_so() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
    let address = listener.local_addr().unwrap();
    let serving =
        runtime.spawn(mentorlog::http::serve_starting(listener, Limits::default(), std::future::pending()));
    let mut client = Client::new(address);
    assert_eq!(client.send("GET", "/healthz", &[], b"").status, 200);
    for (method, path) in
        [("GET", "/readyz"), ("GET", "/v1/programs"), ("POST", "/v1/programs/x/commands/enrol")]
    {
        let answer = client.send(method, path, &[], b"");
        assert_eq!((answer.status, answer.json()["code"].as_str()), (503, Some("starting")), "{path}");
        assert!(answer.header("retry-after").is_some() && answer.header("content-type").is_some());
    }
    serving.abort();
}

#[test]
fn the_registrys_own_ledger_is_no_program_and_an_id_is_no_name() {
    let mut town = Town::new();
    let registry = "6d656e74-6f72-8c6f-9067-726567697374";
    let mut open = |body: Value| {
        let answer = town.client.post("/v1/programs", &body);
        (answer.status, answer.json()["code"].as_str().map(str::to_owned))
    };
    let of = |code: &str| Some(code.to_owned());
    let evil = json!({ "slug": "evil", "name": "Evil", "time_zone": "UTC", "program": registry });
    assert_eq!(open(evil), (409, of("program-exists")));
    assert_eq!(open(json!({ "slug": registry, "name": "Evil", "time_zone": "UTC" })), (400, of("malformed")));
    let versioned = json!({ "slug": "good", "name": "Good", "time_zone": "UTC", "expected_version": 5 });
    assert_eq!(open(versioned), (400, of("malformed")));
    assert_eq!(
        open(json!({ "slug": "good", "name": "Good", "time_zone": "UTC" })),
        (201, None),
        "writing goes on"
    );
}

#[test]
fn a_poll_for_a_subject_waits_and_a_caller_who_is_ahead_is_told_so() {
    let mut town = Town::with_people();
    let mut get = |query: &str| {
        town.client.send("GET", &format!("/v1/programs/spring/events?{query}"), &[], b"").json()
    };
    let page = get(&format!("subject={ANN}&from=1"));
    assert_eq!(
        (page["events"].as_array().unwrap().len(), &page["next"], &page["size"]),
        (1, &json!(3), &json!(3))
    );
    let begun = Instant::now();
    let page = get(&format!("subject={ANN}&from=3&wait=1"));
    assert_eq!((&page["events"], &page["next"]), (&json!([]), &json!(3)));
    assert!(begun.elapsed() >= Duration::from_millis(900), "it waited");
    let problem = get("from=100&wait=60");
    assert_eq!(
        (&problem["code"], &problem["parameter"], &problem["size"]),
        (&json!("not-found"), &json!("from"), &json!(3))
    );
}

#[test]
fn who_says_nothing_is_hung_up_on_and_takes_nothing_from_others() {
    let mut town = Town::with_people();
    let address = town.service.address;
    // Silent connections are closed when their time is up.
    let mut silent: Vec<_> = [&b""[..], b"PRI", b"GET / HT"]
        .iter()
        .map(|begun| {
            let mut stream = std::net::TcpStream::connect(address).unwrap();
            stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
            stream.write_all(begun).unwrap();
            stream
        })
        .collect();
    // Everything else goes on meanwhile.
    let streams: Vec<_> = (0..40)
        .map(|_| {
            let mut client = Client::new(address);
            client.send("GET", "/v1/programs/spring/events", &[("accept", NDJSON.1)], b"").status
        })
        .collect();
    assert!(streams.iter().all(|status| [200, 503].contains(status)), "{streams:?}");
    assert_eq!(town.client.send("GET", "/v1/programs/spring/events", &[], b"").status, 200);
    for stream in &mut silent {
        let mut rest = Vec::new();
        std::io::Read::read_to_end(stream, &mut rest).expect("closed in time");
    }
}
