//! Signed reports from the outside: asked for, found, made again, faked, and cut short at every step.
//! Never compares a whole report before its parts that chance decides have been checked.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use mentorlog::clock::Source as _;
use mentorlog::keys::Keys;
use mentorlog::ledger::Log;
use mentorlog::ledger::faulty::{Fault, FaultyLog};
use mentorlog::ledger::memory::MemoryLog;
use mentorlog::ledger::merkle::Tree;
use mentorlog::ledger::note::{Note, Signer, VerifierKey};
use mentorlog::ledger::sled::{OpenOptions, SledLog};
use mentorlog::writer::reports::{Against, Checked, Digest, Maker, Recorded, check};
use mentorlog_events::entry::Entry;
use mentorlog_events::event::registry::RegistryEvent;
use mentorlog_events::id::{LedgerId, ProgramId};
use mentorlog_events::record::Hash;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::cli::{run, text};
use crate::harness::{Answer, Client, Machine, NDJSON, Service, until};

const PROGRAM: &str = "00000000-0000-4000-8000-000000000001";
const REPORTS: &str = "/v1/programs/spring/reports";
const DAY: u64 = 86_400;

/// Thirty people in fifteen pairs: nine taught both ways and go on, six one way only and ended; the odd ones are the
/// older.
fn history(ended_at: &str) -> String {
    let mut lines = String::new();
    let mut add = |command: &str, data: Value| {
        lines.push_str(&json!({ "command": command, "data": data }).to_string());
        lines.push('\n');
    };
    let person = |n: u32| format!("label:person {n}");
    for n in 0..30 {
        let generation = if n % 2 == 0 { "gen-z" } else { "boomer" };
        add("import-participant", json!({ "participant": person(n), "generation": generation }));
    }
    for pair in 0..15 {
        let (a, b) = (person(2 * pair), person(2 * pair + 1));
        let started = format!("2026-03-{:02}T08:00:00Z", pair + 1);
        let id = format!("00000000-0000-4000-8000-0000000001{pair:02}");
        add("import-pair", json!({ "pair": id, "a": a, "b": b, "started_at": started }));
        let teach =
            |teacher: &str, minutes: u32| json!({ "teacher": teacher, "skill": "rust", "minutes": minutes });
        let mut exchanges = vec![teach(&a, 20 + pair)];
        if pair < 9 {
            exchanges.push(teach(&b, 10 + pair));
        }
        let occurred_at = format!("2026-06-{:02}T08:00:00Z", pair + 1);
        let session =
            json!({ "between": [a, b], "occurred_at": occurred_at, "minutes": 60, "exchanges": exchanges });
        add("import-session", session);
        if pair >= 9 {
            let end = json!({ "pair": id, "reason": "goals-met", "occurred_at": ended_at });
            add("end-pair", end);
        }
    }
    lines
}

fn start(log: &Arc<impl Log>, heads: BTreeMap<LedgerId, Tree>, data: &Path, machine: &Machine) -> Service {
    Service::start(log.clone(), heads, data, machine.clone())
}

/// Opens the program and fills it, on Monday 2026-09-21; false if writing stopped on the way.
fn fill(client: &mut Client) -> bool {
    fill_until(client, "2026-08-30T08:00:00Z")
}

/// The same, at most a month after the pairs that ended did.
fn fill_until(client: &mut Client, ended_at: &str) -> bool {
    let opening =
        json!({ "program": PROGRAM, "slug": "spring", "name": "Spring", "time_zone": "Europe/Berlin" });
    let opened = client.post("/v1/programs", &opening).status == 201;
    opened && {
        let path = "/v1/programs/spring/commands?atomic=true";
        let answer = client.send("POST", path, &[NDJSON], history(ended_at).as_bytes());
        answer.status == 207 && !answer.text().contains("problem")
    }
}

fn note_of(client: &mut Client, digest: &str) -> Answer {
    client.send("GET", &format!("/v1/reports/{digest}"), &[("accept", "text/plain")], b"")
}

/// The digest of the one report there is, as soon as it is there.
fn listed(client: &mut Client) -> String {
    until("the report", || {
        let list = client.get(REPORTS).json();
        list["reports"][0]["digest"].as_str().map(ToOwned::to_owned)
    })
}

/// A service with a history and a week that is over.
struct Told {
    log: Arc<MemoryLog>,
    data: TempDir,
    machine: Machine,
    service: Service,
}

impl Told {
    fn new() -> Self {
        let (log, data, machine) = (Arc::new(MemoryLog::new()), tempfile::tempdir().unwrap(), Machine::new());
        let service = start(&log, BTreeMap::new(), data.path(), &machine);
        assert!(fill(&mut service.client()));
        machine.advance(7 * DAY);
        Self { log, data, machine, service }
    }

    fn restarted(self) -> Self {
        let Self { log, data, machine, service } = self;
        service.stop();
        let service = start(&log, log.heads(), data.path(), &machine);
        Self { log, data, machine, service }
    }
}

#[test]
fn a_week_is_reported_once_and_to_the_byte_for_ever() {
    let told = Told::new();
    let mut client = told.service.client();
    let first = client.post(REPORTS, &json!({ "week": "2026-W39" }));
    assert_eq!(first.status, 201, "{}", first.text());
    let report = first.json();
    let digest = report["digest"].as_str().unwrap().to_owned();
    assert_eq!(first.header("location"), Some(format!("/v1/reports/{digest}").as_str()));

    // Asked for again, named or not, it is the same; later entries change nothing.
    let session = json!({
        "between": ["label:person 0", "label:person 1"], "occurred_at": "2026-06-20T08:00:00Z", "minutes": 30,
        "exchanges": [{ "teacher": "label:person 0", "skill": "rust", "minutes": 30 }],
    });
    assert_eq!(client.post("/v1/programs/spring/commands/import-session", &session).status, 201);
    for body in [json!({}), json!({ "week": "2026-W39" }), json!({ "week": null })] {
        let again = client.post(REPORTS, &body);
        assert_eq!((again.status, again.text()), (200, first.text()));
    }
    let note = note_of(&mut client, &digest);
    assert_eq!(note.header("content-type"), Some("text/plain; charset=utf-8"));
    assert_eq!(note.text(), report["note"].as_str().unwrap());
    assert_eq!(client.get(&format!("/v1/reports/{digest}")).text(), first.text());
    let list = client.get(REPORTS).json();
    assert_eq!(list["reports"].as_array().unwrap().len(), 1);
    assert_eq!(
        (&list["reports"][0]["digest"], &list["reports"][0]["week"], &list["reports"][0]["size"]),
        (&json!(digest), &json!("2026-W39"), &report["body"]["size"])
    );
    drop(client);
    let told = told.restarted();
    let mut client = told.service.client();
    assert_eq!(client.post(REPORTS, &json!({ "week": "2026-W39" })).text(), first.text());
    // Without its file it is made again, and is the same.
    std::fs::remove_file(told.data.path().join("reports").join(&digest)).unwrap();
    assert_eq!(client.get(&format!("/v1/reports/{digest}")).status, 500);
    let again = client.post(REPORTS, &json!({ "week": "2026-W39" }));
    assert_eq!((again.status, again.text()), (200, first.text()));
    assert_eq!(registry(&*told.log).iter().filter(|event| is_about_reports(event)).count(), 2);
    // The week after is another report, on one entry more.
    told.machine.advance(7 * DAY);
    let next = client.post(REPORTS, &json!({}));
    assert_eq!(next.status, 201, "{}", next.text());
    assert_eq!(next.json()["body"]["week"], "2026-W40");
    assert_eq!(next.json()["body"]["size"].as_u64(), report["body"]["size"].as_u64().map(|size| size + 1));

    // The signed text, line by line: what chance decides is checked, then left out.
    let note = Note::parse(report["note"].as_str().unwrap().as_bytes()).unwrap();
    assert_eq!(Digest::of(note.text()).to_string(), digest);
    let body = note.text().strip_prefix("mentorlog/report/v1\n").unwrap().strip_suffix('\n').unwrap();
    assert_eq!(serde_json::from_str::<Value>(body).unwrap(), report["body"]);
    let mut shown = body.to_owned();
    for name in ["report", "origin", "root"] {
        let said = report["body"][name].as_str().unwrap();
        assert!(!said.is_empty());
        shown = shown.replacen(said, &format!("<{name}>"), 1);
    }
    insta::assert_snapshot!("report_body", shown);
    insta::assert_json_snapshot!("report_decimals", report["decimals"]);
}

#[test]
fn what_cannot_be_a_report_is_refused_and_nothing_is_recorded() {
    let told = Told::new();
    let mut client = told.service.client();
    for (body, status, code) in [
        (json!({ "week": "2026-W40" }), 422, "impossible-report"),
        (json!({ "week": "2026-W38" }), 422, "impossible-report"),
        (json!({ "week": "2026-W54" }), 422, "impossible-report"),
        (json!({ "week": 39 }), 400, "malformed"),
        (json!({ "as_of": "2026-09-27" }), 400, "malformed"),
    ] {
        let answer = client.post(REPORTS, &body);
        assert_eq!(
            (answer.status, &answer.json()["code"]),
            (status, &json!(code)),
            "{body}: {}",
            answer.text()
        );
    }
    let unknown = "ab".repeat(32);
    for (path, code) in [
        (format!("/v1/reports/{unknown}"), "not-found"),
        (format!("/v1/reports/{}", unknown.to_uppercase()), "not-found"),
        ("/v1/reports/latest".to_owned(), "not-found"),
        ("/v1/programs/autumn/reports".to_owned(), "no-such-program"),
    ] {
        let answer = client.get(&path);
        assert_eq!((answer.status, &answer.json()["code"]), (404, &json!(code)), "{path}");
    }
    let pictures = [("accept", "image/png")];
    let answer = client.send("GET", &format!("/v1/reports/{unknown}"), &pictures, b"");
    assert_eq!((answer.status, &answer.json()["code"]), (406, &json!("not-acceptable")));
    assert!(!registry(&*told.log).iter().any(is_about_reports));
}

fn registry(log: &dyn Log) -> Vec<Entry<RegistryEvent>> {
    let records = log.read(LedgerId::REGISTRY, 0, usize::MAX).unwrap();
    records.iter().map(|record| Entry::parse(record.bytes()).unwrap()).collect()
}

fn is_about_reports(entry: &Entry<RegistryEvent>) -> bool {
    matches!(entry.event, RegistryEvent::ReportPublishing(_) | RegistryEvent::ReportPublished(_))
}

/// The roots a ledger had, by size.
fn roots(log: &dyn Log, ledger: LedgerId) -> Vec<Hash> {
    let mut tree = Tree::new();
    let mut roots = vec![tree.root()];
    for record in log.read(ledger, 0, usize::MAX).unwrap() {
        tree.push(record.leaf_hash());
        roots.push(tree.root());
    }
    roots
}

/// The steps of checking a report by the history, each as `ok`, `-` or what is wrong.
fn checked(told: &Told, bytes: &[u8], is_recorded: bool) -> BTreeMap<&'static str, String> {
    let program: ProgramId = PROGRAM.parse().unwrap();
    let roots = roots(&*told.log, program.into());
    let mut recorded = Recorded::default();
    let events = registry(&*told.log);
    events.iter().filter(|_| is_recorded).for_each(|entry| recorded.apply(entry));
    let (origin, key) = origin_and_key(&events);
    let against = Against {
        program,
        origin: &origin,
        root_at: &|size| roots.get(usize::try_from(size).ok()?).copied(),
        keys: &[key],
        recorded: Some(&recorded),
    };
    let steps =
        check(bytes, &against, &mut Maker::new(&*told.log, program)).into_iter().map(|(step, checked)| {
            let word = match checked {
                Checked::Ok(_) => "ok".to_owned(),
                Checked::NotChecked(_) => "-".to_owned(),
                Checked::Wrong(why) => why,
            };
            (step, word)
        });
    steps.collect()
}

fn origin_and_key(registry: &[Entry<RegistryEvent>]) -> (String, VerifierKey) {
    let opened = registry.iter().find_map(|entry| match &entry.event {
        RegistryEvent::LedgerOpened(opened) => Some(opened.clone()),
        _ => None,
    });
    let opened = opened.unwrap();
    let kind = mentorlog::ledger::note::KeyKind::Ed25519;
    let key = VerifierKey::new(opened.origin.parse().unwrap(), kind, &opened.public_key.0).unwrap();
    (opened.origin, key)
}

fn all_but(steps: &BTreeMap<&'static str, String>) -> Vec<(&'static str, String)> {
    let wrong = steps.iter().filter(|(_, word)| !["ok", "-"].contains(&word.as_str()));
    wrong.map(|(step, word)| (*step, word.clone())).collect()
}

#[test]
fn a_faked_report_is_found_out_even_when_it_is_signed_with_the_real_key() {
    let told = Told::new();
    let mut client = told.service.client();
    let answer = client.post(REPORTS, &json!({}));
    let report = answer.json();
    let note = report["note"].as_str().unwrap().to_owned();
    let good = checked(&told, note.as_bytes(), true);
    assert_eq!(all_but(&good), []);
    assert_eq!((good["report-view"].as_str(), good["report-entry"].as_str()), ("-", "ok"));
    let good = checked(&told, &answer.body, true);
    assert_eq!((all_but(&good), good["report-view"].as_str()), (vec![], "ok"));

    // Somebody who has the ledger's key signs another text.
    let keys = Keys::open(told.data.path(), true).unwrap();
    let (origin, _) = origin_and_key(&registry(&*told.log));
    let signer = Signer::new(origin.parse().unwrap(), &keys.seed(&origin, 1));
    let text = Note::parse(note.as_bytes()).unwrap().text().to_owned();
    let forged = |from: &str, to: &str| {
        assert_eq!(text.matches(from).count(), 1, "{from}");
        let text = text.replace(from, to);
        let lines = vec![signer.sign(&text, 0)];
        Note::signed(text, lines).unwrap().to_string()
    };
    let size = report["body"]["size"].as_u64().unwrap();
    let root = report["body"]["root"].as_str().unwrap().to_owned();
    let earlier =
        mentorlog_events::id::B64(roots(&*told.log, PROGRAM.parse::<ProgramId>().unwrap().into())[5]);
    for (from, to, step, why) in [
        (
            "\"two_way_pair_share\":{\"numerator\":9,\"denominator\":15}".to_owned(),
            "\"two_way_pair_share\":{\"numerator\":12,\"denominator\":15}".to_owned(),
            "report-body",
            "/figures/two_way_pair_share/numerator is 12, and the entries give 9",
        ),
        (
            "\"week\":".to_owned(),
            "\"note\":\"all is well\",\"week\":".to_owned(),
            "report-body",
            "/note stands in one of the two only",
        ),
        ("\"week\":".to_owned(), " \"week\":".to_owned(), "report-body", "the same figures in other bytes"),
        (
            format!("\"size\":{size},"),
            "\"size\":5,".to_owned(),
            "report-root",
            "at 5 entries the ledger had another root",
        ),
        (format!("\"size\":{size},"), format!("\"size\":{},", size + 9), "report-root", "there are fewer"),
        (
            format!("\"size\":{size},\"root\":\"{root}\""),
            format!("\"size\":5,\"root\":\"{earlier}\""),
            "report-body",
            "not those that were recorded by the close of 2026-W39",
        ),
        (
            "\"week\":\"2026-W39\"".to_owned(),
            "\"week\":\"2026-W38\"".to_owned(),
            "report-root",
            "is not the id of the report of 2026-W38",
        ),
        (origin.clone(), origin.replace("/1", "/2"), "report-root", "and this ledger is"),
    ] {
        let steps = checked(&told, forged(&from, &to).as_bytes(), true);
        assert!(steps[step].contains(why), "{to}: {steps:?}");
        assert_eq!(steps["report-key"], "ok", "{to}");
        // Whatever else: the registry recorded another text.
        let recorded = steps.get("report-entry").map_or("-", String::as_str);
        assert!(
            recorded == "-" || recorded.starts_with("the registry recorded another report"),
            "{recorded}"
        );
    }
    // Somebody who does not.
    let stranger = Signer::new(origin.parse().unwrap(), &[7; 32]);
    let unsigned = Note::signed(text.clone(), vec![stranger.sign(&text, 0)]).unwrap().to_string();
    assert_eq!(all_but(&checked(&told, unsigned.as_bytes(), true)).len(), 1);
    assert_ne!(checked(&told, unsigned.as_bytes(), true)["report-key"], "ok");
    let edited = note.replace("\"denominator\":15", "\"denominator\":16");
    assert_ne!(checked(&told, edited.as_bytes(), true)["report-key"], "ok");
    // Signed and right, and never published.
    assert_eq!(checked(&told, note.as_bytes(), false)["report-entry"], "the registry does not know it");

    // A rendering says more than is signed.
    type Edit<'a> = (&'a str, &'a dyn Fn(&mut Value), &'a str);
    let exact = report["decimals"]["survival.180"].as_f64().unwrap();
    let edits: [Edit<'_>; 6] = [
        (
            "a share",
            &|report| report["decimals"]["weighted_reciprocity"] = json!(0.9),
            "`weighted_reciprocity` is 0.9",
        ),
        (
            "the last digits",
            &|report| report["decimals"]["survival.180"] = json!(exact - 3e-12),
            "`survival.180` is ",
        ),
        ("nothing", &|report| report["decimals"]["survival.180"] = Value::Null, "`survival.180` is withheld"),
        (
            "one less",
            &|report| drop(report["decimals"].as_object_mut().unwrap().remove("rmst.180")),
            "`rmst.180` is missing",
        ),
        (
            "one more",
            &|report| report["decimals"]["quality"] = json!(1.0),
            "`quality` is no decimal of a report",
        ),
        (
            "a count",
            &|report| report["body"]["pairs"]["active"] = json!(99),
            "/pairs/active is 99, and signed is 9",
        ),
    ];
    for (what, edit, why) in edits {
        let mut edited = report.clone();
        edit(&mut edited);
        let steps = checked(&told, edited.to_string().as_bytes(), true);
        assert!(steps["report-view"].contains(why), "{what}: {steps:?}");
        assert_eq!(steps["report-body"], "ok", "{what}");
    }
    let mut close = report.clone();
    close["decimals"]["survival.180"] = json!(exact - 5e-13);
    assert_eq!(checked(&told, close.to_string().as_bytes(), true)["report-view"], "ok");
    for nothing in ["", "{}", "{\"note\":1", "text\n\n\u{2014} a AAAAAAAA\n"] {
        assert!(checked(&told, nothing.as_bytes(), true)["report"].len() > 4, "{nothing}");
    }
}

#[test]
fn publishing_that_broke_off_at_any_append_is_finished_by_the_next_start() {
    let (mut finished, mut refused) = (0, 0);
    // Those before are the registry, the program, its history; the last of these are the intent and the completion.
    for call in 4..8 {
        for fault in [Fault::Lost, Fault::WrittenUnknown] {
            let what = format!("{fault:?} at append {call}");
            let (data, machine) = (tempfile::tempdir().unwrap(), Machine::new());
            let log = Arc::new(FaultyLog::failing_at(MemoryLog::new(), call, fault, 0));
            let service = start(&log, BTreeMap::new(), data.path(), &machine);
            let mut client = service.client();
            if fill(&mut client) {
                machine.advance(7 * DAY);
                let answer = client.post(REPORTS, &json!({}));
                refused += u64::from(answer.status == 503);
            }
            drop(client);
            service.stop();
            let log = Arc::new(Arc::into_inner(log).unwrap().restart());
            let about =
                |log: &MemoryLog| registry(log).iter().filter(|event| is_about_reports(event)).count();
            let before = about(&log);
            let service = start(&log, log.heads(), data.path(), &machine);
            finished += u64::from(before == 1);
            let mut client = service.client();
            if before == 0 {
                drop(client);
                continue;
            }
            let digest = listed(&mut client);
            let note = note_of(&mut client, &digest);
            assert_eq!(note.status, 200, "{what}");
            let again = client.post(REPORTS, &json!({ "week": "2026-W39" }));
            assert_eq!((again.status, &again.json()["note"]), (200, &json!(note.text())), "{what}");
            drop(client);
            service.stop();
            assert_eq!(about(&log), 2, "{what}");
        }
    }
    assert!(finished >= 2 && refused >= 4, "{finished} were finished, {refused} were refused");
}

#[test]
fn publishing_that_broke_off_at_the_file_is_finished_when_there_is_room() {
    let told = Told::new();
    let obstacle = told.data.path().join("reports");
    std::fs::write(&obstacle, "not a directory").unwrap();
    let mut client = told.service.client();
    let answer = client.post(REPORTS, &json!({}));
    assert_eq!((answer.status, &answer.json()["code"]), (500, &json!("unreadable")));
    drop(client);
    let about = |told: &Told| registry(&*told.log).iter().filter(|event| is_about_reports(event)).count();
    assert_eq!(about(&told), 1);
    // Nothing has changed: it is left as it is, and the service starts.
    let told = told.restarted();
    assert_eq!((about(&told), told.service.client().get(REPORTS).json()["reports"].clone()), (1, json!([])));
    // A draft that a crash left behind is no report.
    std::fs::remove_file(&obstacle).unwrap();
    std::fs::create_dir(&obstacle).unwrap();
    std::fs::write(obstacle.join(format!("{}.new", "ab".repeat(32))), "mentorlog/rep").unwrap();
    let told = told.restarted();
    let mut client = told.service.client();
    let digest = listed(&mut client);
    assert_eq!(about(&told), 2);
    let note = note_of(&mut client, &digest);
    assert_eq!(all_but(&checked(&told, &note.body, true)), []);
    // Asking again finds it, and so it is when the answer to a first asking was lost.
    assert_eq!(client.post(REPORTS, &json!({})).status, 200);
    assert_eq!(about(&told), 2);
}

// ------------------------------------------------------------------------------------------ the command line

/// A data directory on a disk, served by this process, whose last week is over by the machine's own clock.
struct Installed {
    dir: TempDir,
    service: Service,
    log: Arc<SledLog>,
}

impl Installed {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("data");
        let machine = Machine::new();
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
        // Eight days ago: later commands of processes of their own find the week over.
        machine.jump(i64::try_from(now - 8 * DAY).unwrap() - Machine::START_SECONDS);
        let opened = SledLog::open(&data, &OpenOptions::default()).unwrap();
        let log = Arc::new(opened.log);
        let service = start(&log, opened.heads, &data, &machine);
        let ended_at = machine.wall().plus_days(-10).to_string();
        assert!(fill_until(&mut service.client(), &ended_at));
        machine.advance(8 * DAY);
        Self { dir, service, log }
    }

    fn path(&self, name: &str) -> String {
        self.dir.path().join(name).to_str().unwrap().to_owned()
    }

    fn server(&self) -> String {
        format!("http://{}", self.service.address)
    }

    /// Ends the service: the data directory is free for others.
    fn stop(self) -> TempDir {
        self.service.stop();
        self.log.close().unwrap();
        self.dir
    }

    fn vkeys(&self) -> (String, String) {
        let keys = self.service.client().get("/v1/keys").json();
        let keys = keys["keys"].as_array().unwrap().clone();
        let of = |registry: bool| {
            let key = keys.iter().find(|key| (key["program"] == json!(PROGRAM)) != registry).unwrap();
            key["vkey"].as_str().unwrap().to_owned()
        };
        (of(true), of(false))
    }
}

#[test]
fn a_report_goes_out_by_the_command_line_and_is_verified_against_a_bundle_a_mirror_and_the_server() {
    let installed = Installed::new();
    let (json_file, note_file) = (installed.path("report.json"), installed.path("report.note"));
    let (server, bundle) = (installed.server(), installed.path("bundle"));
    let at = ["report", "--program", "spring", "--server", &server];
    let told = run(&[&at[..], &["--out", &json_file]].concat(), 0);
    assert!(text(&told.stderr).contains("on the first 67 entries"), "{}", text(&told.stderr));
    run(&[&at[..], &["--out", &note_file, "--format", "note"]].concat(), 0);
    let refused = run(&[&at[..], &["--week", "2037-W01"]].concat(), 1);
    assert!(text(&refused.stderr).contains("is not over"), "{}", text(&refused.stderr));
    let (registry, ledger) = installed.vkeys();
    // Published: the registry's checkpoint holds both entries, and the ledger has one.
    until("the checkpoints", || {
        let mut client = installed.service.client();
        let size = installed.service.published.registry().size.to_string();
        let registry = client.get("/log/registry/checkpoint");
        let ledger = client.get("/log/spring/checkpoint");
        (registry.text().lines().nth(1) == Some(&size) && ledger.status == 200).then_some(())
    });
    run(&["export", "--program", "spring", "--server", &server, "--out", &bundle], 0);
    let digest =
        std::fs::read_dir(installed.dir.path().join("bundle/reports")).unwrap().next().unwrap().unwrap();
    assert_eq!(std::fs::read(digest.path()).unwrap(), std::fs::read(&note_file).unwrap());
    let steps = |output: &std::process::Output| -> Vec<(String, String)> {
        let document: Value = serde_json::from_slice(&output.stdout).unwrap();
        let logs = document["logs"].as_array().unwrap().clone();
        let steps = logs.iter().flat_map(|log| log["steps"].as_array().unwrap().clone());
        let word = |value: &Value| value.as_str().unwrap().to_owned();
        let steps = steps.map(|step| (word(&step["step"]), word(&step["outcome"])));
        steps.filter(|(step, _)| step.starts_with("report")).collect()
    };
    let expected = |view: &str| {
        let steps = ["report", "report-key", "report-root", "report-body", "report-view", "report-entry"];
        let outcome = |step: &str| if step == "report-view" { view.to_owned() } else { "ok".to_owned() };
        steps.map(|step| (step.to_owned(), outcome(step))).to_vec()
    };
    let verify = |place: &str, vkey: &str, file: &str| {
        steps(&run(&["verify", place, "--vkey", vkey, "--report", file, "--format", "json"], 0))
    };
    // Beside the log it is looked at without being named, then again as it was given.
    assert_eq!(verify(&bundle, &registry, &json_file), [expected("not-checked"), expected("ok")].concat());
    assert_eq!(
        verify(&bundle, &ledger, &note_file),
        [expected("not-checked"), expected("not-checked")].concat()
    );
    assert_eq!(verify(&server, &registry, &json_file), [expected("not-checked"), expected("ok")].concat());
    let mirror = installed.path("data");
    let found = verify(&mirror, &registry, &json_file);
    assert_eq!(found[0], ("reports".to_owned(), "not-checked".to_owned()), "a mirror holds no reports");
    assert_eq!(found[1..], expected("ok"));

    // Out of a directory that no server uses it is the same.
    let first = std::fs::read(&note_file).unwrap();
    let dir = installed.stop();
    let (data, again) = (dir.path().join("data"), dir.path().join("again"));
    let (data, again) = (data.to_str().unwrap(), again.to_str().unwrap());
    let week = Note::parse(&first).unwrap().text().split_once("\"week\":\"").unwrap().1[..8].to_owned();
    let again_at = ["report", "--program", "spring", "--data", data, "--week", &week];
    run(&[&again_at[..], &["--out", again, "--format", "note"]].concat(), 0);
    assert_eq!(std::fs::read(again).unwrap(), first);
    let other = dir.path().join("other");
    run(&["export", "--program", "spring", "--data", data, "--out", other.to_str().unwrap()], 0);
    assert_eq!(std::fs::read(other.join("reports").join(digest.file_name())).unwrap(), first);
}

#[test]
fn a_faked_report_has_an_exit_code_of_its_own() {
    let installed = Installed::new();
    let (file, bundle, server) =
        (installed.path("report.json"), installed.path("bundle"), installed.server());
    run(&["report", "--program", "spring", "--server", &server, "--out", &file], 0);
    let (registry, _) = installed.vkeys();
    let dir = installed.stop();
    let data = dir.path().join("data");
    run(&["export", "--program", "spring", "--data", data.to_str().unwrap(), "--out", &bundle], 0);
    let report: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    let verify = |bytes: &[u8], code: i32| {
        let file = dir.path().join("held");
        std::fs::write(&file, bytes).unwrap();
        let output = run(&["verify", &bundle, "--vkey", &registry, "--report", file.to_str().unwrap()], code);
        text(&output.stderr).to_owned()
    };
    verify(report.to_string().as_bytes(), 0);
    // A place that holds no program cannot vouch for a report.
    let alone = format!("{bundle}/registry");
    run(&["verify", &alone, "--vkey", &registry, "--report", &file], 2);
    // A figure, signed again with the ledger's own key.
    let note = Note::parse(report["note"].as_str().unwrap().as_bytes()).unwrap();
    let faked =
        note.text().replace("\"numerator\":9,\"denominator\":15", "\"numerator\":14,\"denominator\":15");
    assert_ne!(faked, note.text());
    let origin = report["body"]["origin"].as_str().unwrap();
    let keys = Keys::open(&data, true).unwrap();
    let signer = Signer::new(origin.parse().unwrap(), &keys.seed(origin, 1));
    let faked = Note::signed(faked.clone(), vec![signer.sign(&faked, 0)]).unwrap().to_string();
    let why = verify(faked.as_bytes(), 19);
    assert!(why.contains("NOT verified (report): /figures/two_way_pair_share/numerator is 14"), "{why}");
    // A decimal of the rendering, which nobody signed.
    let mut rosier = report.clone();
    rosier["decimals"]["two_way_pair_share"] = json!(0.93);
    let why = verify(rosier.to_string().as_bytes(), 19);
    assert!(why.contains("`two_way_pair_share` is 0.93, and the entries give 0.6"), "{why}");
    assert!(verify(b"all is well", 19).contains("is not a report"));
    // The faked one in the place of the real one, or under its own name.
    let reports = dir.path().join("bundle/reports");
    let digest = report["digest"].as_str().unwrap();
    std::fs::write(reports.join(digest), &faked).unwrap();
    let output = run(&["verify", &bundle, "--vkey", &registry], 19);
    assert!(text(&output.stderr).contains("holds another text"), "{}", text(&output.stderr));
}
