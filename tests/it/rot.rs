//! Single faults of a disk in every file of a data directory: bits flipped, sectors zeroed, files cut or gone.
//! Whatever happens, no start serves anything but what was written; what a start can make good it makes good.
//!
//! `MENTORLOG_FAULTS` says how many (60), `MENTORLOG_FAULT_SEED` which. A table tells what became of them.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command as Process, Stdio};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use mentorlog::clock::Clock;
use mentorlog::keys::Keys;
use mentorlog::ledger::Log;
use mentorlog::ledger::mirrored::{Mirrored, name_of};
use mentorlog::ledger::note::{KeyKind, Note, VerifierKey};
use mentorlog::ledger::sled::{OpenOptions, Opened, ProbeCommand, SignatureCheck, SledLog};
use mentorlog::rules::command::Command;
use mentorlog::writer::publisher::Publishing;
use mentorlog::writer::{By, Caller, Submission, Writer};
use mentorlog_events::entry::Actor;
use mentorlog_events::id::{LedgerId, ProgramId};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use crate::harness::{Chance, Machine, until};

/// A start that takes longer hangs.
const START_MAX: Duration = Duration::from_mins(1);

fn options(data: &Path) -> OpenOptions {
    let arguments = ["--ignored", "--exact", "ledger::child_that_tries_the_opening"].map(Into::into).into();
    let program = std::env::current_exe().unwrap();
    let probe = ProbeCommand { program, arguments, time_limit: Duration::from_secs(20) };
    let keys = Keys::read(data).ok();
    let signed = keys.map(|keys| SignatureCheck::new(move |ledger, bytes| is_signed(&keys, ledger, bytes)));
    OpenOptions { tail_segment_bytes: 16 << 10, probe: Some(probe), signed }
}

fn is_signed(keys: &Keys, ledger: LedgerId, bytes: &[u8]) -> bool {
    let Ok(note) = Note::parse(bytes) else { return false };
    let origin = note.text().lines().next().unwrap_or_default();
    let Ok(name) = origin.parse() else { return false };
    let key = VerifierKey::new(name, KeyKind::Ed25519, &keys.public_key(origin, 1).0).unwrap();
    origin.rsplit('/').nth(1) == Some(&name_of(ledger)) && note.verify([&key]).is_ok()
}

// ------------------------------------------------------------------------------------------- what there was

const PROGRAMS: [ProgramId; 2] = [
    ProgramId(Uuid::from_u128(0x4000_8000_0000_0000_0001)),
    ProgramId(Uuid::from_u128(0x4000_8000_0000_0000_0002)),
];

fn submission(name: &str, body: &Value) -> Submission {
    let command = Command::read(name, body.to_string().as_bytes()).unwrap();
    let principal = "local".parse().unwrap();
    let caller =
        Caller { actor: Actor::Manager, on_behalf_of: None, principal, correlation: None, by: By::Operator };
    Submission { command, caller, expected_version: None, idempotency: None }
}

/// Runs a writer over a data directory, and enrols people in batches.
fn grow(data: &Path, publishing: Publishing, people: std::ops::Range<u128>) {
    let opened = SledLog::open(data, &options(data)).unwrap();
    let has_history = !opened.heads.is_empty();
    let log = Arc::new(opened.log);
    let (keys, clock) = (Keys::open(data, has_history).unwrap(), Clock::start(Machine::new()));
    let is_published = matches!(publishing, Publishing::Into { .. });
    let shared: Arc<dyn Log> = log.clone();
    let (writer, running) = Writer::start(&shared, opened.heads, keys, clock, publishing).unwrap();
    drop(shared);
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    for (program, slug) in PROGRAMS.into_iter().zip(["spring", "autumn"]) {
        if !has_history {
            let body = json!({ "program": program, "slug": slug, "name": slug, "time_zone": "UTC" });
            let opening = submission("open-program", &body);
            let Command::OpenProgram(open) = opening.command else { panic!("it is one") };
            runtime.block_on(writer.open_program(open, opening.caller, None)).unwrap();
        }
        for first in people.clone().step_by(10) {
            let enrol = |n| {
                submission(
                    "enrol",
                    &json!({ "participant": Uuid::from_u128(0x4000_8000_0000_0001_0000 + n) }),
                )
            };
            let batch = (first..first + 10).map(enrol).collect();
            let answers = runtime.block_on(writer.submit_batch(program, batch, true)).unwrap().answers;
            assert!(answers.iter().all(Result::is_ok), "{answers:?}");
        }
        let size = log.size(program.into());
        let mirror = Mirrored::new(&data.join("mirror/log")).ledger(program.into());
        if is_published {
            until("its checkpoint", || {
                mirror.head().unwrap()?.is_ok_and(|head| head.size == size).then_some(())
            });
        }
    }
    drop(writer);
    running.join();
    log.close().unwrap();
}

/// Sizes and digests of all ledgers, by name.
fn digests(opened: &Opened) -> BTreeMap<String, (u64, String)> {
    let digest = |ledger: LedgerId| {
        let mut hash = Sha256::new();
        let records = opened.log.read(ledger, 0, usize::MAX).unwrap();
        for record in &records {
            hash.update(record.bytes());
            hash.update(b"\n");
        }
        (name_of(ledger), (records.len() as u64, format!("{:x?}", hash.finalize())))
    };
    opened.heads.keys().map(|ledger| digest(*ledger)).collect()
}

/// Two programs: most of them in sled and mirror, the rest in sled and tail, and stopped in order.
struct Whole {
    data: PathBuf,
    files: Vec<PathBuf>,
    digests: BTreeMap<String, (u64, String)>,
}

impl Whole {
    fn new(at: &Path) -> Self {
        let data = at.join("whole");
        grow(&data, Publishing::Into { data: data.clone(), witnesses: Vec::new() }, 0..600);
        grow(&data, Publishing::Off, 600..680);
        assert!(data.join("tail/BASE").exists(), "nothing was dropped");
        let opened = SledLog::open(&data, &options(&data)).unwrap();
        assert_eq!(opened.report.findings, []);
        let digests = digests(&opened);
        opened.log.close().unwrap();
        drop(opened);
        assert!(data.join("CLEAN").exists());
        let files = files_below(&data);
        Self { data, files, digests }
    }

    /// A copy, with the times the disk would have left.
    fn copy(&self, to: &Path) {
        for file in &self.files {
            let (from, to) = (self.data.join(file), to.join(file));
            fs::create_dir_all(to.parent().unwrap()).unwrap();
            fs::copy(&from, &to).unwrap();
            keep_time(&from, &to);
        }
        fs::create_dir_all(to.join("sled/blobs")).unwrap();
    }
}

fn keep_time(from: &Path, to: &Path) {
    let modified = fs::metadata(from).unwrap().modified().unwrap();
    File::options().write(true).open(to).unwrap().set_modified(modified).unwrap();
}

/// Every file below a directory, from there.
fn files_below(dir: &Path) -> Vec<PathBuf> {
    let (mut found, mut folders) = (Vec::new(), vec![PathBuf::new()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(dir.join(&folder)).unwrap() {
            let path = folder.join(entry.unwrap().file_name());
            if dir.join(&path).is_dir() { folders.push(path) } else { found.push(path) }
        }
    }
    found.retain(|path| !path.ends_with("LOCK"));
    found.sort();
    found
}

// ------------------------------------------------------------------------------------------------ one fault

/// What a file is, for the table and for the choice: each kind is chosen as often as the next.
fn kind_of(file: &Path) -> &'static str {
    let text = file.to_str().unwrap();
    match text {
        "sled/db" => "sled/db",
        _ if text.starts_with("sled/") => "sled, other",
        "tail/BASE" => "tail/BASE",
        _ if text.starts_with("tail/") => "tail",
        _ if text.ends_with("/checkpoint") => "mirror checkpoint",
        _ if text.contains("/tile/entries/") => "mirror bundle",
        _ if text.starts_with("mirror/") => "mirror tile",
        _ if text.starts_with("keys/") => "keys",
        "CLEAN" => "CLEAN",
        "INSTALLATION" => "INSTALLATION",
        _ => panic!("{text} is no file of a data directory"),
    }
}

#[derive(Debug, Clone, Copy)]
enum Fault {
    Flip(u64),
    Zero(u64, u64),
    Cut(u64),
    Gone,
}

impl Fault {
    fn by(chance: &mut Chance, length: u64) -> Self {
        let at = |chance: &mut Chance, step: u64| chance.below(length.div_ceil(step).max(1)) * step;
        match chance.below(10) {
            0..5 => Self::Flip(chance.below(length.max(1) * 8)),
            5 => Self::Zero(at(chance, 512), 512),
            6 => Self::Zero(at(chance, 4096), 4096),
            7 | 8 => Self::Cut(chance.below(length.max(1))),
            _ => Self::Gone,
        }
    }

    /// Whether the file is another after it.
    fn strike(self, path: &Path) -> bool {
        let before = fs::read(path).unwrap();
        let mut after = before.clone();
        match self {
            Self::Gone => {
                fs::remove_file(path).unwrap();
                return true;
            }
            Self::Flip(bit) => after[usize::try_from(bit / 8).unwrap()] ^= 1 << (bit % 8),
            Self::Zero(from, length) => {
                let end = (from + length).min(after.len() as u64);
                after[usize::try_from(from).unwrap()..usize::try_from(end).unwrap()].fill(0);
            }
            Self::Cut(length) => after.truncate(usize::try_from(length).unwrap()),
        }
        if after == before {
            return false;
        }
        let file = File::options().write(true).open(path).unwrap();
        file.set_len(after.len() as u64).unwrap();
        file.write_all_at(&after, 0).unwrap();
        true
    }
}

/// What became of a start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Outcome {
    /// The fault hit what nothing depends on: everything is as it was.
    Harmless,
    /// It was said, and everything is as it was.
    Repaired,
    /// It was said, and nothing is served.
    Refused,
    /// The start did not end.
    Hung,
    /// Something else is served than was written.
    Silent,
}

#[test]
#[ignore = "a child process of the tests below"]
fn child_that_starts_on_a_damaged_directory() {
    let data = PathBuf::from(std::env::var_os("MENTORLOG_TEST_DIR").expect("only a parent test runs this"));
    let start = || -> Result<(Vec<String>, Value), String> {
        let opened = SledLog::open(&data, &options(&data)).map_err(|error| error.to_string())?;
        let digests = json!(digests(&opened));
        let findings = opened.report.findings.iter().map(ToString::to_string).collect();
        let keys = Keys::open(&data, true).map_err(|error| error.to_string())?;
        let log = Arc::new(opened.log);
        let shared: Arc<dyn Log> = log.clone();
        let publishing = Publishing::Into { data: data.clone(), witnesses: Vec::new() };
        let writer = Writer::start(&shared, opened.heads, keys, Clock::start(Machine::new()), publishing);
        let (writer, running) = writer.map_err(|error| error.to_string())?;
        drop((writer, shared));
        running.join();
        log.close().map_err(|error| error.to_string())?;
        Ok((findings, digests))
    };
    println!();
    match start() {
        Ok((findings, digests)) => println!("{}", json!({ "findings": findings, "digests": digests })),
        Err(why) => println!("{}", json!({ "refused": why })),
    }
}

/// Starts on a directory in a process of its own. `None`: it hung, or died.
fn started(data: &Path) -> Option<Value> {
    let mut child = Process::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "--nocapture", "rot::child_that_starts_on_a_damaged_directory"])
        .env("MENTORLOG_TEST_DIR", data)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let out = BufReader::new(child.stdout.take().unwrap());
    let (tell, told) = mpsc::channel();
    std::thread::spawn(move || {
        let line = out.lines().map_while(Result::ok).find(|line| line.starts_with('{'));
        let _ = tell.send(line);
    });
    let line = told.recv_timeout(START_MAX).ok().flatten();
    if line.is_none() {
        let _ = child.kill();
    }
    child.wait().unwrap();
    line.map(|line| serde_json::from_str(&line).unwrap())
}

/// Starts, and compares what is served with what was written. Also says what was found.
fn outcome(whole: &Whole, here: &Path) -> (Outcome, String) {
    let Some(told) = started(here) else { return (Outcome::Hung, String::new()) };
    if let Some(why) = told["refused"].as_str() {
        return (Outcome::Refused, why.to_owned());
    }
    let findings = told["findings"].to_string();
    if told["digests"] != json!(whole.digests) {
        return (Outcome::Silent, format!("other entries; {findings}"));
    }
    let keys = Keys::read(here).unwrap();
    for file in whole.files.iter().filter(|file| file.starts_with("keys")) {
        if fs::read(here.join(file)).unwrap() != fs::read(whole.data.join(file)).unwrap() {
            return (Outcome::Silent, format!("another {}; {findings}", file.display()));
        }
    }
    // The mirror as a stranger sees it: whole, signed, and at every full tile the same as before.
    let mirror = Mirrored::new(&here.join("mirror/log"));
    for ledger in whole.digests.keys() {
        let ledger = if ledger == "registry" { LedgerId::REGISTRY } else { ledger.parse().unwrap() };
        let mirror = mirror.ledger(ledger);
        if let Err(unvouched) = mirror.verify(|_, _| ()).unwrap() {
            return (Outcome::Silent, format!("{}: {unvouched}; {findings}", mirror.dir().display()));
        }
        if !is_signed(&keys, ledger, &mirror.checkpoint().unwrap().unwrap()) {
            return (Outcome::Silent, format!("{}: not signed; {findings}", mirror.dir().display()));
        }
    }
    for file in whole.files.iter().filter(|file| file.starts_with("mirror") && !file.ends_with("checkpoint"))
    {
        // A partial one goes when the full one is there.
        let now = fs::read(here.join(file)).ok();
        if now.is_some_and(|now| now != fs::read(whole.data.join(file)).unwrap()) {
            return (Outcome::Silent, format!("another {}; {findings}", file.display()));
        }
    }
    (if findings == "[]" { Outcome::Harmless } else { Outcome::Repaired }, findings)
}

fn number_of_faults() -> u64 {
    std::env::var("MENTORLOG_FAULTS").map_or(60, |faults| faults.parse().unwrap())
}

#[test]
fn a_single_fault_in_any_file_is_made_good_or_refused_and_never_served() {
    let mut chance = Chance::from_env("MENTORLOG_FAULT_SEED");
    let dir = tempfile::tempdir().unwrap();
    let whole = Whole::new(dir.path());
    let mut kinds: BTreeMap<&str, Vec<&PathBuf>> = BTreeMap::new();
    for file in &whole.files {
        kinds.entry(kind_of(file)).or_default().push(file);
    }
    assert_eq!(kinds.len(), 10, "{:?}", kinds.keys());
    let mut table: BTreeMap<&str, BTreeMap<Outcome, u64>> = BTreeMap::new();
    let mut wrong = Vec::new();
    for n in 0..number_of_faults() {
        let here = dir.path().join("here");
        whole.copy(&here);
        let (kind, files) = kinds.iter().nth(usize::try_from(n).unwrap() % kinds.len()).unwrap();
        // A fault that changes nothing is none.
        let (file, fault) = loop {
            let file = files[usize::try_from(chance.below(files.len() as u64)).unwrap()];
            let length = fs::metadata(whole.data.join(file)).unwrap().len();
            let fault = Fault::by(&mut chance, length);
            if length > 0 && fault.strike(&here.join(file)) {
                break (file, fault);
            }
        };
        // Rot leaves a file's times alone; after an unclean stop they say nothing.
        if chance.one_in(2) {
            drop(fs::remove_file(here.join("CLEAN")));
        } else if here.join(file).exists() {
            keep_time(&whole.data.join(file), &here.join(file));
        }
        let (outcome, said) = outcome(&whole, &here);
        *table.entry(kind).or_default().entry(outcome).or_default() += 1;
        // A key has no second copy here: it is restored from its backup.
        let allowed = match *kind {
            "keys" => outcome <= Outcome::Refused,
            _ => outcome <= Outcome::Repaired,
        };
        if !allowed {
            wrong.push(format!("{outcome:?}: {} {fault:?}: {said}", file.display()));
        }
        fs::remove_dir_all(&here).unwrap();
        if n % 100 == 99 {
            println!("{} faults, {} of them not as they should be", n + 1, wrong.len());
        }
    }
    println!(
        "{:<20} {:>9} {:>9} {:>9} {:>9} {:>9}",
        "fault in", "harmless", "repaired", "refused", "hung", "silent"
    );
    for (kind, counts) in &table {
        let of = |outcome| counts.get(&outcome).copied().unwrap_or(0);
        let [harmless, repaired, refused, hung, silent] =
            [Outcome::Harmless, Outcome::Repaired, Outcome::Refused, Outcome::Hung, Outcome::Silent].map(of);
        println!("{kind:<20} {harmless:>9} {repaired:>9} {refused:>9} {hung:>9} {silent:>9}");
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn damage_to_both_copies_of_the_same_entries_is_refused_with_the_position() {
    let mut chance = Chance::from_env("MENTORLOG_FAULT_SEED");
    let dir = tempfile::tempdir().unwrap();
    let whole = Whole::new(dir.path());
    let bundles: Vec<&PathBuf> = whole.files.iter().filter(|file| kind_of(file) == "mirror bundle").collect();
    for n in 0..(number_of_faults() / 10).max(6) {
        let here = dir.path().join("here");
        whole.copy(&here);
        fs::remove_file(here.join("sled/db")).unwrap();
        // Only the first bundle of a ledger is one whose entries the tail has certainly dropped.
        let first: Vec<_> = bundles.iter().filter(|file| file.ends_with("entries/000")).collect();
        let file = first[usize::try_from(n).unwrap() % first.len()];
        let length = fs::metadata(here.join(file)).unwrap().len();
        let fault = if n % 3 == 0 { Fault::Gone } else { Fault::Flip(chance.below(length * 8)) };
        assert!(fault.strike(&here.join(file)));
        let (outcome, said) = outcome(&whole, &here);
        let ledger = file.components().nth(2).unwrap().as_os_str().to_str().unwrap();
        let seq = said.split("seq ").nth(1).and_then(|rest| rest.split(':').next()?.parse::<u64>().ok());
        assert_eq!(outcome, Outcome::Refused, "{fault:?}: {said}");
        assert!(said.contains(ledger) && seq.is_some_and(|seq| seq < 256), "{fault:?}: {said}");
        fs::remove_dir_all(&here).unwrap();
    }
}
