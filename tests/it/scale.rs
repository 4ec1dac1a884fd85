//! As many sessions as a large program has in years: what goes in through batches comes out as it is in the log.
//! Never measures: the benches do.

use std::sync::Arc;

use mentorlog::clock::Machine;
use mentorlog::ledger::Log;
use mentorlog::ledger::merkle::Tree;
use mentorlog::ledger::sled::{OpenOptions, SledLog};
use mentorlog_events::id::B64;

use crate::harness::{NDJSON, Service};

const PEOPLE: u64 = 1_000;
const SESSIONS: u64 = 20_000;
const COMMANDS: &str = "/v1/programs/large/commands";

fn person(n: u64) -> String {
    format!("label:person {n}")
}

/// One line per command: everybody, then every pair, then the sessions, both ways and some of them rated.
fn lines() -> Vec<String> {
    let mut lines = Vec::new();
    let mut add = |key: String, command: &str, data: String| {
        lines.push(format!("{{\"command\":\"{command}\",\"key\":\"{key}\",\"data\":{{{data}}}}}\n"));
    };
    for n in 0..PEOPLE {
        add(format!("a{n}"), "import-participant", format!("\"participant\":\"{}\"", person(n)));
    }
    let pair = |n: u64| (person(n % PEOPLE), person((n % PEOPLE + 1 + n / PEOPLE) % PEOPLE));
    for n in 0..PEOPLE * 2 {
        let (a, b) = pair(n);
        let started = "2024-01-01T08:00:00Z";
        add(
            format!("p{n}"),
            "import-pair",
            format!("\"a\":\"{a}\",\"b\":\"{b}\",\"started_at\":\"{started}\""),
        );
    }
    for n in 0..SESSIONS {
        let (a, b) = pair(n % (PEOPLE * 2));
        let at = format!("2024-{:02}-{:02}T09:00:00Z", 1 + n / 28 % 12, 1 + n % 28);
        let rating = if n % 3 == 0 { format!(",\"rating\":{}", 1 + n % 5) } else { String::new() };
        add(
            format!("s{n}"),
            "import-session",
            format!(
                "\"between\":[\"{a}\",\"{b}\"],\"occurred_at\":\"{at}\",\"minutes\":60,\"exchanges\":[\
                 {{\"teacher\":\"{a}\",\"skill\":\"sql\",\"minutes\":30{rating}}},\
                 {{\"teacher\":\"{b}\",\"skill\":\"trust\",\"minutes\":20}}]"
            ),
        );
    }
    lines
}

fn read_models(service: &Service) -> Vec<u8> {
    let mut json = Vec::new();
    let program = service.published.program("large").unwrap();
    program.view().models.write_json(&mut json).unwrap();
    json
}

#[test]
fn twenty_thousand_sessions_come_out_as_they_went_in_and_a_restart_changes_nothing() {
    let data = tempfile::tempdir().unwrap();
    let open = || SledLog::open(data.path(), &OpenOptions::default()).unwrap();
    let opened = open();
    let log = Arc::new(opened.log);
    let service = Service::start(log.clone(), opened.heads, data.path(), Machine::default());
    let mut client = service.client();
    let body = serde_json::json!({ "slug": "large", "name": "Large", "time_zone": "Europe/Berlin" });
    assert_eq!(client.post("/v1/programs", &body).status, 201);
    let lines = lines();
    for batch in lines.chunks(5_000) {
        let answer = client.send("POST", COMMANDS, &[NDJSON], batch.concat().as_bytes());
        assert_eq!(answer.status, 207);
        let results = answer.json()["results"].as_array().unwrap().clone();
        let refused = results.iter().find(|result| result["status"] != 201);
        assert_eq!((results.len(), refused), (batch.len(), None));
    }
    // Everything once more adds nothing.
    let size = service.published.program("large").unwrap().size();
    let answer = client.send("POST", COMMANDS, &[NDJSON], lines[..5_000].concat().as_bytes());
    assert!(answer.json()["results"].as_array().unwrap().iter().all(|result| result["replayed"] == true));
    assert_eq!(service.published.program("large").unwrap().size(), size);
    let summary = client.get("/v1/programs/large").json();
    assert_eq!(summary["participants"]["enrolled"], PEOPLE);
    assert_eq!(summary["pairs"]["active"], PEOPLE * 2);
    assert_eq!(summary["sessions"]["live"], SESSIONS);
    // What is served is what is stored, byte for byte, and its root is the one that is shown.
    let accept = [("accept", "application/x-ndjson")];
    let served = client.send("GET", "/v1/programs/large/events", &accept, b"");
    let mut tree = Tree::new();
    let mut stored = Vec::new();
    let program = service.published.program("large").unwrap().id;
    for record in log.read(program.into(), 0, usize::MAX).unwrap() {
        stored.extend_from_slice(record.bytes());
        stored.push(b'\n');
        tree.push(record.leaf_hash());
    }
    assert!(served.body == stored, "the bytes differ");
    assert_eq!(summary["root"], B64(tree.root()).to_string());
    assert_eq!(summary["size"], tree.size());
    // Rebuilt from the log they are the same, byte for byte.
    let models = read_models(&service);
    drop(client);
    service.stop();
    log.close().unwrap();
    drop(log);
    let opened = open();
    assert!(opened.report.clean_stop);
    let log = Arc::new(opened.log);
    let service = Service::start(log.clone(), opened.heads, data.path(), Machine::default());
    assert!(read_models(&service) == models, "the read models differ");
    let again = service.client().send("GET", "/v1/programs/large/events", &accept, b"");
    assert!(again.body == stored, "the bytes differ after a restart");
    service.stop();
}
