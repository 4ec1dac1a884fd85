//! What is withheld of counts that rest on few people, so that it cannot be computed from the others.
//! Never looks at what is counted: it knows counts, and how many people each rests on.
//!
//! The reader is taken to know every number ever shown, the rules below, `k`, the total of every table whether it
//! is shown or not, and which counts never fall. Each rule says for which tables it holds, and why every
//! count of 1 to k - 1 people that is withheld could as well be another: at least two values fit everything shown,
//! in all weeks together. `tests` enumerates the worlds and holds the rules to it.

use std::collections::BTreeMap;

/// A count, and the distinct people it rests on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Cell {
    pub(crate) value: u64,
    pub(crate) people: u64,
}

impl Cell {
    /// A count of people.
    pub(crate) const fn of_people(people: u64) -> Self {
        Self { value: people, people }
    }
}

/// The fewest people a count may rest on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Fewest(u64);

impl Fewest {
    /// From the policy's `k_anonymity`. 1 withholds nothing. 2 is taken as 3: where only one value can be
    /// withheld, withholding it tells it.
    pub(crate) fn new(k_anonymity: u16) -> Self {
        Self(match k_anonymity {
            0 | 1 => 1,
            k => u64::from(k).max(3),
        })
    }

    /// The same for counts of pairs. 3 is taken as 4: fewer than three people in pairs are always one pair.
    pub(crate) fn in_pairs(self) -> Self {
        Self(if self.0 == 1 { 1 } else { self.0.max(4) })
    }

    /// Whether a count rests on too few people: 1 to k - 1. Counts of 1 and 2 are taken for such: where 2 were
    /// shown, what was withheld before can only have been 1.
    const fn is_small(self, cell: Cell) -> bool {
        self.0 > 1 && cell.people > 0 && (cell.people < self.0 || cell.value < 3)
    }

    /// More than k: see [`Fewest::fixed_share`].
    const fn is_ample(self, cell: Cell) -> bool {
        self.0 == 1 || (cell.people > self.0 && cell.value > 3)
    }

    /// A count that stands alone: no sum it is a part of is shown, nor can be computed.
    ///
    /// Withheld it can be anything from 1 to k - 1.
    pub(crate) const fn alone(self, cell: Cell) -> Option<u64> {
        if self.is_small(cell) { None } else { Some(cell.value) }
    }

    /// Where things stand that move about: a table of which the total is known. One cell is the `reserve`: things
    /// move between it and every other cell in both directions, or into it, so that it may fall as well as rise;
    /// `most` is the greatest count that fewer than k people can make.
    ///
    /// Small cells are withheld together with the reserve. If what is withheld in all is not so much that k are
    /// left for the reserve when every small cell is as great as it can be, or if the reserve is small itself, the
    /// whole table is withheld. So every small cell can be anything it can be at all, whatever the others
    /// are: the reserve makes up for it, and having moved before or after it bears witness to nothing. The
    /// condition is one on numbers that are known, so meeting it tells nothing.
    pub(crate) fn standing<const N: usize>(
        self,
        cells: [Cell; N],
        reserve: usize,
        most: u64,
    ) -> [Option<u64>; N] {
        let shown = cells.map(|cell| self.alone(cell));
        let (mut small, mut sum) = (0, cells[reserve].value);
        for (at, cell) in cells.iter().enumerate() {
            if at != reserve && self.is_small(*cell) {
                small += 1;
                sum += cell.value;
            }
        }
        if self.is_small(cells[reserve]) || (small > 0 && sum < self.0 + small * most) {
            return [None; N];
        }
        let mut shown = shown;
        if small > 0 {
            shown[reserve] = None;
        }
        shown
    }

    /// The greatest number of pairs that fewer than k people can make.
    pub(crate) const fn most_pairs(self) -> u64 {
        (self.0 - 1) * self.0.saturating_sub(2) / 2
    }

    /// Whether the policy withholds nothing.
    pub(crate) const fn withholds_nothing(self) -> bool {
        self.0 == 1
    }

    /// Whether so many pairs are always of k people or more.
    pub(crate) const fn are_many_pairs(self, pairs: u64) -> bool {
        self.0 == 1 || pairs > self.most_pairs()
    }

    /// The greatest number of people fewer than k.
    pub(crate) const fn most_people(self) -> u64 {
        self.0 - 1
    }

    /// The numerator of a share of a known whole, where what is in the rest can still come to be in the part: who
    /// has not taught may yet.
    ///
    /// A small part is withheld; the rest takes what it lacks. The rest may fall, so it never bears witness.
    /// Of a small *rest* the part would, for it never falls: so everything from 0 to k people in the rest
    /// looks the same. The bounds are decoys: 0, so that the first one in it is not seen to come, and k, so
    /// that the k-th is not seen to follow the last withheld one.
    pub(crate) fn moving_share(self, part: Cell, rest: Cell) -> Option<u64> {
        if part.value + rest.value == 0 {
            return Some(0);
        }
        self.alone(part).filter(|_| self.is_ample(rest))
    }

    /// The numerator of a share of a known whole, where both the part and the rest only grow.
    ///
    /// It is withheld until both rest on more than k people, and shown from then on. Until then neither was ever
    /// seen, so each of what came can have gone to either, but for the bounds of 0 and k, which are decoys
    /// as in [`Fewest::moving_share`].
    pub(crate) fn fixed_share(self, part: Cell, rest: Cell) -> Option<u64> {
        if part.value + rest.value == 0 {
            return Some(0);
        }
        (self.is_ample(part) && self.is_ample(rest)).then_some(part.value)
    }
}

/// A total that grows, as it was when it was last shown.
///
/// It is withheld while it has moved by 1 to k - 1 since then: what moved it could be one small cell, whose
/// count would be that difference.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Quiet {
    shown: u64,
}

impl Quiet {
    pub(crate) fn show(&mut self, fewest: Fewest, total: Cell) -> Option<u64> {
        let moved = total.value.abs_diff(self.shown);
        let shown = fewest.alone(total).filter(|_| moved == 0 || moved >= fewest.0)?;
        self.shown = shown;
        Some(shown)
    }
}

/// A table of counts that only grow, of which the total is known whenever it is [`Quiet`]; shown as a whole or not
/// at all.
///
/// It is shown when no cell is small. Having been withheld it is shown again only when at least two cells have
/// grown since, or when it is of one cell only, which then is the total: a cell that was small meanwhile took
/// 1 or more of what the total had grown by, at least k, and another cell can have had the rest, more of it
/// or less, earlier or later.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Whole<K> {
    open: bool,
    shown: BTreeMap<K, u64>,
}

impl<K> Default for Whole<K> {
    fn default() -> Self {
        Self { open: true, shown: BTreeMap::new() }
    }
}

impl<K: Ord + Copy> Whole<K> {
    /// Whether the cells, of which those not given are empty, may be shown. `known` says whether their total is
    /// shown.
    pub(crate) fn show(&mut self, fewest: Fewest, known: bool, cells: &[(K, Cell)]) -> bool {
        let complete = known && cells.iter().all(|(_, cell)| !fewest.is_small(*cell));
        let before = |key: &K| self.shown.get(key).copied().unwrap_or(0);
        let changed = cells.iter().filter(|(key, cell)| cell.value != before(key)).count();
        let filled = cells.iter().filter(|(_, cell)| cell.value > 0).count();
        let hidden_meanwhile = !self.open && changed == 1 && filled > 1;
        self.open = complete && (fewest.0 == 1 || !hidden_meanwhile);
        if self.open {
            self.shown = cells.iter().map(|(key, cell)| (*key, cell.value)).collect();
        }
        self.open
    }
}

#[cfg(test)]
mod tests;
