//! The story goes on while somebody watches: what happens in days happens in seconds.
//! Never gets ahead of the clock: whatever is told is over by now.

use mentorlog_events::time::Timestamp;

use super::{Deed, Intention, Phase, Story};
use crate::rules::command::Command;
use crate::writer::Caller;

/// How many intentions wait at most: of what nobody watches in time nothing is left.
const WAITING_MAX: usize = 24;

impl Story {
    /// From here on only small things happen: answers, confirmations, ratings. The great turns never come.
    pub fn go_live(&mut self) {
        self.calendar.retain(|_, intention| happens_soon(*intention));
    }

    /// What somebody does at this moment; nothing if nobody can think of anything.
    pub fn soon(&mut self, now: Timestamp) -> Vec<(Caller, Command)> {
        for _ in 0..8 {
            self.now = now;
            let waiting = self.calendar.keys().next().copied();
            match waiting.filter(|_| self.chance.happens(620)) {
                Some(first) => {
                    let intention = self.calendar.remove(&first).expect("it was just seen");
                    if happens_soon(intention) {
                        self.carry_out(intention);
                    }
                }
                None => self.something_new(now),
            }
            while self.calendar.len() > WAITING_MAX {
                self.calendar.pop_last();
            }
            let asked = std::mem::take(&mut self.steps).into_iter().filter_map(|step| match step.deed {
                Deed::Ask(caller, command) => Some((caller, command)),
                Deed::Tick => None,
            });
            let asked: Vec<_> = asked.collect();
            if !asked.is_empty() {
                return asked;
            }
        }
        Vec::new()
    }

    fn something_new(&mut self, now: Timestamp) {
        if self.chance.happens(120) {
            let person = self.chance.index(self.people.len());
            if self.people[person].can_pair() {
                self.propose(person);
            }
            return;
        }
        // The two who have waited longest, a few chosen at random: nobody is seen twice a minute.
        let mut longest: Option<(Timestamp, usize)> = None;
        for _ in 0..12 {
            let pair = self.chance.index(self.pairs.len());
            let row = &self.pairs[pair];
            if row.phase == Phase::Active
                && !row.faded
                && self.both_there(pair)
                && longest.is_none_or(|(since, _)| row.quiet_since < since)
            {
                longest = Some((row.quiet_since, pair));
            }
        }
        let Some((since, pair)) = longest else { return };
        // No session is longer than an hour and a half.
        let began = now.plus_minutes(-92);
        if since < began {
            self.meet_and_log(pair, began);
            if self.chance.happens(80) {
                self.confirm_by_mistake(self.sessions.len() - 1);
            }
        }
    }
}

/// Whether it is among the things that happen while somebody watches. The great turns of the story do not.
fn happens_soon(intention: Intention) -> bool {
    match intention {
        Intention::Answer { .. }
        | Intention::Withdraw(_)
        | Intention::Confirm(_)
        | Intention::Dispute(_)
        | Intention::Settle(_)
        | Intention::Correct(_)
        | Intention::Void(_)
        | Intention::Rate { .. }
        | Intention::Revise { .. }
        | Intention::SetGoal(_) => true,
        Intention::Tick
        | Intention::ListNewcomer
        | Intention::TakeUpNewcomer(_)
        | Intention::RetireHasBeen
        | Intention::RaiseCapacity
        | Intention::CloseProgram
        | Intention::ArchiveProgram
        | Intention::Enrol(_)
        | Intention::CorrectGeneration(_)
        | Intention::Reorganise
        | Intention::MoveArm(_)
        | Intention::LimitCapacity(_)
        | Intention::TakeBreak(_)
        | Intention::ReturnFromBreak(_)
        | Intention::LeaveProgram(_)
        | Intention::LeaveOrganisation(_)
        | Intention::RecordDeparture(_)
        | Intention::ComeBack(_)
        | Intention::Round(_)
        | Intention::LookForSomebody(_)
        | Intention::Expire(_)
        | Intention::Meet(_)
        | Intention::Miss { .. }
        | Intention::Log(_)
        | Intention::ReachGoal(_)
        | Intention::AbandonGoal(_)
        | Intention::Pause(_)
        | Intention::Resume(_)
        | Intention::TermEnds(_)
        | Intention::Part(..)
        | Intention::Block
        | Intention::Unblock(..) => false,
    }
}
