//! The pages as a browser gets them: their markup, their headers, their links, and the numbers on them.

use std::collections::{BTreeSet, VecDeque};

use serde_json::{Value, json};

use crate::harness::{Answer, until};
use crate::http::Town;

const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
     connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// What a page may weigh.
const WEIGHT: usize = 300_000;

fn id(n: u32) -> String {
    format!("00000000-0000-4000-8000-{n:012x}")
}

const PAIR: u32 = 0xf0;

/// Six people of four generations, three pairs - one met both ways, one one-way, one waits - and what can go wrong.
fn small() -> Town {
    let mut town = Town::new();
    town.open();
    for (n, generation, offered, sought) in [
        (0xa, "boomer", ["leadership", "negotiation"], ["short-video", "python"]),
        (0xb, "gen-z", ["short-video", "python"], ["negotiation", "leadership"]),
        (0xc, "gen-x", ["budgeting", "leadership"], ["python", "design"]),
        (0xd, "millennial", ["python", "design"], ["budgeting", "law"]),
        (0xe, "gen-z", ["design", "short-video"], ["budgeting", "law"]),
        (0x1e, "unknown", ["budgeting", "writing"], ["law", "design"]),
    ] {
        town.done(
            "enrol",
            &json!({ "participant": id(n), "generation": generation, "offered": offered, "sought": sought }),
        );
    }
    for (n, a, b) in [(0, 0xa, 0xb), (1, 0xc, 0xd), (2, 0xd, 0xe)] {
        let pair = id(PAIR + n);
        town.done(
            "propose-pair",
            &json!({ "actor": format!("participant:{}", id(a)), "pair": pair, "a": id(a), "b": id(b) }),
        );
        if n < 2 {
            town.done("accept-pair", &json!({ "actor": format!("participant:{}", id(b)), "pair": pair }));
        }
    }
    town.advance(86_400);
    let mut session = |n: u32, pair: u32, teacher: u32, other: Option<u32>, hour: u32| {
        let mut exchanges = vec![json!({ "teacher": id(teacher), "skill": "negotiation", "minutes": 30 })];
        exchanges.extend(
            other.map(|other| json!({ "teacher": id(other), "skill": "short-video", "minutes": 20 })),
        );
        let body = json!({
            "actor": format!("participant:{}", id(teacher)), "session": id(0xe0 + n), "pair": id(PAIR + pair),
            "occurred_at": format!("2026-09-22T{hour:02}:00:00Z"), "minutes": 60, "mode": "video", "exchanges": exchanges,
        });
        town.done("log-session", &body);
    };
    session(0, 0, 0xa, Some(0xb), 8);
    session(1, 0, 0xa, None, 10);
    session(2, 1, 0xc, None, 9);
    session(3, 1, 0xc, None, 11);
    town.done(
        "confirm-session",
        &json!({ "actor": format!("participant:{}", id(0xb)), "session": id(0xe0), "version": 1 }),
    );
    town.done("rate-exchange", &json!({ "actor": format!("participant:{}", id(0xb)), "session": id(0xe0), "teacher": id(0xa), "skill": "negotiation", "rating": 5 }));
    town.done(
        "dispute-session",
        &json!({ "actor": format!("participant:{}", id(0xd)), "session": id(0xe3) }),
    );
    town
}

/// Every page of a program with pairs.
fn pages() -> Vec<(&'static str, String)> {
    let at = |path: &str| format!("/p/spring{path}");
    vec![
        ("programs", "/".to_owned()),
        ("definitions", "/definitions".to_owned()),
        ("overview", at("")),
        ("reciprocity", at("/reciprocity")),
        ("retention", at("/retention")),
        ("pairs", at("/pairs")),
        ("pair", at(&format!("/pairs/{}", id(PAIR)))),
        ("participants", at("/participants")),
        ("participant", at(&format!("/participants/{}", id(0xa)))),
        ("suggestions", at("/suggestions")),
        ("history", at("/history")),
        ("audit", at("/audit")),
        ("published", at("/published")),
    ]
}

fn page(town: &mut Town, path: &str) -> Answer {
    let answer = town.client.get(path);
    assert_eq!(answer.status, 200, "{path}: {}", answer.text());
    assert_eq!(answer.header("content-type"), Some("text/html; charset=utf-8"), "{path}");
    answer
}

/// Puts names in the place of what is made up anew each time, and breaks lines between tags.
fn readable(markup: &str) -> String {
    let mut out = String::with_capacity(markup.len());
    let mut rest = markup;
    while let Some(next) = rest.chars().next() {
        if rest.get(..36).is_some_and(|text| text.parse::<uuid::Uuid>().is_ok()) {
            let id = &rest[..36];
            out.push_str(if id.starts_with("00000000-") { id } else { "[id]" });
            rest = &rest[36..];
        } else if (next.is_ascii_alphanumeric() || "+/".contains(next))
            && !out.ends_with(|c: char| c.is_ascii_alphanumeric() || "/+-_".contains(c))
        {
            let end =
                rest.find(|c: char| !(c.is_ascii_alphanumeric() || "+/=".contains(c))).unwrap_or(rest.len());
            let word = &rest[..end];
            let mixed =
                word.bytes().any(|b| b.is_ascii_uppercase()) && word.bytes().any(|b| b.is_ascii_digit());
            if word.len() >= 22 && mixed && (next.is_ascii_alphanumeric() || word.len() == 44) {
                out.push_str("[base64]");
                rest = &rest[end..];
            } else {
                out.push(next);
                rest = &rest[next.len_utf8()..];
            }
        } else {
            out.push(next);
            rest = &rest[next.len_utf8()..];
        }
    }
    // The name of an asset follows from its content.
    let mut parts = out.split("/assets/");
    let mut named = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        named.push_str("/assets/[hash]");
        named.push_str(part.get(16..).unwrap_or_default());
    }
    named.replace("><", ">\n<")
}

#[test]
fn each_page_of_a_small_program_is_as_it_was_looked_at() {
    let mut town = small();
    for (name, path) in pages().into_iter().filter(|(name, _)| *name != "audit") {
        let markup = page(&mut town, &path).text().to_owned();
        insta::assert_snapshot!(format!("page_{name}"), readable(&markup));
    }
}

#[test]
fn a_page_comes_with_its_policy_and_nothing_inline_and_is_small() {
    let mut town = small();
    for (_, path) in pages() {
        let answer = page(&mut town, &path);
        assert_eq!(answer.header("content-security-policy"), Some(POLICY), "{path}");
        assert_eq!(answer.header("cache-control"), Some("no-store"), "{path}");
        assert!(answer.body.len() < WEIGHT, "{path} weighs {}", answer.body.len());
        let text = answer.text();
        for inline in [" style=", "<style", " onclick=", "javascript:", "http://", "https://"] {
            assert!(!text.contains(inline), "{path} has `{inline}`");
        }
        assert_eq!(text.matches("<script").count(), 1, "{path}");
        assert!(text.contains("<script type=\"module\" src=\"/assets/"), "{path}");
    }
    assert_eq!(
        town.client.get("/v1/programs").header("content-security-policy"),
        None,
        "an answer is no page"
    );
}

#[test]
fn a_program_named_with_markup_is_text() {
    let mut town = Town::new();
    let name = "<script>alert(1)</script> & \"co\" 'x'";
    let body = json!({ "slug": "spring", "name": name, "time_zone": "UTC" });
    assert_eq!(town.client.post("/v1/programs", &body).status, 201);
    for (_, path) in pages().into_iter().filter(|(name, _)| !["pair", "participant"].contains(name)) {
        let answer = page(&mut town, &path);
        assert!(!answer.text().contains("<script>alert"), "{path}");
        if path != "/definitions" {
            assert!(
                answer.text().contains("&lt;script&gt;alert(1)&lt;/script&gt; &amp; &quot;co&quot;"),
                "{path}"
            );
        }
    }
    let other = town.client.get("/p/%3Cscript%3E");
    assert_eq!(other.status, 404);
    assert!(!other.text().contains("<script>"), "{}", other.text());
}

#[test]
fn an_empty_program_says_why_there_is_nothing_to_draw() {
    let mut town = Town::new();
    town.open();
    for (path, sentences) in [
        ("/p/spring", vec!["no session was recorded up to this day", "Nothing was proposed yet"]),
        (
            "/p/spring/reciprocity",
            vec![
                "nobody taught anybody",
                "no pair has taught",
                "two months with sessions",
                "nobody said yet what they offer",
            ],
        ),
        ("/p/spring/retention", vec!["nobody started up to this day"]),
        ("/p/spring/pairs", vec!["No pair is like that"]),
        ("/p/spring/participants", vec!["Nobody is like that"]),
        ("/p/spring/suggestions", vec!["Nobody offers what somebody else seeks"]),
    ] {
        let answer = page(&mut town, path);
        for sentence in sentences {
            assert!(answer.text().contains(sentence), "{path}: {sentence}");
        }
        assert!(!answer.text().contains("<svg viewBox=\"0 0 720"), "{path} draws nothing");
    }
}

/// What a page says a figure is: its integers and its text.
fn figure(page: &str, name: &str) -> (u64, u64, String) {
    let from =
        page.find(&format!("data-figure=\"{name}\"")).unwrap_or_else(|| panic!("{name} is not on the page"));
    let rest = &page[from..];
    let attribute = |which: &str| -> u64 {
        let from = rest.find(which).unwrap() + which.len();
        rest[from..].split('"').next().unwrap().parse().unwrap()
    };
    let text = rest.split('>').nth(1).unwrap().split('<').next().unwrap();
    (attribute("data-numerator=\""), attribute("data-denominator=\""), text.to_owned())
}

fn assert_same(page: &str, name: &str, api: &Value) {
    let (numerator, denominator, text) = figure(page, name);
    assert_eq!(Some(numerator), api["numerator"].as_u64(), "{name}");
    assert_eq!(Some(denominator), api["denominator"].as_u64(), "{name}");
    let wanted = api["value"].as_f64().map_or("–".to_owned(), |value| format!("{:.1}%", value * 100.0));
    assert_eq!(text, wanted, "{name}");
}

#[test]
fn the_numbers_of_a_page_are_those_of_the_api() {
    let mut town = small();
    let size = town.size();
    let mut checked = 0;
    for time in [
        String::new(),
        "?as_of=2026-09-21".into(),
        format!("?known_at={}", size - 3),
        format!("?as_of=2026-09-22&known_at={}", size - 1),
    ] {
        let api = town.client.get(&format!("/v1/programs/spring/reciprocity{time}")).json();
        let reciprocity = page(&mut town, &format!("/p/spring/reciprocity{time}")).text().to_owned();
        let overview = page(&mut town, &format!("/p/spring{time}")).text().to_owned();
        for (name, at) in [
            ("weighted-reciprocity", "weighted_reciprocity"),
            ("two-way-pair-share", "two_way_pair_share"),
            ("generalised-reciprocity", "generalised_reciprocity"),
            ("indirect-reciprocity", "indirect_reciprocity"),
            ("cross-generation-share", "cross_generation_share"),
            ("reverse-share", "reverse_share"),
            ("dual-role-share", "dual_role_share"),
            ("value-reciprocity", "value_reciprocity"),
            ("teaching-gini", "teaching_gini"),
            ("confirmation-ratio", "confirmation_ratio"),
        ] {
            assert_same(&reciprocity, name, &api["figures"][at]);
            checked += 1;
        }
        for (name, at) in
            [("weighted-reciprocity", "weighted_reciprocity"), ("two-way-pair-share", "two_way_pair_share")]
        {
            assert_same(&overview, name, &api["figures"][at]);
        }
        let retention = page(&mut town, &format!("/p/spring/retention{time}")).text().to_owned();
        let api = town.client.get(&format!("/v1/programs/spring/retention{time}")).json();
        assert_same(&retention, "confirmation-ratio", &api["confirmation_ratio"]);
        let survived = api["strata"][0]["at"][0]["survival"].as_f64();
        if let Some(survived) = survived {
            assert!(retention.contains(&format!("{:.1}%", survived * 100.0)), "{time}");
        }
        if !time.contains("as_of") {
            let api = town.client.get(&format!("/v1/programs/spring/health{time}")).json();
            assert_same(&overview, "stalled-share", &api["pairs"]["stalled_share"]);
            assert_same(&overview, "early-closure", &api["pairs"]["early_closure"]);
            assert_same(&overview, "acceptance", &api["proposals"]["funnel"]["acceptance"]);
        }
    }
    assert_eq!(checked, 40);
}

#[test]
fn every_link_leads_somewhere_and_keeps_the_moment() {
    let mut town = small();
    until("a checkpoint", || (town.client.get("/log/spring/checkpoint").status == 200).then_some(()));
    let (mut waiting, mut seen) = (VecDeque::from(["/".to_owned()]), BTreeSet::new());
    let known = format!("/p/spring?as_of=2026-09-22&known_at={}", town.size() - 1);
    waiting.push_back(known.clone());
    let definitions = page(&mut town, "/definitions").text().to_owned();
    while let Some(path) = waiting.pop_front() {
        if !seen.insert(path.clone()) || seen.len() > 400 {
            continue;
        }
        let answer = town.client.get(&path);
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        if !answer.header("content-type").is_some_and(|media| media.starts_with("text/html")) {
            continue;
        }
        for link in answer.text().split("href=\"").skip(1).filter_map(|rest| rest.split('"').next()) {
            let link = link.replace("&amp;", "&");
            if let Some(anchor) = link.strip_prefix("/definitions#") {
                assert!(definitions.contains(&format!("id=\"{anchor}\"")), "{path}: no definition {anchor}");
            }
            let plain = link.split('#').next().unwrap_or_default().to_owned();
            if plain.starts_with('/') {
                waiting.push_back(plain);
            }
        }
    }
    assert!(seen.len() > 100, "{} pages were walked", seen.len());
    let moved = page(&mut town, &known).text().to_owned();
    let links = moved.split("href=\"/p/spring").skip(1).filter_map(|rest| rest.split('"').next());
    let kept = links
        .filter(|link| !link.is_empty())
        .map(|link| link.contains("known_at=") && link.contains("as_of=2026-09-22"));
    assert!(
        kept.clone().count() > 10 && kept.filter(|kept| !kept).count() <= 1,
        "only `Back to now` leaves the moment"
    );
}

#[test]
fn what_is_wrong_with_a_query_is_said_on_a_page() {
    let mut town = small();
    for (path, status, code) in [
        ("/p/nowhere", 404, "no-such-program"),
        ("/p/spring/pairs/00000000-0000-4000-8000-0000000000ff", 404, "not-found"),
        ("/p/spring/pairs/x", 404, "not-found"),
        ("/p/spring/participants/x", 404, "not-found"),
        ("/p/spring?as_of=2030-01-01", 400, "malformed-parameter"),
        ("/p/spring/reciprocity?known_at=999999", 400, "malformed-parameter"),
        ("/p/spring/history?type=no-such-type", 400, "malformed-parameter"),
        ("/p/spring/history?behind=x", 400, "malformed-parameter"),
        ("/p/spring/retention?by=arm", 400, "malformed-parameter"),
        ("/p/spring/pairs?colour=red", 400, "malformed-parameter"),
    ] {
        let answer = town.client.get(path);
        assert_eq!(answer.status, status, "{path}");
        assert_eq!(answer.header("content-type"), Some("text/html; charset=utf-8"), "{path}");
        assert_eq!(answer.header("content-security-policy"), Some(POLICY), "{path}");
        assert!(answer.text().contains(code), "{path}: {}", answer.text());
    }
    // A form sends its empty fields too.
    page(&mut town, "/p/spring/pairs?as_of=&known_at=&state=&order=idle");
}

#[test]
fn assets_are_kept_for_ever_under_the_name_of_their_content() {
    let mut town = small();
    let home = page(&mut town, "/").text().to_owned();
    let assets: Vec<String> =
        home.split('"').filter(|text| text.starts_with("/assets/")).map(str::to_owned).collect();
    assert_eq!(assets.len(), 2, "{assets:?}");
    for path in assets {
        let answer = town.client.get(&path);
        assert_eq!(answer.status, 200, "{path}");
        assert_eq!(answer.header("cache-control"), Some("public, max-age=31536000, immutable"));
        assert!(answer.body.len() < 40_000);
    }
    assert_eq!(town.client.get("/assets/0000000000000000.css").status, 404);
}

#[test]
fn the_history_is_paged_and_filtered_without_losing_a_line() {
    let mut town = small();
    let seqs = |text: &str| -> Vec<u64> {
        text.split("id=\"entry-")
            .skip(1)
            .map(|rest| rest.split('"').next().unwrap().parse().unwrap())
            .collect()
    };
    let all = seqs(page(&mut town, "/p/spring/history").text());
    let size = town.size();
    assert_eq!(all, (0..size).rev().collect::<Vec<_>>());
    let before = seqs(page(&mut town, "/p/spring/history?before=5").text());
    assert_eq!(before, [4, 3, 2, 1, 0]);
    let known = seqs(page(&mut town, "/p/spring/history?known_at=3").text());
    assert_eq!(known, [2, 1, 0]);
    let logged = seqs(page(&mut town, "/p/spring/history?type=session-logged").text());
    assert_eq!(logged.len(), 4);
    let pair = seqs(page(&mut town, &format!("/p/spring/history?about={}", id(PAIR))).text());
    let api = town.client.get(&format!("/v1/programs/spring/events?subject={}", id(PAIR))).json();
    let wanted: Vec<u64> =
        api["events"].as_array().unwrap().iter().map(|one| one["seq"].as_u64().unwrap()).collect();
    assert_eq!(pair, wanted);
    for figure in ["reciprocity", "retention"] {
        let behind = seqs(page(&mut town, &format!("/p/spring/history?behind={figure}")).text());
        let api = town.client.get(&format!("/v1/programs/spring/{figure}?explain=true")).json();
        let wanted: Vec<u64> =
            api["explain"]["seqs"].as_array().unwrap().iter().map(|seq| seq.as_u64().unwrap()).collect();
        assert_eq!(behind, wanted, "{figure}");
    }
}
