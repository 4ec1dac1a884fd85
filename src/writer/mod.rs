//! The only thing that appends: one thread decides, one commits, and whoever asked is answered after that.
//! Never answers before what it says is durable and in the read models, refusals included.
//!
//! ```text
//! handlers --queue--> decide (rules, in memory, ahead of the disk) --groups--> commit (log, read models, answers)
//!                                                                                  `--wakes--> publish (checkpoints)
//! ```
//! While one group is being committed the next one is decided: the sync hides behind the work.
//! An append that failed, or of which nothing is known, stops writing for good. Reads go on at the last
//! acknowledged size; a restart finds out what is on disk.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc as channel;
use std::sync::{Arc, Mutex, OnceLock, RwLock};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use mentorlog_events::entry::{Actor, Principal};
use mentorlog_events::event::registry::RegistryEvent;
use mentorlog_events::id::{B64, InstallationId, LedgerId, ParticipantId, ProgramId, TokenId};
use mentorlog_events::time::Timestamp;
use tokio::sync::{mpsc, oneshot};
use uuid::Uuid;

use crate::clock::Clock;
use crate::keys::Keys;
use crate::ledger::Log;
use crate::ledger::merkle::Tree;
use crate::ledger::reports::Shelf;
use crate::people::{Erasure, People, PeopleError};
use crate::rules::command::{Command, OpenProgram};
use crate::rules::registry::RegistryState;

pub mod auditable;
pub mod erasing;
pub mod keybook;
pub mod published;
pub mod publisher;
pub mod receipt;
pub mod reports;

mod decide;
mod group;
mod ledgers;

pub mod check;
mod commit;

pub mod known;
pub mod replay;
pub mod restore;
pub mod tokens;
pub mod vitals;
pub mod witness;

use auditable::Auditable;
use decide::{Decider, RandomBytes, seeded};
use erasing::Erasable;
use group::Group;
use keybook::Keybook;
use known::Known;
use ledgers::{Ledger, Registry, contradiction, remember};
use published::{Directory, Head, Published, PublishingVitals};
use publisher::{BadMirror, Publisher, Publishing};
use receipt::{Receipt, Refusal};
use replay::{ReplayError, Replayed, replay};
use reports::{Recorded, Reports};
use vitals::Vitals;
use witness::Witness;

/// Most submissions that wait for the writer; one more is refused as busy. A batch counts once.
pub const QUEUE_MAX: usize = 4096;

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
    /// What lets them in.
    pub by: By,
}

/// What lets a caller in. It is asked once more where commands get their order: a request that was let in, and whose
/// token was revoked before its body had arrived, does nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    /// Whoever runs the software: this process, and what it does by itself.
    Operator,
    /// Being on this machine while no token was ever issued.
    Loopback,
    /// This token.
    Token(TokenId),
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

/// The answer to a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BatchAnswer {
    /// One for each command, in order. Their receipts leave the root out: one for all is enough.
    pub answers: Vec<Answer>,
    /// The ledger right after the batch.
    pub head: Head,
}

/// The answer to opening a program: which one it is, and the receipt of its entry 0.
pub type OpenAnswer = Result<(ProgramId, Receipt), Refusal>;

/// A ledger signs with this key from now on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rotated {
    /// The ledger's origin.
    pub origin: String,
    /// Number of the key.
    pub key_number: u32,
    /// The Ed25519 public key.
    pub public_key: B64<32>,
    /// It was so before; nothing was appended this time.
    pub replayed: bool,
}

/// Why a ledger signs with the key it signed with before. Nothing was appended unless it says otherwise.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RotationRefusal {
    /// The number asked for is neither that of the key nor the next one.
    #[error("the ledger signs with key {current}: ask for the next number, one more")]
    KeyNumber {
        /// Number of the key the ledger signs with.
        current: u32,
    },
    /// As any command.
    #[error(transparent)]
    Refused(#[from] Refusal),
}

/// The answer to a rotation.
pub type RotateAnswer = Result<Rotated, RotationRefusal>;

enum Message {
    One(ProgramId, Submission, Instant, oneshot::Sender<Answer>),
    Batch(ProgramId, Vec<Submission>, bool, Instant, oneshot::Sender<Result<BatchAnswer, Refusal>>),
    Open(OpenProgram, Caller, Option<Idempotency>, oneshot::Sender<OpenAnswer>),
    Rotate(LedgerId, u32, Caller, oneshot::Sender<RotateAnswer>),
    Report(reports::Step, Caller, oneshot::Sender<reports::StepAnswer>),
    MayErase(ProgramId, Arc<Submission>, oneshot::Sender<Result<Erasable, Refusal>>),
    Announce(Vec<Erasure>, Arc<Submission>, oneshot::Sender<Result<(), Refusal>>),
    Erase(Vec<Erasure>, Arc<Submission>, Instant, oneshot::Sender<Answer>),
    Record(RegistryEvent, Caller, oneshot::Sender<Result<(), Refusal>>),
    Token(tokens::TokenStep, Caller, oneshot::Sender<tokens::TokenAnswer>),
    /// Whether anything is still done here.
    Alive(oneshot::Sender<Result<(), Refusal>>),
    /// Time has passed: proposals may have expired, heads may be due.
    Tick,
    /// A group was committed.
    Committed,
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
    /// What was published and what is there contradict each other.
    #[error(transparent)]
    Mirror(#[from] BadMirror),
    /// The people store cannot be opened, or cannot be brought to what the registry says.
    #[error(transparent)]
    People(#[from] PeopleError),
}

/// The way in: hands submissions to the writer and waits for its answers. Cheap to clone.
#[derive(Clone)]
pub struct Writer {
    queue: mpsc::Sender<Message>,
    published: Arc<Published>,
}

/// The writer's threads. Ends when every [`Writer`] is dropped, what waits has been answered, and all of it is under a
/// published checkpoint.
pub struct Running {
    decider: JoinHandle<()>,
    committer: JoinHandle<()>,
    publisher: Option<JoinHandle<()>>,
}

impl Running {
    /// Waits until the writer has answered everything and stopped.
    pub fn join(self) {
        // A panic of either has stopped writing and has been logged where it happened.
        let _ = self.decider.join();
        let _ = self.committer.join();
        if let Some(publisher) = self.publisher {
            let _ = publisher.join();
        }
    }
}

impl Writer {
    /// Rebuilds everything from the log and starts the writer.
    ///
    /// What was published before must be how the log begins, else nothing is started.
    /// `trees` are the Merkle trees of the ledgers as the log verified them when it was opened.
    ///
    /// Nothing can be sealed, and nothing that is sealed can be read.
    pub fn start(
        log: &Arc<dyn Log>,
        trees: BTreeMap<LedgerId, Tree>,
        keys: Keys,
        clock: Clock,
        publishing: Publishing,
    ) -> Result<(Self, Running), StartError> {
        Self::start_sealing(log, trees, keys, clock, publishing, |_| Ok(None))
    }

    /// The same with a people store: `open` opens it, as soon as the installation it belongs to is durable; `None`
    /// where nothing can be sealed. Whoever the registry says is erased is so, and what was left of erasing them is
    /// done, when this returns.
    pub fn start_sealing(
        log: &Arc<dyn Log>,
        mut trees: BTreeMap<LedgerId, Tree>,
        keys: Keys,
        clock: Clock,
        publishing: Publishing,
        open: impl FnOnce(InstallationId) -> Result<Option<People>, PeopleError>,
    ) -> Result<(Self, Running), StartError> {
        let keys = Arc::new(keys);
        let begun = Instant::now();
        let vitals = Vitals::default();
        let mut rng = seeded();
        let registry_tree = trees.remove(&LedgerId::REGISTRY).unwrap_or_default();
        let mut replayed = registry_tree.size();
        let mut registry = RegistryState::new();
        let mut registry_known = Known::default();
        let mut keybook = Keybook::default();
        let mut recorded = Recorded::default();
        // By origin, the newest head the registry recorded: how far that ledger had come for certain.
        let (mut heads, mut head_fault) = (HashMap::new(), None);
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
                let contradicts =
                    |error: &dyn std::fmt::Display| contradiction(LedgerId::REGISTRY, entry.seq, error);
                keybook.apply(entry).map_err(|error| contradicts(&error))?;
                registry.apply(entry).map_err(|error| contradicts(&error))?;
                recorded.apply(entry);
                if let RegistryEvent::LedgerHead(head) = &entry.event {
                    heads.insert(head.origin.clone(), (head.size, head.root.0));
                }
                Ok(())
            },
        )?;
        let registry_recorded = newest;
        let mut ledgers = HashMap::new();
        let mut directory = Directory::default();
        let mut live = HashSet::new();
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
            let ledger = Ledger::rebuild(&**log, program, tree, &keys, &mut live)?;
            let head = keybook.of(program.into()).and_then(|known| heads.get(known.origin.as_str()));
            if let Some((size, root)) = head {
                let found = ledger.program.root_at(&**log, *size).map_err(ReplayError::from)?;
                if found != Some(*root) {
                    let at = ledger.size.min(*size);
                    let has = ledger.size;
                    let what =
                        format!("the registry recorded {size} entries of it, and it has {has} or other ones");
                    head_fault.get_or_insert_with(|| contradiction(program.into(), at, &what));
                }
            }
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
        let witnesses = match &publishing {
            Publishing::Off => Vec::new(),
            Publishing::Into { witnesses, .. } => {
                witnesses.iter().cloned().map(|address| Arc::new(Witness::new(address))).collect()
            }
        };
        vitals.replayed.store(replayed, Ordering::Relaxed);
        let last_append = newest.max(Timestamp::from_micros(0).unwrap_or(newest));
        vitals.last_append_micros.store(last_append.as_micros(), Ordering::Relaxed);
        let micros = u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX);
        vitals.replay_micros.store(micros, Ordering::Relaxed);
        let head = Head { size: registry_tree.size(), root: registry_tree.root() };
        let shelf = match &publishing {
            Publishing::Off => None,
            Publishing::Into { data, .. } => Some(Shelf::new(data)),
        };
        let published = Arc::new(Published {
            log: log.clone(),
            clock,
            vitals,
            installation,
            directory: RwLock::new(directory),
            registry: Arc::new(Auditable::new(LedgerId::REGISTRY, registry_tree, head)),
            keybook: RwLock::new(keybook),
            publishing: PublishingVitals::default(),
            reports: Reports::new(shelf, keys.clone(), recorded),
            tokens: RwLock::new(registry.tokens().clone()),
            witnesses,
            stopped: OnceLock::new(),
            waiting: AtomicUsize::new(0),
            footprint: Mutex::new(None),
            people: OnceLock::new(),
            erasing: tokio::sync::Mutex::new(()),
            erasures: keys.of_ledger(LedgerId::REGISTRY),
        });
        published.survey();
        let audit = Publisher::start(publishing, &published, &keys, head_fault.is_none())?;
        // After the mirror, which says more precisely what is missing; before anything is published.
        if let Some(fault) = head_fault {
            return Err(fault.into());
        }
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
                pending: VecDeque::new(),
            },
            ledgers,
            open: Group::default(),
            groups,
            in_flight: Arc::new(AtomicUsize::new(0)),
            people: None,
            erasing: BTreeSet::new(),
        };
        let mut committer = commit::Committer {
            published: published.clone(),
            groups: handed_over,
            in_flight: decider.in_flight.clone(),
            wake: queue.downgrade(),
            decider: thread::current(),
            people: None,
            publish: audit.as_ref().map(|audit| audit.waker.clone()),
        };
        if let Some(id) = first_append {
            decider.open_registry(id);
        }
        decider.resume_openings();
        decider.resume_reports();
        committer.commit_waiting();
        // Of an installation that could not be recorded nobody would know whose people they are.
        let recorded = first_append.is_none() || published.stopped().is_none();
        if recorded && let Some(people) = open(installation)? {
            let people = Arc::new(people);
            decider.people = Some(people.clone());
            committer.people = Some(people.clone());
            decider.resume_erasures(&people)?;
            committer.commit_waiting();
            if !log.is_read_only() {
                let is_erased = |program, participant| decider.is_erased(program, participant);
                let swept = people.sweep(|row| live.contains(row), is_erased)?;
                if swept > 0 {
                    tracing::info!(swept, "sealed data to which nothing in the log commits is removed");
                }
            }
            if people.tidy()? {
                tracing::info!("sealed data that was removed is destroyed: its file is written anew");
            }
            let _ = published.people.set(people);
        }
        let deciding = spawn("decide", &published, move || decider.run(inbox));
        committer.decider = deciding.thread().clone();
        let committing = spawn("commit", &published, move || committer.run());
        let running =
            Running { decider: deciding, committer: committing, publisher: audit.map(|audit| audit.thread) };
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
        if matches!(submission.command, Command::ErasePerson(_)) && self.published.people().is_some() {
            return self.erase_person(program, submission).await;
        }
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
    ) -> Result<BatchAnswer, Refusal> {
        let (answer, answered) = oneshot::channel();
        self.send(Message::Batch(program, submissions, atomic, Instant::now(), answer))?;
        answered.await.unwrap_or_else(|_| Err(self.published.unanswered()))
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

    /// Lets a ledger, of a program or the registry's, sign with its next key, whose number is `key_number`.
    pub async fn rotate_key(&self, ledger: LedgerId, key_number: u32, caller: Caller) -> RotateAnswer {
        let (answer, answered) = oneshot::channel();
        self.send(Message::Rotate(ledger, key_number, caller, answer))?;
        answered.await.unwrap_or_else(|_| Err(self.published.unanswered().into()))
    }

    /// Lets the writer record what passing time alone has brought about: expired proposals, and heads of ledgers
    /// in the registry.
    pub fn tick(&self) {
        // A full queue means that the writer is busy; the next tick will do.
        let _ = self.send(Message::Tick);
    }

    /// Waits until the writer has decided and committed what it was given before: both of its threads live, and the
    /// disk answers. Appends nothing.
    pub async fn alive(&self) -> Result<(), Refusal> {
        let (answer, answered) = oneshot::channel();
        self.send(Message::Alive(answer))?;
        answered.await.unwrap_or_else(|_| Err(self.published.unanswered()))
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
        .expect("the operating system starts a few threads")
}

/// The software itself.
fn system() -> Caller {
    Caller {
        actor: Actor::System,
        on_behalf_of: None,
        principal: "mentorlog".parse().expect("a principal"),
        correlation: None,
        by: By::Operator,
    }
}
