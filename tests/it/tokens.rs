//! `mentorlog token`, and what a server and its clients do once there are tokens: from the outside.
//! Never hands a secret to a program on its command line.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use mentorlog::access::token::Token;
use serde_json::Value;
use tempfile::TempDir;

use super::cli::{Server, mentorlog, run, text};
use super::harness::until;

/// A directory with a data directory in it that has an admin token, and the file the token is in.
struct Place {
    dir: TempDir,
    admin: PathBuf,
}

impl Place {
    fn new() -> Self {
        let dir = TempDir::new().unwrap();
        let admin = dir.path().join("admin");
        let place = Self { dir, admin };
        run(&["token", "bootstrap", "--data", place.data(), "--out", place.admin.to_str().unwrap()], 0);
        place
    }

    fn path(&self, name: &str) -> String {
        self.dir.path().join(name).to_str().unwrap().to_owned()
    }

    fn data(&self) -> &'static str {
        // Leaked: a test's few paths.
        Box::leak(self.path("data").into_boxed_str())
    }

    fn serve(&self) -> Server {
        Server::start(Path::new(self.data()))
    }

    fn issue(&self, server: &Server, name: &str, arguments: &[&str]) -> PathBuf {
        let out = self.dir.path().join(name);
        let issue = ["token", "issue", "--principal", name, "--out", out.to_str().unwrap()];
        with(&self.admin, server, &[&issue, arguments].concat(), 0);
        out
    }

    /// Opens the program `spring`, and returns a table of two sessions for it.
    fn open(&self, server: &Server) -> String {
        let body = "{\"slug\":\"spring\",\"name\":\"Spring\",\"time_zone\":\"UTC\"}";
        let request = reqwest::blocking::Client::new().post(format!("{}/v1/programs", server.url));
        let request = request.bearer_auth(secret(&self.admin)).header("content-type", "application/json");
        assert_eq!(request.body(body).send().unwrap().status(), 201);
        let table = self.path("table.csv");
        let rows = "occurred_at,teacher,learner,minutes,skill,rating\n\
                    2024-03-01T09:00:00Z,ada,bob,30,rust,5\n2024-03-03T09:00:00Z,cyd,ada,10,music,\n";
        std::fs::write(&table, rows).unwrap();
        table
    }
}

/// Runs a client with a token in a file.
fn with(token: &Path, server: &Server, arguments: &[&str], code: i32) -> Output {
    let more = ["--server", &server.url, "--token-file", token.to_str().unwrap()];
    run(&[arguments, &more].concat(), code)
}

fn secret(file: &Path) -> String {
    std::fs::read_to_string(file).unwrap().trim().to_owned()
}

#[test]
fn the_first_token_is_made_once_and_another_only_when_it_is_asked_for() {
    let place = Place::new();
    let mode = std::os::unix::fs::MetadataExt::mode(&std::fs::metadata(&place.admin).unwrap()) & 0o777;
    assert_eq!(mode, 0o600);
    let again = run(&["token", "bootstrap", "--data", place.data(), "--out", &place.path("b")], 1);
    assert!(text(&again.stderr).contains("--another"), "{}", text(&again.stderr));
    assert!(!Path::new(&place.path("b")).exists(), "nothing is left behind");
    let another =
        run(&["token", "bootstrap", "--data", place.data(), "--another", "--principal", "second"], 0);
    let second: Token = text(&another.stdout).trim().parse().unwrap();
    let server = place.serve();
    let list = with(&place.admin, &server, &["token", "list", "--format", "json"], 0);
    let list: Value = serde_json::from_slice(&list.stdout).unwrap();
    let tokens = list["tokens"].as_array().unwrap();
    assert_eq!(tokens.len(), 2);
    assert_eq!((&tokens[1]["token"], &tokens[1]["role"]), (&second.id.to_string().into(), &"admin".into()));
    let table = with(&place.admin, &server, &["token", "list"], 0);
    let table = text(&table.stdout).replace(tokens[0]["token"].as_str().unwrap(), "[first]");
    let table = table.replace(&second.id.to_string(), "[second]");
    let words: Vec<Vec<&str>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(words[1], ["[first]", "honoured", "admin", "admin", "all", "-", "-"]);
    assert_eq!(words[2], ["[second]", "honoured", "admin", "second", "all", "-", "-"]);
    // The lost one is revoked with the second, in the environment.
    let first = tokens[0]["token"].as_str().unwrap();
    let mut revoke = mentorlog(&["token", "revoke", first, "--server", &server.url]);
    assert!(revoke.env("MENTORLOG_TOKEN", &*second.reveal()).status().unwrap().success());
    with(&place.admin, &server, &["token", "list"], 1);
    // A server has the directory.
    run(&["token", "bootstrap", "--data", place.data()], 4);
    server.stop();
    // All that is left is the second: when it is revoked, too, whoever has the directory makes a third.
    let server = place.serve();
    let mut revoke = mentorlog(&["token", "revoke", &second.id.to_string(), "--server", &server.url]);
    assert!(revoke.env("MENTORLOG_TOKEN", &*second.reveal()).status().unwrap().success());
    server.stop();
    run(&["token", "bootstrap", "--data", place.data()], 0);
    // The same when the file with the hashes is lost.
    std::fs::remove_file(Path::new(place.data()).join("access/tokens")).unwrap();
    run(&["token", "bootstrap", "--data", place.data()], 0);
}

#[test]
fn every_client_shows_its_token_and_none_gets_in_without() {
    let place = Place::new();
    let server = place.serve();
    let table = place.open(&server);
    let service = place.issue(&server, "sync", &["--role", "service", "--program", "spring", "--days", "30"]);
    let import = ["import-csv", table.as_str(), "--program", "spring"];
    // An admin runs the installation and not the programs: it opens one, and may not fill it.
    with(&place.admin, &server, &import, 1);
    with(&service, &server, &import, 0);
    run(&[&import[..], &["--server", &server.url]].concat(), 1);
    let manager = place.issue(&server, "hr", &["--role", "manager", "--program", "spring"]);
    let auditor = place.issue(&server, "kpmg", &["--role", "auditor"]);
    let confined = place.issue(&server, "pwc", &["--role", "auditor", "--program", "spring"]);
    let viewer = place.issue(&server, "wall", &["--role", "viewer"]);
    let programs = |token: &Path| {
        let listed = with(token, &server, &["replay", "--program", "spring"], 0);
        serde_json::from_slice::<Value>(&listed.stdout).is_ok()
    };
    assert!(programs(&auditor) && programs(&manager));
    for (arguments, allowed, denied) in [
        (vec!["export", "--program", "spring", "--out", "bundle"], &auditor, &viewer),
        (vec!["export", "--program", "spring", "--format", "ndjson"], &confined, &service),
        (vec!["replay", "--program", "spring"], &manager, &viewer),
        (vec!["report", "--program", "spring"], &manager, &auditor),
        (vec!["keys", "rotate", "--program", "spring", "--key-number", "2"], &place.admin, &manager),
    ] {
        let out = place.path("bundle");
        let arguments: Vec<&str> =
            arguments.iter().map(|part| if *part == "bundle" { out.as_str() } else { part }).collect();
        let refused = with(denied, &server, &arguments, 1);
        assert!(text(&refused.stderr).contains("(forbidden)"), "{arguments:?} {}", text(&refused.stderr));
        let refused = run(&[&arguments[..], &["--server", &server.url]].concat(), 1);
        assert!(text(&refused.stderr).contains("(unauthorized)"), "{arguments:?} {}", text(&refused.stderr));
        // No week of a program that has just been opened is over: that much a manager is told.
        let done = with(allowed, &server, &arguments, i32::from(arguments[0] == "report"));
        assert!(arguments[0] != "report" || text(&done.stderr).contains("(impossible-report)"));
    }
    // Verification of a server, of all of it and of what a confined auditor may see.
    let client = reqwest::blocking::Client::new();
    let get = |token: &Path, path: &str| {
        let request = client.get(format!("{}{path}", server.url)).bearer_auth(secret(token));
        request.send().unwrap().json::<Value>().unwrap()
    };
    let keys = get(&auditor, "/v1/keys");
    let vkey = |program: &str| {
        let keys = keys["keys"].as_array().unwrap().iter().rev();
        let key = keys.clone().find(|key| key["slug"] == program || key["program"] == program);
        key.unwrap()["vkey"].as_str().unwrap().to_owned()
    };
    let verify = |token: &Path, place: &str, vkey: &str| {
        let mut command = mentorlog(&["verify", place, "--vkey", vkey]);
        command.env("MENTORLOG_TOKEN", secret(token)).output().unwrap()
    };
    until("the published checkpoints", || {
        let done = verify(&auditor, &server.url, &vkey("registry"));
        done.status.success().then_some(())
    });
    let alone = format!("{}/log/spring", server.url);
    let done = verify(&confined, &alone, &vkey("spring"));
    assert!(done.status.success(), "{}{}", text(&done.stdout), text(&done.stderr));
    assert!(!verify(&viewer, &alone, &vkey("spring")).status.success());
    server.stop();
    // Whoever has the data directory works on it as before, through a server of its own that nobody else gets into.
    let rows = "occurred_at,teacher,learner,minutes,skill,rating\n2024-04-01T09:00:00Z,bob,cyd,30,go,\n";
    std::fs::write(&table, rows).unwrap();
    run(&[&import[..], &["--data", place.data()]].concat(), 0);
}

#[test]
fn other_addresses_are_served_behind_a_proxy_with_tokens_and_not_otherwise() {
    let dir = TempDir::new().unwrap();
    let data = dir.path().join("data").to_str().unwrap().to_owned();
    let serve = |more: &[&str]| run(&[&["serve", "--data", &data], more].concat(), 1);
    let refused = serve(&["--listen", "0.0.0.0:0"]);
    assert!(text(&refused.stderr).contains("--behind-proxy"), "{}", text(&refused.stderr));
    assert!(!Path::new(&data).exists(), "nothing was made");
    for listen in ["0.0.0.0:0", "127.0.0.1:0"] {
        let refused = serve(&["--listen", listen, "--behind-proxy"]);
        assert!(text(&refused.stderr).contains("token bootstrap"), "{}", text(&refused.stderr));
    }
    run(&["token", "bootstrap", "--data", &data], 0);
    let refused = serve(&["--listen", "0.0.0.0:0"]);
    assert!(text(&refused.stderr).contains("--behind-proxy"), "{}", text(&refused.stderr));
    let mut child = mentorlog(&["serve", "--data", &data, "--listen", "0.0.0.0:0", "--behind-proxy"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let port = lines.next().unwrap().unwrap().rsplit(':').next().unwrap().to_owned();
    let get = |path: &str| {
        reqwest::blocking::get(format!("http://127.0.0.1:{port}{path}")).unwrap().status().as_u16()
    };
    assert_eq!((get("/healthz"), get("/v1/programs")), (200, 401));
    let _ = Command::new("sh").args(["-c", &format!("kill -TERM {}", child.id())]).status();
    assert!(child.wait().unwrap().success());
}

#[test]
fn a_file_that_others_may_write_or_that_has_rotted_is_not_served_by() {
    let place = Place::new();
    let file = Path::new(place.data()).join("access/tokens");
    let serve = || run(&["serve", "--listen", "127.0.0.1:0", "--data", place.data()], 5);
    let mode = |mode| std::os::unix::fs::PermissionsExt::from_mode(mode);
    std::fs::set_permissions(&file, mode(0o644)).unwrap();
    assert!(text(&serve().stderr).contains("chmod 600"));
    std::fs::set_permissions(&file, mode(0o600)).unwrap();
    let mut bytes = std::fs::read(&file).unwrap();
    bytes[30] ^= 1;
    std::fs::write(&file, bytes).unwrap();
    assert!(text(&serve().stderr).contains("damaged"));
    let doctor = run(&["doctor", "--data", place.data()], 5);
    assert!(text(&doctor.stdout).contains("access/tokens is damaged"), "{}", text(&doctor.stdout));
}

#[test]
fn no_secret_is_in_any_log_or_file() {
    let place = Place::new();
    let log = place.dir.path().join("log");
    let mut child = mentorlog(&["serve", "--listen", "127.0.0.1:0", "--data", place.data()])
        .env("MENTORLOG_LOG", "trace")
        .stdout(Stdio::piped())
        .stderr(std::fs::File::create(&log).unwrap())
        .spawn()
        .unwrap();
    let mut line = String::new();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    stdout.read_line(&mut line).unwrap();
    let url = line.trim().rsplit(' ').next().unwrap().to_owned();
    let client = reqwest::blocking::Client::new();
    let admin = secret(&place.admin);
    let wrong = Token::random().reveal().clone();
    let post = |body: &str, token: &str| {
        let request = client.post(format!("{url}/v1/tokens")).bearer_auth(token);
        request.header("content-type", "application/json").body(body.to_owned()).send().unwrap()
    };
    let issued: Value = post("{\"principal\":\"x\",\"role\":\"viewer\"}", &admin).json().unwrap();
    let viewer = issued["secret"].as_str().unwrap().to_owned();
    for (body, token) in [("{", &admin), ("{}", &viewer), ("{}", &*wrong)] {
        let answer = post(body, token).text().unwrap();
        assert!(!answer.contains(&token[37..]), "{answer}");
    }
    for token in [&admin, &viewer, &*wrong] {
        for path in ["/v1/programs", "/v1/tokens", "/nowhere", "/metrics"] {
            let answer =
                client.get(format!("{url}{path}")).bearer_auth(token).send().unwrap().text().unwrap();
            assert!(
                [&admin, &viewer, &*wrong].iter().all(|token| !answer.contains(&token[37..])),
                "{answer}"
            );
        }
    }
    let _ = Command::new("sh").args(["-c", &format!("kill -TERM {}", child.id())]).status();
    assert!(child.wait().unwrap().success());
    let mut files = vec![place.dir.path().to_owned()];
    let mut looked_at = 0;
    while let Some(path) = files.pop() {
        if path.is_dir() {
            files.extend(std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        } else if path != place.admin {
            looked_at += 1;
            let bytes = std::fs::read(&path).unwrap();
            for token in [&admin, &viewer, &*wrong] {
                let found = memchr::memmem::find(&bytes, &token.as_bytes()[37..]);
                assert_eq!(found, None, "{} holds a secret", path.display());
            }
        }
    }
    assert!(looked_at > 10);
    assert!(std::fs::read_to_string(&log).unwrap().lines().count() > 3);
}
