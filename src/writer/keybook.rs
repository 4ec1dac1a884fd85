//! Which keys have signed for which ledger, and from when to when: what the registry's entries say, and no more.
//! Never holds a secret.

use std::collections::BTreeMap;

use mentorlog_events::entry::Entry;
use mentorlog_events::event::registry::RegistryEvent;
use mentorlog_events::id::{B64, LedgerId};
use mentorlog_events::time::Timestamp;

use crate::ledger::note::{KeyKind, KeyName, VerifierKey};

/// For so many days after a rotation the old key's line stands under new checkpoints too: who still pins the old key
/// has that long to take the new one from the registry.
pub const GRACE_DAYS: i64 = 30;

/// The keys of every ledger.
#[derive(Debug, Clone, Default)]
pub struct Keybook {
    ledgers: BTreeMap<LedgerId, LedgerKeys>,
}

/// The keys of one ledger.
#[derive(Debug, Clone)]
pub struct LedgerKeys {
    /// Its origin, which is also the name of its keys.
    pub origin: KeyName,
    /// Its keys, oldest first; at least one.
    pub keys: Vec<LedgerKey>,
}

/// One key of a ledger.
#[derive(Debug, Clone)]
pub struct LedgerKey {
    /// Its number; the first is 1.
    pub number: u32,
    /// Its public half.
    pub vkey: VerifierKey,
    /// When the registry recorded it: it signs from then on.
    pub since: Timestamp,
}

impl LedgerKeys {
    /// The keys that sign a checkpoint at this time: the newest one, and the one before it while that has its grace.
    pub fn signing(&self, now: Timestamp) -> impl Iterator<Item = &LedgerKey> {
        let signs =
            move |n: &usize| self.until(*n).is_none_or(|until| *n + 2 == self.keys.len() && now < until);
        (0..self.keys.len()).rev().filter(signs).map(|n| &self.keys[n])
    }

    /// When the `n`-th key signs no more; `None` of the newest.
    pub fn until(&self, n: usize) -> Option<Timestamp> {
        self.keys.get(n + 1).map(|next| next.since.plus_days(GRACE_DAYS))
    }
}

/// The registry records something that is no key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the registry records a key or an origin that cannot be one")]
pub struct NoKey;

impl Keybook {
    /// The keys of a ledger; `None` before its opening is complete.
    pub fn of(&self, ledger: LedgerId) -> Option<&LedgerKeys> {
        self.ledgers.get(&ledger)
    }

    /// Every ledger's keys, in the order of the ledgers' ids.
    pub fn ledgers(&self) -> impl Iterator<Item = (LedgerId, &LedgerKeys)> {
        self.ledgers.iter().map(|(ledger, keys)| (*ledger, keys))
    }

    /// Takes an entry of the registry into account. Returns whose keys it changed, if any.
    pub fn apply(&mut self, entry: &Entry<RegistryEvent>) -> Result<Option<LedgerId>, NoKey> {
        let since = entry.recorded_at;
        match &entry.event {
            RegistryEvent::RegistryOpened(e) => {
                self.add(LedgerId::REGISTRY, &e.origin, e.key_number, &e.public_key, since).map(Some)
            }
            RegistryEvent::LedgerOpened(e) => {
                self.add(e.program.into(), &e.origin, e.key_number, &e.public_key, since).map(Some)
            }
            RegistryEvent::KeyRotated(e) => {
                let of = self.ledgers.iter().find(|(_, keys)| keys.origin.as_str() == e.origin);
                let ledger = *of.ok_or(NoKey)?.0;
                self.add(ledger, &e.origin, e.key_number, &e.public_key, since).map(Some)
            }
            RegistryEvent::ProgramOpening(_)
            | RegistryEvent::OpeningAbandoned(_)
            | RegistryEvent::LedgerHead(_)
            | RegistryEvent::ReportPublishing(_)
            | RegistryEvent::ReportPublished(_)
            | RegistryEvent::TokenIssued(_)
            | RegistryEvent::TokenRevoked(_)
            | RegistryEvent::PeopleJoined(_)
            | RegistryEvent::PeopleParted(_)
            | RegistryEvent::PersonalRead(_)
            | RegistryEvent::ErasureRequested(_)
            | RegistryEvent::ErasureCompleted(_) => Ok(None),
        }
    }

    fn add(
        &mut self,
        ledger: LedgerId,
        origin: &str,
        number: u32,
        public_key: &B64<32>,
        since: Timestamp,
    ) -> Result<LedgerId, NoKey> {
        let origin: KeyName = origin.parse().map_err(|_| NoKey)?;
        let vkey = VerifierKey::new(origin.clone(), KeyKind::Ed25519, &public_key.0).ok_or(NoKey)?;
        let keys = self.ledgers.entry(ledger).or_insert(LedgerKeys { origin, keys: Vec::new() });
        keys.keys.push(LedgerKey { number, vkey, since });
        Ok(ledger)
    }
}
