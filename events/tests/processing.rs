//! The record of processing names every field that is written, and none that is not.
//! Never trusts the annotations alone: the samples of every shape are what is compared with.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use mentorlog_events::entry::ENVELOPE_FIELDS;
use mentorlog_events::event::PersonalField;
use mentorlog_events::history::shapes;
use mentorlog_events::processing::{
    Audience, Fact, Handling, PROGRAM, Personal, Purpose, REGISTRY, Retention, Subject, lines,
};
use serde_json::Value;

fn facts() -> impl Iterator<Item = &'static Fact> {
    PROGRAM.iter().chain(REGISTRY)
}

fn sample(fact: &Fact) -> Value {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("samples").join(fact.name);
    serde_json::from_slice(&fs::read(folder.join(format!("{}.json", fact.version))).unwrap()).unwrap()
}

/// The paths of every value in it, as the map writes them.
fn paths(before: &str, value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(members) => {
            for (name, value) in members {
                let path = if before.is_empty() { name.clone() } else { format!("{before}.{name}") };
                paths(&path, value, found);
            }
        }
        Value::Array(items) if items.iter().any(Value::is_object) => {
            for item in items {
                paths(&format!("{before}[]"), item, found);
            }
        }
        _ => drop(found.insert(before.to_owned())),
    }
}

#[test]
fn every_shape_has_its_newest_version_in_the_map_and_nothing_else_has() {
    let mapped: BTreeSet<_> = facts().map(|fact| (fact.name, fact.version)).collect();
    assert_eq!(mapped.len(), facts().count(), "a fact stands twice in the map");
    let newest = shapes().map(|shape| {
        let of_it = shapes().filter(|other| other.name == shape.name);
        (shape.name, of_it.map(|other| other.version).max().unwrap())
    });
    assert_eq!(mapped, newest.collect());
}

#[test]
fn the_map_lists_exactly_the_fields_of_the_newest_sample_of_every_shape() {
    for fact in facts() {
        let mut written = BTreeSet::new();
        if let Value::Object(members) = &sample(fact)["data"]
            && !members.is_empty()
        {
            paths("", &sample(fact)["data"], &mut written);
        }
        let mapped: BTreeSet<String> = lines(fact.fields).into_iter().map(|line| line.path).collect();
        assert_eq!(mapped, written, "{}", fact.name);
    }
}

#[test]
fn what_is_sealed_in_a_sample_is_in_the_map_and_is_handled_as_sealed() {
    for fact in facts() {
        let mapped: Vec<&str> = fact.sealed.iter().map(|field| field.name).collect();
        let sample = sample(fact);
        let sealed = sample["sealed"].as_array().into_iter().flatten();
        let sealed: Vec<&str> = sealed.map(|sealed| sealed["at"].as_str().unwrap()).collect();
        assert!(sealed.iter().all(|at| mapped.contains(at)), "{}: {sealed:?}", fact.name);
        assert_eq!(sealed.is_empty(), mapped.is_empty(), "{}", fact.name);
        for line in lines(fact.sealed) {
            assert_eq!(line.handling.personal, Personal::Sealed, "{} {}", fact.name, line.path);
            assert_eq!(line.handling.retention, Retention::UntilErased, "{} {}", fact.name, line.path);
        }
    }
    let personal = PROGRAM.iter().find(|fact| fact.name == "personal-set").unwrap();
    for field in [PersonalField::Name, PersonalField::Email, PersonalField::HrId, PersonalField::BirthYear] {
        assert!(personal.sealed.iter().any(|sealed| sealed.name == format!("/{field}")), "{field}");
    }
}

#[test]
fn the_envelope_is_in_the_map_to_the_last_field() {
    let mut written = BTreeSet::new();
    for fact in facts() {
        let mut sample = sample(fact);
        sample.as_object_mut().unwrap().remove("data");
        paths("", &sample, &mut written);
    }
    let mapped: BTreeSet<String> = lines(ENVELOPE_FIELDS).into_iter().map(|line| line.path).collect();
    assert_eq!(mapped, written);
}

#[test]
fn no_fact_of_the_registry_is_about_a_person_and_nothing_sealed_is_in_clear() {
    for line in REGISTRY.iter().flat_map(|fact| lines(fact.fields)) {
        let Handling { personal, subject, audience, .. } = line.handling;
        assert_eq!(
            (personal, subject, audience),
            (Personal::None, Subject::Nobody, Audience::Registry),
            "{line:?}"
        );
    }
    for line in PROGRAM.iter().flat_map(|fact| lines(fact.fields)) {
        assert_ne!(line.handling.personal, Personal::Sealed, "{line:?}: the ledger holds it in clear");
        assert_eq!(
            line.handling.personal == Personal::None,
            line.handling.subject == Subject::Nobody,
            "{line:?}"
        );
    }
}

#[test]
fn every_field_says_what_it_holds() {
    let all = facts().flat_map(|fact| lines(fact.fields).into_iter().chain(lines(fact.sealed)));
    for line in all.chain(lines(ENVELOPE_FIELDS)) {
        assert!(line.what.ends_with('.') && line.what.len() > 3, "{line:?}");
        assert!(!line.what.contains("  "), "{line:?}");
    }
    assert!(facts().all(|fact| fact.what.trim().ends_with('.')));
    fn unique(words: &[&str]) -> bool {
        words.iter().collect::<BTreeSet<_>>().len() == words.len()
    }
    assert!(unique(&Purpose::ALL.iter().map(|one| one.word()).collect::<Vec<_>>()));
    assert!(unique(&Retention::ALL.iter().map(|one| one.word()).collect::<Vec<_>>()));
    assert!(unique(&Audience::ALL.iter().map(|one| one.word()).collect::<Vec<_>>()));
}
