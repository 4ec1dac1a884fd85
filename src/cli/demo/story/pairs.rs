//! Pairs of the story: who is proposed to whom, what they answer, and how it ends.
//! Never a pair that the rules would refuse.

use mentorlog_events::event::EndReason;
use mentorlog_events::id::{GoalId, PairId, RoundId};

use super::{Goal, Intention, PROPOSAL_DAYS, Pair, Phase, Story, Style, TERM_DAYS, office};
use crate::cli::demo::cast::slug;
use crate::rules::command::{
    AbandonGoal, AcceptPair, BlockPairing, CompleteGoal, DeclinePair, EndPair, ExtendPair, PausePair,
    ProposePair, ProposeRound, ResumePair, RoundPair, SetGoal, UnblockPairing, WithdrawProposal,
};

impl Story {
    /// The older one first.
    pub(super) fn elder_first(&self, one: usize, other: usize) -> [usize; 2] {
        if self.people[one].generation <= self.people[other].generation { [one, other] } else { [other, one] }
    }

    /// What two could do for each other; 0 for nothing.
    fn fit(&self, one: usize, other: usize) -> u32 {
        let (one, other) = (&self.people[one], &self.people[other]);
        let (gives, gets) = (one.meets(other).min(2), other.meets(one).min(2));
        if gives + gets == 0 {
            return 0;
        }
        let both = if gives > 0 && gets > 0 { 250 } else { 0 };
        let across = if one.generation == other.generation { 0 } else { 150 };
        (gives + gets) * 150 + both + across
    }

    fn could_be_paired(&self, one: usize, other: usize) -> bool {
        one != other
            && !self.closed
            && self.has_room(one)
            && self.has_room(other)
            && !self.apart.contains(&(one.min(other), one.max(other)))
            && !self
                .pairs
                .iter()
                .any(|pair| pair.phase != Phase::Over && pair.two.contains(&one) && pair.two.contains(&other))
    }

    fn has_room(&self, person: usize) -> bool {
        self.people[person].can_pair() && self.load(person, true) < self.capacity_of(person)
    }

    /// The office matches those who have nobody, and the keenest of the others.
    pub(super) fn round(&mut self, size: usize) {
        let wants = |person: &usize| {
            let waiting = self.load(*person, true);
            self.has_room(*person) && (waiting == 0 || self.people[*person].zeal > 1150)
        };
        let people: Vec<usize> = (0..self.people.len()).filter(wants).collect();
        let mut wishes = Vec::new();
        for (place, &one) in people.iter().enumerate() {
            for &other in &people[place + 1..] {
                let fit = self.fit(one, other);
                if fit > 0 && self.could_be_paired(one, other) {
                    wishes.push((fit, one, other));
                }
            }
        }
        wishes.sort_unstable_by(|one, other| other.cmp(one));
        let mut taken = Vec::new();
        let mut chosen = Vec::new();
        for (fit, one, other) in wishes {
            if chosen.len() < size && !taken.contains(&one) && !taken.contains(&other) {
                taken.extend([one, other]);
                chosen.push((fit, one, other));
            }
        }
        if chosen.is_empty() {
            return;
        }
        let mut pairs = Vec::with_capacity(chosen.len());
        let first = self.pairs.len();
        for (fit, one, other) in chosen {
            let pair = self.proposed(one, other, None);
            let [a, b] = [one, other].map(|person| self.people[person].id);
            pairs.push(RoundPair { pair: Some(self.pairs[pair].id), a, b, weight: Some(fit) });
        }
        let round = Some(RoundId(self.chance.uuid()));
        self.ask(office(), ProposeRound { round, pairs });
        for pair in first..self.pairs.len() {
            for person in self.pairs[pair].two {
                self.will_answer(pair, person, [860, 60]);
            }
        }
    }

    /// Two are asked, or one asks the other. The command that says so is still to be sent, at this very moment.
    fn proposed(&mut self, one: usize, other: usize, proposer: Option<usize>) -> usize {
        let two = self.elder_first(one, other);
        let pair = self.pairs.len();
        let expires_at = self.now.plus_days(PROPOSAL_DAYS);
        self.pairs.push(Pair {
            id: PairId(self.chance.uuid()),
            two,
            phase: Phase::Proposed,
            proposer,
            yes: two.map(|person| Some(person) == proposer),
            expires_at,
            term_ends: self.today(),
            style: Style::Both,
            pace: 0,
            sessions: 0,
            faded: false,
            quiet_since: self.now,
        });
        self.note_at(expires_at.plus_minutes(1), Intention::Expire(pair));
        pair
    }

    /// Somebody who was asked says yes or no so many times in a thousand, and otherwise nothing.
    fn will_answer(&mut self, pair: usize, person: usize, [yes, no]: [u64; 2]) {
        let answer = self.chance.weighted(&[(Some(true), yes), (Some(false), no), (None, 1000 - yes - no)]);
        if let Some(yes) = answer {
            self.note_in(0, 11, Intention::Answer { pair, person, yes });
        }
    }

    pub(super) fn look_for_somebody(&mut self, person: usize) {
        if self.people[person].can_pair() {
            self.note_in(110, 360, Intention::LookForSomebody(person));
            self.propose(person);
        }
    }

    /// Somebody asks one who would fit. Whether anybody was asked.
    pub(super) fn propose(&mut self, person: usize) -> bool {
        let mut best: Option<(u32, usize)> = None;
        for _ in 0..25 {
            let other = self.chance.index(self.people.len());
            let fit = self.fit(person, other);
            if fit > best.map_or(0, |(fit, _)| fit) && self.could_be_paired(person, other) {
                best = Some((fit, other));
            }
        }
        let Some((_, other)) = best else { return false };
        let pair = self.proposed(person, other, Some(person));
        let [a, b] = [person, other].map(|person| self.people[person].id);
        let id = Some(self.pairs[pair].id);
        self.ask(self.as_person(person), ProposePair { pair: id, a, b });
        if self.chance.happens(70) {
            self.note_in(1, 6, Intention::Withdraw(pair));
        } else {
            self.will_answer(pair, other, [680, 130]);
        }
        true
    }

    pub(super) fn answer(&mut self, pair: usize, person: usize, yes: bool) {
        let row = &self.pairs[pair];
        if row.phase != Phase::Proposed || self.now >= row.expires_at || !self.people[person].is_there() {
            return;
        }
        let id = row.id;
        let two = row.two;
        let able = two.iter().all(|person| {
            self.people[*person].can_pair() && self.load(*person, false) < self.capacity_of(*person)
        });
        let caller = self.as_person(person);
        if !(yes && able) {
            self.ask(caller, DeclinePair { pair: id });
            self.pairs[pair].phase = Phase::Over;
            self.apart.insert((two[0].min(two[1]), two[0].max(two[1])));
            return;
        }
        self.ask(caller, AcceptPair { pair: id });
        let row = &mut self.pairs[pair];
        let side = usize::from(row.two[1] == person);
        row.yes[side] = true;
        if row.yes == [true; 2] {
            self.begin(pair);
        }
    }

    pub(super) fn withdraw(&mut self, pair: usize) {
        let row = &self.pairs[pair];
        let Some(proposer) = row.proposer.filter(|person| self.people[*person].is_there()) else { return };
        if row.phase == Phase::Proposed && self.now < row.expires_at {
            let pair_id = row.id;
            self.pairs[pair].phase = Phase::Over;
            self.ask(self.as_person(proposer), WithdrawProposal { pair: pair_id });
        }
    }

    pub(super) fn expire(&mut self, pair: usize) {
        if self.pairs[pair].phase == Phase::Proposed {
            self.pairs[pair].phase = Phase::Over;
            self.carry_out(Intention::Tick);
        }
    }

    fn begin(&mut self, pair: usize) {
        // The longer the program goes on, the more the younger teach.
        let span = i64::from(self.span()).max(1);
        let elapsed = i64::from(self.today().number() - self.setting.opens.number());
        let ripe = u64::try_from(elapsed * 100 / span).unwrap_or_default().min(100);
        let older =
            u64::from(self.people[self.pairs[pair].two[0]].meets(&self.people[self.pairs[pair].two[1]]));
        let style = self.chance.weighted(&[
            (Style::OneWay(0), 22 + 8 * older),
            (Style::OneWay(1), 11 + ripe / 6),
            (Style::Turns, 15 + ripe / 10),
            (Style::Both, 11 + ripe / 12),
        ]);
        let term_ends = self.today().plus_days(TERM_DAYS);
        let pace = self.chance.between(9, 24);
        let now = self.now;
        let row = &mut self.pairs[pair];
        row.phase = Phase::Active;
        row.style = style;
        row.term_ends = term_ends;
        row.pace = pace;
        row.quiet_since = now;
        if self.chance.happens(9) {
            // The office chose the wrong one of two people.
            return self.note_in(1, 2, Intention::Part(pair, EndReason::EnteredInError));
        }
        self.intend_pair(pair);
    }

    /// What two have before them when they begin.
    pub(super) fn intend_pair(&mut self, pair: usize) {
        self.note_in(2, 16, Intention::Meet(pair));
        let left = i64::from(self.pairs[pair].term_ends.number() - self.today().number());
        self.note_in(left - 16, left + 20, Intention::TermEnds(pair));
        if self.chance.happens(60) {
            let reason = self.chance.weighted(&[
                (EndReason::MismatchValues, 3),
                (EndReason::MismatchSkills, 4),
                (EndReason::MutualNoFit, 4),
                (EndReason::LackOfExpertise, 3),
            ]);
            self.note_in(6, 50, Intention::Part(pair, reason));
        }
        let mean = if matches!(self.pairs[pair].style, Style::OneWay(_)) { 1000 } else { 1800 };
        let reason = self.chance.weighted(&[
            (EndReason::TimeConstraints, 9),
            (EndReason::LostContact, 2),
            (EndReason::Distancing, 2),
            (EndReason::MutualNoFit, 2),
            (EndReason::LackOfExpertise, 2),
            (EndReason::Withheld, 1),
        ]);
        let days = self.chance.days(mean);
        self.note_in(days, days, Intention::Part(pair, reason));
        let days = self.chance.days(3200);
        self.note_in(days, days, Intention::Part(pair, EndReason::RoleOrLocationChange));
        let days = self.chance.days(7000);
        self.note_in(days, days, Intention::Part(pair, EndReason::ManagerDecision));
        let days = self.chance.days(900);
        self.note_in(days, days, Intention::Pause(pair));
        for _ in 0..2 {
            if self.chance.happens(350) {
                self.note_in(1, 25, Intention::SetGoal(pair));
            }
        }
    }

    fn is_running(&self, pair: usize) -> bool {
        matches!(self.pairs[pair].phase, Phase::Active | Phase::Paused)
    }

    /// One of the two who is there, the keener one more often.
    pub(super) fn one_of_the_two(&mut self, pair: usize) -> Option<usize> {
        let [one, other] = self.pairs[pair].two;
        let weigh = |person: usize| {
            let row = &self.people[person];
            if row.is_there() { row.zeal } else { 0 }
        };
        let weights = [(one, weigh(one)), (other, weigh(other))];
        (weights[0].1 + weights[1].1 > 0).then(|| self.chance.weighted(&weights))
    }

    pub(super) fn term_ends(&mut self, pair: usize) {
        if !self.is_running(pair) {
            return;
        }
        if self.pairs[pair].faded {
            // Nobody is left who would look at the date.
            if self.chance.happens(500) {
                return self.note_in(40, 110, Intention::TermEnds(pair));
            }
            return self.part(pair, EndReason::LostContact);
        }
        let Some(person) = self.one_of_the_two(pair) else { return };
        if self.chance.happens(360) {
            let term_ends_day = self.pairs[pair].term_ends.max(self.today()).plus_days(90);
            self.pairs[pair].term_ends = term_ends_day;
            let id = self.pairs[pair].id;
            self.ask(self.as_person(person), ExtendPair { pair: id, term_ends_day });
            return self.note_in(70, 90, Intention::TermEnds(pair));
        }
        if self.chance.happens(180) {
            // Nobody looked at the date.
            return self.note_in(30, 70, Intention::TermEnds(pair));
        }
        let reason = self.chance.weighted(&[
            (EndReason::GoalsMet, 45),
            (EndReason::TermCompleted, 40),
            (EndReason::RedefinedAsPeers, 15),
        ]);
        self.part(pair, reason);
    }

    pub(super) fn part(&mut self, pair: usize, reason: EndReason) {
        if !self.is_running(pair) {
            return;
        }
        let caller = match (reason, self.one_of_the_two(pair)) {
            (EndReason::ManagerDecision | EndReason::EnteredInError, _) | (_, None) => office(),
            (_, Some(person)) => self.as_person(person),
        };
        self.pairs[pair].phase = Phase::Over;
        let id = self.pairs[pair].id;
        self.ask(caller, EndPair { pair: id, reason, occurred_at: None, conduct: None });
    }

    pub(super) fn pause(&mut self, pair: usize) {
        if self.pairs[pair].phase != Phase::Active {
            return;
        }
        let Some(person) = self.one_of_the_two(pair) else { return };
        self.pairs[pair].phase = Phase::Paused;
        let id = self.pairs[pair].id;
        self.ask(self.as_person(person), PausePair { pair: id });
        self.note_in(14, 50, Intention::Resume(pair));
    }

    pub(super) fn resume(&mut self, pair: usize) {
        if self.pairs[pair].phase != Phase::Paused {
            return;
        }
        let Some(person) = self.one_of_the_two(pair) else { return };
        self.pairs[pair].phase = Phase::Active;
        let id = self.pairs[pair].id;
        self.ask(self.as_person(person), ResumePair { pair: id });
    }

    /// One of two who have met does not want to be paired with the other again.
    pub(super) fn block(&mut self) {
        let met = |pair: &usize| {
            let row = &self.pairs[*pair];
            row.phase == Phase::Active && row.sessions >= 2 && self.both_there(*pair)
        };
        let several: Vec<usize> = (0..self.pairs.len()).filter(met).collect();
        if several.is_empty() {
            return self.note_in(5, 12, Intention::Block);
        }
        let pair = self.chance.one_of(&several);
        let [one, other] = self.pairs[pair].two;
        let (who, whom) = if self.chance.happens(500) { (one, other) } else { (other, one) };
        self.pairs[pair].phase = Phase::Over;
        self.apart.insert((one.min(other), one.max(other)));
        let [participant, blocked] = [who, whom].map(|person| self.people[person].id);
        self.ask(self.as_person(who), BlockPairing { participant, other: blocked, reason: None });
        // The first one finds, after a while, that it was a misunderstanding.
        if self.today() < self.at_permille(600) {
            self.note_in(30, 60, Intention::Unblock(who, whom));
        }
    }

    pub(super) fn unblock(&mut self, who: usize, whom: usize) {
        let caller = if self.people[who].is_there() { self.as_person(who) } else { office() };
        let [participant, other] = [who, whom].map(|person| self.people[person].id);
        self.ask(caller, UnblockPairing { participant, other });
    }

    pub(super) fn set_goal(&mut self, pair: usize) {
        if !self.is_running(pair) {
            return;
        }
        let Some(learner) = self.one_of_the_two(pair) else { return };
        let [one, other] = self.pairs[pair].two;
        let teacher = if learner == one { other } else { one };
        let topics = self.people[teacher].could_teach(&self.people[learner]);
        let skill = slug(self.chance.one_of(&topics));
        let id = GoalId(self.chance.uuid());
        let goal = self.goals.len();
        self.goals.push(Goal { id, pair, learner, open: true });
        let pair_id = self.pairs[self.goals[goal].pair].id;
        let command = SetGoal { goal: Some(id), pair: pair_id, learner: None, skill, text: None };
        self.ask(self.as_person(learner), command);
        match self.chance.below(10) {
            0..=4 => self.note_in(40, 150, Intention::ReachGoal(goal)),
            5 | 6 => self.note_in(30, 120, Intention::AbandonGoal(goal)),
            _ => {}
        }
    }

    pub(super) fn finish_goal(&mut self, goal: usize, reached: bool) {
        let Goal { id, pair, learner, open } = self.goals[goal];
        // Who never met has reached nothing.
        let reached = reached && self.pairs[pair].sessions > 2;
        if !open || !self.people[learner].is_there() {
            return;
        }
        self.goals[goal].open = false;
        let caller = self.as_person(learner);
        if reached {
            self.ask(caller, CompleteGoal { goal: id });
        } else {
            self.ask(caller, AbandonGoal { goal: id });
        }
    }
}
