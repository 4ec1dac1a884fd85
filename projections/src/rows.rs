//! Rows in blocks, and tables that find them by id, in few bytes.
//! Never forgets a row and never changes the number of one.

use std::hash::{BuildHasher, RandomState};
use std::ops::{Index, IndexMut};

use hashbrown::HashTable;
use uuid::Uuid;

/// Number of a row, from 0 in the order of arrival.
pub(crate) type Row = u32;

/// No row.
pub(crate) const NONE: Row = u32::MAX;

const BLOCK_BITS: u32 = 13;
const BLOCK: usize = 1 << BLOCK_BITS;

/// A vector that grows by blocks, so that growing never copies, or holds twice, more than one block.
#[derive(Debug, Clone)]
pub(crate) struct Rows<T> {
    blocks: Vec<Vec<T>>,
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

    pub(crate) fn push(&mut self, row: T) -> Row {
        let number = self.len();
        match self.blocks.last_mut() {
            Some(block) if block.len() < BLOCK => block.push(row),
            // The first block grows as a vector does: most programs are small.
            None => self.blocks.push(vec![row]),
            Some(_) => {
                let mut block = Vec::with_capacity(BLOCK);
                block.push(row);
                self.blocks.push(block);
            }
        }
        number
    }

    pub(crate) fn get(&self, row: Row) -> Option<&T> {
        self.blocks.get(row as usize >> BLOCK_BITS)?.get(row as usize & (BLOCK - 1))
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        self.blocks.iter().flatten()
    }
}

impl<T> Index<Row> for Rows<T> {
    type Output = T;

    fn index(&self, row: Row) -> &T {
        &self.blocks[row as usize >> BLOCK_BITS][row as usize & (BLOCK - 1)]
    }
}

impl<T> IndexMut<Row> for Rows<T> {
    fn index_mut(&mut self, row: Row) -> &mut T {
        &mut self.blocks[row as usize >> BLOCK_BITS][row as usize & (BLOCK - 1)]
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

    /// Adds a row; `None`, and nothing is added, when its id is taken.
    pub(crate) fn push(&mut self, row: T) -> Option<Row> {
        let number = self.rows.len();
        let rows = &self.rows;
        if !self.index.insert(row.uuid(), number, |row| rows[row].uuid()) {
            return None;
        }
        Some(self.rows.push(row))
    }

    pub(crate) fn len(&self) -> Row {
        self.rows.len()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        self.rows.iter()
    }
}

impl<T> Index<Row> for Table<T> {
    type Output = T;

    fn index(&self, row: Row) -> &T {
        &self.rows[row]
    }
}

impl<T> IndexMut<Row> for Table<T> {
    fn index_mut(&mut self, row: Row) -> &mut T {
        &mut self.rows[row]
    }
}

const SHARDS: usize = 32;

/// Row numbers by id, about 5 bytes a slot: the ids stay in their rows.
/// In shards, so that no single event pays for the growth of the whole.
#[derive(Debug, Clone, Default)]
struct IdIndex {
    shards: [HashTable<Row>; SHARDS],
    secret: Secret,
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
    /// Two folded multiplications (as wyhash and foldhash do). Growing a table hashes every id in it: std's
    /// SipHash took a fifth of the whole fold there.
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

/// The shard of a hash: bits between those that the table takes its slot and its tag from.
fn shard(hash: u64) -> usize {
    (hash >> 40) as usize % SHARDS
}

impl IdIndex {
    fn find(&self, id: Uuid, id_of: impl Fn(Row) -> Uuid) -> Option<Row> {
        let hash = self.secret.id(id);
        self.shards[shard(hash)].find(hash, |&row| id_of(row) == id).copied()
    }

    /// Whether the id was free and is now the row's.
    fn insert(&mut self, id: Uuid, row: Row, id_of: impl Fn(Row) -> Uuid) -> bool {
        let secret = self.secret;
        let hash = secret.id(id);
        let entry = self.shards[shard(hash)].entry(
            hash,
            |&other| id_of(other) == id,
            |&other| secret.id(id_of(other)),
        );
        match entry {
            hashbrown::hash_table::Entry::Occupied(_) => false,
            hashbrown::hash_table::Entry::Vacant(vacant) => {
                vacant.insert(row);
                true
            }
        }
    }
}
