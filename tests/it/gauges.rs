//! What Prometheus is told of the programs and of the service, and whether what is shipped for it asks for what is there.
//! Never waits for a week: the clock is the test's.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use mentorlog::ledger::sled::{OpenOptions, SledLog};
use serde_json::{Value, json};

use crate::harness::{Client, Machine, NDJSON, Service, until};

/// A week, in seconds.
const WEEK: u64 = 7 * 86_400;

/// The service over a store on disk, its clock in the test's hands.
struct Town {
    service: Service,
    log: Arc<SledLog>,
    machine: Machine,
    client: Client,
    data: tempfile::TempDir,
}

fn person(n: usize) -> String {
    format!("00000000-0000-4000-8000-{n:012x}")
}

fn pair(n: usize) -> String {
    format!("00000000-0000-4000-9000-{n:012x}")
}

impl Town {
    fn new() -> Self {
        let data = tempfile::tempdir().unwrap();
        // Long ago: what lies in the future of the machine that runs the test has no history.
        let machine = Machine::new();
        machine.jump(-3 * 364 * 86_400);
        let opened = SledLog::open(data.path(), &OpenOptions::default()).unwrap();
        let log = Arc::new(opened.log);
        let service = Service::start(log.clone(), opened.heads, data.path(), machine.clone());
        let client = service.client();
        Self { service, log, machine, client, data }
    }

    fn open(&mut self, slug: &str) {
        let body = json!({ "slug": slug, "name": slug, "time_zone": "Europe/Berlin" });
        let answer = self.client.post("/v1/programs", &body);
        assert_eq!(answer.status, 201, "{}", answer.text());
    }

    fn batch(&mut self, slug: &str, items: &[Value]) {
        let body: String = items.iter().map(|item| format!("{item}\n")).collect();
        let path = format!("/v1/programs/{slug}/commands");
        let answer = self.client.send("POST", &path, &[NDJSON], body.as_bytes());
        assert!(answer.status == 207 && !answer.text().contains("\"code\""), "{}", answer.text());
    }

    /// So many pairs of an older and a younger one; the older teaches the younger, and in every other pair the
    /// younger teaches a little back.
    fn settle(&mut self, slug: &str, pairs: usize) {
        let now = mentorlog_events::time::Timestamp::nearest(self.wall());
        let mut items = Vec::new();
        for n in 0..pairs {
            for (person, generation) in [(person(2 * n), "boomer"), (person(2 * n + 1), "gen-z")] {
                let data = json!({ "participant": person, "generation": generation });
                items.push(json!({ "command": "import-participant", "data": data }));
            }
            let [a, b] = [person(2 * n), person(2 * n + 1)];
            let data =
                json!({ "pair": pair(n), "a": a, "b": b, "started_at": now.plus_minutes(-90).to_string() });
            items.push(json!({ "command": "import-pair", "data": data }));
            let mut exchanges = vec![json!({ "teacher": a, "skill": "law", "minutes": 20 })];
            if n % 2 == 0 {
                exchanges.push(json!({ "teacher": b, "skill": "video", "minutes": 10 }));
            }
            let data = json!({ "pair": pair(n), "minutes": 60, "mode": "video", "exchanges": exchanges });
            let at = now.plus_minutes(-80).to_string();
            items.push(json!({ "command": "log-session", "occurred_at": at, "data": data }));
        }
        self.batch(slug, &items);
    }

    fn wall(&self) -> i64 {
        use mentorlog::clock::Source as _;
        self.machine.wall().as_micros()
    }

    /// Lets so many weeks pass, one after the other as a service lives through them.
    fn weeks(&self, weeks: u64) {
        for _ in 0..weeks {
            self.machine.advance(WEEK);
            self.service.published.survey();
        }
    }

    fn scrape(&mut self) -> String {
        self.client.get("/metrics").text().to_owned()
    }
}

/// The series of program figures in a scrape, with their values.
fn figures(scrape: &str, program: &str) -> Vec<String> {
    let label = format!("program=\"{program}\"");
    // Sessions told of and voided are sums of other figures: the history does not repeat them.
    let sum = |line: &str| {
        line.contains("_total{")
            || line.starts_with("mentorlog_sessions_logged")
            || line.starts_with("mentorlog_sessions_voided")
    };
    let of_it = |line: &&str| line.contains(&label) && !sum(line);
    scrape.lines().filter(of_it).map(str::to_owned).collect()
}

/// Names of the metrics a scrape describes, with their kinds.
fn described(scrape: &str) -> BTreeMap<&str, &str> {
    scrape.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' ')).collect()
}

/// Names of all series of a scrape.
fn series(scrape: &str) -> BTreeSet<String> {
    let name = |line: &str| line.split(['{', ' ']).next().unwrap_or_default().to_owned();
    scrape.lines().filter(|line| !line.starts_with('#')).map(name).collect()
}

fn repository(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

// ------------------------------------------------------------------------------------------- program figures

#[test]
fn figures_of_a_program_change_at_the_close_of_a_week_and_at_no_other_time() {
    let mut town = Town::new();
    town.open("spring");
    town.settle("spring", 20);
    town.service.published.survey();
    assert_eq!(figures(&town.scrape(), "spring"), Vec::<String>::new(), "no week has closed");
    town.weeks(1);
    let closed = town.scrape();
    let mut text = String::new();
    for line in figures(&closed, "spring") {
        let _ = writeln!(text, "{line}");
    }
    insta::assert_snapshot!("program_figures", text);
    // More happens, at once in the counters, and in the figures not before the week is over.
    let total = |scrape: &str| {
        let line = scrape.lines().find(|line| line.starts_with("mentorlog_ledger_events_total{")).unwrap();
        line.rsplit_once(' ').unwrap().1.to_owned()
    };
    assert_eq!(total(&closed), "81");
    town.machine.advance(60);
    let now = mentorlog_events::time::Timestamp::nearest(town.wall()).plus_minutes(-40).to_string();
    let again: Vec<Value> = (0..20)
        .map(|n| {
            let exchanges = json!([{ "teacher": person(2 * n + 1), "skill": "video", "minutes": 30 }]);
            let data = json!({ "pair": pair(n), "minutes": 30, "mode": "video", "exchanges": exchanges });
            json!({ "command": "log-session", "occurred_at": now, "data": data })
        })
        .collect();
    town.batch("spring", &again);
    town.service.published.survey();
    let meanwhile = town.scrape();
    assert_eq!(total(&meanwhile), "101");
    assert!(closed.contains("mentorlog_sessions_logged{program=\"spring\"} 20\n"), "{closed}");
    assert!(meanwhile.contains("mentorlog_sessions_logged{program=\"spring\"} 20\n"), "{meanwhile}");
    assert_eq!(figures(&meanwhile, "spring"), figures(&closed, "spring"));
    town.weeks(1);
    let next = town.scrape();
    let all = "mentorlog_weighted_reciprocity_denominator_seconds{program=\"spring\"} 66000\n";
    assert!(next.contains(all), "{next}");
    assert_ne!(figures(&next, "spring"), figures(&closed, "spring"));
}

#[test]
fn what_rests_on_few_people_is_absent_and_counted() {
    let mut town = Town::new();
    town.open("small");
    town.settle("small", 2);
    town.weeks(1);
    let scrape = town.scrape();
    let shown = figures(&scrape, "small");
    for absent in [
        "mentorlog_participants{",
        "mentorlog_exchanging_pairs{",
        "mentorlog_sessions_logged{",
        "mentorlog_weighted_reciprocity_denominator_seconds{",
    ] {
        assert!(!scrape.contains(absent), "{absent}: {scrape}");
    }
    // What nobody did tells nothing of anybody.
    let none = "mentorlog_sessions{program=\"small\",state=\"voided\"} 0";
    assert!(shown.iter().any(|line| line == none), "{shown:?}");
    let withheld =
        shown.iter().find_map(|line| line.strip_prefix("mentorlog_cells_withheld{program=\"small\"} "));
    assert!(withheld.unwrap().parse::<u64>().unwrap() > 10, "{shown:?}");
}

#[test]
fn of_many_programs_the_first_keep_their_names_and_the_rest_is_summed() {
    let mut town = Town::new();
    // The name of the sum is no name of a series.
    town.open("other");
    for n in 0..52 {
        town.machine.advance(1);
        town.open(&format!("p{:02}", 99 - n));
    }
    let scrape = town.scrape();
    let of = |slug: &str| {
        let start = format!("mentorlog_ledger_events_total{{program=\"{slug}\"}} ");
        scrape.lines().find_map(|line| line.strip_prefix(&start))
    };
    assert_eq!((of("p99"), of("p50"), of("p49"), of("p48")), (Some("1"), Some("1"), None, None));
    assert_eq!(of("other"), Some("3"));
    assert!(scrape.contains("mentorlog_programs 53\n") && scrape.contains("mentorlog_programs_left_out 3\n"));
}

#[test]
fn the_history_is_what_the_scrapes_showed() {
    let mut town = Town::new();
    town.open("spring");
    town.settle("spring", 20);
    town.weeks(2);
    let at = town.wall() / 1_000_000;
    let scraped = figures(&town.scrape(), "spring");
    // A scrape of the hour that history has a value of.
    let hour = at / 3600 * 3600;
    let Town { service, log, data, client, .. } = town;
    drop(client);
    service.stop();
    log.close().unwrap();
    drop(log);
    let out = data.path().join("spring.om");
    let history = |arguments: &[&str], code: i32| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_mentorlog"));
        command.args(["metrics-history", "--program", "spring", "--data"]).arg(data.path()).args(arguments);
        let output = command.env_remove("MENTORLOG_SERVER").output().unwrap();
        assert_eq!(output.status.code(), Some(code), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    history(&["--label", "job=mentorlog", "--out", out.to_str().unwrap()], 0);
    let text = fs::read_to_string(&out).unwrap();
    assert!(text.ends_with("\n# EOF\n"));
    let then: BTreeSet<String> = text
        .lines()
        .filter_map(|line| line.strip_suffix(&format!(" {hour}")))
        .map(|line| line.replace(",job=\"mentorlog\"", ""))
        .collect();
    assert_eq!(then, scraped.iter().cloned().collect());
    // Every family stands in one piece, every series in the order of time.
    let (mut families, mut before) = (BTreeSet::new(), ("", 0_i64));
    for line in text.lines() {
        if let Some(described) = line.strip_prefix("# TYPE ") {
            assert!(families.insert(described), "{described} twice");
        } else if !line.starts_with('#') {
            let (series, at) =
                line.rsplit_once(' ').map(|(rest, at)| (rest.rsplit_once(' ').unwrap().0, at)).unwrap();
            let at = at.parse().unwrap();
            assert!(before.0 != series || before.1 < at, "{line}");
            before = (series, at);
        }
    }
    // A stretch of it, at another step.
    let day =
        mentorlog_events::time::Zone::UTC.day(mentorlog_events::time::Timestamp::nearest(at * 1_000_000));
    let part = history(&["--from", &day.to_string(), "--to", &day.to_string(), "--step", "2h"], 0);
    let pairs = part.lines().filter(|line| line.starts_with("mentorlog_exchanging_pairs{")).count();
    assert_eq!(pairs, 12);
    for wrong in [&["--step", "1s"][..], &["--step", "1d"], &["--label", "program=x"], &["--label", "a-b=x"]]
    {
        history(wrong, 2);
    }
    history(&["--from", "2026-01-02", "--to", "2026-01-01"], 2);
}

// ----------------------------------------------------------------------------------------- names that are there

/// Everything in this text that can only be the name of a metric or of a recorded series.
fn names(text: &str) -> BTreeSet<String> {
    let part_of_name = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    text.split(|c| !part_of_name(c))
        .filter(|word| {
            let recorded = word.contains(":mentorlog_");
            recorded || word.starts_with("mentorlog_") || word.starts_with("process_")
        })
        .map(str::to_owned)
        .collect()
}

/// The names recorded by these rules.
fn recorded(rules: &str) -> BTreeSet<String> {
    rules.lines().filter_map(|line| line.trim().strip_prefix("- record: ")).map(str::to_owned).collect()
}

/// The queries of a dashboard, and of its variables.
fn queries(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                match member {
                    Value::String(text) if name == "expr" || name == "query" => found.push(text.clone()),
                    member => queries(member, found),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| queries(item, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Without comments and the names of groups, which are names of ours too.
fn rules(path: &str) -> String {
    let text = repository(path);
    let lines = text.lines().filter(|line| {
        let line = line.trim();
        !line.starts_with('#') && !line.starts_with("- name:")
    });
    lines.map(|line| format!("{line}\n")).collect()
}

/// Names that are asked for and are nowhere to be found.
fn missing(text: &str, known: &BTreeSet<String>) -> Vec<String> {
    names(text).into_iter().filter(|name| !known.contains(name)).collect()
}

/// A scrape in which everything is there that ever can be.
fn full_scrape() -> String {
    let mut town = Town::new();
    town.open("spring");
    town.settle("spring", 20);
    town.weeks(1);
    town.scrape();
    // On a busy machine the first checkpoint comes later than the first scrape.
    until("a published checkpoint", || {
        Some(town.scrape()).filter(|scrape| scrape.contains("\nmentorlog_checkpoint_age_seconds{"))
    })
}

#[test]
fn what_the_rules_the_alerts_and_the_dashboard_ask_for_is_there() {
    let scrape = full_scrape();
    let recording = rules("deploy/prometheus/mentorlog.rules.yml");
    let alerts = rules("deploy/prometheus/mentorlog.alerts.yml");
    let mut known = series(&scrape);
    known.extend(described(&scrape).into_keys().map(str::to_owned));
    let exposed = known.clone();
    known.extend(recorded(&recording));
    assert!(names(&recording).len() > 30 && names(&alerts).len() > 10, "the reading is not blind");
    let sides: String = recording.lines().filter(|line| !line.contains("- record:")).collect();
    assert_eq!(missing(&sides, &exposed), Vec::<String>::new(), "rules");
    assert_eq!(missing(&alerts, &known), Vec::<String>::new(), "alerts");
    let dashboard: Value = serde_json::from_str(&repository("deploy/grafana/mentorlog.json")).unwrap();
    let mut asked = Vec::new();
    queries(&dashboard, &mut asked);
    assert!(asked.len() > 40, "{}", asked.len());
    assert_eq!(missing(&asked.join("\n"), &known), Vec::<String>::new(), "dashboard");
    for query in asked.iter().filter(|query| query.contains("mentorlog_")) {
        assert_eq!(query.matches(['(', '{', '[']).count(), query.matches([')', '}', ']']).count(), "{query}");
    }
    // It can fail: one letter more, and it is not there.
    let wrong = alerts.replacen("mentorlog_queue_depth", "mentorlog_queue_depths", 1);
    assert_eq!(missing(&wrong, &known), ["mentorlog_queue_depths"]);
    // Every rule and every alert has a test of its own.
    let tests: String = ["rules", "alerts", "slow"]
        .map(|name| repository(&format!("deploy/prometheus/tests/{name}.test.yml")))
        .concat();
    for name in recorded(&recording) {
        assert!(tests.contains(&format!("expr: {name}")), "{name} has no test");
    }
    for alert in alerts.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")) {
        let mut sides = tests.split("alertname: ").skip(1).filter(|part| part.lines().next() == Some(alert));
        let silent = |part: &&str| part.lines().nth(1).is_some_and(|line| line.trim() == "exp_alerts: []");
        let (quiet, loud): (Vec<&str>, Vec<&str>) = sides.by_ref().partition(silent);
        assert!(!quiet.is_empty() && !loud.is_empty(), "{alert} is not tested firing and not firing");
    }
}

#[test]
fn every_metric_stands_in_the_readme_and_nothing_else_does() {
    let scrape = full_scrape();
    let readme = repository("README.md");
    let table = readme.split("## Metrics").nth(1).expect("a part about metrics");
    let table = table.split("\n## ").next().unwrap();
    let told: BTreeSet<String> = table
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split(['`', '{']).next())
        // Only where witnesses are asked; `proof` has some.
        .filter(|name| name.starts_with("mentorlog_") && !name.starts_with("mentorlog_witness_"))
        .map(str::to_owned)
        .collect();
    let there: BTreeSet<String> = described(&scrape)
        .into_keys()
        .filter(|name| name.starts_with("mentorlog_"))
        .map(str::to_owned)
        .collect();
    assert_eq!(told, there);
}
