//! A ledger as auditors see it: its tree, how far it is durable, and the checkpoint that was published last.
//! Never shows a checkpoint that is not stored.

use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock};

use bytes::Bytes;
use mentorlog_events::id::LedgerId;
use mentorlog_events::time::Timestamp;
use tokio::sync::watch;

use super::published::{Head, lock};
use crate::ledger::Log;
use crate::ledger::checkpoint::Checkpoint;
use crate::ledger::merkle::Tree;
use crate::ledger::note::Note;
use crate::ledger::provable::Provable;

/// A published checkpoint.
#[derive(Debug, Clone)]
pub struct Signed {
    /// What it says.
    pub checkpoint: Checkpoint,
    /// With the lines under it.
    pub note: Note,
    /// The note to the byte, as it is stored and served.
    pub bytes: Bytes,
    /// When it was published, by the writer's clock; of one that was found at a start, when that was.
    pub at: Timestamp,
}

impl Signed {
    /// A checkpoint and the note that says it.
    pub(super) fn new(checkpoint: Checkpoint, note: Note, at: Timestamp) -> Self {
        let bytes = Bytes::from(note.to_string());
        Self { checkpoint, note, bytes, at }
    }
}

/// One ledger, of a program or the registry's.
pub struct Auditable {
    /// Which ledger.
    pub ledger: LedgerId,
    /// As decided: ahead of what is durable by at most the groups in flight.
    pub(super) tree: Mutex<Tree>,
    growth: Mutex<Growth>,
    signed: RwLock<Option<Arc<Signed>>>,
    /// Size of the checkpoint that is shown.
    shown: watch::Sender<u64>,
    refused: OnceLock<String>,
}

struct Growth {
    durable: Head,
    /// Since when something durable waits to be published; `None`: nothing does.
    waiting_since: Option<Timestamp>,
    /// How often there was a reason for a checkpoint.
    reasons: u64,
}

/// A ledger as it was when its checkpoint was begun.
#[derive(Clone, Copy)]
pub(super) struct Begun {
    pub(super) head: Head,
    reasons: u64,
}

impl Auditable {
    pub(super) fn new(ledger: LedgerId, tree: Tree, durable: Head) -> Self {
        Self {
            ledger,
            tree: Mutex::new(tree),
            growth: Mutex::new(Growth { durable, waiting_since: None, reasons: 0 }),
            signed: RwLock::new(None),
            shown: watch::Sender::new(0),
            refused: OnceLock::new(),
        }
    }

    /// What is durable.
    pub fn durable(&self) -> Head {
        lock(&self.growth).durable
    }

    /// The ledger at a size that is durable; larger ones are cut to what is.
    pub fn provable<'a>(&'a self, log: &'a dyn Log, size: u64) -> Provable<'a> {
        let size = size.min(self.durable().size);
        Provable { log, ledger: self.ledger, tree: &self.tree, size }
    }

    /// The checkpoint that was published last; `None` before the first.
    pub fn signed(&self) -> Option<Arc<Signed>> {
        self.signed.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Tells the size of the published checkpoint whenever one is; 0 before the first.
    pub fn checkpoints(&self) -> watch::Receiver<u64> {
        self.shown.subscribe()
    }

    /// Since when something durable waits to be published; `None` when nothing does.
    pub fn waiting_since(&self) -> Option<Timestamp> {
        lock(&self.growth).waiting_since
    }

    /// Why nothing more is published of this ledger, if so: what was published and what is there contradict each other.
    pub fn refused(&self) -> Option<&str> {
        self.refused.get().map(String::as_str)
    }

    /// More is durable.
    pub(super) fn grew(&self, durable: Head, now: Timestamp) {
        let mut growth = lock(&self.growth);
        growth.durable = durable;
        growth.reasons += 1;
        growth.waiting_since.get_or_insert(now);
    }

    /// Its checkpoint is to be published again, grown or not.
    pub(super) fn ask(&self, now: Timestamp) {
        let mut growth = lock(&self.growth);
        growth.reasons += 1;
        growth.waiting_since.get_or_insert(now);
    }

    /// What a checkpoint that is begun now is of.
    pub(super) fn begin(&self) -> Begun {
        let growth = lock(&self.growth);
        Begun { head: growth.durable, reasons: growth.reasons }
    }

    /// The checkpoint that was begun is shown. What there was reason for since waits since it was begun.
    pub(super) fn done(&self, begun: Begun, begun_at: Timestamp) {
        let mut growth = lock(&self.growth);
        growth.waiting_since = (growth.reasons > begun.reasons).then_some(begun_at);
    }

    /// A checkpoint is stored.
    pub(super) fn show(&self, signed: Signed) {
        let size = signed.checkpoint.size;
        *self.signed.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(signed));
        self.shown.send_replace(size);
    }

    pub(super) fn refuse(&self, why: &str) {
        let _ = self.refused.set(why.to_owned());
    }
}
