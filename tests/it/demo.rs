//! The demonstration, from outside: what it prints works, what it shows verifies, and nothing of it stays.

use std::io::{BufRead, BufReader, Read};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, ChildStderr, Command, ExitStatus, Stdio};

use serde_json::Value;
use tempfile::TempDir;

use crate::cli::{mentorlog, run, text};
use crate::harness::{Client, until};

/// A demonstration in a process of its own, and what it has said so far.
struct Demo {
    child: Child,
    said: Vec<String>,
    stderr: Option<ChildStderr>,
}

impl Demo {
    /// Starts one whose temporary directory is in `temporary`, and reads until it has said everything.
    fn start(temporary: &Path, arguments: &[&str]) -> Self {
        let mut command = mentorlog(&["demo", "--listen", "127.0.0.1:0"]);
        command.args(arguments).env("TMPDIR", temporary).stdin(Stdio::null());
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut said: Vec<String> = Vec::new();
        while said.last().is_none_or(|line| !line.starts_with("Ctrl-C")) {
            match lines.next() {
                Some(line) => said.push(line.unwrap()),
                None => panic!("it ended: {said:#?}\n{}", read(child.stderr.take())),
            }
        }
        let stderr = child.stderr.take();
        Self { child, said, stderr }
    }

    /// The address its first line ends with.
    fn url(&self) -> &str {
        self.said[0].rsplit(' ').next().unwrap()
    }

    fn client(&self) -> Client {
        Client::new(self.url().strip_prefix("http://").unwrap().parse().unwrap())
    }

    /// Ctrl-C, the way it ended, and what it said on stderr.
    fn interrupt(mut self) -> (ExitStatus, String) {
        let told = Command::new("kill").args(["-INT", &self.child.id().to_string()]).status().unwrap();
        assert!(told.success());
        let status = until("the end after SIGINT", || self.child.try_wait().unwrap());
        (status, read(self.stderr.take()))
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn read(stderr: Option<ChildStderr>) -> String {
    let mut text = String::new();
    if let Some(mut stderr) = stderr {
        stderr.read_to_string(&mut text).unwrap();
    }
    text
}

fn names_in(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[test]
fn everything_it_points_at_is_there_and_verifies_and_goes_when_it_ends() {
    let temporary = TempDir::new().unwrap();
    let demo = Demo::start(temporary.path(), &["--still", "--people", "60", "--months", "8"]);
    let mut client = demo.client();
    let mut looked_at = 0;
    for line in &demo.said {
        let Some((_, path)) = line.split_once(demo.url()).filter(|_| line.starts_with("  curl ")) else {
            continue;
        };
        let path = path.split([' ', '\'']).next().unwrap();
        let answer = client.get(path);
        assert_eq!(answer.status, 200, "{line}\n{}", answer.text());
        looked_at += 1;
    }
    assert!(looked_at >= 9, "{:#?}", demo.said);
    let program = client.get("/v1/programs/bridge").json();
    assert!(program["sessions"]["live"].as_u64() > Some(80), "{program}");
    let share = client.get("/v1/programs/bridge/reciprocity").json();
    assert!(share["figures"]["two_way_pair_share"]["numerator"].as_u64() > Some(0), "{share}");
    assert_eq!(client.get("/v1/programs/pilot").json()["state"], "archived");
    let reports = client.get("/v1/programs/bridge/reports").json();
    assert_eq!(reports["reports"].as_array().unwrap().len(), 1, "{reports}");
    let verify = demo.said.iter().find_map(|line| line.trim().strip_prefix("mentorlog verify ")).unwrap();
    let words: Vec<&str> =
        ["verify"].into_iter().chain(verify.split(' ').map(|word| word.trim_matches('\''))).collect();
    run(&words, 0);
    // It is still: nothing has happened meanwhile.
    assert_eq!(client.get("/v1/programs/bridge").json()["size"], program["size"]);
    assert_eq!(names_in(temporary.path()).len(), 1);
    drop(client);
    let (status, complaints) = demo.interrupt();
    assert!(status.success(), "{status}");
    assert_eq!(complaints, "");
    assert_eq!(names_in(temporary.path()), Vec::<String>::new());
}

#[test]
fn life_goes_on_while_somebody_watches() {
    let temporary = TempDir::new().unwrap();
    let demo = Demo::start(temporary.path(), &["--people", "30", "--months", "4"]);
    let mut client = demo.client();
    let size = |program: &Value| program["size"].as_u64().unwrap();
    let first = client.get("/v1/programs/bridge/events?from=0&limit=1");
    assert_eq!(first.status, 200);
    let before = size(&client.get("/v1/programs/bridge").json());
    let after = until("somebody to do something", || {
        let now = size(&client.get("/v1/programs/bridge").json());
        (now > before).then_some(now)
    });
    let path = format!("/v1/programs/bridge/events?from={before}&limit={}", after - before);
    let entries = client.get(&path).json();
    let entry = &entries["events"][0];
    assert_eq!(entry["principal"], "local", "over HTTP, as everybody else: {entries}");
    drop(client);
    assert!(demo.interrupt().0.success());
}

#[test]
fn a_directory_of_ones_own_stays_and_has_to_be_empty() {
    let temporary = TempDir::new().unwrap();
    let data = temporary.path().join("kept");
    let data = data.to_str().unwrap();
    let demo = Demo::start(temporary.path(), &["--still", "--people", "20", "--months", "2", "--data", data]);
    assert!(demo.interrupt().0.success());
    run(&["doctor", "--data", data], 0);
    let refused = run(&["demo", "--listen", "127.0.0.1:0", "--data", data], 1);
    assert!(text(&refused.stderr).contains("is not empty"), "{}", text(&refused.stderr));
    assert_eq!(names_in(temporary.path()), ["kept"]);
}

#[test]
fn a_taken_port_and_a_foreign_address_are_refused_with_advice() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let refused = run(&["demo", "--listen", &address], 1);
    let said = text(&refused.stderr);
    assert!(said.contains("is taken") && said.contains("mentorlog demo --listen 127.0.0.1:7272"), "{said}");
    let refused = run(&["demo", "--listen", "0.0.0.0:0"], 1);
    assert!(text(&refused.stderr).contains("only loopback"), "{}", text(&refused.stderr));
}
