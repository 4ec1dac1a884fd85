//! Lives - of a pair, of a spell of activity, of somebody's stay - as counts by day: what every curve is made
//! from.
//! Never knows whose a life is, so any of them can be taken back exactly; a count of 1 is still one person.

use std::collections::BTreeMap;
use std::collections::btree_map;
use std::iter::Peekable;

use crate::statistics::NotCounted;

/// A class of causes of ending, from 1. Retention uses 1 planned, 2 early-voluntary, 3 early-external.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cause(pub u8);

/// How the record of a life stops.
// The order is the convention: on one day events come before censorings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Outcome {
    /// It ended, of this cause.
    Ended(Cause),
    /// It was still going on when it was last seen.
    Censored,
}

/// One life: from when it is seen, to when, and how that stops. Days count from its own start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Life {
    /// `None`: seen from the start, so at risk on day 0 too.
    entry: Option<u32>,
    exit: u32,
    outcome: Outcome,
}

impl Life {
    /// A life seen from its start; `exit` is its length in days and may be 0.
    pub const fn new(exit: u32, outcome: Outcome) -> Self {
        Self { entry: None, exit, outcome }
    }

    /// A life whose records begin late: it is at risk on the days after `entry`.
    /// An entry on day 0 is not late. `None` when it would be at risk on no day (0 < exit <= entry):
    /// such a life was never seen and may not be counted.
    pub const fn entering(entry: u32, exit: u32, outcome: Outcome) -> Option<Self> {
        if entry == 0 {
            Some(Self::new(exit, outcome))
        } else if entry < exit {
            Some(Self { entry: Some(entry), exit, outcome })
        } else {
            None
        }
    }

    /// The day after which it is at risk; `None` when it is at risk from the start.
    pub const fn entry(self) -> Option<u32> {
        self.entry
    }

    /// The last day it is seen.
    pub const fn exit(self) -> u32 {
        self.exit
    }

    /// How its record stops.
    pub const fn outcome(self) -> Outcome {
        self.outcome
    }
}

/// Counts of lives by the day they are seen from and by the day and way they stop. Two tables of the same
/// lives are equal, in whatever order the lives came and whatever was added and taken back between.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LifeTable {
    entries: BTreeMap<Option<u32>, u64>,
    exits: BTreeMap<(u32, Outcome), u64>,
}

/// One day on which lives stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LifeDay {
    /// Days since the start.
    pub day: u32,
    /// Lives with entry < day <= exit.
    pub at_risk: u64,
    /// Lives that ended on the day, of any cause.
    pub events: u64,
    /// Lives last seen on the day.
    pub censored: u64,
}

impl LifeTable {
    /// Counts a life.
    pub fn add(&mut self, life: Life) {
        self.add_many(life, 1);
    }

    /// Counts `count` equal lives.
    pub fn add_many(&mut self, life: Life, count: u64) {
        if count > 0 {
            *self.entries.entry(life.entry).or_default() += count;
            *self.exits.entry((life.exit, life.outcome)).or_default() += count;
        }
    }

    /// Takes a counted life back. Counts cannot tell which lives they count: take back only what was added.
    pub fn remove(&mut self, life: Life) -> Result<(), NotCounted> {
        self.remove_many(life, 1)
    }

    /// Takes `count` equal lives back.
    pub fn remove_many(&mut self, life: Life, count: u64) -> Result<(), NotCounted> {
        let enough =
            holds(&self.entries, &life.entry, count) && holds(&self.exits, &(life.exit, life.outcome), count);
        if !enough {
            return Err(NotCounted);
        }
        take(&mut self.entries, life.entry, count);
        take(&mut self.exits, (life.exit, life.outcome), count);
        Ok(())
    }

    /// Counts all lives of another table.
    pub fn merge(&mut self, other: &Self) {
        for (&entry, &count) in &other.entries {
            *self.entries.entry(entry).or_default() += count;
        }
        for (&exit, &count) in &other.exits {
            *self.exits.entry(exit).or_default() += count;
        }
    }

    /// Takes all lives of another table back.
    pub fn subtract(&mut self, other: &Self) -> Result<(), NotCounted> {
        let enough = other.entries.iter().all(|(entry, &count)| holds(&self.entries, entry, count))
            && other.exits.iter().all(|(exit, &count)| holds(&self.exits, exit, count));
        if !enough {
            return Err(NotCounted);
        }
        for (&entry, &count) in &other.entries {
            take(&mut self.entries, entry, count);
        }
        for (&exit, &count) in &other.exits {
            take(&mut self.exits, exit, count);
        }
        Ok(())
    }

    /// How many lives are counted.
    pub fn lives(&self) -> u64 {
        self.entries.values().sum()
    }

    /// How many of them ended, of any cause.
    pub fn events(&self) -> u64 {
        self.exits
            .iter()
            .filter(|((_, outcome), _)| *outcome != Outcome::Censored)
            .map(|(_, count)| count)
            .sum()
    }

    /// How many ended on a day of a cause.
    pub fn ended(&self, day: u32, cause: Cause) -> u64 {
        self.exits.get(&(day, Outcome::Ended(cause))).copied().unwrap_or(0)
    }

    /// The largest follow-up: the last day anybody is seen. `None` when nobody is counted.
    pub fn follow_up(&self) -> Option<u32> {
        self.exits.last_key_value().map(|((day, _), _)| *day)
    }

    /// The causes that occur, ascending.
    pub fn causes(&self) -> Vec<Cause> {
        let mut causes: Vec<Cause> = self
            .exits
            .keys()
            .filter_map(|(_, outcome)| match outcome {
                Outcome::Ended(cause) => Some(*cause),
                Outcome::Censored => None,
            })
            .collect();
        causes.sort_unstable();
        causes.dedup();
        causes
    }

    /// The days on which lives stopped, ascending.
    pub fn days(&self) -> Vec<LifeDay> {
        let mut at_risk = self.at_risk();
        let mut days: Vec<LifeDay> = Vec::new();
        for (&(day, outcome), &count) in &self.exits {
            if days.last().is_none_or(|last| last.day != day) {
                days.push(LifeDay { day, at_risk: at_risk.on(day), events: 0, censored: 0 });
            }
            let Some(last) = days.last_mut() else { continue };
            match outcome {
                Outcome::Ended(_) => last.events += count,
                Outcome::Censored => last.censored += count,
            }
        }
        days
    }

    /// Walks through the days, counting who is at risk.
    pub fn at_risk(&self) -> AtRisk<'_> {
        AtRisk { entries: self.entries.iter().peekable(), exits: self.exits.iter().peekable(), now: 0 }
    }
}

/// The number at risk, day by day, in one pass over the counts.
#[derive(Debug, Clone)]
pub struct AtRisk<'a> {
    entries: Peekable<btree_map::Iter<'a, Option<u32>, u64>>,
    exits: Peekable<btree_map::Iter<'a, (u32, Outcome), u64>>,
    now: u64,
}

impl AtRisk<'_> {
    /// Lives with entry < day <= exit. Days must be asked for in ascending order.
    pub fn on(&mut self, day: u32) -> u64 {
        // `None`, at risk from the start, is below every day.
        while let Some((_, count)) = self.entries.next_if(|(entry, _)| **entry < Some(day)) {
            self.now += count;
        }
        while let Some((_, count)) = self.exits.next_if(|((exit, _), _)| *exit < day) {
            self.now = self.now.saturating_sub(*count);
        }
        self.now
    }
}

fn holds<K: Ord>(counts: &BTreeMap<K, u64>, key: &K, count: u64) -> bool {
    counts.get(key).copied().unwrap_or(0) >= count
}

/// The caller has seen that the count is there.
fn take<K: Ord>(counts: &mut BTreeMap<K, u64>, key: K, count: u64) {
    if let btree_map::Entry::Occupied(mut held) = counts.entry(key) {
        *held.get_mut() -= count;
        if *held.get() == 0 {
            held.remove();
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    /// Any life up to 30 days long, of up to three causes, late or not.
    pub(crate) fn any_life() -> impl Strategy<Value = Life> {
        (0_u32..10, 0_u32..30, 0_u8..4).prop_map(|(entry, exit, cause)| {
            let outcome = if cause == 0 { Outcome::Censored } else { Outcome::Ended(Cause(cause)) };
            Life::entering(entry, exit, outcome).unwrap_or(Life::new(exit, outcome))
        })
    }

    pub(crate) fn table(lives: &[Life]) -> LifeTable {
        let mut table = LifeTable::default();
        for life in lives {
            table.add(*life);
        }
        table
    }

    #[test]
    fn a_life_that_was_never_seen_cannot_be_counted() {
        assert_eq!(Life::entering(5, 5, Outcome::Censored), None);
        assert_eq!(Life::entering(6, 5, Outcome::Ended(Cause(1))), None);
        assert_eq!(Life::entering(0, 0, Outcome::Censored), Some(Life::new(0, Outcome::Censored)));
    }

    #[test]
    fn what_was_not_added_cannot_be_taken_back_and_nothing_changes() {
        let mut lives = table(&[Life::new(3, Outcome::Censored)]);
        let before = lives.clone();
        assert_eq!(lives.remove(Life::new(4, Outcome::Censored)), Err(NotCounted));
        assert_eq!(lives.remove_many(Life::new(3, Outcome::Censored), 2), Err(NotCounted));
        assert_eq!(lives.subtract(&table(&[Life::new(3, Outcome::Ended(Cause(1)))])), Err(NotCounted));
        assert_eq!(lives, before);
    }

    proptest! {
        #[test]
        fn the_order_of_arrival_is_forgotten(lives in vec(any_life(), 0..40).prop_shuffle()) {
            let mut sorted = lives.clone();
            sorted.sort_unstable();
            prop_assert_eq!(table(&lives), table(&sorted));
        }

        #[test]
        fn what_is_merged_and_taken_back_leaves_no_trace(
            kept in vec(any_life(), 0..40), gone in vec(any_life(), 0..40)
        ) {
            let mut merged = table(&kept);
            merged.merge(&table(&gone));
            prop_assert_eq!(merged.lives(), (kept.len() + gone.len()) as u64);
            let mut one_by_one = merged.clone();
            prop_assert_eq!(merged.subtract(&table(&gone)), Ok(()));
            prop_assert_eq!(&merged, &table(&kept));
            for life in gone {
                prop_assert_eq!(one_by_one.remove(life), Ok(()));
            }
            prop_assert_eq!(one_by_one, merged);
        }

        #[test]
        fn the_counts_are_those_of_the_lives(lives in vec(any_life(), 0..40)) {
            let counted = table(&lives);
            let count = |holds: &dyn Fn(&&Life) -> bool| lives.iter().filter(holds).count() as u64;
            let mut at_risk = counted.at_risk();
            for day in 0..32 {
                let expected = count(&|l| l.entry().is_none_or(|entry| entry < day) && day <= l.exit());
                prop_assert_eq!(at_risk.on(day), expected);
            }
            for row in counted.days() {
                prop_assert_eq!(row.censored, count(&|l| (l.exit(), l.outcome()) == (row.day, Outcome::Censored)));
                prop_assert_eq!(row.events + row.censored, count(&|l| l.exit() == row.day));
            }
            prop_assert_eq!(counted.events(), count(&|l| l.outcome() != Outcome::Censored));
            prop_assert_eq!(counted.follow_up(), lives.iter().map(|l| l.exit()).max());
        }
    }
}
