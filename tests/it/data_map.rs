//! The record of processing: what it prints, and that no file of a data directory is missing from it.
//! Never lists the fields of facts: the tests of `events` compare those with every sample.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use redb::{ReadableDatabase as _, ReadableTable as _, TableHandle as _};
use serde_json::{Value, json};

use crate::cli::{run, text};
use crate::erasure::{BOB, Town, erase, live_long_ago, ok};
use crate::harness::until;

fn lines() -> Vec<Value> {
    let printed = run(&["data-map", "--format", "json"], 0);
    let map: Value = serde_json::from_slice(&printed.stdout).unwrap();
    map["lines"].as_array().unwrap().clone()
}

/// Whether a path is one that a line of the map stands for: `<..>` is any name, a slash at the end everything below.
fn fits(pattern: &str, path: &str) -> bool {
    if let Some(folder) = pattern.strip_suffix('/') {
        return path.match_indices('/').any(|(at, _)| fits(folder, &path[..at]));
    }
    match pattern.split_once('<') {
        None => pattern == path,
        Some((before, rest)) => {
            let (_, rest) = rest.split_once('>').expect("a name in a pattern ends");
            let Some(path) = path.strip_prefix(before) else { return false };
            let name_ends = path.find('/').unwrap_or(path.len());
            (1..=name_ends).any(|end| path.is_char_boundary(end) && fits(rest, &path[end..]))
        }
    }
}

fn files(folder: &Path, before: &str, found: &mut BTreeSet<String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let path = format!("{before}{}", entry.file_name().to_str().unwrap());
        if entry.file_type().unwrap().is_dir() {
            files(&entry.path(), &format!("{path}/"), found);
        } else {
            found.insert(path);
        }
    }
}

#[test]
fn a_pattern_stands_for_the_names_it_says() {
    assert!(fits("keys/CHECK", "keys/CHECK") && !fits("keys/CHECK", "keys/CHECKS"));
    assert!(
        fits("tail/<segment>.tail", "tail/0000000001.tail") && !fits("tail/<segment>.tail", "tail/.tail")
    );
    assert!(!fits("reports/<digest>", "reports/a/b"));
    assert!(fits("mirror/log/<ledger>/tile/", "mirror/log/registry/tile/0/000.p/1"));
    assert!(fits("<name>.damaged-<n>/", "sled.damaged-1/db") && !fits("sled/", "sled.before-open/db"));
}

#[test]
fn the_record_of_processing_is_printed_as_a_table() {
    let printed = run(&["data-map"], 0);
    insta::assert_snapshot!("data_map", text(&printed.stdout));
}

#[test]
fn table_json_and_csv_say_the_same() {
    let lines = lines();
    let csv = run(&["data-map", "--format", "csv"], 0);
    let mut rows = csv::Reader::from_reader(&csv.stdout[..]);
    let names = rows.headers().unwrap().clone();
    let mut count = 0;
    for (row, line) in rows.records().zip(&lines) {
        for (name, value) in names.iter().zip(&row.unwrap()) {
            assert_eq!(line[name], value);
        }
        assert!(line.as_object().unwrap().values().all(|value| value != ""), "{line}");
        count += 1;
    }
    assert_eq!(count, lines.len());
    let table = run(&["data-map"], 0);
    assert!(text(&table.stdout).ends_with(&format!("{count:5} fields\n")));
}

#[test]
fn every_table_of_the_sealed_rows_is_in_the_map() {
    let town = Town::new();
    let process = town.serve("data");
    ok(&process.client().post("/v1/programs", &json!({ "slug": "s", "name": "S", "time_zone": "UTC" })));
    let enrolled =
        ok(&process.client().post("/v1/programs/s/commands/enrol", &json!({ "participant": BOB })));
    assert_eq!(enrolled["events"].as_array().unwrap().len(), 1);
    for name in ["Bob", "Robert"] {
        let set = json!({ "participant": BOB, "name": name });
        ok(&process.client().post("/v1/programs/s/commands/set-personal", &set));
    }
    process.kill();
    let rows = redb::Database::open(town.path("data/people/rows.redb")).unwrap();
    let read = rows.begin_read().unwrap();
    let tables: BTreeSet<String> = read.list_tables().unwrap().map(|table| table.name().to_owned()).collect();
    assert!(tables.len() >= 6, "{tables:?}");
    let map = lines();
    let of_rows = || map.iter().filter(|line| line["place"] == "people/rows.redb");
    for table in &tables {
        assert!(of_rows().any(|line| line["field"] == **table), "{table} is not in the map");
    }
    // What is kept under names of its own is told by these names.
    let told = of_rows().find(|line| line["field"] == "meta").unwrap()["what"].as_str().unwrap();
    let meta = redb::TableDefinition::<&str, &[u8]>::new("meta");
    let mut keys = 0;
    for entry in read.open_table(meta).unwrap().iter().unwrap() {
        let (key, _) = entry.unwrap();
        assert!(told.contains(key.value()), "meta's {} is not in the map", key.value());
        keys += 1;
    }
    assert_eq!(keys, 5, "something was removed, too");
}

#[test]
fn every_file_of_a_data_directory_is_in_the_map() {
    let town = Town::new();
    let data = town.path("data");
    // Eight days ago, so that there is a week to report; with everything that can be sealed.
    live_long_ago(&town);
    let mut found = BTreeSet::new();
    files(&data, "", &mut found);
    for life in 0..2 {
        let process = town.serve("data");
        let mut client = process.client();
        for _ in 0..30 {
            let people: Vec<Value> = (0..10).map(|_| json!({ "command": "enrol", "data": {} })).collect();
            assert_eq!(client.post("/v1/programs/spring/commands", &json!(people)).status, 207);
        }
        if life == 0 {
            ok(&client.post("/v1/programs/spring/reports", &json!({})));
            ok(&erase(&mut client));
        }
        let size = ok(&client.get("/v1/programs/spring"))["size"].clone();
        until("a published checkpoint", || {
            client.get("/log/spring/checkpoint").text().contains(&format!("\n{size}\n")).then_some(())
        });
        files(&data, "", &mut found);
        // The next start has to find out what was on the way.
        if life == 0 {
            process.kill();
        } else {
            let set = json!({ "participant": BOB, "name": "Robert" });
            ok(&client.post("/v1/programs/spring/commands/set-personal", &set));
            ok(&client.post("/v1/tokens", &json!({ "principal": "ops", "role": "admin" })));
            files(&data, "", &mut found);
            assert!(process.terminate().success());
        }
        files(&data, "", &mut found);
    }
    let mode = fs::metadata(&data).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700, "the data directory is nobody else's");
    for there in ["people/rows.redb", "people/keyring/", "access/tokens", "reports/"] {
        assert!(found.iter().any(|file| file.starts_with(there)), "{there} is not among {found:?}");
    }
    let map = lines();
    let places: BTreeSet<&str> = map.iter().map(|line| line["place"].as_str().unwrap()).collect();
    for file in found {
        // Written under another name until it is whole.
        let whole = file.strip_suffix(".new").unwrap_or(&file);
        let fitting: Vec<_> = places.iter().filter(|place| fits(place, whole)).collect();
        assert_eq!(fitting.len(), 1, "{file}: {fitting:?}");
    }
}
