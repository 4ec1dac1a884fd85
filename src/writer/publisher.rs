//! Publishes what is durable: tiles into the mirror, then the signed checkpoint, then for everybody to see.
//! Never signs what is not durable, nor anything that does not continue the checkpoint stored last.
//!
//! One thread, beside the one that commits. It is woken when something has grown and begins a round at most every
//! half second, the ledger that has waited longest first. So every checkpoint follows its growth within a second as
//! long as a round takes less than half of one; with more growing ledgers they take turns, and the metric
//! `mentorlog_checkpoint_lag_seconds` says how far behind each is.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::mpsc as channel;
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use bytes::Bytes;
use mentorlog_events::id::LedgerId;
use mentorlog_events::time::Timestamp;
use tokio::sync::watch;

use super::auditable::{Auditable, Signed};
use super::keybook::LedgerKey;
use super::published::{Head, Published, lock};
use super::witness::{WitnessAddress, ask_all};
use crate::keys::Keys;
use crate::ledger::ReadError;
use crate::ledger::checkpoint::Checkpoint;
use crate::ledger::mirror::{Mirror, MirrorError};
use crate::ledger::note::{KeyName, Note, NoteError, SignatureLine, Signer, Unverified, VerifierKey};

/// A round begins at the earliest so long after the one before it.
const ROUND: Duration = Duration::from_millis(500);

/// What failed is tried again after so long.
const AGAIN: Duration = Duration::from_secs(1);

/// A checkpoint signed by so many keys after the last one the registry knows is still known as our own.
const UNKNOWN_KEYS: u32 = 16;

/// Entries that one checkpoint may add: what is far behind does not hold up the others for long.
const STEP_ENTRIES: u64 = 1 << 18;

/// What a round leaves to do; the later outweighs the earlier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Left {
    Nothing,
    /// A ledger is still behind what it was when the round began.
    More,
    /// Something is to be tried again, not at once.
    Failed,
}

/// Whether checkpoints are published, and where to.
pub enum Publishing {
    /// Nothing is signed. For measuring what publishing costs, and for logs that do not outlive their process.
    Off,
    /// Into the mirror of this data directory.
    Into {
        /// The data directory.
        data: PathBuf,
        /// Who is asked to cosign the registry's.
        witnesses: Vec<WitnessAddress>,
    },
}

/// What was published and what is there contradict each other: the log is shorter than what was signed, or another.
/// Nothing was appended and nothing was signed.
#[derive(Debug, thiserror::Error)]
pub enum BadMirror {
    /// The log ends before the last published checkpoint.
    #[error(
        "ledger {ledger}: a checkpoint of {signed} entries was published, and the log has {size}: seq {size} and later \
         are lost here; rebuild them from the mirror, or restore a newer backup"
    )]
    Behind {
        /// The ledger.
        ledger: LedgerId,
        /// Size of the checkpoint.
        signed: u64,
        /// Size of the log.
        size: u64,
    },
    /// The log is not the one of which the last published checkpoint is.
    #[error(
        "ledger {ledger}: the checkpoint that was published of its first {signed} entries has another root than they \
         have: one of seq 0 to {} is not what it was", signed.saturating_sub(1)
    )]
    Fork {
        /// The ledger.
        ledger: LedgerId,
        /// Size of the checkpoint.
        signed: u64,
    },
    /// A ledger was published, and the log does not know it.
    #[error(
        "ledger {0}: a checkpoint of it was published, and the log does not hold it: seq 0 and later are lost here"
    )]
    Unknown(LedgerId),
    /// The mirror cannot be read.
    #[error(transparent)]
    Mirror(#[from] MirrorError),
    /// The log cannot be read.
    #[error(transparent)]
    Log(#[from] ReadError),
}

/// The mirror and what is stored there: for whoever adds to it.
pub(super) struct Shelf {
    published: Arc<Published>,
    keys: Arc<Keys>,
    mirror: Mirror,
    stored: Mutex<Stored>,
}

/// The stored note of each ledger, to the byte, and the size it is of.
type Stored = HashMap<LedgerId, (Bytes, u64)>;

/// The thread that publishes.
pub(super) struct Publisher {
    shelf: Arc<Shelf>,
    wake: channel::Receiver<()>,
    witnesses: Option<Asking>,
}

/// The thread that asks witnesses; it ends when this is dropped.
struct Asking {
    stop: Option<watch::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Asking {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A panic in it is the last thing it has said.
            let _ = thread.join();
        }
    }
}

/// The thread that publishes, and what wakes it. It ends after the last sender is gone and one more round.
pub(super) struct Started {
    pub(super) waker: channel::SyncSender<()>,
    pub(super) thread: JoinHandle<()>,
}

impl Publisher {
    /// Compares what is stored with the log, shows it, and starts the thread; not the thread if the log is not sound.
    pub(super) fn start(
        publishing: Publishing,
        published: &Arc<Published>,
        keys: &Arc<Keys>,
        is_sound: bool,
    ) -> Result<Option<Started>, BadMirror> {
        let data = match publishing {
            Publishing::Off => return Ok(None),
            Publishing::Into { data, witnesses: _ } => data,
        };
        published.publishing.on.store(true, Ordering::Relaxed);
        let shelf = Arc::new(Shelf {
            published: published.clone(),
            keys: keys.clone(),
            mirror: Mirror::new(&data),
            stored: Mutex::default(),
        });
        let is_behind = shelf.take_up()?;
        if !is_sound {
            return Ok(None);
        }
        let (waker, wake) = channel::sync_channel(1);
        if is_behind {
            let _ = waker.try_send(());
        }
        let room = Self { shelf, wake, witnesses: None }.with_witnesses();
        let thread = thread::Builder::new().name("publish".to_owned()).spawn(move || room.run());
        Ok(Some(Started { waker, thread: thread.expect("the operating system starts a few threads") }))
    }

    fn with_witnesses(mut self) -> Self {
        if self.shelf.published.witnesses.is_empty() {
            return self;
        }
        let (stop, stopped) = watch::channel(());
        let registry_shelf = self.shelf.clone();
        let thread = thread::Builder::new().name("witness".to_owned()).spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            match runtime {
                Ok(runtime) => runtime.block_on(ask_all(registry_shelf, stopped)),
                Err(error) => tracing::error!(%error, "witnesses cannot be asked"),
            }
        });
        let thread = Some(thread.expect("the operating system starts a few threads"));
        self.witnesses = Some(Asking { stop: Some(stop), thread });
        self
    }

    fn run(self) {
        let (mut is_last, mut left, mut begun) = (false, Left::Nothing, None::<Instant>);
        while !is_last {
            is_last = match left {
                Left::Nothing => self.wake.recv().is_err(),
                Left::Failed => self.ends_before(Instant::now() + AGAIN, true),
                Left::More => false,
            };
            if let Some(begun) = begun.filter(|_| !is_last) {
                is_last = self.ends_before(begun + ROUND, false);
            }
            begun = Some(Instant::now());
            left = self.shelf.round();
            while is_last && left == Left::More {
                left = self.shelf.round();
            }
        }
    }

    /// Waits until then, or until something grows if that matters; whether the end came first.
    fn ends_before(&self, until: Instant, or_growth: bool) -> bool {
        loop {
            match self.wake.recv_timeout(until.saturating_duration_since(Instant::now())) {
                // Whatever it was, it will be in the round that follows.
                Ok(()) if or_growth => return false,
                Ok(()) => {}
                Err(channel::RecvTimeoutError::Timeout) => return false,
                Err(channel::RecvTimeoutError::Disconnected) => return true,
            }
        }
    }
}

impl Shelf {
    /// Every ledger, the registry first.
    fn ledgers(&self) -> Vec<Arc<Auditable>> {
        let programs = self.published.programs();
        let programs = programs.iter().map(|program| program.auditable.clone());
        std::iter::once(self.published.registry.clone()).chain(programs).collect()
    }

    /// Compares every stored checkpoint with the log, and shows it. Whether something has to be published.
    fn take_up(&self) -> Result<bool, BadMirror> {
        let mut found = self.mirror.ledgers()?;
        let now = self.published.clock.now();
        let mut is_behind = false;
        for ledger in self.ledgers() {
            self.mirror.tidy(ledger.ledger)?;
            if found.remove(&ledger.ledger)
                && let Some(signed) = self.stored_checkpoint(&ledger, now)?
            {
                Self::show(&mut lock(&self.stored), &ledger, signed);
            }
            let durable = ledger.durable().size;
            let current = ledger.signed().is_some_and(|signed| {
                signed.checkpoint.size == durable && self.is_signed_by_its_keys(ledger.ledger, &signed, now)
            });
            if durable > 0 && !current {
                ledger.ask(now);
                is_behind = true;
            }
        }
        match found.first() {
            Some(unknown) => Err(BadMirror::Unknown(*unknown)),
            None => Ok(is_behind),
        }
    }

    /// The stored checkpoint of a ledger, if it can be believed; it is then how the log begins.
    fn stored_checkpoint(&self, ledger: &Auditable, now: Timestamp) -> Result<Option<Signed>, BadMirror> {
        let Some(bytes) = self.mirror.checkpoint(ledger.ledger)? else { return Ok(None) };
        let size = ledger.durable().size;
        if size == 0 {
            // There is nothing it could be made anew from.
            let signed = Note::parse(&bytes).ok().and_then(|note| note.text().parse::<Checkpoint>().ok());
            let signed = signed.ok_or(BadMirror::Unknown(ledger.ledger))?.size;
            return Err(BadMirror::Behind { ledger: ledger.ledger, signed, size });
        }
        let read = self.verified(ledger.ledger, &bytes);
        let (checkpoint, note) = match read {
            Ok(read) => read,
            Err(error) => {
                // Nothing in it can be held against the log, and everything it could have said can be said again.
                let aside = self.mirror.set_aside(ledger.ledger)?;
                let (ledger, aside) = (ledger.ledger, aside.display());
                tracing::warn!(%ledger, %error, %aside, "the stored checkpoint cannot be read: it is made anew");
                return Ok(None);
            }
        };
        if checkpoint.size > size {
            return Err(BadMirror::Behind { ledger: ledger.ledger, signed: checkpoint.size, size });
        }
        let root = ledger.provable(&*self.published.log, size).root_at(checkpoint.size)?;
        if root != Some(checkpoint.root) {
            return Err(BadMirror::Fork { ledger: ledger.ledger, signed: checkpoint.size });
        }
        Ok(Some(Signed::new(checkpoint, note, now)))
    }

    /// Reads a note that a key of ours has signed, also one that the registry does not know (any more): a registry
    /// that lost its end must not make a checkpoint unreadable that says so.
    fn verified(&self, ledger: LedgerId, bytes: &[u8]) -> Result<(Checkpoint, Note), NoteError> {
        let keybook = self.published.keybook();
        let known: Vec<&VerifierKey> =
            keybook.of(ledger).into_iter().flat_map(|keys| &keys.keys).map(|key| &key.vkey).collect();
        let read = match Checkpoint::verified(bytes, known.iter().copied()) {
            Err(NoteError::Unverified(Unverified::Nobody)) => {
                let origin = Note::parse(bytes)?.text().parse::<Checkpoint>()?.origin;
                let newest = u32::try_from(known.len()).unwrap_or(u32::MAX);
                let of = |number| Signer::new(origin.clone(), &self.keys.seed(origin.as_str(), number));
                let ours: Vec<Signer> = (1..=newest.saturating_add(UNKNOWN_KEYS)).map(of).collect();
                Checkpoint::verified(bytes, ours.iter().map(Signer::public))
            }
            read => read,
        };
        read.map(|(checkpoint, note, _)| (checkpoint, note))
    }

    /// Whether every key that would sign it now has.
    fn is_signed_by_its_keys(&self, ledger: LedgerId, signed: &Signed, now: Timestamp) -> bool {
        let has_line = |id| signed.note.signatures().iter().any(|line| line.id == id);
        let keybook = self.published.keybook();
        keybook.of(ledger).is_some_and(|keys| keys.signing(now).all(|key| has_line(key.vkey.id())))
    }

    /// Publishes everything that waits, what waits longest first, and says what is left of it.
    fn round(&self) -> Left {
        let waiting = |ledger: Arc<Auditable>| Some((ledger.waiting_since()?, ledger));
        let mut due: Vec<_> = self.ledgers().into_iter().filter_map(waiting).collect();
        due.retain(|(_, ledger)| ledger.refused().is_none());
        due.sort_by_key(|(since, _)| *since);
        let mut left = Left::Nothing;
        for (_, ledger) in due {
            // A defect met in one ledger is no reason to leave the others unpublished.
            let outcome = catch_unwind(AssertUnwindSafe(|| self.publish(&ledger)));
            let vitals = &self.published.publishing;
            let (id, why, is_final) = match outcome {
                Ok(Ok(more)) => {
                    left = left.max(more);
                    continue;
                }
                Ok(Err(error)) => (ledger.ledger, error.to_string(), error.is_final()),
                Err(_) => (ledger.ledger, "publishing it panicked".to_owned(), true),
            };
            vitals.failures.fetch_add(1, Ordering::Relaxed);
            if is_final {
                tracing::error!(ledger = %id, why, "no checkpoint of this ledger is published any more");
                ledger.refuse(&why);
            } else {
                tracing::warn!(ledger = %id, why, "a checkpoint could not be published; it is tried again");
                left = Left::Failed;
            }
        }
        left
    }

    /// Tiles on the disk, then the checkpoint in its place, then shown. A ledger far behind is published in steps.
    fn publish(&self, ledger: &Auditable) -> Result<Left, MirrorError> {
        let read_at = self.published.clock.now();
        let begun = ledger.begin();
        let from = lock(&self.stored).get(&ledger.ledger).map_or(0, |(_, size)| *size);
        let Some((origin, signers)) = self.signers(ledger.ledger, read_at) else {
            // Its opening is not complete; when it is, that asks for a checkpoint.
            return Ok(Left::Nothing);
        };
        let size = begun.head.size.min(from.saturating_add(STEP_ENTRIES));
        let provable = ledger.provable(&*self.published.log, size);
        let root = if size == begun.head.size { Some(begun.head.root) } else { provable.root_at(size)? };
        let head = Head { size, root: root.expect("the root of a size that is durable") };
        self.mirror.grow(&provable, from, &head.root)?;
        let checkpoint = Checkpoint::new(origin, head.size, head.root);
        let text = checkpoint.to_string();
        let mut note = checkpoint.signed(signers.iter().map(|signer| signer.sign(&text, 0)).collect());
        {
            let mut stored = lock(&self.stored);
            if let Some(earlier) = ledger.signed().filter(|earlier| earlier.note.text() == text) {
                // The same words: whoever has vouched for them does so still.
                let known = |line: &&SignatureLine| signers.iter().any(|s| s.public().name() == &line.name);
                note.add(earlier.note.signatures().iter().filter(|line| !known(line)).cloned());
            }
            self.store(&mut stored, ledger, Signed::new(checkpoint, note, read_at))?;
        }
        let is_behind = size < begun.head.size;
        if !is_behind {
            ledger.done(begun, read_at);
        }
        self.published.publishing.checkpoints.fetch_add(1, Ordering::Relaxed);
        self.mirror.drop_partials(ledger.ledger, from, head.size)?;
        self.published.log.mirrored(ledger.ledger, head.size);
        Ok(if is_behind { Left::More } else { Left::Nothing })
    }

    /// Adds a witness's line to the registry's checkpoint, if that still says this.
    pub(super) fn cosigned(&self, text: &str, line: SignatureLine) -> Result<(), MirrorError> {
        let registry = &self.published.registry;
        let mut stored = lock(&self.stored);
        let Some(signed) = registry.signed().filter(|signed| signed.note.text() == text) else {
            return Ok(());
        };
        let mut note = signed.note.clone();
        note.add([line]);
        self.store(&mut stored, registry, Signed::new(signed.checkpoint.clone(), note, signed.at))
    }

    /// Whom the mirror is for.
    pub(super) fn published(&self) -> &Published {
        &self.published
    }

    /// The name and the keys that sign a ledger's checkpoint now, the newest first; `None` before it is opened.
    fn signers(&self, ledger: LedgerId, now: Timestamp) -> Option<(KeyName, Vec<Signer>)> {
        let keybook = self.published.keybook();
        let keys = keybook.of(ledger)?;
        let signer = |key: &LedgerKey| {
            Signer::new(keys.origin.clone(), &self.keys.seed(keys.origin.as_str(), key.number))
        };
        Some((keys.origin.clone(), keys.signing(now).map(signer).collect()))
    }

    /// Compare and swap on the disk, and only then for everybody to see.
    fn store(&self, stored: &mut Stored, ledger: &Auditable, signed: Signed) -> Result<(), MirrorError> {
        let provable = ledger.provable(&*self.published.log, u64::MAX);
        let last = stored.get(&ledger.ledger).map(|(bytes, _)| &bytes[..]);
        let outcome = self.mirror.store(&provable, last, (&signed.checkpoint, &signed.note));
        if let Err(MirrorError::Io { .. }) = &outcome {
            // It may have its name and not be on the disk for certain: then it is what the next attempt finds.
            if self
                .mirror
                .checkpoint(ledger.ledger)
                .is_ok_and(|found| found.as_deref() == Some(&signed.bytes))
            {
                stored.insert(ledger.ledger, (signed.bytes.clone(), signed.checkpoint.size));
            }
        }
        outcome?;
        Self::show(stored, ledger, signed);
        Ok(())
    }

    fn show(stored: &mut Stored, ledger: &Auditable, signed: Signed) {
        stored.insert(ledger.ledger, (signed.bytes.clone(), signed.checkpoint.size));
        ledger.show(signed);
    }
}
