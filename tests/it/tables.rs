//! Tables in and out: participants and sessions from a spreadsheet, and back into one.
//! Never compares a table with itself: what comes out is reckoned again, by `measure` and by the service's own figures.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::cli::{Server, run, text};
use crate::harness::{Chance, Process, serve};

const PEOPLE: &str = "\
participant,generation,arm,offered,sought,unit,capacity
ada,boomer,program,rust;negotiation,video,north,9
bob,gen-x,,video,rust,north,9
cyd,gen-z,,video;music,negotiation,south,9
dee,millennial,comparison,,,,
";

fn file(dir: &Path, name: &str, content: &str) -> String {
    let path = dir.join(name);
    std::fs::write(&path, content).unwrap();
    path.to_str().unwrap().to_owned()
}

/// A table by the names of its columns.
fn rows(table: &[u8]) -> Vec<BTreeMap<String, String>> {
    let mut reader = csv::Reader::from_reader(table);
    let header = reader.headers().unwrap().clone();
    let named = |row: csv::StringRecord| {
        header.iter().map(str::to_owned).zip(row.iter().map(str::to_owned)).collect::<BTreeMap<_, _>>()
    };
    reader.records().map(|row| named(row.unwrap())).collect()
}

/// The numbers of the summary an import prints, but how long it took.
fn summary(printed: &[u8]) -> Vec<(String, u64)> {
    let lines = text(printed).lines().filter(|line| !line.starts_with("seconds"));
    let numbers = lines.map(|line| line.rsplit_once(' ').unwrap());
    numbers.map(|(name, number)| (name.trim().to_owned(), number.parse().unwrap())).collect()
}

fn numbers(printed: &[u8]) -> Vec<u64> {
    summary(printed).into_iter().map(|(_, number)| number).collect()
}

fn size(server: &Server) -> u64 {
    server.json("/v1/programs/spring")["size"].as_u64().unwrap()
}

fn post(url: &str, path: &str, body: &Value) -> Value {
    let client = reqwest::blocking::Client::new();
    let response = client.post(format!("{url}{path}")).json(body).send().unwrap();
    let (status, answer) = (response.status(), response.text().unwrap());
    assert!(status.is_success(), "{path}: {answer}");
    serde_json::from_str(&answer).unwrap()
}

#[test]
fn participants_are_enrolled_once_and_brought_in_line_with_the_table() {
    let dir = TempDir::new().unwrap();
    let server = Server::start(&dir.path().join("data"));
    let import = |content: &str, code| {
        let table = file(dir.path(), "people.csv", content);
        run(&["import-csv", &table, "--program", "spring", "--server", &server.url], code)
    };
    let names = ["rows", "enrolled", "changed", "already there", "rejected", "personal data"];
    let first = import(PEOPLE, 0);
    assert_eq!(
        summary(&first.stdout),
        names.map(str::to_owned).into_iter().zip([4, 4, 0, 0, 0, 0]).collect::<Vec<_>>()
    );
    let after = size(&server);
    assert_eq!(numbers(&import(PEOPLE, 0).stdout), [4, 0, 0, 4, 0, 0]);
    assert_eq!(size(&server), after, "told twice, done once");

    // Sessions find the same people under the same names.
    let sessions = "occurred_at,teacher,learner,minutes\n2024-03-01T09:00:00Z,ada,bob,30\n2024-03-02T09:00:00Z,eve,ada,5\n";
    let table = file(dir.path(), "sessions.csv", sessions);
    run(&["import-csv", &table, "--program", "spring", "--server", &server.url], 0);
    let people = server.json("/v1/programs/spring/participants");
    assert_eq!(people["items"].as_array().unwrap().len(), 5);

    // Whom the sessions brought in gets a generation; what changed is said; what is empty says nothing.
    let changed = "participant,generation,arm,offered,capacity\neve,silent,,,\nada,gen-x,,rust,\nbob,,,,\ncyd,gen-z,,music;video,9\n";
    let before = size(&server);
    assert_eq!(numbers(&import(changed, 0).stdout), [4, 0, 2, 2, 0, 0]);
    assert_eq!(size(&server), before + 3, "eve's and ada's generation, ada's skills");
    assert_eq!(numbers(&import(changed, 0).stdout), [4, 0, 0, 4, 0, 0]);
    let exported = server.get("/v1/programs/spring/participants.csv", "text/csv");
    let said: Vec<String> = rows(&exported)
        .iter()
        .map(|row| {
            ["generation", "arm", "offered", "sought", "unit", "capacity", "sessions"]
                .map(|name| row[name].clone())
                .join(",")
        })
        .collect();
    assert_eq!(
        said,
        [
            "gen-x,program,rust,video,north,9,2",
            "gen-x,program,video,rust,north,9,1",
            "gen-z,program,music;video,negotiation,south,9,0",
            "millennial,comparison,,,,,0",
            "silent,program,,,,,1",
        ]
    );
    // What was exported can be taken back: everybody is who they are.
    let before = size(&server);
    let back = import(text(&exported), 0);
    assert_eq!(numbers(&back.stdout), [5, 0, 0, 5, 0, 0]);
    assert!(text(&back.stderr).contains("passed over: state, since"), "{}", text(&back.stderr));
    assert_eq!(size(&server), before);
}

#[test]
fn a_table_with_anything_wrong_in_it_imports_nobody() {
    let dir = TempDir::new().unwrap();
    let server = Server::start(&dir.path().join("data"));
    let import = |content: &str, code| {
        let table = file(dir.path(), "people.csv", content);
        let output = run(&["import-csv", &table, "--program", "spring", "--server", &server.url], code);
        text(&output.stderr).replace(&table, "people.csv")
    };
    let said = import("participant,generation,capacity\nada,boomer,3\nbob,lost,3\nada,gen-x,many\n", 3);
    assert!(said.contains("people.csv:3: /generation is neither"), "{said}");
    assert!(said.contains("people.csv:4: capacity is not a whole number"), "{said}");
    assert!(said.contains("nothing was imported: 2 things are wrong"), "{said}");
    assert!(server.json("/v1/programs")["programs"].as_array().unwrap().is_empty(), "not even a program");

    let said = import("participant,generation,consent\nada,boomer,yes\n", 1);
    assert!(said.contains("`consent` is none of the columns"), "{said}");
    // The program is opened by the first table without a fault; personal data waits for a key.
    import("participant\nada\n", 0);
    let before = size(&server);
    let said = import("participant,name,email\nbob,Bob,\n", 1);
    assert!(said.contains("`name` would be personal data") && !said.contains("`email`"), "{said}");
    assert_eq!(size(&server), before);

    // Skills of a list, a generation of the program's own.
    let policy = json!({
        "rules": { "skills": "listed" },
        "measures": { "bands": [{ "name": "old", "from": 1900, "to": 1970 }, { "name": "new", "from": 1971, "to": 2020 }] },
    });
    let commands = "/v1/programs/spring/commands";
    for (command, body) in [
        ("define-skill", json!({ "skill": "rust" })),
        ("define-skill", json!({ "skill": "cobol" })),
        ("retire-skill", json!({ "skill": "cobol" })),
        ("change-policy", policy),
    ] {
        post(&server.url, &format!("{commands}/{command}"), &body);
    }
    let before = size(&server);
    let said =
        import("participant,generation,offered\nbob,old,rust\ncyd,gen-x,rust\ndee,new,rust;cobol\n", 3);
    assert!(
        said.contains("people.csv:3: /generation") && said.contains("people.csv:4: /offered/1"),
        "{said}"
    );
    assert_eq!(size(&server), before);
    import("participant,generation,offered\nbob,old,rust\ncyd,new,\n", 0);
    assert_eq!(size(&server), before + 2);
    post(&server.url, &format!("{commands}/close-program"), &json!({}));
    let said = import("participant\neve\n", 1);
    assert!(said.contains("is closed: nobody can be enrolled"), "{said}");
}

#[test]
fn personal_data_of_a_table_is_sealed_once_and_nowhere_else() {
    let dir = TempDir::new().unwrap();
    let (data, kek) = (dir.path().join("data"), dir.path().join("kek"));
    run(&["keyring", "init", "--out", kek.to_str().unwrap()], 0);
    let log = dir.path().join("log");
    let mut command = serve(&data, &log);
    command.arg("--personal-key-file").arg(&kek);
    let process = Process::started(command, &log);
    let url = format!("http://{}", process.address);
    let import = |content: &str, code| {
        let table = file(dir.path(), "people.csv", content);
        run(&["import-csv", &table, "--program", "spring", "--server", &url], code)
    };
    const NAMED: &str = "participant,generation,name,email,birth_year\nada-of-hr,boomer,Ada Lovelace,ada@example.org,1950\nbob,gen-x,,,\n";
    assert_eq!(numbers(&import(NAMED, 0).stdout), [2, 2, 0, 0, 0, 1]);
    let mut client = process.client();
    let ledger = |client: &mut crate::harness::Client| {
        client
            .send("GET", "/v1/programs/spring/events", &[("accept", "application/x-ndjson")], b"")
            .text()
            .to_owned()
    };
    let told = ledger(&mut client);
    assert_eq!(told.lines().filter(|line| line.contains("\"personal-set\"")).count(), 1);
    for secret in ["Lovelace", "example.org", "ada-of-hr", "birth_year\":"] {
        assert!(!told.contains(secret), "{secret} is in the ledger");
    }
    assert_eq!(numbers(&import(NAMED, 0).stdout), [2, 0, 0, 2, 0, 0]);
    assert_eq!(ledger(&mut client), told, "told twice, sealed once");
    let people = client.get("/v1/programs/spring/participants").json();
    let ada = people["items"][0]["participant"].as_str().unwrap();
    let personal = client.get(&format!("/v1/programs/spring/participants/{ada}/personal")).json();
    assert_eq!(personal["personal"]["name"], "Ada Lovelace");
    let table = client.get("/v1/programs/spring/participants.csv");
    assert!(!table.text().contains("Lovelace"));
    // Whoever does not know chunks sees a table that broke off all the same.
    assert_eq!(table.header("content-length"), Some(table.body.len().to_string().as_str()));
    let wrong = import(&NAMED.replace("ada@example.org", "nowhere"), 3);
    assert!(text(&wrong.stderr).contains(":2: /email is not an e-mail address"), "{}", text(&wrong.stderr));
}

#[test]
fn the_sessions_of_a_table_measure_as_the_service_measures_them() {
    let dir = TempDir::new().unwrap();
    let server = Server::start(&dir.path().join("data"));
    let import = |table: &str| {
        run(&["import-csv", table, "--program", "spring", "--server", &server.url], 0);
    };
    import(&file(dir.path(), "people.csv", PEOPLE));
    let mut chance = Chance::seeded(11);
    let mut table = String::from("occurred_at,teacher,learner,minutes,skill,rating\n");
    for day in 1..=60 {
        let names = ["ada", "bob", "cyd"];
        let teacher = chance.below(3);
        let learner = (teacher + 1 + chance.below(2)) % 3;
        let (teacher, learner) =
            (names[usize::try_from(teacher).unwrap()], names[usize::try_from(learner).unwrap()]);
        let (minutes, skill) =
            (5 + chance.below(60), ["rust", "video"][usize::try_from(chance.below(2)).unwrap()]);
        let rating = if chance.one_in(3) { String::new() } else { (1 + chance.below(5)).to_string() };
        let (month, day) = (1 + day / 28, 1 + day % 28);
        writeln!(table, "2025-0{month}-{day:02}T09:00:00Z,{teacher},{learner},{minutes},{skill},{rating}")
            .unwrap();
    }
    import(&file(dir.path(), "sessions.csv", &table));
    let all = rows(&server.get("/v1/programs/spring/sessions.csv", "text/csv"));
    assert_eq!(all.len(), 60);
    for (command, row) in [("void-session", &all[3]), ("void-session", &all[40])] {
        let body = json!({ "session": row["session"] });
        post(&server.url, &format!("/v1/programs/spring/commands/{command}"), &body);
    }
    let live = server.get("/v1/programs/spring/sessions.csv?state=live", "text/csv");
    assert_eq!(rows(&live).len(), 58);
    let voided = rows(&server.get("/v1/programs/spring/sessions.csv?state=voided", "text/csv"));
    assert_eq!(voided.len(), 2);

    // The whole table says which sessions do not count, and they do not: with `state=live` or without.
    let whole =
        file(dir.path(), "whole.csv", text(&server.get("/v1/programs/spring/sessions.csv", "text/csv")));
    let of_all = run(&["measure", &whole, "--as-of", "2025-06-30", "--format", "json"], 0);
    let of_all: Value = serde_json::from_slice(&of_all.stdout).unwrap();
    assert_eq!((&of_all["input"]["measured"], &of_all["input"]["left_out"]), (&json!(58), &json!(2)));
    let exported = file(dir.path(), "exported.csv", text(&live));
    let measured = run(&["measure", &exported, "--as-of", "2025-06-30", "--format", "json"], 0);
    let measured: Value = serde_json::from_slice(&measured.stdout).unwrap();
    assert_eq!(measured["figures"], of_all["figures"]);
    let figures = server.json("/v1/programs/spring/reciprocity?as_of=2025-06-30");
    for name in [
        "weighted_reciprocity",
        "generalised_reciprocity",
        "indirect_reciprocity",
        "two_way_pair_share",
        "cross_generation_share",
        "reverse_share",
        "value_reciprocity",
        "teaching_gini",
    ] {
        let (ours, theirs) = (&figures["figures"][name], &measured["figures"][name]);
        assert!(ours["denominator"].as_u64() > Some(0), "{name}: {ours}");
        for part in ["numerator", "denominator", "value"] {
            assert_eq!(ours[part], theirs[part], "{name}.{part}");
        }
    }
    // And into another program, where the same names are other people with the same figures.
    let copy = ["import-csv", &exported, "--program", "copy", "--server", &server.url];
    // Where there are programs already, a new one may be a slip of the pen.
    let refused = run(&copy, 1);
    assert!(
        text(&refused.stderr)
            .contains("there is no program `copy`, there is: spring; to open it, say in which"),
        "{}",
        text(&refused.stderr)
    );
    run(&[&copy[..], &["--time-zone", "UTC"]].concat(), 0);
    let copied = server.json("/v1/programs/copy/reciprocity?as_of=2025-06-30");
    for part in ["numerator", "denominator"] {
        let name = "weighted_reciprocity";
        assert_eq!(copied["figures"][name][part], figures["figures"][name][part]);
    }
}

/// Figures of sessions, and the numbers they are made of.
fn headline(server: &Server, program: &str) -> Vec<String> {
    let figures = server.json(&format!("/v1/programs/{program}/reciprocity?as_of=2025-06-30"));
    let names = [
        "weighted_reciprocity",
        "generalised_reciprocity",
        "indirect_reciprocity",
        "two_way_pair_share",
        "dual_role_share",
        "cross_generation_share",
        "reverse_share",
        "value_reciprocity",
        "teaching_gini",
    ];
    let said = names.map(|name| {
        let figure = &figures["figures"][name];
        assert!(figure["denominator"].as_u64() > Some(0), "{name}: {figure}");
        format!("{name} {} of {} {}", figure["numerator"], figure["denominator"], figure["value"])
    });
    said.into_iter().chain([figures["flow"].to_string(), figures["skills"].to_string()]).collect()
}

/// What a program says of its live sessions, people by their generation: their ids are a program's own.
fn told_sessions(server: &Server, program: &str) -> Vec<String> {
    let table = server.get(&format!("/v1/programs/{program}/sessions.csv?state=live"), "text/csv");
    let mut told: Vec<String> = rows(&table)
        .iter()
        .map(|row| {
            [
                "session",
                "occurred_at",
                "day",
                "session_minutes",
                "mode",
                "teacher_generation",
                "learner_generation",
                "skill",
                "minutes",
                "rating",
            ]
            .map(|name| row[name].clone())
            .join(",")
        })
        .collect();
    told.sort();
    told
}

#[test]
fn sessions_that_were_exported_add_nothing_where_they_are_and_the_same_figures_elsewhere() {
    let dir = TempDir::new().unwrap();
    let server = Server::start(&dir.path().join("data"));
    let [ada, bob, cyd] = [1, 2, 3].map(|n| format!("{n}0000000-0000-4000-8000-000000000000"));
    post(
        &server.url,
        "/v1/programs",
        &json!({
            "slug": "spring", "name": "Spring", "time_zone": "Europe/Berlin",
            "policy": { "rules": { "backdating_days": 3650, "rating_window_days": 3650 } },
        }),
    );
    let tell = |command: &str, body: Value| {
        post(&server.url, &format!("/v1/programs/spring/commands/{command}"), &body);
    };
    for (id, generation) in [(&ada, "boomer"), (&bob, "gen-z"), (&cyd, "millennial")] {
        tell("enrol", json!({ "participant": id, "generation": generation, "capacity": 9 }));
    }
    let pair = |n: u32| format!("{n}0000000-0000-4000-8000-00000000000a");
    for (n, a, b) in [(1, &ada, &bob), (2, &ada, &cyd)] {
        tell("import-pair", json!({ "pair": pair(n), "a": a, "b": b, "started_at": "2024-01-01T09:00:00Z" }));
    }
    let session = |n: u32| format!("{n}0000000-0000-4000-8000-00000000000b");
    let log = |n: u32, of: u32, at: &str, minutes: u32, exchanges: Value| {
        tell(
            "log-session",
            json!({
                "session": session(n), "pair": pair(of), "occurred_at": at, "minutes": minutes, "mode": "video",
                "exchanges": exchanges, "actor": format!("participant:{ada}"),
            }),
        );
    };
    let taught = |teacher: &str, skill: &str, minutes: u32| json!({ "teacher": teacher, "skill": skill, "minutes": minutes });
    // Of two exchanges and some talk, rated both ways and confirmed.
    log(1, 1, "2024-02-01T09:00:00Z", 60, json!([taught(&ada, "rust", 20), taught(&bob, "video", 25)]));
    for (teacher, skill, learner, rating) in [(&ada, "rust", &bob, 4), (&bob, "video", &ada, 5)] {
        let actor = format!("participant:{learner}");
        let rated = json!({ "session": session(1), "teacher": teacher, "skill": skill, "rating": rating, "actor": actor });
        tell("rate-exchange", rated);
    }
    tell(
        "confirm-session",
        json!({ "session": session(1), "version": 1, "actor": format!("participant:{bob}") }),
    );
    // Corrected: what was one exchange is three.
    log(2, 1, "2024-02-08T09:00:00Z", 30, json!([taught(&bob, "music", 30)]));
    tell(
        "correct-session",
        json!({
            "session": session(2), "occurred_at": "2024-02-09T09:00:00Z", "minutes": 50, "mode": "in-person",
            "exchanges": [taught(&bob, "music", 10), taught(&ada, "rust", 10), taught(&bob, "video", 5)],
        }),
    );
    // Disputed; voided; disputed and resolved; close to midnight.
    log(3, 1, "2024-03-01T09:00:00Z", 40, json!([taught(&ada, "rust", 20), taught(&bob, "rust", 20)]));
    tell("dispute-session", json!({ "session": session(3), "actor": format!("participant:{bob}") }));
    log(4, 2, "2024-03-02T09:00:00Z", 40, json!([taught(&cyd, "music", 40)]));
    tell("void-session", json!({ "session": session(4) }));
    log(5, 2, "2024-03-03T09:00:00Z", 40, json!([taught(&cyd, "music", 35)]));
    tell("dispute-session", json!({ "session": session(5), "actor": format!("participant:{cyd}") }));
    tell("resolve-dispute", json!({ "session": session(5) }));
    log(6, 2, "2024-03-04T23:30:00Z", 15, json!([taught(&ada, "unspecified", 15)]));
    // Their pair ended, and there is another one of the same two.
    let ended = json!({ "pair": pair(2), "reason": "goals-met", "occurred_at": "2024-04-01T09:00:00Z" });
    tell("end-pair", ended);
    tell("import-pair", json!({ "pair": pair(3), "a": ada, "b": cyd, "started_at": "2024-05-01T09:00:00Z" }));
    log(7, 3, "2024-05-02T09:00:00Z", 15, json!([taught(&ada, "rust", 15)]));
    tell("end-pair", json!({ "pair": pair(3), "reason": "goals-met" }));
    // She is only observed from now on, and what was taught is not on the list any more.
    tell("change-arm", json!({ "participant": cyd, "arm": "comparison" }));
    tell("change-policy", json!({ "rules": { "skills": "listed" } }));

    let export = |program: &str, what: &str| {
        let table = server.get(&format!("/v1/programs/{program}/{what}.csv"), "text/csv");
        file(dir.path(), &format!("{program}-{what}.csv"), text(&table))
    };
    let (people, sessions) = (export("spring", "participants"), export("spring", "sessions"));
    let counts = |printed: &[u8]| {
        text(printed).lines().filter(|line| !line.starts_with("seconds")).collect::<Vec<_>>().join("\n")
    };
    let import_with = |table: &str, program: &str, zone: &str, code| {
        let output = run(
            &["import-csv", table, "--program", program, "--server", &server.url, "--time-zone", zone],
            code,
        );
        (counts(&output.stdout), text(&output.stderr).to_owned())
    };
    let import = |table: &str, program: &str, zone: &str| import_with(table, program, zone, 0);

    // Where they are: not an entry more, though their pair has ended.
    let of_spring = size(&server);
    let (said, told) = import(&sessions, "spring", "Europe/Berlin");
    assert_eq!(size(&server), of_spring, "{told}");
    insta::assert_snapshot!(format!("{said}\n{told}"));

    // Elsewhere: the same sessions and figures, once.
    let (said, told) = import(&sessions, "copy", "Europe/Berlin");
    insta::assert_snapshot!(format!("{said}\n{told}"));
    import(&people, "copy", "Europe/Berlin");
    assert_eq!(told_sessions(&server, "copy"), told_sessions(&server, "spring"));
    assert_eq!(headline(&server, "copy"), headline(&server, "spring"));
    let of_copy = || server.json("/v1/programs/copy")["size"].as_u64().unwrap();
    let before = of_copy();
    import(&sessions, "copy", "Europe/Berlin");
    import(&export("copy", "sessions"), "copy", "Europe/Berlin");
    assert_eq!(of_copy(), before);

    // Where days are others, that is told.
    let (_, told) = import(&sessions, "utc", "UTC");
    assert!(told.contains("1 sessions lie on another civil day in UTC"), "{told}");

    // The people first: whoever is only observed by now cannot be paired any more, which is told of each row.
    import(&people, "people-first", "Europe/Berlin");
    let (said, told) = import_with(&sessions, "people-first", "Europe/Berlin", 3);
    assert!(
        said.contains("imported              5\n") && said.contains("rejected              3\n"),
        "{said}"
    );
    assert!(told.contains("is in the comparison arm, which is never paired: change the arm first"), "{told}");

    // What differs is told and stays; what is new is taken, of the people the ids stand for.
    let more = "2024-06-01T09:00:00.000000Z";
    let table = std::fs::read_to_string(&sessions).unwrap();
    let edited = table.replacen(",20,rust,4,", ",21,rust,4,", 1);
    assert_ne!(edited, table);
    let (_, told) = import(&file(dir.path(), "edited.csv", &edited), "spring", "Europe/Berlin");
    assert!(told.contains("1 sessions are there otherwise than the table has them"), "{told}");
    assert_eq!(size(&server), of_spring);
    tell("change-policy", json!({ "rules": { "skills": "open" } }));
    let plain = format!("occurred_at,teacher,learner,minutes\n{more},{ada},{bob},5\n{more},dee,{bob},5\n");
    let (said, _) = import(&file(dir.path(), "plain.csv", &plain), "spring", "Europe/Berlin");
    insta::assert_snapshot!(said);
}

#[test]
fn a_session_is_taken_whole_or_not_at_all_and_what_is_not_ours_is_refused_by_name() {
    let dir = TempDir::new().unwrap();
    let server = Server::start(&dir.path().join("data"));
    let import = |content: &str, ignored: &[&str], code| {
        let table = file(dir.path(), "sessions.csv", content);
        let mut arguments = vec!["import-csv", &table, "--program", "spring", "--server", &server.url];
        for column in ignored {
            arguments.extend(["--ignore-column", column]);
        }
        let output = run(&arguments, code);
        let lines = text(&output.stdout).lines().filter(|line| !line.starts_with("seconds"));
        let said: Vec<&str> = lines.chain(text(&output.stderr).lines()).collect();
        said.join("\n").replace(&table, "sessions.csv")
    };
    let of = |n: u32| format!("{n}0000000-0000-4000-8000-00000000000b");
    let head = "occurred_at,teacher,learner,minutes,skill,session,session_minutes,mode,state\n";
    let at = "2024-02-01T09:00:00Z";
    let wrong = format!(
        "{head}\
         {at},ada,bob,20,rust,{one},60,video,logged\n\
         {at},bob,ada,many,music,{one},60,video,logged\n\
         {at},ada,cyd,20,rust,{two},60,video,logged\n\
         {at},cyd,ada,20,rust,{two},45,video,logged\n\
         {at},ada,bob,20,rust,{three},60,smoke,logged\n\
         {at},ada,bob,20,rust,12,60,video,logged\n\
         {at},ada,bob,20,rust,{four},60,video,Bavaria\n\
         {at},ada,eve,20,rust,{five},60,video,voided\n\
         {at},dee,ada,20,rust,{six},30,phone,logged\n\
         {at},cyd,ada,5,rust,{seven},30,phone,logged\n\
         {at},ada,dee,5,rust,{six},30,phone,logged\n\
         {at},ada,cyd,5,rust,{seven},9,phone,logged\n",
        one = of(1),
        two = of(2),
        three = of(3),
        four = of(4),
        five = of(5),
        six = of(6),
        seven = of(7),
    );
    insta::assert_snapshot!(import(&wrong, &[], 3));
    let people = server.json("/v1/programs/spring/participants");
    assert_eq!(
        people["items"].as_array().unwrap().len(),
        2,
        "ada and dee, of the one session that was taken"
    );
    let session = server.json(&format!("/v1/programs/spring/sessions/{}", of(6)));
    assert_eq!((&session["minutes"], session["exchanges"].as_array().unwrap().len()), (&json!(30), 2));

    // With the columns told to mean something else, every row is a session of its own, as without them.
    let foreign = format!("{head}{at},ada,bob,20,rust,12,60,video,Bavaria\n");
    insta::assert_snapshot!(import(&foreign, &["session", "State"], 0));
    let bare = format!("occurred_at,teacher,learner,minutes,skill\n{at},ada,bob,20,rust\n");
    let again = import(&bare, &[], 0);
    assert!(again.contains("already there         1"), "{again}");
}

#[test]
fn rows_that_cannot_be_leave_nothing_behind_and_a_spreadsheets_semicolons_are_read() {
    let dir = TempDir::new().unwrap();
    let server = Server::start(&dir.path().join("data"));
    let import = |content: &str, code| {
        let table = file(dir.path(), "table.csv", content);
        let output = run(&["import-csv", &table, "--program", "spring", "--server", &server.url], code);
        let lines = text(&output.stdout).lines().filter(|line| !line.starts_with("seconds"));
        let said: Vec<&str> = lines.chain(text(&output.stderr).lines()).collect();
        said.join("\n").replace(&table, "table.csv")
    };
    // Neither readable nor possible, of whomever: nobody is enrolled for it, and no program opened.
    let impossible = "occurred_at,teacher,learner,minutes,skill\n\
                      1800-10-01T10:00:00Z,ada,bob,30,\n\
                      2999-10-01T10:00:00Z,ada,bob,30,\n\
                      2024-10-01T10:00:00Z,ada,bob,481,\n";
    insta::assert_snapshot!(import(impossible, 3));
    assert_eq!(server.json("/v1/programs")["programs"], json!([]));
    let session = "10000000-0000-4000-8000-00000000000b";
    let impossible = format!(
        "occurred_at,teacher,learner,minutes,session,session_minutes\n\
         2024-10-01T10:00:00Z,ada,bob,30,{session},50\n2024-10-01T10:00:00Z,bob,ada,30,{session},50\n"
    );
    insta::assert_snapshot!(import(&impossible, 3));
    assert_eq!(server.json("/v1/programs")["programs"], json!([]));

    // As a spreadsheet writes it where the comma is the decimal sign.
    let people = "participant;generation;offered\r\nada;boomer;\"rust;music\"\r\nbob;gen-z;\r\n;;\r\n";
    insta::assert_snapshot!(import(people, 0));
    let listed = server.json("/v1/programs/spring/participants");
    assert_eq!(listed["items"][0]["offered"], json!(["music", "rust"]));
    import("occurred_at\tteacher\tlearner\tminutes\n2024-10-01T10:00:00Z\tada\tbob\t30\n", 0);
    assert_eq!(server.json("/v1/programs/spring")["sessions"]["logged"], 1);
    assert!(import("\u{ff}", 1).contains("the header has no `occurred_at`"));
}
