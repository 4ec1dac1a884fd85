//! Holds the two copies against each other, entry by entry, and says what a start has to do.
//! Never writes: what it finds is carried out by the start, or only told by the doctor.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use ::sled::Db;
use mentorlog_events::id::LedgerId;
use mentorlog_events::record::{Hash, leaf_hash};

use super::chunks::{self, Cursor, Fault};
use super::merkle::{Frontier, Tree};
use super::tail::{self, Installation, Scan, head_digest, xor};

/// Something a start or an examination found and what it means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The finding means damage, not just an interrupted run.
    pub warning: bool,
    /// The ledger concerned, if it is one.
    pub ledger: Option<LedgerId>,
    /// The first seq concerned.
    pub seq: Option<u64>,
    /// The file or directory concerned.
    pub file: Option<PathBuf>,
    /// What was found and what is, or would be, done.
    pub text: String,
}

impl Finding {
    pub(super) fn notice(text: impl Into<String>) -> Self {
        Self { warning: false, ledger: None, seq: None, file: None, text: text.into() }
    }

    pub(super) fn warning(text: impl Into<String>) -> Self {
        Self { warning: true, ..Self::notice(text) }
    }

    pub(super) fn at(self, ledger: LedgerId, seq: u64) -> Self {
        Self { ledger: Some(ledger), seq: Some(seq), ..self }
    }

    pub(super) fn file(self, file: &Path) -> Self {
        Self { file: Some(file.to_owned()), ..self }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let (Some(ledger), Some(seq)) = (self.ledger, self.seq) {
            write!(f, "ledger {ledger} seq {seq}: ")?;
        }
        f.write_str(&self.text)?;
        if let Some(file) = &self.file {
            write!(f, " ({})", file.display())?;
        }
        Ok(())
    }
}

/// Why a data directory is not served. What was acknowledged is as safe as it was before.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has the directory open. Nothing was touched.
    #[error("{} is in use by another process", .0.display())]
    InUse(PathBuf),
    /// The operating system refused. Entries are untouched; start again once its reason is gone.
    #[error("could not {doing} {}: {error}", path.display())]
    Io {
        /// What was being done.
        doing: &'static str,
        /// To which file or directory.
        path: PathBuf,
        /// The operating system's words.
        error: io::Error,
    },
    /// The two copies, or an entry and a recorded root, differ. Nothing of the ledger is served.
    #[error(
        "ledger {ledger}: the copies disagree at seq {seq}: {detail}; see `mentorlog doctor` for what to do"
    )]
    Disagree {
        /// The ledger.
        ledger: LedgerId,
        /// The first seq in doubt.
        seq: u64,
        /// What differs.
        detail: String,
    },
    /// Neither copy holds an entry that must exist.
    #[error("ledger {ledger}: neither copy holds seq {seq}: {detail}")]
    Missing {
        /// The ledger.
        ledger: LedgerId,
        /// The first seq missing.
        seq: u64,
        /// How it is known to have existed, or why it cannot be read.
        detail: String,
    },
    /// The tail is damaged and its later frames do not vouch for what sled holds.
    #[error(
        "commits are missing from the tail, and what sled holds is not what its later frames vouch for: {0}"
    )]
    Unvouched(String),
    /// sled cannot be used and the tail cannot replace it.
    #[error("sled cannot be used ({sled}) and the tail cannot replace it ({tail})")]
    BothDamaged {
        /// What is wrong with sled.
        sled: String,
        /// What is wrong with the tail.
        tail: String,
    },
    /// Entries were appended here once, and both copies are empty or missing.
    #[error("{} held entries, but both sled and the tail are empty or missing; restore a backup", .0.display())]
    BothGone(PathBuf),
    /// A file belongs to another installation.
    #[error("{} belongs to another installation", .0.display())]
    Foreign(PathBuf),
    /// sled has a blob file, which it never syncs.
    #[error("sled has a blob file, which it never syncs: {}", .0.display())]
    Blob(PathBuf),
}

impl OpenError {
    pub(super) fn io(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |error| Self::Io { doing, path, error }
    }
}

impl From<io::Error> for OpenError {
    fn from(error: io::Error) -> Self {
        Self::Io { doing: "read the tail in", path: PathBuf::new(), error }
    }
}

/// What both copies hold together, and what each lacks.
#[derive(Debug, Default)]
pub(super) struct Assessment {
    /// Every ledger with entries, as it would be served.
    pub(super) trees: BTreeMap<LedgerId, Tree>,
    /// What the scan of the tail found.
    pub(super) scan: Scan,
    /// sled's copy ends at this seq, the tail has more.
    pub(super) sled_lacks: BTreeMap<LedgerId, u64>,
    /// sled's copy has a hole here, but the tail has what belongs there.
    pub(super) sled_broken: Option<(LedgerId, u64, String)>,
    /// The tail's copy ends here (as a frontier), sled has more.
    pub(super) tail_lacks: BTreeMap<LedgerId, Frontier>,
}

impl Assessment {
    /// The tail does not hold every entry from the first on.
    pub(super) fn tail_incomplete(&self) -> bool {
        !self.scan.damaged.is_empty() || (self.scan.frames == 0 && !self.tail_lacks.is_empty())
    }

    /// XOR over the heads, as frames state it.
    pub(super) fn heads(&self) -> Hash {
        heads_of(&self.trees)
    }

    /// In words, for a report.
    pub(super) fn findings(&self) -> Vec<Finding> {
        let mut findings = Vec::new();
        if let Some((ledger, seq, detail)) = &self.sled_broken {
            let text = format!("sled is damaged, {detail}: it is rebuilt from the tail");
            findings.push(Finding::warning(text).at(*ledger, *seq));
        }
        for (ledger, seq) in &self.sled_lacks {
            let size = self.trees.get(ledger).map_or(0, Tree::size);
            let text = format!("sled lacks the entries up to size {size}: they are redone from the tail");
            findings.push(Finding::notice(text).at(*ledger, *seq));
        }
        for damage in &self.scan.damaged {
            let text = format!(
                "the tail is damaged at byte {}, {}: later frames vouch for sled, the tail is rebuilt from it",
                damage.offset, damage.detail
            );
            findings.push(Finding::warning(text).file(&damage.path));
        }
        if self.scan.frames == 0 && !self.tail_lacks.is_empty() {
            findings.push(Finding::warning(
                "THE TAIL IS LOST: it is rebuilt from sled, whose own end nothing here vouches for; \
                 compare the sizes with a head kept elsewhere",
            ));
        } else {
            for (ledger, frontier) in &self.tail_lacks {
                let size = self.trees.get(ledger).map_or(0, Tree::size);
                let text =
                    format!("sled is ahead of the tail up to size {size}: kept, and added to the tail");
                findings.push(Finding::notice(text).at(*ledger, frontier.size()));
            }
        }
        if let Some(torn) = &self.scan.torn {
            let text = format!("the tail's last commit is torn at byte {}: it is cut", torn.offset);
            findings.push(Finding::notice(text).file(&torn.path));
        }
        findings
    }
}

pub(super) fn heads_of(trees: &BTreeMap<LedgerId, Tree>) -> Hash {
    let mut heads = [0; 32];
    for (ledger, tree) in trees {
        xor(&mut heads, &head_digest(*ledger, tree.size(), &tree.root()));
    }
    heads
}

/// One ledger while it is being assessed.
#[derive(Debug, Default)]
struct Assessed {
    tree: Tree,
    cursor: Cursor,
    // sled has nothing usable from here on.
    lacks: Option<u64>,
    // The last frames of the tail that concern it are intact.
    vouched: bool,
}

/// Compares both copies. `db` is `None` if sled cannot be used, for the reason in `sled_error`.
pub(super) fn assess(
    db: Option<&Db>,
    sled_error: &str,
    tail_dir: &Path,
    installation: &Installation,
) -> Result<Assessment, OpenError> {
    let mut ledgers: BTreeMap<LedgerId, Assessed> = BTreeMap::new();
    let mut broken = None;
    let mut commits_missing = false;

    let scan = tail::scan(tail_dir, installation, |frame| {
        if frame.after_damage {
            commits_missing = true;
            for ledger in ledgers.values_mut() {
                ledger.vouched = false;
            }
        }
        for part in frame.parts {
            let id = part.ledger;
            let ledger = ledgers.entry(id).or_default();
            if ledger.tree.size() < part.old {
                if !commits_missing {
                    let detail = format!("the tail goes on at {} without damage before it", part.old);
                    return Err(OpenError::Missing { ledger: id, seq: ledger.tree.size(), detail });
                }
                fill_from_sled(db, sled_error, id, ledger, part.old)?;
            }
            if ledger.tree.size() > part.old {
                let detail = format!("the tail has a second commit at this size, not {}", ledger.tree.size());
                return Err(OpenError::Disagree { ledger: id, seq: part.old, detail });
            }
            ledger.vouched = true;
            for (seq, entry) in (part.old..).zip(&part.entries) {
                match sled_entry(db, id, ledger, seq) {
                    Ok(Some(true_bytes)) if true_bytes == *entry => (),
                    Ok(Some(_)) => {
                        let detail = "sled holds other bytes than an intact frame of the tail".to_owned();
                        return Err(OpenError::Disagree { ledger: id, seq, detail });
                    }
                    Ok(None) => (),
                    Err(fault) => {
                        broken.get_or_insert((id, seq, fault.to_string()));
                    }
                }
                ledger.tree.push(leaf_hash(entry));
            }
            if ledger.tree.root() != part.root {
                let detail = format!("the root at size {} is not the one its commit recorded", part.new);
                return Err(OpenError::Disagree { ledger: id, seq: part.old, detail });
            }
        }
        Ok(())
    })?;
    if let Some(path) = scan.foreign {
        return Err(OpenError::Foreign(path));
    }

    let mut assessment = Assessment { scan, ..Assessment::default() };
    if let Some(db) = db {
        let of_sled: BTreeSet<_> = match chunks::ledgers(db) {
            Ok(found) => found.into_iter().collect(),
            Err(fault) => {
                broken.get_or_insert((LedgerId::REGISTRY, 0, fault.to_string()));
                BTreeSet::new()
            }
        };
        for ledger in of_sled {
            ledgers.entry(ledger).or_default();
        }
    }
    // Ledgers whose last commits may be the missing ones: sled speaks for them, and the last frame for sled.
    let mut extend =
        |vouched: bool, ledgers: &mut BTreeMap<LedgerId, Assessed>, assessment: &mut Assessment| {
            for (id, ledger) in ledgers.iter_mut().filter(|(_, ledger)| ledger.vouched == vouched) {
                let known = ledger.tree.frontier().clone();
                if let Some(db) = db {
                    extend_from_sled(db, *id, ledger, &mut broken)?;
                }
                if ledger.tree.size() > known.size() {
                    assessment.tail_lacks.insert(*id, known);
                }
            }
            Ok::<(), OpenError>(())
        };
    if commits_missing {
        extend(false, &mut ledgers, &mut assessment)?;
        let mut heads = [0; 32];
        for (id, ledger) in &ledgers {
            if ledger.tree.size() > 0 {
                xor(&mut heads, &head_digest(*id, ledger.tree.size(), &ledger.tree.root()));
            }
        }
        if assessment.scan.heads != Some(heads) {
            let damage: Vec<_> = assessment.scan.damaged.iter().map(ToString::to_string).collect();
            return Err(OpenError::Unvouched(damage.join("; ")));
        }
        extend(true, &mut ledgers, &mut assessment)?;
    } else {
        extend(true, &mut ledgers, &mut assessment)?;
        extend(false, &mut ledgers, &mut assessment)?;
    }

    for (id, ledger) in ledgers {
        if let Some(seq) = ledger.lacks {
            assessment.sled_lacks.insert(id, seq);
        }
        if ledger.tree.size() > 0 {
            assessment.trees.insert(id, ledger.tree);
        }
    }
    if let (Some((ledger, seq, detail)), true) = (&broken, commits_missing) {
        let detail = format!("sled is damaged ({detail}), and commits are missing from the tail");
        return Err(OpenError::Missing { ledger: *ledger, seq: *seq, detail });
    }
    if let (None, Some(damage)) = (db, assessment.scan.damaged.first())
        && commits_missing
    {
        return Err(OpenError::BothDamaged { sled: sled_error.to_owned(), tail: damage.to_string() });
    }
    assessment.sled_broken = broken;
    Ok(assessment)
}

/// The bytes sled holds at `seq`; from the first it lacks on, it is not asked again.
fn sled_entry<'a>(
    db: Option<&Db>,
    id: LedgerId,
    ledger: &'a mut Assessed,
    seq: u64,
) -> Result<Option<&'a [u8]>, Fault> {
    let (Some(db), None) = (db, ledger.lacks) else {
        ledger.lacks.get_or_insert(seq);
        return Ok(None);
    };
    match ledger.cursor.entry(db, id, seq) {
        Ok(Some(record)) => Ok(Some(record.bytes())),
        Ok(None) => {
            ledger.lacks = Some(seq);
            Ok(None)
        }
        Err(fault) => {
            ledger.lacks = Some(seq);
            Err(fault)
        }
    }
}

/// Commits are missing from the tail: sled has to have what they held.
fn fill_from_sled(
    db: Option<&Db>,
    sled_error: &str,
    id: LedgerId,
    ledger: &mut Assessed,
    to: u64,
) -> Result<(), OpenError> {
    while ledger.tree.size() < to {
        let seq = ledger.tree.size();
        let hash = match sled_entry(db, id, ledger, seq) {
            Ok(Some(entry)) => leaf_hash(entry),
            Ok(None) => {
                let sled = if sled_error.is_empty() { "sled ends before" } else { sled_error };
                let detail = format!("the tail lost the commit that held it, and {sled}");
                return Err(OpenError::Missing { ledger: id, seq, detail });
            }
            Err(fault) => {
                let detail = format!("the tail lost the commit that held it, and {fault}");
                return Err(OpenError::Missing { ledger: id, seq, detail });
            }
        };
        ledger.tree.push(hash);
    }
    Ok(())
}

/// Takes what sled holds behind the tail's end, and sees that nothing lies behind a hole.
fn extend_from_sled(
    db: &Db,
    id: LedgerId,
    ledger: &mut Assessed,
    broken: &mut Option<(LedgerId, u64, String)>,
) -> Result<(), OpenError> {
    if ledger.lacks.is_none() {
        loop {
            let seq = ledger.tree.size();
            match ledger.cursor.entry(db, id, seq) {
                Ok(Some(record)) => ledger.tree.push(leaf_hash(record.bytes())),
                Ok(None) => break,
                Err(fault) => {
                    let detail = format!("the tail ends before it, and sled: {fault}");
                    return Err(OpenError::Missing { ledger: id, seq, detail });
                }
            }
        }
    }
    let end = ledger.lacks.unwrap_or(ledger.tree.size());
    match chunks::last_first(db, id) {
        Ok(Some(first)) if first >= end => {
            if ledger.lacks.is_some() {
                broken.get_or_insert((id, end, format!("it goes on at {first}")));
                Ok(())
            } else {
                let detail = format!("the tail ends before it, and sled goes on at {first}");
                Err(OpenError::Missing { ledger: id, seq: end, detail })
            }
        }
        Ok(_) => Ok(()),
        Err(fault) => {
            broken.get_or_insert((id, end, fault.to_string()));
            Ok(())
        }
    }
}
