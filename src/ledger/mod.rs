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
//! tail/N.tail       the second copy of the newest entries: preallocated segments of CRC-framed commits, in order
//! tail/BASE         size and root of every ledger as the segments left it that were dropped
//! mirror/log/*      the second copy of all others: what is published of each ledger (see [`mirror`])
//! reports/          published reports: a signed note each, under the digest of its text
//! sled.before-open  sled as an unclean stop left it, until a start has shown that the copies agree
//! *.damaged-N       what a start or a repair moved aside; never read again, for you to look at and delete
//! *.rebuilding      a rebuild that was interrupted; the next start begins it anew
//! ```
//! The tail drops whole segments once the mirror holds every entry in them under a stored checkpoint. So each entry
//! is there twice at any time: in sled, and in the tail or the mirror. `keys/` is not the log's, and has no second
//! copy here: its backup is yours.
//!
//! # What a start does
//!
//! Every entry of all three is read and hashed. sled is compared with the tail entry by entry; every root the tail
//! recorded is recomputed; sled's root at the size of each checkpoint has to be the checkpoint's; and every file of
//! the mirror has to be what the resulting trees say. What one copy lacks is redone from the others. What nobody
//! vouches for is refused with ledger and seq. An entry that two intact copies disagree on is never served.
//!
//! Whether a checkpoint is signed by this installation is asked of [`sled::OpenOptions::signed`]: one that is not has
//! rotted, and one that is and contradicts the log is a refusal.
//!
//! | found | done |
//! |---|---|
//! | sled lacks the last commits | redone from the tail, or from the mirror up to its checkpoint |
//! | sled is ahead of the tail, same prefix | kept (never acknowledged, but harmless); appended to the tail |
//! | last frame of the tail is torn | cut |
//! | sled is empty, missing, does not open, has gaps or lacks what was mirrored | moved aside, rebuilt from mirror and tail and what of it can be read |
//! | the tail is damaged in the middle, later frames vouch for what the others hold | tail rebuilt from sled |
//! | `BASE` is damaged or missing, or segments are | tail rebuilt from sled, as far as the last frame vouches for it |
//! | the tail is lost, sled is whole | tail rebuilt from sled, with a loud warning |
//! | sled and the tail end before a checkpoint of the mirror | brought up to it from the mirror's bundles; if those cannot show the entries, refused with the first |
//! | a tile or bundle is missing or holds other bytes | written anew from the log, with a warning |
//! | a checkpoint cannot be read, or is not signed by this installation | moved aside, with a warning; the next one is signed over all |
//! | two or more checkpoints, and none is signed by this installation | refused: it is the key that is wrong |
//! | a mirror, or its checkpoint, is missing | its tiles are written anew as far as the tail relies on them, the rest by whoever publishes |
//! | a file in the mirror that belongs to no size of its ledger | moved aside |
//! | sled and the mirror are damaged at different entries | both made whole |
//! | sled, and what else held the same entries, are damaged | refused, naming ledger and first seq |
//! | all are empty though entries were appended | refused |
//! | different bytes at one seq, or another root than a frame, `BASE`, a checkpoint or CLEAN states | refused, naming ledger and seq |
//!
//! **When a fault in the mirror is found:** at the next start, or by `doctor`, or by whoever fetches the file and
//! checks it. A running service serves the mirror's files as they are.
//!
//! **What cannot be seen from here:** if sled and the tail are cut back to the same earlier size after an unclean
//! stop, and the mirror with its checkpoints is as well, they agree. Only a head kept elsewhere (a checkpoint
//! somebody fetched, a witness) shows it. After an orderly stop the CLEAN marker is such a head, though one in the
//! same directory.
//!
//! # When a start is refused
//!
//! Nothing was changed that the entries depend on. Run `doctor` (see [`doctor::examine`]), copy the directory,
//! and find out which copy is right, for example from an auditor's export. If mirror and tail are right,
//! [`doctor::repair`] moves sled aside and rebuilds it. If sled is right, move `tail/` or `mirror/` aside: the next
//! start rebuilds them from sled and says so.

use std::io;

use mentorlog_events::id::LedgerId;
use mentorlog_events::record::{Hash, Record};

pub mod checkpoint;
pub mod doctor;
pub mod durations;
pub mod exported;
#[doc(hidden)]
pub mod faulty;
pub mod memory;
pub mod merkle;
pub mod mirror;
pub mod mirrored;
pub mod note;
pub mod policy;
pub mod proofs;
pub mod provable;
pub mod read_only;
pub mod reports;
pub mod sled;
pub mod tiled;
pub mod tiles;

mod chunks;
mod files;
mod recovery;
mod tail;

pub use sled::probe;

use durations::Durations;

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

    /// Tells the log that the mirror holds a ledger durably up to `size`, its checkpoint included: a log that keeps
    /// a copy of its own of newer entries may now let go of the older ones. Called from any thread but those that
    /// wait for appends: it may write and sync files, and takes its time.
    fn mirrored(&self, _ledger: LedgerId, _size: u64) {}

    /// Whether nothing can be appended, and nothing that rests on its end may be changed: it may not be the newest.
    fn is_read_only(&self) -> bool {
        false
    }

    /// What making appends durable has cost since the start; `None` of a log that has no files to sync.
    fn syncs(&self) -> Option<&Syncs> {
        None
    }

    /// What the log takes of its disk now, and what is left of that; `None` of a log without files.
    /// Looks at every file: for now and then, not for each answer.
    fn footprint(&self) -> io::Result<Option<Footprint>> {
        Ok(None)
    }
}

/// Times of `fdatasync` of a log's files: one of each for every commit, side by side.
#[derive(Debug, Default)]
pub struct Syncs {
    /// Of the store's file.
    pub store: Durations,
    /// Of the tail's segment.
    pub tail: Durations,
}

/// Bytes on a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Footprint {
    /// Allocated to the store's files.
    pub store: u64,
    /// Allocated to the tail's segments, those filled with zeros ahead of use included.
    pub tail: u64,
    /// Free to an unprivileged process on the file system of the data directory.
    pub free: u64,
    /// Size of that file system.
    pub capacity: u64,
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
