//! Merkle trees of ledgers as RFC 6962 section 2.1 defines them: leaves in, roots out.
//! Never sees an entry: a leaf is its hash.

use std::ops::Range;

use mentorlog_events::record::Hash;
use sha2::{Digest, Sha256};

/// `SHA-256(0x01 || left || right)`, the node hash of RFC 6962.
pub(super) fn node_hash(left: &Hash, right: &Hash) -> Hash {
    let mut bytes = [0_u8; 65];
    bytes[0] = 1;
    bytes[1..33].copy_from_slice(left);
    bytes[33..].copy_from_slice(right);
    Sha256::digest(bytes).into()
}

/// The roots of the perfect subtrees a tree of some size consists of: enough to append and to give the root.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Frontier {
    size: u64,
    // Largest subtree first; one for each bit set in `size`.
    nodes: Vec<Hash>,
}

impl Frontier {
    /// The frontier of the empty tree.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a leaf at the end.
    pub fn push(&mut self, leaf: Hash) {
        self.push_seeing(leaf, |_, _| ());
    }

    /// Adds a leaf and shows every subtree it completes with its height, the leaf itself (height 0) first.
    #[inline]
    fn push_seeing(&mut self, leaf: Hash, mut completed: impl FnMut(u32, &Hash)) {
        let mut node = leaf;
        completed(0, &node);
        for height in 1..=self.size.trailing_ones() {
            let left = self.nodes.pop().expect("a subtree for each bit set in the size");
            node = node_hash(&left, &node);
            completed(height, &node);
        }
        self.nodes.push(node);
        self.size += 1;
    }

    /// Number of leaves.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The root at this size; of the empty tree, SHA-256 of nothing.
    pub fn root(&self) -> Hash {
        root_of(&self.nodes)
    }

    /// The roots of the perfect subtrees it consists of, largest first.
    pub(super) fn nodes(&self) -> &[Hash] {
        &self.nodes
    }
}

impl Extend<Hash> for Frontier {
    fn extend<I: IntoIterator<Item = Hash>>(&mut self, leaves: I) {
        for leaf in leaves {
            self.push(leaf);
        }
    }
}

/// Root over perfect subtrees, largest first; over none, SHA-256 of nothing.
pub(super) fn root_of(nodes: &[Hash]) -> Hash {
    match nodes.split_last() {
        None => Sha256::digest([]).into(),
        Some((last, larger)) => larger.iter().rev().fold(*last, |right, left| node_hash(left, &right)),
    }
}

/// Leaves under one tile of height 8, the unit of C2SP tlog-tiles.
const WIDTH: u64 = 256;

/// A frontier, and the roots of all complete subtrees of 256, 65,536... leaves: about 32 bytes for 256 leaves.
/// With them the root at any earlier size needs at most 255 leaves from the log.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tree {
    frontier: Frontier,
    // levels[k]: roots of the complete subtrees of 256^(k+1) leaves, in order.
    levels: Vec<Vec<Hash>>,
}

impl Tree {
    /// The empty tree.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a leaf at the end.
    pub fn push(&mut self, leaf: Hash) {
        let levels = &mut self.levels;
        self.frontier.push_seeing(leaf, |height, node| {
            if height > 0 && height % 8 == 0 {
                let level = (height / 8 - 1) as usize;
                if level == levels.len() {
                    levels.push(Vec::new());
                }
                levels[level].push(*node);
            }
        });
    }

    /// Number of leaves.
    pub fn size(&self) -> u64 {
        self.frontier.size()
    }

    /// The root at this size.
    pub fn root(&self) -> Hash {
        self.frontier.root()
    }

    /// The frontier at this size.
    pub fn frontier(&self) -> &Frontier {
        &self.frontier
    }

    /// The root the tree had at `size`, or `None` if it never was that large.
    ///
    /// `leaves` is asked at most once, for the leaf hashes of at most 255 consecutive indices that end at
    /// `size`; it must return exactly those. Its error is passed on.
    pub fn root_at<E>(
        &self,
        size: u64,
        leaves: impl FnOnce(Range<u64>) -> Result<Vec<Hash>, E>,
    ) -> Result<Option<Hash>, E> {
        if size > self.size() {
            return Ok(None);
        }
        if size == self.size() {
            return Ok(Some(self.root()));
        }
        let mut nodes = Vec::with_capacity(64);
        for (k, level) in self.levels.iter().enumerate().rev() {
            let complete = size >> (8 * (k + 1));
            let from = index(complete / WIDTH * WIDTH);
            nodes.extend(perfect(&level[from..index(complete)]));
        }
        let rest = size / WIDTH * WIDTH..size;
        if !rest.is_empty() {
            let wanted = index(rest.end - rest.start);
            let found = leaves(rest)?;
            assert_eq!(found.len(), wanted, "the caller returns exactly the leaves it was asked for");
            nodes.extend(perfect(&found));
        }
        Ok(Some(root_of(&nodes)))
    }
}

impl Tree {
    /// The roots of the complete subtrees of `256^level` leaves, in order. Level 0, the leaves, is not kept here.
    pub fn level(&self, level: u8) -> &[Hash] {
        level.checked_sub(1).and_then(|level| self.levels.get(usize::from(level))).map_or(&[], Vec::as_slice)
    }

    /// The root of a complete subtree of `2^height` leaves, the `index`-th of its height.
    ///
    /// `leaves` is asked, only for heights below 8, for the leaf hashes of the subtree's own leaves; it must return
    /// exactly those. Its error is passed on. The subtree must lie within the tree.
    pub fn subtree<E>(
        &self,
        height: u32,
        index: u64,
        leaves: impl FnOnce(Range<u64>) -> Result<Vec<Hash>, E>,
    ) -> Result<Hash, E> {
        let (level, combined) = (height / 8, height % 8);
        let range = index << combined..(index + 1) << combined;
        if level == 0 {
            return Ok(root_of(&perfect(&leaves(range)?)));
        }
        let level = self.level(u8::try_from(level).expect("a tree of 64-bit size has 8 levels"));
        Ok(root_of(&perfect(&level[self::index(range.start)..self::index(range.end)])))
    }
}

impl Extend<Hash> for Tree {
    fn extend<I: IntoIterator<Item = Hash>>(&mut self, leaves: I) {
        for leaf in leaves {
            self.push(leaf);
        }
    }
}

/// The root over these hashes as the leaves of a tree.
pub(super) fn root_over(leaves: &[Hash]) -> Hash {
    root_of(&perfect(leaves))
}

/// The perfect subtrees that fewer than 256 equal ones combine into.
fn perfect(nodes: &[Hash]) -> Vec<Hash> {
    let mut frontier = Frontier::new();
    frontier.extend(nodes.iter().copied());
    frontier.nodes
}

fn index(n: u64) -> usize {
    usize::try_from(n).expect("positions within a list in memory fit its index")
}

#[cfg(test)]
mod tests {
    use mentorlog_events::record::leaf_hash;
    use proptest::prelude::*;

    use super::*;

    fn hex(text: &str) -> Hash {
        let mut hash = [0; 32];
        for (i, byte) in hash.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&text[2 * i..2 * i + 2], 16).unwrap();
        }
        hash
    }

    /// RFC 6962 section 2.1, word for word.
    fn mth(leaves: &[Hash]) -> Hash {
        match leaves {
            [] => Sha256::digest([]).into(),
            [leaf] => *leaf,
            _ => {
                let k = leaves.len().next_power_of_two() / 2;
                node_hash(&mth(&leaves[..k]), &mth(&leaves[k..]))
            }
        }
    }

    fn leaf(i: u64) -> Hash {
        leaf_hash(&i.to_be_bytes())
    }

    #[test]
    fn a_subtree_has_the_root_over_its_leaves() {
        let mut tree = Tree::new();
        tree.extend((0..70_000).map(leaf));
        for (height, at) in [(0, 69_999), (3, 5), (7, 546), (8, 272), (11, 33), (15, 1), (16, 0)] {
            let range = at << height..(at + 1) << height;
            let expected: Vec<Hash> = range.clone().map(leaf).collect();
            let found = tree.subtree(height, at, |wanted| {
                assert_eq!(wanted, range);
                Ok::<_, std::convert::Infallible>(expected.clone())
            });
            assert_eq!(found, Ok(mth(&expected)), "height {height}, index {at}");
        }
        assert_eq!((tree.level(0).len(), tree.level(1).len(), tree.level(2).len()), (0, 273, 1));
    }

    #[test]
    fn roots_are_those_of_the_certificate_transparency_test_vectors() {
        // The inputs and roots of certificate-transparency's merkletree tests.
        let inputs: [&[u8]; 8] = [
            &[],
            &[0x00],
            &[0x10],
            &[0x20, 0x21],
            &[0x30, 0x31],
            &[0x40, 0x41, 0x42, 0x43],
            &[0x50, 0x51, 0x52, 0x53, 0x54, 0x55, 0x56, 0x57],
            &[0x60, 0x61, 0x62, 0x63, 0x64, 0x65, 0x66, 0x67, 0x68, 0x69, 0x6a, 0x6b, 0x6c, 0x6d, 0x6e, 0x6f],
        ];
        let roots = [
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
            "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
            "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
            "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
            "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
            "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
            "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
            "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
            "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
        ];
        let mut frontier = Frontier::new();
        assert_eq!(frontier.root(), hex(roots[0]));
        for (input, root) in inputs.iter().zip(&roots[1..]) {
            frontier.push(leaf_hash(input));
            assert_eq!(frontier.root(), hex(root), "at {}", frontier.size());
        }
    }

    #[test]
    fn the_frontier_gives_the_root_of_the_definition_at_every_size_up_to_600() {
        let leaves: Vec<_> = (0..600).map(leaf).collect();
        let (mut frontier, mut tree) = (Frontier::new(), Tree::new());
        for (i, leaf) in leaves.iter().enumerate() {
            frontier.push(*leaf);
            tree.push(*leaf);
            assert_eq!(frontier.root(), mth(&leaves[..=i]));
            assert_eq!(tree.root(), frontier.root());
        }
    }

    #[test]
    fn a_tree_of_three_levels_gives_earlier_roots_too() {
        let mut tree = Tree::new();
        let mut wanted = std::collections::BTreeMap::new();
        for i in 0..WIDTH * WIDTH * 2 + 700 {
            tree.push(leaf(i));
            if i % 6_007 == 0 || (i + 1) % (WIDTH * WIDTH) < 2 {
                wanted.insert(i + 1, tree.root());
            }
        }
        for (size, root) in wanted {
            let found = tree.root_at::<()>(size, |range| Ok(range.map(leaf).collect()));
            assert_eq!(found, Ok(Some(root)), "at {size}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn any_earlier_root_is_found_again_from_at_most_255_leaves(size in 0_u64..3_000, then in 0_u64..1_500) {
            let mut tree = Tree::new();
            let leaves: Vec<_> = (0..size + then).map(leaf).collect();
            tree.extend(leaves.iter().copied());
            let root = tree.root_at::<()>(size, |range| {
                assert!(range.end - range.start < 256 && range.end == size);
                Ok(range.map(leaf).collect())
            });
            prop_assert_eq!(root, Ok(Some(mth(&leaves[..index(size)]))));
            prop_assert_eq!(tree.root_at::<()>(size + then + 1, |_| unreachable!()), Ok(None));
        }
    }
}
