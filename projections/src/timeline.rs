//! Which events concern what: chains of positions in one store.
//! Never holds an event.

use crate::rows::{NONE, Row, Rows};

/// A position in the ledger, as a row holds it: a program's memory ends long before 2^32 events.
pub(crate) type Seq = u32;

/// The newest posting of one subject; the others hang on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Chain(Row);

impl Default for Chain {
    fn default() -> Self {
        Self(NONE)
    }
}

#[derive(Debug, Clone, Copy)]
struct Posting {
    seq: Seq,
    earlier: Row,
}

/// Every posting of a program: 8 bytes each.
#[derive(Debug, Clone, Default)]
pub(crate) struct Postings {
    rows: Rows<Posting>,
}

impl Postings {
    /// Adds a position to a chain. The same position twice is once.
    pub(crate) fn add(&mut self, chain: &mut Chain, seq: Seq) {
        if self.newest(*chain) != Some(seq) {
            chain.0 = self.rows.push(Posting { seq, earlier: chain.0 });
        }
    }

    pub(crate) fn newest(&self, chain: Chain) -> Option<Seq> {
        self.rows.get(chain.0).map(|posting| posting.seq)
    }

    /// Every position of a chain, newest first.
    pub(crate) fn of(&self, chain: Chain) -> impl Iterator<Item = Seq> {
        std::iter::successors(self.rows.get(chain.0), |posting| self.rows.get(posting.earlier))
            .map(|posting| posting.seq)
    }
}
