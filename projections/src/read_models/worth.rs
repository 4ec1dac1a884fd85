//! What somebody's teaching was worth to those who learned, as the one who taught may see it.
//! Never over fewer learners than the measure policy's `k_anonymity`, and never moved by one new rating alone.

use std::collections::BTreeMap;

use mentorlog_events::id::ParticipantId;
use serde::Serialize;

use super::ReadModels;
use crate::rows::Row;

/// What the first exchange that each learner rated was worth to them, over the first learners of one teacher.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct WorthOfTeaching {
    /// Learners it is over: a multiple of `k_anonymity`.
    pub learners: u64,
    /// The sum of one rating of each, 1 to 5.
    pub sum: u64,
    /// `sum / learners`.
    pub mean: f64,
}

impl ReadModels {
    /// What this participant's teaching was worth. `None` while fewer learners than `k_anonymity` have rated it (2 is
    /// taken as 3: of two, each would know the other's), or if there is no such participant.
    ///
    /// Whoever taught sees the figure again and again, and each change of it would tell the rating that came in
    /// between. So each learner counts once, with the first exchange of a live session that they rated, and learners
    /// come in by k at a time, in the order of those sessions. A rating that is revised, or a session that is voided,
    /// still moves it: that is the price of showing anything.
    pub fn worth_of_teaching(&self, teacher: ParticipantId) -> Option<WorthOfTeaching> {
        let row = self.participants.find(teacher.0)?;
        let k = match self.program.as_ref()?.measures().k_anonymity {
            0 | 1 => 1,
            k => usize::from(k).max(3),
        };
        // By learner, the first session with a rating, and that.
        let mut first: BTreeMap<Row, (u64, u8)> = BTreeMap::new();
        for pair in self.pairs_of(&self.participants[row]).map(|pair| &self.pairs[pair]) {
            for session in self.sessions_of(pair).filter(|session| session.is_live()) {
                let taught = |exchange: &&crate::exchanges::Exchange| {
                    exchange.rating > 0 && pair.people[exchange.teacher() as usize] == row
                };
                let Some(rated) = self.exchanges_of(session).find(taught) else { continue };
                let learner = pair.people[rated.teacher().other() as usize];
                let told = (u64::from(session.first_seq), rated.rating);
                first.entry(learner).and_modify(|known| *known = told.min(*known)).or_insert(told);
            }
        }
        let mut in_order: Vec<(u64, u8)> = first.into_values().collect();
        in_order.sort_unstable();
        in_order.truncate(in_order.len() / k * k);
        let learners = in_order.len() as u64;
        let sum = in_order.iter().map(|(_, rating)| u64::from(*rating)).sum();
        (learners > 0).then(|| WorthOfTeaching { learners, sum, mean: sum as f64 / learners as f64 })
    }
}
