//! A ledger as others check it: tiles, earlier roots and proofs, out of its entries and its Merkle tree.
//! Never signs, and never shows anything beyond the size it was asked for.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use mentorlog_events::id::LedgerId;
use mentorlog_events::record::{Hash, Record};

use super::merkle::Tree;
use super::proofs::{self, Subtree};
use super::tiles::{Kind, TILE_WIDTH, TilePath, bundle};
use super::{Log, ReadError};

/// A ledger at one size. The tree may have grown beyond it; what it holds within `size` never changes.
#[derive(Clone, Copy)]
pub struct Provable<'a> {
    /// Where the entries are.
    pub log: &'a dyn Log,
    /// Which ledger.
    pub ledger: LedgerId,
    /// Its tree, of at least `size` leaves. Locked for as long as copying 256 hashes takes, never while reading.
    pub tree: &'a Mutex<Tree>,
    /// How many entries are shown. All of them are durable.
    pub size: u64,
}

impl Provable<'_> {
    /// Exactly the entries of `range`, which lies within `size`.
    pub fn entries(&self, range: Range<u64>) -> Result<Vec<Record>, ReadError> {
        let wanted = usize::try_from(range.end - range.start).expect("a tile's worth of entries");
        let records = self.log.read(self.ledger, range.start, wanted)?;
        if records.len() < wanted {
            return Err(ReadError::Damaged {
                ledger: self.ledger,
                seq: range.start + records.len() as u64,
                detail: "the ledger ends here".into(),
            });
        }
        Ok(records)
    }

    /// Hashes `range` of the complete subtrees of `256^level` leaves, all of them within `size`; `level` is not 0.
    pub fn hashes(&self, level: u8, range: Range<u64>) -> Vec<Hash> {
        let index = |n| usize::try_from(n).expect("positions within a list in memory fit its index");
        let tree = self.tree.lock().unwrap_or_else(PoisonError::into_inner);
        tree.level(level)[index(range.start)..index(range.end)].to_vec()
    }

    fn leaves(&self, range: Range<u64>) -> Result<Vec<Hash>, ReadError> {
        Ok(self.entries(range)?.iter().map(Record::leaf_hash).collect())
    }

    /// The root at an earlier size; `None` beyond `size`. Reads at most 255 entries.
    pub fn root_at(&self, size: u64) -> Result<Option<Hash>, ReadError> {
        if size > self.size {
            return Ok(None);
        }
        // Read before the tree is locked: appending waits for that lock.
        let rest = size / u64::from(TILE_WIDTH) * u64::from(TILE_WIDTH)..size;
        let leaves = self.leaves(rest.clone())?;
        let tree = self.tree.lock().unwrap_or_else(PoisonError::into_inner);
        tree.root_at(size, |range| {
            assert_eq!(range, rest, "a root needs the leaves behind the last full tile");
            Ok(leaves)
        })
    }

    /// The bytes of a tile or bundle; `None` when it does not lie within `size`. Reads at most 256 entries.
    pub fn tile(&self, tile: TilePath) -> Result<Option<Vec<u8>>, ReadError> {
        if !tile.is_within(self.size) {
            return Ok(None);
        }
        let range = tile.first()..tile.first() + u64::from(tile.width);
        Ok(Some(match tile.kind {
            Kind::Entries => bundle(self.entries(range)?.iter().map(|record| &record.bytes()[..])),
            Kind::Hashes(0) => self.leaves(range)?.concat(),
            Kind::Hashes(level) => self.hashes(level, range).concat(),
        }))
    }

    /// The proof that entry `index` is in the tree of `of` leaves; `None` unless `index < of <= size`.
    /// Reads at most 511 entries.
    pub fn inclusion(&self, index: u64, of: u64) -> Result<Option<Vec<Hash>>, ReadError> {
        if index >= of || of > self.size {
            return Ok(None);
        }
        let mut subtrees = Subtrees { of: self, read: HashMap::new() };
        proofs::inclusion(index, of, |subtree| subtrees.root(subtree)).map(Some)
    }

    /// The proof that the tree of `new` leaves began as the tree of `old`; `None` unless `old <= new <= size`.
    /// Reads at most 511 entries.
    pub fn consistency(&self, old: u64, new: u64) -> Result<Option<Vec<Hash>>, ReadError> {
        if old > new || new > self.size {
            return Ok(None);
        }
        let mut subtrees = Subtrees { of: self, read: HashMap::new() };
        proofs::consistency(old, new, |subtree| subtrees.root(subtree)).map(Some)
    }
}

/// Roots of complete subtrees. A proof asks for up to eight below one tile, whose leaves are read once.
struct Subtrees<'a> {
    of: &'a Provable<'a>,
    read: HashMap<u64, Vec<Hash>>,
}

impl Subtrees<'_> {
    fn root(&mut self, subtree: Subtree) -> Result<Hash, ReadError> {
        let lock = || self.of.tree.lock().unwrap_or_else(PoisonError::into_inner);
        if subtree.height >= 8 {
            return lock()
                .subtree(subtree.height, subtree.index, |_| unreachable!("no leaves above height 8"));
        }
        let first = subtree.index << subtree.height;
        let tile = first / u64::from(TILE_WIDTH);
        let leaves = match self.read.entry(tile) {
            std::collections::hash_map::Entry::Occupied(read) => read.into_mut(),
            std::collections::hash_map::Entry::Vacant(vacant) => {
                let start = tile * u64::from(TILE_WIDTH);
                let end = (start + u64::from(TILE_WIDTH)).min(self.of.size);
                vacant.insert(self.of.leaves(start..end)?)
            }
        };
        let from = usize::try_from(first % u64::from(TILE_WIDTH)).expect("below 256");
        Ok(super::merkle::root_over(&leaves[from..from + (1 << subtree.height)]))
    }
}

#[cfg(test)]
mod tests {
    use mentorlog_events::id::ProgramId;
    use mentorlog_events::record::leaf_hash;

    use super::*;
    use crate::ledger::Append;
    use crate::ledger::memory::MemoryLog;
    use crate::ledger::proofs::{extends, includes};

    const LEDGER: LedgerId = LedgerId(uuid::Uuid::from_u128(7));

    fn log(size: u64) -> (MemoryLog, Mutex<Tree>, Vec<Hash>) {
        let log = MemoryLog::new();
        let records: Vec<Record> =
            (0..size).map(|seq| Record::stored(format!("{{\"seq\":{seq}}}").into_bytes().into())).collect();
        let (mut tree, mut roots) = (Tree::new(), vec![Tree::new().root()]);
        for record in &records {
            tree.push(record.leaf_hash());
            roots.push(tree.root());
        }
        let append = Append { ledger: LEDGER, expected_size: 0, records, root: tree.root() };
        assert!(matches!(log.append(&[append])[..], [crate::ledger::Outcome::Ok]));
        assert_ne!(LEDGER, ProgramId(uuid::Uuid::from_u128(8)).into());
        (log, Mutex::new(tree), roots)
    }

    #[test]
    fn every_root_and_proof_within_the_size_is_right_and_none_goes_beyond_it() {
        let (log, tree, roots) = log(1_000);
        let at = |size: u64| &roots[usize::try_from(size).unwrap()];
        // The tree has grown on: what is shown has not.
        let ledger = Provable { log: &log, ledger: LEDGER, tree: &tree, size: 800 };
        for size in (0..=800).step_by(13).chain([255, 256, 257, 511, 512, 768]) {
            assert_eq!(ledger.root_at(size).unwrap().as_ref(), Some(at(size)), "{size}");
            let old = size / 3;
            let proof = ledger.consistency(old, size).unwrap().unwrap();
            assert!(extends(&proof, old, at(old), size, at(size)), "{old} to {size}");
            for index in [0, size / 2, size.saturating_sub(1)].into_iter().filter(|index| *index < size) {
                let proof = ledger.inclusion(index, size).unwrap().unwrap();
                let leaf = leaf_hash(format!("{{\"seq\":{index}}}").as_bytes());
                assert!(includes(&proof, index, &leaf, size, at(size)), "{index} of {size}");
            }
        }
        assert_eq!(ledger.root_at(801).unwrap(), None);
        assert_eq!(ledger.inclusion(800, 800).unwrap(), None);
        assert_eq!(ledger.inclusion(5, 801).unwrap(), None);
        assert_eq!(ledger.consistency(5, 801).unwrap(), None);
        assert_eq!(ledger.consistency(6, 5).unwrap(), None);
    }

    #[test]
    fn tiles_have_the_bytes_of_the_specification_at_any_width_and_end_with_the_size() {
        let (log, tree, _) = log(70_000);
        let ledger = Provable { log: &log, ledger: LEDGER, tree: &tree, size: 69_999 };
        let tile = |path: &str| ledger.tile(path.parse().unwrap()).unwrap().map(|bytes| bytes.len());
        assert_eq!(tile("0/272"), Some(8192));
        assert_eq!(tile("0/273.p/111"), Some(111 * 32));
        assert_eq!(tile("0/273.p/7"), Some(7 * 32));
        assert_eq!(tile("0/273.p/112"), None, "beyond the size");
        assert_eq!(tile("0/273"), None);
        assert_eq!(
            (tile("1/000"), tile("1/001.p/17"), tile("1/001.p/18")),
            (Some(8192), Some(17 * 32), None)
        );
        assert_eq!((tile("2/000.p/1"), tile("2/000.p/2"), tile("3/000.p/1")), (Some(32), None, None));
        assert_eq!(tile("63/000.p/1"), None);
        assert_eq!(tile("0/x018/x446/x744/x073/x709/x551/615"), None);
        let bundle = ledger.tile("entries/000.p/2".parse().unwrap()).unwrap().unwrap();
        assert_eq!(bundle, b"\0\x09{\"seq\":0}\0\x09{\"seq\":1}");
    }
}
