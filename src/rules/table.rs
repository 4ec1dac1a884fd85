//! Compact tables: rows that never move, found by id or by number; and words stored once.
//! Never forgets a row, and never hands out rows in an order that depends on a hash.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};

use mentorlog_events::id::Slug;

/// Rows in the order they were added, in pieces: growing never copies more than one piece.
// One Vec of a million sessions would at times be held twice and be half empty.
#[derive(Debug, Clone)]
pub(super) struct Rows<T> {
    pieces: Vec<Vec<T>>,
}

const PIECE_BITS: u32 = 14;
const PIECE: usize = 1 << PIECE_BITS;

impl<T> Rows<T> {
    pub(super) const fn new() -> Self {
        Self { pieces: Vec::new() }
    }

    pub(super) fn len(&self) -> u32 {
        let full = self.pieces.len().saturating_sub(1) * PIECE;
        let length = full + self.pieces.last().map_or(0, Vec::len);
        u32::try_from(length).expect("push refuses to grow beyond u32")
    }

    /// Adds a row and returns its number.
    pub(super) fn push(&mut self, row: T) -> u32 {
        let number = self.len();
        assert!(number < u32::MAX - 1, "a ledger has fewer than 2^32 entries");
        match self.pieces.last_mut() {
            Some(last) if last.len() < PIECE => last.push(row),
            // The first piece grows as it needs to: most programs are small.
            None => self.pieces.push(vec![row]),
            Some(_) => {
                let mut piece = Vec::with_capacity(PIECE);
                piece.push(row);
                self.pieces.push(piece);
            }
        }
        number
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        self.pieces.iter().flatten()
    }

    fn pop(&mut self) {
        if let Some(last) = self.pieces.last_mut() {
            last.pop();
            if last.is_empty() {
                self.pieces.pop();
            }
        }
    }
}

impl<T: PartialEq> PartialEq for Rows<T> {
    fn eq(&self, other: &Self) -> bool {
        self.len() == other.len() && self.iter().eq(other.iter())
    }
}

impl<T> std::ops::Index<u32> for Rows<T> {
    type Output = T;

    fn index(&self, number: u32) -> &T {
        &self.pieces[(number >> PIECE_BITS) as usize][number as usize & (PIECE - 1)]
    }
}

impl<T> std::ops::IndexMut<u32> for Rows<T> {
    fn index_mut(&mut self, number: u32) -> &mut T {
        &mut self.pieces[(number >> PIECE_BITS) as usize][number as usize & (PIECE - 1)]
    }
}

/// A row that is found by a UUID.
pub(super) trait Keyed {
    fn key(&self) -> u128;
}

/// Row numbers by UUID: four bytes a slot, the ids themselves stay in the rows.
// Clients choose ids, so the hash is keyed (SipHash with the process's random key): nobody can aim at one chain.
// Nothing iterates over the slots, so no decision depends on that key.
#[derive(Debug, Clone)]
struct Index {
    slots: Vec<u32>,
    hash: RandomState,
}

const EMPTY: u32 = u32::MAX;

/// Rows found by number or by id.
#[derive(Debug, Clone)]
pub(super) struct Table<T> {
    rows: Rows<T>,
    index: Index,
    undo: Option<Undo<T>>,
}

/// What it takes to make a table again what it was at a mark.
#[derive(Debug, Clone)]
struct Undo<T> {
    length: u32,
    slots: usize,
    /// Rows as they were before each change, oldest first.
    changed: Vec<(u32, T)>,
}

impl<T: Keyed> Table<T> {
    pub(super) fn new() -> Self {
        Self { rows: Rows::new(), index: Index { slots: Vec::new(), hash: RandomState::new() }, undo: None }
    }

    /// From here on every change is noted, until [`Table::keep`] or [`Table::take_back`].
    pub(super) fn mark(&mut self) {
        self.undo = Some(Undo { length: self.len(), slots: self.index.slots.len(), changed: Vec::new() });
    }

    /// The changes since the mark stay.
    pub(super) fn keep(&mut self) {
        self.undo = None;
    }

    /// Everything is as it was at the mark.
    pub(super) fn take_back(&mut self) {
        let Some(undo) = self.undo.take() else { return };
        for (number, row) in undo.changed.into_iter().rev() {
            self.rows[number] = row;
        }
        let grew = self.index.slots.len() != undo.slots;
        while self.rows.len() > undo.length {
            if !grew {
                // Newest first: no chain of probes goes on behind the slot of the newest row.
                let number = self.rows.len() - 1;
                let mask = self.index.slots.len() - 1;
                let mut slot = start(&self.index.hash, self.rows[number].key()) & mask;
                while self.index.slots[slot] != number {
                    slot = (slot + 1) & mask;
                }
                self.index.slots[slot] = EMPTY;
            }
            self.rows.pop();
        }
        if grew {
            self.reindex(undo.slots);
        }
    }

    pub(super) fn len(&self) -> u32 {
        self.rows.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        self.rows.iter()
    }

    /// The number of the row with this id.
    pub(super) fn find(&self, key: u128) -> Option<u32> {
        let mask = self.index.slots.len().checked_sub(1)?;
        let mut slot = start(&self.index.hash, key) & mask;
        loop {
            let number = self.index.slots[slot];
            if number == EMPTY {
                return None;
            }
            if self.rows[number].key() == key {
                return Some(number);
            }
            slot = (slot + 1) & mask;
        }
    }

    /// Adds a row and returns its number; `None` when its id is taken.
    pub(super) fn add(&mut self, row: T) -> Option<u32> {
        // At most 3/4 full, or probing gets long.
        if (self.rows.len() as usize + 1) * 4 > self.index.slots.len() * 3 {
            self.grow();
        }
        let mask = self.index.slots.len() - 1;
        let key = row.key();
        let mut slot = start(&self.index.hash, key) & mask;
        while self.index.slots[slot] != EMPTY {
            if self.rows[self.index.slots[slot]].key() == key {
                return None;
            }
            slot = (slot + 1) & mask;
        }
        let number = self.rows.push(row);
        self.index.slots[slot] = number;
        Some(number)
    }

    fn grow(&mut self) {
        self.reindex((self.index.slots.len() * 2).max(16));
    }

    fn reindex(&mut self, slots: usize) {
        self.index.slots.clear();
        self.index.slots.resize(slots, EMPTY);
        let mask = slots.wrapping_sub(1);
        for (row, number) in self.rows.iter().zip(0..) {
            let mut slot = start(&self.index.hash, row.key()) & mask;
            while self.index.slots[slot] != EMPTY {
                slot = (slot + 1) & mask;
            }
            self.index.slots[slot] = number;
        }
    }
}

fn start(hash: &RandomState, key: u128) -> usize {
    // The low bits are as good as any; on 32-bit machines there are fewer.
    #[allow(clippy::cast_possible_truncation, reason = "the slot is masked anyway")]
    let slot = hash.hash_one(key) as usize;
    slot
}

impl<T: PartialEq> PartialEq for Table<T> {
    fn eq(&self, other: &Self) -> bool {
        // The index is made of the rows.
        self.rows == other.rows
    }
}

impl<T> std::ops::Index<u32> for Table<T> {
    type Output = T;

    fn index(&self, number: u32) -> &T {
        &self.rows[number]
    }
}

impl<T: Clone> std::ops::IndexMut<u32> for Table<T> {
    fn index_mut(&mut self, number: u32) -> &mut T {
        if let Some(undo) = &mut self.undo
            && number < undo.length
        {
            undo.changed.push((number, self.rows[number].clone()));
        }
        &mut self.rows[number]
    }
}

/// Slugs, each stored once and known by a number.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Words {
    list: Vec<Slug>,
    numbers: HashMap<Slug, u32>,
    /// The word asked for last: the exchanges of a session are often about one skill.
    last: u32,
}

impl Words {
    pub(super) fn new() -> Self {
        Self { list: Vec::new(), numbers: HashMap::new(), last: 0 }
    }

    /// The number of a word, if it was ever used.
    pub(super) fn find(&self, word: &Slug) -> Option<u32> {
        self.numbers.get(word).copied()
    }

    /// The number of a word, from now on if not before.
    pub(super) fn intern(&mut self, word: &Slug) -> u32 {
        if self.list.get(self.last as usize) == Some(word) {
            return self.last;
        }
        self.last = self.find(word).unwrap_or_else(|| {
            let number = u32::try_from(self.list.len()).expect("a ledger has fewer than 2^32 words");
            self.list.push(word.clone());
            self.numbers.insert(word.clone(), number);
            number
        });
        self.last
    }

    pub(super) fn word(&self, number: u32) -> &Slug {
        &self.list[number as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Clone, PartialEq)]
    struct Row(u128);

    impl Keyed for Row {
        fn key(&self) -> u128 {
            self.0
        }
    }

    #[test]
    fn a_row_is_found_by_its_id_beyond_one_piece_and_added_once() {
        let mut table = Table::new();
        let count = u32::try_from(PIECE).unwrap() * 2 + 7;
        for number in 0..count {
            assert_eq!(table.add(Row(u128::from(number) << 64)), Some(number));
        }
        assert_eq!(table.len(), count);
        for number in (0..count).step_by(97) {
            assert_eq!(table.find(u128::from(number) << 64), Some(number));
            assert_eq!(table.add(Row(u128::from(number) << 64)), None);
        }
        assert_eq!(table.find(1), None);
        assert_eq!(table.iter().count(), count as usize);
    }

    #[test]
    fn what_came_after_a_mark_can_be_taken_back_or_kept() {
        for (before, after) in [(0, 5), (5, 5), (100, 20_000), (20_000, 3)] {
            let row = |number: u32| Row(u128::from(number) * 7);
            let mut table = Table::new();
            for number in 0..before {
                table.add(row(number));
            }
            let original = table.clone();
            table.mark();
            for number in before..before + after {
                table.add(row(number));
            }
            if before > 2 {
                // A changed row keeps its id in real life; here the change is the id, of a row nobody looks up.
                table[1] = Row(u128::MAX);
                table[1] = Row(u128::MAX - 1);
            }
            let mut kept = table.clone();
            table.take_back();
            assert_eq!(table, original);
            for number in 0..before + after {
                let expected = (number < before).then_some(number);
                assert_eq!(table.find(row(number).0), expected, "{before} {after}");
            }
            kept.keep();
            kept.take_back();
            assert_eq!(kept.len(), before + after, "what is kept stays");
        }
    }
}
