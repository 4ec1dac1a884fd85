//! Figures through the whole service: commands in, answers out, on a clock that the test sets.

use std::time::Duration;

use axum::Router;
use axum::body::Body as RequestBody;
use axum::http::Request;
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use tower::ServiceExt as _;

use super::*;
use crate::access::kept::KeptTokens;
use crate::clock::{Clock, Source};
use crate::http::guard::Access;
use crate::http::routes::router;
use crate::keys::Keys;
use crate::ledger::Log;
use crate::ledger::memory::MemoryLog;
use crate::writer::Writer;
use crate::writer::publisher::Publishing;

/// Seconds since the epoch, for both clocks.
#[derive(Clone)]
struct Set(Arc<Mutex<Timestamp>>);

impl Source for Set {
    fn wall(&self) -> Timestamp {
        *self.0.lock().unwrap()
    }

    fn monotonic(&self) -> Duration {
        Duration::from_micros(u64::try_from(self.wall().as_micros()).unwrap())
    }
}

#[derive(Clone)]
struct Service {
    app: Arc<App>,
    router: Router,
    now: Set,
}

impl Service {
    fn start(now: &str) -> Self {
        let now = Set(Arc::new(Mutex::new(now.parse().unwrap())));
        let (log, keys) = (MemoryLog::new(), Keys::ephemeral());
        let heads = log.heads();
        let log: Arc<dyn Log> = Arc::new(log);
        let secret = keys.of_ledger(LedgerId::REGISTRY);
        let (writer, _running) =
            Writer::start(&log, heads, keys, Clock::start(now.clone()), Publishing::Off).unwrap();
        let access = Access::loopback(KeptTokens::in_memory());
        let app = Arc::new(App::new(writer, secret, access));
        Self { router: router(app.clone()), app, now }
    }

    fn at(&self, now: &str) -> &Self {
        *self.now.0.lock().unwrap() = now.parse().unwrap();
        self
    }

    async fn send(&self, request: Request<RequestBody>) -> (u16, Value) {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, serde_json::from_slice(&body).unwrap())
    }

    /// Posts something that must be accepted; the size and root after it.
    async fn post(&self, path: &str, body: Value) -> (u64, String) {
        let request = Request::post(format!("/v1/programs{path}"))
            .header("content-type", "application/json")
            .header("host", "localhost");
        let (status, answer) = self.send(request.body(RequestBody::from(body.to_string())).unwrap()).await;
        assert_eq!(status, 201, "{answer}");
        (answer["size"].as_u64().unwrap(), answer["root"].as_str().unwrap().to_owned())
    }

    async fn command(&self, name: &str, body: Value) -> (u64, String) {
        self.post(&format!("/spring/commands/{name}"), body).await
    }

    async fn get(&self, path: &str) -> (u16, Value) {
        let request = Request::get(format!("/v1/programs/{path}")).header("host", "localhost");
        self.send(request.body(RequestBody::empty()).unwrap()).await
    }

    async fn figures(&self, path: &str) -> Value {
        let (status, answer) = self.get(path).await;
        assert_eq!(status, 200, "{answer}");
        answer
    }

    async fn open(&self) {
        self.post("", json!({ "slug": "spring", "name": "Spring", "time_zone": "UTC" })).await;
    }
}

fn id(n: u32) -> String {
    format!("00000000-0000-4000-8000-{n:012x}")
}

const ANN: u32 = 0xa;
const BEN: u32 = 0xb;
const CLEO: u32 = 0xc;

fn session(n: u32, of: u32, day: &str, teacher: u32, minutes: u32) -> Value {
    let teacher = id(teacher);
    let exchanges = json!([{ "teacher": teacher, "skill": "rust", "minutes": minutes }]);
    let occurred_at = format!("{day}T08:00:00Z");
    json!({
        "session": id(n), "pair": id(of), "occurred_at": occurred_at, "minutes": minutes, "exchanges": exchanges,
    })
}

/// The log of conformance case A01; size and root after each entry that matters.
async fn corrections() -> (Service, Vec<(u64, String)>) {
    let service = Service::start("2024-01-10T09:00:00Z");
    service.open().await;
    for (participant, generation) in [(ANN, "boomer"), (BEN, "gen-z"), (CLEO, "unknown")] {
        let body = json!({ "participant": id(participant), "generation": generation, "sought": ["rust"] });
        service.command("import-participant", body).await;
    }
    let mut heads = Vec::new();
    for (pair, b) in [(0x11, BEN), (0x12, CLEO)] {
        let started_at = "2024-01-10T08:00:00Z";
        let body = json!({ "pair": id(pair), "a": id(ANN), "b": id(b), "started_at": started_at });
        heads = vec![service.command("import-pair", body).await];
    }
    service.at("2024-02-01T09:00:00Z");
    heads.push(service.command("import-session", session(1, 0x11, "2024-01-31", ANN, 60)).await);
    service.at("2024-02-03T09:00:00Z");
    heads.push(service.command("import-session", session(2, 0x11, "2024-02-02", BEN, 30)).await);
    service.at("2024-02-20T09:00:00Z");
    heads.push(service.command("import-session", session(3, 0x11, "2024-01-15", BEN, 30)).await);
    service.at("2024-02-25T09:00:00Z");
    heads.push(service.command("void-session", json!({ "session": id(2) })).await);
    service.at("2024-03-01T09:00:00Z");
    let mut corrected = session(1, 0x11, "2024-01-31", ANN, 90);
    corrected.as_object_mut().unwrap().remove("pair");
    corrected["mode"] = "video".into();
    heads.push(service.command("correct-session", corrected).await);
    service.at("2024-03-02T09:00:00Z");
    heads.push(service.command("import-session", session(4, 0x12, "2024-03-01", ANN, 45)).await);
    service.at("2024-04-15T12:00:00Z");
    (service, heads)
}

#[tokio::test]
async fn an_old_answer_is_given_again_for_ever() {
    let (service, heads) = corrections().await;
    for (known_at, as_of, head, minutes, two_way, pairs, returned) in [
        ("2024-02-10T00:00:00Z", "2024-02-29", 2, 90, 1, 1, 60),
        ("2024-02-21T00:00:00Z", "2024-02-29", 3, 120, 1, 1, 120),
        ("2024-02-26T00:00:00Z", "2024-02-29", 4, 90, 1, 1, 60),
        ("2024-03-02T00:00:00Z", "2024-02-29", 5, 120, 1, 1, 60),
        ("2024-03-03T00:00:00Z", "2024-03-31", 6, 165, 1, 2, 60),
        ("2024-03-03T00:00:00Z", "2024-01-31", 6, 120, 1, 1, 60),
    ] {
        let (size, root) = &heads[head];
        let by_instant = format!("spring/reciprocity?known_at={known_at}&as_of={as_of}");
        let by_size = format!("spring/reciprocity?known_at={size}&as_of={as_of}");
        let answer = service.figures(&by_instant).await;
        assert_eq!(answer, service.figures(&by_size).await, "{known_at}");
        assert_eq!(answer["known_at"], json!({ "size": size, "root": root }), "the root its receipt had");
        let weighted = &answer["figures"]["weighted_reciprocity"];
        assert_eq!((&weighted["numerator"], &weighted["denominator"]), (&json!(returned), &json!(minutes)));
        let share = &answer["figures"]["two_way_pair_share"];
        assert_eq!((&share["numerator"], &share["denominator"]), (&json!(two_way), &json!(pairs)));
    }
    // Sizes in any order: what is kept of one is gone on from, or not, and says the same.
    let sizes = [1, 7, 12, 9, 10, 8, 11, 3, 12, 5].map(|size| format!("spring/retention?known_at={size}"));
    let other = service.figures(&sizes[2]).await;
    for path in &sizes {
        let fresh = service.figures(&format!("{path}&explain=true&explain_limit=1")).await;
        let again = service.figures(path).await;
        assert_eq!((&fresh["strata"], &fresh["known_at"]), (&again["strata"], &again["known_at"]), "{path}");
    }
    assert_eq!(other, service.figures(&sizes[2]).await);
    // Without a day the day it was known on is meant, whenever one asks.
    let answer = service.figures("spring/reciprocity?known_at=2024-02-10T00:00:00Z").await;
    service.at("2024-06-01T00:00:00Z");
    let path = format!("spring/retention?known_at={}", heads[6].0);
    assert_eq!(service.figures(&path).await["as_of"], "2024-03-02");
    assert_eq!(answer, service.figures("spring/reciprocity?known_at=2024-02-10T00:00:00Z").await);
    assert_eq!(answer["as_of"], "2024-02-10");
}

fn redacted(mut answer: Value) -> Value {
    assert_eq!(answer["known_at"]["root"].as_str().unwrap().len(), 44);
    assert_eq!(answer["program"].as_str().unwrap().len(), 36);
    answer["known_at"]["root"] = "a root".into();
    answer["program"] = "a program".into();
    answer
}

#[tokio::test]
async fn whole_answers() {
    let (service, _) = corrections().await;
    insta::assert_json_snapshot!(
        "reciprocity",
        redacted(service.figures("spring/reciprocity?explain=true&explain_limit=3").await)
    );
    insta::assert_json_snapshot!(
        "retention",
        redacted(service.figures("spring/retention?at=30,60&tau=60").await)
    );
    let path =
        "spring/retention?subject=participants&basis=activity&lapse_days=20&at=20,50&tau=50&by=generation";
    insta::assert_json_snapshot!("health", redacted(service.figures("spring/health").await));
    insta::assert_json_snapshot!("retention-by-activity", redacted(service.figures(path).await));
    let path = "spring/retention?basis=activity&lapse_days=45&by=reciprocity&landmark_days=20&at=10&tau=10";
    insta::assert_json_snapshot!("retention-by-reciprocity", redacted(service.figures(path).await));
}

#[tokio::test]
async fn an_empty_program_has_null_figures() {
    let service = Service::start("2024-01-10T09:00:00Z");
    service.open().await;
    let answer = service.figures("spring/reciprocity").await;
    for (name, figure) in answer["figures"].as_object().unwrap() {
        assert!(figure["value"].is_null(), "{name}");
    }
    let answer = service.figures("spring/retention").await;
    assert!(answer["strata"][0]["median"].is_null() && answer["test"].is_null());
}

#[tokio::test]
async fn what_changes_is_seen_at_once_and_what_does_not_is_not_computed_again() {
    let (service, _) = corrections().await;
    let before = service.figures("spring/reciprocity").await;
    assert_eq!(before, service.figures("spring/reciprocity").await);
    let (size, root) = service.command("void-session", json!({ "session": id(4) })).await;
    let after = service.figures(&format!("spring/reciprocity?min_size={size}")).await;
    assert_eq!(after["known_at"], json!({ "size": size, "root": root }));
    assert_eq!(after["figures"]["weighted_reciprocity"]["denominator"], 120);
    // The next day is another question.
    service.at("2024-04-16T12:00:00Z");
    assert_eq!(service.figures("spring/reciprocity").await["as_of"], "2024-04-16");
}

#[tokio::test]
async fn what_is_committed_does_not_wait_for_the_figure_that_is_being_computed() {
    let (service, _) = corrections().await;
    let program = service.app.published.program("spring").unwrap();
    let (before, runtime, writing) = (program.size(), tokio::runtime::Handle::current(), service.clone());
    let when = When { as_of: None, known_at: None, min_size: None };
    let response = answer(&service.app, program.clone(), when, "slow".to_owned(), move |models, as_of| {
        // The whole of a commit in the middle of a computation: it is answered, and the figure does not see it.
        let (size, _) = runtime.block_on(writing.command("void-session", json!({ "session": id(4) })));
        assert_eq!((size, models.size()), (before + 1, before));
        Ok(models.reciprocity(reciprocity::Asked::as_of(as_of)))
    });
    let body = response.await.unwrap().into_body().collect().await.unwrap().to_bytes();
    let figure: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(figure["known_at"]["size"], before);
    assert_eq!(figure["figures"]["weighted_reciprocity"]["denominator"], 165);
    let after = service.figures("spring/reciprocity").await;
    assert_eq!(after["known_at"]["size"], before + 1);
    assert_eq!(after["figures"]["weighted_reciprocity"]["denominator"], 120);
}

#[tokio::test]
async fn the_positions_behind_a_figure_come_in_pages() {
    let (service, heads) = corrections().await;
    let (mut seqs, mut after) = (Vec::new(), String::new());
    loop {
        let path = format!("spring/reciprocity?explain=true&explain_limit=2{after}");
        let explained = service.figures(&path).await["explain"].take();
        seqs.extend(explained["seqs"].as_array().unwrap().iter().map(|seq| seq.as_u64().unwrap()));
        assert_eq!(explained["events"], 4);
        let Some(next) = explained["next"].as_u64() else { break };
        after = format!("&explain_after={next}");
    }
    let path = "spring/retention?explain=true";
    assert_eq!(service.figures(path).await["explain"]["seqs"], json!([heads[0].0 - 2, heads[0].0 - 1]));
    let path = "spring/retention?explain=true&basis=activity";
    assert_eq!(service.figures(path).await["explain"]["events"], 4);
    // Session 1, its correction, sessions 3 and 4; the voided one is not behind it.
    assert_eq!(seqs, [1, 3, 5, 6].map(|head: usize| heads[head].0 - 1));
}

#[tokio::test]
async fn what_cannot_be_asked_is_a_problem_that_names_the_parameter() {
    let (service, heads) = corrections().await;
    let beyond = format!("reciprocity?known_at={}", heads[6].0 + 1);
    for (query, parameter) in [
        ("reciprocity?asof=2024-01-01", "asof"),
        ("reciprocity?as_of=2024-02-30", "as_of"),
        ("reciprocity?as_of=2024-04-16", "as_of"),
        ("reciprocity?as_of=2024-1-1", "as_of"),
        ("reciprocity?known_at=0", "known_at"),
        (&beyond, "known_at"),
        ("reciprocity?known_at=2024-04-16T00:00:00Z", "known_at"),
        ("reciprocity?known_at=2024-01-01T00:00:00Z", "known_at"),
        ("reciprocity?known_at=", "known_at"),
        ("reciprocity?evidence=hearsay", "evidence"),
        ("reciprocity?from=2024-02-02&to=2024-02-01", "from"),
        ("reciprocity?from=2024-02-02&as_of=2024-02-01", "from"),
        ("reciprocity?explain=yes", "explain"),
        ("reciprocity?explain_limit=5", "explain"),
        ("reciprocity?explain=true&explain_limit=0", "explain_limit"),
        ("health?as_of=2024-04-01", "as_of"),
        ("health?limit=1001", "limit"),
        ("retention?subject=people", "subject"),
        ("retention?basis=both", "basis"),
        ("retention?lapse_days=10", "lapse_days"),
        ("retention?basis=activity&lapse_days=0", "lapse_days"),
        ("retention?at=30,30", "at"),
        ("retention?at=90,30", "at"),
        ("retention?at=", "at"),
        ("retention?at=36501", "at"),
        ("retention?at=%2B3", "at"),
        ("retention?tau=0", "tau"),
        ("retention?by=naive", "by"),
        ("retention?by=arm", "by"),
        ("retention?by=reciprocity&subject=participants", "by"),
        ("retention?landmark_days=7", "landmark_days"),
        ("retention?explain=1", "explain"),
    ] {
        let (status, problem) = service.get(&format!("spring/{query}")).await;
        assert_eq!((status, &problem["code"]), (400, &json!("malformed-parameter")), "{query}: {problem}");
        assert_eq!(problem["parameter"], parameter, "{query}: {problem}");
    }
    assert_eq!(service.get("winter/reciprocity").await.0, 404);
}

#[tokio::test]
async fn a_pair_and_a_person_show_how_mutual_it_was() {
    let (service, _) = corrections().await;
    let pair = service.figures(&format!("spring/pairs/{}", id(0x11))).await;
    // Two live sessions of 90 and 30 minutes; a coin makes two sessions even half of the time.
    let balance = json!({ "value": 0.5, "numerator": 60, "denominator": 120, "version": 1, "expected": 0.5 });
    assert_eq!(pair["balance"], balance);
    let person = service.figures(&format!("spring/participants/{}", id(CLEO))).await;
    assert_eq!(person["balance"], json!({ "value": 0.0, "numerator": 0, "denominator": 45, "version": 1 }));
}

/// Six pairs of twelve people who all met in the week of 2024-01-08; in the next one a participant left.
async fn a_week() -> Service {
    let service = Service::start("2024-01-08T09:00:00Z");
    service.open().await;
    for n in 0..12_u32 {
        let generation = if n % 2 == 0 { "boomer" } else { "gen-z" };
        let body = json!({ "participant": id(0x100 + n), "generation": generation, "sought": ["rust"] });
        service.command("import-participant", body).await;
    }
    for n in 0..6 {
        let started_at = "2024-01-08T08:00:00Z";
        let (a, b) = (id(0x100 + 2 * n), id(0x101 + 2 * n));
        let body = json!({ "pair": id(0x200 + n), "a": a, "b": b, "started_at": started_at });
        service.command("import-pair", body).await;
        service
            .command("import-session", session(0x300 + n, 0x200 + n, "2024-01-08", 0x100 + 2 * n, 30))
            .await;
    }
    service
}

#[tokio::test]
async fn outsiders_see_a_week_when_it_is_over_and_the_same_for_ever() {
    let path = "spring/published-figures";
    let service = a_week().await;
    let answer = service.figures(path).await;
    assert!(answer["published"].is_null(), "no week is over");
    assert_eq!(answer["next_close"], "2024-01-14");

    service.at("2024-01-14T23:59:59Z");
    assert_eq!(service.figures(path).await, answer, "Sunday is not over");
    service.at("2024-01-15T00:02:00Z");
    let first = service.figures(path).await;
    assert_eq!(first["published"]["week"], "2024-W02");
    // What is recorded later, also of days in that week, changes nothing about it.
    let (size, _) = service.command("import-session", session(0x400, 0x200, "2024-01-12", 0x100, 30)).await;
    let (_, root) = service.command("leave-program", json!({ "participant": id(0x100) })).await;
    assert_eq!(service.figures(path).await, first);
    assert_eq!(first["published"]["size"], size - 1);
    service.at("2024-01-22T09:00:00Z");
    let second = service.figures(path).await;
    assert_eq!(
        (&second["published"]["week"], &second["published"]["root"]),
        (&json!("2024-W03"), &json!(root))
    );
    let again = service.figures("spring/published-figures?week=2024-W02").await;
    assert_eq!(again["published"], first["published"]);
    assert_eq!(service.figures("spring/published-figures?week=2024-W03").await, second);

    // One person has left and one pair has ended: neither can be computed from what is left.
    let participants = &second["published"]["participants"];
    assert_eq!((&participants["left"], &participants["enrolled"]), (&json!(null), &json!(null)));
    assert_eq!(second["published"]["figures"]["dual_role_share"]["denominator"], 12);
    assert!(
        second["published"]["pairs"]["ended"].is_null() && second["published"]["pairs"]["active"].is_null()
    );

    let mut redacted = redacted_root(second);
    redacted["program"] = "a program".into();
    insta::assert_json_snapshot!("published-figures", redacted);
}

fn redacted_root(mut answer: Value) -> Value {
    assert_eq!(answer["published"]["root"].as_str().unwrap().len(), 44);
    answer["published"]["root"] = "a root".into();
    answer
}

#[tokio::test]
async fn outsiders_ask_for_weeks_and_nothing_else() {
    let service = a_week().await;
    service.at("2024-01-22T09:00:00Z");
    for (query, parameter) in [
        ("week=2024-W04", "week"),
        ("week=2024-W01", "week"),
        ("week=2024-03", "week"),
        ("week=2024-W54", "week"),
        ("as_of=2024-01-10", "as_of"),
        ("known_at=5", "known_at"),
        ("explain=true", "explain"),
        ("by=generation", "by"),
    ] {
        let (status, problem) = service.get(&format!("spring/published-figures?{query}")).await;
        assert_eq!((status, &problem["code"]), (400, &json!("malformed-parameter")), "{query}: {problem}");
        assert_eq!(problem["parameter"], parameter, "{query}: {problem}");
    }
    assert_eq!(service.get("winter/published-figures").await.0, 404);
}

#[tokio::test]
async fn an_empty_program_has_null_figures_for_outsiders_too() {
    let service = Service::start("2024-01-08T09:00:00Z");
    service.open().await;
    service.at("2024-03-01T09:00:00Z");
    let answer = service.figures("spring/published-figures").await;
    assert_eq!(answer["published"]["as_of"], "2024-02-25");
    for (name, figure) in answer["published"]["figures"].as_object().unwrap() {
        assert!(figure["value"].is_null(), "{name}");
        assert_eq!(
            (&figure["numerator"], &figure["denominator"]),
            (&json!(0), &json!(0)),
            "{name}: nothing to withhold"
        );
    }
}
