//! C2SP tlog-checkpoint v1.0.0: origin, size and root of a log, as the text of a signed note.
//! Never reads a size or a root that no signature covers.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use mentorlog_events::record::Hash;

use super::note::{KeyName, NotANote, Note, NoteError, SignatureLine, VerifierKey, Vouched};

/// What a log says of itself: `origin\nsize\nbase64(root)\n`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// The log's name, which is also its key's.
    pub origin: KeyName,
    /// Number of entries.
    pub size: u64,
    /// RFC 6962 root over them.
    pub root: Hash,
    /// Further lines of others' logs, with their newlines. Ours write none.
    pub extension: String,
}

impl Checkpoint {
    /// A checkpoint without extension lines.
    pub fn new(origin: KeyName, size: u64, root: Hash) -> Self {
        Self { origin, size, root, extension: String::new() }
    }

    /// The note of this checkpoint with these lines under it.
    pub fn signed(&self, lines: Vec<SignatureLine>) -> Note {
        Note::signed(self.to_string(), lines).expect("a checkpoint is a valid text of a note")
    }

    /// Reads a note whose text is a checkpoint, and believes it only if `keys` have signed it.
    pub fn verified<'a>(
        bytes: &[u8],
        keys: impl IntoIterator<Item = &'a VerifierKey>,
    ) -> Result<(Self, Note, Vec<Vouched>), NoteError> {
        let note = Note::parse(bytes)?;
        let vouched = note.verify(keys)?;
        let checkpoint = note.text().parse()?;
        Ok((checkpoint, note, vouched))
    }
}

impl fmt::Display for Checkpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let root = STANDARD.encode(self.root);
        write!(f, "{}\n{}\n{root}\n{}", self.origin, self.size, self.extension)
    }
}

impl FromStr for Checkpoint {
    type Err = NotANote;

    /// Reads the text of a note, with its last newline.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let no = NotANote("its text is not a checkpoint: origin, size and base64 of the root, a line each");
        let mut lines = text.splitn(4, '\n');
        let (Some(origin), Some(size), Some(root), Some(extension)) =
            (lines.next(), lines.next(), lines.next(), lines.next())
        else {
            return Err(no);
        };
        let origin = origin.parse().map_err(|_| no)?;
        let size = decimal(size).ok_or(no)?;
        let root = STANDARD.decode(root).map_err(|_| no)?;
        let root = root.try_into().map_err(|_| no)?;
        let whole = extension.is_empty() || extension.ends_with('\n');
        if !whole || extension.split_terminator('\n').any(str::is_empty) {
            return Err(NotANote("an extension line of its checkpoint is empty"));
        }
        Ok(Self { origin, size, root, extension: extension.to_owned() })
    }
}

/// A decimal without sign and leading zeros, as every C2SP format writes numbers.
pub fn decimal(text: &str) -> Option<u64> {
    let canonical = text == "0" || !text.starts_with(['0', '+']);
    canonical.then(|| text.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::note::{Signer, Unverified};

    #[test]
    fn a_checkpoint_is_read_as_it_is_written_and_only_with_its_signature() {
        let signer = Signer::new("log.example/1".parse().unwrap(), &[1; 32]);
        let checkpoint = Checkpoint::new("log.example/1".parse().unwrap(), 70_000, [5; 32]);
        let note = checkpoint.signed(vec![signer.sign(&checkpoint.to_string(), 0)]).to_string();
        assert!(note.starts_with("log.example/1\n70000\nBQUFBQ"));
        let (read, _, vouched) = Checkpoint::verified(note.as_bytes(), [signer.public()]).unwrap();
        assert_eq!((read, vouched.len()), (checkpoint, 1));
        let changed = note.replace("70000", "70001");
        let failed = Checkpoint::verified(changed.as_bytes(), [signer.public()]);
        assert!(matches!(failed, Err(NoteError::Unverified(Unverified::Bad(_)))));
        let theirs = tlog_tiles::Checkpoint::from_bytes(read_text(&note).as_bytes()).unwrap();
        assert_eq!(theirs.size(), 70_000);
    }

    fn read_text(note: &str) -> String {
        Note::parse(note.as_bytes()).unwrap().text().to_owned()
    }

    #[test]
    fn what_is_no_checkpoint_is_refused() {
        let root = STANDARD.encode([5; 32]);
        assert!(format!("a\n0\n{root}\n").parse::<Checkpoint>().is_ok());
        let extended: Checkpoint = format!("a\n7\n{root}\nmore\n").parse().unwrap();
        assert_eq!(extended.extension, "more\n");
        assert_eq!(extended.to_string(), format!("a\n7\n{root}\nmore\n"));
        for text in [
            String::new(),
            format!("a\n07\n{root}\n"),
            format!("a\n+7\n{root}\n"),
            format!("a\n-7\n{root}\n"),
            format!("a\n18446744073709551616\n{root}\n"),
            format!("a\n\n{root}\n"),
            format!("\n7\n{root}\n"),
            format!("a b\n7\n{root}\n"),
            format!("a\n7\n{root}"),
            format!("a\n7\n{root}\nmore"),
            format!("a\n7\n{root}\nmore\n\nyet more\n"),
            "a\n7\nAAAA\n".to_owned(),
            "a\n7\n\n".to_owned(),
        ] {
            assert!(text.parse::<Checkpoint>().is_err(), "{text:?}");
        }
    }
}
