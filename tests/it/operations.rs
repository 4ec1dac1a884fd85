//! The operations pack follows itself: what `deploy/` tells people to type is typed here, block by block.
//! Never types anything that is not in the document, and stands in for nothing but what no test machine has.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use mentorlog::ledger::note::{KeyKind, VerifierKey};
use mentorlog::rules::command;
use serde_json::Value;
use tempfile::TempDir;

use super::cli::{run, text};
use super::harness::{KEK, Process, serve};

/// A fenced block of a document.
struct Block {
    /// The heading above it, without its marks.
    heading: String,
    /// The line it begins in.
    line: usize,
    /// What is typed.
    typed: String,
    /// What the document says comes of it: the bare block right below, if there is one.
    said: Option<String>,
}

fn document(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy").join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The blocks to be typed, in order.
fn blocks(document: &str) -> Vec<Block> {
    let (mut heading, mut blocks) = (String::new(), Vec::<Block>::new());
    let mut lines = document.lines().enumerate().peekable();
    let mut end_of_last = 0;
    while let Some((number, line)) = lines.next() {
        if let Some(language) = line.strip_prefix("```") {
            let inside: Vec<&str> =
                lines.by_ref().map(|(_, line)| line).take_while(|line| *line != "```").collect();
            let inside_text = inside.join("\n") + "\n";
            match language {
                "sh" => blocks.push(Block {
                    heading: heading.clone(),
                    line: number + 1,
                    typed: inside_text,
                    said: None,
                }),
                "" if end_of_last == number => blocks.last_mut().unwrap().said = Some(inside_text),
                _ => {}
            }
            end_of_last = number + inside.len() + 2;
        } else if line.starts_with('#') {
            line.trim_start_matches(['#', ' ']).clone_into(&mut heading);
        }
    }
    blocks
}

/// Types the blocks into one shell and gives what came of each: everything it wrote, on either stream.
/// The shell ends with the first block that fails.
fn typed(blocks: &[Block], dir: &Path, variables: &[(&str, &str)]) -> Vec<String> {
    const MARK: &str = "@@@ block";
    let mut script = String::from("exec 2>&1\nset -eu -o pipefail\n");
    for (number, block) in blocks.iter().enumerate() {
        let _ = writeln!(script, "echo '{MARK} {number}'\n{}", block.typed);
    }
    let file = dir.join("typed.sh");
    std::fs::write(&file, script).unwrap();
    let mut shell = Command::new("bash");
    shell.arg(&file).current_dir(dir).stdin(Stdio::null()).envs(variables.iter().copied());
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(|name| name.starts_with("MENTORLOG_")) {
            shell.env_remove(name);
        }
    }
    let output = shell.envs(variables.iter().copied()).output().unwrap();
    let said = text(&output.stdout).to_owned();
    let mut parts: Vec<String> = said.split(MARK).skip(1).map(str::to_owned).collect();
    for part in &mut parts {
        *part = part.split_once('\n').map_or("", |(_, rest)| rest).to_owned();
    }
    let at = parts.len().saturating_sub(1);
    assert!(
        output.status.success() && parts.len() == blocks.len(),
        "line {} ({}) ended with {}:\n{}\n{}",
        blocks[at].line,
        blocks[at].heading,
        output.status,
        blocks[at].typed,
        parts.get(at).map_or("", String::as_str)
    );
    parts
}

/// Whether every line is there, in this order; `...` stands for anything.
fn contains(said: &str, expected: &str) -> bool {
    let mut lines = said.lines();
    let wanted = expected.lines().filter(|line| *line != "...");
    wanted.into_iter().all(|wanted| lines.any(|line| is_like(line, wanted)))
}

fn is_like(said: &str, pattern: &str) -> bool {
    let mut parts = pattern.split("...");
    let Some(mut rest) = said.strip_prefix(parts.next().unwrap_or_default()) else { return false };
    let parts: Vec<&str> = parts.collect();
    let Some((last, middle)) = parts.split_last() else { return rest.is_empty() };
    for part in middle {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

#[test]
fn what_is_expected_is_compared_line_by_line_with_gaps() {
    let said = "one\ntwo 2 words\nthree\n";
    for fine in ["one\n", "two ... words\n", "one\n...\nthree\n", "...\nthree\n", "t...e\n", "two ...\n"] {
        assert!(contains(said, fine), "{fine:?}");
    }
    for wrong in ["three\none\n", "two ... word\n", "on\n", "one\none\n", "four\n"] {
        assert!(!contains(said, wrong), "{wrong:?}");
    }
}

// ------------------------------------------------------------------------------------------------ recipes

#[test]
fn every_command_has_its_recipe_and_every_recipe_does_what_it_says() {
    let document = document("recipes.md");
    let blocks = blocks(&document);
    let named: Vec<&str> = document.lines().filter_map(|line| line.strip_prefix("### ")).collect();
    let known: BTreeSet<&str> = command::Command::NAMES.iter().copied().collect();
    for name in &known {
        let path =
            if *name == "open-program" { "$B/v1/programs\n".to_owned() } else { format!("$C/{name}\n") };
        let posted = |block: &Block| block.heading == *name && block.typed.ends_with(&path);
        assert!(blocks.iter().any(posted), "{name} is not posted below its heading");
    }
    let dir = TempDir::new().unwrap();
    let log = dir.path().join("stderr");
    let mut command = serve(&dir.path().join("data"), &log);
    command.env("MENTORLOG_PERSONAL_KEY", KEK);
    let process = Process::started(command, &log);
    // Only what is wanted of an answer: the document is not burdened with it.
    std::fs::write(dir.path().join(".curlrc"), "silent\nshow-error\nwrite-out = \"\\n%{http_code}\\n\"\n")
        .unwrap();
    let server = format!("http://{}", process.address);
    let others = changing(&process.client().get("/openapi.json").json());
    for (name, method, path) in &others {
        let is_asked = |block: &Block| {
            block.heading == *name
                && block.typed.lines().any(|line| {
                    let asked = line.rsplit_once("$B").map_or("", |(_, asked)| asked);
                    let asked =
                        asked.split(" <<").next().unwrap_or_default().split(" | ").next().unwrap_or_default();
                    line.contains("-X DELETE") == (method == "delete") && is_of(asked, path)
                })
        };
        assert!(blocks.iter().any(is_asked), "{method} {path} is not under the heading `{name}`");
    }
    let wanted = others.iter().map(|(name, ..)| name.as_str()).chain(known.iter().copied());
    assert_eq!(named.iter().copied().collect::<BTreeSet<_>>(), wanted.collect());
    assert_eq!(named.len(), known.len() + others.len(), "each has one heading");
    let home = dir.path().to_str().unwrap();
    let answers = typed(&blocks, dir.path(), &[("MENTORLOG_SERVER", &server), ("CURL_HOME", home)]);
    let mut posted = 0;
    for (block, said) in blocks.iter().zip(answers) {
        let calls = block.typed.lines().filter(|line| line.starts_with("curl ")).count();
        let lines: Vec<&str> = said.lines().filter(|line| !line.is_empty()).collect();
        assert_eq!(lines.len(), 2 * calls, "line {}: {said}", block.line);
        for (number, pair) in lines.chunks(2).enumerate() {
            let (answer, status) = (pair[0], pair[1]);
            posted += 1;
            let document: Value =
                serde_json::from_str(answer).unwrap_or_else(|error| panic!("{error}: {answer}"));
            match &block.said {
                Some(expected) if number + 1 == calls => {
                    assert!(
                        status.starts_with('4') && answer.contains(expected.trim()),
                        "line {}: {answer}",
                        block.line
                    );
                }
                _ => {
                    let events =
                        document["events"].as_array().or_else(|| document["size"].as_u64().map(|_| &EMPTY));
                    assert!(status.starts_with('2'), "line {}: {status} {answer}", block.line);
                    let appended = events.is_some_and(|events| !events.is_empty());
                    let is_command =
                        known.contains(block.heading.as_str()) && block.heading != "open-program";
                    assert!(appended || !is_command, "line {}: nothing was appended: {answer}", block.line);
                }
            }
        }
    }
    assert!(posted > known.len(), "{posted}");
}

static EMPTY: Vec<Value> = Vec::new();

/// What the document of the interface has beside the commands that is not a mere question: name, method, path.
fn changing(document: &Value) -> Vec<(String, String, String)> {
    let mut changing = Vec::new();
    for (path, operations) in document["paths"].as_object().unwrap() {
        for (method, operation) in operations.as_object().unwrap() {
            let name = operation["operationId"].as_str().unwrap_or_default();
            let is_question = ["get", "head", "options", "parameters"].contains(&method.as_str());
            if !is_question && !command::Command::NAMES.contains(&name) {
                changing.push((name.to_owned(), method.clone(), path.clone()));
            }
        }
    }
    assert!(changing.iter().any(|(_, method, _)| method == "delete"), "{changing:?}");
    changing
}

/// Whether a path is of this form, in which `{...}` stands for anything without a slash, what the shell makes of it too.
fn is_of(path: &str, form: &str) -> bool {
    let (mut path, mut form) = (path, form);
    while let Some((before, rest)) = form.split_once('{') {
        let Some(left) = path.strip_prefix(before) else { return false };
        form = rest.split_once('}').map_or("", |(_, after)| after);
        path = if left.starts_with("$(") { "" } else { &left[left.find('/').unwrap_or(left.len())..] };
    }
    path == form
}

// -------------------------------------------------------------------------------------------- completions

/// Every command of the program, with its flags, as the help tells.
fn commands() -> Vec<Vec<String>> {
    fn below(path: &[String], all: &mut Vec<Vec<String>>) {
        let arguments: Vec<&str> = path.iter().map(String::as_str).chain(["--help"]).collect();
        let help = run(&arguments, 0);
        let help = text(&help.stdout);
        all.push(path.to_vec());
        let listed = help.split_once("\nCommands:\n").map_or("", |(_, rest)| rest);
        for line in listed.lines().take_while(|line| !line.is_empty()) {
            let name = line.trim().split(' ').next().unwrap();
            if line.starts_with("  ") && !line.starts_with("   ") && name != "help" {
                below(&[path, &[name.to_owned()]].concat(), all);
            }
        }
    }
    let mut all = Vec::new();
    below(&[], &mut all);
    all
}

#[test]
fn completions_know_every_command_and_flag_and_the_shell_can_read_them() {
    let dir = TempDir::new().unwrap();
    let script = |shell: &str| text(&run(&["completions", shell], 0).stdout).to_owned();
    let (bash, zsh, fish) = (script("bash"), script("zsh"), script("fish"));
    let all = commands();
    assert!(all.len() > 20, "{all:?}");
    for path in &all {
        let arguments: Vec<&str> = path.iter().map(String::as_str).chain(["--help"]).collect();
        let help = run(&arguments, 0);
        let flags = text(&help.stdout).lines().filter_map(|line| {
            let line =
                line.strip_prefix("  -h, ").or(line.strip_prefix("  -V, ")).or(line.strip_prefix("      "));
            let flag = line.filter(|line| line.starts_with("--"))?;
            Some(flag.split([' ', '=', '.', '[']).next().unwrap().to_owned())
        });
        for flag in flags {
            let bare = flag.trim_start_matches('-');
            assert!(bash.contains(&flag) && zsh.contains(&flag), "{path:?} {flag}");
            assert!(
                fish.contains(&format!("-l {bare} ")) || fish.contains(&format!("-l {bare}\n")),
                "{path:?} {flag}"
            );
        }
        if let Some(name) = path.last() {
            assert!(
                bash.contains(name.as_str()) && zsh.contains(name.as_str()) && fish.contains(name.as_str()),
                "{path:?}"
            );
        }
    }
    for (shell, check, script) in
        [("bash", "-n", &bash), ("zsh", "-n", &zsh), ("fish", "--no-execute", &fish)]
    {
        let file = dir.path().join(shell);
        std::fs::write(&file, script).unwrap();
        match Command::new(shell).arg(check).arg(&file).output() {
            Ok(output) => assert!(output.status.success(), "{shell}: {}", text(&output.stderr)),
            // Of the three only bash is on every machine; `.ci/completions` installs the others.
            Err(_) => assert!(shell != "bash", "{shell} is not there"),
        }
    }
    // What bash makes of it: `mentorlog ser<TAB>`.
    let asked = format!(
        "source {}\nCOMP_WORDS=(mentorlog ser); COMP_CWORD=1; _mentorlog mentorlog ser mentorlog; echo ${{COMPREPLY[@]}}",
        dir.path().join("bash").display()
    );
    let output = Command::new("bash").args(["--norc", "-c", &asked]).output().unwrap();
    assert_eq!(text(&output.stdout).trim(), "serve", "{}", text(&output.stderr));
}

// ---------------------------------------------------------------------------------------------- the runbook

/// What no test machine has. Each does what the real one would do with the files and the process, and nothing to users.
const STAND_INS: [(&str, &str); 4] = [
    ("useradd", "exit 0"),
    ("chown", "exit 0"),
    // runuser -u USER -- PROGRAM ARGUMENTS...
    ("runuser", "shift 3\nexec \"$@\""),
    (
        "systemctl",
        r#"
pid=$HERE/pid
running() { [ -e "$pid" ] && kill -0 "$(cat "$pid")" 2>/dev/null; }
start() {
    [ -e "$UNITS/mentorlog.service" ] || exit 5
    # What the unit starts, with what it gives.
    line=$(sed -n 's#^ExecStart=/usr/local/bin/##p' "$UNITS/mentorlog.service" | sed "s#/etc/mentorlog#$ETC#")
    grep -q '^Environment=MENTORLOG_PERSONAL_KEY_FILE=%d/personal-key$' "$UNITS/mentorlog.service" || exit 6
    env -u MENTORLOG_CONFIG -u MENTORLOG_SERVER -u MENTORLOG_TOKEN -u MENTORLOG_PERSONAL_KEY \
        MENTORLOG_PERSONAL_KEY_FILE="$ETC/personal-key" setsid $line >>"$HERE/served" 2>&1 </dev/null &
    echo $! >"$pid"
    until mentorlog healthcheck >/dev/null 2>&1; do running || { tail -3 "$HERE/served"; exit 1; }; sleep 0.05; done
}
stop() {
    running || return 0
    kill -TERM "$(cat "$pid")"
    while running; do sleep 0.05; done
    rm "$pid"
}
case $1 in
    daemon-reload) ;;
    start) start ;;
    stop) stop ;;
    restart) stop; start ;;
    enable) [ "$2" != --now ] || start ;;
    is-active) if running; then echo active; else echo inactive; exit 3; fi ;;
    *) echo "systemctl $1?"; exit 1 ;;
esac
"#,
    ),
];

#[test]
fn the_runbook_is_followed_to_the_letter() {
    let blocks = blocks(&document("RUNBOOK.md"));
    let dir = TempDir::new().unwrap();
    let at = |name: &str| -> PathBuf {
        let path = dir.path().join(name);
        std::fs::create_dir_all(&path).unwrap();
        path
    };
    let (bin, units, stand_ins) = (at("bin"), at("units"), at("stand-ins"));
    for (name, body) in STAND_INS {
        let path = stand_ins.join(name);
        std::fs::write(&path, format!("#!/bin/bash\n{body}\n")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    // Free a moment ago: nothing else asks for this one by its number.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let of = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let path = format!("{}:{}:{}", stand_ins.display(), bin.display(), std::env::var("PATH").unwrap());
    let mut point = [0; 32];
    point[0] = 1;
    let witness = VerifierKey::new("witness.example/1".parse().unwrap(), KeyKind::CosignatureV1, &point);
    let variables = [
        ("PATH", path),
        ("HERE", of("")),
        ("ETC", of("etc")),
        ("STATE", of("state")),
        ("BACKUPS", of("backups")),
        ("VAULT", of("vault")),
        ("BIN", bin.to_str().unwrap().to_owned()),
        ("UNITS", units.to_str().unwrap().to_owned()),
        ("SERVER", format!("http://127.0.0.1:{port}")),
        ("NEW", env!("CARGO_BIN_EXE_mentorlog").to_owned()),
        ("SOURCE", env!("CARGO_MANIFEST_DIR").to_owned()),
        ("WITNESS_VKEY", witness.unwrap().to_string()),
    ];
    let variables: Vec<(&str, &str)> =
        variables.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let _end = End(dir.path().join("pid"));
    let said = typed(&blocks, dir.path(), &variables);
    for (block, said) in blocks.iter().zip(said) {
        if let Some(expected) = &block.said {
            let (line, heading) = (block.line, &block.heading);
            assert!(contains(&said, expected), "line {line} ({heading}):\n{said}\nis not\n{expected}");
        }
    }
    let expected = blocks.iter().filter(|block| block.said.is_some()).count();
    assert!(expected >= 15, "{expected} blocks say what comes of them");
}

/// The server that a runbook which broke off has left behind.
struct End(PathBuf);

impl Drop for End {
    fn drop(&mut self) {
        if let Ok(pid) = std::fs::read_to_string(&self.0) {
            let _ = Command::new("sh").args(["-c", &format!("kill -KILL {}", pid.trim())]).status();
        }
    }
}
