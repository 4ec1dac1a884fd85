//! The pages as a browser gets them: their markup, their headers, their links, and the numbers on them.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use mentorlog::http::edge::{Limits, Times};
use mentorlog::ledger::memory::MemoryLog;
use serde_json::{Value, json};

use crate::cli::run;
use crate::harness::{Answer, Service, until};
use crate::http::Town;

const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
     connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// What a page may weigh.
const WEIGHT: usize = 300_000;

fn id(n: u32) -> String {
    format!("00000000-0000-4000-8000-{n:012x}")
}

const PAIR: u32 = 0xf0;

/// Fourteen hours ahead of UTC: most of what is recorded is of another day there.
const ZONE: &str = "Pacific/Kiritimati";

/// Six people of four generations, three pairs - one met both ways, one one-way, one waits - and what can go wrong.
fn small() -> Town {
    let mut town = Town::new();
    let policy = json!({ "rules": { "term_days": 45 } });
    let body = json!({ "slug": "spring", "name": "Spring", "time_zone": ZONE, "policy": policy });
    assert_eq!(town.client.post("/v1/programs", &body).status, 201);
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

/// The same two months later, with everything that is counted apart: who is only observed, on a break or without a pair;
/// what was taken over from before the program was opened; a proposal declined and one that ran out; a pair that ended
/// early and one that stalled; sessions to confirm, old and new; two people who met again as another pair.
fn grown() -> Town {
    let mut town = small();
    let by = |n: u32| format!("participant:{}", id(n));
    for (n, arm) in [(0x2a, "comparison"), (0x2b, "comparison"), (0x2c, "program"), (0x2d, "program")] {
        town.done(
            "enrol",
            &json!({ "participant": id(n), "generation": "silent", "arm": arm, "offered": ["law"] }),
        );
    }
    town.done("take-break", &json!({ "participant": id(0x2d), "actor": by(0x2d) }));
    town.done(
        "import-pair",
        &json!({ "pair": id(0xf8), "a": id(0x1e), "b": id(0xc), "started_at": "2026-03-01T09:00:00Z" }),
    );
    for (n, teacher, at) in [(0xe8, 0x1e, "2026-03-05T23:00:00Z"), (0xe9, 0xc, "2026-04-30T12:00:00Z")] {
        town.done(
            "import-session",
            &json!({
                "session": id(n), "pair": id(0xf8), "occurred_at": at, "minutes": 45,
                "exchanges": [{ "teacher": id(teacher), "skill": "budgeting", "minutes": if n == 0xe8 { 40 } else { 30 }, "rating": 4 }],
            }),
        );
    }
    town.done("propose-pair", &json!({ "actor": by(0xb), "pair": id(0xf9), "a": id(0xb), "b": id(0xe) }));
    town.done("decline-pair", &json!({ "actor": by(0xe), "pair": id(0xf9) }));
    town.advance(40 * 86_400);
    town.done("end-pair", &json!({ "actor": by(0xc), "pair": id(PAIR + 1), "reason": "time-constraints", "occurred_at": "2026-10-30T12:00:00Z" }));
    town.done("propose-pair", &json!({ "actor": by(0xc), "pair": id(0xfa), "a": id(0xc), "b": id(0xd) }));
    town.done("accept-pair", &json!({ "actor": by(0xd), "pair": id(0xfa) }));
    town.advance(20 * 86_400);
    for (n, teacher, other, at) in
        [(0xea, 0xd, 0xc, "2026-11-15T11:00:00Z"), (0xeb, 0xc, 0xd, "2026-11-18T08:00:00Z")]
    {
        town.done("log-session", &json!({
            "actor": by(teacher), "session": id(n), "pair": id(0xfa), "occurred_at": at, "minutes": 70, "mode": "in-person",
            "exchanges": [
                { "teacher": id(teacher), "skill": "python", "minutes": 50 },
                { "teacher": id(other), "skill": "budgeting", "minutes": if n == 0xea { 15 } else { 20 } },
            ],
        }));
    }
    town.done("confirm-session", &json!({ "actor": by(0xd), "session": id(0xeb), "version": 1 }));
    town.done(
        "rate-exchange",
        &json!({ "actor": by(0xc), "session": id(0xea), "teacher": id(0xd), "skill": "python", "rating": 3 }),
    );
    town.done("void-session", &json!({ "session": id(0xe1) }));
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
        ("sessions", at("/sessions")),
        ("disputed", at("/sessions?waiting=disputed")),
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
    let page_of_figures = page(&mut town, "/p/spring/reciprocity?as_of=1970-01-01").text().to_owned();
    assert!(page_of_figures.contains("undefined: nothing was taught yet"));
    assert!(!page_of_figures.contains("there are no  to count"), "a figure without a unit");
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

fn percent(value: &Value) -> String {
    value.as_f64().map_or("–".to_owned(), |value| format!("{:.1}%", value * 100.0))
}

fn assert_same(page: &str, name: &str, api: &Value) {
    let (numerator, denominator, text) = figure(page, name);
    assert_eq!(Some(numerator), api["numerator"].as_u64(), "{name}");
    assert_eq!(Some(denominator), api["denominator"].as_u64(), "{name}");
    assert_eq!(text, percent(&api["value"]), "{name}");
}

/// Markup as somebody reads it: without tags, and without what only a screen reader says.
fn plain(markup: &str) -> String {
    let mut out = String::new();
    let mut hidden = markup.split("<span class=\"told\">");
    let first = hidden.next().unwrap_or_default().to_owned();
    let rest = hidden.map(|part| part.split_once("</span>").map_or("", |(_, rest)| rest));
    for part in std::iter::once(first.as_str()).chain(rest) {
        let mut pieces = part.split('<');
        out.push_str(pieces.next().unwrap_or_default());
        for piece in pieces {
            out.push_str(piece.split_once('>').map_or("", |(_, text)| text));
        }
    }
    out.replace("&amp;", "&")
}

/// The rows of a table, found by its caption, as text.
fn table(page: &str, caption: &str) -> Vec<Vec<String>> {
    let from = page.find(&format!("<caption>{caption}")).unwrap_or_else(|| panic!("no table `{caption}`"));
    let body = page[from..].split("<tbody>").nth(1).unwrap().split("</tbody>").next().unwrap();
    let rows = body.split("<tr>").skip(1).map(|row| {
        let row = row.replace("<th", "\u{1}<th").replace("<td", "\u{1}<td");
        row.split('\u{1}').skip(1).map(plain).collect()
    });
    rows.collect()
}

/// The text between two marks.
fn between<'a>(page: &'a str, from: &str, to: &str) -> &'a str {
    let rest = page.split_once(from).unwrap_or_else(|| panic!("no {from}")).1;
    rest.split_once(to).unwrap_or_else(|| panic!("no {to}")).0
}

fn lead(page: &str) -> String {
    plain(between(page, "<p class=\"lead\">", "</p>"))
}

/// The figure that a `number` shows: its text, and what it says it rests on.
fn shown(page: &str, name: &str) -> (String, String) {
    let stat = between(page, &format!(">{name}</a></dt>"), "</dd>");
    let value = stat.split("data-figure=").nth(1).unwrap();
    let value = value.split('>').nth(1).unwrap().split('<').next().unwrap();
    let says = stat.split("<span class=\"of\">").nth(1).unwrap();
    (value.to_owned(), plain(says))
}

fn n(value: &Value) -> u64 {
    value.as_u64().unwrap_or_else(|| panic!("{value} is no number"))
}

fn items(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// `1 pair`, `2 pairs`.
fn of(number: u64, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}

/// The moments at which the numbers are compared: now, an earlier day, before the program was opened, earlier sizes, the
/// end of an earlier day.
fn moments(town: &mut Town) -> Vec<String> {
    let size = town.size();
    vec![
        String::new(),
        "?as_of=2026-09-23".into(),
        "?as_of=2026-04-01".into(),
        format!("?known_at={}", size - 3),
        format!("?as_of=2026-11-01&known_at={}", size - 1),
        "?known_at=2026-10-31".into(),
    ]
}

fn api(town: &mut Town, path: &str, time: &str) -> Value {
    let mark = if path.contains('?') { time.replace('?', "&") } else { time.to_owned() };
    let answer = town.client.get(&format!("/v1/programs/spring{path}{mark}"));
    assert_eq!(answer.status, 200, "{path}{time}: {}", answer.text());
    answer.json()
}

#[test]
fn the_numbers_of_the_overview_are_those_of_the_api() {
    let mut town = grown();
    for time in moments(&mut town) {
        let overview = page(&mut town, &format!("/p/spring{time}")).text().to_owned();
        let (reciprocity, retention) =
            (api(&mut town, "/reciprocity", &time), api(&mut town, "/retention", &time));
        for (name, at) in [
            ("weighted-reciprocity", "weighted_reciprocity"),
            ("two-way-pair-share", "two_way_pair_share"),
            ("cross-generation-share", "cross_generation_share"),
            ("confirmation-ratio", "confirmation_ratio"),
        ] {
            assert_same(&overview, name, &reciprocity["figures"][at]);
        }
        let all = &retention["strata"][0];
        let half = items(&all["at"]).iter().find(|point| point["day"] == 180);
        let (value, says) = shown(&overview, "Pairs that last half a year");
        assert_eq!(value, half.map_or("–".to_owned(), |half| percent(&half["survival"])), "{time}");
        if half.is_some_and(|half| half["survival"].is_number()) {
            let by: u64 = items(&all["curve"])
                .iter()
                .filter(|one| n(&one["day"]) <= 180)
                .map(|one| n(&one["events"]))
                .sum();
            assert!(says.contains(&format!("{by} of {} pairs ended by then", all["n"])), "{time}: {says}");
        }
        // Every month of the chart is that month of the API.
        if reciprocity["sessions"] != 0 {
            let mut sum = 0;
            for row in table(&overview, "Sessions per month") {
                sum += row[1].parse::<u64>().unwrap();
            }
            assert_eq!(sum, n(&reciprocity["sessions"]), "{time}");
        }
        let lead = lead(&overview);
        if time.contains("as_of") {
            let wanted = format!(
                "{} had been there, {} had started, and {}",
                of(n(&reciprocity["enrolled"]), "person", "people"),
                of(all["n"].as_u64().unwrap_or(0), "pair", "pairs"),
                of(n(&reciprocity["sessions"]), "session", "sessions")
            );
            assert!(lead.contains(&wanted), "{time}: {wanted}; {lead}");
            assert!(!overview.contains("data-figure=\"stalled-share\""), "{time}");
            assert!(!overview.contains("To act on today"), "{time}");
            continue;
        }
        let health = api(&mut town, "/health", &time);
        let (people, pairs, proposals, confirmation) =
            (&health["participants"], &health["pairs"], &health["proposals"], &health["confirmation"]);
        let take_part = of(n(&people["enrolled"]), "person takes part", "people take part");
        let wanted = [
            take_part,
            format!("{} on a break", of(n(&people["on_break"]), "is", "are")),
            of(n(&pairs["active"]), "pair is active", "pairs are active"),
            of(n(&reciprocity["sessions"]), "session so far", "sessions so far"),
        ];
        for wanted in wanted {
            assert!(lead.contains(&wanted), "{time}: {wanted}; {lead}");
        }
        assert!(lead.contains("2 are only observed"), "{time}: {lead}");
        assert_same(&overview, "stalled-share", &pairs["stalled_share"]);
        assert_same(&overview, "early-closure", &pairs["early_closure"]);
        assert_same(&overview, "acceptance", &proposals["funnel"]["acceptance"]);
        let acts = plain(between(&overview, "<ul class=\"acts\">", "</section>"));
        let short =
            items(&health["skills"]).iter().filter(|skill| skill["supply_gap"].as_i64() > Some(0)).count();
        for (number, one, many) in [
            (n(&pairs["stalled"]["count"]), "stalled pair", "stalled pairs"),
            (n(&proposals["unanswered"]["count"]), "proposal waits", "proposals wait"),
            (n(&confirmation["backlog"]["count"]), "session to confirm", "sessions to confirm"),
            (n(&people["unpaired"]), "person without a pair", "people without a pair"),
            (n(&confirmation["disputed"]), "session in dispute", "sessions in dispute"),
            (short as u64, "skill in short supply", "skills in short supply"),
        ] {
            let wanted = format!("{number}{}", if number == 1 { one } else { many });
            assert!(acts.contains(&wanted), "{time}: {wanted}; {acts}");
        }
        for one in items(&pairs["stalled"]["items"]) {
            assert!(
                acts.contains(&format!("idle for {}", of(n(&one["days"]), "day", "days"))),
                "{time}: {acts}"
            );
        }
        let funnel = &proposals["funnel"];
        let names =
            ["proposed", "activated", "met", "waiting", "declined", "withdrawn", "expired", "invalidated"];
        let counts: Vec<String> = names.iter().map(|name| funnel[name].to_string()).collect();
        let said: Vec<String> =
            table(&overview, "What became of proposals").into_iter().map(|row| row[1].clone()).collect();
        assert_eq!(said, counts, "{time}");
    }
    let health = api(&mut town, "/health", "");
    assert_eq!(
        (n(&health["pairs"]["stalled"]["count"]), n(&health["participants"]["unpaired"])),
        (2, 1),
        "{health}"
    );
}

#[test]
fn the_numbers_of_reciprocity_are_those_of_the_api() {
    let mut town = grown();
    let mut checked = 0;
    for time in moments(&mut town) {
        let api = api(&mut town, "/reciprocity", &time);
        let reciprocity = page(&mut town, &format!("/p/spring/reciprocity{time}")).text().to_owned();
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
        let time_to = &api["time_to_reciprocation"];
        let (value, says) = shown(&reciprocity, "Until something comes back");
        if n(&time_to["n"]) > 0 {
            assert!(
                says.contains(&format!("{} of {} pairs", time_to["events"], time_to["n"])),
                "{time}: {says}"
            );
        }
        assert_eq!(
            value,
            time_to["median"].as_u64().map_or("–".into(), |days| of(days, "day", "days")),
            "{time}"
        );
        if !items(&api["flow"]).is_empty() {
            let rows = table(&reciprocity, "Minutes by generation");
            let wanted: Vec<[String; 2]> = items(&api["flow"])
                .iter()
                .map(|cell| [cell["minutes"].to_string(), cell["people"].to_string()])
                .collect();
            let said: Vec<[String; 2]> = rows.iter().map(|row| [row[2].clone(), row[4].clone()]).collect();
            assert_eq!(said, wanted, "{time}");
            let pairs: u64 = table(&reciprocity, "Pairs by balance")
                .iter()
                .map(|row| row[3].parse::<u64>().unwrap())
                .sum();
            assert_eq!(pairs, n(&api["figures"]["two_way_pair_share"]["denominator"]), "{time}");
        }
        let skills = table(&reciprocity, "Skills, most taught first");
        assert_eq!(skills.len(), items(&api["skills"]).len(), "{time}");
        for skill in items(&api["skills"]) {
            let name = skill["skill"].as_str().unwrap().replace('-', " ");
            let row = skills.iter().find(|row| row[0].to_lowercase() == name).unwrap();
            assert_eq!(
                row[2..5],
                ["exchanges", "offered", "sought"].map(|field| skill[field].to_string()),
                "{time} {name}"
            );
            let rating = skill["mean_rating"].as_f64().filter(|_| n(&skill["ratings"]) > 0);
            assert_eq!(
                row[7],
                rating.map_or("–".into(), |mean| format!("{mean:.1} ({})", skill["ratings"])),
                "{time} {name}"
            );
        }
    }
    assert_eq!(checked, 60);
}

#[test]
fn the_numbers_of_retention_are_those_of_the_api() {
    let mut town = grown();
    for time in moments(&mut town) {
        for view in [
            "",
            "?basis=activity",
            "?by=generation",
            "?by=cohort",
            "?by=reciprocity",
            "?subject=participants",
            "?subject=participants&by=generation",
            "?subject=participants&by=arm",
            "?subject=participants&basis=activity",
        ] {
            let query =
                format!("{view}{}", if view.is_empty() { time.clone() } else { time.replace('?', "&") });
            let api = api(&mut town, "/retention", &query);
            let retention = page(&mut town, &format!("/p/spring/retention{query}")).text().to_owned();
            assert_same(&retention, "confirmation-ratio", &api["confirmation_ratio"]);
            let strata: Vec<&Value> = items(&api["strata"]).iter().filter(|one| n(&one["n"]) > 0).collect();
            let (lives, ended) = strata
                .iter()
                .fold((0, 0), |(lives, ended), one| (lives + n(&one["n"]), ended + n(&one["events"])));
            let lead = lead(&retention);
            if lives == 0 {
                assert!(
                    lead.contains("Nobody started") || lead.contains("none has lasted longer"),
                    "{query}: {lead}"
                );
                continue;
            }
            assert!(
                lead.contains(&lives.to_string()) && lead.contains(&format!("{ended} ")),
                "{query}: {lead}"
            );
            let watched = strata
                .iter()
                .flat_map(|one| items(&one["curve"]))
                .map(|point| n(&point["day"]))
                .max()
                .unwrap();
            if watched > 0 {
                let since =
                    api["landmark_days"].as_u64().map_or("the start".to_owned(), |day| format!("day {day}"));
                let rows = table(&retention, &format!("The curve at some days since {since}"));
                let wanted: Vec<[String; 5]> = strata
                    .iter()
                    .flat_map(|one| items(&one["at"]))
                    .map(|point| {
                        let at_risk =
                            point["at_risk"].as_u64().map_or("–".to_owned(), |at_risk| at_risk.to_string());
                        [
                            point["day"].to_string(),
                            percent(&point["survival"]),
                            percent(&point["lower"]),
                            percent(&point["upper"]),
                            at_risk,
                        ]
                    })
                    .collect();
                let said: Vec<&[String]> = rows.iter().map(|row| &row[1..]).collect();
                assert_eq!(said, wanted.iter().map(<[String; 5]>::as_slice).collect::<Vec<_>>(), "{query}");
            }
            let cohorts = table(&retention, "Share still there, and of how many");
            assert_eq!(cohorts.len(), items(&api["cohorts"]).len(), "{query}");
            for (row, cohort) in cohorts.iter().zip(items(&api["cohorts"])) {
                assert_eq!(row[1], cohort["n"].to_string(), "{query}");
                for (cell, at) in row[2..].iter().zip(items(&cohort["at"])) {
                    let kept = &at["retained"];
                    let wanted = match kept["value"].as_f64() {
                        None => "–".to_owned(),
                        Some(value) => {
                            format!("{:.0}%{} of {}", value * 100.0, kept["numerator"], kept["denominator"])
                        }
                    };
                    assert_eq!(*cell, wanted, "{query}");
                }
            }
        }
    }
    // Days after a landmark are not days since the start.
    let landmark = page(&mut town, "/p/spring/retention?by=reciprocity").text().to_owned();
    let all = api(&mut town, "/retention", "");
    let longest = items(&all["strata"][0]["curve"]).iter().map(|point| n(&point["day"])).max().unwrap();
    assert!(lead(&landmark).contains(&format!("longest for {longest} days")), "{}", lead(&landmark));
    assert!(landmark.contains("days since day 30; below"), "the axis");
    // Whoever changed arm is one person.
    town.done("change-arm", &json!({ "participant": id(0x2c), "arm": "comparison" }));
    town.advance(86_400);
    let people = n(&api(&mut town, "/retention?subject=participants", "")["strata"][0]["n"]);
    let arms = page(&mut town, "/p/spring/retention?subject=participants&by=arm").text().to_owned();
    assert!(lead(&arms).contains(&format!("{people} people in {} stays", people + 1)), "{}", lead(&arms));
}

#[test]
fn the_numbers_of_lists_and_of_single_pairs_and_people_are_those_of_the_api() {
    let mut town = grown();
    let hours = |minutes: u64| {
        if minutes < 120 { format!("{minutes} min") } else { format!("{} h", (minutes + 30) / 60) }
    };
    let pairs = page(&mut town, "/p/spring/pairs").text().to_owned();
    let all = api(&mut town, "/pairs?limit=100", "");
    let rows = table(&pairs, "Pairs; minutes");
    assert_eq!(rows.len(), items(&all["items"]).len());
    assert!(lead(&pairs).starts_with(&format!("{} pairs", rows.len())), "{}", lead(&pairs));
    for pair in items(&all["items"]) {
        let uuid = pair["pair"].as_str().unwrap().to_owned();
        let row = rows.iter().find(|row| row[0].ends_with(&uuid[30..])).unwrap();
        assert_eq!(row[5], pair["sessions"]["live"].to_string(), "{uuid}");
        let (there, back) = (n(&pair["minutes"]["a_to_b"]), n(&pair["minutes"]["b_to_a"]));
        let taught =
            if there + back == 0 { "–".to_owned() } else { format!("{} / {}", hours(there), hours(back)) };
        assert_eq!(row[6], taught, "{uuid}");
        let one = page(&mut town, &format!("/p/spring/pairs/{uuid}")).text().to_owned();
        assert_same(&one, "pair-balance", &api(&mut town, &format!("/pairs/{uuid}"), "")["balance"]);
        assert_eq!(shown(&one, "Sessions").0, pair["sessions"]["live"].to_string(), "{uuid}");
    }
    // What is idle is idle for as long as the page of health says.
    let health = api(&mut town, "/health", "");
    let stalled = table(page(&mut town, "/p/spring/pairs?stalled=true").text(), "Pairs; minutes");
    let idle: Vec<String> = items(&health["pairs"]["stalled"]["items"])
        .iter()
        .map(|one| of(n(&one["days"]), "day", "days"))
        .collect();
    assert_eq!(stalled.iter().map(|row| row[3].clone()).collect::<Vec<_>>(), idle);

    let people = page(&mut town, "/p/spring/participants").text().to_owned();
    let all = api(&mut town, "/participants?limit=100", "");
    let rows = table(&people, "People; minutes");
    assert_eq!(rows.len(), items(&all["items"]).len());
    for person in items(&all["items"]) {
        let uuid = person["participant"].as_str().unwrap().to_owned();
        let row = rows.iter().find(|row| row[0].ends_with(&uuid[30..])).unwrap();
        let (taught, learned) = (n(&person["taught"]["minutes"]), n(&person["learned"]["minutes"]));
        assert_eq!(
            row[6..],
            [person["pairs"]["open"].to_string(), format!("{} / {}", hours(taught), hours(learned))],
            "{uuid}"
        );
        let one = page(&mut town, &format!("/p/spring/participants/{uuid}")).text().to_owned();
        assert_same(&one, "pair-balance", &api(&mut town, &format!("/participants/{uuid}"), "")["balance"]);
        assert_eq!(
            (shown(&one, "Taught").0, shown(&one, "Learned").0),
            (hours(taught), hours(learned)),
            "{uuid}"
        );
        assert_eq!(shown(&one, "Sessions").0, person["sessions"].to_string(), "{uuid}");
    }
    // Each list that a number leads to is as long as the number says.
    let (participants, confirmation) = (&health["participants"], &health["confirmation"]);
    for (path, number) in [
        ("/participants?state=enrolled&arm=program", n(&participants["enrolled"])),
        ("/participants?state=on-break&arm=program", n(&participants["on_break"])),
        ("/participants?state=enrolled&arm=comparison", 2),
        ("/participants?unpaired=true", n(&participants["unpaired"])),
        ("/pairs?state=active", n(&health["pairs"]["active"])),
        ("/pairs?stalled=true", n(&health["pairs"]["stalled"]["count"])),
        ("/pairs?state=declined", n(&health["proposals"]["funnel"]["declined"])),
        ("/sessions", n(&confirmation["backlog"]["count"])),
        ("/sessions?waiting=disputed", n(&confirmation["disputed"])),
    ] {
        let list = page(&mut town, &format!("/p/spring{path}")).text().to_owned();
        let rows = list.split("<tbody>").nth(1).map_or(0, |body| body.matches("<tr>").count() as u64);
        assert_eq!(rows, number, "{path}");
        assert!(lead(&list).starts_with(&format!("{number} ")), "{path}: {}", lead(&list));
    }
    let waiting = table(page(&mut town, "/p/spring/sessions").text(), "Sessions to confirm");
    let backlog: Vec<u64> =
        items(&confirmation["backlog"]["items"]).iter().map(|one| n(&one["days"])).collect();
    assert!(
        backlog.len() > 1
            && backlog.is_sorted_by(|one, other| one >= other)
            && waiting.len() == backlog.len()
    );
    let last = table(page(&mut town, "/p/spring/sessions?order=newest").text(), "Sessions to confirm");
    assert_eq!(last, waiting.into_iter().rev().collect::<Vec<_>>());

    let suggestions = api(&mut town, "/suggestions", "");
    let suggested = page(&mut town, "/p/spring/suggestions").text().to_owned();
    let rows = table(&suggested, "Suggestions, best first");
    let scores: Vec<String> =
        items(&suggestions["items"]).iter().map(|one| one["score"].to_string()).collect();
    assert!(!scores.is_empty());
    assert_eq!(rows.into_iter().map(|row| row[5].clone()).collect::<Vec<_>>(), scores);
    assert!(
        lead(&suggested).contains(&format!("Of {} people", suggestions["people"])),
        "{}",
        lead(&suggested)
    );
}

#[test]
fn the_published_numbers_are_those_that_are_published() {
    for k in [5, 1] {
        let mut town = grown();
        if k != 5 {
            town.done("change-policy", &json!({ "measures": { "k_anonymity": k } }));
        }
        town.advance(8 * 86_400);
        let answer = api(&mut town, "/published-figures", "");
        let week = answer["published"]["week"].as_str().unwrap().to_owned();
        let earlier = page(&mut town, "/p/spring/published").text().to_owned();
        for (query, path) in
            [(String::new(), String::new()), (format!("?week={week}"), "?as_of=2026-11-29".to_owned())]
        {
            let api = &api(&mut town, "/published-figures", &query)["published"];
            let published = page(&mut town, &format!("/p/spring/published{path}")).text().to_owned();
            assert_eq!(published.contains(&week), earlier.contains(&week));
            let mut withheld = 0;
            for (name, at) in [
                ("weighted-reciprocity", "weighted_reciprocity"),
                ("two-way-pair-share", "two_way_pair_share"),
                ("generalised-reciprocity", "generalised_reciprocity"),
                ("cross-generation-share", "cross_generation_share"),
                ("reverse-share", "reverse_share"),
                ("dual-role-share", "dual_role_share"),
                ("value-reciprocity", "value_reciprocity"),
                ("confirmation-ratio", "confirmation_ratio"),
            ] {
                let figure = &api["figures"][at];
                if figure["numerator"].is_null() || figure["denominator"].is_null() {
                    let value = between(&published, &format!("data-figure=\"{name}\""), "</span>")
                        .rsplit('>')
                        .next()
                        .unwrap();
                    assert_eq!(value, "withheld", "{name}");
                    withheld += 1;
                } else {
                    assert_same(&published, name, figure);
                }
            }
            assert_eq!(withheld > 0, k > 1, "{withheld} of k = {k}");
            let rows = table(&published, "Sessions");
            for row in rows {
                let wanted = &api["sessions"][row[0].to_lowercase().replace(' ', "-")];
                let said =
                    if row[1] == "withheld" { Value::Null } else { row[1].parse::<u64>().unwrap().into() };
                assert_eq!(said, *wanted, "{row:?} of {api}");
            }
        }
    }
}

#[test]
fn history_and_audit_count_the_entries_that_there_are() {
    let mut town = grown();
    until("a checkpoint", || (town.client.get("/log/spring/checkpoint").status == 200).then_some(()));
    let size = town.size();
    let root = |town: &mut Town, size: u64| {
        let answer = town.client.get(&format!("/v1/programs/spring/reciprocity?known_at={size}")).json();
        answer["known_at"]["root"].as_str().unwrap().to_owned()
    };
    for then in [size, size - 4, 3] {
        let audit = page(&mut town, &format!("/p/spring/audit?known_at={then}")).text().to_owned();
        let history = page(&mut town, &format!("/p/spring/history?known_at={then}")).text().to_owned();
        let root = root(&mut town, then);
        assert!(
            audit.contains(&format!(
                "<dt>Entries</dt><dd>{then}</dd><dt>Root</dt><dd><code class=\"hash\">{root}</code>"
            )),
            "{then}"
        );
        assert!(
            history.contains(&format!("Ledger of {then} entries, root <code class=\"hash\">{root}</code>")),
            "{then}"
        );
        assert_eq!(history.matches("<span class=\"seq\"").count() as u64, then.min(50));
        let proof = format!("/v1/programs/spring/proofs/consistency?old={then}&amp;new={size}");
        assert_eq!(audit.contains(&proof), then < size, "{then}");
        if then < size {
            let proof = town.client.get(&proof.replace("&amp;", "&"));
            assert_eq!((proof.status, proof.json()["new"].as_u64()), (200, Some(size)), "{}", proof.text());
        }
    }
    let by_day = page(&mut town, "/p/spring/audit?known_at=2026-09-22").text().to_owned();
    assert!(by_day.contains("Where it stood then") && by_day.contains("Where it stands now"));
    // What was recorded is told with date and clock of one zone, and apart from it the day it counts for.
    let first = page(&mut town, "/p/spring/history?before=1").text().to_owned();
    let when = plain(between(&first, "<span class=\"when\">", "</span>"));
    assert_eq!(when, "21 Sep 202614:13:20 UTCcounts as 22 Sep 2026");
}
/// Positions of the lines of the history, over all its pages.
fn lines(town: &mut Town, path: &str) -> Vec<u64> {
    let (mut seqs, mut next) = (Vec::new(), Some(path.to_owned()));
    while let Some(path) = next {
        let history = page(town, &path).text().to_owned();
        let of_page =
            history.split("id=\"entry-").skip(1).map(|rest| rest.split('"').next().unwrap().parse().unwrap());
        seqs.extend::<Vec<u64>>(of_page.collect());
        next = history
            .split("rel=\"next\" href=\"")
            .nth(1)
            .map(|rest| rest.split('"').next().unwrap().replace("&amp;", "&"));
    }
    seqs
}

/// The teacher, minutes and quarter-minutes of an exchange.
type Counted = (String, u64, u64);

/// What a list of events adds up to when somebody counts it again, as the definitions say.
struct Recount {
    /// Live sessions that are named: their pair's two people, and their exchanges.
    sessions: Vec<(Value, Vec<Counted>)>,
    pairs: BTreeSet<String>,
    people: BTreeSet<String>,
}

impl Recount {
    fn of(town: &mut Town, seqs: &[u64]) -> Self {
        let events = town.client.get("/v1/programs/spring/events?limit=1000").json();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let (mut sessions, mut pairs, mut people) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
        for event in items(&events["events"]).iter().filter(|event| seqs.contains(&n(&event["seq"]))) {
            let data = &event["data"];
            match event["type"].as_str().unwrap() {
                "participant-enrolled" => drop(people.insert(text(&data["participant"]))),
                "session-logged" => drop(sessions.insert(text(&data["session"]))),
                name if name.starts_with("pair-") || name.starts_with("proposal-") => {
                    pairs.insert(text(&data["pair"]));
                }
                _ => {}
            }
        }
        let sessions = sessions.iter().map(|session| {
            let session = town.client.get(&format!("/v1/programs/spring/sessions/{session}")).json();
            let exchanges = items(&session["exchanges"]).iter().map(|one| {
                let minutes = n(&one["minutes"]);
                let rating = one["rating"].as_u64();
                (text(&one["teacher"]), minutes, minutes * rating.map_or(0, |rating| rating - 1))
            });
            let exchanges = exchanges.collect();
            (session, exchanges)
        });
        Self { sessions: sessions.collect(), pairs, people }
    }

    /// Every two people with what each taught the other: minutes, or what they were worth.
    fn of_two(&self, worth: bool) -> Vec<[u64; 2]> {
        let mut sums: BTreeMap<[String; 2], [u64; 2]> = BTreeMap::new();
        for (session, exchanges) in &self.sessions {
            let learner = |teacher: &str| {
                let all = items(&session["exchanges"]);
                all.iter().find(|one| one["teacher"] == teacher).unwrap()["learner"]
                    .as_str()
                    .unwrap()
                    .to_owned()
            };
            for (teacher, minutes, quarters) in exchanges {
                let mut two = [teacher.clone(), learner(teacher)];
                two.sort();
                let side = usize::from(two[0] != *teacher);
                sums.entry(two).or_default()[side] += if worth { *quarters } else { *minutes };
            }
        }
        sums.into_values().collect()
    }

    /// What each taught and learned.
    fn of_people(&self) -> Vec<[u64; 2]> {
        let mut sums: BTreeMap<String, [u64; 2]> = BTreeMap::new();
        for (session, _) in &self.sessions {
            for one in items(&session["exchanges"]) {
                for (side, who) in ["teacher", "learner"].into_iter().enumerate() {
                    sums.entry(one[who].as_str().unwrap().to_owned()).or_default()[side] +=
                        n(&one["minutes"]);
                }
            }
        }
        sums.into_values().collect()
    }

    fn minutes(&self) -> u64 {
        self.sessions.iter().flat_map(|(_, exchanges)| exchanges).map(|(_, minutes, _)| minutes).sum()
    }

    fn quarters(&self) -> u64 {
        self.sessions.iter().flat_map(|(_, exchanges)| exchanges).map(|(_, _, quarters)| quarters).sum()
    }
}

#[test]
fn whoever_counts_the_events_behind_a_figure_comes_to_its_integers() {
    let mut town = grown();
    let people = api(&mut town, "/participants?limit=100", "");
    let age: BTreeMap<String, usize> = items(&people["items"])
        .iter()
        .map(|one| {
            let order = ["silent", "boomer", "gen-x", "millennial", "gen-z", "unknown"];
            let age = order.iter().position(|name| one["generation"] == *name).unwrap();
            (one["participant"].as_str().unwrap().to_owned(), age)
        })
        .collect();
    let (reciprocity, health) = (api(&mut town, "/reciprocity", ""), api(&mut town, "/health", ""));
    let retention = api(&mut town, "/retention", "");
    let both = |of: &[[u64; 2]]| of.iter().filter(|[a, b]| *a > 0 && *b > 0).count() as u64;
    let least = |of: &[[u64; 2]]| of.iter().map(|[a, b]| a.min(b)).sum::<u64>();
    let figure = |name: &str| reciprocity["figures"][name].clone();
    let shares = [
        ("weighted-reciprocity", figure("weighted_reciprocity")),
        ("generalised-reciprocity", figure("generalised_reciprocity")),
        ("indirect-reciprocity", figure("indirect_reciprocity")),
        ("two-way-pair-share", figure("two_way_pair_share")),
        ("dual-role-share", figure("dual_role_share")),
        ("cross-generation-share", figure("cross_generation_share")),
        ("reverse-share", figure("reverse_share")),
        ("value-reciprocity", figure("value_reciprocity")),
        ("teaching-gini", figure("teaching_gini")),
        ("confirmation-ratio", figure("confirmation_ratio")),
        (
            "time-to-reciprocation",
            json!({ "numerator": reciprocity["time_to_reciprocation"]["events"], "denominator": reciprocity["time_to_reciprocation"]["n"] }),
        ),
        ("early-closure", health["pairs"]["early_closure"].clone()),
        ("acceptance", health["proposals"]["funnel"]["acceptance"].clone()),
        (
            "proposals",
            json!({ "numerator": health["proposals"]["funnel"]["met"], "denominator": health["proposals"]["funnel"]["proposed"] }),
        ),
        ("sessions", json!({ "numerator": reciprocity["sessions"], "denominator": reciprocity["sessions"] })),
        (
            "retention",
            json!({ "numerator": retention["strata"][0]["events"], "denominator": retention["strata"][0]["n"] }),
        ),
    ];
    for (name, api) in &shares {
        for part in ["numerator", "denominator"] {
            let part_of = if *name == "retention" && part == "denominator" {
                String::new()
            } else {
                format!("&part={part}")
            };
            let seqs = lines(&mut town, &format!("/p/spring/history?behind={name}{part_of}"));
            let recount = Recount::of(&mut town, &seqs);
            let across = |session: &Value, exchange: &(String, u64, u64)| -> Option<[usize; 2]> {
                let one =
                    items(&session["exchanges"]).iter().find(|one| one["teacher"] == exchange.0).unwrap();
                let ages = [age[&exchange.0], age[one["learner"].as_str().unwrap()]];
                (!ages.contains(&5)).then_some(ages)
            };
            let flows: Vec<([usize; 2], u64)> = recount
                .sessions
                .iter()
                .flat_map(|(session, exchanges)| exchanges.iter().map(move |one| (session, one)))
                .filter_map(|(session, one)| Some((across(session, one)?, one.1)))
                .collect();
            let minutes = |takes: &dyn Fn([usize; 2]) -> bool| {
                flows.iter().filter(|(ages, _)| takes(*ages)).map(|(_, minutes)| minutes).sum::<u64>()
            };
            let counted = match (*name, part) {
                ("weighted-reciprocity", "numerator") => 2 * least(&recount.of_two(false)),
                ("generalised-reciprocity", "numerator") => least(&recount.of_people()),
                ("indirect-reciprocity", "numerator") => {
                    least(&recount.of_people()) - 2 * least(&recount.of_two(false))
                }
                ("weighted-reciprocity" | "generalised-reciprocity" | "indirect-reciprocity", _) => {
                    recount.minutes()
                }
                ("two-way-pair-share" | "time-to-reciprocation", "numerator") => both(&recount.of_two(false)),
                ("two-way-pair-share" | "time-to-reciprocation", _) => recount.of_two(false).len() as u64,
                ("dual-role-share", "numerator") => both(&recount.of_people()),
                ("dual-role-share", _) => recount.people.len() as u64,
                ("cross-generation-share", "numerator") | ("reverse-share", "denominator") => {
                    minutes(&|[a, b]| a != b)
                }
                ("cross-generation-share", _) => minutes(&|_| true),
                ("reverse-share", _) => minutes(&|[a, b]| a > b),
                ("value-reciprocity", "numerator") => 2 * least(&recount.of_two(true)),
                ("value-reciprocity", _) => recount.quarters(),
                ("teaching-gini", "denominator") => {
                    // n times what was taught: the people are here, the minutes are behind the numerator.
                    recount.people.len() as u64 * n(&figure("weighted_reciprocity")["denominator"])
                }
                ("teaching-gini", _) => {
                    let taught: Vec<u64> = recount.of_people().iter().map(|[taught, _]| *taught).collect();
                    let among: u64 =
                        taught.iter().flat_map(|a| taught.iter().map(|b| a.abs_diff(*b))).sum::<u64>() / 2;
                    let without = n(&figure("dual_role_share")["denominator"]) - taught.len() as u64;
                    among + without * taught.iter().sum::<u64>()
                }
                ("confirmation-ratio" | "sessions", _) => recount.sessions.len() as u64,
                (_, _) => recount.pairs.len() as u64,
            };
            assert_eq!(counted, n(&api[part]), "{part} of {name}: {seqs:?}");
        }
        assert!(n(&api["denominator"]) > 0 && n(&api["numerator"]) > 0, "{name} says nothing: {api}");
    }
    // Each of them is linked to from the page that shows it, and none leads anywhere else.
    let mut linked = BTreeSet::new();
    for path in ["/p/spring", "/p/spring/reciprocity", "/p/spring/retention"] {
        let text = page(&mut town, path).text().to_owned();
        linked.extend(
            text.split("behind=").skip(1).map(|rest| rest.split(['&', '"']).next().unwrap().to_owned()),
        );
    }
    assert_eq!(linked, shares.iter().map(|(name, _)| (*name).to_owned()).collect());
}

#[test]
fn the_numbers_of_a_page_are_those_that_measure_finds_in_the_table() {
    let mut town = grown();
    let dir = tempfile::tempdir().unwrap();
    let exported = town.client.get("/v1/programs/spring/sessions.csv?state=live");
    let file = dir.path().join("sessions.csv");
    std::fs::write(&file, exported.text()).unwrap();
    let measured = run(&["measure", file.to_str().unwrap(), "--as-of", "2026-11-22", "--format", "json"], 0);
    let measured: Value = serde_json::from_slice(&measured.stdout).unwrap();
    let reciprocity = page(&mut town, "/p/spring/reciprocity").text().to_owned();
    for (name, at) in [
        ("weighted-reciprocity", "weighted_reciprocity"),
        ("two-way-pair-share", "two_way_pair_share"),
        ("generalised-reciprocity", "generalised_reciprocity"),
        ("indirect-reciprocity", "indirect_reciprocity"),
        ("cross-generation-share", "cross_generation_share"),
        ("reverse-share", "reverse_share"),
        ("value-reciprocity", "value_reciprocity"),
    ] {
        assert!(n(&measured["figures"][at]["denominator"]) > 0, "{name}");
        assert_same(&reciprocity, name, &measured["figures"][at]);
    }
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
        ("/p/spring/pairs?participant=00000000-0000-4000-8000-0000000000ff", 404, "not-found"),
        ("/p/spring/participants?generation=gen-q", 404, "not-found"),
        ("/p/spring/participants?arm=left", 400, "malformed-parameter"),
        ("/p/spring/sessions?waiting=x", 400, "malformed-parameter"),
        ("/p/spring/sessions?order=oldest", 400, "malformed-parameter"),
        ("/p/spring/history?behind=acceptance&part=all", 400, "malformed-parameter"),
        ("/p/spring/history?behind=acceptance&type=session-logged", 400, "malformed-parameter"),
        (
            "/p/spring/history?behind=reciprocity&about=00000000-0000-4000-8000-0000000000f0",
            400,
            "malformed-parameter",
        ),
        ("/p/spring/history?behind=acceptance&subject=pairs", 400, "malformed-parameter"),
        ("/p/spring/history?part=numerator", 400, "malformed-parameter"),
        ("/p/spring/history?basis=activity", 400, "malformed-parameter"),
        ("/p/spring/audit?known_at=2026-09-20", 400, "malformed-parameter"),
        ("/p/spring/audit?known_at=2027-01-01", 400, "malformed-parameter"),
    ] {
        let answer = town.client.get(path);
        assert_eq!(answer.status, status, "{path}");
        assert_eq!(answer.header("content-type"), Some("text/html; charset=utf-8"), "{path}");
        assert_eq!(answer.header("content-security-policy"), Some(POLICY), "{path}");
        assert!(answer.text().contains(code), "{path}: {}", answer.text());
    }
    // What was asked is still there to be corrected, and the problem leads to what is known about it.
    let refused = town.client.get("/p/spring/pairs?state=active&order=best&known_at=2026-09-22%2010:00");
    for part in [
        "name=\"state\" value=\"active\"",
        "name=\"order\" value=\"best\"",
        "name=\"known_at\" value=\"2026-09-22 10:00\"",
        "action=\"/p/spring/pairs\"",
        "href=\"/problems/malformed-parameter\"",
        "href=\"/p/spring\"",
        "<code>known_at</code> must be",
    ] {
        assert!(refused.text().contains(part), "{part}: {}", refused.text());
    }
    assert!(!refused.text().contains('`'), "{}", refused.text());
    // A form sends its empty fields too.
    page(&mut town, "/p/spring/pairs?as_of=&known_at=&state=&order=idle");
}

#[test]
fn a_browser_that_went_astray_is_shown_a_page_and_a_program_a_document() {
    let mut town = small();
    let browser = [("accept", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8")];
    for path in [
        "/nowhere",
        "/p/spring/nothing",
        "/p/spring/pairs/x/y",
        "/problems/nonsense",
        "/docs/x",
        "/docs?x=1",
        "/v1/nothing",
    ] {
        let page = town.client.send("GET", path, &browser, b"");
        assert!(page.status == 404 || page.status == 400, "{path}: {}", page.status);
        assert_eq!(page.header("content-type"), Some("text/html; charset=utf-8"), "{path}");
        assert_eq!(page.header("content-security-policy"), Some(POLICY), "{path}");
        assert!(page.text().contains("<title>") && page.text().contains("href=\"/\""), "{path}");
        let document = town.client.get(path);
        assert_eq!(document.header("content-type"), Some("application/problem+json"), "{path}");
        assert_eq!(document.status, page.status, "{path}");
        let code = document.json()["code"].as_str().unwrap().to_owned();
        assert!(page.text().contains(&format!("href=\"/problems/{code}\"")), "{path}");
    }
    for (path, meant) in [
        ("/p", "/"),
        ("/p/", "/"),
        ("/p/spring/", "/p/spring"),
        ("/p/spring/pairs/?state=active", "/p/spring/pairs?state=active"),
        ("/definitions/", "/definitions"),
        ("/docs/", "/docs"),
        ("/problems/malformed/", "/problems/malformed"),
    ] {
        let moved = town.client.get(path);
        assert_eq!((moved.status, moved.header("location")), (308, Some(meant)), "{path}");
    }
    // Nothing leads to another host.
    for path in ["//example.org/", "/p//example.org/", "/\\example.org/"] {
        let answer = town.client.get(path);
        let elsewhere =
            answer.header("location").is_some_and(|to| to.starts_with("//") || !to.starts_with('/'));
        assert!(!elsewhere, "{path} leads to {:?}", answer.header("location"));
    }
}

#[test]
fn an_archived_program_has_nothing_left_to_do() {
    let mut town = grown();
    town.done("close-program", &json!({}));
    let closed = page(&mut town, "/p/spring").text().to_owned();
    assert!(closed.contains("The program takes no proposals any more") && !closed.contains("Who would fit"));
    town.done("archive-program", &json!({}));
    town.advance(90 * 86_400);
    let archived = page(&mut town, "/p/spring").text().to_owned();
    assert!(archived.contains("Nothing is left to do"));
    for gone in ["To act on", "Who would fit", "take part in", "class=\"live\"", "is not over"] {
        assert!(!archived.contains(gone), "{gone}");
    }
    let months = table(&archived, "Sessions per month");
    assert_eq!(months.last().unwrap()[0], "Nov 2026", "the chart ends with the program");
    assert!(page(&mut town, "/").text().contains("8 took part"));
}

#[test]
fn a_page_of_another_moment_says_so() {
    let mut town = grown();
    for (path, says) in [
        ("/p/spring?known_at=2026-10-31", "What there was to act on, on "),
        ("/p/spring?as_of=2026-03-01", "The program was opened later, on "),
        ("/p/spring?as_of=1800-01-01", "0 pairs had started"),
        (
            "/p/spring/pairs?as_of=2026-10-31",
            "known_at=2026-10-31&amp;order=idle\">This page as it was known at the end of that day",
        ),
        ("/p/spring/pairs?as_of=2026-03-01", "The program was opened on "),
        ("/p/spring/history?as_of=2026-10-31&type=pair-ended", "known_at=2026-10-31&amp;type=pair-ended\">"),
        ("/p/spring/reciprocity?as_of=2026-10-31", "not of that day"),
        ("/p/spring/suggestions?known_at=2026-09-22", "What would have been suggested"),
        ("/p/spring/published?known_at=2026-09-23", "No week of this program was over yet"),
        ("/p/spring/published?as_of=2026-10-04", "2026-W40"),
        // A Sunday that is not over.
        ("/p/spring/published?as_of=2026-11-22", "2026-W46"),
    ] {
        let text = page(&mut town, path).text().to_owned();
        assert!(text.contains(says), "{path}: {says}");
        assert!(!text.contains("To act on today"), "{path}");
    }
    // What is left leads back to the same page, not to the list it is of.
    let pair =
        page(&mut town, &format!("/p/spring/pairs/{}?known_at=2026-10-31", id(PAIR))).text().to_owned();
    assert!(pair.contains(&format!("href=\"/p/spring/pairs/{}\">Back to now", id(PAIR))));
    // Suggestions of then are those of then: nobody was there on the first day but two.
    let then = page(&mut town, "/p/spring/suggestions?known_at=3").text().to_owned();
    assert!(lead(&then).contains("Of 2 people who can be paired then"), "{}", lead(&then));
    // A day is its end in the program's zone.
    let by_day = api(&mut town, "/reciprocity?known_at=2026-09-22", "");
    let by_instant = api(&mut town, "/reciprocity?known_at=2026-09-22T09:59:59.999999Z", "");
    assert_eq!(
        (&by_day["known_at"], by_day["as_of"].as_str()),
        (&by_instant["known_at"], Some("2026-09-22"))
    );
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

#[test]
fn a_page_that_takes_its_time_begins_before_it_is_there_and_is_the_same_page() {
    let data = tempfile::tempdir().unwrap();
    let times = Times { first_byte: Duration::ZERO, ..Times::default() };
    let limits = Limits { strangers: None, times, ..Limits::default() };
    let service = Service::within(limits, Arc::new(MemoryLog::new()), data.path());
    let mut client = service.client();
    let body = json!({ "slug": "spring", "name": "Spring", "time_zone": ZONE });
    assert_eq!(client.post("/v1/programs", &body).status, 201);
    let enrol = json!({ "participant": id(0xa), "generation": "gen-z" });
    assert_eq!(client.post("/v1/programs/spring/commands/enrol", &enrol).status, 201);
    for path in ["/p/spring", "/p/spring?known_at=1", "/p/spring/retention", "/p/spring/pairs?known_at=1"] {
        let (late, whole) = (client.get(path), client.get(path));
        assert_eq!((late.status, late.header("content-length")), (200, None), "{path}");
        assert_eq!((whole.status, whole.header("content-length").is_some()), (200, true), "{path}");
        assert_eq!(late.header("content-security-policy"), Some(POLICY));
        assert_eq!(late.text(), whole.text());
    }
    // A wrong question has its status, and what fails after the beginning is a whole page all the same.
    assert_eq!(client.get("/p/spring?known_at=99").status, 400);
    let nobody = client.get(&format!("/p/spring/pairs/{}?known_at=1", id(1)));
    assert_eq!(nobody.status, 200);
    assert!(nobody.text().starts_with("<!DOCTYPE html>") && nobody.text().ends_with("</html>"));
    assert!(nobody.text().contains("there is no pair"), "{}", nobody.text());
}
