//! Three copies of which one is damaged, or two, or one is somewhere else in time.

use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::super::contract::{Teller, entry, ledger};
use super::super::mirrored::tests::{checkpoint, publish};
use super::super::note::{KeyKind, Note, Signer};
use super::super::tail::Dropping;
use super::tests::{
    check_whole, copy, edit_sled, fill, flip, open, options, refusal, tail_files, tell, truncate, warnings,
};
use super::*;

/// Publishes the mirror of these ledgers as they are.
fn mirror(dir: &Path, log: &SledLog, teller: &Teller, ledgers: &[LedgerId]) {
    let paths = Paths::new(dir);
    for ledger in ledgers {
        let records = |range: Range<u64>| {
            let limit = usize::try_from(range.end - range.start).unwrap();
            Ok::<_, io::Error>(log.read(*ledger, range.start, limit).unwrap())
        };
        publish(&paths.mirror().ledger(*ledger), *ledger, &teller.0[ledger], &records);
    }
}

/// Two ledgers; all but the last commits of each are mirrored and dropped from the tail.
fn fill_and_mirror(dir: &Path) -> Teller {
    let mut teller = fill(dir);
    let opened = open(dir);
    for n in 0..10 {
        // More than one bundle.
        teller.append(&opened.log, ledger(1), 40 + n);
    }
    mirror(dir, &opened.log, &teller, &[ledger(1), ledger(2)]);
    let before = tail_files(dir).len();
    for id in [ledger(1), ledger(2)] {
        opened.log.mirrored(id, teller.0[&id].size());
    }
    assert!(before > 3 && tail_files(dir).len() == 1, "{before} segments, then {:?}", tail_files(dir));
    tell(&mut teller, &opened.log);
    opened.log.close().unwrap();
    teller
}

/// Every checkpoint that is signed as [`checkpoint`] signs it.
fn signed() -> SignatureCheck {
    SignatureCheck::new(|_, bytes| {
        let Ok(note) = Note::parse(bytes) else { return false };
        let Some(Ok(origin)) = note.text().lines().next().map(str::parse) else { return false };
        let signer = Signer::new(origin, &[7; 32]);
        assert_eq!(signer.public().kind(), KeyKind::Ed25519);
        note.verify([signer.public()]).is_ok()
    })
}

fn again(teller: &Teller) -> Teller {
    Teller(teller.0.clone())
}

/// Every file below a directory.
fn files_below(dir: &Path) -> Vec<PathBuf> {
    let (mut found, mut folders) = (Vec::new(), vec![dir.to_owned()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { folders.push(path) } else { found.push(path) }
        }
    }
    found.sort();
    found
}

/// Damages a copy of a data directory and starts on it.
fn damaged(data: &Path, damage: impl FnOnce(&Path)) -> TempDir {
    let here = copy(data);
    damage(&here.path().join("data"));
    here
}

#[test]
fn only_what_the_mirror_holds_of_every_ledger_is_dropped_and_never_the_last_frame() {
    let dir = TempDir::new().unwrap();
    let mut teller = fill(dir.path());
    let opened = open(dir.path());
    let before = tail_files(dir.path());
    mirror(dir.path(), &opened.log, &teller, &[ledger(1), ledger(2)]);
    opened.log.mirrored(ledger(1), teller.0[&ledger(1)].size());
    assert_eq!(tail_files(dir.path()), before, "the mirror does not hold ledger 2");
    opened.log.mirrored(ledger(2), 1);
    assert_eq!(tail_files(dir.path()), before, "nor all of it");
    opened.log.mirrored(ledger(2), 12);
    let after = tail_files(dir.path());
    assert!(after.len() < before.len() && after.len() > 1, "{before:?}, {after:?}");
    opened.log.mirrored(ledger(2), 20);
    assert_eq!(tail_files(dir.path()), before[before.len() - 1..]);
    teller.append(&opened.log, ledger(2), 1);
    drop(opened);
    let report = check_whole(dir.path(), &mut teller);
    assert_eq!(report.findings, []);
}

#[test]
fn dropping_can_be_interrupted_at_any_step() {
    let dir = TempDir::new().unwrap();
    let teller = fill(dir.path());
    for steps in 0.. {
        let here = copy(dir.path());
        let here = here.path().join("data");
        let done = {
            let opened = open(&here);
            mirror(&here, &opened.log, &teller, &[ledger(1), ledger(2)]);
            let mirrored = teller.0.iter().map(|(ledger, tree)| (*ledger, tree.size())).collect();
            let (tail, kept) = (here.join("tail"), &opened.log.kept);
            let mut dropping = Dropping::of(&tail, &opened.log.installation, kept, &mirrored).unwrap();
            let done = (0..steps).any(|_| !dropping.step().unwrap());
            // What a draft of the next step may have left.
            fs::write(tail.join("BASE.new"), b"half of it").unwrap();
            // As a power cut leaves it: the copy is made while the log is open.
            check_whole(&copy(&here).path().join("data"), &mut again(&teller));
            // And as a running log goes on.
            let mut teller = again(&teller);
            teller.append(&opened.log, ledger(1), 2);
            teller.check(&opened.log);
            check_whole(&copy(&here).path().join("data"), &mut teller);
            done
        };
        if done {
            assert_eq!(tail_files(&here).len(), 1);
            assert!(steps > 2, "{steps} steps");
            return;
        }
    }
}

#[test]
fn a_failing_step_of_dropping_leaves_a_log_that_goes_on() {
    let dir = TempDir::new().unwrap();
    let mut teller = fill(dir.path());
    let opened = open(dir.path());
    mirror(dir.path(), &opened.log, &teller, &[ledger(1), ledger(2)]);
    // Where the draft is to be written there is a directory.
    fs::create_dir(dir.path().join("tail/BASE.new")).unwrap();
    let before = tail_files(dir.path());
    for id in [ledger(1), ledger(2)] {
        opened.log.mirrored(id, teller.0[&id].size());
    }
    assert_eq!(tail_files(dir.path()), before);
    fs::remove_dir(dir.path().join("tail/BASE.new")).unwrap();
    teller.append(&opened.log, ledger(1), 1);
    opened.log.mirrored(ledger(1), teller.0[&ledger(1)].size());
    assert!(tail_files(dir.path()).len() < before.len());
    drop(opened);
    check_whole(dir.path(), &mut teller);
}

#[test]
fn sled_damaged_in_any_way_is_rebuilt_from_mirror_and_tail() {
    type Damage = fn(&Path);
    let cases: [(&str, Damage); 7] = [
        ("emptied", |sled| truncate(&sled.join("db"), 0)),
        ("cut in half", |sled| {
            let length = fs::metadata(sled.join("db")).unwrap().len();
            truncate(&sled.join("db"), length / 2);
        }),
        ("its middle edited", |sled| {
            let length = fs::metadata(sled.join("db")).unwrap().len();
            (0..64).for_each(|i| flip(&sled.join("db"), length * i / 64));
        }),
        ("db removed", |sled| fs::remove_file(sled.join("db")).unwrap()),
        ("conf removed", |sled| fs::remove_file(sled.join("conf")).unwrap()),
        ("conf edited", |sled| flip(&sled.join("conf"), 15)),
        ("directory removed", |sled| fs::remove_dir_all(sled).unwrap()),
    ];
    let dir = TempDir::new().unwrap();
    let data = dir.path().join("data");
    let mut teller = fill_and_mirror(&data);
    for clean in [true, false] {
        for (name, damage) in cases {
            println!("{name}, after {} stop", if clean { "an orderly" } else { "an unclean" });
            let here = damaged(&data, |here| {
                if !clean {
                    fs::remove_file(here.join("CLEAN")).unwrap();
                }
                damage(&here.join("sled"));
            });
            let here = here.path().join("data");
            let had_sled = here.join("sled").exists();
            // Half of it may have no more than the last commits, which the tail has.
            let report = check_whole(&here, &mut again(&teller));
            println!("{}", warnings(&report));
            let kept = here.join("sled.damaged-1").exists();
            let warned = !warnings(&report).is_empty();
            assert_eq!(kept, had_sled && warned, "a copy of the damaged directory is kept");
            // sled makes itself a new conf.
            assert!(warned || ["cut in half", "conf removed"].contains(&name), "{name}");
        }
    }
    check_whole(&data, &mut teller);
}

#[test]
fn a_hole_in_sled_is_filled_from_the_mirror_and_the_rest_taken_from_sled() {
    let dir = TempDir::new().unwrap();
    let data = dir.path().join("data");
    let teller = fill_and_mirror(&data);
    let hole = |db: &Db| {
        let chunk = chunks::holding(db, ledger(1), 100).unwrap().unwrap();
        db.remove(chunks::key(ledger(1), chunk.first)).unwrap();
        drop(db.insert(chunks::key(ledger(2), 7), &b"\0\0\0\0\0\x01x"[..]).unwrap());
    };
    let here = damaged(&data, |here| edit_sled(here, hole));
    check_whole(&here.path().join("data"), &mut again(&teller));
    // With the mirror damaged elsewhere both are made whole; at the same entries it is refused, with the first.
    let flip_entry = |here: &Path, seq: u64| {
        let bundle = here.join(format!("mirror/log/{}/tile/entries/{:03}", ledger(1), seq / 256));
        let bytes = fs::read(&bundle).unwrap();
        let needle = format!("\"seq\":{seq},");
        let at = bytes.windows(needle.len()).position(|window| window == needle.as_bytes()).unwrap();
        flip(&bundle, at as u64);
    };
    let here = damaged(&data, |here| {
        edit_sled(here, hole);
        flip_entry(here, 255);
    });
    let report = check_whole(&here.path().join("data"), &mut again(&teller));
    assert!(warnings(&report).contains("the mirror is damaged"), "{report:?}");
    let here = damaged(&data, |here| {
        edit_sled(here, hole);
        flip_entry(here, 100);
    });
    match refusal(&here.path().join("data")) {
        OpenError::Missing { ledger: of, seq: 100, .. } if of == ledger(1) => (),
        other => panic!("{other}"),
    }
}

#[test]
fn every_file_of_the_mirror_flipped_cut_or_removed_is_made_whole_from_sled() {
    let dir = TempDir::new().unwrap();
    let data = dir.path().join("data");
    let teller = fill_and_mirror(&data);
    let options = OpenOptions { signed: Some(signed()), ..options() };
    let files = files_below(&data.join("mirror"));
    assert!(files.len() > 8, "{files:?}");
    for file in files {
        let whole = fs::read(&file).unwrap();
        let file = file.strip_prefix(&data).unwrap();
        let length = whole.len() as u64;
        let damage: [&dyn Fn(&Path); 6] = [
            &|path| flip(path, 0),
            &|path| flip(path, length / 2),
            &|path| flip(path, length - 1),
            &|path| truncate(path, length / 2),
            &|path| truncate(path, 0),
            &|path| fs::remove_file(path).unwrap(),
        ];
        for (n, damage) in damage.iter().enumerate() {
            println!("{}, damage {n}", file.display());
            let here = damaged(&data, |here| damage(&here.join(file)));
            let here = here.path().join("data");
            let opened = SledLog::open(&here, &options).unwrap();
            teller.check(&opened.log);
            assert!(!warnings(&opened.report).is_empty(), "it was said");
            if file.ends_with("checkpoint") {
                assert!(!here.join(file).exists(), "it is signed anew");
            } else {
                assert_eq!(fs::read(here.join(file)).unwrap(), whole);
            }
            drop(opened);
            let opened = SledLog::open(&here, &options).unwrap();
            let rest = warnings(&opened.report);
            assert!(rest.is_empty() || file.ends_with("checkpoint") && rest.contains("is gone"), "{rest}");
        }
    }
    let here = damaged(&data, |here| fs::remove_dir_all(here.join("mirror")).unwrap());
    let here = here.path().join("data");
    let opened = SledLog::open(&here, &options).unwrap();
    assert!(warnings(&opened.report).contains("the mirror"));
    drop(opened);
    // What the tail had dropped has its second copy again.
    fs::remove_dir_all(here.join("sled")).unwrap();
    teller.check(&SledLog::open(&here, &options).unwrap().log);
}

#[test]
fn a_tail_that_dropped_frames_and_is_damaged_is_rebuilt() {
    let dir = TempDir::new().unwrap();
    let data = dir.path().join("data");
    let teller = fill_and_mirror(&data);
    for file in files_below(&data.join("tail")) {
        if file.extension().is_some_and(|end| end == "next") {
            continue;
        }
        let length = fs::metadata(&file).unwrap().len();
        let file = file.strip_prefix(&data).unwrap();
        let damage: [&dyn Fn(&Path); 6] = [
            &|path| flip(path, 0),
            &|path| flip(path, 20),
            &|path| flip(path, 70),
            &|path| truncate(path, length / 2),
            &|path| truncate(path, 0),
            &|path| fs::remove_file(path).unwrap(),
        ];
        for (n, damage) in damage.iter().enumerate() {
            println!("{}, damage {n}", file.display());
            let here = damaged(&data, |here| damage(&here.join(file)));
            let report = check_whole(&here.path().join("data"), &mut again(&teller));
            // Behind the last frame there are zeros, which nobody misses.
            let harmless = n == 3 && report.findings.is_empty();
            assert!(harmless || !report.findings.is_empty(), "it was said: {report:?}");
        }
    }
    let here = damaged(&data, |here| fs::remove_dir_all(here.join("tail")).unwrap());
    let report = check_whole(&here.path().join("data"), &mut again(&teller));
    assert!(warnings(&report).contains("THE TAIL IS LOST"), "{report:?}");
}

#[test]
fn a_commit_that_only_sled_has_is_kept_also_when_its_ledger_has_no_frame_any_more() {
    let dir = TempDir::new().unwrap();
    let data = dir.path().join("data");
    let mut teller = fill(&data);
    let opened = open(&data);
    mirror(&data, &opened.log, &teller, &[ledger(1), ledger(2)]);
    // The last frame is of ledger 1 alone.
    teller.append(&opened.log, ledger(1), 300);
    opened.log.mirrored(ledger(2), 20);
    opened.log.mirrored(ledger(1), teller.0[&ledger(1)].size() - 300);
    opened.log.close().unwrap();
    drop(opened);
    assert_eq!(tail_files(&data).len(), 1);
    let tail = copy(&data.join("tail"));
    let opened = open(&data);
    teller.append(&opened.log, ledger(2), 1);
    drop(opened);
    fs::remove_dir_all(data.join("tail")).unwrap();
    fs::rename(tail.path().join("data"), data.join("tail")).unwrap();
    let report = check_whole(&data, &mut teller);
    assert_eq!((report.findings.len(), warnings(&report)), (1, String::new()), "{report:?}");
}

#[test]
fn a_history_rewritten_in_sled_is_refused_where_the_mirror_differs() {
    let dir = TempDir::new().unwrap();
    let data = dir.path().join("data");
    let teller = fill_and_mirror(&data);
    let rewrite = |db: &Db| {
        let chunk = chunks::holding(db, ledger(1), 9).unwrap().unwrap();
        let mut entries: Vec<_> = chunk.entries.iter().map(|record| record.bytes().to_vec()).collect();
        entries[usize::try_from(9 - chunk.first).unwrap()][0] = b'[';
        let mut values = chunks::Values::new();
        chunks::encode(&mut values, &mut Vec::new(), ledger(1), chunk.first, entries.iter().map(|e| &e[..]));
        chunks::store(db, values).unwrap();
    };
    let here = damaged(&data, |here| edit_sled(here, rewrite));
    let here = here.path().join("data");
    for _ in 0..2 {
        match refusal(&here) {
            OpenError::Disagree { ledger: of, seq: 9, .. } if of == ledger(1) => (),
            other => panic!("{other}"),
        }
    }
    let report = super::super::doctor::repair(&here, &options()).unwrap();
    assert!(warnings(&report).contains("seq 9"), "{report:?}");
    check_whole(&here, &mut again(&teller));
    // Without a tail the checkpoint alone says so.
    let here = damaged(&data, |here| {
        fs::remove_dir_all(here.join("tail")).unwrap();
        fs::remove_file(here.join("CLEAN")).unwrap();
        edit_sled(here, rewrite);
    });
    match refusal(&here.path().join("data")) {
        OpenError::Disagree { ledger: of, seq: 9, .. } if of == ledger(1) => (),
        other => panic!("{other}"),
    }
}

#[test]
fn a_signed_checkpoint_of_another_history_is_refused_and_a_rotten_one_is_not() {
    let dir = TempDir::new().unwrap();
    let data = dir.path().join("data");
    let teller = fill_and_mirror(&data);
    let path = |here: &Path| here.join(format!("mirror/log/{}/checkpoint", ledger(2)));
    let mut another = Tree::new();
    another.extend((0..20).map(|seq| entry(ledger(3), seq).leaf_hash()));
    let options = OpenOptions { signed: Some(signed()), ..options() };

    let here = damaged(&data, |here| fs::write(path(here), checkpoint(ledger(2), &another)).unwrap());
    match SledLog::open(&here.path().join("data"), &options) {
        Err(OpenError::Disagree { ledger: of, .. }) if of == ledger(2) => (),
        other => panic!("{other:?}"),
    }
    // Its digits changed on the disk: the signature is not one of these.
    let here = damaged(&data, |here| {
        let text = fs::read_to_string(path(here)).unwrap();
        fs::write(path(here), text.replacen("\n20\n", "\n90\n", 1)).unwrap();
    });
    let opened = SledLog::open(&here.path().join("data"), &options).unwrap();
    assert!(warnings(&opened.report).contains("not signed"), "{:?}", opened.report);
    teller.check(&opened.log);
    // All of them: it is the key that is wrong.
    let strange = SignatureCheck::new(|_, _| false);
    match SledLog::open(&copy(&data).path().join("data"), &OpenOptions { signed: Some(strange), ..options }) {
        Err(OpenError::WrongKey(2)) => (),
        other => panic!("{other:?}"),
    }
}

#[test]
fn sled_and_tail_cut_back_together_are_brought_up_to_the_mirrors_checkpoint_or_refused() {
    let dir = TempDir::new().unwrap();
    let data = dir.path().join("data");
    let mut teller = fill_and_mirror(&data);
    let older = copy(&data);
    let older = older.path().join("data");
    let opened = open(&data);
    teller.append(&opened.log, ledger(1), 5);
    teller.append(&opened.log, ledger(4), 5);
    mirror(&data, &opened.log, &teller, &[ledger(1), ledger(4)]);
    drop(opened);
    let cut_back = |here: &Path| {
        for copy in ["sled", "tail"] {
            fs::remove_dir_all(here.join(copy)).unwrap();
            files::copy_dir(&older.join(copy), &here.join(copy)).unwrap();
        }
    };
    let here = damaged(&data, cut_back);
    check_whole(&here.path().join("data"), &mut again(&teller));
    // Without the entries nothing may be served that the checkpoint contradicts.
    let here = damaged(&data, |here| {
        cut_back(here);
        fs::remove_dir_all(here.join(format!("mirror/log/{}/tile/entries", ledger(4)))).unwrap();
    });
    match refusal(&here.path().join("data")) {
        OpenError::Missing { ledger: of, seq: 0, detail } if of == ledger(4) => {
            assert!(detail.contains("checkpoint says that the size was 5"), "{detail}");
        }
        other => panic!("{other}"),
    }
}

#[test]
fn what_neither_sled_nor_the_tail_has_any_more_is_read_from_the_mirror() {
    let dir = TempDir::new().unwrap();
    let mut teller = fill_and_mirror(dir.path());
    let opened = open(dir.path());
    opened.log.db.read().unwrap().as_ref().unwrap().clear().unwrap();
    teller.check(&opened.log);
    teller.append(&opened.log, ledger(1), 4);
    teller.check(&opened.log);
    drop(opened);
    check_whole(dir.path(), &mut teller);
}

#[test]
fn the_doctor_shows_what_is_wrong_with_the_mirror_and_changes_nothing() {
    let dir = TempDir::new().unwrap();
    let data = dir.path().join("data");
    fill_and_mirror(&data);
    let scratch = TempDir::new().unwrap();
    let examine = || super::super::doctor::examine(&data, scratch.path(), Some(&signed())).unwrap();
    let whole = examine();
    assert!(whole.findings.is_empty() && whole.refused.is_none(), "{whole:?}");
    assert_eq!(whole.mirrored[&ledger(2)], 20);
    let bundle = data.join(format!("mirror/log/{}/tile/entries/000", ledger(1)));
    flip(&bundle, 77);
    let bytes = fs::read(&bundle).unwrap();
    let rotten = examine();
    assert_eq!(rotten.findings.len(), 1, "{rotten:?}");
    assert!(rotten.findings[0].text.contains("1 hold other bytes"), "{rotten:?}");
    assert_eq!(fs::read(&bundle).unwrap(), bytes, "the doctor repaired something");
    super::super::doctor::repair(&data, &options()).unwrap();
    assert!(examine().findings.is_empty());
}
