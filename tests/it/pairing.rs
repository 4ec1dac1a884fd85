//! Suggestions and rounds over HTTP, up to the proposals they become.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::harness::Answer;
use crate::http::Town;

const COMMANDS: &str = "/v1/programs/spring/commands";
const SUGGESTIONS: &str = "/v1/programs/spring/suggestions";
const ROUNDS: &str = "/v1/programs/spring/rounds";

fn id(n: u32) -> String {
    format!("00000000-0000-4000-8000-{n:012x}")
}

const ANN: u32 = 0xa;
const BOB: u32 = 0xb;
const CAT: u32 = 0xc;
const DAN: u32 = 0xd;

fn person(n: u32, generation: &str, offered: &[&str], sought: &[&str], unit: &str) -> Value {
    json!({ "participant": id(n), "generation": generation, "offered": offered, "sought": sought, "unit": unit })
}

/// The four people of conformance case M05.
fn four() -> Town {
    let mut town = Town::new();
    town.open();
    for body in [
        person(ANN, "boomer", &["leadership", "law"], &["python", "video"], "sales"),
        person(BOB, "gen-z", &["python", "video"], &["leadership"], "sales"),
        person(CAT, "boomer", &["python"], &["law", "leadership", "budget"], "legal"),
        person(DAN, "gen-x", &["budget"], &["python"], "legal"),
    ] {
        town.done("enrol", &body);
    }
    town
}

fn good(answer: &Answer) -> Value {
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()
}

fn pairs(round: &Value) -> Vec<(String, String, u64)> {
    let of = |pair: &Value| {
        let text = |name: &str| pair[name].as_str().unwrap().to_owned();
        (text("a"), text("b"), pair["weight"].as_u64().unwrap())
    };
    round["pairs"].as_array().unwrap().iter().map(of).collect()
}

fn types(receipt: &Value) -> Vec<&str> {
    receipt["events"].as_array().unwrap().iter().map(|event| event["type"].as_str().unwrap()).collect()
}

#[test]
fn a_round_is_proposed_as_it_was_answered_and_what_has_become_impossible_is_refused_alone() {
    let mut town = four();
    let answer = town.client.get(SUGGESTIONS);
    town.check("suggestions", &answer);
    let answer = town.client.get(&format!("{ROUNDS}?size=3&cross_generation_bonus=100"));
    town.check("round", &answer);

    let round = good(&town.client.get(ROUNDS));
    assert_eq!(pairs(&round), [(id(ANN), id(BOB), 1000), (id(CAT), id(DAN), 500)]);
    let last = town.done("set-capacity", &json!({ "participant": id(DAN), "capacity": 2 })).json();
    let again = good(&town.client.get(ROUNDS));
    assert_eq!((&again["size"], &again["root"]), (&last["size"], &last["root"]));
    assert_eq!(again["pairs"], round["pairs"], "the same pairs, now as now");

    // In between Cat takes a break.
    town.done("take-break", &json!({ "participant": id(CAT), "actor": format!("participant:{}", id(CAT)) }));
    let receipt = town.done("propose-round", &round["commands"][0]["data"]).json();
    assert_eq!(types(&receipt), ["round-proposed", "pair-proposed", "round-pair-refused"]);
    let from = receipt["events"][0]["seq"].as_u64().unwrap();
    let events = good(&town.client.get(&format!("/v1/programs/spring/events?from={from}")));
    assert_eq!(events["events"][1]["data"]["a"], id(ANN));
    assert_eq!(events["events"][1]["data"]["weight"], 1000);
    assert_eq!(events["events"][2]["data"]["a"], id(CAT));
    assert_eq!(events["events"][2]["data"]["code"], "participant-state");

    // Who is asked already is not suggested again.
    let left = good(&town.client.get(&format!("{SUGGESTIONS}?participant={}", id(ANN))));
    assert_eq!((&left["items"], &left["not_now"]), (&json!([]), &Value::Null));
    let cat = good(&town.client.get(&format!("{SUGGESTIONS}?participant={}", id(CAT))));
    assert_eq!((&cat["items"], &cat["not_now"]), (&json!([]), &json!("participant-state")));
}

#[test]
fn participation_comes_first_only_if_asked_for() {
    let mut town = Town::new();
    town.open();
    // A path: the two in the middle fit perfectly, the outer ones with them less.
    for body in [
        person(1, "gen-x", &["a"], &["b", "y", "z"], "x"),
        person(2, "gen-x", &["b", "c"], &["a", "d"], "x"),
        person(3, "gen-x", &["d", "a"], &["c", "b"], "x"),
        person(4, "gen-x", &["c"], &["d", "y", "z"], "x"),
    ] {
        town.done("enrol", &body);
    }
    let heaviest = good(&town.client.get(ROUNDS));
    let fullest = good(&town.client.get(&format!("{ROUNDS}?participation_first=true")));
    assert_eq!(pairs(&heaviest), [(id(2), id(3), 1000),]);
    assert_eq!(pairs(&fullest).len(), 2);
    assert_eq!(fullest["left_out"], json!([]));
    let one = good(&town.client.get(&format!("{ROUNDS}?participation_first=true&size=1")));
    assert_eq!((pairs(&one), &one["left_out"]), (pairs(&heaviest), &json!([id(1), id(4)])));
}

#[test]
fn suggestions_come_in_pages_each_once() {
    let mut town = four();
    let all = good(&town.client.get(SUGGESTIONS))["items"].clone();
    let (mut paged, mut after) = (Vec::new(), String::new());
    loop {
        let page = good(&town.client.get(&format!("{SUGGESTIONS}?limit=1{after}")));
        paged.extend(page["items"].as_array().unwrap().clone());
        let Some(next) = page["next"].as_str() else { break };
        after = format!("&after={next}");
        if paged.len() == 1 {
            // The first of them is proposed meanwhile: the next page goes on behind its place.
            let (a, b) = (paged[0]["a"].clone(), paged[0]["b"].clone());
            town.done("propose-pair", &json!({ "a": a, "b": b }));
        }
    }
    assert_eq!((all.as_array().unwrap().len(), json!(paged)), (3, all));
    let unit = good(&town.client.get(&format!("{SUGGESTIONS}?unit=legal")))["items"].clone();
    assert_eq!((unit.as_array().unwrap().len(), &unit[0]["a"]), (1, &json!(id(CAT))));
    let good_ones = good(&town.client.get(&format!("{SUGGESTIONS}?min_score=501")))["items"].clone();
    assert_eq!(good_ones.as_array().unwrap().len(), 1, "Ann and Cat; Ann and Bob are asked already");
}

#[test]
fn a_large_round_is_proposed_in_a_batch() {
    let mut town = Town::new();
    town.open();
    let enrol = |n: u32| json!({ "command": "enrol", "data": person(n, "gen-x", &["rust"], &["rust"], "x") });
    let answer = town.client.post(COMMANDS, &(1..=2011).map(enrol).collect::<Value>());
    assert_eq!(answer.status, 207);
    let round = good(&town.client.get(&format!("{ROUNDS}?per_person=2")));
    assert_eq!(pairs(&round).len(), 1005);
    assert_eq!(round["left_out"].as_array().unwrap().len(), 1);
    assert_eq!(round["cut"], 2011, "everybody fits everybody");
    let commands = round["commands"].as_array().unwrap();
    assert_eq!(
        commands.iter().map(|command| command["data"]["pairs"].as_array().unwrap().len()).collect::<Vec<_>>(),
        [1000, 5]
    );
    let answer = town.client.post(COMMANDS, &round["commands"]);
    assert_eq!(answer.status, 207);
    let results = answer.json()["results"].clone();
    let proposed: Vec<usize> =
        results.as_array().unwrap().iter().map(|result| types(result).len() - 1).collect();
    assert_eq!(proposed, [1000, 5]);
    let everybody: BTreeSet<String> = pairs(&round).into_iter().flat_map(|(a, b, _)| [a, b]).collect();
    assert_eq!(everybody.len(), 2010);
}

#[test]
fn nobody_to_pair_is_an_empty_list() {
    let mut town = Town::new();
    town.open();
    let answer = town.client.get(SUGGESTIONS);
    town.check("no_suggestions", &answer);
    let answer = town.client.get(ROUNDS);
    town.check("no_round", &answer);
    town.done("close-program", &json!({}));
    assert_eq!(good(&town.client.get(SUGGESTIONS))["not_now"], "program-closed");
    assert_eq!(good(&town.client.get(ROUNDS))["not_now"], "program-closed");
}

#[test]
fn what_cannot_be_asked_of_pairing_is_a_problem_that_names_the_parameter() {
    let mut town = four();
    for (query, parameter) in [
        ("suggestions?limits=1", "limits"),
        ("suggestions?limit=0", "limit"),
        ("suggestions?limit=1001", "limit"),
        ("suggestions?limit=1&limit=2", "limit"),
        ("suggestions?min_score=0", "min_score"),
        ("suggestions?min_score=1001", "min_score"),
        ("suggestions?after=0000", "after"),
        ("suggestions?participant=ann", "participant"),
        ("suggestions?again=1", "again"),
        ("suggestions?unit=No+Slug", "unit"),
        ("suggestions?as_of=2026-01-01", "as_of"),
        ("suggestions?known_at=3", "known_at"),
        ("suggestions?size=3", "size"),
        ("rounds?size=0", "size"),
        ("rounds?size=-1", "size"),
        ("rounds?size=5001", "size"),
        ("rounds?size=many", "size"),
        ("rounds?participation_first=yes", "participation_first"),
        ("rounds?per_person=0", "per_person"),
        ("rounds?per_person=51", "per_person"),
        ("rounds?cross_generation_bonus=1001", "cross_generation_bonus"),
        ("rounds?as_of=2026-01-01", "as_of"),
        ("rounds?known_at=1", "known_at"),
        ("rounds?participant=x", "participant"),
    ] {
        let path = format!("/v1/programs/spring/{query}");
        let answer = town.refused(400, "malformed-parameter", |client| client.get(&path));
        assert_eq!(answer.json()["parameter"], parameter, "{query}: {}", answer.text());
    }
    for (query, parameter) in [
        (format!("suggestions?participant={}", id(99)), "participant"),
        ("suggestions?unit=nowhere".to_owned(), "unit"),
        ("rounds?unit=nowhere".to_owned(), "unit"),
    ] {
        let path = format!("/v1/programs/spring/{query}");
        let answer = town.refused(404, "not-found", |client| client.get(&path));
        assert_eq!(answer.json()["parameter"], parameter);
    }
    town.refused(404, "no-such-program", |client| client.get("/v1/programs/winter/rounds"));
    town.refused(405, "method-not-allowed", |client| client.post(ROUNDS, &json!({})));
}
