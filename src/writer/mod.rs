//! The only thing that appends: one thread decides, one commits, and whoever asked is answered after that.
//! Never answers before what it says is durable and in the read models, refusals included.
//!
//! ```text
//! handlers --queue--> decide (rules, in memory, ahead of the disk) --groups--> commit (log, read models, answers)
//! ```
//! While one group is being committed the next one is decided: the sync hides behind the work.
//! An append that failed, or of which nothing is known, stops writing for good. Reads go on at the last
//! acknowledged size; a restart finds out what is on disk.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc as channel;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock, RwLockReadGuard};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use mentorlog_events::entry::{Actor, CommandStamp, ENVELOPE, Entry, Envelope, Facts, Principal};
use mentorlog_events::event::Event;
use mentorlog_events::event::registry::{RegistryEvent, RegistryOpened};
use mentorlog_events::id::{
    B64, CommandId, EventId, InstallationId, LedgerId, ParticipantId, ProgramId, Slug,
};
use mentorlog_events::record::{Hash, Record};
use mentorlog_events::time::{Timestamp, Zone};
use mentorlog_projections::read_models::ReadModels;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::sync::{mpsc, oneshot, watch};
use uuid::Uuid;

use crate::clock::Clock;
use crate::keys::{Keys, LedgerSecret};
use crate::ledger::merkle::Tree;
use crate::ledger::{Append, Log};
use crate::rules::command::{Command, ExpireProposal, OpenProgram};
use crate::rules::registry::{Opening, RegistryState, decide_open};
use crate::rules::state::State;
use crate::rules::{Context, Ids, decide};

mod commit;
pub mod known;
pub mod receipt;
pub mod replay;
pub mod vitals;

use known::Known;
use receipt::{Appended, Receipt, Refusal, receipt};
use replay::{ReplayError, Replayed, replay};
use vitals::Vitals;

/// Most submissions that wait for the writer; one more is refused as busy. A batch counts once.
pub const QUEUE_MAX: usize = 4096;

/// A group is handed over at the latest when it holds this many entries, or a single command more.
const GROUP_ENTRIES_MAX: usize = 16_384;

/// Signing keys start with this number.
const FIRST_KEY: u32 = 1;

/// Who speaks, and for whom.
#[derive(Debug, Clone)]
pub struct Caller {
    /// Who acts.
    pub actor: Actor,
    /// For whom a manager acts.
    pub on_behalf_of: Option<ParticipantId>,
    /// Through which service.
    pub principal: Principal,
    /// The caller's thread of work.
    pub correlation: Option<Uuid>,
}

/// What stands for an idempotency key and what it was used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Idempotency {
    /// HMAC of principal and key.
    pub key: B64<16>,
    /// HMAC of command and body.
    pub fp: B64<16>,
}

/// A command on its way to the writer. Labels of an import have been resolved.
#[derive(Debug)]
pub struct Submission {
    /// What is asked for.
    pub command: Command,
    /// Who asks.
    pub caller: Caller,
    /// The version its subject must still have.
    pub expected_version: Option<u64>,
    /// How it is recognised when it comes again.
    pub idempotency: Option<Idempotency>,
}

/// The answer to one command.
pub type Answer = Result<Receipt, Refusal>;

/// The answer to opening a program: which one it is, and the receipt of its entry 0.
pub type OpenAnswer = Result<(ProgramId, Receipt), Refusal>;

enum Message {
    One(ProgramId, Submission, Instant, oneshot::Sender<Answer>),
    Batch(ProgramId, Vec<Submission>, bool, Instant, oneshot::Sender<Vec<Answer>>),
    Open(OpenProgram, Caller, Option<Idempotency>, oneshot::Sender<OpenAnswer>),
    /// Time has passed: proposals may have expired.
    Tick,
    /// A group was committed.
    Committed,
}

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
    view: RwLock<View>,
    tree: Mutex<Tree>,
    grown: watch::Sender<u64>,
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
    pub fn root_at(&self, log: &dyn Log, size: u64) -> Result<Option<Hash>, crate::ledger::ReadError> {
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

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[derive(Default)]
struct Directory {
    by_slug: BTreeMap<Slug, Arc<Program>>,
    by_id: HashMap<ProgramId, Arc<Program>>,
}

impl Directory {
    fn add(&mut self, program: &Arc<Program>) {
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
    directory: RwLock<Directory>,
    registry: Mutex<Head>,
    stopped: OnceLock<String>,
    waiting: AtomicUsize,
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

    fn stop(&self, why: &str) {
        if self.stopped.set(why.to_owned()).is_ok() {
            tracing::error!(why, "writing has stopped; reads go on; restart to write again");
        }
    }

    fn stopped_refusal(&self) -> Refusal {
        Refusal::Stopped(self.stopped().unwrap_or("the writer is gone").to_owned())
    }

    /// A submission was taken, and whoever had it is gone: it may be on disk.
    fn unanswered(&self) -> Refusal {
        Refusal::Unknown(self.stopped().unwrap_or("the writer is gone").to_owned())
    }

    fn add(&self, program: &Arc<Program>) {
        self.directory.write().unwrap_or_else(PoisonError::into_inner).add(program);
    }
}

/// The history could not be taken up. Nothing was appended.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The history cannot be read.
    #[error(transparent)]
    Replay(#[from] ReplayError),
    /// The registry could not be written.
    #[error("the registry could not be written: {0}")]
    Append(String),
}

/// The way in: hands submissions to the writer and waits for its answers. Cheap to clone.
#[derive(Clone)]
pub struct Writer {
    queue: mpsc::Sender<Message>,
    published: Arc<Published>,
}

/// The writer's threads. Ends when every [`Writer`] is dropped and what waits has been answered.
pub struct Running {
    decider: JoinHandle<()>,
    committer: JoinHandle<()>,
}

impl Running {
    /// Waits until the writer has answered everything and stopped.
    pub fn join(self) {
        // A panic of either has stopped writing and has been logged where it happened.
        let _ = self.decider.join();
        let _ = self.committer.join();
    }
}

impl Writer {
    /// Rebuilds everything from the log and starts the writer.
    ///
    /// `trees` are the Merkle trees of the ledgers as the log verified them when it was opened.
    pub fn start(
        log: &Arc<dyn Log>,
        mut trees: BTreeMap<LedgerId, Tree>,
        keys: Keys,
        clock: Clock,
    ) -> Result<(Self, Running), StartError> {
        let begun = Instant::now();
        let vitals = Vitals::default();
        let mut rng = seeded();
        let registry_tree = trees.remove(&LedgerId::REGISTRY).unwrap_or_default();
        let mut replayed = registry_tree.size();
        let mut registry = RegistryState::new();
        let mut registry_known = Known::default();
        let mut openings = HashMap::new();
        let mut installation = None;
        let mut newest = Timestamp::MIN;
        replay::<RegistryEvent>(
            &**log,
            LedgerId::REGISTRY,
            0..registry_tree.size(),
            false,
            |Replayed { entry, .. }| {
                if let RegistryEvent::RegistryOpened(opened) = &entry.event {
                    installation = Some(opened.installation);
                }
                newest = newest.max(entry.recorded_at);
                match &entry.event {
                    RegistryEvent::ProgramOpening(opening) => {
                        openings.insert(opening.program, (entry.command, entry.seq));
                    }
                    RegistryEvent::OpeningAbandoned(abandoned) => {
                        openings.remove(&abandoned.program);
                    }
                    _ => remember(&mut registry_known, entry.command, entry.seq),
                }
                registry.apply(&entry).map_err(|error| contradiction(LedgerId::REGISTRY, entry.seq, &error))
            },
        )?;
        let registry_recorded = newest;
        let mut ledgers = HashMap::new();
        let mut directory = Directory::default();
        let unfinished = registry.unfinished().map(|unfinished| unfinished.program);
        let every: Vec<ProgramId> =
            registry.programs().map(|(program, _)| program).chain(unfinished).collect();
        for program in every {
            let Some(tree) = trees.remove(&program.into()).filter(|tree| tree.size() > 0) else {
                if registry.slug(program).is_some() {
                    let what = "the registry says that this ledger was opened, and it is not there";
                    return Err(contradiction(program.into(), 0, &what).into());
                }
                continue;
            };
            replayed += tree.size();
            let ledger = Ledger::rebuild(&**log, program, tree, &keys)?;
            newest = newest.max(ledger.last_recorded);
            directory.add(&ledger.program);
            ledgers.insert(program, ledger);
        }
        // The key of an opening that came to nothing is as if it had never been used.
        for (_, (command, seq)) in openings.into_iter().filter(|(id, _)| ledgers.contains_key(id)) {
            remember(&mut registry_known, command, seq);
        }
        if let Some(stray) = trees.keys().next() {
            return Err(contradiction(*stray, 0, &"the registry does not know this ledger").into());
        }
        clock.log_ends_at(newest);
        let mut first_append = None;
        let installation = installation.unwrap_or_else(|| {
            let id = InstallationId(uuid::Builder::from_random_bytes(rng.random_bytes()).into_uuid());
            first_append = Some(id);
            id
        });
        vitals.replayed.store(replayed, Ordering::Relaxed);
        let micros = u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX);
        vitals.replay_micros.store(micros, Ordering::Relaxed);
        let head = Head { size: registry_tree.size(), root: registry_tree.root() };
        let published = Arc::new(Published {
            log: log.clone(),
            clock,
            vitals,
            installation,
            directory: RwLock::new(directory),
            registry: Mutex::new(head),
            stopped: OnceLock::new(),
            waiting: AtomicUsize::new(0),
        });
        let (queue, inbox) = mpsc::channel(QUEUE_MAX);
        let (groups, handed_over) = channel::channel();
        let mut decider = Decider {
            published: published.clone(),
            keys,
            rng,
            registry: Registry {
                state: registry,
                known: registry_known,
                last_recorded: registry_recorded,
                tree: registry_tree,
                pending: VecDeque::new(),
            },
            ledgers,
            open: Group::default(),
            groups,
            in_flight: Arc::new(AtomicUsize::new(0)),
        };
        if let Some(id) = first_append {
            decider.open_registry(id);
        }
        decider.resume_openings();
        let in_flight = decider.in_flight.clone();
        let wake = queue.downgrade();
        let deciding = spawn("decide", &published, move || decider.run(inbox));
        let committer = commit::Committer {
            published: published.clone(),
            groups: handed_over,
            in_flight,
            wake,
            decider: deciding.thread().clone(),
        };
        let committing = spawn("commit", &published, move || committer.run());
        let running = Running { decider: deciding, committer: committing };
        Ok((Self { queue, published }, running))
    }

    /// What readers see.
    pub fn published(&self) -> &Arc<Published> {
        &self.published
    }

    /// Submits a command and waits for its answer, which is given after what it says is durable.
    ///
    /// Dropping the future does not take the command back.
    pub async fn submit(&self, program: ProgramId, submission: Submission) -> Answer {
        let (answer, answered) = oneshot::channel();
        self.send(Message::One(program, submission, Instant::now(), answer))?;
        answered.await.unwrap_or_else(|_| Err(self.published.unanswered()))
    }

    /// Submits several commands of one program. With `atomic` all are done or none.
    ///
    /// One answer per command, in order. All of them are committed in one group.
    pub async fn submit_batch(
        &self,
        program: ProgramId,
        submissions: Vec<Submission>,
        atomic: bool,
    ) -> Result<Vec<Answer>, Refusal> {
        let (answer, answered) = oneshot::channel();
        self.send(Message::Batch(program, submissions, atomic, Instant::now(), answer))?;
        answered.await.map_err(|_| self.published.unanswered())
    }

    /// Opens a program: an intent in the registry, entry 0 of its ledger, a completion in the registry.
    pub async fn open_program(
        &self,
        program: OpenProgram,
        caller: Caller,
        idempotency: Option<Idempotency>,
    ) -> OpenAnswer {
        let (answer, answered) = oneshot::channel();
        self.send(Message::Open(program, caller, idempotency, answer))?;
        answered.await.unwrap_or_else(|_| Err(self.published.unanswered()))
    }

    /// Lets the writer record what passing time alone has brought about: expired proposals.
    pub fn tick(&self) {
        // A full queue means that the writer is busy; the next tick will do.
        let _ = self.send(Message::Tick);
    }

    fn send(&self, message: Message) -> Result<(), Refusal> {
        if self.published.stopped().is_some() {
            return Err(self.published.stopped_refusal());
        }
        self.published.waiting.fetch_add(1, Ordering::Relaxed);
        self.queue.try_send(message).map_err(|error| {
            self.published.waiting.fetch_sub(1, Ordering::Relaxed);
            match error {
                mpsc::error::TrySendError::Full(_) => Refusal::Busy,
                mpsc::error::TrySendError::Closed(_) => self.published.stopped_refusal(),
            }
        })
    }
}

/// Starts a thread whose panic stops writing.
fn spawn(name: &str, published: &Arc<Published>, body: impl FnOnce() + Send + 'static) -> JoinHandle<()> {
    struct StopOnPanic(Arc<Published>, String);
    impl Drop for StopOnPanic {
        fn drop(&mut self) {
            if thread::panicking() {
                self.0.stop(&format!("the thread `{}` panicked", self.1));
            }
        }
    }
    let guard = StopOnPanic(published.clone(), name.to_owned());
    thread::Builder::new()
        .name(name.to_owned())
        .spawn(move || {
            let _guard = guard;
            body();
        })
        .expect("the operating system starts two threads")
}

fn seeded() -> StdRng {
    let mut seed = <StdRng as SeedableRng>::Seed::default();
    getrandom::fill(&mut seed).expect("the operating system has randomness");
    StdRng::from_seed(seed)
}

trait RandomBytes {
    fn random_bytes<const N: usize>(&mut self) -> [u8; N];
}

impl RandomBytes for StdRng {
    fn random_bytes<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        self.fill_bytes(&mut bytes);
        bytes
    }
}

/// A `UUIDv7` (RFC 9562 section 5.7): it sorts by the time it was made.
fn version_7(at: Timestamp, rng: &mut StdRng) -> Uuid {
    let millis = u64::try_from(at.as_micros().max(0) / 1000).expect("not negative");
    uuid::Builder::from_unix_timestamp_millis(millis, &rng.random_bytes()).into_uuid()
}

fn contradiction(ledger: LedgerId, seq: u64, error: &dyn std::fmt::Display) -> ReplayError {
    ReplayError::Contradiction { ledger, seq, what: error.to_string() }
}

fn remember(known: &mut Known, command: CommandStamp, seq: u64) {
    if let Some(key) = command.key {
        known.insert(&key.0, seq);
    }
}

/// A key whose command is decided but perhaps not durable yet.
struct Pending {
    seq: u64,
    idempotency: Idempotency,
}

/// The decision state of one program: ahead of what is durable by at most the groups in flight.
struct Ledger {
    program: Arc<Program>,
    state: State,
    known: Known,
    size: u64,
    last_recorded: Timestamp,
    pending: VecDeque<Pending>,
    /// Keys of an atomic batch under way: known only once all of it is accepted.
    held: Option<Vec<([u8; 16], u64)>>,
}

impl Ledger {
    fn mark(&mut self) -> Mark {
        self.held = Some(Vec::new());
        Mark {
            state: self.state.mark(),
            size: self.size,
            last_recorded: self.last_recorded,
            tree: lock(&self.program.tree).clone(),
            pending: self.pending.len(),
        }
    }

    fn keep(&mut self) {
        self.state.keep();
        for (key, seq) in self.held.take().unwrap_or_default() {
            self.known.insert(&key, seq);
        }
    }

    fn take_back(&mut self, mark: Mark) {
        self.state.take_back(mark.state);
        self.size = mark.size;
        self.last_recorded = mark.last_recorded;
        *lock(&self.program.tree) = mark.tree;
        self.pending.truncate(mark.pending);
        self.held = None;
    }

    fn rebuild(log: &dyn Log, program: ProgramId, tree: Tree, keys: &Keys) -> Result<Self, ReplayError> {
        let id = LedgerId::from(program);
        let mut state = State::new();
        let mut models = ReadModels::new();
        let mut known = Known::default();
        let mut last_command = None;
        let mut last_recorded = Timestamp::MIN;
        let mut slug = None;
        replay::<Event>(log, id, 0..tree.size(), false, |Replayed { entry, .. }| {
            if let Event::ProgramOpened(opened) = &entry.event {
                slug = Some(opened.slug.clone());
            }
            // Only the first entry of a command is where it begins.
            if last_command != Some(entry.command.id) {
                remember(&mut known, entry.command, entry.seq);
                last_command = Some(entry.command.id);
            }
            last_recorded = entry.recorded_at;
            state.apply(&entry).map_err(|error| contradiction(id, entry.seq, &error))?;
            models.apply(&entry);
            Ok(())
        })?;
        let slug = slug.ok_or_else(|| contradiction(id, 0, &"entry 0 does not open a program"))?;
        let (size, root) = (tree.size(), tree.root());
        let program = Arc::new(Program {
            id: program,
            slug,
            secret: keys.of_ledger(id),
            view: RwLock::new(View { models, size, root }),
            tree: Mutex::new(tree),
            grown: watch::Sender::new(size),
        });
        Ok(Self { program, state, known, size, last_recorded, pending: VecDeque::new(), held: None })
    }

    /// Where the command with this key begins, if it has been accepted before.
    fn seen(&mut self, log: &dyn Log, idempotency: Idempotency) -> Result<Option<u64>, Refusal> {
        let durable = self.program.size();
        // During an atomic batch its own keys have to stay countable from the front.
        while self.held.is_none() && self.pending.front().is_some_and(|pending| pending.seq < durable) {
            self.pending.pop_front();
        }
        let pending = |seq| self.pending.iter().find(|pending| pending.seq == seq).map(|p| p.idempotency);
        seen(&self.known, log, self.program.id.into(), idempotency, pending)
    }
}

fn seen(
    known: &Known,
    log: &dyn Log,
    ledger: LedgerId,
    idempotency: Idempotency,
    pending: impl Fn(u64) -> Option<Idempotency>,
) -> Result<Option<u64>, Refusal> {
    for seq in known.find(&idempotency.key.0) {
        // 64 bits of the key agree: the entry says whether the rest does.
        let (key, fp) = if let Some(pending) = pending(seq) {
            (Some(pending.key), Some(pending.fp))
        } else {
            let unreadable = |error: &dyn std::fmt::Display| Refusal::Unreadable(error.to_string());
            let records = log.read(ledger, seq, 1).map_err(|error| unreadable(&error))?;
            let record = records.first().ok_or_else(|| unreadable(&"the entry is missing"))?;
            let envelope = Envelope::parse(record.bytes()).map_err(|error| unreadable(&error))?;
            (envelope.command.key, envelope.command.fp)
        };
        if key == Some(idempotency.key) {
            return if fp == Some(idempotency.fp) { Ok(Some(seq)) } else { Err(Refusal::KeyReused) };
        }
    }
    Ok(None)
}

struct Registry {
    state: RegistryState,
    known: Known,
    last_recorded: Timestamp,
    tree: Tree,
    pending: VecDeque<Pending>,
}

/// What the committer finds out for an answer.
enum Found {
    Ready(Answer),
    /// The answer to the command that begins there.
    Again(Arc<Program>, u64),
}

enum Reply {
    One(Found, Instant, oneshot::Sender<Answer>),
    Batch(Vec<Found>, Instant, oneshot::Sender<Vec<Answer>>),
    Open(Result<(Arc<Program>, Found), Refusal>, oneshot::Sender<OpenAnswer>),
}

/// Entries of one ledger to publish once they are durable.
enum Fold {
    Program { program: Arc<Program>, entries: Vec<Entry<Event>>, is_new: bool },
    Registry,
}

struct Part {
    append: Append,
    fold: Fold,
}

/// What is committed together.
#[derive(Default)]
struct Group {
    parts: Vec<Part>,
    index: HashMap<LedgerId, usize>,
    replies: Vec<Reply>,
    entries: usize,
    bytes: usize,
}

impl Group {
    fn is_empty(&self) -> bool {
        self.parts.is_empty() && self.replies.is_empty()
    }

    /// Takes another group of later decisions in.
    fn absorb(&mut self, later: Self) {
        for part in later.parts {
            let Part { append, fold } = part;
            match self.index.get(&append.ledger) {
                None => {
                    self.index.insert(append.ledger, self.parts.len());
                    self.parts.push(Part { append, fold });
                }
                Some(&index) => {
                    let mine = &mut self.parts[index];
                    mine.append.records.extend(append.records);
                    mine.append.root = append.root;
                    if let (Fold::Program { entries, .. }, Fold::Program { entries: later, .. }) =
                        (&mut mine.fold, fold)
                    {
                        entries.extend(later);
                    }
                }
            }
        }
        self.replies.extend(later.replies);
        self.entries += later.entries;
        self.bytes += later.bytes;
    }

    fn push(&mut self, ledger: LedgerId, seq: u64, fold: impl FnOnce() -> Fold) -> &mut Part {
        let parts = &mut self.parts;
        let index = *self.index.entry(ledger).or_insert_with(|| {
            let append = Append { ledger, expected_size: seq, records: Vec::new(), root: [0; 32] };
            parts.push(Part { append, fold: fold() });
            parts.len() - 1
        });
        &mut self.parts[index]
    }
}

/// Decides, in the order of arrival, ahead of the disk.
struct Decider {
    published: Arc<Published>,
    keys: Keys,
    rng: StdRng,
    registry: Registry,
    ledgers: HashMap<ProgramId, Ledger>,
    open: Group,
    groups: channel::Sender<Group>,
    in_flight: Arc<AtomicUsize>,
}

impl Decider {
    fn run(mut self, mut inbox: mpsc::Receiver<Message>) {
        while let Some(message) = inbox.blocking_recv() {
            self.take(message);
            while let Ok(message) = inbox.try_recv() {
                self.take(message);
                if self.open.entries >= GROUP_ENTRIES_MAX {
                    // Back-pressure: the queue fills while the disk catches up.
                    while self.in_flight.load(Ordering::Acquire) > 0 {
                        thread::park();
                    }
                    self.hand_over();
                }
            }
            if self.in_flight.load(Ordering::Acquire) == 0 {
                self.hand_over();
            }
        }
        self.hand_over();
    }

    fn hand_over(&mut self) {
        if !self.open.is_empty() {
            let group = std::mem::take(&mut self.open);
            self.in_flight.fetch_add(1, Ordering::AcqRel);
            // The committer ends only after this thread.
            let _ = self.groups.send(group);
        }
    }

    fn take(&mut self, message: Message) {
        if !matches!(message, Message::Committed) {
            self.published.waiting.fetch_sub(1, Ordering::Relaxed);
        }
        match message {
            Message::Committed => {}
            Message::One(program, submission, since, answer) => {
                let found = self.consider(program, &submission);
                self.open.replies.push(Reply::One(found, since, answer));
            }
            Message::Batch(program, submissions, atomic, since, answer) => {
                let found = if atomic {
                    self.consider_atomic(program, submissions)
                } else {
                    submissions.iter().map(|submission| self.consider(program, submission)).collect()
                };
                self.open.replies.push(Reply::Batch(found, since, answer));
            }
            Message::Open(program, caller, idempotency, answer) => {
                let found = self.consider_opening(&program, &caller, idempotency);
                self.open.replies.push(Reply::Open(found, answer));
            }
            Message::Tick => self.expire_proposals(),
        }
    }

    fn consider(&mut self, program: ProgramId, submission: &Submission) -> Found {
        self.accept(program, submission).unwrap_or_else(|refusal| Found::Ready(Err(refusal)))
    }

    fn accept(&mut self, program: ProgramId, submission: &Submission) -> Result<Found, Refusal> {
        if self.published.stopped().is_some() {
            return Err(self.published.stopped_refusal());
        }
        let ledger = self.ledgers.get_mut(&program).ok_or(Refusal::NoSuchProgram)?;
        if let Some(idempotency) = submission.idempotency
            && let Some(seq) = ledger.seen(&*self.published.log, idempotency)?
        {
            return Ok(Found::Again(ledger.program.clone(), seq));
        }
        let now = self.published.clock.to_record()?.max(ledger.last_recorded);
        let context = Context {
            now,
            actor: submission.caller.actor,
            on_behalf_of: submission.caller.on_behalf_of,
            expected_version: submission.expected_version,
            ids: Ids::new(u128::from_be_bytes(self.rng.random_bytes())),
        };
        let decision = decide(&ledger.state, &submission.command, &context)?;
        let command = CommandId(version_7(now, &mut self.rng));
        let stamp = CommandStamp {
            id: command,
            key: submission.idempotency.map(|i| i.key),
            fp: submission.idempotency.map(|i| i.fp),
        };
        // Everything that can fail comes before the first change.
        let day = ledger.state.zone().unwrap_or(Zone::UTC).day(now);
        let mut entries: Vec<Entry<Event>> = Vec::with_capacity(decision.events.len());
        let mut records = Vec::with_capacity(decision.events.len());
        for (decided, seq) in decision.events.into_iter().zip(ledger.size..) {
            let entry = Entry {
                seq,
                id: EventId(version_7(now, &mut self.rng)),
                recorded_at: now,
                day,
                actor: submission.caller.actor,
                on_behalf_of: submission.caller.on_behalf_of,
                principal: submission.caller.principal.clone(),
                command: stamp,
                correlation: submission.caller.correlation,
                causation: decided.because.map(|index| entries[index].id),
                event: decided.event,
                sealed: Vec::new(),
            };
            records.push(entry.seal().map_err(|too_long| Refusal::EntryTooLong { bytes: too_long.0 })?);
            entries.push(entry);
        }
        let first = ledger.size;
        let root = {
            let mut tree = lock(&ledger.program.tree);
            for record in &records {
                tree.push(record.leaf_hash());
            }
            tree.root()
        };
        for entry in &entries {
            // The rules decided it on this very state: if it does not fit, neither can be trusted.
            ledger.state.apply(entry).expect("what the rules decide fits the state they decided on");
        }
        ledger.size += entries.len() as u64;
        ledger.last_recorded = now;
        if let Some(idempotency) = submission.idempotency {
            match &mut ledger.held {
                Some(held) => held.push((idempotency.key.0, first)),
                None => ledger.known.insert(&idempotency.key.0, first),
            }
            ledger.pending.push_back(Pending { seq: first, idempotency });
        }
        let appended = entries.iter().map(|entry| {
            (Appended { seq: entry.seq, id: entry.id, name: entry.event.shape().name }, &entry.event)
        });
        let receipt =
            receipt(program, command, appended, root, false).expect("a decision has at least one event");
        let fold = || Fold::Program { program: ledger.program.clone(), entries: Vec::new(), is_new: false };
        self.open.entries += entries.len();
        self.open.bytes += records.iter().map(|record| record.bytes().len()).sum::<usize>();
        let part = self.open.push(program.into(), first, fold);
        part.append.records.append(&mut records);
        part.append.root = root;
        if let Fold::Program { entries: folded, .. } = &mut part.fold {
            folded.append(&mut entries);
        }
        Ok(Found::Ready(Ok(receipt)))
    }

    /// All or none: what the items before a refused one did is taken back.
    fn consider_atomic(&mut self, program: ProgramId, submissions: Vec<Submission>) -> Vec<Found> {
        let count = submissions.len();
        let Some(ledger) = self.ledgers.get_mut(&program) else {
            return (0..count).map(|_| Found::Ready(Err(Refusal::NoSuchProgram))).collect();
        };
        // The group before goes its own way: what is taken back must not be in it.
        let before = std::mem::take(&mut self.open);
        let ledger_before = ledger.mark();
        let mut found = Vec::with_capacity(count);
        for submission in submissions {
            match self.accept(program, &submission) {
                Ok(accepted) => found.push(accepted),
                Err(refusal) => {
                    let index = found.len();
                    let ledger = self.ledgers.get_mut(&program).expect("it was there before the batch");
                    ledger.take_back(ledger_before);
                    self.open = before;
                    let not_done = |_| Found::Ready(Err(Refusal::NotDone { index }));
                    let mut answers: Vec<Found> = (0..count).map(not_done).collect();
                    answers[index] = Found::Ready(Err(refusal));
                    return answers;
                }
            }
        }
        let ledger = self.ledgers.get_mut(&program).expect("it was there before the batch");
        ledger.keep();
        let batch = std::mem::replace(&mut self.open, before);
        self.open.absorb(batch);
        found
    }

    fn expire_proposals(&mut self) {
        let Ok(now) = self.published.clock.to_record() else { return };
        let due: Vec<_> = self
            .ledgers
            .iter()
            .flat_map(|(program, ledger)| ledger.state.due_expiries(now).map(|pair| (*program, pair)))
            .collect();
        for (program, pair) in due {
            let submission = Submission {
                command: ExpireProposal { pair }.into(),
                caller: system(),
                expected_version: None,
                idempotency: None,
            };
            if let Err(refusal) = self.accept(program, &submission) {
                tracing::warn!(%program, %pair, %refusal, "a proposal was due and could not be recorded as expired");
            }
        }
    }

    /// The registry's entry 0.
    fn open_registry(&mut self, installation: InstallationId) {
        let origin = format!("{installation}/registry/1");
        let public_key = self.keys.public_key(&origin, FIRST_KEY);
        let opened =
            RegistryOpened { installation, origin, envelope: ENVELOPE, key_number: FIRST_KEY, public_key };
        let now = self.published.clock.now();
        self.register(opened.into(), &system(), None, now);
        self.hand_over();
    }

    /// Takes up every opening that began before the last stop: completed if entry 0 is there, else abandoned.
    fn resume_openings(&mut self) {
        let mut resumed: Vec<RegistryEvent> = Vec::new();
        for unfinished in self.registry.state.unfinished() {
            if self.ledgers.contains_key(&unfinished.program) {
                let public_key = self.keys.public_key(unfinished.origin, FIRST_KEY);
                resumed.push(unfinished.complete(FIRST_KEY, public_key).into());
            } else {
                resumed.push(unfinished.abandon().into());
            }
        }
        for event in resumed {
            tracing::info!(?event, "an opening that was under way at the last stop is finished");
            let now = self.published.clock.now();
            self.register(event, &system(), None, now);
        }
        self.hand_over();
    }

    /// Puts one event into the registry, in the open group, and returns the command it belongs to.
    fn register(
        &mut self,
        event: RegistryEvent,
        caller: &Caller,
        idempotency: Option<Idempotency>,
        now: Timestamp,
    ) -> CommandId {
        let registry = &mut self.registry;
        let now = now.max(registry.last_recorded);
        let seq = registry.tree.size();
        let command = CommandId(version_7(now, &mut self.rng));
        let entry = Entry {
            seq,
            id: EventId(version_7(now, &mut self.rng)),
            recorded_at: now,
            day: Zone::UTC.day(now),
            actor: caller.actor,
            on_behalf_of: None,
            principal: caller.principal.clone(),
            command: CommandStamp {
                id: command,
                key: idempotency.map(|i| i.key),
                fp: idempotency.map(|i| i.fp),
            },
            correlation: caller.correlation,
            causation: None,
            event,
            sealed: Vec::new(),
        };
        let record = entry.seal().expect("the registry's facts are short");
        registry.tree.push(record.leaf_hash());
        registry.state.apply(&entry).expect("what was decided fits the state it was decided on");
        registry.last_recorded = now;
        if let Some(idempotency) = idempotency {
            registry.known.insert(&idempotency.key.0, seq);
            registry.pending.push_back(Pending { seq, idempotency });
        }
        self.open.entries += 1;
        self.open.bytes += record.bytes().len();
        let root = registry.tree.root();
        let part = self.open.push(LedgerId::REGISTRY, seq, || Fold::Registry);
        part.append.records.push(record);
        part.append.root = root;
        command
    }

    fn consider_opening(
        &mut self,
        command: &OpenProgram,
        caller: &Caller,
        idempotency: Option<Idempotency>,
    ) -> Result<(Arc<Program>, Found), Refusal> {
        if self.published.stopped().is_some() {
            return Err(self.published.stopped_refusal());
        }
        if let Some(idempotency) = idempotency
            && let Some(seq) = self.opening_seen(idempotency)?
        {
            let program = self.opened_at(seq)?;
            return Ok((program.clone(), Found::Again(program, 0)));
        }
        let now = self.published.clock.to_record()?;
        let context = Context {
            now,
            actor: caller.actor,
            on_behalf_of: caller.on_behalf_of,
            expected_version: None,
            ids: Ids::new(u128::from_be_bytes(self.rng.random_bytes())),
        };
        let opening = decide_open(&self.registry.state, command, &context)?;
        // Three groups, committed in this order: nothing is atomic across ledgers, and a later one is not tried
        // when an earlier one failed.
        self.hand_over();
        let completed = opening.completed(FIRST_KEY, self.keys.public_key(&opening.intent.origin, FIRST_KEY));
        let id = self.register(opening.intent.clone().into(), caller, idempotency, now);
        self.hand_over();
        let (program, receipt) = self.first_entry(opening, id, caller, idempotency, now)?;
        self.hand_over();
        self.register(completed.into(), caller, None, now);
        Ok((program, Found::Ready(Ok(receipt))))
    }

    fn opening_seen(&mut self, idempotency: Idempotency) -> Result<Option<u64>, Refusal> {
        let durable = self.published.registry().size;
        let pending = &mut self.registry.pending;
        while pending.front().is_some_and(|pending| pending.seq < durable) {
            pending.pop_front();
        }
        let pending = |seq| self.registry.pending.iter().find(|p| p.seq == seq).map(|p| p.idempotency);
        seen(&self.registry.known, &*self.published.log, LedgerId::REGISTRY, idempotency, pending)
    }

    /// The program whose opening begins at this entry of the registry.
    fn opened_at(&self, seq: u64) -> Result<Arc<Program>, Refusal> {
        let unreadable = |error: &dyn std::fmt::Display| Refusal::Unreadable(error.to_string());
        // A repeated opening may still be on its way to the disk: there it is in memory only.
        if seq >= self.published.registry().size {
            return Err(Refusal::Busy);
        }
        let records =
            self.published.log.read(LedgerId::REGISTRY, seq, 1).map_err(|error| unreadable(&error))?;
        let record = records.first().ok_or_else(|| unreadable(&"the entry is missing"))?;
        let entry = Entry::<RegistryEvent>::parse(record.bytes()).map_err(|error| unreadable(&error))?;
        match entry.event {
            RegistryEvent::ProgramOpening(opening) => match self.ledgers.get(&opening.program) {
                Some(ledger) => Ok(ledger.program.clone()),
                // It came to nothing in this very process, which then writes no more.
                None => Err(self.published.stopped_refusal()),
            },
            _ => Err(Refusal::KeyReused),
        }
    }

    /// Entry 0 of a new program's ledger, in the open group.
    fn first_entry(
        &mut self,
        opening: Opening,
        command: CommandId,
        caller: &Caller,
        idempotency: Option<Idempotency>,
        now: Timestamp,
    ) -> Result<(Arc<Program>, Receipt), Refusal> {
        let id = LedgerId::from(opening.program);
        let slug = opening.first.slug.clone();
        let entry = Entry {
            seq: 0,
            id: EventId(version_7(now, &mut self.rng)),
            recorded_at: now,
            day: opening.first.time_zone.day(now),
            actor: caller.actor,
            on_behalf_of: None,
            principal: caller.principal.clone(),
            command: CommandStamp {
                id: command,
                key: idempotency.map(|i| i.key),
                fp: idempotency.map(|i| i.fp),
            },
            correlation: caller.correlation,
            causation: None,
            event: Event::from(opening.first),
            sealed: Vec::new(),
        };
        let record = entry.seal().map_err(|too_long| Refusal::EntryTooLong { bytes: too_long.0 })?;
        let mut tree = Tree::new();
        tree.push(record.leaf_hash());
        let root = tree.root();
        let mut state = State::new();
        state.apply(&entry).expect("entry 0 fits an empty ledger");
        let program = Arc::new(Program {
            id: opening.program,
            slug,
            secret: self.keys.of_ledger(id),
            view: RwLock::new(View { models: ReadModels::new(), size: 0, root: Tree::new().root() }),
            tree: Mutex::new(tree),
            grown: watch::Sender::new(0),
        });
        let mut known = Known::default();
        let mut pending = VecDeque::new();
        if let Some(idempotency) = idempotency {
            known.insert(&idempotency.key.0, 0);
            pending.push_back(Pending { seq: 0, idempotency });
        }
        let ledger = Ledger {
            program: program.clone(),
            state,
            known,
            size: 1,
            last_recorded: now,
            pending,
            held: None,
        };
        self.ledgers.insert(opening.program, ledger);
        let appended = Appended { seq: 0, id: entry.id, name: entry.event.shape().name };
        let receipt = receipt(opening.program, command, [(appended, &entry.event)], root, false)
            .expect("there is one event");
        self.open.entries += 1;
        self.open.bytes += record.bytes().len();
        let fold = || Fold::Program { program: program.clone(), entries: vec![entry], is_new: true };
        let part = self.open.push(id, 0, fold);
        part.append.records.push(record);
        part.append.root = root;
        Ok((program, receipt))
    }
}

/// The software itself.
fn system() -> Caller {
    Caller {
        actor: Actor::System,
        on_behalf_of: None,
        principal: "mentorlog".parse().expect("a principal"),
        correlation: None,
    }
}

/// A ledger's decision state before an atomic batch.
struct Mark {
    state: crate::rules::state::Mark,
    size: u64,
    last_recorded: Timestamp,
    tree: Tree,
    pending: usize,
}
