//! Sealed personal data and its keys: the part that can forget.
//! Never in the log, never in sled: what is deleted there stays in the file. Never shows a key, and shows a text only
//! to who asks for it by its place.
//!
//! The log holds commitments ([`openings::commitment`]); salts and texts lie here, sealed under a key per participant
//! that only the keyring holds. To forget somebody is to write the keyring anew without their slot, under a
//! new epoch key, and to destroy the old one: their rows, wherever copies of them lie, are then noise.
//!
//! ```text
//! <data>/people/keyring/<epoch>     the keys; exactly one file once an operation is settled
//! <data>/people/rows.redb           ciphertext, and whom it is about
//! ```
//! What is corrected or removed stays in free pages of the rows' file until they are written anew ([`People::tidy`]): at
//! an orderly stop and at each start, if anything was removed since.
//!
//! # What is durable when
//!
//! [`People::put`] syncs the slots, then the rows; only then may the log commit to them. A row whose event never came
//! is an orphan, which [`People::sweep`] removes at start. A commitment without its row is [`OpenError::Lost`].
//!
//! # Erasing, and what a start has to finish
//!
//! One human being may be several participants. Each has an erasure of its own, whose id says nothing of the others';
//! but their entries are neighbours in the registry and bear one time, and so may those in the programs' ledgers: whoever
//! reads these sees that they were erased together.
//! 0. [`People::begin_erasure`]: from here on nothing new is sealed for them.
//! 1. the caller: `erasure-requested` for each of them, in one append to the registry.
//! 2. [`People::forget`].
//! 3. the caller: `person-erased` and its cascade in each ledger. 4. `erasure-completed` for each.
//!
//! A start drops what was never announced ([`People::drop_erasure`]), forgets every slot whose erasure the registry
//! knows, or of whom a ledger says that they are erased ([`People::held`]; an older keyring beside current ledgers has
//! such), and goes on with 3 and 4 from [`People::erasures`]. What a registry said, this installation's or the one a
//! restore was given, is never dropped. [`People::open`] itself finishes a `forget` that was cut short between two files.
//!
//! A failed operation on a file stops the store until it is opened again: what is on the disk then decides.

mod copies;
mod disk;
mod keyring;
mod openings;
mod rows;
#[cfg(test)]
mod tests;

use std::collections::{BTreeSet, HashMap};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use hkdf::Hkdf;
use mentorlog_events::entry::Commitment;
use mentorlog_events::id::{
    B64, ErasureId, EventId, InstallationId, LedgerId, LinkId, ParticipantId, ProgramId,
};
use rand::CryptoRng;
use sha2::Sha256;
use uuid::Uuid;
use zeroize::Zeroizing;

pub use copies::{Copied, Look, back_up, destroy_keyrings, installation_of, look, note_erased, put_back};
pub use disk::Stop;
pub use keyring::{Kek, KekError};
pub use openings::{Opening, RowId, commitment};

use disk::Disk;
use keyring::{KeyringFile, Secret, Slot};
use rows::{Change, LinkKey, Rows, Stored};

/// The people store could not be opened, or an operation on its files failed.
#[derive(Debug, thiserror::Error)]
pub enum PeopleError {
    /// The file system refused. What was being done is done, or not, or half: opening the store again settles it.
    #[error("{}: {error}", path.display())]
    Io {
        /// Which file.
        path: PathBuf,
        /// What it said.
        error: io::Error,
    },
    /// The rows are damaged.
    #[error(
        "{}: {what}; restore it from the backup, or, if there is none, move it away: what was sealed in it is then \
         lost, and told so",
        path.display()
    )]
    Corrupted {
        /// Which file.
        path: PathBuf,
        /// What redb said.
        what: String,
    },
    /// The rows could not be read or written.
    #[error("{}: {error}", path.display())]
    Rows {
        /// Which file.
        path: PathBuf,
        /// What redb said.
        error: Box<redb::Error>,
    },
    /// Another process has the store open.
    #[error("{} is in use by another process", .0.display())]
    InUse(PathBuf),
    /// There is a keyring, and no key-encryption key was given.
    #[error(
        "there is a keyring in {} and no key to open it: give the key-encryption key with --personal-key-file, \
         MENTORLOG_PERSONAL_KEY_FILE or MENTORLOG_PERSONAL_KEY",
        .0.display()
    )]
    KekMissing(PathBuf),
    /// It is written down who was erased, and there is no key.
    #[error(
        "{} says who was erased, and is read with a key only: give one with --personal-key-file (`mentorlog keyring init` \
         makes it), so that they stay erased", .0.display()
    )]
    NoKeyForErased(PathBuf),
    /// There are sealed rows, and the keyring they are sealed under is not there.
    #[error(
        "there are sealed rows and no keyring in {}: restore it from its backup, or, if it is gone for good, move \
         rows.redb beside it away: what was sealed is then lost, and told so",
        .0.display()
    )]
    KeyringMissing(PathBuf),
    /// The keyring was wrapped by another key-encryption key, or its header is damaged.
    #[error(
        "{} does not open with this key-encryption key: it is another one, or the head of the file is damaged",
        .0.display()
    )]
    WrongKek(PathBuf),
    /// The file is no keyring this program knows.
    #[error("{} is not a keyring: {detail}", path.display())]
    NotAKeyring {
        /// Which file.
        path: PathBuf,
        /// Why not.
        detail: &'static str,
    },
    /// The file is no table of rows this program knows.
    #[error("{} is not a file of sealed rows of this version", .0.display())]
    NotRows(PathBuf),
    /// A slot that rows lie under cannot be opened.
    #[error(
        "slot {index} of {} is damaged: the key of a person is in it; restore the keyring from its backup",
        path.display()
    )]
    BadSlot {
        /// Which file.
        path: PathBuf,
        /// Counted from 0.
        index: u64,
    },
    /// The file belongs to another installation.
    #[error("{} belongs to another installation", .0.display())]
    OtherInstallation(PathBuf),
    /// An operation failed before: nothing more is written until the store is opened again.
    #[error("the people store has stopped after a failed write; restart to go on")]
    Stopped,
    /// Two participants cannot be said to be one human, or not to be: one of them is erased.
    #[error("participant {0} is erased")]
    Erased(ParticipantId),
    /// Nobody said that the participant is the same human being as another.
    #[error("participant {0} is a human being of their own already")]
    Alone(ParticipantId),
}

/// A text could not be sealed. Nothing was kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// Somebody it is about is erased, or is being so.
    #[error("participant {0} is erased")]
    Erased(ParticipantId),
    /// The store has stopped after a failed write.
    #[error("the people store has stopped after a failed write; restart to go on")]
    Stopped,
}

/// A sealed text cannot be shown.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Somebody it is about was erased: nobody can open it any more.
    #[error("erased")]
    Erased,
    /// The log commits to it, but it is not here: it was lost, e.g. by a restore without the sealed rows.
    #[error("lost: the log commits to it, but it is not in the people store")]
    Lost,
    /// It is here and does not open: its bytes have changed.
    #[error("damaged: it is in the people store and does not open")]
    Damaged,
    /// The rows could not be read.
    #[error(transparent)]
    Unreadable(#[from] PeopleError),
}

/// Whom a text is about. Both are participants of the ledger's program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum About {
    /// One participant: personal data.
    One(ParticipantId),
    /// Two, in any order: notes, comments, reasons. When either is erased it is gone.
    Two(ParticipantId, ParticipantId),
}

impl About {
    /// One or two, in ascending order, each once.
    pub fn participants(self) -> Vec<ParticipantId> {
        let mut participants = match self {
            Self::One(one) => vec![one],
            Self::Two(one, other) => vec![one, other],
        };
        participants.sort_unstable();
        participants.dedup();
        participants
    }
}

/// A text sealed in memory: what the log says of it, and what [`People::put`] keeps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sealed {
    /// For the entry.
    pub commitment: Commitment,
    /// For the store, before the entry is appended.
    pub row: Row,
}

/// A sealed row. Opaque: ciphertext and its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row(Stored);

impl Row {
    /// Where it belongs.
    pub const fn id(&self) -> &RowId {
        &self.0.id
    }
}

/// The erasure of one participant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Erasure {
    /// Its id in the registry and in the program's ledger.
    pub id: ErasureId,
    /// The participant's program.
    pub program: ProgramId,
    /// Who.
    pub participant: ParticipantId,
}

/// What was said on who is the same human being as a participant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Link {
    /// Its id in the registry, which says who said it and when.
    pub id: LinkId,
    /// The other participant that is the same human being; `None`: that this one is a human being of their own.
    pub with: Option<(ProgramId, ParticipantId)>,
}

/// How much the store holds; no names, no ids.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Status {
    /// The keyring's epoch: how often it was written anew, counted from 1.
    pub epoch: u64,
    /// Slots on the disk.
    pub slots: u64,
    /// Human beings these stand for.
    pub humans: u64,
    /// Sealed rows.
    pub rows: u64,
    /// Erasures begun or done.
    pub erasures: u64,
}

/// The sealed personal data of one installation. One per process and data directory.
///
/// `seal`, `open_row` and the questions do not wait for the disk's syncs; the rest is done one at a time.
pub struct People {
    installation: InstallationId,
    // Another file after it was written anew.
    rows: RwLock<Rows>,
    ring: RwLock<Ring>,
    // Taken before `ring` and `rows`, held over a whole operation on files.
    files: Mutex<Files>,
    stopped: AtomicBool,
}

struct Files {
    disk: Disk,
    dir: PathBuf,
    kek: Kek,
    keyring: KeyringFile,
}

/// The keyring in memory.
#[derive(Default)]
struct Ring {
    slots: HashMap<(ProgramId, ParticipantId), Held>,
    erased: HashMap<(ProgramId, ParticipantId), ErasureId>,
    /// Those of them that are not dropped any more.
    announced: BTreeSet<ErasureId>,
}

/// A slot, and whether it is in the file.
struct Held {
    slot: Slot,
    /// Its position in the file, which orders the next one too; `None`: only in memory so far.
    durable: Option<u64>,
}

impl Ring {
    fn durable(&self) -> Vec<&Slot> {
        let mut slots: Vec<_> =
            self.slots.values().filter_map(|held| Some((held.durable?, &held.slot))).collect();
        slots.sort_unstable_by_key(|(index, _)| *index);
        slots.into_iter().map(|(_, slot)| slot).collect()
    }

    /// How many participants are this human being.
    fn count(&self, human: Uuid) -> usize {
        self.slots.values().filter(|held| held.slot.human == human).count()
    }

    /// Seals what was said of `who` and another under the key of `who`. `None`: they have none.
    fn sealed_link<R: CryptoRng + ?Sized>(
        &self,
        who: (ProgramId, ParticipantId),
        link: LinkId,
        with: (ProgramId, ParticipantId),
        random: &mut R,
    ) -> Option<(LinkKey, Vec<u8>)> {
        let key = LinkKey { program: who.0, participant: who.1, link };
        let context = key.context();
        let mut nonce = [0; 24];
        random.fill_bytes(&mut nonce);
        let plain = [with.0.0.into_bytes(), with.1.0.into_bytes()].concat();
        let slot = &self.slots.get(&who)?.slot;
        let sealed =
            keyring::encrypt(&row_key(slot.key.bytes(), &context), &nonce, &plain, context.as_bytes());
        Some((key, sealed))
    }

    /// What was said, opened. `None`: whose it is has no key, or it does not open.
    fn link(&self, key: LinkKey, sealed: &[u8]) -> Option<Link> {
        let who = (key.program, key.participant);
        let context = key.context();
        let slot = &self.slots.get(&who)?.slot;
        let plain = keyring::decrypt(&row_key(slot.key.bytes(), &context), sealed, context.as_bytes())?;
        let (program, rest) = plain.split_first_chunk::<16>()?;
        let participant: [u8; 16] = rest.try_into().ok()?;
        let with = (ProgramId(Uuid::from_bytes(*program)), ParticipantId(Uuid::from_bytes(participant)));
        Some(Link { id: key.link, with: (with != who).then_some(with) })
    }

    /// The participant's slot, made in memory if there is none.
    fn slot<R: CryptoRng + ?Sized>(&mut self, who: (ProgramId, ParticipantId), random: &mut R) -> &mut Held {
        self.slots.entry(who).or_insert_with(|| {
            let mut ids = [[0; 16]; 2];
            for id in &mut ids {
                random.fill_bytes(id);
            }
            let [person, human] = ids.map(|id| uuid::Builder::from_random_bytes(id).into_uuid());
            let mut key = Secret::zeros();
            random.fill_bytes(key.bytes_mut());
            let (program, participant) = who;
            Held { slot: Slot { person: ErasureId(person), human, program, participant, key }, durable: None }
        })
    }
}

impl People {
    /// Opens the store in `dir` (`<data>/people`), or makes it when a key-encryption key is given. Whatever operation a
    /// crash has cut short is finished or undone. `None`: there is neither a keyring nor a key: sealing is switched off.
    pub fn open(
        dir: &Path,
        installation: InstallationId,
        kek: Option<Kek>,
    ) -> Result<Option<Self>, PeopleError> {
        Self::open_stopping(dir, installation, kek, None)
    }

    /// [`Self::open`], and everything after it, stopped before an operation on its files. For tests.
    pub fn open_stopping(
        dir: &Path,
        installation: InstallationId,
        kek: Option<Kek>,
        stop: Option<Stop>,
    ) -> Result<Option<Self>, PeopleError> {
        let ring_dir = dir.join("keyring");
        let listed = keyring::epochs(&ring_dir);
        let (epochs, _) = listed.map_err(|error| PeopleError::Io { path: ring_dir.clone(), error })?;
        match (kek, epochs.as_slice()) {
            (None, []) => {
                // A restore without the keyring has left who was erased: they stay so only where this is read.
                let has_rows = dir.join(rows::FILE).exists();
                if has_rows && !Rows::open(&Disk::stopping(stop), dir, installation)?.erasures()?.is_empty() {
                    return Err(PeopleError::NoKeyForErased(dir.join(rows::FILE)));
                }
                Ok(None)
            }
            (None, [..]) => Err(PeopleError::KekMissing(ring_dir)),
            (Some(kek), _) => Self::settled(Disk::stopping(stop), dir, installation, kek).map(Some),
        }
    }

    fn settled(disk: Disk, dir: &Path, installation: InstallationId, kek: Kek) -> Result<Self, PeopleError> {
        let ring_dir = dir.join("keyring");
        let failed = |error| PeopleError::Io { path: ring_dir.clone(), error };
        let (epochs, drafts) = keyring::epochs(&ring_dir).map_err(failed)?;
        // The newest keyring has to open before anything older is destroyed.
        let newest = if let Some(epoch) = epochs.last() {
            // Refused before the rows are touched.
            let path = ring_dir.join(keyring::name(*epoch));
            keyring::read(&path, *epoch, installation, &kek, Some(0))?;
            Some((path, *epoch))
        } else {
            disk.create_dir(dir).and_then(|()| disk.create_dir(&ring_dir)).map_err(failed)?;
            None
        };
        // From here on no other process has the store.
        let rows = Rows::open(&disk, dir, installation)?;
        // A file that never got its name is in nobody's way, and holds keys.
        for draft in drafts {
            disk.destroy(&draft).map_err(failed)?;
        }
        let sealed_under = rows.keyring()?;
        let (file, slots) = if let Some((path, epoch)) = newest {
            let under = sealed_under.filter(|(of, _)| *of == epoch).map(|(_, slots)| slots);
            let contents = keyring::read(&path, epoch, installation, &kek, under)?;
            KeyringFile::take_up(&disk, &path, epoch, contents).map_err(failed)?
        } else {
            // Made anew it would hide that everything that is sealed has become unreadable.
            if rows.len()? > 0 {
                return Err(PeopleError::KeyringMissing(ring_dir));
            }
            let epoch = sealed_under.map_or(0, |(epoch, _)| epoch) + 1;
            let none = std::iter::empty();
            let made = KeyringFile::write(&disk, &ring_dir, epoch, installation, &kek, none);
            (made.map_err(failed)?, Vec::new())
        };
        // A crash between the new file's name and its sync must not leave the old one as the newest.
        disk.sync_dir(&ring_dir).map_err(failed)?;
        let old = epochs
            .iter()
            .filter(|epoch| **epoch != file.epoch)
            .map(|epoch| ring_dir.join(keyring::name(*epoch)));
        let mut ring = Ring { announced: rows.announced()?, ..Ring::default() };
        for (index, slot) in (0..).zip(slots) {
            ring.slots.insert((slot.program, slot.participant), Held { slot, durable: Some(index) });
        }
        let mut gone = Vec::new();
        for erasure in rows.erasures()? {
            let who = (erasure.program, erasure.participant);
            ring.erased.insert(who, erasure.id);
            if !ring.slots.contains_key(&who) {
                gone.extend(rows.about(erasure.program, erasure.participant)?);
            }
        }
        let settled = Some((file.epoch, file.slots));
        if !gone.is_empty() || sealed_under != settled {
            rows.change(&disk, &Change { remove: gone, keyring: settled, ..Change::default() })?;
        }
        for path in old {
            disk.destroy(&path).map_err(failed)?;
        }
        Ok(Self {
            installation,
            rows: RwLock::new(rows),
            ring: RwLock::new(ring),
            files: Mutex::new(Files { disk, dir: ring_dir, kek, keyring: file }),
            stopped: AtomicBool::new(false),
        })
    }

    // ------------------------------------------------------------------------------------------------------ sealing

    /// Seals a text in memory, for a field of an event that is about to be appended. Whoever it is about and has no
    /// key yet gets one. Nothing is on the disk before [`Self::put`].
    pub fn seal<R: CryptoRng + ?Sized>(
        &self,
        ledger: LedgerId,
        event: EventId,
        at: &str,
        about: About,
        value: &str,
        random: &mut R,
    ) -> Result<Sealed, SealError> {
        if self.stopped.load(Ordering::Acquire) {
            return Err(SealError::Stopped);
        }
        let id = RowId { ledger, event, at: at.to_owned() };
        let about = about.participants();
        let mut salt = [0; 32];
        let mut nonce = [0; 24];
        random.fill_bytes(&mut salt);
        random.fill_bytes(&mut nonce);
        let context = id.context();
        let key = {
            let mut ring = self.ring_mut();
            if let Some(erased) =
                about.iter().find(|who| ring.erased.contains_key(&(ProgramId(ledger.0), **who)))
            {
                return Err(SealError::Erased(*erased));
            }
            let mut keys = Zeroizing::new(Vec::with_capacity(64));
            for participant in &about {
                keys.extend_from_slice(
                    ring.slot((ProgramId(ledger.0), *participant), random).slot.key.bytes(),
                );
            }
            row_key(&keys, &context)
        };
        let mut plain = Zeroizing::new(Vec::with_capacity(32 + value.len()));
        plain.extend_from_slice(&salt);
        plain.extend_from_slice(value.as_bytes());
        let sealed = keyring::encrypt(&key, &nonce, &plain, context.as_bytes());
        let commitment = Commitment { at: at.to_owned(), c: commitment(&id, &salt, value) };
        Ok(Sealed { commitment, row: Row(Stored { id, about, sealed }) })
    }

    /// Keeps rows, and removes others: the slots they need are durable first, then all rows at once. When it returns
    /// the log may commit to them. Rows about somebody who has been forgotten since they were sealed are left out.
    ///
    /// Call it with `remove` only after what makes those rows void is in the log.
    pub fn put(&self, put: &[Row], remove: &[RowId]) -> Result<(), PeopleError> {
        if put.is_empty() && remove.is_empty() {
            return Ok(());
        }
        let mut locked = self.files()?;
        let files = &mut *locked;
        let needed: Vec<(ProgramId, ParticipantId)> = {
            let ring = self.ring();
            let about =
                put.iter().flat_map(|row| row.0.about.iter().map(|who| (ProgramId(row.0.id.ledger.0), *who)));
            let new = about.filter(|who| ring.slots.get(who).is_some_and(|held| held.durable.is_none()));
            new.collect::<BTreeSet<_>>().into_iter().collect()
        };
        if !needed.is_empty() {
            let first = files.keyring.slots;
            let slots: Vec<Slot> = {
                let ring = self.ring();
                needed.iter().filter_map(|who| ring.slots.get(who)).map(|held| held.slot.clone()).collect()
            };
            let appended = files.keyring.add(&files.disk, slots.iter());
            appended.map_err(|error| self.stop(&files.keyring.path, error))?;
            let mut ring = self.ring_mut();
            for (index, who) in (first..).zip(&needed) {
                if let Some(held) = ring.slots.get_mut(who) {
                    held.durable = Some(index);
                }
            }
        }
        let change = {
            let ring = self.ring();
            let live = |row: &&Row| {
                row.0.about.iter().all(|who| ring.slots.contains_key(&(ProgramId(row.0.id.ledger.0), *who)))
            };
            Change {
                put: put.iter().filter(live).map(|row| &row.0).collect(),
                remove: remove.to_vec(),
                keyring: Some((files.keyring.epoch, files.keyring.slots)),
                ..Change::default()
            }
        };
        self.change(&files.disk, &change)
    }

    /// Removes the rows that nothing in the log commits to, or whose people were erased: by what this store knows, or
    /// by the ledgers. Says how many.
    pub fn sweep(
        &self,
        live: impl Fn(&RowId) -> bool,
        is_erased: impl Fn(ProgramId, ParticipantId) -> bool,
    ) -> Result<usize, PeopleError> {
        let files = self.files()?;
        let remove = {
            let ring = self.ring();
            self.rows().select(|id, about| {
                let forgotten = |who: &ParticipantId| {
                    let who = (ProgramId(id.ledger.0), *who);
                    is_erased(who.0, who.1)
                        || (ring.erased.contains_key(&who) && !ring.slots.contains_key(&who))
                };
                !live(id) || about.iter().any(forgotten)
            })?
        };
        let swept = remove.len();
        if swept > 0 {
            let change = Change { remove, ..Change::default() };
            self.change(&files.disk, &change)?;
        }
        Ok(swept)
    }

    /// Writes the rows anew if anything was removed since they last were, and destroys the file of before: after this no
    /// file of the store has a text in it, sealed as it is, that was corrected or removed. Says whether it did.
    pub fn tidy(&self) -> Result<bool, PeopleError> {
        let files = self.files()?;
        if !self.rows().has_leftovers()? {
            return Ok(false);
        }
        let anew = self.rows().anew(&files.disk).map_err(|error| self.stopped(error))?;
        let old = anew.path().with_file_name(rows::OLD);
        // Closing writes, too.
        drop(std::mem::replace(&mut *self.rows.write().unwrap_or_else(PoisonError::into_inner), anew));
        files.disk.destroy_second(&old).map_err(|error| self.stop(&old, error))?;
        Ok(true)
    }

    // ------------------------------------------------------------------------------------------------------ opening

    /// Opens a sealed field. `about`: whom the log says it is about; they tell what was erased from what was lost.
    pub fn opening(
        &self,
        ledger: LedgerId,
        event: EventId,
        at: &str,
        about: About,
    ) -> Result<Opening, OpenError> {
        let id = RowId { ledger, event, at: at.to_owned() };
        let program = ProgramId(ledger.0);
        let erased = about.participants().iter().any(|who| self.is_erased(program, *who));
        if erased {
            return Err(OpenError::Erased);
        }
        let row = self.rows().get(&id)?.ok_or(OpenError::Lost)?;
        let context = id.context();
        let key = {
            let ring = self.ring();
            let mut keys = Zeroizing::new(Vec::with_capacity(64));
            for participant in &row.about {
                let who = (program, *participant);
                if ring.erased.contains_key(&who) {
                    return Err(OpenError::Erased);
                }
                let held = ring.slots.get(&who).ok_or(OpenError::Lost)?;
                keys.extend_from_slice(held.slot.key.bytes());
            }
            row_key(&keys, &context)
        };
        let plain = keyring::decrypt(&key, &row.sealed, context.as_bytes()).ok_or(OpenError::Damaged)?;
        let (salt, value) = plain.split_first_chunk::<32>().ok_or(OpenError::Damaged)?;
        let value = std::str::from_utf8(value).map_err(|_| OpenError::Damaged)?.to_owned();
        Ok(Opening { ledger, event, at: id.at, salt: B64(*salt), value })
    }

    /// The places of everything that is sealed about a participant, by event and pointer.
    pub fn rows_about(
        &self,
        program: ProgramId,
        participant: ParticipantId,
    ) -> Result<Vec<RowId>, PeopleError> {
        self.rows().about(program, participant)
    }

    /// Whether a participant is erased or being so, by what this store knows.
    pub fn is_erased(&self, program: ProgramId, participant: ParticipantId) -> bool {
        self.ring().erased.contains_key(&(program, participant))
    }

    /// How much there is.
    pub fn status(&self) -> Result<Status, PeopleError> {
        let files = self.files()?;
        let ring = self.ring();
        let slots = ring.slots.values().filter(|held| held.durable.is_some());
        let humans: BTreeSet<Uuid> = slots.map(|held| held.slot.human).collect();
        Ok(Status {
            epoch: files.keyring.epoch,
            slots: files.keyring.slots,
            humans: humans.len() as u64,
            rows: self.rows().len()?,
            erasures: ring.erased.len() as u64,
        })
    }

    // ------------------------------------------------------------------------------------------------------ erasing

    /// Step 0: notes that a participant is to be erased, and everyone who is known to be the same human. Durable when
    /// it returns; nothing new is sealed for them from here on. `name` gives the id of a participant's erasure: always
    /// the same, so that a keyring of whatever age is known to hold somebody who was erased. Begun before: the same
    /// erasure again.
    pub fn begin_erasure(
        &self,
        program: ProgramId,
        participant: ParticipantId,
        name: impl Fn(ProgramId, ParticipantId) -> ErasureId,
    ) -> Result<Vec<Erasure>, PeopleError> {
        let files = self.files()?;
        let who = (program, participant);
        let mut ring = self.ring_mut();
        if let Some(id) = ring.erased.get(&who) {
            return Ok(vec![Erasure { id: *id, program, participant }]);
        }
        let erase = match ring.slots.get(&who) {
            None => vec![Erasure { id: name(program, participant), program, participant }],
            Some(held) => {
                let human = held.slot.human;
                let same = ring.slots.values().map(|held| &held.slot).filter(|slot| slot.human == human);
                let mut all: Vec<Erasure> = same
                    .map(|slot| Erasure { id: name(slot.program, slot.participant), ..slot.erasure() })
                    .collect();
                // The one that was asked for first.
                all.sort_unstable_by_key(|erasure| ((erasure.program, erasure.participant) != who, *erasure));
                all
            }
        };
        // Before it is durable: a text sealed meanwhile would be lost.
        ring.erased.extend(erase.iter().map(|erasure| ((erasure.program, erasure.participant), erasure.id)));
        drop(ring);
        let change = Change { erase: erase.clone(), ..Change::default() };
        self.change(&files.disk, &change)?;
        Ok(erase)
    }

    /// Step 2: forgets the participants of these erasures, which a registry or a ledger knows: from here on they are not
    /// taken back. When it returns, their keys are in no file of the store and no longer in memory, nor is the epoch key
    /// that the keyring of before was under. Done before: nothing happens.
    pub fn forget(&self, erasures: &[Erasure]) -> Result<(), PeopleError> {
        let mut files = self.files()?;
        let without: BTreeSet<_> =
            erasures.iter().map(|erasure| (erasure.program, erasure.participant)).collect();
        let (erase, announced) = {
            let ring = self.ring();
            let known = |erasure: &Erasure| ring.erased.get(&(erasure.program, erasure.participant));
            let erase: Vec<Erasure> =
                erasures.iter().filter(|erasure| known(erasure).is_none()).copied().collect();
            let ids = erasures.iter().map(|erasure| known(erasure).copied().unwrap_or(erasure.id));
            let announced: Vec<_> = ids.filter(|id| !ring.announced.contains(id)).collect();
            (erase, announced)
        };
        if !erase.is_empty() || !announced.is_empty() {
            // An older keyring beside a current registry: the tombstone comes first, here too.
            let mut ring = self.ring_mut();
            ring.erased
                .extend(erase.iter().map(|erasure| ((erasure.program, erasure.participant), erasure.id)));
            ring.announced.extend(announced.iter().copied());
            drop(ring);
            self.change(&files.disk, &Change { erase, announced, ..Change::default() })?;
        }
        let (mut remove, mut remove_links) = (BTreeSet::new(), BTreeSet::new());
        for (program, participant) in &without {
            remove.extend(self.rows().about(*program, *participant)?);
            let (links, ring) = (self.rows().links(*program, *participant)?, self.ring());
            for (key, sealed) in links {
                // What is kept with the other, who may not be erased, names this one.
                let with = ring.link(key, &sealed).and_then(|said| said.with);
                remove_links.extend(with.map(|(program, participant)| LinkKey {
                    program,
                    participant,
                    link: key.link,
                }));
                remove_links.insert(key);
            }
        }
        let held = {
            let ring = self.ring();
            without.iter().any(|who| ring.slots.contains_key(who))
        };
        if !remove_links.is_empty() {
            // Without their key it is not known any more where else they are named.
            let change = Change { remove_links: remove_links.into_iter().collect(), ..Change::default() };
            self.change(&files.disk, &change)?;
        }
        if !held && remove.is_empty() {
            return Ok(());
        }
        let change = Change { remove: remove.into_iter().collect(), ..Change::default() };
        self.rewrite(&mut files, &without, change, None)
    }

    /// Takes back an erasure that was never announced. Not there, or announced: nothing happens.
    pub fn drop_erasure(&self, id: ErasureId) -> Result<(), PeopleError> {
        let files = self.files()?;
        if self.ring().announced.contains(&id) {
            return Ok(());
        }
        let change = Change { drop_erasures: vec![id], ..Change::default() };
        self.change(&files.disk, &change)?;
        self.ring_mut().erased.retain(|_, of| *of != id);
        Ok(())
    }

    /// Whether an erasure is known to have been announced, in whatever registry: it is not dropped.
    pub fn is_announced(&self, id: ErasureId) -> bool {
        self.ring().announced.contains(&id)
    }

    /// Every erasure that was begun, done or not, in order of its id. They stay for ever: they say who was erased even
    /// where a ledger does not know it yet.
    pub fn erasures(&self) -> Vec<Erasure> {
        let ring = self.ring();
        let erased = ring.erased.iter();
        let mut all: Vec<Erasure> =
            erased.map(|(who, id)| Erasure { id: *id, program: who.0, participant: who.1 }).collect();
        all.sort_unstable();
        all
    }

    /// Everybody whose key is here: among them a start, or a restore, finds those it has to forget. Each under the id of
    /// their erasure, or, where none was begun, under the random one of their slot.
    pub fn held(&self) -> Vec<Erasure> {
        let ring = self.ring();
        let mut held: Vec<Erasure> = ring
            .slots
            .iter()
            .map(|(who, held)| {
                let slot = held.slot.erasure();
                Erasure { id: ring.erased.get(who).copied().unwrap_or(slot.id), ..slot }
            })
            .collect();
        held.sort_unstable();
        held
    }

    /// How many participants are the same human being as this one, themself included: erasing one erases so many.
    pub fn same_as(&self, program: ProgramId, participant: ParticipantId) -> usize {
        let ring = self.ring();
        let human = ring.slots.get(&(program, participant)).map(|held| held.slot.human);
        human.map_or(1, |human| ring.count(human))
    }

    /// Whether it is known that these are one human being.
    pub fn are_same(&self, a: (ProgramId, ParticipantId), b: (ProgramId, ParticipantId)) -> bool {
        let ring = self.ring();
        let human = |who| ring.slots.get(&who).map(|held| held.slot.human);
        a == b || human(a).is_some_and(|of_a| human(b) == Some(of_a))
    }

    /// Two participants are one human being: erasing one erases the other. Durable when it returns. That they are is kept
    /// in the keyring alone, encrypted, and goes with it; what was said, under `link`, sealed with each of them, until
    /// either is erased. Answers how many participants are this human being now.
    pub fn same<R: CryptoRng + ?Sized>(
        &self,
        a: (ProgramId, ParticipantId),
        b: (ProgramId, ParticipantId),
        link: LinkId,
        random: &mut R,
    ) -> Result<usize, PeopleError> {
        let mut files = self.files()?;
        let (count, put_links) = {
            let mut ring = self.ring_mut();
            if let Some((_, erased)) = [a, b].into_iter().find(|who| ring.erased.contains_key(who)) {
                return Err(PeopleError::Erased(erased));
            }
            let human = ring.slot(a, random).slot.human;
            let other = ring.slot(b, random).slot.human;
            let is_durable = |who| ring.slots.get(who).is_some_and(|held| held.durable.is_some());
            if human == other && [a, b].iter().all(is_durable) {
                return Ok(ring.count(human));
            }
            let next = files.keyring.slots;
            for (index, who) in (next..).zip([a, b]) {
                if let Some(held) = ring.slots.get_mut(&who) {
                    held.durable.get_or_insert(index);
                }
            }
            // Also those that are only in memory yet.
            for held in ring.slots.values_mut().filter(|held| held.slot.human == other) {
                held.slot.human = human;
            }
            let said = [(a, b), (b, a)].map(|(who, with)| ring.sealed_link(who, link, with, random));
            (ring.count(human), said.into_iter().flatten().collect())
        };
        self.rewrite(&mut files, &BTreeSet::new(), Change { put_links, ..Change::default() }, None)?;
        Ok(count)
    }

    /// A participant is a human being of their own: erasing them erases nobody else, and the others that were held to be
    /// the same stay so. Durable when it returns; what was said is kept as [`Self::same`] keeps it. Answers how many
    /// those others are.
    pub fn apart<R: CryptoRng + ?Sized>(
        &self,
        who: (ProgramId, ParticipantId),
        link: LinkId,
        random: &mut R,
    ) -> Result<usize, PeopleError> {
        let mut files = self.files()?;
        let (others, put_links) = {
            let mut ring = self.ring_mut();
            if ring.erased.contains_key(&who) {
                return Err(PeopleError::Erased(who.1));
            }
            let human = ring.slots.get(&who).map(|held| held.slot.human);
            let others = human.map_or(0, |human| ring.count(human) - 1);
            if others == 0 {
                return Err(PeopleError::Alone(who.1));
            }
            let mut own = [0; 16];
            random.fill_bytes(&mut own);
            if let Some(held) = ring.slots.get_mut(&who) {
                held.slot.human = uuid::Builder::from_random_bytes(own).into_uuid();
            }
            (others, ring.sealed_link(who, link, who, random).into_iter().collect())
        };
        self.rewrite(&mut files, &BTreeSet::new(), Change { put_links, ..Change::default() }, None)?;
        Ok(others)
    }

    /// What was said on who is the same human being as a participant, in order of their ids.
    pub fn links(&self, program: ProgramId, participant: ParticipantId) -> Result<Vec<Link>, PeopleError> {
        let sealed = self.rows().links(program, participant)?;
        let ring = self.ring();
        Ok(sealed.iter().filter_map(|(key, sealed)| ring.link(*key, sealed)).collect())
    }

    /// Wraps the keyring with another key-encryption key, under a new epoch key: the old one opens nothing any more.
    pub fn rewrap(&self, kek: Kek) -> Result<(), PeopleError> {
        let mut files = self.files()?;
        self.rewrite(&mut files, &BTreeSet::new(), Change::default(), Some(kek))
    }

    /// The keyring of a new epoch without some, what changes with it, the old keyring destroyed.
    fn rewrite(
        &self,
        files: &mut Files,
        without: &BTreeSet<(ProgramId, ParticipantId)>,
        change: Change<'_>,
        kek: Option<Kek>,
    ) -> Result<(), PeopleError> {
        if let Some(kek) = kek {
            files.kek = kek;
        }
        let kept: Vec<Slot> = {
            let ring = self.ring();
            let kept = ring
                .durable()
                .into_iter()
                .filter(|slot| !without.contains(&(slot.program, slot.participant)));
            kept.cloned().collect()
        };
        let epoch = files.keyring.epoch + 1;
        let written =
            KeyringFile::write(&files.disk, &files.dir, epoch, self.installation, &files.kek, kept.iter());
        let written = written.map_err(|error| self.stop(&files.dir, error))?;
        {
            let mut ring = self.ring_mut();
            ring.slots.retain(|who, _| !without.contains(who));
            for (index, slot) in (0..).zip(&kept) {
                if let Some(held) = ring.slots.get_mut(&(slot.program, slot.participant)) {
                    held.durable = Some(index);
                }
            }
        }
        let old = std::mem::replace(&mut files.keyring, written);
        let change = Change { keyring: Some((files.keyring.epoch, files.keyring.slots)), ..change };
        self.change(&files.disk, &change)?;
        files.disk.destroy(&old.path).map_err(|error| self.stop(&old.path, error))
    }

    // ------------------------------------------------------------------------------------------------------- within

    fn rows(&self) -> RwLockReadGuard<'_, Rows> {
        self.rows.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, disk: &Disk, change: &Change<'_>) -> Result<(), PeopleError> {
        self.rows().change(disk, change).map_err(|error| self.stopped(error))
    }

    fn ring(&self) -> RwLockReadGuard<'_, Ring> {
        self.ring.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn ring_mut(&self) -> RwLockWriteGuard<'_, Ring> {
        self.ring.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn files(&self) -> Result<MutexGuard<'_, Files>, PeopleError> {
        let files = self.files.lock().map_err(|_| PeopleError::Stopped)?;
        if self.stopped.load(Ordering::Acquire) { Err(PeopleError::Stopped) } else { Ok(files) }
    }

    fn stop(&self, path: &Path, error: io::Error) -> PeopleError {
        self.stopped(PeopleError::Io { path: path.to_owned(), error })
    }

    /// What is on the disk and what is in memory may differ from here on.
    fn stopped(&self, error: PeopleError) -> PeopleError {
        self.stopped.store(true, Ordering::Release);
        error
    }
}

impl LinkKey {
    /// What the key and the seal of a statement are bound to.
    fn context(&self) -> String {
        format!("link|{}|{}|{}", self.program, self.participant, self.link)
    }
}

impl Slot {
    const fn erasure(&self) -> Erasure {
        Erasure { id: self.person, program: self.program, participant: self.participant }
    }
}

/// The key of one row: HKDF-SHA256 (RFC 5869) of the key of whom it is about - of two, both keys in ascending order of
/// participant id - without salt, the row's context as info.
fn row_key(keys: &[u8], context: &str) -> Secret {
    let mut key = Secret::zeros();
    Hkdf::<Sha256>::new(None, keys)
        .expand(context.as_bytes(), key.bytes_mut())
        .expect("32 bytes are a valid length of HKDF-SHA256");
    key
}
