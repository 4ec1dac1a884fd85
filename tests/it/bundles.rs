//! Bundles: made from a server and from a data directory, verified, replayed, recomputed by others' means, and put back
//! to the byte.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::cli::{Server, run, text};
use super::harness::until;

const TABLE: &str = "\
occurred_at,teacher,learner,minutes,skill,rating
2024-03-01T09:00:00Z,ada,bob,30,rust,5
2024-03-02T09:00:00+01:00,bob,ada,20,,
2024-05-03T09:00:00Z,cyd,ada,10,music,
2024-09-09T09:00:00Z,ada,cyd,15,music,2
2025-01-09T09:00:00Z,dee,bob,40,go,
2025-01-09T23:30:00Z,bob,dee,25,video,4
2025-02-09T23:30:00Z,dee,bob,25,video,4
";

fn imported(dir: &TempDir, data: &Path, program: &str) {
    let table = dir.path().join("rows.csv");
    fs::write(&table, TABLE).unwrap();
    let (table, data) = (table.to_str().unwrap(), data.to_str().unwrap());
    run(&["import-csv", table, "--program", program, "--data", data, "--time-zone", "Europe/Berlin"], 0);
}

fn registry_vkey(bundle: &Path) -> String {
    let keys: Value = serde_json::from_slice(&fs::read(bundle.join("keys.json")).unwrap()).unwrap();
    keys["keys"][0]["vkey"].as_str().unwrap().to_owned()
}

fn verified(place: &str, vkey: &str, more: &[&str]) -> Value {
    let output = run(&[&["verify", place, "--format", "json", "--vkey", vkey], more].concat(), 0);
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Every file below, by its path from there.
fn files(dir: &Path) -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    let mut folders = vec![dir.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let name = path.strip_prefix(dir).unwrap().to_str().unwrap().to_owned();
                found.push((name, fs::read(&path).unwrap()));
            }
        }
    }
    found.sort();
    found
}

fn post(server: &Server, path: &str, body: &Value) -> Value {
    let client = reqwest::blocking::Client::new();
    let request = client.post(format!("{}{path}", server.url)).header("content-type", "application/json");
    let answer = request.body(body.to_string()).send().unwrap();
    let (status, body) = (answer.status(), answer.text().unwrap());
    assert!(status.is_success(), "{path}: {body}");
    serde_json::from_str(&body).unwrap()
}

#[test]
fn a_running_server_is_verified_bundled_and_replayed_as_it_stands() {
    let dir = TempDir::new().unwrap();
    let data = dir.path().join("data");
    imported(&dir, &data, "spring");
    let server = Server::start(&data);
    let registry = until("the registry's checkpoint", || {
        let keys = server.json("/v1/keys");
        let keys = keys["keys"].as_array().unwrap().clone();
        let of_registry = |key: &&Value| key["vkey"].as_str().unwrap().contains("/registry/");
        keys.iter().find(of_registry).map(|key| key["vkey"].as_str().unwrap().to_owned())
    });
    let whole = verified(&server.url, &registry, &[]);
    assert_eq!(whole["logs"].as_array().unwrap().len(), 2);
    let size = server.json("/v1/programs/spring")["size"].clone();
    let one = verified(&server.url, &registry, &["--program", "spring"]);
    assert_eq!(one["logs"][1]["size"], size);

    let bundle = dir.path().join("bundle");
    let bundle = bundle.to_str().unwrap();
    run(&["export", "--program", "spring", "--server", &server.url, "--out", bundle], 0);
    let live = server.get("/v1/programs/spring/read-models", "application/json");
    let address = format!("{}/log/spring", server.url);
    for place in [bundle, &address] {
        assert_eq!(run(&["replay", "--file", place], 0).stdout, live, "{place}");
    }
    let early = run(&["replay", "--file", bundle, "--until", "6"], 0).stdout;
    assert_eq!(serde_json::from_slice::<Value>(&early).unwrap()["size"], 7);
    let other = run(&["replay", "--file", bundle, "--program", "autumn"], 1);
    assert!(text(&other.stderr).contains("is the history of `spring`"), "{}", text(&other.stderr));
    // The directory the server keeps up to date is the same log for any web server.
    server.stop();
    verified(data.to_str().unwrap(), &registry, &["--program", "spring"]);
    verified(data.join("mirror/log").to_str().unwrap(), &registry, &[]);
    // And what the directory is bundled into afterwards continues it.
    let (pin, later) = (dir.path().join("pin"), dir.path().join("later"));
    let (pin, later) = (pin.to_str().unwrap(), later.to_str().unwrap());
    verified(bundle, &registry, &["--registry-pin", pin]);
    run(&["export", "--program", "spring", "--data", data.to_str().unwrap(), "--out", later], 0);
    verified(later, &registry, &["--registry-pin", pin]);
}

#[test]
fn a_bundle_is_whole_or_not_there_and_never_added_to() {
    let dir = TempDir::new().unwrap();
    let data = dir.path().join("data");
    imported(&dir, &data, "spring");
    let data = data.to_str().unwrap();
    let out = dir.path().join("bundle");
    let export = |out: &Path, code| {
        run(&["export", "--program", "spring", "--data", data, "--out", out.to_str().unwrap()], code)
    };
    export(&out, 0);
    let names: Vec<String> = files(&out).into_iter().map(|(name, _)| name).collect();
    insta::assert_snapshot!("bundle_files", names.join("\n"));
    assert!(text(&export(&out, 1).stderr).contains("is there already"));
    run(&["export", "--program", "spring", "--data", data, "--format", "bundle"], 2);
    // Nothing is signed with a key that is not the ledger's, and nothing is left of the attempt.
    let key = Path::new(data).join("keys/signing.key");
    let right = fs::read(&key).unwrap();
    fs::write(&key, [7; 32]).unwrap();
    let failed = export(&dir.path().join("failed"), 1);
    assert!(text(&failed.stderr).contains("is not the key that was made here"), "{}", text(&failed.stderr));
    let check = Path::new(data).join("keys/CHECK");
    let sums = fs::read(&check).unwrap();
    fs::remove_file(&check).unwrap();
    let failed = export(&dir.path().join("failed"), 5);
    assert!(
        text(&failed.stderr).contains("signed with a key from keys/signing.key"),
        "{}",
        text(&failed.stderr)
    );
    fs::remove_file(&key).unwrap();
    export(&dir.path().join("failed"), 1);
    fs::write(&key, right).unwrap();
    fs::write(&check, sums).unwrap();
    let names = fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name());
    assert_eq!(
        names.filter(|name| name.to_str().unwrap().contains("partial") || name == "failed").count(),
        0
    );
    // Lines are still to be had, whatever the file is called.
    let lines = dir.path().join("lines");
    let arguments = ["export", "--program", "spring", "--data", data, "--format", "ndjson"];
    run(&[&arguments[..], &["--out", lines.to_str().unwrap()]].concat(), 0);
    assert_eq!(fs::read(lines).unwrap(), run(&arguments, 0).stdout);
}

#[test]
fn what_is_imported_is_to_the_byte_what_was_bundled() {
    let dir = TempDir::new().unwrap();
    let data = dir.path().join("data");
    imported(&dir, &data, "spring");
    imported(&dir, &data, "autumn");
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let data = data.to_str().unwrap().to_owned();
    let export = |program: &str, data: &str, out: &str| {
        run(&["export", "--program", program, "--data", data, "--out", out], 0);
    };
    export("spring", &data, &path("spring"));
    export("autumn", &data, &path("autumn"));
    let vkey = registry_vkey(&dir.path().join("spring"));

    // Into nothing: the keys come from their backup, and the second program is still missing.
    let (keys, restored) = (format!("{data}/keys"), path("restored"));
    let import = |bundle: &str, data: &str, more: &[&str], code| {
        let arguments = ["import", bundle, "--data", data, "--vkey", &vkey];
        text(&run(&[&arguments[..], more].concat(), code).stderr).to_owned()
    };
    let said = import(&path("spring"), &restored, &["--keys", &keys], 0);
    assert!(said.contains("other programs: autumn"), "{said}");
    let said = import(&path("autumn"), &restored, &[], 0);
    assert!(!said.contains("before it can be served"), "{said}");
    export("spring", &restored, &path("again"));
    assert_eq!(files(&dir.path().join("again")), files(&dir.path().join("spring")));
    // The same once more changes nothing.
    import(&path("spring"), &restored, &[], 0);
    run(&["doctor", "--data", &restored], 0);
    let server = Server::start(Path::new(&restored));
    let lines = server.get("/v1/programs/spring/events", "application/x-ndjson");
    server.stop();
    assert_eq!(lines, run(&["export", "--program", "spring", "--data", &data], 0).stdout);

    // Without keys it can be had, and not served.
    let said = import(&path("spring"), &path("keyless"), &[], 0);
    assert!(said.contains("put the installation's key files into"), "{said}");
    // What does not belong together is refused, and so is what was touched; nothing is changed then.
    imported(&dir, &dir.path().join("stranger"), "spring");
    let before = run(&["doctor", "--data", &path("stranger"), "--format", "json"], 0).stdout;
    assert!(import(&path("spring"), &path("stranger"), &[], 1).contains("the registries differ"));
    assert_eq!(run(&["doctor", "--data", &path("stranger"), "--format", "json"], 0).stdout, before);
    let wrong = format!("{}/keys", path("stranger"));
    assert!(import(&path("spring"), &path("new"), &["--keys", &wrong], 1).contains("not those of"));
    assert!(!Path::new(&path("new")).exists(), "nothing was made");
    let entries = dir.path().join("autumn/tile/entries/000.p");
    let entries = fs::read_dir(entries).unwrap().next().unwrap().unwrap().path();
    let mut bytes = fs::read(&entries).unwrap();
    bytes[40] ^= 1;
    fs::write(&entries, bytes).unwrap();
    assert!(import(&path("autumn"), &path("keyless"), &[], 13).contains("nothing was changed"));
}

// ------------------------------------------------------------------------------- an independent opinion

/// What `recompute.py` says of a bundle; `None` where there is no Python and nobody insists.
fn recomputed(bundle: &Path, more: &[&str], code: i32) -> Option<Value> {
    let script = bundle.join("recompute.py");
    match Command::new("python3").arg("-I").arg(script).args(more).output() {
        Ok(output) => {
            let (out, error) = (text(&output.stdout), text(&output.stderr));
            assert_eq!(output.status.code(), Some(code), "{out}{error}");
            Some(serde_json::from_str(out).unwrap_or(Value::Null))
        }
        Err(error) => {
            assert!(std::env::var_os("CI").is_none_or(|ci| ci != "true"), "no python3: {error}");
            None
        }
    }
}

/// Compares its figures with the service's, on a day and at a size.
fn agree(server: &Server, bundle: &Path, as_of: &str, size: u64) {
    let Some(theirs) = recomputed(bundle, &["--as-of", as_of, "--size", &size.to_string()], 0) else {
        return;
    };
    let when = format!("as_of={as_of}&known_at={size}");
    let ours = server.json(&format!("/v1/programs/spring/reciprocity?{when}"));
    assert_eq!(theirs["root"], ours["known_at"]["root"], "{when}");
    let same = |one: &Value, other: &Value, what: &str| match (one.as_f64(), other.as_f64()) {
        (Some(one), Some(other)) => assert!((one - other).abs() <= 1e-12, "{what} {when}: {one} {other}"),
        _ => assert_eq!(one, other, "{what} {when}"),
    };
    for (theirs, ours) in [
        (&theirs["r_w"], &ours["figures"]["weighted_reciprocity"]),
        (&theirs["two_way_share"], &ours["figures"]["two_way_pair_share"]),
    ] {
        assert!(ours.is_object(), "the service has the figure");
        for part in ["value", "numerator", "denominator"] {
            same(&theirs[part], &ours[part], part);
        }
    }
    for basis in ["record", "activity"] {
        let ours = server.json(&format!("/v1/programs/spring/retention?basis={basis}&{when}"));
        let theirs = &theirs["survival"][basis];
        // Nobody lives: there is a stratum without points, or none.
        let stratum = &ours["strata"][0];
        assert_eq!(theirs["n"], stratum["n"], "{basis} {when}");
        assert_eq!(theirs["events"], stratum["events"], "{basis} {when}");
        for point in stratum["at"].as_array().unwrap() {
            same(&theirs["at"][point["day"].to_string()], &point["survival"], basis);
        }
    }
}

#[test]
fn a_second_implementation_has_the_same_figures_of_an_imported_table() {
    let dir = TempDir::new().unwrap();
    let data = dir.path().join("data");
    imported(&dir, &data, "spring");
    let bundle = dir.path().join("bundle");
    let arguments = ["export", "--program", "spring", "--data", data.to_str().unwrap(), "--out"];
    run(&[&arguments[..], &[bundle.to_str().unwrap()]].concat(), 0);
    let server = Server::start(&data);
    let size = server.json("/v1/programs/spring")["size"].as_u64().unwrap();
    for as_of in ["2024-02-28", "2024-03-01", "2024-06-30", "2024-12-31", "2025-01-10", "2026-06-30"] {
        agree(&server, &bundle, as_of, size);
    }
}

#[test]
fn a_second_implementation_has_the_same_figures_of_corrections_disputes_and_ends() {
    let dir = TempDir::new().unwrap();
    let data = dir.path().join("data");
    let server = Server::start(&data);
    let policy = json!({"rules": {"backdating_days": 3650}, "measures": {"lapse_after_days": 60}});
    let open = json!({"slug": "spring", "name": "Spring", "time_zone": "Asia/Tokyo", "policy": policy});
    post(&server, "/v1/programs", &open);
    let command = |name: &str, body: Value| {
        post(&server, &format!("/v1/programs/spring/commands/{name}"), &body);
    };
    let id = |kind: u32, n: u32| format!("{kind:08}-0000-4000-8000-{n:012}");
    let person = |n| id(1, n);
    for n in 0..6 {
        command("import-participant", json!({"participant": person(n)}));
    }
    // Four pairs; each meets so often, its two taking turns or not.
    let pairs: [(u32, u32, u32, &str); 5] = [
        (0, 1, 5, "2024-01-05"),
        (1, 2, 3, "2024-02-10"),
        (3, 4, 4, "2024-03-01"),
        (4, 5, 2, "2024-03-02"),
        (0, 5, 2, "2024-04-01"),
    ];
    for (pair, (a, b, sessions, start)) in (0..).zip(pairs) {
        let started = format!("{start}T16:30:00Z");
        command(
            "import-pair",
            json!({"pair": id(2, pair), "a": person(a), "b": person(b), "started_at": started}),
        );
        for n in 0..sessions {
            // Two late in the evening: the next day there.
            let occurred_at = format!("{}-{:02}T1{}:00:00Z", &start[..7], 11 + 3 * n, 3 + n % 4);
            let teacher = person(if (pair + n) % 3 == 0 { b } else { a });
            let exchanges = json!([{"teacher": teacher, "skill": "rust", "minutes": 10 + n}]);
            let session = id(3, pair * 10 + n);
            command(
                "import-session",
                json!({"session": session, "pair": id(2, pair), "occurred_at": occurred_at, "minutes": 60, "exchanges": exchanges}),
            );
        }
    }
    let sizes = || server.json("/v1/programs/spring")["size"].as_u64().unwrap();
    let mut seen = vec![sizes()];
    let correction = |session: &str, day: &str, exchanges: Value| json!({"session": session, "occurred_at": format!("{day}T09:00:00Z"), "minutes": 55, "mode": "video", "exchanges": exchanges});
    let both = json!([{"teacher": person(0), "skill": "rust", "minutes": 17}, {"teacher": person(1), "skill": "tea", "minutes": 21}]);
    command("correct-session", correction(&id(3, 1), "2024-01-09", both));
    command("void-session", json!({"session": id(3, 10)}));
    command("dispute-session", json!({"session": id(3, 21)}));
    command("dispute-session", json!({"session": id(3, 22)}));
    seen.push(sizes());
    command("resolve-dispute", json!({"session": id(3, 22)}));
    // The other disputed one was earlier than all others, and the other one taught.
    command(
        "correct-session",
        correction(&id(3, 21), "2024-03-02", json!([{"teacher": person(4), "skill": "rust", "minutes": 9}])),
    );
    seen.push(sizes());
    for (pair, reason, day) in [
        (0, "goals-met", "2024-06-01"),
        (1, "lost-contact", "2024-05-01"),
        (2, "manager-decision", "2024-07-01"),
        (3, "entered-in-error", "2024-04-20"),
    ] {
        command(
            "end-pair",
            json!({"pair": id(2, pair), "reason": reason, "occurred_at": format!("{day}T20:00:00Z")}),
        );
    }
    // The same two again, as another pair.
    command(
        "import-pair",
        json!({"pair": id(2, 9), "a": person(1), "b": person(0), "started_at": "2024-09-01T00:00:00Z"}),
    );
    let exchanges = json!([{"teacher": person(1), "skill": "rust", "minutes": 50}]);
    command(
        "import-session",
        json!({"session": id(3, 90), "pair": id(2, 9), "occurred_at": "2024-09-02T10:00:00Z", "minutes": 60, "exchanges": exchanges}),
    );
    command("change-policy", json!({"measures": {"lapse_after_days": 20}}));
    seen.push(sizes());

    let bundle = dir.path().join("bundle");
    until("the checkpoint of all this", || {
        let _ = fs::remove_dir_all(&bundle);
        run(
            &["export", "--program", "spring", "--server", &server.url, "--out", bundle.to_str().unwrap()],
            0,
        );
        let checkpoint = fs::read_to_string(bundle.join("checkpoint")).unwrap();
        (checkpoint.lines().nth(1)? == sizes().to_string()).then_some(())
    });
    let today = server.json("/v1/programs/spring/health")["as_of"].as_str().unwrap().to_owned();
    for size in seen {
        for as_of in
            ["2024-01-01", "2024-02-15", "2024-03-20", "2024-04-30", "2024-07-15", "2025-12-31", &today]
        {
            agree(&server, &bundle, as_of, size);
        }
    }
    // What was touched is refused by it, too, and a key that is not the log's.
    let key = text(&fs::read(bundle.join("keys.json")).unwrap()).to_owned();
    let key: Value = serde_json::from_str(&key).unwrap();
    let (registry, ours) =
        (key["keys"][0]["vkey"].as_str().unwrap(), key["keys"][1]["vkey"].as_str().unwrap());
    recomputed(&bundle, &["--vkey", ours], 0);
    recomputed(&bundle, &["--vkey", registry], 12);
    let entries = fs::read_dir(bundle.join("tile/entries/000.p")).unwrap().next().unwrap().unwrap().path();
    let right = fs::read(&entries).unwrap();
    let mut bytes = right.clone();
    let at = bytes.windows(12).position(|window| window == b"\"minutes\":50").unwrap();
    bytes[at + 10] = b'4';
    fs::write(&entries, bytes).unwrap();
    recomputed(&bundle, &[], 13);
    fs::write(&entries, right).unwrap();
    let checkpoint = fs::read_to_string(bundle.join("checkpoint")).unwrap();
    let (size, less) = (format!("\n{}\n", sizes()), format!("\n{}\n", sizes() - 1));
    fs::write(bundle.join("checkpoint"), checkpoint.replace(&size, &less)).unwrap();
    recomputed(&bundle, &[], 11);
}

/// The files of a tar archive, by their names.
fn unpacked(archive: &[u8], into: &Path) -> Vec<String> {
    let (mut names, mut rest) = (Vec::new(), archive);
    let text = |field: &[u8]| {
        let end = field.iter().position(|byte| *byte == 0).unwrap_or(field.len());
        std::str::from_utf8(&field[..end]).unwrap().to_owned()
    };
    while rest[0] != 0 {
        let (header, content) = rest.split_at(512);
        assert_eq!(&header[257..265], b"ustar\x0000");
        let (prefix, name) = (text(&header[345..500]), text(&header[..100]));
        let name = if prefix.is_empty() { name } else { format!("{prefix}/{name}") };
        let length = usize::from_str_radix(&text(&header[124..136]), 8).unwrap();
        let path = into.join(&name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, &content[..length]).unwrap();
        names.push(name);
        rest = &content[length.next_multiple_of(512)..];
    }
    assert_eq!(rest, [0; 1024], "two empty blocks end it");
    names
}

#[test]
fn a_bundle_that_is_downloaded_is_the_one_that_export_makes() {
    let dir = TempDir::new().unwrap();
    let data = dir.path().join("data");
    imported(&dir, &data, "spring");
    let server = Server::start(&data);
    until("the checkpoints", || {
        let keys = server.json("/v1/keys");
        let is_there = |name: &str| {
            let note = reqwest::blocking::get(format!("{}/log/{name}/checkpoint", server.url)).unwrap();
            note.status().is_success()
        };
        (keys["keys"].as_array().unwrap().len() == 2 && is_there("spring") && is_there("registry"))
            .then_some(())
    });
    let exported = dir.path().join("exported");
    run(&["export", "--program", "spring", "--server", &server.url, "--out", exported.to_str().unwrap()], 0);
    // What is published of the registry may have grown by a second's worth: until both are of one size.
    let (folder, archive) = until("an archive of the same checkpoints", || {
        let answer = reqwest::blocking::get(format!("{}/v1/programs/spring/bundle", server.url)).unwrap();
        assert_eq!(answer.headers()["content-type"], "application/x-tar");
        assert!(
            answer.headers()["content-disposition"]
                .to_str()
                .unwrap()
                .starts_with("attachment; filename=\"spring-")
        );
        let archive = answer.bytes().unwrap();
        let into = TempDir::new().unwrap();
        unpacked(&archive, into.path());
        let folder = into.path().join("spring-bundle");
        let same = fs::read(folder.join("registry/checkpoint")).unwrap()
            == fs::read(exported.join("registry/checkpoint")).unwrap();
        if !same {
            fs::remove_dir_all(&exported).unwrap();
            run(
                &[
                    "export",
                    "--program",
                    "spring",
                    "--server",
                    &server.url,
                    "--out",
                    exported.to_str().unwrap(),
                ],
                0,
            );
        }
        same.then_some((into, archive))
    });
    let downloaded = folder.path().join("spring-bundle");
    let (left, right) = (files(&downloaded), files(&exported));
    let names = |files: &[(String, Vec<u8>)]| files.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
    assert_eq!(names(&left), names(&right));
    for ((name, left), (_, right)) in left.iter().zip(&right) {
        assert_eq!(String::from_utf8_lossy(left), String::from_utf8_lossy(right), "{name}");
    }
    let vkey = registry_vkey(&downloaded);
    let verified = verified(downloaded.to_str().unwrap(), &vkey, &[]);
    assert_eq!(verified["logs"].as_array().unwrap().len(), 2);
    // Others' tar reads it, too, where there is one.
    let path = dir.path().join("bundle.tar");
    fs::write(&path, &archive).unwrap();
    if let Ok(listed) = Command::new("tar").arg("-tf").arg(&path).output() {
        assert!(listed.status.success(), "{}", text(&listed.stderr));
        assert_eq!(text(&listed.stdout).lines().count(), left.len());
    }
    // One bit of one entry, and it is found out.
    let entries = downloaded.join("tile/entries").read_dir().unwrap().next().unwrap().unwrap().path();
    let entries =
        if entries.is_dir() { entries.read_dir().unwrap().next().unwrap().unwrap().path() } else { entries };
    let mut bytes = fs::read(&entries).unwrap();
    bytes[40] ^= 1;
    fs::write(&entries, bytes).unwrap();
    let refused = Command::new(env!("CARGO_BIN_EXE_mentorlog"))
        .args(["verify", downloaded.to_str().unwrap(), "--vkey", &vkey])
        .output()
        .unwrap();
    assert!(!refused.status.success());
}
