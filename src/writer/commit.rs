//! The half of the writer that waits for the disk: commits groups in order, publishes, answers.
//! Never decides, and never goes on after an append it cannot vouch for.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc as channel;
use std::sync::{Arc, PoisonError};
use std::thread::Thread;
use std::time::Instant;

use mentorlog_events::entry::Entry;
use mentorlog_events::event::Event;
use mentorlog_events::event::registry::RegistryEvent;
use mentorlog_events::id::{CommandId, LedgerId};
use mentorlog_events::time::Timestamp;
use tokio::sync::mpsc;

use super::erasing::Erasable;
use super::group::{Fold, Found, Group, Reply};
use super::published::{Head, Program, Published};
use super::receipt::{Appended, Receipt, Refusal, receipt};
use super::{Answer, BatchAnswer, Message, RotationRefusal};
use crate::ledger::{Append, Log, Outcome};
use crate::people::{People, Row, RowId};

pub(super) struct Committer {
    pub published: Arc<Published>,
    pub groups: channel::Receiver<Group>,
    pub in_flight: Arc<AtomicUsize>,
    pub wake: mpsc::WeakSender<Message>,
    pub decider: Thread,
    /// Where what is sealed goes; `None` where nothing is.
    pub people: Option<Arc<People>>,
    /// Wakes the publisher; its end is the publisher's.
    pub publish: Option<channel::SyncSender<()>>,
}

impl Committer {
    pub fn run(self) {
        for group in &self.groups {
            self.settle(group);
            // The decider waits either for room (unpark) or for anything to do (a message).
            self.decider.unpark();
            if let Some(queue) = self.wake.upgrade() {
                // A full queue wakes it just as well.
                let _ = queue.try_send(Message::Committed);
            }
        }
        // Nobody is served any more. What stays is destroyed by the next start.
        if let Some(people) = &self.people
            && let Err(error) = people.tidy()
        {
            tracing::warn!(%error, "sealed data that was removed is not destroyed yet");
        }
    }

    /// Commits what was handed over so far, on this thread: what a start has to finish before anybody is served.
    pub fn commit_waiting(&self) {
        while let Ok(group) = self.groups.try_recv() {
            self.settle(group);
        }
    }

    fn settle(&self, group: Group) {
        // Whoever waited in the group finds its answer dropped; later groups are refused, not forgotten.
        if catch_unwind(AssertUnwindSafe(|| self.commit(group))).is_err() {
            self.published.stop("publishing or answering panicked");
        }
        self.in_flight.fetch_sub(1, Ordering::AcqRel);
    }

    fn commit(&self, group: Group) {
        let appended = self.append(&group);
        match appended {
            Ok(()) => {
                let has_grown = !group.appends.is_empty();
                for (append, fold) in group.appends.iter().zip(group.folds) {
                    self.publish(append, fold);
                }
                if let Some(publish) = self.publish.as_ref().filter(|_| has_grown) {
                    // Full: it is awake already.
                    let _ = publish.try_send(());
                }
                if !group.superseded.is_empty() {
                    // What was said is durable, and is answered so. What stays here is swept at the next start.
                    self.change_people(&[], &group.superseded);
                }
                for reply in group.replies {
                    self.answer(reply);
                }
            }
            Err(refusal) => {
                if let Refusal::Unknown(why) = &refusal {
                    self.published.stop(why);
                }
                for reply in group.replies {
                    self.answer(reply.withdrawn(&refusal));
                }
            }
        }
    }

    /// Stopped: nothing of it was written. Unknown: any of it may be on disk.
    fn append(&self, group: &Group) -> Result<(), Refusal> {
        if self.published.stopped().is_some() {
            // Decided on a state that rests on what failed before.
            return Err(self.published.stopped_refusal());
        }
        if group.appends.is_empty() {
            return Ok(());
        }
        if !group.rows.is_empty() && !self.change_people(&group.rows, &[]) {
            // Nothing of the group is in the log: rows that are there are swept at the next start.
            return Err(self.published.stopped_refusal());
        }
        let begun = Instant::now();
        let appends = &group.appends;
        let outcomes = catch_unwind(AssertUnwindSafe(|| self.published.log.append(appends)))
            .map_err(|_| Refusal::Unknown("the log panicked while appending".to_owned()))?;
        for (append, outcome) in appends.iter().zip(&outcomes) {
            match outcome {
                Outcome::Ok => {}
                Outcome::Conflict { size } => {
                    return Err(Refusal::Unknown(format!(
                        "ledger {} has {size} entries where {} were expected: something else writes to it",
                        append.ledger, append.expected_size
                    )));
                }
                Outcome::Unknown(error) => return Err(Refusal::Unknown(error.to_string())),
            }
        }
        if outcomes.len() != appends.len() {
            let why = "the log answered for fewer ledgers than it was asked to append to";
            return Err(Refusal::Unknown(why.to_owned()));
        }
        let (entries, bytes) = (group.entries as u64, group.bytes as u64);
        self.published.vitals.appended(entries, bytes, begun.elapsed(), self.published.clock.now());
        Ok(())
    }

    /// Keeps rows and removes others. Whether it is done; writing has stopped if not.
    fn change_people(&self, put: &[Row], remove: &[RowId]) -> bool {
        let Some(people) = &self.people else {
            // A history that was sealed, served without its key: what is made void goes at the next start that has it.
            return put.is_empty();
        };
        match catch_unwind(AssertUnwindSafe(|| people.put(put, remove))) {
            Ok(Ok(())) => return true,
            Ok(Err(error)) => self.published.stop(&format!("sealed data could not be written: {error}")),
            Err(_) => self.published.stop("the people store panicked while writing"),
        }
        false
    }

    fn publish(&self, append: &Append, fold: Fold) {
        let (size, root) = (append.expected_size + append.records.len() as u64, append.root);
        let (head, now) = (Head { size, root }, self.published.clock.now());
        match fold {
            Fold::Program { program, entries, is_new } => {
                {
                    let mut view = program.view.write().unwrap_or_else(PoisonError::into_inner);
                    for entry in &entries {
                        view.models.apply(entry);
                    }
                    view.size = size;
                    view.root = root;
                }
                program.grown.send_replace(size);
                program.auditable.grew(head, now);
                if is_new {
                    self.published.add(&program);
                }
            }
            Fold::Registry { entries } => {
                self.published.registry.grew(head, now);
                for entry in entries {
                    self.published.reports.apply(&entry);
                    self.published.note_tokens(&entry);
                    self.note_keys(&entry, now);
                }
            }
        }
    }

    /// What an entry of the registry says of keys. A ledger's new key signs its present size, too.
    fn note_keys(&self, entry: &Entry<RegistryEvent>, now: Timestamp) {
        let mut keybook = self.published.keybook.write().unwrap_or_else(PoisonError::into_inner);
        let changed = keybook.apply(entry).expect("the writer records keys of its own making");
        drop(keybook);
        match changed {
            None => {}
            Some(LedgerId::REGISTRY) => self.published.registry.ask(now),
            Some(ledger) => {
                if let Some(program) = self.published.program(&ledger.to_string()) {
                    program.auditable.ask(now);
                }
            }
        }
    }

    fn answer(&self, reply: Reply) {
        let log = &*self.published.log;
        // Whoever asked may be gone; what they asked for is done all the same.
        match reply {
            Reply::One(found, since, answer) => {
                self.published.vitals.answer.observe(since.elapsed());
                let _ = answer.send(found.answer(log, true));
            }
            Reply::Batch(found, head, since, answer) => {
                self.published.vitals.answer.observe(since.elapsed());
                let answers = found.into_iter().map(|found| found.answer(log, false)).collect();
                let _ = answer.send(Ok(BatchAnswer { answers, head }));
            }
            Reply::NoBatch(refusal, answer) => {
                let _ = answer.send(Err(refusal));
            }
            Reply::Open(Ok((program, found)), answer) => {
                let _ = answer.send(found.answer(log, true).map(|receipt| (program.id, receipt)));
            }
            Reply::Open(Err(refusal), answer) => {
                let _ = answer.send(Err(refusal));
            }
            Reply::Rotated(rotated, answer) => {
                let _ = answer.send(rotated);
            }
            Reply::Report(step, answer) => {
                let _ = answer.send(step);
            }
            Reply::Erasable(erasable, answer) => {
                let _ = answer.send(erasable);
            }
            Reply::Erased(found, answer) => {
                let _ = answer.send(found.answer(log, true).map(Erasable::Before));
            }
            Reply::Recorded(recorded, answer) => {
                let _ = answer.send(recorded);
            }
            Reply::Token(done, answer) => {
                let _ = answer.send(done);
            }
        }
    }
}

impl Reply {
    /// The same reply once nothing of its group can be vouched for.
    fn withdrawn(self, why: &Refusal) -> Self {
        let withdrawn = |_| Found::Ready(Err(why.clone()));
        match self {
            Self::One(found, since, answer) => Self::One(withdrawn(found), since, answer),
            Self::Batch(found, head, since, answer) => {
                Self::Batch(found.into_iter().map(withdrawn).collect(), head, since, answer)
            }
            Self::NoBatch(_, answer) => Self::NoBatch(why.clone(), answer),
            Self::Open(_, answer) => Self::Open(Err(why.clone()), answer),
            Self::Rotated(_, answer) => Self::Rotated(Err(RotationRefusal::Refused(why.clone())), answer),
            Self::Report(_, answer) => Self::Report(Err(why.clone()), answer),
            Self::Erasable(_, answer) | Self::Erased(_, answer) => Self::Erasable(Err(why.clone()), answer),
            Self::Recorded(_, answer) => Self::Recorded(Err(why.clone()), answer),
            Self::Token(_, answer) => Self::Token(Err(why.clone().into()), answer),
        }
    }
}

impl Found {
    fn answer(self, log: &dyn Log, with_root: bool) -> Answer {
        match self {
            Self::Ready(answer) => answer,
            Self::Again(program, seq) => original(log, &program, seq, with_root),
        }
    }
}

/// Entries read at a time to find the end of a command: most commands are one or two events.
const ENTRIES_AT_ONCE: usize = 4;

/// The receipt of the command that begins at `seq`, as it was first given.
fn original(log: &dyn Log, program: &Program, seq: u64, with_root: bool) -> Answer {
    let unreadable = |error: &dyn std::fmt::Display| Refusal::Unreadable(error.to_string());
    let mut entries: Vec<Entry<Event>> = Vec::new();
    'read: loop {
        let from = seq + entries.len() as u64;
        let records =
            log.read(program.id.into(), from, ENTRIES_AT_ONCE).map_err(|error| unreadable(&error))?;
        if records.is_empty() {
            break;
        }
        for record in records {
            let entry = Entry::parse(record.bytes()).map_err(|error| unreadable(&error))?;
            if entries.first().is_some_and(|first: &Entry<Event>| first.command.id != entry.command.id) {
                break 'read;
            }
            entries.push(entry);
        }
    }
    let first = entries.first().ok_or_else(|| unreadable(&"the entry is missing"))?;
    let command: CommandId = first.command.id;
    let size = seq + entries.len() as u64;
    let root = if with_root {
        let root = program.root_at(log, size).map_err(|error| unreadable(&error))?;
        Some(root.ok_or_else(|| unreadable(&"the ledger is shorter than the command"))?)
    } else {
        None
    };
    let appended = entries.iter().map(|entry| {
        use mentorlog_events::entry::Facts as _;
        (Appended { seq: entry.seq, id: entry.id, name: entry.event.shape().name }, &entry.event)
    });
    let receipt: Option<Receipt> = receipt(program.id, command, appended, root, true);
    receipt.ok_or_else(|| unreadable(&"the command has no events"))
}
