//! A log that is only read, over one that could be written.
//! Never appends, and never lets the log beneath let go of anything.

use std::sync::Arc;

use mentorlog_events::id::LedgerId;
use mentorlog_events::record::Record;

use super::{Append, AppendError, Footprint, Log, Outcome, ReadError, Syncs};

/// A log beneath which nothing changes.
#[derive(Debug)]
pub struct ReadOnly<L> {
    inner: Arc<L>,
    why: String,
}

impl<L> ReadOnly<L> {
    /// Reads from `inner`; `why` is what an append is answered with.
    pub fn new(inner: Arc<L>, why: &str) -> Self {
        Self { inner, why: why.to_owned() }
    }
}

impl<L: Log> Log for ReadOnly<L> {
    fn read(&self, ledger: LedgerId, from: u64, limit: usize) -> Result<Vec<Record>, ReadError> {
        self.inner.read(ledger, from, limit)
    }

    fn append(&self, appends: &[Append]) -> Vec<Outcome> {
        appends.iter().map(|_| Outcome::Unknown(AppendError::Stopped(self.why.clone()))).collect()
    }

    fn is_read_only(&self) -> bool {
        true
    }

    fn syncs(&self) -> Option<&Syncs> {
        self.inner.syncs()
    }

    fn footprint(&self) -> std::io::Result<Option<Footprint>> {
        self.inner.footprint()
    }
}

#[cfg(test)]
mod tests {
    use super::super::contract::{Teller, ledger};
    use super::super::memory::MemoryLog;
    use super::*;

    #[test]
    fn it_is_read_and_not_written() {
        let inner = Arc::new(MemoryLog::new());
        let mut teller = Teller::default();
        teller.append(&*inner, ledger(1), 3);
        let log = ReadOnly::new(inner.clone(), "a museum");
        teller.check(&log);
        let outcome = log.append(&[Teller(teller.0.clone()).next(ledger(1), 1)]);
        assert!(matches!(&outcome[..], [Outcome::Unknown(AppendError::Stopped(why))] if why == "a museum"));
        teller.check(&*inner);
    }
}
