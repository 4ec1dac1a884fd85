//! What readers see: the programs as they were when the last group was committed.
//! Never shows what is not durable.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock, RwLockReadGuard};

use mentorlog_events::entry::Entry;
use mentorlog_events::event::registry::RegistryEvent;
use mentorlog_events::id::{InstallationId, ProgramId, Slug};
use mentorlog_events::record::{Hash, Record};
use mentorlog_events::time::Timestamp;
use mentorlog_projections::outsiders::{Week, WeekClose};
use mentorlog_projections::read_models::ReadModels;
use tokio::sync::watch;

use super::auditable::Auditable;
use super::keybook::Keybook;
use super::receipt::Refusal;
use super::reports::Reports;
use super::vitals::Vitals;
use super::witness::Witness;
use crate::clock::Clock;
use crate::keys::LedgerSecret;
use crate::ledger::merkle::Tree;
use crate::ledger::{Footprint, Log, ReadError};
use crate::people::People;
use crate::rules::tokens::Tokens;

/// What readers see of one program at one moment.
#[derive(Clone)]
pub struct View {
    /// The read models at `size`.
    pub models: ReadModels,
    /// Number of entries that are durable and in the read models.
    pub size: u64,
    /// RFC 6962 root at `size`.
    pub root: Hash,
}

/// One program, as readers see it.
pub struct Program {
    /// The program.
    pub id: ProgramId,
    /// Its name in paths.
    pub slug: Slug,
    /// When it was opened.
    pub opened_at: Timestamp,
    /// Its secret.
    pub secret: LedgerSecret,
    pub(super) view: RwLock<View>,
    /// Its ledger as auditors see it.
    pub auditable: Arc<Auditable>,
    pub(super) recent_leaves: Mutex<RecentLeaves>,
    pub(super) grown: watch::Sender<u64>,
    closed: Mutex<Option<Arc<WeekClose>>>,
    shown: Mutex<Option<Shown>>,
}

/// The figures outsiders see, and since when.
#[derive(Clone)]
pub struct Shown {
    /// The close of the week.
    pub close: Arc<WeekClose>,
    /// When it was: the end of the week's last day in the program's time zone.
    pub closed_at: Timestamp,
}

/// Minutes after which a week counts as closed. What was decided before midnight may be folded after it; it is not
/// waited for this long.
pub const CLOSING_MINUTES: i64 = 1;

impl Program {
    /// A program as readers see it at first.
    pub(super) fn new(
        (id, slug, opened_at): (ProgramId, Slug, Timestamp),
        secret: LedgerSecret,
        view: View,
        tree: Tree,
    ) -> Self {
        Self {
            id,
            slug,
            opened_at,
            secret,
            grown: watch::Sender::new(view.size),
            auditable: Arc::new(Auditable::new(id.into(), tree, Head { size: view.size, root: view.root })),
            view: RwLock::new(view),
            recent_leaves: Mutex::default(),
            closed: Mutex::default(),
            shown: Mutex::default(),
        }
    }

    /// The figures outsiders saw at the last [`Published::survey`]; `None` while no week has closed.
    pub fn shown(&self) -> Option<Shown> {
        lock(&self.shown).clone()
    }

    fn close_week(&self, now: Timestamp) {
        let Some(close) = self.week_close(now) else { return };
        if lock(&self.shown).as_ref().is_some_and(|shown| Arc::ptr_eq(&shown.close, &close)) {
            return;
        }
        let closed_at = self.view().models.start_of(close.as_of.plus_days(1));
        if let Some(closed_at) = closed_at {
            *lock(&self.shown) = Some(Shown { close, closed_at });
        }
    }

    /// Looks at the program as it is now. Hold it briefly: publishing waits for it.
    pub fn view(&self) -> RwLockReadGuard<'_, View> {
        self.view.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// The program as it is now, for whoever needs longer than publishing may wait: what is published later
    /// does not show. Keep it no longer than needed: what is published meanwhile copies what it changes.
    pub fn moment(&self) -> View {
        self.view().clone()
    }

    /// Number of entries that are durable and in the read models.
    pub fn size(&self) -> u64 {
        *self.grown.borrow()
    }

    /// Tells the size whenever it grows.
    pub fn growth(&self) -> watch::Receiver<u64> {
        self.grown.subscribe()
    }

    /// The last week that is over at `now`; `None` of a program without entries.
    pub fn closed_week(&self, now: Timestamp) -> Option<Week> {
        self.view().models.day(now.plus_minutes(-CLOSING_MINUTES)).map(Week::closed_before)
    }

    /// What outsiders may see: the last week that is over at `now`. `None` while none is since the program was
    /// opened. Computed at most once a week: a pass over pairs and people, at once from then on.
    pub fn week_close(&self, now: Timestamp) -> Option<Arc<WeekClose>> {
        let week = self.closed_week(now)?;
        let mut closed = lock(&self.closed);
        // Of a moment: nothing that is committed waits for the pass.
        let view = self.moment();
        if let Some(close) = closed.as_ref().filter(|close| close.week == week && close.size == view.size) {
            return Some(close.clone());
        }
        let close = view.models.week_close(week)?;
        *closed = Some(close.clone());
        Some(close)
    }

    /// The root the ledger had at `size`, at most the present one. Reads at most 256 entries, and none of them
    /// twice as long as sizes of the same 256 are asked for.
    pub fn root_at(&self, log: &dyn Log, size: u64) -> Result<Option<Hash>, ReadError> {
        if size > self.size() {
            return Ok(None);
        }
        let first = size / 256 * 256;
        let wanted = usize::try_from(size - first).expect("fewer than 256");
        let mut recent = lock(&self.recent_leaves);
        if recent.first != first {
            *recent = RecentLeaves { first, leaves: Vec::new() };
        }
        if recent.leaves.len() < wanted {
            let (from, limit) = (first + recent.leaves.len() as u64, 256 - recent.leaves.len());
            let records = log.read(self.id.into(), from, limit)?;
            recent.leaves.extend(records.iter().map(Record::leaf_hash));
        }
        let leaves = recent.leaves.get(..wanted).ok_or_else(|| ReadError::Damaged {
            ledger: self.id.into(),
            seq: first + recent.leaves.len() as u64,
            detail: "the ledger ends here".into(),
        })?;
        lock(&self.auditable.tree).root_at(size, |_| Ok(leaves.to_vec()))
    }
}

/// Leaf hashes of entries from a multiple of 256 on. Commands that are repeated mostly come in the order of the
/// first time: without these every one of them would read and hash 128 entries, on the thread that commits.
#[derive(Default)]
pub(super) struct RecentLeaves {
    first: u64,
    leaves: Vec<Hash>,
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[derive(Default)]
pub(super) struct Directory {
    pub(super) by_slug: BTreeMap<Slug, Arc<Program>>,
    pub(super) by_id: HashMap<ProgramId, Arc<Program>>,
    pub(super) oldest_first: BTreeMap<(Timestamp, ProgramId), Arc<Program>>,
}

impl Directory {
    pub(super) fn add(&mut self, program: &Arc<Program>) {
        self.by_slug.insert(program.slug.clone(), program.clone());
        self.by_id.insert(program.id, program.clone());
        self.oldest_first.insert((program.opened_at, program.id), program.clone());
    }
}

/// Everything readers see: the programs, the registry's head, the state of the writer.
pub struct Published {
    /// Where entries are read from.
    pub log: Arc<dyn Log>,
    /// Writer time.
    pub clock: Clock,
    /// What the writer measures of itself.
    pub vitals: Vitals,
    /// The installation.
    pub installation: InstallationId,
    pub(super) directory: RwLock<Directory>,
    pub(super) registry: Arc<Auditable>,
    pub(super) keybook: RwLock<Keybook>,
    pub(super) publishing: PublishingVitals,
    /// The reports that were published.
    pub reports: Reports,
    pub(super) tokens: RwLock<Tokens>,
    pub(super) witnesses: Vec<Arc<Witness>>,
    pub(super) stopped: OnceLock<String>,
    pub(super) waiting: AtomicUsize,
    pub(super) footprint: Mutex<Option<Footprint>>,
    pub(super) people: OnceLock<Arc<People>>,
    /// One person is erased at a time.
    pub(super) erasing: tokio::sync::Mutex<()>,
    /// Names the erasure of a participant.
    pub(super) erasures: LedgerSecret,
}

/// How publishing fares, in atomics that a scrape may read at any time.
#[derive(Debug, Default)]
pub struct PublishingVitals {
    /// Whether checkpoints are published at all.
    pub on: AtomicBool,
    /// Checkpoints published since the start.
    pub checkpoints: AtomicU64,
    /// Attempts that failed since the start.
    pub failures: AtomicU64,
}

/// Size and root of a ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// Number of entries.
    pub size: u64,
    /// RFC 6962 root.
    pub root: Hash,
}

impl Published {
    /// Finds a program by its slug or by its UUID.
    pub fn program(&self, name: &str) -> Option<Arc<Program>> {
        let directory = self.directory.read().unwrap_or_else(PoisonError::into_inner);
        match name.parse() {
            Ok(id) => directory.by_id.get(&id).cloned(),
            Err(_) => directory.by_slug.get(name).cloned(),
        }
    }

    /// The program with this id.
    pub fn by_id(&self, id: ProgramId) -> Option<Arc<Program>> {
        self.directory.read().unwrap_or_else(PoisonError::into_inner).by_id.get(&id).cloned()
    }

    /// Every program, in the order of their slugs.
    pub fn programs(&self) -> Vec<Arc<Program>> {
        self.directory.read().unwrap_or_else(PoisonError::into_inner).by_slug.values().cloned().collect()
    }

    /// Every program, the one opened first first: who is among the first stays there.
    pub fn programs_by_age(&self) -> Vec<Arc<Program>> {
        self.directory.read().unwrap_or_else(PoisonError::into_inner).oldest_first.values().cloned().collect()
    }

    /// What the log took of its disk at the last [`survey`](Self::survey); `None` of a log without files.
    pub fn footprint(&self) -> Option<Footprint> {
        *lock(&self.footprint)
    }

    /// Looks at what is shown at a scrape and takes too long to be looked at there: the disk, and the figures of
    /// a week that has closed since. Blocks.
    pub fn survey(&self) {
        match self.log.footprint() {
            Ok(footprint) => *lock(&self.footprint) = footprint,
            // What was seen last stands: a wrong figure would be worse than an old one.
            Err(error) => tracing::warn!(%error, "the data directory cannot be measured"),
        }
        let now = self.clock.now();
        for program in self.programs() {
            program.close_week(now);
        }
    }

    /// Size and root of the registry.
    pub fn registry(&self) -> Head {
        self.registry.durable()
    }

    /// The registry's ledger as auditors see it.
    pub fn registry_auditable(&self) -> &Arc<Auditable> {
        &self.registry
    }

    /// Looks at the public keys of every ledger. Hold it briefly.
    pub fn keybook(&self) -> RwLockReadGuard<'_, Keybook> {
        self.keybook.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks at the tokens the registry knows. Hold it briefly.
    pub fn tokens(&self) -> RwLockReadGuard<'_, Tokens> {
        self.tokens.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn note_tokens(&self, entry: &Entry<RegistryEvent>) {
        if let RegistryEvent::TokenIssued(_) | RegistryEvent::TokenRevoked(_) = &entry.event {
            let mut tokens = self.tokens.write().unwrap_or_else(PoisonError::into_inner);
            tokens.apply(entry).expect("the writer records tokens of its own deciding");
        }
    }

    /// Who is asked to cosign the registry's checkpoints, and how far each has.
    pub fn witnesses(&self) -> &[Arc<Witness>] {
        &self.witnesses
    }

    /// How publishing fares.
    pub fn publishing(&self) -> &PublishingVitals {
        &self.publishing
    }

    /// Where personal data is sealed; `None` where none is.
    pub fn people(&self) -> Option<&Arc<People>> {
        self.people.get()
    }

    /// Why writing has stopped, if it has.
    pub fn stopped(&self) -> Option<&str> {
        self.stopped.get().map(String::as_str)
    }

    /// Submissions waiting for the writer.
    pub fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    /// Takes no commands from now on, for this reason. Reads go on.
    pub fn read_only(&self, why: &str) {
        if self.stopped.set(why.to_owned()).is_ok() {
            tracing::warn!(why, "nothing is written");
        }
    }

    pub(super) fn stop(&self, why: &str) {
        if self.stopped.set(why.to_owned()).is_ok() {
            tracing::error!(why, "writing has stopped; reads go on; restart to write again");
        }
    }

    pub(super) fn stopped_refusal(&self) -> Refusal {
        Refusal::Stopped(self.stopped().unwrap_or("the writer is gone").to_owned())
    }

    /// A submission was taken, and whoever had it is gone: it may be on disk.
    pub(super) fn unanswered(&self) -> Refusal {
        Refusal::Unknown(self.stopped().unwrap_or("the writer is gone").to_owned())
    }

    pub(super) fn add(&self, program: &Arc<Program>) {
        self.directory.write().unwrap_or_else(PoisonError::into_inner).add(program);
    }
}

#[cfg(test)]
mod tests {
    use mentorlog_events::id::LedgerId;

    use super::*;
    use crate::keys::Keys;
    use crate::ledger::Append;
    use crate::ledger::memory::MemoryLog;
    use crate::ledger::merkle::Tree;

    #[test]
    fn every_earlier_root_is_found_in_whatever_order_it_is_asked_for() {
        const SIZE: u64 = 700;
        let id = ProgramId(uuid::Uuid::from_u128(7));
        let ledger = LedgerId::from(id);
        let records: Vec<Record> =
            (0..SIZE).map(|seq| Record::stored(seq.to_string().into_bytes().into())).collect();
        let mut tree = Tree::new();
        let mut roots = vec![tree.root()];
        for record in &records {
            tree.push(record.leaf_hash());
            roots.push(tree.root());
        }
        let log = MemoryLog::new();
        log.append(&[Append { ledger, expected_size: 0, records, root: tree.root() }]);
        let view = View { models: ReadModels::new(), size: SIZE, root: tree.root() };
        let secret = Keys::ephemeral().of_ledger(ledger);
        let spring = (id, "spring".parse().unwrap(), Timestamp::MIN);
        let program = Program::new(spring, secret, view, tree);
        // 271 and 701 have no common factor: every size once, and never the next one.
        for size in (0..=SIZE).chain((0..=SIZE).map(|n| n * 271 % (SIZE + 1))).chain((0..=SIZE).rev()) {
            let index = usize::try_from(size).unwrap();
            assert_eq!(program.root_at(&log, size).unwrap(), Some(roots[index]), "size {size}");
        }
        assert_eq!(program.root_at(&log, SIZE + 1).unwrap(), None);
    }
}
