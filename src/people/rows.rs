//! The sealed rows on the disk: ciphertext, whom it is about, and who was erased, in one redb file.
//! Never sees a key or a text in clear.
//!
//! # Tables of `rows.redb`
//!
//! ```text
//! rows      ledger(16) event(16) pointer  ->  n u8 = 1 or 2, n participants(16), nonce(24) ciphertext tag(16)
//! about     program(16) participant(16) event(16) pointer  ->  nothing       the rows about a participant
//! erasures  erasure(16)  ->  program(16) participant(16)                     begun or done; they stay
//! announced erasure(16)  ->  nothing                                         a registry knows it: never taken back
//! links     program(16) participant(16) link(16)  ->  nonce(24) ciphertext tag(16)
//!                                                                            who was said to be the same human being
//! meta      "format", "installation", "epoch", "slots"  ->  bytes            rows lie under so many slots of the epoch
//!           "leftovers"  ->  nothing                                         something was removed since
//! ```
//!
//! What is removed stays in free pages of the file, and would open as long as its people are not erased. So the rows are
//! written anew into a file of their own from time to time ([`Rows::anew`]): `rows.draft` until it is whole, the file of
//! before is `rows.old` until it is destroyed.

use std::collections::BTreeSet;
use std::fs::{File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use mentorlog_events::id::{ErasureId, EventId, InstallationId, LedgerId, LinkId, ParticipantId, ProgramId};
use redb::backends::FileBackend;
use redb::{
    Database, ReadableDatabase as _, ReadableTable as _, ReadableTableMetadata as _, TableDefinition,
};
use uuid::Uuid;

use super::disk::Disk;
use super::openings::RowId;
use super::{Erasure, PeopleError};

const ROWS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("rows");
const ABOUT: TableDefinition<'_, &[u8], ()> = TableDefinition::new("about");
const ERASURES: TableDefinition<'_, &[u8; 16], &[u8; 32]> = TableDefinition::new("erasures");
const ANNOUNCED: TableDefinition<'_, &[u8; 16], ()> = TableDefinition::new("announced");
const LINKS: TableDefinition<'_, &[u8; 48], &[u8]> = TableDefinition::new("links");
const META: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("meta");

const FORMAT: &[u8] = b"1";

/// The file, as it is named while it is being written, and until it is destroyed.
pub(super) const FILE: &str = "rows.redb";
pub(super) const DRAFT: &str = "rows.draft";
pub(super) const OLD: &str = "rows.old";

const LEFTOVERS: &str = "leftovers";

/// Rows are read seldom, one at a time: a large cache (redb's default is 1 GiB) would be memory for nothing.
const CACHE_BYTES: usize = 8 << 20;

/// A row as it lies on the disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Stored {
    pub(super) id: RowId,
    /// One or two, in ascending order.
    pub(super) about: Vec<ParticipantId>,
    /// Nonce, ciphertext and tag.
    pub(super) sealed: Vec<u8>,
}

/// The table file, open. One process at a time.
pub(super) struct Rows {
    path: PathBuf,
    database: Database,
}

/// What one transaction changes.
#[derive(Default)]
pub(super) struct Change<'a> {
    pub(super) put: Vec<&'a Stored>,
    pub(super) remove: Vec<RowId>,
    pub(super) erase: Vec<Erasure>,
    pub(super) drop_erasures: Vec<ErasureId>,
    /// These erasures are not dropped any more.
    pub(super) announced: Vec<ErasureId>,
    /// Statements on who is the same human being, each sealed for the one it is kept with.
    pub(super) put_links: Vec<(LinkKey, Vec<u8>)>,
    pub(super) remove_links: Vec<LinkKey>,
    /// The keyring's epoch and how many of its slots are on the disk.
    pub(super) keyring: Option<(u64, u64)>,
}

/// The place of a statement on who is the same human being: of whom, and which.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct LinkKey {
    pub(super) program: ProgramId,
    pub(super) participant: ParticipantId,
    pub(super) link: LinkId,
}

impl LinkKey {
    fn bytes(self) -> [u8; 48] {
        let mut key = [0; 48];
        let ids = [self.program.0, self.participant.0, self.link.0];
        for (at, id) in ids.into_iter().enumerate() {
            key[16 * at..16 * (at + 1)].copy_from_slice(id.as_bytes());
        }
        key
    }
}

impl Rows {
    /// Opens the file, or makes it: under a draft's name until it is whole.
    pub(super) fn open(disk: &Disk, dir: &Path, installation: InstallationId) -> Result<Self, PeopleError> {
        let path = dir.join(FILE);
        let failed = |error: io::Error| PeopleError::Io { path: path.clone(), error };
        let draft = dir.join(DRAFT);
        if !path.exists() {
            disk.step().map_err(failed)?;
            match std::fs::remove_file(&draft) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
                Ok(()) | Err(_) => {}
            }
            let file = disk.create(&draft).map_err(failed)?;
            let rows = Self::on(&path, file)?;
            let made = |rows: &Self| -> Result<(), redb::Error> {
                let write = rows.database.begin_write()?;
                write.open_table(ROWS)?;
                write.open_table(ABOUT)?;
                write.open_table(ERASURES)?;
                write.open_table(ANNOUNCED)?;
                write.open_table(LINKS)?;
                let mut meta = write.open_table(META)?;
                meta.insert("format", FORMAT)?;
                meta.insert("installation", installation.0.as_bytes().as_slice())?;
                drop(meta);
                disk.step()?;
                write.commit()?;
                Ok(())
            };
            made(&rows).map_err(|error| rows.error(error))?;
            drop(rows);
            disk.rename(&draft, &path).map_err(failed)?;
        }
        let rows = Self::at(&path)?;
        if rows.meta("installation")?.as_deref() != Some(installation.0.as_bytes().as_slice()) {
            return Err(PeopleError::OtherInstallation(path));
        }
        // Of a time at which the rows were being written anew. From here on nobody else does.
        disk.destroy(&draft).and_then(|()| disk.destroy_second(&dir.join(OLD))).map_err(failed)?;
        Ok(rows)
    }

    /// Whether something was removed since the file was written anew.
    pub(super) fn has_leftovers(&self) -> Result<bool, PeopleError> {
        Ok(self.meta(LEFTOVERS)?.is_some())
    }

    /// Writes the rows that are there into a new file, which takes the name of this one; what was removed from this one
    /// is not in it. This one is left as `rows.old`: drop it, then destroy that.
    pub(super) fn anew(&self, disk: &Disk) -> Result<Self, PeopleError> {
        let (draft, old) = (self.path.with_file_name(DRAFT), self.path.with_file_name(OLD));
        let failed = |error: io::Error| PeopleError::Io { path: self.path.clone(), error };
        disk.destroy(&draft).and_then(|()| disk.destroy_second(&old)).map_err(failed)?;
        let made = Self::on(&self.path, disk.create(&draft).map_err(failed)?)?;
        let copied = || -> Result<(), redb::Error> {
            let (read, write) = (self.database.begin_read()?, made.database.begin_write()?);
            {
                let mut rows = write.open_table(ROWS)?;
                for entry in read.open_table(ROWS)?.iter()? {
                    let (key, value) = entry?;
                    rows.insert(key.value(), value.value())?;
                }
                let mut about = write.open_table(ABOUT)?;
                for entry in read.open_table(ABOUT)?.iter()? {
                    about.insert(entry?.0.value(), ())?;
                }
                let mut erasures = write.open_table(ERASURES)?;
                for entry in read.open_table(ERASURES)?.iter()? {
                    let (key, value) = entry?;
                    erasures.insert(key.value(), value.value())?;
                }
                let mut announced = write.open_table(ANNOUNCED)?;
                if let Some(table) = there(read.open_table(ANNOUNCED))? {
                    for entry in table.iter()? {
                        announced.insert(entry?.0.value(), ())?;
                    }
                }
                let mut links = write.open_table(LINKS)?;
                if let Some(table) = there(read.open_table(LINKS))? {
                    for entry in table.iter()? {
                        let (key, value) = entry?;
                        links.insert(key.value(), value.value())?;
                    }
                }
                let mut meta = write.open_table(META)?;
                for entry in read.open_table(META)?.iter()? {
                    let (key, value) = entry?;
                    if key.value() != LEFTOVERS {
                        meta.insert(key.value(), value.value())?;
                    }
                }
            }
            disk.step()?;
            write.commit()?;
            Ok(())
        };
        copied().map_err(|error| self.error(error))?;
        // The old one keeps a name until it is destroyed, also when the process ends before.
        disk.link(&self.path, &old).and_then(|()| disk.rename(&draft, &self.path)).map_err(failed)?;
        Ok(made)
    }

    /// Opens a file that is there.
    pub(super) fn at(path: &Path) -> Result<Self, PeopleError> {
        let file = OpenOptions::new().read(true).write(true).open(path);
        let file = file.map_err(|error| PeopleError::Io { path: path.to_owned(), error })?;
        let rows = Self::on(path, file)?;
        let format = rows.meta("format")?;
        if format.as_deref() != Some(FORMAT) {
            return Err(PeopleError::NotRows(path.to_owned()));
        }
        Ok(rows)
    }

    fn on(path: &Path, file: File) -> Result<Self, PeopleError> {
        let opened = FileBackend::new(file).and_then(|file| {
            // Without the check a rotten page is a panic when it is met; with it, a refusal at start.
            redb::Builder::new()
                .set_cache_size(CACHE_BYTES)
                .set_check_integrity_on_open(true)
                .create_with_backend(file)
        });
        let database = opened.map_err(|error| match error {
            redb::DatabaseError::DatabaseAlreadyOpen => PeopleError::InUse(path.to_owned()),
            error => of_redb(path, error.into()),
        })?;
        Ok(Self { path: path.to_owned(), database })
    }

    /// Where the file is.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    fn error(&self, error: redb::Error) -> PeopleError {
        of_redb(&self.path, error)
    }

    fn meta(&self, name: &str) -> Result<Option<Vec<u8>>, PeopleError> {
        let read = || -> Result<_, redb::Error> {
            let table = self.database.begin_read()?.open_table(META)?;
            Ok(table.get(name)?.map(|value| value.value().to_vec()))
        };
        match read() {
            Err(redb::Error::TableDoesNotExist(_)) => Ok(None),
            other => other.map_err(|error| self.error(error)),
        }
    }

    /// The keyring's epoch and number of slots that rows lie under, `None` before the first was written.
    pub(super) fn keyring(&self) -> Result<Option<(u64, u64)>, PeopleError> {
        let number = |bytes: Vec<u8>| bytes.try_into().ok().map(u64::from_be_bytes);
        let (epoch, slots) = (self.meta("epoch")?, self.meta("slots")?);
        Ok(epoch.and_then(number).zip(slots.and_then(number)))
    }

    /// All of the change or nothing of it, durable when it returns.
    pub(super) fn change(&self, disk: &Disk, change: &Change<'_>) -> Result<(), PeopleError> {
        let done = || -> Result<(), redb::Error> {
            let write = self.database.begin_write()?;
            {
                let mut leftovers = !change.drop_erasures.is_empty();
                let mut rows = write.open_table(ROWS)?;
                let mut about = write.open_table(ABOUT)?;
                for row in &change.put {
                    let mut value = Vec::with_capacity(1 + 32 + row.sealed.len());
                    value.push(u8::try_from(row.about.len()).expect("one or two"));
                    for participant in &row.about {
                        value.extend_from_slice(participant.0.as_bytes());
                        about.insert(about_key(&row.id, *participant).as_slice(), ())?;
                    }
                    value.extend_from_slice(&row.sealed);
                    leftovers |= rows.insert(row_key(&row.id).as_slice(), value.as_slice())?.is_some();
                }
                for id in &change.remove {
                    let removed = rows.remove(row_key(id).as_slice())?;
                    leftovers |= removed.is_some();
                    let stored = removed.and_then(|value| stored(id.clone(), value.value()));
                    for participant in stored.into_iter().flat_map(|row| row.about) {
                        about.remove(about_key(id, participant).as_slice())?;
                    }
                }
                let mut erasures = write.open_table(ERASURES)?;
                for erasure in &change.erase {
                    let mut whom = [0; 32];
                    whom[..16].copy_from_slice(erasure.program.0.as_bytes());
                    whom[16..].copy_from_slice(erasure.participant.0.as_bytes());
                    erasures.insert(erasure.id.0.as_bytes(), &whom)?;
                }
                for id in &change.drop_erasures {
                    erasures.remove(id.0.as_bytes())?;
                }
                let mut announced = write.open_table(ANNOUNCED)?;
                for id in &change.announced {
                    announced.insert(id.0.as_bytes(), ())?;
                }
                let mut links = write.open_table(LINKS)?;
                for (key, sealed) in &change.put_links {
                    links.insert(&key.bytes(), sealed.as_slice())?;
                }
                for key in &change.remove_links {
                    leftovers |= links.remove(&key.bytes())?.is_some();
                }
                let mut meta = write.open_table(META)?;
                if leftovers {
                    meta.insert(LEFTOVERS, [].as_slice())?;
                }
                if let Some((epoch, slots)) = change.keyring {
                    meta.insert("epoch", epoch.to_be_bytes().as_slice())?;
                    meta.insert("slots", slots.to_be_bytes().as_slice())?;
                }
            }
            disk.step()?;
            write.commit()?;
            Ok(())
        };
        done().map_err(|error| self.error(error))
    }

    /// One row, `None` where there is none.
    pub(super) fn get(&self, id: &RowId) -> Result<Option<Stored>, PeopleError> {
        let read = || -> Result<_, redb::Error> {
            let table = self.database.begin_read()?.open_table(ROWS)?;
            Ok(table.get(row_key(id).as_slice())?.and_then(|value| stored(id.clone(), value.value())))
        };
        read().map_err(|error| self.error(error))
    }

    /// The rows about a participant, by event and pointer.
    pub(super) fn about(
        &self,
        program: ProgramId,
        participant: ParticipantId,
    ) -> Result<Vec<RowId>, PeopleError> {
        let read = || -> Result<_, redb::Error> {
            let mut first = [0_u8; 32];
            first[..16].copy_from_slice(program.0.as_bytes());
            first[16..].copy_from_slice(participant.0.as_bytes());
            let table = self.database.begin_read()?.open_table(ABOUT)?;
            let mut found = Vec::new();
            for entry in table.range(first.as_slice()..)? {
                let (key, _) = entry?;
                let Some(rest) = key.value().strip_prefix(first.as_slice()) else { break };
                found.extend(row_id(LedgerId(program.0), rest));
            }
            Ok(found)
        };
        read().map_err(|error| self.error(error))
    }

    /// The rows `dead` says yes to, in order of their keys.
    pub(super) fn select(
        &self,
        dead: impl Fn(&RowId, &[ParticipantId]) -> bool,
    ) -> Result<Vec<RowId>, PeopleError> {
        let read = || -> Result<_, redb::Error> {
            let table = self.database.begin_read()?.open_table(ROWS)?;
            let mut found = Vec::new();
            for entry in table.iter()? {
                let (key, value) = entry?;
                let Some((ledger, rest)) = key.value().split_first_chunk::<16>() else { continue };
                let id = row_id(LedgerId(Uuid::from_bytes(*ledger)), rest);
                let row = id.and_then(|id| stored(id, value.value()));
                found.extend(row.filter(|row| dead(&row.id, &row.about)).map(|row| row.id));
            }
            Ok(found)
        };
        read().map_err(|error| self.error(error))
    }

    /// The statements kept with a participant, as they are sealed, in order of their ids.
    pub(super) fn links(
        &self,
        program: ProgramId,
        participant: ParticipantId,
    ) -> Result<Vec<(LinkKey, Vec<u8>)>, PeopleError> {
        let bound = |link| LinkKey { program, participant, link: LinkId(link) }.bytes();
        let read = || -> Result<_, redb::Error> {
            let Some(table) = there(self.database.begin_read()?.open_table(LINKS))? else {
                return Ok(Vec::new());
            };
            let mut found = Vec::new();
            for entry in table.range::<&[u8; 48]>(&bound(Uuid::nil())..=&bound(Uuid::max()))? {
                let (key, sealed) = entry?;
                let (_, link) = key.value().split_last_chunk::<16>().unwrap_or((&[], &[0; 16]));
                let link = LinkId(Uuid::from_bytes(*link));
                found.push((LinkKey { program, participant, link }, sealed.value().to_vec()));
            }
            Ok(found)
        };
        read().map_err(|error| self.error(error))
    }

    /// Every erasure that was begun, in order of its id.
    pub(super) fn erasures(&self) -> Result<Vec<Erasure>, PeopleError> {
        let read = || -> Result<_, redb::Error> {
            let table = self.database.begin_read()?.open_table(ERASURES)?;
            let mut found = Vec::new();
            for entry in table.iter()? {
                let (id, whom) = entry?;
                let whom = whom.value();
                let half = |at: usize| {
                    let mut bytes = [0; 16];
                    bytes.copy_from_slice(&whom[at..at + 16]);
                    Uuid::from_bytes(bytes)
                };
                found.push(Erasure {
                    id: ErasureId(Uuid::from_bytes(*id.value())),
                    program: ProgramId(half(0)),
                    participant: ParticipantId(half(16)),
                });
            }
            Ok(found)
        };
        read().map_err(|error| self.error(error))
    }

    /// The erasures among them that are never taken back.
    pub(super) fn announced(&self) -> Result<BTreeSet<ErasureId>, PeopleError> {
        let read = || -> Result<_, redb::Error> {
            let Some(table) = there(self.database.begin_read()?.open_table(ANNOUNCED))? else {
                return Ok(BTreeSet::new());
            };
            let ids = table.iter()?.map(|entry| Ok(ErasureId(Uuid::from_bytes(*entry?.0.value()))));
            ids.collect()
        };
        read().map_err(|error| self.error(error))
    }

    /// How many rows there are.
    pub(super) fn len(&self) -> Result<u64, PeopleError> {
        let read = || -> Result<_, redb::Error> { Ok(self.database.begin_read()?.open_table(ROWS)?.len()?) };
        read().map_err(|error| self.error(error))
    }
}

/// A table that files made before it was thought of do not have.
fn there<T>(table: Result<T, redb::TableError>) -> Result<Option<T>, redb::Error> {
    match table {
        Err(redb::TableError::TableDoesNotExist(_)) => Ok(None),
        table => Ok(Some(table?)),
    }
}

/// What the file system refuses is no damage: nothing is to be thrown away for it.
pub(super) fn of_redb(path: &Path, error: redb::Error) -> PeopleError {
    let path = path.to_owned();
    match error {
        redb::Error::Io(error) => PeopleError::Io { path, error },
        redb::Error::PreviousIo => {
            PeopleError::Io { path, error: io::Error::other("an operation on it failed before") }
        }
        redb::Error::Corrupted(what) => PeopleError::Corrupted { path, what },
        error => PeopleError::Rows { path, error: Box::new(error) },
    }
}

fn row_key(id: &RowId) -> Vec<u8> {
    [id.ledger.0.as_bytes().as_slice(), id.event.0.as_bytes(), id.at.as_bytes()].concat()
}

fn about_key(id: &RowId, participant: ParticipantId) -> Vec<u8> {
    [id.ledger.0.as_bytes().as_slice(), participant.0.as_bytes(), id.event.0.as_bytes(), id.at.as_bytes()]
        .concat()
}

/// `rest`: what follows the ledger (and the participant) in a key.
fn row_id(ledger: LedgerId, rest: &[u8]) -> Option<RowId> {
    let (event, at) = rest.split_first_chunk::<16>()?;
    let at = std::str::from_utf8(at).ok()?.to_owned();
    Some(RowId { ledger, event: EventId(Uuid::from_bytes(*event)), at })
}

fn stored(id: RowId, value: &[u8]) -> Option<Stored> {
    let (count, rest) = value.split_first()?;
    let (about, sealed) = rest.split_at_checked(16 * usize::from(*count))?;
    let (about, _) = about.as_chunks::<16>();
    let about = about.iter().map(|id| ParticipantId(Uuid::from_bytes(*id))).collect();
    Some(Stored { id, about, sealed: sealed.to_vec() })
}
