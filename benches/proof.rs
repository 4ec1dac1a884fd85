//! Inclusion and consistency proofs of a ledger of a million entries: how long they take to make and to check, and how
//! large a proof file is with one signature and one cosignature. From memory: what a store adds is a read of at most
//! 511 entries.
//!
//! `cargo bench --bench proof [-- --entries 1000000]`

#![allow(
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    reason = "a benchmark may stop at the first surprise"
)]

use std::sync::Mutex;
use std::time::{Duration, Instant};

use mentorlog::ledger::checkpoint::Checkpoint;
use mentorlog::ledger::memory::MemoryLog;
use mentorlog::ledger::merkle::Tree;
use mentorlog::ledger::note::Signer;
use mentorlog::ledger::proofs::{ProofFile, extends, includes};
use mentorlog::ledger::provable::Provable;
use mentorlog::ledger::{Append, Log};
use mentorlog_events::id::LedgerId;
use mentorlog_events::record::Record;

/// About what a session takes.
const ENTRY_BYTES: usize = 720;

const PROOFS: u64 = 2_000;

fn show(what: &str, mut took: Vec<Duration>) {
    took.sort();
    let micros = |of: Duration| of.as_secs_f64() * 1e6;
    let (median, p99) = (took[took.len() / 2], took[took.len() * 99 / 100]);
    println!("{what:<24} median {:>7.1} us   p99 {:>7.1} us", micros(median), micros(p99));
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let at = arguments.iter().position(|argument| argument == "--entries");
    let entries: u64 = at.map_or(1_000_000, |at| arguments[at + 1].parse().unwrap());
    let ledger = LedgerId(uuid::Uuid::from_u128(7));
    let (log, mut tree) = (MemoryLog::new(), Tree::new());
    // One text for all: what is measured is hashing, not memory.
    let record = Record::stored(vec![b'x'; ENTRY_BYTES].into());
    let leaf = record.leaf_hash();
    let records = vec![record; entries as usize];
    (0..entries).for_each(|_| tree.push(leaf));
    let root = tree.root();
    log.append(&[Append { ledger, expected_size: 0, records, root }]);
    let tree = Mutex::new(tree);
    let provable = Provable { log: &log, ledger, tree: &tree, size: entries };
    let position = |n: u64| n.wrapping_mul(0x9e37_79b9_7f4a_7c15) % entries;
    let (mut made, mut checked, mut largest) = (Vec::new(), Vec::new(), Vec::new());
    for n in 0..PROOFS {
        let index = position(n);
        let begun = Instant::now();
        let proof = provable.inclusion(index, entries).unwrap().unwrap();
        made.push(begun.elapsed());
        let begun = Instant::now();
        assert!(includes(&proof, index, &leaf, entries, &root));
        checked.push(begun.elapsed());
        if proof.len() > largest.len() {
            largest = proof;
        }
    }
    show("inclusion proof made", made);
    show("inclusion proof checked", checked);
    let (mut made, mut checked) = (Vec::new(), Vec::new());
    for n in 0..PROOFS {
        let old = position(n) + 1;
        let old_root = provable.root_at(old).unwrap().unwrap();
        let begun = Instant::now();
        let proof = provable.consistency(old, entries).unwrap().unwrap();
        made.push(begun.elapsed());
        let begun = Instant::now();
        assert!(extends(&proof, old, &old_root, entries, &root));
        checked.push(begun.elapsed());
    }
    show("consistency proof made", made);
    show("consistency proof checked", checked);
    let origin = "00000000-0000-4000-8000-000000000001/00000000-0000-4000-8000-000000000002/1";
    let log_key = Signer::new(origin.parse().unwrap(), &[1; 32]);
    let witness = Signer::cosigner("witness.example/w1".parse().unwrap(), &[2; 32]);
    let checkpoint = Checkpoint::new(origin.parse().unwrap(), entries, root);
    let text = checkpoint.to_string();
    let checkpoint = checkpoint.signed(vec![log_key.sign(&text, 0), witness.sign(&text, 1_790_000_000)]);
    let file = ProofFile { extra: None, index: entries - 1, hashes: largest, checkpoint };
    println!("proof file               {} hashes, {} bytes", file.hashes.len(), file.to_string().len());
}
