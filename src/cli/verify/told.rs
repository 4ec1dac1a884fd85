//! What a registry says of the ledgers of its installation: which there are, with which keys, and how far they had
//! grown.
//! Never decides whether the registry is to be believed.

use std::collections::BTreeMap;

use mentorlog_events::entry::Entry;
use mentorlog_events::event::registry::RegistryEvent;
use mentorlog_events::id::{ProgramId, Slug};
use mentorlog_events::record::Hash;
use mentorlog_events::time::Timestamp;

use crate::ledger::note::{KeyKind, KeyName, VerifierKey};
use crate::rules::registry::RegistryState;
use crate::writer::reports::Recorded;

/// A key of a ledger, as the registry recorded it.
#[derive(Debug, Clone)]
pub struct Key {
    /// The registry's entry.
    pub seq: u64,
    /// The key itself.
    pub public: VerifierKey,
    /// Which key of the ledger it is; the first is 1.
    pub number: u32,
    /// The signature of the key before it, when it took that one's place.
    pub signature: Option<[u8; 64]>,
}

/// How far a ledger had grown.
#[derive(Debug, Clone, Copy)]
pub struct Head {
    /// The registry's entry.
    pub seq: u64,
    /// When the registry recorded it.
    pub recorded_at: Timestamp,
    /// Number of entries.
    pub size: u64,
    /// Root at that size.
    pub root: Hash,
}

/// What a registry says.
#[derive(Debug, Default)]
pub struct Told {
    state: RegistryState,
    /// The registry's own origin; `None` of an empty one.
    pub origin: Option<String>,
    /// By origin, in the order in which they were recorded.
    keys: BTreeMap<String, Vec<Key>>,
    /// By origin, in the order in which they were recorded.
    heads: BTreeMap<String, Vec<Head>>,
    origins: BTreeMap<ProgramId, String>,
    /// The reports that were published.
    pub reports: Recorded,
}

impl Told {
    /// Takes the registry's next entry into account; the error says why it cannot be the next one.
    pub fn take(&mut self, entry: &Entry<RegistryEvent>) -> Result<(), String> {
        self.state.apply(entry).map_err(|error| error.to_string())?;
        self.reports.apply(entry);
        let seq = entry.seq;
        match &entry.event {
            RegistryEvent::RegistryOpened(opened) => {
                self.origin = Some(opened.origin.clone());
                self.key(seq, &opened.origin, opened.key_number, &opened.public_key.0, None)?;
            }
            RegistryEvent::LedgerOpened(opened) => {
                self.origins.insert(opened.program, opened.origin.clone());
                self.key(seq, &opened.origin, opened.key_number, &opened.public_key.0, None)?;
            }
            RegistryEvent::KeyRotated(rotated) => {
                let signature = Some(rotated.signature.0);
                self.key(seq, &rotated.origin, rotated.key_number, &rotated.public_key.0, signature)?;
            }
            RegistryEvent::LedgerHead(head) => {
                let (size, root, recorded_at) = (head.size, head.root.0, entry.recorded_at);
                let heads = self.heads.entry(head.origin.clone()).or_default();
                heads.push(Head { seq, recorded_at, size, root });
            }
            // What these say concerns no ledger's keys or size.
            RegistryEvent::ProgramOpening(_)
            | RegistryEvent::OpeningAbandoned(_)
            | RegistryEvent::ReportPublishing(_)
            | RegistryEvent::ReportPublished(_)
            | RegistryEvent::TokenIssued(_)
            | RegistryEvent::TokenRevoked(_)
            | RegistryEvent::PeopleJoined(_)
            | RegistryEvent::PeopleParted(_)
            | RegistryEvent::PersonalRead(_)
            | RegistryEvent::ErasureRequested(_)
            | RegistryEvent::ErasureCompleted(_) => {}
        }
        Ok(())
    }

    fn key(
        &mut self,
        seq: u64,
        origin: &str,
        number: u32,
        public_key: &[u8; 32],
        signature: Option<[u8; 64]>,
    ) -> Result<(), String> {
        let name: KeyName = origin.parse().map_err(|_| format!("`{origin}` cannot be the name of a key"))?;
        let public = VerifierKey::new(name, KeyKind::Ed25519, public_key);
        let public = public.ok_or_else(|| format!("the public key of {origin} is no Ed25519 key"))?;
        self.keys.entry(origin.to_owned()).or_default().push(Key { seq, public, number, signature });
        Ok(())
    }

    /// The keys of a ledger, the first one first.
    pub fn keys(&self, origin: &str) -> &[Key] {
        self.keys.get(origin).map_or(&[], Vec::as_slice)
    }

    /// How far a ledger had grown, in the order in which that was recorded.
    pub fn heads(&self, origin: &str) -> &[Head] {
        self.heads.get(origin).map_or(&[], Vec::as_slice)
    }

    /// Every program whose ledger was opened, in the order of their ids.
    pub fn programs(&self) -> impl Iterator<Item = (ProgramId, &Slug)> {
        self.state.programs()
    }

    /// The program with this slug.
    pub fn program(&self, slug: &Slug) -> Option<ProgramId> {
        self.state.program(slug.as_str())
    }

    /// The slug of a program whose ledger was opened.
    pub fn slug(&self, program: ProgramId) -> Option<&Slug> {
        self.state.slug(program)
    }

    /// The origin of a program's ledger.
    pub fn origin_of(&self, program: ProgramId) -> Option<&str> {
        self.origins.get(&program).map(String::as_str)
    }
}
