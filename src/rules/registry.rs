//! Rules of the registry: which programs there are, and which are only half opened.
//! Never says what happens inside a program.
//!
//! Opening a program spans two ledgers, so it is an intent (`program-opening` in the registry), an effect (entry 0
//! of the program's ledger) and a completion (`ledger-opened` in the registry). Start-up takes each unfinished one
//! up: completed when the program's ledger has its entry 0, abandoned when it has none.
//!
//! So does erasing a person: `erasure-requested`, then their keys are gone and each ledger of theirs says so, then
//! `erasure-completed`. An erasure is never abandoned.

use std::collections::{BTreeMap, HashMap};

use mentorlog_events::entry::{Actor, CommandStamp, ENVELOPE, Entry, Principal};
use mentorlog_events::event::registry::{LedgerOpened, OpeningAbandoned, ProgramOpening, RegistryEvent};
use mentorlog_events::event::{MeasurePolicy, ProgramOpened, RulePolicy};
use mentorlog_events::id::{B64, ErasureId, InstallationId, LedgerId, ProgramId, ReportId, Slug, TokenId};
use mentorlog_events::time::Timestamp;

use super::Context;
use super::command::OpenProgram;
use super::program::{OPENING_MEASURES, OPENING_RULES, changed_measures, changed_rules};
use super::rejection::{Pointer, Rejection};
use super::tokens::Tokens;

/// Generation of a ledger that was never restored as another one.
const FIRST_GENERATION: u32 = 1;

/// Where a program's slug stands in a path, this names the registry.
const RESERVED_SLUG: &str = "registry";

/// Longest name of a program, in characters.
const NAME_MAX: usize = 80;

/// What the rules have to know of the installation.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RegistryState {
    size: u64,
    installation: Option<InstallationId>,
    programs: BTreeMap<ProgramId, Program>,
    /// Slugs that are taken, also by programs half opened.
    slugs: HashMap<Slug, ProgramId>,
    reports: BTreeMap<ReportId, Report>,
    erasures: BTreeMap<ErasureId, Erasure>,
    tokens: Tokens,
    registry_origin: String,
    /// What is recorded of each ledger, the registry's own included, by its origin.
    ledgers: HashMap<String, Recorded>,
}

/// What the registry says of a ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Recorded {
    key_number: u32,
    /// Size of the newest `ledger-head`, and when it was recorded.
    head: Option<(u64, Timestamp)>,
}

/// An erasure that was requested.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Erasure {
    /// Whether every ledger it concerned says so.
    pub completed: bool,
    /// The command that asked for it. Its key is that of the program in which it was asked for.
    pub command: CommandStamp,
    /// Through which service.
    pub principal: Principal,
}

/// A report that is published, or is being so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// Origin of the ledger it is about.
    pub origin: String,
    /// Size of the ledger it rests on.
    pub size: u64,
    /// SHA-256 of its signed text; `None` while it is not published.
    pub digest: Option<B64<32>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Program {
    slug: Slug,
    origin: String,
    progress: Progress,
}

/// How far the opening of a program came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Progress {
    Begun,
    Opened,
    Abandoned,
}

/// The entry refers to something that is not there, or is not the next: the registry's history is not whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadRegistryReference {
    /// The entry is not the next one.
    #[error("entry {found} where entry {expected} should be")]
    Gap {
        /// The next position.
        expected: u64,
        /// The entry's.
        found: u64,
    },
    /// The registry does not begin with its opening.
    #[error("the registry does not begin with `registry-opened`")]
    NotOpened,
    /// The registry is opened twice.
    #[error("`registry-opened` for the second time")]
    OpenedTwice,
    /// The opening of a program begins twice.
    #[error("the opening of program {0} begins for the second time")]
    Twice(ProgramId),
    /// A program's opening ends that never began, or ends twice.
    #[error("the opening of program {0} ends and was not under way")]
    NotBegun(ProgramId),
    /// The publishing of a report begins twice.
    #[error("the publishing of report {0} begins for the second time")]
    ReportTwice(ReportId),
    /// A report was published that was not being so, or was already.
    #[error("report {0} is published and its publishing was not under way")]
    ReportNotBegun(ReportId),
    /// An erasure is requested twice.
    #[error("erasure {0} is requested for the second time")]
    ErasureTwice(ErasureId),
    /// An erasure is completed that was not under way.
    #[error("erasure {0} is completed and was not under way")]
    ErasureNotBegun(ErasureId),
    /// A token is issued twice.
    #[error("token {0} is issued for the second time")]
    TokenTwice(TokenId),
    /// A token is revoked that was never issued.
    #[error("token {0} is revoked and was never issued")]
    TokenNotIssued(TokenId),
    /// A token stands for something that is no principal.
    #[error("a token is issued for something that is no principal")]
    NoPrincipal,
    /// A head, a key or a report is that of a ledger the registry does not know.
    #[error("it is about a ledger that was never opened")]
    UnknownOrigin,
    /// A key has not the number after the last one's.
    #[error("key {found} of a ledger whose next key is {expected}")]
    KeyNumber {
        /// The next number.
        expected: u32,
        /// The entry's.
        found: u32,
    },
}

/// What the old key of a ledger signs (Ed25519, RFC 8032) when it gives way to a new one: the `signature` of
/// `key-rotated`. Five lines, each ended by a newline, the last one included:
/// ```text
/// mentorlog/key-rotation/v1
/// <origin>
/// <number of the old key>
/// <number of the new key, one more>
/// <the new Ed25519 public key, standard base64>
/// ```
pub fn rotation_statement(origin: &str, key_number: u32, public_key: &B64<32>) -> String {
    let old = key_number.saturating_sub(1);
    format!("mentorlog/key-rotation/v1\n{origin}\n{old}\n{key_number}\n{public_key}\n")
}

/// What a decision to open a program leads to, in this order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opening {
    /// The program.
    pub program: ProgramId,
    /// The intent, for the registry.
    pub intent: ProgramOpening,
    /// Entry 0, for the program's own ledger.
    pub first: ProgramOpened,
}

impl Opening {
    /// The completion, for the registry.
    pub fn completed(&self, key_number: u32, public_key: B64<32>) -> LedgerOpened {
        LedgerOpened { program: self.program, origin: self.intent.origin.clone(), key_number, public_key }
    }
}

/// A program whose opening began and was neither completed nor abandoned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unfinished<'a> {
    /// The program.
    pub program: ProgramId,
    /// Its slug.
    pub slug: &'a Slug,
    /// Its ledger's origin.
    pub origin: &'a str,
}

impl Unfinished<'_> {
    /// The completion, when the program's ledger has its entry 0.
    pub fn complete(&self, key_number: u32, public_key: B64<32>) -> LedgerOpened {
        LedgerOpened { program: self.program, origin: self.origin.to_owned(), key_number, public_key }
    }

    /// The end of it, when the program's ledger is empty. Slug and id are free again.
    pub const fn abandon(&self) -> OpeningAbandoned {
        OpeningAbandoned { program: self.program }
    }
}

impl RegistryState {
    /// The state before the first entry.
    pub fn new() -> Self {
        Self::default()
    }

    /// How many entries were applied; the seq of the next one.
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// The installation, `None` before the first entry.
    pub const fn installation(&self) -> Option<InstallationId> {
        self.installation
    }

    /// The program with this slug whose ledger is open.
    pub fn program(&self, slug: &str) -> Option<ProgramId> {
        let id = *self.slugs.get(slug)?;
        (self.programs.get(&id)?.progress == Progress::Opened).then_some(id)
    }

    /// The slug of a program whose ledger is open.
    pub fn slug(&self, program: ProgramId) -> Option<&Slug> {
        let row = self.programs.get(&program)?;
        (row.progress == Progress::Opened).then_some(&row.slug)
    }

    /// Every program whose ledger is open, in the order of their ids.
    pub fn programs(&self) -> impl Iterator<Item = (ProgramId, &Slug)> {
        let open = self.programs.iter().filter(|(_, row)| row.progress == Progress::Opened);
        open.map(|(&id, row)| (id, &row.slug))
    }

    /// Every opening that began and did not end, in the order of their ids.
    pub fn unfinished(&self) -> impl Iterator<Item = Unfinished<'_>> {
        let begun = self.programs.iter().filter(|(_, row)| row.progress == Progress::Begun);
        begun.map(|(&program, row)| Unfinished { program, slug: &row.slug, origin: &row.origin })
    }

    /// What is recorded of a report; `None` if nothing is.
    pub fn report(&self, report: ReportId) -> Option<&Report> {
        self.reports.get(&report)
    }

    /// Every report that is published or is being so, in the order of their ids.
    pub fn reports(&self) -> impl Iterator<Item = (ReportId, &Report)> {
        self.reports.iter().map(|(&id, report)| (id, report))
    }

    /// What is recorded of an erasure; `None` if nothing is.
    pub fn erasure(&self, erasure: ErasureId) -> Option<&Erasure> {
        self.erasures.get(&erasure)
    }

    /// Every erasure that was requested, completed or not, in the order of their ids.
    pub fn erasures(&self) -> impl Iterator<Item = (ErasureId, &Erasure)> {
        self.erasures.iter().map(|(&id, erasure)| (id, erasure))
    }

    /// Every token that was ever issued.
    pub const fn tokens(&self) -> &Tokens {
        &self.tokens
    }

    /// Origin of the registry's own ledger; empty before the first entry.
    pub fn registry_origin(&self) -> &str {
        &self.registry_origin
    }

    /// Origin of the ledger of a program that is open.
    pub fn origin(&self, program: ProgramId) -> Option<&str> {
        let row = self.programs.get(&program)?;
        (row.progress == Progress::Opened).then_some(row.origin.as_str())
    }

    /// Number of the key a ledger signs with.
    pub fn key_number(&self, origin: &str) -> Option<u32> {
        Some(self.ledgers.get(origin)?.key_number)
    }

    /// Size of a ledger's newest `ledger-head`, and when that was recorded; `None` when there is none yet.
    pub fn head(&self, origin: &str) -> Option<(u64, Timestamp)> {
        self.ledgers.get(origin)?.head
    }

    /// Takes the entry into account. Checks that what it refers to exists, and nothing else.
    /// After an error the state is of no use.
    pub fn apply(&mut self, entry: &Entry<RegistryEvent>) -> Result<(), BadRegistryReference> {
        if entry.seq != self.size {
            return Err(BadRegistryReference::Gap { expected: self.size, found: entry.seq });
        }
        if self.installation.is_none() != matches!(entry.event, RegistryEvent::RegistryOpened(_)) {
            return Err(match self.installation {
                None => BadRegistryReference::NotOpened,
                Some(_) => BadRegistryReference::OpenedTwice,
            });
        }
        match &entry.event {
            RegistryEvent::RegistryOpened(opened) => {
                self.installation = Some(opened.installation);
                self.registry_origin.clone_from(&opened.origin);
                let recorded = Recorded { key_number: opened.key_number, head: None };
                self.ledgers.insert(opened.origin.clone(), recorded);
            }
            RegistryEvent::ProgramOpening(opening) => {
                if !self.is_free(opening.program) {
                    return Err(BadRegistryReference::Twice(opening.program));
                }
                self.slugs.insert(opening.slug.clone(), opening.program);
                self.programs.insert(
                    opening.program,
                    Program {
                        slug: opening.slug.clone(),
                        origin: opening.origin.clone(),
                        progress: Progress::Begun,
                    },
                );
            }
            RegistryEvent::LedgerOpened(opened) => {
                self.end_opening(opened.program, Progress::Opened)?;
                let recorded = Recorded { key_number: opened.key_number, head: None };
                self.ledgers.insert(opened.origin.clone(), recorded);
            }
            RegistryEvent::OpeningAbandoned(abandoned) => {
                self.end_opening(abandoned.program, Progress::Abandoned)?;
            }
            RegistryEvent::LedgerHead(head) => {
                let known = self.ledgers.get_mut(&head.origin).ok_or(BadRegistryReference::UnknownOrigin)?;
                known.head = Some((head.size, entry.recorded_at));
            }
            RegistryEvent::KeyRotated(key) => {
                let known = self.ledgers.get_mut(&key.origin).ok_or(BadRegistryReference::UnknownOrigin)?;
                let (expected, found) = (known.key_number.saturating_add(1), key.key_number);
                if found != expected {
                    return Err(BadRegistryReference::KeyNumber { expected, found });
                }
                known.key_number = found;
            }
            RegistryEvent::ReportPublishing(publishing) => {
                if !self.ledgers.contains_key(&publishing.origin) {
                    return Err(BadRegistryReference::UnknownOrigin);
                }
                let report =
                    Report { origin: publishing.origin.clone(), size: publishing.size, digest: None };
                if self.reports.insert(publishing.report, report).is_some() {
                    return Err(BadRegistryReference::ReportTwice(publishing.report));
                }
            }
            RegistryEvent::ReportPublished(published) => {
                let report = self.reports.get_mut(&published.report).filter(|report| report.digest.is_none());
                let report = report.ok_or(BadRegistryReference::ReportNotBegun(published.report))?;
                report.digest = Some(published.digest);
            }
            RegistryEvent::ErasureRequested(requested) => {
                let (command, principal) = (entry.command, entry.principal.clone());
                let erasure = Erasure { completed: false, command, principal };
                if self.erasures.insert(requested.erasure, erasure).is_some() {
                    return Err(BadRegistryReference::ErasureTwice(requested.erasure));
                }
            }
            RegistryEvent::ErasureCompleted(completed) => {
                let under_way = self.erasures.get_mut(&completed.erasure).filter(|known| !known.completed);
                let erasure = under_way.ok_or(BadRegistryReference::ErasureNotBegun(completed.erasure))?;
                erasure.completed = true;
            }
            RegistryEvent::TokenIssued(_) | RegistryEvent::TokenRevoked(_) => self.tokens.apply(entry)?,
            // What it records, no rule asks for.
            RegistryEvent::PersonalRead(_)
            | RegistryEvent::PeopleJoined(_)
            | RegistryEvent::PeopleParted(_) => {}
        }
        self.size += 1;
        Ok(())
    }

    /// Nothing was ever recorded under this id: an abandoned opening can be asked for again, as it was.
    fn is_free(&self, id: ProgramId) -> bool {
        // The registry's own ledger is no program's.
        LedgerId::from(id) != LedgerId::REGISTRY
            && self.programs.get(&id).is_none_or(|row| row.progress == Progress::Abandoned)
    }

    fn end_opening(&mut self, id: ProgramId, progress: Progress) -> Result<(), BadRegistryReference> {
        let row = self.programs.get_mut(&id).filter(|row| row.progress == Progress::Begun);
        let row = row.ok_or(BadRegistryReference::NotBegun(id))?;
        row.progress = progress;
        if progress == Progress::Abandoned {
            self.slugs.remove(&row.slug);
        }
        Ok(())
    }
}

/// Decides to open a program. Only the manager's callers may; whoever that is, is not decided here.
pub fn decide_open(
    state: &RegistryState,
    command: &OpenProgram,
    context: &Context,
) -> Result<Opening, Rejection> {
    match context.actor {
        Actor::Manager if context.on_behalf_of.is_none() => {}
        Actor::Manager | Actor::Participant(_) | Actor::System => return Err(Rejection::ManagerOnly),
    }
    let installation = state.installation.ok_or(Rejection::ProgramNotFound)?;
    let mut ids = context.ids;
    let program = command.program.unwrap_or_else(|| ProgramId(ids.next()));
    if !state.is_free(program) {
        return Err(Rejection::ProgramExists { program });
    }
    if command.slug.as_str() == RESERVED_SLUG {
        return Err(Rejection::SlugReserved { at: Pointer::to("/slug") });
    }
    if let Some(&owner) = state.slugs.get(&command.slug) {
        return Err(Rejection::SlugTaken { program: owner });
    }
    let name = &command.name;
    let proper = (1..=NAME_MAX).contains(&name.chars().count())
        && !name.chars().any(char::is_control)
        && name.trim() == name;
    if !proper {
        return Err(Rejection::ImproperName { at: Pointer::to("/name") });
    }
    let (mut rules, mut measures) = (RulePolicy::default(), MeasurePolicy::default());
    if let Some(policy) = &command.policy {
        if let Some(changes) = &policy.rules {
            rules = changed_rules(&rules, changes, &OPENING_RULES)?;
        }
        if let Some(changes) = &policy.measures {
            measures = changed_measures(&measures, changes, &OPENING_MEASURES)?;
        }
    }
    let origin = format!("{installation}/{program}/{FIRST_GENERATION}");
    Ok(Opening {
        program,
        intent: ProgramOpening { program, slug: command.slug.clone(), origin: origin.clone() },
        first: ProgramOpened {
            program,
            origin,
            envelope: ENVELOPE,
            slug: command.slug.clone(),
            name: name.clone(),
            time_zone: command.time_zone,
            rules,
            measures,
        },
    })
}
