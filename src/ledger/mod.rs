//! Where entries live: an append-only log per ledger, kept twice and checked against itself at every start.
//! Never knows what an entry means: here an entry is bytes, a position and a leaf of a Merkle tree.
//!
//! # Layout of a data directory
//!
//! ```text
//! LOCK              held by the one process that has the directory open
//! INSTALLATION      random id of this installation; whether anything was ever appended
//! CLEAN             written by an orderly stop: every ledger's head; gone before the first append after it
//! sled/             the first copy: one sled tree, key = ledger || first seq, value = consecutive entries
//! tail/N.tail       the second copy: preallocated segments of CRC-framed commits, in order
//! mirror/log/       what is published: a static C2SP tlog-tiles log for each ledger (see [`mirror`])
//! reports/          published reports: a signed note each, under the digest of its text
//! sled.before-open  sled as an unclean stop left it, until a start has shown that the copies agree
//! *.damaged-N       what a start or a repair moved aside; never read again, for you to look at and delete
//! *.rebuilding      a rebuild that was interrupted; the next start begins it anew
//! ```
//!
//! # What a start does
//!
//! Every entry of both copies is read, compared and hashed; every root the tail recorded is recomputed.
//! What one copy lacks is redone from the other. What nobody vouches for is refused with ledger and seq.
//! An entry that the two copies disagree on is never served.
//!
//! | found | done |
//! |---|---|
//! | sled lacks the last commits | redone from the tail |
//! | sled is ahead of the tail, same prefix | kept (never acknowledged, but harmless); appended to the tail |
//! | last frame of the tail is torn | cut |
//! | sled is empty, missing, does not open, or has gaps | moved aside, rebuilt from the tail |
//! | the tail is damaged in the middle, later frames vouch for what sled holds | tail rebuilt from sled |
//! | the tail is lost, sled is whole | tail rebuilt from sled, with a loud warning |
//! | both are empty though entries were appended | refused |
//! | different bytes at one seq, or another root | refused, naming ledger and seq |
//!
//! **What cannot be seen from here:** if both copies are cut back to the same earlier size after an unclean
//! stop, they agree. Only a head kept elsewhere (a published checkpoint, a witness) shows it.
//! After an orderly stop the CLEAN marker is such a head, though one in the same directory.
//!
//! # When a start is refused
//!
//! Nothing was changed that the entries depend on. Run `doctor` (see [`doctor::examine`]), copy the directory,
//! and find out which copy is right, for example from a mirror or an auditor's export. If the tail is right,
//! [`doctor::repair_from_tail`] moves sled aside and rebuilds it. If sled is right, move `tail/` aside:
//! the next start rebuilds it from sled and says so.

use mentorlog_events::id::LedgerId;
use mentorlog_events::record::{Hash, Record};

pub mod checkpoint;
pub mod doctor;
pub mod exported;
#[doc(hidden)]
pub mod faulty;
pub mod memory;
pub mod merkle;
pub mod mirror;
pub mod note;
pub mod policy;
pub mod proofs;
pub mod provable;
pub mod reports;
pub mod sled;
pub mod tiled;
pub mod tiles;

mod chunks;
mod files;
mod recovery;
mod tail;

pub use sled::probe;

/// An append-only log of many ledgers. Synchronous: call it on a thread of its own, never on a runtime worker.
///
/// Each ledger is gapless from seq 0. A ledger nobody has appended to has size 0; there is no separate
/// creation. Entries are never changed and never removed.
pub trait Log: Send + Sync + 'static {
    /// Reads consecutive records from seq `from` on, at most `limit`; fewer only at the end of the ledger.
    /// Only what an [`append`](Self::append) answered with [`Outcome::Ok`], or a start verified, is read.
    /// An unknown ledger is empty.
    fn read(&self, ledger: LedgerId, from: u64, limit: usize) -> Result<Vec<Record>, ReadError>;

    /// Compares and appends: each [`Append`] whose ledger has exactly the expected size is stored whole.
    ///
    /// One outcome per append, in order. Two appends to one ledger follow each other. The records of one
    /// append are stored together or not at all; nothing is atomic across appends from the caller's side.
    /// After an [`Outcome::Unknown`] the log refuses every further append; reads go on.
    fn append(&self, appends: &[Append]) -> Vec<Outcome>;

    /// Says that the first `size` entries of a ledger lie in its mirror too, synced, under a stored checkpoint.
    /// A log that keeps a second copy of them until then may let it go.
    fn mirrored(&self, _ledger: LedgerId, _size: u64) {}

    /// What making appends durable has cost since the start, for a log that syncs; else nothing.
    fn syncs(&self) -> Syncs {
        Syncs::default()
    }
}

/// Syncs of a log's own file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Syncs {
    /// How many.
    pub count: u64,
    /// How long they took together.
    pub took: std::time::Duration,
}

/// Records to store behind the end of one ledger.
#[derive(Debug, Clone)]
pub struct Append {
    /// The ledger to grow.
    pub ledger: LedgerId,
    /// Its size as the caller knows it: the seq of the first record.
    pub expected_size: u64,
    /// What to store, in order. Empty: only the size is compared.
    pub records: Vec<Record>,
    /// The RFC 6962 root at `expected_size + records.len()`. Stored, not recomputed: a start that finds
    /// another root refuses.
    pub root: Hash,
}

/// What became of one [`Append`].
#[derive(Debug, Clone)]
pub enum Outcome {
    /// The records are durable, in both copies where there are two.
    Ok,
    /// The ledger has another size, this one. Nothing of this append was written.
    Conflict {
        /// The ledger's size.
        size: u64,
    },
    /// The records may or may not be on disk: the caller must stop writing. A restart finds out.
    Unknown(AppendError),
}

/// Why a log cannot say whether an append is on disk, or takes no more.
#[derive(Debug, Clone, thiserror::Error)]
pub enum AppendError {
    /// The disk is full. The commit may be in one copy; the next start settles it.
    #[error("the disk is full ({copy}): {detail}")]
    Full {
        /// Which copy could not be written.
        copy: &'static str,
        /// The operating system's words.
        detail: String,
    },
    /// Writing or syncing failed. The commit may be in one copy; the next start settles it.
    #[error("could not write {copy}: {detail}")]
    Failed {
        /// Which copy could not be written.
        copy: &'static str,
        /// The words of sled or of the operating system.
        detail: String,
    },
    /// sled wrote a blob file, which it never syncs: what it holds is not durable.
    #[error("sled wrote a blob file, which it never syncs")]
    Blob,
    /// An entry or a commit is larger than the format holds. Nothing was written.
    #[error("{what} of {bytes} bytes, at most {max} can be stored")]
    TooLarge {
        /// What is too large.
        what: &'static str,
        /// Its size.
        bytes: usize,
        /// The format's limit.
        max: usize,
    },
    /// An earlier append failed, or the log was closed. Nothing of this append was written.
    #[error("the log takes no more appends: {0}")]
    Stopped(String),
}

/// Why entries could not be read. What was read before is still true.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ReadError {
    /// An entry that was verified at the start can no longer be read.
    #[error("ledger {ledger}: seq {seq} cannot be read: {detail}")]
    Damaged {
        /// The ledger.
        ledger: LedgerId,
        /// The first seq that cannot be read.
        seq: u64,
        /// What was found.
        detail: String,
    },
    /// The log was closed.
    #[error("the log is closed")]
    Closed,
}

#[cfg(test)]
mod contract;
