//! Every shape ever written, and the frozen structs of the old ones with their upcasts.
//! Never changes what an old shape means: a change of meaning is a new version.
//!
//! To change a fact: copy its struct here as `<Fact>V<n>` (frozen from then on), write `From<FactV<n>> for Fact`,
//! raise the version in `event`, name the old one there under `older`, and add the sample of the new shape.

use crate::entry::Facts;
use crate::event::Event;
use crate::event::registry::RegistryEvent;

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
