//! Rules of what is sealed: which texts are possible, whose they are, and the end of a person's.
//! Never keeps a text: it goes beside the event it belongs to, and only its commitment into the ledger.

use mentorlog_events::entry::Actor;
use mentorlog_events::event::{EndReason, Invalidation, PersonErased, PersonalField, PersonalSet};
use mentorlog_events::id::{ErasureId, ParticipantId};

use super::command::{ErasePerson, Personal, SetPersonal};
use super::rejection::{Pointer, Rejection};
use super::{Case, SealedText, Sealing, Subject, within};

/// Longest text: a note, a comment, a reason, the text of a goal; in characters.
const TEXT_MAX: usize = 4000;

/// Longest name, in characters.
const NAME_MAX: usize = 200;

/// Longest e-mail address, in characters: the longest path RFC 5321 allows, without its angle brackets.
const EMAIL_MAX: usize = 254;

/// Longest number in a personnel system, in characters.
const HR_ID_MAX: usize = 64;

/// Nobody who takes part was born before.
const BIRTH_YEAR_MIN: u16 = 1900;

impl Case<'_> {
    pub(super) fn set_personal(&mut self, command: &SetPersonal) -> Result<Subject, Rejection> {
        let id = command.participant;
        let participant = self.own_participant(id)?;
        let mut values: Vec<(PersonalField, String)> = Vec::new();
        for field in PersonalField::ALL {
            let value = match field {
                PersonalField::Name => line(command.name.as_ref(), "/name", NAME_MAX)?,
                PersonalField::Email => email(command.email.as_ref(), "/email")?,
                PersonalField::HrId => line(command.hr_id.as_ref(), "/hr_id", HR_ID_MAX)?,
                PersonalField::BirthYear => self.birth_year(command.birth_year.as_ref())?,
            };
            values.extend(value.map(|value| (*field, value)));
        }
        let known = self.state.participants[participant].personal.as_deref();
        let mut removed = Vec::new();
        for (index, field) in command.remove.iter().enumerate() {
            let at = Pointer::into_item("/remove", index, "");
            if command.remove[..index].contains(field) {
                return Err(Rejection::RepeatedItem { at });
            }
            if values.iter().any(|(set, _)| set == field) {
                return Err(Rejection::SetAndRemoved { at });
            }
            if known.is_some_and(|known| known.of(*field).is_some()) {
                removed.push(*field);
            }
        }
        removed.sort_unstable();
        // Whether a value is another one than before nobody can know here: only its commitment is in the ledger.
        if values.is_empty() && removed.is_empty() {
            return Err(Rejection::NothingChanges);
        }
        let fields = values.iter().map(|(field, _)| *field).collect();
        let set = self.happened(PersonalSet { participant: id, fields, removed });
        for (field, value) in values {
            self.seal(set, field.pointer(), &[id], Personal(value));
        }
        Ok(Subject::Participant(id))
    }

    fn birth_year(&self, year: Option<&Personal<u32>>) -> Result<Option<String>, Rejection> {
        let Some(Personal(year)) = year else { return Ok(None) };
        let (this_year, _, _) = self.today.civil();
        let this_year = u16::try_from(this_year).unwrap_or(u16::MAX);
        let year = within(*year, BIRTH_YEAR_MIN, this_year, Pointer::to("/birth_year"))?;
        Ok(Some(year.to_string()))
    }

    pub(super) fn erase_person(&mut self, command: &ErasePerson) -> Result<Subject, Rejection> {
        let id = command.participant;
        let (participant, erasure) = match (self.actor, self.sealing) {
            (_, Sealing::Off) => return Err(Rejection::SealingUnavailable),
            // What was asked for in one program is done in the person's others by the software.
            (Actor::System, Sealing::Erasing(erasure)) => (self.participant(id)?, erasure),
            (Actor::Participant(_) | Actor::Manager, Sealing::Erasing(erasure)) => {
                (self.own_participant(id)?, erasure)
            }
            (_, Sealing::On) => (self.own_participant(id)?, ErasureId(self.ids.next())),
        };
        let erased = self.happened(PersonErased { participant: id, erasure });
        let (cause, reason) = (Invalidation::ParticipantErased, EndReason::DataErasure);
        self.cascade(participant, erased, self.now, cause, reason)?;
        Ok(Subject::Participant(id))
    }

    /// Puts a text beside an event of this decision.
    pub(super) fn seal(
        &mut self,
        event: usize,
        at: &'static str,
        about: &[ParticipantId],
        value: Personal<String>,
    ) {
        self.decided[event].sealed.push(SealedText { at, about: about.to_vec(), value });
    }

    /// A text about the two of a pair: possible, and neither of them erased. `None`: there is none.
    pub(super) fn text_of_pair(
        &self,
        pair: u32,
        text: Option<&Personal<String>>,
        field: &'static str,
    ) -> Result<Option<TextOfTwo>, Rejection> {
        if text.is_none() {
            return Ok(None);
        }
        let about = self.neither_erased(pair)?;
        Ok(text_of(text, field)?.map(|text| TextOfTwo { about, text }))
    }

    /// Puts a text about two beside an event of this decision.
    pub(super) fn seal_of_two(&mut self, event: usize, at: &'static str, text: Option<TextOfTwo>) {
        if let Some(TextOfTwo { about, text }) = text {
            self.seal(event, at, &about, text);
        }
    }
}

/// A text about two participants.
pub(super) struct TextOfTwo {
    pub(super) about: [ParticipantId; 2],
    pub(super) text: Personal<String>,
}

/// A text of some lines.
pub(super) fn text_of(
    text: Option<&Personal<String>>,
    field: &'static str,
) -> Result<Option<Personal<String>>, Rejection> {
    let Some(text) = text else { return Ok(None) };
    let at = Pointer::to(field);
    measured(&text.0, TEXT_MAX, at)?;
    if text.0.chars().any(|c| c.is_control() && c != '\n' && c != '\t') {
        return Err(Rejection::ControlCharacter { at });
    }
    Ok(Some(text.clone()))
}

/// A text of one line.
fn line(
    text: Option<&Personal<String>>,
    field: &'static str,
    max: usize,
) -> Result<Option<String>, Rejection> {
    let Some(Personal(text)) = text else { return Ok(None) };
    let at = Pointer::to(field);
    measured(text, max, at)?;
    if text.chars().any(char::is_control) {
        return Err(Rejection::ControlCharacter { at });
    }
    Ok(Some(text.clone()))
}

fn email(text: Option<&Personal<String>>, field: &'static str) -> Result<Option<String>, Rejection> {
    let Some(text) = line(text, field, EMAIL_MAX)? else { return Ok(None) };
    let proper = text
        .split_once('@')
        .is_some_and(|(whom, place)| !whom.is_empty() && !place.is_empty() && !place.contains('@'))
        && !text.contains(char::is_whitespace);
    if proper { Ok(Some(text)) } else { Err(Rejection::NotAnEmail { at: Pointer::to(field) }) }
}

fn measured(text: &str, max: usize, at: Pointer) -> Result<(), Rejection> {
    // No more is counted than has to be: a text may be as long as a body.
    let count = text.chars().take(max + 1).count();
    if (1..=max).contains(&count) {
        Ok(())
    } else {
        Err(Rejection::TextLength { at, min: 1, max: u32::try_from(max).unwrap_or(u32::MAX) })
    }
}
