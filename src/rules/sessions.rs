//! Rules of sessions, their exchanges and ratings, and of no-shows.
//! Never weighs what an exchange was worth; the learner does.

use mentorlog_events::event::{
    Absent, DisputeResolved, Exchange, ExchangeRated, Mode, NoShowRecorded, RatingRevised, SessionConfirmed,
    SessionCorrected, SessionDisputed, SessionLogged, SessionVoided,
};
use mentorlog_events::id::{NoShowId, ParticipantId, SessionId, Slug};
use mentorlog_events::time::Timestamp;

use super::command::{
    ConfirmSession, CorrectSession, DisputeSession, LogSession, RateExchange, RecordNoShow, ResolveDispute,
    ReviseRating, TaughtExchange, VoidSession,
};
use super::rejection::{Pointer, Rejection};
use super::state::{SessionState, Side};
use super::{Case, Subject, counted, within};

/// Most exchanges of a session.
const EXCHANGES_MAX: usize = 32;

/// How far a session may reach beyond the writer's time: clients round up, and clocks differ.
const TOLERANCE_MINUTES: i64 = 5;

/// What is said of a session, already looked at.
pub(super) struct Told {
    pub(super) occurred_at: Timestamp,
    pub(super) minutes: u16,
    pub(super) mode: Mode,
    pub(super) exchanges: Vec<Exchange>,
}

impl Case<'_> {
    pub(super) fn log_session(&mut self, command: &LogSession) -> Result<Subject, Rejection> {
        let pair = self.own_pair(command.pair)?;
        self.neither_erased(pair)?;
        self.party_or_manager(pair)?;
        let session = self.new_session(command.session)?;
        let told = self.told(pair, command.occurred_at, command.minutes, command.mode, &command.exchanges)?;
        self.not_too_far_back(told.occurred_at)?;
        self.active_then(pair, told.occurred_at)?;
        if !command.confirm_distinct {
            self.no_overlap(pair, &told, None)?;
        }
        let note = self.text_of_pair(pair, command.note.as_ref(), "/note")?;
        let logged = self.logged(session, pair, told, None);
        self.seal_of_two(logged, "/note", note);
        Ok(Subject::Session(session))
    }

    pub(super) fn new_session(&mut self, given: Option<SessionId>) -> Result<SessionId, Rejection> {
        match given {
            Some(session) if self.state.sessions.find(session.as_u128()).is_some() => {
                Err(Rejection::SessionExists { session })
            }
            Some(session) => Ok(session),
            None => Ok(SessionId(self.ids.next())),
        }
    }

    pub(super) fn logged(
        &mut self,
        session: SessionId,
        pair: u32,
        told: Told,
        origin: Option<mentorlog_events::event::Origin>,
    ) -> usize {
        let day = self.day(told.occurred_at);
        self.happened(SessionLogged {
            session,
            pair: self.state.pairs[pair].id,
            occurred_at: told.occurred_at,
            day,
            minutes: told.minutes,
            mode: told.mode,
            exchanges: told.exchanges,
            origin,
        })
    }

    fn told(
        &self,
        pair: u32,
        occurred_at: Timestamp,
        minutes: u32,
        mode: Mode,
        exchanges: &[TaughtExchange],
    ) -> Result<Told, Rejection> {
        let minutes = self.length(occurred_at, minutes)?;
        let rows = exchanges.iter().map(|taught| (taught.teacher, taught.skill.clone(), taught.minutes));
        let exchanges = self.exchanges(pair, minutes, exchanges.len(), rows)?;
        Ok(Told { occurred_at, minutes, mode, exchanges })
    }

    /// The session's minutes, possible and over by now.
    pub(super) fn length(&self, occurred_at: Timestamp, minutes: u32) -> Result<u16, Rejection> {
        let minutes = within(minutes, 1, self.program.rules.max_session_minutes, Pointer::to("/minutes"))?;
        self.not_in_the_future(occurred_at, "/occurred_at")?;
        if occurred_at.plus_minutes(i64::from(minutes)) > self.now.plus_minutes(TOLERANCE_MINUTES) {
            return Err(Rejection::InTheFuture { at: Pointer::to("/minutes") });
        }
        Ok(minutes)
    }

    /// Exchanges of the two of the pair, each (teacher, skill) once, together no longer than the session.
    pub(super) fn exchanges(
        &self,
        pair: u32,
        session_minutes: u16,
        count: usize,
        told: impl Iterator<Item = (ParticipantId, Slug, u32)>,
    ) -> Result<Vec<Exchange>, Rejection> {
        counted(count, 1, EXCHANGES_MAX, "/exchanges")?;
        let mut exchanges: Vec<Exchange> = Vec::with_capacity(count);
        let mut sum = 0_u32;
        for (index, (teacher, skill, minutes)) in told.enumerate() {
            let at = |rest| Pointer::into_item("/exchanges", index, rest);
            if self.side_of(pair, teacher) == Side::Neither {
                return Err(Rejection::NotOfThePair { at: at("/teacher") });
            }
            self.skill_allowed(&skill, at("/skill"))?;
            if exchanges.iter().any(|other| other.teacher == teacher && other.skill == skill) {
                return Err(Rejection::RepeatedItem { at: at("") });
            }
            let minutes = within(minutes, 1, self.program.rules.max_session_minutes, at("/minutes"))?;
            sum += u32::from(minutes);
            if sum > u32::from(session_minutes) {
                return Err(Rejection::ExchangesExceedSession { at: at("/minutes") });
            }
            exchanges.push(Exchange { teacher, skill, minutes });
        }
        Ok(exchanges)
    }

    pub(super) fn active_then(&self, pair: u32, instant: Timestamp) -> Result<(), Rejection> {
        let row = &self.state.pairs[pair];
        if row.active_at(instant) { Ok(()) } else { Err(Rejection::PairNotActiveThen { pair: row.id }) }
    }

    fn no_overlap(&self, pair: u32, told: &Told, except: Option<u32>) -> Result<(), Rejection> {
        let until = told.occurred_at.plus_minutes(i64::from(told.minutes));
        match self.state.overlapping(pair, told.occurred_at, until, except) {
            Some(row) => Err(Rejection::SessionOverlaps { session: row.id }),
            None => Ok(()),
        }
    }

    pub(super) fn confirm_session(&mut self, command: &ConfirmSession) -> Result<Subject, Rejection> {
        let (session, pair) = self.own_session(command.session)?;
        let (side, participant) = self.party_of(pair)?;
        let row = &self.state.sessions[session];
        self.session_state(session, &[SessionState::Logged])?;
        self.session_version(session, Some(command.version))?;
        if row.logger == side {
            return Err(Rejection::LoggerCannotConfirm);
        }
        self.happened(SessionConfirmed { session: command.session, version: command.version, participant });
        Ok(Subject::Session(command.session))
    }

    fn session_state(&self, session: u32, allowed: &[SessionState]) -> Result<(), Rejection> {
        let row = &self.state.sessions[session];
        if allowed.contains(&row.state) {
            Ok(())
        } else {
            Err(Rejection::SessionInState { session: row.id, state: row.state })
        }
    }

    fn session_version(&self, session: u32, named: Option<u32>) -> Result<(), Rejection> {
        let row = &self.state.sessions[session];
        match named {
            Some(version) if version != row.revision => {
                Err(Rejection::SessionVersion { session: row.id, version: row.revision })
            }
            Some(_) | None => Ok(()),
        }
    }

    pub(super) fn dispute_session(&mut self, command: &DisputeSession) -> Result<Subject, Rejection> {
        let (session, pair) = self.own_session(command.session)?;
        self.party_or_manager(pair)?;
        self.session_state(session, &[SessionState::Logged, SessionState::Confirmed])?;
        self.session_version(session, command.version)?;
        let version = self.state.sessions[session].revision;
        let reason = self.text_of_pair(pair, command.reason.as_ref(), "/reason")?;
        let disputed =
            self.happened(SessionDisputed { session: command.session, version, participant: self.party });
        self.seal_of_two(disputed, "/reason", reason);
        Ok(Subject::Session(command.session))
    }

    pub(super) fn correct_session(&mut self, command: &CorrectSession) -> Result<Subject, Rejection> {
        let (session, pair) = self.own_session(command.session)?;
        self.neither_erased(pair)?;
        self.party_or_manager(pair)?;
        self.session_state(
            session,
            &[SessionState::Logged, SessionState::Confirmed, SessionState::Disputed],
        )?;
        let told = self.told(pair, command.occurred_at, command.minutes, command.mode, &command.exchanges)?;
        let row = &self.state.sessions[session];
        // An old session can be corrected, but not moved further back than a new one could be logged.
        if self.day(told.occurred_at) < self.day(row.occurred_at) {
            self.not_too_far_back(told.occurred_at)?;
        }
        self.active_then(pair, told.occurred_at)?;
        if !command.confirm_distinct {
            self.no_overlap(pair, &told, Some(session))?;
        }
        let corrected = SessionCorrected {
            session: command.session,
            version: row.revision.saturating_add(1),
            occurred_at: told.occurred_at,
            day: self.day(told.occurred_at),
            minutes: told.minutes,
            mode: told.mode,
            exchanges: told.exchanges,
        };
        let note = self.text_of_pair(pair, command.note.as_ref(), "/note")?;
        let corrected = self.happened(corrected);
        self.seal_of_two(corrected, "/note", note);
        Ok(Subject::Session(command.session))
    }

    pub(super) fn void_session(&mut self, command: &VoidSession) -> Result<Subject, Rejection> {
        let (session, pair) = self.own_session(command.session)?;
        let side = self.party_or_manager(pair)?;
        self.session_state(
            session,
            &[SessionState::Logged, SessionState::Confirmed, SessionState::Disputed],
        )?;
        if side != Side::Neither && side != self.state.sessions[session].logger {
            return Err(Rejection::NotTheLogger);
        }
        self.happened(SessionVoided { session: command.session });
        Ok(Subject::Session(command.session))
    }

    pub(super) fn resolve_dispute(&mut self, command: &ResolveDispute) -> Result<Subject, Rejection> {
        let (session, pair) = self.own_session(command.session)?;
        let side = self.party_or_manager(pair)?;
        self.session_state(session, &[SessionState::Disputed])?;
        let row = &self.state.sessions[session];
        if side != Side::Neither && side != row.disputer {
            return Err(Rejection::NotTheDisputer);
        }
        let version = row.revision;
        self.happened(DisputeResolved { session: command.session, version });
        Ok(Subject::Session(command.session))
    }

    pub(super) fn record_no_show(&mut self, command: &RecordNoShow) -> Result<Subject, Rejection> {
        let pair = self.own_pair(command.pair)?;
        self.neither_erased(pair)?;
        self.party_or_manager(pair)?;
        let no_show = match command.no_show {
            Some(no_show) if self.state.no_shows.find(no_show.as_u128()).is_some() => {
                return Err(Rejection::NoShowExists { no_show });
            }
            Some(no_show) => no_show,
            None => NoShowId(self.ids.next()),
        };
        counted(command.absent.len(), 1, 2, "/absent")?;
        let mut absent = None;
        for (index, &id) in command.absent.iter().enumerate() {
            let at = Pointer::into_item("/absent", index, "");
            let side = match self.side_of(pair, id) {
                Side::A => Absent::A,
                Side::B => Absent::B,
                Side::Neither => return Err(Rejection::NotOfThePair { at }),
            };
            absent = match absent {
                None => Some(side),
                Some(other) if other == side => return Err(Rejection::RepeatedItem { at }),
                Some(_) => Some(Absent::Both),
            };
        }
        let absent = absent.expect("one or two were counted");
        let occurred_at = self.happened_at(Some(command.occurred_at))?;
        self.active_then(pair, occurred_at)?;
        let day = self.day(occurred_at);
        self.happened(NoShowRecorded { no_show, pair: command.pair, absent, occurred_at, day });
        Ok(Subject::NoShow(no_show))
    }

    pub(super) fn rate_exchange(&mut self, command: &RateExchange) -> Result<Subject, Rejection> {
        let rated = self.ratable(command.session, command.teacher, &command.skill, command.rating)?;
        if rated.before.is_some() {
            return Err(Rejection::AlreadyRated { session: command.session });
        }
        let comment = self.text_of_pair(rated.pair, command.comment.as_ref(), "/comment")?;
        let happened = self.happened(ExchangeRated {
            session: command.session,
            teacher: command.teacher,
            skill: command.skill.clone(),
            rating: rated.rating,
            origin: None,
        });
        self.seal_of_two(happened, "/comment", comment);
        Ok(Subject::Session(command.session))
    }

    pub(super) fn revise_rating(&mut self, command: &ReviseRating) -> Result<Subject, Rejection> {
        let rated = self.ratable(command.session, command.teacher, &command.skill, command.rating)?;
        match rated.before {
            None => return Err(Rejection::NotRated { session: command.session }),
            // A comment is something new, whatever it says; and so is that there is none any more.
            Some(before) if before == rated.rating && command.comment.is_none() => {
                if self.state.comment(command.session, command.teacher, &command.skill).is_none() {
                    return Err(Rejection::NothingChanges);
                }
            }
            Some(_) => {}
        }
        let comment = self.text_of_pair(rated.pair, command.comment.as_ref(), "/comment")?;
        let revised = self.happened(RatingRevised {
            session: command.session,
            teacher: command.teacher,
            skill: command.skill.clone(),
            rating: rated.rating,
        });
        self.seal_of_two(revised, "/comment", comment);
        Ok(Subject::Session(command.session))
    }

    /// The exchange can be rated so by the party of the command, now.
    fn ratable(
        &self,
        id: SessionId,
        teacher: ParticipantId,
        skill: &Slug,
        rating: u32,
    ) -> Result<Rated, Rejection> {
        let (session, pair) = self.own_session(id)?;
        self.neither_erased(pair)?;
        let (_, party) = self.party_of(pair)?;
        let row = &self.state.sessions[session];
        let word = self.state.words.find(skill);
        let exchange = match self.side_of(pair, teacher) {
            Side::Neither => None,
            side => word.and_then(|word| row.exchanges.find(side == Side::A, word)),
        };
        let exchange = exchange.ok_or(Rejection::ExchangeNotFound { session: id })?;
        if party == teacher {
            return Err(Rejection::NotTheLearner);
        }
        self.session_state(session, &[SessionState::Logged, SessionState::Confirmed])?;
        let rating = stars(rating, Pointer::to("/rating"))?;
        let days = self.program.rules.rating_window_days;
        if self.today.number() - self.day(row.occurred_at).number() > i32::from(days) {
            return Err(Rejection::RatingWindowClosed { days });
        }
        Ok(Rated { pair, rating, before: (exchange.rating > 0).then_some(exchange.rating) })
    }
}

struct Rated {
    pair: u32,
    rating: u8,
    before: Option<u8>,
}

/// A rating from 1 to 5.
pub(super) fn stars(rating: u32, at: Pointer) -> Result<u8, Rejection> {
    let rating = within(rating, 1, 5, at)?;
    Ok(u8::try_from(rating).expect("1 to 5"))
}
