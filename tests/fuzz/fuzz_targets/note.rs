//! Signed notes, checkpoints and verifier keys: whatever is read is written the same; a forged one is not believed.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use mentorlog::ledger::checkpoint::Checkpoint;
use mentorlog::ledger::note::{Note, Signer, VerifierKey};

static SIGNER: LazyLock<Signer> =
    LazyLock::new(|| Signer::new("log.example/1".parse().expect("a name"), &[7; 32]));
static WITNESS: LazyLock<Signer> =
    LazyLock::new(|| Signer::cosigner("witness.example".parse().expect("a name"), &[9; 32]));

fuzz_target!(|bytes: &[u8]| {
    if let Ok(note) = Note::parse(bytes) {
        assert_eq!(note.to_string().as_bytes(), bytes);
        let _ = note.verify([SIGNER.public(), WITNESS.public()]);
        if let Ok(checkpoint) = note.text().parse::<Checkpoint>() {
            assert_eq!(checkpoint.to_string(), note.text());
        }
    }
    if let Ok(text) = std::str::from_utf8(bytes) {
        if let Ok(key) = text.parse::<VerifierKey>() {
            assert_eq!(key.to_string(), text);
        }
        // Signed by us, the text is believed whenever it can be the text of a note.
        if let Ok(note) = Note::signed(text.to_owned(), vec![SIGNER.sign(text, 0), WITNESS.sign(text, 5)]) {
            let read = Note::parse(note.to_string().as_bytes()).expect("what we write we read");
            assert_eq!(read.verify([SIGNER.public(), WITNESS.public()]).expect("our own words").len(), 2);
        }
    }
});
