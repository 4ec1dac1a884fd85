//! Every shape ever written, and the frozen structs of the old ones with their upcasts.
//! Never changes what an old shape means: a change of meaning is a new version.
//!
//! To change a fact: copy its struct here as `<Fact>V<n>` (frozen from then on), write `From<FactV<n>> for Fact`,
//! raise the version in `event`, name the old one there under `older`, and add the sample of the new shape.

use serde::Deserialize;

use crate::entry::Facts;
use crate::event::registry::{PersonalRead, RegistryEvent};
use crate::event::{Event, PersonalField, PersonalSet};
use crate::id::{ParticipantId, ProgramId, ReadId};

/// A type of fact at one version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Shape {
    /// The type, e.g. `session-logged`.
    pub name: &'static str,
    /// From 1.
    pub version: u32,
}

/// Every shape ever written, in a program's ledger or in the registry.
pub fn shapes() -> impl Iterator<Item = Shape> {
    Event::SHAPES.iter().chain(RegistryEvent::SHAPES).copied()
}

/// `personal-set` before fields could be removed.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PersonalSetV1 {
    participant: ParticipantId,
    fields: Vec<PersonalField>,
}

impl From<PersonalSetV1> for PersonalSet {
    fn from(old: PersonalSetV1) -> Self {
        Self { participant: old.participant, fields: old.fields, removed: Vec::new() }
    }
}

/// `personal-read` while only a participant's own fields could be read.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PersonalReadV1 {
    read: ReadId,
    program: ProgramId,
    fields: Vec<PersonalField>,
}

impl From<PersonalReadV1> for PersonalRead {
    fn from(old: PersonalReadV1) -> Self {
        Self {
            read: old.read,
            program: old.program,
            fields: old.fields.into_iter().map(Into::into).collect(),
        }
    }
}
