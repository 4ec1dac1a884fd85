//! Sessions of the story: two meet, somebody writes it down, the other looks at it, and the learners say what it gave.
//! Never a session that overlaps another of the same two.

use mentorlog_events::event::{EndReason, Mode};
use mentorlog_events::id::{NoShowId, SessionId};
use mentorlog_events::time::Timestamp;

use super::{Intention, Phase, STALL_DAYS, Story, Style};
use crate::cli::demo::cast::{Standing, slug};
use crate::rules::command::{
    ConfirmSession, CorrectSession, DisputeSession, LogSession, RateExchange, RecordNoShow, ResolveDispute,
    ReviseRating, TaughtExchange, VoidSession,
};

/// What one taught the other.
#[derive(Clone, Copy)]
pub(super) struct Taught {
    pub(super) teacher: usize,
    pub(super) skill: &'static str,
    pub(super) minutes: u32,
    rating: Option<u32>,
}

/// How far a session has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Held,
    Logged,
    Confirmed,
    Disputed,
    Voided,
}

/// A session of the story.
pub(super) struct Session {
    id: SessionId,
    pair: usize,
    occurred_at: Timestamp,
    pub(super) minutes: u32,
    pub(super) mode: Mode,
    pub(super) exchanges: Vec<Taught>,
    logger: usize,
    revision: u32,
    stage: Stage,
}

impl Story {
    pub(super) fn meet(&mut self, pair: usize) {
        let row = &self.pairs[pair];
        if row.faded || row.phase == Phase::Over {
            return;
        }
        let rests = row.two.iter().any(|person| self.people[*person].standing == Standing::OnBreak);
        if row.phase != Phase::Active || !self.both_there(pair) || (rests && self.chance.happens(600)) {
            return self.note_in(8, 16, Intention::Meet(pair));
        }
        let later = self.now.plus_minutes(25);
        if self.chance.happens(35) {
            self.note_at(later, Intention::Miss { pair, at: self.now });
            return self.note_in(4, 12, Intention::Meet(pair));
        }
        let session = self.new_session(pair, self.now);
        self.remember(session);
        self.next_meeting(pair);
    }

    fn next_meeting(&mut self, pair: usize) {
        let row = &mut self.pairs[pair];
        // What was to be learned is learned, little by little.
        let slower = i64::from(row.sessions / 3);
        let (pace, one_way) = (row.pace + slower, matches!(row.style, Style::OneWay(_)));
        if one_way && row.sessions >= 2 && self.chance.happens(105) {
            // The one who learned so far has something to give as well.
            self.pairs[pair].style = if self.chance.happens(600) { Style::Turns } else { Style::Both };
        }
        if self.chance.happens(if one_way { 40 } else { 26 }) {
            match self.chance.below(10) {
                // They find each other again.
                0..=2 => return self.note_in(STALL_DAYS + 2, 90, Intention::Meet(pair)),
                3..=6 => {
                    let reasons = [(EndReason::LostContact, 5), (EndReason::TimeConstraints, 3)];
                    let reason = self.chance.weighted(&reasons);
                    self.note_in(STALL_DAYS + 30, 260, Intention::Part(pair, reason));
                }
                _ => {}
            }
            self.pairs[pair].faded = true;
            return;
        }
        let days = pace * self.chance.between(70, 150) / 100;
        self.note_in(days.max(4), days.max(4) + 2, Intention::Meet(pair));
    }

    /// A session that begins at this moment. It is not yet known to anybody.
    pub(super) fn new_session(&mut self, pair: usize, at: Timestamp) -> Session {
        let two = self.pairs[pair].two;
        let minutes = u32::try_from(self.chance.between(5, 18)).unwrap_or(6) * 5;
        let by_turns = usize::from(self.chance.happens(450));
        // The rest is small talk.
        let spent = minutes - minutes / 10;
        let shares = match self.pairs[pair].style {
            Style::OneWay(side) => vec![(two[side], spent)],
            Style::Turns => vec![(two[by_turns], spent)],
            Style::Both => {
                let first = spent * u32::try_from(self.chance.between(25, 75)).unwrap_or(50) / 100;
                vec![(two[0], first), (two[1], spent - first)]
            }
        };
        let mut exchanges = Vec::with_capacity(2);
        for (teacher, minutes) in shares {
            let learner = if teacher == two[0] { two[1] } else { two[0] };
            let topics = self.people[teacher].could_teach(&self.people[learner]);
            // Two skills in one go, now and then.
            let first = self.chance.index(topics.len());
            let second = (first + 1) % topics.len();
            if second != first && minutes >= 30 && self.chance.happens(180) {
                let part = minutes / 3;
                exchanges.push(Taught { teacher, skill: topics[second], minutes: part, rating: None });
                let rest = minutes - part;
                exchanges.push(Taught { teacher, skill: topics[first], minutes: rest, rating: None });
            } else {
                exchanges.push(Taught { teacher, skill: topics[first], minutes, rating: None });
            }
        }
        Session {
            id: SessionId(self.chance.uuid()),
            pair,
            occurred_at: at,
            minutes,
            mode: self.mode(),
            exchanges,
            logger: two[0],
            revision: 1,
            stage: Stage::Held,
        }
    }

    /// Two have met; one of them will write it down.
    fn remember(&mut self, session: Session) {
        let over = session.occurred_at.plus_minutes(session.minutes.into());
        self.pairs[session.pair].sessions += 1;
        self.pairs[session.pair].quiet_since = over;
        let number = self.sessions.len();
        self.sessions.push(session);
        match self.chance.below(10) {
            0..=5 => {
                let minutes = self.chance.between(1, 40);
                self.note_at(over.plus_minutes(minutes), Intention::Log(number));
            }
            6..=8 => self.note_in(1, 3, Intention::Log(number)),
            _ => self.note_in(4, 16, Intention::Log(number)),
        }
    }

    /// Two have met and it is written down at once.
    pub(super) fn meet_and_log(&mut self, pair: usize, at: Timestamp) {
        let session = self.new_session(pair, at);
        let over = at.plus_minutes(session.minutes.into());
        self.pairs[pair].sessions += 1;
        self.pairs[pair].quiet_since = over;
        self.sessions.push(session);
        self.log(self.sessions.len() - 1);
    }

    pub(super) fn miss(&mut self, pair: usize, at: Timestamp) {
        let Some(person) = self.one_of_the_two(pair) else { return };
        let two = self.pairs[pair].two;
        let missing = if self.chance.happens(120) {
            two.to_vec()
        } else {
            two.into_iter().filter(|other| *other != person).collect()
        };
        let command = RecordNoShow {
            no_show: Some(NoShowId(self.chance.uuid())),
            pair: self.pairs[pair].id,
            absent: missing.into_iter().map(|person| self.people[person].id).collect(),
            occurred_at: at,
        };
        self.ask(self.as_person(person), command);
    }

    fn taught(&self, session: usize) -> Vec<TaughtExchange> {
        let told = |taught: &Taught| TaughtExchange {
            teacher: self.people[taught.teacher].id,
            skill: slug(taught.skill),
            minutes: taught.minutes,
        };
        self.sessions[session].exchanges.iter().map(told).collect()
    }

    /// The one of the two who did not write it down.
    fn other_of(&self, session: usize) -> usize {
        let row = &self.sessions[session];
        let [one, other] = self.pairs[row.pair].two;
        if row.logger == one { other } else { one }
    }

    pub(super) fn log(&mut self, session: usize) {
        let pair = self.sessions[session].pair;
        let retired = self.sessions[session].exchanges.iter().any(|taught| self.is_retired(taught.skill));
        // Who is gone writes nothing, and a skill that is off the list can no longer be named.
        let Some(person) = self.one_of_the_two(pair).filter(|_| !retired) else { return };
        let row = &mut self.sessions[session];
        row.logger = person;
        row.stage = Stage::Logged;
        let command = LogSession {
            session: Some(row.id),
            pair: self.pairs[pair].id,
            occurred_at: row.occurred_at,
            minutes: row.minutes,
            mode: row.mode,
            exchanges: self.taught(session),
            confirm_distinct: false,
            note: None,
        };
        self.ask(self.as_person(person), command);
        match self.chance.below(1000) {
            0..=31 => self.note_in(0, 4, Intention::Dispute(session)),
            32..=44 => self.note_in(0, 1, Intention::Void(session)),
            45..=74 => self.note_in(0, 2, Intention::Correct(session)),
            75..=789 => self.note_in(0, 6, Intention::Confirm(session)),
            _ => {}
        }
        for exchange in 0..self.sessions[session].exchanges.len() {
            self.may_rate(session, exchange);
        }
    }

    fn is_retired(&self, skill: &str) -> bool {
        self.has_been_retired && skill == super::HAS_BEEN
    }

    fn may_rate(&mut self, session: usize, exchange: usize) {
        let learner = self.learner(session, exchange);
        let permille = self.people[learner].zeal * 6 / 10;
        if self.chance.happens(permille) {
            self.note_in(0, 10, Intention::Rate { session, exchange });
        }
    }

    fn learner(&self, session: usize, exchange: usize) -> usize {
        let row = &self.sessions[session];
        let [one, other] = self.pairs[row.pair].two;
        if row.exchanges[exchange].teacher == one { other } else { one }
    }

    pub(super) fn confirm(&mut self, session: usize) {
        let other = self.other_of(session);
        if self.sessions[session].stage != Stage::Logged || !self.people[other].is_there() {
            return;
        }
        let row = &mut self.sessions[session];
        row.stage = Stage::Confirmed;
        let command = ConfirmSession { session: row.id, version: row.revision };
        self.ask(self.as_person(other), command);
        if self.chance.happens(12) {
            // On second thoughts.
            self.note_in(1, 6, Intention::Dispute(session));
        }
    }

    /// Who wrote it down confirms it as well, which is refused: the other one has to.
    pub(super) fn confirm_by_mistake(&mut self, session: usize) {
        let row = &self.sessions[session];
        if row.stage == Stage::Logged {
            let (logger, version) = (row.logger, row.revision);
            self.ask(self.as_person(logger), ConfirmSession { session: row.id, version });
        }
    }

    pub(super) fn dispute(&mut self, session: usize) {
        let other = self.other_of(session);
        let row = &mut self.sessions[session];
        if !matches!(row.stage, Stage::Logged | Stage::Confirmed) || !self.people[other].is_there() {
            return;
        }
        row.stage = Stage::Disputed;
        let command = DisputeSession { session: row.id, version: Some(row.revision), reason: None };
        self.ask(self.as_person(other), command);
        self.note_in(2, 20, Intention::Settle(session));
    }

    /// A dispute comes to its end: corrected, taken back, or found to be none.
    pub(super) fn settle(&mut self, session: usize) {
        if self.sessions[session].stage != Stage::Disputed {
            return;
        }
        match self.chance.below(20) {
            0..=7 => self.correct(session),
            8..=11 => self.void(session),
            12..=15 => {
                let other = self.other_of(session);
                if self.people[other].is_there() {
                    // Whether it had been confirmed before does not matter any more: nobody confirms it again.
                    self.sessions[session].stage = Stage::Confirmed;
                    let command = ResolveDispute { session: self.sessions[session].id };
                    self.ask(self.as_person(other), command);
                }
            }
            _ => {}
        }
    }

    pub(super) fn correct(&mut self, session: usize) {
        let row = &self.sessions[session];
        let (logger, began) = (row.logger, row.occurred_at);
        let retired = row.exchanges.iter().any(|taught| self.is_retired(taught.skill));
        if matches!(row.stage, Stage::Held | Stage::Voided) || !self.people[logger].is_there() || retired {
            return;
        }
        // It was longer than it says.
        let minutes = row.minutes + u32::try_from(self.chance.between(1, 4)).unwrap_or(1) * 5;
        let over = began.plus_minutes(minutes.into());
        if over > self.now {
            return self.note_in(1, 2, Intention::Correct(session));
        }
        let pair = self.sessions[session].pair;
        let next =
            |other: &Session| other.pair == pair && began < other.occurred_at && other.occurred_at < over;
        if self.sessions.iter().any(next) {
            return;
        }
        self.pairs[pair].quiet_since = self.pairs[pair].quiet_since.max(over);
        let row = &mut self.sessions[session];
        for taught in &mut row.exchanges {
            taught.minutes = taught.minutes * minutes / row.minutes;
        }
        row.minutes = minutes;
        row.revision += 1;
        row.stage = Stage::Logged;
        let (id, occurred_at, mode) = (row.id, row.occurred_at, row.mode);
        let exchanges = self.taught(session);
        let command = CorrectSession {
            session: id,
            occurred_at,
            minutes,
            mode,
            exchanges,
            confirm_distinct: false,
            note: None,
        };
        self.ask(self.as_person(logger), command);
        if self.chance.happens(800) {
            self.note_in(0, 5, Intention::Confirm(session));
        }
    }

    pub(super) fn void(&mut self, session: usize) {
        let row = &self.sessions[session];
        let logger = row.logger;
        if matches!(row.stage, Stage::Held | Stage::Voided) || !self.people[logger].is_there() {
            return;
        }
        let id = row.id;
        self.sessions[session].stage = Stage::Voided;
        self.ask(self.as_person(logger), VoidSession { session: id });
    }

    pub(super) fn rate(&mut self, session: usize, exchange: usize) {
        let learner = self.learner(session, exchange);
        let row = &self.sessions[session];
        let taught = row.exchanges[exchange];
        let open = matches!(row.stage, Stage::Logged | Stage::Confirmed) && taught.rating.is_none();
        if !open || !self.people[learner].is_there() {
            return;
        }
        let id = row.id;
        let wanted = self.people[learner].sought.contains(&taught.skill);
        let weights: [u64; 5] = if wanted { [1, 3, 13, 43, 40] } else { [4, 12, 32, 36, 16] };
        let stars: Vec<(u32, u64)> = (1..).zip(weights).collect();
        let rating = self.chance.weighted(&stars);
        self.sessions[session].exchanges[exchange].rating = Some(rating);
        let command = RateExchange {
            session: id,
            teacher: self.people[taught.teacher].id,
            skill: slug(taught.skill),
            rating,
            comment: None,
        };
        self.ask(self.as_person(learner), command);
        if self.chance.happens(25) {
            self.note_in(1, 20, Intention::Revise { session, exchange });
        }
    }

    pub(super) fn revise(&mut self, session: usize, exchange: usize) {
        let learner = self.learner(session, exchange);
        let row = &self.sessions[session];
        let taught = row.exchanges[exchange];
        let Some(before) = taught.rating else { return };
        if !matches!(row.stage, Stage::Logged | Stage::Confirmed) || !self.people[learner].is_there() {
            return;
        }
        let rating = if before == 5 { 4 } else { before + 1 };
        let id = row.id;
        self.sessions[session].exchanges[exchange].rating = Some(rating);
        let command = ReviseRating {
            session: id,
            teacher: self.people[taught.teacher].id,
            skill: slug(taught.skill),
            rating,
            comment: None,
        };
        self.ask(self.as_person(learner), command);
    }
}
