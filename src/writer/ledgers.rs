//! The decision state of each ledger, ahead of what is durable by at most the groups in flight.
//! Never trusts anything but the log: at a start it is rebuilt from the first entry on.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;

use mentorlog_events::entry::{CommandStamp, Entry, Envelope};
use mentorlog_events::event::Event;
use mentorlog_events::id::{LedgerId, ProgramId};
use mentorlog_events::time::Timestamp;
use mentorlog_projections::read_models::ReadModels;

use super::Idempotency;
use super::known::Known;
use super::published::{Program, View, lock};
use super::receipt::Refusal;
use super::replay::{ReplayError, Replayed, replay};
use crate::keys::Keys;
use crate::ledger::Log;
use crate::ledger::merkle::Tree;
use crate::people::RowId;
use crate::rules::registry::RegistryState;
use crate::rules::state::State;

/// A key whose command is decided but perhaps not durable yet.
pub(super) struct Pending {
    pub(super) seq: u64,
    pub(super) idempotency: Idempotency,
}

/// The decision state of one program: ahead of what is durable by at most the groups in flight.
pub(super) struct Ledger {
    pub(super) program: Arc<Program>,
    pub(super) state: State,
    pub(super) known: Known,
    pub(super) size: u64,
    pub(super) last_recorded: Timestamp,
    pub(super) pending: VecDeque<Pending>,
    /// Keys of an atomic batch under way: known only once all of it is accepted.
    pub(super) held: Option<Vec<([u8; 16], u64)>>,
}

impl Ledger {
    pub(super) fn mark(&mut self) -> Mark {
        self.held = Some(Vec::new());
        Mark {
            state: self.state.mark(),
            size: self.size,
            last_recorded: self.last_recorded,
            tree: lock(&self.program.auditable.tree).clone(),
            pending: self.pending.len(),
        }
    }

    pub(super) fn keep(&mut self) {
        self.state.keep();
        for (key, seq) in self.held.take().unwrap_or_default() {
            self.known.insert(&key, seq);
        }
    }

    pub(super) fn take_back(&mut self, mark: Mark) {
        self.state.take_back(mark.state);
        self.size = mark.size;
        self.last_recorded = mark.last_recorded;
        *lock(&self.program.auditable.tree) = mark.tree;
        self.pending.truncate(mark.pending);
        self.held = None;
    }

    pub(super) fn rebuild(
        log: &dyn Log,
        program: ProgramId,
        tree: Tree,
        keys: &Keys,
        live: &mut HashSet<RowId>,
    ) -> Result<Self, ReplayError> {
        let id = LedgerId::from(program);
        let mut state = State::new();
        let mut models = ReadModels::new();
        let mut known = Known::default();
        let mut last_command = None;
        let mut last_recorded = Timestamp::MIN;
        let mut opening = None;
        replay::<Event>(log, id, 0..tree.size(), false, |Replayed { entry, .. }| {
            if let Event::ProgramOpened(opened) = &entry.event {
                opening = Some((opened.slug.clone(), entry.recorded_at));
            }
            // Only the first entry of a command is where it begins.
            if last_command != Some(entry.command.id) {
                remember(&mut known, entry.command, entry.seq);
                last_command = Some(entry.command.id);
            }
            last_recorded = entry.recorded_at;
            collect_live(live, &state, id, entry);
            state.apply(entry).map_err(|error| contradiction(id, entry.seq, &error))?;
            models.apply(entry);
            Ok(())
        })?;
        let (slug, opened_at) =
            opening.ok_or_else(|| contradiction(id, 0, &"entry 0 does not open a program"))?;
        let (size, root) = (tree.size(), tree.root());
        let view = View { models, size, root };
        let opened = (program, slug, opened_at);
        let program = Arc::new(Program::new(opened, keys.of_ledger(id), view, tree));
        Ok(Self { program, state, known, size, last_recorded, pending: VecDeque::new(), held: None })
    }

    /// Where the command with this key begins, if it has been accepted before.
    pub(super) fn seen(&mut self, log: &dyn Log, idempotency: Idempotency) -> Result<Option<u64>, Refusal> {
        let durable = self.program.size();
        // During an atomic batch its own keys have to stay countable from the front.
        while self.held.is_none() && self.pending.front().is_some_and(|pending| pending.seq < durable) {
            self.pending.pop_front();
        }
        let pending = |seq| self.pending.iter().find(|pending| pending.seq == seq).map(|p| p.idempotency);
        seen(&self.known, log, self.program.id.into(), idempotency, pending)
    }
}

/// Keeps `live` to what the log still commits to for good: `state` is that before the entry.
fn collect_live(live: &mut HashSet<RowId>, state: &State, ledger: LedgerId, entry: &Entry<Event>) {
    for commitment in &entry.sealed {
        live.insert(RowId { ledger, event: entry.id, at: commitment.at.clone() });
    }
    for row in superseded(state, ledger, &entry.event) {
        live.remove(&row);
    }
}

/// The rows of what was sealed before and is made void by this event, decided on the state before it.
pub(super) fn superseded(state: &State, ledger: LedgerId, event: &Event) -> impl Iterator<Item = RowId> {
    let void = state.made_void(event).into_iter();
    void.map(move |(event, at)| RowId { ledger, event, at: at.to_owned() })
}

pub(super) fn seen(
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

pub(super) struct Registry {
    pub(super) state: RegistryState,
    pub(super) known: Known,
    pub(super) last_recorded: Timestamp,
    pub(super) pending: VecDeque<Pending>,
}

/// A ledger's decision state before an atomic batch.
pub(super) struct Mark {
    state: crate::rules::state::Mark,
    size: u64,
    last_recorded: Timestamp,
    tree: Tree,
    pending: usize,
}

pub(super) fn contradiction(ledger: LedgerId, seq: u64, error: &dyn std::fmt::Display) -> ReplayError {
    ReplayError::Contradiction { ledger, seq, what: error.to_string() }
}

pub(super) fn remember(known: &mut Known, command: CommandStamp, seq: u64) {
    if let Some(key) = command.key {
        known.insert(&key.0, seq);
    }
}
