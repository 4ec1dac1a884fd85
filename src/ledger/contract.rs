//! What every log does, whatever it is made of.

use bytes::Bytes;
use mentorlog_events::id::LedgerId;
use mentorlog_events::record::{ENTRY_BYTES_MAX, Record};
use uuid::Uuid;

use super::memory::MemoryLog;
use super::merkle::Tree;
use super::{Append, Log, Outcome};

pub(super) fn ledger(n: u128) -> LedgerId {
    LedgerId(Uuid::from_u128(n << 64 | 0x8000_0000_0000_0000))
}

pub(super) fn record(text: impl Into<Vec<u8>>) -> Record {
    Record::stored(Bytes::from(text.into()))
}

pub(super) fn entry(ledger: LedgerId, seq: u64) -> Record {
    let filling = "x".repeat(usize::try_from(seq * 37 % 700).unwrap());
    record(format!("{{\"ledger\":\"{ledger}\",\"seq\":{seq},\"f\":\"{filling}\"}}"))
}

/// A caller that knows the trees, as a writer does.
#[derive(Default)]
pub(super) struct Teller(pub(super) std::collections::BTreeMap<LedgerId, Tree>);

impl Teller {
    /// The next `n` entries of a ledger.
    pub(super) fn next(&mut self, ledger: LedgerId, n: u64) -> Append {
        let tree = self.0.entry(ledger).or_default();
        let expected_size = tree.size();
        let records: Vec<_> = (expected_size..expected_size + n).map(|seq| entry(ledger, seq)).collect();
        tree.extend(records.iter().map(Record::leaf_hash));
        Append { ledger, expected_size, records, root: tree.root() }
    }

    pub(super) fn append(&mut self, log: &dyn Log, ledger: LedgerId, n: u64) {
        let append = self.next(ledger, n);
        let outcomes = log.append(&[append]);
        assert!(matches!(outcomes[..], [Outcome::Ok]), "{outcomes:?}");
    }

    /// The log holds what was told to it, and nothing else.
    pub(super) fn check(&self, log: &dyn Log) {
        for (ledger, tree) in &self.0 {
            let found = log.read(*ledger, 0, usize::MAX).unwrap();
            let wanted: Vec<_> = (0..tree.size()).map(|seq| entry(*ledger, seq)).collect();
            assert_eq!(found, wanted, "{ledger}");
        }
    }
}

/// Every log passes this.
pub(super) fn check_log(log: &dyn Log) {
    let (a, b, unknown) = (ledger(1), ledger(2), ledger(3));
    let mut teller = Teller::default();
    assert_eq!(log.read(a, 0, 10).unwrap(), []);

    // Nothing to append to an unknown ledger is no conflict, and creates nothing.
    teller.append(log, a, 0);
    assert_eq!(log.read(a, 0, 10).unwrap(), []);
    assert!(log.append(&[]).is_empty());

    // The events of one command are adjacent, and appends to several ledgers are answered in order.
    let (first, second) = (teller.next(a, 3), teller.next(b, 1));
    let outcomes = log.append(&[first.clone(), second]);
    assert!(matches!(outcomes[..], [Outcome::Ok, Outcome::Ok]), "{outcomes:?}");
    teller.check(log);

    // Told twice, told early, told nothing at another size: a conflict, with the size, and nothing written.
    let early = Append { expected_size: 4, ..first.clone() };
    let nothing = Append { records: Vec::new(), expected_size: 7, ..first.clone() };
    let good = teller.next(b, 2);
    let outcomes = log.append(&[first, early, nothing, good]);
    assert!(
        matches!(
            outcomes[..],
            [
                Outcome::Conflict { size: 3 },
                Outcome::Conflict { size: 3 },
                Outcome::Conflict { size: 3 },
                Outcome::Ok
            ]
        ),
        "{outcomes:?}"
    );
    teller.check(log);

    // Two appends to one ledger follow each other.
    let two = [teller.next(a, 40), teller.next(a, 5)];
    assert!(log.append(&two).iter().all(|outcome| matches!(outcome, Outcome::Ok)));
    teller.check(log);

    // Reads begin and end anywhere, and nowhere beyond the end.
    for from in [0, 1, 2, 3, 20, 47, 48, 49, u64::MAX] {
        for limit in [0, 1, 2, 7, 45, usize::MAX] {
            let wanted: Vec<_> = (from..48).take(limit).map(|seq| entry(a, seq)).collect();
            assert_eq!(log.read(a, from, limit).unwrap(), wanted, "from {from}, {limit}");
        }
    }
    assert_eq!(log.read(unknown, 0, 1).unwrap(), []);

    // The smallest and the largest entries.
    let sizes = [0, 1, 7_997, 7_998, 7_999, ENTRY_BYTES_MAX - 1, ENTRY_BYTES_MAX, ENTRY_BYTES_MAX, 1];
    let big: Vec<_> = sizes.iter().map(|size| record(vec![b'b'; *size])).collect();
    let mut tree = Tree::new();
    tree.extend(big.iter().map(Record::leaf_hash));
    let c = ledger(4);
    let append = Append { ledger: c, expected_size: 0, records: big.clone(), root: tree.root() };
    assert!(matches!(log.append(&[append])[..], [Outcome::Ok]));
    assert_eq!(log.read(c, 0, 100).unwrap(), big);

    // Many ledgers at once.
    let many: Vec<_> =
        (100..400).map(|n| teller.next(ledger(n), 1 + u64::try_from(n % 3).unwrap())).collect();
    assert!(log.append(&many).iter().all(|outcome| matches!(outcome, Outcome::Ok)));
    teller.check(log);
}

#[test]
fn the_log_in_memory_is_a_log() {
    check_log(&MemoryLog::new());
}
