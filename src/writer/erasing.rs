//! Erasing a person: from the wish to the last ledger's word for it, and what a start finishes of it.
//! Never takes an erasure back once it is announced, and never lets go of a step before the one before is durable.
//!
//! ```text
//! 0  the people store notes it: nothing new is sealed for them
//! 1  registry: `erasure-requested`          everything sealed before is durable by then, for it went the same way
//! 2  the people store forgets their keys
//! 3  each program of theirs: `person-erased`, and what follows from it
//! 4  registry: `erasure-completed`
//! ```
//! What stopped after 0 is as if it had never been asked for; what stopped later is finished by the next start, before
//! anybody is served, or by asking again. One person is erased at a time.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

use mentorlog_events::entry::Actor;
use mentorlog_events::event::registry::{
    ErasureCompleted, ErasureRequested, PeopleJoined, PeopleParted, PersonalRead, RegistryEvent,
};
use mentorlog_events::id::{ErasureId, LinkId, ParticipantId, ProgramId};
use tokio::sync::oneshot;

use super::decide::{Decider, RandomBytes as _, seeded};
use super::group::Found;
use super::receipt::Refusal;
use super::{Answer, By, Caller, Idempotency, Message, Submission, Writer, system};
use crate::people::{Erasure, People, PeopleError};
use crate::rules::command::{Command, ErasePerson};
use crate::rules::rejection::Rejection;
use crate::rules::{Context, Ids, Sealing, decide};

/// Whether a person may be erased.
pub(super) enum Erasable {
    /// They may, by whoever asked.
    Yes,
    /// They were, by the same request: this is what it was answered.
    Before(super::receipt::Receipt),
}

/// Why nothing is said of who is the same human being. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum SameRefusal {
    /// Nothing is sealed here, so there is nobody to be kept together; or one of them is erased.
    #[error(transparent)]
    Off(#[from] Rejection),
    /// It could not be recorded.
    #[error(transparent)]
    Unrecorded(#[from] Refusal),
    /// Nobody said that the participant is the same as another.
    #[error("participant {0} is a human being of their own already")]
    Alone(ParticipantId),
    /// The people store could not say so; writing has stopped.
    #[error("{0}")]
    Stopped(String),
}

/// What was said of who is the same human being.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Said {
    /// Under which it is recorded; `None`: it was known already, and nothing was done.
    pub link: Option<LinkId>,
    /// How many participants are that human being now.
    pub participants: usize,
}

/// What the caller is told when an erasure stopped on its way.
const UNDER_WAY: &str =
    "the erasure has begun; the service goes on with it by itself, at the latest at its next start";

/// What the operator is told of an erasure that waits.
const UNFINISHED: &str = "an erasure cannot be recorded now; its keys are gone, and it is tried again every few seconds and at every start";

impl Writer {
    /// Erases a person: the participant a submission names, and every other that is known to be the same human being.
    /// Answered when all of it is durable. Once begun it goes on though nobody waits for the answer.
    pub(super) async fn erase_person(&self, program: ProgramId, submission: Submission) -> Answer {
        let (writer, since) = (self.clone(), Instant::now());
        let erasing = async move { writer.erase(program, submission, since).await };
        tokio::spawn(erasing).await.unwrap_or_else(|_| Err(self.published().unanswered()))
    }

    async fn erase(self, program: ProgramId, submission: Submission, since: Instant) -> Answer {
        let published = self.published().clone();
        let Some(people) = published.people().cloned() else {
            return Err(Rejection::SealingUnavailable.into());
        };
        let Command::ErasePerson(ErasePerson { participant, participants }) = submission.command else {
            unreachable!("only this command is sent here")
        };
        let submission = Arc::new(submission);
        let _turn = published.erasing.lock().await;
        let asked = submission.clone();
        match self.ask(|answer| Message::MayErase(program, asked, answer)).await? {
            Erasable::Yes => {}
            Erasable::Before(receipt) => return Ok(receipt),
        }
        // Begun before, by a request that stopped halfway: then it is announced already, and stays so.
        let begun_before = people.is_erased(program, participant);
        let same = people.same_as(program, participant);
        let said = participants.map_or(1, |said| said as usize);
        if !begun_before && (same > 1 || participants.is_some()) && said != same {
            return Err(Refusal::ErasesOthers { participants: same });
        }
        let secret = published.erasures.clone();
        let named = move |program, participant| secret.erasure(program, participant);
        let begin = move |people: &People| people.begin_erasure(program, participant, named);
        let erasures = self.people(&people, begin).await?;
        let (announced, asked) = (erasures.clone(), submission.clone());
        let announced = self.ask(|answer| Message::Announce(announced, asked, answer)).await;
        if let Err(refusal) = announced {
            if !begun_before && !matches!(refusal, Refusal::Unknown(_)) {
                let ids: Vec<_> = erasures.iter().map(|erasure| erasure.id).collect();
                let drop_all =
                    move |people: &People| ids.into_iter().try_for_each(|id| people.drop_erasure(id));
                self.people(&people, drop_all).await?;
            }
            return Err(refusal);
        }
        let forget = erasures.clone();
        let forgotten = self.people(&people, move |people| people.forget(&forget)).await;
        forgotten.map_err(|_| Refusal::Unknown(UNDER_WAY.to_owned()))?;
        let (answer, answered) = oneshot::channel();
        let erase = Message::Erase(erasures, submission, since, answer);
        self.send(erase).map_err(|refusal| Refusal::Unknown(format!("{refusal}: {UNDER_WAY}")))?;
        answered.await.unwrap_or_else(|_| Err(self.published().unanswered()))
    }

    /// Notes that two participants are one human being: erasing one erases the other. Who said so, and when, is in the
    /// registry when this returns; which participants is kept with their keys. They must be there, and not erased.
    pub async fn same_person(
        &self,
        a: (ProgramId, ParticipantId),
        b: (ProgramId, ParticipantId),
        caller: Caller,
    ) -> Result<Said, SameRefusal> {
        let writer = self.clone();
        whatever_happens(async move { writer.join_people(a, b, caller).await }).await
    }

    async fn join_people(
        self,
        a: (ProgramId, ParticipantId),
        b: (ProgramId, ParticipantId),
        caller: Caller,
    ) -> Result<Said, SameRefusal> {
        let people = self.published().people().cloned().ok_or(Rejection::SealingUnavailable)?;
        let _turn = self.published().erasing.lock().await;
        if people.are_same(a, b) {
            return Ok(Said { link: None, participants: people.same_as(a.0, a.1) });
        }
        let not_erased = [a, b].into_iter().find(|who| people.is_erased(who.0, who.1));
        if let Some((_, participant)) = not_erased {
            return Err(Rejection::ParticipantErased { participant }.into());
        }
        let link = new_link();
        // Said and not done is harmless, done and not said is not.
        self.record(PeopleJoined { link }.into(), caller).await?;
        let same = move || people.same(a, b, link, &mut seeded());
        Ok(Said { link: Some(link), participants: self.linked(same).await? })
    }

    /// Notes that a participant is a human being of their own: what was said before of them is taken back. Recorded as
    /// [`Self::same_person`] records it. The count is that of those they were held to be the same as.
    pub async fn own_person(
        &self,
        who: (ProgramId, ParticipantId),
        caller: Caller,
    ) -> Result<Said, SameRefusal> {
        let writer = self.clone();
        whatever_happens(async move { writer.part_people(who, caller).await }).await
    }

    async fn part_people(self, who: (ProgramId, ParticipantId), caller: Caller) -> Result<Said, SameRefusal> {
        let people = self.published().people().cloned().ok_or(Rejection::SealingUnavailable)?;
        let _turn = self.published().erasing.lock().await;
        if people.is_erased(who.0, who.1) {
            return Err(Rejection::ParticipantErased { participant: who.1 }.into());
        }
        if people.same_as(who.0, who.1) == 1 {
            return Err(SameRefusal::Alone(who.1));
        }
        let link = new_link();
        self.record(PeopleParted { link }.into(), caller).await?;
        let apart = move || people.apart(who, link, &mut seeded());
        Ok(Said { link: Some(link), participants: self.linked(apart).await? })
    }

    /// Has the people store say who is the same human being. When it fails writing stops, for the store has.
    async fn linked(
        &self,
        work: impl FnOnce() -> Result<usize, PeopleError> + Send + 'static,
    ) -> Result<usize, SameRefusal> {
        let done = tokio::task::spawn_blocking(work).await;
        match done.unwrap_or(Err(PeopleError::Stopped)) {
            Ok(count) => Ok(count),
            Err(PeopleError::Erased(participant)) => Err(Rejection::ParticipantErased { participant }.into()),
            Err(PeopleError::Alone(participant)) => Err(SameRefusal::Alone(participant)),
            Err(error) => {
                self.published().stop(&error.to_string());
                Err(SameRefusal::Stopped(error.to_string()))
            }
        }
    }

    /// Records that personal data is about to be read. What may be read is durable in the registry when this returns.
    pub async fn record_read(&self, read: PersonalRead, caller: Caller) -> Result<(), Refusal> {
        self.record(read.into(), caller).await
    }

    /// Records in the registry what is about to be done. Durable when it returns.
    async fn record(&self, fact: RegistryEvent, caller: Caller) -> Result<(), Refusal> {
        self.ask(|answer| Message::Record(fact, caller, answer)).await
    }

    async fn ask<T>(
        &self,
        message: impl FnOnce(oneshot::Sender<Result<T, Refusal>>) -> Message,
    ) -> Result<T, Refusal> {
        let (answer, answered) = oneshot::channel();
        self.send(message(answer))?;
        answered.await.unwrap_or_else(|_| Err(self.published().unanswered()))
    }

    /// Does something with the files of the people store. When it fails writing stops, for the store has.
    async fn people<T: Send + 'static>(
        &self,
        people: &Arc<People>,
        work: impl FnOnce(&People) -> Result<T, PeopleError> + Send + 'static,
    ) -> Result<T, Refusal> {
        let people = people.clone();
        let done = tokio::task::spawn_blocking(move || work(&people)).await;
        let failed = |why: &dyn std::fmt::Display| {
            self.published().stop(&format!("sealed data could not be written: {why}"));
            self.published().stopped_refusal()
        };
        match done {
            Ok(Ok(done)) => Ok(done),
            Ok(Err(error)) => Err(failed(&error)),
            Err(_) => Err(failed(&"the people store panicked")),
        }
    }
}

fn new_link() -> LinkId {
    LinkId(uuid::Builder::from_random_bytes(seeded().random_bytes()).into_uuid())
}

/// What has begun goes on though nobody waits for it any more: between what is recorded and what is done of it nobody
/// who hangs up comes in.
async fn whatever_happens(
    work: impl Future<Output = Result<Said, SameRefusal>> + Send + 'static,
) -> Result<Said, SameRefusal> {
    let stopped = |_| Err(SameRefusal::Stopped("it may or may not have been done".to_owned()));
    tokio::spawn(work).await.unwrap_or_else(stopped)
}

/// The same caller without the participant they speak as: the registry names nobody.
fn unnamed(caller: &Caller) -> Caller {
    let actor = match caller.actor {
        Actor::Manager => Actor::Manager,
        Actor::Participant(_) | Actor::System => Actor::System,
    };
    Caller { actor, on_behalf_of: None, ..caller.clone() }
}

impl Decider {
    /// What the same request was answered before, if it was; a refusal if it may not be done. Changes nothing.
    pub(super) fn may_erase(
        &mut self,
        program: ProgramId,
        submission: &Submission,
    ) -> Result<Option<Found>, Refusal> {
        self.is_open_to(&submission.caller)?;
        let ledger = self.ledgers.get_mut(&program).ok_or(Refusal::NoSuchProgram)?;
        if let Some(idempotency) = submission.idempotency
            && let Some(seq) = ledger.seen(&*self.published.log, idempotency)?
        {
            return Ok(Some(Found::Again(ledger.program.clone(), seq)));
        }
        let context = Context {
            now: self.published.clock.to_record()?.max(ledger.last_recorded),
            actor: submission.caller.actor,
            on_behalf_of: submission.caller.on_behalf_of,
            expected_version: submission.expected_version,
            sealing: Sealing::On,
            ids: Ids::new(0),
        };
        decide(&ledger.state, &submission.command, &context)?;
        Ok(None)
    }

    /// Step 1: every erasure of a person, in one append. Those that are announced already stay so.
    pub(super) fn announce(&mut self, erasures: &[Erasure], submission: &Submission) -> Result<(), Refusal> {
        self.is_open_to(&submission.caller)?;
        let now = self.published.clock.to_record()?;
        let caller = unnamed(&submission.caller);
        // The key goes with the one that was asked for, so that a start can finish it as if nothing had happened.
        let mut idempotency = submission.idempotency;
        for erasure in erasures {
            if self.registry.state.erasure(erasure.id).is_none() {
                self.register(ErasureRequested { erasure: erasure.id }.into(), &caller, idempotency, now);
            }
            idempotency = None;
        }
        Ok(())
    }

    /// Steps 3 and 4, of these erasures and of whatever was left over before: the answer is that of the first.
    pub(super) fn erase(&mut self, erasures: &[Erasure], submission: &Submission) -> Result<Found, Refusal> {
        let asked = erasures.first().ok_or_else(|| Refusal::Unknown(UNDER_WAY.to_owned()))?;
        let under_way =
            |refusal: Refusal| Refusal::Unknown(format!("{refusal}: {UNDER_WAY}, or asking again"));
        let submission = Submission {
            command: submission.command.clone(),
            // It has begun, and goes on whatever becomes of the token.
            caller: Caller { by: By::Operator, ..submission.caller.clone() },
            // Looked at before it began.
            expected_version: None,
            idempotency: submission.idempotency,
        };
        let sealing = Sealing::Erasing(asked.id);
        let found = self.record_erased(asked.program, submission, sealing, true).map_err(under_way)?;
        self.finish_erasures(|_| true).map_err(under_way)?;
        Ok(found)
    }

    /// Goes on with the erasures that were under way at the last tick already: whoever asked for them was refused after
    /// the keys had gone, e.g. because the clock was in doubt, or is gone.
    pub(super) fn take_up_erasures(&mut self) {
        let open = self.registry.state.erasures().filter(|(_, erasure)| !erasure.completed);
        let open: BTreeSet<ErasureId> = open.map(|(id, _)| id).collect();
        let late: BTreeSet<ErasureId> = open.intersection(&self.erasing).copied().collect();
        self.erasing = open;
        if late.is_empty() || self.published.log.is_read_only() || self.published.stopped().is_some() {
            return;
        }
        // Whoever erases holds the turn until all is done: of theirs, keys may still be going.
        let published = self.published.clone();
        let Ok(_turn) = published.erasing.try_lock() else { return };
        if let Err(refusal) = self.finish_erasures(|erasure| late.contains(&erasure.id)) {
            tracing::warn!(%refusal, "{UNFINISHED}");
        }
    }

    /// Says in a ledger that somebody is erased whose keys are gone. It has to be said: if the key it was asked with was
    /// used for something else since it was looked at, it is said without one.
    fn record_erased(
        &mut self,
        program: ProgramId,
        mut submission: Submission,
        sealing: Sealing,
        with_root: bool,
    ) -> Result<Found, Refusal> {
        match self.accept_as(program, &submission, sealing, with_root) {
            Err(Refusal::KeyReused) => {
                tracing::warn!("the idempotency key of an erasure was used for something else meanwhile");
                submission.idempotency = None;
                self.accept_as(program, &submission, sealing, with_root)
            }
            accepted => accepted,
        }
    }

    /// Finishes every erasure, `of` them, whose keys are gone: `person-erased` where a ledger lacks it, then
    /// `erasure-completed`. One that cannot be finished keeps no other from it; the next tick goes on with it.
    fn finish_erasures(&mut self, of: impl Fn(&Erasure) -> bool) -> Result<(), Refusal> {
        let Some(people) = self.people.clone() else { return Ok(()) };
        let announced = |erasure: &Erasure| of(erasure) && self.registry.state.erasure(erasure.id).is_some();
        let erasures: Vec<Erasure> = people.erasures().into_iter().filter(announced).collect();
        let mut finished = Vec::with_capacity(erasures.len());
        for erasure in erasures {
            let ledger = self.ledgers.get(&erasure.program);
            if ledger.and_then(|ledger| ledger.state.is_erased(erasure.participant)) != Some(false) {
                finished.push(erasure);
                continue;
            }
            let known = self.registry.state.erasure(erasure.id).expect("it is announced");
            let (key, fp) = (known.command.key, known.command.fp);
            let submission = Submission {
                command: ErasePerson { participant: erasure.participant, participants: None }.into(),
                caller: Caller { principal: known.principal.clone(), ..system() },
                expected_version: None,
                idempotency: key.zip(fp).map(|(key, fp)| Idempotency { key, fp }),
            };
            let sealing = Sealing::Erasing(erasure.id);
            match self.record_erased(erasure.program, submission, sealing, false) {
                Ok(_) => finished.push(erasure),
                Err(refusal) if self.published.stopped().is_some() => return Err(refusal),
                Err(refusal) => {
                    tracing::warn!(%refusal, "{UNFINISHED}");
                }
            }
        }
        // Only what is durable is complete: a group of its own, after the ledgers'.
        self.hand_over();
        let now = self.published.clock.now();
        for erasure in finished {
            if self.registry.state.erasure(erasure.id).is_some_and(|known| !known.completed) {
                self.register(ErasureCompleted { erasure: erasure.id }.into(), &system(), None, now);
            }
        }
        Ok(())
    }

    /// Takes up every erasure that was under way at the last stop, and forgets whoever an older keyring still knows, and
    /// whoever is not known to be erased here although the registry says it: by the ids the registry has of erasures, and
    /// by what the ledgers say of participants.
    ///
    /// Of a ledger that is only read, nothing is appended: the people store knows who is erased.
    pub(super) fn resume_erasures(&mut self, people: &People) -> Result<(), PeopleError> {
        let announced: BTreeSet<ErasureId> = self.registry.state.erasures().map(|(id, _)| id).collect();
        let read_only = self.published.log.is_read_only();
        let unannounced = people.erasures().into_iter().filter(|erasure| !announced.contains(&erasure.id));
        for erasure in unannounced {
            if read_only || self.is_erased(erasure.program, erasure.participant) {
                continue;
            }
            if people.is_announced(erasure.id) {
                // By the registry a restore was given, which was longer than this one is.
                tracing::warn!("somebody was erased of whom the registry knows nothing: it is told again");
                let now = self.published.clock.now();
                self.register(ErasureRequested { erasure: erasure.id }.into(), &system(), None, now);
            } else {
                tracing::info!("an erasure that was never announced is dropped: it can be asked for again");
                people.drop_erasure(erasure.id)?;
            }
        }
        self.hand_over();
        let held = people.held().into_iter().filter_map(|held| {
            let named = self.published.erasures.erasure(held.program, held.participant);
            let id = [held.id, named].into_iter().find(|id| announced.contains(id));
            let id = id.or_else(|| self.is_erased(held.program, held.participant).then_some(named))?;
            Some(Erasure { id, ..held })
        });
        let mut known: Vec<Erasure> = held.collect();
        if !known.is_empty() {
            tracing::info!(
                people = known.len(),
                "keys of people who were erased are here again, and are forgotten"
            );
        }
        let untold = self.erased_without_a_trace(people, &announced);
        if !untold.is_empty() {
            tracing::info!(people = untold.len(), "people were erased of whom nothing is sealed here");
        }
        known.extend(untold);
        // Whoever's key is known by the random id of their slot may be found twice.
        known.sort_by_key(|erasure| (erasure.program, erasure.participant));
        known.dedup_by_key(|erasure| (erasure.program, erasure.participant));
        if !known.is_empty() {
            people.forget(&known)?;
        }
        if !read_only && let Err(refusal) = self.finish_erasures(|_| true) {
            tracing::warn!(%refusal, "{UNFINISHED}");
        }
        self.hand_over();
        Ok(())
    }

    /// Participants of the ledgers whose erasure the registry announced and of whom the people store knows nothing: its
    /// rows are older than the registry, or were lost.
    fn erased_without_a_trace(&self, people: &People, announced: &BTreeSet<ErasureId>) -> Vec<Erasure> {
        let known: BTreeSet<ErasureId> = people.erasures().into_iter().map(|erasure| erasure.id).collect();
        // Most starts end here: an id is made for everybody only where one is not accounted for.
        if announced.is_subset(&known) {
            return Vec::new();
        }
        let mut erased = Vec::new();
        for (program, ledger) in &self.ledgers {
            for (participant, _) in ledger.state.everybody() {
                let id = self.published.erasures.erasure(*program, participant);
                if announced.contains(&id) && !known.contains(&id) {
                    erased.push(Erasure { id, program: *program, participant });
                }
            }
        }
        erased
    }

    /// Whether a ledger says that a participant is erased.
    pub(super) fn is_erased(&self, program: ProgramId, participant: ParticipantId) -> bool {
        let ledger = self.ledgers.get(&program);
        ledger.and_then(|ledger| ledger.state.is_erased(participant)) == Some(true)
    }

    /// Records what is about to be done with personal data.
    pub(super) fn record(&mut self, fact: RegistryEvent, caller: &Caller) -> Result<(), Refusal> {
        self.is_open_to(caller)?;
        let now = self.published.clock.to_record()?;
        self.register(fact, &unnamed(caller), None, now);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use mentorlog_events::id::LedgerId;
    use serde_json::json;

    use super::*;
    use crate::clock::{Clock, Machine};
    use crate::keys::Keys;
    use crate::ledger::Log;
    use crate::ledger::memory::MemoryLog;
    use crate::people::Kek;
    use crate::rules::command::{Enrol, OpenProgram};
    use crate::writer::Publishing;
    use crate::writer::published::lock;

    /// The steps of an erasure up to the one that was never asked for, e.g. because the queue was full.
    #[tokio::test]
    async fn an_erasure_that_nobody_finishes_is_finished_by_passing_time() {
        let data = tempfile::tempdir().unwrap();
        let log: Arc<dyn Log> = Arc::new(MemoryLog::new());
        let kek = Kek::from_text("a2tra2tra2tra2tra2tra2tra2tra2tra2tra2tra2s=", "a test").unwrap();
        let open = |installation| People::open(&data.path().join("people"), installation, Some(kek));
        let keys = Keys::open(data.path(), false).unwrap();
        let (clock, none) = (Clock::start(Machine::default()), BTreeMap::new());
        let (writer, running) =
            Writer::start_sealing(&log, none, keys, clock, Publishing::Off, open).unwrap();
        let submission = |command: Command| Submission {
            command,
            caller: system(),
            expected_version: None,
            idempotency: None,
        };
        let manager = || Caller { actor: Actor::Manager, ..system() };
        let program = json!({ "slug": "spring", "name": "Spring", "time_zone": "UTC" });
        let program: OpenProgram = serde_json::from_value(program).unwrap();
        writer.open_program(program, manager(), None).await.unwrap();
        let program = writer.published().program("spring").unwrap().id;
        let ann = ParticipantId(uuid::Uuid::from_u128(1));
        let enrol: Enrol =
            serde_json::from_value(json!({ "participant": ann, "generation": "gen-z" })).unwrap();
        let enrol = Submission { caller: manager(), ..submission(enrol.into()) };
        writer.submit(program, enrol).await.unwrap();

        let people = writer.published().people().cloned().unwrap();
        let secret = writer.published().erasures.clone();
        let named = move |program, participant| secret.erasure(program, participant);
        let erasures = people.begin_erasure(program, ann, named).unwrap();
        let asked = Submission {
            caller: manager(),
            ..submission(ErasePerson { participant: ann, participants: None }.into())
        };
        let (announced, asked) = (erasures.clone(), Arc::new(asked));
        writer.ask(|answer| Message::Announce(announced, asked, answer)).await.unwrap();
        people.forget(&erasures).unwrap();

        let size = || writer.published().program("spring").unwrap().size();
        let before = size();
        writer.tick();
        writer.alive().await.unwrap();
        assert_eq!(size(), before, "whoever asked may be about to go on with it");
        writer.tick();
        writer.alive().await.unwrap();
        assert_eq!(size(), before + 1);
        let last = log.read(LedgerId::from(program), before, 1).unwrap();
        let entry = String::from_utf8_lossy(last[0].bytes()).into_owned();
        assert!(entry.contains("person-erased"), "{entry}");
        let registered = || lock(&writer.published().registry.tree).size();
        let done = registered();
        writer.tick();
        writer.tick();
        writer.alive().await.unwrap();
        assert_eq!((size(), registered()), (before + 1, done), "once is enough");
        drop(writer);
        running.join();
    }
}
