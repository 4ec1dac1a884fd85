//! The half of the writer that decides, in the order of arrival, ahead of the disk.
//! Never waits for the disk unless too much is waiting for it already.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc as channel;
use std::thread;

use mentorlog_events::entry::{Actor, CommandStamp, Commitment, ENVELOPE, Entry, Facts};
use mentorlog_events::event::Event;
use mentorlog_events::event::registry::{
    KeyRotated, LedgerHead, RegistryEvent, RegistryOpened, ReportPublished,
};
use mentorlog_events::id::{B64, CommandId, ErasureId, EventId, InstallationId, LedgerId, ProgramId};
use mentorlog_events::time::{Timestamp, Zone};
use mentorlog_projections::read_models::ReadModels;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::sync::mpsc;
use uuid::Uuid;

use super::erasing::Erasable;
use super::group::{Fold, Found, Group, Reply};
use super::known::Known;
use super::ledgers::{Ledger, Pending, Registry, seen, superseded};
use super::published::{Head, Program, Published, View, lock};
use super::receipt::{Appended, Receipt, Refusal, receipt};
use super::reports::{self, Step, StepAnswer};
use super::{By, Caller, Idempotency, Message, Rotated, RotationRefusal, Submission, system};
use crate::keys::Keys;
use crate::ledger::merkle::Tree;
use crate::people::{About, People, Row, SealError};
use crate::rules::command::{Command, ExpireProposal, OpenProgram};
use crate::rules::registry::{Opening, Report as Recorded, decide_open, rotation_statement};
use crate::rules::rejection::Rejection;
use crate::rules::state::State;
use crate::rules::{Context, Ids, SealedText, Sealing, decide};

/// A group is handed over at the latest when it holds this many entries, or a single command more.
const GROUP_ENTRIES_MAX: usize = 16_384;

/// A group of this many entries is company enough: it goes to the disk as soon as that is free.
const COMPANY_ENTRIES: usize = 128;

/// A ledger's head is recorded in the registry again after so many minutes, if the ledger has grown.
const HEAD_MINUTES: i64 = 60;

/// Signing keys start with this number.
const FIRST_KEY: u32 = 1;

/// Decides, in the order of arrival, ahead of the disk.
pub(super) struct Decider {
    pub(super) published: Arc<Published>,
    pub(super) keys: Arc<Keys>,
    pub(super) rng: StdRng,
    pub(super) registry: Registry,
    pub(super) ledgers: HashMap<ProgramId, Ledger>,
    pub(super) open: Group,
    pub(super) groups: channel::Sender<Group>,
    pub(super) in_flight: Arc<AtomicUsize>,
    /// Where what is sealed goes; `None`: nothing can be.
    pub(super) people: Option<Arc<People>>,
    /// Erasures that were under way at the last tick.
    pub(super) erasing: BTreeSet<ErasureId>,
}

impl Decider {
    pub(super) fn run(mut self, mut inbox: mpsc::Receiver<Message>) {
        while let Some(message) = inbox.blocking_recv() {
            self.take_in(message);
            while let Ok(message) = inbox.try_recv() {
                self.take_in(message);
            }
            if self.in_flight.load(Ordering::Acquire) > 0 {
                // What arrives until the disk is free joins the group.
                continue;
            }
            self.hand_over();
        }
        self.hand_over();
        self.record_heads(true);
        self.hand_over();
    }

    fn take_in(&mut self, message: Message) {
        self.take(message);
        if self.open.entries >= GROUP_ENTRIES_MAX {
            // Back-pressure: the queue fills while the disk catches up.
            while self.in_flight.load(Ordering::Acquire) > 0 {
                thread::park();
            }
        }
        if self.open.entries >= COMPANY_ENTRIES && self.in_flight.load(Ordering::Acquire) == 0 {
            // The disk works on this group while the next one is decided. With the callers of large batches all
            // in one group, nothing would be done meanwhile.
            self.hand_over();
        }
    }

    pub(super) fn hand_over(&mut self) {
        if self.open.is_empty() {
            return;
        }
        let mut group = std::mem::take(&mut self.open);
        for (append, fold) in group.appends.iter_mut().zip(&group.folds) {
            // The trees have taken in exactly what has been decided, and all of that is in this group or before.
            append.root = match fold {
                Fold::Program { program, .. } => lock(&program.auditable.tree).root(),
                Fold::Registry { .. } => lock(&self.published.registry.tree).root(),
            };
        }
        self.in_flight.fetch_add(1, Ordering::AcqRel);
        // The committer ends only after this thread.
        let _ = self.groups.send(group);
    }

    fn take(&mut self, message: Message) {
        if !matches!(message, Message::Committed) {
            self.published.waiting.fetch_sub(1, Ordering::Relaxed);
        }
        match message {
            Message::Committed => {}
            Message::One(program, submission, since, answer) => {
                let found = self.consider(program, &submission, true);
                self.open.replies.push(Reply::One(found, since, answer));
            }
            Message::Batch(program, submissions, atomic, since, answer) => {
                let reply = match self.consider_batch(program, &submissions, atomic) {
                    Ok((found, head)) => Reply::Batch(found, head, since, answer),
                    Err(refusal) => Reply::NoBatch(refusal, answer),
                };
                self.open.replies.push(reply);
            }
            Message::Open(program, caller, idempotency, answer) => {
                let found = self.consider_opening(&program, &caller, idempotency);
                self.open.replies.push(Reply::Open(found, answer));
            }
            Message::Tick => {
                self.expire_proposals();
                self.take_up_erasures();
                self.record_heads(false);
            }
            Message::Report(step, caller, answer) => {
                let stepped = self.report_step(step, &caller);
                self.open.replies.push(Reply::Report(stepped, answer));
            }
            Message::MayErase(program, submission, answer) => {
                let reply = match self.may_erase(program, &submission) {
                    Ok(Some(before)) => Reply::Erased(before, answer),
                    Ok(None) => Reply::Erasable(Ok(Erasable::Yes), answer),
                    Err(refusal) => Reply::Erasable(Err(refusal), answer),
                };
                self.open.replies.push(reply);
            }
            Message::Announce(erasures, submission, answer) => {
                let announced = self.announce(&erasures, &submission);
                self.open.replies.push(Reply::Recorded(announced, answer));
            }
            Message::Erase(erasures, submission, since, answer) => {
                let found = self.erase(&erasures, &submission);
                let found = found.unwrap_or_else(|refusal| Found::Ready(Err(refusal)));
                self.open.replies.push(Reply::One(found, since, answer));
            }
            Message::Record(fact, caller, answer) => {
                let recorded = self.record(fact, &caller);
                self.open.replies.push(Reply::Recorded(recorded, answer));
            }
            Message::Token(step, caller, answer) => {
                let done = self.token_step(&step, &caller);
                self.open.replies.push(Reply::Token(done, answer));
            }
            Message::Alive(answer) => self.open.replies.push(Reply::Recorded(Ok(()), answer)),
            Message::Rotate(ledger, key_number, caller, answer) => {
                let rotated = self.rotate(ledger, key_number, &caller);
                self.open.replies.push(Reply::Rotated(rotated, answer));
            }
        }
    }

    fn consider(&mut self, program: ProgramId, submission: &Submission, with_root: bool) -> Found {
        self.accept(program, submission, with_root).unwrap_or_else(|refusal| Found::Ready(Err(refusal)))
    }

    /// `with_root`: whether the receipt is to have the root, which costs some ten hashes.
    fn accept(
        &mut self,
        program: ProgramId,
        submission: &Submission,
        with_root: bool,
    ) -> Result<Found, Refusal> {
        let sealing = self.sealing();
        if sealing == Sealing::On && matches!(submission.command, Command::ErasePerson(_)) {
            return Err(Refusal::NotInBatch);
        }
        self.accept_as(program, submission, sealing, with_root)
    }

    /// Whether anything may be recorded, and for this caller: here, where a revocation has its place in the order too.
    pub(super) fn is_open_to(&self, caller: &Caller) -> Result<(), Refusal> {
        if self.published.stopped().is_some() {
            return Err(self.published.stopped_refusal());
        }
        let tokens = self.registry.state.tokens();
        let is_honoured = match caller.by {
            By::Operator => true,
            By::Loopback => !tokens.were_issued(),
            By::Token(token) => {
                let issued = tokens.issued(token);
                issued.is_some_and(|issued| issued.is_honoured(self.published.clock.to_expire()))
            }
        };
        if is_honoured { Ok(()) } else { Err(Refusal::LetInNoMore) }
    }

    pub(super) fn sealing(&self) -> Sealing {
        if self.people.is_some() { Sealing::On } else { Sealing::Off }
    }

    pub(super) fn accept_as(
        &mut self,
        program: ProgramId,
        submission: &Submission,
        sealing: Sealing,
        with_root: bool,
    ) -> Result<Found, Refusal> {
        self.is_open_to(&submission.caller)?;
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
            sealing,
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
        // Of most commands both stay empty, which costs nothing.
        let (mut rows, mut void) = (Vec::new(), Vec::new());
        for (decided, seq) in decision.events.into_iter().zip(ledger.size..) {
            let id = EventId(version_7(now, &mut self.rng));
            let sealed = if decided.sealed.is_empty() {
                Vec::new()
            } else {
                let place = (program.into(), id);
                seal(
                    &self.published,
                    self.people.as_deref(),
                    place,
                    &decided.sealed,
                    &mut self.rng,
                    &mut rows,
                )?
            };
            let entry = Entry {
                seq,
                id,
                recorded_at: now,
                day,
                actor: submission.caller.actor,
                on_behalf_of: submission.caller.on_behalf_of,
                principal: submission.caller.principal.clone(),
                command: stamp,
                correlation: submission.caller.correlation,
                causation: decided.because.map(|index| entries[index].id),
                event: decided.event,
                sealed,
            };
            records.push(entry.seal().map_err(|too_long| Refusal::EntryTooLong { bytes: too_long.0 })?);
            entries.push(entry);
        }
        let first = ledger.size;
        let root = {
            let mut tree = lock(&ledger.program.auditable.tree);
            for record in &records {
                tree.push(record.leaf_hash());
            }
            with_root.then(|| tree.root())
        };
        for entry in &entries {
            void.extend(superseded(&ledger.state, program.into(), &entry.event));
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
        if let Fold::Program { entries: folded, .. } =
            self.open.push(program.into(), first, &mut records, fold)
        {
            folded.append(&mut entries);
        }
        self.open.rows.append(&mut rows);
        self.open.superseded.append(&mut void);
        Ok(Found::Ready(Ok(receipt)))
    }

    /// What became of each item, and the ledger after all of them.
    fn consider_batch(
        &mut self,
        program: ProgramId,
        submissions: &[Submission],
        atomic: bool,
    ) -> Result<(Vec<Found>, Head), Refusal> {
        let found = if atomic {
            self.consider_atomic(program, submissions)?
        } else {
            submissions.iter().map(|submission| self.consider(program, submission, false)).collect()
        };
        let ledger = self.ledgers.get(&program).ok_or(Refusal::NoSuchProgram)?;
        Ok((found, Head { size: ledger.size, root: lock(&ledger.program.auditable.tree).root() }))
    }

    /// All or none: what the items before a refused one did is taken back.
    fn consider_atomic(
        &mut self,
        program: ProgramId,
        submissions: &[Submission],
    ) -> Result<Vec<Found>, Refusal> {
        let count = submissions.len();
        let ledger = self.ledgers.get_mut(&program).ok_or(Refusal::NoSuchProgram)?;
        // The group before goes its own way: what is taken back must not be in it.
        let before = std::mem::take(&mut self.open);
        let ledger_before = ledger.mark();
        let mut found = Vec::with_capacity(count);
        for submission in submissions {
            match self.accept(program, submission, false) {
                Ok(accepted) => found.push(accepted),
                Err(refusal) => {
                    let index = found.len();
                    let ledger = self.ledgers.get_mut(&program).expect("it was there before the batch");
                    ledger.take_back(ledger_before);
                    self.open = before;
                    let not_done = |_| Found::Ready(Err(Refusal::NotDone { index }));
                    let mut answers: Vec<Found> = (0..count).map(not_done).collect();
                    answers[index] = Found::Ready(Err(refusal));
                    return Ok(answers);
                }
            }
        }
        let ledger = self.ledgers.get_mut(&program).expect("it was there before the batch");
        ledger.keep();
        let batch = std::mem::replace(&mut self.open, before);
        self.open.absorb(batch);
        Ok(found)
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
            if let Err(refusal) = self.accept(program, &submission, false) {
                tracing::warn!(%program, %pair, %refusal, "a proposal was due and could not be recorded as expired");
            }
        }
    }

    /// Records in the registry how far each ledger has grown, if its last head there is an hour old or `all`.
    ///
    /// The registry's own growth is no reason for another entry of it.
    fn record_heads(&mut self, all: bool) {
        let Ok(now) = self.published.clock.to_record() else { return };
        if self.published.stopped().is_some() {
            return;
        }
        let state = &self.registry.state;
        let due = |ledger: &Ledger| {
            let origin = state.origin(ledger.program.id)?;
            let is_due = state.head(origin).is_none_or(|(size, recorded_at)| {
                size < ledger.size && (all || now >= recorded_at.plus_minutes(HEAD_MINUTES))
            });
            is_due.then(|| LedgerHead {
                origin: origin.to_owned(),
                size: ledger.size,
                root: B64(lock(&ledger.program.auditable.tree).root()),
            })
        };
        let mut heads: Vec<LedgerHead> = self.ledgers.values().filter_map(due).collect();
        if heads.is_empty() {
            return;
        }
        heads.sort_by(|one, other| one.origin.cmp(&other.origin));
        // A group of their own, after the entries they speak of: a head is never durable before those are.
        self.hand_over();
        for head in heads {
            self.register(head.into(), &system(), None, now);
        }
    }

    /// Lets a ledger sign with its next key, `key_number`. Asked for again, it is what it is.
    fn rotate(
        &mut self,
        ledger: LedgerId,
        key_number: u32,
        caller: &Caller,
    ) -> Result<Rotated, RotationRefusal> {
        let refuse = RotationRefusal::Refused;
        self.is_open_to(caller).map_err(refuse)?;
        if caller.actor != Actor::Manager || caller.on_behalf_of.is_some() {
            return Err(refuse(Rejection::ManagerOnly.into()));
        }
        let state = &self.registry.state;
        let origin = match ledger {
            LedgerId::REGISTRY => Some(state.registry_origin()),
            program => state.origin(ProgramId(program.0)),
        };
        let origin = origin.ok_or(refuse(Refusal::NoSuchProgram))?.to_owned();
        let current = state.key_number(&origin).ok_or(refuse(Refusal::NoSuchProgram))?;
        let public_key = self.keys.public_key(&origin, key_number);
        let rotated =
            Rotated { origin: origin.clone(), key_number, public_key, replayed: key_number == current };
        if rotated.replayed {
            return Ok(rotated);
        }
        if current.checked_add(1) != Some(key_number) {
            return Err(RotationRefusal::KeyNumber { current });
        }
        let now = self.published.clock.to_record().map_err(|deviates| refuse(deviates.into()))?;
        let statement = rotation_statement(&origin, key_number, &public_key);
        let signature = B64(self.keys.sign(&origin, current, statement.as_bytes()));
        self.register(KeyRotated { origin, key_number, public_key, signature }.into(), caller, None, now);
        Ok(rotated)
    }

    /// Records that a report is about to be published, or that it was. What is recorded already stays as it is.
    fn report_step(&mut self, step: Step, caller: &Caller) -> StepAnswer {
        match step {
            Step::Begin(_) => self.is_open_to(caller)?,
            // What began goes on to its end, whatever becomes of the token.
            Step::Complete(_) => self.is_open_to(&system())?,
        }
        if caller.actor != Actor::Manager || caller.on_behalf_of.is_some() {
            return Err(Rejection::ManagerOnly.into());
        }
        let now = self.published.clock.to_record()?;
        let known = |report| self.registry.state.report(report);
        let event: RegistryEvent = match step {
            Step::Begin(publishing) => match known(publishing.report) {
                Some(report) => return Ok(report.digest),
                None => publishing.into(),
            },
            Step::Complete(published) => match known(published.report) {
                Some(Recorded { digest: Some(digest), .. }) => return Ok(Some(*digest)),
                Some(Recorded { digest: None, .. }) => published.into(),
                None => return Err(Refusal::Unreadable("the registry does not know the report".to_owned())),
            },
        };
        self.register(event, caller, None, now);
        Ok(None)
    }

    /// Takes up every report that began to be published before the last stop: made again, written and recorded.
    pub(super) fn resume_reports(&mut self) {
        let unfinished = self.registry.state.reports().filter(|(_, report)| report.digest.is_none());
        let unfinished: Vec<_> = unfinished.map(|(id, report)| (id, report.clone())).collect();
        for (report, Recorded { origin, size, .. }) in unfinished {
            match reports::resume(&self.published, report, &origin, size) {
                Ok(digest) => {
                    tracing::info!(%report, %digest, "a report that was being published at the last stop is finished");
                    let now = self.published.clock.now();
                    self.register(
                        ReportPublished { report, digest: B64(digest.0) }.into(),
                        &system(),
                        None,
                        now,
                    );
                }
                // Nothing depends on it: asking for it again, or a later start, may do.
                Err(why) => {
                    tracing::warn!(%report, why, "a report that was being published is left unfinished");
                }
            }
        }
        self.hand_over();
    }

    /// The registry's entry 0.
    pub(super) fn open_registry(&mut self, installation: InstallationId) {
        let origin = format!("{installation}/registry/1");
        let public_key = self.keys.public_key(&origin, FIRST_KEY);
        let opened =
            RegistryOpened { installation, origin, envelope: ENVELOPE, key_number: FIRST_KEY, public_key };
        let now = self.published.clock.now();
        self.register(opened.into(), &system(), None, now);
        self.hand_over();
    }

    /// Takes up every opening that began before the last stop: completed if entry 0 is there, else abandoned.
    pub(super) fn resume_openings(&mut self) {
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
    pub(super) fn register(
        &mut self,
        event: RegistryEvent,
        caller: &Caller,
        idempotency: Option<Idempotency>,
        now: Timestamp,
    ) -> CommandId {
        let registry = &mut self.registry;
        let now = now.max(registry.last_recorded);
        let seq = registry.state.size();
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
        lock(&self.published.registry.tree).push(record.leaf_hash());
        registry.state.apply(&entry).expect("what was decided fits the state it was decided on");
        registry.last_recorded = now;
        if let Some(idempotency) = idempotency {
            registry.known.insert(&idempotency.key.0, seq);
            registry.pending.push_back(Pending { seq, idempotency });
        }
        let fold = || Fold::Registry { entries: Vec::new() };
        if let Fold::Registry { entries } = self.open.push(LedgerId::REGISTRY, seq, &mut vec![record], fold) {
            entries.push(entry);
        }
        command
    }

    fn consider_opening(
        &mut self,
        command: &OpenProgram,
        caller: &Caller,
        idempotency: Option<Idempotency>,
    ) -> Result<(Arc<Program>, Found), Refusal> {
        self.is_open_to(caller)?;
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
            sealing: Sealing::Off,
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
        let view = View { models: ReadModels::new(), size: 0, root: Tree::new().root() };
        let secret = self.keys.of_ledger(id);
        let program = Arc::new(Program::new((opening.program, slug, now), secret, view, tree));
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
        let receipt = receipt(opening.program, command, [(appended, &entry.event)], Some(root), false)
            .expect("there is one event");
        let fold = || Fold::Program { program: program.clone(), entries: vec![entry], is_new: true };
        self.open.push(id, 0, &mut vec![record], fold);
        Ok((program, receipt))
    }
}

/// Seals texts beside an event: their commitments, for its entry, and their rows.
fn seal(
    published: &Published,
    people: Option<&People>,
    (ledger, event): (LedgerId, EventId),
    texts: &[SealedText],
    rng: &mut StdRng,
    rows: &mut Vec<Row>,
) -> Result<Vec<Commitment>, Refusal> {
    let people = people.ok_or(Rejection::SealingUnavailable)?;
    let mut commitments = Vec::with_capacity(texts.len());
    for text in texts {
        let about = match text.about[..] {
            [one] => About::One(one),
            [one, other] => About::Two(one, other),
            _ => unreachable!("a text is about one participant or two"),
        };
        let sealed = people.seal(ledger, event, text.at, about, &text.value.0, rng).map_err(|error| {
            match error {
                // Being erased, which the ledger does not know yet.
                SealError::Erased(participant) => Rejection::ParticipantErased { participant }.into(),
                SealError::Stopped => {
                    published.stop(&error.to_string());
                    published.stopped_refusal()
                }
            }
        })?;
        commitments.push(sealed.commitment);
        rows.push(sealed.row);
    }
    Ok(commitments)
}

pub(super) fn seeded() -> StdRng {
    let mut seed = <StdRng as SeedableRng>::Seed::default();
    getrandom::fill(&mut seed).expect("the operating system has randomness");
    StdRng::from_seed(seed)
}

pub(super) trait RandomBytes {
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
