//! The command line, from outside: the program that was built, against a server that was built.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;
use tempfile::TempDir;

/// The program, deaf to the environment of whoever runs the tests.
pub(super) fn mentorlog(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mentorlog"));
    command.args(arguments);
    for name in [
        "MENTORLOG_SERVER",
        "MENTORLOG_DATA",
        "MENTORLOG_LISTEN",
        "MENTORLOG_WORKERS",
        "MENTORLOG_TOKEN",
        "MENTORLOG_BEHIND_PROXY",
    ] {
        command.env_remove(name);
    }
    command
}

/// Runs the program and expects an exit code.
pub(super) fn run(arguments: &[&str], code: i32) -> Output {
    let output = mentorlog(arguments).output().unwrap();
    assert_eq!(
        output.status.code(),
        Some(code),
        "{arguments:?}\n{}{}",
        text(&output.stdout),
        text(&output.stderr)
    );
    output
}

pub(super) fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

/// A server on a data directory; it gets a SIGTERM when it is dropped.
pub(super) struct Server {
    child: Child,
    pub(super) url: String,
}

impl Server {
    pub(super) fn start(data: &Path) -> Self {
        let mut child = mentorlog(&["serve", "--listen", "127.0.0.1:0", "--data", data.to_str().unwrap()])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let url = line.trim().rsplit(' ').next().unwrap().to_owned();
        assert!(url.starts_with("http://127.0.0.1:"), "{line}");
        Self { child, url }
    }

    pub(super) fn get(&self, path: &str, accept: &str) -> Vec<u8> {
        let client = reqwest::blocking::Client::new();
        let response = client.get(format!("{}{path}", self.url)).header("accept", accept).send().unwrap();
        assert!(response.status().is_success(), "{path}: {}", response.status());
        response.bytes().unwrap().to_vec()
    }

    pub(super) fn json(&self, path: &str) -> Value {
        serde_json::from_slice(&self.get(path, "application/json")).unwrap()
    }

    fn size(&self) -> u64 {
        self.json("/v1/programs/spring")["size"].as_u64().unwrap()
    }

    pub(super) fn stop(mut self) {
        self.end();
    }

    fn end(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            // The shell's own `kill`: not every machine has one as a program.
            let _ = Command::new("sh").args(["-c", &format!("kill -TERM {}", self.child.id())]).status();
            let _ = self.child.wait();
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.end();
    }
}

const HEAD: &str = "occurred_at,teacher,learner,minutes,skill,rating\n";

/// Three people, two pairs, four sessions; two rows say the same.
const ROWS: &str = "\
2024-03-01T09:00:00Z,ada,bob,30,rust,5
2024-03-01T09:00:00Z,ada,bob,30,rust,5
2024-03-02T09:00:00+01:00,bob,ada,20,,
2024-03-03T09:00:00Z,cyd,ada,10,music,
";

fn table(dir: &TempDir, name: &str, rows: &str) -> String {
    let path = dir.path().join(name);
    std::fs::write(&path, format!("{HEAD}{rows}")).unwrap();
    path.to_str().unwrap().to_owned()
}

/// Numbers of the summary an import prints.
fn summary(output: &Output, name: &str) -> u64 {
    let line = text(&output.stdout).lines().find(|line| line.starts_with(name)).unwrap();
    line[name.len()..].split_whitespace().next().unwrap().parse().unwrap()
}

#[test]
fn a_table_is_imported_once_however_often_and_however_long() {
    let dir = TempDir::new().unwrap();
    let server = Server::start(&dir.path().join("data"));
    let import = |file: &str, code| {
        run(
            &[
                "import-csv",
                file,
                "--program",
                "spring",
                "--server",
                &server.url,
                "--time-zone",
                "Europe/Berlin",
            ],
            code,
        )
    };
    let short = table(&dir, "short.csv", ROWS);
    let first = import(&short, 0);
    let counts = ["rows", "imported", "already there", "rejected", "participants", "pairs", "sessions"];
    assert_eq!(counts.map(|name| summary(&first, name)), [4, 4, 0, 0, 3, 2, 4]);
    let program = server.json("/v1/programs/spring");
    assert_eq!(program["time_zone"], "Europe/Berlin");
    let size = server.size();
    // The opening, three people, two pairs, four sessions and two ratings.
    assert_eq!(size, 12);

    let again = import(&short, 0);
    assert_eq!(counts.map(|name| summary(&again, name)), [4, 0, 4, 0, 3, 2, 4]);
    assert_eq!(server.size(), size, "importing again adds nothing");

    // Longer: a third row that says the same, an earlier session of a known pair, a new person, columns moved.
    let long = dir.path().join("long.csv");
    let mut rows = String::from("rating,skill,minutes,learner,teacher,occurred_at\n");
    rows.push_str(",,15,ada,bob,2024-01-01T09:00:00Z\n");
    for line in
        ROWS.lines().chain(["2024-03-01T09:00:00.000Z,ada,bob,30,rust,5", "2024-03-04T09:00:00Z,dee,bob,5,,"])
    {
        let mut fields: Vec<&str> = line.split(',').collect();
        fields.reverse();
        rows.push_str(&fields.join(","));
        rows.push('\n');
    }
    std::fs::write(&long, rows).unwrap();
    let longer = import(long.to_str().unwrap(), 0);
    assert_eq!(counts.map(|name| summary(&longer, name)), [7, 3, 4, 0, 4, 3, 7]);
    // A person, a pair, three sessions and the rating of one.
    assert_eq!(server.size(), size + 6);
    let pairs = server.json("/v1/programs/spring/pairs");
    let started: Vec<&str> =
        pairs["items"].as_array().unwrap().iter().map(|pair| pair["started_at"].as_str().unwrap()).collect();
    assert_eq!(started[0], "2024-01-01T09:00:00.000000Z", "an earlier session moves the beginning back");
}

#[test]
fn bad_rows_are_named_by_line_and_the_others_are_imported() {
    let dir = TempDir::new().unwrap();
    let server = Server::start(&dir.path().join("data"));
    let rows = "\
2024-03-01T09:00:00Z,ada,bob,30,rust,5
2024-03-01T09:00:00Z,ada,bob
yesterday,ada,bob,30,,

2024-03-01T09:00:00Z,ada,ada,30,,
2024-03-01T09:00:00Z,ada,bob,0,,
2024-03-01T09:00:00Z,ada,bob,30,,6
2024-03-01T09:00:00Z,,bob,30,,
2999-03-01T09:00:00Z,ada,bob,30,,
2024-03-01T09:00:00Z,ada,bob,999,,
2024-03-02T09:00:00Z,bob,ada,30,,
";
    let file = table(&dir, "bad.csv", rows);
    let output = run(&["import-csv", &file, "--program", "spring", "--server", &server.url], 3);
    let lines: Vec<u32> = text(&output.stderr)
        .lines()
        .filter_map(|line| line.strip_prefix(&format!("{file}:"))?.split(':').next()?.parse().ok())
        .collect();
    // What cannot be read is named by the first pass, what the service refuses by the second.
    assert_eq!(lines, [3, 4, 6, 7, 8, 9, 10, 11], "{}", text(&output.stderr));
    assert_eq!(["rows", "imported", "rejected"].map(|name| summary(&output, name)), [10, 2, 8]);
    assert_eq!(
        server.json("/v1/programs/spring")["sessions"]["logged"],
        2,
        "{}",
        server.json("/v1/programs/spring")
    );
    let again = run(&["import-csv", &file, "--program", "spring", "--server", &server.url], 3);
    assert_eq!(["imported", "already there", "rejected"].map(|name| summary(&again, name)), [0, 2, 8]);
}

#[test]
fn a_table_is_imported_into_a_directory_no_server_uses_and_is_refused_in_one_that_is_used() {
    let dir = TempDir::new().unwrap();
    let data = dir.path().join("data");
    let data = data.to_str().unwrap();
    let file = table(&dir, "rows.csv", ROWS);
    let import = ["import-csv", &file, "--program", "spring", "--data", data];
    assert_eq!(summary(&run(&import, 0), "imported"), 4);
    assert_eq!(summary(&run(&import, 0), "imported"), 0);
    let exported = run(&["export", "--program", "spring", "--data", data], 0).stdout;
    let server = Server::start(Path::new(data));
    let refused = run(&import, 4);
    assert!(text(&refused.stderr).contains("--server"), "{}", text(&refused.stderr));
    // A key is remembered whichever way it came in.
    let through = run(&["import-csv", &file, "--program", "spring", "--server", &server.url], 0);
    assert_eq!(summary(&through, "imported"), 0);
    assert_eq!(server.get("/v1/programs/spring/events", "application/x-ndjson"), exported);
}

#[test]
fn what_is_exported_and_replayed_is_what_the_server_shows() {
    let dir = TempDir::new().unwrap();
    let data = dir.path().join("data");
    let server = Server::start(&data);
    let data = data.to_str().unwrap();
    let file = table(&dir, "rows.csv", ROWS);
    run(&["import-csv", &file, "--program", "spring", "--server", &server.url], 0);

    let events = server.get("/v1/programs/spring/events", "application/x-ndjson");
    let live = server.get("/v1/programs/spring/read-models?min_size=12", "application/json");
    let document: Value = serde_json::from_slice(&live).unwrap();
    assert_eq!(document["size"], 12);
    assert_eq!(document["root"], server.json("/v1/programs/spring")["root"]);
    assert_eq!(document["models"]["sessions"].as_array().unwrap().len(), 4);

    let exported = dir.path().join("spring.ndjson");
    let exported = exported.to_str().unwrap();
    run(&["export", "--program", "spring", "--server", &server.url, "--out", exported], 0);
    assert_eq!(std::fs::read(exported).unwrap(), events);
    let standard = run(&["export", "--program", "spring", "--server", &server.url], 0);
    assert_eq!(standard.stdout, events);
    let replayed = run(&["replay", "--program", "spring", "--server", &server.url], 0);
    assert_eq!(replayed.stdout, live, "over HTTP");
    assert!(text(&replayed.stderr).contains("entries/s"));
    assert_eq!(run(&["replay", "--file", exported], 0).stdout, live, "from a file");

    let id = document["models"]["program"]["program"].as_str().unwrap().to_owned();
    server.stop();
    assert_eq!(run(&["export", "--program", "spring", "--data", data], 0).stdout, events, "at rest");
    assert_eq!(run(&["replay", "--program", &id, "--data", data], 0).stdout, live, "at rest");
    let out = dir.path().join("models.json");
    run(&["replay", "--program", "spring", "--data", data, "--out", out.to_str().unwrap()], 0);
    assert_eq!(std::fs::read(&out).unwrap(), live);
    let missing = run(&["export", "--program", "autumn", "--data", data], 1);
    assert!(text(&missing.stderr).contains("there is: spring"), "{}", text(&missing.stderr));

    // At any point of the history, by seq and by time, from the log and from the file.
    let lines: Vec<&str> = text(&events).lines().collect();
    let at = |source: &[&str], until: &str| -> Value {
        let arguments = [&["replay", "--program", "spring", "--until", until], source].concat();
        serde_json::from_slice(&run(&arguments, 0).stdout).unwrap()
    };
    let (log, file) = (["--data", data], ["--file", exported]);
    for (until, size, sessions) in [("0", 1, 0), ("6", 7, 1), ("11", 12, 4)] {
        let document = at(&log, until);
        assert_eq!(document, at(&file, until), "{until}");
        assert_eq!(document["size"], size);
        assert_eq!(document["models"]["sessions"].as_array().unwrap().len(), sessions);
    }
    let recorded_at = |seq: usize| {
        let entry: Value = serde_json::from_str(lines[seq]).unwrap();
        entry["recorded_at"].as_str().unwrap().to_owned()
    };
    let upto = lines.iter().filter(|line| {
        let entry: Value = serde_json::from_str(line).unwrap();
        entry["recorded_at"].as_str().unwrap() <= recorded_at(3).as_str()
    });
    assert_eq!(at(&log, &recorded_at(3))["size"], upto.count());
    assert_eq!(at(&log, &recorded_at(11)), document);
    assert_eq!(at(&file, "2000-01-01T00:00:00Z")["size"], 0);
    let beyond = run(&["replay", "--program", "spring", "--data", data, "--until", "12"], 1);
    assert!(text(&beyond.stderr).contains("the last is seq 11"), "{}", text(&beyond.stderr));
}

#[test]
fn a_key_is_rotated_by_the_command_line_and_its_secret_half_is_shown_only_when_asked_for() {
    let dir = TempDir::new().unwrap();
    let data = dir.path().join("data");
    let data = data.to_str().unwrap();
    let file = table(&dir, "table.csv", "2026-01-05T10:00:00Z,ann,bob,30,rust,5\n");
    run(&["import-csv", &file, "--program", "spring", "--data", data], 0);
    let rotated = run(&["keys", "rotate", "--program", "spring", "--key-number", "2", "--data", data], 0);
    let rotated: Value = serde_json::from_slice(&rotated.stdout).unwrap();
    let (origin, vkey) = (rotated["origin"].as_str().unwrap(), rotated["vkey"].as_str().unwrap());
    let server = Server::start(Path::new(data));
    let url = server.url.as_str();
    let again = run(&["keys", "rotate", "--program", "spring", "--key-number", "2", "--server", url], 0);
    assert_eq!(serde_json::from_slice::<Value>(&again.stdout).unwrap(), rotated);
    let refused = run(&["keys", "rotate", "--program", "spring", "--key-number", "4", "--server", url], 1);
    assert!(text(&refused.stderr).contains("key-number"), "{}", text(&refused.stderr));
    run(&["keys", "rotate", "--program", "registry", "--key-number", "2", "--server", url], 0);
    // While the server runs: the key files are all it takes.
    let secret = run(&["keys", "export-seed", "--origin", origin, "--key-number", "2", "--data", data], 0);
    let line = text(&secret.stdout).trim_end();
    assert!(line.starts_with(&format!("PRIVATE+KEY+{origin}+")), "{line}");
    assert!(text(&secret.stderr).contains(vkey), "{}", text(&secret.stderr));
    let checkpoint = server.get("/log/spring/checkpoint", "text/plain");
    let keys = [vkey.parse().unwrap()];
    assert!(mentorlog::ledger::checkpoint::Checkpoint::verified(&checkpoint, &keys).is_ok());
    run(&["keys", "export-seed", "--origin", origin, "--data", "/nowhere"], 1);
}

#[test]
fn an_exported_file_that_was_edited_is_not_replayed() {
    let dir = TempDir::new().unwrap();
    let data = dir.path().join("data");
    let data = data.to_str().unwrap();
    run(&["import-csv", &table(&dir, "rows.csv", ROWS), "--program", "spring", "--data", data], 0);
    let whole = run(&["export", "--program", "spring", "--data", data], 0).stdout;
    let path = dir.path().join("edited.ndjson");
    let replay = |content: &[u8], code| {
        std::fs::File::create(&path).unwrap().write_all(content).unwrap();
        text(&run(&["replay", "--file", path.to_str().unwrap()], code).stderr).to_owned()
    };
    replay(&whole, 0);
    assert!(replay(&whole[..whole.len() - 5], 1).contains("cut off in the middle of line 12"));
    let without: Vec<&str> =
        text(&whole).lines().enumerate().filter(|(n, _)| *n != 4).map(|(_, line)| line).collect();
    assert!(replay(format!("{}\n", without.join("\n")).as_bytes(), 5).contains("seq 4"));
    let rewritten = text(&whole).replace("\"minutes\":30", "\"minutes\":31");
    // Nothing in a file alone says what its root should be: it is another history, with another root.
    replay(rewritten.as_bytes(), 0);
    assert!(replay(b"", 1).contains("export"));
}

#[test]
fn the_doctor_tells_a_clean_directory_from_a_damaged_one_and_changes_neither() {
    let dir = TempDir::new().unwrap();
    let data = dir.path().join("data");
    run(&["doctor", "--data", data.to_str().unwrap()], 1);
    assert!(!data.exists(), "looking makes nothing");
    let file = table(&dir, "rows.csv", ROWS);
    run(&["import-csv", &file, "--program", "spring", "--data", data.to_str().unwrap()], 0);

    let before = contents(&data);
    let output = run(&["doctor", "--data", data.to_str().unwrap()], 0);
    assert!(text(&output.stdout).contains("Nothing was found amiss."), "{}", text(&output.stdout));
    assert!(text(&output.stdout).contains("spring"), "{}", text(&output.stdout));
    let report: Value = serde_json::from_slice(
        &run(&["doctor", "--data", data.to_str().unwrap(), "--format", "json"], 0).stdout,
    )
    .unwrap();
    assert_eq!(report["clean"], true);
    // The registry has four: its own opening, beginning and end of the program's, and the ledger's head at the stop.
    assert_eq!(report["entries_checked"], 12 + 4);
    assert_eq!(contents(&data), before, "looking changes nothing");

    // One byte of the last session, in sled and in the tail, each alone.
    for copy in ["sled/db", "tail"] {
        let damaged = dir.path().join(copy.replace('/', "-"));
        copy_dir(&data, &damaged);
        let target = match copy {
            "tail" => std::fs::read_dir(damaged.join("tail")).unwrap().next().unwrap().unwrap().path(),
            _ => damaged.join(copy),
        };
        let mut bytes = std::fs::read(&target).unwrap();
        let needle = b"\"minutes\":20";
        let at = bytes.windows(needle.len()).position(|window| window == needle).unwrap();
        bytes[at + needle.len() - 2] = b'7';
        std::fs::write(&target, bytes).unwrap();
        let before = contents(&damaged);
        let output = run(&["doctor", "--data", damaged.to_str().unwrap(), "--format", "json"], 5);
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(report["clean"], false, "{copy}");
        assert_eq!(contents(&damaged), before, "{copy}: looking changes nothing");
    }

    // A key that is not the one the ledgers were opened with.
    let stranger = dir.path().join("stranger");
    copy_dir(&data, &stranger);
    std::fs::write(stranger.join("keys/signing.key"), [7; 32]).unwrap();
    let output = run(&["doctor", "--data", stranger.to_str().unwrap()], 5);
    assert!(text(&output.stdout).contains("signing.key is not the key"), "{}", text(&output.stdout));
    std::fs::remove_file(stranger.join("keys/signing.key")).unwrap();
    let output = run(&["doctor", "--data", stranger.to_str().unwrap()], 5);
    assert!(text(&output.stdout).contains("a key is missing"), "{}", text(&output.stdout));
    assert!(!stranger.join("keys/signing.key").exists());

    // An operator's word for the tail.
    let torn = dir.path().join("torn");
    copy_dir(&data, &torn);
    std::fs::write(torn.join("sled/db"), b"").unwrap();
    run(&["doctor", "--data", torn.to_str().unwrap()], 5);
    run(&["doctor", "--data", torn.to_str().unwrap(), "--repair-from-tail"], 0);
    let whole = run(&["export", "--program", "spring", "--data", data.to_str().unwrap()], 0).stdout;
    assert_eq!(run(&["export", "--program", "spring", "--data", torn.to_str().unwrap()], 0).stdout, whole);
}

/// Every file below, with its bytes.
fn contents(dir: &Path) -> Vec<(std::path::PathBuf, Vec<u8>)> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            all.extend(contents(&path));
        } else {
            all.push((path.clone(), std::fs::read(&path).unwrap()));
        }
    }
    all.sort();
    all
}

pub(super) fn copy_dir(from: &Path, to: &Path) {
    std::fs::create_dir(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy_dir(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

#[test]
fn help_tells_the_exit_codes_and_a_shell_gets_its_completions() {
    let help = run(&["--help"], 0);
    for line in [
        "3  an import or a measurement finished, but some rows were rejected",
        "5  the data directory is damaged",
    ] {
        assert!(text(&help.stdout).contains(line), "{}", text(&help.stdout));
    }
    assert!(text(&run(&["completions", "bash"], 0).stdout).contains("import-csv"));
    run(&["import-csv"], 2);
    run(&["export", "--program", "Not A Slug"], 2);
    let nobody = run(&["export", "--program", "spring", "--server", "http://127.0.0.1:1"], 1);
    assert!(text(&nobody.stderr).contains("mentorlog serve"), "{}", text(&nobody.stderr));
}
