//! What is committed together: events by ledger, and who waits for them.
//! Never looks inside an event.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use mentorlog_events::entry::Entry;
use mentorlog_events::event::Event;
use mentorlog_events::id::LedgerId;
use tokio::sync::oneshot;

use super::published::Program;
use super::receipt::Refusal;
use super::{Answer, OpenAnswer};
use crate::ledger::Append;

/// What the committer finds out for an answer.
pub(super) enum Found {
    Ready(Answer),
    /// The answer to the command that begins there.
    Again(Arc<Program>, u64),
}

pub(super) enum Reply {
    One(Found, Instant, oneshot::Sender<Answer>),
    Batch(Vec<Found>, Instant, oneshot::Sender<Vec<Answer>>),
    Open(Result<(Arc<Program>, Found), Refusal>, oneshot::Sender<OpenAnswer>),
}

/// Entries of one ledger to publish once they are durable.
pub(super) enum Fold {
    Program { program: Arc<Program>, entries: Vec<Entry<Event>>, is_new: bool },
    Registry,
}

pub(super) struct Part {
    pub(super) append: Append,
    pub(super) fold: Fold,
}

/// What is committed together.
#[derive(Default)]
pub(super) struct Group {
    pub(super) parts: Vec<Part>,
    index: HashMap<LedgerId, usize>,
    pub(super) replies: Vec<Reply>,
    pub(super) entries: usize,
    pub(super) bytes: usize,
}

impl Group {
    pub(super) fn is_empty(&self) -> bool {
        self.parts.is_empty() && self.replies.is_empty()
    }

    /// Takes another group of later decisions in.
    pub(super) fn absorb(&mut self, later: Self) {
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

    pub(super) fn push(&mut self, ledger: LedgerId, seq: u64, fold: impl FnOnce() -> Fold) -> &mut Part {
        let parts = &mut self.parts;
        let index = *self.index.entry(ledger).or_insert_with(|| {
            let append = Append { ledger, expected_size: seq, records: Vec::new(), root: [0; 32] };
            parts.push(Part { append, fold: fold() });
            parts.len() - 1
        });
        &mut self.parts[index]
    }
}
