//! Taking a ledger up again from a copy of it, to the byte: the one other way in which entries get into a log.
//! Never decides anything: what is appended was decided and signed for once, and is only put back.

use std::ops::Range;

use mentorlog_events::id::LedgerId;

use crate::ledger::merkle::Tree;
use crate::ledger::{Append, AppendError, Log, Outcome, ReadError};

/// Entries appended at a time.
const BLOCK: u64 = 1024;

/// A ledger was not taken up whole. What was appended is a beginning of the copy; the same again goes on from there.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// The copy cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The log did not take the entries.
    #[error(transparent)]
    Append(#[from] AppendError),
    /// Somebody else has appended meanwhile.
    #[error("ledger {ledger} has {size} entries by now: nothing more was appended")]
    Conflict {
        /// The ledger.
        ledger: LedgerId,
        /// Its size.
        size: u64,
    },
}

/// Appends the entries `range` of a copy to the same ledger of a log that ends where `range` begins.
///
/// `tree` is that ledger's so far, and grows with it. `advance` is told how many entries were appended.
pub fn restore(
    copy: &dyn Log,
    log: &dyn Log,
    ledger: LedgerId,
    range: Range<u64>,
    tree: &mut Tree,
    mut advance: impl FnMut(u64),
) -> Result<(), RestoreError> {
    let mut seq = range.start;
    while seq < range.end {
        let limit = usize::try_from(BLOCK.min(range.end - seq)).expect("a block fits");
        let records = copy.read(ledger, seq, limit)?;
        if records.is_empty() {
            let detail = "the copy ends here".to_owned();
            return Err(ReadError::Damaged { ledger, seq, detail }.into());
        }
        tree.extend(records.iter().map(mentorlog_events::record::Record::leaf_hash));
        let count = records.len() as u64;
        let append = Append { ledger, expected_size: seq, records, root: tree.root() };
        match log.append(&[append]).pop() {
            Some(Outcome::Ok) => {}
            Some(Outcome::Conflict { size }) => return Err(RestoreError::Conflict { ledger, size }),
            Some(Outcome::Unknown(error)) => return Err(error.into()),
            None => unreachable!("one outcome per append"),
        }
        seq += count;
        advance(count);
    }
    Ok(())
}
