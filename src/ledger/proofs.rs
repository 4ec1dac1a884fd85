//! Proofs over Merkle trees: that an entry is in a log (inclusion), that a log has only grown (consistency),
//! and the C2SP tlog-proof file that carries an inclusion proof with its checkpoint.
//! Never believes a size or a root: who checks brings them from a checkpoint whose signature was verified.
//!
//! Proofs are those of RFC 6962 sections 2.1.1 and 2.1.2; they are checked as RFC 9162 sections 2.1.3.2 and
//! 2.1.4.2 say. `golang.org/x/mod/sumdb/tlog` and the crate `tlog_tiles` make and take the same.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use mentorlog_events::record::Hash;

use super::checkpoint::decimal;
use super::merkle::{node_hash, root_of};
use super::note::{NOTE_BYTES_MAX, NotANote, Note};

/// Most hashes of a proof over a tree whose size fits 64 bits.
pub const PROOF_HASHES_MAX: usize = 63;

/// A complete subtree: `2^height` leaves from leaf `index * 2^height` on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Subtree {
    /// 0: a leaf.
    pub height: u32,
    /// Its place among the subtrees of its height.
    pub index: u64,
}

/// The proof that leaf `index` is in the tree of `size` leaves: from its sibling up to the root's child.
///
/// `root` gives the root of a complete subtree within `size`; its error is passed on.
/// `index` must be below `size`.
pub fn inclusion<E>(
    index: u64,
    size: u64,
    mut root: impl FnMut(Subtree) -> Result<Hash, E>,
) -> Result<Vec<Hash>, E> {
    assert!(index < size, "leaf {index} is not in a tree of {size}");
    // Ranges beside the way down, the root's child first.
    let mut beside = Vec::new();
    let (mut from, mut to) = (0, size);
    while to - from > 1 {
        let middle = from + split(to - from);
        if index < middle {
            beside.push((middle, to));
            to = middle;
        } else {
            beside.push((from, middle));
            from = middle;
        }
    }
    beside.into_iter().rev().map(|(from, to)| range_root(from, to, &mut root)).collect()
}

/// The proof that the tree of `old` leaves is how the tree of `new` leaves began.
///
/// Empty for `old == 0` and `old == new`. `root` as for [`inclusion`]; `old` is at most `new`.
pub fn consistency<E>(
    old: u64,
    new: u64,
    mut root: impl FnMut(Subtree) -> Result<Hash, E>,
) -> Result<Vec<Hash>, E> {
    assert!(old <= new, "a tree of {new} leaves has no beginning of {old}");
    if old == 0 || old == new {
        return Ok(Vec::new());
    }
    let mut ranges = Vec::new();
    let (mut from, mut to) = (0, new);
    while old != to {
        let middle = from + split(to - from);
        if old <= middle {
            ranges.push((middle, to));
            to = middle;
        } else {
            ranges.push((from, middle));
            from = middle;
        }
    }
    // The old tree itself is known to who checks, unless it had to be divided.
    if from > 0 {
        ranges.push((from, to));
    }
    ranges.into_iter().rev().map(|(from, to)| range_root(from, to, &mut root)).collect()
}

/// The largest power of two below `leaves`, which is at least 2.
fn split(leaves: u64) -> u64 {
    1 << (leaves - 1).ilog2()
}

/// The root over the leaves `from..to`, where `from` is a multiple of a power of two that is at least their number.
fn range_root<E>(
    mut from: u64,
    to: u64,
    root: &mut impl FnMut(Subtree) -> Result<Hash, E>,
) -> Result<Hash, E> {
    let mut roots = Vec::new();
    while from < to {
        let height = (to - from).ilog2();
        roots.push(root(Subtree { height, index: from >> height })?);
        from += 1 << height;
    }
    Ok(root_of(&roots))
}

/// Whether the proof shows that `leaf` is leaf `index` of the tree of `size` leaves with this root.
pub fn includes(proof: &[Hash], index: u64, leaf: &Hash, size: u64, root: &Hash) -> bool {
    if index >= size {
        return false;
    }
    // RFC 9162, section 2.1.3.2.
    let (mut node, mut last) = (index, size - 1);
    let mut hash = *leaf;
    for beside in proof {
        if last == 0 {
            return false;
        }
        if node & 1 == 1 || node == last {
            hash = node_hash(beside, &hash);
            while node & 1 == 0 && node != 0 {
                node >>= 1;
                last >>= 1;
            }
        } else {
            hash = node_hash(&hash, beside);
        }
        node >>= 1;
        last >>= 1;
    }
    last == 0 && hash == *root
}

/// Whether the proof shows that the tree of `old` leaves with root `old_root` is how the tree of `new` leaves with
/// root `new_root` began. The empty tree is how every tree began, whatever root it is said to have had:
/// compare it with [the empty root](super::merkle::Frontier::root) where that matters.
pub fn extends(proof: &[Hash], old: u64, old_root: &Hash, new: u64, new_root: &Hash) -> bool {
    if old > new {
        return false;
    }
    if old == new {
        return proof.is_empty() && old_root == new_root;
    }
    if old == 0 {
        return proof.is_empty();
    }
    // RFC 9162, section 2.1.4.2.
    let (first, rest) = if old.is_power_of_two() {
        (old_root, proof)
    } else {
        let Some((first, rest)) = proof.split_first() else { return false };
        (first, rest)
    };
    let (mut node, mut last) = (old - 1, new - 1);
    let shift = node.trailing_ones();
    node >>= shift;
    last >>= shift;
    let (mut in_old, mut in_new) = (*first, *first);
    for beside in rest {
        if last == 0 {
            return false;
        }
        if node & 1 == 1 || node == last {
            in_old = node_hash(beside, &in_old);
            in_new = node_hash(beside, &in_new);
            while node & 1 == 0 && node != 0 {
                node >>= 1;
                last >>= 1;
            }
        } else {
            in_new = node_hash(&in_new, beside);
        }
        node >>= 1;
        last >>= 1;
    }
    last == 0 && in_old == *old_root && in_new == *new_root
}

const PROOF_HEADER: &str = "c2sp.org/tlog-proof@v1";

/// An inclusion proof as a file (C2SP tlog-proof): everything but the entry and the keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProofFile {
    /// What the specification calls extra data: nobody vouches for it.
    pub extra: Option<Vec<u8>>,
    /// The entry's position.
    pub index: u64,
    /// From the leaf's sibling up to the root's child.
    pub hashes: Vec<Hash>,
    /// The signed checkpoint, to the byte.
    pub checkpoint: Note,
}

impl fmt::Display for ProofFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{PROOF_HEADER}")?;
        if let Some(extra) = &self.extra {
            writeln!(f, "extra {}", STANDARD.encode(extra))?;
        }
        writeln!(f, "index {}", self.index)?;
        self.hashes.iter().try_for_each(|hash| writeln!(f, "{}", STANDARD.encode(hash)))?;
        write!(f, "\n{}", self.checkpoint)
    }
}

impl FromStr for ProofFile {
    type Err = NotANote;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let no = NotANote("it is no c2sp.org/tlog-proof@v1 file");
        if text.len() > 2 * NOTE_BYTES_MAX {
            return Err(NotANote("it is longer than 128 KiB"));
        }
        let (head, checkpoint) = text.split_once("\n\n").ok_or(no)?;
        let mut lines = head.split('\n').peekable();
        if lines.next() != Some(PROOF_HEADER) {
            return Err(no);
        }
        let extra = match lines.peek().and_then(|line| line.strip_prefix("extra ")) {
            None => None,
            Some(extra) => {
                lines.next();
                Some(STANDARD.decode(extra).map_err(|_| no)?)
            }
        };
        let index = lines.next().and_then(|line| line.strip_prefix("index ")).and_then(decimal).ok_or(no)?;
        let hashes = lines.map(|line| hash(line).ok_or(no)).collect::<Result<Vec<_>, _>>()?;
        if hashes.len() > PROOF_HASHES_MAX {
            return Err(NotANote("its proof has more hashes than any tree"));
        }
        Ok(Self { extra, index, hashes, checkpoint: Note::parse(checkpoint.as_bytes())? })
    }
}

/// A hash as base64, the way every C2SP format writes it.
pub fn hash(text: &str) -> Option<Hash> {
    STANDARD.decode(text).ok()?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use mentorlog_events::record::leaf_hash;
    use proptest::prelude::*;
    use tlog_tiles::HashReader;

    use super::*;
    use crate::ledger::merkle::Frontier;
    use crate::ledger::note::Signer;

    fn leaf(i: u64) -> Hash {
        leaf_hash(&i.to_be_bytes())
    }

    fn root_over(leaves: std::ops::Range<u64>) -> Hash {
        let mut frontier = Frontier::new();
        frontier.extend(leaves.map(leaf));
        frontier.root()
    }

    #[allow(clippy::unnecessary_wraps, reason = "the form in which proofs ask for subtrees")]
    fn subtree(subtree: Subtree) -> Result<Hash, Infallible> {
        let Subtree { height, index } = subtree;
        Ok(root_over(index << height..(index + 1) << height))
    }

    /// The oracle's store of hashes.
    struct Stored;

    impl HashReader for Stored {
        fn read_hashes(&self, indexes: &[u64]) -> Result<Vec<tlog_tiles::Hash>, tlog_tiles::Error> {
            Ok(indexes
                .iter()
                .map(|stored| {
                    let (height, index) = tlog_tiles::split_stored_hash_index(*stored);
                    let Ok(hash) = subtree(Subtree { height: height.into(), index });
                    tlog_tiles::Hash(hash)
                })
                .collect())
        }
    }

    fn theirs(proof: &[Hash]) -> Vec<tlog_tiles::Hash> {
        proof.iter().map(|hash| tlog_tiles::Hash(*hash)).collect()
    }

    #[test]
    fn every_small_tree_proves_every_leaf_and_every_beginning_as_others_do() {
        for size in 0..=40 {
            let root = root_over(0..size);
            for index in 0..size {
                let Ok(proof) = inclusion(index, size, subtree);
                assert_eq!(theirs(&proof), tlog_tiles::prove_record(size, index, &Stored).unwrap());
                assert!(includes(&proof, index, &leaf(index), size, &root), "{index} of {size}");
                let other = (index + 1) % (size + 1);
                assert!(!includes(&proof, other, &leaf(index), size, &root), "{other} of {size}");
            }
            for old in 0..=size {
                let old_root = root_over(0..old);
                let Ok(proof) = consistency(old, size, subtree);
                if old > 0 {
                    assert_eq!(theirs(&proof), tlog_tiles::prove_tree(size, old, &Stored).unwrap());
                }
                assert!(extends(&proof, old, &old_root, size, &root), "{old} of {size}");
                assert!(old == 0 || !extends(&proof, old, &[0; 32], size, &root), "{old} of {size}");
                assert!(old < size || !extends(&proof, size + 1, &root, size, &root));
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn what_we_take_others_take_and_what_was_touched_nobody_takes(
            size in 1_u64..3000, a in any::<u64>(), touch in any::<prop::sample::Index>(), bit in 0_u8..8,
        ) {
            let (index, old) = (a % size, 1 + a % size);
            let (root, old_root) = (root_over(0..size), root_over(0..old));
            let ours = |proof: &[Hash]| includes(proof, index, &leaf(index), size, &root);
            let oracle = |proof: &[Hash]| tlog_tiles::check_record(&theirs(proof), size,
                tlog_tiles::Hash(root), index, tlog_tiles::Hash(leaf(index))).is_ok();
            let grown = |proof: &[Hash]| extends(proof, old, &old_root, size, &root);
            let oracle_grown = |proof: &[Hash]| tlog_tiles::check_tree(&theirs(proof), size,
                tlog_tiles::Hash(root), old, tlog_tiles::Hash(old_root)).is_ok();
            let Ok(inclusion) = inclusion(index, size, subtree);
            let Ok(consistency) = consistency(old, size, subtree);
            prop_assert!(ours(&inclusion) && oracle(&inclusion));
            prop_assert!(grown(&consistency) && oracle_grown(&consistency));
            for (proof, ours, oracle) in [
                (inclusion, &ours as &dyn Fn(&[Hash]) -> bool, &oracle as &dyn Fn(&[Hash]) -> bool),
                (consistency, &grown, &oracle_grown),
            ] {
                let mut longer = proof.clone();
                longer.push([1; 32]);
                prop_assert!(!ours(&longer) && !oracle(&longer));
                if proof.is_empty() { continue; }
                let mut touched = proof.clone();
                touch.get_mut(&mut touched)[0] ^= 1 << bit;
                prop_assert!(!ours(&touched) && !oracle(&touched));
                let shorter = &proof[..proof.len() - 1];
                prop_assert!(!ours(shorter) && !oracle(shorter));
            }
        }

        #[test]
        fn any_proof_of_any_size_is_checked_without_harm(
            proof in prop::collection::vec(any::<[u8; 32]>(), 0..70), a in any::<u64>(), b in any::<u64>(),
        ) {
            prop_assert!(!includes(&proof, a, &[0; 32], b, &[1; 32]));
            prop_assert!(a == 0 || !extends(&proof, a, &[0; 32], b, &[1; 32]));
        }
    }

    #[test]
    fn the_largest_trees_are_proved_without_overflow() {
        let fake = |subtree: Subtree| Ok::<_, Infallible>(leaf(subtree.index ^ u64::from(subtree.height)));
        let Ok(proof) = inclusion(u64::MAX - 1, u64::MAX, fake);
        assert!(proof.len() <= 64);
        let Ok(proof) = consistency(u64::MAX - 1, u64::MAX, fake);
        assert!(proof.len() <= 64);
    }

    #[test]
    fn a_proof_file_is_read_as_it_is_written_and_in_no_other_form() {
        let signer = Signer::new("log.example/1".parse().unwrap(), &[1; 32]);
        let text = format!("log.example/1\n2\n{}\n", STANDARD.encode(root_over(0..2)));
        let checkpoint = Note::signed(text.clone(), vec![signer.sign(&text, 0)]).unwrap();
        let file = ProofFile { extra: None, index: 1, hashes: vec![leaf(0)], checkpoint };
        let written = file.to_string();
        assert!(written.starts_with("c2sp.org/tlog-proof@v1\nindex 1\n"));
        assert_eq!(written.parse(), Ok(file.clone()));
        let with_extra = ProofFile { extra: Some(b"x".to_vec()), ..file };
        assert_eq!(with_extra.to_string().parse(), Ok(with_extra));
        for bad in [
            written.replace("@v1", "@v2"),
            written.replace("index 1", "index 01"),
            written.replace("index 1", "index -1"),
            written.replace("index 1\n", ""),
            written.replacen("\n\n", "\n", 1),
            written.replacen("index 1\n", "index 1\nAAAA\n", 1),
            written.replacen(
                "index 1\n",
                &format!("index 1\n{}", format!("{}\n", STANDARD.encode([0; 32])).repeat(63)),
                1,
            ),
        ] {
            assert!(bad.parse::<ProofFile>().is_err(), "{bad}");
        }
    }
}
