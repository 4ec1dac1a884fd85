//! What somebody's teaching was worth to those who learned, as the one who taught may see it.
//! Never over fewer learners than the measure policy's `k_anonymity`, never moved by fewer of them than that, and never
//! by anything but ratings: whoever taught can dispute, void and correct, and must learn nothing by doing so.

use mentorlog_events::id::ParticipantId;
use serde::Serialize;

use super::ReadModels;
use crate::counting::Side;
use crate::rows::Row;

/// The first rating that each learner gave to what one teacher taught them.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct WorthOfTeaching {
    /// Learners it is over, each once: `k_anonymity` of them or more.
    pub learners: u64,
    /// The sum of one rating of each, 1 to 5.
    pub sum: u64,
    /// `sum / learners`.
    pub mean: f64,
}

/// What learners said of one teacher: what is shown, and what waits until it is of enough of them.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Worth {
    learners: u32,
    sum: u32,
    waiting: u32,
    waiting_sum: u32,
}

impl ReadModels {
    /// What this participant's teaching was worth. `None` while fewer learners than `k_anonymity` have rated it (2 is
    /// taken as 3: of two, each would know the other's), or if there is no such participant.
    ///
    /// Whoever taught sees the figure again and again, and each change of it tells of what came in between. So each
    /// learner counts once, with the first rating they ever gave to this teacher, as they gave it first, whatever
    /// becomes of the session later; and what is shown takes in learners only when k or more new ones are there.
    pub fn worth_of_teaching(&self, teacher: ParticipantId) -> Option<WorthOfTeaching> {
        let worth = self.worth.get(self.participants.find(teacher.0)?)?;
        let (learners, sum) = (u64::from(worth.learners), u64::from(worth.sum));
        (learners > 0).then(|| WorthOfTeaching { learners, sum, mean: sum as f64 / learners as f64 })
    }

    /// Takes in a rating of what one side of a pair taught the other, if it is the first that this learner gave them.
    pub(super) fn hear(&mut self, pair: Row, teacher: Side, rating: u8) {
        let k = match self.program.as_ref().map_or(0, |program| program.measures().k_anonymity) {
            0 | 1 => 1,
            k => u32::from(k).max(3),
        };
        let people = self.pairs[pair].people;
        let (taught, learned) = (people[teacher as usize], people[teacher.other() as usize]);
        // The two may have been a pair before, and the other way around.
        let first = self.first_of_two[pair];
        let of_learner = usize::from(self.pairs[first].people[0] != learned);
        if std::mem::replace(&mut self.has_rated[first][of_learner], true) {
            return;
        }
        let worth = &mut self.worth[taught];
        worth.waiting += 1;
        worth.waiting_sum += u32::from(rating);
        if worth.waiting >= k {
            worth.learners += std::mem::take(&mut worth.waiting);
            worth.sum += std::mem::take(&mut worth.waiting_sum);
        }
    }
}
