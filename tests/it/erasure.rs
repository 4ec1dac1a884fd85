//! The part that forgets, from outside: servers in processes of their own, killed, backed up and restored; the bytes of
//! every file searched, and the store read by another reader than its own.
//! Never takes the service's word for what is on the disk.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use base64::Engine as _;
use chacha20poly1305::aead::{Aead as _, KeyInit as _, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use hkdf::Hkdf;
use mentorlog::access::kept::KeptTokens;
use mentorlog::clock::{Clock, Source as _};
use mentorlog::http::guard::Access;
use mentorlog::keys::Keys;
use mentorlog::ledger::Log;
use mentorlog::ledger::sled::{OpenOptions, SledLog};
use mentorlog::people::{Kek, People};
use mentorlog::writer::Writer;
use mentorlog::writer::publisher::Publishing;
use mentorlog_events::id::LedgerId;
use mentorlog_events::time::Timestamp;
use redb::ReadableDatabase as _;
use redb::ReadableTable as _;
use serde_json::{Value, json};
use sha2::Sha256;
use tempfile::TempDir;

use crate::cli::{copy_dir, run, text};
use crate::harness::{Answer, Chance, Client, KEK, Machine, Process, Service, serve, until};

const SPRING: &str = "00000000-0000-4000-8000-000000000001";
const AUTUMN: &str = "00000000-0000-4000-8000-000000000002";
const ANN: &str = "00000000-0000-4000-8000-00000000000a";
pub const BOB: &str = "00000000-0000-4000-8000-00000000000b";
/// Ann again, in the other program.
const ANNA: &str = "00000000-0000-4000-8000-0000000000aa";
/// Of whom nothing is sealed at first.
const CYD: &str = "00000000-0000-4000-8000-00000000000c";
const OF_CYD: &str = "Cyd Quixote-Whipple";
const PAIR: &str = "00000000-0000-4000-8000-0000000000f1";
const SESSION: &str = "00000000-0000-4000-8000-0000000000e1";

/// What is sealed about Ann, alone or with Bob.
const OF_ANN: [&str; 6] = [
    "Ada Byron-Zwetschge",
    "ada.zwetschge@example.org",
    "HR-90210-ADA",
    "a note on the analytical engine",
    "wove me an algebraic pattern",
    "Ada B.-Z., elsewhere",
];
/// What is sealed about Bob alone.
const OF_BOB: &str = "Bob Babbage-Quince";

pub fn ok(answer: &Answer) -> Value {
    assert!((200..300).contains(&answer.status), "{} {}", answer.status, answer.text());
    answer.json()
}

fn code(answer: &Answer) -> (u16, String) {
    (answer.status, answer.json()["code"].as_str().unwrap_or_default().to_owned())
}

/// A directory with an installation in it, its key, and what else a test puts there.
pub struct Town {
    dir: TempDir,
}

impl Town {
    pub fn new() -> Self {
        let town = Self { dir: tempfile::tempdir().unwrap() };
        let said = run(&["keyring", "init", "--out", &town.at("kek")], 0);
        assert!(text(&said.stdout).contains("(mode 600)"));
        town
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn at(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }

    pub fn serve(&self, data: &str) -> Process {
        let log = self.path("stderr");
        let mut command = serve(&self.path(data), &log);
        command.arg("--personal-key-file").arg(self.path("kek"));
        Process::started(command, &log)
    }

    fn backup(&self, data: &str, name: &str) -> String {
        let (out, keys, keyring) =
            (self.at(name), self.at(&format!("{name}-keys")), self.at(&format!("{name}-ring")));
        let data = self.at(data);
        let arguments =
            ["backup", "--data", &data, "--out", &out, "--keys-out", &keys, "--keyring-out", &keyring];
        text(&run(&arguments, 0).stdout).to_owned()
    }

    /// Restores a backup with the keyring of another; says all it said.
    fn restore(&self, code: i32, backup: &str, ring: Option<&str>, data: &str, more: &[&str]) -> String {
        let (from, keys, data) = (self.at(backup), self.at(&format!("{backup}-keys")), self.at(data));
        let mut arguments = vec!["restore", "--from", &from, "--keys", &keys, "--data", &data];
        let (ring, kek) = (ring.map(|ring| self.at(&format!("{ring}-ring"))), self.at("kek"));
        if let Some(ring) = &ring {
            arguments.extend(["--keyring", ring, "--personal-key-file", &kek]);
        }
        arguments.extend(more);
        let Output { stdout, stderr, .. } = run(&arguments, code);
        format!("{}{}", text(&stdout), text(&stderr))
    }

    fn kek(&self) -> [u8; 32] {
        let engine = base64::engine::general_purpose::STANDARD;
        engine.decode(fs::read_to_string(self.path("kek")).unwrap().trim()).unwrap().try_into().unwrap()
    }
}

fn command(client: &mut Client, program: &str, name: &str, body: &Value) -> Value {
    ok(&client.post(&format!("/v1/programs/{program}/commands/{name}"), body))
}

fn seconds_now() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    i64::try_from(since.as_secs()).unwrap()
}

fn now() -> String {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    Timestamp::from_micros(i64::try_from(since.as_micros()).unwrap()).unwrap().to_string()
}

/// Two programs; Ann and Bob are a pair of the first and had a session, and Ann is in the second too.
fn live(client: &mut Client, met_at: impl Fn() -> String) {
    for (program, slug) in [(SPRING, "spring"), (AUTUMN, "autumn")] {
        let body = json!({ "program": program, "slug": slug, "name": slug, "time_zone": "UTC" });
        ok(&client.post("/v1/programs", &body));
    }
    for (program, who) in [("spring", ANN), ("spring", BOB), ("autumn", ANNA)] {
        command(client, program, "enrol", &json!({ "participant": who }));
    }
    let by = |who: &str| format!("participant:{who}");
    let propose = json!({ "actor": by(ANN), "pair": PAIR, "a": ANN, "b": BOB });
    command(client, "spring", "propose-pair", &propose);
    command(client, "spring", "accept-pair", &json!({ "actor": by(BOB), "pair": PAIR }));
    let set = json!({ "participant": ANN, "name": OF_ANN[0], "email": OF_ANN[1], "hr_id": OF_ANN[2] });
    command(client, "spring", "set-personal", &set);
    command(client, "spring", "set-personal", &json!({ "participant": BOB, "name": OF_BOB }));
    command(client, "autumn", "set-personal", &json!({ "participant": ANNA, "name": OF_ANN[5] }));
    let log = json!({ "actor": by(ANN), "session": SESSION, "pair": PAIR, "occurred_at": met_at(), "minutes": 4,
        "mode": "video", "note": OF_ANN[3], "exchanges": [
            { "teacher": ANN, "skill": "cobol", "minutes": 2 }, { "teacher": BOB, "skill": "rust", "minutes": 2 }] });
    command(client, "spring", "log-session", &log);
    let rate = json!({ "actor": by(BOB), "session": SESSION, "teacher": ANN, "skill": "cobol", "rating": 5,
        "comment": OF_ANN[4] });
    command(client, "spring", "rate-exchange", &rate);
    let same = json!({ "a": { "program": "spring", "participant": ANN },
        "b": { "program": "autumn", "participant": ANNA } });
    assert_eq!(client.post("/v1/people/same", &same).json()["participants"], 2);
}

pub fn erase(client: &mut Client) -> Answer {
    let path = "/v1/programs/spring/commands/erase-person";
    client.post_keyed(path, "forget-ann", &json!({ "participant": ANN, "participants": 2 }))
}

/// Both participants that Ann is are erased, and Bob is not.
fn is_erased(client: &mut Client) {
    for path in [
        format!("spring/participants/{ANN}/personal"),
        format!("spring/participants/{ANN}/subject-access"),
        format!("spring/sessions/{SESSION}/sealed"),
        format!("spring/pairs/{PAIR}/sealed"),
        format!("autumn/participants/{ANNA}/personal"),
    ] {
        let answer = client.get(&format!("/v1/programs/{path}"));
        assert_eq!(code(&answer), (410, "participant-erased".to_owned()), "{path}");
    }
}

fn personal(client: &mut Client, who: &str) -> Answer {
    client.get(&format!("/v1/programs/spring/participants/{who}/personal"))
}

// ------------------------------------------------------------------------------------------------ another reader

/// Every file below a directory, and what is in it.
fn files(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.insert(path.clone(), fs::read(path).unwrap());
        }
    }
    found
}

/// The files below a directory, from it, that hold these bytes.
fn holding(dir: &Path, needle: &[u8]) -> Vec<String> {
    held(&files(dir), dir, needle)
}

fn held(files: &BTreeMap<PathBuf, Vec<u8>>, dir: &Path, needle: &[u8]) -> Vec<String> {
    let holds = |bytes: &[u8]| memchr::memmem::find(bytes, needle).is_some();
    let held = files.iter().filter(|(_, bytes)| holds(bytes));
    held.map(|(path, _)| path.strip_prefix(dir).unwrap().to_str().unwrap().to_owned()).collect()
}

/// A keyring, read from what is documented of its format alone.
struct Ring {
    wrapped: Vec<u8>,
    epoch_key: Vec<u8>,
    /// The slot as it lies there, and the key in it, by participant.
    slots: BTreeMap<Vec<u8>, (Vec<u8>, Vec<u8>)>,
}

fn aead(key: &[u8], sealed: &[u8], bound: &[u8]) -> Option<Vec<u8>> {
    let nonce: [u8; 24] = sealed[..24].try_into().unwrap();
    let cipher = XChaCha20Poly1305::new_from_slice(key).unwrap();
    cipher.decrypt(&XNonce::from(nonce), Payload { msg: &sealed[24..], aad: bound }).ok()
}

fn ring(bytes: &[u8], kek: &[u8]) -> Option<Ring> {
    let (header, slots) = bytes.split_at(116);
    let epoch_key = aead(kek, &header[44..], &header[..44])?;
    let mut found = BTreeMap::new();
    for (index, slot) in (0_u64..).zip(slots.chunks(136)) {
        let bound = [&header[20..28], &index.to_be_bytes()].concat();
        let plain = aead(&epoch_key, slot, &bound)?;
        found.insert(plain[48..64].to_vec(), (slot.to_vec(), plain[64..].to_vec()));
    }
    Some(Ring { wrapped: header[44..].to_vec(), epoch_key, slots: found })
}

/// The one keyring of a data directory, as a file and read.
fn keyring(data: &Path, kek: &[u8]) -> (String, Ring) {
    let found: Vec<_> = files(&data.join("people/keyring")).into_iter().collect();
    let [(path, bytes)] = found.as_slice() else { panic!("{} keyrings", found.len()) };
    (path.strip_prefix(data).unwrap().to_str().unwrap().to_owned(), ring(bytes, kek).unwrap())
}

/// The sealed rows, as they lie in a copy of the file: key, value.
fn rows(data: &Path) -> Vec<(Vec<u8>, Vec<u8>)> {
    let copy = tempfile::NamedTempFile::new().unwrap();
    fs::copy(data.join("people/rows.redb"), copy.path()).unwrap();
    let database = redb::Database::open(copy.path()).unwrap();
    let table = redb::TableDefinition::<&[u8], &[u8]>::new("rows");
    let table = database.begin_read().unwrap().open_table(table).unwrap();
    let rows = table.iter().unwrap().map(|row| row.unwrap());
    rows.map(|(key, value)| (key.value().to_vec(), value.value().to_vec())).collect()
}

/// Every text that these rows and this keyring give away.
fn texts(rows: &[(Vec<u8>, Vec<u8>)], ring: &Ring) -> Vec<String> {
    let id = |bytes: &[u8]| uuid::Uuid::from_slice(bytes).unwrap().to_string();
    let open = |(key, value): &(Vec<u8>, Vec<u8>)| {
        let at = std::str::from_utf8(&key[32..]).unwrap();
        let context = format!("{}|{}|{at}", id(&key[..16]), id(&key[16..32]));
        let (about, sealed) = value[1..].split_at(16 * usize::from(value[0]));
        let keys: Option<Vec<&[u8]>> =
            about.chunks(16).map(|who| ring.slots.get(who).map(|(_, key)| key.as_slice())).collect();
        let mut key = [0; 32];
        Hkdf::<Sha256>::new(None, &keys?.concat()).expand(context.as_bytes(), &mut key).unwrap();
        let plain = aead(&key, sealed, context.as_bytes())?;
        String::from_utf8(plain[32..].to_vec()).ok()
    };
    let mut texts: Vec<String> = rows.iter().filter_map(open).collect();
    texts.sort();
    texts
}

fn sorted(texts: &[&str]) -> Vec<String> {
    let mut texts: Vec<String> = texts.iter().map(|text| (*text).to_owned()).collect();
    texts.sort();
    texts
}

/// What of a keyring must be in no file any more: the wrapped epoch key, each slot, and every key in clear.
fn destroyed(ring: &Ring) -> Vec<(&'static str, Vec<u8>)> {
    let engine = base64::engine::general_purpose::STANDARD;
    let mut needles = vec![("the wrapped epoch key", ring.wrapped.clone())];
    let mut clear = |what, key: &[u8]| {
        needles.push((what, key.to_vec()));
        needles.push((what, engine.encode(key).into_bytes()));
    };
    clear("the epoch key", &ring.epoch_key);
    for (slot, key) in ring.slots.values() {
        clear("a person's key", key);
        clear("a slot", slot);
    }
    needles
}

fn none_of(dir: &Path, needles: &[(&'static str, Vec<u8>)], when: &str) {
    let files = files(dir);
    for (what, needle) in needles {
        assert_eq!(held(&files, dir, needle), Vec::<String>::new(), "{what}, {when}");
    }
    for secret in OF_ANN.iter().chain([&OF_BOB]) {
        assert_eq!(held(&files, dir, secret.as_bytes()), Vec::<String>::new(), "{secret:?}, {when}");
    }
}

// -------------------------------------------------------------------------------------------------------- the tests

/// What does not change when somebody is erased.
fn totals(client: &mut Client) -> Value {
    let mut program = ok(&client.get("/v1/programs/spring"));
    let mut reciprocity = ok(&client.get("/v1/programs/spring/reciprocity"));
    for field in ["size", "root", "known_at"] {
        reciprocity.as_object_mut().unwrap().remove(field);
    }
    json!({ "sessions": program["sessions"].take(), "exchanges": program["exchanges"].take(),
        "ratings": program["ratings"].take(), "reciprocity": reciprocity })
}

fn vkey_of_registry(client: &mut Client) -> String {
    let keys = ok(&client.get("/v1/keys"));
    let keys = keys.as_array().or_else(|| keys["keys"].as_array()).unwrap().clone();
    let of = keys.iter().find(|key| key["vkey"].as_str().unwrap().contains("/registry/")).unwrap();
    of["vkey"].as_str().unwrap().to_owned()
}

fn published(client: &mut Client, log: &str, size: &Value) {
    until("the checkpoint", || {
        let answer = client.get(&format!("/log/{log}/checkpoint"));
        (answer.status == 200 && answer.text().lines().nth(1) == Some(&size.to_string())).then_some(())
    });
}

/// Lives eight days ago, so that a week is over that can be reported.
pub fn live_long_ago(town: &Town) {
    fs::write(town.path("kek"), KEK).unwrap();
    let data = town.path("data");
    let machine = Machine::new();
    machine.jump(seconds_now() - 8 * 24 * 3600 - Machine::START_SECONDS);
    let opened = SledLog::open(&data, &OpenOptions::default()).unwrap();
    let sled = Arc::new(opened.log);
    let log: Arc<dyn Log> = sled.clone();
    let keys = Keys::open(&data, false).unwrap();
    let secret = keys.of_ledger(LedgerId::REGISTRY);
    let people = data.join("people");
    let publishing = Publishing::Into { data: data.clone(), witnesses: Vec::new() };
    let (writer, running) = Writer::start_sealing(
        &log,
        opened.heads,
        keys,
        Clock::start(machine.clone()),
        publishing,
        |installation| People::open(&people, installation, Some(Kek::from_text(KEK, "a test").unwrap())),
    )
    .unwrap();
    let service = Service::over(writer, running, secret, Access::loopback(KeptTokens::in_memory()));
    machine.advance(1);
    live(&mut service.client(), || machine.wall().to_string());
    service.stop();
    sled.close().unwrap();
}

#[test]
fn who_is_erased_is_in_no_file_and_everything_that_was_proven_before_still_is() {
    let town = Town::new();
    live_long_ago(&town);
    let (data, kek) = (town.path("data"), town.kek());
    let process = town.serve("data");
    let mut client = process.client();
    let before = totals(&mut client);
    let vkey = vkey_of_registry(&mut client);
    let size = ok(&client.get("/v1/programs/spring"))["size"].clone();
    let report = ok(&client.post("/v1/programs/spring/reports", &json!({})));
    let digest = report["digest"].as_str().unwrap().to_owned();
    let note = |client: &mut Client| {
        let answer = client.send("GET", &format!("/v1/reports/{digest}"), &[("accept", "text/plain")], b"");
        assert_eq!(answer.status, 200);
        answer.body
    };
    let noted = note(&mut client);
    fs::write(town.path("report"), &noted).unwrap();
    published(&mut client, "spring", &size);
    let proof = format!("/v1/programs/spring/proofs/inclusion?seq=7&size={size}");
    let proven = ok(&client.get(&proof));
    let mut openings = Vec::new();
    for subject in [ANN, SESSION, BOB] {
        openings.extend(client.post("/v1/programs/spring/openings", &json!({ "subject": subject })).body);
    }
    fs::write(town.path("openings"), &openings).unwrap();
    assert_eq!(personal(&mut client, ANN).json()["personal"]["name"], OF_ANN[0]);
    // The registry has grown by the reads: its checkpoint is pinned when it is out.
    let registry = until("the registry's checkpoint", || {
        let answer = client.get("/log/registry/checkpoint");
        let published: u64 = answer.text().lines().nth(1)?.parse().ok()?;
        (published >= 12).then(|| answer.body.clone())
    });
    fs::write(town.path("registry-pin"), &registry).unwrap();
    fs::write(town.path("spring-pin"), client.get("/log/spring/checkpoint").body).unwrap();
    let server = format!("http://{}", process.address);
    run(&["export", "--program", "spring", "--server", &server, "--out", &town.at("bundle")], 0);
    town.backup("data", "early");
    assert!(process.terminate().success());

    // Before: the search finds what is there, in sled too, and whoever has the keyring and its key reads everything.
    let (path, old) = keyring(&data, &kek);
    let old_rows = rows(&data);
    assert_eq!(old.slots.len(), 3);
    let everything = sorted(&[&OF_ANN[..], &[OF_BOB]].concat());
    assert_eq!(texts(&old_rows, &old), everything);
    assert_eq!(holding(&data, &old.wrapped), [path.as_str()]);
    for (slot, key) in old.slots.values() {
        assert_eq!(holding(&data, slot), [path.as_str()]);
        assert_eq!(holding(&data, key), Vec::<String>::new());
    }
    assert!(
        holding(&data, SESSION.as_bytes()).iter().any(|path| path.starts_with("sled/")),
        "sled is searched"
    );
    none_of(&data, &[("the epoch key", old.epoch_key.clone())], "before");

    let process = town.serve("data");
    let mut client = process.client();
    let receipt = ok(&erase(&mut client));
    is_erased(&mut client);
    process.kill();
    let process = town.serve("data");
    let mut client = process.client();
    is_erased(&mut client);
    assert_eq!(personal(&mut client, BOB).json()["personal"]["name"], OF_BOB);
    assert_eq!(totals(&mut client), before);
    let again = erase(&mut client);
    assert_eq!((again.header("idempotent-replayed"), again.json()), (Some("true"), receipt.clone()));

    // Everything that was handed out before still holds.
    assert_eq!(ok(&client.get(&proof)), proven);
    assert_eq!(note(&mut client), noted);
    published(&mut client, "spring", &receipt["size"]);
    let server = format!("http://{}", process.address);
    for name in ["spring-pin", "registry-pin"] {
        fs::copy(town.path(name), town.path(&format!("{name}-2"))).unwrap();
    }
    let verify = |place: &str, more: &[&str], code: i32| {
        let arguments = [&["verify", place, "--vkey", &vkey, "--format", "json"], more].concat();
        let output = run(&arguments, code);
        serde_json::from_slice::<Value>(&output.stdout).unwrap_or_default()
    };
    let pins = [
        "--program",
        "spring",
        "--pin",
        &town.at("spring-pin-2"),
        "--registry-pin",
        &town.at("registry-pin-2"),
    ];
    verify(&server, &pins, 0);
    verify(&server, &["--program", "spring", "--report", &town.at("report")], 0);
    verify(&town.at("bundle"), &["--report", &town.at("report")], 0);
    // What was opened for an auditor before can still be held against the log: only nobody can open it again.
    for place in [server.as_str(), &town.at("bundle")] {
        let found = verify(place, &["--openings", &town.at("openings")], 0);
        let gap = found["not_proven"].as_array().unwrap().iter().find(|gap| gap["gap"] == "sealed");
        let said = gap.map(|gap| gap["text"].as_str().unwrap().to_owned());
        // In the whole installation there is one more, of the other program.
        let expected = (place == server).then_some(
            "6 of 7 sealed fields were opened: the others - names, notes, reasons - may be anything",
        );
        assert_eq!(said.as_deref(), expected, "{place}");
        // True, and no longer so: where the log is newer, it is said.
        let erased = "and since the person was erased at seq";
        let steps = found.to_string().matches(erased).count();
        assert_eq!(steps, if place == server { 9 } else { 0 }, "{place}: all but Bob's own name");
    }
    for (from, to) in [(OF_ANN[3], "another note"), (BOB, ANN), ("/note", "/comment"), (SPRING, AUTUMN)] {
        let changed = String::from_utf8(openings.clone()).unwrap().replace(from, to);
        if changed.as_bytes() == openings {
            continue;
        }
        fs::write(town.path("changed"), changed).unwrap();
        verify(&town.at("bundle"), &["--openings", &town.at("changed")], 20);
    }
    fs::write(town.path("changed"), b"{\"name\":\"not an opening\"}\n").unwrap();
    let refused =
        run(&["verify", &town.at("bundle"), "--vkey", &vkey, "--openings", &town.at("changed")], 10);
    assert!(!text(&refused.stderr).contains("not an opening\""), "{}", text(&refused.stderr));
    assert!(process.terminate().success());

    // After: of Ann nothing, by the bytes and by the other reader, who still has the operator's key.
    none_of(&data, &destroyed(&old), "after");
    let (path, new) = keyring(&data, &kek);
    assert_ne!(path, "people/keyring/00000000000000000001");
    assert_eq!(new.slots.len(), 1, "Bob's");
    assert_eq!(texts(&rows(&data), &new), [OF_BOB]);
    assert_eq!(texts(&old_rows, &new), [OF_BOB], "of an old copy of the rows no more than that");
    assert_eq!(texts(&old_rows, &old), everything, "who kept the old keyring and the key still can");
    let doctor = run(&["doctor", "--data", &town.at("data"), "--personal-key-file", &town.at("kek")], 0);
    let said = text(&doctor.stdout);
    assert!(said.contains("Sealed: 1 rows; keyring of epoch 3 with 1 slots; 2 erasures."), "{said}");
    let status = run(&["keyring", "status", "--data", &town.at("data")], 0);
    insta::assert_snapshot!(text(&status.stdout), @r"
    epoch     3
    slots     1
    humans    not known (give the key)
    rows      1
    erasures  2
    ");
}

#[test]
fn an_older_backup_comes_up_erased_beside_a_current_registry_and_without_one_not_at_all() {
    let town = Town::new();
    let process = town.serve("data");
    let mut client = process.client();
    live(&mut client, now);
    let size = ok(&client.get("/v1/programs/spring"))["size"].clone();
    published(&mut client, "spring", &size);
    until("the registry", || {
        let answer = client.get("/log/registry/checkpoint");
        (answer.status == 200 && answer.text().lines().nth(1)?.parse::<u64>().ok()? >= 5).then_some(())
    });
    let said = town.backup("data", "early");
    assert!(said.contains("7 sealed rows, under epoch 2 of the keyring in"), "{said}");
    assert!(said.contains("whoever is erased from now on can still be read with it"), "{said}");
    ok(&erase(&mut client));
    assert!(process.terminate().success());
    let said = town.backup("data", "late");
    assert!(said.contains("1 sealed rows, under epoch 3"), "{said}");
    assert!(holding(&town.path("late"), OF_BOB.as_bytes()).is_empty());
    let old = ring(files(&town.path("early-ring")).values().next().unwrap(), &town.kek()).unwrap();
    assert_eq!(old.slots.len(), 3);
    // The keyring is in the directory of its own, and in no other of the backup.
    for place in ["early", "early-keys"] {
        assert_eq!(holding(&town.path(place), &old.wrapped), Vec::<String>::new(), "{place}");
    }

    // Without a registry that is current, without the key, or with another's registry: nothing is made.
    let refused = town.restore(1, "early", Some("early"), "no", &[]);
    assert!(refused.contains("a keyring is restored only beside a current registry"), "{refused}");
    // What the backup says of itself is no proof, as a pin or as a registry.
    let own = pins(&town, "early");
    let own: Vec<&str> = own.iter().map(String::as_str).collect();
    let refused = town.restore(1, "early", Some("early"), "no", &own);
    assert!(refused.contains("a keyring is restored only beside a current registry"), "{refused}");
    for place in ["early", "early/log/registry"] {
        let refused = town.restore(1, "early", Some("early"), "no", &["--registry", &town.at(place)]);
        assert!(refused.contains("is the backup's own registry"), "{refused}");
    }
    let (from, keys, ring_at) = (town.at("early"), town.at("early-keys"), town.at("early-ring"));
    let (late, no) = (town.at("late"), town.at("no"));
    let bare = ["restore", "--from", &from, "--keys", &keys, "--data", &no, "--keyring", &ring_at];
    let refused = run(&[&bare[..], &["--registry", &late]].concat(), 1);
    assert!(
        text(&refused.stderr).contains("give the key that opens the keyring"),
        "{}",
        text(&refused.stderr)
    );
    let refused = town.restore(15, "late", Some("late"), "no", &["--registry", &town.at("early")]);
    assert!(refused.contains("it is older than the backup"), "{refused}");
    let other = Town::new();
    let process = other.serve("data");
    live(&mut process.client(), now);
    assert!(process.terminate().success());
    other.backup("data", "theirs");
    town.restore(12, "early", Some("early"), "no", &["--registry", &other.at("theirs")]);
    town.restore(10, "early", Some("early"), "no", &["--registry", &town.at("early-ring")]);
    // Rewritten: an entry of the registry is another.
    let forged = town.path("forged");
    copy_dir(&town.path("late/log/registry"), &forged);
    for (path, bytes) in files(&forged) {
        if path.to_str().unwrap().contains("/entries/") {
            let at = bytes.windows(17).rposition(|window| window == b"erasure-completed").unwrap();
            let mut rewritten = bytes;
            rewritten[at + 8] = b'x';
            fs::write(path, rewritten).unwrap();
        }
    }
    town.restore(13, "early", Some("early"), "no", &["--registry", forged.to_str().unwrap()]);
    assert!(!town.path("no").exists() && !town.path("no.partial").exists());

    // With what is left of the data directory, its mirror, or a newer backup.
    for (n, registry) in ["data", "data/mirror/log/registry", "late"].into_iter().enumerate() {
        let name = format!("again-{n}");
        let said = town.restore(0, "early", Some("early"), &name, &["--registry", &town.at(registry)]);
        assert!(said.contains("people: 1 sealed rows\n"), "{said}");
        assert!(said.contains("2 participants were erased since and are forgotten"), "{said}");
        assert!(said.contains("not proven: that the registry in") && said.contains("READ-ONLY"), "{said}");
        assert!(said.contains("would be written a second time"), "{said}");
        none_of(&town.path(&name), &destroyed(&old), "restored");
        let process = town.serve(&name);
        let mut client = process.client();
        is_erased(&mut client);
        // A read has to be recorded, and nothing is written here.
        assert_eq!(personal(&mut client, BOB).status, 503);
        assert!(process.terminate().success());
    }

    let data = town.at("data");
    // Pins of the backup's size make nothing writable that is known to have gone on.
    let with_registry = [&own[..], &["--registry", &data]].concat();
    let said = town.restore(0, "early", Some("early"), "gone-on", &with_registry);
    assert!(said.contains("READ-ONLY: the registry that was given has"), "{said}");
    let process = town.serve("gone-on");
    is_erased(&mut process.client());
    let set = json!({ "participant": ANN, "name": "Ann is back" });
    let set = process.client().post("/v1/programs/spring/commands/set-personal", &set);
    assert_eq!(code(&set), (503, "read-only".to_owned()));
    assert!(process.terminate().success());

    // Unless somebody says that what came later is lost: then the erased are erased again, in a history of its own.
    let lost = [&with_registry[..], &["--newer-is-lost"]].concat();
    let said = town.restore(0, "early", Some("early"), "lost", &lost);
    assert!(said.contains("writable") && said.contains("lost, as you say"), "{said}");
    for _ in 0..2 {
        let process = town.serve("lost");
        is_erased(&mut process.client());
        let back = json!({ "participant": ANN, "name": "Ann is back" });
        let back = process.client().post("/v1/programs/spring/commands/set-personal", &back);
        assert_eq!(code(&back), (410, "participant-erased".to_owned()));
        assert!(process.terminate().success());
    }

    // Beside what is left of the directory, and as large as its pins, the newer backup is written to; it takes the older
    // keyring too: what is erased stays so.
    let pins = pins(&town, "late");
    let pins: Vec<&str> = pins.iter().map(String::as_str).collect();
    let with_registry = [&pins[..], &["--registry", &data]].concat();
    let said = town.restore(0, "late", Some("early"), "proven", &with_registry);
    assert!(said.contains("2 participants were erased since") && said.contains("writable"), "{said}");
    let on_my_word = [&pins[..], &["--registry-is-current"]].concat();
    let said = town.restore(0, "late", Some("early"), "word", &on_my_word);
    assert!(
        said.contains("2 participants were erased since") && said.contains("is, as you say, the newest"),
        "{said}"
    );
    let process = town.serve("proven");
    let mut client = process.client();
    is_erased(&mut client);
    assert_eq!(personal(&mut client, BOB).json()["personal"]["name"], OF_BOB);
    assert!(process.terminate().success());
    none_of(&town.path("proven"), &destroyed(&old), "proven");

    // Without the keyring everything comes back but what was sealed.
    let said = town.restore(0, "late", None, "untold", &pins);
    assert!(said.contains("READ-ONLY: nothing says who was erased after the backup"), "{said}");
    let said = town.restore(0, "late", None, "bare", &on_my_word);
    assert!(said.contains("people: left out; the backup has 1 sealed rows"), "{said}");
    assert!(!town.path("bare/people").exists());
    let process = town.serve("bare");
    let mut client = process.client();
    is_erased(&mut client);
    let lost = personal(&mut client, BOB).json();
    assert_eq!((&lost["personal"], &lost["unreadable"]["name"]), (&json!({}), &json!("lost")));
    assert!(process.terminate().success());
}

/// The checkpoints of a backup's ledgers, as pins.
fn pins(town: &Town, backup: &str) -> Vec<String> {
    let manifest: Value =
        serde_json::from_slice(&fs::read(town.path(&format!("{backup}/BACKUP"))).unwrap()).unwrap();
    let names =
        manifest["ledgers"].as_array().unwrap().iter().map(|ledger| ledger["ledger"].as_str().unwrap());
    names.flat_map(|name| ["--pin".to_owned(), town.at(&format!("{backup}/log/{name}/checkpoint"))]).collect()
}

#[test]
fn a_keyring_that_is_found_again_gives_back_nobody_who_was_erased_without_it() {
    let town = Town::new();
    let process = town.serve("data");
    live(&mut process.client(), now);
    assert!(process.terminate().success());
    let said = town.backup("data", "early");
    assert!(said.contains("a keyring is restored only beside the newest there is"), "{said}");
    let pins = pins(&town, "early");
    let pins: Vec<&str> = pins.iter().map(String::as_str).collect();
    // The disaster: back without the keyring, and Ann erased when there was no key of hers.
    town.restore(0, "early", None, "now", &[&pins[..], &["--registry-is-current"]].concat());
    let process = town.serve("now");
    assert_eq!(personal(&mut process.client(), ANN).json()["unreadable"]["name"], "lost");
    // Who is Ann elsewhere went with the keyring.
    command(&mut process.client(), "spring", "erase-person", &json!({ "participant": ANN }));
    assert!(process.terminate().success());
    let said = town.restore(0, "early", Some("early"), "later", &["--registry", &town.at("now")]);
    assert!(said.contains("1 participants were erased since and are forgotten"), "{said}");
    let (_, ring) = keyring(&town.path("later"), &town.kek());
    assert!(!ring.slots.contains_key(uuid::Uuid::parse_str(ANN).unwrap().as_bytes().as_slice()));
    let process = town.serve("later");
    assert_eq!(personal(&mut process.client(), ANN).status, 410);
    assert!(process.terminate().success());
}

#[test]
fn whoever_had_nothing_sealed_when_the_backup_was_made_comes_up_erased_too() {
    let town = Town::new();
    let process = town.serve("data");
    let mut client = process.client();
    live(&mut client, now);
    command(&mut client, "autumn", "enrol", &json!({ "participant": CYD }));
    assert!(process.terminate().success());
    town.backup("data", "early");
    let process = town.serve("data");
    let mut client = process.client();
    command(&mut client, "autumn", "set-personal", &json!({ "participant": CYD, "name": OF_CYD }));
    command(&mut client, "autumn", "erase-person", &json!({ "participant": CYD }));
    assert!(process.terminate().success());

    // Without a word on it, nothing is written to.
    let pins = pins(&town, "early");
    let pins: Vec<&str> = pins.iter().map(String::as_str).collect();
    let said = town.restore(0, "early", None, "untold", &pins);
    assert!(said.contains("READ-ONLY: nothing says who was erased after the backup"), "{said}");
    let lost = [&pins[..], &["--newer-is-lost"]].concat();
    let (early, read_only, erased) =
        (Some("early"), (503, "read-only"), (410, "participant-erased".to_owned()));
    for (name, ring, more, set_again) in [
        ("reading", early, &[][..], read_only),
        ("writing", early, &lost, (410, "participant-erased")),
        // Nothing of what was sealed is back, and who was erased is not to be sealed for anew.
        ("reading-without", None, &[], read_only),
        ("writing-without", None, &lost, (410, "participant-erased")),
    ] {
        let registry = town.at("data");
        let more = [more, &["--registry", &registry]].concat();
        let said = town.restore(0, "early", ring, name, &more);
        assert!(said.contains("1 participants were erased since and are forgotten"), "{said}");
        let doctor = run(&["doctor", "--data", &town.at(name)], 0);
        assert!(text(&doctor.stdout).contains("; 1 erasures."), "{}", text(&doctor.stdout));
        // Without a key nobody would know of it, keyring or not.
        let served = run(&["serve", "--data", &town.at(name), "--listen", "127.0.0.1:0"], 1);
        assert!(text(&served.stderr).contains("--personal-key-file"), "{}", text(&served.stderr));
        // Twice: what the first start does has to be left alone by the second.
        for _ in 0..2 {
            let process = town.serve(name);
            let mut client = process.client();
            for what in ["personal", "subject-access"] {
                let read = client.get(&format!("/v1/programs/autumn/participants/{CYD}/{what}"));
                assert_eq!(code(&read), erased, "{name}");
            }
            let set = json!({ "participant": CYD, "name": OF_CYD });
            let set = client.post("/v1/programs/autumn/commands/set-personal", &set);
            assert_eq!(code(&set), (set_again.0, set_again.1.to_owned()), "{name}");
            assert!(process.terminate().success());
        }
        none_of(&town.path(name), &[("the name", OF_CYD.as_bytes().to_vec())], name);
    }
}

#[test]
fn a_restore_that_is_cut_short_is_not_served_and_leaves_no_keyring_behind() {
    let town = Town::new();
    let process = town.serve("data");
    live(&mut process.client(), now);
    assert!(process.terminate().success());
    town.backup("data", "early");
    let (from, keys, ring, kek) =
        (town.at("early"), town.at("early-keys"), town.at("early-ring"), town.at("kek"));
    let (data, registry, half) = (town.at("again"), town.at("data"), town.path("again.partial"));
    let arguments = [
        "restore",
        "--from",
        &from,
        "--keys",
        &keys,
        "--data",
        &data,
        "--keyring",
        &ring,
        "--personal-key-file",
        &kek,
        "--registry",
        &registry,
    ];
    let mut restoring = std::process::Command::new(env!("CARGO_BIN_EXE_mentorlog"));
    let mut restoring = restoring.args(arguments).stdout(std::process::Stdio::null()).spawn().unwrap();
    // The keys are there long before the end.
    while !half.join("keys/CHECK").exists() && restoring.try_wait().unwrap().is_none() {}
    restoring.kill().unwrap();
    restoring.wait().unwrap();
    assert!(!town.path("again").exists(), "it was cut short");
    let refused = run(&["serve", "--data", half.to_str().unwrap(), "--listen", "127.0.0.1:0"], 5);
    assert!(text(&refused.stderr).contains("a restore into this directory was cut short"), "{refused:?}");
    let (half_at, kek_again) = (half.to_str().unwrap(), town.at("kek-again"));
    run(&["keyring", "init", "--out", &kek_again], 0);
    for asked in [
        vec!["doctor", "--data", half_at],
        vec!["doctor", "--data", half_at, "--repair"],
        vec!["keyring", "status", "--data", half_at],
        vec![
            "keyring",
            "rewrap",
            "--data",
            half_at,
            "--personal-key-file",
            &kek,
            "--new-key-file",
            &kek_again,
        ],
    ] {
        let refused = run(&asked, 5);
        assert!(text(&refused.stderr).contains("was cut short"), "{asked:?}: {refused:?}");
    }
    // As it is when the keyring is there already, whole or in part. Another name of the file shows what became of it.
    fs::create_dir_all(half.join("people/keyring")).unwrap();
    let epoch = keyrings(&town.path("data")).remove(0);
    let mut others = Vec::new();
    for name in [epoch.clone(), format!("{epoch}.draft")] {
        fs::copy(town.path("early-ring").join(&epoch), half.join("people/keyring").join(&name)).unwrap();
        fs::hard_link(half.join("people/keyring").join(&name), town.path(&name)).unwrap();
        others.push(town.path(&name));
    }
    let said = text(&run(&arguments, 0).stdout).to_owned();
    assert!(said.contains("people: 7 sealed rows\npeople: 0 participants were erased"), "{said}");
    assert!(!town.path("again/INCOMPLETE").exists() && !half.exists());
    // So it is with a backup's.
    let half = town.path("late-ring.partial");
    fs::create_dir(&half).unwrap();
    fs::copy(town.path("early-ring").join(&epoch), half.join(&epoch)).unwrap();
    fs::hard_link(half.join(&epoch), town.path("other")).unwrap();
    others.push(town.path("other"));
    town.backup("data", "late");
    for other in others {
        assert!(fs::read(&other).unwrap().iter().all(|byte| *byte == 0), "{} is destroyed", other.display());
    }
}

#[test]
fn a_name_that_was_corrected_or_removed_is_in_no_file_after_a_stop_or_a_start() {
    let town = Town::new();
    let data = town.path("data");
    let process = town.serve("data");
    live(&mut process.client(), now);
    assert!(process.terminate().success());
    // The ciphertext of Ann's own fields, by its place.
    let of_ann = || -> BTreeMap<String, Vec<u8>> {
        let ann = uuid::Uuid::parse_str(ANN).unwrap();
        let own =
            rows(&data).into_iter().filter(|(_, value)| value[0] == 1 && value[1..17] == *ann.as_bytes());
        own.map(|(key, value)| (String::from_utf8(key[32..].to_vec()).unwrap(), value[17..].to_vec()))
            .collect()
    };
    let first = of_ann();
    assert_eq!(first.keys().map(String::as_str).collect::<Vec<_>>(), ["/email", "/hr-id", "/name"]);
    let process = town.serve("data");
    let set = json!({ "participant": ANN, "name": "Ann", "remove": ["email"] });
    command(&mut process.client(), "spring", "set-personal", &set);
    assert!(!holding(&data, &first["/name"]).is_empty(), "the search finds what free pages hold");
    assert!(process.terminate().success());
    for at in ["/name", "/email"] {
        assert_eq!(holding(&data, &first[at]), Vec::<String>::new(), "{at}, after an orderly stop");
    }
    assert_eq!(holding(&data, &first["/hr-id"]), ["people/rows.redb"]);
    let second = of_ann();
    let process = town.serve("data");
    command(
        &mut process.client(),
        "spring",
        "set-personal",
        &json!({ "participant": ANN, "remove": ["name", "hr-id"] }),
    );
    process.kill();
    town.backup("data", "late");
    let process = town.serve("data");
    for (at, sealed) in &second {
        assert_eq!(holding(&data, sealed), Vec::<String>::new(), "{at}, after a start");
        assert_eq!(holding(&town.path("late"), sealed), Vec::<String>::new(), "{at}, in a backup");
    }
    assert!(process.terminate().success());
}

#[test]
fn a_note_or_a_comment_that_was_corrected_is_in_no_file_after_a_stop_and_an_opening_of_it_is_said_to_be_old()
{
    let town = Town::new();
    let data = town.path("data");
    let met_at = std::cell::OnceCell::new();
    let process = town.serve("data");
    let mut client = process.client();
    live(&mut client, || met_at.get_or_init(now).clone());
    let openings = client.post("/v1/programs/spring/openings", &json!({ "subject": SESSION }));
    fs::write(town.path("openings"), &openings.body).unwrap();
    assert!(process.terminate().success());
    let about_two = || -> BTreeMap<(String, Vec<u8>), Vec<u8>> {
        let two = rows(&data).into_iter().filter(|(_, value)| value[0] == 2);
        let place = |key: &[u8]| (String::from_utf8(key[32..].to_vec()).unwrap(), key[16..32].to_vec());
        two.map(|(key, value)| (place(&key), value[33..].to_vec())).collect()
    };
    let first = about_two();
    assert_eq!(first.keys().map(|(at, _)| at.as_str()).collect::<Vec<_>>(), ["/comment", "/note"]);
    let process = town.serve("data");
    let mut client = process.client();
    let correct = json!({ "actor": format!("participant:{ANN}"), "session": SESSION, "occurred_at": met_at.get(),
        "minutes": 4, "mode": "video", "note": "another note", "exchanges": [
            { "teacher": ANN, "skill": "cobol", "minutes": 2 }, { "teacher": BOB, "skill": "rust", "minutes": 2 }] });
    let corrected = command(&mut client, "spring", "correct-session", &correct);
    let revise = json!({ "actor": format!("participant:{BOB}"), "session": SESSION, "teacher": ANN,
        "skill": "cobol", "rating": 4, "comment": "another comment" });
    let revised = command(&mut client, "spring", "revise-rating", &revise);
    assert!(
        first.values().any(|sealed| !holding(&data, sealed).is_empty()),
        "the search finds what free pages hold"
    );
    published(&mut client, "spring", &revised["size"]);
    let server = format!("http://{}", process.address);
    let vkey = vkey_of_registry(&mut client);
    let path = town.at("openings");
    let verify = ["verify", &server, "--vkey", &vkey, "--format", "json", "--openings", &path];
    let found = text(&run(&verify, 0).stdout).to_owned();
    for done in [&corrected, &revised] {
        let said = format!("and since superseded at seq {}", done["events"][0]["seq"]);
        assert_eq!(found.matches(&said).count(), 1, "{said}: {found}");
    }
    assert!(process.terminate().success());
    for (place, sealed) in &first {
        assert_eq!(holding(&data, sealed), Vec::<String>::new(), "{place:?}, after an orderly stop");
    }
    let second = about_two();
    assert_eq!(second.len(), 2);
    assert!(second.keys().all(|place| !first.contains_key(place)));
}

/// A moment of the erasing protocol, seen from outside.
#[derive(Debug, Clone, Copy)]
enum Moment {
    /// After so much of the time it takes, in thousandths.
    After(u64),
    /// The draft of the new keyring is there.
    Draft,
    /// Both keyrings are there.
    Both,
    /// The old keyring is gone.
    OldGone,
}

fn keyrings(data: &Path) -> Vec<String> {
    let names = fs::read_dir(data.join("people/keyring")).unwrap();
    let mut names: Vec<String> =
        names.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn killed_at_any_moment_of_an_erasure_it_finishes_it_after_the_restart() {
    let town = Town::new();
    let process = town.serve("data");
    live(&mut process.client(), now);
    assert!(process.terminate().success());
    let (_, old) = keyring(&town.path("data"), &town.kek());
    let mut chance = Chance::from_env("MENTORLOG_KILL_SEED");
    let kills: u64 = std::env::var("MENTORLOG_KILLS").map_or(5, |kills| kills.parse().unwrap());
    let random = (0..kills).map(|_| Moment::After(chance.below(1100)));
    let moments: Vec<Moment> =
        [Moment::Draft, Moment::Both, Moment::OldGone].into_iter().chain(random).collect();
    // How long it takes when nobody disturbs it.
    copy_dir(&town.path("data"), &town.path("quiet"));
    let process = town.serve("quiet");
    let begun = Instant::now();
    ok(&erase(&mut process.client()));
    let takes = begun.elapsed();
    process.kill();

    let mut met = BTreeMap::new();
    let mut seen = BTreeMap::new();
    let mut moments: std::collections::VecDeque<Moment> = moments.into();
    let mut n = 0;
    while let Some(moment) = moments.pop_front() {
        n += 1;
        let name = format!("killed-{n}");
        let data = town.path(&name);
        copy_dir(&town.path("data"), &data);
        let process = town.serve(&name);
        let before = keyrings(&data);
        let mut client = process.client();
        let asking = thread::spawn(move || {
            let body = json!({ "participant": ANN, "participants": 2 }).to_string();
            let headers = [("idempotency-key", "forget-ann"), ("content-type", "application/json")];
            client.try_send("POST", "/v1/programs/spring/commands/erase-person", &headers, body.as_bytes())
        });
        match moment {
            // The moment is the point here, not what happens by then.
            Moment::After(thousandths) => {
                thread::sleep(takes * u32::try_from(thousandths).unwrap() / 1000);
            }
            Moment::Draft | Moment::Both | Moment::OldGone => {
                let begun = Instant::now();
                // By its length: twenty digits, and `.draft` behind them.
                let is_draft = |name: &String| name.len() > 20;
                let is_there = |now: &[String]| match moment {
                    Moment::Draft => now.iter().any(is_draft),
                    Moment::Both => now.len() == 2 && !now.iter().any(is_draft),
                    Moment::OldGone => !now.contains(&before[0]),
                    Moment::After(_) => true,
                };
                let mut is_seen = false;
                while !is_seen && !asking.is_finished() && begun.elapsed() < Duration::from_mins(1) {
                    is_seen = is_there(&keyrings(&data));
                }
                let (tries, count) = seen.entry(format!("{moment:?}")).or_insert((0, 0));
                (*tries, *count) = (*tries + 1, *count + u64::from(is_seen));
                // It passes in the time of a sync: who looks away for that long misses it.
                if !is_seen && *tries < 20 {
                    moments.push_back(moment);
                }
            }
        }
        process.kill();
        let answered = asking.join().unwrap().is_ok_and(|answer| answer.status == 201);
        let process = town.serve(&name);
        let mut client = process.client();
        // Either it was never begun, or it is done before anybody is served.
        let found = personal(&mut client, ANN);
        let done = found.status == 410;
        assert!(done || !answered, "what was acknowledged is gone");
        if done {
            is_erased(&mut client);
            none_of(&data, &destroyed(&old), &format!("{moment:?}, after the restart"));
        } else {
            assert_eq!(found.json()["personal"]["name"], OF_ANN[0], "{moment:?}");
        }
        *met.entry((answered, done)).or_insert(0) += 1;
        // Asked again it is done, once.
        ok(&erase(&mut process.client()));
        is_erased(&mut client);
        let events = |client: &mut Client, program: &str| {
            let path = format!("/v1/programs/{program}/events");
            client.send("GET", &path, &[("accept", "application/x-ndjson")], b"").text().to_owned()
        };
        for program in ["spring", "autumn"] {
            assert_eq!(events(&mut client, program).matches("\"person-erased\"").count(), 1, "{moment:?}");
        }
        assert_eq!(personal(&mut client, BOB).json()["personal"]["name"], OF_BOB);
        assert!(process.terminate().success());
        none_of(&data, &destroyed(&old), &format!("{moment:?}"));
        assert_eq!(texts(&rows(&data), &keyring(&data, &town.kek()).1), [OF_BOB]);
    }
    assert!(
        seen.len() == 3 && seen.values().all(|(_, count)| *count > 0),
        "a moment was never met: {seen:?}"
    );
    assert!(
        met.keys().any(|(answered, done)| !answered && *done),
        "no kill met an erasure under way: {met:?}"
    );
}

#[test]
fn the_operators_key_is_made_once_asked_for_and_changed() {
    let town = Town::new();
    let refused = run(&["keyring", "init", "--out", &town.at("kek")], 1);
    assert!(text(&refused.stderr).contains("is there already"), "{}", text(&refused.stderr));
    run(&["keyring", "init", "--out", &town.at("new-kek")], 0);
    let process = town.serve("data");
    live(&mut process.client(), now);
    let (data, key) = (town.at("data"), town.at("kek"));
    let with_key = ["keyring", "status", "--data", &data, "--format", "json", "--personal-key-file", &key];
    // Beside the running server too.
    let counts = json!({ "sealing": true, "epoch": 2, "slots": 3, "humans": 2, "rows": 7, "erasures": 0,
        "notices": [], "damage": [] });
    let said: Value = serde_json::from_slice(&run(&with_key, 0).stdout).unwrap();
    assert_eq!(said, counts);
    let rewrap = |key: &str, new: &str, code: i32| {
        let (data, key, new) = (town.at("data"), town.at(key), town.at(new));
        let arguments =
            ["keyring", "rewrap", "--data", &data, "--personal-key-file", &key, "--new-key-file", &new];
        text(&run(&arguments, code).stderr).to_owned()
    };
    let said = rewrap("kek", "new-kek", 4);
    assert!(said.contains("is in use by another process: stop the server first"), "{said}");
    assert!(process.terminate().success());
    let (_, old) = keyring(&town.path("data"), &town.kek());

    // With no key, another, one that lies among the data, or no sense: refused, and nothing is changed.
    let before = files(&town.path("data/people"));
    let start = |arguments: &[&str]| {
        let mut command = serve(&town.path("data"), &town.path("stderr"));
        command.args(arguments).env_remove("MENTORLOG_PERSONAL_KEY_FILE");
        let said = command.stderr(std::process::Stdio::piped()).output().unwrap();
        assert!(!said.status.success(), "{arguments:?}");
        String::from_utf8(said.stderr).unwrap()
    };
    fs::copy(town.path("kek"), town.path("data/kek")).unwrap();
    let (private, open) = (fs::Permissions::from_mode(0o600), fs::Permissions::from_mode(0o644));
    fs::set_permissions(town.path("stderr"), private).unwrap();
    fs::copy(town.path("kek"), town.path("open-kek")).unwrap();
    fs::set_permissions(town.path("open-kek"), open).unwrap();
    for (arguments, why) in [
        (vec![], "give the key-encryption key with --personal-key-file"),
        (
            vec!["--personal-key-file".to_owned(), town.at("new-kek")],
            "does not open with this key-encryption key",
        ),
        (vec!["--personal-key-file".to_owned(), town.at("data/kek")], "lies inside the data directory"),
        (vec!["--personal-key-file".to_owned(), town.at("stderr")], "is not a key-encryption key"),
        (
            vec!["--personal-key-file".to_owned(), town.at("open-kek")],
            "may be read or written by others (mode 644",
        ),
    ] {
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let said = start(&arguments);
        assert!(said.contains(why), "{arguments:?}: {said}");
    }
    assert!(rewrap("new-kek", "kek", 1).contains("does not open"));
    assert!(rewrap("kek", "data/kek", 1).contains("lies inside"));
    assert_eq!(files(&town.path("data/people")), before);

    assert_eq!(rewrap("kek", "new-kek", 0), "");
    none_of(&town.path("data/people"), &destroyed(&old), "after the key was changed");
    assert!(start(&["--personal-key-file", &town.at("kek")]).contains("does not open"));
    fs::rename(town.path("new-kek"), town.path("kek")).unwrap();
    let process = town.serve("data");
    assert_eq!(personal(&mut process.client(), ANN).json()["personal"]["name"], OF_ANN[0]);
    assert!(process.terminate().success());

    // Half-done work is told by who only looks, and left as it is.
    let ring = town.path("data/people/keyring");
    let newest = ring.join("00000000000000000003");
    fs::copy(&newest, ring.join("00000000000000000002")).unwrap();
    fs::write(ring.join("00000000000000000004.draft"), b"half").unwrap();
    let whole = fs::read(&newest).unwrap();
    fs::write(&newest, [whole.as_slice(), &[0; 50]].concat()).unwrap();
    let before = files(&town.path("data/people"));
    let doctor = ["doctor", "--data", &data, "--personal-key-file", &key];
    let said = text(&run(&doctor, 0).stdout).to_owned();
    for told in [
        "keyring 00000000000000000002 is an older one: it is destroyed",
        "00000000000000000004.draft was never finished: it is destroyed",
        "the end of the keyring was being written: it is cut",
    ] {
        assert!(said.contains(told), "{said}");
    }
    // And damage is damage: a slot, then a page of the rows.
    let mut rotten = whole.clone();
    rotten[200] ^= 1;
    fs::write(&newest, &rotten).unwrap();
    let said = text(&run(&doctor, 5).stdout).to_owned();
    assert!(said.contains("DAMAGE") && said.contains("slot 0 of"), "{said}");
    fs::write(&newest, &whole).unwrap();
    let rows = town.path("data/people/rows.redb");
    let sound = fs::read(&rows).unwrap();
    let at = sound.windows(16).position(|bytes| bytes == uuid::Uuid::parse_str(SESSION).unwrap().as_bytes());
    let at = at.unwrap_or_else(|| memchr::memmem::find(&sound, b"/note").unwrap());
    let mut rotten = sound.clone();
    rotten[at] ^= 1;
    fs::write(&rows, &rotten).unwrap();
    let said = text(&run(&doctor, 5).stdout).to_owned();
    assert!(said.contains("rows.redb"), "{said}");
    fs::write(&rows, &sound).unwrap();
    fs::write(&newest, before[&newest].as_slice()).unwrap();
    assert_eq!(files(&town.path("data/people")), before);
    let process = town.serve("data");
    assert_eq!(personal(&mut process.client(), ANN).json()["personal"]["name"], OF_ANN[0]);
    assert_eq!(keyrings(&town.path("data")), ["00000000000000000003"]);
    assert!(process.terminate().success());
}
