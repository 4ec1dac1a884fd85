//! Guards over every shape ever written: what is in a ledger today must mean the same for ever.

#![allow(clippy::unwrap_used, clippy::format_collect, reason = "in a test a panic is the report")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use mentorlog_events::entry::{Entry, Facts, ReadError};
use mentorlog_events::event::Event;
use mentorlog_events::event::registry::RegistryEvent;
use mentorlog_events::history::{Shape, shapes};
use mentorlog_events::record::ENTRY_BYTES_MAX;
use sha2::{Digest, Sha256};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("samples")
}

fn sample(shape: Shape) -> Vec<u8> {
    let path = folder().join(shape.name).join(format!("{}.json", shape.version));
    let mut bytes = fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    assert_eq!(bytes.pop(), Some(b'\n'), "{}: a sample is one line", path.display());
    bytes
}

#[derive(Debug)]
#[allow(dead_code, reason = "its Debug form is the snapshot")]
enum Meaning {
    Program(Entry<Event>),
    Registry(Entry<RegistryEvent>),
}

/// Reads a sample as today's software understands it, and writes it anew.
fn read(shape: Shape) -> (Meaning, Vec<u8>) {
    let bytes = sample(shape);
    if Event::SHAPES.contains(&shape) {
        let entry = Entry::<Event>::parse(&bytes).unwrap();
        let again = entry.seal().unwrap().bytes().to_vec();
        (Meaning::Program(entry), again)
    } else {
        let entry = Entry::<RegistryEvent>::parse(&bytes).unwrap();
        let again = entry.seal().unwrap().bytes().to_vec();
        (Meaning::Registry(entry), again)
    }
}

#[test]
fn table_and_folder_agree() {
    let table: BTreeSet<String> = shapes().map(|s| format!("{}/{}.json", s.name, s.version)).collect();
    assert_eq!(table.len(), shapes().count(), "a shape stands twice in the table");
    let mut found = BTreeSet::new();
    for fact in fs::read_dir(folder()).unwrap() {
        let fact = fact.unwrap();
        if fact.file_type().unwrap().is_dir() {
            for file in fs::read_dir(fact.path()).unwrap() {
                let (fact, file) = (fact.file_name(), file.unwrap().file_name());
                found.insert(format!("{}/{}", fact.to_string_lossy(), file.to_string_lossy()));
            }
        }
    }
    assert_eq!(table, found);
}

#[test]
fn no_sample_was_edited() {
    let sums = fs::read_to_string(folder().join("SHA256SUMS")).unwrap();
    let mut listed = BTreeSet::new();
    for line in sums.lines() {
        let (sum, path) = line.split_once("  ").unwrap();
        let bytes = fs::read(folder().join(path)).unwrap();
        let now: String = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(sum, now, "{path} is not what it was: history would be read differently");
        listed.insert(path.to_owned());
    }
    let table: BTreeSet<String> = shapes().map(|s| format!("{}/{}.json", s.name, s.version)).collect();
    assert_eq!(listed, table, "every sample has its sum");
}

#[test]
fn every_sample_still_means_what_it_meant() {
    for shape in shapes() {
        let (meaning, _) = read(shape);
        insta::with_settings!({ snapshot_suffix => format!("{}-{}", shape.name, shape.version), omit_expression => true }, {
            insta::assert_debug_snapshot!("meaning", meaning);
        });
    }
}

#[test]
fn the_newest_shapes_round_trip_byte_for_byte() {
    for shape in shapes() {
        let newest = shapes().filter(|s| s.name == shape.name).map(|s| s.version).max();
        if newest == Some(shape.version) {
            let (_, again) = read(shape);
            assert_eq!(String::from_utf8(again), String::from_utf8(sample(shape)), "{shape:?}");
        }
    }
}

#[test]
fn versions_of_a_type_have_no_gap() {
    for shape in shapes() {
        let versions: Vec<u32> = shapes().filter(|s| s.name == shape.name).map(|s| s.version).collect();
        let expected: Vec<u32> = (1..).take(versions.len()).collect();
        assert_eq!(versions, expected, "{}", shape.name);
    }
}

fn session_logged() -> String {
    String::from_utf8(sample(Shape { name: "session-logged", version: 1 })).unwrap()
}

#[test]
fn an_unknown_type_and_a_newer_version_stop_the_reader() {
    let line = session_logged();
    let renamed = line.replace("session-logged", "session-dreamt");
    assert_eq!(
        Entry::<Event>::parse(renamed.as_bytes()),
        Err(ReadError::UnknownType { name: "session-dreamt".into() })
    );
    let newer = line.replace("\"v\":1,", "\"v\":99,");
    let newest =
        Event::SHAPES.iter().filter(|s| s.name == "session-logged").map(|s| s.version).max().unwrap();
    assert_eq!(
        Entry::<Event>::parse(newer.as_bytes()),
        Err(ReadError::UnknownVersion { name: "session-logged", version: 99, newest })
    );
    // A program's fact in the registry is as unknown there as an invented one.
    assert!(matches!(Entry::<RegistryEvent>::parse(line.as_bytes()), Err(ReadError::UnknownType { .. })));
}

#[test]
fn any_other_spelling_of_an_entry_is_damage() {
    let line = session_logged();
    assert!(Entry::<Event>::parse(line.as_bytes()).is_ok());
    for damaged in [
        line.replace("{\"seq\":", "{ \"seq\":"),
        line.replace("\"minutes\":60", "\"minutes\":60.0"),
        line.replace("\"minutes\":60", "\"minutes\":-1"),
        line.replace("\"minutes\":60", "\"minutes\":60,\"extra\":1"),
        line.replace("\"minutes\":60", "\"minutes\":60,\"minutes\":60"),
        line.replace("\"data\":", "\"extra\":1,\"data\":"),
        line.replace("2026-11-21T09", "2026-11-21 09"),
        line.replace("\"mode\":\"video\"", "\"mode\":\"telepathy\""),
        format!("{line} "),
        format!("{line}}}"),
        line[..line.len() - 1].to_owned(),
        String::new(),
    ] {
        assert_ne!(damaged, line, "the damage was done");
        assert!(matches!(Entry::<Event>::parse(damaged.as_bytes()), Err(ReadError::Damaged(_))), "{damaged}");
    }
}

#[test]
fn an_entry_above_the_limit_is_refused_and_one_at_the_limit_is_not() {
    let mut entry = Entry::<Event>::parse(session_logged().as_bytes()).unwrap();
    let Event::SessionLogged(fact) = &mut entry.event else { panic!("the sample is a session") };
    let one = fact.exchanges[0].clone();
    fact.exchanges.clear();
    while entry.seal().is_ok() {
        let Event::SessionLogged(fact) = &mut entry.event else { panic!("the sample is a session") };
        fact.exchanges.push(one.clone());
    }
    let too_long = entry.seal().unwrap_err().0;
    assert!(too_long > ENTRY_BYTES_MAX && too_long < ENTRY_BYTES_MAX + 200);
}
