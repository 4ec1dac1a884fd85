//! The installation's secrets, in files of their own beside the log, and what is derived from them per ledger.
//! Never in the log, never in sled, never printed.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt};
use std::path::{Path, PathBuf};

use ed25519_dalek::{Signer as _, SigningKey};
use hkdf::Hkdf;
use hmac::{Hmac, KeyInit, Mac};
use mentorlog_events::id::{B64, ErasureId, LedgerId, PairId, ParticipantId, ProgramId};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

/// The key files could not be made or read. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The file system refused.
    #[error("{}: {error}", path.display())]
    Io {
        /// Which file.
        path: PathBuf,
        /// What it said.
        error: io::Error,
    },
    /// There is history, but the secrets it was written with are gone.
    #[error(
        "{} is missing although the ledger has entries: restore it from the backup of the key files; \
         without it retried commands would be done twice and nothing could be signed",
        .0.display()
    )]
    Missing(PathBuf),
    /// The file is not 32 bytes.
    #[error("{} is not a key file (32 bytes): restore it from the backup of the key files", .0.display())]
    Damaged(PathBuf),
    /// The file is not the key that it was: a bit of it has rotted, or it is of another installation.
    #[error(
        "{} is not the key that was made here, says keys/CHECK: restore it from the backup of the key files \
         (if you have replaced it on purpose, remove keys/CHECK)",
        .0.display()
    )]
    Changed(PathBuf),
}

/// The two secrets everything else is derived from.
pub struct Keys {
    tracing: [u8; 32],
    signing: [u8; 32],
}

impl Keys {
    /// Reads the key files under `<data>/keys`, or makes them (mode 600, synced) where there is no history yet.
    pub fn open(data: &Path, has_history: bool) -> Result<Self, KeyError> {
        let folder = data.join("keys");
        private_dir(&folder).map_err(|error| KeyError::Io { path: folder.clone(), error })?;
        let keys = Self {
            tracing: open_key(&folder.join("idempotency.key"), has_history)?,
            signing: open_key(&folder.join("signing.key"), has_history)?,
        };
        if let Some(text) = keys.missing_check(&folder)? {
            let path = folder.join("CHECK");
            write_aside(&path, text.as_bytes()).map_err(|error| KeyError::Io { path, error })?;
        }
        for folder in [folder.as_path(), data] {
            let synced = File::open(folder).and_then(|folder| folder.sync_all());
            synced.map_err(|error| KeyError::Io { path: folder.to_owned(), error })?;
        }
        Ok(keys)
    }

    /// Reads the key files under `<data>/keys`, which have to be there; nothing is written.
    pub fn read(data: &Path) -> Result<Self, KeyError> {
        let folder = data.join("keys");
        let keys = Self {
            tracing: open_key(&folder.join("idempotency.key"), true)?,
            signing: open_key(&folder.join("signing.key"), true)?,
        };
        keys.missing_check(&folder)?;
        Ok(keys)
    }

    /// A key has no redundancy: every 32 bytes are one. `CHECK` beside them says which ones they were, by a hash that
    /// gives nothing of them away. Its text, where it is missing or itself damaged and has to be made.
    fn missing_check(&self, folder: &Path) -> Result<Option<String>, KeyError> {
        let path = folder.join("CHECK");
        let failed = |error| KeyError::Io { path: path.clone(), error };
        let of = |name: &str, key: &[u8; 32]| {
            let hash = Sha256::new().chain_update(b"mentorlog/key/v1\n").chain_update(name).chain_update(key);
            format!("{name} {}\n", B64::<32>(hash.finalize().into()))
        };
        let keys = [("idempotency.key", &self.tracing), ("signing.key", &self.signing)];
        let lines = keys.map(|(name, key)| of(name, key));
        let text = lines.concat();
        let sealed = |text: &str| format!("{text}{:08x}\n", crc32fast::hash(text.as_bytes()));
        let found = match fs::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            found => Some(found.map_err(failed)?),
        };
        let found = found.and_then(|bytes| String::from_utf8(bytes).ok());
        let found = found.filter(|found| {
            let last = found.trim_end().rfind('\n').map_or(0, |at| at + 1);
            *found == sealed(&found[..last])
        });
        match found {
            Some(found) => {
                let changed = keys.iter().zip(&lines).find(|(_, line)| !found.contains(line.as_str()));
                changed.map_or(Ok(None), |((name, _), _)| Err(KeyError::Changed(folder.join(name))))
            }
            None => Ok(Some(sealed(&text))),
        }
    }

    /// Fresh secrets that are written nowhere, for a ledger that lives in memory only.
    pub fn ephemeral() -> Self {
        Self { tracing: random(), signing: random() }
    }

    /// The secret of one ledger, from which its fingerprints and imported ids come.
    pub fn of_ledger(&self, ledger: LedgerId) -> LedgerSecret {
        let mut secret = [0; 32];
        Hkdf::<Sha256>::new(Some(b"mentorlog/ledger/v1"), &self.tracing)
            .expand(ledger.0.as_bytes(), &mut secret)
            .expect("32 bytes are a valid length of HKDF-SHA256");
        LedgerSecret(Hmac::new_from_slice(&secret).expect("HMAC takes a key of any length"))
    }

    /// The public half of a ledger's signing key: Ed25519, seed = HKDF(signing.key, origin || key number).
    pub fn public_key(&self, origin: &str, key_number: u32) -> B64<32> {
        B64(SigningKey::from_bytes(&self.seed(origin, key_number)).verifying_key().to_bytes())
    }

    /// The secret half of a ledger's signing key, as the 32 bytes of RFC 8032. Who has it signs in the ledger's name.
    ///
    /// HKDF-SHA256 of `signing.key` with the salt `mentorlog/signing/v1` and the info `origin || "\n" || key number`
    /// in decimal: a ledger's key says nothing of another's.
    pub fn seed(&self, origin: &str, key_number: u32) -> [u8; 32] {
        let mut seed = [0; 32];
        Hkdf::<Sha256>::new(Some(b"mentorlog/signing/v1"), &self.signing)
            .expand_multi_info(&[origin.as_bytes(), b"\n", key_number.to_string().as_bytes()], &mut seed)
            .expect("32 bytes are a valid length of HKDF-SHA256");
        seed
    }
}

impl Keys {
    /// A ledger's key signs a message (Ed25519, RFC 8032).
    pub fn sign(&self, origin: &str, key_number: u32, message: &[u8]) -> [u8; 64] {
        SigningKey::from_bytes(&self.seed(origin, key_number)).sign(message).to_bytes()
    }
}

/// One ledger's secret: keyed hashes with it leave no guessable trace in the log.
#[derive(Clone)]
pub struct LedgerSecret(Hmac<Sha256>);

impl LedgerSecret {
    fn hmac(&self, purpose: &[u8], parts: &[&[u8]]) -> [u8; 32] {
        // The keyed state is made once: two of its four compressions fall away.
        let mut mac = self.0.clone();
        mac.update(purpose);
        for part in parts {
            // Lengths keep ("ab", "c") and ("a", "bc") apart.
            mac.update(&(part.len() as u64).to_be_bytes());
            mac.update(part);
        }
        mac.finalize().into_bytes().into()
    }

    fn hmac16(&self, purpose: &[u8], parts: &[&[u8]]) -> [u8; 16] {
        let hash = self.hmac(purpose, parts);
        let mut first = [0; 16];
        first.copy_from_slice(&hash[..16]);
        first
    }

    /// What stands for an idempotency key in the log. Its scope is the service principal.
    pub fn key(&self, principal: &str, key: &str) -> B64<16> {
        B64(self.hmac16(b"key", &[principal.as_bytes(), key.as_bytes()]))
    }

    /// What stands for (command, body) in the log.
    pub fn fingerprint(&self, command: &str, body: &[u8]) -> B64<16> {
        self.fingerprint_of(command, &[body])
    }

    /// What stands for (command, body) in the log, when the body came in parts.
    pub fn fingerprint_of(&self, command: &str, body: &[&[u8]]) -> B64<16> {
        let parts: Vec<&[u8]> = std::iter::once(command.as_bytes()).chain(body.iter().copied()).collect();
        B64(self.hmac16(b"fp", &parts))
    }

    /// The id of a participant's erasure: the same whenever it is asked for, so that a keyring of whatever age is known to
    /// hold somebody who was erased. Who does not have the secret cannot tell whose it is.
    pub fn erasure(&self, program: ProgramId, participant: ParticipantId) -> ErasureId {
        let ids: [&[u8]; 2] = [program.0.as_bytes(), participant.0.as_bytes()];
        ErasureId(version_8(self.hmac16(b"erasure", &ids)))
    }

    /// The participant a label of an import stands for.
    pub fn participant(&self, label: &str) -> ParticipantId {
        ParticipantId(version_8(self.hmac16(b"participant", &[label.as_bytes()])))
    }

    /// The pair that an import without an id of its own makes of two participants.
    pub fn pair(&self, a: ParticipantId, b: ParticipantId) -> PairId {
        PairId(version_8(self.hmac16(b"pair", &[a.min(b).0.as_bytes(), a.max(b).0.as_bytes()])))
    }
}

/// Makes a directory for nobody else's eyes, unless it is there.
fn private_dir(path: &Path) -> io::Result<()> {
    match fs::DirBuilder::new().recursive(true).mode(0o700).create(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        other => other,
    }
}

/// A UUID of our own making (RFC 9562 section 5.8).
fn version_8(bytes: [u8; 16]) -> Uuid {
    uuid::Builder::from_custom_bytes(bytes).into_uuid()
}

fn random() -> [u8; 32] {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).expect("the operating system has randomness");
    bytes
}

fn open_key(path: &Path, has_history: bool) -> Result<[u8; 32], KeyError> {
    let failed = |error| KeyError::Io { path: path.to_owned(), error };
    match File::open(path) {
        Ok(mut file) => {
            let mut key = Vec::new();
            file.read_to_end(&mut key).map_err(failed)?;
            key.try_into().map_err(|_| KeyError::Damaged(path.to_owned()))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound && has_history => {
            Err(KeyError::Missing(path.to_owned()))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let key = random();
            write_aside(path, &key).map_err(failed)?;
            Ok(key)
        }
        Err(error) => Err(failed(error)),
    }
}

/// Written aside first: a crash leaves no half a file under the name.
fn write_aside(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let aside = path.with_extension("new");
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&aside)?;
    file.write_all(bytes).and_then(|()| file.sync_all())?;
    fs::rename(&aside, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_has_changed_is_noticed_and_a_damaged_check_is_not_believed() {
        let data = tempfile::tempdir().unwrap();
        let folder = data.path().join("keys");
        Keys::open(data.path(), false).unwrap();
        let check = fs::read(folder.join("CHECK")).unwrap();
        for name in ["idempotency.key", "signing.key"] {
            let whole = fs::read(folder.join(name)).unwrap();
            for bit in 0..256 {
                let mut rotten = whole.clone();
                rotten[bit / 8] ^= 1 << (bit % 8);
                fs::write(folder.join(name), &rotten).unwrap();
                let refused = Keys::open(data.path(), true).err();
                assert!(
                    matches!(&refused, Some(KeyError::Changed(path)) if path.ends_with(name)),
                    "{refused:?}"
                );
            }
            fs::write(folder.join(name), &whole).unwrap();
        }
        for bit in 0..check.len() * 8 {
            let mut rotten = check.clone();
            rotten[bit / 8] ^= 1 << (bit % 8);
            fs::write(folder.join("CHECK"), &rotten).unwrap();
            assert!(Keys::open(data.path(), true).is_ok(), "bit {bit}");
            assert_eq!(fs::read(folder.join("CHECK")).unwrap(), check);
        }
    }

    #[test]
    fn keys_are_made_once_and_missed_when_there_is_history() {
        let data = tempfile::tempdir().unwrap();
        let ledger = LedgerId::REGISTRY;
        let made = Keys::open(data.path(), false).unwrap().of_ledger(ledger).key("local", "k");
        assert_eq!(Keys::open(data.path(), true).unwrap().of_ledger(ledger).key("local", "k"), made);
        fs::write(data.path().join("keys/signing.key"), b"short").unwrap();
        assert!(matches!(Keys::open(data.path(), true), Err(KeyError::Damaged(_))));
        fs::remove_file(data.path().join("keys/signing.key")).unwrap();
        assert!(matches!(Keys::open(data.path(), true), Err(KeyError::Missing(_))));
    }

    #[test]
    fn a_key_belongs_to_its_ledger_and_principal_and_parts_do_not_run_together() {
        let keys = Keys::ephemeral();
        let (one, other) = (keys.of_ledger(LedgerId::REGISTRY), keys.of_ledger(LedgerId(Uuid::nil())));
        assert_ne!(one.key("local", "k"), other.key("local", "k"));
        assert_ne!(one.key("ab", "c"), one.key("a", "bc"));
        assert_ne!(one.key("ab", "c"), one.fingerprint("ab", b"c"));
        let participant = one.participant("u1");
        assert_eq!(
            (participant.0.get_version_num(), participant.0.get_variant()),
            (8, uuid::Variant::RFC4122)
        );
        assert_eq!(
            one.pair(participant, one.participant("u2")),
            one.pair(one.participant("u2"), participant)
        );
        assert_ne!(keys.public_key("a/1", 1), keys.public_key("a/1", 2));
        let signed = SigningKey::from_bytes(&keys.seed("a/1", 2));
        assert_eq!(B64(signed.verifying_key().to_bytes()), keys.public_key("a/1", 2));
        assert_ne!(keys.seed("a/1", 11), keys.seed("a/11", 1));
    }
}
