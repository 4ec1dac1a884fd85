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
    // Ids come from callers: with a hash they could foresee they could make a table of one chain.
    // Nothing that is shown depends on the order of the slots.
    hasher: RandomState,
}

impl IdIndex {
    fn hash(&self, id: Uuid) -> (u64, usize) {
        let hash = self.hasher.hash_one(id.as_u128());
        // The table takes its slot from the lowest bits and its tag from the highest.
        (hash, (hash >> 40) as usize % SHARDS)
    }

    fn find(&self, id: Uuid, id_of: impl Fn(Row) -> Uuid) -> Option<Row> {
        let (hash, shard) = self.hash(id);
        self.shards[shard].find(hash, |&row| id_of(row) == id).copied()
    }

    /// Whether the id was free and is now the row's.
    fn insert(&mut self, id: Uuid, row: Row, id_of: impl Fn(Row) -> Uuid) -> bool {
        let (hash, shard) = self.hash(id);
        let hasher = &self.hasher;
        let entry = self.shards[shard].entry(
            hash,
            |&other| id_of(other) == id,
            |&other| hasher.hash_one(id_of(other).as_u128()),
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
