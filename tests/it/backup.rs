//! Backup and restore as one pair: what was backed up is there again, and what is not the latest is not written to.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::{Value, json};

use crate::harness::{Client, Process, until};

fn run(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mentorlog"));
    command.args(arguments).env_remove("MENTORLOG_DATA").env_remove("MENTORLOG_SERVER").env("NO_COLOR", "1");
    command.output().unwrap()
}

/// Runs a command that has to end with this code, and gives what it said.
fn ends(code: i32, arguments: &[&str]) -> String {
    let output = run(arguments);
    let said = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let text = said(&output.stdout) + &said(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {text}");
    text
}

/// Places below one directory.
struct Places(tempfile::TempDir);

impl Places {
    fn at(&self, name: &str) -> String {
        self.0.path().join(name).to_str().unwrap().to_owned()
    }

    fn serve(&self, name: &str) -> Process {
        Process::start(Path::new(&self.at(name)), &self.0.path().join("stderr"))
    }

    fn backup(&self, data: &str, name: &str) -> String {
        let (data, out, keys) = (self.at(data), self.at(name), self.at(&format!("{name}-keys")));
        ends(0, &["backup", "--data", &data, "--out", &out, "--keys-out", &keys])
    }

    fn restore(&self, code: i32, backup: &str, data: &str, more: &[&str]) -> String {
        let (from, keys, data) = (self.at(backup), self.at(&format!("{backup}-keys")), self.at(data));
        let mut arguments = vec!["restore", "--from", &from, "--keys", &keys, "--data", &data];
        arguments.extend(more);
        ends(code, &arguments)
    }

    fn pin(&self, backup: &str) -> String {
        self.at(&format!("{backup}/log/registry/checkpoint"))
    }

    /// The checkpoints of all ledgers of a backup, as pins.
    fn pins(&self, backup: &str) -> Vec<String> {
        let manifest = self.manifest(backup);
        let ledgers = manifest["ledgers"].as_array().unwrap().iter();
        let names = ledgers.map(|ledger| ledger["ledger"].as_str().unwrap().to_owned());
        names
            .flat_map(|name| ["--pin".to_owned(), self.at(&format!("{backup}/log/{name}/checkpoint"))])
            .collect()
    }

    fn manifest(&self, backup: &str) -> Value {
        serde_json::from_slice(&fs::read(self.at(&format!("{backup}/BACKUP"))).unwrap()).unwrap()
    }
}

const COMMANDS: &str = "/v1/programs/spring/commands";

fn open(client: &mut Client, slug: &str) {
    let body = json!({ "slug": slug, "name": slug, "time_zone": "UTC" });
    assert_eq!(client.post_keyed("/v1/programs", slug, &body).status, 201);
}

fn enrol(client: &mut Client, people: std::ops::Range<u32>) {
    for n in people {
        let answer = client.post_keyed(&format!("{COMMANDS}/enrol"), &format!("k-{n}"), &json!({}));
        assert_eq!(answer.status, 201, "{}", answer.text());
    }
}

/// Size and root of a program, and every entry of it.
fn history(client: &mut Client) -> (Value, Value, String) {
    let program = client.get("/v1/programs/spring").json();
    let events = client.send("GET", "/v1/programs/spring/events", &[("accept", "application/x-ndjson")], b"");
    assert_eq!(events.status, 200);
    (program["size"].clone(), program["root"].clone(), events.text().to_owned())
}

fn published(client: &mut Client, size: u64) {
    until("the checkpoint", || {
        let answer = client.get("/log/spring/checkpoint");
        (answer.status == 200 && answer.text().lines().nth(1) == Some(&size.to_string())).then_some(())
    });
}

#[test]
fn what_was_backed_up_is_restored_to_the_byte_and_only_the_latest_is_written_to() {
    let places = Places(tempfile::tempdir().unwrap());
    let process = places.serve("data");
    let mut client = process.client();
    open(&mut client, "spring");
    enrol(&mut client, 0..300);
    published(&mut client, 301);
    // Beside the running server, through what is published.
    assert!(places.backup("data", "early").contains("as published by the running server"));
    let early = history(&mut client);
    enrol(&mut client, 300..320);
    for slug in ["autumn", "winter", "summer"] {
        open(&mut client, slug);
    }
    let late = history(&mut client);
    assert!(process.terminate().success());
    let said = places.backup("data", "late");
    assert!(said.contains("5 ledgers"), "{said}");
    let manifest = places.manifest("late");
    let listed = manifest["ledgers"].as_array().unwrap();
    let spring = listed.iter().find(|ledger| ledger["size"] == late.0).unwrap();
    assert_eq!(spring["root"], late.1, "{manifest}");
    for name in ["signing.key", "idempotency.key", "CHECK"] {
        let path = PathBuf::from(places.at("late-keys")).join(name);
        assert_eq!(fs::metadata(path).unwrap().permissions().mode() & 0o777, 0o600, "{name}");
    }
    assert!(!Path::new(&places.at("late/keys")).exists());

    // The latest, with a pin that says so: as if nothing had happened.
    let pins = places.pins("late");
    let said = places.restore(0, "late", "again", &pins.iter().map(String::as_str).collect::<Vec<_>>());
    assert!(said.contains("writable"), "{said}");
    // The registry's pin alone says nothing of what came to the program after its last head.
    let said = places.restore(0, "late", "half-proven", &["--pin", &places.pin("late")]);
    assert!(said.contains("READ-ONLY") && said.contains("there is no pin of"), "{said}");
    let process = places.serve("again");
    let mut client = process.client();
    assert_eq!(history(&mut client), late);
    let answer = client.post_keyed(&format!("{COMMANDS}/enrol"), "k-7", &json!({}));
    assert_eq!((answer.status, answer.header("idempotent-replayed")), (201, Some("true")));
    enrol(&mut client, 320..325);
    published(&mut client, 326);
    assert!(process.terminate().success());
    let doctor = ends(0, &["doctor", "--data", &places.at("again")]);
    assert!(doctor.contains("clean"), "{doctor}");

    // Without a pin nobody knows whether it is the latest. It is not.
    let said = places.restore(0, "early", "museum", &[]);
    assert!(said.contains("READ-ONLY"), "{said}");
    for _ in 0..2 {
        let process = places.serve("museum");
        let mut client = process.client();
        assert_eq!(history(&mut client), early);
        assert_eq!(client.get("/log/spring/checkpoint").status, 200);
        let answer = client.post_keyed(&format!("{COMMANDS}/enrol"), "k-999", &json!({}));
        assert_eq!((answer.status, &answer.json()["code"]), (503, &json!("read-only")), "{}", answer.text());
        let body = json!({ "slug": "new", "name": "new", "time_zone": "UTC" });
        assert_eq!(client.post("/v1/programs", &body).status, 503);
        assert!(process.terminate().success());
    }
    // With the pin of what came later it is refused, and nothing is made.
    let said = places.restore(15, "early", "older", &["--pin", &places.pin("late")]);
    let size = places.manifest("early")["ledgers"][0]["size"].clone();
    let lost = format!("the backup has {size}: seq {size} and later would be lost");
    assert!(said.contains("ledger registry: the pin is of") && said.contains(&lost), "{said}");
    assert!(!Path::new(&places.at("older")).exists());

    // Two histories under one name are found out.
    let pins = places.pins("early");
    places.restore(0, "early", "fork", &pins.iter().map(String::as_str).collect::<Vec<_>>());
    let process = places.serve("fork");
    open(&mut process.client(), "spring-again");
    assert!(process.terminate().success());
    places.backup("fork", "forked");
    let said = places.restore(14, "late", "older", &["--pin", &places.pin("forked")]);
    assert!(said.contains("two histories"), "{said}");
}

#[test]
fn a_backup_that_is_damaged_incomplete_or_another_installations_is_refused() {
    let places = Places(tempfile::tempdir().unwrap());
    for data in ["data", "other"] {
        let process = places.serve(data);
        let mut client = process.client();
        open(&mut client, "spring");
        enrol(&mut client, 0..5);
        assert!(process.terminate().success());
    }
    places.backup("data", "backup");
    places.backup("other", "others");
    let here = places.at("data");
    let (out, keys) = (places.at("backup"), places.at("more-keys"));
    let said = ends(1, &["backup", "--data", &here, "--out", &out, "--keys-out", &keys]);
    assert!(said.contains("is there already"), "{said}");
    ends(2, &["backup", "--data", &here, "--out", &places.at("nowhere")]);
    let said = places.restore(1, "backup", "new", &["--new-generation"]);
    assert!(said.contains("not available"), "{said}");
    let said = places.restore(1, "backup", "new", &["--pin", &places.pin("others")]);
    assert!(said.contains("not signed with these keys"), "{said}");

    let (from, keys, data) = (places.at("backup"), places.at("others-keys"), places.at("new"));
    let said = ends(5, &["restore", "--from", &from, "--keys", &keys, "--data", &data]);
    assert!(said.contains("not signed with these keys"), "{said}");

    let manifest = places.manifest("backup");
    let program = manifest["ledgers"][1]["ledger"].as_str().unwrap().to_owned();
    let bundle = places.at(&format!("backup/log/{program}/tile/entries/000.p/6"));
    let whole = fs::read(&bundle).unwrap();
    let mut rotten = whole.clone();
    *rotten.last_mut().unwrap() ^= 1;
    fs::write(&bundle, rotten).unwrap();
    let said = places.restore(5, "backup", "new", &[]);
    assert!(said.contains(&program) && said.contains("seq 5"), "{said}");
    fs::remove_file(&bundle).unwrap();
    let said = places.restore(5, "backup", "new", &[]);
    assert!(said.contains("is missing"), "{said}");
    fs::write(&bundle, whole).unwrap();
    fs::remove_file(places.at("backup-keys/signing.key")).unwrap();
    let said = places.restore(1, "backup", "new", &[]);
    assert!(said.contains("signing.key is missing"), "{said}");
    let left = |name: &str| Path::new(&places.at(name)).exists();
    assert!(!left("new") && !left("new.partial"), "keys are left nowhere");
}

#[test]
fn names_may_be_relative_as_in_the_readme() {
    let places = Places(tempfile::tempdir().unwrap());
    let process = places.serve("data");
    open(&mut process.client(), "spring");
    assert!(process.terminate().success());
    let run = |arguments: &[&str]| {
        let program = env!("CARGO_BIN_EXE_mentorlog");
        let out = Command::new(program).args(arguments).current_dir(places.0.path()).output();
        let out = out.unwrap();
        assert!(out.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&out.stderr));
    };
    run(&["backup", "--data", "data", "--out", "backup", "--keys-out", "backup-keys"]);
    run(&["restore", "--from", "backup", "--keys", "backup-keys", "--data", "museum"]);
}

#[test]
fn a_log_shorter_than_the_tiles_of_its_mirror_is_refused_though_the_checkpoint_is_rotten() {
    let places = Places(tempfile::tempdir().unwrap());
    let process = places.serve("data");
    open(&mut process.client(), "spring");
    enrol(&mut process.client(), 0..3);
    assert!(process.terminate().success());
    let (data, old) = (PathBuf::from(places.at("data")), PathBuf::from(places.at("old")));
    let copied = Command::new("cp").arg("-a").args([&data, &old]).status().unwrap();
    assert!(copied.success());
    let process = places.serve("data");
    enrol(&mut process.client(), 3..9);
    assert!(process.terminate().success());
    for name in ["sled", "tail", "CLEAN"] {
        let (from, to) = (old.join(name), data.join(name));
        if to.is_dir() { fs::remove_dir_all(&to) } else { fs::remove_file(&to) }.unwrap();
        fs::rename(from, to).unwrap();
    }
    let logs = fs::read_dir(data.join("mirror/log")).unwrap().map(|log| log.unwrap().path());
    let program = logs.into_iter().find(|log| !log.ends_with("registry")).unwrap();
    let checkpoint = program.join("checkpoint");
    let mut rotten = fs::read(&checkpoint).unwrap();
    rotten[3] ^= 1;
    fs::write(&checkpoint, &rotten).unwrap();
    let before = fs::read_dir(program.join("tile/entries")).unwrap().count();
    let said = ends(5, &["export", "--program", "spring", "--data", data.to_str().unwrap(), "--out", "-"]);
    assert!(said.contains("so there were more entries"), "{said}");
    assert!(said.contains("seq 4"), "{said}");
    // Nothing was moved: it is the last copy.
    assert_eq!(fs::read_dir(program.join("tile/entries")).unwrap().count(), before);
}
