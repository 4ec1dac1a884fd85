//! The attacker: knows every number shown in every week, every total, the rules and k, and what never falls.
//! It tries every history there is; a count of 1 to k - 1 people is given away when all histories that would have
//! been shown alike agree on it.

use std::collections::HashMap;

use super::*;

/// What one history would show, week by week, and the cells behind it.
struct Told {
    shown: Vec<Option<u64>>,
    cells: Vec<Cell>,
}

/// The first small count, by its place in the history, on which everything that looks alike agrees.
fn given_away(
    fewest: Fewest,
    histories: impl Iterator<Item = Told>,
) -> Option<(Vec<Option<u64>>, usize, u64)> {
    #[derive(Clone, Copy)]
    struct Known {
        least: u64,
        most: u64,
        small: bool,
    }
    let mut known: HashMap<Vec<Option<u64>>, Vec<Known>> = HashMap::new();
    for told in histories {
        let fresh = Known { least: u64::MAX, most: 0, small: false };
        let all = known.entry(told.shown).or_insert_with(|| vec![fresh; told.cells.len()]);
        for (known, cell) in all.iter_mut().zip(&told.cells) {
            known.least = known.least.min(cell.value);
            known.most = known.most.max(cell.value);
            known.small |= (1..fewest.0).contains(&cell.people);
        }
    }
    known.into_iter().find_map(|(shown, all)| {
        let at = all.iter().position(|known| known.small && known.least == known.most)?;
        Some((shown, at, all[at].least))
    })
}

/// Every way in which `total` can be made of N counts.
fn makings<const N: usize>(total: u64) -> Vec<[u64; N]> {
    fn fill<const N: usize>(at: usize, left: u64, one: &mut [u64; N], all: &mut Vec<[u64; N]>) {
        if at + 1 == N {
            one[at] = left;
            all.push(*one);
            return;
        }
        for count in 0..=left {
            one[at] = count;
            fill(at + 1, left - count, one, all);
        }
    }
    let mut all = Vec::new();
    fill(0, total, &mut [0; N], &mut all);
    all
}

/// One week of N counts, and what is shown of it.
struct Table<const N: usize> {
    total: Cell,
    cells: [Cell; N],
    shown: Vec<Option<u64>>,
}

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Of {
    People,
    Pairs,
    Minutes,
}

impl Of {
    /// How many people a count can rest on, as far as the rules tell them apart.
    fn people(self, fewest: Fewest, count: u64) -> Vec<u64> {
        match self {
            Self::People => vec![count],
            // All in pairs with each other, or two people each.
            Self::Pairs => {
                let together = (0..=2 * count).find(|n| n * n.saturating_sub(1) / 2 >= count).unwrap();
                between(fewest, together, count)
            }
            // Always the same two people, or two new ones for each.
            Self::Minutes => between(fewest, 2.min(2 * count), count),
        }
    }

    fn fewest(self, k: u16) -> Fewest {
        match self {
            Self::People | Self::Minutes => Fewest::new(k),
            Self::Pairs => Fewest::new(k).in_pairs(),
        }
    }
}

/// Fewer than k, k or more of those between `fewest_possible` and twice the count.
fn between(fewest: Fewest, fewest_possible: u64, count: u64) -> Vec<u64> {
    let kinds = [fewest.0 - 1, fewest.0, fewest.0 + 1];
    let mut people: Vec<u64> =
        kinds.into_iter().map(|people| people.clamp(fewest_possible, 2 * count)).collect();
    people.dedup();
    people
}

/// Every table of N counts that add up to `total`, with every number of people each can rest on.
fn tables<const N: usize>(fewest: Fewest, total: u64, of: Of) -> Vec<[Cell; N]> {
    let mut all = Vec::new();
    for counts in makings::<N>(total) {
        let mut some = vec![[Cell::default(); N]];
        for (at, &value) in counts.iter().enumerate() {
            let with = |table: &[Cell; N], people| {
                let mut table = *table;
                table[at] = Cell { value, people };
                table
            };
            let choices = of.people(fewest, value);
            some = some.iter().flat_map(|table| choices.iter().map(|&n| with(table, n))).collect();
        }
        all.extend(some);
    }
    all
}

/// Every history of some weeks of N counts whose total never falls, as little as the counts of which `grows`
/// says so.
fn histories<const N: usize>(
    case: Case<N>,
    show: impl Fn(Fewest, [Cell; N]) -> Vec<Option<u64>>,
) -> Vec<Told> {
    let Case { k, weeks, most, grows, of } = case;
    let fewest = of.fewest(k);
    let tables: Vec<Table<N>> = (0..=most)
        .flat_map(|total| tables::<N>(fewest, total, of).into_iter().map(move |cells| (total, cells)))
        .flat_map(|(value, cells)| {
            // The total rests on no fewer people than any part of it, and on no others.
            let of_parts = || cells.iter().map(|cell| cell.people);
            let possible = of_parts().max().unwrap_or(0)..=of_parts().sum();
            let people = of.people(fewest, value).into_iter().filter(move |people| possible.contains(people));
            people.map(move |people| (Cell { value, people }, cells)).collect::<Vec<_>>()
        })
        .map(|(total, cells)| {
            // Of too few it is not shown, nor is anything it could be known from.
            let whole = fewest.alone(total);
            let mut shown: Vec<Option<u64>> =
                show(fewest, cells).into_iter().map(|count| whole.and(count)).collect();
            shown.push(whole);
            Table { total, cells, shown }
        })
        .collect();
    let grown = |before: Cell, after: Cell| {
        before == after || (before.value < after.value && before.people <= after.people)
    };
    let follows = |before: &Table<N>, after: &Table<N>| {
        grown(before.total, after.total)
            && (0..N).all(|at| !grows[at] || grown(before.cells[at], after.cells[at]))
    };
    let mut chains: Vec<Vec<usize>> = (0..tables.len()).map(|at| vec![at]).collect();
    for _ in 1..weeks {
        let mut longer = Vec::new();
        for chain in &chains {
            let last = &tables[*chain.last().unwrap()];
            let next = (0..tables.len()).filter(|&at| follows(last, &tables[at]));
            longer.extend(next.map(|at| [&chain[..], &[at]].concat()));
        }
        chains = longer;
    }
    chains
        .into_iter()
        .map(|chain| Told {
            shown: chain.iter().flat_map(|&at| tables[at].shown.clone()).collect(),
            cells: chain.iter().flat_map(|&at| tables[at].cells).collect(),
        })
        .collect()
}

#[derive(Clone, Copy)]
struct Case<const N: usize> {
    k: u16,
    weeks: usize,
    /// The greatest total.
    most: u64,
    /// Which counts never fall.
    grows: [bool; N],
    of: Of,
}

/// What the attacker finds.
fn found<const N: usize>(
    case: Case<N>,
    show: impl Fn(Fewest, [Cell; N]) -> Vec<Option<u64>>,
) -> Option<(Vec<Option<u64>>, usize, u64)> {
    given_away(case.of.fewest(case.k), histories(case, show).into_iter())
}

fn check<const N: usize>(
    k: u16,
    weeks: usize,
    most: u64,
    grows: [bool; N],
    show: impl Fn(Fewest, [Cell; N]) -> Vec<Option<u64>>,
) -> Option<(Vec<Option<u64>>, usize, u64)> {
    found(Case { k, weeks, most, grows, of: Of::People }, show)
}

fn standing<const N: usize>(fewest: Fewest, cells: [Cell; N]) -> Vec<Option<u64>> {
    fewest.standing(cells, 0, fewest.most_people()).to_vec()
}

#[test]
fn where_pairs_stand_gives_no_small_cell_away() {
    let pairs = |fewest: Fewest, cells: [Cell; 3]| fewest.standing(cells, 0, fewest.most_pairs()).to_vec();
    let case = Case { k: 3, weeks: 1, most: 12, grows: [false; 3], of: Of::Pairs };
    assert_eq!(found(case, pairs), None, "k 3");
    assert_eq!(found(Case { k: 4, ..case }, pairs), None, "k 4");
    assert_eq!(found(Case { k: 5, most: 16, ..case }, pairs), None, "k 5");
    let two = Case { weeks: 2, most: 6, grows: [false, false, true], ..case };
    assert_eq!(found(two, pairs), None, "two weeks");
    assert_eq!(found(Case { k: 4, most: 8, ..two }, pairs), None, "k 4, two weeks");
    assert_eq!(found(Case { grows: [false; 3], ..two }, pairs), None, "bands of balance, two weeks");
}

#[test]
fn where_people_stand_gives_no_small_cell_away() {
    // The reserve and the second cell move, the others only grow.
    for k in [2, 3, 4] {
        assert_eq!(check(k, 1, 14, [false; 3], standing), None, "k {k}, one week");
        assert_eq!(check(k, 2, 9, [false, false, true], standing), None, "k {k}, two weeks");
        assert_eq!(check(k, 2, 7, [false, false, true, true], standing), None, "k {k}, four cells");
    }
    assert_eq!(check(3, 3, 6, [false, false, true], standing), None, "three weeks");
    assert_eq!(check(5, 2, 12, [false, false, true], standing), None, "k 5");
}

#[test]
fn the_attacker_wins_where_only_the_small_cells_are_withheld() {
    let naive = |fewest: Fewest, cells: [Cell; 3]| cells.map(|cell| fewest.alone(cell)).to_vec();
    assert!(check(3, 1, 9, [false; 3], naive).is_some(), "the total gives the one withheld cell away");
    // The next greatest is withheld with it, as one would for a single week.
    let complementary = |fewest: Fewest, cells: [Cell; 3]| {
        let mut shown = cells.map(|cell| fewest.alone(cell));
        if shown.iter().filter(|count| count.is_none()).count() == 1 {
            let least = (0..3).filter(|&at| shown[at] > Some(0)).min_by_key(|&at| cells[at].value);
            shown[least.unwrap_or(0)] = None;
        }
        shown.to_vec()
    };
    assert!(check(3, 2, 9, [true; 3], complementary).is_some(), "two weeks together give it away");
}

fn moving(fewest: Fewest, [part, rest]: [Cell; 2]) -> Vec<Option<u64>> {
    vec![fewest.moving_share(part, rest)]
}

fn fixed(fewest: Fewest, [part, rest]: [Cell; 2]) -> Vec<Option<u64>> {
    vec![fewest.fixed_share(part, rest)]
}

#[test]
fn shares_give_neither_the_part_nor_the_rest_away() {
    for k in [2, 3, 4, 5] {
        assert_eq!(check(k, 2, 14, [true, false], moving), None, "k {k}, moving, two weeks");
        assert_eq!(check(k, 2, 14, [true, true], fixed), None, "k {k}, fixed, two weeks");
    }
    assert_eq!(check(3, 3, 8, [true, false], moving), None, "moving, three weeks");
    assert_eq!(check(3, 3, 8, [true, true], fixed), None, "fixed, three weeks");
}

#[test]
fn shares_of_pairs_and_minutes_give_neither_away() {
    for of in [Of::Pairs, Of::Minutes] {
        let case = Case { k: 3, weeks: 2, most: 9, grows: [true, false], of };
        for k in [2, 3, 4, 5] {
            assert_eq!(found(Case { k, ..case }, moving), None, "k {k}, moving {of:?}");
            assert_eq!(found(Case { k, grows: [true, true], ..case }, fixed), None, "k {k}, fixed {of:?}");
        }
        let three = Case { weeks: 3, most: 5, ..case };
        assert_eq!(found(three, moving), None, "moving {of:?}, three weeks");
        assert_eq!(found(Case { grows: [true, true], ..three }, fixed), None, "fixed {of:?}, three weeks");
    }
}

#[test]
fn the_attacker_wins_without_the_decoys() {
    let without = |fewest: Fewest, [part, rest]: [Cell; 2]| {
        vec![fewest.alone(part).filter(|_| fewest.alone(rest).is_some())]
    };
    assert!(check(3, 2, 12, [true, false], without).is_some(), "moving");
    assert!(check(3, 2, 12, [true, true], without).is_some(), "fixed");
}

/// Every history of one count of minutes that only grows.
fn chains(fewest: Fewest, weeks: usize, most: u64) -> Vec<Vec<Cell>> {
    let mut chains: Vec<Vec<Cell>> = vec![Vec::new()];
    for _ in 0..weeks {
        let mut longer = Vec::new();
        for chain in &chains {
            let last = chain.last().copied().unwrap_or_default();
            for value in last.value..=most {
                for people in Of::Minutes.people(fewest, value) {
                    let cell = Cell { value, people };
                    if cell == last || (value > last.value && people >= last.people) {
                        longer.push([&chain[..], &[cell]].concat());
                    }
                }
            }
        }
        chains = longer;
    }
    chains
}

/// What is shown of a table that is shown as a whole, and of its total, week by week.
fn whole(fewest: Fewest, tables: &[Vec<Cell>], quiet: bool, two_grown: bool) -> Vec<Option<u64>> {
    let (mut total_shown, mut table_shown) = (Quiet::default(), Whole::default());
    let mut shown = Vec::new();
    for week in 0..tables[0].len() {
        let cells: Vec<(usize, Cell)> = tables.iter().map(|cell| cell[week]).enumerate().collect();
        let sum = |of: fn(&Cell) -> u64| cells.iter().map(|(_, cell)| of(cell)).sum();
        let total = Cell { value: sum(|cell| cell.value), people: sum(|cell| cell.people) };
        let known = if quiet { total_shown.show(fewest, total) } else { fewest.alone(total) };
        if !two_grown {
            table_shown.open = true;
        }
        let open = table_shown.show(fewest, known.is_some(), &cells);
        shown.push(known);
        shown.extend(cells.iter().map(|(_, cell)| open.then_some(cell.value)));
    }
    shown
}

fn found_in_whole(
    [weeks, cells]: [usize; 2],
    most: u64,
    [quiet, two_grown]: [bool; 2],
) -> Option<(Vec<Option<u64>>, usize, u64)> {
    let fewest = Fewest::new(3);
    let chains = chains(fewest, weeks, most);
    let mut tables: Vec<Vec<Vec<Cell>>> = vec![Vec::new()];
    for _ in 0..cells {
        let with =
            |table: &Vec<Vec<Cell>>, chain: &Vec<Cell>| [&table[..], std::slice::from_ref(chain)].concat();
        // Whole totals, or the attacker would find what only our bound excludes.
        let fits =
            |table: &Vec<Vec<Cell>>| table.iter().map(|cell| cell[weeks - 1].value).sum::<u64>() <= most;
        tables = tables
            .iter()
            .flat_map(|table| chains.iter().map(|chain| with(table, chain)))
            .filter(fits)
            .collect();
    }
    let told = tables
        .into_iter()
        .map(|table| Told { shown: whole(fewest, &table, quiet, two_grown), cells: table.concat() });
    given_away(fewest, told)
}

#[test]
fn a_table_that_only_grows_gives_no_small_cell_away() {
    assert_eq!(found_in_whole([2, 2], 14, [true, true]), None, "two weeks");
    assert_eq!(found_in_whole([3, 2], 10, [true, true]), None, "three weeks");
    assert_eq!(found_in_whole([4, 2], 5, [true, true]), None, "four weeks");
    assert_eq!(found_in_whole([2, 3], 8, [true, true]), None, "three cells");
}

#[test]
fn the_attacker_wins_where_a_total_moves_by_little_or_only_one_cell_has_grown() {
    assert!(found_in_whole([2, 2], 8, [false, true]).is_some(), "the total moved by one minute");
    assert!(
        found_in_whole([3, 2], 10, [true, false]).is_some(),
        "all the growth is that of the cell shown again"
    );
}
