//! The durable log under everything that happens to files.

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::super::contract::{Teller, check_log, entry, ledger};
use super::*;

pub(super) fn options() -> OpenOptions {
    // Small segments, so that tests cross them.
    OpenOptions { tail_segment_bytes: 16 << 10, ..OpenOptions::default() }
}

pub(super) fn open(dir: &Path) -> Opened {
    SledLog::open(dir, &options()).unwrap_or_else(|error| panic!("{error}"))
}

pub(super) fn refusal(dir: &Path) -> OpenError {
    SledLog::open(dir, &options()).expect_err("a refusal")
}

/// Two ledgers in about 40 commits over several segments.
pub(super) fn fill(dir: &Path) -> Teller {
    let mut teller = Teller::default();
    let opened = open(dir);
    tell(&mut teller, &opened.log);
    opened.log.close().unwrap();
    teller
}

pub(super) fn tell(teller: &mut Teller, log: &SledLog) {
    for n in 0..20 {
        teller.append(log, ledger(1), n % 5 + 1);
        teller.append(log, ledger(2), 1);
    }
}

/// Everything told is there, also after going on and starting again.
pub(super) fn check_whole(dir: &Path, teller: &mut Teller) -> Report {
    let opened = open(dir);
    teller.check(&opened.log);
    for (ledger, tree) in &teller.0 {
        assert_eq!(opened.heads.get(ledger), Some(tree), "the head of {ledger}");
    }
    teller.append(&opened.log, ledger(1), 3);
    teller.append(&opened.log, ledger(9), 1);
    drop(opened.log);
    let again = open(dir);
    teller.check(&again.log);
    assert!(again.report.findings.iter().all(|finding| !finding.warning), "{:?}", again.report);
    again.log.close().unwrap();
    assert!(!dir.join("sled.before-open").exists());
    opened.report
}

pub(super) fn warnings(report: &Report) -> String {
    let warnings = report.findings.iter().filter(|finding| finding.warning);
    warnings.map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

pub(super) fn copy(from: &Path) -> TempDir {
    let to = TempDir::new().unwrap();
    let target = to.path().join("data");
    files::copy_dir(from, &target).unwrap();
    to
}

pub(super) fn tail_files(dir: &Path) -> Vec<PathBuf> {
    let mut found: Vec<_> = fs::read_dir(dir.join("tail")).unwrap().map(|e| e.unwrap().path()).collect();
    found.retain(|path| path.extension().is_some_and(|e| e == "tail"));
    found.sort();
    found
}

pub(super) fn flip(path: &Path, offset: u64) {
    let file = File::options().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, offset).unwrap();
    file.write_all_at(&[byte[0] ^ 0x55], offset).unwrap();
}

pub(super) fn truncate(path: &Path, length: u64) {
    File::options().write(true).open(path).unwrap().set_len(length).unwrap();
}

#[test]
fn the_durable_log_is_a_log_and_still_is_after_a_restart() {
    let dir = TempDir::new().unwrap();
    let opened = open(dir.path());
    check_log(&opened.log);
    let written = opened.log.read(ledger(1), 0, usize::MAX).unwrap();
    drop(opened);
    let opened = open(dir.path());
    assert_eq!(opened.log.read(ledger(1), 0, usize::MAX).unwrap(), written);
    assert_eq!(opened.heads.len(), 303);
}

#[test]
fn an_orderly_stop_is_known_as_one_until_the_next_append() {
    let dir = TempDir::new().unwrap();
    let mut teller = fill(dir.path());
    let opened = open(dir.path());
    assert!(opened.report.clean_stop && opened.report.findings.is_empty(), "{:?}", opened.report);
    teller.append(&opened.log, ledger(1), 1);
    assert!(!dir.path().join("CLEAN").exists());
    drop(opened);
    let opened = open(dir.path());
    assert!(!opened.report.clean_stop);
    teller.check(&opened.log);
}

#[test]
fn a_closed_log_takes_and_gives_nothing() {
    let dir = TempDir::new().unwrap();
    let opened = open(dir.path());
    let mut teller = Teller::default();
    teller.append(&opened.log, ledger(1), 1);
    opened.log.close().unwrap();
    let outcome = opened.log.append(&[teller.next(ledger(1), 1)]);
    assert!(matches!(outcome[..], [Outcome::Unknown(AppendError::Stopped(_))]), "{outcome:?}");
    assert!(matches!(opened.log.read(ledger(1), 0, 1), Err(ReadError::Closed)));
}

#[test]
fn a_second_opener_is_refused_within_a_second() {
    let dir = TempDir::new().unwrap();
    let _opened = open(dir.path());
    let started = Instant::now();
    assert!(matches!(refusal(dir.path()), OpenError::InUse(_)));
    assert!(started.elapsed() < Duration::from_secs(1));
}

#[test]
fn an_entry_too_large_stops_the_log_and_reads_go_on() {
    let dir = TempDir::new().unwrap();
    let opened = open(dir.path());
    let mut teller = Teller::default();
    teller.append(&opened.log, ledger(1), 2);
    let huge = Record::stored(vec![b'x'; ENTRY_BYTES_MAX + 1].into());
    let append = Append { ledger: ledger(1), expected_size: 2, records: vec![huge], root: [0; 32] };
    let outcomes = opened.log.append(&[append]);
    assert!(matches!(outcomes[..], [Outcome::Unknown(AppendError::TooLarge { .. })]), "{outcomes:?}");
    let outcomes = opened.log.append(&[teller.next(ledger(2), 1)]);
    assert!(matches!(outcomes[..], [Outcome::Unknown(AppendError::Stopped(_))]), "{outcomes:?}");
    assert_eq!(opened.log.read(ledger(1), 0, 9).unwrap(), [entry(ledger(1), 0), entry(ledger(1), 1)]);
    assert_eq!(opened.log.read(ledger(2), 0, 9).unwrap(), []);
}

#[test]
fn a_full_disk_is_said_to_be_full_and_a_start_with_room_goes_on() {
    let dir = TempDir::new().unwrap();
    let opened = open(dir.path());
    let mut teller = Teller::default();
    // Where the second segment is to be prepared, the device is full.
    let next = dir.path().join("tail/0000000002.tail.next");
    std::os::unix::fs::symlink("/dev/full", next).unwrap();
    let refused = (0..100).find_map(|_| {
        let before = Teller(teller.0.clone());
        let append = teller.next(ledger(1), 10);
        match &opened.log.append(&[append])[..] {
            [Outcome::Ok] => None,
            [Outcome::Unknown(error)] => Some((before, error.clone())),
            other => panic!("{other:?}"),
        }
    });
    let (acknowledged, error) = refused.expect("the first segment holds less");
    assert!(matches!(error, AppendError::Full { copy: TAIL, .. }), "{error}");
    acknowledged.check(&opened.log);
    drop(opened);
    // The last commit was never acknowledged, but sled has it: it is kept, in both copies.
    check_whole(dir.path(), &mut teller);
}

#[test]
fn what_sled_cannot_read_any_more_is_read_from_the_tail() {
    let dir = TempDir::new().unwrap();
    let mut teller = fill(dir.path());
    let opened = open(dir.path());
    // Gone from beneath a running log, as far as a test can reach.
    opened.log.db.read().unwrap().as_ref().unwrap().clear().unwrap();
    teller.check(&opened.log);
    assert_eq!(opened.log.read(ledger(1), 7, 2).unwrap(), [entry(ledger(1), 7), entry(ledger(1), 8)]);
    teller.append(&opened.log, ledger(1), 4);
    teller.append(&opened.log, ledger(2), 4);
    teller.check(&opened.log);
    drop(opened);
    check_whole(dir.path(), &mut teller);
}

#[test]
fn a_commit_larger_than_a_segment_gets_one_of_its_own() {
    let dir = TempDir::new().unwrap();
    let mut teller = Teller::default();
    let opened = open(dir.path());
    teller.append(&opened.log, ledger(1), 1);
    teller.append(&opened.log, ledger(1), 500);
    teller.append(&opened.log, ledger(2), 1);
    drop(opened);
    check_whole(dir.path(), &mut teller);
}

#[test]
fn sled_truncated_emptied_edited_or_removed_is_rebuilt_from_the_tail() {
    type Damage = fn(&Path);
    let cases: [(&str, Damage); 10] = [
        ("emptied", |sled| truncate(&sled.join("db"), 0)),
        ("cut to one page", |sled| truncate(&sled.join("db"), 4_096)),
        ("cut in half", |sled| {
            let length = fs::metadata(sled.join("db")).unwrap().len();
            truncate(&sled.join("db"), length / 2);
        }),
        ("its head edited", |sled| flip(&sled.join("db"), 3)),
        ("its middle edited", |sled| {
            let length = fs::metadata(sled.join("db")).unwrap().len();
            (0..64).for_each(|i| flip(&sled.join("db"), length * i / 64));
        }),
        ("db removed", |sled| fs::remove_file(sled.join("db")).unwrap()),
        ("conf removed", |sled| fs::remove_file(sled.join("conf")).unwrap()),
        ("conf edited", |sled| flip(&sled.join("conf"), 15)),
        ("directory removed", |sled| fs::remove_dir_all(sled).unwrap()),
        ("directory emptied", |sled| {
            fs::remove_dir_all(sled).unwrap();
            fs::create_dir(sled).unwrap();
        }),
    ];
    let dir = TempDir::new().unwrap();
    let data = dir.path().join("data");
    let mut teller = fill(&data);
    for clean in [true, false] {
        for (name, damage) in cases {
            println!("{name}, after {} stop", if clean { "an orderly" } else { "an unclean" });
            let here = copy(&data);
            let here = here.path().join("data");
            if !clean {
                fs::remove_file(here.join("CLEAN")).unwrap();
            }
            damage(&here.join("sled"));
            let report = check_whole(&here, &mut Teller(teller.0.clone()));
            println!("{}", warnings(&report));
        }
    }
    check_whole(&data, &mut teller);
}

#[test]
fn a_flipped_byte_anywhere_in_sled_is_never_served() {
    let dir = TempDir::new().unwrap();
    let data = dir.path().join("data");
    let teller = fill(&data);
    let length = fs::metadata(data.join("sled/db")).unwrap().len();
    for i in 0..48 {
        let offset = length * i / 48 + i * 7 % 64;
        println!("byte {offset} of {length}");
        let here = copy(&data);
        let here = here.path().join("data");
        flip(&here.join("sled/db"), offset);
        check_whole(&here, &mut Teller(teller.0.clone()));
    }
}

#[test]
fn a_tail_cut_at_any_offset_is_made_whole_from_sled() {
    let dir = TempDir::new().unwrap();
    let data = dir.path().join("data");
    let teller = fill(&data);
    let segments = tail_files(&data);
    assert!(segments.len() > 2, "{segments:?}");
    let last = segments.last().unwrap().strip_prefix(&data).unwrap();
    for offset in [0, 1, 17, 63, 64, 65, 71, 72, 87, 88, 89, 124, 200, 1_000, 1_001, 4_096, 9_999] {
        println!("cut at {offset}");
        let here = copy(&data);
        let here = here.path().join("data");
        truncate(&here.join(last), offset);
        check_whole(&here, &mut Teller(teller.0.clone()));
    }
}

#[test]
fn what_remains_of_a_torn_commit_is_gone_after_a_start() {
    let dir = TempDir::new().unwrap();
    let mut teller = fill(dir.path());
    let path = tail_files(dir.path()).pop().unwrap();
    let bytes = fs::read(&path).unwrap();
    let end = bytes.iter().rposition(|byte| *byte != 0).unwrap() + 1;
    let torn = vec![b'x'; 900];
    let file = File::options().write(true).open(&path).unwrap();
    file.write_all_at(&torn, end as u64 + 16).unwrap();
    let opened = open(dir.path());
    assert!(fs::read(&path).unwrap()[end..].iter().all(|byte| *byte == 0));
    assert_eq!(opened.report.findings.len(), 1, "{:?}", opened.report);
    drop(opened);
    check_whole(dir.path(), &mut teller);
}

#[test]
fn a_tail_damaged_in_the_middle_is_rebuilt_from_sled_if_later_frames_vouch_for_it() {
    let dir = TempDir::new().unwrap();
    let data = dir.path().join("data");
    let teller = fill(&data);
    for file in tail_files(&data) {
        for offset in [5, 70, 90, 130, 700, 3_000, 8_000] {
            println!("byte {offset} of {}", file.display());
            let here = copy(&data);
            let here = here.path().join("data");
            flip(&here.join(file.strip_prefix(&data).unwrap()), offset);
            check_whole(&here, &mut Teller(teller.0.clone()));
        }
        let here = copy(&data);
        let here = here.path().join("data");
        println!("without {}", file.display());
        fs::remove_file(here.join(file.strip_prefix(&data).unwrap())).unwrap();
        check_whole(&here, &mut Teller(teller.0.clone()));
    }
}

#[test]
fn a_tail_damaged_in_the_middle_does_not_vouch_for_a_sled_that_lost_the_same_commits() {
    let dir = TempDir::new().unwrap();
    let mut teller = fill(dir.path());
    // A sled that holds ledger 1 only, beside a tail whose commits of ledger 3 are damaged.
    let opened = open(dir.path());
    let sled_before = dir.path().join("sled-before");
    opened.log.close().unwrap();
    drop(opened);
    files::copy_dir(&dir.path().join("sled"), &sled_before).unwrap();
    let opened = open(dir.path());
    teller.append(&opened.log, ledger(3), 2);
    drop(opened);
    let mut needle = Vec::new();
    needle.extend_from_slice(ledger(3).0.as_bytes());
    let path = tail_files(dir.path()).pop().unwrap();
    let bytes = fs::read(&path).unwrap();
    let at = bytes.windows(16).position(|window| window == needle).unwrap();
    flip(&path, at as u64);
    let opened = open(dir.path());
    teller.check(&opened.log);
    drop(opened);
    // Now the damage, with a commit behind it, and the old sled.
    let opened = open(dir.path());
    teller.append(&opened.log, ledger(1), 1);
    drop(opened);
    let path = tail_files(dir.path()).pop().unwrap();
    let bytes = fs::read(&path).unwrap();
    let at = bytes.windows(16).position(|window| window == needle).unwrap();
    flip(&path, at as u64);
    fs::remove_dir_all(dir.path().join("sled")).unwrap();
    fs::rename(&sled_before, dir.path().join("sled")).unwrap();
    let refused = refusal(dir.path());
    assert!(matches!(refused, OpenError::Unvouched(_)), "{refused}");
}

#[test]
fn a_lost_tail_is_rebuilt_with_a_loud_warning() {
    let dir = TempDir::new().unwrap();
    let mut teller = fill(dir.path());
    fs::remove_dir_all(dir.path().join("tail")).unwrap();
    let report = check_whole(dir.path(), &mut teller);
    assert!(warnings(&report).contains("THE TAIL IS LOST"), "{report:?}");
}

#[test]
fn two_empty_copies_are_a_loss_and_not_a_beginning() {
    for clean in [true, false] {
        let dir = TempDir::new().unwrap();
        fill(dir.path());
        if !clean {
            fs::remove_file(dir.path().join("CLEAN")).unwrap();
        }
        for copy in ["sled", "tail"] {
            fs::remove_dir_all(dir.path().join(copy)).unwrap();
        }
        let refused = refusal(dir.path());
        if clean {
            assert!(matches!(refused, OpenError::Missing { seq: 0, .. }), "{refused}");
        } else {
            assert!(matches!(refused, OpenError::BothGone(_)), "{refused}");
        }
        assert!(!dir.path().join("sled").exists(), "a refusal creates nothing");
    }
}

#[test]
fn a_beginning_interrupted_anywhere_can_be_begun_again() {
    for gone in ["sled", "tail", "INSTALLATION", "LOCK"] {
        let dir = TempDir::new().unwrap();
        drop(open(dir.path()));
        let path = dir.path().join(gone);
        if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) }.unwrap();
        check_whole(dir.path(), &mut Teller::default());
    }
}

#[test]
fn copies_cut_back_together_after_an_orderly_stop_are_refused_by_its_marker() {
    let dir = TempDir::new().unwrap();
    let mut teller = fill(dir.path());
    let older = copy(dir.path());
    let older = older.path().join("data");
    let opened = open(dir.path());
    teller.append(&opened.log, ledger(2), 1);
    opened.log.close().unwrap();
    drop(opened);
    for copy in ["sled", "tail"] {
        fs::remove_dir_all(dir.path().join(copy)).unwrap();
        fs::rename(older.join(copy), dir.path().join(copy)).unwrap();
    }
    match refusal(dir.path()) {
        OpenError::Missing { ledger: of, seq: 20, .. } if of == ledger(2) => (),
        other => panic!("{other}"),
    }
}

/// Opens sled by hand, while no log has it.
pub(super) fn edit_sled(dir: &Path, edit: impl FnOnce(&Db)) {
    let db = open_sled(&dir.join("sled")).unwrap().unwrap();
    edit(&db);
    db.flush().unwrap();
}

#[test]
fn other_bytes_at_one_seq_are_refused_with_ledger_and_seq_and_repaired_only_by_an_operator() {
    let dir = TempDir::new().unwrap();
    let mut teller = fill(dir.path());
    edit_sled(dir.path(), |db| {
        let chunk = chunks::holding(db, ledger(1), 9).unwrap().unwrap();
        let mut entries: Vec<_> = chunk.entries.iter().map(|record| record.bytes().to_vec()).collect();
        entries[usize::try_from(9 - chunk.first).unwrap()][0] = b'[';
        let mut values = chunks::Values::new();
        chunks::encode(&mut values, &mut Vec::new(), ledger(1), chunk.first, entries.iter().map(|e| &e[..]));
        chunks::store(db, values).unwrap();
    });
    for _ in 0..2 {
        match refusal(dir.path()) {
            OpenError::Disagree { ledger: of, seq: 9, .. } if of == ledger(1) => (),
            other => panic!("{other}"),
        }
    }
    let scratch = TempDir::new().unwrap();
    let examination = super::super::doctor::examine(dir.path(), scratch.path(), None).unwrap();
    assert!(examination.refused.as_deref().is_some_and(|why| why.contains("seq 9")), "{examination:?}");
    let report = super::super::doctor::repair(dir.path(), &options()).unwrap();
    assert!(warnings(&report).contains("seq 9") && dir.path().join("sled.damaged-1").exists(), "{report:?}");
    check_whole(dir.path(), &mut teller);
}

#[test]
fn entries_that_only_sled_holds_and_cannot_show_are_refused_with_ledger_and_seq() {
    let dir = TempDir::new().unwrap();
    fill(dir.path());
    fs::remove_dir_all(dir.path().join("tail")).unwrap();
    edit_sled(dir.path(), |db| {
        let chunk = chunks::holding(db, ledger(1), 9).unwrap().unwrap();
        db.remove(chunks::key(ledger(1), chunk.first)).unwrap();
    });
    match refusal(dir.path()) {
        OpenError::Missing { ledger: of, seq, .. } if of == ledger(1) && seq <= 9 => (),
        other => panic!("{other}"),
    }
}

#[test]
fn holes_overlaps_and_rotten_values_in_sled_are_rebuilt_from_the_tail() {
    type Edit = fn(&Db);
    let cases: [(&str, Edit); 4] = [
        ("a hole", |db| drop(db.remove(chunks::key(ledger(2), 7)).unwrap())),
        ("the last missing", |db| drop(db.remove(chunks::key(ledger(2), 19)).unwrap())),
        ("an overlap", |db| {
            let mut values = chunks::Values::new();
            let own = entry(ledger(1), 4);
            // Entries 3, 4 and 5 were one append.
            chunks::encode(&mut values, &mut Vec::new(), ledger(1), 4, [&own.bytes()[..]].into_iter());
            chunks::store(db, values).unwrap();
        }),
        ("a rotten value", |db| {
            drop(db.insert(chunks::key(ledger(2), 7), &b"\0\0\0\0\0\x01x"[..]).unwrap());
        }),
    ];
    let dir = TempDir::new().unwrap();
    let data = dir.path().join("data");
    let teller = fill(&data);
    for (name, edit) in cases {
        println!("{name}");
        let here = copy(&data);
        let here = here.path().join("data");
        edit_sled(&here, edit);
        let report = check_whole(&here, &mut Teller(teller.0.clone()));
        assert!(!report.findings.is_empty());
    }
}

#[test]
fn what_only_one_copy_has_of_the_last_commits_is_carried_over() {
    let dir = TempDir::new().unwrap();
    let data = dir.path().join("data");
    let mut teller = fill(&data);
    let before = copy(&data);
    let before = before.path().join("data");
    let opened = open(&data);
    tell(&mut teller, &opened.log);
    opened.log.close().unwrap();
    drop(opened);
    for older in ["sled", "tail"] {
        println!("an older {older}");
        let here = copy(&data);
        let here = here.path().join("data");
        fs::remove_file(here.join("CLEAN")).unwrap();
        fs::remove_dir_all(here.join(older)).unwrap();
        files::copy_dir(&before.join(older), &here.join(older)).unwrap();
        let report = check_whole(&here, &mut Teller(teller.0.clone()));
        assert_eq!(report.findings.len(), 2, "{report:?}");
        assert_eq!(warnings(&report), "");
    }
}

#[test]
fn a_tail_of_another_installation_is_refused() {
    let (dir, other) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    fill(dir.path());
    fill(other.path());
    fs::remove_dir_all(dir.path().join("tail")).unwrap();
    fs::rename(other.path().join("tail"), dir.path().join("tail")).unwrap();
    assert!(matches!(refusal(dir.path()), OpenError::Foreign(_)));
}

#[test]
fn leftovers_of_interrupted_steps_are_cleared_away() {
    let dir = TempDir::new().unwrap();
    let mut teller = fill(dir.path());
    fs::write(dir.path().join("sled/snap.00000000000000AB.generating"), b"half a snapshot").unwrap();
    for name in ["sled.rebuilding", "tail.rebuilding", "sled.before-open.partial"] {
        fs::create_dir(dir.path().join(name)).unwrap();
        fs::write(dir.path().join(name).join("db"), b"half a copy").unwrap();
    }
    fs::remove_file(dir.path().join("CLEAN")).unwrap();
    let report = check_whole(dir.path(), &mut teller);
    assert_eq!(report.findings.len(), 1, "{report:?}");
    let left: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(left.len(), 5, "{left:?}");
}

#[test]
fn a_blob_file_is_refused() {
    let dir = TempDir::new().unwrap();
    fill(dir.path());
    fs::write(dir.path().join("sled/blobs/123"), b"blob").unwrap();
    assert!(matches!(refusal(dir.path()), OpenError::Blob(_)));
}

#[test]
fn a_child_that_fails_or_hangs_leads_to_a_rebuild() {
    let dir = TempDir::new().unwrap();
    let data = dir.path().join("data");
    let teller = fill(&data);
    fs::remove_file(data.join("CLEAN")).unwrap();
    for (script, rebuilt) in [("exit 0", false), ("exit 3", true), ("exec sleep 60", true)] {
        let here = copy(&data);
        let here = here.path().join("data");
        let probe = ProbeCommand {
            program: "sh".into(),
            arguments: vec!["-c".into(), script.into()],
            time_limit: Duration::from_millis(300),
        };
        let options = OpenOptions { probe: Some(probe), ..options() };
        let opened = SledLog::open(&here, &options).unwrap();
        assert_eq!(!warnings(&opened.report).is_empty(), rebuilt, "{script}: {:?}", opened.report);
        assert_eq!(here.join("sled.damaged-1").exists(), rebuilt);
        teller.check(&opened.log);
    }
}

#[test]
fn a_copy_of_the_directory_taken_between_appends_holds_everything_acknowledged() {
    let dir = TempDir::new().unwrap();
    let data = dir.path().join("data");
    let mut teller = Teller::default();
    let opened = open(&data);
    for round in 0..12 {
        println!("round {round}");
        for n in 0..=round {
            teller.append(&opened.log, ledger(1 + u128::from(n % 3)), n % 7 + 1);
        }
        // As a power cut would leave it: another process's view of the files, no lock held.
        let here = copy(&data);
        check_whole(&here.path().join("data"), &mut Teller(teller.0.clone()));
    }
}

#[test]
fn the_doctor_changes_nothing_and_says_what_the_next_start_would_do() {
    let dir = TempDir::new().unwrap();
    let data = dir.path().join("data");
    let teller = fill(&data);
    let scratch = TempDir::new().unwrap();
    let examine = |dir: &Path| super::super::doctor::examine(dir, scratch.path(), None).unwrap();

    let whole = examine(&data);
    assert!(whole.findings.is_empty() && whole.refused.is_none() && !whole.in_use, "{whole:?}");
    for (ledger, tree) in &teller.0 {
        assert_eq!(whole.heads.get(ledger), Some(&(tree.size(), tree.root())));
    }
    truncate(&data.join("sled/db"), 0);
    let damaged = examine(&data);
    assert!(!damaged.findings.is_empty() && damaged.heads == whole.heads, "{damaged:?}");
    assert_eq!(fs::metadata(data.join("sled/db")).unwrap().len(), 0, "the doctor repaired something");

    let opened = open(&data);
    assert!(examine(&data).in_use);
    drop(opened);
    assert_eq!(fs::read_dir(scratch.path()).unwrap().count(), 0);
}
