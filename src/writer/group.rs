//! What is committed together: events by ledger, and who waits for them.
//! Never looks inside an event.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use mentorlog_events::entry::Entry;
use mentorlog_events::event::Event;
use mentorlog_events::event::registry::RegistryEvent;
use mentorlog_events::id::LedgerId;
use mentorlog_events::record::Record;
use tokio::sync::oneshot;

use super::erasing::Erasable;
use super::published::{Head, Program};
use super::receipt::Refusal;
use super::reports::StepAnswer;
use super::tokens::TokenAnswer;
use super::{Answer, BatchAnswer, OpenAnswer, RotateAnswer};
use crate::ledger::Append;
use crate::people::{Row, RowId};

/// What the committer finds out for an answer.
pub(super) enum Found {
    Ready(Answer),
    /// The answer to the command that begins there.
    Again(Arc<Program>, u64),
}

pub(super) enum Reply {
    One(Found, Instant, oneshot::Sender<Answer>),
    Batch(Vec<Found>, Head, Instant, oneshot::Sender<Result<BatchAnswer, Refusal>>),
    /// A batch of which nothing was considered.
    NoBatch(Refusal, oneshot::Sender<Result<BatchAnswer, Refusal>>),
    Open(Result<(Arc<Program>, Found), Refusal>, oneshot::Sender<OpenAnswer>),
    Rotated(RotateAnswer, oneshot::Sender<RotateAnswer>),
    Report(StepAnswer, oneshot::Sender<StepAnswer>),
    /// Whether a person may be erased.
    Erasable(Result<Erasable, Refusal>, oneshot::Sender<Result<Erasable, Refusal>>),
    /// The answer to the erasing of a person before.
    Erased(Found, oneshot::Sender<Result<Erasable, Refusal>>),
    /// Something was recorded in the registry.
    Recorded(Result<(), Refusal>, oneshot::Sender<Result<(), Refusal>>),
    Token(TokenAnswer, oneshot::Sender<TokenAnswer>),
}

/// What of one ledger is published once its entries are durable.
pub(super) enum Fold {
    Program { program: Arc<Program>, entries: Vec<Entry<Event>>, is_new: bool },
    Registry { entries: Vec<Entry<RegistryEvent>> },
}

/// What is committed together.
#[derive(Default)]
pub(super) struct Group {
    /// One for each ledger; their roots are filled in when the group is handed over.
    pub(super) appends: Vec<Append>,
    /// What is published of each append once it is durable.
    pub(super) folds: Vec<Fold>,
    index: HashMap<LedgerId, usize>,
    /// What was sealed beside the entries: durable before them.
    pub(super) rows: Vec<Row>,
    /// What was sealed earlier and is made void by the entries: removed after them.
    pub(super) superseded: Vec<RowId>,
    pub(super) replies: Vec<Reply>,
    pub(super) entries: usize,
    pub(super) bytes: usize,
}

impl Group {
    pub(super) fn is_empty(&self) -> bool {
        self.appends.is_empty() && self.replies.is_empty()
    }

    /// Takes another group of later decisions in.
    pub(super) fn absorb(&mut self, later: Self) {
        for (append, fold) in later.appends.into_iter().zip(later.folds) {
            let Some(&index) = self.index.get(&append.ledger) else {
                self.index.insert(append.ledger, self.appends.len());
                self.appends.push(append);
                self.folds.push(fold);
                continue;
            };
            self.appends[index].records.extend(append.records);
            match (&mut self.folds[index], fold) {
                (Fold::Program { entries, .. }, Fold::Program { entries: later, .. }) => {
                    entries.extend(later);
                }
                (Fold::Registry { entries }, Fold::Registry { entries: later }) => entries.extend(later),
                (Fold::Program { .. }, Fold::Registry { .. })
                | (Fold::Registry { .. }, Fold::Program { .. }) => {
                    unreachable!("the registry's ledger is no program's")
                }
            }
        }
        self.rows.extend(later.rows);
        self.superseded.extend(later.superseded);
        self.replies.extend(later.replies);
        self.entries += later.entries;
        self.bytes += later.bytes;
    }

    /// Moves records to the end of a ledger, and shows where their entries are to be published from.
    pub(super) fn push(
        &mut self,
        ledger: LedgerId,
        seq: u64,
        records: &mut Vec<Record>,
        fold: impl FnOnce() -> Fold,
    ) -> &mut Fold {
        self.entries += records.len();
        self.bytes += records.iter().map(|record| record.bytes().len()).sum::<usize>();
        let (appends, folds) = (&mut self.appends, &mut self.folds);
        let index = *self.index.entry(ledger).or_insert_with(|| {
            appends.push(Append { ledger, expected_size: seq, records: Vec::new(), root: [0; 32] });
            folds.push(fold());
            appends.len() - 1
        });
        self.appends[index].records.append(records);
        &mut self.folds[index]
    }
}
