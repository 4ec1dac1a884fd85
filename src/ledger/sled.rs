//! The durable log: sled and the tail, written side by side and answered for only when both are on the disk.
//! Never serves an entry that the two copies disagree on.

use std::any::Any;
use std::collections::{BTreeMap, HashMap};
use std::ffi::OsString;
use std::fs::{self, File, TryLockError};
use std::io;
use std::ops::Range;
use std::os::unix::fs::DirBuilderExt as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

use ::sled::Db;
use mentorlog_events::id::LedgerId;
use mentorlog_events::record::{ENTRY_BYTES_MAX, Hash, Record};

use super::chunks::{self, Cursor};
use super::durations::Durations;
use super::files;
use super::merkle::{Frontier, Tree};
use super::mirrored::Mirrored;
use super::recovery::{self, Assessment};
use super::recovery::{Copies, Sources};
pub use super::recovery::{Finding, OpenError, SignatureCheck};
use super::tail::{
    self, Dropping, FRAME_BYTES_MAX, FrameBuffer, Installation, SharedKept, TailIndex, TailWriter,
    head_digest, xor,
};
use super::{Append, AppendError, Footprint, Log, Outcome, ReadError, Syncs};

/// How a data directory is opened.
#[derive(Debug, Clone)]
pub struct OpenOptions {
    /// Room of one tail segment. A larger commit gets a segment of its own.
    pub tail_segment_bytes: u64,
    /// How to try sled's opening in a child process after an unclean stop. `None`: only a panic is survived,
    /// a hang is not.
    pub probe: Option<ProbeCommand>,
    /// Knows whether a checkpoint of the mirror is signed by this installation. `None`: every one that can be read
    /// is believed.
    pub signed: Option<SignatureCheck>,
}

impl Default for OpenOptions {
    fn default() -> Self {
        // A segment is read whole at a start, and zeros are written ahead for it: 32 MiB keeps both small.
        Self { tail_segment_bytes: 32 << 20, probe: None, signed: None }
    }
}

/// A command that calls [`probe`] with its last argument and exits with 0 if that is `Ok`.
#[derive(Debug, Clone)]
pub struct ProbeCommand {
    /// The program, usually the running one.
    pub program: PathBuf,
    /// Its arguments, before the directory.
    pub arguments: Vec<OsString>,
    /// After this time the opening counts as hung, and the child is killed.
    pub time_limit: Duration,
}

/// A data directory whose two copies agree.
#[derive(Debug)]
pub struct Opened {
    /// The log, ready to append.
    pub log: SledLog,
    /// The Merkle tree of every ledger that has entries, computed from bytes both copies hold. A writer goes
    /// on from these; nothing needs to be hashed again.
    pub heads: BTreeMap<LedgerId, Tree>,
    /// What was found and done.
    pub report: Report,
}

/// What a start found and did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// The last stop was orderly and left the files as they are.
    pub clean_stop: bool,
    /// What was not as an orderly stop leaves it, in the order it was met. Warnings deserve a look.
    pub findings: Vec<Finding>,
}

/// sled and the tail.
#[derive(Debug)]
pub struct SledLog {
    // Dropped in this order: the tail's thread first, the lock last.
    writing: Mutex<Writing>,
    db: RwLock<Option<Db>>,
    served: RwLock<HashMap<LedgerId, u64>>,
    // Made when sled cannot be read.
    tail_index: Mutex<Option<TailIndex>>,
    installation: Installation,
    paths: Paths,
    syncs: Arc<Syncs>,
    kept: SharedKept,
    // Sizes up to which the mirror holds ledgers. Locked while segments of the tail are dropped.
    mirrored: Mutex<HashMap<LedgerId, u64>>,
    _lock: File,
}

#[derive(Debug)]
struct Writing {
    heads: HashMap<LedgerId, (u64, Hash)>,
    all_heads: Hash,
    frame: FrameBuffer,
    scratch: Vec<u8>,
    tail: Option<TailThread>,
    // Our own descriptor: sled's flush is sync_file_range on Linux, not fsync (spacejam/sled#1452, #1351).
    db_file: File,
    syncs: Arc<Syncs>,
    blobs_changed: Option<SystemTime>,
    installation: Installation,
    started: bool,
    clean_marker: bool,
    stopped: Option<String>,
}

// ------------------------------------------------------------------------------------------------ reading

impl Log for SledLog {
    fn syncs(&self) -> Option<&Syncs> {
        Some(&self.syncs)
    }

    fn footprint(&self) -> io::Result<Option<Footprint>> {
        let disk = rustix::fs::statvfs(&self.paths.0)?;
        Ok(Some(Footprint {
            store: files::allocated(&self.paths.sled())?,
            tail: files::allocated(&self.paths.tail())?,
            // The unit of the counts is the fragment (POSIX, sys/statvfs.h).
            free: disk.f_bavail.saturating_mul(disk.f_frsize),
            capacity: disk.f_blocks.saturating_mul(disk.f_frsize),
        }))
    }

    fn mirrored(&self, ledger: LedgerId, size: u64) {
        let mut mirrored = self.mirrored.lock().unwrap_or_else(PoisonError::into_inner);
        let known = mirrored.entry(ledger).or_default();
        *known = size.max(*known);
        self.drop_mirrored(&mirrored);
    }

    fn read(&self, ledger: LedgerId, from: u64, limit: usize) -> Result<Vec<Record>, ReadError> {
        let size = self.served.read().unwrap_or_else(PoisonError::into_inner).get(&ledger).copied();
        let end = size.unwrap_or(0).min(from.saturating_add(limit as u64));
        let db = self.db.read().unwrap_or_else(PoisonError::into_inner);
        let db = db.as_ref().ok_or(ReadError::Closed)?;
        let mut records = Vec::with_capacity(usize::try_from(end.saturating_sub(from)).unwrap_or(0));
        let mut seq = from;
        let mut read = || {
            while seq < end {
                let chunk = chunks::holding(db, ledger, seq).map_err(|fault| fault.to_string())?;
                let chunk = chunk.ok_or("no value holds it")?;
                if seq == from {
                    chunks::touch(db, ledger, chunk.first).map_err(|fault| fault.to_string())?;
                }
                let skipped = usize::try_from(seq - chunk.first).unwrap_or(usize::MAX);
                let wanted = usize::try_from(end - seq).unwrap_or(usize::MAX);
                records.extend(chunk.entries.into_iter().skip(skipped).take(wanted));
                seq = from + records.len() as u64;
            }
            Ok::<(), String>(())
        };
        match catch_unwind(AssertUnwindSafe(&mut read)).unwrap_or_else(|panic| Err(panic_text(&*panic))) {
            Ok(()) => Ok(records),
            Err(detail) => self.read_tail(ledger, from..end, &detail),
        }
    }

    fn append(&self, appends: &[Append]) -> Vec<Outcome> {
        let mut writing = self.lock_writing();
        let db = self.db.read().unwrap_or_else(PoisonError::into_inner);
        let unknown = |error: &AppendError| vec![Outcome::Unknown(error.clone()); appends.len()];
        if let Some(reason) = &writing.stopped {
            return unknown(&AppendError::Stopped(reason.clone()));
        }
        let Some(db) = db.as_ref() else {
            return unknown(&AppendError::Stopped("the log is closed".into()));
        };
        match writing.append(&self.paths, db, appends) {
            Ok(outcomes) => {
                let mut served = self.served.write().unwrap_or_else(PoisonError::into_inner);
                for (append, outcome) in appends.iter().zip(&outcomes) {
                    if matches!(outcome, Outcome::Ok) && !append.records.is_empty() {
                        served.insert(append.ledger, append.expected_size + append.records.len() as u64);
                    }
                }
                outcomes
            }
            Err(error) => {
                tracing::error!(%error, "append failed; the log takes no more");
                writing.stopped = Some(error.to_string());
                unknown(&error)
            }
        }
    }
}

// ------------------------------------------------------------------------------------------------ writing

const SLED: &str = "sled";
const TAIL: &str = "the tail";

impl Writing {
    /// An error means that nobody knows what is on disk, and that `self` is no longer what is.
    fn append(&mut self, paths: &Paths, db: &Db, appends: &[Append]) -> Result<Vec<Outcome>, AppendError> {
        let mut values = chunks::Values::new();
        let mut outcomes = Vec::with_capacity(appends.len());
        self.frame.clear();
        for append in appends {
            let (size, root) = self.heads.get(&append.ledger).copied().unwrap_or((0, [0; 32]));
            if size != append.expected_size {
                outcomes.push(Outcome::Conflict { size });
                continue;
            }
            outcomes.push(Outcome::Ok);
            if append.records.is_empty() {
                continue;
            }
            if let Some(record) = append.records.iter().find(|r| r.bytes().len() > ENTRY_BYTES_MAX) {
                return Err(too_large("an entry", record.bytes().len(), ENTRY_BYTES_MAX));
            }
            let entries = || append.records.iter().map(|record| &record.bytes()[..]);
            chunks::encode(&mut values, &mut self.scratch, append.ledger, size, entries());
            self.frame.part(append.ledger, size, &append.root, entries());
            if size > 0 {
                xor(&mut self.all_heads, &head_digest(append.ledger, size, &root));
            }
            let size = size + append.records.len() as u64;
            xor(&mut self.all_heads, &head_digest(append.ledger, size, &append.root));
            self.heads.insert(append.ledger, (size, append.root));
            if self.frame.len() > FRAME_BYTES_MAX {
                return Err(too_large("a commit", self.frame.len(), FRAME_BYTES_MAX));
            }
        }
        if self.frame.is_empty() {
            return Ok(outcomes);
        }
        self.frame.heads(&self.all_heads);
        if self.clean_marker {
            files::remove_file(&paths.clean()).map_err(|error| failed("the clean marker", &error))?;
            self.clean_marker = false;
        }
        let closed = || AppendError::Stopped("the tail's thread has ended".into());
        let thread = self.tail.as_ref().ok_or_else(closed)?;
        // Side by side: the tail on its own thread, sled on this one. Both have ended when this returns.
        thread.to.send(std::mem::take(&mut self.frame)).map_err(|_| closed())?;
        let sled =
            catch_unwind(AssertUnwindSafe(|| write_sled(db, values, &self.db_file, &self.syncs.store)))
                .unwrap_or_else(|panic| Err(AppendError::Failed { copy: SLED, detail: panic_text(&*panic) }));
        let (frame, tail) = thread.from.recv().map_err(|_| closed())?;
        self.frame = frame;
        sled?;
        tail.map_err(|error| failed(TAIL, &error))?;
        if blobs_changed(&paths.sled()) != self.blobs_changed {
            if blob_file(&paths.sled()).is_some() {
                return Err(AppendError::Blob);
            }
            self.blobs_changed = blobs_changed(&paths.sled());
        }
        if !self.started {
            // From now on two empty copies are a loss, not a beginning.
            paths
                .write_installation(&self.installation, true)
                .map_err(|error| failed("the installation marker", &error))?;
            self.started = true;
        }
        Ok(outcomes)
    }
}

fn write_sled(
    db: &Db,
    values: chunks::Values,
    db_file: &File,
    synced: &Durations,
) -> Result<(), AppendError> {
    let failed_in_sled = |error: ::sled::Error| match error {
        ::sled::Error::Io(error) => failed(SLED, &error),
        error => AppendError::Failed { copy: SLED, detail: error.to_string() },
    };
    chunks::store(db, values).map_err(failed_in_sled)?;
    db.flush().map_err(failed_in_sled)?;
    let begun = Instant::now();
    db_file.sync_data().map_err(|error| failed(SLED, &error))?;
    synced.observe(begun.elapsed());
    Ok(())
}

fn failed(copy: &'static str, error: &io::Error) -> AppendError {
    let detail = error.to_string();
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => AppendError::Full { copy, detail },
        _ => AppendError::Failed { copy, detail },
    }
}

fn too_large(what: &'static str, bytes: usize, max: usize) -> AppendError {
    AppendError::TooLarge { what, bytes, max }
}

fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
    format!("sled panicked: {}", text.unwrap_or("without a message"))
}

/// The thread that owns the tail. One frame at a time goes there and comes back with its result.
#[derive(Debug)]
struct TailThread {
    to: SyncSender<FrameBuffer>,
    from: Receiver<(FrameBuffer, io::Result<()>)>,
    thread: JoinHandle<()>,
}

impl TailThread {
    fn spawn(mut tail: TailWriter, syncs: Arc<Syncs>) -> io::Result<Self> {
        let (to, frames) = sync_channel::<FrameBuffer>(1);
        let (results, from) = sync_channel(1);
        let thread = std::thread::Builder::new().name("tail".into()).spawn(move || {
            for mut frame in frames {
                let result = tail.write(&mut frame, &syncs.tail);
                if results.send((frame, result)).is_err() {
                    break;
                }
            }
        })?;
        Ok(Self { to, from, thread })
    }

    /// Waits until the thread has let go of its files.
    fn stop(self) {
        drop(self.to);
        drop(self.thread.join());
    }
}

impl Drop for Writing {
    fn drop(&mut self) {
        if let Some(tail) = self.tail.take() {
            tail.stop();
        }
    }
}

impl SledLog {
    /// Ends writing and reading, and marks the stop as orderly with every ledger's head.
    ///
    /// After an error everything acknowledged is on disk all the same, but the next start takes the stop for
    /// an unclean one. sled is not opened once more to write its snapshot: that takes as long as the opening
    /// it saves (0.3 s for 1.1 GB), and the next start reads every entry anyway.
    pub fn close(&self) -> Result<(), AppendError> {
        let mut writing = self.lock_writing();
        let earlier = writing.stopped.replace("the log is closed".into());
        if let Some(tail) = writing.tail.take() {
            tail.stop();
        }
        let db = self.db.write().unwrap_or_else(PoisonError::into_inner).take();
        let dropped = catch_unwind(AssertUnwindSafe(|| drop(db)));
        if let Some(earlier) = earlier {
            return Err(AppendError::Stopped(earlier));
        }
        if let Err(panic) = dropped {
            return Err(AppendError::Failed { copy: SLED, detail: panic_text(&*panic) });
        }
        let marked = writing.db_file.sync_all().and_then(|()| {
            let marker = CleanMarker {
                stamp: db_stamp(&self.paths.sled())?,
                heads: writing.heads.iter().map(|(ledger, (size, root))| (*ledger, *size, *root)).collect(),
            };
            files::write_whole(&self.paths.clean(), &marker.encode())
        });
        marked.map_err(|error| failed("the clean marker", &error))
    }

    /// Reads what sled cannot read. After one failed write, as on a full disk, sled refuses to read whatever
    /// it does not have in memory; but reads have to go on, and tail and mirror hold the same entries.
    fn read_tail(
        &self,
        ledger: LedgerId,
        range: Range<u64>,
        of_sled: &str,
    ) -> Result<Vec<Record>, ReadError> {
        let mut index = self.tail_index.lock().unwrap_or_else(PoisonError::into_inner);
        let mut seq = range.start;
        let mut read = || {
            if index.as_ref().is_none_or(|index| index.size(ledger) < range.end) {
                tracing::error!(%ledger, seq = range.start, %of_sled, "sled cannot be read; reading the tail and the mirror");
                *index = Some(TailIndex::build(&self.paths.tail(), self.installation)?);
            }
            let index = index.as_ref().ok_or(io::ErrorKind::NotFound)?;
            let mut mirror = self.paths.mirror().ledger(ledger).entries();
            let mut records: Vec<Record> = Vec::new();
            while seq < range.end {
                let wanted = usize::try_from(range.end - seq).unwrap_or(usize::MAX);
                // A segment may have been dropped since: then the mirror has what it held.
                let found = index.read(ledger, seq).unwrap_or_default();
                if found.is_empty() {
                    let found = mirror.entry(seq).map_err(io::Error::other)?;
                    records.push(found.ok_or(io::ErrorKind::NotFound)?.clone());
                } else {
                    records.extend(found.into_iter().take(wanted));
                }
                seq = range.start + records.len() as u64;
            }
            Ok(records)
        };
        read().map_err(|of_tail: io::Error| {
            let detail = format!("sled: {of_sled}; the tail and the mirror: {of_tail}");
            ReadError::Damaged { ledger, seq, detail }
        })
    }

    /// Lets go of the tail's oldest segments as far as the mirror holds what is in them.
    fn drop_mirrored(&self, mirrored: &HashMap<LedgerId, u64>) {
        let dir = self.paths.tail();
        let Some(mut dropping) = Dropping::of(&dir, &self.installation, &self.kept, mirrored) else {
            return;
        };
        loop {
            match dropping.step() {
                Ok(true) => {}
                Ok(false) => return,
                Err(error) => {
                    // What is left of it is dropped at the next start.
                    tracing::warn!(%error, "segments of the tail that are in the mirror could not be dropped");
                    return;
                }
            }
        }
    }

    fn lock_writing(&self) -> MutexGuard<'_, Writing> {
        self.writing.lock().unwrap_or_else(|poisoned| {
            // Whoever panicked may have left half a commit here: nothing is written after it.
            let mut writing = poisoned.into_inner();
            writing.stopped.get_or_insert_with(|| "an append panicked".into());
            writing
        })
    }

    /// The size of a ledger, as far as it is durable.
    pub fn size(&self, ledger: LedgerId) -> u64 {
        self.served.read().unwrap_or_else(PoisonError::into_inner).get(&ledger).copied().unwrap_or(0)
    }
}

// ------------------------------------------------------------------------------------------------ opening

/// Names within a data directory.
#[derive(Debug, Clone)]
pub(super) struct Paths(PathBuf);

impl Paths {
    pub(super) fn new(dir: &Path) -> Self {
        Self(dir.to_owned())
    }
    pub(super) fn dir(&self) -> &Path {
        &self.0
    }
    pub(super) fn lock(&self) -> PathBuf {
        self.0.join("LOCK")
    }
    fn installation(&self) -> PathBuf {
        self.0.join("INSTALLATION")
    }
    pub(super) fn clean(&self) -> PathBuf {
        self.0.join("CLEAN")
    }
    pub(super) fn sled(&self) -> PathBuf {
        self.0.join("sled")
    }
    pub(super) fn sled_before_open(&self) -> PathBuf {
        self.0.join("sled.before-open")
    }
    fn sled_forgotten(&self) -> PathBuf {
        self.0.join("sled.before-open.partial")
    }
    fn sled_rebuilding(&self) -> PathBuf {
        self.0.join("sled.rebuilding")
    }
    pub(super) fn tail(&self) -> PathBuf {
        self.0.join("tail")
    }
    /// The mirrors of the ledgers.
    pub(super) fn mirror(&self) -> Mirrored {
        Mirrored::new(&self.0.join("mirror").join("log"))
    }
    fn tail_rebuilding(&self) -> PathBuf {
        self.0.join("tail.rebuilding")
    }

    /// The installation's id and whether anything was ever appended, or `None` before the first start.
    pub(super) fn read_installation(&self) -> Result<Option<(Installation, bool)>, OpenError> {
        if let Some(found) = self.installation_marker()? {
            return Ok(Some(found));
        }
        // Without the marker a segment of the tail says whose it is; what holds a tail may have been started.
        let of_tail = tail::installation_of(&self.tail()).map_err(OpenError::io("read", &self.tail()))?;
        Ok(of_tail.map(|id| (id, false)))
    }

    /// What the marker says; `None` if it is missing or not as it was written.
    fn installation_marker(&self) -> Result<Option<(Installation, bool)>, OpenError> {
        let path = self.installation();
        let bytes = match fs::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            bytes => bytes.map_err(OpenError::io("read", &path))?,
        };
        let parse = || {
            let mut lines = std::str::from_utf8(&bytes).ok()?.lines();
            let (magic, id, state) = (lines.next()?, lines.next()?, lines.next()?);
            let id = uuid::Uuid::parse_str(id).ok()?.into_bytes();
            let started = state == "started";
            // The first layout had no checksum.
            let whole = magic == INSTALLATION_MAGIC_1 || bytes == installation_text(&id, started).as_bytes();
            whole.then_some((id, started))
        };
        Ok(parse())
    }

    fn write_installation(&self, installation: &Installation, started: bool) -> io::Result<()> {
        files::write_whole(&self.installation(), installation_text(installation, started).as_bytes())
    }
}

const INSTALLATION_MAGIC_1: &str = "mentorlog data 1";
const INSTALLATION_MAGIC: &str = "mentorlog data 2";

fn installation_text(installation: &Installation, started: bool) -> String {
    let id = uuid::Uuid::from_bytes(*installation);
    let state = if started { "started" } else { "empty" };
    let text = format!("{INSTALLATION_MAGIC}\n{id}\n{state}\n");
    let crc = crc32fast::hash(text.as_bytes());
    format!("{text}{crc:08x}\n")
}

impl SledLog {
    /// Opens a data directory, creating it if need be; see the [module](super) for what a start does.
    ///
    /// A second process is refused at once. After any error the directory can be opened again: every step
    /// that was begun is begun anew.
    pub fn open(dir: &Path, options: &OpenOptions) -> Result<Opened, OpenError> {
        let paths = Paths(create_dir(dir)?);
        let lock = take_lock(&paths)?;
        let mut report = Report::default();

        let known = paths.read_installation()?;
        let (installation, started) = match known {
            Some(known) => known,
            None => (random_installation(&paths)?, false),
        };
        for interrupted in [paths.sled_rebuilding(), paths.tail_rebuilding(), paths.sled_forgotten()] {
            files::remove_dir(&interrupted).map_err(OpenError::io("remove", &interrupted))?;
        }
        let marker = read_clean_marker(&paths);
        // The marker alone does not make an orderly stop: sled's file has to be the one that was left.
        let stamp = db_stamp(&paths.sled()).ok();
        report.clean_stop = marker.as_ref().is_some_and(|marker| Some(marker.stamp) == stamp);

        let (mut db, mut sled_error) = open_carefully(&paths, options, report.clean_stop, &mut report)?;
        let signed = options.signed.as_ref();
        let mut assessment = assess_catching(&mut db, &mut sled_error, &paths, &installation, signed)?;
        check_against_marker(&assessment, marker.as_ref())?;
        if assessment.trees.is_empty() && started {
            return Err(OpenError::BothGone(paths.0));
        }

        let sled_is_empty = !assessment.trees.is_empty()
            && assessment.trees.keys().all(|ledger| assessment.sled_lacks.get(ledger) == Some(&0));
        if db.is_none() || assessment.sled_broken.is_some() || sled_is_empty {
            if known.is_some() || !assessment.trees.is_empty() {
                report.findings.append(&mut assessment.findings());
                let reason =
                    if sled_error.is_empty() { "sled cannot be used as it is" } else { &*sled_error };
                let text = format!("{reason}: rebuilt from the other copies");
                report.findings.push(Finding::warning(text).file(&paths.sled()));
            }
            if let Some(aside) = rebuild_sled(&paths, &installation, &assessment.sizes(), db.take())? {
                let finding =
                    Finding::warning("the damaged sled directory is kept here; delete it once looked at");
                report.findings.push(finding.file(&aside));
            }
            sled_error.clear();
            db = Some(open_sled(&paths.sled())?.map_err(|sled| OpenError::BothDamaged {
                sled,
                tail: "it was just rebuilt from the other copies".into(),
            })?);
            assessment = assess_catching(&mut db, &mut sled_error, &paths, &installation, signed)?;
        }
        let Some(db) = db else {
            let tail = "it was just rebuilt from the other copies".to_owned();
            return Err(OpenError::BothDamaged { sled: sled_error, tail });
        };
        report.findings.append(&mut assessment.findings());

        if !assessment.sled_lacks.is_empty() {
            let mirror = paths.mirror();
            let sources = sources(Some(&db), &mirror, &paths, &installation)?;
            redo(&db, &paths, &sources, &assessment.sled_lacks, &assessment.sizes())?;
        }
        settle_mirror(&db, &paths, &assessment, &mut report)?;
        let tail = settle_tail(&db, &paths, &installation, options, &assessment, &mut report)?;
        files::sync_tree(&paths.sled()).map_err(OpenError::io("sync", &paths.sled()))?;
        let started = started || !assessment.trees.is_empty();
        let marker = paths.installation_marker()?;
        if known.is_some() && marker.is_none() {
            let text = "the installation's marker is damaged: it is written anew with what the tail says";
            report.findings.push(Finding::warning(text).file(&paths.installation()));
        }
        if marker != Some((installation, started)) {
            paths
                .write_installation(&installation, started)
                .map_err(OpenError::io("write", &paths.installation()))?;
        }
        // All copies agree: what was kept in case they would not is no longer needed.
        forget_copy(&paths)?;

        let db_path = paths.sled().join("db");
        let heads = &assessment.trees;
        let syncs = Arc::<Syncs>::default();
        let kept = tail.kept();
        let writing = Writing {
            syncs: syncs.clone(),
            heads: heads.iter().map(|(id, tree)| (*id, (tree.size(), tree.root()))).collect(),
            all_heads: assessment.heads(),
            frame: FrameBuffer::default(),
            scratch: Vec::new(),
            tail: Some(
                TailThread::spawn(tail, syncs.clone())
                    .map_err(OpenError::io("start a thread for", &paths.tail()))?,
            ),
            db_file: File::open(&db_path).map_err(OpenError::io("open", &db_path))?,
            blobs_changed: blobs_changed(&paths.sled()),
            installation,
            started,
            clean_marker: paths.clean().exists(),
            stopped: None,
        };
        let served = heads.iter().map(|(id, tree)| (*id, tree.size())).collect();
        let log = Self {
            writing: Mutex::new(writing),
            db: RwLock::new(Some(db)),
            served: RwLock::new(served),
            tail_index: Mutex::new(None),
            installation,
            paths,
            syncs,
            kept,
            mirrored: Mutex::new(assessment.published.iter().filter_map(recovery::mirrored).collect()),
            _lock: lock,
        };
        // What the last run did not come to; the mirror has just been held against the log. Whether the last run came
        // to syncing its names nobody knows.
        let mirror = log.paths.0.join("mirror");
        if mirror.exists() {
            files::sync_dirs(&mirror).map_err(OpenError::io("sync", &mirror))?;
            files::sync_dir(log.paths.dir()).map_err(OpenError::io("sync", log.paths.dir()))?;
        }
        log.drop_mirrored(&log.mirrored.lock().unwrap_or_else(PoisonError::into_inner));
        Ok(Opened { log, heads: assessment.trees, report })
    }
}

/// The data directory: nobody else's, if it is made here. One that is there keeps its mode.
fn create_dir(dir: &Path) -> Result<PathBuf, OpenError> {
    dir.parent().map_or(Ok(()), fs::create_dir_all).map_err(OpenError::io("create the parents of", dir))?;
    match fs::DirBuilder::new().mode(0o700).create(dir) {
        Err(_) if dir.is_dir() => {}
        made => made.map_err(OpenError::io("create", dir))?,
    }
    let dir = dir.canonicalize().map_err(OpenError::io("find", dir))?;
    dir.parent().map_or(Ok(()), files::sync_dir).map_err(OpenError::io("sync the parent of", &dir))?;
    Ok(dir)
}

pub(super) fn take_lock(paths: &Paths) -> Result<File, OpenError> {
    let path = paths.lock();
    let open = File::options().read(true).write(true).create(true).truncate(false).open(&path);
    let lock = open.map_err(OpenError::io("open", &path))?;
    // A child that is just being started holds every lock of its parent until it runs its own program.
    lock_within(&lock, Duration::from_millis(300)).map_err(|error| match error {
        TryLockError::WouldBlock => OpenError::InUse(paths.0.clone()),
        TryLockError::Error(error) => OpenError::Io { doing: "lock", path, error },
    })?;
    Ok(lock)
}

fn lock_within(file: &File, limit: Duration) -> Result<(), TryLockError> {
    let started = Instant::now();
    loop {
        match file.try_lock() {
            Err(TryLockError::WouldBlock) if started.elapsed() < limit => {
                std::thread::sleep(Duration::from_millis(1));
            }
            result => return result,
        }
    }
}

fn random_installation(paths: &Paths) -> Result<Installation, OpenError> {
    let mut id = [0; 16];
    getrandom::fill(&mut id)
        .map_err(|error| OpenError::io("draw a random id for", paths.dir())(io::Error::other(error)))?;
    Ok(id)
}

/// Opens sled as the last stop demands. `None` with a reason if it cannot be used.
fn open_carefully(
    paths: &Paths,
    options: &OpenOptions,
    clean: bool,
    report: &mut Report,
) -> Result<(Option<Db>, String), OpenError> {
    let sled = paths.sled();
    if !sled.join("db").exists() {
        return Ok((None, "sled is missing".into()));
    }
    wait_for_sled(&sled)?;
    if !clean {
        // Opening changes the files (recovery zeroes segments): first keep them as they are. A copy that is
        // there already is from an earlier start that did not get through; it is the truer one.
        let kept = paths.sled_before_open();
        if !kept.exists() {
            files::copy_dir(&sled, &kept).map_err(OpenError::io("copy aside", &sled))?;
        }
    }
    remove_generating(&sled, &mut report.findings)?;
    if let (false, Some(command)) = (clean, &options.probe)
        && let Err(reason) = try_in_a_child(command, &sled)
    {
        return Ok((None, reason));
    }
    match open_sled(&sled)? {
        Ok(db) => Ok((Some(db), String::new())),
        Err(reason) => Ok((None, reason)),
    }
}

/// Waits until nobody has sled's file locked. Threads of sled's own let go of it a little after the database
/// they served was dropped; whoever holds it longer does not know our LOCK and is no damage either.
pub(super) fn wait_for_sled(sled: &Path) -> Result<(), OpenError> {
    let path = sled.join("db");
    let file = match File::options().read(true).write(true).open(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        file => file.map_err(OpenError::io("open", &path))?,
    };
    match lock_within(&file, Duration::from_millis(600)) {
        Err(TryLockError::WouldBlock) => Err(OpenError::InUse(sled.to_owned())),
        // Where locks do not work sled says so itself.
        Ok(()) | Err(TryLockError::Error(_)) => Ok(()),
    }
}

/// A snapshot that was being written when the process was killed keeps sled from opening (spacejam/sled#1533).
pub(super) fn remove_generating(sled: &Path, findings: &mut Vec<Finding>) -> Result<(), OpenError> {
    for entry in fs::read_dir(sled).map_err(OpenError::io("read", sled))? {
        let path = entry.map_err(OpenError::io("read", sled))?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if name.starts_with("snap.") && name.ends_with(".generating") {
            files::remove_file(&path).map_err(OpenError::io("remove", &path))?;
            findings.push(Finding::notice("sled's unfinished snapshot is removed").file(&path));
        }
    }
    Ok(())
}

/// Opens sled. The outer error is about the machine, the inner one about the files.
pub(super) fn open_sled(path: &Path) -> Result<Result<Db, String>, OpenError> {
    if let Some(blob) = blob_file(path) {
        return Err(OpenError::Blob(blob));
    }
    wait_for_sled(path)?;
    match catch_unwind(|| chunks::config(path).open()) {
        Ok(Ok(db)) => Ok(Ok(db)),
        Ok(Err(::sled::Error::Io(error))) if is_of_the_machine(&error) => {
            Err(OpenError::Io { doing: "open sled in", path: path.to_owned(), error })
        }
        Ok(Err(error)) => Ok(Err(format!("sled does not open: {error}"))),
        Err(panic) => Ok(Err(panic_text(&*panic))),
    }
}

/// The operating system refused for a reason that is not in the files.
fn is_of_the_machine(error: &io::Error) -> bool {
    use io::ErrorKind as Kind;
    matches!(
        error.kind(),
        Kind::StorageFull
            | Kind::QuotaExceeded
            | Kind::PermissionDenied
            | Kind::ReadOnlyFilesystem
            | Kind::OutOfMemory
            | Kind::WouldBlock
    ) || error.to_string().contains("could not acquire lock")
}

/// Removes the copy made before the opening. First it loses its name: half of it must not pass for the copy.
fn forget_copy(paths: &Paths) -> Result<(), OpenError> {
    let (kept, forgotten) = (paths.sled_before_open(), paths.sled_forgotten());
    if kept.exists() {
        files::rename(&kept, &forgotten)
            .and_then(|()| files::remove_dir(&forgotten))
            .map_err(OpenError::io("remove", &kept))?;
    }
    Ok(())
}

fn close_catching(db: Option<Db>) {
    drop(catch_unwind(AssertUnwindSafe(|| drop(db))));
}

/// Compares the copies; if sled panics while it is read, once more without it.
fn assess_catching(
    db: &mut Option<Db>,
    sled_error: &mut String,
    paths: &Paths,
    installation: &Installation,
    signed: Option<&SignatureCheck>,
) -> Result<Assessment, OpenError> {
    let (tail, mirror) = (paths.tail(), paths.mirror());
    let assess = |db: Option<&Db>, sled_error: &str| {
        recovery::assess(&Copies { db, sled_error, tail: &tail, mirror: &mirror, installation, signed })
    };
    let panic = match catch_unwind(AssertUnwindSafe(|| assess(db.as_ref(), sled_error))) {
        Ok(assessment) => return assessment,
        Err(panic) => panic,
    };
    *sled_error = panic_text(&*panic);
    close_catching(db.take());
    assess(None, sled_error)
}

fn sources<'a>(
    db: Option<&'a Db>,
    mirror: &'a Mirrored,
    paths: &Paths,
    installation: &Installation,
) -> Result<Sources<'a>, OpenError> {
    let tail = paths.tail();
    Sources::new(db, mirror, &tail, installation).map_err(OpenError::io("read", &tail))
}

fn try_in_a_child(command: &ProbeCommand, sled: &Path) -> Result<(), String> {
    let mut child = Command::new(&command.program)
        .args(&command.arguments)
        .arg(sled)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|error| format!("the child that tries the opening does not start: {error}"))?;
    let started = Instant::now();
    let status = loop {
        match child.try_wait() {
            Ok(Some(status)) => break Ok(status),
            Ok(None) if started.elapsed() < command.time_limit => {
                std::thread::sleep(Duration::from_millis(2));
            }
            Ok(None) => break Err(format!("opening sled took more than {:?}", command.time_limit)),
            Err(error) => break Err(format!("the child that tries the opening was lost: {error}")),
        }
    };
    match status {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("opening sled failed in a child process: {status}")),
        Err(reason) => {
            drop(child.kill());
            drop(child.wait());
            Err(reason)
        }
    }
}

/// Opens the sled directory and reads every value: what the child process of a start runs.
/// An error, a panic or a hang means that sled is not to be opened in the server.
pub fn probe(sled: &Path) -> Result<(), String> {
    let db = open_sled(sled).map_err(|error| error.to_string())??;
    for ledger in chunks::ledgers(&db).map_err(|fault| fault.to_string())? {
        let mut seq = 0;
        // Damage within is for the start to judge; here it only matters that reading comes back.
        while let Ok(Some(chunk)) = chunks::starting_at(&db, ledger, seq) {
            seq = chunk.end();
        }
    }
    Ok(())
}

fn blobs_changed(sled: &Path) -> Option<SystemTime> {
    fs::metadata(sled.join("blobs")).and_then(|blobs| blobs.modified()).ok()
}

fn blob_file(sled: &Path) -> Option<PathBuf> {
    fs::read_dir(sled.join("blobs")).ok()?.find_map(|entry| Some(entry.ok()?.path()))
}

/// A new sled directory from whatever of the old one can be read, the mirror and the tail, put in the old one's
/// place. Returns where that is kept. Whoever calls it assesses the result.
pub(super) fn rebuild_sled(
    paths: &Paths,
    installation: &Installation,
    sizes: &BTreeMap<LedgerId, u64>,
    old: Option<Db>,
) -> Result<Option<PathBuf>, OpenError> {
    let draft = paths.sled_rebuilding();
    let mirror = paths.mirror();
    let build = |old: Option<&Db>| {
        files::remove_dir(&draft).map_err(OpenError::io("remove", &draft))?;
        let broken = |error: ::sled::Error| OpenError::io("rebuild sled in", &draft)(io::Error::other(error));
        let db = chunks::config(&draft).open().map_err(broken)?;
        let from = sizes.keys().map(|ledger| (*ledger, 0)).collect();
        redo(&db, paths, &sources(old, &mirror, paths, installation)?, &from, sizes)
    };
    // What sled panics at is taken from the others.
    let done = catch_unwind(AssertUnwindSafe(|| build(old.as_ref())));
    close_catching(old);
    done.unwrap_or_else(|_| build(None))?;
    files::sync_tree(&draft).map_err(OpenError::io("sync", &draft))?;

    let (sled, kept) = (paths.sled(), paths.sled_before_open());
    let mut aside = None;
    if kept.exists() {
        // The copy is what the stop left; the directory itself has been opened since.
        aside = Some(files::move_aside(&kept, "sled").map_err(OpenError::io("move aside", &kept))?);
        files::remove_dir(&sled).map_err(OpenError::io("remove", &sled))?;
    } else if sled.exists() {
        aside = Some(files::move_aside(&sled, "sled").map_err(OpenError::io("move aside", &sled))?);
    }
    files::rename(&draft, &sled).map_err(OpenError::io("rename to", &sled))?;
    Ok(aside)
}

/// Writes into sled the entries of the ledgers in `from`, from there on up to their sizes.
fn redo(
    db: &Db,
    paths: &Paths,
    sources: &Sources<'_>,
    from: &BTreeMap<LedgerId, u64>,
    sizes: &BTreeMap<LedgerId, u64>,
) -> Result<(), OpenError> {
    const ENTRIES: u64 = 2048;
    let sled = paths.sled();
    let broken = |error: ::sled::Error| OpenError::io("redo into", &sled)(io::Error::other(error));
    let mut scratch = Vec::new();
    for (ledger, from) in from {
        let (mut seq, size) = (*from, sizes.get(ledger).copied().unwrap_or(0));
        while seq < size {
            let end = size.min(seq + ENTRIES);
            let records = sources.records(*ledger, seq..end)?;
            let mut values = chunks::Values::new();
            let entries = records.iter().map(|record| &record.bytes()[..]);
            chunks::encode(&mut values, &mut scratch, *ledger, seq, entries);
            chunks::store(db, values).map_err(broken)?;
            seq = end;
        }
    }
    db.flush().map_err(broken)?;
    Ok(())
}

/// Holds every file of the mirror against the log, and writes anew what is not as it should be.
fn settle_mirror(
    db: &Db,
    paths: &Paths,
    assessment: &Assessment,
    report: &mut Report,
) -> Result<(), OpenError> {
    let mirror = paths.mirror();
    // sled is whole by now: nobody else needs to be asked.
    let sources = Sources::of_sled(db, &mirror);
    let empty = Tree::new();
    let flawed = recovery::compare_mirror(&mirror, assessment, &sources)?;
    // Tiles are written of durable entries only: one beyond the log says that the log has lost some, whatever became
    // of the checkpoint. Before anything is moved.
    for found in &flawed {
        let size = assessment.trees.get(&found.ledger).map_or(0, Tree::size);
        if let Some(beyond) = found.mirror.tile_beyond(&found.flaws.strays, size) {
            let detail = format!("the mirror has {}, so there were more entries", beyond.display());
            return Err(OpenError::Missing { ledger: found.ledger, seq: size, detail });
        }
    }
    for found in flawed {
        report.findings.append(&mut found.findings());
        for draft in &found.flaws.drafts {
            files::remove_file(draft).map_err(OpenError::io("remove", draft))?;
        }
        let aside = |path: &Path| {
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or("file");
            // Out of the tree of tiles, which holds nothing else.
            files::move_aside_into(found.mirror.dir(), path, name).map_err(OpenError::io("move aside", path))
        };
        for stray in &found.flaws.strays {
            aside(stray)?;
        }
        let tree = assessment.trees.get(&found.ledger).unwrap_or(&empty);
        let records = |range: Range<u64>| sources.records(found.ledger, range);
        found.mirror.rewrite(&found.flaws.tiles, tree, &records)?;
        // Last: once it is gone nothing says that this mirror was ever complete.
        if found.rotten.is_some() {
            aside(&found.mirror.checkpoint_path())?;
        }
    }
    Ok(())
}

/// Makes the tail a full second copy again and gives it out for writing.
fn settle_tail(
    db: &Db,
    paths: &Paths,
    installation: &Installation,
    options: &OpenOptions,
    assessment: &Assessment,
    report: &mut Report,
) -> Result<TailWriter, OpenError> {
    let dir = paths.tail();
    if let (Some(end), false) = (&assessment.scan.end, assessment.tail_incomplete()) {
        let mut tail =
            TailWriter::resume(&dir, *installation, options.tail_segment_bytes, end, &assessment.scan.kept)
                .map_err(OpenError::io("go on with", &dir))?;
        let mut heads = [0; 32];
        for (ledger, tree) in &assessment.trees {
            let known = assessment.tail_lacks.get(ledger).unwrap_or(tree.frontier());
            if known.size() > 0 {
                xor(&mut heads, &head_digest(*ledger, known.size(), &known.root()));
            }
        }
        for (ledger, known) in &assessment.tail_lacks {
            copy_to_tail(db, &mut tail, &mut heads, *ledger, known.clone())?;
        }
        return Ok(tail);
    }
    let draft = paths.tail_rebuilding();
    let mut tail = TailWriter::create(&draft, *installation, options.tail_segment_bytes)
        .map_err(OpenError::io("write", &draft))?;
    let mut heads = [0; 32];
    for ledger in assessment.trees.keys() {
        copy_to_tail(db, &mut tail, &mut heads, *ledger, Frontier::new())?;
    }
    drop(tail);
    if dir.exists() {
        if assessment.scan.frames == 0 && assessment.scan.torn.is_none() && assessment.scan.damaged.is_empty()
        {
            files::remove_dir(&dir).map_err(OpenError::io("remove", &dir))?;
        } else {
            let aside = files::move_aside(&dir, "tail").map_err(OpenError::io("move aside", &dir))?;
            let finding = Finding::warning("the damaged tail is kept here; delete it once looked at");
            report.findings.push(finding.file(&aside));
        }
    }
    files::rename(&draft, &dir).map_err(OpenError::io("rename to", &dir))?;
    let written = tail::scan(&dir, installation, |_| Ok::<(), OpenError>(()))?;
    let gone = || OpenError::io("find the end of", &dir)(io::ErrorKind::NotFound.into());
    let end = written.end.ok_or_else(gone)?;
    TailWriter::resume(&dir, *installation, options.tail_segment_bytes, &end, &written.kept)
        .map_err(OpenError::io("go on with", &dir))
}

/// Appends to the tail what sled holds of a ledger behind `frontier`.
fn copy_to_tail(
    db: &Db,
    tail: &mut TailWriter,
    heads: &mut Hash,
    ledger: LedgerId,
    mut frontier: Frontier,
) -> Result<(), OpenError> {
    let mut cursor = Cursor::default();
    let mut frame = FrameBuffer::default();
    loop {
        let old = frontier.size();
        let before = head_digest(ledger, old, &frontier.root());
        let mut records: Vec<Record> = Vec::new();
        while records.len() < 256 {
            let unreadable = |fault: chunks::Fault| {
                let seq = old + records.len() as u64;
                OpenError::Missing { ledger, seq, detail: format!("sled: {fault}") }
            };
            match cursor.entry(db, ledger, frontier.size()).map_err(unreadable)? {
                Some(record) => {
                    frontier.push(record.leaf_hash());
                    records.push(record.clone());
                }
                None => break,
            }
        }
        if records.is_empty() {
            return Ok(());
        }
        if old > 0 {
            xor(heads, &before);
        }
        let root = frontier.root();
        xor(heads, &head_digest(ledger, frontier.size(), &root));
        frame.clear();
        frame.part(ledger, old, &root, records.iter().map(|record| &record.bytes()[..]));
        frame.heads(heads);
        tail.write(&mut frame, &Durations::default())
            .map_err(OpenError::io("write", Path::new("the tail")))?;
    }
}

// ------------------------------------------------------------------------------------------ orderly stops

/// What an orderly stop leaves: how sled's file looked, and every ledger's head.
#[derive(Debug)]
struct CleanMarker {
    stamp: (u64, u128),
    heads: Vec<(LedgerId, u64, Hash)>,
}

const CLEAN_MAGIC: &[u8; 16] = b"mentorlog-clean1";

impl CleanMarker {
    fn encode(&self) -> Vec<u8> {
        let mut bytes = CLEAN_MAGIC.to_vec();
        bytes.extend_from_slice(&self.stamp.0.to_be_bytes());
        bytes.extend_from_slice(&self.stamp.1.to_be_bytes());
        for (ledger, size, root) in &self.heads {
            bytes.extend_from_slice(ledger.0.as_bytes());
            bytes.extend_from_slice(&size.to_be_bytes());
            bytes.extend_from_slice(root);
        }
        let crc = crc32fast::hash(&bytes);
        bytes.extend_from_slice(&crc.to_be_bytes());
        bytes
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let (bytes, crc) = bytes.split_last_chunk::<4>()?;
        (u32::from_be_bytes(*crc) == crc32fast::hash(bytes)).then_some(())?;
        let rest = bytes.strip_prefix(CLEAN_MAGIC)?;
        let (length, rest) = rest.split_first_chunk::<8>()?;
        let (modified, rest) = rest.split_first_chunk::<16>()?;
        let heads = rest.chunks_exact(56).map(|head| {
            let ledger = LedgerId(uuid::Uuid::from_slice(&head[..16]).ok()?);
            let size = u64::from_be_bytes(head[16..24].try_into().ok()?);
            Some((ledger, size, head[24..].try_into().ok()?))
        });
        let stamp = (u64::from_be_bytes(*length), u128::from_be_bytes(*modified));
        Some(Self { stamp, heads: heads.collect::<Option<_>>()? })
    }
}

/// Length and time of change of sled's file.
fn db_stamp(sled: &Path) -> io::Result<(u64, u128)> {
    let db = fs::metadata(sled.join("db"))?;
    let modified = db.modified()?.duration_since(SystemTime::UNIX_EPOCH).map_err(io::Error::other)?;
    Ok((db.len(), modified.as_nanos()))
}

/// The marker of an orderly stop. It is removed before the first append after that stop, so its heads hold
/// whatever has become of the copies since.
fn read_clean_marker(paths: &Paths) -> Option<CleanMarker> {
    CleanMarker::decode(&fs::read(paths.clean()).ok()?)
}

/// As [`check_against_marker`], for who has not read the marker.
pub(super) fn check_against_stop(paths: &Paths, assessment: &Assessment) -> Result<(), OpenError> {
    check_against_marker(assessment, read_clean_marker(paths).as_ref())
}

/// Nothing may be missing that was there at the last orderly stop.
fn check_against_marker(assessment: &Assessment, marker: Option<&CleanMarker>) -> Result<(), OpenError> {
    for (ledger, size, root) in marker.iter().flat_map(|marker| &marker.heads) {
        let (ledger, found) = (*ledger, assessment.trees.get(ledger));
        let seq = found.map_or(0, Tree::size);
        if seq < *size {
            let detail = format!("at the last orderly stop its size was {size}");
            return Err(OpenError::Missing { ledger, seq, detail });
        }
        if seq == *size && found.is_some_and(|tree| tree.root() != *root) {
            let detail = "at the last orderly stop its root was another".to_owned();
            return Err(OpenError::Disagree { ledger, seq: seq.saturating_sub(1), detail });
        }
    }
    Ok(())
}

#[cfg(test)]
#[path = "sled_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "repair_tests.rs"]
mod repair_tests;
