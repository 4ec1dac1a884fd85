//! How mutuality is spread over pairs and how it came about, month by month.
//! Never counts other pairs or minutes than [`ReadModels::reciprocity`]: its figures are sums of these.

use std::collections::HashMap;

use mentorlog_events::time::Day;
use serde::Serialize;

use crate::read_models::ReadModels;
use crate::reciprocation::{Onset, earlier};
use crate::reciprocity::{Asked, Figure};
use crate::rows::Row;
use crate::statistics::ratio::Ratio;

/// From so many live sessions on a balance stands alone.
const SESSIONS_ENOUGH: u64 = 4;

/// Pairs of one class of balance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct BalanceClass {
    /// Pairs with four sessions or more.
    pub enough: u64,
    /// Pairs with one to three sessions, of which a balance says little.
    pub few: u64,
}

/// Pairs with minutes by their balance `2 min(a, b) / (a + b)`: 0, then each up to a further fifth, the last up to 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Balances {
    /// The classes, ascending.
    pub classes: [BalanceClass; 6],
}

impl Balances {
    /// Pairs with minutes.
    pub fn pairs(&self) -> u64 {
        self.classes.iter().map(|class| class.enough + class.few).sum()
    }

    fn count(&mut self, [a, b]: [u64; 2], sessions: u64) {
        let (twice, all) = (2 * u128::from(a.min(b)), u128::from(a) + u128::from(b));
        if all == 0 {
            return;
        }
        // The fifth whose upper end it does not exceed; exact, for it is of integers.
        let class = usize::try_from((5 * twice).div_ceil(all)).unwrap_or(5).min(5);
        let class = &mut self.classes[class];
        *(if sessions >= SESSIONS_ENOUGH { &mut class.enough } else { &mut class.few }) += 1;
    }
}

/// One month of a program.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct MonthOf {
    /// The month, as `2026-11`.
    pub month: String,
    /// Its last day, or `as_of` if that is earlier.
    pub close: Day,
    /// Live sessions on its days.
    pub sessions: u64,
    /// Exchange minutes of these.
    pub minutes: u64,
    /// Pairs in which both had taught by its close, among pairs in which anybody had.
    pub two_way_pair_share: Figure,
}

impl ReadModels {
    /// How the balances of pairs are spread. Costs what [`ReadModels::reciprocity`] costs.
    pub fn balances(&self, asked: Asked) -> Balances {
        let mut balances = Balances::default();
        for (minutes, sessions) in self.minutes_of_two(asked) {
            balances.count(minutes, sessions);
        }
        balances
    }

    /// Every month from that of the first session to that of `as_of`, at most the last `limit`.
    ///
    /// Costs a pass over the sessions.
    pub fn months(&self, as_of: Day, limit: usize) -> Vec<MonthOf> {
        let mut sessions: HashMap<Day, (u64, u64)> = HashMap::new();
        for session in self.sessions.iter() {
            if session.is_live() && session.day <= as_of && self.pairs[session.pair].counts() {
                let of_day = sessions.entry(session.day).or_default();
                of_day.0 += 1;
                of_day.1 += self.exchanges_of(session).map(|exchange| u64::from(exchange.minutes)).sum::<u64>();
            }
        }
        let Some(first) = sessions.keys().min().copied() else { return Vec::new() };
        let mut onsets: HashMap<Day, (u64, u64)> = HashMap::new();
        for onset in self.onsets_of_two() {
            let taught = onset.into_iter().flatten().filter(|day| *day <= as_of);
            if let Some(one) = taught.clone().min() {
                onsets.entry(one).or_default().0 += 1;
            }
            if taught.clone().count() == 2
                && let Some(both) = taught.max()
            {
                onsets.entry(both).or_default().1 += 1;
            }
        }
        let mut months: Vec<MonthOf> = Vec::new();
        let mut share = Ratio::default();
        for day in (first.number()..=as_of.number()).map(Day::from_number) {
            let (year, month, of_month) = day.civil();
            if of_month == 1 || months.is_empty() {
                months.push(MonthOf {
                    month: format!("{year:04}-{month:02}"),
                    close: day,
                    sessions: 0,
                    minutes: 0,
                    two_way_pair_share: share.into(),
                });
            }
            let (one, both) = onsets.get(&day).copied().unwrap_or_default();
            share.denominator += one;
            share.numerator += both;
            if let Some(month) = months.last_mut() {
                let (count, minutes) = sessions.get(&day).copied().unwrap_or_default();
                month.sessions += count;
                month.minutes += minutes;
                month.close = day;
                month.two_way_pair_share = Figure::with_interval(share);
            }
        }
        let older = months.len().saturating_sub(limit);
        months.split_off(older)
    }

    /// The first day each of every two people taught, over all pairs of the two that count.
    fn onsets_of_two(&self) -> impl Iterator<Item = Onset> {
        let mut onsets: Vec<Onset> = vec![[None; 2]; self.pairs.len() as usize];
        for (row, &first) in (0..).zip(self.first_of_two.iter()) {
            if !self.pairs[row].counts() {
                continue;
            }
            let mut onset = self.taught_first(row);
            if self.pairs[row].people != self.pairs[first].people {
                onset.reverse();
            }
            let sum: &mut Onset = &mut onsets[first as Row as usize];
            for side in 0..2 {
                sum[side] = earlier(sum[side], onset[side]);
            }
        }
        onsets.into_iter()
    }
}
