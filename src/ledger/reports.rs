//! Published reports as files beside the log: a signed note each, under the SHA-256 of its text.
//! Never changes a file that holds what its name says, and never knows what a report means.
//!
//! ```text
//! <data>/reports/<digest>   the note, to the byte; digest = SHA-256 of its text, 64 lower-case hex digits
//! ```

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::{Mutex, PoisonError};

use mentorlog_events::id::B64;
use mentorlog_events::record::Hash;
use sha2::{Digest as _, Sha256};

use super::files::{sync_dir, write_whole};
use super::note::{NOTE_BYTES_MAX, Note};

/// SHA-256 of the text of a note. Signatures are not in it: a report signed by another key is the same report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest(pub Hash);

/// The text is not a digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a digest: 64 lower-case hex digits")]
pub struct NotADigest;

impl Digest {
    /// The digest of a note's text.
    pub fn of(text: &str) -> Self {
        Self(Sha256::digest(text.as_bytes()).into())
    }
}

impl From<B64<32>> for Digest {
    fn from(digest: B64<32>) -> Self {
        Self(digest.0)
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl FromStr for Digest {
    type Err = NotADigest;

    fn from_str(text: &str) -> Result<Self, NotADigest> {
        let plain = |byte: &u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(byte);
        if text.len() != 64 || !text.as_bytes().iter().all(plain) {
            return Err(NotADigest);
        }
        let mut digest = [0; 32];
        for (byte, at) in digest.iter_mut().zip((0..64).step_by(2)) {
            *byte = u8::from_str_radix(&text[at..at + 2], 16).map_err(|_| NotADigest)?;
        }
        Ok(Self(digest))
    }
}

/// The reports of an installation.
#[derive(Debug)]
pub struct Shelf {
    folder: PathBuf,
    /// One at a time: two who publish the same report would write one draft.
    writing: Mutex<()>,
}

impl Shelf {
    /// The reports below a data directory.
    pub fn new(data: &Path) -> Self {
        Self { folder: data.join("reports"), writing: Mutex::default() }
    }

    /// Puts a report there, synced. A note that is there and whole stays; anything else under its name is replaced.
    /// After an error the report may be there or not, but never a part under its name.
    pub fn put(&self, note: &Note) -> io::Result<Digest> {
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let digest = Digest::of(note.text());
        if self.note(digest)?.is_some() {
            return Ok(digest);
        }
        if !self.folder.exists() {
            fs::create_dir(&self.folder)?;
            self.folder.parent().map_or(Ok(()), sync_dir)?;
        }
        write_whole(&self.path(digest), note.to_string().as_bytes())?;
        Ok(digest)
    }

    /// The note of a report, to the byte. `None` if it is not there, or if what is there has another digest.
    pub fn note(&self, digest: Digest) -> io::Result<Option<Vec<u8>>> {
        let bytes = read(&self.path(digest), NOTE_BYTES_MAX as u64)?;
        Ok(bytes.filter(|bytes| {
            let note = Note::parse(bytes);
            note.is_ok_and(|note| Digest::of(note.text()) == digest && note.to_string().as_bytes() == bytes)
        }))
    }

    /// Copies reports to another shelf. Those that are not here, or not whole, are returned.
    pub fn copy_to(
        &self,
        other: &Self,
        reports: impl IntoIterator<Item = Digest>,
    ) -> io::Result<Vec<Digest>> {
        let mut missing = Vec::new();
        for digest in reports {
            match self.note(digest)?.map(|bytes| Note::parse(&bytes)) {
                Some(Ok(note)) => drop(other.put(&note)?),
                _ => missing.push(digest),
            }
        }
        Ok(missing)
    }

    /// The reports that lie here, whole or not, in order.
    pub fn digests(&self) -> io::Result<Vec<Digest>> {
        let names = match fs::read_dir(&self.folder) {
            Ok(names) => names,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let mut digests = Vec::new();
        for name in names {
            // What has another name is no report.
            digests.extend(name?.file_name().to_str().and_then(|name| name.parse::<Digest>().ok()));
        }
        digests.sort_unstable();
        Ok(digests)
    }

    fn path(&self, digest: Digest) -> PathBuf {
        self.folder.join(digest.to_string())
    }
}

/// A whole file of at most so many bytes; a longer one counts as none.
fn read(path: &Path, most: u64) -> io::Result<Option<Vec<u8>>> {
    match fs::metadata(path) {
        Ok(file) if file.is_file() && file.len() <= most => fs::read(path).map(Some),
        Ok(_) => Ok(None),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::note::Signer;

    fn note(text: &str, seed: u8) -> Note {
        let signer = Signer::new("log.example/1".parse().unwrap(), &[seed; 32]);
        Note::signed(text.to_owned(), vec![signer.sign(text, 0)]).unwrap()
    }

    #[test]
    fn reports_are_copied_and_those_that_are_damaged_are_named() {
        let (data, copy) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (shelf, other) = (Shelf::new(data.path()), Shelf::new(copy.path()));
        assert_eq!(shelf.digests().unwrap(), []);
        let whole = shelf.put(&note("a report\n", 1)).unwrap();
        let damaged = shelf.put(&note("another\n", 1)).unwrap();
        fs::write(shelf.path(damaged), "not a note").unwrap();
        assert_eq!(shelf.copy_to(&other, shelf.digests().unwrap()).unwrap(), [damaged]);
        assert_eq!(other.digests().unwrap(), [whole]);
        assert_eq!(other.note(whole).unwrap(), shelf.note(whole).unwrap());
    }

    #[test]
    fn a_report_stays_as_it_was_first_put_there_and_is_replaced_only_when_it_is_damaged() {
        let data = tempfile::tempdir().unwrap();
        let shelf = Shelf::new(data.path());
        let first = note("a report\n", 1);
        let digest = Digest::of("a report\n");
        assert_eq!(shelf.note(digest).unwrap(), None);
        assert_eq!(shelf.put(&first).unwrap(), digest);
        // Signed by another key it is the same report.
        assert_eq!(shelf.put(&note("a report\n", 2)).unwrap(), digest);
        assert_eq!(shelf.note(digest).unwrap().unwrap(), first.to_string().as_bytes());
        let file = data.path().join("reports").join(digest.to_string());
        for damaged in [first.to_string().replace("report", "rapport"), String::new(), "x".repeat(1 << 17)] {
            fs::write(&file, damaged).unwrap();
            assert_eq!(shelf.note(digest).unwrap(), None);
            shelf.put(&first).unwrap();
            assert_eq!(shelf.note(digest).unwrap().unwrap(), first.to_string().as_bytes());
        }
    }

    #[test]
    fn a_digest_has_one_spelling() {
        let digest = Digest::of("");
        let text = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!((digest.to_string().as_str(), text.parse()), (text, Ok(digest)));
        for bad in [&text[1..], &text.to_uppercase(), &text.replace('e', "g"), "", "+3b0"] {
            assert_eq!(bad.parse::<Digest>(), Err(NotADigest), "{bad}");
        }
    }
}
