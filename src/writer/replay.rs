//! Reading a ledger from its first entry: decoding on every core, handing over in order.
//! Never skips an entry it does not understand: it stops there and says where.

use std::ops::Range;
use std::sync::mpsc;
use std::thread;

use mentorlog_events::entry::{Entry, Facts, ReadError as EntryError};
use mentorlog_events::id::LedgerId;
use mentorlog_events::record::{Hash, Record};
use mentorlog_events::time::Timestamp;

use crate::ledger::{Log, ReadError};

/// Entries read at a time by each thread. Decoded they are some 200 KB, which is folded before it leaves the cache.
const BLOCK: u64 = 512;

/// The history cannot be read as it stands. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// The log could not be read.
    #[error(transparent)]
    Log(#[from] ReadError),
    /// An entry cannot be read.
    #[error("ledger {ledger}, seq {seq}: {error}")]
    Entry {
        /// The ledger.
        ledger: LedgerId,
        /// The position.
        seq: u64,
        /// What is wrong with it.
        error: EntryError,
    },
    /// An entry contradicts the ones before it.
    #[error("ledger {ledger}, seq {seq}: {what}")]
    Contradiction {
        /// The ledger.
        ledger: LedgerId,
        /// The position.
        seq: u64,
        /// What it contradicts.
        what: String,
    },
}

/// One entry of a replay.
pub struct Replayed<E> {
    /// The entry, of whatever version, as today's.
    pub entry: Entry<E>,
    /// Its leaf hash, computed from its bytes; all zeros unless hashing was asked for.
    pub leaf: Hash,
}

/// Reads the entries of `range` and gives each to `fold`, in order: decoded, gapless, time never running back,
/// and hashed if `hash` says so. Decoding and hashing are spread over the machine's cores.
pub fn replay<E: Facts + Send>(
    log: &dyn Log,
    ledger: LedgerId,
    range: Range<u64>,
    hash: bool,
    mut fold: impl FnMut(&Replayed<E>) -> Result<(), ReplayError>,
) -> Result<(), ReplayError> {
    let blocks = (range.end - range.start).div_ceil(BLOCK);
    let workers = thread::available_parallelism().map_or(1, |n| n.get() as u64).min(blocks);
    let read_block = |block: u64| -> Result<Vec<Replayed<E>>, ReplayError> {
        let from = range.start + block * BLOCK;
        let limit = usize::try_from(BLOCK.min(range.end - from)).expect("a block fits");
        let records = log.read(ledger, from, limit)?;
        if records.len() < limit {
            let seq = from + records.len() as u64;
            return Err(ReplayError::Contradiction { ledger, seq, what: "the ledger ends here".into() });
        }
        records.iter().zip(from..).map(|(record, seq)| decode(ledger, seq, record, hash)).collect()
    };
    let mut last = Timestamp::MIN;
    let mut hand_over = |block: Vec<Replayed<E>>| {
        for replayed in &block {
            let recorded_at = replayed.entry.recorded_at;
            if recorded_at < last {
                let what = format!("recorded at {recorded_at}, before the entry before it ({last})");
                return Err(ReplayError::Contradiction { ledger, seq: replayed.entry.seq, what });
            }
            last = recorded_at;
            fold(replayed)?;
        }
        Ok(())
    };
    if workers <= 1 {
        return (0..blocks).try_for_each(|block| hand_over(read_block(block)?));
    }
    thread::scope(|scope| {
        let read_block = &read_block;
        let queues: Vec<_> = (0..workers)
            .map(|worker| {
                let (sender, receiver) = mpsc::sync_channel(2);
                scope.spawn(move || {
                    for block in (worker..blocks).step_by(usize::try_from(workers).expect("a few")) {
                        if sender.send(read_block(block)).is_err() {
                            // The reader stopped at an error.
                            return;
                        }
                    }
                });
                receiver
            })
            .collect();
        for (_, queue) in (0..blocks).zip(queues.iter().cycle()) {
            let Ok(block) = queue.recv() else {
                let what = "the reading thread panicked".to_owned();
                return Err(ReplayError::Contradiction { ledger, seq: range.start, what });
            };
            hand_over(block?)?;
        }
        Ok(())
    })
}

fn decode<E: Facts>(
    ledger: LedgerId,
    seq: u64,
    record: &Record,
    hash: bool,
) -> Result<Replayed<E>, ReplayError> {
    let entry = Entry::parse(record.bytes()).map_err(|error| ReplayError::Entry { ledger, seq, error })?;
    if entry.seq != seq {
        let what = format!("the entry says it is seq {}", entry.seq);
        return Err(ReplayError::Contradiction { ledger, seq, what });
    }
    let leaf = if hash { record.leaf_hash() } else { [0; 32] };
    Ok(Replayed { entry, leaf })
}
