//! Proof files, and proofs for any sizes: checked without harm, and none made of chance holds.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mentorlog::ledger::proofs::{ProofFile, extends, includes};

fuzz_target!(|input: (&str, u64, u64, Vec<[u8; 32]>)| {
    let (text, a, b, hashes) = input;
    if let Ok(file) = text.parse::<ProofFile>() {
        assert_eq!(file.to_string(), text);
        includes(&file.hashes, file.index, &[0; 32], a, &[1; 32]);
    }
    assert!(!includes(&hashes, a, &[0; 32], b, &[1; 32]));
    assert!(a == 0 || !extends(&hashes, a, &[0; 32], b, &[1; 32]));
});
