//! What readers see: the programs as they were when the last group was committed.
//! Never shows what is not durable.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock, RwLockReadGuard};

use mentorlog_events::id::{InstallationId, ProgramId, Slug};
use mentorlog_events::record::{Hash, Record};
use mentorlog_projections::read_models::ReadModels;
use tokio::sync::watch;

use super::receipt::Refusal;
use super::vitals::Vitals;
use crate::clock::Clock;
use crate::keys::LedgerSecret;
use crate::ledger::merkle::Tree;
use crate::ledger::{Log, ReadError};

/// What readers see of one program at one moment.
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
    /// Its secret.
    pub secret: LedgerSecret,
    pub(super) view: RwLock<View>,
    pub(super) tree: Mutex<Tree>,
    pub(super) grown: watch::Sender<u64>,
}

impl Program {
    /// Looks at the program as it is now. Hold it briefly: publishing waits for it.
    pub fn view(&self) -> RwLockReadGuard<'_, View> {
        self.view.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Number of entries that are durable and in the read models.
    pub fn size(&self) -> u64 {
        *self.grown.borrow()
    }

    /// Tells the size whenever it grows.
    pub fn growth(&self) -> watch::Receiver<u64> {
        self.grown.subscribe()
    }

    /// The root the ledger had at `size`, at most the present one. Reads at most 255 entries.
    pub fn root_at(&self, log: &dyn Log, size: u64) -> Result<Option<Hash>, ReadError> {
        if size > self.size() {
            return Ok(None);
        }
        let first = size / 256 * 256;
        let limit = usize::try_from(size - first).expect("fewer than 256");
        let leaves: Vec<Hash> = if limit == 0 {
            Vec::new()
        } else {
            log.read(self.id.into(), first, limit)?.iter().map(Record::leaf_hash).collect()
        };
        lock(&self.tree).root_at(size, |_| Ok(leaves))
    }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[derive(Default)]
pub(super) struct Directory {
    pub(super) by_slug: BTreeMap<Slug, Arc<Program>>,
    pub(super) by_id: HashMap<ProgramId, Arc<Program>>,
}

impl Directory {
    pub(super) fn add(&mut self, program: &Arc<Program>) {
        self.by_slug.insert(program.slug.clone(), program.clone());
        self.by_id.insert(program.id, program.clone());
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
    pub(super) registry: Mutex<Head>,
    pub(super) stopped: OnceLock<String>,
    pub(super) waiting: AtomicUsize,
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

    /// Every program, in the order of their slugs.
    pub fn programs(&self) -> Vec<Arc<Program>> {
        self.directory.read().unwrap_or_else(PoisonError::into_inner).by_slug.values().cloned().collect()
    }

    /// Size and root of the registry.
    pub fn registry(&self) -> Head {
        *lock(&self.registry)
    }

    /// Why writing has stopped, if it has.
    pub fn stopped(&self) -> Option<&str> {
        self.stopped.get().map(String::as_str)
    }

    /// Submissions waiting for the writer.
    pub fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    pub(super) fn stop(&self, why: &str) {
        if self.stopped.set(why.to_owned()).is_ok() {
            tracing::error!(why, "writing has stopped; reads go on; restart to write again");
        }
    }

    pub(super) fn stopped_refusal(&self) -> Refusal {
        Refusal::Stopped(self.stopped().unwrap_or("the writer is gone").to_owned())
    }

    pub(super) fn add(&self, program: &Arc<Program>) {
        self.directory.write().unwrap_or_else(PoisonError::into_inner).add(program);
    }
}
