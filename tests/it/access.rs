//! Who is let in, to what: every route and every asker, what each sees, and when a token stops being one.
//! Never takes the service's own table for the truth: what is allowed is written down here a second time.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::sync::Arc;

use mentorlog::access::token::Token;
use mentorlog::http::routes::declared;
use mentorlog::ledger::Log as _;
use mentorlog::ledger::memory::MemoryLog;
use mentorlog_events::id::{LedgerId, TokenId};
use serde_json::{Value, json};

use crate::harness::{Answer, Chance, Client, JSON, Machine, NDJSON, Service, until};

const SPRING: &str = "00000000-0000-4000-8000-000000000001";
const AUTUMN: &str = "00000000-0000-4000-8000-000000000002";
const ANN: &str = "00000000-0000-4000-8000-00000000000a";
const BOB: &str = "00000000-0000-4000-8000-00000000000b";
const CYD: &str = "00000000-0000-4000-8000-00000000000c";
const DAN: &str = "00000000-0000-4000-8000-00000000000d";
const PAIR: &str = "00000000-0000-4000-8000-0000000000f1";
const OTHER_PAIR: &str = "00000000-0000-4000-8000-0000000000f2";
const SESSION: &str = "00000000-0000-4000-8000-0000000000e1";
const NEW: &str = "00000000-0000-4000-8000-0000000000ff";

/// A service with two programs, and its tokens. In spring: Ann and Bob, an active pair with a session both of whose
/// exchanges are rated, Cyd, and a published report. In autumn: Dan.
struct Hall {
    service: Option<Service>,
    log: Arc<MemoryLog>,
    machine: Machine,
    client: Client,
    data: tempfile::TempDir,
    report: String,
}

fn authorization(secret: &str) -> String {
    format!("Bearer {secret}")
}

impl Hall {
    /// Before any token was issued.
    fn without_tokens() -> Self {
        let data = tempfile::tempdir().unwrap();
        let machine = Machine::new();
        let log = Arc::new(MemoryLog::new());
        let service = Service::start(log.clone(), BTreeMap::new(), data.path(), machine.clone());
        let client = service.client();
        let mut hall = Self { service: Some(service), log, machine, client, data, report: String::new() };
        for (id, slug) in [(SPRING, "spring"), (AUTUMN, "autumn")] {
            let body = json!({ "program": id, "slug": slug, "name": slug, "time_zone": "UTC" });
            assert_eq!(hall.client.post("/v1/programs", &body).status, 201);
        }
        for (program, id) in [("spring", ANN), ("spring", BOB), ("spring", CYD), ("autumn", DAN)] {
            hall.local(program, "enrol", &json!({ "participant": id, "generation": "gen-x" }));
        }
        let by = |id: &str| format!("participant:{id}");
        for (pair, other) in [(PAIR, ANN), (OTHER_PAIR, CYD)] {
            hall.local(
                "spring",
                "propose-pair",
                &json!({ "actor": by(other), "pair": pair, "a": other, "b": BOB }),
            );
            hall.local("spring", "accept-pair", &json!({ "actor": by(BOB), "pair": pair }));
        }
        hall.machine.advance(3600);
        hall.local("spring", "log-session", &session(SESSION, "2026-09-21T14:40:00Z"));
        for (learner, teacher, skill, rating) in [(BOB, ANN, "negotiation", 4), (ANN, BOB, "rust", 5)] {
            let body = json!({
                "actor": by(learner), "session": SESSION, "teacher": teacher, "skill": skill, "rating": rating
            });
            hall.local("spring", "rate-exchange", &body);
        }
        hall.machine.advance(8 * 86_400);
        let published = hall.client.post("/v1/programs/spring/reports", &json!({}));
        assert_eq!(published.status, 201, "{}", published.text());
        published.json()["digest"].as_str().unwrap().clone_into(&mut hall.report);
        hall
    }

    /// With an admin's token, which is what everything needs from then on.
    fn new() -> (Self, String) {
        let mut hall = Self::without_tokens();
        let admin = hall.client.post("/v1/tokens", &json!({ "principal": "ops", "role": "admin" }));
        assert_eq!(admin.status, 201, "{}", admin.text());
        let secret = admin.json()["secret"].as_str().unwrap().to_owned();
        (hall, secret)
    }

    fn service(&self) -> &Service {
        self.service.as_ref().unwrap()
    }

    fn restarted(mut self) -> Self {
        self.service.take().unwrap().stop();
        let service =
            Service::start(self.log.clone(), self.log.heads(), self.data.path(), self.machine.clone());
        self.client = service.client();
        Self { service: Some(service), ..self }
    }

    fn local(&mut self, program: &str, name: &str, body: &Value) {
        let answer = self.client.post(&format!("/v1/programs/{program}/commands/{name}"), body);
        assert_eq!(answer.status, 201, "{name} {body}: {}", answer.text());
    }

    /// What `secret` is answered.
    fn ask(&mut self, secret: &str, method: &str, path: &str, body: &[u8]) -> Answer {
        let authorization = authorization(secret);
        let headers = [("authorization", authorization.as_str()), JSON];
        let headers = if body.is_empty() { &headers[..1] } else { &headers[..] };
        self.client.send(method, path, headers, body)
    }

    fn get(&mut self, secret: &str, path: &str) -> Answer {
        self.ask(secret, "GET", path, b"")
    }

    fn post(&mut self, secret: &str, path: &str, body: &Value) -> Answer {
        self.ask(secret, "POST", path, body.to_string().as_bytes())
    }

    fn command(&mut self, secret: &str, name: &str, body: &Value) -> Answer {
        self.post(secret, &format!("/v1/programs/spring/commands/{name}"), body)
    }

    fn try_issue(&mut self, admin: &str, wanted: &Value) -> Answer {
        self.post(admin, "/v1/tokens", wanted)
    }

    fn issue(&mut self, admin: &str, wanted: &Value) -> String {
        let answer = self.try_issue(admin, wanted);
        assert_eq!(answer.status, 201, "{wanted}: {}", answer.text());
        assert_eq!(answer.header("cache-control"), Some("no-store"));
        answer.json()["secret"].as_str().unwrap().to_owned()
    }

    fn bound(&mut self, admin: &str, principal: &str, participant: &str) -> String {
        let wanted = json!({
            "principal": principal, "role": "service", "programs": ["spring"], "participant": participant
        });
        self.issue(admin, &wanted)
    }

    fn scoped(&mut self, admin: &str, principal: &str, role: &str) -> String {
        self.issue(admin, &json!({ "principal": principal, "role": role, "programs": ["spring"] }))
    }

    /// Sizes of every ledger.
    fn sizes(&self) -> Vec<u64> {
        let published = &self.service().published;
        let programs = published.programs();
        programs.iter().map(|program| program.size()).chain([published.registry().size]).collect()
    }
}

fn session(id: &str, occurred_at: &str) -> Value {
    json!({
        "actor": format!("participant:{ANN}"),
        "session": id,
        "pair": PAIR,
        "occurred_at": occurred_at,
        "minutes": 30,
        "mode": "video",
        "exchanges": [
            { "teacher": ANN, "skill": "negotiation", "minutes": 20 },
            { "teacher": BOB, "skill": "rust", "minutes": 10 },
        ],
    })
}

fn id_of(secret: &str) -> TokenId {
    secret.parse::<Token>().unwrap().id
}

fn assert_stranger(answer: &Answer) {
    assert_eq!(answer.status, 401, "{}", answer.text());
    assert_eq!(answer.header("www-authenticate"), Some("Bearer realm=\"mentorlog\""));
    assert_eq!(answer.json()["code"], "unauthorized");
}

fn assert_denied(answer: &Answer) {
    assert_eq!((answer.status, &answer.json()["code"]), (403, &json!("forbidden")), "{}", answer.text());
}

// ------------------------------------------------------------------------------------------------- matrix

const ALL: &[&str] = &["service", "bound", "manager", "auditor", "viewer", "scraper", "admin", "auditor-all"];

/// Who may open a page: whoever may ask for the figures on it.
fn allowed_page(path: &str) -> Option<&'static [&'static str]> {
    Some(match path {
        // Of the first page each sees what is theirs, and a stranger nothing.
        "/" | "/definitions" | "/assets/{name}" | "/login" => ALL,
        "/p/{program}" => &["bound", "manager", "auditor", "viewer", "auditor-all"],
        "/p/{program}/participants/{id}" | "/p/{program}/pairs/{id}" => {
            &["bound", "manager", "auditor", "auditor-all"]
        }
        "/p/{program}/reciprocity"
        | "/p/{program}/retention"
        | "/p/{program}/pairs"
        | "/p/{program}/sessions"
        | "/p/{program}/participants"
        | "/p/{program}/history"
        | "/p/{program}/audit" => &["manager", "auditor", "auditor-all"],
        "/p/{program}/suggestions" => &["manager"],
        "/p/{program}/published" => &["manager", "auditor", "viewer", "auditor-all"],
        _ => return None,
    })
}

/// Who may use a way in, as the design has it. The service's own table is not asked.
fn allowed(method: &str, path: &str) -> &'static [&'static str] {
    if let ("GET", Some(who)) = (method, allowed_page(path)) {
        return who;
    }
    match (method, path) {
        (
            "GET",
            "/openapi.json" | "/docs" | "/docs/{file}" | "/problems" | "/problems/{code}" | "/healthz"
            | "/readyz",
        )
        // Whoever is not known yet is to become known.
        | ("POST", "/login" | "/logout") => ALL,
        ("GET", "/metrics") => &["scraper", "admin"],
        ("GET" | "POST", "/v1/tokens") | ("DELETE", "/v1/tokens/{token}") => &["admin"],
        ("GET", "/v1/programs") => &["service", "manager", "auditor", "admin", "auditor-all"],
        ("POST", "/v1/programs" | "/v1/programs/{program}/rotate-key" | "/v1/registry/rotate-key") => {
            &["admin"]
        }
        ("GET", "/v1/programs/{program}") => &["service", "manager", "auditor", "auditor-all"],
        ("GET" | "POST", "/v1/programs/{program}/commands")
        | ("POST", "/v1/programs/{program}/commands/{command}") => &["service", "bound", "manager"],
        (
            "GET",
            "/v1/programs/{program}/participants/{id}"
            | "/v1/programs/{program}/pairs"
            | "/v1/programs/{program}/pairs.csv"
            | "/v1/programs/{program}/pairs/{id}"
            | "/v1/programs/{program}/sessions.csv"
            | "/v1/programs/{program}/sessions/{id}",
        ) => &["bound", "manager", "auditor", "auditor-all"],
        (
            "GET",
            "/v1/programs/{program}/participants"
            | "/v1/programs/{program}/participants.csv"
            | "/v1/programs/{program}/reciprocity"
            | "/v1/programs/{program}/retention"
            | "/v1/programs/{program}/health"
            | "/v1/programs/{program}/events"
            | "/v1/programs/{program}/events/stream"
            | "/v1/programs/{program}/read-models"
            | "/v1/programs/{program}/proofs/inclusion"
            | "/v1/programs/{program}/proofs/consistency"
            | "/v1/programs/{program}/bundle"
            | "/log/{program}/checkpoint"
            | "/log/{program}/tile/{*tile}",
        ) => &["manager", "auditor", "auditor-all"],
        (
            "GET",
            "/v1/programs/{program}/participants/{id}/personal"
            | "/v1/programs/{program}/participants/{id}/subject-access"
            | "/v1/programs/{program}/pairs/{id}/sealed"
            | "/v1/programs/{program}/sessions/{id}/sealed",
        ) => &["bound", "manager"],
        ("GET", "/v1/programs/{program}/suggestions" | "/v1/programs/{program}/rounds")
        | (
            "POST",
            "/v1/programs/{program}/reports"
            | "/v1/programs/{program}/openings"
            | "/v1/people/same"
            | "/v1/people/apart",
        ) => &["manager"],
        (
            "GET",
            "/v1/programs/{program}/published-figures"
            | "/v1/programs/{program}/reports"
            | "/v1/reports/{digest}"
            | "/log/{program}/reports/{digest}",
        ) => &["manager", "auditor", "viewer", "auditor-all"],
        (
            "GET",
            "/v1/registry/proofs/inclusion"
            | "/v1/registry/proofs/consistency"
            | "/log/registry/checkpoint"
            | "/log/registry/tile/{*tile}",
        ) => &["admin", "auditor-all"],
        ("GET", "/v1/keys") => &["manager", "auditor", "admin", "auditor-all"],
        other => panic!("nobody has said who may use {other:?}: say it here, and in the design"),
    }
}

/// A request that would do something, or show something, if it were let through.
fn request(method: &str, path: &str, report: &str, token: &str) -> (String, Vec<u8>) {
    let (query, body) = match (method, path) {
        ("POST", "/v1/tokens") => ("", json!({ "principal": "x", "role": "viewer" })),
        ("POST", "/v1/programs") => ("", json!({ "slug": "winter", "name": "Winter", "time_zone": "UTC" })),
        ("POST", "/v1/programs/{program}/commands") => {
            ("", json!([{ "command": "enrol", "data": { "participant": NEW, "generation": "gen-x" } }]))
        }
        ("POST", "/v1/programs/{program}/commands/{command}") => {
            ("", json!({ "participant": NEW, "generation": "gen-x" }))
        }
        ("POST", "/v1/programs/{program}/rotate-key" | "/v1/registry/rotate-key") => {
            ("", json!({ "key_number": 2 }))
        }
        ("POST", "/v1/programs/{program}/reports" | "/login" | "/logout") => ("", json!({})),
        ("POST", "/v1/programs/{program}/openings") => ("", json!({ "subject": ANN })),
        ("POST", "/v1/people/same") => {
            let somebody = |program: &str, who: &str| json!({ "program": program, "participant": who });
            ("", json!({ "a": somebody("spring", ANN), "b": somebody("autumn", DAN) }))
        }
        ("POST", "/v1/people/apart") => ("", json!({ "program": "spring", "participant": ANN })),
        ("GET", path) if path.ends_with("/proofs/inclusion") => ("?seq=0&size=1", Value::Null),
        ("GET", path) if path.ends_with("/proofs/consistency") => ("?old=1&new=1", Value::Null),
        // Let in, it would never end.
        ("GET", path) if path.ends_with("/events/stream") => ("?from=nowhere", Value::Null),
        ("GET" | "DELETE", _) => ("", Value::Null),
        other => panic!("no request is known for {other:?}"),
    };
    let thing = match path {
        path if path.contains("/participants/") => ANN,
        path if path.contains("/pairs/") => PAIR,
        _ => SESSION,
    };
    let path = path
        .replace("{program}", "spring")
        .replace("{command}", "enrol")
        .replace("{id}", thing)
        .replace("{digest}", report)
        .replace("{file}", "start.js")
        .replace("{code}", "busy")
        .replace("{token}", token)
        .replace("{*tile}", "0/000.p/1")
        .replace("{name}", "0000000000000000.css");
    let body = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
    (format!("{path}{query}"), body)
}

#[test]
fn nobody_is_let_in_anywhere_but_where_the_design_says_and_a_denied_request_appends_nothing() {
    let (mut hall, admin) = Hall::new();
    let mut askers: Vec<(String, String)> = Vec::new();
    // What is no token, or none that is honoured: whatever it once allowed.
    let mut strangers: Vec<(String, Option<String>)> = vec![("none".into(), None)];
    let dead = id_of(&admin).0.simple().to_string();
    for (name, text) in [
        ("empty", "Bearer"),
        ("basic", "Basic b3BzOm9wcw=="),
        ("scheme", &admin),
        ("short", &format!("Bearer {}", &admin[..admin.len() - 1])),
        ("long", &format!("Bearer {admin}A")),
        ("upper", &format!("Bearer {}", admin.to_uppercase())),
        ("unknown", &authorization(&Token::random().reveal())),
        ("wrong secret", &format!("Bearer mtk_{dead}_{}", &Token::random().reveal()[37..])),
    ] {
        strangers.push((name.into(), Some(text.to_owned())));
    }
    for role in ["service", "manager", "auditor", "viewer"] {
        askers.push((role.to_owned(), hall.scoped(&admin, role, role)));
        let elsewhere = json!({ "principal": role, "role": role, "programs": ["autumn"] });
        askers.push((format!("{role} elsewhere"), hall.issue(&admin, &elsewhere)));
    }
    askers.push(("bound".to_owned(), hall.bound(&admin, "app", ANN)));
    let elsewhere =
        json!({ "principal": "app", "role": "service", "programs": ["autumn"], "participant": DAN });
    askers.push(("bound elsewhere".to_owned(), hall.issue(&admin, &elsewhere)));
    askers
        .push(("scraper".to_owned(), hall.issue(&admin, &json!({ "principal": "prom", "role": "scraper" }))));
    askers.push((
        "auditor-all".to_owned(),
        hall.issue(&admin, &json!({ "principal": "kpmg", "role": "auditor" })),
    ));
    askers.push(("admin".to_owned(), admin.clone()));
    let end = json!("2026-09-29T20:00:00Z");
    for role in ["service", "manager", "auditor", "viewer", "scraper", "admin"] {
        let over = hall.issue(&admin, &json!({ "principal": role, "role": role, "expires_at": end }));
        strangers.push((format!("expired {role}"), Some(authorization(&over))));
        let revoked = hall.issue(&admin, &json!({ "principal": role, "role": role }));
        let path = format!("/v1/tokens/{}", id_of(&revoked));
        assert_eq!(hall.ask(&admin, "DELETE", &path, b"").status, 200);
        strangers.push((format!("revoked {role}"), Some(authorization(&revoked))));
    }
    hall.machine.advance(86_400);
    let auditor = askers.iter().find(|(name, _)| name == "auditor-all").unwrap().1.clone();
    until("the published checkpoints", || {
        let mut is_there = |name| hall.get(&auditor, &format!("/log/{name}/checkpoint")).status == 200;
        (is_there("registry") && is_there("spring")).then_some(())
    });

    // Where the registry may stand for a program it is a way in of its own.
    let mut ways: Vec<(String, String)> =
        declared().map(|way| (way.method.to_string(), way.path.to_owned())).collect();
    ways.push(("GET".into(), "/log/registry/checkpoint".into()));
    ways.push(("GET".into(), "/log/registry/tile/{*tile}".into()));
    let (mut table, mut wrongly, mut asked) = (String::new(), Vec::new(), 0);
    let before = hall.sizes();
    // First everybody who may not: with requests that would do something.
    let token = id_of(&askers[0].1).to_string();
    for (method, path) in &ways {
        let may = allowed(method, path);
        let (target, body) = request(method, path, &hall.report.clone(), &token);
        let open = may.contains(&"scraper") && may.contains(&"bound") && path != "/";
        for (name, header) in &strangers {
            let header = header.as_ref().map(|header| ("authorization", header.as_str()));
            let headers: Vec<_> = header.into_iter().chain((!body.is_empty()).then_some(JSON)).collect();
            let head = (method == "GET").then_some("HEAD");
            for method in [method.as_str()].into_iter().chain(head) {
                let answer = hall.client.send(method, &target, &headers, &body);
                asked += 1;
                if answer.status != 401 && !open {
                    wrongly.push(format!("{name}: {method} {target}: {}", answer.status));
                }
            }
        }
        for (name, secret) in &askers {
            if may.contains(&name.as_str()) {
                continue;
            }
            let answer = hall.ask(secret, method, &target, &body);
            asked += 1;
            // The list of programs, and what concerns no program, are the same for whoever is elsewhere.
            let role = name.strip_suffix(" elsewhere");
            let everywhere = !path.contains("{program}") && !path.contains("{digest}");
            let denied = match role {
                Some(role) if may.contains(&role) && everywhere => continue,
                Some(role) if may.contains(&role) => 404,
                _ => 403,
            };
            if answer.status != denied {
                wrongly.push(format!("{name}: {method} {target}: {} {}", answer.status, answer.text()));
            }
        }
    }
    assert!(wrongly.is_empty(), "wrongly answered, of {asked}:\n{}", wrongly.join("\n"));
    assert_eq!(hall.sizes(), before, "a denied request has appended something");
    let _ = writeln!(table, "{asked} requests of those who may not: 0 let in\n");
    // Then everybody who may: they are let in, to where a service without a body says what it wants.
    for (method, path) in &ways {
        let may = allowed(method, path);
        let (target, body) = request(method, path, &hall.report.clone(), NEW);
        let body: &[u8] = if body.is_empty() { b"" } else { b"{" };
        let mut statuses = Vec::new();
        for (name, secret) in askers.clone() {
            let answer = hall.ask(&secret, method, &target, body);
            statuses.push(format!("{name} {}", answer.status));
            if may.contains(&name.as_str()) {
                assert!(![401, 403].contains(&answer.status), "{name}: {method} {target}: {}", answer.status);
            }
        }
        let _ = writeln!(table, "{method} {path}\n    {}", statuses.join(", "));
    }
    insta::assert_snapshot!("matrix", table);
}

#[test]
fn what_is_sealed_is_answered_to_those_it_is_for_and_stands_in_nobody_elses_answer() {
    const OF_ANN: &str = "Ann Quetzal-Sealed";
    const OF_BOB: &str = "Bob Wombat-Sealed";
    const BOB_ON_ANN: &str = "haggles like a wombat";
    const ANN_ON_BOB: &str = "borrows like a quetzal";
    const GOAL: &str = "to haggle, in confidence";
    let mut hall = Hall::without_tokens();
    hall.service.take().unwrap().stop();
    let (log, machine) = (hall.log.clone(), hall.machine.clone());
    let service = Service::sealing(log, hall.log.heads(), hall.data.path(), machine, None).unwrap();
    (hall.client, hall.service) = (service.client(), Some(service));
    for (who, name) in [(ANN, OF_ANN), (BOB, OF_BOB)] {
        hall.local("spring", "set-personal", &json!({ "participant": who, "name": name }));
    }
    for (learner, teacher, skill, comment) in
        [(BOB, ANN, "negotiation", BOB_ON_ANN), (ANN, BOB, "rust", ANN_ON_BOB)]
    {
        let body = json!({ "actor": format!("participant:{learner}"), "session": SESSION, "teacher": teacher,
            "skill": skill, "rating": 3, "comment": comment });
        hall.local("spring", "revise-rating", &body);
    }
    let goal = json!({ "actor": format!("participant:{ANN}"), "pair": PAIR, "skill": "rust", "text": GOAL });
    hall.local("spring", "set-goal", &goal);
    let admin = hall.client.post("/v1/tokens", &json!({ "principal": "ops", "role": "admin" }));
    let admin = admin.json()["secret"].as_str().unwrap().to_owned();

    let mut askers = vec![("admin".to_owned(), admin.clone())];
    for role in ["service", "manager", "auditor", "viewer"] {
        askers.push((role.to_owned(), hall.scoped(&admin, role, role)));
        let elsewhere = json!({ "principal": role, "role": role, "programs": ["autumn"] });
        askers.push((format!("{role} elsewhere"), hall.issue(&admin, &elsewhere)));
    }
    askers.push(("bound".to_owned(), hall.bound(&admin, "app", ANN)));
    askers.push(("bound to cyd".to_owned(), hall.bound(&admin, "app", CYD)));
    let of = |what: &str| format!("/v1/programs/spring/{what}");
    let openings = json!({ "subject": SESSION }).to_string().into_bytes();
    let everything = [OF_ANN, OF_BOB, BOB_ON_ANN, ANN_ON_BOB, GOAL];
    // What is asked for, what a manager finds there, and what Ann does; whoever is not named finds nothing.
    type Way<'a> = (&'a str, String, &'a [u8], &'a [&'a str], Option<&'a [&'a str]>);
    let ways: [Way<'_>; 8] = [
        ("GET", of(&format!("participants/{ANN}/personal")), b"", &[OF_ANN], Some(&[OF_ANN])),
        ("GET", of(&format!("participants/{BOB}/personal")), b"", &[OF_BOB], None),
        (
            "GET",
            of(&format!("participants/{ANN}/subject-access")),
            b"",
            &[OF_ANN, BOB_ON_ANN, ANN_ON_BOB, GOAL],
            Some(&[OF_ANN, ANN_ON_BOB, GOAL]),
        ),
        (
            "GET",
            of(&format!("participants/{BOB}/subject-access")),
            b"",
            &[OF_BOB, BOB_ON_ANN, ANN_ON_BOB, GOAL],
            None,
        ),
        (
            "GET",
            of(&format!("sessions/{SESSION}/sealed")),
            b"",
            &[BOB_ON_ANN, ANN_ON_BOB],
            Some(&[ANN_ON_BOB]),
        ),
        ("GET", of(&format!("pairs/{PAIR}/sealed")), b"", &[GOAL], Some(&[GOAL])),
        ("GET", of(&format!("pairs/{OTHER_PAIR}/sealed")), b"", &[], None),
        ("POST", of("openings"), &openings, &[BOB_ON_ANN, ANN_ON_BOB], None),
    ];
    let mut found = String::new();
    for (method, path, body, of_manager, of_bound) in &ways {
        let stranger = hall.client.send(method, path, &[JSON], body);
        assert_eq!(stranger.status, 401, "{path}");
        assert!(everything.iter().all(|text| !stranger.text().contains(text)));
        for (name, secret) in &askers {
            let before = hall.sizes();
            let answer = hall.ask(secret, method, path, body);
            let _ = writeln!(found, "{} {name}: {method} {path}", answer.status);
            let theirs: Option<&[&str]> = match name.as_str() {
                "manager" => Some(of_manager),
                "bound" => *of_bound,
                "bound to cyd" if path.contains(OTHER_PAIR) => Some(&[]),
                _ => None,
            };
            assert_eq!(theirs.is_some(), answer.status == 200, "{name}: {path}: {}", answer.text());
            for text in everything {
                let is_theirs = theirs.is_some_and(|theirs| theirs.contains(&text));
                assert_eq!(answer.text().contains(text), is_theirs, "{name}: {path}: {text}");
            }
            if theirs.is_none() {
                assert!([403, 404].contains(&answer.status), "{name}: {path}: {}", answer.status);
                assert_eq!(hall.sizes(), before, "{name}: {path}: a denied read is no read");
            }
        }
    }
    insta::assert_snapshot!("sealed_matrix", found);

    // Whoever is erased is gone for those who might have read it, and there is no more to be learned for the others.
    let manager = askers.iter().find(|(name, _)| name == "manager").unwrap().1.clone();
    let erase = json!({ "participant": BOB }).to_string().into_bytes();
    assert_eq!(hall.ask(&manager, "POST", &of("commands/erase-person"), &erase).status, 201);
    for path in [
        format!("participants/{BOB}/personal"),
        format!("sessions/{SESSION}/sealed"),
        format!("pairs/{PAIR}/sealed"),
    ] {
        for (name, secret) in &askers {
            let answer = hall.get(secret, &of(&path));
            let is_bobs = path.contains(BOB);
            let wanted = match name.as_str() {
                "manager" => 410,
                "bound" if !is_bobs => 410,
                "bound to cyd" if !is_bobs => 404,
                name if name.starts_with("manager") => 404,
                _ => 403,
            };
            assert_eq!(answer.status, wanted, "{name}: {path}: {}", answer.text());
        }
    }
}

/// Every file below a folder that is written in Rust.
fn sources(folder: &std::path::Path, found: &mut Vec<std::path::PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

#[test]
fn no_route_is_added_anywhere_but_in_the_table() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&folder, &mut files);
    files.sort();
    assert!(files.len() > 100, "{}", files.len());
    // Whoever names none of these adds none.
    let ways =
        ["routing::", "MethodRouter", "Router::", ".route(", ".route_service(", ".nest(", ".nest_service("];
    let mut found = Vec::new();
    for path in files {
        let text = std::fs::read_to_string(&path).unwrap();
        let name = path.strip_prefix(&folder).unwrap().display().to_string();
        for line in text.lines().filter(|line| ways.iter().any(|way| line.contains(way))) {
            found.push(format!("{name}: {}", line.trim()));
        }
    }
    let (table, elsewhere): (Vec<_>, Vec<_>) =
        found.iter().partition(|line| line.starts_with("http/routes.rs: "));
    // While the service starts there is nothing but its being alive.
    let starting = [
        "http/mod.rs: use axum::routing::get;",
        "http/mod.rs: let router = Router::new().route(\"/healthz\", get(healthz)).fallback(starting);",
    ];
    assert_eq!(elsewhere, starting);
    let added: Vec<_> =
        table.iter().filter(|line| line.contains(".route(") || line.contains(".nest")).collect();
    assert_eq!(added.len(), 1, "{added:?}");
    assert!(added[0].starts_with("http/routes.rs: .route(path, route"), "{added:?}");
}

#[test]
fn a_hundred_thousand_random_tokens_open_nothing() {
    let (mut hall, admin) = Hall::new();
    let service = hall.scoped(&admin, "app", "service");
    let known = [id_of(&admin), id_of(&service)];
    let before = hall.sizes();
    let address = hall.service().address;
    let threads: Vec<_> = (0..4_u64)
        .map(|thread| {
            std::thread::spawn(move || {
                let mut chance = Chance::seeded(0x0070_6b65 + thread);
                let mut client = Client::new(address);
                let mut let_in = 0;
                for n in 0..25_000 {
                    let mut bytes = [0_u8; 32];
                    bytes.chunks_mut(8).for_each(|eight| eight.copy_from_slice(&chance.next().to_le_bytes()));
                    // Half of them with the id of a token that is honoured.
                    let id = match n % 4 {
                        0 => known[0],
                        1 => known[1],
                        _ => Token::random().id,
                    };
                    let header = authorization(&Token::new(id, bytes).reveal());
                    let answer = client.send("GET", "/v1/programs", &[("authorization", &header)], b"");
                    let_in += u32::from(answer.status != 401);
                }
                let_in
            })
        })
        .collect();
    let let_in: u32 = threads.into_iter().map(|thread| thread.join().unwrap()).sum();
    assert_eq!((let_in, hall.sizes()), (0, before));
}

#[test]
fn a_stranger_is_told_nothing_of_why() {
    let (mut hall, admin) = Hall::new();
    let end = json!({ "principal": "a", "role": "admin", "expires_at": "2026-09-29T20:00:00Z" });
    let (over, revoked) =
        (hall.issue(&admin, &end), hall.issue(&admin, &json!({ "principal": "b", "role": "admin" })));
    hall.ask(&admin, "DELETE", &format!("/v1/tokens/{}", id_of(&revoked)), b"");
    hall.machine.advance(86_400);
    let known = Token::new(id_of(&admin), [7; 32]).reveal();
    let none = hall.client.get("/v1/programs");
    assert_stranger(&none);
    for secret in ["mtk_", &over, &revoked, &known, &Token::random().reveal()] {
        let answer = hall.get(secret, "/v1/programs");
        assert_stranger(&answer);
        assert_eq!(answer.body, none.body, "the same for every reason");
    }
    let twice = authorization(&admin);
    let headers = [("authorization", twice.as_str()), ("authorization", twice.as_str())];
    assert_stranger(&hall.client.send("GET", "/v1/programs", &headers, b""));
    // The scheme's case does not matter (RFC 9110, section 11.1).
    let lower = format!("bearer {admin}");
    assert_eq!(hall.client.send("GET", "/v1/programs", &[("authorization", &lower)], b"").status, 200);
}

// -------------------------------------------------------------------------------------------------- scope

#[test]
fn a_program_out_of_scope_is_answered_as_one_that_does_not_exist() {
    let (mut hall, admin) = Hall::new();
    let manager = hall.scoped(&admin, "hr", "manager");
    let (there, nowhere) = (
        hall.get(&manager, "/v1/programs/autumn/health").text().replace("autumn", "X"),
        hall.get(&manager, "/v1/programs/nowhere/health").text().replace("nowhere", "X"),
    );
    assert_eq!(there, nowhere);
    for name in ["autumn", AUTUMN, "%61utumn"] {
        let answer = hall.get(&manager, &format!("/v1/programs/{name}/health"));
        assert_eq!((answer.status, &answer.json()["code"]), (404, &json!("no-such-program")));
    }
    // One in scope is found by either name.
    for name in ["spring", SPRING, "%73pring"] {
        assert_eq!(hall.get(&manager, &format!("/v1/programs/{name}/health")).status, 200, "{name}");
    }
    let slugs = |answer: Answer, list: &str| {
        let answer = answer.json();
        let names =
            answer[list].as_array().unwrap().iter().map(|one| one["slug"].as_str().unwrap_or("-").to_owned());
        names.collect::<Vec<_>>()
    };
    assert_eq!(slugs(hall.get(&manager, "/v1/programs"), "programs"), ["spring"]);
    assert_eq!(slugs(hall.get(&manager, "/v1/keys"), "keys"), ["-", "spring"]);
    assert_eq!(slugs(hall.get(&admin, "/v1/programs"), "programs"), ["autumn", "spring"]);
    let auditor = hall.scoped(&admin, "kpmg", "auditor");
    for path in [
        "/log/registry/checkpoint",
        "/log/%72egistry/checkpoint",
        "/log/registry/tile/0/000.p/1",
        "/v1/registry/proofs/consistency?old=1&new=1",
    ] {
        assert_denied(&hall.get(&auditor, path));
    }
    // The registry is no program.
    let everywhere = hall.issue(&admin, &json!({ "principal": "kpmg", "role": "auditor" }));
    for path in ["/v1/programs/registry/proofs/consistency?old=1&new=1", "/log/registry/reports/x"] {
        let answer = hall.get(&everywhere, path);
        assert_eq!((answer.status, &answer.json()["code"]), (404, &json!("no-such-program")), "{path}");
    }
    // An admin runs the installation and sees no program's contents.
    for path in ["events", "participants", "health", "pairs", "published-figures", "commands"] {
        assert_denied(&hall.get(&admin, &format!("/v1/programs/spring/{path}")));
    }
}

// --------------------------------------------------------------------------------------------- visibility

#[test]
fn a_rating_is_seen_by_its_learner_the_manager_and_the_auditor_and_not_by_its_teacher() {
    let (mut hall, admin) = Hall::new();
    let tokens = [
        ("ann", hall.bound(&admin, "app", ANN)),
        ("bob", hall.bound(&admin, "app", BOB)),
        ("manager", hall.scoped(&admin, "hr", "manager")),
        ("auditor", hall.scoped(&admin, "kpmg", "auditor")),
    ];
    let path = format!("/v1/programs/spring/sessions/{SESSION}");
    let mut seen = String::new();
    for (name, secret) in tokens {
        let answer = hall.get(&secret, &path).json();
        for exchange in answer["exchanges"].as_array().unwrap() {
            let _ = writeln!(seen, "{name} sees {} of {}", exchange["rating"], exchange["skill"]);
        }
    }
    insta::assert_snapshot!(seen, @r#"
    ann sees null of "negotiation"
    ann sees 5 of "rust"
    bob sees 4 of "negotiation"
    bob sees null of "rust"
    manager sees 4 of "negotiation"
    manager sees 5 of "rust"
    auditor sees 4 of "negotiation"
    auditor sees 5 of "rust"
    "#);
}

#[test]
fn a_bound_token_sees_its_own_pages_and_nothing_of_others() {
    let (mut hall, admin) = Hall::new();
    let ann = hall.bound(&admin, "app", ANN);
    let cyd = hall.bound(&admin, "app", CYD);
    let page = hall.get(&ann, &format!("/v1/programs/spring/participants/{ANN}"));
    assert_eq!(
        (page.status, &page.json()["worth_of_teaching"]),
        (200, &Value::Null),
        "of one learner: nothing"
    );
    for other in [BOB, CYD, DAN, NEW] {
        // The same whether or not there is such a participant.
        assert_denied(&hall.get(&ann, &format!("/v1/programs/spring/participants/{other}")));
        assert_denied(&hall.get(&ann, &format!("/v1/programs/spring/pairs?participant={other}")));
    }
    let pairs = |answer: Answer| {
        let answer = answer.json();
        answer["items"]
            .as_array()
            .unwrap()
            .iter()
            .map(|pair| pair["pair"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(pairs(hall.get(&ann, "/v1/programs/spring/pairs")), [PAIR]);
    assert_eq!(pairs(hall.get(&ann, &format!("/v1/programs/spring/pairs?participant={ANN}"))), [PAIR]);
    assert_eq!(pairs(hall.get(&cyd, "/v1/programs/spring/pairs?limit=1")), [OTHER_PAIR]);
    let cursor = |after: &str| format!("/v1/programs/spring/pairs?after={after}");
    assert_eq!(hall.get(&ann, &cursor(PAIR)).status, 200);
    let (theirs, nobodys) = (hall.get(&ann, &cursor(OTHER_PAIR)), hall.get(&ann, &cursor(NEW)));
    assert_eq!((theirs.status, theirs.body), (400, nobodys.body), "the cursor tells of no pair of others");
    for path in ["pairs", "sessions"] {
        let (own, other) = if path == "pairs" { (PAIR, OTHER_PAIR) } else { (SESSION, SESSION) };
        assert_eq!(hall.get(&ann, &format!("/v1/programs/spring/{path}/{own}")).status, 200);
        let asker = if path == "pairs" { &ann } else { &cyd };
        let theirs = hall.get(asker, &format!("/v1/programs/spring/{path}/{other}"));
        let nobodys = hall.get(asker, &format!("/v1/programs/spring/{path}/{NEW}"));
        assert_eq!((theirs.status, nobodys.status), (404, 404));
        assert_eq!(theirs.text().replace(other, "X"), nobodys.text().replace(NEW, "X"));
    }
}

/// A table by the names of its columns.
fn rows(answer: &Answer) -> Vec<BTreeMap<String, String>> {
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.header("content-type"), Some("text/csv; charset=utf-8; header=present"));
    let mut reader = csv::Reader::from_reader(answer.text().as_bytes());
    let header = reader.headers().unwrap().clone();
    let named = |row: csv::StringRecord| {
        header.iter().map(str::to_owned).zip(row.iter().map(str::to_owned)).collect::<BTreeMap<_, _>>()
    };
    reader.records().map(|row| named(row.unwrap())).collect()
}

fn column(rows: &[BTreeMap<String, String>], name: &str) -> Vec<String> {
    rows.iter().map(|row| row[name].clone()).collect()
}

#[test]
fn a_table_shows_each_role_what_its_pages_show_and_nothing_else() {
    let (mut hall, admin) = Hall::new();
    let path = |name: &str| format!("/v1/programs/spring/{name}");
    let manager = hall.scoped(&admin, "boss", "manager");
    // Whatever is sealed about somebody is nowhere in a table: these are its columns, and no others.
    for role in ["manager", "auditor"] {
        let secret = hall.scoped(&admin, "reads", role);
        let sessions = rows(&hall.get(&secret, &path("sessions.csv")));
        assert_eq!(column(&sessions, "teacher"), [ANN, BOB]);
        assert_eq!(column(&sessions, "rating"), ["4", "5"]);
        assert_eq!(column(&sessions, "learner_generation"), ["gen-x", "gen-x"]);
        assert_eq!(column(&rows(&hall.get(&secret, &path("pairs.csv"))), "pair"), [PAIR, OTHER_PAIR]);
        let people = rows(&hall.get(&secret, &path("participants.csv")));
        assert_eq!(column(&people, "participant"), [ANN, BOB, CYD]);
        insta::assert_snapshot!(
            "columns",
            [&sessions, &people].map(|rows| rows[0].keys().cloned().collect::<Vec<_>>().join(" ")).join("\n")
        );
    }
    for role in ["service", "viewer"] {
        let secret = hall.scoped(&admin, "other", role);
        for name in ["sessions.csv", "pairs.csv", "participants.csv"] {
            assert_denied(&hall.get(&secret, &path(name)));
        }
    }
    let ann = hall.bound(&admin, "app", ANN);
    let cyd = hall.bound(&admin, "app", CYD);
    assert_denied(&hall.get(&ann, &path("participants.csv")));
    let sessions = rows(&hall.get(&ann, &path("sessions.csv")));
    assert_eq!(column(&sessions, "teacher"), [ANN, BOB]);
    assert_eq!(
        column(&sessions, "rating"),
        ["", "5"],
        "what Bob gave for Ann's teaching is not hers to read"
    );
    assert_eq!(column(&sessions, "teacher_generation"), ["gen-x", ""]);
    assert_eq!(rows(&hall.get(&cyd, &path("sessions.csv"))), []);
    assert_eq!(column(&rows(&hall.get(&cyd, &path("pairs.csv"))), "pair"), [OTHER_PAIR]);
    for name in ["sessions.csv", "pairs.csv"] {
        assert_denied(&hall.get(&ann, &path(&format!("{name}?participant={CYD}"))));
        assert_eq!(hall.get(&ann, &path(&format!("{name}?participant={ANN}"))).status, 200);
    }
    // Why a pair ended is a word of a closed list; a matter of conduct says `withheld`.
    let ended = json!({ "pair": PAIR, "reason": "withheld" });
    assert_eq!(hall.command(&manager, "end-pair", &ended).status, 201);
    let pairs = rows(&hall.get(&manager, &path("pairs.csv?state=ended")));
    assert_eq!(column(&pairs, "end_reason"), ["withheld"]);
    for (query, length) in [("live", 2), ("logged", 2), ("confirmed", 0), ("voided", 0)] {
        let of_state = rows(&hall.get(&manager, &path(&format!("sessions.csv?state={query}"))));
        assert_eq!(of_state.len(), length, "{query}");
    }
    assert_eq!(hall.get(&manager, &path("sessions.csv?state=gone")).status, 400);
}

#[test]
fn two_histories_that_differ_in_what_is_not_hers_to_know_are_the_same_to_her() {
    let by = |id: &str| format!("participant:{id}");
    let waiting = "00000000-0000-4000-8000-0000000000f3";
    let told = |name: &str, body: &Value| {
        let mut hall = Hall::without_tokens();
        hall.local("spring", "enrol", &json!({ "participant": NEW, "generation": "gen-x" }));
        let proposal = json!({ "actor": by(ANN), "pair": waiting, "a": ANN, "b": NEW });
        hall.local("spring", "propose-pair", &proposal);
        hall.local("spring", name, body);
        let admin = hall.client.post("/v1/tokens", &json!({ "principal": "ops", "role": "admin" })).json();
        let admin = admin["secret"].as_str().unwrap().to_owned();
        let (ann, manager) = (hall.bound(&admin, "app", ANN), hall.scoped(&admin, "hr", "manager"));
        let root = hall.service().published.program("spring").unwrap().view().root;
        let root = mentorlog_events::id::B64(root).to_string();
        let mut seen = |secret: &str| {
            [
                "pairs",
                "pairs.csv",
                &format!("pairs/{waiting}"),
                &format!("participants/{ANN}"),
                "sessions.csv",
            ]
            .map(|path| {
                let answer = hall.get(secret, &format!("/v1/programs/spring/{path}"));
                assert_eq!(answer.status, 200, "{path}");
                answer.text().replace(&root, "ROOT")
            })
        };
        (seen(&ann), seen(&manager))
    };
    let blocked = told("block-pairing", &json!({ "actor": by(NEW), "participant": NEW, "other": ANN }));
    let gone = told("leave-program", &json!({ "actor": by(NEW), "participant": NEW }));
    assert_eq!(blocked.0, gone.0);
    assert_ne!(blocked.1, gone.1, "whoever runs the program is told");
    assert!(blocked.1[1].contains("pairing-blocked"), "{}", blocked.1[1]);
}

#[test]
fn whoever_taught_sees_an_aggregate_over_enough_learners() {
    let mut hall = Hall::without_tokens();
    hall.local("spring", "change-policy", &json!({ "measures": { "k_anonymity": 3 } }));
    // Ann teaches Bob (who has rated 4), Cyd and three more; each rates once.
    let by = |id: &str| format!("participant:{id}");
    let learner = |n: usize| format!("00000000-0000-4000-8000-00000000010{n}");
    let mut expected = Vec::new();
    let log = |hall: &mut Hall, n: usize, rating: u8| {
        let (who, pair, session) = (
            learner(n),
            format!("00000000-0000-4000-8000-00000000020{n}"),
            format!("00000000-0000-4000-8000-00000000030{n}"),
        );
        hall.local("spring", "enrol", &json!({ "participant": who, "generation": "gen-z" }));
        hall.local("spring", "propose-pair", &json!({ "actor": by(&who), "pair": pair, "a": ANN, "b": who }));
        hall.local("spring", "accept-pair", &json!({ "actor": by(ANN), "pair": pair }));
        hall.machine.advance(3600);
        let at = mentorlog::clock::Source::wall(&hall.machine).plus_minutes(-40);
        let told = json!({
            "actor": by(ANN), "session": session, "pair": pair, "occurred_at": at, "minutes": 30, "mode": "video",
            "exchanges": [{ "teacher": ANN, "skill": "negotiation", "minutes": 20 }],
        });
        hall.local("spring", "log-session", &told);
        let rated = json!({
            "actor": by(&who), "session": session, "teacher": ANN, "skill": "negotiation", "rating": rating
        });
        hall.local("spring", "rate-exchange", &rated);
    };
    hall.local("spring", "set-capacity", &json!({ "participant": ANN, "capacity": 20 }));
    for (n, rating) in [(1, 5), (2, 1), (3, 2), (4, 2), (5, 3)] {
        log(&mut hall, n, rating);
        let view = hall.service().published.program("spring").unwrap();
        let worth = view.view().models.worth_of_teaching(ANN.parse().unwrap());
        expected.push(worth.map(|worth| (worth.learners, worth.sum)));
    }
    // Three at a time: 4 + 5 + 1; nothing moves until three more have rated: 10 + 2 + 2 + 3.
    assert_eq!(expected, [None, Some((3, 10)), Some((3, 10)), Some((3, 10)), Some((6, 17))]);
    // Whatever Ann does with her own sessions, and whatever is revised, the figure says nothing more.
    let one = "00000000-0000-4000-8000-000000000301";
    let dispute = json!({ "actor": by(ANN), "session": one });
    let settle = json!({ "actor": by(ANN), "session": one });
    let revised = json!({
        "actor": by(&learner(2)), "session": "00000000-0000-4000-8000-000000000302", "teacher": ANN,
        "skill": "negotiation", "rating": 5
    });
    let void = json!({ "actor": by(&learner(3)), "session": "00000000-0000-4000-8000-000000000303" });
    for (name, body) in [
        ("dispute-session", dispute),
        ("resolve-dispute", settle),
        ("revise-rating", revised),
        ("void-session", json!({ "session": void["session"] })),
    ] {
        hall.local("spring", name, &body);
        let view = hall.service().published.program("spring").unwrap();
        let worth = view.view().models.worth_of_teaching(ANN.parse().unwrap()).unwrap();
        assert_eq!((worth.learners, worth.sum), (6, 17), "{name}");
    }
    let admin = hall.client.post("/v1/tokens", &json!({ "principal": "ops", "role": "admin" })).json();
    let admin = admin["secret"].as_str().unwrap().to_owned();
    let ann = hall.bound(&admin, "app", ANN);
    let page = hall.get(&ann, &format!("/v1/programs/spring/participants/{ANN}")).json();
    assert_eq!(page["worth_of_teaching"], json!({ "learners": 6, "sum": 17, "mean": 17.0 / 6.0 }));
    let manager = hall.scoped(&admin, "hr", "manager");
    let page = hall.get(&manager, &format!("/v1/programs/spring/participants/{ANN}")).json();
    assert!(page.get("worth_of_teaching").is_none(), "whoever sees single ratings has no use for it");
}

// ------------------------------------------------------------------------------------------------- acting

#[test]
fn a_bound_token_acts_as_nobody_else_alone_in_batches_or_on_somebodys_behalf() {
    let (mut hall, admin) = Hall::new();
    let cyd = hall.bound(&admin, "app", CYD);
    let before = hall.sizes();
    let by = |id: &str| format!("participant:{id}");
    for actor in [json!(by(ANN)), json!(by(BOB)), json!("manager")] {
        let body = json!({ "actor": actor, "participant": ANN });
        assert_denied(&hall.command(&cyd, "take-break", &body));
    }
    for on_behalf_of in [ANN, CYD] {
        let body = json!({ "on_behalf_of": on_behalf_of, "participant": on_behalf_of });
        assert_denied(&hall.command(&cyd, "take-break", &body));
        let body = json!({ "actor": "manager", "on_behalf_of": on_behalf_of, "participant": on_behalf_of });
        assert_denied(&hall.command(&cyd, "take-break", &body));
    }
    assert_eq!(
        hall.command(&cyd, "take-break", &json!({ "actor": "system", "participant": ANN })).status,
        400
    );
    // Acting as themselves on somebody else is for the rules to refuse.
    assert_eq!(hall.command(&cyd, "take-break", &json!({ "participant": ANN })).status, 404);
    let items = [
        json!({ "command": "take-break", "actor": by(ANN), "data": { "participant": ANN } }),
        json!({ "command": "take-break", "data": { "actor": by(ANN), "participant": ANN } }),
        json!({ "command": "take-break", "actor": "manager", "data": { "participant": ANN } }),
        json!({ "command": "take-break", "on_behalf_of": ANN, "data": { "participant": ANN } }),
        json!({ "command": "take-break", "data": { "on_behalf_of": CYD, "participant": CYD } }),
    ];
    let path = "/v1/programs/spring/commands";
    let answer = hall.post(&cyd, path, &json!(items)).json();
    let codes: Vec<&Value> =
        answer["results"].as_array().unwrap().iter().map(|result| &result["code"]).collect();
    assert_eq!(codes, vec![&json!("forbidden"); 5]);
    for item in &items {
        assert_denied(&hall.post(&cyd, &format!("{path}?atomic=true"), &json!([item])));
        let lines = format!("{item}\n");
        let headers = [("authorization", authorization(&cyd)), (NDJSON.0, NDJSON.1.to_owned())];
        let headers: Vec<(&str, &str)> =
            headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let answer = hall.client.send("POST", path, &headers, lines.as_bytes()).json();
        assert_eq!(answer["results"][0]["code"], "forbidden");
    }
    assert_eq!(hall.sizes(), before);
    // What is theirs to do, they do, named or not.
    assert_eq!(hall.command(&cyd, "take-break", &json!({ "participant": CYD })).status, 201);
    let back = json!({ "actor": by(CYD), "participant": CYD });
    assert_eq!(hall.command(&cyd, "return-from-break", &back).status, 201);
    let told = hall.log.read(LedgerId(SPRING.parse().unwrap()), before[1], 10).unwrap();
    for record in told {
        let entry: Value = serde_json::from_slice(record.bytes()).unwrap();
        assert_eq!((&entry["actor"], &entry["principal"]), (&json!(by(CYD)), &json!("app")));
    }
}

#[test]
fn a_bound_token_learns_nothing_of_others_by_being_refused() {
    let mut hall = Hall::without_tokens();
    // Cyd blocks Ann while Ann's proposal to her waits.
    let by = |id: &str| format!("participant:{id}");
    let waiting = "00000000-0000-4000-8000-0000000000f3";
    let proposal = json!({ "actor": by(ANN), "pair": waiting, "a": ANN, "b": CYD });
    hall.local("spring", "propose-pair", &proposal);
    hall.local("spring", "block-pairing", &json!({ "actor": by(CYD), "participant": CYD, "other": ANN }));
    let watched = "00000000-0000-4000-8000-00000000000e";
    hall.local(
        "spring",
        "enrol",
        &json!({ "participant": watched, "generation": "gen-x", "arm": "comparison" }),
    );
    let admin = hall.client.post("/v1/tokens", &json!({ "principal": "ops", "role": "admin" })).json();
    let admin = admin["secret"].as_str().unwrap().to_owned();
    let (ann, manager) = (hall.bound(&admin, "app", ANN), hall.scoped(&admin, "hr", "manager"));
    let before = hall.sizes();
    // Who blocked her, who is only observed and who is not there are answered alike.
    let mut answers = Vec::new();
    for other in [CYD, watched, NEW] {
        let answer = hall.command(&ann, "propose-pair", &json!({ "a": ANN, "b": other }));
        let batch = json!([{ "command": "propose-pair", "data": { "a": ANN, "b": other } }]);
        let item = hall.post(&ann, "/v1/programs/spring/commands", &batch).json()["results"][0].clone();
        assert_eq!(item["code"], "cannot-be-paired");
        answers.push((answer.status, answer.json()["code"].clone(), answer.json()["detail"].clone()));
    }
    assert_eq!((answers[0].0, &answers[0].1), (409, &json!("cannot-be-paired")));
    assert!(answers.iter().all(|answer| answer == &answers[0]), "{answers:?}");
    let named = hall.command(&manager, "propose-pair", &json!({ "a": ANN, "b": CYD }));
    assert_eq!(named.json()["code"], "pairing-blocked", "a manager is told");
    // What is others' and what is not there are answered alike, whatever version is named.
    for (name, field, theirs) in [
        ("end-pair", "pair", OTHER_PAIR),
        ("pause-pair", "pair", OTHER_PAIR),
        ("take-break", "participant", BOB),
        ("set-capacity", "participant", BOB),
    ] {
        let answers: Vec<_> = [(theirs, None), (theirs, Some(0)), (NEW, None), (NEW, Some(0))]
            .into_iter()
            .map(|(id, version)| {
                let mut body = json!({ field: id });
                match name {
                    "end-pair" => body["reason"] = json!("time-constraints"),
                    "set-capacity" => body["capacity"] = json!(3),
                    _ => {}
                }
                if let Some(version) = version {
                    body["expected_version"] = json!(version);
                }
                let answer = hall.command(&ann, name, &body);
                assert_eq!(
                    (answer.status, &answer.json()["code"]),
                    (404, &json!("not-found")),
                    "{name} {body}"
                );
                answer.text().to_owned()
            })
            .collect();
        assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
    }
    assert_eq!(hall.sizes(), before);
    // That the proposal came to nothing is hers to know, and not because of whom.
    let path = format!("/v1/programs/spring/pairs/{waiting}");
    let (own, whole) = (hall.get(&ann, &path).json(), hall.get(&manager, &path).json());
    assert_eq!((&own["state"], own.get("invalidated_by")), (&whole["state"], None));
    assert_eq!(whole["invalidated_by"], "pairing-blocked");
    let listed = hall.get(&ann, "/v1/programs/spring/pairs");
    assert!(!listed.text().contains("pairing-blocked"), "{}", listed.text());
}

#[test]
fn a_service_for_whomever_it_names_does_not_change_what_is_withheld() {
    let (mut hall, admin) = Hall::new();
    let service = hall.scoped(&admin, "sync", "service");
    let before = hall.sizes();
    for (name, body) in [
        ("change-policy", json!({ "measures": { "k_anonymity": 1 } })),
        ("close-program", json!({})),
        ("archive-program", json!({})),
    ] {
        assert_denied(&hall.command(&service, name, &body));
        let batch = json!([{ "command": name, "data": body }]);
        let item = hall.post(&service, "/v1/programs/spring/commands", &batch).json()["results"][0].clone();
        assert_eq!(item["code"], "forbidden");
    }
    assert_eq!(hall.sizes(), before);
    let manager = hall.scoped(&admin, "hr", "manager");
    let body = json!({ "measures": { "k_anonymity": 4 } });
    assert_eq!(hall.command(&manager, "change-policy", &body).status, 201);
}

#[test]
fn an_idempotency_key_is_a_bound_participants_own_and_otherwise_the_principals() {
    let (mut hall, admin) = Hall::new();
    let (ann, bob) = (hall.bound(&admin, "app", ANN), hall.bound(&admin, "app", BOB));
    let keyed = |hall: &mut Hall, secret: &str, body: &Value| {
        let authorization = authorization(secret);
        let headers = [JSON, ("authorization", authorization.as_str()), ("idempotency-key", "the-same")];
        let path = "/v1/programs/spring/commands/log-session";
        hall.client.send("POST", path, &headers, body.to_string().as_bytes())
    };
    let mut told = session(NEW, "2026-09-25T09:00:00Z");
    told.as_object_mut().unwrap().remove("actor");
    let first = keyed(&mut hall, &ann, &told);
    assert_eq!(first.status, 201, "{}", first.text());
    let again = keyed(&mut hall, &ann, &told);
    assert_eq!((again.status, again.header("idempotent-replayed")), (201, Some("true")));
    // The same key and the same words of another person are another command, whose answer is not Ann's.
    let other = keyed(&mut hall, &bob, &told);
    assert_eq!((other.status, other.header("idempotent-replayed")), (409, None), "{}", other.text());
    // Two tokens of one service are one service: a new token goes on where the old one stopped.
    let (old, new) = (hall.scoped(&admin, "sync", "service"), hall.scoped(&admin, "sync", "service"));
    let body = session("00000000-0000-4000-8000-0000000000fe", "2026-09-26T09:00:00Z");
    assert_eq!(keyed(&mut hall, &old, &body).status, 201);
    assert_eq!(keyed(&mut hall, &new, &body).header("idempotent-replayed"), Some("true"));
    let stranger = hall.scoped(&admin, "other-sync", "service");
    assert_eq!(keyed(&mut hall, &stranger, &body).status, 409);
}

#[test]
fn evidence_grades_go_by_the_principal() {
    let (mut hall, admin) = Hall::new();
    let ann = hall.bound(&admin, "app", ANN);
    let manager = hall.scoped(&admin, "hr", "manager");
    let mut grades = Vec::new();
    for (n, principal) in [(1, "app"), (2, "chat")] {
        let bob = hall.bound(&admin, principal, BOB);
        let id = format!("00000000-0000-4000-8000-00000000060{n}");
        let mut told = session(&id, &format!("2026-09-2{}T09:00:00Z", 4 + n));
        told.as_object_mut().unwrap().remove("actor");
        assert_eq!(hall.command(&ann, "log-session", &told).status, 201);
        assert_eq!(
            hall.command(&bob, "confirm-session", &json!({ "session": id, "version": 1 })).status,
            201
        );
        let path = format!("/v1/programs/spring/sessions/{id}");
        grades.push(hall.get(&manager, &path).json()["evidence"].clone());
    }
    assert_eq!(grades, [json!("confirmed-asserted"), json!("confirmed")]);
}

#[test]
fn a_manager_speaks_for_somebody_but_not_as_somebody_and_a_service_erases_nobody() {
    let (mut hall, admin) = Hall::new();
    let (manager, service) = (hall.scoped(&admin, "hr", "manager"), hall.scoped(&admin, "sync", "service"));
    let as_ann = json!({ "actor": format!("participant:{ANN}"), "participant": ANN });
    assert_denied(&hall.command(&manager, "take-break", &as_ann));
    assert_eq!(
        hall.command(&manager, "take-break", &json!({ "on_behalf_of": ANN, "participant": ANN })).status,
        201
    );
    assert_eq!(hall.command(&service, "return-from-break", &as_ann).status, 201, "a service names any actor");
    let (bound, erase) = (hall.bound(&admin, "app", ANN), json!({ "participant": ANN }));
    assert_denied(&hall.command(&service, "erase-person", &erase));
    // Whoever it is about may ask to be forgotten. (Nothing can be sealed in this hall.)
    for other in [&manager, &bound] {
        assert_eq!(hall.command(other, "erase-person", &erase).json()["code"], "sealing-unavailable");
    }
}

// --------------------------------------------------------------------------------------------- their life

#[test]
fn a_token_is_worth_nothing_from_the_moment_it_is_revoked_or_over() {
    let (mut hall, admin) = Hall::new();
    let wanted = json!({ "principal": "hr", "role": "manager", "expires_at": "2026-09-29T20:00:00Z" });
    let (manager, other) = (hall.issue(&admin, &wanted), hall.scoped(&admin, "hr", "manager"));
    let list = "/v1/programs/spring/participants";
    assert_eq!((hall.get(&manager, list).status, hall.get(&other, list).status), (200, 200));
    let now = mentorlog::clock::Source::wall(&hall.machine);
    let end: mentorlog_events::time::Timestamp = "2026-09-29T20:00:00Z".parse().unwrap();
    let left = u64::try_from((end.as_micros() - now.as_micros()) / 1_000_000).unwrap();
    hall.machine.advance(left - 1);
    assert_eq!(hall.get(&manager, list).status, 200, "a second before its end");
    hall.machine.advance(1);
    assert_stranger(&hall.get(&manager, list));
    let path = format!("/v1/tokens/{}", id_of(&other));
    let size = hall.sizes();
    let revoked = hall.ask(&admin, "DELETE", &path, b"");
    assert_eq!((revoked.status, &revoked.json()["state"]), (200, &json!("revoked")));
    assert_stranger(&hall.get(&other, list));
    // Again, it is so already.
    let again = hall.ask(&admin, "DELETE", &path, b"");
    assert_eq!((again.status, again.header("idempotent-replayed")), (200, Some("true")));
    assert_eq!(hall.sizes()[2], size[2] + 1, "one entry of the registry");
    assert_eq!(hall.ask(&admin, "DELETE", &format!("/v1/tokens/{NEW}"), b"").status, 404);
    let states: Vec<Value> = hall.get(&admin, "/v1/tokens").json()["tokens"]
        .as_array()
        .unwrap()
        .iter()
        .map(|t| t["state"].clone())
        .collect();
    assert_eq!(states, ["honoured", "expired", "revoked"]);
    // Restarted, all of it is as it was.
    let mut hall = hall.restarted();
    for secret in [&manager, &other] {
        assert_stranger(&hall.get(secret, list));
    }
    assert_eq!(hall.get(&admin, "/v1/tokens").status, 200);
}

#[test]
fn without_its_file_no_token_is_honoured_and_nobody_is_let_in_without_one() {
    let (mut hall, admin) = Hall::new();
    let service = hall.scoped(&admin, "app", "service");
    let file = hall.data.path().join("access/tokens");
    let bytes = std::fs::read(&file).unwrap();
    std::fs::remove_file(&file).unwrap();
    let mut hall = hall.restarted();
    for secret in [&admin, &service] {
        assert_stranger(&hall.get(secret, "/v1/programs"));
    }
    assert_stranger(&hall.client.get("/v1/programs"));
    assert_eq!(hall.client.get("/healthz").status, 200);
    // A file of tokens that this registry knows nothing of is worth nothing either.
    let private = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::write(&file, &bytes).unwrap();
    std::fs::set_permissions(&file, private).unwrap();
    let mut hall = hall.restarted();
    assert_eq!(hall.get(&service, "/v1/programs").status, 200, "its own file is");
    let (mut other, _) = Hall::new();
    std::fs::copy(&file, other.data.path().join("access/tokens")).unwrap();
    other = other.restarted();
    for secret in [&admin, &service] {
        assert_stranger(&other.get(secret, "/v1/programs"));
    }
}

#[test]
fn what_cannot_be_a_token_is_refused_and_nothing_is_recorded() {
    let mut hall = Hall::without_tokens();
    let first = hall.client.post("/v1/tokens", &json!({ "principal": "x", "role": "viewer" }));
    assert_eq!((first.status, &first.json()["pointer"]), (422, &json!("/role")), "the first is an admin's");
    let admin = hall.client.post("/v1/tokens", &json!({ "principal": "ops", "role": "admin" })).json();
    let admin = admin["secret"].as_str().unwrap().to_owned();
    let before = hall.sizes();
    for (wanted, status, pointer) in [
        (json!({ "principal": "a b", "role": "viewer" }), 422, "/principal"),
        (json!({ "principal": "mentorlog", "role": "viewer" }), 422, "/principal"),
        (json!({ "principal": "x", "role": "scraper", "programs": ["spring"] }), 422, "/programs"),
        (json!({ "principal": "x", "role": "admin", "programs": ["spring"] }), 422, "/programs"),
        (json!({ "principal": "x", "role": "viewer", "programs": ["spring", "winter"] }), 422, "/programs/1"),
        (
            json!({ "principal": "x", "role": "viewer", "expires_at": "2026-09-01T00:00:00Z" }),
            422,
            "/expires_at",
        ),
        (json!({ "principal": "x", "role": "service", "participant": ANN }), 422, "/participant"),
        (
            json!({ "principal": "x", "role": "manager", "programs": ["spring"], "participant": ANN }),
            422,
            "/participant",
        ),
        (
            json!({ "principal": "x", "role": "service", "programs": ["spring", "autumn"], "participant": ANN }),
            422,
            "/participant",
        ),
        (
            json!({ "principal": "x", "role": "service", "programs": ["spring"], "participant": DAN }),
            422,
            "/participant",
        ),
        (json!({ "principal": "x", "role": "king" }), 400, ""),
        (json!({ "principal": "x" }), 400, ""),
        (json!({ "principal": "x", "role": "viewer", "secret": "s" }), 400, ""),
    ] {
        let answer = hall.try_issue(&admin, &wanted);
        assert_eq!(answer.status, status, "{wanted}: {}", answer.text());
        assert_eq!(answer.json()["pointer"].as_str().unwrap_or_default(), pointer, "{wanted}");
    }
    let authorization = authorization(&admin);
    let headers = [JSON, ("authorization", authorization.as_str()), ("idempotency-key", "k")];
    let body = json!({ "principal": "x", "role": "viewer" }).to_string();
    assert_eq!(hall.client.send("POST", "/v1/tokens", &headers, body.as_bytes()).status, 400);
    assert_eq!(hall.sizes(), before);
}

#[test]
fn the_registry_says_what_a_token_allows_and_never_whose_it_is_or_what_its_secret_is() {
    let (mut hall, admin) = Hall::new();
    let bound = hall.bound(&admin, "app", ANN);
    let size = usize::try_from(hall.service().published.registry().size).unwrap();
    let registry = hall.log.read(LedgerId::REGISTRY, 0, size).unwrap();
    let text: String = registry
        .iter()
        .map(|record| std::str::from_utf8(record.bytes()).unwrap().to_owned() + "\n")
        .collect();
    let last: Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
    assert_eq!(
        (
            &last["type"],
            &last["actor"],
            &last["principal"],
            &last["data"]["principal"],
            &last["data"]["programs"]
        ),
        (&json!("token-issued"), &json!("manager"), &json!("ops"), &json!("app"), &json!([SPRING]))
    );
    assert!(!text.contains(ANN) && !text.contains(&bound[37..]) && !text.contains(&admin[37..]));
    let shown = hall.get(&admin, "/v1/tokens");
    assert!(!shown.text().contains(&bound[37..]) && shown.text().contains(ANN));
    assert!(!std::fs::read_to_string(hall.data.path().join("access/tokens")).unwrap().contains(&bound[37..]));
}

// ------------------------------------------------------------------------------------------ without tokens

#[test]
fn without_tokens_only_this_machine_is_served_and_a_web_page_that_rebinds_its_name_is_not() {
    let mut hall = Hall::without_tokens();
    let get = |hall: &mut Hall, host: &str, more: &str| {
        hall.client.raw(format!("GET /v1/programs HTTP/1.1\r\n{host}{more}\r\n").as_bytes()).unwrap()
    };
    for host in ["localhost", "LOCALHOST:7171", "127.0.0.1", "127.9.9.9:80", "[::1]", "[::1]:7171"] {
        assert_eq!(get(&mut hall, &format!("host: {host}\r\n"), "").status, 200, "{host}");
    }
    for host in [
        "evil.example",
        "evil.example:7171",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "127.0.0.1:7171@evil",
        "0.0.0.0",
        "128.0.0.1",
        "[::2]",
        "[::1",
        "[::1]x",
        "localhost:x",
        "user@localhost",
        "10.0.0.1",
        "",
    ] {
        let answer = get(&mut hall, &format!("host: {host}\r\n"), "");
        assert!([400, 403].contains(&answer.status), "{host:?}: {}", answer.status);
        if answer.status == 403 {
            assert_eq!(answer.json()["code"], "other-host", "{host}");
        }
    }
    let local = "host: localhost\r\n";
    assert_ne!(get(&mut hall, &format!("{local}{local}"), "").status, 200, "two of them");
    for forwarded in ["forwarded: for=10.1.2.3", "x-forwarded-for: 10.1.2.3", "via: 1.1 proxy"] {
        let answer = get(&mut hall, local, &format!("{forwarded}\r\n"));
        assert_eq!((answer.status, &answer.json()["code"]), (403, &json!("other-host")), "{forwarded}");
    }
    let absolute =
        hall.client.raw(b"GET http://evil.example/v1/programs HTTP/1.1\r\nhost: localhost\r\n\r\n").unwrap();
    assert_eq!(absolute.status, 403);
    // A token that cannot be one of ours is no reason to let somebody in as anybody.
    assert_stranger(&hall.get(&Token::random().reveal(), "/v1/programs"));
    assert_eq!(hall.client.raw(b"GET /healthz HTTP/1.1\r\nhost: evil.example\r\n\r\n").unwrap().status, 200);
}

/// Sends a head that asks to be told when the body is wanted, and waits for that: by then the door is behind it.
fn let_in(hall: &Hall, secret: Option<&str>, path: &str, body: &[u8]) -> BufReader<TcpStream> {
    let mut stream = BufReader::new(TcpStream::connect(hall.service().address).unwrap());
    stream.get_ref().set_read_timeout(Some(std::time::Duration::from_mins(1))).unwrap();
    let token = secret.map_or_else(String::new, |secret| format!("authorization: Bearer {secret}\r\n"));
    let length = body.len();
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: localhost\r\n{token}content-type: application/json\r\n\
         content-length: {length}\r\nexpect: 100-continue\r\nconnection: close\r\n\r\n"
    );
    stream.get_mut().write_all(head.as_bytes()).unwrap();
    let mut line = String::new();
    stream.read_line(&mut line).unwrap();
    assert!(line.starts_with("HTTP/1.1 100 "), "{path}: {line}");
    stream.read_line(&mut line).unwrap();
    stream
}

/// Sends the body and returns the status of the answer.
fn completed(mut stream: BufReader<TcpStream>, body: &[u8]) -> u16 {
    stream.get_mut().write_all(body).unwrap();
    let mut line = String::new();
    stream.read_line(&mut line).unwrap();
    line.split(' ').nth(1).unwrap().parse().unwrap()
}

#[test]
fn a_request_that_was_let_in_does_nothing_once_its_token_is_revoked() {
    let (mut hall, admin) = Hall::new();
    let report = hall.report.clone();
    let posts: Vec<_> = declared().filter(|way| way.method == "POST").collect();
    assert!(posts.len() >= 9, "{posts:?}");
    for way in posts {
        let (path, body) = request("POST", way.path, &report, "");
        // What is answered without its body was never under way; a form is let in without a token.
        if matches!(way.path, "/v1/programs/{program}/openings" | "/login" | "/logout") {
            continue;
        }
        let asker = if allowed("POST", way.path).contains(&"admin") {
            hall.issue(&admin, &json!({ "principal": "other-ops", "role": "admin" }))
        } else {
            hall.issue(&admin, &json!({ "principal": "hr", "role": "manager" }))
        };
        let under_way = let_in(&hall, Some(&asker), &path, &body);
        let gone = hall.ask(&admin, "DELETE", &format!("/v1/tokens/{}", id_of(&asker)), b"");
        assert_eq!(gone.status, 200);
        let before = hall.sizes();
        let status = completed(under_way, &body);
        assert!(status == 401 || status == 207, "{path}: {status}");
        assert_eq!(hall.sizes(), before, "{path} was done with a revoked token");
    }
    assert_eq!(hall.get(&admin, "/v1/tokens").status, 200);
}

#[test]
fn a_request_that_was_let_in_without_a_token_does_nothing_once_there_are_tokens() {
    let mut hall = Hall::without_tokens();
    let body = json!({ "principal": "intruder", "role": "admin" }).to_string().into_bytes();
    let under_way = let_in(&hall, None, "/v1/tokens", &body);
    let command = json!({ "participant": NEW, "generation": "gen-x" }).to_string().into_bytes();
    let other = let_in(&hall, None, "/v1/programs/spring/commands/enrol", &command);
    let first = hall.client.post("/v1/tokens", &json!({ "principal": "ops", "role": "admin" }));
    assert_eq!(first.status, 201);
    let before = hall.sizes();
    assert_eq!(completed(under_way, &body), 401);
    assert_eq!(completed(other, &command), 401);
    assert_eq!(hall.sizes(), before);
}

#[test]
fn a_stream_and_a_poll_end_with_their_token() {
    let (mut hall, admin) = Hall::new();
    let size = hall.sizes()[1];
    let open = |hall: &Hall, secret: &str, path: &str| {
        let mut stream = BufReader::new(TcpStream::connect(hall.service().address).unwrap());
        stream.get_ref().set_read_timeout(Some(std::time::Duration::from_mins(1))).unwrap();
        let head = format!(
            "GET /v1/programs/spring/{path} HTTP/1.1\r\nhost: localhost\r\n\
             authorization: Bearer {secret}\r\nconnection: close\r\n\r\n"
        );
        stream.get_mut().write_all(head.as_bytes()).unwrap();
        stream
    };
    let auditor = hall.scoped(&admin, "aud", "auditor");
    let mut stream = open(&hall, &auditor, "events/stream");
    let mut line = String::new();
    while !line.starts_with("event: caught-up") {
        line.clear();
        assert!(stream.read_line(&mut line).unwrap() > 0, "the stream ended");
    }
    let mut poll = open(&hall, &auditor, &format!("events?from={size}&wait=30"));
    let gone = hall.ask(&admin, "DELETE", &format!("/v1/tokens/{}", id_of(&auditor)), b"");
    assert_eq!(gone.status, 200);
    let manager = hall.scoped(&admin, "hr", "manager");
    let body = json!({ "participant": NEW, "generation": "gen-x" });
    // The stream is at its end before there is anything more to tell.
    let mut rest = Vec::new();
    let _ = stream.read_to_end(&mut rest);
    assert!(!String::from_utf8_lossy(&rest).contains("id: "), "{}", String::from_utf8_lossy(&rest));
    assert_eq!(hall.command(&manager, "enrol", &body).status, 201);
    let mut answer = String::new();
    poll.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 401 "), "{answer}");
    assert!(!answer.contains(NEW));
}

#[test]
fn what_time_it_is_decides_when_a_token_is_over_and_a_doubtful_clock_ends_it() {
    let (mut hall, admin) = Hall::new();
    let end = mentorlog::clock::Source::wall(&hall.machine).plus_minutes(60);
    let wanted = json!({ "principal": "aud", "role": "auditor", "programs": ["spring"], "expires_at": end });
    let auditor = hall.issue(&admin, &wanted);
    let status = |hall: &mut Hall, secret: &str| hall.get(secret, "/v1/programs/spring").status;
    assert_eq!(status(&mut hall, &auditor), 200);
    // Put forward: over early. Put back: no later than it was. Slept: the wall clock knows.
    hall.machine.jump(2 * 3600);
    assert_eq!(status(&mut hall, &auditor), 401);
    hall.machine.jump(-2 * 3600);
    assert_eq!(status(&mut hall, &auditor), 200);
    let other = hall.scoped(&admin, "other", "auditor");
    hall.machine.jump(-10 * 86_400);
    assert_eq!(status(&mut hall, &auditor), 200);
    // While nothing can be recorded a token can be made worthless all the same.
    let gone = hall.ask(&admin, "DELETE", &format!("/v1/tokens/{}", id_of(&other)), b"");
    assert_eq!((gone.status, &gone.json()["code"]), (503, &json!("clock")), "{}", gone.text());
    assert_eq!(status(&mut hall, &other), 401);
    let listed = hall.get(&admin, "/v1/tokens").json();
    let listed = listed["tokens"].as_array().unwrap();
    let lost = listed.iter().find(|token| token["token"] == json!(id_of(&other))).unwrap();
    assert_eq!(lost["state"], "lost");
    // A start whose clock lies far behind the log: what time it is is not known, so what ever ends has ended.
    let mut hall = hall.restarted();
    assert_eq!(status(&mut hall, &auditor), 401);
    assert_eq!(status(&mut hall, &other), 401);
    assert_eq!(hall.get(&admin, "/v1/tokens").status, 200, "one that never ends is honoured");
    hall.machine.jump(10 * 86_400);
    let mut hall = hall.restarted();
    assert_eq!(status(&mut hall, &auditor), 200);
    // Recorded at last.
    let gone = hall.ask(&admin, "DELETE", &format!("/v1/tokens/{}", id_of(&other)), b"");
    assert_eq!((gone.status, &gone.json()["state"]), (200, &json!("revoked")));
    hall.machine.advance(2 * 3600);
    assert_eq!(status(&mut hall, &auditor), 401);
}

// -------------------------------------------------------------------------------------------------- pages

/// Follows every link from the first page on with this header, and returns the pages by path.
fn walk(hall: &mut Hall, header: (&str, &str)) -> BTreeMap<String, String> {
    let (mut waiting, mut pages) = (vec!["/".to_owned()], BTreeMap::new());
    while let Some(path) = waiting.pop() {
        if pages.contains_key(&path) {
            continue;
        }
        let answer = hall.client.send("GET", &path, &[header], b"");
        if answer.status == 303 {
            waiting.push(answer.header("location").unwrap().to_owned());
            continue;
        }
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        let is_page = answer.header("content-type").is_some_and(|media| media.starts_with("text/html"));
        let text = if is_page { answer.text().to_owned() } else { String::new() };
        for link in text.split("href=\"").skip(1).filter_map(|rest| rest.split('"').next()) {
            let link = link.split('#').next().unwrap_or_default().replace("&amp;", "&");
            // What is about the service itself is everybody's, and much.
            let is_open = link.starts_with("/docs") || link.starts_with("/problems");
            if link.starts_with('/') && !is_open {
                waiting.push(link);
            }
        }
        pages.insert(path, text);
    }
    pages
}

#[test]
fn pages_lead_each_role_to_what_it_may_see_and_nowhere_else() {
    let (mut hall, admin) = Hall::new();
    let manager = hall.scoped(&admin, "hr", "manager");
    until("the checkpoint", || (hall.get(&manager, "/log/spring/checkpoint").status == 200).then_some(()));
    let (auditor, viewer) = (hall.scoped(&admin, "kpmg", "auditor"), hall.scoped(&admin, "board", "viewer"));
    let (bound, service) = (hall.bound(&admin, "app", ANN), hall.scoped(&admin, "sync", "service"));
    let scraper = hall.issue(&admin, &json!({ "principal": "prom", "role": "scraper" }));
    let mut seen = String::new();
    for (role, secret) in [
        ("manager", &manager),
        ("auditor", &auditor),
        ("viewer", &viewer),
        ("bound", &bound),
        ("service", &service),
        ("scraper", &scraper),
        ("admin", &admin),
    ] {
        let pages = walk(&mut hall, ("authorization", &authorization(secret)));
        let mut sections: Vec<String> = pages
            .keys()
            .filter(|path| {
                path.starts_with('/') && !path.contains(['?', '=']) && !path.starts_with("/assets")
            })
            .map(|path| {
                // One of each kind is enough.
                let parts = path.split('/').map(|part| {
                    let is_id = part.parse::<uuid::Uuid>().is_ok() || part.len() == 64;
                    if is_id { "{id}" } else { part }
                });
                parts.collect::<Vec<_>>().join("/")
            })
            .collect();
        sections.dedup();
        let _ = writeln!(seen, "{role}\n    {}", sections.join("\n    "));
        if !["manager", "auditor"].contains(&role) {
            for (path, text) in &pages {
                assert!(!text.contains(&BOB[20..]) || role == "bound", "{role} sees Bob at {path}");
                assert!(!text.contains(CYD), "{role} sees Cyd at {path}");
                assert!(!text.contains("data-size"), "{role} may not follow {path}");
            }
        }
        if role != "admin" {
            assert!(pages.values().all(|text| !text.contains("autumn")), "{role} knows of the other program");
        }
    }
    insta::assert_snapshot!("pages_of_each_role", seen);
}

#[test]
fn a_bound_token_sees_its_own_page_now_and_never_what_it_was_rated() {
    let (mut hall, admin) = Hall::new();
    let (bound, manager) = (hall.bound(&admin, "app", ANN), hall.scoped(&admin, "hr", "manager"));
    let pair = format!("/p/spring/pairs/{PAIR}");
    let own = format!("/p/spring/participants/{ANN}");
    let of_all = hall.get(&manager, &pair).text().to_owned();
    assert!(of_all.contains("rated 4 of 5") && of_all.contains("rated 5 of 5"), "{of_all}");
    let of_ann = hall.get(&bound, &pair).text().to_owned();
    assert!(of_ann.contains("rated 5 of 5") && !of_ann.contains("rated 4"), "{of_ann}");
    assert!(!of_ann.contains("Everything that concerns"), "raw events are not theirs");
    assert!(hall.get(&bound, &own).text().contains("Your page"));
    let entrance = hall.get(&bound, "/p/spring");
    assert_eq!((entrance.status, entrance.header("location")), (303, Some(own.as_str())));
    // What is of others is refused, or is not there; and so is the past.
    for (path, status) in [
        (format!("/p/spring/participants/{BOB}"), 403),
        (format!("/p/spring/pairs/{OTHER_PAIR}"), 404),
        (format!("{own}?known_at=5"), 403),
        (format!("{pair}?as_of=2026-09-20"), 403),
        ("/p/autumn".to_owned(), 404),
    ] {
        let answer = hall.get(&bound, &path);
        assert_eq!(answer.status, status, "{path}");
        assert_eq!(answer.header("content-type"), Some("text/html; charset=utf-8"), "{path}");
        assert!(!answer.text().contains("rated"), "{path}");
    }
    // And what the manager was shown just before was not kept for Ann.
    assert!(!hall.get(&bound, &own).text().contains("/history"));
}

#[test]
fn a_viewer_is_shown_what_is_published_and_told_what_else_is_not_theirs() {
    let (mut hall, admin) = Hall::new();
    let viewer = hall.scoped(&admin, "board", "viewer");
    let api = hall.get(&viewer, "/v1/programs/spring/published-figures").json();
    let entrance = hall.get(&viewer, "/p/spring");
    assert_eq!((entrance.status, entrance.header("location")), (303, Some("/p/spring/published")));
    let page = hall.get(&viewer, "/p/spring/published").text().to_owned();
    let week = api["published"]["week"].as_str().unwrap();
    assert!(page.contains(week) && page.contains("withheld"), "{page}");
    assert!(page.contains(&hall.report));
    let denied = hall.get(&viewer, "/p/spring/pairs");
    assert_eq!(denied.status, 403);
    assert!(denied.text().contains("forbidden") && denied.text().contains("href=\"/\""));
}

// ----------------------------------------------------------------------------------------------- sessions

const FORM: (&str, &str) = ("content-type", "application/x-www-form-urlencoded");

/// Shows a token as the form of a browser does.
fn log_in(hall: &mut Hall, secret: &str, to: &str, more: &[(&str, &str)]) -> Answer {
    let headers: Vec<(&str, &str)> = [FORM].into_iter().chain(more.iter().copied()).collect();
    hall.client.send(
        "POST",
        "/login",
        &headers,
        format!("token={secret}&to={}", to.replace('/', "%2F")).as_bytes(),
    )
}

/// The cookie an answer sets, as the browser sends it back.
fn cookie(answer: &Answer) -> String {
    let set = answer.header("set-cookie").unwrap_or_else(|| panic!("no cookie: {}", answer.text()));
    set.split(';').next().unwrap().to_owned()
}

#[test]
fn a_browser_shows_its_token_once_and_goes_on_with_a_cookie_that_is_not_the_token() {
    let (mut hall, admin) = Hall::new();
    let manager = hall.scoped(&admin, "hr", "manager");
    let asked = hall.client.get("/p/spring/pairs?state=active");
    assert_eq!(asked.status, 401);
    assert_eq!(asked.header("content-type"), Some("text/html; charset=utf-8"));
    assert!(
        asked.text().contains("action=\"/login\"")
            && asked.text().contains("value=\"/p/spring/pairs?state=active\"")
    );
    let wrong = log_in(&mut hall, &Token::random().reveal(), "/p/spring/pairs", &[]);
    assert_eq!((wrong.status, wrong.header("set-cookie")), (401, None));
    assert!(wrong.text().contains("not honoured") && wrong.text().contains("value=\"/p/spring/pairs\""));
    let answer = log_in(&mut hall, &manager, "/p/spring/pairs", &[]);
    assert_eq!(
        (answer.status, answer.header("location")),
        (303, Some("/p/spring/pairs")),
        "{}",
        answer.text()
    );
    let set = answer.header("set-cookie").unwrap();
    assert!(set.ends_with("; Path=/; HttpOnly; SameSite=Strict; Max-Age=43200"), "{set}");
    assert!(!set.contains(&manager[37..]) && !set.contains("mtk_"));
    let session = cookie(&answer);
    let page = hall.client.send("GET", "/p/spring/pairs", &[("cookie", &session)], b"");
    assert_eq!(page.status, 200);
    assert!(page.text().contains("Log out") && !page.text().contains(&manager[37..]));
    // Over TLS nobody else can set it, and it is sent nowhere else.
    let over_tls = log_in(
        &mut hall,
        &manager,
        "/",
        &[("origin", "https://log.example"), ("x-forwarded-host", "log.example")],
    );
    let set = over_tls.header("set-cookie").unwrap();
    assert!(set.starts_with("__Host-mentorlog=") && set.ends_with("; Secure"), "{set}");
    // A form of another page, a form that is none, and a place that is elsewhere.
    let other = log_in(&mut hall, &manager, "/", &[("origin", "https://evil.example")]);
    assert_eq!((other.status, other.header("set-cookie")), (403, None));
    assert_eq!(log_in(&mut hall, &manager, "//evil.example", &[]).header("location"), Some("/"));
    assert_eq!(hall.client.send("POST", "/login", &[JSON], b"{}").status, 415);
    assert_eq!(hall.client.send("POST", "/login", &[FORM], &vec![b'a'; 5000]).status, 413);
}

#[test]
fn a_session_is_for_looking_alone_and_changes_nothing() {
    let (mut hall, admin) = Hall::new();
    let manager = hall.scoped(&admin, "hr", "manager");
    let report = hall.report.clone();
    let sessions: Vec<String> =
        [&manager, &admin].map(|secret| cookie(&log_in(&mut hall, secret, "/", &[]))).into();
    let before = hall.sizes();
    let mut looks = String::new();
    for way in declared() {
        let (method, path) = (way.method.to_string(), way.path);
        let (target, body) = request(&method, path, &report, NEW);
        if ["/login", "/logout"].contains(&path) {
            continue;
        }
        let headers = |session: &str| -> Vec<(String, String)> {
            let json = (!body.is_empty()).then(|| (JSON.0.to_owned(), JSON.1.to_owned()));
            [("cookie".to_owned(), session.to_owned())].into_iter().chain(json).collect()
        };
        let mut statuses = Vec::new();
        for session in &sessions {
            let headers = headers(session);
            let headers: Vec<(&str, &str)> =
                headers.iter().map(|(name, value)| (&**name, &**value)).collect();
            let answer = hall.client.send(&method, &target, &headers, &body);
            statuses.push(answer.status);
            let with_other: Vec<(&str, &str)> = headers
                .iter()
                .copied()
                .chain([("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "cors")])
                .collect();
            let elsewhere = hall.client.send(&method, &target, &with_other, &body).status;
            let is_open = allowed(&method, path).contains(&"scraper")
                && allowed(&method, path).contains(&"bound")
                && path != "/";
            assert!(
                is_open || elsewhere == 401,
                "{method} {path} is answered to a page of others: {elsewhere}"
            );
            assert!(
                method == "GET" || answer.status == 401,
                "{method} {path} takes a session: {}",
                answer.status
            );
        }
        if statuses.iter().any(|status| *status != 401) {
            let _ = writeln!(looks, "{method} {path}: manager {}, admin {}", statuses[0], statuses[1]);
        }
    }
    assert_eq!(hall.sizes(), before, "a session has appended something");
    insta::assert_snapshot!("ways_of_a_session", looks);
    // All that a manager's pages lead to is there for the session, too.
    until("the checkpoint", || (hall.get(&manager, "/log/spring/checkpoint").status == 200).then_some(()));
    let pages = walk(&mut hall, ("cookie", &sessions[0]));
    assert!(pages.len() > 40, "{}", pages.len());
}

#[test]
fn a_session_is_over_with_its_token_its_time_or_its_end() {
    let (mut hall, admin) = Hall::new();
    let (manager, other) = (hall.scoped(&admin, "hr", "manager"), hall.scoped(&admin, "hr", "manager"));
    let page = |hall: &mut Hall, session: &str| {
        hall.client.send("GET", "/p/spring/pairs", &[("cookie", session)], b"").status
    };
    let sessions: Vec<String> = (0..3).map(|_| cookie(&log_in(&mut hall, &manager, "/", &[]))).collect();
    assert_eq!(sessions.iter().map(|one| page(&mut hall, one)).collect::<Vec<_>>(), [200; 3]);
    // What is none: made up, the token itself, or the right one with another beside it that came first.
    for made_up in ["mentorlog=", &format!("mentorlog={manager}"), &format!("mentorlog={}", "A".repeat(43))] {
        assert_eq!(page(&mut hall, made_up), 401, "{made_up}");
    }
    // Logged out, that one alone is over, also for whoever kept the cookie.
    let out = hall.client.send("POST", "/logout", &[FORM, ("cookie", &sessions[0])], b"");
    assert_eq!((out.status, out.header("location")), (303, Some("/login")));
    assert!(out.headers.iter().any(|(name, value)| name == "set-cookie"
        && value.starts_with("mentorlog=;")
        && value.contains("Max-Age=0")));
    let elsewhere = [FORM, ("cookie", sessions[1].as_str()), ("sec-fetch-site", "cross-site")];
    assert_eq!(hall.client.send("POST", "/logout", &elsewhere, b"").status, 403, "nobody else logs one out");
    assert_eq!(sessions.iter().map(|one| page(&mut hall, one)).collect::<Vec<_>>(), [401, 200, 200]);
    // Its time.
    hall.machine.advance(12 * 3600);
    assert_eq!(page(&mut hall, &sessions[1]), 401);
    // Its token.
    let session = cookie(&log_in(&mut hall, &other, "/", &[]));
    assert_eq!(page(&mut hall, &session), 200);
    let path = format!("/v1/tokens/{}", id_of(&other));
    assert_eq!(hall.ask(&admin, "DELETE", &path, b"").status, 200);
    assert_eq!(page(&mut hall, &session), 401);
    assert_eq!(log_in(&mut hall, &other, "/", &[]).status, 401, "and it begins none");
    // No token is overlooked because there is a session.
    let session = cookie(&log_in(&mut hall, &manager, "/", &[]));
    let both = [("cookie", session.as_str()), ("authorization", "Bearer mtk_x")];
    assert_eq!(hall.client.send("GET", "/p/spring/pairs", &both, b"").status, 401);
    // Nothing of it was written down.
    let mut hall = hall.restarted();
    assert_eq!(page(&mut hall, &session), 401);
}

#[test]
fn the_registry_is_in_the_bundle_of_those_who_may_read_it() {
    let (mut hall, admin) = Hall::new();
    let (scoped, all) = (
        hall.scoped(&admin, "kpmg", "auditor"),
        hall.issue(&admin, &json!({ "principal": "kpmg", "role": "auditor" })),
    );
    until("the checkpoints", || {
        let mut is_there = |name| hall.get(&all, &format!("/log/{name}/checkpoint")).status == 200;
        (is_there("registry") && is_there("spring")).then_some(())
    });
    for (secret, has_registry) in [(&scoped, false), (&all, true)] {
        let bundle = hall.get(secret, "/v1/programs/spring/bundle");
        assert_eq!(bundle.status, 200);
        let has = |name: &str| bundle.body.windows(name.len()).any(|window| window == name.as_bytes());
        assert!(
            has("spring-bundle/checkpoint") && has("spring-bundle/tile/entries/000.p/") && has("VERIFY.md")
        );
        assert!(has(&format!("spring-bundle/reports/{}", hall.report)));
        assert_eq!(has("spring-bundle/registry/"), has_registry);
        // Who else has a program here is the registry's to tell.
        assert_eq!(has("autumn"), has_registry);
        let page = hall.get(secret, "/p/spring/audit");
        assert_eq!(page.text().contains("The registry is in it."), has_registry);
    }
}
