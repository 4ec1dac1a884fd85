//! The store's files beside a running server: copies for a backup, and a look at them for the doctor.
//! Never writes into the directory it copies from, and never takes a copy that does not hold together.
//!
//! Whoever has a store open changes its files at any time. A copy of the rows is whole if every page has the hash that
//! the page above it states, which redb checks; and a keyring fits to rows that say which epoch, and how many slots of
//! it, they lie under. A copy that is not, or does not, is made again.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::time::Duration;

use mentorlog_events::id::InstallationId;
use uuid::Uuid;

use super::disk::Disk;
use super::keyring::{self, HEADER, Kek, SLOT};
use super::rows::{self, Change, Rows};
use super::{Erasure, PeopleError};

/// How often a copy is made again when the store changed meanwhile, and how long is waited before.
const TRIES: u32 = 40;
const BETWEEN_TRIES: Duration = Duration::from_millis(50);

/// What was copied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Copied {
    /// Sealed rows.
    pub rows: u64,
    /// Erasures begun or done.
    pub erasures: u64,
    /// The epoch of the keyring they lie under.
    pub epoch: u64,
    /// Slots of that keyring.
    pub slots: u64,
}

fn io_error(path: &Path) -> impl Fn(io::Error) -> PeopleError + use<> {
    let path = path.to_owned();
    move |error| PeopleError::Io { path: path.clone(), error }
}

/// Copies the rows of the store in `dir` into the directory `rows_to`, and its keyring into `keyring_to`; both are made.
/// What is copied is of one moment and synced; of the rows only those that are there, nothing that was removed.
/// `None`: there is no store, and nothing was made.
pub fn back_up(dir: &Path, rows_to: &Path, keyring_to: Option<&Path>) -> Result<Option<Copied>, PeopleError> {
    if !dir.join("rows.redb").exists() {
        return Ok(None);
    }
    for to in std::iter::once(rows_to).chain(keyring_to) {
        DirBuilder::new().mode(0o700).create(to).map_err(io_error(to))?;
    }
    let rows_to = rows_to.join("rows.redb");
    let mut tries = 1;
    loop {
        match once(dir, &rows_to, keyring_to) {
            Ok(copied) => return Ok(Some(copied)),
            // Whatever is wrong may be only that it was being changed.
            Err(_) if tries < TRIES => std::thread::sleep(BETWEEN_TRIES),
            Err(error) => return Err(error),
        }
        tries += 1;
    }
}

fn once(dir: &Path, rows_to: &Path, keyring_to: Option<&Path>) -> Result<Copied, PeopleError> {
    let copied = copy_live_rows(&dir.join("rows.redb"), rows_to)?;
    let Some(keyring_to) = keyring_to else { return Ok(copied) };
    let ring_dir = dir.join("keyring");
    let path = ring_dir.join(keyring::name(copied.epoch));
    if copied.epoch == 0 && copied.rows == 0 {
        let detail = "there is none yet, nothing was ever sealed here: leave the keyring out";
        return Err(PeopleError::NotAKeyring { path: ring_dir, detail });
    }
    let bytes = fs::read(&path).map_err(io_error(&path))?;
    // Slots behind these are being written, and nothing that was copied lies under them.
    let length = HEADER + usize::try_from(copied.slots).unwrap_or(usize::MAX).saturating_mul(SLOT);
    let Some(bytes) = bytes.get(..length) else {
        return Err(PeopleError::BadSlot { path, index: copied.slots.saturating_sub(1) });
    };
    // Where the file was being destroyed while it was read, the zeros are not taken for a keyring.
    let (epochs, _) = keyring::epochs(&ring_dir).map_err(io_error(&ring_dir))?;
    if epochs.last() != Some(&copied.epoch) {
        return Err(PeopleError::NotAKeyring { path, detail: "it is not the newest" });
    }
    let to = keyring_to.join(keyring::name(copied.epoch));
    let written = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&to);
    let written = written.and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()));
    written.and_then(|()| fs::File::open(keyring_to)?.sync_all()).map_err(io_error(&to))?;
    Ok(copied)
}

/// Copies a file of rows, and leaves what was removed from it out.
fn copy_live_rows(from: &Path, to: &Path) -> Result<Copied, PeopleError> {
    // Of the try before.
    let disk = Disk::default();
    disk.destroy(to).map_err(io_error(to))?;
    let copied = copy_rows(from, to)?;
    let whole = Rows::at(to)?;
    drop(whole.anew(&disk)?);
    drop(whole);
    let old = to.with_file_name(rows::OLD);
    disk.destroy_second(&old).map_err(io_error(&old))?;
    Ok(copied)
}

/// Copies a file of rows, free pages and all, and reads every page of the copy, which is then as after a clean end.
fn copy_rows(from: &Path, to: &Path) -> Result<Copied, PeopleError> {
    let mut source = fs::File::open(from).map_err(io_error(from))?;
    let target = OpenOptions::new().write(true).create_new(true).mode(0o600).open(to);
    let mut target = target.map_err(io_error(to))?;
    io::copy(&mut source, &mut target).map_err(io_error(from))?;
    drop(target);
    let count = || {
        let rows = Rows::at(to)?;
        let (epoch, slots) = rows.keyring()?.unwrap_or((0, 0));
        Ok(Copied { rows: rows.len()?, erasures: rows.erasures()?.len() as u64, epoch, slots })
    };
    // What is wrong with the copy is wrong with what was copied.
    let copied = count().map_err(|error| match error {
        PeopleError::Rows { error, .. } => PeopleError::Rows { path: from.to_owned(), error },
        PeopleError::Corrupted { what, .. } => PeopleError::Corrupted { path: from.to_owned(), what },
        PeopleError::NotRows(_) => PeopleError::NotRows(from.to_owned()),
        error => error,
    })?;
    let synced = fs::File::open(to).and_then(|file| file.sync_all());
    let parent = to.parent().unwrap_or(Path::new("."));
    synced.and_then(|()| fs::File::open(parent)?.sync_all()).map_err(io_error(to))?;
    Ok(copied)
}

/// Makes the store of a new data directory of a backup's rows and of a keyring: `dir` (`<data>/people`) is made.
/// `keyring_from` holds one keyring and nothing else that looks like one.
pub fn put_back(rows_from: &Path, keyring_from: &Path, dir: &Path) -> Result<Copied, PeopleError> {
    let (epochs, _) = keyring::epochs(keyring_from).map_err(io_error(keyring_from))?;
    let detail = match epochs.as_slice() {
        [epoch] => Ok(keyring::name(*epoch)),
        [] => Err("there is no keyring in it"),
        _ => Err("there are several keyrings in it: name a directory with the one that is meant"),
    };
    let name = detail.map_err(|detail| PeopleError::NotAKeyring { path: keyring_from.to_owned(), detail })?;
    let ring_dir = dir.join("keyring");
    for made in [dir, &ring_dir] {
        DirBuilder::new().mode(0o700).create(made).map_err(io_error(made))?;
    }
    let copied = copy_live_rows(&rows_from.join("rows.redb"), &dir.join("rows.redb"))?;
    let (from, to) = (keyring_from.join(&name), ring_dir.join(&name));
    let bytes = fs::read(&from).map_err(io_error(&from))?;
    let written = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&to);
    let written = written.and_then(|mut file| file.write_all(&bytes).and_then(|()| file.sync_all()));
    written.and_then(|()| fs::File::open(&ring_dir)?.sync_all()).map_err(io_error(&to))?;
    Ok(copied)
}

/// Makes a store in `dir` (`<data>/people`) that holds nothing but the word that these were erased, which is never taken
/// back: nothing is sealed for them by whoever gives it a keyring. Nobody: nothing is made.
pub fn note_erased(dir: &Path, installation: InstallationId, erased: &[Erasure]) -> Result<(), PeopleError> {
    if erased.is_empty() {
        return Ok(());
    }
    let disk = Disk::default();
    disk.create_dir(dir).map_err(io_error(dir))?;
    let announced = erased.iter().map(|erasure| erasure.id).collect();
    let change = Change { erase: erased.to_vec(), announced, ..Change::default() };
    Rows::open(&disk, dir, installation)?.change(&disk, &change)
}

/// Destroys every keyring in a directory, whole or half written, as one is destroyed when somebody is erased.
/// No directory: there is none.
pub fn destroy_keyrings(dir: &Path) -> Result<(), PeopleError> {
    let (epochs, drafts) = keyring::epochs(dir).map_err(io_error(dir))?;
    let whole = epochs.into_iter().map(|epoch| dir.join(keyring::name(epoch)));
    whole.chain(drafts).try_for_each(|path| Disk::default().destroy(&path).map_err(io_error(&path)))
}

/// The installation a store belongs to, by the head of its newest keyring. `None`: there is no keyring.
pub fn installation_of(dir: &Path) -> Result<Option<InstallationId>, PeopleError> {
    let ring_dir = dir.join("keyring");
    let (epochs, _) = keyring::epochs(&ring_dir).map_err(io_error(&ring_dir))?;
    let Some(epoch) = epochs.last() else { return Ok(None) };
    let path = ring_dir.join(keyring::name(*epoch));
    let bytes = fs::read(&path).map_err(io_error(&path))?;
    let id = bytes.get(28..44).and_then(|id| <[u8; 16]>::try_from(id).ok());
    let detail = "it is shorter than a header";
    let id = id.ok_or_else(|| PeopleError::NotAKeyring { path, detail })?;
    Ok(Some(InstallationId(Uuid::from_bytes(id))))
}

/// What a store is like, without opening it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Look {
    /// The newest keyring's epoch.
    pub epoch: u64,
    /// Its slots.
    pub slots: u64,
    /// Human beings they stand for; `None` without the key-encryption key.
    pub humans: Option<u64>,
    /// Sealed rows, `None` where they cannot be read.
    pub rows: Option<u64>,
    /// Erasures begun or done.
    pub erasures: u64,
    /// What the next opening settles.
    pub notices: Vec<String>,
    /// What it refuses, or cannot make good.
    pub damage: Vec<String>,
}

/// Looks at the store in `dir` without changing it; a copy of its rows is made in a new directory in `scratch`, which
/// may be everybody's, and removed.
/// With the key-encryption key every slot is opened too. `None`: there is no store.
pub fn look(dir: &Path, scratch: &Path, kek: Option<&Kek>) -> Result<Option<Look>, PeopleError> {
    let ring_dir = dir.join("keyring");
    let (epochs, drafts) = keyring::epochs(&ring_dir).map_err(io_error(&ring_dir))?;
    let rows = dir.join(rows::FILE);
    let Some(epoch) = epochs.last().copied() else {
        if !rows.exists() {
            return Ok(None);
        }
        return match copied_aside(&rows, scratch)? {
            // Only who was erased: the next start with a key makes a keyring.
            Ok(copied) if copied.rows == 0 => {
                Ok(Some(Look { rows: Some(0), erasures: copied.erasures, ..Look::default() }))
            }
            Ok(_) => {
                let text = PeopleError::KeyringMissing(ring_dir).to_string();
                Ok(Some(Look { damage: vec![text], ..Look::default() }))
            }
            Err(error) => Ok(Some(Look { damage: vec![error.to_string()], ..Look::default() })),
        };
    };
    let mut found = Look { epoch, ..Look::default() };
    for old in &epochs[..epochs.len() - 1] {
        found.notices.push(format!("keyring {} is an older one: it is destroyed", keyring::name(*old)));
    }
    for draft in drafts {
        found.notices.push(format!("{} was never finished: it is destroyed", draft.display()));
    }
    for half in [rows::DRAFT, rows::OLD].map(|name| dir.join(name)) {
        if half.exists() {
            found
                .notices
                .push(format!("{} is of rows that were being written anew: it is destroyed", half.display()));
        }
    }
    let mut sealed_under = None;
    if rows.exists() {
        match copied_aside(&rows, scratch)? {
            Ok(copied) => {
                (found.rows, found.erasures) = (Some(copied.rows), copied.erasures);
                sealed_under = (copied.epoch == epoch).then_some(copied.slots);
            }
            Err(error) => found.damage.push(error.to_string()),
        }
    } else {
        found.notices.push(format!("{} is not there: what was sealed in it is lost", rows.display()));
    }
    let path = ring_dir.join(keyring::name(epoch));
    let length = fs::metadata(&path).map_err(io_error(&path))?.len();
    let behind = length.saturating_sub(HEADER as u64);
    found.slots = behind / SLOT as u64;
    let known = sealed_under.unwrap_or(found.slots);
    if found.slots < known {
        found.damage.push(PeopleError::BadSlot { path: path.clone(), index: found.slots }.to_string());
    } else if behind != known * SLOT as u64 {
        found.notices.push("the end of the keyring was being written: it is cut".to_owned());
    }
    if let (Some(kek), Some(installation)) = (kek, installation_of(dir)?) {
        match keyring::read(&path, epoch, installation, kek, sealed_under) {
            Ok(contents) => found.humans = Some(contents.humans()),
            Err(error @ PeopleError::Io { .. }) => return Err(error),
            Err(error) => found.damage.push(error.to_string()),
        }
    }
    Ok(Some(found))
}

/// What a copy of the rows holds, made in a new directory in `scratch` and removed. The inner error is damage.
fn copied_aside(rows: &Path, scratch: &Path) -> Result<Result<Copied, PeopleError>, PeopleError> {
    // A name nobody knows before, and a directory that is refused if it is there: nobody else's link is followed.
    let mut name = [0; 16];
    getrandom::fill(&mut name).map_err(|error| io_error(scratch)(io::Error::other(error)))?;
    let place = scratch.join(format!("mentorlog-{}", Uuid::from_bytes(name).simple()));
    DirBuilder::new().mode(0o700).create(&place).map_err(io_error(&place))?;
    let copied = copy_rows(rows, &place.join(rows::FILE));
    let removed = fs::remove_dir_all(&place);
    let copied = match copied {
        Err(error @ PeopleError::Io { .. }) => return Err(error),
        copied => copied,
    };
    removed.map_err(io_error(&place))?;
    Ok(copied)
}
