//! How mutuality is spread over pairs and how it came about, month by month.
//! Never counts other pairs or minutes than [`ReadModels::reciprocity`]: its figures are sums of these.

use mentorlog_events::time::Day;
use serde::Serialize;

use crate::exchanges::Session;
use crate::read_models::ReadModels;
use crate::reciprocation::{Onset, earlier};
use crate::reciprocity::{Asked, Figure};
use crate::statistics::ratio::Ratio;
use crate::statistics::spells::days_between;

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

/// What happened on one day.
#[derive(Debug, Clone, Copy, Default)]
struct OfDay {
    sessions: u64,
    minutes: u64,
    /// Pairs in which somebody taught for the first time.
    one: u64,
    /// Pairs in which both had taught from this day on.
    both: u64,
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
        let counts = |session: &&Session| {
            session.is_live() && session.day <= as_of && self.pairs[session.pair].counts()
        };
        let Some(first) = self.sessions.iter().filter(counts).map(|session| session.day).min() else {
            return Vec::new();
        };
        // By the number of days since the first: a slot a day is cheaper than any map.
        let mut days = vec![OfDay::default(); days_between(first, as_of) as usize + 1];
        for session in self.sessions.iter().filter(counts) {
            let of_day = &mut days[days_between(first, session.day) as usize];
            of_day.sessions += 1;
            of_day.minutes += self.exchanges_of(session).map(|one| u64::from(one.minutes)).sum::<u64>();
        }
        for onset in self.onsets_of_two() {
            let mut taught = onset.into_iter().flatten().filter(|day| *day <= as_of);
            let Some(one) = taught.next() else { continue };
            let other = taught.next();
            days[days_between(first, other.map_or(one, |other| other.min(one))) as usize].one += 1;
            if let Some(other) = other {
                days[days_between(first, other.max(one)) as usize].both += 1;
            }
        }
        let mut months: Vec<MonthOf> = Vec::new();
        let mut share = Ratio::default();
        for (number, of_day) in (first.number()..).zip(days) {
            let day = Day::from_number(number);
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
            share.denominator += of_day.one;
            share.numerator += of_day.both;
            if let Some(month) = months.last_mut() {
                month.sessions += of_day.sessions;
                month.minutes += of_day.minutes;
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
            let sum: &mut Onset = &mut onsets[first as usize];
            for side in 0..2 {
                sum[side] = earlier(sum[side], onset[side]);
            }
        }
        onsets.into_iter()
    }
}
