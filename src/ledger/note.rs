//! C2SP signed-note v1.0.0: a text and the lines of those who vouch for it; Ed25519 keys (type 0x01) and
//! timestamped Ed25519 cosignatures (type 0x04, C2SP tlog-cosignature v1.0.1).
//! Never says what a text means, and never trusts a line because it is there.
//!
//! A note is a text that ends in a newline, an empty line, and signature lines
//! `— <key name> <base64 (key ID || signature)>`. `key ID = SHA-256(name || 0x0A || type || public key)[..4]`;
//! a verifier key is written `name+<key ID in hex>+base64(type || public key)`.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};
use sha2::{Digest, Sha256};

/// Longest note that is read, in bytes: room for a checkpoint with a hundred signatures.
pub const NOTE_BYTES_MAX: usize = 1 << 16;

/// Most signature lines that are read. (The specification asks for at least 16.)
pub const SIGNATURES_MAX: usize = 100;

/// The first four bytes of a hash over name, type and public key: which key, not whose word.
pub type KeyId = [u8; 4];

/// What a key signs, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum KeyKind {
    /// 0x01: the text of the note.
    Ed25519,
    /// 0x04: the text of the note and the time at which the cosigner saw it.
    CosignatureV1,
}

impl KeyKind {
    fn byte(self) -> u8 {
        match self {
            Self::Ed25519 => 1,
            Self::CosignatureV1 => 4,
        }
    }
}

/// The name of a key: not empty, no space of any kind, no control character and no `+`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyName(String);

impl KeyName {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for KeyName {
    type Err = NotAKey;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let allowed = |c: char| !c.is_whitespace() && !c.is_control() && c != '+';
        if text.is_empty() || !text.chars().all(allowed) {
            return Err(NotAKey::Name);
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for KeyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Why a text is no verifier key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotAKey {
    /// Its name is empty or holds a space, a control character or a `+`.
    #[error("a key's name is not empty and holds no space, no control character and no `+`")]
    Name,
    /// It has not the form `name+<8 hex digits>+<base64>`.
    #[error("a verifier key is written name+<8 lowercase hex digits>+<base64>")]
    Form,
    /// Its type is neither 0x01 (Ed25519) nor 0x04 (Ed25519 cosignature).
    #[error("keys of type 0x{0:02x} are not known here: only 0x01 (Ed25519) and 0x04 (cosignature)")]
    Kind(u8),
    /// The bytes are no point of the curve.
    #[error("the public key is not a valid Ed25519 key")]
    Point,
    /// Its key ID is not that of its name, type and public key: a digit was lost on the way.
    #[error("the key ID does not belong to the key")]
    Id,
}

/// The public half of a key, with its name: what is written down as a vkey.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifierKey {
    name: KeyName,
    id: KeyId,
    kind: KeyKind,
    key: VerifyingKey,
}

impl VerifierKey {
    /// Names a public key. `None`: the bytes are no point of the curve.
    pub fn new(name: KeyName, kind: KeyKind, public_key: &[u8; 32]) -> Option<Self> {
        let key = VerifyingKey::from_bytes(public_key).ok()?;
        let id = key_id(&name, kind, public_key);
        Some(Self { name, id, kind, key })
    }

    /// Its name: for a log, its origin.
    pub fn name(&self) -> &KeyName {
        &self.name
    }

    /// Its key ID.
    pub fn id(&self) -> KeyId {
        self.id
    }

    /// What it signs.
    pub fn kind(&self) -> KeyKind {
        self.kind
    }

    /// The Ed25519 public key.
    pub fn public_key(&self) -> [u8; 32] {
        self.key.to_bytes()
    }

    /// Whether this key has signed these bytes, which are no note. Only a log's key signs such, and never what
    /// begins like a checkpoint.
    pub fn has_signed(&self, message: &[u8], signature: &[u8; 64]) -> bool {
        let signature = Signature::from_bytes(signature);
        self.kind == KeyKind::Ed25519 && self.key.verify_strict(message, &signature).is_ok()
    }

    /// Whether the line is this key's word for the text, and if so when it gave it.
    fn check(&self, text: &str, line: &SignatureLine) -> Option<Vouched> {
        let (message, signature, time) = match self.kind {
            KeyKind::Ed25519 => (text.as_bytes().to_vec(), line.signature.as_slice(), None),
            KeyKind::CosignatureV1 => {
                let (time, signature) = line.signature.split_first_chunk::<8>()?;
                let time = u64::from_be_bytes(*time);
                (cosigned(time, text), signature, Some(time))
            }
        };
        let signature = Signature::from_slice(signature).ok()?;
        // Strict: one message and key have one signature, and weak keys sign nothing.
        self.key.verify_strict(&message, &signature).ok()?;
        Some(Vouched { name: self.name.clone(), id: self.id, kind: self.kind, time })
    }
}

impl fmt::Display for VerifierKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = vec![self.kind.byte()];
        bytes.extend_from_slice(self.key.as_bytes());
        write!(f, "{}+{:08x}+{}", self.name, u32::from_be_bytes(self.id), STANDARD.encode(bytes))
    }
}

impl FromStr for VerifierKey {
    type Err = NotAKey;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        // base64 has a `+` of its own: only the first two divide.
        let mut parts = text.splitn(3, '+');
        let (Some(name), Some(id), Some(key)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(NotAKey::Form);
        };
        let name: KeyName = name.parse()?;
        let is_hex = |c: &u8| c.is_ascii_digit() || (b'a'..=b'f').contains(c);
        if id.len() != 8 || !id.as_bytes().iter().all(is_hex) {
            return Err(NotAKey::Form);
        }
        let id = u32::from_str_radix(id, 16).map_err(|_| NotAKey::Form)?.to_be_bytes();
        let bytes = STANDARD.decode(key).map_err(|_| NotAKey::Form)?;
        let (kind, public_key) = bytes.split_first().ok_or(NotAKey::Form)?;
        let kind = match kind {
            1 => KeyKind::Ed25519,
            4 => KeyKind::CosignatureV1,
            other => return Err(NotAKey::Kind(*other)),
        };
        let public_key: &[u8; 32] = public_key.try_into().map_err(|_| NotAKey::Form)?;
        let key = Self::new(name, kind, public_key).ok_or(NotAKey::Point)?;
        if key.id == id { Ok(key) } else { Err(NotAKey::Id) }
    }
}

fn key_id(name: &KeyName, kind: KeyKind, public_key: &[u8; 32]) -> KeyId {
    let mut hash = Sha256::new();
    hash.update(name.0.as_bytes());
    hash.update([b'\n', kind.byte()]);
    hash.update(public_key);
    let hash: [u8; 32] = hash.finalize().into();
    [hash[0], hash[1], hash[2], hash[3]]
}

/// The message a cosigner of type 0x04 signs (C2SP tlog-cosignature, "Format").
fn cosigned(time: u64, text: &str) -> Vec<u8> {
    format!("cosignature/v1\ntime {time}\n{text}").into_bytes()
}

/// A key that signs. Its seed is never shown.
pub struct Signer {
    public: VerifierKey,
    key: SigningKey,
}

impl Signer {
    /// A log's key (type 0x01) out of its seed.
    pub fn new(name: KeyName, seed: &[u8; 32]) -> Self {
        Self::of_kind(name, KeyKind::Ed25519, seed)
    }

    /// A cosigner's key (type 0x04) out of its seed.
    pub fn cosigner(name: KeyName, seed: &[u8; 32]) -> Self {
        Self::of_kind(name, KeyKind::CosignatureV1, seed)
    }

    fn of_kind(name: KeyName, kind: KeyKind, seed: &[u8; 32]) -> Self {
        let key = SigningKey::from_bytes(seed);
        let public = VerifierKey::new(name, kind, key.verifying_key().as_bytes())
            .expect("a signing key has a valid public half");
        Self { public, key }
    }

    /// The secret half of a log's key in the form that `golang.org/x/mod/sumdb/note` gave it:
    /// `PRIVATE+KEY+<name>+<key ID>+<base64(type || seed)>`. `seed` is the one this signer was made of.
    pub fn secret_text(&self, seed: &[u8; 32]) -> String {
        let mut bytes = vec![self.public.kind.byte()];
        bytes.extend_from_slice(seed);
        let id = u32::from_be_bytes(self.public.id);
        format!("PRIVATE+KEY+{}+{id:08x}+{}", self.public.name, STANDARD.encode(bytes))
    }

    /// The public half.
    pub fn public(&self) -> &VerifierKey {
        &self.public
    }

    /// The line with which this key vouches for the text, which must end in a newline.
    /// `time` is POSIX seconds; only a cosigner states it.
    pub fn sign(&self, text: &str, time: u64) -> SignatureLine {
        let signature = match self.public.kind {
            KeyKind::Ed25519 => self.key.sign(text.as_bytes()).to_bytes().to_vec(),
            KeyKind::CosignatureV1 => {
                let mut bytes = time.to_be_bytes().to_vec();
                bytes.extend_from_slice(&self.key.sign(&cosigned(time, text)).to_bytes());
                bytes
            }
        };
        SignatureLine { name: self.public.name.clone(), id: self.public.id, signature }
    }
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Signer({})", self.public)
    }
}

/// One line under a note: whose it says it is, and the bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignatureLine {
    /// The key's name.
    pub name: KeyName,
    /// The key's ID.
    pub id: KeyId,
    /// The signature; for a cosignature with the time before it. Not empty.
    pub signature: Vec<u8>,
}

impl fmt::Display for SignatureLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = self.id.to_vec();
        bytes.extend_from_slice(&self.signature);
        write!(f, "\u{2014} {} {}", self.name, STANDARD.encode(bytes))
    }
}

impl FromStr for SignatureLine {
    type Err = NotANote;

    /// Reads one line, without its newline.
    fn from_str(line: &str) -> Result<Self, Self::Err> {
        let (name, bytes) = line
            .strip_prefix("\u{2014} ")
            .and_then(|rest| rest.split_once(' '))
            .ok_or(NotANote("a signature line is `— name base64`"))?;
        let name = name.parse().map_err(|_| NotANote("a signature line has no valid key name"))?;
        let bytes = STANDARD.decode(bytes).map_err(|_| NotANote("a signature is not base64"))?;
        let (id, signature) = bytes.split_first_chunk().ok_or(NotANote("a signature is too short"))?;
        if signature.is_empty() {
            return Err(NotANote("a signature is too short"));
        }
        Ok(Self { name, id: *id, signature: signature.to_vec() })
    }
}

/// Why bytes are no note; nothing of them may be believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a signed note: {0}")]
pub struct NotANote(pub &'static str);

/// A text and the lines under it, none of them checked yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    text: String,
    signatures: Vec<SignatureLine>,
}

impl Note {
    /// Signs a text, which must be UTF-8 without control characters other than newlines and end in one.
    pub fn signed(text: String, signatures: Vec<SignatureLine>) -> Result<Self, NotANote> {
        check_text(&text)?;
        let mut note = Self { text, signatures: Vec::new() };
        note.add(signatures);
        Ok(note)
    }

    /// Reads a note.
    pub fn parse(bytes: &[u8]) -> Result<Self, NotANote> {
        if bytes.len() > NOTE_BYTES_MAX {
            return Err(NotANote("it is longer than 64 KiB"));
        }
        let all = std::str::from_utf8(bytes).map_err(|_| NotANote("it is not UTF-8"))?;
        // Signature lines are never empty: the last empty line is the one that divides.
        let at = all.rfind("\n\n").ok_or(NotANote("no empty line divides text and signatures"))?;
        let (text, lines) = (&all[..=at], &all[at + 2..]);
        check_text(text)?;
        let lines = lines.strip_suffix('\n').ok_or(NotANote("the last line has no newline"))?;
        let signatures = lines.split('\n').map(str::parse).collect::<Result<Vec<_>, _>>()?;
        if signatures.len() > SIGNATURES_MAX {
            return Err(NotANote("it has more than 100 signatures"));
        }
        Ok(Self { text: text.to_owned(), signatures })
    }

    /// The text, with its last newline. Nobody need have signed it.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The lines under it.
    pub fn signatures(&self) -> &[SignatureLine] {
        &self.signatures
    }

    /// Adds lines. A key's earlier line gives way to its new one: verifiers refuse two lines of one key.
    pub fn add(&mut self, lines: impl IntoIterator<Item = SignatureLine>) {
        for line in lines {
            self.signatures.retain(|old| (&old.name, old.id) != (&line.name, line.id));
            self.signatures.push(line);
        }
    }

    /// Who of `keys` vouches for the text.
    ///
    /// Lines of other keys are passed over. One bad line of a known key condemns the note, and so does a note on
    /// which no known key has a line. Two lines of one known key are refused: other verifiers do, too.
    pub fn verify<'a>(
        &self,
        keys: impl IntoIterator<Item = &'a VerifierKey>,
    ) -> Result<Vec<Vouched>, Unverified> {
        let mut vouched = Vec::new();
        for key in keys {
            let mut lines = self.signatures.iter().filter(|line| line.name == key.name && line.id == key.id);
            let Some(line) = lines.next() else { continue };
            let bad = || Unverified::Bad(key.name.clone());
            if lines.next().is_some() {
                return Err(bad());
            }
            vouched.push(key.check(&self.text, line).ok_or_else(bad)?);
        }
        if vouched.is_empty() { Err(Unverified::Nobody) } else { Ok(vouched) }
    }
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.text)?;
        self.signatures.iter().try_for_each(|line| writeln!(f, "{line}"))
    }
}

fn check_text(text: &str) -> Result<(), NotANote> {
    if !text.ends_with('\n') {
        return Err(NotANote("the text does not end in a newline"));
    }
    if text.chars().any(|c| c < ' ' && c != '\n') {
        return Err(NotANote("the text holds a control character"));
    }
    Ok(())
}

/// A known key's word for a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vouched {
    /// The key's name.
    pub name: KeyName,
    /// The key's ID.
    pub id: KeyId,
    /// The key's kind.
    pub kind: KeyKind,
    /// When a cosigner saw the text, in POSIX seconds by its own clock; `None` for a log's signature.
    pub time: Option<u64>,
}

/// Why a note proves nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unverified {
    /// A known key's line is not that key's signature of this text.
    #[error("the signature of {0} is not valid")]
    Bad(KeyName),
    /// None of the lines is of a known key.
    #[error("none of the signatures is of a known key")]
    Nobody,
}

/// Why a note proves nothing: it is none, or nobody known vouches for it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoteError {
    /// It cannot be read.
    #[error(transparent)]
    Malformed(#[from] NotANote),
    /// It can be read, and not believed.
    #[error(transparent)]
    Unverified(#[from] Unverified),
}

#[cfg(test)]
mod tests {
    use super::*;

    // The worked example of golang.org/x/mod/sumdb/note, which the specification refers to.
    const VKEY: &str = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k";
    const SIGNATURE: &str =
        "Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=";

    fn signer(name: &str) -> Signer {
        Signer::new(name.parse().unwrap(), &[7; 32])
    }

    #[test]
    fn the_known_answer_verifies_and_the_key_is_written_as_it_was_read() {
        let key: VerifierKey = VKEY.parse().unwrap();
        assert_eq!(key.to_string(), VKEY);
        let text = format!("This is an example message.\n\n\u{2014} example.com/foo {SIGNATURE}\n");
        let note = Note::parse(text.as_bytes()).unwrap();
        assert_eq!(note.verify([&key]).unwrap()[0].name.as_str(), "example.com/foo");
        assert_eq!(note.to_string(), text);
        let other = text.replace("example message", "exemple message");
        let note = Note::parse(other.as_bytes()).unwrap();
        assert_eq!(note.verify([&key]), Err(Unverified::Bad("example.com/foo".parse().unwrap())));
        assert_eq!(note.verify([signer("example.com/foo").public()]), Err(Unverified::Nobody));
    }

    #[test]
    fn a_secret_key_is_written_as_gos_library_does() {
        // The key pair of the examples in golang.org/x/mod/sumdb/note.
        const SKEY: &str = "PRIVATE+KEY+PeterNeumann+c74f20a3+AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz";
        let bytes = STANDARD.decode(SKEY.rsplit_once("+AYE").map(|(_, rest)| format!("AYE{rest}")).unwrap());
        let seed: [u8; 32] = bytes.unwrap()[1..].try_into().unwrap();
        let signer = Signer::new("PeterNeumann".parse().unwrap(), &seed);
        assert_eq!(signer.secret_text(&seed), SKEY);
        let vkey = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
        assert_eq!(signer.public().to_string(), vkey);
    }

    #[test]
    fn a_library_by_others_reads_our_notes_and_we_read_theirs() {
        use signed_note::{StandardVerifier, VerifierList};
        let signer = signer("log.example/1");
        let text = "log.example/1\n3\nabc\n".to_owned();
        let note = Note::signed(text.clone(), vec![signer.sign(&text, 0)]).unwrap();
        let theirs = signed_note::Note::from_bytes(note.to_string().as_bytes()).unwrap();
        let verifier = StandardVerifier::new(&signer.public().to_string()).unwrap();
        let (known, unknown) = theirs.verify(&VerifierList::new(vec![Box::new(verifier)])).unwrap();
        assert_eq!((known.len(), unknown.len()), (1, 0));
        assert_eq!(Note::parse(&theirs.to_bytes()).unwrap(), note);
    }

    #[test]
    fn a_cosigner_says_when_and_its_time_cannot_be_changed() {
        let witness = Signer::cosigner("witness.example".parse().unwrap(), &[9; 32]);
        let text = "log.example/1\n3\nabc\n".to_owned();
        let mut note = Note::signed(text.clone(), vec![witness.sign(&text, 1_700_000_000)]).unwrap();
        assert_eq!(note.verify([witness.public()]).unwrap()[0].time, Some(1_700_000_000));
        note.signatures[0].signature[7] ^= 1;
        assert!(matches!(note.verify([witness.public()]), Err(Unverified::Bad(_))));
        // The same key as a log's key is another key: its ID holds the type.
        let log = Signer::new("witness.example".parse().unwrap(), &[9; 32]);
        assert_eq!(note.verify([log.public()]), Err(Unverified::Nobody));
    }

    #[test]
    fn what_is_no_note_is_refused_with_the_reason() {
        let signer = signer("a.example");
        let good = Note::signed("text\n".to_owned(), vec![signer.sign("text\n", 0)]).unwrap().to_string();
        for (bad, why) in [
            (good.replace("\n\n", "\n"), "no empty line divides text and signatures"),
            (good.trim_end().to_owned(), "the last line has no newline"),
            (good.replace("text", "te\txt"), "the text holds a control character"),
            (good.replace('\n', "\r\n"), "no empty line divides text and signatures"),
            (good.replace('\u{2014}', "-"), "a signature line is `— name base64`"),
            (good.replace("a.example", "a+example"), "a signature line has no valid key name"),
            (format!("{good}\u{2014} b AAAA\n"), "a signature is too short"),
            (format!("{good}\u{2014} b !!!!\n"), "a signature is not base64"),
            (format!("{good}{}", "\u{2014} b AAAAAAAA\n".repeat(100)), "it has more than 100 signatures"),
            ("x".repeat(NOTE_BYTES_MAX + 1), "it is longer than 64 KiB"),
        ] {
            assert_eq!(Note::parse(bad.as_bytes()), Err(NotANote(why)), "{bad}");
        }
        assert_eq!(Note::parse(b"\xff\n\n"), Err(NotANote("it is not UTF-8")));
        // An empty line within the text is text.
        let text = "one\n\ntwo\n".to_owned();
        let note = Note::signed(text.clone(), vec![signer.sign(&text, 0)]).unwrap();
        assert_eq!(Note::parse(note.to_string().as_bytes()).unwrap().text(), text);
    }

    #[test]
    fn two_lines_of_one_key_are_neither_made_nor_believed() {
        let signer = signer("a.example");
        let line = signer.sign("text\n", 0);
        let note = Note::signed("text\n".to_owned(), vec![line.clone(), line.clone()]).unwrap();
        assert_eq!(note.signatures().len(), 1);
        let twice = format!("{note}{line}\n");
        let note = Note::parse(twice.as_bytes()).unwrap();
        assert!(matches!(note.verify([signer.public()]), Err(Unverified::Bad(_))));
    }

    #[test]
    fn what_is_no_key_is_refused_with_the_reason() {
        for (text, why) in [
            ("", NotAKey::Form),
            ("a b+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k", NotAKey::Name),
            ("example.com/foo+530D903A+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k", NotAKey::Form),
            ("example.com/foo+530d903b+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k", NotAKey::Id),
            ("example.com/bar+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k", NotAKey::Id),
            ("example.com/foo+530d903a+AukyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k", NotAKey::Kind(2)),
            ("example.com/foo+530d903a+Aeky", NotAKey::Form),
        ] {
            assert_eq!(text.parse::<VerifierKey>(), Err(why), "{text}");
        }
    }
}
