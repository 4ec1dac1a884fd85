//! A log in memory, for tests and demonstrations.
//! Never survives its process.

use std::collections::BTreeMap;
use std::sync::{PoisonError, RwLock};

use mentorlog_events::id::LedgerId;
use mentorlog_events::record::{ENTRY_BYTES_MAX, Record};

use super::merkle::Tree;
use super::{Append, AppendError, Log, Outcome, ReadError};

/// Every ledger as a list of records.
#[derive(Debug, Default)]
pub struct MemoryLog(RwLock<BTreeMap<LedgerId, Vec<Record>>>);

impl MemoryLog {
    /// A log without entries.
    pub fn new() -> Self {
        Self::default()
    }

    /// The Merkle tree of every ledger that has entries: what a start-up hands to the writer.
    pub fn heads(&self) -> BTreeMap<LedgerId, Tree> {
        let ledgers = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let tree = |records: &Vec<Record>| {
            let mut tree = Tree::new();
            tree.extend(records.iter().map(Record::leaf_hash));
            tree
        };
        ledgers.iter().map(|(ledger, records)| (*ledger, tree(records))).collect()
    }
}

impl Log for MemoryLog {
    fn read(&self, ledger: LedgerId, from: u64, limit: usize) -> Result<Vec<Record>, ReadError> {
        let ledgers = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let records = ledgers.get(&ledger).map_or(&[][..], Vec::as_slice);
        let from = usize::try_from(from).unwrap_or(usize::MAX).min(records.len());
        Ok(records[from..].iter().take(limit).cloned().collect())
    }

    fn append(&self, appends: &[Append]) -> Vec<Outcome> {
        let mut ledgers = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let one = |append: &Append| {
            let size = ledgers.get(&append.ledger).map_or(0, |records| records.len() as u64);
            if size != append.expected_size {
                return Outcome::Conflict { size };
            }
            if let Some(record) = append.records.iter().find(|r| r.bytes().len() > ENTRY_BYTES_MAX) {
                let bytes = record.bytes().len();
                return Outcome::Unknown(AppendError::TooLarge {
                    what: "an entry",
                    bytes,
                    max: ENTRY_BYTES_MAX,
                });
            }
            if !append.records.is_empty() {
                ledgers.entry(append.ledger).or_default().extend(append.records.iter().cloned());
            }
            Outcome::Ok
        };
        appends.iter().map(one).collect()
    }
}
