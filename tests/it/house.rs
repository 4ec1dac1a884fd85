//! The rules of the house: which room may know which, and what is nowhere to be found.
//! Never trusts a rule that has not been seen to fail: each is broken once below.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// A file of the repository, by its path from the top.
struct File {
    path: String,
    text: String,
}

/// What a room of `src/` may know, in `src/` and beyond. A room that is not here is a finding.
struct Room {
    name: &'static str,
    /// By name; `room::module`: only that part of it.
    rooms: &'static [&'static str],
    /// Crates it may not name, by a prefix of the path.
    never: &'static [&'static str],
}

const ROOMS: &[Room] = &[
    Room { name: "main", rooms: &["cli"], never: &["mentorlog_events", "mentorlog_projections", "tokio"] },
    Room {
        name: "cli",
        rooms: &["http", "metrics", "writer", "ledger", "rules", "clock", "keys", "people", "access"],
        never: &["sled"],
    },
    Room {
        name: "http",
        // The formats of proofs, which read nothing and write nothing.
        rooms: &[
            "writer",
            "rules",
            "metrics",
            "dashboard",
            "keys",
            "people",
            "access",
            "ledger::note",
            "ledger::checkpoint",
            "ledger::tiles",
            "ledger::proofs",
        ],
        never: &["sled"],
    },
    // From views to markup: it is handed what it shows.
    Room {
        name: "dashboard",
        rooms: &[],
        never: &[
            "tokio",
            "axum",
            "sled",
            "rand",
            "getrandom",
            "std::fs",
            "std::net",
            "std::env",
            "std::process",
            "std::thread",
            "std::time::SystemTime",
            "std::time::Instant",
        ],
    },
    Room { name: "metrics", rooms: &["writer"], never: &["sled"] },
    Room { name: "writer", rooms: &["rules", "ledger", "clock", "keys", "people"], never: &["axum", "sled"] },
    Room {
        name: "ledger",
        rooms: &[],
        never: &[
            "axum",
            "tokio",
            "mentorlog_projections",
            "mentorlog_events::event",
            "mentorlog_events::entry",
            "mentorlog_events::history",
        ],
    },
    Room {
        name: "rules",
        rooms: &[],
        never: &[
            "tokio",
            "axum",
            "sled",
            "rand",
            "getrandom",
            "mentorlog_projections",
            "std::fs",
            "std::net",
            "std::env",
            "std::process",
            "std::thread",
            "std::time::SystemTime",
            "std::time::Instant",
        ],
    },
    Room {
        name: "people",
        rooms: &[],
        never: &[
            "tokio",
            "axum",
            "sled",
            "mentorlog_projections",
            "mentorlog_events::history",
            "mentorlog_events::record",
            "std::time::SystemTime",
            "std::time::Instant",
        ],
    },
    // Who is let in: it knows the facts, and nothing else of ours.
    Room { name: "access", rooms: &[], never: &["tokio", "axum", "hyper", "sled", "mentorlog_projections"] },
    Room { name: "clock", rooms: &[], never: &["tokio", "axum", "sled", "mentorlog_projections"] },
    Room { name: "keys", rooms: &[], never: &["tokio", "axum", "sled", "mentorlog_projections"] },
];

/// Neither the facts nor what they add up to touch the world.
const PURE: &[&str] = &[
    "mentorlog",
    "tokio",
    "axum",
    "sled",
    "rand",
    "getrandom",
    "std::fs",
    "std::net",
    "std::env",
    "std::process",
    "std::thread",
    "std::time::SystemTime",
    "std::time::Instant",
    "chrono::Utc",
    "chrono::Local",
];

fn top() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every text file of the repository that is neither generated nor somebody's editor's.
fn repository() -> Vec<File> {
    let mut files = Vec::new();
    let mut folders = vec![PathBuf::new()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(top().join(&folder)).unwrap() {
            let entry = entry.unwrap();
            let path = folder.join(entry.file_name());
            let name = entry.file_name().into_string().unwrap();
            if [".git", "target", "node_modules", "mentorlog-data"].contains(&name.as_str()) {
                continue;
            }
            if entry.file_type().unwrap().is_dir() {
                folders.push(path);
            } else if let Ok(text) = fs::read_to_string(entry.path()) {
                files.push(File { path: path.to_str().unwrap().to_owned(), text });
            }
        }
    }
    files.sort_by(|one, other| one.path.cmp(&other.path));
    files
}

// ------------------------------------------------------------------------------------------- reading Rust

/// The text without comments and without what stands between quotes; as long as before, line for line.
fn code_only(text: &str) -> String {
    let bytes: Vec<char> = text.chars().collect();
    let mut code = String::with_capacity(text.len());
    let mut at = 0;
    let blank = |c: char| if c == '\n' { '\n' } else { ' ' };
    while at < bytes.len() {
        let rest = &bytes[at..];
        let skipped = match rest {
            ['/', '/', ..] => rest.iter().position(|c| *c == '\n').unwrap_or(rest.len()),
            ['/', '*', ..] => {
                let (mut depth, mut end) = (1, 2);
                while depth > 0 && end < rest.len() {
                    match rest[end..] {
                        ['/', '*', ..] => (depth, end) = (depth + 1, end + 2),
                        ['*', '/', ..] => (depth, end) = (depth - 1, end + 2),
                        _ => end += 1,
                    }
                }
                end
            }
            ['r', after @ ..] if after.iter().find(|c| **c != '#') == Some(&'"') && !word_before(&code) => {
                let hashes = after.iter().take_while(|c| **c == '#').count();
                let mut close = vec!['"'];
                close.extend(std::iter::repeat_n('#', hashes));
                let body = &rest[hashes + 2..];
                let end = body.windows(close.len()).position(|w| w == close).unwrap_or(body.len());
                hashes + 2 + end + close.len()
            }
            ['"', after @ ..] => {
                let mut end = 0;
                while end < after.len() && after[end] != '"' {
                    end += if after[end] == '\\' { 2 } else { 1 };
                }
                end + 2
            }
            ['\'', '\\', after @ ..] => 3 + after.iter().skip(1).position(|c| *c == '\'').unwrap_or(0) + 1,
            ['\'', _, '\'', ..] => 3,
            _ => 0,
        };
        if skipped == 0 {
            code.push(bytes[at]);
            at += 1;
        } else {
            let end = (at + skipped).min(bytes.len());
            code.extend(bytes[at..end].iter().map(|c| blank(*c)));
            at = end;
        }
    }
    code
}

fn word_before(code: &str) -> bool {
    code.ends_with(|c: char| c.is_alphanumeric() || c == '_')
}

/// The code without what is compiled for tests only.
fn without_tests(code: &str) -> String {
    const MARK: &str = "#[cfg(test)]";
    let mut kept = String::with_capacity(code.len());
    let mut rest = code;
    while let Some(at) = rest.find(MARK) {
        kept.push_str(&rest[..at]);
        let after = &rest[at + MARK.len()..];
        let mut depth = 0_u32;
        let end = after.find(|c| {
            match c {
                '{' => depth += 1,
                '}' => depth -= 1,
                _ => {}
            }
            depth == 0 && (c == '}' || c == ';')
        });
        rest = &after[end.map_or(after.len(), |end| end + 1)..];
    }
    kept.push_str(rest);
    kept
}

#[derive(Debug, PartialEq, Eq, Clone)]
enum Token {
    Word(String),
    Colons,
    Open,
    Close,
    Comma,
    Other,
}

fn tokens(code: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    let mut rest = code.trim_start();
    while let Some(first) = rest.chars().next() {
        let length = if first.is_alphanumeric() || first == '_' {
            let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
            tokens.push(Token::Word(rest[..end].to_owned()));
            end
        } else if rest.starts_with("::") {
            tokens.push(Token::Colons);
            2
        } else {
            tokens.push(match first {
                '{' => Token::Open,
                '}' => Token::Close,
                ',' => Token::Comma,
                _ => Token::Other,
            });
            first.len_utf8()
        };
        rest = rest[length..].trim_start();
    }
    tokens
}

/// Every path in the code, `use` trees opened out: `a::{b, c::d}` is `a::b` and `a::c::d`.
fn paths(code: &str) -> Vec<Vec<String>> {
    let tokens = tokens(code);
    let mut found = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        // A path begins with a word that no `::` stands before.
        let begins = matches!(tokens[at], Token::Word(_)) && (at == 0 || tokens[at - 1] != Token::Colons);
        if begins && tokens.get(at + 1) == Some(&Token::Colons) {
            at = path(&tokens, at, &mut Vec::new(), &mut found);
        } else {
            at += 1;
        }
    }
    found
}

fn path(tokens: &[Token], mut at: usize, before: &mut Vec<String>, found: &mut Vec<Vec<String>>) -> usize {
    let depth = before.len();
    loop {
        match tokens.get(at) {
            Some(Token::Word(word)) => {
                before.push(word.clone());
                at += 1;
                if tokens.get(at) != Some(&Token::Colons) {
                    found.push(before.clone());
                    break;
                }
                at += 1;
            }
            Some(Token::Open) => {
                at += 1;
                while at < tokens.len() && tokens[at] != Token::Close {
                    at = match tokens[at] {
                        Token::Word(_) | Token::Open => path(tokens, at, before, found),
                        _ => at + 1,
                    };
                }
                at += 1;
                break;
            }
            // `use a::*` and `Vec::<u8>`: the path so far is what counts.
            _ => {
                found.push(before.clone());
                break;
            }
        }
    }
    before.truncate(depth);
    at
}

/// Where a source file stands in its crate: `src/http/reads.rs` is `["http", "reads"]`.
fn module(path: &str) -> Vec<String> {
    let inner = path.split_once("src/").map_or(path, |(_, inner)| inner).trim_end_matches(".rs");
    let mut module: Vec<String> = inner.split('/').map(str::to_owned).collect();
    if matches!(module.last().map(String::as_str), Some("mod" | "lib")) {
        module.pop();
    }
    module
}

/// The path from the top of the crate, or as it is when it leads out of it.
fn resolved(module: &[String], path: &[String]) -> (bool, Vec<String>) {
    let mut base = match path.first().map(String::as_str) {
        Some("crate") => Vec::new(),
        Some("self" | "super") => module.to_vec(),
        _ => return (false, path.to_vec()),
    };
    for part in path {
        match part.as_str() {
            "crate" | "self" => {}
            "super" => drop(base.pop()),
            _ => base.push(part.clone()),
        }
    }
    (true, base)
}

/// Files that are compiled for tests only: a parent says `#[cfg(test)] mod name;`.
fn test_files(files: &[File]) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for file in files.iter().filter(|file| is_source(&file.path)) {
        let folder = match file.path.strip_suffix("/mod.rs").or(file.path.strip_suffix("/lib.rs")) {
            Some(folder) => folder,
            None => file.path.trim_end_matches(".rs"),
        };
        for part in file.text.split("#[cfg(test)]").skip(1) {
            let mut part = part.trim_start();
            if let Some((path, rest)) = part.strip_prefix("#[path = \"").and_then(|rest| rest.split_once('"'))
            {
                let folder = file.path.rsplit_once('/').map_or("", |(folder, _)| folder);
                found.insert(format!("{folder}/{path}"));
                part = rest.trim_start_matches(']').trim_start();
            }
            if let Some(name) = part.strip_prefix("mod ").and_then(|rest| rest.split(';').next()) {
                let inside = format!("{folder}/{}", name.trim());
                found.insert(format!("{inside}.rs"));
                found.insert(format!("{inside}/mod.rs"));
            }
        }
    }
    found
}

/// Whether it is one of those files, or lies in the folder of one.
fn is_for_tests(path: &str, test_files: &BTreeSet<String>) -> bool {
    let inside = |file: &String| {
        path.strip_prefix(file.trim_end_matches(".rs")).is_some_and(|rest| rest.starts_with('/'))
    };
    test_files.contains(path) || test_files.iter().any(inside)
}

fn is_rust(path: &str) -> bool {
    Path::new(path).extension().is_some_and(|extension| extension == "rs")
}

fn is_source(path: &str) -> bool {
    is_rust(path) && ["src/", "events/src/", "projections/src/"].iter().any(|folder| path.starts_with(folder))
}

// ---------------------------------------------------------------------------------------------- the rules

/// Everything in which these files break a rule of the house.
fn findings(files: &[File]) -> Vec<String> {
    let mut findings = Vec::new();
    let for_tests = test_files(files);
    let mut arrows: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for file in files {
        names(file, &mut findings);
        no_other_places(file, &mut findings);
        if file.path.ends_with("Cargo.toml") {
            reasons(file, &mut findings);
        }
        if is_rust(&file.path) && !file.text.starts_with("//!") && !file.text.trim().is_empty() {
            findings.push(format!("{}: begins without saying what it is for", file.path));
        }
        if is_source(&file.path) && !is_for_tests(&file.path, &for_tests) {
            let code = without_tests(&code_only(&file.text));
            if code.contains(".unwrap()") {
                findings.push(format!("{}: unwrap() outside tests", file.path));
            }
            sees(file, &code, &mut arrows, &mut findings);
        }
    }
    if let Some(circle) = circle(&arrows) {
        findings.push(format!("a circle: {}", circle.join(" -> ")));
    }
    findings
}

/// Names that say nothing gather everything.
fn names(file: &File, findings: &mut Vec<String>) {
    const NO_NAMES: [&str; 6] = ["util", "utils", "common", "helper", "helpers", "misc"];
    let parts = file.path.split('/').map(|part| part.split('.').next().unwrap_or_default());
    for part in parts {
        if NO_NAMES.contains(&part) {
            findings.push(format!("{}: `{part}` is no name", file.path));
        }
    }
}

/// What is here is understood from here.
fn no_other_places(file: &File, findings: &mut Vec<String>) {
    // Written apart, so that this file is not one of them.
    let places =
        [concat!("/wo", "rk/"), concat!("../sha", "red"), concat!("/ho", "me/"), concat!("/us", "ers/")];
    for place in places {
        if file.text.to_ascii_lowercase().contains(place) {
            findings.push(format!("{}: speaks of another work place, `{place}`", file.path));
        }
    }
}

/// Each dependency says why it is there: in the line above it, or above where the workspace names it.
fn reasons(file: &File, findings: &mut Vec<String>) {
    let mut in_dependencies = false;
    let mut before = "";
    for line in file.text.lines() {
        if line.starts_with('[') {
            in_dependencies = line.contains("dependencies");
        } else if in_dependencies && !line.is_empty() && !line.starts_with('#') && !line.starts_with(' ') {
            let ours = line.starts_with("mentorlog");
            let inherited = line.contains("workspace = true");
            if !ours && !inherited && !line.starts_with([']', '}']) && !before.starts_with('#') {
                findings.push(format!("{}: no reason above `{line}`", file.path));
            }
        }
        before = line;
    }
}

/// Holds the arrows of one source file.
fn sees(
    file: &File,
    code: &str,
    arrows: &mut BTreeMap<String, BTreeSet<String>>,
    findings: &mut Vec<String>,
) {
    let module = module(&file.path);
    let in_service = file.path.starts_with("src/");
    let here = module.first().cloned().unwrap_or_default();
    let room = ROOMS.iter().find(|room| room.name == here);
    if in_service && room.is_none() && !here.is_empty() {
        findings.push(format!("{}: `{here}` is not a room of the house", file.path));
    }
    let never: &[&str] = match room {
        _ if file.path.starts_with("events/") => {
            // The facts know nothing of ours.
            const EVENTS: &[&str] = &["mentorlog_projections"];
            check_never(file, code, EVENTS, findings);
            PURE
        }
        _ if file.path.starts_with("projections/") => PURE,
        Some(room) => room.never,
        None => &[],
    };
    check_never(file, code, never, findings);
    if !in_service {
        return;
    }
    for path in paths(code) {
        let (ours, path) = resolved(&module, &path);
        // The entrance is a crate of its own and names the service from outside.
        let path = match path.split_first() {
            Some((first, rest)) if here == "main" && first == "mentorlog" => rest.to_vec(),
            _ if ours => path,
            _ => continue,
        };
        let Some(there) = path.first().filter(|there| **there != here) else { continue };
        if !ROOMS.iter().any(|room| room.name == there) {
            continue;
        }
        let part = path.get(1).map(|part| format!("{there}::{part}"));
        let is_meant = |known: &&str| *known == there || part.as_deref() == Some(*known);
        if !room.is_some_and(|room| room.rooms.iter().any(is_meant)) {
            findings.push(format!("{}: `{here}` may not know `{there}`", file.path));
        }
        arrows.entry(here.clone()).or_default().insert(there.clone());
    }
    // A header of an answer has the same word for itself.
    let appends =
        code.replace("headers_mut().append(", "").replace("headers.append(", "").contains(".append(");
    if !["writer", "ledger"].contains(&here.as_str()) && appends {
        findings.push(format!("{}: only the writer appends", file.path));
    }
}

fn check_never(file: &File, code: &str, never: &[&str], findings: &mut Vec<String>) {
    let mut seen = BTreeSet::new();
    for path in paths(code) {
        for no in never {
            let parts: Vec<&str> = no.split("::").collect();
            let named = path.len() >= parts.len() && path.iter().zip(&parts).all(|(one, other)| one == other);
            if named && seen.insert(*no) {
                findings.push(format!("{}: `{no}` has no place here", file.path));
            }
        }
    }
}

/// Rooms that know each other, if there are any.
fn circle(arrows: &BTreeMap<String, BTreeSet<String>>) -> Option<Vec<String>> {
    fn walk<'a>(
        at: &'a str,
        arrows: &'a BTreeMap<String, BTreeSet<String>>,
        way: &mut Vec<&'a str>,
    ) -> Option<Vec<String>> {
        if let Some(first) = way.iter().position(|room| *room == at) {
            return Some(way[first..].iter().chain([&at]).map(|room| (*room).to_owned()).collect());
        }
        way.push(at);
        let found = arrows.get(at).into_iter().flatten().find_map(|next| walk(next, arrows, way));
        way.pop();
        found
    }
    arrows.keys().find_map(|room| walk(room, arrows, &mut Vec::new()))
}

// ---------------------------------------------------------------------------------------------- the tests

#[test]
fn the_house_keeps_its_rules() {
    let files = repository();
    assert!(files.iter().filter(|file| is_source(&file.path)).count() > 30, "the sources were found");
    let findings = findings(&files);
    assert!(findings.is_empty(), "\n{}\n", findings.join("\n"));
}

#[test]
fn every_room_is_there_and_looks_somewhere_unless_it_is_at_the_bottom() {
    let files = repository();
    for room in ROOMS {
        let own = files.iter().filter(|file| {
            file.path.starts_with("src/") && module(&file.path).first().is_some_and(|name| name == room.name)
        });
        assert!(own.count() > 0, "there is no room `{}`", room.name);
    }
    // The reading is not blind: arrows that are known to be there are seen.
    let mut arrows = BTreeMap::new();
    let for_tests = test_files(&files);
    for file in files.iter().filter(|file| is_source(&file.path) && !is_for_tests(&file.path, &for_tests)) {
        sees(file, &without_tests(&code_only(&file.text)), &mut arrows, &mut Vec::new());
    }
    for (from, to) in [("main", "cli"), ("cli", "http"), ("http", "writer"), ("http", "metrics")] {
        assert!(arrows[from].contains(to), "{from} -> {to} was not seen in {arrows:?}");
    }
    for (from, to) in [("writer", "rules"), ("writer", "ledger"), ("writer", "clock")] {
        assert!(arrows[from].contains(to), "{from} -> {to} was not seen in {arrows:?}");
    }
    for bottom in ["rules", "ledger", "clock", "keys", "people", "access"] {
        assert!(!arrows.contains_key(bottom), "{bottom} looks at {:?}", arrows[bottom]);
    }
}

#[test]
fn each_rule_is_seen_to_fail() {
    let broken = [
        ("src/rules/new.rs", "//! x\nuse crate::ledger::Log;", "`rules` may not know `ledger`"),
        ("src/rules/new.rs", "//! x\nuse super::super::clock::Clock;", "`rules` may not know `clock`"),
        ("src/rules/mod.rs", "//! x\nfn f() { super::clock::now() }", "`rules` may not know `clock`"),
        ("src/rules/new.rs", "//! x\nuse tokio::sync::mpsc;", "`tokio` has no place here"),
        ("src/rules/new.rs", "//! x\nuse std::{fmt, time::{Duration, Instant}};", "`std::time::Instant`"),
        ("src/rules/new.rs", "//! x\nuse mentorlog_projections::pairs;", "`mentorlog_projections`"),
        ("src/ledger/new.rs", "//! x\nuse mentorlog_events::{id::Slug, event::Event};", "events::event`"),
        ("src/ledger/new.rs", "//! x\nuse mentorlog_events::entry;", "`mentorlog_events::entry`"),
        ("src/http/new.rs", "//! x\nuse crate::{keys, ledger::Append};", "`http` may not know `ledger`"),
        ("src/http/new.rs", "//! x\nuse crate::ledger::sled::SledLog;", "`http` may not know `ledger`"),
        ("src/http/new.rs", "//! x\nfn f() { log.append(&[]); }", "only the writer appends"),
        ("src/metrics.rs", "//! x\nuse crate::http::problem::Code;", "`metrics` may not know `http`"),
        ("src/access/new.rs", "//! x\nuse crate::writer::Writer;", "`access` may not know `writer`"),
        ("src/access/new.rs", "//! x\nuse axum::http::HeaderMap;", "`axum` has no place here"),
        ("src/attic.rs", "//! x\n", "`attic` is not a room"),
        ("src/main.rs", "//! x\nuse mentorlog::writer::Writer;", "`main` may not know `writer`"),
        ("events/src/new.rs", "//! x\nuse mentorlog_projections::pairs;", "`mentorlog_projections`"),
        ("events/src/new.rs", "//! x\nfn f() { std::fs::read(x); }", "`std::fs`"),
        ("projections/src/new.rs", "//! x\nuse mentorlog::writer;", "`mentorlog` has no place"),
        ("projections/src/new.rs", "//! x\nuse std::time::SystemTime;", "`std::time::SystemTime`"),
        ("src/keys.rs", "//! x\nfn f() { x.unwrap() }", "unwrap() outside tests"),
        ("src/keys.rs", "fn f() {}", "begins without saying"),
        ("src/util.rs", "//! x\n", "`util` is no name"),
        ("tests/it/helpers/x.rs", "//! x\n", "`helpers` is no name"),
        ("README.md", concat!("see /wo", "rk/notes"), "another work place"),
        ("x/Cargo.toml", "[dependencies]\n# because\na = \"1\"\nb = \"1\"\n", "no reason above `b"),
        ("x/Cargo.toml", "[dev-dependencies]\nc = { version = \"1\" }\n", "no reason above `c"),
    ];
    for (path, text, wanted) in broken {
        let found = findings(&[File { path: path.into(), text: text.into() }]);
        assert!(found.iter().any(|finding| finding.contains(wanted)), "{path} {text:?}: {found:?}");
    }
    let two = [("src/clock.rs", "//! x\nuse crate::keys;"), ("src/keys.rs", "//! x\nuse crate::clock;")];
    let found = findings(&two.map(|(path, text)| File { path: path.into(), text: text.into() }));
    assert!(found.iter().any(|finding| finding.contains("a circle")), "{found:?}");
}

#[test]
fn what_is_allowed_is_not_found() {
    let fine = [
        ("src/rules/new.rs", "//! x\n// use crate::ledger::Log;\nconst A: &str = \"crate::ledger::Log\";"),
        ("src/rules/new.rs", "//! x\nfn f() {}\n#[cfg(test)]\nmod tests { use crate::ledger::Log; }\n"),
        ("src/ledger/new.rs", "//! x\nfn f(c: char) -> bool { c == '\"' }\nuse super::Log; // \"\n"),
        ("src/writer/new.rs", "//! x\nuse crate::{ledger::Log, rules::decide};\nfn f() { log.append(x) }"),
        ("src/http/new.rs", "//! x\nuse crate::ledger::{note::Note, tiles::TilePath};"),
        ("x/Cargo.toml", "[dependencies]\n# because\na = \"1\"\nserde.workspace = true\n"),
    ];
    for (path, text) in fine {
        let found = findings(&[File { path: path.into(), text: text.into() }]);
        assert!(found.is_empty(), "{path} {text:?}: {found:?}");
    }
}
