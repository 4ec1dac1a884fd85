//! A log that fails as real ones do, by a seeded plan: for tests of what stands above a log.
//! Never fails in a way a real log cannot, and never shows what it did not acknowledge.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use mentorlog_events::id::LedgerId;
use mentorlog_events::record::Record;

use super::{Append, AppendError, Log, Outcome, ReadError};

/// How one call of `append` fails. In every case all its outcomes are [`Outcome::Unknown`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Nothing was written.
    Lost,
    /// Everything was written.
    WrittenUnknown,
    /// Syncing failed: of each ledger's append, chance decides whether it was written. The log takes no more.
    SyncFailed,
}

/// A log whose appends fail now and then.
///
/// After [`Fault::Lost`] and [`Fault::WrittenUnknown`] it would still take appends, unlike a good log: a caller
/// that does not stop by itself is found out. After a restart ([`Self::restart`]) everything that was written
/// is read, acknowledged or not.
#[derive(Debug)]
pub struct FaultyLog<L> {
    inner: L,
    plan: Mutex<Plan>,
}

#[derive(Debug)]
struct Plan {
    random: u64,
    per_mille: u64,
    at: Option<(u64, Fault)>,
    calls: u64,
    faults: Vec<(u64, Fault)>,
    stopped: bool,
    // Where entries begin that were written but not acknowledged.
    hidden: BTreeMap<LedgerId, u64>,
}

impl Plan {
    /// splitmix64 (Steele, Lea and Flood 2014): one seed, one sequence, on every machine.
    fn next(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn fault(&mut self) -> Option<Fault> {
        let call = self.calls;
        self.calls += 1;
        let (dice, kind) = (self.next() % 1000, self.next() % 3);
        let planned = self.at.filter(|(at, _)| *at == call).map(|(_, fault)| fault);
        let by_chance =
            (dice < self.per_mille).then_some([Fault::Lost, Fault::WrittenUnknown, Fault::SyncFailed]);
        let fault =
            planned.or(by_chance.and_then(|faults| faults.get(usize::try_from(kind).ok()?).copied()))?;
        self.faults.push((call, fault));
        Some(fault)
    }
}

impl<L: Log> FaultyLog<L> {
    /// Fails `per_mille` of all calls of `append`, in all three ways.
    pub fn seeded(inner: L, seed: u64, per_mille: u16) -> Self {
        Self::planned(inner, seed, per_mille, None)
    }

    /// Fails the call of `append` with this number, counted from 0, and no other.
    pub fn failing_at(inner: L, call: u64, fault: Fault, seed: u64) -> Self {
        Self::planned(inner, seed, 0, Some((call, fault)))
    }

    fn planned(inner: L, seed: u64, per_mille: u16, at: Option<(u64, Fault)>) -> Self {
        let plan = Plan {
            random: seed,
            per_mille: u64::from(per_mille),
            at,
            calls: 0,
            faults: Vec::new(),
            stopped: false,
            hidden: BTreeMap::new(),
        };
        Self { inner, plan: Mutex::new(plan) }
    }

    /// The faults so far, with the number of the call.
    pub fn faults(&self) -> Vec<(u64, Fault)> {
        self.plan.lock().unwrap_or_else(PoisonError::into_inner).faults.clone()
    }

    /// Calls of `append` so far.
    pub fn calls(&self) -> u64 {
        self.plan.lock().unwrap_or_else(PoisonError::into_inner).calls
    }

    /// The log beneath: what a restart finds.
    pub fn restart(self) -> L {
        self.inner
    }

    /// The log beneath, beside this one.
    pub fn inner(&self) -> &L {
        &self.inner
    }
}

impl<L: Log> Log for FaultyLog<L> {
    fn read(&self, ledger: LedgerId, from: u64, limit: usize) -> Result<Vec<Record>, ReadError> {
        let hidden = self.plan.lock().unwrap_or_else(PoisonError::into_inner).hidden.get(&ledger).copied();
        let visible =
            hidden.map_or(usize::MAX, |end| usize::try_from(end.saturating_sub(from)).unwrap_or(usize::MAX));
        self.inner.read(ledger, from, limit.min(visible))
    }

    fn append(&self, appends: &[Append]) -> Vec<Outcome> {
        let mut plan = self.plan.lock().unwrap_or_else(PoisonError::into_inner);
        let unknown = |detail: &str| {
            let error = AppendError::Failed { copy: "the log under test", detail: detail.to_owned() };
            vec![Outcome::Unknown(error); appends.len()]
        };
        if plan.stopped {
            let error = AppendError::Stopped("syncing failed before".into());
            return vec![Outcome::Unknown(error); appends.len()];
        }
        let Some(fault) = plan.fault() else {
            return self.inner.append(appends);
        };
        for append in appends {
            let written = match fault {
                Fault::Lost => false,
                Fault::WrittenUnknown => true,
                Fault::SyncFailed => plan.next().is_multiple_of(2),
            };
            let outcomes = if written { self.inner.append(std::slice::from_ref(append)) } else { Vec::new() };
            if matches!(outcomes[..], [Outcome::Ok]) {
                plan.hidden.entry(append.ledger).or_insert(append.expected_size);
            }
        }
        plan.stopped = fault == Fault::SyncFailed;
        unknown("a fault by plan")
    }
}

#[cfg(test)]
mod tests {
    use super::super::contract::{Teller, check_log, ledger};
    use super::super::memory::MemoryLog;
    use super::*;

    #[test]
    fn without_faults_it_is_the_log_beneath() {
        check_log(&FaultyLog::seeded(MemoryLog::new(), 1, 0));
    }

    #[test]
    fn what_was_not_acknowledged_is_not_read_until_a_restart() {
        for (fault, after_restart) in [(Fault::Lost, 2), (Fault::WrittenUnknown, 5)] {
            let log = FaultyLog::failing_at(MemoryLog::new(), 1, fault, 0);
            let mut teller = Teller::default();
            teller.append(&log, ledger(1), 2);
            let outcome = log.append(&[teller.next(ledger(1), 3)]);
            assert!(matches!(outcome[..], [Outcome::Unknown(_)]), "{outcome:?}");
            assert_eq!(log.read(ledger(1), 0, 9).unwrap().len(), 2);
            assert_eq!(log.read(ledger(1), 7, 9).unwrap().len(), 0);
            assert_eq!(log.restart().read(ledger(1), 0, 9).unwrap().len(), after_restart);
        }
    }

    #[test]
    fn a_failed_sync_writes_some_and_stops_the_log() {
        let mut left = std::collections::BTreeSet::new();
        for seed in 0..64 {
            let log = FaultyLog::failing_at(MemoryLog::new(), 0, Fault::SyncFailed, seed);
            let mut teller = Teller::default();
            let outcomes = log.append(&[teller.next(ledger(1), 1), teller.next(ledger(2), 1)]);
            assert!(outcomes.iter().all(|outcome| matches!(outcome, Outcome::Unknown(_))), "seed {seed}");
            let outcomes = log.append(&[teller.next(ledger(3), 1)]);
            assert!(
                matches!(outcomes[..], [Outcome::Unknown(AppendError::Stopped(_))]),
                "seed {seed}: {outcomes:?}"
            );
            left.insert([1, 2, 3].map(|n| log.inner().read(ledger(n), 0, 9).unwrap().len()));
        }
        assert_eq!(left, [[0, 0, 0], [0, 1, 0], [1, 0, 0], [1, 1, 0]].into());
    }

    #[test]
    fn one_seed_gives_one_plan() {
        let faults = |seed| {
            let log = FaultyLog::seeded(MemoryLog::new(), seed, 100);
            (0..200).for_each(|_| drop(log.append(&[])));
            log.faults()
        };
        assert_eq!(faults(7), faults(7));
        assert_ne!(faults(7), faults(8));
    }
}
