//! What is sealed, over its whole life: set, read by those it is for, corrected, removed, and forgotten.
//! Every commitment is recomputed here, every step of erasing is cut short here.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use mentorlog::ledger::faulty::{Fault, FaultyLog};
use mentorlog::ledger::memory::MemoryLog;
use mentorlog::ledger::{Append, Log};
use mentorlog::people::{People, Stop};
use mentorlog_events::entry::Entry;
use mentorlog_events::event::registry::RegistryEvent;
use mentorlog_events::event::{Event, SealedField};
use mentorlog_events::id::{B64, LedgerId};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::harness::{Answer, Client, KEK, Machine, Process, Service, serve};

const SPRING: &str = "00000000-0000-4000-8000-000000000001";
const AUTUMN: &str = "00000000-0000-4000-8000-000000000002";
const ANN: &str = "00000000-0000-4000-8000-00000000000a";
const BOB: &str = "00000000-0000-4000-8000-00000000000b";
/// Ann again, in the other program.
const ANNA: &str = "00000000-0000-4000-8000-0000000000aa";
const CYD: &str = "00000000-0000-4000-8000-00000000000c";
const PAIR: &str = "00000000-0000-4000-8000-0000000000f1";
const SESSION: &str = "00000000-0000-4000-8000-0000000000e1";

/// Texts nobody should meet anywhere but in an answer that was asked for.
const SECRETS: [&str; 8] = [
    "Grace Brewster Murray",
    "grace@example.org",
    "HR-7741-Q",
    "a moth in the relay",
    "taught me nanoseconds",
    "she was not there",
    "he shouted at me",
    "understand compilers",
];

// ---------------------------------------------------------------------------------------------------- a small town

struct Town {
    service: Service,
    client: Client,
    machine: Machine,
    log: Arc<MemoryLog>,
    data: tempfile::TempDir,
}

fn ok(answer: &Answer) -> Value {
    assert!((200..300).contains(&answer.status), "{} {}", answer.status, answer.text());
    answer.json()
}

fn code(answer: &Answer) -> (u16, String) {
    (answer.status, answer.json()["code"].as_str().unwrap_or_default().to_owned())
}

fn by(participant: &str) -> String {
    format!("participant:{participant}")
}

impl Town {
    fn new() -> Self {
        let (data, machine) = (tempfile::tempdir().unwrap(), Machine::new());
        let log = Arc::new(MemoryLog::new());
        let service =
            Service::sealing(log.clone(), BTreeMap::new(), data.path(), machine.clone(), None).unwrap();
        let client = service.client();
        Self { service, client, machine, log, data }
    }

    /// With two programs; Ann and Bob are an active pair of the first, and had a session.
    fn lived_in() -> Self {
        let mut town = Self::new();
        found(&mut town.client);
        town.machine.advance(3600);
        meet(&mut town.client);
        town
    }

    fn restart(self) -> Self {
        let Self { service, machine, log, data, .. } = self;
        service.stop();
        let service = Service::sealing(log.clone(), log.heads(), data.path(), machine.clone(), None).unwrap();
        let client = service.client();
        Self { service, client, machine, log, data }
    }

    fn done(&mut self, name: &str, body: &Value) -> Value {
        ok(&command(&mut self.client, "spring", name, body))
    }

    fn get(&mut self, path: &str) -> Answer {
        self.client.get(&format!("/v1/programs/spring/{path}"))
    }

    fn personal(&mut self) -> Value {
        ok(&self.get(&format!("participants/{ANN}/personal")))["personal"].clone()
    }

    /// The fields of each read the registry recorded, in order.
    fn reads(&self) -> Vec<Vec<SealedField>> {
        registry(&*self.log)
            .into_iter()
            .filter_map(|entry| match entry.event {
                RegistryEvent::PersonalRead(read) => Some(read.fields),
                _ => None,
            })
            .collect()
    }

    fn people(&self) -> &Arc<People> {
        self.service.published.people().expect("it is on")
    }
}

fn command(client: &mut Client, program: &str, name: &str, body: &Value) -> Answer {
    client.post(&format!("/v1/programs/{program}/commands/{name}"), body)
}

/// Two programs and their people. Every command has a key, so that it can be told again.
fn found(client: &mut Client) {
    for (program, slug) in [(SPRING, "spring"), (AUTUMN, "autumn")] {
        let body = json!({ "program": program, "slug": slug, "name": slug, "time_zone": "UTC" });
        ok(&client.post_keyed("/v1/programs", slug, &body));
    }
    for (program, who) in [("spring", ANN), ("spring", BOB), ("autumn", ANNA), ("autumn", CYD)] {
        let path = format!("/v1/programs/{program}/commands/enrol");
        ok(&client.post_keyed(&path, &format!("enrol-{who}"), &json!({ "participant": who })));
    }
    for (program, pair, a, b) in [("spring", PAIR, ANN, BOB), ("autumn", PAIR, ANNA, CYD)] {
        ok(&command(
            client,
            program,
            "propose-pair",
            &json!({ "actor": by(a), "pair": pair, "a": a, "b": b }),
        ));
        ok(&command(client, program, "accept-pair", &json!({ "actor": by(b), "pair": pair })));
    }
}

/// Everything that can be sealed but the reasons of ends and blocks.
fn meet(client: &mut Client) {
    let set = json!({ "participant": ANN, "name": SECRETS[0], "email": SECRETS[1], "hr_id": SECRETS[2],
        "birth_year": 1906 });
    ok(&command(client, "spring", "set-personal", &set));
    ok(&command(client, "autumn", "set-personal", &json!({ "participant": ANNA, "name": SECRETS[0] })));
    let log = json!({ "actor": by(ANN), "session": SESSION, "pair": PAIR, "occurred_at": "2026-09-21T14:40:00Z",
        "minutes": 30, "mode": "video", "note": SECRETS[3], "exchanges": [
            { "teacher": ANN, "skill": "cobol", "minutes": 15 }, { "teacher": BOB, "skill": "rust", "minutes": 15 }] });
    ok(&command(client, "spring", "log-session", &log));
    let rate = json!({ "actor": by(BOB), "session": SESSION, "teacher": ANN, "skill": "cobol", "rating": 5,
        "comment": SECRETS[4] });
    ok(&command(client, "spring", "rate-exchange", &rate));
    let dispute = json!({ "actor": by(BOB), "session": SESSION, "reason": SECRETS[5] });
    ok(&command(client, "spring", "dispute-session", &dispute));
    let goal = json!({ "actor": by(BOB), "pair": PAIR, "skill": "compilers", "text": SECRETS[7] });
    ok(&command(client, "spring", "set-goal", &goal));
}

fn registry(log: &dyn Log) -> Vec<Entry<RegistryEvent>> {
    let records = log.read(LedgerId::REGISTRY, 0, 10_000).unwrap();
    records.iter().map(|record| Entry::parse(record.bytes()).unwrap()).collect()
}

fn history(log: &dyn Log, program: &str) -> Vec<Entry<Event>> {
    let records = log.read(program.parse().unwrap(), 0, 10_000).unwrap();
    records.iter().map(|record| Entry::parse(record.bytes()).unwrap()).collect()
}

/// Every commitment of a ledger, by event and place.
fn commitments(log: &dyn Log, program: &str) -> BTreeMap<(String, String), B64<32>> {
    let entries = history(log, program).into_iter();
    entries
        .flat_map(|entry| {
            let event = entry.id.to_string();
            entry.sealed.into_iter().map(move |commitment| ((event.clone(), commitment.at), commitment.c))
        })
        .collect()
}

/// The commitment, from its definition alone.
fn committed(ledger: &str, event: &str, at: &str, salt: &[u8], value: &str) -> [u8; 32] {
    let context = format!("{ledger}|{event}|{at}");
    let mut bytes = b"mentorlog/sealed/v1".to_vec();
    bytes.extend_from_slice(salt);
    bytes.extend_from_slice(&u16::try_from(context.len()).unwrap().to_be_bytes());
    bytes.extend_from_slice(context.as_bytes());
    bytes.extend_from_slice(value.as_bytes());
    Sha256::digest(&bytes).into()
}

/// Every file below a folder.
fn files(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_dir() {
            found.extend(files(&entry.path()));
        } else {
            found.push((entry.path().display().to_string(), fs::read(entry.path()).unwrap()));
        }
    }
    found
}

fn holds(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

// -------------------------------------------------------------------------------------------------------- its life

#[test]
fn what_is_sealed_is_read_corrected_and_removed_and_each_read_is_recorded_before_it_is_answered() {
    let mut town = Town::lived_in();
    let answer = town.get(&format!("participants/{ANN}/personal"));
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    let body = ok(&answer);
    let personal =
        json!({ "name": SECRETS[0], "email": SECRETS[1], "hr_id": SECRETS[2], "birth_year": 1906 });
    assert_eq!(body["personal"], personal);
    let all = [SealedField::Name, SealedField::Email, SealedField::HrId, SealedField::BirthYear];
    assert_eq!(town.reads(), [all]);
    let RegistryEvent::PersonalRead(read) = registry(&*town.log).pop().unwrap().event else {
        panic!("a read")
    };
    assert_eq!(body["read"], read.read.to_string());
    assert_eq!(read.program.to_string(), SPRING);

    // A correction hides what was there, a removal too; neither is to be found again.
    town.done("set-personal", &json!({ "participant": ANN, "name": "Grace", "remove": ["hr-id", "email"] }));
    assert_eq!(town.personal(), json!({ "name": "Grace", "birth_year": 1906 }));
    let rows = town.people().status().unwrap().rows;
    assert_eq!(rows, 2 + 1 + 4, "Ann's two, Anna's one, four texts about two");
    let mut town = town.restart();
    assert_eq!(town.people().status().unwrap().rows, rows);
    assert_eq!(town.personal(), json!({ "name": "Grace", "birth_year": 1906 }));
    town.done("set-personal", &json!({ "participant": ANN, "remove": ["name", "birth-year"] }));
    let before = town.reads().len();
    assert_eq!(town.personal(), json!({}));
    assert_eq!(town.reads().len(), before, "where nothing is sealed nothing is read");
    let refused = command(
        &mut town.client,
        "spring",
        "set-personal",
        &json!({ "participant": ANN, "remove": ["name", "birth-year"] }),
    );
    assert_eq!(code(&refused), (409, "nothing-changes".to_owned()));
    let view = ok(&town.get(&format!("participants/{ANN}")));
    assert_eq!(view["personal"], json!([]), "the read models know what is sealed");
}

#[test]
fn a_note_and_a_comment_that_are_corrected_are_gone_and_said_to_be_superseded() {
    let mut town = Town::lived_in();
    let rows = |town: &Town| town.people().status().unwrap().rows;
    let before = rows(&town);
    let correct = |note: Option<&str>, skills: &[&str]| {
        let exchange = |skill: &&str| json!({ "teacher": ANN, "skill": skill, "minutes": 5 });
        let mut body = json!({ "actor": by(ANN), "session": SESSION, "occurred_at": "2026-09-21T14:40:00Z",
            "minutes": 30, "mode": "video", "exchanges": skills.iter().map(exchange).collect::<Vec<_>>() });
        if let Some(note) = note {
            body["note"] = json!(note);
        }
        body
    };
    let rate = |skill: &str, rating: u32, comment: Option<&str>| {
        let mut body = json!({ "actor": by(BOB), "session": SESSION, "teacher": ANN, "skill": skill,
            "rating": rating });
        if let Some(comment) = comment {
            body["comment"] = json!(comment);
        }
        body
    };
    // What each text is, and the position of the entry that took its place.
    let texts = |answer: &Value| -> Vec<(Value, Value, Value)> {
        let texts = answer["texts"].as_array().unwrap().iter();
        texts.map(|text| (text["field"].clone(), text["text"].clone(), text["superseded"].clone())).collect()
    };
    let of_session = |town: &mut Town| texts(&ok(&town.get(&format!("sessions/{SESSION}/sealed"))));
    let row = |field: &str, text: Option<&str>, by: Option<u64>| (json!(field), json!(text), json!(by));

    // Each says everything anew: what stood there before is neither here nor on the disk.
    let first = town.done("correct-session", &correct(Some("a bug"), &["cobol", "rust"]))["events"].clone();
    let second = town.done("revise-rating", &rate("cobol", 4, Some("seconds")))["events"].clone();
    let seq = |events: &Value| events[0]["seq"].as_u64();
    let expected = [
        row("note", None, seq(&first)),
        row("comment", None, seq(&second)),
        row("reason", Some(SECRETS[5]), None),
        row("note", Some("a bug"), None),
        row("comment", Some("seconds"), None),
    ];
    assert_eq!(of_session(&mut town), expected);
    assert_eq!(rows(&town), before, "two came and two went");
    for who in [ANN, BOB] {
        let access = ok(&town.get(&format!("participants/{who}/subject-access")));
        let of_sessions = texts(&access).into_iter().filter(|(field, ..)| field != "goal-text");
        assert_eq!(of_sessions.collect::<Vec<_>>(), expected, "{who}");
    }
    for (subject, superseded) in [(SESSION, "2"), (PAIR, "2"), (ANN, "2"), (BOB, "2")] {
        let path = "/v1/programs/spring/openings";
        let answer = town.client.post(path, &json!({ "subject": subject, "fields": ["note", "comment"] }));
        let header = |name| answer.header(name).map(str::to_owned);
        assert_eq!(header("mentorlog-superseded").as_deref(), Some(superseded), "{subject}");
        assert_eq!(header("mentorlog-unreadable").as_deref(), Some("0"), "{subject}");
        assert_eq!(answer.text().lines().count(), 2, "{subject}");
        assert!(!answer.text().contains(SECRETS[3]) && !answer.text().contains(SECRETS[4]));
    }
    // A start finds the same, and sweeps nothing that is in force.
    let mut town = town.restart();
    assert_eq!((of_session(&mut town), rows(&town)), (expected.to_vec(), before));

    // Without a text there is none any more; once there is none, there is nothing to take away.
    town.done("revise-rating", &rate("cobol", 4, None));
    let again = command(&mut town.client, "spring", "revise-rating", &rate("cobol", 4, None));
    assert_eq!(code(&again), (409, "nothing-changes".to_owned()));
    town.done("rate-exchange", &rate("rust", 2, Some("rusty")));
    assert_eq!(rows(&town), before);
    // Whose exchange is no longer told of, the comment on it goes with the rating.
    town.done("correct-session", &correct(None, &["cobol"]));
    let in_force: Vec<_> = of_session(&mut town).into_iter().filter(|(.., by)| by.is_null()).collect();
    assert_eq!(in_force, [row("reason", Some(SECRETS[5]), None)]);
    assert_eq!(rows(&town), before - 2, "neither note nor comment");

    // A batch that is taken back takes nothing's place.
    town.done("correct-session", &correct(Some("moths"), &["cobol"]));
    let batch = json!([{ "command": "correct-session", "data": correct(Some("flies"), &["cobol"]) },
        { "command": "revise-rating", "data": rate("cobol", 9, None) }]);
    let mut batch = batch;
    for item in batch.as_array_mut().unwrap() {
        let actor = item["data"].as_object_mut().unwrap().remove("actor").unwrap();
        item["actor"] = actor;
    }
    let answer = town.client.post("/v1/programs/spring/commands?atomic=true", &batch);
    assert_eq!(code(&answer), (422, "out-of-range".to_owned()), "{}", answer.text());
    town.done("correct-session", &correct(Some("mosquitoes"), &["cobol"]));
    assert_eq!(rows(&town), before - 1);
    let mut town = town.restart();
    assert_eq!(rows(&town), before - 1);
    let notes = of_session(&mut town).into_iter().filter(|(_, text, _)| !text.is_null());
    assert_eq!(notes.map(|(_, text, _)| text).collect::<Vec<_>>(), [json!(SECRETS[5]), json!("mosquitoes")]);
}

#[test]
fn the_texts_of_a_session_and_of_a_pair_are_read_where_they_belong() {
    let mut town = Town::lived_in();
    let answer = ok(&town.get(&format!("sessions/{SESSION}/sealed")));
    let texts = |answer: &Value| -> Vec<(String, String, String)> {
        let text = |text: &Value, field: &str| text[field].as_str().unwrap().to_owned();
        let texts = answer["texts"].as_array().unwrap();
        texts.iter().map(|t| (text(t, "type"), text(t, "field"), text(t, "text"))).collect()
    };
    let row = |name: &str, field: &str, text: &str| (name.to_owned(), field.to_owned(), text.to_owned());
    let of_session = [
        row("session-logged", "note", SECRETS[3]),
        row("exchange-rated", "comment", SECRETS[4]),
        row("session-disputed", "reason", SECRETS[5]),
    ];
    assert_eq!(texts(&answer), of_session);
    assert_eq!(town.reads(), [[SealedField::Note, SealedField::Comment, SealedField::Reason]]);

    let end = json!({ "actor": by(BOB), "pair": PAIR, "reason": "withheld", "conduct": SECRETS[6] });
    town.done("end-pair", &end);
    town.done("block-pairing", &json!({ "participant": BOB, "other": ANN, "reason": SECRETS[6] }));
    let answer = ok(&town.get(&format!("pairs/{PAIR}/sealed")));
    let of_pair = [
        row("goal-set", "goal-text", SECRETS[7]),
        row("pair-ended", "conduct", SECRETS[6]),
        row("pairing-blocked", "reason", SECRETS[6]),
    ];
    assert_eq!(texts(&answer), of_pair);

    // Everything at once, with the entries it stands beside, to the byte.
    let access = ok(&town.get(&format!("participants/{ANN}/subject-access")));
    assert_eq!(access["personal"]["name"], SECRETS[0]);
    assert_eq!(texts(&access).len(), 6);
    let concern = ok(&town.get(&format!("events?subject={ANN}")));
    assert_eq!((&access["entries"], &access["left_out"]), (&concern["events"], &json!(0)));

    for path in ["participants", "pairs", "sessions"] {
        let part = if path == "participants" { "personal" } else { "sealed" };
        let answer = town.get(&format!("{path}/{CYD}/{part}"));
        assert_eq!(code(&answer), (404, "not-found".to_owned()), "{path}");
    }
}

#[test]
fn an_opening_gives_the_commitment_of_the_entry_and_nobody_finds_it_by_guessing() {
    let mut town = Town::lived_in();
    let path = "/v1/programs/spring/openings";
    let mut opened = 0;
    for subject in [ANN, SESSION, PAIR] {
        let answer = town.client.post(path, &json!({ "subject": subject }));
        assert_eq!(
            (answer.status, answer.header("mentorlog-unreadable")),
            (200, Some("0")),
            "{}",
            answer.text()
        );
        assert_eq!(answer.header("content-type"), Some("application/x-ndjson"));
        let known = commitments(&*town.log, SPRING);
        for line in answer.text().lines() {
            let opening: mentorlog::people::Opening = serde_json::from_str(line).unwrap();
            let (event, at) = (opening.event.to_string(), opening.at.clone());
            let made = committed(SPRING, &event, &at, &opening.salt.0, &opening.value);
            assert_eq!(known.get(&(event, at)), Some(&B64(made)));
            opened += 1;
        }
    }
    assert_eq!(opened, 8 + 3 + 4);
    let answer = town.client.post(path, &json!({ "subject": ANN, "fields": ["name", "note"] }));
    assert_eq!(answer.text().lines().count(), 2);
    assert_eq!(town.reads().pop(), Some(vec![SealedField::Name, SealedField::Note]));
    // The same name, sealed in two programs, leaves two traces that have nothing in common.
    let of_name = |program| {
        let all = commitments(&*town.log, program).into_iter();
        all.filter(|((_, at), _)| at == "/name").map(|(_, c)| c).collect::<Vec<_>>()
    };
    assert_ne!(of_name(SPRING), of_name(AUTUMN));
    let answer = town.client.post(path, &json!({ "subject": CYD }));
    assert_eq!(code(&answer), (404, "not-found".to_owned()));
    let answer = town.client.post(path, &json!({ "subject": ANN, "fields": ["shoe-size"] }));
    assert_eq!(code(&answer), (400, "malformed".to_owned()));
}

#[test]
fn each_sees_what_is_theirs_to_know_and_an_auditor_only_what_a_manager_opens() {
    let mut town = Town::lived_in();
    let end = json!({ "actor": by(BOB), "pair": PAIR, "reason": "withheld", "conduct": SECRETS[6] });
    town.done("end-pair", &end);
    town.done("block-pairing", &json!({ "participant": BOB, "other": ANN, "reason": SECRETS[6] }));
    let eve = "00000000-0000-4000-8000-0000000000ee";
    town.done("enrol", &json!({ "participant": eve }));
    let admin = ok(&town.client.post("/v1/tokens", &json!({ "principal": "ops", "role": "admin" })));
    let admin = format!("Bearer {}", admin["secret"].as_str().unwrap());
    let mut token = |role: &str, participant: Option<&str>| {
        let mut wanted = json!({ "principal": role, "role": role, "programs": ["spring"] });
        if let Some(participant) = participant {
            wanted["participant"] = participant.into();
        }
        let headers = [("authorization", admin.as_str()), crate::harness::JSON];
        let issued = town.client.send("POST", "/v1/tokens", &headers, wanted.to_string().as_bytes());
        format!("Bearer {}", ok(&issued)["secret"].as_str().unwrap())
    };
    let (manager, auditor) = (token("manager", None), token("auditor", None));
    let [ann, bob, eves] = [ANN, BOB, eve].map(|who| token("service", Some(who)));
    let mut get = |token: &str, path: &str| {
        town.client.send("GET", &format!("/v1/programs/spring/{path}"), &[("authorization", token)], b"")
    };
    let mut fields = |token: &str, path: &str| -> Vec<String> {
        let body = ok(&get(token, path));
        let texts = body["texts"].as_array().unwrap().iter();
        texts
            .map(|text| format!("{}{}", text["type"].as_str().unwrap(), text["at"].as_str().unwrap()))
            .collect()
    };
    let session = format!("sessions/{SESSION}/sealed");
    let (note, comment, reason) =
        ("session-logged/note", "exchange-rated/comment", "session-disputed/reason");
    assert_eq!(fields(&manager, &session), [note, comment, reason]);
    assert_eq!(fields(&bob, &session), [note, comment, reason], "Bob wrote the comment and disputed");
    assert_eq!(fields(&ann, &session), [note], "Ann taught what the comment is about");
    let pair = format!("pairs/{PAIR}/sealed");
    assert_eq!(fields(&manager, &pair), ["goal-set/text", "pair-ended/conduct", "pairing-blocked/reason"]);
    assert_eq!(fields(&bob, &pair), ["goal-set/text", "pairing-blocked/reason"], "his own reason");
    assert_eq!(fields(&ann, &pair), ["goal-set/text"]);
    let access = |who: &str| format!("participants/{who}/subject-access");
    assert_eq!(fields(&ann, &access(ANN)), [note, "goal-set/text"]);
    let blocked = "pairing-blocked/reason";
    assert_eq!(fields(&bob, &access(BOB)), [note, comment, reason, "goal-set/text", blocked]);
    let hers = ok(&get(&ann, &access(ANN)));
    assert_eq!(hers.get("left_out"), None, "how many would tell her that he blocks her");
    assert_eq!(ok(&get(&manager, &access(ANN)))["left_out"], 0);
    assert!(hers["withheld"].as_str().unwrap().contains("in confidence"));
    assert!(!hers["entries"].to_string().contains("exchange-rated"));
    let personal = format!("participants/{ANN}/personal");
    for asker in [&ann, &manager] {
        assert_eq!(ok(&get(asker, &personal))["personal"]["name"], SECRETS[0]);
    }
    for path in [&personal, &access(ANN)] {
        assert_eq!(code(&get(&bob, path)), (403, "forbidden".to_owned()));
    }
    for path in [&session, &pair] {
        assert_eq!(code(&get(&eves, path)), (404, "not-found".to_owned()), "it is none of hers");
    }
    for path in [&personal, &session, &pair, &access(ANN)] {
        assert_eq!(code(&get(&auditor, path)), (403, "forbidden".to_owned()));
    }
    let openings = json!({ "subject": ANN }).to_string();
    let mut open = |token: &str| {
        let headers = [("authorization", token), crate::harness::JSON];
        town.client.send("POST", "/v1/programs/spring/openings", &headers, openings.as_bytes())
    };
    for asker in [&ann, &bob, &auditor] {
        assert_eq!(code(&open(asker)), (403, "forbidden".to_owned()));
    }
    assert_eq!(open(&manager).text().lines().count(), 4 + 6);
    // Each read names the service that asked, and no participant.
    let reads = registry(&*town.log);
    let reads = reads.iter().filter(|entry| matches!(entry.event, RegistryEvent::PersonalRead(_)));
    assert!(reads.clone().all(|entry| ["service", "manager"].contains(&entry.principal.as_str())));
    assert!(reads.clone().count() >= 12);
    // Who it is about may ask to be forgotten.
    let erase = "/v1/programs/spring/commands/erase-person";
    let body = json!({ "participant": ANN }).to_string();
    let mut forget = |token: &str| {
        let headers = [("authorization", token), crate::harness::JSON];
        town.client.send("POST", erase, &headers, body.as_bytes())
    };
    assert_eq!(code(&forget(&bob)), (404, "not-found".to_owned()));
    assert_eq!(forget(&ann).status, 201);
    assert_eq!(code(&forget(&ann)), (401, "unauthorized".to_owned()), "there is nobody whom it stands for");
    assert!(town.log.read(LedgerId::REGISTRY, 0, 10_000).unwrap().iter().all(|r| !holds(r.bytes(), ANN)));
}

// ------------------------------------------------------------------------------------------------------- forgetting

/// What must not change when somebody is erased.
fn totals(client: &mut Client) -> Value {
    let get = |client: &mut Client, path: &str| {
        let mut body = ok(&client.get(&format!("/v1/programs/spring{path}")));
        for field in ["size", "root", "known_at"] {
            body.as_object_mut().unwrap().remove(field);
        }
        body
    };
    let program = get(client, "");
    json!({
        "sessions": program["sessions"], "exchanges": program["exchanges"], "ratings": program["ratings"],
        "reciprocity": get(client, "/reciprocity"),
        "session": get(client, &format!("/sessions/{SESSION}")),
    })
}

#[test]
fn who_is_erased_is_gone_from_every_file_and_nothing_that_was_counted_changes() {
    let mut town = Town::lived_in();
    let same = json!({ "a": { "program": "spring", "participant": ANN },
        "b": { "program": AUTUMN, "participant": ANNA } });
    assert_eq!(town.client.post("/v1/people/same", &same).json()["participants"], 2);
    assert_eq!(town.people().status().unwrap().humans, 2, "Ann, who is Anna, and Bob");
    let before = totals(&mut town.client);
    let proof = ok(&town.client.get("/v1/programs/spring/proofs/inclusion?seq=6&size=9"));
    let erase = "/v1/programs/spring/commands/erase-person";
    let both = json!({ "participant": ANN, "participants": 2 });
    let answer = town.client.post_keyed(erase, "forget", &both);
    let receipt = ok(&answer);
    let names: Vec<_> = receipt["events"].as_array().unwrap().iter().map(|e| e["type"].clone()).collect();
    assert_eq!(names, ["person-erased", "pair-ended"]);
    assert_eq!(totals(&mut town.client), before);
    assert_eq!(ok(&town.client.get("/v1/programs/spring/proofs/inclusion?seq=6&size=9")), proof);

    let mut town = town.restart();
    for path in [
        format!("participants/{ANN}"),
        format!("participants/{ANN}/personal"),
        format!("participants/{ANN}/subject-access"),
        format!("sessions/{SESSION}/sealed"),
        format!("pairs/{PAIR}/sealed"),
    ] {
        assert_eq!(code(&town.get(&path)), (410, "participant-erased".to_owned()), "{path}");
    }
    for subject in [ANN, SESSION, PAIR] {
        let answer = town.client.post("/v1/programs/spring/openings", &json!({ "subject": subject }));
        assert_eq!(code(&answer), (410, "participant-erased".to_owned()), "{subject}");
    }
    let anna = town.client.get(&format!("/v1/programs/autumn/participants/{ANNA}/personal"));
    assert_eq!(code(&anna), (410, "participant-erased".to_owned()));
    assert_eq!(code(&town.client.post("/v1/people/same", &same)), (410, "participant-erased".to_owned()));
    assert_eq!(totals(&mut town.client), before);
    // Bob is still there, and what was about him and Ann is gone.
    let access = ok(&town.get(&format!("participants/{BOB}/subject-access")));
    assert_eq!(access["texts"], json!([]));

    // Told again, it is what it was; without the key it is too late.
    let again = town.client.post_keyed(erase, "forget", &both);
    assert_eq!(again.header("idempotent-replayed"), Some("true"));
    assert_eq!(again.json(), receipt);
    let answer = town.client.post(erase, &json!({ "participant": ANN }));
    assert_eq!(code(&answer), (410, "participant-erased".to_owned()));
    let set = json!({ "participant": ANN, "name": "Grace" });
    let answer = command(&mut town.client, "spring", "set-personal", &set);
    assert_eq!(code(&answer), (410, "participant-erased".to_owned()));

    // The registry says that two were erased, and of neither who.
    let registry = registry(&*town.log);
    let of = |name: &str| {
        use mentorlog_events::entry::Facts as _;
        registry.iter().filter(|entry| entry.event.shape().name == name).count()
    };
    assert_eq!((of("erasure-requested"), of("erasure-completed")), (2, 2));
    for record in town.log.read(LedgerId::REGISTRY, 0, 10_000).unwrap() {
        assert!(![ANN, ANNA, BOB].iter().any(|who| holds(record.bytes(), who)));
    }
    for program in [SPRING, AUTUMN] {
        let erased = history(&*town.log, program)
            .into_iter()
            .filter(|entry| matches!(entry.event, Event::PersonErased(_)));
        assert_eq!(erased.count(), 1, "{program}");
    }
    let Town { service, data, .. } = town;
    service.stop();
    for (file, bytes) in files(data.path()) {
        for secret in SECRETS {
            assert!(!holds(&bytes, secret), "{secret} in {file}");
        }
    }
}

#[test]
fn who_is_said_to_be_one_human_being_is_recorded_without_a_name_and_can_be_taken_back() {
    let mut town = Town::lived_in();
    let same = json!({ "a": { "program": "spring", "participant": ANN },
        "b": { "program": "autumn", "participant": ANNA } });
    let said = ok(&town.client.post("/v1/people/same", &same));
    assert_eq!(said["participants"], 2);
    let last = registry(&*town.log).pop().unwrap();
    let RegistryEvent::PeopleJoined(joined) = &last.event else { panic!("{last:?}") };
    assert_eq!(
        (said["link"].as_str().unwrap(), last.principal.as_str()),
        (&*joined.link.to_string(), "local")
    );
    let size = last.seq;
    // Known already: nothing is done.
    let again = ok(&town.client.post("/v1/people/same", &same));
    assert_eq!(again, json!({ "participants": 2, "link": null }));
    assert_eq!(registry(&*town.log).pop().unwrap().seq, size);

    // Nobody is erased by the way.
    let mut town = town.restart();
    let erase = "/v1/programs/spring/commands/erase-person";
    for participants in [None, Some(1), Some(3)] {
        let mut body = json!({ "participant": ANN });
        if let Some(participants) = participants {
            body["participants"] = json!(participants);
        }
        let refused = town.client.post_keyed(erase, "forget", &body);
        assert_eq!(code(&refused), (409, "erases-others".to_owned()), "{participants:?}");
        assert_eq!(refused.json()["participants"], 2);
    }
    let links = |town: &mut Town, program: &str, who: &str| {
        let path = format!("/v1/programs/{program}/participants/{who}/subject-access");
        ok(&town.client.get(&path))["links"].clone()
    };
    let with = |program: &str, participant: &str| json!([{ "link": said["link"], "same": true, "program": program, "participant": participant }]);
    assert_eq!(links(&mut town, "spring", ANN), with(AUTUMN, ANNA));
    assert_eq!(links(&mut town, "autumn", ANNA), with(SPRING, ANN));
    assert_eq!(links(&mut town, "spring", BOB), json!([]));

    // Taken back, which is recorded too; once.
    let apart = json!({ "program": "spring", "participant": ANN });
    let parted = ok(&town.client.post("/v1/people/apart", &apart));
    assert_eq!(parted["participants"], 1, "of Anna");
    let last = registry(&*town.log).pop().unwrap();
    assert!(
        matches!(last.event, RegistryEvent::PeopleParted(said) if parted["link"] == said.link.to_string())
    );
    let refused = town.client.post("/v1/people/apart", &apart);
    assert_eq!(code(&refused), (409, "not-joined".to_owned()));
    let of_ann = links(&mut town, "spring", ANN);
    assert!(
        of_ann.as_array().unwrap().contains(&json!({ "link": parted["link"], "same": false })),
        "{of_ann}"
    );
    for record in town.log.read(LedgerId::REGISTRY, 0, 10_000).unwrap() {
        assert!(![ANN, ANNA].iter().any(|who| holds(record.bytes(), who)));
    }
    let refused = town.client.post(erase, &json!({ "participant": ANN, "participants": 2 }));
    assert_eq!(code(&refused), (409, "erases-others".to_owned()), "whoever says two is mistaken");
    ok(&town.client.post(erase, &json!({ "participant": ANN })));
    let anna = ok(&town.client.get(&format!("/v1/programs/autumn/participants/{ANNA}/personal")));
    assert_eq!(anna["personal"]["name"], SECRETS[0]);
    // Of whom Ann was held to be, nothing is left to be read.
    assert_eq!(links(&mut town, "autumn", ANNA), json!([]));
    for (path, body) in [("/v1/people/apart", &apart), ("/v1/people/same", &same)] {
        assert_eq!(code(&town.client.post(path, body)), (410, "participant-erased".to_owned()), "{path}");
    }
    let unknown = json!({ "program": "spring", "participant": CYD });
    assert_eq!(code(&town.client.post("/v1/people/apart", &unknown)), (404, "not-found".to_owned()));
}

/// How the erasing of a person was cut short.
#[derive(Debug, Clone, Copy)]
enum Cut {
    /// At this append of the log, in this way.
    Log(u64, Fault),
    /// Before this operation on the files of the people store.
    People(u64),
}

/// Erases Ann, cut short, and then starts again. Whether the cut was met.
fn erased_but_cut(two_programs: bool, cut: Cut) -> bool {
    let (data, machine) = (tempfile::tempdir().unwrap(), Machine::new());
    // Everything up to the erasing is not cut.
    let mut town = Town::lived_in();
    if two_programs {
        let same = json!({ "a": { "program": "spring", "participant": ANN },
            "b": { "program": "autumn", "participant": ANNA } });
        assert_eq!(town.client.post("/v1/people/same", &same).json()["participants"], 2);
    }
    let Town { service, log, data: lived_in, .. } = town;
    service.stop();
    copy(lived_in.path(), data.path());
    machine.advance(3600);

    let beneath = again(&log);
    let heads = beneath.heads();
    let (at, fault) = match cut {
        Cut::Log(at, fault) => (at, fault),
        Cut::People(_) => (u64::MAX, Fault::Lost),
    };
    let stop = match cut {
        Cut::Log(..) => None,
        Cut::People(operations) => Some(Stop::after(operations)),
    };
    let faulty = Arc::new(FaultyLog::failing_at(beneath, at, fault, 1));
    let started = Service::sealing(faulty.clone(), heads, data.path(), machine.clone(), stop.clone());
    let erase = "/v1/programs/spring/commands/erase-person";
    let mut body = json!({ "participant": ANN });
    if two_programs {
        body["participants"] = json!(2);
    }
    let answered = match started {
        Err(error) => {
            assert!(stop.is_some(), "{error}");
            None
        }
        Ok(service) => {
            let answer = service.client().post_keyed(erase, "forget", &body);
            let stopped = service.published.stopped().is_some();
            service.stop();
            assert_eq!(answer.status == 201, !stopped, "{cut:?}: {}", answer.text());
            Some(answer)
        }
    };
    let met = !faulty.faults().is_empty()
        || stop.is_some_and(|stop| match cut {
            Cut::Log(..) => false,
            Cut::People(operations) => stop.operations() > operations,
        });

    // What is on the disks now is what a start finds.
    let log = Arc::new(again(faulty.inner()));
    let announced =
        registry(&*log).iter().any(|entry| matches!(entry.event, RegistryEvent::ErasureRequested(_)));
    let service = Service::sealing(log.clone(), log.heads(), data.path(), machine.clone(), None).unwrap();
    let mut client = service.client();
    let read = client.get(&format!("/v1/programs/spring/participants/{ANN}/personal"));
    let was = format!("{cut:?}, answered {:?}", answered.as_ref().map(Answer::text));
    if announced {
        assert_eq!(code(&read), (410, "participant-erased".to_owned()), "{was}");
    } else {
        assert!(answered.as_ref().is_none_or(|answer| answer.status != 201), "{was}");
        assert_eq!(ok(&read)["personal"]["name"], SECRETS[0], "{was}");
    }
    // Asked again with the same key it is done, or was.
    let again = client.post_keyed(erase, "forget", &body);
    let receipt = ok(&again);
    assert_eq!(again.header("idempotent-replayed").is_some(), announced, "{was}");
    if let Some(first) = answered.filter(|answer| answer.status == 201) {
        assert_eq!(receipt, first.json(), "{was}");
    }
    let read = client.get(&format!("/v1/programs/autumn/participants/{ANNA}/personal"));
    if two_programs {
        assert_eq!(code(&read), (410, "participant-erased".to_owned()), "{was}");
    } else {
        assert_eq!(ok(&read)["personal"]["name"], SECRETS[0], "{was}");
    }
    let erasures = |wanted: fn(&RegistryEvent) -> bool| {
        registry(&*log).iter().filter(|entry| wanted(&entry.event)).count()
    };
    let people = if two_programs { 2 } else { 1 };
    assert_eq!(erasures(|event| matches!(event, RegistryEvent::ErasureRequested(_))), people, "{was}");
    assert_eq!(erasures(|event| matches!(event, RegistryEvent::ErasureCompleted(_))), people, "{was}");
    let erased = |program| {
        history(&*log, program).iter().filter(|entry| matches!(entry.event, Event::PersonErased(_))).count()
    };
    assert_eq!((erased(SPRING), erased(AUTUMN)), (1, people - 1), "{was}");
    let status = service.published.people().unwrap().status().unwrap();
    assert_eq!(status.erasures, people as u64, "{was}");
    service.stop();
    let keyrings = fs::read_dir(data.path().join("people/keyring")).unwrap().count();
    assert_eq!(keyrings, 1, "{was}");
    met
}

/// A log with the same entries.
fn again(log: &MemoryLog) -> MemoryLog {
    let copied = MemoryLog::new();
    for ledger in log.heads().into_keys() {
        let records = log.read(ledger, 0, 10_000).unwrap();
        copied.append(&[Append { ledger, expected_size: 0, records, root: [0; 32] }]);
    }
    copied
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

#[test]
fn an_erasure_cut_short_at_any_append_is_finished_by_the_next_start() {
    for two_programs in [false, true] {
        let mut cuts = 0;
        for at in 0.. {
            let met = [Fault::Lost, Fault::WrittenUnknown, Fault::SyncFailed]
                .map(|fault| erased_but_cut(two_programs, Cut::Log(at, fault)));
            if met == [false; 3] {
                break;
            }
            cuts += 1;
        }
        assert_eq!(cuts, 4, "the announcement, the ledgers, the completion, and the heads when it ends");
    }
}

#[test]
fn an_erasure_cut_short_at_any_write_of_the_people_store_is_finished_by_the_next_start() {
    for two_programs in [false, true] {
        let mut operations = 0;
        while erased_but_cut(two_programs, Cut::People(operations)) {
            operations += 1;
        }
        assert!(operations > 8, "{operations}: the note, the new keyring, the old one's end");
    }
}

#[test]
fn a_key_is_bound_to_a_command_and_not_to_what_is_sealed_in_it_which_nobody_guesses_from_the_log() {
    let mut town = Town::new();
    found(&mut town.client);
    let path = "/v1/programs/spring/commands/set-personal";
    let set = |year: u32| json!({ "participant": ANN, "birth_year": year });
    let first = town.client.post_keyed(path, "k", &set(1961));
    ok(&first);
    // Another year only: the same request again.
    let again = town.client.post_keyed(path, "k", &set(1962));
    assert_eq!((again.header("idempotent-replayed"), again.json()), (Some("true"), first.json()));
    assert_eq!(town.personal()["birth_year"], 1961);
    // In a batch it is the same request, too.
    let item = |key: &str, data: Value| json!({ "command": "set-personal", "key": key, "data": data });
    let batch = "/v1/programs/spring/commands";
    let results =
        town.client.post(batch, &json!([item("k", set(1963)), item("b", set(1964)), item("b", set(1965))]));
    let results = ok(&results)["results"].clone();
    let replayed = |n: usize| results[n]["replayed"].clone();
    assert_eq!([replayed(0), replayed(1), replayed(2)], [json!(true), Value::Null, json!(true)], "{results}");
    assert_eq!(town.personal()["birth_year"], 1964);
    // Another field, or another person, is another request.
    for other in
        [json!({ "participant": ANN, "name": "Ann" }), json!({ "participant": BOB, "birth_year": 1961 })]
    {
        let answer = town.client.post_keyed(path, "k", &other);
        assert_eq!(code(&answer), (422, "key-reused".to_owned()));
    }
    // Whoever has the data directory has the secret, and tries every year.
    let secret =
        mentorlog::keys::Keys::open(town.data.path(), true).unwrap().of_ledger(SPRING.parse().unwrap());
    let known: Vec<_> = history(&*town.log, SPRING).iter().filter_map(|entry| entry.command.fp).collect();
    let enrol = json!({ "participant": ANN }).to_string();
    assert!(known.contains(&secret.fingerprint("enrol", enrol.as_bytes())), "the search finds what is there");
    for year in 1900..2027 {
        let body = set(year).to_string();
        assert!(!known.contains(&secret.fingerprint("set-personal", body.as_bytes())), "{year}");
    }
}

#[test]
fn an_erasure_whose_key_is_used_for_something_else_meanwhile_is_done_and_jams_no_other() {
    let (data, machine) = (tempfile::tempdir().unwrap(), Machine::new());
    let log = Arc::new(MemoryLog::new());
    let (armed, address) = (Arc::new(AtomicBool::new(false)), Arc::new(OnceLock::new()));
    // Between two of its steps somebody else uses the key.
    let stop = {
        let (armed, address) = (armed.clone(), address.clone());
        Stop::watched(u64::MAX, move |_| {
            if armed.swap(false, Ordering::AcqRel) {
                let mut client = Client::new(*address.get().unwrap());
                let used = client.post_keyed("/v1/programs/spring/commands/enrol", "forget", &json!({}));
                assert_eq!(used.status, 201, "{}", used.text());
            }
        })
    };
    let service =
        Service::sealing(log.clone(), BTreeMap::new(), data.path(), machine.clone(), Some(stop)).unwrap();
    address.set(service.address).unwrap();
    let mut client = service.client();
    found(&mut client);
    machine.advance(3600);
    meet(&mut client);
    armed.store(true, Ordering::Release);
    let erase = "/v1/programs/spring/commands/erase-person";
    let answer = client.post_keyed(erase, "forget", &json!({ "participant": ANN }));
    assert!(!armed.load(Ordering::Acquire), "the key was used while she was being erased");
    assert_eq!(answer.status, 201, "{}", answer.text());
    let is_erased = |client: &mut Client, who: &str| {
        let read = client.get(&format!("/v1/programs/spring/participants/{who}/personal"));
        assert_eq!(code(&read), (410, "participant-erased".to_owned()));
    };
    is_erased(&mut client, ANN);
    ok(&client.post_keyed(erase, "forget-bob", &json!({ "participant": BOB })));
    is_erased(&mut client, BOB);
    service.stop();

    // As it would be had the process ended before the ledger said it: then the start does, whoever used the key.
    let is_erasure = |entry: &Entry<Event>| matches!(entry.event, Event::PersonErased(_));
    let is_asked = |entry: &Entry<RegistryEvent>| matches!(entry.event, RegistryEvent::ErasureRequested(_));
    let of_spring = history(&*log, SPRING).iter().position(is_erasure).unwrap();
    let of_registry = registry(&*log).iter().position(is_asked).unwrap() + 1;
    let cut = MemoryLog::new();
    for (ledger, tree) in log.heads() {
        let all = usize::try_from(tree.size()).unwrap();
        let kept = if ledger == LedgerId::REGISTRY {
            of_registry
        } else if ledger.to_string() == SPRING {
            of_spring
        } else {
            all
        };
        let records = log.read(ledger, 0, kept).unwrap();
        cut.append(&[Append { ledger, expected_size: 0, records, root: [0; 32] }]);
    }
    let cut = Arc::new(cut);
    let service = Service::sealing(cut.clone(), cut.heads(), data.path(), machine, None).unwrap();
    assert_eq!(history(&*cut, SPRING).iter().filter(|entry| is_erasure(entry)).count(), 2, "Bob's, too");
    let completed = |entry: &&Entry<RegistryEvent>| matches!(entry.event, RegistryEvent::ErasureCompleted(_));
    assert_eq!(registry(&*cut).iter().filter(completed).count(), 2);
    is_erased(&mut service.client(), ANN);
    service.stop();
}

#[test]
fn an_older_keyring_beside_ledgers_that_know_of_an_erasure_without_a_key_comes_up_erased() {
    let Town { service, data, log, machine, .. } = Town::lived_in();
    service.stop();
    let older = tempfile::tempdir().unwrap();
    copy(&data.path().join("people"), &older.path().join("people"));
    let start =
        |data: &Path| Service::sealing(log.clone(), log.heads(), data, machine.clone(), None).unwrap();
    // The keyring and the rows are lost; Ann is erased without anything being there, Bob after a key of another making.
    fs::remove_dir_all(data.path().join("people")).unwrap();
    let service = start(data.path());
    let mut client = service.client();
    ok(&command(&mut client, "spring", "set-personal", &json!({ "participant": BOB, "name": "Bob" })));
    for who in [ANN, BOB] {
        ok(&command(&mut client, "spring", "erase-person", &json!({ "participant": who })));
    }
    service.stop();
    // Then they are found.
    fs::remove_dir_all(data.path().join("people")).unwrap();
    copy(&older.path().join("people"), &data.path().join("people"));
    let service = start(data.path());
    for who in [ANN, BOB] {
        let answer = service.client().get(&format!("/v1/programs/spring/participants/{who}/personal"));
        assert_eq!(code(&answer), (410, "participant-erased".to_owned()));
    }
    let status = service.published.people().unwrap().status().unwrap();
    assert_eq!((status.slots, status.rows), (1, 1), "Anna with her name");
    service.stop();
    // Whose erasure a restore learned of stays erased under a registry that does not know it, which is then told.
    let service = {
        let cut = MemoryLog::new();
        for (ledger, tree) in log.heads() {
            let known = if ledger == LedgerId::REGISTRY {
                let asked =
                    |entry: &Entry<RegistryEvent>| matches!(entry.event, RegistryEvent::ErasureRequested(_));
                registry(&*log).iter().position(asked).unwrap()
            } else if ledger.to_string() == SPRING {
                let erased = |entry: &Entry<Event>| matches!(entry.event, Event::PersonErased(_));
                history(&*log, SPRING).iter().position(erased).unwrap()
            } else {
                usize::try_from(tree.size()).unwrap()
            };
            let records = log.read(ledger, 0, known).unwrap();
            cut.append(&[Append { ledger, expected_size: 0, records, root: [0; 32] }]);
        }
        let cut = Arc::new(cut);
        let service = Service::sealing(cut.clone(), cut.heads(), data.path(), machine, None).unwrap();
        let asked = |entry: &&Entry<RegistryEvent>| matches!(entry.event, RegistryEvent::ErasureRequested(_));
        assert_eq!(registry(&*cut).iter().filter(asked).count(), 2);
        service
    };
    let answer = service.client().get(&format!("/v1/programs/spring/participants/{ANN}/personal"));
    assert_eq!(code(&answer), (410, "participant-erased".to_owned()));
    let set = json!({ "participant": ANN, "name": "Ann is back" });
    let answer = command(&mut service.client(), "spring", "set-personal", &set);
    assert_eq!(code(&answer), (410, "participant-erased".to_owned()));
}

#[test]
fn rows_from_before_somebody_was_known_beside_a_registry_that_has_their_erasure_come_up_erased() {
    const DAN: &str = "00000000-0000-4000-8000-00000000000d";
    let mut town = Town::lived_in();
    town.done("enrol", &json!({ "participant": DAN }));
    let Town { service, data, log, machine, .. } = town;
    service.stop();
    let older = tempfile::tempdir().unwrap();
    copy(&data.path().join("people"), &older.path().join("people"));
    let service = Service::sealing(log.clone(), log.heads(), data.path(), machine.clone(), None).unwrap();
    let set = json!({ "participant": DAN, "name": "Dan" });
    ok(&command(&mut service.client(), "spring", "set-personal", &set));
    ok(&command(&mut service.client(), "spring", "erase-person", &json!({ "participant": DAN })));
    service.stop();
    // It is announced, the ledger does not say it yet, and the rows and keys are those of before.
    let cut = MemoryLog::new();
    for (ledger, tree) in log.heads() {
        let kept = if ledger.to_string() == SPRING {
            let erased = |entry: &Entry<Event>| matches!(entry.event, Event::PersonErased(_));
            history(&*log, SPRING).iter().position(erased).unwrap()
        } else if ledger == LedgerId::REGISTRY {
            // What came after says how long the ledger was.
            let asked =
                |entry: &Entry<RegistryEvent>| matches!(entry.event, RegistryEvent::ErasureRequested(_));
            registry(&*log).iter().position(asked).unwrap() + 1
        } else {
            usize::try_from(tree.size()).unwrap()
        };
        let records = log.read(ledger, 0, kept).unwrap();
        cut.append(&[Append { ledger, expected_size: 0, records, root: [0; 32] }]);
    }
    fs::remove_dir_all(data.path().join("people")).unwrap();
    copy(&older.path().join("people"), &data.path().join("people"));
    let cut = Arc::new(cut);
    let service = Service::sealing(cut.clone(), cut.heads(), data.path(), machine, None).unwrap();
    let mut client = service.client();
    let answer = client.get(&format!("/v1/programs/spring/participants/{DAN}/personal"));
    assert_eq!(code(&answer), (410, "participant-erased".to_owned()));
    let answer = command(&mut client, "spring", "set-personal", &set);
    assert_eq!(code(&answer), (410, "participant-erased".to_owned()));
    let erased = |entry: &Entry<Event>| matches!(entry.event, Event::PersonErased(_));
    assert_eq!(history(&*cut, SPRING).iter().filter(|entry| erased(entry)).count(), 1);
    assert_eq!(service.published.people().unwrap().status().unwrap().erasures, 1);
}

// ----------------------------------------------------------------------------------------------- what goes wrong

#[test]
fn a_history_that_was_sealed_goes_on_without_its_key_and_what_is_corrected_then_is_void_with_it() {
    let mut town = Town::lived_in();
    let path = format!("/v1/programs/spring/sessions/{SESSION}");
    let told = ok(&town.client.get(&path));
    let corrected = json!({
        "actor": by(ANN), "session": SESSION, "occurred_at": told["occurred_at"], "minutes": 25, "mode": "video",
        "exchanges": [{ "teacher": ANN, "skill": "cobol", "minutes": 2 }],
    });
    let Town { service, machine, log, data, .. } = town;
    service.stop();
    let without = Service::start(log.clone(), log.heads(), data.path(), machine.clone());
    let mut client = without.client();
    let answer = command(&mut client, "spring", "correct-session", &corrected);
    assert_eq!(answer.status, 201, "{}", answer.text());
    assert_eq!(client.get("/readyz").status, 200, "writing goes on");
    drop(client);
    without.stop();
    let service = Service::sealing(log.clone(), log.heads(), data.path(), machine.clone(), None).unwrap();
    let client = service.client();
    let mut town = Town { service, client, machine, log, data };
    let sealed = town.get(&format!("sessions/{SESSION}/sealed"));
    assert!(sealed.status == 200 && !sealed.text().contains(SECRETS[3]), "{}", sealed.text());
}

#[test]
fn where_nothing_can_be_sealed_it_is_said_how_it_could() {
    let (data, machine) = (tempfile::tempdir().unwrap(), Machine::new());
    let service = Service::start(Arc::new(MemoryLog::new()), BTreeMap::new(), data.path(), machine);
    let mut client = service.client();
    found(&mut client);
    let set = json!({ "participant": ANN, "name": SECRETS[0] });
    let answers = [
        command(&mut client, "spring", "set-personal", &set),
        command(&mut client, "spring", "erase-person", &json!({ "participant": ANN })),
        client.get(&format!("/v1/programs/spring/participants/{ANN}/personal")),
        client.get(&format!("/v1/programs/spring/participants/{ANN}/subject-access")),
        client.get(&format!("/v1/programs/spring/pairs/{PAIR}/sealed")),
        client.post("/v1/programs/spring/openings", &json!({ "subject": ANN })),
        client.post(
            "/v1/people/same",
            &json!({ "a": { "program": "spring", "participant": ANN },
                "b": { "program": "autumn", "participant": ANNA } }),
        ),
    ];
    for answer in answers {
        assert_eq!(code(&answer), (501, "sealing-unavailable".to_owned()));
        assert!(answer.text().contains("mentorlog keyring init"), "{}", answer.text());
        assert!(!answer.text().contains("Grace"));
    }
}

#[test]
fn a_people_store_that_fails_stops_the_writer_and_nothing_is_acknowledged_that_is_not_there() {
    let machine = Machine::new();
    let set = json!({ "participant": ANN, "name": SECRETS[0] });
    let mut stopped = 0;
    for operations in 0.. {
        let data = tempfile::tempdir().unwrap();
        let faulty = Arc::new(MemoryLog::new());
        let stop = Stop::after(operations);
        let Ok(service) = Service::sealing(
            faulty.clone(),
            BTreeMap::new(),
            data.path(),
            machine.clone(),
            Some(stop.clone()),
        ) else {
            continue;
        };
        let mut client = service.client();
        found(&mut client);
        let answer = command(&mut client, "spring", "set-personal", &set);
        let corrected =
            command(&mut client, "spring", "set-personal", &json!({ "participant": ANN, "name": "G" }));
        let met = stop.operations() > operations;
        if met {
            stopped += 1;
            assert!(service.published.stopped().is_some());
            assert_eq!(code(&client.get("/readyz")), (503, "read-only".to_owned()));
            assert_eq!(
                client.get(&format!("/v1/programs/spring/participants/{ANN}")).status,
                200,
                "reads go on"
            );
            let last = if answer.status == 201 { &corrected } else { &answer };
            if last.status != 201 {
                assert_eq!(code(last), (503, "read-only".to_owned()));
                assert!(!last.text().contains("Grace"));
            }
        }
        service.stop();
        let service =
            Service::sealing(faulty.clone(), faulty.heads(), data.path(), machine.clone(), None).unwrap();
        let read = ok(&service.client().get(&format!("/v1/programs/spring/participants/{ANN}/personal")));
        let name = match (answer.status, corrected.status) {
            (_, 201) => json!({ "name": "G" }),
            (201, _) => json!({ "name": SECRETS[0] }),
            _ => json!({}),
        };
        assert_eq!(read["personal"], name, "{operations}");
        assert!(read["unreadable"].is_null(), "{read}");
        let rows = service.published.people().unwrap().status().unwrap().rows;
        assert_eq!(rows, u64::from(name != json!({})), "no orphan is left: {operations}");
        if !met {
            break;
        }
    }
    assert!(stopped >= 3, "{stopped}: a slot, its sync, the rows, the removal of older ones");
}

#[test]
fn a_batch_seals_what_it_says_and_one_that_is_taken_back_leaves_nothing() {
    let mut town = Town::lived_in();
    let rows = town.people().status().unwrap().rows;
    let set = |name: &str| json!({ "command": "set-personal", "data": { "participant": BOB, "name": name } });
    let bad = json!({ "command": "set-personal", "data": { "participant": BOB, "email": "no" } });
    let batch = "/v1/programs/spring/commands";
    let answer = town.client.post(&format!("{batch}?atomic=true"), &json!([set("Bob"), set("Robert"), bad]));
    assert_eq!(code(&answer), (422, "not-an-email".to_owned()));
    assert_eq!(town.people().status().unwrap().rows, rows);
    let answer = town.client.post(&format!("{batch}?atomic=true"), &json!([set("Bob"), set("Robert")]));
    assert!((200..300).contains(&answer.status), "{}", answer.text());
    assert_eq!(town.people().status().unwrap().rows, rows + 1, "the second made the first void");
    let read = ok(&town.get(&format!("participants/{BOB}/personal")));
    assert_eq!(read["personal"], json!({ "name": "Robert" }));

    let erase = json!({ "command": "erase-person", "data": { "participant": BOB } });
    let answer = town.client.post(batch, &json!([set("Rob"), erase.clone()]));
    assert_eq!(answer.status, 207);
    let results = answer.json()["results"].clone();
    assert_eq!(
        (results[0]["status"].clone(), results[1]["status"].clone()),
        (json!(201), json!(422)),
        "{results}"
    );
    assert!(results[1].to_string().contains("not-in-batch"), "{results}");
    let answer = town.client.post(&format!("{batch}?atomic=true"), &json!([erase]));
    assert!(answer.text().contains("not-in-batch"), "{}", answer.text());
    assert_eq!(ok(&town.get(&format!("participants/{BOB}/personal")))["personal"]["name"], "Rob");
}

#[test]
fn a_row_that_is_gone_is_told_as_lost_and_reading_is_not_answered_where_it_cannot_be_recorded() {
    let mut town = Town::lived_in();
    let missing: Vec<_> = {
        let ann = ANN.parse().unwrap();
        let rows = town.people().rows_about(SPRING.parse().unwrap(), ann).unwrap();
        rows.into_iter().filter(|row| ["/name", "/note"].contains(&row.at.as_str())).collect()
    };
    assert_eq!(missing.len(), 2);
    town.people().put(&[], &missing).unwrap();
    let answer = ok(&town.get(&format!("participants/{ANN}/personal")));
    assert_eq!(answer["unreadable"], json!({ "name": "lost" }));
    assert!(answer["personal"]["name"].is_null() && answer["personal"]["birth_year"] == 1906);
    let answer = ok(&town.get(&format!("sessions/{SESSION}/sealed")));
    assert_eq!(answer["texts"][0]["unreadable"], "lost");
    town.service.published.read_only("a test");
    let answer = town.get(&format!("participants/{ANN}/personal"));
    assert_eq!(code(&answer), (503, "read-only".to_owned()));
    assert!(SECRETS.iter().all(|secret| !answer.text().contains(secret)));
}

#[test]
fn a_read_of_what_is_lost_is_recorded_a_few_times_at_most_whatever_is_written_meanwhile() {
    const READS: usize = 10;
    let mut town = Town::lived_in();
    let rows = town.people().rows_about(SPRING.parse().unwrap(), ANN.parse().unwrap()).unwrap();
    let missing: Vec<_> = rows.into_iter().filter(|row| row.at == "/name").collect();
    town.people().put(&[], &missing).unwrap();
    let (stop, mut other) = (Arc::new(AtomicBool::new(false)), town.service.client());
    let (stopped, size) = (stop.clone(), town.service.published.program("spring").unwrap());
    let writing = std::thread::spawn(move || {
        while !stopped.load(Ordering::Relaxed) {
            ok(&command(&mut other, "spring", "enrol", &json!({})));
        }
    });
    let (before, first, mut reads) = (town.reads().len(), size.size(), 0);
    let mut parts = ["personal", "subject-access"].into_iter().cycle();
    while reads < READS || size.size() < first + READS as u64 {
        let what = parts.next().unwrap();
        let answer = ok(&town.get(&format!("participants/{ANN}/{what}")));
        assert_eq!(answer["unreadable"], json!({ "name": "lost" }), "{what}");
        reads += 1;
    }
    stop.store(true, Ordering::Relaxed);
    writing.join().unwrap();
    let recorded = town.reads().len() - before;
    assert!((reads..=2 * reads).contains(&recorded), "{recorded} records of {reads} reads");
}

#[test]
fn an_older_keyring_beside_a_current_registry_comes_up_erased() {
    let town = Town::lived_in();
    let Town { service, data, log, machine, .. } = town;
    service.stop();
    let older = tempfile::tempdir().unwrap();
    copy(&data.path().join("people"), &older.path().join("people"));
    let start =
        |data: &Path| Service::sealing(log.clone(), log.heads(), data, machine.clone(), None).unwrap();
    let service = start(data.path());
    ok(&command(&mut service.client(), "spring", "erase-person", &json!({ "participant": ANN })));
    service.stop();
    let sizes = |log: &MemoryLog| log.heads().into_values().map(|tree| tree.size()).collect::<Vec<_>>();
    let before = sizes(&log);
    fs::remove_dir_all(data.path().join("people")).unwrap();
    copy(&older.path().join("people"), &data.path().join("people"));
    let service = start(data.path());
    let answer = service.client().get(&format!("/v1/programs/spring/participants/{ANN}/personal"));
    assert_eq!(code(&answer), (410, "participant-erased".to_owned()));
    let status = service.published.people().unwrap().status().unwrap();
    assert_eq!((status.slots, status.rows, status.erasures), (2, 1, 1), "Bob, and Anna with her name");
    assert_eq!(sizes(&log), before, "everything was in the ledgers already");
}

#[test]
fn nothing_that_is_sealed_stands_in_a_log_line_or_in_a_file_of_the_service() {
    let dir = tempfile::tempdir().unwrap();
    let (data, stderr, key) = (dir.path().join("data"), dir.path().join("stderr"), dir.path().join("kek"));
    fs::write(&key, KEK).unwrap();
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    let start = || {
        Process::started(
            {
                let mut command = serve(&data, &stderr);
                command.arg("--personal-key-file").arg(&key).env("MENTORLOG_LOG", "trace");
                command
            },
            &stderr,
        )
    };
    let process = start();
    let mut client = process.client();
    found(&mut client);
    let set = json!({ "participant": ANN, "name": SECRETS[0], "email": SECRETS[1], "hr_id": SECRETS[2] });
    ok(&command(&mut client, "spring", "set-personal", &set));
    let goal = json!({ "actor": by(BOB), "pair": PAIR, "skill": "compilers", "text": SECRETS[7] });
    ok(&command(&mut client, "spring", "set-goal", &goal));
    for wrong in [
        json!({ "participant": ANN, "birth_year": SECRETS[3] }),
        json!({ "participant": ANN, "email": SECRETS[4] }),
        json!({ "participant": ANN, "name": [SECRETS[5]] }),
    ] {
        let answer = command(&mut client, "spring", "set-personal", &wrong);
        assert!((400..500).contains(&answer.status));
        assert!(SECRETS.iter().all(|secret| !answer.text().contains(secret)), "{}", answer.text());
    }
    let path = format!("/v1/programs/spring/participants/{ANN}/personal");
    assert_eq!(ok(&client.get(&path))["personal"]["name"], SECRETS[0]);
    process.kill();
    let process = start();
    let mut client = process.client();
    assert_eq!(ok(&client.get(&path))["personal"]["hr_id"], SECRETS[2]);
    ok(&command(&mut client, "spring", "erase-person", &json!({ "participant": ANN })));
    process.kill();
    let process = start();
    assert_eq!(process.client().get(&path).status, 410);
    assert!(process.terminate().success());
    for (file, bytes) in files(dir.path()) {
        for secret in SECRETS {
            assert!(!holds(&bytes, secret), "{secret} in {file}");
        }
    }
}
