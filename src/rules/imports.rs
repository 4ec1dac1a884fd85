//! Rules of what is taken over from elsewhere: the manager's word for what other systems recorded.
//! Never waives more than capacity, acceptance, back-dating, rating window, overlap and order of activation.

use mentorlog_events::event::{Arm, ExchangeRated, Mode, Origin, PairImported, ParticipantEnrolled};
use mentorlog_events::id::{ParticipantId, Slug};

use super::command::{ImportPair, ImportParticipant, ImportSession, PersonRef};
use super::participants::capacity;
use super::rejection::{Pointer, Rejection};
use super::sessions::{Told, stars};
use super::state::PairState;
use super::{Case, Subject, UNSPECIFIED};

impl Case<'_> {
    pub(super) fn import_participant(&mut self, command: &ImportParticipant) -> Result<Subject, Rejection> {
        self.unchanged(self.program.version)?;
        self.manager_only()?;
        let id = resolved(&command.participant, Pointer::to("/participant"))?;
        self.new_participant(id)?;
        let enrolled = ParticipantEnrolled {
            participant: id,
            arm: command.arm.unwrap_or(Arm::Program),
            generation: self.generation(command.generation.as_ref())?,
            offered: self.skill_list(&command.offered, "/offered")?,
            sought: self.skill_list(&command.sought, "/sought")?,
            unit: command.unit.clone(),
            capacity: capacity(command.capacity)?,
            origin: Some(Origin::Imported),
        };
        self.happened(enrolled);
        Ok(Subject::Participant(id))
    }

    pub(super) fn import_pair(&mut self, command: &ImportPair) -> Result<Subject, Rejection> {
        self.unchanged(self.program.version)?;
        self.manager_only()?;
        let (one, other) =
            (resolved(&command.a, Pointer::to("/a"))?, resolved(&command.b, Pointer::to("/b"))?);
        let (a, b) = self.two(one, other, Pointer::to("/b"))?;
        let pair = self.new_pair(command.pair)?;
        self.program_open()?;
        self.can_be_paired(a, b)?;
        self.not_in_the_future(command.started_at, "/started_at")?;
        let started_day = self.day(command.started_at);
        self.happened(PairImported {
            pair,
            a: one.min(other),
            b: one.max(other),
            started_at: command.started_at,
            started_day,
            origin: Origin::Imported,
        });
        Ok(Subject::Pair(pair))
    }

    pub(super) fn import_session(&mut self, command: &ImportSession) -> Result<Subject, Rejection> {
        let pair = match (&command.pair, &command.between) {
            (Some(pair), None) => {
                let pair = self.pair(*pair)?;
                self.neither_erased(pair)?;
                pair
            }
            (None, Some([one, other])) => {
                let one = resolved(one, Pointer::into_item("/between", 0, ""))?;
                let other = resolved(other, Pointer::into_item("/between", 1, ""))?;
                let (a, b) = self.two(one, other, Pointer::into_item("/between", 1, ""))?;
                self.state.pair_of(a, b).ok_or(Rejection::NoPairBetween)?
            }
            (Some(_), Some(_)) | (None, None) => {
                return Err(Rejection::PairOrBetween { at: Pointer::to("/between") });
            }
        };
        let row = &self.state.pairs[pair];
        self.unchanged(row.version)?;
        self.manager_only()?;
        let session = self.new_session(command.session)?;
        self.pair_state(pair, &[PairState::Active, PairState::Paused, PairState::Ended])?;
        let minutes = self.length(command.occurred_at, command.minutes)?;
        // A session before the pair began moves its beginning back; a pause and the end hold.
        if row.started_at.is_some_and(|start| start <= command.occurred_at) {
            self.active_then(pair, command.occurred_at)?;
        }
        let unspecified: Slug = UNSPECIFIED.parse().expect("a slug");
        let mut told = Vec::with_capacity(command.exchanges.len());
        for (index, exchange) in command.exchanges.iter().enumerate() {
            let teacher = resolved(&exchange.teacher, Pointer::into_item("/exchanges", index, "/teacher"))?;
            let skill = exchange.skill.clone().unwrap_or_else(|| unspecified.clone());
            told.push((teacher, skill, exchange.minutes));
        }
        let exchanges = self.exchanges(pair, minutes, told.len(), told.into_iter())?;
        let mut ratings = Vec::new();
        for (index, (exchange, taught)) in command.exchanges.iter().zip(&exchanges).enumerate() {
            if let Some(rating) = exchange.rating {
                ratings.push(ExchangeRated {
                    session,
                    teacher: taught.teacher,
                    skill: taught.skill.clone(),
                    rating: stars(rating, Pointer::into_item("/exchanges", index, "/rating"))?,
                    origin: Some(Origin::Imported),
                });
            }
        }
        let told = Told {
            occurred_at: command.occurred_at,
            minutes,
            mode: command.mode.unwrap_or(Mode::Unspecified),
            exchanges,
        };
        let logged = self.logged(session, pair, told, Some(Origin::Imported));
        for rated in ratings {
            self.followed(logged, rated);
        }
        Ok(Subject::Session(session))
    }
}

fn resolved(person: &PersonRef, at: Pointer) -> Result<ParticipantId, Rejection> {
    person.id().ok_or(Rejection::UnresolvedLabel { at })
}
