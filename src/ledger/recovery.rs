//! Holds sled, the tail and the mirror against each other, and says what a start has to do.
//! Never writes: what it finds is carried out by the start, or only told by the doctor.
//!
//! Every entry of sled and of the tail is read and hashed. Of the mirror only the checkpoints are read here, and
//! the entries that sled lacks; its files are held against the resulting trees afterwards ([`super::mirrored`]).
//! A root is believed at the sizes for which something outside sled states it: the frames of the tail, what the tail
//! states of the frames it dropped, the mirror's checkpoints.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ::sled::Db;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use mentorlog_events::id::LedgerId;
use mentorlog_events::record::{Hash, Record, leaf_hash};

use super::chunks::{self, Cursor};
use super::merkle::{Frontier, Tree};
use super::mirrored::{self, LedgerMirror, Mirrored};
use super::tail::{self, Head, Installation, Scan, TailIndex, head_digest, xor};

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
    /// Two copies, or an entry and a recorded root, differ. Nothing of the ledger is served.
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
    /// No copy can show an entry that must exist: the first one nobody vouches for.
    #[error("ledger {ledger}: no copy holds seq {seq}: {detail}")]
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
        "commits are missing from the tail, and what the other copies hold is not what its later frames vouch for: {0}"
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
    /// Entries were appended here once, and every copy is empty or missing.
    #[error("{} held entries, but sled, the tail and the mirror are empty or missing; restore a backup", .0.display())]
    BothGone(PathBuf),
    /// A file belongs to another installation.
    #[error("{} belongs to another installation", .0.display())]
    Foreign(PathBuf),
    /// Every checkpoint of the mirror is signed by keys that are not this installation's.
    #[error(
        "none of the mirror's {0} checkpoints is signed with a key from keys/signing.key: restore that file from its backup, \
         or, if the checkpoints are what is damaged, move mirror/ aside"
    )]
    WrongKey(usize),
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
        Self::Io { doing: "read or write a file of", path: "the data directory".into(), error }
    }
}

/// Says whether the bytes of a ledger's checkpoint carry a signature of this installation for this ledger.
#[derive(Clone)]
pub struct SignatureCheck(Arc<IsSigned>);

type IsSigned = dyn Fn(LedgerId, &[u8]) -> bool + Send + Sync;

impl SignatureCheck {
    /// Wraps whatever knows the keys.
    pub fn new(check: impl Fn(LedgerId, &[u8]) -> bool + Send + Sync + 'static) -> Self {
        Self(Arc::new(check))
    }

    /// Asks it.
    pub fn is_signed(&self, ledger: LedgerId, note: &[u8]) -> bool {
        (self.0)(ledger, note)
    }
}

impl fmt::Debug for SignatureCheck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SignatureCheck")
    }
}

/// Up to where the mirror of a ledger reaches, if its checkpoint can be believed.
pub(super) fn mirrored((ledger, published): (&LedgerId, &Published)) -> Option<(LedgerId, u64)> {
    match published {
        Published::Head((size, _)) => Some((*ledger, *size)),
        Published::Nothing | Published::Rotten(_) => None,
    }
}

/// What is compared.
#[derive(Debug, Clone, Copy)]
pub(super) struct Copies<'a> {
    /// `None` if sled cannot be used, for the reason in `sled_error`.
    pub(super) db: Option<&'a Db>,
    pub(super) sled_error: &'a str,
    pub(super) tail: &'a Path,
    pub(super) mirror: &'a Mirrored,
    pub(super) installation: &'a Installation,
    /// Without it every checkpoint that can be read is believed.
    pub(super) signed: Option<&'a SignatureCheck>,
}

/// What the mirror says of a ledger's size and root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Published {
    /// It has files, but no checkpoint.
    Nothing,
    /// Its checkpoint.
    Head(Head),
    /// Its checkpoint cannot be believed, for this reason.
    Rotten(String),
}

/// What all copies hold together, and what each lacks.
#[derive(Debug, Default)]
pub(super) struct Assessment {
    /// Every ledger with entries, as it would be served.
    pub(super) trees: BTreeMap<LedgerId, Tree>,
    /// What the scan of the tail found.
    pub(super) scan: Scan,
    /// sled's copy lacks entries from this seq on that others have.
    pub(super) sled_lacks: BTreeMap<LedgerId, u64>,
    /// sled's copy has a hole here, or something that cannot be read, but others have what belongs there.
    pub(super) sled_broken: Option<(LedgerId, u64, String)>,
    /// The tail's copy ends here (as a frontier), sled or the mirror has more.
    pub(super) tail_lacks: BTreeMap<LedgerId, Frontier>,
    /// What the mirror says of each ledger it has.
    pub(super) published: BTreeMap<LedgerId, Published>,
}

impl Assessment {
    /// The tail does not hold every entry from where it begins.
    pub(super) fn tail_incomplete(&self) -> bool {
        !self.scan.damaged.is_empty() || (self.scan.frames == 0 && !self.tail_lacks.is_empty())
    }

    /// XOR over the heads, as frames state it.
    pub(super) fn heads(&self) -> Hash {
        heads_of(self.trees.iter().map(|(ledger, tree)| (*ledger, tree)))
    }

    /// Number of entries of each ledger.
    pub(super) fn sizes(&self) -> BTreeMap<LedgerId, u64> {
        self.trees.iter().map(|(ledger, tree)| (*ledger, tree.size())).collect()
    }

    /// In words, for a report.
    pub(super) fn findings(&self) -> Vec<Finding> {
        let mut findings = Vec::new();
        if let Some((ledger, seq, detail)) = &self.sled_broken {
            let text = format!("sled is damaged, {detail}: it is rebuilt from the other copies");
            findings.push(Finding::warning(text).at(*ledger, *seq));
        }
        for (ledger, seq) in &self.sled_lacks {
            let size = self.trees.get(ledger).map_or(0, Tree::size);
            let text = format!(
                "sled lacks the entries up to size {size}: they are redone from the tail or the mirror"
            );
            findings.push(Finding::notice(text).at(*ledger, *seq));
        }
        for damage in &self.scan.damaged {
            let text = format!(
                "the tail is damaged at byte {}, {}: what it still holds vouches for sled, it is rebuilt from that",
                damage.offset, damage.detail
            );
            findings.push(Finding::warning(text).file(&damage.path));
        }
        if self.scan.frames == 0 && !self.tail_lacks.is_empty() {
            findings.push(Finding::warning(
                "THE TAIL IS LOST: it is rebuilt from sled, for whose entries behind the mirror's last checkpoint \
                 nothing here vouches; compare the sizes with a head kept elsewhere",
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

/// XOR over the heads of ledgers that have entries.
pub(super) fn heads_of<'a>(trees: impl Iterator<Item = (LedgerId, &'a Tree)>) -> Hash {
    let mut heads = [0; 32];
    for (ledger, tree) in trees.filter(|(_, tree)| tree.size() > 0) {
        xor(&mut heads, &head_digest(ledger, tree.size(), &tree.root()));
    }
    heads
}

/// A hole, or something unreadable, in sled: the first that was met.
type Broken = Option<(LedgerId, u64, String)>;

/// One ledger while it is being assessed.
#[derive(Debug)]
struct Assessed {
    id: LedgerId,
    tree: Tree,
    cursor: Cursor,
    // The first seq of the ledger that sled cannot show.
    lacks: Option<u64>,
    // Below this seq sled has nothing more.
    resumes: u64,
    mirror: mirrored::Entries,
    // What the checkpoint in the mirror says, and the root at that size.
    published: Option<Head>,
    at_published: Option<Hash>,
    // The last frames of the tail that concern it are intact.
    vouched: bool,
}

impl Assessed {
    fn new(copies: &Copies<'_>, id: LedgerId, published: Option<&Published>) -> Self {
        let published = match published {
            Some(Published::Head(head)) => Some(*head),
            Some(Published::Nothing | Published::Rotten(_)) | None => None,
        };
        let tree = Tree::new();
        let at_published = published.filter(|(size, _)| *size == 0).map(|_| tree.root());
        Self {
            id,
            tree,
            cursor: Cursor::default(),
            lacks: None,
            resumes: 0,
            mirror: copies.mirror.ledger(id).entries(),
            published,
            at_published,
            vouched: false,
        }
    }

    fn push(&mut self, leaf: Hash) {
        self.tree.push(leaf);
        if self.published.is_some_and(|(size, _)| size == self.tree.size()) {
            self.at_published = Some(self.tree.root());
        }
    }

    /// What sled holds at `seq`. What it lacks is remembered, and what it cannot read as well.
    fn sled(&mut self, copies: &Copies<'_>, seq: u64, broken: &mut Broken) -> Option<Record> {
        let found = match copies.db {
            Some(db) if seq >= self.resumes => match self.cursor.entry(db, self.id, seq) {
                Ok(Some(record)) => return Some(record.clone()),
                Ok(None) => chunks::first_after(db, self.id, seq),
                Err(fault) => {
                    broken.get_or_insert((self.id, seq, fault.to_string()));
                    chunks::first_after(db, self.id, seq)
                }
            },
            Some(_) => Ok(Some(self.resumes)),
            None => Ok(None),
        };
        self.lacks.get_or_insert(seq);
        self.resumes = match found {
            Ok(next) => next.unwrap_or(u64::MAX),
            Err(fault) => {
                broken.get_or_insert((self.id, seq, fault.to_string()));
                u64::MAX
            }
        };
        None
    }

    /// Takes the entry behind the last from sled, else from the mirror. The error says why neither shows it.
    fn take(&mut self, copies: &Copies<'_>, broken: &mut Broken) -> Result<(), String> {
        let seq = self.tree.size();
        if let Some(record) = self.sled(copies, seq, broken) {
            self.push(record.leaf_hash());
            return Ok(());
        }
        let of_sled = match broken {
            Some((id, _, detail)) if *id == self.id => detail,
            _ if copies.sled_error.is_empty() => "sled does not hold it",
            _ => copies.sled_error,
        };
        match self.mirror.entry(seq) {
            Ok(Some(record)) => {
                let leaf = record.leaf_hash();
                self.push(leaf);
                Ok(())
            }
            Ok(None) => Err(format!("{of_sled}, and the mirror does not hold it")),
            Err(of_mirror) => Err(format!("{of_sled}, and in the mirror {of_mirror}")),
        }
    }

    /// Takes entries up to a size at which the root is known.
    fn fill(
        &mut self,
        copies: &Copies<'_>,
        (size, root): Head,
        why: &str,
        broken: &mut Broken,
    ) -> Result<(), OpenError> {
        let from = self.tree.size();
        while self.tree.size() < size {
            self.take(copies, broken).map_err(|detail| OpenError::Missing {
                ledger: self.id,
                seq: self.tree.size(),
                detail: format!("{why}, {detail}"),
            })?;
        }
        if self.tree.size() == size && self.tree.root() != root {
            let seq = first_difference(copies, self.id, 0..size).unwrap_or(from);
            let detail = format!("the root at size {size} is not the one recorded in the tail ({why})");
            return Err(OpenError::Disagree { ledger: self.id, seq, detail });
        }
        Ok(())
    }

    /// Takes what sled holds behind the tail's end, and from the mirror what its checkpoint vouches for; sees that
    /// nothing lies behind a hole.
    fn extend(&mut self, copies: &Copies<'_>, broken: &mut Broken) -> Result<(), OpenError> {
        loop {
            let seq = self.tree.size();
            if let Some(record) = self.sled(copies, seq, broken) {
                self.push(record.leaf_hash());
                continue;
            }
            let Some((size, _)) = self.published.filter(|(size, _)| *size > seq) else { break };
            self.take(copies, broken).map_err(|detail| OpenError::Missing {
                ledger: self.id,
                seq,
                detail: format!(
                    "the mirror's checkpoint says that the size was {size}; the tail ends before, {detail}"
                ),
            })?;
        }
        let end = self.tree.size();
        let Some(db) = copies.db else { return Ok(()) };
        match chunks::last_first(db, self.id) {
            Ok(Some(first)) if first >= end => {
                let detail = match broken {
                    Some((id, _, detail)) if *id == self.id => detail.clone(),
                    _ => format!("sled goes on at {first}"),
                };
                let detail = format!("neither the tail nor the mirror holds it, and {detail}");
                return Err(OpenError::Missing { ledger: self.id, seq: end, detail });
            }
            Ok(Some(first)) if self.lacks.is_some_and(|lacks| first > lacks) => {
                broken.get_or_insert((self.id, self.lacks.unwrap_or(end), format!("it goes on at {first}")));
            }
            Ok(_) => {}
            Err(fault) => {
                broken.get_or_insert((self.id, end, fault.to_string()));
            }
        }
        Ok(())
    }

    /// The checkpoint in the mirror has to be one of this ledger.
    fn check_published(&self, copies: &Copies<'_>) -> Result<(), OpenError> {
        let Some((size, root)) = self.published.filter(|(_, root)| self.at_published != Some(*root)) else {
            return Ok(());
        };
        let seq = first_difference(copies, self.id, 0..size).unwrap_or(0);
        let root = STANDARD.encode(root);
        let detail =
            format!("the mirror's checkpoint says that the root at size {size} was {root}, and it is not");
        Err(OpenError::Disagree { ledger: self.id, seq, detail })
    }
}

/// The first seq at which sled and the mirror both show an entry, and not the same.
fn first_difference(copies: &Copies<'_>, ledger: LedgerId, range: Range<u64>) -> Option<u64> {
    let db = copies.db?;
    let (mut cursor, mut mirror) = (Cursor::default(), copies.mirror.ledger(ledger).entries());
    range.into_iter().find(|seq| {
        let of_sled = cursor.entry(db, ledger, *seq);
        let of_mirror = mirror.entry(*seq);
        matches!((of_sled, of_mirror), (Ok(Some(one)), Ok(Some(other))) if one != other)
    })
}

/// Reads what the mirror says of each ledger it has.
fn published(copies: &Copies<'_>) -> Result<BTreeMap<LedgerId, Published>, OpenError> {
    let mut found = BTreeMap::new();
    let (mut signed, mut foreign) = (0, 0);
    for ledger in copies.mirror.ledgers()? {
        let mirror = copies.mirror.ledger(ledger);
        let says = match (mirror.head()?, mirror.checkpoint()?) {
            (Some(Ok(checkpoint)), Some(bytes)) => {
                let believed = copies.signed.map(|check| (check.0)(ledger, &bytes));
                signed += usize::from(believed == Some(true));
                foreign += usize::from(believed == Some(false));
                if believed == Some(false) {
                    Published::Rotten("not signed with a key of this installation".into())
                } else {
                    Published::Head((checkpoint.size, checkpoint.root))
                }
            }
            (Some(Err(error)), _) => Published::Rotten(error.to_string()),
            (None, _) | (_, None) => Published::Nothing,
        };
        found.insert(ledger, says);
    }
    // One may have rotted. If it is all of them, it is the key that is wrong, and none must be signed anew.
    if signed == 0 && foreign > 1 {
        return Err(OpenError::WrongKey(foreign));
    }
    Ok(found)
}

/// Compares the copies.
pub(super) fn assess(copies: &Copies<'_>) -> Result<Assessment, OpenError> {
    let published = published(copies)?;
    let mut ledgers: BTreeMap<LedgerId, Assessed> = BTreeMap::new();
    let assessed = |id: LedgerId| Assessed::new(copies, id, published.get(&id));
    let mut broken = None;
    let mut commits_missing = false;

    // What was dropped from the tail, the tail still states size and root of.
    if let Ok(kept) = tail::read_base(copies.tail, copies.installation)? {
        for (id, head) in kept.base {
            let ledger = ledgers.entry(id).or_insert_with(|| assessed(id));
            ledger.vouched = true;
            ledger.fill(copies, head, "the tail holds it no more because it was mirrored", &mut broken)?;
            if let (Some(seq), Some(_)) = (ledger.lacks, copies.db) {
                // No interrupted commit explains that: it was synced long ago.
                broken.get_or_insert((id, seq, "it lost entries that were mirrored".to_owned()));
            }
        }
    }
    let scan = tail::scan(copies.tail, copies.installation, |frame| {
        if frame.after_damage {
            commits_missing = true;
            for ledger in ledgers.values_mut() {
                ledger.vouched = false;
            }
        }
        for part in frame.parts {
            let id = part.ledger;
            let ledger = ledgers.entry(id).or_insert_with(|| assessed(id));
            if ledger.tree.size() < part.old {
                if !commits_missing {
                    let detail = format!("the tail goes on at {} without damage before it", part.old);
                    return Err(OpenError::Missing { ledger: id, seq: ledger.tree.size(), detail });
                }
                while ledger.tree.size() < part.old {
                    ledger.take(copies, &mut broken).map_err(|detail| OpenError::Missing {
                        ledger: id,
                        seq: ledger.tree.size(),
                        detail: format!("the tail lost the commit that held it, {detail}"),
                    })?;
                }
            }
            if ledger.tree.size() > part.old {
                let detail = format!("the tail has a second commit at this size, not {}", ledger.tree.size());
                return Err(OpenError::Disagree { ledger: id, seq: part.old, detail });
            }
            ledger.vouched = true;
            for (seq, entry) in (part.old..).zip(&part.entries) {
                if ledger.sled(copies, seq, &mut broken).is_some_and(|record| &record.bytes()[..] != *entry) {
                    let detail = "sled holds other bytes than an intact frame of the tail".to_owned();
                    return Err(OpenError::Disagree { ledger: id, seq, detail });
                }
                ledger.push(leaf_hash(entry));
            }
            if ledger.tree.root() != part.root {
                let detail = format!("the root at size {} is not the one its commit recorded", part.new);
                let seq = first_difference(copies, id, 0..part.old).unwrap_or(part.old);
                return Err(OpenError::Disagree { ledger: id, seq, detail });
            }
        }
        Ok(())
    })?;
    if let Some(path) = scan.foreign {
        return Err(OpenError::Foreign(path));
    }

    let mut tail_lacks = BTreeMap::new();
    if let Some(db) = copies.db {
        match chunks::ledgers(db) {
            Ok(found) => {
                for id in found {
                    ledgers.entry(id).or_insert_with(|| assessed(id));
                }
            }
            Err(fault) => {
                broken.get_or_insert((LedgerId::REGISTRY, 0, fault.to_string()));
            }
        }
    }
    for id in published.keys() {
        ledgers.entry(*id).or_insert_with(|| assessed(*id));
    }
    // Ledgers whose last commits may be the missing ones: the other copies speak for them, and the last frame for
    // those.
    for vouched in if commits_missing { [false, true] } else { [true, false] } {
        for ledger in ledgers.values_mut().filter(|ledger| ledger.vouched == vouched) {
            let known = ledger.tree.frontier().clone();
            ledger.extend(copies, &mut broken)?;
            if ledger.tree.size() > known.size() {
                tail_lacks.insert(ledger.id, known);
            }
        }
        if commits_missing && !vouched {
            let heads = heads_of(ledgers.values().map(|ledger| (ledger.id, &ledger.tree)));
            if scan.heads != Some(heads) {
                return Err(unvouched(copies, &ledgers, &scan));
            }
        }
    }

    let mut assessment = Assessment { scan, tail_lacks, sled_broken: broken, ..Assessment::default() };
    for (id, ledger) in ledgers {
        ledger.check_published(copies)?;
        if let Some(seq) = ledger.lacks.filter(|seq| *seq < ledger.tree.size()) {
            assessment.sled_lacks.insert(id, seq);
        }
        if ledger.tree.size() > 0 {
            assessment.trees.insert(id, ledger.tree);
        }
    }
    assessment.published = published;
    Ok(assessment)
}

/// Commits are missing from the tail, and what the others hold is not what its last frame vouches for.
fn unvouched(copies: &Copies<'_>, ledgers: &BTreeMap<LedgerId, Assessed>, scan: &Scan) -> OpenError {
    let damage: Vec<_> = scan.damaged.iter().map(ToString::to_string).collect();
    // Where sled ends although it should not, nobody knows how it went on.
    let ended = ledgers
        .values()
        .find(|ledger| !ledger.vouched && ledger.lacks.is_some_and(|seq| seq < ledger.tree.size()));
    match (ended, copies.db) {
        (Some(ledger), _) => OpenError::Missing {
            ledger: ledger.id,
            seq: ledger.tree.size(),
            detail: format!("sled and the tail are both damaged: {}", damage.join("; ")),
        },
        (None, None) => {
            OpenError::BothDamaged { sled: copies.sled_error.to_owned(), tail: damage.join("; ") }
        }
        (None, Some(_)) => OpenError::Unvouched(damage.join("; ")),
    }
}

// --------------------------------------------------------------------------------------------------- sources

/// Every copy as a source of entries: sled where it can be read, else the mirror, else the tail. Whoever takes
/// them compares the result with what vouches for it.
#[derive(Debug)]
pub(super) struct Sources<'a> {
    db: Option<&'a Db>,
    mirror: &'a Mirrored,
    tail: Option<TailIndex>,
}

impl<'a> Sources<'a> {
    /// sled, which is whole, and the mirror.
    pub(super) fn of_sled(db: &'a Db, mirror: &'a Mirrored) -> Self {
        Self { db: Some(db), mirror, tail: None }
    }

    pub(super) fn new(
        db: Option<&'a Db>,
        mirror: &'a Mirrored,
        tail: &Path,
        installation: &Installation,
    ) -> io::Result<Self> {
        Ok(Self { db, mirror, tail: Some(TailIndex::build(tail, *installation)?) })
    }

    /// Exactly these records.
    pub(super) fn records(&self, ledger: LedgerId, range: Range<u64>) -> Result<Vec<Record>, OpenError> {
        let mut mirror = self.mirror.ledger(ledger).entries();
        let mut records = Vec::new();
        while range.start + (records.len() as u64) < range.end {
            let seq = range.start + records.len() as u64;
            let wanted = usize::try_from(range.end - seq).unwrap_or(usize::MAX);
            let of_sled = self.db.and_then(|db| chunks::holding(db, ledger, seq).ok().flatten());
            if let Some(chunk) = of_sled {
                let skipped = usize::try_from(seq - chunk.first).unwrap_or(usize::MAX);
                records.extend(chunk.entries.into_iter().skip(skipped).take(wanted));
                continue;
            }
            if let Ok(Some(record)) = mirror.entry(seq) {
                records.push(record.clone());
                continue;
            }
            let of_tail = self.tail.as_ref().map_or(Ok(Vec::new()), |tail| tail.read(ledger, seq))?;
            if of_tail.is_empty() {
                let detail = "neither sled nor the mirror nor the tail shows it".to_owned();
                return Err(OpenError::Missing { ledger, seq, detail });
            }
            records.extend(of_tail.into_iter().take(wanted));
        }
        Ok(records)
    }
}

/// How the mirror of a ledger is to be made right.
#[derive(Debug)]
pub(super) struct MirrorFlaws {
    pub(super) ledger: LedgerId,
    pub(super) mirror: LedgerMirror,
    pub(super) flaws: mirrored::Flaws,
    /// Why the checkpoint cannot be believed.
    pub(super) rotten: Option<String>,
    /// There is no checkpoint, although the tail dropped what it vouched for.
    pub(super) lost: bool,
}

impl MirrorFlaws {
    /// In words, for a report.
    pub(super) fn findings(&self) -> Vec<Finding> {
        let mut findings = Vec::new();
        let tiles = &self.flaws.tiles;
        if let Some(first) = tiles.first() {
            let text = format!(
                "the mirror is damaged: {} of its tiles and bundles are missing and {} hold other bytes than the log; \
                 they are written anew from the log, beginning with {first}",
                self.flaws.missing,
                tiles.len() - self.flaws.missing,
            );
            findings.push(self.of_ledger(Finding::warning(text).file(&self.mirror.path(*first))));
        }
        if let Some(why) = &self.rotten {
            let text = format!(
                "the mirror's checkpoint is damaged, {why}: it is moved aside, and the next one signed"
            );
            findings.push(self.of_ledger(Finding::warning(text).file(&self.mirror.checkpoint_path())));
        }
        if self.lost {
            let text = "the mirror's checkpoint is gone, and the tail dropped frames because of it: the next one is signed";
            findings.push(self.of_ledger(Finding::warning(text).file(&self.mirror.checkpoint_path())));
        }
        for stray in &self.flaws.strays {
            let text = "a file of the mirror that belongs to no size of the ledger: it is moved aside";
            findings.push(self.of_ledger(Finding::warning(text).file(stray)));
        }
        findings
    }

    fn of_ledger(&self, finding: Finding) -> Finding {
        Finding { ledger: Some(self.ledger), ..finding }
    }
}

/// Holds every file of the mirror against the trees. Ledgers without flaws are left out.
pub(super) fn compare_mirror(
    mirror: &Mirrored,
    assessment: &Assessment,
    sources: &Sources<'_>,
) -> Result<Vec<MirrorFlaws>, OpenError> {
    let empty = Tree::new();
    let mut found = Vec::new();
    let base = &assessment.scan.kept.base;
    let ledgers: BTreeSet<LedgerId> = assessment.published.keys().chain(base.keys()).copied().collect();
    for ledger in ledgers {
        let tree = assessment.trees.get(&ledger).unwrap_or(&empty);
        let mirror = mirror.ledger(ledger);
        // What the tail dropped has its second copy here, whatever became of the checkpoint.
        let dropped = base.get(&ledger).map_or(0, |(size, _)| *size);
        let (size, rotten, lost) = match assessment.published.get(&ledger) {
            Some(Published::Head((size, _))) => ((*size).max(dropped), None, false),
            Some(Published::Rotten(why)) => (dropped, Some(why.clone()), false),
            Some(Published::Nothing) | None => (dropped, None, dropped > 0),
        };
        let flaws = mirror.compare(tree, size, &|range: Range<u64>| sources.records(ledger, range))?;
        if flaws != mirrored::Flaws::default() || rotten.is_some() || lost {
            found.push(MirrorFlaws { ledger, mirror, flaws, rotten, lost });
        }
    }
    Ok(found)
}
