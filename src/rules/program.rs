//! Rules of the program itself: its policy, its skills, its end.
//! Never opens a program: that is the registry's.

use mentorlog_events::event::{
    Band, EndReason, Invalidation, MeasurePolicy, PolicyChanged, ProgramArchived, ProgramClosed, RulePolicy,
    SkillDefined, SkillRetired,
};

use super::command::{ChangePolicy, DefineSkill, MeasureChanges, RetireSkill, RuleChanges};
use super::rejection::{Pointer, Rejection};
use super::state::ProgramState;
use super::{Case, Subject, counted, within};

/// The generation of somebody whose generation is not known.
pub(super) const UNKNOWN: &str = "unknown";

/// Most bands of a measure policy.
const BANDS_MAX: usize = 32;

impl Case<'_> {
    fn own_program(&self) -> Result<Subject, Rejection> {
        self.unchanged(self.program.version)?;
        self.manager_only()?;
        Ok(Subject::Program(self.program.id))
    }

    pub(super) fn change_policy(&mut self, command: &ChangePolicy) -> Result<Subject, Rejection> {
        let subject = self.own_program()?;
        let rules = match &command.rules {
            Some(changes) => Some(changed_rules(&self.program.rules, changes, &RULES)?),
            None => None,
        };
        let measures = match &command.measures {
            Some(changes) => Some(changed_measures(&self.program.measures, changes, &MEASURES)?),
            None => None,
        };
        if let Some(measures) = &measures {
            self.no_band_lost(&measures.bands)?;
        }
        let rules = rules.filter(|rules| *rules != self.program.rules);
        let measures = measures.filter(|measures| *measures != self.program.measures);
        if rules.is_none() && measures.is_none() {
            return Err(Rejection::NothingChanges);
        }
        self.happened(PolicyChanged { rules, measures });
        Ok(subject)
    }

    fn no_band_lost(&self, bands: &[Band]) -> Result<(), Rejection> {
        for row in self.state.participants.iter() {
            let generation = self.state.words.word(row.generation);
            if generation.as_str() != UNKNOWN && !bands.iter().any(|band| band.name == *generation) {
                return Err(Rejection::BandInUse { participant: row.id });
            }
        }
        Ok(())
    }

    pub(super) fn close_program(&mut self) -> Result<Subject, Rejection> {
        let subject = self.own_program()?;
        self.program_open()?;
        let closed = self.happened(ProgramClosed {});
        self.cascade_everywhere(closed, false)?;
        Ok(subject)
    }

    pub(super) fn archive_program(&mut self) -> Result<Subject, Rejection> {
        let subject = self.own_program()?;
        match self.program.state {
            ProgramState::Closed => {}
            ProgramState::Open => return Err(Rejection::ProgramNotClosed),
            ProgramState::Archived => return Err(Rejection::ProgramArchived),
        }
        let archived = self.happened(ProgramArchived {});
        self.cascade_everywhere(archived, true)?;
        Ok(subject)
    }

    /// Invalidates every proposal, and ends every pair if asked to.
    fn cascade_everywhere(&mut self, because: usize, pairs_too: bool) -> Result<(), Rejection> {
        for pair in 0..self.state.pairs.len() {
            if !self.state.pairs[pair].state.is_running() || pairs_too {
                let (cause, reason) = (Invalidation::ProgramClosed, EndReason::ProgramClosed);
                self.close_pair(pair, because, self.now, cause, reason)?;
            }
        }
        Ok(())
    }

    pub(super) fn define_skill(&mut self, command: &DefineSkill) -> Result<Subject, Rejection> {
        let subject = self.own_program()?;
        let word = self.state.words.find(&command.skill);
        if word.is_some_and(|word| self.program.listed.contains(&word)) {
            return Err(Rejection::SkillExists);
        }
        self.happened(SkillDefined { skill: command.skill.clone() });
        Ok(subject)
    }

    pub(super) fn retire_skill(&mut self, command: &RetireSkill) -> Result<Subject, Rejection> {
        let subject = self.own_program()?;
        let word = self.state.words.find(&command.skill);
        if !word.is_some_and(|word| self.program.listed.contains(&word)) {
            return Err(Rejection::SkillNotFound);
        }
        self.happened(SkillRetired { skill: command.skill.clone() });
        Ok(subject)
    }
}

/// Pointers to the rules in a body.
pub(super) struct RulePointers {
    capacity: &'static str,
    proposal_ttl_days: &'static str,
    term_days: &'static str,
    backdating_days: &'static str,
    max_session_minutes: &'static str,
    rating_window_days: &'static str,
}

/// Pointers to the measure policy in a body.
pub(super) struct MeasurePointers {
    bands: &'static str,
    stall_after_days: &'static str,
    lapse_after_days: &'static str,
    k_anonymity: &'static str,
}

macro_rules! rule_pointers {
    ($prefix:literal) => {
        RulePointers {
            capacity: concat!($prefix, "/rules/capacity"),
            proposal_ttl_days: concat!($prefix, "/rules/proposal_ttl_days"),
            term_days: concat!($prefix, "/rules/term_days"),
            backdating_days: concat!($prefix, "/rules/backdating_days"),
            max_session_minutes: concat!($prefix, "/rules/max_session_minutes"),
            rating_window_days: concat!($prefix, "/rules/rating_window_days"),
        }
    };
}

macro_rules! measure_pointers {
    ($prefix:literal) => {
        MeasurePointers {
            bands: concat!($prefix, "/measures/bands"),
            stall_after_days: concat!($prefix, "/measures/stall_after_days"),
            lapse_after_days: concat!($prefix, "/measures/lapse_after_days"),
            k_anonymity: concat!($prefix, "/measures/k_anonymity"),
        }
    };
}

const RULES: RulePointers = rule_pointers!("");
const MEASURES: MeasurePointers = measure_pointers!("");
/// Where the rules stand in `open-program`.
pub(super) const OPENING_RULES: RulePointers = rule_pointers!("/policy");
/// Where the measure policy stands in `open-program`.
pub(super) const OPENING_MEASURES: MeasurePointers = measure_pointers!("/policy");

/// Greatest capacity, of the policy and of a participant.
pub(super) const CAPACITY_MAX: u16 = 1000;
/// Greatest number of days of any period.
pub(super) const DAYS_MAX: u16 = 3650;
/// Longest session any policy can allow: the search for overlaps looks back one day.
const SESSION_MINUTES_MAX: u16 = 1440;

/// The rules with the changes made.
pub(super) fn changed_rules(
    rules: &RulePolicy,
    changes: &RuleChanges,
    at: &RulePointers,
) -> Result<RulePolicy, Rejection> {
    let number = |change: Option<u32>, current: u16, min: u16, max: u16, field: &'static str| match change {
        Some(number) => within(number, min, max, Pointer::to(field)),
        None => Ok(current),
    };
    Ok(RulePolicy {
        capacity: number(changes.capacity, rules.capacity, 1, CAPACITY_MAX, at.capacity)?,
        proposal_ttl_days: number(
            changes.proposal_ttl_days,
            rules.proposal_ttl_days,
            1,
            365,
            at.proposal_ttl_days,
        )?,
        term_days: number(changes.term_days, rules.term_days, 1, DAYS_MAX, at.term_days)?,
        backdating_days: number(
            changes.backdating_days,
            rules.backdating_days,
            0,
            DAYS_MAX,
            at.backdating_days,
        )?,
        max_session_minutes: number(
            changes.max_session_minutes,
            rules.max_session_minutes,
            1,
            SESSION_MINUTES_MAX,
            at.max_session_minutes,
        )?,
        confirmation: changes.confirmation.unwrap_or(rules.confirmation),
        rating_window_days: number(
            changes.rating_window_days,
            rules.rating_window_days,
            0,
            DAYS_MAX,
            at.rating_window_days,
        )?,
        skills: changes.skills.unwrap_or(rules.skills),
    })
}

/// The measure policy with the changes made.
pub(super) fn changed_measures(
    measures: &MeasurePolicy,
    changes: &MeasureChanges,
    at: &MeasurePointers,
) -> Result<MeasurePolicy, Rejection> {
    let number = |change: Option<u32>, current: u16, max: u16, field: &'static str| match change {
        Some(number) => within(number, 1, max, Pointer::to(field)),
        None => Ok(current),
    };
    let bands = match &changes.bands {
        Some(bands) => {
            ordered(bands, at.bands)?;
            bands.clone()
        }
        None => measures.bands.clone(),
    };
    Ok(MeasurePolicy {
        bands,
        stall_after_days: number(
            changes.stall_after_days,
            measures.stall_after_days,
            DAYS_MAX,
            at.stall_after_days,
        )?,
        lapse_after_days: number(
            changes.lapse_after_days,
            measures.lapse_after_days,
            DAYS_MAX,
            at.lapse_after_days,
        )?,
        k_anonymity: number(changes.k_anonymity, measures.k_anonymity, 1000, at.k_anonymity)?,
    })
}

/// Bands follow each other without overlap, each with a name of its own.
fn ordered(bands: &[Band], field: &'static str) -> Result<(), Rejection> {
    counted(bands.len(), 1, BANDS_MAX, field)?;
    for (index, band) in bands.iter().enumerate() {
        let before = &bands[..index];
        let ordered = band.from <= band.to
            && before.last().is_none_or(|last| last.to < band.from)
            && before.iter().all(|other| other.name != band.name)
            && band.name.as_str() != UNKNOWN;
        if !ordered {
            return Err(Rejection::BandsDisordered { at: Pointer::into_item(field, index, "") });
        }
    }
    Ok(())
}
