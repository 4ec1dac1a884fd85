//! Looks at a data directory without changing it, and repairs one when an operator says so.
//! Never decides which copy is right.

use std::collections::BTreeMap;
use std::fs::{File, TryLockError};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use mentorlog_events::id::LedgerId;
use mentorlog_events::record::Hash;

use super::files;
use super::recovery::{self, Assessment, Finding, OpenError};
use super::sled::{OpenOptions, Paths, SledLog, open_sled, rebuild_sled, remove_generating};

/// What a data directory holds and what the next start would do with it.
#[derive(Debug, Default)]
pub struct Examination {
    /// A process has the directory open: what was seen may be in the middle of a commit.
    pub in_use: bool,
    /// Size and root of every ledger that has entries, as the next start would serve them.
    pub heads: BTreeMap<LedgerId, (u64, Hash)>,
    /// What is not as an orderly stop leaves it, and what the next start does about it.
    pub findings: Vec<Finding>,
    /// Why the next start refuses, if it does. `heads` is empty then.
    pub refused: Option<String>,
}

/// Examines a data directory. It is only read: sled, whose opening changes its files, is opened on a copy
/// that is made in `scratch` (on a disk with room for it) and removed again.
///
/// Takes no lock; beside a running server it says so in [`Examination::in_use`].
pub fn examine(dir: &Path, scratch: &Path) -> Result<Examination, OpenError> {
    let paths = Paths::new(&dir.canonicalize().map_err(OpenError::io("find", dir))?);
    let mut examination = Examination { in_use: in_use(&paths), ..Examination::default() };
    let Some((installation, started)) = paths.read_installation()? else {
        examination.findings.push(Finding::warning("there is no data here").file(paths.dir()));
        return Ok(examination);
    };
    let copy = scratch.join(format!("mentorlog-doctor-{}", std::process::id()));
    files::remove_dir(&copy).map_err(OpenError::io("remove", &copy))?;
    let assessed = assess_copy(&paths, &installation, &copy, &mut examination.findings);
    files::remove_dir(&copy).map_err(OpenError::io("remove", &copy))?;
    match assessed {
        Ok(assessment) if assessment.trees.is_empty() && started => {
            examination.refused = Some(OpenError::BothGone(paths.dir().to_owned()).to_string());
        }
        Ok(assessment) => {
            let mut found = assessment.findings();
            if paths.clean().exists() {
                // It is written when both copies hold everything, and gone before the next append: no
                // interrupted run explains what one of them lacks.
                for finding in &mut found {
                    finding.warning = true;
                }
            }
            examination.findings.append(&mut found);
            let heads = assessment.trees.iter();
            examination.heads = heads.map(|(id, tree)| (*id, (tree.size(), tree.root()))).collect();
        }
        // The machine's troubles are the doctor's, what is in the files is the patient's.
        Err(error @ OpenError::Io { .. }) => return Err(error),
        Err(error) => examination.refused = Some(error.to_string()),
    }
    Ok(examination)
}

/// Opens a copy of a data directory as the next start would open the directory itself, and lets `look` at it.
/// The copy is made in `scratch`, holds no keys, and is gone afterwards; the directory is only read.
pub fn open_copy<T>(
    dir: &Path,
    scratch: &Path,
    look: impl FnOnce(&super::sled::Opened) -> T,
) -> Result<T, OpenError> {
    let dir = dir.canonicalize().map_err(OpenError::io("find", dir))?;
    let copy = tempfile::Builder::new().prefix("mentorlog-doctor-").tempdir_in(scratch);
    let copy = copy.map_err(OpenError::io("make a directory in", scratch))?;
    for name in ["INSTALLATION", "CLEAN", "sled", "sled.before-open", "tail"] {
        let (from, to) = (dir.join(name), copy.path().join(name));
        if from.is_dir() {
            files::copy_dir(&from, &to).map_err(OpenError::io("copy", &from))?;
        } else if from.exists() {
            std::fs::copy(&from, &to).map_err(OpenError::io("copy", &from))?;
        }
    }
    let opened = SledLog::open(copy.path(), &OpenOptions::default())?;
    let seen = look(&opened);
    // Closed before its files go.
    drop(opened);
    Ok(seen)
}

fn in_use(paths: &Paths) -> bool {
    let lock = File::open(paths.lock());
    lock.is_ok_and(|lock| matches!(lock.try_lock_shared(), Err(TryLockError::WouldBlock)))
}

fn assess_copy(
    paths: &Paths,
    installation: &[u8; 16],
    copy: &Path,
    findings: &mut Vec<Finding>,
) -> Result<Assessment, OpenError> {
    // A start that did not get through kept sled as it was; the directory itself has been opened since.
    let kept = paths.sled_before_open();
    let sled = if kept.exists() { kept } else { paths.sled() };
    let mut unusable = "sled is missing".to_owned();
    let mut db = None;
    if sled.join("db").exists() {
        files::copy_dir(&sled, copy).map_err(OpenError::io("copy", &sled))?;
        remove_generating(copy, findings)?;
        match open_sled(copy)? {
            Ok(opened) => db = Some(opened),
            Err(reason) => unusable = reason,
        }
    }
    let assess = |db, error: &str| recovery::assess(db, error, &paths.tail(), installation);
    if let Some(opened) = &db {
        let assessed = catch_unwind(AssertUnwindSafe(|| assess(Some(opened), "")));
        if let Ok(assessed) = assessed {
            return assessed;
        }
        unusable = "sled panicked while it was read".into();
    }
    findings.push(Finding::warning(format!("{unusable}: it is rebuilt from the tail")).file(&sled));
    assess(None, &unusable)
}

/// Moves sled aside and rebuilds it from the tail: an operator's answer to [`OpenError::Disagree`], when the
/// tail is right. Returns where the old directory is kept, if there was one.
///
/// Refused, with nothing changed, while a process has the directory open, or if the tail is damaged, loses a
/// commit, or does not agree with the roots it records itself.
pub fn repair_from_tail(dir: &Path) -> Result<Option<PathBuf>, OpenError> {
    let paths = Paths::new(&dir.canonicalize().map_err(OpenError::io("find", dir))?);
    let _lock = super::sled::take_lock(&paths)?;
    let Some((installation, _)) = paths.read_installation()? else {
        return Err(OpenError::BothGone(paths.dir().to_owned()));
    };
    let unusable = "an operator said so";
    let assessment = recovery::assess(None, unusable, &paths.tail(), &installation)?;
    if assessment.trees.is_empty() {
        let tail = "it holds no intact commit".to_owned();
        return Err(OpenError::BothDamaged { sled: unusable.to_owned(), tail });
    }
    rebuild_sled(&paths, &installation)
}
