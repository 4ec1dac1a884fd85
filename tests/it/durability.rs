//! The real program, killed under load: what it acknowledged is there, once, whenever it starts again.
//! `MENTORLOG_KILLS` says how often it is killed, `MENTORLOG_KILL_SEED` repeats a campaign.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::{Answer, Chance, Client, JSON, NDJSON, Process, serve, until};

pub const COMMANDS: &str = "/v1/programs/spring/commands";

/// What a client asked for, under one key.
#[derive(Debug, Clone)]
pub struct Request {
    pub key: String,
    pub name: &'static str,
    pub body: String,
}

impl Request {
    pub fn new(key: String, name: &'static str, body: &Value) -> Self {
        Self { key, name, body: body.to_string() }
    }

    pub fn send(&self, client: &mut Client) -> Option<Answer> {
        let path = format!("{COMMANDS}/{}", self.name);
        let headers = [JSON, ("idempotency-key", self.key.as_str())];
        client.try_send("POST", &path, &headers, self.body.as_bytes()).ok()
    }

    pub fn item(&self) -> String {
        format!("{{\"command\":\"{}\",\"key\":\"{}\",\"data\":{}}}", self.name, self.key, self.body)
    }
}

/// The receipt of a command, however it was sent.
#[derive(Debug, Clone)]
pub struct Receipt {
    command: String,
    first: u64,
    pub size: u64,
    /// Items of a batch have none.
    root: Option<String>,
}

impl PartialEq for Receipt {
    fn eq(&self, other: &Self) -> bool {
        let roots_agree = match (&self.root, &other.root) {
            (Some(one), Some(other)) => one == other,
            (None, _) | (_, None) => true,
        };
        (&self.command, self.first, self.size) == (&other.command, other.first, other.size) && roots_agree
    }
}

impl Receipt {
    fn read(answer: &Value) -> Self {
        let text = |member: &Value| member.as_str().unwrap().to_owned();
        Self {
            command: text(&answer["command_id"]),
            first: answer["events"][0]["seq"].as_u64().unwrap(),
            size: answer["size"].as_u64().unwrap(),
            root: answer["root"].as_str().map(str::to_owned),
        }
    }
}

/// Everything ever asked, and what became of it as far as the clients know.
#[derive(Default)]
pub struct Book {
    pub asked: Vec<Request>,
    pub acknowledged: BTreeMap<String, Receipt>,
    /// By key: asked and not answered.
    pub open: BTreeMap<String, Request>,
}

impl Book {
    fn answered(&mut self, request: &Request, receipt: &Receipt) {
        self.open.remove(&request.key);
        let first = self.acknowledged.entry(request.key.clone()).or_insert_with(|| receipt.clone());
        assert_eq!(first, receipt, "{} was told two things", request.key);
    }
}

/// An id by its number: `kind` tells what it is of.
pub fn id(kind: u64, number: u64) -> String {
    format!("00000000-0000-4000-8{kind:03}-{number:012x}")
}

/// Two people and their pair, then sessions of theirs.
pub fn work(client_number: u64, round: u64, step: u64) -> Vec<Request> {
    let n = (client_number << 32) | (round << 16) | (step / 8);
    let (a, b, pair) = (id(1, n), id(2, n), id(3, n));
    let key = |what: &str| format!("{what}-{n}-{step}");
    let at = format!("2026-01-{:02}T{:02}:00:00Z", 1 + step % 28, step % 24);
    match step % 8 {
        // A small program of its own in one batch.
        0 => vec![
            Request::new(key("a"), "enrol", &json!({ "participant": a })),
            Request::new(key("b"), "import-participant", &json!({ "participant": b })),
            Request::new(
                key("p"),
                "import-pair",
                &json!({ "pair": pair, "a": a, "b": b, "started_at": "2026-01-01T00:00:00Z" }),
            ),
        ],
        1..=4 => {
            let session = json!({
                "session": id(4, (n << 3) | (step % 8)), "pair": pair, "occurred_at": at, "minutes": 60,
                "exchanges": [{ "teacher": a, "skill": "sql", "minutes": 20, "rating": 4 },
                              { "teacher": b, "skill": "trust", "minutes": 20 }],
            });
            vec![Request::new(key("s"), "import-session", &session)]
        }
        5 => {
            let now = json!({
                "session": id(5, n), "pair": pair, "occurred_at": at, "minutes": 30, "mode": "video",
                "exchanges": [{ "teacher": a, "skill": "sql", "minutes": 30 }],
            });
            // May be refused for its age: then it is never there.
            vec![Request::new(key("l"), "log-session", &now)]
        }
        6 => vec![Request::new(key("e"), "enrol", &json!({ "participant": id(6, n) }))],
        _ => (0..20)
            .map(|i| {
                Request::new(format!("{}-{i}", key("m")), "enrol", &json!({ "participant": id(7 + i, n) }))
            })
            .collect(),
    }
}

/// Sends work until the server is gone.
fn load(mut client: Client, number: u64, round: u64, book: &Mutex<Book>, stop: &AtomicBool) {
    for step in 0.. {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        let requests = work(number, round, step);
        {
            let mut book = book.lock().unwrap();
            for request in &requests {
                book.asked.push(request.clone());
                book.open.insert(request.key.clone(), request.clone());
            }
        }
        if let [request] = &requests[..] {
            let Some(answer) = request.send(&mut client) else { return };
            settle(request, answer.status, &answer.json(), &mut book.lock().unwrap());
        } else {
            let lines: String = requests.iter().map(|request| request.item() + "\n").collect();
            let Ok(answer) = client.try_send("POST", COMMANDS, &[NDJSON], lines.as_bytes()) else { return };
            assert_eq!(answer.status, 207, "{}", answer.text());
            let results = answer.json()["results"].clone();
            let mut book = book.lock().unwrap();
            for (request, result) in requests.iter().zip(results.as_array().unwrap()) {
                settle(
                    request,
                    u16::try_from(result["status"].as_u64().unwrap()).unwrap(),
                    result,
                    &mut book,
                );
            }
        }
    }
}

pub fn settle(request: &Request, status: u16, answer: &Value, book: &mut Book) {
    match status {
        201 => book.answered(request, &Receipt::read(answer)),
        // Refused by a rule: asked again it is refused again, and it never was.
        409 | 422 if answer["code"] != "key-reused" => {
            book.open.remove(&request.key);
            book.asked.retain(|asked| asked.key != request.key);
        }
        _ => panic!("{request:?}: {status} {answer}"),
    }
}

/// Every entry of the history, by the command it belongs to: how often each command is there.
fn history(client: &mut Client) -> (Vec<Value>, BTreeMap<String, Vec<u64>>) {
    let answer = client.send("GET", "/v1/programs/spring/events", &[("accept", "application/x-ndjson")], b"");
    assert_eq!(answer.status, 200);
    let entries: Vec<Value> = answer.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let mut commands: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    for (seq, entry) in entries.iter().enumerate() {
        assert_eq!(entry["seq"], seq);
        commands.entry(entry["command"]["id"].as_str().unwrap().to_owned()).or_default().push(seq as u64);
    }
    (entries, commands)
}

/// After a restart: everything acknowledged is there, where the receipt says; then each open request is repeated.
pub fn check(client: &mut Client, book: &mut Book, chance: &mut Chance) {
    let (entries, commands) = history(client);
    for (key, receipt) in &book.acknowledged {
        let seqs =
            commands.get(&receipt.command).unwrap_or_else(|| panic!("{key} was acknowledged and is lost"));
        assert_eq!((seqs[0], seqs[seqs.len() - 1] + 1), (receipt.first, receipt.size), "{key}");
    }
    // One key, one command: its HMAC stands at one command only.
    let mut keys: BTreeMap<&str, &str> = BTreeMap::new();
    for entry in &entries {
        let (command, stamp) = (entry["command"]["id"].as_str().unwrap(), &entry["command"]["key"]);
        if let Some(stamp) = stamp.as_str() {
            let first = keys.entry(stamp).or_insert(command);
            assert_eq!(*first, command, "one key did two commands: {entry}");
        }
    }
    // Some of those acknowledged are asked for again: the same answer, byte for byte where it counts.
    let size = entries.len();
    let acknowledged: Vec<String> = book.acknowledged.keys().cloned().collect();
    for _ in 0..acknowledged.len().min(20) {
        let key = &acknowledged[usize::try_from(chance.below(acknowledged.len() as u64)).unwrap()];
        let request = book.asked.iter().find(|request| request.key == *key).unwrap();
        let answer = request.send(client).expect("the server runs");
        assert_eq!((answer.status, answer.header("idempotent-replayed")), (201, Some("true")), "{key}");
        assert_eq!(Receipt::read(&answer.json()), book.acknowledged[key], "{key}");
    }
    assert_eq!(history(client).0.len(), size, "a repeated command appended");
    // Those nobody answered are there once or not at all; after asking again they are there once.
    for request in std::mem::take(&mut book.open).into_values() {
        let before = client.get("/v1/programs/spring").json()["size"].as_u64().unwrap();
        let answer = request.send(client).expect("the server runs");
        let after = client.get("/v1/programs/spring").json()["size"].as_u64().unwrap();
        if answer.status == 201 {
            let replayed = answer.header("idempotent-replayed") == Some("true");
            let receipt = Receipt::read(&answer.json());
            assert_eq!(
                after - before,
                if replayed { 0 } else { receipt.size - receipt.first },
                "{request:?}"
            );
            book.answered(&request, &receipt);
        } else {
            assert_eq!(after, before, "{request:?}");
            settle(&request, answer.status, &answer.json(), book);
        }
    }
    let (entries, commands) = history(client);
    let opening = 1;
    assert_eq!(commands.len(), book.acknowledged.len() + opening, "as many commands as were acknowledged");
    let events: u64 = book.acknowledged.values().map(|receipt| receipt.size - receipt.first).sum();
    assert_eq!(entries.len() as u64, events + 1, "as many events as were acknowledged");
    let program = client.get("/v1/programs/spring").json();
    assert_eq!(program["size"], entries.len());
    let count = |name: &str| entries.iter().filter(|entry| entry["type"] == name).count();
    assert_eq!(program["participants"]["enrolled"], count("participant-enrolled"));
    assert_eq!(program["sessions"]["live"], count("session-logged"));
}

fn start(data: &Path) -> Process {
    Process::start(&data.join("data"), &data.join("stderr"))
}

pub fn open(client: &mut Client) {
    let body = json!({ "slug": "spring", "name": "Spring", "time_zone": "UTC" });
    let answer = client.post_keyed("/v1/programs", "open", &body);
    assert_eq!(answer.status, 201, "{}", answer.text());
}

#[test]
fn killed_at_any_moment_it_has_everything_it_acknowledged_exactly_once() {
    let kills: u64 = std::env::var("MENTORLOG_KILLS").map_or(8, |kills| kills.parse().unwrap());
    let mut chance = Chance::from_env("MENTORLOG_KILL_SEED");
    let data = tempfile::tempdir().unwrap();
    let book = Arc::new(Mutex::new(Book::default()));
    let mut most = 0;
    for round in 0..kills {
        let process = start(data.path());
        let mut client = process.client();
        open(&mut client);
        check(&mut client, &mut book.lock().unwrap(), &mut chance);
        let before = book.lock().unwrap().acknowledged.len();
        let stop = Arc::new(AtomicBool::new(false));
        let clients: Vec<_> = (0..3 + chance.below(3))
            .map(|number| {
                let (client, book, stop) = (process.client(), book.clone(), stop.clone());
                thread::spawn(move || load(client, number, round, &book, &stop))
            })
            .collect();
        // The moment is the point here, not what happens by then.
        let most_micros = if chance.one_in(3) { 5_000 } else { 150_000 };
        thread::sleep(Duration::from_micros(chance.below(most_micros)));
        process.kill();
        stop.store(true, Ordering::Relaxed);
        for client in clients {
            client.join().unwrap();
        }
        most = most.max(book.lock().unwrap().acknowledged.len() - before);
    }
    let process = start(data.path());
    let mut client = process.client();
    check(&mut client, &mut book.lock().unwrap(), &mut chance);
    assert!(process.terminate().success());
    assert!(most > 5, "the kills came before anything was acknowledged");
}

#[test]
fn told_to_stop_under_load_it_answers_what_it_took_and_the_next_start_is_clean() {
    let mut chance = Chance::seeded(1);
    let data = tempfile::tempdir().unwrap();
    let book = Arc::new(Mutex::new(Book::default()));
    for round in 0..3 {
        let process = start(data.path());
        let mut client = process.client();
        open(&mut client);
        check(&mut client, &mut book.lock().unwrap(), &mut chance);
        let stop = Arc::new(AtomicBool::new(false));
        let clients: Vec<_> = (0..4)
            .map(|number| {
                let (client, book, stop) = (process.client(), book.clone(), stop.clone());
                thread::spawn(move || load(client, number, round, &book, &stop))
            })
            .collect();
        // Somebody waits for what will not come, and must not be waited for.
        let address = process.address;
        // In a program in which nothing happens; it is there already in the second round.
        let quiet = json!({ "slug": "quiet", "name": "Quiet", "time_zone": "UTC" });
        assert!([201, 409].contains(&process.client().post("/v1/programs", &quiet).status));
        let waiting = thread::spawn(move || {
            let path = "/v1/programs/quiet/events?from=1&wait=60";
            Client::new(address).try_send("GET", path, &[], b"")
        });
        let before = book.lock().unwrap().acknowledged.len();
        until("some load", || (book.lock().unwrap().acknowledged.len() > before + 30).then_some(()));
        let begun = Instant::now();
        let status = process.terminate();
        assert_eq!(
            status.code(),
            Some(0),
            "{}",
            std::fs::read_to_string(data.path().join("stderr")).unwrap()
        );
        assert!(begun.elapsed() < Duration::from_secs(8), "took {:?}", begun.elapsed());
        stop.store(true, Ordering::Relaxed);
        for client in clients {
            client.join().unwrap();
        }
        let answer = waiting.join().unwrap().expect("who waits is answered");
        assert_eq!((answer.status, &answer.json()["events"]), (200, &json!([])));
        assert!(data.path().join("data/CLEAN").exists(), "no mark of an orderly stop");
    }
    let process = start(data.path());
    check(&mut process.client(), &mut book.lock().unwrap(), &mut chance);
    assert!(process.terminate().success());
    let told = std::fs::read_to_string(data.path().join("stderr")).unwrap();
    assert!(!told.contains("WARN") && !told.contains("ERROR"), "{told}");
}

#[test]
fn a_second_process_on_the_same_directory_is_refused_at_once_and_the_first_goes_on() {
    let data = tempfile::tempdir().unwrap();
    let process = start(data.path());
    let mut client = process.client();
    open(&mut client);
    let begun = Instant::now();
    let mut second = serve(&data.path().join("data"), &data.path().join("second")).spawn().unwrap();
    let status = until("the second process to end", || second.try_wait().unwrap());
    assert!(begun.elapsed() < Duration::from_secs(1), "took {:?}", begun.elapsed());
    assert_eq!(status.code(), Some(4));
    let mut out = String::new();
    second.stdout.take().unwrap().read_to_string(&mut out).unwrap();
    assert_eq!(out, "");
    let told = std::fs::read_to_string(data.path().join("second")).unwrap();
    assert!(told.contains("in use"), "{told}");
    assert_eq!(client.post(&format!("{COMMANDS}/enrol"), &json!({})).status, 201);
    assert!(process.terminate().success());
}
