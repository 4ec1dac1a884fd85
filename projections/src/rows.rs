//! Rows in blocks, and tables that find them by id, in few bytes. A clone shares every block until one of the two
//! changes it, so that whoever needs long can look at a moment while the fold goes on.
//! Never forgets a row and never changes the number of one.

use std::hash::{BuildHasher, RandomState};
use std::ops::{Index, IndexMut};
use std::sync::Arc;

use uuid::Uuid;

/// Number of a row, from 0 in the order of arrival.
pub(crate) type Row = u32;

/// No row.
pub(crate) const NONE: Row = u32::MAX;

// What an event changes while a clone is being looked at is copied a block at a time: 64 KiB of sessions.
const BLOCK_BITS: u32 = 10;
const BLOCK: usize = 1 << BLOCK_BITS;

/// A vector that grows by blocks, so that growing never copies, or holds twice, more than one block. A clone
/// costs a count a block.
#[derive(Debug, Clone)]
pub(crate) struct Rows<T> {
    blocks: Vec<Arc<Vec<T>>>,
}

impl<T> Default for Rows<T> {
    fn default() -> Self {
        Self { blocks: Vec::new() }
    }
}

impl<T> Rows<T> {
    /// How many rows there are; the number the next one gets.
    pub(crate) fn len(&self) -> Row {
        let Some((last, full)) = self.blocks.split_last() else { return 0 };
        Row::try_from(full.len() * BLOCK + last.len()).expect("memory ends before 2^32 rows")
    }

    pub(crate) fn get(&self, row: Row) -> Option<&T> {
        self.blocks.get(row as usize >> BLOCK_BITS)?.get(row as usize & (BLOCK - 1))
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        self.blocks.iter().flat_map(|block| block.iter())
    }
}

impl<T: Clone> Rows<T> {
    pub(crate) fn push(&mut self, row: T) -> Row {
        let number = self.len();
        match self.blocks.last_mut() {
            Some(block) if block.len() < BLOCK => Arc::make_mut(block).push(row),
            // The first block grows as a vector does: most programs are small.
            None => self.blocks.push(Arc::new(vec![row])),
            Some(_) => {
                let mut block = Vec::with_capacity(BLOCK);
                block.push(row);
                self.blocks.push(Arc::new(block));
            }
        }
        number
    }
}

impl<T> Index<Row> for Rows<T> {
    type Output = T;

    fn index(&self, row: Row) -> &T {
        &self.blocks[row as usize >> BLOCK_BITS][row as usize & (BLOCK - 1)]
    }
}

impl<T: Clone> IndexMut<Row> for Rows<T> {
    fn index_mut(&mut self, row: Row) -> &mut T {
        &mut Arc::make_mut(&mut self.blocks[row as usize >> BLOCK_BITS])[row as usize & (BLOCK - 1)]
    }
}

/// What a table can find.
pub(crate) trait Identified {
    fn uuid(&self) -> Uuid;
}

/// Rows that are found by id.
#[derive(Debug, Clone)]
pub(crate) struct Table<T> {
    rows: Rows<T>,
    index: IdIndex,
}

impl<T> Default for Table<T> {
    fn default() -> Self {
        Self { rows: Rows::default(), index: IdIndex::default() }
    }
}

impl<T: Identified> Table<T> {
    pub(crate) fn find(&self, id: Uuid) -> Option<Row> {
        self.index.find(id, |row| self.rows[row].uuid())
    }

    pub(crate) fn len(&self) -> Row {
        self.rows.len()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        self.rows.iter()
    }
}

impl<T: Identified + Clone> Table<T> {
    /// Adds a row; `None`, and nothing is added, when its id is taken.
    pub(crate) fn push(&mut self, row: T) -> Option<Row> {
        let number = self.rows.len();
        let rows = &self.rows;
        if !self.index.insert(row.uuid(), number, |row| rows[row].uuid()) {
            return None;
        }
        Some(self.rows.push(row))
    }
}

impl<T> Index<Row> for Table<T> {
    type Output = T;

    fn index(&self, row: Row) -> &T {
        &self.rows[row]
    }
}

impl<T: Clone> IndexMut<Row> for Table<T> {
    fn index_mut(&mut self, row: Row) -> &mut T {
        &mut self.rows[row]
    }
}

const SHARDS: usize = 32;

/// Row numbers by id, 10 to 13 bytes each: the ids stay in their rows.
/// In shards, so that no single event pays for the growth of the whole.
#[derive(Debug, Clone, Default)]
struct IdIndex {
    shards: [Arc<Slots>; SHARDS],
    secret: Secret,
}

impl IdIndex {
    fn find(&self, id: Uuid, id_of: impl Fn(Row) -> Uuid) -> Option<Row> {
        let hash = self.secret.id(id);
        self.shards[shard(hash)].find(hash, |row| id_of(row) == id)
    }

    /// Whether the id was free and is now the row's.
    fn insert(&mut self, id: Uuid, row: Row, id_of: impl Fn(Row) -> Uuid) -> bool {
        let hash = self.secret.id(id);
        Arc::make_mut(&mut self.shards[shard(hash)]).insert(hash, row, |other| id_of(other) == id)
    }
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "the lowest bits are what is wanted; slots go by the highest"
)]
fn shard(hash: u64) -> usize {
    hash as usize % SHARDS
}

/// A table of row numbers by hash, with linear probing.
///
/// A slot is the upper half of the hash and the row: one access to memory finds the row, where a table that
/// keeps its tags apart (hashbrown) makes two, and a fold waits for little else. A slot's place follows the
/// order of the hashes, so that growing reads and writes straight through and never looks at a row.
#[derive(Debug, Clone, Default)]
pub(crate) struct Slots {
    slots: Vec<u64>,
    taken: usize,
}

const FREE: u64 = 0;

#[expect(clippy::cast_possible_truncation, reason = "a slot has two halves")]
impl Slots {
    /// The row of this hash that is the one looked for.
    pub(crate) fn find(&self, hash: u64, is: impl Fn(Row) -> bool) -> Option<Row> {
        self.probe(hash, is).ok()
    }

    /// Whether no row of this hash was the one looked for, and the row was added.
    pub(crate) fn insert(&mut self, hash: u64, row: Row, is: impl Fn(Row) -> bool) -> bool {
        // Above four fifths the runs of taken slots become long.
        if (self.taken + 1) * 5 > self.slots.len() * 4 {
            self.grow();
        }
        match self.probe(hash, is) {
            Ok(_) => false,
            Err(place) => {
                // No row has the greatest number, so that no slot in use is all zeroes.
                self.slots[place] = hash & !0xffff_ffff | u64::from(!row);
                self.taken += 1;
                true
            }
        }
    }

    /// The row looked for, or the slot where it would be.
    fn probe(&self, hash: u64, is: impl Fn(Row) -> bool) -> Result<Row, usize> {
        if self.slots.is_empty() {
            return Err(0);
        }
        let mut place = self.place(hash);
        loop {
            let slot = self.slots[place];
            if slot == FREE {
                return Err(place);
            }
            if (slot ^ hash) >> 32 == 0 && is(!(slot as u32)) {
                return Ok(!(slot as u32));
            }
            place = if place + 1 == self.slots.len() { 0 } else { place + 1 };
        }
    }

    fn place(&self, hash: u64) -> usize {
        // Less than the number of slots, for the upper half of the hash is less than 2^32.
        (((hash >> 32) * self.slots.len() as u64) >> 32) as usize
    }

    fn grow(&mut self) {
        let room = (self.slots.len() * 5 / 4).max(8);
        let before = std::mem::replace(&mut self.slots, vec![FREE; room]);
        for slot in before.into_iter().filter(|&slot| slot != FREE) {
            let mut place = self.place(slot);
            while self.slots[place] != FREE {
                place = if place + 1 == room { 0 } else { place + 1 };
            }
            self.slots[place] = slot;
        }
    }
}

/// What makes a hash unforeseeable.
// Ids and words come from callers: with a hash they could foresee they could make a table of one chain.
// Nothing that is shown depends on the order of the slots.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Secret([u64; 2]);

impl Default for Secret {
    fn default() -> Self {
        let random = RandomState::new();
        Self([random.hash_one(0), random.hash_one(1)])
    }
}

impl Secret {
    /// Two folded multiplications, as wyhash and foldhash do: a fifth of the time of std's SipHash.
    fn id(self, id: Uuid) -> u64 {
        let (high, low) = id.as_u64_pair();
        let [one, two] = self.0;
        folded(folded(high ^ one, low ^ two), ODD)
    }

    /// The same for a text, eight bytes at a time.
    pub(crate) fn text(self, text: &str) -> u64 {
        let [one, two] = self.0;
        let hash = text.as_bytes().chunks(8).fold(one ^ text.len() as u64, |hash, chunk| {
            let mut eight = [0; 8];
            eight[..chunk.len()].copy_from_slice(chunk);
            folded(hash ^ u64::from_le_bytes(eight), two)
        });
        folded(hash, ODD)
    }
}

/// The golden ratio in 64 bits, as good a constant as any.
const ODD: u64 = 0x9e37_79b9_7f4a_7c15;

#[expect(clippy::cast_possible_truncation, reason = "the two halves are what is wanted")]
fn folded(one: u64, two: u64) -> u64 {
    let product = u128::from(one) * u128::from(two);
    product as u64 ^ (product >> 64) as u64
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn slots_find_what_was_put_in_and_nothing_else(
            // Few hashes of few bits in the upper half: everything collides with something.
            hashes in prop::collection::vec(0_u64..64, 0..200)
        ) {
            let hashes: Vec<u64> = hashes.into_iter().map(|bits| bits << 58 | bits).collect();
            let (mut slots, mut known) = (Slots::default(), HashMap::new());
            for (row, &hash) in (0..).zip(&hashes) {
                let is = |other: Row| hashes[other as usize] == hash;
                prop_assert_eq!(slots.find(hash, is), known.get(&hash).copied());
                prop_assert_eq!(slots.insert(hash, row, is), !known.contains_key(&hash));
                known.entry(hash).or_insert(row);
            }
            for (&hash, &row) in &known {
                prop_assert_eq!(slots.find(hash, |other| hashes[other as usize] == hash), Some(row));
            }
        }
    }

    #[test]
    fn rows_beyond_the_first_block_are_where_they_were_put() {
        let mut rows = Rows::default();
        let count = 3 * u32::try_from(BLOCK).unwrap() + 7;
        assert!((0..count).all(|number| rows.push(number) == number));
        assert_eq!(rows.len(), count);
        assert!((0..count).all(|number| rows[number] == number));
        assert_eq!(rows.get(count), None);
        assert!(rows.iter().copied().eq(0..count));
    }

    #[test]
    fn a_clone_stays_as_it_was_whatever_changes() {
        let mut rows = Rows::default();
        let count = 2 * u32::try_from(BLOCK).unwrap() + 7;
        assert!((0..count).all(|number| rows.push(number) == number));
        let before = rows.clone();
        rows[3] = 0;
        rows[count - 1] = 0;
        assert!((0..1024).all(|more| rows.push(0) == count + more));
        assert!(before.iter().copied().eq(0..count));
        assert_eq!((rows[3], rows[count - 1], rows.len() - count), (0, 0, 1024));
        assert!(Arc::ptr_eq(&rows.blocks[1], &before.blocks[1]), "what did not change is shared");
    }
}
