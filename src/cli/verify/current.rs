//! A registry that is held to be the current one: who it says was erased after a backup was made.
//! Never believes one that the backup's own registry does not vouch for, or that does not continue it.

use std::collections::BTreeSet;
use std::fmt::Display;

use mentorlog_events::entry::Entry;
use mentorlog_events::event::registry::RegistryEvent;
use mentorlog_events::id::{ErasureId, LedgerId};
use mentorlog_events::time::Timestamp;

use super::examine::{self, Asked, OwnKey};
use super::is_registrys;
use super::report::{Code, Kind, Verified};
use super::told::Told;
use crate::cli::Failure;
use crate::cli::place::Place;
use crate::clock::{Machine, Source as _};
use crate::ledger::checkpoint::Checkpoint;

/// What a verified registry says of erasures.
#[derive(Debug)]
pub struct Current {
    /// Number of its entries.
    pub size: u64,
    /// When its last entry was recorded.
    pub recorded_at: Option<Timestamp>,
    /// Every erasure that was requested.
    pub erasures: BTreeSet<ErasureId>,
    /// Whether a token was ever issued.
    pub has_tokens: bool,
}

/// Takes the erasures of a registry's entry.
pub fn erasure_in(event: &RegistryEvent) -> Option<ErasureId> {
    match event {
        RegistryEvent::ErasureRequested(requested) => Some(requested.erasure),
        RegistryEvent::ErasureCompleted(completed) => Some(completed.erasure),
        RegistryEvent::RegistryOpened(_)
        | RegistryEvent::ProgramOpening(_)
        | RegistryEvent::LedgerOpened(_)
        | RegistryEvent::OpeningAbandoned(_)
        | RegistryEvent::LedgerHead(_)
        | RegistryEvent::KeyRotated(_)
        | RegistryEvent::ReportPublishing(_)
        | RegistryEvent::ReportPublished(_)
        | RegistryEvent::TokenIssued(_)
        | RegistryEvent::TokenRevoked(_)
        | RegistryEvent::PeopleJoined(_)
        | RegistryEvent::PeopleParted(_)
        | RegistryEvent::PersonalRead(_) => None,
    }
}

/// Verifies a registry that lies in `place` or, as in a bundle, a backup, a data directory or at a server, below it:
/// signed by a key that `known` knows or that one of those was rotated to, every entry hashed, and `head`, the
/// backup's, a prefix of it. The error has the exit code of what is wrong.
pub fn current(place: &Place, known: &Told, head: &Checkpoint) -> Result<Current, Failure> {
    let below = ["", "registry", "log/registry", "mirror/log/registry"];
    let places = below.map(|path| {
        path.split('/').filter(|part| !part.is_empty()).fold(place.clone(), |at, part| at.join(part))
    });
    let unreadable =
        |text: &dyn Display| Failure::coded(Code::Unreadable.exit(), format_args!("{place}: {text}"));
    // Who is not let in is told so, not that there is nothing.
    let mut closed = None;
    let mut found = None;
    for place in places {
        let mut verified = Verified::of(&place, Kind::Registry);
        match examine::fetch(&place, &mut verified) {
            Ok(Some(fetched)) if is_registrys(&fetched) => {
                found = Some((place, verified, fetched));
                break;
            }
            Ok(_) => {}
            Err(()) => closed = closed.or_else(|| verified.faults.pop()),
        }
    }
    let Some((place, mut verified, fetched)) = found else {
        return Err(match closed {
            Some(fault) => unreadable(&format_args!(
                "its registry cannot be read: {}; a server that asks for a token is shown one with --token-file",
                fault.text
            )),
            None => unreadable(&"there is no registry"),
        });
    };
    let (mut told, mut erasures, mut has_tokens) = (Told::default(), BTreeSet::new(), false);
    let fold = |entry: &Entry<RegistryEvent>| {
        erasures.extend(erasure_in(&entry.event));
        has_tokens |= matches!(entry.event, RegistryEvent::TokenIssued(_));
        told.take(entry)
    };
    let pass = examine::entries::<RegistryEvent>(&place, &fetched, LedgerId::REGISTRY, fold, &mut verified);
    let asked = Asked {
        keys: known.keys(head.origin.as_str()).iter().map(|key| key.public.clone()).collect(),
        policy: None,
        max_age: None,
        now: Machine::default().wall(),
        own: OwnKey::Refused,
    };
    let is_signed =
        examine::signature(&fetched, &asked, Some((&told, false)), OwnKey::Refused, &mut verified);
    if let Some(fault) = verified.faults.first().filter(|_| !is_signed || !verified.faults.is_empty()) {
        return Err(Failure::coded(fault.exit_code, format_args!("the registry in {place}: {}", fault.text)));
    }
    let size = fetched.checkpoint.size;
    if size < head.size {
        return Err(Failure::coded(
            Code::Rollback.exit(),
            format_args!(
                "the registry in {place} has {size} entries and the backup's has {}: it is older than the backup, and \
                 cannot say who was erased since",
                head.size
            ),
        ));
    }
    if examine::root_at(&fetched, &pass, head.size) != Some(head.root) && head.size > 0 {
        return Err(Failure::coded(
            Code::Fork.exit(),
            format_args!(
                "the registry in {place} does not continue the {} entries of the backup's: there are two histories",
                head.size
            ),
        ));
    }
    Ok(Current { size, recorded_at: pass.recorded_at.last().copied(), erasures, has_tokens })
}
