//! The durable log in processes that are killed. The child processes are ignored tests of this program.
use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use mentorlog::ledger::merkle::Tree;
use mentorlog::ledger::sled::{OpenError, OpenOptions, ProbeCommand, SledLog};
use mentorlog::ledger::{Append, Log as _, Outcome};
use mentorlog_events::id::LedgerId;
use mentorlog_events::record::Record;

fn ledger(n: u128) -> LedgerId {
    LedgerId(uuid::Uuid::from_u128(n << 80 | 0x8000_0000_0000_0000))
}

fn entry(ledger: LedgerId, seq: u64) -> Record {
    let filling = "x".repeat(usize::try_from(seq * 31 % 900).unwrap());
    Record::stored(format!("{{\"ledger\":\"{ledger}\",\"seq\":{seq},\"f\":\"{filling}\"}}").into())
}

fn options() -> OpenOptions {
    let arguments = ["--ignored", "--exact", "ledger::child_that_tries_the_opening"].map(Into::into).into();
    let program = std::env::current_exe().unwrap();
    let probe = ProbeCommand { program, arguments, time_limit: Duration::from_secs(30) };
    OpenOptions { tail_segment_bytes: 256 << 10, probe: Some(probe), ..OpenOptions::default() }
}

fn child(test: &str, dir: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--ignored", "--exact", "--nocapture", test]).env("MENTORLOG_TEST_DIR", dir);
    command.stdout(Stdio::piped()).stderr(Stdio::null());
    command
}

fn dir_of_the_parent() -> std::path::PathBuf {
    std::env::var_os("MENTORLOG_TEST_DIR").expect("only a parent test runs this").into()
}

#[test]
#[ignore = "a child process of the tests below"]
fn child_that_tries_the_opening() {
    let dir = std::env::args().next_back().unwrap();
    mentorlog::ledger::probe(Path::new(&dir)).unwrap();
}

#[test]
#[ignore = "a child process of the tests below"]
fn child_that_appends_until_it_is_killed() {
    let opened = SledLog::open(&dir_of_the_parent(), &options()).unwrap();
    let mut trees = opened.heads;
    println!("open");
    for round in 0_u64.. {
        let appends: Vec<_> = (0..=u128::from(round % 3))
            .map(|n| {
                let tree: &mut Tree = trees.entry(ledger(n)).or_default();
                let expected_size = tree.size();
                let records: Vec<_> = (expected_size..=expected_size + round * 7 % 40)
                    .map(|seq| entry(ledger(n), seq))
                    .collect();
                tree.extend(records.iter().map(Record::leaf_hash));
                Append { ledger: ledger(n), expected_size, records, root: tree.root() }
            })
            .collect();
        let outcomes = opened.log.append(&appends);
        assert!(outcomes.iter().all(|outcome| matches!(outcome, Outcome::Ok)), "{outcomes:?}");
        for n in 0..appends.len() as u128 {
            println!("acknowledged {n} {}", trees[&ledger(n)].size());
        }
    }
}

#[test]
fn nothing_acknowledged_is_lost_when_the_process_is_killed_at_any_moment() {
    let dir = tempfile::TempDir::new().unwrap();
    let mut acknowledged: BTreeMap<u128, u64> = BTreeMap::new();
    let mut random = 20_261_121_u64;
    for round in 0..12 {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let lines_until_the_kill = random >> 33;
        let lines_until_the_kill = lines_until_the_kill % 90;
        println!("round {round}: killed after {lines_until_the_kill} lines");
        let mut appending =
            child("ledger::child_that_appends_until_it_is_killed", dir.path()).spawn().unwrap();
        let mut lines = BufReader::new(appending.stdout.take().unwrap()).lines();
        let mut seen = 0;
        let mut note = |line: String| {
            if let Some(said) = line.strip_prefix("acknowledged ") {
                let (n, size) = said.split_once(' ').unwrap();
                acknowledged.insert(n.parse().unwrap(), size.parse().unwrap());
            }
        };
        while seen < lines_until_the_kill {
            note(lines.next().expect("the child goes on until it is killed").unwrap());
            seen += 1;
        }
        appending.kill().unwrap();
        // What it had said before it died was said, too; the last line may be torn.
        let rest: Vec<_> = lines.map_while(Result::ok).collect();
        rest.iter().take(rest.len().saturating_sub(1)).for_each(|line| note(line.clone()));
        appending.wait().unwrap();

        let opened = SledLog::open(dir.path(), &options()).unwrap_or_else(|error| panic!("{error}"));
        for (n, size) in &acknowledged {
            let found = opened.log.read(ledger(*n), 0, usize::MAX).unwrap();
            assert!(found.len() as u64 >= *size, "ledger {n}: {} of {size}", found.len());
            for (seq, record) in (0..).zip(&found) {
                assert_eq!(*record, entry(ledger(*n), seq), "ledger {n} seq {seq}");
            }
        }
        assert!(opened.report.findings.iter().all(|finding| !finding.warning), "{:?}", opened.report);
        if round % 2 == 0 {
            opened.log.close().unwrap();
        }
    }
    assert!(acknowledged.values().sum::<u64>() > 100, "{acknowledged:?}");
}

#[test]
fn a_second_process_is_refused_while_the_first_one_lives() {
    let dir = tempfile::TempDir::new().unwrap();
    let mut appending = child("ledger::child_that_appends_until_it_is_killed", dir.path()).spawn().unwrap();
    let mut lines = BufReader::new(appending.stdout.take().unwrap()).lines();
    while !lines.next().unwrap().unwrap().contains("acknowledged") {}
    let refused = SledLog::open(dir.path(), &options()).expect_err("the child has it open");
    assert!(matches!(refused, OpenError::InUse(_)), "{refused}");
    appending.kill().unwrap();
    appending.wait().unwrap();
    SledLog::open(dir.path(), &options()).unwrap_or_else(|error| panic!("{error}"));
}
