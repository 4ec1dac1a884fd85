//! The keyring file: one slot of fixed size per participant who has anything sealed, under the key of its epoch.
//! Never holds a text, a name or the key-encryption key itself.
//!
//! # Format of `keyring/<epoch>`
//!
//! Integers are big-endian; the name is the epoch in twenty decimal digits. The AEAD is XChaCha20-Poly1305
//! (draft-irtf-cfrg-xchacha), nonces are random.
//! ```text
//! header, 116 bytes: magic "mentorlog-keys-1"(16) version u32 = 1  epoch u64  installation(16)
//!                    nonce(24) epoch key(32) + tag(16)      under the key-encryption key, AAD = the 44 bytes before
//! slots, 136 bytes each, one after the other:
//!                    nonce(24) slot(96) + tag(16)           under the epoch key, AAD = epoch u64 || index u64
//! slot:              person(16) human(16) program(16) participant(16) key(32)
//! ```
//! `person` is random, one per slot: an id by which a registry may know that this participant was erased, beside the one
//! that is made of program and participant. `human` is what the slots of one human being have in common; it leaves this
//! file nowhere.
//! A new epoch has a new key and a new file; the file of the epoch before is overwritten and unlinked.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use chacha20poly1305::aead::{Aead as _, KeyInit as _, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use mentorlog_events::id::{ErasureId, InstallationId, ParticipantId, ProgramId};
use uuid::Uuid;
use zeroize::{Zeroize as _, Zeroizing};

use super::PeopleError;
use super::disk::Disk;

const MAGIC: &[u8; 16] = b"mentorlog-keys-1";
const VERSION: u32 = 1;
/// Magic, version, epoch, installation: what the wrapped epoch key is bound to.
const BOUND: usize = 44;
const NONCE: usize = 24;
const TAG: usize = 16;
pub(super) const HEADER: usize = BOUND + NONCE + 32 + TAG;
const PLAIN: usize = 96;
pub(super) const SLOT: usize = NONCE + PLAIN + TAG;

/// 32 bytes that stay in one place, however their owner moves, and are zeroed when it goes.
#[derive(Clone)]
pub(super) struct Secret(Box<[u8; 32]>);

impl Secret {
    pub(super) fn zeros() -> Self {
        Self(Box::new([0; 32]))
    }

    /// From the operating system.
    pub(super) fn random() -> Self {
        let mut secret = Self::zeros();
        getrandom::fill(secret.bytes_mut()).expect("the operating system has randomness");
        secret
    }

    pub(super) fn of(bytes: &[u8; 32]) -> Self {
        let mut secret = Self::zeros();
        secret.0.copy_from_slice(bytes);
        secret
    }

    pub(super) fn bytes(&self) -> &[u8; 32] {
        &self.0
    }

    pub(super) fn bytes_mut(&mut self) -> &mut [u8; 32] {
        &mut self.0
    }
}

impl Drop for Secret {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

fn random_nonce() -> [u8; NONCE] {
    let mut nonce = [0; NONCE];
    getrandom::fill(&mut nonce).expect("the operating system has randomness");
    nonce
}

/// Nonce, ciphertext and tag.
pub(super) fn encrypt(key: &Secret, nonce: &[u8; NONCE], plain: &[u8], bound: &[u8]) -> Vec<u8> {
    let cipher = XChaCha20Poly1305::new_from_slice(key.bytes()).expect("a key of 32 bytes");
    let sealed = cipher
        .encrypt(&XNonce::from(*nonce), Payload { msg: plain, aad: bound })
        .expect("a message far below 2^38 bytes");
    [nonce.as_slice(), &sealed].concat()
}

/// What [`encrypt`] was given, or `None` if a bit of it, of `bound` or of the key is another.
pub(super) fn decrypt(key: &Secret, sealed: &[u8], bound: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let (nonce, sealed) = sealed.split_first_chunk::<NONCE>()?;
    let cipher = XChaCha20Poly1305::new_from_slice(key.bytes()).expect("a key of 32 bytes");
    cipher.decrypt(&XNonce::from(*nonce), Payload { msg: sealed, aad: bound }).ok().map(Zeroizing::new)
}

// ------------------------------------------------------------------------------------------------ the operator's key

/// The key-encryption key: the operator's 32 bytes, without which nobody opens the keyring.
///
/// It is never printed (there is no `Debug`), and its memory is zeroed when it is dropped.
pub struct Kek(Secret);

/// The key-encryption key could not be read or made. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum KekError {
    /// The file system refused.
    #[error("{}: {error}", path.display())]
    Io {
        /// Which file.
        path: PathBuf,
        /// What it said.
        error: io::Error,
    },
    /// It is not 32 bytes of base64.
    #[error(
        "{0} is not a key-encryption key: 32 bytes as standard base64, as `mentorlog keyring init` makes them"
    )]
    NotAKey(String),
    /// The key lies where the data are that it protects.
    #[error(
        "{} lies inside the data directory {}: whoever copies the directory would have the personal data and the key \
         to them; keep it elsewhere",
        path.display(), data.display()
    )]
    InsideData {
        /// The file of the key.
        path: PathBuf,
        /// The data directory.
        data: PathBuf,
    },
    /// Others than its owner may read it, or it is somebody else's.
    #[error(
        "{} may be read or written by others (mode {mode:03o}, owner {uid}): whoever reads it and the data reads what is \
         sealed; make it this account's or root's own, then `chmod 600` it", path.display()
    )]
    Exposed {
        /// Which file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
        /// Whose it is.
        uid: u32,
    },
    /// There is a file already.
    #[error("{} is there already: a key that is overwritten is lost for ever; nothing was written", .0.display())]
    Exists(PathBuf),
}

impl Kek {
    /// The key in a text: 44 characters of standard base64 (RFC 4648), white space around them aside.
    /// `origin` says in an error where the text came from; the text itself is never repeated.
    pub fn from_text(text: &str, origin: &str) -> Result<Self, KekError> {
        let refused = || KekError::NotAKey(origin.to_owned());
        // One character more than 32 bytes take decodes to 33: refused by its length.
        let mut decoded = Zeroizing::new([0; 36]);
        let length = base64::engine::general_purpose::STANDARD
            .decode_slice(text.trim(), decoded.as_mut())
            .map_err(|_| refused())?;
        let found: &[u8; 32] = decoded[..length].try_into().map_err(|_| refused())?;
        Ok(Self(Secret::of(found)))
    }

    /// Reads the key from a file that lies outside the data directory and that nobody else may read.
    pub fn read(path: &Path, data: &Path) -> Result<Self, KekError> {
        let failed = |error| KekError::Io { path: path.to_owned(), error };
        outside(path, data)?;
        let file = File::open(path).map_err(failed)?;
        let metadata = file.metadata().map_err(failed)?;
        let (mode, uid) = (metadata.mode() & 0o777, metadata.uid());
        if !is_private(mode, uid, rustix::process::geteuid().as_raw()) {
            return Err(KekError::Exposed { path: path.to_owned(), mode, uid });
        }
        let mut text = Zeroizing::new(String::new());
        // No key is longer; a device that never ends is not read to its end.
        file.take(4096).read_to_string(&mut text).map_err(failed)?;
        Self::from_text(&text, &path.display().to_string())
    }

    /// Makes a key of the operating system's randomness and writes it to a new file of mode 600.
    /// When it returns, the file and its name are on the disk.
    pub fn create(path: &Path) -> Result<Self, KekError> {
        let failed = |error| KekError::Io { path: path.to_owned(), error };
        let kek = Self(Secret::random());
        let mut options = fs::OpenOptions::new();
        let mut file = match options.write(true).create_new(true).mode(0o600).open(path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                return Err(KekError::Exists(path.to_owned()));
            }
            file => file.map_err(failed)?,
        };
        let mut text = Zeroizing::new(base64::engine::general_purpose::STANDARD.encode(kek.0.bytes()));
        text.push('\n');
        io::Write::write_all(&mut file, text.as_bytes()).and_then(|()| file.sync_all()).map_err(failed)?;
        let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
        File::open(dir).and_then(|dir| dir.sync_all()).map_err(failed)?;
        Ok(kek)
    }
}

/// Whether a file is this account's or root's, and nobody else may read or write it. What systemd hands over
/// (`LoadCredential=`) is root's and readable by the service through an access list, which shows as the group's bits.
const fn is_private(mode: u32, uid: u32, own: u32) -> bool {
    if uid == own { mode & 0o077 == 0 } else { uid == 0 && mode & 0o037 == 0 }
}

/// Refuses a file inside the data directory, by whatever way it is named.
fn outside(path: &Path, data: &Path) -> Result<(), KekError> {
    let failed = |error| KekError::Io { path: path.to_owned(), error };
    let real = fs::canonicalize(path).map_err(failed)?;
    // A data directory that is not there yet holds nothing.
    match fs::canonicalize(data) {
        Ok(data) if real.starts_with(&data) => Err(KekError::InsideData { path: real, data }),
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(KekError::Io { path: data.to_owned(), error }),
    }
}

// ------------------------------------------------------------------------------------------------------------- slots

/// What the keyring holds of one participant.
#[derive(Clone)]
pub(super) struct Slot {
    /// An id an erasure of this participant may have.
    pub(super) person: ErasureId,
    /// The same in all slots of one human being.
    pub(super) human: Uuid,
    pub(super) program: ProgramId,
    pub(super) participant: ParticipantId,
    /// From which the keys of the rows are derived.
    pub(super) key: Secret,
}

impl Slot {
    fn plain(&self) -> Zeroizing<[u8; PLAIN]> {
        let mut plain = Zeroizing::new([0; PLAIN]);
        let ids = [self.person.0, self.human, self.program.0, self.participant.0];
        for (at, id) in ids.into_iter().enumerate() {
            plain[16 * at..16 * (at + 1)].copy_from_slice(id.as_bytes());
        }
        plain[64..].copy_from_slice(self.key.bytes());
        plain
    }

    fn read(plain: &[u8]) -> Option<Self> {
        let plain: &[u8; PLAIN] = plain.try_into().ok()?;
        let id = |at: usize| {
            let mut bytes = [0; 16];
            bytes.copy_from_slice(&plain[16 * at..16 * (at + 1)]);
            Uuid::from_bytes(bytes)
        };
        let key = Secret::of(plain[64..].try_into().ok()?);
        Some(Self {
            person: ErasureId(id(0)),
            human: id(1),
            program: ProgramId(id(2)),
            participant: ParticipantId(id(3)),
            key,
        })
    }
}

// -------------------------------------------------------------------------------------------------------- the file

/// The keyring file in use, open for appending slots.
pub(super) struct KeyringFile {
    pub(super) path: PathBuf,
    pub(super) epoch: u64,
    /// How many slots it holds.
    pub(super) slots: u64,
    key: Secret,
    file: File,
}

/// Where a slot begins.
const fn slot_at(index: u64) -> u64 {
    HEADER as u64 + index * SLOT as u64
}

fn bound_to_slot(epoch: u64, index: u64) -> [u8; 16] {
    let mut bound = [0; 16];
    bound[..8].copy_from_slice(&epoch.to_be_bytes());
    bound[8..].copy_from_slice(&index.to_be_bytes());
    bound
}

fn header(epoch: u64, installation: InstallationId) -> [u8; BOUND] {
    let mut header = [0; BOUND];
    header[..16].copy_from_slice(MAGIC);
    header[16..20].copy_from_slice(&VERSION.to_be_bytes());
    header[20..28].copy_from_slice(&epoch.to_be_bytes());
    header[28..].copy_from_slice(installation.0.as_bytes());
    header
}

/// What the name of a file ends in that is not finished yet.
const DRAFT: &str = ".draft";

/// The name of an epoch's file.
pub(super) fn name(epoch: u64) -> String {
    format!("{epoch:020}")
}

/// The epochs that have a file, in ascending order, and the drafts of files that were never finished.
/// No directory: none.
pub(super) fn epochs(dir: &Path) -> io::Result<(Vec<u64>, Vec<PathBuf>)> {
    let (mut epochs, mut drafts) = (Vec::new(), Vec::new());
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok((epochs, drafts)),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        let file_name = entry.file_name();
        let epoch_of = |text: &str| text.parse().ok().filter(|epoch| text == name(*epoch));
        let Some(text) = file_name.to_str() else { continue };
        // Somebody else's file is let be.
        if let Some(epoch) = epoch_of(text) {
            epochs.push(epoch);
        } else if text.strip_suffix(DRAFT).and_then(epoch_of).is_some() {
            drafts.push(entry.path());
        }
    }
    epochs.sort_unstable();
    drafts.sort_unstable();
    Ok((epochs, drafts))
}

/// What a keyring file holds: its epoch's key, its slots by index, and what is not whole at its end.
pub(super) struct Contents {
    pub(super) key: Secret,
    pub(super) slots: Vec<Slot>,
    /// Bytes after the last good slot.
    pub(super) torn: u64,
}

impl Contents {
    /// How many human beings the slots stand for.
    pub(super) fn humans(&self) -> u64 {
        self.slots.iter().map(|slot| slot.human).collect::<std::collections::BTreeSet<_>>().len() as u64
    }
}

/// Reads a keyring file. Up to `sealed_under` slots must be whole (rows may lie under them): what follows and is not
/// was being written when the process ended. `None`: not known, so only an incomplete last slot is taken as torn.
pub(super) fn read(
    path: &Path,
    epoch: u64,
    installation: InstallationId,
    kek: &Kek,
    sealed_under: Option<u64>,
) -> Result<Contents, PeopleError> {
    let bytes = fs::read(path).map_err(|error| PeopleError::Io { path: path.to_owned(), error })?;
    let broken = |detail: &'static str| PeopleError::NotAKeyring { path: path.to_owned(), detail };
    let (head, slots) = bytes.split_at_checked(HEADER).ok_or(broken("it is shorter than a header"))?;
    let expected = header(epoch, installation);
    if head[..16] != expected[..16] {
        return Err(broken("it does not begin like one"));
    }
    if head[16..20] != expected[16..20] {
        return Err(broken("it is of a version this program does not know"));
    }
    if head[20..28] != expected[20..28] {
        return Err(broken("it is of another epoch than its name says"));
    }
    if head[28..BOUND] != expected[28..] {
        return Err(PeopleError::OtherInstallation(path.to_owned()));
    }
    let wrong = || PeopleError::WrongKek(path.to_owned());
    let opened = decrypt(&kek.0, &head[BOUND..], &head[..BOUND]).ok_or_else(wrong)?;
    let key = Secret::of(opened.as_slice().try_into().map_err(|_| wrong())?);
    let mut found = Vec::with_capacity(slots.len() / SLOT);
    let (whole, _) = slots.as_chunks::<SLOT>();
    for (index, sealed) in (0_u64..).zip(whole) {
        let slot = decrypt(&key, sealed, &bound_to_slot(epoch, index)).and_then(|plain| Slot::read(&plain));
        match slot {
            Some(slot) => found.push(slot),
            // Nothing is sealed under a slot before it is on the disk.
            None if sealed_under.is_some_and(|sealed_under| index >= sealed_under) => break,
            None => return Err(PeopleError::BadSlot { path: path.to_owned(), index }),
        }
    }
    let good = found.len();
    if sealed_under.is_some_and(|sealed_under| (good as u64) < sealed_under) {
        return Err(PeopleError::BadSlot { path: path.to_owned(), index: good as u64 });
    }
    // Behind a torn slot there may be whole ones of the same write. They too were never used.
    Ok(Contents { key, slots: found, torn: (slots.len() - good * SLOT) as u64 })
}

impl KeyringFile {
    /// Writes the keyring of a new epoch, complete, and syncs it and its name.
    pub(super) fn write<'a>(
        disk: &Disk,
        dir: &Path,
        epoch: u64,
        installation: InstallationId,
        kek: &Kek,
        slots: impl Iterator<Item = &'a Slot>,
    ) -> io::Result<Self> {
        let key = Secret::random();
        let mut bytes = header(epoch, installation).to_vec();
        let wrapped = encrypt(&kek.0, &random_nonce(), key.bytes(), &bytes);
        bytes.extend_from_slice(&wrapped);
        let mut count = 0;
        for slot in slots {
            bytes.extend_from_slice(&sealed_slot(&key, epoch, count, slot));
            count += 1;
        }
        let path = dir.join(name(epoch));
        let draft = dir.join(name(epoch) + DRAFT);
        disk.write_whole(&draft, &path, &bytes)?;
        let file = File::options().write(true).open(&path)?;
        Ok(Self { path, epoch, slots: count, key, file })
    }

    /// Takes up a file that was read, and cuts what was torn from its end.
    pub(super) fn take_up(
        disk: &Disk,
        path: &Path,
        epoch: u64,
        contents: Contents,
    ) -> io::Result<(Self, Vec<Slot>)> {
        let Contents { key, slots, torn } = contents;
        let file = File::options().write(true).open(path)?;
        let count = slots.len() as u64;
        if torn > 0 {
            disk.cut(&file, slot_at(count))?;
            disk.sync(&file)?;
        }
        Ok((Self { path: path.to_owned(), epoch, slots: count, key, file }, slots))
    }

    /// Appends slots and syncs them.
    pub(super) fn add<'a>(&mut self, disk: &Disk, slots: impl Iterator<Item = &'a Slot>) -> io::Result<()> {
        let mut bytes = Vec::new();
        let mut count = self.slots;
        for slot in slots {
            bytes.extend_from_slice(&sealed_slot(&self.key, self.epoch, count, slot));
            count += 1;
        }
        if count > self.slots {
            disk.write_at(&self.file, &bytes, slot_at(self.slots))?;
            disk.sync(&self.file)?;
            self.slots = count;
        }
        Ok(())
    }
}

fn sealed_slot(key: &Secret, epoch: u64, index: u64, slot: &Slot) -> Vec<u8> {
    encrypt(key, &random_nonce(), slot.plain().as_ref(), &bound_to_slot(epoch, index))
}

#[cfg(test)]
mod tests {
    use super::is_private;

    #[test]
    fn a_key_is_ours_or_roots_and_nobody_elses() {
        for (mode, uid, is) in [
            (0o600, 1000, true),
            (0o400, 1000, true),
            (0o440, 1000, false),
            (0o404, 1000, false),
            // Root's, handed over by an access list.
            (0o400, 0, true),
            (0o440, 0, true),
            (0o460, 0, false),
            (0o444, 0, false),
            // Another account's, who may give it back to anybody.
            (0o600, 1001, false),
        ] {
            assert_eq!(is_private(mode, uid, 1000), is, "{mode:o} of {uid}");
        }
        assert!(is_private(0o600, 0, 0) && !is_private(0o640, 0, 0) && !is_private(0o600, 1000, 0));
    }
}
